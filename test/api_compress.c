/* api_compress.c -- compressed topics and batches: what is read, what decides, limits, threads */
#include <pthread.h>
#include <sys/resource.h>

#include "api_help.h"

enum { FIRST = BECK_COMPRESSION_NONE, LAST = BECK_COMPRESSION_ZSTD };

static bool built(int compression)
{
    return beck_compression_check((uint32_t)compression) == BECK_OK;
}

static beck_topic *topic_with(beck *db, const char *name, uint32_t partitions, int compression)
{
    beck_topic_config config = {.size = sizeof config,
                                .partitions = partitions,
                                .sync = BECK_SYNC_OS,
                                .segment_bytes = 65536,
                                .compression = (uint32_t)compression};
    beck_topic *topic = NULL;
    OK(db, beck_topic_open(db, name, &config, &topic));
    return topic;
}

/* Values that compress well and tell their offset: "record 17 17 17 ... 17". */
static size_t make_value(char to[1024], int64_t number)
{
    size_t n = (size_t)snprintf(to, 1024, "record");
    for (int64_t i = 0; i < number % 40; i++)
        n += (size_t)snprintf(to + n, 1024 - n, " %lld", (long long)number);
    return n;
}

static void append_many(beck *db, beck_topic *topic, int32_t partition, int64_t from, size_t count,
                        int compression)
{
    const beck_append_options options = {.size = sizeof options,
                                         .compression = (uint32_t)compression};
    char(*values)[1024] = malloc(count * sizeof *values);
    beck_record *records = calloc(count, sizeof *records);
    beck_header header = {.name = "h", .name_size = 1, .value = "x", .value_size = 1};
    int64_t base = -1;
    for (size_t i = 0; i < count; i++) {
        int64_t number = from + (int64_t)i;
        records[i].value = values[i];
        records[i].value_size = (uint32_t)make_value(values[i], number);
        records[i].timestamp = 1000 + number;
        if (number % 5 == 0) records[i].headers = &header;
        if (number % 5 == 0) records[i].header_count = 1;
    }
    OK(db, beck_append_with(topic, partition, records, count, &options, &base));
    ck_assert_int_eq(base, from);
    free(values);
    free(records);
}

static void check_record(const beck_record *r)
{
    char value[1024];
    size_t bytes = make_value(value, r->offset);
    ck_assert_uint_eq(r->value_size, bytes);
    ck_assert_mem_eq(r->value, value, bytes);
    ck_assert_int_eq(r->timestamp, 1000 + r->offset);
    ck_assert_uint_eq(r->header_count, r->offset % 5 == 0 ? 1 : 0);
    if (r->header_count == 1) ck_assert_mem_eq(r->headers[0].value, "x", 1);
}

static uint64_t seed_state;
static size_t below(size_t limit)
{
    seed_state = seed_state * UINT64_C(6364136223846793005) + 1442695040888963407;
    return (size_t)(seed_state >> 33) % limit;
}

/* ---- Everything comes back ---- */

static void read_all(beck *db, uint32_t flags, int64_t records)
{
    const char *topic = "t";
    beck_consumer_config config = {
        .size = sizeof config, .topics = &topic, .topic_count = 1, .flags = flags};
    beck_consumer *consumer = NULL;
    const beck_record *got;
    size_t count;
    int64_t next = 0;
    OK(db, beck_consumer_open(db, &config, &consumer));
    do {
        OK(db, beck_poll(consumer, 1 + below(300), 0, &got, &count));
        for (size_t i = 0; i < count; i++) {
            ck_assert_int_eq(got[i].offset, next++);
            check_record(&got[i]);
        }
    } while (count > 0);
    ck_assert_int_eq(next, records);
    beck_consumer_close(consumer);
}

