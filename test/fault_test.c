/* fault_test.c -- every system call and every allocation fails, one at a time and for ever
 *
 * A scenario is played again and again: with the first call of a kind failing, with the second, and
 * so on until no call is left to fail; then with all of them failing from the n-th on. After each
 * round nothing may be left behind (descriptors, mappings, memory), every error must fit and have
 * words, the handle must still work or be poisoned, and what was acknowledged, refused or unknown
 * must be so when the file is opened without faults.
 *
 * FAULTS=all plays every call with every error, FAULTS=list too, and tells of all that fail; else a
 * part of them is played that the seed chooses. FAULT=scenario plays one scenario,
 * FAULT=scenario:call:errno:nth:times one round of it. */
#include <pthread.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "fault_scenarios.h"

#define ROUND_SECONDS 20

static const struct scenario *scenario;

/* ---- A round ---- */

static uint8_t *template_bytes;
static size_t template_size;
static struct world template_world;
static uint32_t failures; /* FAULTS=list */
static long blocks_before, mappings_before;

/* The same inode each time: to recovery it is the file that crashed. */
static void restore(void)
{
    int fd = open(file_name, O_RDWR | O_CREAT, 0644);
    MUST(fd >= 0, "%s", strerror(errno));
    if (scenario->prepare == NULL) {
        close(fd);
        unlink(file_name);
    } else {
        MUST(ftruncate(fd, (off_t)template_size) == 0 &&
                 pwrite(fd, template_bytes, template_size, 0) == (ssize_t)template_size,
             "%s", strerror(errno));
        close(fd);
    }
    *world = template_world;
}

/* After faults that are over everything works again, but for what a failed sync poisoned. */
static void check_usable(struct world *w)
{
    bool sync = fault_is_sync(fault_kind) && !is_missing(fault_errno) && fault_errno != EINTR;
    fault_kind = FAULT_KINDS;
    for (int h = 0; h < HANDLES; h++)
        for (uint32_t t = 0; w->db[h] != NULL && t < w->topics_used; t++) {
            if (w->topic[h][t] == NULL || w->topics[t].deleted != REFUSED) continue;
            int rc = appended(w, h, w->topics[t].name, 0, 1, 20, 0);
            MUST(sync || rc == 0, "does not work any more: %s", beck_errmsg(w->db[h]));
            MUST(!sync || !w->poisoned || rc == BECK_POISONED, "poison was forgotten");
        }
    if (w->poisoned) return;
    for (int c = 0; c < CONSUMERS; c++) {
        if (w->consumer[c] == NULL) continue;
        uint32_t t = w->consumer_of[c];
        if (w->topics[t].deleted != REFUSED) continue;
        int rc = polled(w, 0, c);
        MUST(rc >= 0, "a consumer does not work any more: %s", beck_errmsg(w->db[0]));
        for (uint32_t n = 0; n < w->notes_used; n++)
            MUST(w->notes[n].topic != t || w->notes[n].seen || w->notes[n].fate != ACKNOWLEDGED,
                 "record %u was not read", n);
    }
}

static void round_of(enum fault_call kind, int error, uint32_t nth, uint32_t times)
{
    restore();
    fault_kind = FAULT_KINDS;
    if (scenario->begin != NULL) scenario->begin(world);
    uint32_t descriptors = scenario->begin == NULL ? open_descriptors() : 0;
    fault_kind = kind, fault_errno = error, fault_nth = nth, fault_times = times;
    say_where();
    alarm(ROUND_SECONDS);
    fault_arm(kind, nth, times, error);
    scenario->play(world);
    bool fired = fault_fired() > 0;
    if (fired && (times == 1 || nth % 2 == 1)) { /* over, before the file is closed */
        fault_disarm();
        check_usable(world);
    }
    fault_kind = kind;
    for (int h = HANDLES - 1; h >= 0; h--)
        if (world->db[h] != NULL && beck_close(world->db[h]) < 0)
            MUST(fired, "beck_close: %s", beck_errmsg(NULL));
    fault_disarm();
    MUST(descriptors == 0 || open_descriptors() == descriptors, "%u descriptors, there were %u",
         open_descriptors(), descriptors);
    check_file(world);
    MUST(fault_mappings() == mappings_before, "%ld mappings are left",
         fault_mappings() - mappings_before);
    MUST(fault_blocks_of_memory() == blocks_before, "%ld blocks of memory are left",
         fault_blocks_of_memory() - blocks_before);
    alarm(0);
}

