/* @title@: a shift network. C99 or C++11, no heap, no multiplication; one call at a time. */
#ifndef @NAME@_H
#define @NAME@_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define @NAME@_HEIGHT @height@
#define @NAME@_WIDTH @width@
#define @NAME@_CHANNELS @channels@
/* Numbers of an image: [height][width][channels]. */
#define @NAME@_INPUT @input@
#define @NAME@_CLASSES @classes@

extern const char *const @name@_classes[@NAME@_CLASSES];

@quantize@/* The sums of the last layer: what the network computes. */
void @name@_run(const int8_t *image, int32_t *sums);

/* The class of the largest score. Scores are compared with 23 fraction bits of the largest scale. */
int @name@_best(const int32_t *sums);

#ifdef @NAME@_FLOAT
@quantize_floats@/* The scores: sum times scale plus bias. */
void @name@_scores(const int32_t *sums, float *scores);
#endif

#ifdef __cplusplus
}
#endif

#endif
