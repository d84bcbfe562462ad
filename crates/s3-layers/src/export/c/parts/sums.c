/* The sums of a layer of one window. */
S3_ALONE static void s3_last(const s3_layer *layer, const int32_t *bias, const uint8_t *x, uint8_t *lanes,
                    int32_t *to)
{
    s3_reader from = {layer->weights, 0, 0};
    const uint8_t *group = lanes;
    uint32_t channel, outputs = layer->group_out;
    s3_find(layer, lanes);
@pixel@    if (layer->one)
@pixel@        s3_pixel(layer, x, (int16_t *)(void *)lanes);
@pixel@    else
        s3_spread(layer, x, (uint32_t)0 - layer->padding, (uint32_t)0 - layer->above, lanes);
    for (channel = 0; channel != layer->out_channels;) {
        uint32_t more[2] = {0, 0}, done = 1, output;
        uint32_t *sums = s3_sums;
@pixel@        if (layer->one)
@pixel@            sums += channel;
@pixel@        else
            done = s3_add(&from, layer, outputs, 1, group, sums, more);
        for (output = 0; output != done; ++output) {
            to[channel] = (int32_t)(sums[0] + (uint32_t)bias[channel] - more[output]);
            /* The right half of a row of one sees nothing. */
            sums[0] = 0;
@pixel@            if (!layer->one)
                sums[1] = 0;
            sums += layer->sum_count;
            ++channel;
            if (--outputs == 0) {
                outputs = layer->group_out;
                group += layer->group;
            }
        }
    }
}
