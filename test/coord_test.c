/* coord_test.c -- slots, locks taken from the dead, wake-ups, sync intents, pins
 *
 * Two handles in one process are two descriptors and two slots. */
#include "coord.h"

#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "err.h"
#include "test.h"

#define HANDLES 4
#define EXTENT_AT 20u /* a block */

static struct os_file files[HANDLES];
static struct coord coords[HANDLES];
static struct coord *const a = &coords[0], *const b = &coords[1], *const c = &coords[2];

static void open_handle(int i)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/coord-%d", test_folder(), (int)getpid());
    if (i == 0) (void)unlink(path);
    ck_assert_int_eq(os_open(path, i == 0 ? OS_CREATE : OS_WRITE, 0644, &files[i]), BECK_OK);
    if (i == 0) ck_assert_int_eq(os_truncate(&files[0], 64 * BLOCK_BYTES), BECK_OK);
    ck_assert_int_eq(coord_open(&coords[i], &files[i]), BECK_OK);
    if (i == 0) {
        ck_assert(!coord_present(a));
        ck_assert_int_eq(coord_rebuild(a, RESIDUE_NONE), BECK_OK);
        ck_assert(!coord_present(a)); /* not yet */
        ck_assert_int_eq(coord_publish(a), BECK_OK);
        for (uint32_t k = 0; k < 4; k++)
            ck_assert_int_eq(coord_add_extent(a, EXTENT_AT + k * EXTENT_BLOCKS), BECK_OK);
    }
    ck_assert(coord_present(&coords[i]));
    ck_assert_int_eq(coord_claim_slot(&coords[i]), BECK_OK);
}

static void open_handles(int count)
{
    for (int i = 0; i < count; i++) open_handle(i);
}

/* What the system does when the process of a handle is killed. */
static void die(struct coord *dead)
{
    ck_assert_int_eq(os_unlock(dead->file, LOCK_SLOT0 + dead->slot), BECK_OK);
    dead->slot_held = false;
}

static void close_handles(void)
{
    for (int i = 0; i < HANDLES; i++) {
        if (coords[i].file == NULL) continue;
        coord_close(&coords[i]);
        os_close(&files[i]);
    }
}

static struct cell_ref cell_of(struct coord *handle, uint32_t index)
{
    struct cell_ref cell;
    ck_assert_int_eq(coord_cell(handle, index, &cell), BECK_OK);
    atomic_store(&cell.rw->state, CELL_LIVE);
    return cell;
}

static enum lock_result lock(struct coord *handle, enum lock_policy policy)
{
    struct cell_ref cell = coord_catalog_cell(handle);
    return coord_lock(handle, &cell, WORD_LOCK, policy);
}

static void unlock(struct coord *handle)
{
    struct cell_ref cell = coord_catalog_cell(handle);
    coord_unlock(handle, &cell, WORD_LOCK);
}

/* ---- Slots ---- */

START_TEST(every_handle_has_a_slot_of_its_own)
{
    open_handles(3);
    ck_assert_uint_eq(a->slot, 0);
    ck_assert_uint_eq(b->slot, 1);
    ck_assert_uint_eq(c->slot, 2);
    ck_assert_uint_lt(a->joined, b->joined);
    ck_assert_uint_lt(b->joined, c->joined);
    ck_assert_uint_eq(atomic_load(&coord_header(a)->slots), 3);
    ck_assert(!coord_slot_dead(a, 0)); /* its own, which its own descriptor cannot test */
    ck_assert(!coord_slot_dead(a, 1));
    ck_assert(coord_slot_dead(a, 3)); /* never claimed */
    coord_release_slot(b);
    ck_assert(coord_slot_dead(a, 1));
    ck_assert_int_eq(coord_claim_slot(b), BECK_OK);
    ck_assert_uint_eq(b->slot, 1);
    close_handles();
}
END_TEST

/* [S1] The owner a lock word names is dead when its slot is free, and stays so when the slot has a
 * new owner. */
