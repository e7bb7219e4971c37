/* os_linux.c -- the rest of the seam on Linux: file systems, allocation, futexes */
#include "os_posix.h"

#ifndef BECK_OS_PORTABLE
#ifndef __linux__
#error "not Linux: build with make OS=portable (-DBECK_OS_PORTABLE), see doc/DURABILITY.md"
#endif

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/futex.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include "err.h"

#define PIECE_BYTES UINT64_C(65536)

/* Linux 5.4 is the floor. What is newer, and what a container's seccomp profile may forbid, is
 * tried, and does without: test/os_test.c and test/without_test.py forbid each of them. */
#ifndef FALLOC_FL_ZERO_RANGE
#define FALLOC_FL_ZERO_RANGE 0x10 /* Linux 3.15; musl does not name it */
#endif
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_READ 22 /* Linux 5.14 */
#define MADV_POPULATE_WRITE 23
#endif
#ifndef SYS_futex_waitv
#define SYS_futex_waitv 449 /* Linux 5.16 */
#endif
#ifndef XFS_SUPER_MAGIC
#define XFS_SUPER_MAGIC 0x58465342
#endif

/* The call is not there, or not allowed, whatever its arguments are. */
static bool os_missing(void)
{
    return errno == ENOSYS || errno == EPERM || errno == EOPNOTSUPP || errno == EINVAL;
}

/* ---- Files ---- */

int os_identity(const struct os_file *f, struct os_identity *id)
{
    struct statx sx;
    struct stat st;
    memset(id, 0, sizeof *id);
    if (statx(f->fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS | STATX_BTIME, &sx) == 0) {
        id->device = (uint64_t)sx.stx_dev_major << 32 | sx.stx_dev_minor;
        id->inode = sx.stx_ino;
        id->links = sx.stx_nlink;
        if (sx.stx_mask & STATX_BTIME) {
            id->birth_s = sx.stx_btime.tv_sec;
            id->birth_ns = sx.stx_btime.tv_nsec;
        }
        return 0;
    }
    if (!os_missing()) return os_fail("statx");
    if (fstat(f->fd, &st) < 0) return os_fail("fstat");
    id->device = (uint64_t)major(st.st_dev) << 32 | minor(st.st_dev);
    id->inode = st.st_ino;
    id->links = st.st_nlink;
    return 0;
}

/* Not on the list: refused, and used at one's own risk with BECK_OPEN_FORCE. */
static const char refused_network[] =
    "other machines that have it open see neither locks nor shared memory";
static const char refused_pass[] = "locks and shared memory need not work on both sides of it";
static const char refused_untested[] = "beck is not tested there";

static const struct {
    uint64_t magic;
    struct os_filesystem fs;
} os_filesystems[] = {
    {EXT4_SUPER_MAGIC, {.name = "ext4", .allowed = true, .mapped_writes = true}},
    {TMPFS_MAGIC, {.name = "tmpfs", .allowed = true, .mapped_writes = true, .memory = true}},
    {XFS_SUPER_MAGIC, {.name = "xfs", .allowed = true, .shares = true}},
    {BTRFS_SUPER_MAGIC, {.name = "btrfs", .allowed = true, .copy_on_write = true, .shares = true}},
    {OVERLAYFS_SUPER_MAGIC, {.name = "overlayfs", .allowed = true, .shares = true}},
    {NFS_SUPER_MAGIC, {.name = "NFS", .refused = refused_network}},
    {SMB_SUPER_MAGIC, {.name = "SMB", .refused = refused_network}},
    {0xff534d42, {.name = "CIFS", .refused = refused_network}},
    {0xfe534d42, {.name = "SMB2 (CIFS)", .refused = refused_network}},
    {0x00c36400, {.name = "CephFS", .refused = refused_network}},
    {0x0bd00bd0, {.name = "Lustre", .refused = refused_network}},
    {0x01161970, {.name = "GFS2", .refused = refused_network}},
    {0x7461636f, {.name = "OCFS2", .refused = refused_network}},
    {0x5346414f, {.name = "AFS", .refused = refused_network}},
    {V9FS_MAGIC, {.name = "9p", .refused = refused_pass}},
    {0x65735546, {.name = "FUSE or virtiofs", .refused = refused_pass}},
    {0x786f4256, {.name = "vboxsf", .refused = refused_pass}},
    {0xf15f, {.name = "eCryptfs", .refused = refused_pass}},
    {0x2fc12fc1, {.name = "ZFS", .refused = refused_untested}},
    {0xca451a4e, {.name = "bcachefs", .refused = refused_untested}},
    {0xf2f52010, {.name = "F2FS", .refused = refused_untested}},
    {0x3434, {.name = "NILFS2", .refused = refused_untested}},
    {0x4d44, {.name = "FAT", .refused = refused_untested}},
    {0x2011bab0, {.name = "exFAT", .refused = refused_untested}},
    {0x7366746e, {.name = "NTFS", .refused = refused_untested}},
    {0x5346544e, {.name = "NTFS", .refused = refused_untested}},
    {0x858458f6, {.name = "ramfs", .refused = refused_untested}},
};

