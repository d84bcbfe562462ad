/* `bytes` bytes of one value. */
S3_ALONE static void s3_fill(uint8_t value, uint32_t bytes, uint8_t *y)
{
    uint32_t n;
    for (n = 0; n != bytes; ++n)
        y[n] = value;
}
