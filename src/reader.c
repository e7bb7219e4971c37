/* reader.c -- a position in a partition: pins, walking, gaps */
/*
 * A reader takes no lock. It loads `visible`, and as long as the offset it wants lies below, it
 * walks frames from where it stands. It reads a mapping while its pin says which segment, or a
 * checked copy.
 *
 *  [R1] pin, fence, and only then ask whether the catalog has moved: a segment that was still
 *       there then cannot be reused before the pin is taken back
 *  [R3] nothing at or above `visible` is ever handed out
 *
 * What stops a walk below `visible`: the end of a sealed segment (go on in the next), a segment
 * that is gone (a gap, or the topic was deleted), or damage (a gap up to the next intact frame). */
#include "reader.h"

#include <stdlib.h>
#include <string.h>

#include "err.h"
#include "index.h"

#define HEADERS_BYTES_MAX (4u * 1024u * 1024u) /* of one poll: then it ends early */

void reader_open(struct reader *r, struct catalog *cat, const struct cell_ref *cell, uint64_t topic,
                 uint32_t index, const char *topic_name, struct batch_unpacker *unpacker)
{
    memset(r, 0, sizeof *r);
    r->cat = cat;
    r->cell = *cell;
    r->topic = topic;
    r->index = index;
    r->topic_name = topic_name;
    r->pin = NO_PIN;
    r->unpacker = unpacker;
}

void reader_release(struct reader *r)
{
    if (r->pinned) coord_unpin(r->cat->coord, r->pin);
    r->pinned = false;
}

void reader_close(struct reader *r)
{
    reader_release(r);
    os_unmap(&r->map);
    buf_free(&r->window);
}

void reader_seek(struct reader *r, uint64_t offset)
{
    r->next = offset;
    r->inside = r->in_batch = false;
    r->gap = (struct gap){0, 0, BECK_GAP_NONE};
}

/* ---- Finding the segment ---- */

/* The segment for `offset` as the picture has it now, and the partition's start. */
static int locate(struct reader *r, uint64_t offset, struct segment *found, uint64_t *start)
{
    int rc = 0;
    pthread_mutex_lock(&r->cat->mutex);
    struct topic_picture *topic = picture_topic_by_id(&r->cat->picture, r->topic);
    struct partition_picture *part = picture_partition(&r->cat->picture, r->topic, r->index);
    struct segment *s = part == NULL ? NULL : partition_locate(part, offset);
    if (topic != NULL) r->unpacked_max = batch_unpacked_max(topic->config.max_message_bytes);
    if (part == NULL) rc = err_set(BECK_DELETED, "topic %s was deleted", r->topic_name);
    if (part != NULL)
        *start = part->count > 0 ? max_u64(part->start, part->segments[0].base) : part->next;
    memset(found, 0, sizeof *found);
    if (s != NULL) *found = *s;
    pthread_mutex_unlock(&r->cat->mutex);
    return rc;
}

int reader_start(struct reader *r, uint64_t *start)
{
    struct segment ignored;
    int rc = catalog_refresh(r->cat);
    return rc < 0 ? rc : locate(r, 0, &ignored, start);
}

/* Pin the segment that holds `offset` and be sure that it is still there. [R1] */
static int pin_segment(struct reader *r, uint64_t offset, uint64_t *start)
{
    int rc;
    for (;;) {
        if ((rc = catalog_refresh(r->cat)) < 0) return rc;
        if ((rc = locate(r, offset, &r->segment, start)) < 0) return rc;
        if (r->pin == NO_PIN || r->segment.place.id == 0) return 0;
        coord_pin(r->cat->coord, r->pin, r->segment.place.id);
        r->pinned = true;
        if (!catalog_moved(r->cat)) return 0;
        /* Moved: it may have been retired and freed before the pin was seen. Look again, pinned. */
        uint64_t id = r->segment.place.id;
        if ((rc = catalog_refresh(r->cat)) < 0) return rc;
        if ((rc = locate(r, offset, &r->segment, start)) < 0) return rc;
        if (r->segment.place.id == id) return 0;
    }
}

