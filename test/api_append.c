/* api_append.c -- appending: placement, what comes back, batches, limits, classes, rolling */
#include "api_help.h"

/* ---- Placement ---- */

/* The hashes of Kafka's own client tests (murmur2, signed), and their partitions. */
static const struct {
    const char *key;
    int32_t hash;
} murmur[] = {
    {"21", -973932308},
    {"foobar", -790332482},
    {"a-little-bit-long-string", -985981536},
    {"a-little-bit-longer-string", -1486304829},
    {"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971},
    {"abc", 479470107},
};

static int append_class(beck_topic *topic, const beck_record *r, uint32_t sync)
{
    const beck_append_options options = {.size = sizeof options, .sync = sync};
    return beck_append_with(topic, 0, r, 1, &options, NULL);
}

START_TEST(keys_are_placed_as_kafka_does)
{
    enum { KEYS = sizeof murmur / sizeof murmur[0] };
    beck *db = open_db(path());
    beck_topic *topic = os_topic(db, "t", 10, 0);
    beck_record batch[KEYS];
    for (size_t i = 0; i < KEYS; i++) {
        batch[i] = (beck_record){.key = murmur[i].key, .partition = BECK_ANY_PARTITION};
        batch[i].key_size = (uint32_t)strlen(murmur[i].key);
        OK(db, beck_append(topic, &batch[i], NULL));
        for (int32_t n = 1; n < 2000; n = 3 * n + 1)
            ck_assert_int_eq(beck_partition_for_key(batch[i].key, batch[i].key_size, n),
                             (murmur[i].hash & INT32_MAX) % n);
    }
    OK(db, beck_append_batch(topic, BECK_ANY_PARTITION, batch, KEYS, NULL));
    beck_consumer *consumer = consume(db, "t", BECK_START_BEGINNING, 0);
    for (size_t i = 0; i < 2 * KEYS; i++) {
        const beck_record *r = poll_one(db, consumer);
        ck_assert_int_eq(r->partition, beck_partition_for_key(r->key, r->key_size, 10));
    }
    poll_none(db, consumer);
    OK(db, beck_close(db));
}
END_TEST

/* Each handle begins anywhere: producers that live for one record fill all partitions. */
START_TEST(short_lived_producers_spread_too)
{
    uint32_t seen = 0;
    for (int i = 0; i < 100 && seen != 15; i++) {
        beck *db = open_db(path_in(quick_folder(), "spread"));
        OK(db, append_text(os_topic(db, "t", 4, 0), BECK_ANY_PARTITION, "x"));
        for (uint32_t p = 0; p < 4; p++)
            if (end_offset(db, "t", p) > 0) seen |= 1u << p;
        OK(db, beck_close(db));
    }
    unlink(path_in(quick_folder(), "spread"));
    ck_assert_uint_eq(seen, 15);
}
END_TEST

START_TEST(keyless_records_are_spread)
{
    beck *db = open_db(path());
    beck_topic *topic = os_topic(db, "t", 7, 0);
    for (int i = 0; i < 700; i++) OK(db, append_text(topic, BECK_ANY_PARTITION, "x"));
    int64_t sum = 0;
    for (uint32_t p = 0; p < 7; p++) {
        int64_t n = end_offset(db, "t", p);
        ck_assert_int_ge(n, 50);
        ck_assert_int_le(n, 200);
        sum += n;
    }
    ck_assert_int_eq(sum, 700);
    beck_record empty_key = {.key = "", .partition = BECK_ANY_PARTITION};
    uint32_t where = (uint32_t)beck_partition_for_key("", 0, 7);
    int64_t before = end_offset(db, "t", where);
    for (int i = 0; i < 20; i++) OK(db, beck_append(topic, &empty_key, NULL));
    ck_assert_int_eq(end_offset(db, "t", where), before + 20);
    OK(db, beck_close(db));
}
END_TEST

START_TEST(keyless_batch_stays_together)
{
    beck *db = open_db(path());
    beck_topic *topic = os_topic(db, "t", 5, 0);
    beck_record batch[30] = {{.partition = 3}}; /* the records' own partition is ignored */
    int64_t base = -1;
    int used = 0;
    OK(db, beck_append_batch(topic, BECK_ANY_PARTITION, batch, 30, &base));
    ck_assert_int_eq(base, 0);
    for (uint32_t p = 0; p < 5; p++) {
        int64_t n = end_offset(db, "t", p);
        ck_assert(n == 0 || n == 30);
        used += n == 30;
    }
    ck_assert_int_eq(used, 1);
    OK(db, beck_append_batch(topic, 2, batch, 30, &base));
    ck_assert_int_eq(base, end_offset(db, "t", 2) - 30);
    OK(db, beck_close(db));
}
END_TEST

/* The base offset belongs to the first record, wherever that went; partitions keep the order. */
START_TEST(mixed_batch)
{
    enum { COUNT = 200 };
    static char keys[COUNT][8];
    beck *db = open_db(path());
    beck_topic *topic = os_topic(db, "t", 4, 0);
    beck_record batch[COUNT];
    int64_t base = -1, next[4] = {0};
    for (int32_t p = 0; p < 4; p++)
        for (int i = 0; i <= p; i++) OK(db, append_text(topic, p, "x"));
    for (uint32_t i = 0; i < COUNT; i++) {
        snprintf(keys[i], sizeof keys[i], "k%u", i * 7919 % 1000);
        batch[i] = (beck_record){.key = i % 5 == 4 ? NULL : keys[i], .value = keys[i]};
        batch[i].key_size = batch[i].value_size = (uint32_t)strlen(keys[i]);
        if (batch[i].key == NULL) batch[i].key_size = 0;
    }
    OK(db, beck_append_batch(topic, BECK_ANY_PARTITION, batch, COUNT, &base));
    int32_t first = beck_partition_for_key(keys[0], strlen(keys[0]), 4);
    ck_assert_int_eq(base, first + 1);
    beck_consumer *consumer = consume(db, "t", BECK_START_BEGINNING, 0);
    uint32_t seen = 0;
    for (int32_t i = 0; i < COUNT + 10; i++) {
        const beck_record *r = poll_one(db, consumer);
        ck_assert_int_eq(r->offset, next[r->partition]++);
        if (r->key == NULL) continue;
        ck_assert_int_eq(r->partition, beck_partition_for_key(r->key, r->key_size, 4));
        ck_assert_mem_eq(r->key, r->value, r->key_size);
        seen++;
    }
    ck_assert_uint_eq(seen, COUNT / 5 * 4);
    poll_none(db, consumer);
    OK(db, beck_close(db));
}
END_TEST

/* ---- What comes back ---- */

START_TEST(null_is_not_empty)
{
    static const beck_header headers[] = {
        {.name = "", .value = NULL},
        {.name = "e", .name_size = 1, .value = ""},
        {.name = "n\0m", .name_size = 3, .value = "a\0b", .value_size = 3}};
    beck *db = open_db(path());
    beck_topic *topic = os_topic(db, "t", 1, 0);
    const beck_record put[] = {{.key = NULL, .value = NULL},
                               {.key = "", .value = NULL},
                               {.key = NULL, .value = ""},
                               {.key = "", .value = "", .headers = headers, .header_count = 3}};
    for (size_t i = 0; i < 4; i++) OK(db, beck_append(topic, &put[i], NULL));
    OK(db, beck_append_batch(topic, 0, put, 4, NULL));
    OK(db, beck_close(db));
    db = open_db(path());
    beck_consumer *consumer = consume(db, "t", BECK_START_BEGINNING, 0);
    for (size_t i = 0; i < 8; i++) {
        const beck_record *r = poll_one(db, consumer);
        ck_assert_int_eq(r->key == NULL, put[i % 4].key == NULL);
        ck_assert_int_eq(r->value == NULL, put[i % 4].value == NULL);
        ck_assert_uint_eq(r->key_size + r->value_size, 0);
        ck_assert_uint_eq(r->header_count, put[i % 4].header_count);
        if (r->header_count == 0) continue;
        ck_assert_uint_eq(r->headers[0].name_size, 0);
        ck_assert_ptr_null(r->headers[0].value);
        ck_assert_ptr_nonnull(r->headers[1].value);
        ck_assert_uint_eq(r->headers[1].value_size, 0);
        ck_assert_uint_eq(r->headers[2].name_size, 3);
        ck_assert_mem_eq(r->headers[2].name, "n\0m", 3);
        ck_assert_uint_eq(r->headers[2].value_size, 3);
        ck_assert_mem_eq(r->headers[2].value, "a\0b", 3);
    }
    OK(db, beck_close(db));
}
END_TEST

/* Keys, values, headers and timestamps of many sizes, many at a time. */
static void make_record(uint32_t i, uint8_t *room, beck_header *headers, beck_record *r)
{
    uint32_t key = i * 31 % 300, value = i * 97 % 700, count = i % 13;
    fill(room, 1000, i);
    *r = (beck_record){.key = room, .value = room + key, .headers = headers};
    r->key_size = key;
    r->value_size = value;
    r->header_count = count;
    r->timestamp = 1700000000000 + (int64_t)(i * 7919 % 10007) - 5000;
    for (uint32_t h = 0; h < count; h++)
        headers[h] = (beck_header){(const char *)room + h, room + 2 * h, h * 3, h * 11};
}

static bool same_bytes(const void *a, size_t a_bytes, const void *b, size_t b_bytes)
{
    return a_bytes == b_bytes && (a_bytes == 0 || memcmp(a, b, a_bytes) == 0);
}

static bool same_record(const beck_record *a, const beck_record *b)
{
    bool same = same_bytes(a->key, a->key_size, b->key, b->key_size) &&
                same_bytes(a->value, a->value_size, b->value, b->value_size) &&
                a->header_count == b->header_count && a->timestamp == b->timestamp;
    for (uint32_t h = 0; same && h < a->header_count; h++) {
        const beck_header *x = &a->headers[h], *y = &b->headers[h];
        same = same_bytes(x->name, x->name_size, y->name, y->name_size) &&
               same_bytes(x->value, x->value_size, y->value, y->value_size);
    }
    return same;
}

START_TEST(records_come_back_as_they_were)
{
    enum { COUNT = 600, BATCH = 20 };
    static uint8_t rooms[BATCH][1000];
    static beck_header headers[BATCH][13];
    beck_record batch[BATCH], right;
    beck *db = open_db(path());
    beck_topic *topic = os_topic(db, "t", 1, 32768);
    for (uint32_t i = 0; i < COUNT; i += BATCH) {
        int64_t base;
        for (uint32_t k = 0; k < BATCH; k++) make_record(i + k, rooms[k], headers[k], &batch[k]);
        OK(db, beck_append_batch(topic, 0, batch, BATCH, &base));
        ck_assert_int_eq(base, i);
    }
    OK(db, beck_close(db));
    db = _i ? open_db(path()) : open_readonly(path());
    beck_consumer *consumer = consume(db, "t", BECK_START_BEGINNING, 0);
    const beck_record *records;
    size_t count;
    uint32_t i = 0;
    while (i < COUNT) {
        OK(db, beck_poll(consumer, 33, 0, &records, &count));
        ck_assert_uint_gt(count, 0);
        for (size_t k = 0; k < count; k++, i++) {
            make_record(i, rooms[0], headers[0], &right);
            ck_assert_int_eq(records[k].offset, i);
            ck_assert_msg(same_record(&records[k], &right), "record %u differs", i);
        }
    }
    OK(db, beck_close(db));
}
END_TEST

START_TEST(timestamps)
{
    struct timespec before, after;
    beck *db = open_db(path());
    beck_topic *topic = os_topic(db, "t", 1, 0);
    const int64_t put[] = {1, INT64_MAX, 1700000000000, 2, 0};
    clock_gettime(CLOCK_REALTIME, &before);
    for (size_t i = 0; i < 5; i++) {
        beck_record r = {.timestamp = put[i]};
        OK(db, beck_append(topic, &r, NULL));
    }
    clock_gettime(CLOCK_REALTIME, &after);
    beck_consumer *consumer = consume(db, "t", BECK_START_BEGINNING, 0);
    for (size_t i = 0; i < 4; i++) ck_assert_int_eq(poll_one(db, consumer)->timestamp, put[i]);
    int64_t now = poll_one(db, consumer)->timestamp;
    ck_assert_int_ge(now, before.tv_sec * 1000 + before.tv_nsec / 1000000 - 20);
    ck_assert_int_le(now, after.tv_sec * 1000 + after.tv_nsec / 1000000 + 20);
    OK(db, beck_close(db));
}
END_TEST

/* ---- Limits ---- */

START_TEST(bad_arguments)
{
    beck *db = open_db(path());
    beck_topic *topic = os_topic(db, "t", 2, 0);
    beck_record r = {.partition = 0};
    GIVES(INVALID, db, beck_append(NULL, &r, NULL));
    GIVES(INVALID, db, beck_append(topic, NULL, NULL));
    GIVES(INVALID, db, beck_append_batch(topic, 0, &r, 0, NULL));
    GIVES(INVALID, db, beck_append_batch(topic, 2, &r, 1, NULL));
    says(db, "t");
    GIVES(INVALID, db, beck_append_batch(topic, -2, &r, 1, NULL));
    GIVES(INVALID, db, append_class(topic, &r, 3));
    r.partition = 2;
    GIVES(INVALID, db, beck_append(topic, &r, NULL));
    r.partition = -2;
    GIVES(INVALID, db, beck_append(topic, &r, NULL));
    r = (beck_record){.key_size = 3}; /* NULL with a size */
    GIVES(INVALID, db, beck_append(topic, &r, NULL));
    r = (beck_record){.value_size = 3};
    GIVES(INVALID, db, beck_append(topic, &r, NULL));
    r = (beck_record){.header_count = 3};
    GIVES(INVALID, db, beck_append(topic, &r, NULL));
    ck_assert_int_eq(end_offset(db, "t", 0) + end_offset(db, "t", 1), 0);
    OK(db, beck_close(db));
}
END_TEST

START_TEST(largest_record)
{
    uint8_t *bytes = calloc(1, BECK_VALUE_MAX + 70000);
    static beck_header headers[BECK_HEADERS_MAX + 1];
    beck *db = open_db(path_in(quick_folder(), "large.beck"));
    beck_topic *topic = os_topic(db, "t", 1, 0);
    for (size_t i = 0; i <= BECK_HEADERS_MAX; i++)
        headers[i] = (beck_header){.name = "h", .name_size = 1};
    beck_record r = {.key = bytes, .key_size = BECK_KEY_MAX + 1};
    GIVES(TOO_LARGE, db, beck_append(topic, &r, NULL));
    r = (beck_record){.value = bytes, .value_size = BECK_VALUE_MAX + 65536};
    GIVES(TOO_LARGE, db, beck_append(topic, &r, NULL));
    r = (beck_record){.headers = headers, .header_count = BECK_HEADERS_MAX + 1};
    GIVES(TOO_LARGE, db, beck_append(topic, &r, NULL));
    ck_assert_int_eq(end_offset(db, "t", 0), 0);
    r = (beck_record){.key = bytes, .key_size = BECK_KEY_MAX};
    OK(db, beck_append(topic, &r, NULL));
    r = (beck_record){.value = bytes, .value_size = BECK_VALUE_MAX};
    OK(db, beck_append(topic, &r, NULL));
    r = (beck_record){.headers = headers, .header_count = BECK_HEADERS_MAX};
    OK(db, beck_append(topic, &r, NULL));
    beck_consumer *consumer = consume(db, "t", BECK_START_BEGINNING, 0);
    ck_assert_uint_eq(poll_one(db, consumer)->key_size, BECK_KEY_MAX);
    ck_assert_uint_eq(poll_one(db, consumer)->value_size, BECK_VALUE_MAX);
    ck_assert_uint_eq(poll_one(db, consumer)->header_count, BECK_HEADERS_MAX);
    OK(db, beck_close(db));
    unlink(path_in(quick_folder(), "large.beck"));
    free(bytes);
}
END_TEST

/* A batch with one record too many, or one that is wrong, appends nothing. */
START_TEST(batch_is_all_or_nothing)
{
    static uint8_t value[400];
    beck *db = open_db(path());
    beck_topic *topic = NULL;
    beck_topic_config c = {.size = sizeof c, .sync = BECK_SYNC_OS, .max_message_bytes = 2000};
    beck_record batch[10];
    int64_t base = -7;
    OK(db, beck_topic_open(db, "t", &c, &topic));
    for (int i = 0; i < 10; i++) batch[i] = (beck_record){.value = value, .value_size = 400};
    GIVES(TOO_LARGE, db, beck_append_batch(topic, 0, batch, 10, &base));
    batch[3].key_size = 5;
    GIVES(INVALID, db, beck_append_batch(topic, 0, batch, 4, &base));
    batch[3].key_size = 0;
    ck_assert_int_eq(base, -7);
    ck_assert_int_eq(end_offset(db, "t", 0), 0);
    OK(db, beck_append_batch(topic, 0, batch, 4, &base));
    ck_assert_int_eq(base, 0);
    OK(db, beck_append_batch(topic, 0, batch, 4, &base));
    ck_assert_int_eq(base, 4);
    poll_none(db, consume(db, "t", BECK_START_END, 0));
    ck_assert_uint_eq(drain(db, consume(db, "t", BECK_START_BEGINNING, 0)), 8);
    OK(db, beck_close(db));
}
END_TEST

/* ---- Classes ---- */

static beck_partition_info first_partition(beck *db, const char *topic)
{
    const beck_topic_info *info;
    OK(db, beck_topic_describe(db, topic, &info));
    return *info->partitions[0];
}

START_TEST(stable_as_promised)
{
    beck *db = open_db(path());
    beck_topic *topic = os_topic(db, "os", 1, 16384), *safe;
    beck_record r = {.value = "x", .value_size = 1};
    for (uint32_t i = 0; i < 50; i++) OK(db, append_filled(topic, 0, 1000, i, NULL));
    OK(db, append_class(topic, &r, BECK_SYNC_OS));
    OK(db, append_class(topic, &r, BECK_SYNC_DEFAULT));
    ck_assert_int_eq(first_partition(db, "os").end_offset, 52);
    OK(db, append_class(topic, &r, BECK_SYNC_SYNC));
    ck_assert_int_eq(first_partition(db, "os").stable_offset, 53);
    OK(db, append_text(topic, 0, "y"));
    OK(db, beck_sync(db));
    ck_assert_int_eq(first_partition(db, "os").stable_offset, 54);

    OK(db, beck_topic_open(db, "sync", NULL, &safe));
    OK(db, beck_append(safe, &r, NULL));
    ck_assert_int_eq(first_partition(db, "sync").stable_offset, 1);
    OK(db, append_class(safe, &r, BECK_SYNC_OS)); /* weaker: ignored */
    ck_assert_int_eq(first_partition(db, "sync").stable_offset, 2);
    OK(db, beck_close(db));
}
END_TEST

START_TEST(sync_covers_other_handles)
{
    beck *db = open_db(path()), *other = open_db(path());
    beck_topic *topic = os_topic(other, "t", 3, 16384);
    for (uint32_t i = 0; i < 90; i++)
        OK(other, append_filled(topic, (int32_t)(i % 3), 900, i, NULL));
    OK(db, beck_sync(db));
    const beck_topic_info *info;
    OK(other, beck_topic_describe(other, "t", &info));
    for (int p = 0; p < 3; p++) ck_assert_int_eq(info->partitions[p]->stable_offset, 30);
    OK(db, beck_close(db));
    OK(other, beck_close(other));
}
END_TEST

START_TEST(flush_ms_syncs_while_used)
{
    beck *db = open_db(path());
    beck_topic *topic = NULL;
    beck_topic_config c = {.size = sizeof c, .sync = BECK_SYNC_OS, .flush_ms = 30};
    OK(db, beck_topic_open(db, "t", &c, &topic));
    int64_t until = clock_ms() + 5000;
    do {
        OK(db, append_text(topic, 0, "x"));
        sleep_ms(10);
    } while (first_partition(db, "t").stable_offset < 5 && clock_ms() < until);
    ck_assert_int_ge(first_partition(db, "t").stable_offset, 5);
    OK(db, beck_close(db));
}
END_TEST

/* ---- Segments ---- */

static void roll_through(const char *name, uint32_t sync, uint32_t count)
{
    beck *db = open_db(name);
    beck_topic *topic = NULL;
    beck_topic_config c = {.size = sizeof c, .sync = sync, .segment_bytes = 16384};
    OK(db, beck_topic_open(db, "t", &c, &topic));
    for (uint32_t i = 0; i < count; i++) {
        int64_t offset;
        OK(db, append_filled(topic, 0, i * 37 % 3000, i, &offset));
        ck_assert_int_eq(offset, i); /* dense */
    }
    ck_assert_uint_gt(first_partition(db, "t").segments, count / 20);
    OK(db, beck_close(db));
}

START_TEST(many_segments)
{
    char name[512];
    uint32_t count = _i == BECK_SYNC_OS ? 4000 : 1000;
    snprintf(name, sizeof name, "%s", path_in(quick_folder(), "roll.beck"));
    roll_through(name, (uint32_t)_i, count);
    for (uint32_t readonly = 0; readonly < 2; readonly++) {
        beck *db = open_flags(name, readonly);
        beck_consumer *consumer = consume(db, "t", BECK_START_BEGINNING, 0);
        const beck_record *records;
        size_t got;
        uint32_t i = 0;
        while (i < count) {
            OK(db, beck_poll(consumer, 100, 0, &records, &got));
            ck_assert_uint_gt(got, 0);
            for (size_t k = 0; k < got; k++, i++) {
                ck_assert_int_eq(records[k].offset, i);
                ck_assert_uint_eq(records[k].value_size, i * 37 % 3000);
                ck_assert(filled(records[k].value, records[k].value_size, i));
            }
        }
        poll_none(db, consumer);
        OK(db, beck_check(db, NULL, NULL, NULL, NULL));
        OK(db, beck_close(db));
    }
    unlink(name);
}
END_TEST

/* Values of many times a segment's size. */
START_TEST(large_values)
{
    static const uint32_t sizes[] = {1 << 20, 9 << 20, 5, 16384, 16300, 1 << 20};
    char name[512];
    snprintf(name, sizeof name, "%s", path_in(quick_folder(), "values.beck"));
    beck *db = open_db(name);
    beck_topic *small = os_topic(db, "small", 1, 16384), *usual = NULL;
    OK(db, beck_topic_open(db, "usual", NULL, &usual));
    for (uint32_t i = 0; i < 6; i++) {
        OK(db, append_filled(small, 0, sizes[i], i, NULL));
        OK(db, append_filled(usual, 0, sizes[i], i, NULL));
    }
    OK(db, beck_close(db));
    for (uint32_t flags = 0; flags < 2; flags++) {
        db = open_flags(name, flags);
        beck_consumer *a = consume(db, "small", BECK_START_BEGINNING, 0);
        beck_consumer *b = consume(db, "usual", BECK_START_BEGINNING, 0);
        for (uint32_t i = 0; i < 12; i++) {
            const beck_record *r = poll_one(db, i % 2 ? a : b);
            ck_assert_uint_eq(r->value_size, sizes[i / 2]);
            ck_assert(filled(r->value, r->value_size, i / 2));
        }
        OK(db, beck_close(db));
    }
    unlink(name);
}
END_TEST

/* A file that was closed goes on where it ended, again and again. */
START_TEST(goes_on_after_reopening)
{
    uint32_t number = 0;
    for (int round = 0; round < 10; round++) {
        beck *db = open_db(path());
        beck_topic *topic = os_topic(db, "t", 1, 16384);
        for (int i = 0; i < 7; i++, number++) {
            int64_t offset;
            OK(db, append_filled(topic, 0, 700, number, &offset));
            ck_assert_int_eq(offset, number);
        }
        ck_assert_uint_eq(drain(db, consume(db, "t", BECK_START_BEGINNING, 0)), number);
        OK(db, beck_close(db));
    }
    ck_assert_uint_le(file_size(path()), 600 * 1024);
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("api_append");
    TCase *c = tcase_create("placement");
    tcase_add_test(c, keys_are_placed_as_kafka_does);
    tcase_add_test(c, keyless_records_are_spread);
    tcase_add_test(c, short_lived_producers_spread_too);
    tcase_add_test(c, keyless_batch_stays_together);
    tcase_add_test(c, mixed_batch);
    suite_add_tcase(s, c);

    c = tcase_create("records");
    tcase_add_test(c, null_is_not_empty);
    tcase_add_loop_test(c, records_come_back_as_they_were, 0, 2);
    tcase_add_test(c, timestamps);
    suite_add_tcase(s, c);

    c = tcase_create("limits");
    tcase_add_test(c, bad_arguments);
    tcase_add_test(c, largest_record);
    tcase_add_test(c, batch_is_all_or_nothing);
    suite_add_tcase(s, c);

    c = tcase_create("classes");
    tcase_add_test(c, stable_as_promised);
    tcase_add_test(c, sync_covers_other_handles);
    tcase_add_test(c, flush_ms_syncs_while_used);
    suite_add_tcase(s, c);

    c = tcase_create("segments");
    tcase_add_loop_test(c, many_segments, BECK_SYNC_SYNC, BECK_SYNC_OS + 1);
    tcase_add_test(c, large_values);
    tcase_add_test(c, goes_on_after_reopening);
    suite_add_tcase(s, c);
    return s;
}
