/* api_consume.c -- consumers: starts, polls, seeking, waiting, changes meanwhile */
#include <pthread.h>
#include <signal.h>
#include <sys/time.h>

#include "api_help.h"

static int64_t position(beck *db, beck_consumer *consumer, const char *topic, int32_t partition)
{
    int64_t offset = -1;
    OK(db, beck_position(consumer, topic, partition, &offset));
    return offset;
}

/* ---- Opening ---- */

static void open_fails(beck *db, beck_consumer_config config, int status)
{
    beck_consumer *consumer = (beck_consumer *)(uintptr_t)1;
    config.size = sizeof config;
    ck_assert_int_eq(beck_consumer_open(db, &config, &consumer), status);
    ck_assert_ptr_null(consumer);
}

START_TEST(bad_configurations)
{
    beck *db = open_db(path());
    const char *t[] = {"t", "t"}, *nope[] = {"nope"}, *none[] = {NULL};
    int32_t partitions[] = {0, 2};
    OK(db, append_text(os_topic(db, "t", 2, 0), 0, "x"));
    open_fails(db, (beck_consumer_config){.topics = t}, BECK_INVALID);
    open_fails(db, (beck_consumer_config){.topic_count = 1}, BECK_INVALID);
    open_fails(db, (beck_consumer_config){.topics = none, .topic_count = 1}, BECK_INVALID);
    open_fails(db, (beck_consumer_config){.topics = t, .topic_count = 2}, BECK_INVALID);
    open_fails(db, (beck_consumer_config){.topics = nope, .topic_count = 1}, BECK_NOT_FOUND);
    says(db, "nope");
    beck_consumer_config c = {.topics = t, .topic_count = 1};
    c.partitions = partitions;
    c.partition_count = 2;
    open_fails(db, c, BECK_NOT_FOUND);
    says(db, "partition 2");
    c.partition_count = 1;
    c.start = 5;
    open_fails(db, c, BECK_INVALID);
    c.start = BECK_START_BEGINNING;
    c.flags = 1u << 31;
    open_fails(db, c, BECK_INVALID);
    c.flags = 0;
    c.start = BECK_START_LAST;
    c.start_value = -1;
    open_fails(db, c, BECK_INVALID);
    c.start = BECK_START_OFFSET;
    c.start_value = 2;
    open_fails(db, c, BECK_RANGE);
    says(db, "t:0");
    says(db, "2");
    GIVES(INVALID, db, beck_consumer_open(db, NULL, NULL));
    OK(db, beck_close(db));
}
END_TEST

/* 100 records of three segments or more, the last one unsealed. */
static beck *hundred(const char *name, uint32_t flags)
{
    beck *db = open_db(name);
    beck_topic *topic = os_topic(db, "t", 1, 16384);
    for (uint32_t i = 0; i < 100; i++) OK(db, append_filled(topic, 0, 500, i, NULL));
    if (flags == 0) return db;
    OK(db, beck_close(db));
    return open_flags(name, flags);
}

START_TEST(starts)
{
    static const struct {
        uint32_t start;
        int64_t value, first;
    } cases[] = {{BECK_START_BEGINNING, 0, 0}, {BECK_START_END, 0, 100},
                 {BECK_START_OFFSET, 0, 0},    {BECK_START_OFFSET, 57, 57},
                 {BECK_START_OFFSET, 99, 99},  {BECK_START_OFFSET, 100, 100},
                 {BECK_START_LAST, 0, 100},    {BECK_START_LAST, 1, 99},
                 {BECK_START_LAST, 100, 0},    {BECK_START_LAST, 1000, 0}};
    beck *db = hundred(path(), (uint32_t)_i);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        beck_consumer *consumer = consume(db, "t", cases[i].start, cases[i].value);
        ck_assert_int_eq(position(db, consumer, "t", 0), cases[i].first);
        if (cases[i].first < 100) {
            const beck_record *r = poll_one(db, consumer);
            ck_assert_int_eq(r->offset, cases[i].first);
            ck_assert(filled(r->value, 500, (uint64_t)r->offset));
            ck_assert_uint_eq(drain(db, consumer), (size_t)(99 - cases[i].first));
        }
        poll_none(db, consumer);
        beck_consumer_close(consumer);
    }
    OK(db, beck_close(db));
}
END_TEST

