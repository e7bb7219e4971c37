/* stat_metrics.c -- beck stat in the text exposition format of Prometheus */
#include "stat.h"

#include <inttypes.h>

static void family(struct out *out, const char *name, const char *type, const char *help)
{
    out_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

/* Backslash, quote and line feed are escaped; a label has to be UTF-8. */
static void label_value(struct out *out, const char *text)
{
    size_t left = strlen(text), size;
    for (; left > 0; text += size, left -= size) {
        size = utf8_size(text, left);
        if (size == 0) {
            out_bytes(out, "\xef\xbf\xbd", 3);
            size = 1;
        } else if (*text == '\n') {
            out_bytes(out, "\\n", 2);
        } else {
            if (*text == '"' || *text == '\\') out_bytes(out, "\\", 1);
            out_bytes(out, text, size);
        }
    }
}

static void label(struct out *out, const char *name, const char *value)
{
    out_printf(out, ",%s=\"", name);
    label_value(out, value);
    out_printf(out, "\"");
}

static void begin(struct out *out, const char *name, const struct snapshot *s)
{
    out_printf(out, "%s{file=\"", name);
    label_value(out, s->path);
    out_printf(out, "\"");
}

static void end(struct out *out, uint64_t value)
{
    out_printf(out, "} %" PRIu64 "\n", value);
}

/* ---- The file ---- */
static void info_metric(struct out *out, const struct snapshot *s)
{
    family(out, "beck_info", "gauge", "What the file is; always 1.");
    begin(out, "beck_info", s);
    label(out, "version", beck_version());
    out_printf(out, ",format_version=\"%" PRIu32 "\",uuid=\"", s->info.format_version);
    stat_write_uuid(out, s->info.uuid);
    out_printf(out, "\"");
    end(out, 1);
}

static void space_metrics(struct out *out, const struct snapshot *s)
{
    const struct {
        const char *use;
        uint64_t bytes;
    } parts[] = {{"topics", s->info.topics_bytes},
                 {"catalog", s->info.catalog_bytes},
                 {"coordination", s->info.coordination_bytes},
                 {"retired", s->info.retired_bytes},
                 {"free", s->info.free_bytes}};
    family(out, "beck_space_bytes", "gauge",
           "Space in the file by use; retired is deleted and waits for readers to leave.");
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        begin(out, "beck_space_bytes", s);
        label(out, "use", parts[i].use);
        end(out, parts[i].bytes);
    }
}

static void file_metrics(struct out *out, const struct snapshot *s)
{
    const struct {
        const char *name, *type, *help;
        uint64_t value;
    } all[] = {
        {"beck_file_bytes", "gauge", "Size of the file.", s->info.file_bytes},
        {"beck_catalog_entries_total", "counter", "Entries ever written to the catalog.",
         s->info.catalog_sequence},
        {"beck_clean", "gauge", "1 when the file is marked clean.", s->info.clean},
        {"beck_poisoned", "gauge",
         "1 when a sync failed and the file has to be closed by all and opened again.",
         s->info.poisoned},
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        family(out, all[i].name, all[i].type, all[i].help);
        begin(out, all[i].name, s);
        end(out, all[i].value);
    }
}

/* ---- Handles ---- */
static const int32_t states[] = {BECK_HANDLE_ALIVE, BECK_HANDLE_STOPPED, BECK_HANDLE_DEAD};

static uint64_t count_locks(const beck_handle_info *handle)
{
    uint64_t locks = 0;
    for (uint32_t i = 0; i < handle->claim_count; i++)
        locks += handle->claims[i].type == BECK_CLAIM_LOCK ||
                 handle->claims[i].type == BECK_CLAIM_CATALOG;
    return locks;
}

static void handle_metric(struct out *out, const struct snapshot *s, const char *name, bool locks)
{
    for (size_t k = 0; k < sizeof states / sizeof *states; k++) {
        uint64_t sum = 0;
        for (size_t i = 0; i < s->handle_count; i++)
            if (s->handles[i]->state == states[k]) sum += locks ? count_locks(s->handles[i]) : 1;
        begin(out, name, s);
        label(out, "state", stat_state_name(states[k]));
        end(out, sum);
    }
}

/* ---- Topics ---- */
static void topic_info_metric(struct out *out, const struct snapshot *s)
{
    family(out, "beck_topic_info", "gauge", "The settings of a topic; always 1.");
    for (size_t i = 0; i < s->topic_count; i++) {
        begin(out, "beck_topic_info", s);
        label(out, "topic", s->topics[i]->name);
        label(out, "sync", stat_sync_name(s->topics[i]));
        out_printf(out, ",partitions=\"%" PRIu32 "\"", s->topics[i]->config->partitions);
        end(out, 1);
    }
}

enum field { FIELD_ENDED, FIELD_START, FIELD_UNSTABLE, FIELD_DATA, FIELD_BYTES, FIELD_SEGMENTS };

static uint64_t field_of(const beck_partition_info *p, enum field field)
{
    switch (field) {
    case FIELD_ENDED: return (uint64_t)p->end_offset;
    case FIELD_START: return (uint64_t)p->start_offset;
    case FIELD_UNSTABLE:
        return p->end_offset > p->stable_offset ? (uint64_t)(p->end_offset - p->stable_offset) : 0;
    case FIELD_DATA: return p->data_bytes;
    case FIELD_BYTES: return p->bytes;
    default: return p->segments;
    }
}

static void partition_metrics(struct out *out, const struct snapshot *s)
{
    static const struct {
        const char *name, *type, *help;
        enum field field;
    } all[] = {
        {"beck_records_total", "counter",
         "Records ever appended to the partition: the offset after its newest.", FIELD_ENDED},
        {"beck_start_offset", "gauge", "Offset of the oldest record.", FIELD_START},
        {"beck_unstable_records", "gauge", "Visible records that are not on stable storage yet.",
         FIELD_UNSTABLE},
        {"beck_data_bytes", "gauge", "Bytes of the records.", FIELD_DATA},
        {"beck_partition_bytes", "gauge", "Space that the segments take in the file.", FIELD_BYTES},
        {"beck_segments", "gauge", "Segments of the partition.", FIELD_SEGMENTS},
    };
    for (size_t m = 0; m < sizeof all / sizeof *all; m++) {
        family(out, all[m].name, all[m].type, all[m].help);
        for (size_t i = 0; i < s->topic_count; i++) {
            for (uint32_t k = 0; k < s->topics[i]->config->partitions; k++) {
                begin(out, all[m].name, s);
                label(out, "topic", s->topics[i]->name);
                out_printf(out, ",partition=\"%" PRIu32 "\"", k);
                end(out, field_of(s->topics[i]->partitions[k], all[m].field));
            }
        }
    }
}

void stat_as_metrics(struct out *out, const struct snapshot *s)
{
    info_metric(out, s);
    file_metrics(out, s);
    space_metrics(out, s);
    family(out, "beck_handles", "gauge", "Handles that have the file open for writing, by state.");
    handle_metric(out, s, "beck_handles", false);
    family(out, "beck_locks", "gauge",
           "Locks of partitions and the catalog, by the state of who has them.");
    handle_metric(out, s, "beck_locks", true);
    topic_info_metric(out, s);
    partition_metrics(out, s);
}
