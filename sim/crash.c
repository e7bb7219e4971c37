/* crash.c -- runs worlds from seeds, loses power in them, and looks at what is left
 *
 *     crash [--images N] [--seed S] [--jobs J] [--run SEED] [--keep FOLDER]
 *
 * A run is one world: a few processes append, read, create and delete topics, come and go, are killed
 * and stopped. Around each change of the disk there may be a crash: then another world begins with what
 * it leaves, in which a process opens the file, and all that was promised has to be there. In that one,
 * too, there may be a crash, and so on. */
#include <stdarg.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "oracle.h"

#define DEEPEST 3
#define RUN_STEPS 60000u

enum counter {
    COUNT_IMAGES,
    COUNT_NESTED,
    COUNT_KILLED, /* images in which only the processes are lost */
    COUNT_DAMAGED,
    COUNT_RUNS,
    COUNT_CALLS,
    COUNT_KILLS,
    COUNT_STOPS,
    COUNT_FAULTS,
    COUNT_POISONED,
    COUNT_SWITCHES,
    COUNTERS
};

static const char *const counter_names[COUNTERS] = {"crash images",
                                                    "of them crashes in a recovery",
                                                    "of them of processes only",
                                                    "damaged images",
                                                    "runs",
                                                    "calls of the library",
                                                    "processes killed",
                                                    "processes stopped",
                                                    "faults injected",
                                                    "runs with a failed sync",
                                                    "points passed"};

struct shared { /* by the jobs */
    _Atomic uint64_t counts[COUNTERS];
    _Atomic uint64_t next_run;
    _Atomic uint32_t failed;
};

static struct shared *shared;
static uint64_t first_seed = 1, images_wanted = 100000;
static const char *keep_folder;
static uint64_t current_run;

static void count(enum counter which)
{
    shared->counts[which]++;
}

static bool tracing;

/* What happened, with --trace: depth of the world, step, process. */
static void trace(const char *format, ...) __attribute__((format(printf, 1, 2)));

static void trace(const char *format, ...)
{
    const struct world *w = sim_world();
    va_list args;
    if (!tracing) return;
    if (w != NULL)
        fprintf(stderr, "%*s%d.%llu [%u] ", w->depth * 4, "", w->depth,
                (unsigned long long)w->steps, sim_self() == NULL ? 0 : sim_self()->number);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
}

/* ---- Scenario: what a run is about ---- */

struct scenario {
    struct oracle oracle; /* first: of inspected worlds, too */
    uint32_t life;        /* calls of a process */
    uint32_t weights[12];
    uint32_t image_one_in;
    uint32_t stop_one_in, kill_one_in; /* mischief, of points */
    uint32_t padding;
    uint32_t sync_share; /* of topics, in 8 */
    uint32_t spawned;
    uint32_t names; /* of topics that are created */
    bool stops, faults;
    int64_t acknowledged[OPS_MAX]; /* when, in us */
};

struct actor { /* a process of a run */
    struct scenario *s;
    struct chance chance;
    beck *db;
    beck_consumer *consumer;
    int64_t next[NAMES_MAX][PARTS_MAX];
    uint64_t ids[NAMES_MAX];
    int64_t poll_began, polled_at; /* us */
    bool admin;                    /* creates and deletes topics: one process does */
    bool readonly;                 /* only reads, and follows the others */
};

static void call_begins(void)
{
    struct process *p = sim_self();
    p->call_began = sim_world()->now + 1;
    count(COUNT_CALLS);
}

/* A dead process stops nobody. */
static void call_ends(const struct scenario *s, const char *what, int rc)
{
    struct process *p = sim_self();
    trace("%s: %d", what, rc);
    int64_t took = sim_world()->now + 1 - p->call_began;
    p->call_began = 0;
    if (took > 3000000 && !s->stops) sim_violation("%s took %lld ms", what, (long long)took / 1000);
}

/* May a call fail with this? Faults of the system do everything; what others do may be in the way. */
static void may_fail(int rc, beck *db, const char *what)
{
    struct world *w = sim_world();
    if (rc >= 0 || w->faults > 0) return;
    if (rc == BECK_DELETED || rc == BECK_NOT_FOUND || rc == BECK_FULL || rc == BECK_BUSY ||
        rc == BECK_EXISTS)
        return;
    sim_violation("%s: %d, %s", what, rc, beck_errmsg(db));
}

/* ---- What processes do ---- */

static bool actor_open(struct actor *a)
{
    call_begins();
    beck_options options = {.size = sizeof options, .busy_timeout_ms = 60000};
    if (a->readonly) options.flags = BECK_OPEN_READONLY;
    int rc = beck_open("sim.beck", &options, &a->db);
    call_ends(a->s, a->readonly ? "open read-only" : "open", rc);
    if (!a->readonly || rc != BECK_NOT_BECK) may_fail(rc, a->db, "open");
    if (rc == 0) return true;
    beck_close(a->db);
    a->db = NULL;
    return false;
}

static void actor_close(struct actor *a)
{
    beck_consumer_close(a->consumer);
    a->consumer = NULL;
    call_begins();
    int rc = beck_close(a->db);
    call_ends(a->s, "close", rc);
    a->db = NULL;
    if (rc < 0 && sim_world()->faults == 0 && rc != BECK_BUSY && rc != BECK_FULL)
        sim_violation("close: %d", rc);
}