static int map_segment(struct reader *r)
{
    if (r->pin == NO_PIN || r->map_segment == r->segment.place.id) return 0;
    os_unmap(&r->map);
    r->map_segment = 0;
    int rc = os_map(&r->cat->file->os, place_at(&r->segment.place), place_bytes(&r->segment.place),
                    false, &r->map);
    if (rc == 0) r->map_segment = r->segment.place.id;
    return rc;
}

/* Stand in the segment that holds r->next, at or before its batch. BECK_EVENT when records are
 * missing. */
static int enter(struct reader *r, int64_t wanted, bool by_time)
{
    uint64_t start = 0;
    int rc = pin_segment(r, r->next, &start);
    if (rc < 0) return rc;
    r->in_batch = false;
    r->window.size = 0;
    if (r->segment.place.id == 0 || r->segment.base > r->next) {
        uint64_t to =
            r->segment.place.id == 0 ? max_u64(start, reader_visible(r)) : r->segment.base;
        r->gap = (struct gap){r->next, to, r->next < start ? BECK_GAP_DELETED : BECK_GAP_LOST};
        r->next = to;
        return BECK_EVENT;
    }
    if ((rc = map_segment(r)) < 0) return rc;
    r->at = index_find(r->cat->file, &r->segment.place, r->segment.base, r->segment.index_at,
                       r->segment.sealed ? r->segment.index_bytes : 0, wanted, by_time);
    r->inside = true;
    return 0;
}

/* Is the segment still in the catalog? Then nobody has used its blocks for anything else. */
static int still_there(struct reader *r, bool *there)
{
    int rc = catalog_refresh(r->cat);
    pthread_mutex_lock(&r->cat->mutex);
    struct partition_picture *part = picture_partition(&r->cat->picture, r->topic, r->index);
    *there = part != NULL && partition_segment(part, r->segment.place.id) != NULL;
    pthread_mutex_unlock(&r->cat->mutex);
    return rc;
}

/* The pin word was lent to another reader: take it back, if the segment is still there. */
static int pin_again(struct reader *r)
{
    bool there;
    if (r->pin == NO_PIN || r->pinned) return 0;
    coord_pin(r->cat->coord, r->pin, r->segment.place.id);
    r->pinned = true;
    int rc = still_there(r, &there);
    if (rc < 0) return rc;
    if (!there) r->inside = r->in_batch = false;
    return 0;
}

/* ---- Walking ---- */

/* Frames end here at most. */
static uint64_t frames_end(const struct reader *r)
{
    return r->segment.sealed ? r->segment.end : place_bytes(&r->segment.place);
}

/* Fetch a fresh window from the walk's position, at least `bytes`. */
static int fetch(struct reader *r, uint64_t bytes)
{
    uint64_t end = frames_end(r);
    r->window.size = 0;
    int rc = 0;
    if (bytes > READ_CHUNK_BYTES) /* a frame claims that it is so large */
        rc = file_segment_there(r->cat->file, &r->segment.place, end, &end);
    uint64_t left = r->at.position < end ? end - r->at.position : 0;
    bytes = min_u64(max_u64(bytes, READ_CHUNK_BYTES), left);
    if (rc == 0) rc = buf_reserve(&r->window, (size_t)bytes);
    if (rc == 0 && bytes > 0)
        rc = file_read_segment(r->cat->file, &r->segment.place, r->at.position, r->window.data,
                               (size_t)bytes);
    if (rc < 0) return rc;
    r->window.size = (size_t)bytes;
    r->window_from = r->at.position;
    return 0;
}

/* A copy whose guard is right and whose checksum is not, for a reader that does not mind: damage,
 * and not half of something newer, if the segment was still there when it had been copied. */
static int frame_unchecked(struct reader *r, const uint8_t *data, uint64_t available)
{
    bool there = false;
    if (!r->unchecked ||
        !log_frame_at(&r->segment.place, &r->at, data, available, false, &r->frame, NULL))
        return 0;
    int rc = still_there(r, &there);
    return rc < 0 ? rc : there;
}

