/* handles.c -- who has the file open: what each handle holds, waits for and pins */
/*
 *     slots: alive? who, since when, pins, intent, doing --.
 *     cells: lock words name their owners -----------------+--> claims, sorted by slot
 *     picture: names of topics, ranges of segments --------'
 *
 * A look from outside, for people: no lock is taken, nothing is written, and everything may move
 * while it is read. Each word is loaded once and checked; the list is true of each of them at some
 * moment, of all together at none. So a lock may be shown that was given back meanwhile. Whatever
 * bytes lie in the area, the list is bounded, and made of names and ranges that the picture knows.
 *
 *  [H1] whoever is alive is listed; a dead handle only while something of it waits to be settled:
 *       a lock, or a sync nobody saw the end of
 *
 * A lock whose owner is dead and has no slot any more stands under slot -1. */
#include "handles.h"

#include <stdlib.h>
#include <string.h>

#include "err.h"

#define NOBODY SLOTS_MAX /* the line of claims whose owner has no slot any more */
#define CLAIMS_MAX 16384u
#define OPEN_ENDS_MAX 64u
#define PROCESS_MAX (1u << 22) /* Linux' own limit */

enum life { LIFE_NONE, LIFE_ALIVE, LIFE_DEAD };

struct row { /* a claim before its place in the list is known */
    beck_claim claim;
    size_t name; /* in names, plus 1; 0 = none */
    uint32_t owner;
};

struct look {
    const struct coord *c;
    const struct picture *picture;
    struct row *rows;
    size_t count;
    size_t capacity;
    struct buf names;
    uint8_t life[SLOTS_MAX + 1]; /* enum life */
    uint32_t generation[SLOTS_MAX];
    uint32_t claims[SLOTS_MAX + 1];
    size_t open_ends[OPEN_ENDS_MAX]; /* pins of segments whose end only their cell knows */
    size_t open_count;
};

/* ---- Collecting ---- */

static int look_add(struct look *l, uint32_t owner, const beck_claim *claim, const char *name)
{
    if (l->count >= CLAIMS_MAX) return 0;
    int rc = buf_grow_array((void **)&l->rows, l->count, &l->capacity, sizeof *l->rows);
    if (rc < 0) return rc;
    struct row *row = &l->rows[l->count];
    *row = (struct row){.claim = *claim, .owner = owner};
    if (name != NULL) {
        row->name = l->names.size + 1;
        if ((rc = buf_append(&l->names, name, strlen(name) + 1)) < 0) return rc;
    }
    l->count++;
    l->claims[owner]++;
    return 0;
}

static beck_claim claim_of(enum beck_claim_type type)
{
    return (beck_claim){.type = (int32_t)type, .partition = -1, .from = -1, .to = -1, .holder = -1};
}

/* A claim on a partition. One that was deleted keeps its space until the claim is given up. */
static int add_on_partition(struct look *l, uint32_t owner, enum beck_claim_type type,
                            uint64_t topic, uint32_t partition)
{
    beck_claim claim = claim_of(type);
    const struct topic_picture *t = picture_topic_by_id(l->picture, topic);
    const struct retired *r = t == NULL ? picture_retired_topic(l->picture, topic) : NULL;
    const char *name = t != NULL ? t->name : r != NULL ? r->name : NULL;
    if (partition >= BECK_PARTITIONS_MAX) return 0;
    claim.topic_id = topic;
    claim.partition = (int32_t)partition;
    for (size_t i = 0; r != NULL && type == BECK_CLAIM_LOCK && i < l->picture->retired_count; i++)
        if (l->picture->retired[i].topic == topic)
            claim.bytes += place_bytes(&l->picture->retired[i].place);
    return look_add(l, owner, &claim, name);
}

