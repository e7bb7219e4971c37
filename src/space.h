/* space.h -- free blocks of the file */
#ifndef SPACE_H
#define SPACE_H

#include "base.h"

struct run {
    uint32_t block;
    uint32_t blocks;
};

/* The runs in use, ordered, without overlap. What is between them is free; the end of the file is
 * open. */
struct space {
    struct run *runs;
    size_t count;
    size_t capacity;
};

/* Mark a run as used. CORRUPT when part of it is used already or lies before the heap. NOMEM. */
BECK_PRIVATE int space_take(struct space *s, uint32_t block, uint32_t blocks);
/* Forget the run that begins at `block`, or keep only its first `kept` blocks. */
BECK_PRIVATE void space_give(struct space *s, uint32_t block, uint32_t kept);
/* The lowest free run of `blocks` blocks; always found, possibly behind the end of the file. 0 when
 * block numbers run out. */
BECK_PRIVATE uint32_t space_find(const struct space *s, uint32_t blocks);
/* The first block behind everything in use. */
BECK_PRIVATE uint32_t space_end(const struct space *s);
BECK_PRIVATE uint64_t space_used(const struct space *s); /* blocks */
BECK_PRIVATE void space_free(struct space *s);

#endif
