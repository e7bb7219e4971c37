/* format.c -- every byte position in the file: encode, verify */
#include "format.h"

#include "batch.h"
#include "bytes.h"
#include "crc32c.h"
#include "err.h"

/* ---- Superblock: FORMAT.md section 2 ---- */

static const uint8_t super_magic[16] = {'b', 'e', 'c', 'k', ' ', 'f', 'o',  'r',
                                        'm', 'a', 't', ' ', '1', 0,   '\r', '\n'};

void super_encode(const struct superblock *s, uint8_t out[SUPER_BYTES])
{
    memset(out, 0, SUPER_BYTES);
    memcpy(out, super_magic, sizeof super_magic);
    put_le32(out + 16, s->version);
    put_le32(out + 20, BLOCK_BYTES);
    put_le32(out + 24, s->compat);
    put_le32(out + 28, s->readonly);
    put_le32(out + 32, s->incompat);
    put_le32(out + 36, s->application_id);
    put_le64(out + 40, s->sequence);
    memcpy(out + 48, s->uuid, 16);
    put_le32(out + 64, s->state);
    put_le32(out + 68, s->root.salt);
    put_le64(out + 72, s->root.id);
    put_le32(out + 80, s->root.block);
    put_le32(out + 84, s->root.blocks);
    put_le64(out + 88, s->inode);
    put_le64(out + 96, (uint64_t)s->birth_s);
    put_le32(out + 104, s->birth_ns);
    memcpy(out + 112, s->boot_id, 16);
    put_le64(out + 128, s->catalog_next);
    put_le64(out + 136, s->root_base);
    put_le32(out + 252, crc32c(0, out, 252));
}

static bool all_zero(const uint8_t *p, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        if (p[i] != 0) return false;
    return true;
}

int super_decode(const uint8_t in[SUPER_BYTES], struct superblock *s)
{
    if (all_zero(in, SUPER_BYTES)) return 0;
    if (memcmp(in, super_magic, sizeof super_magic) != 0) return BECK_NOT_BECK;
    if (get_le32(in + 252) != crc32c(0, in, 252)) return BECK_CORRUPT;
    s->version = get_le32(in + 16);
    s->compat = get_le32(in + 24);
    s->readonly = get_le32(in + 28);
    s->incompat = get_le32(in + 32);
    s->application_id = get_le32(in + 36);
    s->sequence = get_le64(in + 40);
    memcpy(s->uuid, in + 48, 16);
    s->state = get_le32(in + 64);
    s->root = (struct segment_place){.id = get_le64(in + 72),
                                     .salt = get_le32(in + 68),
                                     .block = get_le32(in + 80),
                                     .blocks = get_le32(in + 84)};
    s->inode = get_le64(in + 88);
    s->birth_s = (int64_t)get_le64(in + 96);
    s->birth_ns = get_le32(in + 104);
    memcpy(s->boot_id, in + 112, 16);
    s->catalog_next = get_le64(in + 128);
    s->root_base = get_le64(in + 136);
    if (get_le32(in + 20) != BLOCK_BYTES && s->version == FORMAT_VERSION) return BECK_CORRUPT;
    return 1;
}

/* ---- Segment header: section 3 ---- */

static const uint8_t segment_magic[8] = {'b', 'e', 'c', 'k', 's', 'e', 'g', '1'};

void segment_header_encode(const struct segment_header *h, uint8_t out[SEGMENT_HEADER_BYTES])
{
    memcpy(out, segment_magic, 8);
    memcpy(out + 8, h->uuid, 16);
    put_le64(out + 24, h->id);
    put_le64(out + 32, h->topic);
    put_le32(out + 40, h->partition);
    put_le32(out + 44, h->salt);
    put_le64(out + 48, h->base_offset);
    put_le32(out + 56, h->blocks);
    put_le32(out + 60, crc32c(0, out, 60));
}

int segment_header_decode(const uint8_t in[SEGMENT_HEADER_BYTES], struct segment_header *h)
{
    if (memcmp(in, segment_magic, 8) != 0 || get_le32(in + 60) != crc32c(0, in, 60))
        return BECK_CORRUPT;
    memcpy(h->uuid, in + 8, 16);
    h->id = get_le64(in + 24);
    h->topic = get_le64(in + 32);
    h->partition = get_le32(in + 40);
    h->salt = get_le32(in + 44);
    h->base_offset = get_le64(in + 48);
    h->blocks = get_le32(in + 56);
    return 0;
}

/* ---- Frame: section 3.1 ---- */

