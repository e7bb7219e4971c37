/* cmd_consume.c -- beck consume: records become standard output */
#include "commands.h"
#include "interrupt.h"
#include "out.h"
#include "session.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define POLL_RECORDS 2048u
/* The longest wait for a record: a signal that came just before the wait, or a reader of our output
 * that has gone, is noticed after so long. */
#define WAIT_MS 1000
#define NO_STOP INT64_MAX
/* Times from 1973 on in seconds, which would be times until 1973 in milliseconds. */
#define SECONDS_MIN INT64_C(100000000)
#define SECONDS_MAX INT64_C(100000000000)

enum { OPTION_UNCHECKED = ARGS_LONG };

/* A partition that is read up to a time, -o e@MS. */
struct ending {
    char *topic;
    int32_t partition;
    bool reached;
};

struct reading {
    struct session session;
    beck_consumer *consumer;
    struct out out;
    /* options */
    beck_consumer_config config;
    int32_t partitions[BECK_PARTITIONS_MAX];
    int64_t stop_time; /* or NO_STOP */
    int64_t left;      /* records still wanted */
    bool exit_at_end, json, start_given, separators_given;
    char *format_text;
    struct text separator, key_separator;
    struct format format;
    /* progress */
    struct ending *endings;
    size_t ending_count, endings_left;
    bool damaged;
};

static const char help[] =
    "Usage: beck consume FILE TOPIC... [OPTION]...\n"
    "\n"
    "Prints the records of topics, from the oldest on, and waits for more. A topic must exist:\n"
    "make it first with 'beck topic create'.\n"
    "\n"
    "  -o OFFSET    where to begin in every partition: beginning (default), end, N (offset N),\n"
    "               -N (the last N) or s@MS (from that time on; milliseconds since 1970);\n"
    "               N fails where a partition ends before N; name one with -p\n"
    "  -o e@MS      where to end: before the first record of that time\n"
    "  -c COUNT     exit after so many records\n"
    "  -e           exit when everything there is has been read\n"
    "  -p PART      only this partition; may be repeated\n"
    "  -f FORMAT    %s value, %S its size (-1 null), %k key, %K its size, %T time in ms,\n"
    "               %h headers, %t topic, %p partition, %o offset, %%, \\n \\r \\t \\0 \\\\ \\xNN\n"
    "  -J, --json   one JSON object a line; what is no UTF-8 is also there as ..._base64\n"
    "  -K SEP       print the key and SEP before the value\n"
    "  -D SEP       print SEP after each record (default \\n)\n"
    "  -q           no recovery report and no word about missing records; the exit code stays\n"
    "  --unchecked  do not verify checksums while reading\n"
    "  --force      use the file on a file system that beck refuses\n"
    "Exit code 2: damaged or lost records were missing.\n"
    "\n"
    "Examples:\n"
    "  beck consume my.beck orders -o -10 -e\n"
    "  beck consume my.beck orders -o s@$(date -d '1 hour ago' +%s%3N) -e\n"
    "  beck consume my.beck orders payments -f '%t:%p:%o %k=%s\\n'\n"
    "  beck consume my.beck orders -J -e | jq .payload\n";

/* ---- Command line ---- */
/* Milliseconds; what `date +%s` prints would be a day of January 1970. */
static int read_time(const struct command *self, const char *text, int64_t *ms)
{
    if (!parse_number(text + 2, 0, INT64_MAX - 1, ms))
        return usage_error(self, "-o: '%s' is not a time in milliseconds", text + 2);
    if (*ms < SECONDS_MIN || *ms >= SECONDS_MAX) return 0;
    return usage_error(self, "-o: %s looks like seconds; milliseconds are expected: %s000",
                       text + 2, text);
}

/* What the programs of Kafka call them. */
static const char *start_name(const char *text)
{
    if (strcmp(text, "latest") == 0) return "end";
    return strcmp(text, "earliest") == 0 || strcmp(text, "start") == 0 ? "beginning" : NULL;
}

