/* cmd_stat.c -- beck stat: what a file holds, and how fast it grows */
#include "commands.h"
#include "rounds.h"
#include "session.h"
#include "stat.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { OPTION_JSON = ARGS_LONG, OPTION_PROMETHEUS };

/* ---- What there is ---- */
struct topic_totals stat_totals(const beck_topic_info *topic)
{
    struct topic_totals totals = {0};
    for (uint32_t i = 0; i < topic->config->partitions; i++) {
        const beck_partition_info *p = topic->partitions[i];
        totals.ended += (uint64_t)p->end_offset;
        totals.records += (uint64_t)(p->end_offset - p->start_offset);
        if (p->end_offset > p->stable_offset)
            totals.unstable += (uint64_t)(p->end_offset - p->stable_offset);
        totals.data_bytes += p->data_bytes;
        totals.bytes += p->bytes;
        totals.segments += p->segments;
    }
    return totals;
}

const char *stat_sync_name(const beck_topic_info *topic)
{
    return topic->config->sync == BECK_SYNC_OS ? "os" : "sync";
}

const char *stat_state_name(int32_t state)
{
    if (state == BECK_HANDLE_STOPPED) return "stopped";
    return state == BECK_HANDLE_DEAD ? "dead" : "alive";
}

static double share_of(const struct snapshot *s, uint64_t bytes)
{
    return s->info.file_bytes == 0 ? 0 : (double)bytes / (double)s->info.file_bytes;
}

/* The catalog may move between two calls: what can be added up is told by the list alone. */
static void add_up(struct snapshot *s)
{
    s->info.topics = (uint32_t)s->topic_count;
    s->info.partitions = s->info.segments = 0;
    s->info.topics_bytes = 0;
    for (size_t i = 0; i < s->topic_count; i++) {
        struct topic_totals totals = stat_totals(s->topics[i]);
        s->info.partitions += s->topics[i]->config->partitions;
        s->info.segments += (uint32_t)totals.segments;
        s->info.topics_bytes += totals.bytes;
    }
}

