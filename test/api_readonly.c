/* api_readonly.c -- read-only handles beside writers: following, waking, closing and reopening */
#include <pthread.h>
#include <stdatomic.h>
#include <sys/resource.h>

#include "api_help.h"

/* The record must be there at once, or after one look: 100 ms, and time for a busy machine. */
static void expect(beck *db, beck_consumer *consumer, const char *text)
{
    const beck_record *records;
    size_t count;
    int64_t before = clock_ms();
    OK(db, beck_poll(consumer, 1, 2000, &records, &count));
    ck_assert_uint_eq(count, 1);
    ck_assert(value_is(&records[0], text));
    ck_assert_int_lt(clock_ms() - before, 1000);
}

START_TEST(follows_a_writer)
{
    beck *db = open_db(path()), *reader;
    beck_topic *topic = os_topic(db, "t", 2, 16384);
    char text[32];
    reader = open_readonly(path());
    beck_consumer *consumer = consume(reader, "t", BECK_START_BEGINNING, 0);
    for (int i = 0; i < 200; i++) {
        snprintf(text, sizeof text, "%0*d", 1 + i % 20, i);
        OK(db, append_text(topic, i % 2, text));
        expect(reader, consumer, text);
        ck_assert_int_eq(end_offset(reader, "t", (uint32_t)i % 2), i / 2 + 1);
    }
    poll_none(reader, consumer);
    OK(db, beck_topic_create(db, "later", NULL));
    ck_assert_int_eq(end_offset(reader, "later", 0), 0);
    OK(reader, beck_close(reader));
    OK(db, beck_close(db));
}
END_TEST

/* A position counts from what is visible now, not from what was when the last poll came by. */
START_TEST(seeks_to_what_is_new)
{
    beck *db = open_db(path()), *reader;
    beck_topic *topic = os_topic(db, "t", 1, 16384);
    reader = open_readonly(path());
    beck_consumer *consumer = consume(reader, "t", BECK_START_BEGINNING, 0);
    poll_none(reader, consumer);
    for (uint32_t i = 0; i < 50; i++) OK(db, append_filled(topic, 0, 900, i, NULL));
    OK(reader, beck_seek(consumer, "t", 0, 49));
    ck_assert(filled(poll_one(reader, consumer)->value, 900, 49));
    OK(db, append_filled(topic, 0, 900, 50, NULL));
    OK(reader, beck_seek(consumer, "t", 0, 51));
    GIVES(RANGE, reader, beck_seek(consumer, "t", 0, 52));
    OK(db, beck_close(db));
    OK(reader, beck_seek(consumer, "t", 0, 50));
    ck_assert(filled(poll_one(reader, consumer)->value, 900, 50));
    OK(reader, beck_close(reader));
}
END_TEST

/* One consumer lives through writers that come and go; it misses nothing and sees nothing twice. */
START_TEST(outlives_writers)
{
    OK(NULL, beck_close(open_db(path())));
    beck *db = open_db(path()), *reader;
    beck_topic *topic = os_topic(db, "t", 1, 16384);
    OK(db, append_text(topic, 0, "first"));
    OK(db, beck_close(db));
    reader = open_readonly(path());
    beck_consumer *consumer = consume(reader, "t", BECK_START_BEGINNING, 0);
    expect(reader, consumer, "first");
    for (uint32_t round = 0; round < 8; round++) {
        db = open_db(path());
        topic = os_topic(db, "t", 1, 16384);
        for (uint32_t i = 0; i < 30; i++) OK(db, append_filled(topic, 0, 900, i, NULL));
        if (round % 2) OK(db, beck_close(db)); /* it reads on from what the last to close left */
        for (uint32_t i = 0; i < 30; i++) {
            const beck_record *r = poll_one(reader, consumer);
            ck_assert_int_eq(r->offset, 1 + (int64_t)(round * 30 + i));
            ck_assert(filled(r->value, 900, i));
        }
        poll_none(reader, consumer);
        if (round % 2 == 0) OK(db, beck_close(db));
        poll_none(reader, consumer);
        ck_assert_int_eq(end_offset(reader, "t", 0), 31 + (int64_t)round * 30);
    }
    OK(reader, beck_close(reader));
}
END_TEST

/* Waiting while nobody has the file open, then woken by a writer that opens it. */
static void *open_and_append(void *context)
{
    sleep_ms(150);
    beck *db = open_db(context);
    OK(db, append_text(os_topic(db, "t", 1, 0), 0, "hello"));
    OK(db, beck_close(db));
    return NULL;
}

