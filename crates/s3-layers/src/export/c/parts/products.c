/* Reads the weights of `outputs` outputs, one or two: each tap is the place of a weight, the first output's
   above it and the second's above that. */
static void s3_read(s3_reader *from, const s3_layer *layer, uint32_t outputs)
{
    const unsigned bits = layer->bits;
    const int8_t levels[16] = {0, 1, 2, 4, 8, 16, 32, 64, 0, -1, -2, -4, -8, -16, -32, -64};
    const uint32_t half = (uint32_t)1 << (bits - 1);
    uint32_t output, column;
    for (column = 0; column != layer->columns; ++column)
        s3_taps[column].place = s3_places[column];
    for (output = 0; output != outputs; ++output) {
        for (column = 0; column != layer->columns; ++column) {
            uint32_t code;
            if (bits == 8) {
                s3_taps[column].level[output] = (int8_t)*from->next++;
                continue;
            }
            if (from->left == 0) {
                from->held = *from->next++;
                from->held |= (uint32_t)*from->next++ << 8;
                if (bits > 2)
                    from->held |= (uint32_t)*from->next++ << 16;
                if (bits > 3)
                    from->held |= (uint32_t)*from->next++ << 24;
                from->left = 8;
            }
            --from->left;
            code = from->held & (half + half - 1);
            from->held >>= bits;
            s3_taps[column].level[output] = levels[code < half ? code : code - half + 8];
        }
    }
}

/* Adds one word at each tap, of one output. */
static void s3_one(const uint8_t *x, const s3_tap *tap, const s3_tap *end, uint32_t output, uint32_t less,
                   uint32_t *left, uint32_t *right)
{
    for (; tap != end; ++tap)
        less += *(const uint32_t *)(const void *)(x + tap->place) * (uint32_t)tap->level[output];
    *left += less & 0xffff;
    *right += less >> 16;
}

/* The same of four neighbours. */
static void s3_four(const uint8_t *x, const s3_tap *tap, const s3_tap *end, uint32_t less, uint32_t *left,
                    uint32_t *right)
{
    uint32_t a = less, b = less, c = less, d = less;
    for (; tap != end; ++tap) {
        const uint32_t *word = (const uint32_t *)(const void *)(x + tap->place);
        const uint32_t times = (uint32_t)tap->level[0];
        a += word[0] * times;
        b += word[1] * times;
        c += word[2] * times;
        d += word[3] * times;
    }
    left[0] += a & 0xffff;
    left[1] += b & 0xffff;
    left[2] += c & 0xffff;
    left[3] += d & 0xffff;
    right[0] += a >> 16;
    right[1] += b >> 16;
    right[2] += c >> 16;
    right[3] += d >> 16;
}

/* The same of two outputs: the sums of the second lie `beyond` those of the first. */
static void s3_eight(const uint8_t *x, const s3_tap *tap, const s3_tap *end, const uint32_t *less,
                     uint32_t *left, uint32_t half, uint32_t beyond)
{
    uint32_t a = less[0], b = a, c = a, d = a, e = less[1], f = e, g = e, h = e;
    for (; tap != end; ++tap) {
        const uint32_t *word = (const uint32_t *)(const void *)(x + tap->place);
        const uint32_t times = (uint32_t)tap->level[0], others = (uint32_t)tap->level[1];
        a += word[0] * times;
        e += word[0] * others;
        b += word[1] * times;
        f += word[1] * others;
        c += word[2] * times;
        g += word[2] * others;
        d += word[3] * times;
        h += word[3] * others;
    }
    left[0] += a & 0xffff;
    left[1] += b & 0xffff;
    left[2] += c & 0xffff;
    left[3] += d & 0xffff;
    left[half] += a >> 16;
    left[half + 1] += b >> 16;
    left[half + 2] += c >> 16;
    left[half + 3] += d >> 16;
    left += beyond;
    left[0] += e & 0xffff;
    left[1] += f & 0xffff;
    left[2] += g & 0xffff;
    left[3] += h & 0xffff;
    left[half] += e >> 16;
    left[half + 1] += f >> 16;
    left[half + 2] += g >> 16;
    left[half + 3] += h >> 16;
}

/* Adds the sums of `rows` rows of the next output, or of the next two of these `outputs`, to `sums`: those
   of the left half of a row, then those of the right. Gives how many outputs it did, and what every
   sum of each is larger by. */
S3_ALONE static uint32_t s3_add(s3_reader *from, const s3_layer *layer, uint32_t outputs, uint32_t rows,
                       const uint8_t *lanes, uint32_t *sums, uint32_t *more)
{
    const uint32_t done = outputs > 1 ? 2 : 1, half = layer->half, beyond = layer->sum_count;
    const s3_tap *tap = s3_taps;
    uint32_t columns = layer->columns, n;
@pairs@#if S3_MULTIPLIER > 2
@pairs@    if (layer->run > 0)
@pairs@        return s3_add_pairs(from, layer, outputs, rows, (const int16_t *)(const void *)lanes, sums);
@pairs@#endif
#if S3_MULTIPLIER > 2
    for (n = done == 2 ? beyond + beyond : beyond; n > 0; --n)
        sums[n - 1] = 0;
#endif
    s3_read(from, layer, done);
    more[0] = more[1] = 0;
    while (columns > 0) {
        const uint32_t count = columns < layer->chunk ? columns : layer->chunk;
        const s3_tap *const end = tap + count;
        const uint8_t *line = lanes;
        uint32_t *left = sums;
        uint32_t less[2] = {0, 0}, row, output;
        for (output = 0; output != done; ++output) {
            for (n = 0; n != count; ++n)
                if (tap[n].level[output] < 0)
                    less[output] -= (uint32_t)tap[n].level[output];
            /* Bytes are no larger than 255: no sum is negative then, nor leaves 16 bits. */
            less[output] = (less[output] << 8) - less[output];
            more[output] += less[output];
            less[output] |= less[output] << 16;
        }
        for (row = rows; row > 0; --row) {
            const uint8_t *x = line;
            for (n = half; n >= 4; n -= 4, left += 4, x += 16) {
                if (done == 2)
                    s3_eight(x, tap, end, less, left, half, beyond);
                else
                    s3_four(x, tap, end, less[0], left, left + half);
            }
            for (; n > 0; --n, ++left, x += 4) {
                s3_one(x, tap, end, 0, less[0], left, left + half);
                if (done == 2)
                    s3_one(x, tap, end, 1, less[1], left + beyond, left + half + beyond);
            }
            left += half;
            line += layer->next;
        }
        tap = end;
        columns -= count;
    }
    return done;
}
