/* api_memory.c -- files in memory, and a clock of the program's own */
#include <dirent.h>
#include <pthread.h>

#include "api_help.h"

static beck *open_memory(void)
{
    return open_db(BECK_MEMORY);
}

static int open_with(uint32_t flags)
{
    const beck_options options = {.size = sizeof options, .flags = flags};
    beck *db = NULL;
    int rc = beck_open(BECK_MEMORY, &options, &db);
    if (rc < 0) says(db, "always new");
    beck_close(db);
    return rc;
}

static int files_here(void)
{
    int count = 0;
    DIR *folder = opendir(".");
    ck_assert_ptr_nonnull(folder);
    while (readdir(folder) != NULL) count++;
    closedir(folder);
    return count;
}

START_TEST(it_is_private_and_leaves_nothing)
{
    const beck_topic_info *const *topics;
    beck_stat_info info = {.size = sizeof info};
    size_t count;
    ck_assert_int_eq(chdir(test_folder()), 0);
    int before = files_here();
    beck *one = open_memory(), *two = open_memory();
    OK(one, append_text(os_topic(one, "t", 1, 0), 0, "mine"));
    OK(two, beck_topic_list(two, &topics, &count));
    ck_assert_uint_eq(count, 0);
    OK(one, beck_stat(one, &info));
    ck_assert_uint_eq(info.handles, 1);
    ck_assert_uint_eq(info.topics, 1);
    OK(one, beck_check(one, NULL, NULL, NULL, NULL));
    ck_assert_int_eq(files_here(), before);
    OK(one, beck_close(one));
    OK(two, beck_close(two));
    two = open_memory();
    OK(two, beck_topic_list(two, &topics, &count));
    ck_assert_uint_eq(count, 0);
    OK(two, beck_close(two));
    ck_assert_int_eq(files_here(), before);
}
END_TEST

START_TEST(it_must_be_new_and_writable)
{
    ck_assert_int_eq(open_with(BECK_OPEN_READONLY), BECK_INVALID);
    ck_assert_int_eq(open_with(BECK_OPEN_NO_CREATE), BECK_INVALID);
    ck_assert_int_eq(open_with(BECK_OPEN_FORCE), BECK_OK);
}
END_TEST

START_TEST(a_path_with_a_folder_is_a_file)
{
    ck_assert_int_eq(chdir(test_folder()), 0);
    beck *db = open_db("./" BECK_MEMORY);
    OK(db, beck_close(db));
    ck_assert_int_eq(unlink(BECK_MEMORY), 0);
}
END_TEST

/* Both classes, segments rolled, topics deleted and their space used again, rolled for minutes of a
 * busy test. */
START_TEST(everything_works_as_in_a_file)
{
    beck *db = open_memory();
    beck_stat_info info = {.size = sizeof info};
    uint64_t largest = 0;
    for (int round = 0; round < 30; round++) {
        beck_topic *topic = os_topic(db, "t", 2, 65536);
        if (round % 2) OK(db, beck_topic_create(db, "s", NULL));
        if (round % 2) OK(db, beck_topic_open(db, "s", NULL, &topic));
        for (uint64_t i = 0; i < 500; i++) OK(db, append_filled(topic, 0, 1000, i, NULL));
        beck_consumer *consumer = consume(db, round % 2 ? "s" : "t", BECK_START_BEGINNING, 0);
        for (uint64_t i = 0; i < 500; i++)
            ck_assert(filled(poll_one(db, consumer)->value, 1000, i));
        beck_consumer_close(consumer);
        OK(db, beck_topic_delete(db, "t"));
        if (round % 2) OK(db, beck_topic_delete(db, "s"));
        OK(db, beck_stat(db, &info));
        if (round == 4) largest = info.file_bytes;
        if (round > 4) ck_assert_uint_le(info.file_bytes, 2 * largest);
    }
    OK(db, beck_sync(db));
    OK(db, beck_close(db));
}
END_TEST

static void *produce(void *context)
{
    sleep_ms(20);
    return append_text(context, 0, "woken") < 0 ? context : NULL;
}

START_TEST(threads_wake_each_other)
{
    pthread_t thread;
    void *failed;
    beck *db = open_memory();
    beck_topic *topic = os_topic(db, "t", 1, 0);
    beck_consumer *consumer = consume(db, "t", BECK_START_BEGINNING, 0);
    ck_assert_int_eq(pthread_create(&thread, NULL, produce, topic), 0);
    ck_assert(value_is(poll_one(db, consumer), "woken"));
    ck_assert_int_eq(pthread_join(thread, &failed), 0);
    ck_assert_ptr_null(failed);
    OK(db, beck_close(db));
}
END_TEST

