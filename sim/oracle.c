/* oracle.c -- what must be in the file, what may be, and what must not */
#include "oracle.h"

#include <stdio.h>
#include <string.h>

struct stamp { /* each value begins with it; what follows is made from it */
    uint64_t topic;
    uint32_t partition;
    uint32_t op;
    uint16_t k;
    uint16_t count;
    uint32_t size;
    uint64_t hash; /* of what follows */
};

void topic_name(uint32_t index, char name[8])
{
    snprintf(name, 8, "t%u", index);
}

static uint64_t hash_of(const uint8_t *bytes, size_t count)
{
    uint64_t hash = count, word;
    for (; count >= 8; count -= 8, bytes += 8) {
        memcpy(&word, bytes, 8);
        hash = (hash ^ word) * UINT64_C(0x9e3779b97f4a7c15);
        hash ^= hash >> 29;
    }
    for (; count > 0; count--) hash = (hash ^ *bytes++) * UINT64_C(0x100000001b3);
    return hash;
}

uint32_t value_fill(uint8_t *value, const struct oracle *o, uint32_t op, uint32_t k,
                    const uint8_t *padding, uint32_t padding_size)
{
    struct stamp s = {.topic = o->ops[op].topic,
                      .partition = o->ops[op].partition,
                      .op = op,
                      .k = (uint16_t)k,
                      .count = o->ops[op].count,
                      .size = (uint32_t)sizeof s + padding_size,
                      .hash = hash_of(padding, padding_size)};
    memcpy(value, &s, sizeof s);
    memcpy(value + sizeof s, padding, padding_size);
    return s.size;
}

uint32_t value_check(const struct oracle *o, const beck_record *r, uint32_t *k)
{
    struct stamp s;
    const uint8_t *value = r->value;
    if (r->value == NULL || r->value_size < sizeof s)
        sim_violation("%s:%d record %lld: torn, %u bytes", r->topic, r->partition,
                      (long long)r->offset, r->value_size);
    memcpy(&s, value, sizeof s);
    bool whole = s.size == r->value_size && s.op < o->op_count && s.k < s.count;
    if (!whole || hash_of(value + sizeof s, s.size - sizeof s) != s.hash)
        sim_violation("%s:%d record %lld: torn", r->topic, r->partition, (long long)r->offset);
    const struct op *op = &o->ops[s.op];
    if (op->topic != s.topic || op->partition != s.partition || op->count != s.count ||
        op->partition != (uint32_t)r->partition)
        sim_violation("%s:%d record %lld: a stranger, of append %u to topic %llu:%u", r->topic,
                      r->partition, (long long)r->offset, s.op, (unsigned long long)s.topic,
                      s.partition);
    if (op->outcome == OUTCOME_NOT)
        sim_violation("%s:%d record %lld: of append %u, which was refused or lost", r->topic,
                      r->partition, (long long)r->offset, s.op);
    if (op->outcome == OUTCOME_THERE && op->offset + s.k != r->offset)
        sim_violation("%s:%d record %lld: of append %u, which is at %lld", r->topic, r->partition,
                      (long long)r->offset, s.op, (long long)op->offset + s.k);
    *k = s.k;
    return s.op;
}

struct known_topic *oracle_topic(struct oracle *o, uint64_t id)
{
    for (uint32_t i = 0; i < NAMES_MAX; i++)
        if (o->topics[i].id == id && id != 0) return &o->topics[i];
    return NULL;
}

void oracle_need(struct known_topic *t, uint32_t partition, enum level level, int64_t end)
{
    for (int l = 0; l <= (int)level; l++)
        if (t->need[l][partition] < end) t->need[l][partition] = end;
}

