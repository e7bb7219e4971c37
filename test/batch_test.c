/* batch_test.c -- golden bytes, round trips, limits, and batches that lie */
#include "batch.h"

#include <string.h>

#include "bytes.h"
#include "crc32c.h"
#include "err.h"
#include "test.h"

#define NOW INT64_C(1700000000000)
#define RECORDS_MAX 1000
#define SPACE (4u * 1024 * 1024)

static uint64_t random_state;

static uint32_t random_below(uint32_t limit)
{
    random_state = random_state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)((random_state >> 33) % limit);
}

/* ---- Golden bytes ---------------------------------------------------------------------------- */

/* Four records: "42" = "paid"; null = "" a second earlier; "" = null with headers trace = "x" and
 * "" = null; 70 times "k" = "v". Computed by an independent program. */
static const uint8_t golden[180] = {
    0x00, 0x00, 0x00, 0x00, 0x07, 0x5b, 0xcd, 0x15, 0x00, 0x00, 0x00, 0xa8, 0x00, 0x00, 0x00,
    0x00, 0x02, 0xeb, 0x7a, 0xf5, 0xa9, 0x00, 0x00, 0x00, 0x00, 0x00, 0x03, 0x00, 0x00, 0x01,
    0x8b, 0xcf, 0xe5, 0x68, 0x00, 0x00, 0x00, 0x01, 0x8b, 0xcf, 0xe5, 0x68, 0x4d, 0xff, 0xff,
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00,
    0x04, 0x18, 0x00, 0x00, 0x00, 0x04, 0x34, 0x32, 0x08, 0x70, 0x61, 0x69, 0x64, 0x00, 0x0e,
    0x00, 0xcf, 0x0f, 0x02, 0x01, 0x00, 0x00, 0x20, 0x00, 0x0a, 0x04, 0x00, 0x01, 0x04, 0x0a,
    0x74, 0x72, 0x61, 0x63, 0x65, 0x02, 0x78, 0x00, 0x01, 0x9e, 0x01, 0x00, 0x9a, 0x01, 0x06,
    0x8c, 0x01, 0x6b, 0x6b, 0x6b, 0x6b, 0x6b, 0x6b, 0x6b, 0x6b, 0x6b, 0x6b, 0x6b, 0x6b, 0x6b,
    0x6b, 0x6b, 0x6b, 0x6b, 0x6b, 0x6b, 0x6b, 0x6b, 0x6b, 0x6b, 0x6b, 0x6b, 0x6b, 0x6b, 0x6b,
    0x6b, 0x6b, 0x6b, 0x6b, 0x6b, 0x6b, 0x6b, 0x6b, 0x6b, 0x6b, 0x6b, 0x6b, 0x6b, 0x6b, 0x6b,
    0x6b, 0x6b, 0x6b, 0x6b, 0x6b, 0x6b, 0x6b, 0x6b, 0x6b, 0x6b, 0x6b, 0x6b, 0x6b, 0x6b, 0x6b,
    0x6b, 0x6b, 0x6b, 0x6b, 0x6b, 0x6b, 0x6b, 0x6b, 0x6b, 0x6b, 0x6b, 0x6b, 0x02, 0x76, 0x00,
};

static const beck_header golden_headers[2] = {
    {.name = "trace", .name_size = 5, .value = "x", .value_size = 1},
    {.name = "", .name_size = 0, .value = NULL, .value_size = 0},
};

static void golden_records(beck_record records[4])
{
    static char key[70];
    memset(key, 'k', sizeof key);
    records[0] = (beck_record){.key = "42", .key_size = 2, .value = "paid", .value_size = 4};
    records[1] = (beck_record){.value = "", .timestamp = NOW - 1000};
    records[2] = (beck_record){
        .key = "", .headers = golden_headers, .header_count = 2, .timestamp = NOW + 5};
    records[3] = (beck_record){
        .key = key, .key_size = 70, .value = "v", .value_size = 1, .timestamp = NOW + 77};
}

START_TEST(encodes_the_golden_bytes)
{
    beck_record records[4];
    struct batch_plan plan;
    uint8_t out[sizeof golden];
    golden_records(records);
    ck_assert_int_eq(batch_measure(records, 4, NOW, sizeof golden, &plan), BECK_OK);
    ck_assert_uint_eq(plan.bytes, sizeof golden);
    batch_encode(out, records, 4, 123456789, &plan);
    for (size_t i = 0; i < sizeof golden; i++)
        ck_assert_msg(out[i] == golden[i], "byte %zu is %02x", i, out[i]);
}
END_TEST

START_TEST(parses_the_golden_header)
{
    struct batch b;
    ck_assert_int_eq(batch_parse(golden, sizeof golden, &b), BECK_OK);
    ck_assert_int_eq(b.base_offset, 123456789);
    ck_assert_uint_eq(b.bytes, sizeof golden);
    ck_assert_uint_eq(b.crc, 0xeb7af5a9);
    ck_assert_uint_eq(b.attributes, 0);
    ck_assert_int_eq(b.last_offset_delta, 3);
    ck_assert_int_eq(b.base_timestamp, NOW);
    ck_assert_int_eq(b.max_timestamp, NOW + 77);
    ck_assert_int_eq(b.producer_id, -1);
    ck_assert_int_eq(b.producer_epoch, -1);
    ck_assert_int_eq(b.base_sequence, -1);
    ck_assert_uint_eq(b.count, 4);
    ck_assert(batch_intact(golden, &b));
}
END_TEST

