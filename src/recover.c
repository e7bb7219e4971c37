/* recover.c -- after a crash: the end of every partition, then a sealed start */
/*
 * The catalog has been read. Then, in this order: cut each partition at its end -> sync what
 * survives of `sync` topics -> seal and retire in one catalog batch -> publish -> appends. It can
 * be interrupted anywhere and done again: until the batch is stable nothing has changed, after it
 * there is nothing unsealed left.
 *
 *  [V1] below what is known durable nothing is cut: damage there stays, is reported, and reads
 *       as a gap
 *  [V2] above it a partition ends at its first frame that is not intact
 *  [V3] nothing is ever appended behind a cut in the same segment: frames from before could show
 *       through
 *
 * After a kill -9 the page cache tells the truth, but not every byte in it is known to be on the
 * device: an error may have been told to a process that died of it. So what a sync was under way
 * for is written again, around the cache, and what nobody uses is made anew. After a sync that
 * failed (poison) the device is read as well, around the cache.
 *
 * Durable is: what a TAIL or SEAL calls stable, what any intact frame's `stable` proves (a later
 * segment proves all earlier ones), and, when the page cache was never lost, whatever is intact. */
#include "recover.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "err.h"
#include "index.h"

#define LIMIT_REPORT 65536u
#define ENTRIES_AT_ONCE 128u

static void say(struct recovery *r, const char *format, ...) PRINTF_LIKE(2, 3);

static void say(struct recovery *r, const char *format, ...)
{
    char line[512];
    va_list args;
    if (r->report.size > LIMIT_REPORT) return;
    if (r->report.size > 0) r->report.data[r->report.size - 1] = '\n'; /* in place of the NUL */
    va_start(args, format);
    int n = vsnprintf(line, sizeof line, format, args);
    va_end(args);
    if (n > 0) (void)buf_append(&r->report, line, min_u64((uint64_t)n, sizeof line - 1) + 1);
    if (r->report.size > 0) r->report.data[r->report.size - 1] = 0;
}

static int add_entry(struct recovery *r, const struct entry *e)
{
    int rc = buf_grow_array((void **)&r->entries, r->entry_count, &r->entry_capacity,
                            sizeof *r->entries);
    if (rc == 0) r->entries[r->entry_count++] = *e;
    return rc;
}

/* Does recover_apply make this partition stable, or is it left to a later sync? */
static bool makes_stable(const struct recovery *r, const struct topic_picture *t)
{
    return t->config.sync == BECK_SYNC_SYNC || r->residue == RESIDUE_POISON;
}

static int add_survivor(struct recovery *r, const struct topic_picture *t, uint32_t index,
                        const struct segment *s, uint32_t end, bool sealed)
{
    bool sync = makes_stable(r, t);
    int rc = buf_grow_array((void **)&r->survivors, r->survivor_count, &r->survivor_capacity,
                            sizeof *r->survivors);
    if (rc == 0)
        r->survivors[r->survivor_count++] =
            (struct survivor){s->place, t->id, s->base, index, end, sync, sealed};
    return rc;
}

/* ---- One partition ---- */

/* Does this segment have to be walked to know where it ends? */
static bool must_scan(const struct recovery *r, const struct segment *s)
{
    return !s->sealed || (!r->trusted && s->stable < s->next);
}

static uint64_t scan_end(const struct segment *s)
{
    return s->sealed ? s->end : place_bytes(&s->place);
}

static int scan(struct recovery *r, const struct segment *s, uint64_t durable,
                struct log_scan *found)
{
    return log_scan_segment(r->cat->file, &s->place, s->base, scan_end(s), durable, r->trusted,
                            found);
}

static void report_scan(struct recovery *r, const struct topic_picture *t, uint32_t index,
                        const struct segment *s, const struct log_scan *f)
{
    char which[ERR_RECORDS_BYTES];
    if (f->gaps > 0)
        say(r, "topic %s:%u: %s damaged, at byte %llu of the file%s", t->name, index,
            err_records(which, f->lost_from, f->lost_to),
            (unsigned long long)(place_at(&s->place) + f->lost_at),
            f->gaps > 1 ? "; there is more" : "");
    if (f->beyond_to > f->beyond_from)
        say(r,
            "topic %s:%u: cut off at record %llu; intact but not yet stable behind it, and dropped:"
            " %llu to %llu",
            t->name, index, (unsigned long long)f->end.next, (unsigned long long)f->beyond_from,
            (unsigned long long)f->beyond_to - 1);
}