START_TEST(a_slot_claimed_again_has_another_generation)
{
    open_handles(2);
    uint64_t word = b->self;
    ck_assert(!coord_owner_dead(a, word));
    ck_assert(!coord_owner_dead(b, word));
    die(b);
    ck_assert(coord_owner_dead(a, word));
    open_handle(2);
    ck_assert_uint_eq(c->slot, 1);
    ck_assert(coord_owner_dead(a, word));
    ck_assert(coord_owner_dead(c, word));
    ck_assert(!coord_owner_dead(a, c->self));
    ck_assert(coord_owner_dead(a, UINT64_C(1) << 32 | 0xffff)); /* no handle's at all */
    close_handles();
}
END_TEST

/* [S2] */
START_TEST(a_slot_with_an_unsettled_intent_is_not_claimed)
{
    open_handles(2);
    atomic_store(&coord_slot(a, b->slot)->intent, 1);
    die(b);
    open_handle(2);
    ck_assert_uint_eq(c->slot, 2);
    atomic_store(&coord_slot(a, 1)->intent, 0);
    open_handle(3);
    ck_assert_uint_eq(coords[3].slot, 1);
    close_handles();
}
END_TEST

START_TEST(slots_run_out)
{
    open_handles(1);
    struct os_file other = files[0];
    for (uint32_t i = 1; i < SLOTS_MAX; i++) /* the same description: locks are its own */
        ck_assert_int_eq(os_lock(&other, LOCK_SLOT0 + i, true), BECK_OK);
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", files[0].fd);
    ck_assert_int_eq(os_open(path, OS_WRITE, 0, &files[1]), BECK_OK);
    ck_assert_int_eq(coord_open(b, &files[1]), BECK_OK);
    ck_assert_int_eq(coord_claim_slot(b), BECK_LIMIT);
    ck_assert_int_eq(os_unlock(&other, LOCK_SLOT0 + 1000), BECK_OK);
    ck_assert_int_eq(coord_claim_slot(b), BECK_OK);
    ck_assert_uint_eq(b->slot, 1000);
    close_handles();
}
END_TEST

static enum residue residue_if(bool this_boot)
{
    enum residue residue;
    ck_assert_int_eq(coord_read_residue(&files[0], this_boot, &residue), BECK_OK);
    return residue;
}

static enum residue residue_of_file(void)
{
    return residue_if(true);
}

/* Suspect bytes outlive the one who noted them. */
START_TEST(residue_tells_of_suspects)
{
    open_handles(1);
    ck_assert_int_eq(coord_rebuild(a, RESIDUE_NONE), BECK_OK);
    ck_assert_int_eq(residue_if(false), RESIDUE_INTENT);
    ck_assert_int_eq(coord_publish(a), BECK_OK);
    ck_assert_int_eq(residue_of_file(), RESIDUE_NONE);
    coord_note_suspects(a);
    ck_assert_int_eq(residue_of_file(), RESIDUE_INTENT);
    ck_assert_int_eq(residue_if(false), RESIDUE_INTENT);
    ck_assert_int_eq(coord_zero(a), BECK_OK);
    ck_assert_int_eq(residue_of_file(), RESIDUE_NONE);
    close_handles();
}
END_TEST

/* A word of this boot counts even where the file's mark is of another: recovery after a power cut
 * keeps the old mark until it is done. */
START_TEST(residue_tells_of_its_boot)
{
    open_handles(1);
    coord_note_suspects(a);
    ck_assert_int_eq(residue_if(false), RESIDUE_INTENT);
    coord_header(a)->boot_id[0] ^= 1;
    ck_assert_int_eq(residue_if(false), RESIDUE_NONE);
    ck_assert_int_eq(residue_of_file(), RESIDUE_INTENT);
    close_handles();
}
END_TEST

