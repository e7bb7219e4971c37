/* api_topic.c -- topics: names, settings, altering, listing, deleting, and their space */
#include "api_help.h"

/* ---- Names and settings ---- */

START_TEST(names)
{
    static const char *const bad[] = {"", ".", "..", "a b", "a/b", "\xc3\xa4", "a\n", "x:0"};
    static const char *const good[] = {"a", "...", "A-Z_a.z09", "-", "__consumer_offsets", ".x"};
    char longest[BECK_TOPIC_NAME_MAX + 2];
    const beck_topic_info *info;
    beck_topic *topic;
    beck *db = open_db(path());
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        GIVES(INVALID, db, beck_topic_create(db, bad[i], NULL));
        GIVES(INVALID, db, beck_topic_open(db, bad[i], NULL, &topic));
        ck_assert_ptr_null(topic);
    }
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        OK(db, beck_topic_create(db, good[i], NULL));
    memset(longest, 'n', sizeof longest);
    longest[BECK_TOPIC_NAME_MAX + 1] = 0;
    GIVES(INVALID, db, beck_topic_create(db, longest, NULL));
    says(db, "249");
    longest[BECK_TOPIC_NAME_MAX] = 0;
    OK(db, beck_topic_create(db, longest, NULL));
    GIVES(EXISTS, db, beck_topic_create(db, longest, NULL));
    OK(db, beck_close(db));
    db = open_db(path());
    OK(db, beck_topic_describe(db, longest, &info));
    ck_assert_str_eq(info->name, longest);
    OK(db, beck_close(db));
}
END_TEST

START_TEST(defaults_are_filled_in)
{
    const beck_topic_info *info;
    beck *db = open_db(path());
    OK(db, beck_topic_create(db, "t", NULL));
    OK(db, beck_topic_describe(db, "t", &info));
    ck_assert_uint_eq(info->config->partitions, 1);
    ck_assert_uint_eq(info->config->sync, BECK_SYNC_SYNC);
    ck_assert_uint_eq(info->config->max_message_bytes, 10551296);
#ifndef BECK_TINY
    ck_assert_uint_eq(info->config->segment_bytes, 16777216);
#endif
    ck_assert_uint_eq(info->config->flush_ms, 0);
    ck_assert_int_eq(info->partitions[0]->start_offset, 0);
    ck_assert_int_eq(info->partitions[0]->end_offset, 0);
    ck_assert_uint_ge(info->id, 16);
    OK(db, beck_close(db));
}
END_TEST

START_TEST(limits_of_settings)
{
    beck *db = open_db(path());
    beck_topic_config c = {.size = sizeof c, .partitions = BECK_PARTITIONS_MAX + 1};
    GIVES(INVALID, db, beck_topic_create(db, "t", &c));
    says(db, "1024");
    c = (beck_topic_config){.size = sizeof c, .sync = 3};
    GIVES(INVALID, db, beck_topic_create(db, "t", &c));
    c = (beck_topic_config){.size = sizeof c, .max_message_bytes = 1};
    GIVES(INVALID, db, beck_topic_create(db, "t", &c));
    says(db, "max.message.bytes");
    c = (beck_topic_config){.size = sizeof c, .max_message_bytes = UINT32_MAX};
    GIVES(INVALID, db, beck_topic_create(db, "t", &c));
    c = (beck_topic_config){.size = sizeof c, .segment_bytes = 16383};
    GIVES(INVALID, db, beck_topic_create(db, "t", &c));
    says(db, "segment.bytes");
    c = (beck_topic_config){.size = sizeof c, .segment_bytes = UINT32_MAX};
    GIVES(INVALID, db, beck_topic_create(db, "t", &c));
    c = (beck_topic_config){.size = sizeof c, .segment_bytes = 16384, .flush_ms = UINT32_MAX};
    OK(db, beck_topic_create(db, "t", &c));
    OK(db, beck_close(db));
}
END_TEST

