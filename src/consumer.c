/* consumer.c -- polling one or many partitions, waiting, events */
/*
 * A consumer has a reader for every partition it reads and asks them in turn, so that a busy
 * partition does not starve the others. It owns one pin word at most: the segment of the records it
 * handed out last. When nothing is visible it sleeps until a publisher wakes it, and at least every
 * 100 ms looks for the dead and does a slice of housekeeping. */
#include "consumer.h"

#include <stdlib.h>
#include <string.h>

#include "err.h"
#include "retire.h"

#define POLL_RECORDS_MAX 65536u

struct consumed_topic {
    uint64_t id;
    uint32_t partitions; /* how many of them have been looked at */
    struct live_config config;
    char *name;
};

struct consumed_partition {
    struct reader reader;
    struct consumed_topic *topic;
};

struct beck_consumer {
    struct beck *db;
    struct beck_consumer *list_next;
    struct consumed_topic *topics;
    size_t topic_count;
    int32_t *wanted; /* partitions; NULL = all */
    size_t wanted_count;
    uint32_t start;
    int64_t start_value;
    uint32_t flags;
    struct consumed_partition **parts;
    size_t part_count;
    size_t part_capacity;
    struct cell_ref *cells; /* for waiting: part_capacity of each */
    uint64_t *seen;
    size_t turn;
    uint32_t pin;
    struct reader *pin_holder;
    beck_record *records;
    size_t record_capacity;
    struct buf headers;
    struct batch_unpacker unpacker; /* one batch at a time, of any partition */
    beck_event_info event;
    uint64_t epoch;
    uint64_t catalog_seen;
    int64_t looked_at;
    _Atomic uint32_t stop; /* beck_wakeup was called */
    _Atomic(_Atomic uint32_t *)
        stop_bell; /* one of those this consumer sleeps on; NULL = none yet */
};

struct beck *consumer_db(const struct beck_consumer *c)
{
    return c->db;
}

/* ---- Open ---- */

static bool is_wanted(const struct beck_consumer *c, uint32_t index)
{
    for (size_t i = 0; i < c->wanted_count; i++)
        if (c->wanted[i] == (int32_t)index) return true;
    return c->wanted == NULL;
}

static int grow_parts(struct beck_consumer *c)
{
    if (c->part_count < c->part_capacity) return 0;
    size_t capacity = c->part_capacity == 0 ? 8 : 2 * c->part_capacity;
    void *parts = realloc(c->parts, capacity * sizeof *c->parts);
    if (parts != NULL) c->parts = parts;
    void *cells = realloc(c->cells, capacity * sizeof *c->cells);
    if (cells != NULL) c->cells = cells;
    void *seen = realloc(c->seen, capacity * sizeof *c->seen);
    if (seen != NULL) c->seen = seen;
    if (parts == NULL || cells == NULL || seen == NULL) return err_set(BECK_NOMEM, "out of memory");
    c->part_capacity = capacity;
    return 0;
}

/* Put a reader where the configuration says it starts. */
static int start_reader(const struct beck_consumer *c, struct reader *r)
{
    uint64_t start = 0, visible = reader_visible(r);
    int rc = reader_start(r, &start);
    if (rc < 0) return rc;
    uint64_t value = (uint64_t)c->start_value;
    switch (c->start) {
    case BECK_START_BEGINNING: reader_seek(r, start); break;
    case BECK_START_END: reader_seek(r, visible); break;
    case BECK_START_LAST: reader_seek(r, visible - start > value ? visible - value : start); break;
    case BECK_START_TIME: return reader_seek_time(r, c->start_value);
    default: /* BECK_START_OFFSET */
        if (value > visible)
            return err_set(
                BECK_RANGE, "offset %llu is out of range: topic %s:%u ends at offset %llu",
                (unsigned long long)value, r->topic_name, r->index, (unsigned long long)visible);
        reader_seek(r, value);
    }
    return 0;
}

