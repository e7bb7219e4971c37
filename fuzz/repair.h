/* repair.h -- what an image holds, and its checksums made right again
 *
 * Walks from the superblock through the catalog to every segment, as a reader would who believes
 * everything. On the way each CRC, guard and chain is computed anew, so that a mutation of what
 * they cover gets behind them, and the places that mean something are noted. */
#ifndef REPAIR_H
#define REPAIR_H

#include "format.h"
#include "image.h"

enum { SPOTS_MAX = 8192, FRAMES_MAX = 512, SEGMENTS_MAX = 64 };

struct spot { /* a number in the image */
    uint32_t at;
    uint8_t bytes; /* 1, 2, 4 or 8 */
    bool big;      /* endian */
};

struct image_segment {
    struct segment_place place;
    uint64_t next;  /* offset behind its last frame */
    uint32_t end;   /* position behind its last frame */
    uint32_t chain; /* guard of its last frame */
    bool catalog;
    uint32_t entry_at; /* where its ADD stands in the image; 0 = none */
};

struct image_frame {
    uint32_t at;      /* in the image */
    uint32_t length;  /* of the batch */
    uint32_t segment; /* index */
};

struct contents {
    struct spot spots[SPOTS_MAX];
    struct image_frame frames[FRAMES_MAX];
    struct image_segment segments[SEGMENTS_MAX];
    uint32_t spot_count, frame_count, segment_count, catalog_last;
};

/* With `fix` false nothing is changed, only noted. */
void image_repair(struct image *image, struct contents *contents, bool fix);

#endif
