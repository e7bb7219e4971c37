/* api_corrupt.c -- damaged and cut files: what was not hit is read, the rest is right or announced
 *
 * One small file is made twice, closed cleanly and left by a killed process. Its map (which bytes
 * are which frame) is read off by FORMAT.md. Then bytes are flipped one after the other, those that
 * mean something and some of the others, and the file is cut at many lengths. Each time it is
 * opened and everything is read: a record that comes must be right and in its place, one that does
 * not come must lie in a gap, and only those whose frame was hit may be missing. */
#include <signal.h>

#include "api_help.h"

enum { PARTS = 3, RECORDS_MAX = 64, FRAMES_MAX = 200, SEGMENTS_MAX = 32 };

static const struct {
    const char *topic;
    int32_t partition;
    uint32_t sync;
    int64_t end;
} parts[PARTS] = {
    {"os", 0, BECK_SYNC_OS, 30}, {"sync", 0, BECK_SYNC_SYNC, 18}, {"sync", 1, BECK_SYNC_SYNC, 16}};

/* ---- The file ---- */

static size_t value_bytes(int part, int64_t offset)
{
    return part == 1 ? 100 + (size_t)offset * 9 : 1300 + (size_t)(offset * 37 % 300);
}

static uint64_t number_of(int part, int64_t offset)
{
    return (uint64_t)part * 1000 + (uint64_t)offset;
}

static int append_number(beck_topic *topic, int part, int64_t from, int64_t count)
{
    static uint8_t values[3][2000];
    static const beck_header header = {"trace", "xyz", 5, 3};
    beck_record batch[3];
    for (int64_t i = 0; i < count; i++) {
        size_t bytes = value_bytes(part, from + i);
        fill(values[i], bytes, number_of(part, from + i));
        batch[i] = (beck_record){.value = values[i], .value_size = (uint32_t)bytes};
        batch[i].key = "key";
        batch[i].key_size = 3;
        batch[i].headers = &header;
        batch[i].header_count = 1;
        batch[i].timestamp = 1700000000000 + from + i;
    }
    return beck_append_batch(topic, parts[part].partition, batch, (size_t)count, NULL);
}

static bool is_number(const beck_record *r, int part)
{
    return r->key_size == 3 && memcmp(r->key, "key", 3) == 0 && r->header_count == 1 &&
           r->headers[0].name_size == 5 && memcmp(r->headers[0].name, "trace", 5) == 0 &&
           r->headers[0].value_size == 3 && memcmp(r->headers[0].value, "xyz", 3) == 0 &&
           r->timestamp == 1700000000000 + r->offset &&
           r->value_size == value_bytes(part, r->offset) &&
           filled(r->value, r->value_size, number_of(part, r->offset));
}

/* 0 or the number of the step that failed; the handle stays open. */
static int make_file(const char *name, beck **db)
{
    beck_topic *topics[PARTS], *gone;
    if (beck_open(name, NULL, db) < 0) return 1;
    for (int p = 0; p < PARTS; p++) {
        beck_topic_config c = {.size = sizeof c, .partitions = 2, .sync = parts[p].sync};
        c.segment_bytes = 16384;
        if (beck_topic_open(*db, parts[p].topic, &c, &topics[p]) < 0) return 2;
        for (int64_t i = 0; i < parts[p].end; i += p == 1 ? 3 : 1)
            if (append_number(topics[p], p, i, p == 1 ? 3 : 1) < 0) return 3;
    }
    if (beck_topic_open(*db, "gone", NULL, &gone) < 0) return 4;
    if (append_text(gone, 0, "a topic that is deleted") < 0) return 5;
    return beck_topic_delete(*db, "gone") < 0 ? 6 : 0;
}

static int make_and_die(const char *name)
{
    beck *db = NULL;
    return make_file(name, &db);
}

/* ---- The map of the file ---- */

enum kind { UNUSED, SUPER, HEADER, INDEX, CATALOG, FRAME, PADDING };

struct frame {
    size_t from, to; /* bytes */
    int64_t base, next;
    int part;
    int segment;
};

static struct image {
    char name[512];
    int fd;
    bool crashed;
    uint8_t *bytes;
    size_t size;
    uint8_t *kinds;
    struct frame frames[FRAMES_MAX];
    int frame_count;
    int last_segment[PARTS];
    uint64_t topic_ids[PARTS];
} image;

