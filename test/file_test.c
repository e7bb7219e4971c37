/* file_test.c -- superblock copies torn and refused, formatting, segments and their bounds */
#include "file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "test.h"

static char path[4096];
static struct file f;
static struct superblock super;

/* ---- Between the library and the system ---- */

/* Where superblocks were written, whether each write was stable, and which of them is to fail. */
static struct {
    uint64_t at[16];
    bool stable[16];
    int count;
    int fail; /* this one of them, from 0; -1 = none */
} writes = {.fail = -1};

ssize_t pwritev2(int fd, const struct iovec *iov, int count, off_t at, int flags)
{
    int n = writes.count++;
    ck_assert_int_lt(n, 16);
    writes.at[n] = (uint64_t)at;
    writes.stable[n] = (flags & RWF_DSYNC) != 0;
    if (n == writes.fail) {
        errno = EIO;
        return -1;
    }
    return syscall(SYS_pwritev2, fd, iov, (unsigned long)count, at, 0L, flags);
}

/* As where a file may be opened so, and then wants another alignment. */
static bool no_direct_writes;

ssize_t pwrite(int fd, const void *data, size_t bytes, off_t at)
{
    if (no_direct_writes && (fcntl(fd, F_GETFL) & O_DIRECT)) {
        errno = EINVAL;
        return -1;
    }
    return syscall(SYS_pwrite64, fd, data, bytes, at);
}

static void open_file(uint32_t flags)
{
    const beck_options options = {.size = sizeof options, .flags = BECK_OPEN_FORCE | flags};
    snprintf(path, sizeof path, "%s/file-%d", test_folder(), (int)getpid());
    ck_assert_int_eq(file_open(&f, path, &options), BECK_OK);
}

static void make_file(void)
{
    open_file(0);
    ck_assert_int_eq(file_read_super(&f, &super), 0); /* nothing there yet */
    ck_assert_int_eq(file_format(&f, 77), BECK_OK);
    ck_assert_int_eq(file_read_super(&f, &super), 1);
    writes.count = 0;
}

static void flip(uint64_t at)
{
    uint8_t byte;
    ck_assert_int_eq(os_read(&f.os, &byte, 1, at), BECK_OK);
    byte ^= 0x10;
    ck_assert_int_eq(os_write(&f.os, &byte, 1, at), BECK_OK);
}

/* ---- Superblocks ---- */

START_TEST(a_new_file_is_small_and_unclean)
{
    struct superblock again;
    uint64_t size;
    make_file();
    ck_assert_uint_eq(super.version, FORMAT_VERSION);
    ck_assert_uint_eq(super.application_id, 77);
    ck_assert_uint_eq(super.state, SUPER_UNCLEAN);
    ck_assert_uint_eq(super.root.block, HEAP_BLOCK);
    ck_assert_uint_eq(super.catalog_next, 2);
    ck_assert(file_same_boot(&f, &super));
    ck_assert_int_eq(os_size(&f.os, &size), BECK_OK);
    ck_assert_uint_eq(size, HEAP_AT + 2 * BLOCK_BYTES);
    file_close(&f);
    open_file(BECK_OPEN_READONLY);
    ck_assert_int_eq(file_read_super(&f, &again), 1);
    ck_assert_mem_eq(again.uuid, super.uuid, sizeof super.uuid);
    ck_assert_mem_eq(f.uuid, super.uuid, sizeof super.uuid);
    file_close(&f);
}
END_TEST

/* [C3] The copy that did not count is stable before the one that did is begun; then both are. */
START_TEST(a_superblock_changes_one_stable_copy_at_a_time)
{
    make_file(); /* both copies say the same, and A counts */
    uint64_t sequence = super.sequence;
    super.catalog_next = 3;
    ck_assert_int_eq(file_write_super(&f, &super), BECK_OK);
    ck_assert_uint_eq(super.sequence, sequence + 1);
    ck_assert_int_eq(writes.count, 2);
    ck_assert_uint_eq(writes.at[0], SUPER_B_AT);
    ck_assert_uint_eq(writes.at[1], SUPER_A_AT);
    ck_assert(writes.stable[0]);
    ck_assert(writes.stable[1]);
    file_close(&f);
}
END_TEST

