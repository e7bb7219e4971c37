/* fault_model.h -- calls that may fail, what they said, and whether the file agrees
 *
 * Every record has a number, which its value tells, and a fate: acknowledged, refused, or not
 * known. Every error must fit the fault that is armed (fault_kind, fault_errno) and have words.
 * At the end the file is opened without faults and must hold what was acknowledged and nothing that
 * was refused. */
#ifndef FAULT_MODEL_H
#define FAULT_MODEL_H

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include "api_help.h"
#include "fault.h"

/* The portable seam has one call for what must be stable, and no way around the page cache. */
#ifdef BECK_OS_PORTABLE
#define STABLE_CALL FAULT_FDATASYNC
#define WRITE_FLAGS BECK_OPEN_FORCE
#else
#define STABLE_CALL FAULT_PWRITEV2
#define WRITE_FLAGS 0u
#endif

#define NOTES 4096
#define TOPICS 6
#define HANDLES 3
#define CONSUMERS 3

/* ---- What is known of the records ---- */

enum fate { REFUSED = 1, UNCERTAIN, ACKNOWLEDGED };

struct note { /* its index is the record's number, which its value tells */
    uint32_t topic, partition, bytes;
    enum fate fate;
    bool seen; /* a consumer was given it */
    int64_t offset;
};

struct topic_note {
    char name[16];
    enum fate there, deleted; /* REFUSED = certainly not */
    uint32_t partitions;
};

struct world {
    uint32_t notes_used, topics_used;
    struct note notes[NOTES];
    struct topic_note topics[TOPICS];
    beck *db[HANDLES];
    beck_topic *topic[HANDLES][TOPICS];
    beck_consumer *consumer[CONSUMERS];
    uint32_t consumer_of[CONSUMERS];
    bool poisoned; /* a call said so */
};

static struct world *world; /* shared with children */
static const char *playing; /* the scenario */
static const char *file_name;
static enum fault_call fault_kind;
static int fault_errno;
static uint32_t fault_nth, fault_times;
static char point[600];

static void say_where(void)
{
    snprintf(point, sizeof point, "FAULT=\"%s:%s:%d:%u:%u\" (%s): ", playing,
             fault_name(fault_kind), fault_errno, fault_nth, fault_times,
             fault_errno > 0 ? strerror(fault_errno) : "-");
}

static void died(int sig)
{
    if (write(2, point, strlen(point)) < 0 || write(2, "signal\n", 7) < 0) _exit(3);
    signal(sig, SIG_DFL);
    raise(sig);
}

/* FAULTS=list: every round is a process of its own, and all that fail are told. */
static bool listing;

_Noreturn static void say_and_end(int line, const char *why)
{
    fprintf(stderr, "%sline %d: %s\n", point, line, why);
    _exit(4);
}

#define MUST(x, ...)                                                                               \
    do {                                                                                           \
        if (!(x)) {                                                                                \
            fault_disarm();                                                                        \
            char why_[512];                                                                        \
            snprintf(why_, sizeof why_, __VA_ARGS__);                                              \
            if (listing) say_and_end(__LINE__, why_);                                              \
            ck_abort_msg("%sline %d: %s", point, __LINE__, why_);                                  \
        }                                                                                          \
    } while (0)

/* ---- Which status fits ---- */

static bool unfailing; /* nothing that happens is an error */
static bool at_random; /* many calls fail */
static bool was_cut;   /* somebody cuts the file */
static bool limited;   /* it is the system that makes calls fail */

static bool is_missing(int error)
{
    return error == ENOSYS || error == EOPNOTSUPP || error == EPERM || error == EINVAL;
}

/* Of many calls that fail at once anything may come, but nothing that is not so. */
static bool fits_at_random(int rc)
{
    return rc == BECK_IO || rc == BECK_FULL || rc == BECK_NOMEM || rc == BECK_LIMIT ||
           rc == BECK_PERMISSION || rc == BECK_READONLY || rc == BECK_POISONED || rc == BECK_BUSY ||
           rc == BECK_UNSUPPORTED;
}

static int status_of(int error)
{
    switch (error) {
    case ENOSPC:
    case EDQUOT:
    case EFBIG: return BECK_FULL;
    case ENOMEM: return BECK_NOMEM;
    case EMFILE:
    case ENFILE: return BECK_LIMIT;
    case EACCES:
    case EPERM: return BECK_PERMISSION;
    case EROFS: return BECK_READONLY;
    default: return BECK_IO;
    }
}

