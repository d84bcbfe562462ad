
void @name@_scores(const int32_t *sums, float *scores)
{
    int class;
    for (class = 0; class != @NAME@_CLASSES; ++class) {
        const float scaled = (float)sums[class] * s3_score_scale[class];
        scores[class] = scaled + s3_score_offset[class];
    }
}
