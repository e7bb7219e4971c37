/* catalog.c -- the log behind the picture: lock, replay, append, snapshot */
/*
 *     superblock -> [LINK IDS | TOPIC | ADD | SEAL ADD | ... ] -> [LINK | ... ] -> (spare, empty)
 *
 * Each handle replays the log into its own picture and goes on where it stopped when the cell's
 * `visible` has moved. Replay copies with pread and believes only what guard and CRC prove.
 *
 *  [C1] one batch of entries is stable before the next is written, and before anybody can see it
 *  [C2] `visible` of the catalog's cell moves with every batch, so a stale picture is found by
 *       one load
 *  [C4] an intact frame behind the end was being appended by somebody who died: it is stable,
 *       then seen
 *
 * A crash before the sync of a batch leaves a torn frame, which the next append overwrites; after
 * it, a frame that repair or recovery adopts. While the catalog moves into its spare, the spare's
 * first frame (LINK) is the moment of the move. */
#include "catalog.h"

#include <stdlib.h>
#include <string.h>

#include "err.h"

#define LINK_FRAME_BYTES 256u /* kept free at the end of a segment for a later LINK */
#define GIVING_BYTES 8192u    /* kept free there, without a spare, for what gives space back */
#define WINDOW_BYTES (256u * 1024u)
#define REFRESH_TRIES 100

int catalog_init(struct catalog *cat, struct file *file, struct coord *coord)
{
    memset(cat, 0, sizeof *cat);
    cat->file = file;
    cat->coord = coord;
    pthread_mutex_init(&cat->mutex, NULL);
    return 0;
}

static void catalog_forget(struct catalog *cat)
{
    picture_free(&cat->picture);
    cat->chain_count = 0;
    cat->extents_taken = 0;
    cat->window.size = 0;
    atomic_store(&cat->seen, 0);
}

void catalog_free(struct catalog *cat)
{
    if (cat->file == NULL) return;
    catalog_forget(cat);
    free(cat->chain);
    free(cat->private_cells);
    for (uint32_t i = 0; i < cat->copy_count; i++) free(cat->copies[i]);
    free(cat->copies);
    buf_free(&cat->window);
    pthread_mutex_destroy(&cat->mutex);
    memset(cat, 0, sizeof *cat);
}

uint64_t catalog_bytes(const struct catalog *cat)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < cat->chain_count; i++) bytes += place_bytes(&cat->chain[i]);
    return bytes;
}

/* ---- Replay ---- */

static int chain_add(struct catalog *cat, const struct segment_place *place)
{
    int rc = buf_grow_array((void **)&cat->chain, cat->chain_count, &cat->chain_capacity,
                            sizeof *cat->chain);
    if (rc == 0) rc = space_take(&cat->picture.space, place->block, place->blocks);
    if (rc < 0) return rc;
    cat->chain[cat->chain_count++] = *place;
    cat->picture.next_segment = max_u64(cat->picture.next_segment, place->id + 1);
    return 0;
}

static int apply_link(struct catalog *cat, const struct entry *e)
{
    cat->spare = e->place;
    if (e->place.id == 0) return 0;
    if (e->place.blocks > SEGMENT_BYTES_LIMIT / BLOCK_BYTES || e->place.id >= OFFSET_MAX)
        return err_set(BECK_CORRUPT, "catalog: linked segment %llu of %u blocks",
                       (unsigned long long)e->place.id, e->place.blocks);
    return chain_add(cat, &e->place);
}

static int apply_batch(struct catalog *cat, const uint8_t *batch_bytes, const struct batch *batch)
{
    struct batch_walk walk;
    beck_record record;
    const uint8_t *headers;
    struct entry e;
    int rc = batch_walk_begin(&walk, batch_bytes, batch, NULL, 0);
    while (rc == 0 && (rc = batch_walk_next(&walk, &record, &headers)) > 0) {
        rc = entry_decode(record.value, record.value_size, &e);
        if (rc == 0)
            rc = e.type == ENTRY_LINK ? apply_link(cat, &e) : picture_apply(&cat->picture, &e);
    }
    return rc;
}

/* The intact frame at `at` in `place`, with its batch in the window. 1, 0 = none there, or an
 * error. */
static int frame_in_window(struct catalog *cat, const struct segment_place *place,
                           const struct log_position *at, struct log_frame *found,
                           const uint8_t **data)
{
    struct buf *w = &cat->window;
    uint64_t left = place_bytes(place) < at->position ? 0 : place_bytes(place) - at->position;
    bool inside = place->id == cat->segment.id && w->size > 0 && at->position >= cat->window_from &&
                  at->position < cat->window_from + w->size;
    uint64_t want = WINDOW_BYTES;
    int rc;
    for (int tries = inside ? 0 : 1; tries < 3; tries++) {
        if (tries > 0) {
            w->size = 0;
            if (want > WINDOW_BYTES) { /* a frame claims that it is so large */
                rc = file_segment_there(cat->file, place, place_bytes(place), &left);
                if (rc < 0) return rc;
                left = left < at->position ? 0 : left - at->position;
                if (left == 0) return 0;
            }
            uint64_t bytes = min_u64(max_u64(want, WINDOW_BYTES), left);
            if ((rc = buf_reserve(w, (size_t)bytes)) < 0) return rc;
            if ((rc = file_read_segment(cat->file, place, at->position, w->data, (size_t)bytes)) <
                0)
                return rc;
            w->size = (size_t)bytes;
            cat->window_from = at->position;
        }
        *data = w->data + (at->position - cat->window_from);
        uint64_t available = cat->window_from + w->size - at->position;
        if (log_frame_at(place, at, *data, available, true, found, &want)) return 1;
        if (tries > 0 && want <= available) return 0;
    }
    return 0;
}

