/* api.c -- the public functions: check arguments, guard, call down */
#include <stdlib.h>
#include <string.h>

#include "verify.h"
#include "consumer.h"
#include "db.h"
#include "err.h"
#include "handles.h"
#include "settings.h"
#include "topic.h"

#define STRUCT_BYTES_MAX 65536u

/* Take a caller's struct of any version into ours: shorter ones are extended with zeros, longer
 * ones are accepted when what we do not know is zero. */
static int take_struct(const void *from, size_t from_size, void *to, size_t to_size,
                       const char *what)
{
    const uint8_t *bytes = from;
    size_t common = from_size < to_size ? from_size : to_size;
    if (from_size < sizeof(size_t) || from_size > STRUCT_BYTES_MAX)
        return err_set(BECK_INVALID, "%s: set its size field to sizeof first", what);
    for (size_t i = to_size; i < from_size && i < STRUCT_BYTES_MAX; i++)
        if (bytes[i] != 0)
            return err_set(BECK_INVALID, "%s: a field this version does not know is set", what);
    memset(to, 0, to_size);
    memcpy(to, from, common);
    return 0;
}

/* The other way: as much of ours as the caller has room for, who keeps its size. */
static void give_struct(const void *from, size_t from_size, void *to, size_t to_size)
{
    size_t common = from_size < to_size ? from_size : to_size;
    memset(to, 0, to_size);
    memcpy(to, from, common);
    memcpy(to, &to_size, sizeof to_size);
}

static int check_size(const void *out, const char *what)
{
    size_t size;
    memcpy(&size, out, sizeof size);
    if (size >= sizeof size && size <= STRUCT_BYTES_MAX) return 0; /* else it was never set */
    return err_set(BECK_INVALID, "%s: set its size field to sizeof first", what);
}

const char *beck_errmsg(beck *db)
{
    (void)db;
    return err_message();
}

/* ---- Open and close ---- */

int beck_open(const char *path, const beck_options *options, beck **out)
{
    beck_options o = {.size = sizeof o};
    if (out == NULL) return err_set(BECK_INVALID, "beck_open: no place for the handle");
    *out = NULL;
    if (path == NULL || path[0] == 0) return err_set(BECK_INVALID, "the path of the file is empty");
    if (options != NULL) {
        int rc = take_struct(options, options->size, &o, sizeof o, "beck_options");
        if (rc < 0) return rc;
    }
    if (o.flags & ~(BECK_OPEN_READONLY | BECK_OPEN_NO_CREATE | BECK_OPEN_FORCE | BECK_OPEN_OBSERVE))
        return err_set(BECK_INVALID, "beck_open: unknown flags 0x%x", o.flags);
    if (o.file_mode > 0777)
        return err_set(BECK_INVALID, "beck_open: file_mode 0%o: permissions are 0 to 0777",
                       o.file_mode);
    if (o.flags & BECK_OPEN_OBSERVE) o.flags |= BECK_OPEN_READONLY;
    beck *db = calloc(1, sizeof *db);
    if (db == NULL) return err_set(BECK_NOMEM, "out of memory");
    *out = db;
    int rc = db_open(db, path, &o);
    return rc < 0 ? rc : err_set(rc, "%s", ""); /* nothing of what was tried on the way remains */
}

int beck_close(beck *db)
{
    if (db == NULL) return 0;
    db_before_close(db);
    consumer_close_all(db);
    topic_close_all(db);
    int rc = db_close(db);
    free(db);
    return rc;
}

int beck_sync(beck *db)
{
    if (db == NULL) return err_set(BECK_INVALID, "beck_sync: no handle");
    int rc = db_writable(db);
    return rc < 0 ? rc : db_sync(db);
}

const char *beck_recovery_report(beck *db)
{
    return db == NULL || db->report == NULL ? "" : db->report;
}

/* ---- Topics ---- */

static int take_config(const beck_topic_config *config, beck_topic_config *out,
                       const char *function)
{
    memset(out, 0, sizeof *out);
    if (config == NULL) return 0;
    int rc = take_struct(config, config->size, out, sizeof *out, "beck_topic_config");
    return rc < 0 ? err_context(rc, "%s", function) : 0;
}

