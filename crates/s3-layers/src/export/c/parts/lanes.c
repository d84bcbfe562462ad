/* A layer sums two results at a time: that of a row's left half in the low half of a 32-bit word, that of
   its right half in the high half. The lanes hold the image so: a word has a number of the left half and
   the one as far from it as the results are. They lie channel after channel, in a channel row after
   row, in a row every `stride`-th column and then those behind them: what four neighbours of a result need
   lies in four neighbours. */
typedef struct {
    uint32_t in_height, in_width, in_channels;
    uint32_t in_row;                        /* bytes of a row of the image */
    uint32_t out_height, out_width, out_channels;
    uint32_t out_row;                       /* bytes of a row of results */
    uint32_t kernel_height, kernel_width, stride, padding;
    uint32_t above, before;                 /* bytes of the padding's rows, and of its part of a row */
    uint32_t group_in, group_out;           /* channels that an output sees, outputs that see them */
    uint32_t half;                          /* words of a row of results */
    uint32_t apart, apart_bytes;            /* pixels, and bytes, from a word's low to its high half */
    uint32_t spread;                        /* words of a row and a channel of the lanes */
    uint32_t phase, line, plane, group;     /* bytes of the lanes: every stride-th column of a row, */
    uint32_t next;                          /* a row, a channel, a group; to the next row of results */
    uint32_t band;                          /* rows of results at a time, */
    uint32_t band_rows, band_step;          /* rows of the image that they see, and to the next band, */
    uint32_t band_in, band_out;             /* the latter in bytes, and the bytes of the results */
    uint32_t columns, chunk;                /* weights of an output, and of a sum of 16 bits */
    uint32_t sums, sum_count;               /* bytes of the lanes; sums of a band, which lie behind them */
    const uint8_t *weights;                 /* `bits` bits each, lowest bit first, without gaps */
    uint8_t bits;                           /* 8: integers; 2, 3, 4: a sign above a shift plus one, or 0 */
    uint8_t top;                            /* the largest shift */
    uint8_t lists;                          /* of places: a sign above a shift plus one */
    uint8_t one;                            /* whether the image is one pixel: then there are tables, no lanes */
    uint8_t flip;                           /* makes signed bytes unsigned ones that are 128 larger */
} s3_layer;

typedef struct {
    const uint8_t *next;
    uint32_t held;
    uint32_t left;
} s3_reader;

/* Where each weight of an output finds its number: bytes from the first of the window. Sums begin at 0. */
static void s3_find(const s3_layer *layer, uint8_t *lanes)
{
    s3_offset *place = s3_places;
    uint32_t of_channel = 0, channel, row, column, n;
    s3_sums = (uint32_t *)(void *)(lanes + layer->sums);
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
