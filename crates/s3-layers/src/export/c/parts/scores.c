
void @name@_scores(const int32_t *sums, float *scores)
{
    int index;
    for (index = 0; index != @NAME@_CLASSES; ++index) {
        const float scaled = (float)sums[index] * s3_score_scale[index];
        scores[index] = scaled + s3_score_offset[index];
    }
}
