/* coord.c -- the shared area: slots, lock words, cells, wake-ups, sync intents */
/*
 * Pages of the file that all processes map: 64 KiB to 224 KiB, and extents of cells in the heap.
 *
 *     0        header: instance, poison, bell, counters
 *     4 KiB    the catalog's cell
 *     8 KiB    directory: first block of each extent of partition cells
 *     32 KiB   1024 slots of 128 bytes
 *
 * doc/CONCURRENCY.md states the protocols; here is what keeps them:
 *  [S1] a word's owner is dead when the slot's byte is free or its generation differs
 *  [S2] a slot with an unsettled intent is not claimed
 *  [L1] a lock word changes hands only by compare-and-swap from 0 or from the exact word of a
 *       dead owner
 *  [L3] only death breaks a lock, never time
 *  [W1] flag, fence, look again, then sleep; publish, fence, exchange the flag, wake
 *  [W2] beyond what one call can wait for, the bell
 *  [Y1] an intent stands in the slot around every sync, under the handle's mutex
 *  [Y2] an intent of the dead is settled by a handle that joined before it was set
 *  [Y3] while an intent stands that is older than its join, a handle vouches only for bytes that
 *       it wrote, or wrote again
 *  [Y4] poison is never taken back
 *  [R2] a full fence stands between the catalog's news and the scan of the pins
 *
 * Nothing here survives: a crash at any point leaves an area that the next opener zeroes. */
#include "coord.h"

#include <stdlib.h>
#include <string.h>

#include "err.h"

#define COORD_MAGIC UINT64_C(0x314b43454243ffff)
#define WORD_CONTENDED UINT64_C(0x10000)
#define WORD_NOBODY UINT64_C(0xffff) /* no slot has this number: a dead owner */
#define SPINS 64
#define BUILDING_POISONED 2u /* and what it recovers from is a failed sync */

static uint64_t coord_layout(void)
{
    /* Two libraries that disagree about any of these must not share an area. */
    return (uint64_t)sizeof(struct cell) << 48 ^ (uint64_t)sizeof(struct slot) << 40 ^
           (uint64_t)sizeof(struct tail) << 32 ^ (uint64_t)EXTENT_CELLS << 16 ^ SLOTS_MAX ^
           (uint64_t)BLOCK_BYTES << 24 ^ 2;
}

/* ---- Life ---- */

int coord_reset_extents(struct coord *c)
{
    struct extents *fresh = calloc(1, sizeof *fresh);
    if (fresh == NULL) return err_set(BECK_NOMEM, "out of memory");
    pthread_mutex_lock(&c->extents_mutex);
    fresh->older = c->extents;
    c->extents = fresh;
    pthread_mutex_unlock(&c->extents_mutex);
    return 0;
}

int coord_open(struct coord *c, const struct os_file *file)
{
    int rc;
    memset(c, 0, sizeof *c);
    c->file = file;
    pthread_mutex_init(&c->extents_mutex, NULL);
    pthread_mutex_init(&c->sync_mutex, NULL);
    if ((rc = coord_reset_extents(c)) < 0) return rc;
    if ((rc = os_map(file, COORD_AT, COORD_BYTES, false, &c->ro)) < 0) return rc;
    if (!file->readonly) rc = os_map(file, COORD_AT, COORD_BYTES, true, &c->rw);
    return rc;
}

void coord_close(struct coord *c)
{
    if (c->file == NULL) return;
    coord_release_slot(c);
    for (struct extents *e = c->extents, *older; e != NULL; e = older) {
        older = e->older;
        for (uint32_t i = 0; i < e->end; i++) {
            os_unmap(&e->rw[i]);
            os_unmap(&e->ro[i]);
        }
        free(e);
    }
    os_unmap(&c->rw);
    os_unmap(&c->ro);
    pthread_mutex_destroy(&c->extents_mutex);
    pthread_mutex_destroy(&c->sync_mutex);
    memset(c, 0, sizeof *c);
}

void coord_forget(struct coord *c)
{
    c->slot_held = false; /* the mappings were not inherited: MADV_DONTFORK */
    memset(&c->rw, 0, sizeof c->rw);
    memset(&c->ro, 0, sizeof c->ro);
    for (struct extents *e = c->extents; e != NULL; e = e->older) e->end = 0;
}

struct coord_header *coord_header(const struct coord *c)
{
    ASSERT(c->rw.data != NULL);
    return (struct coord_header *)(void *)c->rw.data;
}

