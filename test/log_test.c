/* log_test.c -- frames that may be believed, frames that may not, and where a segment ends */
#include "log.h"

#include <string.h>
#include <unistd.h>

#include "bytes.h"
#include "test.h"

#define BASE 1000
#define AREA BLOCK_BYTES

static const struct segment_place place = {
    .id = 7, .salt = 0xfeedface, .block = HEAP_BLOCK, .blocks = 1};
static _Alignas(8) uint8_t area[AREA]; /* the segment */

/* Write a frame of `count` records at `at`, whose values are `value_bytes` long, and step behind
 * it. */
static void put_frame(const struct segment_place *where, struct log_position *at, uint32_t count,
                      uint32_t value_bytes, uint32_t stable)
{
    static const uint8_t value[4096];
    beck_record records[16] = {{0}};
    struct batch_plan plan;
    struct log_frame found;
    for (uint32_t i = 0; i < count; i++) {
        records[i].value = value;
        records[i].value_size = value_bytes;
        records[i].timestamp = (int64_t)at->next + i + 1;
    }
    ck_assert_int_eq(batch_measure(records, count, 1, AREA, &plan), BECK_OK);
    uint64_t span = frame_span(plan.bytes);
    ck_assert_uint_le(at->position + span, AREA);
    uint8_t *bytes = area + at->position;
    batch_encode(bytes + FRAME_BYTES, records, count, 0, &plan);
    log_seal_frame(where, at, stable, bytes, (uint32_t)plan.bytes);
    ck_assert_int_eq(log_frame_at(where, at, bytes, span, true, &found, NULL), 1);
    log_advance(at, &found);
}

static int frame_at(const struct log_position *at, struct log_frame *found)
{
    return log_frame_at(&place, at, area + at->position, AREA - at->position, true, found, NULL);
}

/* Three frames of 2, 1 and 3 records; `at[i]` is where frame i stands, at[3] the end. */
static void three_frames(struct log_position at[4])
{
    static const uint32_t counts[] = {2, 1, 3};
    memset(area, 0, sizeof area);
    at[0] = log_begin(BASE);
    for (int i = 0; i < 3; i++) {
        at[i + 1] = at[i];
        put_frame(&place, &at[i + 1], counts[i], 40, 0);
    }
}

/* ---- One frame ---- */

START_TEST(frames_are_walked_to_the_end)
{
    struct log_position at[4], walk = log_begin(BASE);
    struct log_frame found;
    three_frames(at);
    for (int i = 0; i < 3; i++) {
        ck_assert_uint_eq(walk.position, at[i].position);
        ck_assert_uint_eq(walk.position % FRAME_ALIGN, 0);
        ck_assert_int_eq(frame_at(&walk, &found), 1);
        ck_assert_uint_eq(found.position, at[i].position);
        ck_assert_int_eq(found.batch.base_offset, (int64_t)at[i].next);
        ck_assert_uint_eq(found.next, at[i + 1].next);
        log_advance(&walk, &found);
    }
    ck_assert_uint_eq(walk.next, BASE + 6);
    ck_assert_int_eq(frame_at(&walk, &found), 0);
}
END_TEST

/* [F1] A frame that is right in itself, but names another one as the frame before it. */
START_TEST(a_frame_that_follows_another_is_refused)
{
    struct log_position at[4];
    struct log_frame found;
    three_frames(at);
    struct log_position other = at[1];
    other.chain ^= 1;
    put_frame(&place, &other, 1, 40, 0); /* in the place of frame 1 */
    ck_assert_int_eq(frame_at(&at[1], &found), 0);
    struct log_position jumped = at[1];
    jumped.chained = false;
    ck_assert_int_eq(frame_at(&jumped, &found), 1);
    ck_assert_int_eq(frame_at(&other, &found), 0); /* names the frame that was there */
}
END_TEST

/* A frame whose guard is right, around a batch that ends before it does. */
START_TEST(a_frame_is_as_long_as_its_batch)
{
    struct log_position at[4];
    struct log_frame found;
    three_frames(at);
    uint8_t *bytes = area + at[1].position;
    uint32_t length = get_le32(bytes);
    ck_assert_int_eq(frame_at(&at[1], &found), 1);
    log_seal_frame(&place, &at[1], 0, bytes, length + 1);
    ck_assert_int_eq(frame_at(&at[1], &found), 0);
    log_seal_frame(&place, &at[1], 0, bytes, length);
    ck_assert_int_eq(frame_at(&at[1], &found), 1);
}
END_TEST

