/* retire.c -- frees what was deleted once nobody reads it */
/*
 *     DELETE stable -> cells marked under lock -> fence -> pins scanned -> FREE stable -> reuse
 *
 *  [P5] a deleted topic's cells are marked under their locks before its first segment is freed:
 *       a writer with an old picture finds out before it stores a byte
 *
 * The scan of the pins comes after the news is visible ([R2], coord.c); a reader that pins later
 * sees the news. A crash between any two steps leaves retired segments, and the next one to look goes on. */
#include "retire.h"

#include "err.h"

#define FREE_BATCH 64

int retire_mark_topic(struct catalog *cat, uint64_t topic)
{
    uint32_t cells =
        atomic_load_explicit(&coord_header_ro(cat->coord)->cells, memory_order_acquire);
    for (uint32_t i = 0; i < cells; i++) {
        struct cell_ref ref;
        int rc = coord_cell(cat->coord, i, &ref);
        if (rc < 0) return rc;
        if (atomic_load(&ref.ro->topic) != topic || atomic_load(&ref.ro->state) != CELL_LIVE)
            continue;
        /* From a dead owner too: whatever it was doing, nothing is left to repair. */
        (void)coord_lock(cat->coord, &ref, WORD_LOCK, LOCK_TAKE_DEAD);
        atomic_store(&ref.rw->state, CELL_DELETED); /* [P5] */
        coord_unlock(cat->coord, &ref, WORD_LOCK);
        atomic_thread_fence(memory_order_seq_cst);
        coord_wake_readers(cat->coord, ref.rw);
        coord_wake_writers(ref.rw);
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
    uint64_t topics[FREE_BATCH], marked = 0;
    size_t from = 0;
    int rc = 0;
    while (rc == 0) {
        size_t count = collect(cat, entries, topics, from), unpinned = 0;
        if (count == 0) break;
        for (size_t i = 0; rc == 0 && i < count; i++) {
            bool gone = catalog_topic_gone(cat, topics[i]);
            if (gone && topics[i] != marked) rc = retire_mark_topic(cat, topics[i]);
            marked = topics[i];
            if (rc == 0 && !coord_pinned(cat->coord, entries[i].place.id))
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
    if (!some || catalog_lock(cat) < 0) return;
    (void)retire_unused(cat);
    catalog_unlock(cat);
}
