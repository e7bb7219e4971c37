/* partition_test.c -- one partition: rolls, group commit, and what its owner left when it died */
#include "partition.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "db.h"
#include "err.h"
#include "settings.h"
#include "test.h"

#define TOPIC TOPIC_USER_FIRST
#define BATCH_BYTES 400000

static char path[4096];
static struct beck *db;
static beck_topic_config config = {.size = sizeof config, .partitions = 1};
static struct live_config live;

static struct beck *open_db(void)
{
    const beck_options options = {.size = sizeof options, .flags = BECK_OPEN_FORCE};
    struct beck *opened = NULL;
    if (path[0] == 0) snprintf(path, sizeof path, "%s/partition-%d", test_folder(), (int)getpid());
    if (beck_open(path, &options, &opened) != BECK_OK) abort();
    return opened;
}

static void open_partition(struct beck *of, struct partition *p)
{
    beck_topic_config c = config;
    settings_defaults(&c);
    live_config_set(&live, &c);
    if (partition_open(p, &of->cat, TOPIC, 0, "t", &live) != BECK_OK) abort();
}

/* A file with one topic, and the partition of it. */
static void make_topic(uint32_t sync, struct partition *p)
{
    config.sync = sync;
    db = open_db();
    ck_assert_int_eq(beck_topic_create(db, "t", &config), BECK_OK);
    settings_defaults(&config);
    open_partition(db, p);
}

static void close_all(struct partition *p)
{
    partition_close(p);
    ck_assert_int_eq(beck_close(db), BECK_OK);
}

/* A batch of `count` records whose values are `bytes` long. */
static struct partition_batch make_batch(uint32_t count, uint32_t bytes)
{
    static _Alignas(8) uint8_t space[BATCH_BYTES + FRAME_BYTES];
    static const uint8_t value[BATCH_BYTES];
    beck_record records[8] = {{0}};
    struct batch_plan plan;
    for (uint32_t i = 0; i < count; i++)
        records[i] = (beck_record){.value = value, .value_size = bytes, .timestamp = 1000 + i};
    if (batch_measure(records, count, 1, BATCH_BYTES, &plan) != BECK_OK) abort();
    batch_encode(space + FRAME_BYTES, records, count, 0, &plan);
    return (struct partition_batch){space, (uint32_t)plan.bytes, count, plan.max_timestamp};
}

static int append(struct partition *p, uint32_t count, uint32_t bytes, uint64_t *base)
{
    struct partition_batch batch = make_batch(count, bytes);
    return partition_append(p, &batch, 0, base);
}

static void expect_append(struct partition *p, uint32_t count, uint32_t bytes, uint64_t at)
{
    uint64_t base = UINT64_MAX;
    ck_assert_int_eq(append(p, count, bytes, &base), BECK_OK);
    ck_assert_uint_eq(base, at);
}

static struct tail tail_of(const struct partition *p)
{
    struct tail tail;
    cell_tail_get(p->cell.ro, &tail);
    return tail;
}

/* The words of the cell agree: everything below `next` was written and can be seen. */
static void expect_even(const struct partition *p, uint64_t next)
{
    ck_assert_uint_eq(tail_of(p).next, next);
    ck_assert_uint_eq(atomic_load(&p->cell.ro->written), next);
    ck_assert_uint_eq(atomic_load(&p->cell.ro->visible), next);
    ck_assert_uint_eq(atomic_load(&p->cell.ro->lock), 0);
}

/* Read the whole partition as a stranger does; the number of records, which have no gap. */
static uint64_t count_records(struct beck *of)
{
    static const char *const names[] = {"t"};
    const beck_consumer_config c = {.size = sizeof c, .topics = names, .topic_count = 1};
    beck_consumer *consumer = NULL;
    const beck_record *records;
    size_t count = 0;
    int64_t next = 0;
    ck_assert_int_eq(beck_consumer_open(of, &c, &consumer), BECK_OK);
    do {
        ck_assert_int_eq(beck_poll(consumer, 100, 0, &records, &count), BECK_OK);
        for (size_t i = 0; i < count; i++) ck_assert_int_eq(records[i].offset, next++);
    } while (count > 0);
    beck_consumer_close(consumer);
    return (uint64_t)next;
}

/* Run `body` in a process of its own, which opens the file and is killed at the end. */
static void in_a_process_that_dies(void (*body)(struct partition *p))
{
    fflush(stdout);
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        struct partition p;
        open_partition(open_db(), &p);
        body(&p);
        kill(getpid(), SIGKILL);
    }
    int status = 0;
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

/* ---- Between the library and the system ---- */

static struct {
    void (*before)(void); /* called before every sync of a mapping */
    int syncs;
    bool fail;
} seam;

int msync(void *at, size_t bytes, int flags)
{
    seam.syncs++;
    if (seam.before != NULL) seam.before();
    if (seam.fail) {
        errno = EIO;
        return -1;
    }
    return (int)syscall(SYS_msync, at, bytes, flags);
}

