/* db.c -- the handle: open, close, gate, fork */
/*
 *     gate --> alone? --yes--> residue, area, slot, catalog, recovery, instance --> gate back
 *                  `--no---> layout checked, slot, catalog up to visible --------> gate back
 *
 *  [O1] who is alone rebuilds the whole area; the instance id comes last, so that nobody joins
 *       half of it
 *  [O2] the clean mark is removed before the first modification, not when the file is opened
 *  [O3] the last to close makes everything stable, writes the tails, trims, sets the mark and
 *       zeroes the area; with poison or an unsettled intent it leaves the file unclean
 *
 * A crash while opening alone leaves instance 0, or no slot held: the next opener is alone again. A
 * crash while closing leaves the file unclean, or clean with an area that is not zero, which nobody
 * reads. */
#include "db.h"

#include <stdlib.h>
#include <string.h>

#include "err.h"
#include "reader.h"
#include "recover.h"
#include "retire.h"

#define GATE_PAUSE_MS 2
#define INTENT_WAIT_MS 100
#define OPEN_TRIES 3 /* of a file that others replace meanwhile */

/* ---- fork: the one process-wide list ---- */

static pthread_once_t fork_once = PTHREAD_ONCE_INIT;
static struct beck *fork_list; /* os_fork_lock */

/* In a child nothing of the handle is ours: threads that held its mutexes do not exist here. */
static void db_forget(struct beck *db)
{
    db->forked = true;
    coord_forget(&db->coord);
    pthread_mutex_init(&db->mutex, NULL);
    pthread_mutex_init(&db->cat.mutex, NULL);
}

/* The child closes its copies of the descriptors, so that the parent's locks die with the parent.
 * Closing does not unlock: the parent's description lives on. Mappings were not inherited. */
static void fork_child(void)
{
    for (struct beck *db = fork_list, *next; db != NULL; db = next) {
        next = db->list_next;
        db->list_prev = db->list_next = NULL;
        db_forget(db);
        os_close(&db->file.os);
        os_close(&db->file.device);
    }
    fork_list = NULL;
}

static void fork_register(void)
{
    os_at_fork(fork_child);
}

static void list_add(struct beck *db)
{
    db->list_next = fork_list;
    if (fork_list != NULL) fork_list->list_prev = db;
    fork_list = db;
}

static void list_remove(struct beck *db)
{
    if (db->list_prev != NULL) db->list_prev->list_next = db->list_next;
    if (fork_list == db) fork_list = db->list_next;
    if (db->list_next != NULL) db->list_next->list_prev = db->list_prev;
    db->list_next = db->list_prev = NULL;
}

/* No fork between getting the descriptor and knowing it: the child would keep our locks alive. */
static int open_file(struct beck *db, const char *path, const beck_options *options)
{
    (void)pthread_once(&fork_once, fork_register);
    os_fork_lock();
    int rc = file_open(&db->file, path, options);
    list_add(db);
    os_fork_unlock();
    return rc;
}

/* And none in the middle of giving it back: slot, mappings, descriptor. */
static void close_file(struct beck *db)
{
    os_fork_lock();
    coord_close(&db->coord);
    file_close(&db->file);
    list_remove(db);
    os_fork_unlock();
}

int db_present(const struct beck *db)
{
    bool wiped = db->fork_page != NULL
                     ? atomic_load_explicit(db->fork_page, memory_order_relaxed) != 1
                     : os_process_id() != db->process;
    if (UNLIKELY(db->forked || wiped))
        return err_set(BECK_FORKED,
                       "this handle belongs to the parent process: open the file again");
    if (UNLIKELY(db->view == VIEW_NONE))
        return err_set(BECK_INVALID,
                       "this handle failed to open: it serves beck_errmsg and beck_close only");
    return 0;
}

int db_usable(const struct beck *db)
{
    int rc = db_present(db);
    if (rc == 0 && UNLIKELY(db->view == VIEW_OBSERVE))
        rc = err_set(BECK_INVALID, "the handle was opened to observe: it serves beck_handles only");
    return rc;
}

int db_writable(const struct beck *db)
{
    int rc = db_usable(db);
    if (rc == 0 && db->readonly) rc = err_set(BECK_READONLY, "the handle was opened read-only");
    return rc;
}