static uint32_t pick_topic(struct actor *a)
{
    uint32_t from = chance_below(&a->chance, NAMES_MAX);
    for (uint32_t i = 0; i < NAMES_MAX; i++) {
        uint32_t n = (from + i) % NAMES_MAX;
        if (a->s->oracle.topics[n].id != 0) return n;
    }
    return NAMES_MAX;
}

static uint32_t batch_size(struct actor *a)
{
    uint32_t n = chance_below(&a->chance, 16);
    return n < 10 ? 1 : n < 15 ? 2 + chance_below(&a->chance, 4) : 12;
}

static void append_done(struct scenario *s, uint32_t index, int rc, int64_t offset, bool power)
{
    struct op *op = &s->oracle.ops[index];
    if (rc == 0 && s->oracle.lossy && !power) return;
    if (rc == 0) {
        if (op->outcome == OUTCOME_THERE && op->offset != offset)
            sim_violation("append %u was seen at %lld, and is at %lld", index,
                          (long long)op->offset, (long long)offset);
        op->outcome = OUTCOME_THERE;
        op->offset = offset;
        struct known_topic *t = oracle_topic(&s->oracle, op->topic);
        if (t != NULL)
            oracle_need(t, op->partition, power ? LEVEL_POWER : LEVEL_KILL, offset + op->count);
        return;
    }
    if (rc == BECK_UNKNOWN || rc == BECK_POISONED || rc == BECK_DELETED) return;
    if (op->outcome == OUTCOME_THERE)
        sim_violation("append %u was seen, and then refused: %d", index, rc);
    op->outcome = OUTCOME_NOT;
}

/* What records are made of: noise; or what lies in the file, so that there are frames in records,
 * which nobody shall take for the partition's own. */
static const uint8_t *padding_from(struct chance *c, uint32_t bytes)
{
    static uint8_t noise[VALUE_MAX + 4096];
    const struct disk *d = &sim_world()->disk;
    struct chance n = {7};
    for (uint32_t i = 0; noise[0] == 0 && i < sizeof noise; i++)
        noise[sizeof noise - 1 - i] = (uint8_t)(chance_next(&n) >> 32) | 1;
    if (d->size > 327680 + bytes && chance_one_in(c, 4))
        return d->cache + 262144 + chance_below(c, (uint32_t)d->size - 262144 - bytes);
    return noise + chance_below(c, 4096);
}

/* Open a topic of the oracle. Was it deleted meanwhile, then opening it has made another one. */
static bool open_known(struct actor *a, uint32_t n, beck_topic **topic)
{
    struct known_topic *t = &a->s->oracle.topics[n];
    const beck_topic_info *info;
    char name[8];
    topic_name(n, name);
    call_begins();
    t->openers++;
    int rc = beck_topic_open(a->db, name, NULL, topic);
    if (rc != BECK_POISONED) may_fail(rc, a->db, "topic_open");
    if (rc == 0) rc = beck_topic_describe(a->db, name, &info);
    call_ends(a->s, "opening a topic", rc);
    t->openers--;
    if (rc == 0 && t->id == info->id) return true;
    if (rc == 0 && info->id > t->last) {
        *t = (struct known_topic){.id = info->id,
                                  .last = info->id,
                                  .partitions = info->config->partitions,
                                  .class = info->config->sync,
                                  .openers = t->openers};
        return true;
    }
    t->creating = true;
    return false;
}

/* The last write of the call was that of its frame, if the value is in it. */
static void note_frame(struct op *op, const uint8_t *value)
{
    const struct process *p = sim_self();
    const uint8_t *cache = sim_world()->disk.cache;
    if (memmem(cache + p->wrote_at, p->wrote_bytes, value, 40) == NULL) return;
    op->at = p->wrote_at;
    op->bytes = (uint32_t)p->wrote_bytes;
}

static void do_append(struct actor *a)
{
    static uint8_t values[PROCESSES_MAX * 16][VALUE_MAX];
    struct scenario *s = a->s;
    uint32_t n = pick_topic(a), index = s->oracle.op_count, batch = batch_size(a);
    beck_record records[16] = {{0}};
    beck_topic *topic;
    char name[8];
    if (n == NAMES_MAX || index == OPS_MAX) return;
    if (!open_known(a, n, &topic)) return;
    const struct known_topic t = s->oracle.topics[n];
    topic_name(n, name);
    if (s->oracle.op_count == OPS_MAX) return;
    index = s->oracle.op_count++;
    uint32_t partition = chance_below(&a->chance, t.partitions);
    s->oracle.ops[index] =
        (struct op){.topic = t.id, .partition = partition, .count = (uint16_t)batch, .offset = -1};
    bool large = chance_one_in(&a->chance, 40);
    uint32_t own = (uint32_t)(sim_self() - sim_world()->processes) * 16;
    for (uint32_t k = 0; k < batch; k++) {
        uint32_t padding = large ? 30000 / batch : chance_below(&a->chance, s->padding);
        records[k].value = values[own + k];
        records[k].value_size = value_fill(values[own + k], &s->oracle, index, k,
                                           padding_from(&a->chance, padding), padding);
    }
    bool more = t.class == BECK_SYNC_OS && chance_one_in(&a->chance, 6);
    beck_append_options options = {.size = sizeof options,
                                   .sync = more ? BECK_SYNC_SYNC : BECK_SYNC_DEFAULT};
    int64_t offset = -1;
    trace("append %u: %u records to %s:%u", index, batch, name, partition);
    int rc = beck_append_with(topic, (int32_t)partition, records, batch, &options, &offset);
    if (rc != BECK_UNKNOWN && rc != BECK_POISONED) may_fail(rc, a->db, "append");
    s->acknowledged[index] = sim_world()->now;
    note_frame(&s->oracle.ops[index], values[own]);
    append_done(s, index, rc, offset, more || t.class == BECK_SYNC_SYNC);
    call_ends(s, "append", rc);
    if (rc == BECK_POISONED && sim_world()->faults == 0) sim_violation("poisoned for no reason");
}

