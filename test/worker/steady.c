/* steady.c -- append or poll so many times and nothing else; for test/syscalls_test.py
 *
 *     steady append|poll FILE COUNT
 */
#include "beck.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static beck *db;

static void must(int rc)
{
    if (rc == BECK_OK) return;
    fprintf(stderr, "steady: %s\n", beck_errmsg(db));
    exit(1);
}

static void append(long count)
{
    beck_topic_config config = {.size = sizeof config, .sync = BECK_SYNC_OS};
    beck_topic *topic;
    char value[100];
    memset(value, 'v', sizeof value);
    beck_record record = {
        .key = "sixteen bytes...", .key_size = 16, .value = value, .value_size = sizeof value};
    must(beck_topic_open(db, "t", &config, &topic));
    for (long i = 0; i < count; i++) must(beck_append(topic, &record, NULL));
}

static void poll(long count)
{
    const char *topics[] = {"t"};
    beck_consumer_config config = {.size = sizeof config, .topics = topics, .topic_count = 1};
    beck_consumer *consumer;
    const beck_record *records;
    size_t got;
    must(beck_consumer_open(db, &config, &consumer));
    for (long i = 0; i < count; i++) {
        must(beck_poll(consumer, 1, -1, &records, &got));
        if (got != 1) exit(2);
    }
    beck_consumer_close(consumer);
}

int main(int argc, char **argv)
{
    if (argc != 4) return 64;
    must(beck_open(argv[2], NULL, &db));
    (strcmp(argv[1], "append") == 0 ? append : poll)(atol(argv[3]));
    must(beck_close(db));
    return 0;
}