/* Where the area is in use its extents count, too. The last to close says so, by instance 0, before
 * it trims the file. */
int db_check_whole(const struct beck *db)
{
    int rc = file_check_whole(&db->file, HEAP_AT);
    if (rc < 0 || (db->view != VIEW_SHARED && db->view != VIEW_WATCH)) return rc;
    for (;;) {
        uint64_t end = coord_extents_end(&db->coord);
        rc = file_check_whole(&db->file, end);
        if (rc == 0 || atomic_load(&coord_header_ro(&db->coord)->instance) == 0) return 0;
        if (end == coord_extents_end(&db->coord)) return rc;
    }
}

/* ---- The gate ---- */

static int take_gate(struct beck *db, bool exclusive)
{
    int64_t until = os_monotonic_ms() + db->busy_timeout_ms;
    for (;;) {
        int rc = os_lock(&db->file.os, LOCK_GATE, exclusive);
        if (rc != BECK_BUSY) return rc;
        if (os_monotonic_ms() >= until)
            return err_set(BECK_BUSY,
                           "another process has been opening or closing the file for %u ms",
                           db->busy_timeout_ms);
        os_sleep_ms(GATE_PAUSE_MS);
    }
}

static void leave_gate(struct beck *db)
{
    (void)os_unlock(&db->file.os, LOCK_GATE);
}

static int anybody_else(struct beck *db, bool *others)
{
    return os_locked_by_other(&db->file.os, LOCK_SLOT0, SLOTS_MAX, others);
}

/* ---- Opening alone ---- */

/* What the area still tells of syncs that nobody saw the end of. */
static int examine_residue(struct beck *db, const struct superblock *super, enum residue *residue)
{
    *residue = RESIDUE_NONE;
    if (super->state == SUPER_CLEAN || db->file.fs.memory) return 0;
    return coord_read_residue(&db->file.os, file_same_boot(&db->file, super), residue);
}

static int fill_cells(struct beck *db, const struct recovery *r)
{
    struct cell_ref ref;
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < r->count; i++) {
        const struct partition_end *e = &r->ends[i];
        rc = catalog_make_cells(&db->cat, e->topic, e->index, e->index + 1);
        if (rc == 0) rc = catalog_cell(&db->cat, e->topic, e->index, &ref);
        if (rc == 0)
            partition_reset_cell(ref.rw, e->topic, e->index, &e->tail, e->stable, e->suspect);
        if (rc == 0 && e->suspect > 0) coord_note_suspects(&db->coord);
    }
    return rc;
}

static void keep_report(struct beck *db, struct recovery *r)
{
    if (r->report.size == 0) return;
    free(db->report);
    db->report = (char *)r->report.data;
    memset(&r->report, 0, sizeof r->report);
}

/* Cells that recover_find_ends numbered in its own way have to be looked up again. */
static void forget_cells(struct catalog *cat)
{
    for (size_t i = 0; i < cat->picture.topics; i++)
        for (uint32_t k = 0; k < cat->picture.by_id[i]->partitions; k++)
            cat->picture.by_id[i]->parts[k].cell = NO_CELL;
}

/* The catalog has been read: find every end, make it last, fill the cells. */
static int recover_alone(struct beck *db, const struct superblock *super, enum residue residue)
{
    struct coord_header *h = coord_header(&db->coord);
    struct cell_ref cell = coord_catalog_cell(&db->coord);
    struct recovery r = {.cat = &db->cat, .clean = super->state == SUPER_CLEAN, .residue = residue};
    r.trusted = residue != RESIDUE_POISON && file_same_boot(&db->file, super);
    int rc = recover_find_ends(&r);
    atomic_store(&cell.rw->visible, db->cat.at.next);
    /* The old mark stays until what recovery found is stable: whoever has to do it again shall
     * trust no more than we did. Then the file is marked as ours. */
    atomic_store(&h->unclean, r.clean ? 0 : 1);
    /* What the page cache says of the superblocks may not be on the device yet: the mark, the root.
     * And a crash between the two copies leaves one of them older, or torn. */
    struct superblock as_read = *super;
    if (rc == 0 && (!r.clean || db->file.supers_differ)) rc = file_write_super(&db->file, &as_read);
    if (rc == 0 && !r.clean) rc = recover_apply(&r);
    if (rc == 0 && !r.clean) {
        atomic_store(&h->unclean, 0);
        rc = catalog_mark_unclean(&db->cat);
    }
    if (rc == 0) rc = file_read_device(&db->file, false);
    forget_cells(&db->cat);
    if (rc == 0) rc = fill_cells(db, &r);
    keep_report(db, &r);
    recover_free(&r);
    return rc;
}