static int seal_at(struct recovery *r, const struct segment *s, const struct log_scan *f,
                   int64_t max_timestamp, uint64_t stable)
{
    bool empty = f->end.next == s->base && f->gaps == 0;
    struct entry seal = {.type = ENTRY_SEAL,
                         .place = s->place,
                         .next_offset = f->end.next,
                         .stable_offset = min_u64(f->end.next, stable),
                         .max_timestamp = max_timestamp,
                         .end = f->end.position};
    seal.place.blocks =
        empty ? 0 : (uint32_t)(align_up(f->end.position, BLOCK_BYTES) / BLOCK_BYTES);
    if (empty) seal.end = SEGMENT_HEADER_BYTES;
    return add_entry(r, &seal);
}

/* Segments behind a cut. */
static int retire_behind(struct recovery *r, const struct topic_picture *t, uint32_t index,
                         const struct partition_picture *part, uint32_t from, uint64_t next)
{
    int rc = 0;
    /* the last first: entries apply in order */
    for (uint32_t i = part->count; rc == 0 && i > from; i--) {
        const struct segment *s = &part->segments[i - 1];
        struct entry e = {.type = ENTRY_SEAL,
                          .place = s->place,
                          .next_offset = s->base,
                          .max_timestamp = -1,
                          .stable_offset = s->base,
                          .end = SEGMENT_HEADER_BYTES};
        say(r, "topic %s:%u: records from %llu on follow the cut at %llu and are dropped", t->name,
            index, (unsigned long long)s->base, (unsigned long long)next);
        e.place.blocks = 0; /* gone: nobody can be reading it */
        rc = add_entry(r, &e);
    }
    return rc;
}

/* What is durable, and what of it was told by a frame, a TAIL or a SEAL. */
struct knowledge {
    uint64_t durable;
    uint64_t proved;
};

static int learn(struct recovery *r, const struct partition_picture *part, struct knowledge *k)
{
    struct log_scan found;
    k->durable = k->proved = part->has_tail ? part->next : 0;
    for (uint32_t i = 0; i < part->count; i++) {
        const struct segment *s = &part->segments[i];
        if (s->sealed) k->durable = max_u64(k->durable, s->stable);
        if (s->sealed) k->proved = max_u64(k->proved, s->stable);
        if (!must_scan(r, s)) continue;
        int rc = scan(r, s, k->durable, &found);
        if (rc < 0) return rc;
        k->durable = max_u64(k->durable, found.durable);
        k->proved = max_u64(k->proved, found.proved);
    }
    return 0;
}

/* A sealed segment that is whole: it was walked, or the page cache was never lost. */
static int keep_sealed(struct recovery *r, const struct topic_picture *t, uint32_t index,
                       const struct segment *s)
{
    struct entry seal = segment_seal(s);
    seal.stable_offset = s->next;
    int rc = add_survivor(r, t, index, s, s->end, true);
    return rc < 0 || !makes_stable(r, t) ? rc : add_entry(r, &seal);
}

/* The partition ends in this segment. */
static int end_in(struct recovery *r, const struct topic_picture *t, uint32_t index, uint32_t at,
                  struct log_scan *found, struct partition_end *out)
{
    const struct partition_picture *part = &t->parts[index];
    const struct segment *s = &part->segments[at];
    int64_t max_timestamp = out->tail.max_timestamp;
    if (found->max_timestamp > max_timestamp) max_timestamp = found->max_timestamp;
    out->tail.next = found->end.next;
    out->tail.max_timestamp = max_timestamp;
    if (makes_stable(r, t)) out->stable = found->end.next;
    int rc = retire_behind(r, t, index, part, at + 1, found->end.next);
    if (rc == 0) rc = seal_at(r, s, found, max_timestamp, out->stable); /* [V2] [V3] */
    return rc < 0 ? rc : add_survivor(r, t, index, s, found->end.position, false);
}