const struct coord_header *coord_header_ro(const struct coord *c)
{
    return (const struct coord_header *)(const void *)c->ro.data;
}

static int zero_area(struct coord *c, uint32_t building)
{
    static const uint8_t zeros[BLOCK_BYTES];
    struct coord_header first;
    memset(&first, 0, sizeof first);
    atomic_store(&first.building, building);
    if (building != 0) os_boot_id(first.boot_id);
    /* The header comes first, in one piece: what the old area told must not be forgotten while the
     * file is not recovered. All of it is written, not stored: holes of a sparse copy, and blocks
     * shared with a reflinked one or a snapshot, get space of their own here, or the disk is full.
     * A store that finds no space would end the process. */
    int rc = os_write(c->file, &first, sizeof first, COORD_AT);
    if (rc == 0)
        rc = os_write(c->file, zeros, sizeof zeros - sizeof first, COORD_AT + sizeof first);
    for (uint64_t at = sizeof zeros; rc == 0 && at < COORD_BYTES; at += sizeof zeros)
        rc = os_write(c->file, zeros, sizeof zeros, COORD_AT + at);
    return rc;
}

int coord_zero(struct coord *c)
{
    return zero_area(c, 0);
}

int coord_rebuild(struct coord *c, enum residue residue)
{
    int rc = zero_area(c, residue == RESIDUE_POISON ? BUILDING_POISONED : 1);
    if (rc < 0) return rc;
    struct coord_header *h = coord_header(c);
    h->magic = COORD_MAGIC;
    h->layout = coord_layout();
    c->instance = 0;
    return 0;
}

int coord_publish(struct coord *c)
{
    int rc = 0;
    while (rc == 0 && c->instance == 0) rc = os_random(&c->instance, sizeof c->instance);
    if (rc < 0) return rc;
    atomic_store(&coord_header(c)->building, 0);
    atomic_store_explicit(&coord_header(c)->instance, c->instance, memory_order_release);
    return 0;
}

bool coord_present(struct coord *c)
{
    const struct coord_header *h = coord_header_ro(c);
    c->instance = atomic_load_explicit(&h->instance, memory_order_acquire);
    return c->instance != 0 && coord_recognised(c);
}

bool coord_recognised(const struct coord *c)
{
    const struct coord_header *h = coord_header_ro(c);
    return h->magic == COORD_MAGIC && h->layout == coord_layout();
}

int coord_loadable(const struct coord *c)
{
    return os_populate_loads(&c->ro);
}

int coord_may_be_shared(struct coord *c)
{
    c->may_be_shared = true;
    return os_populate(&c->rw, 0, c->rw.bytes);
}

/* The words of a build with another layout, or of a machine with another byte order, cannot be
 * read: a sync may have failed. Who does not know the boot cannot ask the device either, and
 * believes in an intent. An area that was only begun has no layout yet. */
static enum residue foreign_residue(const struct coord_header *h, bool boot_known)
{
    if (atomic_load(&h->magic) == 0) return RESIDUE_NONE;
    if (atomic_load(&h->magic) == COORD_MAGIC && atomic_load(&h->layout) == coord_layout())
        return RESIDUE_NONE;
    return boot_known ? RESIDUE_POISON : RESIDUE_INTENT;
}

int coord_read_residue(const struct os_file *file, bool this_boot, enum residue *residue)
{
    uint8_t *area = malloc(COORD_BYTES);
    int rc = area == NULL ? err_set(BECK_NOMEM, "out of memory") : 0;
    *residue = RESIDUE_NONE;
    if (rc == 0) rc = os_read(file, area, COORD_BYTES, COORD_AT);
    if (rc == 0) {
        const struct coord_header *h = (const struct coord_header *)(void *)area;
        const struct slot *slots = (const struct slot *)(void *)(area + COORD_SLOTS_AT);
        uint8_t boot[16];
        os_boot_id(boot);
        static const uint8_t unknown[16];
        bool known = memcmp(boot, unknown, 16) != 0 && memcmp(h->boot_id, unknown, 16) != 0;
        if (!this_boot && known && memcmp(boot, h->boot_id, sizeof boot) != 0) goto out;
        if ((*residue = foreign_residue(h, this_boot || known)) != RESIDUE_NONE) goto out;
        uint32_t building = atomic_load(&h->building);
        if (building != 0 || atomic_load(&h->suspects) != 0) *residue = RESIDUE_INTENT;
        for (uint32_t i = 0; i < SLOTS_MAX; i++)
            if (atomic_load(&slots[i].intent) != 0) *residue = RESIDUE_INTENT;
        if (atomic_load(&h->poison) != 0 || building == BUILDING_POISONED ||
            building == __builtin_bswap32(BUILDING_POISONED))
            *residue = RESIDUE_POISON;
    }
out:
    free(area);
    return rc;
}