/* The log's segment has ended; does it go on in the spare? 1 = moved there. */
static int enter_spare(struct catalog *cat)
{
    struct log_position at = log_begin(cat->at.next);
    struct log_frame found;
    struct batch_walk walk;
    beck_record record;
    const uint8_t *data, *headers;
    struct entry e = {0};
    if (cat->spare.id == 0) return 0;
    cat->window.size = 0;
    int rc = frame_in_window(cat, &cat->spare, &at, &found, &data);
    if (rc <= 0) {
        cat->window.size = 0;
        return rc;
    }
    rc = batch_walk_begin(&walk, data + FRAME_BYTES, &found.batch, NULL, 0);
    if (rc == 0) rc = batch_walk_next(&walk, &record, &headers);
    if (rc == 1) rc = entry_decode(record.value, record.value_size, &e);
    if (rc < 0) return rc;
    if (e.type != ENTRY_LINK || e.end != cat->at.position || e.chain != cat->at.chain)
        return err_set(BECK_CORRUPT, "catalog: damage in segment %llu at byte %llu",
                       (unsigned long long)cat->segment.id,
                       (unsigned long long)(place_at(&cat->segment) + cat->at.position));
    cat->segment = cat->spare;
    cat->spare.id = 0;
    cat->at = at;
    cat->window_from = at.position;
    return 1;
}

/* Apply entries until `limit`, or as long as there are intact frames. */
static int replay(struct catalog *cat, uint64_t limit)
{
    struct log_frame found;
    const uint8_t *data;
    cat->window.size = 0;
    while (cat->at.next < limit) {
        int rc = frame_in_window(cat, &cat->segment, &cat->at, &found, &data);
        if (rc == 0) {
            rc = enter_spare(cat);
            if (rc <= 0) return rc;
            continue;
        }
        if (rc > 0) rc = apply_batch(cat, data + FRAME_BYTES, &found.batch);
        if (rc < 0) return rc;
        log_advance(&cat->at, &found);
        atomic_store(&cat->seen, cat->at.next);
    }
    return 0;
}

static int load_root(struct catalog *cat, const struct superblock *super)
{
    const struct segment_place *root = &super->root;
    catalog_forget(cat);
    cat->root = cat->segment = *root;
    cat->spare.id = 0;
    cat->at = log_begin(super->root_base);
    if (root->blocks > SEGMENT_BYTES_LIMIT / BLOCK_BYTES || root->id >= OFFSET_MAX ||
        super->root_base > OFFSET_MAX)
        return err_set(BECK_CORRUPT, "catalog: root %llu of %u blocks",
                       (unsigned long long)root->id, root->blocks);
    return chain_add(cat, root);
}

/* Is there an intact frame in `place` behind `at`? 1, 0 or an error. */
static int intact_behind(struct catalog *cat, const struct segment_place *place,
                         struct log_position at)
{
    uint8_t *data;
    uint64_t bytes;
    int rc = file_copy_segment(cat->file, place, place_bytes(place), &data, &bytes);
    if (data != NULL) rc = log_resync(place, &at, data, bytes, UINT64_MAX);
    free(data);
    return rc;
}

/* Nothing intact may lie behind the end of the catalog, in its last segment or in the spare: then
 * damage stopped the walk, not the end. */
static int check_end(struct catalog *cat, uint64_t least)
{
    int rc = cat->at.next < least ? 1 : intact_behind(cat, &cat->segment, cat->at);
    if (rc == 0 && cat->spare.id != 0)
        rc = intact_behind(cat, &cat->spare, log_begin(cat->at.next));
    if (rc != 1) return rc;
    return err_set(BECK_CORRUPT, "catalog: damage at byte %llu, after entry %llu",
                   (unsigned long long)(place_at(&cat->segment) + cat->at.position),
                   (unsigned long long)cat->at.next);
}

static int load(struct catalog *cat, const struct superblock *super, uint64_t limit)
{
    int rc = load_root(cat, super);
    if (rc == 0) rc = replay(cat, limit);
    if (rc < 0) return rc;
    if (limit == UINT64_MAX) return check_end(cat, super->catalog_next);
    if (cat->at.next >= limit) return 0;
    return err_set(BECK_CORRUPT, "catalog: damage at byte %llu, after entry %llu of %llu",
                   (unsigned long long)(place_at(&cat->segment) + cat->at.position),
                   (unsigned long long)cat->at.next, (unsigned long long)limit);
}

int catalog_load(struct catalog *cat, const struct superblock *super, uint64_t limit)
{
    pthread_mutex_lock(&cat->mutex);
    cat->root_flips = 0; /* nobody has the file open: they are counted from now on */
    int rc = load(cat, super, limit);
    pthread_mutex_unlock(&cat->mutex);
    return rc;
}

void catalog_attach(struct catalog *cat, struct coord *coord)
{
    pthread_mutex_lock(&cat->mutex);
    for (size_t i = 0; i < cat->picture.topics; i++) /* they were numbered otherwise */
        for (uint32_t k = 0; k < cat->picture.by_id[i]->partitions; k++)
            cat->picture.by_id[i]->parts[k].cell = NO_CELL;
    __atomic_store_n(&cat->coord, coord, __ATOMIC_RELEASE);
    pthread_mutex_unlock(&cat->mutex);
}