int beck_topic_config_set(beck_topic_config *config, const char *name, const char *value,
                          char *message, size_t message_size)
{
    if (config == NULL || name == NULL || value == NULL)
        return err_set(BECK_INVALID, "beck_topic_config_set: a required argument is NULL");
    int rc = settings_set(config, name, value);
    if (rc < 0 && message != NULL && message_size > 0) {
        strncpy(message, err_message(), message_size - 1);
        message[message_size - 1] = 0;
    }
    return rc;
}

int beck_topic_create(beck *db, const char *name, const beck_topic_config *config)
{
    beck_topic_config c;
    if (db == NULL || name == NULL)
        return err_set(BECK_INVALID, "beck_topic_create: a required argument is NULL");
    int rc = db_writable(db);
    if (rc == 0) rc = take_config(config, &c, "beck_topic_create");
    return rc < 0 ? rc : topic_create(db, name, &c);
}

int beck_topic_alter(beck *db, const char *name, const beck_topic_config *config)
{
    beck_topic_config c;
    if (db == NULL || name == NULL || config == NULL)
        return err_set(BECK_INVALID, "beck_topic_alter: a required argument is NULL");
    int rc = db_writable(db);
    if (rc == 0) rc = take_config(config, &c, "beck_topic_alter");
    return rc < 0 ? rc : topic_alter(db, name, &c);
}

int beck_topic_delete(beck *db, const char *name)
{
    if (db == NULL || name == NULL)
        return err_set(BECK_INVALID, "beck_topic_delete: a required argument is NULL");
    int rc = db_writable(db);
    return rc < 0 ? rc : topic_delete(db, name);
}

int beck_topic_open(beck *db, const char *name, const beck_topic_config *config, beck_topic **topic)
{
    beck_topic_config c;
    if (topic != NULL) *topic = NULL;
    if (db == NULL || name == NULL || topic == NULL)
        return err_set(BECK_INVALID, "beck_topic_open: a required argument is NULL");
    int rc = db_writable(db);
    if (rc == 0) rc = take_config(config, &c, "beck_topic_open");
    return rc < 0 ? rc : topic_open(db, name, &c, topic);
}

int beck_topic_list(beck *db, const beck_topic_info *const **topics, size_t *count)
{
    if (db == NULL || topics == NULL || count == NULL)
        return err_set(BECK_INVALID, "beck_topic_list: a required argument is NULL");
    int rc = db_usable(db);
    return rc < 0 ? rc : topic_list(db, NULL, topics, count);
}

int beck_topic_describe(beck *db, const char *name, const beck_topic_info **topic)
{
    const beck_topic_info *const *list = NULL;
    size_t count;
    if (db == NULL || name == NULL || topic == NULL)
        return err_set(BECK_INVALID, "beck_topic_describe: a required argument is NULL");
    int rc = db_usable(db);
    if (rc == 0) rc = topic_list(db, name, &list, &count);
    *topic = rc == 0 ? list[0] : NULL;
    return rc;
}

/* ---- Append ---- */

static const beck_append_options no_options = {.size = sizeof no_options};

static uint32_t next_turn(beck_topic *topic, uint32_t partitions)
{
    return atomic_fetch_add_explicit(&topic->turn, 1, memory_order_relaxed) % partitions;
}

static uint32_t place_record(beck_topic *topic, uint32_t partitions, const beck_record *r)
{
    if (r->key == NULL) return next_turn(topic, partitions);
    return (uint32_t)beck_partition_for_key(r->key, r->key_size, (int32_t)partitions);
}

int beck_append(beck_topic *topic, const beck_record *record, int64_t *offset)
{
    if (topic == NULL || record == NULL)
        return err_set(BECK_INVALID, "beck_append: a required argument is NULL");
    int rc = db_writable(topic->db);
    if (rc < 0) return rc;
    if (record->partition < BECK_ANY_PARTITION)
        return err_set(BECK_INVALID,
                       "beck_append: partition %d: must be 0 or more, or BECK_ANY_PARTITION",
                       record->partition);
    uint32_t partition = (uint32_t)record->partition, partitions = topic->config.partitions;
    if (record->partition == BECK_ANY_PARTITION)
        partition = partitions == 1 ? 0 : place_record(topic, partitions, record);
    return topic_append(topic, partition, record, 1, &no_options, offset);
}

