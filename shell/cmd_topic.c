/* cmd_topic.c -- beck topic: create, alter, list, describe and delete topics */
#include "commands.h"
#include "out.h"
#include "session.h"

#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

enum { OPTION_PARTITIONS = ARGS_LONG, OPTION_SYNC, OPTION_CONFIG, OPTION_JSON };

/* ---- Create and alter ---- */
static int set_field(const struct command *self, beck_topic_config *config, const char *option,
                     const char *name, const char *value)
{
    char message[256] = "";
    if (beck_topic_config_set(config, name, value, message, sizeof message) >= 0) return 0;
    return usage_error(self, "%s: %s", option, message);
}

static int set_config(const struct command *self, beck_topic_config *config, char *text)
{
    char *equals = strchr(text, '=');
    if (equals == NULL) return usage_error(self, "--config: '%s' is not NAME=VALUE", text);
    *equals = '\0';
    return set_field(self, config, "--config", text, equals + 1);
}

static int read_config_option(const struct command *self, beck_topic_config *config, int option)
{
    int64_t number = 0;
    switch (option) {
    case OPTION_PARTITIONS:
        if (!parse_number(optarg, 1, BECK_PARTITIONS_MAX, &number))
            return usage_error(self, "--partitions: '%s' is not a number from 1 to %d", optarg,
                               BECK_PARTITIONS_MAX);
        config->partitions = (uint32_t)number;
        return 0;
    case OPTION_SYNC: return set_field(self, config, "--sync", "sync", optarg);
    default: return set_config(self, config, optarg);
    }
}

/* Reads options, FILE and TOPIC. */
static int read_config(const struct command *self, int argc, char **argv, beck_topic_config *config)
{
    static const struct option list[] = {{"partitions", required_argument, NULL, OPTION_PARTITIONS},
                                         {"sync", required_argument, NULL, OPTION_SYNC},
                                         {"config", required_argument, NULL, OPTION_CONFIG},
                                         {0}};
    struct args args = {self, "", list, argc, argv};
    int option, status = 0;
    while (status == 0 && (option = args_next(&args)) != ARGS_END) {
        if (option == ARGS_WRONG) return EXIT_USAGE;
        status = read_config_option(self, config, option);
    }
    return status != 0 ? status : args_positional(&args, 2, 2, "FILE and TOPIC");
}

static int run_create(const struct command *self, int argc, char **argv)
{
    beck_topic_config config = {.size = sizeof config};
    int status = read_config(self, argc, argv, &config);
    if (status != 0) return status;
    struct session session = {.path = argv[optind]};
    if (session_open(&session, 0) < 0) return EXIT_ERROR;
    int rc = beck_topic_create(session.db, argv[optind + 1], &config);
    return session_close(&session, rc < 0 ? session_error(&session) : EXIT_FINE);
}

static bool is_empty(const beck_topic_config *config)
{
    return config->partitions == 0 && config->sync == BECK_SYNC_DEFAULT &&
           config->max_message_bytes == 0 && config->segment_bytes == 0 && config->flush_ms == 0 &&
           config->compression == 0;
}

static int run_alter(const struct command *self, int argc, char **argv)
{
    beck_topic_config config = {.size = sizeof config};
    int status = read_config(self, argc, argv, &config);
    if (status != 0) return status;
    if (is_empty(&config)) return usage_error(self, "nothing to change");
    struct session session = {.path = argv[optind]};
    if (session_open(&session, BECK_OPEN_NO_CREATE) < 0) return EXIT_ERROR;
    const char *topic = argv[optind + 1];
    int rc = beck_topic_alter(session.db, topic, &config);
    return session_close(&session, rc < 0 ? session_topic_error(&session, rc, topic) : EXIT_FINE);
}

/* ---- Delete ---- */
static int run_delete(const struct command *self, int argc, char **argv)
{
    struct args args = {self, "", NULL, argc, argv};
    if (args_next(&args) != ARGS_END) return EXIT_USAGE;
    int status = args_positional(&args, 2, 2, "FILE and TOPIC");
    if (status != 0) return status;
    struct session session = {.path = argv[optind]};
    if (session_open(&session, BECK_OPEN_NO_CREATE) < 0) return EXIT_ERROR;
    const char *topic = argv[optind + 1];
    int rc = beck_topic_delete(session.db, topic);
    return session_close(&session, rc < 0 ? session_topic_error(&session, rc, topic) : EXIT_FINE);
}