static bool consumer_open(struct actor *a)
{
    char bytes[NAMES_MAX][8];
    const char *names[NAMES_MAX];
    size_t n = 0;
    for (uint32_t i = 0; i < NAMES_MAX; i++) {
        a->ids[i] = a->s->oracle.topics[i].id;
        memset(a->next[i], 0, sizeof a->next[i]);
        if (a->ids[i] == 0) continue;
        topic_name(i, bytes[n]);
        names[n] = bytes[n];
        n++;
    }
    beck_consumer_config config = {.size = sizeof config, .topics = names, .topic_count = n};
    if (n == 0) return false;
    if (chance_one_in(&a->chance, 4)) config.flags = BECK_CONSUME_COPY;
    int rc = beck_consumer_open(a->db, &config, &a->consumer);
    may_fail(rc, a->db, "consumer_open");
    if (rc < 0) a->consumer = NULL;
    return rc == 0;
}

/* Who waits for a record is woken as soon as it is there, not when it looks again. */
static void woken_in_time(const struct actor *a, uint32_t op)
{
    int64_t there = a->s->acknowledged[op], late = a->polled_at - there;
    if (a->readonly || a->s->stops || there == 0 || there < a->poll_began) return;
    if (late > 50000) sim_violation("a reader was woken %lld ms late", (long long)late / 1000);
}

static void see(struct actor *a, const beck_record *r)
{
    uint32_t name = (uint32_t)(r->topic[1] - '0');
    uint64_t now = a->s->oracle.topics[name].id;
    woken_in_time(a, oracle_seen(&a->s->oracle, r));
    if (now != a->ids[name] || now == 0) return; /* made anew meanwhile */
    int64_t *next = &a->next[name][r->partition];
    if (r->offset != *next && !sim_world()->sync_failed)
        sim_violation("a reader gets %s:%d record %lld behind %lld", r->topic, r->partition,
                      (long long)r->offset, (long long)*next - 1);
    *next = r->offset + 1;
}

static void do_poll(struct actor *a)
{
    const beck_record *records;
    size_t got = 0;
    if (a->consumer == NULL && !consumer_open(a)) return;
    call_begins();
    a->poll_began = sim_world()->now;
    int timeout = chance_one_in(&a->chance, 3) ? (int)chance_below(&a->chance, 150) : 0;
    int rc = beck_poll(a->consumer, 1 + chance_below(&a->chance, 20), timeout, &records, &got);
    call_ends(a->s, "poll", rc);
    a->polled_at = sim_world()->now;
    /* They are valid until the next call, whatever others do meanwhile. */
    uint32_t hold = chance_one_in(&a->chance, 3) ? chance_below(&a->chance, 600) : 0;
    for (uint32_t i = 0; rc == 0 && i < hold; i++) sim_point(NULL);
    for (size_t i = 0; rc == 0 && i < got; i++) see(a, &records[i]);
    if (rc == BECK_EVENT && !sim_world()->sync_failed) {
        beck_event_info e = {.size = sizeof e};
        beck_event(a->consumer, &e);
        struct known_topic *t = &a->s->oracle.topics[e.topic[1] - '0'];
        if (t->id != 0 && !t->deleting && t->id == a->ids[e.topic[1] - '0'])
            sim_violation("a reader is told of a gap in %s:%d: %lld to %lld", e.topic, e.partition,
                          (long long)e.from, (long long)e.to);
    }
    may_fail(rc, a->db, "poll");
    if (rc < 0 || chance_one_in(&a->chance, 30)) {
        beck_consumer_close(a->consumer);
        a->consumer = NULL;
    }
}

static void do_sync(struct actor *a)
{
    struct oracle *o = &a->s->oracle;
    struct known_topic before[NAMES_MAX];
    memcpy(before, o->topics, sizeof before);
    call_begins();
    int rc = beck_sync(a->db);
    call_ends(a->s, "sync", rc);
    if (rc != BECK_POISONED) may_fail(rc, a->db, "sync");
    for (uint32_t i = 0; rc == 0 && i < NAMES_MAX; i++)
        for (uint32_t p = 0; before[i].id == o->topics[i].id && p < PARTS_MAX; p++)
            oracle_need(&o->topics[i], p, LEVEL_POWER, before[i].need[LEVEL_KILL][p]);
}