/* The frame at r->at, in r->frame, its bytes at *data. 1; 0 = none intact; 2 = the window must
 * move, which is not allowed now. */
static int frame_here(struct reader *r, bool may_fetch, const uint8_t **data)
{
    uint64_t end = frames_end(r), want = 0;
    if (r->at.position >= end) return 0;
    if (r->pin != NO_PIN) {
        *data = r->map.data + r->at.position;
        return log_frame_at(&r->segment.place, &r->at, *data, end - r->at.position, !r->unchecked,
                            &r->frame, NULL);
    }
    for (int tries = 0; tries < 3; tries++) {
        bool in = r->window.size > 0 && r->at.position >= r->window_from &&
                  r->at.position < r->window_from + r->window.size;
        if (in) {
            uint64_t skip = r->at.position - r->window_from;
            *data = r->window.data + skip;
            int rc = log_frame_at(&r->segment.place, &r->at, *data, r->window.size - skip, true,
                                  &r->frame, &want);
            if (rc == 0) rc = frame_unchecked(r, *data, r->window.size - skip);
            if (rc != 0) return rc;
            if (skip == 0 && tries > 0 && want <= r->window.size) return 0;
        }
        if (!may_fetch) return 2;
        int rc = fetch(r, want);
        if (rc < 0) return rc;
    }
    return 0;
}

/* No intact frame stands at r->at, though more is visible. Sealed, gone or damaged? Returns 0 to
 * look again, or BECK_EVENT. */
static int leave_or_resync(struct reader *r, uint64_t visible)
{
    struct segment now;
    bool there = false;
    int rc = catalog_refresh(r->cat);
    if (rc < 0) return rc;
    pthread_mutex_lock(&r->cat->mutex);
    struct partition_picture *part = picture_partition(&r->cat->picture, r->topic, r->index);
    struct segment *s = part == NULL ? NULL : partition_segment(part, r->segment.place.id);
    if ((there = s != NULL)) now = *s;
    pthread_mutex_unlock(&r->cat->mutex);
    if (!there || (now.sealed && r->at.next >= now.next)) {
        r->inside = false;
        return 0;
    }
    if (now.sealed && !r->segment.sealed) { /* sealed since: its end is known now; look once more */
        now.place.blocks = r->segment.place.blocks; /* the mapping is as it was */
        r->segment = now;
        r->window.size = 0;
        return 0;
    }
    struct log_position behind = r->at;
    uint64_t limit = now.sealed ? now.next : visible, end = frames_end(r);
    uint64_t from = max_u64(r->next, r->at.next), bytes = end;
    uint8_t *copy = NULL;
    if (r->pin == NO_PIN)
        rc = file_copy_segment(r->cat->file, &r->segment.place, end, &copy, &bytes);
    if (rc < 0) return rc;
    const uint8_t *data = r->pin == NO_PIN ? copy : r->map.data;
    if (bytes > 0 && log_resync(&r->segment.place, &behind, data, bytes, limit))
        r->at = behind;
    else
        r->at = (struct log_position){now.sealed ? (uint32_t)end : r->at.position, 0,
                                      min_u64(limit, max_u64(visible, reader_visible(r))), false};
    free(copy);
    r->window.size = 0;
    r->next = max_u64(r->next, r->at.next);
    if (r->at.next <= from) return 0; /* nothing that was still wanted is lost */
    r->gap = (struct gap){from, r->at.next, BECK_GAP_CORRUPT};
    return BECK_EVENT;
}

/* Does the topic allow larger batches by now? */
static bool raised_limit(struct reader *r)
{
    struct segment ignored;
    uint64_t start, before = r->unpacked_max;
    return catalog_refresh(r->cat) == 0 && locate(r, r->next, &ignored, &start) == 0 &&
           r->unpacked_max > before;
}

/* Stand before the first record of the batch in r->frame. What decompresses wrongly, though its
 * checksum is right, was written so: it is damage like any other. */
