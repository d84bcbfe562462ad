
void @name@_quantize(const uint8_t *pixels, int8_t *image)
{
    uint32_t pixel, channel;
    for (pixel = @pixels@; pixel > 0; --pixel) {
        const int8_t *table = s3_pixels;
        for (channel = @NAME@_CHANNELS; channel > 0; --channel) {
            *image++ = table[*pixels++];
            table += 256;
        }
    }
}

int @name@_best(const int32_t *sums)
{
    const uint8_t *terms = s3_score_terms;
    int64_t most = 0, score;
    int index, best = 0;
    for (index = 0; index != @NAME@_CLASSES; ++index) {
        terms = s3_scale(sums[index], terms, &score);
        score += s3_score_bias[index];
        if (index == 0 || score > most) {
            most = score;
            best = index;
        }
    }
    return best;
}