/* Who cannot tell under which boot the area was begun believes what it says. */
START_TEST(residue_counts_where_the_boot_is_unknown)
{
    open_handles(1);
    coord_poison(a);
    memset(coord_header(a)->boot_id, 0, sizeof coord_header(a)->boot_id);
    ck_assert_int_eq(residue_if(false), RESIDUE_POISON);
    close_handles();
}
END_TEST

START_TEST(residue_tells_of_poison_and_intents)
{
    open_handles(1);
    ck_assert_int_eq(residue_of_file(), RESIDUE_NONE);
    atomic_store(&coord_slot(a, SLOTS_MAX - 1)->intent, 5);
    ck_assert_int_eq(residue_of_file(), RESIDUE_INTENT);
    coord_poison(a);
    ck_assert_int_eq(residue_of_file(), RESIDUE_POISON);
    /* What is known is not forgotten while the area is built anew. */
    ck_assert_int_eq(coord_rebuild(a, RESIDUE_POISON), BECK_OK);
    ck_assert_int_eq(residue_of_file(), RESIDUE_POISON);
    ck_assert_int_eq(coord_rebuild(a, RESIDUE_INTENT), BECK_OK);
    ck_assert_int_eq(residue_of_file(), RESIDUE_INTENT);
    ck_assert_int_eq(coord_zero(a), BECK_OK);
    ck_assert_int_eq(residue_of_file(), RESIDUE_NONE);
    ck_assert(!coord_present(a));
    close_handles();
}
END_TEST

/* An area of another build, or of a machine with another byte order, may tell of anything. One that
 * was only begun has no layout yet, and two words that are read in either order. */
START_TEST(residue_of_another_layout_is_taken_for_the_worst)
{
    open_handles(1);
    coord_header(a)->layout ^= 1;
    ck_assert_int_eq(residue_of_file(), RESIDUE_POISON);
    coord_header(a)->layout = __builtin_bswap64(coord_header(a)->layout ^ 1);
    coord_header(a)->magic = __builtin_bswap64(coord_header(a)->magic);
    ck_assert_int_eq(residue_of_file(), RESIDUE_POISON);
    memset(coord_header(a)->boot_id, 0, sizeof coord_header(a)->boot_id);
    ck_assert_int_eq(residue_if(false), RESIDUE_INTENT);

    for (uint32_t building = 1; building <= 2; building++) {
        ck_assert_int_eq(coord_zero(a), BECK_OK);
        atomic_store(&coord_header(a)->building, __builtin_bswap32(building));
        ck_assert_int_eq(residue_of_file(), building == 1 ? RESIDUE_INTENT : RESIDUE_POISON);
    }
    close_handles();
}
END_TEST

/* ---- Lock words ---- */

START_TEST(policies_of_a_lock_that_is_held)
{
    open_handles(2);
    ck_assert_int_eq(lock(a, LOCK_TRY), LOCK_TAKEN);
    ck_assert_int_eq(lock(b, LOCK_TRY), LOCK_HELD);
    unlock(a);
    ck_assert_int_eq(lock(b, LOCK_REPORT_DEAD), LOCK_TAKEN);
    unlock(b);
    ck_assert_int_eq(lock(a, LOCK_TAKE_DEAD), LOCK_TAKEN);
    unlock(a);
    struct cell_ref cell = coord_catalog_cell(a); /* the words of a cell are independent */
    ck_assert_int_eq(lock(a, LOCK_TRY), LOCK_TAKEN);
    ck_assert_int_eq(coord_lock(a, &cell, WORD_SYNC, LOCK_TRY), LOCK_TAKEN);
    coord_unlock(a, &cell, WORD_SYNC);
    unlock(a);
    close_handles();
}
END_TEST

