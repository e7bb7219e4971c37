/* file.c -- the one file: superblocks, formatting, checked reads and writes */
/*
 *     0     superblock A        16 KiB  superblock B
 *     64 KiB .. 224 KiB         the coordination area
 *     224 KiB ..                segments
 *
 *  [C3] a superblock changes as the older copy, sync, the other copy, sync: at every instant one
 *       copy is whole and stable
 *
 * A crash while formatting leaves zeroed superblocks, which the next opener formats again: the
 * content, and the name of the file, are stable before the first superblock is written. */
#include "file.h"

#include <stdlib.h>
#include <string.h>

#include "batch.h"
#include "bytes.h"
#include "err.h"

#define COW_ROOM_BYTES (16u * 1024u * 1024u)

static char *copy_text(const char *text)
{
    size_t n = strlen(text) + 1;
    char *copy = malloc(n);
    if (copy != NULL) memcpy(copy, text, n);
    return copy;
}

static int open_memory(struct file *f, const beck_options *options)
{
    if (options->flags & (BECK_OPEN_READONLY | BECK_OPEN_NO_CREATE))
        return err_set(BECK_INVALID,
                       "a file in memory is always new: it cannot be opened read-only, and"
                       " not without creating it");
    f->nameless = true;
    return os_open_memory(&f->os);
}

static int filesystem_allowed(const struct os_filesystem *fs, const beck_options *options)
{
    if (fs->allowed || options->flags & BECK_OPEN_FORCE) return 0;
    return err_set(BECK_FILESYSTEM,
                   "the file system is %s (0x%x), and %s: put the file on ext4, xfs, btrfs or"
                   " tmpfs of this machine, or force it (BECK_OPEN_FORCE, --force) at your own"
                   " risk",
                   fs->name, fs->magic, fs->refused);
}

/* Why may it not be opened, and what can be done about it? */
static int open_refused(struct file *f, const char *path, int rc, bool readonly)
{
    struct os_owner owner = {0};
    if (!readonly && os_open(path, OS_READ, 0, &f->os) == 0) {
        os_close(&f->os);
        return rc == BECK_READONLY
                   ? err_set(rc, "the file system is read-only; the file may be opened read-only")
                   : err_set(rc, "no permission to write it; it may be opened read-only");
    }
    if (os_owner(path, &owner) < 0)
        return err_set(BECK_PERMISSION, "no permission to enter a folder of its path");
    return err_set(BECK_PERMISSION, "no permission to read it: it is user %u's, mode %04o",
                   owner.user, owner.mode);
}

static int file_create(struct file *f, const char *path, const beck_options *options)
{
    uint32_t mode = options->file_mode != 0 ? options->file_mode : 0644;
    const char *slash = strrchr(path, '/');
    int folder = slash == NULL ? 1 : slash == path ? 1 : (int)(slash - path);
    /* Refused before there is an empty file. A folder that cannot be looked at: it is seen later.
     */
    int rc = os_folder_filesystem(path, &f->fs);
    if (rc == 0 && (rc = filesystem_allowed(&f->fs, options)) < 0) return rc;
    rc = os_open(path, OS_CREATE, mode, &f->os);
    if (rc == BECK_NOT_FOUND) return err_set(rc, "the folder it should be made in does not exist");
    if (rc == BECK_PERMISSION || rc == BECK_READONLY)
        return err_context(rc, "cannot make a file in the folder %.*s", folder,
                           slash == NULL ? "." : path);
    if (rc != BECK_EXISTS) return rc;
    /* Somebody else created it between the two calls, or the name is a dangling link. */
    rc = os_open(path, OS_WRITE, 0, &f->os);
    return rc == BECK_NOT_FOUND ? err_set(rc, "a symbolic link to a file that does not exist") : rc;
}