static void do_create(struct actor *a)
{
    uint32_t n = chance_below(&a->chance, a->s->names);
    struct known_topic *t = &a->s->oracle.topics[n];
    char name[8];
    if (!a->admin || t->id != 0 || t->creating) return;
    bool sync = chance_below(&a->chance, 8) < a->s->sync_share;
    beck_topic_config config = {.size = sizeof config,
                                .partitions = 1 + chance_below(&a->chance, PARTS_MAX - 1),
                                .sync = sync ? BECK_SYNC_SYNC : BECK_SYNC_OS,
                                .flush_ms = chance_one_in(&a->chance, 4) ? 5 : 0};
    topic_name(n, name);
    *t = (struct known_topic){.creating = true, .last = t->last, .openers = t->openers};
    trace("create %s", name);
    call_begins();
    int rc = beck_topic_create(a->db, name, &config);
    call_ends(a->s, "create", rc);
    if (rc != BECK_POISONED) may_fail(rc, a->db, "create");
    const beck_topic_info *info;
    if (rc == 0) rc = beck_topic_describe(a->db, name, &info);
    /* Failed: it may be there or not, and nobody uses it. It exists: made by who opened it. */
    if (rc < 0 || info->id <= t->last) return;
    t->id = info->id;
    t->partitions = config.partitions;
    t->class = config.sync;
    t->creating = false;
    t->last = info->id;
}

static void do_delete(struct actor *a)
{
    uint32_t n = pick_topic(a);
    char name[8];
    if (!a->admin || n == NAMES_MAX) return;
    struct known_topic *t = &a->s->oracle.topics[n];
    topic_name(n, name);
    uint64_t id = t->id;
    t->deleting = true;
    trace("delete %s", name);
    call_begins();
    int rc = beck_topic_delete(a->db, name);
    call_ends(a->s, "delete", rc);
    if (rc != BECK_POISONED) may_fail(rc, a->db, "delete");
    if (rc == 0 && t->id == id) *t = (struct known_topic){.last = t->last, .openers = t->openers};
}

static void do_alter(struct actor *a)
{
    uint32_t n = pick_topic(a);
    char name[8];
    if (!a->admin || n == NAMES_MAX || a->s->oracle.topics[n].partitions == PARTS_MAX) return;
    struct known_topic *t = &a->s->oracle.topics[n];
    beck_topic_config config = {.size = sizeof config, .partitions = t->partitions + 1};
    topic_name(n, name);
    t->altering = config.partitions;
    call_begins();
    int rc = beck_topic_alter(a->db, name, &config);
    call_ends(a->s, "alter", rc);
    if (rc != BECK_POISONED) may_fail(rc, a->db, "alter");
    if (rc < 0) return;
    t->partitions = config.partitions;
    t->altering = 0;
}

static void do_look(struct actor *a)
{
    beck_stat_info info = {.size = sizeof info};
    const beck_handle_info *const *list;
    const beck_topic_info *described;
    size_t handles;
    char name[8];
    uint32_t n = pick_topic(a);
    call_begins();
    may_fail(beck_stat(a->db, &info), a->db, "stat");
    may_fail(beck_handles(a->db, &list, &handles), a->db, "handles");
    if (n != NAMES_MAX) {
        struct known_topic *t = &a->s->oracle.topics[n];
        topic_name(n, name);
        if (beck_topic_describe(a->db, name, &described) == 0 && described->id == t->id)
            for (uint32_t p = 0; p < t->partitions && p < described->config->partitions; p++)
                oracle_need(t, p, LEVEL_POWER, described->partitions[p]->stable_offset);
    }
    call_ends(a->s, "looking", 0);
}

typedef void (*deed)(struct actor *a);
static const deed deeds[] = {do_append, do_poll, do_sync, do_create, do_delete, do_alter, do_look};
#define DEEDS (sizeof deeds / sizeof deeds[0])

static void live(void *argument)
{
    struct scenario *s = argument;
    struct actor a = {.s = s, .chance = {chance_next(&sim_world()->chance)}};
    uint32_t all = 0;
    a.admin = s->spawned++ == 0; /* one at a time, whose deeds are not in each other's way */
    a.readonly = !a.admin && chance_one_in(&a.chance, 5);
    for (uint32_t i = 0; i < DEEDS; i++) all += s->weights[i];
    if (!actor_open(&a)) return;
    if (a.admin) do_create(&a);
    for (uint32_t i = 0; i < s->life; i++) {
        uint32_t at = chance_below(&a.chance, all), d = 0;
        while (at >= s->weights[d]) at -= s->weights[d++];
        (a.readonly ? do_poll : deeds[d])(&a);
        if (!chance_one_in(&a.chance, 60)) continue;
        actor_close(&a);
        if (!actor_open(&a)) return;
    }
    actor_close(&a);
}

/* ---- Looking at what a crash left ---- */

struct inspection {
    struct oracle oracle;
    enum level level;
    struct chance chance;
    bool fault_first;
};

static void look_readonly(struct inspection *in)
{
    beck_options options = {.size = sizeof options, .flags = BECK_OPEN_READONLY};
    static struct oracle copy[8];
    beck *db;
    if (!sim_world()->disk.exists) return;
    int rc = beck_open("sim.beck", &options, &db);
    trace("opened read-only: %d", rc);
    if (rc == 0) {
        struct oracle *o = &copy[sim_world()->depth];
        *o = in->oracle;
        oracle_compare(o, db, in->level, true);
        /* What a reader was shown must be there for the next one. */
        for (uint32_t i = 0; i < NAMES_MAX; i++)
            if (o->topics[i].class != BECK_SYNC_SYNC)
                memcpy(o->topics[i].need, in->oracle.topics[i].need, sizeof o->topics[i].need);
        in->oracle = *o;
    } else if (rc != BECK_NOT_BECK) {
        sim_violation("read-only: %d, %s", rc, beck_errmsg(db));
    }
    beck_close(db);
}

