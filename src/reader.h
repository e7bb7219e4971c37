/* reader.h -- a position in a partition: pins, walking, gaps */
#ifndef READER_H
#define READER_H

#include "base.h"
#include "buf.h"
#include "catalog.h"
#include "log.h"

#define NO_PIN UINT32_MAX

struct gap {
    uint64_t from;
    uint64_t to;
    int32_t cause; /* enum beck_gap_cause */
};

struct reader {
    struct catalog *cat;
    struct cell_ref cell;
    const char *topic_name;
    uint64_t topic;
    uint32_t index;
    uint32_t pin;                    /* which pin word; NO_PIN = copy what is read */
    bool unchecked;                  /* do not verify Kafka's CRC */
    struct batch_unpacker *unpacker; /* shared with the consumer's other readers */
    uint64_t unpacked_max;           /* bytes of a batch, decompressed */

    uint64_t next; /* offset of the next record to hand out */
    struct gap gap;

    bool inside;   /* segment and at are where the walk stands */
    bool pinned;   /* our pin word names segment */
    bool in_batch; /* walk stands in the batch of frame */
    struct segment segment;
    struct log_position at;
    struct log_frame frame;
    struct batch_walk walk;
    struct os_map map; /* of map_segment */
    uint64_t map_segment;
    struct buf window; /* when copying: the segment's bytes from window_from */
    uint64_t window_from;
};

BECK_PRIVATE void reader_open(struct reader *r, struct catalog *cat, const struct cell_ref *cell,
                              uint64_t topic, uint32_t index, const char *topic_name,
                              struct batch_unpacker *unpacker);
BECK_PRIVATE void reader_close(struct reader *r);
/* The pin word is needed for another reader of the same consumer. */
BECK_PRIVATE void reader_release(struct reader *r);

/* Is it in the middle of a batch it decompressed? Then it should be asked next. */
static inline bool reader_in_unpacked(const struct reader *r)
{
    return r->in_batch && r->walk.left > 0 && batch_codec(&r->frame.batch) != 0;
}

/* Everything below is visible. */
static inline uint64_t reader_visible(const struct reader *r)
{
    return atomic_load_explicit(&r->cell.ro->visible, memory_order_acquire);
}
/* The oldest offset that exists. */
BECK_PRIVATE int reader_start(struct reader *r, uint64_t *start);
BECK_PRIVATE void reader_seek(struct reader *r, uint64_t offset);
/* Seek to the first record whose timestamp is `ms` or later. */
BECK_PRIVATE int reader_seek_time(struct reader *r, int64_t ms);

/* Hand out up to `max` records from one segment; `headers` collects their headers. The number, or
 * BECK_EVENT with 0 records: r->gap tells. DELETED. */
BECK_PRIVATE int reader_poll(struct reader *r, beck_record *records, size_t max,
                             struct buf *headers, size_t *count);

#endif
