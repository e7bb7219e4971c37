/* log.h -- frames in a segment: write, walk, find the end, resynchronise */
#ifndef LOG_H
#define LOG_H

#include "base.h"
#include "batch.h"
#include "file.h"
#include "format.h"

/* Where a walk over the frames of one segment stands. */
struct log_position {
    uint32_t position; /* of the next frame */
    uint32_t chain;    /* guard of the frame before; only meaningful with chained */
    uint64_t next;     /* offset expected there */
    bool chained;      /* false after a jump: the next frame's chain is not compared */
};

/* One intact frame, found at `position`. */
struct log_frame {
    struct frame frame;
    struct batch batch;
    uint32_t position;
    uint64_t next; /* offset after it */
};

static inline struct log_position log_begin(uint64_t base_offset)
{
    return (struct log_position){SEGMENT_HEADER_BYTES, 0, base_offset, true};
}

/* Is there an intact frame at at->position? `data` holds the segment's bytes from there,
 * `available` of them. With `deep`, Kafka's CRC is verified too. Returns 1, or 0: not intact, or
 * cut off by `available`; then *want (may be NULL) is how many bytes the frame claims to need, if
 * that is more. */
BECK_PRIVATE int log_frame_at(const struct segment_place *place, const struct log_position *at,
                              const uint8_t *data, uint64_t available, bool deep,
                              struct log_frame *found, uint64_t *want);
/* Step behind `found`. */
BECK_PRIVATE void log_advance(struct log_position *at, const struct log_frame *found);

/* Finish a frame for a batch that stands at bytes + FRAME_BYTES: base offset and frame are filled
 * in. `stable` is the frame's field. Returns the guard. */
BECK_PRIVATE uint32_t log_seal_frame(const struct segment_place *place,
                                     const struct log_position *at, uint32_t stable, uint8_t *bytes,
                                     uint32_t batch_bytes);
/* The frame's stable field: how far above the segment's base the log was stable. */
BECK_PRIVATE uint32_t log_stable_field(uint64_t stable_offset, uint64_t base_offset);

/* Find the next intact frame behind at->position, before `end`, whose base offset is at least
 * at->next and below `limit`; for behind damage. Moves `at` there and returns 1, or 0. `data` is
 * the whole segment up to `end`. */
BECK_PRIVATE int log_resync(const struct segment_place *place, struct log_position *at,
                            const uint8_t *data, uint64_t end, uint64_t limit);

/* ---- A copy of a segment, for recovery and checks ---- */
struct log_scan {
    struct log_position end; /* behind the last frame that counts */
    int64_t max_timestamp;
    uint64_t durable;   /* what counted as durable: given, proved, or intact with trust_all */
    uint64_t proved;    /* greatest stable offset an intact frame tells; 0 = none */
    uint64_t lost_from; /* first damage: [lost_from, lost_to), equal when there is none */
    uint64_t lost_to;
    uint64_t lost_at; /* byte position of that damage in the segment */
    uint32_t gaps;    /* how many damaged stretches */
    /* intact frames beyond the end that were cut off: offsets, equal when none */
    uint64_t beyond_from;
    uint64_t beyond_to;
};
/* Walk a segment: go on behind damage below `durable` (or below what intact frames prove), or, with
 * `trust_all`, below any intact frame; end at the first frame that is not intact otherwise. `end`
 * bounds the frames. */
BECK_PRIVATE int log_scan_segment(const struct file *f, const struct segment_place *place,
                                  uint64_t base_offset, uint64_t end, uint64_t durable,
                                  bool trust_all, struct log_scan *scan);

#endif
