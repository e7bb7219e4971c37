/* api_model.c -- random operations against a model that is a few arrays in memory
 *
 * Two handles and a read-only one work on a file; processes that are forked append and are killed;
 * every result is compared with the model. SEED= repeats a run. */
#include <signal.h>

#include "api_help.h"

enum { NAMES = 5, PARTITIONS = 4, HANDLES = 3, CONSUMERS = 6, OPERATIONS = 2000, BATCH = 12 };

struct log {
    uint32_t *sizes; /* of the values; their content follows from number() */
    int64_t count, room;
};

struct topic {
    bool exists;
    uint32_t life; /* how often the name was created */
    uint32_t partitions;
    struct log logs[PARTITIONS];
};

struct reader {
    beck_consumer *consumer;
    int handle, topic;
    uint32_t life;
    int64_t next[PARTITIONS];
    uint32_t known; /* partitions it has begun to read */
};

static struct {
    uint64_t random;
    char file[512];
    beck *handles[HANDLES]; /* the last is read-only */
    struct topic topics[NAMES];
    struct reader readers[CONSUMERS];
} model;

static uint32_t below(uint32_t limit)
{
    model.random = model.random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)((model.random >> 33) % limit);
}

static const char *name_of(int topic)
{
    static const char *const names[NAMES] = {"alpha", "beta", "gamma", "delta", "epsilon"};
    return names[topic];
}

static uint64_t number(int topic, uint32_t partition, int64_t offset)
{
    return (((uint64_t)model.topics[topic].life * NAMES + (uint64_t)topic) * PARTITIONS + partition)
               << 32 |
           (uint64_t)offset;
}

static uint32_t random_size(void)
{
    uint32_t kind = below(100);
    return kind < 60   ? below(50)
           : kind < 90 ? below(1500)
           : kind < 99 ? below(16000)
                       : below(60000);
}

static void push(struct log *log, uint32_t size)
{
    if (log->count == log->room) {
        log->room = log->room * 2 + 16;
        log->sizes = realloc(log->sizes, (size_t)log->room * sizeof *log->sizes);
        ck_assert_ptr_nonnull(log->sizes);
    }
    log->sizes[log->count++] = size;
}

/* ---- Topics ---- */

static beck *writer(void)
{
    return model.handles[below(2)];
}

static beck_topic *opened(beck *db, int topic)
{
    beck_topic *handle;
    OK(db, beck_topic_open(db, name_of(topic), NULL, &handle));
    return handle;
}

static void op_create(int topic)
{
    struct topic *t = &model.topics[topic];
    beck *db = writer();
    beck_topic_config c = {.size = sizeof c, .partitions = 1 + below(PARTITIONS)};
    c.sync = 1 + below(2);
    c.segment_bytes = 16384u << below(3);
    if (t->exists) {
        GIVES(EXISTS, db, beck_topic_create(db, name_of(topic), &c));
        return;
    }
    OK(db, beck_topic_create(db, name_of(topic), &c));
    t->exists = true;
    t->life++;
    t->partitions = c.partitions;
    for (int p = 0; p < PARTITIONS; p++) t->logs[p].count = 0;
}

static void op_delete(int topic)
{
    beck *db = writer();
    if (!model.topics[topic].exists)
        GIVES(NOT_FOUND, db, beck_topic_delete(db, name_of(topic)));
    else
        OK(db, beck_topic_delete(db, name_of(topic)));
    model.topics[topic].exists = false;
}

static void op_grow(int topic)
{
    struct topic *t = &model.topics[topic];
    if (!t->exists || t->partitions == PARTITIONS) return;
    beck *db = writer();
    beck_topic_config c = {.size = sizeof c, .partitions = t->partitions + 1};
    OK(db, beck_topic_alter(db, name_of(topic), &c));
    t->partitions++;
}