/* Does this status say what happened? */
static bool fits(int rc)
{
    if (rc >= 0 || rc == BECK_UNKNOWN || fault_kind == FAULT_KINDS) return true;
    if (at_random) return fits_at_random(rc);
    if (was_cut) /* what is there then are zeros, as in a new file */
        return rc == BECK_CORRUPT || rc == BECK_DELETED || rc == BECK_NOT_FOUND ||
               rc == BECK_NOT_BECK || rc == BECK_BUSY || rc == BECK_FULL || rc == BECK_IO;
    if (fault_is_sync(fault_kind)) return rc == BECK_POISONED;
    if (fault_kind == FAULT_LOCK && fault_errno == EAGAIN) /* the gate, or every slot */
        return rc == BECK_BUSY || rc == BECK_LIMIT;
    if (fault_kind == FAULT_KEY) return rc == BECK_LIMIT || rc == BECK_NOMEM;
    if (fault_kind == FAULT_OPEN && fault_errno == EROFS && rc == BECK_PERMISSION) return true;
    return rc == status_of(fault_errno);
}

static int judged(int rc, beck *db, const char *call)
{
    MUST(!unfailing || rc >= 0, "%s gave %s: %s", call, beck_status_name(rc), beck_errmsg(db));
    if (rc == BECK_POISONED) __atomic_store_n(&world->poisoned, true, __ATOMIC_RELAXED);
    if (rc < 0) {
        MUST(beck_errmsg(db)[0] != 0, "%s: %s without words", call, beck_status_name(rc));
        MUST(fault_kind == FAULT_KINDS || limited || fault_fired() > 0, "%s: %s: %s", call,
             beck_status_name(rc), beck_errmsg(db));
        MUST(fits(rc), "%s gave %s: %s", call, beck_status_name(rc), beck_errmsg(db));
    }
    return rc;
}

/* ---- Calls, noted ---- */

static bool opened(struct world *w, int h, uint32_t flags)
{
    beck_options options = {
        .size = sizeof options, .flags = flags != 0 ? flags : WRITE_FLAGS, .busy_timeout_ms = 20};
    int rc = judged(beck_open(file_name, &options, &w->db[h]), w->db[h], "beck_open");
    if (rc == 0) return true;
    beck_close(w->db[h]);
    w->db[h] = NULL;
    return false;
}

static void closed(struct world *w, int h)
{
    if (w->db[h] == NULL) return;
    judged(beck_close(w->db[h]), NULL, "beck_close");
    w->db[h] = NULL;
    memset(w->topic[h], 0, sizeof w->topic[h]);
    if (h == 0) memset(w->consumer, 0, sizeof w->consumer);
}

static uint32_t topic_number(struct world *w, const char *name)
{
    for (uint32_t t = 0; t < w->topics_used; t++)
        if (strcmp(w->topics[t].name, name) == 0 && w->topics[t].deleted == REFUSED) return t;
    MUST(w->topics_used < TOPICS, "too many");
    struct topic_note *note = &w->topics[w->topics_used];
    *note = (struct topic_note){.there = REFUSED, .deleted = REFUSED, .partitions = 1};
    snprintf(note->name, sizeof note->name, "%s", name);
    return w->topics_used++;
}

static enum fate fate_of(int rc)
{
    return rc == 0 ? ACKNOWLEDGED : rc == BECK_POISONED || rc == BECK_UNKNOWN ? UNCERTAIN : REFUSED;
}

static bool topic_opened(struct world *w, int h, const char *name, uint32_t sync,
                         uint32_t partitions)
{
    if (w->db[h] == NULL) return false;
    uint32_t t = topic_number(w, name);
    struct topic_note *note = &w->topics[t];
    beck_topic_config config = {.size = sizeof config,
                                .partitions = partitions,
                                .sync = sync,
                                .segment_bytes = 2 * BLOCK_BYTES};
    int rc = judged(beck_topic_open(w->db[h], name, &config, &w->topic[h][t]), w->db[h],
                    "beck_topic_open");
    if (note->there != ACKNOWLEDGED) note->partitions = partitions;
    if (note->there != ACKNOWLEDGED && !(note->there == UNCERTAIN && rc < 0))
        note->there = fate_of(rc);
    /* made, and then there was no memory for a handle */
    if (rc < 0 && note->there == REFUSED) note->there = UNCERTAIN;
    return rc == 0;
}