bool catalog_moved(const struct catalog *cat)
{
    const struct coord *coord = __atomic_load_n(&cat->coord, __ATOMIC_ACQUIRE);
    if (coord == NULL) return false;
    struct cell_ref cell = coord_catalog_cell(coord);
    return atomic_load_explicit(&cell.ro->visible, memory_order_acquire) !=
           atomic_load_explicit(&cat->seen, memory_order_relaxed);
}

/* No picture at all: the next refresh loads one. */
static void forget_for_now(struct catalog *cat)
{
    catalog_forget(cat);
    cat->at = log_begin(UINT64_MAX);
    cat->root_flips = UINT64_MAX;
}

/* Others may flip the root while we read: then bytes of the old chain stop making sense, and the
 * number of flips has moved. What the superblock's root leads to is stable up to its own mark, even
 * where `visible` does not tell yet. */
static int refresh(struct catalog *cat)
{
    if (cat->coord == NULL) return 0; /* turned into a private view meanwhile */
    struct cell_ref cell = coord_catalog_cell(cat->coord);
    int rc = 0;
    for (int tries = 0; tries < REFRESH_TRIES; tries++) {
        uint64_t visible = atomic_load_explicit(&cell.ro->visible, memory_order_acquire);
        uint64_t flips = atomic_load(&coord_header_ro(cat->coord)->root_flips);
        if (visible == cat->at.next && flips == cat->root_flips) return 0;
        if (flips == cat->root_flips) {
            rc = replay(cat, visible);
            if (rc == 0 && cat->at.next >= visible) return 0;
        }
        struct superblock super;
        rc = file_read_own_super(cat->file, &super);
        if (rc == 0) rc = load(cat, &super, max_u64(visible, super.catalog_next));
        if (rc == 0 && atomic_load(&coord_header_ro(cat->coord)->root_flips) == flips) {
            cat->root_flips = flips;
            return 0;
        }
        if (rc < 0 && atomic_load(&coord_header_ro(cat->coord)->root_flips) == flips && tries > 1)
            break;
    }
    if (rc == 0) rc = err_set(BECK_BUSY, "the catalog changed each time it was read: try again");
    forget_for_now(cat); /* half a picture is worse than none */
    return rc;
}

int catalog_known(struct catalog *cat)
{
    return cat->root_flips == UINT64_MAX ? refresh(cat) : 0;
}

int catalog_join(struct catalog *cat)
{
    pthread_mutex_lock(&cat->mutex);
    forget_for_now(cat);
    int rc = refresh(cat);
    pthread_mutex_unlock(&cat->mutex);
    return rc;
}

int catalog_refresh(struct catalog *cat)
{
    if (!catalog_moved(cat)) return 0;
    pthread_mutex_lock(&cat->mutex);
    int rc = refresh(cat);
    pthread_mutex_unlock(&cat->mutex);
    return rc;
}

/* ---- Writing ---- */

/* Write bytes of the catalog and make them stable. */
static int write_stable(struct catalog *cat, const struct segment_place *place, uint64_t from,
                        const uint8_t *bytes, size_t count)
{
    int rc = INVARIANT(from + count <= place_bytes(place));
    return rc < 0 ? rc : coord_write_stable(cat->coord, bytes, count, place_at(place) + from);
}

static int encode_frame(const struct segment_place *place, const struct log_position *at,
                        const struct entry *entries, size_t count, struct buf *out,
                        struct log_frame *made)
{
    struct buf values = {0};
    struct batch_plan plan;
    beck_record *records = calloc(count, sizeof *records);
    int rc = records == NULL ? err_set(BECK_NOMEM, "out of memory") : 0;
    if (rc == 0) rc = buf_reserve(&values, count * ENTRY_BYTES_MAX);
    for (size_t i = 0; rc == 0 && i < count; i++) {
        records[i].value = values.data + values.size;
        records[i].value_size = (uint32_t)entry_encode(&entries[i], values.data + values.size);
        values.size += records[i].value_size;
    }
    if (rc == 0) rc = batch_measure(records, count, os_now_ms(), MESSAGE_BYTES_LIMIT, &plan);
    if (rc == 0) rc = buf_reserve(out, FRAME_BYTES + (size_t)plan.bytes);
    if (rc == 0) {
        batch_encode(out->data + FRAME_BYTES, records, count, (int64_t)at->next, &plan);
        out->size = FRAME_BYTES + (size_t)plan.bytes;
        /* [C1] says the rest */
        (void)log_seal_frame(place, at, 0, out->data, (uint32_t)plan.bytes);
        int read_back = log_frame_at(place, at, out->data, out->size, true, made, NULL);
        rc = INVARIANT(read_back == 1);
    }
    free(records);
    buf_free(&values);
    return rc;
}

/* The write of a frame failed, but all of it may stand there: who replays the log next must not
 * take up what was refused, and on which others have gone on meanwhile. */
static int give_up_entries(struct catalog *cat, struct buf *frame, int rc)
{
    static const uint8_t zeros[FRAME_BYTES];
    struct log_frame found;
    char message[512];
    if (rc == BECK_POISONED) return rc;
    (void)strncpy(message, err_message(), sizeof message - 1);
    message[sizeof message - 1] = 0;
    bool read = file_read_segment(cat->file, &cat->segment, cat->at.position, frame->data,
                                  frame->size) == 0;
    bool whole = !read || log_frame_at(&cat->segment, &cat->at, frame->data, frame->size, true,
                                       &found, NULL) == 1;
    if (whole && write_stable(cat, &cat->segment, cat->at.position, zeros, sizeof zeros) < 0) {
        coord_poison(cat->coord);
        rc = BECK_POISONED;
    }
    return err_set(rc, "%s", message);
}

