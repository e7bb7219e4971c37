/* worker.c -- a process that produces, consumes, churns or audits until it is killed, and logs it
 *
 *     worker produce|consume|churn|audit FILE LOG [NAME=VALUE]...
 *
 * A log is written with O_APPEND, one write a line: it tells the truth after a SIGKILL. Times are
 * microseconds of CLOCK_MONOTONIC. Every thread has a log of its own, LOG.N; test/history.py judges
 * them all:
 *     T topic id start end         from here on `topic` means that life of it
 *     I seq topic partition count start class   about to append (partition -2: anywhere)
 *     A seq offset start end       acknowledged
 *     E seq status start end text  refused
 *     Y start end                  a sync of the whole file
 *     C topic start, c topic status end         a creation; D, d: a deletion
 * A consumer logs what it saw:
 *     U kind from to               not a usual consumer: audit, look, copy, crash, known
 *     O start begun                opened, where to start; every position is told anew:
 *     B topic partition position
 *     R topic partition first start end producer:seq:index:size:count...   a poll, by batches
 *     Z start end                  a poll that did not wait and found nothing
 *     G topic partition from to cause           a gap
 *     W topic partition offset text             bytes that nobody appends
 *     P time                       a pass from the beginning is over
 * All: `S status what text` for a failed call, `L what microseconds` for a slow one, `M what` for
 * what is only counted, `X` last.
 * A value is "topic producer seq index count padding", the producer is the name of its log;
 * test/harness.py makes the same. A key belongs to its seq. */
#include "beck.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { TOPICS_MAX = 16, THREADS_MAX = 64, BATCH_MAX = 1000, SLOW_US = 50000 };
enum { MAIN_LOG = 99, FORK_LOG = 1000, PREFORK_LOG = 100, CHILDREN_MAX = 8 };

struct options {
    const char *kind, *file, *log, *id;
    char *topics[TOPICS_MAX];
    int topic_count;
    long threads;   /* of a producer, on one handle; the first is the main thread */
    long life;      /* operations before a regular end; 0 = until SIGTERM */
    long pause;     /* microseconds between operations, at most */
    long batch;     /* largest batch */
    long size;      /* largest padding */
    long segment;   /* segment.bytes of new topics */
    long flush;     /* flush.ms of new topics */
    long partition; /* -1: mixed */
    long sync;      /* one append in so many is followed by beck_sync; 0 = none */
    long reread;    /* a consumer that begins again after 50 polls, never waiting */
    long readonly;
    long again;    /* after a life the file is closed and opened again, for another one */
    long stubborn; /* goes on after FULL, DELETED and NOT_FOUND */
    long codecs;   /* any codec of this build instead of gzip */
    long clock;    /* one append in so many lets the handle's clock jump; 0 = the system's */
    long fork;     /* one append in so many is followed by a fork */
    long prefork;  /* so many children, each with a handle of its own, do the work */
    long hold;     /* microseconds, at most, that a consumer sometimes looks at a poll's records */
    long skew;     /* microseconds that CLOCK_MONOTONIC is ahead, in a time namespace */
    long fsize;    /* RLIMIT_FSIZE */
    long copy;     /* an audit of a copy (1), not the last one (2), after a power loss (3) */
    long from, to; /* which was between these times */
    long seed;
};

struct logger {
    int fd, thread;
    unsigned random;
};

static struct options options = {.threads = 1, .batch = 1, .size = 100, .partition = -1};
static beck *db;
static volatile sig_atomic_t stopping;
static _Atomic long clock_step; /* milliseconds */
static int first_log;           /* of a preforked child: its threads' logs begin here */
static long sequences[THREADS_MAX];
static pid_t children[CHILDREN_MAX]; /* preforked */

static void on_term(int number)
{
    stopping = 1;
    for (int i = 0; i < CHILDREN_MAX; i++) {
        if (children[i] > 0) kill(children[i], number);
    }
}

/* ---- Small things ---- */
static long now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000L + t.tv_nsec / 1000 - options.skew;
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