/* ---- By time ---- */

enum { TIMED = 400 };

/* Batches of 1 to 9 records whose times rise but jump back and forth. */
static void append_timed(beck *db, beck_topic *topic, int64_t times[TIMED])
{
    static uint8_t value[300];
    beck_record batch[9];
    for (uint32_t i = 0; i < TIMED;) {
        uint32_t n = 1 + i * 5 % 9;
        for (uint32_t k = 0; k < n; k++) {
            uint64_t noise;
            fill(&noise, sizeof noise, i + k);
            batch[k] = (beck_record){.value = value, .value_size = (uint32_t)(noise % 300)};
            batch[k].timestamp = 100000 + (int64_t)(i + k) * 10 + (int64_t)(noise >> 20) % 900;
            if (i + k < TIMED) times[i + k] = batch[k].timestamp;
        }
        n = i + n > TIMED ? TIMED - i : n;
        OK(db, beck_append_batch(topic, 0, batch, n, NULL));
        i += n;
    }
}

START_TEST(start_by_time)
{
    static int64_t times[TIMED];
    beck *db = open_db(path());
    append_timed(db, os_topic(db, "t", 1, 16384), times);
    if (_i > 0) {
        OK(db, beck_close(db));
        db = open_flags(path(), _i == 2 ? BECK_OPEN_READONLY : 0);
    }
    for (int64_t t = 99990; t < 106000; t += 7) {
        int64_t first = 0;
        while (first < TIMED && times[first] < t) first++;
        beck_consumer *consumer = consume(db, "t", BECK_START_TIME, t);
        ck_assert_int_eq(position(db, consumer, "t", 0), first);
        if (first < TIMED) ck_assert_int_eq(poll_one(db, consumer)->timestamp, times[first]);
        beck_consumer_close(consumer);
    }
    beck_consumer *all = consume(db, "t", BECK_START_TIME, INT64_MIN);
    ck_assert_int_eq(position(db, all, "t", 0), 0);
    all = consume(db, "t", BECK_START_TIME, INT64_MAX);
    ck_assert_int_eq(position(db, all, "t", 0), TIMED);
    OK(db, beck_close(db));
}
END_TEST

/* ---- Positions ---- */

START_TEST(seeking)
{
    beck *db = hundred(path(), (uint32_t)_i);
    beck_consumer *consumer = consume(db, "t", BECK_START_BEGINNING, 0);
    int64_t offset = 0;
    for (int64_t i = 0, to = 0; i < 300; i++, to = (to * 37 + 11) % 101) {
        OK(db, beck_seek(consumer, "t", 0, to));
        ck_assert_int_eq(position(db, consumer, "t", 0), to);
        if (to == 100) {
            poll_none(db, consumer);
            continue;
        }
        const beck_record *r = poll_one(db, consumer);
        ck_assert_int_eq(r->offset, to);
        ck_assert(filled(r->value, 500, (uint64_t)to));
        ck_assert_int_eq(position(db, consumer, "t", 0), to + 1);
    }
    OK(db, beck_seek(consumer, "t", 0, 42));
    GIVES(RANGE, db, beck_seek(consumer, "t", 0, 101));
    says(db, "t:0");
    says(db, "101");
    ck_assert_int_lt(beck_seek(consumer, "t", 0, -1), 0);
    GIVES(NOT_FOUND, db, beck_seek(consumer, "t", 1, 0));
    GIVES(NOT_FOUND, db, beck_seek(consumer, "u", 0, 0));
    GIVES(NOT_FOUND, db, beck_position(consumer, "u", 0, &offset));
    GIVES(NOT_FOUND, db, beck_position(consumer, "t", -1, &offset));
    ck_assert_int_eq(poll_one(db, consumer)->offset, 42); /* failures moved nothing */
    OK(db, beck_close(db));
}
END_TEST

