/* catalog_test.c -- appends, other handles, owners that die, moves, snapshots and damage */
#include "catalog.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "db.h"
#include "test.h"
#include "topic.h"

static char path[4096];

static struct beck *open_db(void)
{
    const beck_options options = {.size = sizeof options, .flags = BECK_OPEN_FORCE};
    struct beck *db = NULL;
    if (path[0] == 0) snprintf(path, sizeof path, "%s/catalog-%d", test_folder(), (int)getpid());
    int rc = beck_open(path, &options, &db);
    ck_assert_msg(rc == BECK_OK, "%s", beck_errmsg(db));
    return db;
}

/* Run `body` in a process of its own, which opens the file and is killed at the end. */
static void in_a_process_that_dies(void (*body)(struct beck *db))
{
    fflush(stdout);
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        const beck_options options = {.size = sizeof options, .flags = BECK_OPEN_FORCE};
        struct beck *db = NULL;
        if (beck_open(path, &options, &db) != BECK_OK) _exit(1);
        body(db);
        kill(getpid(), SIGKILL);
    }
    int status = 0;
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static struct entry topic_entry(uint64_t id, const char *name)
{
    return (struct entry){.type = ENTRY_TOPIC,
                          .topic = id,
                          .partitions = 1,
                          .name = name,
                          .name_bytes = (uint32_t)strlen(name),
                          .settings = ""};
}

static bool knows(struct beck *db, const char *name)
{
    ck_assert_int_eq(catalog_refresh(&db->cat), BECK_OK);
    return picture_topic_by_name(&db->cat.picture, name) != NULL;
}

/* ---- Between the library and the system ---- */

static struct {
    void (*before)(uint64_t at, int flags); /* called before every such write */
    int calls;
    int fail; /* this call, counted from 1; 0 = none */
} seam;

ssize_t pwritev2(int fd, const struct iovec *iov, int count, off_t at, int flags)
{
    seam.calls++;
    if (seam.before != NULL) seam.before((uint64_t)at, flags);
    if (seam.calls == seam.fail) {
        errno = EIO;
        return -1;
    }
    return syscall(SYS_pwritev2, fd, iov, (unsigned long)count, at, 0L, flags);
}

/* The write without a sync that goes before: no room, once. */
static bool full;

ssize_t pwrite(int fd, const void *data, size_t bytes, off_t at)
{
    if (full) {
        errno = ENOSPC;
        return -1;
    }
    return syscall(SYS_pwrite64, fd, data, bytes, at);
}

/* No block can be had. */
static bool no_room;

int fallocate(int fd, int mode, off_t at, off_t bytes)
{
    if (no_room) {
        errno = ENOSPC;
        return -1;
    }
    return (int)syscall(SYS_fallocate, fd, mode, at, bytes);
}

/* ---- Two handles ---- */

START_TEST(news_reach_the_other_handle)
{
    struct beck *a = open_db(), *b = open_db();
    ck_assert(!catalog_moved(&b->cat));
    ck_assert_int_eq(beck_topic_create(a, "t", NULL), BECK_OK);
    ck_assert(!catalog_moved(&a->cat));
    ck_assert(catalog_moved(&b->cat));
    ck_assert(knows(b, "t"));
    ck_assert(!catalog_moved(&b->cat));
    ck_assert_int_eq(beck_topic_create(b, "t", NULL), BECK_EXISTS);
    ck_assert_int_eq(beck_topic_delete(b, "t"), BECK_OK);
    ck_assert(!knows(a, "t"));
    ck_assert_int_eq(beck_close(b), BECK_OK);
    ck_assert_int_eq(beck_close(a), BECK_OK);
}
END_TEST

START_TEST(the_lock_brings_the_picture_up_to_date)
{
    struct beck *a = open_db(), *b = open_db();
    ck_assert_int_eq(beck_topic_create(a, "t", NULL), BECK_OK);
    ck_assert_int_eq(catalog_lock(&b->cat), BECK_OK);
    ck_assert_ptr_nonnull(picture_topic_by_name(&b->cat.picture, "t"));
    struct segment_place first, second;
    ck_assert_int_eq(catalog_place(&b->cat, BLOCK_BYTES + 1, &first), BECK_OK);
    ck_assert_int_eq(catalog_place(&b->cat, 1, &second), BECK_OK);
    ck_assert_uint_eq(first.blocks, 2);
    ck_assert_uint_eq(second.blocks, 1);
    ck_assert_uint_eq(first.id, b->cat.picture.next_segment);
    ck_assert_uint_eq(first.id, second.id); /* nothing was taken yet */
    ck_assert_uint_gt(first.id,
                      b->cat.segment.id); /* ids are never used again, the log's own too */
    ck_assert_uint_gt(first.id, b->cat.spare.id);
    catalog_unlock(&b->cat);
    ck_assert_int_eq(beck_close(b), BECK_OK);
    ck_assert_int_eq(beck_close(a), BECK_OK);
}
END_TEST

