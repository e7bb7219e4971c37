/* api_fork.c -- fork: handles are not inherited, and nobody's claim on the file suffers */
#include <signal.h>
#include <sys/syscall.h>

#include "api_help.h"

static beck *parent_db;
static beck_topic *parent_topic;
static beck_consumer *parent_consumer;

static void parent_opens(void)
{
    parent_db = open_db(path());
    parent_topic = os_topic(parent_db, "t", 1, 16384);
    for (uint32_t i = 0; i < 50; i++) OK(parent_db, append_filled(parent_topic, 0, 500, i, NULL));
    parent_consumer = consume(parent_db, "t", BECK_START_BEGINNING, 0);
    ck_assert_int_eq(poll_one(parent_db, parent_consumer)->offset, 0);
}

static void parent_goes_on(uint32_t handles)
{
    beck_stat_info info;
    OK(parent_db, beck_stat(parent_db, &info));
    ck_assert_uint_eq(info.handles, handles);
    int64_t end = end_offset(parent_db, "t", 0), offset;
    OK(parent_db, append_filled(parent_topic, 0, 500, 7, &offset));
    ck_assert_int_eq(offset, end);
    ck_assert_uint_gt(drain(parent_db, parent_consumer), 0);
}

/* The number of the first call that was not refused, or 0. */
static int all_forked(const char *name)
{
    const beck_record *records;
    const beck_topic_info *infos;
    beck_record r = {.value = "x", .value_size = 1};
    beck_consumer_config config = {.size = sizeof config, .topics = &name, .topic_count = 1};
    beck_consumer *consumer;
    beck_topic *topic;
    beck_stat_info info;
    const beck_append_options stable = {.size = sizeof stable, .sync = BECK_SYNC_SYNC};
    int64_t offset;
    size_t count;
    const int results[] = {
        beck_append(parent_topic, &r, &offset),
        beck_append_batch(parent_topic, 0, &r, 1, &offset),
        beck_append_with(parent_topic, 0, &r, 1, &stable, &offset),
        beck_poll(parent_consumer, 1, 0, &records, &count),
        beck_seek(parent_consumer, "t", 0, 0),
        beck_position(parent_consumer, "t", 0, &offset),
        beck_consumer_open(parent_db, &config, &consumer),
        beck_topic_create(parent_db, "u", NULL),
        beck_topic_open(parent_db, "t", NULL, &topic),
        beck_topic_delete(parent_db, "t"),
        beck_topic_list(parent_db, &infos, &count),
        beck_topic_describe(parent_db, "t", &infos),
        beck_stat(parent_db, &info),
        beck_sync(parent_db),
        beck_check(parent_db, NULL, NULL, NULL, NULL),
    };
    for (int i = 0; i < (int)(sizeof results / sizeof results[0]); i++)
        if (results[i] != BECK_FORKED) return i + 1;
    return beck_errmsg(parent_db)[0] != 0 ? 0 : 100;
}

START_TEST(child_is_refused)
{
    parent_opens();
    ck_assert_int_eq(in_child(all_forked, path()), 0);
    parent_goes_on(1);
    OK(parent_db, beck_close(parent_db));
    parent_db = open_db(path());
    ck_assert_str_eq(beck_recovery_report(parent_db), "");
    ck_assert_int_eq(end_offset(parent_db, "t", 0), 51);
    OK(parent_db, beck_close(parent_db));
}
END_TEST

/* Without the C library's fork, and so without its handlers. */
START_TEST(child_of_a_bare_system_call)
{
    parent_opens();
    fflush(stdout);
    long pid = syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
    if (pid == 0) {
        beck_record r = {.value = "x", .value_size = 1};
        syscall(SYS_exit_group, beck_append(parent_topic, &r, NULL) == BECK_FORKED ? 0 : 1);
    }
    int status = -1;
    ck_assert_int_eq(waitpid((pid_t)pid, &status, 0), (pid_t)pid);
    ck_assert_int_eq(status, 0);
    parent_goes_on(1);
    OK(parent_db, beck_close(parent_db));
}
END_TEST

static int child_closes(const char *name)
{
    (void)name;
    beck_consumer_close(parent_consumer);
    (void)beck_close(parent_db);
    return 0;
}

/* Closing the inherited handle frees its memory, and nothing else. */
START_TEST(child_may_close)
{
    parent_opens();
    ck_assert_int_eq(in_child(child_closes, path()), 0);
    parent_goes_on(1);
    beck *other = open_db(path()); /* would recover the file if the parent seemed gone */
    ck_assert_str_eq(beck_recovery_report(other), "");
    ck_assert_int_eq(end_offset(other, "t", 0), 51);
    parent_goes_on(2);
    OK(other, beck_close(other));
    OK(parent_db, beck_close(parent_db));
}
END_TEST

