/* api_threads.c -- threads that share a handle, and handles that share a file */
#include <pthread.h>
#include <stdatomic.h>

#include "api_help.h"

#define THREADS 8
#define EACH 250

struct worker {
    pthread_t thread;
    beck *db;
    const char *file;
    int number;
    uint32_t sync;
};

static atomic_bool stop;

static void run_all(struct worker *workers, int count, void *(*work)(void *))
{
    for (int i = 0; i < count; i++)
        ck_assert_int_eq(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
    for (int i = 0; i < count; i++) pthread_join(workers[i].thread, NULL);
}

/* ---- Appending ---- */

/* A record says who wrote it and how many that one wrote before. */
struct mark {
    int32_t writer;
    int32_t number;
};

static void *append_marks(void *context)
{
    struct worker *w = context;
    beck *db = w->db != NULL ? w->db : open_db(w->file);
    beck_topic *topic;
    int64_t offset;
    OK(db, beck_topic_open(db, "t", NULL, &topic));
    for (int32_t i = 0; i < EACH; i++) {
        struct mark marks[3] = {{w->number, i}, {w->number, i + 1}, {w->number, i + 2}};
        beck_record batch[3];
        for (int k = 0; k < 3; k++)
            batch[k] = (beck_record){.key = &w->number,
                                     .key_size = sizeof w->number,
                                     .value = &marks[k],
                                     .value_size = sizeof marks[k],
                                     .partition = BECK_ANY_PARTITION};
        if (i % 5 == 0 && i + 2 < EACH) {
            OK(db, beck_append_batch(topic, BECK_ANY_PARTITION, batch, 3, &offset));
            i += 2;
        } else {
            OK(db, beck_append(topic, batch, &offset));
        }
    }
    if (w->db == NULL) OK(db, beck_close(db));
    return NULL;
}

/* Every mark once, each writer's in order, offsets dense. */
static void check_marks(beck *db, beck_consumer *consumer, uint32_t partitions)
{
    int32_t next[THREADS] = {0};
    int64_t offsets[4] = {0};
    for (int i = 0; i < THREADS * EACH; i++) {
        const beck_record *r = poll_one(db, consumer);
        struct mark mark;
        ck_assert_uint_eq(r->value_size, sizeof mark);
        memcpy(&mark, r->value, sizeof mark);
        ck_assert(mark.writer >= 0 && mark.writer < THREADS);
        ck_assert_int_eq(mark.number, next[mark.writer]++);
        ck_assert_int_lt(r->partition, (int32_t)partitions);
        ck_assert_int_eq(r->offset, offsets[r->partition]++);
    }
    poll_none(db, consumer);
}

static const struct {
    uint32_t partitions, sync;
    bool shared;
} ways[] = {{1, BECK_SYNC_OS, true},   {4, BECK_SYNC_OS, true},  {1, BECK_SYNC_SYNC, true},
            {4, BECK_SYNC_SYNC, true}, {1, BECK_SYNC_OS, false}, {4, BECK_SYNC_SYNC, false}};

START_TEST(eight_append)
{
    char name[512];
    struct worker workers[THREADS];
    snprintf(name, sizeof name, "%s", path_in(quick_folder(), "threads.beck"));
    beck *db = open_db(name), *reader = open_db(name);
    beck_topic_config c = {.size = sizeof c,
                           .partitions = ways[_i].partitions,
                           .sync = ways[_i].sync,
                           .segment_bytes = 16384};
    OK(db, beck_topic_create(db, "t", &c));
    beck_consumer *consumer = consume(reader, "t", BECK_START_BEGINNING, 0);
    for (int i = 0; i < THREADS; i++)
        workers[i] = (struct worker){
            .db = ways[_i].shared ? db : NULL, .file = name, .number = i, .sync = ways[_i].sync};
    for (int i = 0; i < THREADS; i++)
        ck_assert_int_eq(pthread_create(&workers[i].thread, NULL, append_marks, &workers[i]), 0);
    check_marks(reader, consumer, ways[_i].partitions); /* while they write */
    for (int i = 0; i < THREADS; i++) pthread_join(workers[i].thread, NULL);
    OK(reader, beck_close(reader));
    OK(db, beck_close(db));
    db = open_readonly(name);
    check_marks(db, consume(db, "t", BECK_START_BEGINNING, 0), ways[_i].partitions);
    OK(db, beck_check(db, NULL, NULL, NULL, NULL));
    OK(db, beck_close(db));
    unlink(name);
}
END_TEST

/* Eight threads that wait for a real disk: when all have returned, all is stable. */
START_TEST(group_commit)
{
    struct worker workers[THREADS];
    beck *db = open_db(path());
    beck_consumer *consumer;
    OK(db, beck_topic_create(db, "t", NULL));
    for (int i = 0; i < THREADS; i++) workers[i] = (struct worker){.db = db, .number = i};
    run_all(workers, THREADS, append_marks);
    const beck_topic_info *info;
    OK(db, beck_topic_describe(db, "t", &info));
    ck_assert_int_eq(info->partitions[0]->stable_offset, THREADS * EACH);
    consumer = consume(db, "t", BECK_START_BEGINNING, 0);
    check_marks(db, consumer, 1);
    OK(db, beck_close(db));
}
END_TEST

/* ---- Everything at once on one handle ---- */

static void *append_until_stop(void *context)
{
    struct worker *w = context;
    beck_topic *topic;
    OK(w->db, beck_topic_open(w->db, "t", NULL, &topic));
    for (uint32_t i = 0; !atomic_load(&stop); i++)
        OK(w->db, append_filled(topic, BECK_ANY_PARTITION, i % 500, i, NULL));
    return NULL;
}

/* Large batches, so that the topic grows in the middle of one. */
static void *append_keys_until_stop(void *context)
{
    enum { RECORDS = 4000 };
    struct worker *w = context;
    beck_topic *topic;
    uint32_t *keys = malloc(RECORDS * sizeof *keys);
    beck_record *records = calloc(RECORDS, sizeof *records);
    for (uint32_t i = 0; i < RECORDS; i++) {
        keys[i] = i;
        records[i] = (beck_record){.key = &keys[i], .key_size = sizeof keys[i]};
    }
    OK(w->db, beck_topic_open(w->db, "t", NULL, &topic));
    while (!atomic_load(&stop))
        OK(w->db, beck_append_batch(topic, BECK_ANY_PARTITION, records, RECORDS, NULL));
    free(records);
    free(keys);
    return NULL;
}

static void *grow_until_stop(void *context)
{
    struct worker *w = context;
    if (w->number % 2 != 0) return NULL; /* both would overtake each other */
    for (uint32_t i = 10; i <= 300 && !atomic_load(&stop); i += 2) {
        beck_topic_config c = {.size = sizeof c, .partitions = i};
        OK(w->db, beck_topic_alter(w->db, "t", &c));
        sleep_ms(1);
    }
    return NULL;
}

static void *alter_until_stop(void *context)
{
    struct worker *w = context;
    for (uint32_t i = 2; !atomic_load(&stop); i++) {
        bool grows = w->number % 2 == 0 && i < 20; /* one of them: both would overtake each other */
        beck_topic_config c = {.size = sizeof c, .partitions = grows ? i : 0, .flush_ms = i};
        OK(w->db, beck_topic_alter(w->db, "t", &c));
    }
    return NULL;
}

/* What a list returned is this thread's until its own next one. */
static void *list_until_stop(void *context)
{
    struct worker *w = context;
    const beck_topic_info *const *infos, *one;
    size_t count;
    while (!atomic_load(&stop)) {
        OK(w->db, beck_topic_list(w->db, &infos, &count));
        bool found = false;
        for (size_t i = 0; i < count; i++) {
            found = found || strcmp(infos[i]->name, "t") == 0;
            for (uint32_t p = 0; p < infos[i]->config->partitions; p++)
                ck_assert_int_ge(infos[i]->partitions[p]->end_offset, 0);
        }
        ck_assert(found);
        OK(w->db, beck_topic_describe(w->db, "t", &one));
        ck_assert_str_eq(one->name, "t");
    }
    return NULL;
}

static void *make_topics_until_stop(void *context)
{
    struct worker *w = context;
    char name[16];
    snprintf(name, sizeof name, "own-%d", w->number);
    while (!atomic_load(&stop)) {
        beck_topic *topic = os_topic(w->db, name, 2, 16384);
        for (uint32_t i = 0; i < 30; i++)
            OK(w->db, append_filled(topic, (int32_t)(i % 2), 300, i, NULL));
        beck_consumer *consumer = consume(w->db, name, BECK_START_BEGINNING, 0);
        ck_assert_uint_eq(drain(w->db, consumer), 30);
        beck_consumer_close(consumer);
        OK(w->db, beck_topic_delete(w->db, name));
    }
    return NULL;
}

static void *consume_until_stop(void *context)
{
    struct worker *w = context;
    const beck_record *records;
    int64_t next[32] = {0};
    size_t count;
    beck_consumer *consumer = consume(w->db, "t", BECK_START_BEGINNING, 0);
    while (!atomic_load(&stop)) {
        OK(w->db, beck_poll(consumer, 50, 10, &records, &count));
        for (size_t i = 0; i < count; i++)
            ck_assert_int_eq(records[i].offset, next[records[i].partition]++);
    }
    beck_consumer_close(consumer);
    return NULL;
}

static void *look_until_stop(void *context)
{
    struct worker *w = context;
    beck_stat_info info = {.size = sizeof info};
    while (!atomic_load(&stop)) {
        OK(w->db, beck_stat(w->db, &info));
        ck_assert_uint_ge(info.topics, 1);
        OK(w->db, beck_sync(w->db));
    }
    return NULL;
}

/* Some kinds of work, two threads of each, on one handle for a while. */
static void together(void *(*const *kinds)(void *), int count)
{
    struct worker workers[16];
    char name[512];
    snprintf(name, sizeof name, "%s", path_in(quick_folder(), "together.beck"));
    beck *db = open_db(name);
    (void)os_topic(db, "t", 1, 16384);
    atomic_store(&stop, false);
    for (int i = 0; i < 2 * count; i++) {
        workers[i] = (struct worker){.db = db, .number = i};
        ck_assert_int_eq(pthread_create(&workers[i].thread, NULL, kinds[i / 2], &workers[i]), 0);
    }
    sleep_ms(400);
    atomic_store(&stop, true);
    for (int i = 0; i < 2 * count; i++) pthread_join(workers[i].thread, NULL);
    OK(db, beck_check(db, NULL, NULL, NULL, NULL));
    OK(db, beck_close(db));
    unlink(name);
}

START_TEST(append_and_consume)
{
    void *(*const kinds[])(void *) = {append_until_stop, consume_until_stop, look_until_stop};
    together(kinds, 3);
}
END_TEST

START_TEST(list_together)
{
    void *(*const kinds[])(void *) = {list_until_stop};
    together(kinds, 1);
}
END_TEST

START_TEST(list_while_topics_change)
{
    void *(*const kinds[])(void *) = {make_topics_until_stop, list_until_stop, append_until_stop};
    together(kinds, 3);
}
END_TEST

START_TEST(alter_while_appending)
{
    void *(*const kinds[])(void *) = {append_until_stop, alter_until_stop, consume_until_stop};
    together(kinds, 3);
}
END_TEST

START_TEST(grow_while_appending_by_key)
{
    void *(*const kinds[])(void *) = {append_keys_until_stop, append_until_stop, grow_until_stop};
    together(kinds, 3);
}
END_TEST

START_TEST(make_and_delete_together)
{
    void *(*const kinds[])(void *) = {make_topics_until_stop, append_until_stop, consume_until_stop,
                                      look_until_stop};
    together(kinds, 4);
}
END_TEST

/* ---- Many handles ---- */

/* Opening and closing, read-write and read-only, the last to close among them again and again. */
static void *open_and_close(void *context)
{
    struct worker *w = context;
    for (uint32_t i = 0; i < 25; i++) {
        beck *db = open_flags(w->file, w->number % 4 == 3 ? BECK_OPEN_READONLY : 0);
        if (w->number % 4 == 3) {
            ck_assert_int_ge(end_offset(db, "t", 0), 1);
        } else {
            OK(db, append_filled(os_topic(db, "t", 1, 0), 0, 100, i, NULL));
        }
        OK(db, beck_close(db));
    }
    return NULL;
}

START_TEST(handles_come_and_go)
{
    struct worker workers[4];
    char name[512];
    snprintf(name, sizeof name, "%s", path_in(quick_folder(), "come.beck"));
    beck *db = open_db(name);
    OK(db, append_text(os_topic(db, "t", 1, 0), 0, "first"));
    OK(db, beck_close(db));
    for (int i = 0; i < 4; i++) workers[i] = (struct worker){.file = name, .number = i};
    run_all(workers, 4, open_and_close);
    db = open_db(name);
    ck_assert_str_eq(beck_recovery_report(db), "");
    ck_assert_int_eq(end_offset(db, "t", 0), 76);
    ck_assert_uint_eq(drain(db, consume(db, "t", BECK_START_BEGINNING, 0)), 76);
    OK(db, beck_close(db));
    unlink(name);
}
END_TEST

/* A new file is made once, however many open it at the same time. */
static void *open_new(void *context)
{
    struct worker *w = context;
    w->db = open_db(w->file);
    OK(w->db, append_text(os_topic(w->db, "t", 1, 0), 0, "x"));
    return NULL;
}

START_TEST(created_by_many)
{
    struct worker workers[THREADS];
    char name[512];
    snprintf(name, sizeof name, "%s", path());
    for (int i = 0; i < THREADS; i++) workers[i] = (struct worker){.file = name};
    run_all(workers, THREADS, open_new);
    for (int i = 0; i < THREADS; i++) {
        ck_assert_int_eq(end_offset(workers[i].db, "t", 0), THREADS);
        OK(workers[i].db, beck_close(workers[i].db));
    }
}
END_TEST

/* Messages belong to the thread whose call failed. */
static void *fail_in_own_words(void *context)
{
    struct worker *w = context;
    const beck_topic_info *info;
    char name[16];
    snprintf(name, sizeof name, "missing-%d", w->number);
    for (int i = 0; i < 200; i++) {
        GIVES(NOT_FOUND, w->db, beck_topic_describe(w->db, name, &info));
        says(w->db, name);
    }
    return NULL;
}

START_TEST(messages_are_per_thread)
{
    struct worker workers[THREADS];
    beck *db = open_db(path());
    for (int i = 0; i < THREADS; i++) workers[i] = (struct worker){.db = db, .number = i};
    run_all(workers, THREADS, fail_in_own_words);
    OK(db, beck_close(db));
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("api_threads");
    TCase *c = tcase_create("appends");
    tcase_set_timeout(c, 30);
    tcase_add_loop_test(c, eight_append, 0, (int)(sizeof ways / sizeof ways[0]));
    tcase_add_test(c, group_commit);
    suite_add_tcase(s, c);

    c = tcase_create("together");
    tcase_add_test(c, append_and_consume);
    tcase_add_test(c, list_together);
    tcase_add_test(c, list_while_topics_change);
    tcase_add_test(c, alter_while_appending);
    tcase_add_test(c, grow_while_appending_by_key);
    tcase_add_test(c, make_and_delete_together);
    suite_add_tcase(s, c);

    c = tcase_create("handles");
    tcase_add_test(c, handles_come_and_go);
    tcase_add_test(c, created_by_many);
    tcase_add_test(c, messages_are_per_thread);
    suite_add_tcase(s, c);
    return s;
}
