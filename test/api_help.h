/* api_help.h -- what the tests of the public interface share: paths, handles, filling and reading
 *
 * Every test has a file of its own: path() names one after the process. A call that must work
 * stands in OK(), one that must fail in GIVES(); both say line, call and message when it turns out
 * otherwise. */
#ifndef API_HELP_H
#define API_HELP_H

#include <beck.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "test.h"

#define OK(db, call) api_want(__LINE__, BECK_OK, (call), (db), #call)
#define GIVES(status, db, call) api_want(__LINE__, BECK_##status, (call), (db), #call)

static inline void api_want(int line, int wanted, int rc, beck *db, const char *call)
{
    if (rc != wanted)
        ck_abort_msg("line %d: %s gave %s, not %s: %s", line, call, beck_status_name(rc),
                     beck_status_name(wanted), beck_errmsg(db));
}

static inline void says(beck *db, const char *part)
{
    const char *message = beck_errmsg(db);
    ck_assert_msg(strstr(message, part) != NULL, "\"%s\" does not mention \"%s\"", message, part);
}

/* ---- Files ---- */

/* tmpfs, where syncs cost nothing, or the folder of the tests. */
static inline const char *quick_folder(void)
{
    return access("/dev/shm", W_OK) == 0 ? "/dev/shm" : test_folder();
}

static inline const char *path_in(const char *folder, const char *name)
{
    static char paths[8][512];
    static unsigned turn;
    char *path = paths[turn++ % 8];
    snprintf(path, sizeof paths[0], "%s/%ld-%s", folder, (long)getpid(), name);
    return path;
}

static inline const char *path(void)
{
    return path_in(test_folder(), "x.beck");
}

static inline uint64_t file_size(const char *name)
{
    struct stat st;
    ck_assert_int_eq(stat(name, &st), 0);
    return (uint64_t)st.st_size;
}

static inline uint8_t *file_content(const char *name, size_t *bytes)
{
    *bytes = (size_t)file_size(name);
    uint8_t *data = malloc(*bytes + 1);
    int fd = open(name, O_RDONLY);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(pread(fd, data, *bytes, 0), (ssize_t)*bytes);
    close(fd);
    return data;
}

static inline void file_make(const char *name, const void *data, size_t bytes)
{
    int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, data, bytes), (ssize_t)bytes);
    close(fd);
}

static inline bool file_same(const char *name, const uint8_t *data, size_t bytes)
{
    size_t now_bytes;
    uint8_t *now = file_content(name, &now_bytes);
    bool same = now_bytes == bytes && memcmp(now, data, bytes) == 0;
    free(now);
    return same;
}

static inline int64_t clock_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static inline void sleep_ms(int ms)
{
    struct timespec ts = {ms / 1000, ms % 1000 * 1000000L};
    nanosleep(&ts, NULL);
}

/* ---- Handles ---- */

static inline beck *open_flags(const char *name, uint32_t flags)
{
    beck_options options = {.size = sizeof options, .flags = flags};
    beck *db = NULL;
    OK(db, beck_open(name, &options, &db));
    ck_assert_ptr_nonnull(db);
    return db;
}

static inline beck *open_db(const char *name)
{
    return open_flags(name, 0);
}

static inline beck *open_readonly(const char *name)
{
    return open_flags(name, BECK_OPEN_READONLY);
}

/* An `os` topic: the one for tests that are not about stable storage. */
static inline beck_topic *os_topic(beck *db, const char *name, uint32_t partitions,
                                   uint32_t segment_bytes)
{
    beck_topic_config config = {.size = sizeof config,
                                .partitions = partitions,
                                .sync = BECK_SYNC_OS,
                                .segment_bytes = segment_bytes};
    beck_topic *topic = NULL;
    OK(db, beck_topic_open(db, name, &config, &topic));
    return topic;
}

static inline beck_consumer *consume(beck *db, const char *topic, uint32_t start, int64_t value)
{
    beck_consumer_config config = {.size = sizeof config,
                                   .topics = &topic,
                                   .topic_count = 1,
                                   .start = start,
                                   .start_value = value};
    beck_consumer *consumer = NULL;
    OK(db, beck_consumer_open(db, &config, &consumer));
    return consumer;
}

/* ---- Records whose content follows from a number ---- */

static inline void fill(void *to, size_t bytes, uint64_t number)
{
    uint8_t *p = to;
    uint64_t x = number * UINT64_C(0x9E3779B97F4A7C15) + 1;
    for (size_t i = 0; i < bytes; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        p[i] = (uint8_t)x;
    }
}

static inline bool filled(const void *from, size_t bytes, uint64_t number)
{
    uint8_t *right = malloc(bytes + 1);
    fill(right, bytes, number);
    bool same = memcmp(right, from, bytes) == 0;
    free(right);
    return same;
}

static inline int append_filled(beck_topic *topic, int32_t partition, size_t bytes, uint64_t number,
                                int64_t *offset)
{
    uint8_t *value = malloc(bytes + 1);
    fill(value, bytes, number);
    beck_record r = {.value = value, .value_size = (uint32_t)bytes, .partition = partition};
    int rc = beck_append(topic, &r, offset);
    free(value);
    return rc;
}

static inline int append_text(beck_topic *topic, int32_t partition, const char *text)
{
    beck_record r = {.value = text, .value_size = (uint32_t)strlen(text), .partition = partition};
    return beck_append(topic, &r, NULL);
}

static inline bool value_is(const beck_record *r, const char *text)
{
    return r->value != NULL && r->value_size == strlen(text) &&
           memcmp(r->value, text, r->value_size) == 0;
}

/* Poll one record that must be there. */
static inline const beck_record *poll_one(beck *db, beck_consumer *consumer)
{
    const beck_record *records;
    size_t count;
    OK(db, beck_poll(consumer, 1, 2000, &records, &count));
    ck_assert_uint_eq(count, 1);
    return records;
}

/* Everything visible has been read. */
static inline void poll_none(beck *db, beck_consumer *consumer)
{
    const beck_record *records;
    size_t count;
    OK(db, beck_poll(consumer, 10, 0, &records, &count));
    ck_assert_uint_eq(count, 0);
}

/* Read to the end without events; how many records. */
static inline size_t drain(beck *db, beck_consumer *consumer)
{
    const beck_record *records;
    size_t count, sum = 0;
    do {
        OK(db, beck_poll(consumer, 1000, 0, &records, &count));
        sum += count;
    } while (count > 0);
    return sum;
}

static inline int64_t end_offset(beck *db, const char *topic, uint32_t partition)
{
    const beck_topic_info *info;
    OK(db, beck_topic_describe(db, topic, &info));
    ck_assert_uint_lt(partition, info->config->partitions);
    return info->partitions[partition]->end_offset;
}

/* ---- Processes ---- */

/* Run `work` in a child that ends without closing anything, as kill -9 would; what it returned. */
static inline int in_child(int (*work)(const char *), const char *name)
{
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) _exit(work(name));
    int status = 0;
    ck_assert_int_gt(pid, 0);
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_msg(WIFEXITED(status), "the child was killed by signal %d", WTERMSIG(status));
    return WEXITSTATUS(status);
}

#endif
