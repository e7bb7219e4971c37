/* verify.c -- verifies every byte of the file that means something */
/*
 * Superblocks, segment headers, every frame and record of every segment, chains, offsets, indexes.
 * The catalog was verified when the picture was made: extents that overlap or entries that
 * contradict each other do not get that far. Works beside writers: it looks at what was visible
 * when it came by. */
#include "verify.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "err.h"
#include "index.h"

struct check {
    struct beck *db;
    struct buf held; /* findings, NUL-terminated one after the other */
    beck_check_callback finding;
    beck_progress_callback progress;
    void *context;
    beck_check_summary sum;
    struct batch_unpacker unpacker;
    uint64_t unpacked_max; /* of the topic */
    uint64_t total;
    bool stopped;
    int failed; /* the check itself */
    const char *topic;
    uint32_t partition;
    struct tail tail; /* of the partition, as its TAIL entry says; segment 0 = none */
};

static void report(struct check *c, const char *format, ...) PRINTF_LIKE(2, 3);

/* Findings wait until the segment they are about is known to be still there. */
static void report(struct check *c, const char *format, ...)
{
    char line[600];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(line, sizeof line, format, args);
    va_end(args);
    if (n > 0) (void)buf_append(&c->held, line, min_u64((uint64_t)n, sizeof line - 1));
    (void)buf_append(&c->held, "", 1);
}

static void hand_over(struct check *c)
{
    if (c->held.size == 0) return; /* held.data may be NULL */
    const char *line = (const char *)c->held.data;
    const char *end = line + c->held.size;
    for (; line < end && !c->stopped; line += strlen(line) + 1) {
        c->sum.findings++;
        if (c->finding != NULL && c->finding(c->context, line) != 0) c->stopped = true;
    }
    c->held.size = 0;
}

static void check_superblocks(struct check *c)
{
    static const uint32_t at[2] = {SUPER_A_AT, SUPER_B_AT};
    uint8_t bytes[SUPER_BYTES];
    struct superblock s;
    for (int i = 0; i < 2; i++)
        if (os_read(&c->db->file.os, bytes, sizeof bytes, at[i]) < 0 ||
            super_decode(bytes, &s) != 1)
            report(c, "superblock %c at byte %u is damaged", 'A' + i, at[i]);
}

static void check_header(struct check *c, const struct segment *s, const uint8_t *data)
{
    struct segment_header h;
    if (segment_header_decode(data, &h) < 0 || h.id != s->place.id || h.salt != s->place.salt ||
        h.base_offset != s->base || memcmp(h.uuid, c->db->file.uuid, 16) != 0)
        report(c, "topic %s:%u: header of segment %llu at byte %llu is damaged", c->topic,
               c->partition, (unsigned long long)s->place.id,
               (unsigned long long)place_at(&s->place));
}

/* Every record of an intact batch must decode. */
static void check_records(struct check *c, const struct segment *s, const struct log_frame *f,
                          const uint8_t *batch)
{
    struct batch_walk walk;
    beck_record record;
    const uint8_t *headers;
    int rc = batch_walk_begin(&walk, batch, &f->batch, &c->unpacker, c->unpacked_max);
    while (rc == 0 && (rc = batch_walk_next(&walk, &record, &headers)) == 1) {
        c->sum.records++;
        rc = 0;
    }
    if (rc == BECK_NOMEM)
        c->failed = rc;
    else if (rc == BECK_UNSUPPORTED || rc == BECK_TOO_LARGE)
        c->sum.unread++; /* its checksum was right */
    else if (rc < 0)
        report(c, "topic %s:%u: batch at offset %lld, byte %llu: %s", c->topic, c->partition,
               (long long)f->batch.base_offset,
               (unsigned long long)(place_at(&s->place) + f->position), err_message());
    c->sum.batches++;
    c->sum.bytes += f->batch.bytes;
}

