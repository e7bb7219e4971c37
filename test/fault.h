/* fault.h -- makes the n-th call of the C library fail, for a program linked with -Wl,--wrap
 *
 * test/fault.mk names the calls. Only what is linked into the program comes through here: beck and
 * the test itself, not the C library's own calls. Nothing fails until a fault is armed. */
#ifndef FAULT_H
#define FAULT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if defined(__SANITIZE_THREAD__)
#define FAULT_WRAPPED 0
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer) || __has_feature(address_sanitizer)
#define FAULT_WRAPPED 0
#endif
#endif
#ifndef FAULT_WRAPPED
#define FAULT_WRAPPED 1
#endif

#define FAULT_CALLS(X)                                                                             \
    X(OPEN, "open")                                                                                \
    X(LOCK, "fcntl F_OFD_SETLK")                                                                   \
    X(GETLK, "fcntl F_OFD_GETLK")                                                                  \
    X(FSTAT, "fstat")                                                                              \
    X(STAT, "stat")                                                                                \
    X(STATX, "statx")                                                                              \
    X(FSTATFS, "fstatfs")                                                                          \
    X(FSTATVFS, "fstatvfs")                                                                        \
    X(PREAD, "pread")                                                                              \
    X(READ, "read")                                                                                \
    X(PWRITE, "pwrite")                                                                            \
    X(PWRITEV2, "pwritev2")                                                                        \
    X(FDATASYNC, "fdatasync")                                                                      \
    X(FSYNC, "fsync")                                                                              \
    X(MSYNC, "msync")                                                                              \
    X(MMAP, "mmap")                                                                                \
    X(MADVISE, "madvise")                                                                          \
    X(FALLOCATE, "fallocate")                                                                      \
    X(FTRUNCATE, "ftruncate")                                                                      \
    X(LSEEK, "lseek")                                                                              \
    X(IOCTL, "ioctl")                                                                              \
    X(WRITEBACK, "sync_file_range")                                                                \
    X(SYSCALL, "syscall futex")                                                                    \
    X(GETRANDOM, "getrandom")                                                                      \
    X(MEMFD, "memfd_create")                                                                       \
    X(MEMORY, "malloc")                                                                            \
    X(SETSPECIFIC, "pthread_setspecific")                                                          \
    X(KEY, "pthread_key_create")

enum fault_call {
#define FAULT_ENUM(name, text) FAULT_##name,
    FAULT_CALLS(FAULT_ENUM)
#undef FAULT_ENUM
        FAULT_KINDS
};

#define FAULT_ALWAYS UINT32_MAX
#define FAULT_KILL (-1) /* instead of an error: SIGKILL, before anything is done */

/* From its `nth` on (1 = the next) `times` calls of this kind fail with `error`. Counts anew. */
void fault_arm(enum fault_call call, uint32_t nth, uint32_t times, int error);
/* Each call, of syncs only if they may, fails with this probability, in millionths, with an error
 * that becomes it. */
void fault_arm_random(uint64_t seed, uint32_t millionths, bool syncs);
bool fault_is_sync(enum fault_call call);
/* Before the `nth` call from now on, of whatever kind, `act` is called; 0 = before those that fail.
 */
void fault_before(uint32_t nth, void (*act)(void));
/* Nothing fails any more; how often something did since it was armed. */
uint32_t fault_disarm(void);
uint32_t fault_fired(void);
/* So many calls of this kind were made since something was armed or disarmed. */
uint32_t fault_calls(enum fault_call call);
const char *fault_name(enum fault_call call);

/* Reads and writes move so many bytes at most; 0 = what they are asked for. */
void fault_short(size_t bytes);
/* Every call that a signal can end is ended `times` times before it is made. */
void fault_interrupt(uint32_t times);
/* Space of more bytes is asked for in vain: a signal comes each time, as on tmpfs before Linux 6.
 * 0 = it is given. */
void fault_interrupt_space(size_t bytes);
/* Take every file system for the one with this number; 0 = for what it is. Syncs do nothing then,
 * and O_DIRECT is left out, so that tests can run in memory. */
void fault_pretend(uint32_t magic);

/* What was taken and not given back, since the program began. */
long fault_blocks_of_memory(void);
long fault_mappings(void);

/* The errors that become a call: a list that ends with 0. */
const int *fault_errors(enum fault_call call);

#endif
