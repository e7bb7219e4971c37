/* verify_test.c -- what a check finds in a file that lies, and what it does not say */
#include "verify.h"

#include "api_help.h"
#include "bytes.h"
#include "crc32c.h"
#include "db.h"
#include "index.h"

#define TOPIC TOPIC_USER_FIRST
#define BATCH_CRC_AT 17
#define BATCH_ATTRIBUTES_AT 21

static struct beck *db;
static beck_topic *topic;

/* An `os` topic of three segments and 60 records. */
static void make_topic(void)
{
    static const char value[2000];
    static char name[4096];
    const beck_options options = {.size = sizeof options, .flags = BECK_OPEN_FORCE};
    const beck_topic_config config = {
        .size = sizeof config, .sync = BECK_SYNC_OS, .segment_bytes = 4 * BLOCK_BYTES};
    snprintf(name, sizeof name, "%s/verify-%d", test_folder(), (int)getpid());
    ck_assert_int_eq(beck_open(name, &options, &db), BECK_OK);
    ck_assert_int_eq(beck_topic_open(db, "t", &config, &topic), BECK_OK);
    for (int i = 0; i < 20; i++) {
        const beck_record r[3] = {{.value = value, .value_size = 700},
                                  {.value = value, .value_size = 10},
                                  {.value = value, .value_size = 700}};
        ck_assert_int_eq(beck_append_batch(topic, 0, r, 3, NULL), BECK_OK);
    }
}

static const struct partition_picture *part(void)
{
    return picture_partition(&db->cat.picture, TOPIC, 0);
}

/* ---- What was found ---- */

static char found[4096];
static int findings, stop_after;

static int note(void *context, const char *finding)
{
    ck_assert_ptr_eq(context, &findings);
    size_t used = strlen(found);
    snprintf(found + used, sizeof found - used, "%s\n", finding);
    return ++findings == stop_after;
}

static int check(beck_check_summary *sum)
{
    found[0] = 0;
    findings = 0;
    *sum = (beck_check_summary){.size = sizeof *sum};
    int rc = beck_check(db, note, NULL, &findings, sum);
    ck_assert_uint_eq(sum->findings, (uint64_t)findings);
    ck_assert_int_eq(rc, findings > 0 ? BECK_CORRUPT : BECK_OK);
    return findings;
}

static void expect_clean(void)
{
    beck_check_summary sum;
    ck_assert_msg(check(&sum) == 0, "%s", found);
    ck_assert_uint_eq(sum.records, 60);
    ck_assert_uint_eq(sum.batches, 20);
    ck_assert_uint_eq(sum.segments, part()->count);
}

/* One thing is wrong, and it is said with these words. */
static void expect_one(const char *said)
{
    beck_check_summary sum;
    ck_assert_msg(check(&sum) == 1 && strstr(found, said) != NULL, "\"%s\", not \"%s\"", found,
                  said);
}

/* ---- The parts of a file ---- */

/* A header that is whole and belongs to something else is damage as well. */
START_TEST(headers_of_other_segments_are_found)
{
    make_topic();
    expect_clean();
    const struct segment s = part()->segments[1];
    uint8_t bytes[SEGMENT_HEADER_BYTES], other[SEGMENT_HEADER_BYTES];
    ck_assert_int_eq(os_read(&db->file.os, bytes, sizeof bytes, place_at(&s.place)), BECK_OK);
    for (int i = 0; i < 5; i++) {
        struct segment_header h;
        ck_assert_int_eq(segment_header_decode(bytes, &h), BECK_OK);
        h.id += i == 0;
        h.salt += i == 1;
        h.base_offset += i == 2;
        h.uuid[15] ^= i == 3;
        segment_header_encode(&h, other);
        other[20] ^= i == 4;
        ck_assert_int_eq(os_write(&db->file.os, other, sizeof other, place_at(&s.place)), BECK_OK);
        expect_one("topic t:0: header of segment ");
    }
    ck_assert_int_eq(os_write(&db->file.os, bytes, sizeof bytes, place_at(&s.place)), BECK_OK);
    expect_clean();
    ck_assert_int_eq(beck_close(db), BECK_OK);
}
END_TEST