START_TEST(most_partitions)
{
    beck *db = open_db(path());
    beck_topic *topic = os_topic(db, "wide", BECK_PARTITIONS_MAX, 16384);
    const beck_topic_info *info;
    for (int32_t p = 0; p < BECK_PARTITIONS_MAX; p += 341) OK(db, append_text(topic, p, "x"));
    GIVES(INVALID, db, append_text(topic, BECK_PARTITIONS_MAX, "x"));
    OK(db, beck_close(db));
    db = open_db(path());
    OK(db, beck_topic_describe(db, "wide", &info));
    ck_assert_uint_eq(info->config->partitions, BECK_PARTITIONS_MAX);
    for (int32_t p = 0; p < BECK_PARTITIONS_MAX; p++)
        ck_assert_int_eq(info->partitions[p]->end_offset, p % 341 == 0);
    ck_assert_uint_eq(drain(db, consume(db, "wide", BECK_START_BEGINNING, 0)), 4);
    OK(db, beck_close(db));
}
END_TEST

START_TEST(settings_by_name)
{
    beck_topic_config c = {.size = sizeof c};
    char message[200] = "", tiny[8];
    GIVES(OK, NULL, beck_topic_config_set(&c, "partitions", "3", NULL, 0));
    GIVES(OK, NULL, beck_topic_config_set(&c, "sync", "os", message, sizeof message));
    GIVES(OK, NULL, beck_topic_config_set(&c, "max.message.bytes", "1000", NULL, 0));
    GIVES(OK, NULL, beck_topic_config_set(&c, "segment.bytes", "65536", NULL, 0));
    GIVES(OK, NULL, beck_topic_config_set(&c, "flush.ms", "0", NULL, 0));
    GIVES(OK, NULL, beck_topic_config_set(&c, "flush.ms", "250", NULL, 0));
    ck_assert_uint_eq(c.partitions, 3);
    ck_assert_uint_eq(c.sync, BECK_SYNC_OS);
    ck_assert_uint_eq(c.max_message_bytes, 1000);
    ck_assert_uint_eq(c.segment_bytes, 65536);
    ck_assert_uint_eq(c.flush_ms, 250);
    GIVES(OK, NULL, beck_topic_config_set(&c, "sync", "sync", NULL, 0));
    ck_assert_uint_eq(c.sync, BECK_SYNC_SYNC);

    GIVES(INVALID, NULL, beck_topic_config_set(&c, "retention.ms", "1", message, sizeof message));
    static const char *const known[] = {"retention.ms", "max.message.bytes", "segment.bytes",
                                        "flush.ms",     "partitions",        "sync"};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        ck_assert_ptr_nonnull(strstr(message, known[i]));
    memset(tiny, 'x', sizeof tiny);
    GIVES(INVALID, NULL, beck_topic_config_set(&c, "nonsense", "1", tiny, 5));
    ck_assert_uint_eq(strnlen(tiny, sizeof tiny), 4);
    ck_assert_int_eq(tiny[5], 'x');
    static const char *const numbers[] = {
        "", "-1", "1x", "x", " 1", "+1", "1 ", "4294967296", "99999999999999999999", "0x10"};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        GIVES(INVALID, NULL, beck_topic_config_set(&c, "partitions", numbers[i], message, 200));
    GIVES(INVALID, NULL, beck_topic_config_set(&c, "sync", "never", message, sizeof message));
    ck_assert_uint_eq(c.partitions, 3);
}
END_TEST

/* ---- Opening, altering, listing ---- */

START_TEST(opening_twice_is_one_topic)
{
    beck *db = open_db(path());
    beck_topic *a, *b;
    const beck_topic_info *info;
    beck_topic_config c = {.size = sizeof c, .partitions = 2};
    OK(db, beck_topic_open(db, "t", &c, &a));
    c.partitions = 9; /* what exists stays as it is */
    OK(db, beck_topic_open(db, "t", &c, &b));
    ck_assert_ptr_eq(a, b);
    OK(db, beck_topic_describe(db, "t", &info));
    ck_assert_uint_eq(info->config->partitions, 2);
    OK(db, beck_topic_open(db, "u", NULL, &b));
    ck_assert_ptr_ne(a, b);
    OK(db, beck_close(db));
}
END_TEST

