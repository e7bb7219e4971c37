/* api_open.c -- opening and closing: options, refusals, messages, what stays in the file */
#include <signal.h>
#include <stddef.h>
#include <sys/resource.h>

#include "api_help.h"

/* ---- Version and status codes ---- */

START_TEST(version_is_the_headers)
{
    ck_assert_int_eq(beck_version_number(), BECK_VERSION_NUMBER);
    ck_assert_str_eq(beck_version(), BECK_VERSION);
}
END_TEST

/* Values and classes are promised for ever: a second list, not made from the header's. */
START_TEST(status_codes_never_change)
{
    static const struct {
        int value, class;
        const char *name;
    } known[] = {{0, 0, "OK"},           {1, 0, "EVENT"},
                 {-1, 1, "IO"},          {-2, 4, "CORRUPT"},
                 {-3, 1, "FULL"},        {-4, 1, "BUSY"},
                 {-5, 3, "POISONED"},    {-6, 1, "NOMEM"},
                 {-7, 2, "INVALID"},     {-8, 2, "NOT_FOUND"},
                 {-9, 2, "EXISTS"},      {-10, 2, "TOO_LARGE"},
                 {-11, 2, "READONLY"},   {-12, 2, "NOT_BECK"},
                 {-13, 2, "NEWER"},      {-14, 2, "FILESYSTEM"},
                 {-15, 3, "FORKED"},     {-16, 3, "MOVED"},
                 {-17, 2, "PERMISSION"}, {-18, 2, "DELETED"},
                 {-19, 2, "RANGE"},      {-20, 2, "UNSUPPORTED"},
                 {-21, 2, "LIMIT"},      {-22, 3, "INTERNAL"}};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        ck_assert_str_eq(beck_status_name(known[i].value), known[i].name);
        ck_assert_int_eq(beck_status_class(known[i].value), known[i].class);
        ck_assert_uint_gt(strlen(beck_status_text(known[i].value)), 5);
    }
    ck_assert_ptr_nonnull(beck_status_text(-1000));
    ck_assert_ptr_nonnull(beck_status_name(1000));
    ck_assert_int_ne(beck_status_class(-1000), BECK_CLASS_NONE);
}
END_TEST

START_TEST(example_of_the_header)
{
    beck *db = NULL;
    beck_topic *topic = NULL;
    beck_record r = {.key = "42",
                     .key_size = 2,
                     .value = "paid",
                     .value_size = 4,
                     .partition = BECK_ANY_PARTITION};
    int64_t offset = -1;
    OK(db, beck_open(path(), NULL, &db));
    OK(db, beck_topic_open(db, "orders", NULL, &topic));
    OK(db, beck_append(topic, &r, &offset));
    ck_assert_int_eq(offset, 0);
    OK(db, beck_close(db));

    db = open_db(path());
    beck_consumer *consumer = consume(db, "orders", BECK_START_BEGINNING, 0);
    const beck_record *got = poll_one(db, consumer);
    ck_assert(value_is(got, "paid"));
    ck_assert_uint_eq(got->key_size, 2);
    ck_assert_mem_eq(got->key, "42", 2);
    ck_assert_str_eq(got->topic, "orders");
    ck_assert_int_eq(got->partition, 0);
    ck_assert_int_eq(got->offset, 0);
    OK(db, beck_close(db)); /* with the consumer in it */
}
END_TEST

/* ---- Options ---- */

START_TEST(options_of_other_versions)
{
    struct {
        beck_options known;
        uint8_t newer[40];
    } larger = {.known = {.size = sizeof larger}};
    beck *db = NULL;
    OK(db, beck_open(path(), &larger.known, &db));
    OK(db, beck_close(db));
    larger.newer[39] = 1;
    GIVES(INVALID, db, beck_open(path(), &larger.known, &db));
    says(db, "beck_options");
    OK(db, beck_close(db));

    beck_options shorter = {.size = offsetof(beck_options, application_id), .application_id = 77};
    OK(db, beck_open(path_in(test_folder(), "short.beck"), &shorter, &db));
    beck_stat_info info = {.size = sizeof info};
    OK(db, beck_stat(db, &info));
    ck_assert_uint_eq(info.application_id, 0); /* lies behind the struct's end */
    OK(db, beck_close(db));

    beck_options sizeless = {.flags = BECK_OPEN_READONLY};
    GIVES(INVALID, db, beck_open(path(), &sizeless, &db));
    OK(db, beck_close(db));
    beck_options flags = {.size = sizeof flags, .flags = 1u << 30};
    GIVES(INVALID, db, beck_open(path(), &flags, &db));
    OK(db, beck_close(db));
}
END_TEST

