/* newer_test.c -- files of later versions: opened, opened read-only, or refused
 *
 * Files are made by this version and patched: bytes are changed and every checksum is set right. */
#include "api_help.h"
#include "batch.h"
#include "bytes.h"
#include "crc32c.h"
#include "file.h"
#include "format.h"

static int fd;
static struct segment_place data_place; /* of the topic's segment */

/* ---- Patching ---- */

static void patch_super(uint32_t at, uint32_t value)
{
    uint8_t bytes[SUPER_BYTES];
    fd = open(path(), O_RDWR);
    for (int copy = 0; copy < 2; copy++) {
        off_t where = copy == 0 ? SUPER_A_AT : SUPER_B_AT;
        ck_assert_int_eq(pread(fd, bytes, sizeof bytes, where), (ssize_t)sizeof bytes);
        put_le32(bytes + at, value);
        put_le32(bytes + 252, crc32c(0, bytes, 252));
        ck_assert_int_eq(pwrite(fd, bytes, sizeof bytes, where), (ssize_t)sizeof bytes);
    }
    close(fd);
}

static uint32_t super_field(uint32_t at)
{
    uint8_t bytes[SUPER_BYTES];
    fd = open(path(), O_RDONLY);
    ck_assert_int_eq(pread(fd, bytes, sizeof bytes, SUPER_A_AT), (ssize_t)sizeof bytes);
    uint32_t a = get_le32(bytes + at);
    ck_assert_int_eq(pread(fd, bytes, sizeof bytes, SUPER_B_AT), (ssize_t)sizeof bytes);
    ck_assert_uint_eq(get_le32(bytes + at), a);
    close(fd);
    return a;
}

/* Change a batch in place; true when it did. */
typedef bool (*batch_patch)(uint8_t *batch, const struct batch *parsed);

/* Walk the frames of a segment, let `patch` have each, and seal them again; the last guard. */
static uint32_t patch_frames(const struct segment_place *place, batch_patch patch)
{
    size_t bytes = (size_t)place_bytes(place);
    uint8_t *data = calloc(1, bytes + 4096);
    uint32_t chain = 0;
    struct frame f;
    struct batch parsed;
    bool done = false;
    ck_assert_int_gt(pread(fd, data, bytes, (off_t)place_at(place)), 0);
    for (size_t at = SEGMENT_HEADER_BYTES; at + FRAME_BYTES < bytes;) {
        uint8_t *batch = data + at + FRAME_BYTES;
        frame_decode(data + at, &f);
        if (f.length < 61 || at + FRAME_BYTES + f.length > bytes) break;
        ck_assert_int_eq(batch_parse(batch, f.length, &parsed), 0);
        done |= patch(batch, &parsed);
        put_be32(batch + 17, crc32c(0, batch + 21, f.length - 21));
        f.chain = chain;
        f.guard = chain = frame_guard(place, (uint32_t)at, &f, batch);
        frame_encode(&f, data + at);
        at += frame_span(f.length);
    }
    ck_assert(done);
    ck_assert_int_eq(pwrite(fd, data, bytes, (off_t)place_at(place)), (ssize_t)bytes);
    free(data);
    return chain;
}

static uint8_t wanted_type;
static void (*entry_patch)(uint8_t *entry, uint32_t bytes);

/* Each entry of the wanted type in a batch of the catalog. */
static bool patch_entries(uint8_t *batch, const struct batch *parsed)
{
    struct batch_walk walk;
    beck_record record;
    const uint8_t *headers;
    bool done = false;
    ck_assert_int_eq(batch_walk_begin(&walk, batch, parsed, NULL, 0), 0);
    while (batch_walk_next(&walk, &record, &headers) == 1) {
        uint8_t *entry = batch + ((const uint8_t *)record.value - batch);
        if (entry[0] != wanted_type) continue;
        entry_patch(entry, record.value_size);
        done = true;
    }
    return done;
}

