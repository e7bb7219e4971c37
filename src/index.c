/* index.c -- sparse map of a sealed segment: offset and time to position */
/*
 * Written once, when a segment is sealed, behind its last frame. It is a help and never the truth:
 * it has a CRC of its own, and where it is missing or wrong the walk begins at the segment's first
 * frame. */
#include "index.h"

#include <stdlib.h>

#include "bytes.h"
#include "err.h"

int index_build(const struct segment_place *place, uint64_t base_offset, const uint8_t *data,
                uint64_t end, struct buf *out)
{
    struct log_position at = log_begin(base_offset);
    struct log_frame found;
    uint8_t bytes[INDEX_HEADER_BYTES] = {0};
    int64_t max_before = INT64_MIN;
    uint64_t last = 0;
    uint32_t count = 0;
    int rc = buf_append(out, bytes, INDEX_HEADER_BYTES);
    while (rc == 0 && at.position < end) {
        bool intact =
            log_frame_at(place, &at, data + at.position, end - at.position, false, &found, NULL);
        if (!intact && log_resync(place, &at, data, end, UINT64_MAX)) continue;
        if (!intact) break;
        if (count == 0 || found.position >= last + INDEX_SPACING) {
            struct index_entry e = {(uint32_t)((uint64_t)found.batch.base_offset - base_offset),
                                    found.position, max_before};
            index_entry_encode(&e, bytes);
            rc = buf_append(out, bytes, INDEX_ENTRY_BYTES);
            last = found.position;
            count++;
        }
        if (found.batch.max_timestamp > max_before) max_before = found.batch.max_timestamp;
        log_advance(&at, &found);
    }
    if (rc < 0) return rc;
    index_header_encode(place, out->data + INDEX_HEADER_BYTES, count, bytes);
    memcpy(out->data, bytes, INDEX_HEADER_BYTES);
    return 0;
}

/* Stable before the catalog tells of it: nobody shall find damage where there was only a crash. */
static int index_write_stable(struct coord *c, uint64_t at, const struct buf *index)
{
    int rc = os_allocate(c->file, at, index->size);
    return rc < 0 ? rc : coord_write_stable(c, index->data, index->size, at);
}

void index_write(struct coord *c, const struct segment_place *place, uint64_t base_offset,
                 uint32_t end, uint32_t *index_at, uint32_t *index_bytes)
{
    struct buf index = {0};
    struct os_map map;
    uint64_t at = align_up(end, FRAME_ALIGN), size = 0;
    *index_at = *index_bytes = 0;
    /* of what a SEAL only claims no page can be touched */
    if (os_size(c->file, &size) < 0 || size < place_at(place) + end) return;
    if (os_map(c->file, place_at(place), end, false, &map) < 0) return;
    int rc = index_build(place, base_offset, map.data, end, &index);
    os_unmap(&map);
    if (rc == 0 && at + index.size <= place_bytes(place) &&
        index_write_stable(c, place_at(place) + at, &index) == 0) {
        *index_at = (uint32_t)at;
        *index_bytes = (uint32_t)index.size;
    }
    buf_free(&index);
}

/* Read and verify; *data is NULL when there is nothing usable, or it could not be read. */
static int index_load(const struct file *f, const struct segment_place *place, uint32_t index_at,
                      uint32_t index_bytes, uint32_t *count, uint8_t **data)
{
    *data = NULL;
    if (index_at == 0 || index_bytes > index_reserve(place_bytes(place))) return 0;
    uint8_t *read = malloc(index_bytes);
    if (read == NULL) return err_set(BECK_NOMEM, "out of memory");
    int rc = file_read_segment(f, place, index_at, read, index_bytes);
    if (rc == 0 && index_header_decode(read, index_bytes, place, count) == 0)
        *data = read;
    else
        free(read);
    return rc;
}

struct log_position index_find(const struct file *f, const struct segment_place *place,
                               uint64_t base_offset, uint32_t index_at, uint32_t index_bytes,
                               int64_t wanted, bool by_time)
{
    struct log_position at = log_begin(base_offset);
    uint32_t count = 0;
    uint8_t *data;
    (void)index_load(f, place, index_at, index_bytes, &count, &data);
    uint32_t low = 0, high = count; /* the last entry in [0, high) that is not too far */
    while (data != NULL && high - low > 1) {
        uint32_t middle = low + (high - low) / 2;
        struct index_entry e;
        index_entry_decode(data + INDEX_HEADER_BYTES + (size_t)middle * INDEX_ENTRY_BYTES, &e);
        bool near =
            by_time ? e.max_before < wanted : base_offset + e.offset_delta <= (uint64_t)wanted;
        if (near)
            low = middle;
        else
            high = middle;
    }
    if (data != NULL && count > 0) {
        struct index_entry e;
        index_entry_decode(data + INDEX_HEADER_BYTES + (size_t)low * INDEX_ENTRY_BYTES, &e);
        bool sane = e.position >= SEGMENT_HEADER_BYTES && e.position < index_at &&
                    e.position % FRAME_ALIGN == 0;
        if (low > 0 && sane)
            at = (struct log_position){e.position, 0, base_offset + e.offset_delta, false};
    }
    free(data);
    return at;
}

int index_valid(const struct file *f, const struct segment_place *place, uint32_t index_at,
                uint32_t index_bytes)
{
    uint32_t count = 0;
    uint8_t *data;
    int rc = index_load(f, place, index_at, index_bytes, &count, &data);
    bool valid = data != NULL;
    free(data);
    return rc < 0 && rc != BECK_CORRUPT ? rc : valid;
}