/* Who only looks does not wait for the lock; and no place is larger than a segment may be. */
START_TEST(who_tries_does_not_wait)
{
    struct beck *a = open_db(), *b = open_db();
    struct segment_place place;
    ck_assert_int_eq(catalog_lock(&a->cat), BECK_OK);
    ck_assert_int_eq(catalog_try_lock(&b->cat), BECK_BUSY);
    ck_assert_int_eq(catalog_place(&a->cat, SEGMENT_BYTES_LIMIT + BLOCK_BYTES, &place), BECK_OK);
    ck_assert_int_eq(catalog_place(&a->cat, SEGMENT_BYTES_LIMIT + BLOCK_BYTES + 1, &place),
                     BECK_LIMIT);
    catalog_unlock(&a->cat);
    ck_assert_int_eq(catalog_try_lock(&b->cat), BECK_OK);
    catalog_unlock(&b->cat);
    ck_assert_int_eq(beck_close(b), BECK_OK);
    ck_assert_int_eq(beck_close(a), BECK_OK);
}
END_TEST

/* ---- One batch at a time ---- */

static struct beck *watcher, *writer;
static uint64_t visible_before;
static int frames_seen;

static uint64_t visible_now(struct beck *db)
{
    return atomic_load(&coord_catalog_cell(&db->coord).ro->visible);
}

static void watch_frame(uint64_t at, int flags)
{
    if (at < HEAP_AT) return;
    frames_seen++;
    ck_assert(flags & RWF_DSYNC);
    ck_assert_uint_eq(visible_now(watcher), visible_before);
    ck_assert(!catalog_moved(&watcher->cat));
    ck_assert_uint_ne(atomic_load(&coord_slot(&writer->coord, writer->coord.slot)->intent), 0);
}

/* What finds no room was never tried: nothing is poisoned, and later it works. */
START_TEST(a_full_disk_is_no_failed_sync)
{
    struct beck *db = open_db();
    beck_topic_config more = {.size = sizeof more, .flush_ms = 77};
    for (int clean = 0; clean < 2; clean++) {
        full = true;
        ck_assert_int_eq(beck_topic_alter(db, "t", &more), clean == 0 ? BECK_NOT_FOUND : BECK_FULL);
        full = false;
        ck_assert_int_eq(coord_check_poison(&db->coord), 0);
        if (clean == 0) ck_assert_int_eq(beck_topic_create(db, "t", NULL), BECK_OK);
    }
    ck_assert_int_eq(beck_topic_alter(db, "t", &more), BECK_OK);
    ck_assert_int_eq(beck_close(db), BECK_OK);
    db = open_db();
    full = true; /* the superblock is the first to be written */
    more.flush_ms = 88;
    ck_assert_int_eq(beck_topic_alter(db, "t", &more), BECK_FULL);
    full = false;
    ck_assert_int_eq(coord_check_poison(&db->coord), 0);
    ck_assert_int_eq(beck_topic_alter(db, "t", &more), BECK_OK);
    coord_poison(&db->coord); /* what matters more is said first */
    full = true;
    ck_assert_int_eq(beck_topic_alter(db, "t", &more), BECK_POISONED);
    ck_assert_int_eq(beck_topic_create(db, "u", NULL), BECK_POISONED);
    full = false;
    ck_assert_int_eq(beck_close(db), BECK_POISONED);
}
END_TEST

/* Settings change until the log has no room for that; then a topic can still be deleted. */
START_TEST(deleting_works_however_long_the_disk_is_full)
{
    struct beck *db = open_db();
    beck_topic_config more = {.size = sizeof more};
    beck_topic *topic;
    beck_record record = {.value = "v", .value_size = 1};
    char name[16];
    struct stat st;
    for (int i = 0; i < 20; i++) {
        (void)snprintf(name, sizeof name, "t%d", i);
        ck_assert_int_eq(beck_topic_open(db, name, NULL, &topic), BECK_OK);
        ck_assert_int_eq(beck_append(topic, &record, NULL), BECK_OK);
    }
    ck_assert_int_eq(stat(path, &st), 0);
    struct rlimit limit = {(rlim_t)st.st_size, RLIM_INFINITY};
    signal(SIGXFSZ, SIG_IGN);
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    int rc = BECK_OK;
    for (uint32_t i = 0; rc == BECK_OK; i++) {
        more.flush_ms = 1000 + i;
        rc = beck_topic_alter(db, "t0", &more);
    }
    ck_assert_msg(rc == BECK_FULL, "%s", beck_errmsg(db));
    for (int i = 19; i >= 0; i--) {
        (void)snprintf(name, sizeof name, "t%d", i);
        ck_assert_msg(beck_topic_delete(db, name) == BECK_OK, "%s: %s", name, beck_errmsg(db));
    }
    ck_assert_int_eq(beck_topic_open(db, "again", NULL, &topic), BECK_OK);
    ck_assert_int_eq(beck_append(topic, &record, NULL), BECK_OK);
    ck_assert_int_eq(beck_close(db), BECK_OK);
}
END_TEST

static uint32_t state_of(struct beck *db)
{
    struct superblock super;
    ck_assert_int_eq(file_read_super(&db->file, &super), 1);
    return super.state;
}

/* [O2] The clean mark goes before the first change of the catalog; and when it cannot be taken away
 * nothing is changed, and nobody may go on. */