static void patch_catalog(uint8_t type, void (*patch)(uint8_t *, uint32_t))
{
    uint8_t bytes[SUPER_BYTES];
    struct superblock super;
    fd = open(path(), O_RDWR);
    ck_assert_int_eq(pread(fd, bytes, sizeof bytes, SUPER_A_AT), (ssize_t)sizeof bytes);
    ck_assert_int_eq(super_decode(bytes, &super), 1);
    wanted_type = type;
    entry_patch = patch;
    (void)patch_frames(&super.root, patch_entries);
    close(fd);
}

/* ---- The files ---- */

/* Topic "t" with three records in three frames. */
static void make_file(const char *name)
{
    (void)unlink(name);
    beck_topic_config config = {
        .size = sizeof config, .sync = BECK_SYNC_OS, .segment_bytes = 16384, .flush_ms = 60000};
    beck_topic *topic;
    beck *db = open_db(name);
    OK(db, beck_topic_open(db, "t", &config, &topic));
    for (int i = 0; i < 3; i++) OK(db, append_text(topic, 0, "record"));
    OK(db, beck_close(db));
}

/* The same, of a process that was killed. */
static int make_and_die(const char *name)
{
    make_file(name);
    beck *db = open_db(name);
    return append_text(os_topic(db, "t", 1, 0), 0, "record");
}

static void refuse(uint32_t flags, int status, const char *text)
{
    beck_options options = {.size = sizeof options, .flags = flags};
    size_t bytes;
    uint8_t *before = file_content(path(), &bytes);
    beck *db = NULL;
    int rc = beck_open(path(), &options, &db);
    ck_assert_msg(rc == status, "flags %u gave %s, not %s: %s", flags, beck_status_name(rc),
                  beck_status_name(status), beck_errmsg(db));
    says(db, text);
    says(db, path());
    (void)beck_close(db);
    ck_assert_msg(file_same(path(), before, bytes), "the refused file was changed");
    free(before);
}

static void accept(uint32_t flags, size_t records)
{
    beck *db = open_flags(path(), flags);
    ck_assert_uint_eq(drain(db, consume(db, "t", BECK_START_BEGINNING, 0)), records);
    if (!(flags & BECK_OPEN_READONLY)) OK(db, append_text(os_topic(db, "t", 1, 0), 0, "one more"));
    OK(db, beck_close(db));
}

/* ---- Superblock ---- */

#define AT_VERSION 16
#define AT_COMPATIBLE 24
#define AT_READ_ONLY 28
#define AT_INCOMPATIBLE 32

START_TEST(higher_version)
{
    for (int crashed = 0; crashed < 2; crashed++) {
        if (crashed)
            ck_assert_int_eq(in_child(make_and_die, path()), 0);
        else
            make_file(path());
        patch_super(AT_VERSION, 2);
        refuse(0, BECK_NEWER, "format version 2");
        refuse(BECK_OPEN_READONLY, BECK_NEWER, "use a newer beck");
        patch_super(AT_VERSION, 0);
        refuse(0, BECK_CORRUPT, "format version 0");
    }
}
END_TEST

START_TEST(compatible_features_survive)
{
    make_file(path());
    patch_super(AT_COMPATIBLE, 0x80000001u);
    accept(BECK_OPEN_READONLY, 3);
    accept(0, 3);
    ck_assert_uint_eq(super_field(AT_COMPATIBLE), 0x80000001u);
    accept(0, 4);
    ck_assert_uint_eq(super_field(AT_COMPATIBLE), 0x80000001u);
}
END_TEST

