/* retire.c -- frees what was deleted once nobody reads it */
/*
 *     DELETE stable -> cells marked and quiet -> fence -> pins scanned -> FREE stable -> reuse
 *
 *  [P5] before the first segment of a deleted topic is freed all its cells were marked, and then
 *       the lock of each was held once: a writer with an old picture finds out before it stores a
 *       byte, and one that was inside has left
 *
 * The scan of the pins comes after the news is visible ([R2], coord.c); a reader that pins later
 * sees the news. A crash between any two steps leaves retired segments, and the next one to look goes on. */
#include "retire.h"

#include "err.h"

#define FREE_BATCH 64
#define QUIET_TRIES 5 /* of a millisecond */

/* From a live writer's cell this takes the lock only if it is free: a writer that is stopped inside
 * keeps the space of its topic, and nothing else. */
static bool quieten(struct catalog *cat, struct cell_ref *ref)
{
    uint32_t live = CELL_LIVE;
    if (atomic_compare_exchange_strong(&ref->rw->state, &live, CELL_DELETED)) { /* [P5] */
        coord_wake_readers(cat->coord, ref->rw);
        coord_wake_writers(ref->rw);
    }
    for (int tries = 0; atomic_load(&ref->rw->state) == CELL_DELETED; tries++) {
        if (coord_lock(cat->coord, ref, WORD_LOCK, LOCK_TRY) != LOCK_HELD) {
            atomic_store(&ref->rw->state, CELL_QUIET); /* a dead owner's work needs no repair now */
            coord_unlock(cat->coord, ref, WORD_LOCK);
        } else if (tries >= QUIET_TRIES) {
            return false;
        } else {
            os_sleep_ms(1);
        }
    }
    return true;
}

int retire_mark_topic(struct catalog *cat, uint64_t topic, bool *quiet)
{
    uint32_t cells =
        atomic_load_explicit(&coord_header_ro(cat->coord)->cells, memory_order_acquire);
    *quiet = true;
    for (uint32_t i = 0; i < cells; i++) {
        struct cell_ref ref;
        int rc = coord_cell(cat->coord, i, &ref);
        if (rc < 0) return rc;
        if (atomic_load(&ref.ro->topic) == topic && !quieten(cat, &ref)) *quiet = false;
    }
    return 0;
}

/* Up to FREE_BATCH retired segments, as FREE entries. */
static size_t collect(struct catalog *cat, struct entry *entries, uint64_t *topics, size_t from)
{
    size_t count = 0;
    pthread_mutex_lock(&cat->mutex);
    for (size_t i = from; i < cat->picture.retired_count && count < FREE_BATCH; i++) {
        entries[count] = (struct entry){.type = ENTRY_FREE, .place = cat->picture.retired[i].place};
        topics[count++] = cat->picture.retired[i].topic;
    }
    pthread_mutex_unlock(&cat->mutex);
    return count;
}

int retire_unused(struct catalog *cat)
{
    struct entry entries[FREE_BATCH];
    uint64_t topics[FREE_BATCH];
    size_t from = 0;
    bool quiet = true;
    int rc = 0;
    while (rc == 0) {
        size_t count = collect(cat, entries, topics, from), unpinned = 0;
        if (count == 0) break;
        for (size_t i = 0; rc == 0 && i < count; i++) {
            if (i == 0 || topics[i] != topics[i - 1]) {
                quiet = true;
                if (catalog_topic_gone(cat, topics[i]))
                    rc = retire_mark_topic(cat, topics[i], &quiet);
            }
            if (rc == 0 && quiet && !coord_pinned(cat->coord, entries[i].place.id))
                entries[unpinned++] = entries[i];
        }
        if (rc == 0 && unpinned > 0) rc = catalog_append(cat, entries, unpinned);
        from += count - unpinned; /* those that are pinned stay in front */
    }
    return rc;
}

void retire_look(struct catalog *cat)
{
    pthread_mutex_lock(&cat->mutex);
    bool some = cat->picture.retired_count > 0;
    pthread_mutex_unlock(&cat->mutex);
    if (!some || catalog_try_lock(cat) < 0) return;
    (void)retire_unused(cat);
    catalog_unlock(cat);
}