static void round_alone(enum fault_call kind, int error, uint32_t nth, uint32_t times)
{
    int status = 0;
    pid_t pid = listing ? fork() : 0;
    if (pid == 0) round_of(kind, error, nth, times);
    if (pid == 0 && listing) _exit(0);
    if (pid > 0 && waitpid(pid, &status, 0) == pid && status != 0) failures++;
}

static uint32_t count_calls(enum fault_call kind)
{
    restore();
    fault_kind = FAULT_KINDS;
    if (scenario->begin != NULL) scenario->begin(world);
    fault_arm(kind, UINT32_MAX, 0, 0);
    scenario->play(world);
    uint32_t n = fault_calls(kind);
    for (int h = HANDLES - 1; h >= 0; h--) beck_close(world->db[h]);
    fault_disarm();
    return n;
}

/* ---- The two loops ---- */

static void begin_scenario(const struct scenario *s)
{
    scenario = s;
    playing = s->name;
    fault_kind = FAULT_KINDS;
    file_name = path_in(quick_folder(), "fault.beck");
    file_name = strdup(file_name);
    fault_pretend(s->filesystem);
    signal(SIGALRM, died);
    signal(SIGBUS, died);
    signal(SIGABRT, died);
    world = mmap(NULL, sizeof *world, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ck_assert(world != MAP_FAILED);
    if (s->prepare != NULL) {
        s->prepare(world);
        template_bytes = file_content(file_name, &template_size);
    }
    template_world = *world;
    for (int i = 0; i < 2; i++) { /* what a thread keeps from its first call on */
        beck *db = open_db(BECK_MEMORY);
        const beck_handle_info *const *handles;
        const beck_topic_info *const *list;
        size_t count;
        OK(db, beck_handles(db, &handles, &count));
        OK(db, beck_topic_list(db, &list, &count));
        beck_close(db);
    }
    blocks_before = fault_blocks_of_memory();
    mappings_before = fault_mappings();
}

/* FAULT: is this scenario to be played at all, and is it just one round? */
static bool chosen(const struct scenario *s, bool *one)
{
    const char *fault = getenv("FAULT");
    char kind[40];
    size_t n = strlen(s->name);
    *one = false;
    if (fault == NULL || *fault == 0) return true;
    if (strncmp(fault, s->name, n) != 0 || (fault[n] != 0 && fault[n] != ':')) return false;
    if (sscanf(fault + n, ":%39[^:]:%d:%u:%u", kind, &fault_errno, &fault_nth, &fault_times) != 4)
        return true;
    *one = true;
    for (fault_kind = 0; fault_kind < FAULT_KINDS; fault_kind++)
        if (strcmp(fault_name(fault_kind), kind) == 0) return true;
    return false;
}

/* Calls that signals end succeed some time; and who cannot ask whether others live waits. */
static bool for_ever(const struct scenario *s, enum fault_call kind, int error)
{
    return error != EINTR && (kind != FAULT_GETLK || s->play != take_over);
}

START_TEST(fail_each_call)
{
    const struct scenario *s = &scenarios[_i];
    bool one;
    if (!chosen(s, &one)) return;
    enum fault_call only = fault_kind;
    begin_scenario(s);
    if (one) {
        round_of(only, fault_errno, fault_nth, fault_times);
        return;
    }
    bool all = getenv("FAULTS") != NULL;
    listing = all && strcmp(getenv("FAULTS"), "list") == 0;
    uint64_t seed = test_seed() + 7 * (uint64_t)_i;
    uint32_t rounds = 0;
    for (enum fault_call kind = 0; kind < FAULT_KINDS; kind++) {
        const int *errors = fault_errors(kind);
        uint32_t calls = count_calls(kind), step = all ? 1 : 1 + calls / 3;
        uint32_t count = 0, e = 0;
        while (errors[count] != 0) count++;
        if (!all) e = (uint32_t)(seed % count), count = e + 1;
        for (; calls > 0 && e < count; e++) {
            uint32_t from = 1 + (uint32_t)(seed++ % step);
            for (uint32_t n = from; n <= calls; n += step) {
                rounds += 2;
                round_alone(kind, errors[e], n, 1);
                if (for_ever(s, kind, errors[e])) round_alone(kind, errors[e], n, FAULT_ALWAYS);
            }
        }
    }
    printf("%s: %u faults\n", s->name, rounds);
    fflush(stdout);
    unlink(file_name);
    ck_assert_uint_eq(failures, 0);
}
END_TEST

/* Short reads and writes, and calls that signals end, are nobody's error. */
START_TEST(short_and_interrupted)
{
    static const struct {
        uint32_t bytes, times;
    } rows[] = {{0, 1}, {0, 3}, {4095, 0}, {511, 1}, {1, 0}};
    bool one;
    if (!chosen(&scenarios[_i], &one) || one) return;
    begin_scenario(&scenarios[_i]);
    unfailing = true;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (rows[i].bytes == 1 && getenv("FAULTS") == NULL) continue;
        restore();
        if (scenario->begin != NULL) scenario->begin(world);
        snprintf(point, sizeof point, "%s, %u bytes at once, %u signals: ", playing, rows[i].bytes,
                 rows[i].times);
        alarm(60);
        fault_short(rows[i].bytes);
        fault_interrupt(rows[i].times);
        scenario->play(world);
        for (int h = HANDLES - 1; h >= 0; h--) closed(world, h);
        fault_short(0);
        fault_interrupt(0);
        check_file(world);
        alarm(0);
    }
    unlink(file_name);
}
END_TEST

