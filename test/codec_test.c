/* codec_test.c -- codecs: what Kafka compressed, round trips, limits, damage, bombs */
#include <dlfcn.h>
#include <string.h>
#include <sys/resource.h>
#ifdef BECK_WITH_SNAPPY
#include <snappy-c.h>
#endif

#include "batch.h"
#include "bytes.h"
#include "codec.h"
#include "err.h"
#include "test.h"

static const char *const names[CODEC_COUNT] = {"none", "gzip", "snappy", "lz4", "zstd"};

/* One batch in each codec as MemoryRecordsBuilder of Kafka's Java client 3.9.1 wrote it: offsets 7
 * to 12, keys key-0 and key-1 in turn, value 4 null, a header on the last record. */
static const char *const kafka[CODEC_COUNT] = {
    [CODEC_GZIP] =
        "00000000000000070000009d0000000002387791170001000000050000018bcfe568000000018bcfe5680500"
        "00000000000005000000000000000000061f8b08000000000000ffcb616060e0ca4eadd435084b54284bcc29"
        "4d5528c9482c51284a2d484d2c29d681311412f352e06c03861c062626b0364312b41902b5b1b0906c9b1150"
        "1b1b1bc9b6193388317070406c63642861e0e222d9085326a60ca60a00342d919023010000",
    [CODEC_SNAPPY] =
        "0000000000000007000000b400000000023de2717d0002000000050000018bcfe568000000018bcfe5680500"
        "000000000000050000000000000000000682534e415050590000000001000000010000006fa3027c6c000000"
        "0a6b65792d3056612076616c7565207468617420726570656174732c11090c20616e64150c1430006c000202"
        "05370031aa37001431006c0004040537ae6e001432006c0006060537ae6e0014330016000808053718300100"
        "74000a0a050cae430014350202680278",
    [CODEC_LZ4] =
        "0000000000000007000000b1000000000243dd1b580003000000050000018bcfe568000000018bcfe5680500"
        "000000000000050000000000000000000604224d1860408271000000f4116c0000000a6b65792d3056612076"
        "616c7565207468617420726570656174732c09004520616e640c006130006c00020237001f31370018613100"
        "6c00040437000f6e00196132006c00060637000f6e00196133001600080837007130010074000a0a0c000f43"
        "00196035020268027800000000",
    [CODEC_ZSTD] =
        "00000000000000070000009e0000000002cfc0001e0004000000050000018bcfe568000000018bcfe5680500"
        "000000000000050000000000000000000628b52ffd00580c0300c24411187055db1aa8f6fe5e81a9bfffffc2"
        "816103cbc2234204f953826b77c85aef0ba9d4871f2ca5f38d44e87cc6eece4f8551249ed66dd6c1d6d6b800"
        "d6006a92c56097f59f030a00d24c18d016c05c2014c05c2014c05cad4479290424ca13010000",
};

static uint8_t *from_hex(const char *hex, size_t *bytes)
{
    *bytes = strlen(hex) / 2;
    uint8_t *data = malloc(*bytes);
    for (size_t i = 0; i < *bytes; i++) {
        unsigned value;
        ck_assert_int_eq(sscanf(hex + 2 * i, "%2x", &value), 1);
        data[i] = (uint8_t)value;
    }
    return data;
}

/* Tests run for every codec; those that are not built in say so and pass. */
static bool built(int codec)
{
    return codec_check((unsigned)codec) == 0;
}

START_TEST(what_kafka_wrote_is_read)
{
    struct batch_unpacker u = {.user = NULL};
    struct batch_walk walk;
    struct batch b;
    beck_record r;
    beck_header header;
    const uint8_t *headers_at;
    char value[64];
    size_t bytes;
    if (!built(_i)) return;
    uint8_t *data = from_hex(kafka[_i], &bytes);
    ck_assert_int_eq(batch_parse(data, bytes, &b), BECK_OK);
    ck_assert(batch_intact(data, &b));
    ck_assert_uint_eq(batch_codec(&b), (unsigned)_i);
    ck_assert_int_eq(batch_walk_begin(&walk, data, &b, &u, BATCH_UNPACKED_BYTES), BECK_OK);
    for (int i = 0; i < 6; i++) {
        snprintf(value, sizeof value, "a value that repeats, repeats and repeats %d", i);
        ck_assert_int_eq(batch_walk_next(&walk, &r, &headers_at), 1);
        ck_assert_int_eq(r.offset, 7 + i);
        ck_assert_int_eq(r.timestamp, 1700000000000 + i);
        ck_assert_mem_eq(r.key, i % 2 ? "key-1" : "key-0", 5);
        ck_assert_int_eq(r.value == NULL, i == 4);
        if (i != 4) ck_assert_mem_eq(r.value, value, strlen(value));
        ck_assert_uint_eq(r.header_count, i == 5 ? 1 : 0);
    }
    ck_assert_int_eq(batch_headers(&walk, headers_at, 1, &header), BECK_OK);
    ck_assert_mem_eq(header.name, "h", 1);
    ck_assert_mem_eq(header.value, "x", 1);
    ck_assert_int_eq(batch_walk_next(&walk, &r, &headers_at), 0);
    batch_unpacker_free(&u);
    free(data);
}
END_TEST

