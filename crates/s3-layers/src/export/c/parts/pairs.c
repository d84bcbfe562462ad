/* A layer whose products are summed in pairs: its image lies as numbers of 16 bits, pixel after pixel, the
   channels of a pixel beside each other, so that a row of a window is one run of numbers. The weights of
   two outputs lie likewise, a pair of the first and a pair of the second in turn, zeros behind each row.
   Six sums are made at a time, of two outputs and three pixels, or four, of two pixels. Where an output
   sees one channel, the weights of two outputs are a pair, and so are the channels that they see. */
#ifdef S3_SMLAD
/* Cycles of a Cortex-M4: 13, 9 and 13. */
#define S3_SIX \
    "ldr %[u], [%[w]], #4\n\tldr %[v], [%[w]], #4\n\t" \
    "ldr %[s], [%[x], %[step]]\n\tldr %[t], [%[x], %[step], lsl #1]\n\t" \
    "smlad %[b], %[u], %[s], %[b]\n\tsmlad %[e], %[v], %[s], %[e]\n\t" \
    "smlad %[c], %[u], %[t], %[c]\n\tsmlad %[f], %[v], %[t], %[f]\n\t" \
    "ldr %[s], [%[x]], #4\n\t" \
    "smlad %[a], %[u], %[s], %[a]\n\tsmlad %[d], %[v], %[s], %[d]\n\t"
#define S3_FOUR \
    "ldr %[u], [%[w]], #4\n\tldr %[v], [%[w]], #4\n\t" \
    "ldr %[t], [%[x], %[step]]\n\tldr %[s], [%[x]], #4\n\t" \
    "smlad %[a], %[u], %[s], %[a]\n\tsmlad %[d], %[v], %[s], %[d]\n\t" \
    "smlad %[b], %[u], %[t], %[b]\n\tsmlad %[e], %[v], %[t], %[e]\n\t"
#define S3_TAP \
    "ldr %[u], [%[w]], #4\n\t" \
    "ldr %[s], [%[x], %[step]]\n\tldr %[t], [%[x], %[step], lsl #1]\n\t" \
    "smlabb %[b], %[u], %[s], %[b]\n\tsmlatt %[e], %[u], %[s], %[e]\n\t" \
    "smlabb %[c], %[u], %[t], %[c]\n\tsmlatt %[f], %[u], %[t], %[f]\n\t" \
    "ldr %[s], [%[x]]\n\tadd %[x], %[x], %[pixel]\n\t" \
    "smlabb %[a], %[u], %[s], %[a]\n\tsmlatt %[d], %[u], %[s], %[d]\n\t"
#define S3_OF_FOUR \
    [a] "+r"(a), [b] "+r"(b), [d] "+r"(d), [e] "+r"(e), [w] "+r"(w), [x] "+r"(at), [s] "=&r"(s), [t] "=&r"(t), \
        [u] "=&r"(u)
#define S3_OF_SIX S3_OF_FOUR, [c] "+r"(c), [f] "+r"(f)
#endif

/* Where each weight of an output goes to, in numbers. What lies between them stays 0. */
static void s3_find_pairs(const s3_layer *layer)
{
    s3_offset *place = s3_places;
    uint32_t channel, row, column, n;
    for (n = 0; n != sizeof s3_row / sizeof s3_row[0]; ++n)
        s3_row[n] = 0;
    if (layer->alone) {
        for (n = 0; n != layer->columns; ++n)
            s3_places[n] = (s3_offset)(n + n);
        return;
    }
    for (channel = 0; channel != layer->in_channels; ++channel) {
        uint32_t of_row = channel;
        for (row = layer->kernel_height; row > 0; --row) {
            uint32_t at = of_row;
            for (column = layer->kernel_width; column > 0; --column) {
                *place++ = (s3_offset)(at + (at & ~(uint32_t)1));
                at += layer->pixel;
            }
            of_row += layer->run + layer->run;
        }
    }
}

