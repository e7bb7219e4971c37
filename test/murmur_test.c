/* murmur_test.c -- the hash and the partition of a key are those of Kafka's clients */
#include "murmur.h"

#include <string.h>

#include "test.h"

/* From the tests of Kafka's Java client. */
static const struct {
    const char *key;
    int32_t hash;
} known[] = {
    {"21", -973932308},
    {"foobar", -790332482},
    {"a-little-bit-long-string", -985981536},
    {"a-little-bit-longer-string", -1486304829},
    {"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971},
    {"abc", 479470107},
};

START_TEST(known_hashes)
{
    size_t bytes = strlen(known[_i].key);
    char *unaligned = malloc(bytes + 1);
    memcpy(unaligned + 1, known[_i].key, bytes);
    ck_assert_int_eq((int32_t)murmur2(known[_i].key, bytes), known[_i].hash);
    ck_assert_int_eq((int32_t)murmur2(unaligned + 1, bytes), known[_i].hash);
    ck_assert_int_eq(beck_partition_for_key(known[_i].key, bytes, 1000),
                     (known[_i].hash & INT32_MAX) % 1000);
    free(unaligned);
}
END_TEST

/* Java's bytes are signed; the hash must not be. By an independent program. */
START_TEST(high_bytes)
{
    ck_assert_uint_eq(murmur2("\xff\xfe\xfd\xfc\xfb\xfa\xf9", 7), 0xf6176f45u);
    ck_assert_uint_eq(murmur2("", 0), 0x106e08d9u);
    ck_assert_uint_eq(murmur2(NULL, 0), 0x106e08d9u);
}
END_TEST

START_TEST(partitions_stay_in_range)
{
    int32_t seen[7] = {0};
    for (uint32_t i = 0; i < 7000; i++) {
        int32_t partition = beck_partition_for_key(&i, sizeof i, 7);
        ck_assert_int_ge(partition, 0);
        ck_assert_int_lt(partition, 7);
        seen[partition]++;
    }
    for (int i = 0; i < 7; i++) ck_assert_int_gt(seen[i], 700);
    ck_assert_int_eq(beck_partition_for_key("42", 2, 1), 0);
    ck_assert_int_eq(beck_partition_for_key("42", 2, 0), -1);
    ck_assert_int_eq(beck_partition_for_key("42", 2, -5), -1);
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("murmur");
    TCase *c = tcase_create("murmur");
    tcase_add_loop_test(c, known_hashes, 0, (int)(sizeof known / sizeof known[0]));
    tcase_add_test(c, high_bytes);
    tcase_add_test(c, partitions_stay_in_range);
    suite_add_tcase(s, c);
    return s;
}
