/* partition.c -- append, roll, group commit and take-over of one partition */
/*
 *     lock -> frame behind the tail -> new tail -> written, visible (os) -> unlock -> wake
 *                                                     `-> sync as a group -> stable, visible (sync)
 *
 *  [P1] the tail the flip points to is whole at every instruction; a take-over starts there and
 *       adopts every intact frame behind it
 *  [P2] what is visible is intact, and in a `sync` topic stable; `visible` only rises
 *  [P3] `stable` is a prefix: it is raised to S after all bytes in [stable, S) were synced
 *       without error
 *  [P4] the bytes of a segment are written under its partition's lock only
 *  [L2] who takes the lock from the dead repairs first
 *  [L4] a dead partition lock is taken over under the catalog's lock only
 *
 * What a death leaves: in the middle of a frame, bytes behind the tail that no check believes;
 * between frame and tail, an intact frame that the next owner adopts; between tail and visible, a
 * tail ahead of visible, which repair evens out; in a roll, a catalog ahead of the tail, which
 * repair follows. */
#include "partition.h"

#include <stdlib.h>
#include <string.h>

#include "err.h"
#include "index.h"
#include "retire.h"

#define REPAIR_BYTES (256u * 1024u)
#define WRITTEN_BATCH_BYTES (32u * 1024u)

void live_config_set(struct live_config *live, const beck_topic_config *config)
{
    atomic_store(&live->partitions, config->partitions);
    atomic_store(&live->sync, config->sync);
    atomic_store(&live->max_message_bytes, config->max_message_bytes);
    atomic_store(&live->segment_bytes, config->segment_bytes);
    atomic_store(&live->flush_ms, config->flush_ms);
    atomic_store(&live->compression, config->compression);
}

int partition_open(struct partition *p, struct catalog *cat, uint64_t topic, uint32_t index,
                   const char *topic_name, const struct live_config *config)
{
    memset(p, 0, sizeof *p);
    p->cat = cat;
    p->topic = topic;
    p->index = index;
    p->topic_name = topic_name;
    p->config = config;
    return catalog_cell(cat, topic, index, &p->cell);
}

void partition_close(struct partition *p)
{
    os_unmap(&p->map);
    os_unmap(&p->sync_map);
}

void partition_reset_cell(struct cell *cell, uint64_t topic, uint32_t index,
                          const struct tail *tail, uint64_t stable, uint64_t suspect)
{
    ASSERT(stable <= tail->next);
    memset(cell, 0, sizeof *cell);
    cell->tail[0] = cell->tail[1] = *tail;
    atomic_store(&cell->topic, topic);
    atomic_store(&cell->partition, index);
    atomic_store(&cell->written, tail->next);
    atomic_store(&cell->stable, stable);
    cell->suspect = suspect;
    atomic_store(&cell->visible, tail->next);
    atomic_store_explicit(&cell->state, CELL_LIVE, memory_order_release);
}

static int partition_gone(const struct partition *p)
{
    return err_set(BECK_DELETED, "topic %s was deleted", p->topic_name);
}

static bool writes_mapped(const struct partition *p)
{
    return p->config->sync == BECK_SYNC_OS && p->cat->file->fs.mapped_writes;
}

/* ---- The active segment ---- */

/* A segment of this partition, from the picture, which may have to catch up first. */
static int find_segment(struct partition *p, uint64_t id, struct segment *found)
{
    bool have = false;
    for (int tries = 0; !have && tries < 2; tries++) {
        pthread_mutex_lock(&p->cat->mutex);
        struct partition_picture *part = picture_partition(&p->cat->picture, p->topic, p->index);
        struct segment *s = part == NULL ? NULL : partition_segment(part, id);
        if ((have = s != NULL)) *found = *s;
        pthread_mutex_unlock(&p->cat->mutex);
        int rc = have ? 0 : catalog_refresh(p->cat);
        if (rc < 0) return rc;
    }
    if (have) return 0;
    /* Deleted, and the cell perhaps not marked yet. */
    if (catalog_topic_gone(p->cat, p->topic)) return partition_gone(p);
    return err_set(BECK_CORRUPT, "topic %s:%u: segment %llu is not in the catalog", p->topic_name,
                   p->index, (unsigned long long)id);
}