static void op_describe(int topic)
{
    const struct topic *t = &model.topics[topic];
    const beck_topic_info *info;
    beck *db = model.handles[below(HANDLES)];
    if (!t->exists) {
        GIVES(NOT_FOUND, db, beck_topic_describe(db, name_of(topic), &info));
        return;
    }
    OK(db, beck_topic_describe(db, name_of(topic), &info));
    ck_assert_uint_eq(info->config->partitions, t->partitions);
    for (uint32_t p = 0; p < t->partitions; p++) {
        ck_assert_int_eq(info->partitions[p]->end_offset, t->logs[p].count);
        ck_assert_int_le(info->partitions[p]->stable_offset, t->logs[p].count);
        if (info->config->sync == BECK_SYNC_SYNC)
            ck_assert_int_eq(info->partitions[p]->stable_offset, t->logs[p].count);
    }
}

/* ---- Appending ---- */

static int append_some(beck_topic *handle, int topic, uint32_t partition, uint32_t count)
{
    static uint8_t values[BATCH][60000];
    struct log *log = &model.topics[topic].logs[partition];
    beck_record batch[BATCH];
    int64_t base = -1, first = log->count;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t size = random_size();
        fill(values[i], size, number(topic, partition, first + i));
        batch[i] = (beck_record){.value = values[i], .value_size = size};
        push(log, size);
    }
    int rc = beck_append_batch(handle, (int32_t)partition, batch, count, &base);
    if (rc == 0 && base != first) rc = 1000;
    return rc;
}

static void op_append(int topic)
{
    const struct topic *t = &model.topics[topic];
    if (!t->exists) return;
    beck *db = writer();
    OK(db, append_some(opened(db, topic), topic, below(t->partitions), 1));
}

static void op_batch(int topic)
{
    const struct topic *t = &model.topics[topic];
    if (!t->exists) return;
    beck *db = writer();
    OK(db, append_some(opened(db, topic), topic, below(t->partitions), 1 + below(BATCH)));
}

static void op_refused(int topic)
{
    static uint8_t big[70000];
    const struct topic *t = &model.topics[topic];
    beck_record r = {.key = big, .key_size = sizeof big, .partition = 0};
    if (!t->exists) return;
    beck *db = writer();
    GIVES(TOO_LARGE, db, beck_append(opened(db, topic), &r, NULL));
    r = (beck_record){.partition = (int32_t)t->partitions};
    GIVES(INVALID, db, beck_append(opened(db, topic), &r, NULL));
}

/* ---- Reading ---- */

static void forget(struct reader *r)
{
    beck_consumer_close(r->consumer);
    r->consumer = NULL;
}

static void op_consumer(int topic)
{
    static const uint32_t starts[] = {BECK_START_BEGINNING, BECK_START_END, BECK_START_LAST};
    const struct topic *t = &model.topics[topic];
    struct reader *r = &model.readers[below(CONSUMERS)];
    if (!t->exists) return;
    if (r->consumer != NULL) forget(r);
    uint32_t start = starts[below(3)];
    int64_t value = start == BECK_START_LAST ? below(40) : 0;
    r->handle = (int)below(HANDLES);
    r->topic = topic;
    r->life = t->life;
    r->known = t->partitions;
    r->consumer = consume(model.handles[r->handle], name_of(topic), start, value);
    for (uint32_t p = 0; p < PARTITIONS; p++) {
        int64_t end = p < t->partitions ? t->logs[p].count : 0;
        r->next[p] = start == BECK_START_BEGINNING ? 0 : end;
        if (start == BECK_START_LAST) r->next[p] = end > value ? end - value : 0;
    }
}

/* The topic it read is gone, whatever has its name now. */
static bool orphaned(const struct reader *r)
{
    return !model.topics[r->topic].exists || model.topics[r->topic].life != r->life;
}

