/* fault_scenarios.h -- what is played while calls fail: each thing that a program does with a file
 *
 * A scenario begins with the file that `prepare` made, once, and with what `begin` opens, where
 * nothing fails yet. `play` must go on after any error, and leave open what it likes. */
#ifndef FAULT_SCENARIOS_H
#define FAULT_SCENARIOS_H

#include <linux/magic.h>
#include <sys/wait.h>

#include "base.h"
#include "fault_model.h"

#define XFS 0x58465342u
#define TOPIC_PARTITIONS 4u

struct scenario {
    const char *name;
    void (*prepare)(struct world *w); /* the file before the first round; it closes all */
    void (*begin)(struct world *w);   /* before each round, nothing fails yet */
    void (*play)(struct world *w);
    uint32_t filesystem;
};

static void create(struct world *w)
{
    if (!opened(w, 0, 0)) return;
    topic_opened(w, 0, "a", BECK_SYNC_SYNC, 1);
    appended(w, 0, "a", 0, 1, 50, 0);
    closed(w, 0);
}

/* A file with some topics and records, closed or not. */
static void fill_file(struct world *w)
{
    opened(w, 0, 0);
    topic_opened(w, 0, "a", BECK_SYNC_SYNC, 1);
    topic_opened(w, 0, "b", BECK_SYNC_OS, 2);
    for (uint32_t i = 0; i < 6; i++) {
        appended(w, 0, "a", 0, 2, 1500, 0);
        appended(w, 0, "b", i % 2, 3, 2500, 0);
    }
}

static void prepare_clean(struct world *w)
{
    fill_file(w);
    closed(w, 0);
}

static void in_a_child(struct world *w, void (*work)(struct world *), bool killed)
{
    int status;
    fflush(stdout);
    pid_t pid = fork();
    MUST(pid >= 0, "%s", strerror(errno));
    if (pid == 0) {
        work(w);
        _exit(killed ? 1 : 0);
    }
    MUST(waitpid(pid, &status, 0) == pid, "no child");
    MUST(killed ? WIFSIGNALED(status) : WIFEXITED(status) && WEXITSTATUS(status) == 0,
         "the child ended with status %d", status);
    memset(w->db, 0, sizeof w->db);
    memset(w->topic, 0, sizeof w->topic);
}

static void prepare_crashed(struct world *w)
{
    in_a_child(w, fill_file, false);
}

/* In a session that was killed amid a sync, with half a frame behind the end. */
static void die_syncing(struct world *w)
{
    fill_file(w);
    fault_arm(FAULT_MSYNC, 1, 1, FAULT_KILL);
    appended(w, 0, "a", 0, 1, 3000, 0);
}

static void prepare_killed(struct world *w)
{
    in_a_child(w, die_syncing, true);
}

/* A sync failed in the session before. */
static void fail_syncing(struct world *w)
{
    fill_file(w);
    fault_kind = FAULT_MSYNC;
    fault_arm(FAULT_MSYNC, 1, FAULT_ALWAYS, EIO);
    appended(w, 0, "a", 0, 1, 3000, 0);
}

static void prepare_poisoned(struct world *w)
{
    in_a_child(w, fail_syncing, false);
    w->poisoned = false;
}

static void open_and_append(struct world *w)
{
    if (!opened(w, 0, 0)) return;
    topic_opened(w, 0, "a", BECK_SYNC_SYNC, 1);
    topic_opened(w, 0, "b", BECK_SYNC_OS, 2);
    appended(w, 0, "a", 0, 1, 100, 0);
    appended(w, 0, "b", 1, 1, 100, 0);
    closed(w, 0);
}

static void open_only(struct world *w)
{
    if (opened(w, 0, 0)) closed(w, 0);
}

static void begin_open(struct world *w)
{
    opened(w, 0, 0);
    topic_opened(w, 0, "a", BECK_SYNC_SYNC, 1);
    topic_opened(w, 0, "b", BECK_SYNC_OS, 2);
}

static void begin_written(struct world *w)
{
    begin_open(w);
    appended(w, 0, "a", 0, 1, 100, 0);
    appended(w, 0, "b", 0, 1, 100, 0);
}