/* ---- What the system refuses ---- */

/* One round with a soft limit on what this process may have. */
static void round_with(__rlimit_resource_t resource, rlim_t value, enum fault_call kind, int error)
{
    struct rlimit before;
    restore();
    fault_kind = FAULT_KINDS;
    if (scenario->begin != NULL) scenario->begin(world);
    snprintf(point, sizeof point, "%s, limit %d is %llu: ", playing, (int)resource,
             (unsigned long long)value);
    fault_kind = kind, fault_errno = error;
    getrlimit(resource, &before);
    struct rlimit now = {value, before.rlim_max};
    setrlimit(resource, &now);
    scenario->play(world);
    setrlimit(resource, &before);
    check_usable(world);
    for (int h = HANDLES - 1; h >= 0; h--) beck_close(world->db[h]);
    check_file(world);
}

static MAYBE_UNUSED rlim_t address_space(void)
{
    unsigned long pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (f == NULL || fscanf(f, "%lu", &pages) != 1) pages = 0;
    if (f != NULL) fclose(f);
    return (rlim_t)pages * 4096;
}

/* Descriptors, the size of the file, and address space, from nothing to enough. */
START_TEST(short_of)
{
    bool one, all = getenv("FAULTS") != NULL;
    if (!chosen(&scenarios[_i], &one) || one) return;
    begin_scenario(&scenarios[_i]);
    signal(SIGXFSZ, SIG_IGN);
    limited = true;
    for (rlim_t n = 0; n < 16; n += all ? 1 : 3) round_with(RLIMIT_NOFILE, n, FAULT_OPEN, EMFILE);
    for (rlim_t n = 0; n < 40; n += all ? 1 : 9)
        round_with(RLIMIT_FSIZE, n * BLOCK_BYTES, FAULT_PWRITE, EFBIG);
#ifndef TEST_SANITIZED
    for (rlim_t n = 0; n < 30; n += all ? 1 : 7)
        round_with(RLIMIT_AS, address_space() + n * 64 * KIB, FAULT_MMAP, ENOMEM);
#endif
    unlink(file_name);
}
END_TEST

static volatile sig_atomic_t signals;

static void count_signal(int sig)
{
    (void)sig;
    signals++;
}

/* Ten thousand signals a second, whose handler lets calls fail with EINTR. */
START_TEST(storm_of_signals)
{
    struct sigaction action = {.sa_handler = count_signal};
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
    struct itimerspec often = {{0, 100000}, {0, 100000}}, never = {{0, 0}, {0, 0}};
    timer_t timer;
    bool one;
    if (!chosen(&scenarios[_i], &one) || one) return;
    begin_scenario(&scenarios[_i]);
    if (scenario->filesystem == EXT4_SUPER_MAGIC) fault_pretend(0);
    sigaction(SIGUSR1, &action, NULL);
    ck_assert_int_eq(timer_create(CLOCK_MONOTONIC, &event, &timer), 0);
    unfailing = true;
    for (int i = 0; i < (getenv("FAULTS") == NULL ? 1 : 4); i++) {
        snprintf(point, sizeof point, "%s, signals: ", playing);
        restore();
        if (scenario->begin != NULL) scenario->begin(world);
        alarm(ROUND_SECONDS);
        timer_settime(timer, 0, &often, NULL);
        scenario->play(world);
        for (int h = HANDLES - 1; h >= 0; h--) closed(world, h);
        timer_settime(timer, 0, &never, NULL);
        alarm(0);
        check_file(world);
    }
    ck_assert_int_gt(signals, 0);
    unlink(file_name);
}
END_TEST

