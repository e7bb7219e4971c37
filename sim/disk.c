/* disk.c -- sectors: what processes see, what the device holds, and every state in between */
/*
 *     write --> cache, and a version of each sector --sync--> stable
 *                          `--power loss: any of them, none, a torn or a trashed one
 *
 * A sync makes stable just the sectors it is asked for: what else a real one may take along is
 * one of the states a loss can leave anyway. Bytes that a write does not change are never damaged.
 * Words of the coordination area change without a version: nothing that survives depends on them.
 * */
#include "sim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define DEPTH_MAX 6
#define AREA_FROM 65536u /* the coordination area, in format.h */
#define AREA_TO (AREA_FROM + 163840u)

uint64_t chance_next(struct chance *c) /* splitmix64 */
{
    uint64_t z = c->state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

void *sim_pages(size_t bytes)
{
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                   -1, 0);
    if (p == MAP_FAILED) {
        perror("mmap");
        exit(2);
    }
    return p;
}

void disk_init(struct disk *d)
{
    d->cache = sim_pages(DISK_BYTES);
    d->stable = sim_pages(DISK_BYTES);
    d->version_capacity = 1u << 15;
    d->versions = sim_pages(d->version_capacity * sizeof *d->versions);
    d->version_count = 1; /* 0 = none */
}

void disk_reset(struct disk *d, bool tracked)
{
    memset(d->cache, 0, d->high);
    memset(d->stable, 0, d->high);
    for (uint32_t i = 0; i < d->dirty_count; i++) {
        uint32_t s = d->dirty[i];
        d->newest[s] = d->dirty_at[s] = d->depth[s] = 0;
    }
    d->dirty_count = 0;
    d->version_count = 1;
    d->version_free = 0;
    d->size = d->high = 0;
    d->sizes[0] = 0;
    d->size_count = 1;
    d->exists = d->name_stable = d->sticky = false;
    d->tracked = tracked;
    memset(d->settled, 0, sizeof d->settled);
    memset(d->stuck, 0, sizeof d->stuck);
}

/* ---- Versions ---- */

static uint32_t version_make(struct disk *d)
{
    uint32_t v = d->version_free;
    if (v != 0) {
        d->version_free = d->versions[v].older;
        return v;
    }
    if (d->version_count == d->version_capacity) {
        fprintf(stderr, "the simulated disk has too many unstable sectors\n");
        exit(2);
    }
    return d->version_count++;
}

static void versions_drop(struct disk *d, uint32_t v)
{
    while (v != 0) {
        uint32_t older = d->versions[v].older;
        d->versions[v].older = d->version_free;
        d->version_free = v;
        v = older;
    }
}

/* Which words of a sector are not what the device has. */
static uint64_t changed_mask(const uint8_t *now, const uint8_t *stable)
{
    uint64_t mask = 0;
    for (uint32_t i = 0; i < SECTOR / 8; i++)
        if (memcmp(now + i * 8, stable + i * 8, 8) != 0) mask |= UINT64_C(1) << i;
    return mask;
}

/* The sector's new bytes are in the cache. */
static void version_add(struct disk *d, uint32_t sector)
{
    const uint8_t *now = d->cache + (uint64_t)sector * SECTOR;
    uint32_t newest = d->newest[sector];
    if (newest == 0) {
        d->dirty_at[sector] = ++d->dirty_count;
        d->dirty[d->dirty_count - 1] = sector;
    }
    if (d->depth[sector] == DEPTH_MAX) { /* forget the oldest */
        uint32_t v = newest;
        while (d->versions[d->versions[v].older].older != 0) v = d->versions[v].older;
        versions_drop(d, d->versions[v].older);
        d->versions[v].older = 0;
        d->depth[sector]--;
    }
    uint32_t v = version_make(d);
    d->versions[v].older = newest;
    d->versions[v].changed = changed_mask(now, d->stable + (uint64_t)sector * SECTOR) |
                             (newest ? d->versions[newest].changed : 0);
    memcpy(d->versions[v].bytes, now, SECTOR);
    d->newest[sector] = v;
    d->depth[sector]++;
}

