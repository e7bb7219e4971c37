/* bench_util.c -- clock, payload, files of a run, child processes */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "bench.h"

#define POOL_RECORDS 2048
#define POOL_STEP 128
#define PATH_BYTES 800

volatile uint64_t touched;
static uint8_t pool[POOL_RECORDS * POOL_STEP];
static pid_t owner; /* of the directory */

uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

double now_seconds(void)
{
    return (double)now_ns() / 1e9;
}

void pause_ms(double ms)
{
    struct timespec t = {(time_t)(ms / 1000), (long)(ms * 1e6) % 1000000000};
    nanosleep(&t, NULL);
}

/* ---- Payload ---- */

static uint64_t splitmix(uint64_t *state)
{
    uint64_t z = *state += 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

void payload_make(void)
{
    uint64_t state = 42;
    for (size_t i = 0; i < sizeof pool; i += 8) {
        uint64_t word = splitmix(&state);
        memcpy(pool + i, &word, 8);
    }
}

const uint8_t *payload(uint64_t number)
{
    return pool + number % POOL_RECORDS * POOL_STEP;
}

double timed_append(const struct store_kind *kind, void *store, uint64_t count, uint64_t per_call)
{
    double start = now_seconds();
    kind->append(store, count, per_call);
    return (double)count / (now_seconds() - start);
}

/* ---- Files ---- */

const char *bench_path(const char *name)
{
    static char paths[4][PATH_BYTES];
    static unsigned turn;
    char *path = paths[turn++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", settings.directory, name);
    return path;
}

void bench_forget(const char *path)
{
    static const char *const tails[] = {"", "-lock", "-wal", "-shm", "-journal"};
    char file[PATH_BYTES + 16];
    for (size_t i = 0; i < sizeof tails / sizeof *tails; i++) {
        snprintf(file, sizeof file, "%s%s", path, tails[i]);
        unlink(file);
    }
}

static void directory_empty(void)
{
    DIR *directory = opendir(settings.directory);
    struct dirent *entry;
    while (directory != NULL && (entry = readdir(directory)) != NULL)
        if (entry->d_name[0] != '.') unlink(bench_path(entry->d_name));
    if (directory != NULL) closedir(directory);
}

void directory_remove(void)
{
    if (getpid() != owner) return; /* a child that fails leaves the files to its parent */
    directory_empty();
    rmdir(settings.directory);
}

void directory_make(const char *parent)
{
    snprintf(settings.directory, sizeof settings.directory, "%s/bench.tmp", parent);
    if (mkdir(settings.directory, 0700) < 0 && errno != EEXIST)
        die("%s: %s", settings.directory, strerror(errno));
    owner = getpid();
    directory_empty();
    atexit(directory_remove);
}

void directory_settle(void)
{
    int fd = open(settings.directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || syncfs(fd) < 0) die("%s: %s", settings.directory, strerror(errno));
    close(fd);
}

uint64_t file_bytes(const char *path)
{
    struct stat info;
    return stat(path, &info) < 0 ? 0 : (uint64_t)info.st_size;
}

/* ---- Processes ---- */

void die(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "bench: ");
    vfprintf(stderr, format, arguments);
    fprintf(stderr, "\n");
    va_end(arguments);
    exit(1);
}

pid_t spawn(void (*body)(void *argument), void *argument)
{
    fflush(NULL);
    pid_t child = fork();
    if (child < 0) die("fork: %s", strerror(errno));
    if (child > 0) return child;
    body(argument);
    _exit(0);
}

void join(pid_t child)
{
    int status = 0;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) continue;
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) die("a child failed, status %#x", status);
}

void *shared_memory(size_t bytes)
{
    void *memory =
        mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (memory == MAP_FAILED) die("mmap: %s", strerror(errno));
    return memory;
}
