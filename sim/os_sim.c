/* os_sim.c -- the seam of the simulated world: one file, on a disk that remembers every version */
#include "os.h"

#include <string.h>

#include "coord.h"
#include "err.h"
#include "sim.h"
#include "tally.h"

#define FILES_MAX (sizeof((struct world *)0)->files / sizeof(struct description))
#define PIECE 4096u /* a process may be killed, and another may look, between two of these */

static struct disk *disk(void)
{
    return &sim_world()->disk;
}

static struct description *description(const struct os_file *f)
{
    return &sim_world()->files[f->fd - 3];
}

/* The one that a process maps through: it has one handle. */
static struct description *own_description(void)
{
    struct world *w = sim_world();
    for (uint32_t i = 0; i < FILES_MAX; i++)
        if (w->files[i].used && w->files[i].owner == sim_self() && !w->files[i].direct)
            return &w->files[i];
    sim_violation("a process syncs a mapping of a file it has not open");
}

static int sync_error(const char *what)
{
    return err_set(BECK_POISONED, "%s: simulated error", what);
}

/* ---- Files ---- */

static bool word_left(struct world *w)
{
    const struct coord_header *h = (const void *)(w->disk.cache + COORD_AT);
    const void *word = (const void *)&h->poison;
    return __atomic_load_n((const uint32_t *)word, __ATOMIC_SEQ_CST) != 0;
}

static void word_is_lost(struct world *w)
{
    trace("told of an error, and silent");
    w->silenced = true;
}

void os_sim_opened(struct world *w)
{
    if (w->silenced) disk_unstick(&w->disk);
}

static bool others_have_it_open(const struct world *w, const struct process *p)
{
    for (uint32_t i = 0; i < FILES_MAX; i++)
        if (w->files[i].used && w->files[i].owner != p) return true;
    return false;
}

void os_sim_all_died(const struct world *w, struct world *after)
{
    for (uint32_t i = 0; i < PROCESSES_MAX; i++)
        if (w->processes[i].told && !word_left(after)) word_is_lost(after);
}

/* Nobody has the file open, and somebody has left word that a sync failed: the page cache need not
 * show what was written any longer. While nobody has, it is believed: see the limits in
 * doc/DURABILITY.md. */
static void forget_pages(struct world *w)
{
    for (uint32_t i = 0; i < FILES_MAX; i++)
        if (w->files[i].used) return;
    if (w->sync_failed && word_left(w)) disk_evict(&w->disk, &w->chance);
}

int os_open(const char *path, enum os_open_mode mode, uint32_t permissions, struct os_file *f)
{
    struct world *w = sim_world();
    (void)path;
    (void)permissions;
    sim_point(NULL);
    f->fd = -1;
    if (mode == OS_CREATE && w->disk.exists) return err_set(BECK_EXISTS, "open: there is one");
    if (mode != OS_CREATE && !w->disk.exists) return err_set(BECK_NOT_FOUND, "open: no file");
    forget_pages(w);
    for (uint32_t i = 0; i < FILES_MAX; i++) {
        if (w->files[i].used) continue;
        w->files[i] =
            (struct description){.used = true, .owner = sim_self(), .readonly = mode == OS_READ};
        w->files[i].errors = w->sync_errors - (w->sync_errors > 0 && !w->error_told);
        *f = (struct os_file){.fd = (int)i + 3, .readonly = mode == OS_READ};
        w->disk.exists = true;
        return 0;
    }
    return err_set(BECK_LIMIT, "open: too many");
}

static void forget_locks(struct world *w, int fd)
{
    for (uint32_t i = w->lock_count; i-- > 0;)
        if (w->locks[i].fd == fd) w->locks[i] = w->locks[--w->lock_count];
}

void os_close(struct os_file *f)
{
    if (f->fd < 0) return;
    sim_point(NULL);
    forget_locks(sim_world(), f->fd);
    description(f)->used = false;
    if (!f->direct) sim_self()->told = false;
    f->fd = -1;
}

