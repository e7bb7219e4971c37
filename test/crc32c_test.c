/* crc32c_test.c -- known values; hardware, table and the bitwise definition agree */
#include "crc32c.h"

#include <string.h>

#include "test.h"

static uint32_t bitwise(uint32_t crc, const uint8_t *p, size_t bytes)
{
    crc = ~crc;
    for (; bytes > 0; bytes--) {
        crc ^= *p++;
        for (int i = 0; i < 8; i++) crc = crc >> 1 ^ (crc & 1 ? 0x82F63B78u : 0);
    }
    return ~crc;
}

static uint8_t *random_bytes(size_t bytes)
{
    uint64_t x = test_seed() * 2 + 1;
    uint8_t *p = malloc(bytes);
    for (size_t i = 0; i < bytes; i++) {
        x = x * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        p[i] = (uint8_t)(x >> 56);
    }
    return p;
}

/* The check value, and the vectors of RFC 3720, B.4. */
START_TEST(known_values)
{
    uint8_t zeros[32] = {0}, ones[32], up[32], down[32];
    memset(ones, 0xff, sizeof ones);
    for (unsigned i = 0; i < 32; i++) {
        up[i] = (uint8_t)i;
        down[i] = (uint8_t)(31 - i);
    }
    uint32_t (*const functions[])(uint32_t, const void *, size_t) = {crc32c, crc32c_table};
    for (int i = 0; i < 2; i++) {
        ck_assert_uint_eq(functions[i](0, "123456789", 9), 0xe3069283);
        ck_assert_uint_eq(functions[i](0, zeros, 32), 0x8a9136aa);
        ck_assert_uint_eq(functions[i](0, ones, 32), 0x62a8ab43);
        ck_assert_uint_eq(functions[i](0, up, 32), 0x46dd794e);
        ck_assert_uint_eq(functions[i](0, down, 32), 0x113fdb5c);
        ck_assert_uint_eq(functions[i](0, "", 0), 0);
        ck_assert_uint_eq(functions[i](0x12345678, "", 0), 0x12345678);
    }
}
END_TEST

/* From memory of exactly that size, so that a sanitizer sees reading too far. */
START_TEST(every_length_agrees)
{
    uint8_t *data = random_bytes(2200);
    for (size_t n = 0; n < 2200; n++) {
        uint8_t *exact = malloc(n + 1);
        memcpy(exact + 1, data, n);
        uint32_t start = (uint32_t)n * 0x9e3779b9u, expected = bitwise(start, data, n);
        ck_assert_uint_eq(crc32c_table(start, exact + 1, n), expected);
        ck_assert_uint_eq(crc32c(start, exact + 1, n), expected);
        free(exact);
    }
    free(data);
}
END_TEST

START_TEST(long_input_agrees)
{
    uint8_t *data = random_bytes(100000);
    for (size_t n = 90000; n <= 100000; n += 997)
        ck_assert_uint_eq(crc32c(1, data, n), bitwise(1, data, n));
    free(data);
}
END_TEST

START_TEST(pieces_make_the_whole)
{
    uint8_t *data = random_bytes(700);
    uint32_t whole = crc32c(0, data, 700);
    for (size_t n = 0; n <= 700; n++) {
        ck_assert_uint_eq(crc32c(crc32c(0, data, n), data + n, 700 - n), whole);
        ck_assert_uint_eq(crc32c_table(crc32c(0, data, n), data + n, 700 - n), whole);
    }
    free(data);
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("crc32c");
    TCase *c = tcase_create("crc32c");
    tcase_add_test(c, known_values);
    tcase_add_test(c, every_length_agrees);
    tcase_add_test(c, long_input_agrees);
    tcase_add_test(c, pieces_make_the_whole);
    suite_add_tcase(s, c);
    return s;
}
