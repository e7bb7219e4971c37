/* format.h -- every byte position in the file: encode, verify
 *
 * The only module that knows where a byte stands; doc/FORMAT.md says the same in words and is
 * normative. Decoders copy fields out once, check them and give CORRUPT; they never trust a length.
 * */
#ifndef FORMAT_H
#define FORMAT_H

#include "base.h"

/* ---- The file ---- */
#define SUPER_A_AT 0u
#define SUPER_B_AT 16384u
#define COORD_AT 65536u
#define COORD_BYTES 163840u
#define HEAP_AT (COORD_AT + COORD_BYTES)
#define HEAP_BLOCK (HEAP_AT / BLOCK_BYTES)
#define LOCK_GATE (UINT64_C(1) << 62)
#define LOCK_SLOT0 (LOCK_GATE + 16)

_Static_assert(HEAP_AT % BLOCK_BYTES == 0, "the heap begins with a block");
_Static_assert(HEAP_AT + 2 * BLOCK_BYTES <= 262144, "an empty file is at most 256 KiB");

/* ---- Superblock ---- */
#define SUPER_BYTES 256u
#define FORMAT_VERSION 1u
#define FEATURES_COMPAT 0u
#define FEATURES_READONLY 0u
#define FEATURES_INCOMPAT 0u
enum super_state { SUPER_CLEAN = 1, SUPER_UNCLEAN = 2 };

struct segment_place { /* where a segment is, and what its guards are bound to */
    uint64_t id;
    uint32_t salt;
    uint32_t block; /* first */
    uint32_t blocks;
};

struct superblock {
    uint32_t version;
    uint32_t compat, readonly, incompat;
    uint32_t application_id;
    uint64_t sequence;
    uint8_t uuid[16];
    uint32_t state;
    struct segment_place root;
    uint64_t inode;
    int64_t birth_s;
    uint32_t birth_ns;
    uint8_t boot_id[16];
    /* catalog entries below this were stable when the superblock was written */
    uint64_t catalog_next;
    uint64_t root_base; /* offset of the first entry in the catalog's first segment */
};
BECK_PRIVATE void super_encode(const struct superblock *s, uint8_t out[SUPER_BYTES]);
/* 1 = valid, 0 = all zeros, CORRUPT, NOT_BECK (another magic). */
BECK_PRIVATE int super_decode(const uint8_t in[SUPER_BYTES], struct superblock *s);

/* ---- Segment ---- */
#define SEGMENT_HEADER_BYTES 64u
#define TOPIC_CATALOG 0u
#define TOPIC_USER_FIRST 16u

struct segment_header {
    uint8_t uuid[16];
    uint64_t id;
    uint64_t topic;
    uint64_t base_offset;
    uint32_t partition;
    uint32_t salt;
    uint32_t blocks;
};
BECK_PRIVATE void segment_header_encode(const struct segment_header *h,
                                        uint8_t out[SEGMENT_HEADER_BYTES]);
/* CORRUPT when magic or CRC are wrong. */
BECK_PRIVATE int segment_header_decode(const uint8_t in[SEGMENT_HEADER_BYTES],
                                       struct segment_header *h);

/* ---- Frame ---- */
#define FRAME_BYTES 16u
#define FRAME_ALIGN 8u

struct frame {
    uint32_t length; /* of the batch */
    uint32_t guard;
    uint32_t chain;
    uint32_t stable;
};
/* The guard of a frame at `position` whose batch begins at `batch` (21 bytes are read). */
BECK_PRIVATE uint32_t frame_guard(const struct segment_place *place, uint32_t position,
                                  const struct frame *f, const uint8_t *batch);
static inline uint64_t frame_span(uint64_t batch_bytes)
{
    return align_up(FRAME_BYTES + batch_bytes, FRAME_ALIGN);
}
BECK_PRIVATE void frame_encode(const struct frame *f, uint8_t out[FRAME_BYTES]);
BECK_PRIVATE void frame_decode(const uint8_t in[FRAME_BYTES], struct frame *f);

/* ---- Index ---- */
#define INDEX_HEADER_BYTES 32u
#define INDEX_ENTRY_BYTES 16u
#define INDEX_SPACING 4096u

struct index_entry {
    uint32_t offset_delta;
    uint32_t position;
    int64_t max_before; /* INT64_MIN = none */
};
BECK_PRIVATE void index_header_encode(const struct segment_place *place, const uint8_t *entries,
                                      uint32_t count, uint8_t out[INDEX_HEADER_BYTES]);
/* The number of entries, checked with everything behind it in `bytes`; CORRUPT. */
BECK_PRIVATE int index_header_decode(const uint8_t *in, uint64_t bytes,
                                     const struct segment_place *place, uint32_t *count);
BECK_PRIVATE void index_entry_encode(const struct index_entry *e, uint8_t out[INDEX_ENTRY_BYTES]);
BECK_PRIVATE void index_entry_decode(const uint8_t in[INDEX_ENTRY_BYTES], struct index_entry *e);
/* What the frames of a segment of `bytes` must leave free at its end for the largest index. */
static inline uint64_t index_reserve(uint64_t bytes)
{
    return align_up(INDEX_HEADER_BYTES + (bytes / INDEX_SPACING + 1) * INDEX_ENTRY_BYTES,
                    FRAME_ALIGN);
}

/* ---- Catalog entries ---- */
enum entry_type {
    ENTRY_LINK = 1,
    ENTRY_TOPIC = 2,
    ENTRY_DELETE = 3,
    ENTRY_ADD = 4,
    ENTRY_SEAL = 5,
    ENTRY_RETIRE = 6,
    ENTRY_FREE = 7,
    ENTRY_TAIL = 8,
    ENTRY_IDS = 9
};
#define SETTINGS_BYTES_MAX 4096u
#define TOPIC_NAME_CHARACTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-"
#define ENTRY_BYTES_MAX (24u + BECK_TOPIC_NAME_MAX + SETTINGS_BYTES_MAX)

struct entry {
    uint8_t type;
    /* LINK, ADD; SEAL, RETIRE, FREE, TAIL use the id; SEAL: blocks = kept */
    struct segment_place place;
    uint64_t topic;         /* TOPIC, DELETE, ADD, TAIL; IDS: next topic id */
    uint32_t partition;     /* ADD, TAIL */
    uint32_t partitions;    /* TOPIC */
    uint64_t base_offset;   /* ADD */
    uint64_t next_offset;   /* SEAL, RETIRE, TAIL */
    uint64_t stable_offset; /* SEAL */
    int64_t max_timestamp;  /* SEAL, TAIL */
    uint32_t end;           /* SEAL, TAIL; LINK: prev end */
    uint32_t chain;         /* TAIL; LINK: prev guard */
    uint32_t index_at;      /* SEAL */
    uint32_t index_bytes;   /* SEAL */
    uint64_t next_id;       /* IDS: next segment id */
    const char *name;       /* TOPIC; not NUL-terminated */
    uint32_t name_bytes;
    const char *settings; /* TOPIC; not NUL-terminated */
    uint32_t settings_bytes;
};
/* Encode; returns the number of bytes, at most ENTRY_BYTES_MAX. */
BECK_PRIVATE size_t entry_encode(const struct entry *e, uint8_t *out);
/* CORRUPT (length, flags) or NEWER (unknown type). name and settings lead into `in`. */
BECK_PRIVATE int entry_decode(const uint8_t *in, size_t bytes, struct entry *e);

#endif