/* Put one frame at the end of the log and show it. */
static int append_frame(struct catalog *cat, const struct entry *entries, size_t count,
                        struct buf *frame)
{
    struct log_frame made;
    struct cell_ref cell = coord_catalog_cell(cat->coord);
    frame->size = 0;
    int rc = encode_frame(&cat->segment, &cat->at, entries, count, frame, &made);
    /* Applied before it is written: what does not apply must never become stable. */
    if (rc == 0) rc = apply_batch(cat, frame->data + FRAME_BYTES, &made.batch);
    if (rc < 0) return rc;
    rc = write_stable(cat, &cat->segment, cat->at.position, frame->data, frame->size);
    if (rc < 0) return give_up_entries(cat, frame, rc);
    log_advance(&cat->at, &made);
    atomic_store(&cat->seen, cat->at.next);
    atomic_exchange(&cell.rw->visible, cat->at.next); /* [C1] [C2] */
    coord_wake_readers(cat->coord, cell.rw);
    return rc;
}

static void take_extents(struct catalog *cat)
{
    uint32_t block;
    while ((block = coord_extent_block(cat->coord, cat->extents_taken)) != 0) {
        (void)space_take(&cat->picture.space, block, EXTENT_BLOCKS);
        cat->extents_taken++;
    }
}

/* While a place handed out before waits for its entry, the catalog itself must not take it. */
static int place_locked(struct catalog *cat, uint64_t bytes, struct segment_place *place)
{
    struct space *space = &cat->picture.space;
    uint64_t blocks = align_up(bytes, BLOCK_BYTES) / BLOCK_BYTES;
    if (blocks > SEGMENT_BYTES_LIMIT / BLOCK_BYTES + 1)
        return err_set(BECK_LIMIT, "a batch that needs a segment of %llu bytes, at most %u",
                       (unsigned long long)bytes, SEGMENT_BYTES_LIMIT);
    take_extents(cat);
    *place = (struct segment_place){.id = max_u64(cat->picture.next_segment, cat->pending.id + 1),
                                    .blocks = (uint32_t)blocks};
    bool keep =
        cat->pending.id != 0 && space_take(space, cat->pending.block, cat->pending.blocks) == 0;
    place->block = space_find(space, place->blocks);
    if (keep) space_give(space, cat->pending.block, 0);
    if (place->block == 0)
        return err_set(
            BECK_LIMIT,
            "the file has its largest size, 64 TiB: delete topics, or use a second file");
    return os_random(&place->salt, sizeof place->salt);
}

int catalog_place(struct catalog *cat, uint64_t bytes, struct segment_place *place)
{
    pthread_mutex_lock(&cat->mutex);
    cat->pending.id = 0;
    int rc = place_locked(cat, bytes, place);
    if (rc == 0) cat->pending = *place;
    pthread_mutex_unlock(&cat->mutex);
    return rc;
}

/* A new, zeroed catalog segment: nothing will have to be allocated when it is written. */
static int make_spare(struct catalog *cat, uint64_t bytes, uint64_t base,
                      struct segment_place *place)
{
    int rc = place_locked(cat, bytes, place);
    if (rc == 0) rc = file_make_segment(cat->file, place, TOPIC_CATALOG, 0, base);
    if (rc == 0)
        rc = file_zero(cat->file, place_at(place) + SEGMENT_HEADER_BYTES,
                       place_bytes(place) - SEGMENT_HEADER_BYTES);
    return rc;
}

/* The catalog grows by a quarter of itself at a time. */
static uint64_t spare_bytes(const struct catalog *cat)
{
    return min_u64(align_up(catalog_bytes(cat) / 4 + 1, BLOCK_BYTES), MIB);
}

static uint64_t room_left(const struct catalog *cat)
{
    uint64_t used = cat->at.position + LINK_FRAME_BYTES;
    return used >= place_bytes(&cat->segment) ? 0 : place_bytes(&cat->segment) - used;
}

/* Make a spare and tell of it; `need` bytes have to fit in. */
static int link_spare(struct catalog *cat, uint64_t need, struct buf *frame)
{
    struct entry link = {.type = ENTRY_LINK};
    uint64_t bytes = max_u64(spare_bytes(cat), need + BLOCK_BYTES);
    int rc = make_spare(cat, bytes, cat->at.next, &link.place);
    return rc < 0 ? rc : append_frame(cat, &link, 1, frame);
}

/* Go on in the spare, and link the next one. Without space for a next one the log still moves: it
 * is linked when there is space again, so that deleting works on a full disk. */
static int move_to_spare(struct catalog *cat, uint64_t need, struct buf *frame)
{
    struct entry link;
    int rc;
    if (cat->spare.id == 0 ||
        need + 2 * LINK_FRAME_BYTES + SEGMENT_HEADER_BYTES > place_bytes(&cat->spare)) {
        if ((rc = link_spare(cat, need, frame)) < 0) return rc;
    }
    struct segment_place next;
    link = (struct entry){.type = ENTRY_LINK, .end = cat->at.position, .chain = cat->at.chain};
    if (make_spare(cat, spare_bytes(cat), cat->at.next, &next) == 0) link.place = next;
    cat->segment = cat->spare;
    cat->spare.id = 0;
    cat->at = log_begin(cat->at.next);
    return append_frame(cat, &link, 1, frame); /* failed: the caller makes the picture anew */
}

