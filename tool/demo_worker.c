/* demo_worker.c -- a producer or a consumer of `make demo`, made to be killed at any moment
 *
 *     demo_worker produce FILE SERVER FIRST END SECONDS
 *     demo_worker consume FILE HANDLED POSITIONS
 *
 * A producer appends the lines [FIRST, END) of one web server's log to topic `access`, in batches,
 * and prints after each append how many of them are acknowledged. Whoever keeps that output knows
 * where a killed producer has to go on. All lines, from 0 to END, take SECONDS at least.
 *
 * A consumer reads `access` and `packages`. Of each record it notes eight bytes in file HANDLED and
 * then, once for all records of a poll, in POSITIONS how far it has come. Killed between the two it
 * handles those records again: at least once. SIGTERM: it reads what there is and ends. */
#include "demo_log.h"

#include <beck.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define BATCH 500u
#define MARK_SIZE 24
#define POLL_RECORDS 1000u
#define LANES 3 /* the partitions that are read: access:0, access:1, packages:0 */

static beck *db;

static void fail(const char *what)
{
    fprintf(stderr, "demo_worker: %s: %s\n", what, beck_errmsg(db));
    exit(1);
}

static void open_file(const char *path)
{
    beck_options options = {.size = sizeof options, .flags = BECK_OPEN_NO_CREATE};
    if (beck_open(path, &options, &db) < 0) fail(path);
}

static void close_file(void)
{
    int rc = beck_close(db);
    db = NULL;
    if (rc >= 0) return;
    fprintf(stderr, "demo_worker: close: %s\n", beck_status_text(rc));
    exit(1);
}

/* ---- Producer ---- */
/* A batch and the memory its records point to; too large for the stack. */
static struct {
    beck_record records[BATCH];
    beck_header headers[BATCH];
    char lines[BATCH][DEMO_LINE_MAX];
    char marks[BATCH][MARK_SIZE];
} batch;