START_TEST(a_compressed_topic_reads_like_any_other)
{
    beck_check_summary summary = {.size = sizeof summary};
    int64_t next = 0;
    if (!built(_i)) return;
    seed_state = test_seed();
    beck *db = open_db(path());
    beck_topic *topic = topic_with(db, "t", 1, _i);
    while (next < 20000) {
        size_t count = 1 + below(700);
        append_many(db, topic, 0, next, count, 0);
        next += (int64_t)count;
    }
    read_all(db, 0, next);
    read_all(db, BECK_CONSUME_COPY, next);
    read_all(db, BECK_CONSUME_UNCHECKED, next);
    OK(db, beck_check(db, NULL, NULL, NULL, &summary));
    ck_assert_uint_eq(summary.records, (uint64_t)next);
    ck_assert_uint_eq(summary.unread, 0);
    OK(db, beck_close(db));
    /* Plain they take about 2 MB. */
    if (_i != BECK_COMPRESSION_NONE) ck_assert_uint_lt(file_size(path()), 1200000);
    db = open_readonly(path());
    read_all(db, 0, next);
    OK(db, beck_close(db));
}
END_TEST

/* Batches of every codec side by side in two partitions, read a few at a time, with seeks: only one
 * batch is decompressed at a time, and nobody may read from another's. */
START_TEST(codecs_mix_and_partitions_take_turns)
{
    enum { PARTITIONS = 2, RECORDS = 5000 };
    int64_t next[PARTITIONS] = {0}, expected[PARTITIONS] = {0};
    size_t left = PARTITIONS * RECORDS, count, seeks = 30;
    const beck_record *got;
    seed_state = test_seed();
    beck *db = open_db(path());
    beck_topic *topic = topic_with(db, "t", PARTITIONS, 0);
    for (int32_t p = 0; p < PARTITIONS; p++)
        while (next[p] < RECORDS) {
            int compression = FIRST + (int)below(LAST);
            size_t n = 1 + below(200);
            if (n > (size_t)(RECORDS - next[p])) n = (size_t)(RECORDS - next[p]);
            append_many(db, topic, p, next[p], n, built(compression) ? compression : FIRST);
            next[p] += (int64_t)n;
        }
    beck_consumer *consumer = consume(db, "t", BECK_START_BEGINNING, 0);
    while (left > 0) {
        OK(db, beck_poll(consumer, 1 + below(50), 0, &got, &count));
        ck_assert_uint_gt(count, 0);
        int32_t p = got[0].partition;
        for (size_t i = 0; i < count; i++) {
            ck_assert_int_eq(got[i].offset, expected[p]++);
            check_record(&got[i]);
        }
        left -= count;
        if (seeks == 0 || below(20) != 0) continue;
        seeks--;
        p = (int32_t)below(PARTITIONS);
        int64_t to = (int64_t)below((size_t)expected[p] + 1);
        OK(db, beck_seek(consumer, "t", p, to));
        left += (size_t)(expected[p] - to);
        expected[p] = to;
    }
    poll_none(db, consumer);
    OK(db, beck_close(db));
}
END_TEST

START_TEST(times_are_found_inside_a_compressed_batch)
{
    if (!built(_i)) return;
    beck *db = open_db(path());
    beck_topic *topic = topic_with(db, "t", 1, _i);
    for (int i = 0; i < 10; i++) append_many(db, topic, 0, 100 * i, 100, 0);
    for (int64_t ms = 1000; ms < 2000; ms += 37) {
        beck_consumer *consumer = consume(db, "t", BECK_START_TIME, ms);
        ck_assert_int_eq(poll_one(db, consumer)->offset, ms - 1000);
        beck_consumer_close(consumer);
    }
    OK(db, beck_close(db));
}
END_TEST

/* ---- What decides ---- */

/* How many bytes 1000 records take when asked for so. */
static uint64_t bytes_of(beck *db, beck_topic *topic, const char *name, int asked)
{
    const beck_topic_info *info;
    int64_t from = end_offset(db, name, 0);
    OK(db, beck_topic_describe(db, name, &info));
    uint64_t before = info->partitions[0]->bytes;
    for (int i = 0; i < 10; i++) append_many(db, topic, 0, from + 1000 * i, 1000, asked);
    OK(db, beck_topic_describe(db, name, &info));
    return info->partitions[0]->bytes - before;
}