/* ---- Round trips ---- */

enum content { ZEROS, TEXT, NOISE };

static void fill(uint8_t *data, size_t bytes, enum content content)
{
    uint64_t x = test_seed() | 1;
    for (size_t i = 0; i < bytes; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        data[i] = content == ZEROS ? 0 : content == NOISE ? (uint8_t)x : (uint8_t)("abcd "[x % 5]);
    }
}

/* Compress; *used is 0 when that is no smaller. */
static uint8_t *compress(struct codec_tools *tools, int codec, const uint8_t *data, size_t bytes,
                         size_t *used)
{
    size_t room = codec_room((unsigned)codec, bytes);
    uint8_t *to = malloc(room + 1);
    ck_assert_int_eq(codec_compress(tools, (unsigned)codec, data, bytes, to, room, used), BECK_OK);
    ck_assert_uint_le(*used, room);
    return to;
}

static void round_trip(struct codec_tools *tools, int codec, size_t bytes, enum content content)
{
    struct buf out = {0};
    size_t used;
    uint8_t *data = malloc(bytes + 1);
    fill(data, bytes, content);
    uint8_t *packed = compress(tools, codec, data, bytes, &used);
    if (content != NOISE && bytes > 200) ck_assert_uint_gt(used, 0);
    if (content == NOISE) ck_assert_uint_eq(used, 0);
    if (used > 0) {
        ck_assert_uint_lt(used, bytes);
        ck_assert_int_eq(codec_decompress(tools, (unsigned)codec, packed, used, bytes, &out), 0);
        ck_assert_uint_eq(out.size, bytes);
        ck_assert_mem_eq(out.data, data, bytes);
        ck_assert_int_eq(codec_decompress(tools, (unsigned)codec, packed, used, bytes - 1, &out),
                         BECK_TOO_LARGE);
    }
    buf_free(&out);
    free(packed);
    free(data);
}

START_TEST(every_size_comes_back)
{
    static const size_t sizes[] = {1,     2,     63,    200,   4095,   4096,    4097,
                                   32767, 32768, 32769, 65536, 100000, 1 << 20, 5000001};
    struct codec_tools tools = {0};
    if (!built(_i)) return;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        for (int content = ZEROS; content <= NOISE; content++)
            round_trip(&tools, _i, sizes[i], (enum content)content);
    codec_free(&tools);
}
END_TEST

/* ---- Hostile input ---- */

/* Cut anywhere, or with a byte changed: an error or other bytes, within the limit, and never a read
 * or write out of bounds, which the sanitizers see. */
START_TEST(damage_is_an_error_or_bounded)
{
    enum { BYTES = 3000, LIMIT = 20000 };
    struct codec_tools tools = {0};
    struct buf out = {0};
    uint8_t data[BYTES];
    size_t used;
    if (!built(_i)) return;
    fill(data, BYTES, TEXT);
    uint8_t *packed = compress(&tools, _i, data, BYTES, &used);
    ck_assert_uint_gt(used, 0);
    for (size_t n = 0; n < used; n++) {
        uint8_t *cut = malloc(n + 1);
        memcpy(cut, packed, n);
        int rc = codec_decompress(&tools, (unsigned)_i, cut, n, LIMIT, &out);
        bool blocks = _i == CODEC_SNAPPY && n == 16; /* no block at all is no bytes */
        ck_assert_int_eq(rc, blocks ? BECK_OK : BECK_CORRUPT);
        free(cut);
    }
    for (size_t n = 0; n < used * 4; n++) {
        uint8_t *bad = malloc(used);
        memcpy(bad, packed, used);
        bad[n / 4] ^= (uint8_t)(1 << (n % 4 * 2));
        int rc = codec_decompress(&tools, (unsigned)_i, bad, used, LIMIT, &out);
        ck_assert(rc == BECK_OK || rc == BECK_CORRUPT || rc == BECK_TOO_LARGE);
        ck_assert_uint_le(out.size, LIMIT + 1);
        free(bad);
    }
    /* and what is behind the end does not belong to it */
    uint8_t *longer = calloc(1, used + 1);
    memcpy(longer, packed, used);
    ck_assert_int_eq(codec_decompress(&tools, (unsigned)_i, longer, used + 1, LIMIT, &out),
                     BECK_CORRUPT);
    free(longer);
    free(packed);
    buf_free(&out);
    codec_free(&tools);
}
END_TEST

