/* os_test.c -- files, mappings, locks, futexes and clocks as the rest of the library needs them */
#include "os_posix.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "err.h"
#include "test.h"
#include "without.h"

static char path[4096];
static struct os_file f;

static void make_file(void)
{
    snprintf(path, sizeof path, "%s/os-%d", test_folder(), (int)getpid());
    ck_assert_int_eq(os_open(path, OS_CREATE, 0640, &f), BECK_OK);
}

/* ---- Files ---- */

START_TEST(files_are_opened_as_asked)
{
    struct os_file g;
    struct stat st;
    make_file();
    ck_assert_int_gt(f.fd, 2);
    ck_assert_int_eq(stat(path, &st), 0);
    ck_assert_int_eq(st.st_mode & 0137, 0);
    ck_assert_int_eq(os_open(path, OS_CREATE, 0640, &g), BECK_EXISTS);
    ck_assert_int_eq(os_open(path, OS_READ, 0, &g), BECK_OK);
    ck_assert(g.readonly);
    os_close(&g);
    ck_assert_int_eq(g.fd, -1);
    os_close(&g); /* once more is nothing */
    ck_assert_int_eq(os_open(test_folder(), OS_READ, 0, &g), BECK_INVALID);
    ck_assert_int_eq(os_open("/dev/null", OS_WRITE, 0, &g), BECK_INVALID);
    ck_assert_int_eq(os_open("/nowhere/at/all", OS_READ, 0, &g), BECK_NOT_FOUND);
    os_close(&f);
}
END_TEST

START_TEST(descriptors_stay_above_stdio)
{
    make_file();
    os_close(&f);
    close(0);
    close(2);
    ck_assert_int_eq(os_open(path, OS_WRITE, 0, &f), BECK_OK);
    ck_assert_int_gt(f.fd, 2);
    os_close(&f);
}
END_TEST

START_TEST(behind_the_end_there_are_zeros)
{
    uint8_t bytes[100];
    uint64_t size = 0;
    make_file();
    ck_assert_int_eq(os_write(&f, "abc", 3, 10), BECK_OK);
    memset(bytes, 0xff, sizeof bytes);
    ck_assert_int_eq(os_read(&f, bytes, sizeof bytes, 8), BECK_OK);
    for (size_t i = 0; i < sizeof bytes; i++)
        ck_assert_int_eq(bytes[i], i >= 2 && i < 5 ? "abc"[i - 2] : 0);
    ck_assert_int_eq(os_read(&f, bytes, sizeof bytes, UINT64_C(1) << 40), BECK_OK);
    ck_assert_int_eq(os_write_stable(&f, "d", 1, 20), BECK_OK);
    ck_assert_int_eq(os_size(&f, &size), BECK_OK);
    ck_assert_uint_eq(size, 21);
    ck_assert_int_eq(os_allocate(&f, 0, 20), BECK_OK); /* never shrinks */
    ck_assert_int_eq(os_size(&f, &size), BECK_OK);
    ck_assert_uint_eq(size, 21);
    ck_assert_int_eq(os_allocate(&f, 1000, 3096), BECK_OK);
    ck_assert_int_eq(os_size(&f, &size), BECK_OK);
    ck_assert_uint_eq(size, 4096);
    ck_assert_int_eq(os_truncate(&f, 11), BECK_OK);
    ck_assert_int_eq(os_size(&f, &size), BECK_OK);
    ck_assert_uint_eq(size, 11);
    ck_assert_int_eq(os_sync(&f), BECK_OK);
    ck_assert_int_eq(os_sync_directory(path, &f), BECK_OK);
    os_close(&f);
}
END_TEST

