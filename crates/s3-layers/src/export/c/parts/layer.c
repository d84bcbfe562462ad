@twos@#if S3_MULTIPLIER > 2
@twos@/* Two numbers whose products with two others are summed at once. */
@twos@typedef union {
@twos@    int16_t of[2];
@twos@    uint32_t word;
@twos@} s3_pair;
@twos@
@twos@#if defined(__ARM_FEATURE_SIMD32) && defined(__ARM_FEATURE_UNALIGNED) && !defined(__ARM_BIG_ENDIAN)
@twos@#if defined(__GNUC__) && !defined(__clang__) && defined(__OPTIMIZE__) && !defined(__PIC__) && !defined(S3_NO_ASM)
@twos@#define S3_SMLAD 1
@twos@#endif
@twos@#endif
@twos@
@twos@static inline int32_t s3_both(s3_pair a, s3_pair b, int32_t sum)
@twos@{
@twos@#ifdef S3_SMLAD
@twos@    __asm__("smlad %0, %1, %2, %3" : "=r"(sum) : "r"(a.word), "r"(b.word), "r"(sum));
@twos@    return sum;
@twos@#else
@twos@    return sum + a.of[0] * b.of[0] + a.of[1] * b.of[1];
@twos@#endif
@twos@}
@twos@#endif
@twos@
/* A layer sums two results at a time: that of a row's left half in the low half of a 32-bit word, that of
   its right half in the high half. The lanes hold the image so: a word has a number of the left half and
   the one as far from it as the results are. They lie channel after channel, in a channel row after
   row, in a row every `stride`-th column and then those behind them: what four neighbours of a result need
   lies in four neighbours. */
typedef struct {
    uint32_t in_height, in_width, in_channels;
    uint32_t in_row;                        /* bytes of a row of the image */
    uint32_t out_height, out_width, out_channels;
    uint32_t out_row;                       /* bytes of a row of results */
    uint32_t kernel_height, kernel_width, stride, padding;
    uint32_t above, before;                 /* bytes of the padding's rows, and of its part of a row */
    uint32_t group_in, group_out;           /* channels that an output sees, outputs that see them */
    uint32_t half;                          /* words of a row of results */
    uint32_t apart, apart_bytes;            /* pixels, and bytes, from a word's low to its high half */
    uint32_t spread;                        /* words of a row and a channel of the lanes */
    uint32_t phase, line, plane, group;     /* bytes of the lanes: every stride-th column of a row, */
    uint32_t next;                          /* a row, a channel, a group; to the next row of results */
    uint32_t band;                          /* rows of results at a time, */
    uint32_t band_rows, band_step;          /* rows of the image that they see, and to the next band, */
    uint32_t band_in, band_out;             /* the latter in bytes, and the bytes of the results */
    uint32_t columns, chunk;                /* weights of an output, and of a sum of 16 bits */
    uint32_t sums, sum_count;               /* bytes of the lanes; sums of a band, which lie behind them */
    const uint8_t *weights;                 /* `bits` bits each, lowest bit first, without gaps */
    uint8_t bits;                           /* 8: integers; 2, 3, 4: a sign above a shift plus one, or 0 */
    uint8_t top;                            /* the largest shift */
    uint8_t lists;                          /* of places: a sign above a shift plus one */
    uint8_t one;                            /* whether the image is one pixel: then there are tables, no lanes */
    uint8_t flip;                           /* makes signed bytes unsigned ones that are 128 larger */
@twos@#if S3_MULTIPLIER > 2
@twos@    uint8_t eights, plain;                  /* whether an output has whole eights of weights, and in their order */
@twos@    uint8_t alone;                          /* whether an output sees one channel, its own */
@twos@    uint8_t odd;                            /* zeros behind each piece of a row of the image */
@twos@    uint32_t run;                           /* pairs of a row of a window, an even number; 0: lanes */
@twos@    uint32_t pixel, step, pitch, below;     /* numbers to the next pixel, window, row, row of windows, */
@twos@    uint32_t left, piece, pieces;           /* of a row's padding, of a piece of a row, and pieces */
@twos@    const s3_pair *twos;                    /* what two codes beside each other are */
@twos@#endif
} s3_layer;

typedef struct {
    const uint8_t *next;
    uint32_t held;
    uint32_t left;
} s3_reader;
@twos@
@twos@#if S3_MULTIPLIER > 2
@twos@/* The next eight weights. */
@twos@static inline uint32_t s3_eight_codes(s3_reader *from, unsigned bits)
@twos@{
@twos@    uint32_t held = *from->next++;
@twos@    held |= (uint32_t)*from->next++ << 8;
@twos@    if (bits > 2)
@twos@        held |= (uint32_t)*from->next++ << 16;
@twos@    if (bits > 3)
@twos@        held |= (uint32_t)*from->next++ << 24;
@twos@    return held;
@twos@}
@twos@#endif