static int open_alone(struct beck *db)
{
    struct superblock super;
    enum residue residue = RESIDUE_NONE;
    uint64_t size = 0;
    int rc = file_read_super(&db->file, &super);
    db->file.supers_unsettled = rc == 1;
    if (rc == 0 && (rc = file_format(&db->file, db->application_id)) == 0)
        rc = file_read_super(&db->file, &super);
    if (rc > 0) rc = examine_residue(db, &super, &residue);
    if (rc == 0) rc = os_size(&db->file.os, &size);
    if (rc == 0 && size < HEAP_AT)
        rc = err_set(BECK_CORRUPT, "the file is cut off at byte %llu", (unsigned long long)size);
    /* After a failed sync only the device is to be believed, or who says so by force. */
    if (rc == 0) rc = file_read_device(&db->file, residue == RESIDUE_POISON);
    if (rc == BECK_UNSUPPORTED && db->forced) rc = 0;
    if (rc == BECK_UNSUPPORTED)
        rc = err_context(rc, "a sync failed, and only the device can tell what became of it: start"
                             " the machine anew, then force the file open");
    if (rc == 0) rc = catalog_load(&db->cat, &super, UINT64_MAX);
    /* So far not a byte was changed: nothing is when the file is refused. On tmpfs even a load
     * through a mapping takes space, where a sparse copy has none. */
    if (rc == 0 && db->file.fs.memory) rc = os_fill_holes(&db->file.os);
    if (rc == 0) rc = coord_rebuild(&db->coord, residue); /* [O1] */
    if (rc == 0) rc = coord_claim_slot(&db->coord);
    if (rc < 0) return rc;
    coord_header(&db->coord)->opened_bytes = size;
    coord_note_written(&db->coord, (uint32_t)(size / BLOCK_BYTES));
    rc = recover_alone(db, &super, residue);
    if (rc == BECK_POISONED) coord_poison(&db->coord); /* nobody else will be told of it */
    return rc < 0 ? rc : coord_publish(&db->coord);
}

/* ---- Joining ---- */

/* Intents set now may hide an error this descriptor will never see: give them a moment. [Y3] does
 * the rest. */
static void wait_for_intents(struct beck *db)
{
    for (int i = 0; i < INTENT_WAIT_MS && !coord_may_publish(&db->coord); i++) os_sleep_ms(1);
}

static int open_join(struct beck *db)
{
    struct superblock super;
    int rc = db_check_whole(db);
    if (rc < 0) return rc;
    if (!coord_present(&db->coord))
        return err_set(BECK_BUSY, "the file is in use by an incompatible build of beck");
    rc = file_read_own_super(&db->file, &super);
    if (rc == 0 && db->file.fs.shares) rc = coord_may_be_shared(&db->coord);
    if (rc == 0) rc = coord_claim_slot(&db->coord);
    if (rc == 0) wait_for_intents(db);
    return rc < 0 ? rc : catalog_join(&db->cat);
}

static int open_shared(struct beck *db)
{
    bool others = false;
    int rc = take_gate(db, true);
    if (rc < 0) return rc;
    rc = file_still_there(&db->file);
    if (rc == 0) rc = coord_open(&db->coord, &db->file.os);
    if (rc == 0) rc = catalog_init(&db->cat, &db->file, &db->coord);
    if (rc == 0) rc = anybody_else(db, &others);
    if (rc == 0) rc = others ? open_join(db) : open_alone(db);
    if (rc < 0) coord_release_slot(&db->coord);
    coord_end(&db->coord, DOING_OPEN, NULL);
    leave_gate(db);
    if (rc == 0) db->view = VIEW_SHARED;
    return rc;
}

/* ---- Opening read-only ---- */