uint32_t oracle_seen(struct oracle *o, const beck_record *r)
{
    uint32_t k, op = value_check(o, r, &k);
    struct known_topic *t = oracle_topic(o, o->ops[op].topic);
    if (o->lossy && t != NULL && !(t->class == BECK_SYNC_SYNC && o->ops[op].sync)) return op;
    if (o->ops[op].outcome == OUTCOME_PENDING) {
        o->ops[op].outcome = OUTCOME_THERE;
        o->ops[op].offset = r->offset - k;
    }
    if (t == NULL) return op;
    /* Nobody acts on a record of a `sync` topic that later vanishes. */
    bool power = t->class == BECK_SYNC_SYNC && o->ops[op].sync;
    oracle_need(t, (uint32_t)r->partition, power ? LEVEL_POWER : LEVEL_KILL, r->offset + 1);
    return op;
}

void oracle_sync_failed(struct oracle *o)
{
    if (o->lossy) return;
    o->lossy = true;
    for (uint32_t i = 0; i < o->op_count; i++) {
        struct op *op = &o->ops[i];
        const struct known_topic *t = oracle_topic(o, op->topic);
        if (t == NULL || op->outcome != OUTCOME_THERE) continue;
        if (t->class == BECK_SYNC_SYNC && op->sync) continue;
        if (op->offset + op->count > t->need[LEVEL_POWER][op->partition])
            op->outcome = OUTCOME_PENDING;
    }
    for (uint32_t i = 0; i < NAMES_MAX; i++)
        memcpy(o->topics[i].need[LEVEL_KILL], o->topics[i].need[LEVEL_POWER],
               sizeof o->topics[i].need[LEVEL_KILL]);
}

/* ---- Comparing ---- */

struct comparison {
    struct oracle *o;
    const char *names[NAMES_MAX];
    char name_bytes[NAMES_MAX][8];
    uint64_t ids[NAMES_MAX];
    uint32_t partitions[NAMES_MAX];
    uint32_t classes[NAMES_MAX];
    int64_t stable[NAMES_MAX][PARTS_MAX];
    uint32_t count;
    int64_t end[NAMES_MAX][PARTS_MAX];
    bool gaps;             /* are expected */
    int64_t base[OPS_MAX]; /* where the op was found, -1 = nowhere */
    uint16_t found[OPS_MAX];
};

static uint32_t name_index(const char *name)
{
    uint32_t index = (uint32_t)(name[1] - '0');
    if (name[0] != 't' || index >= NAMES_MAX || name[2] != 0) sim_violation("topic %s?", name);
    return index;
}

static void compare_topic(struct comparison *c, const beck_topic_info *info)
{
    uint32_t index = name_index(info->name);
    const struct known_topic *t = &c->o->topics[index];
    uint32_t have = info->config->partitions;
    bool made = t->creating || t->openers > 0;
    bool anew = t->deleting && made && info->id > t->last;
    if (t->id == 0 && !made) sim_violation("topic %s is there again", info->name);
    if (t->id != 0 && info->id != t->id && !anew)
        sim_violation("topic %s is another one: %llu, not %llu", info->name,
                      (unsigned long long)info->id, (unsigned long long)t->id);
    if (t->id == 0 && info->id <= t->last)
        sim_violation("topic %s has the id %llu of an earlier one", info->name,
                      (unsigned long long)info->id);
    if (t->id == info->id && have != t->partitions && have != t->altering)
        sim_violation("topic %s has %u partitions, not %u", info->name, have, t->partitions);
    c->ids[index] = info->id;
    c->partitions[index] = have;
    c->classes[index] = info->config->sync;
    for (uint32_t p = 0; p < have; p++) c->stable[index][p] = info->partitions[p]->stable_offset;
    memcpy(c->name_bytes[c->count], info->name, strlen(info->name) + 1);
    c->names[c->count] = c->name_bytes[c->count];
    c->count++;
}

static void compare_topics(struct comparison *c, beck *db)
{
    const beck_topic_info *const *list;
    size_t count;
    int rc = beck_topic_list(db, &list, &count);
    if (rc < 0) sim_violation("list: %s", beck_errmsg(db));
    for (size_t i = 0; i < count; i++) compare_topic(c, list[i]);
    for (uint32_t i = 0; i < NAMES_MAX; i++) {
        const struct known_topic *t = &c->o->topics[i];
        if (t->id != 0 && !t->deleting && c->ids[i] == 0) sim_violation("topic t%u is lost", i);
    }
}

