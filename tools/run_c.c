/* Runs an exported C file on stored images, and prints a line for each score of each of them.

       cc -std=c99 -DNET_FLOAT -DNUMBER=TYPE net.c run_c.c -o run && ./run IMAGES

   The file was exported as net.c. IMAGES holds images of TYPE, as net_quantize takes them: uint8_t or, of a
   network that takes floats, float. Without NUMBER they are int8_t, as net_run takes them. */
#include <stdio.h>
#include "net.h"

#ifdef NUMBER
static NUMBER image[NET_INPUT];
#endif
static int8_t made[NET_INPUT];

static int next(FILE *images)
{
#ifdef NUMBER
    if (fread(image, sizeof *image, NET_INPUT, images) != NET_INPUT)
        return 0;
    net_quantize(image, made);
    return 1;
#else
    return fread(made, 1, NET_INPUT, images) == NET_INPUT;
#endif
}

int main(int count, char **words)
{
    FILE *images = count == 2 ? fopen(words[1], "rb") : NULL;
    int32_t sums[NET_CLASSES];
    float scores[NET_CLASSES];
    unsigned n;
    if (!images) {
        fprintf(stderr, "expected a file of images\n");
        return 1;
    }
    while (next(images)) {
        net_run(made, sums);
        net_scores(sums, scores);
        for (n = 0; n < NET_CLASSES; ++n)
            printf("%.9g\n", (double)scores[n]);
    }
    fclose(images);
    return 0;
}
