/* The largest byte of each window. */
S3_ALONE static void s3_max_pool(const s3_window *window, const uint8_t *x, uint8_t *y)
{
    uint32_t height, width, channel, line = 0, to_line = 0;
    for (height = window->out_height; height > 0; --height) {
        uint32_t left = line, to = to_line;
        for (width = window->out_width; width > 0; --width) {
            for (channel = 0; channel != window->out_channels; ++channel) {
                uint32_t at = left, row;
                uint8_t most = 0;
                for (row = window->kernel; row > 0; --row) {
                    const uint32_t end = at + window->row;
                    for (; at != end; at += window->out_channels)
                        if (x[at + channel] > most)
                            most = x[at + channel];
                    at = end + window->gap;
                }
                y[to + channel] = most;
            }
            left += window->step;
            to += window->out_channels;
        }
        line += window->line;
        to_line += window->out_row;
    }
}