static int partition_end(struct recovery *r, const struct topic_picture *t, uint32_t index,
                         struct partition_end *out)
{
    const struct partition_picture *part = &t->parts[index];
    struct knowledge k;
    struct log_scan found;
    char which[ERR_RECORDS_BYTES];
    bool ended = false;
    int rc = learn(r, part, &k);
    *out = (struct partition_end){
        t->id, index, {.next = part->next, .max_timestamp = part->max_timestamp}, k.proved, 0};
    for (uint32_t i = 0; rc == 0 && i < part->count && !ended; i++) {
        const struct segment *s = &part->segments[i];
        if (!must_scan(r, s)) {
            if (s->stable < s->next && makes_stable(r, t)) rc = keep_sealed(r, t, index, s);
            continue;
        }
        if ((rc = scan(r, s, k.durable, &found)) < 0) return rc;
        report_scan(r, t, index, s, &found);
        uint64_t due = s->sealed ? min_u64(s->next, k.durable) : k.durable;
        if (found.end.next < due) {
            /* The end itself is damaged: what is durable stays counted, and reads as a gap. [V1] */
            say(r, "topic %s:%u: %s damaged, at byte %llu of the file", t->name, index,
                err_records(which, found.end.next, due),
                (unsigned long long)(place_at(&s->place) + found.end.position));
            found.end.next = due;
            found.gaps++;
        }
        ended = !s->sealed || found.end.next < s->next;
        rc = ended ? end_in(r, t, index, i, &found, out) : keep_sealed(r, t, index, s);
    }
    out->stable = makes_stable(r, t) ? out->tail.next : min_u64(out->stable, out->tail.next);
    if (out->stable < out->tail.next && r->residue != RESIDUE_NONE) out->suspect = out->tail.next;
    return rc;
}

/* Nobody looks at the frames of a clean file; but that somebody cut it can be seen from afar. */
static void report_cut(struct recovery *r, const struct topic_picture *t, uint32_t index,
                       uint64_t size)
{
    const struct partition_picture *part = &t->parts[index];
    char which[ERR_RECORDS_BYTES];
    for (uint32_t i = 0; i < part->count; i++) {
        const struct segment *s = &part->segments[i];
        if (place_at(&s->place) + (s->sealed ? s->end : part->tail_end) <= size) continue;
        say(r, "topic %s:%u: the file was cut at byte %llu: of what it had, %s lost or damaged",
            t->name, index, (unsigned long long)size, err_records(which, s->base, part->next));
        return;
    }
}

/* A cleanly closed file: the catalog knows. */
static int clean_end(const struct topic_picture *t, uint32_t index, struct partition_end *out)
{
    const struct partition_picture *part = &t->parts[index];
    *out = (struct partition_end){
        t->id, index, {.next = part->next, .max_timestamp = part->max_timestamp}, part->next, 0};
    if (partition_active(part) == NULL) return 0;
    if (!part->has_tail)
        return err_set(BECK_CORRUPT,
                       "catalog: the file is marked clean, but topic %s:%u has no tail", t->name,
                       index);
    out->tail.segment = part->tail_segment;
    out->tail.position = out->tail.zeroed = part->tail_end;
    out->tail.chain = part->tail_chain;
    return 0;
}

/* ---- All of them ---- */

int recover_find_ends(struct recovery *r)
{
    const struct picture *p = &r->cat->picture;
    size_t count = 0;
    uint64_t size = 0;
    int rc = os_size(&r->cat->file->os, &size);
    /* A read-only handle that attaches anew may have other threads looking at the picture. */
    pthread_mutex_lock(&r->cat->mutex);
    for (size_t i = 0; i < p->topics; i++) count += p->by_id[i]->partitions;
    r->ends = calloc(count + 1, sizeof *r->ends);
    if (r->ends == NULL) rc = err_set(BECK_NOMEM, "out of memory");
    for (size_t i = 0; rc == 0 && i < p->topics; i++) {
        for (uint32_t k = 0; rc == 0 && k < p->by_id[i]->partitions; k++) {
            struct partition_end *out = &r->ends[r->count++];
            rc = r->clean ? clean_end(p->by_id[i], k, out) : partition_end(r, p->by_id[i], k, out);
            if (rc == 0 && r->clean) report_cut(r, p->by_id[i], k, size);
        }
    }
    pthread_mutex_unlock(&r->cat->mutex);
    return rc;
}

static void write_index(struct recovery *r, struct entry *seal)
{
    struct segment_owner *owner = picture_owner(&r->cat->picture, seal->place.id);
    if (owner == NULL || seal->place.blocks == 0) return;
    struct segment *s = partition_segment(&owner->topic->parts[owner->partition], seal->place.id);
    index_write(r->cat->coord, &s->place, s->base, seal->end, &seal->index_at, &seal->index_bytes);
    uint64_t used = max_u64(seal->end, (uint64_t)seal->index_at + seal->index_bytes);
    seal->place.blocks = (uint32_t)(align_up(used, BLOCK_BYTES) / BLOCK_BYTES);
}

/* After a sync whose end nobody saw: what will be synced is written again, for only then is the
 * result of this descriptor's own sync proof; of the rest the last page, which an index begins in.
 * What lies behind it is made as if it had never been written. */