/* Offsets inside batches. */
START_TEST(seeking_into_batches)
{
    static char texts[90][8];
    beck *db = open_db(path());
    beck_topic *topic = os_topic(db, "t", 1, 16384);
    beck_record batch[30];
    for (int b = 0; b < 3; b++) {
        for (int i = 0; i < 30; i++) {
            snprintf(texts[b * 30 + i], 8, "r%d", b * 30 + i);
            batch[i] = (beck_record){.value = texts[b * 30 + i]};
            batch[i].value_size = (uint32_t)strlen(batch[i].value);
        }
        OK(db, beck_append_batch(topic, 0, batch, 30, NULL));
    }
    beck_consumer *consumer = consume(db, "t", BECK_START_OFFSET, 44);
    const beck_record *records;
    size_t count;
    OK(db, beck_poll(consumer, 20, 0, &records, &count));
    ck_assert_uint_eq(count, 20); /* over the border of two batches */
    for (size_t i = 0; i < count; i++) ck_assert(value_is(&records[i], texts[44 + i]));
    for (int i = 89; i >= 0; i--) {
        OK(db, beck_seek(consumer, "t", 0, i));
        ck_assert(value_is(poll_one(db, consumer), texts[i]));
    }
    OK(db, beck_close(db));
}
END_TEST

/* ---- Polling ---- */

START_TEST(poll_arguments)
{
    beck *db = hundred(path(), 0);
    beck_consumer *consumer = consume(db, "t", BECK_START_BEGINNING, 0);
    const beck_record *records;
    size_t count;
    GIVES(INVALID, db, beck_poll(NULL, 1, 0, &records, &count));
    GIVES(INVALID, db, beck_poll(consumer, 0, 0, &records, &count));
    GIVES(INVALID, db, beck_poll(consumer, 1, -2, &records, &count));
    GIVES(INVALID, db, beck_poll(consumer, 1, 0, NULL, &count));
    GIVES(INVALID, db, beck_poll(consumer, 1, 0, &records, NULL));
    beck_event_info event = {.size = sizeof event, .type = 7};
    OK(db, beck_poll(consumer, SIZE_MAX, 0, &records, &count));
    ck_assert_uint_gt(count, 0);
    OK(db, beck_event(consumer, &event));
    ck_assert_int_eq(event.type, BECK_EVENT_NONE);
    OK(db, beck_close(db));
}
END_TEST

/* Every number of records at a time gives the same records, from one partition, in order. */
START_TEST(any_number_at_a_time)
{
    beck *db = hundred(path(), (uint32_t)_i);
    for (size_t max = 1; max < 120; max += 1 + max / 3) {
        beck_consumer *consumer = consume(db, "t", BECK_START_BEGINNING, 0);
        const beck_record *records;
        size_t count, sum = 0;
        for (;;) {
            OK(db, beck_poll(consumer, max, 0, &records, &count));
            if (count == 0) break;
            ck_assert_uint_le(count, max);
            for (size_t i = 0; i < count; i++, sum++) {
                ck_assert_int_eq(records[i].offset, (int64_t)sum);
                ck_assert_str_eq(records[i].topic, "t");
                ck_assert(filled(records[i].value, 500, sum));
            }
        }
        ck_assert_uint_eq(sum, 100);
        beck_consumer_close(consumer);
    }
    OK(db, beck_close(db));
}
END_TEST

/* A consumer's records last until its own next call: others do not disturb them. */
START_TEST(records_outlive_other_polls)
{
    enum { CONSUMERS = 20 };
    beck *db = hundred(path(), 0);
    beck_consumer *consumers[CONSUMERS];
    const beck_record *records[CONSUMERS];
    size_t counts[CONSUMERS];
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < CONSUMERS; i++) {
            if (round == 0) consumers[i] = consume(db, "t", BECK_START_OFFSET, i * 4);
            OK(db, beck_poll(consumers[i], 4, 0, &records[i], &counts[i]));
        }
        for (int i = 0; i < CONSUMERS; i++) {
            ck_assert_uint_gt(counts[i], 0);
            for (size_t k = 0; k < counts[i]; k++)
                ck_assert(filled(records[i][k].value, 500, (uint64_t)records[i][k].offset));
        }
    }
    OK(db, beck_close(db));
}
END_TEST

