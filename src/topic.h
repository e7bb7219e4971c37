/* topic.h -- topics as the user sees them */
#ifndef TOPIC_H
#define TOPIC_H

#include "db.h"

BECK_PRIVATE int topic_create(struct beck *db, const char *name, const beck_topic_config *config);
BECK_PRIVATE int topic_alter(struct beck *db, const char *name, const beck_topic_config *config);
BECK_PRIVATE int topic_delete(struct beck *db, const char *name);
BECK_PRIVATE int topic_open(struct beck *db, const char *name, const beck_topic_config *config,
                            struct beck_topic **topic);
BECK_PRIVATE void topic_close_all(struct beck *db);
/* All topics, or with a name just that one. */
BECK_PRIVATE int topic_list(struct beck *db, const char *name,
                            const beck_topic_info *const **topics, size_t *count);

/* Append records as one batch to one partition. `options` without unknown values. */
BECK_PRIVATE int topic_append(struct beck_topic *topic, uint32_t partition,
                              const beck_record *records, size_t count,
                              const beck_append_options *options, int64_t *base_offset);

#endif
