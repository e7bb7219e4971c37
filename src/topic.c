/* topic.c -- topics as the user sees them */
/*
 * Names and settings are checked here; the catalog keeps them. A batch is encoded before the
 * partition's lock is taken, so that the lock is held for a copy only: the base offset, which only
 * the lock can tell, stands in the part of a batch that its CRC leaves out.
 *
 *  [T1] the cells of new partitions exist before the entry that makes them known is visible */
#include "topic.h"

#include <stdlib.h>
#include <string.h>

#include "batch.h"
#include "err.h"
#include "retire.h"
#include "settings.h"

#define STACK_BATCH_BYTES 2048u

static int check_name(const char *name)
{
    size_t n = strlen(name);
    size_t good = strspn(name, TOPIC_NAME_CHARACTERS);
    if (n == 0) return err_set(BECK_INVALID, "a topic name must not be empty");
    if (n > BECK_TOPIC_NAME_MAX)
        return err_set(BECK_INVALID, "a topic name of %zu characters: at most %u are allowed", n,
                       BECK_TOPIC_NAME_MAX);
    if (good < n)
        return err_set(BECK_INVALID,
                       "topic name \"%s\": only letters, digits, '.', '_' and '-' are allowed",
                       name);
    if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return err_set(BECK_INVALID, "a topic cannot be called \"%s\"", name);
    return 0;
}

static int not_found(const char *name)
{
    return err_set(BECK_NOT_FOUND, "there is no topic %s", name);
}

static int check_codec(const beck_topic_config *config)
{
    int rc = beck_compression_check(config->compression);
    return rc < 0 ? err_context(rc, "compression.type") : 0;
}

/* ---- Create, alter, delete: under the catalog's lock ---- */

/* `before`: the settings as they were, or "". */
static int append_topic(struct beck *db, const char *name, uint64_t id,
                        const beck_topic_config *config, const char *before)
{
    char settings[SETTINGS_BYTES_MAX];
    struct entry e = {.type = ENTRY_TOPIC,
                      .topic = id,
                      .partitions = config->partitions,
                      .name = name,
                      .name_bytes = (uint32_t)strlen(name),
                      .settings = settings};
    size_t known = settings_write(config, settings, sizeof settings);
    e.settings_bytes = (uint32_t)settings_keep(before, settings, known, sizeof settings);
    return catalog_append(&db->cat, &e, 1);
}

static int create_locked(struct beck *db, const char *name, const beck_topic_config *config)
{
    pthread_mutex_lock(&db->cat.mutex);
    bool exists = picture_topic_by_name(&db->cat.picture, name) != NULL;
    uint64_t id = db->cat.picture.next_topic;
    pthread_mutex_unlock(&db->cat.mutex);
    if (exists) return err_set(BECK_EXISTS, "topic %s exists already", name);
    int rc = retire_unused(&db->cat);
    if (rc == 0) rc = catalog_make_cells(&db->cat, id, 0, config->partitions); /* [T1] */
    return rc < 0 ? rc : append_topic(db, name, id, config, "");
}

const char *beck_compression_name(uint32_t compression)
{
    const char *name = settings_compression_name(compression);
    return name != NULL ? name : "unknown";
}

int beck_compression_check(uint32_t compression)
{
    if (compression == BECK_COMPRESSION_DEFAULT || compression == BECK_COMPRESSION_PRODUCER)
        return 0;
    if (compression > BECK_COMPRESSION_PRODUCER)
        return err_set(BECK_INVALID, "%u is no compression", compression);
    return codec_check_compress(compression - BECK_COMPRESSION_NONE);
}

int topic_create(struct beck *db, const char *name, const beck_topic_config *config)
{
    beck_topic_config c = {0};
    if (config != NULL) c = *config;
    settings_defaults(&c);
    int rc = check_name(name);
    if (rc == 0) rc = settings_check(&c);
    if (rc == 0) rc = check_codec(&c);
    if (rc < 0) return rc;
    if ((rc = catalog_lock(&db->cat)) < 0) return rc;
    rc = create_locked(db, name, &c);
    catalog_unlock(&db->cat);
    return rc;
}

