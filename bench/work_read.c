/* work_read.c -- reading everything forward through the API, from the page cache */
#include "bench.h"

#define READ_RECORDS 1000000

struct filled {
    const struct store_kind *kind;
    const char *path;
    void *store;
};

static void fill(struct filled *f, const struct store_kind *kind, uint64_t count, uint64_t per_call)
{
    f->kind = kind;
    f->path = bench_path(kind->system);
    bench_forget(f->path);
    f->store = kind->open(f->path, LAZY);
    kind->append(f->store, count, per_call);
    kind->close(f->store);
    f->store = kind->open(f->path, LAZY); /* a reader that did not write the records itself */
}

/* Whole passes until the time is up. The handle stays open, so its maps and caches may help. */
static double read_rate(const struct filled *f, uint64_t count, bool checked)
{
    uint64_t total = 0;
    double start = now_seconds(), end = start;
    while (end < start + settings.seconds) {
        uint64_t got = f->kind->read(f->store, checked);
        if (got != count)
            die("%s: %llu records read, not %llu", f->kind->system, (unsigned long long)got,
                (unsigned long long)count);
        total += got;
        end = now_seconds();
    }
    return (double)total / (end - start);
}

static void rounds(uint64_t beck_per_call, bool checked)
{
    uint64_t count = READ_RECORDS / settings.shrink;
    struct filled list[3];
    size_t n = 0;
    fill(&list[n++], &store_beck, count, beck_per_call);
    if (store_lmdb != NULL) fill(&list[n++], store_lmdb, count, BATCH_RECORDS);
    if (store_sqlite != NULL) fill(&list[n++], store_sqlite, count, BATCH_RECORDS);
    for (int round = 0; round < settings.rounds; round++)
        for (size_t i = 0; i < n; i++)
            sample(list[i].kind->system, "rate", "records/s", read_rate(&list[i], count, checked));
    for (size_t i = 0; i < n; i++) {
        list[i].kind->close(list[i].store);
        bench_forget(list[i].path);
    }
}

void work_read_checked(void)
{
    rounds(BATCH_RECORDS, true);
}

void work_read_unchecked(void)
{
    rounds(BATCH_RECORDS, false);
}

void work_read_one(void)
{
    rounds(1, true);
}
