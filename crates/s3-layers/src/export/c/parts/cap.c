/* Ends `bytes` bytes at `high`. */
S3_ALONE static void s3_cap(uint8_t high, uint32_t bytes, uint8_t *y)
{
    uint32_t n;
    for (n = 0; n != bytes; ++n)
        if (y[n] > high)
            y[n] = high;
}
