/* space_test.c -- runs of blocks: taken, given back, found, beside a map of every block */
#include "space.h"

#include <string.h>

#include "err.h"
#include "format.h"
#include "test.h"

#define BLOCKS 200u

START_TEST(an_empty_file_is_free_from_the_heap_on)
{
    struct space s = {0};
    ck_assert_uint_eq(space_end(&s), HEAP_BLOCK);
    ck_assert_uint_eq(space_used(&s), 0);
    ck_assert_uint_eq(space_find(&s, 1), HEAP_BLOCK);
    ck_assert_uint_eq(space_find(&s, 100000), HEAP_BLOCK);
    space_free(&s);
}
END_TEST

START_TEST(the_lowest_hole_that_is_large_enough_is_found)
{
    struct space s = {0};
    ck_assert_int_eq(space_take(&s, HEAP_BLOCK + 8, 2), BECK_OK);
    ck_assert_int_eq(space_take(&s, HEAP_BLOCK, 5), BECK_OK);
    ck_assert_uint_eq(space_find(&s, 1), HEAP_BLOCK + 5);
    ck_assert_uint_eq(space_find(&s, 3), HEAP_BLOCK + 5);
    ck_assert_uint_eq(space_find(&s, 4), HEAP_BLOCK + 10);
    ck_assert_uint_eq(space_end(&s), HEAP_BLOCK + 10);
    ck_assert_uint_eq(space_used(&s), 7);
    space_give(&s, HEAP_BLOCK, 2); /* keeps two blocks of five */
    ck_assert_uint_eq(space_find(&s, 6), HEAP_BLOCK + 2);
    space_give(&s, HEAP_BLOCK, 4); /* never grows */
    ck_assert_uint_eq(space_used(&s), 4);
    space_give(&s, HEAP_BLOCK + 1, 0); /* no run begins there */
    ck_assert_uint_eq(space_used(&s), 4);
    space_give(&s, HEAP_BLOCK + 8, 0);
    ck_assert_uint_eq(space_end(&s), HEAP_BLOCK + 2);
    space_free(&s);
}
END_TEST

START_TEST(what_is_not_free_is_refused)
{
    struct space s = {0};
    uint32_t at = HEAP_BLOCK + 10;
    ck_assert_int_eq(space_take(&s, at, 4), BECK_OK);
    const struct run bad[] = {
        {at, 4}, {at - 1, 2},         {at + 3, 1}, {at + 1, 2}, {at - 5, 20},
        {at, 1}, {HEAP_BLOCK - 1, 1}, {0, 1},      {at + 4, 0}, {at + 4, UINT32_MAX - at - 3}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        ck_assert_int_eq(space_take(&s, bad[i].block, bad[i].blocks), BECK_CORRUPT);
    ck_assert_uint_eq(space_used(&s), 4);
    ck_assert_int_eq(space_take(&s, at - 1, 1), BECK_OK); /* touching is allowed */
    ck_assert_int_eq(space_take(&s, at + 4, 1), BECK_OK);
    space_free(&s);
}
END_TEST

START_TEST(block_numbers_run_out)
{
    struct space s = {0};
    ck_assert_int_eq(space_take(&s, HEAP_BLOCK, UINT32_MAX - HEAP_BLOCK - 5), BECK_OK);
    ck_assert_uint_eq(space_find(&s, 4), UINT32_MAX - 5);
    ck_assert_uint_eq(space_find(&s, 5), 0);
    ck_assert_uint_eq(space_find(&s, UINT32_MAX), 0);
    space_free(&s);
}
END_TEST

/* Random runs, beside one byte for every block. */
static uint64_t random_state;

static uint32_t random_below(uint32_t limit)
{
    random_state = random_state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)((random_state >> 33) % limit);
}

static uint32_t model_find(const uint8_t *used, uint32_t blocks)
{
    uint32_t free_blocks = 0;
    for (uint32_t b = 0;; b++) {
        free_blocks = b < BLOCKS && used[b] != 0 ? 0 : free_blocks + 1;
        if (free_blocks == blocks) return HEAP_BLOCK + b + 1 - blocks;
    }
}

START_TEST(random_runs_agree_with_a_map)
{
    struct space s = {0};
    uint8_t used[BLOCKS] = {0}, first[BLOCKS] = {0};
    random_state = test_seed();
    for (int step = 0; step < 5000; step++) {
        uint32_t block = random_below(BLOCKS), blocks = 1 + random_below(9), count = 0;
        if (first[block] != 0) { /* a run begins here: shorten it, or give it back */
            uint32_t kept = random_below(first[block]);
            memset(used + block + kept, 0, first[block] - kept);
            first[block] = (uint8_t)kept;
            space_give(&s, HEAP_BLOCK + block, kept);
        } else if (block + blocks <= BLOCKS) {
            bool is_free = memchr(used + block, 1, blocks) == NULL;
            ck_assert_int_eq(space_take(&s, HEAP_BLOCK + block, blocks),
                             is_free ? BECK_OK : BECK_CORRUPT);
            if (is_free) {
                memset(used + block, 1, blocks);
                first[block] = (uint8_t)blocks;
            }
        }
        for (uint32_t b = 0; b < BLOCKS; b++) count += used[b];
        ck_assert_uint_eq(space_used(&s), count);
        ck_assert_uint_eq(space_find(&s, blocks), model_find(used, blocks));
    }
    space_free(&s);
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("space");
    TCase *c = tcase_create("space");
    tcase_add_test(c, an_empty_file_is_free_from_the_heap_on);
    tcase_add_test(c, the_lowest_hole_that_is_large_enough_is_found);
    tcase_add_test(c, what_is_not_free_is_refused);
    tcase_add_test(c, block_numbers_run_out);
    tcase_add_test(c, random_runs_agree_with_a_map);
    suite_add_tcase(s, c);
    return s;
}
