/* cmd_produce.c -- beck produce: standard input becomes records */
#include "commands.h"
#include "interrupt.h"
#include "out.h"
#include "session.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* What the pipe holds is appended as one batch: a slow pipe gives small batches, each visible at
 * once, a fast one gives large ones, which share a sync. While a batch is appended the pipe fills
 * again. */
#define BATCH_BYTES (1u << 20)
#define BATCH_RECORDS 16384u
#define PIPE_BYTES (1 << 20)
#define HEADERS_MAX 64u
#define RATE_RECORDS 1000u            /* fewer say nothing about a rate */
#define LINE_BYTES_PACKED (64u << 20) /* of a record that is going to be compressed */
/* More than a record needs beside its key, value and headers, and a header beside its bytes. */
#define RECORD_OVERHEAD 64u
#define HEADER_OVERHEAD 10u

enum { OPTION_SYNC = ARGS_LONG };

struct producer {
    struct session session;
    const char *name; /* of the topic */
    beck_topic *topic;
    /* options */
    bool key_splits, key_fixed, empty_is_null;
    struct text key_separator, key, separator;
    beck_header headers[HEADERS_MAX];
    uint32_t header_count;
    size_t header_bytes;
    int32_t partition;
    uint32_t partitions; /* that the topic has */
    beck_append_options options;
    const char *unit; /* what messages call a record */
    /* input: bytes from start to end are no record yet; those before scanned hold no separator */
    char *buffer;
    size_t record_limit, capacity, capacity_max, start, end, scanned;
    bool input_ended;
    /* the batch being built; its records point into the buffer */
    beck_record *records;
    size_t count, batch_bytes, batch_limit;
    uint64_t record_total, byte_total;
    bool unsure; /* whether the batch that failed, or a part of it, is appended */
};

static const char help[] =
    "Usage: beck produce FILE TOPIC [OPTION]...\n"
    "\n"
    "Appends every line of standard input as a record. Creates the file and the topic when they\n"
    "are missing. What a pipe holds is appended as one batch, so that a slow pipe's lines are\n"
    "visible at once. An empty line is a record with an empty value.\n"
    "\n"
    "  -K SEP       the text before the first SEP is the key; without SEP in it a line has no key\n"
    "  -k KEY       the key of every record\n"
    "  -H NAME=VAL  a header of every record; may be repeated\n"
    "  -D SEP       what ends a record (default \\n)\n"
    "  -p PART      the partition (default: by key, or spread without a key)\n"
    "  -z CODEC     compress each batch: gzip, snappy, lz4, zstd or none, unless the topic's own\n"
    "               compression.type decides\n"
    "  -Z           an empty key or value is null\n"
    "  --sync CLASS a new topic: acknowledge on stable storage (sync, the default) or as soon as\n"
    "               all processes see it (os); an existing os topic: sync waits all the same\n"
    "  -q           no summary, no notes and no recovery report\n"
    "  --force      use the file on a file system that beck refuses\n"
    "SEP may hold \\n \\r \\t \\0 \\\\ \\xNN. The summary appears on a terminal only. After an "
    "error\n"
    "the last line tells how much is appended, so that the rest can be sent again.\n"
    "\n"
    "Examples:\n"
    "  echo 'hello' | beck produce my.beck greetings\n"
    "  tail -f access.log | beck produce logs.beck access --sync os\n"
    "  printf '42:paid\\n43:open\\n' | beck produce my.beck orders -K :\n";

/* ---- Command line ---- */
static int add_header(struct producer *p, const struct command *self, char *text)
{
    char *equals = strchr(text, '=');
    if (equals == NULL || equals == text)
        return usage_error(self, "-H: '%s' is not NAME=VALUE", text);
    if (p->header_count == HEADERS_MAX)
        return usage_error(self, "-H: more than %u headers", HEADERS_MAX);
    beck_header *header = &p->headers[p->header_count++];
    header->name = text;
    header->name_size = (uint32_t)(equals - text);
    header->value = equals + 1;
    header->value_size = (uint32_t)strlen(equals + 1);
    p->header_bytes += header->name_size + header->value_size + HEADER_OVERHEAD;
    return 0;
}

static int read_codec(struct producer *p, const struct command *self, const char *name)
{
    beck_topic_config parsed = {.size = sizeof parsed};
    int rc = beck_topic_config_set(&parsed, "compression.type", name, NULL, 0);
    if (rc < 0 || parsed.compression == BECK_COMPRESSION_PRODUCER)
        return usage_error(self, "-z: '%s' is none of gzip, snappy, lz4, zstd, none", name);
    p->options.compression = parsed.compression;
    if (beck_compression_check(parsed.compression) >= 0) return 0;
    tell("beck: -z %s: %s\n", name, beck_errmsg(NULL));
    return EXIT_ERROR;
}

