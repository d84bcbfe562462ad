
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
