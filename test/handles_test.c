/* handles_test.c -- who has the file open: what is listed, in every state, and from any bytes */
#include "handles.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "db.h"
#include "err.h"
#include "test.h"

#define TOPIC TOPIC_USER_FIRST

static char path[4096];
static struct beck *a, *b, *eye;

static struct beck *open_as(uint32_t flags)
{
    const beck_options options = {.size = sizeof options, .flags = BECK_OPEN_FORCE | flags};
    struct beck *db = NULL;
    if (path[0] == 0) snprintf(path, sizeof path, "%s/handles-%d", test_folder(), (int)getpid());
    int rc = beck_open(path, &options, &db);
    ck_assert_msg(rc == BECK_OK, "open: %s", beck_errmsg(db));
    return db;
}

/* Two handles, a third that only looks, and a topic with a record in each of two partitions. */
static void open_all(void)
{
    const beck_topic_config config = {.size = sizeof config, .partitions = 2, .sync = BECK_SYNC_OS};
    beck_topic *topic;
    a = open_as(0);
    b = open_as(0);
    ck_assert_int_eq(beck_topic_open(a, "t", &config, &topic), BECK_OK);
    for (int32_t i = 0; i < 2; i++) {
        const beck_record r = {.value = "v", .value_size = 1, .partition = i};
        ck_assert_int_eq(beck_append(topic, &r, NULL), BECK_OK);
    }
    ck_assert_int_eq(catalog_refresh(&b->cat), BECK_OK);
    eye = open_as(BECK_OPEN_OBSERVE);
}

static void close_all(void)
{
    ck_assert_int_eq(beck_close(eye), BECK_OK);
    ck_assert_int_eq(beck_close(b), BECK_OK);
    ck_assert_int_eq(beck_close(a), BECK_OK);
}

static struct cell_ref cell_of(struct beck *db, uint32_t index)
{
    struct cell_ref cell;
    ck_assert_int_eq(catalog_cell(&db->cat, TOPIC, index, &cell), BECK_OK);
    return cell;
}

static void lock(struct beck *db, uint32_t index, enum lock_word which)
{
    struct cell_ref cell = cell_of(db, index);
    ck_assert_int_eq(coord_lock(&db->coord, &cell, which, LOCK_TRY), LOCK_TAKEN);
}

static void unlock(struct beck *db, uint32_t index, enum lock_word which)
{
    struct cell_ref cell = cell_of(db, index);
    coord_unlock(&db->coord, &cell, which);
}

/* What the system does when the process of a handle is killed. */
static void die(struct beck *db)
{
    ck_assert_int_eq(os_unlock(&db->file.os, LOCK_SLOT0 + db->coord.slot), BECK_OK);
    db->coord.slot_held = false;
}

static void write_at(const void *bytes, size_t size, uint64_t at)
{
    ck_assert_int_eq(os_write(&a->file.os, bytes, size, at), BECK_OK);
}

/* ---- The list ---- */

static const beck_handle_info *const *list;
static size_t count;

static size_t look(struct beck *db)
{
    int rc = beck_handles(db, &list, &count);
    ck_assert_msg(rc == BECK_OK, "beck_handles: %s", beck_errmsg(db));
    return count;
}

static const beck_handle_info *slot(int32_t number)
{
    look(eye);
    for (size_t i = 0; i < count; i++)
        if (list[i]->slot == number) return list[i];
    return NULL;
}

/* The claim of this type, or NULL; no handle has two of one type in these tests. */
static const beck_claim *claim(int32_t number, enum beck_claim_type type)
{
    const beck_handle_info *h = slot(number);
    for (uint32_t i = 0; h != NULL && i < h->claim_count; i++)
        if (h->claims[i].type == (int32_t)type) return &h->claims[i];
    return NULL;
}

