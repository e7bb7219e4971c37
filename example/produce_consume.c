/* produce_consume.c -- a producer and a consumer; run one of each, at once, on the same file
 *
 *     cc -o produce_consume produce_consume.c -lbeck
 *     ./produce_consume consume orders.beck 10
 *     ./produce_consume produce orders.beck 10       in another terminal, before or after
 *
 * The producer appends COUNT orders one by one, each with a key and a header, and a batch of their
 * payments. The consumer prints what comes until it has seen COUNT payments. */
#include <beck.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Says what went wrong and what to do about it. */
static int report(beck *db, const char *what, int rc)
{
    static const char *const advice[] = {"nothing", "try again later", "change the call",
                                         "close the file and open it again", "run beck check"};
    fprintf(stderr, "%s: %s [%s: %s]\n", what, beck_errmsg(db), beck_status_name(rc),
            advice[beck_status_class(rc)]);
    return rc;
}

/* ---- Producer ---- */
/* Each append is on stable storage when it returns. Orders of one customer have the same key: they
 * go to the same partition and stay in order. */
static int append_orders(beck *db, beck_topic *orders, int count)
{
    for (int i = 0; i < count; i++) {
        char customer[32], order[64];
        int customer_size = snprintf(customer, sizeof customer, "customer-%d", i % 3);
        int order_size = snprintf(order, sizeof order, "order %d", i);
        beck_header source = {
            .name = "source", .name_size = 6, .value = "web shop", .value_size = 8};
        beck_record record = {.key = customer,
                              .key_size = (uint32_t)customer_size,
                              .value = order,
                              .value_size = (uint32_t)order_size,
                              .headers = &source,
                              .header_count = 1,
                              .partition = BECK_ANY_PARTITION};
        int64_t offset;
        int rc = beck_append(orders, &record, &offset);
        if (rc < 0) return report(db, "append", rc);
        printf("appended '%s' of %s at offset %" PRId64 "\n", order, customer, offset);
    }
    return BECK_OK;
}

/* One batch is appended as a whole or not at all, and costs one sync. */
static int append_payments(beck *db, beck_topic *payments, int count)
{
    beck_record *records = calloc((size_t)count, sizeof *records);
    char(*texts)[32] = calloc((size_t)count, sizeof *texts);
    int rc = records == NULL || texts == NULL ? BECK_NOMEM : BECK_OK;
    for (int i = 0; rc == BECK_OK && i < count; i++) {
        int size = snprintf(texts[i], sizeof texts[i], "payment %d", i);
        records[i].value = texts[i];
        records[i].value_size = (uint32_t)size;
    }
    int64_t base = 0;
    if (rc == BECK_OK) rc = beck_append_batch(payments, 0, records, (size_t)count, &base);
    if (rc < 0)
        report(db, "append batch", rc);
    else
        printf("appended %d payments from offset %" PRId64 " on\n", count, base);
    free(records);
    free(texts);
    return rc;
}

static int produce(beck *db, int count)
{
    beck_topic_config config = {.size = sizeof config, .partitions = 2};
    beck_topic *orders = NULL, *payments = NULL;
    int rc = beck_topic_open(db, "orders", &config, &orders);
    if (rc == BECK_OK) rc = beck_topic_open(db, "payments", NULL, &payments);
    if (rc < 0) return report(db, "topic", rc);
    rc = append_orders(db, orders, count);
    return rc < 0 ? rc : append_payments(db, payments, count);
}

/* ---- Consumer ---- */
static void print_record(const beck_record *r)
{
    printf("%s:%" PRId32 ":%" PRId64 " %.*s", r->topic, r->partition, r->offset, (int)r->value_size,
           (const char *)r->value);
    if (r->key != NULL) printf(" key %.*s", (int)r->key_size, (const char *)r->key);
    for (uint32_t i = 0; i < r->header_count; i++) {
        const beck_header *h = &r->headers[i];
        printf(" %.*s=%.*s", (int)h->name_size, h->name, (int)h->value_size,
               (const char *)h->value);
    }
    printf("\n");
}

/* Records that will never come are told once; a program that must not miss any stops here. */
static int print_gap(beck *db, beck_consumer *consumer)
{
    beck_event_info event = {.size = sizeof event};
    int rc = beck_event(consumer, &event);
    if (rc < 0) return report(db, "event", rc);
    if (event.type == BECK_EVENT_GAP)
        printf("%s:%" PRId32 " lacks the records from %" PRId64 " to before %" PRId64 "\n",
               event.topic, event.partition, event.from, event.to);
    return BECK_OK;
}

/* The records are valid until the next poll, so everything is done with them before. */
static int print_until(beck *db, beck_consumer *consumer, int payments)
{
    while (payments > 0) {
        const beck_record *records = NULL;
        size_t count = 0;
        int rc = beck_poll(consumer, 100, -1, &records, &count); /* -1: wait as long as it takes */
        if (rc < 0) return report(db, "poll", rc);
        if (rc == BECK_EVENT && print_gap(db, consumer) < 0) return BECK_IO;
        for (size_t i = 0; i < count; i++) {
            print_record(&records[i]);
            payments -= strcmp(records[i].topic, "payments") == 0;
        }
        fflush(stdout);
    }
    return BECK_OK;
}

/* A consumer reads topics that exist; opening them creates what is missing. */
static int consume(beck *db, int payments)
{
    static const char *const topics[] = {"orders", "payments"};
    beck_consumer_config config = {.size = sizeof config, .topics = topics, .topic_count = 2};
    beck_topic_config two = {.size = sizeof two, .partitions = 2};
    beck_topic *topic = NULL;
    beck_consumer *consumer = NULL;
    int rc = beck_topic_open(db, "orders", &two, &topic);
    if (rc == BECK_OK) rc = beck_topic_open(db, "payments", NULL, &topic);
    if (rc == BECK_OK) rc = beck_consumer_open(db, &config, &consumer);
    if (rc < 0) return report(db, "consumer", rc);
    rc = print_until(db, consumer, payments);
    beck_consumer_close(consumer);
    return rc;
}

int main(int argc, char **argv)
{
    int count = argc == 4 ? atoi(argv[3]) : 0;
    bool producer = count > 0 && strcmp(argv[1], "produce") == 0;
    if (!producer && (count <= 0 || strcmp(argv[1], "consume") != 0)) {
        fprintf(stderr, "usage: produce_consume produce|consume FILE COUNT\n");
        return 64;
    }
    beck *db = NULL;
    int rc = beck_open(argv[2], NULL, &db);
    if (rc < 0)
        report(db, "open", rc);
    else
        rc = producer ? produce(db, count) : consume(db, count);
    int closed = beck_close(db);
    if (closed < 0) fprintf(stderr, "close: %s\n", beck_status_text(closed));
    return rc < 0 || closed < 0;
}
