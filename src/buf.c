/* buf.c -- growable bytes with a ceiling */
#include "buf.h"

#include <stdlib.h>
#include <string.h>

#include "err.h"

#define BUF_BYTES_FIRST UINT64_C(256)
#define BUF_BYTES_MAX (64 * 1024 * MIB) /* beyond every honest need, far below any overflow */

/* At least doubled each time, so that appending byte by byte stays linear. */
int buf_reserve(struct buf *b, size_t capacity)
{
    if (capacity <= b->capacity) return BECK_OK;
    if (capacity > BUF_BYTES_MAX) return err_set(BECK_NOMEM, "no memory for %zu bytes", capacity);
    size_t grown =
        max_u64(max_u64(capacity, BUF_BYTES_FIRST), min_u64(b->capacity * 2, BUF_BYTES_MAX));
    uint8_t *data = realloc(b->data, grown);
    if (data == NULL) return err_set(BECK_NOMEM, "no memory for %zu bytes", grown);
    b->data = data;
    b->capacity = grown;
    return BECK_OK;
}

int buf_append(struct buf *b, const void *data, size_t bytes)
{
    if (bytes == 0) return BECK_OK;
    if (bytes > BUF_BYTES_MAX - b->size)
        return err_set(BECK_NOMEM, "no memory for %zu more bytes", bytes);
    int rc = buf_reserve(b, b->size + bytes);
    if (rc < 0) return rc;
    memcpy(b->data + b->size, data, bytes);
    b->size += bytes;
    return BECK_OK;
}

int buf_grow_array(void **array, size_t count, size_t *capacity, size_t item)
{
    if (count < *capacity) return 0;
    size_t more = *capacity == 0 ? 2 : 2 * *capacity;
    void *moved = realloc(*array, more * item);
    if (moved == NULL) return err_set(BECK_NOMEM, "out of memory");
    *array = moved;
    *capacity = more;
    return 0;
}

void buf_free(struct buf *b)
{
    free(b->data);
    *b = (struct buf){0};
}