START_TEST(other_structs_check_their_size)
{
    beck *db = open_db(path());
    beck_consumer *consumer = NULL;
    beck_topic_config config = {.partitions = 2};
    GIVES(INVALID, db, beck_topic_create(db, "t", &config));
    says(db, "beck_topic_config");
    config.size = offsetof(beck_topic_config, sync);
    config.sync = 99; /* behind the end: not seen */
    OK(db, beck_topic_create(db, "t", &config));
    const char *topic = "t";
    beck_consumer_config c = {.topics = &topic, .topic_count = 1};
    GIVES(INVALID, db, beck_consumer_open(db, &c, &consumer));
    says(db, "beck_consumer_config");
    ck_assert_ptr_null(consumer);
    struct {
        beck_consumer_config known;
        uint64_t newer;
    } larger = {.known = {.size = sizeof larger, .topics = &topic, .topic_count = 1}, .newer = 5};
    GIVES(INVALID, db, beck_consumer_open(db, &larger.known, &consumer));
    larger.newer = 0;
    OK(db, beck_consumer_open(db, &larger.known, &consumer));
    beck_consumer_close(consumer);
    OK(db, beck_close(db));
}
END_TEST

START_TEST(new_file_has_id_and_mode)
{
    beck_options options = {.size = sizeof options, .application_id = 0x68736b, .file_mode = 0666};
    beck_stat_info info = {.size = sizeof info}, again = {.size = sizeof again};
    struct stat st;
    beck *db = NULL;
    umask(027);
    OK(db, beck_open(path(), &options, &db));
    ck_assert_str_eq(beck_errmsg(db), ""); /* though the file had to be looked for first */
    OK(db, beck_stat(db, &info));
    ck_assert_uint_eq(info.application_id, 0x68736b);
    ck_assert_uint_eq(info.format_version, 1);
    OK(db, beck_close(db));
    ck_assert_int_eq(stat(path(), &st), 0);
    ck_assert_uint_eq(st.st_mode & 0777, 0640);

    options.application_id = 5; /* of new files only */
    OK(db, beck_open(path(), &options, &db));
    OK(db, beck_stat(db, &again));
    ck_assert_uint_eq(again.application_id, 0x68736b);
    ck_assert_mem_eq(info.uuid, again.uuid, 16);
    OK(db, beck_close(db));

    db = open_db(path_in(test_folder(), "other.beck"));
    OK(db, beck_stat(db, &again));
    ck_assert_mem_ne(info.uuid, again.uuid, 16);
    OK(db, beck_close(db));
}
END_TEST

START_TEST(default_mode)
{
    struct stat st;
    umask(0);
    OK(NULL, beck_close(open_db(path())));
    ck_assert_int_eq(stat(path(), &st), 0);
    ck_assert_uint_eq(st.st_mode & 0777, 0644);
}
END_TEST

/* ---- Refusals ---- */

/* Opening gives `status`, says the path, and leaves a handle that can be asked and closed. */
static void refused(const char *name, uint32_t flags, int status)
{
    beck_options options = {.size = sizeof options, .flags = flags};
    beck_stat_info info = {.size = sizeof info};
    const beck_topic_info *const *topics;
    size_t count;
    beck *db = (beck *)(uintptr_t)1;
    int rc = beck_open(name, &options, &db);
    ck_assert_msg(rc == status, "%s: %s instead of %s: %s", name, beck_status_name(rc),
                  beck_status_name(status), rc < 0 ? beck_errmsg(db) : "");
    says(db, name);
    ck_assert_int_lt(beck_stat(db, &info), 0);
    ck_assert_int_lt(beck_topic_list(db, &topics, &count), 0);
    ck_assert_int_lt(beck_sync(db), 0);
    OK(db, beck_close(db));
}

START_TEST(missing_file)
{
    refused(path(), BECK_OPEN_NO_CREATE, BECK_NOT_FOUND);
    refused(path(), BECK_OPEN_READONLY, BECK_NOT_FOUND);
    ck_assert_int_ne(access(path(), F_OK), 0);
    refused(path_in(path_in(test_folder(), "no-folder"), "x.beck"), 0, BECK_NOT_FOUND);
    beck *db = open_db(path());
    OK(db, beck_close(db));
    db = open_flags(path(), BECK_OPEN_NO_CREATE);
    OK(db, beck_close(db));
}
END_TEST

