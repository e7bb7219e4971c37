/* look.c -- everything that can be read of an open file, through the public interface */
#include "look.h"

enum { PARTS_MAX = 1024, POLLS_MAX = 2000, AT_ONCE = 7, SEEKS = 6 };

struct place {
    int64_t next; /* everything below was given or announced */
    uint64_t sum;
};

static struct reading {
    const beck_topic_info *info;
    uint32_t flags;
    enum look_file file;
    struct place places[PARTS_MAX];
} reading;

/* True of every file that nobody changes. */
#define QUIET(x) MUST(reading.file == LOOK_CHANGING || (x))

static uint64_t record_sum(const beck_record *r)
{
    uint64_t sum = fuzz_sum((uint64_t)r->offset, r->key, r->key_size);
    sum = fuzz_sum(sum + (r->key == NULL), r->value, r->value_size);
    sum = fuzz_sum(sum + (r->value == NULL), &r->timestamp, sizeof r->timestamp);
    for (uint32_t i = 0; i < r->header_count; i++) {
        const beck_header *h = &r->headers[i];
        sum = fuzz_sum(fuzz_sum(sum, h->name, h->name_size), h->value, h->value_size);
    }
    return sum;
}

static struct place *place_of(const char *topic, int32_t partition)
{
    MUST(topic != NULL && partition >= 0 && partition < PARTS_MAX);
    return &reading.places[partition];
}

static bool take_event(beck_consumer *consumer)
{
    beck_event_info event = {.size = sizeof event};
    MUST(beck_event(consumer, &event) == BECK_OK);
    struct place *place = place_of(event.topic, event.partition);
    MUST(event.type == BECK_EVENT_GAP && event.cause != BECK_GAP_NONE);
    QUIET(event.from >= place->next && event.to > event.from);
    place->next = event.to;
    place->sum = fuzz_sum(place->sum, &event.to, sizeof event.to) + (uint64_t)event.cause;
    return true;
}

static void take_records(const beck_record *records, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct place *place = place_of(records[i].topic, records[i].partition);
        QUIET(records[i].offset >= place->next);
        place->next = records[i].offset + 1;
        place->sum = place->sum * 31 + record_sum(&records[i]);
    }
}

/* Poll to the end; false when it did not come there. */
static bool poll_all(beck_consumer *consumer, uint64_t *count)
{
    const beck_record *records;
    size_t n;
    for (int polls = 0; polls < POLLS_MAX; polls++) {
        int rc = beck_poll(consumer, AT_ONCE, 0, &records, &n);
        if (rc < 0) return false;
        if (rc == BECK_OK && n == 0) return true;
        if (rc == BECK_EVENT) MUST(n == 0 && take_event(consumer));
        take_records(records, rc == BECK_OK ? n : 0);
        *count += n;
    }
    return false;
}

static beck_consumer *open_consumer(beck *db, uint32_t start, int64_t value)
{
    beck_consumer_config config = {.size = sizeof config,
                                   .topics = &reading.info->name,
                                   .topic_count = 1,
                                   .start = start,
                                   .flags = reading.flags,
                                   .start_value = value};
    beck_consumer *consumer = NULL;
    int rc = beck_consumer_open(db, &config, &consumer);
    MUST_DB(db, (rc == BECK_OK) == (consumer != NULL));
    memset(reading.places, 0, reading.info->config->partitions * sizeof *reading.places);
    return consumer;
}

static bool read_from_beginning(beck *db, struct look *look)
{
    const beck_topic_info *info = reading.info;
    beck_consumer *consumer = open_consumer(db, BECK_START_BEGINNING, 0);
    if (consumer == NULL) return false;
    bool whole = poll_all(consumer, &look->count);
    for (uint32_t i = 0; i < info->config->partitions; i++) {
        int64_t at = -1;
        look->records += reading.places[i].sum * (i + 1);
        QUIET(beck_position(consumer, info->name, (int32_t)i, &at) == BECK_OK);
        if (whole && reading.file == LOOK_SOUND) MUST(at == info->partitions[i]->end_offset);
    }
    beck_consumer_close(consumer);
    return whole;
}