/* ---- Slots and liveness ---- */

struct slot *coord_slot(const struct coord *c, uint32_t index)
{
    ASSERT(index < SLOTS_MAX);
    const struct os_map *map = c->rw.data != NULL ? &c->rw : &c->ro;
    return (struct slot *)(void *)(map->data + COORD_SLOTS_AT) + index;
}

uint32_t coord_slots(const struct coord *c)
{
    uint32_t slots = atomic_load(&coord_header_ro(c)->slots);
    return slots < SLOTS_MAX ? slots : SLOTS_MAX;
}

/* For people: who, since when. */
static void introduce(const struct coord *c, struct slot *s)
{
    uint64_t name[2] = {0};
    os_program_name((char *)name, sizeof name);
    atomic_store(&s->process, os_process_id());
    atomic_store(&s->namespace, os_process_namespace());
    atomic_store(&s->opened_at, os_now_ms());
    atomic_store(&s->program[0], name[0]);
    atomic_store(&s->program[1], name[1]);
    coord_begin(c, DOING_OPEN, NULL);
}

static uint64_t doing_word(enum doing kind, const struct cell *cell)
{
    uint64_t word = (uint64_t)kind << DOING_SHIFT;
    if (cell == NULL) return word;
    word |= (uint64_t)(uint16_t)atomic_load_explicit(&cell->partition, memory_order_relaxed)
            << DOING_PARTITION_SHIFT;
    return word | (atomic_load_explicit(&cell->topic, memory_order_relaxed) &
                   ((UINT64_C(1) << DOING_PARTITION_SHIFT) - 1));
}

static void doing_set(const struct coord *c, uint64_t word)
{
    if (!c->slot_held) return;
    atomic_store_explicit(&coord_slot(c, c->slot)->doing, word, memory_order_relaxed);
}

static void doing_unset(const struct coord *c, uint64_t word)
{
    if (!c->slot_held) return;
    (void)atomic_compare_exchange_strong_explicit(&coord_slot(c, c->slot)->doing, &word, 0,
                                                  memory_order_relaxed, memory_order_relaxed);
}

void coord_begin(const struct coord *c, enum doing kind, const struct cell *cell)
{
    doing_set(c, doing_word(kind, cell));
}

void coord_end(const struct coord *c, enum doing kind, const struct cell *cell)
{
    doing_unset(c, doing_word(kind, cell));
}

int coord_claim_slot(struct coord *c)
{
    struct coord_header *h = coord_header(c);
    bool withheld = false;
    for (uint32_t i = 0; i < SLOTS_MAX; i++) {
        struct slot *s = coord_slot(c, i);
        int rc = os_lock(c->file, LOCK_SLOT0 + i, true);
        if (rc == BECK_BUSY) withheld = withheld || coord_slot_dead(c, i);
        if (rc == BECK_BUSY) continue;
        if (rc < 0) return rc;
        if (atomic_load(&s->intent) != 0) { /* [S2] */
            if ((rc = os_unlock(c->file, LOCK_SLOT0 + i)) < 0) return rc;
            continue;
        }
        for (uint32_t p = 0; p < PINS_PER_SLOT; p++) atomic_store(&s->pins[p], 0);
        uint32_t generation = atomic_fetch_add(&s->generation, 1) + 1;
        c->slot = i;
        c->self = (uint64_t)generation << 32 | (i + 1);
        c->joined = atomic_fetch_add(&h->joins, 1) + 1;
        c->slot_held = true;
        atomic_store(&s->joined, c->joined);
        introduce(c, s);
        if (atomic_load(&h->slots) < i + 1) atomic_store(&h->slots, i + 1);
        return 0;
    }
    if (withheld)
        return err_set(BECK_BUSY, "a process that may only read the file keeps its locks: 'lslocks'"
                                  " tells which");
    return err_set(BECK_LIMIT,
                   "%u handles have the file open, which is all there can be: close some ('beck "
                   "ps' lists them)",
                   SLOTS_MAX);
}