/* ---- Round trips ----------------------------------------------------------------------------- */

static bool same_bytes(const void *a, uint32_t a_size, const void *b, uint32_t b_size)
{
    return (a == NULL) == (b == NULL) && a_size == b_size &&
           (a_size == 0 || memcmp(a, b, a_size) == 0);
}

static void expect_headers(const struct batch_walk *walk, const uint8_t *at,
                           const beck_record *sent)
{
    beck_header *headers = malloc(sent->header_count * sizeof *headers + 1);
    ck_assert_int_eq(batch_headers(walk, at, sent->header_count, headers), BECK_OK);
    for (uint32_t i = 0; i < sent->header_count; i++) {
        const beck_header *h = &sent->headers[i];
        ck_assert(same_bytes(h->name, h->name_size, headers[i].name, headers[i].name_size));
        ck_assert(same_bytes(h->value, h->value_size, headers[i].value, headers[i].value_size));
    }
    free(headers);
}

/* Encode into memory of exactly the size, read it back, compare each field. */
static void expect_round_trip(const beck_record *records, size_t count, int64_t base_offset)
{
    struct batch_plan plan;
    struct batch b;
    struct batch_walk walk;
    ck_assert_int_eq(batch_measure(records, count, NOW, SPACE, &plan), BECK_OK);
    uint8_t *out = malloc(plan.bytes);
    batch_encode(out, records, count, base_offset, &plan);
    ck_assert_int_eq(batch_parse(out, plan.bytes, &b), BECK_OK);
    ck_assert(batch_intact(out, &b));
    ck_assert_uint_eq(b.count, count);
    ck_assert_int_eq(b.last_offset_delta, (int64_t)count - 1);
    ck_assert_int_eq(batch_walk_begin(&walk, out, &b, NULL, 0), BECK_OK);
    int64_t max = 0;
    for (size_t i = 0; i < count; i++) {
        const beck_record *sent = &records[i];
        beck_record got;
        const uint8_t *headers_at;
        ck_assert_int_eq(batch_walk_next(&walk, &got, &headers_at), 1);
        int64_t timestamp = sent->timestamp != 0 ? sent->timestamp : NOW;
        if (timestamp > max) max = timestamp;
        ck_assert_int_eq(got.timestamp, timestamp);
        ck_assert_int_eq(got.offset, base_offset + (int64_t)i);
        ck_assert(same_bytes(sent->key, sent->key_size, got.key, got.key_size));
        ck_assert(same_bytes(sent->value, sent->value_size, got.value, got.value_size));
        ck_assert_uint_eq(got.header_count, sent->header_count);
        expect_headers(&walk, headers_at, sent);
    }
    ck_assert_int_eq(b.max_timestamp, max);
    beck_record none;
    const uint8_t *nowhere;
    ck_assert_int_eq(batch_walk_next(&walk, &none, &nowhere), 0);
    ck_assert_ptr_eq(walk.at, out + plan.bytes);
    free(out);
}

START_TEST(the_golden_records_come_back)
{
    beck_record records[4];
    golden_records(records);
    expect_round_trip(records, 4, 0);
    expect_round_trip(records, 1, INT64_MAX - 1);
    expect_round_trip(records + 2, 2, 1);
}
END_TEST

/* Every way to be null, empty or there, alone. */
START_TEST(null_is_not_empty)
{
    const char *const values[] = {NULL, "", "x"};
    const uint32_t sizes[] = {0, 0, 1};
    for (int k = 0; k < 3; k++) {
        for (int v = 0; v < 3; v++) {
            beck_header header = {
                .name = "n", .name_size = 1, .value = values[k], .value_size = sizes[k]};
            beck_record r = {.key = values[k],
                             .key_size = sizes[k],
                             .value = values[v],
                             .value_size = sizes[v],
                             .headers = &header,
                             .header_count = (uint32_t)v % 2};
            expect_round_trip(&r, 1, 5);
        }
    }
}
END_TEST

/* Sizes and times around the steps of varints and of copying. */
START_TEST(every_size_comes_back)
{
    char *bytes = malloc(70000);
    memset(bytes, 'b', 70000);
    for (uint32_t size = 0; size < 300; size++) {
        beck_record r = {.key = bytes, .key_size = size, .value = bytes, .value_size = 300 - size};
        expect_round_trip(&r, 1, 0);
    }
    for (uint32_t size = 8150; size < 8200; size++) {
        beck_record r = {
            .key = bytes, .key_size = BECK_KEY_MAX, .value = bytes, .value_size = size};
        expect_round_trip(&r, 1, 0);
    }
    for (unsigned bit = 0; bit < 63; bit++) {
        beck_record r[3] = {
            {.timestamp = INT64_C(1) << bit}, {.timestamp = 1}, {.timestamp = INT64_MAX}};
        expect_round_trip(r, 3, 0);
    }
    free(bytes);
}
END_TEST

