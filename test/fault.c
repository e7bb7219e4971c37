/* fault.c -- makes the n-th call of the C library fail, for a program linked with -Wl,--wrap */
#include "fault.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <unistd.h>

static _Atomic uint32_t calls[FAULT_KINDS], fired;
static _Atomic uint32_t armed_call = FAULT_KINDS, armed_from, armed_times;
static _Atomic int armed_error;
static _Atomic uint32_t random_millionths;
static _Atomic uint64_t random_state;
static _Atomic bool random_spares_syncs;
static _Atomic size_t at_most, space_at_once;
static uint32_t interrupts, pretended;
static _Atomic uint32_t before_in;
static bool before_failing;
static void (*before_call)(void);
static _Thread_local uint32_t interrupted;
static _Atomic long blocks, mappings;

static const char *const names[] = {
#define FAULT_NAME(name, text) text,
    FAULT_CALLS(FAULT_NAME)
#undef FAULT_NAME
};

const char *fault_name(enum fault_call call)
{
    return call < FAULT_KINDS ? names[call] : "nothing";
}

/* ENOSYS and its like are for calls that may be missing: test/os_test.c and test/without_test.py
 * take them away for good; here they are missing once. A lock is never given back in vain, a futex
 * that fails is a wait that was short. */
const int *fault_errors(enum fault_call call)
{
    static const int none[] = {EIO, 0};
    static const int table[FAULT_KINDS][10] = {
        [FAULT_OPEN] = {EMFILE, EACCES, ENFILE, ENOMEM, EIO, EROFS, EPERM, EINTR, ENOSPC},
        [FAULT_LOCK] = {ENOLCK, EINTR, EAGAIN, EIO},
        [FAULT_GETLK] = {ENOLCK, EINTR, EIO},
        [FAULT_FSTAT] = {EIO, ENOMEM},
        [FAULT_STAT] = {EIO, ENOMEM, EACCES},
        [FAULT_STATX] = {EIO, ENOMEM, ENOSYS, EPERM},
        [FAULT_FSTATFS] = {EIO, ENOMEM, EINTR},
        [FAULT_FSTATVFS] = {EIO, ENOMEM, EINTR},
        [FAULT_PREAD] = {EIO, EINTR, ENOMEM},
        [FAULT_READ] = {EIO, EINTR},
        [FAULT_PWRITE] = {EIO, ENOSPC, EDQUOT, EFBIG, EINTR, ENOMEM, EPERM, EROFS},
        [FAULT_PWRITEV2] = {EIO, ENOSPC, EDQUOT, EINTR, ENOMEM, ENOSYS, EOPNOTSUPP},
        [FAULT_FDATASYNC] = {EIO, ENOSPC, EDQUOT, EROFS},
        [FAULT_FSYNC] = {EIO, ENOSPC, EINVAL},
        [FAULT_MSYNC] = {EIO, ENOMEM, ENOSPC},
        [FAULT_MMAP] = {ENOMEM, ENFILE, EPERM},
        [FAULT_MADVISE] = {EINVAL, ENOMEM, EAGAIN, EIO},
        [FAULT_FALLOCATE] = {ENOSPC, EINTR, EIO, EOPNOTSUPP, EDQUOT, EFBIG},
        [FAULT_FTRUNCATE] = {EIO, EINTR, ENOSPC, EPERM, ETXTBSY},
        [FAULT_LSEEK] = {EINVAL, ENXIO},
        [FAULT_IOCTL] = {ENOTTY, EPERM},
        [FAULT_WRITEBACK] = {EIO, ENOSPC},
        [FAULT_SYSCALL] = {EAGAIN, EINTR, ENOSYS},
        [FAULT_GETRANDOM] = {ENOSYS, EINTR, EPERM},
        [FAULT_MEMFD] = {EMFILE, ENOMEM, ENOSYS},
        [FAULT_MEMORY] = {ENOMEM},
        [FAULT_SETSPECIFIC] = {ENOMEM},
        [FAULT_KEY] = {EAGAIN, ENOMEM},
    };
    return call < FAULT_KINDS ? table[call] : none;
}

static void forget_counts(void)
{
    atomic_store(&fired, 0);
    for (int i = 0; i < FAULT_KINDS; i++) atomic_store(&calls[i], 0);
}