START_TEST(woken_by_a_writer_that_opens)
{
    beck *db = open_db(path());
    (void)os_topic(db, "t", 1, 0);
    OK(db, beck_close(db));
    beck *reader = open_readonly(path());
    beck_consumer *consumer = consume(reader, "t", BECK_START_END, 0);
    const beck_record *records;
    size_t count;
    pthread_t thread;
    char name[512];
    snprintf(name, sizeof name, "%s", path());
    int64_t before = clock_ms();
    ck_assert_int_eq(pthread_create(&thread, NULL, open_and_append, name), 0);
    OK(reader, beck_poll(consumer, 1, 5000, &records, &count));
    ck_assert_uint_eq(count, 1);
    ck_assert(value_is(records, "hello"));
    ck_assert_int_lt(clock_ms() - before, 2000);
    pthread_join(thread, NULL);
    OK(reader, beck_close(reader));
}
END_TEST

/* What a poll handed out stays right while writers come, delete, reuse and go. */
START_TEST(copies_stay_right)
{
    beck *db = open_db(path());
    beck_topic *topic = os_topic(db, "t", 1, 16384);
    const beck_record *records;
    size_t count;
    for (uint32_t i = 0; i < 20; i++) OK(db, append_filled(topic, 0, 500, i, NULL));
    OK(db, beck_close(db));
    beck *reader = open_readonly(path());
    beck_consumer *consumer = consume(reader, "t", BECK_START_BEGINNING, 0);
    OK(reader, beck_poll(consumer, 20, 0, &records, &count));
    ck_assert_uint_eq(count, 20);
    db = open_db(path());
    OK(db, beck_topic_delete(db, "t"));
    topic = os_topic(db, "u", 1, 16384);
    for (uint32_t i = 0; i < 100; i++) OK(db, append_filled(topic, 0, 500, 1000 + i, NULL));
    for (size_t i = 0; i < count; i++) ck_assert(filled(records[i].value, 500, i));
    GIVES(DELETED, reader, beck_poll(consumer, 20, 0, &records, &count));
    consumer = consume(reader, "u", BECK_START_BEGINNING, 0);
    ck_assert_uint_eq(drain(reader, consumer), 100);
    OK(db, beck_close(db));
    OK(reader, beck_close(reader));
}
END_TEST

/* A reader that is slow, on a topic that is deleted and whose blocks are used again: it may be told
 * DELETED, it must not be given anything else. */
START_TEST(reuse_under_a_slow_reader)
{
    beck *db = open_db(path());
    beck_topic *topic = os_topic(db, "t", 1, 16384);
    const beck_record *records;
    size_t count = 0;
    int rc;
    for (uint32_t i = 0; i < 200; i++) OK(db, append_filled(topic, 0, 500, i, NULL));
    beck *reader = open_readonly(path());
    beck_consumer *consumer = consume(reader, "t", BECK_START_BEGINNING, 0);
    int64_t next = 0;
    for (int i = 0; i < 10; i++) next = poll_one(reader, consumer)->offset + 1;
    OK(db, beck_topic_delete(db, "t"));
    topic = os_topic(db, "u", 1, 16384);
    for (uint32_t i = 0; i < 300; i++) OK(db, append_filled(topic, 0, 500, 1000 + i, NULL));
    while ((rc = beck_poll(consumer, 3, 0, &records, &count)) >= 0 && (count > 0 || rc > 0))
        for (size_t i = 0; i < count; i++, next++) {
            ck_assert_int_eq(records[i].offset, next);
            ck_assert(filled(records[i].value, 500, (uint64_t)next));
        }
    ck_assert_int_eq(rc, BECK_DELETED);
    OK(reader, beck_close(reader));
    OK(db, beck_close(db));
}
END_TEST

/* Only what is stable is visible in a `sync` topic, to everybody. */
START_TEST(stable_only)
{
    beck *db = open_db(path()), *reader;
    beck_topic *topic;
    const beck_topic_info *info;
    OK(db, beck_topic_open(db, "t", NULL, &topic));
    reader = open_readonly(path());
    beck_consumer *consumer = consume(reader, "t", BECK_START_BEGINNING, 0);
    for (int i = 0; i < 10; i++) {
        OK(db, append_text(topic, 0, "x"));
        expect(reader, consumer, "x");
        OK(reader, beck_topic_describe(reader, "t", &info));
        ck_assert_int_eq(info->partitions[0]->stable_offset, i + 1);
    }
    OK(reader, beck_close(reader));
    OK(db, beck_close(db));
}
END_TEST