START_TEST(altering)
{
    const beck_topic_info *info;
    beck *db = open_db(path()), *other = open_db(path());
    beck_topic *topic = os_topic(db, "t", 2, 65536), *theirs;
    OK(other, beck_topic_open(other, "t", NULL, &theirs));
    OK(db, append_text(topic, 1, "before"));
    OK(other, append_text(theirs, 1, "before"));
    beck_topic_config c = {.size = sizeof c, .partitions = 1};
    GIVES(INVALID, db, beck_topic_alter(db, "t", &c));
    c.partitions = 4;
    c.flush_ms = 1234;
    OK(db, beck_topic_alter(db, "t", &c));
    GIVES(NOT_FOUND, db, beck_topic_alter(db, "nope", &c));
    says(db, "nope");
    OK(db, append_text(topic, 3, "through the handle from before"));
    OK(other, append_text(theirs, 3, "from the other handle"));
    GIVES(INVALID, db, append_text(topic, 4, "x"));
    OK(db, beck_close(db));
    OK(other, beck_close(other));

    db = open_readonly(path());
    OK(db, beck_topic_describe(db, "t", &info));
    ck_assert_uint_eq(info->config->partitions, 4);
    ck_assert_uint_eq(info->config->sync, BECK_SYNC_OS);
    ck_assert_uint_eq(info->config->segment_bytes, 65536);
    ck_assert_uint_eq(info->config->flush_ms, 1234);
    ck_assert_int_eq(info->partitions[1]->end_offset, 2);
    ck_assert_int_eq(info->partitions[3]->end_offset, 2);
    OK(db, beck_close(db));
}
END_TEST

/* Settings of a topic that is in use: the next append obeys them. */
START_TEST(altered_limit_counts)
{
    beck *db = open_db(path());
    beck_topic *topic = os_topic(db, "t", 1, 0);
    beck_topic_config c = {.size = sizeof c, .max_message_bytes = 1000};
    OK(db, append_filled(topic, 0, 2000, 1, NULL));
    OK(db, beck_topic_alter(db, "t", &c));
    GIVES(TOO_LARGE, db, append_filled(topic, 0, 2000, 2, NULL));
    c.max_message_bytes = 0;
    c.sync = BECK_SYNC_SYNC;
    OK(db, beck_topic_alter(db, "t", &c));
    OK(db, append_filled(topic, 0, 500, 3, NULL));
    const beck_topic_info *info;
    OK(db, beck_topic_describe(db, "t", &info));
    ck_assert_int_eq(info->partitions[0]->end_offset, 2);
    ck_assert_int_eq(info->partitions[0]->stable_offset, 2);
    OK(db, beck_close(db));
}
END_TEST

START_TEST(list_is_ordered_and_follows)
{
    static const char *const made[] = {"m", "b", "zz", "a", "z", "B"};
    static const char *const sorted[] = {"B", "a", "b", "m", "z", "zz"};
    beck *db = open_db(path()), *other = open_db(path()), *reader;
    const beck_topic_info *const *infos;
    size_t count = 1;
    OK(db, beck_topic_list(db, &infos, &count));
    ck_assert_uint_eq(count, 0);
    for (size_t i = 0; i < 6; i++) OK(db, beck_topic_create(db, made[i], NULL));
    reader = open_readonly(path());
    beck *const views[] = {db, other, reader};
    for (size_t v = 0; v < 3; v++) {
        OK(views[v], beck_topic_list(views[v], &infos, &count));
        ck_assert_uint_eq(count, 6);
        for (size_t i = 0; i < 6; i++) ck_assert_str_eq(infos[i]->name, sorted[i]);
    }
    OK(other, beck_topic_delete(other, "b"));
    for (size_t v = 0; v < 3; v++) {
        OK(views[v], beck_topic_list(views[v], &infos, &count));
        ck_assert_uint_eq(count, 5);
        GIVES(NOT_FOUND, views[v],
              beck_topic_describe(views[v], "b", &(const beck_topic_info *){NULL}));
        OK(views[v], beck_close(views[v]));
    }
}
END_TEST

