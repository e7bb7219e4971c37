/* golden.c -- make files with every feature of the format, say what is in them, append to them
 *
 *     golden make KIND FILE      KIND: full or codecs
 *     golden leave FILE          a second session on a full one, which dies without closing
 *     golden dump FILE [write]   everything that can be read, as text; read-only unless `write`
 *     golden append FILE         two records to each partition
 *     golden crash FILE          the same, and dies
 *
 * Time and chance are this program's own: the same work gives the same bytes on every machine, as
 * long as the file is closed cleanly. */
#include "beck.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define NOON INT64_C(1700000000000) /* milliseconds; the clock stands */

/* ---- Time and chance, in the place of the C library's ---- */

/* Numbers are the same number everywhere, longer things the same bytes. */
ssize_t getrandom(void *data, size_t bytes, unsigned flags)
{
    static uint64_t state = 0x9e3779b97f4a7c15u;
    uint8_t *p = data;
    bool backwards = __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__ && bytes <= 8;
    (void)flags;
    for (size_t i = 0; i < bytes; i++) {
        state ^= state << 13, state ^= state >> 7, state ^= state << 17;
        p[backwards ? bytes - 1 - i : i] = (uint8_t)(state >> 24);
    }
    return (ssize_t)bytes;
}

int clock_gettime(clockid_t clock, struct timespec *t)
{
    if (clock != CLOCK_REALTIME && clock != CLOCK_REALTIME_COARSE)
        return (int)syscall(SYS_clock_gettime, clock, t);
    *t = (struct timespec){.tv_sec = NOON / 1000};
    return 0;
}

/* ---- What may fail ---- */

static beck *db;

static void want(int rc, const char *what)
{
    if (rc >= 0) return;
    fprintf(stderr, "golden: %s: %s: %s\n", what, beck_status_name(rc), beck_errmsg(db));
    exit(1);
}
#define WANT(call) want((call), #call)

static void open_file(const char *path, uint32_t flags)
{
    beck_options options = {.size = sizeof options, .flags = flags, .application_id = 0x676f6c64};
    WANT(beck_open(path, &options, &db));
}

static beck_topic *topic_open(const char *name, const beck_topic_config *config)
{
    beck_topic *topic = NULL;
    WANT(beck_topic_open(db, name, config, &topic));
    return topic;
}

/* ---- Making ---- */

static const beck_topic_config small = {.size = sizeof small,
                                        .partitions = 3,
                                        .sync = BECK_SYNC_OS,
                                        .segment_bytes = 16384,
                                        .max_message_bytes = 12000,
                                        .flush_ms = 60000};

static beck_record text_record(const char *key, const char *value, int32_t partition)
{
    return (beck_record){.key = key,
                         .key_size = key != NULL ? (uint32_t)strlen(key) : 0,
                         .value = value,
                         .value_size = value != NULL ? (uint32_t)strlen(value) : 0,
                         .partition = partition,
                         .timestamp = NOON};
}

/* Null and empty, headers of every kind, bytes that are no text, times that jump. */
static void append_special(const char *name)
{
    static const uint8_t bytes[] = {0, 1, 127, 128, 255, '\n', '%', ' '};
    static const beck_header headers[] = {{"a", "1", 1, 1},
                                          {"a", "again", 1, 5},
                                          {"null", NULL, 4, 0},
                                          {"empty", "", 5, 0},
                                          {"bytes", bytes, 5, sizeof bytes},
                                          {"", "no name", 0, 7}};
    beck_topic *topic = topic_open(name, NULL);
    beck_record r[] = {text_record("key", "value", 0), text_record(NULL, "no key", 0),
                       text_record("a tombstone", NULL, 0), text_record("", "", 0),
                       text_record(NULL, NULL, 0)};
    r[1].timestamp = 1;
    r[2].timestamp = INT64_C(253402300799999); /* the end of the year 9999 */
    for (size_t i = 0; i < sizeof r / sizeof r[0]; i++) WANT(beck_append(topic, &r[i], NULL));
    beck_record special = {.key = bytes,
                           .key_size = sizeof bytes,
                           .value = bytes,
                           .value_size = sizeof bytes,
                           .headers = headers,
                           .header_count = sizeof headers / sizeof headers[0],
                           .timestamp = NOON + 1};
    WANT(beck_append(topic, &special, NULL));
    WANT(beck_append_batch(topic, 0, r, sizeof r / sizeof r[0], NULL));
}