static void topic_altered(struct world *w, int h, const char *name, uint32_t partitions)
{
    if (w->db[h] == NULL) return;
    beck_topic_config config = {.size = sizeof config, .partitions = partitions};
    struct topic_note *note = &w->topics[topic_number(w, name)];
    if (note->there != ACKNOWLEDGED) return;
    int rc = judged(beck_topic_alter(w->db[h], name, &config), w->db[h], "beck_topic_alter");
    if (rc == 0) note->partitions = partitions;
    if (rc < 0 && fate_of(rc) == UNCERTAIN) note->partitions = 0; /* not known */
}

static void topic_deleted(struct world *w, int h, const char *name)
{
    if (w->db[h] == NULL) return;
    struct topic_note *note = &w->topics[topic_number(w, name)];
    if (note->there != ACKNOWLEDGED) return;
    note->deleted =
        fate_of(judged(beck_topic_delete(w->db[h], name), w->db[h], "beck_topic_delete"));
}

static void value_of(uint32_t number, uint32_t bytes, char *to)
{
    int n = snprintf(to, bytes + 1, "%u ", number);
    if ((uint32_t)n < bytes) memset(to + n, 'a' + (int)(number % 26), bytes - (uint32_t)n);
}

static int appended(struct world *w, int h, const char *name, uint32_t partition, uint32_t count,
                    uint32_t bytes, uint32_t sync)
{
    static _Thread_local char values[16][70000];
    beck_record records[16];
    uint32_t t = topic_number(w, name);
    if (w->db[h] == NULL || w->topic[h][t] == NULL) return -1;
    uint32_t first = __atomic_fetch_add(&w->notes_used, count, __ATOMIC_RELAXED);
    MUST(first + count <= NOTES, "too many");
    for (uint32_t i = 0; i < count; i++) {
        uint32_t number = first + i;
        w->notes[number] = (struct note){t, partition, bytes, UNCERTAIN, false, -1};
        value_of(number, bytes, values[i]);
        records[i] = (beck_record){.value = values[i], .value_size = bytes};
    }
    int64_t offset = -1;
    beck_append_options options = {.size = sizeof options, .sync = sync};
    int rc = judged(
        beck_append_with(w->topic[h][t], (int32_t)partition, records, count, &options, &offset),
        w->db[h], "beck_append");
    for (uint32_t i = 0; i < count; i++) {
        w->notes[first + i].fate = fate_of(rc);
        w->notes[first + i].offset = rc == 0 ? offset + i : -1;
    }
    return rc;
}

static bool consumer_opened(struct world *w, int h, int c, const char *name, uint32_t flags)
{
    if (w->db[h] == NULL) return false;
    beck_consumer_config config = {
        .size = sizeof config, .topics = &name, .topic_count = 1, .flags = flags};
    w->consumer_of[c] = topic_number(w, name);
    if (w->topics[w->consumer_of[c]].there != ACKNOWLEDGED) return false;
    return judged(beck_consumer_open(w->db[h], &config, &w->consumer[c]), w->db[h],
                  "beck_consumer_open") == 0;
}

/* A record as it was read must be one that was appended, and not refused. */
static void check_record(struct world *w, uint32_t topic, const beck_record *r)
{
    static char right[70001];
    char digits[12] = {0};
    memcpy(digits, r->value, r->value_size < 11 ? r->value_size : 11);
    uint32_t number = (uint32_t)strtoul(digits, NULL, 10);
    MUST(number < w->notes_used, "a record nobody appended: %s", digits);
    struct note *n = &w->notes[number];
    MUST(n->topic == topic && n->partition == (uint32_t)r->partition && n->bytes == r->value_size,
         "record %u is in the wrong place", number);
    value_of(number, n->bytes, right);
    MUST(memcmp(right, r->value, n->bytes) == 0, "record %u is torn", number);
    MUST(n->fate != REFUSED, "record %u was refused and is there", number);
    MUST(n->offset < 0 || n->offset == r->offset, "record %u has offset %lld, not %lld", number,
         (long long)r->offset, (long long)n->offset);
    n->offset = r->offset;
    n->seen = true;
}

/* Read what there is; how many records, or the error. */
static int polled(struct world *w, int h, int c)
{
    const beck_record *records;
    size_t count = 1;
    int sum = 0;
    if (w->consumer[c] == NULL) return -1;
    while (count > 0) {
        int rc = judged(beck_poll(w->consumer[c], 7, 0, &records, &count), w->db[h], "beck_poll");
        MUST(rc != BECK_EVENT || was_cut, "records are missing");
        if (rc < 0) return rc;
        for (size_t i = 0; i < count; i++) check_record(w, w->consumer_of[c], &records[i]);
        sum += (int)count;
    }
    return sum;
}

