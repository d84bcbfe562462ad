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

/* How a window moves over an image of rows of pixels of channels, in bytes. What a nested loop steps
   through is set before it and not read after it: a compiler would multiply to know where it ends. */
typedef struct {
    uint32_t out_height, out_width, out_channels;
    uint32_t out_row;  /* bytes of a row of results */
    uint32_t kernel;   /* rows of a window */
    uint32_t row;      /* bytes of a row of a window */
    uint32_t gap;      /* from the end of its row to the next */
    uint32_t step;     /* to the window on the right */
    uint32_t line;     /* to the window below */
} s3_window;

/* The weights of a layer: `columns` for each output, the first row of the window first. */
typedef struct {
    s3_window window;
    const uint8_t *weights; /* `bits` bits each, lowest bit first, without gaps */
    uint32_t columns;
    uint8_t bits;           /* 8: integers; 2, 3, 4: a sign above a shift plus one, or 0 */
    uint8_t top;            /* the largest shift */
@groups@    /* Where there are several groups of channels a row of the window is one pixel's channels of
@groups@       its group, and the gap behind it those of the others. */
@groups@    uint32_t pixels;        /* rows of the window that lie on one row of the image */
@groups@    uint32_t turn;          /* from the gap behind them to the next row of the image */
@groups@    uint32_t outputs;       /* of a group */
} s3_layer;

typedef struct {
    const uint8_t *next;
    uint32_t held;
    uint8_t filled;
} s3_reader;

/* The next weight. */
static int s3_level(s3_reader *from, unsigned bits)
{
    const uint32_t sign = (uint32_t)1 << (bits - 1);
    uint32_t code;
    int level;
    if (from->filled < bits) {
        from->held |= (uint32_t)*from->next++ << from->filled;
        from->filled = (uint8_t)(from->filled + 8);
    }
    code = from->held & (sign + sign - 1);
    from->held >>= bits;
    from->filled = (uint8_t)(from->filled - bits);
    if (bits == 8)
        return (int)code - (int)((code & sign) << 1);
    if (code == 0)
        return 0;
    level = 1 << ((code & (sign - 1)) - 1);
    return code & sign ? -level : level;
}

/* Lists where in a window a weight has the digit `shift` of this sign. The digits are those of the
   shortest sum of signed powers of two: one for a weight that is a power of two. */
static s3_offset *s3_list(s3_offset *tap, const s3_layer *layer, unsigned shift, int negative)
{
    const int8_t *level = s3_levels;
    uint32_t at = 0, row;
@groups@    uint32_t pixels = layer->pixels;
    for (row = layer->window.kernel; row > 0; --row) {
        const uint32_t end = at + layer->window.row;
        for (; at != end; ++at, ++level) {
            const int half = *level >> 1, sum = *level + half;
            const int digits = negative ? half & ~sum : sum & ~half;
            if (digits >> shift & 1)
                *tap++ = (s3_offset)at;
        }
        at = end + layer->window.gap;
@groups@        if (--pixels == 0) {
@groups@            pixels = layer->pixels;
@groups@            at += layer->turn;
@groups@        }
    }
    return tap;
}

/* Reads the weights of one output, and lists what is added and what is subtracted at each shift. */
static void s3_row(s3_reader *from, const s3_layer *layer)
{
    s3_offset *tap = s3_taps;
    uint32_t column;
    unsigned shift;
    for (column = 0; column != layer->columns; ++column)
        s3_levels[column] = (int8_t)s3_level(from, layer->bits);
    for (shift = layer->top + 1u; shift-- > 0;) {
        s3_plus[shift] = tap = s3_list(tap, layer, shift, 0);
        s3_minus[shift] = tap = s3_list(tap, layer, shift, 1);
    }
}

/* The sum of one output at one window: from the largest shift down, doubled at each. */
static int32_t s3_sum(const uint8_t *x, unsigned top)
{
    const s3_offset *tap = s3_taps;
    int32_t sum = 0;
    unsigned shift;
    for (shift = top + 1; shift-- > 0;) {
        sum += sum;
        for (; tap != s3_plus[shift]; ++tap)
            sum += x[*tap];
        for (; tap != s3_minus[shift]; ++tap)
            sum -= x[*tap];
    }
    return sum;
}

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