/* Batches of many sizes, until segments are sealed. */
static void fill(const char *name, const beck_topic_config *config, int batches, uint32_t codec)
{
    static char text[8000];
    beck_topic *topic = topic_open(name, config);
    beck_append_options options = {.size = sizeof options, .compression = codec};
    for (size_t i = 0; i < sizeof text; i++) text[i] = (char)('a' + i % 26);
    for (int b = 0; b < batches; b++) {
        beck_record r[4];
        char keys[4][16];
        size_t count = (size_t)(b % 4) + 1;
        for (size_t i = 0; i < count; i++) {
            snprintf(keys[i], sizeof keys[i], "key-%d", b % 7);
            r[i] = text_record(keys[i], NULL, BECK_ANY_PARTITION);
            r[i].value = text + b % 26;
            r[i].value_size = (uint32_t)(b * 37 + (int)i * 211) % 1500;
            r[i].timestamp = NOON + b * 10 - (int)i;
        }
        WANT(beck_append_with(topic, BECK_ANY_PARTITION, r, count, &options, NULL));
    }
}

/* Topics of every kind, space that was freed and used again, and, where BECK_TINY makes catalogs
 * short, a snapshot of the catalog. */
static void make_topics(void)
{
    beck_topic_config plain = {.size = sizeof plain};
    append_special("special");
    fill("filled", &small, 60, 0);
    fill("deleted", &small, 40, 0);
    WANT(beck_topic_delete(db, "deleted"));
    fill("reuses.its_space", &small, 30, 0);
    WANT(beck_topic_create(db, "empty", NULL));
    WANT(beck_topic_create(db, "grown", NULL));
    fill("grown", NULL, 5, 0);
    plain.partitions = 4;
    plain.sync = BECK_SYNC_OS;
    WANT(beck_topic_alter(db, "grown", &plain));
    fill("grown", NULL, 20, 0);
    for (uint32_t i = 0; i < 300; i++) {
        plain.flush_ms = 1000 + i;
        WANT(beck_topic_alter(db, "grown", &plain));
    }
    append_special("after_the_snapshot");
}

/* One batch of more than the 64 KiB that codecs like to work in at once. */
static void append_large(const char *name, uint32_t codec)
{
    static char text[7000];
    beck_record r[12];
    beck_append_options options = {.size = sizeof options, .compression = codec};
    for (size_t i = 0; i < sizeof text; i++) text[i] = (char)('A' + i * i % 26);
    for (size_t i = 0; i < 12; i++) {
        r[i] = text_record("large", NULL, 0);
        r[i].value = text + i * 31;
        r[i].value_size = (uint32_t)(sizeof text - i * 31);
    }
    WANT(beck_append_with(topic_open(name, NULL), 0, r, 12, &options, NULL));
}

static void make_codecs(void)
{
    for (uint32_t codec = BECK_COMPRESSION_GZIP; codec <= BECK_COMPRESSION_ZSTD; codec++) {
        beck_topic_config config = {.size = sizeof config, .compression = codec};
        fill(beck_compression_name(codec), &config, 8, 0);
        append_large(beck_compression_name(codec), 0);
        fill("mixed", NULL, 3, codec);
    }
}

static int make(const char *kind, const char *path)
{
    if (access(path, F_OK) == 0) {
        fprintf(stderr, "golden: %s exists, and golden files are never changed\n", path);
        return 1;
    }
    open_file(path, 0);
    if (strcmp(kind, "codecs") == 0) {
        make_codecs();
    } else if (strcmp(kind, "full") == 0) {
        make_topics();
    } else {
        return 2;
    }
    WANT(beck_close(db));
    return 0;
}

/* Behind TAIL entries, into new segments, and in a new topic. */
static int leave(const char *path)
{
    open_file(path, BECK_OPEN_NO_CREATE);
    fill("filled", NULL, 25, 0);
    append_special("special");
    fill("new", &small, 10, 0);
    WANT(beck_topic_delete(db, "reuses.its_space"));
    _exit(0);
}

/* ---- Appending ---- */

static int append(const char *path, bool crash)
{
    const beck_topic_info *const *topics;
    size_t count;
    open_file(path, BECK_OPEN_NO_CREATE);
    WANT(beck_topic_list(db, &topics, &count));
    char(*names)[BECK_TOPIC_NAME_MAX + 1] = calloc(count + 1, sizeof *names);
    uint32_t *partitions = calloc(count + 1, sizeof *partitions);
    if (names == NULL || partitions == NULL) return 1;
    for (size_t i = 0; i < count; i++) {
        snprintf(names[i], sizeof names[i], "%s", topics[i]->name);
        partitions[i] = topics[i]->config->partitions;
    }
    for (size_t i = 0; i < count; i++) {
        beck_topic *topic = topic_open(names[i], NULL);
        for (uint32_t k = 0; k < partitions[i]; k++) {
            beck_record r = text_record("appended", "once", (int32_t)k);
            WANT(beck_append(topic, &r, NULL));
            r = text_record("appended", "twice", (int32_t)k);
            WANT(beck_append(topic, &r, NULL));
        }
    }
    free(names);
    free(partitions);
    if (crash) _exit(0);
    WANT(beck_close(db));
    return 0;
}