START_TEST(either_superblock_is_checked)
{
    make_topic();
    for (int i = 0; i < 2; i++) {
        uint8_t byte;
        uint64_t at = (i == 0 ? SUPER_A_AT : SUPER_B_AT) + 40;
        ck_assert_int_eq(os_read(&db->file.os, &byte, 1, at), BECK_OK);
        byte ^= 1;
        ck_assert_int_eq(os_write(&db->file.os, &byte, 1, at), BECK_OK);
        expect_one(i == 0 ? "superblock A at byte " : "superblock B at byte ");
        byte ^= 1;
        ck_assert_int_eq(os_write(&db->file.os, &byte, 1, at), BECK_OK);
    }
    expect_clean();
    ck_assert_int_eq(beck_close(db), BECK_OK);
}
END_TEST

/* The frames of the first segment, as the catalog says now. */
static struct log_position frames_until(uint64_t next)
{
    static uint8_t data[4 * BLOCK_BYTES];
    const struct segment s = part()->segments[0];
    struct log_position at = log_begin(s.base);
    struct log_frame f;
    size_t bytes = (size_t)place_bytes(&s.place);
    ck_assert_int_eq(file_read_segment(&db->file, &s.place, 0, data, bytes), BECK_OK);
    while (at.next < next) {
        ck_assert_int_eq(
            log_frame_at(&s.place, &at, data + at.position, bytes - at.position, true, &f, NULL),
            1);
        log_advance(&at, &f);
    }
    return at;
}

static void seal_again(uint64_t next, uint32_t end)
{
    const struct entry seal = {.type = ENTRY_SEAL,
                               .place = part()->segments[0].place,
                               .next_offset = next,
                               .max_timestamp = part()->segments[0].max_timestamp,
                               .end = end};
    ck_assert_int_eq(catalog_lock(&db->cat), BECK_OK);
    ck_assert_int_eq(catalog_append(&db->cat, &seal, 1), BECK_OK);
    catalog_unlock(&db->cat);
}

/* Between a segment that was cut and the next one records are missing; and a segment whose frames
 * say something else than its SEAL. */
START_TEST(what_a_seal_says_is_compared)
{
    make_topic();
    const struct segment first = part()->segments[0];
    const struct log_position cut = frames_until(first.next - 3);
    char said[100];
    seal_again(cut.next, cut.position);
    snprintf(said, sizeof said, "topic t:0: records %llu to %llu are lost",
             (unsigned long long)cut.next, (unsigned long long)first.next - 1);
    expect_one(said);
    seal_again(first.next, first.end);
    expect_clean();
    seal_again(first.next, first.end + FRAME_ALIGN);
    snprintf(said, sizeof said, " ends at %u instead of %u", first.end, first.end + FRAME_ALIGN);
    expect_one(said);
    seal_again(first.next, first.end);
    ck_assert_int_eq(beck_close(db), BECK_OK);
}
END_TEST

/* Behind the last segment: what was visible is in none. */
START_TEST(what_is_missing_at_the_end_is_found)
{
    make_topic();
    const struct segment last = part()->segments[part()->count - 1];
    const struct entry seal = {.type = ENTRY_SEAL,
                               .place = last.place,
                               .next_offset = last.base,
                               .end = SEGMENT_HEADER_BYTES};
    ck_assert(!last.sealed);
    ck_assert_int_eq(catalog_lock(&db->cat), BECK_OK);
    ck_assert_int_eq(catalog_append(&db->cat, &seal, 1), BECK_OK);
    catalog_unlock(&db->cat);
    char said[100];
    snprintf(said, sizeof said, "topic t:0: records %llu to 59 are lost",
             (unsigned long long)last.base);
    expect_one(said);
    (void)beck_close(db); /* its cell still goes on in that segment: not what a library does */
}
END_TEST

START_TEST(a_damaged_index_is_found)
{
    make_topic();
    const struct segment s = part()->segments[0];
    uint8_t byte;
    ck_assert_uint_ne(s.index_bytes, 0);
    uint64_t at = place_at(&s.place) + s.index_at + s.index_bytes - 1;
    ck_assert_int_eq(os_read(&db->file.os, &byte, 1, at), BECK_OK);
    byte ^= 1;
    ck_assert_int_eq(os_write(&db->file.os, &byte, 1, at), BECK_OK);
    expect_one("(it is only a help)");
    ck_assert_int_eq(beck_close(db), BECK_OK);
}
END_TEST

/* A batch under checksums that are right: its second record claims to be longer than it is, or all
 * of it to be compressed. */
