
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