/* Every record says in a header which line of which server it is, for example "2:1705". */
static void make_record(uint32_t i, uint32_t server, uint32_t line)
{
    size_t client_size = 0;
    size_t size = demo_log_line(server, line, batch.lines[i], &client_size);
    int mark = snprintf(batch.marks[i], MARK_SIZE, "%" PRIu32 ":%" PRIu32, server, line);
    batch.headers[i] = (beck_header){
        .name = "line", .name_size = 4, .value = batch.marks[i], .value_size = (uint32_t)mark};
    batch.records[i] = (beck_record){.key = batch.lines[i],
                                     .key_size = (uint32_t)client_size,
                                     .value = batch.lines[i],
                                     .value_size = (uint32_t)size,
                                     .headers = &batch.headers[i],
                                     .header_count = 1};
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void sleep_until(double time)
{
    double rest = time - now();
    if (rest <= 0) return;
    struct timespec t = {(time_t)rest, (long)((rest - (double)(time_t)rest) * 1e9)};
    nanosleep(&t, NULL);
}

static void acknowledge(uint32_t lines)
{
    char text[MARK_SIZE];
    int size = snprintf(text, sizeof text, "%" PRIu32 "\n", lines);
    if (write(STDOUT_FILENO, text, (size_t)size) != size) fail("acknowledgement");
}

static void produce(uint32_t server, uint32_t first, uint32_t end, double seconds)
{
    beck_topic *topic = NULL;
    double start = now();
    if (beck_topic_open(db, "access", NULL, &topic) < 0) fail("access");
    for (uint32_t line = first; line < end;) {
        uint32_t count = end - line < BATCH ? end - line : BATCH;
        for (uint32_t i = 0; i < count; i++) make_record(i, server, line + i);
        if (beck_append_batch(topic, BECK_ANY_PARTITION, batch.records, count, NULL) < 0)
            fail("append");
        line += count;
        acknowledge(line);
        sleep_until(start + seconds * (line - first) / end);
    }
}

/* ---- Consumer ---- */
struct reader {
    beck_consumer *consumer;
    int handled, positions; /* file descriptors */
    int64_t next[LANES];    /* offsets; what POSITIONS holds */
    uint64_t notes[POLL_RECORDS];
};

static volatile sig_atomic_t stopping;

static void on_stop(int signal_number)
{
    (void)signal_number;
    stopping = 1;
}

static uint32_t lane_of(const char *topic, int32_t partition)
{
    return strcmp(topic, "packages") == 0 ? LANES - 1 : (uint32_t)partition;
}

/* What is noted of a record: number << 16 | server << 8 | lane. The number is a line's, whose bytes
 * must be the very bytes that server writes there; a package's is its offset, and server is 0. */
static uint64_t note_of(const beck_record *record)
{
    static char expected[DEMO_LINE_MAX];
    char mark[MARK_SIZE] = "";
    uint32_t server = 0, line = 0, lane = lane_of(record->topic, record->partition);
    size_t client_size = 0;
    if (lane == LANES - 1) return (uint64_t)record->offset << 16 | lane;
    if (record->header_count == 1 && record->headers[0].value_size < MARK_SIZE)
        memcpy(mark, record->headers[0].value, record->headers[0].value_size);
    int fields = sscanf(mark, "%" SCNu32 ":%" SCNu32, &server, &line);
    size_t size = demo_log_line(server, line, expected, &client_size);
    if (fields != 2 || record->value_size != size || memcmp(record->value, expected, size) != 0 ||
        record->key_size != client_size || memcmp(record->key, expected, client_size) != 0) {
        fprintf(stderr, "demo_worker: %s:%" PRId32 " offset %" PRId64 " is not what was sent\n",
                record->topic, record->partition, record->offset);
        exit(1);
    }
    return (uint64_t)line << 16 | server << 8 | lane;
}

static void handle(struct reader *r, const beck_record *records, size_t count)
{
    for (size_t i = 0; i < count; i++) r->notes[i] = note_of(&records[i]);
    ssize_t size = (ssize_t)(count * sizeof *r->notes);
    if (write(r->handled, r->notes, (size_t)size) != size) fail("handled");
    const beck_record *last = &records[count - 1];
    r->next[lane_of(last->topic, last->partition)] = last->offset + 1;
    if (pwrite(r->positions, r->next, sizeof r->next, 0) != sizeof r->next) fail("positions");
}

static void go_on(struct reader *r)
{
    static const char *const topics[] = {"access", "packages"};
    beck_consumer_config config = {.size = sizeof config, .topics = topics, .topic_count = 2};
    if (beck_consumer_open(db, &config, &r->consumer) < 0) fail("consumer");
    /* None yet the first time. */
    if (pread(r->positions, r->next, sizeof r->next, 0) != sizeof r->next) return;
    for (uint32_t lane = 0; lane < LANES; lane++) {
        bool is_package = lane == LANES - 1;
        if (beck_seek(r->consumer, topics[is_package], is_package ? 0 : (int32_t)lane,
                      r->next[lane]) < 0)
            fail("seek");
    }
}

static void consume(const char *handled, const char *positions)
{
    static struct reader r;
    r.handled = open(handled, O_WRONLY | O_CREAT | O_APPEND, 0644);
    r.positions = open(positions, O_RDWR | O_CREAT, 0644);
    if (r.handled < 0 || r.positions < 0) fail("notes");
    struct sigaction action = {.sa_handler = on_stop};
    sigaction(SIGTERM, &action, NULL);
    sigset_t term;
    sigemptyset(&term);
    sigaddset(&term, SIGTERM);
    sigprocmask(SIG_UNBLOCK, &term, NULL); /* who started us held it back until now */
    go_on(&r);
    for (;;) {
        bool last_look = stopping != 0; /* asked before: what came until the signal is read */
        const beck_record *records = NULL;
        size_t count = 0;
        int rc = beck_poll(r.consumer, POLL_RECORDS, last_look ? 0 : 200, &records, &count);
        if (rc != BECK_OK) fail("poll");
        if (count > 0) handle(&r, records, count);
        if (count == 0 && last_look) break;
    }
    beck_consumer_close(r.consumer);
}

int main(int argc, char **argv)
{
    bool producer = argc == 7 && strcmp(argv[1], "produce") == 0;
    if (!producer && (argc != 5 || strcmp(argv[1], "consume") != 0)) {
        fprintf(stderr, "usage: demo_worker produce FILE SERVER FIRST END SECONDS\n"
                        "       demo_worker consume FILE HANDLED POSITIONS\n");
        return 64;
    }
    demo_log_prepare();
    open_file(argv[2]);
    if (producer)
        produce((uint32_t)atol(argv[3]), (uint32_t)atol(argv[4]), (uint32_t)atol(argv[5]),
                atof(argv[6]));
    else
        consume(argv[3], argv[4]);
    close_file();
    return 0;
}
