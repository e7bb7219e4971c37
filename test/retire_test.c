/* retire_test.c -- space of deleted topics: kept while somebody is inside, then freed */
#include "retire.h"

#include <signal.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "db.h"
#include "err.h"
#include "reader.h"
#include "test.h"

#define TOPIC TOPIC_USER_FIRST

static char path[4096];
static struct beck *a, *b;

static struct beck *open_db(void)
{
    const beck_options options = {.size = sizeof options, .flags = BECK_OPEN_FORCE};
    struct beck *db = NULL;
    if (path[0] == 0) snprintf(path, sizeof path, "%s/retire-%d", test_folder(), (int)getpid());
    ck_assert_int_eq(beck_open(path, &options, &db), BECK_OK);
    return db;
}

/* Two handles and a topic with one record in each of three partitions; `topic` of handle a. */
static beck_topic *make_topic(void)
{
    const beck_topic_config config = {.size = sizeof config, .partitions = 3, .sync = BECK_SYNC_OS};
    beck_topic *topic;
    a = open_db();
    b = open_db();
    ck_assert_int_eq(beck_topic_open(a, "t", &config, &topic), BECK_OK);
    for (int32_t i = 0; i < 3; i++) {
        const beck_record r = {.value = "v", .value_size = 1, .partition = i};
        ck_assert_int_eq(beck_append(topic, &r, NULL), BECK_OK);
    }
    ck_assert_int_eq(catalog_refresh(&b->cat), BECK_OK);
    return topic;
}

static struct cell_ref cell_of(struct beck *db, uint32_t index)
{
    struct cell_ref cell;
    ck_assert_int_eq(catalog_cell(&db->cat, TOPIC, index, &cell), BECK_OK);
    return cell;
}

static uint64_t segment_of(struct beck *db, uint32_t index)
{
    return picture_partition(&db->cat.picture, TOPIC, index)->segments[0].place.id;
}

static size_t retired(struct beck *db)
{
    ck_assert_int_eq(catalog_refresh(&db->cat), BECK_OK);
    return db->cat.picture.retired_count;
}

static void close_all(void)
{
    ck_assert_int_eq(beck_close(b), BECK_OK);
    ck_assert_int_eq(beck_close(a), BECK_OK);
}

/* What the system does when the process of a handle is killed. */
static void die(struct beck *db)
{
    ck_assert_int_eq(os_unlock(&db->file.os, LOCK_SLOT0 + db->coord.slot), BECK_OK);
    db->coord.slot_held = false;
}

/* ---- Between the library and the system ---- */

static void (*before_write)(uint64_t at);

ssize_t pwritev2(int fd, const struct iovec *iov, int count, off_t at, int flags)
{
    if (before_write != NULL) before_write((uint64_t)at);
    return syscall(SYS_pwritev2, fd, iov, (unsigned long)count, at, 0L, flags);
}

/* ---- Deleting ---- */

START_TEST(what_nobody_uses_is_freed_at_once)
{
    make_topic();
    uint64_t used = space_used(&a->cat.picture.space);
    ck_assert_int_eq(beck_topic_delete(a, "t"), BECK_OK);
    ck_assert_uint_eq(retired(a), 0);
    ck_assert_uint_eq(retired(b), 0);
    ck_assert_uint_eq(space_used(&a->cat.picture.space), used - 3);
    close_all();
}
END_TEST

/* Catalog frames come in this order: DELETE, FREE. */
static struct cell_ref cells[3];
static int frames;

static void watch_cells(uint64_t at)
{
    if (at < HEAP_AT) return;
    frames++;
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(atomic_load(&cells[i].ro->state) == CELL_LIVE, frames == 1);
}

/* [P5] When the first segment is freed all cells are marked. */
START_TEST(cells_are_marked_before_a_segment_is_freed)
{
    make_topic();
    for (uint32_t i = 0; i < 3; i++) cells[i] = cell_of(a, i);
    before_write = watch_cells;
    ck_assert_int_eq(beck_topic_delete(a, "t"), BECK_OK);
    before_write = NULL;
    ck_assert_int_eq(frames, 2);
    close_all();
}
END_TEST