static int file_open_path(struct file *f, const char *path, const beck_options *options)
{
    bool readonly = (options->flags & BECK_OPEN_READONLY) != 0;
    int rc = os_open(path, readonly ? OS_READ : OS_WRITE, 0, &f->os);
    if (rc == BECK_PERMISSION || rc == BECK_READONLY) return open_refused(f, path, rc, readonly);
    if (rc != BECK_NOT_FOUND || readonly || (options->flags & BECK_OPEN_NO_CREATE)) return rc;
    return file_create(f, path, options);
}

int file_open(struct file *f, const char *path, const beck_options *options)
{
    memset(f, 0, sizeof *f);
    f->os.fd = f->device.fd = -1;
    f->newer_super = 0; /* a new file begins with copy B: see file_unformatted */
    f->readonly = (options->flags & BECK_OPEN_READONLY) != 0;
    f->path = copy_text(path);
    if (f->path == NULL) return err_set(BECK_NOMEM, "out of memory");
    f->clock = (struct os_clock){options->clock, options->clock_context};
    int rc =
        strcmp(path, BECK_MEMORY) == 0 ? open_memory(f, options) : file_open_path(f, path, options);
    if (rc == 0) rc = os_identity(&f->os, &f->identity);
    if (rc == 0) rc = os_filesystem(&f->os, &f->fs);
    if (rc == 0 && !f->nameless) rc = filesystem_allowed(&f->fs, options);
    if (rc == 0 && f->fs.copy_on_write) f->cow = os_is_cow(&f->os);
    if (rc < 0) os_close(&f->os);
    return rc;
}

void file_close(struct file *f)
{
    if (f->path == NULL) return;
    os_close(&f->device);
    os_close(&f->os);
    free(f->path);
    f->path = NULL;
}

/* ---- Superblocks ---- */

static int super_refused(const struct superblock *s, bool readonly)
{
    if (s->version > FORMAT_VERSION)
        return err_set(BECK_NEWER, "format version %u, this beck knows up to %u: use a newer beck",
                       s->version, FORMAT_VERSION);
    if (s->incompat & ~FEATURES_INCOMPAT)
        return err_set(BECK_NEWER,
                       "the file uses features this beck does not know (incompatible 0x%x): use a"
                       " newer beck",
                       s->incompat & ~FEATURES_INCOMPAT);
    if (!readonly && (s->readonly & ~FEATURES_READONLY))
        return err_set(BECK_NEWER,
                       "this beck can read the file, but not write it (read-only compatible 0x%x):"
                       " open it read-only, or use a newer beck",
                       s->readonly & ~FEATURES_READONLY);
    if (s->version == 0) return err_set(BECK_CORRUPT, "superblock: format version 0");
    if (s->state != SUPER_CLEAN && s->state != SUPER_UNCLEAN)
        return err_set(BECK_CORRUPT, "superblock: state %u", s->state);
    if (s->root.block < HEAP_BLOCK || s->root.blocks == 0)
        return err_set(BECK_CORRUPT, "superblock: catalog at block %u, %u blocks", s->root.block,
                       s->root.blocks);
    return 0;
}

/* The first segment of a catalog, which is stable before there is a superblock. */
static bool formatting_began(struct file *f)
{
    uint8_t bytes[SEGMENT_HEADER_BYTES];
    struct segment_header h;
    return os_read(&f->os, bytes, sizeof bytes, HEAP_AT) == 0 &&
           segment_header_decode(bytes, &h) == 0 && h.topic == TOPIC_CATALOG && h.id == 1;
}

/* Zeroed superblocks: a file nobody has written, or one whose formatting was interrupted. Then copy
 * B, the first to be written, may be torn; and somebody may have opened the file who saw it whole,
 * in the page cache. Anything else with zeros in front is not ours to overwrite. 0, or NOT_BECK. */
