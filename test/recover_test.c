/* recover_test.c -- files of processes that were killed, damaged by hand, and what is left */
#include "recover.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "db.h"
#include "test.h"

#define FRAMES_MAX 64
#define VALUE_BYTES 1000 /* some 15 records in a block */

static char path[4096];
static const beck_options options = {.size = sizeof options, .flags = BECK_OPEN_FORCE};

static struct beck *open_db(void)
{
    struct beck *db = NULL;
    int rc = beck_open(path, &options, &db);
    ck_assert_msg(rc == BECK_OK, "%s", beck_errmsg(db));
    return db;
}

/* ---- Between the library and the system ---- */

static int writes, die_at;

ssize_t pwritev2(int fd, const struct iovec *iov, int count, off_t at, int flags)
{
    if (++writes == die_at) kill(getpid(), SIGKILL);
    return syscall(SYS_pwritev2, fd, iov, (unsigned long)count, at, 0L, flags);
}

/* Syncs of mappings, and writes of what already stands at the beginning of a segment. */
static int syncs, rewritten;
static uint64_t segment_at[8];

int msync(void *at, size_t bytes, int flags)
{
    syncs++;
    return (int)syscall(SYS_msync, at, bytes, flags);
}

ssize_t pwrite(int fd, const void *data, size_t bytes, off_t at)
{
    for (size_t i = 0; i < sizeof segment_at / sizeof segment_at[0]; i++)
        rewritten += at != 0 && (uint64_t)at == segment_at[i] && bytes > SEGMENT_HEADER_BYTES;
    return syscall(SYS_pwrite64, fd, data, bytes, at);
}

/* ---- Making files ---- */

/* What a process does before it is killed: append `records` to an `os` topic, one batch each, with
 * a sync in front of record `synced`, or a clean close in front of record `closed`, unless 0. With
 * `class` the topic becomes a `sync` topic at last. */
struct life {
    uint32_t records;
    uint32_t synced;
    uint32_t closed;
    uint32_t class;
};

static void append_records(beck_topic *topic, uint32_t from, uint32_t to)
{
    static const char value[VALUE_BYTES];
    for (uint32_t i = from; i < to; i++) {
        const beck_record r = {.value = value, .value_size = VALUE_BYTES, .timestamp = 1 + i};
        int64_t offset;
        if (beck_append(topic, &r, &offset) != BECK_OK) _exit(1);
        if (offset != i) _exit(2);
    }
}

static beck_topic *open_topic(beck *db)
{
    const beck_topic_config config = {
        .size = sizeof config, .sync = BECK_SYNC_OS, .segment_bytes = 2 * BLOCK_BYTES};
    beck_topic *topic;
    if (beck_topic_open(db, "t", &config, &topic) != BECK_OK) _exit(3);
    return topic;
}

static void live(const struct life *life)
{
    beck *db;
    if (beck_open(path, &options, &db) != BECK_OK) _exit(4);
    if (life->closed > 0) {
        append_records(open_topic(db), 0, life->closed);
        if (beck_close(db) != BECK_OK || beck_open(path, &options, &db) != BECK_OK) _exit(5);
    }
    if (life->synced > 0) {
        append_records(open_topic(db), life->closed, life->synced);
        if (beck_sync(db) != BECK_OK) _exit(6);
    }
    append_records(open_topic(db), life->synced + life->closed, life->records);
    const beck_topic_config other = {.size = sizeof other, .sync = life->class};
    if (life->class != 0 && beck_topic_alter(db, "t", &other) != BECK_OK) _exit(7);
    kill(getpid(), SIGKILL);
}

/* The next process: it recovers, goes on at record `synced` without a sync, and is killed. */
static void live_on(const struct life *life)
{
    beck *db;
    if (beck_open(path, &options, &db) != BECK_OK) _exit(4);
    append_records(open_topic(db), life->synced, life->records);
    kill(getpid(), SIGKILL);
}

static void open_and_close(const struct life *life)
{
    beck *db;
    (void)life;
    writes = 0;
    if (beck_open(path, &options, &db) == BECK_OK) (void)beck_close(db);
    _exit(0);
}

/* In a process of its own; true when it was killed. */
static bool run(void (*body)(const struct life *life), const struct life *life)
{
    if (path[0] == 0) snprintf(path, sizeof path, "%s/recover-%d", test_folder(), (int)getpid());
    fflush(stdout);
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) body(life);
    int status = 0;
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert(WIFSIGNALED(status) ? WTERMSIG(status) == SIGKILL : WEXITSTATUS(status) == 0);
    return WIFSIGNALED(status);
}

/* ---- Files that claim more than they have ---- */

#define CLAIMED_BLOCKS (SEGMENT_BYTES_LIMIT / BLOCK_BYTES)
#define CLAIMED_AT 1000u /* its first block: far behind the end of the file */