START_TEST(the_clean_mark_goes_first)
{
    beck_topic_config more = {.size = sizeof more, .flush_ms = 77};
    struct beck *db = open_db();
    ck_assert_int_eq(beck_topic_create(db, "t", NULL), BECK_OK);
    ck_assert_int_eq(beck_close(db), BECK_OK);
    db = open_db();
    ck_assert_uint_eq(state_of(db), SUPER_CLEAN);
    uint64_t before = visible_now(db);
    ck_assert_int_eq(beck_topic_alter(db, "t", &more), BECK_OK);
    ck_assert_uint_eq(state_of(db), SUPER_UNCLEAN);
    ck_assert_uint_eq(visible_now(db), before + 1);
    ck_assert_int_eq(beck_close(db), BECK_OK);

    db = open_db();
    ck_assert_uint_eq(state_of(db), SUPER_CLEAN);
    before = visible_now(db);
    more.flush_ms = 88;
    seam.fail = seam.calls + 1;
    ck_assert_int_lt(beck_topic_alter(db, "t", &more), 0);
    seam.fail = 0;
    ck_assert_uint_eq(visible_now(db), before);
    ck_assert_int_eq(coord_check_poison(&db->coord), BECK_POISONED);
    ck_assert_int_eq(beck_topic_alter(db, "t", &more), BECK_POISONED);
    (void)beck_close(db);
}
END_TEST

/* [C1] The bytes of a batch are written stable, with an intent, while nobody can see them; and when
 * that fails, nothing is ever seen. */
START_TEST(a_batch_is_stable_before_it_is_seen)
{
    writer = open_db();
    watcher = open_db();
    ck_assert_int_eq(beck_topic_create(writer, "t", NULL), BECK_OK); /* unclean from now on */
    ck_assert(knows(watcher, "t"));
    visible_before = visible_now(writer);
    seam.before = watch_frame;
    ck_assert_int_eq(beck_topic_create(writer, "u", NULL), BECK_OK);
    ck_assert_int_eq(frames_seen, 1);
    ck_assert_uint_eq(visible_now(writer), visible_before + 1);
    ck_assert_uint_eq(atomic_load(&coord_slot(&writer->coord, writer->coord.slot)->intent), 0);
    ck_assert(knows(watcher, "u"));

    visible_before++;
    seam.fail = seam.calls + 1;
    ck_assert_int_lt(beck_topic_create(writer, "v", NULL), 0);
    ck_assert_uint_eq(visible_now(writer), visible_before);
    ck_assert(!knows(watcher, "v"));
    ck_assert_int_eq(beck_topic_create(watcher, "w", NULL), BECK_POISONED);
    seam.before = NULL;
    ck_assert_int_eq(beck_close(watcher), BECK_OK);
    (void)beck_close(writer); /* poisoned: it may say so */
}
END_TEST

static void watch_cells(uint64_t at, int flags)
{
    struct coord_header *h = coord_header(&writer->coord);
    struct cell_ref cell;
    uint32_t cells = atomic_load(&h->cells);
    (void)flags;
    if (at < HEAP_AT) return;
    frames_seen++;
    ck_assert_uint_eq(cells, frames_seen == 1 ? 3 : 5);
    for (uint32_t i = 0; i < cells; i++) {
        ck_assert_int_eq(coord_cell(&writer->coord, i, &cell), BECK_OK);
        ck_assert_uint_eq(atomic_load(&cell.ro->state), CELL_LIVE);
        ck_assert_uint_eq(atomic_load(&cell.ro->topic), TOPIC_USER_FIRST);
        ck_assert_uint_eq(atomic_load(&cell.ro->partition), i);
    }
}

/* [T1] When the entry of a new or grown topic is written, its cells are there. */
START_TEST(cells_come_before_their_topic)
{
    const beck_topic_config three = {.size = sizeof three, .partitions = 3};
    const beck_topic_config five = {.size = sizeof five, .partitions = 5};
    writer = open_db();
    seam.before = watch_cells;
    ck_assert_int_eq(beck_topic_create(writer, "t", &three), BECK_OK);
    ck_assert_int_eq(beck_topic_alter(writer, "t", &five), BECK_OK);
    ck_assert_int_eq(frames_seen, 2);
    seam.before = NULL;
    ck_assert_int_eq(beck_close(writer), BECK_OK);
}
END_TEST

/* ---- Owners that die ---- */

/* A frame like the next append of this handle would write, put where `at` says; `bytes` of it. */
static void write_frame_by_hand(struct beck *db, const char *name, size_t bytes)
{
    uint8_t entry[ENTRY_BYTES_MAX], frame[1024] = {0};
    struct entry e = topic_entry(db->cat.picture.next_topic, name);
    beck_record r = {.value = entry, .value_size = (uint32_t)entry_encode(&e, entry)};
    struct batch_plan plan;
    if (batch_measure(&r, 1, 1, sizeof frame - FRAME_BYTES, &plan) != 0) _exit(1);
    batch_encode(frame + FRAME_BYTES, &r, 1, 0, &plan);
    log_seal_frame(&db->cat.segment, &db->cat.at, 0, frame, (uint32_t)plan.bytes);
    size_t whole = FRAME_BYTES + (size_t)plan.bytes;
    if (os_write(&db->file.os, frame, bytes < whole ? bytes : whole,
                 place_at(&db->cat.segment) + db->cat.at.position) != 0)
        _exit(1);
}

static void die_behind_a_frame(struct beck *db)
{
    if (catalog_lock(&db->cat) != 0) _exit(1);
    if (catalog_make_cells(&db->cat, db->cat.picture.next_topic, 0, 1) != 0) _exit(1);
    write_frame_by_hand(db, "left", SIZE_MAX);
}

static void die_in_a_frame(struct beck *db)
{
    if (catalog_lock(&db->cat) != 0) _exit(1);
    write_frame_by_hand(db, "left", 90);
}