/* After a failure the picture may hold what is not in the log: make it anew. */
static void reload(struct catalog *cat)
{
    struct superblock super;
    struct cell_ref cell = coord_catalog_cell(cat->coord);
    char message[512];
    (void)strncpy(message, err_message(), sizeof message - 1);
    message[sizeof message - 1] = 0;
    int rc = file_read_own_super(cat->file, &super);
    if (rc == 0)
        rc = load(cat, &super, max_u64(atomic_load(&cell.ro->visible), super.catalog_next));
    if (rc < 0) forget_for_now(cat);
    (void)err_set(BECK_IO, "%s", message);
}

static bool takes_space(const struct entry *entries, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (entries[i].type == ENTRY_TOPIC || entries[i].type == ENTRY_ADD) return true;
    return false;
}

/* Where there is no spare and no space for one, the end of the segment belongs to what gives space
 * back. */
static int append_to_log(struct catalog *cat, const struct entry *entries, size_t count)
{
    struct buf frame = {0};
    struct log_frame made;
    int rc = encode_frame(&cat->segment, &cat->at, entries, count, &frame, &made);
    uint64_t size = frame.size, span = frame_span(size);
    if (rc == 0 && cat->spare.id == 0 && takes_space(entries, count) &&
        span + GIVING_BYTES > room_left(cat))
        rc = link_spare(cat, size, &frame);
    if (rc == 0 && span > room_left(cat)) rc = move_to_spare(cat, size, &frame);
    if (rc == 0) rc = append_frame(cat, entries, count, &frame);
    buf_free(&frame);
    return rc;
}

/* ---- Snapshot ---- */

struct snapshot {
    struct catalog *cat;
    struct segment_place place;
    uint64_t base; /* offset of its first entry */
    struct log_position at;
    struct buf out;    /* frames, for position SEGMENT_HEADER_BYTES on */
    struct buf values; /* encoded entries of the frame being filled */
    uint32_t sizes[64];
    uint32_t count;
};

static int snapshot_flush(struct snapshot *s)
{
    beck_record records[64] = {{0}};
    struct batch_plan plan;
    struct log_frame made;
    size_t at = 0, from = s->out.size;
    if (s->count == 0) return 0;
    for (uint32_t i = 0; i < s->count; i++) {
        records[i].value = s->values.data + at;
        records[i].value_size = s->sizes[i];
        at += s->sizes[i];
    }
    int rc = batch_measure(records, s->count, os_now_ms(), MESSAGE_BYTES_LIMIT, &plan);
    if (rc == 0) rc = buf_reserve(&s->out, from + (size_t)frame_span(plan.bytes));
    if (rc < 0) return rc;
    uint8_t *bytes = s->out.data + from;
    memset(bytes, 0, (size_t)frame_span(plan.bytes));
    batch_encode(bytes + FRAME_BYTES, records, s->count, (int64_t)s->at.next, &plan);
    (void)log_seal_frame(&s->place, &s->at, 0, bytes, (uint32_t)plan.bytes);
    s->out.size += (size_t)frame_span(plan.bytes);
    s->values.size = 0;
    s->count = 0;
    rc = log_frame_at(&s->place, &s->at, bytes, s->out.size - from, true, &made, NULL);
    if ((rc = INVARIANT(rc == 1)) < 0) return rc;
    log_advance(&s->at, &made);
    return 0;
}

static int snapshot_take(void *context, const struct entry *e)
{
    struct snapshot *s = context;
    int rc = buf_reserve(&s->values, s->values.size + ENTRY_BYTES_MAX);
    if (rc < 0) return rc;
    s->sizes[s->count] = (uint32_t)entry_encode(e, s->values.data + s->values.size);
    s->values.size += s->sizes[s->count++];
    return s->count == 64 ? snapshot_flush(s) : 0;
}

/* When a copy could not be written, but all of it stands there, the root has moved all the same: a
 * catalog that went on with the old one would be lost. Who cannot tell poisons. */
static int flip_root(struct catalog *cat, struct superblock *super)
{
    struct superblock now;
    int rc = file_write_super(cat->file, super); /* [C3] */
    if (rc == 0 || rc == BECK_POISONED) return rc;
    if (file_read_own_super(cat->file, &now) < 0)
        return err_context(BECK_POISONED, "which catalog counts is unknown: close every handle");
    return now.root.id == super->root.id ? os_sync(&cat->file->os) : rc;
}

static int snapshot_write(struct snapshot *s, const struct segment_place *spare)
{
    struct catalog *cat = s->cat;
    struct superblock super;
    int rc = file_make_segment(cat->file, &s->place, TOPIC_CATALOG, 0, cat->at.next);
    if (rc == 0)
        rc = file_zero(cat->file, place_at(&s->place) + SEGMENT_HEADER_BYTES,
                       place_bytes(&s->place) - SEGMENT_HEADER_BYTES);
    if (rc == 0) rc = file_make_segment(cat->file, spare, TOPIC_CATALOG, 0, s->at.next);
    if (rc == 0)
        rc = file_zero(cat->file, place_at(spare) + SEGMENT_HEADER_BYTES,
                       place_bytes(spare) - SEGMENT_HEADER_BYTES);
    if (rc == 0) rc = write_stable(cat, &s->place, SEGMENT_HEADER_BYTES, s->out.data, s->out.size);
    if (rc == 0) rc = file_read_own_super(cat->file, &super);
    if (rc < 0) return rc;
    super.root = s->place;
    super.root_base = s->base;
    super.catalog_next = s->at.next;
    coord_sync_begin(cat->coord);
    rc = os_sync(&cat->file->os);
    if (rc == 0) rc = flip_root(cat, &super);
    coord_sync_ended(cat->coord, rc);
    coord_sync_end(cat->coord);
    return rc;
}