static int private_cells(struct beck *db, const struct recovery *r)
{
    size_t old_bytes = (db->old_cells_count + 1) * sizeof *db->old_cells;
    struct cell **old = realloc(db->old_cells, old_bytes);
    struct cell *cells = calloc(r->count + 1, sizeof *cells);
    if (old != NULL) db->old_cells = old;
    if (old == NULL || cells == NULL) {
        free(cells);
        return err_set(BECK_NOMEM, "out of memory");
    }
    for (size_t i = 0; i < r->count; i++)
        partition_reset_cell(&cells[i], r->ends[i].topic, r->ends[i].index, &r->ends[i].tail,
                             r->ends[i].stable, 0);
    pthread_mutex_lock(&db->cat.mutex);
    for (size_t i = 0; i < r->count; i++) {
        struct partition_picture *part =
            picture_partition(&db->cat.picture, r->ends[i].topic, r->ends[i].index);
        if (part != NULL) part->cell = (uint32_t)i;
    }
    if (db->cat.private_cells != NULL) db->old_cells[db->old_cells_count++] = db->cat.private_cells;
    db->cat.private_cells = cells;
    pthread_mutex_unlock(&db->cat.mutex);
    return 0;
}

/* Nobody shall act on what a power loss could still take back: what a crash left goes to the device
 * first, and is read from there, around the page cache. A sync of the file would not do: if it is
 * the one to see an error, a handle that must not write can leave no word of it behind. */
static int read_from_device(struct beck *db)
{
    int rc = file_read_device(&db->file, true);
    if (rc == BECK_UNSUPPORTED) return os_sync(&db->file.os); /* the best there is, then */
    if (rc < 0 || db->file.fs.memory) return rc;
    rc = os_sync_filesystem(&db->file.os);
    return rc == BECK_UNSUPPORTED ? 0 : rc;
}

static int attach_private(struct beck *db, uint64_t *sequence)
{
    struct superblock super;
    enum residue residue = RESIDUE_NONE;
    catalog_attach(&db->cat, NULL);
    int rc = file_read_super(&db->file, &super);
    if (rc == 0) rc = err_set(BECK_NOT_BECK, "an empty file: nothing was ever written to it");
    if (rc > 0) rc = examine_residue(db, &super, &residue);
    if (rc < 0) return rc;
    struct recovery r = {.cat = &db->cat, .clean = super.state == SUPER_CLEAN, .residue = residue};
    /* It reads the device, which may lack what a sync that nobody saw the end of was about. */
    r.trusted = residue == RESIDUE_NONE && file_same_boot(&db->file, &super);
    rc = r.clean ? file_read_device(&db->file, false) : read_from_device(db);
    if (rc == 0) rc = catalog_load(&db->cat, &super, UINT64_MAX);
    if (rc == 0) rc = recover_find_ends(&r);
    if (rc == 0) rc = private_cells(db, &r);
    *sequence = super.sequence;
    keep_report(db, &r);
    recover_free(&r);
    db->view = VIEW_PRIVATE;
    return rc;
}

static int attach_watch(struct beck *db)
{
    int rc = file_read_device(&db->file, false);
    catalog_attach(&db->cat, &db->coord);
    if (rc == 0 && !coord_present(&db->coord))
        rc = err_set(BECK_BUSY, "the file is in use by an incompatible build of beck");
    if (rc == 0) rc = catalog_join(&db->cat);
    db->view = VIEW_WATCH;
    return rc;
}

/* A file shorter than its area cannot be mapped and looked into. */
static int area_there(struct beck *db)
{
    uint64_t size = 0;
    int rc = os_size(&db->file.os, &size);
    if (rc < 0 || size >= HEAP_AT) return rc;
    struct superblock super;
    rc = file_read_super(&db->file, &super); /* says NOT_BECK when it is none */
    if (rc == 0) return err_set(BECK_NOT_BECK, "an empty file: nothing was ever written to it");
    return rc < 0 ? rc
                  : err_set(BECK_CORRUPT, "the file is cut off at byte %llu",
                            (unsigned long long)size);
}

static int open_area_to_look(struct beck *db)
{
    int rc = coord_open(&db->coord, &db->file.os);
    return rc == 0 && db->file.fs.memory ? coord_loadable(&db->coord) : rc;
}

