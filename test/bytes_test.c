/* bytes_test.c -- byte orders and varints against written-out bytes */
#include "bytes.h"

#include "test.h"

START_TEST(little_endian)
{
    uint8_t b[9] = {0xee, 1, 2, 3, 4, 5, 6, 7, 0x88}, out[9] = {0};
    ck_assert_uint_eq(get_le16(b + 1), 0x0201);
    ck_assert_uint_eq(get_le32(b + 1), 0x04030201);
    ck_assert_uint_eq(get_le64(b + 1), UINT64_C(0x8807060504030201));
    put_le64(out + 1, UINT64_C(0x8807060504030201));
    ck_assert_mem_eq(out + 1, b + 1, 8);
    put_le32(out + 1, 0xa4a3a2a1);
    ck_assert_mem_eq(out, "\0\xa1\xa2\xa3\xa4\x05", 6);
    put_le16(out + 1, 0xc2c1);
    ck_assert_mem_eq(out, "\0\xc1\xc2\xa3", 4);
}
END_TEST

START_TEST(big_endian)
{
    uint8_t b[9] = {0xee, 0x81, 2, 3, 4, 5, 6, 7, 8}, out[9] = {0};
    ck_assert_uint_eq(get_be16(b + 1), 0x8102);
    ck_assert_uint_eq(get_be32(b + 1), 0x81020304);
    ck_assert_uint_eq(get_be64(b + 1), UINT64_C(0x8102030405060708));
    put_be64(out + 1, UINT64_C(0x8102030405060708));
    ck_assert_mem_eq(out + 1, b + 1, 8);
    put_be32(out + 1, 0xa1a2a3a4);
    ck_assert_mem_eq(out, "\0\xa1\xa2\xa3\xa4\x05", 6);
}
END_TEST

static const struct {
    int64_t value;
    size_t size;
    uint8_t bytes[10];
} varints[] = {
    {0, 1, {0}},
    {-1, 1, {1}},
    {1, 1, {2}},
    {63, 1, {0x7e}},
    {-64, 1, {0x7f}},
    {64, 2, {0x80, 0x01}},
    {-65, 2, {0x81, 0x01}},
    {8191, 2, {0xfe, 0x7f}},
    {-8192, 2, {0xff, 0x7f}},
    {8192, 3, {0x80, 0x80, 0x01}},
    {-8193, 3, {0x81, 0x80, 0x01}},
    {INT32_MAX, 5, {0xfe, 0xff, 0xff, 0xff, 0x0f}},
    {INT32_MIN, 5, {0xff, 0xff, 0xff, 0xff, 0x0f}},
    {INT64_MAX, 10, {0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01}},
    {INT64_MIN, 10, {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01}},
};

START_TEST(known_varints)
{
    int64_t value = varints[_i].value, got = 0;
    size_t size = varints[_i].size;
    uint8_t out[12] = {0};
    ck_assert_uint_eq(varint_size(value), size);
    ck_assert_ptr_eq(varint_put(out, value), out + size);
    ck_assert_mem_eq(out, varints[_i].bytes, size);
    ck_assert_ptr_eq(varint_get_max(out, out + sizeof out, 10, &got), out + size);
    ck_assert(got == value);
}
END_TEST

/* Around every power of two, from memory of exactly their size. */
START_TEST(varints_come_back)
{
    for (unsigned bit = 0; bit < 63; bit++) {
        for (int64_t d = -2; d <= 2; d++) {
            for (int sign = -1; sign <= 1; sign += 2) {
                int64_t value = sign * ((int64_t)((UINT64_C(1) << bit) - 2) + d + 2), got = 0;
                size_t size = varint_size(value);
                uint8_t *exact = malloc(size);
                ck_assert_ptr_eq(varint_put(exact, value), exact + size);
                ck_assert_ptr_eq(varint_get_max(exact, exact + size, 10, &got), exact + size);
                ck_assert(got == value);
                for (size_t cut = 0; cut < size; cut++)
                    ck_assert_ptr_null(varint_get_max(exact, exact + cut, 10, &got));
                free(exact);
            }
        }
    }
}
END_TEST

START_TEST(varints_that_are_too_long)
{
    const uint8_t eleven[] = {0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00};
    const uint8_t bit_64[] = {0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x02};
    const uint8_t six[] = {0x82, 0x80, 0x80, 0x80, 0x80, 0x00};
    int64_t got = 0;
    ck_assert_ptr_null(varint_get_max(eleven, eleven + sizeof eleven, 10, &got));
    ck_assert_ptr_null(varint_get_max(bit_64, bit_64 + sizeof bit_64, 10, &got));
    ck_assert_ptr_null(varint_get_max(six, six + 6, 5, &got));
    ck_assert_ptr_eq(varint_get_max(six, six + 6, 10, &got), six + 6);
    ck_assert(got == 1);
    ck_assert_ptr_eq(varint_get_max(varints[11].bytes, varints[11].bytes + 10, 5, &got),
                     varints[11].bytes + 5);
    ck_assert(got == INT32_MAX);
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("bytes");
    TCase *c = tcase_create("bytes");
    tcase_add_test(c, little_endian);
    tcase_add_test(c, big_endian);
    tcase_add_loop_test(c, known_varints, 0, (int)(sizeof varints / sizeof varints[0]));
    tcase_add_test(c, varints_come_back);
    tcase_add_test(c, varints_that_are_too_long);
    suite_add_tcase(s, c);
    return s;
}