static int enter_batch(struct reader *r, const uint8_t *data, bool *event)
{
    int rc = batch_walk_begin(&r->walk, data + FRAME_BYTES, &r->frame.batch, r->unpacker,
                              r->unpacked_max);
    if (rc == BECK_TOO_LARGE && raised_limit(r)) /* altered since the segment was entered */
        rc = batch_walk_begin(&r->walk, data + FRAME_BYTES, &r->frame.batch, r->unpacker,
                              r->unpacked_max);
    if (rc == BECK_TOO_LARGE)
        (void)err_context(rc, "more than max.message.bytes allows, which may be raised");
    if (rc == BECK_CORRUPT) {
        r->gap = (struct gap){r->next, r->frame.next, BECK_GAP_CORRUPT};
        r->next = r->frame.next;
        *event = true;
        return 0;
    }
    if (rc < 0) { /* to be met again by the next call */
        reader_seek(r, r->next);
        return err_context(rc, "topic %s:%u", r->topic_name, r->index);
    }
    if (batch_codec(&r->frame.batch) != CODEC_NONE) r->unpacker->user = r;
    r->in_batch = true;
    return 1;
}

/* Begin the next batch that holds something at or behind r->next: 1. 0 = stop here, with *event set
 * when r->gap has something to tell. */
static int next_batch(struct reader *r, uint64_t visible, bool may_move, bool *event)
{
    const uint8_t *data;
    *event = false;
    for (;;) {
        int rc = 0;
        if (r->at.next >= visible && r->inside) return 0;
        if (!r->inside) {
            if (!may_move) return 0;
            rc = enter(r, (int64_t)r->next, false);
            *event = rc == BECK_EVENT;
            if (rc != 0) return rc < 0 ? rc : 0;
            continue;
        }
        rc = frame_here(r, may_move, &data);
        if (rc < 0) return rc;
        if (rc == 2) return 0;
        if (rc == 0) {
            if (!may_move) return 0; /* records already handed out point into this window */
            rc = leave_or_resync(r, visible);
            *event = rc == BECK_EVENT;
            if (rc != 0) return rc < 0 ? rc : 0;
            if (r->next >= visible) return 0;
            continue;
        }
        /* records already handed out may stand where this one is decompressed */
        if (!may_move && batch_codec(&r->frame.batch) != CODEC_NONE) return 0;
        log_advance(&r->at, &r->frame);
        if (r->frame.next > r->next) return enter_batch(r, data, event);
    }
}

static int take_headers(struct reader *r, beck_record *record, const uint8_t *at,
                        struct buf *headers)
{
    size_t bytes = record->header_count * sizeof(beck_header), from = headers->size;
    int rc = buf_reserve(headers, from + bytes);
    if (rc < 0) return rc;
    rc = batch_headers(&r->walk, at, record->header_count,
                       (beck_header *)(void *)(headers->data + from));
    headers->size = from + bytes;
    /* The array may still move: the place for now, the address when the poll is complete. */
    record->headers = (const beck_header *)(uintptr_t)from;
    return rc;
}

/* Records of the current batch. The batch's own bytes may contradict themselves: then what is left
 * of it is damage. */
static int take_records(struct reader *r, beck_record *records, size_t max, struct buf *headers,
                        size_t *count)
{
    const uint8_t *headers_at = NULL;
    while (*count < max && headers->size < HEADERS_BYTES_MAX) {
        beck_record *record = &records[*count];
        int rc = batch_walk_next(&r->walk, record, &headers_at);
        if (rc == 1 && (uint64_t)record->offset < r->next) continue;
        if (rc == 1 && record->header_count > 0)
            rc = take_headers(r, record, headers_at, headers) < 0 ? BECK_NOMEM : 1;
        if (rc == BECK_NOMEM) { /* the headers were checked already: only memory can be missing */
            reader_seek(r, r->next);
            return *count > 0 ? 0 : rc;
        }
        if (rc < 0) {
            r->gap = (struct gap){r->next, r->frame.next, BECK_GAP_CORRUPT};
            r->in_batch = false;
            return BECK_EVENT;
        }
        if (rc == 0) {
            r->in_batch = false;
            r->next = max_u64(r->next, r->frame.next);
            return 0;
        }
        record->topic = r->topic_name;
        record->partition = (int32_t)r->index;
        r->next = (uint64_t)record->offset + 1;
        (*count)++;
    }
    return 0;
}

