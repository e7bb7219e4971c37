/* beck.h -- the whole public interface of beck, and its manual
 *
 * beck keeps Kafka's model (topics, partitions, keys, offsets) in one file that many processes of
 * one machine produce to and consume from at the same time. There is no daemon and no second file.
 *
 *     #include <beck.h>
 *     #include <stdio.h>
 *
 *     int main(void)
 *     {
 *         beck *db = NULL;
 *         beck_topic *topic = NULL;
 *         int rc = beck_open("orders.beck", NULL, &db);
 *         if (rc == BECK_OK) rc = beck_topic_open(db, "orders", NULL, &topic);
 *         if (rc == BECK_OK) {
 *             beck_record r = {.key = "42", .key_size = 2, .value = "paid", .value_size = 4,
 *                              .partition = BECK_ANY_PARTITION};
 *             int64_t offset;
 *             rc = beck_append(topic, &r, &offset);       // on stable storage when it returns
 *         }
 *         if (rc < 0) fprintf(stderr, "%s\n", beck_errmsg(db));
 *         beck_close(db);
 *         return rc < 0;
 *     }
 *
 * and in another process
 *
 *     const char *topics[] = {"orders"};
 *     beck_consumer_config config = {.size = sizeof config, .topics = topics, .topic_count = 1};
 *     beck_consumer_open(db, &config, &consumer);
 *     while ((rc = beck_poll(consumer, 1000, -1, &records, &count)) >= 0)
 *         for (size_t i = 0; i < count; i++) use(&records[i]);
 *
 * What to know first
 *  - Keep the file on a local file system: ext4, xfs, btrfs, tmpfs, or overlayfs inside one
 *    container. Network and pass-through file systems are refused (BECK_FILESYSTEM).
 *  - A handle is not inherited: after fork() the child opens its own; the parent's gives
 *    BECK_FORKED.
 *  - Write permission on the file is full trust: every writer can damage it. Opening and reading a
 *    file from a stranger is safe.
 *  - The library starts no threads, installs no signal handlers, prints nothing and never exits.
 *
 * Threads: a handle `beck` and its topics may be used by any number of threads at once. A consumer
 * is used by one thread at a time. 1024 handles that may write, in any processes, can have a file
 * open at once, and any number of read-only ones.
 *
 * Memory: every pointer this library returns stays its own; each function says how long it lives.
 *
 * Sizes are bytes, times are milliseconds since 1970-01-01 UTC unless a name says otherwise. */
#ifndef BECK_H
#define BECK_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#ifndef BECK_API
#define BECK_API
#endif

/* ---- Version ---- */
/* Header and library should be the same: assert(beck_version_number() == BECK_VERSION_NUMBER). */

#define BECK_VERSION "0.1.0"
#define BECK_VERSION_NUMBER 1000 /* major * 1000000 + minor * 1000 + patch */

/* The version of the library, as BECK_VERSION was when it was built. */
BECK_API const char *beck_version(void);
/* The same as a number, for comparing. */
BECK_API int32_t beck_version_number(void);

/* ---- Status codes ---- */
/* Functions return int: 0 is success, a negative value an error, a positive one a documented
 * outcome that is no error. Values never change. The last column is the class: what to do
 * (beck_status_class). */