static int child_opens_its_own(const char *name)
{
    beck *db = NULL;
    beck_topic *topic = NULL;
    beck_stat_info info;
    if (beck_open(name, NULL, &db) < 0 || beck_topic_open(db, "t", NULL, &topic) < 0) return 1;
    if (beck_stat(db, &info) < 0 || info.handles != 2) return 2;
    for (uint32_t i = 0; i < 30; i++)
        if (append_filled(topic, 0, 500, i, NULL) < 0) return 3;
    return beck_close(db) < 0 ? 4 : 0;
}

START_TEST(child_opens_the_file_itself)
{
    parent_opens();
    ck_assert_int_eq(in_child(child_opens_its_own, path()), 0);
    ck_assert_int_eq(end_offset(parent_db, "t", 0), 80);
    ck_assert_uint_eq(drain(parent_db, parent_consumer), 79);
    parent_goes_on(1);
    OK(parent_db, beck_close(parent_db));
}
END_TEST

static int open_append_die(const char *name)
{
    beck *db = NULL;
    beck_topic *topic = NULL;
    if (beck_open(name, NULL, &db) < 0 || beck_topic_open(db, "t", NULL, &topic) < 0) return 1;
    return append_filled(topic, 0, 500, 1, NULL) < 0 ? 2 : 0;
}

/* Many children die without closing: their slots are free again, nothing is lost. */
START_TEST(dead_children_leave_their_slots)
{
    parent_opens();
    for (int64_t i = 0; i < 30; i++) {
        ck_assert_int_eq(in_child(open_append_die, path()), 0);
        ck_assert_int_eq(end_offset(parent_db, "t", 0), 51 + i);
    }
    parent_goes_on(1);
    OK(parent_db, beck_close(parent_db));
    parent_db = open_db(path());
    ck_assert_int_eq(end_offset(parent_db, "t", 0), 81);
    beck_stat_info info;
    OK(parent_db, beck_stat(parent_db, &info));
    ck_assert_uint_eq(info.clean, 1);
    OK(parent_db, beck_close(parent_db));
}
END_TEST

/* Opens, forks a child that lives on without the handle, and dies. */
static int die_before_the_child(const char *name)
{
    int rc = open_append_die(name);
    int ready[2];
    char byte;
    if (rc != 0 || pipe(ready) != 0) return 3;
    if (fork() == 0) {
        close(ready[0]);
        if (write(ready[1], "x", 1) != 1) _exit(1);
        sleep_ms(3000);
        _exit(0);
    }
    return read(ready[0], &byte, 1) == 1 ? 0 : 4;
}

/* A child that inherited the descriptor does not keep its dead parent's claim alive. */
START_TEST(child_outlives_the_handle)
{
    ck_assert_int_eq(in_child(die_before_the_child, path()), 0);
    beck *db = open_db(path());
    beck_stat_info info;
    OK(db, beck_stat(db, &info));
    ck_assert_uint_eq(info.handles, 1);
    ck_assert_int_eq(end_offset(db, "t", 0), 1);
    OK(db, append_text(os_topic(db, "t", 1, 0), 0, "x"));
    OK(db, beck_close(db));
    db = open_readonly(path());
    OK(db, beck_stat(db, &info));
    ck_assert_uint_eq(info.clean, 1);
    OK(db, beck_close(db));
}
END_TEST

static int all_forked_readonly(const char *name)
{
    const beck_record *records;
    size_t count;
    beck *db = NULL;
    if (beck_poll(parent_consumer, 1, 0, &records, &count) != BECK_FORKED) return 1;
    if (beck_open(name, &(beck_options){.size = sizeof(beck_options), .flags = 1}, &db) < 0)
        return 2;
    if (end_offset(db, "t", 0) != 50) return 3;
    (void)beck_close(parent_db);
    return beck_close(db) < 0 ? 4 : 0;
}

START_TEST(readonly_handles_too)
{
    parent_opens();
    OK(parent_db, beck_close(parent_db));
    parent_db = open_readonly(path());
    parent_consumer = consume(parent_db, "t", BECK_START_BEGINNING, 0);
    ck_assert_int_eq(in_child(all_forked_readonly, path()), 0);
    ck_assert_uint_eq(drain(parent_db, parent_consumer), 50);
    OK(parent_db, beck_close(parent_db));
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("api_fork");
    TCase *c = tcase_create("fork");
    tcase_add_test(c, child_is_refused);
    tcase_add_test(c, child_of_a_bare_system_call);
    tcase_add_test(c, child_may_close);
    tcase_add_test(c, child_opens_the_file_itself);
    tcase_add_test(c, dead_children_leave_their_slots);
    tcase_add_test(c, child_outlives_the_handle);
    tcase_add_test(c, readonly_handles_too);
    suite_add_tcase(s, c);
    return s;
}