/* Make p->place the segment with this id. Holds: lock. */
static int use_segment(struct partition *p, uint64_t id)
{
    struct segment found;
    if (p->place.id == id && (p->map.data != NULL) == writes_mapped(p)) return 0;
    int rc = find_segment(p, id, &found);
    if (rc < 0) return rc;
    os_unmap(&p->map);
    p->place = found.place;
    p->base = found.base;
    p->populated = 0;
    p->limit = (uint32_t)(place_bytes(&p->place) - index_reserve(place_bytes(&p->place)));
    if (!writes_mapped(p)) return 0;
    return os_map(&p->cat->file->os, place_at(&p->place), place_bytes(&p->place), true, &p->map);
}

/* Zero in front of the tail, so that the device has written blocks to sync and a store finds its
 * page. */
static int zero_ahead(struct partition *p, struct tail *tail, uint64_t need)
{
    uint64_t from = max_u64(tail->zeroed, tail->position);
    uint64_t to = min_u64(max_u64(from + AHEAD_BYTES, need), place_bytes(&p->place));
    if (from >= to) return 0;
    int rc = file_zero(p->cat->file, place_at(&p->place) + from, to - from);
    if (rc < 0) return rc;
    if (!writes_mapped(p)) os_writeback(&p->cat->file->os, place_at(&p->place) + from, to - from);
    tail->zeroed = (uint32_t)to;
    return 0;
}

/* ---- Take-over ---- */

/* Adopt intact frames behind the tail. Holds: lock (from the dead), catalog. */
static int adopt_frames(struct partition *p, struct tail *tail)
{
    struct log_position at = {tail->position, tail->chain, tail->next, true};
    struct log_frame found;
    uint64_t want = REPAIR_BYTES, bytes = 0;
    struct buf window = {0};
    int rc = 0;
    while (at.position < p->limit && want > bytes) {
        bytes = min_u64(want, p->limit - at.position);
        want = 0;
        if ((rc = buf_reserve(&window, (size_t)bytes)) < 0) break;
        if ((rc = file_read_segment(p->cat->file, &p->place, at.position, window.data,
                                    (size_t)bytes)) < 0)
            break;
        uint32_t from = at.position;
        while (log_frame_at(&p->place, &at, window.data + (at.position - from),
                            bytes - (at.position - from), true, &found, &want) == 1) {
            if (found.batch.max_timestamp > tail->max_timestamp)
                tail->max_timestamp = found.batch.max_timestamp;
            log_advance(&at, &found);
            if (at.position - from > bytes) break;
        }
        /* it moved: look behind once more */
        if (at.position != from) want = REPAIR_BYTES, bytes = 0;
    }
    buf_free(&window);
    tail->position = at.position;
    tail->chain = at.chain;
    tail->next = at.next;
    tail->zeroed = at.position;
    return rc;
}

/* The lock was a dead owner's: make tail, written and visible agree with what it left. [L2] [P1] */
static int partition_repair(struct partition *p)
{
    struct cell *cell = p->cell.rw;
    struct tail tail;
    struct segment active = {0};
    int64_t max_timestamp = -1;
    cell_tail_get(cell, &tail);
    pthread_mutex_lock(&p->cat->mutex);
    int rc = catalog_known(p->cat);
    struct partition_picture *part = picture_partition(&p->cat->picture, p->topic, p->index);
    struct segment *s = part == NULL ? NULL : partition_active(part);
    if (s != NULL) active = *s;
    if (part != NULL) max_timestamp = part->max_timestamp;
    pthread_mutex_unlock(&p->cat->mutex);

    if (rc < 0) return rc;
    if (part == NULL) {
        atomic_store_explicit(&cell->state, CELL_DELETED, memory_order_release);
        return 0; /* the caller looks at the state next */
    }
    if (active.place.id != tail.segment) /* it died in a roll, behind the catalog's batch */
        tail = (struct tail){.segment = active.place.id,
                             .next = max_u64(tail.next, active.base),
                             .max_timestamp = max_timestamp,
                             .position = SEGMENT_HEADER_BYTES,
                             .zeroed = SEGMENT_HEADER_BYTES};
    if (tail.segment != 0) rc = use_segment(p, tail.segment);
    if (rc == 0 && tail.segment != 0) rc = adopt_frames(p, &tail);
    if (rc == 0 && tail.next < atomic_load(&cell->visible))
        rc = err_set(BECK_CORRUPT, "segment %llu lacks what was read of it: was the file cut?",
                     (unsigned long long)tail.segment);
    if (rc < 0) return rc;
    cell_tail_set(cell, &tail);
    atomic_store_explicit(&cell->written, tail.next, memory_order_release);
    if (p->config->sync == BECK_SYNC_OS) word_raise(&cell->visible, tail.next); /* [P2] */
    coord_wake_readers(p->cat->coord, cell);
    return 0;
}

