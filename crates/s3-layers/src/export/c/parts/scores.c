
void @name@_scores(const int32_t *sums, float *scores)
{
    int index;
    for (index = 0; index != @NAME@_CLASSES; ++index) {
        const float scaled = (float)sums[index] * s3_score_scale[index];
        scores[index] = scaled + s3_score_offset[index];
@relu@        if (!(scores[index] > 0.0f))
@relu@            scores[index] = 0.0f;
@relu6@        if (scores[index] > 6.0f)
@relu6@            scores[index] = 6.0f;
    }
}