static void is_about(const beck_claim *c, const char *topic, int32_t partition)
{
    ck_assert_ptr_nonnull(c);
    ck_assert_ptr_nonnull(c->topic);
    ck_assert_str_eq(c->topic, topic);
    ck_assert_uint_eq(c->topic_id, TOPIC);
    ck_assert_int_eq(c->partition, partition);
}

/* ---- Who ---- */

/* [H1] */
START_TEST(everybody_alive_is_listed)
{
    int64_t before = os_now_ms();
    open_all();
    ck_assert_uint_eq(look(eye), 2);
    for (size_t i = 0; i < 2; i++) {
        ck_assert_int_eq(list[i]->slot, (int32_t)i);
        ck_assert_int_eq(list[i]->state, BECK_HANDLE_ALIVE);
        ck_assert_uint_eq(list[i]->process, (uint32_t)getpid());
        ck_assert_uint_eq(list[i]->other_namespace, 0);
        ck_assert_str_eq(list[i]->program, "handles_test");
        ck_assert_int_ge(list[i]->opened_at, before);
        ck_assert_int_le(list[i]->opened_at, os_now_ms());
        ck_assert_uint_eq(list[i]->own, 0);
        ck_assert_uint_eq(list[i]->claim_count, 0);
    }
    ck_assert_uint_eq(look(b), 2);
    ck_assert_uint_eq(list[0]->own, 0);
    ck_assert_uint_eq(list[1]->own, 1);
    ck_assert_int_eq(beck_close(a), BECK_OK);
    ck_assert_uint_eq(look(eye), 1);
    ck_assert_int_eq(list[0]->slot, 1);
    ck_assert_int_eq(beck_close(b), BECK_OK);
    ck_assert_uint_eq(look(eye), 0);
    a = open_as(0); /* the area is built anew */
    ck_assert_uint_eq(look(eye), 1);
    ck_assert_int_eq(beck_close(a), BECK_OK);
    ck_assert_int_eq(beck_close(eye), BECK_OK);
}
END_TEST

START_TEST(any_handle_may_ask)
{
    open_all();
    struct beck *reader = open_as(BECK_OPEN_READONLY);
    lock(a, 1, WORD_LOCK);
    struct beck *all[] = {a, b, reader, eye};
    for (size_t i = 0; i < 4; i++) {
        ck_assert_uint_eq(look(all[i]), 2);
        ck_assert_uint_eq(list[0]->claim_count, 1);
        is_about(&list[0]->claims[0], "t", 1);
    }
    unlock(a, 1, WORD_LOCK);
    ck_assert_int_eq(beck_close(b), BECK_OK);
    ck_assert_int_eq(beck_close(a), BECK_OK);
    ck_assert_uint_eq(look(reader), 0);
    ck_assert_int_eq(beck_close(reader), BECK_OK);
    ck_assert_int_eq(beck_close(eye), BECK_OK);
}
END_TEST

START_TEST(an_observer_does_nothing_else)
{
    const beck_topic_info *const *topics;
    beck_stat_info info = {.size = sizeof info};
    size_t n;
    open_all();
    ck_assert_int_eq(beck_stat(eye, &info), BECK_INVALID);
    ck_assert_ptr_nonnull(strstr(beck_errmsg(eye), "beck_handles"));
    ck_assert_int_eq(beck_topic_list(eye, &topics, &n), BECK_INVALID);
    ck_assert_int_eq(beck_topic_create(eye, "u", NULL), BECK_INVALID);
    ck_assert_int_eq(beck_sync(eye), BECK_INVALID);
    close_all();
}
END_TEST