static int read_write_open(struct inspection *in, beck **db)
{
    struct world *w = sim_world();
    beck_options options = {.size = sizeof options, .busy_timeout_ms = 60000};
    if (in->fault_first) {
        w->fault = (enum fault)(FAULT_READ + chance_below(&in->chance, FAULT_KINDS - FAULT_READ));
        w->fault_in = 1 + chance_below(&in->chance, w->fault == FAULT_MEMORY ? 120 : 60);
        w->fault_for_ever = chance_one_in(&in->chance, 2);
        int rc = beck_open("sim.beck", &options, db);
        trace("opened with a fault of kind %d: %d, %u faults", w->fault, rc, w->faults);
        w->fault = FAULT_NONE;
        if (w->sync_failed) in->level = LEVEL_POWER; /* the page cache may be lost */
        if (rc == 0 && !w->sync_failed) return rc;
        beck_close(*db);
    }
    return beck_open("sim.beck", &options, db);
}

static void append_somewhere(struct inspection *in, beck *db)
{
    static uint8_t value[VALUE_MAX];
    struct oracle *o = &in->oracle;
    char name[8];
    for (uint32_t i = 0; i < NAMES_MAX; i++) {
        struct known_topic *t = &o->topics[i];
        for (uint32_t p = 0; t->id != 0 && p < t->partitions && o->op_count < OPS_MAX; p++) {
            beck_topic *topic;
            int64_t offset = -1;
            uint32_t index = o->op_count++;
            if (chance_one_in(&in->chance, 3)) {
                o->ops[index] = (struct op){.topic = t->id, .outcome = OUTCOME_NOT};
                continue;
            }
            topic_name(i, name);
            o->ops[index] = (struct op){.topic = t->id, .partition = p, .count = 1, .offset = -1};
            beck_record r = {.value = value, .partition = (int32_t)p};
            uint32_t padding = chance_below(&in->chance, 900);
            r.value_size =
                value_fill(value, o, index, 0, padding_from(&in->chance, padding), padding);
            int rc = beck_topic_open(db, name, NULL, &topic);
            if (rc == 0) rc = beck_append(topic, &r, &offset);
            if (rc == BECK_FULL) {
                o->ops[index].outcome = OUTCOME_NOT;
                continue;
            }
            if (rc < 0) sim_violation("append after recovery: %d, %s", rc, beck_errmsg(db));
            if (offset < t->need[LEVEL_KILL][p])
                sim_violation("%s:%u: offset %lld was given twice", name, p, (long long)offset);
            o->ops[index].outcome = OUTCOME_THERE;
            o->ops[index].offset = offset;
            bool power = t->class == BECK_SYNC_SYNC;
            oracle_need(t, p, power ? LEVEL_POWER : LEVEL_KILL, offset + 1);
        }
    }
}

static void change_topics(struct inspection *in, beck *db)
{
    uint32_t n = chance_below(&in->chance, NAMES_MAX);
    struct known_topic *t = &in->oracle.topics[n];
    char name[8];
    topic_name(n, name);
    if (t->id != 0) {
        t->deleting = true;
        int rc = beck_topic_delete(db, name);
        trace("delete %s: %d", name, rc);
        if (rc == 0) *t = (struct known_topic){.last = t->last};
        if (rc < 0 && rc != BECK_FULL) sim_violation("delete after recovery: %s", beck_errmsg(db));
        return;
    }
    t->creating = true;
    int rc = beck_topic_create(db, name, NULL);
    const beck_topic_info *info;
    if (rc == 0) rc = beck_topic_describe(db, name, &info);
    if (rc == BECK_FULL) return;
    if (rc < 0) sim_violation("create after recovery: %s", beck_errmsg(db));
    *t = (struct known_topic){
        .id = info->id, .last = info->id, .partitions = 1, .class = BECK_SYNC_SYNC};
}

static int note_finding(void *context, const char *finding)
{
    strncpy(context, finding, 199);
    return 0;
}

static void inspect(void *argument)
{
    char finding[200] = {0};
    struct inspection *in = argument;
    beck *db;
    if (chance_one_in(&in->chance, 8)) look_readonly(in);
    int rc = read_write_open(in, &db);
    if (rc < 0) sim_violation("open: %d, %s", rc, beck_errmsg(db));
    if (strstr(beck_recovery_report(db), "damaged") != NULL)
        sim_violation("damage: %s", beck_recovery_report(db));
    trace("opened; report: %s", beck_recovery_report(db));
    oracle_compare(&in->oracle, db, in->level, true);
    in->level = LEVEL_KILL; /* what was seen now survives the death of processes */
    append_somewhere(in, db);
    if (chance_one_in(&in->chance, 4)) change_topics(in, db);
    if (chance_one_in(&in->chance, 4)) append_somewhere(in, db);
    rc = beck_close(db);
    if (rc < 0 && rc != BECK_FULL) sim_violation("close after recovery: %d", rc);
    if (!chance_one_in(&in->chance, 4)) return;
    rc = beck_open("sim.beck", NULL, &db);
    if (rc < 0) sim_violation("open after close: %d, %s", rc, beck_errmsg(db));
    oracle_compare(&in->oracle, db, LEVEL_KILL, false);
    if (beck_check(db, note_finding, NULL, finding, NULL) < 0)
        sim_violation("check after recovery: %s", finding);
    rc = beck_close(db);
    if (rc < 0) sim_violation("close: %d", rc);
}

/* ---- Crashes ---- */

static void nested_change(struct world *w);

