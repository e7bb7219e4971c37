/* reader_test.c -- a position in a partition: order, times, gaps and pins */
#include "reader.h"

#include <string.h>
#include <unistd.h>

#include "db.h"
#include "err.h"
#include "test.h"

#define TOPIC TOPIC_USER_FIRST
#define MAX 100

static char path[4096];
static struct beck *db;
static beck_topic *topic;
static struct reader r;
static struct buf headers;
static beck_record records[MAX];
static size_t count;
static struct batch_unpacker unpacker;

/* Every test runs twice: loop index 0 reads a mapping, 1 copies. */
static void make_topic(int copying)
{
    const beck_options options = {.size = sizeof options, .flags = BECK_OPEN_FORCE};
    const beck_topic_config config = {
        .size = sizeof config, .sync = BECK_SYNC_OS, .segment_bytes = 2 * BLOCK_BYTES};
    struct cell_ref cell;
    snprintf(path, sizeof path, "%s/reader-%d", test_folder(), (int)getpid());
    ck_assert_int_eq(beck_open(path, &options, &db), BECK_OK);
    ck_assert_int_eq(beck_topic_open(db, "t", &config, &topic), BECK_OK);
    ck_assert_int_eq(catalog_cell(&db->cat, TOPIC, 0, &cell), BECK_OK);
    reader_open(&r, &db->cat, &cell, TOPIC, 0, "t", &unpacker);
    if (!copying) r.pin = 0;
}

static void close_all(void)
{
    reader_close(&r);
    batch_unpacker_free(&unpacker);
    buf_free(&headers);
    ck_assert_int_eq(beck_close(db), BECK_OK);
}

/* One batch of `n` records with values of `bytes` bytes; timestamps are ten times the offset. */
static void append(uint32_t n, uint32_t bytes)
{
    static const char value[20000];
    static int64_t next;
    beck_record batch[MAX] = {{0}};
    int64_t base;
    for (uint32_t i = 0; i < n; i++)
        batch[i] =
            (beck_record){.value = value, .value_size = bytes, .timestamp = 10 * (next + i) + 1000};
    ck_assert_int_eq(beck_append_batch(topic, 0, batch, n, &base), BECK_OK);
    ck_assert_int_eq(base, next);
    next += n;
}

static int poll_some(size_t max)
{
    headers.size = 0;
    return reader_poll(&r, records, max, &headers, &count);
}

/* Read from where the reader stands, in polls of `max`, up to the end; what comes is dense. */
static void expect_records(uint64_t from, uint64_t to, size_t max)
{
    do {
        ck_assert_int_eq(poll_some(max), BECK_OK);
        ck_assert_uint_le(count, max);
        for (size_t i = 0; i < count; i++) {
            ck_assert_int_eq(records[i].offset, (int64_t)from);
            ck_assert_int_eq(records[i].timestamp, (int64_t)from++ * 10 + 1000);
            ck_assert_str_eq(records[i].topic, "t");
        }
    } while (count > 0);
    ck_assert_uint_eq(from, to);
    ck_assert_uint_eq(r.next, to);
}

static void expect_gap(uint64_t from, uint64_t to, int32_t cause)
{
    ck_assert_int_eq(poll_some(MAX), BECK_EVENT);
    ck_assert_uint_eq(count, 0);
    ck_assert_uint_eq(r.gap.from, from);
    ck_assert_uint_eq(r.gap.to, to);
    ck_assert_int_eq(r.gap.cause, cause);
    ck_assert_uint_eq(r.next, to);
}

static const struct partition_picture *picture_now(void)
{
    ck_assert_int_eq(catalog_refresh(&db->cat), BECK_OK);
    return picture_partition(&db->cat.picture, TOPIC, 0);
}

/* ---- In order ---- */

START_TEST(everything_is_read_in_order)
{
    make_topic(_i);
    expect_records(0, 0, MAX);
    for (int i = 0; i < 30; i++) append(3, 600); /* several segments */
    ck_assert_uint_gt(picture_now()->count, 2);
    expect_records(0, 90, MAX);
    append(5, 1);
    expect_records(90, 95, 2);
    append(1, 19000); /* more than a window, in the tiny build */
    expect_records(95, 96, 1);
    close_all();
}
END_TEST

START_TEST(any_offset_can_be_sought)
{
    make_topic(_i);
    for (int i = 0; i < 20; i++) append(3, 700);
    for (uint64_t offset = 0; offset <= 60; offset += 7) {
        reader_seek(&r, offset);
        expect_records(offset, 60, 4);
    }
    uint64_t start = 1;
    ck_assert_int_eq(reader_start(&r, &start), BECK_OK);
    ck_assert_uint_eq(start, 0);
    close_all();
}
END_TEST

