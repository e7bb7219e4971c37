/* api_files.c -- a file that is renamed, deleted, replaced, linked or cut while open */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>

#include "api_help.h"

#define NOTICED_MS 300 /* it is looked for every 100 ms */

static beck *writer;
static beck_topic *topic;

static void writer_opens(const char *name, uint32_t sync)
{
    beck_topic_config config = {.size = sizeof config, .sync = sync, .segment_bytes = 16384};
    writer = open_db(name);
    OK(writer, beck_topic_open(writer, "t", &config, &topic));
    OK(writer, append_text(topic, 0, "first"));
}

static void holds(const char *name, size_t records)
{
    beck *db = open_readonly(name);
    ck_assert_uint_eq(drain(db, consume(db, "t", BECK_START_BEGINNING, 0)), records);
    OK(db, beck_check(db, NULL, NULL, NULL, NULL));
    OK(db, beck_close(db));
}

/* Appends are refused within a moment, and stay refused. */
static void appends_end(beck *db, beck_topic *to)
{
    int64_t since = clock_ms();
    int rc;
    while ((rc = append_text(to, 0, "late")) == 0) {
        ck_assert_int_lt(clock_ms() - since, NOTICED_MS);
        sleep_ms(1);
    }
    ck_assert_int_eq(rc, BECK_MOVED);
    says(db, "deleted or replaced");
    for (int i = 0; i < 100; i++) GIVES(MOVED, db, append_text(to, 0, "late"));
}

/* ---- Renamed, moved ---- */

START_TEST(renamed)
{
    const char *old = path(), *new = path_in(test_folder(), "new.beck");
    writer_opens(old, BECK_SYNC_SYNC);
    ck_assert_int_eq(rename(old, new), 0);
    sleep_ms(120);
    OK(writer, append_text(topic, 0, "second"));
    for (uint32_t i = 0; i < 100; i++) OK(writer, append_filled(topic, 0, 500, i, NULL));

    beck *joined = open_db(new), *gone = NULL;
    beck_stat_info info = {.size = sizeof info};
    OK(joined, beck_stat(joined, &info));
    ck_assert_uint_eq(info.handles, 2);
    beck_options no_create = {.size = sizeof no_create, .flags = BECK_OPEN_NO_CREATE};
    GIVES(NOT_FOUND, gone, beck_open(old, &no_create, &gone));
    (void)beck_close(gone);
    beck *other = open_db(old); /* a new, empty file: nothing in common */
    OK(other, beck_stat(other, &info));
    ck_assert_uint_eq(info.handles, 1);
    ck_assert_uint_eq(info.topics, 0);
    OK(other, beck_close(other));
    OK(writer, append_text(topic, 0, "third"));
    OK(writer, beck_close(writer));
    OK(joined, beck_close(joined));
    holds(new, 103);
}
END_TEST

START_TEST(moved_to_another_folder)
{
    char folder[600], there[700];
    snprintf(folder, sizeof folder, "%s.d", path());
    snprintf(there, sizeof there, "%s/there.beck", folder);
    ck_assert_int_eq(mkdir(folder, 0755), 0);
    writer_opens(path(), BECK_SYNC_OS);
    ck_assert_int_eq(rename(path(), there), 0);
    for (uint32_t i = 0; i < 100; i++) OK(writer, append_filled(topic, 0, 500, i, NULL));
    OK(writer, beck_close(writer));
    holds(there, 101);
    ck_assert_int_eq(access(path(), F_OK), -1);
}
END_TEST

/* ---- Deleted, replaced ---- */

START_TEST(deleted)
{
    const uint32_t classes[] = {BECK_SYNC_OS, BECK_SYNC_SYNC};
    const beck_record *records;
    size_t count;
    for (size_t i = 0; i < 2; i++) {
        writer_opens(path(), classes[i]);
        beck_consumer *consumer = consume(writer, "t", BECK_START_BEGINNING, 0);
        ck_assert_int_eq(unlink(path()), 0);
        appends_end(writer, topic);
        GIVES(MOVED, writer, beck_topic_create(writer, "new", NULL));
        GIVES(MOVED, writer, beck_topic_delete(writer, "t"));
        GIVES(MOVED, writer, beck_sync(writer));
        OK(writer, beck_poll(consumer, 1, 0, &records, &count)); /* what is there can be read */
        ck_assert(value_is(records, "first"));
        GIVES(MOVED, writer, beck_close(writer));
    }
}
END_TEST