/* ---- Appending ---- */

START_TEST(appends_follow_each_other)
{
    for (uint32_t sync = BECK_SYNC_SYNC; sync <= BECK_SYNC_OS; sync++) {
        struct partition p;
        make_topic(sync, &p);
        expect_append(&p, 2, 10, 0);
        expect_append(&p, 1, 0, 2);
        expect_append(&p, 8, 500, 3);
        expect_even(&p, 11);
        ck_assert_uint_eq(tail_of(&p).position % FRAME_ALIGN, 0);
        ck_assert_int_eq(tail_of(&p).max_timestamp, 1007);
        ck_assert_uint_eq(atomic_load(&p.cell.ro->stable), sync == BECK_SYNC_SYNC ? 11 : 0);
        /* a sync proves what was written by descriptor, not what was stored: no mapping for it */
        bool stores = sync == BECK_SYNC_OS && db->file.fs.mapped_writes;
        ck_assert_int_eq(p.map.data != NULL, stores);
        ck_assert_uint_eq(tail_of(&p).zeroed, BLOCK_BYTES); /* as far as the segment goes */
        ck_assert_uint_eq(count_records(db), 11);
        close_all(&p);
        ck_assert_int_eq(unlink(path), 0);
    }
}
END_TEST

/* Segments double; a batch larger than any of them gets one of its own. */
START_TEST(segments_are_rolled)
{
    struct partition p;
    config.segment_bytes = 4 * BLOCK_BYTES;
    make_topic(BECK_SYNC_OS, &p);
    uint64_t next = 0;
    for (int i = 0; i < 60; i++, next++) expect_append(&p, 1, 3000, next);
    expect_append(&p, 1, 30000, next++);
    expect_append(&p, 1, 10, next++);
    const struct partition_picture *part = picture_partition(&db->cat.picture, TOPIC, 0);
    ck_assert_uint_gt(part->count, 4);
    ck_assert_uint_eq(part->segments[0].base, 0);
    for (uint32_t i = 0; i + 1 < part->count; i++) {
        const struct segment *s = &part->segments[i];
        ck_assert(s->sealed);
        ck_assert_uint_eq(s->next, part->segments[i + 1].base);
        ck_assert_uint_ne(s->index_bytes, 0);
        ck_assert_uint_le(s->place.blocks, 4);
    }
    ck_assert_uint_eq(partition_active(part)->place.id, tail_of(&p).segment);
    ck_assert_uint_eq(count_records(db), next);
    close_all(&p);
    db = open_db();
    ck_assert_uint_eq(count_records(db), next);
    ck_assert_int_eq(beck_close(db), BECK_OK);
}
END_TEST

/* A partition as large as all its segments together gets one as large again, up to the limit. */
START_TEST(segments_double)
{
    static const uint32_t sizes[] = {1, 1, 2, 4, 8, 8};
    struct partition p;
    uint64_t next = 0, id = 0;
    config.segment_bytes = 8 * BLOCK_BYTES;
    make_topic(BECK_SYNC_OS, &p);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        while (tail_of(&p).segment == id) expect_append(&p, 1, 3000, next++);
        id = tail_of(&p).segment;
        ck_assert_uint_eq(p.place.blocks, sizes[i]);
    }
    close_all(&p);
}
END_TEST

/* Offsets end far away, and then with a word. */
START_TEST(offsets_end)
{
    struct partition p;
    uint64_t base;
    make_topic(BECK_SYNC_OS, &p);
    expect_append(&p, 1, 10, 0);
    const struct tail tail = tail_of(&p);
    struct tail last = tail;
    last.next = OFFSET_MAX - 2;
    cell_tail_set(p.cell.rw, &last);
    ck_assert_int_eq(append(&p, 3, 10, &base), BECK_LIMIT);
    ck_assert_uint_eq(tail_of(&p).next, OFFSET_MAX - 2);
    ck_assert_uint_eq(tail_of(&p).position, tail.position);
    expect_append(&p, 2, 10, OFFSET_MAX - 2);
    cell_tail_set(p.cell.rw, &tail);
    atomic_store(&p.cell.rw->written, 1);
    atomic_store(&p.cell.rw->visible, 1);
    close_all(&p);
}
END_TEST

/* A cell that names a segment nobody knows is damage, and no reason to write anywhere. */
START_TEST(a_segment_that_is_not_in_the_catalog)
{
    struct partition p;
    uint64_t base;
    make_topic(BECK_SYNC_OS, &p);
    expect_append(&p, 1, 10, 0);
    const struct tail tail = tail_of(&p);
    struct tail lost = tail;
    lost.segment += 1000;
    cell_tail_set(p.cell.rw, &lost);
    ck_assert_int_eq(append(&p, 1, 10, &base), BECK_CORRUPT);
    ck_assert_ptr_nonnull(strstr(err_message(), "topic t:0: segment"));
    ck_assert_uint_eq(atomic_load(&p.cell.ro->lock), 0);
    cell_tail_set(p.cell.rw, &tail);
    expect_append(&p, 1, 10, 1);
    ck_assert_uint_eq(count_records(db), 2);
    close_all(&p);
}
END_TEST

