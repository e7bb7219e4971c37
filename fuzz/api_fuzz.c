/* api_fuzz.c -- calls of the public interface, one after the other, against a model of a few arrays
 *
 * Each call is a byte of the input and what follows it. Two handles write, one only reads; what a
 * call returns must be what the model says. A crash is a copy of the file as it is, opened
 * elsewhere: all that was acknowledged is there. */
#include <fcntl.h>
#include <unistd.h>

#include "fuzz.h"

enum { TOPICS = 3, PARTS = 3, HANDLES = 3, READONLY = 2, RECORDS = 400, BATCH = 9, OPS = 60 };
enum { TIME = 1000 }; /* of the first record */

struct log {
    uint32_t seeds[RECORDS]; /* of the values */
    uint32_t sizes[RECORDS];
    int64_t times[RECORDS];
    int64_t count;
};

static struct model_topic {
    bool exists;
    uint32_t life; /* counts up when it is deleted */
    uint32_t parts;
    struct log logs[PARTS];
} topics[TOPICS];

static struct {
    beck *db;
    beck_topic *topics[TOPICS];
    uint32_t lives[TOPICS];
} handles[HANDLES];

static struct reading {
    beck_consumer *consumer;
    int handle, topic;
    uint32_t life;
    uint32_t known; /* partitions there were when it looked last */
    int64_t next[PARTS];
} reader;

static struct fuzz_input in;
static int64_t now; /* timestamp of the next record */
static uint32_t serial;
static bool file_exists;
static const char *const names[TOPICS] = {"a", "topic-b", "c.c"};

static uint32_t below(uint32_t limit)
{
    return (uint32_t)fuzz_number(&in, limit > 256 ? 2 : 1) % limit;
}

/* ---- Values that follow from a number ---- */

static const uint8_t *value(uint32_t seed, uint32_t size)
{
    static uint8_t bytes[BATCH][20000];
    uint8_t *to = bytes[seed % BATCH];
    memset(to, (int)(seed & 255), size);
    if (size >= 4) memcpy(to, &seed, 4);
    return to;
}

/* ---- Handles ---- */

static void forget_reader(void)
{
    beck_consumer_close(reader.consumer);
    reader.consumer = NULL;
}

static void close_handle(int h)
{
    if (handles[h].db == NULL) return;
    if (reader.handle == h) forget_reader();
    MUST_DB(handles[h].db, beck_close(handles[h].db) == BECK_OK);
    memset(&handles[h], 0, sizeof handles[h]);
}

static void open_handle(int h)
{
    beck_options options = {.size = sizeof options};
    close_handle(h);
    if (h == READONLY) options.flags = BECK_OPEN_READONLY;
    int rc = beck_open(fuzz_path(), &options, &handles[h].db);
    if (h == READONLY && !file_exists) {
        MUST_DB(handles[h].db, rc == BECK_NOT_FOUND);
        beck_close(handles[h].db);
        handles[h].db = NULL;
        return;
    }
    MUST_DB(handles[h].db, rc == BECK_OK);
    MUST(strcmp(beck_recovery_report(handles[h].db), "") == 0);
    file_exists = true;
}

static beck *handle(int h)
{
    if (handles[h].db == NULL) open_handle(h);
    return handles[h].db;
}

/* ---- Topics ---- */

static void create(int h, int t, bool open)
{
    beck *db = handle(h);
    beck_topic_config config = {.size = sizeof config, .partitions = below(PARTS + 1)};
    beck_topic *topic = NULL;
    config.sync = below(3);
    config.segment_bytes = below(2) ? 16384 : 0;
    config.compression = below(7);
    if (config.compression > 0 && config.compression < BECK_COMPRESSION_PRODUCER &&
        beck_compression_check(config.compression) < 0)
        config.compression = 0;
    int rc = open ? beck_topic_open(db, names[t], &config, &topic)
                  : beck_topic_create(db, names[t], &config);
    if (!open && topics[t].exists) {
        MUST_DB(db, rc == BECK_EXISTS);
        return;
    }
    MUST_DB(db, rc == BECK_OK);
    if (topics[t].exists) return;
    topics[t].exists = true;
    topics[t].parts = config.partitions == 0 ? 1 : config.partitions;
    memset(topics[t].logs, 0, sizeof topics[t].logs);
}