START_TEST(errors_of_the_system_become_ours)
{
    struct os_file g;
    char byte = 0;
    make_file();
    ck_assert_int_eq(os_open(path, OS_READ, 0, &g), BECK_OK);
    ck_assert_int_eq(os_write(&g, &byte, 1, 0), BECK_IO);
    ck_assert_ptr_nonnull(strstr(err_message(), "write"));
    os_close(&g);
    ck_assert_int_eq(os_sync_directory("/nowhere/at/all", &f), BECK_NOT_FOUND);
    os_close(&f);
    ck_assert_int_eq(os_read(&f, &byte, 1, 0), BECK_IO);
}
END_TEST

START_TEST(a_file_is_known_again)
{
    struct os_identity id, again;
    struct os_file g;
    char other[4200];
    make_file();
    snprintf(other, sizeof other, "%s.other", path);
    ck_assert_int_eq(os_identity(&f, &id), BECK_OK);
    ck_assert_uint_eq(id.links, 1);
    ck_assert_int_eq(os_still_there(path, &f), BECK_OK);
    ck_assert_int_eq(rename(path, other), 0);
    ck_assert_int_eq(os_still_there(path, &f), BECK_MOVED);
    ck_assert_int_eq(os_open(path, OS_CREATE, 0600, &g), BECK_OK);
    ck_assert_int_eq(os_still_there(path, &f), BECK_MOVED);
    ck_assert_int_eq(os_identity(&g, &again), BECK_OK);
    ck_assert_uint_ne(again.inode, id.inode);
    ck_assert_int_eq(unlink(other), 0);
    ck_assert_int_eq(os_identity(&f, &again), BECK_OK);
    ck_assert_uint_eq(again.inode, id.inode);
    ck_assert_uint_eq(again.links, 0);
    os_close(&g);
    os_close(&f);
}
END_TEST

/* ---- Mappings ---- */

START_TEST(mappings_and_files_show_the_same)
{
    struct os_map rw, ro;
    uint8_t bytes[16];
    make_file();
    ck_assert_int_eq(os_truncate(&f, 4 * BLOCK_BYTES), BECK_OK);
    ck_assert_int_eq(os_map(&f, BLOCK_BYTES, 2 * BLOCK_BYTES, true, &rw), BECK_OK);
    ck_assert_int_eq(os_map(&f, 2 * BLOCK_BYTES, 8 * BLOCK_BYTES, false, &ro), BECK_OK);
    ck_assert_uint_eq(rw.bytes, 2 * BLOCK_BYTES);
    os_populate(&rw, 0, rw.bytes);
    os_store(rw.data + BLOCK_BYTES + 5, "hello", 5);
    ck_assert_mem_eq(ro.data + 5, "hello", 5);
    ck_assert_int_eq(os_read(&f, bytes, 5, 2 * BLOCK_BYTES + 5), BECK_OK);
    ck_assert_mem_eq(bytes, "hello", 5);
    ck_assert_int_eq(os_write(&f, "world", 5, 2 * BLOCK_BYTES), BECK_OK);
    ck_assert_mem_eq(rw.data + BLOCK_BYTES, "world", 5);
    ck_assert_int_eq(os_map_sync(&rw, 5, 5), BECK_OK);
    ck_assert_int_eq(os_map_sync(&rw, BLOCK_BYTES + 1, BLOCK_BYTES + 2), BECK_OK);
    ck_assert_int_eq(os_map_sync(&rw, 0, rw.bytes), BECK_OK);
    os_unmap(&rw);
    ck_assert_ptr_null(rw.data);
    os_unmap(&rw);
    os_unmap(&ro);
    os_close(&f);
}
END_TEST

/* ---- Locks ---- */

static bool locked(const struct os_file *file, uint64_t byte, uint64_t count)
{
    bool is = false;
    ck_assert_int_eq(os_locked_by_other(file, byte, count, &is), BECK_OK);
    return is;
}