/* [R3] Intact frames that are not visible yet are not handed out, in the same segment or the next,
 * and not to who seeks a time either. */
START_TEST(nothing_above_visible_is_handed_out)
{
    make_topic(_i);
    for (int i = 0; i < 30; i++) append(2, 900);
    ck_assert_uint_gt(picture_now()->count, 2);
    _Atomic uint64_t *visible = &r.cell.rw->visible;
    for (uint64_t v = 0; v <= 60; v += 2) {
        atomic_store(visible, v);
        expect_records(v < 2 ? 0 : v - 2, v, MAX);
    }
    atomic_store(visible, 20);
    reader_seek(&r, 0);
    expect_records(0, 20, MAX);
    ck_assert_int_eq(reader_seek_time(&r, 10 * 40 + 1000), BECK_OK);
    ck_assert_uint_eq(r.next, 20);
    expect_records(20, 20, MAX);
    atomic_store(visible, 60);
    expect_records(20, 60, MAX);
    close_all();
}
END_TEST

START_TEST(headers_come_with_their_records)
{
    const beck_header two[] = {{.name = "a", .name_size = 1, .value = "1", .value_size = 1},
                               {.name = "bb", .name_size = 2}};
    const beck_record batch[] = {
        {.headers = two, .header_count = 2}, {0}, {.headers = two + 1, .header_count = 1}};
    make_topic(_i);
    ck_assert_int_eq(beck_append_batch(topic, 0, batch, 3, NULL), BECK_OK);
    ck_assert_int_eq(poll_some(MAX), BECK_OK);
    ck_assert_uint_eq(count, 3);
    ck_assert_uint_eq(records[0].header_count, 2);
    ck_assert_mem_eq(records[0].headers[0].name, "a", 1);
    ck_assert_mem_eq(records[0].headers[0].value, "1", 1);
    ck_assert_mem_eq(records[0].headers[1].name, "bb", 2);
    ck_assert_uint_eq(records[1].header_count, 0);
    ck_assert_ptr_null(records[1].headers);
    ck_assert_mem_eq(records[2].headers[0].name, "bb", 2);
    ck_assert_ptr_null(records[2].headers[0].value);
    close_all();
}
END_TEST

/* A poll ends early where its headers would take more than 4 MiB; the next one goes on. */
START_TEST(headers_of_a_poll_are_bounded)
{
    enum { RECORDS = 300 };
    static beck_header many[BECK_HEADERS_MAX];
    static beck_record batch[RECORDS], got[RECORDS];
    int64_t next = 0;
    for (size_t i = 0; i < BECK_HEADERS_MAX; i++) many[i].name = "";
    for (size_t i = 0; i < RECORDS; i++)
        batch[i] = (beck_record){.headers = many, .header_count = BECK_HEADERS_MAX};
    make_topic(_i);
    ck_assert_int_eq(beck_append_batch(topic, 0, batch, RECORDS, NULL), BECK_OK);
    while (next < RECORDS) {
        headers.size = 0;
        ck_assert_int_eq(reader_poll(&r, got, RECORDS, &headers, &count), BECK_OK);
        ck_assert_uint_gt(count, 0);
        ck_assert_uint_le(headers.size, (4u << 20) + sizeof many);
        for (size_t i = 0; i < count; i++) {
            ck_assert_int_eq(got[i].offset, next++);
            ck_assert_uint_eq(got[i].header_count, BECK_HEADERS_MAX);
        }
    }
    close_all();
}
END_TEST

/* Readers of one consumer decompress into the same memory, in turn. */
START_TEST(readers_share_an_unpacker)
{
    const beck_topic_config packed = {.size = sizeof packed, .compression = BECK_COMPRESSION_ZSTD};
    struct reader q;
    make_topic(_i);
    if (beck_topic_alter(db, "t", &packed) == BECK_OK) { /* else this build has no zstd */
        for (int i = 0; i < 6; i++) append(10, 200);
        reader_open(&q, &db->cat, &r.cell, TOPIC, 0, "t", &unpacker);
        if (_i == 0) q.pin = 1;
        for (uint64_t next[2] = {0, 7}, turn = 0; next[0] < 50; turn++) {
            struct reader *now = turn % 3 == 0 ? &q : &r;
            uint64_t *offset = &next[now == &q];
            if (now == &q) reader_seek(&q, *offset);
            headers.size = 0;
            ck_assert_int_eq(reader_poll(now, records, 2, &headers, &count), BECK_OK);
            ck_assert_uint_gt(count, 0);
            for (size_t i = 0; i < count; i++, (*offset)++) {
                ck_assert_int_eq(records[i].offset, (int64_t)*offset);
                ck_assert_int_eq(records[i].timestamp, (int64_t)*offset * 10 + 1000);
                ck_assert_uint_eq(records[i].value_size, 200);
            }
        }
        reader_close(&q);
    }
    close_all();
}
END_TEST

