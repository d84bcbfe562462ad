/* A copy with a border of zeros, in `bytes` bytes; the image begins at `first`, and its rows are `pitch`
   apart. */
S3_ALONE static void s3_border(const uint8_t *x, uint32_t height, uint32_t row, uint32_t first,
                      uint32_t pitch, uint32_t bytes, uint8_t *y)
{
    uint32_t n, line = 0;
    for (n = 0; n != bytes; ++n)
        y[n] = 0;
    for (; height > 0; --height) {
        const uint8_t *from = x + line;
        uint8_t *to = y + first;
        for (n = 0; n != row; ++n)
            to[n] = from[n];
        line += row;
        first += pitch;
    }
}