/* Somebody is stopped while he opens or closes the file: others find it busy, not so who looks. */
START_TEST(the_gate_is_not_waited_for)
{
    struct os_file other;
    open_all();
    ck_assert_int_eq(beck_close(eye), BECK_OK);
    ck_assert_int_eq(os_open(path, OS_WRITE, 0, &other), BECK_OK);
    ck_assert_int_eq(os_lock(&other, LOCK_GATE, true), BECK_OK);
    int64_t before = os_monotonic_ms();
    eye = open_as(BECK_OPEN_OBSERVE);
    ck_assert_uint_eq(look(eye), 2);
    coord_begin(&b->coord, DOING_CLOSE, NULL);
    ck_assert_ptr_nonnull(claim(1, BECK_CLAIM_CLOSING));
    coord_begin(&b->coord, DOING_OPEN, NULL);
    ck_assert_ptr_nonnull(claim(1, BECK_CLAIM_OPENING));
    coord_end(&b->coord, DOING_OPEN, NULL);
    ck_assert_int_lt(os_monotonic_ms() - before, 1000);
    ck_assert_int_eq(os_unlock(&other, LOCK_GATE), BECK_OK);
    os_close(&other);
    close_all();
}
END_TEST

START_TEST(numbers_of_another_namespace_are_marked)
{
    open_all();
    atomic_fetch_add(&coord_slot(&a->coord, 0)->namespace, 1);
    ck_assert_uint_eq(slot(0)->other_namespace, 1);
    ck_assert_uint_eq(slot(1)->other_namespace, 0);
    atomic_store(&coord_slot(&a->coord, 0)->namespace, 0); /* not known */
    ck_assert_uint_eq(slot(0)->other_namespace, 0);
    close_all();
}
END_TEST

/* [H1] */
START_TEST(the_dead_are_listed_while_something_is_left)
{
    open_all();
    die(b);
    ck_assert_ptr_null(slot(1));
    struct coord dead = b->coord;
    dead.slot_held = true; /* what it did before */
    struct cell_ref cell = cell_of(a, 0);
    ck_assert_int_eq(coord_lock(&dead, &cell, WORD_LOCK, LOCK_TRY), LOCK_TAKEN);
    ck_assert_ptr_nonnull(slot(1));
    ck_assert_int_eq(slot(1)->state, BECK_HANDLE_DEAD);
    ck_assert_uint_eq(slot(1)->process, (uint32_t)getpid());
    is_about(claim(1, BECK_CLAIM_LOCK), "t", 0);
    /* Its slot is claimed again: the lock is nobody's. */
    struct beck *c = open_as(0);
    ck_assert_uint_eq(c->coord.slot, 1);
    ck_assert_uint_eq(slot(1)->claim_count, 0);
    is_about(claim(-1, BECK_CLAIM_LOCK), "t", 0);
    ck_assert_int_eq(slot(-1)->state, BECK_HANDLE_DEAD);
    ck_assert_int_eq(beck_close(c), BECK_OK);
    /* A sync nobody saw the end of. */
    ck_assert_int_eq(coord_lock(&a->coord, &cell, WORD_LOCK, LOCK_TRY), LOCK_FROM_DEAD);
    coord_unlock(&a->coord, &cell, WORD_LOCK);
    ck_assert_ptr_null(slot(1));
    atomic_store(&coord_slot(&a->coord, 1)->intent, 7);
    ck_assert_ptr_nonnull(claim(1, BECK_CLAIM_SYNC));
    coord_settle(&a->coord);
    ck_assert_ptr_null(slot(1));
    close_all();
}
END_TEST

static void child_that_stops(int ready)
{
    a = open_as(0);
    lock(a, 1, WORD_LOCK);
    if (write(ready, "x", 1) != 1) _exit(1);
    raise(SIGSTOP);
    unlock(a, 1, WORD_LOCK);
    _exit(beck_close(a) == BECK_OK ? 0 : 1);
}

START_TEST(the_stopped_are_told_from_the_others)
{
    int status, ends[2];
    char byte;
    open_all();
    fflush(stdout);
    ck_assert_int_eq(pipe(ends), 0);
    pid_t pid = fork();
    if (pid == 0) child_that_stops(ends[1]);
    ck_assert_int_eq(read(ends[0], &byte, 1), 1);
    ck_assert_int_eq(waitpid(pid, &status, WUNTRACED), pid);
    ck_assert(WIFSTOPPED(status));
    ck_assert_int_eq(slot(0)->state, BECK_HANDLE_ALIVE);
    ck_assert_ptr_nonnull(slot(2));
    ck_assert_int_eq(slot(2)->state, BECK_HANDLE_STOPPED);
    ck_assert_uint_eq(slot(2)->process, (uint32_t)pid);
    is_about(claim(2, BECK_CLAIM_LOCK), "t", 1);
    kill(pid, SIGCONT);
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_int_eq(status, 0);
    ck_assert_ptr_null(slot(2));
    close_all();
}
END_TEST

