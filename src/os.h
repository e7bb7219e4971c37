/* os.h -- the seam: the only way to a system call
 *
 * Everything beck asks of the system goes through these functions, so that another system is one
 * more file, and a test can stand in between. Preconditions are asserted; every failure is born
 * here, with errno turned into a status and words. Short counts and EINTR never reach the caller.
 * */
#ifndef OS_H
#define OS_H

#include <pthread.h>
#include <stdatomic.h>

#include "base.h"

struct os_file {
    int fd;
    bool readonly;
    bool direct; /* reads and writes go around the page cache */
};

struct os_identity {
    uint64_t device;
    uint64_t inode;
    int64_t birth_s; /* 0 when the file system does not know */
    uint32_t birth_ns;
    uint64_t links;
};

struct os_owner {
    uint32_t user;
    uint32_t mode; /* permissions */
};

struct os_filesystem {
    const char *name;
    bool allowed;        /* on the list of file systems beck is tested on */
    bool mapped_writes;  /* stores through a mapping into allocated space cannot fail */
    bool memory;         /* nothing survives a power loss: no poison, no proof */
    bool copy_on_write;  /* wants NOCOW before the first byte */
    bool shares;         /* with reflinked copies or snapshots: a store may need new blocks */
    const char *refused; /* why it is not allowed */
    uint32_t magic;
};

/* ---- Files. `path` is only for opening and messages. ---- */
enum os_open_mode { OS_READ, OS_WRITE, OS_CREATE };
/* OS_WRITE and OS_READ: NOT_FOUND when missing. OS_CREATE makes a new file, EXISTS when there is
 * one, and follows no symbolic link. PERMISSION, READONLY, INVALID (not a regular file). Never
 * gives descriptors 0-2. */
BECK_PRIVATE int os_open(const char *path, enum os_open_mode mode, uint32_t permissions,
                         struct os_file *f);
BECK_PRIVATE void os_close(struct os_file *f);
BECK_PRIVATE int os_size(const struct os_file *f, uint64_t *bytes);
BECK_PRIVATE int os_identity(const struct os_file *f, struct os_identity *id);
BECK_PRIVATE int os_owner(const char *path, struct os_owner *owner);
/* Does `path` lead to this file by a link that another user, not root, made? */
BECK_PRIVATE int os_linked_by_others(const char *path, const struct os_file *f, bool *linked);
/* MOVED when `path` no longer names this file. */
BECK_PRIVATE int os_still_there(const char *path, const struct os_file *f);
BECK_PRIVATE int os_filesystem(const struct os_file *f, struct os_filesystem *fs);
/* The one that a file made at `path` would lie on. */
BECK_PRIVATE int os_folder_filesystem(const char *path, struct os_filesystem *fs);
BECK_PRIVATE void os_no_cow(const struct os_file *f); /* only an empty file can be told */
/* On a file system that copies on write: does it do so with this file? */
BECK_PRIVATE bool os_is_cow(const struct os_file *f);
/* How much more the file system has room for. */
BECK_PRIVATE int os_room(const struct os_file *f, uint64_t *bytes);

/* A new file that has no name and ends when it is closed; in memory if the system can. */
BECK_PRIVATE int os_open_memory(struct os_file *f);

/* Read exactly `bytes`; what lies behind the end of the file reads as zeros. */
BECK_PRIVATE int os_read(const struct os_file *f, void *data, size_t bytes, uint64_t at);
BECK_PRIVATE int os_write(const struct os_file *f, const void *data, size_t bytes, uint64_t at);
/* Write and make just these bytes stable (and what leads to them). POISONED: the sync failed, the
 * outcome is unknown; any other error: they could not be written, and no sync was tried. */
BECK_PRIVATE int os_write_stable(const struct os_file *f, const void *data, size_t bytes,
                                 uint64_t at);
/* Reserve space, growing the file as needed; FULL. Never shrinks. What the bytes held before may be
 * zeros afterwards. */
BECK_PRIVATE int os_allocate(const struct os_file *f, uint64_t at, uint64_t bytes);
/* Give every hole inside of the file space of its own; FULL. */
BECK_PRIVATE int os_fill_holes(const struct os_file *f);
BECK_PRIVATE int os_truncate(const struct os_file *f, uint64_t bytes);
BECK_PRIVATE int os_sync(const struct os_file *f); /* POISONED = outcome unknown */
/* Make everything on its file system stable, without taking notice of errors that a later os_sync
 * of the file has to tell of; BECK_UNSUPPORTED. */
BECK_PRIVATE int os_sync_filesystem(const struct os_file *f);
/* Make the name of the open file stable. */
BECK_PRIVATE int os_sync_directory(const char *path, const struct os_file *f);
/* Start writing these bytes to the device; a hint. */
BECK_PRIVATE void os_writeback(const struct os_file *f, uint64_t at, uint64_t bytes);
/* Nobody needs these bytes: make of them what was never written, in the page cache and on the
 * device; a hint. See file_write_around. */
BECK_PRIVATE void os_forget(const struct os_file *f, uint64_t at, uint64_t bytes);
#define OS_DIRECT_ALIGN 4096u /* what a device may ask of addresses and sizes */
/* The same file once more, for reading what the device holds, whatever the page cache says, and for
 * writing there. UNSUPPORTED where the file system knows no such thing. */