static void take(struct reader *r, const beck_record *record)
{
    uint32_t p = (uint32_t)record->partition;
    const struct log *log = &model.topics[r->topic].logs[p];
    ck_assert_uint_lt(p, model.topics[r->topic].partitions);
    ck_assert_str_eq(record->topic, name_of(r->topic));
    ck_assert_int_eq(record->offset, r->next[p]);
    ck_assert_int_lt(record->offset, log->count);
    ck_assert_uint_eq(record->value_size, log->sizes[record->offset]);
    ck_assert(filled(record->value, record->value_size, number(r->topic, p, record->offset)));
    r->next[p]++;
}

static void op_poll(struct reader *r)
{
    const beck_record *records;
    size_t count, max = 1 + below(50);
    if (r->consumer == NULL) return;
    beck *db = model.handles[r->handle];
    if (orphaned(r)) {
        GIVES(DELETED, db, beck_poll(r->consumer, max, 0, &records, &count));
        forget(r);
        return;
    }
    OK(db, beck_poll(r->consumer, max, 0, &records, &count));
    ck_assert_uint_le(count, max);
    for (size_t i = 0; i < count; i++) take(r, &records[i]);
    for (uint32_t p = 0; p < model.topics[r->topic].partitions && count == 0; p++)
        ck_assert_int_eq(r->next[p], model.topics[r->topic].logs[p].count);
}

static void op_seek(struct reader *r)
{
    if (r->consumer == NULL || orphaned(r)) return;
    beck *db = model.handles[r->handle];
    uint32_t p = below(r->known);
    int64_t end = model.topics[r->topic].logs[p].count, to = below((uint32_t)end + 1), at;
    OK(db, beck_position(r->consumer, name_of(r->topic), (int32_t)p, &at));
    ck_assert_int_eq(at, r->next[p]);
    OK(db, beck_seek(r->consumer, name_of(r->topic), (int32_t)p, to));
    r->next[p] = to;
    GIVES(RANGE, db, beck_seek(r->consumer, name_of(r->topic), (int32_t)p, end + 1));
}

/* ---- Handles and processes ---- */

static void close_handle(int handle)
{
    for (int i = 0; i < CONSUMERS; i++)
        if (model.readers[i].handle == handle) model.readers[i].consumer = NULL;
    OK(NULL, beck_close(model.handles[handle]));
    model.handles[handle] = NULL;
}

static void open_handle(int handle)
{
    model.handles[handle] = open_flags(model.file, handle == 2 ? BECK_OPEN_READONLY : 0);
    ck_assert_str_eq(beck_recovery_report(model.handles[handle]), "");
}

static void op_reopen(void)
{
    int handle = (int)below(HANDLES);
    close_handle(handle);
    open_handle(handle);
}

/* A process appends, says so after each record, and is killed while it goes on. */
static void append_for_ever(int topic, uint32_t partition, int say)
{
    beck *db = NULL;
    beck_topic *handle = NULL;
    if (beck_open(model.file, NULL, &db) < 0) _exit(1);
    if (beck_topic_open(db, name_of(topic), NULL, &handle) < 0) _exit(2);
    for (;;) {
        if (append_some(handle, topic, partition, 1) != 0) _exit(3);
        uint32_t size = model.topics[topic]
                            .logs[partition]
                            .sizes[model.topics[topic].logs[partition].count - 1];
        if (write(say, &size, sizeof size) != sizeof size) _exit(4);
    }
}

/* What was acknowledged is there. One more may be: it was appended and not yet said. */
static void adopt(int topic, uint32_t partition)
{
    struct log *log = &model.topics[topic].logs[partition];
    beck *db = model.handles[0];
    int64_t end = end_offset(db, name_of(topic), partition);
    ck_assert_int_ge(end, log->count);
    ck_assert_int_le(end, log->count + 1);
    if (end == log->count) return;
    beck_consumer *consumer = consume(db, name_of(topic), BECK_START_BEGINNING, 0);
    for (uint32_t p = 0; p < model.topics[topic].partitions; p++)
        OK(db, beck_seek(consumer, name_of(topic), (int32_t)p,
                         p == partition ? log->count : model.topics[topic].logs[p].count));
    push(log, poll_one(db, consumer)->value_size);
    beck_consumer_close(consumer);
}