#define BECK_STATUS_LIST(X)                                                                        \
    X(OK, 0, "success", NONE)                                                                      \
    X(EVENT, 1, "something happened on the consumer: see beck_event", NONE)                        \
    X(IO, -1, "input/output error", RETRY)                                                         \
    X(CORRUPT, -2, "the file is damaged", REPAIR)                                                  \
    X(FULL, -3, "no space left", RETRY)                                                            \
    X(BUSY, -4, "another process is in the way", RETRY)                                            \
    X(POISONED, -5, "a sync failed: close every handle and open again", REOPEN)                    \
    X(NOMEM, -6, "out of memory", RETRY)                                                           \
    X(INVALID, -7, "invalid argument", CALLER)                                                     \
    X(NOT_FOUND, -8, "not found", CALLER)                                                          \
    X(EXISTS, -9, "already exists", CALLER)                                                        \
    X(TOO_LARGE, -10, "record or batch too large", CALLER)                                         \
    X(READONLY, -11, "the handle or file is read-only", CALLER)                                    \
    X(NOT_BECK, -12, "not a beck file", CALLER)                                                    \
    X(NEWER, -13, "written by a newer beck", CALLER)                                               \
    X(FILESYSTEM, -14, "unsuitable file system", CALLER)                                           \
    X(FORKED, -15, "handle inherited over fork: open your own", REOPEN)                            \
    X(MOVED, -16, "the file was deleted or replaced", REOPEN)                                      \
    X(PERMISSION, -17, "permission denied", CALLER)                                                \
    X(DELETED, -18, "the topic was deleted", CALLER)                                               \
    X(RANGE, -19, "offset out of range", CALLER)                                                   \
    X(UNSUPPORTED, -20, "not supported by this build or system", CALLER)                           \
    X(LIMIT, -21, "a limit was reached", CALLER)                                                   \
    X(INTERNAL, -22, "internal error: please report", REOPEN)                                      \
    X(UNKNOWN, -23, "the outcome is unknown: it may have happened", REOPEN)

enum beck_status {
#define BECK_STATUS_ENUM(name, value, text, class) BECK_##name = value,
    BECK_STATUS_LIST(BECK_STATUS_ENUM)
#undef BECK_STATUS_ENUM
};

enum beck_status_class {
    BECK_CLASS_NONE = 0,   /* nothing to do */
    BECK_CLASS_RETRY = 1,  /* may succeed later, when the cause is gone */
    BECK_CLASS_CALLER = 2, /* the call is wrong: change it */
    BECK_CLASS_REOPEN = 3, /* close this handle and open the file again */
    BECK_CLASS_REPAIR = 4  /* the file is damaged: `beck check` tells where */
};

/* The fixed text of a status; never NULL. */
BECK_API const char *beck_status_text(int status);
/* The name without prefix, for example "CORRUPT"; "?" for what is no status; never NULL. */
BECK_API const char *beck_status_name(int status);
/* What to do: one of enum beck_status_class. */
BECK_API int beck_status_class(int status);

/* ---- Objects ---- */
typedef struct beck beck;             /* one handle on one file */
typedef struct beck_topic beck_topic; /* a topic opened for appending */
/* a reader with a position in every partition it reads */
typedef struct beck_consumer beck_consumer;

/* ---- Open and close ---- */
/* Structs that the caller owns begin with their size in bytes (sizeof), which the caller sets, so
 * that header and library may be of different versions. In options zero always means the default;
 * what an older library does not know must be zero. Of results a caller gets what it has room for,
 * and zeros for the rest. */

/* never write a byte; records are copied, wake-ups take up to 100 ms */
#define BECK_OPEN_READONLY 1u
#define BECK_OPEN_NO_CREATE 2u /* a missing file is BECK_NOT_FOUND instead of a new file */
/* at your own risk: accept any file system; and believe the page cache after a failed sync, where
 * nothing else can be asked */
#define BECK_OPEN_FORCE 4u
/* only look who has the file open: the handle serves beck_handles and nothing else. Takes no lock,
 * waits for nobody, writes nothing: for files that are busy, poisoned or damaged, too */
#define BECK_OPEN_OBSERVE 8u

typedef struct beck_options {
    size_t size;    /* sizeof(beck_options) */
    uint32_t flags; /* BECK_OPEN_* */
    /* how long to wait for others opening or closing the file; 0 = 10000 */
    uint32_t busy_timeout_ms;
    uint32_t application_id; /* stored in a new file: whose it is; 0 = nobody's */
    uint32_t file_mode;      /* permissions of a new file before umask, at most 0777; 0 = 0644 */
    /* What time it is, in milliseconds since 1970, for this handle: timestamps of records without
     * one, and settings in milliseconds such as flush.ms. NULL = the system's clock. Called by any
     * thread that uses the handle, never for timeouts, which are real time. */
    int64_t (*clock)(void *context);
    void *clock_context;
} beck_options;