/* What cannot be read any more, or not now, takes away names at most. */
START_TEST(a_damaged_file_can_be_looked_into)
{
    uint8_t zeros[SUPER_BYTES] = {0}, supers[2][SUPER_BYTES];
    const uint64_t at[2] = {SUPER_A_AT, SUPER_B_AT};
    open_all();
    lock(b, 1, WORD_LOCK);
    look(eye);
    for (int i = 0; i < 2; i++) {
        ck_assert_int_eq(os_read(&a->file.os, supers[i], SUPER_BYTES, at[i]), BECK_OK);
        write_at(zeros, SUPER_BYTES, at[i]);
    }
    is_about(claim(1, BECK_CLAIM_LOCK), "t", 1); /* known from before */
    ck_assert_int_eq(beck_close(eye), BECK_OK);
    eye = open_as(BECK_OPEN_OBSERVE);
    const beck_claim *c = claim(1, BECK_CLAIM_LOCK);
    ck_assert_ptr_nonnull(c);
    ck_assert_ptr_null(c->topic);
    ck_assert_uint_eq(c->topic_id, TOPIC);
    ck_assert_int_eq(c->partition, 1);
    for (int i = 0; i < 2; i++) write_at(supers[i], SUPER_BYTES, at[i]);
    is_about(claim(1, BECK_CLAIM_LOCK), "t", 1);
    unlock(b, 1, WORD_LOCK);
    close_all();
}
END_TEST

START_TEST(a_poisoned_file_can_be_looked_into)
{
    open_all();
    coord_poison(&a->coord);
    ck_assert_uint_eq(look(eye), 2);
    ck_assert_int_eq(beck_close(eye), BECK_OK);
    eye = open_as(BECK_OPEN_OBSERVE);
    ck_assert_uint_eq(look(eye), 2);
    ck_assert_int_eq(beck_close(eye), BECK_OK);
    (void)beck_close(b);
    ck_assert_int_eq(beck_close(a), BECK_POISONED);
}
END_TEST

static void *look_twice(void *mine)
{
    const beck_handle_info *const **out = mine;
    size_t n;
    ck_assert_int_eq(beck_handles(eye, out, &n), BECK_OK);
    ck_assert_int_eq(beck_handles(eye, out, &n), BECK_OK);
    return NULL;
}

START_TEST(a_list_belongs_to_its_thread)
{
    const beck_handle_info *const *theirs;
    pthread_t thread;
    open_all();
    look(eye);
    const beck_handle_info *const *mine = list;
    pthread_create(&thread, NULL, look_twice, &theirs);
    pthread_join(thread, NULL);
    ck_assert_uint_eq(count, 2);
    ck_assert_int_eq(mine[1]->slot, 1);
    ck_assert_str_eq(mine[1]->program, "handles_test");
    close_all();
}
END_TEST

START_TEST(arguments_are_checked)
{
    open_all();
    ck_assert_int_eq(beck_handles(NULL, &list, &count), BECK_INVALID);
    ck_assert_int_eq(beck_handles(eye, NULL, &count), BECK_INVALID);
    ck_assert_int_eq(beck_handles(eye, &list, NULL), BECK_INVALID);
    fflush(stdout);
    int status;
    pid_t pid = fork();
    if (pid == 0) _exit(beck_handles(eye, &list, &count) == BECK_FORKED ? 0 : 1);
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_int_eq(status, 0);
    close_all();
}
END_TEST