static uint32_t random_size(uint32_t small)
{
    return random_below(20) == 0 ? random_below(1000) : random_below(small);
}

static void random_record(beck_record *r, beck_header headers[3], const uint8_t *bytes)
{
    *r = (beck_record){.headers = headers,
                       .header_count = random_below(4) == 0 ? random_below(4) : 0};
    if (random_below(5) > 0) {
        r->key = bytes + random_below(1000);
        r->key_size = random_size(30);
    }
    if (random_below(5) > 0) {
        r->value = bytes + random_below(1000);
        r->value_size = random_size(150);
    }
    if (random_below(3) > 0) r->timestamp = NOW + random_below(100000) - 50000;
    for (uint32_t i = 0; i < r->header_count; i++) {
        headers[i] = (beck_header){.name = (const char *)bytes, .name_size = random_size(10)};
        if (random_below(3) == 0) continue;
        headers[i].value = bytes + random_below(1000);
        headers[i].value_size = random_size(20);
    }
}

START_TEST(random_records_come_back)
{
    static uint8_t bytes[2000];
    static beck_record records[RECORDS_MAX];
    static beck_header headers[RECORDS_MAX][3];
    random_state = test_seed();
    for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = (uint8_t)random_below(256);
    for (int round = 0; round < 60; round++) {
        size_t count = round < 30 ? 1 + random_below(8) : 1 + random_below(RECORDS_MAX);
        for (size_t i = 0; i < count; i++) random_record(&records[i], headers[i], bytes);
        expect_round_trip(records, count, (int64_t)random_below(1000000) << random_below(40));
    }
}
END_TEST

/* ---- Limits ---------------------------------------------------------------------------------- */

static int measure_one(beck_record r)
{
    struct batch_plan plan;
    (void)err_set(BECK_INVALID, "%s", "");
    return batch_measure(&r, 1, NOW, MESSAGE_BYTES_DEFAULT, &plan);
}

START_TEST(the_key_has_a_limit)
{
    char *key = calloc(1, BECK_KEY_MAX + 1);
    ck_assert_int_eq(measure_one((beck_record){.key = key, .key_size = BECK_KEY_MAX}), BECK_OK);
    ck_assert_int_eq(measure_one((beck_record){.key = key, .key_size = BECK_KEY_MAX + 1}),
                     BECK_TOO_LARGE);
    ck_assert_ptr_nonnull(strstr(err_message(), "65537"));
    ck_assert_ptr_nonnull(strstr(err_message(), "65536"));
    free(key);
}
END_TEST

START_TEST(null_has_no_size)
{
    ck_assert_int_eq(measure_one((beck_record){.key_size = 1}), BECK_INVALID);
    ck_assert_ptr_nonnull(strstr(err_message(), "key"));
    ck_assert_int_eq(measure_one((beck_record){.value_size = 1}), BECK_INVALID);
    ck_assert_ptr_nonnull(strstr(err_message(), "value"));
    ck_assert_int_eq(measure_one((beck_record){.header_count = 1}), BECK_INVALID);
    beck_header h = {.name = "n", .name_size = 1, .value_size = 1};
    ck_assert_int_eq(measure_one((beck_record){.headers = &h, .header_count = 1}), BECK_INVALID);
    h = (beck_header){.value = "v", .value_size = 1};
    ck_assert_int_eq(measure_one((beck_record){.headers = &h, .header_count = 1}), BECK_INVALID);
    ck_assert_ptr_nonnull(strstr(err_message(), "name"));
}
END_TEST

START_TEST(headers_have_limits)
{
    beck_header *h = calloc(BECK_HEADERS_MAX + 1, sizeof *h);
    char *name = calloc(1, 65536);
    for (int i = 0; i <= BECK_HEADERS_MAX; i++) h[i].name = "n";
    beck_record r = {.headers = h, .header_count = BECK_HEADERS_MAX};
    ck_assert_int_eq(measure_one(r), BECK_OK);
    expect_round_trip(&r, 1, 0);
    r.header_count++;
    ck_assert_int_eq(measure_one(r), BECK_TOO_LARGE);
    r.header_count = 1;
    h[0] = (beck_header){.name = name, .name_size = 65535};
    ck_assert_int_eq(measure_one(r), BECK_OK);
    h[0].name_size++;
    ck_assert_int_eq(measure_one(r), BECK_TOO_LARGE);
    free(name);
    free(h);
}
END_TEST

START_TEST(times_before_1970_are_refused)
{
    ck_assert_int_eq(measure_one((beck_record){.timestamp = -1}), BECK_INVALID);
    ck_assert_int_eq(measure_one((beck_record){.timestamp = INT64_MIN}), BECK_INVALID);
    ck_assert_int_eq(measure_one((beck_record){.timestamp = INT64_MAX}), BECK_OK);
}
END_TEST