/* In place of a path: a file in memory that this handle alone has and that ends with it. For tests,
 * and for streams between the threads of one program. "./:memory:" is a file of that name. */
#define BECK_MEMORY ":memory:"

/* Open the file at `path`, create it if it is missing; `options` may be NULL. BECK_MEMORY: see
 * above; READONLY and NO_CREATE make no sense there and are INVALID.
 * After a crash the first handle to open the file recovers it, see beck_recovery_report.
 * On failure *db is NULL, or a handle that serves only beck_errmsg and beck_close: always close it.
 * Errors: NOT_FOUND, PERMISSION, NOT_BECK, NEWER, FILESYSTEM, CORRUPT, BUSY, FULL, IO, NOMEM,
 * LIMIT, UNSUPPORTED, POISONED (a sync failed: nothing is promised yet, open it once more). */
BECK_API int beck_open(const char *path, const beck_options *options, beck **db);

/* Close the handle and everything opened through it; NULL is allowed. No other thread may be using
 * it. The last read-write handle of a file makes everything stable and marks the file clean. The
 * result tells whether that worked; the handle is gone either way. MOVED: the file was changed, and
 * then deleted or replaced. */
BECK_API int beck_close(beck *db);

/* What the last failing call of this thread on this handle had to say: file, topic, offset, cause.
 * Valid until the next call on the handle by the same thread. For a NULL db: a general text. */
BECK_API const char *beck_errmsg(beck *db);

/* Make everything written to the file so far, by anyone, stable (for `os` topics; `sync` topics
 * are). */
BECK_API int beck_sync(beck *db);

/* What recovery found and did when this handle opened the file, one line a finding; "" when nothing
 * was wrong. Valid until the next call on this handle. */
BECK_API const char *beck_recovery_report(beck *db);

/* ---- Topics ---- */
/* A name is 1 to 249 characters of [A-Za-z0-9._-], neither "." nor "..". */

#define BECK_TOPIC_NAME_MAX 249
#define BECK_PARTITIONS_MAX 1024
#define BECK_KEY_MAX 65536u      /* bytes */
#define BECK_VALUE_MAX 10485760u /* bytes, by default; see max.message.bytes */
#define BECK_HEADERS_MAX 1024    /* headers of a record */

enum beck_sync_class {
    BECK_SYNC_DEFAULT = 0, /* a new topic: SYNC; an append: what the topic says */
    BECK_SYNC_SYNC = 1,    /* acknowledged = on stable storage; visible only then */
    /* acknowledged = visible to all processes; survives kill -9, not power loss */
    BECK_SYNC_OS = 2
};

/* Kafka's compression.type. Which codecs a build has: beck_compression_check. */
enum beck_compression {
    BECK_COMPRESSION_DEFAULT = 0, /* a topic: PRODUCER; an append: NONE */
    BECK_COMPRESSION_NONE = 1,
    BECK_COMPRESSION_GZIP = 2,
    BECK_COMPRESSION_SNAPPY = 3,
    BECK_COMPRESSION_LZ4 = 4,
    BECK_COMPRESSION_ZSTD = 5,
    BECK_COMPRESSION_PRODUCER = 6 /* a topic only: what each append asks for */
};

/* Its name as compression.type, "uncompressed" for NONE; "unknown", never NULL. */
BECK_API const char *beck_compression_name(uint32_t compression);
/* OK when this build can compress and decompress so, UNSUPPORTED with a text that says what is
 * missing, or INVALID. */
BECK_API int beck_compression_check(uint32_t compression);

#define BECK_FLUSH_NEVER UINT32_MAX

