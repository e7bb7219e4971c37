/* os_posix.c -- what every system does alike: files, maps, byte locks, clocks */
#include "os_posix.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "err.h"

#define DIRECT_TRIES 5
#define DIRECT_BYTES ((size_t)1024 * 1024)

int os_fail(const char *what)
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
    const char *advice = "";
    if (status == BECK_FULL) advice = ": make room on the disk, or delete a topic";
    if (status == BECK_LIMIT) advice = ": close some, or raise the limit (ulimit -n)";
    return err_set(status, "%s: %s%s", what, strerror(e), advice);
}

int os_sync_failed(const char *what)
{
    return err_set(BECK_POISONED, "a sync failed (%s: %s): close every handle and open again", what,
                   strerror(errno));
}

/* ---- Files ---- */

/* A descriptor below 3 would sooner or later receive somebody's printf. */
int os_above_stdio(int fd)
{
    if (fd < 0 || fd > 2) return fd;
    int high = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    int e = errno;
    close(fd);
    errno = e;
    return high;
}

int os_open_fd(const char *path, int flags, uint32_t permissions)
{
    int fd;
    do fd = open(path, flags | O_CLOEXEC, (mode_t)permissions);
    while (fd < 0 && errno == EINTR);
    return os_above_stdio(fd);
}

int os_open(const char *path, enum os_open_mode mode, uint32_t permissions, struct os_file *f)
{
    static const int flags[] = {[OS_READ] = O_RDONLY,
                                [OS_WRITE] = O_RDWR,
                                [OS_CREATE] = O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW};
    struct stat st;
    f->fd = os_open_fd(path, flags[mode] | O_NONBLOCK | O_NOCTTY, permissions);
    f->readonly = mode == OS_READ;
    f->direct = false;
    if (f->fd < 0 && errno == EISDIR) return err_set(BECK_INVALID, "is a directory");
    if (f->fd < 0) return os_fail("open");
    int rc = fstat(f->fd, &st) < 0 ? os_fail("fstat") : 0;
    if (rc == 0 && !S_ISREG(st.st_mode)) rc = err_set(BECK_INVALID, "not a regular file");
    if (rc < 0) os_close(f);
    return rc;
}

int os_open_nameless(struct os_file *f)
{
    const char *folder = secure_getenv("TMPDIR");
    char path[4096];
    (void)snprintf(path, sizeof path, "%s/beck-XXXXXX", folder != NULL ? folder : "/tmp");
    *f = (struct os_file){.fd = os_above_stdio(mkostemp(path, O_CLOEXEC))};
    if (f->fd < 0) return os_fail("mkostemp");
    (void)unlink(path);
    return 0;
}

void os_close(struct os_file *f)
{
    int fd = f->fd;
    f->fd = -1; /* first: a child forked in between must not close what is somebody else's by now */
    if (fd >= 0) close(fd);
}

int os_size(const struct os_file *f, uint64_t *bytes)
{
    struct stat st;
    if (fstat(f->fd, &st) < 0) return os_fail("fstat");
    *bytes = (uint64_t)st.st_size;
    return 0;
}

int os_owner(const char *path, struct os_owner *owner)
{
    struct stat st;
    if (stat(path, &st) < 0) return os_fail("stat");
    *owner = (struct os_owner){.user = st.st_uid, .mode = st.st_mode & 07777};
    return 0;
}

int os_linked_by_others(const char *path, const struct os_file *f, bool *linked)
{
    struct stat name, file;
    if (lstat(path, &name) < 0) return os_fail("lstat");
    if (fstat(f->fd, &file) < 0) return os_fail("fstat");
    *linked = name.st_ino != file.st_ino || name.st_dev != file.st_dev; /* or was a moment ago */
    if (S_ISLNK(name.st_mode)) *linked = name.st_uid != geteuid() && name.st_uid != 0;
    return 0;
}

int os_still_there(const char *path, const struct os_file *f)
{
    struct stat here, there;
    if (fstat(f->fd, &here) < 0) return os_fail("fstat");
    if (stat(path, &there) < 0)
        return errno == ENOENT || errno == ENOTDIR
                   ? err_set(BECK_MOVED, "the file was deleted or renamed while open")
                   : os_fail("stat");
    if (here.st_ino == there.st_ino && here.st_dev == there.st_dev) return 0;
    return err_set(BECK_MOVED, "another file took the place of the open one");
}

/* Some open a file for that and then do not take it, or want another alignment. */
static int os_direct_fail(const char *what)
{
    if (errno != EINVAL) return os_fail(what);
    return err_set(BECK_UNSUPPORTED, "cannot %s around the page cache: %s", what, strerror(errno));
}