/* Copied records, and those of consumers beyond the eighth, have nothing to do with the file. */
START_TEST(copies_do_not_hold_the_file)
{
    enum { CONSUMERS = 12 };
    beck *db = hundred(path(), 0);
    beck_consumer *consumers[CONSUMERS];
    const beck_record *records[CONSUMERS];
    const char *name = "t";
    size_t count;
    beck_consumer_config config = {.size = sizeof config, .topics = &name, .topic_count = 1};
    for (int i = 0; i < CONSUMERS; i++) {
        config.flags = i < 3 ? BECK_CONSUME_COPY : 0;
        OK(db, beck_consumer_open(db, &config, &consumers[i]));
        OK(db, beck_poll(consumers[i], 20, 0, &records[i], &count));
        ck_assert_uint_eq(count, 20);
    }
    for (int i = 3; i < 11; i++) beck_consumer_close(consumers[i]);  /* the eight that had a pin */
    beck_consumer *late = consume(db, "t", BECK_START_BEGINNING, 0); /* has a pin again */
    ck_assert_uint_eq(drain(db, late), 100);
    beck_consumer_close(late);
    OK(db, beck_topic_delete(db, "t"));
    beck_topic *other = os_topic(db, "other", 1, 16384);
    for (uint32_t i = 0; i < 200; i++) OK(db, append_filled(other, 0, 500, 1000 + i, NULL));
    beck_stat_info info = {.size = sizeof info};
    OK(db, beck_stat(db, &info));
    ck_assert_uint_eq(info.retired_bytes, 0);
    for (int i = 0; i < CONSUMERS; i++)
        for (size_t k = 0; k < 20 && (i < 3 || i > 10); k++)
            ck_assert(filled(records[i][k].value, 500, k));
    OK(db, beck_close(db));
}
END_TEST

START_TEST(unchecked_reads_the_same)
{
    beck *db = hundred(path(), (uint32_t)_i);
    const char *name = "t";
    beck_consumer_config config = {.size = sizeof config, .topics = &name, .topic_count = 1};
    const beck_record *records;
    size_t count, sum = 0;
    beck_consumer *consumer;
    config.flags = BECK_CONSUME_UNCHECKED;
    OK(db, beck_consumer_open(db, &config, &consumer));
    for (;;) {
        OK(db, beck_poll(consumer, 7, 0, &records, &count));
        if (count == 0) break;
        for (size_t i = 0; i < count; i++, sum++) ck_assert(filled(records[i].value, 500, sum));
    }
    ck_assert_uint_eq(sum, 100);
    OK(db, beck_close(db));
}
END_TEST

/* ---- Several topics and partitions ---- */

START_TEST(busy_partitions_starve_nobody)
{
    beck *db = open_db(path());
    beck_topic *busy = os_topic(db, "busy", 3, 16384), *quiet = os_topic(db, "quiet", 1, 0);
    const char *topics[] = {"busy", "quiet"};
    beck_consumer_config config = {.size = sizeof config, .topics = topics, .topic_count = 2};
    beck_consumer *consumer;
    const beck_record *records;
    size_t count;
    int64_t next[3] = {0};
    for (uint32_t i = 0; i < 3000; i++) OK(db, append_filled(busy, (int32_t)(i % 3), 50, i, NULL));
    OK(db, beck_consumer_open(db, &config, &consumer));
    for (int round = 0; round < 10; round++) {
        int from_quiet = 0, from_busy[3] = {0};
        OK(db, append_text(quiet, 0, "hush"));
        for (int i = 0; i < 8; i++) {
            OK(db, beck_poll(consumer, 10, 0, &records, &count));
            ck_assert_uint_gt(count, 0);
            bool hush = strcmp(records[0].topic, "quiet") == 0;
            from_quiet += hush;
            for (size_t k = 0; k < count; k++) ck_assert_str_eq(records[k].topic, records[0].topic);
            for (size_t k = 0; k < count && !hush; k++)
                ck_assert_int_eq(records[k].offset, next[records[k].partition]++);
            if (!hush) from_busy[records[0].partition]++;
        }
        ck_assert_int_eq(from_quiet, 1);
        for (int p = 0; p < 3; p++) ck_assert_int_ge(from_busy[p], 2);
    }
    OK(db, beck_close(db));
}
END_TEST

