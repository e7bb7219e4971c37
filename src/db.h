/* db.h -- the handle: open, close, gate, fork */
#ifndef DB_H
#define DB_H

#include <pthread.h>
#include <stdatomic.h>

#include "base.h"
#include "catalog.h"
#include "coord.h"
#include "file.h"
#include "partition.h"

#define CHUNK_PARTITIONS 32u
#define PARTITION_CHUNKS (BECK_PARTITIONS_MAX / CHUNK_PARTITIONS)

struct partition_chunk {
    struct partition *_Atomic parts[CHUNK_PARTITIONS];
};

#define CODEC_SHELVES 4u

/* What codecs keep between appends; a thread that finds all in use takes new ones. */
struct codec_shelf {
    pthread_mutex_t mutex; /* only ever tried */
    struct codec_tools tools;
};

struct beck_topic {
    struct beck *db;
    struct beck_topic *next;
    uint64_t id;
    char *name;
    _Atomic uint64_t catalog_seen; /* how much of the catalog `config` knows */
    struct live_config config;
    _Atomic uint32_t turn;                                    /* spreads records without a key */
    pthread_mutex_t mutex;                                    /* guards making parts */
    struct partition_chunk *_Atomic chunks[PARTITION_CHUNKS]; /* made when first used */
};

enum db_view {
    VIEW_NONE,    /* open failed: only errmsg and close work */
    VIEW_SHARED,  /* read-write: a slot in the live area */
    VIEW_WATCH,   /* read-only beside read-write handles: follows the live area */
    VIEW_PRIVATE, /* read-only on a file nobody has open */
    VIEW_OBSERVE  /* looks at the slots only: takes no lock, waits for nobody */
};

struct beck {
    struct file file;
    struct coord coord;
    struct catalog cat;
    _Atomic enum db_view view;
    bool readonly;
    bool forked;
    uint32_t busy_timeout_ms;
    uint32_t application_id;
    char *report;
    struct cell **old_cells; /* of private views left behind: threads may still look at them */
    size_t old_cells_count;
    const _Atomic uint32_t *fork_page; /* or NULL, and the process id tells */
    uint32_t process;
    bool forced;
    pthread_mutex_t mutex; /* guards the lists below, pin_words and a change of view */
    struct beck_topic *topics;
    struct codec_shelf codecs[CODEC_SHELVES];
    struct beck_consumer *consumers;
    uint32_t pin_words;      /* bit i: pin i is in use */
    _Atomic uint64_t epoch;  /* rises when a read-only handle had to attach again */
    _Atomic int64_t seen_at; /* when the file was last known to be there; wall clock */
    _Atomic uint64_t watched_instance;
    _Atomic uint64_t watched_sequence; /* of the superblock, in a private view */
    struct beck *list_next;            /* the process-wide list that fork needs */
    struct beck *list_prev;
};

BECK_PRIVATE int db_open(struct beck *db, const char *path, const beck_options *options);
BECK_PRIVATE int db_close(struct beck *db);
/* Before anything of the handle is given back: in a child that no fork handler saw nothing is ours.
 * */
BECK_PRIVATE void db_before_close(struct beck *db);
/* CORRUPT when somebody cut the file so short that what is mapped is no longer there. */
BECK_PRIVATE int db_check_whole(const struct beck *db);
/* FORKED in a child of the process that opened; the guard of every public call. */
BECK_PRIVATE int db_usable(const struct beck *db);
/* The same also for a handle that only observes. */
BECK_PRIVATE int db_present(const struct beck *db);
/* Bring the picture up to date as far as that goes now. */
BECK_PRIVATE int db_observe(struct beck *db);
BECK_PRIVATE int db_writable(const struct beck *db);
/* A read-only handle whose file was opened or closed by writers since: attach anew. Raises epoch.
 * */
BECK_PRIVATE int db_follow(struct beck *db);
/* The cell of a partition, on whatever the file is attached to now. NOT_FOUND. */
BECK_PRIVATE int db_cell(struct beck *db, uint64_t topic, uint32_t index, struct cell_ref *cell);
/* Would it have to? */
BECK_PRIVATE bool db_moved(struct beck *db);
BECK_PRIVATE int db_sync(struct beck *db);
/* Before a record is accepted, at `now_ms`: has the file still a name? Asked of the system every
 * LOOK_MS at most. MOVED. */
BECK_PRIVATE int db_still_there(struct beck *db, int64_t now_ms);
/* Bring the picture up to date. */
BECK_PRIVATE int db_refresh(struct beck *db);
/* A free pin word, or NO_PIN. */
BECK_PRIVATE uint32_t db_take_pin(struct beck *db);
BECK_PRIVATE void db_give_pin(struct beck *db, uint32_t pin);

#endif