/* Rewrite the catalog as what it says now. The old chain's blocks are free as soon as the root is
 * flipped: who still reads them finds the number of flips moved. */
static int catalog_snapshot(struct catalog *cat)
{
    struct snapshot s = {.cat = cat, .base = cat->at.next, .at = log_begin(cat->at.next)};
    struct entry link = {.type = ENTRY_LINK};
    struct superblock super;
    uint64_t most = 0;
    int rc;
    /* What is retired has no entry in a snapshot, and its blocks are not free yet: that first. */
    if (cat->picture.retired_count > 0) return 0;
    for (size_t i = 0; i < cat->picture.topics; i++)
        most += 512 + SETTINGS_BYTES_MAX / 8 + cat->picture.by_id[i]->partitions * UINT64_C(96);
    most += cat->picture.owner_count * UINT64_C(160) + 2 * BLOCK_BYTES;
    rc = place_locked(cat, most, &s.place);
    if (rc == 0) rc = space_take(&cat->picture.space, s.place.block, s.place.blocks);
    if (rc < 0) return rc;
    cat->picture.next_segment = s.place.id + 1;
    rc = place_locked(cat, BLOCK_BYTES, &link.place);
    cat->picture.next_segment = link.place.id + 1;
    if (rc == 0) rc = snapshot_take(&s, &link);
    if (rc == 0) rc = picture_each_entry(&cat->picture, snapshot_take, &s);
    if (rc == 0) rc = snapshot_flush(&s);
    if (rc == 0) rc = INVARIANT(s.out.size + BLOCK_BYTES / 2 <= place_bytes(&s.place));
    if (rc == 0) rc = snapshot_write(&s, &link.place);
    if (rc == 0) {
        struct cell_ref cell = coord_catalog_cell(cat->coord);
        struct coord_header *h = coord_header(cat->coord);
        cat->root_flips = atomic_fetch_add(&h->root_flips, 1) + 1;
        atomic_exchange(&cell.rw->visible, s.at.next);
        rc = file_read_own_super(cat->file, &super);
        if (rc == 0) rc = load(cat, &super, s.at.next);
        if (rc < 0) forget_for_now(cat);
    } else {
        space_give(&cat->picture.space, s.place.block, 0);
    }
    buf_free(&s.out);
    buf_free(&s.values);
    return rc;
}

/* Mostly garbage? What is live is estimated; a snapshot is at least this much smaller. */
static bool wants_snapshot(const struct catalog *cat)
{
    uint64_t live = cat->picture.owner_count * 160 + cat->picture.topics * 256;
    for (size_t i = 0; i < cat->picture.topics; i++)
        live += cat->picture.by_id[i]->partitions * UINT64_C(96);
    return catalog_bytes(cat) > CATALOG_SNAPSHOT_BYTES + 3 * live;
}

int catalog_append(struct catalog *cat, const struct entry *entries, size_t count)
{
    int rc = file_check_there(cat->file);
    if (rc == 0) rc = catalog_mark_unclean(cat);
    if (rc < 0) return rc;
    pthread_mutex_lock(&cat->mutex);
    rc = catalog_known(cat); /* an append before this one may have failed, and taken the picture */
    if (rc == 0 && wants_snapshot(cat)) rc = catalog_snapshot(cat);
    if (rc == BECK_FULL || rc == BECK_LIMIT) rc = 0; /* it can wait */
    if (rc == 0 && (rc = append_to_log(cat, entries, count)) < 0) reload(cat);
    cat->pending.id = 0;
    pthread_mutex_unlock(&cat->mutex);
    return rc;
}

int catalog_mark_unclean(struct catalog *cat)
{
    struct coord_header *h = coord_header(cat->coord);
    struct superblock super;
    if (LIKELY(atomic_load(&h->unclean) != 0)) return 0;
    int rc = file_read_own_super(cat->file, &super);
    if (rc < 0) return rc;
    coord_sync_begin(cat->coord);
    file_mark(cat->file, &super);
    rc = file_write_super(cat->file, &super); /* [O2] */
    coord_sync_ended(cat->coord, rc);
    if (rc == 0) atomic_store(&h->unclean, 1);
    coord_sync_end(cat->coord);
    return rc;
}

/* ---- The lock ---- */

/* Write bytes of the catalog once more: the sync of bytes this descriptor has written is proof,
 * whatever became of another's. [Y3] */
static int catalog_write_again(struct catalog *cat, const struct segment_place *place,
                               uint64_t from, uint64_t to)
{
    int rc = file_segment_there(cat->file, place, to, &to);
    if (rc < 0 || from >= to) return rc;
    uint8_t *data = malloc((size_t)(to - from));
    if (data == NULL) return err_set(BECK_NOMEM, "out of memory");
    rc = file_read_segment(cat->file, place, from, data, (size_t)(to - from));
    if (rc == 0)
        rc = file_write_around(cat->file, data, (size_t)(to - from), place_at(place) + from);
    if (rc == 0) rc = write_stable(cat, place, from, data, (size_t)(to - from));
    free(data);
    return rc;
}

static int rewrite_chain(struct catalog *cat)
{
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < cat->chain_count; i++)
        rc = catalog_write_again(cat, &cat->chain[i], 0, place_bytes(&cat->chain[i]));
    return rc;
}