static int take(struct session *session, struct snapshot *s)
{
    struct timespec now;
    s->info.size = sizeof s->info;
    int rc = beck_stat(session->db, &s->info);
    if (rc >= 0) rc = beck_topic_list(session->db, &s->topics, &s->topic_count);
    if (rc >= 0) rc = beck_handles(session->db, &s->handles, &s->handle_count);
    if (rc < 0) return session_error(session);
    add_up(s);
    clock_gettime(CLOCK_REALTIME, &now);
    s->taken_at = (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
    return EXIT_FINE;
}

/* ---- Rates ---- */
struct before { /* of one topic, in the round before */
    uint64_t id, ended, data_bytes;
};

struct history {
    struct before *before;
    size_t count;
    int64_t at_ms;
    struct topic_rates *rates;
};

static const struct before *find_before(const struct history *h, uint64_t id, size_t guess)
{
    if (guess < h->count && h->before[guess].id == id) return &h->before[guess];
    for (size_t i = 0; i < h->count; i++)
        if (h->before[i].id == id) return &h->before[i];
    return NULL;
}

/* A topic that is new began with nothing. What recovery cut off, or retention took, is no rate. */
static struct topic_rates rates_of(const struct before *was, const struct topic_totals *now,
                                   double seconds)
{
    uint64_t ended = was == NULL ? 0 : was->ended, bytes = was == NULL ? 0 : was->data_bytes;
    if (seconds <= 0) return (struct topic_rates){0};
    return (struct topic_rates){
        .records = now->ended > ended ? (double)(now->ended - ended) / seconds : 0,
        .bytes = now->data_bytes > bytes ? (double)(now->data_bytes - bytes) / seconds : 0};
}

/* Fills in the rates since the round before, and remembers this one. */
static void compare(struct history *h, struct snapshot *s)
{
    int64_t at_ms = rounds_clock_ms();
    size_t count = s->topic_count;
    struct before *now = must_alloc(NULL, (count + 1) * sizeof *now);
    h->rates = must_alloc(h->rates, (count + 1) * sizeof *h->rates);
    for (size_t i = 0; i < count; i++) {
        struct topic_totals totals = stat_totals(s->topics[i]);
        now[i] = (struct before){s->topics[i]->id, totals.ended, totals.data_bytes};
        h->rates[i] =
            rates_of(find_before(h, now[i].id, i), &totals, (double)(at_ms - h->at_ms) / 1000);
    }
    s->rates = h->before == NULL ? NULL : h->rates;
    free(h->before);
    *h = (struct history){now, count, at_ms, h->rates};
}

/* ---- Once, as text ---- */
struct field {
    const char *name;  /* in a pipe and in JSON */
    const char *label; /* on a terminal */
    uint64_t value;
    bool is_bytes;
};

#define FIELDS_MAX 20

static size_t list_fields(const beck_stat_info *info, struct field fields[FIELDS_MAX])
{
    const struct field all[] = {
        {"file_bytes", "file size", info->file_bytes, true},
        {"used_bytes", "used", info->used_bytes, true},
        {"topics_bytes", "  topics", info->topics_bytes, true},
        {"catalog_bytes", "  catalog", info->catalog_bytes, true},
        {"coordination_bytes", "  coordination", info->coordination_bytes, true},
        {"retired_bytes", "  waiting for readers", info->retired_bytes, true},
        {"free_bytes", "free for reuse", info->free_bytes, true},
        {"catalog_sequence", "catalog entries", info->catalog_sequence, false},
        {"topics", "topics", info->topics, false},
        {"partitions", "partitions", info->partitions, false},
        {"segments", "segments", info->segments, false},
        {"handles", "open for writing", info->handles, false},
        {"clean", "marked clean", info->clean, false},
        {"poisoned", "poisoned", info->poisoned, false},
        {"format_version", "format version", info->format_version, false},
        {"application_id", "application id", info->application_id, false},
    };
    _Static_assert(sizeof all <= FIELDS_MAX * sizeof *all, "every field has room");
    memcpy(fields, all, sizeof all);
    return sizeof all / sizeof *all;
}

void stat_write_uuid(struct out *out, const uint8_t uuid[16])
{
    for (int i = 0; i < 16; i++) {
        bool dash = i == 4 || i == 6 || i == 8 || i == 10;
        out_printf(out, "%s%02x", dash ? "-" : "", uuid[i]);
    }
}

static void print_fields(struct out *out, const beck_stat_info *info, bool human)
{
    struct field fields[FIELDS_MAX];
    char size[HUMAN_SIZE];
    size_t count = list_fields(info, fields);
    for (size_t i = 0; i < count; i++) {
        if (human && fields[i].is_bytes)
            out_printf(out, "%-22s %s\n", fields[i].label, human_bytes(fields[i].value, size));
        else if (human)
            out_printf(out, "%-22s %" PRIu64 "\n", fields[i].label, fields[i].value);
        else
            out_printf(out, "%s %" PRIu64 "\n", fields[i].name, fields[i].value);
    }
    out_printf(out, human ? "%-22s " : "%s ", "uuid");
    stat_write_uuid(out, info->uuid);
    out_printf(out, "\n");
}

static void print_table(struct out *out, struct table *table, bool human)
{
    if (human)
        table_print(out, table);
    else
        table_print_plain(out, table);
}

static void print_topics(struct out *out, const struct snapshot *s, bool human)
{
    static const char *const titles[] = {"TOPIC",    ">PARTITIONS", ">SEGMENTS",
                                         ">RECORDS", ">UNSTABLE",   ">DATA",
                                         ">BYTES",   ">SHARE",      "SYNC"};
    struct table table = {.titles = titles, .columns = sizeof titles / sizeof *titles};
    for (size_t i = 0; i < s->topic_count; i++) {
        struct topic_totals totals = stat_totals(s->topics[i]);
        table_add(&table, "%s", s->topics[i]->name);
        table_add(&table, "%" PRIu32, s->topics[i]->config->partitions);
        table_add(&table, "%" PRIu64, totals.segments);
        table_add(&table, "%" PRIu64, totals.records);
        table_add(&table, "%" PRIu64, totals.unstable);
        table_add_bytes(&table, totals.data_bytes, human);
        table_add_bytes(&table, totals.bytes, human);
        table_add(&table, "%.1f%%", 100 * share_of(s, totals.bytes));
        table_add(&table, "%s", stat_sync_name(s->topics[i]));
    }
    if (s->topic_count > 0) out_printf(out, "\n");
    if (s->topic_count > 0) print_table(out, &table, human);
}

/* Calls `each` for every claim that keeps deleted space from being used again. */
typedef void (*each_holder)(void *context, const beck_handle_info *handle, const beck_claim *claim);

static size_t each_held_back(const struct snapshot *s, each_holder each, void *context)
{
    size_t count = 0;
    for (size_t i = 0; i < s->handle_count; i++) {
        const beck_handle_info *h = s->handles[i];
        for (uint32_t k = 0; k < h->claim_count; k++) {
            if (h->claims[k].bytes == 0) continue;
            each(context, h, &h->claims[k]);
            count++;
        }
    }
    return count;
}

struct held_back {
    struct table table;
    bool human;
};

static void add_held_back(void *context, const beck_handle_info *handle, const beck_claim *claim)
{
    struct held_back *held = context;
    table_add(&held->table, "%s:%" PRId32, claim->topic == NULL ? "?" : claim->topic,
              claim->partition);
    table_add_bytes(&held->table, claim->bytes, held->human);
    table_add(&held->table, "%" PRId32, handle->slot);
    if (handle->other_namespace || handle->process == 0)
        table_add(&held->table, "-");
    else
        table_add(&held->table, "%" PRIu32, handle->process);
    table_add(&held->table, "%s", *handle->program == '\0' ? "-" : handle->program);
    table_add(&held->table, "%s", stat_state_name(handle->state));
}

static void print_held_back(struct out *out, const struct snapshot *s, bool human)
{
    static const char *const titles[] = {"DELETED", ">BYTES",  ">HELD BACK BY SLOT",
                                         ">PID",    "PROGRAM", "STATE"};
    struct held_back held = {{.titles = titles, .columns = sizeof titles / sizeof *titles}, human};
    if (each_held_back(s, add_held_back, &held) == 0) return;
    out_printf(out, "\n");
    print_table(out, &held.table, human);
}

/* ---- Again and again, as text ---- */
static void add_rates(struct table *table, const struct snapshot *s, const char *name,
                      const struct topic_totals *totals, struct topic_rates rates, bool human)
{
    char size[HUMAN_SIZE];
    if (!human) table_add(table, "%" PRId64, s->taken_at);
    table_add(table, "%s", name);
    table_add(table, "%.1f", rates.records);
    if (human)
        table_add(table, "%s", human_bytes((uint64_t)rates.bytes, size));
    else
        table_add(table, "%.1f", rates.bytes);
    table_add(table, "%" PRIu64, totals->records);
    table_add(table, "%" PRIu64, totals->unstable);
}

static void print_rates(struct out *out, const struct snapshot *s, bool human)
{
    static const char *const titles[] = {"TIME",     "TOPIC",    ">RECORDS/S",
                                         ">BYTES/S", ">RECORDS", ">UNSTABLE"};
    struct table table = {.titles = titles + human, .columns = 6 - (size_t)human};
    struct topic_totals all = {0};
    struct topic_rates sum = {0};
    for (size_t i = 0; i < s->topic_count; i++) {
        struct topic_totals totals = stat_totals(s->topics[i]);
        all.records += totals.records;
        all.unstable += totals.unstable;
        sum.records += s->rates[i].records;
        sum.bytes += s->rates[i].bytes;
        if (s->rates[i].records > 0 || totals.unstable > 0)
            add_rates(&table, s, s->topics[i]->name, &totals, s->rates[i], human);
    }
    add_rates(&table, s, "(all)", &all, sum, human); /* no topic can be called that */
    print_table(out, &table, human);
    if (human) out_printf(out, "\n");
}

/* ---- As JSON ---- */
static void json_topic(struct out *out, const struct snapshot *s, size_t i)
{
    struct topic_totals totals = stat_totals(s->topics[i]);
    out_printf(out, "%s{\"topic\":", i == 0 ? "" : ",");
    json_text(out, s->topics[i]->name);
    out_printf(out, ",\"partitions\":%" PRIu32 ",\"segments\":%" PRIu64,
               s->topics[i]->config->partitions, totals.segments);
    out_printf(out, ",\"records\":%" PRIu64 ",\"unstable\":%" PRIu64, totals.records,
               totals.unstable);
    out_printf(out, ",\"data_bytes\":%" PRIu64 ",\"bytes\":%" PRIu64, totals.data_bytes,
               totals.bytes);
    out_printf(out, ",\"share\":%.4f,\"sync\":\"%s\"", share_of(s, totals.bytes),
               stat_sync_name(s->topics[i]));
    if (s->rates != NULL)
        out_printf(out, ",\"records_per_second\":%.1f,\"bytes_per_second\":%.1f",
                   s->rates[i].records, s->rates[i].bytes);
    out_printf(out, "}");
}

struct json_list {
    struct out *out;
    size_t count;
};

static void json_held_back(void *context, const beck_handle_info *handle, const beck_claim *claim)
{
    struct json_list *list = context;
    struct out *out = list->out;
    out_printf(out, "%s{\"slot\":%" PRId32 ",\"pid\":%" PRIu32, list->count++ == 0 ? "" : ",",
               handle->slot, handle->process);
    out_printf(out, ",\"other_pid_namespace\":%s,\"state\":\"%s\",\"program\":",
               handle->other_namespace ? "true" : "false", stat_state_name(handle->state));
    json_text(out, handle->program);
    out_printf(out, ",\"topic\":");
    if (claim->topic != NULL)
        json_text(out, claim->topic);
    else
        out_printf(out, "null");
    out_printf(out, ",\"partition\":%" PRId32 ",\"bytes\":%" PRIu64 "}", claim->partition,
               claim->bytes);
}

static void print_json(struct out *out, const struct snapshot *s)
{
    struct field fields[FIELDS_MAX];
    struct json_list held = {out, 0};
    size_t count = list_fields(&s->info, fields);
    out_printf(out, "{");
    for (size_t i = 0; i < count; i++)
        out_printf(out, "\"%s\":%" PRIu64 ",", fields[i].name, fields[i].value);
    out_printf(out, "\"uuid\":\"");
    stat_write_uuid(out, s->info.uuid);
    out_printf(out, "\",\"taken_at\":%" PRId64 ",\"by_topic\":[", s->taken_at);
    for (size_t i = 0; i < s->topic_count; i++) json_topic(out, s, i);
    out_printf(out, "],\"held_back\":[");
    (void)each_held_back(s, json_held_back, &held);
    out_printf(out, "]}\n");
}

/* ---- The command ---- */
struct stat_options {
    struct rounds rounds;
    bool json, prometheus;
};

static void print(struct out *out, const struct snapshot *s, const struct stat_options *options)
{
    bool human = isatty(STDOUT_FILENO);
    if (options->prometheus) {
        stat_as_metrics(out, s);
    } else if (options->json) {
        print_json(out, s);
    } else if (s->rates != NULL) {
        print_rates(out, s, human);
    } else {
        print_fields(out, &s->info, human);
        print_topics(out, s, human);
        print_held_back(out, s, human);
    }
}

/* With an interval the first round is what the next one is compared with. */
static int show(struct session *session, struct stat_options *options, struct out *out)
{
    struct snapshot s = {.path = session->path};
    struct history history = {0};
    bool again = options->rounds.interval_ms > 0;
    int status = take(session, &s);
    if (status == EXIT_FINE && again) compare(&history, &s);
    if (status == EXIT_FINE && !again) print(out, &s, options);
    if (again && options->rounds.left != INT64_MAX) options->rounds.left++;
    while (status == EXIT_FINE && again && rounds_next(&options->rounds, out)) {
        if ((status = take(session, &s)) != EXIT_FINE) break;
        compare(&history, &s);
        print(out, &s, options);
    }
    free(history.before);
    free(history.rates);
    return status;
}

static int run_stat(const struct command *self, int argc, char **argv)
{
    static const struct option list[] = {{"json", no_argument, NULL, OPTION_JSON},
                                         {"prometheus", no_argument, NULL, OPTION_PROMETHEUS},
                                         {0}};
    struct args args = {self, "", list, argc, argv};
    struct stat_options options = {.json = false};
    int option;
    while ((option = args_next(&args)) != ARGS_END) {
        if (option == ARGS_WRONG) return EXIT_USAGE;
        if (option == OPTION_JSON) options.json = true;
        if (option == OPTION_PROMETHEUS) options.prometheus = true;
    }
    int status = rounds_parse(&options.rounds, &args);
    if (status == 0 && options.prometheus && (options.json || options.rounds.interval_ms > 0))
        status = usage_error(self, "--prometheus is for one look, and not for --json");
    if (status != 0) return status;
    struct session session = {.path = argv[optind]};
    if (session_open(&session, BECK_OPEN_READONLY | BECK_OPEN_NO_CREATE) < 0) return EXIT_ERROR;
    struct out out;
    out_open(&out);
    status = show(&session, &options, &out);
    return session_close(&session, out_close(&out, status));
}

const struct command command_stat = {
    .name = "stat",
    .summary = "show what a file holds, or how fast it grows",
    .help =
        "Usage: beck stat FILE [SECONDS [COUNT]] [--json]\n"
        "       beck stat FILE --prometheus\n"
        "\n"
        "Sizes and counts of the file, then its topics, then who keeps deleted space from being\n"
        "used again. On a terminal sizes for people; in a pipe lines of a name and a number, an\n"
        "empty line, and the tables without titles, with tabs and sizes in bytes:\n"
        "  TOPIC PARTITIONS SEGMENTS RECORDS UNSTABLE DATA BYTES SHARE SYNC\n"
        "  DELETED BYTES SLOT PID PROGRAM STATE (behind one more empty line)\n"
        "'waiting for readers' is called retired_bytes there: deleted, but still being read.\n"
        "\n"
        "With SECONDS: the records and bytes a second of every topic that grew, and of all, again\n"
        "and again, COUNT times. In a pipe each line begins with the time in ms:\n"
        "  TIME TOPIC RECORDS/S BYTES/S RECORDS UNSTABLE\n"
        "\n"
        "  --json        one object, a line each time\n"
        "  --prometheus  the text exposition format, for the textfile collector\n"
        "  --force       use the file on a file system that beck refuses\n"
        "\n"
        "UNSTABLE records are visible, but not on stable storage yet (os topics). DATA is what\n"
        "the records take, BYTES the segments around them, SHARE their part of the file.\n"
        "\n"
        "Examples:\n"
        "  beck stat my.beck\n"
        "  beck stat my.beck 1 5\n"
        "  beck stat my.beck | awk '$1 == \"free_bytes\" { print $2 }'\n"
        "  beck stat my.beck --json | jq '.by_topic[] | select(.unstable > 0)'\n",
    .run = run_stat,
};