static int alter_locked(struct beck *db, const char *name, const beck_topic_config *config)
{
    beck_topic_config c = {0};
    char before[SETTINGS_BYTES_MAX] = "";
    uint64_t id = 0;
    uint32_t had = 0;
    pthread_mutex_lock(&db->cat.mutex);
    struct topic_picture *t = picture_topic_by_name(&db->cat.picture, name);
    if (t != NULL) {
        c = t->config;
        id = t->id;
        had = t->partitions;
        strncpy(before, t->settings, sizeof before - 1);
    }
    pthread_mutex_unlock(&db->cat.mutex);
    if (t == NULL) return not_found(name);
    if (config->partitions != 0 && config->partitions < had)
        return err_set(BECK_INVALID, "topic %s has %u partitions: their number can only grow", name,
                       had);
    settings_merge(&c, config);
    int rc = settings_check(&c);
    if (rc == 0) rc = check_codec(&c);
    if (rc == 0) rc = catalog_make_cells(&db->cat, id, had, c.partitions); /* [T1] */
    return rc < 0 ? rc : append_topic(db, name, id, &c, before);
}

int topic_alter(struct beck *db, const char *name, const beck_topic_config *config)
{
    int rc = catalog_lock(&db->cat);
    if (rc < 0) return rc;
    rc = alter_locked(db, name, config);
    catalog_unlock(&db->cat);
    return rc;
}

int topic_delete(struct beck *db, const char *name)
{
    struct entry e = {.type = ENTRY_DELETE};
    int rc = catalog_lock(&db->cat);
    if (rc < 0) return rc;
    pthread_mutex_lock(&db->cat.mutex);
    struct topic_picture *t = picture_topic_by_name(&db->cat.picture, name);
    if (t != NULL) e.topic = t->id;
    pthread_mutex_unlock(&db->cat.mutex);
    rc = t == NULL ? not_found(name) : catalog_append(&db->cat, &e, 1);
    /* It is deleted now. What of the rest cannot be done, or is still read, is done later. */
    bool quiet;
    if (rc == 0 && retire_mark_topic(&db->cat, e.topic, &quiet) == 0) (void)retire_unused(&db->cat);
    catalog_unlock(&db->cat);
    return rc;
}

/* ---- Handles for appending ---- */

static int look_up(struct beck *db, const char *name, uint64_t *id, beck_topic_config *config)
{
    int rc = db_refresh(db);
    if (rc < 0) return rc;
    pthread_mutex_lock(&db->cat.mutex);
    struct topic_picture *t = picture_topic_by_name(&db->cat.picture, name);
    if (t != NULL) {
        *id = t->id;
        *config = t->config;
    }
    pthread_mutex_unlock(&db->cat.mutex);
    return t == NULL ? BECK_NOT_FOUND : 0;
}

static int make_handle(struct beck *db, const char *name, uint64_t id,
                       const beck_topic_config *config, struct beck_topic **topic)
{
    struct beck_topic *t = calloc(1, sizeof *t);
    size_t n = strlen(name) + 1;
    if (t != NULL) t->name = malloc(n);
    if (t == NULL || t->name == NULL) {
        free(t);
        return err_set(BECK_NOMEM, "out of memory");
    }
    memcpy(t->name, name, n);
    t->db = db;
    t->id = id;
    live_config_set(&t->config, config);
    pthread_mutex_init(&t->mutex, NULL);
    (void)os_random(&t->turn, sizeof t->turn); /* short-lived producers begin anywhere */
    t->next = db->topics;
    db->topics = t;
    *topic = t;
    return 0;
}

int topic_open(struct beck *db, const char *name, const beck_topic_config *config,
               struct beck_topic **topic)
{
    beck_topic_config found;
    uint64_t id = 0;
    int rc = look_up(db, name, &id, &found);
    if (rc == BECK_NOT_FOUND) {
        rc = topic_create(db, name, config);
        if (rc == 0 || rc == BECK_EXISTS) rc = look_up(db, name, &id, &found);
    }
    if (rc < 0) return rc;
    pthread_mutex_lock(&db->mutex);
    struct beck_topic *t = db->topics;
    while (t != NULL && t->id != id) t = t->next;
    if (t != NULL)
        *topic = t;
    else
        rc = make_handle(db, name, id, &found, topic);
    pthread_mutex_unlock(&db->mutex);
    return rc;
}

static void close_chunk(const struct beck *db, struct partition_chunk *chunk)
{
    for (uint32_t i = 0; chunk != NULL && i < CHUNK_PARTITIONS; i++) {
        struct partition *p = atomic_load(&chunk->parts[i]);
        if (p == NULL) continue;
        if (!db->forked) partition_close(p);
        free(p);
    }
    free(chunk);
}

