/* buf_test.c -- growing, keeping what is in it, the ceiling */
#include "buf.h"

#include <string.h>

#include "err.h"
#include "test.h"

START_TEST(appended_bytes_stay_through_growth)
{
    struct buf b = {0};
    for (unsigned i = 0; i < 100000; i++) {
        uint8_t piece[3] = {(uint8_t)i, (uint8_t)(i >> 8), (uint8_t)(i >> 16)};
        ck_assert_int_eq(buf_append(&b, piece, 1 + i % 3), BECK_OK);
        ck_assert_uint_le(b.size, b.capacity);
    }
    size_t at = 0;
    for (unsigned i = 0; i < 100000; i++) {
        if (b.data[at] != (uint8_t)i) ck_abort_msg("piece %u", i);
        at += 1 + i % 3;
    }
    ck_assert_uint_eq(at, b.size);
    buf_free(&b);
}
END_TEST

START_TEST(growth_is_at_least_double)
{
    struct buf b = {0};
    ck_assert_int_eq(buf_reserve(&b, 1000), BECK_OK);
    size_t before = b.capacity;
    ck_assert_uint_ge(before, 1000);
    ck_assert_int_eq(buf_reserve(&b, before + 1), BECK_OK);
    ck_assert_uint_ge(b.capacity, 2 * before);
    ck_assert_uint_eq(b.size, 0);
    buf_free(&b);
}
END_TEST

START_TEST(room_that_is_there_moves_nothing)
{
    struct buf b = {0};
    ck_assert_int_eq(buf_reserve(&b, 5000), BECK_OK);
    uint8_t *data = b.data;
    ck_assert_int_eq(buf_reserve(&b, 10), BECK_OK);
    ck_assert_int_eq(buf_append(&b, "abc", 3), BECK_OK);
    ck_assert_ptr_eq(b.data, data);
    ck_assert_uint_eq(b.capacity, 5000);
    ck_assert_mem_eq(b.data, "abc", 3);
    buf_free(&b);
}
END_TEST

START_TEST(nothing_may_be_appended)
{
    struct buf b = {0};
    ck_assert_int_eq(buf_append(&b, NULL, 0), BECK_OK);
    ck_assert_uint_eq(b.size, 0);
    ck_assert_ptr_null(b.data);
    buf_free(&b);
}
END_TEST

START_TEST(above_the_ceiling_nothing_changes)
{
    struct buf b = {0};
    ck_assert_int_eq(buf_append(&b, "abc", 3), BECK_OK);
    struct buf before = b;
    ck_assert_int_eq(buf_reserve(&b, SIZE_MAX), BECK_NOMEM);
    ck_assert_int_eq(buf_reserve(&b, (size_t)(64 * 1024 * MIB) + 1), BECK_NOMEM);
    (void)err_set(BECK_INVALID, "%s", "");
    ck_assert_int_eq(buf_append(&b, "abc", SIZE_MAX), BECK_NOMEM);
    ck_assert_str_ne(err_message(), "");
    ck_assert_ptr_eq(b.data, before.data);
    ck_assert_uint_eq(b.size, before.size);
    ck_assert_uint_eq(b.capacity, before.capacity);
    ck_assert_mem_eq(b.data, "abc", 3);
    buf_free(&b);
}
END_TEST

START_TEST(a_freed_buffer_works_again)
{
    struct buf b = {0};
    ck_assert_int_eq(buf_append(&b, "abc", 3), BECK_OK);
    buf_free(&b);
    ck_assert_ptr_null(b.data);
    ck_assert_uint_eq(b.size, 0);
    ck_assert_uint_eq(b.capacity, 0);
    ck_assert_int_eq(buf_append(&b, "de", 2), BECK_OK);
    ck_assert_mem_eq(b.data, "de", 2);
    buf_free(&b);
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("buf");
    TCase *c = tcase_create("buf");
    tcase_add_test(c, appended_bytes_stay_through_growth);
    tcase_add_test(c, growth_is_at_least_double);
    tcase_add_test(c, room_that_is_there_moves_nothing);
    tcase_add_test(c, nothing_may_be_appended);
    tcase_add_test(c, above_the_ceiling_nothing_changes);
    tcase_add_test(c, a_freed_buffer_works_again);
    suite_add_tcase(s, c);
    return s;
}