static int file_unformatted(struct file *f)
{
    static const uint8_t zeros[4096];
    uint8_t bytes[sizeof zeros];
    uint64_t size = 0;
    int rc = os_size(&f->os, &size);
    if (rc == 0 && size > HEAP_AT + 2 * BLOCK_BYTES) rc = err_set(BECK_NOT_BECK, "not a beck file");
    uint64_t end = rc == 0 && formatting_began(f) ? COORD_AT : min_u64(size, HEAP_AT);
    for (uint64_t at = 0; rc == 0 && at < end; at += sizeof zeros) {
        if (at == SUPER_B_AT) continue; /* a device may tear all of its sector */
        rc = os_read(&f->os, bytes, sizeof bytes, at);
        if (rc == 0 && memcmp(bytes, zeros, sizeof zeros) != 0)
            rc = err_set(BECK_NOT_BECK, "not a beck file");
    }
    return rc;
}

int file_read_super(struct file *f, struct superblock *super)
{
    static const uint32_t at[2] = {SUPER_A_AT, SUPER_B_AT};
    struct superblock copy[2];
    uint8_t bytes[SUPER_BYTES];
    int got[2], rc;
    for (int i = 0; i < 2; i++) {
        memset(&copy[i], 0, sizeof copy[i]);
        if ((rc = os_read(&f->os, bytes, sizeof bytes, at[i])) < 0) return rc;
        got[i] = super_decode(bytes, &copy[i]);
    }
    if (got[0] == 0 && got[1] != 1) return file_unformatted(f);
    if (got[0] != 1 && got[1] != 1) {
        if (got[0] == BECK_CORRUPT || got[1] == BECK_CORRUPT)
            return err_set(BECK_CORRUPT, "both superblocks are damaged");
        return err_set(BECK_NOT_BECK, "not a beck file");
    }
    int use = got[0] == 1 && (got[1] != 1 || copy[0].sequence >= copy[1].sequence) ? 0 : 1;
    if ((rc = super_refused(&copy[use], f->readonly)) < 0) return rc;
    *super = copy[use];
    f->newer_super = use;
    f->supers_differ = got[0] != 1 || got[1] != 1 || copy[0].sequence != copy[1].sequence;
    /* Threads read the superblock side by side; the uuid never changes. */
    if (memcmp(f->uuid, super->uuid, sizeof f->uuid) != 0)
        memcpy(f->uuid, super->uuid, sizeof f->uuid);
    return 1;
}

int file_read_own_super(struct file *f, struct superblock *super)
{
    int rc = file_read_super(f, super);
    if (rc != 0) return rc < 0 ? rc : 0;
    return err_set(BECK_CORRUPT, "the superblocks of an open file are zero");
}

static int write_copy(struct file *f, const uint8_t bytes[SUPER_BYTES], int copy)
{
    return os_write_stable(&f->os, bytes, SUPER_BYTES, copy == 0 ? SUPER_A_AT : SUPER_B_AT);
}

/* The copy that counts may be in the page cache only. It becomes stable before the other one is
 * touched: else a power loss could tear both. */
static int settle_supers(struct file *f)
{
    uint8_t bytes[SUPER_BYTES];
    struct superblock s;
    if (!f->supers_unsettled) return 0;
    int rc = os_read(&f->os, bytes, sizeof bytes, f->newer_super == 0 ? SUPER_A_AT : SUPER_B_AT);
    if (rc == 0 && super_decode(bytes, &s) != 1)
        rc = err_set(BECK_CORRUPT, "superblock: it changed while the file was opened");
    if (rc == 0) rc = write_copy(f, bytes, f->newer_super);
    if (rc == 0) f->supers_unsettled = false;
    return rc;
}

int file_write_super(struct file *f, struct superblock *super)
{
    uint8_t bytes[SUPER_BYTES];
    int counts = f->newer_super, rc = settle_supers(f);
    if (rc < 0) return rc;
    super->sequence++;
    super_encode(super, bytes);
    /* The copy that did not count goes first: the other is whole until this one is. [C3] */
    rc = write_copy(f, bytes, 1 - counts);
    if (rc < 0) return rc;
    return write_copy(f, bytes, counts);
}