START_TEST(locks_belong_to_a_description)
{
    const uint64_t far = UINT64_C(1) << 62;
    struct os_file g;
    make_file();
    ck_assert_int_eq(os_open(path, OS_WRITE, 0, &g), BECK_OK);
    ck_assert_int_eq(os_lock(&f, far + 3, true), BECK_OK);
    ck_assert_int_eq(os_lock(&f, far + 3, true), BECK_OK); /* its own */
    ck_assert_int_eq(os_lock(&g, far + 3, true), BECK_BUSY);
    ck_assert_int_eq(os_lock(&g, far + 3, false), BECK_BUSY);
    ck_assert_int_eq(os_lock(&g, far + 4, true), BECK_OK);
    ck_assert(locked(&g, far, 10));
    ck_assert(!locked(&g, far, 3));
    ck_assert(!locked(&g, far + 4, 1)); /* not by another */
    ck_assert(locked(&f, far + 4, 1));
    ck_assert_int_eq(os_unlock(&f, far + 3), BECK_OK);
    ck_assert_int_eq(os_lock(&f, far + 3, false), BECK_OK);
    ck_assert_int_eq(os_lock(&g, far + 3, false), BECK_OK); /* shared */
    ck_assert(!locked(&g, far + 3, 1));
    os_close(&g); /* gone with the description */
    ck_assert(!locked(&f, far, 10));
    os_close(&f);
}
END_TEST

START_TEST(locks_end_with_the_process)
{
    int status, ready[2];
    char byte;
    make_file();
    ck_assert_int_eq(pipe(ready), 0);
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        struct os_file g;
        if (os_open(path, OS_WRITE, 0, &g) == 0 && os_lock(&g, 7, true) == 0)
            if (write(ready[1], "x", 1) == 1) pause();
        _exit(1);
    }
    ck_assert_int_eq(read(ready[0], &byte, 1), 1);
    ck_assert(locked(&f, 7, 1));
    ck_assert_int_eq(kill(pid, SIGKILL), 0);
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert(!locked(&f, 7, 1));
    os_close(&f);
}
END_TEST

/* ---- Waiting ---- */

static _Atomic uint32_t words[3];
static _Atomic int woken;

static void *wait_one(void *word)
{
    os_wait(word, 0, 5000);
    atomic_fetch_add(&woken, 1);
    return NULL;
}

static void *wait_three(void *nothing)
{
    struct os_wait_item items[3];
    for (int i = 0; i < 3; i++) items[i] = (struct os_wait_item){&words[i], 0};
    bool supported;
    (void)os_wait_many(items, 3, 5000, &supported);
    if (!supported) return &woken; /* an older system */
    atomic_fetch_add(&woken, 1);
    return nothing;
}

START_TEST(waiters_are_woken)
{
    int64_t before = os_monotonic_ms();
    void *result;
    for (int many = 0; many < 2; many++) {
        pthread_t thread;
        atomic_store(&woken, 0);
        atomic_store(&words[2], 0);
        ck_assert_int_eq(
            pthread_create(&thread, NULL, many ? wait_three : wait_one, many ? NULL : &words[2]),
            0);
        os_sleep_ms(20);
        atomic_store(&words[2], 1);
        os_wake(&words[2], INT32_MAX);
        pthread_join(thread, &result);
        ck_assert_int_eq(atomic_load(&woken), result == NULL);
    }
    os_wait(&words[2], 0, 5000); /* it is 1: no wait */
    ck_assert_int_lt(os_monotonic_ms() - before, 2000);
    before = os_monotonic_ms();
    os_wait(&words[0], 0, 30); /* nobody wakes */
    ck_assert_int_ge(os_monotonic_ms() - before, 20);
}
END_TEST

/* ---- Identity ---- */

START_TEST(chance_and_identity)
{
    uint8_t one[16], two[16];
    ck_assert_int_eq(os_random(one, sizeof one), BECK_OK);
    ck_assert_int_eq(os_random(two, sizeof two), BECK_OK);
    ck_assert_mem_ne(one, two, sizeof one);
    os_boot_id(one);
    os_boot_id(two);
    ck_assert_mem_eq(one, two, sizeof one);
    ck_assert_uint_eq(os_process_id(), (uint32_t)getpid());
    ck_assert_int_gt(os_now_ms(), INT64_C(1700000000000));
}
END_TEST