/* Holds: catalog. Take the partition lock, repaired if need be; never waits for it, because a
 * stopped owner would then hold up the whole file: TRY_HELD. */
#define TRY_HELD 1
static int try_with_catalog(struct partition *p)
{
    enum lock_result r = coord_lock(p->cat->coord, &p->cell, WORD_LOCK, LOCK_TRY);
    if (r == LOCK_HELD) return TRY_HELD;
    int rc = r == LOCK_FROM_DEAD ? partition_repair(p) : 0;
    if (rc < 0) coord_unlock_broken(p->cat->coord, &p->cell, WORD_LOCK);
    return rc;
}

static int partition_lock(struct partition *p)
{
    for (;;) {
        enum lock_result r = coord_lock(p->cat->coord, &p->cell, WORD_LOCK, LOCK_REPORT_DEAD);
        if (LIKELY(r == LOCK_TAKEN)) return 0;
        int rc = catalog_lock(p->cat); /* [L4] */
        if (rc < 0) return rc;
        rc = try_with_catalog(p);
        catalog_unlock(p->cat);
        if (rc != TRY_HELD) return rc; /* else somebody was quicker */
    }
}

static void partition_unlock(struct partition *p)
{
    coord_unlock(p->cat->coord, &p->cell, WORD_LOCK);
}

/* ---- Roll ---- */

/* The smallest segment that takes `need` bytes of frames, but no smaller than `bytes`. */
static uint64_t segment_bytes_for(uint64_t need, uint64_t bytes)
{
    while (bytes < need + SEGMENT_HEADER_BYTES + index_reserve(bytes)) bytes += BLOCK_BYTES;
    return align_up(bytes, BLOCK_BYTES);
}

/* Partitions start small and double: 16 KiB, 16, 32, 64 ... up to segment.bytes. */
static uint64_t next_segment_bytes(struct partition *p, uint64_t need)
{
    uint64_t bytes = SEGMENT_BYTES_MIN, held = 0;
    pthread_mutex_lock(&p->cat->mutex);
    struct partition_picture *part = picture_partition(&p->cat->picture, p->topic, p->index);
    for (uint32_t i = 0; part != NULL && i < part->count && held < p->config->segment_bytes; i++)
        held += place_bytes(&part->segments[i].place);
    pthread_mutex_unlock(&p->cat->mutex);
    while (bytes < held) bytes *= 2;
    return segment_bytes_for(need, min_u64(bytes, p->config->segment_bytes));
}

/* Space for the next segment; on a disk that is nearly full a smaller one will do. */
static int make_segment(struct partition *p, uint64_t need, struct entry *add)
{
    uint64_t bytes = next_segment_bytes(p, need);
    for (;;) {
        int rc = catalog_place(p->cat, bytes, &add->place);
        if (rc == 0)
            rc = file_make_segment(p->cat->file, &add->place, p->topic, p->index, add->base_offset);
        uint64_t smaller = segment_bytes_for(need, max_u64(bytes / 2, SEGMENT_BYTES_MIN));
        if (rc == 0) return 0;
        if (rc != BECK_FULL || smaller >= bytes)
            return err_context(rc, "topic %s:%u: no room for another segment", p->topic_name,
                               p->index);
        bytes = smaller;
    }
}

static int sync_now(struct partition *p, bool leader, bool locked);

