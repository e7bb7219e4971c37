/* partition.h -- append, roll, group commit and take-over of one partition */
#ifndef PARTITION_H
#define PARTITION_H

#include "base.h"
#include "catalog.h"
#include "coord.h"
#include "log.h"

/* Settings of a topic that may be altered while threads use them. */
struct live_config {
    _Atomic uint32_t partitions;
    _Atomic uint32_t sync;
    _Atomic uint32_t max_message_bytes;
    _Atomic uint32_t segment_bytes;
    _Atomic uint32_t flush_ms;
    _Atomic uint32_t compression;
};
BECK_PRIVATE void live_config_set(struct live_config *live, const beck_topic_config *config);

/* One partition as this handle writes it. */
struct partition {
    struct catalog *cat;
    struct cell_ref cell;
    const struct live_config *config; /* of the topic */
    const char *topic_name;
    uint64_t topic;
    uint32_t index;

    /* The segment being appended to; guarded by the cell's lock. */
    struct segment_place place;
    uint64_t base;
    struct os_map map;  /* data NULL when appends go by pwrite */
    uint32_t limit;     /* frames end below this; the index comes behind */
    uint32_t populated; /* pages of the mapping are present up to here */

    /* The segment being synced; guarded by the handle's sync mutex. */
    struct segment_place sync_place;
    struct os_map sync_map;
};

BECK_PRIVATE int partition_open(struct partition *p, struct catalog *cat, uint64_t topic,
                                uint32_t index, const char *topic_name,
                                const struct live_config *config);
BECK_PRIVATE void partition_close(struct partition *p);

/* A batch ready to be appended: room for a frame and the encoded batch behind it. */
struct partition_batch {
    uint8_t *bytes; /* FRAME_BYTES of room, then batch_bytes */
    uint32_t batch_bytes;
    uint32_t count;
    int64_t max_timestamp;
};
/* Append it, and wait as the topic's class and `sync` ask. *base_offset is its first offset. */
BECK_PRIVATE int partition_append(struct partition *p, const struct partition_batch *batch,
                                  uint32_t sync, uint64_t *base_offset);
/* Return when everything below `target` is stable. Group commit. */
BECK_PRIVATE int partition_sync(struct partition *p, uint64_t target);
/* Look for the dead: take over their lock, finish their sync; flush.ms. For those who wait anyway.
 * An error: it is left to the next to look. */
BECK_PRIVATE int partition_look(struct partition *p);
/* Set a cell up from what the catalog or recovery knows. Nobody else is there yet. */
BECK_PRIVATE void partition_reset_cell(struct cell *cell, uint64_t topic, uint32_t index,
                                       const struct tail *tail, uint64_t stable, uint64_t suspect);
#endif