/* The next write of a superblock but `whole` fails, and leaves a torn copy. */
static void change_torn(uint32_t catalog_next, int whole)
{
    struct superblock next;
    ck_assert_int_eq(file_read_super(&f, &next), 1);
    next.catalog_next = catalog_next;
    writes.count = 0;
    writes.fail = whole;
    ck_assert_int_eq(file_write_super(&f, &next), BECK_POISONED);
    ck_assert_int_eq(writes.count, whole + 1);
    writes.fail = -1;
    flip(writes.at[whole] + 60);
}

/* [C3] A change that stops in the first copy leaves the old state, one that stops in the second the
 * new one; and so does another that is stopped when the copies differ already. */
START_TEST(a_change_that_stops_leaves_one_state)
{
    for (int stops = 0; stops < 8; stops++) {
        uint32_t expected = 2;
        make_file();
        for (int change = 0; change < 3; change++) {
            int whole = stops >> change & 1;
            change_torn(100 + (uint32_t)change, whole);
            if (whole == 1) expected = 100 + (uint32_t)change;
            ck_assert_int_eq(file_read_super(&f, &super), 1);
            ck_assert_uint_eq(super.catalog_next, expected);
        }
        ck_assert_int_eq(file_write_super(&f, &super), BECK_OK); /* makes both whole again */
        flip(stops % 2 == 0 ? SUPER_A_AT : SUPER_B_AT);
        ck_assert_int_eq(file_read_super(&f, &super), 1);
        ck_assert_uint_eq(super.catalog_next, expected);
        file_close(&f);
        ck_assert_int_eq(unlink(path), 0);
    }
}
END_TEST

/* Who finds a file that a dead process changed last cannot know whether the copy that counts is
 * on the
 * device: that comes before the other one is touched. */
START_TEST(the_copy_that_counts_is_settled_first)
{
    make_file();
    change_torn(100, 1); /* B counts now, and A is torn */
    ck_assert_int_eq(file_read_super(&f, &super), 1);
    ck_assert(f.supers_differ);
    writes.count = 0;
    f.supers_unsettled = true;
    ck_assert_int_eq(file_write_super(&f, &super), BECK_OK);
    ck_assert_int_eq(writes.count, 3);
    ck_assert_uint_eq(writes.at[0], SUPER_B_AT);
    ck_assert_uint_eq(writes.at[1], SUPER_A_AT);
    ck_assert_uint_eq(writes.at[2], SUPER_B_AT);
    ck_assert_int_eq(file_read_super(&f, &super), 1);
    ck_assert(!f.supers_differ);
    file_close(&f);
}
END_TEST

/* Formatting that a power loss interrupted leaves a torn copy B, zeros for A, and perhaps an
 * area that
 * somebody used who saw the superblock in the page cache: it is done again. */
START_TEST(interrupted_formatting_is_done_again)
{
    static const uint8_t zeros[SUPER_BYTES];
    static const uint8_t used[] = "somebody was here";
    make_file();
    uint8_t uuid[16];
    memcpy(uuid, super.uuid, sizeof uuid);
    ck_assert_int_eq(os_write(&f.os, zeros, sizeof zeros, SUPER_A_AT), BECK_OK);
    flip(SUPER_B_AT + 60);
    ck_assert_int_eq(os_write(&f.os, used, sizeof used, COORD_AT), BECK_OK);
    ck_assert_int_eq(file_read_super(&f, &super), 0);
    ck_assert_int_eq(file_format(&f, 1), BECK_OK);
    ck_assert_int_eq(file_read_super(&f, &super), 1);
    ck_assert_mem_ne(super.uuid, uuid, sizeof uuid);
    /* Without the first segment of a catalog it is somebody else's. */
    ck_assert_int_eq(os_write(&f.os, zeros, sizeof zeros, SUPER_A_AT), BECK_OK);
    flip(SUPER_B_AT + 60);
    ck_assert_int_eq(os_write(&f.os, used, sizeof used, COORD_AT), BECK_OK);
    flip(HEAP_AT + 30);
    ck_assert_int_eq(file_read_super(&f, &super), BECK_NOT_BECK);
    file_close(&f);
}
END_TEST