void os_filesystem_by_magic(uint64_t magic, struct os_filesystem *fs)
{
    for (size_t i = 0; i < sizeof os_filesystems / sizeof os_filesystems[0]; i++) {
        if (os_filesystems[i].magic != (magic & UINT32_MAX)) continue;
        *fs = os_filesystems[i].fs;
        return;
    }
    *fs = (struct os_filesystem){.name = "unknown to it", .refused = refused_untested};
}

int os_filesystem(const struct os_file *f, struct os_filesystem *fs)
{
    struct statfs st;
    int rc;
    do rc = fstatfs(f->fd, &st);
    while (rc < 0 && errno == EINTR);
    if (rc < 0) return os_fail("fstatfs");
    os_filesystem_by_magic((uint64_t)st.f_type, fs);
    fs->magic = (uint32_t)st.f_type;
    return 0;
}

int os_open_memory(struct os_file *f)
{
    *f = (struct os_file){.fd = os_above_stdio(memfd_create("beck", MFD_CLOEXEC))};
    return f->fd >= 0 ? 0 : os_missing() ? os_open_nameless(f) : os_fail("memfd_create");
}

void os_no_cow(const struct os_file *f)
{
    int flags = 0;
    if (ioctl(f->fd, FS_IOC_GETFLAGS, &flags) < 0) return;
    flags |= FS_NOCOW_FL;
    (void)ioctl(f->fd, FS_IOC_SETFLAGS, &flags);
}

bool os_is_cow(const struct os_file *f)
{
    int flags = 0;
    return ioctl(f->fd, FS_IOC_GETFLAGS, &flags) < 0 || !(flags & FS_NOCOW_FL);
}

int os_write_stable(const struct os_file *f, const void *data, size_t bytes, uint64_t at)
{
    const uint8_t *p = data;
    /* First without the sync: a full disk is told apart from a failed sync. */
    int rc = os_write(f, data, bytes, at);
    while (rc == 0 && bytes > 0) {
        struct iovec v = {.iov_base = (void *)(uintptr_t)p, .iov_len = bytes};
        ssize_t n = pwritev2(f->fd, &v, 1, (off_t)at, RWF_DSYNC);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && os_missing()) return os_sync(f);
        if (n <= 0) return os_sync_failed("write and sync");
        p += n;
        at += (uint64_t)n;
        bytes -= (size_t)n;
    }
    return rc;
}

/* A signal makes tmpfs give back (before Linux 6) all that it had: where signals come often, only
 * smaller pieces are ever done. */