static void die_with_the_lock(struct beck *db)
{
    if (catalog_lock(&db->cat) != 0) _exit(1);
}

/* [C4] The whole frame of a dead owner is shown to everybody by whoever takes the lock next. */
START_TEST(a_frame_left_whole_is_adopted)
{
    struct beck *a = open_db(), *b = open_db();
    ck_assert_int_eq(beck_topic_create(a, "t", NULL), BECK_OK);
    uint64_t before = visible_now(a);
    in_a_process_that_dies(die_behind_a_frame);
    ck_assert(!knows(a, "left")); /* nobody has vouched for it yet */
    ck_assert_int_eq(catalog_lock(&a->cat), BECK_OK);
    ck_assert_ptr_nonnull(picture_topic_by_name(&a->cat.picture, "left"));
    ck_assert_uint_eq(visible_now(a), before + 1);
    catalog_unlock(&a->cat);
    ck_assert(knows(b, "left"));
    ck_assert_int_eq(beck_topic_create(b, "next", NULL), BECK_OK);
    ck_assert(knows(a, "next"));
    ck_assert_int_eq(beck_close(b), BECK_OK);
    ck_assert_int_eq(beck_close(a), BECK_OK);
    a = open_db();
    ck_assert(knows(a, "left") && knows(a, "next"));
    ck_assert_int_eq(beck_close(a), BECK_OK);
}
END_TEST

/* Syncs of the file, of whatever kind, while others cannot see the frame. */
static int proofs;

static void watch_proof(uint64_t at, int flags)
{
    if (at < HEAP_AT || !(flags & RWF_DSYNC)) return;
    proofs += visible_now(watcher) == visible_before;
}

int fdatasync(int fd)
{
    if (watcher != NULL) proofs += visible_now(watcher) == visible_before;
    return (int)syscall(SYS_fdatasync, fd);
}

/* [C4] It is made stable first: its writer may have died before the sync. */
START_TEST(what_is_adopted_is_stable_before_it_is_seen)
{
    struct beck *a = open_db();
    ck_assert_int_eq(beck_topic_create(a, "t", NULL), BECK_OK);
    in_a_process_that_dies(die_behind_a_frame);
    watcher = open_db();
    visible_before = visible_now(a);
    seam.before = watch_proof;
    ck_assert_int_eq(catalog_lock(&a->cat), BECK_OK);
    ck_assert_int_eq(proofs, 1);
    ck_assert_uint_eq(visible_now(a), visible_before + 1);
    catalog_unlock(&a->cat);
    ck_assert_int_eq(beck_close(watcher), BECK_OK);
    watcher = NULL;
    ck_assert_int_eq(beck_close(a), BECK_OK);
}
END_TEST

START_TEST(a_frame_left_torn_is_overwritten)
{
    struct beck *a = open_db();
    ck_assert_int_eq(beck_topic_create(a, "t", NULL), BECK_OK);
    in_a_process_that_dies(die_in_a_frame);
    ck_assert_int_eq(beck_topic_create(a, "next", NULL), BECK_OK);
    ck_assert(!knows(a, "left"));
    ck_assert_int_eq(beck_close(a), BECK_OK);
    a = open_db();
    ck_assert(knows(a, "t") && knows(a, "next") && !knows(a, "left"));
    ck_assert_int_eq(beck_close(a), BECK_OK);
}
END_TEST

START_TEST(a_lock_left_alone_changes_nothing)
{
    struct beck *a = open_db();
    uint64_t before = visible_now(a);
    in_a_process_that_dies(die_with_the_lock);
    ck_assert_int_eq(catalog_lock(&a->cat), BECK_OK);
    ck_assert_uint_eq(visible_now(a), before);
    catalog_unlock(&a->cat);
    ck_assert_int_eq(beck_close(a), BECK_OK);
}
END_TEST

/* ---- A long life ---- */

/* Load the catalog of `db` once more, as who opens the file alone does. */
static int load_again(struct beck *db)
{
    struct superblock super;
    struct catalog again;
    ck_assert_int_eq(file_read_super(&db->file, &super), 1);
    ck_assert_int_eq(catalog_init(&again, &db->file, NULL), BECK_OK);
    int rc = catalog_load(&again, &super, UINT64_MAX);
    catalog_free(&again);
    return rc;
}

#define FILL 400

/* A frame of some kilobytes that says nothing new. */
static void fill(struct beck *db)
{
    static struct entry entries[FILL];
    ck_assert_int_eq(catalog_lock(&db->cat), BECK_OK);
    for (size_t i = 0; i < FILL; i++)
        entries[i] = (struct entry){.type = ENTRY_IDS,
                                    .topic = db->cat.picture.next_topic,
                                    .next_id = db->cat.picture.next_segment};
    ck_assert_int_eq(catalog_append(&db->cat, entries, FILL), BECK_OK);
    catalog_unlock(&db->cat);
}