/* An append long after the last one does not fall into the hole. */
START_TEST(deleted_while_idle)
{
    writer_opens(path(), BECK_SYNC_OS);
    ck_assert_int_eq(unlink(path()), 0);
    sleep_ms(150);
    GIVES(MOVED, writer, append_text(topic, 0, "late"));
    GIVES(MOVED, writer, beck_close(writer));
}
END_TEST

/* Nothing was appended: there is nothing to tell at close. */
START_TEST(deleted_and_never_changed)
{
    OK(NULL, beck_close(open_db(path())));
    beck *db = open_db(path());
    ck_assert_int_eq(unlink(path()), 0);
    OK(db, beck_close(db));
}
END_TEST

START_TEST(replaced)
{
    const char *name = path(), *next = path_in(test_folder(), "next.beck");
    writer_opens(next, BECK_SYNC_OS);
    OK(writer, append_text(topic, 0, "second"));
    OK(writer, beck_close(writer));
    writer_opens(name, BECK_SYNC_OS);
    beck *other = open_db(name);
    beck_topic *others = os_topic(other, "t", 1, 0);
    ck_assert_int_eq(rename(next, name), 0);
    beck *db = open_db(name);
    ck_assert_int_eq(end_offset(db, "t", 0), 2);
    appends_end(writer, topic);
    appends_end(other, others);
    ck_assert_int_eq(end_offset(db, "t", 0), 2);
    OK(db, append_text(os_topic(db, "t", 1, 0), 0, "third"));
    GIVES(MOVED, writer, beck_close(writer));
    GIVES(MOVED, other, beck_close(other));
    OK(db, beck_close(db));
    holds(name, 3);
}
END_TEST

struct replacement {
    const char *from, *to;
    int gate;
};

static void *replace_and_leave(void *context)
{
    struct replacement *r = context;
    sleep_ms(100);
    ck_assert_int_eq(rename(r->from, r->to), 0);
    close(r->gate);
    return NULL;
}

/* Replaced while an open waits for others to open or close: it opens the file of that name. */
START_TEST(replaced_while_opening)
{
    for (uint32_t flags = 0; flags < 2; flags++) {
        struct replacement r = {path_in(test_folder(), "next.beck"), path(), -1};
        writer_opens(r.from, BECK_SYNC_OS);
        OK(writer, append_text(topic, 0, "second"));
        OK(writer, beck_close(writer));
        OK(NULL, beck_close(open_db(r.to)));
        r.gate = open(r.to, O_RDWR);
        struct flock gate = {.l_type = F_WRLCK, .l_start = (off_t)1 << 62, .l_len = 1};
        ck_assert_int_eq(fcntl(r.gate, F_OFD_SETLK, &gate), 0);
        pthread_t thread;
        ck_assert_int_eq(pthread_create(&thread, NULL, replace_and_leave, &r), 0);
        beck *db = open_flags(r.to, flags);
        ck_assert_int_eq(end_offset(db, "t", 0), 2);
        OK(db, beck_close(db));
        pthread_join(thread, NULL);
        ck_assert_int_eq(unlink(path()), 0);
    }
}
END_TEST

/* ---- Two names, one file ---- */

static void work_together(const char *one, const char *two)
{
    writer_opens(one, BECK_SYNC_SYNC);
    beck *other = open_db(two);
    beck_consumer *consumer = consume(other, "t", BECK_START_BEGINNING, 0);
    ck_assert(value_is(poll_one(other, consumer), "first"));
    OK(writer, append_text(topic, 0, "second"));
    ck_assert(value_is(poll_one(other, consumer), "second"));
    OK(other, append_text(os_topic(other, "t", 1, 0), 0, "third"));
    beck_stat_info info = {.size = sizeof info};
    OK(other, beck_stat(other, &info));
    ck_assert_uint_eq(info.handles, 2);
    OK(writer, beck_close(writer));
    OK(other, append_text(os_topic(other, "t", 1, 0), 0, "fourth"));
    OK(other, beck_close(other));
    holds(one, 4);
    holds(two, 4);
}

START_TEST(hard_links)
{
    const char *two = path_in(test_folder(), "two.beck");
    OK(NULL, beck_close(open_db(path())));
    ck_assert_int_eq(link(path(), two), 0);
    work_together(path(), two);
    writer = open_db(path());
    topic = os_topic(writer, "t", 1, 0);
    ck_assert_int_eq(unlink(path()), 0); /* it has a name left */
    sleep_ms(120);
    OK(writer, append_text(topic, 0, "fifth"));
    OK(writer, beck_close(writer));
    holds(two, 5);
}
END_TEST