START_TEST(the_batch_has_a_limit)
{
    beck_record records[4];
    struct batch_plan plan;
    golden_records(records);
    ck_assert_int_eq(batch_measure(records, 4, NOW, 180, &plan), BECK_OK);
    ck_assert_int_eq(batch_measure(records, 4, NOW, 179, &plan), BECK_TOO_LARGE);
    ck_assert_ptr_nonnull(strstr(err_message(), "record 4"));
    ck_assert_ptr_nonnull(strstr(err_message(), "180 bytes"));
    ck_assert_ptr_nonnull(strstr(err_message(), "max.message.bytes is 179"));
    records[1].value = "any"; /* never read: the size alone is too large */
    records[1].value_size = UINT32_MAX;
    ck_assert_int_eq(batch_measure(records, 4, NOW, MESSAGE_BYTES_LIMIT, &plan), BECK_TOO_LARGE);
    ck_assert_ptr_nonnull(strstr(err_message(), "record 2"));
    ck_assert_int_eq(batch_measure(records, 0, NOW, 1000, &plan), BECK_INVALID);
    ck_assert_int_eq(batch_measure(records, (size_t)INT32_MAX + 1, NOW, 1000, &plan),
                     BECK_TOO_LARGE);
}
END_TEST

START_TEST(the_wrong_record_is_named)
{
    beck_record records[4];
    struct batch_plan plan;
    golden_records(records);
    records[2].timestamp = -5;
    ck_assert_int_eq(batch_measure(records, 4, NOW, 1000, &plan), BECK_INVALID);
    ck_assert_ptr_nonnull(strstr(err_message(), "record 3"));
    ck_assert_ptr_nonnull(strstr(err_message(), "-5"));
}
END_TEST

/* ---- Headers that cannot be ------------------------------------------------------------------ */

static int parse_with(size_t at, size_t bytes, uint64_t value)
{
    uint8_t copy[sizeof golden];
    struct batch b;
    memcpy(copy, golden, sizeof copy);
    for (size_t i = 0; i < bytes; i++) copy[at + i] = (uint8_t)(value >> 8 * (bytes - 1 - i));
    return batch_parse(copy, sizeof copy, &b);
}

START_TEST(impossible_headers_are_refused)
{
    ck_assert_int_eq(parse_with(0, 8, 0), BECK_OK);
    ck_assert_int_eq(parse_with(0, 8, UINT64_MAX), BECK_CORRUPT);
    ck_assert_int_eq(parse_with(0, 8, INT64_MAX - 4), BECK_OK);
    ck_assert_int_eq(parse_with(0, 8, INT64_MAX - 3), BECK_CORRUPT);
    ck_assert_int_eq(parse_with(8, 4, 168), BECK_OK);
    ck_assert_int_eq(parse_with(8, 4, 169), BECK_CORRUPT);
    ck_assert_int_eq(parse_with(8, 4, 48), BECK_CORRUPT);
    ck_assert_int_eq(parse_with(8, 4, UINT32_MAX), BECK_CORRUPT);
    ck_assert_int_eq(parse_with(8, 4, UINT32_MAX - 11), BECK_CORRUPT);
    ck_assert_int_eq(parse_with(8, 4, 49 + 4 * 7), BECK_OK);
    ck_assert_int_eq(parse_with(8, 4, 49 + 4 * 7 - 1), BECK_CORRUPT);
    ck_assert_int_eq(parse_with(12, 4, 7), BECK_OK);
    ck_assert_int_eq(parse_with(16, 1, 1), BECK_CORRUPT);
    ck_assert_int_eq(parse_with(16, 1, 3), BECK_CORRUPT);
    ck_assert_int_eq(parse_with(23, 4, 2), BECK_CORRUPT);
    ck_assert_int_eq(parse_with(23, 4, INT32_MAX), BECK_OK);
    ck_assert_int_eq(parse_with(23, 4, UINT32_MAX), BECK_CORRUPT);
    ck_assert_int_eq(parse_with(57, 4, 3), BECK_OK);
    ck_assert_int_eq(parse_with(57, 4, 5), BECK_CORRUPT);
    ck_assert_int_eq(parse_with(57, 4, 0), BECK_CORRUPT);
    ck_assert_int_eq(parse_with(57, 4, UINT32_MAX), BECK_CORRUPT);
    ck_assert_int_eq(parse_with(23, 8, UINT64_C(0x7fffffff00000000)), BECK_OK);
}
END_TEST

START_TEST(more_records_than_room_are_refused)
{
    uint8_t copy[sizeof golden];
    struct batch b;
    memcpy(copy, golden, sizeof copy);
    put_be32(copy + 23, INT32_MAX);
    put_be32(copy + 57, (sizeof golden - 61) / 7);
    ck_assert_int_eq(batch_parse(copy, sizeof copy, &b), BECK_OK);
    put_be32(copy + 57, (sizeof golden - 61) / 7 + 1);
    ck_assert_int_eq(batch_parse(copy, sizeof copy, &b), BECK_CORRUPT);
    copy[22] = 2; /* compressed: the room says nothing */
    ck_assert_int_eq(batch_parse(copy, sizeof copy, &b), BECK_OK);
}
END_TEST