/* [P5] A writer that is inside keeps the space of the topic, and holds up nothing else. */
START_TEST(a_writer_inside_is_waited_for)
{
    make_topic();
    struct cell_ref cell = cell_of(b, 1);
    ck_assert_int_eq(coord_lock(&b->coord, &cell, WORD_LOCK, LOCK_TRY), LOCK_TAKEN);
    ck_assert_int_eq(beck_topic_delete(a, "t"), BECK_OK);
    ck_assert_uint_eq(retired(a), 3);
    ck_assert_uint_ne(atomic_load(&cell.ro->state), CELL_LIVE);
    ck_assert_int_eq(beck_topic_create(a, "u", NULL), BECK_OK);
    ck_assert_uint_eq(retired(a), 3);
    coord_unlock(&b->coord, &cell, WORD_LOCK);
    retire_look(&a->cat);
    ck_assert_uint_eq(retired(a), 0);
    close_all();
}
END_TEST

/* [P5] Of two topics that are deleted, the one with a writer inside waits, and only that: whichever
 * was deleted first. */
START_TEST(topics_are_freed_one_by_one)
{
    const beck_topic_config config = {.size = sizeof config, .partitions = 2, .sync = BECK_SYNC_OS};
    const beck_record r = {.value = "v", .value_size = 1};
    struct cell_ref inside[2];
    beck_topic *topic;
    make_topic();
    ck_assert_int_eq(beck_topic_open(a, "u", &config, &topic), BECK_OK);
    for (int i = 0; i < 4; i++) ck_assert_int_eq(beck_append(topic, &r, NULL), BECK_OK);
    ck_assert_int_eq(catalog_refresh(&b->cat), BECK_OK);
    uint64_t used = space_used(&a->cat.picture.space),
             u = picture_topic_by_name(&a->cat.picture, "u")->id;
    size_t segments = a->cat.picture.owner_count;
    inside[0] = cell_of(b, 2);
    ck_assert_int_eq(catalog_cell(&b->cat, u, 0, &inside[1]), BECK_OK);
    for (int i = 0; i < 2; i++)
        ck_assert_int_eq(coord_lock(&b->coord, &inside[i], WORD_LOCK, LOCK_TRY), LOCK_TAKEN);
    ck_assert_int_eq(beck_topic_delete(a, "t"), BECK_OK);
    ck_assert_int_eq(beck_topic_delete(a, "u"), BECK_OK);
    ck_assert_uint_eq(retired(a), segments);
    coord_unlock(&b->coord, &inside[_i], WORD_LOCK);
    retire_look(&a->cat);
    ck_assert_uint_eq(retired(a), _i == 0 ? segments - 3 : 3);
    for (size_t i = 0; i < a->cat.picture.retired_count; i++)
        ck_assert_uint_eq(a->cat.picture.retired[i].topic, _i == 0 ? u : TOPIC);
    coord_unlock(&b->coord, &inside[1 - _i], WORD_LOCK);
    retire_look(&a->cat);
    ck_assert_uint_eq(retired(a), 0);
    ck_assert_uint_eq(space_used(&a->cat.picture.space), used - segments);
    close_all();
}
END_TEST

/* [P5] A writer with an old picture finds the mark. */
START_TEST(a_writer_with_an_old_picture_is_refused)
{
    beck_topic *topic = make_topic();
    const beck_record r = {.value = "v", .value_size = 1, .partition = 1};
    ck_assert_int_eq(beck_topic_delete(b, "t"), BECK_OK);
    ck_assert_int_eq(beck_append(topic, &r, NULL), BECK_DELETED);
    ck_assert_int_eq(beck_topic_create(b, "t", NULL), BECK_OK); /* another topic */
    ck_assert_int_eq(beck_append(topic, &r, NULL), BECK_DELETED);
    close_all();
}
END_TEST

START_TEST(a_writer_that_died_inside_is_not_waited_for)
{
    make_topic();
    struct cell_ref cell = cell_of(b, 1);
    ck_assert_int_eq(coord_lock(&b->coord, &cell, WORD_LOCK, LOCK_TRY), LOCK_TAKEN);
    die(b);
    ck_assert_int_eq(beck_topic_delete(a, "t"), BECK_OK);
    ck_assert_uint_eq(retired(a), 0);
    close_all();
}
END_TEST