static void append_a_lie(bool compressed)
{
    static _Alignas(8) uint8_t bytes[FRAME_BYTES + 4096];
    const beck_record r[3] = {{.value = "one", .value_size = 3, .timestamp = 1},
                              {.value = "two", .value_size = 3, .timestamp = 2},
                              {.value = "three", .value_size = 5, .timestamp = INT32_MAX}};
    struct batch_plan plan;
    struct live_config live;
    struct partition p;
    uint64_t base;
    ck_assert_int_eq(batch_measure(r, 3, 1, 4096, &plan), BECK_OK);
    batch_encode(bytes + FRAME_BYTES, r, 3, 0, &plan);
    uint8_t *batch = bytes + FRAME_BYTES, *two = memmem(batch, (size_t)plan.bytes, "two", 3);
    if (compressed)
        batch[BATCH_ATTRIBUTES_AT + 1] |= BECK_COMPRESSION_LZ4 - BECK_COMPRESSION_NONE;
    else
        two[-1] += 2; /* the length of the value, zigzag: now 4 */
    put_be32(batch + BATCH_CRC_AT,
             crc32c(0, batch + BATCH_UNCOVERED_BYTES, (size_t)plan.bytes - BATCH_UNCOVERED_BYTES));
    const struct partition_batch lie = {bytes, (uint32_t)plan.bytes, 3, plan.max_timestamp};
    live_config_set(&live, &picture_topic_by_id(&db->cat.picture, TOPIC)->config);
    ck_assert_int_eq(partition_open(&p, &db->cat, TOPIC, 0, "t", &live), BECK_OK);
    ck_assert_int_eq(partition_append(&p, &lie, 0, &base), BECK_OK);
    ck_assert_uint_eq(base, 60);
    partition_close(&p);
}

static beck_consumer *consume_from(uint32_t start, int64_t value)
{
    static const char *const names[] = {"t"};
    const beck_consumer_config c = {
        .size = sizeof c, .topics = names, .topic_count = 1, .start = start, .start_value = value};
    beck_consumer *consumer;
    ck_assert_int_eq(beck_consumer_open(db, &c, &consumer), BECK_OK);
    return consumer;
}

static void expect_record(beck_consumer *consumer, int64_t offset)
{
    const beck_record *records;
    size_t count;
    ck_assert_int_eq(beck_poll(consumer, 10, 0, &records, &count), BECK_OK);
    ck_assert_uint_eq(count, 1);
    ck_assert_int_eq(records[0].offset, offset);
}

static void expect_gap(beck_consumer *consumer, int64_t from, int64_t to)
{
    beck_event_info event = {.size = sizeof event};
    const beck_record *records;
    size_t count;
    ck_assert_int_eq(beck_poll(consumer, 10, 0, &records, &count), BECK_EVENT);
    ck_assert_int_eq(beck_event(consumer, &event), BECK_OK);
    ck_assert_int_eq(event.cause, BECK_GAP_CORRUPT);
    ck_assert_int_eq(event.from, from);
    ck_assert_int_eq(event.to, to);
}

/* It is found by a check; a consumer gets what is good of it, a gap, and what follows. Who looks
 * for a time that the batch claims to hold gets to it, and is told then. */
START_TEST(a_batch_that_contradicts_itself)
{
    const beck_record last = {.value = "last", .value_size = 4};
    make_topic();
    append_a_lie(_i == 1);
    ck_assert_int_eq(beck_append(topic, &last, NULL), BECK_OK);
    beck_check_summary sum;
    if (_i == 0 || check(&sum) > 0) { /* else this build has no such codec */
        expect_one("topic t:0: batch at offset 60, byte ");
        beck_consumer *consumer = consume_from(BECK_START_OFFSET, 60);
        if (_i == 0) expect_record(consumer, 60);
        expect_gap(consumer, _i == 0 ? 61 : 60, 63);
        expect_record(consumer, 63);
        beck_consumer_close(consumer);
    }
    ck_assert_int_eq(beck_close(db), BECK_OK);
}
END_TEST

/* ---- Beside others ---- */