START_TEST(a_batch_may_be_empty)
{
    uint8_t copy[61];
    struct batch b;
    struct batch_walk walk;
    beck_record r;
    const uint8_t *headers_at;
    memcpy(copy, golden, sizeof copy);
    put_be32(copy + 8, 49);
    put_be32(copy + 57, 0);
    ck_assert_int_eq(batch_parse(copy, sizeof copy, &b), BECK_OK);
    ck_assert_int_eq(batch_walk_begin(&walk, copy, &b, NULL, 0), BECK_OK);
    ck_assert_int_eq(batch_walk_next(&walk, &r, &headers_at), 0);
}
END_TEST

START_TEST(unknown_codecs_are_named)
{
    struct batch_unpacker u = {.user = NULL};
    uint8_t copy[sizeof golden];
    struct batch b;
    struct batch_walk walk;
    char number[8];
    memcpy(copy, golden, sizeof copy);
    for (uint8_t codec = CODEC_COUNT; codec < 8; codec++) {
        copy[22] = codec;
        snprintf(number, sizeof number, "codec %u", codec);
        ck_assert_int_eq(batch_parse(copy, sizeof copy, &b), BECK_OK);
        ck_assert_int_eq(batch_walk_begin(&walk, copy, &b, &u, 1000), BECK_UNSUPPORTED);
        ck_assert_ptr_nonnull(strstr(err_message(), number));
        ck_assert_int_eq(batch_walk_begin(&walk, copy, &b, NULL, 0), BECK_CORRUPT);
    }
    batch_unpacker_free(&u);
}
END_TEST

/* ---- Records that lie ------------------------------------------------------------------------ */

/* A batch of `records`, `bytes` long, with offsets up to `last`; in memory of exactly its size. */
static uint8_t *raw_batch(const void *records, size_t bytes, uint32_t count, uint32_t last)
{
    uint8_t *raw = malloc(61 + bytes);
    memcpy(raw, golden, 61);
    put_be64(raw, 100);
    put_be32(raw + 8, (uint32_t)(49 + bytes));
    put_be32(raw + 23, last);
    put_be32(raw + 57, count);
    memcpy(raw + 61, records, bytes);
    put_be32(raw + 17, crc32c(0, raw + 21, 40 + bytes));
    return raw;
}

/* Walk to the end, decoding headers as a reader does: 0, or the first error. Every byte that a
 * record points to is read. */
static int walk_all(const uint8_t *raw, const struct batch *b, uint32_t *digest)
{
    struct batch_walk walk;
    beck_record r;
    const uint8_t *headers_at;
    uint32_t crc = 0;
    int rc = batch_walk_begin(&walk, raw, b, NULL, 0);
    if (rc < 0) return rc;
    while ((rc = batch_walk_next(&walk, &r, &headers_at)) > 0) {
        crc = crc32c(crc, r.key, r.key_size);
        crc = crc32c(crc, r.value, r.value_size);
        crc = crc32c(crc, &r.timestamp, sizeof r.timestamp);
        beck_header *headers = malloc(r.header_count * sizeof *headers + 1);
        ck_assert_int_eq(batch_headers(&walk, headers_at, r.header_count, headers), BECK_OK);
        for (uint32_t i = 0; i < r.header_count; i++) {
            crc = crc32c(crc, headers[i].name, headers[i].name_size);
            crc = crc32c(crc, headers[i].value, headers[i].value_size);
        }
        free(headers);
    }
    *digest = crc;
    return rc;
}

/* Parse and walk; the number of `count` records given before the end or an error. */
static int walk_raw(const void *records, size_t bytes, uint32_t count, uint32_t last)
{
    struct batch b;
    uint32_t digest;
    uint8_t *raw = raw_batch(records, bytes, count, last);
    int rc = batch_parse(raw, 61 + bytes, &b);
    if (rc == BECK_OK) {
        ck_assert(batch_intact(raw, &b));
        rc = walk_all(raw, &b, &digest);
    }
    free(raw);
    return rc;
}

#define WALK(records, count, last) walk_raw(records, sizeof(records) - 1, count, last)

