/* coord.h -- the shared area: slots, lock words, cells, wake-ups, sync intents */
#ifndef COORD_H
#define COORD_H

#include <pthread.h>
#include <stdatomic.h>

#include "base.h"
#include "format.h"
#include "os.h"

/* ---- What lies in the area. Volatile: rebuilt by whoever opens the file alone. ---- */

struct tail {         /* where the next frame goes; kept twice in a cell */
    uint64_t segment; /* id; 0 = none yet, the next append makes one */
    uint64_t next;    /* next offset */
    int64_t max_timestamp;
    uint32_t position;
    uint32_t chain;
    uint32_t zeroed; /* the segment's bytes from position to here were written as zeros */
    uint32_t reserved;
};

enum cell_state {
    CELL_UNUSED = 0,
    CELL_LIVE = 1,
    CELL_DELETED = 2, /* no append begins any more */
    CELL_QUIET = 3    /* and none is under way: its lock was held once since */
};

enum wait_flag {                 /* bits of a cell's waiters: which bell is slept on */
                 WAIT_HERE = 1,  /* the cell's own */
                 WAIT_HEADER = 2 /* the header's, by who waits for many cells */
};

struct cell { /* one partition; field by field in doc/CONCURRENCY.md section 10 */
    _Atomic uint64_t lock;
    _Atomic uint64_t sync_lock;
    _Atomic uint64_t topic;
    _Atomic uint32_t partition;
    _Atomic uint32_t state;
    _Atomic uint32_t flip; /* tail[flip & 1] counts */
    uint32_t pad0;
    struct tail tail[2];
    uint64_t pad1;

    _Atomic uint64_t visible; /* on its own cache line: readers poll it */
    _Atomic uint32_t waiters; /* enum wait_flag: who may wait for visible to rise */
    _Atomic uint32_t bell;    /* what waiters sleep on: counts how often the flag was taken */
    uint32_t pad2[12];

    _Atomic uint64_t written;
    _Atomic uint64_t stable;
    _Atomic uint32_t stable_waiters;
    _Atomic uint32_t stable_bell;
    _Atomic uint64_t synced_segment; /* 0 = unknown; sync lock */
    _Atomic int64_t synced_at;       /* wall clock, for flush.ms */
    /* what lies below and is not stable was left by a sync nobody saw the end of */
    uint64_t suspect;
    _Atomic uint32_t synced_position; /* of synced_segment; sync lock */
    uint32_t pad3[3];
};

/* What a handle is doing, for people only: one word, because its threads share the slot. The last
 * of them to begin is shown; who ends takes back what is still its own. */
enum doing {
    DOING_NOTHING = 0,
    DOING_OPEN = 1,    /* opens the file: the gate is his */
    DOING_CLOSE = 2,   /* closes it: waits for the gate, or has it */
    DOING_LOCK = 3,    /* waits for the lock of a cell */
    DOING_SYNC = 4,    /* waits for `stable` of a cell, which somebody else is syncing */
    DOING_RECORDS = 5, /* waits for `visible` of a cell */
    DOING_MANY = 6     /* of so many cells */
};
#define DOING_SHIFT 56u /* the kind; below it partition << 40 | topic, or the number of cells */
#define DOING_PARTITION_SHIFT 40u

struct slot {
    _Atomic uint32_t generation;
    _Atomic uint32_t process; /* this one and what follows intent's line: for people only */
    _Atomic uint64_t joined;
    _Atomic uint64_t intent; /* joins at the moment a sync began; 0 = none */
    _Atomic uint64_t pins[PINS_PER_SLOT];
    _Atomic uint64_t doing;      /* enum doing, and of what */
    _Atomic int64_t opened_at;   /* wall clock */
    _Atomic uint64_t program[2]; /* its name, cut off and filled with zeros */
    _Atomic uint32_t namespace;  /* in which `process` means something; 0 = unknown */
    uint32_t pad;
};

