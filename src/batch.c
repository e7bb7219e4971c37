/* batch.c -- one record batch: build, walk, verify */
/* A batch is Kafka's RecordBatch of magic 2, byte for byte (doc/FORMAT.md, section 4): what beck
 * stores is what Kafka would send. It is 61 big-endian bytes and then the records:
 *
 *     0            8       12            16     17   21          23
 *     +------------+-------+-------------+------+----+-----------+-------------------+- - -
 *     | base offset| length| leader epoch| magic| crc| attributes| last offset delta | times ...
 *     +------------+-------+-------------+------+----+-----------+-------------------+- - -
 *     |<------------- not covered by crc ----------->|<------- covered by crc ------ - - -
 *
 * Building takes two passes, because the length of each record stands in front of it and space is
 * reserved before anything is written: batch_measure refuses what cannot be stored and adds up the
 * sizes, batch_encode writes exactly that many bytes and cannot fail.
 *
 * Reading trusts nothing. batch_parse copies the header and checks it against itself; the walk
 * checks each length against the record, each record against the batch, and that both end where
 * their fields do. The checksum is no protection: who makes a hostile file computes it, too. */
#include "batch.h"

#include <inttypes.h>

#include "bytes.h"
#include "crc32c.h"
#include "err.h"

#define BATCH_MAGIC 2
#define BATCH_LENGTH_END 12u      /* the length field counts from here */
#define BATCH_RECORD_BYTES_MIN 7u /* seven fields of one byte */
#define BATCH_HEADER_NAME_MAX 65535u
#define BATCH_VARINT_BYTES 5
#define BATCH_VARLONG_BYTES 10

/* ---- Building -------------------------------------------------------------------------------- */

static inline uint64_t field_size(const void *data, uint32_t size)
{
    return data ? varint_size(size) + (uint64_t)size : 1;
}

static uint64_t headers_size(const beck_record *record)
{
    uint64_t bytes = varint_size(record->header_count);
    for (uint32_t i = 0; i < record->header_count; i++) {
        const beck_header *h = &record->headers[i];
        bytes += field_size(h->name, h->name_size) + field_size(h->value, h->value_size);
    }
    return bytes;
}

/* The bytes of a record behind its length. */
static inline uint64_t record_size(const beck_record *record, int64_t timestamp_delta, size_t index)
{
    uint64_t headers = LIKELY(record->header_count == 0) ? 1 : headers_size(record);
    return 1 + varint_size(timestamp_delta) + varint_size((int64_t)index) +
           field_size(record->key, record->key_size) +
           field_size(record->value, record->value_size) + headers;
}

static inline int64_t record_time(const beck_record *record, int64_t now)
{
    return record->timestamp == BECK_NO_TIMESTAMP ? now : record->timestamp;
}

static int headers_check(const beck_record *record, size_t number)
{
    if (record->header_count > BECK_HEADERS_MAX)
        return err_set(BECK_TOO_LARGE, "record %zu: %" PRIu32 " headers, at most %d", number,
                       record->header_count, BECK_HEADERS_MAX);
    if (record->headers == NULL)
        return err_set(BECK_INVALID, "record %zu: no headers, but a count of %" PRIu32, number,
                       record->header_count);
    for (uint32_t i = 0; i < record->header_count; i++) {
        const beck_header *h = &record->headers[i];
        if (h->name == NULL)
            return err_set(BECK_INVALID, "record %zu: header %" PRIu32 " has no name", number,
                           i + 1);
        if (h->name_size > BATCH_HEADER_NAME_MAX)
            return err_set(BECK_TOO_LARGE,
                           "record %zu: header %" PRIu32 " has a name of %" PRIu32
                           " bytes, at most %u",
                           number, i + 1, h->name_size, BATCH_HEADER_NAME_MAX);
        if (h->value == NULL && h->value_size > 0)
            return err_set(BECK_INVALID,
                           "record %zu: header %" PRIu32 " is null, but of %" PRIu32 " bytes",
                           number, i + 1, h->value_size);
    }
    return BECK_OK;
}