static int attach_readonly(struct beck *db)
{
    bool others = false;
    uint64_t sequence = db->watched_sequence;
    int rc = take_gate(db, false);
    if (rc < 0) return rc;
    if (db->coord.file == NULL) {
        rc = file_still_there(&db->file);
        if (rc == 0) rc = area_there(db);
        if (rc == 0) rc = open_area_to_look(db);
        if (rc == 0) rc = catalog_init(&db->cat, &db->file, NULL);
    }
    if (rc == 0) rc = anybody_else(db, &others);
    if (rc == 0) rc = others ? attach_watch(db) : attach_private(db, &sequence);
    if (rc == 0) {
        /* First: a thread that looked meanwhile, and sees nothing moved any more, must see this. */
        atomic_fetch_add(&db->epoch, 1);
        atomic_store(&db->watched_sequence, sequence);
        atomic_store(&db->watched_instance, atomic_load(&coord_header_ro(&db->coord)->instance));
    }
    leave_gate(db);
    return rc;
}

/* ---- Observing: no gate, no wait, and nothing that may fail because others are at work ---- */

/* Names come from the catalog. Without the gate it may be torn down while it is read; then there
 * are none until the next look, or those of before: ids are never used twice. */
static void observe_catalog(struct beck *db)
{
    uint64_t instance = atomic_load(&coord_header_ro(&db->coord)->instance);
    if (instance == 0 || !coord_recognised(&db->coord)) return;
    if (instance == atomic_load(&db->watched_instance)) {
        (void)catalog_refresh(&db->cat);
        return;
    }
    catalog_attach(&db->cat, &db->coord);
    if (catalog_join(&db->cat) == 0) atomic_store(&db->watched_instance, instance);
}

/* An area in use is enough to know a file of ours by: its superblocks may be damaged. */
static int open_observing(struct beck *db)
{
    struct superblock super;
    int rc = area_there(db);
    if (rc == 0) rc = open_area_to_look(db);
    if (rc == 0 && !coord_recognised(&db->coord)) {
        rc = file_read_super(&db->file, &super);
        if (rc == 0) rc = err_set(BECK_NOT_BECK, "an empty file: nothing was ever written to it");
        if (rc > 0) rc = 0;
    }
    if (rc == 0) rc = catalog_init(&db->cat, &db->file, NULL);
    if (rc == 0) db->view = VIEW_OBSERVE;
    return rc;
}

int db_observe(struct beck *db)
{
    int rc = db_check_whole(db);
    if (rc < 0) return rc;
    if (db->view != VIEW_OBSERVE) {
        if (db_follow(db) == 0) (void)db_refresh(db);
        return 0;
    }
    pthread_mutex_lock(&db->mutex);
    observe_catalog(db);
    pthread_mutex_unlock(&db->mutex);
    return 0;
}

/* The area was built or zeroed by others since; or, with nobody there, somebody came and went:
 * every session that modifies the file raises the superblocks' sequence. The file is whole. */
static bool attached_elsewhere(struct beck *db)
{
    struct superblock super;
    uint64_t instance = atomic_load(&coord_header_ro(&db->coord)->instance);
    if (instance != atomic_load(&db->watched_instance)) return true;
    if (db->view != VIEW_PRIVATE) return false;
    return file_read_super(&db->file, &super) == 1 && super.sequence != db->watched_sequence;
}

bool db_moved(struct beck *db)
{
    /* db_follow tells what is not whole */
    return db->readonly && db_check_whole(db) == 0 && attached_elsewhere(db);
}

int db_follow(struct beck *db)
{
    if (!db->readonly) return 0;
    int rc = db_check_whole(db);
    if (rc < 0) return rc;
    pthread_mutex_lock(&db->mutex);
    if (attached_elsewhere(db)) rc = attach_readonly(db);
    pthread_mutex_unlock(&db->mutex);
    return rc;
}

int db_cell(struct beck *db, uint64_t topic, uint32_t index, struct cell_ref *cell)
{
    for (;;) {
        uint64_t epoch = atomic_load(&db->epoch);
        int rc = catalog_cell(&db->cat, topic, index, cell);
        if (!db_moved(db) && epoch == atomic_load(&db->epoch)) return rc;
        /* the last writer left meanwhile, or the first came */
        if ((rc = db_follow(db)) < 0) return rc;
    }
}

/* ---- Open ---- */

