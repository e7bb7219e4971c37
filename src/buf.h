/* buf.h -- growable bytes with a ceiling */
#ifndef BUF_H
#define BUF_H

#include "base.h"

struct buf {
    uint8_t *data;
    size_t size;     /* bytes in use */
    size_t capacity; /* bytes allocated */
};

/* Make room for `capacity` bytes in all; what is in it stays. NOMEM. */
BECK_PRIVATE int buf_reserve(struct buf *b, size_t capacity);
/* Append bytes; NOMEM. */
BECK_PRIVATE int buf_append(struct buf *b, const void *data, size_t bytes);
/* Make room for one more item in an array of `count`; NOMEM. The capacity is in items. */
BECK_PRIVATE int buf_grow_array(void **array, size_t count, size_t *capacity, size_t item);
/* Give the memory back; `b` is empty and usable again. */
BECK_PRIVATE void buf_free(struct buf *b);

#endif
