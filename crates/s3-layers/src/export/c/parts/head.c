/* 1 where a product takes as long as a sum, 2 where a sum of a product does, 3 where a sum of two products of
   16 bits does: then there are products. */
#ifndef S3_MULTIPLIER
#define S3_MULTIPLIER 0
#endif

/* Right shifts of negative numbers must keep the sign: C leaves it to the compiler. */
typedef char s3_shifts_keep_the_sign[(-1 >> 1) == -1 ? 1 : -1];

/* A compiler that knows a layer's sizes would step through two arrays by one number and a product, where
   the processor has a multiplier. */
#if defined(__clang__)
#define S3_ALONE __attribute__((noinline))
#elif defined(__GNUC__) && __GNUC__ >= 8
#define S3_ALONE __attribute__((noipa))
#else
#define S3_ALONE
#endif

@window@/* How a window moves over an image of rows of pixels of channels, in bytes. What a nested loop steps
@window@   through is set before it and not read after it: a compiler would multiply to know where it ends. */
@window@typedef struct {
@window@    uint32_t out_height, out_width, out_channels;
@window@    uint32_t out_row;  /* bytes of a row of results */
@window@    uint32_t kernel;   /* rows of a window */
@window@    uint32_t row;      /* bytes of a row of a window */
@window@    uint32_t gap;      /* from the end of its row to the next */
@window@    uint32_t step;     /* to the window on the right */
@window@    uint32_t line;     /* to the window below */
@window@} s3_window;
@window@
/* `v` times a factor, by its digits: their number, then of each its places to the left, and 64 where it
   is subtracted. Gives what follows them. */
static const uint8_t *s3_scale(int64_t v, const uint8_t *terms, int64_t *product)
{
    uint64_t sum = 0;
    uint8_t count;
    for (count = *terms++; count > 0; --count, ++terms) {
        /* All ones where the term is subtracted: a choice between + and - may become a product by 1 or -1. */
        const uint64_t sign = (uint64_t)0 - (*terms >> 6 & 1u);
        sum += (((uint64_t)v << (*terms & 63u)) ^ sign) - sign;
    }
    *product = (int64_t)sum;
    return terms;
}