START_TEST(chosen_partitions)
{
    beck *db = open_db(path());
    beck_topic *topic = os_topic(db, "t", 4, 0);
    const char *name = "t";
    int32_t wanted[] = {3, 1};
    int64_t offset;
    beck_consumer_config config = {.size = sizeof config, .topics = &name, .topic_count = 1};
    config.partitions = wanted;
    config.partition_count = 2;
    beck_consumer *consumer;
    for (int32_t i = 0; i < 40; i++) OK(db, append_text(topic, i % 4, "x"));
    OK(db, beck_consumer_open(db, &config, &consumer));
    beck_topic_config more = {.size = sizeof more, .partitions = 5};
    OK(db, beck_topic_alter(db, "t", &more));
    OK(db, beck_topic_open(db, "t", NULL, &topic));
    for (int i = 0; i < 20; i++) ck_assert_int_eq(poll_one(db, consumer)->partition % 2, 1);
    poll_none(db, consumer);
    GIVES(NOT_FOUND, db, beck_position(consumer, "t", 0, &offset));
    ck_assert_int_eq(position(db, consumer, "t", 1), 10);
    OK(db, beck_close(db));
}
END_TEST

/* Partitions added by another handle are read from their beginning, whoever began where. */
START_TEST(partitions_added_meanwhile)
{
    beck *db = open_db(path()), *other = open_db(path());
    beck *reader_db = _i ? open_readonly(path()) : db;
    beck_topic *topic = os_topic(other, "t", 1, 0);
    OK(other, append_text(topic, 0, "old"));
    beck_consumer *consumer = consume(reader_db, "t", BECK_START_END, 0);
    poll_none(reader_db, consumer);
    beck_topic_config more = {.size = sizeof more, .partitions = 3};
    OK(other, beck_topic_alter(other, "t", &more));
    beck *third = open_db(path()); /* knows the new partitions from the start */
    OK(third, beck_topic_open(third, "t", NULL, &topic));
    OK(third, append_text(topic, 2, "new"));
    const beck_record *r = poll_one(reader_db, consumer);
    ck_assert_int_eq(r->partition, 2);
    ck_assert(value_is(r, "new"));
    OK(third, append_text(topic, 1, "newer"));
    ck_assert_int_eq(poll_one(reader_db, consumer)->partition, 1);
    if (_i) OK(reader_db, beck_close(reader_db));
    OK(third, beck_close(third));
    OK(other, beck_close(other));
    OK(db, beck_close(db));
}
END_TEST

/* ---- Waiting ---- */

struct later {
    pthread_t thread;
    const char *file;
    const char *topic;
    int32_t partition;
    int after_ms;
};

static void *append_later(void *context)
{
    const struct later *l = context;
    beck *db = open_db(l->file);
    beck_topic *topic;
    OK(db, beck_topic_open(db, l->topic, NULL, &topic));
    sleep_ms(l->after_ms);
    OK(db, append_text(topic, l->partition, "late"));
    OK(db, beck_close(db));
    return NULL;
}

START_TEST(waits_as_long_as_told)
{
    beck *db = hundred(path(), (uint32_t)_i);
    beck_consumer *consumer = consume(db, "t", BECK_START_END, 0);
    const beck_record *records;
    size_t count;
    int64_t before = clock_ms();
    OK(db, beck_poll(consumer, 1, 0, &records, &count));
    ck_assert_int_lt(clock_ms() - before, 90);
    before = clock_ms();
    OK(db, beck_poll(consumer, 1, 250, &records, &count));
    ck_assert_uint_eq(count, 0);
    ck_assert_int_ge(clock_ms() - before, 250);
    ck_assert_int_lt(clock_ms() - before, 2000);
    OK(db, beck_close(db));
}
END_TEST

