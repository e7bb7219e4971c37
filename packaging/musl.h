/* musl.h -- what musl before 1.2.5 does not declare; `make static` includes it before everything */
#ifndef BECK_MUSL_H
#define BECK_MUSL_H

#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#ifndef STATX_BTIME
#include <linux/stat.h>

static inline int statx(int fd, const char *path, int flags, unsigned mask, struct statx *result)
{
    return (int)syscall(SYS_statx, fd, path, flags, mask, result);
}

/* The offset comes in two halves, of which the upper is empty on 64 bits. */
static inline ssize_t pwritev2(int fd, const struct iovec *iov, int count, off_t at, int flags)
{
    return syscall(SYS_pwritev2, fd, iov, (long)count, at, 0L, flags);
}
#endif

#endif