static void join(struct world *w)
{
    if (!opened(w, 1, 0)) return;
    topic_opened(w, 1, "a", BECK_SYNC_SYNC, 1);
    topic_opened(w, 1, "b", BECK_SYNC_OS, 2);
    appended(w, 1, "a", 0, 1, 100, 0);
    appended(w, 1, "b", 1, 1, 100, 0);
    closed(w, 1);
}

static void topics(struct world *w)
{
    topic_opened(w, 0, "c", BECK_SYNC_OS, 1);
    appended(w, 0, "c", 0, 1, 100, 0);
    topic_altered(w, 0, "c", TOPIC_PARTITIONS);
    if (w->topics[topic_number(w, "c")].partitions == TOPIC_PARTITIONS)
        appended(w, 0, "c", TOPIC_PARTITIONS - 1, 1, 100, 0);
    topic_deleted(w, 0, "b");
    topic_opened(w, 0, "d", BECK_SYNC_SYNC, 1);
    appended(w, 0, "d", 0, 2, 100, 0);
}

static void append_sync(struct world *w)
{
    appended(w, 0, "a", 0, 1, 100, 0);
    appended(w, 0, "a", 0, 3, 400, 0);
    appended(w, 0, "a", 0, 1, 40000, 0);
    for (int i = 0; i < 4; i++) appended(w, 0, "a", 0, 1, 9000, 0);
    closed(w, 0);
}

static void append_os(struct world *w)
{
    appended(w, 0, "b", 0, 1, 100, 0);
    appended(w, 0, "b", 1, 3, 400, 0);
    appended(w, 0, "b", 0, 1, 40000, 0);
    for (int i = 0; i < 4; i++) appended(w, 0, "b", 1, 1, 9000, 0);
    appended(w, 0, "b", 0, 1, 100, BECK_SYNC_SYNC);
    if (w->db[0] != NULL) judged(beck_sync(w->db[0]), w->db[0], "beck_sync");
    closed(w, 0);
}

/* Another handle appends, and this one has to write again what it vouches for. */
static void begin_two(struct world *w)
{
    begin_written(w);
    opened(w, 1, 0);
    topic_opened(w, 1, "a", BECK_SYNC_SYNC, 1);
    topic_opened(w, 1, "b", BECK_SYNC_OS, 2);
}

static void two_handles(struct world *w)
{
    for (int i = 0; i < 3; i++) {
        appended(w, i % 2, "a", 0, 1, 9000, 0);
        appended(w, 1 - i % 2, "b", 0, 1, 9000, 0);
    }
    topic_deleted(w, 0, "b");
    topic_opened(w, 1, "c", BECK_SYNC_SYNC, 3);
    topic_opened(w, 0, "c", BECK_SYNC_SYNC, 3);
    appended(w, 0, "c", 2, 1, 20, 0);
    if (w->db[1] != NULL) judged(beck_sync(w->db[1]), w->db[1], "beck_sync");
    closed(w, 1);
}

static void begin_reading(struct world *w)
{
    begin_written(w);
    consumer_opened(w, 0, 0, "a", 0);
    consumer_opened(w, 0, 1, "b", BECK_CONSUME_COPY);
}

static void read_all(struct world *w)
{
    consumer_opened(w, 0, 2, "b", 0);
    polled(w, 0, 0);
    polled(w, 0, 1);
    polled(w, 0, 2);
    appended(w, 0, "b", 0, 2, 9000, 0);
    appended(w, 0, "a", 0, 2, 9000, 0);
    for (int c = 0; c < CONSUMERS; c++) {
        if (w->consumer[c] == NULL) continue;
        const char *name = w->topics[w->consumer_of[c]].name;
        judged(beck_seek(w->consumer[c], name, 0, 0), w->db[0], "beck_seek");
        polled(w, 0, c);
    }
    looked(w, 0, "a");
    checked(w, 0);
}

/* The consumer has to find partitions that were added since. */
static void begin_added(struct world *w)
{
    begin_reading(w);
    polled(w, 0, 0);
    polled(w, 0, 1);
    opened(w, 1, 0);
    topic_opened(w, 1, "b", BECK_SYNC_OS, 2);
    topic_altered(w, 1, "b", 10);
    for (uint32_t p = 0; p < 10; p++) appended(w, 1, "b", p, 1, 50, 0);
    topic_altered(w, 1, "a", 3);
}