static uint64_t get(size_t at, int bytes)
{
    uint64_t value = 0;
    for (int i = bytes; i > 0; i--) value = value << 8 | image.bytes[at + (size_t)i - 1];
    return value;
}

static int64_t get_big(size_t at, int bytes)
{
    uint64_t value = 0;
    for (int i = 0; i < bytes; i++) value = value << 8 | image.bytes[at + (size_t)i];
    return (int64_t)value;
}

static void set_kind(size_t from, size_t to, enum kind kind)
{
    memset(image.kinds + from, (int)kind, to - from);
}

static int part_of(uint64_t topic, uint64_t partition)
{
    for (int p = 0; p < PARTS; p++)
        if (image.topic_ids[p] == topic && parts[p].partition == (int32_t)partition) return p;
    return -1;
}

/* The frames of one segment, and the index behind them. */
static void map_segment(size_t at, int segment)
{
    uint64_t topic = get(at + 32, 8);
    int part = part_of(topic, get(at + 40, 4));
    size_t pos = at + 64, end = at + get(at + 56, 4) * 16384;
    if (end > image.size) end = image.size;
    if (part < 0 && topic != 0) return;
    set_kind(at, pos, part < 0 ? CATALOG : HEADER);
    if (part >= 0) image.last_segment[part] = segment;
    while (pos + 77 <= end && get(pos, 4) >= 61 && get(pos, 4) + 16 <= end - pos &&
           get(pos, 4) == (uint64_t)get_big(pos + 24, 4) + 12) {
        size_t to = pos + 16 + get(pos, 4), next = (to + 7) / 8 * 8;
        struct frame f = {pos, to, get_big(pos + 16, 8), 0, part, segment};
        f.next = f.base + get_big(pos + 39, 4) + 1;
        set_kind(pos, to, part < 0 ? CATALOG : FRAME);
        set_kind(to, next < end ? next : end, PADDING);
        ck_assert_int_lt(image.frame_count, FRAMES_MAX);
        if (part >= 0) image.frames[image.frame_count++] = f;
        pos = next;
    }
    if (pos + 32 <= end && memcmp(image.bytes + pos, "bidx", 4) == 0)
        set_kind(pos, pos + 32 + 16 * get(pos + 4, 4), INDEX);
}

static void map_file(void)
{
    int64_t records = 0, all = 0;
    image.kinds = calloc(1, image.size);
    set_kind(0, 256, SUPER);
    set_kind(16384, 16384 + 256, SUPER);
    for (size_t at = 229376; at + 64 < image.size; at += 16384)
        if (memcmp(image.bytes + at, "beckseg1", 8) == 0) map_segment(at, (int)(at / 16384));
    for (int i = 0; i < image.frame_count; i++)
        records += image.frames[i].next - image.frames[i].base;
    for (int p = 0; p < PARTS; p++) all += parts[p].end;
    ck_assert_int_eq(records, all);
}

static void write_image(void)
{
    ck_assert_int_eq(ftruncate(image.fd, (off_t)image.size), 0);
    ck_assert_int_eq(pwrite(image.fd, image.bytes, image.size, 0), (ssize_t)image.size);
}

static void setup(bool crashed)
{
    beck *db = NULL;
    image.crashed = crashed;
    snprintf(image.name, sizeof image.name, "%s", path_in(quick_folder(), "damaged.beck"));
    unlink(image.name); /* of a run that was killed, and had the same process id */
    if (crashed) {
        ck_assert_int_eq(in_child(make_and_die, image.name), 0);
    } else {
        ck_assert_int_eq(make_file(image.name, &db), 0);
        OK(db, beck_close(db));
    }
    image.bytes = file_content(image.name, &image.size);
    image.fd = open(image.name, O_RDWR);
    db = open_readonly(image.name);
    for (int p = 0; p < PARTS; p++) {
        const beck_topic_info *info;
        OK(db, beck_topic_describe(db, parts[p].topic, &info));
        image.topic_ids[p] = info->id;
    }
    OK(db, beck_close(db));
    map_file();
}

static void teardown(void)
{
    close(image.fd);
    unlink(image.name);
    free(image.bytes);
    free(image.kinds);
}

/* ---- Reading all of it ---- */

static struct damage {
    size_t from, to; /* bytes that are not what they were */
    bool readonly;
    bool catalog; /* it hits the catalog, or what is needed to find it */
} damage;

