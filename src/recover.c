/* recover.c -- after a crash: the end of every partition, then a sealed start */
/*
 * The catalog has been read. Then, in this order: cut each partition at its end -> sync what
 * survives -> seal and retire in one catalog batch -> publish -> appends. It can be interrupted
 * anywhere and done again: until the batch is stable nothing has changed, after it there is nothing
 * unsealed left.
 *
 *  [V1] below what is known durable nothing is cut: damage there stays, is reported, and reads
 *       as a gap
 *  [V2] above it a partition ends at its first frame that is not intact
 *  [V3] nothing is ever appended behind a cut in the same segment: frames from before could show
 *       through
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
    if (r->entry_count == r->entry_capacity) {
        size_t capacity = r->entry_capacity == 0 ? 64 : 2 * r->entry_capacity;
        struct entry *entries = realloc(r->entries, capacity * sizeof *entries);
        if (entries == NULL) return err_set(BECK_NOMEM, "out of memory");
        r->entries = entries;
        r->entry_capacity = capacity;
    }
    r->entries[r->entry_count++] = *e;
    return 0;
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
    if (f->gaps > 0)
        say(r, "topic %s:%u: records %llu to %llu are damaged, at byte %llu of the file%s", t->name,
            index, (unsigned long long)f->lost_from, (unsigned long long)f->lost_to - 1,
            (unsigned long long)(place_at(&s->place) + f->lost_at),
            f->gaps > 1 ? "; there is more" : "");
    if (f->beyond_to > f->beyond_from)
        say(r,
            "topic %s:%u: cut off at record %llu; of what was not yet stable, records %llu to %llu "
            "beyond"
            " it were dropped",
            t->name, index, (unsigned long long)f->end.next, (unsigned long long)f->beyond_from,
            (unsigned long long)f->beyond_to - 1);
}

static int seal_at(struct recovery *r, const struct segment *s, const struct log_scan *f,
                   int64_t max_timestamp)
{
    bool empty = f->end.next == s->base && f->gaps == 0;
    struct entry seal = {.type = ENTRY_SEAL,
                         .place = s->place,
                         .next_offset = f->end.next,
                         .stable_offset = f->end.next,
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

static int partition_end(struct recovery *r, const struct topic_picture *t, uint32_t index,
                         struct partition_end *out)
{
    const struct partition_picture *part = &t->parts[index];
    struct log_scan found;
    uint64_t durable = part->has_tail ? part->next : 0;
    int64_t max_timestamp = part->max_timestamp;
    int rc = 0;
    out->topic = t->id;
    out->index = index;
    out->tail = (struct tail){.next = part->next, .max_timestamp = part->max_timestamp};

    /* what later frames prove about earlier ones */
    for (uint32_t i = 0; rc == 0 && i < part->count; i++) {
        const struct segment *s = &part->segments[i];
        if (s->sealed) durable = max_u64(durable, s->stable);
        if (!must_scan(r, s)) continue;
        rc = scan(r, s, durable, &found);
        durable = max_u64(durable, found.stable);
    }
    for (uint32_t i = 0; rc == 0 && i < part->count; i++) {
        const struct segment *s = &part->segments[i];
        if (!must_scan(r, s)) continue;
        rc = scan(r, s, durable, &found);
        if (rc < 0) return rc;
        report_scan(r, t, index, s, &found);
        max_timestamp = found.max_timestamp > max_timestamp ? found.max_timestamp : max_timestamp;
        if ((!s->sealed || s->next > durable) && found.end.next < durable) {
            /* The end itself is damaged: what is durable stays counted, and reads as a gap. [V1] */
            say(r, "topic %s:%u: records %llu to %llu are damaged, at byte %llu of the file",
                t->name, index, (unsigned long long)found.end.next, (unsigned long long)durable - 1,
                (unsigned long long)(place_at(&s->place) + found.end.position));
            found.end.next = durable;
            found.gaps++;
        }
        if (s->sealed && (found.end.next >= s->next || s->next <= durable)) continue; /* [V1] */
        out->tail.next = found.end.next;
        out->tail.max_timestamp = max_timestamp;
        rc = retire_behind(r, t, index, part, i + 1, found.end.next);
        if (rc == 0) rc = seal_at(r, s, &found, max_timestamp); /* [V2] [V3] */
        break;
    }
    return rc;
}

/* A cleanly closed file: the catalog knows. */
static int clean_end(const struct topic_picture *t, uint32_t index, struct partition_end *out)
{
    const struct partition_picture *part = &t->parts[index];
    *out = (struct partition_end){
        t->id, index, {.next = part->next, .max_timestamp = part->max_timestamp}};
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
    int rc = 0;
    for (size_t i = 0; i < p->topics; i++) count += p->by_id[i]->partitions;
    r->ends = calloc(count + 1, sizeof *r->ends);
    if (r->ends == NULL) return err_set(BECK_NOMEM, "out of memory");
    for (size_t i = 0; rc == 0 && i < p->topics; i++) {
        for (uint32_t k = 0; rc == 0 && k < p->by_id[i]->partitions; k++) {
            struct partition_end *out = &r->ends[r->count++];
            p->by_id[i]->parts[k].cell = (uint32_t)(r->count - 1);
            rc = r->clean ? clean_end(p->by_id[i], k, out) : partition_end(r, p->by_id[i], k, out);
        }
    }
    return rc;
}

static void write_index(struct recovery *r, struct entry *seal)
{
    struct segment_owner *owner = picture_owner(&r->cat->picture, seal->place.id);
    if (owner == NULL || seal->place.blocks == 0) return;
    struct segment *s = partition_segment(&owner->topic->parts[owner->partition], seal->place.id);
    index_write(r->cat->file, &s->place, s->base, seal->end, &seal->index_at, &seal->index_bytes);
    uint64_t used = max_u64(seal->end, (uint64_t)seal->index_at + seal->index_bytes);
    seal->place.blocks = (uint32_t)(align_up(used, BLOCK_BYTES) / BLOCK_BYTES);
}

int recover_apply(struct recovery *r)
{
    for (size_t i = 0; i < r->entry_count; i++)
        if (r->entries[i].type == ENTRY_SEAL) write_index(r, &r->entries[i]);
    int rc = os_sync(&r->cat->file->os);
    /* One batch, unless there are so many that it would need a segment of its own: each is true
     * alone. */
    for (size_t at = 0; rc == 0 && at < r->entry_count;) {
        size_t n = (size_t)min_u64(r->entry_count - at, 4096);
        rc = catalog_append(r->cat, r->entries + at, n);
        at += n;
    }
    for (size_t i = 0; rc == 0 && i < r->count; i++) {
        r->ends[i].tail.segment = 0;
        r->ends[i].tail.position = r->ends[i].tail.chain = r->ends[i].tail.zeroed = 0;
    }
    return rc;
}

void recover_free(struct recovery *r)
{
    buf_free(&r->report);
    free(r->ends);
    free(r->entries);
    r->ends = NULL;
    r->entries = NULL;
}
