/* batch.h -- one record batch: build, walk, verify */
#ifndef BATCH_H
#define BATCH_H

#include "base.h"
#include "buf.h"
#include "codec.h"

#define BATCH_HEADER_BYTES 61u
#define BATCH_UNCOVERED_BYTES 21u /* leading bytes that Kafka's CRC leaves out, not the guard */
#define BATCH_CODEC_MASK 7u
#define BATCH_LOG_APPEND_TIME 8u

/* A batch header, copied out of the bytes and checked. */
struct batch {
    int64_t base_offset;
    int64_t base_timestamp;
    int64_t max_timestamp;
    int64_t producer_id;
    uint32_t bytes; /* of the whole batch, header included */
    uint32_t crc;
    int32_t last_offset_delta;
    int32_t base_sequence;
    uint32_t count;
    uint16_t attributes;
    int16_t producer_epoch;
};

/* What a new batch is going to be: made by batch_measure, used by batch_encode. */
struct batch_plan {
    uint64_t bytes; /* of the whole batch */
    int64_t base_timestamp;
    int64_t max_timestamp;
    int64_t now; /* stands in for records without a timestamp */
};

/* Check `count` >= 1 records against the limits (key, headers, timestamp >= 0) and compute the size
 * of their batch, at most `bytes_max`. INVALID or TOO_LARGE says which record, counted from 1. */
BECK_PRIVATE int batch_measure(const beck_record *records, size_t count, int64_t now,
                               uint64_t bytes_max, struct batch_plan *plan);
/* Write the batch: exactly plan->bytes at `out`, CRC included. */
BECK_PRIVATE void batch_encode(uint8_t *out, const beck_record *records, size_t count,
                               int64_t base_offset, const struct batch_plan *plan);

BECK_PRIVATE size_t batch_compressed_room(unsigned codec, const struct batch_plan *plan);
/* Compress an encoded batch into `to`, batch_compressed_room() bytes. *bytes is what the whole
 * batch became, 0 when it does not get smaller: then it stays as it is. UNSUPPORTED, NOMEM. */
BECK_PRIVATE int batch_compress(struct codec_tools *tools, unsigned codec, const uint8_t *encoded,
                                const struct batch_plan *plan, uint8_t *to, uint32_t *bytes);

/* Copy and check the header of a batch of which `available` bytes can be read: CORRUPT when the
 * length, magic, offsets or counts cannot be. Does not touch bytes behind the header. */
BECK_PRIVATE int batch_parse(const uint8_t *data, uint64_t available, struct batch *batch);
/* Verify Kafka's CRC over all batch->bytes at `data`. */
BECK_PRIVATE bool batch_intact(const uint8_t *data, const struct batch *batch);

/* Walking the records of one batch. */
struct batch_walk {
    const uint8_t *at; /* behind the record that was given last */
    const uint8_t *end;
    struct batch batch;
    uint32_t left;        /* records still to come */
    int32_t offset_delta; /* of the record before; -1 at the first */
};

/* What a compressed batch is decompressed into. Its records live there until the next one. */
struct batch_unpacker {
    struct codec_tools tools;
    struct buf packed; /* a copy, which nobody else can change */
    struct buf records;
    const void *user; /* whose batch it is, for those who share it */
};
BECK_PRIVATE void batch_unpacker_free(struct batch_unpacker *u);

static inline unsigned batch_codec(const struct batch *batch)
{
    return batch->attributes & BATCH_CODEC_MASK;
}

/* How large a batch may be before it is compressed: max.message.bytes speaks of what is stored. */
#define BATCH_UNPACKED_BYTES (64u * 1024u * 1024u)
static inline uint64_t batch_unpacked_max(uint64_t max_message_bytes)
{
    return max_u64(max_message_bytes, BATCH_UNPACKED_BYTES);
}

/* Begin at the first record; a compressed batch is decompressed into `u`, to at most `limit` bytes.
 * With `u` NULL a compressed batch is CORRUPT. UNSUPPORTED names a codec this build cannot read;
 * TOO_LARGE, CORRUPT, NOMEM. */
BECK_PRIVATE int batch_walk_begin(struct batch_walk *walk, const uint8_t *data,
                                  const struct batch *batch, struct batch_unpacker *u,
                                  uint64_t limit);
/* The next record: fills all but topic, partition and headers; `headers_at` is where its headers
 * are, for batch_headers. Pointers lead into the batch. 1 = a record, 0 = no more, CORRUPT. */
BECK_PRIVATE int batch_walk_next(struct batch_walk *walk, beck_record *record,
                                 const uint8_t **headers_at);
/* Decode the record's `count` headers into `headers`, before the walk goes on. CORRUPT. */
BECK_PRIVATE int batch_headers(const struct batch_walk *walk, const uint8_t *headers_at,
                               uint32_t count, beck_header *headers);

#endif