/* ---- What ---- */

START_TEST(locks_name_their_owners)
{
    open_all();
    struct cell_ref catalog = coord_catalog_cell(&b->coord);
    lock(a, 0, WORD_LOCK);
    lock(a, 1, WORD_SYNC);
    ck_assert_int_eq(coord_lock(&b->coord, &catalog, WORD_LOCK, LOCK_TRY), LOCK_TAKEN);
    coord_sync_begin(&b->coord);
    is_about(claim(0, BECK_CLAIM_LOCK), "t", 0);
    is_about(claim(0, BECK_CLAIM_LEADER), "t", 1);
    ck_assert_uint_eq(slot(0)->claim_count, 2);
    ck_assert_ptr_nonnull(claim(1, BECK_CLAIM_CATALOG));
    ck_assert_ptr_nonnull(claim(1, BECK_CLAIM_SYNC));
    ck_assert_uint_eq(slot(1)->claim_count, 2);
    coord_sync_end(&b->coord);
    coord_unlock(&b->coord, &catalog, WORD_LOCK);
    unlock(a, 1, WORD_SYNC);
    unlock(a, 0, WORD_LOCK);
    ck_assert_uint_eq(slot(0)->claim_count + slot(1)->claim_count, 0);
    close_all();
}
END_TEST

static void *take_lock(void *cell)
{
    (void)coord_lock(&b->coord, cell, WORD_LOCK, LOCK_TAKE_DEAD);
    return NULL;
}

static void *wait_stable(void *cell)
{
    coord_wait_stable(&b->coord, cell, 100, 5000);
    return NULL;
}

static void *poll_for_ever(void *consumer)
{
    const beck_record *records;
    size_t n;
    (void)beck_poll(consumer, 1, -1, &records, &n);
    return NULL;
}

/* The claim, as soon as it is there: between two sleeps a waiter waits for nothing. */
static const beck_claim *soon(int32_t number, enum beck_claim_type type)
{
    const beck_claim *c = NULL;
    for (int i = 0; i < 5000 && (c = claim(number, type)) == NULL; i++) os_sleep_ms(1);
    ck_assert_ptr_nonnull(c);
    return c;
}

START_TEST(who_waits_tells_for_what)
{
    pthread_t thread;
    open_all();
    struct cell_ref cell = cell_of(b, 1), catalog = coord_catalog_cell(&b->coord);
    lock(a, 1, WORD_LOCK);
    pthread_create(&thread, NULL, take_lock, &cell);
    const beck_claim *c = soon(1, BECK_CLAIM_WAIT_LOCK);
    is_about(c, "t", 1);
    ck_assert_int_eq(c->holder, 0);
    unlock(a, 1, WORD_LOCK);
    pthread_join(thread, NULL);
    ck_assert_ptr_null(claim(1, BECK_CLAIM_WAIT_LOCK));
    is_about(claim(1, BECK_CLAIM_LOCK), "t", 1);
    unlock(b, 1, WORD_LOCK);

    struct cell_ref theirs = coord_catalog_cell(&a->coord);
    ck_assert_int_eq(coord_lock(&a->coord, &theirs, WORD_LOCK, LOCK_TRY), LOCK_TAKEN);
    pthread_create(&thread, NULL, take_lock, &catalog);
    ck_assert_int_eq(soon(1, BECK_CLAIM_WAIT_CATALOG)->holder, 0);
    coord_unlock(&a->coord, &theirs, WORD_LOCK);
    pthread_join(thread, NULL);
    coord_unlock(&b->coord, &catalog, WORD_LOCK);

    lock(a, 1, WORD_SYNC);
    pthread_create(&thread, NULL, wait_stable, &cell);
    c = soon(1, BECK_CLAIM_WAIT_SYNC);
    is_about(c, "t", 1);
    ck_assert_int_eq(c->holder, 0);
    unlock(a, 1, WORD_SYNC);
    coord_wake_writers(cell.rw);
    pthread_join(thread, NULL);
    ck_assert_uint_eq(slot(1)->claim_count, 0);
    close_all();
}
END_TEST