void os_sim_died(struct world *w, struct process *p)
{
    if (p->told && !word_left(w)) {
        word_is_lost(w);
        if (others_have_it_open(w, p)) os_sim_opened(w);
    }
    p->told = false;
    for (uint32_t i = 0; i < FILES_MAX; i++) {
        if (!w->files[i].used || w->files[i].owner != p) continue;
        forget_locks(w, (int)i + 3);
        w->files[i].used = false;
    }
}

int os_size(const struct os_file *f, uint64_t *bytes)
{
    (void)f;
    sim_point(NULL);
    *bytes = disk()->size;
    return 0;
}

int os_identity(const struct os_file *f, struct os_identity *id)
{
    (void)f;
    *id = (struct os_identity){.device = 1, .inode = sim_world()->inode, .birth_s = 1, .links = 1};
    return 0;
}

int os_owner(const char *path, struct os_owner *owner)
{
    (void)path;
    *owner = (struct os_owner){.user = 0, .mode = 0600};
    return 0;
}

int os_linked_by_others(const char *path, const struct os_file *f, bool *linked)
{
    (void)path;
    (void)f;
    *linked = false;
    return 0;
}

int os_still_there(const char *path, const struct os_file *f)
{
    (void)path;
    (void)f;
    return 0;
}

int os_filesystem(const struct os_file *f, struct os_filesystem *fs)
{
    (void)f;
    *fs = (struct os_filesystem){.name = "simulated",
                                 .allowed = true,
                                 .mapped_writes = sim_world()->mapped_writes,
                                 .shares = sim_world()->shares};
    return 0;
}

int os_folder_filesystem(const char *path, struct os_filesystem *fs)
{
    (void)path;
    return os_filesystem(NULL, fs);
}

void os_no_cow(const struct os_file *f)
{
    (void)f;
}

bool os_is_cow(const struct os_file *f)
{
    (void)f;
    return false;
}

int os_room(const struct os_file *f, uint64_t *bytes)
{
    (void)f;
    *bytes = DISK_BYTES - disk()->size;
    return 0;
}

int os_open_memory(struct os_file *f)
{
    f->fd = -1;
    return err_set(BECK_UNSUPPORTED, "no such thing here");
}

int os_read(const struct os_file *f, void *data, size_t bytes, uint64_t at)
{
    uint64_t size = disk()->size;
    uint64_t there = at >= size ? 0 : min_u64(bytes, size - at);
    sim_point(NULL);
    if (sim_fault(FAULT_READ)) return err_set(BECK_IO, "read: simulated error");
    if (description(f)->direct)
        disk_read_device(disk(), at, data, there);
    else if (there > 0)
        memcpy(data, disk()->cache + at, there);
    memset((uint8_t *)data + there, 0, bytes - there);
    return 0;
}

static int write_pieces(bool around, const void *data, size_t bytes, uint64_t at)
{
    const uint8_t *p = data;
    if (at > DISK_BYTES || bytes > DISK_BYTES - at)
        return err_set(BECK_FULL, "write: the disk is full");
    enum fault broken = sim_fault(FAULT_WRITE) ? FAULT_WRITE : FAULT_NONE;
    if (broken == FAULT_NONE && sim_fault(FAULT_FULL)) broken = FAULT_FULL;
    /* An error says nothing about how much was written; it may be all. */
    size_t most = bytes;
    if (broken != FAULT_NONE && !chance_one_in(&sim_world()->chance, 3))
        most = chance_below(&sim_world()->chance, (uint32_t)bytes);
    while (most > 0) {
        size_t n = (size_t)min_u64(most, PIECE - at % PIECE);
        sim_change();
        if (at + n > disk()->size) disk_resize(disk(), at + n);
        if (around)
            disk_write_around(disk(), at, p, n);
        else
            disk_write(disk(), at, p, n);
        p += n;
        at += n;
        most -= n;
    }
    sim_point(NULL);
    if (broken == FAULT_FULL) return err_set(BECK_FULL, "write: simulated full disk");
    return broken == FAULT_WRITE ? err_set(BECK_IO, "write: simulated error") : 0;
}