/* A batch that needs more than the spare gets a segment of its own size. */
START_TEST(a_batch_larger_than_the_spare)
{
    enum { MANY = 4000 };
    static struct entry entries[MANY];
    struct beck *a = open_db(), *b = open_db();
    ck_assert_int_eq(beck_topic_create(a, "t", NULL), BECK_OK);
    for (size_t i = 0; i < MANY; i++)
        entries[i] = (struct entry){.type = ENTRY_IDS, .topic = 100, .next_id = 1000 + i};
    ck_assert_int_eq(catalog_lock(&a->cat), BECK_OK);
    uint64_t spare = a->cat.spare.id, before = place_bytes(&a->cat.spare);
    ck_assert_int_eq(catalog_append(&a->cat, entries, MANY), BECK_OK);
    ck_assert_uint_ne(a->cat.segment.id, spare);
    ck_assert_uint_gt(place_bytes(&a->cat.segment), before);
    ck_assert_uint_lt(a->cat.at.position, place_bytes(&a->cat.segment));
    ck_assert_uint_eq(a->cat.picture.next_segment, 1000 + MANY - 1);
    catalog_unlock(&a->cat);
    ck_assert_int_eq(beck_topic_create(b, "u", NULL), BECK_OK);
    ck_assert(knows(a, "u") && knows(b, "t"));
    ck_assert_int_eq(load_again(a), BECK_OK);
    ck_assert_int_eq(beck_close(b), BECK_OK);
    ck_assert_int_eq(beck_close(a), BECK_OK);
}
END_TEST

/* Where no spare can be had the log moves on all the same; later it gets one. */
START_TEST(the_log_goes_on_without_a_spare)
{
    struct beck *a = open_db(), *b = open_db();
    ck_assert_int_eq(beck_topic_create(a, "t", NULL), BECK_OK);
    uint64_t segment = a->cat.segment.id;
    no_room = true;
    while (a->cat.segment.id == segment) fill(a);
    ck_assert_uint_eq(a->cat.spare.id, 0);
    ck_assert_int_eq(beck_topic_delete(a, "t"), BECK_OK);
    ck_assert(!knows(b, "t"));
    ck_assert_int_eq(load_again(a), BECK_OK);
    no_room = false;
    segment = a->cat.segment.id;
    while (b->cat.segment.id == segment) fill(b);
    ck_assert_uint_ne(b->cat.spare.id, 0);
    ck_assert_int_eq(beck_topic_create(a, "u", NULL), BECK_OK);
    ck_assert(knows(b, "u"));
    ck_assert_int_eq(load_again(a), BECK_OK);
    ck_assert_int_eq(beck_close(b), BECK_OK);
    ck_assert_int_eq(beck_close(a), BECK_OK);
}
END_TEST

/* Topics [from, to), with much between them; each is deleted when `alive` more were made. */
static void live(struct beck *db, unsigned from, unsigned to, unsigned alive)
{
    char name[32];
    for (unsigned i = from; i < to; i++) {
        snprintf(name, sizeof name, "topic-%u", i);
        ck_assert_int_eq(beck_topic_create(db, name, NULL), BECK_OK);
        fill(db);
        if (i < alive) continue;
        snprintf(name, sizeof name, "topic-%u", i - alive);
        ck_assert_int_eq(beck_topic_delete(db, name), BECK_OK);
    }
}

static void expect_topics(struct beck *db, unsigned from, unsigned to)
{
    char name[32];
    ck_assert_int_eq(catalog_refresh(&db->cat), BECK_OK);
    ck_assert_uint_eq(db->cat.picture.topics, to - from);
    for (unsigned i = from; i < to; i++) {
        snprintf(name, sizeof name, "topic-%u", i);
        ck_assert_ptr_nonnull(picture_topic_by_name(&db->cat.picture, name));
    }
}

/* A catalog of many segments; the other handle follows, and so does who opens it later. */
START_TEST(the_catalog_moves_on_from_segment_to_segment)
{
    struct beck *a = open_db(), *b = open_db();
    bool moved = false;
    for (unsigned i = 0; i < 3; i++) {
        live(a, i, i + 1, 10);
        moved |= a->cat.segment.id != a->cat.root.id;
        ck_assert_uint_ne(a->cat.spare.id, 0); /* always: deleting needs no other space */
        ck_assert_uint_ne(a->cat.spare.id, a->cat.segment.id);
    }
    ck_assert(moved);
    expect_topics(b, 0, 3);
    ck_assert_uint_eq(b->cat.chain_count, a->cat.chain_count);
    ck_assert_uint_eq(catalog_bytes(&b->cat), catalog_bytes(&a->cat));
    struct beck *late = open_db();
    expect_topics(late, 0, 3);
    live(late, 3, 6, 10);
    expect_topics(a, 0, 6);
    ck_assert_int_eq(beck_close(late), BECK_OK);
    ck_assert_int_eq(beck_close(a), BECK_OK);
    ck_assert_int_eq(beck_close(b), BECK_OK);
    a = open_db();
    expect_topics(a, 0, 6);
    ck_assert_int_eq(beck_close(a), BECK_OK);
}
END_TEST

/* Snapshots flip the root again and again, while another handle looks now and then. */
START_TEST(garbage_is_left_behind_by_snapshots)
{
    struct beck *a = open_db(), *b = open_db();
    uint64_t next_topic = 0, made = 0;
    live(a, 0, 5, 5);
    for (unsigned i = 5; a->cat.root_flips < 2; i += 5) {
        live(a, i, i + 5, 5);
        made += 6 * FILL * UINT64_C(20);
        expect_topics(b, i, i + 5);
        ck_assert_uint_gt(b->cat.picture.next_topic, next_topic); /* ids go on rising */
        next_topic = b->cat.picture.next_topic;
        ck_assert_uint_lt(made, 16 * CATALOG_SNAPSHOT_BYTES);
        ck_assert_uint_lt(catalog_bytes(&a->cat), 3 * CATALOG_SNAPSHOT_BYTES);
    }
    ck_assert_int_eq(catalog_refresh(&b->cat), BECK_OK);
    ck_assert_uint_eq(b->cat.root_flips, a->cat.root_flips);
    next_topic = b->cat.picture.next_topic;
    ck_assert_int_eq(beck_close(a), BECK_OK);
    ck_assert_int_eq(beck_close(b), BECK_OK);
    a = open_db();
    ck_assert_uint_eq(a->cat.picture.topics, 5);
    ck_assert_uint_eq(a->cat.picture.next_topic, next_topic);
    ck_assert_int_eq(beck_close(a), BECK_OK);
}
END_TEST