/* [F1] Behind a frame that was found by search the chain counts again; and the search is for what
 * stands behind, not for what was just refused. */
START_TEST(after_a_search_frames_chain_again)
{
    struct log_position at[4], walk;
    struct log_frame found;
    three_frames(at);
    struct log_position other = at[2];
    other.chain ^= 1;
    put_frame(&place, &other, 1, 40, 0); /* in the place of frame 2, following another */
    walk = at[0];
    walk.chain ^= 1; /* frame 0 is refused for its chain */
    ck_assert_int_eq(frame_at(&walk, &found), 0);
    ck_assert_int_eq(log_resync(&place, &walk, area, AREA, UINT64_MAX), 1);
    ck_assert_uint_eq(walk.position, at[1].position);
    ck_assert_uint_eq(walk.next, at[1].next);
    ck_assert(!walk.chained);
    ck_assert_int_eq(frame_at(&walk, &found), 1);
    log_advance(&walk, &found);
    ck_assert(walk.chained);
    ck_assert_int_eq(frame_at(&walk, &found), 0);
}
END_TEST

/* [F2] A frame that is right in itself, but begins below the offset that is expected; a gap upwards
 * is allowed. */
START_TEST(offsets_never_step_back)
{
    struct log_position at[4];
    struct log_frame found;
    three_frames(at);
    struct log_position back = at[1], up = at[2];
    back.next--;
    put_frame(&place, &back, 1, 40, 0);
    ck_assert_int_eq(frame_at(&at[1], &found), 0);
    up.next += 100;
    put_frame(&place, &up, 1, 40, 0);
    ck_assert_int_eq(frame_at(&at[2], &found), 1);
    ck_assert_uint_eq(found.next, at[2].next + 101);
}
END_TEST

/* The same bytes under another segment, salt or position are somebody else's. */
START_TEST(a_guard_is_bound_to_its_place)
{
    struct log_position at[4];
    struct log_frame found;
    struct segment_place other = place;
    three_frames(at);
    const uint8_t *bytes = area + at[0].position;
    ck_assert_int_eq(log_frame_at(&place, &at[0], bytes, AREA, true, &found, NULL), 1);
    other.salt++;
    ck_assert_int_eq(log_frame_at(&other, &at[0], bytes, AREA, true, &found, NULL), 0);
    other = place;
    other.id++;
    ck_assert_int_eq(log_frame_at(&other, &at[0], bytes, AREA, true, &found, NULL), 0);
    at[0].position += FRAME_ALIGN;
    ck_assert_int_eq(log_frame_at(&place, &at[0], bytes, AREA, true, &found, NULL), 0);
}
END_TEST