START_TEST(symbolic_links)
{
    const char *two = path_in(test_folder(), "two.beck"), *no = path_in(test_folder(), "no.beck");
    beck *db = NULL;
    OK(NULL, beck_close(open_db(path())));
    ck_assert_int_eq(symlink(strrchr(path(), '/') + 1, two), 0);
    work_together(path(), two);
    ck_assert_int_eq(symlink("nowhere.beck", no), 0);
    GIVES(NOT_FOUND, db, beck_open(no, NULL, &db));
    says(db, "symbolic link");
    (void)beck_close(db);
}
END_TEST

START_TEST(through_a_descriptor)
{
    char name[64];
    OK(NULL, beck_close(open_db(path())));
    int fd = open(path(), O_RDWR);
    ck_assert_int_ge(fd, 0);
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    work_together(path(), name);
    ck_assert_int_eq(fcntl(fd, F_GETFD), 0); /* still the caller's */
    close(fd);
}
END_TEST

/* An empty file, reached by its descriptor, becomes a new one as by its name. */
START_TEST(empty_through_a_descriptor)
{
    char name[64];
    file_make(path(), "", 0);
    int fd = open(path(), O_RDWR);
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    writer_opens(name, BECK_SYNC_SYNC);
    OK(writer, beck_close(writer));
    close(fd);
    holds(path(), 1);
}
END_TEST

/* What never had a name cannot keep what is acknowledged. */
START_TEST(without_a_name)
{
    char name[64];
    beck *db = NULL;
    int fd = open(test_folder(), O_RDWR | O_TMPFILE, 0600);
    ck_assert_int_ge(fd, 0);
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    OK(db, beck_open(name, NULL, &db));
    GIVES(MOVED, db, beck_topic_create(db, "t", NULL));
    (void)beck_close(db);
    close(fd);
}
END_TEST

/* A relative path counts when the file is opened; where the process is later does not matter. */
START_TEST(another_working_directory)
{
    char folder[600], gone[700];
    snprintf(folder, sizeof folder, "%s.d", path());
    snprintf(gone, sizeof gone, "%s.gone", folder);
    ck_assert_int_eq(mkdir(folder, 0755), 0);
    ck_assert_int_eq(chdir(folder), 0);
    writer_opens("r.beck", BECK_SYNC_OS);
    beck *reader = open_readonly("./r.beck");
    beck_consumer *consumer = consume(reader, "t", BECK_START_BEGINNING, 0);
    ck_assert_int_eq(chdir("/"), 0);
    for (uint32_t i = 0; i < 100; i++) OK(writer, append_filled(topic, 0, 500, i, NULL));
    ck_assert_int_eq(rename(folder, gone), 0);
    OK(writer, append_text(topic, 0, "last"));
    ck_assert_uint_eq(drain(reader, consumer), 102);
    OK(writer, beck_close(writer));
    ck_assert_uint_eq(drain(reader, consumer), 0);
    OK(reader, beck_close(reader));
    ck_assert_int_eq(access("/r.beck", F_OK), -1);
    ck_assert_int_eq(chdir(gone), 0);
    holds("r.beck", 102);
}
END_TEST

/* ---- Copied, cut ---- */

/* The copy holds the locks and claims of the original as bytes: they mean nothing in it. */
START_TEST(copied_while_open)
{
    const char *copy = path_in(test_folder(), "copy.beck");
    size_t bytes;
    writer_opens(path(), BECK_SYNC_OS);
    uint8_t *data = file_content(path(), &bytes);
    file_make(copy, data, bytes);
    free(data);
    beck *db = open_db(copy);
    beck_stat_info info = {.size = sizeof info};
    OK(db, beck_stat(db, &info));
    ck_assert_uint_eq(info.handles, 1);
    ck_assert_int_eq(end_offset(db, "t", 0), 1);
    OK(db, append_text(os_topic(db, "t", 1, 0), 0, "in the copy"));
    OK(writer, append_text(topic, 0, "in the original"));
    OK(writer, append_text(topic, 0, "once more"));
    OK(db, beck_close(db));
    OK(writer, beck_close(writer));
    holds(copy, 2);
    holds(path(), 3);
}
END_TEST