static int add_pin(struct look *l, uint32_t owner, uint64_t segment)
{
    beck_claim claim = claim_of(BECK_CLAIM_PIN);
    const struct segment_owner *o = picture_owner(l->picture, segment);
    const struct retired *r = o == NULL ? picture_retired(l->picture, segment) : NULL;
    const char *name = NULL;
    claim.segment = segment;
    if (o != NULL) {
        const struct segment *s = partition_segment(&o->topic->parts[o->partition], segment);
        claim.topic_id = o->topic->id;
        claim.partition = (int32_t)o->partition;
        claim.from = (int64_t)s->base;
        claim.to = s->sealed ? (int64_t)s->next : -1;
        name = o->topic->name;
    } else if (r != NULL) {
        claim.topic_id = r->topic;
        claim.partition = (int32_t)r->partition;
        claim.from = (int64_t)r->base;
        claim.to = r->next > r->base ? (int64_t)r->next : -1;
        claim.bytes = place_bytes(&r->place);
        name = r->name;
    }
    if (name != NULL && claim.to < 0 && l->open_count < OPEN_ENDS_MAX && l->count < CLAIMS_MAX)
        l->open_ends[l->open_count++] = l->count;
    return look_add(l, owner, &claim, name);
}

static int add_doing(struct look *l, uint32_t owner, uint64_t word)
{
    uint64_t topic = word & ((UINT64_C(1) << DOING_PARTITION_SHIFT) - 1);
    uint32_t partition = (uint16_t)(word >> DOING_PARTITION_SHIFT);
    beck_claim claim = claim_of(BECK_CLAIM_WAIT_RECORDS);
    switch (word >> DOING_SHIFT) {
    case DOING_OPEN: claim.type = BECK_CLAIM_OPENING; break;
    case DOING_CLOSE: claim.type = BECK_CLAIM_CLOSING; break;
    case DOING_MANY: claim.partitions = (uint32_t)min_u64(topic, PARTITIONS_TOTAL_MAX); break;
    case DOING_LOCK:
        if (topic != TOPIC_CATALOG)
            return add_on_partition(l, owner, BECK_CLAIM_WAIT_LOCK, topic, partition);
        claim.type = BECK_CLAIM_WAIT_CATALOG;
        break;
    case DOING_SYNC: return add_on_partition(l, owner, BECK_CLAIM_WAIT_SYNC, topic, partition);
    case DOING_RECORDS:
        return add_on_partition(l, owner, BECK_CLAIM_WAIT_RECORDS, topic, partition);
    default: return 0;
    }
    return look_add(l, owner, &claim, NULL);
}

static int look_at_slot(struct look *l, uint32_t index)
{
    struct slot *s = coord_slot(l->c, index);
    int rc = 0;
    l->generation[index] = atomic_load(&s->generation);
    if (!coord_slot_dead(l->c, index))
        l->life[index] = LIFE_ALIVE;
    else if (atomic_load(&s->generation) != 0)
        l->life[index] = LIFE_DEAD;
    if (atomic_load(&s->intent) != 0) {
        beck_claim claim = claim_of(BECK_CLAIM_SYNC);
        rc = look_add(l, index, &claim, NULL);
    }
    if (rc < 0 || l->life[index] != LIFE_ALIVE) return rc;
    for (uint32_t p = 0; rc == 0 && p < PINS_PER_SLOT; p++) {
        uint64_t segment = atomic_load(&s->pins[p]);
        if (segment != 0) rc = add_pin(l, index, segment);
    }
    return rc < 0 ? rc : add_doing(l, index, atomic_load(&s->doing));
}

/* ---- Lock words ---- */

static uint32_t owner_of(const struct look *l, uint64_t word)
{
    uint32_t slot = (uint32_t)(word & 0xffff) - 1;
    bool listed = slot < SLOTS_MAX && l->life[slot] != LIFE_NONE;
    return listed && l->generation[slot] == (uint32_t)(word >> 32) ? slot : NOBODY;
}

static int look_at_catalog(struct look *l)
{
    const struct cell *cell = coord_catalog_cell(l->c).ro;
    beck_claim claim = claim_of(BECK_CLAIM_CATALOG);
    uint64_t word = atomic_load(&cell->lock);
    return word == 0 ? 0 : look_add(l, owner_of(l, word), &claim, NULL);
}