/* Without `deep` the records are not looked at, but everything that leads to them is. */
START_TEST(every_flipped_bit_is_found)
{
    struct log_position at[4];
    struct log_frame found;
    three_frames(at);
    uint8_t *bytes = area + at[1].position;
    uint32_t length = get_le32(bytes);
    for (uint32_t bit = 0; bit < 8 * (FRAME_BYTES + length); bit++) {
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        ck_assert_int_eq(frame_at(&at[1], &found), 0);
        if (bit / 8 < FRAME_BYTES + BATCH_UNCOVERED_BYTES)
            ck_assert_int_eq(
                log_frame_at(&place, &at[1], bytes, AREA - at[1].position, false, &found, NULL), 0);
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    ck_assert_int_eq(frame_at(&at[1], &found), 1);
}
END_TEST

/* A frame that is cut off says how much it needs, one that is not there says nothing. */
START_TEST(a_frame_cut_off_says_what_it_needs)
{
    struct log_position at[4];
    struct log_frame found;
    three_frames(at);
    uint32_t whole = FRAME_BYTES + get_le32(area + at[0].position);
    for (uint32_t n = 0; n < whole; n++) {
        uint64_t want = 0;
        uint8_t *exact = malloc(n + 1); /* a byte read behind the end is found by sanitizers */
        memcpy(exact, area + at[0].position, n);
        ck_assert_int_eq(log_frame_at(&place, &at[0], exact, n, true, &found, &want), 0);
        ck_assert_uint_eq(want, n < FRAME_BYTES + BATCH_HEADER_BYTES ? 0 : whole);
        free(exact);
    }
    uint64_t want = 0;
    ck_assert_int_eq(log_frame_at(&place, &at[3], area + at[3].position, 1000, true, &found, &want),
                     0);
    ck_assert_uint_eq(want, 0);
}
END_TEST

START_TEST(the_stable_field_saturates)
{
    ck_assert_uint_eq(log_stable_field(BASE - 1, BASE), 0);
    ck_assert_uint_eq(log_stable_field(BASE, BASE), 1);
    ck_assert_uint_eq(log_stable_field(BASE + 5, BASE), 6);
    ck_assert_uint_eq(log_stable_field(BASE + UINT64_C(0x100000000), BASE), UINT32_MAX);
}
END_TEST

/* ---- Behind damage ---- */

START_TEST(the_walk_goes_on_behind_damage)
{
    struct log_position at[4];
    struct log_frame found;
    three_frames(at);
    area[at[1].position + 30] ^= 1;
    struct log_position behind = at[1];
    ck_assert_int_eq(log_resync(&place, &behind, area, AREA, UINT64_MAX), 1);
    ck_assert_uint_eq(behind.position, at[2].position);
    ck_assert_uint_eq(behind.next, at[2].next);
    ck_assert(!behind.chained);
    ck_assert_int_eq(frame_at(&behind, &found), 1);

    behind = at[1]; /* it ends at offset BASE + 6 */
    ck_assert_int_eq(log_resync(&place, &behind, area, AREA, BASE + 5), 0);
    ck_assert_uint_eq(behind.position, at[1].position);
    ck_assert_int_eq(log_resync(&place, &behind, area, AREA, BASE + 6), 1);
    behind = at[1]; /* nothing below what is expected is taken */
    behind.next = BASE + 4;
    ck_assert_int_eq(log_resync(&place, &behind, area, AREA, UINT64_MAX), 0);
    behind = at[1]; /* nor anything that reaches over the end */
    ck_assert_int_eq(log_resync(&place, &behind, area, at[3].position - 8, UINT64_MAX), 0);
}
END_TEST

/* ---- Whole segments in a file ---- */

static struct file file;

static void open_segment(uint64_t bytes)
{
    char path[4096];
    const beck_options options = {.size = sizeof options, .flags = BECK_OPEN_FORCE};
    snprintf(path, sizeof path, "%s/log-%d", test_folder(), (int)getpid());
    ck_assert_int_eq(file_open(&file, path, &options), BECK_OK);
    ck_assert_int_eq(os_truncate(&file.os, 0), BECK_OK);
    ck_assert_int_eq(os_write(&file.os, area, (size_t)bytes, place_at(&place)), BECK_OK);
}

static struct log_scan scan_area(uint64_t durable, bool trust_all)
{
    struct log_scan scan;
    open_segment(AREA);
    ck_assert_int_eq(log_scan_segment(&file, &place, BASE, AREA, durable, trust_all, &scan), 0);
    file_close(&file);
    return scan;
}

START_TEST(a_scan_finds_the_end)
{
    struct log_position at[4];
    three_frames(at);
    struct log_scan scan = scan_area(0, false);
    ck_assert_uint_eq(scan.end.next, BASE + 6);
    ck_assert_uint_eq(scan.end.position, at[3].position);
    ck_assert_uint_eq(scan.end.chain, at[3].chain);
    ck_assert_int_eq(scan.max_timestamp, BASE + 6);
    ck_assert_uint_eq(scan.gaps, 0);
    ck_assert_uint_eq(scan.beyond_from, scan.beyond_to);
}
END_TEST

START_TEST(frames_of_an_earlier_life_are_not_seen)
{
    struct log_position at[4];
    struct segment_place old = place;
    old.salt--;
    three_frames(at);
    struct log_position stale = at[3];
    for (int i = 0; i < 5; i++) put_frame(&old, &stale, 1, 40, UINT32_MAX);
    struct log_scan scan = scan_area(0, true);
    ck_assert_uint_eq(scan.end.next, BASE + 6);
    ck_assert_uint_eq(scan.beyond_from, scan.beyond_to);
}
END_TEST

START_TEST(a_torn_end_is_cut_and_what_is_beyond_is_told)
{
    struct log_position at[4];
    three_frames(at);
    area[at[1].position + 50] ^= 1;
    struct log_scan scan = scan_area(0, false);
    ck_assert_uint_eq(scan.end.next, BASE + 2);
    ck_assert_uint_eq(scan.end.position, at[1].position);
    ck_assert_uint_eq(scan.gaps, 0);
    ck_assert_uint_eq(scan.beyond_from, BASE + 3);
    ck_assert_uint_eq(scan.beyond_to, BASE + 6);
}
END_TEST

/* Damage below what is durable is a gap, whoever says so: the caller, trust in everything intact,
 * or the frame behind it. */
START_TEST(damage_below_the_durable_end_is_a_gap)
{
    for (int who = 0; who < 3; who++) {
        struct log_position at[4];
        three_frames(at);
        if (who == 2) {
            struct log_position again = at[2];
            put_frame(&place, &again, 3, 40, log_stable_field(at[2].next, BASE));
        }
        area[at[1].position + 50] ^= 1;
        struct log_scan scan = scan_area(who == 0 ? at[2].next : 0, who == 1);
        ck_assert_uint_eq(scan.gaps, 1);
        ck_assert_uint_eq(scan.lost_from, at[1].next);
        ck_assert_uint_eq(scan.lost_to, at[2].next);
        ck_assert_uint_eq(scan.lost_at, at[1].position);
        ck_assert_uint_eq(scan.end.next, at[3].next);
        ck_assert_uint_eq(scan.beyond_from, scan.beyond_to);
    }
}
END_TEST

START_TEST(a_file_may_end_before_its_segment)
{
    struct log_position at[4];
    struct log_scan scan;
    three_frames(at);
    open_segment(at[2].position + 20);
    ck_assert_int_eq(log_scan_segment(&file, &place, BASE, AREA, 0, true, &scan), 0);
    ck_assert_uint_eq(scan.end.next, at[2].next);
    /* What is missing reads as zeros: a record that ends with zeros is all there. */
    file_close(&file);
    open_segment(at[3].position - 20);
    ck_assert_int_eq(log_scan_segment(&file, &place, BASE, AREA, 0, true, &scan), 0);
    ck_assert_uint_eq(scan.end.next, at[3].next);
    ck_assert_int_eq(os_truncate(&file.os, place_at(&place)), BECK_OK);
    ck_assert_int_eq(log_scan_segment(&file, &place, BASE, AREA, 0, true, &scan), 0);
    ck_assert_uint_eq(scan.end.next, BASE);
    ck_assert_int_eq(scan.max_timestamp, -1);
    file_close(&file);
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("log");
    TCase *c = tcase_create("frame");
    tcase_add_test(c, frames_are_walked_to_the_end);
    tcase_add_test(c, a_frame_that_follows_another_is_refused);
    tcase_add_test(c, a_frame_is_as_long_as_its_batch);
    tcase_add_test(c, after_a_search_frames_chain_again);
    tcase_add_test(c, offsets_never_step_back);
    tcase_add_test(c, a_guard_is_bound_to_its_place);
    tcase_add_test(c, every_flipped_bit_is_found);
    tcase_add_test(c, a_frame_cut_off_says_what_it_needs);
    tcase_add_test(c, the_stable_field_saturates);
    suite_add_tcase(s, c);
    c = tcase_create("segment");
    tcase_add_test(c, the_walk_goes_on_behind_damage);
    tcase_add_test(c, a_scan_finds_the_end);
    tcase_add_test(c, frames_of_an_earlier_life_are_not_seen);
    tcase_add_test(c, a_torn_end_is_cut_and_what_is_beyond_is_told);
    tcase_add_test(c, damage_below_the_durable_end_is_a_gap);
    tcase_add_test(c, a_file_may_end_before_its_segment);
    suite_add_tcase(s, c);
    return s;
}
