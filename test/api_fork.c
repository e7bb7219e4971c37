/* api_fork.c -- fork: handles are not inherited, and nobody's claim on the file suffers */
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
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
    beck_stat_info info = {.size = sizeof info};
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
    const beck_topic_info *const *infos, *one;
    beck_record r = {.value = "x", .value_size = 1};
    beck_consumer_config config = {.size = sizeof config, .topics = &name, .topic_count = 1};
    beck_consumer *consumer;
    beck_topic *topic;
    beck_stat_info info = {.size = sizeof info};
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
        beck_topic_describe(parent_db, "t", &one),
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

/* Work in a child without the C library's fork, and so without its handlers; the parent goes on. */
static void beside_a_bare_child(int (*work)(const char *))
{
    char name[512];
    int status = -1;
    parent_opens();
    fflush(stdout);
    snprintf(name, sizeof name, "%s", path());
    long pid = syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
    if (pid == 0) syscall(SYS_exit_group, work(name));
    ck_assert_int_eq(waitpid((pid_t)pid, &status, 0), (pid_t)pid);
    ck_assert_int_eq(status, 0);
    parent_goes_on(1);
    OK(parent_db, beck_close(parent_db));
}

static int bare_append(const char *name)
{
    beck_record r = {.value = "x", .value_size = 1};
    (void)name;
    return beck_append(parent_topic, &r, NULL) == BECK_FORKED ? 0 : 1;
}

START_TEST(child_of_a_bare_system_call)
{
    beside_a_bare_child(bare_append);
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
    beck_stat_info info = {.size = sizeof info};
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
    beck_stat_info info = {.size = sizeof info};
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
    beck_stat_info info = {.size = sizeof info};
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

/* ---- fork in the middle of things ---- */

/* The memory of AddressSanitizer may be locked for ever in a child of many threads. */
#if defined(__SANITIZE_ADDRESS__)
#define CHILD_MAY_ALLOCATE 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define CHILD_MAY_ALLOCATE 0
#endif
#endif
#ifndef CHILD_MAY_ALLOCATE
#define CHILD_MAY_ALLOCATE 1
#endif

/* 0 when this process holds neither a mapping nor a descriptor of the file; else what it holds. */
static int holds_nothing(const char *name)
{
    char line[1024], link[64], target[1024];
    FILE *maps = fopen("/proc/self/maps", "r");
    if (maps == NULL) return 50;
    while (fgets(line, sizeof line, maps) != NULL)
        if (strstr(line, name) != NULL) return 51;
    fclose(maps);
    for (int fd = 0; fd < 200; fd++) {
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        ssize_t n = readlink(link, target, sizeof target - 1);
        if (n < 0) continue;
        target[n] = 0;
        if (strstr(target, name) != NULL) return 52;
    }
    return 0;
}

static atomic_bool busy_stop;

static void *busy_appending(void *context)
{
    uint32_t i = 0;
    while (!atomic_load(&busy_stop)) OK(parent_db, append_filled(context, 0, 3000, i++, NULL));
    return NULL;
}

static void *busy_polling(void *context)
{
    const beck_record *records;
    size_t count;
    (void)context;
    while (!atomic_load(&busy_stop)) {
        OK(parent_db, beck_seek(parent_consumer, "t", 0, 0));
        do OK(parent_db, beck_poll(parent_consumer, 10, 0, &records, &count));
        while (count > 0 && !atomic_load(&busy_stop));
    }
    return NULL;
}

static void *busy_opening(void *context)
{
    while (!atomic_load(&busy_stop)) {
        beck *db = open_db(context);
        (void)end_offset(db, "t", 0);
        OK(db, beck_close(db));
    }
    return NULL;
}

/* Whatever other threads are in the middle of, a child inherits nothing of the file, so that it
 * can keep nobody's locks; and it may close, and open its own. */
START_TEST(child_of_a_busy_process)
{
    pthread_t threads[3];
    char name[512];
    snprintf(name, sizeof name, "%s", path());
    parent_opens();
    atomic_store(&busy_stop, false);
    ck_assert_int_eq(pthread_create(&threads[0], NULL, busy_appending, parent_topic), 0);
    ck_assert_int_eq(pthread_create(&threads[1], NULL, busy_polling, NULL), 0);
    ck_assert_int_eq(pthread_create(&threads[2], NULL, busy_opening, name), 0);
    for (int i = 0; i < 150; i++) {
        ck_assert_int_eq(in_child(holds_nothing, name), 0);
        if (i % 10 == 0) ck_assert_int_eq(in_child(child_closes, name), 0);
        if (i % 10 == 5) ck_assert_int_eq(in_child(open_append_die, name), 0);
        if (i % 30 == 0) ck_assert_int_eq(in_child(all_forked, name), 0);
    }
    atomic_store(&busy_stop, true);
    for (int i = 0; i < 3; i++) pthread_join(threads[i], NULL);
    parent_goes_on(1);
    OK(parent_db, beck_close(parent_db));
}
END_TEST

/* Appends in a thread, forks a child that sleeps, and is killed wherever it is. */
static int killed_beside_its_child(const char *name)
{
    pthread_t thread;
    int ready[2];
    char byte;
    (void)name;
    parent_opens();
    atomic_store(&busy_stop, false);
    if (pipe(ready) != 0 || pthread_create(&thread, NULL, busy_appending, parent_topic) != 0)
        return 1;
    if (fork() == 0) {
        if (write(ready[1], "x", 1) != 1) _exit(1);
        sleep_ms(2000);
        _exit(0);
    }
    if (read(ready[0], &byte, 1) != 1) return 2;
    sleep_ms(3);
    raise(SIGKILL);
    return 3;
}

START_TEST(child_outlives_a_killed_parent)
{
    for (int i = 0; i < 5; i++) {
        beck *db = open_db(path()); /* joined before: locks are taken over, nothing is recovered */
        beck_topic *topic = os_topic(db, "t", 1, 16384);
        fflush(stdout);
        pid_t pid = fork();
        if (pid == 0) _exit(killed_beside_its_child(path_in(test_folder(), "unused")));
        int status;
        ck_assert_int_eq(waitpid(pid, &status, 0), pid);
        ck_assert(WIFSIGNALED(status));
        int64_t before = clock_ms();
        OK(db, append_text(topic, 0, "after"));
        ck_assert_int_lt(clock_ms() - before, 1000);
        beck_stat_info info = {.size = sizeof info};
        OK(db, beck_stat(db, &info));
        ck_assert_uint_eq(info.handles, 1);
        OK(db, beck_check(db, NULL, NULL, NULL, NULL));
        OK(db, beck_close(db));
    }
}
END_TEST

/* ---- Children of children, and of bare clones ---- */

static int grandchild(const char *name)
{
    int status = -1;
    pid_t pid = fork();
    if (pid == 0) {
        int rc = all_forked(name);
        if (rc == 0) rc = child_opens_its_own(name);
        if (rc == 0) rc = holds_nothing(name);
        _exit(rc);
    }
    if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status)) return 90;
    return WEXITSTATUS(status);
}