static int append_and_die(const char *name)
{
    beck *db = NULL;
    beck_topic *topic = NULL;
    beck_topic_config c = {.size = sizeof c, .sync = BECK_SYNC_OS, .segment_bytes = 16384};
    if (beck_open(name, NULL, &db) < 0 || beck_topic_open(db, "t", &c, &topic) < 0) return 1;
    for (uint32_t i = 0; i < 100; i++)
        if (append_filled(topic, 0, 500, i, NULL) < 0) return 2;
    return 0;
}

/* After a crash a reader sees everything acknowledged, and changes nothing. */
START_TEST(file_of_a_killed_writer)
{
    size_t bytes;
    ck_assert_int_eq(in_child(append_and_die, path()), 0);
    uint8_t *before = file_content(path(), &bytes);
    beck *reader = open_readonly(path());
    beck_consumer *consumer = consume(reader, "t", BECK_START_BEGINNING, 0);
    beck_stat_info info = {.size = sizeof info};
    OK(reader, beck_stat(reader, &info));
    ck_assert_uint_eq(info.clean, 0);
    ck_assert_uint_eq(info.handles, 0);
    ck_assert_uint_eq(drain(reader, consumer), 100);
    ck_assert_str_eq(beck_recovery_report(reader), "");
    ck_assert(file_same(path(), before, bytes));
    beck *db = open_db(path());
    ck_assert_str_eq(beck_recovery_report(db), "");
    int64_t offset;
    OK(db, append_filled(os_topic(db, "t", 1, 0), 0, 500, 100, &offset));
    ck_assert_int_eq(offset, 100);
    ck_assert_int_eq(poll_one(reader, consumer)->offset, 100);
    ck_assert_uint_eq(drain(db, consume(db, "t", BECK_START_BEGINNING, 0)), 101);
    OK(db, beck_close(db));
    poll_none(reader, consumer);
    OK(reader, beck_close(reader));
    free(before);
}
END_TEST

/* A writer is killed beside a reader; another one takes over. The reader goes on. */
START_TEST(outlives_killed_writers)
{
    OK(NULL, beck_close(open_db(path())));
    ck_assert_int_eq(in_child(append_and_die, path()), 0);
    beck *reader = open_readonly(path());
    beck_consumer *consumer = consume(reader, "t", BECK_START_BEGINNING, 0);
    for (int64_t round = 1; round <= 5; round++) {
        for (int64_t i = 0; i < 100; i++) {
            const beck_record *r = poll_one(reader, consumer);
            ck_assert_int_eq(r->offset, (round - 1) * 100 + i);
            ck_assert(filled(r->value, 500, (uint64_t)i));
        }
        poll_none(reader, consumer);
        ck_assert_int_eq(in_child(append_and_die, path()), 0);
    }
    OK(reader, beck_close(reader));
}
END_TEST

/* ---- What stays in the way ---- */

/* Each call tells; it does not try for ever. */
static void ends_with(int wanted, beck *reader, beck_consumer *consumer)
{
    const beck_topic_info *const *infos;
    const beck_record *records;
    size_t count;
    for (int i = 0; i < 2; i++) {
        api_want(__LINE__, wanted, beck_poll(consumer, 10, 0, &records, &count), reader, "poll");
        api_want(__LINE__, wanted, beck_topic_list(reader, &infos, &count), reader, "list");
    }
}

/* It was opened on a file nobody has open; until it looks again, somebody else was there. */
static beck *reader_before(beck_consumer **consumer)
{
    beck_options options = {
        .size = sizeof options, .flags = BECK_OPEN_READONLY, .busy_timeout_ms = 50};
    beck *db = open_db(path()), *reader = NULL;
    OK(db, append_text(os_topic(db, "t", 1, 16384), 0, "first"));
    OK(db, beck_close(db));
    OK(reader, beck_open(path(), &options, &reader));
    *consumer = consume(reader, "t", BECK_START_BEGINNING, 0);
    expect(reader, *consumer, "first");
    return reader;
}

/* A crashed file is read around the page cache, where there is a device: that takes a descriptor.
 */
