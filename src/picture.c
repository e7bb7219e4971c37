/* picture.c -- topics, partitions and segments as the catalog tells them */
/*
 * The state that replaying the catalog gives, in the memory of one handle. Entries come from the
 * file, so each is checked against what is known before it changes anything.
 *
 *  [K1] ids of topics and segments are never used twice
 *  [K2] only the last segment of a partition is unsealed, and base offsets rise
 *  [K3] segments that are not free do not overlap (space_take says so)
 *
 * Not known here: the log of entries, locks, or where a partition really ends while it is being
 * written. */
#include "picture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "buf.h"
#include "err.h"
#include "settings.h"

static void topic_free(struct topic_picture *t)
{
    if (t == NULL) return;
    for (uint32_t i = 0; t->parts != NULL && i < t->partitions; i++) free(t->parts[i].segments);
    free(t->parts);
    free(t->name);
    free(t->settings);
    free(t);
}

void picture_free(struct picture *p)
{
    for (size_t i = 0; i < p->topics; i++) topic_free(p->by_id[i]);
    free(p->by_id);
    free(p->by_name);
    free(p->owners);
    for (size_t i = 0; i < p->retired_count; i++) free(p->retired[i].name);
    free(p->retired);
    space_free(&p->space);
    memset(p, 0, sizeof *p);
}

/* ---- Looking things up ---- */