START_TEST(the_topic_decides_and_producer_leaves_it_to_the_call)
{
    const beck_topic_info *info;
    beck_topic_config config = {.size = sizeof config, .compression = BECK_COMPRESSION_NONE};
    if (!built(BECK_COMPRESSION_ZSTD)) return;
    beck *db = open_db(path());
    beck_topic *any = topic_with(db, "any", 1, 0);
    beck_topic *packed = topic_with(db, "packed", 1, BECK_COMPRESSION_ZSTD);
    OK(db, beck_topic_describe(db, "any", &info));
    ck_assert_uint_eq(info->config->compression, BECK_COMPRESSION_PRODUCER);
    OK(db, beck_topic_describe(db, "packed", &info));
    ck_assert_uint_eq(info->config->compression, BECK_COMPRESSION_ZSTD);
    uint64_t plain = bytes_of(db, any, "any", BECK_COMPRESSION_DEFAULT);
    ck_assert_uint_lt(bytes_of(db, any, "any", BECK_COMPRESSION_ZSTD), plain / 2);
    ck_assert_uint_lt(bytes_of(db, packed, "packed", BECK_COMPRESSION_NONE), plain / 2);
    OK(db, beck_topic_alter(db, "packed", &config));
    ck_assert_uint_gt(bytes_of(db, packed, "packed", BECK_COMPRESSION_ZSTD), plain / 2);
    OK(db, beck_close(db));
    db = open_readonly(path());
    OK(db, beck_topic_describe(db, "packed", &info));
    ck_assert_uint_eq(info->config->compression, BECK_COMPRESSION_NONE);
    OK(db, beck_close(db));
}
END_TEST

START_TEST(wrong_compressions_are_refused)
{
    beck_topic_config config = {.size = sizeof config, .compression = 7};
    beck_append_options options = {.size = sizeof options,
                                   .compression = BECK_COMPRESSION_PRODUCER};
    beck_record r = {.value = "x", .value_size = 1};
    char message[200];
    beck *db = open_db(path());
    beck_topic *topic = os_topic(db, "t", 1, 0);
    GIVES(INVALID, db, beck_topic_create(db, "u", &config));
    GIVES(INVALID, db, beck_append_with(topic, 0, &r, 1, &options, NULL));
    GIVES(INVALID, db, beck_compression_check(7));
    GIVES(INVALID, db,
          beck_topic_config_set(&config, "compression.type", "brotli", message, sizeof message));
    ck_assert_ptr_nonnull(strstr(message, "brotli: must be producer, uncompressed, gzip"));
    OK(db, beck_topic_config_set(&config, "compression.type", "none", NULL, 0));
    ck_assert_uint_eq(config.compression, BECK_COMPRESSION_NONE);
    for (int c = FIRST; c <= LAST; c++) {
        options.compression = config.compression = (uint32_t)c;
        if (built(c)) continue;
        GIVES(UNSUPPORTED, db, beck_append_with(topic, 0, &r, 1, &options, NULL));
        GIVES(UNSUPPORTED, db, beck_topic_create(db, "u", &config));
        if (strstr(beck_errmsg(db), "another codec") == NULL) says(db, "built without");
    }
    ck_assert_int_eq(end_offset(db, "t", 0), 0);
    OK(db, beck_close(db));
}
END_TEST

/* ---- Limits ---- */

static int append_size(beck_topic *topic, size_t bytes, bool noise)
{
    uint8_t *value = calloc(1, bytes);
    if (noise) fill(value, bytes, 1);
    beck_record r = {.value = value, .value_size = (uint32_t)bytes};
    int rc = beck_append(topic, &r, NULL);
    free(value);
    return rc;
}

START_TEST(the_limit_is_on_what_is_stored)
{
    beck_topic_config config = {.size = sizeof config, .max_message_bytes = 1000};
    if (!built(_i)) return;
    beck *db = open_db(path());
    beck_topic *topic = topic_with(db, "t", 1, _i);
    OK(db, beck_topic_alter(db, "t", &config));
    OK(db, append_size(topic, 10000, false));
    GIVES(TOO_LARGE, db, append_size(topic, 10000, true));
    says(db, "max.message.bytes is 1000");
    GIVES(TOO_LARGE, db, append_size(topic, 65 << 20, false)); /* 64 MiB before compression */
    beck_consumer *consumer = consume(db, "t", BECK_START_BEGINNING, 0);
    ck_assert_uint_eq(poll_one(db, consumer)->value_size, 10000);
    poll_none(db, consumer);
    OK(db, beck_close(db));
}
END_TEST