static int read_option(struct producer *p, const struct command *self, int option)
{
    int64_t number = 0;
    switch (option) {
    case 'K':
        p->key_splits = true;
        if (!parse_text(optarg, &p->key_separator))
            return usage_error(self, "-K: bad separator '%s'", optarg);
        break;
    case 'D':
        p->unit = "record";
        if (!parse_text(optarg, &p->separator))
            return usage_error(self, "-D: bad separator '%s'", optarg);
        break;
    case 'k':
        p->key_fixed = true;
        p->key = (struct text){optarg, strlen(optarg)};
        break;
    case 'H': return add_header(p, self, optarg);
    case 'p':
        if (!parse_number(optarg, 0, BECK_PARTITIONS_MAX - 1, &number))
            return usage_error(self, "-p: '%s' is not a partition from 0 to %d", optarg,
                               BECK_PARTITIONS_MAX - 1);
        p->partition = (int32_t)number;
        break;
    case 'Z': p->empty_is_null = true; break;
    case 'z': return read_codec(p, self, optarg);
    case 'q': p->session.quiet = true; break;
    default:
        if (strcmp(optarg, "sync") != 0 && strcmp(optarg, "os") != 0)
            return usage_error(self, "--sync: '%s' is neither sync nor os", optarg);
        p->options.sync = strcmp(optarg, "os") == 0 ? BECK_SYNC_OS : BECK_SYNC_SYNC;
        break;
    }
    return 0;
}

static int read_command_line(struct producer *p, const struct command *self, int argc, char **argv)
{
    static const struct option options[] = {{"sync", required_argument, NULL, OPTION_SYNC}, {0}};
    struct args args = {self, "K:k:H:D:p:z:Zq", options, argc, argv};
    int option, status = 0;
    while (status == 0 && (option = args_next(&args)) != ARGS_END) {
        if (option == ARGS_WRONG) return EXIT_USAGE;
        status = read_option(p, self, option);
    }
    if (status == 0) status = args_positional(&args, 2, 2, "FILE and TOPIC");
    if (status != 0) return status;
    if (p->key_splits && p->key_fixed) return usage_error(self, "-K and -k exclude each other");
    p->session.path = argv[optind];
    p->name = argv[optind + 1];
    return 0;
}

/* ---- Records ---- */
static uint64_t last_number(const struct producer *p)
{
    return p->record_total + p->count;
}

static void advise_limit(const struct producer *p)
{
    tell("; a larger limit: beck topic alter %s %s --config max.message.bytes=N\n", p->session.path,
         p->name);
}

/* How a run that failed can be continued. */
static void tell_appended(const struct producer *p)
{
    uint64_t total = p->record_total, next = total + 1;
    const char *are = total == 1 ? " is" : "s are";
    if (!p->unsure)
        tell("beck: %" PRIu64 " %s%s appended, nothing from %s %" PRIu64 " on\n", total, p->unit,
             are, p->unit, next);
    else if (p->count == 1)
        tell("beck: %" PRIu64 " %s%s appended, %s %" PRIu64 " perhaps, nothing behind it\n", total,
             p->unit, are, p->unit, next);
    else
        tell("beck: %" PRIu64 " %s%s appended, %ss %" PRIu64 " to %" PRIu64
             " perhaps, nothing behind them\n",
             total, p->unit, are, p->unit, next, last_number(p));
}

/* Whether nothing of a batch is there when it fails: see beck_append. */
static bool is_sure(const struct producer *p, int rc)
{
    bool one = !p->key_splits || p->count == 1 || p->partitions == 1 || p->partition >= 0;
    return one && rc != BECK_UNKNOWN && rc != BECK_POISONED && rc != BECK_INTERNAL;
}

static int append_failed(struct producer *p, int rc)
{
    p->unsure = !is_sure(p, rc);
    if (p->count == 1)
        tell("beck: %s %" PRIu64 ": ", p->unit, last_number(p));
    else
        tell("beck: %ss %" PRIu64 " to %" PRIu64 ": ", p->unit, p->record_total + 1,
             last_number(p));
    tell("%s", beck_errmsg(p->session.db));
    if (rc == BECK_TOO_LARGE && p->records[0].key_size <= BECK_KEY_MAX)
        advise_limit(p);
    else
        tell("\n");
    return EXIT_ERROR;
}

static int append_batch(struct producer *p)
{
    if (p->count == 0) return 0;
    int rc = beck_append_with(p->topic, p->partition, p->records, p->count, &p->options, NULL);
    if (rc < 0) return append_failed(p, rc);
    p->record_total += p->count;
    p->count = 0;
    p->batch_bytes = 0;
    return 0;
}

