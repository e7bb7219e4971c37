/* deeds.c -- what the processes of a run do, and what the oracle learns of it */
#include "deeds.h"

#include <string.h>

#include "tally.h"

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

/* May a call fail with this? Faults of the system do everything; what others do may be in the
 * way. */
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
    if (rc == 0 && !a->readonly) os_sim_opened(sim_world());
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

const uint8_t *padding_from(struct chance *c, uint32_t bytes)
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
    s->oracle.ops[index] = (struct op){.topic = t.id,
                                       .partition = partition,
                                       .count = (uint16_t)batch,
                                       .offset = -1,
                                       .sync = t.class == BECK_SYNC_SYNC};
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
    s->acknowledged[index] = rc == 0 ? sim_world()->now : 0;
    note_frame(&s->oracle.ops[index], values[own]);
    const struct known_topic *now = oracle_topic(&s->oracle, t.id);
    bool sync = t.class == BECK_SYNC_SYNC && now != NULL && now->class == BECK_SYNC_SYNC;
    append_done(s, index, rc, offset, more || sync);
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
    /* They are valid until the next call, whatever others do meanwhile; but for a failed sync,
     * after which the page cache may show older bytes again. */
    bool may_hold = !a->s->faults && chance_one_in(&a->chance, 3);
    uint32_t hold = may_hold ? chance_below(&a->chance, 600) : 0;
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

/* More partitions, or the other class: then what was acknowledged in the old one stays so. */
static void do_alter(struct actor *a)
{
    uint32_t n = pick_topic(a);
    char name[8];
    if (!a->admin || n == NAMES_MAX) return;
    struct known_topic *t = &a->s->oracle.topics[n];
    beck_topic_config config = {.size = sizeof config};
    topic_name(n, name);
    if (t->partitions < PARTS_MAX && chance_one_in(&a->chance, 2)) {
        t->altering = config.partitions = t->partitions + 1;
    } else {
        config.sync = t->class == BECK_SYNC_SYNC ? BECK_SYNC_OS : BECK_SYNC_SYNC;
        t->class = BECK_SYNC_OS; /* which promises less, while it is not known */
        for (uint32_t i = 0; i < a->s->oracle.op_count; i++)
            if (a->s->oracle.ops[i].topic == t->id) a->s->oracle.ops[i].sync = false;
    }
    trace("alter %s: %u partitions, class %u", name, config.partitions, config.sync);
    call_begins();
    int rc = beck_topic_alter(a->db, name, &config);
    call_ends(a->s, "alter", rc);
    if (rc != BECK_POISONED) may_fail(rc, a->db, "alter");
    if (rc < 0) return;
    if (config.partitions != 0) t->partitions = config.partitions;
    if (config.sync != 0) t->class = config.sync;
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
_Static_assert(sizeof deeds / sizeof deeds[0] == DEEDS, "each has its weight");

void live(void *argument)
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
