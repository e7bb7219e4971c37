/* oracle.h -- what must be in the file, what may be, and what must not */
#ifndef ORACLE_H
#define ORACLE_H

#include "beck.h"
#include "sim.h"

#define OPS_MAX 512u
#define NAMES_MAX 4u
#define PARTS_MAX 3u

/* What has to be survived: the death of processes, or a loss of power. */
enum level { LEVEL_KILL = 0, LEVEL_POWER = 1 };

enum outcome {
    OUTCOME_PENDING, /* under way, unknown, or its process died in it: may be there, at most once */
    OUTCOME_THERE,   /* acknowledged, or seen: at this offset and nowhere else */
    OUTCOME_NOT      /* refused, or gone in a crash: never to be seen */
};

struct op { /* an append of `count` records as one batch */
    uint64_t topic;
    int64_t offset;
    uint64_t at; /* where its frame lies in the file; 0 = not known */
    uint32_t bytes;
    uint32_t partition;
    uint16_t count;
    uint8_t outcome;
    bool sync; /* its topic was a `sync` topic when it was begun, and ever since */
};

struct known_topic { /* by name: t0, t1 ... */
    uint64_t id;     /* 0 = there is none */
    uint64_t last;   /* the highest that one of this name is known to have had */
    uint32_t partitions;
    uint32_t class;
    uint32_t altering; /* to so many partitions; 0 = not under way */
    bool creating, deleting;
    uint32_t openers;           /* in beck_topic_open, which makes a topic that was just deleted */
    int64_t need[2][PARTS_MAX]; /* by level: records below this must be there */
};

struct oracle {
    struct op ops[OPS_MAX];
    uint32_t op_count;
    struct known_topic topics[NAMES_MAX];
    bool lossy;    /* a sync failed: in `os` topics what is not known to be stable may be gone */
    bool silenced; /* and who was told died before it said so: then they may read as gaps */
};

void topic_name(uint32_t index, char name[8]);
/* The value of record `k` of an append; VALUE_MAX bytes at most. Returns its size. */
#define VALUE_MAX 40000u
uint32_t value_fill(uint8_t *value, const struct oracle *o, uint32_t op, uint32_t k,
                    const uint8_t *padding, uint32_t padding_size);
/* What a record that was read says of itself; a violation when it is torn or was never appended.
 * Returns the op, *k its place in it. */
uint32_t value_check(const struct oracle *o, const beck_record *r, uint32_t *k);

/* A running process has seen the record; returns its op. */
uint32_t oracle_seen(struct oracle *o, const beck_record *r);
void oracle_sync_failed(struct oracle *o);
/* Raise what has to be there of a partition. */
void oracle_need(struct known_topic *t, uint32_t partition, enum level level, int64_t end);
struct known_topic *oracle_topic(struct oracle *o, uint64_t id);

/* Bytes of the file were damaged: [at, at + bytes). What they do not touch must be there. */
void oracle_compare_damaged(struct oracle *o, beck *db, uint64_t at, uint64_t bytes);
/* Read everything through `db` and compare. Then what is there is what was, and the rest never was;
 * or, where only somebody was shown it, it has to be there for the next one, too. */
enum adoption { ADOPT_NOTHING, ADOPT_SHOWN, ADOPT_ALL };
void oracle_compare(struct oracle *o, beck *db, enum level level, enum adoption adoption);

#endif
