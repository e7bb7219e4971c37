/* die_at_error.c -- to be preloaded: SIGKILL between a sync that failed and who would tell of it */
#include <dlfcn.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

static long end_if(long rc)
{
    if (rc < 0) raise(SIGKILL);
    return rc;
}

int msync(void *at, size_t bytes, int flags)
{
    int (*real)(void *, size_t, int) = (int (*)(void *, size_t, int))dlsym(RTLD_NEXT, "msync");
    return (int)end_if(real(at, bytes, flags));
}

int fdatasync(int fd)
{
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    return (int)end_if(real(fd));
}

ssize_t pwritev2(int fd, const struct iovec *v, int count, off_t at, int flags)
{
    ssize_t (*real)(int, const struct iovec *, int, off_t, int) =
        (ssize_t(*)(int, const struct iovec *, int, off_t, int))dlsym(RTLD_NEXT, "pwritev2");
    return end_if(real(fd, v, count, at, flags));
}