START_TEST(partition_infos)
{
    beck *db = open_db(path());
    beck_topic *topic = os_topic(db, "t", 2, 16384);
    const beck_topic_info *info;
    for (uint32_t i = 0; i < 100; i++) OK(db, append_filled(topic, 1, 1000, i, NULL));
    OK(db, beck_topic_describe(db, "t", &info));
    ck_assert_int_eq(info->partitions[0]->end_offset, 0);
    ck_assert_uint_eq(info->partitions[0]->bytes, 0);
    ck_assert_int_eq(info->partitions[1]->start_offset, 0);
    ck_assert_int_eq(info->partitions[1]->end_offset, 100);
    ck_assert_uint_ge(info->partitions[1]->segments, 7);
    ck_assert_uint_ge(info->partitions[1]->bytes, 100 * 1000);
    ck_assert_uint_le(info->partitions[1]->bytes, 100 * 1000 + 10 * 16384);
    ck_assert_int_le(info->partitions[1]->stable_offset, 100);
    OK(db, beck_sync(db));
    OK(db, beck_topic_describe(db, "t", &info));
    ck_assert_int_eq(info->partitions[1]->stable_offset, 100);
    OK(db, beck_close(db));
}
END_TEST

/* What is filled grows by what is appended, whoever asks, also when the file was closed since. */
START_TEST(data_bytes_follow_the_records)
{
    beck *db = open_db(path()), *reader = open_readonly(path());
    beck_topic *topic = os_topic(db, "t", 1, 32768);
    const beck_topic_info *info, *other;
    uint64_t was = 0;
    for (uint32_t i = 0; i < 100; i++) {
        OK(db, append_filled(topic, 0, 1000, i, NULL));
        OK(db, beck_topic_describe(db, "t", &info));
        uint64_t now = info->partitions[0]->data_bytes;
        ck_assert_uint_ge(now, was + 1000);
        ck_assert_uint_le(now, was + 1100);
        ck_assert_uint_le(now, info->partitions[0]->bytes);
        was = now;
        OK(reader, beck_topic_describe(reader, "t", &other));
        ck_assert_uint_eq(other->partitions[0]->data_bytes, was);
    }
    OK(db, beck_close(db));
    OK(reader, beck_topic_describe(reader, "t", &other));
    ck_assert_uint_eq(other->partitions[0]->data_bytes, was);
    OK(reader, beck_close(reader));
}
END_TEST

START_TEST(flush_can_be_switched_off)
{
    const beck_topic_info *info;
    beck_topic_config config = {.size = sizeof config, .flush_ms = 1000};
    char message[200];
    beck *db = open_db(path());
    OK(db, beck_topic_create(db, "t", &config));
    config = (beck_topic_config){.size = sizeof config, .segment_bytes = 65536};
    OK(db, beck_topic_alter(db, "t", &config)); /* 0: as it was */
    OK(db, beck_topic_describe(db, "t", &info));
    ck_assert_uint_eq(info->config->flush_ms, 1000);
    config = (beck_topic_config){.size = sizeof config};
    OK(db, beck_topic_config_set(&config, "flush.ms", "0", NULL, 0));
    OK(db, beck_topic_alter(db, "t", &config));
    OK(db, beck_topic_describe(db, "t", &info));
    ck_assert_uint_eq(info->config->flush_ms, 0);
    ck_assert_uint_eq(info->config->segment_bytes, 65536);
    config.flush_ms = BECK_FLUSH_NEVER;
    OK(db, beck_topic_create(db, "never", &config));
    OK(db, beck_topic_describe(db, "never", &info));
    ck_assert_uint_eq(info->config->flush_ms, 0);
    GIVES(INVALID, db, beck_topic_config_set(&config, "partitions", "0", message, sizeof message));
    ck_assert_str_eq(message, "partitions = 0: must be a number from 1 to 1024");
    OK(db, beck_close(db));
}
END_TEST