static inline int record_check(const beck_record *record, size_t number)
{
    if (UNLIKELY(record->key == NULL && record->key_size > 0))
        return err_set(BECK_INVALID, "record %zu: the key is null, but of %" PRIu32 " bytes",
                       number, record->key_size);
    if (UNLIKELY(record->key_size > BECK_KEY_MAX))
        return err_set(BECK_TOO_LARGE, "record %zu: a key of %" PRIu32 " bytes, at most %u", number,
                       record->key_size, BECK_KEY_MAX);
    if (UNLIKELY(record->value == NULL && record->value_size > 0))
        return err_set(BECK_INVALID, "record %zu: the value is null, but of %" PRIu32 " bytes",
                       number, record->value_size);
    if (UNLIKELY(record->timestamp < 0))
        return err_set(BECK_INVALID, "record %zu: timestamp %" PRId64 " is before 1970", number,
                       record->timestamp);
    return LIKELY(record->header_count == 0) ? BECK_OK : headers_check(record, number);
}

/* Compared after each record, of less than 2^43 bytes, so that the sum cannot overflow. */
int batch_measure(const beck_record *records, size_t count, int64_t now, uint64_t bytes_max,
                  struct batch_plan *plan)
{
    ASSERT(bytes_max <= INT32_MAX);
    if (UNLIKELY(count == 0)) return err_set(BECK_INVALID, "a batch of no records");
    if (UNLIKELY(count > INT32_MAX))
        return err_set(BECK_TOO_LARGE, "a batch of %zu records, at most %d", count, INT32_MAX);
    int64_t base = record_time(&records[0], now);
    *plan = (struct batch_plan){
        .bytes = BATCH_HEADER_BYTES, .base_timestamp = base, .max_timestamp = base, .now = now};
    for (size_t i = 0; i < count; i++) {
        int rc = record_check(&records[i], i + 1);
        if (UNLIKELY(rc < 0)) return rc;
        int64_t timestamp = record_time(&records[i], now);
        if (timestamp > plan->max_timestamp) plan->max_timestamp = timestamp;
        uint64_t bytes = record_size(&records[i], timestamp - base, i);
        plan->bytes += varint_size((int64_t)bytes) + bytes;
        if (UNLIKELY(plan->bytes > bytes_max))
            return err_set(BECK_TOO_LARGE,
                           "record %zu: up to here the batch has %" PRIu64
                           " bytes, max.message.bytes is %" PRIu64,
                           i + 1, plan->bytes, bytes_max);
    }
    return BECK_OK;
}

/* Keys are mostly of 8 to 16 bytes: two overlapping moves are cheaper than a call. */
static inline uint8_t *field_put(uint8_t *p, const void *data, uint32_t size)
{
    if (data == NULL) return varint_put(p, -1);
    p = varint_put(p, size);
    if (size >= 8 && size <= 16) {
        memcpy(p, data, 8);
        memcpy(p + size - 8, (const uint8_t *)data + size - 8, 8);
    } else {
        memcpy(p, data, size);
    }
    return p + size;
}

static uint8_t *headers_put(uint8_t *p, const beck_record *record)
{
    p = varint_put(p, record->header_count);
    for (uint32_t i = 0; i < record->header_count; i++) {
        p = field_put(p, record->headers[i].name, record->headers[i].name_size);
        p = field_put(p, record->headers[i].value, record->headers[i].value_size);
    }
    return p;
}

static inline uint8_t *record_put(uint8_t *p, const beck_record *record, int64_t timestamp_delta,
                                  size_t index)
{
    p = varint_put(p, (int64_t)record_size(record, timestamp_delta, index));
    *p++ = 0;
    p = varint_put(p, timestamp_delta);
    p = varint_put(p, (int64_t)index);
    p = field_put(p, record->key, record->key_size);
    p = field_put(p, record->value, record->value_size);
    if (UNLIKELY(record->header_count > 0)) return headers_put(p, record);
    *p++ = 0;
    return p;
}