/* A topic may change its class between two appends. */
START_TEST(a_class_changes_in_the_middle_of_a_segment)
{
    struct partition p;
    make_topic(BECK_SYNC_OS, &p);
    for (uint64_t i = 0; i < 6; i++) {
        atomic_store(&live.sync, i % 2 == 0 ? BECK_SYNC_OS : BECK_SYNC_SYNC);
        expect_append(&p, 1, 10, i);
        ck_assert_uint_eq(atomic_load(&p.cell.ro->stable), i % 2 == 0 ? i : i + 1);
    }
    expect_append(&p, 1, 20000, 6); /* a roll finds the mapping of the other class */
    atomic_store(&live.sync, BECK_SYNC_OS);
    expect_append(&p, 1, 20000, 7);
    expect_even(&p, 8);
    ck_assert_uint_eq(count_records(db), 8);
    close_all(&p);
}
END_TEST

/* Two handles, which roll in turn without knowing of each other. */
START_TEST(two_handles_append_in_turn)
{
    struct partition p, q;
    config.segment_bytes = BLOCK_BYTES;
    make_topic(BECK_SYNC_OS, &p);
    struct beck *other = open_db();
    open_partition(other, &q);
    for (uint64_t i = 0; i < 40; i++) expect_append(i % 3 == 0 ? &p : &q, 1, 3000, i);
    expect_even(&p, 40);
    ck_assert_uint_eq(count_records(other), 40);
    partition_close(&q);
    ck_assert_int_eq(beck_close(other), BECK_OK);
    close_all(&p);
}
END_TEST

#define THREAD_APPENDS 150

static void *append_some(void *partition)
{
    _Alignas(8) uint8_t bytes[FRAME_BYTES + 1024];
    beck_record r = {.value = "value", .value_size = 5, .timestamp = 5};
    struct batch_plan plan;
    uint64_t base;
    for (int i = 0; i < THREAD_APPENDS; i++) {
        if (batch_measure(&r, 1, 1, 1024, &plan) != BECK_OK) return partition;
        batch_encode(bytes + FRAME_BYTES, &r, 1, 0, &plan);
        struct partition_batch batch = {bytes, (uint32_t)plan.bytes, 1, plan.max_timestamp};
        if (partition_append(partition, &batch, 0, &base) != BECK_OK) return partition;
    }
    return NULL;
}

/* [P4] Frames of writers that run at the same time do not touch each other: the segments hold as
 * many intact frames in one chain as were appended. */
START_TEST(bytes_are_written_under_the_lock)
{
    struct partition p, q;
    pthread_t threads[4];
    void *failed;
    config.segment_bytes = BLOCK_BYTES;
    make_topic(BECK_SYNC_OS, &p);
    struct beck *other = open_db();
    open_partition(other, &q);
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, append_some, i % 2 == 0 ? &p : &q), 0);
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], &failed);
        ck_assert_ptr_null(failed);
    }
    expect_even(&p, 4 * THREAD_APPENDS);
    ck_assert_uint_eq(count_records(db), 4 * THREAD_APPENDS);
    partition_close(&q);
    ck_assert_int_eq(beck_close(other), BECK_OK);
    close_all(&p);
}
END_TEST

/* [P4] While the lock is another's, not a byte of the segment changes. */
static _Atomic bool done;

static void *append_one(void *partition)
{
    uint64_t base = 0;
    int rc = append(partition, 1, 10, &base);
    atomic_store(&done, true);
    return rc == BECK_OK && base == 1 ? NULL : partition;
}

START_TEST(who_has_not_the_lock_writes_nothing)
{
    static uint8_t before[BLOCK_BYTES], after[BLOCK_BYTES];
    struct partition p, q;
    pthread_t thread;
    void *failed;
    make_topic(BECK_SYNC_OS, &p);
    expect_append(&p, 1, 10, 0);
    struct beck *other = open_db();
    open_partition(other, &q);
    ck_assert_int_eq(coord_lock(&other->coord, &q.cell, WORD_LOCK, LOCK_TRY), LOCK_TAKEN);
    ck_assert_int_eq(file_read_segment(&db->file, &p.place, 0, before, sizeof before), BECK_OK);
    ck_assert_int_eq(pthread_create(&thread, NULL, append_one, &p), 0);
    os_sleep_ms(50);
    ck_assert(!atomic_load(&done));
    ck_assert_int_eq(file_read_segment(&db->file, &p.place, 0, after, sizeof after), BECK_OK);
    ck_assert_mem_eq(before, after, sizeof before);
    coord_unlock(&other->coord, &q.cell, WORD_LOCK);
    pthread_join(thread, &failed);
    ck_assert_ptr_null(failed);
    partition_close(&q);
    ck_assert_int_eq(beck_close(other), BECK_OK);
    close_all(&p);
}
END_TEST

