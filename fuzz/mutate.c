/* mutate.c -- libFuzzer's mutator for files: change what means something, repair checksums */
#include "batch.h"
#include "bytes.h"
#include "log.h"
#include "repair.h"

static struct image image, other;
static struct contents contents;
static uint64_t dice;

static uint64_t random_word(void)
{
    dice ^= dice << 13;
    dice ^= dice >> 7;
    dice ^= dice << 17;
    return dice * UINT64_C(0x2545F4914F6CDD1D) >> 16;
}

static uint32_t below(uint64_t limit)
{
    return limit == 0 ? 0 : (uint32_t)(random_word() % limit);
}

/* ---- Numbers ---- */

static uint64_t get_spot(const struct spot *s)
{
    const uint8_t *p = image.bytes + s->at;
    uint64_t value = 0;
    for (int i = 0; i < s->bytes; i++) value = value << 8 | p[s->big ? i : s->bytes - 1 - i];
    return value;
}

static void put_spot(const struct spot *s, uint64_t value)
{
    uint8_t *p = image.bytes + s->at;
    for (int i = 0; i < s->bytes; i++, value >>= 8)
        p[s->big ? s->bytes - 1 - i : i] = (uint8_t)value;
}

static uint64_t interesting(uint64_t old)
{
    static const int64_t steps[] = {1, -1, 8, -8, 7, 16, -16, 64, 16384, -16384, 2, -2};
    const struct image_segment *s = &contents.segments[below(contents.segment_count)];
    switch (below(12)) {
    case 0: return 0;
    case 1: return UINT64_MAX;
    case 2: return UINT64_C(1) << below(64);
    case 3: return (UINT64_C(1) << below(64)) - 1;
    case 4: return random_word();
    case 5: return below(20);
    case 6: return get_spot(&contents.spots[below(contents.spot_count)]);
    case 7: return s->place.id;
    case 8: return below(2) ? s->end : s->place.block;
    case 9: return s->next;
    default: return old + (uint64_t)steps[below(12)];
    }
}

static void change_number(void)
{
    if (contents.spot_count == 0) return;
    const struct spot *s = &contents.spots[below(contents.spot_count)];
    put_spot(s, interesting(get_spot(s)));
}

/* A number of the catalog or a superblock: they are few among all the others. */
static void change_catalog_number(void)
{
    for (int tries = 0; tries < 50 && contents.spot_count > 0; tries++) {
        const struct spot *s = &contents.spots[below(contents.spot_count)];
        bool catalog = s->at < HEAP_AT;
        for (uint32_t i = 0; i < contents.segment_count && !catalog; i++) {
            const struct image_segment *g = &contents.segments[i];
            uint64_t at = place_at(&g->place);
            catalog = g->catalog && s->at >= at && s->at < at + BLOCK_BYTES;
        }
        if (!catalog) continue;
        put_spot(s, interesting(get_spot(s)));
        return;
    }
}

/* ---- Bytes ---- */

static struct image_frame *any_frame(void)
{
    return contents.frame_count == 0 ? NULL : &contents.frames[below(contents.frame_count)];
}

static void change_bytes(void)
{
    struct image_frame *f = any_frame();
    if (f == NULL) return;
    uint32_t from = FRAME_BYTES + BATCH_HEADER_BYTES, room = f->length + FRAME_BYTES - from;
    uint8_t *records = image.bytes + f->at + from;
    if (below(2) == 0) {
        (void)LLVMFuzzerMutate(records, room, room);
        return;
    }
    for (uint32_t n = 1 + below(4); n > 0 && room > 0; n--) /* the beginning means most */
        records[below(1 + below(room))] = (uint8_t)random_word();
}

/* A frame that is longer or shorter, with what follows where it was. */
static void change_length(void)
{
    struct image_frame *f = any_frame();
    if (f == NULL) return;
    uint32_t step = 1 + below(8), length = below(2) ? f->length + step : f->length - step;
    put_le32(image.bytes + f->at, length);
}

