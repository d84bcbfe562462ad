/* Some of the pixels, with zero channels around theirs, `before` of them before. */
S3_ALONE static void s3_subsample(const s3_window *window, uint32_t before, const uint8_t *x, uint8_t *y)
{
    uint32_t height, width, n, line = 0, to_line = 0;
    for (height = window->out_height; height > 0; --height) {
        uint32_t left = line, to = to_line;
        for (width = window->out_width; width > 0; --width) {
            for (n = 0; n != window->out_channels; ++n)
                y[to + n] = 0;
            for (n = 0; n != window->row; ++n)
                y[to + before + n] = x[left + n];
            left += window->step;
            to += window->out_channels;
        }
        line += window->line;
        to_line += window->out_row;
    }
}