/* Every byte of either copy matters, and the other one stands in. */
START_TEST(either_copy_may_be_damaged)
{
    struct superblock now;
    make_file();
    for (uint64_t i = 0; i < SUPER_BYTES; i++) {
        flip(SUPER_A_AT + i);
        ck_assert_int_eq(file_read_super(&f, &now), 1);
        ck_assert_uint_eq(now.sequence, super.sequence);
        flip(SUPER_B_AT + i);
        ck_assert_int_eq(file_read_super(&f, &now), i < 16 ? BECK_NOT_BECK : BECK_CORRUPT);
        flip(SUPER_A_AT + i);
        ck_assert_int_eq(file_read_super(&f, &now), 1);
        flip(SUPER_B_AT + i);
    }
    flip(SUPER_A_AT); /* A is none at all, B is one that is damaged */
    flip(SUPER_B_AT + 100);
    ck_assert_int_eq(file_read_super(&f, &now), BECK_CORRUPT);
    file_close(&f);
}
END_TEST

static void expect_super(int status)
{
    struct superblock s = super, got;
    ck_assert_int_eq(file_write_super(&f, &s), BECK_OK);
    ck_assert_int_eq(file_read_super(&f, &got), status);
    writes.count = 0;
}

START_TEST(newer_and_impossible_files_are_refused)
{
    make_file();
    const struct superblock good = super;
    super.version++;
    expect_super(BECK_NEWER);
    super = good;
    super.incompat = 8;
    expect_super(BECK_NEWER);
    super = good;
    super.readonly = 8;
    expect_super(BECK_NEWER);
    f.readonly = true;
    expect_super(1);
    f.readonly = false;
    super = good;
    super.compat = 8;
    expect_super(1);
    super = good;
    super.state = 3;
    expect_super(BECK_CORRUPT);
    super = good;
    super.root.block = HEAP_BLOCK - 1;
    expect_super(BECK_CORRUPT);
    super = good;
    super.root.blocks = 0;
    expect_super(BECK_CORRUPT);
    file_close(&f);
}
END_TEST

START_TEST(other_files_are_told_apart)
{
    static const char text[] = "a letter to a friend";
    open_file(0);
    ck_assert_int_eq(os_write(&f.os, text, sizeof text, 0), BECK_OK);
    ck_assert_int_eq(file_read_super(&f, &super), BECK_NOT_BECK);
    ck_assert_int_eq(os_truncate(&f.os, 0), BECK_OK);
    ck_assert_int_eq(os_truncate(&f.os, 100000), BECK_OK); /* all zeros: formatting was cut off */
    ck_assert_int_eq(file_read_super(&f, &super), 0);
    /* Zeros in front of something else, or of more than was ever formatted. */
    ck_assert_int_eq(os_write(&f.os, text, sizeof text, HEAP_AT - sizeof text), BECK_OK);
    ck_assert_int_eq(file_read_super(&f, &super), BECK_NOT_BECK);
    ck_assert_int_eq(os_truncate(&f.os, 0), BECK_OK);
    ck_assert_int_eq(os_truncate(&f.os, HEAP_AT + 2 * BLOCK_BYTES), BECK_OK);
    ck_assert_int_eq(file_read_super(&f, &super), 0);
    ck_assert_int_eq(os_truncate(&f.os, HEAP_AT + 2 * BLOCK_BYTES + 1), BECK_OK);
    ck_assert_int_eq(file_read_super(&f, &super), BECK_NOT_BECK);
    file_close(&f);
}
END_TEST

/* Zeros in the place of a copy: the other counts. Only copy A is never without B: with B damaged
 * then, the file is new still, and with A damaged it is not. */
START_TEST(a_copy_of_zeros_is_none)
{
    static const uint8_t zeros[SUPER_BYTES];
    struct superblock now;
    make_file();
    for (int i = 0; i < 2; i++) {
        struct superblock again = super;
        const uint64_t gone = i == 0 ? SUPER_A_AT : SUPER_B_AT;
        const uint64_t left = i == 0 ? SUPER_B_AT : SUPER_A_AT;
        ck_assert_int_eq(os_write(&f.os, zeros, sizeof zeros, gone), BECK_OK);
        ck_assert_int_eq(file_read_super(&f, &now), 1);
        ck_assert_uint_eq(now.sequence, super.sequence);
        flip(left + 100);
        ck_assert_int_eq(file_read_super(&f, &now), i == 0 ? 0 : BECK_CORRUPT);
        flip(left + 100);
        ck_assert_int_eq(file_read_super(&f, &now), 1);
        again.sequence--;
        ck_assert_int_eq(file_write_super(&f, &again), BECK_OK);
        writes.count = 0;
    }
    file_close(&f);
}
END_TEST