/* The catalog names a segment of 1 GiB of which there is not a byte, sealed behind ten records. */
static void claims_a_segment(struct beck *db)
{
    const struct topic_picture *t = picture_topic_by_name(&db->cat.picture, "t");
    struct segment_place place = {
        .id = db->cat.picture.next_segment, .block = CLAIMED_AT, .blocks = CLAIMED_BLOCKS};
    struct entry claim[] = {{.type = ENTRY_ADD, .topic = t->id, .place = place},
                            {.type = ENTRY_SEAL, .place = place, .next_offset = 10},
                            {.type = ENTRY_TAIL, .topic = t->id, .next_offset = 10}};
    claim[1].end = CLAIMED_BLOCKS * BLOCK_BYTES - FRAME_ALIGN;
    if (catalog_append(&db->cat, claim, 3) < 0) _exit(7);
}

/* The catalog goes on in a segment of 1 GiB; a frame in it says that it fills it. */
static void claims_a_spare(struct beck *db, bool frame)
{
    struct segment_place place = {
        .id = db->cat.picture.next_segment, .block = CLAIMED_AT, .blocks = CLAIMED_BLOCKS};
    struct entry claim = {.type = ENTRY_LINK, .place = place};
    uint8_t bytes[FRAME_BYTES + BATCH_HEADER_BYTES] = {0};
    struct frame f = {.length = CLAIMED_BLOCKS * BLOCK_BYTES - 256};
    if (catalog_append(&db->cat, &claim, 1) < 0) _exit(7);
    f.guard = frame_guard(&place, SEGMENT_HEADER_BYTES, &f, bytes + FRAME_BYTES);
    frame_encode(&f, bytes);
    if (frame &&
        os_write(&db->file.os, bytes, sizeof bytes, place_at(&place) + SEGMENT_HEADER_BYTES) < 0)
        _exit(8);
}

/* `life->records` says what is claimed. */
static void claim(const struct life *life)
{
    beck *db;
    beck_topic *topic;
    if (beck_open(path, &options, &db) != BECK_OK ||
        beck_topic_open(db, "t", NULL, &topic) != BECK_OK || catalog_lock(&db->cat) < 0)
        _exit(4);
    if (life->records == 0)
        claims_a_segment(db);
    else
        claims_a_spare(db, life->records == 2);
    /* Of no known boot: then what the area says counts everywhere. */
    memset(coord_header(&db->coord)->boot_id, 0, 16);
    coord_note_suspects(&db->coord);
    kill(getpid(), SIGKILL);
}

/* Everything there is to read, which is nothing. */
static void read_nothing(beck *db)
{
    const char *topic = "t";
    const beck_record *records;
    size_t count;
    beck_consumer_config config = {.size = sizeof config, .topics = &topic, .topic_count = 1};
    beck_consumer *consumer;
    int rc = beck_consumer_open(db, &config, &consumer);
    do rc = rc < 0 ? rc : beck_poll(consumer, 10, 0, &records, &count);
    while (rc == BECK_EVENT);
    if (rc < 0 || count > 0) _exit(9);
    beck_consumer_close(consumer);
}

/* With less memory than was claimed. */
static void open_a_claim(const struct life *life)
{
    beck_options readonly = options;
    beck_check_summary sum = {.size = sizeof sum};
    struct rlimit limit = {UINT64_C(400) << 20, UINT64_C(400) << 20};
    beck *db;
    readonly.flags |= BECK_OPEN_READONLY;
    if (setrlimit(RLIMIT_AS, &limit) < 0) _exit(3);
    int rc = beck_open(path, &readonly, &db);
    if (rc == BECK_OK) read_nothing(db);
    if (rc == BECK_OK && beck_check(db, NULL, NULL, NULL, &sum) == BECK_NOMEM) _exit(4);
    (void)beck_close(db);
    (void)life;
    _exit(rc == BECK_OK ? 0 : 5);
}

/* In a copy, where nothing is believed: neither memory nor disk is spent on bytes that are not
 * there, and none of them is touched in a mapping. */
START_TEST(what_is_only_claimed_costs_nothing)
{
    struct stat st;
    char copy[600], command[1300];
    ck_assert(run(claim, &(struct life){.records = (uint32_t)_i}));
    snprintf(copy, sizeof copy, "%.500s.copy", path);
    snprintf(command, sizeof command, "cp --sparse=always %.500s %s", path, copy);
    ck_assert_int_eq(system(command), 0);
    memcpy(path, copy, sizeof copy);
    ck_assert(!run(open_a_claim, &(struct life){0}));
    beck *db = open_db();
    if (_i == 0) read_nothing(db);
    ck_assert_int_eq(beck_close(db), BECK_OK);
    ck_assert_int_eq(stat(path, &st), 0);
    ck_assert_int_lt(st.st_blocks * 512, 40 << 20);
}
END_TEST

/* ---- Damaging files ---- */

static struct file file;
static struct superblock super;
static uint64_t frame_at[FRAMES_MAX + 1]; /* of the file, by record; then the end */
static uint64_t segment_of[FRAMES_MAX];
static uint32_t frame_count;

static void note_frames(const struct segment *s)
{
    static uint8_t data[2 * BLOCK_BYTES];
    struct log_position at = log_begin(s->base);
    struct log_frame found;
    uint64_t bytes = place_bytes(&s->place);
    ck_assert_uint_le(bytes, sizeof data);
    ck_assert_int_eq(file_read_segment(&file, &s->place, 0, data, (size_t)bytes), BECK_OK);
    while (
        log_frame_at(&s->place, &at, data + at.position, bytes - at.position, true, &found, NULL)) {
        ck_assert_uint_lt(frame_count, FRAMES_MAX);
        segment_of[frame_count] = s->place.id;
        frame_at[frame_count++] = place_at(&s->place) + found.position;
        log_advance(&at, &found);
    }
    frame_at[frame_count] = place_at(&s->place) + at.position;
}