void topic_close_all(struct beck *db)
{
    struct beck_topic *next;
    for (struct beck_topic *t = db->topics; t != NULL; t = next) {
        next = t->next;
        for (uint32_t i = 0; i < PARTITION_CHUNKS; i++) close_chunk(db, atomic_load(&t->chunks[i]));
        pthread_mutex_destroy(&t->mutex);
        free(t->name);
        free(t);
    }
    db->topics = NULL;
}

/* The settings may have been altered by another process since. */
static int refresh_config(struct beck_topic *t)
{
    beck_topic_config now = {0};
    int rc = db_refresh(t->db);
    pthread_mutex_lock(&t->db->cat.mutex);
    uint64_t seen = atomic_load(&t->db->cat.seen);
    struct topic_picture *p = picture_topic_by_id(&t->db->cat.picture, t->id);
    if (p != NULL) now = p->config;
    pthread_mutex_unlock(&t->db->cat.mutex);
    if (rc == 0 && p == NULL) rc = err_set(BECK_DELETED, "topic %s was deleted", t->name);
    if (rc < 0) return rc;
    live_config_set(&t->config, &now);
    atomic_store(&t->catalog_seen, seen);
    return 0;
}

/* Make the partition, and the chunk it is in. Holds: t->mutex. */
static int make_partition(struct beck_topic *t, uint32_t index, struct partition **out)
{
    struct partition_chunk *_Atomic *at = &t->chunks[index / CHUNK_PARTITIONS];
    struct partition_chunk *chunk = atomic_load(at);
    if (chunk == NULL && (chunk = calloc(1, sizeof *chunk)) == NULL)
        return err_set(BECK_NOMEM, "out of memory");
    atomic_store_explicit(at, chunk, memory_order_release);
    *out = atomic_load(&chunk->parts[index % CHUNK_PARTITIONS]);
    if (*out != NULL) return 0;
    struct partition *p = calloc(1, sizeof *p);
    if (p == NULL) return err_set(BECK_NOMEM, "out of memory");
    int rc = partition_open(p, &t->db->cat, t->id, index, t->name, &t->config);
    if (rc < 0) {
        free(p);
        return rc == BECK_NOT_FOUND ? err_set(BECK_DELETED, "topic %s was deleted", t->name) : rc;
    }
    atomic_store_explicit(&chunk->parts[index % CHUNK_PARTITIONS], p, memory_order_release);
    *out = p;
    return 0;
}

static int topic_partition(struct beck_topic *t, uint32_t index, struct partition **out)
{
    struct partition_chunk *chunk =
        atomic_load_explicit(&t->chunks[index / CHUNK_PARTITIONS], memory_order_acquire);
    *out = chunk == NULL ? NULL
                         : atomic_load_explicit(&chunk->parts[index % CHUNK_PARTITIONS],
                                                memory_order_acquire);
    if (LIKELY(*out != NULL)) return 0;
    pthread_mutex_lock(&t->mutex);
    int rc = make_partition(t, index, out);
    pthread_mutex_unlock(&t->mutex);
    return rc;
}

/* ---- Append ---- */

static unsigned codec_of(const struct beck_topic *t, uint32_t asked)
{
    uint32_t compression = t->config.compression;
    if (compression == BECK_COMPRESSION_PRODUCER) compression = asked;
    return compression <= BECK_COMPRESSION_NONE ? CODEC_NONE : compression - BECK_COMPRESSION_NONE;
}

/* With tools of the handle, or for a thread that comes while all are in use some of its own. */
static int compress_with_tools(struct beck *db, unsigned codec, const uint8_t *encoded,
                               const struct batch_plan *plan, uint8_t *to, uint32_t *bytes)
{
    struct codec_tools own = {0};
    for (uint32_t i = 0; i < CODEC_SHELVES; i++) {
        struct codec_shelf *shelf = &db->codecs[i];
        if (pthread_mutex_trylock(&shelf->mutex) != 0) continue;
        int rc = batch_compress(&shelf->tools, codec, encoded, plan, to, bytes);
        pthread_mutex_unlock(&shelf->mutex);
        return rc;
    }
    int rc = batch_compress(&own, codec, encoded, plan, to, bytes);
    codec_free(&own);
    return rc;
}

