/* bench.c -- the workloads in order, and on what machine they ran */
#include <errno.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <beck.h>

#include "bench.h"

struct settings settings = {
    .rounds = 5, .seconds = 0.3, .shrink = 1, .big_file = 1u << 30, .idle_seconds = 2};

static const struct {
    const char *name;
    void (*run)(void);
} workloads[] = {
    /* What waits for the device goes first: large files keep it busy long after they are closed. */
    {"durable-1", work_durable_one},
    {"durable-8", work_durable_eight},
    {"durable-32", work_durable_many},
    {"wake", work_wake},
    {"idle", work_idle},
    {"open-clean", work_open_clean},
    {"memory", work_memory},
    {"append-recycled", work_append_recycled},
    {"append-growing", work_append_growing},
    {"append-batch", work_append_batch},
    {"read-batch", work_read_checked},
    {"read-batch-unchecked", work_read_unchecked},
    {"read-one", work_read_one},
    {"open-clean-big", work_open_clean_big},
    {"open-killed", work_open_killed},
};
#define WORKLOADS (sizeof workloads / sizeof *workloads)

static void read_environment(void)
{
    const char *quick = getenv("BENCH_QUICK");
    const char *megabytes = getenv("BENCH_FILE_MB");
    if (quick != NULL && *quick != '\0' && strcmp(quick, "0") != 0) {
        settings.rounds = 3;
        settings.seconds = 0.1;
        settings.shrink = 5;
        settings.big_file /= 8;
        settings.idle_seconds = 1;
    }
    if (megabytes != NULL && atoll(megabytes) > 0)
        settings.big_file = (uint64_t)atoll(megabytes) << 20;
}

static const char *filesystem_name(const char *path)
{
    static char unknown[32];
    struct statfs fs;
    if (statfs(path, &fs) < 0) return "unknown";
    switch ((unsigned long)fs.f_type) {
    case 0xEF53: return "ext4";
    case 0x58465342: return "xfs";
    case 0x9123683E: return "btrfs";
    case 0x01021994: return "tmpfs";
    default: snprintf(unknown, sizeof unknown, "type %#lx", (unsigned long)fs.f_type);
    }
    return unknown;
}

static void processor_name(char *name, size_t size)
{
    char line[256];
    FILE *file = fopen("/proc/cpuinfo", "r");
    snprintf(name, size, "unknown processor");
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        char *colon = strchr(line, ':');
        if (strncmp(line, "model name", 10) != 0 || colon == NULL) continue;
        snprintf(name, size, "%.*s", (int)strcspn(colon + 2, "\n"), colon + 2);
        break;
    }
    if (file != NULL) fclose(file);
}

static void describe_machine(void)
{
    struct utsname system;
    char processor[128];
    uname(&system);
    processor_name(processor, sizeof processor);
    printf("beck %s on %ld cores (%s), %s %s, files on %s\n", beck_version(),
           sysconf(_SC_NPROCESSORS_ONLN), processor, system.sysname, system.release,
           filesystem_name(settings.directory));
    if (store_lmdb == NULL) printf("lmdb is missing: its rows are left out\n");
    if (store_sqlite == NULL) printf("sqlite3 is missing: its rows are left out\n");
}

static bool run_all(const char *only)
{
    bool found = false;
    for (size_t i = 0; i < WORKLOADS; i++) {
        if (only != NULL && *only != '\0' && strcmp(only, workloads[i].name) != 0) continue;
        if (!found) results_heading();
        found = true;
        directory_settle();
        results_begin(workloads[i].name);
        workloads[i].run();
        results_end();
    }
    return found;
}

static void list_names(FILE *out)
{
    for (size_t i = 0; i < WORKLOADS; i++) fprintf(out, " %s", workloads[i].name);
    fprintf(out, "\n");
}

int main(int argc, char **argv)
{
    char here[256], json[300];
    const char *only = argc > 1 ? argv[1] : getenv("BENCH");
    const char *parent = getenv("BENCH_DIR");
    snprintf(here, sizeof here, "%s", argv[0]);
    dirname(here);
    read_environment();
    payload_make();
    directory_make(parent != NULL && *parent != '\0' ? parent : here);
    describe_machine();
    if (!run_all(only)) {
        fprintf(stderr, "no workload is named %s; there are", only);
        list_names(stderr);
        return 2;
    }
    results_tally();
    snprintf(json, sizeof json, "%s/bench.json", here);
    if (results_write_json(json) < 0) die("%s: %s", json, strerror(errno));
    printf("written to %s\n", json);
    return 0;
}