void fault_arm(enum fault_call call, uint32_t nth, uint32_t times, int error)
{
    forget_counts();
    armed_from = nth;
    armed_times = times;
    armed_error = error;
    armed_call = call;
}

bool fault_is_sync(enum fault_call call)
{
    return call == FAULT_PWRITEV2 || call == FAULT_FDATASYNC || call == FAULT_MSYNC;
}

void fault_arm_random(uint64_t seed, uint32_t millionths, bool syncs)
{
    forget_counts();
    random_spares_syncs = !syncs;
    random_state = seed;
    random_millionths = millionths;
}

void fault_before(uint32_t nth, void (*act)(void))
{
    before_in = nth;
    before_failing = nth == 0;
    before_call = act;
}

uint32_t fault_disarm(void)
{
    before_call = NULL;
    uint32_t count = fired;
    armed_call = FAULT_KINDS;
    random_millionths = 0;
    forget_counts();
    return count;
}

uint32_t fault_fired(void)
{
    return fired;
}

uint32_t fault_calls(enum fault_call call)
{
    return calls[call];
}

void fault_short(size_t bytes)
{
    at_most = bytes;
}

void fault_interrupt_space(size_t bytes)
{
    space_at_once = bytes;
}

void fault_interrupt(uint32_t times)
{
    interrupts = times;
    interrupted = 0;
}

void fault_pretend(uint32_t magic)
{
    pretended = magic;
}

long fault_blocks_of_memory(void)
{
    return blocks;
}

long fault_mappings(void)
{
    return mappings;
}

#if FAULT_WRAPPED

static bool direct[64]; /* descriptors */

