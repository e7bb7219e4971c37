/* recover.h -- after a crash: the end of every partition, then a sealed start */
#ifndef RECOVER_H
#define RECOVER_H

#include "buf.h"
#include "catalog.h"

/* Where a partition ends, for its cell. */
struct partition_end {
    uint64_t topic;
    uint32_t index;
    struct tail tail;
    uint64_t stable;  /* known to be on stable storage, or made so by recover_apply */
    uint64_t suspect; /* see struct cell */
};

/* A segment that was walked and is kept. Its header, written without a sync, is made good. */
struct survivor {
    struct segment_place place;
    uint64_t topic;
    uint64_t base;
    uint32_t partition;
    uint32_t end;
    bool sync;   /* recover_apply makes its bytes stable */
    bool sealed; /* it was before: an index may lie behind its end */
};

struct recovery {
    struct catalog *cat;
    bool clean;           /* the clean mark was there: the catalog's tails are the truth */
    bool trusted;         /* same boot, same inode, no failed sync: the page cache was never lost */
    enum residue residue; /* what the last users left of their syncs */
    struct buf report;    /* text, one finding a line, NUL-terminated when not empty */
    /* one for each partition of the picture, by topic id and partition */
    struct partition_end *ends;
    size_t count;
    struct entry *entries; /* SEALs and RETIREs that make it so */
    size_t entry_count;
    size_t entry_capacity;
    struct survivor *survivors;
    size_t survivor_count;
    size_t survivor_capacity;
};

/* Find the end of every partition; nothing is written. */
BECK_PRIVATE int recover_find_ends(struct recovery *r);
/* Make it last: what counts of `sync` topics is synced, unsealed segments are sealed, what follows
 * a cut is retired, in one catalog batch. Then every end has segment 0. Alone, under the gate. */
BECK_PRIVATE int recover_apply(struct recovery *r);
BECK_PRIVATE void recover_free(struct recovery *r);

#endif