/* ---- Cut while it is open ---- */

static struct cut {
    const char *name;
    off_t to;    /* -1 = in the middle of the records */
    bool longer; /* and made as long again, by a hole */
} cuts[] = {{"to nothing", 0, false},
            {"into the shared memory", 100000, false},
            {"into the records", -1, false},
            {"to nothing and longer", 0, true}};
static const struct cut *cutting;

static void cut_now(void)
{
    struct stat st;
    was_cut = true;
    if (access(file_name, F_OK) != 0) return; /* not made yet */
    if (stat(file_name, &st) < 0) abort();
    off_t to = cutting->to < 0 ? st.st_size * 3 / 4 : cutting->to;
    if (truncate(file_name, to) < 0) abort();
    if (cutting->longer && truncate(file_name, st.st_size) < 0) abort();
}

static void play_cut(uint32_t nth)
{
    restore();
    if (scenario->begin != NULL) scenario->begin(world);
    fault_kind = FAULT_OPEN;
    limited = true;
    snprintf(point, sizeof point, "%s, cut %s before call %u: ", playing, cutting->name, nth);
    alarm(ROUND_SECONDS);
    fault_before(nth, cut_now);
    scenario->play(world);
    for (int h = HANDLES - 1; h >= 0; h--) closed(world, h);
    fault_disarm();
    beck *db = NULL; /* whatever it says */
    if (beck_open(file_name, NULL, &db) == 0) (void)beck_check(db, NULL, NULL, NULL, NULL);
    beck_close(db);
    _exit(was_cut ? 0 : 2);
}

/* Cut before each call: an error, or SIGBUS where doc/FILES.md says so; no other end, no wrong
 * record. */
START_TEST(cut_at_each_call)
{
    bool one, all = getenv("FAULTS") != NULL;
    if (!chosen(&scenarios[_i], &one) || one) return;
    begin_scenario(&scenarios[_i]);
    signal(SIGBUS, SIG_DFL);
    uint32_t errors = 0, ended = 0;
    for (size_t i = 0; i < sizeof cuts / sizeof cuts[0]; i++) {
        int status = 0;
        cutting = &cuts[i];
        for (uint32_t n = 1 + (uint32_t)(test_seed() % 20); status != 2 << 8; n += all ? 5 : 40) {
            fflush(stdout);
            pid_t pid = fork();
            if (pid == 0) play_cut(n);
            ck_assert_int_eq(waitpid(pid, &status, 0), pid);
            bool bus = WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS;
            if (status == 0) errors++;
            if (bus) ended++;
            ck_assert_msg(bus || status == 0 || status == 2 << 8, "%s, cut %s before call %u: %d",
                          playing, cutting->name, n, status);
        }
    }
    printf("%s: cut, %u errors, %u ended\n", playing, errors, ended);
    fflush(stdout);
    unlink(file_name);
}
END_TEST

/* ---- Threads, and calls that fail by chance ---- */

struct thread {
    pthread_t id;
    struct world *w;
    int handle;
    const char *topic;
    uint32_t seen[NOTES];
    uint32_t seen_count;
};

static void *append_often(void *argument)
{
    struct thread *t = argument;
    for (uint32_t i = 0; i < 100; i++)
        appended(t->w, t->handle, t->topic, 0, 1 + i % 3, 50 + i * 37 % 4000, i % 7 == 0);
    return NULL;
}

/* What is read is judged later, when its fate is known. */
static void *read_often(void *argument)
{
    struct thread *t = argument;
    beck_consumer_config config = {.size = sizeof config, .topics = &t->topic, .topic_count = 1};
    beck_consumer *consumer = NULL;
    const beck_record *records;
    size_t count;
    for (int i = 0; i < 200; i++) {
        if (consumer == NULL &&
            judged(beck_consumer_open(t->w->db[t->handle], &config, &consumer), NULL, "open") < 0)
            continue;
        int rc = judged(beck_poll(consumer, 20, 1, &records, &count), NULL, "beck_poll");
        MUST(rc != BECK_EVENT, "records are missing");
        for (size_t k = 0; rc == 0 && k < count; k++)
            t->seen[t->seen_count++] = (uint32_t)strtoul(records[k].value, NULL, 10);
    }
    beck_consumer_close(consumer);
    return NULL;
}