/* The last segment of the file, and maybe a frame of it, claim to be larger than the file. */
static void claim_space(void)
{
    enum { ADD_BLOCKS_AT = 40 };
    struct image_segment *last = NULL;
    for (uint32_t i = 0; i < contents.segment_count; i++) {
        struct image_segment *s = &contents.segments[i];
        if (s->entry_at != 0 && (last == NULL || s->place.block > last->place.block)) last = s;
    }
    if (last == NULL) return;
    put_le32(image.bytes + last->entry_at + ADD_BLOCKS_AT, 1u << below(18));
    if (below(2)) return;
    uint64_t at = place_at(&last->place) + (below(2) ? last->end : SEGMENT_HEADER_BYTES);
    if (at + FRAME_BYTES < IMAGE_BYTES) put_le32(image.bytes + at, 1u << (10 + below(21)));
}

static void copy_frame(void)
{
    const struct image_frame *f = any_frame();
    if (f == NULL) return;
    struct image_segment *s = &contents.segments[below(contents.segment_count)];
    uint64_t at = place_at(&s->place) + s->end, span = frame_span(f->length);
    if (at + span > IMAGE_BYTES) return;
    memmove(image.bytes + at, image.bytes + f->at, span);
    if (below(4) > 0) put_be64(image.bytes + at + FRAME_BYTES, s->next + below(3));
    if (image.size < at + span) image.size = (uint32_t)(at + span);
}

static void copy_range(void)
{
    uint32_t bytes = 1 + below(below(2) ? 64 : 16384);
    uint32_t to = below(IMAGE_BYTES - bytes), from = below(IMAGE_BYTES - bytes);
    if (below(2)) from = HEAP_AT + below(16) * BLOCK_BYTES, to = HEAP_AT + below(16) * BLOCK_BYTES;
    memmove(image.bytes + to, image.bytes + from, bytes);
}

static void zero_range(void)
{
    struct image_frame *f = any_frame();
    if (f == NULL) return;
    memset(image.bytes + f->at + below(f->length), 0, min_u64(1 + below(64), f->length));
}

static void scribble_coord(void)
{
    for (uint32_t n = 1 + below(16); n > 0; n--) {
        uint32_t at = COORD_AT + below(below(2) ? 4096 : COORD_BYTES - 8);
        put_le64(image.bytes + at / 8 * 8, below(2) ? below(4) : interesting(0));
    }
}

static void change_size(void)
{
    const struct image_segment *s = &contents.segments[below(contents.segment_count)];
    uint32_t end = (uint32_t)place_at(&s->place) + s->end;
    image.size = below(3) == 0 ? end - below(100)
                 : below(2)    ? end + below(40000)
                               : below(IMAGE_SIZE_MAX);
}

static void change_options(void)
{
    uint8_t *super = image.bytes + SUPER_A_AT;
    image.options ^= (uint8_t)(1u << below(3));
    if (below(2)) put_le32(super + 64, 3 - get_le32(super + 64));
    if (below(2)) memcpy(image.bytes + SUPER_B_AT, super, SUPER_BYTES);
}

/* ---- One more entry of the catalog ---- */

static struct entry any_entry(void)
{
    static const char *const names[] = {"os", "sync", "new", "a"};
    static const char *const settings[] = {"",
                                           "sync=os",
                                           "segment.bytes=16384\nsync=os",
                                           "max.message.bytes=1000",
                                           "compression.type=zstd",
                                           "x=y"};
    const struct image_segment *s = &contents.segments[below(contents.segment_count)];
    uint64_t at = place_at(&s->place);
    struct entry e = {.type = (uint8_t)(1 + below(9)), .place = s->place};
    e.topic = below(4) == 0 ? interesting(16) : 16 + below(4);
    e.partition = below(3);
    e.partitions = below(20) == 0 ? below(2000) : 1 + below(4);
    e.base_offset = e.next_offset = below(4) == 0 ? interesting(s->next) : s->next;
    e.stable_offset = below(2) ? e.next_offset : below(100);
    e.max_timestamp = (int64_t)interesting(0);
    e.end = below(4) == 0 ? (uint32_t)interesting(s->end) : s->end;
    e.chain = s->chain;
    if (below(2)) e.index_at = s->end, e.index_bytes = 48;
    e.next_id = interesting(s->place.id);
    e.name = names[below(4)];
    e.settings = settings[below(6)];
    e.name_bytes = (uint32_t)strlen(e.name);
    e.settings_bytes = (uint32_t)strlen(e.settings);
    if (e.type == ENTRY_ADD || e.type == ENTRY_LINK) {
        e.place =
            (struct segment_place){100 + below(9), (uint32_t)at, 14 + below(40), 1 + below(3)};
        if (below(8) == 0) e.place.blocks = (uint32_t)interesting(1);
    }
    if (e.type == ENTRY_SEAL && below(4) == 0) e.place.blocks = below(3);
    return e;
}

