/* consumer.h -- polling one or many partitions, waiting, events */
#ifndef CONSUMER_H
#define CONSUMER_H

#include "db.h"
#include "reader.h"

BECK_PRIVATE int consumer_open(struct beck *db, const beck_consumer_config *config,
                               struct beck_consumer **out);
BECK_PRIVATE void consumer_close(struct beck_consumer *c);
BECK_PRIVATE void consumer_close_all(struct beck *db);
BECK_PRIVATE struct beck *consumer_db(const struct beck_consumer *c);
BECK_PRIVATE int consumer_poll(struct beck_consumer *c, size_t max, int32_t timeout_ms,
                               const beck_record **records, size_t *count);
BECK_PRIVATE void consumer_wakeup(struct beck_consumer *c);
BECK_PRIVATE void consumer_event(const struct beck_consumer *c, beck_event_info *event);
BECK_PRIVATE int consumer_seek(struct beck_consumer *c, const char *topic, int32_t partition,
                               int64_t offset);
BECK_PRIVATE int consumer_position(struct beck_consumer *c, const char *topic, int32_t partition,
                                   int64_t *offset);

#endif