START_TEST(threads)
{
    static struct thread list[6];
    static const struct scenario by_chance = {"threads", prepare_clean, NULL, NULL,
                                              EXT4_SUPER_MAGIC};
    begin_scenario(&by_chance);
    at_random = true;
    for (uint32_t turn = 0; turn < (getenv("FAULTS") == NULL ? 4 : 20); turn++) {
        uint64_t seed = test_seed() + turn;
        snprintf(point, sizeof point,
                 "threads, SEED=%llu, turn %u: ", (unsigned long long)test_seed(), turn);
        restore();
        fault_kind = FAULT_KINDS;
        begin_two(world);
        fault_kind = FAULT_OPEN;
        alarm(60);
        fault_arm_random(seed, 3000, turn % 2 == 1);
        for (int i = 0; i < 6; i++) {
            memset(&list[i], 0, sizeof list[i]);
            list[i].w = world, list[i].handle = i % 2, list[i].topic = i % 4 < 2 ? "a" : "b";
            MUST(pthread_create(&list[i].id, NULL, i < 4 ? append_often : read_often, &list[i]) ==
                     0,
                 "no thread");
        }
        for (int i = 0; i < 6; i++) pthread_join(list[i].id, NULL);
        for (int i = 4; i < 6; i++)
            for (uint32_t k = 0; k < list[i].seen_count; k++) {
                struct note *n = &world->notes[list[i].seen[k]];
                MUST(n->fate != REFUSED, "record %u was refused, and read", list[i].seen[k]);
            }
        uint32_t fired = fault_disarm();
        MUST(fired > 0, "nothing failed");
        fault_kind = FAULT_KINDS;
        bool poisoned = world->poisoned;
        MUST(!poisoned || turn % 2 == 1, "no sync failed, and the file is poisoned");
        for (int h = HANDLES - 1; h >= 0; h--)
            if (beck_close(world->db[h]) < 0) MUST(poisoned, "beck_close: %s", beck_errmsg(NULL));
        check_file(world);
        alarm(0);
    }
    unlink(file_name);
}
END_TEST

/* ---- Single stories ---- */

/* tmpfs gave back what it had when a signal came: asking for all of it once more is for ever. */
START_TEST(space_in_pieces)
{
    static char value[60000];
    beck *db = open_db(BECK_MEMORY);
    beck_topic *topic = os_topic(db, "t", 1, 0);
    alarm(10);
    fault_interrupt_space(100000);
    for (int i = 0; i < 100; i++) {
        beck_record r = {.value = value, .value_size = sizeof value};
        OK(db, beck_append(topic, &r, NULL));
    }
    fault_interrupt_space(0);
    OK(db, beck_close(db));
    alarm(0);
}
END_TEST

static int die_in_format(const char *name)
{
    beck *db;
    fault_arm(FAULT_FSYNC, 1, 1, FAULT_KILL);
    beck_open(name, NULL, &db);
    return 1;
}

/* The name of a new file is stable before anybody is told that the file is there: whoever comes
 * after an error, or a death, at that point syncs the folder. */
START_TEST(name_of_a_new_file)
{
    const char *name = path();
    beck *db = NULL;
    int status;
    fault_arm(FAULT_FSYNC, 1, 1, EIO);
    GIVES(IO, db, beck_open(name, NULL, &db));
    beck_close(db);
    fault_disarm();
    OK(db, beck_open(name, NULL, &db));
    ck_assert_uint_eq(fault_calls(FAULT_FSYNC), 1);
    OK(db, beck_close(db));
    unlink(name);

    pid_t pid = fork();
    if (pid == 0) _exit(die_in_format(name));
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert(WIFSIGNALED(status));
    fault_disarm();
    OK(db, beck_open(name, NULL, &db));
    ck_assert_uint_eq(fault_calls(FAULT_FSYNC), 1);
    OK(db, beck_close(db));
}
END_TEST

/* A child died between writing an entry of the catalog and its sync: what must be stable is written
 * how often by who repairs it, at the first try or, when that fails, at the second? */
