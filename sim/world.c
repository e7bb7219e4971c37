/* world.c -- processes as fibers: who runs next, who dies, who waits; memory, mutexes, faults */
/*
 * A process gives way at points: where a shared word is touched, where the system is called. There
 * another may go on, somebody may be killed or stopped, a crash may be looked at. Between two
 * points nothing happens at the same time, so what a run does depends on its seed alone.
 *
 * Time stands still while anybody can run, but for a microsecond a call; when all wait it jumps
 * to the first who waits for it. */
#include "sim.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "hook.h"
#undef malloc
#undef calloc
#undef free

#define STACK_BYTES (512u * 1024)
#define MEMORY_BYTES ((size_t)512 << 20)
#define LARGE_BYTES (128u * 1024)
#define HOPELESS_US (INT64_C(3600) * 1000000)

static struct world *current; /* NULL while the driver of all works */

/* The library's list of open handles, of which each process has one. objcopy makes it visible. */
extern void *fork_list;

struct world *sim_world(void)
{
    return current;
}

struct process *sim_self(void)
{
    return current == NULL ? NULL : current->running;
}

/* ---- Memory: one region a world, given back as a whole ---- */

struct block {          /* before each allocation */
    struct block *next; /* large ones: of the world */
    uint64_t bytes;
};

static uint32_t class_of(size_t bytes)
{
    uint32_t class = 5;
    while (((size_t)1 << class) < bytes) class ++;
    return class;
}

void *sim_malloc(size_t bytes)
{
    struct world *w = current;
    if (sim_fault(FAULT_MEMORY)) return NULL;
    bytes += sizeof(struct block);
    if (bytes >= LARGE_BYTES) {
        struct block *b = sim_pages(bytes);
        b->next = w->large;
        w->large = b;
        b->bytes = bytes;
        return b + 1;
    }
    uint32_t class = class_of(bytes);
    struct block *b = w->free_lists[class];
    if (b != NULL) {
        w->free_lists[class] = b->next;
    } else {
        b = (struct block *)(void *)(w->memory + w->memory_used);
        w->memory_used += (size_t)1 << class;
        if (w->memory_used > MEMORY_BYTES) abort();
    }
    b->bytes = bytes;
    return b + 1;
}

void sim_free(void *memory)
{
    struct block *b = memory;
    if (memory == NULL) return;
    b--;
    if (b->bytes >= LARGE_BYTES) { /* the first of them most of the time */
        for (struct block **at = (struct block **)&current->large; *at != NULL; at = &(*at)->next) {
            if (*at != b) continue;
            *at = b->next;
            munmap(b, b->bytes);
            return;
        }
        abort();
    }
    uint32_t class = class_of(b->bytes);
    memset(memory, 0xdd, b->bytes - sizeof *b < 64 ? b->bytes - sizeof *b : 64);
    b->next = current->free_lists[class];
    current->free_lists[class] = b;
}

void *sim_calloc(size_t count, size_t bytes)
{
    void *p = sim_malloc(count * bytes);
    if (p != NULL && count * bytes + sizeof(struct block) < LARGE_BYTES)
        memset(p, 0, count * bytes);
    return p;
}

void *sim_realloc(void *memory, size_t bytes)
{
    struct block *b = memory;
    void *p = sim_malloc(bytes);
    if (memory == NULL || p == NULL) return p;
    size_t had = b[-1].bytes - sizeof *b;
    memcpy(p, memory, had < bytes ? had : bytes);
    sim_free(memory);
    return p;
}

void *sim_aligned_alloc(size_t alignment, size_t bytes)
{
    (void)alignment;
    return sim_malloc(bytes);
}

/* ---- Mutexes and thread-specific values: a process has one thread ---- */

int sim_mutex_init(pthread_mutex_t *mutex, const void *attributes)
{
    (void)attributes;
    memset(mutex, 0, sizeof *mutex);
    return 0;
}

int sim_mutex_lock(pthread_mutex_t *mutex)
{
    if (*(int *)(void *)mutex != 0) sim_violation("a process waits for a mutex it holds itself");
    *(int *)(void *)mutex = 1;
    return 0;
}

