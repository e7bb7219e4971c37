/* batch_fuzz.c -- one record batch: what a file holds, and what a program appends
 *
 *     0   1   bit 0: make it of records; bit 1: leave length, magic and CRC as they are;
 *             bits 4 to 6: codec
 *     1       a batch, or what records are made of
 *
 * Whatever a batch's bytes are, its records lie inside of it and its offsets rise; encoded anew,
 * they are the same. */
#include "batch.h"
#include "bytes.h"
#include "crc32c.h"
#include "fuzz.h"

enum { RECORDS_MAX = 300, HEADERS_POOL = 3000, UNPACKED_MAX = 1 << 20 };

static struct decoded {
    beck_record records[RECORDS_MAX];
    beck_header headers[HEADERS_POOL];
    uint32_t count, headers_used;
    int status; /* of the walk: 0 = it came to its end */
} first, second;

static struct batch_unpacker unpackers[2];

static void inside(const struct batch_walk *walk, const uint8_t *from, const void *p, size_t bytes)
{
    if (p == NULL) MUST(bytes == 0);
    if (p == NULL) return;
    MUST((const uint8_t *)p >= from && (const uint8_t *)p + bytes <= walk->end);
    (void)fuzz_sum(0, p, bytes);
}

static void take_headers(const struct batch_walk *walk, const uint8_t *from, const uint8_t *at,
                         beck_record *r, struct decoded *d)
{
    beck_header *headers = d->headers + d->headers_used;
    MUST(r->header_count <= BECK_HEADERS_MAX);
    r->headers = NULL;
    if (r->header_count == 0) return;
    if (r->header_count > HEADERS_POOL - d->headers_used) {
        r->header_count = 0;
        return;
    }
    MUST(batch_headers(walk, at, r->header_count, headers) == 0);
    for (uint32_t i = 0; i < r->header_count; i++) {
        inside(walk, from, headers[i].name, headers[i].name_size);
        inside(walk, from, headers[i].value, headers[i].value_size);
    }
    r->headers = headers;
    d->headers_used += r->header_count;
}

/* All records of a batch that was parsed. */
static void decode(const uint8_t *bytes, const struct batch *batch, struct batch_unpacker *unpacker,
                   struct decoded *d)
{
    struct batch_walk walk;
    const uint8_t *headers;
    beck_record r;
    int64_t last = batch->base_offset - 1;
    uint32_t count = 0;
    d->count = d->headers_used = 0;
    d->status = batch_walk_begin(&walk, bytes, batch, unpacker, UNPACKED_MAX);
    if (d->status < 0) return;
    const uint8_t *from = walk.at;
    MUST(unpacker->records.capacity <= 2 * UNPACKED_MAX + 8192);
    while ((d->status = batch_walk_next(&walk, &r, &headers)) == 1) {
        MUST(r.offset > last && r.offset <= batch->base_offset + batch->last_offset_delta);
        last = r.offset;
        inside(&walk, from, r.key, r.key_size);
        inside(&walk, from, r.value, r.value_size);
        MUST(++count <= batch->count);
        if (d->count == RECORDS_MAX) continue;
        take_headers(&walk, from, headers, &r, d);
        d->records[d->count++] = r;
    }
    if (d->status == 0) MUST(count == batch->count);
}

static bool same_bytes(const void *a, uint32_t a_bytes, const void *b, uint32_t b_bytes)
{
    if ((a == NULL) != (b == NULL) || a_bytes != b_bytes) return false;
    return a_bytes == 0 || memcmp(a, b, a_bytes) == 0;
}

static bool same_record(const beck_record *a, const beck_record *b)
{
    if (!same_bytes(a->key, a->key_size, b->key, b->key_size) ||
        !same_bytes(a->value, a->value_size, b->value, b->value_size) ||
        a->timestamp != b->timestamp || a->header_count != b->header_count)
        return false;
    for (uint32_t i = 0; i < a->header_count; i++) {
        const beck_header *x = &a->headers[i], *y = &b->headers[i];
        if (!same_bytes(x->name, x->name_size, y->name, y->name_size) ||
            !same_bytes(x->value, x->value_size, y->value, y->value_size))
            return false;
    }
    return true;
}