/* Finish the active segment: stable when the class asks for it, indexed, its SEAL prepared. */
static int seal_entry(struct partition *p, const struct tail *tail, struct entry *seal)
{
    int rc = use_segment(p, tail->segment);
    if (rc == 0 && p->config->sync == BECK_SYNC_SYNC) rc = sync_now(p, false, true);
    if (rc < 0) return rc;
    *seal = (struct entry){.type = ENTRY_SEAL,
                           .place = p->place,
                           .next_offset = tail->next,
                           .stable_offset = min_u64(atomic_load(&p->cell.rw->stable), tail->next),
                           .max_timestamp = tail->max_timestamp,
                           .end = tail->position};
    index_write(p->cat->coord, &p->place, p->base, seal->end, &seal->index_at, &seal->index_bytes);
    uint64_t used = max_u64(seal->end, (uint64_t)seal->index_at + seal->index_bytes);
    seal->place.blocks = (uint32_t)(align_up(used, BLOCK_BYTES) / BLOCK_BYTES);
    coord_note_written(p->cat->coord, p->place.block + seal->place.blocks);
    return 0;
}

/* Holds: catalog and partition lock. Seal the active segment, if any, and go on in a new one. */
static int roll(struct partition *p, uint64_t need)
{
    struct cell *cell = p->cell.rw;
    struct tail tail;
    struct entry entries[2];
    size_t count = 0;
    cell_tail_get(cell, &tail);
    struct entry add = {
        .type = ENTRY_ADD, .topic = p->topic, .partition = p->index, .base_offset = tail.next};
    int rc = make_segment(p, need, &add);
    if (rc == 0 && tail.segment != 0) rc = seal_entry(p, &tail, &entries[count++]);
    entries[count++] = add;
    /* one batch, stable before it is used [C1] */
    if (rc == 0) rc = catalog_append(p->cat, entries, count);
    if (rc < 0) return rc;
    struct tail fresh = {.segment = add.place.id,
                         .next = tail.next,
                         .max_timestamp = tail.max_timestamp,
                         .position = SEGMENT_HEADER_BYTES,
                         .zeroed = SEGMENT_HEADER_BYTES};
    /* Blocks that were in use before need no zeros: guards tell old bytes from new ones. */
    if (coord_was_written(p->cat->coord, add.place.block + add.place.blocks))
        fresh.zeroed = (uint32_t)place_bytes(&add.place);
    cell_tail_set(cell, &fresh);
    return use_segment(p, fresh.segment);
}

static bool needs_roll(const struct partition *p, const struct tail *tail, uint64_t span)
{
    return tail->segment == 0 || tail->position + span > p->limit;
}

/* With both locks held: does it still have to be done? Somebody may have rolled in between. */
static int roll_if_needed(struct partition *p, uint64_t span)
{
    struct tail tail;
    int rc = 0;
    cell_tail_get(p->cell.rw, &tail);
    /* Who deleted the topic may have died before it could mark the cell. */
    if (catalog_topic_gone(p->cat, p->topic)) atomic_store(&p->cell.rw->state, CELL_DELETED);
    if (atomic_load(&p->cell.rw->state) != CELL_LIVE) rc = partition_gone(p);
    if (rc == 0 && tail.segment != 0) rc = use_segment(p, tail.segment);
    if (rc == 0 && needs_roll(p, &tail, span)) rc = roll(p, span);
    return rc;
}

/* The partition's lock is held; leave it, come back with the catalog's, roll, and hold it again. */
static int roll_from_append(struct partition *p, uint64_t span)
{
    for (;;) {
        partition_unlock(p);
        int rc = catalog_lock(p->cat);
        if (rc < 0) return rc;
        (void)retire_unused(p->cat); /* room may be waiting to be freed */
        rc = try_with_catalog(p);
        if (rc == 0 && (rc = roll_if_needed(p, span)) < 0) partition_unlock(p);
        catalog_unlock(p->cat);
        if (rc != TRY_HELD) return rc;
        /* Somebody has the partition: wait for it with empty hands, and come back. */
        if ((rc = partition_lock(p)) < 0) return rc;
    }
}

/* ---- Append ---- */

