/* Reads `count` weights and lists the places of each shift that is added and of each that is subtracted:
   the digits of the shortest sum of signed powers of two, one for a weight that is a power of two. */
static void s3_sort(s3_reader *from, const s3_layer *layer, const s3_offset *place, uint32_t count)
{
    const unsigned bits = layer->bits;
    const s3_offset *const end = place + count;
    s3_offset *list = s3_taps;
    unsigned n;
    for (n = 0; n != layer->lists; ++n) {
        s3_begin[n] = s3_end[n] = list;
        list += layer->chunk;
    }
    if (bits == 8) {
        for (; place != end; ++place) {
            const int level = (int8_t)*from->next++, half = level >> 1, sum = level + half;
            unsigned plus = (unsigned)(sum & ~half), minus = (unsigned)(half & ~sum);
            for (n = 1; (plus | minus) != 0; ++n) {
                if (plus & 1)
                    *s3_end[n]++ = *place;
                if (minus & 1)
                    *s3_end[n + 8]++ = *place;
                plus >>= 1;
                minus >>= 1;
            }
        }
        return;
    }
    while (place != end) {
        const uint32_t mask = ((uint32_t)1 << bits) - 1;
        uint32_t held = from->held, now;
        if (from->left == 0) {
            /* Eight weights. */
            held = *from->next++;
            held |= (uint32_t)*from->next++ << 8;
            if (bits > 2)
                held |= (uint32_t)*from->next++ << 16;
            if (bits > 3)
                held |= (uint32_t)*from->next++ << 24;
            from->left = 8;
        }
        now = (uint32_t)(end - place);
        if (now > from->left)
            now = from->left;
        from->left -= now;
        for (; now > 0; --now) {
            s3_offset **to = &s3_end[held & mask];
            *(*to)++ = *place++;
            held >>= bits;
        }
        from->held = held;
    }
}

/* Adds four neighbours on either side of a row; `less` is taken off their sums again. */
static void s3_four(unsigned shifts, const uint8_t *x, uint32_t less, uint32_t *left, uint32_t *right)
{
    const s3_offset *const *run = (const s3_offset *const *)s3_runs;
    uint32_t a = 0, b = 0, c = 0, d = 0;
    for (; shifts > 0; --shifts) {
        const s3_offset *tap = run[0], *end = run[1];
        a += a;
        b += b;
        c += c;
        d += d;
        while (tap != end) {
            const uint32_t *word = (const uint32_t *)(const void *)(x + *tap++);
            a += word[0];
            b += word[1];
            c += word[2];
            d += word[3];
        }
        tap = run[2];
        end = run[3];
        while (tap != end) {
            const uint32_t *word = (const uint32_t *)(const void *)(x + *tap++);
            a -= word[0];
            b -= word[1];
            c -= word[2];
            d -= word[3];
        }
        run += 4;
    }
    a += less;
    b += less;
    c += less;
    d += less;
    left[0] += a & 0xffff;
    left[1] += b & 0xffff;
    left[2] += c & 0xffff;
    left[3] += d & 0xffff;
    right[0] += a >> 16;
    right[1] += b >> 16;
    right[2] += c >> 16;
    right[3] += d >> 16;
}

/* The same of two. */
static void s3_two(unsigned shifts, const uint8_t *x, uint32_t less, uint32_t *left, uint32_t *right)
{
    const s3_offset *const *run = (const s3_offset *const *)s3_runs;
    uint32_t a = 0, b = 0;
    for (; shifts > 0; --shifts) {
        const s3_offset *tap = run[0], *end = run[1];
        a += a;
        b += b;
        while (tap != end) {
            const uint32_t *word = (const uint32_t *)(const void *)(x + *tap++);
            a += word[0];
            b += word[1];
        }
        tap = run[2];
        end = run[3];
        while (tap != end) {
            const uint32_t *word = (const uint32_t *)(const void *)(x + *tap++);
            a -= word[0];
            b -= word[1];
        }
        run += 4;
    }
    a += less;
    b += less;
    left[0] += a & 0xffff;
    left[1] += b & 0xffff;
    right[0] += a >> 16;
    right[1] += b >> 16;
}

/* The same of one. */
static void s3_one(unsigned shifts, const uint8_t *x, uint32_t less, uint32_t *left, uint32_t *right)
{
    const s3_offset *const *run = (const s3_offset *const *)s3_runs;
    uint32_t a = 0;
    for (; shifts > 0; --shifts) {
        const s3_offset *tap = run[0], *end = run[1];
        a += a;
        while (tap != end) {
            const uint32_t *word = (const uint32_t *)(const void *)(x + *tap++);
            a += word[0];
        }
        tap = run[2];
        end = run[3];
        while (tap != end) {
            const uint32_t *word = (const uint32_t *)(const void *)(x + *tap++);
            a -= word[0];
        }
        run += 4;
    }
    a += less;
    left[0] += a & 0xffff;
    right[0] += a >> 16;
}

/* Adds the sums of `rows` rows of the next output to `sums`, which are 0: those of the left half of a row,
   then those of the right. Gives how many outputs it did, and what every sum is larger by. Of shifts
   above 3 these are summed first, and sixteen times that is what the others are added to: so more weights
   fit a sum of 16 bits. */
S3_ALONE static uint32_t s3_add(s3_reader *from, const s3_layer *layer, uint32_t outputs, uint32_t rows,
                       const uint8_t *lanes, uint32_t *sums, uint32_t *more)
{
    const unsigned minus = layer->lists >> 1;
    unsigned first = layer->top, last = first > 3 ? 4 : 0;
    uint32_t all = 0, row;
    s3_reader next = *from;
    (void)outputs;
    for (;;) {
        const s3_offset *place = s3_places;
        uint32_t columns = layer->columns;
        while (columns > 0) {
            const uint32_t count = columns < layer->chunk ? columns : layer->chunk;
            s3_offset **run = s3_runs;
            const uint8_t *line = lanes;
            uint32_t *left = sums;
            uint32_t less = 0;
            unsigned n;
            s3_sort(&next, layer, place, count);
            place += count;
            columns -= count;
            /* Bytes are no larger than 255: no sum is negative then, nor leaves 16 bits. */
            for (n = first + 1; n > last; --n) {
                run[0] = s3_begin[n];
                run[1] = s3_end[n];
                run[2] = s3_begin[n + minus];
                run[3] = s3_end[n + minus];
                less += less + (uint32_t)(run[3] - run[2]);
                run += 4;
            }
            less = (less << 8) - less;
            all += less;
            less |= less << 16;
            for (row = rows; row > 0; --row) {
                const uint8_t *x = line;
                uint32_t *right = left + layer->half, *const end = right;
                for (; end - left >= 4; left += 4, right += 4, x += 16)
                    s3_four(first + 1 - last, x, less, left, right);
                if (end - left >= 2) {
                    s3_two(first + 1 - last, x, less, left, right);
                    left += 2;
                    right += 2;
                    x += 8;
                }
                if (end != left)
                    s3_one(first + 1 - last, x, less, left, right++);
                left = right;
                line += layer->next;
            }
        }
        if (last == 0)
            break;
        for (row = layer->sum_count; row > 0; --row)
            sums[row - 1] <<= 4;
        all <<= 4;
        first = 3;
        last = 0;
        next = *from;
    }
    *from = next;
    more[0] = all;
    return 1;
}
