/* worker.c -- a process of the storm: produces, consumes or churns until it is killed, and logs it
 *
 *     worker produce|consume|churn FILE LOG [NAME=VALUE]...
 *
 * A log is written with O_APPEND, one write a line: it tells the truth after a SIGKILL. Times are
 * microseconds of CLOCK_MONOTONIC. Every thread of a producer has a log of its own, LOG.N:
 *     I seq topic partition count start   about to append (partition -2: anywhere)
 *     A seq offset start end          acknowledged
 *     E seq status start end text     refused
 * A consumer logs what it saw, by poll, with the CRC-32 of the values joined:
 *     O start                         opened; offsets begin anywhere again (start 0: at 0)
 *     R topic partition first count crc
 *     G topic partition from to cause a gap
 *     P time                          a pass from the beginning is over
 * All: `S status what text` for a failed call, `L what microseconds` for a slow one, `X` last.
 * A value is "topic log.thread seq index count padding"; test/harness.py makes the same. */
#include "beck.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

enum { TOPICS_MAX = 16, BATCH_MAX = 1000, SLOW_US = 50000 };

struct options {
    const char *kind, *file, *log, *id;
    char *topics[TOPICS_MAX];
    int topic_count;
    int threads;   /* of a producer, on one handle; the first is the main thread */
    long life;     /* operations before a regular end; 0 = until SIGTERM */
    long pause;    /* microseconds between operations, at most */
    long batch;    /* largest batch */
    long size;     /* largest padding */
    long segment;  /* segment.bytes of new topics */
    int partition; /* -1: mixed */
    long sync;     /* one append in so many is followed by beck_sync; 0 = none */
    int reread;    /* a consumer that begins again after 50 polls, never waiting */
    int readonly;
    unsigned seed;
};

struct logger {
    int fd;
    unsigned random;
};

static struct options options = {.threads = 1, .batch = 1, .size = 100, .partition = -1};
static beck *db;
static volatile sig_atomic_t stopping;

static void on_term(int number)
{
    (void)number;
    stopping = 1;
}

/* ---- Small things ---- */
static long now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000L + t.tv_nsec / 1000;
}

static void sleep_us(long us)
{
    struct timespec t = {us / 1000000, us % 1000000 * 1000};
    if (us > 0) nanosleep(&t, NULL);
}

static long below(struct logger *log, long limit)
{
    log->random = log->random * 1664525u + 1013904223u;
    return (long)(log->random >> 8) % limit;
}

static void say(struct logger *log, const char *format, ...)
{
    char line[1024];
    va_list args;
    va_start(args, format);
    int size = vsnprintf(line, sizeof line - 1, format, args);
    va_end(args);
    if (size > (int)sizeof line - 2) size = (int)sizeof line - 2;
    line[size++] = '\n';
    if (write(log->fd, line, (size_t)size) != size) abort();
}

static void open_log(struct logger *log, int thread)
{
    char path[4096];
    snprintf(path, sizeof path, "%s.%d", options.log, thread);
    log->fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    log->random = options.seed * 2654435761u + (unsigned)thread * 97u;
    if (log->fd < 0) abort();
}

static void slow(struct logger *log, const char *what, long start)
{
    long took = now() - start;
    if (took >= SLOW_US) say(log, "L %s %ld", what, took);
}

static int failed(struct logger *log, const char *what, int rc)
{
    if (rc < 0) say(log, "S %s %s %s", beck_status_name(rc), what, beck_errmsg(db));
    return rc < 0;
}

static unsigned crc32_of(unsigned crc, const void *data, size_t size)
{
    const unsigned char *byte = data;
    crc = ~crc;
    while (size-- > 0) {
        crc ^= *byte++;
        for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (crc & 1 ? 0xEDB88320u : 0);
    }
    return ~crc;
}

/* A topic's name ends in its number of partitions and holds its class: "storm-sync-4". */
static beck_topic_config config_of(const char *name)
{
    beck_topic_config config = {.size = sizeof config, .segment_bytes = (uint32_t)options.segment};
    config.partitions = (uint32_t)atoi(strrchr(name, '-') + 1);
    config.sync = strstr(name, "-os-") ? BECK_SYNC_OS : BECK_SYNC_SYNC;
    return config;
}

/* ---- Produce ---- */
struct batch {
    beck_record records[BATCH_MAX];
    char *bytes;
    char key[16];
};