/* Take the lock with p->place being the tail's segment and room for `span` bytes in it. */
static int lock_for_append(struct partition *p, uint64_t span, struct tail *tail)
{
    struct cell *cell = p->cell.rw;
    int rc = partition_lock(p);
    if (rc < 0) return rc;
    cell_tail_get(cell, tail);
    if (UNLIKELY(atomic_load_explicit(&cell->state, memory_order_relaxed) != CELL_LIVE))
        rc = partition_gone(p);
    if (rc == 0 && UNLIKELY(atomic_load(&coord_header_ro(p->cat->coord)->unclean) == 0)) {
        /* After a clean start: the mark goes before the first frame does, under the catalog's lock.
         * [O2] */
        partition_unlock(p);
        if ((rc = catalog_lock(p->cat)) < 0) return rc;
        rc = catalog_mark_unclean(p->cat);
        catalog_unlock(p->cat);
        return rc < 0 ? rc : lock_for_append(p, span, tail);
    }
    if (rc == 0 && tail->segment != 0 && UNLIKELY(tail->segment != p->place.id))
        rc = use_segment(p, tail->segment);
    if (rc == 0 && LIKELY(!needs_roll(p, tail, span))) return 0;
    if (rc < 0) {
        partition_unlock(p);
        return rc;
    }
    rc = roll_from_append(p, span);
    if (rc == 0) cell_tail_get(cell, tail);
    return rc;
}

/* Where a store takes its page fault, and a page of zeros was written before it, a large batch is
 * cheaper to write: its pages are new, and filled once. */
static bool stores_into_map(const struct partition *p, const struct partition_batch *batch)
{
    return p->map.data != NULL && batch->batch_bytes < WRITTEN_BATCH_BYTES;
}

/* An append is refused whose write failed, but the frame may be whole: nobody shall adopt it, not
 * after a power loss either. [P1] */
static int give_up_frame(struct partition *p, uint64_t at, int rc)
{
    static const uint8_t zeros[FRAME_BYTES];
    char message[256];
    (void)strncpy(message, err_message(), sizeof message - 1);
    message[sizeof message - 1] = 0;
    int zeroed = coord_write_stable(p->cat->coord, zeros, sizeof zeros, at);
    return err_set(zeroed < 0 ? BECK_UNKNOWN : rc, "%s", message);
}

/* Put frame and batch behind the tail. Holds: lock. [P4] */
static int write_frame(struct partition *p, struct tail *tail, const struct partition_batch *batch,
                       uint64_t span)
{
    uint64_t end = tail->position + span;
    bool store = stores_into_map(p, batch);
    bool large = batch->batch_bytes >= WRITTEN_BATCH_BYTES;
    int rc = LIKELY(end <= tail->zeroed) || large ? 0 : zero_ahead(p, tail, end);
    if (rc < 0) return rc;
    if (store) {
        if (UNLIKELY(end > p->populated)) {
            p->populated = (uint32_t)min_u64(end + AHEAD_BYTES, tail->zeroed);
            (void)os_populate(&p->map, tail->position, p->populated);
        }
        os_store(p->map.data + tail->position, batch->bytes, FRAME_BYTES + batch->batch_bytes);
        return 0;
    }
    uint64_t at = place_at(&p->place) + tail->position;
    rc = os_write(&p->cat->file->os, batch->bytes, FRAME_BYTES + batch->batch_bytes, at);
    return rc == 0 ? 0 : give_up_frame(p, at, rc);
}

static int append_locked(struct partition *p, struct tail *tail,
                         const struct partition_batch *batch, uint64_t span, bool os)
{
    struct cell *cell = p->cell.rw;
    uint64_t stable = atomic_load_explicit(&cell->stable, memory_order_relaxed);
    struct log_position at = {tail->position, tail->chain, tail->next, true};
    struct tail next = *tail;
    /* Once more: a roll may have failed while we waited, and its SEAL may count all the same. */
    int rc = coord_check_poison(p->cat->coord);
    if (rc == 0) rc = INVARIANT(tail->position + span <= p->limit);
    if (rc == 0 && UNLIKELY(tail->next + batch->count > OFFSET_MAX))
        rc = err_set(BECK_LIMIT, "topic %s:%u: no offsets are left", p->topic_name, p->index);
    if (rc < 0) return rc;
    next.chain = log_seal_frame(&p->place, &at, log_stable_field(stable, p->base), batch->bytes,
                                batch->batch_bytes);
    if ((rc = write_frame(p, &next, batch, span)) < 0) return rc;
    next.position += (uint32_t)span;
    next.next += batch->count;
    if (batch->max_timestamp > next.max_timestamp) next.max_timestamp = batch->max_timestamp;
    cell_tail_set(cell, &next); /* [P1] */
    atomic_store_explicit(&cell->written, next.next, memory_order_release);
    if (os) atomic_exchange(&cell->visible, next.next); /* [P2] */
    return 0;
}