static void find_frames(uint32_t records)
{
    struct catalog cat;
    ck_assert_int_eq(file_open(&file, path, &options), BECK_OK);
    ck_assert_int_eq(file_read_super(&file, &super), 1);
    ck_assert_int_eq(super.state, SUPER_UNCLEAN);
    ck_assert_int_eq(catalog_init(&cat, &file, NULL), BECK_OK);
    ck_assert_int_eq(catalog_load(&cat, &super, UINT64_MAX), BECK_OK);
    const struct partition_picture *part = picture_partition(&cat.picture, TOPIC_USER_FIRST, 0);
    frame_count = 0;
    for (uint32_t i = 0; i < part->count; i++) {
        note_frames(&part->segments[i]);
        segment_at[i] = place_at(&part->segments[i].place);
    }
    ck_assert_uint_eq(frame_count, records);
    catalog_free(&cat);
}

/* Let a process live and be killed, and find its frames. */
static void make_file(struct life life)
{
    ck_assert(run(live, &life));
    find_frames(life.records);
}

static void damage(uint32_t record)
{
    uint8_t byte;
    ck_assert_int_eq(os_read(&file.os, &byte, 1, frame_at[record] + 200), BECK_OK);
    byte ^= 0x40;
    ck_assert_int_eq(os_write(&file.os, &byte, 1, frame_at[record] + 200), BECK_OK);
}

/* As if the machine had been started anew: only the disk is to be believed. */
static void another_boot(void)
{
    super.boot_id[0] ^= 1;
    ck_assert_int_eq(file_write_super(&file, &super), BECK_OK);
}

/* What a sync leaves whose end nobody saw, or that failed. */
static void leave_residue(enum residue residue)
{
    const uint64_t intent = 1;
    const uint32_t poison = 1;
    const uint64_t slot = COORD_AT + COORD_SLOTS_AT + 7 * sizeof(struct slot);
    if (residue == RESIDUE_INTENT)
        ck_assert_int_eq(
            os_write(&file.os, &intent, sizeof intent, slot + offsetof(struct slot, intent)),
            BECK_OK);
    if (residue == RESIDUE_POISON)
        ck_assert_int_eq(os_write(&file.os, &poison, sizeof poison,
                                  COORD_AT + offsetof(struct coord_header, poison)),
                         BECK_OK);
}

/* ---- What is left ---- */

static uint64_t read_next, gap_from, gap_to;
static int gaps;

/* Read all there is: where it ends, and the last gap. */
static void read_all(struct beck *db)
{
    static const char *const names[] = {"t"};
    const beck_consumer_config c = {.size = sizeof c, .topics = names, .topic_count = 1};
    beck_consumer *consumer = NULL;
    const beck_record *records;
    beck_event_info event = {.size = sizeof event};
    size_t count = 0;
    int rc;
    read_next = 0;
    gaps = 0;
    ck_assert_int_eq(beck_consumer_open(db, &c, &consumer), BECK_OK);
    do {
        rc = beck_poll(consumer, 100, 0, &records, &count);
        ck_assert_int_ge(rc, 0);
        for (size_t i = 0; i < count; i++)
            ck_assert_int_eq(records[i].offset, (int64_t)read_next++);
        if (rc != BECK_EVENT) continue;
        ck_assert_int_eq(beck_event(consumer, &event), BECK_OK);
        ck_assert_int_eq(event.from, (int64_t)read_next);
        ck_assert_int_eq(event.cause, BECK_GAP_CORRUPT);
        gaps++;
        gap_from = read_next;
        gap_to = read_next = (uint64_t)event.to;
    } while (count > 0 || rc == BECK_EVENT);
    beck_consumer_close(consumer);
}

/* Open, which recovers; the partition ends at `next`, and has so many gaps of one record. */
static struct beck *expect_recovered(uint64_t next, int gap_count, const char *said)
{
    struct beck *db = open_db();
    file_close(&file);
    ck_assert_msg(strstr(beck_recovery_report(db), said) != NULL, "%s", beck_recovery_report(db));
    ck_assert_int_eq(beck_recovery_report(db)[0] == 0, said[0] == 0);
    read_all(db);
    ck_assert_uint_eq(read_next, next);
    ck_assert_int_eq(gaps, gap_count);
    return db;
}

/* Close, open again: nothing has changed, and there is nothing to say. */
static void expect_lasting(struct beck *db)
{
    uint64_t next = read_next;
    int count = gaps;
    ck_assert_msg(beck_close(db) == BECK_OK, "%s", beck_errmsg(NULL));
    db = open_db();
    ck_assert_str_eq(beck_recovery_report(db), "");
    read_all(db);
    ck_assert_uint_eq(read_next, next);
    ck_assert_int_eq(gaps, count);
    ck_assert_int_eq(beck_close(db), BECK_OK);
}

static struct cell_ref cell_of(struct beck *db)
{
    struct cell_ref cell;
    ck_assert_int_eq(catalog_cell(&db->cat, TOPIC_USER_FIRST, 0, &cell), BECK_OK);
    return cell;
}