/* [L1] [L2] The next owner is told that the last one died, once. */
START_TEST(a_lock_is_taken_from_the_dead)
{
    open_handles(3);
    for (int policy = LOCK_TAKE_DEAD; policy <= LOCK_TRY; policy++) {
        ck_assert_int_eq(lock(b, LOCK_TRY), LOCK_TAKEN);
        die(b);
        if (policy == LOCK_REPORT_DEAD) {
            ck_assert_int_eq(lock(a, LOCK_REPORT_DEAD), LOCK_DEAD);
            ck_assert_int_eq(lock(c, LOCK_REPORT_DEAD), LOCK_DEAD);
            ck_assert_int_eq(lock(a, LOCK_TAKE_DEAD), LOCK_FROM_DEAD);
        } else {
            ck_assert_int_eq(lock(a, (enum lock_policy)policy), LOCK_FROM_DEAD);
        }
        ck_assert_int_eq(lock(c, LOCK_TRY), LOCK_HELD);
        unlock(a);
        ck_assert_int_eq(lock(c, LOCK_TRY), LOCK_TAKEN);
        unlock(c);
        ck_assert_int_eq(coord_claim_slot(b), BECK_OK);
    }
    close_handles();
}
END_TEST

/* [S1] A dead owner's slot in new hands does not keep the lock alive. */
START_TEST(a_lock_does_not_pass_to_the_next_owner_of_the_slot)
{
    open_handles(2);
    ck_assert_int_eq(lock(b, LOCK_TRY), LOCK_TAKEN);
    die(b);
    open_handle(2);
    ck_assert_uint_eq(c->slot, b->slot);
    ck_assert_int_eq(lock(c, LOCK_TAKE_DEAD), LOCK_FROM_DEAD);
    unlock(c);
    close_handles();
}
END_TEST

START_TEST(a_failed_repair_leaves_the_lock_to_the_next)
{
    struct cell_ref cell;
    open_handles(2);
    cell = coord_catalog_cell(a);
    ck_assert_int_eq(lock(a, LOCK_TRY), LOCK_TAKEN);
    coord_unlock_broken(a, &cell, WORD_LOCK);
    ck_assert_int_eq(lock(b, LOCK_REPORT_DEAD), LOCK_DEAD);
    ck_assert_int_eq(lock(b, LOCK_TAKE_DEAD), LOCK_FROM_DEAD);
    unlock(b);
    ck_assert_int_eq(lock(a, LOCK_TRY), LOCK_TAKEN);
    unlock(a);
    close_handles();
}
END_TEST

#define ROUNDS 2000
static uint64_t counter; /* guarded by the lock word */

static void *count_up(void *handle)
{
    for (int i = 0; i < ROUNDS; i++) {
        if (lock(handle, LOCK_TAKE_DEAD) != LOCK_TAKEN) return handle;
        uint64_t now = __atomic_load_n(&counter, __ATOMIC_RELAXED);
        if (i % 64 == 0) os_sleep_ms(0);
        __atomic_store_n(&counter, now + 1, __ATOMIC_RELAXED);
        unlock(handle);
    }
    return NULL;
}

START_TEST(one_owner_at_a_time)
{
    pthread_t threads[2 * HANDLES];
    void *failed;
    open_handles(HANDLES);
    for (int i = 0; i < 2 * HANDLES; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, count_up, &coords[i % HANDLES]), 0);
    for (int i = 0; i < 2 * HANDLES; i++) {
        pthread_join(threads[i], &failed);
        ck_assert_ptr_null(failed);
    }
    ck_assert_uint_eq(counter, 2 * HANDLES * ROUNDS);
    ck_assert_uint_eq(atomic_load(&coord_catalog_cell(a).ro->lock), 0);
    close_handles();
}
END_TEST

static _Atomic int64_t got_at;

static void *lock_and_tell(void *handle)
{
    (void)lock(handle, LOCK_TAKE_DEAD);
    atomic_store(&got_at, os_monotonic_ms());
    unlock(handle);
    return NULL;
}

static void wait_until_contended(const struct coord *handle)
{
    while ((atomic_load(&coord_catalog_cell(handle).ro->lock) >> 16 & 1) == 0) os_sleep_ms(1);
    os_sleep_ms(5); /* and asleep, most likely */
}