static void read_added(struct world *w)
{
    polled(w, 0, 1);
    polled(w, 0, 0);
    polled(w, 0, 1);
}

/* A read-only handle beside a writer. */
static void begin_following(struct world *w)
{
    opened(w, 1, 0);
    topic_opened(w, 1, "a", BECK_SYNC_SYNC, 1);
    topic_opened(w, 1, "b", BECK_SYNC_OS, 2);
    appended(w, 1, "b", 0, 1, 9000, 0);
    opened(w, 0, BECK_OPEN_READONLY);
    consumer_opened(w, 0, 0, "a", 0);
    consumer_opened(w, 0, 1, "b", 0);
    polled(w, 0, 1);
    topic_altered(w, 1, "b", 4);
    for (int i = 0; i < 4; i++) appended(w, 1, "b", (uint32_t)i, 1, 9000, 0);
}

static void follow(struct world *w)
{
    polled(w, 0, 1);
    polled(w, 0, 0);
    looked(w, 0, "b");
    checked(w, 0);
    polled(w, 0, 1);
}

static void read_only(struct world *w)
{
    if (!opened(w, 0, BECK_OPEN_READONLY)) return;
    consumer_opened(w, 0, 0, "a", 0);
    consumer_opened(w, 0, 1, "b", 0);
    polled(w, 0, 0);
    polled(w, 0, 1);
    looked(w, 0, "b");
    checked(w, 0);
    closed(w, 0);
}

static void observe(struct world *w)
{
    const beck_handle_info *const *handles;
    size_t count;
    if (!opened(w, 2, BECK_OPEN_OBSERVE)) return;
    judged(beck_handles(w->db[2], &handles, &count), w->db[2], "beck_handles");
    closed(w, 2);
}

static void close_last(struct world *w)
{
    closed(w, 1);
    closed(w, 0);
}

/* A child dies with the lock of a partition, or of the catalog, in its hands. */
static void die_appending(struct world *w)
{
    if (!opened(w, 1, 0)) _exit(9);
    topic_opened(w, 1, "a", BECK_SYNC_SYNC, 1);
    fault_arm(FAULT_PWRITE, 1, 1, FAULT_KILL);
    appended(w, 1, "a", 0, 1, 3000, 0);
}

static void die_in_catalog(struct world *w)
{
    if (!opened(w, 1, 0)) _exit(9);
    fault_arm(STABLE_CALL, 1, 1, FAULT_KILL);
    topic_altered(w, 1, "b", 3);
}

static void survive(struct world *w, void (*death)(struct world *))
{
    int status;
    begin_written(w);
    pid_t pid = fork();
    MUST(pid >= 0, "%s", strerror(errno));
    if (pid == 0) {
        death(w);
        _exit(1);
    }
    MUST(waitpid(pid, &status, 0) == pid, "no child");
    MUST(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "it lives");
    w->db[1] = NULL; /* the child's */
    memset(w->topic[1], 0, sizeof w->topic[1]);
}

static void begin_taking_over(struct world *w)
{
    survive(w, die_appending);
}

static void begin_repairing(struct world *w)
{
    w->topics[topic_number(w, "b")].partitions = 0; /* it may have been done */
    survive(w, die_in_catalog);
}

static void take_over(struct world *w)
{
    appended(w, 0, "a", 0, 1, 3000, 0);
    appended(w, 0, "b", 0, 1, 9000, 0);
    topic_opened(w, 0, "e", BECK_SYNC_SYNC, 1);
    if (w->db[0] != NULL) judged(beck_sync(w->db[0]), w->db[0], "beck_sync");
    closed(w, 0);
}

/* So many changes that the next ones rewrite the catalog. With tiny limits that happens all the
 * time, and does not make it smaller. */
