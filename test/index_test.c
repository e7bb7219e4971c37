/* index_test.c -- built, found again by offset and time, and ignored when it is wrong */
#include "index.h"

#include <string.h>
#include <unistd.h>

#include "bytes.h"
#include "test.h"

#define BASE 5000
#define FRAMES 100u
#define BYTES (4u * BLOCK_BYTES)

static const struct segment_place place = {
    .id = 3, .salt = 77, .block = HEAP_BLOCK, .blocks = BYTES / BLOCK_BYTES};
static _Alignas(8) uint8_t data[BYTES];
static uint32_t position_of[FRAMES]; /* frame i holds records BASE + 3i, and two more */
static uint32_t end, index_at, index_bytes;
static struct file file;
static struct buf built;

/* Timestamps rise by 100 with every frame, but every tenth frame is late. */
static int64_t time_of(uint32_t frame)
{
    return frame % 10 == 9 ? 1 : 1000 + 100 * (int64_t)frame;
}

static void make_frames(void)
{
    static const char value[150];
    struct log_position at = log_begin(BASE);
    struct log_frame found;
    memset(data, 0, sizeof data);
    for (uint32_t i = 0; i < FRAMES; i++) {
        beck_record records[3];
        struct batch_plan plan;
        for (int k = 0; k < 3; k++)
            records[k] =
                (beck_record){.value = value, .value_size = sizeof value, .timestamp = time_of(i)};
        ck_assert_int_eq(batch_measure(records, 3, 1, BYTES, &plan), BECK_OK);
        position_of[i] = at.position;
        batch_encode(data + at.position + FRAME_BYTES, records, 3, 0, &plan);
        log_seal_frame(&place, &at, 0, data + at.position, (uint32_t)plan.bytes);
        ck_assert_int_eq(
            log_frame_at(&place, &at, data + at.position, BYTES - at.position, true, &found, NULL),
            1);
        log_advance(&at, &found);
    }
    end = at.position;
}

/* Build, and put frames and index into a file. */
static void make_index(void)
{
    const beck_options options = {.size = sizeof options, .flags = BECK_OPEN_FORCE};
    char path[4096];
    built.size = 0;
    ck_assert_int_eq(index_build(&place, BASE, data, end, &built), BECK_OK);
    index_at = end;
    index_bytes = (uint32_t)built.size;
    ck_assert_uint_le(index_bytes, index_reserve(BYTES));
    memcpy(data + index_at, built.data, index_bytes);
    snprintf(path, sizeof path, "%s/index-%d", test_folder(), (int)getpid());
    file_close(&file);
    ck_assert_int_eq(file_open(&file, path, &options), BECK_OK);
    ck_assert_int_eq(os_write(&file.os, data, sizeof data, place_at(&place)), BECK_OK);
}

static void close_all(void)
{
    buf_free(&built);
    file_close(&file);
}

static struct log_position find(int64_t wanted, bool by_time)
{
    return index_find(&file, &place, BASE, index_at, index_bytes, wanted, by_time);
}

/* The frame at a position the index gave. */
static uint32_t frame_at(struct log_position at)
{
    for (uint32_t i = 0; i < FRAMES; i++)
        if (position_of[i] == at.position) {
            ck_assert_uint_eq(at.next, BASE + 3 * i);
            ck_assert(at.chained == (i == 0));
            return i;
        }
    ck_abort_msg("no frame at %u", at.position);
}

START_TEST(entries_stand_for_frames_4_kib_apart)
{
    make_frames();
    make_index();
    uint32_t count = 0, last = 0;
    ck_assert_int_eq(index_header_decode(built.data, built.size, &place, &count), BECK_OK);
    ck_assert_uint_gt(count, 8);
    for (uint32_t i = 0; i < count; i++) {
        struct index_entry e;
        index_entry_decode(built.data + INDEX_HEADER_BYTES + i * INDEX_ENTRY_BYTES, &e);
        uint32_t frame = e.offset_delta / 3;
        ck_assert_uint_eq(e.position, position_of[frame]);
        if (i == 0) ck_assert_uint_eq(frame, 0);
        if (i == 0) ck_assert_int_eq(e.max_before, INT64_MIN);
        if (i > 0) ck_assert_uint_ge(e.position, last + INDEX_SPACING);
        if (i > 0) ck_assert_uint_lt(position_of[frame - 1], last + INDEX_SPACING);
        if (i > 0) ck_assert_int_eq(e.max_before, time_of(frame - (frame % 10 == 0 ? 2 : 1)));
        last = e.position;
    }
    ck_assert_int_eq(index_valid(&file, &place, index_at, index_bytes), 1);
    close_all();
}
END_TEST

START_TEST(an_offset_is_at_most_one_step_away)
{
    make_frames();
    make_index();
    for (uint32_t offset = 0; offset < 3 * FRAMES; offset++) {
        uint32_t frame = frame_at(find(BASE + offset, false));
        ck_assert_uint_le(frame, offset / 3);
        ck_assert_uint_lt(position_of[offset / 3] - position_of[frame], 2 * INDEX_SPACING);
    }
    ck_assert_uint_eq(frame_at(find(0, false)), 0);
    ck_assert_uint_gt(frame_at(find(INT64_MAX, false)), FRAMES - 20);
    close_all();
}
END_TEST