START_TEST(no_descriptor_left)
{
    const beck_topic_info *const *infos;
    const beck_record *records;
    beck_consumer *consumer;
    struct rlimit limit;
    size_t count;
    beck *reader = reader_before(&consumer);
    ck_assert_int_eq(in_child(append_and_die, path()), 0);
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
    rlim_t before = limit.rlim_cur;
    limit.rlim_cur = 0;
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
    int listed = beck_topic_list(reader, &infos, &count);
    int polled = beck_poll(consumer, 1, 0, &records, &count);
    limit.rlim_cur = before;
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
    ck_assert_msg(listed == BECK_OK || listed == BECK_LIMIT, "%s", beck_status_name(listed));
    ck_assert_int_eq(polled, listed);
    ck_assert_uint_eq(drain(reader, consumer), listed == BECK_OK ? 99 : 100);
    OK(reader, beck_close(reader));
}
END_TEST

/* What could not be attached to is tried again: when it is mended, everything is read. */
START_TEST(a_damaged_catalog)
{
    enum { BYTES = 64, AT = 224 * 1024 + 100 };
    uint8_t before[BYTES], damaged[BYTES];
    beck_consumer *consumer;
    beck *reader = reader_before(&consumer), *db = open_db(path());
    OK(db,
       beck_topic_create(
           db, "a", &(beck_topic_config){.size = sizeof(beck_topic_config), .partitions = 300}));
    OK(db, append_text(os_topic(db, "t", 1, 0), 0, "second"));
    OK(db, beck_close(db));
    int fd = open(path(), O_RDWR);
    ck_assert_int_eq(pread(fd, before, BYTES, AT), BYTES);
    memset(damaged, 0x5a, BYTES);
    ck_assert_int_eq(pwrite(fd, damaged, BYTES, AT), BYTES);
    ends_with(BECK_CORRUPT, reader, consumer);
    ck_assert_int_eq(pwrite(fd, before, BYTES, AT), BYTES);
    close(fd);
    expect(reader, consumer, "second");
    ck_assert_int_eq(end_offset(reader, "t", 0), 2);
    ck_assert_int_eq(end_offset(reader, "a", 299), 0);
    OK(reader, beck_close(reader));
}
END_TEST

/* Somebody stands in the gate, as one who is stopped while it closes. */
START_TEST(a_gate_that_stays_shut)
{
    struct flock gate = {.l_type = F_WRLCK, .l_start = (off_t)1 << 62, .l_len = 1};
    beck_consumer *consumer;
    beck *reader = reader_before(&consumer), *db = open_db(path());
    int fd = open(path(), O_RDWR);
    ck_assert_int_eq(fcntl(fd, F_OFD_SETLK, &gate), 0);
    ends_with(BECK_BUSY, reader, consumer);
    close(fd);
    OK(db, append_text(os_topic(db, "t", 1, 0), 0, "second"));
    expect(reader, consumer, "second");
    OK(db, beck_close(db));
    OK(reader, beck_close(reader));
}
END_TEST

/* ---- Threads ---- */

enum { THREADS = 3, STEP = 8, PARTITIONS_MOST = 100 * STEP };
static atomic_bool stop;
static beck *shared;

static void *list_until_stop(void *context)
{
    const beck_topic_info *const *infos;
    uint32_t partitions = 0;
    size_t count;
    (void)context;
    while (!atomic_load(&stop)) {
        OK(shared, beck_topic_list(shared, &infos, &count));
        ck_assert_uint_eq(count, 2);
        ck_assert_uint_ge(infos[0]->config->partitions, partitions);
        partitions = infos[0]->config->partitions;
        for (uint32_t p = 0; p < partitions; p++)
            ck_assert_int_eq(infos[0]->partitions[p]->end_offset, 0);
        ck_assert_int_ge(infos[1]->partitions[0]->end_offset, 1);
    }
    return NULL;
}

static void *consume_until_stop(void *context)
{
    const beck_record *records;
    int64_t next = 0;
    size_t count;
    (void)context;
    beck_consumer *consumer = consume(shared, "t", BECK_START_BEGINNING, 0);
    while (!atomic_load(&stop)) {
        OK(shared, beck_poll(consumer, 10, 0, &records, &count));
        for (size_t i = 0; i < count; i++) ck_assert_int_eq(records[i].offset, next++);
    }
    ck_assert_int_gt(next, 0);
    beck_consumer_close(consumer);
    return NULL;
}