/* Compress the batch if that makes it smaller; *packed is the memory it needed. */
static int compress_batch(struct beck_topic *t, unsigned codec, const struct batch_plan *plan,
                          struct partition_batch *batch, uint8_t **packed)
{
    uint32_t bytes = 0;
    *packed = malloc(FRAME_BYTES + batch_compressed_room(codec, plan));
    if (*packed == NULL) return err_set(BECK_NOMEM, "out of memory");
    int rc = compress_with_tools(t->db, codec, batch->bytes + FRAME_BYTES, plan,
                                 *packed + FRAME_BYTES, &bytes);
    if (rc < 0) return rc;
    if (bytes != 0) {
        batch->bytes = *packed;
        batch->batch_bytes = bytes;
    }
    if (batch->batch_bytes <= t->config.max_message_bytes) return 0;
    return err_set(BECK_TOO_LARGE,
                   "topic %s: the batch has %u bytes after compression, max.message.bytes is %u",
                   t->name, batch->batch_bytes, t->config.max_message_bytes);
}

static int encode_and_append(struct beck_topic *t, struct partition *p, const beck_record *records,
                             const struct batch_plan *plan, struct partition_batch *batch,
                             const beck_append_options *options, uint64_t *base)
{
    unsigned codec = codec_of(t, options->compression);
    uint8_t *packed = NULL;
    batch_encode(batch->bytes + FRAME_BYTES, records, batch->count, 0, plan);
    int rc = codec == CODEC_NONE ? 0 : compress_batch(t, codec, plan, batch, &packed);
    if (rc == 0) rc = partition_append(p, batch, options->sync, base);
    free(packed);
    return rc;
}

/* Where the batch goes, whether its codec is there, and how large it may be. */
static int prepare_append(struct beck_topic *t, uint32_t partition, uint32_t compression,
                          struct partition **p, uint64_t *bytes_max)
{
    int rc = 0;
    if (UNLIKELY(catalog_moved(&t->db->cat) ||
                 atomic_load(&t->catalog_seen) != atomic_load(&t->db->cat.seen)))
        rc = refresh_config(t);
    if (rc == 0 && UNLIKELY(partition >= t->config.partitions))
        rc = err_set(BECK_INVALID, "topic %s has no partition %u, only 0 to %u", t->name, partition,
                     t->config.partitions - 1);
    if (rc == 0) rc = topic_partition(t, partition, p);
    if (rc < 0) return rc;
    unsigned codec = codec_of(t, compression);
    *bytes_max = t->config.max_message_bytes;
    if (LIKELY(codec == CODEC_NONE)) return 0;
    *bytes_max = batch_unpacked_max(*bytes_max);
    rc = codec_check_compress(codec);
    return rc < 0 ? err_context(rc, "topic %s", t->name) : 0;
}

int topic_append(struct beck_topic *topic, uint32_t partition, const beck_record *records,
                 size_t count, const beck_append_options *options, int64_t *base_offset)
{
    _Alignas(8) uint8_t small[STACK_BATCH_BYTES];
    uint8_t *bytes = small;
    struct partition *p = NULL;
    struct batch_plan plan;
    uint64_t base = 0, bytes_max = 0;
    int rc = prepare_append(topic, partition, options->compression, &p, &bytes_max);
    int64_t now = file_now_ms(&topic->db->file, true);
    if (rc == 0) rc = db_still_there(topic->db, now);
    if (rc == 0) rc = batch_measure(records, count, now, bytes_max, &plan);
    if (rc < 0) return rc;
    uint64_t span = frame_span(plan.bytes);
    if (span > sizeof small && (bytes = malloc((size_t)span)) == NULL)
        return err_set(BECK_NOMEM, "out of memory");
    struct partition_batch batch = {bytes, (uint32_t)plan.bytes, (uint32_t)count,
                                    plan.max_timestamp};
    rc = encode_and_append(topic, p, records, &plan, &batch, options, &base);
    if (bytes != small) free(bytes);
    if (rc == 0 && base_offset != NULL) *base_offset = (int64_t)base;
    return rc;
}

/* ---- Listing ----
 *
 * A list belongs to the thread that asked for it, until it asks again: threads that share a handle
 * must not take each other's away. */

static struct os_kept kept_topics = OS_KEPT;