/* Where the partition ends after recovery: behind sealed segments, known to be stable so far. */
static void expect_end(struct beck *db, uint64_t next, uint64_t stable, int64_t max_timestamp)
{
    struct cell_ref cell = cell_of(db);
    struct tail tail;
    cell_tail_get(cell.ro, &tail);
    ck_assert_uint_eq(tail.next, next);
    ck_assert_int_ge(tail.max_timestamp, max_timestamp); /* of what was cut, perhaps */
    ck_assert_uint_eq(tail.segment, 0);
    ck_assert_uint_eq(tail.position, 0);
    ck_assert_uint_eq(tail.chain, 0);
    ck_assert_uint_eq(tail.zeroed, 0);
    ck_assert_uint_eq(atomic_load(&cell.ro->written), next);
    ck_assert_uint_eq(atomic_load(&cell.ro->visible), next);
    ck_assert_uint_eq(atomic_load(&cell.ro->stable), stable);
}

START_TEST(a_killed_process_leaves_everything_it_wrote)
{
    for (int boot = 0; boot < 2; boot++) {
        make_file((struct life){.records = 50});
        ck_assert_uint_ne(segment_of[0], segment_of[49]); /* some sealed, one not */
        if (boot == 1) another_boot();
        expect_lasting(expect_recovered(50, 0, ""));
        ck_assert_int_eq(unlink(path), 0);
    }
}
END_TEST

/* [V1] While the page cache was not lost, what is intact was written before what stands in front of
 * it was damaged. */
START_TEST(damage_in_front_of_something_intact_is_a_gap)
{
    make_file((struct life){.records = 8});
    damage(3);
    struct beck *db = expect_recovered(8, 1, "record 3 is damaged");
    ck_assert_ptr_null(strstr(beck_recovery_report(db), "more"));
    expect_end(db, 8, 0, 8);
    expect_lasting(db);
    ck_assert_uint_eq(gap_from, 3);
    ck_assert_uint_eq(gap_to, 4);
}
END_TEST

/* [V1] A later frame says what was stable when it was written, in its segment or earlier ones. */
START_TEST(damage_below_what_frames_prove_is_a_gap)
{
    for (uint32_t records = 8; records <= 50; records += 42) {
        make_file((struct life){.records = records, .synced = 5});
        damage(3);
        another_boot();
        expect_lasting(expect_recovered(records, 1, "record 3 is damaged"));
        ck_assert_int_eq(unlink(path), 0);
    }
}
END_TEST

/* [V1] The tail written by a clean close is stable, even when nothing intact follows it. */
START_TEST(damage_below_a_clean_close_is_a_gap)
{
    make_file((struct life){.closed = 5, .records = 7});
    damage(4);
    damage(5);
    damage(6);
    another_boot();
    struct beck *db = expect_recovered(5, 1, "record 4 is damaged");
    append_records(open_topic(db), 5, 6);
    read_all(db);
    ck_assert_uint_eq(gap_from, 4);
    ck_assert_uint_eq(read_next, 6);
    expect_lasting(db);
}
END_TEST

/* [V2] After a loss of power the first frame that is not intact is the end. */
START_TEST(what_was_not_stable_is_cut)
{
    make_file((struct life){.records = 8});
    damage(3);
    another_boot();
    struct beck *db = expect_recovered(3, 0, "cut off at record 3");
    ck_assert_ptr_nonnull(strstr(beck_recovery_report(db), "and dropped: 4 to 7"));
    expect_end(db, 3, 0, 3);
    expect_lasting(db);
}
END_TEST

/* [V2] Also in a segment that was sealed without a sync, and everything behind it goes. */
START_TEST(a_cut_takes_later_segments_with_it)
{
    make_file((struct life){.records = 50, .synced = 4});
    ck_assert_uint_ne(segment_of[6], segment_of[49]);
    uint32_t bad = frame_count - 25;
    ck_assert_uint_ne(segment_of[bad], segment_of[49]);
    damage(bad);
    another_boot();
    struct beck *db = expect_recovered(bad, 0, "follow the cut");
    const struct partition_picture *part = picture_partition(&db->cat.picture, TOPIC_USER_FIRST, 0);
    ck_assert_uint_eq(part->segments[part->count - 1].place.id, segment_of[bad]);
    append_records(open_topic(db), bad, bad + 2);
    read_all(db);
    expect_lasting(db);
}
END_TEST

/* Recovery after a kill seals without a sync: what it seals proves nothing of what lies before. */
START_TEST(a_seal_of_recovery_makes_nothing_stable)
{
    ck_assert(run(live, &(struct life){.records = 8}));
    ck_assert(run(live_on, &(struct life){.synced = 8, .records = 10}));
    ck_assert(run(live_on, &(struct life){.synced = 10, .records = 12}));
    find_frames(12);
    ck_assert_uint_ne(segment_of[0], segment_of[8]);
    damage(3);
    another_boot();
    expect_lasting(expect_recovered(3, 0, "follow the cut"));
}
END_TEST

/* [V1] The cut goes through what is durable: all of that counts as lost, and what follows the
 * segment is dropped though it is intact. */