#define MUST(x)                                                                                    \
    do {                                                                                           \
        if (!(x))                                                                                  \
            ck_abort_msg("line %d, %s file, %s, bytes %zu to %zu: %s; %s", __LINE__,               \
                         image.crashed ? "crashed" : "clean",                                      \
                         damage.readonly ? "read-only" : "read-write", damage.from, damage.to, #x, \
                         beck_errmsg(NULL));                                                       \
    } while (0)

enum fate { MISSING, DELIVERED, ANNOUNCED };

/* A frame that was hit. In the unsealed segment of a crashed file the end may be cut off without a
 * word, as long as nothing intact lies behind it. */
static bool may_vanish(int frame)
{
    const struct frame *f = &image.frames[frame];
    if (!image.crashed || f->segment != image.last_segment[f->part]) return false;
    for (int i = 0; i < image.frame_count; i++) {
        const struct frame *later = &image.frames[i];
        if (later->part == f->part && later->base > f->base && later->to <= damage.from)
            return false;
        if (later->part == f->part && later->base > f->base && later->from >= damage.to)
            return false;
    }
    return true;
}

static void judge(int part, const enum fate *fates)
{
    for (int i = 0; i < image.frame_count && !damage.catalog; i++) {
        const struct frame *f = &image.frames[i];
        bool hit = damage.from < f->to && damage.to > f->from;
        if (f->part != part) continue;
        for (int64_t o = f->base; o < f->next; o++) {
            if (!hit)
                MUST(fates[o] == DELIVERED);
            else if (!may_vanish(i))
                MUST(fates[o] != MISSING);
        }
    }
}

/* Read one partition to its end; false when it cannot be read, with an error. */
static bool read_part(beck *db, int part, enum fate *fates)
{
    const char *topic = parts[part].topic;
    const beck_record *records;
    beck_consumer *consumer;
    beck_event_info event = {.size = sizeof event};
    size_t count;
    int64_t next = 0;
    int rc;
    beck_consumer_config config = {.size = sizeof config, .topics = &topic, .topic_count = 1};
    config.partitions = &parts[part].partition;
    config.partition_count = 1;
    if (beck_consumer_open(db, &config, &consumer) < 0) return false;
    while ((rc = beck_poll(consumer, 7, 0, &records, &count)) == BECK_EVENT || count > 0) {
        if (rc == BECK_EVENT) {
            ck_assert_int_eq(beck_event(consumer, &event), 0);
            MUST(count == 0 && event.type == BECK_EVENT_GAP && event.cause != BECK_GAP_NONE);
            MUST(strcmp(event.topic, topic) == 0 && event.partition == parts[part].partition);
            MUST(event.from == next && event.to > event.from && event.to <= parts[part].end);
            for (; next < event.to; next++) fates[next] = ANNOUNCED;
        }
        for (size_t i = 0; i < count; i++, next++) {
            MUST(records[i].offset == next && next < parts[part].end);
            MUST(is_number(&records[i], part));
            fates[next] = DELIVERED;
        }
    }
    beck_consumer_close(consumer);
    return rc == 0;
}

static void check_verdict(beck *db)
{
    beck_check_summary sum = {.size = sizeof sum};
    int rc = beck_check(db, NULL, NULL, NULL, &sum);
    enum kind kind = image.kinds[damage.from];
    bool means = kind == SUPER || kind == HEADER || kind == INDEX || kind == FRAME;
    if (image.crashed || damage.to != damage.from + 1 || kind == CATALOG) return;
    MUST(rc == (means && kind != CATALOG ? BECK_CORRUPT : 0));
    MUST((sum.findings > 0) == (rc < 0));
}