/* ---- List and describe ---- */
static const char *sync_name(uint32_t sync)
{
    return sync == BECK_SYNC_OS ? "os" : "sync";
}

struct totals {
    uint64_t records, bytes, segments;
};

static struct totals add_up(const beck_topic_info *topic)
{
    struct totals totals = {0};
    for (uint32_t i = 0; i < topic->config->partitions; i++) {
        const beck_partition_info *partition = topic->partitions[i];
        totals.records += (uint64_t)(partition->end_offset - partition->start_offset);
        totals.bytes += partition->bytes;
        totals.segments += partition->segments;
    }
    return totals;
}

static void list_as_json(struct out *out, const beck_topic_info *const *topics, size_t count)
{
    out_printf(out, "[");
    for (size_t i = 0; i < count; i++) {
        struct totals totals = add_up(topics[i]);
        out_printf(out, "%s\n{\"topic\":", i == 0 ? "" : ",");
        json_text(out, topics[i]->name);
        out_printf(out, ",\"partitions\":%" PRIu32 ",\"records\":%" PRIu64,
                   topics[i]->config->partitions, totals.records);
        out_printf(out, ",\"bytes\":%" PRIu64 ",\"segments\":%" PRIu64 ",\"sync\":\"%s\"}",
                   totals.bytes, totals.segments, sync_name(topics[i]->config->sync));
    }
    out_printf(out, count == 0 ? "]\n" : "\n]\n");
}

static void list_as_text(struct out *out, const beck_topic_info *const *topics, size_t count)
{
    static const char *const titles[] = {"TOPIC", ">PARTITIONS", ">RECORDS", ">BYTES", "SYNC"};
    struct table table = {.titles = titles, .columns = sizeof titles / sizeof *titles};
    bool human = isatty(STDOUT_FILENO);
    for (size_t i = 0; i < count; i++) {
        struct totals totals = add_up(topics[i]);
        table_add(&table, "%s", topics[i]->name);
        table_add(&table, "%" PRIu32, topics[i]->config->partitions);
        table_add(&table, "%" PRIu64, totals.records);
        table_add_bytes(&table, totals.bytes, human);
        table_add(&table, "%s", sync_name(topics[i]->config->sync));
    }
    if (human)
        table_print(out, &table);
    else
        table_print_plain(out, &table);
}

static void describe_partition_as_json(struct out *out, const beck_partition_info *partition,
                                       uint32_t i)
{
    out_printf(out, "%s{\"partition\":%" PRIu32 ",\"start\":%" PRId64, i == 0 ? "" : ",", i,
               partition->start_offset);
    out_printf(out, ",\"end\":%" PRId64 ",\"stable\":%" PRId64, partition->end_offset,
               partition->stable_offset);
    out_printf(out, ",\"segments\":%" PRIu32 ",\"bytes\":%" PRIu64 "}", partition->segments,
               partition->bytes);
}

static void describe_as_json(struct out *out, const beck_topic_info *topic)
{
    out_printf(out, "{\"topic\":");
    json_text(out, topic->name);
    out_printf(out, ",\"id\":%" PRIu64 ",\"sync\":\"%s\"", topic->id,
               sync_name(topic->config->sync));
    out_printf(out, ",\"max.message.bytes\":%" PRIu32, topic->config->max_message_bytes);
    out_printf(out, ",\"segment.bytes\":%" PRIu32, topic->config->segment_bytes);
    out_printf(out, ",\"flush.ms\":%" PRIu32 ",\"compression.type\":\"%s\",\"partitions\":[",
               topic->config->flush_ms, beck_compression_name(topic->config->compression));
    for (uint32_t i = 0; i < topic->config->partitions; i++)
        describe_partition_as_json(out, topic->partitions[i], i);
    out_printf(out, "]}");
}