static int read_start(struct reading *r, const struct command *self, const char *text)
{
    bool is_end = strncmp(text, "e@", 2) == 0;
    bool is_time = is_end || strncmp(text, "s@", 2) == 0;
    int64_t number = 0, limit = INT64_MAX - 1;
    if (is_time && read_time(self, text, &number) != 0) return EXIT_USAGE;
    if (is_end) {
        r->stop_time = number;
        return 0;
    }
    if (r->start_given) return usage_error(self, "-o: '%s' is a second place to begin", text);
    r->start_given = true;
    if (is_time)
        r->config.start = BECK_START_TIME;
    else if (strcmp(text, "beginning") == 0)
        r->config.start = BECK_START_BEGINNING;
    else if (strcmp(text, "end") == 0)
        r->config.start = BECK_START_END;
    else if (parse_number(text, -limit, limit, &number))
        r->config.start = text[0] == '-' ? BECK_START_LAST : BECK_START_OFFSET;
    else if (start_name(text) != NULL)
        return usage_error(self, "-o: '%s' is called '%s' here", text, start_name(text));
    else
        return usage_error(self, "-o: '%s' is none of beginning, end, N, -N, s@MS, e@MS", text);
    r->config.start_value = number < 0 ? -number : number;
    return 0;
}

static int add_partition(struct reading *r, const struct command *self, const char *text)
{
    int64_t number = 0;
    if (!parse_number(text, 0, BECK_PARTITIONS_MAX - 1, &number))
        return usage_error(self, "-p: '%s' is not a partition from 0 to %d", text,
                           BECK_PARTITIONS_MAX - 1);
    for (size_t i = 0; i < r->config.partition_count; i++)
        if (r->partitions[i] == number) return 0;
    r->partitions[r->config.partition_count++] = (int32_t)number;
    r->config.partitions = r->partitions;
    return 0;
}

static int read_separator(struct reading *r, const struct command *self, int option,
                          struct text *text)
{
    r->separators_given = true;
    if (parse_text(optarg, text)) return 0;
    return usage_error(self, "-%c: bad separator '%s'", option, optarg);
}

static int read_option(struct reading *r, const struct command *self, int option)
{
    switch (option) {
    case 'o': return read_start(r, self, optarg);
    case 'p': return add_partition(r, self, optarg);
    case 'K': return read_separator(r, self, option, &r->key_separator);
    case 'D': return read_separator(r, self, option, &r->separator);
    case 'c':
        if (parse_number(optarg, 1, INT64_MAX, &r->left)) return 0;
        return usage_error(self, "-c: '%s' is not a number of records", optarg);
    case 'f': r->format_text = optarg; break;
    case 'e': r->exit_at_end = true; break;
    case 'J': r->json = true; break;
    case 'q': r->session.quiet = true; break;
    default: r->config.flags |= BECK_CONSUME_UNCHECKED; break;
    }
    return 0;
}

static int check_options(struct reading *r, const struct command *self)
{
    bool formatted = r->format_text != NULL;
    if (formatted && r->json) return usage_error(self, "-f and -J exclude each other");
    if ((formatted || r->json) && r->separators_given)
        return usage_error(self, "-K and -D have no place beside -%c", formatted ? 'f' : 'J');
    if (formatted) return format_parse(&r->format, self, r->format_text);
    bool keys = r->key_separator.bytes != NULL;
    format_default(&r->format, keys ? &r->key_separator : NULL, &r->separator);
    return 0;
}

static int read_command_line(struct reading *r, const struct command *self, int argc, char **argv)
{
    static const struct option options[] = {
        {"json", no_argument, NULL, 'J'}, {"unchecked", no_argument, NULL, OPTION_UNCHECKED}, {0}};
    struct args args = {self, "o:c:ef:JK:D:p:q", options, argc, argv};
    int option, status = 0;
    while (status == 0 && (option = args_next(&args)) != ARGS_END) {
        if (option == ARGS_WRONG) return EXIT_USAGE;
        status = read_option(r, self, option);
    }
    if (status == 0) status = args_positional(&args, 2, argc, "FILE and TOPIC");
    if (status == 0) status = check_options(r, self);
    if (status != 0) return status;
    r->session.path = argv[optind];
    r->config.topics = (const char *const *)argv + optind + 1;
    r->config.topic_count = (size_t)(argc - optind - 1);
    return 0;
}