int catalog_rewrite(struct catalog *cat)
{
    pthread_mutex_lock(&cat->mutex);
    int rc = rewrite_chain(cat);
    pthread_mutex_unlock(&cat->mutex);
    return rc;
}

/* It died between the flip of the root and the words that tell of it. */
static int repair_root(struct catalog *cat, struct superblock *super)
{
    cat->root_flips = atomic_fetch_add(&coord_header(cat->coord)->root_flips, 1) + 1;
    int rc = load(cat, super, UINT64_MAX);
    return rc < 0 ? rc : rewrite_chain(cat);
}

/* The two copies may differ: make both what the newer one says. */
static int repair_supers(struct catalog *cat, struct superblock *super)
{
    cat->file->supers_unsettled = true;
    coord_sync_begin(cat->coord);
    int rc = file_write_super(cat->file, super);
    coord_sync_ended(cat->coord, rc);
    coord_sync_end(cat->coord);
    return rc;
}

/* It may have died behind a frame: what is intact is made stable, then seen. [C4] */
static int repair_end(struct catalog *cat)
{
    struct segment_place was = cat->segment;
    uint64_t from = cat->at.position;
    int rc = replay(cat, UINT64_MAX);
    if (rc < 0) return rc;
    if (was.id == cat->segment.id) return catalog_write_again(cat, &was, from, cat->at.position);
    rc = catalog_write_again(cat, &was, from, place_bytes(&was));
    return rc < 0 ? rc : catalog_write_again(cat, &cat->segment, 0, cat->at.position);
}

/* Holds: catalog, taken from the dead. [L2] */
static int catalog_repair(struct catalog *cat)
{
    struct cell_ref cell = coord_catalog_cell(cat->coord);
    struct superblock super;
    int rc = catalog_refresh(cat);
    if (rc == 0) rc = coord_check_poison(cat->coord);
    if (rc < 0) return rc;
    pthread_mutex_lock(&cat->mutex);
    rc = file_read_own_super(cat->file, &super);
    if (rc == 0) rc = super.root.id != cat->root.id ? repair_root(cat, &super) : repair_end(cat);
    if (rc == 0) rc = repair_supers(cat, &super);
    if (rc == 0) atomic_exchange(&cell.rw->visible, cat->at.next);
    if (rc < 0) forget_for_now(cat); /* it knows more than was made stable: begin anew [C4] */
    pthread_mutex_unlock(&cat->mutex);
    return rc;
}

static int lock_as(struct catalog *cat, enum lock_policy policy)
{
    struct cell_ref cell = coord_catalog_cell(cat->coord);
    enum lock_result r = coord_lock(cat->coord, &cell, WORD_LOCK, policy);
    if (r == LOCK_HELD) return BECK_BUSY;
    int rc = r == LOCK_FROM_DEAD ? catalog_repair(cat) : catalog_refresh(cat); /* [L2] */
    if (rc == 0) rc = coord_check_poison(cat->coord); /* said before "no room" */
    if (rc < 0 && r == LOCK_FROM_DEAD)
        coord_unlock_broken(cat->coord, &cell, WORD_LOCK);
    else if (rc < 0)
        coord_unlock(cat->coord, &cell, WORD_LOCK);
    return rc;
}

int catalog_lock(struct catalog *cat)
{
    return lock_as(cat, LOCK_TAKE_DEAD);
}

int catalog_try_lock(struct catalog *cat)
{
    return lock_as(cat, LOCK_TRY);
}

void catalog_unlock(struct catalog *cat)
{
    struct cell_ref cell = coord_catalog_cell(cat->coord);
    coord_unlock(cat->coord, &cell, WORD_LOCK);
}

/* ---- Cells ---- */

/* A copy of a cell for a read-only handle. */
static int copy_cell(struct catalog *cat, uint32_t index, struct cell_ref *ref)
{
    if (index >= cat->copy_count) {
        uint32_t count = (uint32_t)align_up(index + 1, 64);
        struct cell **copies = realloc(cat->copies, count * sizeof *copies);
        if (copies == NULL) return err_set(BECK_NOMEM, "out of memory");
        memset(copies + cat->copy_count, 0, (count - cat->copy_count) * sizeof *copies);
        cat->copies = copies;
        cat->copy_count = count;
    }
    if (cat->copies[index] == NULL) cat->copies[index] = calloc(1, sizeof **cat->copies);
    if (cat->copies[index] == NULL) return err_set(BECK_NOMEM, "out of memory");
    *ref = (struct cell_ref){NULL, cat->copies[index]};
    return coord_copy_cell(cat->coord, index, cat->copies[index]);
}

static int cell_at(struct catalog *cat, uint32_t index, struct cell_ref *ref)
{
    return cat->file->readonly ? copy_cell(cat, index, ref) : coord_cell(cat->coord, index, ref);
}

/* Enter every cell's index into the picture. A cell whose maker died before its topic was appended
 * stays an orphan; when the id is used again, later cells win. */
static int find_cells(struct catalog *cat)
{
    struct cell_ref ref;
    uint32_t cells =
        atomic_load_explicit(&coord_header_ro(cat->coord)->cells, memory_order_acquire);
    if (cells > EXTENTS_MAX * EXTENT_CELLS)
        return err_set(BECK_CORRUPT, "coordination area: %u cells", cells);
    for (uint32_t i = 0; i < cells; i++) {
        int rc = cell_at(cat, i, &ref);
        if (rc < 0) return rc;
        struct partition_picture *part = picture_partition(
            &cat->picture, atomic_load(&ref.ro->topic), atomic_load(&ref.ro->partition));
        if (part != NULL) part->cell = i;
    }
    return 0;
}