static void stand_still(struct world *w)
{
    w->running->stopped = true;
    w->next_switch = w->steps;
}

static void wrote(uint64_t at, size_t bytes)
{
    struct world *w = sim_world();
    sim_self()->wrote_at = at;
    sim_self()->wrote_bytes = bytes;
    if (w->holds_writers && chance_one_in(&w->chance, 40)) stand_still(w);
}

int os_write(const struct os_file *f, const void *data, size_t bytes, uint64_t at)
{
    if (description(f)->readonly) sim_violation("a read-only handle writes");
    wrote(at, bytes);
    return write_pieces(f->direct, data, bytes, at);
}

/* Whoever is told of an error does not come to say so. */
static void silence(struct world *w)
{
    struct process *p = w->running;
    if (p == NULL || chance_one_in(&w->chance, 3)) return;
    if (!chance_one_in(&w->chance, 3)) world_kill(w, p);
    word_is_lost(w);
    os_sim_opened(w);
    stand_still(w);
}

/* Every description that was open when bytes could not be written is told at its next sync, once;
 * one that is opened later only if nobody was told before. For all of them the bytes are clean. */
static bool fails(struct description *d)
{
    struct world *w = sim_world();
    bool told = d->errors < w->sync_errors;
    d->errors = w->sync_errors;
    w->error_told = w->error_told || told;
    d->owner->told = d->owner->told || told;
    if (told && w->error_kills) silence(w);
    return told;
}

static void lose(uint64_t from, uint64_t to)
{
    struct world *w = sim_world();
    trace("not written to the device: bytes %llu to %llu", (unsigned long long)from,
          (unsigned long long)min_u64(to, w->disk.size));
    disk_sync_failed(&w->disk, from, to, &w->chance);
    w->sync_failed = true;
    w->sync_errors++;
    w->error_told = false;
}

/* The sync of [from, to) ends. Who wrote meanwhile need not be part of it. */
static int sync_range(struct description *d, uint64_t from, uint64_t to, const char *what)
{
    sim_change();
    if (sim_fault(FAULT_WRITEBACK)) {
        uint64_t at = chance_below(&sim_world()->chance, (uint32_t)disk()->size + 1);
        lose(at, at + 65536);
        sim_change();
    }
    if (sim_fault(FAULT_SYNC))
        lose(from, to);
    else
        disk_sync(disk(), from, to);
    bool failed = fails(d);
    sim_change();
    return failed ? sync_error(what) : 0;
}

int os_write_stable(const struct os_file *f, const void *data, size_t bytes, uint64_t at)
{
    int rc = os_write(f, data, bytes, at);
    return rc < 0 ? rc : sync_range(description(f), at, at + bytes, "write and sync");
}

int os_allocate(const struct os_file *f, uint64_t at, uint64_t bytes)
{
    (void)f;
    sim_change();
    if (at + bytes > DISK_BYTES || sim_fault(FAULT_FULL))
        return err_set(BECK_FULL, "fallocate: the disk is full");
    if (at + bytes > disk()->size) disk_resize(disk(), at + bytes);
    sim_change();
    return 0;
}

void os_forget(const struct os_file *f, uint64_t at, uint64_t bytes)
{
    uint64_t end = min_u64(at + bytes, disk()->size);
    if (description(f)->readonly) sim_violation("a read-only handle forgets");
    sim_change();
    if (at < end) disk_forget(disk(), at, end - at);
    sim_change();
}

int os_fill_holes(const struct os_file *f)
{
    (void)f;
    return 0;
}