static beck *inherited;

static int use_inherited(const char *name)
{
    beck_stat_info info = {.size = sizeof info};
    (void)name;
    int rc = beck_stat(inherited, &info);
    beck_close(inherited);
    return rc == BECK_FORKED ? 0 : 1;
}

START_TEST(a_child_does_not_have_it)
{
    inherited = open_memory();
    beck_topic *topic = os_topic(inherited, "t", 1, 0);
    ck_assert_int_eq(in_child(use_inherited, ""), 0);
    OK(inherited, append_text(topic, 0, "still here"));
    OK(inherited, beck_close(inherited));
}
END_TEST

/* ---- The clock ---- */

static int64_t read_clock(void *context)
{
    return *(int64_t *)context;
}

static beck *open_at(const char *name, int64_t *now)
{
    const beck_options options = {
        .size = sizeof options, .clock = read_clock, .clock_context = now};
    beck *db = NULL;
    OK(db, beck_open(name, &options, &db));
    return db;
}

START_TEST(records_carry_the_programs_time)
{
    static const int64_t times[] = {1, 1000, 4102444800000, 5, INT64_MAX};
    int64_t now = 0;
    beck *db = open_at(BECK_MEMORY, &now);
    beck_topic *topic = os_topic(db, "t", 1, 0);
    beck_consumer *consumer = consume(db, "t", BECK_START_BEGINNING, 0);
    for (size_t i = 0; i < sizeof times / sizeof times[0]; i++) {
        now = times[i];
        OK(db, append_text(topic, 0, "x"));
        ck_assert_int_eq(poll_one(db, consumer)->timestamp, times[i]);
    }
    now = -5; /* before 1970 there is nothing */
    OK(db, append_text(topic, 0, "x"));
    ck_assert_int_eq(poll_one(db, consumer)->timestamp, 0);
    beck_record own = {.value = "x", .value_size = 1, .timestamp = 77};
    OK(db, beck_append(topic, &own, NULL));
    ck_assert_int_eq(poll_one(db, consumer)->timestamp, 77);
    OK(db, beck_close(db));
}
END_TEST

static int64_t stable_offset(beck *db)
{
    const beck_topic_info *info;
    OK(db, beck_topic_describe(db, "t", &info));
    return info->partitions[0]->stable_offset;
}

/* flush.ms is an hour: nothing is synced until the clock says that it is over, or jumps back. */
START_TEST(an_hour_passes_in_no_time)
{
    int64_t now = 1000000000;
    beck_topic_config config = {
        .size = sizeof config, .sync = BECK_SYNC_OS, .flush_ms = 3600 * 1000};
    beck_topic *topic;
    beck *db = open_at(path(), &now);
    OK(db, beck_topic_open(db, "t", &config, &topic));
    OK(db, append_text(topic, 0, "first"));
    ck_assert_int_eq(stable_offset(db), 1); /* never synced before: due */
    OK(db, append_text(topic, 0, "x"));
    now += 3599 * 1000;
    OK(db, append_text(topic, 0, "x"));
    ck_assert_int_eq(stable_offset(db), 1);
    now += 1000;
    OK(db, append_text(topic, 0, "x"));
    ck_assert_int_eq(stable_offset(db), 4);
    now -= INT64_C(1000) * 3600 * 24; /* a clock that is set back does not switch it off */
    OK(db, append_text(topic, 0, "x"));
    ck_assert_int_eq(stable_offset(db), 5);
    OK(db, append_text(topic, 0, "x"));
    ck_assert_int_eq(stable_offset(db), 5);
    OK(db, beck_close(db));
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("memory");
    TCase *c = tcase_create("memory");
    tcase_add_test(c, it_is_private_and_leaves_nothing);
    tcase_add_test(c, it_must_be_new_and_writable);
    tcase_add_test(c, a_path_with_a_folder_is_a_file);
    tcase_add_test(c, everything_works_as_in_a_file);
    tcase_add_test(c, threads_wake_each_other);
    tcase_add_test(c, a_child_does_not_have_it);
    tcase_add_test(c, records_carry_the_programs_time);
    tcase_add_test(c, an_hour_passes_in_no_time);
    suite_add_tcase(s, c);
    return s;
}