void file_mark(const struct file *f, struct superblock *super)
{
    super->state = SUPER_UNCLEAN;
    super->inode = f->identity.inode;
    super->birth_s = f->identity.birth_s;
    super->birth_ns = f->identity.birth_ns;
    os_boot_id(super->boot_id);
}

bool file_same_boot(const struct file *f, const struct superblock *super)
{
    static const uint8_t unknown[16];
    uint8_t boot[16];
    os_boot_id(boot);
    return memcmp(boot, unknown, 16) != 0 && memcmp(boot, super->boot_id, 16) == 0 &&
           super->inode == f->identity.inode && super->birth_s == f->identity.birth_s &&
           super->birth_ns == f->identity.birth_ns;
}

/* ---- Formatting ---- */

/* The first frame of a new file: where the catalog goes on, and the first free ids. */
static int write_first_frame(struct file *f, const struct segment_place *root,
                             const struct segment_place *spare)
{
    uint8_t frame_bytes[512], link[64], ids[64];
    struct entry e_link = {.type = ENTRY_LINK, .place = *spare};
    struct entry e_ids = {.type = ENTRY_IDS, .topic = TOPIC_USER_FIRST, .next_id = spare->id + 1};
    beck_record records[2] = {{.value = link, .value_size = (uint32_t)entry_encode(&e_link, link)},
                              {.value = ids, .value_size = (uint32_t)entry_encode(&e_ids, ids)}};
    struct batch_plan plan;
    int rc = batch_measure(records, 2, os_now_ms(), sizeof frame_bytes - FRAME_BYTES, &plan);
    if (rc < 0) return rc;
    batch_encode(frame_bytes + FRAME_BYTES, records, 2, 0, &plan);
    struct frame frame = {.length = (uint32_t)plan.bytes, .stable = 1};
    frame.guard = frame_guard(root, SEGMENT_HEADER_BYTES, &frame, frame_bytes + FRAME_BYTES);
    frame_encode(&frame, frame_bytes);
    return os_write(&f->os, frame_bytes, FRAME_BYTES + (size_t)plan.bytes,
                    place_at(root) + SEGMENT_HEADER_BYTES);
}

static int format(struct file *f, uint32_t application_id)
{
    struct superblock super = {
        .version = FORMAT_VERSION, .application_id = application_id, .catalog_next = 2};
    struct segment_place spare = {.id = 2, .block = HEAP_BLOCK + 1, .blocks = 1};
    super.root = (struct segment_place){.id = 1, .block = HEAP_BLOCK, .blocks = 1};
    uint64_t size = 0;
    int rc;
    if (f->fs.copy_on_write) {
        os_no_cow(&f->os);
        f->cow = os_is_cow(&f->os);
    }
    if ((rc = os_random(super.uuid, sizeof super.uuid)) < 0) return rc;
    if ((rc = os_random(&super.root.salt, sizeof super.root.salt)) < 0) return rc;
    if ((rc = os_random(&spare.salt, sizeof spare.salt)) < 0) return rc;
    memcpy(f->uuid, super.uuid, sizeof f->uuid);
    if ((rc = os_size(&f->os, &size)) < 0) return rc;
    if (size > 0) os_forget(&f->os, 0, HEAP_AT);
    if ((rc = os_allocate(&f->os, 0, HEAP_AT)) < 0) return rc;
    if ((rc = file_zero(f, 0, HEAP_AT)) < 0) return rc;
    if (size > 0) { /* somebody began to format it: what shows that goes last */
        if ((rc = os_sync(&f->os)) < 0) return rc;
        os_forget(&f->os, HEAP_AT, 2 * BLOCK_BYTES);
    }
    if ((rc = file_make_segment(f, &super.root, TOPIC_CATALOG, 0, 0)) < 0) return rc;
    if ((rc = file_zero(f, place_at(&super.root) + SEGMENT_HEADER_BYTES,
                        BLOCK_BYTES - SEGMENT_HEADER_BYTES)) < 0)
        return rc;
    if ((rc = file_make_segment(f, &spare, TOPIC_CATALOG, 0, 0)) < 0) return rc;
    if ((rc = file_zero(f, place_at(&spare) + SEGMENT_HEADER_BYTES,
                        BLOCK_BYTES - SEGMENT_HEADER_BYTES)) < 0)
        return rc;
    if ((rc = write_first_frame(f, &super.root, &spare)) < 0) return rc;
    if ((rc = os_sync(&f->os)) < 0) return rc;
    /* Before there is a superblock: whoever finds one finds a file whose name is stable. */
    if (!f->nameless && (rc = os_sync_directory(f->path, &f->os)) < 0) return rc;
    file_mark(f, &super);
    return file_write_super(f, &super);
}

