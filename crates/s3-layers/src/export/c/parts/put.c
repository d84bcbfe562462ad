/* A copy of runs of `row` bytes, which are as far apart as windows are. In the result they begin
   `out_channels` bytes apart. */
S3_ALONE static void s3_put(const s3_window *window, const uint8_t *x, uint8_t *y)
{
    uint32_t height, width, n, line = 0, to_line = 0;
    for (height = window->out_height; height > 0; --height) {
        uint32_t left = line, to = to_line;
        for (width = window->out_width; width > 0; --width) {
            for (n = 0; n != window->row; ++n)
                y[to + n] = x[left + n];
            left += window->step;
            to += window->out_channels;
        }
        line += window->line;
        to_line += window->out_row;
    }
}
