/* os_linux.c -- the seam on Linux: files, maps, locks, futexes, clocks */
#include "os.h"

#ifndef __linux__
#error "beck runs on Linux; the functions of os.h are where a port goes"
#endif

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/futex.h>
#include <linux/magic.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include "err.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* Linux 5.14 */
#endif
#ifndef SYS_futex_waitv
#define SYS_futex_waitv 449 /* Linux 5.16 */
#endif
#ifndef XFS_SUPER_MAGIC
#define XFS_SUPER_MAGIC 0x58465342
#endif

#define DIRECT_ALIGN 4096u

static int os_fail(const char *what)
{
    int e = errno;
    int status = BECK_IO;
    if (e == ENOSPC || e == EDQUOT || e == EFBIG) status = BECK_FULL;
    if (e == ENOMEM) status = BECK_NOMEM;
    if (e == EACCES || e == EPERM) status = BECK_PERMISSION;
    if (e == EROFS) status = BECK_READONLY;
    if (e == ENOENT || e == ENOTDIR) status = BECK_NOT_FOUND;
    if (e == EEXIST) status = BECK_EXISTS;
    if (e == EMFILE || e == ENFILE) status = BECK_LIMIT;
    return err_set(status, "%s: %s", what, strerror(e));
}

/* ---- Files ---- */

/* A descriptor below 3 would sooner or later receive somebody's printf. */
static int os_above_stdio(int fd)
{
    if (fd < 0 || fd > 2) return fd;
    int high = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    int e = errno;
    close(fd);
    errno = e;
    return high;
}

int os_open(const char *path, enum os_open_mode mode, uint32_t permissions, struct os_file *f)
{
    static const int flags[] = {[OS_READ] = O_RDONLY,
                                [OS_WRITE] = O_RDWR,
                                [OS_CREATE] = O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW};
    struct stat st;
    f->fd = os_above_stdio(
        open(path, flags[mode] | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, (mode_t)permissions));
    f->readonly = mode == OS_READ;
    f->direct = false;
    if (f->fd < 0 && errno == EISDIR) return err_set(BECK_INVALID, "is a directory");
    if (f->fd < 0) return os_fail("open");
    if (fstat(f->fd, &st) == 0 && S_ISREG(st.st_mode)) return 0;
    os_close(f);
    return err_set(BECK_INVALID, "not a regular file");
}

void os_close(struct os_file *f)
{
    int fd = f->fd;
    f->fd = -1; /* first: a child forked in between must not close what is somebody else's by now */
    if (fd >= 0) close(fd);
}

int os_open_memory(struct os_file *f)
{
    *f = (struct os_file){.fd = os_above_stdio(memfd_create("beck", MFD_CLOEXEC))};
    return f->fd < 0 ? os_fail("memfd_create") : 0;
}

int os_size(const struct os_file *f, uint64_t *bytes)
{
    struct stat st;
    if (fstat(f->fd, &st) < 0) return os_fail("fstat");
    *bytes = (uint64_t)st.st_size;
    return 0;
}

int os_identity(const struct os_file *f, struct os_identity *id)
{
    struct statx sx;
    memset(id, 0, sizeof *id);
    if (statx(f->fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS | STATX_BTIME, &sx) < 0)
        return os_fail("statx");
    id->device = (uint64_t)sx.stx_dev_major << 32 | sx.stx_dev_minor;
    id->inode = sx.stx_ino;
    id->links = sx.stx_nlink;
    if (sx.stx_mask & STATX_BTIME) {
        id->birth_s = sx.stx_btime.tv_sec;
        id->birth_ns = sx.stx_btime.tv_nsec;
    }
    return 0;
}

int os_owner(const char *path, struct os_owner *owner)
{
    struct stat st;
    if (stat(path, &st) < 0) return os_fail("stat");
    *owner = (struct os_owner){.user = st.st_uid, .mode = st.st_mode & 07777};
    return 0;
}