static size_t name_search(const struct picture *p, const char *name)
{
    size_t low = 0, high = p->topics;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (strcmp(p->by_name[middle]->name, name) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static size_t id_search(const struct picture *p, uint64_t id)
{
    size_t low = 0, high = p->topics;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (p->by_id[middle]->id < id)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

struct topic_picture *picture_topic_by_name(const struct picture *p, const char *name)
{
    size_t at = name_search(p, name);
    return at < p->topics && strcmp(p->by_name[at]->name, name) == 0 ? p->by_name[at] : NULL;
}

struct topic_picture *picture_topic_by_id(const struct picture *p, uint64_t id)
{
    size_t at = id_search(p, id);
    return at < p->topics && p->by_id[at]->id == id ? p->by_id[at] : NULL;
}

struct partition_picture *picture_partition(const struct picture *p, uint64_t topic,
                                            uint32_t partition)
{
    struct topic_picture *t = picture_topic_by_id(p, topic);
    return t != NULL && partition < t->partitions ? &t->parts[partition] : NULL;
}

static size_t owner_search(const struct picture *p, uint64_t id)
{
    size_t low = 0, high = p->owner_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (p->owners[middle].id < id)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

struct segment_owner *picture_owner(const struct picture *p, uint64_t segment)
{
    size_t at = owner_search(p, segment);
    return at < p->owner_count && p->owners[at].id == segment ? &p->owners[at] : NULL;
}

const struct retired *picture_retired(const struct picture *p, uint64_t segment)
{
    for (size_t i = 0; i < p->retired_count; i++)
        if (p->retired[i].place.id == segment) return &p->retired[i];
    return NULL;
}

const struct retired *picture_retired_topic(const struct picture *p, uint64_t topic)
{
    for (size_t i = 0; i < p->retired_count; i++)
        if (p->retired[i].topic == topic) return &p->retired[i];
    return NULL;
}

static uint64_t place_bytes_of(uint32_t blocks)
{
    return (uint64_t)blocks * BLOCK_BYTES;
}

uint64_t partition_bytes(const struct partition_picture *part)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < part->count; i++)
        bytes += place_bytes_of(part->segments[i].place.blocks);
    return bytes;
}

struct segment *partition_active(const struct partition_picture *part)
{
    if (part->count == 0 || part->segments[part->count - 1].sealed) return NULL;
    return &part->segments[part->count - 1];
}

struct segment *partition_segment(const struct partition_picture *part, uint64_t id)
{
    for (uint32_t i = part->count; i > 0; i--) /* mostly one of the last */
        if (part->segments[i - 1].place.id == id) return &part->segments[i - 1];
    return NULL;
}

struct segment *partition_locate(const struct partition_picture *part, uint64_t offset)
{
    uint32_t low = 0, high = part->count; /* the first segment that ends behind offset */
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        const struct segment *s = &part->segments[middle];
        if (s->sealed && s->next <= offset)
            low = middle + 1;
        else
            high = middle;
    }
    return low < part->count ? &part->segments[low] : NULL;
}

/* ---- Topics ---- */

static int topic_grow(struct topic_picture *t, uint32_t partitions)
{
    struct partition_picture *parts = realloc(t->parts, partitions * sizeof *parts);
    if (parts == NULL) return err_set(BECK_NOMEM, "out of memory");
    t->parts = parts;
    for (uint32_t i = t->partitions; i < partitions; i++)
        parts[i] = (struct partition_picture){.cell = NO_CELL, .max_timestamp = -1};
    t->partitions = partitions;
    return 0;
}

static char *text_copy(const char *text, size_t bytes)
{
    char *copy = malloc(bytes + 1);
    if (copy == NULL) return NULL;
    memcpy(copy, text, bytes);
    copy[bytes] = 0;
    return copy;
}

static int topic_insert(struct picture *p, struct topic_picture *t)
{
    size_t capacity = p->topics_capacity;
    int rc = buf_grow_array((void **)&p->by_id, p->topics, &capacity, sizeof *p->by_id);
    if (rc == 0)
        rc = buf_grow_array((void **)&p->by_name, p->topics, &p->topics_capacity,
                            sizeof *p->by_name);
    if (rc < 0) return rc;
    size_t id_at = id_search(p, t->id), name_at = name_search(p, t->name);
    size_t behind_id = p->topics - id_at, behind_name = p->topics - name_at;
    memmove(p->by_id + id_at + 1, p->by_id + id_at, behind_id * sizeof *p->by_id);
    memmove(p->by_name + name_at + 1, p->by_name + name_at, behind_name * sizeof *p->by_name);
    p->by_id[id_at] = p->by_name[name_at] = t;
    p->topics++;
    return 0;
}

static void topic_remove(struct picture *p, struct topic_picture *t)
{
    size_t id_at = id_search(p, t->id), name_at = name_search(p, t->name);
    p->topics--;
    memmove(p->by_id + id_at, p->by_id + id_at + 1, (p->topics - id_at) * sizeof *p->by_id);
    memmove(p->by_name + name_at, p->by_name + name_at + 1,
            (p->topics - name_at) * sizeof *p->by_name);
}

static int topic_set(struct topic_picture *t, const struct entry *e)
{
    char *settings = text_copy(e->settings, e->settings_bytes);
    if (settings == NULL) return err_set(BECK_NOMEM, "out of memory");
    free(t->settings);
    t->settings = settings;
    int rc = settings_read(e->settings, e->settings_bytes, &t->config);
    if (rc == 0 && e->partitions > t->partitions) rc = topic_grow(t, e->partitions);
    t->config.partitions = t->partitions;
    return rc;
}

/* Names are printed, in messages too, and become parts of paths and patterns of others. */
static bool name_possible(const char *name, size_t bytes)
{
    return strspn(name, TOPIC_NAME_CHARACTERS) == bytes && strcmp(name, ".") != 0 &&
           strcmp(name, "..") != 0;
}

static int apply_topic(struct picture *p, const struct entry *e)
{
    struct topic_picture *t = picture_topic_by_id(p, e->topic);
    if (p->partitions + e->partitions > PARTITIONS_TOTAL_MAX)
        return err_set(BECK_LIMIT, "a file can have %u partitions in all", PARTITIONS_TOTAL_MAX);
    if (e->topic < TOPIC_USER_FIRST || e->partitions == 0 || e->partitions > BECK_PARTITIONS_MAX)
        return err_set(BECK_CORRUPT, "catalog: topic %llu, %u partitions",
                       (unsigned long long)e->topic, e->partitions);
    if (t != NULL) {
        bool renamed =
            strlen(t->name) != e->name_bytes || memcmp(t->name, e->name, e->name_bytes) != 0;
        uint32_t had = t->partitions;
        if (renamed || e->partitions < had)
            return err_set(BECK_CORRUPT, "catalog: topic %s changes its name or loses partitions",
                           t->name);
        int set = topic_set(t, e);
        p->partitions += t->partitions - had;
        return set;
    }
    if ((t = calloc(1, sizeof *t)) == NULL) return err_set(BECK_NOMEM, "out of memory");
    t->id = e->topic;
    t->name = text_copy(e->name, e->name_bytes);
    int rc = t->name == NULL ? err_set(BECK_NOMEM, "out of memory") : topic_set(t, e);
    if (rc == 0 && !name_possible(t->name, e->name_bytes))
        rc = err_set(BECK_CORRUPT, "catalog: topic %llu has an impossible name",
                     (unsigned long long)e->topic);
    if (rc == 0 && picture_topic_by_name(p, t->name) != NULL)
        rc = err_set(BECK_CORRUPT, "catalog: two topics are called %s", t->name);
    if (rc == 0) rc = topic_insert(p, t);
    if (rc < 0) {
        topic_free(t);
        return rc;
    }
    p->partitions += t->partitions;
    p->next_topic = max_u64(p->next_topic, e->topic + 1); /* [K1] */
    return 0;
}

/* ---- Segments ---- */

static int retire(struct picture *p, const struct segment *s, const struct topic_picture *t,
                  uint32_t partition)
{
    int rc = buf_grow_array((void **)&p->retired, p->retired_count, &p->retired_capacity,
                            sizeof *p->retired);
    if (rc < 0) return rc;
    char *name = text_copy(t->name, strlen(t->name));
    if (name == NULL) return err_set(BECK_NOMEM, "out of memory");
    p->retired[p->retired_count++] =
        (struct retired){s->place, t->id, name, partition, s->base, s->next};
    return 0;
}

static void forget_owner(struct picture *p, uint64_t segment)
{
    struct segment_owner *o = picture_owner(p, segment);
    if (o == NULL) return;
    size_t at = (size_t)(o - p->owners);
    p->owner_count--;
    memmove(p->owners + at, p->owners + at + 1, (p->owner_count - at) * sizeof *p->owners);
}

static void forget_segment(struct picture *p, struct partition_picture *part, uint64_t id)
{
    struct segment *s = partition_segment(part, id);
    size_t at = (size_t)(s - part->segments);
    part->count--;
    memmove(part->segments + at, part->segments + at + 1, (part->count - at) * sizeof *s);
    forget_owner(p, id);
}

static int apply_delete(struct picture *p, const struct entry *e)
{
    struct topic_picture *t = picture_topic_by_id(p, e->topic);
    int rc = 0;
    if (t == NULL)
        return err_set(BECK_CORRUPT, "catalog: unknown topic %llu deleted",
                       (unsigned long long)e->topic);
    for (uint32_t i = 0; i < t->partitions; i++) {
        for (uint32_t k = 0; rc == 0 && k < t->parts[i].count; k++) {
            rc = retire(p, &t->parts[i].segments[k], t, i);
            forget_owner(p, t->parts[i].segments[k].place.id);
        }
    }
    p->partitions -= t->partitions;
    topic_remove(p, t);
    topic_free(t);
    return rc;
}

static int apply_add(struct picture *p, const struct entry *e)
{
    struct partition_picture *part = picture_partition(p, e->topic, e->partition);
    unsigned long long id = e->place.id;
    if (part == NULL)
        return err_set(BECK_CORRUPT, "catalog: segment %llu of an unknown partition", id);
    uint64_t floor = part->count > 0 ? part->segments[part->count - 1].next : part->next;
    if (partition_active(part) != NULL || e->base_offset < floor) /* [K2] */
        return err_set(BECK_CORRUPT, "catalog: segment %llu at offset %llu does not follow", id,
                       (unsigned long long)e->base_offset);
    if (picture_owner(p, e->place.id) != NULL ||
        e->place.blocks > SEGMENT_BYTES_LIMIT / BLOCK_BYTES + 1)
        return err_set(BECK_CORRUPT, "catalog: segment %llu is impossible", id);

    size_t capacity = part->capacity;
    int rc =
        buf_grow_array((void **)&part->segments, part->count, &capacity, sizeof *part->segments);
    part->capacity = (uint32_t)capacity;
    if (rc == 0)
        rc = buf_grow_array((void **)&p->owners, p->owner_count, &p->owner_capacity,
                            sizeof *p->owners);
    if (rc == 0) rc = space_take(&p->space, e->place.block, e->place.blocks); /* [K3] */
    if (rc < 0) return rc;
    part->segments[part->count++] = (struct segment){
        .place = e->place, .base = e->base_offset, .next = e->base_offset, .max_timestamp = -1};
    size_t at = owner_search(p, e->place.id);
    memmove(p->owners + at + 1, p->owners + at, (p->owner_count - at) * sizeof *p->owners);
    p->owners[at] =
        (struct segment_owner){e->place.id, picture_topic_by_id(p, e->topic), e->partition};
    p->owner_count++;
    p->next_segment = max_u64(p->next_segment, e->place.id + 1); /* [K1] */
    part->next = max_u64(part->next, e->base_offset);
    part->has_tail = false;
    return 0;
}

static int apply_seal(struct picture *p, struct partition_picture *part, const struct entry *e)
{
    struct segment *s = partition_segment(part, e->place.id);
    uint64_t bytes = place_bytes_of(e->place.blocks);
    bool last = s == &part->segments[part->count - 1];
    bool outside = e->end < SEGMENT_HEADER_BYTES || e->end > bytes || e->end % FRAME_ALIGN != 0 ||
                   (uint64_t)e->index_at + e->index_bytes > bytes;
    if (e->next_offset < s->base || e->place.blocks > s->place.blocks ||
        (e->place.blocks > 0 && outside) || e->stable_offset > e->next_offset ||
        (!last && (!s->sealed || e->next_offset > s[1].base)))
        return err_set(BECK_CORRUPT, "catalog: segment %llu is sealed impossibly",
                       (unsigned long long)e->place.id);
    if (last) {
        part->next = e->next_offset;
        part->max_timestamp = e->max_timestamp;
        part->has_tail = false;
    }
    space_give(&p->space, s->place.block, e->place.blocks);
    if (e->place.blocks == 0) {
        forget_segment(p, part, e->place.id);
        return 0;
    }
    s->sealed = true;
    s->next = e->next_offset;
    s->stable = e->stable_offset;
    s->max_timestamp = e->max_timestamp;
    s->end = e->end;
    s->index_at = e->index_at;
    s->index_bytes = e->index_bytes;
    s->place.blocks = e->place.blocks;
    return 0;
}

static int apply_retire(struct picture *p, const struct segment_owner *owner, const struct entry *e)
{
    struct partition_picture *part = &owner->topic->parts[owner->partition];
    struct segment *s = partition_segment(part, e->place.id);
    bool first = s == part->segments;
    if (first && part->count > 1 && e->next_offset > s[1].base)
        return err_set(BECK_CORRUPT, "catalog: segment %llu is retired up to offset %llu",
                       (unsigned long long)e->place.id, (unsigned long long)e->next_offset);
    int rc = retire(p, s, owner->topic, owner->partition);
    if (rc < 0) return rc;
    forget_segment(p, part, e->place.id);
    if (part->tail_segment == e->place.id) part->has_tail = false;
    if (first) part->start = max_u64(part->start, e->next_offset);
    if (part->count == 0) part->next = max_u64(part->next, e->next_offset);
    return 0;
}

static int apply_free(struct picture *p, const struct entry *e)
{
    for (size_t i = 0; i < p->retired_count; i++) {
        if (p->retired[i].place.id != e->place.id) continue;
        space_give(&p->space, p->retired[i].place.block, 0);
        free(p->retired[i].name);
        p->retired[i] = p->retired[--p->retired_count];
        return 0;
    }
    return err_set(BECK_CORRUPT, "catalog: segment %llu is freed but not retired",
                   (unsigned long long)e->place.id);
}

static int apply_tail(struct picture *p, const struct entry *e)
{
    struct partition_picture *part = picture_partition(p, e->topic, e->partition);
    if (part == NULL) return err_set(BECK_CORRUPT, "catalog: tail of an unknown partition");
    struct segment *s = partition_active(part);
    bool wrong = e->place.id == 0
                     ? s != NULL || e->next_offset < part->next
                     : s == NULL || s->place.id != e->place.id || e->next_offset < s->base ||
                           e->end > place_bytes_of(s->place.blocks) ||
                           e->end < SEGMENT_HEADER_BYTES || e->end % FRAME_ALIGN != 0;
    if (wrong)
        return err_set(BECK_CORRUPT, "catalog: impossible tail of %llu:%u",
                       (unsigned long long)e->topic, e->partition);
    part->has_tail = true;
    part->tail_segment = e->place.id;
    part->tail_end = e->end;
    part->tail_chain = e->chain;
    part->next = e->next_offset;
    part->max_timestamp = e->max_timestamp;
    return 0;
}

int picture_apply(struct picture *p, const struct entry *e)
{
    struct segment_owner *owner;
    /* behind the highest id there must be a next one */
    uint64_t topic_max = e->type == ENTRY_IDS ? OFFSET_MAX : OFFSET_MAX - 1;
    if (e->place.id >= OFFSET_MAX || e->topic > topic_max || e->next_id > OFFSET_MAX ||
        e->base_offset > OFFSET_MAX || e->next_offset > OFFSET_MAX)
        return err_set(BECK_CORRUPT, "catalog: an id or offset is impossible");
    switch (e->type) {
    case ENTRY_TOPIC: return apply_topic(p, e);
    case ENTRY_DELETE: return apply_delete(p, e);
    case ENTRY_ADD: return apply_add(p, e);
    case ENTRY_FREE: return apply_free(p, e);
    case ENTRY_TAIL: return apply_tail(p, e);
    case ENTRY_IDS:
        p->next_topic = max_u64(p->next_topic, e->topic);
        p->next_segment = max_u64(p->next_segment, e->next_id);
        return 0;
    case ENTRY_SEAL:
    case ENTRY_RETIRE: break;
    default: return err_set(BECK_CORRUPT, "catalog: entry of type %u is out of place", e->type);
    }
    if ((owner = picture_owner(p, e->place.id)) == NULL)
        return err_set(BECK_CORRUPT, "catalog: segment %llu is unknown",
                       (unsigned long long)e->place.id);
    struct partition_picture *part = &owner->topic->parts[owner->partition];
    if (e->type == ENTRY_SEAL) return apply_seal(p, part, e);
    return apply_retire(p, owner, e);
}

/* ---- Snapshot ---- */

struct entry segment_seal(const struct segment *s)
{
    ASSERT(s->sealed);
    return (struct entry){.type = ENTRY_SEAL,
                          .place = s->place,
                          .next_offset = s->next,
                          .stable_offset = s->stable,
                          .max_timestamp = s->max_timestamp,
                          .end = s->end,
                          .index_at = s->index_at,
                          .index_bytes = s->index_bytes};
}

static int each_of_partition(const struct topic_picture *t, uint32_t i, picture_take take,
                             void *context)
{
    const struct partition_picture *part = &t->parts[i];
    int rc = 0;
    for (uint32_t k = 0; rc == 0 && k < part->count; k++) {
        const struct segment *s = &part->segments[k];
        struct entry add = {.type = ENTRY_ADD,
                            .topic = t->id,
                            .partition = i,
                            .place = s->place,
                            .base_offset = s->base};
        rc = take(context, &add);
        if (rc < 0 || !s->sealed) continue;
        struct entry seal = segment_seal(s);
        rc = take(context, &seal);
    }
    struct entry tail = {.type = ENTRY_TAIL,
                         .topic = t->id,
                         .partition = i,
                         .next_offset = part->next,
                         .max_timestamp = part->max_timestamp};
    if (part->has_tail) {
        tail.place.id = part->tail_segment;
        tail.end = part->tail_end;
        tail.chain = part->tail_chain;
    }
    /* Without segments only a TAIL can say where the partition begins and ends. */
    bool needed = part->has_tail || (part->count == 0 && part->next > 0);
    if (rc == 0 && needed) rc = take(context, &tail);
    return rc;
}

int picture_each_entry(const struct picture *p, picture_take take, void *context)
{
    struct entry ids = {.type = ENTRY_IDS, .topic = p->next_topic, .next_id = p->next_segment};
    int rc = take(context, &ids);
    for (size_t i = 0; rc == 0 && i < p->topics; i++) {
        const struct topic_picture *t = p->by_id[i];
        struct entry topic = {.type = ENTRY_TOPIC,
                              .topic = t->id,
                              .partitions = t->partitions,
                              .name = t->name,
                              .name_bytes = (uint32_t)strlen(t->name),
                              .settings = t->settings,
                              .settings_bytes = (uint32_t)strlen(t->settings)};
        rc = take(context, &topic);
        for (uint32_t k = 0; rc == 0 && k < t->partitions; k++)
            rc = each_of_partition(t, k, take, context);
    }
    return rc;
}
