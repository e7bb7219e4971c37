/* crash.c -- runs worlds from seeds, loses power in them, and looks at what is left
 *
 *     crash [--images N] [--seed S] [--jobs J] [--run SEED] [--keep FOLDER]
 *
 * A run is one world: a few processes append, read, create and delete topics, come and go, are
 * killed and stopped. Around each change of the disk there may be a crash: then another world
 * begins with what it leaves, in which a process opens the file, and all that was promised has to
 * be there. In that one, too, there may be a crash, and so on. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "deeds.h"
#include "inspect.h"
#include "tally.h"

#define DEEPEST 3
#define RUN_STEPS 60000u
#define BIRTH_STEPS 400u
#define DENSE_SEED UINT64_C(1000000000000) /* from here on every run has crashes all the time */

static uint64_t first_seed = 1, images_wanted = 100000;
static const char *keep_folder;
static uint64_t current_run;

/* ---- Crashes ---- */

static void nested_change(struct world *w);

/* One process opens what is on the disk of `w`. */
static void inspect_world(struct world *w, struct inspection *in, const struct oracle *o,
                          enum level level, uint64_t seed)
{
    in->oracle = *o;
    /* What became of a sync may be told late, by whoever looked last. */
    w->silenced = in->oracle.silenced |= w->silenced;
    if (in->oracle.silenced && w->sync_failed) oracle_sync_failed(&in->oracle);
    in->level = level;
    in->poisoned = false;
    in->chance.state = seed;
    in->fault_first = chance_one_in(&in->chance, 10);
    w->context = in;
    if (w->disk.tracked) w->on_change = nested_change;
    world_spawn(w, inspect, in);
    world_run(w);
    for (uint32_t i = 0; i < w->faults; i++) count(COUNT_FAULTS);
}

static struct world *inner_world(struct world *w, uint64_t seed)
{
    if (w->inner == NULL) w->inner = world_make();
    struct world *inner = w->inner;
    inner->depth = w->depth + 1;
    world_reset(inner, seed, inner->depth < DEEPEST);
    inner->mapped_writes = w->mapped_writes;
    inner->shares = w->shares;
    inner->snapshot_bytes = w->snapshot_bytes;
    return inner;
}

static bool power_loss(struct world *w, const struct oracle *o, const struct loss *loss,
                       uint64_t seed)
{
    static struct inspection in[8];
    struct world *inner = inner_world(w, seed);
    loss_apply(loss, &w->disk, &inner->disk);
    inspect_world(inner, &in[inner->depth], o, LEVEL_POWER, seed);
    return !inner->failed;
}

/* With `copied` it is a copy of the file that is opened: what was in the page cache is in it. */
static bool process_loss(struct world *w, const struct oracle *o, enum level level, bool copied,
                         uint64_t seed)
{
    static struct inspection in[8];
    struct world *inner = inner_world(w, seed);
    loss_of_processes(&w->disk, &inner->disk);
    if (copied) disk_sync_all(&inner->disk); /* whoever made it did that */
    memcpy(inner->boot_id, w->boot_id, sizeof w->boot_id);
    inner->inode = w->inode + copied;
    inner->sync_failed = w->sync_failed && !copied;
    inner->sync_errors = copied ? 0 : w->sync_errors;
    inner->error_told = w->error_told;
    os_sim_all_died(w, inner);
    inspect_world(inner, &in[inner->depth], o, w->sync_failed ? LEVEL_POWER : level, seed);
    count(COUNT_KILLED);
    return !inner->failed;
}

static void do_damage(struct disk *disk, struct damage *d, struct chance *c)
{
    uint8_t *page = disk->cache + d->at;
    uint64_t from =
        262144 + chance_below(c, (uint32_t)(disk->size - 262144 - d->bytes)) / 512 * 512;
    switch (chance_below(c, 4)) {
    case 0: memset(page, 0, d->bytes); break;
    case 1: page[chance_below(c, (uint32_t)d->bytes)] ^= (uint8_t)(1 << chance_below(c, 8)); break;
    case 2: memmove(page, disk->cache + from, d->bytes); break;
    default: /* the same place, a little off */
        memmove(page + 8 * (1 + chance_below(c, 60)), page, d->bytes - 512);
        break;
    }
}