/* A record of seven bytes: length 6, attributes, times, offset, null, null, no headers. */
START_TEST(record_fields_are_bounded)
{
    ck_assert_int_eq(WALK("\x0c\0\0\0\1\1\0", 1, 0), BECK_OK);
    ck_assert_int_eq(WALK("\x0c\0\0\0\0\0\0", 1, 0), BECK_OK);
    ck_assert_int_eq(WALK("\x0c\7\0\0\1\1\0", 1, 0), BECK_OK);        /* attributes: ignored */
    ck_assert_int_eq(WALK("\x0a\0\0\0\1\1\0", 1, 0), BECK_CORRUPT);   /* too short */
    ck_assert_int_eq(WALK("\x0e\0\0\0\1\1\0", 1, 0), BECK_CORRUPT);   /* behind the batch */
    ck_assert_int_eq(WALK("\x0b\0\0\0\1\1\0", 1, 0), BECK_CORRUPT);   /* negative */
    ck_assert_int_eq(WALK("\x0c\0\0\0\1\1\0\0", 1, 0), BECK_CORRUPT); /* bytes behind it */
    ck_assert_int_eq(WALK("\x0e\0\0\0\1\1\0\0", 1, 0), BECK_CORRUPT); /* bytes inside it */
    ck_assert_int_eq(WALK("\x0c\0\0\0\3\1\0", 1, 0), BECK_CORRUPT);   /* key of -2 */
    ck_assert_int_eq(WALK("\x0c\0\0\0\1\3\0", 1, 0), BECK_CORRUPT);   /* value of -2 */
    ck_assert_int_eq(WALK("\x0c\0\0\0\6\1\0", 1, 0), BECK_CORRUPT);   /* key of 3, 2 left */
    ck_assert_int_eq(WALK("\x0c\0\0\0\4\1\0", 1, 0), BECK_CORRUPT);   /* no room for a value */
    ck_assert_int_eq(WALK("\x0c\0\0\0\1\4\0", 1, 0), BECK_CORRUPT);   /* value of 2, 1 left */
    ck_assert_int_eq(WALK("\x0c\0\0\0\1\2\0", 1, 0), BECK_CORRUPT);   /* no room for headers */
    ck_assert_int_eq(WALK("\x0c\0\0\0\1\1\2", 1, 0), BECK_CORRUPT);   /* a header, none there */
    ck_assert_int_eq(WALK("\x0c\0\0\0\1\1\1", 1, 0), BECK_CORRUPT);   /* -1 headers */
    ck_assert_int_eq(WALK("\x0c\0\0\0\1\1\x80", 1, 0), BECK_CORRUPT); /* cut off */
    ck_assert_int_eq(WALK("\x0c\0\x80\x80\x80\x80\x80", 1, 0), BECK_CORRUPT);
    ck_assert_int_eq(WALK("\x0c\0\0\x80\x80\x80\x80", 1, 0), BECK_CORRUPT);
}
END_TEST

START_TEST(record_headers_are_bounded)
{
    ck_assert_int_eq(WALK("\x10\0\0\0\1\1\2\0\1", 1, 0), BECK_OK);      /* "" = null */
    ck_assert_int_eq(WALK("\x12\0\0\0\1\1\2\2n\0", 1, 0), BECK_OK);     /* "n" = "" */
    ck_assert_int_eq(WALK("\x10\0\0\0\1\1\2\1\1", 1, 0), BECK_CORRUPT); /* no name */
    ck_assert_int_eq(WALK("\x10\0\0\0\1\1\2\0\3", 1, 0), BECK_CORRUPT); /* value of -2 */
    ck_assert_int_eq(WALK("\x10\0\0\0\1\1\2\0\2", 1, 0), BECK_CORRUPT); /* value of 1, 0 left */
    ck_assert_int_eq(WALK("\x10\0\0\0\1\1\2\4n", 1, 0), BECK_CORRUPT);  /* name of 2, 1 left */
    ck_assert_int_eq(WALK("\x10\0\0\0\1\1\4\0\1", 1, 0), BECK_CORRUPT); /* two, room for one */
    ck_assert_int_eq(WALK("\x10\0\0\0\1\1\0\0\1", 1, 0), BECK_CORRUPT); /* none, bytes there */
}
END_TEST

/* No writer made more of them than it may: two bytes would take 32 of a reader's memory. */
START_TEST(record_headers_have_limits)
{
    enum { FIELDS = 9, MOST = 2 * BECK_HEADERS_MAX };
    uint8_t record[FIELDS + MOST + 2] = {0x8e, 0x20, 0, 0, 0, 1, 1, 0x80, 0x10};
    for (size_t i = FIELDS + 1; i < sizeof record; i += 2) record[i] = 1; /* "" = null */
    ck_assert_int_eq(walk_raw(record, FIELDS + MOST, 1, 0), BECK_OK);
    record[0] = 0x92; /* one more, two bytes longer */
    record[7] = 0x82;
    ck_assert_int_eq(walk_raw(record, FIELDS + MOST + 2, 1, 0), BECK_CORRUPT);
    ck_assert_ptr_nonnull(strstr(err_message(), "number of headers"));
}
END_TEST

START_TEST(offsets_rise_inside_the_batch)
{
    ck_assert_int_eq(WALK("\x0c\0\0\0\1\1\0\x0c\0\0\2\1\1\0", 2, 1), BECK_OK);
    ck_assert_int_eq(WALK("\x0c\0\0\4\1\1\0\x0c\0\0\x12\1\1\0", 2, 9), BECK_OK);
    ck_assert_int_eq(WALK("\x0c\0\0\0\1\1\0\x0c\0\0\0\1\1\0", 2, 1), BECK_CORRUPT);
    ck_assert_int_eq(WALK("\x0c\0\0\2\1\1\0\x0c\0\0\0\1\1\0", 2, 1), BECK_CORRUPT);
    ck_assert_int_eq(WALK("\x0c\0\0\0\1\1\0\x0c\0\0\4\1\1\0", 2, 1), BECK_CORRUPT);
    ck_assert_int_eq(WALK("\x0c\0\0\1\1\1\0", 1, 0), BECK_CORRUPT);
}
END_TEST