/* The rows of `x` from `row` on, which begins at byte `line`. */
S3_ALONE static void s3_copy(const s3_layer *layer, const uint8_t *x, uint32_t row, uint32_t line, int16_t *to)
{
    const int flip = layer->flip;
#ifdef S3_SMLAD
    const uint32_t halves = (uint32_t)flip << 16 | (uint32_t)flip, flips = halves << 8 | halves;
#endif
    uint32_t rows, n;
    for (rows = layer->band_rows; rows > 0; --rows) {
        int16_t *const end = to + layer->pitch;
        if (row < layer->in_height) {
            const uint8_t *from = x + line;
            uint32_t piece;
            for (n = layer->left; n > 0; --n)
                *to++ = (int16_t)flip;
            for (piece = layer->pieces; piece > 0; --piece) {
                for (n = layer->piece; n >= 4; n -= 4) {
#ifdef S3_SMLAD
                    uint32_t a, b, c;
                    __asm__ volatile(
                        "ldr %[a], [%[from]], #4\n\teor %[a], %[a], %[flips]\n\t"
                        "uxtb16 %[b], %[a], ror #8\n\tuxtb16 %[a], %[a]\n\t"
                        "pkhbt %[c], %[a], %[b], lsl #16\n\tpkhtb %[b], %[b], %[a], asr #16\n\t"
                        "str %[c], [%[to]], #4\n\tstr %[b], [%[to]], #4"
                        : [a] "=&r"(a), [b] "=&r"(b), [c] "=&r"(c), [from] "+r"(from), [to] "+r"(to)
                        : [flips] "r"(flips) : "memory");
#else
                    const int a = from[0], b = from[1], c = from[2], d = from[3];
                    to[0] = (int16_t)(a ^ flip);
                    to[1] = (int16_t)(b ^ flip);
                    to[2] = (int16_t)(c ^ flip);
                    to[3] = (int16_t)(d ^ flip);
                    from += 4;
                    to += 4;
#endif
                }
                for (; n > 0; --n)
                    *to++ = (int16_t)(*from++ ^ flip);
                if (layer->odd)
                    *to++ = 0;
            }
        }
        while (to != end)
            *to++ = (int16_t)flip;
        line += layer->in_row;
        ++row;
    }
}

/* Reads the weights of `outputs` outputs, one or two. */
static void s3_read_pairs(s3_reader *from, const s3_layer *layer, uint32_t outputs)
{
    const unsigned bits = layer->bits;
    const s3_pair *const twos = layer->twos;
    const uint32_t columns = layer->columns, mask = ((uint32_t)1 << bits) - 1;
    uint32_t output, n;
    for (output = 0; output != outputs; ++output) {
        s3_pair *pair = (s3_pair *)(void *)s3_row + output;
        int16_t *const to = (int16_t *)(void *)s3_row + (layer->alone ? output : output + output);
        const s3_offset *place = s3_places, *const end = place + columns;
        if (bits == 8) {
            while (place != end)
                to[*place++] = (int8_t)*from->next++;
        } else if (layer->eights) {
            const unsigned both = bits + bits;
            const uint32_t masks = ((uint32_t)1 << both) - 1;
            for (n = columns >> 3; n > 0; --n) {
                uint32_t held = s3_eight_codes(from, bits), left;
                if (layer->plain) {
                    pair[0] = twos[held & masks];
                    held >>= both;
                    pair[2] = twos[held & masks];
                    held >>= both;
                    pair[4] = twos[held & masks];
                    held >>= both;
                    pair[6] = twos[held & masks];
                    pair += 8;
                    continue;
                }
                for (left = 2; left > 0; --left, place += 4) {
                    const s3_pair *two = twos + (held & masks);
                    to[place[0]] = two->of[0];
                    to[place[1]] = two->of[1];
                    held >>= both;
                    two = twos + (held & masks);
                    to[place[2]] = two->of[0];
                    to[place[3]] = two->of[1];
                    held >>= both;
                }
            }
        } else {
            while (place != end) {
                uint32_t held = from->held, now;
                if (from->left == 0) {
                    held = s3_eight_codes(from, bits);
                    from->left = 8;
                }
                now = (uint32_t)(end - place);
                if (now > from->left)
                    now = from->left;
                from->left -= now;
                for (; now > 0; --now) {
                    to[*place++] = twos[held & mask].of[0];
                    held >>= bits;
                }
                from->held = held;
            }
        }
    }
}

