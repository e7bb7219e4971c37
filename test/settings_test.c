/* settings_test.c -- the settings of topics: by name, as text, limits, what is not known */
#include "settings.h"

#include <string.h>

#include "err.h"
#include "test.h"

/* Every setting but the partitions, which have a field of their own, goes by its name through the
 * text and back. */
START_TEST(what_is_set_by_name_is_stored)
{
    static const char *const lines[] = {"sync=os", "max.message.bytes=4096", "segment.bytes=49152",
                                        "flush.ms=7", "compression.type=zstd"};
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        char name[64], text[128];
        beck_topic_config c = {.size = sizeof c}, got;
        size_t n = strcspn(lines[i], "=");
        memcpy(name, lines[i], n);
        name[n] = 0;
        ck_assert_int_eq(settings_set(&c, name, lines[i] + n + 1), BECK_OK);
        settings_defaults(&c);
        ck_assert_int_eq(settings_check(&c), BECK_OK);
        ck_assert_uint_eq(settings_write(&c, text, sizeof text), strlen(lines[i]));
        ck_assert_str_eq(text, lines[i]);
        ck_assert_int_eq(settings_read(text, strlen(text), &got), BECK_OK);
        ck_assert_mem_eq(&got, &c, sizeof c);
        c.size = sizeof(size_t); /* a caller whose struct has no such field yet */
        ck_assert_int_eq(settings_set(&c, name, lines[i] + n + 1), BECK_INVALID);
        ck_assert_ptr_nonnull(strstr(err_message(), name));
    }
}
END_TEST

START_TEST(merged_settings_replace_what_they_name)
{
    beck_topic_config c = {.flush_ms = 5, .sync = BECK_SYNC_OS}, more = {.segment_bytes = 65536};
    settings_defaults(&c);
    settings_merge(&c, &more);
    ck_assert_uint_eq(c.flush_ms, 5);
    ck_assert_uint_eq(c.sync, BECK_SYNC_OS);
    ck_assert_uint_eq(c.segment_bytes, 65536);
    more = (beck_topic_config){.flush_ms = BECK_FLUSH_NEVER};
    settings_merge(&c, &more);
    ck_assert_uint_eq(c.flush_ms, 0);
    ck_assert_uint_eq(c.segment_bytes, 65536);
}
END_TEST

START_TEST(unknown_settings_are_kept)
{
    char text[64] = "sync=os", small[20] = "sync=os";
    const char *old = "flush.ms=5\nnew.one=1\n\nsync=sync\nother=x=y\nsyncs=2";
    size_t n = settings_keep(old, text, strlen(text), sizeof text);
    ck_assert_str_eq(text, "sync=os\nnew.one=1\nother=x=y\nsyncs=2");
    ck_assert_uint_eq(n, strlen(text));
    ck_assert_uint_eq(settings_keep(old, small, strlen(small), sizeof small), 17);
    ck_assert_str_eq(small, "sync=os\nnew.one=1"); /* what does not fit is left out whole */
    text[0] = 0;
    ck_assert_uint_eq(settings_keep("", text, 0, sizeof text), 0);
    ck_assert_uint_eq(settings_keep("a=1", text, 0, sizeof text), 3);
}
END_TEST

START_TEST(settings_come_back)
{
    char text[256];
    beck_topic_config c = {0}, got;
    settings_defaults(&c);
    ck_assert_uint_eq(settings_write(&c, text, sizeof text), 0);
    ck_assert_int_eq(settings_read(text, 0, &got), BECK_OK);
    ck_assert_mem_eq(&got, &c, sizeof c);
    c.sync = BECK_SYNC_OS;
    c.max_message_bytes = 128;
    c.segment_bytes = SEGMENT_BYTES_LIMIT;
    c.flush_ms = 4000000000;
    size_t n = settings_write(&c, text, sizeof text);
    ck_assert_str_eq(text, "sync=os\nmax.message.bytes=128\nsegment.bytes=1073741824\n"
                           "flush.ms=4000000000");
    ck_assert_int_eq(settings_read(text, n, &got), BECK_OK);
    ck_assert_mem_eq(&got, &c, sizeof c);
    const char *unknown = "colour=blue\nnothing\nflush.ms=3";
    ck_assert_int_eq(settings_read(unknown, strlen(unknown), &got), BECK_OK);
    ck_assert_uint_eq(got.flush_ms, 3);
}
END_TEST

START_TEST(settings_have_limits)
{
    const beck_topic_config bad[] = {{.partitions = BECK_PARTITIONS_MAX + 1},
                                     {.sync = BECK_SYNC_OS + 1},
                                     {.max_message_bytes = 127},
                                     {.max_message_bytes = MESSAGE_BYTES_LIMIT + 1},
                                     {.segment_bytes = SEGMENT_BYTES_MIN - 1},
                                     {.segment_bytes = SEGMENT_BYTES_LIMIT + 1}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        beck_topic_config c = bad[i];
        settings_defaults(&c);
        ck_assert_int_eq(settings_check(&c), BECK_INVALID);
    }
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("settings");
    TCase *c = tcase_create("settings");
    tcase_add_test(c, what_is_set_by_name_is_stored);
    tcase_add_test(c, merged_settings_replace_what_they_name);
    tcase_add_test(c, unknown_settings_are_kept);
    tcase_add_test(c, settings_come_back);
    tcase_add_test(c, settings_have_limits);
    suite_add_tcase(s, c);
    return s;
}