int sim_mutex_trylock(pthread_mutex_t *mutex)
{
    if (*(int *)(void *)mutex != 0) return 1;
    *(int *)(void *)mutex = 1;
    return 0;
}

int sim_mutex_unlock(pthread_mutex_t *mutex)
{
    if (*(int *)(void *)mutex != 1) sim_violation("a mutex is unlocked that nobody holds");
    *(int *)(void *)mutex = 0;
    return 0;
}

/* ---- Running ---- */

static void leave_process(void) /* back to world_run, for good when it is dead */
{
    struct world *w = current;
    struct process *p = w->running;
    p->handles = fork_list;
    if (_setjmp(p->context) == 0) _longjmp(w->driver, 1);
}

static void first_step(void)
{
    struct process *p = current->running;
    p->main(p->argument);
    p->state = PROCESS_DONE;
    os_sim_died(p->world, p);
    leave_process();
    abort();
}

static void enter_process(struct world *w, struct process *p)
{
    w->running = p;
    fork_list = p->handles;
    if (_setjmp(w->driver) != 0) {
        w->running = NULL;
        return;
    }
    if (p->begun) _longjmp(p->context, 1);
    p->begun = true;
    setcontext(&p->first);
}

struct process *world_spawn(struct world *w, void (*main)(void *), void *argument)
{
    struct process *p = NULL;
    for (uint32_t i = 0; i < PROCESSES_MAX && p == NULL; i++)
        if (w->processes[i].state == PROCESS_FREE || w->processes[i].state >= PROCESS_DONE)
            p = &w->processes[i];
    if (p == NULL) return NULL;
    uint8_t *stack = p->stack != NULL ? p->stack : sim_pages(STACK_BYTES);
    *p = (struct process){.world = w, .state = PROCESS_READY, .stack = stack, .main = main};
    p->argument = argument;
    p->number = ++w->next_number;
    p->priority = (uint32_t)chance_next(&w->chance);
    getcontext(&p->first);
    p->first.uc_stack.ss_sp = stack;
    p->first.uc_stack.ss_size = STACK_BYTES;
    p->first.uc_link = NULL;
    makecontext(&p->first, first_step, 0);
    return p;
}

static bool can_run(const struct process *p)
{
    return p->state == PROCESS_READY && !p->stopped;
}

static struct process *choose(struct world *w)
{
    struct process *best = NULL;
    uint32_t count = 0;
    for (uint32_t i = 0; i < PROCESSES_MAX; i++) {
        struct process *p = &w->processes[i];
        if (!can_run(p)) continue;
        count++;
        bool better = w->by_priority ? best == NULL || p->priority > best->priority
                                     : chance_one_in(&w->chance, count);
        if (better) best = p;
    }
    return best;
}

/* All wait: to the moment at which the first of them stops waiting. */
static bool let_time_pass(struct world *w)
{
    struct process *first = NULL;
    for (uint32_t i = 0; i < PROCESSES_MAX; i++) {
        struct process *p = &w->processes[i];
        if (p->state != PROCESS_WAITS || p->stopped || p->deadline == INT64_MAX) continue;
        if (first == NULL || p->deadline < first->deadline) first = p;
    }
    if (first == NULL) { /* only those that are stopped are left */
        for (uint32_t i = 0; i < PROCESSES_MAX; i++) {
            if (!w->processes[i].stopped || w->processes[i].state >= PROCESS_DONE) continue;
            w->processes[i].stopped = false;
            return true;
        }
        return false;
    }
    if (first->deadline > w->now) w->now = first->deadline;
    first->state = PROCESS_READY;
    first->interrupted = true;
    return w->now < HOPELESS_US;
}

void world_run(struct world *w)
{
    struct world *outer = current;
    void *list = fork_list;
    while (!w->failed) {
        struct process *p = choose(w);
        if (p == NULL) {
            if (let_time_pass(w)) continue;
            break;
        }
        current = w;
        enter_process(w, p);
        current = outer;
    }
    fork_list = list;
}

void world_kill(struct world *w, struct process *p)
{
    p->state = PROCESS_DEAD;
    os_sim_died(w, p);
    if (p == w->running) leave_process();
}

