/* work_wake.c -- waking a blocked consumer in another process, and what a blocked one costs */
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "bench.h"
#include "peer_beck.h"

#define PINGS 20000u

struct game {
    _Atomic uint32_t ready;
    char path[600];
    uint32_t count;
    double wakeups, cpu; /* idle: a second, percent */
    uint64_t latencies[];
};

struct side {
    beck *db;
    beck_topic *out;
    beck_consumer *in;
};

static struct game *new_game(const char *path, uint32_t count)
{
    struct game *g = shared_memory(sizeof *g + count * sizeof g->latencies[0]);
    strncpy(g->path, path, sizeof g->path - 1);
    g->count = count;
    return g;
}

static void side_open(struct side *s, const char *path, const char *out, const char *in)
{
    beck_consumer_config config = {
        .size = sizeof config, .topics = &in, .topic_count = 1, .start = BECK_START_END};
    beck_topic_config os = {.size = sizeof os, .sync = BECK_SYNC_OS};
    beck_topic *unused;
    memset(s, 0, sizeof *s);
    beck_must(s->db, beck_open(path, NULL, &s->db), "open");
    beck_must(s->db, beck_topic_open(s->db, out, &os, &s->out), "open topic");
    beck_must(s->db, beck_topic_open(s->db, in, &os, &unused), "open topic");
    beck_must(s->db, beck_consumer_open(s->db, &config, &s->in), "open consumer");
}

static void side_close(struct side *s)
{
    beck_consumer_close(s->in);
    beck_must(NULL, beck_close(s->db), "close");
}

/* The value begins with the moment of sending. */
static void send_now(struct side *s)
{
    uint8_t value[VALUE_BYTES];
    memcpy(value, payload(0), sizeof value);
    beck_record r = {
        .key = payload(1), .key_size = KEY_BYTES, .value = value, .value_size = VALUE_BYTES};
    uint64_t now = now_ns();
    memcpy(value, &now, sizeof now);
    beck_must(s->db, beck_append(s->out, &r, NULL), "append");
}

static uint64_t receive(struct side *s)
{
    const beck_record *records;
    size_t count = 0;
    uint64_t sent;
    while (count == 0) beck_must(s->db, beck_poll(s->in, 1, -1, &records, &count), "poll");
    uint64_t now = now_ns();
    memcpy(&sent, records[0].value, sizeof sent);
    return now - sent;
}

static void answer(void *argument)
{
    struct game *g = argument;
    struct side s;
    side_open(&s, g->path, "pong", "ping");
    atomic_store(&g->ready, 1);
    for (uint32_t i = 0; i < g->count; i++) {
        g->latencies[i] = receive(&s);
        send_now(&s);
    }
    side_close(&s);
}

static void beck_ping_pong(struct game *g)
{
    struct side s;
    pid_t child = spawn(answer, g);
    side_open(&s, g->path, "ping", "pong");
    while (!atomic_load(&g->ready)) pause_ms(0.2);
    pause_ms(2);
    for (uint32_t i = 0; i < g->count; i++) {
        send_now(&s);
        receive(&s);
    }
    join(child);
    side_close(&s);
}

static int ascending(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static void sample_latencies(const char *system, struct game *g)
{
    qsort(g->latencies, g->count, sizeof g->latencies[0], ascending);
    sample(system, "p50", "us", (double)g->latencies[g->count / 2] / 1000);
    sample(system, "p99", "us", (double)g->latencies[g->count / 100 * 99] / 1000);
}

void work_wake(void)
{
    const char *path = bench_path("wake");
    uint32_t count = PINGS / (uint32_t)settings.shrink;
    struct game *g = new_game(path, count);
    for (int round = 0; round < settings.rounds; round++) {
        atomic_store(&g->ready, 0);
        beck_ping_pong(g);
        sample_latencies("beck", g);
        bench_forget(path);
        bare_futex(g->latencies, count);
        sample_latencies("futex", g);
    }
    munmap(g, sizeof *g + count * sizeof g->latencies[0]);
}

/* ---- Idle ---- */

static double cpu_seconds(const struct rusage *usage)
{
    return (double)(usage->ru_utime.tv_sec + usage->ru_stime.tv_sec) +
           (double)(usage->ru_utime.tv_usec + usage->ru_stime.tv_usec) / 1e6;
}

static void sit_idle(void *argument)
{
    struct game *g = argument;
    struct side s;
    struct rusage before, after;
    const beck_record *records;
    size_t count;
    side_open(&s, g->path, "pong", "ping");
    getrusage(RUSAGE_SELF, &before);
    double start = now_seconds();
    beck_must(s.db, beck_poll(s.in, 1, (int32_t)(settings.idle_seconds * 1000), &records, &count),
              "poll");
    double elapsed = now_seconds() - start;
    getrusage(RUSAGE_SELF, &after);
    /* Less one: the last wake-up is the time-out that was asked for. */
    g->wakeups = (double)(after.ru_nvcsw - before.ru_nvcsw - 1) / elapsed;
    g->cpu = 100 * (cpu_seconds(&after) - cpu_seconds(&before)) / elapsed;
    side_close(&s);
}

void work_idle(void)
{
    const char *path = bench_path("idle");
    struct game *g = new_game(path, 0);
    for (int round = 0; round < (settings.rounds + 1) / 2; round++) {
        join(spawn(sit_idle, g));
        sample("beck", "wake-ups", "per s", g->wakeups);
        sample("beck", "cpu", "% of a core", g->cpu);
    }
    bench_forget(path);
    munmap(g, sizeof *g);
}
