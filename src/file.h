/* file.h -- the one file: superblocks, formatting, checked reads and writes */
#ifndef FILE_H
#define FILE_H

#include "base.h"
#include "format.h"
#include "os.h"

struct file {
    struct os_file os;
    struct os_file device;  /* fd -1, or: for reading around the page cache; kept until close */
    _Atomic bool by_device; /* segments are read so */
    char *path;
    struct os_filesystem fs;
    struct os_identity identity;
    uint8_t uuid[16];
    bool readonly;
    bool nameless; /* BECK_MEMORY: no path leads to it */
    bool cow;      /* each store into a page that was written back takes new space */
    struct os_clock clock;
    _Atomic int newer_super;    /* which copy counted when they were last read: 0 = A, 1 = B */
    _Atomic bool supers_differ; /* then, too: one of them is older, or damaged */
    /* who wrote them last may have died of it: the one that counts is not known to be stable */
    bool supers_unsettled;
};

/* Open or create `path`. Nothing is read yet. */
BECK_PRIVATE int file_open(struct file *f, const char *path, const beck_options *options);
BECK_PRIVATE void file_close(struct file *f);

/* The valid superblock with the higher sequence; checks version and features. 1 = read, 0 = the
 * file has never been formatted; NOT_BECK, CORRUPT, NEWER. */
BECK_PRIVATE int file_read_super(struct file *f, struct superblock *super);
/* The same of a file that is formatted: 0, or an error. */
BECK_PRIVATE int file_read_own_super(struct file *f, struct superblock *super);
/* Write it as both copies, each stable before the next, sequence raised; what was read last counts
 * until then. POISONED: a sync failed. After another error the file says what it said before, or
 * what it was to say: read it. [C3] */
BECK_PRIVATE int file_write_super(struct file *f, struct superblock *super);
/* Note in `super` what proves later that the page cache was never lost. */
BECK_PRIVATE void file_mark(const struct file *f, struct superblock *super);
BECK_PRIVATE bool file_same_boot(const struct file *f, const struct superblock *super);
/* Make an empty file: an empty catalog with its spare segment. Gate held. */
BECK_PRIVATE int file_format(struct file *f, uint32_t application_id);

/* What time it is for this handle; coarse: maybe a tick behind, at a fifth of the price. */
static inline int64_t file_now_ms(const struct file *f, bool coarse)
{
    if (LIKELY(f->clock.now == NULL)) return coarse ? os_now_coarse_ms() : os_now_ms();
    int64_t now = f->clock.now(f->clock.context);
    return now < 0 ? 0 : now;
}
/* MOVED when `path` no longer leads to the open file. */
BECK_PRIVATE int file_still_there(const struct file *f);
/* MOVED when the file no longer has a name: what is written to it would vanish with the last
 * handle. */
BECK_PRIVATE int file_check_there(const struct file *f);
/* CORRUPT when somebody cut it to less than `bytes`. */
BECK_PRIVATE int file_check_whole(const struct file *f, uint64_t bytes);
/* From now on read what the device holds, or again what the page cache shows. Where the file system
 * has no device behind it nothing changes. */
BECK_PRIVATE int file_read_device(struct file *f, bool device);

/* Bytes [from, from + bytes) of a segment. CORRUPT when they lie outside of it. */
BECK_PRIVATE int file_read_segment(const struct file *f, const struct segment_place *place,
                                   uint64_t from, void *data, size_t bytes);
/* How many of a segment's first `end` bytes can mean something: the file may end before, and then
 * that is what it has of them, and the zeros behind it that its last frame may reach into. */
BECK_PRIVATE int file_segment_there(const struct file *f, const struct segment_place *place,
                                    uint64_t end, uint64_t *bytes);
/* A copy of those, to be freed. 0 and NULL: there are none. */
BECK_PRIVATE int file_copy_segment(const struct file *f, const struct segment_place *place,
                                   uint64_t end, uint8_t **data, uint64_t *bytes);
/* A new segment: space, header. FULL. Its creator alone knows it. */
BECK_PRIVATE int file_make_segment(struct file *f, const struct segment_place *place,
                                   uint64_t topic, uint32_t partition, uint64_t base_offset);
/* Write its header once more, if that is not what it should be. */
BECK_PRIVATE int file_repair_header(struct file *f, const struct segment_place *place,
                                    uint64_t topic, uint32_t partition, uint64_t base_offset);
/* Write bytes that may be in the page cache already, and not on the device: around the cache, where
 * there is a way. On ext4 a page that is new on the device, and whose first write failed, is
 * written again in vain as long as it stays in the cache, and every sync of it succeeds. To be
 * synced by the caller. */
BECK_PRIVATE int file_write_around(const struct file *f, const void *data, size_t bytes,
                                   uint64_t at);
/* Write zeros. */
BECK_PRIVATE int file_zero(const struct file *f, uint64_t at, uint64_t bytes);

static inline uint64_t place_at(const struct segment_place *place)
{
    return (uint64_t)place->block * BLOCK_BYTES;
}

static inline uint64_t place_bytes(const struct segment_place *place)
{
    return (uint64_t)place->blocks * BLOCK_BYTES;
}

#endif