struct coord_header {
    _Atomic uint64_t magic;
    _Atomic uint64_t layout;
    _Atomic uint64_t instance; /* random, written last; 0 = being built, or nobody */
    _Atomic uint64_t joins;
    _Atomic uint64_t root_flips;
    /* blocks below this have been written since they were allocated */
    _Atomic uint32_t written_blocks;
    uint8_t boot_id[16];   /* of the kernel under which the area was begun */
    uint64_t opened_bytes; /* size of the file before the area was built */
    _Atomic uint32_t poison;
    _Atomic uint32_t suspects; /* some partition has a suspect offset; until a clean close */
    _Atomic uint32_t building; /* somebody alone is recovering: if this stays, it died doing so */
    _Atomic uint32_t unclean;  /* the superblocks say so */
    _Atomic uint32_t bell;
    _Atomic uint32_t cells;   /* in use; catalog lock */
    _Atomic uint32_t extents; /* catalog lock */
    _Atomic uint32_t slots;   /* highest ever claimed, plus 1 */
};

#define COORD_CATALOG_AT 4096u
#define COORD_DIRECTORY_AT 8192u
#define COORD_SLOTS_AT 32768u
#define EXTENT_BLOCKS 4u
#define EXTENT_CELLS (EXTENT_BLOCKS * BLOCK_BYTES / 256u)
#define EXTENTS_MAX ((COORD_SLOTS_AT - COORD_DIRECTORY_AT) / 4u)

_Static_assert(sizeof(struct cell) == 256, "cells fill extents");
_Static_assert(offsetof(struct cell, visible) == 128, "readers' cache line");
_Static_assert(offsetof(struct cell, written) == 192, "syncers' cache line");
_Static_assert(sizeof(struct slot) == 128, "slots do not share cache lines");
_Static_assert(sizeof(struct coord_header) <= COORD_CATALOG_AT, "header fits");
_Static_assert(COORD_SLOTS_AT + SLOTS_MAX * sizeof(struct slot) == COORD_BYTES, "area is full");
_Static_assert(ATOMIC_LLONG_LOCK_FREE == 2 && ATOMIC_INT_LOCK_FREE == 2,
               "shared words are lock-free");

/* ---- This handle's view of it ---- */

/* A cell through both mappings: stores and compare-and-swap through rw, waits through ro. In a
 * private view (a read-only handle on a file nobody has open) both lead to memory of the handle's
 * own. */
struct cell_ref {
    struct cell *rw; /* NULL in a read-only handle */
    const struct cell *ro;
};

struct extents {
    struct os_map rw[EXTENTS_MAX];
    struct os_map ro[EXTENTS_MAX];
    uint32_t end;          /* none is mapped from here on */
    struct extents *older; /* of an earlier life of the area: threads may still look at them */
};

struct coord {
    const struct os_file *file;
    struct os_map rw; /* data NULL in a read-only handle */
    struct os_map ro;
    struct extents *extents; /* mapped when first needed */
    pthread_mutex_t extents_mutex;
    pthread_mutex_t sync_mutex; /* one sync at a time in a handle */
    uint64_t instance;
    uint64_t joined;
    uint64_t self; /* this handle's lock word */
    _Atomic int64_t settled_at;
    uint32_t slot;
    bool slot_held;
    bool may_be_shared;
};

/* What an area that nobody uses still tells about syncs. */
enum residue { RESIDUE_NONE, RESIDUE_INTENT, RESIDUE_POISON };

/* ---- Life. The gate is held around all of these. ---- */
BECK_PRIVATE int coord_open(struct coord *c, const struct os_file *file);
BECK_PRIVATE void coord_close(struct coord *c);
/* fork's child: give the mappings back without touching what they show. */
BECK_PRIVATE void coord_forget(struct coord *c);
/* The area was built anew by others: its extents lie elsewhere now. Read-only handles. NOMEM. */
BECK_PRIVATE int coord_reset_extents(struct coord *c);
/* Zero the area, saying first that it is being built; coord_publish takes that back and writes the
 * instance id last. [O1] */
