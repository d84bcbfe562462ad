/* Some of the pixels, with `before` and `after` zero channels around theirs. */
static void s3_subsample(const s3_window *window, uint32_t before, uint32_t after, const uint8_t *x,
                         uint8_t *y)
{
    uint32_t height, width, n, line = 0;
    for (height = window->out_height; height > 0; --height) {
        uint32_t left = line;
        for (width = window->out_width; width > 0; --width) {
            for (n = before; n > 0; --n)
                *y++ = 0;
            for (n = 0; n != window->row; ++n)
                *y++ = x[left + n];
            for (n = after; n > 0; --n)
                *y++ = 0;
            left += window->step;
        }
        line += window->line;
    }
}