START_TEST(a_cut_below_what_is_durable_leaves_a_gap)
{
    make_file((struct life){.records = 50, .synced = 10});
    uint32_t last = 10;
    while (segment_of[last + 1] == segment_of[0]) last++;
    for (uint32_t i = 8; i <= last; i++) damage(i);
    another_boot();
    struct beck *db = expect_recovered(10, 1, "records 8 to 9 are damaged");
    ck_assert_uint_eq(gap_from, 8);
    ck_assert_uint_eq(gap_to, 10);
    ck_assert_ptr_nonnull(strstr(beck_recovery_report(db), "\ntopic t:0: records from "));
    ck_assert_ptr_nonnull(strstr(beck_recovery_report(db), "follow the cut at 10"));
    expect_end(db, 10, 10, 8);
    append_records(open_topic(db), 10, 12);
    read_all(db);
    ck_assert_uint_eq(read_next, 12);
    expect_lasting(db);
}
END_TEST

/* [V1] [V2] One hole over what is durable and what is not: the partition ends between. */
START_TEST(a_hole_over_the_durable_offset_is_gap_and_cut)
{
    make_file((struct life){.records = 8, .synced = 4});
    for (uint32_t i = 3; i < 6; i++) damage(i);
    another_boot();
    struct beck *db = expect_recovered(4, 1, "record 3 is damaged");
    ck_assert_ptr_nonnull(strstr(beck_recovery_report(db), "cut off at record 4;"));
    ck_assert_ptr_nonnull(strstr(beck_recovery_report(db), "dropped: 6 to 7"));
    ck_assert_uint_eq(gap_from, 3);
    ck_assert_uint_eq(gap_to, 4);
    expect_end(db, 4, 4, 3);
    expect_lasting(db);
}
END_TEST

/* [O3] [Y3] A sync nobody saw the end of, by somebody who was there before the last handle: closing
 * leaves the file as a crash would, and the next one doubts the bytes. */
START_TEST(who_cannot_settle_an_intent_leaves_the_file_unclean)
{
    make_file((struct life){.records = 50});
    file_close(&file);
    struct beck *a = open_db(), *b = open_db();
    const bool memory = b->file.fs.memory;
    ck_assert_int_eq(beck_close(a), BECK_OK);
    ck_assert_uint_gt(b->coord.joined, 1);
    atomic_store(&coord_slot(&b->coord, 9)->intent, 1);
    ck_assert_int_eq(beck_close(b), BECK_OK);
    ck_assert_int_eq(file_open(&file, path, &options), BECK_OK);
    ck_assert_int_eq(file_read_super(&file, &super), 1);
    ck_assert_int_eq(super.state, SUPER_UNCLEAN);
    struct beck *db = expect_recovered(50, 0, "");
    if (!memory) ck_assert_uint_eq(cell_of(db).ro->suspect, 50);
    ck_assert_int_eq(beck_sync(db), BECK_OK);
    expect_lasting(db);
}
END_TEST

/* [V1] A durable segment whose end is damaged is a gap up to the next, and no cut. */
START_TEST(a_damaged_end_of_a_durable_segment_is_a_gap)
{
    /* as a SEAL tells, or frames of the last segment */
    make_file((struct life){.records = 50, .synced = _i == 0 ? 25 : 40});
    ck_assert_int_eq(segment_of[_i == 0 ? 25 : 40] == segment_of[49], _i == 1);
    uint32_t last = 1;
    while (segment_of[last + 1] == segment_of[0]) last++;
    ck_assert_uint_lt(last, 24);
    damage(last - 1);
    damage(last);
    another_boot();
    expect_lasting(expect_recovered(50, 1, " are damaged"));
    ck_assert_uint_eq(gap_from, last - 1);
    ck_assert_uint_eq(gap_to, last + 1);
}
END_TEST

/* An `os` topic is as stable as frames, a SEAL or a TAIL say: no less, and no more. */
START_TEST(what_was_proved_to_be_stable_stays_so)
{
    for (int boot = 0; boot < 2; boot++) {
        struct beck *db;
        make_file((struct life){.records = 8, .synced = 5});
        if (boot == 1) another_boot();
        expect_end(db = expect_recovered(8, 0, ""), 8, 5, 8);
        expect_lasting(db);
        ck_assert_int_eq(unlink(path), 0);

        make_file((struct life){.records = 6, .closed = 5}); /* by the TAIL alone */
        damage(5);
        if (boot == 1) another_boot();
        expect_end(db = expect_recovered(5, 0, ""), 5, 5, 5);
        expect_lasting(db);
        ck_assert_int_eq(unlink(path), 0);

        uint32_t first = 1;
        make_file((struct life){.records = 50});
        while (segment_of[first] == segment_of[0]) first++;
        file_close(&file);
        ck_assert_int_eq(unlink(path), 0);
        make_file((struct life){.records = first + 1, .synced = first}); /* by the SEAL alone */
        damage(first);
        if (boot == 1) another_boot();
        expect_end(db = expect_recovered(first, 0, ""), first, first, first);
        /* the other segment is empty, and gone */
        ck_assert_uint_eq(picture_partition(&db->cat.picture, TOPIC_USER_FIRST, 0)->count, 1);
        ck_assert_uint_eq(db->cat.picture.retired_count, 0);
        expect_lasting(db);
        ck_assert_int_eq(unlink(path), 0);
    }
}
END_TEST

