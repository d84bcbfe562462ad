/* The sums of a layer of one window. */
S3_ALONE static void s3_sums(const s3_layer *layer, const int32_t *bias, const uint8_t *x, int32_t *sums)
{
    s3_reader from = {layer->weights, 0, 0};
    uint32_t channel;
@groups@    uint32_t outputs = layer->outputs;
    for (channel = 0; channel != layer->window.out_channels; ++channel) {
        s3_row(&from, layer);
        sums[channel] = s3_sum(x, layer->top) + bias[channel];
@groups@        if (--outputs == 0) {
@groups@            outputs = layer->outputs;
@groups@            x += layer->window.row;
@groups@        }
    }
}
