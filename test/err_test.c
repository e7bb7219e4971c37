/* err_test.c -- messages belong to their thread; every status has a text, a name and a class */
#include "err.h"

#include <pthread.h>
#include <string.h>

#include "test.h"

START_TEST(set_records_the_words_and_passes_the_status_on)
{
    ck_assert_int_eq(err_set(BECK_RANGE, "offset %d of %s", 7, "orders"), BECK_RANGE);
    ck_assert_str_eq(err_message(), "offset 7 of orders");
    (void)err_set(BECK_INVALID, "%s", "");
    ck_assert_str_eq(err_message(), "");
}
END_TEST

START_TEST(context_goes_in_front)
{
    err_set(BECK_IO, "write failed");
    ck_assert_int_eq(err_context(BECK_IO, "segment %u", 3u), BECK_IO);
    ck_assert_str_eq(err_message(), "segment 3: write failed");
    err_context(BECK_IO, "orders.beck");
    ck_assert_str_eq(err_message(), "orders.beck: segment 3: write failed");
    (void)err_set(BECK_INVALID, "%s", "");
    err_context(BECK_FULL, "orders.beck");
    ck_assert_str_eq(err_message(), "orders.beck: no space left");
}
END_TEST

START_TEST(a_message_may_be_part_of_the_next)
{
    err_set(BECK_IO, "first");
    err_set(BECK_IO, "second after %s", err_message());
    ck_assert_str_eq(err_message(), "second after first");
    err_context(BECK_IO, "again %s", err_message());
    ck_assert_str_eq(err_message(), "again second after first: second after first");
}
END_TEST

START_TEST(one_record_is_and_two_are)
{
    char text[ERR_RECORDS_BYTES];
    ck_assert_str_eq(err_records(text, 7, 8), "record 7 is");
    ck_assert_str_eq(err_records(text, 7, 9), "records 7 to 8 are");
    ck_assert_str_eq(err_records(text, UINT64_MAX - 9, UINT64_MAX),
                     "records 18446744073709551606 to 18446744073709551614 are");
}
END_TEST

START_TEST(long_messages_are_cut)
{
    char text[3000];
    memset(text, 'a', sizeof text);
    text[sizeof text - 1] = '\0';
    err_set(BECK_IO, "%s", text);
    ck_assert_uint_eq(strlen(err_message()), 1023);
    err_context(BECK_IO, "front");
    ck_assert_uint_eq(strlen(err_message()), 1023);
    ck_assert_int_eq(strncmp(err_message(), "front: aaa", 10), 0);
    err_context(BECK_IO, "%s", text);
    ck_assert_uint_eq(strspn(err_message(), "a"), 1023);
    ck_assert_uint_eq(strlen(err_message()), 1023);
}
END_TEST

START_TEST(internal_says_where)
{
    ck_assert_int_eq(err_internal("log.c", 12, "a < b"), BECK_INTERNAL);
    ck_assert_str_eq(err_message(), "internal error: a < b at log.c:12");
    (void)err_set(BECK_INVALID, "%s", "");
    ck_assert_int_eq(INVARIANT(1 + 1 == 2), 0);
    ck_assert_str_eq(err_message(), "");
    ck_assert_int_eq(INVARIANT(1 + 1 == 3), BECK_INTERNAL);
    ck_assert_ptr_nonnull(strstr(err_message(), "1 + 1 == 3"));
}
END_TEST

static void *other_thread(void *argument)
{
    char *seen = argument;
    snprintf(seen, 64, "%s", err_message());
    err_set(BECK_IO, "of the other thread");
    return NULL;
}

START_TEST(threads_do_not_share_messages)
{
    char seen[64] = "unset";
    pthread_t thread;
    err_set(BECK_IO, "of this thread");
    ck_assert_int_eq(pthread_create(&thread, NULL, other_thread, seen), 0);
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
    ck_assert_str_eq(seen, "");
    ck_assert_str_eq(err_message(), "of this thread");
}
END_TEST

START_TEST(every_status_is_described)
{
#define CHECK_STATUS(name, value, text, class)                                                     \
    ck_assert_int_eq(BECK_##name, value);                                                          \
    ck_assert_str_eq(beck_status_text(BECK_##name), text);                                         \
    ck_assert_str_eq(beck_status_name(BECK_##name), #name);                                        \
    ck_assert_int_eq(beck_status_class(BECK_##name), BECK_CLASS_##class);
    BECK_STATUS_LIST(CHECK_STATUS)
    ck_assert_str_eq(beck_status_text(BECK_CORRUPT), "the file is damaged");
    ck_assert_str_eq(beck_status_name(BECK_CORRUPT), "CORRUPT");
    ck_assert_int_eq(beck_status_class(BECK_CORRUPT), BECK_CLASS_REPAIR);
}
END_TEST

START_TEST(an_unknown_status_is_described_too)
{
    ck_assert_str_eq(beck_status_text(-9999), "unknown status");
    ck_assert_str_eq(beck_status_name(-9999), "?");
    ck_assert_int_eq(beck_status_class(-9999), BECK_CLASS_CALLER);
    ck_assert_str_eq(beck_status_text(9999), "unknown status");
    ck_assert_int_eq(beck_status_class(9999), BECK_CLASS_NONE);
}
END_TEST

START_TEST(the_version_agrees_with_its_number)
{
    char text[32];
    int32_t n = beck_version_number();
    snprintf(text, sizeof text, "%d.%d.%d", n / 1000000, n / 1000 % 1000, n % 1000);
    ck_assert_str_eq(beck_version(), text);
    ck_assert_str_eq(beck_version(), BECK_VERSION);
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("err");
    TCase *c = tcase_create("err");
    tcase_add_test(c, set_records_the_words_and_passes_the_status_on);
    tcase_add_test(c, context_goes_in_front);
    tcase_add_test(c, a_message_may_be_part_of_the_next);
    tcase_add_test(c, one_record_is_and_two_are);
    tcase_add_test(c, long_messages_are_cut);
    tcase_add_test(c, internal_says_where);
    tcase_add_test(c, threads_do_not_share_messages);
    tcase_add_test(c, every_status_is_described);
    tcase_add_test(c, an_unknown_status_is_described_too);
    tcase_add_test(c, the_version_agrees_with_its_number);
    suite_add_tcase(s, c);
    return s;
}