/* Records placed by key: sorted into their partitions, order kept, one batch for each. */
static int append_placed(beck_topic *topic, const beck_record *records, size_t count,
                         const beck_append_options *options, int64_t *base_offset)
{
    uint32_t partitions = topic->config.partitions, keyless = next_turn(topic, partitions);
    uint32_t *where = malloc(count * sizeof *where);
    size_t *from = calloc((size_t)partitions + 1, sizeof *from);
    beck_record *sorted = malloc(count * sizeof *sorted);
    int rc =
        where == NULL || from == NULL || sorted == NULL ? err_set(BECK_NOMEM, "out of memory") : 0;
    for (size_t i = 0; rc == 0 && i < count; i++) {
        where[i] = records[i].key == NULL ? keyless : place_record(topic, partitions, &records[i]);
        from[where[i] + 1]++;
    }
    for (uint32_t p = 0; rc == 0 && p < partitions; p++) from[p + 1] += from[p];
    for (size_t i = 0; rc == 0 && i < count; i++) sorted[from[where[i]]++] = records[i];
    size_t begin = 0; /* from[p] is now where p ends */
    for (uint32_t p = 0; rc == 0 && p < partitions; p++) {
        int64_t base = 0;
        if (from[p] > begin)
            rc = topic_append(topic, p, sorted + begin, from[p] - begin, options, &base);
        if (from[p] > begin && rc == 0 && p == where[0] && base_offset != NULL) *base_offset = base;
        begin = from[p];
    }
    free(where);
    free(from);
    free(sorted);
    return rc;
}

static int append_records(beck_topic *topic, int32_t partition, const beck_record *records,
                          size_t count, const beck_append_options *options, int64_t *base_offset)
{
    if (count == 0 || count > INT32_MAX)
        return err_set(BECK_INVALID, "beck_append_batch: a batch of %zu records", count);
    if (partition < BECK_ANY_PARTITION)
        return err_set(BECK_INVALID,
                       "beck_append_batch: partition %d: must be 0 or more, or BECK_ANY_PARTITION",
                       partition);
    int rc = db_writable(topic->db);
    if (rc < 0) return rc;
    if (partition == BECK_ANY_PARTITION && topic->config.partitions > 1)
        return append_placed(topic, records, count, options, base_offset);
    return topic_append(topic, partition < 0 ? 0 : (uint32_t)partition, records, count, options,
                        base_offset);
}

int beck_append_with(beck_topic *topic, int32_t partition, const beck_record *records, size_t count,
                     const beck_append_options *options, int64_t *base_offset)
{
    beck_append_options o = no_options;
    if (topic == NULL || records == NULL)
        return err_set(BECK_INVALID, "beck_append_with: a required argument is NULL");
    if (options != NULL) {
        int rc = take_struct(options, options->size, &o, sizeof o, "beck_append_options");
        if (rc < 0) return rc;
    }
    if (o.sync > BECK_SYNC_OS)
        return err_set(BECK_INVALID, "beck_append_with: unknown class %u", o.sync);
    if (o.compression >= BECK_COMPRESSION_PRODUCER)
        return err_set(BECK_INVALID, "beck_append_with: unknown compression %u", o.compression);
    return append_records(topic, partition, records, count, &o, base_offset);
}

int beck_append_batch(beck_topic *topic, int32_t partition, const beck_record *records,
                      size_t count, int64_t *base_offset)
{
    if (topic == NULL || records == NULL)
        return err_set(BECK_INVALID, "beck_append_batch: a required argument is NULL");
    return append_records(topic, partition, records, count, &no_options, base_offset);
}

/* ---- Consume ---- */