static void describe_as_text(struct out *out, const beck_topic_info *topic)
{
    static const char *const titles[] = {">PARTITION", ">START",    ">END",
                                         ">STABLE",    ">SEGMENTS", ">BYTES"};
    struct table table = {.titles = titles, .columns = sizeof titles / sizeof *titles};
    bool human = isatty(STDOUT_FILENO);
    out_printf(out, "topic %s  sync=%s max.message.bytes=%" PRIu32, topic->name,
               sync_name(topic->config->sync), topic->config->max_message_bytes);
    out_printf(out, " segment.bytes=%" PRIu32 " flush.ms=%" PRIu32 " compression.type=%s\n",
               topic->config->segment_bytes, topic->config->flush_ms,
               beck_compression_name(topic->config->compression));
    for (uint32_t i = 0; i < topic->config->partitions; i++) {
        const beck_partition_info *partition = topic->partitions[i];
        table_add(&table, "%" PRIu32, i);
        table_add(&table, "%" PRId64, partition->start_offset);
        table_add(&table, "%" PRId64, partition->end_offset);
        table_add(&table, "%" PRId64, partition->stable_offset);
        table_add(&table, "%" PRIu32, partition->segments);
        table_add_bytes(&table, partition->bytes, human);
    }
    table_print(out, &table);
}

static void describe_all(struct out *out, const beck_topic_info *const *topics, size_t count,
                         bool json)
{
    if (json) out_printf(out, "[");
    for (size_t i = 0; i < count; i++) {
        if (json && i > 0) out_printf(out, ",");
        if (json || i > 0) out_printf(out, "\n");
        if (json)
            describe_as_json(out, topics[i]);
        else
            describe_as_text(out, topics[i]);
    }
    if (json) out_printf(out, count == 0 ? "]\n" : "\n]\n");
}

/* Reads --json, FILE and, when `most` is 2, perhaps TOPIC. */
static int read_json_option(const struct command *self, int argc, char **argv, int most, bool *json)
{
    static const struct option list[] = {{"json", no_argument, NULL, OPTION_JSON}, {0}};
    struct args args = {self, "", list, argc, argv};
    int option;
    while ((option = args_next(&args)) != ARGS_END) {
        if (option == ARGS_WRONG) return EXIT_USAGE;
        *json = true;
    }
    return args_positional(&args, 1, most, most == 1 ? "FILE" : "FILE and perhaps TOPIC");
}

static int run_list(const struct command *self, int argc, char **argv)
{
    const beck_topic_info *const *topics = NULL;
    size_t count = 0;
    bool json = false;
    int status = read_json_option(self, argc, argv, 1, &json);
    if (status != 0) return status;
    struct session session = {.path = argv[optind]};
    if (session_open(&session, BECK_OPEN_READONLY | BECK_OPEN_NO_CREATE) < 0) return EXIT_ERROR;
    int rc = beck_topic_list(session.db, &topics, &count);
    if (rc < 0) return session_close(&session, session_error(&session));
    struct out out;
    out_open(&out);
    if (json)
        list_as_json(&out, topics, count);
    else
        list_as_text(&out, topics, count);
    return session_close(&session, out_close(&out, EXIT_FINE));
}

static int run_describe(const struct command *self, int argc, char **argv)
{
    const beck_topic_info *one = NULL;
    const beck_topic_info *const *topics = &one;
    size_t count = 1;
    bool json = false;
    int status = read_json_option(self, argc, argv, 2, &json);
    if (status != 0) return status;
    struct session session = {.path = argv[optind]};
    const char *topic = argv[optind + 1]; /* NULL: all of them */
    if (session_open(&session, BECK_OPEN_READONLY | BECK_OPEN_NO_CREATE) < 0) return EXIT_ERROR;
    int rc = topic != NULL ? beck_topic_describe(session.db, topic, &one)
                           : beck_topic_list(session.db, &topics, &count);
    if (rc < 0) {
        bool named = topic != NULL;
        status = named ? session_topic_error(&session, rc, topic) : session_error(&session);
        return session_close(&session, status);
    }
    struct out out;
    out_open(&out);
    if (json && topic != NULL) {
        describe_as_json(&out, one);
        out_printf(&out, "\n");
    } else {
        describe_all(&out, topics, count, json);
    }
    return session_close(&session, out_close(&out, EXIT_FINE));
}