/* [L3] Not even a long time breaks the lock of somebody alive; giving it back wakes who waits. */
START_TEST(only_giving_back_ends_the_wait)
{
    pthread_t thread;
    open_handles(2);
    ck_assert_int_eq(lock(a, LOCK_TRY), LOCK_TAKEN);
    ck_assert_int_eq(pthread_create(&thread, NULL, lock_and_tell, b), 0);
    wait_until_contended(a);
    os_sleep_ms(2 * LOOK_MS + 10);
    ck_assert_int_eq(atomic_load(&got_at), 0);
    int64_t before = os_monotonic_ms();
    unlock(a);
    pthread_join(thread, NULL);
    ck_assert_int_lt(atomic_load(&got_at) - before, LOOK_MS / 2);
    close_handles();
}
END_TEST

START_TEST(a_death_is_found_by_who_waits)
{
    pthread_t thread;
    open_handles(2);
    ck_assert_int_eq(lock(a, LOCK_TRY), LOCK_TAKEN);
    ck_assert_int_eq(pthread_create(&thread, NULL, lock_and_tell, b), 0);
    wait_until_contended(a);
    int64_t before = os_monotonic_ms();
    die(a);
    pthread_join(thread, NULL);
    ck_assert_int_lt(atomic_load(&got_at) - before, 5 * LOOK_MS);
    close_handles();
}
END_TEST

/* ---- Cells ---- */

START_TEST(cells_are_the_same_for_every_handle)
{
    struct cell_ref none;
    open_handles(2);
    for (uint32_t i = 0; i < 4 * EXTENT_CELLS; i += 37) {
        struct cell_ref here = cell_of(a, i), there = cell_of(b, i);
        ck_assert_uint_eq(atomic_load(&there.ro->visible), 0);
        word_raise(&here.rw->visible, i + 1);
        word_raise(&here.rw->visible, i);
        ck_assert_uint_eq(atomic_load(&there.ro->visible), i + 1);
    }
    ck_assert_int_eq(coord_cell(a, 4 * EXTENT_CELLS, &none), BECK_CORRUPT);
    ck_assert_int_eq(coord_cell(a, UINT32_MAX, &none), BECK_CORRUPT);
    ck_assert_uint_eq(coord_extent_block(a, 1), EXTENT_AT + EXTENT_BLOCKS);
    ck_assert_uint_eq(coord_extent_block(a, 4), 0);
    close_handles();
}
END_TEST

#define TAILS 200000u
static _Atomic bool stop;

static void *write_tails(void *cell)
{
    for (uint32_t i = 1; i <= TAILS; i++) {
        struct tail t = {
            .segment = i, .next = i, .max_timestamp = i, .position = i, .chain = i, .zeroed = i};
        cell_tail_set(cell, &t);
    }
    atomic_store(&stop, true);
    return NULL;
}

/* [P1] A tail that is read without the lock is one that was written as a whole. */
START_TEST(a_snapshot_of_the_tail_is_whole)
{
    pthread_t thread;
    struct tail t;
    uint64_t last = 0;
    open_handles(2);
    struct cell_ref here = cell_of(a, 3), there = cell_of(b, 3);
    ck_assert_int_eq(pthread_create(&thread, NULL, write_tails, here.rw), 0);
    while (!atomic_load(&stop)) {
        cell_tail_snapshot(there.ro, &t);
        ck_assert_uint_eq(t.next, t.segment);
        ck_assert_int_eq(t.max_timestamp, (int64_t)t.segment);
        ck_assert_uint_eq(t.position, t.segment);
        ck_assert_uint_eq(t.chain, t.segment);
        ck_assert_uint_eq(t.zeroed, t.segment);
        ck_assert_uint_ge(t.next, last);
        last = t.next;
    }
    pthread_join(thread, NULL);
    cell_tail_get(here.ro, &t);
    ck_assert_uint_eq(t.next, TAILS);
    close_handles();
}
END_TEST