static void read_back(const uint8_t *bytes, uint32_t length, const beck_record *records,
                      uint32_t count)
{
    struct batch batch;
    MUST(batch_parse(bytes, length, &batch) == 0);
    MUST(batch.bytes == length && batch_intact(bytes, &batch));
    decode(bytes, &batch, &unpackers[1], &second);
    MUST(second.status == 0 && second.count == count);
    for (uint32_t i = 0; i < count; i++) MUST(same_record(&records[i], &second.records[i]));
}

/* Encode records, compress them, and read both back. */
static void encode(const beck_record *records, uint32_t count, unsigned codec)
{
    struct batch_plan plan;
    uint32_t packed_bytes = 0;
    if (count == 0) return;
    int rc = batch_measure(records, count, 1700000000000, UNPACKED_MAX, &plan);
    MUST(rc == 0 || rc == BECK_INVALID || rc == BECK_TOO_LARGE);
    if (rc < 0) return;
    uint8_t *bytes = malloc(plan.bytes);
    if (bytes == NULL) abort();
    batch_encode(bytes, records, count, 5, &plan);
    read_back(bytes, (uint32_t)plan.bytes, records, count);
    if (codec != CODEC_NONE && codec_check(codec) == 0) {
        uint8_t *packed = malloc(batch_compressed_room(codec, &plan));
        MUST(batch_compress(&unpackers[1].tools, codec, bytes, &plan, packed, &packed_bytes) == 0);
        if (packed_bytes > 0) read_back(packed, packed_bytes, records, count);
        free(packed);
    }
    free(bytes);
}

static uint32_t make_records(struct fuzz_input *in, beck_record *records)
{
    static beck_header headers[4];
    uint32_t count = 0;
    memset(headers, 0, sizeof headers); /* what they led to is freed */
    for (; in->left > 0 && count < RECORDS_MAX; count++) {
        uint8_t kind = fuzz_byte(in);
        size_t key = fuzz_byte(in) % 40, value = fuzz_byte(in);
        beck_record *r = &records[count];
        *r = (beck_record){.timestamp = (int64_t)fuzz_number(in, kind & 1 ? 8 : 2)};
        if (r->timestamp == 0) r->timestamp = 1; /* 0 means: now */
        if (kind & 2) r->key = fuzz_bytes(in, &key), r->key_size = (uint32_t)key;
        if (kind & 4) r->value = fuzz_bytes(in, &value), r->value_size = (uint32_t)value;
        if ((kind & 8) == 0) continue;
        size_t name = kind >> 4;
        headers[kind >> 6].name = (const char *)fuzz_bytes(in, &name);
        headers[kind >> 6].name_size = (uint32_t)name;
        r->headers = headers;
        r->header_count = (kind >> 4) & 3;
    }
    return count;
}

static void read_batch(uint8_t options, uint8_t *bytes, size_t size)
{
    struct batch batch;
    if ((options & 2) == 0 && size >= BATCH_HEADER_BYTES) {
        put_be32(bytes + 8, (uint32_t)size - 12);
        bytes[16] = 2;
        put_be32(bytes + 17, crc32c(0, bytes + 21, size - 21));
    }
    if (batch_parse(bytes, size, &batch) < 0) return;
    MUST(batch.bytes <= size && batch.bytes >= BATCH_HEADER_BYTES && batch.base_offset >= 0);
    (void)batch_intact(bytes, &batch);
    decode(bytes, &batch, &unpackers[0], &first);
    bool all = first.status == 0 && first.count == batch.count;
    for (uint32_t i = 0; i < first.count; i++)
        if (first.records[i].timestamp <= 0) all = false; /* which would mean: now */
    if (all) encode(first.records, first.count, options >> 4 & 7);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input in = {data, size};
    uint8_t options = fuzz_byte(&in);
    if (options & 1) {
        encode(first.records, make_records(&in, first.records), options >> 4 & 7);
    } else {
        uint8_t *bytes = malloc(in.left);
        if (bytes != NULL && in.left > 0) memcpy(bytes, in.at, in.left);
        read_batch(options, bytes, in.left);
        free(bytes);
    }
    batch_unpacker_free(&unpackers[0]);
    batch_unpacker_free(&unpackers[1]);
    return 0;
}