/* Who appends next goes on where the TAIL says, behind the frame it names. */
static void check_tail(struct check *c, const struct segment *s, const struct log_position *at)
{
    if (s->sealed || c->tail.segment != s->place.id || c->tail.next != at->next) return;
    if (at->position != c->tail.position || at->chain != c->tail.chain)
        report(c, "topic %s:%u: segment %llu ends at %u, which its tail in the catalog denies",
               c->topic, c->partition, (unsigned long long)s->place.id, at->position);
}

/* Walk the frames of one segment up to offset `limit`. */
static void check_frames(struct check *c, const struct segment *s, const uint8_t *data,
                         uint64_t end, uint64_t limit)
{
    bool whole = true;
    struct log_position at = log_begin(s->base);
    struct log_frame found;
    char which[ERR_RECORDS_BYTES];
    while (!c->stopped && at.next < limit) {
        uint64_t left = at.position < end ? end - at.position : 0;
        if (left > 0 &&
            log_frame_at(&s->place, &at, data + at.position, left, true, &found, NULL)) {
            check_records(c, s, &found, data + found.position + FRAME_BYTES);
            log_advance(&at, &found);
            continue;
        }
        whole = false;
        uint64_t from = at.next, byte = place_at(&s->place) + at.position;
        if (left == 0 || !log_resync(&s->place, &at, data, end, limit)) at.next = limit;
        if (at.next > from)
            report(c, "topic %s:%u: %s damaged, at byte %llu", c->topic, c->partition,
                   err_records(which, from, at.next), (unsigned long long)byte);
        else
            report(c, "topic %s:%u: damage at byte %llu", c->topic, c->partition,
                   (unsigned long long)byte);
    }
    if (!c->stopped && s->sealed && at.position < s->end)
        report(c, "topic %s:%u: segment %llu ends at %u instead of %u", c->topic, c->partition,
               (unsigned long long)s->place.id, at.position, s->end);
    if (!c->stopped && whole) check_tail(c, s, &at);
}

static int check_segment(struct check *c, const struct segment *s, uint64_t limit)
{
    uint64_t end = s->sealed ? s->end : place_bytes(&s->place);
    uint8_t *data;
    int rc = file_copy_segment(&c->db->file, &s->place, end, &data, &end);
    if (rc < 0) return rc;
    if (end < SEGMENT_HEADER_BYTES) {
        free(data);
        report(c, "topic %s:%u: segment %llu lies behind the end of the file", c->topic,
               c->partition, (unsigned long long)s->place.id);
        return 0;
    }
    check_header(c, s, data);
    check_frames(c, s, data, end, s->sealed ? s->next : limit);
    if (s->index_at != 0 && !index_valid(&c->db->file, &s->place, s->index_at, s->index_bytes))
        report(c, "topic %s:%u: index of segment %llu at byte %llu is damaged (it is only a help)",
               c->topic, c->partition, (unsigned long long)s->place.id,
               (unsigned long long)(place_at(&s->place) + s->index_at));
    c->sum.segments++;
    if (c->failed < 0) rc = err_set(c->failed, "out of memory");
    free(data);
    if (c->progress != NULL) c->progress(c->context, c->sum.bytes, c->total);
    return rc;
}

/* A topic may be deleted, and its space used again, while we read: then what we found means
 * nothing. */
static int judge(struct check *c, uint64_t topic, uint32_t index, uint64_t segment)
{
    if (c->held.size == 0) return 0;
    int rc = db_follow(c->db);
    if (rc == 0) rc = db_refresh(c->db);
    if (rc < 0) return rc;
    pthread_mutex_lock(&c->db->cat.mutex);
    struct partition_picture *part = picture_partition(&c->db->cat.picture, topic, index);
    bool there = part != NULL && (segment == 0 || partition_segment(part, segment) != NULL);
    pthread_mutex_unlock(&c->db->cat.mutex);
    if (there) hand_over(c);
    c->held.size = 0;
    return 0;
}