/* ---- The table ---- */
#define FORCE_HELP "  --force         use the file on a file system that beck refuses\n"
#define CONFIG_HELP(one, stable)                                                                   \
    "  --partitions N  1 to 1024" one "; altering can only add\n"                                  \
    "  --sync CLASS    sync: acknowledged records are on stable storage" stable ";\n"              \
    "                  os: acknowledged records are visible to all processes\n"                    \
    "  --config NAME=VALUE  max.message.bytes, segment.bytes, flush.ms, compression.type\n"        \
    "                       (producer, uncompressed, gzip, snappy, lz4, zstd); may be "            \
    "repeated\n" FORCE_HELP

static const struct command children[] = {
    {.name = "topic create",
     .summary = "create a topic",
     .help = "Usage: beck topic create FILE TOPIC [OPTION]...\n"
             "\n"
             "Creates the file too when it is missing.\n"
             "\n" CONFIG_HELP(" (default 1)",
                              " (default)") "\n"
                                            "Examples:\n"
                                            "  beck topic create my.beck orders --partitions 3\n"
                                            "  beck topic create logs.beck access --sync os "
                                            "--config flush.ms=1000\n",
     .run = run_create},
    {.name = "topic alter",
     .summary = "change the settings of a topic",
     .help =
         "Usage: beck topic alter FILE TOPIC OPTION...\n"
         "\n" CONFIG_HELP(
             "", "") "\n"
                     "Adding partitions changes where keys go: order by key holds from then on.\n"
                     "\n"
                     "Examples:\n"
                     "  beck topic alter my.beck orders --partitions 6\n"
                     "  beck topic alter my.beck orders --config segment.bytes=67108864\n",
     .run = run_alter},
    {.name = "topic list",
     .summary = "list the topics of a file",
     .help = "Usage: beck topic list FILE [--json]\n"
             "\n"
             "A table on a terminal; in a pipe the same columns without titles, with tabs between\n"
             "them and sizes in bytes: TOPIC PARTITIONS RECORDS BYTES SYNC.\n"
             "\n"
             "  --json          an array with a line for each topic\n" FORCE_HELP "\n"
             "Examples:\n"
             "  beck topic list my.beck\n"
             "  beck topic list my.beck | cut -f1\n"
             "  beck topic list my.beck --json | jq '.[].records'\n",
     .run = run_list},
    {.name = "topic describe",
     .summary = "show the settings and partitions of one topic or of all",
     .help = "Usage: beck topic describe FILE [TOPIC] [--json]\n"
             "\n"
             "START is the offset of the oldest record, END the offset after the newest one;\n"
             "everything below STABLE is on stable storage. BYTES is the space taken in the file.\n"
             "\n"
             "  --json          one object for TOPIC; for all an array with a line for "
             "each\n" FORCE_HELP "\n"
             "Examples:\n"
             "  beck topic describe my.beck\n"
             "  beck topic describe my.beck orders --json | jq '.partitions[].end'\n",
     .run = run_describe},
    {.name = "topic delete",
     .summary = "delete a topic and its records",
     .help = "Usage: beck topic delete FILE TOPIC\n"
             "\n"
             "The space is used again as soon as nobody reads the topic any more.\n"
             "\n" FORCE_HELP "\n"
             "Examples:\n"
             "  beck topic delete my.beck orders\n",
     .run = run_delete},
    {0},
};

const struct command command_topic = {
    .name = "topic",
    .summary = "create, alter, list, describe and delete topics",
    .help = "Usage: beck topic create|alter FILE TOPIC [OPTION]...\n"
            "       beck topic list FILE [--json]\n"
            "       beck topic describe FILE [TOPIC] [--json]\n"
            "       beck topic delete FILE TOPIC\n"
            "\n"
            "'beck help topic create' and so on tell more.\n"
            "\n"
            "Examples:\n"
            "  beck topic create my.beck orders --partitions 3\n"
            "  beck topic describe my.beck orders\n",
    .children = children,
};