START_TEST(read_only_compatible_features)
{
    make_file(path());
    patch_super(AT_READ_ONLY, 0x40);
    refuse(0, BECK_NEWER, "read-only compatible 0x40");
    refuse(0, BECK_NEWER, "open it read-only");
    size_t bytes;
    uint8_t *before = file_content(path(), &bytes);
    accept(BECK_OPEN_READONLY, 3);
    ck_assert(file_same(path(), before, bytes));
    free(before);
    ck_assert_int_eq(in_child(make_and_die, path()), 0);
    patch_super(AT_READ_ONLY, 0x40);
    refuse(0, BECK_NEWER, "read-only compatible 0x40");
    accept(BECK_OPEN_READONLY, 4);
}
END_TEST

START_TEST(incompatible_features)
{
    make_file(path());
    patch_super(AT_INCOMPATIBLE, 0x10);
    refuse(0, BECK_NEWER, "incompatible 0x10");
    refuse(BECK_OPEN_READONLY, BECK_NEWER, "incompatible 0x10");
}
END_TEST

/* Fields this version does not know are zero, or a feature bit says what they are. Set without
 * one they mean nothing. */
START_TEST(reserved_fields_are_ignored)
{
    make_file(path());
    patch_super(108, 7);
    patch_super(144, 7);
    patch_super(248, 7);
    accept(BECK_OPEN_READONLY, 3);
    accept(0, 3);
}
END_TEST

/* ---- Catalog ---- */

static void type_unknown(uint8_t *entry, uint32_t bytes)
{
    (void)bytes;
    entry[0] = 77;
}

static void flag_unknown(uint8_t *entry, uint32_t bytes)
{
    (void)bytes;
    entry[1] = 1;
}

static void zeros_used(uint8_t *entry, uint32_t bytes)
{
    (void)bytes;
    entry[2] = 1;
}

static void refuse_both(int status, const char *text)
{
    refuse(0, status, text);
    refuse(BECK_OPEN_READONLY, status, text);
}

START_TEST(unknown_entries)
{
    make_file(path());
    patch_catalog(ENTRY_TAIL, type_unknown);
    refuse_both(BECK_NEWER, "catalog entry of unknown type 77");
    refuse_both(BECK_NEWER, "use a newer beck");
    make_file(path());
    patch_catalog(ENTRY_TOPIC, type_unknown);
    refuse_both(BECK_NEWER, "catalog entry of unknown type 77");
    ck_assert_int_eq(in_child(make_and_die, path()), 0);
    patch_catalog(ENTRY_TOPIC, type_unknown);
    refuse_both(BECK_NEWER, "catalog entry of unknown type 77");
    make_file(path());
    patch_catalog(ENTRY_TAIL, flag_unknown);
    refuse_both(BECK_NEWER, "flags 0x1");
    make_file(path());
    patch_catalog(ENTRY_TAIL, zeros_used);
    refuse_both(BECK_NEWER, "flags 0x100");
}
END_TEST

static void setting_unknown(uint8_t *entry, uint32_t bytes)
{
    uint8_t *at = memmem(entry, bytes, "flush.ms=60000", 14);
    if (at != NULL) memcpy(at, "future.no=abcd", 14);
}

static bool file_mentions(const char *text)
{
    size_t bytes;
    uint8_t *data = file_content(path(), &bytes);
    size_t found = 0;
    for (uint8_t *at = data; (at = memmem(at, bytes - (size_t)(at - data), text, strlen(text)));
         at++)
        found++;
    free(data);
    return found > 1; /* in the first entry and in the last */
}

/* Settings of a newer version are ignored, and kept when others are altered. */
START_TEST(unknown_settings_survive)
{
    make_file(path());
    patch_catalog(ENTRY_TOPIC, setting_unknown);
    accept(BECK_OPEN_READONLY, 3);
    accept(0, 3);
    beck *db = open_db(path());
    const beck_topic_info *info;
    beck_topic_config config = {.size = sizeof config, .max_message_bytes = 70000};
    OK(db, beck_topic_alter(db, "t", &config));
    OK(db, beck_topic_describe(db, "t", &info));
    ck_assert_uint_eq(info->config->max_message_bytes, 70000);
    ck_assert_uint_eq(info->config->segment_bytes, 16384);
    ck_assert_uint_eq(info->config->sync, BECK_SYNC_OS);
    OK(db, beck_close(db));
    ck_assert(file_mentions("future.no=abcd"));
    accept(0, 4);
}
END_TEST