/* A child ends with its parent, also when that is dead by now. */
static void end_with(pid_t parent)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(0);
}

static int one_in(struct logger *log, long many)
{
    return many > 0 && below(log, many) == 0;
}

static void write_line(struct logger *log, char *line, int size, int room)
{
    if (size > room - 2) size = room - 2;
    line[size++] = '\n';
    if (write(log->fd, line, (size_t)size) != size) abort();
}

static void say(struct logger *log, const char *format, ...)
{
    char line[1024];
    va_list args;
    va_start(args, format);
    int size = vsnprintf(line, sizeof line - 1, format, args);
    va_end(args);
    write_line(log, line, size, sizeof line);
}

static void open_log(struct logger *log, int thread)
{
    char path[4096];
    snprintf(path, sizeof path, "%s.%d", options.log, thread);
    log->fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    log->thread = thread;
    log->random = (unsigned)options.seed * 2654435761u + (unsigned)thread * 97u;
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

/* May a worker go on after this? */
static int goes_on(int rc)
{
    int passing = rc == BECK_FULL || rc == BECK_DELETED || rc == BECK_NOT_FOUND;
    return rc >= 0 || (options.stubborn && passing);
}

/* A topic's name ends in its number of partitions and holds its class: "storm-sync-4". */
static beck_topic_config config_of(const char *name)
{
    beck_topic_config config = {.size = sizeof config,
                                .segment_bytes = (uint32_t)options.segment,
                                .flush_ms = (uint32_t)options.flush};
    config.partitions = (uint32_t)atoi(strrchr(name, '-') + 1);
    config.sync = strstr(name, "-os-") ? BECK_SYNC_OS : BECK_SYNC_SYNC;
    return config;
}

/* The id of this life of a topic; 0: there is none. */
static unsigned long long life_of(const char *name)
{
    const beck_topic_info *info;
    return beck_topic_describe(db, name, &info) == BECK_OK ? (unsigned long long)info->id : 0;
}

/* What time it is by a clock that jumps. */
static int64_t jumping_clock(void *context)
{
    struct timespec t;
    (void)context;
    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000 + atomic_load(&clock_step);
}

static void jump(struct logger *log)
{
    static const long hours[] = {0, 1, -1, 24, -24, 24 * 365 * 70, -24 * 365 * 50};
    long step = hours[below(log, sizeof hours / sizeof *hours)] * 3600000;
    atomic_store(&clock_step, step);
    say(log, "M clock steps");
}

static int open_file(struct logger *log)
{
    beck_options open_options = {.size = sizeof open_options,
                                 .flags = options.readonly ? BECK_OPEN_READONLY : 0,
                                 .clock = options.clock ? jumping_clock : NULL};
    long start = now();
    int rc = beck_open(options.file, &open_options, &db);
    slow(log, "open", start);
    if (!failed(log, "open", rc)) {
        say(log, "M opens");
        if (*beck_recovery_report(db)) say(log, "V %s", beck_recovery_report(db));
    }
    return rc;
}

static int close_file(struct logger *log)
{
    long start = now();
    int rc = beck_close(db);
    db = NULL;
    slow(log, "close", start);
    if (rc < 0) say(log, "S %s close", beck_status_name(rc));
    return rc;
}

/* ---- Values ---- */
struct batch {
    beck_record records[BATCH_MAX];
    char *bytes;
    char key[16];
};

static struct batch *new_batch(void)
{
    struct batch *b = calloc(1, sizeof *b);
    b->bytes = malloc((size_t)BATCH_MAX * (size_t)(options.size + 200));
    return b;
}

static void free_batch(struct batch *b)
{
    free(b->bytes);
    free(b);
}

struct mark { /* what a value says of itself */
    char topic[64], producer[64];
    long seq, index, count;
};

static int value_of(char *at, const struct mark *m)
{
    int size =
        snprintf(at, 180, "%s %s %ld %ld %ld ", m->topic, m->producer, m->seq, m->index, m->count);
    int pad = (int)((m->seq * 7919 + m->index * 104729) % options.size);
    memset(at + size, 'a' + (int)((m->seq + m->index) % 26), (size_t)pad);
    return size + pad;
}

static void key_of(char key[16], long seq)
{
    snprintf(key, 16, "k%ld", seq * 31 % 100);
}

static void fill(struct batch *b, struct mark *m)
{
    char *at = b->bytes;
    for (m->index = 0; m->index < m->count; m->index++) {
        int size = value_of(at, m);
        b->records[m->index] = (beck_record){.value = at, .value_size = (uint32_t)size};
        at += size;
    }
}

/* Is it what somebody appends to this topic, to the last byte? */
static int understand(const beck_record *r, struct mark *m)
{
    static _Thread_local char *want;
    char head[200], key[16];
    size_t size = r->value_size < sizeof head - 1 ? r->value_size : sizeof head - 1;
    if (r->value == NULL) return 0;
    if (want == NULL) want = malloc((size_t)options.size + 200);
    memcpy(head, r->value, size);
    head[size] = 0;
    if (sscanf(head, "%63s %63s %ld %ld %ld ", m->topic, m->producer, &m->seq, &m->index,
               &m->count) != 5)
        return 0;
    key_of(key, m->seq);
    int keyed =
        r->key == NULL || (r->key_size == strlen(key) && memcmp(r->key, key, r->key_size) == 0);
    return keyed && m->seq >= 0 && m->index >= 0 && value_of(want, m) == (int)r->value_size &&
           memcmp(want, r->value, r->value_size) == 0;
}

/* ---- Produce ---- */
/* One append of a random kind; its status. */
static int append(struct logger *log, struct batch *b, beck_topic *topic, const char *name,
                  long seq)
{
    uint32_t partitions = config_of(name).partitions;
    int fixed = strstr(name, "grow") == NULL; /* the others get more partitions */
    int where = options.partition >= 0 && fixed ? (int)options.partition
                                                : (int)below(log, (long)partitions + 2) - 2;
    struct mark mark = {.seq = seq, .count = below(log, 2) ? 1 : 1 + below(log, options.batch)};
    int64_t offset = -1;
    snprintf(mark.topic, sizeof mark.topic, "%s", name);
    snprintf(mark.producer, sizeof mark.producer, "%s.%d", options.id, log->thread);
    fill(b, &mark);
    int32_t target = where < 0 ? BECK_ANY_PARTITION : where;
    if (where == -1) { /* by key: the whole batch has one */
        key_of(b->key, seq);
        where = fixed ? beck_partition_for_key(b->key, strlen(b->key), (int32_t)partitions) : -2;
        for (long i = 0; i < mark.count; i++) {
            b->records[i].key = b->key;
            b->records[i].key_size = (uint32_t)strlen(b->key);
        }
    }
    b->records[0].partition = target;
    beck_append_options with = {.size = sizeof with, .sync = BECK_SYNC_SYNC};
    /* gzip is the codec that the second reader needs no module for */
    uint32_t codec = options.codecs ? (uint32_t)below(log, 5) + 1 : BECK_COMPRESSION_GZIP;
    if (below(log, 2) == 0 && beck_compression_check(codec) == BECK_OK) with.compression = codec;
    int rc, kind = (int)below(log, 8);
    if (kind == 0 && below(log, 2)) with.sync = BECK_SYNC_DEFAULT;
    long start = now();
    say(log, "I %ld %s %d %ld %ld %s", seq, name, where, mark.count, start,
        kind == 0 && with.sync == BECK_SYNC_SYNC ? "sync" : "-");
    if (kind == 0) {
        rc = beck_append_with(topic, target, b->records, (size_t)mark.count, &with, &offset);
    } else if (mark.count == 1 && kind < 5) {
        rc = beck_append(topic, b->records, &offset);
    } else {
        rc = beck_append_batch(topic, target, b->records, (size_t)mark.count, &offset);
    }
    long end = now();
    if (rc < 0) {
        say(log, "E %ld %s %ld %ld %s", seq, beck_status_name(rc), start, end, beck_errmsg(db));
    } else {
        say(log, "A %ld %lld %ld %ld", seq, (long long)offset, start, end);
    }
    return rc;
}

/* Open a topic, and say which life of it this is. */
static int open_topic(struct logger *log, const char *name, beck_topic **topic)
{
    beck_topic_config config = config_of(name);
    unsigned long long before, after;
    long start = now();
    for (int tries = 0; tries < 100; tries++) {
        before = life_of(name);
        int rc = beck_topic_open(db, name, &config, topic);
        if (rc == BECK_DELETED || rc == BECK_NOT_FOUND) continue;
        if (failed(log, "topic_open", rc)) return rc;
        after = life_of(name);
        if (before == after && after != 0) {
            slow(log, "topic_open", start);
            say(log, "T %s %llu %ld %ld", name, after, start, now());
            return BECK_OK;
        }
    }
    *topic = NULL;
    return BECK_OK; /* it comes and goes: another time */
}

static int sync_file(struct logger *log)
{
    long start = now();
    int rc = beck_sync(db);
    slow(log, "sync", start);
    if (!failed(log, "sync", rc)) say(log, "Y %ld %ld", start, now());
    return rc;
}

static void forks(struct logger *log, beck_topic *topic, const char *name);

static int produce_one(struct logger *log, struct batch *b, beck_topic **topics, long seq)
{
    long which = below(log, options.topic_count);
    const char *name = options.topics[which];
    if (topics[which] == NULL) {
        int rc = open_topic(log, name, &topics[which]);
        if (rc < 0 || topics[which] == NULL) return rc;
    }
    int rc = append(log, b, topics[which], name, seq);
    if (rc == BECK_DELETED) topics[which] = NULL;
    if (rc == BECK_FULL) sleep_us(20000);
    if (rc >= 0 && one_in(log, options.sync)) rc = sync_file(log);
    if (one_in(log, options.clock)) jump(log);
    if (rc >= 0 && one_in(log, options.fork)) forks(log, topics[which], name);
    return rc;
}

static void *produce(void *argument)
{
    int thread = (int)(intptr_t)argument;
    struct logger log;
    beck_topic *topics[TOPICS_MAX] = {0};
    struct batch *b = new_batch();
    open_log(&log, first_log + thread);
    long *seq = &sequences[thread], end = options.life ? *seq + options.life : 0;
    log.random += (unsigned)*seq;
    for (; !stopping && (end == 0 || *seq < end); ++*seq) {
        if (!goes_on(produce_one(&log, b, topics, *seq))) break;
        if (options.pause > 0) sleep_us(below(&log, options.pause));
    }
    ++*seq; /* the last one may have been used */
    say(&log, "X");
    close(log.fd);
    free_batch(b);
    return NULL;
}

static void run_producers(void)
{
    pthread_t threads[THREADS_MAX];
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

/* One line a poll, one word for the records of a batch that follow each other. */
static void log_records(struct logger *log, const beck_record *records, size_t count,
                        const long times[2])
{
    char line[64 * 1024];
    struct mark m, run = {.seq = -1};
    long size = 0;
    int at = snprintf(line, 256, "R %s %d %lld %ld %ld", records[0].topic, records[0].partition,
                      (long long)records[0].offset, times[0], times[1]);
    for (size_t i = 0; i <= count; i++) {
        int known = i < count && understand(&records[i], &m);
        if (i < count && (!known || strcmp(m.topic, records[i].topic) != 0)) {
            say(log, "W %s %d %lld %.*s", records[i].topic, records[i].partition,
                (long long)records[i].offset,
                records[i].value_size < 80 ? (int)records[i].value_size : 80,
                records[i].value ? (const char *)records[i].value : "null");
        }
        if (i > 0 && i < count && records[i].offset != records[i - 1].offset + 1) {
            say(log, "S HOLE poll %lld after %lld", (long long)records[i].offset,
                (long long)records[i - 1].offset);
        }
        if (known && m.seq == run.seq && m.index == run.index + size && m.count == run.count &&
            strcmp(m.producer, run.producer) == 0) {
            size++;
            continue;
        }
        if (size > 0) {
            at += snprintf(line + at, 256, " %s:%ld:%ld:%ld:%ld", run.producer, run.seq, run.index,
                           size, run.count);
        }
        run = m;
        size = known;
    }
    write_line(log, line, at, sizeof line);
}

/* Open a consumer of one life of each topic and say where it begins. */
static int open_consumer(struct logger *log, beck_consumer_config *config, beck_consumer **consumer)
{
    unsigned long long lives[TOPICS_MAX];
    long start = now();
    for (size_t i = 0; i < config->topic_count; i++) lives[i] = life_of(config->topics[i]);
    int rc = beck_consumer_open(db, config, consumer);
    for (size_t i = 0; rc == BECK_OK && i < config->topic_count; i++) {
        if (lives[i] == 0 || lives[i] != life_of(config->topics[i])) rc = BECK_NOT_FOUND;
    }
    if (rc == BECK_NOT_FOUND || rc == BECK_DELETED) {
        beck_consumer_close(*consumer);
        *consumer = NULL;
        return BECK_NOT_FOUND;
    }
    if (failed(log, "consumer_open", rc)) return rc;
    slow(log, "consumer_open", start);
    for (size_t i = 0; i < config->topic_count; i++)
        say(log, "T %s %llu %ld %ld", config->topics[i], lives[i], start, now());
    say(log, "O %u %ld", config->start, start);
    for (size_t i = 0; i < config->topic_count; i++) {
        int64_t position;
        const char *name = config->topics[i];
        for (int32_t p = 0; beck_position(*consumer, name, p, &position) == BECK_OK; p++)
            say(log, "B %s %d %lld", name, p, (long long)position);
    }
    return BECK_OK;
}

/* One poll, and what came of it; *idle: the last one found nothing. */
static int poll_once(struct logger *log, beck_consumer *consumer, int wait, int *idle)
{
    const beck_record *records;
    size_t count = 0;
    long start = now();
    int rc = beck_poll(consumer, 1 + (size_t)below(log, 100), *idle ? 0 : wait, &records, &count);
    long end = now();
    slow(log, "poll", start);
    if (rc == BECK_EVENT) {
        log_gap(log, consumer);
    } else if (!failed(log, "poll", rc) && count > 0) {
        if (options.hold > 0 && one_in(log, 10)) sleep_us(below(log, options.hold));
        log_records(log, records, count, (const long[]){start, end});
    } else if (rc == BECK_OK && (wait == 0 || *idle)) {
        say(log, "Z %ld %ld", start, now());
    }
    int nothing = rc == BECK_OK && count == 0;
    *idle = wait > 0 && nothing && !*idle; /* look once more, for what is promised there */
    return rc < 0 ? rc : nothing;
}

/* One consumer from open to close; its status, 1 when it came to the end. */
static int consume_once(struct logger *log, long polls)
{
    static const uint32_t starts[] = {BECK_START_BEGINNING, BECK_START_END, BECK_START_LAST,
                                      BECK_START_LAST};
    beck_consumer *consumer = NULL;
    int32_t partition = (int32_t)options.partition;
    beck_consumer_config config = {.size = sizeof config,
                                   .topics = (const char *const *)options.topics,
                                   .topic_count = (size_t)options.topic_count,
                                   .partitions = partition < 0 ? NULL : &partition,
                                   .partition_count = partition >= 0,
                                   .flags = below(log, 4) == 0 ? BECK_CONSUME_COPY : 0,
                                   .start_value = 200};
    config.start = options.reread ? BECK_START_BEGINNING : starts[below(log, 4)];
    if (config.start != BECK_START_LAST) config.start_value = 0;
    int rc = open_consumer(log, &config, &consumer), idle = 0;
    if (rc == BECK_NOT_FOUND) { /* nobody has created it yet, or somebody deletes it */
        sleep_us(2000);
        return BECK_OK;
    }
    for (long i = 0; rc >= 0 && !stopping && i < polls; i++) {
        rc = poll_once(log, consumer, options.reread ? 0 : 20, &idle);
        if (rc > 0 && options.reread) break;
        if (options.pause > 0) sleep_us(below(log, options.pause));
    }
    beck_consumer_close(consumer);
    return rc;
}

static void run_consumer(void)
{
    struct logger log;
    open_log(&log, first_log);
    log.random += (unsigned)sequences[0]++;
    for (long i = 0; !stopping && (options.life == 0 || i < options.life); i++) {
        if (!goes_on(consume_once(&log, options.reread ? 50 : 1 + below(&log, 400)))) break;
        if (options.reread) say(&log, "P %ld", now());
    }
    say(&log, "X");
    close(log.fd);
}

/* Everything of one topic, from its beginning. */
static int read_all(struct logger *log, const char *name)
{
    beck_consumer *consumer = NULL;
    beck_consumer_config config = {.size = sizeof config, .topics = &name, .topic_count = 1};
    int rc = open_consumer(log, &config, &consumer), idle = 0;
    while (rc == BECK_OK) rc = poll_once(log, consumer, 0, &idle);
    beck_consumer_close(consumer);
    return rc;
}

static void run_audit(void)
{
    struct logger log;
    const beck_topic_info *const *topics;
    size_t count = 0;
    char(*names)[BECK_TOPIC_NAME_MAX + 1];
    open_log(&log, 0);
    static const char *const kinds[] = {"audit", "copy", "look", "crash"};
    say(&log, "U %s %ld %ld", kinds[options.copy], options.from, options.to);
    if (failed(&log, "topic_list", beck_topic_list(db, &topics, &count))) return;
    names = calloc(count + 1, sizeof *names);
    for (size_t i = 0; i < count; i++) memcpy(names[i], topics[i]->name, strlen(topics[i]->name));
    for (size_t i = 0; i < count; i++) {
        if (read_all(&log, names[i]) < 0) break;
    }
    free(names);
    say(&log, "X");
}

/* ---- Churn: topics that come and go ---- */
static int log_create(struct logger *log, const char *name)
{
    beck_topic_config config = config_of(name);
    long start = now();
    say(log, "C %s %ld", name, start);
    int rc = beck_topic_create(db, name, &config);
    say(log, "c %s %s %ld", name, beck_status_name(rc), now());
    slow(log, "topic_create", start);
    return rc < 0 && rc != BECK_EXISTS && failed(log, "topic_create", rc) ? rc : BECK_OK;
}

static int log_delete(struct logger *log, const char *name)
{
    long start = now();
    say(log, "D %s %ld", name, start);
    int rc = beck_topic_delete(db, name);
    say(log, "d %s %s %ld", name, beck_status_name(rc), now());
    slow(log, "topic_delete", start);
    return rc < 0 && rc != BECK_NOT_FOUND && failed(log, "topic_delete", rc) ? rc : BECK_OK;
}

/* More partitions, another segment size. */
static int alter(struct logger *log, const char *name)
{
    beck_topic_config config = {.size = sizeof config,
                                .segment_bytes = 16384u << below(log, 5),
                                .partitions = (uint32_t)(4 + below(log, 5))};
    int rc = beck_topic_alter(db, name, &config);
    if (rc == BECK_INVALID || rc == BECK_NOT_FOUND) return BECK_OK; /* fewer; or it is gone */
    if (!failed(log, "topic_alter", rc)) say(log, "M topics altered");
    return rc;
}

static int churn_once(struct logger *log, struct batch *b, long seq)
{
    char name[64];
    int shared = below(log, 2) == 0;
    beck_topic *topic = NULL;
    if (shared) {
        const char *kind = below(log, 2) ? "shared" : "grow";
        snprintf(name, sizeof name, "%s-os-%ld", kind, 1 + below(log, 3));
    } else {
        snprintf(name, sizeof name, "own-%s.%d-%ld-os-%ld", options.id, log->thread, seq,
                 1 + below(log, 3));
    }
    int rc = log_create(log, name);
    if (rc >= 0) rc = open_topic(log, name, &topic);
    long appends = topic == NULL ? 0 : below(log, 20);
    for (long i = 0; rc >= 0 && i < appends; i++) {
        rc = append(log, b, topic, name, seq * 20 + i);
        if (i == 10 && rc >= 0 && strncmp(name, "grow", 4) == 0) rc = alter(log, name);
    }
    if (rc < 0 && !(shared && rc == BECK_DELETED)) return rc;
    rc = read_all(log, name);
    if (rc < 0 && !(shared && (rc == BECK_DELETED || rc == BECK_NOT_FOUND))) return rc;
    if (below(log, 4) == 0) return BECK_OK;
    rc = log_delete(log, name);
    if (rc < 0 || shared || topic == NULL) return rc;
    if (beck_append(topic, &b->records[0], NULL) != BECK_DELETED)
        say(log, "S ALIVE churn append to the deleted topic %s", name);
    return rc;
}

static void run_churn(void)
{
    struct logger log;
    struct batch *b = new_batch();
    open_log(&log, first_log);
    long *seq = &sequences[0], end = options.life ? *seq + options.life : 0;
    log.random += (unsigned)*seq;
    for (; !stopping && (end == 0 || *seq < end); ++*seq) {
        if (!goes_on(churn_once(&log, b, *seq))) break;
        if (options.pause > 0) sleep_us(below(&log, options.pause));
    }
    ++*seq;
    say(&log, "X");
    close(log.fd);
    free_batch(b);
}

/* ---- Fork ---- */
static void expect_forked(struct logger *log, const char *what, int rc)
{
    if (rc != BECK_FORKED) say(log, "S ALIVE forked %s %s", what, beck_status_name(rc));
}

/* A child that goes on: it opens the file for itself. */
static void own_handle(const char *name)
{
    struct logger log;
    beck_topic *topic = NULL;
    open_log(&log, FORK_LOG + (int)(getpid() % 1000000));
    if (open_file(&log) == BECK_OK) {
        struct batch *b = new_batch();
        if (open_topic(&log, name, &topic) == BECK_OK && topic != NULL)
            append(&log, b, topic, name, 0);
        close_file(&log);
    }
    say(&log, "X");
}

/* A child that knows no better than to use what it inherited, and ends in one of all manners. */
static void forked(struct logger *log, beck_topic *topic, const char *name, long manner)
{
    beck_record record = {.value = "forked", .value_size = 6};
    beck_topic *other = NULL;
    expect_forked(log, "append", beck_append(topic, &record, NULL));
    expect_forked(log, "sync", beck_sync(db));
    expect_forked(log, "topic_open", beck_topic_open(db, name, NULL, &other));
    if (manner == 0) raise(SIGKILL);
    if (manner == 1) abort();
    if (manner == 2) execl("/bin/true", "true", (char *)NULL);
    if (manner == 3) exit(0);
    if (manner > 3) beck_close(db);
    if (manner > 4) own_handle(name);
    _exit(0);
}

static void forks(struct logger *log, beck_topic *topic, const char *name)
{
    long manner = below(log, 7);
    int status;
    if (topic == NULL) return;
    pid_t parent = getpid(), child = fork();
    if (child == 0) end_with(parent);
    if (child == 0) forked(log, topic, name, manner);
    if (child < 0) return;
    say(log, "M forks");
    while (waitpid(child, &status, 0) < 0) {
        if (stopping) return;
    }
    int by = manner == 0 ? SIGKILL : manner == 1 ? SIGABRT : 0;
    if (WIFSIGNALED(status) ? WTERMSIG(status) != by : by != 0 || WEXITSTATUS(status) != 0)
        say(log, "S CHILD forked, and ended with %d instead of %d", status, by);
}

/* ---- Main ---- */
static const struct {
    const char *name;
    long *value, least, most;
} numbers[] = {
    {"threads", &options.threads, 1, THREADS_MAX},
    {"life", &options.life, 0, 1L << 40},
    {"pause", &options.pause, 0, 1L << 40},
    {"batch", &options.batch, 1, BATCH_MAX},
    {"size", &options.size, 1, 1L << 20},
    {"segment", &options.segment, 0, 1L << 30},
    {"flush", &options.flush, 0, 1L << 30},
    {"partition", &options.partition, -1, 1024},
    {"sync", &options.sync, 0, 1L << 30},
    {"reread", &options.reread, 0, 1},
    {"readonly", &options.readonly, 0, 1},
    {"again", &options.again, 0, 1},
    {"stubborn", &options.stubborn, 0, 1},
    {"codecs", &options.codecs, 0, 1},
    {"clock", &options.clock, 0, 1L << 30},
    {"fork", &options.fork, 0, 1L << 30},
    {"prefork", &options.prefork, 0, CHILDREN_MAX},
    {"hold", &options.hold, 0, 1L << 40},
    {"skew", &options.skew, 0, 1L << 60},
    {"fsize", &options.fsize, 0, 1L << 40},
    {"copy", &options.copy, 0, 3},
    {"from", &options.from, 0, 1L << 60},
    {"to", &options.to, 0, 1L << 60},
    {"seed", &options.seed, 0, 1L << 40},
};

static int parse_number(const char *name, const char *value)
{
    char *end;
    long number = strtol(value, &end, 10);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        if (strcmp(name, numbers[i].name) != 0) continue;
        *numbers[i].value = number;
        return *end == 0 && number >= numbers[i].least && number <= numbers[i].most;
    }
    return 0;
}

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
        if (strcmp(arguments[i], "topic") == 0 && options.topic_count < TOPICS_MAX) {
            options.topics[options.topic_count++] = value;
        } else if (!parse_number(arguments[i], value)) {
            return 0;
        }
    }
    return 1;
}

