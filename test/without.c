/* without.c -- forbid this process, and what it starts, a system call or a use of one */
#include "without.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#ifndef SYS_futex_waitv
#define SYS_futex_waitv 449
#endif

enum use { ANY, EQUAL, MASK }; /* of the argument: whatever it is, this value, these bits */

static const struct forbidden {
    const char *name;
    long call;
    enum use use;
    uint32_t argument;
    uint32_t value;
} table[] = {
    {"fallocate", SYS_fallocate, ANY, 0, 0},
    {"statx", SYS_statx, ANY, 0, 0},
    {"pwritev2", SYS_pwritev2, ANY, 0, 0},
    {"sync_file_range", SYS_sync_file_range, ANY, 0, 0},
    {"futex_waitv", SYS_futex_waitv, ANY, 0, 0},
    {"futex", SYS_futex, ANY, 0, 0},
    {"getrandom", SYS_getrandom, ANY, 0, 0},
    {"madvise", SYS_madvise, ANY, 0, 0},
    {"madvise-dontfork", SYS_madvise, EQUAL, 2, MADV_DONTFORK},
    {"madvise-wipeonfork", SYS_madvise, EQUAL, 2, 18},
    {"madvise-populate", SYS_madvise, EQUAL, 2, 23},
    {"mincore", SYS_mincore, ANY, 0, 0},
    {"ofd-setlk", SYS_fcntl, EQUAL, 1, F_OFD_SETLK},
    {"ofd-getlk", SYS_fcntl, EQUAL, 1, F_OFD_GETLK},
    {"o_direct", SYS_openat, MASK, 2, O_DIRECT},
    {"memfd_create", SYS_memfd_create, ANY, 0, 0},
    {"ioctl", SYS_ioctl, ANY, 0, 0},
};

#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (field))
#define JUMP(how, value, yes, no) BPF_JUMP(BPF_JMP | (how) | BPF_K, (value), (yes), (no))
#define RETURN(value) BPF_STMT(BPF_RET | BPF_K, (value))

static int install(const struct forbidden *f, int error)
{
    uint32_t low = (uint32_t)offsetof(struct seccomp_data, args) + 8 * f->argument +
                   (__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? 0 : 4);
    bool always = f->use == ANY;
    struct sock_filter filter[] = {
        LOAD(offsetof(struct seccomp_data, nr)),
        JUMP(BPF_JEQ, (uint32_t)f->call, 0, 3),
        LOAD(low),
        JUMP(always           ? BPF_JGE
             : f->use == MASK ? BPF_JSET
                              : BPF_JEQ,
             always ? 0 : f->value, 0, 1),
        RETURN(SECCOMP_RET_ERRNO | (uint32_t)error),
        RETURN(SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof filter / sizeof filter[0], filter};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) return -1;
    return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}

int without(const char *what, int error)
{
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        if (strcmp(table[i].name, what) == 0) return install(&table[i], error);
    return -1;
}