START_TEST(a_check_can_be_stopped)
{
    make_topic();
    const uint8_t zeros[SEGMENT_HEADER_BYTES] = {0};
    beck_check_summary sum;
    for (uint32_t i = 0; i < part()->count; i++)
        ck_assert_int_eq(
            os_write(&db->file.os, zeros, sizeof zeros, place_at(&part()->segments[i].place)),
            BECK_OK);
    ck_assert_int_eq(check(&sum), (int)part()->count);
    stop_after = 1;
    ck_assert_int_eq(check(&sum), 1);
    ck_assert_uint_eq(sum.segments, 1);
    ck_assert_int_eq(beck_close(db), BECK_OK);
}
END_TEST

static void delete_meanwhile(void *context, uint64_t done, uint64_t total)
{
    (void)context;
    ck_assert_uint_le(done, total);
    if (picture_topic_by_id(&db->cat.picture, TOPIC) != NULL)
        ck_assert_int_eq(beck_topic_delete(db, "t"), BECK_OK);
}

/* What was read of a topic that is deleted meanwhile means nothing. */
START_TEST(a_deleted_topic_is_no_finding)
{
    make_topic();
    const struct segment s = part()->segments[0];
    const uint8_t zeros[SEGMENT_HEADER_BYTES] = {0};
    ck_assert_int_eq(os_write(&db->file.os, zeros, sizeof zeros, place_at(&s.place)), BECK_OK);
    expect_one("header of segment ");
    findings = 0;
    ck_assert_int_eq(beck_check(db, note, delete_meanwhile, &findings, NULL), BECK_OK);
    ck_assert_int_eq(findings, 0);
    ck_assert_int_eq(beck_close(db), BECK_OK);
}
END_TEST

/* ---- Tails ---- */

/* The last frame of the file's only topic gets another guard, a right one. */
static void change_last_guard(const char *name)
{
    size_t size, at = HEAP_AT, last = 0;
    uint8_t *bytes = file_content(name, &size);
    struct segment_header h = {0};
    while (segment_header_decode(bytes + at, &h) < 0 || h.topic < TOPIC_USER_FIRST)
        at += BLOCK_BYTES;
    struct segment_place place = {h.id, h.salt, (uint32_t)(at / BLOCK_BYTES), h.blocks};
    struct frame f;
    for (size_t pos = SEGMENT_HEADER_BYTES;; pos += frame_span(f.length)) {
        frame_decode(bytes + at + pos, &f);
        if (f.length == 0) break;
        last = pos;
    }
    ck_assert_uint_gt(last, SEGMENT_HEADER_BYTES);
    frame_decode(bytes + at + last, &f);
    f.stable = f.stable == 0;
    f.guard = frame_guard(&place, (uint32_t)last, &f, bytes + at + last + FRAME_BYTES);
    frame_encode(&f, bytes + at + last);
    file_make(name, bytes, size);
    free(bytes);
}

static int keep(void *context, const char *finding)
{
    snprintf(context, 200, "%s", finding);
    return 0;
}

/* Whoever appends would chain his frame to one that is not there, and no reader would find it. */
START_TEST(tail_that_names_another_frame)
{
    char finding[200] = "";
    db = open_db(path());
    topic = os_topic(db, "os", 1, 0);
    OK(db, append_text(topic, 0, "one"));
    OK(db, append_text(topic, 0, "two"));
    OK(db, beck_close(db));
    db = open_readonly(path());
    OK(db, beck_check(db, NULL, NULL, NULL, NULL));
    OK(db, beck_close(db));

    change_last_guard(path());
    db = open_readonly(path());
    GIVES(CORRUPT, db, beck_check(db, keep, NULL, finding, NULL));
    ck_assert_ptr_nonnull(strstr(finding, "os:0"));
    ck_assert_ptr_nonnull(strstr(finding, "tail"));
    OK(db, beck_close(db));
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("verify");
    TCase *c = tcase_create("parts");
    tcase_add_test(c, headers_of_other_segments_are_found);
    tcase_add_test(c, either_superblock_is_checked);
    tcase_add_test(c, what_a_seal_says_is_compared);
    tcase_add_test(c, what_is_missing_at_the_end_is_found);
    tcase_add_test(c, a_damaged_index_is_found);
    tcase_add_test(c, tail_that_names_another_frame);
    tcase_add_loop_test(c, a_batch_that_contradicts_itself, 0, 2);
    suite_add_tcase(s, c);
    c = tcase_create("others");
    tcase_add_test(c, a_check_can_be_stopped);
    tcase_add_test(c, a_deleted_topic_is_no_finding);
    suite_add_tcase(s, c);
    return s;
}
