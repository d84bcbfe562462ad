/* Where each weight of an output finds its number: bytes from the first of the window. Sums begin at 0. */
static void s3_find(const s3_layer *layer, uint8_t *lanes)
{
    s3_offset *place = s3_places;
    uint32_t of_channel = 0, channel, row, column, n;
    s3_sums = (uint32_t *)(void *)(lanes + layer->sums);
@pairs@#if S3_MULTIPLIER > 2
@pairs@    if (layer->run > 0) {
@pairs@        s3_find_pairs(layer);
@pairs@        return;
@pairs@    }
@pairs@#endif
    for (n = layer->one ? layer->sum_count : layer->sum_count + layer->sum_count; n > 0; --n)
        s3_sums[n - 1] = 0;
    if (layer->one)
        return;
    for (channel = layer->group_in; channel > 0; --channel) {
        uint32_t of_row = of_channel;
        for (row = layer->kernel_height; row > 0; --row) {
            uint32_t first = of_row, at = of_row, phase = layer->stride;
            for (column = layer->kernel_width; column > 0; --column) {
                *place++ = (s3_offset)at;
                at += layer->phase;
                if (--phase == 0) {
                    phase = layer->stride;
                    first += 4;
                    at = first;
                }
            }
            of_row += layer->line;
        }
        of_channel += layer->plane;
    }
}

/* The lanes of the rows of `x` from `row` on, which begins at byte `line`: both may lie before it. */
S3_ALONE static void s3_spread(const s3_layer *layer, const uint8_t *x, uint32_t row, uint32_t line,
                      uint8_t *lanes)
{
    const uint32_t flip = (uint32_t)layer->flip | (uint32_t)layer->flip << 16;
    uint32_t rows, column, channel;
@pairs@#if S3_MULTIPLIER > 2
@pairs@    if (layer->run > 0) {
@pairs@        s3_copy(layer, x, row, line, (int16_t *)(void *)lanes);
@pairs@        return;
@pairs@    }
@pairs@#endif
    for (rows = layer->band_rows; rows > 0; --rows) {
        uint32_t low = (uint32_t)0 - layer->padding, high = low + layer->apart;
        uint32_t phase = layer->stride, at = line - layer->before;
        uint8_t *start = lanes, *to = lanes;
        for (column = layer->spread; column > 0; --column) {
            const int is_row = row < layer->in_height;
            const uint8_t *a = is_row && low < layer->in_width ? x + at : s3_zeros;
            const uint8_t *b = s3_zeros;
            uint8_t *word = to;
            if (is_row && high < layer->in_width)
                b = x + (uint32_t)(at + layer->apart_bytes);
            for (channel = layer->in_channels; channel > 0; --channel) {
                *(uint32_t *)word = ((uint32_t)*a++ | (uint32_t)*b++ << 16) ^ flip;
                word += layer->plane;
            }
            ++low;
            ++high;
            at += layer->in_channels;
            to += layer->phase;
            if (--phase == 0) {
                phase = layer->stride;
                start += 4;
                to = start;
            }
        }
        lanes += layer->line;
        line += layer->in_row;
        ++row;
    }
}