BECK_PRIVATE int coord_rebuild(struct coord *c, enum residue residue);
BECK_PRIVATE int coord_publish(struct coord *c);
/* Is a usable area there (right layout, instance not 0)? Remembers the instance. */
BECK_PRIVATE bool coord_present(struct coord *c);
/* On tmpfs even a load takes a page, where a sparse copy has none: FULL, instead of a signal. */
BECK_PRIVATE int coord_loadable(const struct coord *c);
/* From now on, be sure of room before storing into what is mapped: a copy or a snapshot may share
 * its blocks, and then a store takes new ones. FULL, instead of a signal. */
BECK_PRIVATE int coord_may_be_shared(struct coord *c);
/* What the last users left in an area nobody uses now: poison, an intent, an unfinished recovery.
 * */
BECK_PRIVATE int coord_read_residue(const struct os_file *file, bool this_boot,
                                    enum residue *residue);
/* Remember, until a clean close, that somebody left a sync of an `os` topic unfinished. */
BECK_PRIVATE void coord_note_suspects(const struct coord *c);
BECK_PRIVATE int coord_zero(struct coord *c);

/* ---- Slots and liveness ---- */
BECK_PRIVATE int coord_claim_slot(struct coord *c); /* LIMIT */
BECK_PRIVATE void coord_release_slot(struct coord *c);
BECK_PRIVATE struct coord_header *coord_header(const struct coord *c);
BECK_PRIVATE const struct coord_header *coord_header_ro(const struct coord *c);
BECK_PRIVATE struct slot *coord_slot(const struct coord *c, uint32_t index);
/* Is the owner a lock word names dead? [S1] */
BECK_PRIVATE bool coord_owner_dead(const struct coord *c, uint64_t word);
BECK_PRIVATE bool coord_slot_dead(const struct coord *c, uint32_t index);
/* Slots that were ever claimed, whatever the area says. */
BECK_PRIVATE uint32_t coord_slots(const struct coord *c);
/* Is an area of this layout there, be it one that is being built or that nobody uses any more? */
BECK_PRIVATE bool coord_recognised(const struct coord *c);
/* Tell what this handle is doing; nothing for one without a slot. Not on hot paths. */
BECK_PRIVATE void coord_begin(const struct coord *c, enum doing kind, const struct cell *cell);
BECK_PRIVATE void coord_end(const struct coord *c, enum doing kind, const struct cell *cell);

/* ---- Lock words ---- */
enum lock_word { WORD_LOCK, WORD_SYNC };
enum lock_policy { LOCK_TAKE_DEAD, LOCK_REPORT_DEAD, LOCK_TRY };
enum lock_result {
    LOCK_TAKEN = 0,
    LOCK_FROM_DEAD = 1, /* taken from a dead owner: repair first [L2] */
    LOCK_DEAD = 2,      /* LOCK_REPORT_DEAD: the owner is dead, not taken */
    LOCK_HELD = 3       /* LOCK_TRY: somebody alive has it */
};
BECK_PRIVATE enum lock_result coord_lock(const struct coord *c, const struct cell_ref *cell,
                                         enum lock_word which, enum lock_policy policy);
BECK_PRIVATE void coord_unlock(const struct coord *c, const struct cell_ref *cell,
                               enum lock_word which);
/* Give it back as if its owner had died: the repair failed, the next one has to try again. */
BECK_PRIVATE void coord_unlock_broken(const struct coord *c, const struct cell_ref *cell,
                                      enum lock_word which);

/* ---- Cells ---- */
BECK_PRIVATE struct cell_ref coord_catalog_cell(const struct coord *c);
BECK_PRIVATE int coord_cell(struct coord *c, uint32_t index, struct cell_ref *cell);
/* For read-only handles: copy what readers need of a cell out of the file. Nothing is mapped,
 * because the extents go away with the last writer. */
BECK_PRIVATE int coord_copy_cell(const struct coord *c, uint32_t index, struct cell *to);
/* Copy a whole extent; 0 when it is not there. For who only looks. */
BECK_PRIVATE int coord_copy_extent(const struct coord *c, uint32_t extent,
                                   struct cell to[EXTENT_CELLS]);