static int survivor_write_again(struct recovery *r, const struct survivor *s)
{
    struct file *f = r->cat->file;
    uint64_t bytes, behind = align_up(s->end, OS_DIRECT_ALIGN);
    uint8_t *data;
    int rc = file_copy_segment(f, &s->place, s->end, &data, &bytes);
    if (data != NULL) {
        uint64_t from = s->sync ? 0 : (bytes - 1) / OS_DIRECT_ALIGN * OS_DIRECT_ALIGN;
        rc = file_write_around(f, data + from, (size_t)(bytes - from), place_at(&s->place) + from);
    }
    free(data);
    if (rc == 0 && !s->sealed && behind < place_bytes(&s->place))
        os_forget(&f->os, place_at(&s->place) + behind, place_bytes(&s->place) - behind);
    return rc;
}

/* Sync the bytes of a survivor, if its topic asks for that. */
static int make_stable(struct recovery *r, const struct survivor *s)
{
    struct file *f = r->cat->file;
    struct os_map map;
    uint64_t end;
    int rc = file_segment_there(f, &s->place, s->end, &end);
    if (rc < 0 || end == 0) return rc;
    rc = file_repair_header(f, &s->place, s->topic, s->partition, s->base);
    if (rc == 0 && r->residue != RESIDUE_NONE) rc = survivor_write_again(r, s);
    if (rc < 0 || !s->sync) return rc;
    rc = os_map(&f->os, place_at(&s->place), end, true, &map);
    if (rc < 0) return rc;
    rc = os_map_sync(&map, 0, end);
    os_unmap(&map);
    return rc;
}

static void forget_range(struct recovery *r, uint64_t from, uint64_t to)
{
    if (from < to) os_forget(&r->cat->file->os, from, to - from);
}

/* What its frames and its index leave of its last block. */
static void forget_rest(struct recovery *r, const struct segment *s)
{
    uint64_t used = max_u64(s->end, (uint64_t)s->index_at + s->index_bytes);
    used = place_at(&s->place) + align_up(used, OS_DIRECT_ALIGN);
    if (s->sealed) forget_range(r, used, place_at(&s->place) + place_bytes(&s->place));
}

/* After a sync whose end nobody saw: what nobody uses, or soon nobody will, is made as if it had
 * never been written; see file_write_around. The catalog is stable. */
static void forget_unused(struct recovery *r)
{
    const struct picture *p = &r->cat->picture;
    uint64_t from = HEAP_AT, size = 0;
    if (r->residue == RESIDUE_NONE) return;
    if (os_size(&r->cat->file->os, &size) < 0) return; /* a hint, as all of it */
    for (size_t i = 0; i < p->space.count; i++) {
        const struct run *used = &p->space.runs[i];
        forget_range(r, from, min_u64((uint64_t)used->block * BLOCK_BYTES, size));
        from = ((uint64_t)used->block + used->blocks) * BLOCK_BYTES;
    }
    forget_range(r, from, size);
    for (size_t i = 0; i < p->retired_count; i++) {
        const struct segment_place *gone = &p->retired[i].place;
        forget_range(r, place_at(gone), place_at(gone) + place_bytes(gone));
    }
    for (size_t i = 0; i < p->topics; i++)
        for (uint32_t k = 0; k < p->by_id[i]->partitions; k++)
            for (uint32_t n = 0; n < p->by_id[i]->parts[k].count; n++)
                forget_rest(r, &p->by_id[i]->parts[k].segments[n]);
}

int recover_apply(struct recovery *r)
{
    int rc = r->residue == RESIDUE_NONE ? 0 : catalog_rewrite(r->cat);
    if (rc == 0) forget_unused(r);
    for (size_t i = 0; rc == 0 && i < r->survivor_count; i++) rc = make_stable(r, &r->survivors[i]);
    for (size_t i = 0; i < r->entry_count; i++)
        if (r->entries[i].type == ENTRY_SEAL && r->entries[i].index_at == 0)
            write_index(r, &r->entries[i]);
    /* One batch, unless there are so many that it would need a segment of its own: each is true
     * alone. */
    for (size_t at = 0; rc == 0 && at < r->entry_count;) {
        size_t n = (size_t)min_u64(r->entry_count - at, ENTRIES_AT_ONCE);
        rc = catalog_append(r->cat, r->entries + at, n);
        at += n;
    }
    if (rc == 0) forget_unused(r); /* what was cut off, too */
    return rc;
}

void recover_free(struct recovery *r)
{
    buf_free(&r->report);
    free(r->ends);
    free(r->entries);
    free(r->survivors);
    memset(r, 0, sizeof *r);
}
