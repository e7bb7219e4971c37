/* os_posix.h -- what every system does alike: files, maps, byte locks, clocks */
#ifndef OS_POSIX_H
#define OS_POSIX_H

#include <time.h>

#include "os.h"

/* For the other half of the seam only. */

/* errno and `what` as a status and a message. */
BECK_PRIVATE int os_fail(const char *what);
/* The same for a sync: whatever errno says, what became of the bytes is unknown. POISONED. */
BECK_PRIVATE int os_sync_failed(const char *what);
/* Open for this process alone, whatever signals say. */
BECK_PRIVATE int os_open_fd(const char *path, int flags, uint32_t permissions);
/* A descriptor below 3 would sooner or later receive somebody's printf: move it. */
BECK_PRIVATE int os_above_stdio(int fd);
/* os_open_memory where the system has no call for it. */
BECK_PRIVATE int os_open_nameless(struct os_file *f);
/* os_allocate where the system has no call for it. */
BECK_PRIVATE int os_allocate_by_zeros(const struct os_file *f, uint64_t at, uint64_t bytes);
/* What is known of a file system by its number in statfs. */
BECK_PRIVATE void os_filesystem_by_magic(uint64_t magic, struct os_filesystem *fs);
BECK_PRIVATE struct timespec os_span(uint32_t ms);
BECK_PRIVATE int64_t os_clock_ms(clockid_t clock);

/* Given by the other half: see to it that fork's child gets these pages not. False: it cannot. */
BECK_PRIVATE bool os_not_inherited(void *base, size_t bytes);

#endif