/* In a topic that was never of another class than `sync` there are none, whatever fails. */
static bool may_have_gaps(const struct comparison *c, uint32_t index)
{
    const struct oracle *o = c->o;
    bool os = c->classes[index] != BECK_SYNC_SYNC;
    for (uint32_t i = 0; i < o->op_count; i++)
        if (o->ops[i].topic == c->ids[index] && !o->ops[i].sync) os = true;
    return c->gaps || (o->silenced && os);
}

static void compare_record(struct comparison *c, const beck_record *r)
{
    uint32_t index = name_index(r->topic), k, op = value_check(c->o, r, &k);
    int64_t *end = &c->end[index][r->partition];
    if (c->o->ops[op].topic != c->ids[index])
        sim_violation("%s:%d record %lld is of an earlier topic", r->topic, r->partition,
                      (long long)r->offset);
    if (r->offset != *end && !(may_have_gaps(c, index) && r->offset > *end))
        sim_violation("%s:%d has a hole: record %lld follows %lld", r->topic, r->partition,
                      (long long)r->offset, (long long)*end - 1);
    *end = r->offset + 1;
    if (c->found[op] == 0) c->base[op] = r->offset - k;
    if (c->base[op] + k != r->offset || c->found[op] != k)
        sim_violation("%s:%d record %lld: append %u is there twice or in pieces", r->topic,
                      r->partition, (long long)r->offset, op);
    c->found[op]++;
}

static void compare_gap(struct comparison *c, beck_consumer *consumer)
{
    beck_event_info e = {.size = sizeof e};
    beck_event(consumer, &e);
    if (may_have_gaps(c, name_index(e.topic))) return;
    sim_violation("%s:%d has a gap: %lld to %lld", e.topic, e.partition, (long long)e.from,
                  (long long)e.to);
}

static void compare_records(struct comparison *c, beck *db)
{
    beck_consumer_config config = {
        .size = sizeof config, .topics = c->names, .topic_count = c->count};
    beck_consumer *consumer;
    const beck_record *records;
    size_t count = 1;
    if (c->count == 0) return;
    int rc = beck_consumer_open(db, &config, &consumer);
    while (rc == 0 && count > 0) {
        rc = beck_poll(consumer, 64, 0, &records, &count);
        for (size_t i = 0; rc == 0 && i < count; i++) compare_record(c, &records[i]);
        if (rc == BECK_EVENT) compare_gap(c, consumer);
        if (rc == BECK_EVENT) rc = 0, count = 1;
    }
    if (rc < 0) sim_violation("reading: %s", beck_errmsg(db));
    beck_consumer_close(consumer);
}

/* What lies elsewhere in the file must be found, in spite of the damage. */
static void compare_untouched(struct comparison *c, uint64_t at, uint64_t bytes)
{
    for (uint32_t i = 0; i < c->o->op_count; i++) {
        const struct op *op = &c->o->ops[i];
        const struct known_topic *t = oracle_topic(c->o, op->topic);
        bool touched = op->at == 0 || (op->at < at + bytes && at < op->at + op->bytes);
        if (t == NULL || c->ids[t - c->o->topics] != op->topic || touched) continue;
        if (op->outcome != OUTCOME_THERE || c->found[i] == op->count) continue;
        sim_violation("append %u at byte %llu is lost, but the damage is at %llu to %llu", i,
                      (unsigned long long)op->at, (unsigned long long)at,
                      (unsigned long long)(at + bytes));
    }
}