static void open_and_read(bool thorough)
{
    beck_options options = {.size = sizeof options,
                            .flags = damage.readonly ? BECK_OPEN_READONLY : BECK_OPEN_NO_CREATE};
    enum fate fates[PARTS][RECORDS_MAX] = {{MISSING}};
    beck *db = NULL;
    int rc = beck_open(image.name, &options, &db);
    MUST(rc == 0 || (damage.catalog && (rc == BECK_CORRUPT || rc == BECK_NOT_BECK)));
    for (int p = 0; p < PARTS && rc == 0; p++) {
        bool whole = read_part(db, p, fates[p]);
        MUST(whole || damage.catalog);
        if (whole) judge(p, fates[p]);
    }
    if (rc == 0 && thorough && damage.readonly) check_verdict(db);
    MUST(beck_close(db) == 0);
    if (rc < 0 || !thorough || damage.readonly) return;

    /* What recovery left is read the same, and appending goes on behind it. */
    beck_topic *topic;
    MUST(beck_open(image.name, NULL, &db) == 0);
    for (int p = 0; p < PARTS; p++) {
        enum fate again[RECORDS_MAX] = {MISSING};
        bool whole = read_part(db, p, again);
        MUST(whole || damage.catalog);
        if (whole) MUST(memcmp(again, fates[p], sizeof again) == 0);
        if (whole && beck_topic_open(db, parts[p].topic, NULL, &topic) == 0) {
            MUST(append_text(topic, parts[p].partition, "goes on") == 0);
            beck_consumer *consumer = consume(db, parts[p].topic, BECK_START_LAST, 1);
            const beck_record *r;
            do r = poll_one(db, consumer);
            while (r->partition != parts[p].partition);
            MUST(value_is(r, "goes on"));
            beck_consumer_close(consumer);
        }
    }
    MUST(beck_close(db) == 0);
}

/* ---- Flipped bytes ---- */

/* All bytes that mean something, but not all of every value and of every stretch of zeros. */
static bool worth_flipping(size_t at)
{
    if (image.kinds[at] == UNUSED) return at % 1021 == 0 || image.bytes[at] != 0;
    if (image.kinds[at] != FRAME || at % 67 == 0) return true;
    for (int i = 0; i < image.frame_count; i++) {
        const struct frame *f = &image.frames[i];
        if (at >= f->from && at < f->to) return at < f->from + 100 || at + 14 >= f->to;
    }
    return true;
}

static void flip(size_t at, uint8_t with, bool thorough)
{
    uint8_t byte = image.bytes[at] ^ with;
    damage.from = at;
    damage.to = at + 1;
    damage.catalog = image.kinds[at] == CATALOG;
    ck_assert_int_eq(pwrite(image.fd, &byte, 1, (off_t)at), 1);
    open_and_read(thorough);
    if (!damage.readonly)
        write_image();
    else
        ck_assert_int_eq(pwrite(image.fd, &image.bytes[at], 1, (off_t)at), 1);
}

static void say_where(int number)
{
    char text[100];
    int n = snprintf(text, sizeof text, "signal %d with bytes %zu to %zu damaged\n", number,
                     damage.from, damage.to);
    if (write(1, text, (size_t)n) != n) _exit(2);
    _exit(1);
}

static const struct {
    bool crashed, readonly;
} ways[4] = {{false, true}, {false, false}, {true, true}, {true, false}};

START_TEST(flipped_bytes)
{
    size_t flips = 0;
    signal(SIGBUS, say_where);
    setup(ways[_i].crashed);
    damage.readonly = ways[_i].readonly;
    for (size_t at = 0; at < image.size; at++) {
        uint8_t dice[2];
        if (!worth_flipping(at)) continue;
        fill(dice, 2, test_seed() + at);
        if (!ways[_i].readonly && dice[0] % 4 != 0) continue; /* opening to write takes longer */
        uint8_t with = (uint8_t)(flips % 2 ? 0xff : 1 << dice[1] % 8);
        flip(at, with, flips % 4 < 2);
        flips++;
    }
    ck_assert_uint_gt(flips, ways[_i].readonly ? 3000 : 800);
    teardown();
}
END_TEST

/* ---- Cut files ---- */

static bool worth_cutting(size_t at)
{
    if (at < 600 || at % 1499 == 0) return true;
    for (size_t i = at - 2; i < at + 2 && i + 1 < image.size; i++)
        if (image.kinds[i] != image.kinds[i + 1]) return true;
    return false;
}

static void cut(size_t at)
{
    damage.from = at;
    damage.to = image.size;
    damage.catalog = at <= 229376; /* nothing can be read of a file this short */
    for (size_t i = at; i < image.size; i++)
        if (image.kinds[i] == CATALOG) damage.catalog = true;
    ck_assert_int_eq(ftruncate(image.fd, (off_t)at), 0);
    open_and_read(true);
    write_image();
}

START_TEST(cut_files)
{
    size_t cuts = 0;
    signal(SIGBUS, say_where);
    setup(ways[_i].crashed);
    damage.readonly = ways[_i].readonly;
    for (size_t at = 1; at < image.size; at++) {
        if (!worth_cutting(at)) continue;
        cut(at);
        cuts++;
    }
    ck_assert_uint_gt(cuts, 800);
    teardown();
}
END_TEST

