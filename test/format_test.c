/* format_test.c -- bytes at the places FORMAT.md names, round trips, and bytes that lie */
#include "format.h"

#include <string.h>

#include "bytes.h"
#include "crc32c.h"
#include "test.h"

static const struct segment_place place = {
    .id = 0x1122334455667788, .salt = 0xa1b2c3d4, .block = 20, .blocks = 3};

/* ---- Superblock ---- */

static struct superblock some_super(void)
{
    struct superblock s = {.version = 1,
                           .compat = 2,
                           .readonly = 3,
                           .incompat = 4,
                           .application_id = 5,
                           .sequence = 0x0102030405060708,
                           .state = SUPER_UNCLEAN,
                           .root = place,
                           .inode = 6,
                           .birth_s = -7,
                           .birth_ns = 8,
                           .catalog_next = 9};
    memset(s.uuid, 0xaa, sizeof s.uuid);
    memset(s.boot_id, 0xbb, sizeof s.boot_id);
    return s;
}

START_TEST(a_superblock_has_its_bytes)
{
    uint8_t out[SUPER_BYTES], again[SUPER_BYTES];
    struct superblock s = some_super(), got = {0};
    super_encode(&s, out);
    ck_assert_mem_eq(out, "beck format 1\0\r\n", 16);
    ck_assert_uint_eq(get_le32(out + 16), 1);
    ck_assert_uint_eq(get_le32(out + 20), BLOCK_BYTES);
    ck_assert_uint_eq(get_le32(out + 24), 2);
    ck_assert_uint_eq(get_le32(out + 28), 3);
    ck_assert_uint_eq(get_le32(out + 32), 4);
    ck_assert_uint_eq(get_le32(out + 36), 5);
    ck_assert_uint_eq(get_le64(out + 40), s.sequence);
    ck_assert_uint_eq(out[48], 0xaa);
    ck_assert_uint_eq(get_le32(out + 64), SUPER_UNCLEAN);
    ck_assert_uint_eq(get_le32(out + 68), place.salt);
    ck_assert_uint_eq(get_le64(out + 72), place.id);
    ck_assert_uint_eq(get_le32(out + 80), 20);
    ck_assert_uint_eq(get_le32(out + 84), 3);
    ck_assert_uint_eq(get_le64(out + 88), 6);
    ck_assert_int_eq((int64_t)get_le64(out + 96), -7);
    ck_assert_uint_eq(get_le32(out + 104), 8);
    ck_assert_uint_eq(out[112], 0xbb);
    ck_assert_uint_eq(get_le64(out + 128), 9);
    for (int i = 136; i < 252; i++) ck_assert_uint_eq(out[i], 0);
    ck_assert_uint_eq(get_le32(out + 252), crc32c(0, out, 252));
    ck_assert_int_eq(super_decode(out, &got), 1);
    super_encode(&got, again);
    ck_assert_mem_eq(again, out, sizeof out);
}
END_TEST