static void clean(struct disk *d, uint32_t sector)
{
    uint32_t at = d->dirty_at[sector], last = d->dirty[d->dirty_count - 1];
    versions_drop(d, d->newest[sector]);
    d->newest[sector] = d->depth[sector] = 0;
    d->dirty[at - 1] = last;
    d->dirty_at[last] = at;
    d->dirty_at[sector] = 0;
    d->dirty_count--;
}

/* ---- Writing ---- */

static const uint8_t zeros[SECTOR];

static void write_piece(struct disk *d, uint64_t at, const uint8_t *data, uint32_t bytes)
{
    uint32_t sector = (uint32_t)(at / SECTOR);
    bool same = memcmp(d->cache + at, data, bytes) == 0;
    if (same && (!d->tracked || d->newest[sector] != 0)) return;
    if (same && memcmp(d->stable + at, data, bytes) == 0 && (d->settled[sector] || !d->sticky))
        return;
    memcpy(d->cache + at, data, bytes);
    if (d->tracked) version_add(d, sector);
}

void disk_write(struct disk *d, uint64_t at, const void *data, uint64_t bytes)
{
    const uint8_t *p = data;
    if (at + bytes > d->high) d->high = at + bytes;
    while (bytes > 0) {
        uint32_t n = (uint32_t)least(bytes, SECTOR - at % SECTOR);
        write_piece(d, at, p == NULL ? zeros : p, n);
        at += n;
        bytes -= n;
        if (p != NULL) p += n;
    }
}

void disk_zero(struct disk *d, uint64_t at, uint64_t bytes)
{
    disk_write(d, at, NULL, bytes);
}

/* The sectors of [at, at + bytes), the last one as a whole, get new blocks. */
static void unsettle(struct disk *d, uint64_t at, uint64_t bytes)
{
    uint64_t from = (at + SECTOR - 1) / SECTOR, to = (at + bytes + SECTOR - 1) / SECTOR;
    if (from >= to) return;
    memset(d->settled + from, 0, to - from);
    memset(d->stuck + from, 0, to - from);
}

void disk_write_around(struct disk *d, uint64_t at, const void *data, uint64_t bytes)
{
    memset(d->stuck + at / SECTOR, 0, (at + bytes + SECTOR - 1) / SECTOR - at / SECTOR);
    disk_write(d, at, data, bytes);
}

void disk_forget(struct disk *d, uint64_t at, uint64_t bytes)
{
    disk_zero(d, at, bytes);
    unsettle(d, at, bytes);
}

void disk_resize(struct disk *d, uint64_t bytes)
{
    if (bytes == d->size) return;
    if (bytes < d->size) disk_forget(d, bytes, d->size - bytes);
    d->size = bytes;
    if (bytes > d->high) d->high = bytes;
    if (!d->tracked) return;
    if (d->size_count == 8) {
        memmove(d->sizes + 1, d->sizes + 2, 6 * sizeof d->sizes[0]);
        d->size_count--;
    }
    d->sizes[d->size_count++] = bytes;
}

static void size_is_stable(struct disk *d)
{
    d->sizes[0] = d->size;
    d->size_count = 1;
}

void disk_sync(struct disk *d, uint64_t from, uint64_t to)
{
    if (!d->tracked) return;
    for (uint32_t i = d->dirty_count; i-- > 0;) {
        uint64_t at = (uint64_t)d->dirty[i] * SECTOR;
        if (at + SECTOR <= from || at >= to) continue;
        if (!d->stuck[d->dirty[i]]) {
            memcpy(d->stable + at, d->cache + at, SECTOR);
            d->settled[d->dirty[i]] = true;
        }
        clean(d, d->dirty[i]);
    }
    /* The size is part of it where one that is still possible would cut these bytes off. */
    bool cut = to >= d->size;
    for (uint32_t i = 0; i < d->size_count; i++) cut = cut || d->sizes[i] < to;
    if (cut) size_is_stable(d);
}