static void end_pins(struct look *l, const struct cell *cell)
{
    uint64_t topic = atomic_load(&cell->topic), visible = atomic_load(&cell->visible);
    uint32_t partition = atomic_load(&cell->partition);
    for (size_t i = 0; i < l->open_count; i++) {
        beck_claim *claim = &l->rows[l->open_ends[i]].claim;
        bool same = claim->topic_id == topic && claim->partition == (int32_t)partition;
        if (same && visible <= OFFSET_MAX && (int64_t)visible >= claim->from)
            claim->to = (int64_t)visible;
    }
}

static int look_at_cell(struct look *l, const struct cell *cell)
{
    uint64_t topic = atomic_load(&cell->topic), lock = atomic_load(&cell->lock),
             sync = atomic_load(&cell->sync_lock);
    uint32_t partition = atomic_load(&cell->partition), state = atomic_load(&cell->state);
    int rc = 0;
    if (state == CELL_UNUSED || state > CELL_QUIET) return 0;
    end_pins(l, cell);
    if (lock != 0) rc = add_on_partition(l, owner_of(l, lock), BECK_CLAIM_LOCK, topic, partition);
    if (rc == 0 && sync != 0)
        rc = add_on_partition(l, owner_of(l, sync), BECK_CLAIM_LEADER, topic, partition);
    return rc;
}

/* Copied extent by extent: a mapping would outlive the last writer, who takes them away. */
static int look_at_cells(struct look *l)
{
    uint32_t left = atomic_load(&coord_header_ro(l->c)->cells);
    struct cell *cells = malloc(EXTENT_CELLS * sizeof *cells);
    int rc = cells == NULL ? err_set(BECK_NOMEM, "out of memory") : 0;
    for (uint32_t extent = 0; rc == 0 && left > 0 && l->count < CLAIMS_MAX; extent++) {
        uint32_t here = (uint32_t)min_u64(left, EXTENT_CELLS);
        rc = coord_copy_extent(l->c, extent, cells);
        if (rc == 0) break; /* no more of them */
        for (uint32_t i = 0; rc >= 0 && i < here && l->count < CLAIMS_MAX; i++)
            rc = look_at_cell(l, &cells[i]);
        rc = rc < 0 ? rc : 0;
        left -= here;
    }
    free(cells);
    return rc;
}

/* Who has what the others wait for? */
static void find_holders(struct look *l)
{
    for (size_t i = 0; i < l->count; i++) {
        beck_claim *wait = &l->rows[i].claim;
        int32_t wanted = wait->type == BECK_CLAIM_WAIT_LOCK      ? BECK_CLAIM_LOCK
                         : wait->type == BECK_CLAIM_WAIT_CATALOG ? BECK_CLAIM_CATALOG
                         : wait->type == BECK_CLAIM_WAIT_SYNC    ? BECK_CLAIM_LEADER
                                                                 : BECK_CLAIM_NONE;
        for (size_t k = 0; wanted != BECK_CLAIM_NONE && k < l->count; k++) {
            const beck_claim *held = &l->rows[k].claim;
            if (held->type != wanted || held->topic_id != wait->topic_id ||
                held->partition != wait->partition || l->rows[k].owner == NOBODY)
                continue;
            wait->holder = (int32_t)l->rows[k].owner;
            break;
        }
    }
}

static int look_at_all(struct look *l)
{
    uint32_t slots = coord_slots(l->c);
    int rc = 0;
    for (uint32_t i = 0; rc == 0 && i < slots; i++) rc = look_at_slot(l, i);
    if (rc == 0) rc = look_at_catalog(l);
    if (rc == 0) rc = look_at_cells(l);
    find_holders(l);
    return rc;
}

/* ---- The list ---- */

static struct os_kept kept_handles = OS_KEPT;

static bool is_listed(const struct look *l, uint32_t owner) /* [H1] */
{
    return l->life[owner] == LIFE_ALIVE || l->claims[owner] > 0;
}

#define PROGRAM_BYTES (sizeof((struct slot *)0)->program)