static void damage(struct world *w, const struct oracle *o, struct chance *c)
{
    static struct damage d;
    const struct op *op = &o->ops[chance_below(c, o->op_count)];
    uint64_t seed = chance_next(c);
    d.oracle = *o;
    const struct known_topic *t = oracle_topic(&d.oracle, op->topic);
    if (op->at == 0 || op->outcome != OUTCOME_THERE || w->sync_failed) return;
    if (t == NULL || t->deleting) return; /* others may have its space by now */
    if (w->disk.size < 262144 + 65536 || op->at + op->bytes > w->disk.size) return;
    struct world *inner = inner_world(w, seed);
    inner->disk.tracked = false;
    loss_of_processes(&w->disk, &inner->disk);
    memcpy(inner->boot_id, w->boot_id, sizeof w->boot_id);
    d.bytes = 512u << chance_below(c, 4);
    d.at = op->at / d.bytes * d.bytes;
    do_damage(&inner->disk, &d, c);
    count(COUNT_DAMAGED);
    world_spawn(inner, inspect_damage, &d);
    world_run(inner);
    if (inner->failed)
        sim_violation("damage at %llu: %s", (unsigned long long)d.at, inner->verdict);
}

/* Take away what does not matter: what is left is the reason. */
static void shrink(struct world *w, const struct oracle *o, struct loss *loss, uint64_t seed)
{
    uint32_t left = 0;
    for (uint32_t i = 0; i < loss->count; i++) {
        struct pick was = loss->picks[i];
        loss->picks[i].how = PICK_NEWEST;
        if (was.how != PICK_NEWEST && power_loss(w, o, loss, seed)) loss->picks[i] = was;
        if (loss->picks[i].how != PICK_NEWEST) left++;
    }
    uint32_t area = loss->area;
    loss->area = 0;
    if (area != 0 && power_loss(w, o, loss, seed)) loss->area = area;
    power_loss(w, o, loss, seed);
    fprintf(stderr, "  shrunk: %u of %u unstable sectors are not what was written last\n", left,
            loss->count);
    static const char *const how[] = {"as before", "newest", "older", "torn", "trashed"};
    for (uint32_t i = 0; i < loss->count; i++)
        if (loss->picks[i].how != PICK_NEWEST)
            fprintf(stderr, "    byte %u: %s (%u)\n", loss->picks[i].sector * SECTOR,
                    how[loss->picks[i].how], loss->picks[i].which);
}

static void keep_image(struct world *w, const struct loss *loss)
{
    char path[4096];
    if (keep_folder == NULL) return;
    struct world *inner = inner_world(w, 1);
    loss_apply(loss, &w->disk, &inner->disk);
    snprintf(path, sizeof path, "%s/crash-%llu.beck", keep_folder, (unsigned long long)current_run);
    FILE *f = fopen(path, "wb");
    if (f == NULL || fwrite(inner->disk.cache, 1, inner->disk.size, f) != inner->disk.size)
        perror(path);
    if (f != NULL && fclose(f) == 0) fprintf(stderr, "  kept: %s\n", path);
}

/* `level`: what the death of all processes here has to leave. */
static void crash_here(struct world *w, const struct oracle *o, enum level level, struct chance *c)
{
    static struct loss losses[8];
    struct loss *loss = &losses[w->depth];
    uint64_t seed = chance_next(c);
    bool power = !chance_one_in(c, 6), copied = !power && chance_one_in(c, 4);
    trace("%s", power    ? "power is lost"
                : copied ? "the file is copied"
                         : "all processes are killed");
    count(COUNT_IMAGES);
    if (w->depth > 0) count(COUNT_NESTED);
    if (power) loss_choose(loss, &w->disk, c);
    bool fine = power ? power_loss(w, o, loss, seed) : process_loss(w, o, level, copied, seed);
    if (fine) return;
    if (w->depth == 0 && power) {
        fprintf(stderr, "run %llu, a crash at step %llu: %s\n", (unsigned long long)current_run,
                (unsigned long long)w->steps, w->inner->verdict);
        shrink(w, o, loss, seed);
    }
    char verdict[sizeof w->inner->verdict];
    memcpy(verdict, w->inner->verdict, sizeof verdict);
    if (w->depth == 0 && power) keep_image(w, loss);
    sim_violation("%s: %s", power ? "crash" : copied ? "copy" : "kill -9 of all", verdict);
}

static void nested_change(struct world *w)
{
    struct inspection *in = w->context;
    if (chance_one_in(&w->chance, w->depth == 1 ? 150 : 250))
        crash_here(w, &in->oracle, in->level, &w->chance);
}

static void change(struct world *w)
{
    struct scenario *s = w->context;
    if (w->sync_failed) oracle_sync_failed(&s->oracle);
    s->oracle.silenced |= w->silenced;
    uint32_t one_in = s->image_one_in * (s->quiet && w->steps > BIRTH_STEPS ? 100 : 1);
    if (s->oracle.op_count > 0 && chance_one_in(&w->chance, 10 * one_in))
        damage(w, &s->oracle, &w->chance);
    if (chance_one_in(&w->chance, one_in)) crash_here(w, &s->oracle, LEVEL_KILL, &w->chance);
}