START_TEST(a_deleted_partition_takes_nothing)
{
    struct partition p;
    uint64_t base;
    make_topic(BECK_SYNC_OS, &p);
    expect_append(&p, 1, 10, 0);
    struct beck *other = open_db();
    ck_assert_int_eq(beck_topic_delete(other, "t"), BECK_OK);
    ck_assert_int_eq(append(&p, 1, 10, &base), BECK_DELETED);
    ck_assert_int_eq(append(&p, 1, 20000, &base), BECK_DELETED);
    ck_assert_int_eq(partition_sync(&p, 2), BECK_DELETED);
    int syncs = seam.syncs;
    partition_look(&p);
    ck_assert_int_eq(seam.syncs, syncs);
    ck_assert_int_eq(beck_close(other), BECK_OK);
    close_all(&p);
}
END_TEST

/* ---- Syncs ---- */

static struct partition *synced;
static uint64_t stable_at_sync, visible_at_sync;

static void note_words(void)
{
    stable_at_sync = atomic_load(&synced->cell.ro->stable);
    visible_at_sync = atomic_load(&synced->cell.ro->visible);
}

/* [P2] [P3] In a `sync` topic nothing is stable or visible before the sync has come back. */
START_TEST(stable_and_visible_come_after_the_sync)
{
    struct partition p;
    make_topic(BECK_SYNC_SYNC, &p);
    expect_append(&p, 3, 10, 0);
    synced = &p;
    seam.before = note_words;
    int syncs = seam.syncs;
    expect_append(&p, 2, 10, 3);
    ck_assert_int_gt(seam.syncs, syncs);
    ck_assert_uint_eq(stable_at_sync, 3);
    ck_assert_uint_eq(visible_at_sync, 3);
    expect_even(&p, 5);
    ck_assert_uint_eq(atomic_load(&p.cell.ro->stable), 5);
    seam.before = NULL;
    close_all(&p);
}
END_TEST

START_TEST(an_os_topic_is_synced_when_asked)
{
    struct partition p;
    config.segment_bytes = BLOCK_BYTES;
    make_topic(BECK_SYNC_OS, &p);
    int syncs = seam.syncs;
    for (uint64_t i = 0; i < 12; i++) expect_append(&p, 1, 3000, i); /* over several segments */
    ck_assert_int_eq(seam.syncs, syncs);
    ck_assert_uint_eq(atomic_load(&p.cell.ro->stable), 0);
    ck_assert_int_eq(partition_sync(&p, 5), BECK_OK);
    ck_assert_uint_eq(atomic_load(&p.cell.ro->stable), 12); /* a group: all there is */
    ck_assert_int_ge(seam.syncs - syncs, 3);
    syncs = seam.syncs;
    ck_assert_int_eq(partition_sync(&p, 12), BECK_OK);
    ck_assert_int_eq(seam.syncs, syncs);
    struct partition_batch batch = make_batch(1, 5);
    uint64_t base;
    ck_assert_int_eq(partition_append(&p, &batch, BECK_SYNC_SYNC, &base), BECK_OK);
    ck_assert_uint_eq(atomic_load(&p.cell.ro->stable), 13);
    close_all(&p);
}
END_TEST

/* However many segments were rolled without a sync: all of them, before `stable` says so. */
START_TEST(many_segments_are_synced)
{
    struct partition p;
    uint64_t next = 0;
    config.segment_bytes = BLOCK_BYTES;
    make_topic(BECK_SYNC_OS, &p);
    while (next < 180) expect_append(&p, 1, 3000, next), next++;
    uint32_t sealed = picture_partition(&db->cat.picture, TOPIC, 0)->count - 1;
    ck_assert_uint_gt(sealed, 2 * 16); /* more than are looked up at once, twice */
    int syncs = seam.syncs;
    ck_assert_int_eq(partition_sync(&p, next), BECK_OK);
    ck_assert_int_eq(seam.syncs - syncs, (int)sealed + 1);
    ck_assert_uint_eq(atomic_load(&p.cell.ro->stable), next);
    close_all(&p);
}
END_TEST

/* A leader that was stopped in its sync: after a while others sync for themselves. */
START_TEST(a_leader_that_does_not_come_back_is_not_waited_for)
{
    struct partition p, q;
    make_topic(BECK_SYNC_SYNC, &p);
    expect_append(&p, 1, 10, 0);
    struct beck *other = open_db();
    open_partition(other, &q);
    ck_assert_int_eq(coord_lock(&other->coord, &q.cell, WORD_SYNC, LOCK_TRY), LOCK_TAKEN);
    int64_t before = os_monotonic_ms();
    expect_append(&p, 1, 10, 1);
    ck_assert_int_ge(os_monotonic_ms() - before, LOOK_MS);
    ck_assert_uint_eq(atomic_load(&p.cell.ro->stable), 2);
    ck_assert_uint_ne(atomic_load(&p.cell.ro->sync_lock), 0); /* it is the leader still */
    coord_unlock(&other->coord, &q.cell, WORD_SYNC);
    expect_append(&p, 1, 10, 2);
    expect_even(&p, 3);
    partition_close(&q);
    ck_assert_int_eq(beck_close(other), BECK_OK);
    close_all(&p);
}
END_TEST

