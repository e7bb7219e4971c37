/* verify_test.c -- beck_check finds what only bytes with right checksums can hide */
#include "api_help.h"
#include "bytes.h"
#include "format.h"

/* The last frame of the file's only topic gets another guard, a right one. */
static void change_last_guard(const char *name)
{
    size_t size, at = HEAP_AT, last = 0;
    uint8_t *bytes = file_content(name, &size);
    struct segment_header h = {0};
    while (segment_header_decode(bytes + at, &h) < 0 || h.topic < TOPIC_USER_FIRST)
        at += BLOCK_BYTES;
    struct segment_place place = {h.id, h.salt, (uint32_t)(at / BLOCK_BYTES), h.blocks};
    struct frame f;
    for (size_t pos = SEGMENT_HEADER_BYTES;; pos += frame_span(f.length)) {
        frame_decode(bytes + at + pos, &f);
        if (f.length == 0) break;
        last = pos;
    }
    ck_assert_uint_gt(last, SEGMENT_HEADER_BYTES);
    frame_decode(bytes + at + last, &f);
    f.stable = f.stable == 0;
    f.guard = frame_guard(&place, (uint32_t)last, &f, bytes + at + last + FRAME_BYTES);
    frame_encode(&f, bytes + at + last);
    file_make(name, bytes, size);
    free(bytes);
}

static int keep(void *context, const char *finding)
{
    snprintf(context, 200, "%s", finding);
    return 0;
}

/* Whoever appends would chain his frame to one that is not there, and no reader would find it. */
START_TEST(tail_that_names_another_frame)
{
    char finding[200] = "";
    beck *db = open_db(path());
    beck_topic *topic = os_topic(db, "os", 1, 0);
    OK(db, append_text(topic, 0, "one"));
    OK(db, append_text(topic, 0, "two"));
    OK(db, beck_close(db));
    db = open_readonly(path());
    OK(db, beck_check(db, NULL, NULL, NULL, NULL));
    OK(db, beck_close(db));

    change_last_guard(path());
    db = open_readonly(path());
    GIVES(CORRUPT, db, beck_check(db, keep, NULL, finding, NULL));
    ck_assert_ptr_nonnull(strstr(finding, "os:0"));
    ck_assert_ptr_nonnull(strstr(finding, "tail"));
    OK(db, beck_close(db));
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("verify");
    TCase *c = tcase_create("catalog");
    tcase_add_test(c, tail_that_names_another_frame);
    suite_add_tcase(s, c);
    return s;
}