START_TEST(another_boot_or_inode_is_noticed)
{
    make_file();
    struct superblock other = super;
    other.boot_id[3] ^= 1;
    ck_assert(!file_same_boot(&f, &other));
    other = super;
    other.inode++;
    ck_assert(!file_same_boot(&f, &other));
    other = super;
    other.birth_ns++;
    ck_assert(!file_same_boot(&f, &other));
    other = super;
    other.birth_s++;
    ck_assert(!file_same_boot(&f, &other));
    other = super;
    memset(other.boot_id, 0, sizeof other.boot_id);
    ck_assert(!file_same_boot(&f, &other));
    file_close(&f);
}
END_TEST

/* ---- Opening ---- */

START_TEST(only_who_may_create_creates)
{
    beck_options options = {.size = sizeof options, .flags = BECK_OPEN_FORCE | BECK_OPEN_READONLY};
    snprintf(path, sizeof path, "%s/none-%d", test_folder(), (int)getpid());
    ck_assert_int_eq(file_open(&f, path, &options), BECK_NOT_FOUND);
    file_close(&f);
    options.flags = BECK_OPEN_FORCE | BECK_OPEN_NO_CREATE;
    ck_assert_int_eq(file_open(&f, path, &options), BECK_NOT_FOUND);
    file_close(&f);
    ck_assert_int_eq(access(path, F_OK), -1);
    ck_assert_int_eq(file_open(&f, test_folder(), &options), BECK_INVALID);
    file_close(&f);
    ck_assert_int_eq(symlink("nowhere", path), 0);
    options.flags = BECK_OPEN_FORCE;
    ck_assert_int_eq(file_open(&f, path, &options), BECK_NOT_FOUND); /* not through the link */
    file_close(&f);
}
END_TEST

/* ---- Segments ---- */

START_TEST(segments_are_made_and_read_inside_their_bounds)
{
    const struct segment_place place = {.id = 5, .salt = 9, .block = HEAP_BLOCK + 4, .blocks = 2};
    struct segment_header h;
    uint8_t bytes[SEGMENT_HEADER_BYTES];
    uint64_t size;
    make_file();
    ck_assert_int_eq(file_make_segment(&f, &place, 16, 3, 100), BECK_OK);
    ck_assert_int_eq(os_size(&f.os, &size), BECK_OK);
    ck_assert_uint_eq(size, place_at(&place) + place_bytes(&place));
    ck_assert_int_eq(file_read_segment(&f, &place, 0, bytes, sizeof bytes), BECK_OK);
    ck_assert_int_eq(segment_header_decode(bytes, &h), BECK_OK);
    ck_assert_uint_eq(h.id, 5);
    ck_assert_uint_eq(h.salt, 9);
    ck_assert_uint_eq(h.topic, 16);
    ck_assert_uint_eq(h.partition, 3);
    ck_assert_uint_eq(h.base_offset, 100);
    ck_assert_uint_eq(h.blocks, 2);
    ck_assert_mem_eq(h.uuid, super.uuid, 16);
    uint64_t end = place_bytes(&place);
    ck_assert_int_eq(file_read_segment(&f, &place, end - 8, bytes, 8), BECK_OK);
    ck_assert_int_eq(file_read_segment(&f, &place, end - 8, bytes, 9), BECK_CORRUPT);
    ck_assert_int_eq(file_read_segment(&f, &place, end + 1, bytes, 0), BECK_CORRUPT);
    ck_assert_int_eq(file_read_segment(&f, &place, UINT64_MAX, bytes, 9), BECK_CORRUPT);
    ck_assert_int_eq(file_read_segment(&f, &place, 8, bytes, SIZE_MAX), BECK_CORRUPT);
    file_close(&f);
}
END_TEST