static uint32_t chance(uint32_t below)
{
    uint64_t x = atomic_fetch_add(&random_state, UINT64_C(0x9E3779B97F4A7C15));
    x = (x ^ x >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    x = (x ^ x >> 27) * UINT64_C(0x94D049BB133111EB);
    return (uint32_t)((x ^ x >> 31) % below);
}

static bool fails(enum fault_call call)
{
    if (before_call != NULL && !before_failing && atomic_fetch_sub(&before_in, 1) == 1)
        before_call();
    uint32_t n = atomic_fetch_add(&calls[call], 1) + 1;
    int error = armed_error;
    bool now = armed_call == call && n >= armed_from && n - armed_from < armed_times;
    bool spared = random_spares_syncs && fault_is_sync(call);
    if (random_millionths != 0 && !spared && chance(1000000) < random_millionths) {
        const int *list = fault_errors(call);
        uint32_t count = 0;
        while (list[count] != 0) count++;
        error = list[chance(count)];
        now = true;
    }
    if (!now) return false;
    if (before_call != NULL && before_failing) before_call();
    atomic_fetch_add(&fired, 1);
    if (error == FAULT_KILL) raise(SIGKILL);
    errno = error;
    return true;
}

/* The same for calls that a signal can end. */
static bool ends(enum fault_call call)
{
    if (interrupts > 0 && interrupted++ < interrupts) {
        errno = EINTR;
        return true;
    }
    interrupted = 0;
    return fails(call);
}

static bool too_long(off_t bytes)
{
    errno = EINTR;
    return space_at_once != 0 && bytes > (off_t)space_at_once;
}

static size_t shorter(size_t bytes)
{
    return at_most != 0 && bytes > at_most ? at_most : bytes;
}

/* ---- Files ---- */

#define WRAP(type, name, parameters, arguments, failing)                                           \
    type __real_##name parameters;                                                                 \
    type __wrap_##name parameters;                                                                 \
    type __wrap_##name parameters                                                                  \
    {                                                                                              \
        return failing ? -1 : __real_##name arguments;                                             \
    }

WRAP(int, fstat, (int fd, struct stat *st), (fd, st), fails(FAULT_FSTAT))
WRAP(int, stat, (const char *path, struct stat *st), (path, st), fails(FAULT_STAT))
WRAP(int, statx, (int fd, const char *path, int flags, unsigned mask, struct statx *sx),
     (fd, path, flags, mask, sx), fails(FAULT_STATX))
WRAP(int, fstatvfs, (int fd, struct statvfs *st), (fd, st), ends(FAULT_FSTATVFS))
/* What goes around the page cache is short at the end of the file only. */
WRAP(ssize_t, pread, (int fd, void *to, size_t n, off_t at),
     (fd, to, fd < 64 && direct[fd] ? n : shorter(n), at), ends(FAULT_PREAD))
WRAP(ssize_t, read, (int fd, void *to, size_t n), (fd, to, shorter(n)), ends(FAULT_READ))
WRAP(ssize_t, pwrite, (int fd, const void *from, size_t n, off_t at), (fd, from, shorter(n), at),
     ends(FAULT_PWRITE))
WRAP(int, madvise, (void *at, size_t n, int advice), (at, n, advice), fails(FAULT_MADVISE))
WRAP(int, fallocate, (int fd, int mode, off_t at, off_t n), (fd, mode, at, n),
     too_long(n) || ends(FAULT_FALLOCATE))
WRAP(int, ftruncate, (int fd, off_t size), (fd, size), ends(FAULT_FTRUNCATE))
WRAP(off_t, lseek, (int fd, off_t at, int whence), (fd, at, whence), fails(FAULT_LSEEK))
WRAP(int, sync_file_range, (int fd, off_t at, off_t n, unsigned flags), (fd, at, n, flags),
     fails(FAULT_WRITEBACK))
WRAP(ssize_t, getrandom, (void *to, size_t n, unsigned flags), (to, shorter(n), flags),
     ends(FAULT_GETRANDOM))
WRAP(int, memfd_create, (const char *name, unsigned flags), (name, flags), fails(FAULT_MEMFD))

/* Syncs cost nothing where a file system is only pretended. */
#define WRAP_SYNC(name, parameters, arguments, failing)                                            \
    int __real_##name parameters;                                                                  \
    int __wrap_##name parameters;                                                                  \
    int __wrap_##name parameters                                                                   \
    {                                                                                              \
        if (failing) return -1;                                                                    \
        return pretended != 0 ? 0 : __real_##name arguments;                                       \
    }

WRAP_SYNC(fdatasync, (int fd), (fd), ends(FAULT_FDATASYNC))
WRAP_SYNC(fsync, (int fd), (fd), ends(FAULT_FSYNC))
WRAP_SYNC(syncfs, (int fd), (fd), fails(FAULT_FSYNC))
WRAP_SYNC(msync, (void *at, size_t n, int flags), (at, n, flags), ends(FAULT_MSYNC))

ssize_t __real_pwritev2(int fd, const struct iovec *v, int count, off_t at, int flags);
ssize_t __wrap_pwritev2(int fd, const struct iovec *v, int count, off_t at, int flags);
ssize_t __wrap_pwritev2(int fd, const struct iovec *v, int count, off_t at, int flags)
{
    struct iovec less = {v[0].iov_base, shorter(v[0].iov_len)};
    if (ends(FAULT_PWRITEV2)) return -1;
    return __real_pwritev2(fd, count == 1 ? &less : v, count, at, pretended != 0 ? 0 : flags);
}

int __real_fstatfs(int fd, struct statfs *st);
int __wrap_fstatfs(int fd, struct statfs *st);
int __wrap_fstatfs(int fd, struct statfs *st)
{
    int rc = ends(FAULT_FSTATFS) ? -1 : __real_fstatfs(fd, st);
    if (rc == 0 && pretended != 0) st->f_type = (__typeof__(st->f_type))pretended;
    return rc;
}

int __real_open(const char *path, int flags, mode_t mode);
int __wrap_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...)
{
    va_list more;
    va_start(more, flags);
    mode_t mode = flags & O_CREAT ? va_arg(more, mode_t) : 0;
    va_end(more);
    int fd = ends(FAULT_OPEN) ? -1 : __real_open(path, pretended ? flags & ~O_DIRECT : flags, mode);
    if (fd >= 0 && fd < 64) direct[fd] = (flags & O_DIRECT) != 0;
    return fd;
}

int __real_fcntl(int fd, int command, void *argument);
int __wrap_fcntl(int fd, int command, ...);
int __wrap_fcntl(int fd, int command, ...)
{
    va_list more;
    va_start(more, command);
    void *argument = va_arg(more, void *);
    va_end(more);
    const struct flock *l = argument;
    if (command == F_OFD_SETLK && l->l_type != F_UNLCK && ends(FAULT_LOCK)) return -1;
    if (command == F_OFD_GETLK && ends(FAULT_GETLK)) return -1;
    return __real_fcntl(fd, command, argument);
}