void batch_encode(uint8_t *out, const beck_record *records, size_t count, int64_t base_offset,
                  const struct batch_plan *plan)
{
    /* In words of 8 bytes, as the CRC reads them back: a load that spans several fresh stores has
     * to wait for all of them. Attributes 0, then last offset delta, timestamps, producer (-1:
     * none). */
    uint64_t base = (uint64_t)plan->base_timestamp, max = (uint64_t)plan->max_timestamp;
    put_be64(out, (uint64_t)base_offset);
    put_be64(out + 8, (plan->bytes - BATCH_LENGTH_END) << 32);
    out[16] = BATCH_MAGIC;
    put_be64(out + 21, (uint64_t)(count - 1) << 16 | base >> 48);
    put_be64(out + 29, base << 16 | max >> 48);
    put_be64(out + 37, max << 16 | 0xffff);
    put_be64(out + 45, UINT64_MAX);
    put_be64(out + 53, UINT64_C(0xffffffff) << 32 | (uint32_t)count);
    uint8_t *p = out + BATCH_HEADER_BYTES;
    for (size_t i = 0; i < count; i++) {
        int64_t timestamp = record_time(&records[i], plan->now);
        p = record_put(p, &records[i], timestamp - plan->base_timestamp, i);
    }
    ASSERT((uint64_t)(p - out) == plan->bytes);
    put_be32(out + 17, crc32c(0, out + BATCH_UNCOVERED_BYTES, plan->bytes - BATCH_UNCOVERED_BYTES));
}

/* ---- Compressing ----------------------------------------------------------------------------- */

size_t batch_compressed_room(unsigned codec, const struct batch_plan *plan)
{
    return BATCH_HEADER_BYTES + codec_room(codec, (size_t)plan->bytes - BATCH_HEADER_BYTES);
}

int batch_compress(struct codec_tools *tools, unsigned codec, const uint8_t *encoded,
                   const struct batch_plan *plan, uint8_t *to, uint32_t *bytes)
{
    size_t plain = (size_t)plan->bytes - BATCH_HEADER_BYTES, used = 0;
    size_t room = batch_compressed_room(codec, plan) - BATCH_HEADER_BYTES;
    int rc = codec_compress(tools, codec, encoded + BATCH_HEADER_BYTES, plain,
                            to + BATCH_HEADER_BYTES, room, &used);
    *bytes = 0;
    if (rc < 0 || used == 0) return rc;
    memcpy(to, encoded, BATCH_HEADER_BYTES);
    *bytes = (uint32_t)(BATCH_HEADER_BYTES + used);
    put_be32(to + 8, *bytes - BATCH_LENGTH_END);
    to[22] = (uint8_t)codec;
    put_be32(to + 17, crc32c(0, to + BATCH_UNCOVERED_BYTES, *bytes - BATCH_UNCOVERED_BYTES));
    return BECK_OK;
}

/* ---- Reading the header ---------------------------------------------------------------------- */

static int batch_damaged(int64_t base_offset, const char *what)
{
    return err_set(BECK_CORRUPT, "batch at offset %" PRId64 ": %s", base_offset, what);
}