/* With few partitions, with more than one wait can list, and from a read-only handle. */
START_TEST(wakes_up)
{
    static const struct {
        uint32_t partitions, flags;
        int32_t timeout;
    } cases[] = {{1, 0, -1}, {100, 0, 5000}, {300, 0, -1}, {1, 1, 5000}, {300, 1, -1}};
    beck *db = open_db(path());
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char name[8];
        snprintf(name, sizeof name, "t%zu", i);
        (void)os_topic(db, name, cases[i].partitions, 16384);
        beck *mine = open_flags(path(), cases[i].flags);
        beck_consumer *consumer = consume(mine, name, BECK_START_END, 0);
        struct later later = {0, path(), name, (int32_t)cases[i].partitions - 1, 150};
        const beck_record *records;
        size_t count = 0;
        int64_t before = clock_ms();
        ck_assert_int_eq(pthread_create(&later.thread, NULL, append_later, &later), 0);
        OK(mine, beck_poll(consumer, 5, cases[i].timeout, &records, &count));
        ck_assert_uint_eq(count, 1);
        ck_assert(value_is(records, "late"));
        ck_assert_int_ge(clock_ms() - before, 140);
        ck_assert_int_lt(clock_ms() - before, 2000);
        pthread_join(later.thread, NULL);
        OK(mine, beck_close(mine));
    }
    OK(db, beck_close(db));
}
END_TEST

/* Two threads pass a record to and fro: each hand-over must wake, not wait for a time-out. */
struct pong {
    const char *file;
    const char *from, *to;
    int rounds;
};

static void *pong(void *context)
{
    const struct pong *p = context;
    beck *db = open_db(p->file);
    beck_topic *to;
    beck_consumer *from = consume(db, p->from, BECK_START_BEGINNING, 0);
    OK(db, beck_topic_open(db, p->to, NULL, &to));
    for (int i = 0; i < p->rounds; i++) {
        ck_assert_int_eq(poll_one(db, from)->offset, i);
        OK(db, append_text(to, 0, "ball"));
    }
    OK(db, beck_close(db));
    return NULL;
}

START_TEST(wake_ups_are_prompt)
{
    enum { ROUNDS = 300 };
    beck *db = open_db(path());
    beck_topic *ping = os_topic(db, "ping", 1, 0);
    (void)os_topic(db, "pong", 1, 0);
    struct pong p = {path(), "ping", "pong", ROUNDS};
    pthread_t thread;
    beck_consumer *from = consume(db, "pong", BECK_START_BEGINNING, 0);
    ck_assert_int_eq(pthread_create(&thread, NULL, pong, &p), 0);
    int64_t before = clock_ms();
    for (int i = 0; i < ROUNDS; i++) {
        OK(db, append_text(ping, 0, "ball"));
        ck_assert_int_eq(poll_one(db, from)->offset, i);
    }
    ck_assert_int_lt(clock_ms() - before, ROUNDS * 2 * 100 / 8);
    pthread_join(thread, NULL);
    OK(db, beck_close(db));
}
END_TEST

/* Only a signal handler may end a wait early: not what is appended elsewhere. */
static void *append_elsewhere(void *context)
{
    const struct later *l = context;
    beck *db = open_db(l->file);
    beck_topic *topic;
    int64_t until = clock_ms() + l->after_ms;
    OK(db, beck_topic_open(db, l->topic, NULL, &topic));
    for (int32_t i = 0; clock_ms() < until; i++) OK(db, append_text(topic, 1 + i % 99, "x"));
    OK(db, beck_close(db));
    return NULL;
}