uint32_t frame_guard(const struct segment_place *place, uint32_t position, const struct frame *f,
                     const uint8_t *batch)
{
    /* 49 bytes in words of 8: the CRC reads them back at once. The batch's fields are read one by
     * one, as they were written a moment ago. */
    uint8_t bound[56];
    uint64_t offset = get_le64(batch), length = get_le32(batch + 8), epoch = get_le32(batch + 12);
    uint64_t magic = batch[16], crc = get_le32(batch + 17);
    put_le64(bound, place->id);
    put_le64(bound + 8, place->salt | (uint64_t)position << 32);
    put_le64(bound + 16, f->length | (uint64_t)f->chain << 32);
    put_le64(bound + 24, f->stable | offset << 32);
    put_le64(bound + 32, offset >> 32 | length << 32);
    put_le64(bound + 40, epoch | magic << 32 | crc << 40);
    put_le64(bound + 48, crc >> 24);
    return crc32c(0, bound, 28 + BATCH_UNCOVERED_BYTES);
}

void frame_encode(const struct frame *f, uint8_t out[FRAME_BYTES])
{
    put_le32(out, f->length);
    put_le32(out + 4, f->guard);
    put_le32(out + 8, f->chain);
    put_le32(out + 12, f->stable);
}

void frame_decode(const uint8_t in[FRAME_BYTES], struct frame *f)
{
    f->length = get_le32(in);
    f->guard = get_le32(in + 4);
    f->chain = get_le32(in + 8);
    f->stable = get_le32(in + 12);
}

/* ---- Index: section 3.3 ---- */

static const uint8_t index_magic[4] = {'b', 'i', 'd', 'x'};

void index_header_encode(const struct segment_place *place, const uint8_t *entries, uint32_t count,
                         uint8_t out[INDEX_HEADER_BYTES])
{
    memcpy(out, index_magic, 4);
    put_le32(out + 4, count);
    put_le64(out + 8, place->id);
    put_le32(out + 16, place->salt);
    put_le32(out + 20, 0);
    put_le32(out + 24, crc32c(0, entries, (size_t)count * INDEX_ENTRY_BYTES));
    put_le32(out + 28, crc32c(0, out, 28));
}

int index_header_decode(const uint8_t *in, uint64_t bytes, const struct segment_place *place,
                        uint32_t *count)
{
    if (bytes < INDEX_HEADER_BYTES || memcmp(in, index_magic, 4) != 0) return BECK_CORRUPT;
    if (get_le32(in + 28) != crc32c(0, in, 28)) return BECK_CORRUPT;
    if (get_le64(in + 8) != place->id || get_le32(in + 16) != place->salt) return BECK_CORRUPT;
    *count = get_le32(in + 4);
    if (*count > (bytes - INDEX_HEADER_BYTES) / INDEX_ENTRY_BYTES) return BECK_CORRUPT;
    uint32_t crc = crc32c(0, in + INDEX_HEADER_BYTES, (size_t)*count * INDEX_ENTRY_BYTES);
    return crc == get_le32(in + 24) ? 0 : BECK_CORRUPT;
}

void index_entry_encode(const struct index_entry *e, uint8_t out[INDEX_ENTRY_BYTES])
{
    put_le32(out, e->offset_delta);
    put_le32(out + 4, e->position);
    put_le64(out + 8, (uint64_t)e->max_before);
}

void index_entry_decode(const uint8_t in[INDEX_ENTRY_BYTES], struct index_entry *e)
{
    e->offset_delta = get_le32(in);
    e->position = get_le32(in + 4);
    e->max_before = (int64_t)get_le64(in + 8);
}

/* ---- Catalog entries: section 5. Fixed fields are listed once, in order, for both directions.
 * ---- */

struct cursor {
    uint8_t *at;
    bool reading;
};

static void field(struct cursor *c, void *value, size_t bytes)
{
    if (bytes == 8 && c->reading) *(uint64_t *)value = get_le64(c->at);
    if (bytes == 8 && !c->reading) put_le64(c->at, *(uint64_t *)value);
    if (bytes == 4 && c->reading) *(uint32_t *)value = get_le32(c->at);
    if (bytes == 4 && !c->reading) put_le32(c->at, *(uint32_t *)value);
    c->at += bytes;
}

#define FIELD(name) field(c, &e->name, sizeof e->name)