/* ---- By time ---- */

START_TEST(times_are_found)
{
    make_topic(_i);
    for (int i = 0; i < 25; i++) append(3, 600);
    ck_assert_uint_gt(picture_now()->count, 2);
    for (uint64_t offset = 0; offset < 75; offset++) {
        ck_assert_int_eq(reader_seek_time(&r, (int64_t)offset * 10 + 1000 - 9), BECK_OK);
        ck_assert_uint_eq(r.next, offset);
        ck_assert_int_eq(reader_seek_time(&r, (int64_t)offset * 10 + 1000), BECK_OK);
        ck_assert_uint_eq(r.next, offset);
    }
    expect_records(74, 75, MAX);
    ck_assert_int_eq(reader_seek_time(&r, INT64_MAX), BECK_OK);
    ck_assert_uint_eq(r.next, 75);
    ck_assert_int_eq(reader_seek_time(&r, 0), BECK_OK);
    expect_records(0, 75, MAX);
    close_all();
}
END_TEST

/* ---- Gaps ---- */

/* Damage the frame that begins with record `offset` of segment `index`. */
static void damage(uint32_t index, uint64_t offset)
{
    const struct segment s = picture_now()->segments[index];
    struct log_position at = log_begin(s.base);
    struct log_frame found;
    static uint8_t data[2 * BLOCK_BYTES];
    size_t bytes = (size_t)place_bytes(&s.place);
    ck_assert_uint_le(bytes, sizeof data);
    ck_assert_int_eq(file_read_segment(&db->file, &s.place, 0, data, bytes), BECK_OK);
    for (;;) {
        ck_assert_int_eq(log_frame_at(&s.place, &at, data + at.position, bytes - at.position, true,
                                      &found, NULL),
                         1);
        if (found.batch.base_offset == (int64_t)offset) break;
        log_advance(&at, &found);
    }
    data[at.position + 100] ^= 1;
    ck_assert_int_eq(
        os_write(&db->file.os, data + at.position, 128, place_at(&s.place) + at.position), BECK_OK);
}

START_TEST(damage_is_a_gap)
{
    make_topic(_i);
    for (int i = 0; i < 20; i++) append(3, 700);
    const struct partition_picture *part = picture_now();
    ck_assert_uint_gt(part->count, 2);
    uint64_t last = part->segments[0].next - 3, next = part->segments[0].next;
    damage(2, 57); /* the last frame of all; from the back, because damage() walks */
    damage(1, next + 3);
    damage(0, last); /* the last frame of a sealed segment */
    damage(0, 6);
    ck_assert_int_eq(poll_some(MAX), BECK_OK);
    ck_assert_uint_eq(count, 6);
    expect_gap(6, 9, BECK_GAP_CORRUPT);
    ck_assert_int_eq(poll_some(MAX), BECK_OK);
    ck_assert_int_eq(records[0].offset, 9);
    ck_assert_uint_eq(count, last - 9);
    expect_gap(last, next, BECK_GAP_CORRUPT);
    ck_assert_int_eq(poll_some(MAX), BECK_OK);
    ck_assert_uint_eq(count, 3);
    expect_gap(next + 3, next + 6, BECK_GAP_CORRUPT);
    while (poll_some(MAX) == BECK_OK) ck_assert_uint_lt(r.next, 58);
    ck_assert_uint_eq(r.gap.from, 57);
    ck_assert_uint_eq(r.next, 60);
    append(1, 1);
    ck_assert_int_eq(poll_some(MAX), BECK_OK);
    ck_assert_uint_eq(count, 1);
    ck_assert_int_eq(records[0].offset, 60);
    close_all();
}
END_TEST

/* What one seeks behind damage is found; only who wants what is lost is told. */
START_TEST(a_gap_is_told_to_who_wanted_it)
{
    make_topic(_i);
    for (int i = 0; i < 8; i++) append(3, 100);
    damage(0, 6);
    reader_seek(&r, 9);
    ck_assert_int_eq(poll_some(MAX), BECK_OK);
    ck_assert_int_eq(records[0].offset, 9);
    reader_seek(&r, 7);
    expect_gap(7, 9, BECK_GAP_CORRUPT);
    ck_assert_int_eq(poll_some(MAX), BECK_OK);
    ck_assert_uint_eq(count, 15);
    close_all();
}
END_TEST