int beck_consumer_open(beck *db, const beck_consumer_config *config, beck_consumer **consumer)
{
    beck_consumer_config c;
    if (consumer != NULL) *consumer = NULL;
    if (db == NULL || config == NULL || consumer == NULL)
        return err_set(BECK_INVALID, "beck_consumer_open: a required argument is NULL");
    int rc = db_usable(db);
    if (rc == 0) rc = take_struct(config, config->size, &c, sizeof c, "beck_consumer_config");
    if (rc < 0) return rc;
    if (c.topics == NULL || c.topic_count == 0)
        return err_set(BECK_INVALID, "beck_consumer_open: no topics");
    for (size_t i = 0; i < c.topic_count; i++)
        if (c.topics[i] == NULL)
            return err_set(BECK_INVALID, "beck_consumer_open: topic %zu is NULL", i);
    if (c.partition_count > 0 && c.partitions == NULL)
        return err_set(BECK_INVALID,
                       "beck_consumer_open: partition_count is %zu, but partitions is NULL",
                       c.partition_count);
    if (c.start > BECK_START_TIME || (c.flags & ~(BECK_CONSUME_UNCHECKED | BECK_CONSUME_COPY)))
        return err_set(BECK_INVALID, "beck_consumer_open: unknown start %u or flags 0x%x", c.start,
                       c.flags);
    if (c.start_value < 0 && c.start != BECK_START_TIME)
        return err_set(BECK_INVALID, "beck_consumer_open: start_value is %lld: must be 0 or more",
                       (long long)c.start_value);
    return consumer_open(db, &c, consumer);
}

void beck_consumer_close(beck_consumer *consumer)
{
    if (consumer == NULL) return;
    db_before_close(consumer_db(consumer));
    consumer_close(consumer);
}

int beck_poll(beck_consumer *consumer, size_t max_records, int32_t timeout_ms,
              const beck_record **records, size_t *count)
{
    if (records != NULL) *records = NULL;
    if (count != NULL) *count = 0;
    if (consumer == NULL || records == NULL || count == NULL)
        return err_set(BECK_INVALID, "beck_poll: a required argument is NULL");
    if (max_records == 0) return err_set(BECK_INVALID, "beck_poll: max_records is 0");
    if (timeout_ms < -1)
        return err_set(BECK_INVALID, "beck_poll: timeout_ms is %d: must be -1 (for ever) or more",
                       timeout_ms);
    int rc = db_usable(consumer_db(consumer));
    return rc < 0 ? rc : consumer_poll(consumer, max_records, timeout_ms, records, count);
}

int beck_wakeup(beck_consumer *consumer)
{
    if (consumer == NULL) return err_set(BECK_INVALID, "beck_wakeup: a required argument is NULL");
    int rc = db_usable(consumer_db(consumer));
    if (rc == 0) consumer_wakeup(consumer);
    return rc;
}

int beck_event(beck_consumer *consumer, beck_event_info *event)
{
    beck_event_info all;
    if (consumer == NULL || event == NULL)
        return err_set(BECK_INVALID, "beck_event: a required argument is NULL");
    int rc = check_size(event, "beck_event_info");
    if (rc < 0) return rc;
    consumer_event(consumer, &all);
    give_struct(&all, sizeof all, event, event->size);
    return 0;
}

int beck_seek(beck_consumer *consumer, const char *topic, int32_t partition, int64_t offset)
{
    if (consumer == NULL || topic == NULL)
        return err_set(BECK_INVALID, "beck_seek: a required argument is NULL");
    int rc = db_usable(consumer_db(consumer));
    return rc < 0 ? rc : consumer_seek(consumer, topic, partition, offset);
}

int beck_position(beck_consumer *consumer, const char *topic, int32_t partition, int64_t *offset)
{
    if (consumer == NULL || topic == NULL || offset == NULL)
        return err_set(BECK_INVALID, "beck_position: a required argument is NULL");
    int rc = db_usable(consumer_db(consumer));
    return rc < 0 ? rc : consumer_position(consumer, topic, partition, offset);
}

/* ---- Looking at the file ---- */

/* Extents of cells are in nobody's catalog: whoever makes segments has entered them in his picture,
 * others count them. */
static uint64_t extent_bytes(const beck *db)
{
    uint32_t extents = 0;
    if (db->view == VIEW_PRIVATE) return 0;
    while (coord_extent_block(&db->coord, extents) != 0) extents++;
    return (uint64_t)extents * EXTENT_BLOCKS * BLOCK_BYTES;
}