typedef struct beck_topic_config {
    size_t size;         /* sizeof(beck_topic_config) */
    uint32_t partitions; /* 1 to 1024; 0 = 1. Altering can only add. */
    uint32_t sync;       /* enum beck_sync_class */
    /* largest batch as it is stored, max.message.bytes; 0 = 10551296 (10 MiB + 64 KiB). Compressed
     * batches of more than 64 MiB can be read while it allows as much */
    uint32_t max_message_bytes;
    uint32_t segment_bytes; /* largest segment, segment.bytes; 0 = 16777216 */
    /* flush.ms: sync an `os` topic this often while it is used; 0 = never for a new topic and as it
     * was for an altered one, which BECK_FLUSH_NEVER sets back */
    uint32_t flush_ms;
    /* enum beck_compression, compression.type: of every batch, whatever an append asks for */
    uint32_t compression;
} beck_topic_config;

/* Set one field of `config` by its Kafka name (max.message.bytes, segment.bytes, flush.ms,
 * compression.type, partitions, or sync = sync|os). INVALID names the known settings in `message`
 * (`message_size` bytes; may be NULL). */
BECK_API int beck_topic_config_set(beck_topic_config *config, const char *name, const char *value,
                                   char *message, size_t message_size);

/* Create a topic; `config` may be NULL. Stable when it returns. EXISTS, INVALID, LIMIT, FULL;
 * POISONED: a sync failed, and whether it was made is unknown. The same holds for the next two. */
BECK_API int beck_topic_create(beck *db, const char *name, const beck_topic_config *config);
/* Change the settings that are not 0 in `config`. With more partitions keys go elsewhere, so that
 * their order holds only from then on. NOT_FOUND, INVALID (fewer partitions). */
BECK_API int beck_topic_alter(beck *db, const char *name, const beck_topic_config *config);
/* Delete a topic and its records; the space is reused as soon as no reader is in it. NOT_FOUND. */
BECK_API int beck_topic_delete(beck *db, const char *name);

/* Open a topic for appending, creating it with `config` (may be NULL) when it is missing. The
 * settings of an existing topic stay as they are. Topics live until beck_close and are counted:
 * opening one twice gives the same pointer. */
BECK_API int beck_topic_open(beck *db, const char *name, const beck_topic_config *config,
                             beck_topic **topic);

typedef struct beck_partition_info {
    int64_t start_offset;  /* offset of the oldest record */
    int64_t end_offset;    /* offset after the newest visible record */
    int64_t stable_offset; /* everything below is on stable storage */
    uint64_t bytes;        /* space taken in the file */
    uint64_t data_bytes;   /* of it filled with records, compressed as they are */
    uint32_t segments;
    uint32_t reserved;
} beck_partition_info;

typedef struct beck_topic_info {
    const char *name;
    uint64_t id;                                  /* never reused in this file */
    const beck_topic_config *config;              /* with defaults filled in */
    const beck_partition_info *const *partitions; /* config->partitions pointers */
} beck_topic_info;

/* All topics, ordered by name: *topics points to *count pointers. Valid until the next list or
 * describe by this thread, on whatever handle. */
BECK_API int beck_topic_list(beck *db, const beck_topic_info *const **topics, size_t *count);
/* One topic, as above. NOT_FOUND. */
BECK_API int beck_topic_describe(beck *db, const char *name, const beck_topic_info **topic);

/* ---- Records and appending ---- */
/* A NULL key or value pointer is null (Kafka's null, a tombstone as value); a pointer with size 0
 * is the empty string. They are different things and stay so. */

#define BECK_ANY_PARTITION (-1)
/* Append: now, by the kernel's coarse clock, which may be a tick (up to 10 ms) behind. */
#define BECK_NO_TIMESTAMP INT64_C(0)

typedef struct beck_header {
    const char *name; /* UTF-8, not NUL-terminated when read */
    const void *value;
    uint32_t name_size;
    uint32_t value_size;
} beck_header;

typedef struct beck_record {
    const void *key;
    const void *value;
    const beck_header *headers;
    uint32_t key_size;
    uint32_t value_size;
    uint32_t header_count;
    /* append: which, or BECK_ANY_PARTITION, by key (0 is partition 0, not "any"); poll: where */
    int32_t partition;
    int64_t timestamp; /* append: BECK_NO_TIMESTAMP (0) = now */
    int64_t offset;    /* poll only */
    const char *topic; /* poll only */
} beck_record;

