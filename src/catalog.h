/* catalog.h -- the log behind the picture: lock, replay, append, snapshot */
#ifndef CATALOG_H
#define CATALOG_H

#include <pthread.h>
#include <stdatomic.h>

#include "base.h"
#include "buf.h"
#include "coord.h"
#include "file.h"
#include "log.h"
#include "picture.h"

struct catalog {
    struct file *file;
    struct coord *coord;        /* NULL: a private view of a file nobody has open */
    struct cell *private_cells; /* in a private view: one for each partition */
    struct cell **copies;       /* beside writers, read-only: what catalog_cell handed out */
    uint32_t copy_count;
    pthread_mutex_t mutex; /* guards everything below among the threads of this handle */
    struct picture picture;
    struct segment_place root;
    struct segment_place segment; /* the catalog's segment being walked or written */
    struct segment_place spare;   /* where it goes on; id 0 = none */
    struct log_position at;
    struct segment_place *chain; /* all its segments, for their space */
    size_t chain_count;
    size_t chain_capacity;
    struct segment_place pending; /* handed out by catalog_place, not yet in the picture */
    uint64_t root_flips;
    uint32_t extents_taken; /* coordination extents entered into picture.space */
    _Atomic uint64_t seen;  /* entries applied: at.next, readable without the mutex */
    struct buf window;      /* bytes of `segment` from window_from */
    uint64_t window_from;
};

BECK_PRIVATE int catalog_init(struct catalog *cat, struct file *file, struct coord *coord);
BECK_PRIVATE void catalog_free(struct catalog *cat);

/* Build the picture from the superblock's root. `limit`: stop when so many entries were applied,
 * and call fewer damage; UINT64_MAX = to the end, checking that nothing intact lies behind it and
 * that at least super->catalog_next entries are there. */
BECK_PRIVATE int catalog_load(struct catalog *cat, const struct superblock *super, uint64_t limit);

/* Attach to the shared area, or (NULL) to a file nobody has open. Takes: mutex. */
BECK_PRIVATE void catalog_attach(struct catalog *cat, struct coord *coord);
/* Build the picture beside others who may be writing. */
BECK_PRIVATE int catalog_join(struct catalog *cat);
/* Bring the picture up to date with what others appended; cheap when nothing changed. Takes: mutex.
 * */
BECK_PRIVATE int catalog_refresh(struct catalog *cat);
/* Before what is missing in the picture is taken for deleted: after an error there may be no
 * picture at all, and then it is made now. Holds: mutex. */
BECK_PRIVATE int catalog_known(struct catalog *cat);
/* Has the catalog moved past the picture? [C2] */
BECK_PRIVATE bool catalog_moved(const struct catalog *cat);

/* The catalog lock: taken over and repaired when its owner died; the picture is current when it
 * returns. */
BECK_PRIVATE int catalog_lock(struct catalog *cat);
BECK_PRIVATE void catalog_unlock(struct catalog *cat);
/* The same for those who must not wait: BUSY when somebody alive holds it. */
BECK_PRIVATE int catalog_try_lock(struct catalog *cat);

/* Append entries as one batch: stable and visible to everybody, or nothing. Holds: catalog.
 * FULL, POISONED, BUSY. */
BECK_PRIVATE int catalog_append(struct catalog *cat, const struct entry *entries, size_t count);
/* Write the whole catalog once more and make it stable: after a sync whose end nobody saw. Alone.
 * */
BECK_PRIVATE int catalog_rewrite(struct catalog *cat);
/* Clear the clean mark before the first modification. [O2] Holds: catalog. */
BECK_PRIVATE int catalog_mark_unclean(struct catalog *cat);

/* Find a free place for a segment of at least `bytes` and give it an id and a salt. Nothing is
 * written; the next append leaves the place alone. Holds: catalog. */
BECK_PRIVATE int catalog_place(struct catalog *cat, uint64_t bytes, struct segment_place *place);

/* The cell of a partition; for a read-only handle beside writers a copy, made anew by each call, at
 * an address that stays. Takes: mutex. NOT_FOUND when the topic is gone. */
BECK_PRIVATE int catalog_cell(struct catalog *cat, uint64_t topic, uint32_t partition,
                              struct cell_ref *cell);
/* The same for a partition of the picture. Holds: mutex. */
BECK_PRIVATE int catalog_cell_of(struct catalog *cat, struct partition_picture *part,
                                 struct cell_ref *cell);
/* Make cells for partitions [from, to) of a topic before its entry is appended. Holds: catalog. */
BECK_PRIVATE int catalog_make_cells(struct catalog *cat, uint64_t topic, uint32_t from,
                                    uint32_t to);

/* As far as the picture can be made. Takes: mutex. */
BECK_PRIVATE bool catalog_topic_gone(struct catalog *cat, uint64_t topic);

/* Bytes the catalog takes in the file. */
BECK_PRIVATE uint64_t catalog_bytes(const struct catalog *cat);

#endif