static void append_one(struct beck *db, const char *name, uint32_t partitions)
{
    const beck_topic_config config = {
        .size = sizeof config, .sync = BECK_SYNC_OS, .partitions = partitions};
    const beck_record r = {.value = "v", .value_size = 1};
    beck_topic *topic;
    ck_assert_int_eq(beck_topic_open(db, name, &config, &topic), BECK_OK);
    ck_assert_int_eq(beck_append(topic, &r, NULL), BECK_OK);
}

/* Segments of topics lie before and behind those of the catalog, which move through the holes that
 * deleted topics leave: not a byte beside them changes. */
START_TEST(the_catalog_writes_in_its_own_place)
{
    struct beck *db = open_db();
    char name[32];
    unsigned i = 0;
    for (; db->cat.root_flips < 2; i++) {
        snprintf(name, sizeof name, "topic-%u", i);
        append_one(db, name, 1);
        fill(db);
        if (i % 3 != 2) continue;
        snprintf(name, sizeof name, "topic-%u", i - 1);
        ck_assert_int_eq(beck_topic_delete(db, name), BECK_OK);
    }
    ck_assert_int_eq(beck_sync(db), BECK_OK);
    int rc = beck_check(db, NULL, NULL, NULL, NULL);
    ck_assert_msg(rc == BECK_OK, "%s", beck_errmsg(db));
    ck_assert_uint_eq(db->cat.picture.topics, i - i / 3);
    ck_assert_int_eq(beck_close(db), BECK_OK);
    db = open_db();
    ck_assert_int_eq(beck_check(db, NULL, NULL, NULL, NULL), BECK_OK);
    ck_assert_int_eq(beck_close(db), BECK_OK);
}
END_TEST

/* A catalog with much to say is not rewritten more often than it doubles. */
START_TEST(a_large_catalog_is_rewritten_rarely)
{
    struct beck *db = open_db();
    append_one(db, "t", 1000);
    const uint64_t live_bytes = 1000 * 96;
    while (db->cat.root_flips == 0) {
        uint64_t before = catalog_bytes(&db->cat);
        fill(db);
        if (db->cat.root_flips != 0)
            ck_assert_uint_gt(before, CATALOG_SNAPSHOT_BYTES + 3 * live_bytes);
        ck_assert_uint_lt(before, 2 * (CATALOG_SNAPSHOT_BYTES + 3 * live_bytes) + MIB);
    }
    ck_assert_int_eq(beck_close(db), BECK_OK);
}
END_TEST

/* A process that is killed before its n-th stable write, while it moves into the spare or takes a
 * snapshot. */
static int die_at;
static unsigned first_topic;

static void die_there(uint64_t at, int flags)
{
    (void)at;
    (void)flags;
    if (seam.calls == die_at) kill(getpid(), SIGKILL);
}

static void live_until_killed(struct beck *db)
{
    seam.calls = 0;
    seam.before = die_there;
    live(db, first_topic, first_topic + 100, 1000);
}

/* [C4] Whatever it had begun, who takes the lock goes on where it stopped: nothing that was there
 * is gone, and topics were made one after the other. */
START_TEST(a_death_at_any_write_loses_nothing)
{
    struct beck *a = open_db(), *b = open_db();
    char name[32];
    uint32_t moves = 0;
    while (catalog_bytes(&a->cat) + 2 * BLOCK_BYTES < CATALOG_SNAPSHOT_BYTES) fill(a);
    for (die_at = 1; die_at <= 24; die_at++) {
        uint64_t segment = a->cat.segment.id;
        in_a_process_that_dies(live_until_killed);
        coord_settle(&b->coord); /* as everybody does who waits */
        ck_assert_int_eq(catalog_lock(&a->cat), BECK_OK);
        catalog_unlock(&a->cat);
        expect_topics(a, 0, (unsigned)a->cat.picture.topics);
        ck_assert_uint_ge(a->cat.picture.topics, first_topic);
        first_topic = (unsigned)a->cat.picture.topics;
        moves += a->cat.segment.id != segment;
        expect_topics(b, 0, first_topic);
        ck_assert_int_eq(load_again(a), BECK_OK);
    }
    ck_assert_uint_gt(moves, 3);
    ck_assert_uint_gt(a->cat.root_flips, 0);
    snprintf(name, sizeof name, "topic-%u", first_topic);
    ck_assert_int_eq(beck_topic_create(b, name, NULL), BECK_OK);
    expect_topics(a, 0, first_topic + 1);
    ck_assert_int_eq(beck_close(b), BECK_OK);
    ck_assert_int_eq(beck_close(a), BECK_OK);
}
END_TEST

/* ---- Damage ---- */