/* flush.ms: is it time to sync what has been written? */
static bool flush_due(const struct partition *p)
{
    if (p->config->flush_ms == 0) return false;
    int64_t since = file_now_ms(p->cat->file, false) - atomic_load(&p->cell.ro->synced_at);
    return since >= (int64_t)p->config->flush_ms || since < 0; /* clocks are set back, too */
}

int partition_append(struct partition *p, const struct partition_batch *batch, uint32_t sync,
                     uint64_t *base_offset)
{
    uint64_t span = frame_span(batch->batch_bytes);
    struct tail tail;
    int rc = coord_check_poison(p->cat->coord);
    if (rc == 0) rc = lock_for_append(p, span, &tail);
    if (rc < 0) return rc;
    bool os = p->config->sync == BECK_SYNC_OS; /* once: the topic may be altered meanwhile */
    rc = append_locked(p, &tail, batch, span, os);
    partition_unlock(p);
    if (rc < 0) return rc;
    *base_offset = tail.next;
    if (os) coord_wake_readers(p->cat->coord, p->cell.rw);
    if (os && sync != BECK_SYNC_SYNC && LIKELY(!flush_due(p))) return 0;
    rc = partition_sync(p, tail.next + batch->count);
    if (rc == 0 || rc == BECK_POISONED || rc == BECK_DELETED) return rc;
    return err_context(BECK_UNKNOWN, "topic %s:%u: written, but not known to be stable",
                       p->topic_name, p->index);
}

/* ---- Group commit ---- */

/* What is done to the bytes [from, to) of one segment that are not known to be stable. */
typedef int (*unstable_fn)(struct partition *p, const struct segment *s, uint64_t from,
                           uint64_t to);

static int sync_failed(struct partition *p)
{
    coord_poison(p->cat->coord);
    return err_context(BECK_POISONED,
                       "topic %s:%u: a sync failed, what became of appends under way is unknown",
                       p->topic_name, p->index);
}

/* Sync through a mapping of this handle's own descriptor. Holds: sync mutex. */
static int sync_range(struct partition *p, const struct segment *s, uint64_t from, uint64_t to)
{
    int rc = 0;
    if (p->sync_map.data == NULL || p->sync_place.id != s->place.id) {
        os_unmap(&p->sync_map);
        rc = os_map(&p->cat->file->os, place_at(&s->place), place_bytes(&s->place), true,
                    &p->sync_map);
        p->sync_place = s->place;
    }
    if (rc == 0 && os_map_sync(&p->sync_map, from, to) < 0) rc = sync_failed(p);
    return rc < 0 ? rc : coord_check_poison(p->cat->coord); /* [Y4] */
}

/* The same for a segment of its own. */
static int sync_sealed(struct partition *p, const struct segment *s, uint64_t from, uint64_t to)
{
    coord_sync_begin(p->cat->coord); /* [Y1] */
    int rc = sync_range(p, s, from, to);
    coord_sync_end(p->cat->coord);
    return rc;
}

/* Write what others wrote once more, so that the next sync of this descriptor is proof of it. What
 * is in the page cache is believed only where guard and CRC agree. Holds: partition lock. [Y3] */