/* A caller of another version: it gets what it has room for, and zeros for what is not known. */
START_TEST(results_fit_their_caller)
{
    enum { SHORT = offsetof(beck_stat_info, used_bytes) };
    struct {
        beck_stat_info info;
        uint64_t later;
    } newer = {.info.size = sizeof newer, .later = 7};
    beck_stat_info older, info = {.size = sizeof info};
    beck_check_summary none = {.size = 0}, sum = {.size = sizeof sum};
    beck_event_info event = {.size = 0};
    beck *db = open_db(path());
    OK(db, append_text(os_topic(db, "t", 1, 0), 0, "x"));
    OK(db, beck_stat(db, &info));
    OK(db, beck_stat(db, &newer.info));
    ck_assert_uint_eq(newer.info.size, sizeof newer);
    ck_assert_uint_eq(newer.info.file_bytes, info.file_bytes);
    ck_assert_uint_eq(newer.later, 0);
    memset(&older, 0xaa, sizeof older);
    older.size = SHORT;
    OK(db, beck_stat(db, &older));
    ck_assert_uint_eq(older.file_bytes, info.file_bytes);
    ck_assert_uint_eq(older.used_bytes, UINT64_C(0xaaaaaaaaaaaaaaaa));
    info.size = 0;
    GIVES(INVALID, db, beck_stat(db, &info));
    says(db, "beck_stat_info: set its size");
    GIVES(INVALID, db, beck_check(db, NULL, NULL, NULL, &none));
    OK(db, beck_check(db, NULL, NULL, NULL, &sum));
    ck_assert_uint_eq(sum.records, 1);
    beck_consumer *consumer = consume(db, "t", BECK_START_BEGINNING, 0);
    GIVES(INVALID, db, beck_event(consumer, &event));
    OK(db, beck_close(db));
}
END_TEST

/* The parts of a file that is in use are all of it, and everybody counts the same. */
START_TEST(stat_adds_up)
{
    beck *db = open_db(path()), *other = open_db(path()), *reader = open_readonly(path());
    beck *all[] = {db, other, reader};
    beck_topic *pinned = os_topic(db, "pinned", 1, 16384), *topic = os_topic(db, "t", 3, 16384);
    beck_stat_info info = {.size = sizeof info}, first = {.size = sizeof first};
    for (uint32_t i = 0; i < 100; i++) OK(db, append_filled(topic, (int32_t)i % 3, 1000, i, NULL));
    for (uint32_t i = 0; i < 40; i++) OK(db, append_filled(pinned, 0, 1000, i, NULL));
    beck_consumer *consumer = consume(other, "pinned", BECK_START_BEGINNING, 0);
    poll_one(other, consumer);
    OK(db, beck_topic_delete(db, "pinned"));
    for (size_t i = 0; i < 3; i++) {
        const beck_topic_info *t;
        OK(all[i], beck_stat(all[i], &info));
        OK(all[i], beck_topic_describe(all[i], "t", &t));
        uint64_t topics = 0;
        for (uint32_t k = 0; k < 3; k++) topics += t->partitions[k]->bytes;
        ck_assert_uint_eq(info.topics_bytes, topics);
        ck_assert_uint_eq(info.retired_bytes, 16384);
        ck_assert_uint_eq(info.topics_bytes + info.catalog_bytes + info.coordination_bytes +
                              info.retired_bytes,
                          info.used_bytes);
        ck_assert_uint_eq(info.used_bytes + info.free_bytes, info.file_bytes);
        if (i == 0) first = info;
        ck_assert(memcmp(&first, &info, sizeof info) == 0);
    }
    for (size_t i = 0; i < 3; i++) OK(all[i], beck_close(all[i]));
}
END_TEST

/* ---- Deleting ---- */

START_TEST(delete_and_create_again)
{
    beck *db = open_db(path());
    beck_topic *topic = os_topic(db, "t", 1, 0), *again;
    const beck_topic_info *info;
    OK(db, append_text(topic, 0, "first life"));
    OK(db, beck_topic_describe(db, "t", &info));
    uint64_t id = info->id;
    OK(db, beck_topic_delete(db, "t"));
    GIVES(NOT_FOUND, db, beck_topic_delete(db, "t"));
    says(db, "t");
    GIVES(NOT_FOUND, db, beck_topic_describe(db, "t", &info));
    GIVES(DELETED, db, append_text(topic, 0, "to the dead"));
    says(db, "t");
    again = os_topic(db, "t", 1, 0);
    ck_assert_ptr_ne(again, topic);
    OK(db, beck_topic_describe(db, "t", &info));
    ck_assert_uint_gt(info->id, id);
    ck_assert_int_eq(info->partitions[0]->end_offset, 0);
    OK(db, append_text(again, 0, "second life"));
    GIVES(DELETED, db, append_text(topic, 0, "to the dead"));
    ck_assert(value_is(poll_one(db, consume(db, "t", BECK_START_BEGINNING, 0)), "second life"));
    OK(db, beck_close(db));
    db = open_db(path());
    beck_consumer *consumer = consume(db, "t", BECK_START_BEGINNING, 0);
    ck_assert(value_is(poll_one(db, consumer), "second life"));
    poll_none(db, consumer);
    OK(db, beck_close(db));
}
END_TEST