void coord_release_slot(struct coord *c)
{
    if (!c->slot_held) return;
    struct slot *s = coord_slot(c, c->slot);
    for (uint32_t p = 0; p < PINS_PER_SLOT; p++) atomic_store(&s->pins[p], 0);
    atomic_store(&s->process, 0);
    atomic_store(&s->doing, 0);
    c->slot_held = false;
    (void)os_unlock(c->file, LOCK_SLOT0 + c->slot);
}

bool coord_slot_dead(const struct coord *c, uint32_t index)
{
    bool locked = true;
    if (c->slot_held && index == c->slot) return false;
    if (os_locked_by_other(c->file, LOCK_SLOT0 + index, 1, &locked) < 0) return false;
    return !locked;
}

bool coord_owner_dead(const struct coord *c, uint64_t word)
{
    uint32_t slot = (uint32_t)(word & 0xffff) - 1;
    uint32_t generation = (uint32_t)(word >> 32);
    if (slot >= SLOTS_MAX) return true; /* no handle ever wrote this */
    if (c->slot_held && (word & ~WORD_CONTENDED) == c->self) return false;
    if (atomic_load(&coord_slot(c, slot)->generation) != generation) return true; /* [S1] */
    return coord_slot_dead(c, slot);
}

/* ---- Lock words ---- */

static _Atomic uint64_t *cell_word(const struct cell_ref *cell, enum lock_word which)
{
    return which == WORD_LOCK ? &cell->rw->lock : &cell->rw->sync_lock;
}

/* The half of a 64-bit word that a futex looks at. */
static const _Atomic uint32_t *low_half(const _Atomic uint64_t *word)
{
    const _Atomic uint32_t *half = (const _Atomic uint32_t *)(const void *)word;
    return half + (__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? 0 : 1);
}

static bool swap_word(_Atomic uint64_t *word, uint64_t from, uint64_t to)
{
    return atomic_compare_exchange_strong_explicit(word, &from, to, memory_order_acquire,
                                                   memory_order_relaxed);
}