/* Makes the sums of `count` times three pixels of two outputs. */
static void s3_sixes(const s3_layer *layer, const int16_t *x, uint32_t count, uint32_t *sums)
{
    const uint32_t step = layer->step, apart = step + step, run = layer->run + layer->run;
    const uint32_t height = layer->kernel_height;
    const int32_t gap = (int32_t)(layer->pitch - run);
    uint32_t *others = sums + layer->sum_count;
    for (; count > 0; --count, x += apart + step, sums += 3, others += 3) {
        const int16_t *w = (const int16_t *)(const void *)s3_row, *at = x;
        uint32_t rows = height;
        int32_t a = 0, b = 0, c = 0, d = 0, e = 0, f = 0;
        do {
            const int16_t *const end = at + run;
#ifdef S3_SMLAD
            int32_t s, t, u, v;
            if (run & 4)
                __asm__ volatile(S3_SIX S3_SIX : S3_OF_SIX, [v] "=&r"(v) : [step] "r"(apart) : "memory");
            if (at != end)
                __asm__ volatile("1:\n\t" S3_SIX S3_SIX S3_SIX S3_SIX "cmp %[x], %[end]\n\tbne 1b"
                                 : S3_OF_SIX, [v] "=&r"(v) : [step] "r"(apart), [end] "r"(end) : "cc", "memory");
#else
            for (; at != end; at += 2, w += 4) {
                const int16_t *const second = at + step, *const third = second + step;
                a += at[0] * w[0] + at[1] * w[1];
                b += second[0] * w[0] + second[1] * w[1];
                c += third[0] * w[0] + third[1] * w[1];
                d += at[0] * w[2] + at[1] * w[3];
                e += second[0] * w[2] + second[1] * w[3];
                f += third[0] * w[2] + third[1] * w[3];
            }
#endif
            at += gap;
        } while (--rows > 0);
        sums[0] = (uint32_t)a;
        sums[1] = (uint32_t)b;
        sums[2] = (uint32_t)c;
        others[0] = (uint32_t)d;
        others[1] = (uint32_t)e;
        others[2] = (uint32_t)f;
    }
}

/* Makes the sums of two pixels, `step` numbers apart, of two outputs. */
static void s3_fours(const s3_layer *layer, const int16_t *x, uint32_t step, uint32_t *sums)
{
    const uint32_t apart = step + step, run = layer->run + layer->run;
    const int32_t gap = (int32_t)(layer->pitch - run);
    const int16_t *w = (const int16_t *)(const void *)s3_row, *at = x;
    uint32_t rows = layer->kernel_height, *const others = sums + layer->sum_count;
    int32_t a = 0, b = 0, d = 0, e = 0;
    (void)apart;
    do {
        const int16_t *const end = at + run;
#ifdef S3_SMLAD
        int32_t s, t, u, v;
        if (run & 4)
            __asm__ volatile(S3_FOUR S3_FOUR : S3_OF_FOUR, [v] "=&r"(v) : [step] "r"(apart) : "memory");
        if (at != end)
            __asm__ volatile("1:\n\t" S3_FOUR S3_FOUR S3_FOUR S3_FOUR "cmp %[x], %[end]\n\tbne 1b"
                             : S3_OF_FOUR, [v] "=&r"(v) : [step] "r"(apart), [end] "r"(end) : "cc", "memory");
#else
        for (; at != end; at += 2, w += 4) {
            const int16_t *const second = at + step;
            a += at[0] * w[0] + at[1] * w[1];
            b += second[0] * w[0] + second[1] * w[1];
            d += at[0] * w[2] + at[1] * w[3];
            e += second[0] * w[2] + second[1] * w[3];
        }
#endif
        at += gap;
    } while (--rows > 0);
    sums[0] = (uint32_t)a;
    sums[1] = (uint32_t)b;
    others[0] = (uint32_t)d;
    others[1] = (uint32_t)e;
}

