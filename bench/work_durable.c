/* work_durable.c -- appends that are on stable storage when acknowledged, by one and by many */
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bench.h"

#define CREW_MAX 32
#define FRAMED_BYTES 208    /* what a one-record batch of this payload takes in the file */
#define WARM_RECORDS 40000u /* so many that segments have grown beyond the size of a run */
#define SLICE 8             /* appends between looks at the clock */

/* ---- One process ---- */

static double rate_for(const struct store_kind *kind, void *store, double seconds)
{
    uint64_t count = 0;
    double start = now_seconds(), end = start;
    for (; end < start + seconds; end = now_seconds(), count += SLICE)
        kind->append(store, SLICE, 1);
    return (double)count / (end - start);
}

static void *open_warm(const struct store_kind *kind, const char *path)
{
    void *store = kind->open(path, DURABLE);
    kind->append(store, WARM_RECORDS, BATCH_RECORDS);
    kind->append(store, SLICE, 1);
    return store;
}

void work_durable_one(void)
{
    const struct store_kind *kinds[] = {&store_beck, store_sqlite, store_lmdb};
    const char *paths[3] = {0};
    void *stores[3] = {0};
    for (size_t i = 0; i < 3; i++) {
        if (kinds[i] == NULL) continue;
        paths[i] = bench_path(kinds[i]->system);
        stores[i] = open_warm(kinds[i], paths[i]);
    }
    const char *bare_path = bench_path("bare");
    int bare = bare_open(bare_path);
    for (int round = 0; round < settings.rounds; round++) {
        sample("beck", "rate", "records/s", rate_for(&store_beck, stores[0], settings.seconds));
        sample("pwritev2", "rate", "records/s", bare_durable(bare, settings.seconds, FRAMED_BYTES));
        for (size_t i = 1; i < 3; i++)
            if (kinds[i] != NULL)
                sample(kinds[i]->system, "rate", "records/s",
                       rate_for(kinds[i], stores[i], settings.seconds));
    }
    close(bare);
    bench_forget(bare_path);
    for (size_t i = 0; i < 3; i++) {
        if (kinds[i] == NULL) continue;
        kinds[i]->close(stores[i]);
        bench_forget(paths[i]);
    }
}

/* ---- Many processes ---- */

struct crew {
    _Atomic uint32_t ready, go, stop, next;
    char path[600];
    uint64_t counts[CREW_MAX];
};

static void crew_member(void *argument)
{
    struct crew *crew = argument;
    uint32_t me = atomic_fetch_add(&crew->next, 1);
    void *store = store_beck.open(crew->path, DURABLE);
    store_beck.append(store, 1, 1); /* maps what it needs before the clock runs */
    atomic_fetch_add(&crew->ready, 1);
    while (!atomic_load(&crew->go)) pause_ms(0.2);
    uint64_t count = 0;
    for (; !atomic_load_explicit(&crew->stop, memory_order_relaxed); count++)
        store_beck.append(store, 1, 1);
    crew->counts[me] = count;
    store_beck.close(store);
}

static double crew_rate(const char *path, uint32_t members)
{
    struct crew *crew = shared_memory(sizeof *crew);
    pid_t children[CREW_MAX];
    uint64_t total = 0;
    strncpy(crew->path, path, sizeof crew->path - 1);
    for (uint32_t i = 0; i < members; i++) children[i] = spawn(crew_member, crew);
    while (atomic_load(&crew->ready) < members) pause_ms(0.2);
    double start = now_seconds();
    atomic_store(&crew->go, 1);
    pause_ms(settings.seconds * 1000);
    atomic_store(&crew->stop, 1);
    double elapsed = now_seconds() - start;
    for (uint32_t i = 0; i < members; i++) {
        join(children[i]);
        total += crew->counts[i];
    }
    munmap(crew, sizeof *crew);
    return (double)total / elapsed;
}

static void together(uint32_t members)
{
    const char *path = bench_path("crew");
    store_beck.close(open_warm(&store_beck, path)); /* the children open their own */
    for (int round = 0; round < settings.rounds; round++) {
        sample("beck", "rate", "records/s", crew_rate(path, members));
        sample("one process", "rate", "records/s", crew_rate(path, 1));
    }
    bench_forget(path);
}

void work_durable_eight(void)
{
    together(8);
}

void work_durable_many(void)
{
    together(32);
}