static void entry_fields_segment(struct entry *e, struct cursor *c)
{
    FIELD(place.id);
    if (e->type == ENTRY_LINK) {
        FIELD(place.salt), FIELD(place.block), FIELD(place.blocks);
        FIELD(end), FIELD(chain);
    } else if (e->type == ENTRY_ADD) {
        FIELD(topic), FIELD(partition), FIELD(place.salt);
        FIELD(base_offset), FIELD(place.block), FIELD(place.blocks);
    } else if (e->type == ENTRY_SEAL) {
        FIELD(next_offset), FIELD(stable_offset), FIELD(max_timestamp);
        FIELD(end), FIELD(index_at), FIELD(index_bytes), FIELD(place.blocks);
    } else if (e->type == ENTRY_RETIRE) {
        FIELD(next_offset);
    } else if (e->type == ENTRY_TAIL) {
        FIELD(next_offset), FIELD(max_timestamp);
        FIELD(end), FIELD(chain), FIELD(topic), FIELD(partition);
    }
}

static void entry_fields(struct entry *e, struct cursor *c)
{
    if (e->type == ENTRY_TOPIC) {
        FIELD(topic), FIELD(partitions);
    } else if (e->type == ENTRY_DELETE) {
        FIELD(topic);
    } else if (e->type == ENTRY_IDS) {
        FIELD(topic), FIELD(next_id);
    } else {
        entry_fields_segment(e, c);
    }
}
#undef FIELD

/* Bytes of the fixed part, by type; 0 = unknown type. */
static size_t entry_fixed_bytes(uint8_t type)
{
    static const uint8_t bytes[] = {[ENTRY_LINK] = 32, [ENTRY_TOPIC] = 20, [ENTRY_DELETE] = 12,
                                    [ENTRY_ADD] = 44,  [ENTRY_SEAL] = 52,  [ENTRY_RETIRE] = 20,
                                    [ENTRY_FREE] = 12, [ENTRY_TAIL] = 48,  [ENTRY_IDS] = 20};
    return type < sizeof bytes ? bytes[type] : 0;
}

size_t entry_encode(const struct entry *e, uint8_t *out)
{
    struct entry copy = *e;
    struct cursor c = {out + 4, false};
    ASSERT(entry_fixed_bytes(e->type) > 0);
    memset(out, 0, 4);
    out[0] = e->type;
    entry_fields(&copy, &c);
    if (e->type == ENTRY_TOPIC) {
        ASSERT(e->name_bytes <= BECK_TOPIC_NAME_MAX);
        ASSERT(e->settings_bytes <= SETTINGS_BYTES_MAX);
        put_le16(c.at, (uint16_t)e->name_bytes);
        put_le16(c.at + 2, (uint16_t)e->settings_bytes);
        memcpy(c.at + 4, e->name, e->name_bytes);
        memcpy(c.at + 4 + e->name_bytes, e->settings, e->settings_bytes);
        c.at += 4 + e->name_bytes + e->settings_bytes;
    }
    ASSERT((size_t)(c.at - out) <= ENTRY_BYTES_MAX);
    ASSERT((size_t)(c.at - out) >= entry_fixed_bytes(e->type));
    return (size_t)(c.at - out);
}

int entry_decode(const uint8_t *in, size_t bytes, struct entry *e)
{
    uint8_t fixed[64];
    memset(e, 0, sizeof *e);
    if (bytes < 4) return err_set(BECK_CORRUPT, "catalog entry of %zu bytes", bytes);
    size_t need = entry_fixed_bytes(in[0]);
    if (need == 0)
        return err_set(BECK_NEWER, "catalog entry of unknown type %u: use a newer beck", in[0]);
    if (in[1] != 0 || in[2] != 0 || in[3] != 0)
        return err_set(BECK_NEWER, "catalog entry with unknown flags 0x%x: use a newer beck",
                       get_le32(in) >> 8);
    if (bytes < need || bytes > ENTRY_BYTES_MAX)
        return err_set(BECK_CORRUPT, "catalog entry of type %u has %zu bytes", in[0], bytes);

    memcpy(fixed, in, need);
    e->type = in[0];
    struct cursor c = {fixed + 4, true};
    entry_fields(e, &c);
    size_t used = need;
    if (e->type == ENTRY_TOPIC) {
        e->name_bytes = get_le16(in + 16);
        e->settings_bytes = get_le16(in + 18);
        e->name = (const char *)in + 20;
        e->settings = e->name + e->name_bytes;
        used += e->name_bytes + (size_t)e->settings_bytes;
        if (e->name_bytes == 0 || e->name_bytes > BECK_TOPIC_NAME_MAX)
            return err_set(BECK_CORRUPT, "catalog: topic name of %u bytes", e->name_bytes);
    }
    if (used != bytes)
        return err_set(BECK_CORRUPT, "catalog entry of type %u has %zu bytes", e->type, bytes);
    return 0;
}