/* Makes the sums of `count` times three pixels, `step` numbers apart, of two outputs that see a channel
   each. */
static void s3_taps_of_two(const s3_layer *layer, const int16_t *x, uint32_t step, uint32_t count, uint32_t *sums)
{
    const uint32_t apart = step + step, pixel = layer->pixel, height = layer->kernel_height;
    const uint32_t width = layer->kernel_width;
    const int32_t gap = (int32_t)(layer->pitch - width * pixel);
    uint32_t *others = sums + layer->sum_count;
    for (; count > 0; --count, x += apart + step, sums += 3, others += 3) {
        const int16_t *w = (const int16_t *)(const void *)s3_row, *at = x;
        uint32_t rows = height;
        int32_t a = 0, b = 0, c = 0, d = 0, e = 0, f = 0;
        do {
            uint32_t taps = width;
#ifdef S3_SMLAD
            int32_t s, t, u;
            if (taps == 3) {
                __asm__ volatile(S3_TAP S3_TAP S3_TAP : S3_OF_SIX : [step] "r"(apart), [pixel] "r"(pixel + pixel) : "memory");
                taps = 0;
            }
            for (; taps > 0; --taps)
                __asm__ volatile(S3_TAP : S3_OF_SIX : [step] "r"(apart), [pixel] "r"(pixel + pixel) : "memory");
#else
            for (; taps > 0; --taps, at += pixel, w += 2) {
                const int16_t *const second = at + step, *const third = second + step;
                a += at[0] * w[0];
                b += second[0] * w[0];
                c += third[0] * w[0];
                d += at[1] * w[1];
                e += second[1] * w[1];
                f += third[1] * w[1];
            }
#endif
            at += gap;
        } while (--rows > 0);
        sums[0] = (uint32_t)a;
        sums[1] = (uint32_t)b;
        sums[2] = (uint32_t)c;
        others[0] = (uint32_t)d;
        others[1] = (uint32_t)e;
        others[2] = (uint32_t)f;
    }
}

/* Makes the sums of `rows` rows of the next output, or of the next two of these `outputs`. Gives how many
   outputs it did. */
S3_ALONE static uint32_t s3_add_pairs(s3_reader *from, const s3_layer *layer, uint32_t outputs, uint32_t rows,
                                      const int16_t *x, uint32_t *sums)
{
    const uint32_t done = outputs > 1 ? 2 : 1, step = layer->step, width = layer->out_width;
    uint32_t threes = width / 3, rest = width % 3;
    if (rest == 1 && threes > 0) {
        --threes;
        rest = 4;
    }
    s3_read_pairs(from, layer, done);
    if (layer->alone)
        x += layer->out_channels - outputs;
    for (; rows > 0; --rows) {
        const int16_t *at = x;
        uint32_t *to = sums, n;
        if (layer->alone) {
            if (width < 3) {
                for (n = width; n > 0; --n, at += step)
                    s3_taps_of_two(layer, at, 0, 1, to++);
            } else {
                s3_taps_of_two(layer, at, step, width / 3, to);
                /* The last three, some of them once more. */
                if (width % 3 > 0)
                    s3_taps_of_two(layer, at + (width - 3) * step, step, 1, to + width - 3);
            }
        } else {
            s3_sixes(layer, at, threes, to);
            at += 3 * threes * step;
            to += 3 * threes;
            if (rest > 1) {
                s3_fours(layer, at, step, to);
                at += step + step;
                to += 2;
            }
            if (rest & 1)
                s3_fours(layer, at, 0, to);
            else if (rest > 2)
                s3_fours(layer, at, step, to);
        }
        x += layer->below;
        sums += layer->half + layer->half;
    }
    return done;
}