/* [P1] A death in the middle of writing a tail leaves the one before. */
START_TEST(the_tail_that_does_not_count_may_be_anything)
{
    struct tail t = {.segment = 5, .next = 7, .position = 64}, got;
    open_handles(1);
    struct cell_ref cell = cell_of(a, 0);
    cell_tail_set(cell.rw, &t);
    memset(&cell.rw->tail[(atomic_load(&cell.rw->flip) + 1) & 1], 0xee, sizeof t);
    cell_tail_get(cell.ro, &got);
    ck_assert_mem_eq(&got, &t, sizeof t);
    cell_tail_snapshot(cell.ro, &got);
    ck_assert_mem_eq(&got, &t, sizeof t);
    close_handles();
}
END_TEST

/* ---- Waiting ---- */

#define CELLS_MAX 200
static struct cell_ref waited[CELLS_MAX];
static uint64_t seen[CELLS_MAX];
static _Atomic int64_t woken_at;

static _Atomic uint32_t no_stop;

static void wait_for(const struct cell_ref *cells, const uint64_t *values, size_t count)
{
    struct reader_wait wait = {cells, values, count, &no_stop, false};
    (void)coord_wait_readers(b, &wait, 5000);
}

static void *wait_for_readers(void *count)
{
    wait_for(waited, seen, (size_t)(uintptr_t)count);
    atomic_store(&woken_at, os_monotonic_ms());
    return NULL;
}

/* [W1] [W2] One cell, several in one call, and more than one call can wait for: the last of them
 * moves, and the thread is awake at once. */
START_TEST(readers_are_woken)
{
    static const size_t counts[] = {1, 3, CELLS_MAX};
    open_handles(2);
    for (uint32_t i = 0; i < CELLS_MAX; i++) waited[i] = cell_of(b, i);
    for (int k = 0; k < 3; k++) {
        pthread_t thread;
        uint32_t last = (uint32_t)counts[k] - 1;
        struct cell_ref cell = cell_of(a, last);
        atomic_store(&woken_at, 0);
        ck_assert_int_eq(
            pthread_create(&thread, NULL, wait_for_readers, (void *)(uintptr_t)counts[k]), 0);
        while (atomic_load(&cell.ro->waiters) == 0) os_sleep_ms(1);
        os_sleep_ms(20);
        ck_assert_int_eq(atomic_load(&woken_at), 0);
        int64_t before = os_monotonic_ms();
        atomic_exchange(&cell.rw->visible, seen[last] + 1);
        coord_wake_readers(a, cell.rw);
        pthread_join(thread, NULL);
        ck_assert_int_lt(atomic_load(&woken_at) - before, 1000);
        seen[last]++;
    }
    close_handles();
}
END_TEST

/* Without a sleeper, whose wait might end for another reason. [W1] */
START_TEST(a_bell_rings_only_for_who_asked)
{
    open_handles(1);
    struct cell_ref cell = cell_of(a, 0);
    struct coord_header *h = coord_header(a);
    uint32_t here = atomic_load(&cell.rw->bell), header = atomic_load(&h->bell);
    uint32_t stable = atomic_load(&cell.rw->stable_bell);
    coord_wake_readers(a, cell.rw);
    coord_wake_writers(cell.rw);
    ck_assert_uint_eq(atomic_load(&cell.rw->bell), here);
    ck_assert_uint_eq(atomic_load(&h->bell), header);
    ck_assert_uint_eq(atomic_load(&cell.rw->stable_bell), stable);
    atomic_store(&cell.rw->waiters, WAIT_HERE);
    coord_wake_readers(a, cell.rw);
    ck_assert_uint_eq(atomic_load(&cell.rw->bell), here + 1);
    ck_assert_uint_eq(atomic_load(&h->bell), header);
    atomic_store(&cell.rw->waiters, WAIT_HEADER);
    coord_wake_readers(a, cell.rw);
    ck_assert_uint_eq(atomic_load(&cell.rw->bell), here + 1);
    ck_assert_uint_eq(atomic_load(&h->bell), header + 1);
    ck_assert_uint_eq(atomic_load(&cell.rw->waiters), 0);
    atomic_store(&cell.rw->stable_waiters, 1);
    coord_wake_writers(cell.rw);
    ck_assert_uint_eq(atomic_load(&cell.rw->stable_bell), stable + 1);
    ck_assert_uint_eq(atomic_load(&cell.rw->stable_waiters), 0);
    close_handles();
}
END_TEST