static void stat_picture(beck *db, beck_stat_info *info)
{
    struct picture *p = &db->cat.picture;
    uint64_t extents = extent_bytes(db);
    uint64_t known = (uint64_t)db->cat.extents_taken * EXTENT_BLOCKS * BLOCK_BYTES;
    for (size_t i = 0; i < p->topics; i++) {
        const struct topic_picture *t = p->by_id[i];
        info->partitions += t->partitions;
        for (uint32_t k = 0; k < t->partitions; k++)
            info->topics_bytes += partition_bytes(&t->parts[k]);
    }
    for (size_t i = 0; i < p->retired_count; i++)
        info->retired_bytes += place_bytes(&p->retired[i].place);
    info->topics = (uint32_t)p->topics;
    info->segments = (uint32_t)p->owner_count;
    info->catalog_bytes = catalog_bytes(&db->cat);
    info->catalog_sequence = db->cat.at.next;
    info->coordination_bytes = HEAP_AT + extents;
    info->used_bytes = HEAP_AT + space_used(&p->space) * BLOCK_BYTES;
    if (extents > known) info->used_bytes += extents - known;
    if (info->used_bytes > info->file_bytes) info->used_bytes = info->file_bytes; /* trimmed tail */
    info->free_bytes = info->file_bytes - info->used_bytes;
}

static void stat_area(beck *db, beck_stat_info *info)
{
    const struct coord_header *h = coord_header_ro(&db->coord);
    if (db->view == VIEW_PRIVATE) return;
    info->poisoned = atomic_load(&h->poison) != 0;
    uint32_t slots = atomic_load(&h->slots);
    for (uint32_t i = 0; i < slots && i < SLOTS_MAX; i++)
        if (!coord_slot_dead(&db->coord, i)) info->handles++;
}

static int stat_all(beck *db, beck_stat_info *info)
{
    struct superblock super;
    memset(info, 0, sizeof *info);
    int rc = db_usable(db);
    if (rc == 0) rc = db_follow(db);
    if (rc == 0) rc = db_refresh(db);
    if (rc == 0) rc = os_size(&db->file.os, &info->file_bytes);
    if (rc == 0) rc = file_read_own_super(&db->file, &super);
    if (rc < 0) return rc;
    pthread_mutex_lock(&db->cat.mutex);
    stat_picture(db, info);
    pthread_mutex_unlock(&db->cat.mutex);
    stat_area(db, info);
    info->clean = super.state == SUPER_CLEAN;
    info->format_version = super.version;
    info->application_id = super.application_id;
    memcpy(info->uuid, super.uuid, sizeof info->uuid);
    return 0;
}

int beck_stat(beck *db, beck_stat_info *info)
{
    beck_stat_info all;
    if (db == NULL || info == NULL)
        return err_set(BECK_INVALID, "beck_stat: a required argument is NULL");
    int rc = check_size(info, "beck_stat_info");
    if (rc == 0) rc = stat_all(db, &all);
    if (rc == 0) give_struct(&all, sizeof all, info, info->size);
    return rc;
}

int beck_handles(beck *db, const beck_handle_info *const **list, size_t *count)
{
    if (db == NULL || list == NULL || count == NULL)
        return err_set(BECK_INVALID, "beck_handles: a required argument is NULL");
    *list = NULL;
    *count = 0;
    int rc = db_present(db);
    if (rc == 0) rc = db_observe(db);
    return rc < 0 ? rc : handles_list(&db->cat, &db->coord, list, count);
}

int beck_check(beck *db, beck_check_callback finding, beck_progress_callback progress,
               void *context, beck_check_summary *summary)
{
    beck_check_summary all = {0};
    if (db == NULL) return err_set(BECK_INVALID, "beck_check: no handle");
    int rc = summary == NULL ? 0 : check_size(summary, "beck_check_summary");
    if (rc < 0) return rc;
    rc = db_usable(db);
    if (rc == 0) rc = verify_file(db, finding, progress, context, &all);
    if (summary != NULL) give_struct(&all, sizeof all, summary, summary->size);
    return rc;
}