static int own_handle_and_grandchild(const char *name)
{
    beck *db = NULL;
    if (beck_open(name, NULL, &db) < 0) return 80;
    parent_db = db;
    if (beck_topic_open(db, "t", NULL, &parent_topic) < 0) return 81;
    const char *topics[] = {"t"};
    beck_consumer_config config = {.size = sizeof config, .topics = topics, .topic_count = 1};
    if (beck_consumer_open(db, &config, &parent_consumer) < 0) return 82;
    int status = -1;
    pid_t pid = fork();
    if (pid == 0) _exit(all_forked(name));
    if (waitpid(pid, &status, 0) != pid || status != 0) return 83;
    if (append_filled(parent_topic, 0, 500, 1, NULL) < 0) return 84;
    return beck_close(db) < 0 ? 85 : 0;
}

START_TEST(children_of_children)
{
    parent_opens();
    ck_assert_int_eq(in_child(grandchild, path()), 0);
    ck_assert_int_eq(in_child(own_handle_and_grandchild, path()), 0);
    ck_assert_int_eq(end_offset(parent_db, "t", 0), 81);
    parent_goes_on(1);
    OK(parent_db, beck_close(parent_db));
}
END_TEST

/* No handler saw this child begin; it gives back what it inherited, opens the file and forks. */
static int bare_child(const char *name)
{
    beck_consumer_close(parent_consumer);
    if (beck_close(parent_db) != 0) return 1;
    return own_handle_and_grandchild(name);
}

START_TEST(bare_child_may_close)
{
    beside_a_bare_child(bare_child);
}
END_TEST

/* ---- Programs, daemons, two handles ---- */

START_TEST(programs_inherit_nothing)
{
    parent_opens();
    char link[64], target[1024];
    char *words[] = {"sleep", "5", NULL}, *env[] = {NULL};
    pid_t pid;
    ck_assert_int_eq(posix_spawnp(&pid, "sleep", NULL, NULL, words, env), 0);
    sleep_ms(100);
    for (int fd = 3; fd < 200; fd++) {
        snprintf(link, sizeof link, "/proc/%ld/fd/%d", (long)pid, fd);
        ssize_t n = readlink(link, target, sizeof target - 1);
        if (n < 0) continue;
        target[n] = 0;
        ck_assert_msg(strstr(target, "x.beck") == NULL, "descriptor %d is %s", fd, target);
    }
    kill(pid, SIGKILL);
    ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
    parent_goes_on(1);
    OK(parent_db, beck_close(parent_db));
}
END_TEST

/* fork, setsid, fork: the daemon opens the file itself and lives on without its parents. */
static int becomes_a_daemon(const char *name)
{
    if (fork() != 0) return 0;
    setsid();
    if (fork() != 0) _exit(0);
    sleep_ms(100);
    _exit(child_opens_its_own(name));
}

START_TEST(daemons)
{
    parent_opens();
    ck_assert_int_eq(in_child(becomes_a_daemon, path()), 0);
    for (int i = 0; end_offset(parent_db, "t", 0) < 80; i++) {
        ck_assert_int_lt(i, 500);
        sleep_ms(10);
    }
    sleep_ms(50);
    OK(parent_db, beck_close(parent_db));
}
END_TEST

static int child_exits_normally(const char *name)
{
    if (open_append_die(name) != 0) return 1;
    exit(0);
}

/* Two handles in one process are two claims; both are refused in a child, neither is harmed. */
START_TEST(two_handles_of_one_process)
{
    parent_opens();
    beck *other = open_db(path());
    ck_assert_int_eq(in_child(all_forked, path()), 0);
    OK(other, append_text(os_topic(other, "t", 1, 0), 0, "x"));
    parent_goes_on(2);
    ck_assert_int_eq(in_child(child_exits_normally, path()), 0);
    OK(other, beck_close(other));
    parent_goes_on(1);
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
    if (CHILD_MAY_ALLOCATE) tcase_add_test(c, child_of_a_busy_process);
    tcase_add_test(c, child_outlives_a_killed_parent);
    tcase_add_test(c, children_of_children);
    tcase_add_test(c, bare_child_may_close);
    tcase_add_test(c, programs_inherit_nothing);
    tcase_add_test(c, daemons);
    tcase_add_test(c, two_handles_of_one_process);
    suite_add_tcase(s, c);
    return s;
}