int db_open(struct beck *db, const char *path, const beck_options *options)
{
    pthread_mutex_init(&db->mutex, NULL);
    for (uint32_t i = 0; i < CODEC_SHELVES; i++) pthread_mutex_init(&db->codecs[i].mutex, NULL);
    db->file.os.fd = -1;
    db->readonly = (options->flags & BECK_OPEN_READONLY) != 0;
    db->busy_timeout_ms = options->busy_timeout_ms != 0 ? options->busy_timeout_ms : 10000;
    db->application_id = options->application_id;
    db->forced = (options->flags & BECK_OPEN_FORCE) != 0;
    db->process = os_process_id();
    db->fork_page = os_fork_page();
    bool observe = (options->flags & BECK_OPEN_OBSERVE) != 0;
    int rc = BECK_MOVED;
    for (int tries = 0; rc == BECK_MOVED && tries < OPEN_TRIES; tries++) {
        rc = open_file(db, path, options);
        if (rc == 0)
            rc = observe        ? open_observing(db)
                 : db->readonly ? attach_readonly(db)
                                : open_shared(db);
        if (rc == 0) return 0;
        db->view = VIEW_NONE;
        close_file(db); /* the slot, and with it every claim on the file */
        catalog_free(&db->cat);
    }
    return err_context(rc, "%s", path);
}

/* ---- Close ---- */

/* Make one partition stable, and settle what a dead owner of its lock left. */
static int sync_partition(struct beck *db, const struct topic_picture *t, uint32_t index)
{
    struct partition p;
    struct live_config config;
    struct cell_ref ref;
    int rc = catalog_cell(&db->cat, t->id, index, &ref);
    if (rc < 0) return rc;
    bool behind = atomic_load(&ref.rw->written) > atomic_load(&ref.rw->stable);
    if (!behind && atomic_load(&ref.rw->lock) == 0) return 0;
    live_config_set(&config, &t->config);
    rc = partition_open(&p, &db->cat, t->id, index, t->name, &config);
    if (rc == 0) rc = partition_look(&p);
    if (rc == 0) rc = partition_sync(&p, atomic_load(&ref.rw->written));
    partition_close(&p);
    return rc;
}

/* The topic with the lowest id above `after`, copied, because the picture may change under us. */
static bool copy_topic(struct catalog *cat, uint64_t after, struct topic_picture *copy,
                       char name[BECK_TOPIC_NAME_MAX + 1])
{
    size_t i = 0;
    pthread_mutex_lock(&cat->mutex);
    while (i < cat->picture.topics && cat->picture.by_id[i]->id <= after) i++;
    bool there = i < cat->picture.topics;
    if (there) {
        *copy = *cat->picture.by_id[i];
        strncpy(name, copy->name, BECK_TOPIC_NAME_MAX);
        name[BECK_TOPIC_NAME_MAX] = 0;
        copy->name = name;
        copy->parts = NULL;
    }
    pthread_mutex_unlock(&cat->mutex);
    return there;
}

int db_sync(struct beck *db)
{
    struct topic_picture t;
    char name[BECK_TOPIC_NAME_MAX + 1];
    int rc = file_check_there(&db->file);
    t.id = 0;
    /* asked each time: an error may take the picture, and then there would be no topic to sync */
    while (rc == 0 && (rc = db_refresh(db)) == 0 && copy_topic(&db->cat, t.id, &t, name)) {
        for (uint32_t k = 0; rc == 0 && k < t.partitions; k++) rc = sync_partition(db, &t, k);
        if (rc == BECK_NOT_FOUND || rc == BECK_DELETED) rc = 0; /* deleted meanwhile */
    }
    return rc;
}

int db_still_there(struct beck *db, int64_t now_ms)
{
    if (UNLIKELY(db->file.clock.now != NULL)) now_ms = os_now_coarse_ms(); /* theirs may stand */
    int64_t seen = atomic_load_explicit(&db->seen_at, memory_order_relaxed);
    if (LIKELY(now_ms >= seen && now_ms - seen < LOOK_MS)) return 0;
    int rc = file_check_there(&db->file);
    if (rc == 0) atomic_store_explicit(&db->seen_at, now_ms, memory_order_relaxed);
    return rc;
}

int db_refresh(struct beck *db)
{
    return catalog_refresh(&db->cat); /* nothing, in a private view */
}

struct entry_list {
    struct entry *entries;
    size_t count;
    size_t capacity;
};

static int list_entry(struct entry_list *list, const struct entry *e)
{
    int rc = buf_grow_array((void **)&list->entries, list->count, &list->capacity, sizeof *e);
    if (rc == 0) list->entries[list->count++] = *e;
    return rc;
}