int catalog_cell_of(struct catalog *cat, struct partition_picture *part, struct cell_ref *cell)
{
    int rc = 0;
    if (part->cell == NO_CELL && cat->coord != NULL) rc = find_cells(cat);
    if (rc == 0 && part->cell == NO_CELL)
        rc = err_set(BECK_CORRUPT, "coordination area: a cell is missing");
    if (rc < 0) return rc;
    if (cat->coord != NULL) return cell_at(cat, part->cell, cell);
    *cell = (struct cell_ref){NULL, &cat->private_cells[part->cell]};
    return 0;
}

int catalog_cell(struct catalog *cat, uint64_t topic, uint32_t partition, struct cell_ref *cell)
{
    pthread_mutex_lock(&cat->mutex);
    int rc = catalog_known(cat);
    struct partition_picture *part = picture_partition(&cat->picture, topic, partition);
    if (rc == 0)
        rc = part == NULL ? err_set(BECK_NOT_FOUND, "the topic or partition is gone")
                          : catalog_cell_of(cat, part, cell);
    pthread_mutex_unlock(&cat->mutex);
    return rc;
}

/* Behind the end of everything, whatever free space there is inside. */
static int place_behind(struct catalog *cat, struct segment_place *place)
{
    uint64_t size = 0;
    int rc = os_size(&cat->file->os, &size);
    pthread_mutex_lock(&cat->mutex);
    take_extents(cat);
    uint64_t end = (uint64_t)space_end(&cat->picture.space) * BLOCK_BYTES;
    pthread_mutex_unlock(&cat->mutex);
    uint64_t block = align_up(max_u64(end, size), BLOCK_BYTES) / BLOCK_BYTES;
    if (rc == 0 && block > UINT32_MAX - EXTENT_BLOCKS)
        rc = err_set(BECK_LIMIT,
                     "the file has its largest size, 64 TiB: delete topics, or use a second file");
    *place = (struct segment_place){.block = (uint32_t)block, .blocks = EXTENT_BLOCKS};
    return rc;
}

/* Where there is room inside. The file may have been cut, or trimmed in its last segment: mappings
 * of that must not end before it does. */
static int place_inside(struct catalog *cat, struct segment_place *place)
{
    uint64_t size = 0;
    int rc = os_size(&cat->file->os, &size);
    pthread_mutex_lock(&cat->mutex);
    if (rc == 0) rc = place_locked(cat, EXTENT_BLOCKS * BLOCK_BYTES, place);
    uint64_t end = (uint64_t)space_end(&cat->picture.space) * BLOCK_BYTES;
    pthread_mutex_unlock(&cat->mutex);
    if (rc == 0 && size < end) rc = os_truncate(&cat->file->os, end);
    return rc;
}

static int fill_extent(struct catalog *cat, const struct segment_place *place)
{
    int rc = os_allocate(&cat->file->os, place_at(place), place_bytes(place));
    if (rc == 0) rc = file_zero(cat->file, place_at(place), place_bytes(place));
    return rc;
}

/* In a clean file extents go behind the end: a handle that only reads must leave the bytes as they
 * were, and the free space inside holds old ones. But where there is no other room it has to do:
 * what a crash or a full disk left must be opened to be deleted. */
static int make_extent(struct catalog *cat)
{
    struct segment_place place;
    int rc = BECK_FULL;
    if (atomic_load(&coord_header(cat->coord)->unclean) == 0) {
        rc = place_behind(cat, &place);
        if (rc == 0) rc = fill_extent(cat, &place);
    }
    if (rc == BECK_FULL) {
        rc = place_inside(cat, &place);
        if (rc == 0) rc = fill_extent(cat, &place);
    }
    if (rc == 0) rc = coord_add_extent(cat->coord, place.block);
    return rc;
}

int catalog_make_cells(struct catalog *cat, uint64_t topic, uint32_t from, uint32_t to)
{
    struct coord_header *h = coord_header(cat->coord);
    struct cell_ref ref;
    int rc = 0;
    for (uint32_t partition = from; rc == 0 && partition < to; partition++) {
        uint32_t index = atomic_load(&h->cells);
        while (rc == 0 && index >= atomic_load(&h->extents) * EXTENT_CELLS) rc = make_extent(cat);
        if (rc == 0) rc = coord_cell(cat->coord, index, &ref);
        if (rc < 0) break;
        memset(ref.rw, 0, sizeof *ref.rw); /* what an earlier maker that died may have left */
        ref.rw->tail[0].max_timestamp = -1;
        atomic_store(&ref.rw->topic, topic);
        atomic_store(&ref.rw->partition, partition);
        atomic_store_explicit(&ref.rw->state, CELL_LIVE, memory_order_release);
        atomic_store_explicit(&h->cells, index + 1, memory_order_release);
        pthread_mutex_lock(&cat->mutex);
        struct partition_picture *part = picture_partition(&cat->picture, topic, partition);
        if (part != NULL) part->cell = index; /* known already when a file is opened */
        pthread_mutex_unlock(&cat->mutex);
    }
    return rc;
}

bool catalog_topic_gone(struct catalog *cat, uint64_t topic)
{
    pthread_mutex_lock(&cat->mutex);
    bool gone = catalog_known(cat) == 0 && picture_topic_by_id(&cat->picture, topic) == NULL;
    pthread_mutex_unlock(&cat->mutex);
    return gone;
}