/* What a slot says of its handle is believed as far as it can be true. */
static void describe(const struct look *l, uint32_t index, beck_handle_info *info, char *program)
{
    *info = (beck_handle_info){.slot = -1, .state = BECK_HANDLE_DEAD, .program = program};
    if (index == NOBODY) return;
    const struct slot *s = coord_slot(l->c, index);
    uint64_t words[] = {atomic_load(&s->program[0]), atomic_load(&s->program[1])};
    uint32_t process = atomic_load(&s->process), where = atomic_load(&s->namespace);
    uint32_t here = os_process_namespace();
    int64_t opened_at = atomic_load(&s->opened_at);
    memcpy(program, words, sizeof words);
    for (size_t i = 0; i < sizeof words; i++)
        if (program[i] != 0 && (program[i] < 0x20 || program[i] > 0x7e)) program[i] = '?';
    info->slot = (int32_t)index;
    info->own = l->c->slot_held && l->c->slot == index;
    info->process = process <= PROCESS_MAX ? process : 0;
    info->other_namespace = where != 0 && here != 0 && where != here;
    info->opened_at = opened_at > 0 && opened_at <= os_now_ms() ? opened_at : 0;
    if (l->life[index] != LIFE_ALIVE) return;
    bool stopped =
        where != 0 && where == here && info->process != 0 && os_process_stopped(info->process);
    info->state = stopped ? BECK_HANDLE_STOPPED : BECK_HANDLE_ALIVE;
}

/* One block of memory: pointers, infos, claims, programs, names. */
static int look_publish(struct look *l, const beck_handle_info *const **list, size_t *count)
{
    size_t handles = 0, at = 0;
    for (uint32_t i = 0; i <= NOBODY; i++) handles += is_listed(l, i);
    size_t bytes = handles * (sizeof(void *) + sizeof(beck_handle_info) + PROGRAM_BYTES + 1) +
                   l->count * sizeof(beck_claim) + l->names.size + sizeof(void *);
    const beck_handle_info **pointers = calloc(1, bytes);
    if (pointers == NULL) return err_set(BECK_NOMEM, "out of memory");
    beck_handle_info *infos = (beck_handle_info *)(void *)(pointers + handles);
    beck_claim *claims = (beck_claim *)(void *)(infos + handles);
    char *programs = (char *)(claims + l->count);
    char *names = programs + handles * (PROGRAM_BYTES + 1);
    beck_claim *next[SLOTS_MAX + 1];
    if (l->names.size > 0) memcpy(names, l->names.data, l->names.size);
    for (uint32_t i = 0; i <= NOBODY; i++) {
        if (!is_listed(l, i)) continue;
        describe(l, i, &infos[at], programs + at * (PROGRAM_BYTES + 1));
        infos[at].claims = next[i] = claims;
        infos[at].claim_count = l->claims[i];
        claims += l->claims[i];
        pointers[at] = &infos[at];
        at++;
    }
    for (size_t i = 0; i < l->count; i++) {
        const struct row *row = &l->rows[i];
        beck_claim *claim = next[row->owner]++;
        *claim = row->claim;
        claim->topic = row->name == 0 ? NULL : names + row->name - 1;
    }
    *list = pointers;
    *count = handles;
    return os_keep(&kept_handles, pointers);
}

/* Nothing of this build is there: is somebody with another one? Zeros are what the last one to
 * close leaves, a moment before it is gone. */
static int look_elsewhere(const struct coord *c)
{
    bool locked = false;
    if (atomic_load(&coord_header_ro(c)->magic) == 0) return 0;
    int rc = os_locked_by_other(c->file, LOCK_SLOT0, SLOTS_MAX, &locked);
    if (rc < 0 || !locked) return rc;
    return err_set(BECK_BUSY, "the file is in use by an incompatible build of beck");
}

int handles_list(struct catalog *cat, const struct coord *c, const beck_handle_info *const **list,
                 size_t *count)
{
    struct look *l = calloc(1, sizeof *l);
    if (l == NULL) return err_set(BECK_NOMEM, "out of memory");
    l->c = c;
    l->picture = &cat->picture;
    pthread_mutex_lock(&cat->mutex);
    int rc = coord_recognised(c) ? look_at_all(l) : look_elsewhere(c);
    pthread_mutex_unlock(&cat->mutex);
    if (rc == 0) rc = look_publish(l, list, count);
    free(l->rows);
    buf_free(&l->names);
    free(l);
    return rc;
}