int os_truncate(const struct os_file *f, uint64_t bytes)
{
    if (description(f)->readonly) sim_violation("a read-only handle truncates");
    sim_change();
    if (bytes > DISK_BYTES) return err_set(BECK_FULL, "ftruncate: the disk is full");
    if (sim_fault(FAULT_WRITE)) return err_set(BECK_IO, "ftruncate: simulated error");
    disk_resize(disk(), bytes);
    sim_change();
    return 0;
}

int os_sync(const struct os_file *f)
{
    return sync_range(description(f), 0, UINT64_MAX, "fdatasync");
}

int os_sync_filesystem(const struct os_file *f)
{
    (void)f;
    sim_change();
    if (sim_fault(FAULT_SYNC)) return err_set(BECK_IO, "syncfs: simulated error");
    disk_sync(disk(), 0, UINT64_MAX);
    sim_change();
    return 0;
}

int os_sync_directory(const char *path, const struct os_file *f)
{
    (void)path;
    (void)f;
    sim_change();
    if (sim_fault(FAULT_SYNC)) return sync_error("sync the directory");
    disk()->name_stable = true;
    sim_change();
    return 0;
}

void os_writeback(const struct os_file *f, uint64_t at, uint64_t bytes)
{
    (void)f;
    (void)at;
    (void)bytes;
}

int os_open_direct(const struct os_file *f, const char *path, struct os_file *direct)
{
    int rc = os_open(path, f->readonly ? OS_READ : OS_WRITE, 0, direct);
    if (rc < 0) return rc;
    description(direct)->direct = direct->direct = true;
    return 0;
}

/* ---- Mappings: all of them show the one cache ---- */

int os_map(const struct os_file *f, uint64_t at, uint64_t bytes, bool writable, struct os_map *map)
{
    (void)f;
    (void)writable;
    sim_point(NULL);
    memset(map, 0, sizeof *map);
    if (at + bytes > DISK_BYTES || sim_fault(FAULT_MAP))
        return err_set(BECK_NOMEM, "mmap: simulated error");
    *map = (struct os_map){disk()->cache + at, bytes, disk()->cache + at, (size_t)bytes};
    return 0;
}

void os_unmap(struct os_map *map)
{
    memset(map, 0, sizeof *map);
}

int os_populate(const struct os_map *map, uint64_t from, uint64_t to)
{
    (void)map;
    (void)from;
    (void)to;
    return 0;
}

int os_populate_loads(const struct os_map *map)
{
    (void)map;
    return 0;
}

int os_map_sync(const struct os_map *map, uint64_t from, uint64_t to)
{
    uint64_t at = (uint64_t)(map->data - disk()->cache);
    return sync_range(own_description(), at + from, at + to, "msync");
}

/* In two or three pieces, because the device may take what is there meanwhile. */
void os_store(uint8_t *to, const void *from, size_t bytes)
{
    const uint8_t *p = from;
    uint64_t at = (uint64_t)(to - disk()->cache);
    wrote(at, bytes);
    if (at + bytes > disk()->size) sim_violation("a store behind the end of the file");
    while (bytes > 0) {
        size_t n = 1 + chance_below(&sim_world()->chance, (uint32_t)bytes);
        sim_change();
        disk_write(disk(), at, p, n);
        p += n;
        at += n;
        bytes -= n;
    }
    sim_change();
}

/* ---- Byte locks ---- */

static bool in_the_way(const struct held *l, int fd, uint64_t byte, uint64_t count)
{
    return l->fd != fd && l->byte >= byte && l->byte - byte < count;
}

int os_lock(const struct os_file *f, uint64_t byte, bool exclusive)
{
    struct world *w = sim_world();
    sim_point(NULL);
    struct held *own = NULL;
    for (uint32_t i = 0; i < w->lock_count; i++) {
        if (in_the_way(&w->locks[i], f->fd, byte, 1) && (exclusive || w->locks[i].exclusive))
            return BECK_BUSY;
        if (w->locks[i].fd == f->fd && w->locks[i].byte == byte) own = &w->locks[i];
    }
    if (own == NULL) own = &w->locks[w->lock_count++];
    *own = (struct held){f->fd, exclusive, byte};
    return 0;
}