static void flip(struct beck *db, uint64_t at)
{
    uint8_t byte;
    ck_assert_int_eq(os_read(&db->file.os, &byte, 1, at), BECK_OK);
    byte ^= 1;
    ck_assert_int_eq(os_write(&db->file.os, &byte, 1, at), BECK_OK);
}

START_TEST(damage_before_the_end_is_told)
{
    struct beck *db = open_db();
    for (unsigned i = 0; db->cat.segment.id == db->cat.root.id; i++) live(db, i, i + 1, 100);
    ck_assert_int_eq(load_again(db), BECK_OK);
    const uint64_t bad[] = {SEGMENT_HEADER_BYTES + 4, 8000}; /* of the root */
    flip(db, place_at(&db->cat.root) + 20); /* its header is for salvage: the superblock knows */
    ck_assert_int_eq(load_again(db), BECK_OK);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        flip(db, place_at(&db->cat.root) + bad[i]);
        ck_assert_int_eq(load_again(db), BECK_CORRUPT);
        flip(db, place_at(&db->cat.root) + bad[i]);
        ck_assert_int_eq(load_again(db), BECK_OK);
    }
    /* The last frame torn looks like an end; but more was stable when the superblock was written.
     */
    struct superblock super;
    ck_assert_int_eq(file_read_super(&db->file, &super), 1);
    super.catalog_next = db->cat.at.next;
    ck_assert_int_eq(file_write_super(&db->file, &super), BECK_OK);
    ck_assert_int_eq(load_again(db), BECK_OK);
    flip(db, place_at(&db->cat.segment) + db->cat.at.position - 12);
    ck_assert_int_eq(load_again(db), BECK_CORRUPT);
    flip(db, place_at(&db->cat.segment) + db->cat.at.position - 12);
    ck_assert_int_eq(beck_close(db), BECK_OK);
}
END_TEST

START_TEST(a_torn_last_frame_is_the_end)
{
    struct beck *db = open_db();
    ck_assert_int_eq(beck_topic_create(db, "t", NULL), BECK_OK);
    ck_assert_int_eq(beck_topic_create(db, "u", NULL), BECK_OK);
    flip(db, place_at(&db->cat.segment) + db->cat.at.position - 12);
    struct superblock super;
    struct catalog again;
    ck_assert_int_eq(file_read_super(&db->file, &super), 1);
    ck_assert_int_eq(catalog_init(&again, &db->file, NULL), BECK_OK);
    ck_assert_int_eq(catalog_load(&again, &super, UINT64_MAX), BECK_OK);
    ck_assert_ptr_nonnull(picture_topic_by_name(&again.picture, "t"));
    ck_assert_ptr_null(picture_topic_by_name(&again.picture, "u"));
    ck_assert_int_eq(catalog_load(&again, &super, db->cat.at.next), BECK_CORRUPT);
    catalog_free(&again);
    flip(db, place_at(&db->cat.segment) + db->cat.at.position - 12);
    ck_assert_int_eq(beck_close(db), BECK_OK);
}
END_TEST

/* Not an unused spare: what stands behind that frame proves it. */
START_TEST(damage_in_the_last_segments_first_frame_is_told)
{
    struct beck *db = open_db();
    for (unsigned i = 0; db->cat.segment.id == db->cat.root.id; i++) live(db, i, i + 1, 100);
    flip(db, place_at(&db->cat.segment) + SEGMENT_HEADER_BYTES + 100);
    ck_assert_int_eq(load_again(db), BECK_CORRUPT);
}
END_TEST

static int load_as(struct beck *db, const struct superblock *super)
{
    struct catalog again;
    ck_assert_int_eq(catalog_init(&again, &db->file, NULL), BECK_OK);
    int rc = catalog_load(&again, super, UINT64_MAX);
    catalog_free(&again);
    return rc;
}

START_TEST(impossible_roots_are_refused)
{
    struct beck *db = open_db();
    struct superblock super;
    ck_assert_int_eq(beck_topic_create(db, "t", NULL), BECK_OK);
    ck_assert_int_eq(file_read_super(&db->file, &super), 1);
    ck_assert_int_eq(load_as(db, &super), BECK_OK);
    struct superblock bad[3] = {super, super, super};
    bad[0].root.blocks = SEGMENT_BYTES_LIMIT / BLOCK_BYTES + 1;
    bad[1].root.id = OFFSET_MAX + 1;
    bad[2].root_base = OFFSET_MAX + 1;
    for (int i = 0; i < 3; i++) ck_assert_int_eq(load_as(db, &bad[i]), BECK_CORRUPT);
    ck_assert_int_eq(beck_close(db), BECK_OK);
}
END_TEST

/* What cannot be applied is not written, and changes nothing. */
START_TEST(impossible_links_are_refused)
{
    struct beck *db = open_db();
    const struct entry good = {.type = ENTRY_LINK, .place = db->cat.spare};
    struct entry bad[3] = {good, good, good};
    bad[0].place.blocks = SEGMENT_BYTES_LIMIT / BLOCK_BYTES + 1;
    bad[1].place.id = OFFSET_MAX + 1;
    bad[2].place.id++; /* its blocks are the spare's */
    uint64_t before = visible_now(db);
    ck_assert_int_eq(catalog_lock(&db->cat), BECK_OK);
    for (int i = 0; i < 3; i++) ck_assert_int_lt(catalog_append(&db->cat, &bad[i], 1), 0);
    catalog_unlock(&db->cat);
    ck_assert_uint_eq(visible_now(db), before);
    ck_assert_uint_eq(db->cat.spare.id, good.place.id);
    ck_assert_int_eq(load_again(db), BECK_OK);
    ck_assert_int_eq(beck_topic_create(db, "t", NULL), BECK_OK);
    ck_assert_int_eq(beck_close(db), BECK_OK);
}
END_TEST