/* flush.ms counts from the last sync; a clock that was set back must not put it off. */
START_TEST(a_clock_set_back_does_not_put_off_a_flush)
{
    struct partition p;
    config.flush_ms = 3600 * 1000;
    make_topic(BECK_SYNC_OS, &p);
    ck_assert_int_eq(partition_sync(&p, 0), BECK_OK);
    atomic_store(&p.cell.rw->synced_at, os_now_ms());
    expect_append(&p, 1, 10, 0);
    partition_look(&p);
    ck_assert_uint_eq(atomic_load(&p.cell.ro->stable), 0);
    atomic_store(&p.cell.rw->synced_at, os_now_ms() - 3601 * 1000);
    expect_append(&p, 1, 10, 1);
    ck_assert_uint_eq(atomic_load(&p.cell.ro->stable), 2);
    expect_append(&p, 1, 10, 2);
    ck_assert_uint_eq(atomic_load(&p.cell.ro->stable), 2);
    atomic_store(&p.cell.rw->synced_at, os_now_ms() + 3600 * 1000);
    partition_look(&p);
    ck_assert_uint_eq(atomic_load(&p.cell.ro->stable), 3);
    close_all(&p);
}
END_TEST

/* Change one byte of the last record of the segment of offset `at`, in the file. */
static void damage(struct partition *p, uint64_t at)
{
    struct partition_picture *part = picture_partition(&p->cat->picture, TOPIC, 0);
    struct segment *s = partition_locate(part, at);
    uint64_t end = s->sealed ? s->end : tail_of(p).position;
    uint8_t byte;
    uint64_t where = place_at(&s->place) + end - 20;
    ck_assert_int_eq(os_read(&p->cat->file->os, &byte, 1, where), BECK_OK);
    byte ^= 1;
    ck_assert_int_eq(os_write(&p->cat->file->os, &byte, 1, where), BECK_OK);
}

/* [Y3] After a sync whose end nobody saw, bytes are written again before they are synced, and only
 * where guard and checksum vouch for them. In a sealed segment damage reads as a gap. */
START_TEST(suspect_bytes_are_checked_before_they_are_called_stable)
{
    struct partition p;
    uint64_t next = 0;
    config.segment_bytes = BLOCK_BYTES;
    make_topic(BECK_SYNC_OS, &p);
    for (; next < 7; next++) expect_append(&p, 1, 3000, next); /* five to a segment */
    ck_assert_uint_eq(picture_partition(&db->cat.picture, TOPIC, 0)->count, 2);
    p.cell.rw->suspect = next;
    damage(&p, 6);
    ck_assert_int_eq(partition_sync(&p, next), BECK_IO);
    ck_assert_ptr_nonnull(strstr(err_message(), "damaged before it became stable"));
    ck_assert_uint_eq(atomic_load(&p.cell.ro->stable), 0);
    ck_assert_uint_eq(atomic_load(&p.cell.ro->lock), 0);
    ck_assert_uint_eq(atomic_load(&p.cell.ro->sync_lock), 0);
    damage(&p, 6); /* and back */
    damage(&p, 4);
    ck_assert_int_eq(partition_sync(&p, next), BECK_OK);
    ck_assert_uint_eq(atomic_load(&p.cell.ro->stable), next);
    damage(&p, 4);
    /* Beyond the suspect offset nobody looks again. */
    expect_append(&p, 1, 10, next++);
    damage(&p, 7);
    ck_assert_int_eq(partition_sync(&p, next), BECK_OK);
    damage(&p, 7);
    ck_assert_uint_eq(count_records(db), next);
    close_all(&p);
}
END_TEST

/* [Y3] The same when a `sync` topic rolls, which holds the partition's lock already. */
START_TEST(a_roll_checks_suspect_bytes_as_well)
{
    struct partition p;
    uint64_t base, next = 0;
    config.segment_bytes = BLOCK_BYTES;
    make_topic(BECK_SYNC_OS, &p);
    for (; next < 5; next++) expect_append(&p, 1, 3000, next);
    p.cell.rw->suspect = next;
    atomic_store(&live.sync, BECK_SYNC_SYNC);
    damage(&p, 4);
    ck_assert_int_lt(append(&p, 1, 3000, &base), 0);
    ck_assert_uint_eq(picture_partition(&db->cat.picture, TOPIC, 0)->count, 1);
    ck_assert_uint_eq(atomic_load(&p.cell.ro->stable), 0);
    damage(&p, 4);
    expect_append(&p, 1, 3000, next++);
    ck_assert_uint_eq(atomic_load(&p.cell.ro->stable), next);
    ck_assert_uint_eq(picture_partition(&db->cat.picture, TOPIC, 0)->count, 2);
    close_all(&p);
}
END_TEST