/* Append one record. Placed by record->partition; with BECK_ANY_PARTITION by murmur2 of its key as
 * Kafka does, or, without a key, spread over the partitions. *offset (may be NULL) is its offset.
 * Errors: TOO_LARGE, INVALID, FULL, READONLY, IO: nothing was appended.
 * DELETED: the topic is gone, and with it this record, which may have been read before.
 * MOVED: the file was deleted or replaced, which is noticed within 100 ms: open it again.
 * UNKNOWN: something failed behind the write; the record may or may not be there.
 * POISONED: a sync failed and the outcome is unknown; nothing more is accepted until the file is
 * reopened. */
BECK_API int beck_append(beck_topic *topic, const beck_record *record, int64_t *offset);

/* Append `count` records to one partition as one batch, all or nothing; *base_offset (may be NULL)
 * is the offset of the first. The records' own `partition` is ignored. With BECK_ANY_PARTITION:
 * records with a key are placed by it, one batch for each partition; those without a key all go to
 * one partition; then *base_offset belongs to the first record, and a failure may leave whole
 * batches appended. */
BECK_API int beck_append_batch(beck_topic *topic, int32_t partition, const beck_record *records,
                               size_t count, int64_t *base_offset);

typedef struct beck_append_options {
    size_t size; /* sizeof(beck_append_options) */
    /* enum beck_sync_class. SYNC on an `os` topic returns when all up to these records is stable; a
     * weaker class than the topic's is ignored. */
    uint32_t sync;
    /* enum beck_compression of the batch, where the topic's compression.type is producer. A batch
     * that does not get smaller is stored as it is. Uncompressed it may have 64 MiB, or
     * max.message.bytes when that is more. */
    uint32_t compression;
} beck_append_options;

/* As above with options; NULL = none. UNSUPPORTED: this build has no such codec. */
BECK_API int beck_append_with(beck_topic *topic, int32_t partition, const beck_record *records,
                              size_t count, const beck_append_options *options,
                              int64_t *base_offset);

/* The partition Kafka's default partitioner gives this key (murmur2 & 0x7fffffff, modulo
 * partitions). */
BECK_API int32_t beck_partition_for_key(const void *key, size_t key_size, int32_t partitions);

/* ---- Consuming ---- */
enum beck_start {
    BECK_START_BEGINNING = 0, /* the oldest record */
    BECK_START_END = 1,       /* what comes after now */
    BECK_START_OFFSET = 2,    /* start_value = the offset, in every partition read */
    BECK_START_LAST = 3,      /* start_value = so many before the end of every partition */
    /* start_value = milliseconds: the first record at or after that time */
    BECK_START_TIME = 4
};

#define BECK_CONSUME_UNCHECKED 1u /* do not verify the records' checksums while reading */
/* records point to the consumer's own memory, never into the file */
#define BECK_CONSUME_COPY 2u

typedef struct beck_consumer_config {
    size_t size;               /* sizeof(beck_consumer_config) */
    const char *const *topics; /* names of existing topics */
    size_t topic_count;
    /* only these partitions of every topic; NULL = all, and those added later */
    const int32_t *partitions;
    size_t partition_count;
    uint32_t start; /* enum beck_start */
    uint32_t flags; /* BECK_CONSUME_* */
    int64_t start_value;
} beck_consumer_config;

/* Open a consumer. NOT_FOUND (a topic or partition that does not exist), INVALID, RANGE. */
BECK_API int beck_consumer_open(beck *db, const beck_consumer_config *config,
                                beck_consumer **consumer);
/* Close it; NULL is allowed. Records of the last poll become invalid. */
BECK_API void beck_consumer_close(beck_consumer *consumer);

