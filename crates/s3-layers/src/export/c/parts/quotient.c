/* `n / d`, rounded down, bit by bit. */
static uint32_t s3_quotient(uint32_t n, uint32_t d)
{
    uint32_t quotient = 0, rest = 0;
    int bit;
    for (bit = 31; bit >= 0; --bit) {
        rest = rest << 1 | (n >> bit & 1);
        quotient <<= 1;
        if (rest >= d) {
            rest -= d;
            quotient |= 1;
        }
    }
    return quotient;
}