/* Kafka takes 5 bytes at most for a length or an offset, 10 for a time. */
START_TEST(overlong_numbers_are_refused)
{
    ck_assert_int_eq(WALK("\x8c\x80\x80\x80\0\0\0\0\1\1\0", 1, 0), BECK_OK);
    ck_assert_int_eq(WALK("\x8c\x80\x80\x80\x80\0\0\0\0\1\1\0", 1, 0), BECK_CORRUPT);
    ck_assert_int_eq(WALK("\x14\0\0\x80\x80\x80\x80\0\1\1\0", 1, 0), BECK_OK);
    ck_assert_int_eq(WALK("\x16\0\0\x80\x80\x80\x80\x80\0\1\1\0", 1, 0), BECK_CORRUPT);
    ck_assert_int_eq(WALK("\x16\0\0\0\x81\x80\x80\x80\x80\0\1\0", 1, 0), BECK_CORRUPT);
    ck_assert_int_eq(WALK("\x1e\0\x80\x80\x80\x80\x80\x80\x80\x80\x80\0\0\1\1\0", 1, 0), BECK_OK);
    ck_assert_int_eq(WALK("\x1e\0\x80\x80\x80\x80\x80\x80\x80\x80\x80\2\0\1\1\0", 1, 0),
                     BECK_CORRUPT);
    ck_assert_int_eq(WALK("\x20\0\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\0\0\1\1\0", 1, 0),
                     BECK_CORRUPT);
}
END_TEST

START_TEST(times_do_not_overflow)
{
    static const char records[] = "\x1e\0\xfe\xff\xff\xff\xff\xff\xff\xff\xff\1\0\1\1\0";
    ck_assert_int_eq(WALK(records, 1, 0), BECK_CORRUPT); /* base and the greatest delta */
}
END_TEST

START_TEST(log_append_time_counts_for_all)
{
    static const char records[] = "\x0c\0\0\0\1\1\0\x0c\0\1\2\1\1\0";
    uint8_t *raw = raw_batch(records, sizeof records - 1, 2, 1);
    struct batch b;
    struct batch_walk walk;
    beck_record r;
    const uint8_t *headers_at;
    raw[22] = BATCH_LOG_APPEND_TIME;
    ck_assert_int_eq(batch_parse(raw, 61 + sizeof records - 1, &b), BECK_OK);
    ck_assert_int_eq(batch_walk_begin(&walk, raw, &b, NULL, 0), BECK_OK);
    for (int i = 0; i < 2; i++) {
        ck_assert_int_eq(batch_walk_next(&walk, &r, &headers_at), 1);
        ck_assert_int_eq(r.timestamp, b.max_timestamp);
        ck_assert_int_eq(r.offset, 100 + i);
    }
    free(raw);
}
END_TEST

START_TEST(an_error_names_batch_and_record)
{
    static const char records[] = "\x0c\0\0\0\1\1\0\x0c\0\0\2\3\1\0";
    ck_assert_int_eq(WALK(records, 2, 1), BECK_CORRUPT);
    ck_assert_ptr_nonnull(strstr(err_message(), "offset 100"));
    ck_assert_ptr_nonnull(strstr(err_message(), "record 2"));
    ck_assert_ptr_nonnull(strstr(err_message(), "key"));
}
END_TEST

/* ---- Damage ---------------------------------------------------------------------------------- */

/* A copy of the golden batch with one byte changed: never taken for good where the CRC looks, and
 * never read out of bounds even without looking at the CRC. */
static void expect_damage_seen(size_t at, uint8_t flip, uint32_t good)
{
    struct batch b;
    uint32_t digest;
    uint8_t *copy = malloc(sizeof golden);
    memcpy(copy, golden, sizeof golden);
    copy[at] ^= flip;
    if (batch_parse(copy, sizeof golden, &b) == BECK_OK) {
        bool covered = at >= 17 || (at >= 8 && at < 12);
        ck_assert_msg(batch_intact(copy, &b) != covered, "byte %zu flipped by %02x", at, flip);
        int rc = walk_all(copy, &b, &digest);
        ck_assert(rc == BECK_OK || rc == BECK_CORRUPT || rc == BECK_UNSUPPORTED);
        if (!covered) ck_assert(rc == BECK_OK && digest == good);
    }
    free(copy);
}

static uint32_t golden_digest(void)
{
    struct batch b;
    uint32_t digest = 0;
    ck_assert_int_eq(batch_parse(golden, sizeof golden, &b), BECK_OK);
    ck_assert_int_eq(walk_all(golden, &b, &digest), BECK_OK);
    return digest;
}

START_TEST(every_flipped_byte)
{
    uint32_t good = golden_digest();
    for (size_t at = 0; at < sizeof golden; at++)
        for (unsigned flip = 1; flip < 256; flip++) expect_damage_seen(at, (uint8_t)flip, good);
}
END_TEST