/* One writer after the other, each closing the file; cells are numbered anew each time. */
static int writers_come_and_go(const char *name)
{
    for (uint32_t i = STEP; i <= PARTITIONS_MOST; i += STEP) {
        beck_topic_config config = {.size = sizeof config, .partitions = i};
        beck *db = open_db(name);
        OK(db, beck_topic_alter(db, "a", &config));
        OK(db, append_text(os_topic(db, "t", 1, 0), 0, "x"));
        OK(db, beck_close(db));
        sleep_ms(3);
    }
    return 0;
}

START_TEST(threads_share_a_handle)
{
    pthread_t threads[THREADS + 1];
    char name[512];
    int status = 0;
    snprintf(name, sizeof name, "%s", path_in(quick_folder(), "shared.beck"));
    beck *db = open_db(name);
    OK(db, beck_topic_create(db, "a", NULL));
    OK(db, append_text(os_topic(db, "t", 1, 0), 0, "x"));
    OK(db, beck_close(db));
    fflush(stdout);
    pid_t pid = fork(); /* before the threads: its memory is its own */
    if (pid == 0) _exit(writers_come_and_go(name));
    shared = open_readonly(name);
    for (int i = 0; i <= THREADS; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL,
                                        i < THREADS ? list_until_stop : consume_until_stop, NULL),
                         0);
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    atomic_store(&stop, true);
    for (int i = 0; i <= THREADS; i++) pthread_join(threads[i], NULL);
    ck_assert_int_eq(status, 0);
    OK(shared, beck_close(shared));
    unlink(name);
}
END_TEST

/* A sealed segment of an `os` topic of which only the first records were synced. */
static int die_behind_a_roll(const char *name)
{
    beck *db = NULL;
    if (beck_open(name, NULL, &db) < 0) return 1;
    beck_topic *topic = os_topic(db, "os", 1, 16384);
    for (uint64_t i = 0; i < 9; i++) {
        if (append_filled(topic, 0, 3000, i, NULL) < 0) return 2;
        if (i == 1 && beck_sync(db) < 0) return 3;
    }
    return 0;
}

/* The page cache was lost with it: the partition ends where it was stable, and so does the gap. */
START_TEST(gap_of_a_cut_segment_ends_with_the_partition)
{
    size_t size, at = 229376;
    const beck_record *records;
    size_t count;
    beck_event_info event = {.size = sizeof event};
    ck_assert_int_eq(in_child(die_behind_a_roll, path_in(test_folder(), "died.beck")), 0);
    uint8_t *bytes = file_content(path_in(test_folder(), "died.beck"), &size);
    while (memcmp(bytes + at, "beckseg1", 8) != 0 || bytes[at + 32] < 16) at += 16384;
    memset(bytes + at + 64, 0, 16384 - 64);
    file_make(path(), bytes, size); /* another inode: not trusted */
    free(bytes);
    beck *db = open_readonly(path());
    ck_assert_int_eq(end_offset(db, "os", 0), 2);
    beck_consumer *consumer = consume(db, "os", BECK_START_BEGINNING, 0);
    GIVES(EVENT, db, beck_poll(consumer, 10, 0, &records, &count));
    OK(db, beck_event(consumer, &event));
    ck_assert_int_eq(event.from, 0);
    ck_assert_int_eq(event.to, 2);
    poll_none(db, consumer);
    OK(db, beck_close(db));
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("api_readonly");
    TCase *c = tcase_create("following");
    tcase_add_test(c, follows_a_writer);
    tcase_add_test(c, seeks_to_what_is_new);
    tcase_add_test(c, outlives_writers);
    tcase_add_test(c, woken_by_a_writer_that_opens);
    tcase_add_test(c, copies_stay_right);
    tcase_add_test(c, reuse_under_a_slow_reader);
    tcase_add_test(c, stable_only);
    suite_add_tcase(s, c);

    c = tcase_create("crashes");
    tcase_add_test(c, file_of_a_killed_writer);
    tcase_add_test(c, outlives_killed_writers);
    tcase_add_test(c, gap_of_a_cut_segment_ends_with_the_partition);
    suite_add_tcase(s, c);

    c = tcase_create("obstacles");
    tcase_add_test(c, no_descriptor_left);
    tcase_add_test(c, a_damaged_catalog);
    tcase_add_test(c, a_gate_that_stays_shut);
    suite_add_tcase(s, c);

    c = tcase_create("threads");
    tcase_set_timeout(c, 30);
    tcase_add_test(c, threads_share_a_handle);
    suite_add_tcase(s, c);
    return s;
}
