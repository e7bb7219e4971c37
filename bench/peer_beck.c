/* peer_beck.c -- beck as a store */
#include <stdlib.h>

#include <beck.h>

#include "bench.h"
#include "peer_beck.h"

#define POLL_RECORDS 1000

void beck_must(beck *db, int rc, const char *what)
{
    if (rc < 0) die("beck: %s: %s (%s)", what, beck_errmsg(db), beck_status_name(rc));
}

static void open_topic(struct beck_store *s)
{
    beck_topic_config config = {.size = sizeof config, .sync = s->sync};
    beck_must(s->db, beck_topic_open(s->db, "bench", &config, &s->topic), "open topic");
}

void *beck_store_open(const char *path, enum durability durability)
{
    struct beck_store *s = calloc(1, sizeof *s);
    if (s == NULL) die("out of memory");
    s->sync = durability == DURABLE ? BECK_SYNC_SYNC : BECK_SYNC_OS;
    beck_must(s->db, beck_open(path, NULL, &s->db), "open");
    open_topic(s);
    return s;
}

void beck_store_close(void *store)
{
    struct beck_store *s = store;
    int rc = beck_close(s->db);
    if (rc < 0) die("beck: close: %s", beck_status_text(rc));
    free(s);
}

static void fill(beck_record *r, uint64_t number)
{
    const uint8_t *bytes = payload(number);
    *r = (beck_record){
        .key = bytes, .key_size = KEY_BYTES, .value = bytes + KEY_BYTES, .value_size = VALUE_BYTES};
}

static void append(void *store, uint64_t count, uint64_t per_call)
{
    struct beck_store *s = store;
    static beck_record records[BATCH_RECORDS];
    int rc = 0;
    for (uint64_t done = 0; done < count && rc >= 0; done += per_call) {
        for (uint64_t i = 0; i < per_call; i++) fill(&records[i], done + i);
        if (per_call == 1)
            rc = beck_append(s->topic, records, NULL);
        else
            rc = beck_append_batch(s->topic, 0, records, per_call, NULL);
    }
    beck_must(s->db, rc, "append");
}

static void empty(void *store)
{
    struct beck_store *s = store;
    beck_must(s->db, beck_topic_delete(s->db, "bench"), "delete topic");
    open_topic(s);
}

static uint64_t read_all(void *store, bool checked)
{
    struct beck_store *s = store;
    const char *topics[] = {"bench"};
    beck_consumer_config config = {.size = sizeof config,
                                   .topics = topics,
                                   .topic_count = 1,
                                   .flags = checked ? 0 : BECK_CONSUME_UNCHECKED};
    beck_consumer *consumer = NULL;
    const beck_record *records;
    size_t count = 0;
    uint64_t total = 0, sum = 0;
    beck_must(s->db, beck_consumer_open(s->db, &config, &consumer), "open consumer");
    do {
        int rc = beck_poll(consumer, POLL_RECORDS, 0, &records, &count);
        beck_must(s->db, rc, "poll");
        if (rc == BECK_EVENT) die("beck: a gap where none can be");
        for (size_t i = 0; i < count; i++)
            sum +=
                touch(records[i].key, records[i].key_size, records[i].value, records[i].value_size);
        total += count;
    } while (count > 0);
    touched += sum;
    beck_consumer_close(consumer);
    return total;
}

const struct store_kind store_beck = {"beck", beck_store_open, beck_store_close,
                                      append, empty,           read_all};
