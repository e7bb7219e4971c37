/* test.h -- what every C test program shares: main, the seed and a fresh folder
 *
 * A program defines `Suite *suite(void)` and includes this once. Each test runs in a process of
 * its own with a time limit. CK_RUN_CASE (make T=) picks one case, SEED repeats a random run. Files
 * go into test_folder(), one for all tests of the program, which the runner removes. */
#ifndef TEST_H
#define TEST_H

#include <check.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

Suite *suite(void);

static uint64_t test_seed_value;

/* The seed of this run: the same in every test of the program. */
static inline uint64_t test_seed(void)
{
    return test_seed_value;
}

/* Where a test may create files. */
static inline const char *test_folder(void)
{
    const char *folder = getenv("TMPDIR");
    return folder != NULL ? folder : "/tmp";
}

/* For what cannot hold with os_portable, and why. */
#ifdef BECK_OS_PORTABLE
#define test_add_linux(c, t, why)                                                                  \
    ((void)(c), (void)(t), (void)printf("skipped " #t ": %s\n", (why)))
#define test_add_linux_loop(c, t, from, to, why) test_add_linux(c, t, why)
#else
#define test_add_linux(c, t, why) tcase_add_test(c, t)
#define test_add_linux_loop(c, t, from, to, why) tcase_add_loop_test(c, t, from, to)
#endif
#define NO_BOOT_ID "without a boot id a crashed file is treated like a copy"
#define NO_DSYNC "watches pwritev2"

/* A sanitizer needs memory of its own, and ends the process without it. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define TEST_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define TEST_SANITIZED 1
#endif
#endif
#if defined(__SANITIZE_THREAD__)
#define TEST_THREAD_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define TEST_THREAD_SANITIZED 1
#endif
#endif
#ifdef TEST_SANITIZED
#define test_add_short_of_memory(c, t, from, to)                                                   \
    ((void)(c), (void)(t), (void)printf("skipped " #t ": a sanitizer cannot be short of memory\n"))
#else
#define test_add_short_of_memory(c, t, from, to) tcase_add_loop_test(c, t, from, to)
#endif

static void test_choose_seed(void)
{
    const char *seed = getenv("SEED");
    if (seed != NULL && *seed != '\0') {
        test_seed_value = strtoull(seed, NULL, 0);
    } else {
        uint32_t random = 0;
        if (getrandom(&random, sizeof random, 0) != (ssize_t)sizeof random) abort();
        test_seed_value = random;
    }
    printf("SEED=%llu\n", (unsigned long long)test_seed_value);
    fflush(stdout); /* the tests' processes must not print it again */
}

int main(void)
{
    setenv("CK_DEFAULT_TIMEOUT", "10", 0);
    test_choose_seed();
    SRunner *runner = srunner_create(suite());
    srunner_set_fork_status(runner, CK_FORK);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}

#endif