static void compare_ends(struct comparison *c, enum level level)
{
    for (uint32_t i = 0; i < NAMES_MAX; i++) {
        const struct known_topic *t = &c->o->topics[i];
        for (uint32_t p = 0; t->id != 0 && c->ids[i] == t->id && p < c->partitions[i]; p++)
            if (c->end[i][p] < t->need[level][p])
                sim_violation("t%u:%u ends at %lld, but %lld had to survive", i, p,
                              (long long)c->end[i][p], (long long)t->need[level][p]);
    }
    for (uint32_t i = 0; i < c->o->op_count; i++) {
        const struct op *op = &c->o->ops[i];
        const struct known_topic *t = oracle_topic(c->o, op->topic);
        if (c->found[i] != 0 && c->found[i] != op->count)
            sim_violation("of append %u there are %u records of %u", i, c->found[i], op->count);
        if (t == NULL || c->found[i] != 0 || op->outcome != OUTCOME_THERE) continue;
        uint32_t index = (uint32_t)(t - c->o->topics);
        if (c->ids[index] == op->topic && op->offset < c->end[index][op->partition])
            sim_violation("t%u:%u: another record is at %lld, where append %u is", index,
                          op->partition, (long long)op->offset, i);
    }
}

/* From now on what was found is true. All of it was read from what a crash left, or from what is
 * stable for other reasons: no further crash may take it away. */
static void adopt_all(struct comparison *c)
{
    struct oracle *o = c->o;
    for (uint32_t i = 0; i < o->op_count; i++) {
        struct op *op = &o->ops[i];
        if (op->outcome == OUTCOME_NOT) continue;
        op->outcome = c->found[i] != 0 ? OUTCOME_THERE : OUTCOME_NOT;
        op->offset = c->base[i];
    }
    o->lossy = false;
    for (uint32_t i = 0; i < NAMES_MAX; i++) {
        struct known_topic *t = &o->topics[i];
        *t = (struct known_topic){.id = c->ids[i],
                                  .last = c->ids[i] != 0 ? c->ids[i] : t->last,
                                  .partitions = c->partitions[i],
                                  .class = c->classes[i]};
        for (uint32_t p = 0; p < t->partitions; p++) {
            bool power = t->class == BECK_SYNC_SYNC;
            oracle_need(t, p, power ? LEVEL_POWER : LEVEL_KILL, c->end[i][p]);
            oracle_need(t, p, LEVEL_POWER, c->stable[i][p]);
        }
    }
}

static struct comparison *comparison_new(struct oracle *o)
{
    static struct comparison scratch[8]; /* nothing of it is used across a switch of worlds */
    struct comparison *c = &scratch[sim_world()->depth];
    memset(c, 0, sizeof *c);
    c->o = o;
    return c;
}

void oracle_compare_damaged(struct oracle *o, beck *db, uint64_t at, uint64_t bytes)
{
    struct comparison *c = comparison_new(o);
    c->gaps = true;
    compare_topics(c, db);
    compare_records(c, db);
    compare_untouched(c, at, bytes);
}

/* After a failed sync a read-only handle may show less than the page cache has. */
static void adopt_shown(struct comparison *c)
{
    struct oracle *o = c->o;
    for (uint32_t i = 0; i < o->op_count; i++) {
        if (c->found[i] == 0) continue;
        o->ops[i].outcome = OUTCOME_THERE;
        o->ops[i].offset = c->base[i];
    }
    for (uint32_t i = 0; i < NAMES_MAX; i++)
        for (uint32_t p = 0; p < c->partitions[i] && o->topics[i].id == c->ids[i]; p++)
            if (c->classes[i] == BECK_SYNC_SYNC)
                oracle_need(&o->topics[i], p, LEVEL_POWER, c->end[i][p]);
}

void oracle_compare(struct oracle *o, beck *db, enum level level, enum adoption adoption)
{
    struct comparison *c = comparison_new(o);
    compare_topics(c, db);
    compare_records(c, db);
    compare_ends(c, level);
    if (adoption == ADOPT_SHOWN) adopt_shown(c);
    if (adoption == ADOPT_ALL) adopt_all(c);
}
