/* deeds.h -- what a run is about, and what its processes do */
#ifndef DEEDS_H
#define DEEDS_H

#include "oracle.h"

/* append, poll, sync, create, delete, alter, look */
#define DEEDS 7

struct scenario {
    struct oracle oracle; /* first: of inspected worlds, too */
    uint32_t life;        /* calls of a process */
    uint32_t weights[DEEDS];
    uint32_t image_one_in;
    uint32_t kill_one_in; /* mischief, of points */
    uint32_t padding;
    uint32_t sync_share; /* of topics, in 8 */
    uint32_t spawned;
    uint32_t names; /* of topics that are created */
    bool quiet;     /* many interleavings, few images */
    bool stops, faults;
    int64_t acknowledged[OPS_MAX]; /* when, in us */
};

/* The life of a process; its argument is the scenario. */
void live(void *argument);
/* What records are made of: noise; or what lies in the file, so that there are frames in records,
 * which nobody shall take for the partition's own. */
const uint8_t *padding_from(struct chance *c, uint32_t bytes);

#endif