START_TEST(deleted_by_another_handle)
{
    beck *db = open_db(path()), *other = open_db(path());
    beck_topic *topic = os_topic(db, "t", 2, 0);
    OK(db, append_text(topic, 0, "x"));
    OK(other, beck_topic_delete(other, "t"));
    GIVES(DELETED, db, append_text(topic, 0, "x"));
    GIVES(DELETED, db, append_text(topic, 1, "x")); /* a partition never used before */
    OK(other, beck_close(other));
    OK(db, beck_close(db));
}
END_TEST

/* ---- Space ---- */

static void fill_and_delete(beck *db, uint32_t round)
{
    char name[16];
    snprintf(name, sizeof name, "t%u", round % 3);
    beck_topic *topic = os_topic(db, name, 2, 65536);
    for (uint32_t i = 0; i < 200; i++)
        OK(db, append_filled(topic, (int32_t)(i % 2), 2000, i, NULL));
    OK(db, beck_topic_delete(db, name));
}

START_TEST(space_is_reused)
{
    beck *db = open_db(path_in(quick_folder(), "space.beck"));
    beck_stat_info info = {.size = sizeof info};
    uint64_t settled = 0;
    for (uint32_t round = 0; round < 40; round++) {
        fill_and_delete(db, round);
        OK(db, beck_stat(db, &info));
        ck_assert_uint_eq(info.retired_bytes, 0);
        /* The catalog may grow for a while; a segment lost in each round is more. */
        if (round == 5) settled = info.file_bytes - 3 * info.catalog_bytes;
        if (round > 5) ck_assert_uint_le(info.file_bytes, settled + 3 * info.catalog_bytes + 65536);
    }
    OK(db, beck_close(db));
    ck_assert_uint_le(file_size(path_in(quick_folder(), "space.beck")), info.file_bytes);
    unlink(path_in(quick_folder(), "space.beck"));
}
END_TEST

START_TEST(emptied_file_shrinks_at_close)
{
    beck *db = open_db(path());
    fill_and_delete(db, 0);
    OK(db, beck_close(db));
    ck_assert_uint_le(file_size(path()), 512 * 1024);
    db = open_db(path());
    beck_stat_info info = {.size = sizeof info};
    OK(db, beck_stat(db, &info));
    ck_assert_uint_eq(info.topics, 0);
    ck_assert_uint_eq(info.segments, 0);
    OK(db, beck_close(db));
}
END_TEST

/* Records handed out stay right, whatever happens to their topic, until the next poll. */
START_TEST(pinned_records_stay_right)
{
    beck *db = open_db(path()), *other = open_db(path());
    const beck_record *records;
    size_t count;
    beck_stat_info info = {.size = sizeof info};
    beck_topic *topic = os_topic(db, "pinned", 1, 65536);
    for (uint32_t i = 0; i < 20; i++) OK(db, append_filled(topic, 0, 1000, i, NULL));
    beck_consumer *consumer = consume(db, "pinned", BECK_START_BEGINNING, 0);
    OK(db, beck_poll(consumer, 10, 0, &records, &count));
    ck_assert_uint_eq(count, 10);
    OK(other, beck_topic_delete(other, "pinned"));
    for (uint32_t round = 0; round < 5; round++) {
        fill_and_delete(other, round);
        for (size_t i = 0; i < count; i++) ck_assert(filled(records[i].value, 1000, i));
    }
    OK(other, beck_stat(other, &info));
    ck_assert_uint_gt(info.retired_bytes, 0);
    GIVES(DELETED, db, beck_poll(consumer, 10, 0, &records, &count));
    says(db, "pinned");
    beck_consumer_close(consumer);
    fill_and_delete(other, 0); /* whoever needs room frees it */
    OK(other, beck_stat(other, &info));
    ck_assert_uint_eq(info.retired_bytes, 0);
    OK(db, beck_close(db));
    OK(other, beck_close(other));
}
END_TEST