/* Sealed segments that were synced after they were sealed: from now on that is known. */
static int list_seals(const struct partition_picture *part, struct entry_list *list)
{
    int rc = 0;
    for (uint32_t i = 0; rc == 0 && i < part->count; i++) {
        const struct segment *s = &part->segments[i];
        if (!s->sealed || s->stable == s->next) continue;
        struct entry seal = segment_seal(s);
        seal.stable_offset = s->next;
        rc = list_entry(list, &seal);
    }
    return rc;
}

/* Where a partition ends, if the catalog has not heard of it. */
static int list_tail(struct beck *db, uint64_t topic, uint32_t index,
                     const struct partition_picture *part, struct entry_list *list)
{
    struct cell_ref ref;
    struct tail tail;
    int rc = catalog_cell(&db->cat, topic, index, &ref);
    if (rc < 0) return rc;
    cell_tail_get(ref.rw, &tail);
    if (tail.segment == 0 || (part->has_tail && part->next == tail.next)) return 0;
    struct entry e = {.type = ENTRY_TAIL,
                      .topic = topic,
                      .partition = index,
                      .place.id = tail.segment,
                      .next_offset = tail.next,
                      .max_timestamp = tail.max_timestamp,
                      .end = tail.position,
                      .chain = tail.chain};
    return list_entry(list, &e);
}

/* What the catalog has to know before the area goes. Everything is stable. First all is listed,
 * then written: writing may make the picture anew. */
static int write_tails(struct beck *db)
{
    struct entry_list list = {.count = 0};
    const struct picture *p = &db->cat.picture;
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < p->topics; i++) {
        const struct topic_picture *t = p->by_id[i];
        for (uint32_t k = 0; rc == 0 && k < t->partitions; k++) {
            rc = list_seals(&t->parts[k], &list);
            if (rc == 0) rc = list_tail(db, t->id, k, &t->parts[k], &list);
        }
    }
    for (size_t at = 0; rc == 0 && at < list.count; at += 128)
        rc = catalog_append(&db->cat, list.entries + at, min_u64(list.count - at, 128));
    free(list.entries);
    return rc;
}

/* How long the file has to be: the last segment, if it is still open for appends, ends at its tail.
 * */
static uint64_t trimmed_bytes(struct beck *db)
{
    struct picture *p = &db->cat.picture;
    uint32_t block;
    for (uint32_t i = 0; (block = coord_extent_block(&db->coord, i)) != 0; i++)
        space_give(&p->space, block, 0);
    uint64_t end = (uint64_t)space_end(&p->space) * BLOCK_BYTES;
    for (size_t i = 0; i < p->owner_count; i++) {
        const struct partition_picture *part = &p->owners[i].topic->parts[p->owners[i].partition];
        const struct segment *s = partition_active(part);
        if (s == NULL || s->place.id != p->owners[i].id || !part->has_tail) continue;
        if (place_at(&s->place) + place_bytes(&s->place) == end)
            return place_at(&s->place) + align_up(part->tail_end, 4096);
    }
    return end;
}

static bool intents_left(struct beck *db)
{
    for (uint32_t i = 0; i < SLOTS_MAX; i++)
        if (i != db->coord.slot && atomic_load(&coord_slot(&db->coord, i)->intent) != 0)
            return true;
    return false;
}

/* A partition that a dead owner left and nobody could repair: recovery has to look at it. */
static int locks_left(struct beck *db)
{
    struct cell_ref ref;
    uint32_t cells = atomic_load(&coord_header(&db->coord)->cells);
    for (uint32_t i = 0; i < cells; i++) {
        int rc = coord_cell(&db->coord, i, &ref);
        if (rc < 0) return rc;
        if (atomic_load(&ref.rw->lock) != 0 && atomic_load(&ref.rw->state) == CELL_LIVE)
            return err_set(BECK_BUSY, "a partition is left as a dead process left it: the next to"
                                      " open the file recovers it");
    }
    return 0;
}