#define MANY 150

static void append_to_many(const struct life *life)
{
    const beck_topic_config config = {
        .size = sizeof config, .sync = BECK_SYNC_OS, .partitions = MANY};
    beck *db;
    beck_topic *topic;
    (void)life;
    if (beck_open(path, &options, &db) != BECK_OK) _exit(4);
    if (beck_topic_open(db, "t", &config, &topic) != BECK_OK) _exit(3);
    for (int32_t i = 0; i < MANY; i++) {
        const beck_record r = {.value = "v", .value_size = 1, .partition = i};
        if (beck_append(topic, &r, NULL) != BECK_OK) _exit(1);
    }
    kill(getpid(), SIGKILL);
}

/* More entries than one batch of the catalog takes: none is forgotten. */
START_TEST(every_partition_is_sealed)
{
    ck_assert(run(append_to_many, NULL));
    struct beck *db = open_db();
    ck_assert_str_eq(beck_recovery_report(db), "");
    for (uint32_t i = 0; i < MANY; i++) {
        const struct partition_picture *part =
            picture_partition(&db->cat.picture, TOPIC_USER_FIRST, i);
        ck_assert_uint_eq(part->next, 1);
        ck_assert_uint_eq(part->count, 1);
        ck_assert(part->segments[0].sealed);
        ck_assert_uint_ne(part->segments[0].index_bytes, 0);
    }
    ck_assert_int_eq(beck_close(db), BECK_OK);
}
END_TEST

START_TEST(the_report_says_that_there_is_more)
{
    make_file((struct life){.records = 8});
    damage(2);
    damage(4);
    damage(6);
    expect_lasting(expect_recovered(8, 3, "record 2 is damaged, at byte "));
    ck_assert_int_eq(unlink(path), 0);
    make_file((struct life){.records = 14});
    damage(10);
    damage(12);
    expect_lasting(expect_recovered(14, 2, "; there is more"));
}
END_TEST

/* What the catalog and the cell say of how far the partition is stable. */
static void expect_stable(struct beck *db, bool all, uint64_t suspect)
{
    const struct partition_picture *part = picture_partition(&db->cat.picture, TOPIC_USER_FIRST, 0);
    struct cell_ref cell = cell_of(db);
    ck_assert_uint_gt(part->count, 2);
    for (uint32_t i = 0; i < part->count; i++) {
        const struct segment *s = &part->segments[i];
        ck_assert(s->sealed);
        ck_assert_int_eq(s->stable == s->next, all);
        ck_assert_uint_ne(s->index_bytes, 0);
    }
    ck_assert_uint_eq(atomic_load(&cell.ro->stable), all ? part->next : 0);
    ck_assert_uint_eq(cell.ro->suspect, suspect);
}

/* An `os` topic stays unsynced. Was it made a `sync` topic, or has a sync failed, then all that is
 * left of it is stable before anybody sees it. */
START_TEST(recovery_makes_stable_what_has_to_be)
{
    static const struct {
        uint32_t class;
        enum residue residue;
        bool boot;
        int syncs, rewritten; /* segments */
        uint64_t suspect;
    } cases[] = {{0, RESIDUE_NONE, false, 0, 0, 0},
                 {0, RESIDUE_NONE, true, 0, 0, 0},
                 {0, RESIDUE_INTENT, false, 0, 0, 50},
                 {0, RESIDUE_POISON, false, 3, 3, 0},
                 {BECK_SYNC_SYNC, RESIDUE_NONE, false, 3, 0, 0},
                 {BECK_SYNC_SYNC, RESIDUE_NONE, true, 3, 0, 0},
                 {BECK_SYNC_SYNC, RESIDUE_INTENT, false, 3, 3, 0}};
    make_file((struct life){.records = 50, .class = cases[_i].class});
    if (cases[_i].boot) another_boot();
    leave_residue(cases[_i].residue);
    syncs = rewritten = 0;
    bool memory = file.fs.memory; /* no sync there can fail, and nothing is asked */
    struct beck *db = expect_recovered(50, 0, "");
    if (!memory) {
        ck_assert_int_eq(syncs, cases[_i].syncs);
        ck_assert_int_eq(rewritten, cases[_i].rewritten);
        expect_stable(db, cases[_i].syncs == 3, cases[_i].suspect);
    }
    ck_assert_int_eq(beck_sync(db), BECK_OK);
    expect_lasting(db);
}
END_TEST

/* [V2] After a failed sync, this boot or not, the first frame that is not intact is the end. */
START_TEST(after_a_failed_sync_nothing_is_taken_on_trust)
{
    make_file((struct life){.records = 8});
    if (!file.fs.memory) {
        damage(3);
        leave_residue(RESIDUE_POISON);
        expect_lasting(expect_recovered(3, 0, "cut off at record 3"));
    }
}
END_TEST

static void only_open(const struct life *life)
{
    beck *db;
    (void)life;
    if (beck_open(path, &options, &db) != BECK_OK) _exit(4);
    kill(getpid(), SIGKILL);
}