void disk_sync_all(struct disk *d)
{
    disk_sync(d, 0, UINT64_MAX);
    if (d->tracked) memcpy(d->stable, d->cache, d->high);
    disk_unstick(d);
}

void disk_unstick(struct disk *d)
{
    memset(d->stuck, 0, sizeof d->stuck);
}

void disk_sync_failed(struct disk *d, uint64_t from, uint64_t to, struct chance *c)
{
    for (uint32_t i = d->dirty_count; i-- > 0;) {
        uint64_t at = (uint64_t)d->dirty[i] * SECTOR;
        if (at + SECTOR <= from || at >= to) continue;
        uint32_t v = d->newest[d->dirty[i]];
        for (uint32_t back = chance_below(c, 3); v != 0 && back > 0; back--)
            v = d->versions[v].older;
        if (d->sticky && !d->settled[d->dirty[i]] && at < d->size)
            d->stuck[d->dirty[i]] = true;
        else if (v != 0)
            memcpy(d->stable + at, d->versions[v].bytes, SECTOR);
        clean(d, d->dirty[i]);
    }
}

void disk_evict(struct disk *d, struct chance *c)
{
    for (uint64_t at = AREA_TO; d->tracked && at < d->size; at += SECTOR) {
        if (d->newest[at / SECTOR] != 0 || chance_one_in(c, 2)) continue;
        memcpy(d->cache + at, d->stable + at, SECTOR);
        d->stuck[at / SECTOR] = false;
    }
}

void disk_read_device(const struct disk *d, uint64_t at, void *data, uint64_t bytes)
{
    uint8_t *p = data;
    if (!d->tracked) {
        memcpy(data, d->cache + at, bytes);
        return;
    }
    while (bytes > 0) {
        uint64_t n = least(bytes, SECTOR - at % SECTOR);
        bool written = d->newest[at / SECTOR] != 0 && !d->stuck[at / SECTOR];
        memcpy(p, (written ? d->cache : d->stable) + at, n);
        at += n;
        bytes -= n;
        p += n;
    }
}

/* ---- Loss of power ---- */

enum strategy {
    ALL_OLD,
    ALL_NEW,
    HALF,
    ONE_MISSING,
    ONE_THERE,
    ANY_VERSION,
    TORN,
    TRASH,
    ANYTHING,
    STRATEGIES
};

static struct pick pick_for(const struct disk *d, uint32_t sector, enum strategy s, bool chosen,
                            struct chance *c)
{
    struct pick p = {.sector = sector, .how = PICK_STABLE};
    if (s == ANYTHING) s = (enum strategy)(HALF + chance_below(c, ANYTHING - HALF));
    switch (s) {
    case ALL_NEW: p.how = PICK_NEWEST; break;
    case ONE_MISSING: p.how = chosen ? PICK_STABLE : PICK_NEWEST; break;
    case ONE_THERE: p.how = chosen ? PICK_NEWEST : PICK_STABLE; break;
    case HALF: p.how = chance_one_in(c, 2) ? PICK_NEWEST : PICK_STABLE; break;
    case ANY_VERSION:
        p.how = chance_one_in(c, 3) ? PICK_STABLE : PICK_OLDER;
        p.which = (uint8_t)chance_below(c, d->depth[sector]);
        break;
    case TORN:
        p.how = PICK_TORN;
        p.which = (uint8_t)chance_below(c, 64);
        break;
    case TRASH: p.how = chance_one_in(c, 2) ? PICK_TRASH : PICK_NEWEST; break;
    default: break;
    }
    return p;
}

void loss_choose(struct loss *l, const struct disk *from, struct chance *c)
{
    enum strategy s = (enum strategy)chance_below(c, STRATEGIES);
    uint32_t chosen = from->dirty_count > 0 ? chance_below(c, from->dirty_count) : 0;
    l->count = from->dirty_count;
    for (uint32_t i = 0; i < l->count; i++)
        l->picks[i] = pick_for(from, from->dirty[i], s, i == chosen, c);
    l->size = from->sizes[chance_below(c, from->size_count)];
    l->area = chance_below(c, 4);
    l->seed = (uint32_t)chance_next(c);
    l->no_file = !from->name_stable && chance_one_in(c, 2);
}

