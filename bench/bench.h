/* bench.h -- the frame: samples, bars, files, processes; and the face every store shows */
#ifndef BENCH_H
#define BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define KEY_BYTES 16
#define VALUE_BYTES 100
#define RECORD_BYTES (KEY_BYTES + VALUE_BYTES)
#define BATCH_RECORDS 1000

/* ---- Settings ---- */
struct settings {
    int rounds;        /* interleaved runs of each system */
    double seconds;    /* of a run that ends by the clock */
    uint64_t shrink;   /* divides counts of records */
    uint64_t big_file; /* bytes */
    double idle_seconds;
    char directory[512];
};
extern struct settings settings;

/* ---- Results ---- */
/* One run's outcome. Rows appear in the order of their first sample. */
void sample(const char *system, const char *metric, const char *unit, double value);
void results_begin(const char *workload);
/* Print medians of this workload and what its bars say. */
void results_end(void);
void results_heading(void);
/* How many bars were met and missed. */
void results_tally(void);
/* 0, or -1 with errno. */
int results_write_json(const char *path);
double median(double *values, size_t count);

/* ---- Time, bytes, files, processes ---- */
double now_seconds(void);
uint64_t now_ns(void);
/* KEY_BYTES of key, VALUE_BYTES of value behind it: real entropy, the same in every run. */
void payload_make(void);
const uint8_t *payload(uint64_t number);
/* A place in the directory of this run; valid until the next but three calls. */
const char *bench_path(const char *name);
/* Remove a file and the companions that peers keep beside it. */
void bench_forget(const char *path);
void directory_make(const char *parent);
void directory_remove(void);
/* Let the file system finish what earlier workloads wrote. */
void directory_settle(void);
uint64_t file_bytes(const char *path);
void pause_ms(double ms);
_Noreturn void die(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Run `body` in a child; it never returns to the caller's code. */
pid_t spawn(void (*body)(void *argument), void *argument);
/* Wait for it; dies when it failed. */
void join(pid_t child);
void *shared_memory(size_t bytes);

/* ---- Stores: beck and its peers ---- */
enum durability {
    LAZY,   /* acknowledged = visible to all processes */
    DURABLE /* acknowledged = on stable storage */
};

struct store_kind {
    const char *system;
    void *(*open)(const char *path, enum durability durability);
    void (*close)(void *store);
    /* Append `count` records, `per_call` in each call or transaction. */
    void (*append)(void *store, uint64_t count, uint64_t per_call);
    /* Delete all records; the space stays for reuse. */
    void (*empty)(void *store);
    /* Read everything forward, touching key and value. Returns how many. */
    uint64_t (*read)(void *store, bool checked);
};

extern const struct store_kind store_beck;
extern const struct store_kind *const store_lmdb;   /* NULL: not compiled in */
extern const struct store_kind *const store_sqlite; /* NULL: not compiled in */

/* What reading does with each record; the sum goes where no compiler can drop it. */
static inline uint64_t touch(const uint8_t *key, size_t key_size, const uint8_t *value,
                             size_t value_size)
{
    return key[0] + value[0] + key_size + value_size;
}
extern volatile uint64_t touched;

/* Records a second of `count` timed appends. */
double timed_append(const struct store_kind *kind, void *store, uint64_t count, uint64_t per_call);

/* ---- The bare machine ---- */
/* A file of written blocks, and durable writes a second of `bytes` each over them. */
int bare_open(const char *path);
double bare_durable(int fd, double seconds, size_t bytes);
/* One-way latencies in nanoseconds of a futex ping-pong between two processes. */
void bare_futex(uint64_t *latencies, uint32_t count);

/* ---- Workloads ---- */
void work_append_recycled(void);
void work_append_growing(void);
void work_append_batch(void);
void work_read_checked(void);
void work_read_unchecked(void);
void work_read_one(void);
void work_durable_one(void);
void work_durable_eight(void);
void work_durable_many(void);
void work_wake(void);
void work_idle(void);
void work_open_clean(void);
void work_open_clean_big(void);
void work_open_killed(void);
void work_memory(void);

#endif