/* ---- Reading up to a time ---- */
static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static struct ending *add_ending(struct reading *r, const char *topic, int32_t partition)
{
    r->endings = must_alloc(r->endings, (r->ending_count + 1) * sizeof *r->endings);
    struct ending *ending = &r->endings[r->ending_count++];
    *ending = (struct ending){.topic = must_copy(topic), .partition = partition};
    r->endings_left++;
    return ending;
}

static struct ending *find_ending(struct reading *r, const char *topic, int32_t partition)
{
    for (size_t i = 0; i < r->ending_count; i++)
        if (r->endings[i].partition == partition && strcmp(r->endings[i].topic, topic) == 0)
            return &r->endings[i];
    return add_ending(r, topic, partition);
}

/* Every partition that will be read has to reach the time. */
static int list_endings(struct reading *r)
{
    for (size_t t = 0; t < r->config.topic_count; t++) {
        const beck_topic_info *info = NULL;
        int rc = beck_topic_describe(r->session.db, r->config.topics[t], &info);
        if (rc < 0) return session_error(&r->session);
        bool chosen = r->config.partition_count > 0;
        size_t count = chosen ? r->config.partition_count : info->config->partitions;
        for (size_t i = 0; i < count; i++)
            find_ending(r, info->name, chosen ? r->partitions[i] : (int32_t)i);
    }
    return 0;
}

/* How many of these records, all of one partition, come before the time. */
static size_t count_before_end(struct reading *r, struct ending *ending, const beck_record *records,
                               size_t count)
{
    if (ending->reached) return 0;
    for (size_t i = 0; i < count; i++) {
        if (records[i].timestamp < r->stop_time) continue;
        ending->reached = true;
        r->endings_left--;
        return i;
    }
    return count;
}

/* What follows in a partition that has reached the time is not read; failing only costs time. */
static void skip_to_end(struct reading *r, const struct ending *ending)
{
    const beck_topic_info *info = NULL;
    if (beck_topic_describe(r->session.db, ending->topic, &info) < 0) return;
    if (ending->partition >= (int64_t)info->config->partitions) return;
    int64_t end = info->partitions[ending->partition]->end_offset;
    beck_seek(r->consumer, ending->topic, ending->partition, end);
}

/* ---- The loop ---- */
static void write_records(struct reading *r, const beck_record *records, size_t count)
{
    struct ending *ending = NULL;
    if (r->stop_time != NO_STOP) {
        ending = find_ending(r, records[0].topic, records[0].partition);
        count = count_before_end(r, ending, records, count);
    }
    if (r->json)
        for (size_t i = 0; i < count; i++) json_record(&r->out, &records[i]);
    else
        for (size_t i = 0; i < count; i++) format_record(&r->out, &r->format, &records[i]);
    r->left -= (int64_t)count;
    if (ending != NULL && ending->reached) skip_to_end(r, ending);
}

static void tell_gap(struct reading *r)
{
    static const char *const causes[] = {"unknown", "damaged", "deleted", "lost in a power cut"};
    beck_event_info event = {.size = sizeof event};
    if (beck_event(r->consumer, &event) < 0 || event.type != BECK_EVENT_GAP) return;
    if (event.cause == BECK_GAP_CORRUPT || event.cause == BECK_GAP_LOST) r->damaged = true;
    if (r->session.quiet) return;
    bool known = event.cause > 0 && event.cause <= BECK_GAP_LOST;
    const char *cause = causes[known ? event.cause : 0];
    out_flush(&r->out);
    tell("beck: %s:%d: ", event.topic, event.partition);
    if (event.to - event.from == 1)
        tell("record %" PRId64 " is missing (%s)\n", event.from, cause);
    else
        tell("records %" PRId64 " to %" PRId64 " are missing (%s)\n", event.from, event.to - 1,
             cause);
}