/* One partition has a name, several have a number. */
START_TEST(consumers_wait_for_records)
{
    const char *topic = "t";
    int32_t one = 1;
    beck_consumer_config config = {.size = sizeof config,
                                   .topics = &topic,
                                   .topic_count = 1,
                                   .partitions = &one,
                                   .start = BECK_START_END};
    open_all();
    for (config.partition_count = 0; config.partition_count < 2; config.partition_count++) {
        beck_consumer *consumer;
        pthread_t thread;
        ck_assert_int_eq(beck_consumer_open(b, &config, &consumer), BECK_OK);
        pthread_create(&thread, NULL, poll_for_ever, consumer);
        const beck_claim *c = soon(1, BECK_CLAIM_WAIT_RECORDS);
        if (config.partition_count == 1) is_about(c, "t", 1);
        if (config.partition_count == 0) ck_assert_uint_eq(c->partitions, 2);
        if (config.partition_count == 0) ck_assert_int_eq(c->partition, -1);
        ck_assert_int_eq(c->holder, -1);
        ck_assert_int_eq(beck_wakeup(consumer), BECK_OK);
        pthread_join(thread, NULL);
        beck_consumer_close(consumer);
        ck_assert_uint_eq(slot(1)->claim_count, 0);
    }
    close_all();
}
END_TEST

/* A pin tells its records; when they were deleted, how much space waits for it. */
START_TEST(pins_tell_what_they_keep)
{
    const char *topic = "t";
    const beck_record *records;
    size_t n;
    beck_consumer_config config = {.size = sizeof config, .topics = &topic, .topic_count = 1};
    beck_consumer *consumer;
    open_all();
    ck_assert_int_eq(beck_consumer_open(b, &config, &consumer), BECK_OK);
    ck_assert_int_eq(beck_poll(consumer, 10, 0, &records, &n), BECK_OK);
    ck_assert_uint_eq(n, 1);
    const beck_claim *c = claim(1, BECK_CLAIM_PIN);
    is_about(c, "t", records->partition);
    ck_assert_int_eq(c->from, 0);
    ck_assert_int_eq(c->to, 1);
    ck_assert_uint_eq(c->bytes, 0);
    struct cell_ref cell = cell_of(a, (uint32_t)records->partition);
    atomic_store(&cell.rw->visible, UINT64_C(1) << 63 | 5); /* impossible */
    ck_assert_int_eq(claim(1, BECK_CLAIM_PIN)->to, -1);
    atomic_store(&cell.rw->visible, 1);
    ck_assert_int_eq(beck_topic_delete(a, "t"), BECK_OK);
    c = claim(1, BECK_CLAIM_PIN);
    is_about(c, "t", records->partition);
    ck_assert_int_eq(c->from, 0);
    ck_assert_int_eq(c->to, 1);
    ck_assert_uint_eq(c->bytes, BLOCK_BYTES);
    beck_consumer_close(consumer);
    ck_assert_ptr_null(claim(1, BECK_CLAIM_PIN));
    close_all();
}
END_TEST

/* So does a writer that is inside a deleted topic: all of it. */
START_TEST(a_writer_inside_keeps_the_whole_topic)
{
    open_all();
    struct cell_ref cell = cell_of(b, 1);
    lock(b, 1, WORD_LOCK);
    ck_assert_int_eq(beck_topic_delete(a, "t"), BECK_OK);
    is_about(claim(1, BECK_CLAIM_LOCK), "t", 1);
    ck_assert_uint_eq(claim(1, BECK_CLAIM_LOCK)->bytes, 2 * BLOCK_BYTES);
    coord_unlock(&b->coord, &cell, WORD_LOCK);
    close_all();
}
END_TEST

/* ---- Any bytes ---- */