/* A handle that was killed in the middle of its life leaves the doubts of its predecessor. */
START_TEST(doubts_outlive_a_second_crash)
{
    make_file((struct life){.records = 50});
    leave_residue(RESIDUE_INTENT);
    bool memory = file.fs.memory;
    file_close(&file);
    for (int i = 0; i < 2; i++) ck_assert(run(only_open, NULL));
    ck_assert_int_eq(file_open(&file, path, &options), BECK_OK);
    struct beck *db = expect_recovered(50, 0, "");
    if (!memory) expect_stable(db, false, 50);
    ck_assert_int_eq(beck_sync(db), BECK_OK);
    expect_lasting(db);
}
END_TEST

/* [V2] What one recovery found intact in the page cache is no proof for the next: power may have
 * failed in between, and then the prefix counts. */
START_TEST(a_recovery_proves_nothing_to_the_next)
{
    make_file((struct life){.records = 50});
    file_close(&file);
    ck_assert(run(only_open, NULL));
    ck_assert_int_eq(file_open(&file, path, &options), BECK_OK);
    ck_assert_int_eq(file_read_super(&file, &super), 1);
    damage(3);
    another_boot();
    struct beck *db = expect_recovered(3, 0, "cut off at record 3");
    expect_end(db, 3, 0, 3);
    expect_lasting(db);
}
END_TEST

/* A clean file has a tail for every segment that is not sealed. */
START_TEST(a_clean_mark_without_tails_is_damage)
{
    struct beck *db = NULL;
    make_file((struct life){.records = 8});
    super.state = SUPER_CLEAN;
    ck_assert_int_eq(file_write_super(&file, &super), BECK_OK);
    ck_assert_int_eq(beck_open(path, &options, &db), BECK_CORRUPT);
    ck_assert_ptr_nonnull(strstr(beck_errmsg(db), "marked clean, but topic t:0 has no tail"));
    (void)beck_close(db);
    super.state = SUPER_UNCLEAN;
    ck_assert_int_eq(file_write_super(&file, &super), BECK_OK);
    expect_lasting(expect_recovered(8, 0, ""));
}
END_TEST

START_TEST(a_torn_last_record_is_gone_without_a_word)
{
    make_file((struct life){.records = 8});
    damage(7);
    struct beck *db = expect_recovered(7, 0, "");
    append_records(open_topic(db), 7, 8);
    read_all(db);
    ck_assert_uint_eq(read_next, 8);
    expect_lasting(db);
}
END_TEST

/* [V3] Frames of before the cut stand behind it still. What is appended goes to another segment, so
 * that they never follow a frame of now. */
START_TEST(nothing_is_appended_behind_a_cut)
{
    make_file((struct life){.records = 8});
    damage(3);
    another_boot();
    struct beck *db = expect_recovered(3, 0, "cut off at record 3");
    const struct partition_picture *part = picture_partition(&db->cat.picture, TOPIC_USER_FIRST, 0);
    ck_assert_ptr_null(partition_active(part));
    append_records(open_topic(db), 3, 4);
    ck_assert_uint_ne(partition_active(part)->place.id, segment_of[0]);
    ck_assert_uint_eq(partition_active(part)->base, 3);
    read_all(db);
    expect_lasting(db);
}
END_TEST

static void go_on(const struct life *life)
{
    beck *db;
    if (beck_open(path, &options, &db) != BECK_OK) _exit(4);
    append_records(open_topic(db), life->synced, life->records);
    kill(getpid(), SIGKILL);
}

START_TEST(a_second_crash_is_recovered_like_the_first)
{
    make_file((struct life){.records = 8});
    damage(3);
    another_boot();
    file_close(&file);
    const struct life more = {.synced = 3, .records = 6};
    ck_assert(run(go_on, &more));
    expect_lasting(expect_recovered(6, 0, ""));
}
END_TEST

/* Recovery that is killed before any of its stable writes, and then done again, ends the same. */
START_TEST(recovery_can_be_interrupted_anywhere)
{
    bool killed = true;
    int at = 0;
    while (killed) {
        die_at = 0;
        make_file((struct life){.records = 50});
        damage(49);
        die_at = ++at;
        killed = run(open_and_close, NULL);
        die_at = 0;
        struct beck *db = open_db();
        file_close(&file);
        read_all(db);
        ck_assert_uint_eq(read_next, 49);
        ck_assert_int_eq(gaps, 0);
        append_records(open_topic(db), 49, 51);
        read_all(db);
        ck_assert_uint_eq(read_next, 51);
        expect_lasting(db);
        ck_assert_int_eq(unlink(path), 0);
    }
    ck_assert_int_gt(at, 4);
}
END_TEST

/* The same with damage below what is durable: what is written again after an interrupted recovery
 * takes the gaps as they are. */
START_TEST(interrupted_recovery_keeps_the_gaps)
{
    bool killed = true;
    int at = 0;
    while (killed) {
        die_at = 0;
        make_file((struct life){.records = 50});
        damage(2);
        damage(40);
        damage(49);
        die_at = ++at;
        killed = run(open_and_close, NULL);
        die_at = 0;
        struct beck *db = open_db();
        file_close(&file);
        read_all(db);
        ck_assert_uint_eq(read_next, 49);
        ck_assert_int_eq(gaps, 2);
        expect_lasting(db);
        ck_assert_int_eq(unlink(path), 0);
    }
    ck_assert_int_gt(at, 4);
}
END_TEST