/* Get up to `max_records` records that follow what this consumer has seen, waiting up to
 * `timeout_ms` (0 = do not wait, -1 = for ever) for the first. They come from one partition, in
 * order, one segment at most. *records, and everything they point to, is valid until the next call
 * on this consumer. *count may be 0 before the time is over when a signal handler ran or
 * beck_wakeup was called: poll again. count 0 with timeout 0 means that everything visible has been
 * read. BECK_EVENT: *count is 0 and beck_event has something to tell; polling again goes on behind
 * it. DELETED: a topic is gone. */
BECK_API int beck_poll(beck_consumer *consumer, size_t max_records, int32_t timeout_ms,
                       const beck_record **records, size_t *count);

/* End a poll that waits in another thread, or the next one that would wait: it returns BECK_OK with
 * count 0. May be called from any thread and from a signal handler, as long as the consumer is
 * open. */
BECK_API int beck_wakeup(beck_consumer *consumer);

enum beck_event_type {
    BECK_EVENT_NONE = 0,
    /* records [from, to) of topic:partition are not coming, for the reason in cause */
    BECK_EVENT_GAP = 1
};

enum beck_gap_cause {
    BECK_GAP_NONE = 0,
    BECK_GAP_CORRUPT = 1, /* their bytes are damaged */
    BECK_GAP_DELETED = 2, /* they were deleted before they were read */
    BECK_GAP_LOST = 3     /* recovery after a power loss cut them off */
};

typedef struct beck_event_info {
    size_t size;   /* sizeof(beck_event_info), set by the caller */
    int32_t type;  /* enum beck_event_type */
    int32_t cause; /* enum beck_gap_cause */
    const char *topic;
    int32_t partition;
    int32_t reserved;
    int64_t from;
    int64_t to;
} beck_event_info;

/* The event that made beck_poll return BECK_EVENT. Valid until the next poll. */
BECK_API int beck_event(beck_consumer *consumer, beck_event_info *event);

/* Move to `offset` in one partition: the next record read there is the first at or after it. RANGE
 * when it lies above the end. */
BECK_API int beck_seek(beck_consumer *consumer, const char *topic, int32_t partition,
                       int64_t offset);
/* The offset of the next record this consumer will read there. NOT_FOUND. */
BECK_API int beck_position(beck_consumer *consumer, const char *topic, int32_t partition,
                           int64_t *offset);

/* ---- Looking at the file ---- */
typedef struct beck_stat_info {
    size_t size;               /* sizeof(beck_stat_info), set by the caller */
    uint64_t file_bytes;       /* size of the file */
    uint64_t used_bytes;       /* taken by topics, catalog, coordination and what was deleted */
    uint64_t free_bytes;       /* inside the file, ready for reuse */
    uint64_t retired_bytes;    /* deleted, waiting for readers to leave */
    uint64_t catalog_bytes;    /* of used_bytes */
    uint64_t catalog_sequence; /* entries ever written to the catalog */
    uint32_t topics;
    uint32_t partitions;
    uint32_t segments;
    uint32_t handles; /* read-write handles that have the file open now */
    uint32_t clean;   /* 1 = the file is marked clean */
    uint32_t poisoned;
    uint8_t uuid[16];
    uint32_t format_version;
    uint32_t application_id;
    uint64_t topics_bytes;       /* of used_bytes: segments of topics */
    uint64_t coordination_bytes; /* of used_bytes: superblocks and shared memory */
} beck_stat_info;

/* Sizes and counts of the file as it is now. */
BECK_API int beck_stat(beck *db, beck_stat_info *info);

/* ---- Who has the file open ---- */
/* A look from outside, for people and their monitoring: each fact is true of some moment, all of
 * them together of none. Read-only handles take no lock, hold nobody up, and cannot be listed. */

enum beck_handle_state {
    BECK_HANDLE_ALIVE = 1,
    BECK_HANDLE_STOPPED =
        2, /* alive, but stopped by a signal or a debugger; what it holds, it keeps */
    /* not yet settled: the next process that looks takes over what it left */
    BECK_HANDLE_DEAD = 3
};