/* Whole pages; zeros behind the end of the file. */
static int os_read_pages(const struct os_file *f, uint8_t *pages, size_t span, uint64_t from)
{
    size_t got = 0;
    while (got < span) {
        ssize_t n = pread(f->fd, pages + got, span - got, (off_t)(from + got));
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return os_direct_fail("read");
        got += (size_t)n;
        if (n == 0 || n % OS_DIRECT_ALIGN != 0) break;
    }
    memset(pages + got, 0, span - got);
    return 0;
}

/* Into memory of our own, because the device wants both aligned. */
static int os_read_direct(const struct os_file *f, void *data, size_t bytes, uint64_t at)
{
    uint64_t from = at / OS_DIRECT_ALIGN * OS_DIRECT_ALIGN;
    size_t span = (size_t)align_up(at - from + bytes, OS_DIRECT_ALIGN);
    uint8_t *pages = aligned_alloc(OS_DIRECT_ALIGN, span);
    if (pages == NULL) return err_set(BECK_NOMEM, "out of memory");
    int rc = os_read_pages(f, pages, span, from);
    if (rc == 0) memcpy(data, pages + (at - from), bytes);
    free(pages);
    return rc;
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

static int os_write_all(const struct os_file *f, const uint8_t *p, size_t bytes, uint64_t at)
{
    while (bytes > 0) {
        ssize_t n = pwrite(f->fd, p, bytes, (off_t)at);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return f->direct ? os_direct_fail("write") : os_fail("write");
        if (n == 0) return err_set(BECK_IO, "write: nothing was written");
        p += n;
        at += (uint64_t)n;
        bytes -= (size_t)n;
    }
    return 0;
}

/* What lies beside the bytes in their pages is what the device has there. Then they are read again:
 * the system may have taken the way through the page cache all the same. */
static int os_write_piece(const struct os_file *f, uint8_t *pages, const uint8_t *data,
                          size_t bytes, uint64_t at)
{
    uint64_t from = at / OS_DIRECT_ALIGN * OS_DIRECT_ALIGN;
    size_t span = (size_t)align_up(at - from + bytes, OS_DIRECT_ALIGN);
    for (int tries = 0; tries < DIRECT_TRIES; tries++) {
        int rc = span == bytes ? 0 : os_read_pages(f, pages, span, from);
        if (rc == 0) memcpy(pages + (at - from), data, bytes);
        if (rc == 0) rc = os_write_all(f, pages, span, from);
        if (rc == 0) rc = os_read_pages(f, pages, span, from);
        if (rc < 0 || memcmp(pages + (at - from), data, bytes) == 0) return rc;
    }
    return err_set(BECK_IO, "write: the device does not take what is written");
}

static int os_write_direct(const struct os_file *f, const uint8_t *data, size_t bytes, uint64_t at)
{
    int rc = 0;
    uint8_t *pages = aligned_alloc(OS_DIRECT_ALIGN, DIRECT_BYTES);
    if (pages == NULL) return err_set(BECK_NOMEM, "out of memory");
    while (rc == 0 && bytes > 0) {
        size_t n = (size_t)min_u64(bytes, DIRECT_BYTES - at % OS_DIRECT_ALIGN);
        rc = os_write_piece(f, pages, data, n, at);
        data += n;
        at += n;
        bytes -= n;
    }
    free(pages);
    return rc;
}

int os_write(const struct os_file *f, const void *data, size_t bytes, uint64_t at)
{
    return f->direct ? os_write_direct(f, data, bytes, at) : os_write_all(f, data, bytes, at);
}

/* Holes and what lies behind the end get space by being written. A file that grew in vain shrinks
 * again: on a full disk others want what it took. */
int os_allocate_by_zeros(const struct os_file *f, uint64_t at, uint64_t bytes)
{
    static const uint8_t zeros[64 * 1024];
    uint64_t size = 0, end = at + bytes;
    int rc = os_size(f, &size);
    if (rc < 0) return rc; /* how long it was is not known, then */
    while (rc == 0 && at < end) {
        uint64_t n = min_u64(end - at, sizeof zeros);
        rc = os_write(f, zeros, (size_t)n, at);
        at += n;
    }
    if (rc < 0 && end > size && ftruncate(f->fd, (off_t)size) < 0) return rc; /* it stays long */
    return rc;
}

int os_room(const struct os_file *f, uint64_t *bytes)
{
    struct statvfs st;
    int rc;
    do rc = fstatvfs(f->fd, &st);
    while (rc < 0 && errno == EINTR);
    if (rc < 0) return os_fail("fstatvfs");
    *bytes = (uint64_t)st.f_bavail * st.f_frsize;
    return 0;
}

int os_fill_holes(const struct os_file *f)
{
    uint64_t size = 0, at = 0;
    int rc = os_size(f, &size);
    while (rc == 0 && at < size) {
        off_t hole = lseek(f->fd, (off_t)at, SEEK_HOLE);
        if (hole < 0 || (uint64_t)hole >= size) break; /* there is always one at the end */
        off_t data = lseek(f->fd, hole, SEEK_DATA);
        at = data < 0 ? size : (uint64_t)data;
        rc = os_allocate(f, (uint64_t)hole, at - (uint64_t)hole);
    }
    return rc;
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
    return rc < 0 ? os_sync_failed("fdatasync") : 0;
}

/* The folder that `path` lies in; a descriptor or an error. */
static int os_open_folder(const char *path)
{
    char folder[4096];
    const char *slash = strrchr(path, '/');
    size_t n = slash == NULL ? 0 : (size_t)(slash - path);
    if (n >= sizeof folder) return err_set(BECK_INVALID, "the path is too long");
    memcpy(folder, path, n);
    folder[n] = 0;
    const char *name = slash == NULL ? "." : n == 0 ? "/" : folder;
    int fd = os_open_fd(name, O_RDONLY | O_DIRECTORY, 0);
    return fd < 0 ? os_fail("open the directory") : fd;
}

int os_sync_directory(const char *path, const struct os_file *f)
{
    int fd = os_open_folder(path), rc = -1;
    while (fd >= 0 && (rc = fsync(fd)) < 0 && errno == EINTR) continue;
    int e = errno;
    if (fd >= 0) close(fd);
    if (rc == 0) return 0;
    /* It may be one that we can write but not read, or /proc/self/fd: then all there is. */
    if ((e == EACCES || e == EINVAL) && os_sync_filesystem(f) == 0) return 0;
    errno = e;
    return os_fail("sync the directory");
}

int os_folder_filesystem(const char *path, struct os_filesystem *fs)
{
    struct os_file folder = {.fd = os_open_folder(path)};
    if (folder.fd < 0) return folder.fd;
    int rc = os_filesystem(&folder, fs);
    os_close(&folder);
    return rc;
}

/* ---- Mappings ----
 *
 * A child must not inherit them: a mapping keeps the parent's description alive, and with it the
 * locks that say that the parent lives. Where the system cannot be told so, they are listed here
 * and unmapped by the child before fork returns. */

struct listed_map {
    uint8_t *base;
    size_t bytes;
    struct listed_map *next;
};

static pthread_mutex_t os_fork_mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t maps_mutex = PTHREAD_MUTEX_INITIALIZER; /* inside of os_fork_mutex */
static pthread_once_t os_fork_once = PTHREAD_ONCE_INIT;
static void (*os_fork_child)(void);
static struct listed_map *listed_maps;

void os_fork_lock(void)
{
    pthread_mutex_lock(&os_fork_mutex);
}

void os_fork_unlock(void)
{
    pthread_mutex_unlock(&os_fork_mutex);
}

static void os_before_fork(void)
{
    pthread_mutex_lock(&os_fork_mutex);
    pthread_mutex_lock(&maps_mutex);
}

static void os_after_fork(void)
{
    pthread_mutex_unlock(&maps_mutex);
    pthread_mutex_unlock(&os_fork_mutex);
}

static void os_in_child(void)
{
    for (struct listed_map *m = listed_maps, *next; m != NULL; m = next) {
        next = m->next;
        munmap(m->base, m->bytes);
        free(m);
    }
    listed_maps = NULL;
    if (os_fork_child != NULL) os_fork_child();
    os_after_fork();
}

static void os_register(void)
{
    (void)pthread_atfork(os_before_fork, os_after_fork, os_in_child);
}

void os_at_fork(void (*child)(void))
{
    (void)pthread_once(&os_fork_once, os_register);
    os_fork_lock();
    os_fork_child = child;
    os_fork_unlock();
}

/* Holds: maps_mutex. */
static int keep_from_children(uint8_t *base, size_t bytes)
{
    if (os_not_inherited(base, bytes)) return 0;
    struct listed_map *m = malloc(sizeof *m);
    if (m == NULL) return err_set(BECK_NOMEM, "out of memory");
    *m = (struct listed_map){base, bytes, listed_maps};
    listed_maps = m;
    return 0;
}

int os_map(const struct os_file *f, uint64_t at, uint64_t bytes, bool writable, struct os_map *map)
{
    ASSERT(at % BLOCK_BYTES == 0);
    ASSERT(bytes > 0);
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    uint64_t down = at % page; /* pages may be larger than blocks */
    size_t span = (size_t)align_up(down + bytes, page);
    int prot = writable ? PROT_READ | PROT_WRITE : PROT_READ, rc = 0;
    memset(map, 0, sizeof *map);
    (void)pthread_once(&os_fork_once, os_register);
    pthread_mutex_lock(&maps_mutex); /* no fork in between */
    uint8_t *base = mmap(NULL, span, prot, MAP_SHARED, f->fd, (off_t)(at - down));
    if (base == MAP_FAILED) {
        rc = os_fail("mmap");
    } else if ((rc = keep_from_children(base, span)) < 0) {
        munmap(base, span);
    }
    pthread_mutex_unlock(&maps_mutex);
    if (rc == 0)
        *map =
            (struct os_map){.data = base + down, .bytes = bytes, .base = base, .base_bytes = span};
    return rc;
}

void os_unmap(struct os_map *map)
{
    struct listed_map **at = &listed_maps;
    if (map->base == NULL) return;
    pthread_mutex_lock(&maps_mutex);
    while (*at != NULL && (*at)->base != map->base) at = &(*at)->next;
    if (*at != NULL) {
        struct listed_map *gone = *at;
        *at = gone->next;
        free(gone);
    }
    munmap(map->base, map->base_bytes);
    pthread_mutex_unlock(&maps_mutex);
    memset(map, 0, sizeof *map);
}

int os_map_sync(const struct os_map *map, uint64_t from, uint64_t to)
{
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    uint64_t skew = (uint64_t)(map->data - map->base);
    ASSERT(from <= to);
    ASSERT(to <= map->bytes);
    from = (from + skew) / page * page;
    to = align_up(to + skew, page);
    int rc;
    do rc = msync(map->base + from, to - from, MS_SYNC);
    while (rc < 0 && errno == EINTR);
    return rc < 0 ? os_sync_failed("msync") : 0;
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

/* Nothing can stand in for them: other locks do not belong to a description, or outlive a process.
 */
static int os_lock_failed(const char *what)
{
    if (errno != EINVAL && errno != ENOSYS && errno != EPERM && errno != EOPNOTSUPP)
        return os_fail(what);
    return err_set(BECK_UNSUPPORTED,
                   "%s: %s: beck needs open file description locks (fcntl F_OFD_SETLK, Linux 3.15);"
                   " this kernel, container profile or file system has none",
                   what, strerror(errno));
}

int os_lock(const struct os_file *f, uint64_t byte, bool exclusive)
{
    struct flock l;
    if (os_ofd(f, F_OFD_SETLK, exclusive ? F_WRLCK : F_RDLCK, byte, 1, &l) == 0) return 0;
    if (errno == EAGAIN || errno == EACCES) return BECK_BUSY;
    return os_lock_failed("lock");
}

int os_unlock(const struct os_file *f, uint64_t byte)
{
    struct flock l;
    return os_ofd(f, F_OFD_SETLK, F_UNLCK, byte, 1, &l) < 0 ? os_lock_failed("unlock") : 0;
}

int os_locked_by_other(const struct os_file *f, uint64_t byte, uint64_t count, bool *locked)
{
    struct flock l;
    if (os_ofd(f, F_OFD_GETLK, F_RDLCK, byte, count, &l) < 0) return os_lock_failed("test a lock");
    *locked = l.l_type != F_UNLCK;
    return 0;
}

/* ---- What threads keep ---- */

static int os_make_key(struct os_kept *kept)
{
    pthread_mutex_lock(&kept->mutex);
    int e = kept->made ? 0 : pthread_key_create(&kept->key, free);
    kept->made = e == 0;
    pthread_mutex_unlock(&kept->mutex);
    if (e == 0) return 0;
    return err_set(e == ENOMEM ? BECK_NOMEM : BECK_LIMIT, "pthread_key_create: %s", strerror(e));
}

int os_keep(struct os_kept *kept, void *block)
{
    int rc = os_make_key(kept);
    void *before = rc == 0 ? pthread_getspecific(kept->key) : NULL;
    if (rc == 0 && pthread_setspecific(kept->key, block) != 0)
        rc = err_set(BECK_NOMEM, "out of memory");
    free(rc == 0 ? before : block);
    return rc;
}

/* ---- Waiting, clocks, identity ---- */

struct timespec os_span(uint32_t ms)
{
    return (struct timespec){.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};
}

bool os_sleep_ms(uint32_t ms)
{
    struct timespec t = os_span(ms);
    return nanosleep(&t, NULL) < 0 && errno == EINTR;
}

int64_t os_clock_ms(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

int64_t os_now_ms(void)
{
    return os_clock_ms(CLOCK_REALTIME);
}

int64_t os_monotonic_ms(void)
{
    return os_clock_ms(CLOCK_MONOTONIC);
}

uint32_t os_process_id(void)
{
    return (uint32_t)getpid();
}