START_TEST(who_has_news_does_not_wait)
{
    open_handles(2);
    for (uint32_t i = 0; i < CELLS_MAX; i++) waited[i] = cell_of(b, i);
    int64_t before = os_monotonic_ms();
    seen[0] = 1; /* not what the cell says */
    wait_for(waited, seen, 1);
    wait_for(waited, seen, 3);
    wait_for(waited, seen, CELLS_MAX);
    seen[0] = 0;
    atomic_store(&waited[2].rw->state, CELL_DELETED);
    wait_for(waited + 2, seen + 2, 1);
    wait_for(waited, seen, 3);
    coord_wait_stable(b, &waited[0], 0, 5000); /* stable up to 0 */
    ck_assert_int_lt(os_monotonic_ms() - before, 1000);
    close_handles();
}
END_TEST

static void *wait_for_stable(void *cell)
{
    coord_wait_stable(b, cell, 5, 5000);
    atomic_store(&woken_at, os_monotonic_ms());
    return NULL;
}

START_TEST(writers_are_woken)
{
    pthread_t thread;
    open_handles(2);
    struct cell_ref here = cell_of(a, 0), there = cell_of(b, 0);
    ck_assert_int_eq(pthread_create(&thread, NULL, wait_for_stable, &there), 0);
    while (atomic_load(&here.ro->stable_waiters) == 0) os_sleep_ms(1);
    os_sleep_ms(5);
    int64_t before = os_monotonic_ms();
    word_raise(&here.rw->stable, 5);
    coord_wake_writers(here.rw);
    pthread_join(thread, NULL);
    ck_assert_int_lt(atomic_load(&woken_at) - before, 1000);
    close_handles();
}
END_TEST

/* ---- Syncs ---- */

/* [Y1] [Y3] While a sync is under way who joined later does not publish. */
START_TEST(an_intent_stands_around_a_sync)
{
    open_handles(2);
    coord_sync_begin(a);
    uint64_t intent = atomic_load(&coord_slot(b, a->slot)->intent);
    ck_assert_uint_eq(intent, b->joined); /* everybody who is there */
    ck_assert(coord_may_publish(a));
    ck_assert(coord_may_publish(b));
    open_handle(2);
    ck_assert(!coord_may_publish(c));
    coord_settle(c); /* its owner lives: nothing to do */
    coord_settle(b);
    ck_assert(!coord_may_publish(c));
    coord_sync_end(a);
    ck_assert_uint_eq(atomic_load(&coord_slot(b, a->slot)->intent), 0);
    ck_assert(coord_may_publish(c));
    ck_assert_int_eq(coord_check_poison(c), BECK_OK);
    close_handles();
}
END_TEST

/* [Y2] Who joined before settles the intent of the dead; who joined after leaves it to them. */
START_TEST(an_intent_of_the_dead_is_settled_by_who_was_there)
{
    for (int witness = 0; witness < 2; witness++) {
        open_handles(2);
        coord_sync_begin(b);
        open_handle(2);
        die(b);
        coord_settle(c);
        ck_assert(!coord_may_publish(c));
        if (witness == 0) die(a);
        coord_settle(witness == 0 ? c : a);
        ck_assert_int_eq(coord_may_publish(c), witness);
        ck_assert_int_eq(coord_check_poison(c), BECK_OK);
        pthread_mutex_unlock(&b->sync_mutex);
        close_handles();
    }
}
END_TEST

