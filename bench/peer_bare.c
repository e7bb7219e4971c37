/* peer_bare.c -- the machine without a library: synced writes and futex wake-ups */
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "bench.h"

#define BARE_FILE_BYTES (16u << 20)
#define PAGE 4096

/* ---- Durable writes ---- */

static int open_zeroed(const char *path, size_t bytes)
{
    void *zeros = calloc(1, bytes);
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (zeros == NULL || fd < 0) die("%s: %s", path, strerror(errno));
    if (write(fd, zeros, bytes) != (ssize_t)bytes || fsync(fd) < 0)
        die("%s: %s", path, strerror(errno));
    free(zeros);
    return fd;
}

int bare_open(const char *path)
{
    return open_zeroed(path, BARE_FILE_BYTES);
}

double bare_durable(int fd, double seconds, size_t bytes)
{
    static off_t at; /* goes on from run to run, as the stores do */
    uint64_t count = 0;
    double start = now_seconds(), end = start;
    for (; end < start + seconds; end = now_seconds(), count++) {
        uint8_t record[512] = {0};
        memcpy(record, payload(count), RECORD_BYTES);
        struct iovec part = {record, bytes};
        if (pwritev2(fd, &part, 1, at, RWF_DSYNC) != (ssize_t)bytes)
            die("pwritev2: %s", strerror(errno));
        at += (off_t)bytes;
        if ((size_t)at + bytes > BARE_FILE_BYTES) at = 0;
    }
    return (double)count / (end - start);
}

/* ---- Futex ping-pong ---- */

struct table {
    _Atomic uint32_t ping, pong;
    uint64_t sent;
    uint64_t *latencies;
    uint32_t count;
};

static void wake(_Atomic uint32_t *word)
{
    syscall(SYS_futex, word, FUTEX_WAKE, 1, NULL, NULL, 0);
}

static void wait_for(_Atomic uint32_t *word, uint32_t value)
{
    while (atomic_load(word) != value)
        syscall(SYS_futex, word, FUTEX_WAIT, value - 1, NULL, NULL, 0);
}

static void answer(void *argument)
{
    struct table *t = argument;
    for (uint32_t i = 1; i <= t->count; i++) {
        wait_for(&t->ping, i);
        t->latencies[i - 1] = now_ns() - t->sent;
        atomic_store(&t->pong, i);
        wake(&t->pong);
    }
}

void bare_futex(uint64_t *latencies, uint32_t count)
{
    const char *path = bench_path("futex");
    int fd = open_zeroed(path, PAGE);
    struct table *t = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (t == MAP_FAILED) die("mmap: %s", strerror(errno));
    t->latencies = latencies;
    t->count = count;
    pid_t child = spawn(answer, t);
    pause_ms(2);
    for (uint32_t i = 1; i <= count; i++) {
        t->sent = now_ns();
        atomic_store(&t->ping, i);
        wake(&t->ping);
        wait_for(&t->pong, i);
    }
    join(child);
    munmap(t, PAGE);
    close(fd);
    bench_forget(path);
}
