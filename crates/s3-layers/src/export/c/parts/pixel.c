#if S3_MULTIPLIER > 2
/* Adds the products of eight inputs to the sums of `rows` outputs. Gives the weights behind theirs. */
static inline const uint8_t *s3_eight_inputs(unsigned bits, uint32_t rows, const uint8_t *weights,
                                             const s3_pair *twos, const s3_pair *values, uint32_t *sums)
{
    const unsigned both = bits + bits;
    const uint32_t masks = ((uint32_t)1 << both) - 1;
    const s3_pair first = values[0], second = values[1], third = values[2], fourth = values[3];
    for (; rows > 0; --rows) {
        uint32_t held = weights[0] | (uint32_t)weights[1] << 8;
        int32_t sum = (int32_t)*sums;
        if (bits > 2)
            held |= (uint32_t)weights[2] << 16;
        if (bits > 3)
            held |= (uint32_t)weights[3] << 24;
        weights += bits;
        sum = s3_both(twos[held & masks], first, sum);
        sum = s3_both(twos[held >> both & masks], second, sum);
        sum = s3_both(twos[held >> both >> both & masks], third, sum);
        sum = s3_both(twos[held >> both >> both >> both & masks], fourth, sum);
        *sums++ = (uint32_t)sum;
    }
    return weights;
}

/* Adds the sums of every output of a layer that sees one pixel to `s3_sums`. */
S3_ALONE static void s3_pixel(const s3_layer *layer, const uint8_t *x, int16_t *tables)
{
    const uint8_t *weights = layer->weights;
    const uint32_t rows = layer->out_channels;
    const s3_pair *const twos = layer->twos;
    uint32_t columns = layer->columns;
    (void)tables;
    while (columns > 0) {
        s3_pair values[4];
        unsigned n;
        for (n = 0; n != 8; ++n) {
            values[n >> 1].of[n & 1] = 0;
            if (columns > 0) {
                values[n >> 1].of[n & 1] = (int16_t)(*x++ ^ layer->flip);
                --columns;
            }
        }
        if (layer->bits == 2)
            weights = s3_eight_inputs(2, rows, weights, twos, values, s3_sums);
        else if (layer->bits == 3)
            weights = s3_eight_inputs(3, rows, weights, twos, values, s3_sums);
        else
            weights = s3_eight_inputs(4, rows, weights, twos, values, s3_sums);
    }
}
#else
/* `base`, and the multiples of `x` by the levels of the codes added to it: as many numbers as codes. */
static int16_t *s3_levels(unsigned bits, int base, int x, int16_t *to)
{
    const int half = 1 << (bits - 1);
    int16_t *minus = to + half;
    int n;
    *to++ = (int16_t)base;
    *minus++ = (int16_t)base;
    for (n = half - 1; n > 0; --n) {
        *to++ = (int16_t)(base + x);
        *minus++ = (int16_t)(base - x);
        x += x;
    }
    return minus;
}

/* Adds the sums of every output of a layer that sees one pixel to `s3_sums`. For eight inputs at a time
   there is a table of what the weights of two of them can make, of 4 bits of one of them; a weight is
   a part of a number that a table is read by. */
S3_ALONE static void s3_pixel(const s3_layer *layer, const uint8_t *x, int16_t *tables)
{
    const unsigned bits = layer->bits, codes = 1u << bits;
    const uint8_t *weights = layer->weights;
    uint32_t columns = layer->columns;
    while (columns > 0) {
        int values[8];
        int16_t *to = tables;
        uint32_t *sums = s3_sums;
        uint32_t rows;
        unsigned n, code;
        for (n = 0; n != 8; ++n) {
            values[n] = 0;
            if (columns > 0) {
                values[n] = *x++ ^ layer->flip;
                --columns;
            }
        }
        if (bits == 4) {
            for (n = 0; n != 8; ++n)
                to = s3_levels(bits, 0, values[n], to);
        } else {
            for (n = 0; n != 8; n += 2) {
                int16_t of[8];
                s3_levels(bits, 0, values[n + 1], of);
                for (code = 0; code != codes; ++code)
                    to = s3_levels(bits, of[code], values[n], to);
            }
        }
        if (bits == 2) {
            for (rows = layer->out_channels; rows > 0; --rows) {
                const uint32_t a = weights[0], b = weights[1];
                *sums++ += (uint32_t)(int32_t)(tables[a & 15] + tables[16 + (a >> 4)] + tables[32 + (b & 15)] +
                                               tables[48 + (b >> 4)]);
                weights += 2;
            }
        } else if (bits == 3) {
            const uint8_t *first = (const uint8_t *)tables, *second = first + 128, *third = second + 128;
            const uint8_t *fourth = third + 128;
            for (rows = layer->out_channels; rows > 0; --rows) {
                /* Two bytes a number. */
                const uint32_t held = (uint32_t)weights[0] << 1 | (uint32_t)weights[1] << 9 | (uint32_t)weights[2] << 17;
                int32_t sum = *(const int16_t *)(const void *)(first + (held & 126));
                sum += *(const int16_t *)(const void *)(second + (held >> 6 & 126));
                sum += *(const int16_t *)(const void *)(third + (held >> 12 & 126));
                sum += *(const int16_t *)(const void *)(fourth + (held >> 18 & 126));
                *sums++ += (uint32_t)sum;
                weights += 3;
            }
        } else {
            for (rows = layer->out_channels; rows > 0; --rows) {
                const int16_t *table = tables;
                int32_t sum = 0;
                for (n = 4; n > 0; --n) {
                    sum += table[*weights & 15] + table[16 + (*weights >> 4)];
                    table += 32;
                    ++weights;
                }
                *sums++ += (uint32_t)sum;
            }
        }
    }
}
#endif