/* [R2] A pinned segment stays; the others of the topic do not wait for it. */
START_TEST(a_pinned_segment_is_kept)
{
    make_topic();
    uint64_t pinned = segment_of(b, 2);
    coord_pin(&b->coord, 0, pinned);
    ck_assert_int_eq(beck_topic_delete(a, "t"), BECK_OK);
    ck_assert_uint_eq(retired(a), 1);
    ck_assert_uint_eq(a->cat.picture.retired[0].place.id, pinned);
    retire_look(&a->cat);
    ck_assert_uint_eq(retired(a), 1);
    coord_unpin(&b->coord, 0);
    retire_look(&a->cat);
    ck_assert_uint_eq(retired(a), 0);
    close_all();
}
END_TEST

START_TEST(the_dead_pin_nothing)
{
    make_topic();
    coord_pin(&b->coord, 0, segment_of(b, 2));
    die(b);
    ck_assert_int_eq(beck_topic_delete(a, "t"), BECK_OK);
    ck_assert_uint_eq(retired(a), 0);
    close_all();
}
END_TEST

/* A topic of more segments than one entry batch takes, one of which is pinned. */
START_TEST(many_segments_are_freed_in_batches)
{
    const beck_topic_config config = {
        .size = sizeof config, .partitions = 150, .sync = BECK_SYNC_OS};
    beck_topic *topic;
    a = open_db();
    b = open_db();
    ck_assert_int_eq(beck_topic_open(a, "t", &config, &topic), BECK_OK);
    for (int32_t i = 0; i < 150; i++) {
        const beck_record r = {.value = "v", .value_size = 1, .partition = i};
        ck_assert_int_eq(beck_append(topic, &r, NULL), BECK_OK);
    }
    coord_pin(&b->coord, 3, segment_of(a, 20));
    ck_assert_int_eq(beck_topic_delete(b, "t"), BECK_OK);
    retire_look(&b->cat); /* what moved past the pinned one */
    ck_assert_uint_eq(retired(a), 1);
    coord_unpin(&b->coord, 3);
    ck_assert_int_eq(beck_topic_create(b, "u", NULL), BECK_OK); /* looks as well */
    ck_assert_uint_eq(retired(a), 0);
    close_all();
}
END_TEST

/* What was not freed before the file was closed is freed by whoever comes next. */
START_TEST(it_goes_on_after_a_crash)
{
    int status = 0;
    ck_assert_int_eq(beck_close(open_db()), BECK_OK);
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        make_topic();
        coord_pin(&b->coord, 0, segment_of(b, 2));
        if (beck_topic_delete(a, "t") != BECK_OK || retired(a) != 1) _exit(1);
        kill(getpid(), SIGKILL);
    }
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert(WIFSIGNALED(status));
    a = open_db();
    ck_assert_uint_eq(a->cat.picture.retired_count, 1);
    retire_look(&a->cat);
    ck_assert_uint_eq(retired(a), 0);
    ck_assert_int_eq(beck_close(a), BECK_OK);
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("retire");
    TCase *c = tcase_create("retire");
    tcase_add_test(c, what_nobody_uses_is_freed_at_once);
    test_add_linux(c, cells_are_marked_before_a_segment_is_freed, NO_DSYNC);
    tcase_add_test(c, a_writer_inside_is_waited_for);
    tcase_add_loop_test(c, topics_are_freed_one_by_one, 0, 2);
    tcase_add_test(c, a_writer_with_an_old_picture_is_refused);
    tcase_add_test(c, a_writer_that_died_inside_is_not_waited_for);
    tcase_add_test(c, a_pinned_segment_is_kept);
    tcase_add_test(c, the_dead_pin_nothing);
    tcase_add_test(c, many_segments_are_freed_in_batches);
    tcase_add_test(c, it_goes_on_after_a_crash);
    suite_add_tcase(s, c);
    return s;
}