static void pause_briefly(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

static enum lock_result coord_lock_slow(const struct coord *c, const struct cell_ref *cell,
                                        enum lock_word which, enum lock_policy policy)
{
    _Atomic uint64_t *word = cell_word(cell, which);
    const _Atomic uint64_t *ro = which == WORD_LOCK ? &cell->ro->lock : &cell->ro->sync_lock;
    for (unsigned i = 0; i < SPINS && policy != LOCK_TRY; i++) {
        if (atomic_load_explicit(word, memory_order_relaxed) == 0 && swap_word(word, 0, c->self))
            return LOCK_TAKEN;
        pause_briefly();
    }
    for (;;) {
        uint64_t w = atomic_load(word);
        /* Others may be asleep too: whoever had to wait takes the lock as contended. */
        uint64_t mine = policy == LOCK_TRY ? c->self : c->self | WORD_CONTENDED;
        if (w == 0 && swap_word(word, 0, mine)) return LOCK_TAKEN;
        if (w == 0) continue;
        if (coord_owner_dead(c, w)) {
            if (policy == LOCK_REPORT_DEAD) return LOCK_DEAD;
            /* [L1] */
            if (swap_word(word, w, c->self | (w & WORD_CONTENDED))) return LOCK_FROM_DEAD;
            continue;
        }
        if (policy == LOCK_TRY) return LOCK_HELD;
        if (!(w & WORD_CONTENDED) && !swap_word(word, w, w | WORD_CONTENDED)) continue;
        coord_begin(c, DOING_LOCK, cell->ro);
        /* [L3]: only to look again */
        os_wait(low_half(ro), (uint32_t)(w | WORD_CONTENDED), LOOK_MS);
        coord_end(c, DOING_LOCK, cell->ro);
    }
}

enum lock_result coord_lock(const struct coord *c, const struct cell_ref *cell,
                            enum lock_word which, enum lock_policy policy)
{
    ASSERT(c->slot_held);
    if (LIKELY(swap_word(cell_word(cell, which), 0, c->self))) return LOCK_TAKEN;
    return coord_lock_slow(c, cell, which, policy);
}

void coord_unlock(const struct coord *c, const struct cell_ref *cell, enum lock_word which)
{
    _Atomic uint64_t *word = cell_word(cell, which);
    uint64_t w = atomic_exchange_explicit(word, 0, memory_order_release);
    ASSERT((w & ~WORD_CONTENDED) == c->self || w == 0); /* 0: somebody cut the file */
    (void)c;
    if (UNLIKELY(w & WORD_CONTENDED)) os_wake((_Atomic uint32_t *)(uintptr_t)low_half(word), 1);
}

void coord_unlock_broken(const struct coord *c, const struct cell_ref *cell, enum lock_word which)
{
    _Atomic uint64_t *word = cell_word(cell, which);
    (void)c;
    atomic_exchange_explicit(word, WORD_NOBODY | WORD_CONTENDED, memory_order_release);
    os_wake((_Atomic uint32_t *)(uintptr_t)low_half(word), 1);
}

/* ---- Cells ---- */

struct cell_ref coord_catalog_cell(const struct coord *c)
{
    struct cell_ref ref = {NULL,
                           (const struct cell *)(const void *)(c->ro.data + COORD_CATALOG_AT)};
    if (c->rw.data != NULL) ref.rw = (struct cell *)(void *)(c->rw.data + COORD_CATALOG_AT);
    return ref;
}

static const _Atomic uint32_t *coord_directory(const struct coord *c)
{
    return (const _Atomic uint32_t *)(const void *)(c->ro.data + COORD_DIRECTORY_AT);
}

uint32_t coord_extent_block(const struct coord *c, uint32_t index)
{
    if (index >= EXTENTS_MAX) return 0;
    if (index >= atomic_load_explicit(&coord_header_ro(c)->extents, memory_order_acquire)) return 0;
    return atomic_load_explicit(&coord_directory(c)[index], memory_order_relaxed);
}

static int map_to_store(const struct coord *c, uint64_t at, uint64_t bytes, struct os_map *map)
{
    int rc = os_map(c->file, at, bytes, true, map);
    if (rc < 0 || !c->may_be_shared) return rc;
    rc = os_populate(map, 0, bytes);
    if (rc < 0) os_unmap(map);
    return rc;
}

int coord_cell(struct coord *c, uint32_t index, struct cell_ref *cell)
{
    uint32_t extent = index / EXTENT_CELLS;
    uint64_t within = (uint64_t)(index % EXTENT_CELLS) * sizeof(struct cell);
    uint32_t block = coord_extent_block(c, extent);
    if (block < HEAP_BLOCK)
        return err_set(BECK_CORRUPT, "coordination area: no extent for cell %u", index);

    uint64_t at = (uint64_t)block * BLOCK_BYTES;
    uint64_t bytes = EXTENT_BLOCKS * BLOCK_BYTES;
    int rc = 0;
    pthread_mutex_lock(&c->extents_mutex);
    struct os_map *rw = &c->extents->rw[extent], *ro = &c->extents->ro[extent];
    if (c->extents->end <= extent) c->extents->end = extent + 1;
    if (ro->base == NULL) rc = os_map(c->file, at, bytes, false, ro);
    if (rc == 0 && rw->base == NULL && !c->file->readonly) rc = map_to_store(c, at, bytes, rw);
    pthread_mutex_unlock(&c->extents_mutex);
    if (rc < 0) return rc;
    cell->ro = (const struct cell *)(const void *)(ro->data + within);
    cell->rw = rw->data == NULL ? NULL : (struct cell *)(void *)(rw->data + within);
    return 0;
}

int coord_copy_cell(const struct coord *c, uint32_t index, struct cell *to)
{
    struct cell copy;
    uint64_t within = (uint64_t)(index % EXTENT_CELLS) * sizeof copy;
    uint32_t block = coord_extent_block(c, index / EXTENT_CELLS);
    memset(&copy, 0, sizeof copy);
    if (block < HEAP_BLOCK)
        return err_set(BECK_CORRUPT, "coordination area: no extent for cell %u", index);
    int rc = os_read(c->file, &copy, sizeof copy, (uint64_t)block * BLOCK_BYTES + within);
    if (rc < 0) return rc;
    /* One word at a time: other threads of this handle may be looking at the copy. */
    atomic_store(&to->topic, atomic_load(&copy.topic));
    atomic_store(&to->partition, atomic_load(&copy.partition));
    atomic_store(&to->state, atomic_load(&copy.state));
    atomic_store(&to->stable, atomic_load(&copy.stable));
    struct tail tail;
    cell_tail_get(&copy, &tail);
    cell_tail_set(to, &tail);
    atomic_store(&to->visible, atomic_load(&copy.visible));
    return 0;
}

uint64_t coord_extents_end(const struct coord *c)
{
    uint32_t count = atomic_load(&coord_header_ro(c)->extents), last = 0;
    for (uint32_t i = 0; i < count && i < EXTENTS_MAX; i++) {
        uint32_t block = coord_extent_block(c, i);
        if (block > last) last = block;
    }
    return last == 0 ? 0 : ((uint64_t)last + EXTENT_BLOCKS) * BLOCK_BYTES;
}

int coord_copy_extent(const struct coord *c, uint32_t extent, struct cell to[EXTENT_CELLS])
{
    uint32_t block = coord_extent_block(c, extent);
    if (block < HEAP_BLOCK) return 0;
    int rc = os_read(c->file, to, EXTENT_CELLS * sizeof *to, (uint64_t)block * BLOCK_BYTES);
    return rc < 0 ? rc : 1;
}

int coord_add_extent(struct coord *c, uint32_t block)
{
    struct coord_header *h = coord_header(c);
    uint32_t n = atomic_load(&h->extents);
    if (n >= EXTENTS_MAX)
        return err_set(
            BECK_LIMIT,
            "the file has as many partitions as it can have: delete topics, or use a second file");
    _Atomic uint32_t *directory = (_Atomic uint32_t *)(void *)(c->rw.data + COORD_DIRECTORY_AT);
    atomic_store_explicit(&directory[n], block, memory_order_relaxed);
    atomic_store_explicit(&h->extents, n + 1, memory_order_release);
    return 0;
}

void coord_note_suspects(const struct coord *c)
{
    atomic_store(&coord_header(c)->suspects, 1);
}

void coord_note_written(const struct coord *c, uint32_t block)
{
    _Atomic uint32_t *mark = &coord_header(c)->written_blocks;
    /* a lost race only costs some zeros */
    if (atomic_load(mark) < block) atomic_store(mark, block);
}

bool coord_was_written(const struct coord *c, uint32_t block)
{
    return block <= atomic_load(&coord_header(c)->written_blocks);
}

/* Field by field, as they were stored: a wider load over fresh stores has to wait for them. */
static void copy_tail(const struct tail *from, struct tail *to)
{
    to->segment = __atomic_load_n(&from->segment, __ATOMIC_RELAXED);
    to->next = __atomic_load_n(&from->next, __ATOMIC_RELAXED);
    to->max_timestamp = __atomic_load_n(&from->max_timestamp, __ATOMIC_RELAXED);
    to->position = __atomic_load_n(&from->position, __ATOMIC_RELAXED);
    to->chain = __atomic_load_n(&from->chain, __ATOMIC_RELAXED);
    to->zeroed = __atomic_load_n(&from->zeroed, __ATOMIC_RELAXED);
    to->reserved = 0;
}

/* Only the copy the flip does not point to is ever written, so a copy read between two equal flips
 * is whole: nobody began to write it in between. */
void cell_tail_snapshot(const struct cell *cell, struct tail *tail)
{
    uint32_t before, after;
    do {
        before = atomic_load_explicit(&cell->flip, memory_order_acquire);
        copy_tail(&cell->tail[before & 1], tail);
        atomic_thread_fence(memory_order_acquire);
        after = atomic_load_explicit(&cell->flip, memory_order_relaxed);
    } while (before != after);
}

void cell_tail_get(const struct cell *cell, struct tail *tail)
{
    copy_tail(&cell->tail[atomic_load_explicit(&cell->flip, memory_order_relaxed) & 1], tail);
}

void cell_tail_set(struct cell *cell, const struct tail *tail)
{
    uint32_t flip = atomic_load_explicit(&cell->flip, memory_order_relaxed) + 1;
    struct tail *to = &cell->tail[flip & 1];
    atomic_thread_fence(
        memory_order_release); /* the flip before is seen before this copy changes */
    __atomic_store_n(&to->segment, tail->segment, __ATOMIC_RELAXED);
    __atomic_store_n(&to->next, tail->next, __ATOMIC_RELAXED);
    __atomic_store_n(&to->max_timestamp, tail->max_timestamp, __ATOMIC_RELAXED);
    __atomic_store_n(&to->position, tail->position, __ATOMIC_RELAXED);
    __atomic_store_n(&to->chain, tail->chain, __ATOMIC_RELAXED);
    __atomic_store_n(&to->zeroed, tail->zeroed, __ATOMIC_RELAXED);
    atomic_store_explicit(&cell->flip, flip, memory_order_release); /* [P1] */
}

void word_raise(_Atomic uint64_t *word, uint64_t to)
{
    uint64_t now = atomic_load(word);
    while (now < to && !atomic_compare_exchange_weak(word, &now, to)) continue;
}

/* ---- Waiting ----
 *
 * What is slept on is not the offset but a bell that changes whenever the flag is taken: a
 * publisher may take the flag for a raise that the waiter has seen already; then the next raise
 * would find no flag, and the offset would still be what the waiter expects. */

void coord_wake_readers(const struct coord *c, struct cell *cell)
{
    /* The caller raised visible by a seq_cst exchange or compare-and-swap: the fence of [W1]. */
    if (LIKELY(atomic_load(&cell->waiters) == 0)) return;
    uint32_t flags = atomic_exchange(&cell->waiters, 0);
    if (flags & WAIT_HERE) {
        atomic_fetch_add(&cell->bell, 1);
        os_wake(&cell->bell, INT32_MAX);
    }
    if (flags & WAIT_HEADER) {
        struct coord_header *h = coord_header(c);
        atomic_fetch_add(&h->bell, 1);
        os_wake(&h->bell, INT32_MAX);
    }
}

void coord_wake_writers(struct cell *cell)
{
    atomic_thread_fence(memory_order_seq_cst); /* behind giving the sync word back */
    if (atomic_load(&cell->stable_waiters) == 0) return;
    if (atomic_exchange(&cell->stable_waiters, 0) == 0) return;
    atomic_fetch_add(&cell->stable_bell, 1);
    os_wake(&cell->stable_bell, INT32_MAX);
}

/* Set the flag of every cell, fence, and tell whether all still show what was seen. [W1] */
static bool still_as_seen(const struct reader_wait *w, uint32_t flag)
{
    for (size_t i = 0; i < w->count; i++)
        if (w->cells[i].rw != NULL) atomic_fetch_or(&w->cells[i].rw->waiters, flag);
    atomic_thread_fence(memory_order_seq_cst);
    for (size_t i = 0; i < w->count; i++)
        if (atomic_load(&w->cells[i].ro->visible) != w->seen[i] ||
            atomic_load(&w->cells[i].ro->state) != CELL_LIVE)
            return false;
    return atomic_load(w->stop) == 0;
}

static bool sleep_on_bells(const struct coord *c, const struct reader_wait *w, uint32_t timeout_ms)
{
    struct os_wait_item items[OS_WAITV_MAX];
    bool supported = true;
    if (w->count <= OS_WAITV_MAX) {
        for (size_t i = 0; i < w->count; i++) {
            const _Atomic uint32_t *bell = &w->cells[i].ro->bell;
            items[i] = (struct os_wait_item){bell, atomic_load(bell)};
        }
        if (!still_as_seen(w, WAIT_HERE)) return false;
        if (w->count == 1) return os_wait(items[0].word, items[0].expected, timeout_ms);
        bool interrupted = os_wait_many(items, w->count, timeout_ms, &supported);
        if (supported) return interrupted;
    }
    const struct coord_header *h = coord_header_ro(c);
    uint32_t bell = atomic_load(&h->bell);
    if (!still_as_seen(w, WAIT_HEADER)) return false;
    return os_wait(&h->bell, bell, timeout_ms); /* [W2] */
}

bool coord_wait_readers(const struct coord *c, const struct reader_wait *w, uint32_t timeout_ms)
{
    if (w->count == 0) return os_sleep_ms(timeout_ms);
    uint64_t doing = w->count == 1 ? doing_word(DOING_RECORDS, w->cells[0].ro)
                                   : doing_word(DOING_MANY, NULL) | w->count;
    uint64_t bytes = COORD_AT + COORD_BYTES;
    doing_set(c, doing);
    bool interrupted = sleep_on_bells(c, w, timeout_ms);
    if (w->careful && os_size(c->file, &bytes) < 0) bytes = 0;
    if (bytes >= COORD_AT + COORD_BYTES) doing_unset(c, doing);
    return interrupted;
}

void coord_stop_waiting(const struct coord *c, _Atomic uint32_t *bell)
{
    atomic_fetch_add(bell, 1);
    os_wake(bell, INT32_MAX);
    if (c->rw.data == NULL) return;
    atomic_fetch_add(&coord_header(c)->bell, 1);
    os_wake(&coord_header(c)->bell, INT32_MAX);
}

void coord_wait_stable(const struct coord *c, const struct cell_ref *cell, uint64_t target,
                       uint32_t timeout_ms)
{
    uint32_t bell = atomic_load(&cell->ro->stable_bell);
    atomic_fetch_or(&cell->rw->stable_waiters, 1);
    atomic_thread_fence(memory_order_seq_cst);
    /* Nobody syncing: then nobody will wake us, and it is our turn. */
    if (atomic_load(&cell->ro->stable) >= target || atomic_load(&cell->ro->sync_lock) == 0) return;
    coord_begin(c, DOING_SYNC, cell->ro);
    os_wait(&cell->ro->stable_bell, bell, timeout_ms);
    coord_end(c, DOING_SYNC, cell->ro);
}

/* ---- Syncs ---- */

void coord_sync_begin(struct coord *c)
{
    pthread_mutex_lock(&c->sync_mutex);
    /* alone under the gate: a crash now leaves the file unclean, nothing more */
    if (!c->slot_held) return;
    atomic_store(&coord_slot(c, c->slot)->intent, atomic_load(&coord_header(c)->joins)); /* [Y1] */
}

void coord_sync_end(struct coord *c)
{
    if (c->slot_held) atomic_store(&coord_slot(c, c->slot)->intent, 0);
    pthread_mutex_unlock(&c->sync_mutex);
}

bool coord_may_publish(const struct coord *c)
{
    if (!c->slot_held) return true;
    uint32_t slots = coord_slots(c);
    for (uint32_t i = 0; i < slots; i++) {
        uint64_t intent = atomic_load(&coord_slot(c, i)->intent);
        if (intent != 0 && intent < c->joined) return false; /* [Y3] */
    }
    return true;
}

void coord_settle(struct coord *c)
{
    if (!c->slot_held) return;
    uint32_t slots = coord_slots(c);
    for (uint32_t i = 0; i < slots; i++) {
        struct slot *s = coord_slot(c, i);
        uint64_t intent = atomic_load(&s->intent);
        if (intent == 0 || !coord_slot_dead(c, i)) continue;
        /* The same value again, or somebody settled it and another claimed the slot: values in a
         * slot only rise. */
        if (atomic_load(&s->intent) != intent || c->joined > intent) continue; /* [Y2] */
        coord_sync_begin(c);
        int rc = os_sync(c->file);
        if (rc < 0) coord_poison(c);
        if (rc == 0) (void)atomic_compare_exchange_strong(&s->intent, &intent, 0);
        coord_sync_end(c);
    }
}

void coord_settle_now_and_then(struct coord *c)
{
    int64_t now = os_monotonic_ms();
    if (now - atomic_load(&c->settled_at) < LOOK_MS) return;
    atomic_store(&c->settled_at, now);
    coord_settle(c);
}

void coord_poison(const struct coord *c)
{
    atomic_store(&coord_header(c)->poison, 1); /* [Y4] */
}

void coord_sync_ended(const struct coord *c, int rc)
{
    if (rc == BECK_POISONED) coord_poison(c);
}

int coord_write_stable(struct coord *c, const void *data, size_t bytes, uint64_t at)
{
    coord_sync_begin(c);
    int rc = os_write_stable(c->file, data, bytes, at);
    coord_sync_ended(c, rc);
    if (rc == 0) rc = coord_check_poison(c); /* [Y4] */
    coord_sync_end(c);
    return rc;
}

int coord_check_poison(const struct coord *c)
{
    if (LIKELY(atomic_load(&coord_header_ro(c)->poison) == 0)) return 0;
    return err_set(BECK_POISONED,
                   "a sync of the file failed: close every handle on it and open it again");
}

/* ---- Pins ---- */

void coord_pin(const struct coord *c, uint32_t pin, uint64_t segment)
{
    atomic_store(&coord_slot(c, c->slot)->pins[pin], segment);
    atomic_thread_fence(memory_order_seq_cst); /* [R1] */
}

void coord_unpin(const struct coord *c, uint32_t pin)
{
    atomic_store_explicit(&coord_slot(c, c->slot)->pins[pin], 0, memory_order_release);
}

bool coord_pinned(const struct coord *c, uint64_t segment)
{
    uint32_t slots = coord_slots(c);
    atomic_thread_fence(memory_order_seq_cst); /* [R2] */
    for (uint32_t i = 0; i < slots; i++)
        for (uint32_t p = 0; p < PINS_PER_SLOT; p++)
            if (atomic_load(&coord_slot(c, i)->pins[p]) == segment && !coord_slot_dead(c, i))
                return true;
    return false;
}
