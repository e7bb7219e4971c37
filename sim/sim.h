/* sim.h -- a world of its own: one file on one disk, processes that share it, and what befalls them
 *
 * The library runs unchanged above os_sim.c. Each simulated process is a fiber of this one thread;
 * another one runs where a shared word is touched or the system is called, as the world's seed
 * says. The same seed gives the same run. Worlds nest: what a power loss leaves is looked at in a
 * world inside of the one that is being simulated, which stands still meanwhile. */
#ifndef SIM_H
#define SIM_H

#include <setjmp.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <ucontext.h>

#define SECTOR 512u
#define DISK_BYTES (3u * 1024 * 1024)
#define SECTORS (DISK_BYTES / SECTOR)
#define PROCESSES_MAX 6u
#define WAITS_MAX 128u

/* ---- Chance ---- */
struct chance {
    uint64_t state;
};
uint64_t chance_next(struct chance *c);
static inline uint32_t chance_below(struct chance *c, uint32_t limit)
{
    return (uint32_t)((chance_next(c) >> 32) * limit >> 32);
}
static inline bool chance_one_in(struct chance *c, uint32_t n)
{
    return chance_below(c, n) == 0;
}

/* ---- Disk: what the processes see, what the device holds for certain, and what lies between
 * ---- */
struct version { /* of a sector, written and not yet stable */
    uint32_t older;
    uint64_t changed; /* bit i: 8 bytes at i * 8 are not what they were when it was stable */
    uint8_t bytes[SECTOR];
};

struct disk {
    uint8_t *cache;    /* what every process sees; mapped by them, as it were */
    uint8_t *stable;   /* what a power loss leaves for certain */
    uint64_t size;     /* of the file */
    uint64_t high;     /* nothing but zeros from here on, in cache and stable */
    uint64_t sizes[8]; /* that it may have after a power loss */
    uint32_t size_count;
    uint32_t newest[SECTORS]; /* version, 0 = clean */
    uint8_t depth[SECTORS];   /* versions of the sector */
    uint32_t dirty[SECTORS];
    uint32_t dirty_at[SECTORS]; /* where in `dirty`, plus 1 */
    uint32_t dirty_count;
    struct version *versions;
    uint32_t version_count;
    uint32_t version_capacity;
    uint32_t version_free;
    bool exists;
    bool name_stable;
    bool tracked; /* versions are kept: there may be a crash */
    /* As ext4 does it: a sector whose very first write to the device failed is written again in
     * vain, and without an error, for as long as it stays in the cache. */
    bool sticky;
    bool settled[SECTORS]; /* it was written there once */
    bool stuck[SECTORS];
};
/* Memory that begins as zeros and takes room when it is touched; without any the program ends. */
void *sim_pages(size_t bytes);
void disk_init(struct disk *d);
void disk_reset(struct disk *d, bool tracked);
/* Bytes change, in the cache. */
void disk_write(struct disk *d, uint64_t at, const void *data, uint64_t bytes);
void disk_zero(struct disk *d, uint64_t at, uint64_t bytes);
/* They go around the cache. */
void disk_write_around(struct disk *d, uint64_t at, const void *data, uint64_t bytes);
/* They are as if they had never been written, and zeros. */
void disk_forget(struct disk *d, uint64_t at, uint64_t bytes);
void disk_resize(struct disk *d, uint64_t bytes);
/* The sectors that hold [from, to) are stable now. */
void disk_sync(struct disk *d, uint64_t from, uint64_t to);
/* All that is seen is stable, also what a failed sync left. */
void disk_sync_all(struct disk *d);
/* The sync failed: some of it got there, and all of it counts as clean. */
void disk_sync_failed(struct disk *d, uint64_t from, uint64_t to, struct chance *c);
/* From now on all sectors are written where they belong. */
void disk_unstick(struct disk *d);
/* Clean pages leave memory: what a failed sync kept back is seen no more. */
void disk_evict(struct disk *d, struct chance *c);
/* What the device holds, where the cache is clean. */
void disk_read_device(const struct disk *d, uint64_t at, void *data, uint64_t bytes);

/* ---- What a power loss leaves ---- */
enum { PICK_STABLE = 0, PICK_NEWEST = 1, PICK_OLDER = 2, PICK_TORN = 3, PICK_TRASH = 4 };
struct pick {
    uint32_t sector;
    uint8_t how;
    uint8_t which; /* OLDER: how many versions back; TORN: where the newer half ends, in 8 bytes */
};
struct loss {
    struct pick picks[SECTORS];
    uint32_t count;
    uint64_t size;
    uint32_t area; /* of the coordination area: 0 zeros, 1 stable, 2 cache, 3 noise */
    uint32_t seed;
    bool no_file;
};
void loss_choose(struct loss *l, const struct disk *from, struct chance *c);
void loss_apply(const struct loss *l, const struct disk *from, struct disk *to);
/* Nobody's memory is lost: only the processes are. */
void loss_of_processes(const struct disk *from, struct disk *to);