static int add_partition(struct beck_consumer *c, struct consumed_topic *t, uint32_t index,
                         bool late)
{
    struct cell_ref cell;
    struct consumed_partition *part;
    int rc = db_cell(c->db, t->id, index, &cell);
    if (rc == 0) rc = grow_parts(c);
    if (rc < 0) return rc;
    if ((part = calloc(1, sizeof *part)) == NULL) return err_set(BECK_NOMEM, "out of memory");
    part->topic = t;
    reader_open(&part->reader, &c->db->cat, &cell, t->id, index, t->name, &c->unpacker);
    part->reader.unchecked = (c->flags & BECK_CONSUME_UNCHECKED) != 0;
    c->parts[c->part_count++] = part;
    /* a partition added later is read from its start */
    return late ? 0 : start_reader(c, &part->reader);
}

/* Partitions of the topics that this consumer does not read yet. */
static int extend(struct beck_consumer *c, bool late)
{
    int rc = 0;
    uint64_t seen = atomic_load(&c->db->cat.seen);
    for (size_t i = 0; rc == 0 && i < c->topic_count; i++) {
        struct consumed_topic *t = &c->topics[i];
        pthread_mutex_lock(&c->db->cat.mutex);
        struct topic_picture *p = picture_topic_by_id(&c->db->cat.picture, t->id);
        uint32_t partitions = p == NULL ? 0 : p->partitions;
        if (p != NULL) live_config_set(&t->config, &p->config);
        pthread_mutex_unlock(&c->db->cat.mutex);
        while (rc == 0 && t->partitions < partitions) {
            if (is_wanted(c, t->partitions)) rc = add_partition(c, t, t->partitions, late);
            if (rc == 0) t->partitions++;
        }
    }
    if (rc == 0) c->catalog_seen = seen; /* else it is tried once more */
    return rc;
}

static int add_topic(struct beck_consumer *c, const char *name)
{
    struct consumed_topic *t = &c->topics[c->topic_count];
    uint32_t partitions = 0;
    size_t n = strlen(name) + 1;
    pthread_mutex_lock(&c->db->cat.mutex);
    struct topic_picture *p = picture_topic_by_name(&c->db->cat.picture, name);
    if (p != NULL) {
        t->id = p->id;
        partitions = p->partitions;
    }
    pthread_mutex_unlock(&c->db->cat.mutex);
    if (p == NULL) return err_set(BECK_NOT_FOUND, "there is no topic %s", name);
    for (size_t i = 0; i < c->topic_count; i++)
        if (c->topics[i].id == t->id) return err_set(BECK_INVALID, "topic %s is named twice", name);
    for (size_t i = 0; i < c->wanted_count; i++)
        if (c->wanted[i] < 0 || (uint32_t)c->wanted[i] >= partitions)
            return err_set(BECK_NOT_FOUND, "topic %s has no partition %d, only 0 to %u", name,
                           c->wanted[i], partitions - 1);
    if ((t->name = malloc(n)) == NULL) return err_set(BECK_NOMEM, "out of memory");
    memcpy(t->name, name, n);
    c->topic_count++;
    return 0;
}

static int copy_config(struct beck_consumer *c, const beck_consumer_config *config)
{
    int rc = 0;
    c->start = config->start;
    c->start_value = config->start_value;
    c->flags = config->flags;
    c->topics = calloc(config->topic_count, sizeof *c->topics);
    if (c->topics == NULL) return err_set(BECK_NOMEM, "out of memory");
    if (config->partition_count > 0) {
        c->wanted = calloc(config->partition_count, sizeof *c->wanted);
        if (c->wanted == NULL) return err_set(BECK_NOMEM, "out of memory");
        memcpy(c->wanted, config->partitions, config->partition_count * sizeof *c->wanted);
        c->wanted_count = config->partition_count;
    }
    for (size_t i = 0; rc == 0 && i < config->topic_count; i++)
        rc = add_topic(c, config->topics[i]);
    return rc;
}

