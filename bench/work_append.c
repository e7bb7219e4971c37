/* work_append.c -- appends that are acknowledged when all processes see them */
#include "bench.h"

/* Counts give each run a few tenths of a second on a small machine. */
struct entrant {
    const struct store_kind *kind;
    uint64_t singles, batched;
};

static size_t entrants(struct entrant *list)
{
    size_t n = 0;
    list[n++] = (struct entrant){&store_beck, 1500000, 4000000};
    if (store_lmdb != NULL) list[n++] = (struct entrant){store_lmdb, 400000, 1500000};
    if (store_sqlite != NULL) list[n++] = (struct entrant){store_sqlite, 40000, 400000};
    return n;
}

/* Emptied before closing, or closing would spend seconds on syncing what nobody will read. */
static double one_run(const struct store_kind *kind, uint64_t count, uint64_t per_call,
                      bool recycled)
{
    const char *path = bench_path(kind->system);
    bench_forget(path);
    void *store = kind->open(path, LAZY);
    if (recycled) {
        kind->append(store, count, per_call);
        kind->empty(store);
    }
    double rate = timed_append(kind, store, count, per_call);
    kind->empty(store);
    kind->close(store);
    bench_forget(path);
    return rate;
}

static void rounds(bool batched, bool recycled)
{
    struct entrant list[3];
    size_t n = entrants(list);
    for (int round = 0; round < settings.rounds; round++)
        for (size_t i = 0; i < n; i++) {
            uint64_t count = (batched ? list[i].batched : list[i].singles) / settings.shrink;
            uint64_t per_call = batched ? BATCH_RECORDS : 1;
            sample(list[i].kind->system, "rate", "records/s",
                   one_run(list[i].kind, count, per_call, recycled));
        }
}

void work_append_recycled(void)
{
    rounds(false, true);
}

void work_append_growing(void)
{
    rounds(false, false);
}

void work_append_batch(void)
{
    rounds(true, true);
}