static beck *cut_db;
static beck_consumer *cut_consumer;

/* Whoever copies is told; nobody is killed by SIGBUS. */
static void expect_cut(void)
{
    const beck_topic_info *const *infos;
    const beck_record *records;
    size_t count;
    GIVES(CORRUPT, cut_db, beck_poll(cut_consumer, 10, 0, &records, &count));
    says(cut_db, "0 bytes");
    says(cut_db, path());
    GIVES(CORRUPT, cut_db, beck_poll(cut_consumer, 10, 500, &records, &count));
    GIVES(CORRUPT, cut_db, beck_topic_list(cut_db, &infos, &count));
    (void)beck_close(cut_db);
}

START_TEST(cut_under_readers)
{
    for (int beside = 0; beside < 2; beside++) { /* beside a writer, and alone */
        writer_opens(path(), BECK_SYNC_OS);
        if (!beside) OK(writer, beck_close(writer));
        cut_db = open_readonly(path());
        cut_consumer = consume(cut_db, "t", BECK_START_BEGINNING, 0);
        ck_assert_int_eq(truncate(path(), 0), 0);
        expect_cut();
        ck_assert_int_eq(unlink(path()), 0);
    }
}
END_TEST

static int cut_while_waiting(const char *name)
{
    const beck_record *records;
    size_t count;
    beck_consumer_config config = {.size = sizeof config,
                                   .topics = &(const char *){"t"},
                                   .topic_count = 1,
                                   .start = BECK_START_END,
                                   .flags = BECK_CONSUME_COPY};
    writer_opens(name, BECK_SYNC_OS);
    OK(writer, beck_consumer_open(writer, &config, &cut_consumer));
    fflush(stdout);
    if (fork() == 0) {
        sleep_ms(150);
        _exit(truncate(name, 0) == 0 ? 0 : 1);
    }
    if (beck_poll(cut_consumer, 10, 3000, &records, &count) != BECK_CORRUPT) return 1;
    return beck_close(writer) == BECK_CORRUPT ? 0 : 2;
}

/* A consumer that copies, of a handle that may write. */
START_TEST(cut_under_a_copying_consumer)
{
    ck_assert_int_eq(in_child(cut_while_waiting, path()), 0);
}
END_TEST

/* Who only observes who has it open. */
static int observe_the_cut(const char *name)
{
    beck_options options = {.size = sizeof options, .flags = BECK_OPEN_OBSERVE};
    const beck_handle_info *const *list;
    size_t count;
    beck *db = NULL;
    if (beck_open(name, &options, &db) < 0) return 1;
    if (beck_handles(db, &list, &count) < 0 || count != 1) return 2;
    if (truncate(name, 0) != 0) return 3;
    if (beck_handles(db, &list, &count) != BECK_CORRUPT) return 4;
    (void)beck_close(db);
    return beck_open(name, &options, &db) >= 0;
}

START_TEST(cut_under_an_observer)
{
    writer_opens(path(), BECK_SYNC_OS);
    ck_assert_int_eq(in_child(observe_the_cut, path()), 0);
    GIVES(CORRUPT, writer, beck_close(writer));
}
END_TEST

/* Behind what every file has, so that only partitions' cells are gone, which a handle maps when it
 * needs them. */
static int cut_the_cells(const char *name)
{
    const beck_topic_info *const *infos;
    const beck_record *records;
    size_t count;
    beck *idle = open_db(name), *reader = open_readonly(name);
    beck_consumer *consumer = consume(reader, "t", BECK_START_BEGINNING, 0);
    if (beck_poll(consumer, 10, 0, &records, &count) != BECK_OK || count != 1) return 1;
    if (truncate(name, 224 * 1024) != 0) return 2;
    if (beck_poll(consumer, 10, 0, &records, &count) != BECK_CORRUPT) return 3;
    if (strstr(beck_errmsg(reader), "229376 bytes") == NULL) return 4;
    if (beck_poll(consumer, 10, 500, &records, &count) != BECK_CORRUPT) return 5;
    if (beck_topic_list(reader, &infos, &count) != BECK_CORRUPT) return 6;
    (void)beck_close(reader);
    return beck_close(idle) == BECK_CORRUPT ? 0 : 7;
}

START_TEST(cut_behind_the_fixed_part)
{
    writer_opens(path(), BECK_SYNC_OS);
    ck_assert_int_eq(in_child(cut_the_cells, path()), 0);
    GIVES(CORRUPT, writer, beck_close(writer));
}
END_TEST