/* ---- Batches ---- */

static int patched_batches;

static bool codec_unknown(uint8_t *batch, const struct batch *parsed)
{
    (void)parsed;
    if (++patched_batches == 2) batch[22] = (uint8_t)(batch[22] | 7);
    return true;
}

static void place_of_data(uint8_t *entry, uint32_t bytes)
{
    struct entry e;
    ck_assert_int_eq(entry_decode(entry, bytes, &e), 0);
    data_place = e.place;
}

static uint32_t last_guard;

static void set_tail_chain(uint8_t *entry, uint32_t bytes)
{
    (void)bytes;
    put_le32(entry + 4 + 28, last_guard);
}

/* What cannot be read is said again and again, until the consumer steps over it itself. */
START_TEST(unknown_codec)
{
    const beck_record *records;
    size_t count;
    make_file(path());
    patch_catalog(ENTRY_ADD, place_of_data);
    fd = open(path(), O_RDWR);
    patched_batches = 0;
    last_guard = patch_frames(&data_place, codec_unknown);
    close(fd);
    patch_catalog(ENTRY_TAIL, set_tail_chain);
    for (uint32_t flags = 0; flags < 2; flags++) {
        beck *db = open_flags(path(), flags);
        ck_assert_str_eq(beck_recovery_report(db), "");
        beck_consumer *consumer = consume(db, "t", BECK_START_BEGINNING, 0);
        ck_assert_int_eq(poll_one(db, consumer)->offset, 0);
        for (int i = 0; i < 3; i++) {
            GIVES(UNSUPPORTED, db, beck_poll(consumer, 10, 0, &records, &count));
            says(db, "compression codec 7");
        }
        OK(db, beck_seek(consumer, "t", 0, 2));
        ck_assert_int_eq(poll_one(db, consumer)->offset, 2);
        OK(db, beck_close(db));
    }
}
END_TEST

/* ---- An area of another build ---- */

START_TEST(another_build_has_it_open)
{
    make_file(path());
    beck *mine = open_db(path()), *db = NULL;
    beck_options readonly = {.size = sizeof readonly, .flags = BECK_OPEN_READONLY};
    uint64_t layout, other;
    fd = open(path(), O_RDWR);
    ck_assert_int_eq(pread(fd, &layout, 8, COORD_AT + 8), 8);
    other = layout + 1;
    ck_assert_int_eq(pwrite(fd, &other, 8, COORD_AT + 8), 8);
    GIVES(BUSY, db, beck_open(path(), NULL, &db));
    says(db, "incompatible build of beck");
    (void)beck_close(db);
    GIVES(BUSY, db, beck_open(path(), &readonly, &db));
    says(db, "incompatible build of beck");
    (void)beck_close(db);
    ck_assert_int_eq(pwrite(fd, &layout, 8, COORD_AT + 8), 8);
    close(fd);
    OK(mine, append_text(os_topic(mine, "t", 1, 0), 0, "unharmed"));
    OK(mine, beck_close(mine));
    accept(0, 4);
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("newer");
    TCase *c = tcase_create("newer");
    tcase_add_test(c, higher_version);
    tcase_add_test(c, compatible_features_survive);
    tcase_add_test(c, read_only_compatible_features);
    tcase_add_test(c, incompatible_features);
    tcase_add_test(c, reserved_fields_are_ignored);
    tcase_add_test(c, unknown_entries);
    tcase_add_test(c, unknown_settings_survive);
    tcase_add_test(c, unknown_codec);
    tcase_add_test(c, another_build_has_it_open);
    suite_add_tcase(s, c);
    return s;
}