static int allocate_in_pieces(int fd, uint64_t at, uint64_t bytes)
{
    uint64_t step = bytes;
    while (bytes > 0) {
        uint64_t n = min_u64(step, bytes);
        if (fallocate(fd, 0, (off_t)at, (off_t)n) == 0) {
            at += n;
            bytes -= n;
        } else if (errno != EINTR) {
            return -1;
        } else if (step > PIECE_BYTES) {
            step = max_u64(step / 2, PIECE_BYTES);
        }
    }
    return 0;
}

/* On a full disk xfs and btrfs refuse even what has its space already: writing tells. */
int os_allocate(const struct os_file *f, uint64_t at, uint64_t bytes)
{
    uint64_t size = 0;
    int rc = allocate_in_pieces(f->fd, at, bytes);
    if (rc == 0) return 0;
    if (!os_missing() && errno != ENOSPC && errno != EDQUOT) return os_fail("fallocate");
    bool full = errno == ENOSPC || errno == EDQUOT;
    int status = full ? os_fail("fallocate") : 0;
    if ((rc = os_size(f, &size)) < 0) return rc;
    return full && at + bytes > size ? status : os_allocate_by_zeros(f, at, bytes);
}

int os_sync_filesystem(const struct os_file *f)
{
    if (syncfs(f->fd) == 0) return 0;
    return os_missing() ? err_set(BECK_UNSUPPORTED, "no syncfs") : os_fail("syncfs");
}

void os_writeback(const struct os_file *f, uint64_t at, uint64_t bytes)
{
    (void)sync_file_range(f->fd, (off_t)at, (off_t)bytes, SYNC_FILE_RANGE_WRITE);
}

void os_forget(const struct os_file *f, uint64_t at, uint64_t bytes)
{
    int mode = FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE;
    if (fallocate(f->fd, mode, (off_t)at, (off_t)bytes) < 0) /* at least not in the cache */
        (void)posix_fadvise(f->fd, (off_t)at, (off_t)bytes, POSIX_FADV_DONTNEED);
}

/* Without /proc the path has to do, if it still leads to this file. */
int os_open_direct(const struct os_file *f, const char *path, struct os_file *direct)
{
    char self[64];
    struct stat here, there;
    (void)snprintf(self, sizeof self, "/proc/self/fd/%d", f->fd);
    int flags = (f->readonly ? O_RDONLY : O_RDWR) | O_DIRECT;
    *direct = (struct os_file){.fd = -1, .readonly = f->readonly, .direct = true};
    direct->fd = os_open_fd(self, flags, 0);
    if (direct->fd < 0 && (errno == ENOENT || errno == ENOTDIR))
        direct->fd = os_open_fd(path, flags, 0);
    int e = errno, rc = 0;
    if (direct->fd < 0 && e != EINVAL && e != ENOENT && e != ENOTDIR)
        return os_fail("open around the page cache");
    if (direct->fd >= 0 && (fstat(f->fd, &here) < 0 || fstat(direct->fd, &there) < 0))
        rc = os_fail("fstat");
    else if (direct->fd < 0 || here.st_ino != there.st_ino || here.st_dev != there.st_dev)
        rc = err_set(BECK_UNSUPPORTED, "cannot read around the page cache: %s",
                     direct->fd < 0 ? strerror(e) : "the path leads to another file");
    if (rc < 0) os_close(direct);
    return rc;
}

/* ---- Mappings ---- */

bool os_not_inherited(void *base, size_t bytes)
{
    return madvise(base, bytes, MADV_DONTFORK) == 0;
}

int os_populate(const struct os_map *map, uint64_t from, uint64_t to)
{
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    uint64_t skew = (uint64_t)(map->data - map->base);
    from = (from + skew) / page * page;
    to = min_u64(align_up(to + skew, page), map->base_bytes);
    if (from >= to || madvise(map->base + from, to - from, MADV_POPULATE_WRITE) == 0) return 0;
    if (errno != EFAULT) return 0; /* an older kernel */
    return err_set(BECK_FULL,
                   "the disk is full: no room for pages shared with a copy or a snapshot");
}