struct world *world_make(void)
{
    struct world *w = calloc(1, sizeof *w);
    if (w == NULL) exit(2);
    disk_init(&w->disk);
    w->memory = sim_pages(MEMORY_BYTES);
    return w;
}

void world_reset(struct world *w, uint64_t seed, bool tracked)
{
    struct block *b = w->large, *next;
    for (; b != NULL; b = next) {
        next = b->next;
        munmap(b, b->bytes);
    }
    w->large = NULL;
    w->memory_used = 0;
    memset(w->free_lists, 0, sizeof w->free_lists);
    disk_reset(&w->disk, tracked);
    w->chance.state = seed;
    for (uint32_t i = 0; i < PROCESSES_MAX; i++) w->processes[i].state = PROCESS_FREE;
    memset(w->files, 0, sizeof w->files);
    w->lock_count = 0;
    w->running = NULL;
    for (uint32_t i = 0; i < sizeof w->boot_id; i++)
        w->boot_id[i] = (uint8_t)chance_next(&w->chance);
    w->inode = 12;
    w->now = 0;
    w->steps = 0;
    w->next_number = 0;
    w->alone = true;
    w->by_priority = false;
    w->next_switch = w->next_mischief = UINT64_MAX;
    w->on_mischief = w->on_change = NULL;
    w->holds_writers = false;
    w->context = NULL;
    w->mapped_writes = true;
    w->shares = false;
    w->snapshot_bytes = 32768;
    w->fault = FAULT_NONE;
    w->faults = 0;
    w->sync_failed = w->error_told = w->error_kills = w->silenced = false;
    w->sync_errors = 0;
    w->failed = false;
    w->verdict[0] = 0;
}

/* ---- Points ---- */

static void give_way(struct world *w)
{
    if (w->by_priority) { /* a change point: whoever runs falls behind everybody */
        w->running->priority = (uint32_t)chance_next(&w->chance) >> 8;
        w->next_switch = w->steps + 1 + chance_below(&w->chance, 40 * w->switch_one_in);
    } else {
        w->next_switch = w->steps + 1 + chance_below(&w->chance, 2 * w->switch_one_in);
    }
    leave_process();
}

void sim_point(const volatile void *word)
{
    struct world *w = current;
    (void)word;
    if (w == NULL || w->alone) return;
    w->steps++;
    if (w->steps >= w->next_mischief) w->on_mischief(w);
    if (w->steps >= w->next_switch) give_way(w);
}

void sim_change(void)
{
    struct world *w = current;
    w->now++;
    sim_point(NULL);
    if (w->on_change != NULL) w->on_change(w);
}

bool sim_fault(enum fault kind)
{
    struct world *w = current;
    if (w == NULL || w->fault != kind || (w->fault_in > 0 && --w->fault_in > 0)) return false;
    if (!w->fault_for_ever) w->fault = FAULT_NONE;
    w->faults++;
    return true;
}

uint64_t sim_snapshot_bytes(void)
{
    return current->snapshot_bytes;
}

/* ---- Waiting ---- */

bool sim_wait(const void *const *words, uint32_t count, int64_t microseconds)
{
    struct world *w = current;
    struct process *p = w->running;
    p->state = PROCESS_WAITS;
    p->wait_count = count;
    p->interrupted = false;
    for (uint32_t i = 0; i < count; i++) p->waits[i] = words[i];
    p->deadline = microseconds < 0 ? INT64_MAX : w->now + microseconds + 1;
    leave_process();
    return !p->interrupted;
}

void sim_wake(const void *word, int32_t count)
{
    struct world *w = current;
    for (uint32_t i = 0; i < PROCESSES_MAX && count > 0; i++) {
        struct process *p = &w->processes[i];
        if (p->state != PROCESS_WAITS) continue;
        for (uint32_t k = 0; k < p->wait_count; k++) {
            if (p->waits[k] != word) continue;
            p->state = PROCESS_READY;
            count--;
            break;
        }
    }
}

void sim_violation(const char *format, ...)
{
    struct world *w = current;
    va_list args;
    va_start(args, format);
    if (!w->failed) vsnprintf(w->verdict, sizeof w->verdict, format, args);
    va_end(args);
    w->failed = true;
    w->running->state = PROCESS_DEAD;
    leave_process();
    abort();
}