static const void *or_null(const struct producer *p, const char *bytes, size_t size)
{
    return p->empty_is_null && size == 0 ? NULL : bytes;
}

static beck_record split_line(const struct producer *p, const char *line, size_t size)
{
    beck_record r = {
        .headers = p->headers, .header_count = p->header_count, .partition = BECK_ANY_PARTITION};
    const struct text *sep = &p->key_separator;
    const char *found = p->key_splits ? memmem(line, size, sep->bytes, sep->size) : NULL;
    if (found != NULL) {
        r.key_size = (uint32_t)(found - line);
        r.key = or_null(p, line, r.key_size);
        size -= r.key_size + sep->size;
        line = found + sep->size;
    } else if (p->key_fixed) {
        r.key_size = (uint32_t)p->key.size;
        r.key = or_null(p, p->key.bytes, p->key.size);
    }
    r.value_size = (uint32_t)size;
    r.value = or_null(p, line, size);
    return r;
}

/* Adds a record to the batch and appends the batch first when both would be too large. A record
 * that the library may refuse is a batch of its own, so that everything before it is appended and
 * it can be named. */
static int add_line(struct producer *p, const char *line, size_t size)
{
    beck_record record = split_line(p, line, size);
    size_t bytes = RECORD_OVERHEAD + (size_t)record.key_size + record.value_size + p->header_bytes;
    if (record.key_size > BECK_KEY_MAX) bytes += p->batch_limit;
    if (p->count == BATCH_RECORDS || p->batch_bytes + bytes > p->batch_limit) {
        int status = append_batch(p);
        if (status != 0) return status;
    }
    p->records[p->count++] = record;
    p->batch_bytes += bytes;
    p->byte_total += size;
    return 0;
}

/* ---- Input ---- */
static const char *find_separator(struct producer *p)
{
    const struct text *sep = &p->separator;
    const char *from = p->buffer + p->scanned;
    size_t size = p->end - p->scanned;
    const char *found = sep->size == 1 ? memchr(from, sep->bytes[0], size)
                                       : memmem(from, size, sep->bytes, sep->size);
    if (found != NULL) return found;
    /* The last bytes may be the beginning of a separator. */
    size_t kept = sep->size - 1 < p->end - p->start ? sep->size - 1 : p->end - p->start;
    p->scanned = p->end - kept;
    return NULL;
}

/* Appends every complete record, and at the end of the input the last one without separator. */
static int append_complete(struct producer *p)
{
    const char *end;
    int status = 0;
    while (status == 0 && (end = find_separator(p)) != NULL) {
        const char *line = p->buffer + p->start;
        p->start = p->scanned = (size_t)(end - p->buffer) + p->separator.size;
        status = add_line(p, line, (size_t)(end - line));
    }
    if (status == 0 && p->input_ended && p->start < p->end) {
        status = add_line(p, p->buffer + p->start, p->end - p->start);
        p->start = p->end;
    }
    return status != 0 ? status : append_batch(p);
}

/* Makes room behind the bytes that are no record yet. */
static int make_room(struct producer *p)
{
    memmove(p->buffer, p->buffer + p->start, p->end - p->start);
    p->end -= p->start;
    p->scanned -= p->start;
    p->start = 0;
    if (p->end < p->capacity) return 0;
    if (p->capacity >= p->capacity_max) {
        tell("beck: %s %" PRIu64
             ": larger than the %zu bytes topic '%s' allows (max.message.bytes)",
             p->unit, p->record_total + 1, p->record_limit, p->name);
        advise_limit(p);
        return EXIT_ERROR;
    }
    p->capacity = 2 * p->capacity < p->capacity_max ? 2 * p->capacity : p->capacity_max;
    p->buffer = must_alloc(p->buffer, p->capacity);
    return 0;
}

static bool more_at_once(void)
{
    struct pollfd waiting = {.fd = STDIN_FILENO, .events = POLLIN};
    return poll(&waiting, 1, 0) > 0;
}

/* Waits for the first bytes only and takes all there are, as far as the buffer goes. */
static int read_input(struct producer *p)
{
    if (!interrupt_wait_readable(STDIN_FILENO)) return 0;
    do {
        ssize_t n = read(STDIN_FILENO, p->buffer + p->end, p->capacity - p->end);
        if (n < 0 && (errno == EINTR || errno == EAGAIN)) break;
        if (n < 0) {
            tell("beck: standard input: %s\n", strerror(errno));
            return EXIT_ERROR;
        }
        p->input_ended = n == 0;
        p->end += (size_t)n;
    } while (!p->input_ended && p->end < p->capacity && more_at_once());
    return 0;
}