int os_populate_loads(const struct os_map *map)
{
    if (madvise(map->base, map->base_bytes, MADV_POPULATE_READ) == 0 || errno != EFAULT) return 0;
    return err_set(BECK_FULL, "the file system is full: no room for pages of a sparse copy");
}

/* ---- Waiting ---- */

/* A futex that fails for a reason of its own must not turn waiting into spinning. */
static bool os_waited(long rc, uint32_t timeout_ms)
{
    if (rc >= 0 || errno == EAGAIN || errno == ETIMEDOUT) return false;
    if (errno == EINTR) return true;
    return os_sleep_ms((uint32_t)min_u64(timeout_ms, 1));
}

bool os_wait(const _Atomic uint32_t *word, uint32_t expected, uint32_t timeout_ms)
{
    struct timespec t = os_span(timeout_ms);
    return os_waited(syscall(SYS_futex, word, FUTEX_WAIT, expected, &t, NULL, 0), timeout_ms);
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
    *supported = rc >= 0 || !os_missing();
    return *supported && os_waited(rc, timeout_ms);
}

void os_wake(_Atomic uint32_t *word, int32_t count)
{
    (void)syscall(SYS_futex, word, FUTEX_WAKE, count, NULL, NULL, 0);
}

/* ---- Clocks, chance, identity ---- */

int64_t os_now_coarse_ms(void)
{
    return os_clock_ms(CLOCK_REALTIME_COARSE);
}

/* Where getrandom is forbidden. */
static int os_random_device(uint8_t *p, size_t bytes)
{
    int fd = os_open_fd("/dev/urandom", O_RDONLY, 0);
    if (fd < 0) return os_fail("getrandom, and open /dev/urandom");
    while (bytes > 0) {
        ssize_t n = read(fd, p, bytes);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) break;
        p += n;
        bytes -= (size_t)n;
    }
    close(fd);
    return bytes == 0 ? 0 : err_set(BECK_IO, "read /dev/urandom: cut short");
}

int os_random(void *data, size_t bytes)
{
    uint8_t *p = data;
    while (bytes > 0) {
        ssize_t n = getrandom(p, bytes, 0);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return os_random_device(p, bytes);
        p += n;
        bytes -= (size_t)n;
    }
    return 0;
}

/* The beginning of a small file; how much, or less than nothing. */
static ssize_t os_read_text(const char *path, char *text, size_t bytes)
{
    ssize_t n;
    int fd = os_open_fd(path, O_RDONLY, 0);
    if (fd < 0) return -1;
    do n = read(fd, text, bytes);
    while (n < 0 && errno == EINTR);
    close(fd);
    return n;
}

static void os_read_boot_id(uint8_t id[16])
{
    char text[64] = {0};
    size_t digits = 0;
    memset(id, 0, 16);
    ssize_t n = os_read_text("/proc/sys/kernel/random/boot_id", text, sizeof text - 1);
    for (ssize_t i = 0; i < n && digits < 32; i++) {
        char c = text[i];
        int v = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
        if (v < 0) continue;
        id[digits / 2] = (uint8_t)(id[digits / 2] << 4 | v);
        digits++;
    }
}

/* Read once: whoever runs out of descriptors later is still on the same boot. */
void os_boot_id(uint8_t id[16])
{
    static _Atomic uint64_t known[2];
    uint64_t words[2] = {atomic_load(&known[0]), atomic_load(&known[1])};
    if (words[0] != 0 && words[1] != 0) {
        memcpy(id, words, 16);
        return;
    }
    os_read_boot_id(id);
    memcpy(words, id, 16);
    atomic_store(&known[0], words[0]);
    atomic_store(&known[1], words[1]);
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
    ssize_t n = os_read_text(path, text, sizeof text - 1);
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

#endif /* BECK_OS_PORTABLE */
