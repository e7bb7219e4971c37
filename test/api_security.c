/* api_security.c -- what SECURITY.md says of new files: their mode, and links on the way to them */
#include <errno.h>

#include "api_help.h"

static uint32_t mode_of(const char *name)
{
    struct stat st;
    ck_assert_int_eq(stat(name, &st), 0);
    return st.st_mode & 07777;
}

/* What was asked for, less the umask, and never more: neither now nor after use. */
START_TEST(a_new_file_has_the_mode_asked_for)
{
    static const uint32_t asked[] = {0, 0600, 0640, 0644, 0660, 0666, 0777};
    static const mode_t masks[] = {0, 022, 027, 077};
    for (size_t i = 0; i < sizeof asked / sizeof asked[0]; i++)
        for (size_t k = 0; k < sizeof masks / sizeof masks[0]; k++) {
            uint32_t wanted = (asked[i] != 0 ? asked[i] : 0644) & ~(uint32_t)masks[k];
            beck_options options = {.size = sizeof options, .file_mode = asked[i]};
            const char *name = path();
            beck *db = NULL;
            (void)unlink(name);
            umask(masks[k]);
            OK(db, beck_open(name, &options, &db));
            ck_assert_uint_eq(mode_of(name), wanted);
            OK(db, append_text(os_topic(db, "t", 1, 0), 0, "x"));
            OK(db, beck_close(db));
            ck_assert_uint_eq(mode_of(name), wanted);
            ck_assert_int_eq(chmod(name, 0600), 0); /* the owner's word counts from then on */
            options.file_mode = 0666;
            OK(db, beck_open(name, &options, &db));
            OK(db, beck_close(db));
            ck_assert_uint_eq(mode_of(name), 0600);
        }
}
END_TEST

START_TEST(modes_are_permissions_only)
{
    static const uint32_t modes[] = {01000, 02755, 04755, 0100644, UINT32_MAX};
    for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++) {
        beck_options options = {.size = sizeof options, .file_mode = modes[i]};
        beck *db = NULL;
        GIVES(INVALID, db, beck_open(path(), &options, &db));
        says(NULL, "file_mode");
        ck_assert_int_eq(access(path(), F_OK), -1);
        OK(db, beck_close(db));
    }
}
END_TEST

/* Only a regular file is opened, and none of the others is waited for. */
START_TEST(no_file_at_all)
{
    const char *names[] = {path_in(test_folder(), "fifo"), "/dev/null", test_folder()};
    ck_assert_int_eq(mkfifo(names[0], 0600), 0);
    for (size_t i = 0; i < 3; i++)
        for (uint32_t flags = 0; flags <= BECK_OPEN_READONLY; flags++) {
            beck_options options = {.size = sizeof options, .flags = flags};
            beck *db = NULL;
            int64_t start = clock_ms();
            GIVES(INVALID, db, beck_open(names[i], &options, &db));
            ck_assert_int_lt(clock_ms() - start, 2000);
            OK(db, beck_close(db));
        }
}
END_TEST

/* No file comes into being where a link leads; what is there already may be reached by one. */
START_TEST(links_to_nowhere)
{
    const char *target = path_in(test_folder(), "target.beck"), *link = path();
    beck *db = NULL;
    ck_assert_int_eq(symlink(target, link), 0);
    GIVES(NOT_FOUND, db, beck_open(link, NULL, &db));
    says(db, "symbolic link");
    OK(db, beck_close(db));
    ck_assert_int_eq(access(target, F_OK), -1);
    OK(db, beck_close(open_db(target)));
    OK(db, beck_close(open_db(link)));
}
END_TEST

/* Nor is an empty file made into one through the link of another user: it would be a way to have
 * somebody's file overwritten by its owner. */
START_TEST(links_of_others_to_an_empty_file)
{
    const char *target = path_in(test_folder(), "precious"), *link = path();
    beck *db = NULL;
    file_make(target, "", 0);
    ck_assert_int_eq(symlink(target, link), 0);
    ck_assert_int_eq(lchown(link, 65534, 65534), 0);
    GIVES(PERMISSION, db, beck_open(link, NULL, &db));
    says(db, "another user's symbolic link");
    OK(db, beck_close(db));
    ck_assert_uint_eq(file_size(target), 0);
    file_make(target, "text of somebody", 16);
    GIVES(NOT_BECK, db, beck_open(link, NULL, &db));
    OK(db, beck_close(db));
    ck_assert(file_same(target, (const uint8_t *)"text of somebody", 16));
    file_make(target, "", 0);
    ck_assert_int_eq(lchown(link, geteuid(), (gid_t)-1), 0);
    OK(db, beck_close(open_db(link))); /* one's own */
    ck_assert_uint_gt(file_size(target), 0);
}
END_TEST

/* Bytes of a deleted topic stay in the file until their space is used again: SECURITY.md says so,
 * and what it says shall stay true. */
static bool contains(const char *name, const char *text)
{
    size_t bytes;
    uint8_t *data = file_content(name, &bytes);
    bool found = memmem(data, bytes, text, strlen(text)) != NULL;
    free(data);
    return found;
}

START_TEST(deleted_is_not_erased)
{
    beck *db = open_db(path());
    beck_topic *topic = os_topic(db, "t", 1, 0), *after = os_topic(db, "after", 1, 0);
    OK(db, append_text(topic, 0, "a secret of long ago"));
    OK(db, append_text(after, 0, "so that the file is not cut before it"));
    OK(db, beck_topic_delete(db, "t"));
    OK(db, beck_close(db));
    ck_assert(contains(path(), "a secret of long ago"));
    ck_assert(contains(path(), "so that the file"));
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("security");
    TCase *c = tcase_create("security");
    tcase_add_test(c, a_new_file_has_the_mode_asked_for);
    tcase_add_test(c, modes_are_permissions_only);
    tcase_add_test(c, no_file_at_all);
    tcase_add_test(c, links_to_nowhere);
    if (geteuid() == 0)
        tcase_add_test(c, links_of_others_to_an_empty_file);
    else
        printf("skipped links_of_others_to_an_empty_file: needs root\n");
    tcase_add_test(c, deleted_is_not_erased);
    suite_add_tcase(s, c);
    return s;
}
