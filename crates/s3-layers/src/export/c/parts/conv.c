/* How sums become bytes. Where 32 bits are enough, `most` is there: a sum with its bias is no larger than
   that and not negative, or makes the same byte as the end that is next to it. */
typedef struct {
    const int32_t *bias;
    const uint32_t *most;
    const uint32_t *start;   /* added to the product with the factor, whose places to the right are */
    const int16_t *factor;
    const uint8_t *shift;    /* 8 more than without `most` */
    const uint8_t *terms;    /* the factor's digits, without `most` */
    const uint8_t *residual; /* the factor of what is added */
    int32_t offset;
    uint8_t low, high;
} s3_requant;

@narrow@#if S3_MULTIPLIER == 0
@narrow@/* `n` times a factor, whose products with 0 to 15 are in `of`. */
@narrow@static uint32_t s3_times(uint32_t n, const uint32_t *of)
@narrow@{
@narrow@    uint32_t product = 0, place;
@narrow@    for (place = 32; place > 0; place -= 4)
@narrow@        product = (product << 4) + of[n >> (place - 4) & 15];
@narrow@    return product;
@narrow@}
@narrow@#endif
@narrow@
@narrow@#if S3_MULTIPLIER > 2
@narrow@/* The byte of a sum where nothing is added to it, in the lowest bits. */
@narrow@static uint32_t s3_byte(int32_t sum, int32_t most, uint32_t factor, uint32_t start, unsigned shift)
@narrow@{
@narrow@    sum = sum < 0 ? 0 : sum;
@narrow@    sum = sum > most ? most : sum;
@narrow@    return ((uint32_t)sum * factor + start) >> shift;
@narrow@}
@narrow@#endif
@narrow@
@narrow@/* The bytes of one output: `add` is added to its sums, which are 0 then, but where `s3_add` begins with
@narrow@   zeros. */
@narrow@S3_ALONE static void s3_store(const s3_layer *layer, const s3_requant *then, uint32_t channel, uint32_t rows,
@narrow@                     uint32_t add, const uint8_t *residual, uint32_t *sums, uint32_t *of, uint8_t *y)
@narrow@{
@narrow@    const uint32_t channels = layer->out_channels, start = then->start[channel];
@narrow@    const unsigned shift = then->shift[channel];
@narrow@    const int32_t most = (int32_t)then->most[channel], low = then->low, high = then->high;
@narrow@    uint32_t n, product = 0;
@narrow@#if S3_MULTIPLIER == 0
@narrow@    for (n = 0; n != 16; ++n) {
@narrow@        of[n] = product;
@narrow@        product += (uint32_t)(int32_t)then->factor[channel];
@narrow@    }
@narrow@#else
@narrow@    const uint32_t factor = (uint32_t)(int32_t)then->factor[channel];
@narrow@    (void)of;
@narrow@#endif
@narrow@    for (; rows > 0; --rows) {
@narrow@        uint32_t *next = sums + layer->half + layer->half, width;
@narrow@        const uint8_t *added = residual;
@narrow@        uint8_t *to = y;
@narrow@#if S3_MULTIPLIER > 2
@narrow@        for (width = layer->out_width; !residual && width > 0; width -= 2) {
@narrow@            const int32_t first = (int32_t)(sums[0] + add), second = (int32_t)(sums[1] + add);
@narrow@            to[0] = (uint8_t)s3_byte(first, most, factor, start, shift);
@narrow@            if (width == 1)
@narrow@                break;
@narrow@            to[channels] = (uint8_t)s3_byte(second, most, factor, start, shift);
@narrow@            to += channels + channels;
@narrow@            sums += 2;
@narrow@        }
@narrow@        for (width = residual ? layer->out_width : 0; width > 0; --width) {
@narrow@#else
@narrow@        for (width = layer->out_width; width > 0; --width) {
@narrow@#endif
@narrow@            int32_t sum = (int32_t)(*sums + add);
@narrow@            *sums++ = 0;
@narrow@            if (sum < 0)
@narrow@                sum = 0;
@narrow@            if (sum > most)
@narrow@                sum = most;
@narrow@            n = (uint32_t)sum;
@narrow@#if S3_MULTIPLIER == 0
@narrow@            if (n >> 16) {
@narrow@                product = s3_times(n, of);
@narrow@            } else {
@narrow@                product = of[n >> 12];
@narrow@                product = (product << 4) + of[n >> 8 & 15];
@narrow@                product = (product << 4) + of[n >> 4 & 15];
@narrow@                product = (product << 4) + of[n & 15];
@narrow@            }
@narrow@#else
@narrow@            product = n * factor;
@narrow@#endif
@narrow@            product += start;
@narrow@            if (!added) {
@narrow@                *to = (uint8_t)(product >> shift);
@narrow@            } else {
@narrow@                const int32_t share = s3_shares[*added & 15] + s3_shares[16 + (*added >> 4)];
@narrow@                int32_t a = (int32_t)(product + ((uint32_t)share << (shift - 8))) >> shift;
@narrow@                if (a < low)
@narrow@                    a = low;
@narrow@                if (a > high)
@narrow@                    a = high;
@narrow@                *to = (uint8_t)a;
@narrow@                added += channels;
@narrow@            }
@narrow@            to += channels;
@narrow@        }
@narrow@        sums = next;
@narrow@        y += layer->out_row;
@narrow@        if (residual)
@narrow@            residual += layer->out_row;
@narrow@    }
@narrow@}
@narrow@
@wide@/* The same in 64 bits. Gives the factor behind this one. */
@wide@S3_ALONE static const uint8_t *s3_store_wide(const s3_layer *layer, const s3_requant *then, uint32_t channel,
@wide@                     const uint8_t *terms, uint32_t rows, uint32_t add, const uint8_t *residual,
@wide@                     uint32_t *sums, uint8_t *y)
@wide@{
@wide@    const uint32_t channels = layer->out_channels;
@wide@    const unsigned shift = then->shift[channel];
@wide@    const int64_t half = ((int64_t)1 << shift) >> 1, bias = then->bias[channel];
@wide@    const uint8_t *next_terms = terms;
@wide@#if S3_MULTIPLIER > 1
@wide@    int64_t factor, of_added;
@wide@    next_terms = s3_scale(1, terms, &factor);
@wide@    s3_scale(1, then->residual, &of_added);
@wide@#endif
@wide@    for (; rows > 0; --rows) {
@wide@        uint32_t *next = sums + layer->half + layer->half, width;
@wide@        const uint8_t *added = residual;
@wide@        uint8_t *to = y;
@wide@        for (width = layer->out_width; width > 0; --width) {
@wide@            int64_t a, share = 0;
@wide@#if S3_MULTIPLIER > 1
@wide@            a = ((int32_t)(*sums - add) + bias) * factor;
@wide@            share = added ? *added * of_added : 0;
@wide@#else
@wide@            next_terms = s3_scale((int32_t)(*sums - add) + bias, terms, &a);
@wide@            if (added)
@wide@                s3_scale(*added, then->residual, &share);
@wide@#endif
@wide@            *sums++ = 0;
@wide@            if (added)
@wide@                added += channels;
@wide@            a = (((a + half) >> shift) + share + then->offset + 128) >> 8;
@wide@            *to = a < then->low ? then->low : a > then->high ? then->high : (uint8_t)a;
@wide@            to += channels;
@wide@        }
@wide@        sums = next;
@wide@        y += layer->out_row;
@wide@        if (residual)
@wide@            residual += layer->out_row;
@wide@    }
@wide@    return next_terms;
@wide@}
@wide@
S3_ALONE static void s3_conv(const s3_layer *layer, const s3_requant *then, const uint8_t *x,
                    const uint8_t *residual, uint8_t *lanes, uint8_t *y)
{
    uint32_t height = layer->out_height, row = (uint32_t)0 - layer->padding;
    uint32_t line = (uint32_t)0 - layer->above;
@narrow@    uint32_t of[16], n;
@narrow@    int64_t share;
    s3_find(layer, lanes);
@narrow@    for (n = 0; residual && n != 16; ++n) {
@narrow@        s3_scale((int64_t)n, then->residual, &share);
@narrow@        s3_shares[n] = (int32_t)share;
@narrow@        s3_scale((int64_t)n << 4, then->residual, &share);
@narrow@        s3_shares[n + 16] = (int32_t)share;
@narrow@    }
    while (height > 0) {
        const uint32_t rows = height < layer->band ? height : layer->band;
        const uint8_t *group = lanes;
        s3_reader from = {layer->weights, 0, 0};
        uint32_t channel, outputs = layer->group_out;
@wide@        const uint8_t *terms = then->terms;
@pixel@        if (layer->one)
@pixel@            s3_pixel(layer, x, (int16_t *)(void *)lanes);
@pixel@        else
            s3_spread(layer, x, row, line, lanes);
        for (channel = 0; channel != layer->out_channels;) {
            uint32_t more[2] = {0, 0}, done = 1, output;
            uint32_t *sums = s3_sums;
@pixel@            if (layer->one)
@pixel@                sums += channel;
@pixel@            else
                done = s3_add(&from, layer, outputs, rows, group, sums, more);
            for (output = 0; output != done; ++output) {
                const uint8_t *added = residual ? residual + channel : residual;
@both@                if (!then->most)
@wide@                    terms = s3_store_wide(layer, then, channel, terms, rows, more[output], added, sums, y + channel);
@both@                else
@narrow@                    s3_store(layer, then, channel, rows, (uint32_t)then->bias[channel] - more[output], added,
@narrow@                             sums, of, y + channel);
                sums += layer->sum_count;
                ++channel;
                if (--outputs == 0) {
                    outputs = layer->group_out;
                    group += layer->group;
                }
            }
        }
        height -= rows;
        row += layer->band_step;
        line += layer->band_in;
        y += layer->band_out;
        if (residual)
            residual += layer->band_out;
    }
}