/* ---- Runs ---- */

static void arm_fault(struct world *w)
{
    static const uint32_t most[FAULT_KINDS] = {1, 400, 600, 600, 60, 60, 60, 2000};
    struct chance *c = &w->chance;
    w->fault = chance_one_in(c, 4)
                   ? FAULT_SYNC
                   : (enum fault)(FAULT_READ + chance_below(c, FAULT_KINDS - FAULT_READ));
    w->fault_in = 1 + chance_below(c, chance_one_in(c, 4) ? 8 : most[w->fault]);
    w->fault_for_ever = chance_one_in(c, 4);
    trace("fault %d in %u%s", w->fault, w->fault_in, w->fault_for_ever ? ", for ever" : "");
}

static void mischief(struct world *w)
{
    struct scenario *s = w->context;
    struct process *p = &w->processes[chance_below(&w->chance, PROCESSES_MAX)];
    w->next_mischief = w->steps + 1 + chance_below(&w->chance, 2 * s->kill_one_in);
    if (s->faults && w->fault == FAULT_NONE) arm_fault(w);
    bool alive = p->state == PROCESS_READY || p->state == PROCESS_WAITS;
    if (alive && p->stopped) {
        p->stopped = false;
    } else if (alive && s->stops && chance_one_in(&w->chance, 2)) {
        p->stopped = true;
        trace("stop %u", p->number);
        count(COUNT_STOPS);
        if (p == w->running) w->next_switch = w->steps;
    } else if (alive && w->steps < RUN_STEPS) {
        count(COUNT_KILLS);
        trace("kill %u", p->number);
        world_kill(w, p);
    } else if (!alive && w->steps < RUN_STEPS) {
        world_spawn(w, live, s);
    }
}

static void choose_scenario(struct world *w, struct scenario *s)
{
    struct chance *c = &w->chance;
    static const uint32_t weights[] = {12, 6, 1, 2, 1, 1, 1};
    memset(s, 0, sizeof *s);
    for (uint32_t i = 0; i < DEEDS; i++) s->weights[i] = weights[i] + chance_below(c, 3);
    if (chance_one_in(c, 4)) /* topics come and go */
        s->weights[3] = s->weights[4] = 8;
    s->names = chance_one_in(c, 3) ? 1 : NAMES_MAX;
    if (chance_one_in(c, 4)) w->snapshot_bytes = 4096;
    s->life = 5 + chance_below(c, 40);
    s->image_one_in = 2 + chance_below(c, 12);
    s->stops = chance_one_in(c, 2);
    s->kill_one_in = 200u << chance_below(c, 6);
    s->padding = chance_one_in(c, 3) ? 4000 : 300;
    s->sync_share = chance_below(c, 9);
    w->context = s;
    w->on_change = change;
    w->on_mischief = mischief;
    w->alone = false;
    w->by_priority = chance_one_in(c, 2);
    w->switch_one_in = 1u << chance_below(c, 8);
    w->next_switch = 1;
    w->next_mischief = chance_one_in(c, 3) ? UINT64_MAX : 1 + chance_below(c, 2 * s->kill_one_in);
    w->mapped_writes = chance_one_in(c, 2);
    w->shares = !w->mapped_writes;
    w->disk.sticky = chance_one_in(c, 2);
    s->faults = chance_one_in(c, 2);
    if (s->faults) arm_fault(w);
    w->error_kills = s->faults && chance_one_in(c, 3);
    w->holds_writers = chance_one_in(c, 4);
    if (w->error_kills || w->holds_writers) {
        s->stops = true;
        w->next_mischief = 1 + chance_below(c, 2 * s->kill_one_in);
    }
    s->quiet = !chance_one_in(c, 4) && current_run < DENSE_SEED;
}

/* Everybody is gone, and the machine is still running. */
static void inspect_end(struct world *w, struct scenario *s)
{
    static struct inspection in;
    w->alone = true;
    w->on_change = NULL;
    w->fault = FAULT_NONE;
    w->error_kills = w->holds_writers = false;
    bool failed_sync = w->sync_failed;
    inspect_world(w, &in, &s->oracle, failed_sync ? LEVEL_POWER : LEVEL_KILL,
                  chance_next(&w->chance));
}

