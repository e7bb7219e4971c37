/* api_page.c -- machines with larger pages, up to 64 KiB: blocks then begin inside of a page
 *
 * This program stands in for such a kernel: sysconf tells of large pages, and mmap, msync, munmap
 * and madvise refuse what is not aligned to them, as the kernel would. */
#include "api_help.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#ifndef TEST_THREAD_SANITIZED /* it has an mmap of its own */
long __sysconf(int name);
void *mmap64(void *at, size_t bytes, int prot, int flags, int fd, off64_t offset);

static long page = 4096;
static unsigned mappings, refused;

long sysconf(int name)
{
    return name == _SC_PAGESIZE ? page : __sysconf(name);
}

static bool aligned(uintptr_t value)
{
    if (value % (uintptr_t)page == 0) return true;
    refused++;
    errno = EINVAL;
    return false;
}

void *mmap(void *at, size_t bytes, int prot, int flags, int fd, off_t offset)
{
    if (at != NULL) return mmap64(at, bytes, prot, flags, fd, offset);
    if (!aligned((uintptr_t)offset)) return MAP_FAILED;
    /* The kernel would map whole pages, at a whole page. */
    size_t span = (bytes + (size_t)page - 1) / (size_t)page * (size_t)page;
    uint8_t *room =
        mmap64(NULL, span + (size_t)page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (room == MAP_FAILED) return room;
    uint8_t *begin = room + ((size_t)page - (uintptr_t)room % (uintptr_t)page) % (size_t)page;
    mappings++;
    return mmap64(begin, span, prot, flags | MAP_FIXED, fd, offset);
}

int munmap(void *at, size_t bytes)
{
    return aligned((uintptr_t)at) ? (int)syscall(SYS_munmap, at, bytes) : -1;
}

int msync(void *at, size_t bytes, int flags)
{
    return aligned((uintptr_t)at) ? (int)syscall(SYS_msync, at, bytes, flags) : -1;
}

int madvise(void *at, size_t bytes, int advice)
{
    return aligned((uintptr_t)at) ? (int)syscall(SYS_madvise, at, bytes, advice) : -1;
}

/* ---- The work ---- */

enum { RECORDS = 120, BYTES = 3000 };

static size_t read_all(beck *db, const char *topic, uint32_t flags)
{
    beck_consumer_config config = {
        .size = sizeof config, .topics = &topic, .topic_count = 1, .flags = flags};
    beck_consumer *c = NULL;
    const beck_record *records;
    size_t count, sum = 0;
    OK(db, beck_consumer_open(db, &config, &c));
    do {
        OK(db, beck_poll(c, 50, 0, &records, &count));
        for (size_t i = 0; i < count; i++)
            ck_assert(filled(records[i].value, records[i].value_size, (uint64_t)records[i].offset));
        sum += count;
    } while (count > 0);
    beck_consumer_close(c);
    return sum;
}

static void append_some(beck *db)
{
    beck_topic_config config = {
        .size = sizeof config, .sync = BECK_SYNC_SYNC, .segment_bytes = 32768};
    beck_topic *os = os_topic(db, "os", 1, 32768), *stable = NULL;
    OK(db, beck_topic_open(db, "sync", &config, &stable));
    for (int i = 0; i < RECORDS; i++) {
        int64_t at = end_offset(db, "os", 0);
        OK(db, append_filled(os, 0, BYTES, (uint64_t)at, NULL));
        OK(db, append_filled(stable, 0, BYTES, (uint64_t)at, NULL));
    }
}

static int append_and_die(const char *name)
{
    append_some(open_db(name));
    return 0;
}

static void check_all(const char *name, uint32_t flags, size_t records)
{
    beck *db = open_flags(name, flags);
    ck_assert_str_eq(beck_recovery_report(db), "");
    for (uint32_t copy = 0; copy < 2; copy++) {
        ck_assert_uint_eq(read_all(db, "os", copy ? BECK_CONSUME_COPY : 0), records);
        ck_assert_uint_eq(read_all(db, "sync", copy ? BECK_CONSUME_COPY : 0), records);
    }
    OK(db, beck_check(db, NULL, NULL, NULL, NULL));
    OK(db, beck_close(db));
}

/* Made, read, crashed, recovered and appended to; then the same with pages of 4 KiB: the file is
 * the same file. */
START_TEST(blocks_inside_of_pages)
{
    const char *name = path_in(_i % 2 == 0 ? test_folder() : quick_folder(), "page.beck");
    page = 16384L << _i / 2;
    beck *db = open_db(name);
    append_some(db);
    OK(db, beck_topic_create(db, "gone", NULL));
    OK(db, beck_topic_delete(db, "gone"));
    beck *other = open_db(name);
    append_some(other);
    ck_assert_uint_eq(read_all(db, "os", 0), 2 * RECORDS);
    OK(db, beck_close(db));
    OK(db, beck_sync(other));
    OK(db, beck_close(other));
    check_all(name, BECK_OPEN_READONLY, 2 * RECORDS);
    ck_assert_int_eq(in_child(append_and_die, name), 0);
    check_all(name, BECK_OPEN_READONLY, 3 * RECORDS);
    check_all(name, 0, 3 * RECORDS);
    ck_assert_uint_gt(mappings, 20);
    ck_assert_uint_eq(refused, 0);
    page = 4096;
    check_all(name, 0, 3 * RECORDS);
    ck_assert_int_eq(unlink(name), 0);
}
END_TEST
#endif

Suite *suite(void)
{
    Suite *s = suite_create("page");
    TCase *c = tcase_create("page");
    tcase_set_timeout(c, 60);
#ifndef TEST_THREAD_SANITIZED
    tcase_add_loop_test(c, blocks_inside_of_pages, 0, 6); /* 16, 32 and 64 KiB; disk and memory */
#else
    printf("skipped blocks_inside_of_pages: ThreadSanitizer has an mmap of its own\n");
#endif
    suite_add_tcase(s, c);
    return s;
}