/* A clean file is not searched: its tails are the truth. */
START_TEST(a_clean_file_is_believed)
{
    make_file((struct life){.records = 8});
    struct beck *db = expect_recovered(8, 0, "");
    append_records(open_topic(db), 8, 11);
    ck_assert_int_eq(beck_close(db), BECK_OK);
    ck_assert_int_eq(file_open(&file, path, &options), BECK_OK);
    ck_assert_int_eq(file_read_super(&file, &super), 1);
    ck_assert_uint_eq(super.state, SUPER_CLEAN);
    struct catalog cat;
    struct recovery r = {.cat = &cat, .clean = true, .trusted = true};
    ck_assert_int_eq(catalog_init(&cat, &file, NULL), BECK_OK);
    ck_assert_int_eq(catalog_load(&cat, &super, UINT64_MAX), BECK_OK);
    ck_assert_int_eq(recover_find_ends(&r), BECK_OK);
    ck_assert_uint_eq(r.count, 1);
    ck_assert_uint_eq(r.entry_count, 0);
    ck_assert_uint_eq(r.ends[0].topic, TOPIC_USER_FIRST);
    ck_assert_uint_eq(r.ends[0].tail.next, 11);
    ck_assert_int_eq(r.ends[0].tail.max_timestamp, 11);
    ck_assert_uint_ne(r.ends[0].tail.segment, 0);
    recover_free(&r);
    /* The same as if it were unclean, but there the frames are walked. */
    r = (struct recovery){.cat = &cat};
    ck_assert_int_eq(recover_find_ends(&r), BECK_OK);
    ck_assert_uint_eq(r.ends[0].tail.next, 11);
    ck_assert_int_eq(r.ends[0].tail.max_timestamp, 11);
    ck_assert_uint_eq(r.entry_count, 1);
    recover_free(&r);
    catalog_free(&cat);
    file_close(&file);
}
END_TEST

/* The header of a segment of an `os` topic need not be stable. */
START_TEST(headers_are_made_good)
{
    static const uint8_t zeros[SEGMENT_HEADER_BYTES];
    make_file((struct life){.records = 10});
    uint64_t header = frame_at[9] / BLOCK_BYTES * BLOCK_BYTES;
    ck_assert_int_eq(os_write(&file.os, zeros, sizeof zeros, header), BECK_OK);
    struct beck *db = expect_recovered(10, 0, "");
    ck_assert_int_eq(beck_check(db, NULL, NULL, NULL, NULL), BECK_OK);
    expect_lasting(db);
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("recover");
    TCase *c = tcase_create("gap");
    tcase_add_test(c, a_killed_process_leaves_everything_it_wrote);
    test_add_linux(c, damage_in_front_of_something_intact_is_a_gap, NO_BOOT_ID);
    tcase_add_test(c, damage_below_what_frames_prove_is_a_gap);
    tcase_add_test(c, damage_below_a_clean_close_is_a_gap);
    tcase_add_loop_test(c, a_damaged_end_of_a_durable_segment_is_a_gap, 0, 2);
    tcase_add_test(c, a_hole_over_the_durable_offset_is_gap_and_cut);
    test_add_linux(c, the_report_says_that_there_is_more, NO_BOOT_ID);
    suite_add_tcase(s, c);
    c = tcase_create("cut");
    tcase_add_test(c, what_was_not_stable_is_cut);
    tcase_add_test(c, a_cut_takes_later_segments_with_it);
    tcase_add_test(c, a_seal_of_recovery_makes_nothing_stable);
    tcase_add_test(c, a_cut_below_what_is_durable_leaves_a_gap);
    test_add_linux(c, after_a_failed_sync_nothing_is_taken_on_trust, NO_BOOT_ID);
    tcase_add_test(c, a_torn_last_record_is_gone_without_a_word);
    tcase_add_test(c, nothing_is_appended_behind_a_cut);
    suite_add_tcase(s, c);
    c = tcase_create("stable");
    tcase_add_loop_test(c, recovery_makes_stable_what_has_to_be, 0, 7);
    tcase_add_test(c, what_was_proved_to_be_stable_stays_so);
    tcase_add_test(c, every_partition_is_sealed);
    tcase_add_test(c, doubts_outlive_a_second_crash);
    tcase_add_test(c, who_cannot_settle_an_intent_leaves_the_file_unclean);
    tcase_add_test(c, a_recovery_proves_nothing_to_the_next);
    tcase_add_test(c, a_clean_mark_without_tails_is_damage);
    suite_add_tcase(s, c);
    c = tcase_create("again");
    tcase_add_test(c, a_second_crash_is_recovered_like_the_first);
    test_add_linux(c, recovery_can_be_interrupted_anywhere, NO_DSYNC);
    test_add_linux(c, interrupted_recovery_keeps_the_gaps, NO_BOOT_ID);
    tcase_add_test(c, headers_are_made_good);
    tcase_add_test(c, a_clean_file_is_believed);
    suite_add_tcase(s, c);
    c = tcase_create("claims");
    tcase_set_timeout(c, 60);
    test_add_short_of_memory(c, what_is_only_claimed_costs_nothing, 0, 3);
    suite_add_tcase(s, c);
    return s;
}
