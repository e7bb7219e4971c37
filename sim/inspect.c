/* inspect.c -- a process that looks at what a crash left */
#include "inspect.h"

#include <string.h>

#include "deeds.h"
#include "tally.h"

static void look_readonly(struct inspection *in)
{
    beck_options options = {.size = sizeof options, .flags = BECK_OPEN_READONLY};
    beck *db;
    if (!sim_world()->disk.exists) return;
    int rc = beck_open("sim.beck", &options, &db);
    trace("opened read-only: %d", rc);
    if (rc == 0)
        oracle_compare(&in->oracle, db, in->level, ADOPT_SHOWN);
    else if (rc != BECK_NOT_BECK)
        sim_violation("read-only: %d, %s", rc, beck_errmsg(db));
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
        uint32_t before = w->sync_errors;
        int rc = beck_open("sim.beck", &options, db);
        trace("opened with a fault of kind %d: %d, %u faults", w->fault, rc, w->faults);
        w->fault = FAULT_NONE;
        if (w->sync_errors > before) in->level = LEVEL_POWER; /* the page cache may be lost */
        if (rc == 0 && w->sync_errors == before) return rc;
        beck_close(*db);
    }
    /* Who opens may be the first to be told of an error from before. */
    bool untold = w->sync_errors > 0 && !w->error_told;
    int rc = beck_open("sim.beck", &options, db);
    if (rc != BECK_POISONED || !untold) return rc;
    in->level = LEVEL_POWER;
    beck_close(*db);
    return beck_open("sim.beck", &options, db);
}

static bool told_late(struct inspection *in, int rc)
{
    if (rc != BECK_POISONED || !in->untold) return false;
    in->poisoned = true;
    return true;
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
            o->ops[index] = (struct op){.topic = t->id,
                                        .partition = p,
                                        .count = 1,
                                        .offset = -1,
                                        .sync = t->class == BECK_SYNC_SYNC};
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
            if (told_late(in, rc)) return;
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
        if (told_late(in, rc)) return;
        if (rc < 0 && rc != BECK_FULL) sim_violation("delete after recovery: %s", beck_errmsg(db));
        return;
    }
    t->creating = true;
    int rc = beck_topic_create(db, name, NULL);
    const beck_topic_info *info;
    if (rc == 0) rc = beck_topic_describe(db, name, &info);
    if (rc == BECK_FULL) return;
    if (told_late(in, rc)) return;
    if (rc < 0) sim_violation("create after recovery: %s", beck_errmsg(db));
    *t = (struct known_topic){
        .id = info->id, .last = info->id, .partitions = 1, .class = BECK_SYNC_SYNC};
}

/* After a failed sync that was told late: what was stable must be there. */
static void look_once_more(struct inspection *in)
{
    beck *db;
    oracle_sync_failed(&in->oracle);
    in->untold = in->poisoned = false;
    in->level = LEVEL_POWER;
    int rc = beck_open("sim.beck", NULL, &db);
    if (rc < 0) sim_violation("open after a failed sync: %d, %s", rc, beck_errmsg(db));
    oracle_compare(&in->oracle, db, in->level, ADOPT_ALL);
    rc = beck_close(db);
    if (rc < 0 && rc != BECK_FULL) sim_violation("close after a failed sync: %d", rc);
}

/* An index is written through the page cache, whatever became of a sync before. */
static int note_finding(void *context, const char *finding)
{
    if (sim_world()->disk.sticky && strstr(finding, "(it is only a help)") != NULL) return 0;
    strncpy(context, finding, 199);
    return 0;
}

void inspect(void *argument)
{
    char finding[200] = {0};
    struct inspection *in = argument;
    beck *db;
    in->untold = sim_world()->sync_errors > 0 && !sim_world()->error_told;
    if (chance_one_in(&in->chance, 8)) look_readonly(in);
    int rc = read_write_open(in, &db);
    if (rc < 0) sim_violation("open: %d, %s", rc, beck_errmsg(db));
    if (strstr(beck_recovery_report(db), "damaged") != NULL)
        sim_violation("damage: %s", beck_recovery_report(db));
    trace("opened; report: %s", beck_recovery_report(db));
    os_sim_opened(sim_world());
    oracle_compare(&in->oracle, db, in->level, ADOPT_ALL);
    in->level = LEVEL_KILL; /* what was seen now survives the death of processes */
    append_somewhere(in, db);
    if (!in->poisoned && chance_one_in(&in->chance, 4)) change_topics(in, db);
    if (!in->poisoned && chance_one_in(&in->chance, 4)) append_somewhere(in, db);
    rc = beck_close(db);
    if (in->poisoned || told_late(in, rc)) {
        look_once_more(in);
        return;
    }
    if (rc < 0 && rc != BECK_FULL) sim_violation("close after recovery: %d", rc);
    if (!chance_one_in(&in->chance, 4)) return;
    rc = beck_open("sim.beck", NULL, &db);
    if (rc < 0) sim_violation("open after close: %d, %s", rc, beck_errmsg(db));
    oracle_compare(&in->oracle, db, LEVEL_KILL, ADOPT_NOTHING);
    rc = beck_check(db, note_finding, NULL, finding, NULL);
    if (finding[0] != 0 || (rc < 0 && rc != BECK_CORRUPT))
        sim_violation("check after recovery: %d, %s", rc, finding);
    rc = beck_close(db);
    if (rc < 0) sim_violation("close: %d", rc);
}

void inspect_damage(void *argument)
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