START_TEST(a_batch_above_the_limit_waits_until_it_is_raised)
{
    beck_topic_config config = {.size = sizeof config, .max_message_bytes = 100 << 20};
    const beck_record *records;
    size_t count;
    if (!built(BECK_COMPRESSION_ZSTD)) return;
    beck *db = open_db(path());
    beck_topic *topic = topic_with(db, "t", 1, BECK_COMPRESSION_ZSTD);
    OK(db, beck_topic_alter(db, "t", &config));
    OK(db, append_size(topic, 70 << 20, false));
    config.max_message_bytes = 1 << 20;
    OK(db, beck_topic_alter(db, "t", &config));
    beck_consumer *consumer = consume(db, "t", BECK_START_BEGINNING, 0);
    for (int i = 0; i < 2; i++) {
        GIVES(TOO_LARGE, db, beck_poll(consumer, 10, 0, &records, &count));
        says(db, "t:0");
        says(db, "offset 0");
    }
    config.max_message_bytes = 100 << 20;
    OK(db, beck_topic_alter(db, "t", &config));
    ck_assert_uint_eq(poll_one(db, consumer)->value_size, 70 << 20);
    OK(db, beck_close(db));
}
END_TEST

/* The reader looks up the limit when it enters a segment, and again when a batch is above it. */
START_TEST(a_raised_limit_counts_in_the_segment_being_read)
{
    beck_topic_config config = {.size = sizeof config, .max_message_bytes = 100 << 20};
    if (!built(BECK_COMPRESSION_ZSTD)) return;
    beck *db = open_db(path());
    beck_topic *topic = topic_with(db, "t", 1, BECK_COMPRESSION_ZSTD);
    beck_consumer *consumer = consume(db, "t", BECK_START_BEGINNING, 0);
    OK(db, append_text(topic, 0, "small"));
    ck_assert(value_is(poll_one(db, consumer), "small"));
    OK(db, beck_topic_alter(db, "t", &config));
    OK(db, append_size(topic, 70 << 20, false));
    ck_assert_uint_eq(poll_one(db, consumer)->value_size, 70 << 20);
    OK(db, beck_close(db));
}
END_TEST

static rlim_t mapped_bytes(void)
{
    unsigned long pages = 0;
    FILE *statm = fopen("/proc/self/statm", "r");
    ck_assert_ptr_nonnull(statm);
    ck_assert_int_eq(fscanf(statm, "%lu", &pages), 1);
    fclose(statm);
    return (rlim_t)pages * (rlim_t)sysconf(_SC_PAGESIZE);
}

static int count_finding(void *context, const char *line)
{
    (void)line;
    ++*(int *)context;
    return 0;
}

/* Without the memory to decompress a check says so; it neither finds damage nor skips the batch. */
START_TEST(a_check_short_of_memory_fails)
{
    struct rlimit limit;
    int findings = 0;
    if (!built(_i)) return;
    beck *db = open_db(path());
    OK(db, append_size(topic_with(db, "t", 1, _i), 40 << 20, false));
    OK(db, beck_close(db));
    db = open_readonly(path());
    ck_assert_int_eq(getrlimit(RLIMIT_AS, &limit), 0);
    rlim_t before = limit.rlim_cur;
    limit.rlim_cur = mapped_bytes() + (20 << 20);
    ck_assert_int_eq(setrlimit(RLIMIT_AS, &limit), 0);
    int rc = beck_check(db, count_finding, NULL, &findings, NULL);
    limit.rlim_cur = before;
    ck_assert_int_eq(setrlimit(RLIMIT_AS, &limit), 0);
    ck_assert_int_eq(rc, BECK_NOMEM);
    ck_assert_int_eq(findings, 0);
    OK(db, beck_check(db, count_finding, NULL, &findings, NULL));
    ck_assert_int_eq(findings, 0);
    OK(db, beck_close(db));
}
END_TEST

/* ---- Turns ---- */

/* What waits in a partition is read, however much comes into another one meanwhile. */
START_TEST(a_busy_partition_does_not_starve_another)
{
    enum { WAITING = 10 };
    int read = 0;
    if (!built(_i)) return;
    beck *db = open_db(path());
    beck_topic *topic = topic_with(db, "t", 2, _i);
    for (int i = 0; i < WAITING; i++) append_many(db, topic, 1, i, 1, 0);
    append_many(db, topic, 0, 0, 100, 0);
    beck_consumer *consumer = consume(db, "t", BECK_START_BEGINNING, 0);
    for (int i = 0; i < 100 + 3 * WAITING; i++) {
        append_many(db, topic, 0, 100 + i, 1, 0);
        read += poll_one(db, consumer)->partition;
    }
    ck_assert_int_eq(read, WAITING);
    OK(db, beck_close(db));
}
END_TEST

