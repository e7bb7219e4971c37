/* work_open.c -- opening after a clean close and after kill -9; the memory of a handle */
#include <malloc.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "bench.h"
#include "peer_beck.h"

#define SMALL_RECORDS 1000
#define OPENS_PER_ROUND 5
#define KILL_AFTER_MS 50
#define BUSY_SECONDS 10
#define TOPICS 1000

/* ---- Opening ---- */

/* Counts the opens that were refused because a killed process may have been syncing. */
static double open_ms(const char *path, uint32_t *busy)
{
    beck *db = NULL;
    double start = now_seconds();
    int rc = beck_open(path, NULL, &db);
    while (rc == BECK_BUSY && now_seconds() < start + BUSY_SECONDS) {
        beck_close(db);
        (*busy)++;
        rc = beck_open(path, NULL, &db);
    }
    double elapsed = now_seconds() - start;
    beck_must(db, rc, "open");
    beck_must(db, beck_close(db), "close");
    return elapsed * 1000;
}

static void append_until(void *store, const char *path, uint64_t bytes)
{
    while (file_bytes(path) < bytes) store_beck.append(store, 100 * BATCH_RECORDS, BATCH_RECORDS);
}

static void make_file(const char *path, uint64_t bytes)
{
    void *store = store_beck.open(path, LAZY);
    store_beck.append(store, SMALL_RECORDS, 1);
    append_until(store, path, bytes);
    store_beck.close(store);
}

static void clean_opens(uint64_t bytes)
{
    const char *path = bench_path("clean");
    double times[OPENS_PER_ROUND];
    uint32_t busy = 0;
    make_file(path, bytes);
    for (int round = 0; round < settings.rounds; round++) {
        for (int i = 0; i < OPENS_PER_ROUND; i++) times[i] = open_ms(path, &busy);
        sample("beck", "time", "ms", median(times, OPENS_PER_ROUND));
    }
    sample("beck", "file", "MiB", (double)file_bytes(path) / 1048576);
    bench_forget(path);
}

void work_open_clean(void)
{
    clean_opens(0);
}

void work_open_clean_big(void)
{
    clean_opens(settings.big_file);
}

static void append_for_ever(void *argument)
{
    void *store = store_beck.open(argument, LAZY);
    for (;;) store_beck.append(store, 100, 1);
}

void work_open_killed(void)
{
    char path[600];
    snprintf(path, sizeof path, "%s", bench_path("killed"));
    uint32_t busy = 0;
    make_file(path, settings.big_file);
    for (int round = 0; round < settings.rounds; round++) {
        int status = 0;
        pid_t child = spawn(append_for_ever, path);
        pause_ms(KILL_AFTER_MS);
        kill(child, SIGKILL);
        while (waitpid(child, &status, 0) < 0 && errno == EINTR) continue;
        if (!WIFSIGNALED(status)) die("a child failed before it was killed");
        sample("beck", "time", "ms", open_ms(path, &busy));
    }
    sample("beck", "refused", "opens", busy);
    sample("beck", "file", "MiB", (double)file_bytes(path) / 1048576);
    bench_forget(path);
}

/* ---- Memory ---- */

/* `anonymous` is the process's own, the rest of what it maps is pages of files. */
static void memory_kib(double *anonymous, double *file_pages)
{
    char line[256];
    double kib;
    FILE *file = fopen("/proc/self/smaps_rollup", "r");
    if (file == NULL) die("/proc/self/smaps_rollup: %s", strerror(errno));
    *anonymous = *file_pages = 0;
    while (fgets(line, sizeof line, file) != NULL) {
        if (sscanf(line, "Anonymous: %lf", &kib) == 1) *anonymous += kib, *file_pages -= kib;
        if (sscanf(line, "Swap: %lf", &kib) == 1) *anonymous += kib;
        if (sscanf(line, "Rss: %lf", &kib) == 1) *file_pages += kib;
    }
    fclose(file);
}

struct memory {
    char path[600];
    double anonymous, file_pages;
};

/* Opens the file and every topic, and appends to each. */
static void use_topics(void *argument)
{
    struct memory *m = argument;
    beck_topic_config os = {.size = sizeof os, .sync = BECK_SYNC_OS};
    beck_record r = {
        .key = payload(1), .key_size = KEY_BYTES, .value = payload(2), .value_size = VALUE_BYTES};
    beck *db = NULL;
    double anonymous, file_pages;
    (void)malloc_trim(0); /* memory that earlier work freed shall not be taken for nothing */
    memory_kib(&anonymous, &file_pages);
    beck_must(db, beck_open(m->path, NULL, &db), "open");
    for (int i = 0; i < TOPICS; i++) {
        char name[32];
        beck_topic *topic;
        snprintf(name, sizeof name, "topic-%d", i);
        beck_must(db, beck_topic_open(db, name, &os, &topic), "open topic");
        beck_must(db, beck_append(topic, &r, NULL), "append");
    }
    memory_kib(&m->anonymous, &m->file_pages);
    m->anonymous -= anonymous;
    m->file_pages -= file_pages;
    beck_must(NULL, beck_close(db), "close");
}

void work_memory(void)
{
    struct memory *m = shared_memory(sizeof *m);
    snprintf(m->path, sizeof m->path, "%s", bench_path("memory"));
    join(spawn(use_topics, m)); /* makes the topics */
    for (int round = 0; round < settings.rounds; round++) {
        join(spawn(use_topics, m));
        sample("beck", "private", "KiB", m->anonymous);
        sample("beck", "file pages", "KiB", m->file_pages);
    }
    bench_forget(m->path);
    munmap(m, sizeof *m);
}