/* One process opens what is on the disk of `w`. */
static void inspect_world(struct world *w, struct inspection *in, const struct oracle *o,
                          enum level level, uint64_t seed)
{
    in->oracle = *o;
    in->level = level;
    in->chance.state = seed;
    in->fault_first = chance_one_in(&in->chance, 10);
    w->context = in;
    if (w->disk.tracked) w->on_change = nested_change;
    world_spawn(w, inspect, in);
    world_run(w);
    for (uint32_t i = 0; i < w->faults; i++) count(COUNT_FAULTS);
}

static struct world *inner_world(struct world *w, uint64_t seed)
{
    if (w->inner == NULL) w->inner = world_make();
    struct world *inner = w->inner;
    inner->depth = w->depth + 1;
    world_reset(inner, seed, inner->depth < DEEPEST);
    inner->mapped_writes = w->mapped_writes;
    inner->shares = w->shares;
    inner->snapshot_bytes = w->snapshot_bytes;
    return inner;
}

static bool power_loss(struct world *w, const struct oracle *o, const struct loss *loss,
                       uint64_t seed)
{
    static struct inspection in[8];
    struct world *inner = inner_world(w, seed);
    loss_apply(loss, &w->disk, &inner->disk);
    inspect_world(inner, &in[inner->depth], o, LEVEL_POWER, seed);
    return !inner->failed;
}

/* With `copied` it is a copy of the file that is opened: what was in the page cache is in it. */
static bool process_loss(struct world *w, const struct oracle *o, enum level level, bool copied,
                         uint64_t seed)
{
    static struct inspection in[8];
    struct world *inner = inner_world(w, seed);
    loss_of_processes(&w->disk, &inner->disk);
    memcpy(inner->boot_id, w->boot_id, sizeof w->boot_id);
    inner->inode = w->inode + copied;
    inspect_world(inner, &in[inner->depth], o, w->sync_failed ? LEVEL_POWER : level, seed);
    count(COUNT_KILLED);
    return !inner->failed;
}

/* The device forgets a write, puts it elsewhere, flips a bit. What it does not touch must be read, and
 * nothing that was never written. */
struct damage {
    struct oracle oracle;
    uint64_t at, bytes;
};

static void inspect_damage(void *argument)
{
    struct damage *d = argument;
    beck_options options = {.size = sizeof options, .busy_timeout_ms = 60000};
    beck *db;
    int rc = beck_open("sim.beck", &options, &db);
    if (rc < 0) sim_violation("open: %d, %s", rc, beck_errmsg(db));
    oracle_compare_damaged(&d->oracle, db, d->at, d->bytes);
    rc = beck_close(db);
    if (rc < 0) sim_violation("close: %d", rc);
}

static void do_damage(struct disk *disk, struct damage *d, struct chance *c)
{
    uint8_t *page = disk->cache + d->at;
    uint64_t from =
        262144 + chance_below(c, (uint32_t)(disk->size - 262144 - d->bytes)) / 512 * 512;
    switch (chance_below(c, 4)) {
    case 0: memset(page, 0, d->bytes); break;
    case 1: page[chance_below(c, (uint32_t)d->bytes)] ^= (uint8_t)(1 << chance_below(c, 8)); break;
    case 2: memmove(page, disk->cache + from, d->bytes); break;
    default: /* the same place, a little off */
        memmove(page + 8 * (1 + chance_below(c, 60)), page, d->bytes - 512);
        break;
    }
}

static bool damage(struct world *w, const struct oracle *o, struct chance *c)
{
    static struct damage d;
    const struct op *op = &o->ops[chance_below(c, o->op_count)];
    uint64_t seed = chance_next(c);
    d.oracle = *o;
    const struct known_topic *t = oracle_topic(&d.oracle, op->topic);
    if (op->at == 0 || op->outcome != OUTCOME_THERE || w->sync_failed) return true;
    if (t == NULL || t->deleting) return true; /* others may have its space by now */
    if (w->disk.size < 262144 + 65536 || op->at + op->bytes > w->disk.size) return true;
    struct world *inner = inner_world(w, seed);
    inner->disk.tracked = false;
    loss_of_processes(&w->disk, &inner->disk);
    memcpy(inner->boot_id, w->boot_id, sizeof w->boot_id);
    d.bytes = 512u << chance_below(c, 4);
    d.at = op->at / d.bytes * d.bytes;
    do_damage(&inner->disk, &d, c);
    count(COUNT_DAMAGED);
    world_spawn(inner, inspect_damage, &d);
    world_run(inner);
    if (!inner->failed) return true;
    sim_violation("damage at %llu: %s", (unsigned long long)d.at, inner->verdict);
}

/* Take away what does not matter: what is left is the reason. */
static void shrink(struct world *w, const struct oracle *o, struct loss *loss, uint64_t seed)
{
    uint32_t left = 0;
    for (uint32_t i = 0; i < loss->count; i++) {
        struct pick was = loss->picks[i];
        loss->picks[i].how = PICK_NEWEST;
        if (was.how != PICK_NEWEST && power_loss(w, o, loss, seed)) loss->picks[i] = was;
        if (loss->picks[i].how != PICK_NEWEST) left++;
    }
    uint32_t area = loss->area;
    loss->area = 0;
    if (area != 0 && power_loss(w, o, loss, seed)) loss->area = area;
    power_loss(w, o, loss, seed);
    fprintf(stderr, "  shrunk: %u of %u unstable sectors are not what was written last\n", left,
            loss->count);
    static const char *const how[] = {"as before", "newest", "older", "torn", "trashed"};
    for (uint32_t i = 0; i < loss->count; i++)
        if (loss->picks[i].how != PICK_NEWEST)
            fprintf(stderr, "    byte %u: %s (%u)\n", loss->picks[i].sector * SECTOR,
                    how[loss->picks[i].how], loss->picks[i].which);
}