/* Cut short as it is, and cut with a length that agrees and a good CRC. */
START_TEST(every_length)
{
    for (size_t bytes = 0; bytes < sizeof golden; bytes++) {
        struct batch b;
        uint32_t digest;
        uint8_t *copy = malloc(bytes + 1);
        memcpy(copy + 1, golden, bytes);
        ck_assert_int_eq(batch_parse(copy + 1, bytes, &b), BECK_CORRUPT);
        free(copy);
        if (bytes < 61) continue;
        copy = raw_batch(golden + 61, bytes - 61, 4, 3);
        int rc = batch_parse(copy, bytes, &b);
        if (rc == BECK_OK) rc = walk_all(copy, &b, &digest);
        ck_assert_int_eq(rc, BECK_CORRUPT);
        free(copy);
    }
}
END_TEST

/* Whoever makes a file by hand can make its CRC, too: only the walk stands between. */
START_TEST(random_damage_below_a_good_crc)
{
    static const uint8_t evil[] = {0x00, 0x01, 0x02, 0x7e, 0x7f, 0x80, 0xff, 0xfe, 0x0f};
    random_state = test_seed();
    int walked = 0;
    for (int round = 0; round < 30000; round++) {
        struct batch b;
        uint32_t digest;
        size_t bytes = sizeof golden - 61 - (round % 4 == 0 ? random_below(119) : 0);
        uint8_t *raw = raw_batch(golden + 61, bytes, 1 + random_below(4), 3);
        for (uint32_t n = random_below(4); n > 0 && bytes > 0; n--)
            raw[61 + random_below((uint32_t)bytes)] = evil[random_below(sizeof evil)];
        put_be32(raw + 17, crc32c(0, raw + 21, 40 + bytes));
        if (batch_parse(raw, 61 + bytes, &b) == BECK_OK) {
            ck_assert(batch_intact(raw, &b));
            int rc = walk_all(raw, &b, &digest);
            ck_assert(rc == BECK_OK || rc == BECK_CORRUPT);
            walked += rc == BECK_OK;
        }
        free(raw);
    }
    ck_assert_int_gt(walked, 0);
}
END_TEST

START_TEST(headers_are_decoded_inside_their_record)
{
    struct batch b;
    struct batch_walk walk;
    beck_record r;
    beck_header headers[3];
    const uint8_t *at = NULL;
    ck_assert_int_eq(batch_parse(golden, sizeof golden, &b), BECK_OK);
    ck_assert_int_eq(batch_walk_begin(&walk, golden, &b, NULL, 0), BECK_OK);
    for (int i = 0; i < 3; i++) ck_assert_int_eq(batch_walk_next(&walk, &r, &at), 1);
    ck_assert_uint_eq(r.header_count, 2);
    ck_assert_int_eq(batch_headers(&walk, at, 2, headers), BECK_OK);
    ck_assert_mem_eq(headers[0].name, "trace", 5);
    ck_assert_ptr_null(headers[1].value);
    ck_assert_int_eq(batch_headers(&walk, at, 3, headers), BECK_CORRUPT);
}
END_TEST

static TCase *building(void)
{
    TCase *c = tcase_create("building");
    tcase_add_test(c, encodes_the_golden_bytes);
    tcase_add_test(c, the_golden_records_come_back);
    tcase_add_test(c, null_is_not_empty);
    tcase_add_test(c, every_size_comes_back);
    tcase_add_test(c, random_records_come_back);
    tcase_add_test(c, the_key_has_a_limit);
    tcase_add_test(c, null_has_no_size);
    tcase_add_test(c, headers_have_limits);
    tcase_add_test(c, times_before_1970_are_refused);
    tcase_add_test(c, the_batch_has_a_limit);
    tcase_add_test(c, the_wrong_record_is_named);
    return c;
}

static TCase *reading(void)
{
    TCase *c = tcase_create("reading");
    tcase_add_test(c, parses_the_golden_header);
    tcase_add_test(c, impossible_headers_are_refused);
    tcase_add_test(c, more_records_than_room_are_refused);
    tcase_add_test(c, a_batch_may_be_empty);
    tcase_add_test(c, unknown_codecs_are_named);
    tcase_add_test(c, record_fields_are_bounded);
    tcase_add_test(c, record_headers_are_bounded);
    tcase_add_test(c, record_headers_have_limits);
    tcase_add_test(c, offsets_rise_inside_the_batch);
    tcase_add_test(c, overlong_numbers_are_refused);
    tcase_add_test(c, times_do_not_overflow);
    tcase_add_test(c, log_append_time_counts_for_all);
    tcase_add_test(c, an_error_names_batch_and_record);
    tcase_add_test(c, every_flipped_byte);
    tcase_add_test(c, every_length);
    tcase_add_test(c, random_damage_below_a_good_crc);
    tcase_add_test(c, headers_are_decoded_inside_their_record);
    return c;
}

Suite *suite(void)
{
    Suite *s = suite_create("batch");
    suite_add_tcase(s, building());
    suite_add_tcase(s, reading());
    return s;
}