/* Put a frame with this entry at the beginning of the spare. */
static void begin_spare(struct beck *db, const struct entry *e)
{
    uint8_t entry[ENTRY_BYTES_MAX], frame[1024] = {0};
    const beck_record r = {.value = entry, .value_size = (uint32_t)entry_encode(e, entry)};
    const struct log_position at = log_begin(db->cat.at.next);
    struct batch_plan plan;
    ck_assert_int_eq(batch_measure(&r, 1, 1, sizeof frame - FRAME_BYTES, &plan), BECK_OK);
    batch_encode(frame + FRAME_BYTES, &r, 1, 0, &plan);
    log_seal_frame(&db->cat.spare, &at, 0, frame, (uint32_t)plan.bytes);
    ck_assert_int_eq(os_write(&db->file.os, frame, sizeof frame,
                              place_at(&db->cat.spare) + SEGMENT_HEADER_BYTES),
                     BECK_OK);
}

/* The log goes on in the spare only from where the first frame there says that it came. */
START_TEST(a_segment_follows_from_the_right_place)
{
    struct beck *db = open_db();
    ck_assert_int_eq(beck_topic_create(db, "t", NULL), BECK_OK);
    const struct entry good = {
        .type = ENTRY_LINK, .end = db->cat.at.position, .chain = db->cat.at.chain};
    struct entry bad[3] = {good, good, {.type = ENTRY_DELETE, .topic = TOPIC_USER_FIRST}};
    bad[0].end -= FRAME_ALIGN;
    bad[1].chain++;
    for (int i = 0; i < 3; i++) {
        begin_spare(db, &bad[i]);
        ck_assert_int_eq(load_again(db), BECK_CORRUPT);
    }
    begin_spare(db, &good);
    ck_assert_int_eq(load_again(db), BECK_OK);
    const uint8_t zeros[1024] = {0};
    ck_assert_int_eq(os_write(&db->file.os, zeros, sizeof zeros,
                              place_at(&db->cat.spare) + SEGMENT_HEADER_BYTES),
                     BECK_OK);
    ck_assert_int_eq(beck_close(db), BECK_OK);
}
END_TEST

/* Between the new superblock and the words that tell of it there is nothing to be missed. */
static struct beck *joined;

static void join_in_flip(uint64_t at, int flags)
{
    (void)flags;
    if (at != SUPER_B_AT || joined != NULL) return;
    seam.before = NULL;
    joined = open_db();
    ck_assert_uint_gt(joined->cat.picture.topics, 0);
}

START_TEST(who_joins_while_the_root_is_flipped_sees_everything)
{
    struct beck *db = open_db();
    ck_assert_int_eq(beck_topic_create(db, "t", NULL), BECK_OK);
    seam.before = join_in_flip;
    while (joined == NULL) fill(db);
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("catalog");
    TCase *c = tcase_create("append");
    tcase_add_test(c, news_reach_the_other_handle);
    tcase_add_test(c, the_lock_brings_the_picture_up_to_date);
    tcase_add_test(c, who_tries_does_not_wait);
    tcase_add_test(c, a_full_disk_is_no_failed_sync);
    tcase_add_test(c, deleting_works_however_long_the_disk_is_full);
    test_add_linux(c, the_clean_mark_goes_first, NO_DSYNC);
    test_add_linux(c, a_batch_is_stable_before_it_is_seen, NO_DSYNC);
    test_add_linux(c, cells_come_before_their_topic, NO_DSYNC);
    suite_add_tcase(s, c);
    c = tcase_create("death");
    tcase_add_test(c, a_frame_left_whole_is_adopted);
    test_add_linux(c, what_is_adopted_is_stable_before_it_is_seen, NO_DSYNC);
    tcase_add_test(c, a_frame_left_torn_is_overwritten);
    tcase_add_test(c, a_lock_left_alone_changes_nothing);
    suite_add_tcase(s, c);
    c = tcase_create("growth");
    tcase_add_test(c, a_batch_larger_than_the_spare);
    test_add_linux(c, the_log_goes_on_without_a_spare, "forbids fallocate");
    tcase_add_test(c, the_catalog_moves_on_from_segment_to_segment);
    tcase_add_test(c, garbage_is_left_behind_by_snapshots);
    tcase_add_test(c, the_catalog_writes_in_its_own_place);
    tcase_add_test(c, a_large_catalog_is_rewritten_rarely);
    test_add_linux(c, a_death_at_any_write_loses_nothing, NO_DSYNC);
    suite_add_tcase(s, c);
    c = tcase_create("damage");
    tcase_add_test(c, damage_before_the_end_is_told);
    tcase_add_test(c, damage_in_the_last_segments_first_frame_is_told);
    tcase_add_test(c, impossible_roots_are_refused);
    tcase_add_test(c, impossible_links_are_refused);
    tcase_add_test(c, a_segment_follows_from_the_right_place);
    test_add_linux(c, who_joins_while_the_root_is_flipped_sees_everything, NO_DSYNC);
    tcase_add_test(c, a_torn_last_frame_is_the_end);
    suite_add_tcase(s, c);
    return s;
}
