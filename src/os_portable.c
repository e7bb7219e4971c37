/* os_portable.c -- the rest of the seam with nothing but POSIX.1-2024, instead of os_linux */
#include "os_posix.h"

#ifdef BECK_OS_PORTABLE
/* What is weaker than on Linux, and nothing else is:
 *  - a waiting process looks 200 times a second instead of being woken: up to 5 ms later
 *  - a sync covers the whole file, not a range
 *  - nothing tells one file system from another: none is refused, payload is written by pwrite
 *  - there is no boot id: what an intact frame proves counts, the page cache never does
 *  - nothing reads or writes around the page cache: after a failed sync see os_open_direct */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "err.h"

#define PAUSE_MIN_NS 50000
#define PAUSE_MAX_NS 5000000

/* ---- Files ---- */

int os_identity(const struct os_file *f, struct os_identity *id)
{
    struct stat st;
    memset(id, 0, sizeof *id);
    if (fstat(f->fd, &st) < 0) return os_fail("fstat");
    id->device = (uint64_t)st.st_dev;
    id->inode = (uint64_t)st.st_ino;
    id->links = (uint64_t)st.st_nlink;
    return 0;
}

void os_filesystem_by_magic(uint64_t magic, struct os_filesystem *fs)
{
    (void)magic;
    *fs = (struct os_filesystem){.name = "this file system", .allowed = true};
}

int os_filesystem(const struct os_file *f, struct os_filesystem *fs)
{
    (void)f;
    os_filesystem_by_magic(0, fs);
    return 0;
}

int os_open_memory(struct os_file *f)
{
    return os_open_nameless(f);
}

void os_no_cow(const struct os_file *f)
{
    (void)f;
}

bool os_is_cow(const struct os_file *f)
{
    (void)f;
    return false;
}

int os_write_stable(const struct os_file *f, const void *data, size_t bytes, uint64_t at)
{
    int rc = os_write(f, data, bytes, at);
    return rc < 0 ? rc : os_sync(f);
}

int os_allocate(const struct os_file *f, uint64_t at, uint64_t bytes)
{
    return os_allocate_by_zeros(f, at, bytes);
}

int os_sync_filesystem(const struct os_file *f)
{
    (void)f; /* sync() does not say when it is done */
    return err_set(BECK_UNSUPPORTED, "no call to sync a file system");
}

void os_writeback(const struct os_file *f, uint64_t at, uint64_t bytes)
{
    (void)f, (void)at, (void)bytes;
}

void os_forget(const struct os_file *f, uint64_t at, uint64_t bytes)
{
    (void)posix_fadvise(f->fd, (off_t)at, (off_t)bytes, POSIX_FADV_DONTNEED);
}

int os_open_direct(const struct os_file *f, const char *path, struct os_file *direct)
{
    (void)f, (void)path;
    *direct = (struct os_file){.fd = -1};
    return err_set(BECK_UNSUPPORTED, "this build cannot read around the page cache");
}

/* ---- Mappings ---- */

bool os_not_inherited(void *base, size_t bytes)
{
    (void)base, (void)bytes;
    return false;
}

int os_populate(const struct os_map *map, uint64_t from, uint64_t to)
{
    (void)map, (void)from, (void)to;
    return 0;
}

int os_populate_loads(const struct os_map *map)
{
    (void)map;
    return 0;
}

/* ---- Waiting ---- */

static bool os_still_as_expected(const struct os_wait_item *items, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (atomic_load(items[i].word) != items[i].expected) return false;
    return true;
}

bool os_wait_many(const struct os_wait_item *items, size_t count, uint32_t timeout_ms,
                  bool *supported)
{
    int64_t until = os_monotonic_ms() + timeout_ms;
    struct timespec pause = {.tv_nsec = PAUSE_MIN_NS};
    *supported = true;
    while (os_still_as_expected(items, count) && os_monotonic_ms() < until) {
        if (nanosleep(&pause, NULL) < 0 && errno == EINTR) return true;
        if (pause.tv_nsec < PAUSE_MAX_NS / 2)
            pause.tv_nsec *= 2;
        else
            pause.tv_nsec = PAUSE_MAX_NS;
    }
    return false;
}

bool os_wait(const _Atomic uint32_t *word, uint32_t expected, uint32_t timeout_ms)
{
    struct os_wait_item item = {word, expected};
    bool supported;
    return os_wait_many(&item, 1, timeout_ms, &supported);
}

void os_wake(_Atomic uint32_t *word, int32_t count)
{
    (void)word, (void)count; /* the waiter looks */
}

/* ---- Clocks, chance, identity ---- */

int64_t os_now_coarse_ms(void)
{
    return os_now_ms();
}

int os_random(void *data, size_t bytes)
{
    uint8_t *p = data;
    while (bytes > 0) {
        size_t n = (size_t)min_u64(bytes, 256); /* as much as getentropy gives at once */
        if (getentropy(p, n) < 0) return os_fail("getentropy");
        p += n;
        bytes -= n;
    }
    return 0;
}

void os_boot_id(uint8_t id[16])
{
    memset(id, 0, 16);
}

uint32_t os_process_namespace(void)
{
    return 0;
}

void os_program_name(char *name, size_t bytes)
{
    memset(name, 0, bytes);
}

bool os_process_stopped(uint32_t process)
{
    (void)process;
    return false;
}

const _Atomic uint32_t *os_fork_page(void)
{
    return NULL;
}

void os_fork_page_free(const _Atomic uint32_t *page)
{
    (void)page;
}

#endif /* BECK_OS_PORTABLE */