/* Out of descriptors it is unknown to who never read it, and what it was to who did. */
START_TEST(the_boot_id_is_read_once)
{
    static const uint8_t unknown[16];
    uint8_t one[16], two[16];
    struct rlimit limit;
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
    rlim_t before = limit.rlim_cur;
    limit.rlim_cur = 0;
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
    os_boot_id(one);
    ck_assert_mem_eq(one, unknown, sizeof one);
    limit.rlim_cur = before;
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
    os_boot_id(one);
    ck_assert_mem_ne(one, unknown, sizeof one);
    limit.rlim_cur = 0;
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
    os_boot_id(two);
    limit.rlim_cur = before;
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
    ck_assert_mem_eq(one, two, sizeof one);
}
END_TEST

START_TEST(a_fork_finds_its_page_wiped)
{
    int status = 0;
    const _Atomic uint32_t *page = os_fork_page();
    if (page == NULL) return; /* the system cannot */
    ck_assert_uint_eq(atomic_load(page), 1);
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) _exit(atomic_load(page) == 0 ? 0 : 1);
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_int_eq(status, 0);
    ck_assert_uint_eq(atomic_load(page), 1);
    os_fork_page_free(page);
    os_fork_page_free(NULL);
}
END_TEST

/* ---- File systems ---- */

START_TEST(the_file_system_is_known)
{
    struct os_filesystem fs;
    make_file();
    ck_assert_int_eq(os_filesystem(&f, &fs), BECK_OK);
    ck_assert(fs.allowed); /* or no other test would run */
    ck_assert_ptr_nonnull(fs.name);
#ifndef BECK_OS_PORTABLE
    static const struct {
        uint32_t magic;
        const char *name;
    } refused[] = {{0x6969, "NFS"},          {0xff534d42, "CIFS"},    {0x01021997, "9p"},
                   {0x65735546, "virtiofs"}, {0x2fc12fc1, "ZFS"},     {0xca451a4e, "bcachefs"},
                   {0xf2f52010, "F2FS"},     {0x00c36400, "CephFS"},  {0x0bd00bd0, "Lustre"},
                   {0x4d44, "FAT"},          {0x12345678, "unknown"}, {0xf15f, "eCryptfs"},
                   {0x01161970, "GFS2"},     {0x7461636f, "OCFS2"},   {0x7366746e, "NTFS"}};
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        os_filesystem_by_magic(refused[i].magic, &fs);
        ck_assert(!fs.allowed);
        ck_assert(!fs.mapped_writes);
        ck_assert_msg(strstr(fs.name, refused[i].name) != NULL, "%s", fs.name);
        ck_assert_ptr_nonnull(fs.refused);
    }
    os_filesystem_by_magic(0xffffffff00000000u | 0xef53, &fs);
    ck_assert_str_eq(fs.name, "ext4"); /* f_type may be sign-extended */
    ck_assert(fs.allowed && fs.mapped_writes && !fs.memory && !fs.copy_on_write);
#endif
    os_close(&f);
}
END_TEST

static int64_t blocks_of(const struct os_file *file)
{
    struct stat st;
    ck_assert_int_eq(fstat(file->fd, &st), 0);
    return (int64_t)st.st_blocks * 512;
}

static const struct {
    const char *what;
    int error;
} no_fallocate[] = {{"statx", ENOSYS}, /* not fallocate at all: the usual way */
                    {"fallocate", ENOSYS},
                    {"fallocate", EOPNOTSUPP},
                    {"fallocate", EPERM}};