static void add_entries(void)
{
    enum { COUNT_MAX = 4 };
    static uint8_t values[COUNT_MAX][ENTRY_BYTES_MAX];
    struct entry e;
    struct batch_plan plan;
    beck_record records[COUNT_MAX] = {{0}};
    struct image_segment *s = &contents.segments[contents.catalog_last];
    uint32_t count = 1 + below(COUNT_MAX);
    uint64_t at = place_at(&s->place) + s->end;
    if (contents.segment_count == 0) return;
    for (uint32_t i = 0; i < count; i++) {
        e = any_entry();
        records[i].value = values[i];
        records[i].value_size = (uint32_t)entry_encode(&e, values[i]);
    }
    if (batch_measure(records, count, 1, 4096, &plan) < 0) return;
    if (at + FRAME_BYTES + plan.bytes + 8 > IMAGE_BYTES) return;
    batch_encode(image.bytes + at + FRAME_BYTES, records, count, (int64_t)s->next, &plan);
    put_le32(image.bytes + at, (uint32_t)plan.bytes);
}

/* A segment's header as an ADD that was made up says it is. */
static void make_header(void)
{
    const struct image_segment *s = &contents.segments[below(contents.segment_count)];
    if (contents.segment_count == 0) return;
    struct segment_header h = {.id = s->place.id, .topic = 16 + below(3), .base_offset = s->next};
    h.partition = below(2);
    h.salt = s->place.salt;
    h.blocks = s->place.blocks;
    memcpy(h.uuid, image.bytes + 48, 16);
    segment_header_encode(&h, image.bytes + place_at(&s->place));
}

/* ---- The whole ---- */

static void mutate_once(void)
{
    static void (*const ways[])(void) = {change_number,
                                         change_number,
                                         change_number,
                                         change_catalog_number,
                                         change_catalog_number,
                                         change_bytes,
                                         change_bytes,
                                         change_length,
                                         copy_frame,
                                         copy_range,
                                         zero_range,
                                         change_size,
                                         scribble_coord,
                                         change_options,
                                         add_entries,
                                         add_entries,
                                         make_header,
                                         claim_space,
                                         claim_space};
    ways[below(sizeof ways / sizeof *ways)]();
}

static void prepare(struct image *i)
{
    if (i->bytes == NULL && (i->bytes = calloc(1, IMAGE_BYTES)) == NULL) abort();
    image_clear(i);
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t room, unsigned seed)
{
    dice = seed * UINT64_C(0x9E3779B97F4A7C15) + 1;
    if (below(50) == 0) return LLVMFuzzerMutate(data, size, room);
    prepare(&image);
    image_decode(&image, data, size);
    image_repair(&image, &contents, false);
    for (uint32_t n = 1 + below(4); n > 0; n--) mutate_once();
    /* Entries that were changed lead elsewhere: there is to repair, too. Twice, as SEAL and TAIL
     * are only known afterwards. */
    if (below(8) > 0) image_repair(&image, &contents, true);
    size_t now = image_encode(&image, data, room);
    return now > 0 ? now : size;
}

/* Some blocks of another file. */
size_t LLVMFuzzerCustomCrossOver(const uint8_t *a, size_t a_size, const uint8_t *b, size_t b_size,
                                 uint8_t *out, size_t room, unsigned seed)
{
    dice = seed * UINT64_C(0x9E3779B97F4A7C15) + 1;
    prepare(&image);
    prepare(&other);
    image_decode(&image, a, a_size);
    image_decode(&other, b, b_size);
    for (uint32_t n = 1 + below(3); n > 0; n--) {
        uint32_t at = (below(4) == 0 ? 0 : HEAP_AT) + below(16) * BLOCK_BYTES;
        memcpy(image.bytes + at, other.bytes + at, BLOCK_BYTES * (1 + below(2)));
    }
    if (image.size < other.size && below(2)) image.size = other.size;
    image_repair(&image, &contents, true);
    return image_encode(&image, out, room);
}