/* No batch at or after the time lies before the frame that is given. */
START_TEST(a_time_is_never_behind_the_place_found)
{
    make_frames();
    make_index();
    for (int64_t t = 0; t < 1100 + 100 * (int64_t)FRAMES; t += 50) {
        uint32_t frame = frame_at(find(t, true)), first = 0;
        while (first < FRAMES && time_of(first) < t) first++;
        ck_assert_uint_le(frame, first);
        if (first < FRAMES && first > 0)
            ck_assert_uint_lt(position_of[first] - position_of[frame], 2 * INDEX_SPACING);
    }
    close_all();
}
END_TEST

START_TEST(a_wrong_index_is_not_used)
{
    make_frames();
    make_index();
    const int64_t far = BASE + 3 * FRAMES - 1;
    ck_assert_uint_gt(frame_at(find(far, false)), 0);
    for (uint32_t i = 0; i < index_bytes; i++) {
        uint8_t byte = (uint8_t)(data[index_at + i] ^ 1);
        ck_assert_int_eq(os_write(&file.os, &byte, 1, place_at(&place) + index_at + i), BECK_OK);
        ck_assert_uint_eq(frame_at(find(far, false)), 0);
        ck_assert_int_eq(index_valid(&file, &place, index_at, index_bytes), 0);
        ck_assert_int_eq(
            os_write(&file.os, data + index_at + i, 1, place_at(&place) + index_at + i), BECK_OK);
    }
    ck_assert_uint_gt(frame_at(find(far, false)), 0);
    index_bytes -= INDEX_ENTRY_BYTES; /* cut off */
    ck_assert_uint_eq(frame_at(find(far, false)), 0);
    index_bytes = UINT32_MAX;
    ck_assert_uint_eq(frame_at(find(far, false)), 0);
    index_bytes = index_at = 0; /* there is none */
    ck_assert_uint_eq(frame_at(find(far, false)), 0);
    close_all();
}
END_TEST

/* Without room for it there is none; what lies behind the segment stays as it is. */
START_TEST(an_index_that_does_not_fit_is_not_written)
{
    struct segment_place tight = place;
    uint8_t before[256], after[sizeof before];
    struct coord coord;
    uint32_t at, bytes;
    make_frames();
    make_index();
    ck_assert_int_eq(coord_open(&coord, &file.os), BECK_OK);
    tight.blocks = 1;
    const uint64_t behind = place_at(&tight) + BLOCK_BYTES;
    ck_assert_int_eq(os_read(&file.os, before, sizeof before, behind), BECK_OK);
    for (uint32_t room = 0; room <= 64; room += FRAME_ALIGN) { /* too little for any index */
        index_write(&coord, &tight, BASE, BLOCK_BYTES - room, &at, &bytes);
        ck_assert_uint_eq(at, 0);
        ck_assert_uint_eq(bytes, 0);
    }
    ck_assert_int_eq(os_read(&file.os, after, sizeof after, behind), BECK_OK);
    ck_assert_mem_eq(after, before, sizeof after);
    index_write(&coord, &tight, BASE, position_of[10], &at, &bytes);
    ck_assert_uint_eq(at, position_of[10]);
    ck_assert(index_valid(&file, &tight, at, bytes));
    coord_close(&coord);
    close_all();
}
END_TEST

/* An index that was right for other frames. */
START_TEST(positions_outside_of_the_frames_are_not_used)
{
    make_frames();
    make_index();
    uint32_t count = get_le32(data + index_at + 4);
    uint8_t *last = data + index_at + INDEX_HEADER_BYTES + (count - 1) * INDEX_ENTRY_BYTES;
    const uint32_t bad[] = {0, SEGMENT_HEADER_BYTES - 8, index_at, UINT32_MAX - 7,
                            position_of[50] + 4};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        put_le32(last + 4, bad[i]);
        index_header_encode(&place, data + index_at + INDEX_HEADER_BYTES, count, data + index_at);
        ck_assert_int_eq(os_write(&file.os, data, sizeof data, place_at(&place)), BECK_OK);
        ck_assert_uint_eq(frame_at(find(INT64_MAX, false)), 0);
    }
    close_all();
}
END_TEST

START_TEST(damage_is_stepped_over)
{
    make_frames();
    data[position_of[30] + 5] ^= 1;
    make_index();
    for (uint32_t offset = 100; offset < 3 * FRAMES; offset++)
        ck_assert_uint_lt(position_of[offset / 3] -
                              position_of[frame_at(find(BASE + offset, false))],
                          3 * INDEX_SPACING);
    ck_assert_uint_gt(frame_at(find(INT64_MAX, false)), FRAMES - 20);
    close_all();
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("index");
    TCase *c = tcase_create("index");
    tcase_add_test(c, entries_stand_for_frames_4_kib_apart);
    tcase_add_test(c, an_offset_is_at_most_one_step_away);
    tcase_add_test(c, a_time_is_never_behind_the_place_found);
    tcase_add_test(c, an_index_that_does_not_fit_is_not_written);
    tcase_add_test(c, a_wrong_index_is_not_used);
    tcase_add_test(c, positions_outside_of_the_frames_are_not_used);
    tcase_add_test(c, damage_is_stepped_over);
    suite_add_tcase(s, c);
    return s;
}