static void alter(int h, int t)
{
    beck *db = handle(h);
    beck_topic_config config = {.size = sizeof config, .partitions = below(PARTS + 1)};
    int rc = beck_topic_alter(db, names[t], &config);
    if (!topics[t].exists) {
        MUST_DB(db, rc == BECK_NOT_FOUND);
    } else if (config.partitions != 0 && config.partitions < topics[t].parts) {
        MUST_DB(db, rc == BECK_INVALID);
    } else {
        MUST_DB(db, rc == BECK_OK);
        if (config.partitions != 0) topics[t].parts = config.partitions;
    }
}

static void drop(int h, int t)
{
    beck *db = handle(h);
    MUST_DB(db, beck_topic_delete(db, names[t]) == (topics[t].exists ? BECK_OK : BECK_NOT_FOUND));
    if (!topics[t].exists) return;
    topics[t].exists = false;
    topics[t].life++;
}

static beck_topic *topic_of(int h, int t)
{
    beck *db = handle(h);
    if (handles[h].topics[t] == NULL || handles[h].lives[t] != topics[t].life) {
        MUST_DB(db, beck_topic_open(db, names[t], NULL, &handles[h].topics[t]) == BECK_OK);
        handles[h].lives[t] = topics[t].life;
    }
    return handles[h].topics[t];
}

/* ---- Appending ---- */

static void append(int h, int t)
{
    static const uint32_t sizes[] = {0, 1, 10, 100, 1000, 5000, 16000, 19999};
    beck *db = handle(h);
    beck_record records[BATCH];
    beck_append_options options = {.size = sizeof options, .sync = below(3)};
    int32_t part = (int32_t)below(PARTS);
    uint32_t count = 1 + below(BATCH), size = sizes[below(8)];
    struct log *log = &topics[t].logs[part];
    int64_t offset = -1;
    options.compression = below(6);
    if (beck_compression_check(options.compression) < 0) options.compression = 0;
    if (!topics[t].exists || log->count + count > RECORDS) return;
    for (uint32_t i = 0; i < count; i++) {
        records[i] = (beck_record){.value = value(serial + i, size), .value_size = size};
        records[i].timestamp = now + i;
    }
    int rc = beck_append_with(topic_of(h, t), part, records, count, &options, &offset);
    if (part >= (int32_t)topics[t].parts) {
        MUST_DB(db, rc == BECK_INVALID || rc == BECK_NOT_FOUND);
        return;
    }
    MUST_DB(db, rc == BECK_OK && offset == log->count);
    for (uint32_t i = 0; i < count; i++) {
        log->seeds[log->count] = serial++;
        log->times[log->count] = now + i;
        log->sizes[log->count++] = size;
    }
    now += count;
}

/* ---- Reading ---- */

static void check_record(const beck_record *r, int t, int64_t *next)
{
    const struct log *log = &topics[t].logs[r->partition];
    MUST(r->offset == next[r->partition] && r->offset < log->count);
    MUST(strcmp(r->topic, names[t]) == 0 && r->key == NULL && r->header_count == 0);
    MUST(r->value_size == log->sizes[r->offset]);
    MUST(memcmp(r->value, value(log->seeds[r->offset], r->value_size), r->value_size) == 0);
    next[r->partition]++;
}

static void read_to_end(beck *db, beck_consumer *consumer, int t, int64_t *next)
{
    const beck_record *records;
    size_t count;
    do {
        MUST_DB(db, beck_poll(consumer, 1 + below(50), 0, &records, &count) == BECK_OK);
        for (size_t i = 0; i < count; i++) check_record(&records[i], t, next);
    } while (count > 0);
    for (uint32_t p = 0; p < topics[t].parts; p++) MUST(next[p] == topics[t].logs[p].count);
}