/* btrfs's flags, where it is only pretended: not copied on write. */
int __real_ioctl(int fd, unsigned long request, void *argument);
int __wrap_ioctl(int fd, unsigned long request, ...);
int __wrap_ioctl(int fd, unsigned long request, ...)
{
    va_list more;
    va_start(more, request);
    void *argument = va_arg(more, void *);
    va_end(more);
    if (fails(FAULT_IOCTL)) return -1;
    if (pretended == 0) return __real_ioctl(fd, request, argument);
    if (request == FS_IOC_GETFLAGS) *(int *)argument = FS_NOCOW_FL;
    return 0;
}

/* EFAULT is what tells of a full disk; nothing else does where it is pretended. */
long __real_syscall(long number, long a, long b, long c, long d, long e, long f);
long __wrap_syscall(long number, ...);
long __wrap_syscall(long number, ...)
{
    long a[6];
    va_list more;
    va_start(more, number);
    for (int i = 0; i < 6; i++) a[i] = va_arg(more, long);
    va_end(more);
    if (fails(FAULT_SYSCALL)) return -1;
    return __real_syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

/* ---- Mappings and memory ---- */

void *__real_mmap(void *at, size_t n, int prot, int flags, int fd, off_t from);
void *__wrap_mmap(void *at, size_t n, int prot, int flags, int fd, off_t from);
void *__wrap_mmap(void *at, size_t n, int prot, int flags, int fd, off_t from)
{
    void *p = fails(FAULT_MMAP) ? MAP_FAILED : __real_mmap(at, n, prot, flags, fd, from);
    if (p != MAP_FAILED) atomic_fetch_add(&mappings, 1);
    return p;
}

int __real_munmap(void *at, size_t n);
int __wrap_munmap(void *at, size_t n);
int __wrap_munmap(void *at, size_t n)
{
    atomic_fetch_sub(&mappings, 1);
    return __real_munmap(at, n);
}

static void *counted(void *p)
{
    if (p != NULL) atomic_fetch_add(&blocks, 1);
    return p;
}

void *__real_malloc(size_t n);
void *__wrap_malloc(size_t n);
void *__wrap_malloc(size_t n)
{
    return fails(FAULT_MEMORY) ? NULL : counted(__real_malloc(n));
}

void *__real_calloc(size_t count, size_t n);
void *__wrap_calloc(size_t count, size_t n);
void *__wrap_calloc(size_t count, size_t n)
{
    return fails(FAULT_MEMORY) ? NULL : counted(__real_calloc(count, n));
}

void *__real_aligned_alloc(size_t to, size_t n);
void *__wrap_aligned_alloc(size_t to, size_t n);
void *__wrap_aligned_alloc(size_t to, size_t n)
{
    return fails(FAULT_MEMORY) ? NULL : counted(__real_aligned_alloc(to, n));
}

void *__real_realloc(void *p, size_t n);
void *__wrap_realloc(void *p, size_t n);
void *__wrap_realloc(void *p, size_t n)
{
    if (fails(FAULT_MEMORY)) return NULL;
    return p == NULL ? counted(__real_realloc(p, n)) : __real_realloc(p, n);
}

void __real_free(void *p);
void __wrap_free(void *p);
void __wrap_free(void *p)
{
    if (p != NULL) atomic_fetch_sub(&blocks, 1);
    __real_free(p);
}

int __real_pthread_setspecific(pthread_key_t key, const void *value);
int __wrap_pthread_setspecific(pthread_key_t key, const void *value);
int __wrap_pthread_setspecific(pthread_key_t key, const void *value)
{
    return fails(FAULT_SETSPECIFIC) ? errno : __real_pthread_setspecific(key, value);
}

int __real_pthread_key_create(pthread_key_t *key, void (*destructor)(void *));
int __wrap_pthread_key_create(pthread_key_t *key, void (*destructor)(void *));
int __wrap_pthread_key_create(pthread_key_t *key, void (*destructor)(void *))
{
    return fails(FAULT_KEY) ? errno : __real_pthread_key_create(key, destructor);
}

#endif