int file_format(struct file *f, uint32_t application_id)
{
    bool linked = false;
    int rc = f->nameless ? 0 : os_linked_by_others(f->path, &f->os, &linked);
    if (rc == 0 && linked)
        rc = err_set(BECK_PERMISSION,
                     "an empty file behind another user's symbolic link: use its own name");
    if (rc == 0) rc = format(f, application_id);
    if (rc != BECK_FULL) return rc;
    return err_set(rc, "no room for a new file, which takes %u KiB: make room on the disk",
                   (HEAP_AT + 2 * BLOCK_BYTES) / (unsigned)KIB);
}

/* ---- Is it there, is it true ---- */

int file_still_there(const struct file *f)
{
    return f->nameless ? 0 : os_still_there(f->path, &f->os);
}

int file_check_there(const struct file *f)
{
    struct os_identity now;
    if (f->nameless) return 0;
    int rc = os_identity(&f->os, &now);
    if (rc < 0 || now.links > 0) return rc;
    return err_set(BECK_MOVED, "%s was deleted or replaced while it was open", f->path);
}

int file_check_whole(const struct file *f, uint64_t bytes)
{
    uint64_t size = 0;
    int rc = os_size(&f->os, &size);
    if (rc < 0 || size >= bytes) return rc;
    return err_set(BECK_CORRUPT, "%s was cut to %llu bytes while it was open", f->path,
                   (unsigned long long)size);
}

int file_read_device(struct file *f, bool device)
{
    int rc = 0;
    device = device && !f->fs.memory;
    /* Opened once: threads of a read-only handle may be reading through it. */
    if (device && f->device.fd < 0) rc = os_open_direct(&f->os, f->path, &f->device);
    atomic_store(&f->by_device, device && rc == 0);
    return rc;
}

int file_write_around(const struct file *f, const void *data, size_t bytes, uint64_t at)
{
    struct os_file direct;
    uint64_t size;
    int rc = os_size(&f->os, &size);
    if (rc < 0) return rc;
    /* whole pages are written: behind the end of a cut file there is no room for one */
    bool around = !f->fs.memory && align_up(at + bytes, OS_DIRECT_ALIGN) <= size;
    rc = around ? os_open_direct(&f->os, f->path, &direct) : BECK_UNSUPPORTED;
    if (rc == 0) {
        rc = os_write(&direct, data, bytes, at);
        os_close(&direct);
    }
    return rc == BECK_UNSUPPORTED ? os_write(&f->os, data, bytes, at) : rc;
}

/* ---- Segments ---- */

int file_read_segment(const struct file *f, const struct segment_place *place, uint64_t from,
                      void *data, size_t bytes)
{
    if (from > place_bytes(place) || bytes > place_bytes(place) - from)
        return err_set(BECK_CORRUPT, "segment %llu: [%llu, +%zu) lies outside of its %u blocks",
                       (unsigned long long)place->id, (unsigned long long)from, bytes,
                       place->blocks);
    return os_read(atomic_load(&f->by_device) ? &f->device : &f->os, data, bytes,
                   place_at(place) + from);
}