START_TEST(a_damaged_superblock_is_told_apart)
{
    uint8_t out[SUPER_BYTES];
    struct superblock s = some_super(), got;
    super_encode(&s, out);
    for (uint32_t bit = 0; bit < 8 * SUPER_BYTES; bit++) {
        out[bit / 8] ^= (uint8_t)(1u << bit % 8);
        ck_assert_int_eq(super_decode(out, &got), bit < 128 ? BECK_NOT_BECK : BECK_CORRUPT);
        out[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    put_le32(out + 20, 4096); /* another size of blocks belongs to another version */
    put_le32(out + 252, crc32c(0, out, 252));
    ck_assert_int_eq(super_decode(out, &got), BECK_CORRUPT);
    put_le32(out + 16, 2);
    put_le32(out + 252, crc32c(0, out, 252));
    ck_assert_int_eq(super_decode(out, &got), 1);
    ck_assert_uint_eq(got.version, 2);
    memset(out, 0, sizeof out);
    ck_assert_int_eq(super_decode(out, &got), 0);
}
END_TEST

/* ---- Segment and frame ---- */

START_TEST(a_segment_header_has_its_bytes)
{
    struct segment_header h = {.id = place.id,
                               .topic = 16,
                               .base_offset = 99,
                               .partition = 4,
                               .salt = place.salt,
                               .blocks = 3};
    struct segment_header got = {0};
    uint8_t out[SEGMENT_HEADER_BYTES];
    memset(h.uuid, 0xcc, sizeof h.uuid);
    segment_header_encode(&h, out);
    ck_assert_mem_eq(out, "beckseg1", 8);
    ck_assert_uint_eq(out[8], 0xcc);
    ck_assert_uint_eq(get_le64(out + 24), place.id);
    ck_assert_uint_eq(get_le64(out + 32), 16);
    ck_assert_uint_eq(get_le32(out + 40), 4);
    ck_assert_uint_eq(get_le32(out + 44), place.salt);
    ck_assert_uint_eq(get_le64(out + 48), 99);
    ck_assert_uint_eq(get_le32(out + 56), 3);
    ck_assert_uint_eq(get_le32(out + 60), crc32c(0, out, 60));
    ck_assert_int_eq(segment_header_decode(out, &got), BECK_OK);
    ck_assert_uint_eq(got.base_offset, 99);
    ck_assert_uint_eq(got.partition, 4);
    for (uint32_t bit = 0; bit < 8 * SEGMENT_HEADER_BYTES; bit++) {
        out[bit / 8] ^= (uint8_t)(1u << bit % 8);
        ck_assert_int_eq(segment_header_decode(out, &got), BECK_CORRUPT);
        out[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
}
END_TEST

START_TEST(a_guard_covers_49_bytes)
{
    const struct frame f = {.length = 61, .chain = 0xc0c1c2c3, .stable = 12};
    uint8_t batch[61], bytes[49], out[FRAME_BYTES];
    struct frame got;
    for (uint8_t i = 0; i < sizeof batch; i++) batch[i] = i;
    put_le64(bytes, place.id);
    put_le32(bytes + 8, place.salt);
    put_le32(bytes + 12, 64);
    put_le32(bytes + 16, 61);
    put_le32(bytes + 20, 0xc0c1c2c3);
    put_le32(bytes + 24, 12);
    memcpy(bytes + 28, batch, 21);
    ck_assert_uint_eq(frame_guard(&place, 64, &f, batch), crc32c(0, bytes, sizeof bytes));
    frame_encode(&(struct frame){61, 1, 2, 3}, out);
    frame_decode(out, &got);
    ck_assert_uint_eq(get_le32(out), 61);
    ck_assert_uint_eq(get_le32(out + 4), 1);
    ck_assert_uint_eq(get_le32(out + 8), 2);
    ck_assert_uint_eq(get_le32(out + 12), 3);
    ck_assert_mem_eq(&got, &((struct frame){61, 1, 2, 3}), sizeof got);
    ck_assert_uint_eq(frame_span(61), 80);
    ck_assert_uint_eq(frame_span(64), 80);
    ck_assert_uint_eq(frame_span(65), 88);
}
END_TEST

/* ---- Index ---- */

START_TEST(an_index_is_checked_as_a_whole)
{
    uint8_t out[INDEX_HEADER_BYTES + 3 * INDEX_ENTRY_BYTES];
    const struct index_entry e = {7, 4096, INT64_MIN};
    struct index_entry got;
    struct segment_place other = place;
    uint32_t count = 0;
    for (uint32_t i = 0; i < 3; i++)
        index_entry_encode(&e, out + INDEX_HEADER_BYTES + i * INDEX_ENTRY_BYTES);
    index_header_encode(&place, out + INDEX_HEADER_BYTES, 3, out);
    ck_assert_mem_eq(out, "bidx", 4);
    ck_assert_int_eq(index_header_decode(out, sizeof out, &place, &count), BECK_OK);
    ck_assert_uint_eq(count, 3);
    index_entry_decode(out + INDEX_HEADER_BYTES, &got);
    ck_assert_uint_eq(got.offset_delta, 7);
    ck_assert_uint_eq(got.position, 4096);
    ck_assert_int_eq(got.max_before, INT64_MIN);
    for (uint32_t n = 0; n < sizeof out; n++)
        ck_assert_int_eq(index_header_decode(out, n, &place, &count), BECK_CORRUPT);
    for (uint32_t i = 0; i < sizeof out; i++) {
        out[i] ^= 1;
        ck_assert_int_eq(index_header_decode(out, sizeof out, &place, &count), BECK_CORRUPT);
        out[i] ^= 1;
    }
    other.salt++;
    ck_assert_int_eq(index_header_decode(out, sizeof out, &other, &count), BECK_CORRUPT);
    other = place;
    other.id++;
    ck_assert_int_eq(index_header_decode(out, sizeof out, &other, &count), BECK_CORRUPT);
}
END_TEST

/* ---- Catalog entries ---- */

/* One of each type with every field that it stores set, and its size. */
static const struct {
    struct entry e;
    size_t bytes;
} entries[] = {
    {{.type = ENTRY_LINK,
      .place = {.id = 0x1122334455667788, .salt = 2, .block = 3, .blocks = 4},
      .end = 5,
      .chain = 6},
     32},
    {{.type = ENTRY_TOPIC,
      .topic = 16,
      .partitions = 3,
      .name = "orders",
      .name_bytes = 6,
      .settings = "sync=os",
      .settings_bytes = 7},
     33},
    {{.type = ENTRY_DELETE, .topic = 0x0102030405060708}, 12},
    {{.type = ENTRY_ADD,
      .place = {.id = 1, .salt = 2, .block = 3, .blocks = 4},
      .topic = 16,
      .partition = 5,
      .base_offset = 0xffffffff00000000},
     44},
    {{.type = ENTRY_SEAL,
      .place = {.id = 1, .blocks = 4},
      .next_offset = 7,
      .stable_offset = 6,
      .max_timestamp = -1,
      .end = 8,
      .index_at = 9,
      .index_bytes = 10},
     52},
    {{.type = ENTRY_RETIRE, .place = {.id = 1}, .next_offset = 7}, 20},
    {{.type = ENTRY_FREE, .place = {.id = 1}}, 12},
    {{.type = ENTRY_TAIL,
      .place = {.id = 1},
      .next_offset = 7,
      .max_timestamp = INT64_MIN,
      .end = 8,
      .chain = 0xffffffff,
      .topic = 16,
      .partition = 5},
     48},
    {{.type = ENTRY_IDS, .topic = 17, .next_id = 18}, 20},
};

START_TEST(entries_come_back)
{
    const struct entry *e = &entries[_i].e;
    uint8_t out[ENTRY_BYTES_MAX], again[ENTRY_BYTES_MAX];
    struct entry got;
    ck_assert_uint_eq(entry_encode(e, out), entries[_i].bytes);
    ck_assert_uint_eq(out[0], e->type);
    ck_assert_int_eq(entry_decode(out, entries[_i].bytes, &got), BECK_OK);
    ck_assert_uint_eq(entry_encode(&got, again), entries[_i].bytes);
    ck_assert_mem_eq(again, out, entries[_i].bytes);
    for (size_t n = 0; n <= entries[_i].bytes + 1; n++) {
        uint8_t *exact = malloc(n + 1);
        memcpy(exact, out, n);
        int rc = entry_decode(exact, n, &got);
        ck_assert_int_eq(rc, n == entries[_i].bytes ? BECK_OK : BECK_CORRUPT);
        free(exact);
    }
    for (int i = 1; i < 4; i++) {
        out[i] = 1;
        ck_assert_int_eq(entry_decode(out, entries[_i].bytes, &got), BECK_NEWER);
        out[i] = 0;
    }
    out[0] = ENTRY_IDS + 1;
    ck_assert_int_eq(entry_decode(out, entries[_i].bytes, &got), BECK_NEWER);
    out[0] = 0;
    ck_assert_int_eq(entry_decode(out, entries[_i].bytes, &got), BECK_NEWER);
}
END_TEST

/* A second witness of the field order, by hand. */
START_TEST(an_add_entry_has_its_bytes)
{
    uint8_t out[ENTRY_BYTES_MAX];
    entry_encode(&entries[3].e, out);
    ck_assert_uint_eq(get_le32(out), ENTRY_ADD);
    ck_assert_uint_eq(get_le64(out + 4), 1);
    ck_assert_uint_eq(get_le64(out + 12), 16);
    ck_assert_uint_eq(get_le32(out + 20), 5);
    ck_assert_uint_eq(get_le32(out + 24), 2);
    ck_assert_uint_eq(get_le64(out + 28), 0xffffffff00000000);
    ck_assert_uint_eq(get_le32(out + 36), 3);
    ck_assert_uint_eq(get_le32(out + 40), 4);
}
END_TEST

START_TEST(names_have_limits)
{
    static char name[BECK_TOPIC_NAME_MAX + 1], settings[SETTINGS_BYTES_MAX];
    uint8_t out[ENTRY_BYTES_MAX + 1] = {0};
    struct entry e = {.type = ENTRY_TOPIC, .topic = 16, .partitions = 1}, got;
    e.name = name;
    e.name_bytes = BECK_TOPIC_NAME_MAX;
    e.settings = settings;
    e.settings_bytes = SETTINGS_BYTES_MAX;
    memset(name, 'n', sizeof name);
    size_t bytes = entry_encode(&e, out);
    ck_assert_uint_le(bytes, ENTRY_BYTES_MAX);
    ck_assert_int_eq(entry_decode(out, bytes, &got), BECK_OK);
    put_le16(out + 18, (uint16_t)(SETTINGS_BYTES_MAX + ENTRY_BYTES_MAX + 1 - bytes));
    ck_assert_int_eq(entry_decode(out, ENTRY_BYTES_MAX + 1, &got), BECK_CORRUPT);
    put_le16(out + 16, BECK_TOPIC_NAME_MAX + 1);
    put_le16(out + 18, SETTINGS_BYTES_MAX - 1);
    ck_assert_int_eq(entry_decode(out, bytes, &got), BECK_CORRUPT);
    put_le16(out + 16, 0);
    put_le16(out + 18, SETTINGS_BYTES_MAX);
    ck_assert_int_eq(entry_decode(out, 20 + SETTINGS_BYTES_MAX, &got), BECK_CORRUPT);
}
END_TEST

START_TEST(the_reserve_holds_the_largest_index)
{
    for (uint64_t bytes = BLOCK_BYTES; bytes < 64 * MIB; bytes += 7 * BLOCK_BYTES) {
        uint64_t entries_max = (bytes - SEGMENT_HEADER_BYTES) / INDEX_SPACING + 1;
        ck_assert_uint_ge(index_reserve(bytes),
                          INDEX_HEADER_BYTES + entries_max * INDEX_ENTRY_BYTES);
        ck_assert_uint_eq(index_reserve(bytes) % FRAME_ALIGN, 0);
    }
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("format");
    TCase *c = tcase_create("blocks");
    tcase_add_test(c, a_superblock_has_its_bytes);
    tcase_add_test(c, a_damaged_superblock_is_told_apart);
    tcase_add_test(c, a_segment_header_has_its_bytes);
    tcase_add_test(c, a_guard_covers_49_bytes);
    tcase_add_test(c, an_index_is_checked_as_a_whole);
    tcase_add_test(c, the_reserve_holds_the_largest_index);
    suite_add_tcase(s, c);
    c = tcase_create("entries");
    tcase_add_loop_test(c, entries_come_back, 0, (int)(sizeof entries / sizeof entries[0]));
    tcase_add_test(c, an_add_entry_has_its_bytes);
    tcase_add_test(c, names_have_limits);
    suite_add_tcase(s, c);
    return s;
}