START_TEST(others_do_not_end_a_wait)
{
    beck *db = open_db(path());
    (void)os_topic(db, "t", 100, 0);
    const char *name = "t";
    const int32_t wanted = 0;
    beck_consumer_config config = {.size = sizeof config, .topics = &name, .topic_count = 1};
    beck_consumer *consumer;
    const beck_record *records;
    size_t count;
    struct later later = {0, path(), name, 0, 900};
    config.partitions = &wanted;
    config.partition_count = 1;
    OK(db, beck_consumer_open(db, &config, &consumer));
    ck_assert_int_eq(pthread_create(&later.thread, NULL, append_elsewhere, &later), 0);
    for (int i = 0; i < 2; i++) {
        int64_t before = clock_ms();
        OK(db, beck_poll(consumer, 1, 300, &records, &count));
        ck_assert_uint_eq(count, 0);
        ck_assert_int_ge(clock_ms() - before, 300);
    }
    pthread_join(later.thread, NULL);
    OK(db, beck_close(db));
}
END_TEST

static void *wake_soon(void *consumer)
{
    struct timespec t = {.tv_nsec = 50000000};
    nanosleep(&t, NULL);
    beck_wakeup(consumer);
    return NULL;
}

/* beck_wakeup ends a wait in another thread, and the next one when nobody waits; and only one. */
START_TEST(wakeup_ends_one_wait)
{
    beck *db = open_db(path());
    const beck_record *records;
    size_t count;
    pthread_t thread;
    os_topic(db, "t", 1, 0);
    beck_consumer *consumer = consume(db, "t", BECK_START_BEGINNING, 0);
    ck_assert_int_eq(pthread_create(&thread, NULL, wake_soon, consumer), 0);
    OK(db, beck_poll(consumer, 1, 20000, &records, &count));
    ck_assert_uint_eq(count, 0);
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
    OK(db, beck_wakeup(consumer));
    OK(db, beck_poll(consumer, 1, 20000, &records, &count));
    ck_assert_uint_eq(count, 0);
    int64_t before = clock_ms();
    OK(db, beck_poll(consumer, 1, 300, &records, &count));
    ck_assert_int_ge(clock_ms() - before, 250);
    OK(db, beck_close(db));
}
END_TEST

/* Nor does a wake-up that comes late, for a record that was read already. */
static void *append_now_and_then(void *context)
{
    const struct later *l = context;
    beck *db = open_db(l->file);
    beck_topic *topic;
    int64_t until = clock_ms() + l->after_ms;
    OK(db, beck_topic_open(db, l->topic, NULL, &topic));
    for (int i = 0; clock_ms() < until; i++) {
        struct timespec pause = {0, i * 7919L % 100000};
        OK(db, append_text(topic, l->partition, "x"));
        nanosleep(&pause, NULL);
    }
    OK(db, beck_close(db));
    return NULL;
}

START_TEST(late_wake_ups_do_not_end_a_wait)
{
    enum { WRITERS = 3 };
    beck *db = open_db(path());
    (void)os_topic(db, "t", 2, 0);
    beck_consumer *consumer = consume(db, "t", BECK_START_BEGINNING, 0);
    struct later writers[WRITERS];
    const beck_record *records;
    size_t count;
    int64_t until = clock_ms() + 1000, before;
    for (int i = 0; i < WRITERS; i++) {
        writers[i] = (struct later){0, path(), "t", i % 2, 1000};
        ck_assert_int_eq(pthread_create(&writers[i].thread, NULL, append_now_and_then, &writers[i]),
                         0);
    }
    while ((before = clock_ms()) < until) {
        OK(db, beck_poll(consumer, 100, 500, &records, &count));
        if (count == 0) ck_assert_int_ge(clock_ms() - before, 500);
    }
    for (int i = 0; i < WRITERS; i++) pthread_join(writers[i].thread, NULL);
    OK(db, beck_close(db));
}
END_TEST

static void on_alarm(int signal)
{
    (void)signal;
}

START_TEST(signals_end_a_wait)
{
    struct sigaction action = {.sa_handler = on_alarm};
    struct itimerval timer = {.it_value.tv_usec = 120000, .it_interval.tv_usec = 70000};
    beck *db = hundred(path(), 0);
    beck_consumer *consumer = consume(db, "t", BECK_START_END, 0);
    const beck_record *records;
    size_t count = 1;
    sigaction(SIGALRM, &action, NULL);
    int64_t before = clock_ms();
    setitimer(ITIMER_REAL, &timer, NULL);
    OK(db, beck_poll(consumer, 1, 6000, &records, &count));
    ck_assert_uint_eq(count, 0);
    ck_assert_int_lt(clock_ms() - before, 3000);
    OK(db, beck_close(db));
}
END_TEST