static void fill(struct batch *b, const char *topic, int thread, long seq, long count)
{
    char *at = b->bytes;
    for (long i = 0; i < count; i++) {
        int size =
            snprintf(at, 180, "%s %s.%d %ld %ld %ld ", topic, options.id, thread, seq, i, count);
        int pad = (int)((seq * 7919 + i * 104729) % options.size);
        memset(at + size, 'a' + (int)((seq + i) % 26), (size_t)pad);
        b->records[i] = (beck_record){.value = at, .value_size = (uint32_t)(size + pad)};
        at += size + pad;
    }
}

/* One append of a random kind; false when the handle is of no more use. */
static int append(struct logger *log, struct batch *b, beck_topic *topic, const char *name,
                  int thread, long seq)
{
    uint32_t partitions = config_of(name).partitions;
    long count = below(log, 2) ? 1 : 1 + below(log, options.batch);
    int where =
        options.partition >= 0 ? options.partition : (int)below(log, (long)partitions + 2) - 2;
    int64_t offset = -1;
    fill(b, name, thread, seq, count);
    int32_t target = where < 0 ? BECK_ANY_PARTITION : where;
    if (where == -1) { /* by key: the whole batch has one */
        snprintf(b->key, sizeof b->key, "k%ld", below(log, 100));
        where = beck_partition_for_key(b->key, strlen(b->key), (int32_t)partitions);
        for (long i = 0; i < count; i++) {
            b->records[i].key = b->key;
            b->records[i].key_size = (uint32_t)strlen(b->key);
        }
    }
    b->records[0].partition = target;
    long start = now();
    say(log, "I %ld %s %d %ld %ld", seq, name, where, count, start);
    beck_append_options stable = {.size = sizeof stable, .sync = BECK_SYNC_SYNC};
    /* gzip is the codec that the second reader needs no module for */
    if (below(log, 2) == 0 && beck_compression_check(BECK_COMPRESSION_GZIP) == BECK_OK)
        stable.compression = BECK_COMPRESSION_GZIP;
    int rc, kind = (int)below(log, 8);
    if (kind == 0) {
        rc = beck_append_with(topic, target, b->records, (size_t)count, &stable, &offset);
    } else if (count == 1 && kind < 5) {
        rc = beck_append(topic, b->records, &offset);
    } else {
        rc = beck_append_batch(topic, target, b->records, (size_t)count, &offset);
    }
    long end = now();
    if (rc < 0) {
        say(log, "E %ld %s %ld %ld %s", seq, beck_status_name(rc), start, end, beck_errmsg(db));
    } else {
        say(log, "A %ld %lld %ld %ld", seq, (long long)offset, start, end);
    }
    return rc >= 0;
}

static void *produce(void *argument)
{
    int thread = (int)(intptr_t)argument;
    struct logger log;
    beck_topic *topics[TOPICS_MAX] = {0};
    struct batch *b = calloc(1, sizeof *b);
    b->bytes = malloc((size_t)BATCH_MAX * (size_t)(options.size + 200));
    open_log(&log, thread);
    for (long seq = 0; !stopping && (options.life == 0 || seq < options.life); seq++) {
        long which = below(&log, options.topic_count), start = now();
        const char *name = options.topics[which];
        if (topics[which] == NULL) {
            beck_topic_config config = config_of(name);
            if (failed(&log, "topic_open", beck_topic_open(db, name, &config, &topics[which])))
                break;
            slow(&log, "topic_open", start);
        }
        if (!append(&log, b, topics[which], name, thread, seq)) break;
        if (options.sync > 0 && below(&log, options.sync) == 0) {
            start = now();
            if (failed(&log, "sync", beck_sync(db))) break;
            slow(&log, "sync", start);
        }
        if (options.pause > 0) sleep_us(below(&log, options.pause));
    }
    say(&log, "X");
    free(b->bytes);
    free(b);
    return NULL;
}

static void run_producers(void)
{
    pthread_t threads[64];
    for (int i = 1; i < options.threads; i++) {
        if (pthread_create(&threads[i], NULL, produce, (void *)(intptr_t)i) != 0) abort();
    }
    produce(NULL);
    for (int i = 1; i < options.threads; i++) pthread_join(threads[i], NULL);
}

/* ---- Consume ---- */
static void log_gap(struct logger *log, beck_consumer *consumer)
{
    beck_event_info event = {.size = sizeof event};
    if (failed(log, "event", beck_event(consumer, &event))) return;
    say(log, "G %s %d %lld %lld %d", event.topic, event.partition, (long long)event.from,
        (long long)event.to, event.cause);
}