/* How long to wait for a record once everything visible has been read; 0 = not at all. */
static int32_t waiting_time(const struct reading *r)
{
    if (r->exit_at_end) return 0;
    if (r->stop_time == NO_STOP) return WAIT_MS;
    int64_t rest = r->stop_time - now_ms();
    return rest <= 0 ? 0 : rest < WAIT_MS ? (int32_t)rest : WAIT_MS;
}

static bool is_done(const struct reading *r)
{
    bool all_reached = r->stop_time != NO_STOP && r->endings_left == 0;
    return r->left <= 0 || all_reached || r->out.closed || r->out.failed;
}

static int read_on(struct reading *r)
{
    bool idle = false;
    while (!is_done(r) && !interrupted()) {
        const beck_record *records = NULL;
        size_t count = 0;
        size_t wanted = r->left < (int64_t)POLL_RECORDS ? (size_t)r->left : POLL_RECORDS;
        int32_t waiting = waiting_time(r); /* asked before the poll: what came until then is read */
        int rc = beck_poll(r->consumer, wanted, idle ? waiting : 0, &records, &count);
        if (rc < 0) return session_error(&r->session);
        if (rc == BECK_EVENT) tell_gap(r);
        if (count > 0) write_records(r, records, count);
        idle = rc != BECK_EVENT && count == 0;
        if (idle && waiting == 0) break;
        if (idle) out_flush(&r->out);
        if (idle) out_is_abandoned(&r->out);
    }
    return EXIT_FINE;
}

/* ---- Open and close ---- */
/* Following a topic wants to be woken at once, which needs the right to write; reading up to the
 * end does not, and leaves the file alone. */
static int open_file(struct reading *r)
{
    r->session.readonly_will_do = r->session.awaits_producer = true;
    uint32_t access = r->exit_at_end ? BECK_OPEN_READONLY : 0;
    return session_open(&r->session, BECK_OPEN_NO_CREATE | access);
}

/* Whether a partition was asked for that the topic has not. */
static bool wants_more(const struct reading *r, const beck_topic_info *topic)
{
    for (size_t i = 0; i < r->config.partition_count; i++)
        if (r->partitions[i] >= (int64_t)topic->config->partitions) return true;
    return false;
}

static int open_consumer(struct reading *r)
{
    int rc = beck_consumer_open(r->session.db, &r->config, &r->consumer);
    if (rc >= 0) return r->stop_time == NO_STOP ? 0 : list_endings(r);
    for (size_t i = 0; rc == BECK_NOT_FOUND && i < r->config.topic_count; i++) {
        const beck_topic_info *info = NULL;
        if (beck_topic_describe(r->session.db, r->config.topics[i], &info) == BECK_NOT_FOUND)
            return session_topic_error(&r->session, rc, r->config.topics[i]);
        if (info != NULL && wants_more(r, info)) return session_partition_error(&r->session, info);
    }
    /* Asked again, because the questions above replaced its message. */
    rc = beck_consumer_open(r->session.db, &r->config, &r->consumer);
    return rc >= 0 ? 0 : session_error(&r->session);
}

static int print_records(struct reading *r)
{
    signal(SIGPIPE, SIG_IGN); /* a reader that had enough is no reason to leave the file unclosed */
    interrupt_watch();
    out_open(&r->out);
    int status = out_close(&r->out, read_on(r));
    return status == EXIT_FINE && r->damaged ? EXIT_DAMAGE : status;
}

static int consume(struct reading *r)
{
    if (open_file(r) < 0) return EXIT_ERROR;
    int status = open_consumer(r);
    if (status == 0) status = print_records(r);
    for (size_t i = 0; i < r->ending_count; i++) free(r->endings[i].topic);
    free(r->endings);
    beck_consumer_close(r->consumer);
    return interrupt_exit_code(session_close(&r->session, status));
}

static int run(const struct command *self, int argc, char **argv)
{
    struct reading r = {.config = {.size = sizeof r.config},
                        .stop_time = NO_STOP,
                        .left = INT64_MAX,
                        .separator = {"\n", 1}};
    int status = read_command_line(&r, self, argc, argv);
    return status != 0 ? status : consume(&r);
}

const struct command command_consume = {
    .name = "consume",
    .summary = "print the records of topics and wait for more",
    .help = help,
    .run = run,
};