START_TEST(missing_arguments)
{
    beck *db = NULL;
    GIVES(INVALID, NULL, beck_open(NULL, NULL, &db));
    GIVES(INVALID, NULL, beck_open("", NULL, &db));
    GIVES(INVALID, NULL, beck_open(path(), NULL, NULL));
    ck_assert_ptr_nonnull(beck_errmsg(NULL));
    OK(NULL, beck_close(NULL));
    ck_assert_str_eq(beck_recovery_report(NULL), "");
    beck_consumer_close(NULL);
}
END_TEST

START_TEST(folder_is_no_file)
{
    beck *db = NULL;
    int rc = beck_open(test_folder(), NULL, &db);
    ck_assert_int_lt(rc, 0);
    ck_assert_int_eq(beck_status_class(rc), BECK_CLASS_CALLER);
    says(db, test_folder());
    OK(db, beck_close(db));
    beck_options options = {.size = sizeof options, .flags = BECK_OPEN_READONLY};
    rc = beck_open(test_folder(), &options, &db);
    ck_assert_int_lt(rc, 0);
    ck_assert_int_eq(beck_status_class(rc), BECK_CLASS_CALLER);
    OK(db, beck_close(db));
}
END_TEST

START_TEST(other_files_are_left_alone)
{
    static const size_t sizes[] = {1, 17, 256, 5000, 16384 + 300, 300000};
    uint8_t *noise = malloc(300000);
    fill(noise, 300000, 7);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        file_make(path(), noise, sizes[i]);
        refused(path(), 0, BECK_NOT_BECK);
        refused(path(), BECK_OPEN_READONLY, BECK_NOT_BECK);
        ck_assert(file_same(path(), noise, sizes[i]));
    }
    file_make(path(), "SQLite format 3", 16);
    refused(path(), 0, BECK_NOT_BECK);
    free(noise);
}
END_TEST

START_TEST(empty_file_becomes_one)
{
    file_make(path(), "", 0);
    refused(path(), BECK_OPEN_READONLY, BECK_NOT_BECK);
    ck_assert_uint_eq(file_size(path()), 0);
    beck *db = open_flags(path(), BECK_OPEN_NO_CREATE);
    OK(db, beck_topic_create(db, "t", NULL));
    OK(db, beck_close(db));
    db = open_readonly(path());
    ck_assert_int_eq(end_offset(db, "t", 0), 0);
    OK(db, beck_close(db));
}
END_TEST

START_TEST(new_file_is_small)
{
    beck *db = open_db(path());
    beck_stat_info info = {.size = sizeof info};
    OK(db, beck_stat(db, &info));
    ck_assert_uint_eq(info.topics, 0);
    ck_assert_uint_eq(info.segments, 0);
    OK(db, beck_close(db));
    ck_assert_uint_le(file_size(path()), 256 * 1024);
    OK(db, beck_close(open_db(path())));
    ck_assert_uint_le(file_size(path()), 256 * 1024);
}
END_TEST

START_TEST(permission)
{
    beck *db = open_db(path());
    OK(db, beck_close(db));
    ck_assert_int_eq(chmod(path(), 0), 0);
    if (geteuid() == 0) ck_assert_int_eq(seteuid(65534), 0);
    refused(path(), BECK_OPEN_READONLY, BECK_PERMISSION);
    refused(path(), 0, BECK_PERMISSION);
    ck_assert_int_eq(seteuid(getuid()), 0);
}
END_TEST

START_TEST(unsuitable_file_system)
{
    if (access("/proc/self/status", R_OK) != 0) return;
    refused("/proc/self/status", BECK_OPEN_READONLY, BECK_FILESYSTEM);
    refused("/proc/self/status", BECK_OPEN_READONLY | BECK_OPEN_FORCE, BECK_NOT_BECK);
}
END_TEST

