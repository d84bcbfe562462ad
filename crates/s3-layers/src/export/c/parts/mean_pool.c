/* The mean of each channel, `2^shift` times as large, rounded to nearest. */
S3_ALONE static void s3_mean_pool(uint32_t pixels, uint32_t channels, unsigned shift, const uint8_t *x,
                         uint8_t *y)
{
    uint32_t channel, n;
    for (channel = 0; channel != channels; ++channel) {
        uint32_t at = channel, sum = 0, mean;
        for (n = pixels; n > 0; --n) {
            sum += x[at];
            at += channels;
        }
        mean = s3_quotient((sum << shift) + (pixels >> 1), pixels);
        y[channel] = mean > 255 ? 255 : (uint8_t)mean;
    }
}