/* [P3] [Y4] A sync that fails poisons the file: nothing of it is called stable, now or later. */
START_TEST(a_failed_sync_poisons)
{
    struct partition p;
    uint64_t base;
    make_topic(BECK_SYNC_SYNC, &p);
    expect_append(&p, 1, 10, 0);
    seam.fail = true;
    ck_assert_int_eq(append(&p, 1, 10, &base), BECK_POISONED);
    seam.fail = false;
    ck_assert_uint_eq(atomic_load(&p.cell.ro->stable), 1);
    ck_assert_uint_eq(atomic_load(&p.cell.ro->visible), 1);
    ck_assert_int_eq(partition_sync(&p, 2), BECK_POISONED);
    ck_assert_int_eq(append(&p, 1, 10, &base), BECK_POISONED);
    int syncs = seam.syncs;
    partition_look(&p);
    ck_assert_int_eq(seam.syncs, syncs);
    ck_assert_uint_eq(atomic_load(&p.cell.ro->stable), 1);
    partition_close(&p);
    (void)beck_close(db);
}
END_TEST

/* ---- Deaths ---- */

static void take_lock(struct partition *p)
{
    if (coord_lock(p->cat->coord, &p->cell, WORD_LOCK, LOCK_TRY) != LOCK_TAKEN) _exit(1);
}

/* Write `bytes` of the frame that the next append would write, and tell nobody. */
static void write_frame_by_hand(struct partition *p, size_t bytes)
{
    struct partition_batch batch = make_batch(2, 100);
    struct tail tail = tail_of(p);
    struct log_position at = {tail.position, tail.chain, tail.next, true};
    struct segment s;
    struct partition_picture *part = picture_partition(&p->cat->picture, TOPIC, 0);
    s = *partition_segment(part, tail.segment);
    log_seal_frame(&s.place, &at, 0, batch.bytes, batch.batch_bytes);
    size_t whole = FRAME_BYTES + batch.batch_bytes;
    if (os_write(&p->cat->file->os, batch.bytes, bytes < whole ? bytes : whole,
                 place_at(&s.place) + tail.position) != BECK_OK)
        _exit(1);
}

static void die_with_the_lock(struct partition *p)
{
    take_lock(p);
}

static void die_behind_a_frame(struct partition *p)
{
    take_lock(p);
    write_frame_by_hand(p, SIZE_MAX);
}

static void die_in_a_frame(struct partition *p)
{
    take_lock(p);
    write_frame_by_hand(p, 150);
}

/* Behind the tail, before written and visible. */
static void die_behind_the_tail(struct partition *p)
{
    uint64_t base;
    if (append(p, 2, 100, &base) != BECK_OK) _exit(1);
    take_lock(p);
    atomic_fetch_sub(&p->cell.rw->written, 2);
    atomic_fetch_sub(&p->cell.rw->visible, 2);
}

/* In a roll: the catalog knows the next segment, the cell does not. */
static void die_in_a_roll(struct partition *p)
{
    struct tail tail = tail_of(p);
    struct entry e[2] = {{.type = ENTRY_SEAL,
                          .next_offset = tail.next,
                          .stable_offset = 0,
                          .max_timestamp = tail.max_timestamp,
                          .end = tail.position},
                         {.type = ENTRY_ADD, .topic = TOPIC, .base_offset = tail.next}};
    if (catalog_lock(p->cat) != BECK_OK) _exit(1);
    take_lock(p);
    e[0].place =
        partition_segment(picture_partition(&p->cat->picture, TOPIC, 0), tail.segment)->place;
    if (catalog_place(p->cat, BLOCK_BYTES, &e[1].place) != BECK_OK) _exit(1);
    if (file_make_segment(p->cat->file, &e[1].place, TOPIC, 0, tail.next) != BECK_OK) _exit(1);
    if (catalog_append(p->cat, e, 2) != BECK_OK) _exit(1);
}

static const struct {
    void (*how)(struct partition *p);
    uint32_t adopted; /* records */
} deaths[] = {{die_with_the_lock, 0},
              {die_behind_a_frame, 2},
              {die_in_a_frame, 0},
              {die_behind_the_tail, 2},
              {die_in_a_roll, 0}};