/* Hold the gate as an opener that hangs would (FORMAT.md, section 7). */
START_TEST(busy_after_the_timeout)
{
    beck *db = open_db(path());
    OK(db, beck_close(db));
    int fd = open(path(), O_RDWR);
    struct flock gate = {.l_type = F_WRLCK, .l_start = (off_t)1 << 62, .l_len = 1};
    ck_assert_int_eq(fcntl(fd, F_OFD_SETLK, &gate), 0);
    for (uint32_t readonly = 0; readonly < 2; readonly++) {
        beck_options options = {.size = sizeof options, .busy_timeout_ms = 150, .flags = readonly};
        int64_t before = clock_ms();
        GIVES(BUSY, db, beck_open(path(), &options, &db));
        ck_assert_int_ge(clock_ms() - before, 150);
        ck_assert_int_lt(clock_ms() - before, 2000);
        says(db, path());
        OK(db, beck_close(db));
    }
    close(fd);
    OK(db, beck_close(open_db(path())));
}
END_TEST

/* ---- Superblocks of other versions ---- */

static uint32_t crc32c(const uint8_t *data, size_t bytes)
{
    uint32_t crc = UINT32_MAX;
    for (size_t i = 0; i < bytes; i++) {
        crc ^= data[i];
        for (int k = 0; k < 8; k++) crc = crc >> 1 ^ (crc & 1 ? 0x82F63B78u : 0);
    }
    return ~crc;
}

/* Set one byte of both superblocks of a fresh file, with a right checksum. */
static void change_superblocks(size_t at, uint8_t value)
{
    uint8_t bytes[256];
    int fd = open(path(), O_RDWR);
    for (off_t copy = 0; copy <= 16384; copy += 16384) {
        ck_assert_int_eq(pread(fd, bytes, 256, copy), 256);
        bytes[at] = value;
        uint32_t crc = crc32c(bytes, 252);
        for (int i = 0; i < 4; i++) bytes[252 + i] = (uint8_t)(crc >> 8 * i);
        ck_assert_int_eq(pwrite(fd, bytes, 256, copy), 256);
    }
    close(fd);
}

START_TEST(files_of_newer_versions)
{
    OK(NULL, beck_close(open_db(path())));
    change_superblocks(24, 0xff); /* compatible features */
    OK(NULL, beck_close(open_db(path())));
    change_superblocks(31, 0x80); /* read-only compatible */
    refused(path(), 0, BECK_NEWER);
    OK(NULL, beck_close(open_readonly(path())));
    change_superblocks(31, 0);
    change_superblocks(35, 0x80); /* incompatible */
    refused(path(), 0, BECK_NEWER);
    refused(path(), BECK_OPEN_READONLY, BECK_NEWER);
    change_superblocks(35, 0);
    change_superblocks(16, 2); /* version */
    refused(path(), 0, BECK_NEWER);
    refused(path(), BECK_OPEN_READONLY, BECK_NEWER);
    change_superblocks(16, 1);
    OK(NULL, beck_close(open_db(path())));
}
END_TEST

/* ---- Many handles; what a look leaves ---- */

START_TEST(handles_are_counted)
{
    enum { HANDLES = 40 };
    beck *handles[HANDLES], *reader;
    beck_stat_info info = {.size = sizeof info};
    for (int i = 0; i < HANDLES; i++) handles[i] = open_db(path());
    beck_topic *topic = os_topic(handles[0], "t", 1, 0);
    OK(NULL, append_text(topic, 0, "x"));
    reader = open_readonly(path());
    for (int i = HANDLES - 1; i >= 0; i--) {
        OK(reader, beck_stat(reader, &info));
        ck_assert_int_eq((int)info.handles, i + 1);
        ck_assert_uint_eq(info.clean, 0);
        ck_assert_uint_eq(info.poisoned, 0);
        ck_assert_int_eq(end_offset(handles[i], "t", 0), 1);
        OK(handles[i], beck_close(handles[i]));
    }
    OK(reader, beck_stat(reader, &info));
    ck_assert_uint_eq(info.handles, 0);
    ck_assert_uint_eq(info.clean, 1);
    OK(reader, beck_close(reader));
}
END_TEST

static void fill_file(const char *name)
{
    beck *db = open_db(name);
    beck_topic *a = os_topic(db, "a", 3, 16384), *b = NULL;
    OK(db, beck_topic_open(db, "b", NULL, &b));
    for (uint32_t i = 0; i < 200; i++) OK(db, append_filled(a, (int32_t)(i % 3), i * 7, i, NULL));
    OK(db, append_text(b, 0, "stable"));
    OK(db, beck_close(db));
}

static int count_findings(void *context, const char *finding)
{
    (void)finding;
    ++*(int *)context;
    return 0;
}