/* The segments of a partition, copied, and its TAIL: others may go on meanwhile. */
static int copy_segments(struct check *c, uint64_t topic, uint32_t index, struct segment **list,
                         uint32_t *count)
{
    struct beck *db = c->db;
    int rc = 0;
    *list = NULL;
    *count = 0;
    pthread_mutex_lock(&db->cat.mutex);
    struct partition_picture *part = picture_partition(&db->cat.picture, topic, index);
    if (part != NULL && part->count > 0) {
        *list = malloc(part->count * sizeof **list);
        if (*list == NULL)
            rc = err_set(BECK_NOMEM, "out of memory");
        else
            memcpy(*list, part->segments, (*count = part->count) * sizeof **list);
    }
    c->tail.segment = part != NULL && part->has_tail ? part->tail_segment : 0;
    if (c->tail.segment != 0) {
        c->tail.next = part->next;
        c->tail.position = part->tail_end;
        c->tail.chain = part->tail_chain;
    }
    pthread_mutex_unlock(&db->cat.mutex);
    return rc;
}

static int check_partition(struct check *c, uint64_t topic, uint32_t index)
{
    struct cell_ref ref;
    struct segment *list;
    uint32_t count;
    char which[ERR_RECORDS_BYTES];
    int rc = db_cell(c->db, topic, index, &ref);
    if (rc < 0) return rc == BECK_NOT_FOUND ? 0 : rc;
    uint64_t visible = atomic_load(&ref.ro->visible);
    if ((rc = db_refresh(c->db)) < 0) return rc;
    if ((rc = copy_segments(c, topic, index, &list, &count)) < 0) return rc;
    c->partition = index;
    for (uint32_t i = 0; rc == 0 && i < count && !c->stopped; i++) {
        uint64_t before = i == 0 ? list[i].base : list[i - 1].next;
        if (list[i].base > before)
            report(c, "topic %s:%u: %s lost", c->topic, index,
                   err_records(which, before, list[i].base));
        rc = check_segment(c, &list[i], visible);
        if (rc == 0) rc = judge(c, topic, index, list[i].place.id);
    }
    if (count > 0 && list[count - 1].sealed && list[count - 1].next < visible)
        report(c, "topic %s:%u: %s lost", c->topic, index,
               err_records(which, list[count - 1].next, visible));
    free(list);
    return rc < 0 ? rc : judge(c, topic, index, 0);
}

int verify_file(struct beck *db, beck_check_callback finding, beck_progress_callback progress,
                void *context, beck_check_summary *summary)
{
    struct check c = {.db = db, .finding = finding, .progress = progress, .context = context};
    char name[BECK_TOPIC_NAME_MAX + 1] = "";
    int rc = db_follow(db);
    if (rc == 0) rc = db_refresh(db);
    c.topic = name;
    check_superblocks(&c);
    hand_over(&c);
    pthread_mutex_lock(&db->cat.mutex);
    c.total = space_used(&db->cat.picture.space) * BLOCK_BYTES;
    pthread_mutex_unlock(&db->cat.mutex);
    for (uint64_t id = 0; rc == 0 && !c.stopped;) { /* in the order of ids: topics come and go */
        uint32_t partitions = 0;
        size_t i = 0;
        pthread_mutex_lock(&db->cat.mutex);
        while (i < db->cat.picture.topics && db->cat.picture.by_id[i]->id <= id) i++;
        bool more = i < db->cat.picture.topics;
        if (more) {
            struct topic_picture *t = db->cat.picture.by_id[i];
            id = t->id;
            partitions = t->partitions;
            c.unpacked_max = batch_unpacked_max(t->config.max_message_bytes);
            strncpy(name, t->name, BECK_TOPIC_NAME_MAX);
        }
        pthread_mutex_unlock(&db->cat.mutex);
        if (!more) break;
        for (uint32_t k = 0; rc == 0 && k < partitions && !c.stopped; k++)
            rc = check_partition(&c, id, k);
    }
    buf_free(&c.held);
    batch_unpacker_free(&c.unpacker);
    *summary = c.sum;
    if (rc < 0) return rc;
    if (c.sum.findings == 0) return 0;
    return err_set(BECK_CORRUPT, "%llu findings", (unsigned long long)c.sum.findings);
}
