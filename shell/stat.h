/* stat.h -- what beck stat knows of a file, and the forms it is shown in */
#ifndef BECK_SHELL_STAT_H
#define BECK_SHELL_STAT_H

#include "out.h"

struct topic_rates {
    double records, bytes; /* in a second */
};

struct snapshot {
    const char *path;
    beck_stat_info info;
    const beck_topic_info *const *topics;
    size_t topic_count;
    const beck_handle_info *const *handles;
    size_t handle_count;
    const struct topic_rates *rates; /* of each topic since the round before; NULL = none yet */
    int64_t taken_at;                /* milliseconds since 1970 */
};

struct topic_totals {
    uint64_t ended; /* records ever appended */
    uint64_t records, unstable, data_bytes, bytes, segments;
};

struct topic_totals stat_totals(const beck_topic_info *topic);
const char *stat_sync_name(const beck_topic_info *topic);
const char *stat_state_name(int32_t state); /* of a handle */
void stat_write_uuid(struct out *out, const uint8_t uuid[16]);

/* The text exposition format of Prometheus. */
void stat_as_metrics(struct out *out, const struct snapshot *s);

#endif