int consumer_open(struct beck *db, const beck_consumer_config *config, struct beck_consumer **out)
{
    struct beck_consumer *c = calloc(1, sizeof *c);
    if (c == NULL) return err_set(BECK_NOMEM, "out of memory");
    c->db = db;
    c->pin = NO_PIN;
    int rc = db_follow(db);
    c->epoch = atomic_load(&db->epoch);
    if (rc == 0) rc = db_refresh(db);
    if (rc == 0) rc = copy_config(c, config);
    if (rc == 0) rc = extend(c, false);
    if (rc == 0 && !(c->flags & BECK_CONSUME_COPY)) c->pin = db_take_pin(db);
    pthread_mutex_lock(&db->mutex);
    c->list_next = db->consumers;
    db->consumers = c;
    pthread_mutex_unlock(&db->mutex);
    for (size_t i = 0; rc == 0 && i < c->part_count; i++) {
        c->parts[i]->reader.pin = c->pin;
        /* what it found, it found by copying */
        reader_seek(&c->parts[i]->reader, c->parts[i]->reader.next);
    }
    if (rc < 0)
        consumer_close(c);
    else
        *out = c;
    return rc;
}

void consumer_close(struct beck_consumer *c)
{
    struct beck *db = c->db;
    pthread_mutex_lock(&db->mutex);
    struct beck_consumer **at = &db->consumers;
    while (*at != NULL && *at != c) at = &(*at)->list_next;
    if (*at == c) *at = c->list_next;
    pthread_mutex_unlock(&db->mutex);
    for (size_t i = 0; i < c->part_count; i++) {
        if (db->forked) memset(&c->parts[i]->reader.map, 0, sizeof c->parts[i]->reader.map);
        if (db->forked) c->parts[i]->reader.pinned = false;
        reader_close(&c->parts[i]->reader);
        free(c->parts[i]);
    }
    db_give_pin(db, c->pin);
    for (size_t i = 0; c->topics != NULL && i < c->topic_count; i++) free(c->topics[i].name);
    free(c->topics);
    free(c->wanted);
    free(c->parts);
    free(c->cells);
    free(c->seen);
    free(c->records);
    buf_free(&c->headers);
    batch_unpacker_free(&c->unpacker);
    free(c);
}

void consumer_close_all(struct beck *db)
{
    while (db->consumers != NULL) consumer_close(db->consumers);
}

/* ---- Poll ---- */

static int reserve_records(struct beck_consumer *c, size_t *max)
{
    if (*max > POLL_RECORDS_MAX) *max = POLL_RECORDS_MAX;
    if (*max <= c->record_capacity) return 0;
    beck_record *records = realloc(c->records, *max * sizeof *records);
    if (records == NULL) return err_set(BECK_NOMEM, "out of memory");
    c->records = records;
    c->record_capacity = *max;
    return 0;
}

/* A read-only handle attached anew: the cells are elsewhere, the offsets are what they were. */
static int attach_again(struct beck_consumer *c)
{
    for (size_t i = 0; i < c->part_count; i++) {
        struct reader *r = &c->parts[i]->reader;
        int rc = catalog_cell(&c->db->cat, r->topic, r->index, &r->cell);
        if (rc == BECK_NOT_FOUND) rc = err_set(BECK_DELETED, "topic %s was deleted", r->topic_name);
        if (rc < 0) return rc;
        reader_seek(r, r->next);
    }
    c->epoch = atomic_load(&c->db->epoch);
    return 0;
}

/* Beside writers a read-only handle sees copies of the cells: make them new. */
static int copy_cells(struct beck_consumer *c)
{
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < c->part_count; i++) {
        struct reader *r = &c->parts[i]->reader;
        rc = catalog_cell(&c->db->cat, r->topic, r->index, &r->cell);
        if (rc == BECK_NOT_FOUND) rc = err_set(BECK_DELETED, "topic %s was deleted", r->topic_name);
    }
    return rc;
}

