/* check.h -- stands in for Check on emulated machines: Debian has no libcheck to cross-compile with
 *
 * Just what the tests of test/ use, with the meaning of Check's own: each test runs in a process
 * of its own with a time limit, CK_RUN_CASE picks one case, and the summary is the line that
 * test/run counts. What port/skipped lists is not run, for the reason that stands there. Native
 * builds never see this file. */
#ifndef PORT_CHECK_H
#define PORT_CHECK_H

#include <errno.h>
#include <fnmatch.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

typedef struct {
    const char *name, *file;
    void (*run)(int);
} TTest;

typedef struct TCase {
    const char *name;
    double seconds; /* 0 = the default */
    struct {
        const TTest *test;
        int from, to;
    } tests[128];
    size_t count;
} TCase;

typedef struct {
    const char *name;
    TCase *cases[32];
    size_t count;
} Suite;

typedef struct {
    Suite *suite;
    int failed;
} SRunner;

enum { CK_FORK, CK_ENV };

#define START_TEST(NAME)                                                                           \
    static void NAME##_run(int);                                                                   \
    static const TTest NAME##_test = {#NAME, __FILE__, NAME##_run};                                \
    static const TTest *const NAME = &NAME##_test;                                                 \
    static void NAME##_run(int _i __attribute__((unused)))
#define END_TEST