/* Somewhere in the middle: what comes is at or behind what was asked for. */
static void read_elsewhere(beck *db, uint32_t start, int64_t value)
{
    uint64_t count = 0;
    beck_consumer *consumer = open_consumer(db, start, value);
    if (consumer == NULL) return;
    (void)poll_all(consumer, &count);
    for (int i = 0; i < SEEKS; i++) {
        int32_t part = i % (int32_t)reading.info->config->partitions;
        int64_t end = reading.info->partitions[part]->end_offset;
        int64_t to = i == 0 ? 0 : end - end / i;
        if (beck_seek(consumer, reading.info->name, part, to) != BECK_OK) continue;
        memset(reading.places, 0, reading.info->config->partitions * sizeof *reading.places);
        const beck_record *records;
        size_t n;
        if (beck_poll(consumer, AT_ONCE, 0, &records, &n) == BECK_OK) take_records(records, n);
        for (size_t k = 0; k < n; k++)
            if (records[k].partition == part) QUIET(records[k].offset >= to);
    }
    beck_consumer_close(consumer);
}

static void sum_topic(const beck_topic_info *info, struct look *look)
{
    look->topics = fuzz_sum(look->topics, info->name, strlen(info->name));
    look->topics = fuzz_sum(look->topics, info->config, sizeof *info->config);
    MUST(info->config->partitions >= 1 && info->config->partitions <= PARTS_MAX);
    for (uint32_t i = 0; i < info->config->partitions; i++) {
        const beck_partition_info *p = info->partitions[i];
        QUIET(p->start_offset >= 0 && p->end_offset >= p->start_offset);
        QUIET(p->stable_offset <= p->end_offset);
        look->topics = fuzz_sum(look->topics, &p->start_offset, sizeof p->start_offset);
        look->topics = fuzz_sum(look->topics, &p->end_offset, sizeof p->end_offset);
    }
}

static void look_at_topic(beck *db, const char *name, struct look *look)
{
    int rc = beck_topic_describe(db, name, &reading.info);
    if (rc == BECK_OK) sum_topic(reading.info, look);
    if (rc < 0 || !read_from_beginning(db, look)) look->whole = false;
    if (rc < 0) return;
    read_elsewhere(db, BECK_START_LAST, 3);
    read_elsewhere(db, BECK_START_TIME, 1700000000005);
    read_elsewhere(db, BECK_START_OFFSET, 2);
}

void look_at_all(beck *db, uint32_t flags, enum look_file file, struct look *look)
{
    static char names[LOOK_TOPICS_MAX][BECK_TOPIC_NAME_MAX + 1];
    const beck_topic_info *const *topics;
    beck_stat_info stat = {.size = sizeof stat};
    size_t count = 0;
    reading = (struct reading){.flags = flags, .file = file};
    *look = (struct look){.whole = true};
    (void)strlen(beck_recovery_report(db));
    if (beck_stat(db, &stat) < 0) look->whole = false;
    bool listed = beck_topic_list(db, &topics, &count) == BECK_OK;
    if (!listed || count > LOOK_TOPICS_MAX) look->whole = false;
    if (!listed) return;
    for (size_t i = 0; i < count && i < LOOK_TOPICS_MAX; i++) {
        MUST(strlen(topics[i]->name) <= BECK_TOPIC_NAME_MAX);
        snprintf(names[i], sizeof names[i], "%s", topics[i]->name);
    }
    for (size_t i = 0; i < count && i < LOOK_TOPICS_MAX; i++) look_at_topic(db, names[i], look);
}

static int count_finding(void *context, const char *finding)
{
    ++*(uint64_t *)context;
    return strlen(finding) == 0;
}

enum look_file look_check(beck *db)
{
    uint64_t findings = 0;
    beck_check_summary sum = {.size = sizeof sum};
    const beck_handle_info *const *handles;
    size_t count;
    int rc = beck_check(db, count_finding, NULL, &findings, &sum);
    MUST_DB(db, findings == 0 || rc < 0);
    MUST_DB(db, rc != BECK_OK || (findings == 0 && sum.findings == 0));
    if (beck_handles(db, &handles, &count) == BECK_OK)
        for (size_t i = 0; i < count; i++) MUST(handles[i]->claim_count < 10000);
    return rc == BECK_OK ? LOOK_SOUND : LOOK_HOSTILE;
}
