/* image.h -- a beck file as a short input
 *
 * A beck file is 256 KiB and more, nearly all of it zeros. An input is the rest:
 *
 *     0   1   options: IMAGE_*
 *     1   4   size of the file, modulo IMAGE_SIZE_MAX
 *     5       runs: position (4), length (2), bytes; to the end
 *
 * all little-endian. Runs that reach beyond IMAGE_BYTES are cut off. What a file says about the
 * machine it was on is not kept: with IMAGE_TRUSTED it is filled in, so that recovery believes the
 * page cache. */
#ifndef IMAGE_H
#define IMAGE_H

#include "fuzz.h"

#define IMAGE_BYTES (1u << 20)
#define IMAGE_SIZE_MAX (4u << 20)
#define IMAGE_TRUSTED 1u
#define IMAGE_UNCHECKED 2u /* consumers do not verify checksums */
#define IMAGE_COPY 4u      /* consumers copy */

struct image {
    uint8_t options;
    uint32_t size;
    uint8_t *bytes; /* IMAGE_BYTES of them */
};

/* The image has zeros before, and again afterwards with image_clear. */
void image_decode(struct image *image, const uint8_t *data, size_t size);
void image_clear(struct image *image);
/* The size of the input, or 0 when there is not enough room. */
size_t image_encode(const struct image *image, uint8_t *data, size_t room);

/* Write the file that an input stands for over the open file `fd`. False: that failed. */
bool image_write(int fd, const uint8_t *data, size_t size);

#endif