static int keep_up(struct beck_consumer *c)
{
    int rc;
    uint64_t epoch;
    do {
        rc = c->flags & BECK_CONSUME_COPY ? db_check_whole(c->db) : 0;
        if (rc == 0) rc = db_follow(c->db);
        if (rc < 0) break;
        epoch = atomic_load(&c->db->epoch);
        if (UNLIKELY(c->epoch != epoch)) rc = attach_again(c);
        if (rc == 0 && UNLIKELY(c->db->view == VIEW_WATCH)) rc = copy_cells(c);
        /* The last writer may have closed in between: then what was copied is nothing. */
    } while (c->db->readonly && (db_moved(c->db) || epoch != atomic_load(&c->db->epoch)) &&
             rc != BECK_NOMEM && rc != BECK_BUSY);
    if (rc == 0 && UNLIKELY(catalog_moved(&c->db->cat))) rc = db_refresh(c->db);
    if (rc == 0 && UNLIKELY(c->catalog_seen != atomic_load(&c->db->cat.seen))) {
        size_t had = c->part_count;
        rc = extend(c, true);
        for (size_t i = had; i < c->part_count; i++) c->parts[i]->reader.pin = c->pin;
    }
    return rc;
}

static int event_from_gap(struct beck_consumer *c, const struct reader *r)
{
    c->event = (beck_event_info){.type = BECK_EVENT_GAP,
                                 .cause = r->gap.cause,
                                 .topic = r->topic_name,
                                 .partition = (int32_t)r->index,
                                 .from = (int64_t)r->gap.from,
                                 .to = (int64_t)r->gap.to};
    return BECK_EVENT;
}

static bool has_news(const struct reader *r)
{
    return r->next < reader_visible(r) ||
           atomic_load_explicit(&r->cell.ro->state, memory_order_acquire) != CELL_LIVE;
}

/* Ask every partition once. 0 with *count 0: nothing is visible that was not read. */
static int ask_all(struct beck_consumer *c, size_t max, size_t *count)
{
    for (size_t i = 0; i < c->part_count; i++) {
        size_t at = (c->turn + i) % c->part_count;
        struct reader *r = &c->parts[at]->reader;
        if (!has_news(r)) continue;
        if (c->pin_holder != r && c->pin_holder != NULL) reader_release(c->pin_holder);
        c->pin_holder = r;
        c->headers.size = 0;
        int rc = reader_poll(r, c->records, max, &c->headers, count);
        if (rc == BECK_EVENT) return event_from_gap(c, r);
        if (rc < 0) c->turn = at + 1; /* it may fail for ever; the others shall be read */
        if (rc < 0) return rc;
        if (*count == 0) continue;
        /* What was decompressed is finished first: there is room for one batch only. */
        c->turn = reader_in_unpacked(r) ? at : at + 1;
        return 0;
    }
    return 0;
}

/* Settle what the dead left, a slice of housekeeping; and is the file still there? */
static int look(struct beck_consumer *c)
{
    int rc = file_check_there(&c->db->file);
    if (rc < 0 || c->db->view != VIEW_SHARED) return rc;
    coord_settle(&c->db->coord);
    for (size_t i = 0; i < c->part_count; i++) {
        struct reader *r = &c->parts[i]->reader;
        const struct cell *cell = r->cell.ro;
        struct partition p;
        bool quiet = atomic_load(&cell->lock) == 0 &&
                     atomic_load(&cell->stable) >= atomic_load(&cell->written);
        if (quiet) continue;
        if (partition_open(&p, &c->db->cat, r->topic, r->index, r->topic_name,
                           &c->parts[i]->topic->config) == 0)
            (void)partition_look(&p);
        partition_close(&p);
    }
    retire_look(&c->db->cat);
    return 0;
}

/* Sleep until something is visible, a signal handler ran, or it is time to look. 1: go on waiting.
 * */