/* ---- Saying what is there ---- */

/* Of what is long the beginning, the length and a checksum (FNV-1a). */
static void print_bytes(const void *data, uint32_t bytes)
{
    const uint8_t *p = data;
    uint32_t shown = bytes > 64 ? 16 : bytes;
    uint64_t sum = 0xcbf29ce484222325u;
    if (data == NULL) {
        printf(" null");
        return;
    }
    printf(" '");
    for (uint32_t i = 0; i < bytes; i++) sum = (sum ^ p[i]) * 0x100000001b3u;
    for (uint32_t i = 0; i < shown; i++)
        if (p[i] > ' ' && p[i] < 127 && p[i] != '%' && p[i] != '\'')
            putchar(p[i]);
        else
            printf("%%%02x", p[i]);
    putchar('\'');
    if (shown < bytes) printf("+%u:%016llx", bytes - shown, (unsigned long long)sum);
}

static void print_record(const beck_record *r)
{
    printf("%lld %lld", (long long)r->offset, (long long)r->timestamp);
    print_bytes(r->key, r->key_size);
    print_bytes(r->value, r->value_size);
    for (uint32_t i = 0; i < r->header_count; i++) {
        print_bytes(r->headers[i].name, r->headers[i].name_size);
        print_bytes(r->headers[i].value, r->headers[i].value_size);
    }
    putchar('\n');
}

static void print_event(beck_consumer *c)
{
    beck_event_info e = {.size = sizeof e};
    WANT(beck_event(c, &e));
    printf("gap %lld %lld %d\n", (long long)e.from, (long long)e.to, e.cause);
}

static void print_partition(const char *topic, int32_t partition)
{
    beck_consumer_config config = {.size = sizeof config,
                                   .topics = &topic,
                                   .topic_count = 1,
                                   .partitions = &partition,
                                   .partition_count = 1};
    beck_consumer *c = NULL;
    const beck_record *records;
    size_t count = 0;
    int rc;
    printf("partition %s:%d\n", topic, partition);
    WANT(beck_consumer_open(db, &config, &c));
    while ((rc = beck_poll(c, 100, 0, &records, &count)) == BECK_EVENT || count > 0) {
        if (rc == BECK_EVENT) print_event(c);
        if (rc < 0) break;
        for (size_t i = 0; i < count; i++) print_record(&records[i]);
    }
    if (rc < 0) printf("%s\n", beck_status_name(rc));
    beck_consumer_close(c);
}

static int dump(const char *path, bool write)
{
    const beck_topic_info *const *topics;
    size_t count;
    open_file(path, write ? BECK_OPEN_NO_CREATE : BECK_OPEN_READONLY);
    WANT(beck_topic_list(db, &topics, &count));
    for (size_t i = 0; i < count; i++) {
        const beck_topic_config *c = topics[i]->config;
        printf("topic %s id %llu partitions %u sync %u max %u segment %u flush %u compression %s\n",
               topics[i]->name, (unsigned long long)topics[i]->id, c->partitions, c->sync,
               c->max_message_bytes, c->segment_bytes, c->flush_ms,
               beck_compression_name(c->compression));
        for (uint32_t k = 0; k < c->partitions; k++) print_partition(topics[i]->name, (int32_t)k);
    }
    WANT(beck_close(db));
    return 0;
}

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "";
    if (argc == 4 && strcmp(what, "make") == 0) return make(argv[2], argv[3]);
    if (argc == 3 && strcmp(what, "leave") == 0) return leave(argv[2]);
    if (argc >= 3 && strcmp(what, "dump") == 0) return dump(argv[2], argc == 4);
    if (argc == 3 && strcmp(what, "append") == 0) return append(argv[2], false);
    if (argc == 3 && strcmp(what, "crash") == 0) return append(argv[2], true);
    fprintf(stderr, "usage: golden make KIND FILE\n"
                    "       golden leave|append|crash FILE\n"
                    "       golden dump FILE [write]\n");
    return 2;
}