/* ---- Worlds and processes ---- */
enum process_state { PROCESS_FREE, PROCESS_READY, PROCESS_WAITS, PROCESS_DONE, PROCESS_DEAD };

struct process {
    struct world *world;
    enum process_state state;
    uint32_t number; /* pid; never used twice in a world */
    bool stopped;
    bool interrupted;
    jmp_buf context;
    ucontext_t first;
    bool begun;
    uint8_t *stack;
    void (*main)(void *argument);
    void *argument;
    const void *waits[WAITS_MAX];
    uint32_t wait_count;
    int64_t deadline; /* us; INT64_MAX = none */
    uint32_t priority;
    void *handles; /* the library's list of this process */
    void *keys[8];
    int64_t call_began; /* us, 0 = not in a call */
    bool told;          /* of a sync that failed */
    uint64_t wrote_at;  /* the last write or store of its own */
    uint64_t wrote_bytes;
};

struct held { /* a byte lock */
    int fd;
    bool exclusive;
    uint64_t byte;
};

struct description {
    struct process *owner;
    bool used, readonly, direct;
    uint32_t errors; /* of syncs that it was told of, or that were told of before it was opened */
};

enum fault {
    FAULT_NONE,
    FAULT_READ,
    FAULT_WRITE,
    FAULT_FULL,
    FAULT_SYNC,
    FAULT_WRITEBACK, /* of the kernel's own: who syncs next is told */
    FAULT_MAP,
    FAULT_MEMORY,
    FAULT_KINDS
};

struct world {
    struct disk disk;
    struct chance chance;
    struct process processes[PROCESSES_MAX];
    struct process *running;
    jmp_buf driver;
    struct description files[64];
    struct held locks[256];
    uint32_t lock_count;
    uint8_t boot_id[16];
    uint64_t inode;
    int64_t now; /* us since the world began */
    uint64_t steps;
    uint32_t next_number;
    /* who runs when */
    bool alone; /* never switch */
    bool by_priority;
    uint32_t switch_one_in;
    uint64_t next_switch;
    uint64_t next_mischief; /* step at which on_mischief is called */
    void (*on_mischief)(struct world *w);
    bool holds_writers; /* now and then one stands still before the first byte that it writes */
    /* called around each change of the disk and each sync */
    void (*on_change)(struct world *w);
    void *context;
    bool mapped_writes; /* the file system is one where stores may be used */
    bool shares;
    uint64_t snapshot_bytes; /* the catalog is rewritten when it is larger */
    /* the call of this kind that fails, counted down; and all that follow, when for ever */
    enum fault fault;
    uint32_t fault_in;
    bool fault_for_ever;
    uint32_t faults;
    bool sync_failed;
    uint32_t sync_errors; /* so many syncs failed */
    bool error_told;      /* of the last of them; till then who opens is told, too */
    bool error_kills;     /* who is told dies before it can say a word, or stands still */
    bool silenced;        /* somebody did, in this boot */
    /* memory */
    uint8_t *memory;
    size_t memory_used;
    void *free_lists[32];
    void *large;
    /* verdict */
    bool failed;
    char verdict[400];
    int depth;
    struct world *inner; /* the one below, made when first needed */
};

struct world *world_make(void);
void world_reset(struct world *w, uint64_t seed, bool tracked);
struct process *world_spawn(struct world *w, void (*main)(void *), void *argument);
/* Until all processes are done, dead or hopeless. */
void world_run(struct world *w);
void world_kill(struct world *w, struct process *p);
/* The running process: something is not as promised. Ends the run of its world. */
_Noreturn void sim_violation(const char *format, ...) __attribute__((format(printf, 1, 2)));
struct world *sim_world(void);
struct process *sim_self(void);
/* The running process waits on words, or for time only. True: woken; false: the time is over. */
bool sim_wait(const void *const *words, uint32_t count, int64_t microseconds);
void sim_wake(const void *word, int32_t count);
/* Should this call fail? Counts down. */
bool sim_fault(enum fault kind);
void sim_change(void); /* the disk is about to change, or has */
void sim_point(const volatile void *word);
void sim_free(void *memory);
/* A process dies: what it had open is closed. If it was told of an error and did not live to leave
 * word, that is one of the limits in doc/DURABILITY.md: what is not promised then is not asked. */
void os_sim_died(struct world *w, struct process *p);
void os_sim_all_died(const struct world *w, struct world *after);
/* Somebody has recovered after that, or others go on: from now on what is written arrives. */
void os_sim_opened(struct world *w);

#endif