static int write_again(struct partition *p, const struct segment *s, uint64_t from, uint64_t to)
{
    struct log_position at = log_begin(s->base);
    struct log_frame found;
    uint8_t *data = malloc((size_t)to);
    if (data == NULL) return err_set(BECK_NOMEM, "out of memory");
    int rc = file_read_segment(p->cat->file, &s->place, 0, data, (size_t)to);
    while (rc == 0 && at.position < to &&
           log_frame_at(&s->place, &at, data + at.position, to - at.position, true, &found, NULL))
        log_advance(&at, &found);
    /* Damage in a sealed segment is known, or reads as a gap; nobody waits for what was in it. */
    if (rc == 0 && at.position < to && !s->sealed)
        rc = err_set(BECK_IO, "segment %llu is damaged before it became stable",
                     (unsigned long long)s->place.id);
    if (rc == 0)
        rc = file_write_around(p->cat->file, data + from, (size_t)(to - from),
                               place_at(&s->place) + from);
    free(data);
    return rc;
}

/* Sealed segments behind `stable`, up to 16 of them; an `os` topic rolls without syncing. */
static uint32_t unstable_sealed(struct partition *p, uint64_t stable, uint64_t tail_segment,
                                struct segment list[16])
{
    uint32_t count = 0;
    pthread_mutex_lock(&p->cat->mutex);
    struct partition_picture *part = picture_partition(&p->cat->picture, p->topic, p->index);
    for (uint32_t i = 0; part != NULL && i < part->count && count < 16; i++) {
        const struct segment *s = &part->segments[i];
        if (s->sealed && s->place.id != tail_segment && s->next > stable) list[count++] = *s;
    }
    pthread_mutex_unlock(&p->cat->mutex);
    return count;
}

static int each_sealed(struct partition *p, uint64_t stable, uint64_t tail_segment, unstable_fn fn)
{
    struct segment list[16];
    uint32_t count = 16;
    int rc = catalog_refresh(p->cat);
    while (rc == 0 && count == 16) {
        count = unstable_sealed(p, stable, tail_segment, list);
        for (uint32_t i = 0; rc == 0 && i < count; i++) {
            rc = fn(p, &list[i], 0, min_u64(list[i].end, place_bytes(&list[i].place)));
            stable = list[i].next;
        }
    }
    return rc;
}

/* The tail's segment and where to begin in it; and what lies before it, handed to `earlier`. */
static int tail_segment(struct partition *p, const struct tail *tail, unstable_fn earlier,
                        struct segment *found, uint64_t *from, uint64_t *to)
{
    struct cell *cell = p->cell.rw;
    uint64_t stable = atomic_load(&cell->stable);
    *from = *to = 0;
    memset(found, 0, sizeof *found);
    if (tail->segment == 0) return each_sealed(p, stable, 0, earlier);
    int rc = find_segment(p, tail->segment, found);
    if (rc == 0 && stable < found->base) rc = each_sealed(p, stable, tail->segment, earlier);
    *to = min_u64(tail->position, place_bytes(&found->place));
    if (atomic_load(&cell->synced_segment) == tail->segment)
        *from = min_u64(atomic_load(&cell->synced_position), *to);
    return rc;
}

static int write_all_again(struct partition *p, bool locked)
{
    struct segment found;
    struct tail tail;
    uint64_t from, to;
    int rc = locked ? 0 : partition_lock(p);
    if (rc < 0) return rc;
    cell_tail_get(p->cell.rw, &tail);
    if (atomic_load(&p->cell.rw->state) != CELL_LIVE) rc = partition_gone(p);
    if (rc == 0) rc = tail_segment(p, &tail, write_again, &found, &from, &to);
    if (rc == 0 && to > 0) rc = write_again(p, &found, from, to);
    if (!locked) partition_unlock(p);
    return rc;
}

/* Holds: sync mutex, with its intent still set. */
static void publish_stable(struct partition *p, const struct tail *tail, bool leader)
{
    struct cell *cell = p->cell.rw;
    if (leader) {
        atomic_store(&cell->synced_segment, 0); /* a death in between leaves "unknown" */
        atomic_store(&cell->synced_position, tail->position);
        atomic_store(&cell->synced_segment, tail->segment);
    }
    /* Visible first: what is acknowledged can be read, whoever dies in between. In an `os` topic it
     * is already, unless it was a `sync` topic a moment ago. */
    word_raise(&cell->visible, tail->next); /* [P2] */
    word_raise(&cell->stable, tail->next);  /* [P3] */
    atomic_store(&cell->synced_at, file_now_ms(p->cat->file, false));
}