static void op_kill(int topic)
{
    const struct topic *t = &model.topics[topic];
    bool alone = below(2) == 0;
    int pipes[2], status;
    if (!t->exists) return;
    uint32_t partition = below(t->partitions), acks = below(20), size;
    if (alone) { /* nobody else has the file open: the next to open it recovers it */
        close_handle(0);
        close_handle(1);
    }
    ck_assert_int_eq(pipe(pipes), 0);
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) append_for_ever(topic, partition, pipes[1]);
    close(pipes[1]);
    for (uint32_t i = 0; i < acks; i++) {
        ck_assert_int_eq(read(pipes[0], &size, sizeof size), sizeof size);
        push(&model.topics[topic].logs[partition], size);
    }
    kill(pid, SIGKILL);
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert(WIFSIGNALED(status));
    while (read(pipes[0], &size, sizeof size) == sizeof size)
        push(&model.topics[topic].logs[partition], size);
    close(pipes[0]);
    for (int i = 0; i < 2 && alone; i++) open_handle(i);
    /* A crash in the middle of an append is settled by whoever appends or looks next. */
    beck *db = model.handles[0];
    OK(db, beck_sync(db));
    adopt(topic, partition);
}

static void check_all(void)
{
    beck *db = model.handles[below(HANDLES)];
    beck_check_summary sum = {.size = sizeof sum};
    int64_t records = 0;
    for (int t = 0; t < NAMES; t++)
        for (uint32_t p = 0; model.topics[t].exists && p < model.topics[t].partitions; p++)
            records += model.topics[t].logs[p].count;
    OK(db, beck_check(db, NULL, NULL, NULL, &sum));
    ck_assert_int_eq((int64_t)sum.records, records);
}

static void operate(void)
{
    uint32_t dice = below(1000);
    int topic = (int)below(NAMES);
    struct reader *r = &model.readers[below(CONSUMERS)];
    if (dice < 300)
        op_poll(r);
    else if (dice < 560)
        op_append(topic);
    else if (dice < 740)
        op_batch(topic);
    else if (dice < 800)
        op_seek(r);
    else if (dice < 850)
        op_consumer(topic);
    else if (dice < 890)
        op_describe(topic);
    else if (dice < 930)
        op_create(topic);
    else if (dice < 945)
        op_delete(topic);
    else if (dice < 955)
        op_grow(topic);
    else if (dice < 970)
        op_refused(topic);
    else if (dice < 985)
        op_reopen();
    else if (dice < 995)
        op_kill(topic);
    else
        check_all();
}

START_TEST(random_operations)
{
    memset(&model, 0, sizeof model);
    model.random = (test_seed() + (uint64_t)_i) * UINT64_C(0x9E3779B97F4A7C15);
    snprintf(model.file, sizeof model.file, "%s", path_in(quick_folder(), "model.beck"));
    for (int i = 0; i < HANDLES; i++) open_handle(i);
    for (int i = 0; i < OPERATIONS; i++) operate();
    for (int round = 0; round < 2; round++) { /* at the end, and after closing everything */
        for (int i = 0; i < CONSUMERS; i++)
            for (int k = 0; k < 2000 && model.readers[i].consumer != NULL; k++)
                op_poll(&model.readers[i]);
        check_all();
        for (int i = 0; i < NAMES; i++) op_describe(i);
        for (int i = 0; i < HANDLES; i++) close_handle(i);
        for (int i = 0; i < HANDLES && round == 0; i++) open_handle(i);
        for (int i = 0; i < NAMES && round == 0; i++) op_consumer(i);
    }
    unlink(model.file);
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("api_model");
    TCase *c = tcase_create("model");
    tcase_set_timeout(c, 30);
    tcase_add_loop_test(c, random_operations, 0, 6);
    suite_add_tcase(s, c);
    return s;
}