static bool run(uint64_t seed)
{
    static struct world *w;
    static struct scenario s;
    if (w == NULL) w = world_make();
    current_run = seed;
    world_reset(w, seed, true);
    choose_scenario(w, &s);
    uint32_t processes = 1 + chance_below(&w->chance, 4);
    for (uint32_t i = 0; i < processes; i++) world_spawn(w, live, &s);
    world_run(w);
    if (!w->failed) inspect_end(w, &s);
    count(COUNT_RUNS);
    shared->counts[COUNT_SWITCHES] += w->steps;
    shared->counts[COUNT_FAULTS] += w->faults;
    if (w->sync_failed) count(COUNT_POISONED);
    if (!w->failed) return true;
    fprintf(stderr, "run %llu: %s\n", (unsigned long long)seed, w->verdict);
    return false;
}

/* ---- Main ---- */

static void on_crash(int number)
{
    char line[100];
    int n = snprintf(line, sizeof line, "run %llu: signal %d\n", (unsigned long long)current_run,
                     number);
    if (write(2, line, (size_t)n) != n) _exit(3);
    signal(number, SIG_DFL);
    raise(number);
}

static void say_which_run(void)
{
    static uint8_t stack[65536];
    stack_t alternative = {.ss_sp = stack, .ss_size = sizeof stack};
    struct sigaction action = {.sa_handler = on_crash, .sa_flags = SA_ONSTACK};
    sigaltstack(&alternative, NULL);
    sigaction(SIGSEGV, &action, NULL);
    sigaction(SIGABRT, &action, NULL);
}

/* The jobs end behind the run they are in, and the figures so far are told. */
static void on_stop(int number)
{
    (void)number;
    shared->stopped = 1;
}

static void work(void)
{
    while (!shared->stopped && shared->counts[COUNT_IMAGES] < images_wanted && !shared->failed)
        if (!run(first_seed + shared->next_run++)) shared->failed = 1;
}

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void show(double began, bool end)
{
    double took = seconds() - began;
    unsigned long long images = (unsigned long long)shared->counts[COUNT_IMAGES];
    if (!end) {
        fprintf(stderr, "\r%llu crash images, %.0f a second ", images, (double)images / took);
        return;
    }
    if (isatty(2)) fprintf(stderr, "\r\033[K");
    for (uint32_t i = 0; i < COUNTERS; i++)
        printf("%14llu %s\n", (unsigned long long)shared->counts[i], counter_names[i]);
    printf("%14.0f crash images a second\n", (double)images / took);
    printf("%14u violations (seeds from %llu)\n", shared->failed ? 1 : 0,
           (unsigned long long)first_seed);
}

static int run_jobs(uint32_t jobs)
{
    double began = seconds();
    uint32_t running = jobs;
    fflush(NULL);
    for (uint32_t i = 0; i < jobs; i++) {
        if (fork() != 0) continue;
        work();
        fflush(NULL);
        _exit(0);
    }
    while (running > 0) {
        int status;
        pid_t pid = waitpid(-1, &status, WNOHANG);
        if (pid > 0) {
            running--;
            if (status != 0) shared->failed = 1;
            continue;
        }
        if (isatty(2)) show(began, false);
        usleep(100000);
    }
    show(began, true);
    return shared->failed ? 1 : 0;
}

static int usage(void)
{
    fprintf(stderr, "usage: crash [--images N] [--seed S] [--jobs J] [--keep FOLDER]\n"
                    "       crash --run SEED [--trace 1]    one run, and what happens in it\n");
    return 2;
}

int main(int argc, char **argv)
{
    uint64_t only = 0;
    uint32_t jobs = (uint32_t)sysconf(_SC_NPROCESSORS_ONLN);
    for (int i = 1; i < argc; i += 2) {
        const char *value = argv[i + 1];
        char *end = NULL;
        unsigned long long number = value == NULL ? 0 : strtoull(value, &end, 10);
        bool keep = strcmp(argv[i], "--keep") == 0;
        if (value == NULL || (!keep && (*value == 0 || *end != 0))) return usage();
        if (keep)
            keep_folder = value;
        else if (strcmp(argv[i], "--images") == 0)
            images_wanted = number;
        else if (strcmp(argv[i], "--seed") == 0)
            first_seed = number;
        else if (strcmp(argv[i], "--jobs") == 0)
            jobs = (uint32_t)number;
        else if (strcmp(argv[i], "--run") == 0)
            only = number;
        else if (strcmp(argv[i], "--trace") == 0)
            tracing = number != 0;
        else
            return usage();
    }
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED) return 2;
    say_which_run();
    signal(SIGINT, on_stop);
    signal(SIGTERM, on_stop);
    if (only == 0) return run_jobs(jobs);
    images_wanted = 0;
    double began = seconds();
    shared->failed = run(only) ? 0 : 1;
    show(began, true);
    return shared->failed ? 1 : 0;
}