START_TEST(a_bomb_stops_at_the_limit)
{
    enum { BYTES = 200 << 20, LIMIT = 1 << 20 };
    struct codec_tools tools = {0};
    struct buf out = {0};
    size_t used;
    if (!built(_i)) return;
    uint8_t *data = calloc(1, BYTES);
    uint8_t *packed = compress(&tools, _i, data, BYTES, &used);
    free(data);
    ck_assert_uint_gt(used, 0);
    ck_assert_int_eq(codec_decompress(&tools, (unsigned)_i, packed, used, LIMIT, &out),
                     BECK_TOO_LARGE);
    ck_assert_ptr_nonnull(strstr(err_message(), "more than 1048576 bytes"));
    ck_assert_uint_le(out.capacity, 2 * LIMIT + 2);
    free(packed);
    buf_free(&out);
    codec_free(&tools);
}
END_TEST

/* ---- Memory that is short ---- */

static rlim_t limit_memory(rlim_t bytes)
{
    struct rlimit limit;
    ck_assert_int_eq(getrlimit(RLIMIT_AS, &limit), 0);
    rlim_t before = limit.rlim_cur;
    limit.rlim_cur = bytes;
    ck_assert_int_eq(setrlimit(RLIMIT_AS, &limit), 0);
    return before;
}

/* Whatever the heap still holds, down to pieces no codec can use. */
static void *take_all(void)
{
    void **last = NULL, **piece;
    for (size_t bytes = 1 << 20; bytes >= 256; bytes /= 2)
        while ((piece = malloc(bytes)) != NULL) {
            *piece = (void *)last;
            last = piece;
        }
    return (void *)last;
}

static void give_all(void *last)
{
    while (last != NULL) {
        void *before = *(void **)last;
        free(last);
        last = before;
    }
}

/* The tools are there, what they need for this frame is not: nothing is wrong with the bytes. */
START_TEST(no_memory_is_not_damage)
{
    enum { BYTES = 1 << 20, ROOM = 100000 };
    struct codec_tools tools = {0};
    struct buf out = {0};
    size_t used;
    if (!built(_i)) return;
    uint8_t *data = malloc(BYTES);
    fill(data, BYTES, TEXT);
    uint8_t *packed = compress(&tools, _i, data, BYTES, &used);
    ck_assert_uint_gt(used, 0);
    (void)codec_decompress(&tools, (unsigned)_i, packed, 0, ROOM, &out);
    ck_assert_int_eq(buf_reserve(&out, ROOM), BECK_OK);
    rlim_t before = limit_memory(0);
    void *all = take_all();
    int rc = codec_decompress(&tools, (unsigned)_i, packed, used, BYTES, &out);
    give_all(all);
    (void)limit_memory(before);
    ck_assert_int_eq(rc, BECK_NOMEM);
    ck_assert_int_eq(codec_decompress(&tools, (unsigned)_i, packed, used, BYTES, &out), BECK_OK);
    ck_assert_uint_eq(out.size, BYTES);
    ck_assert_mem_eq(out.data, data, BYTES);
    free(packed);
    free(data);
    buf_free(&out);
    codec_free(&tools);
}
END_TEST

/* A block that claims 4 GiB is seen through before memory is asked for. */
START_TEST(snappy_claims_are_not_believed)
{
    static const uint8_t claim[] = {0xff, 0xff, 0xff, 0xff, 0x0f, 0, 'a'};
    struct codec_tools tools = {0};
    struct buf out = {0};
    if (!built(CODEC_SNAPPY)) return;
    ck_assert_int_eq(codec_decompress(&tools, CODEC_SNAPPY, claim, sizeof claim, (1 << 30), &out),
                     BECK_CORRUPT);
    ck_assert_uint_eq(out.capacity, 0);
    /* raw, as librdkafka writes it: "abc" as one literal */
    static const uint8_t raw[] = {3, 2 << 2, 'a', 'b', 'c'};
    ck_assert_int_eq(codec_decompress(&tools, CODEC_SNAPPY, raw, sizeof raw, 100, &out), BECK_OK);
    ck_assert_uint_eq(out.size, 3);
    ck_assert_mem_eq(out.data, "abc", 3);
    buf_free(&out);
}
END_TEST

START_TEST(a_missing_codec_is_named)
{
    ck_assert_int_eq(codec_check(CODEC_NONE), BECK_OK);
    ck_assert_int_eq(codec_check(CODEC_COUNT), BECK_UNSUPPORTED);
    ck_assert_ptr_nonnull(strstr(err_message(), "codec 5"));
    for (unsigned codec = CODEC_GZIP; codec < CODEC_COUNT; codec++) {
        if (codec_check(codec) == BECK_OK) continue;
        ck_assert_ptr_nonnull(strstr(err_message(), names[codec]));
        ck_assert_ptr_nonnull(strstr(err_message(), "-dev"));
    }
}
END_TEST