/* The header is copied before it is checked: behind `data` may be a page that others write. */
int batch_parse(const uint8_t *data, uint64_t available, struct batch *batch)
{
    uint8_t h[BATCH_HEADER_BYTES];
    if (available < sizeof h)
        return err_set(BECK_CORRUPT, "a batch needs %zu bytes, %" PRIu64 " are left", sizeof h,
                       available);
    memcpy(h, data, sizeof h);
    uint64_t bytes = (uint64_t)get_be32(h + 8) + BATCH_LENGTH_END;
    int64_t delta = (int32_t)get_be32(h + 23), count = (int32_t)get_be32(h + 57);
    *batch = (struct batch){
        .base_offset = (int64_t)get_be64(h),
        .bytes = (uint32_t)bytes,
        .crc = get_be32(h + 17),
        .attributes = get_be16(h + 21),
        .last_offset_delta = (int32_t)delta,
        .base_timestamp = (int64_t)get_be64(h + 27),
        .max_timestamp = (int64_t)get_be64(h + 35),
        .producer_id = (int64_t)get_be64(h + 43),
        .producer_epoch = (int16_t)get_be16(h + 51),
        .base_sequence = (int32_t)get_be32(h + 53),
        .count = (uint32_t)count,
    };
    int64_t base = batch->base_offset;
    if (bytes < sizeof h || bytes > INT32_MAX || bytes > available)
        return batch_damaged(base, "length");
    if (h[16] != BATCH_MAGIC) return batch_damaged(base, "magic");
    if (base < 0) return batch_damaged(base, "base offset");
    if (delta < 0 || base >= INT64_MAX - delta) return batch_damaged(base, "last offset delta");
    if (count < 0 || count > delta + 1) return batch_damaged(base, "number of records");
    if ((batch->attributes & BATCH_CODEC_MASK) != 0)
        return BECK_OK; /* how much is in it, nobody knows */
    uint64_t room = bytes - sizeof h;
    if ((uint64_t)count > room / BATCH_RECORD_BYTES_MIN || (count == 0 && room > 0))
        return batch_damaged(base, "number of records and length");
    return BECK_OK;
}

bool batch_intact(const uint8_t *data, const struct batch *batch)
{
    return crc32c(0, data + BATCH_UNCOVERED_BYTES, batch->bytes - BATCH_UNCOVERED_BYTES) ==
           batch->crc;
}

/* ---- Walking the records --------------------------------------------------------------------- */

void batch_unpacker_free(struct batch_unpacker *u)
{
    codec_free(&u->tools);
    buf_free(&u->packed);
    buf_free(&u->records);
    u->user = NULL;
}

/* `data` may be mapped, and others may write it: a codec that reads a length twice, to check it and
 * to use it, could be led behind its buffer. So it gets a copy. */
static int unpack(struct batch_walk *walk, const uint8_t *data, const struct batch *batch,
                  struct batch_unpacker *u, uint64_t limit)
{
    int rc = buf_reserve(&u->packed, batch->bytes); /* never none: a pointer to nothing is one */
    if (rc == 0) rc = buf_reserve(&u->records, 1);
    if (rc < 0) return rc;
    size_t bytes = batch->bytes - BATCH_HEADER_BYTES;
    memcpy(u->packed.data, data + BATCH_HEADER_BYTES, bytes);
    rc = codec_decompress(&u->tools, batch_codec(batch), u->packed.data, bytes, (size_t)limit,
                          &u->records);
    if (rc == 0 && batch->count > u->records.size / BATCH_RECORD_BYTES_MIN)
        rc = err_set(BECK_CORRUPT, "it has no room for its %" PRIu32 " records", batch->count);
    if (rc < 0) return err_context(rc, "batch at offset %" PRId64, batch->base_offset);
    walk->at = u->records.data;
    walk->end = u->records.data + u->records.size;
    return BECK_OK;
}

int batch_walk_begin(struct batch_walk *walk, const uint8_t *data, const struct batch *batch,
                     struct batch_unpacker *u, uint64_t limit)
{
    *walk = (struct batch_walk){
        .at = data + BATCH_HEADER_BYTES,
        .end = data + batch->bytes,
        .batch = *batch,
        .left = batch->count,
        .offset_delta = -1,
    };
    if (LIKELY(batch_codec(batch) == CODEC_NONE)) return BECK_OK;
    if (u == NULL)
        return err_set(BECK_CORRUPT, "batch at offset %" PRId64 ": compressed where none is",
                       batch->base_offset);
    return unpack(walk, data, batch, u, limit);
}

static int walk_damaged(const struct batch_walk *walk, const char *what)
{
    return err_set(BECK_CORRUPT, "batch at offset %" PRId64 ", record %" PRIu32 ": %s",
                   walk->batch.base_offset, walk->batch.count - walk->left + 1, what);
}

/* A length and so many bytes, or -1 and null. NULL when it does not fit. */
static inline const uint8_t *field_get(const uint8_t *p, const uint8_t *end, const void **data,
                                       uint32_t *size)
{
    int64_t length;
    p = varint_get_max(p, end, BATCH_VARINT_BYTES, &length);
    if (UNLIKELY(p == NULL || length < -1 || length > end - p)) return NULL;
    *data = length < 0 ? NULL : p;
    *size = length < 0 ? 0 : (uint32_t)length;
    return p + *size;
}