static void work(struct logger *log)
{
    int rc;
    do {
        rc = open_file(log);
        if (rc < 0) sleep_us(20000);
        if (rc < 0)
            ;
        else if (strcmp(options.kind, "produce") == 0)
            run_producers();
        else if (strcmp(options.kind, "consume") == 0)
            run_consumer();
        else if (strcmp(options.kind, "audit") == 0)
            run_audit();
        else
            run_churn();
        int closed = close_file(log);
        rc = rc < 0 ? rc : closed;
    } while (options.again && !stopping && goes_on(rc));
}

/* A server that forks its workers, as some do: with the file open. */
static void prefork(struct logger *log)
{
    int status;
    if (open_file(log) < 0) return;
    for (int i = 0; i < options.prefork; i++) {
        pid_t parent = getpid(), child = fork();
        if (child != 0) children[i] = child;
        if (child != 0) continue;
        memset(children, 0, sizeof children);
        end_with(parent);
        first_log = PREFORK_LOG * (i + 1);
        open_log(log, first_log + MAIN_LOG);
        work(log);
        exit(0);
    }
    for (int i = 0; i < options.prefork; i++) {
        if (children[i] <= 0) continue;
        while (waitpid(children[i], &status, 0) < 0) {
            if (stopping) kill(children[i], SIGTERM); /* it may have been born after the first */
        }
        if (status != 0) say(log, "S CHILD ended %d", status);
    }
    close_file(log);
}

int main(int count, char **arguments)
{
    struct logger log;
    struct sigaction term = {.sa_handler = on_term}; /* without SA_RESTART */
    if (!parse(count - 1, arguments + 1)) {
        fprintf(stderr, "worker: wrong arguments\n");
        return 64;
    }
    struct rlimit size = {(rlim_t)options.fsize, (rlim_t)options.fsize}, core = {0, 0};
    if (options.fsize > 0) setrlimit(RLIMIT_FSIZE, &size);
    setrlimit(RLIMIT_CORE, &core);
    signal(SIGXFSZ, SIG_IGN);
    sigaction(SIGTERM, &term, NULL);
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* a test that fails leaves nobody behind */
    open_log(&log, MAIN_LOG);
    if (options.copy == 1) say(&log, "U copy 0 0"); /* which may be refused */
    if (options.prefork)
        prefork(&log);
    else
        work(&log);
    return 0;
}
