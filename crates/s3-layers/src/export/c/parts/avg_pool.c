/* The mean of each window of `taps` numbers a channel, rounded to nearest. */
S3_ALONE static void s3_avg_pool(const s3_window *window, uint32_t taps, const uint8_t *x,
                        uint8_t *y)
{
    uint32_t height, width, channel, line = 0, to_line = 0;
    for (height = window->out_height; height > 0; --height) {
        uint32_t left = line, to = to_line;
        for (width = window->out_width; width > 0; --width) {
            for (channel = 0; channel != window->out_channels; ++channel) {
                uint32_t at = left, sum = taps >> 1, row;
                for (row = window->kernel; row > 0; --row) {
                    const uint32_t end = at + window->row;
                    for (; at != end; at += window->out_channels)
                        sum += x[at + channel];
                    at = end + window->gap;
                }
                y[to + channel] = (uint8_t)s3_quotient(sum, taps);
            }
            left += window->step;
            to += window->out_channels;
        }
        line += window->line;
        to_line += window->out_row;
    }
}