/* Whatever of a header is not as the catalog says: it is written again. What is right stays. */
START_TEST(headers_are_repaired)
{
    const struct segment_place place = {.id = 9, .salt = 3, .block = HEAP_BLOCK + 2, .blocks = 1};
    uint8_t good[SEGMENT_HEADER_BYTES], bytes[SEGMENT_HEADER_BYTES];
    make_file();
    ck_assert_int_eq(file_make_segment(&f, &place, 16, 2, 70), BECK_OK);
    ck_assert_int_eq(os_read(&f.os, good, sizeof good, place_at(&place)), BECK_OK);
    for (int i = 0; i < 8; i++) {
        struct segment_header h;
        ck_assert_int_eq(segment_header_decode(good, &h), BECK_OK);
        h.id += i == 0;
        h.salt += i == 1;
        h.topic += i == 2;
        h.partition += i == 3;
        h.base_offset += i == 4;
        h.uuid[0] ^= i == 5;
        segment_header_encode(&h, bytes);
        bytes[30] ^= i == 6;
        ck_assert_int_eq(os_write(&f.os, bytes, sizeof bytes, place_at(&place)), BECK_OK);
        ck_assert_int_eq(file_repair_header(&f, &place, 16, 2, 70), BECK_OK);
        ck_assert_int_eq(os_read(&f.os, bytes, sizeof bytes, place_at(&place)), BECK_OK);
        ck_assert_mem_eq(bytes, good, sizeof good);
    }
    file_close(&f);
}
END_TEST

static void expect_written_around(const uint8_t *bytes, size_t count, uint64_t at)
{
    static uint8_t back[20000];
    ck_assert_int_eq(file_write_around(&f, bytes, count, at), BECK_OK);
    ck_assert_int_eq(os_read(&f.os, back, count, at), BECK_OK);
    ck_assert_mem_eq(back, bytes, count);
}

/* Around the cache or, where there is no way, through it: what stands there then is the same. */
START_TEST(bytes_are_written_around_the_cache)
{
    static uint8_t bytes[20000];
    uint64_t size, end;
    make_file();
    memset(bytes, 7, sizeof bytes);
    ck_assert_int_eq(os_size(&f.os, &end), BECK_OK);
    expect_written_around(bytes, sizeof bytes, HEAP_AT + 77);
    no_direct_writes = true;
    expect_written_around(bytes + 1, 5000, HEAP_AT + 4097);
    no_direct_writes = false;
    ck_assert_int_eq(os_truncate(&f.os, end - 50), BECK_OK); /* the last page is not there */
    expect_written_around(bytes, 50, end - 100);
    ck_assert_int_eq(os_size(&f.os, &size), BECK_OK);
    ck_assert_uint_eq(size, end - 50);
    file_close(&f);
}
END_TEST

START_TEST(zeros_are_written_just_where_asked)
{
    static uint8_t bytes[200000];
    make_file();
    memset(bytes, 7, sizeof bytes);
    ck_assert_int_eq(os_write(&f.os, bytes, sizeof bytes, HEAP_AT), BECK_OK);
    ck_assert_int_eq(file_zero(&f, HEAP_AT + 1, sizeof bytes - 2), BECK_OK);
    ck_assert_int_eq(os_read(&f.os, bytes, sizeof bytes, HEAP_AT), BECK_OK);
    for (size_t i = 0; i < sizeof bytes; i++)
        ck_assert_uint_eq(bytes[i], i == 0 || i == sizeof bytes - 1 ? 7 : 0);
    file_close(&f);
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("file");
    TCase *c = tcase_create("superblock");
    test_add_linux(c, a_new_file_is_small_and_unclean, NO_BOOT_ID);
    test_add_linux(c, a_superblock_changes_one_stable_copy_at_a_time, NO_DSYNC);
    test_add_linux(c, a_change_that_stops_leaves_one_state, NO_DSYNC);
    test_add_linux(c, the_copy_that_counts_is_settled_first, NO_DSYNC);
    tcase_add_test(c, interrupted_formatting_is_done_again);
    tcase_add_test(c, either_copy_may_be_damaged);
    tcase_add_test(c, newer_and_impossible_files_are_refused);
    tcase_add_test(c, other_files_are_told_apart);
    tcase_add_test(c, a_copy_of_zeros_is_none);
    tcase_add_test(c, another_boot_or_inode_is_noticed);
    suite_add_tcase(s, c);
    c = tcase_create("file");
    tcase_add_test(c, only_who_may_create_creates);
    tcase_add_test(c, segments_are_made_and_read_inside_their_bounds);
    tcase_add_test(c, headers_are_repaired);
    tcase_add_test(c, bytes_are_written_around_the_cache);
    tcase_add_test(c, zeros_are_written_just_where_asked);
    suite_add_tcase(s, c);
    return s;
}
