/* A copy with a border. `flip` makes signed bytes unsigned ones that are 128 larger. */
static void s3_border(const uint8_t *x, uint8_t flip, uint32_t height, uint32_t row, uint32_t side,
                      uint32_t above, uint8_t *y)
{
    uint32_t n;
    for (n = above; n > 0; --n)
        *y++ = flip;
    for (; height > 0; --height) {
        for (n = side; n > 0; --n)
            *y++ = flip;
        for (n = row; n > 0; --n)
            *y++ = (uint8_t)(*x++ ^ flip);
        for (n = side; n > 0; --n)
            *y++ = flip;
    }
    for (n = above; n > 0; --n)
        *y++ = flip;
}