/* More records than the bytes can hold: seen before anything is walked. */
START_TEST(a_batch_with_too_many_records_is_damaged)
{
    struct batch_unpacker u = {.user = NULL};
    struct batch_walk walk;
    struct batch b;
    size_t bytes;
    if (!built(_i)) return;
    uint8_t *data = from_hex(kafka[_i], &bytes);
    put_be32(data + 23, 999);
    put_be32(data + 57, 1000);
    ck_assert_int_eq(batch_parse(data, bytes, &b), BECK_OK);
    ck_assert_int_eq(batch_walk_begin(&walk, data, &b, &u, 1000), BECK_CORRUPT);
    ck_assert_ptr_nonnull(strstr(err_message(), "1000 records"));
    batch_unpacker_free(&u);
    free(data);
}
END_TEST

/* ---- Bytes that somebody else may change ---- */

#ifdef BECK_WITH_SNAPPY
static uint8_t mapped[4096]; /* stands for a page of the file */
static int unpacked_in_place, unpacked;
static bool snappy_breaks;

/* In the library's place. It reads its length three times: to check it, to check it against the
 * room, and to use it. */
snappy_status snappy_uncompress(const char *data, size_t bytes, char *to, size_t *room)
{
    snappy_status (*real)(const char *, size_t, char *, size_t *);
    void *next = dlsym(RTLD_NEXT, "snappy_uncompress");
    memcpy(&real, &next, sizeof real);
    unpacked++;
    unpacked_in_place += (uintptr_t)data - (uintptr_t)mapped < sizeof mapped;
    snappy_status rc = real(data, bytes, to, room);
    if (snappy_breaks) to[*room / 2] ^= 1;
    return rc;
}

/* A library that loses what it compresses, as one does on big-endian machines, is not used. */
START_TEST(a_codec_that_loses_data_is_not_used)
{
    snappy_breaks = _i != 0;
    for (int tries = 0; tries < 2; tries++) {
        ck_assert_int_eq(codec_check_compress(CODEC_SNAPPY), _i == 0 ? BECK_OK : BECK_UNSUPPORTED);
        if (_i != 0) ck_assert_ptr_nonnull(strstr(err_message(), "another codec"));
    }
    ck_assert_int_eq(codec_check(CODEC_SNAPPY), BECK_OK); /* what others compressed can be read */
}
END_TEST

/* The file is mapped, and who may write it may be malicious: codecs are given a copy, so that what
 * they checked is what they use. */
START_TEST(codecs_never_see_the_file)
{
    struct batch_unpacker u = {.user = NULL};
    struct batch_walk walk;
    struct batch b;
    size_t bytes;
    uint8_t *data = from_hex(kafka[CODEC_SNAPPY], &bytes);
    ck_assert_uint_le(bytes, sizeof mapped);
    memcpy(mapped, data, bytes);
    ck_assert_int_eq(batch_parse(mapped, bytes, &b), BECK_OK);
    ck_assert_int_eq(batch_walk_begin(&walk, mapped, &b, &u, 4096), BECK_OK);
    ck_assert_int_gt(unpacked, 0);
    ck_assert_int_eq(unpacked_in_place, 0);
    batch_unpacker_free(&u);
    free(data);
}
END_TEST
#endif

Suite *suite(void)
{
    Suite *s = suite_create("codec");
    TCase *c = tcase_create("codec");
    tcase_set_timeout(c, 30);
    tcase_add_loop_test(c, what_kafka_wrote_is_read, CODEC_GZIP, CODEC_COUNT);
    tcase_add_loop_test(c, every_size_comes_back, CODEC_GZIP, CODEC_COUNT);
    tcase_add_loop_test(c, damage_is_an_error_or_bounded, CODEC_GZIP, CODEC_COUNT);
    tcase_add_loop_test(c, a_bomb_stops_at_the_limit, CODEC_GZIP, CODEC_COUNT);
    tcase_add_loop_test(c, a_batch_with_too_many_records_is_damaged, CODEC_GZIP, CODEC_COUNT);
    test_add_short_of_memory(c, no_memory_is_not_damage, CODEC_GZIP, CODEC_COUNT);
    tcase_add_test(c, snappy_claims_are_not_believed);
    tcase_add_test(c, a_missing_codec_is_named);
#ifdef BECK_WITH_SNAPPY
    tcase_add_test(c, codecs_never_see_the_file);
    tcase_add_loop_test(c, a_codec_that_loses_data_is_not_used, 0, 2);
#endif
    suite_add_tcase(s, c);
    return s;
}