static beck_consumer *consumer_at(beck *db, int t, uint32_t start, int64_t at)
{
    beck_consumer_config config = {.size = sizeof config, .topics = &names[t], .topic_count = 1};
    beck_consumer *consumer = NULL;
    config.start = start;
    config.start_value = at;
    config.flags = below(2) ? BECK_CONSUME_COPY : 0;
    int rc = beck_consumer_open(db, &config, &consumer);
    bool beyond = false;
    for (uint32_t p = 0; p < topics[t].parts; p++) beyond |= at > topics[t].logs[p].count;
    if (!topics[t].exists)
        MUST_DB(db, rc == BECK_NOT_FOUND);
    else if (start == BECK_START_OFFSET && beyond)
        MUST_DB(db, rc == BECK_RANGE);
    else
        MUST_DB(db, rc == BECK_OK);
    return rc == BECK_OK ? consumer : NULL;
}

/* Where each kind of start begins; timestamps rise. */
static int64_t begins_at(const struct log *log, uint32_t start, int64_t at)
{
    switch (start) {
    case BECK_START_END: return log->count;
    case BECK_START_OFFSET: return at;
    case BECK_START_LAST: return log->count > at ? log->count - at : 0;
    case BECK_START_TIME: break;
    default: return 0;
    }
    int64_t offset = 0;
    while (offset < log->count && log->times[offset] < at) offset++;
    return offset;
}

static void read_all(int h, int t)
{
    beck *db = handle(h);
    if (db == NULL) return;
    static const uint32_t starts[] = {BECK_START_BEGINNING, BECK_START_END, BECK_START_OFFSET,
                                      BECK_START_LAST, BECK_START_TIME};
    uint32_t start = starts[below(5)];
    int64_t next[PARTS], at = below(20) + (start == BECK_START_TIME ? now - 15 : 0);
    beck_consumer *consumer = consumer_at(db, t, start, at);
    if (consumer == NULL) return;
    for (int p = 0; p < PARTS; p++) next[p] = begins_at(&topics[t].logs[p], start, at);
    read_to_end(db, consumer, t, next);
    beck_consumer_close(consumer);
}

/* A consumer that stays while others append, alter and delete. */
static void follow(int h, int t)
{
    beck *db = handle(h);
    if (db == NULL) return;
    forget_reader();
    reader = (struct reading){.handle = h, .topic = t, .life = topics[t].life};
    reader.consumer = consumer_at(db, t, BECK_START_BEGINNING, 0);
    reader.known = topics[t].parts;
}

static void follow_on(void)
{
    const beck_record *records;
    size_t count = 0;
    int t = reader.topic;
    if (reader.consumer == NULL) return;
    int rc = beck_poll(reader.consumer, 1 + below(20), 0, &records, &count);
    if (!topics[t].exists || reader.life != topics[t].life) {
        MUST(rc == BECK_DELETED || rc == BECK_EVENT || rc == BECK_OK);
        if (rc == BECK_DELETED) forget_reader();
        return;
    }
    MUST(rc == BECK_OK);
    if (count == 0) reader.known = topics[t].parts;
    for (size_t i = 0; i < count; i++) check_record(&records[i], t, reader.next);
}

static void seek(void)
{
    int t = reader.topic;
    if (reader.consumer == NULL || !topics[t].exists || reader.life != topics[t].life) return;
    int32_t part = (int32_t)below(reader.known);
    int64_t to = below(RECORDS), at = -1, end = topics[t].logs[part].count;
    int rc = beck_seek(reader.consumer, names[t], part, to);
    MUST(rc == (to > end ? BECK_RANGE : BECK_OK));
    if (rc == BECK_OK) reader.next[part] = to;
    MUST(beck_position(reader.consumer, names[t], part, &at) == BECK_OK);
    MUST(at == reader.next[part]);
}

/* ---- The file as a whole ---- */