int reader_poll(struct reader *r, beck_record *records, size_t max, struct buf *headers,
                size_t *count)
{
    uint64_t visible = reader_visible(r);
    bool event = false;
    int rc = 0;
    *count = 0; /* [R3]: frames below `visible` only */
    if (UNLIKELY(atomic_load_explicit(&r->cell.ro->state, memory_order_acquire) != CELL_LIVE)) {
        reader_release(r);
        return err_set(BECK_DELETED, "topic %s was deleted", r->topic_name);
    }
    /* found behind records handed out before */
    if (r->gap.to > r->gap.from && r->gap.from == r->next) {
        r->next = r->gap.to;
        return BECK_EVENT;
    }
    r->gap = (struct gap){0, 0, BECK_GAP_NONE};
    if (r->next >= visible) return 0;
    if (UNLIKELY(reader_in_unpacked(r) && r->unpacker->user != r))
        reader_seek(r, r->next); /* another reader has decompressed since */
    if (r->inside && (rc = pin_again(r)) < 0) return rc;
    while (*count < max && rc == 0 && headers->size < HEADERS_BYTES_MAX) {
        if (!r->in_batch && (rc = next_batch(r, visible, *count == 0, &event)) <= 0) break;
        rc = take_records(r, records, max, headers, count);
    }
    if (rc == BECK_EVENT && *count == 0) {
        r->next = r->gap.to;
        return BECK_EVENT;
    }
    if (rc < 0 && *count == 0) return rc;
    if (event) return BECK_EVENT;
    for (size_t i = 0; i < *count; i++)
        if (records[i].header_count > 0)
            records[i].headers =
                (const beck_header *)(void *)(headers->data + (uintptr_t)records[i].headers);
    return 0;
}

/* ---- By time ---- */

int reader_seek_time(struct reader *r, int64_t ms)
{
    uint64_t visible = reader_visible(r), start = 0;
    const uint8_t *data, *headers_at;
    beck_record record;
    int rc = reader_start(r, &start);
    if (rc < 0) return rc;
    reader_seek(r, start);
    while (r->next < visible) {
        if (!r->inside) {
            rc = enter(r, ms, true);
            if (rc < 0) return rc;
            if (rc == BECK_EVENT) continue; /* a gap has no time: go on behind it */
            if (r->segment.sealed && r->segment.max_timestamp < ms) {
                reader_seek(r, r->segment.next);
                continue;
            }
        }
        rc = r->at.next >= visible ? 0 : frame_here(r, true, &data);
        if (rc < 0) return rc;
        if (rc == 0) {
            if (r->at.next >= visible) break;
            if ((rc = leave_or_resync(r, visible)) < 0) return rc;
            if (!r->inside) r->next = max_u64(r->next, r->at.next);
            continue;
        }
        log_advance(&r->at, &r->frame);
        r->next = r->frame.next;
        if (r->frame.batch.max_timestamp < ms) continue;
        rc = batch_walk_begin(&r->walk, data + FRAME_BYTES, &r->frame.batch, r->unpacker,
                              r->unpacked_max);
        if (rc == BECK_NOMEM) return rc;
        if (rc < 0) { /* its times are not to be had: let the poll say so */
            reader_seek(r, (uint64_t)r->frame.batch.base_offset);
            return 0;
        }
        r->unpacker->user = NULL;
        while ((rc = batch_walk_next(&r->walk, &record, &headers_at)) == 1) {
            if (record.timestamp < ms) continue;
            reader_seek(r, (uint64_t)record.offset);
            return 0;
        }
    }
    reader_seek(r, visible);
    return 0;
}
