/* picture.h -- topics, partitions and segments as the catalog tells them */
#ifndef PICTURE_H
#define PICTURE_H

#include "base.h"
#include "format.h"
#include "space.h"

#define NO_CELL UINT32_MAX
#define PARTITIONS_TOTAL_MAX (1u << 20) /* of all topics of a file */

struct segment {
    struct segment_place place;
    uint64_t base;
    uint64_t next;   /* sealed: offset after its last record */
    uint64_t stable; /* sealed: what was stable then */
    int64_t max_timestamp;
    uint32_t end; /* sealed: where its frames end */
    uint32_t index_at;
    uint32_t index_bytes;
    bool sealed;
};

struct partition_picture {
    struct segment *segments; /* ordered by base offset */
    uint32_t count;
    uint32_t capacity;
    uint64_t start;        /* what retention or deletion left: nothing below exists */
    uint64_t next;         /* as far as the catalog knows: after the last SEAL, RETIRE or TAIL */
    int64_t max_timestamp; /* likewise; -1 = none */
    uint64_t tail_segment; /* TAIL: the unsealed segment, 0 = none */
    uint32_t tail_end;
    uint32_t tail_chain;
    bool has_tail; /* a TAIL that nothing has made obsolete */
    uint32_t cell; /* index, or NO_CELL: not looked up yet */
};

struct topic_picture {
    uint64_t id;
    char *name;
    char *settings; /* as stored */
    beck_topic_config config;
    uint32_t partitions;
    struct partition_picture *parts;
};

struct segment_owner { /* segment id to partition */
    uint64_t id;
    struct topic_picture *topic;
    uint32_t partition;
};

struct retired { /* waits for FREE */
    struct segment_place place;
    uint64_t topic;
    char *name; /* of the topic, which may be gone */
    uint32_t partition;
    uint64_t base;
    uint64_t next; /* base, when it was never sealed */
};

struct picture {
    struct topic_picture **by_name;
    struct topic_picture **by_id;
    size_t topics;
    size_t topics_capacity;
    struct segment_owner *owners; /* ordered by id */
    size_t owner_count;
    size_t owner_capacity;
    struct retired *retired;
    size_t retired_count;
    size_t retired_capacity;
    struct space space;
    uint64_t partitions; /* of all topics */
    uint64_t next_topic;
    uint64_t next_segment;
};

BECK_PRIVATE void picture_free(struct picture *p);
/* Apply one entry (not LINK). CORRUPT when it contradicts what is known. NOMEM. */
BECK_PRIVATE int picture_apply(struct picture *p, const struct entry *e);

BECK_PRIVATE struct topic_picture *picture_topic_by_name(const struct picture *p, const char *name);
BECK_PRIVATE struct topic_picture *picture_topic_by_id(const struct picture *p, uint64_t id);
BECK_PRIVATE struct partition_picture *picture_partition(const struct picture *p, uint64_t topic,
                                                         uint32_t partition);
/* The partition a segment belongs to, or NULL. */
BECK_PRIVATE struct segment_owner *picture_owner(const struct picture *p, uint64_t segment);
/* What waits for FREE: by segment, and the first of a topic; NULL = none. */
BECK_PRIVATE const struct retired *picture_retired(const struct picture *p, uint64_t segment);
BECK_PRIVATE const struct retired *picture_retired_topic(const struct picture *p, uint64_t topic);
/* Space of its segments. */
BECK_PRIVATE uint64_t partition_bytes(const struct partition_picture *part);
/* The last segment when it is not sealed, or NULL. */
BECK_PRIVATE struct segment *partition_active(const struct partition_picture *part);
/* The segment that holds `offset`, or the first one behind it; NULL = none. */
BECK_PRIVATE struct segment *partition_locate(const struct partition_picture *part,
                                              uint64_t offset);
BECK_PRIVATE struct segment *partition_segment(const struct partition_picture *part, uint64_t id);

/* The SEAL entry that says what is known of a sealed segment. */
BECK_PRIVATE struct entry segment_seal(const struct segment *s);

/* Hand every entry of a snapshot of this picture to `take`, in an order that applies. Stops at < 0.
 * */
typedef int (*picture_take)(void *context, const struct entry *e);
BECK_PRIVATE int picture_each_entry(const struct picture *p, picture_take take, void *context);

#endif
