/* use.c -- a program of somebody else, valid as C and as C++: appends a record and reads it */
#include <beck.h>
#include <stdio.h>
#include <string.h>

int main(int argc, char **argv)
{
    beck *db = NULL;
    beck_topic *topic = NULL;
    beck_consumer *consumer = NULL;
    const beck_record *records = NULL;
    const char *topics[] = {"t"};
    size_t count = 0;
    beck_record record;
    beck_consumer_config config;
    memset(&record, 0, sizeof record);
    memset(&config, 0, sizeof config);
    record.value = argc > 2 ? argv[2] : "hello";
    record.value_size = (uint32_t)strlen(argc > 2 ? argv[2] : "hello");
    record.partition = BECK_ANY_PARTITION;
    config.size = sizeof config;
    config.topics = topics;
    config.topic_count = 1;
    config.start = BECK_START_LAST;
    config.start_value = 1;
    int rc = beck_open(argc > 1 ? argv[1] : "use.beck", NULL, &db);
    if (rc == BECK_OK) rc = beck_topic_open(db, "t", NULL, &topic);
    if (rc == BECK_OK) rc = beck_append(topic, &record, NULL);
    if (rc == BECK_OK) rc = beck_consumer_open(db, &config, &consumer);
    if (rc == BECK_OK) rc = beck_poll(consumer, 1, 1000, &records, &count);
    if (rc < 0) fprintf(stderr, "%s\n", beck_errmsg(db));
    if (rc == BECK_OK && count == 1)
        printf("%s %.*s\n", beck_version(), (int)records[0].value_size,
               (const char *)records[0].value);
    beck_consumer_close(consumer);
    if (beck_close(db) != BECK_OK) rc = BECK_IO;
    return rc != BECK_OK || count != 1;
}