enum beck_claim_type {
    BECK_CLAIM_NONE = 0,
    BECK_CLAIM_OPENING = 1,      /* opens the file; others who open or close it wait */
    BECK_CLAIM_CLOSING = 2,      /* closes it, or waits to */
    BECK_CLAIM_CATALOG = 3,      /* has the lock of the catalog: topics, and space for segments */
    BECK_CLAIM_LOCK = 4,         /* has the lock of a partition: appends there wait */
    BECK_CLAIM_LEADER = 5,       /* syncs a partition, for all who wait for it */
    BECK_CLAIM_SYNC = 6,         /* a sync of the file is under way */
    BECK_CLAIM_PIN = 7,          /* reads a segment, which is not reused meanwhile */
    BECK_CLAIM_WAIT_CATALOG = 8, /* waits for the lock of the catalog */
    BECK_CLAIM_WAIT_LOCK = 9,    /* waits for the lock of a partition */
    BECK_CLAIM_WAIT_SYNC = 10,   /* waits for somebody else's sync of a partition */
    BECK_CLAIM_WAIT_RECORDS = 11 /* waits for new records in one partition or several */
};

typedef struct beck_claim {
    int32_t type;      /* enum beck_claim_type */
    int32_t partition; /* -1 = none */
    const char *topic; /* NULL = none, or its name is not known: then topic_id says which */
    uint64_t topic_id; /* 0 = none */
    uint64_t segment;  /* PIN */
    int64_t from;      /* PIN: the segment's records are [from, to); -1 = not known */
    int64_t to;
    uint64_t bytes;      /* deleted space that waits for this claim to end; 0 = none does */
    int32_t holder;      /* WAIT_*: the slot of who has what it waits for; -1 = nobody now */
    uint32_t partitions; /* WAIT_RECORDS: in how many, when partition is -1 */
} beck_claim;

typedef struct beck_handle_info {
    int32_t slot;     /* number of the handle among those of the file; -1 = a dead one's, lost */
    int32_t state;    /* enum beck_handle_state */
    uint32_t process; /* pid as its own pid namespace counts; 0 = not known */
    /* 1: that is another pid namespace than the caller's, so here the number is somebody else's */
    uint32_t other_namespace;
    int64_t opened_at;   /* 0 = not known */
    const char *program; /* its name, up to 16 characters; "" = not known */
    uint32_t own;        /* 1: the handle that asks */
    uint32_t claim_count;
    /* What its threads hold, read and wait for. Threads that wait share one word: of several the
     * last is shown. */
    const beck_claim *claims;
} beck_handle_info;

/* Who has the file open for writing: *list points to *count pointers, ordered by slot, what is lost
 * at the end. Valid until the next call of this function by this thread. Best asked of a handle
 * opened with BECK_OPEN_OBSERVE; any other will do, but a read-only one waits for others who are
 * opening or closing the file, as in all its calls. BUSY: the file is in use by a build of beck
 * whose shared memory looks different. */
BECK_API int beck_handles(beck *db, const beck_handle_info *const **list, size_t *count);

typedef struct beck_check_summary {
    size_t size; /* sizeof(beck_check_summary), set by the caller */
    uint64_t records;
    uint64_t batches;
    uint64_t segments;
    uint64_t bytes;    /* of batches verified */
    uint64_t findings; /* problems reported */
    /* batches of which only the checksum was verified: this build cannot decompress them */
    uint64_t unread;
} beck_check_summary;

/* Called for each problem with a line that says where and what; non-zero stops the check. */
typedef int (*beck_check_callback)(void *context, const char *finding);
/* Called now and then with bytes done and in all; may be NULL. */
typedef void (*beck_progress_callback)(void *context, uint64_t done, uint64_t total);

/* Verify every checksum, chain, offset and extent of the file; nothing is changed. Returns CORRUPT
 * when there were findings. `summary` may be NULL. */
BECK_API int beck_check(beck *db, beck_check_callback finding, beck_progress_callback progress,
                        void *context, beck_check_summary *summary);

#ifdef __cplusplus
}
#endif
#endif