static void compare(beck *db)
{
    const beck_topic_info *const *list;
    size_t count = 0, exist = 0;
    MUST_DB(db, beck_topic_list(db, &list, &count) == BECK_OK);
    for (int t = 0; t < TOPICS; t++) exist += topics[t].exists;
    MUST(count == exist);
    for (int t = 0; t < TOPICS; t++) {
        const beck_topic_info *info;
        int rc = beck_topic_describe(db, names[t], &info);
        MUST_DB(db, rc == (topics[t].exists ? BECK_OK : BECK_NOT_FOUND));
        if (rc < 0) continue;
        MUST(info->config->partitions == topics[t].parts);
        for (uint32_t p = 0; p < topics[t].parts; p++) {
            MUST(info->partitions[p]->start_offset == 0);
            MUST(info->partitions[p]->end_offset == topics[t].logs[p].count);
        }
    }
    MUST_DB(db, beck_check(db, NULL, NULL, NULL, NULL) == BECK_OK);
}

static void copy_file(const char *to)
{
    static uint8_t bytes[1 << 16];
    int from_fd = open(fuzz_path(), O_RDONLY), to_fd = open(to, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (from_fd < 0 || to_fd < 0) abort();
    off_t at = 0;
    for (ssize_t n; (n = pread(from_fd, bytes, sizeof bytes, at)) > 0; at += n)
        for (ssize_t i = 0; i < n; i += 4096) { /* zeros stay holes */
            size_t part = n - i < 4096 ? (size_t)(n - i) : 4096;
            if (bytes[i] == 0 && memcmp(bytes + i, bytes + i + 1, part - 1) == 0) continue;
            if (pwrite(to_fd, bytes + i, part, at + i) != (ssize_t)part) abort();
        }
    if (ftruncate(to_fd, at) < 0) abort();
    close(from_fd);
    close(to_fd);
}

/* What a crash at this moment would leave, opened for writing or reading. */
static void crash(void)
{
    char path[600];
    beck *db = NULL;
    beck_options options = {.size = sizeof options};
    if (!file_exists) return;
    options.flags = below(2) ? BECK_OPEN_READONLY : BECK_OPEN_NO_CREATE;
    snprintf(path, sizeof path, "%s.copy", fuzz_path());
    copy_file(path);
    MUST_DB(db, beck_open(path, &options, &db) == BECK_OK);
    compare(db);
    for (int t = 0; t < TOPICS; t++) {
        int64_t next[PARTS] = {0};
        if (!topics[t].exists) continue;
        beck_consumer *consumer = consumer_at(db, t, BECK_START_BEGINNING, 0);
        read_to_end(db, consumer, t, next);
    }
    MUST_DB(db, beck_close(db) == BECK_OK);
    unlink(path);
}

static void one_call(void)
{
    uint8_t what = fuzz_byte(&in);
    int h = what >> 4 & 1, t = (what >> 5) % TOPICS, any = (what >> 4) % HANDLES;
    switch (what % 16) {
    case 0: close_handle(any); break;
    case 1: open_handle(any); break;
    case 2: create(h, t, false); break;
    case 3: create(h, t, true); break;
    case 4: alter(h, t); break;
    case 5: drop(h, t); break;
    case 6: read_all(any, t); break;
    case 7: follow(any, t); break;
    case 8: seek(); break;
    case 9: crash(); break;
    case 10:
        if (handle(any) != NULL) compare(handles[any].db);
        break;
    case 11: MUST_DB(handles[h].db, beck_sync(handle(h)) == BECK_OK); break;
    case 12: follow_on(); break;
    default: append(h, t); break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    in = (struct fuzz_input){data, size};
    unlink(fuzz_path());
    memset(topics, 0, sizeof topics);
    now = TIME;
    serial = 0;
    file_exists = false;
    for (int i = 0; i < OPS && in.left > 0; i++) one_call();
    for (int h = 0; h < HANDLES; h++)
        if (handles[h].db != NULL) compare(handles[h].db);
    forget_reader();
    for (int h = 0; h < HANDLES; h++) close_handle(h);
    return 0;
}