/* [Y4] Nothing a handle does takes it back. */
START_TEST(poison_stays)
{
    open_handles(2);
    coord_poison(a);
    ck_assert_int_eq(coord_check_poison(a), BECK_POISONED);
    coord_sync_begin(b);
    coord_sync_end(b);
    coord_settle(b);
    ck_assert_int_eq(coord_check_poison(b), BECK_POISONED);
    coord_release_slot(a);
    open_handle(2);
    ck_assert_int_eq(coord_check_poison(c), BECK_POISONED);
    close_handles();
}
END_TEST

/* ---- Pins ---- */

/* [R1] [R2] */
START_TEST(pins_of_the_living_are_seen)
{
    open_handles(2);
    ck_assert(!coord_pinned(a, 7));
    coord_pin(b, PINS_PER_SLOT - 1, 7);
    coord_pin(b, 0, 8);
    coord_pin(a, 3, 9); /* one's own counts too */
    for (uint64_t id = 6; id <= 10; id++) ck_assert_int_eq(coord_pinned(a, id), id >= 7 && id <= 9);
    coord_unpin(b, 0);
    ck_assert(!coord_pinned(a, 8));
    die(b);
    ck_assert(!coord_pinned(a, 7)); /* the dead do not read */
    open_handle(2);
    ck_assert_uint_eq(c->slot, 1);
    ck_assert(!coord_pinned(a, 7)); /* nor did the new owner of the slot pin it */
    close_handles();
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("coord");
    TCase *t = tcase_create("slots");
    tcase_add_test(t, every_handle_has_a_slot_of_its_own);
    tcase_add_test(t, a_slot_claimed_again_has_another_generation);
    tcase_add_test(t, a_slot_with_an_unsettled_intent_is_not_claimed);
    tcase_add_test(t, slots_run_out);
    tcase_add_test(t, residue_tells_of_poison_and_intents);
    tcase_add_test(t, residue_tells_of_suspects);
    test_add_linux(t, residue_tells_of_its_boot, NO_BOOT_ID);
    tcase_add_test(t, residue_counts_where_the_boot_is_unknown);
    tcase_add_test(t, residue_of_another_layout_is_taken_for_the_worst);
    suite_add_tcase(s, t);
    t = tcase_create("locks");
    tcase_add_test(t, policies_of_a_lock_that_is_held);
    tcase_add_test(t, a_lock_is_taken_from_the_dead);
    tcase_add_test(t, a_lock_does_not_pass_to_the_next_owner_of_the_slot);
    tcase_add_test(t, a_failed_repair_leaves_the_lock_to_the_next);
    tcase_add_test(t, one_owner_at_a_time);
    tcase_add_test(t, only_giving_back_ends_the_wait);
    tcase_add_test(t, a_death_is_found_by_who_waits);
    suite_add_tcase(s, t);
    t = tcase_create("cells");
    tcase_add_test(t, cells_are_the_same_for_every_handle);
    tcase_add_test(t, a_snapshot_of_the_tail_is_whole);
    tcase_add_test(t, the_tail_that_does_not_count_may_be_anything);
    suite_add_tcase(s, t);
    t = tcase_create("waiting");
    tcase_add_test(t, readers_are_woken);
    tcase_add_test(t, a_bell_rings_only_for_who_asked);
    tcase_add_test(t, who_has_news_does_not_wait);
    tcase_add_test(t, writers_are_woken);
    suite_add_tcase(s, t);
    t = tcase_create("syncs");
    tcase_add_test(t, an_intent_stands_around_a_sync);
    tcase_add_test(t, an_intent_of_the_dead_is_settled_by_who_was_there);
    tcase_add_test(t, poison_stays);
    suite_add_tcase(s, t);
    t = tcase_create("pins");
    tcase_add_test(t, pins_of_the_living_are_seen);
    suite_add_tcase(s, t);
    return s;
}