static int wait_a_while(struct beck_consumer *c, uint32_t ms)
{
    for (size_t i = 0; i < c->part_count; i++) {
        c->cells[i] = c->parts[i]->reader.cell;
        c->seen[i] = c->parts[i]->reader.next;
    }
    bool copies = (c->flags & BECK_CONSUME_COPY) != 0;
    struct reader_wait wait = {c->cells, c->seen, c->part_count, &c->stop, copies};
    if (c->part_count > 0) {
        const struct cell_ref *first = &c->cells[0];
        atomic_store(&c->stop_bell, first->rw != NULL
                                        ? &first->rw->bell
                                        : (_Atomic uint32_t *)(uintptr_t)&first->ro->bell);
    }
    bool interrupted = coord_wait_readers(&c->db->coord, &wait, ms);
    if (atomic_exchange(&c->stop, 0) != 0 || interrupted) return 0;
    int rc = copies ? db_check_whole(c->db) : 0;
    if (rc < 0) return rc;
    for (size_t i = 0; i < c->part_count; i++)
        if (has_news(&c->parts[i]->reader)) return 1;
    int64_t now = os_monotonic_ms();
    if (now - c->looked_at < LOOK_MS) return 1;
    c->looked_at = now;
    rc = look(c);
    return rc < 0 ? rc : 1;
}

int consumer_poll(struct beck_consumer *c, size_t max, int32_t timeout_ms,
                  const beck_record **records, size_t *count)
{
    int64_t until = timeout_ms > 0 ? os_monotonic_ms() + timeout_ms : 0;
    int rc = reserve_records(c, &max);
    while (rc == 0) {
        if ((rc = keep_up(c)) < 0) break;
        rc = ask_all(c, max, count);
        if (rc != 0 || *count > 0 || timeout_ms == 0) break;
        int64_t left = timeout_ms < 0 ? LOOK_MS : until - os_monotonic_ms();
        if (left <= 0) break;
        rc = wait_a_while(c, (uint32_t)min_u64((uint64_t)left, LOOK_MS));
        if (rc <= 0) break;
        rc = 0;
    }
    *records = c->records;
    return rc;
}

void consumer_wakeup(struct beck_consumer *c)
{
    atomic_store(&c->stop, 1);
    _Atomic uint32_t *bell = atomic_load(&c->stop_bell);
    if (bell != NULL) coord_stop_waiting(&c->db->coord, bell);
}

void consumer_event(const struct beck_consumer *c, beck_event_info *event)
{
    *event = c->event;
}

/* ---- Positions ---- */

static struct reader *find_reader(struct beck_consumer *c, const char *topic, int32_t partition)
{
    for (size_t i = 0; i < c->part_count; i++) {
        struct reader *r = &c->parts[i]->reader;
        if ((int64_t)r->index == partition && strcmp(r->topic_name, topic) == 0) return r;
    }
    (void)err_set(BECK_NOT_FOUND, "this consumer does not read %s:%d", topic, partition);
    return NULL;
}

int consumer_seek(struct beck_consumer *c, const char *topic, int32_t partition, int64_t offset)
{
    struct reader *r = find_reader(c, topic, partition);
    if (r == NULL) return BECK_NOT_FOUND;
    int rc = keep_up(c);
    if (rc < 0) return rc;
    if (offset < 0 || (uint64_t)offset > reader_visible(r))
        return err_set(BECK_RANGE, "offset %lld is out of range: topic %s:%d ends at offset %llu",
                       (long long)offset, topic, partition, (unsigned long long)reader_visible(r));
    reader_seek(r, (uint64_t)offset);
    return 0;
}

int consumer_position(struct beck_consumer *c, const char *topic, int32_t partition,
                      int64_t *offset)
{
    struct reader *r = find_reader(c, topic, partition);
    if (r == NULL) return BECK_NOT_FOUND;
    *offset = (int64_t)r->next;
    return 0;
}
