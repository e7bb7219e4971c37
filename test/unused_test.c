/* unused_test.c -- after a sync whose end nobody saw: space that no topic has is made anew */
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "db.h"
#include "test.h"

#define VALUE_BYTES 1000
#define RECORDS 10 /* of a topic: one segment */

static char path[4096];
static const beck_options options = {.size = sizeof options, .flags = BECK_OPEN_FORCE};

/* Ranges that were to become zeros; and those of file systems that cannot do that. */
static int forgotten, refused;

int fallocate(int fd, int mode, off_t at, off_t bytes)
{
    int rc = (int)syscall(SYS_fallocate, fd, mode, at, bytes);
    forgotten += (mode & FALLOC_FL_ZERO_RANGE) != 0;
    refused += (mode & FALLOC_FL_ZERO_RANGE) != 0 && rc < 0;
    return rc;
}

static void append(beck *db, const char *name, char fill, int count)
{
    const beck_topic_config config = {.size = sizeof config, .sync = BECK_SYNC_OS};
    char value[VALUE_BYTES];
    const beck_record r = {.value = value, .value_size = VALUE_BYTES};
    beck_topic *topic;
    memset(value, fill, sizeof value);
    if (beck_topic_open(db, name, &config, &topic) != BECK_OK) _exit(2);
    for (int i = 0; i < count; i++)
        if (beck_append(topic, &r, NULL) != BECK_OK) _exit(3);
}

static size_t read_all(beck *db, const char *name, beck_consumer **consumer)
{
    const beck_consumer_config c = {.size = sizeof c, .topics = &name, .topic_count = 1};
    const beck_record *records;
    size_t count = 0, all = 0;
    if (beck_consumer_open(db, &c, consumer) != BECK_OK) _exit(4);
    do {
        if (beck_poll(*consumer, 100, 0, &records, &count) != BECK_OK) _exit(5);
        all += count;
    } while (count > 0 && all < RECORDS);
    return all;
}

/* A topic is deleted while somebody reads it, so that its segments are not free yet. */
static void live(void)
{
    beck *db;
    beck_consumer *reader;
    if (beck_open(path, &options, &db) != BECK_OK) _exit(6);
    append(db, "t", 't', RECORDS / 2);
    append(db, "gone", 'G', RECORDS);
    if (read_all(db, "gone", &reader) != RECORDS) _exit(7);
    if (beck_topic_delete(db, "gone") != BECK_OK) _exit(8);
    append(db, "t", 't', RECORDS / 2);
    kill(getpid(), SIGKILL);
}

/* As if the sync of another handle had not ended, or had failed. */
static bool leave_residue(bool failed)
{
    struct file file;
    const uint64_t word = 1;
    const uint64_t slot = COORD_SLOTS_AT + 7 * sizeof(struct slot);
    uint64_t at =
        failed ? offsetof(struct coord_header, poison) : slot + offsetof(struct slot, intent);
    ck_assert_int_eq(file_open(&file, path, &options), BECK_OK);
    ck_assert_int_eq(os_write(&file.os, &word, failed ? 4 : 8, COORD_AT + at), BECK_OK);
    bool memory = file.fs.memory;
    file_close(&file);
    return memory;
}

/* A file with a deleted topic whose last user was killed. */
static void make_file(void)
{
    int status;
    snprintf(path, sizeof path, "%s/unused-%d", test_folder(), (int)getpid());
    pid_t pid = fork();
    if (pid == 0) live();
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert(WIFSIGNALED(status));
}

/* Does it show through what the deleted topic held? */
static bool shows_through(beck *db)
{
    static const char g[] = "GGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGG";
    static uint8_t bytes[8 * 1024 * 1024];
    uint64_t size;
    ck_assert_int_eq(os_size(&db->file.os, &size), BECK_OK);
    ck_assert_uint_lt(size, sizeof bytes);
    ck_assert_int_eq(os_read(&db->file.os, bytes, size, 0), BECK_OK);
    return memmem(bytes, size, g, strlen(g)) != NULL;
}

static void expect_whole(beck *db)
{
    beck_consumer *reader;
    ck_assert_int_eq(beck_check(db, NULL, NULL, NULL, NULL), BECK_OK);
    ck_assert_uint_eq(read_all(db, "t", &reader), RECORDS);
    beck_consumer_close(reader);
    ck_assert_int_eq(beck_close(db), BECK_OK);
}

START_TEST(space_is_made_anew)
{
    beck *db;
    make_file();
    bool memory = leave_residue(_i == 1);
    ck_assert_int_eq(beck_open(path, &options, &db), BECK_OK);
    ck_assert_str_eq(beck_recovery_report(db), "");
    ck_assert(memory || forgotten > 0);
    if (!memory && refused == 0) ck_assert(!shows_through(db));
    expect_whole(db);
}
END_TEST

/* It costs time, and speed later: without a doubt nothing is touched. */
START_TEST(a_kill_alone_leaves_no_doubt)
{
    beck *db;
    make_file();
    ck_assert_int_eq(beck_open(path, &options, &db), BECK_OK);
    ck_assert_int_eq(forgotten, 0);
    expect_whole(db);
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("unused");
    TCase *c = tcase_create("recovery");
    test_add_linux_loop(c, space_is_made_anew, 0, 2, "only the page cache can be dropped");
    tcase_add_test(c, a_kill_alone_leaves_no_doubt);
    suite_add_tcase(s, c);
    return s;
}
