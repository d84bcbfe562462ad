/* How sums become bytes. */
typedef struct {
    const int32_t *bias;
    const uint8_t *terms;    /* the factor of each output */
    const uint8_t *shift;    /* places to the right after it */
    const uint8_t *residual; /* the factor of what is added */
    int32_t offset;
    uint8_t low;
} s3_requant;

S3_ALONE static void s3_conv(const s3_layer *layer, const s3_requant *then, const uint8_t *x,
                    const uint8_t *residual, uint8_t *y)
{
    const s3_window *window = &layer->window;
    const uint8_t *terms = then->terms;
    s3_reader from = {layer->weights, 0, 0};
    uint32_t channel, height, width;
@groups@    uint32_t outputs = layer->outputs;
    for (channel = 0; channel != window->out_channels; ++channel) {
        const int64_t bias = then->bias[channel];
        const unsigned shift = then->shift[channel];
        const int64_t half = ((int64_t)1 << shift) >> 1;
        const uint8_t *next = terms;
        uint32_t line = 0, to_line = channel;
        s3_row(&from, layer);
        for (height = window->out_height; height > 0; --height) {
            uint32_t at = line, to = to_line;
            for (width = window->out_width; width > 0; --width) {
                int64_t a, added = 0;
                next = s3_scale(s3_sum(x + at, layer->top) + bias, terms, &a);
                if (residual)
                    s3_scale(residual[to], then->residual, &added);
                a = (((a + half) >> shift) + added + then->offset + 128) >> 8;
                y[to] = a < then->low ? then->low : a > 255 ? 255 : (uint8_t)a;
                at += window->step;
                to += window->out_channels;
            }
            line += window->line;
            to_line += window->out_row;
        }
        terms = next;
@groups@        if (--outputs == 0) {
@groups@            outputs = layer->outputs;
@groups@            x += window->row;
@groups@        }
    }
}