static void log_records(struct logger *log, const beck_record *records, size_t count)
{
    unsigned crc = 0;
    for (size_t i = 0; i < count; i++) {
        crc = crc32_of(crc, records[i].value, records[i].value_size);
        if (i > 0 && records[i].offset != records[i - 1].offset + 1) {
            say(log, "S HOLE poll %lld after %lld", (long long)records[i].offset,
                (long long)records[i - 1].offset);
        }
    }
    say(log, "R %s %d %lld %zu %u", records[0].topic, records[0].partition,
        (long long)records[0].offset, count, crc);
}

/* One consumer from open to close; false when the worker should end. */
static int consume_once(struct logger *log, long polls)
{
    static const uint32_t starts[] = {BECK_START_BEGINNING, BECK_START_END, BECK_START_LAST,
                                      BECK_START_LAST};
    beck_consumer *consumer = NULL;
    beck_consumer_config config = {.size = sizeof config,
                                   .topics = (const char *const *)options.topics,
                                   .topic_count = (size_t)options.topic_count,
                                   .partitions = options.partition < 0 ? NULL : &options.partition,
                                   .partition_count = options.partition >= 0,
                                   .flags = below(log, 4) == 0 ? BECK_CONSUME_COPY : 0,
                                   .start_value = 200};
    config.start = options.reread ? BECK_START_BEGINNING : starts[below(log, 4)];
    if (config.start != BECK_START_LAST) config.start_value = 0;
    long start = now();
    int rc = beck_consumer_open(db, &config, &consumer);
    if (rc == BECK_NOT_FOUND) { /* nobody has created it yet */
        sleep_us(2000);
        return 1;
    }
    if (failed(log, "consumer_open", rc)) return 0;
    slow(log, "consumer_open", start);
    say(log, "O %u", config.start);
    for (long i = 0; rc >= 0 && !stopping && i < polls; i++) {
        const beck_record *records;
        size_t count = 0;
        start = now();
        rc = beck_poll(consumer, 1 + (size_t)below(log, 100), options.reread ? 0 : 20, &records,
                       &count);
        slow(log, "poll", start);
        if (rc == BECK_EVENT)
            log_gap(log, consumer);
        else if (!failed(log, "poll", rc) && count > 0)
            log_records(log, records, count);
        else if (options.reread)
            break;
        if (options.pause > 0) sleep_us(below(log, options.pause));
    }
    beck_consumer_close(consumer);
    return rc >= 0;
}

static void run_consumer(void)
{
    struct logger log;
    open_log(&log, 0);
    for (long i = 0; !stopping && (options.life == 0 || i < options.life); i++) {
        if (!consume_once(&log, options.reread ? 50 : 1 + below(&log, 400))) break;
        if (options.reread) say(&log, "P %ld", now());
    }
    say(&log, "X");
}

/* ---- Churn: topics that come and go ---- */
/* Everything a topic of this name holds must begin with its name, also after space was reused. */
static void churn_read(struct logger *log, const char *name)
{
    beck_consumer *consumer = NULL;
    beck_consumer_config config = {.size = sizeof config, .topics = &name, .topic_count = 1};
    int rc = beck_consumer_open(db, &config, &consumer);
    size_t count = 1, total = 0;
    for (int i = 0; rc >= 0 && count > 0 && i < 100; i++) {
        const beck_record *records;
        rc = beck_poll(consumer, 50, 0, &records, &count);
        for (size_t r = 0; rc == BECK_OK && r < count; r++, total++) {
            if (records[r].value_size <= strlen(name) ||
                memcmp(records[r].value, name, strlen(name)) != 0) {
                say(log, "S FOREIGN churn %s offset %lld: %.40s", name,
                    (long long)records[r].offset, (const char *)records[r].value);
            }
        }
        if (rc == BECK_EVENT) count = 1;
    }
    if (rc < 0 && rc != BECK_NOT_FOUND && rc != BECK_DELETED) failed(log, "churn_read", rc);
    beck_consumer_close(consumer);
}