/* Retention has taken the first segment, while the reader stood in it, or before it came. */
START_TEST(what_was_retired_is_a_gap)
{
    make_topic(_i);
    for (int i = 0; i < 20; i++) append(3, 700);
    const struct segment first = picture_now()->segments[0];
    const struct entry retire = {
        .type = ENTRY_RETIRE, .place = first.place, .next_offset = first.next};
    ck_assert_int_eq(catalog_lock(&db->cat), BECK_OK);
    ck_assert_int_eq(catalog_append(&db->cat, &retire, 1), BECK_OK);
    catalog_unlock(&db->cat);
    expect_gap(0, first.next, BECK_GAP_DELETED);
    expect_records(first.next, 60, MAX);
    uint64_t start = 0;
    ck_assert_int_eq(reader_start(&r, &start), BECK_OK);
    ck_assert_uint_eq(start, first.next);
    close_all();
}
END_TEST

/* [R1] A pin that was lent holds nothing: what was retired in the meantime is not read, though the
 * reader stood in it. */
START_TEST(what_was_retired_under_a_lent_pin_is_a_gap)
{
    make_topic(_i);
    for (int i = 0; i < 20; i++) append(3, 700);
    const struct segment first = picture_now()->segments[0];
    const struct entry retire = {
        .type = ENTRY_RETIRE, .place = first.place, .next_offset = first.next};
    ck_assert_int_eq(poll_some(1), BECK_OK);
    reader_release(&r);
    ck_assert_int_eq(catalog_lock(&db->cat), BECK_OK);
    ck_assert_int_eq(catalog_append(&db->cat, &retire, 1), BECK_OK);
    catalog_unlock(&db->cat);
    if (_i == 0) { /* who reads copies has those of the batch it stands in */
        expect_gap(1, first.next, BECK_GAP_DELETED);
        expect_records(first.next, 60, MAX);
    } else {
        ck_assert_int_eq(poll_some(MAX), BECK_OK);
        ck_assert_int_eq(records[0].offset, 1);
    }
    close_all();
}
END_TEST

/* All of it: the partition begins where it ends. */
START_TEST(everything_was_retired)
{
    make_topic(_i);
    for (int i = 0; i < 20; i++) append(3, 700);
    const struct partition_picture *part = picture_now();
    const uint32_t segments = part->count;
    ck_assert_uint_gt(segments, 2);
    ck_assert_int_eq(poll_some(1), BECK_OK); /* it has been in one of them */
    reader_release(&r);
    reader_seek(&r, 0);
    ck_assert_int_eq(catalog_lock(&db->cat), BECK_OK);
    for (uint32_t i = 0; i < segments; i++) {
        const struct segment s = part->segments[0];
        const struct entry retire = {.type = ENTRY_RETIRE,
                                     .place = s.place,
                                     .next_offset = s.sealed ? s.next : reader_visible(&r)};
        ck_assert_int_eq(catalog_append(&db->cat, &retire, 1), BECK_OK);
    }
    catalog_unlock(&db->cat);
    uint64_t start = 0;
    ck_assert_int_eq(reader_start(&r, &start), BECK_OK);
    ck_assert_uint_eq(start, 60);
    expect_gap(0, 60, BECK_GAP_DELETED);
    expect_records(60, 60, MAX);
    ck_assert_int_eq(reader_seek_time(&r, 0), BECK_OK);
    ck_assert_uint_eq(r.next, 60);
    reader_close(&r);
    batch_unpacker_free(&unpacker);
    buf_free(&headers);
    (void)beck_close(db); /* its cell still names a segment: not what a library does */
}
END_TEST

/* A recovery has cut a segment that others follow: between them there is nothing. */
START_TEST(what_no_segment_holds_is_lost)
{
    make_topic(_i);
    for (int i = 0; i < 20; i++) append(3, 700);
    const struct segment first = picture_now()->segments[0];
    struct log_position at = log_begin(0);
    struct log_frame found;
    static uint8_t data[BLOCK_BYTES];
    ck_assert_int_eq(file_read_segment(&db->file, &first.place, 0, data, sizeof data), BECK_OK);
    for (int i = 0; i < 2; i++) {
        ck_assert_int_eq(log_frame_at(&first.place, &at, data + at.position,
                                      sizeof data - at.position, true, &found, NULL),
                         1);
        log_advance(&at, &found);
    }
    const struct entry cut = {.type = ENTRY_SEAL,
                              .place = first.place,
                              .next_offset = 6,
                              .max_timestamp = 1050,
                              .end = at.position};
    ck_assert_int_eq(catalog_lock(&db->cat), BECK_OK);
    ck_assert_int_eq(catalog_append(&db->cat, &cut, 1), BECK_OK);
    catalog_unlock(&db->cat);
    ck_assert_int_eq(poll_some(MAX), BECK_OK);
    ck_assert_uint_eq(count, 6);
    expect_gap(6, first.next, BECK_GAP_LOST);
    expect_records(first.next, 60, MAX);
    reader_seek(&r, 8);
    expect_gap(8, first.next, BECK_GAP_LOST);
    ck_assert_int_eq(reader_seek_time(&r, 1000 + 10 * 8), BECK_OK); /* it has no time */
    ck_assert_uint_eq(r.next, first.next);
    expect_records(first.next, 60, MAX);
    close_all();
}
END_TEST