/* Sync everything written so far, publish, wake. The leader holds the sync word; `locked`: the
 * partition lock is held. What has to be known is looked up before the sync mutex is taken: it is
 * innermost. */
static int sync_now(struct partition *p, bool leader, bool locked)
{
    struct coord *coord = p->cat->coord;
    struct segment found;
    struct tail tail;
    uint64_t from, to;
    coord_settle_now_and_then(coord);
    bool vouch =
        coord_may_publish(coord) && atomic_load(&p->cell.rw->stable) >= p->cell.rw->suspect;
    int rc = vouch ? 0 : write_all_again(p, locked); /* [Y3] */
    if (rc < 0) return rc;
    cell_tail_snapshot(p->cell.rw, &tail);
    rc = tail_segment(p, &tail, sync_sealed, &found, &from, &to);
    if (rc < 0) return rc;
    coord_sync_begin(coord); /* [Y1] */
    if (to > 0) rc = sync_range(p, &found, from, to);
    if (rc == 0) rc = coord_check_poison(coord); /* [Y4] */
    if (rc == 0) publish_stable(p, &tail, leader);
    coord_sync_end(coord);
    if (rc == 0) coord_wake_readers(coord, p->cell.rw);
    if (!leader) coord_wake_writers(p->cell.rw); /* a leader gives the sync word back first */
    return rc;
}

int partition_sync(struct partition *p, uint64_t target)
{
    struct coord *coord = p->cat->coord;
    struct cell *cell = p->cell.rw;
    int64_t waiting_since = 0;
    for (;;) {
        uint64_t stable = atomic_load(&cell->stable);
        if (stable >= target) return 0;
        int rc = coord_check_poison(coord);
        if (rc == 0 && atomic_load(&cell->state) != CELL_LIVE) rc = partition_gone(p);
        if (rc < 0) return rc;
        /* A leader that was stopped in its sync holds nobody up for longer than this: syncing twice
         * is harmless, so after a while everybody may. */
        bool late = waiting_since != 0 && os_monotonic_ms() - waiting_since > LOOK_MS;
        enum lock_result r = coord_lock(coord, &p->cell, WORD_SYNC, LOCK_TRY);
        if (r == LOCK_FROM_DEAD) atomic_store(&cell->synced_segment, 0); /* half written, maybe */
        if (r != LOCK_HELD || late) {
            rc = sync_now(p, r != LOCK_HELD, false);
            if (r != LOCK_HELD) coord_unlock(coord, &p->cell, WORD_SYNC);
            if (r != LOCK_HELD) coord_wake_writers(cell);
            if (rc < 0) return rc;
            waiting_since = 0;
            continue;
        }
        if (waiting_since == 0) waiting_since = os_monotonic_ms();
        coord_wait_stable(coord, &p->cell, target, LOOK_MS);
        if (atomic_load(&cell->stable) != stable) waiting_since = 0;
    }
}

/* ---- Looking for the dead ---- */

int partition_look(struct partition *p)
{
    struct coord *coord = p->cat->coord;
    struct cell *cell = p->cell.rw;
    uint64_t owner = atomic_load(&cell->lock);
    int rc = 0;
    if (atomic_load(&cell->state) != CELL_LIVE || coord_check_poison(coord) < 0) return 0;
    if (owner != 0 && coord_owner_dead(coord, owner) && (rc = catalog_try_lock(p->cat)) == 0) {
        rc = try_with_catalog(p);
        if (rc == 0) partition_unlock(p);
        catalog_unlock(p->cat);
    }
    if (rc < 0 && rc != BECK_BUSY) return rc;

    uint64_t written = atomic_load(&cell->written);
    if (atomic_load(&cell->stable) >= written) return 0;
    uint64_t leader = atomic_load(&cell->sync_lock);
    bool left_behind =
        p->config->sync == BECK_SYNC_SYNC && (leader == 0 || coord_owner_dead(coord, leader));
    return left_behind || flush_due(p) ? partition_sync(p, written) : 0;
}