static uint32_t stable_calls_of_a_repair(const char *name, bool fails_first)
{
    int status;
    beck *db = open_db(name);
    OK(db, beck_topic_create(db, "before", NULL));
    pid_t pid = fork();
    if (pid == 0) {
        beck *mine = NULL;
        beck_open(name, NULL, &mine);
        fault_arm(STABLE_CALL, 1, 1, FAULT_KILL);
        _exit(beck_topic_create(mine, "half", NULL));
    }
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert(WIFSIGNALED(status));
    fault_arm(FAULT_PWRITE, 1, 1, EIO);
    if (fails_first) GIVES(IO, db, beck_topic_create(db, "after", NULL));
    fault_disarm();
    OK(db, beck_topic_create(db, "after", NULL));
    uint32_t calls = fault_calls(STABLE_CALL);
    OK(db, beck_close(db));
    unlink(name);
    return calls;
}

/* [C4] holds for the second try, too: it must not take for stable what the first one read. */
START_TEST(repair_of_the_catalog_tried_again)
{
    const char *name = path();
    uint32_t once = stable_calls_of_a_repair(name, false);
    ck_assert_uint_eq(stable_calls_of_a_repair(name, true), once);
}
END_TEST

static beck_topic *late_topic;
static pthread_t late;
static int late_rc;

static void *append_late(void *unused)
{
    (void)unused;
    late_rc = append_text(late_topic, 0, "late");
    return NULL;
}

/* While another thread holds the partition's lock and its catalog batch is about to fail. */
static void begin_late(void)
{
    fault_before(1, NULL);
    MUST(pthread_create(&late, NULL, append_late, NULL) == 0, "no thread");
    sleep_ms(100);
}

/* The sync of a batch that seals a segment fails: it may be there all the same. Who waited for the
 * lock meanwhile must not append behind the end that it tells of. */
START_TEST(append_beside_a_failed_roll)
{
    playing = "failed roll";
    beck *db = open_db(path());
    late_topic = os_topic(db, "t", 1, 2 * BLOCK_BYTES);
    int rc = append_filled(late_topic, 0, 10000, 1, NULL);
    fault_before(0, begin_late);
    fault_arm(STABLE_CALL, 1, 1, EIO);
    while (rc == 0) rc = append_filled(late_topic, 0, 10000, 1, NULL);
    ck_assert_int_eq(rc, BECK_POISONED);
    pthread_join(late, NULL);
    ck_assert_int_eq(late_rc, BECK_POISONED);
    fault_disarm();
    GIVES(POISONED, db, beck_close(db));
}
END_TEST

/* Without a key of its own a thread gets an error, and nobody else's memory is freed. */
START_TEST(no_thread_key_left)
{
    pthread_key_t key;
    const beck_topic_info *const *topics;
    const beck_handle_info *const *handles;
    size_t count;
    beck *db = open_db(path());
    ck_assert_int_eq(pthread_key_create(&key, NULL), 0);
    ck_assert_int_eq(pthread_setspecific(key, db), 0);
    fault_arm(FAULT_KEY, 1, FAULT_ALWAYS, EAGAIN);
    for (int i = 0; i < 2; i++) {
        GIVES(LIMIT, db, beck_topic_list(db, &topics, &count));
        GIVES(LIMIT, db, beck_handles(db, &handles, &count));
    }
    fault_disarm();
    OK(db, beck_topic_list(db, &topics, &count));
    OK(db, beck_handles(db, &handles, &count));
    OK(db, beck_close(db));
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("fault");
    TCase *c = tcase_create("faults");
    tcase_set_timeout(c, 120);
    suite_add_tcase(s, c);
    if (!FAULT_WRAPPED) {
        printf("skipped: the sanitizer's own calls would fail, too\n");
        return s;
    }
    tcase_add_loop_test(c, fail_each_call, 0, SCENARIOS);
    tcase_add_loop_test(c, short_and_interrupted, 0, SCENARIOS);
    tcase_add_loop_test(c, short_of, 0, SCENARIOS);
    tcase_add_loop_test(c, storm_of_signals, 0, SCENARIOS);
#ifndef TEST_SANITIZED
    tcase_add_loop_test(c, cut_at_each_call, 0, SCENARIOS); /* SIGBUS is the sanitizer's there */
#else
    (void)cut_at_each_call;
#endif
    tcase_add_test(c, threads);
    tcase_add_test(c, space_in_pieces);
    tcase_add_test(c, name_of_a_new_file);
    tcase_add_test(c, append_beside_a_failed_roll);
    tcase_add_test(c, repair_of_the_catalog_tried_again);
    tcase_add_test(c, no_thread_key_left);
    return s;
}