/* The last frame below `visible` is damaged: who is behind it already has lost nothing. */
START_TEST(damage_that_nobody_wanted)
{
    make_topic(_i);
    for (int i = 0; i < 4; i++) append(3, 100);
    damage(0, 9);
    reader_seek(&r, 12);
    expect_records(12, 12, MAX);
    append(2, 10);
    expect_records(12, 14, MAX);
    reader_seek(&r, 9);
    expect_gap(9, 12, BECK_GAP_CORRUPT);
    expect_records(12, 14, MAX);
    close_all();
}
END_TEST

START_TEST(a_deleted_topic_is_told)
{
    make_topic(_i);
    append(5, 10);
    ck_assert_int_eq(poll_some(2), BECK_OK);
    ck_assert_int_eq(beck_topic_delete(db, "t"), BECK_OK);
    ck_assert_int_eq(poll_some(2), BECK_DELETED);
    close_all();
}
END_TEST

/* ---- Pins ---- */

/* [R1] The segment read is pinned, also after the pin word was lent to another reader. */
START_TEST(the_segment_being_read_is_pinned)
{
    make_topic(0);
    for (int i = 0; i < 20; i++) append(3, 700);
    const struct partition_picture *part = picture_now();
    uint64_t first = part->segments[0].place.id, second = part->segments[1].place.id;
    ck_assert_int_eq(poll_some(1), BECK_OK);
    ck_assert(coord_pinned(&db->coord, first));
    reader_release(&r);
    ck_assert(!coord_pinned(&db->coord, first));
    ck_assert_int_eq(poll_some(1), BECK_OK);
    ck_assert(coord_pinned(&db->coord, first));
    while (r.next <= part->segments[0].next) ck_assert_int_eq(poll_some(MAX), BECK_OK);
    ck_assert(!coord_pinned(&db->coord, first));
    ck_assert(coord_pinned(&db->coord, second));
    /* The topic is deleted meanwhile: its segments wait for the reader. */
    ck_assert_int_eq(beck_topic_delete(db, "t"), BECK_OK);
    ck_assert_uint_eq(db->cat.picture.retired_count, 1);
    reader_close(&r);
    batch_unpacker_free(&unpacker);
    ck_assert(!coord_pinned(&db->coord, second));
    close_all();
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("reader");
    TCase *c = tcase_create("order");
    tcase_add_loop_test(c, everything_is_read_in_order, 0, 2);
    tcase_add_loop_test(c, any_offset_can_be_sought, 0, 2);
    tcase_add_loop_test(c, nothing_above_visible_is_handed_out, 0, 2);
    tcase_add_loop_test(c, headers_come_with_their_records, 0, 2);
    tcase_add_loop_test(c, headers_of_a_poll_are_bounded, 0, 2);
    tcase_add_loop_test(c, readers_share_an_unpacker, 0, 2);
    tcase_add_loop_test(c, times_are_found, 0, 2);
    suite_add_tcase(s, c);
    c = tcase_create("gaps");
    tcase_add_loop_test(c, damage_is_a_gap, 0, 2);
    tcase_add_loop_test(c, a_gap_is_told_to_who_wanted_it, 0, 2);
    tcase_add_loop_test(c, what_was_retired_is_a_gap, 0, 2);
    tcase_add_loop_test(c, what_was_retired_under_a_lent_pin_is_a_gap, 0, 2);
    tcase_add_loop_test(c, everything_was_retired, 0, 2);
    tcase_add_loop_test(c, what_no_segment_holds_is_lost, 0, 2);
    tcase_add_loop_test(c, damage_that_nobody_wanted, 0, 2);
    tcase_add_loop_test(c, a_deleted_topic_is_told, 0, 2);
    suite_add_tcase(s, c);
    c = tcase_create("pins");
    tcase_add_test(c, the_segment_being_read_is_pinned);
    suite_add_tcase(s, c);
    return s;
}