static void apply_pick(const struct pick *p, const struct disk *from, uint8_t *to,
                       struct chance *noise)
{
    const struct version *v = &from->versions[from->newest[p->sector]];
    if (from->stuck[p->sector]) return;
    switch (p->how) {
    case PICK_NEWEST: memcpy(to, v->bytes, SECTOR); break;
    case PICK_OLDER:
        for (uint32_t back = p->which; back > 0 && v->older != 0; back--)
            v = &from->versions[v->older];
        memcpy(to, v->bytes, SECTOR);
        break;
    case PICK_TORN: memcpy(to, v->bytes, p->which * 8u); break;
    case PICK_TRASH:
        for (uint32_t i = 0; i < 64; i++) {
            uint64_t word = chance_next(noise);
            if (v->changed >> i & 1) memcpy(to + i * 8, &word, 8);
        }
        break;
    default: break;
    }
}

static void apply_area(const struct loss *l, const struct disk *from, uint8_t *to,
                       struct chance *noise)
{
    uint64_t end = least(AREA_TO, l->size);
    /* Nobody uses the area before copy A of the superblock, the second one, is stable. */
    if (end <= AREA_FROM || memcmp(from->stable, zeros, 8) == 0) return;
    if (l->area == 0) memset(to + AREA_FROM, 0, end - AREA_FROM);
    if (l->area == 2) memcpy(to + AREA_FROM, from->cache + AREA_FROM, end - AREA_FROM);
    for (uint64_t at = AREA_FROM; l->area == 3 && at < end; at += 64) {
        uint64_t word = chance_next(noise);
        memcpy(to + at, &word, 8);
    }
}

/* `to` was reset. */
void loss_apply(const struct loss *l, const struct disk *from, struct disk *to)
{
    struct chance noise = {l->seed};
    if (l->no_file || !from->exists) return;
    to->exists = to->name_stable = true;
    to->size = to->high = l->size;
    to->sizes[0] = l->size;
    to->sticky = from->sticky;
    memcpy(to->settled, from->settled, sizeof to->settled);
    memcpy(to->cache, from->stable, l->size);
    for (uint32_t i = 0; i < l->count; i++) {
        uint64_t at = (uint64_t)l->picks[i].sector * SECTOR;
        if (at < l->size) apply_pick(&l->picks[i], from, to->cache + at, &noise);
    }
    uint64_t tail = (l->size + SECTOR - 1) / SECTOR * SECTOR;
    memset(to->cache + l->size, 0, tail - l->size);
    apply_area(l, from, to->cache, &noise);
    if (to->tracked) memcpy(to->stable, to->cache, l->size);
}

void loss_of_processes(const struct disk *from, struct disk *to)
{
    to->exists = from->exists;
    to->name_stable = from->name_stable;
    to->size = from->size;
    to->high = from->high;
    memcpy(to->cache, from->cache, from->high);
    to->sticky = from->sticky;
    if (!to->tracked) return;
    memcpy(to->settled, from->settled, sizeof to->settled);
    memcpy(to->stuck, from->stuck, sizeof to->stuck);
    memcpy(to->stable, from->stable, from->high);
    memcpy(to->sizes, from->sizes, sizeof to->sizes);
    to->size_count = from->size_count;
    memcpy(to->versions, from->versions, from->version_count * sizeof *from->versions);
    to->version_count = from->version_count;
    to->version_free = from->version_free;
    to->dirty_count = from->dirty_count;
    for (uint32_t i = 0; i < from->dirty_count; i++) {
        uint32_t s = from->dirty[i];
        to->dirty[i] = s;
        to->dirty_at[s] = i + 1;
        to->newest[s] = from->newest[s];
        to->depth[s] = from->depth[s];
    }
}