static void keep_image(struct world *w, const struct loss *loss)
{
    char path[4096];
    if (keep_folder == NULL) return;
    struct world *inner = inner_world(w, 1);
    loss_apply(loss, &w->disk, &inner->disk);
    snprintf(path, sizeof path, "%s/crash-%llu.beck", keep_folder, (unsigned long long)current_run);
    FILE *f = fopen(path, "wb");
    if (f == NULL || fwrite(inner->disk.cache, 1, inner->disk.size, f) != inner->disk.size)
        perror(path);
    if (f != NULL && fclose(f) == 0) fprintf(stderr, "  kept: %s\n", path);
}

/* `level`: what the death of all processes here has to leave. */
static void crash_here(struct world *w, const struct oracle *o, enum level level, struct chance *c)
{
    static struct loss losses[8];
    struct loss *loss = &losses[w->depth];
    uint64_t seed = chance_next(c);
    bool power = !chance_one_in(c, 6), copied = !power && chance_one_in(c, 4);
    trace("%s", power    ? "power is lost"
                : copied ? "the file is copied"
                         : "all processes are killed");
    count(COUNT_IMAGES);
    if (w->depth > 0) count(COUNT_NESTED);
    if (power) loss_choose(loss, &w->disk, c);
    bool fine = power ? power_loss(w, o, loss, seed) : process_loss(w, o, level, copied, seed);
    if (fine) return;
    if (w->depth == 0 && power) {
        fprintf(stderr, "run %llu, a crash at step %llu: %s\n", (unsigned long long)current_run,
                (unsigned long long)w->steps, w->inner->verdict);
        shrink(w, o, loss, seed);
    }
    char verdict[sizeof w->inner->verdict];
    memcpy(verdict, w->inner->verdict, sizeof verdict);
    if (w->depth == 0 && power) keep_image(w, loss);
    sim_violation("%s: %s", power ? "crash" : copied ? "copy" : "kill -9 of all", verdict);
}

static void nested_change(struct world *w)
{
    struct inspection *in = w->context;
    if (chance_one_in(&w->chance, w->depth == 1 ? 150 : 250))
        crash_here(w, &in->oracle, in->level, &w->chance);
}

static void change(struct world *w)
{
    struct scenario *s = w->context;
    if (w->sync_failed) oracle_sync_failed(&s->oracle);
    if (s->oracle.op_count > 0 && chance_one_in(&w->chance, 10 * s->image_one_in))
        damage(w, &s->oracle, &w->chance);
    if (chance_one_in(&w->chance, s->image_one_in))
        crash_here(w, &s->oracle, LEVEL_KILL, &w->chance);
}

/* ---- Runs ---- */

static void arm_fault(struct world *w)
{
    static const uint32_t most[FAULT_KINDS] = {1, 400, 600, 600, 60, 60, 2000};
    struct chance *c = &w->chance;
    w->fault = chance_one_in(c, 4)
                   ? FAULT_SYNC
                   : (enum fault)(FAULT_READ + chance_below(c, FAULT_KINDS - FAULT_READ));
    w->fault_in = 1 + chance_below(c, most[w->fault]);
    w->fault_for_ever = chance_one_in(c, 4);
    trace("fault %d in %u%s", w->fault, w->fault_in, w->fault_for_ever ? ", for ever" : "");
}

static void mischief(struct world *w)
{
    struct scenario *s = w->context;
    struct process *p = &w->processes[chance_below(&w->chance, PROCESSES_MAX)];
    w->next_mischief = w->steps + 1 + chance_below(&w->chance, 2 * s->kill_one_in);
    if (s->faults && w->fault == FAULT_NONE) arm_fault(w);
    bool alive = p->state == PROCESS_READY || p->state == PROCESS_WAITS;
    if (alive && p->stopped) {
        p->stopped = false;
    } else if (alive && s->stops && chance_one_in(&w->chance, 2)) {
        p->stopped = true;
        trace("stop %u", p->number);
        count(COUNT_STOPS);
        if (p == w->running) w->next_switch = w->steps;
    } else if (alive) {
        count(COUNT_KILLS);
        trace("kill %u", p->number);
        if (w->steps < RUN_STEPS) world_kill(w, p);
    } else if (w->steps < RUN_STEPS) {
        world_spawn(w, live, s);
    }
}