int os_unlock(const struct os_file *f, uint64_t byte)
{
    struct world *w = sim_world();
    sim_point(NULL);
    for (uint32_t i = w->lock_count; i-- > 0;)
        if (w->locks[i].fd == f->fd && w->locks[i].byte == byte)
            w->locks[i] = w->locks[--w->lock_count];
    return 0;
}

int os_locked_by_other(const struct os_file *f, uint64_t byte, uint64_t count, bool *locked)
{
    struct world *w = sim_world();
    sim_point(NULL);
    *locked = false;
    for (uint32_t i = 0; i < w->lock_count; i++)
        if (w->locks[i].exclusive && in_the_way(&w->locks[i], f->fd, byte, count)) *locked = true;
    return 0;
}

/* ---- Waiting ---- */

bool os_wait(const _Atomic uint32_t *word, uint32_t expected, uint32_t timeout_ms)
{
    const void *words[1] = {(const void *)word};
    sim_point(NULL);
    if (__atomic_load_n((const uint32_t *)(const void *)word, __ATOMIC_SEQ_CST) != expected)
        return false;
    (void)sim_wait(words, 1, (int64_t)timeout_ms * 1000);
    return false;
}

bool os_wait_many(const struct os_wait_item *items, size_t count, uint32_t timeout_ms,
                  bool *supported)
{
    const void *words[OS_WAITV_MAX];
    *supported = true;
    sim_point(NULL);
    for (size_t i = 0; i < count; i++) {
        words[i] = (const void *)items[i].word;
        if (__atomic_load_n((const uint32_t *)words[i], __ATOMIC_SEQ_CST) != items[i].expected)
            return false;
    }
    (void)sim_wait(words, (uint32_t)count, (int64_t)timeout_ms * 1000);
    return false;
}

void os_wake(_Atomic uint32_t *word, int32_t count)
{
    sim_wake((const void *)word, count);
    sim_point(NULL);
}

bool os_sleep_ms(uint32_t ms)
{
    (void)sim_wait(NULL, 0, (int64_t)ms * 1000);
    return false;
}

/* ---- Clocks, chance, identity ---- */

#define EPOCH_MS INT64_C(1700000000000)

int64_t os_now_ms(void)
{
    return EPOCH_MS + sim_world()->now / 1000;
}

int64_t os_now_coarse_ms(void)
{
    return os_now_ms();
}

int64_t os_monotonic_ms(void)
{
    sim_world()->now++;
    return 1000 + sim_world()->now / 1000;
}

int os_random(void *data, size_t bytes)
{
    uint8_t *p = data;
    while (bytes-- > 0) *p++ = (uint8_t)(chance_next(&sim_world()->chance) >> 56);
    return 0;
}

void os_boot_id(uint8_t id[16])
{
    memcpy(id, sim_world()->boot_id, 16);
}

uint32_t os_process_id(void)
{
    return sim_self()->number;
}

uint32_t os_process_namespace(void)
{
    return 1;
}

void os_program_name(char *name, size_t bytes)
{
    memset(name, 0, bytes);
    name[0] = 's';
}

bool os_process_stopped(uint32_t process)
{
    (void)process;
    return false;
}

int os_keep(struct os_kept *kept, void *block)
{
    static pthread_key_t next;
    struct process *p = sim_self();
    if (!kept->made) kept->key = next++;
    kept->made = true;
    sim_free(p->keys[kept->key]);
    p->keys[kept->key] = block;
    return 0;
}

void os_fork_lock(void)
{
}

void os_fork_unlock(void)
{
}

void os_at_fork(void (*child)(void))
{
    (void)child;
}

const _Atomic uint32_t *os_fork_page(void)
{
    return NULL;
}

void os_fork_page_free(const _Atomic uint32_t *page)
{
    (void)page;
}