/* ---- Deleted meanwhile ---- */

static void *delete_later(void *context)
{
    const struct later *l = context;
    beck *db = open_db(l->file);
    sleep_ms(l->after_ms);
    OK(db, beck_topic_delete(db, l->topic));
    OK(db, beck_close(db));
    return NULL;
}

START_TEST(deleted_while_waiting)
{
    beck *db = hundred(path(), 0), *mine = open_flags(path(), (uint32_t)_i);
    beck_consumer *consumer = consume(mine, "t", BECK_START_END, 0);
    struct later later = {0, path(), "t", 0, 150};
    const beck_record *records;
    size_t count;
    int64_t before = clock_ms();
    ck_assert_int_eq(pthread_create(&later.thread, NULL, delete_later, &later), 0);
    GIVES(DELETED, mine, beck_poll(consumer, 1, 6000, &records, &count));
    says(mine, "t");
    ck_assert_int_lt(clock_ms() - before, 2000);
    GIVES(DELETED, mine, beck_poll(consumer, 1, 0, &records, &count));
    pthread_join(later.thread, NULL);
    OK(mine, beck_close(mine));
    OK(db, beck_close(db));
}
END_TEST

/* A topic of the same name is another topic. */
START_TEST(deleted_and_made_again)
{
    beck *db = hundred(path(), 0), *mine = open_flags(path(), (uint32_t)_i);
    beck_consumer *consumer = consume(mine, "t", BECK_START_BEGINNING, 0);
    const beck_record *records;
    size_t count;
    poll_one(mine, consumer);
    OK(db, beck_topic_delete(db, "t"));
    OK(db, append_text(os_topic(db, "t", 1, 16384), 0, "second life"));
    GIVES(DELETED, mine, beck_poll(consumer, 1, 100, &records, &count));
    beck_consumer_close(consumer);
    ck_assert(value_is(poll_one(mine, consume(mine, "t", BECK_START_BEGINNING, 0)), "second life"));
    OK(mine, beck_close(mine));
    OK(db, beck_close(db));
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("api_consume");
    TCase *c = tcase_create("starts");
    tcase_add_test(c, bad_configurations);
    tcase_add_loop_test(c, starts, 0, 2);
    tcase_add_loop_test(c, start_by_time, 0, 3);
    tcase_add_loop_test(c, seeking, 0, 2);
    tcase_add_test(c, seeking_into_batches);
    suite_add_tcase(s, c);

    c = tcase_create("polls");
    tcase_add_test(c, poll_arguments);
    tcase_add_loop_test(c, any_number_at_a_time, 0, 2);
    tcase_add_test(c, records_outlive_other_polls);
    tcase_add_test(c, copies_do_not_hold_the_file);
    tcase_add_loop_test(c, unchecked_reads_the_same, 0, 2);
    tcase_add_test(c, busy_partitions_starve_nobody);
    tcase_add_test(c, chosen_partitions);
    tcase_add_loop_test(c, partitions_added_meanwhile, 0, 2);
    suite_add_tcase(s, c);

    c = tcase_create("waiting");
    tcase_add_loop_test(c, waits_as_long_as_told, 0, 2);
    tcase_add_test(c, wakes_up);
    tcase_add_test(c, wake_ups_are_prompt);
    tcase_add_test(c, others_do_not_end_a_wait);
    tcase_add_test(c, late_wake_ups_do_not_end_a_wait);
    tcase_add_test(c, wakeup_ends_one_wait);
    tcase_add_test(c, signals_end_a_wait);
    tcase_add_loop_test(c, deleted_while_waiting, 0, 2);
    tcase_add_loop_test(c, deleted_and_made_again, 0, 2);
    suite_add_tcase(s, c);
    return s;
}