static int close_last(struct beck *db)
{
    struct coord_header *h = coord_header(&db->coord);
    struct superblock super;
    int rc = catalog_lock(&db->cat); /* repairs what a dead owner left of the catalog */
    if (rc < 0) return rc;
    catalog_unlock(&db->cat);
    coord_settle(&db->coord);
    if ((rc = coord_check_poison(&db->coord)) < 0) return rc;
    if (intents_left(db)) return 0; /* unclean: recovery will look at the disk [O3] */
    if (atomic_load(&h->unclean) == 0) {
        /* Nothing was modified, so not a byte may differ; but what an earlier crash left behind the
         * end of everything goes. */
        uint64_t bytes = min_u64(h->opened_bytes, trimmed_bytes(db));
        rc = coord_zero(&db->coord);
        return rc == 0 ? os_truncate(&db->file.os, bytes) : rc;
    }
    retire_look(&db->cat);
    rc = db_sync(db);
    if (rc == 0) rc = catalog_lock(&db->cat);
    if (rc < 0) return rc;
    rc = locks_left(db);
    if (rc == 0) rc = write_tails(db);
    catalog_unlock(&db->cat);
    if (rc < 0) return rc;
    atomic_store(&h->instance, 0); /* followers look away before the cells go */
    rc = os_truncate(&db->file.os, trimmed_bytes(db));
    if (rc == 0) rc = file_read_own_super(&db->file, &super);
    if (rc < 0) return rc;
    coord_sync_begin(&db->coord);
    rc = os_sync(&db->file.os);
    super.state = SUPER_CLEAN;
    super.inode = super.birth_ns = 0;
    super.birth_s = 0;
    memset(super.boot_id, 0, sizeof super.boot_id);
    super.catalog_next = db->cat.at.next;
    if (rc == 0) rc = file_write_super(&db->file, &super); /* [O3] */
    coord_sync_ended(&db->coord, rc);
    coord_sync_end(&db->coord);
    return rc < 0 ? rc : coord_zero(&db->coord);
}

/* Leave under the gate; the last one tidies up. */
static int leave(struct beck *db)
{
    bool others = false;
    if (db_check_whole(db) == 0) coord_begin(&db->coord, DOING_CLOSE, NULL);
    int rc = take_gate(db, true);
    if (rc < 0) return rc;
    if ((rc = db_check_whole(db)) < 0) {
        db->coord.slot_held = false; /* nothing of it is there; its lock goes with the descriptor */
        leave_gate(db);
        return rc;
    }
    rc = anybody_else(db, &others);
    if (rc == 0 && atomic_load(&coord_header(&db->coord)->unclean) != 0)
        rc = file_check_there(&db->file); /* what was appended goes with the file */
    if (rc == 0 && !others) rc = close_last(db);
    coord_release_slot(&db->coord);
    leave_gate(db);
    return rc;
}

void db_before_close(struct beck *db)
{
    if (!db->forked && db->view != VIEW_NONE && db_present(db) < 0)
        db_forget(db); /* a bare clone */
}

int db_close(struct beck *db)
{
    int rc = 0;
    if (!db->forked && db->view == VIEW_SHARED) rc = leave(db);
    if (rc < 0) (void)err_context(rc, "%s", db->file.path);
    close_file(db);
    catalog_free(&db->cat);
    os_fork_page_free(db->fork_page);
    free(db->report);
    for (size_t i = 0; i < db->old_cells_count; i++) free(db->old_cells[i]);
    free(db->old_cells);
    for (uint32_t i = 0; i < CODEC_SHELVES; i++) {
        codec_free(&db->codecs[i].tools);
        pthread_mutex_destroy(&db->codecs[i].mutex);
    }
    pthread_mutex_destroy(&db->mutex);
    return rc;
}

/* ---- Pins ---- */

uint32_t db_take_pin(struct beck *db)
{
    uint32_t pin = NO_PIN;
    if (db->view != VIEW_SHARED) return NO_PIN;
    pthread_mutex_lock(&db->mutex);
    for (uint32_t i = 0; i < PINS_PER_SLOT && pin == NO_PIN; i++)
        if (!(db->pin_words & 1u << i)) pin = i;
    if (pin != NO_PIN) db->pin_words |= 1u << pin;
    pthread_mutex_unlock(&db->mutex);
    return pin;
}

void db_give_pin(struct beck *db, uint32_t pin)
{
    if (pin == NO_PIN) return;
    pthread_mutex_lock(&db->mutex);
    db->pin_words &= ~(1u << pin);
    pthread_mutex_unlock(&db->mutex);
}