static void choose_scenario(struct world *w, struct scenario *s)
{
    struct chance *c = &w->chance;
    static const uint32_t weights[] = {12, 6, 1, 2, 1, 1, 1};
    memset(s, 0, sizeof *s);
    for (uint32_t i = 0; i < DEEDS; i++) s->weights[i] = weights[i] + chance_below(c, 3);
    if (chance_one_in(c, 4)) /* topics come and go */
        s->weights[3] = s->weights[4] = 8;
    s->names = chance_one_in(c, 3) ? 1 : NAMES_MAX;
    if (chance_one_in(c, 4)) w->snapshot_bytes = 4096;
    s->life = 5 + chance_below(c, 40);
    s->image_one_in = 2 + chance_below(c, 12);
    s->stops = chance_one_in(c, 2);
    s->kill_one_in = 200u << chance_below(c, 6);
    s->padding = chance_one_in(c, 3) ? 4000 : 300;
    s->sync_share = chance_below(c, 9);
    w->context = s;
    w->on_change = change;
    w->on_mischief = mischief;
    w->alone = false;
    w->by_priority = chance_one_in(c, 2);
    w->switch_one_in = 1u << chance_below(c, 8);
    w->next_switch = 1;
    w->next_mischief = chance_one_in(c, 3) ? UINT64_MAX : 1 + chance_below(c, 2 * s->kill_one_in);
    w->mapped_writes = chance_one_in(c, 2);
    w->shares = !w->mapped_writes;
    s->faults = chance_one_in(c, 2);
    if (s->faults) arm_fault(w);
}

/* Everybody is gone, and the machine is still running. */
static void inspect_end(struct world *w, struct scenario *s)
{
    static struct inspection in;
    w->alone = true;
    w->on_change = NULL;
    w->fault = FAULT_NONE;
    bool failed_sync = w->sync_failed;
    inspect_world(w, &in, &s->oracle, failed_sync ? LEVEL_POWER : LEVEL_KILL,
                  chance_next(&w->chance));
}

static bool run(uint64_t seed)
{
    static struct world *w;
    static struct scenario s;
    if (w == NULL) w = world_make();
    current_run = seed;
    world_reset(w, seed, true);
    choose_scenario(w, &s);
    uint32_t processes = 1 + chance_below(&w->chance, 4);
    for (uint32_t i = 0; i < processes; i++) world_spawn(w, live, &s);
    world_run(w);
    if (!w->failed) inspect_end(w, &s);
    count(COUNT_RUNS);
    shared->counts[COUNT_SWITCHES] += w->steps;
    shared->counts[COUNT_FAULTS] += w->faults;
    if (w->sync_failed) count(COUNT_POISONED);
    if (!w->failed) return true;
    fprintf(stderr, "run %llu: %s\n", (unsigned long long)seed, w->verdict);
    return false;
}

/* ---- Main ---- */

static void on_crash(int number)
{
    char line[100];
    int n = snprintf(line, sizeof line, "run %llu: signal %d\n", (unsigned long long)current_run,
                     number);
    if (write(2, line, (size_t)n) != n) _exit(3);
    signal(number, SIG_DFL);
    raise(number);
}

static void say_which_run(void)
{
    static uint8_t stack[65536];
    stack_t alternative = {.ss_sp = stack, .ss_size = sizeof stack};
    struct sigaction action = {.sa_handler = on_crash, .sa_flags = SA_ONSTACK};
    sigaltstack(&alternative, NULL);
    sigaction(SIGSEGV, &action, NULL);
    sigaction(SIGABRT, &action, NULL);
}

static void work(void)
{
    while (shared->counts[COUNT_IMAGES] < images_wanted && !shared->failed)
        if (!run(first_seed + shared->next_run++)) shared->failed = 1;
}

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void show(double began, bool end)
{
    double took = seconds() - began;
    unsigned long long images = (unsigned long long)shared->counts[COUNT_IMAGES];
    if (!end) {
        fprintf(stderr, "\r%llu crash images, %.0f a second ", images, (double)images / took);
        return;
    }
    if (isatty(2)) fprintf(stderr, "\r\033[K");
    for (uint32_t i = 0; i < COUNTERS; i++)
        printf("%14llu %s\n", (unsigned long long)shared->counts[i], counter_names[i]);
    printf("%14.0f crash images a second\n", (double)images / took);
    printf("%14u violations (seeds from %llu)\n", shared->failed ? 1 : 0,
           (unsigned long long)first_seed);
}

static int run_jobs(uint32_t jobs)
{
    double began = seconds();
    uint32_t running = jobs;
    fflush(NULL);
    for (uint32_t i = 0; i < jobs; i++) {
        if (fork() != 0) continue;
        work();
        fflush(NULL);
        _exit(0);
    }
    while (running > 0) {
        int status;
        pid_t pid = waitpid(-1, &status, WNOHANG);
        if (pid > 0) {
            running--;
            if (status != 0) shared->failed = 1;
            continue;
        }
        if (isatty(2)) show(began, false);
        usleep(100000);
    }
    show(began, true);
    return shared->failed ? 1 : 0;
}

int main(int argc, char **argv)
{
    uint64_t only = 0;
    uint32_t jobs = (uint32_t)sysconf(_SC_NPROCESSORS_ONLN);
    for (int i = 1; i + 1 < argc; i += 2) {
        unsigned long long value = strtoull(argv[i + 1], NULL, 10);
        if (strcmp(argv[i], "--images") == 0) images_wanted = value;
        if (strcmp(argv[i], "--seed") == 0) first_seed = value;
        if (strcmp(argv[i], "--jobs") == 0) jobs = (uint32_t)value;
        if (strcmp(argv[i], "--run") == 0) only = value;
        if (strcmp(argv[i], "--trace") == 0) tracing = value != 0;
        if (strcmp(argv[i], "--keep") == 0) keep_folder = argv[i + 1];
    }
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED) return 2;
    say_which_run();
    if (only == 0) return run_jobs(jobs);
    images_wanted = 0;
    double began = seconds();
    shared->failed = run(only) ? 0 : 1;
    show(began, true);
    return shared->failed ? 1 : 0;
}