#ifdef BECK_TINY
#define SHRINKS false
#else
#define SHRINKS true
#endif
static void prepare_snapshot(struct world *w)
{
    uint32_t needed = 0;
    if (!SHRINKS) {
        fill_file(w);
        closed(w, 0);
        return;
    }
    for (int turn = 0; turn < 2; turn++) {
        beck_stat_info stat = {.size = sizeof stat};
        uint64_t bytes = 0;
        unlink(file_name);
        memset(w, 0, sizeof *w);
        fill_file(w);
        for (uint32_t i = 0; turn == 0 ? stat.catalog_bytes >= bytes : i + 3 < needed; i++) {
            beck_topic_config config = {.size = sizeof config, .flush_ms = 1000000 + i};
            bytes = stat.catalog_bytes;
            OK(w->db[0], beck_topic_alter(w->db[0], "a", &config));
            OK(w->db[0], beck_stat(w->db[0], &stat));
            if (turn == 0) needed++;
        }
        closed(w, 0);
    }
}

static void snapshot(struct world *w)
{
    beck_stat_info before = {.size = sizeof before}, after = before;
    if (beck_stat(w->db[0], &before) < 0) before.catalog_bytes = 0;
    for (uint32_t p = 2; p < 5; p++) topic_altered(w, 0, "a", p);
    topic_opened(w, 0, "c", BECK_SYNC_SYNC, 1);
    appended(w, 0, "c", 0, 1, 100, 0);
    appended(w, 0, "b", 0, 1, 9000, 0);
    topic_deleted(w, 0, "b");
    if (beck_stat(w->db[0], &after) < 0 || fault_fired() > 0 || limited) return;
    MUST(!SHRINKS || after.catalog_bytes < before.catalog_bytes, "no snapshot was made");
}

static const struct scenario scenarios[] = {
    {"create", NULL, NULL, create, EXT4_SUPER_MAGIC},
    {"create on btrfs", NULL, NULL, create, BTRFS_SUPER_MAGIC},
    {"open", prepare_clean, NULL, open_and_append, EXT4_SUPER_MAGIC},
    {"open and close", prepare_clean, NULL, open_only, XFS},
    {"recover", prepare_crashed, NULL, open_and_append, EXT4_SUPER_MAGIC},
    {"recover on xfs", prepare_crashed, NULL, open_and_append, XFS},
    {"recover after kill", prepare_killed, NULL, open_and_append, EXT4_SUPER_MAGIC},
    {"recover from poison", prepare_poisoned, NULL, open_and_append, EXT4_SUPER_MAGIC},
    {"join", prepare_clean, begin_written, join, EXT4_SUPER_MAGIC},
    {"join on xfs", prepare_clean, begin_written, join, XFS},
    {"topics", prepare_clean, begin_open, topics, EXT4_SUPER_MAGIC},
    {"append sync", prepare_clean, begin_open, append_sync, EXT4_SUPER_MAGIC},
    {"append os", prepare_clean, begin_open, append_os, EXT4_SUPER_MAGIC},
    {"append os on xfs", prepare_clean, begin_open, append_os, XFS},
    {"two handles", prepare_clean, begin_two, two_handles, EXT4_SUPER_MAGIC},
    {"read", prepare_clean, begin_reading, read_all, EXT4_SUPER_MAGIC},
    {"read added", prepare_clean, begin_added, read_added, EXT4_SUPER_MAGIC},
    {"follow", prepare_clean, begin_following, follow, EXT4_SUPER_MAGIC},
    {"read-only", prepare_clean, NULL, read_only, EXT4_SUPER_MAGIC},
    {"read-only, crashed", prepare_crashed, NULL, read_only, EXT4_SUPER_MAGIC},
    {"observe", prepare_clean, begin_written, observe, EXT4_SUPER_MAGIC},
    {"close", prepare_clean, begin_two, close_last, EXT4_SUPER_MAGIC},
    {"take over", prepare_clean, begin_taking_over, take_over, EXT4_SUPER_MAGIC},
    {"repair", prepare_clean, begin_repairing, take_over, EXT4_SUPER_MAGIC},
    {"snapshot", prepare_snapshot, begin_open, snapshot, EXT4_SUPER_MAGIC},
};
#define SCENARIOS (sizeof scenarios / sizeof scenarios[0])

#endif