int os_still_there(const char *path, const struct os_file *f)
{
    struct stat here, there;
    if (fstat(f->fd, &here) < 0) return os_fail("fstat");
    if (stat(path, &there) < 0)
        return err_set(BECK_MOVED, "the file was deleted or renamed while open");
    if (here.st_ino == there.st_ino && here.st_dev == there.st_dev) return 0;
    return err_set(BECK_MOVED, "another file took the place of the open one");
}

int os_filesystem(const struct os_file *f, struct os_filesystem *fs)
{
    static const struct {
        uint64_t magic;
        struct os_filesystem fs;
    } known[] = {
        {EXT4_SUPER_MAGIC, {"ext4", true, true, false, false}},
        {TMPFS_MAGIC, {"tmpfs", true, true, true, false}},
        {XFS_SUPER_MAGIC, {"xfs", true, false, false, false}},
        {BTRFS_SUPER_MAGIC, {"btrfs", true, false, false, true}},
        {NFS_SUPER_MAGIC, {"NFS", false, false, false, false}},
        {SMB_SUPER_MAGIC, {"SMB", false, false, false, false}},
        {0xFF534D42, {"CIFS", false, false, false, false}},
        {0xFE534D42, {"SMB2", false, false, false, false}},
        {V9FS_MAGIC, {"9p", false, false, false, false}},
        {0x65735546, {"FUSE or virtiofs", false, false, false, false}},
        {OVERLAYFS_SUPER_MAGIC, {"overlayfs", true, false, false, false}},
    };
    struct statfs st;
    if (fstatfs(f->fd, &st) < 0) return os_fail("fstatfs");
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (known[i].magic != ((uint64_t)st.f_type & UINT32_MAX)) continue;
        *fs = known[i].fs;
        return 0;
    }
    *fs = (struct os_filesystem){.name = "an unknown file system"};
    return 0;
}

void os_no_cow(const struct os_file *f)
{
    int flags = 0;
    if (ioctl(f->fd, FS_IOC_GETFLAGS, &flags) < 0) return;
    flags |= FS_NOCOW_FL;
    (void)ioctl(f->fd, FS_IOC_SETFLAGS, &flags);
}

/* Whole pages into memory of our own, because the device wants both aligned. */
static int os_read_direct(const struct os_file *f, void *data, size_t bytes, uint64_t at)
{
    uint64_t from = at / DIRECT_ALIGN * DIRECT_ALIGN;
    size_t span = (size_t)align_up(at - from + bytes, DIRECT_ALIGN), got = 0;
    uint8_t *pages = aligned_alloc(DIRECT_ALIGN, span);
    if (pages == NULL) return err_set(BECK_NOMEM, "out of memory");
    while (got < span) {
        ssize_t n = pread(f->fd, pages + got, span - got, (off_t)(from + got));
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) {
            free(pages);
            return os_fail("read");
        }
        got += (size_t)n;
        if (n == 0 || n % DIRECT_ALIGN != 0) break; /* the end of the file */
    }
    memset(pages + got, 0, span - got);
    memcpy(data, pages + (at - from), bytes);
    free(pages);
    return 0;
}

int os_read(const struct os_file *f, void *data, size_t bytes, uint64_t at)
{
    uint8_t *p = data;
    if (f->direct) return bytes == 0 ? 0 : os_read_direct(f, data, bytes, at);
    while (bytes > 0) {
        ssize_t n = pread(f->fd, p, bytes, (off_t)at);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return os_fail("read");
        if (n == 0) break;
        p += n;
        at += (uint64_t)n;
        bytes -= (size_t)n;
    }
    if (bytes > 0) memset(p, 0, bytes);
    return 0;
}