/* Nobody pays for a segment of 1 GiB of which the file has nothing. */
int file_segment_there(const struct file *f, const struct segment_place *place, uint64_t end,
                       uint64_t *bytes)
{
    uint64_t size = 0;
    *bytes = 0;
    int rc = os_size(&f->os, &size);
    if (rc < 0 || size <= place_at(place)) return rc;
    end = min_u64(end, place_bytes(place));
    *bytes = min_u64(end, size - place_at(place) + MESSAGE_BYTES_DEFAULT);
    return 0;
}

int file_copy_segment(const struct file *f, const struct segment_place *place, uint64_t end,
                      uint8_t **data, uint64_t *bytes)
{
    uint64_t size = 0;
    *data = NULL;
    int rc = file_segment_there(f, place, end, bytes);
    if (rc == 0) rc = os_size(&f->os, &size);
    if (rc < 0 || *bytes == 0) return rc;
    *data = calloc(1, (size_t)*bytes);
    if (*data == NULL) return err_set(BECK_NOMEM, "out of memory");
    if (size > place_at(place))
        rc = file_read_segment(f, place, 0, *data, (size_t)min_u64(*bytes, size - place_at(place)));
    if (rc == 0) return 0;
    free(*data);
    *data = NULL;
    return rc;
}

/* A file that is copied on write must not fill its disk: a store into the coordination area that
 * finds no space ends the process. */
static int leave_room(const struct file *f, uint64_t bytes)
{
    uint64_t room = 0;
    if (!f->cow) return 0;
    int rc = os_room(&f->os, &room);
    if (rc < 0 || room >= bytes + COW_ROOM_BYTES) return rc;
    return err_set(BECK_FULL,
                   "the file is copied on write (no `chattr +C`): the last %u MiB of its disk are"
                   " left free",
                   COW_ROOM_BYTES / (unsigned)MIB);
}

static void make_header(const struct file *f, const struct segment_place *place, uint64_t topic,
                        uint32_t partition, uint64_t base_offset,
                        uint8_t bytes[SEGMENT_HEADER_BYTES])
{
    struct segment_header h = {.id = place->id,
                               .topic = topic,
                               .base_offset = base_offset,
                               .partition = partition,
                               .salt = place->salt,
                               .blocks = place->blocks};
    ASSERT(place->block >= HEAP_BLOCK);
    ASSERT(place->blocks > 0);
    memcpy(h.uuid, f->uuid, sizeof h.uuid);
    segment_header_encode(&h, bytes);
}

int file_repair_header(struct file *f, const struct segment_place *place, uint64_t topic,
                       uint32_t partition, uint64_t base_offset)
{
    uint8_t bytes[SEGMENT_HEADER_BYTES];
    struct segment_header h;
    int rc = file_read_segment(f, place, 0, bytes, sizeof bytes);
    if (rc < 0) return rc;
    if (segment_header_decode(bytes, &h) == 0 && h.id == place->id && h.salt == place->salt &&
        h.topic == topic && h.partition == partition && h.base_offset == base_offset &&
        memcmp(h.uuid, f->uuid, sizeof h.uuid) == 0)
        return 0;
    make_header(f, place, topic, partition, base_offset, bytes);
    return file_write_around(f, bytes, sizeof bytes, place_at(place));
}

int file_make_segment(struct file *f, const struct segment_place *place, uint64_t topic,
                      uint32_t partition, uint64_t base_offset)
{
    uint8_t bytes[SEGMENT_HEADER_BYTES];
    int rc = leave_room(f, place_bytes(place));
    if (rc == 0) rc = os_allocate(&f->os, place_at(place), place_bytes(place));
    if (rc < 0) return rc;
    make_header(f, place, topic, partition, base_offset, bytes);
    return os_write(&f->os, bytes, sizeof bytes, place_at(place));
}

int file_zero(const struct file *f, uint64_t at, uint64_t bytes)
{
    static const uint8_t zeros[256 * 1024];
    int rc = 0;
    while (rc == 0 && bytes > 0) {
        uint64_t n = min_u64(bytes, sizeof zeros);
        rc = os_write(&f->os, zeros, (size_t)n, at);
        at += n;
        bytes -= n;
    }
    return rc;
}