START_TEST(space_is_really_allocated)
{
    uint64_t size = 0;
    make_file();
    ck_assert_int_eq(os_truncate(&f, 100000), BECK_OK); /* a hole */
    ck_assert_int_eq(without(no_fallocate[_i].what, no_fallocate[_i].error), 0);
    ck_assert_int_eq(os_allocate(&f, 0, 65536), BECK_OK);
    ck_assert_int_eq(os_size(&f, &size), BECK_OK);
    ck_assert_uint_eq(size, 100000);
    ck_assert_int_eq(os_allocate(&f, 65536, 200000), BECK_OK);
    ck_assert_int_eq(os_size(&f, &size), BECK_OK);
    ck_assert_uint_eq(size, 265536);
    ck_assert_int_eq(os_sync(&f), BECK_OK);
    ck_assert_int_ge(blocks_of(&f), 265536);
    os_close(&f);
}
END_TEST

START_TEST(holes_are_filled)
{
    char bytes[4];
    make_file();
    ck_assert_int_eq(os_fill_holes(&f), BECK_OK); /* empty */
    ck_assert_int_eq(os_write(&f, "here", 4, 300000), BECK_OK);
    ck_assert_int_eq(os_truncate(&f, 800001), BECK_OK);
    if (_i > 0) ck_assert_int_eq(without("fallocate", EOPNOTSUPP), 0);
    ck_assert_int_eq(os_fill_holes(&f), BECK_OK);
    ck_assert_int_eq(os_sync(&f), BECK_OK);
    ck_assert_int_ge(blocks_of(&f), 800001);
    ck_assert_int_eq(os_read(&f, bytes, 4, 300000), BECK_OK);
    ck_assert_mem_eq(bytes, "here", 4);
    os_close(&f);
}
END_TEST

START_TEST(growing_in_vain_leaves_the_size)
{
    struct rlimit limit = {150000, 150000};
    uint64_t size = 0;
    make_file();
    ck_assert_int_eq(os_write(&f, "x", 1, 99999), BECK_OK);
    signal(SIGXFSZ, SIG_IGN);
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    ck_assert_int_eq(os_allocate_by_zeros(&f, 100000, 100000), BECK_FULL);
    ck_assert_int_eq(os_size(&f, &size), BECK_OK);
    ck_assert_uint_eq(size, 100000);
    ck_assert_int_eq(os_allocate(&f, 100000, 100000), BECK_FULL);
    ck_assert_int_eq(os_write_stable(&f, "yyyy", 4, 150000), BECK_FULL);
    os_close(&f);
}
END_TEST

/* ---- Doing without what a kernel or a container may not have ---- */

START_TEST(without_statx_there_is_no_birth)
{
    struct os_identity id, again;
    make_file();
    ck_assert_int_eq(os_identity(&f, &id), BECK_OK);
    ck_assert_int_eq(without("statx", _i == 0 ? ENOSYS : EPERM), 0);
    ck_assert_int_eq(os_identity(&f, &again), BECK_OK);
    ck_assert_uint_eq(again.inode, id.inode);
    ck_assert_uint_eq(again.device, id.device);
    ck_assert_uint_eq(again.links, 1);
    ck_assert_int_eq(again.birth_s, 0);
    os_close(&f);
}
END_TEST

START_TEST(without_dsync_all_is_synced)
{
    static const int errors[] = {ENOSYS, EPERM, EINVAL, EOPNOTSUPP};
    char bytes[5];
    make_file();
    ck_assert_int_eq(without("pwritev2", errors[_i]), 0);
    ck_assert_int_eq(os_write_stable(&f, "hello", 5, 77), BECK_OK);
    ck_assert_int_eq(os_read(&f, bytes, 5, 77), BECK_OK);
    ck_assert_mem_eq(bytes, "hello", 5);
    os_close(&f);
}
END_TEST