/* The space is free as soon as no reader is in it: a poll that says DELETED has left. */
START_TEST(deleted_poll_lets_go)
{
    beck *db = open_db(path());
    beck_stat_info info = {.size = sizeof info};
    beck_topic *topic = os_topic(db, "pinned", 1, 65536);
    OK(db, append_text(topic, 0, "x"));
    beck_consumer *consumer = consume(db, "pinned", BECK_START_BEGINNING, 0);
    poll_one(db, consumer);
    OK(db, beck_topic_delete(db, "pinned"));
    const beck_record *records;
    size_t count;
    GIVES(DELETED, db, beck_poll(consumer, 1, 0, &records, &count));
    fill_and_delete(db, 0);
    OK(db, beck_stat(db, &info));
    ck_assert_uint_eq(info.retired_bytes, 0);
    OK(db, beck_close(db));
}
END_TEST

/* Many changes to the catalog do not make the file grow for ever. */
START_TEST(catalog_is_written_anew)
{
    const char *name = path_in(quick_folder(), "catalog.beck");
    char file[512];
    snprintf(file, sizeof file, "%s", name);
    beck *db = open_db(file), *reader = open_readonly(file), *other = open_db(file);
    beck_stat_info info = {.size = sizeof info};
    beck_topic *kept = os_topic(db, "kept", 2, 16384);
    for (uint32_t i = 0; i < 60; i++) OK(db, append_filled(kept, 1, 900, i, NULL));
    for (uint32_t i = 0; i < 6000; i++) {
        OK(db, beck_topic_create(db, "brief", NULL));
        OK(db, beck_topic_delete(db, "brief"));
    }
    OK(db, beck_stat(db, &info));
    ck_assert_uint_ge(info.catalog_sequence, 12000);
    ck_assert_uint_le(info.catalog_bytes, 2 * 1024 * 1024);
    ck_assert_uint_le(info.file_bytes, 4 * 1024 * 1024);
    beck *const views[] = {other, reader, db};
    for (int i = 0; i < 3; i++) {
        beck_consumer *consumer = consume(views[i], "kept", BECK_START_BEGINNING, 0);
        ck_assert_uint_eq(drain(views[i], consumer), 60);
        OK(views[i], beck_check(views[i], NULL, NULL, NULL, NULL));
        OK(views[i], beck_close(views[i]));
    }
    db = open_db(file);
    ck_assert_int_eq(end_offset(db, "kept", 1), 60);
    OK(db, beck_close(db));
    unlink(file);
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("api_topic");
    TCase *c = tcase_create("settings");
    tcase_add_test(c, names);
    tcase_add_test(c, defaults_are_filled_in);
    tcase_add_test(c, limits_of_settings);
    tcase_add_test(c, most_partitions);
    tcase_add_test(c, settings_by_name);
    suite_add_tcase(s, c);

    c = tcase_create("topics");
    tcase_add_test(c, opening_twice_is_one_topic);
    tcase_add_test(c, altering);
    tcase_add_test(c, altered_limit_counts);
    tcase_add_test(c, list_is_ordered_and_follows);
    tcase_add_test(c, partition_infos);
    tcase_add_test(c, data_bytes_follow_the_records);
    tcase_add_test(c, flush_can_be_switched_off);
    tcase_add_test(c, results_fit_their_caller);
    tcase_add_test(c, stat_adds_up);
    tcase_add_test(c, delete_and_create_again);
    tcase_add_test(c, deleted_by_another_handle);
    suite_add_tcase(s, c);

    c = tcase_create("space");
    tcase_add_test(c, space_is_reused);
    tcase_add_test(c, emptied_file_shrinks_at_close);
    tcase_add_test(c, pinned_records_stay_right);
    tcase_add_test(c, deleted_poll_lets_go);
    tcase_add_test(c, catalog_is_written_anew);
    suite_add_tcase(s, c);
    return s;
}