BECK_PRIVATE int os_open_direct(const struct os_file *f, const char *path, struct os_file *direct);

/* ---- Mappings, shared; `at` is a multiple of 16 KiB; they may reach behind the end of the file.
 * ---- */
struct os_map {
    uint8_t *data; /* byte `at` of the file */
    uint64_t bytes;
    uint8_t *base; /* what the system mapped, page aligned */
    size_t base_bytes;
};
BECK_PRIVATE int os_map(const struct os_file *f, uint64_t at, uint64_t bytes, bool writable,
                        struct os_map *map);
BECK_PRIVATE void os_unmap(struct os_map *map);
/* Make the pages of [from, to) present and writable so that stores do not fault; a hint. FULL:
 * there is no room for all of them, and a store would end the process. */
BECK_PRIVATE int os_populate(const struct os_map *map, uint64_t from, uint64_t to);
/* Make all of a mapping present for loads; FULL: as above, on a file system in memory. */
BECK_PRIVATE int os_populate_loads(const struct os_map *map);
/* Make [from, to) of the mapping stable, whoever wrote it; POISONED = outcome unknown. */
BECK_PRIVATE int os_map_sync(const struct os_map *map, uint64_t from, uint64_t to);
/* Every mapped store that recovery depends on goes through here. */
BECK_PRIVATE void os_store(uint8_t *to, const void *from, size_t bytes);

/* ---- Byte locks of the open file description; they vanish with the process. ---- */
/* BUSY, never waits */
BECK_PRIVATE int os_lock(const struct os_file *f, uint64_t byte, bool exclusive);
BECK_PRIVATE int os_unlock(const struct os_file *f, uint64_t byte);
/* Does another description hold a write lock on any of these bytes? */
BECK_PRIVATE int os_locked_by_other(const struct os_file *f, uint64_t byte, uint64_t count,
                                    bool *locked);

/* ---- Waiting. All return early now and then; the caller looks again. True: a signal handler ran.
 * ---- */
BECK_PRIVATE bool os_wait(const _Atomic uint32_t *word, uint32_t expected, uint32_t timeout_ms);
#define OS_WAITV_MAX 128u
struct os_wait_item {
    const _Atomic uint32_t *word;
    uint32_t expected;
};
/* *supported is false when the system has no such call: wait on one word instead. */
BECK_PRIVATE bool os_wait_many(const struct os_wait_item *items, size_t count, uint32_t timeout_ms,
                               bool *supported);
BECK_PRIVATE void os_wake(_Atomic uint32_t *word, int32_t count);
BECK_PRIVATE bool os_sleep_ms(uint32_t ms);

/* ---- Clocks, chance, identity ---- */
struct os_clock { /* somebody else's idea of the time; `now` NULL = the system's */
    int64_t (*now)(void *context);
    void *context;
};
BECK_PRIVATE int64_t os_now_ms(void); /* since 1970, may jump */
/* The same, up to a tick of the kernel (1 to 10 ms) behind, at a fifth of the price. */
BECK_PRIVATE int64_t os_now_coarse_ms(void);
BECK_PRIVATE int64_t os_monotonic_ms(void); /* never compared between processes */
BECK_PRIVATE int os_random(void *data, size_t bytes);
BECK_PRIVATE void os_boot_id(uint8_t id[16]); /* zeros when unknown */
BECK_PRIVATE uint32_t os_process_id(void);
/* In which that number means this process; 0 = unknown. */
BECK_PRIVATE uint32_t os_process_namespace(void);
/* The name of this program, cut off to `bytes` and filled with zeros. */
BECK_PRIVATE void os_program_name(char *name, size_t bytes);
/* Has the process been stopped by a signal or a debugger? False when the system does not tell. */
BECK_PRIVATE bool os_process_stopped(uint32_t process);

/* A block of memory that each thread keeps for one purpose, until it keeps another or ends. */
struct os_kept {
    pthread_mutex_t mutex;
    pthread_key_t key;
    bool made;
};
#define OS_KEPT                                                                                    \
    {                                                                                              \
        .mutex = PTHREAD_MUTEX_INITIALIZER                                                         \
    }
/* Keep `block`, which malloc gave, in the place of the one before. On failure it is freed: NOMEM,
 * LIMIT. */
BECK_PRIVATE int os_keep(struct os_kept *kept, void *block);

/* No thread of this process forks while the lock is held: a child shall not inherit what nobody has
 * noted or marked yet. Only mappings are made and unmade inside. */
BECK_PRIVATE void os_fork_lock(void);
BECK_PRIVATE void os_fork_unlock(void);
/* Called in every child of a fork, before anything else of it runs. Once in a process. */
BECK_PRIVATE void os_at_fork(void (*child)(void));
/* A page that reads 1 in this process and 0 in every fork of it; NULL when the system cannot:
 * compare process ids, then. */
BECK_PRIVATE const _Atomic uint32_t *os_fork_page(void);
BECK_PRIVATE void os_fork_page_free(const _Atomic uint32_t *page);

#endif