#ifndef BECK_OS_PORTABLE
START_TEST(without_getrandom_the_device_gives)
{
    uint8_t one[300] = {0}, two[300] = {0};
    ck_assert_int_eq(without("getrandom", _i == 0 ? ENOSYS : EPERM), 0);
    ck_assert_int_eq(os_random(one, sizeof one), BECK_OK);
    ck_assert_int_eq(os_random(two, sizeof two), BECK_OK);
    ck_assert_mem_ne(one, two, sizeof one);
    ck_assert_mem_ne(one + 200, two + 200, 100);
}
END_TEST
#endif

START_TEST(without_waitv_one_word_is_waited_for)
{
    static const int errors[] = {ENOSYS, EPERM, EINVAL};
    _Atomic uint32_t word = 0;
    struct os_wait_item item = {&word, 0};
    bool supported = true;
    ck_assert_int_eq(without("futex_waitv", errors[_i]), 0);
    (void)os_wait_many(&item, 1, 10, &supported);
#ifndef BECK_OS_PORTABLE
    ck_assert(!supported);
#endif
}
END_TEST

START_TEST(without_futexes_waiting_is_no_spinning)
{
    _Atomic uint32_t word = 0;
    ck_assert_int_eq(without("futex", EPERM), 0);
    int64_t start = os_monotonic_ms();
    for (int i = 0; i < 20; i++) os_wait(&word, 0, 100);
    ck_assert_int_ge(os_monotonic_ms() - start, 15);
}
END_TEST

START_TEST(without_description_locks_nothing_works)
{
    static const int errors[] = {EINVAL, EPERM, ENOSYS};
    bool is;
    make_file();
    ck_assert_int_eq(without("ofd-setlk", errors[_i]), 0);
    ck_assert_int_eq(without("ofd-getlk", errors[_i]), 0);
    ck_assert_int_eq(os_lock(&f, 1, true), BECK_UNSUPPORTED);
    ck_assert_ptr_nonnull(strstr(err_message(), "open file description locks"));
    ck_assert_int_eq(os_unlock(&f, 1), BECK_UNSUPPORTED);
    ck_assert_int_eq(os_locked_by_other(&f, 1, 1, &is), BECK_UNSUPPORTED);
    os_close(&f);
}
END_TEST

/* A process with a lock and a mapping that has forked and been killed: its child lives, its lock
 * must not. */
static void child_that_maps_and_forks(int out)
{
    struct os_file g;
    struct os_map map;
    if (os_open(path, OS_WRITE, 0, &g) < 0 || os_lock(&g, 7, true) < 0) _exit(1);
    if (os_map(&g, 0, BLOCK_BYTES, true, &map) < 0) _exit(1);
    pid_t pid = fork();
    if (pid == 0) {
        close(g.fd); /* as db.c does it */
        pause();
    }
    if (write(out, &pid, sizeof pid) != (ssize_t)sizeof pid) _exit(1);
    pause();
}

START_TEST(a_child_does_not_keep_the_mappings)
{
    int status, ready[2];
    pid_t grandchild;
    make_file();
    ck_assert_int_eq(os_allocate(&f, 0, BLOCK_BYTES), BECK_OK);
    if (_i > 0) ck_assert_int_eq(without("madvise-dontfork", _i == 1 ? EPERM : EINVAL), 0);
    ck_assert_int_eq(pipe(ready), 0);
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) child_that_maps_and_forks(ready[1]);
    ck_assert_int_eq(read(ready[0], &grandchild, sizeof grandchild), sizeof grandchild);
    ck_assert(locked(&f, 7, 1));
    ck_assert_int_eq(kill(pid, SIGKILL), 0);
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    /* the grandchild may not have come to closing its copy */
    for (int i = 0; i < 300 && locked(&f, 7, 1); i++) os_sleep_ms(10);
    ck_assert(!locked(&f, 7, 1));
    ck_assert_int_eq(kill(grandchild, SIGKILL), 0);
    os_close(&f);
}
END_TEST