/* A batch above the limit fails until somebody raises it: each poll says so, the others go on. */
START_TEST(a_failing_partition_does_not_starve_another)
{
    beck_topic_config config = {.size = sizeof config, .max_message_bytes = 100 << 20};
    const beck_record *records;
    size_t count;
    int failed = 0, read = 0;
    if (!built(BECK_COMPRESSION_ZSTD)) return;
    beck *db = open_db(path());
    beck_topic *topic = topic_with(db, "t", 2, BECK_COMPRESSION_ZSTD);
    OK(db, beck_topic_alter(db, "t", &config));
    OK(db, append_size(topic, 70 << 20, false)); /* partition 0 */
    config.max_message_bytes = 1 << 20;
    OK(db, beck_topic_alter(db, "t", &config));
    for (int i = 0; i < 5; i++) append_many(db, topic, 1, i, 1, 0);
    beck_consumer *consumer = consume(db, "t", BECK_START_BEGINNING, 0);
    for (int i = 0; i < 12; i++) {
        int rc = beck_poll(consumer, 1, 0, &records, &count);
        if (rc == BECK_TOO_LARGE) failed++;
        if (rc == BECK_TOO_LARGE) continue;
        OK(db, rc);
        ck_assert_uint_eq(count, 1);
        ck_assert_int_eq(records->partition, 1);
        ck_assert_int_eq(records->offset, read++);
    }
    ck_assert_int_eq(read, 5);
    ck_assert_int_eq(failed, 7);
    OK(db, beck_close(db));
}
END_TEST

/* ---- Threads ---- */

static void *append_from_thread(void *context)
{
    char value[1024];
    size_t bytes = make_value(value, 1234567 % 40 + 39);
    beck_record records[50];
    for (int i = 0; i < 50; i++)
        records[i] = (beck_record){.value = value, .value_size = (uint32_t)bytes};
    for (int i = 0; i < 100; i++)
        if (beck_append_batch(context, 0, records, 50, NULL) < 0) return context;
    return NULL;
}

START_TEST(threads_compress_side_by_side)
{
    pthread_t threads[3];
    void *failed = NULL;
    if (!built(_i)) return;
    beck *db = open_db(path());
    beck_topic *topic = topic_with(db, "t", 1, _i);
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, append_from_thread, topic), 0);
    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(pthread_join(threads[i], &failed), 0);
        ck_assert_ptr_null(failed);
    }
    beck_consumer *consumer = consume(db, "t", BECK_START_BEGINNING, 0);
    ck_assert_uint_eq(drain(db, consumer), 3 * 100 * 50);
    OK(db, beck_close(db));
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("compress");
    TCase *c = tcase_create("compress");
    tcase_set_timeout(c, 30);
    tcase_add_loop_test(c, a_compressed_topic_reads_like_any_other, FIRST, LAST + 1);
    tcase_add_test(c, codecs_mix_and_partitions_take_turns);
    tcase_add_loop_test(c, times_are_found_inside_a_compressed_batch, FIRST, LAST + 1);
    tcase_add_test(c, the_topic_decides_and_producer_leaves_it_to_the_call);
    tcase_add_test(c, wrong_compressions_are_refused);
    tcase_add_loop_test(c, the_limit_is_on_what_is_stored, FIRST + 1, LAST + 1);
    tcase_add_test(c, a_batch_above_the_limit_waits_until_it_is_raised);
    tcase_add_test(c, a_raised_limit_counts_in_the_segment_being_read);
    test_add_short_of_memory(c, a_check_short_of_memory_fails, BECK_COMPRESSION_LZ4,
                             BECK_COMPRESSION_LZ4 + 1);
    tcase_add_loop_test(c, a_busy_partition_does_not_starve_another, FIRST, LAST + 1);
    tcase_add_test(c, a_failing_partition_does_not_starve_another);
    tcase_add_loop_test(c, threads_compress_side_by_side, FIRST + 1, LAST + 1);
    suite_add_tcase(s, c);
    return s;
}