/* Everything that only looks. */
static void look(beck *db)
{
    const char *topics[] = {"a", "b"};
    beck_consumer_config config = {.size = sizeof config, .topics = topics, .topic_count = 2};
    beck_consumer *consumer;
    const beck_topic_info *const *infos;
    beck_stat_info info = {.size = sizeof info};
    beck_check_summary sum = {.size = sizeof sum};
    size_t count;
    int findings = 0;
    OK(db, beck_consumer_open(db, &config, &consumer));
    ck_assert_uint_eq(drain(db, consumer), 201);
    OK(db, beck_topic_list(db, &infos, &count));
    ck_assert_uint_eq(count, 2);
    OK(db, beck_stat(db, &info));
    ck_assert_uint_eq(info.clean, 1);
    ck_assert_uint_eq(info.topics, 2);
    ck_assert_uint_eq(info.partitions, 4);
    ck_assert_uint_eq(info.used_bytes + info.free_bytes, info.file_bytes);
    OK(db, beck_check(db, count_findings, NULL, &findings, &sum));
    ck_assert_int_eq(findings, 0);
    ck_assert_uint_eq(sum.records, 201);
    ck_assert_uint_eq(sum.findings, 0);
    ck_assert_uint_eq(sum.segments, info.segments);
    ck_assert_str_eq(beck_recovery_report(db), "");
}

START_TEST(looking_changes_no_byte)
{
    size_t bytes;
    fill_file(path());
    uint8_t *before = file_content(path(), &bytes);
    beck *reader = open_readonly(path());
    look(reader);
    ck_assert(file_same(path(), before, bytes)); /* while open, too */
    OK(reader, beck_close(reader));
    ck_assert(file_same(path(), before, bytes));

    beck *db = open_db(path()), *second = open_db(path());
    look(db);
    look(second);
    OK(db, beck_close(db));
    look(second);
    OK(second, beck_close(second));
    ck_assert(file_same(path(), before, bytes));
    free(before);
}
END_TEST

START_TEST(readonly_refuses_changes)
{
    fill_file(path());
    beck *db = open_readonly(path());
    beck_topic *topic = NULL;
    beck_topic_config config = {.size = sizeof config, .partitions = 5};
    GIVES(READONLY, db, beck_topic_create(db, "c", NULL));
    GIVES(READONLY, db, beck_topic_alter(db, "a", &config));
    GIVES(READONLY, db, beck_topic_delete(db, "a"));
    GIVES(READONLY, db, beck_topic_open(db, "a", NULL, &topic));
    GIVES(READONLY, db, beck_sync(db));
    ck_assert_ptr_null(topic);
    OK(db, beck_close(db));
}
END_TEST

/* A file without write permission can still be read. */
START_TEST(readonly_needs_no_write_permission)
{
    char name[512];
    snprintf(name, sizeof name, "%s", path_in(quick_folder(), "ro.beck"));
    fill_file(name);
    ck_assert_int_eq(chmod(name, 0444), 0);
    if (geteuid() == 0) ck_assert_int_eq(seteuid(65534), 0);
    beck *db = open_readonly(name);
    ck_assert_int_eq(end_offset(db, "b", 0), 1);
    OK(db, beck_close(db));
    refused(name, 0, BECK_PERMISSION);
    ck_assert_int_eq(seteuid(getuid()), 0);
    unlink(name);
}
END_TEST

START_TEST(deleted_while_open)
{
    beck *old = open_db(path());
    beck_topic *topic = os_topic(old, "t", 1, 0);
    OK(old, append_text(topic, 0, "old"));
    ck_assert_int_eq(unlink(path()), 0);
    beck *db = open_db(path());
    const beck_topic_info *info;
    GIVES(NOT_FOUND, db, beck_topic_describe(db, "t", &info));
    says(db, "t");
    OK(db, append_text(os_topic(db, "n", 1, 0), 0, "new"));
    (void)append_text(topic, 0,
                      "to nobody"); /* works or says MOVED; it must not reach the new file */
    (void)beck_close(old);
    beck_consumer *consumer = consume(db, "n", BECK_START_BEGINNING, 0);
    ck_assert(value_is(poll_one(db, consumer), "new"));
    GIVES(NOT_FOUND, db, beck_topic_describe(db, "t", &info));
    OK(db, beck_close(db));
    OK(db, beck_close(open_db(path())));
}
END_TEST