static int append_input(struct producer *p)
{
    int status = 0;
    while (status == 0 && !p->input_ended && !interrupted()) {
        status = make_room(p);
        if (status == 0) status = read_input(p);
        if (status == 0) status = append_complete(p);
    }
    return status;
}

/* ---- The whole ---- */
/* Options that an existing topic does not follow. */
static void tell_ignored(const struct producer *p, const beck_topic_config *config)
{
    const char *path = p->session.path, *name = p->name;
    uint32_t codec = p->options.compression;
    if (p->options.sync == BECK_SYNC_OS && config->sync != BECK_SYNC_OS)
        tell("beck: topic '%s' is sync and stays so: beck topic alter %s %s --sync os\n", name,
             path, name);
    if (codec != BECK_COMPRESSION_DEFAULT && config->compression != BECK_COMPRESSION_PRODUCER &&
        config->compression != codec)
        tell("beck: topic '%s' has compression.type=%s, which decides, not -z: "
             "beck topic alter %s %s --config compression.type=producer\n",
             name, beck_compression_name(config->compression), path, name);
}

/* What to know about the topic before reading: how large a batch may be, and that -p exists. */
static int look_at_topic(struct producer *p)
{
    const beck_topic_info *info = NULL;
    int rc = beck_topic_describe(p->session.db, p->name, &info);
    if (rc < 0) return session_error(&p->session);
    size_t largest = info->config->max_message_bytes;
    bool packs = p->options.compression > BECK_COMPRESSION_NONE ||
                 info->config->compression != BECK_COMPRESSION_PRODUCER;
    if (packs && largest < LINE_BYTES_PACKED) largest = LINE_BYTES_PACKED;
    if (p->partition >= (int64_t)info->config->partitions) {
        return session_partition_error(&p->session, info);
    }
    p->partitions = info->config->partitions;
    if (!p->session.quiet) tell_ignored(p, info->config);
    p->batch_limit = largest < BATCH_BYTES ? largest : BATCH_BYTES;
    p->capacity = BATCH_BYTES;
    p->record_limit = largest;
    p->capacity_max = largest + p->separator.size + p->key_separator.size;
    if (p->capacity_max < p->capacity) p->capacity_max = p->capacity;
    return 0;
}

static int open_topic(struct producer *p)
{
    beck_topic_config config = {.size = sizeof config, .sync = p->options.sync};
    int rc = beck_topic_open(p->session.db, p->name, &config, &p->topic);
    if (rc < 0) return session_error(&p->session);
    return look_at_topic(p);
}

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void print_summary(const struct producer *p, double duration)
{
    char size[HUMAN_SIZE];
    if (p->session.quiet || !isatty(STDERR_FILENO)) return;
    if (interrupted()) fputc('\n', stderr); /* behind the terminal's ^C */
    tell("%" PRIu64 " record%s, %s in %.2f s", p->record_total, p->record_total == 1 ? "" : "s",
         human_bytes(p->byte_total, size), duration);
    if (p->record_total >= RATE_RECORDS && duration > 0)
        tell(" (%.0f records/s)", (double)p->record_total / duration);
    fputc('\n', stderr);
}

static int produce(struct producer *p)
{
    if (session_open(&p->session, 0) < 0) return EXIT_ERROR;
    int status = open_topic(p);
    if (status != 0) return session_close(&p->session, status);
    if (isatty(STDIN_FILENO) && !p->session.quiet)
        tell("Each line becomes a record; end with Ctrl-D.\n");
    fcntl(STDIN_FILENO, F_SETPIPE_SZ, PIPE_BYTES); /* larger batches; may fail */
    p->buffer = must_alloc(NULL, p->capacity);
    p->records = must_alloc(NULL, BATCH_RECORDS * sizeof *p->records);
    interrupt_watch();
    double begin = seconds();
    status = append_input(p);
    if (status != EXIT_FINE) tell_appended(p);
    status = session_close(&p->session, status);
    if (status == EXIT_FINE) print_summary(p, seconds() - begin);
    free(p->records);
    free(p->buffer);
    return interrupt_exit_code(status);
}

static int run(const struct command *self, int argc, char **argv)
{
    struct producer p = {.partition = BECK_ANY_PARTITION,
                         .unit = "line",
                         .separator = {"\n", 1},
                         .options = {.size = sizeof p.options}};
    int status = read_command_line(&p, self, argc, argv);
    return status != 0 ? status : produce(&p);
}

const struct command command_produce = {
    .name = "produce",
    .summary = "append the lines of standard input to a topic",
    .help = help,
    .run = run,
};