START_TEST(listed_mappings_are_unmapped_in_any_order)
{
    struct os_map maps[3];
    if (_i > 0) ck_assert_int_eq(without("madvise", EPERM), 0);
    make_file();
    ck_assert_int_eq(os_allocate(&f, 0, 3 * BLOCK_BYTES), BECK_OK);
    for (unsigned i = 0; i < 3; i++)
        ck_assert_int_eq(os_map(&f, i * BLOCK_BYTES, BLOCK_BYTES, true, &maps[i]), BECK_OK);
    os_populate(&maps[0], 0, BLOCK_BYTES); /* a hint */
    os_store(maps[0].data, "still", 5);
    for (unsigned i = 0; i < 3; i++) os_unmap(&maps[(i + 1) % 3]);
    ck_assert_int_eq(os_map(&f, 0, BLOCK_BYTES, false, &maps[0]), BECK_OK);
    ck_assert_mem_eq(maps[0].data, "still", 5);
    os_unmap(&maps[0]);
    os_close(&f);
}
END_TEST

START_TEST(memory_has_no_name)
{
    struct os_identity id;
    if (_i > 0) ck_assert_int_eq(without("memfd_create", _i == 1 ? ENOSYS : EPERM), 0);
    ck_assert_int_eq(os_open_memory(&f), BECK_OK);
    ck_assert_int_gt(f.fd, 2);
    ck_assert_int_eq(fcntl(f.fd, F_GETFD), FD_CLOEXEC);
    ck_assert_int_eq(os_write(&f, "x", 1, 100), BECK_OK);
    ck_assert_int_eq(os_identity(&f, &id), BECK_OK);
    ck_assert_uint_eq(id.links, 0);
    os_close(&f);
}
END_TEST

START_TEST(without_wiping_there_is_no_fork_page)
{
    ck_assert_int_eq(without("madvise-wipeonfork", EINVAL), 0);
    ck_assert_ptr_null(os_fork_page());
}
END_TEST

START_TEST(the_device_is_read_or_not_at_all)
{
    struct os_file device;
    char bytes[5];
    make_file();
    ck_assert_int_eq(os_write(&f, "hello", 5, 9000), BECK_OK);
    ck_assert_int_eq(os_sync(&f), BECK_OK);
    if (_i > 0) ck_assert_int_eq(without("o_direct", EINVAL), 0);
    int rc = os_open_direct(&f, path, &device);
    if (_i > 0) ck_assert_int_eq(rc, BECK_UNSUPPORTED);
    if (rc == BECK_UNSUPPORTED) {
        ck_assert_ptr_nonnull(strstr(err_message(), "around the page cache"));
    } else {
        ck_assert_int_eq(os_read(&device, bytes, 5, 9000), BECK_OK);
        ck_assert_mem_eq(bytes, "hello", 5);
    }
    os_close(&device);
    os_close(&f);
}
END_TEST

/* Whole pages go around the page cache; what lies beside the bytes stays. */
START_TEST(the_device_is_written_where_asked)
{
    static uint8_t before[3 * 1024 * 1024], after[sizeof before];
    struct os_file device;
    make_file();
    for (size_t i = 0; i < sizeof before; i++) before[i] = (uint8_t)(i % 251);
    ck_assert_int_eq(os_write(&f, before, sizeof before, 0), BECK_OK);
    ck_assert_int_eq(os_sync(&f), BECK_OK);
    int rc = os_open_direct(&f, path, &device);
    for (size_t i = 0; rc == BECK_OK && i < 4; i++) {
        static const struct {
            uint64_t at;
            size_t bytes;
        } pieces[] = {{5000, 3}, {4095, 2}, {8192, 8200}, {100001, 2500000}};
        memset(before + pieces[i].at, 'a' + (int)i, pieces[i].bytes);
        ck_assert_int_eq(os_write(&device, before + pieces[i].at, pieces[i].bytes, pieces[i].at),
                         BECK_OK);
        ck_assert_int_eq(os_read(&f, after, sizeof after, 0), BECK_OK);
        ck_assert_mem_eq(after, before, sizeof before);
        ck_assert_int_eq(os_read(&device, after, sizeof after, 0), BECK_OK);
        ck_assert_mem_eq(after, before, sizeof before);
    }
    os_close(&device);
    os_close(&f);
}
END_TEST