static int os_write_flags(const struct os_file *f, const void *data, size_t bytes, uint64_t at,
                          int flags)
{
    const uint8_t *p = data;
    while (bytes > 0) {
        struct iovec v = {.iov_base = (void *)(uintptr_t)p, .iov_len = bytes};
        ssize_t n = flags == 0 ? pwrite(f->fd, p, bytes, (off_t)at)
                               : pwritev2(f->fd, &v, 1, (off_t)at, flags);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return os_fail("write");
        if (n == 0) return err_set(BECK_IO, "write: nothing was written");
        p += n;
        at += (uint64_t)n;
        bytes -= (size_t)n;
    }
    return 0;
}

int os_write(const struct os_file *f, const void *data, size_t bytes, uint64_t at)
{
    return os_write_flags(f, data, bytes, at, 0);
}

int os_write_stable(const struct os_file *f, const void *data, size_t bytes, uint64_t at)
{
    return os_write_flags(f, data, bytes, at, RWF_DSYNC);
}

int os_allocate(const struct os_file *f, uint64_t at, uint64_t bytes)
{
    int rc;
    do rc = fallocate(f->fd, 0, (off_t)at, (off_t)bytes);
    while (rc < 0 && errno == EINTR);
    if (rc == 0) return 0;
    if (errno != EOPNOTSUPP) return os_fail("fallocate");

    uint64_t size;
    if ((rc = os_size(f, &size)) < 0 || size >= at + bytes) return rc;
    return os_truncate(f, at + bytes);
}

int os_truncate(const struct os_file *f, uint64_t bytes)
{
    int rc;
    do rc = ftruncate(f->fd, (off_t)bytes);
    while (rc < 0 && errno == EINTR);
    return rc < 0 ? os_fail("ftruncate") : 0;
}

int os_sync(const struct os_file *f)
{
    int rc;
    do rc = fdatasync(f->fd);
    while (rc < 0 && errno == EINTR);
    return rc < 0 ? os_fail("fdatasync") : 0;
}