/* The first block of extent `index`, or 0. */
BECK_PRIVATE uint32_t coord_extent_block(const struct coord *c, uint32_t index);
/* Byte behind the last of them, in an area that is in use. */
BECK_PRIVATE uint64_t coord_extents_end(const struct coord *c);
/* Register zeroed blocks as the next extent. Holds: catalog. LIMIT. */
BECK_PRIVATE int coord_add_extent(struct coord *c, uint32_t block);

/* Blocks below `block` have been in use: their space is allocated and written. A hint. */
BECK_PRIVATE void coord_note_written(const struct coord *c, uint32_t block);
BECK_PRIVATE bool coord_was_written(const struct coord *c, uint32_t block);

/* Read the tail consistently without the lock: for sync leaders. */
BECK_PRIVATE void cell_tail_snapshot(const struct cell *cell, struct tail *tail);
/* Holds: the cell's lock. */
BECK_PRIVATE void cell_tail_get(const struct cell *cell, struct tail *tail);
BECK_PRIVATE void cell_tail_set(struct cell *cell, const struct tail *tail);
BECK_PRIVATE void word_raise(_Atomic uint64_t *word, uint64_t to); /* compare-and-swap-max */

/* ---- Waiting [W1] [W2] ---- */
struct reader_wait {
    const struct cell_ref *cells;
    const uint64_t *seen;
    size_t count;
    const _Atomic uint32_t *stop;
    bool careful; /* the file may be cut meanwhile: touch nothing behind the sleep then */
};
/* After raising visible: wake whoever may wait for it. */
BECK_PRIVATE void coord_wake_readers(const struct coord *c, struct cell *cell);
BECK_PRIVATE void coord_wake_writers(struct cell *cell);
/* Wait until some cell's visible moves away from what `seen` says, or *stop is not 0; returns early
 * at will. True: a signal handler ran. */
BECK_PRIVATE bool coord_wait_readers(const struct coord *c, const struct reader_wait *wait,
                                     uint32_t timeout_ms);
/* After setting *stop: wake the one who waits with these cells. Safe in a signal handler. */
BECK_PRIVATE void coord_stop_waiting(const struct coord *c, _Atomic uint32_t *bell);
/* Wait while `stable` is below target; returns early at will. */
BECK_PRIVATE void coord_wait_stable(const struct coord *c, const struct cell_ref *cell,
                                    uint64_t target, uint32_t timeout_ms);

/* ---- Syncs: intents and poison [Y1]..[Y4] ---- */
BECK_PRIVATE void coord_sync_begin(struct coord *c);
BECK_PRIVATE void coord_sync_end(struct coord *c);
/* Is no intent left that was set before this handle joined? Else it can vouch only for bytes that
 * it wrote, or wrote again. [Y3] */
BECK_PRIVATE bool coord_may_publish(const struct coord *c);
/* Settle the intents of the dead. */
BECK_PRIVATE void coord_settle(struct coord *c);
/* The same at most every 100 ms, for those who sync anyway. */
BECK_PRIVATE void coord_settle_now_and_then(struct coord *c);
/* After a write that had to be stable: poison when its sync failed. */
BECK_PRIVATE void coord_sync_ended(const struct coord *c, int rc);
/* Write bytes and make them stable, with the intent that says so; only after 0 does anybody rely on
 * them. POISONED, or why they could not be written. */
BECK_PRIVATE int coord_write_stable(struct coord *c, const void *data, size_t bytes, uint64_t at);
BECK_PRIVATE void coord_poison(const struct coord *c);
BECK_PRIVATE int coord_check_poison(const struct coord *c); /* POISONED */

/* ---- Pins [R1] [R2] ---- */
BECK_PRIVATE void coord_pin(const struct coord *c, uint32_t pin, uint64_t segment);
BECK_PRIVATE void coord_unpin(const struct coord *c, uint32_t pin);
/* Does a live handle pin this segment? The fence of [R2] is inside. */
BECK_PRIVATE bool coord_pinned(const struct coord *c, uint64_t segment);

#endif