/* What is forgotten may be zeros or not; the rest stays, and so does the size. */
START_TEST(forgetting_takes_only_what_it_is_told)
{
    static uint8_t before[5 * 4096], after[sizeof before];
    uint64_t size;
    make_file();
    memset(before, 'x', sizeof before);
    ck_assert_int_eq(os_write(&f, before, sizeof before, 0), BECK_OK);
    os_forget(&f, 4096, 8192);
    os_forget(&f, sizeof before, 4096);
    ck_assert_int_eq(os_size(&f, &size), BECK_OK);
    ck_assert_uint_eq(size, sizeof before);
    ck_assert_int_eq(os_read(&f, after, sizeof after, 0), BECK_OK);
    ck_assert_mem_eq(after, before, 4096);
    ck_assert_mem_eq(after + 12288, before, 8192);
    ck_assert_int_eq(os_write(&f, "again", 5, 5000), BECK_OK);
    ck_assert_int_eq(os_read(&f, after, 5, 5000), BECK_OK);
    ck_assert_mem_eq(after, "again", 5);
    os_close(&f);
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("os");
    TCase *c = tcase_create("files");
    tcase_add_test(c, files_are_opened_as_asked);
    tcase_add_test(c, descriptors_stay_above_stdio);
    tcase_add_test(c, behind_the_end_there_are_zeros);
    tcase_add_test(c, errors_of_the_system_become_ours);
    tcase_add_test(c, a_file_is_known_again);
    tcase_add_test(c, mappings_and_files_show_the_same);
    tcase_add_test(c, the_device_is_written_where_asked);
    tcase_add_test(c, forgetting_takes_only_what_it_is_told);
    suite_add_tcase(s, c);
    c = tcase_create("locks");
    tcase_add_test(c, locks_belong_to_a_description);
    tcase_add_test(c, locks_end_with_the_process);
    suite_add_tcase(s, c);
    c = tcase_create("rest");
    tcase_add_test(c, waiters_are_woken);
    tcase_add_test(c, chance_and_identity);
    test_add_linux(c, the_boot_id_is_read_once, "POSIX has no boot id");
    tcase_add_test(c, a_fork_finds_its_page_wiped);
    suite_add_tcase(s, c);
    c = tcase_create("filesystem");
    tcase_add_test(c, the_file_system_is_known);
    tcase_add_loop_test(c, space_is_really_allocated, 0, 4);
    tcase_add_loop_test(c, holes_are_filled, 0, 2);
    tcase_add_test(c, growing_in_vain_leaves_the_size);
    tcase_add_loop_test(c, the_device_is_read_or_not_at_all, 0, 2);
    suite_add_tcase(s, c);
    c = tcase_create("without");
    tcase_add_loop_test(c, without_statx_there_is_no_birth, 0, 2);
    tcase_add_loop_test(c, without_dsync_all_is_synced, 0, 4);
#ifndef BECK_OS_PORTABLE
    tcase_add_loop_test(c, without_getrandom_the_device_gives, 0, 2);
#endif
    tcase_add_loop_test(c, without_waitv_one_word_is_waited_for, 0, 3);
    tcase_add_test(c, without_futexes_waiting_is_no_spinning);
    tcase_add_loop_test(c, without_description_locks_nothing_works, 0, 3);
    tcase_add_loop_test(c, a_child_does_not_keep_the_mappings, 0, 3);
    tcase_add_loop_test(c, listed_mappings_are_unmapped_in_any_order, 0, 2);
    tcase_add_loop_test(c, memory_has_no_name, 0, 3);
    tcase_add_test(c, without_wiping_there_is_no_fork_page);
    suite_add_tcase(s, c);
    return s;
}