static inline _Noreturn void ck_fail(const char *file, int line, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static inline _Noreturn void ck_fail(const char *file, int line, const char *format, ...)
{
    va_list words;
    va_start(words, format);
    printf("%s:%d: ", file, line);
    vprintf(format, words);
    printf("\n");
    va_end(words);
    fflush(stdout);
    _exit(1);
}

#define ck_abort_msg(...) ck_fail(__FILE__, __LINE__, __VA_ARGS__)
#define ck_assert_msg(x, ...) ((x) ? (void)0 : ck_fail(__FILE__, __LINE__, __VA_ARGS__))
#define ck_assert(x) ck_assert_msg(x, "Assertion '%s' failed", #x)

#define ck_compare(type, print, x, op, y)                                                          \
    do {                                                                                           \
        type ck_x = (type)(x), ck_y = (type)(y);                                                   \
        ck_assert_msg(ck_x op ck_y, "%s " #op " %s: %" print ", %" print, #x, #y, ck_x, ck_y);     \
    } while (0)
#define ck_assert_int_eq(x, y) ck_compare(intmax_t, PRIdMAX, x, ==, y)
#define ck_assert_int_ne(x, y) ck_compare(intmax_t, PRIdMAX, x, !=, y)
#define ck_assert_int_lt(x, y) ck_compare(intmax_t, PRIdMAX, x, <, y)
#define ck_assert_int_le(x, y) ck_compare(intmax_t, PRIdMAX, x, <=, y)
#define ck_assert_int_gt(x, y) ck_compare(intmax_t, PRIdMAX, x, >, y)
#define ck_assert_int_ge(x, y) ck_compare(intmax_t, PRIdMAX, x, >=, y)
#define ck_assert_uint_eq(x, y) ck_compare(uintmax_t, PRIuMAX, x, ==, y)
#define ck_assert_uint_ne(x, y) ck_compare(uintmax_t, PRIuMAX, x, !=, y)
#define ck_assert_uint_lt(x, y) ck_compare(uintmax_t, PRIuMAX, x, <, y)
#define ck_assert_uint_le(x, y) ck_compare(uintmax_t, PRIuMAX, x, <=, y)
#define ck_assert_uint_gt(x, y) ck_compare(uintmax_t, PRIuMAX, x, >, y)
#define ck_assert_uint_ge(x, y) ck_compare(uintmax_t, PRIuMAX, x, >=, y)
#define ck_assert_ptr_eq(x, y) ck_assert((const void *)(x) == (const void *)(y))
#define ck_assert_ptr_ne(x, y) ck_assert((const void *)(x) != (const void *)(y))
#define ck_assert_ptr_null(x) ck_assert_ptr_eq(x, NULL)
#define ck_assert_ptr_nonnull(x) ck_assert_ptr_ne(x, NULL)
#define ck_assert_str_eq(x, y)                                                                     \
    do {                                                                                           \
        const char *ck_x = (x), *ck_y = (y);                                                       \
        ck_assert_msg(strcmp(ck_x, ck_y) == 0, "%s == %s: \"%s\", \"%s\"", #x, #y, ck_x, ck_y);    \
    } while (0)
#define ck_assert_str_ne(x, y) ck_assert(strcmp((x), (y)) != 0)
#define ck_assert_mem_eq(x, y, bytes) ck_assert(memcmp((x), (y), (size_t)(bytes)) == 0)
#define ck_assert_mem_ne(x, y, bytes) ck_assert(memcmp((x), (y), (size_t)(bytes)) != 0)

static inline void *ck_new(size_t bytes)
{
    void *p = calloc(1, bytes);
    if (p == NULL) abort();
    return p;
}

static inline Suite *suite_create(const char *name)
{
    Suite *s = ck_new(sizeof *s);
    s->name = name;
    return s;
}

static inline TCase *tcase_create(const char *name)
{
    TCase *c = ck_new(sizeof *c);
    c->name = name;
    return c;
}

static inline void suite_add_tcase(Suite *s, TCase *c)
{
    if (s->count == sizeof s->cases / sizeof s->cases[0]) abort();
    s->cases[s->count++] = c;
}

static inline void tcase_set_timeout(TCase *c, double seconds)
{
    c->seconds = seconds;
}

static inline void tcase_add_loop_test(TCase *c, const TTest *test, int from, int to)
{
    if (c->count == sizeof c->tests / sizeof c->tests[0]) abort();
    c->tests[c->count].test = test;
    c->tests[c->count].from = from;
    c->tests[c->count++].to = to;
}

static inline void tcase_add_test(TCase *c, const TTest *test)
{
    tcase_add_loop_test(c, test, 0, 1);
}

static inline SRunner *srunner_create(Suite *s)
{
    SRunner *r = ck_new(sizeof *r);
    r->suite = s;
    return r;
}

static inline void srunner_set_fork_status(SRunner *r, int status)
{
    (void)r, (void)status;
}

static inline double ck_number(const char *name, double otherwise)
{
    const char *text = getenv(name);
    return text != NULL && *text != '\0' ? strtod(text, NULL) : otherwise;
}

/* Run one test in a process group of its own; false when it failed. */
static inline bool ck_run(const TCase *c, const TTest *test, int i)
{
    double seconds = c->seconds > 0 ? c->seconds : ck_number("CK_DEFAULT_TIMEOUT", 4);
    seconds *= ck_number("CK_TIMEOUT_MULTIPLIER", 1);
    fflush(stdout);
    pid_t child = fork();
    if (child < 0) abort();
    if (child == 0) {
        setpgid(0, 0);
        test->run(i);
        exit(0);
    }
    setpgid(child, child);
    int status = 0;
    for (double waited = 0; waitpid(child, &status, WNOHANG) != child; waited += 0.002) {
        struct timespec t = {.tv_nsec = 2000000};
        nanosleep(&t, NULL);
        if (waited > seconds) kill(-child, SIGKILL);
    }
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return true;
    kill(-child, SIGKILL); /* what a failed test left behind */
    printf("%s:%s:%s:%d: ", test->file, c->name, test->name, i);
    if (WIFSIGNALED(status))
        printf("signal %d%s\n", WTERMSIG(status), WTERMSIG(status) == SIGKILL ? ", too slow?" : "");
    else
        printf("exit %d\n", WEXITSTATUS(status));
    return false;
}

/* Does port/skipped, which PORT_SKIPPED names, list this test? */
static inline bool ck_skipped(const char *test)
{
    const char *path = getenv("PORT_SKIPPED");
    FILE *list = path != NULL ? fopen(path, "r") : NULL;
    char line[256], program[64], pattern[64], reason[128];
    bool found = false;
    while (list != NULL && !found && fgets(line, sizeof line, list) != NULL)
        found = sscanf(line, "%63s %63s %127[^\n]", program, pattern, reason) == 3 &&
                strcmp(program, program_invocation_short_name) == 0 &&
                fnmatch(pattern, test, 0) == 0;
    if (list != NULL) fclose(list);
    if (found) printf("skipped %s: %s\n", test, reason);
    return found;
}

static inline void srunner_run_all(SRunner *r, int mode)
{
    const char *only = getenv("CK_RUN_CASE");
    int checks = 0, wrong = 0;
    (void)mode;
    for (size_t k = 0; k < r->suite->count; k++) {
        const TCase *c = r->suite->cases[k];
        if (only != NULL && *only != '\0' && strcmp(only, c->name) != 0) continue;
        for (size_t t = 0; t < c->count; t++) {
            if (ck_skipped(c->tests[t].test->name)) continue;
            for (int i = c->tests[t].from; i < c->tests[t].to; i++, checks++)
                wrong += !ck_run(c, c->tests[t].test, i);
        }
    }
    r->failed = wrong;
    printf("%d%%: Checks: %d, Failures: %d, Errors: 0\n",
           checks == 0 ? 100 : (checks - wrong) * 100 / checks, checks, wrong);
}

static inline int srunner_ntests_failed(const SRunner *r)
{
    return r->failed;
}

static inline void srunner_free(SRunner *r)
{
    free(r); /* the process ends */
}

#endif
