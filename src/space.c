/* space.c -- free blocks of the file */
/*
 * Nothing about space is stored: it is what the catalog and the directory of extents leave over.
 * First fit from the front, so that the file shrinks from its end. */
#include "space.h"

#include <stdlib.h>
#include <string.h>

#include "err.h"
#include "format.h"

/* The first run that begins at or behind `block`. */
static size_t space_search(const struct space *s, uint32_t block)
{
    size_t low = 0, high = s->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (s->runs[middle].block < block)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

int space_take(struct space *s, uint32_t block, uint32_t blocks)
{
    if (block < HEAP_BLOCK || blocks == 0 || blocks > UINT32_MAX - block)
        return err_set(BECK_CORRUPT, "blocks %u + %u are outside of the heap", block, blocks);
    size_t at = space_search(s, block);
    bool before = at > 0 && s->runs[at - 1].block + s->runs[at - 1].blocks > block;
    bool after = at < s->count && block + blocks > s->runs[at].block;
    if (before || after)
        return err_set(BECK_CORRUPT, "blocks %u + %u are used twice", block, blocks);

    if (s->count == s->capacity) {
        size_t capacity = s->capacity == 0 ? 64 : 2 * s->capacity;
        struct run *runs = realloc(s->runs, capacity * sizeof *runs);
        if (runs == NULL) return err_set(BECK_NOMEM, "out of memory");
        s->runs = runs;
        s->capacity = capacity;
    }
    memmove(s->runs + at + 1, s->runs + at, (s->count - at) * sizeof *s->runs);
    s->runs[at] = (struct run){block, blocks};
    s->count++;
    return 0;
}

void space_give(struct space *s, uint32_t block, uint32_t kept)
{
    size_t at = space_search(s, block);
    if (at == s->count || s->runs[at].block != block) return;
    if (kept > 0) {
        if (kept < s->runs[at].blocks) s->runs[at].blocks = kept;
        return;
    }
    s->count--;
    memmove(s->runs + at, s->runs + at + 1, (s->count - at) * sizeof *s->runs);
}

uint32_t space_find(const struct space *s, uint32_t blocks)
{
    uint32_t at = HEAP_BLOCK;
    for (size_t i = 0; i < s->count; i++) {
        if (s->runs[i].block - at >= blocks) return at;
        at = s->runs[i].block + s->runs[i].blocks;
    }
    return blocks < UINT32_MAX - at ? at : 0;
}

uint32_t space_end(const struct space *s)
{
    if (s->count == 0) return HEAP_BLOCK;
    return s->runs[s->count - 1].block + s->runs[s->count - 1].blocks;
}

uint64_t space_used(const struct space *s)
{
    uint64_t blocks = 0;
    for (size_t i = 0; i < s->count; i++) blocks += s->runs[i].blocks;
    return blocks;
}

void space_free(struct space *s)
{
    free(s->runs);
    memset(s, 0, sizeof *s);
}