START_TEST(another_layout_is_refused_while_it_is_used)
{
    open_all();
    struct coord_header *h = coord_header(&a->coord);
    h->layout ^= 1;
    ck_assert_int_eq(beck_handles(eye, &list, &count), BECK_BUSY);
    ck_assert_ptr_nonnull(strstr(beck_errmsg(eye), "incompatible build"));
    h->layout ^= 1;
    ck_assert_uint_eq(look(eye), 2);
    uint64_t magic = atomic_exchange(&h->magic, 0); /* the last one is closing */
    ck_assert_uint_eq(look(eye), 0);
    atomic_store(&h->magic, magic);
    close_all();
}
END_TEST

/* Everything in the list is in its range, and can be read to the end. */
static void is_plausible(void)
{
    size_t text = 0;
    for (size_t i = 0; i < count; i++) {
        const beck_handle_info *h = list[i];
        ck_assert(i == 0 || h->slot == -1 || h->slot > list[i - 1]->slot);
        ck_assert(h->slot >= -1 && h->slot < (int32_t)SLOTS_MAX);
        ck_assert(h->state >= BECK_HANDLE_ALIVE && h->state <= BECK_HANDLE_DEAD);
        ck_assert(h->opened_at >= 0 && h->opened_at <= os_now_ms());
        ck_assert_uint_le(strlen(h->program), 16);
        for (const char *p = h->program; *p != 0; p++) ck_assert(*p >= 0x20 && *p < 0x7f);
        for (uint32_t k = 0; k < h->claim_count; k++) {
            const beck_claim *c = &h->claims[k];
            ck_assert(c->type > BECK_CLAIM_NONE && c->type <= BECK_CLAIM_WAIT_RECORDS);
            ck_assert(c->partition >= -1 && c->partition < BECK_PARTITIONS_MAX);
            ck_assert(c->from >= -1 && (c->to == -1 || c->to >= c->from));
            ck_assert(c->holder >= -1 && c->holder < (int32_t)SLOTS_MAX);
            ck_assert(c->topic == NULL || strcmp(c->topic, "t") == 0);
            text += c->topic == NULL ? 0 : strlen(c->topic);
        }
    }
    ck_assert_uint_lt(text, 1u << 20);
}

static uint64_t random_state;