int os_sync_directory(const char *path, const struct os_file *f)
{
    char directory[4096];
    const char *slash = strrchr(path, '/');
    size_t n = slash == NULL ? 0 : (size_t)(slash - path);
    if (n >= sizeof directory) return err_set(BECK_INVALID, "the path is too long");
    memcpy(directory, path, n);
    directory[n] = 0;
    int fd = open(slash == NULL ? "."
                  : n == 0      ? "/"
                                : directory,
                  O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rc = fd < 0 ? -1 : fsync(fd);
    int e = errno;
    if (fd >= 0) close(fd);
    if (rc == 0) return 0;
    /* It may be one that we can write but not read, or /proc/self/fd: then all there is. */
    if ((e == EACCES || e == EINVAL) && syncfs(f->fd) == 0) return 0;
    errno = e;
    return os_fail("sync the directory");
}

void os_writeback(const struct os_file *f, uint64_t at, uint64_t bytes)
{
    (void)sync_file_range(f->fd, (off_t)at, (off_t)bytes, SYNC_FILE_RANGE_WRITE);
}

int os_open_direct(const struct os_file *f, struct os_file *direct)
{
    char path[64];
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", f->fd);
    *direct = (struct os_file){.readonly = true, .direct = true};
    direct->fd = os_above_stdio(open(path, O_RDONLY | O_DIRECT | O_CLOEXEC));
    if (direct->fd >= 0) return 0;
    if (errno != EINVAL && errno != ENOENT) return os_fail("open around the page cache");
    return err_set(BECK_UNSUPPORTED, "cannot read around the page cache: %s", strerror(errno));
}

/* ---- Mappings ---- */

int os_map(const struct os_file *f, uint64_t at, uint64_t bytes, bool writable, struct os_map *map)
{
    ASSERT(at % BLOCK_BYTES == 0);
    ASSERT(bytes > 0);
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    uint64_t down = at % page; /* pages may be larger than blocks */
    map->base_bytes = (size_t)align_up(down + bytes, page);
    os_fork_lock(); /* a child that inherits the mapping keeps the description, and its locks */
    map->base = mmap(NULL, map->base_bytes, writable ? PROT_READ | PROT_WRITE : PROT_READ,
                     MAP_SHARED, f->fd, (off_t)(at - down));
    int e = errno;
    if (map->base != MAP_FAILED) (void)madvise(map->base, map->base_bytes, MADV_DONTFORK);
    os_fork_unlock();
    if (map->base == MAP_FAILED) {
        memset(map, 0, sizeof *map);
        errno = e;
        return os_fail("mmap");
    }
    map->data = map->base + down;
    map->bytes = bytes;
    return 0;
}

void os_unmap(struct os_map *map)
{
    if (map->base != NULL) munmap(map->base, map->base_bytes);
    memset(map, 0, sizeof *map);
}

void os_populate(const struct os_map *map, uint64_t from, uint64_t to)
{
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    uint64_t skew = (uint64_t)(map->data - map->base);
    from = (from + skew) / page * page;
    to = min_u64(align_up(to + skew, page), map->base_bytes);
    if (from < to) (void)madvise(map->base + from, to - from, MADV_POPULATE_WRITE);
}

int os_map_sync(const struct os_map *map, uint64_t from, uint64_t to)
{
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    uint64_t skew = (uint64_t)(map->data - map->base);
    ASSERT(from <= to);
    ASSERT(to <= map->bytes);
    from = (from + skew) / page * page;
    to = align_up(to + skew, page);
    int rc = msync(map->base + from, to - from, MS_SYNC);
    return rc < 0 ? os_fail("msync") : 0;
}

void os_store(uint8_t *to, const void *from, size_t bytes)
{
    memcpy(to, from, bytes);
}

/* ---- Byte locks ---- */

static int os_ofd(const struct os_file *f, int command, short type, uint64_t byte, uint64_t count,
                  struct flock *l)
{
    int rc;
    *l = (struct flock){
        .l_type = type, .l_whence = SEEK_SET, .l_start = (off_t)byte, .l_len = (off_t)count};
    do rc = fcntl(f->fd, command, l);
    while (rc < 0 && errno == EINTR);
    return rc;
}

int os_lock(const struct os_file *f, uint64_t byte, bool exclusive)
{
    struct flock l;
    if (os_ofd(f, F_OFD_SETLK, exclusive ? F_WRLCK : F_RDLCK, byte, 1, &l) == 0) return 0;
    if (errno == EAGAIN || errno == EACCES) return BECK_BUSY;
    return os_fail("lock");
}

int os_unlock(const struct os_file *f, uint64_t byte)
{
    struct flock l;
    return os_ofd(f, F_OFD_SETLK, F_UNLCK, byte, 1, &l) < 0 ? os_fail("unlock") : 0;
}

int os_locked_by_other(const struct os_file *f, uint64_t byte, uint64_t count, bool *locked)
{
    struct flock l;
    if (os_ofd(f, F_OFD_GETLK, F_RDLCK, byte, count, &l) < 0) return os_fail("test a lock");
    *locked = l.l_type != F_UNLCK;
    return 0;
}

/* ---- Waiting ---- */

static struct timespec os_span(uint32_t ms)
{
    return (struct timespec){.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};
}

bool os_wait(const _Atomic uint32_t *word, uint32_t expected, uint32_t timeout_ms)
{
    struct timespec t = os_span(timeout_ms);
    return syscall(SYS_futex, word, FUTEX_WAIT, expected, &t, NULL, 0) < 0 && errno == EINTR;
}

bool os_wait_many(const struct os_wait_item *items, size_t count, uint32_t timeout_ms,
                  bool *supported)
{
    struct {
        uint64_t value;
        uint64_t address;
        uint32_t flags;
        uint32_t reserved;
    } v[OS_WAITV_MAX];
    struct timespec deadline, span = os_span(timeout_ms);
    ASSERT(count > 0);
    ASSERT(count <= OS_WAITV_MAX);
    memset(v, 0, count * sizeof v[0]);
    for (size_t i = 0; i < count; i++) {
        v[i].value = items[i].expected;
        v[i].address = (uint64_t)(uintptr_t)items[i].word;
        v[i].flags = 2; /* 32-bit word, shared between processes */
    }
    clock_gettime(CLOCK_MONOTONIC, &deadline);
    deadline.tv_sec += span.tv_sec;
    deadline.tv_nsec += span.tv_nsec;
    if (deadline.tv_nsec >= 1000000000) {
        deadline.tv_sec++;
        deadline.tv_nsec -= 1000000000;
    }
    long rc = syscall(SYS_futex_waitv, v, (unsigned)count, 0, &deadline, CLOCK_MONOTONIC);
    *supported = rc >= 0 || (errno != ENOSYS && errno != EPERM);
    return rc < 0 && errno == EINTR;
}

void os_wake(_Atomic uint32_t *word, int32_t count)
{
    (void)syscall(SYS_futex, word, FUTEX_WAKE, count, NULL, NULL, 0);
}

bool os_sleep_ms(uint32_t ms)
{
    struct timespec t = os_span(ms);
    return nanosleep(&t, NULL) < 0 && errno == EINTR;
}

/* ---- Clocks, chance, identity ---- */

static int64_t os_clock_ms(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

int64_t os_now_ms(void)
{
    return os_clock_ms(CLOCK_REALTIME);
}

int64_t os_now_coarse_ms(void)
{
    return os_clock_ms(CLOCK_REALTIME_COARSE);
}

int64_t os_monotonic_ms(void)
{
    return os_clock_ms(CLOCK_MONOTONIC);
}

int os_random(void *data, size_t bytes)
{
    uint8_t *p = data;
    while (bytes > 0) {
        ssize_t n = getrandom(p, bytes, 0);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return os_fail("getrandom");
        p += n;
        bytes -= (size_t)n;
    }
    return 0;
}

void os_boot_id(uint8_t id[16])
{
    char text[64] = {0};
    size_t digits = 0;
    memset(id, 0, 16);
    int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    if (fd < 0) return;
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    for (ssize_t i = 0; i < n && digits < 32; i++) {
        char c = text[i];
        int v = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
        if (v < 0) continue;
        id[digits / 2] = (uint8_t)(id[digits / 2] << 4 | v);
        digits++;
    }
}

/* ---- fork ---- */

static pthread_mutex_t os_fork_mutex = PTHREAD_MUTEX_INITIALIZER;

void os_fork_lock(void)
{
    pthread_mutex_lock(&os_fork_mutex);
}

void os_fork_unlock(void)
{
    pthread_mutex_unlock(&os_fork_mutex);
}

uint32_t os_process_id(void)
{
    return (uint32_t)getpid();
}

uint32_t os_process_namespace(void)
{
    struct stat st;
    return stat("/proc/self/ns/pid", &st) < 0 ? 0 : (uint32_t)st.st_ino;
}

void os_program_name(char *name, size_t bytes)
{
    memset(name, 0, bytes);
    memcpy(name, program_invocation_short_name,
           min_u64(strlen(program_invocation_short_name), bytes));
}

/* "pid (name) state ...", and a name may hold anything. */
bool os_process_stopped(uint32_t process)
{
    char path[32], text[128] = {0};
    (void)snprintf(path, sizeof path, "/proc/%u/stat", process);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return false;
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    const char *behind = n > 0 ? strrchr(text, ')') : NULL;
    if (behind == NULL || behind[1] != ' ') return false;
    return behind[2] == 'T' || behind[2] == 't';
}

const _Atomic uint32_t *os_fork_page(void)
{
    size_t bytes = (size_t)sysconf(_SC_PAGESIZE);
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) return NULL;
    if (madvise(p, bytes, MADV_WIPEONFORK) < 0) {
        munmap(p, bytes);
        return NULL;
    }
    _Atomic uint32_t *page = p;
    atomic_store(page, 1);
    return page;
}

void os_fork_page_free(const _Atomic uint32_t *page)
{
    if (page != NULL) munmap((void *)(uintptr_t)page, (size_t)sysconf(_SC_PAGESIZE));
}