static const uint8_t *header_get(const uint8_t *p, const uint8_t *end, beck_header *header)
{
    const void *name;
    p = field_get(p, end, &name, &header->name_size);
    if (p == NULL || name == NULL) return NULL;
    header->name = name;
    return field_get(p, end, &header->value, &header->value_size);
}

static const uint8_t *headers_skip(const uint8_t *p, const uint8_t *end, uint32_t count)
{
    beck_header header;
    for (; count > 0 && p != NULL; count--) p = header_get(p, end, &header);
    return p;
}

/* `p` at the timestamp delta: the numbers of a record up to its key. NULL when they cannot be. */
static inline const uint8_t *record_numbers(const struct batch_walk *walk, const uint8_t *p,
                                            const uint8_t *end, int64_t *timestamp,
                                            int64_t *offset_delta)
{
    int64_t delta;
    p = varint_get_max(p, end, BATCH_VARLONG_BYTES, &delta);
    if (UNLIKELY(p == NULL || __builtin_add_overflow(walk->batch.base_timestamp, delta, timestamp)))
        return NULL;
    if (UNLIKELY(walk->batch.attributes & BATCH_LOG_APPEND_TIME))
        *timestamp = walk->batch.max_timestamp;
    p = varint_get_max(p, end, BATCH_VARINT_BYTES, offset_delta);
    if (UNLIKELY(p == NULL || *offset_delta <= walk->offset_delta ||
                 *offset_delta > walk->batch.last_offset_delta))
        return NULL;
    return p;
}

int batch_walk_next(struct batch_walk *walk, beck_record *record, const uint8_t **headers_at)
{
    int64_t length, offset_delta, headers;
    if (walk->left == 0) return 0;
    const uint8_t *p = varint_get_max(walk->at, walk->end, BATCH_VARINT_BYTES, &length);
    if (UNLIKELY(p == NULL || length < BATCH_RECORD_BYTES_MIN - 1 || length > walk->end - p))
        return walk_damaged(walk, "length");
    const uint8_t *end = p + length;
    p = record_numbers(walk, p + 1, end, &record->timestamp, &offset_delta);
    if (UNLIKELY(p == NULL)) return walk_damaged(walk, "timestamp or offset");
    p = field_get(p, end, &record->key, &record->key_size);
    if (UNLIKELY(p == NULL)) return walk_damaged(walk, "key");
    p = field_get(p, end, &record->value, &record->value_size);
    if (UNLIKELY(p == NULL)) return walk_damaged(walk, "value");
    p = varint_get_max(p, end, BATCH_VARINT_BYTES, &headers);
    if (UNLIKELY(p == NULL || headers < 0 || headers > (end - p) / 2 || headers > BECK_HEADERS_MAX))
        return walk_damaged(walk, "number of headers");
    record->header_count = (uint32_t)headers;
    *headers_at = p;
    if (UNLIKELY(headers > 0)) p = headers_skip(p, end, record->header_count);
    if (UNLIKELY(p != end)) return walk_damaged(walk, "its fields do not fill it");
    if (UNLIKELY(walk->left == 1 && end != walk->end))
        return walk_damaged(walk, "bytes behind the last record");
    record->offset = walk->batch.base_offset + offset_delta;
    walk->offset_delta = (int32_t)offset_delta;
    walk->at = end;
    walk->left--;
    return 1;
}

int batch_headers(const struct batch_walk *walk, const uint8_t *headers_at, uint32_t count,
                  beck_header *headers)
{
    const uint8_t *p = headers_at;
    for (uint32_t i = 0; i < count; i++) {
        p = header_get(p, walk->at, &headers[i]);
        if (p == NULL)
            return err_set(BECK_CORRUPT, "batch at offset %" PRId64 ": headers of a record",
                           walk->batch.base_offset);
    }
    return BECK_OK;
}