/* [P1] [L2] What was whole is there, what was torn is not, and the next append goes on. */
START_TEST(what_the_dead_left_is_repaired)
{
    struct partition p;
    uint64_t next = 3, segment;
    make_topic(BECK_SYNC_OS, &p);
    expect_append(&p, 3, 100, 0);
    segment = tail_of(&p).segment;
    in_a_process_that_dies(deaths[_i].how);
    ck_assert_uint_ne(atomic_load(&p.cell.ro->lock), 0);
    next += deaths[_i].adopted;
    expect_append(&p, 1, 10, next++);
    expect_even(&p, next);
    ck_assert_int_eq(tail_of(&p).max_timestamp, 1002);
    ck_assert_int_eq(tail_of(&p).segment != segment, deaths[_i].how == die_in_a_roll);
    ck_assert_int_eq(partition_sync(&p, next), BECK_OK);
    ck_assert_uint_eq(count_records(db), next);
    close_all(&p);
    db = open_db();
    ck_assert_str_eq(beck_recovery_report(db), "");
    ck_assert_uint_eq(count_records(db), next);
    ck_assert_int_eq(beck_close(db), BECK_OK);
}
END_TEST

/* The partition was empty, or just made: there is no segment to look into. */
START_TEST(a_lock_left_on_an_empty_partition)
{
    struct partition p;
    make_topic(BECK_SYNC_OS, &p);
    in_a_process_that_dies(die_with_the_lock);
    ck_assert_uint_ne(atomic_load(&p.cell.ro->lock), 0);
    partition_look(&p);
    expect_even(&p, 0);
    ck_assert_uint_eq(tail_of(&p).segment, 0);
    expect_append(&p, 1, 10, 0);
    close_all(&p);
}
END_TEST

/* What is adopted moves the tail as an append does: also its time. */
START_TEST(the_time_of_what_is_adopted_counts)
{
    struct partition p;
    make_topic(BECK_SYNC_OS, &p);
    expect_append(&p, 1, 100, 0);
    ck_assert_int_eq(tail_of(&p).max_timestamp, 1000);
    in_a_process_that_dies(die_behind_a_frame);
    partition_look(&p);
    expect_even(&p, 3);
    ck_assert_int_eq(tail_of(&p).max_timestamp, 1001);
    close_all(&p);
}
END_TEST

#define LARGE 150000

/* Behind three frames that are larger than what a repair reads at once. */
static void die_behind_large_frames(struct partition *p)
{
    uint64_t base;
    for (uint64_t next = 0; next < 8; next++)
        if (append(p, 1, LARGE, &base) != BECK_OK || base != next) _exit(1);
    take_lock(p);
    struct tail tail = tail_of(p);
    struct partition_picture *part = picture_partition(&p->cat->picture, TOPIC, 0);
    if (partition_active(part)->base != 5) _exit(1);
    tail = (struct tail){.segment = tail.segment,
                         .next = 5,
                         .position = SEGMENT_HEADER_BYTES,
                         .zeroed = tail.zeroed,
                         .max_timestamp = 1000};
    cell_tail_set(p->cell.rw, &tail);
    atomic_store(&p->cell.rw->written, 5);
    atomic_store(&p->cell.rw->visible, 5);
}

/* [P1] Every intact frame is adopted, however many and large. */
START_TEST(large_frames_are_adopted)
{
    struct partition p;
    config.segment_bytes = 16 * MIB;
    make_topic(BECK_SYNC_OS, &p);
    in_a_process_that_dies(die_behind_large_frames);
    partition_look(&p);
    expect_even(&p, 8);
    expect_append(&p, 1, 10, 8);
    ck_assert_uint_eq(count_records(db), 9);
    close_all(&p);
}
END_TEST

/* The topic is deleted in the catalog, and its cell says nothing of it. */
static void die_in_a_delete(struct partition *p)
{
    struct entry e = {.type = ENTRY_DELETE, .topic = TOPIC};
    if (catalog_lock(p->cat) != BECK_OK) _exit(1);
    if (catalog_append(p->cat, &e, 1) != BECK_OK) _exit(1);
}

static void die_in_a_delete_with_the_lock(struct partition *p)
{
    take_lock(p);
    die_in_a_delete(p);
}

/* [P5] Who finds the partition's lock, or needs a new segment, finds the delete. */
START_TEST(a_delete_left_half_done_is_found)
{
    struct partition p;
    uint64_t base;
    make_topic(BECK_SYNC_OS, &p);
    expect_append(&p, 1, 10, 0);
    in_a_process_that_dies(_i == 0 ? die_in_a_delete : die_in_a_delete_with_the_lock);
    ck_assert_uint_eq(atomic_load(&p.cell.ro->state), CELL_LIVE);
    ck_assert_int_eq(append(&p, 1, _i == 0 ? 20000 : 10, &base), BECK_DELETED);
    ck_assert_uint_eq(atomic_load(&p.cell.ro->state), CELL_DELETED);
    ck_assert_uint_eq(atomic_load(&p.cell.ro->lock), 0);
    close_all(&p);
}
END_TEST