/* Who waits at a file that is gone would wait for ever. */
START_TEST(waiting_at_a_deleted_file)
{
    const beck_record *records;
    size_t count;
    for (uint32_t flags = 0; flags < 2; flags++) {
        beck *db = open_db(path()), *mine;
        OK(db, append_text(os_topic(db, "t", 1, 0), 0, "x"));
        mine = open_flags(path(), flags);
        beck_consumer *consumer = consume(mine, "t", BECK_START_END, 0);
        ck_assert_int_eq(unlink(path()), 0);
        GIVES(MOVED, mine, beck_poll(consumer, 1, 3000, &records, &count));
        says(mine, path());
        (void)beck_close(mine);
        (void)beck_close(db);
    }
}
END_TEST

START_TEST(replaced_while_open)
{
    const char *other = path_in(test_folder(), "other.beck");
    beck *db = open_db(other);
    OK(db, append_text(os_topic(db, "other", 1, 0), 0, "x"));
    OK(db, beck_close(db));
    beck *old = open_db(path());
    OK(old, append_text(os_topic(old, "t", 1, 0), 0, "old"));
    ck_assert_int_eq(rename(other, path()), 0);
    db = open_db(path());
    ck_assert_int_eq(end_offset(db, "other", 0), 1);
    (void)beck_close(old);
    OK(db, beck_close(db));
    db = open_readonly(path());
    ck_assert_int_eq(end_offset(db, "other", 0), 1);
    OK(db, beck_close(db));
}
END_TEST

/* A process that fills its disk and is killed. */
static void fill_and_die(const char *name)
{
    beck *db = open_db(name);
    beck_topic *fat = os_topic(db, "fat", 1, 0), *lean = os_topic(db, "lean", 1, 0);
    for (int i = 0; i < 2000; i++)
        OK(db, append_text(fat, 0, "some text to fill the disk with, again and again"));
    OK(db, append_text(lean, 0, "first"));
    _exit(0);
}

/* The disk is full to the last byte of the file: it opens all the same, topics are deleted, and
 * their space is used. */
START_TEST(a_crashed_file_opens_on_a_full_disk)
{
    int status;
    const char *name = path();
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) fill_and_die(name);
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_int_eq(status, 0);
    struct rlimit limit = {file_size(name), file_size(name)};
    signal(SIGXFSZ, SIG_IGN);
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    beck *db = open_db(name);
    OK(db, beck_topic_delete(db, "fat"));
    beck_topic *lean = os_topic(db, "lean", 1, 0);
    for (int i = 0; i < 500; i++) OK(db, append_text(lean, 0, "in the place of what was deleted"));
    ck_assert_int_eq(end_offset(db, "lean", 0), 501);
    OK(db, beck_close(db));
    ck_assert_uint_le(file_size(name), limit.rlim_cur);
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("api_open");
    TCase *c = tcase_create("status");
    tcase_add_test(c, version_is_the_headers);
    tcase_add_test(c, status_codes_never_change);
    suite_add_tcase(s, c);

    c = tcase_create("options");
    tcase_add_test(c, example_of_the_header);
    tcase_add_test(c, options_of_other_versions);
    tcase_add_test(c, other_structs_check_their_size);
    tcase_add_test(c, new_file_has_id_and_mode);
    tcase_add_test(c, default_mode);
    suite_add_tcase(s, c);

    c = tcase_create("refusals");
    tcase_add_test(c, missing_file);
    tcase_add_test(c, missing_arguments);
    tcase_add_test(c, folder_is_no_file);
    tcase_add_test(c, other_files_are_left_alone);
    tcase_add_test(c, empty_file_becomes_one);
    tcase_add_test(c, new_file_is_small);
    tcase_add_test(c, permission);
    test_add_linux(c, unsuitable_file_system, "no file system is refused");
    tcase_add_test(c, busy_after_the_timeout);
    tcase_add_test(c, files_of_newer_versions);
    suite_add_tcase(s, c);

    c = tcase_create("handles");
    tcase_add_test(c, handles_are_counted);
    tcase_add_test(c, looking_changes_no_byte);
    tcase_add_test(c, readonly_refuses_changes);
    tcase_add_test(c, readonly_needs_no_write_permission);
    tcase_add_test(c, deleted_while_open);
    tcase_add_test(c, waiting_at_a_deleted_file);
    tcase_add_test(c, replaced_while_open);
    tcase_add_test(c, a_crashed_file_opens_on_a_full_disk);
    suite_add_tcase(s, c);
    return s;
}