/* Logs C before and c after a creation, D and d around a deletion, with the status. */
static int churn_once(struct logger *log, struct batch *b, long seq)
{
    char name[64];
    int shared = below(log, 2) == 0, rc = BECK_OK;
    if (shared)
        snprintf(name, sizeof name, "shared-os-%ld", 1 + below(log, 3));
    else
        snprintf(name, sizeof name, "own-%s-%ld-os-%ld", options.id, seq, 1 + below(log, 3));
    beck_topic_config config = config_of(name);
    beck_topic *topic = NULL;
    long start = now();
    say(log, "C %s", name);
    rc = beck_topic_create(db, name, &config);
    say(log, "c %s %s", name, beck_status_name(rc));
    slow(log, "topic_create", start);
    if (rc < 0 && rc != BECK_EXISTS) return !failed(log, "topic_create", rc);
    rc = beck_topic_open(db, name, &config, &topic);
    long appends = rc < 0 ? 0 : below(log, 20);
    for (long i = 0; rc >= 0 && i < appends; i++) {
        long count = 1 + below(log, options.batch);
        fill(b, name, 0, seq, count);
        start = now();
        rc = beck_append_batch(topic, BECK_ANY_PARTITION, b->records, (size_t)count, NULL);
        slow(log, "append", start);
    }
    if (rc < 0 && !(shared && (rc == BECK_DELETED || rc == BECK_NOT_FOUND))) {
        return !failed(log, "churn_append", rc);
    }
    churn_read(log, name);
    if (below(log, 4) == 0) return 1;
    start = now();
    say(log, "D %s", name);
    rc = beck_topic_delete(db, name);
    say(log, "d %s %s", name, beck_status_name(rc));
    slow(log, "topic_delete", start);
    if (rc < 0 && !(shared && rc == BECK_NOT_FOUND)) return !failed(log, "topic_delete", rc);
    beck_record *record = &b->records[0];
    if (!shared && topic != NULL && beck_append(topic, record, NULL) != BECK_DELETED) {
        say(log, "S ALIVE churn append to the deleted topic %s", name);
    }
    return 1;
}

static void run_churn(void)
{
    struct logger log;
    struct batch *b = calloc(1, sizeof *b);
    b->bytes = malloc((size_t)BATCH_MAX * (size_t)(options.size + 200));
    open_log(&log, 0);
    for (long i = 0; !stopping && (options.life == 0 || i < options.life); i++) {
        if (!churn_once(&log, b, i)) break;
        if (options.pause > 0) sleep_us(below(&log, options.pause));
    }
    say(&log, "X");
    free(b->bytes);
    free(b);
}

/* ---- Main ---- */
static int parse(int count, char **arguments)
{
    if (count < 3) return 0;
    options.kind = arguments[0];
    options.file = arguments[1];
    options.log = arguments[2];
    options.id = strrchr(options.log, '/') ? strrchr(options.log, '/') + 1 : options.log;
    for (int i = 3; i < count; i++) {
        char *value = strchr(arguments[i], '=');
        if (value == NULL) return 0;
        *value++ = 0;
        const char *name = arguments[i];
        long number = atol(value);
        if (strcmp(name, "topic") == 0 && options.topic_count < TOPICS_MAX) {
            options.topics[options.topic_count++] = value;
        } else if (strcmp(name, "threads") == 0 && number <= 64)
            options.threads = (int)number;
        else if (strcmp(name, "life") == 0)
            options.life = number;
        else if (strcmp(name, "pause") == 0)
            options.pause = number;
        else if (strcmp(name, "batch") == 0 && number <= BATCH_MAX)
            options.batch = number;
        else if (strcmp(name, "size") == 0 && number > 0)
            options.size = number;
        else if (strcmp(name, "segment") == 0)
            options.segment = number;
        else if (strcmp(name, "partition") == 0)
            options.partition = (int)number;
        else if (strcmp(name, "reread") == 0)
            options.reread = (int)number;
        else if (strcmp(name, "readonly") == 0)
            options.readonly = (int)number;
        else if (strcmp(name, "sync") == 0)
            options.sync = number;
        else if (strcmp(name, "seed") == 0)
            options.seed = (unsigned)number;
        else
            return 0;
    }
    return 1;
}

int main(int count, char **arguments)
{
    struct logger log;
    if (!parse(count - 1, arguments + 1)) {
        fprintf(stderr, "worker: wrong arguments\n");
        return 64;
    }
    signal(SIGTERM, on_term);
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* a test that fails leaves nobody behind */
    open_log(&log, 99);
    beck_options open_options = {.size = sizeof open_options,
                                 .flags = options.readonly ? BECK_OPEN_READONLY : 0};
    long start = now();
    int rc = beck_open(options.file, &open_options, &db);
    slow(&log, "open", start);
    if (!failed(&log, "open", rc)) {
        if (*beck_recovery_report(db)) say(&log, "V %s", beck_recovery_report(db));
        if (strcmp(options.kind, "produce") == 0)
            run_producers();
        else if (strcmp(options.kind, "consume") == 0)
            run_consumer();
        else
            run_churn();
    }
    start = now();
    rc = beck_close(db);
    slow(&log, "close", start);
    if (rc < 0) say(&log, "S %s close", beck_status_name(rc));
    return 0;
}
