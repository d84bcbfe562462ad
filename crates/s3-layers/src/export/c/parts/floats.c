
void @name@_quantize(const float *numbers, int8_t *image)
{
    uint32_t pixel, channel;
    for (pixel = @pixels@; pixel > 0; --pixel) {
        for (channel = 0; channel != @NAME@_CHANNELS; ++channel) {
            const float centred = *numbers++ - s3_mean[channel];
            const float number = centred / s3_std[channel];
            const float steps = number / s3_step[0];
            int whole;
            float rest;
            if (steps >= 127.0f) {
                *image++ = 127;
                continue;
            }
            if (steps <= -127.0f) {
                *image++ = -127;
                continue;
            }
            /* Ties to even. */
            whole = (int)steps;
            rest = steps - (float)whole;
            if (rest > 0.5f || (rest == 0.5f && (whole & 1) != 0))
                ++whole;
            if (rest < -0.5f || (rest == -0.5f && (whole & 1) != 0))
                --whole;
            *image++ = (int8_t)whole;
        }
    }
}
