/* A copy with a border, in `bytes` bytes; the image begins at `first`, and its rows are `pitch` apart.
   `flip` makes signed bytes unsigned ones that are 128 larger. */
S3_ALONE static void s3_border(const uint8_t *x, uint8_t flip, uint32_t height, uint32_t row, uint32_t first,
                      uint32_t pitch, uint32_t bytes, uint8_t *y)
{
    uint32_t n, line = 0;
    for (n = 0; n != bytes; ++n)
        y[n] = flip;
    for (; height > 0; --height) {
        const uint8_t *from = x + line;
        uint8_t *to = y + first;
        for (n = 0; n != row; ++n)
            to[n] = from[n] ^ flip;
        line += row;
        first += pitch;
    }
}