/* ---- The report, and reading without checks ---- */

START_TEST(report_says_what_was_lost)
{
    setup(true);
    const struct frame *hit = NULL;
    for (int i = 0; i < image.frame_count; i++)
        if (image.frames[i].part == 0 && image.frames[i].base == 28) hit = &image.frames[i];
    ck_assert_ptr_nonnull(hit);
    uint8_t byte = 0x5a;
    ck_assert_int_eq(pwrite(image.fd, &byte, 1, (off_t)hit->from + 200), 1);
    for (uint32_t readonly = 1; readonly < 2; readonly--) {
        beck *db = open_flags(image.name, readonly);
        const char *report = beck_recovery_report(db);
        ck_assert_msg(strstr(report, "os:0") != NULL && strstr(report, "28") != NULL, "%s", report);
        OK(db, beck_close(db));
    }
    beck *db = open_db(image.name);
    ck_assert_str_eq(beck_recovery_report(db), "");
    OK(db, beck_close(db));
    teardown();
}
END_TEST

/* Findings say where; the callback can stop the check; progress comes to its end. */
static int stop_at_once(void *context, const char *finding)
{
    ck_assert_ptr_nonnull(strstr(finding, "os:0"));
    ++*(int *)context;
    return 1;
}

static int go_on(void *context, const char *finding)
{
    (void)finding;
    ++*(int *)context;
    return 0;
}

static void progress(void *context, uint64_t done, uint64_t total)
{
    (void)context;
    ck_assert_uint_le(done, total);
}

START_TEST(check_finds_and_stops)
{
    setup(false);
    for (int i = 0; i < image.frame_count; i++)
        if (image.frames[i].part == 0 && image.frames[i].base % 4 == 1)
            ck_assert_int_eq(pwrite(image.fd, "?", 1, (off_t)image.frames[i].from + 150), 1);
    beck *db = open_readonly(image.name);
    beck_check_summary sum = {.size = sizeof sum};
    int findings = 0;
    GIVES(CORRUPT, db, beck_check(db, go_on, progress, &findings, &sum));
    ck_assert_int_ge(findings, 8);
    ck_assert_uint_eq(sum.findings, (uint64_t)findings);
    ck_assert_uint_eq(sum.records, 64 - 8);
    findings = 0;
    GIVES(CORRUPT, db, beck_check(db, stop_at_once, NULL, &findings, NULL));
    ck_assert_int_eq(findings, 1);
    OK(db, beck_close(db));
    teardown();
}
END_TEST

/* Unchecked: values may be wrong, but nothing else happens, and frames are still guarded. */
START_TEST(unchecked_reads_damaged_values)
{
    setup(false);
    for (int i = 0; i < image.frame_count; i++)
        if (image.frames[i].part == 0)
            ck_assert_int_eq(pwrite(image.fd, "?", 1, (off_t)image.frames[i].from + 700), 1);
    beck *db = _i == 2 ? open_readonly(image.name) : open_db(image.name);
    const char *topic = "os";
    beck_consumer_config config = {.size = sizeof config, .topics = &topic, .topic_count = 1};
    beck_consumer *consumer;
    config.flags = BECK_CONSUME_UNCHECKED | (_i == 1 ? BECK_CONSUME_COPY : 0);
    OK(db, beck_consumer_open(db, &config, &consumer));
    ck_assert_uint_eq(drain(db, consumer), 30);
    OK(db, beck_close(db));
    teardown();
}
END_TEST

#ifdef BECK_OS_PORTABLE
#define IMAGES 2 /* without a boot id a crashed file ends at its first damage */
#else
#define IMAGES 4
#endif

Suite *suite(void)
{
    Suite *s = suite_create("api_corrupt");
    TCase *c = tcase_create("bytes");
    tcase_set_timeout(c, 60);
    tcase_add_loop_test(c, flipped_bytes, 0, IMAGES);
    tcase_add_loop_test(c, cut_files, 0, IMAGES);
    suite_add_tcase(s, c);

    c = tcase_create("reports");
    tcase_add_test(c, report_says_what_was_lost);
    tcase_add_test(c, check_finds_and_stops);
    tcase_add_loop_test(c, unchecked_reads_damaged_values, 0, 3); /* in place, copied, read-only */
    suite_add_tcase(s, c);
    return s;
}
