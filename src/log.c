/* log.c -- frames in a segment: write, walk, find the end, resynchronise */
/*
 *     +--------+----------------------------+----------------------------+------
 *     | header | frame | batch      | pad   | frame | batch      | pad   | ...
 *     0        64      80
 *
 * A frame is believed only when its guard, which is bound to segment, salt, position and the frame
 * before, and Kafka's CRC of the batch are right. So bytes of an earlier life of the blocks, of
 * another segment or of a write that was given up never pass for current ones.
 *
 *  [F1] frames chain: each names the guard of the one before it
 *  [F2] offsets never step back inside a segment
 *
 * Nothing here takes a lock or knows who else is there. */
#include "log.h"

#include <stdlib.h>
#include <string.h>

#include "bytes.h"
#include "err.h"

int log_frame_at(const struct segment_place *place, const struct log_position *at,
                 const uint8_t *data, uint64_t available, bool deep, struct log_frame *found,
                 uint64_t *want)
{
    struct frame *f = &found->frame;
    if (available < FRAME_BYTES + BATCH_HEADER_BYTES) return 0;
    frame_decode(data, f);
    if (f->length < BATCH_HEADER_BYTES) return 0;
    if (at->chained && f->chain != at->chain) return 0; /* [F1] */
    if (frame_guard(place, at->position, f, data + FRAME_BYTES) != f->guard) return 0;
    if (f->length > available - FRAME_BYTES) {
        if (want != NULL) *want = FRAME_BYTES + (uint64_t)f->length;
        return 0;
    }
    if (batch_parse(data + FRAME_BYTES, f->length, &found->batch) < 0) return 0;
    if (found->batch.bytes != f->length) return 0;
    if ((uint64_t)found->batch.base_offset < at->next) return 0; /* [F2] */
    if (deep && !batch_intact(data + FRAME_BYTES, &found->batch)) return 0;
    found->position = at->position;
    found->next = (uint64_t)found->batch.base_offset + (uint64_t)found->batch.last_offset_delta + 1;
    return 1;
}

void log_advance(struct log_position *at, const struct log_frame *found)
{
    at->position = found->position + (uint32_t)frame_span(found->batch.bytes);
    at->chain = found->frame.guard;
    at->next = found->next;
    at->chained = true;
}

uint32_t log_stable_field(uint64_t stable_offset, uint64_t base_offset)
{
    if (stable_offset < base_offset) return 0;
    return (uint32_t)min_u64(stable_offset - base_offset + 1, UINT32_MAX);
}

uint32_t log_seal_frame(const struct segment_place *place, const struct log_position *at,
                        uint32_t stable, uint8_t *bytes, uint32_t batch_bytes)
{
    ASSERT(at->position % FRAME_ALIGN == 0);
    struct frame f = {.length = batch_bytes, .chain = at->chain, .stable = stable};
    put_be64(bytes + FRAME_BYTES, at->next);
    f.guard = frame_guard(place, at->position, &f, bytes + FRAME_BYTES);
    frame_encode(&f, bytes);
    return f.guard;
}

int log_resync(const struct segment_place *place, struct log_position *at, const uint8_t *data,
               uint64_t end, uint64_t limit)
{
    struct log_position try = {.next = at->next, .chained = false};
    struct log_frame found;
    uint64_t step;
    for (uint64_t p = at->position + FRAME_ALIGN; p + FRAME_BYTES + BATCH_HEADER_BYTES <= end;
         p += step) {
        step = FRAME_ALIGN;
        if (LIKELY(get_le32(data + p) < BATCH_HEADER_BYTES)) continue; /* zeros, mostly */
        try.position = (uint32_t)p;
        if (!log_frame_at(place, &try, data + p, end - p, false, &found, NULL)) continue;
        /* A guard that is right over a batch that is not: a damaged frame. Stepping over all of it
         * also keeps the work linear, whatever the bytes are. */
        step = frame_span(found.batch.bytes);
        if (found.next > limit || !batch_intact(data + p + FRAME_BYTES, &found.batch)) continue;
        *at = try;
        at->next = (uint64_t)found.batch.base_offset;
        return 1;
    }
    return 0;
}

/* What an intact frame proves about the offsets before it. */
static uint64_t frame_proves(const struct frame *f, uint64_t base_offset)
{
    return f->stable == 0 ? 0 : base_offset + f->stable - 1;
}

/* Look at every intact frame from `at` on: the greatest stable offset they tell, and where the last
 * of them ends. */
static void look_ahead(const struct segment_place *place, struct log_position at,
                       const uint8_t *data, uint64_t end, uint64_t base_offset, uint64_t *proved,
                       uint64_t *intact_end)
{
    struct log_frame found;
    while (log_resync(place, &at, data, end, UINT64_MAX)) {
        while (at.position < end && log_frame_at(place, &at, data + at.position, end - at.position,
                                                 true, &found, NULL)) {
            *proved = max_u64(*proved, frame_proves(&found.frame, base_offset));
            *intact_end = found.next;
            log_advance(&at, &found);
        }
    }
}

static void scan_bytes(const struct segment_place *place, const uint8_t *data, uint64_t end,
                       uint64_t base_offset, bool trust_all, struct log_scan *s)
{
    struct log_frame found;
    bool looked_ahead = false;
    uint64_t intact = 0;
    for (;;) {
        while (s->end.position < end && log_frame_at(place, &s->end, data + s->end.position,
                                                     end - s->end.position, true, &found, NULL)) {
            s->proved = max_u64(s->proved, frame_proves(&found.frame, base_offset));
            if (found.batch.max_timestamp > s->max_timestamp)
                s->max_timestamp = found.batch.max_timestamp;
            log_advance(&s->end, &found);
        }
        if (!looked_ahead) look_ahead(place, s->end, data, end, base_offset, &s->proved, &intact);
        looked_ahead = true;
        s->durable = max_u64(s->durable, max_u64(s->proved, trust_all ? intact : 0));

        struct log_position behind = s->end;
        if (!log_resync(place, &behind, data, end, UINT64_MAX)) return;
        if (s->end.next >= s->durable) { /* a torn end, with something intact beyond */
            s->beyond_from = behind.next;
            s->beyond_to = intact;
            return;
        }
        uint64_t to = min_u64(behind.next, s->durable);
        if (s->gaps++ == 0) {
            s->lost_from = s->end.next;
            s->lost_to = to;
            s->lost_at = s->end.position;
        }
        /* the hole reaches above what is durable: so does the end */
        if (behind.next > s->durable) {
            s->end.next = s->durable;
            s->beyond_from = behind.next;
            s->beyond_to = intact;
            return;
        }
        s->end = behind;
    }
}

int log_scan_segment(const struct file *f, const struct segment_place *place, uint64_t base_offset,
                     uint64_t end, uint64_t durable, bool trust_all, struct log_scan *scan)
{
    memset(scan, 0, sizeof *scan);
    scan->end = log_begin(base_offset);
    scan->max_timestamp = -1;
    scan->durable = durable;
    uint8_t *data;
    int rc = file_copy_segment(f, place, end, &data, &end);
    if (data != NULL) scan_bytes(place, data, end, base_offset, trust_all, scan);
    free(data);
    return rc;
}
