/* retire.c -- frees what was deleted once nobody reads it */
/*
 *     DELETE stable -> cells marked and quiet -> fence -> pins scanned -> FREE stable -> reuse
 *
 *  [P5] before the first segment of a deleted topic is freed all its cells were marked, and then
 *       the lock of each was held once: a writer with an old picture finds out before it stores a
 *       byte, and one that was inside has left
 *
 * The scan of the pins comes after the news is visible ([R2], coord.c); a reader that pins later
 * sees the news. A crash between any two steps leaves retired segments, and the next one to look
 * goes on. */
#include "retire.h"

#include <stdlib.h>
#include <string.h>

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

/* All retired segments, copied: appending to the catalog moves them about. */
static int copy_retired(struct catalog *cat, struct retired **list, size_t *count)
{
    int rc = 0;
    pthread_mutex_lock(&cat->mutex);
    *count = cat->picture.retired_count;
    *list = *count == 0 ? NULL : malloc(*count * sizeof **list);
    if (*count > 0 && *list == NULL) rc = err_set(BECK_NOMEM, "out of memory");
    if (rc == 0 && *count > 0) memcpy(*list, cat->picture.retired, *count * sizeof **list);
    pthread_mutex_unlock(&cat->mutex);
    return rc;
}

int retire_unused(struct catalog *cat)
{
    struct entry entries[FREE_BATCH];
    struct retired *list;
    size_t count, ready = 0;
    bool quiet = true;
    int rc = copy_retired(cat, &list, &count);
    for (size_t i = 0; rc == 0 && i < count; i++) {
        if (i == 0 || list[i].topic != list[i - 1].topic) {
            quiet = true;
            if (catalog_topic_gone(cat, list[i].topic))
                rc = retire_mark_topic(cat, list[i].topic, &quiet);
        }
        if (rc == 0 && quiet && !coord_pinned(cat->coord, list[i].place.id))
            entries[ready++] = (struct entry){.type = ENTRY_FREE, .place = list[i].place};
        if (rc < 0 || ready == 0 || (ready < FREE_BATCH && i + 1 < count)) continue;
        rc = catalog_append(cat, entries, ready);
        ready = 0;
    }
    free(list);
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