static int open_the_cut(const char *name)
{
    beck_options readonly = {.size = sizeof readonly, .flags = BECK_OPEN_READONLY};
    beck *db = NULL;
    if (beck_open(name, NULL, &db) != BECK_CORRUPT) return 1;
    if (strstr(beck_errmsg(db), "0 bytes") == NULL) return 2;
    (void)beck_close(db);
    if (beck_open(name, &readonly, &db) >= 0) return 3;
    (void)beck_close(db);
    return 0;
}

/* While a writer still has it open, which does not look at it meanwhile, and may close. */
START_TEST(cut_before_an_open)
{
    writer_opens(path(), BECK_SYNC_OS);
    ck_assert_int_eq(truncate(path(), 0), 0);
    ck_assert_int_eq(in_child(open_the_cut, path()), 0);
    GIVES(CORRUPT, writer, beck_close(writer));
}
END_TEST

/* Behind a clean close, so far that only records are gone: said at once, and read as a gap. */
START_TEST(cut_after_a_clean_close)
{
    const beck_record *records;
    size_t count;
    beck_event_info event = {.size = sizeof event};
    writer_opens(path(), BECK_SYNC_OS);
    for (uint64_t i = 0; i < 100; i++) OK(writer, append_filled(topic, 0, 1000, i, NULL));
    OK(writer, beck_close(writer));
    ck_assert_int_eq(truncate(path(), (off_t)file_size(path()) - 20000), 0);
    for (int readonly = 0; readonly < 2; readonly++) {
        beck *db = readonly ? open_readonly(path()) : open_db(path());
        ck_assert_msg(strstr(beck_recovery_report(db), "the file was cut at byte") != NULL,
                      "\"%s\"", beck_recovery_report(db));
        beck_consumer *consumer = consume(db, "t", BECK_START_BEGINNING, 0);
        int rc;
        while ((rc = beck_poll(consumer, 100, 0, &records, &count)) == BECK_EVENT || count > 0)
            if (rc == BECK_EVENT) OK(db, beck_event(consumer, &event));
        OK(db, rc);
        ck_assert_int_eq(event.cause, BECK_GAP_CORRUPT);
        ck_assert_int_eq(event.to, end_offset(db, "t", 0));
        OK(db, beck_close(db));
    }
}
END_TEST

static int append_to_the_cut(const char *name)
{
    writer_opens(name, BECK_SYNC_OS);
    if (truncate(name, 0) != 0) return 100;
    return append_text(topic, 0, "x") == 0;
}

/* Who writes has the file mapped: the system ends it. At any rate nothing is acknowledged. */
START_TEST(cut_under_a_writer)
{
    int status;
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        signal(SIGBUS, SIG_DFL); /* a sanitizer's handler would print */
        _exit(append_to_the_cut(path()));
    }
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    if (WIFSIGNALED(status))
        ck_assert_int_eq(WTERMSIG(status), SIGBUS);
    else
        ck_assert_int_eq(WEXITSTATUS(status), 0);
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("api_files");
    TCase *c = tcase_create("files");
    tcase_add_test(c, renamed);
    tcase_add_test(c, moved_to_another_folder);
    tcase_add_test(c, deleted);
    tcase_add_test(c, deleted_while_idle);
    tcase_add_test(c, deleted_and_never_changed);
    tcase_add_test(c, replaced);
    tcase_add_test(c, replaced_while_opening);
    tcase_add_test(c, hard_links);
    tcase_add_test(c, symbolic_links);
    tcase_add_test(c, through_a_descriptor);
    test_add_linux(c, empty_through_a_descriptor, "POSIX has no syncfs");
    test_add_linux(c, without_a_name, "POSIX has no syncfs");
    tcase_add_test(c, another_working_directory);
    tcase_add_test(c, copied_while_open);
    tcase_add_test(c, cut_under_readers);
    test_add_linux(c, cut_under_a_copying_consumer,
                   "waiting loads through the mapping that is cut");
    tcase_add_test(c, cut_under_an_observer);
    tcase_add_test(c, cut_behind_the_fixed_part);
    tcase_add_test(c, cut_after_a_clean_close);
    tcase_add_test(c, cut_before_an_open);
    tcase_add_test(c, cut_under_a_writer);
    suite_add_tcase(s, c);
    return s;
}