static void describe_partition(const struct partition_picture *part, const struct cell *cell,
                               beck_partition_info *info)
{
    uint64_t data = 0;
    struct tail tail;
    cell_tail_snapshot(cell, &tail);
    for (uint32_t i = 0; i < part->count; i++) {
        const struct segment *s = &part->segments[i];
        uint64_t filled = s->sealed ? s->end : s->place.id == tail.segment ? tail.position : 0;
        filled = min_u64(filled, place_bytes(&s->place));
        if (filled > SEGMENT_HEADER_BYTES) data += filled - SEGMENT_HEADER_BYTES;
    }
    uint64_t end = atomic_load(&cell->visible);
    *info = (beck_partition_info){
        .start_offset =
            (int64_t)(part->count > 0 ? max_u64(part->start, part->segments[0].base) : end),
        .end_offset = (int64_t)end,
        .stable_offset = (int64_t)atomic_load(&cell->stable),
        .bytes = partition_bytes(part),
        .data_bytes = data,
        .segments = part->count};
}

/* One block of memory: pointers, infos, settings, partitions' pointers, partitions, names. All is
 * reached by pointers, so that each struct may grow. */
struct list_block {
    const beck_topic_info **topics;
    beck_topic_info *infos;
    beck_topic_config *configs;
    const beck_partition_info **pointers;
    beck_partition_info *partitions;
    char *names;
};

static int make_block(struct topic_picture **topics, size_t count, struct list_block *b)
{
    size_t partitions = 0, names = 0;
    for (size_t i = 0; i < count; i++) {
        partitions += topics[i]->partitions;
        names += strlen(topics[i]->name) + 1;
    }
    size_t each = sizeof *b->topics + sizeof *b->infos + sizeof *b->configs;
    size_t part = sizeof *b->pointers + sizeof *b->partitions;
    b->topics = calloc(1, (count + 1) * each + partitions * part + names);
    if (b->topics == NULL) return err_set(BECK_NOMEM, "out of memory");
    b->infos = (beck_topic_info *)(void *)(b->topics + count + 1);
    b->configs = (beck_topic_config *)(void *)(b->infos + count + 1);
    b->pointers = (const beck_partition_info **)(void *)(b->configs + count + 1);
    b->partitions = (beck_partition_info *)(void *)(b->pointers + partitions);
    b->names = (char *)(b->partitions + partitions);
    return 0;
}

/* Put one topic at the front of the block and step behind it. */
static int describe_topic(struct beck *db, struct topic_picture *t, struct list_block *b)
{
    size_t name_bytes = strlen(t->name) + 1;
    memcpy(b->names, t->name, name_bytes);
    *b->configs = t->config;
    *b->infos = (beck_topic_info){b->names, t->id, b->configs, b->pointers};
    *b->topics++ = b->infos++;
    b->configs++;
    b->names += name_bytes;
    for (uint32_t k = 0; k < t->partitions; k++) {
        struct cell_ref ref;
        int rc = catalog_cell_of(&db->cat, &t->parts[k], &ref);
        if (rc < 0) return rc;
        describe_partition(&t->parts[k], ref.ro, b->partitions);
        *b->pointers++ = b->partitions++;
    }
    return 0;
}

/* Holds: catalog mutex. */
static int fill_list(struct beck *db, struct topic_picture **topics, size_t count,
                     const beck_topic_info *const **out)
{
    struct list_block b = {0};
    int rc = make_block(topics, count, &b);
    if (rc < 0) return rc;
    const beck_topic_info **list = b.topics;
    for (size_t i = 0; rc == 0 && i < count; i++) rc = describe_topic(db, topics[i], &b);
    if (rc < 0) {
        free(list);
        return rc;
    }
    *out = list;
    return os_keep(&kept_topics, list);
}

static int list_once_more(struct beck *db, const char *name, const beck_topic_info *const **topics,
                          size_t *count)
{
    int rc = db_refresh(db);
    if (rc < 0) return rc;
    pthread_mutex_lock(&db->cat.mutex);
    struct topic_picture **list = db->cat.picture.by_name, *one;
    *count = db->cat.picture.topics;
    if (name != NULL) {
        one = picture_topic_by_name(&db->cat.picture, name);
        list = &one;
        *count = 1;
        if (one == NULL) rc = not_found(name);
    }
    if (rc == 0) rc = fill_list(db, list, *count, topics);
    pthread_mutex_unlock(&db->cat.mutex);
    return rc;
}

int topic_list(struct beck *db, const char *name, const beck_topic_info *const **topics,
               size_t *count)
{
    int rc;
    *topics = NULL;
    uint64_t epoch;
    do {
        if ((rc = db_follow(db)) < 0) break;
        epoch = atomic_load(&db->epoch);
        rc = list_once_more(db, name, topics, count);
        /* The last writer left meanwhile, or the first came; this thread or another one saw it. */
    } while (db_moved(db) || epoch != atomic_load(&db->epoch));
    return rc;
}