static uint64_t chance(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

/* Words that mean something, and words that do not. */
static uint64_t any_word(void)
{
    uint64_t x = chance();
    switch (x % 7) {
    case 0: return x;
    case 1: return x % 32;
    case 2: return (x % 8) << DOING_SHIFT | (x >> 8 & 3) << DOING_PARTITION_SHIFT | TOPIC;
    case 3: return UINT64_C(1) << 32 | (x >> 8) % 6; /* locks of generation 1 */
    case 4: return UINT64_MAX;
    case 5: return UINT64_C(1) << 32 | (x >> 8 & 0xffff); /* partition and state of a cell */
    default: return 0;
    }
}

static uint64_t extent_at; /* before it was scribbled over */

/* Scribble over slots, cells, counters and the directory, but not over what says whose area it is:
 * that is what somebody with write permission could do. */
static void scribble(void)
{
    uint64_t base = COORD_AT, span = COORD_BYTES;
    uint64_t x = chance();
    if (x % 4 == 0) base = extent_at, span = x % 8 == 0 ? 16384 : 512;
    if (x % 4 == 1) base = COORD_AT + COORD_SLOTS_AT, span = 1024;
    if (x % 4 == 2) span = 4096 + 512;
    uint64_t at = base + (chance() % span) / 8 * 8, word = any_word();
    if (at < COORD_AT + 24) return;
    write_at(&word, sizeof word, at);
}

START_TEST(any_bytes_give_a_plausible_list)
{
    random_state = test_seed() * UINT64_C(0x9E3779B97F4A7C15) + 1;
    int status;
    fflush(stdout);
    pid_t pid = fork(); /* closing such a file is another matter: nobody does */
    if (pid == 0) {
        open_all();
        lock(a, 0, WORD_LOCK);
        lock(b, 1, WORD_SYNC);
        for (uint32_t i = 0; i < 2; i++)
            coord_pin(&b->coord, i,
                      picture_partition(&b->cat.picture, TOPIC, i)->segments[0].place.id);
        extent_at = (uint64_t)coord_extent_block(&a->coord, 0) * BLOCK_BYTES;
        for (int round = 0; round < 1500; round++) {
            for (uint64_t n = chance() % 8; n > 0; n--) scribble();
            if (beck_handles(eye, &list, &count) == BECK_OK) is_plausible();
            if (round % 100 == 99) { /* from the start */
                struct beck *fresh = open_as(BECK_OPEN_OBSERVE);
                if (beck_handles(fresh, &list, &count) == BECK_OK) is_plausible();
                ck_assert_int_eq(beck_close(fresh), BECK_OK);
            }
        }
        _exit(0);
    }
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_int_eq(status, 0);
}
END_TEST

/* As many locks as the area can name, thousands of times: the list is bounded, and the time. */
START_TEST(a_look_is_bounded)
{
    int status;
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        open_all();
        struct coord_header *h = coord_header(&a->coord);
        uint32_t block = coord_extent_block(&a->coord, 0);
        _Atomic uint32_t *directory =
            (_Atomic uint32_t *)(void *)(a->coord.rw.data + COORD_DIRECTORY_AT);
        for (uint32_t i = 0; i < EXTENT_CELLS; i++) {
            struct cell_ref cell;
            if (coord_cell(&a->coord, i, &cell) < 0) _exit(1);
            atomic_store(&cell.rw->state, CELL_LIVE);
            atomic_store(&cell.rw->topic, TOPIC);
            atomic_store(&cell.rw->lock, i % 2 == 0 ? a->coord.self : UINT64_MAX);
            atomic_store(&cell.rw->sync_lock, b->coord.self);
        }
        for (uint32_t i = 0; i < EXTENTS_MAX; i++) atomic_store(&directory[i], block);
        atomic_store(&h->extents, EXTENTS_MAX);
        atomic_store(&h->cells, UINT32_MAX);
        int64_t before = os_monotonic_ms();
        look(eye);
        is_plausible();
        size_t claims = 0;
        for (size_t i = 0; i < count; i++) claims += list[i]->claim_count;
        _exit(claims >= 1000 && claims < 20000 && os_monotonic_ms() - before < 5000 ? 0 : 1);
    }
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_int_eq(status, 0);
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("handles");
    TCase *c = tcase_create("handles");
    test_add_linux(c, everybody_alive_is_listed, "POSIX knows no names of programs");
    tcase_add_test(c, any_handle_may_ask);
    tcase_add_test(c, an_observer_does_nothing_else);
    tcase_add_test(c, the_gate_is_not_waited_for);
    test_add_linux(c, numbers_of_another_namespace_are_marked, "POSIX knows no namespaces");
    tcase_add_test(c, the_dead_are_listed_while_something_is_left);
    test_add_linux(c, the_stopped_are_told_from_the_others, "POSIX does not tell who is stopped");
    tcase_add_test(c, a_damaged_file_can_be_looked_into);
    tcase_add_test(c, a_poisoned_file_can_be_looked_into);
    test_add_linux(c, a_list_belongs_to_its_thread, "POSIX knows no names of programs");
    tcase_add_test(c, arguments_are_checked);
    tcase_add_test(c, locks_name_their_owners);
    tcase_add_test(c, who_waits_tells_for_what);
    tcase_add_test(c, consumers_wait_for_records);
    tcase_add_test(c, pins_tell_what_they_keep);
    tcase_add_test(c, a_writer_inside_keeps_the_whole_topic);
    tcase_add_test(c, another_layout_is_refused_while_it_is_used);
    tcase_add_test(c, any_bytes_give_a_plausible_list);
    tcase_add_test(c, a_look_is_bounded);
    suite_add_tcase(s, c);
    return s;
}