/* Somebody who only waits repairs as well; and closing, too. */
START_TEST(who_looks_repairs)
{
    struct partition p;
    make_topic(BECK_SYNC_OS, &p);
    expect_append(&p, 3, 100, 0);
    in_a_process_that_dies(die_behind_a_frame);
    ck_assert_int_eq(partition_look(&p), BECK_OK);
    expect_even(&p, 5);
    in_a_process_that_dies(die_behind_a_frame);
    close_all(&p);
    db = open_db();
    ck_assert_uint_eq(count_records(db), 7);
    ck_assert_int_eq(beck_close(db), BECK_OK);
}
END_TEST

static void die_before_the_sync(struct partition *p)
{
    struct partition_batch batch = make_batch(2, 100);
    uint64_t base;
    (void)partition_append(p, &batch, 0, &base); /* killed in its msync */
}

static void kill_me(void)
{
    kill(getpid(), SIGKILL);
}

static void die_in_the_sync(struct partition *p)
{
    seam.before = kill_me;
    die_before_the_sync(p);
}

/* A leader that died in its sync leaves records written and not stable: who looks syncs them. */
START_TEST(a_sync_left_behind_is_done_again)
{
    struct partition p;
    make_topic(BECK_SYNC_SYNC, &p);
    expect_append(&p, 3, 100, 0);
    in_a_process_that_dies(die_in_the_sync);
    ck_assert_uint_eq(atomic_load(&p.cell.ro->written), 5);
    ck_assert_uint_eq(atomic_load(&p.cell.ro->visible), 3);
    ck_assert_uint_ne(atomic_load(&p.cell.ro->sync_lock), 0);
    ck_assert_int_eq(partition_look(&p), BECK_OK);
    expect_even(&p, 5);
    ck_assert_uint_eq(atomic_load(&p.cell.ro->stable), 5);
    ck_assert_uint_eq(atomic_load(&p.cell.ro->sync_lock), 0);
    close_all(&p);
}
END_TEST

START_TEST(a_cell_is_set_up)
{
    const struct tail tail = {.segment = 9, .next = 70, .max_timestamp = 5, .position = 640};
    struct cell cell;
    struct tail got;
    memset(&cell, 0xaa, sizeof cell);
    partition_reset_cell(&cell, 33, 2, &tail, 65, 0);
    cell_tail_snapshot(&cell, &got);
    ck_assert_mem_eq(&got, &tail, sizeof tail);
    ck_assert_uint_eq(atomic_load(&cell.topic), 33);
    ck_assert_uint_eq(atomic_load(&cell.partition), 2);
    ck_assert_uint_eq(atomic_load(&cell.state), CELL_LIVE);
    ck_assert_uint_eq(atomic_load(&cell.written), 70);
    ck_assert_uint_eq(atomic_load(&cell.stable), 65);
    ck_assert_uint_eq(atomic_load(&cell.visible), 70);
    ck_assert_uint_eq(atomic_load(&cell.lock), 0);
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("partition");
    TCase *c = tcase_create("append");
    tcase_add_test(c, appends_follow_each_other);
    tcase_add_test(c, segments_are_rolled);
    tcase_add_test(c, segments_double);
    tcase_add_test(c, offsets_end);
    tcase_add_test(c, a_segment_that_is_not_in_the_catalog);
    tcase_add_test(c, a_class_changes_in_the_middle_of_a_segment);
    tcase_add_test(c, two_handles_append_in_turn);
    tcase_add_test(c, bytes_are_written_under_the_lock);
    tcase_add_test(c, who_has_not_the_lock_writes_nothing);
    tcase_add_test(c, a_deleted_partition_takes_nothing);
    tcase_add_test(c, a_cell_is_set_up);
    suite_add_tcase(s, c);
    c = tcase_create("sync");
    tcase_add_test(c, stable_and_visible_come_after_the_sync);
    tcase_add_test(c, an_os_topic_is_synced_when_asked);
    tcase_add_test(c, many_segments_are_synced);
    tcase_add_test(c, a_leader_that_does_not_come_back_is_not_waited_for);
    tcase_add_test(c, a_clock_set_back_does_not_put_off_a_flush);
    tcase_add_test(c, suspect_bytes_are_checked_before_they_are_called_stable);
    tcase_add_test(c, a_roll_checks_suspect_bytes_as_well);
    tcase_add_test(c, a_failed_sync_poisons);
    suite_add_tcase(s, c);
    c = tcase_create("death");
    tcase_add_loop_test(c, what_the_dead_left_is_repaired, 0,
                        (int)(sizeof deaths / sizeof deaths[0]));
    tcase_add_test(c, a_lock_left_on_an_empty_partition);
    tcase_add_test(c, the_time_of_what_is_adopted_counts);
    tcase_add_test(c, large_frames_are_adopted);
    tcase_add_loop_test(c, a_delete_left_half_done_is_found, 0, 2);
    tcase_add_test(c, who_looks_repairs);
    tcase_add_test(c, a_sync_left_behind_is_done_again);
    suite_add_tcase(s, c);
    return s;
}