static void looked(struct world *w, int h, const char *name)
{
    beck_stat_info stat = {.size = sizeof stat};
    const beck_handle_info *const *handles;
    const beck_topic_info *const *topics;
    const beck_topic_info *one;
    size_t count;
    if (w->db[h] == NULL) return;
    judged(beck_stat(w->db[h], &stat), w->db[h], "beck_stat");
    judged(beck_handles(w->db[h], &handles, &count), w->db[h], "beck_handles");
    judged(beck_topic_list(w->db[h], &topics, &count), w->db[h], "beck_topic_list");
    judged(beck_topic_describe(w->db[h], name, &one), w->db[h], "beck_topic_describe");
}

static int print_finding(void *context, const char *finding)
{
    (void)context;
    fprintf(stderr, "%s%s\n", point, finding);
    return 0;
}

static void checked(struct world *w, int h)
{
    if (w->db[h] != NULL)
        judged(beck_check(w->db[h], print_finding, NULL, NULL, NULL), w->db[h], "beck_check");
}

/* ---- The file after a round ---- */

static uint32_t open_descriptors(void)
{
    uint32_t count = 0;
    for (int fd = 0; fd < 64; fd++)
        if (fcntl(fd, F_GETFD) >= 0) count++;
    return count;
}

static void check_topic(beck *db, struct world *w, uint32_t t)
{
    struct topic_note *note = &w->topics[t];
    const beck_topic_info *info;
    int rc = beck_topic_describe(db, note->name, &info);
    bool there = rc == 0;
    for (uint32_t i = 0; there && i < w->topics_used; i++) /* made once more after it was deleted */
        if (i != t && strcmp(w->topics[i].name, note->name) == 0 && i > t) return;
    MUST(rc == 0 || rc == BECK_NOT_FOUND, "%s: %s", note->name, beck_errmsg(db));
    MUST(!there || note->there != REFUSED, "topic %s was refused and is there", note->name);
    MUST(!there || note->deleted != ACKNOWLEDGED, "topic %s was deleted, and is there", note->name);
    MUST(there || note->there != ACKNOWLEDGED || note->deleted != REFUSED, "topic %s is lost",
         note->name);
    if (!there) return;
    MUST(note->partitions == 0 || info->config->partitions == note->partitions,
         "topic %s has %u partitions, not %u", note->name, info->config->partitions,
         note->partitions);
    const char *name = note->name;
    beck_consumer_config config = {.size = sizeof config, .topics = &name, .topic_count = 1};
    beck_consumer *consumer = NULL;
    const beck_record *records;
    size_t count = 1;
    OK(db, beck_consumer_open(db, &config, &consumer));
    for (uint32_t n = 0; n < w->notes_used; n++) w->notes[n].seen = false;
    while (count > 0) {
        rc = beck_poll(consumer, 1000, 0, &records, &count);
        MUST(rc == 0, "%s: %s: %s", name, beck_status_name(rc), beck_errmsg(db));
        for (size_t i = 0; i < count; i++) check_record(w, t, &records[i]);
    }
    beck_consumer_close(consumer);
    for (uint32_t n = 0; n < w->notes_used; n++)
        MUST(w->notes[n].topic != t || w->notes[n].seen || w->notes[n].offset < 0,
             "record %u of %s, offset %lld, is lost", n, name, (long long)w->notes[n].offset);
}

static void check_file(struct world *w)
{
    beck *db = NULL;
    beck_stat_info stat = {.size = sizeof stat};
    fault_kind = FAULT_KINDS;
    beck_options options = {.size = sizeof options, .flags = WRITE_FLAGS};
    int rc = beck_open(file_name, &options, &db);
    MUST(rc == 0, "open again: %s: %s", beck_status_name(rc), beck_errmsg(db));
    snprintf(point + strlen(point), sizeof point - strlen(point), "%.300s",
             beck_recovery_report(db));
    for (uint32_t t = 0; t < w->topics_used; t++) check_topic(db, w, t);
    rc = beck_check(db, print_finding, NULL, NULL, NULL);
    MUST(rc == 0, "beck_check: %s", beck_errmsg(db));
    OK(db, beck_stat(db, &stat));
    MUST(stat.handles == 1 && !stat.poisoned, "%u handles, poison %u", stat.handles, stat.poisoned);
    beck_topic *topic;
    OK(db, beck_topic_open(db, "afterwards", NULL, &topic));
    OK(db, append_text(topic, 0, "works"));
    rc = beck_close(db);
    MUST(rc == 0, "close: %s", beck_errmsg(NULL));
}

#endif
