/* repair.c -- what an image holds, and its checksums made right again */
#include "repair.h"

#include "batch.h"
#include "bytes.h"
#include "crc32c.h"
#include "log.h"

static struct {
    struct image *image;
    struct contents *found;
    bool fix;
} work;

static void note(uint32_t at, uint8_t bytes, bool big)
{
    struct contents *c = work.found;
    if (c->spot_count < SPOTS_MAX) c->spots[c->spot_count++] = (struct spot){at, bytes, big};
}

/* Numbers that follow each other: a digit for each, its size in bytes. */
static void note_all(uint32_t at, const char *sizes, bool big)
{
    for (; *sizes != 0; sizes++) {
        note(at, (uint8_t)(*sizes - '0'), big);
        at += (uint32_t)(*sizes - '0');
    }
}

static uint32_t position_of(const void *inside)
{
    return (uint32_t)((const uint8_t *)inside - work.image->bytes);
}

static void repair_super(uint32_t at)
{
    uint8_t *p = work.image->bytes + at;
    if (work.fix) put_le32(p + 252, crc32c(0, p, 252));
    note_all(at + 16, "4444448", false);
    note_all(at + 64, "4484488488", false);
    note_all(at + 128, "88", false);
}

/* ---- Segments and frames ---- */

static struct image_segment *add_segment(const struct segment_place *place, bool catalog)
{
    struct contents *c = work.found;
    uint64_t at = place_at(place);
    if (c->segment_count == SEGMENTS_MAX || at < HEAP_AT || at + BLOCK_BYTES > IMAGE_BYTES)
        return NULL;
    for (uint32_t i = 0; i < c->segment_count; i++)
        if (c->segments[i].place.block == place->block) return NULL;
    struct image_segment *s = &c->segments[c->segment_count++];
    *s = (struct image_segment){.place = *place, .end = SEGMENT_HEADER_BYTES, .catalog = catalog};
    uint8_t *header = work.image->bytes + at;
    if (work.fix) put_le32(header + 60, crc32c(0, header, 60));
    s->next = get_le64(header + 48);
    note_all((uint32_t)at + 24, "88448", false);
    note((uint32_t)at + 56, 4, false);
    return s;
}

static uint32_t segment_limit(const struct image_segment *s)
{
    uint64_t left = IMAGE_BYTES - place_at(&s->place);
    return (uint32_t)min_u64(place_bytes(&s->place), left);
}

static void note_records(uint8_t *bytes, const struct batch *batch)
{
    struct batch_walk walk;
    beck_record record;
    const uint8_t *headers;
    note_all(position_of(bytes), "844144", true);
    note_all(position_of(bytes) + 21, "24888244", true);
    if (batch_walk_begin(&walk, bytes, batch, NULL, 0) < 0) return;
    while (batch_walk_next(&walk, &record, &headers) > 0) note(position_of(headers), 1, false);
}

/* Make the frame at the segment's end intact; false when there is none. */
static bool repair_frame(struct image_segment *s)
{
    struct contents *c = work.found;
    uint32_t limit = segment_limit(s), at = (uint32_t)place_at(&s->place) + s->end;
    uint8_t *p = work.image->bytes + at, *bytes = p + FRAME_BYTES;
    struct frame f;
    struct batch batch;
    if (s->end + FRAME_BYTES + BATCH_HEADER_BYTES > limit) return false;
    frame_decode(p, &f);
    if (f.length < BATCH_HEADER_BYTES) return false;
    bool inside = f.length <= limit - s->end - FRAME_BYTES;
    if (work.fix) {
        put_be32(bytes + 8, f.length - 12);
        if (inside) put_be32(bytes + 17, crc32c(0, bytes + 21, f.length - 21));
        f.chain = s->chain;
        f.guard = frame_guard(&s->place, s->end, &f, bytes);
        frame_encode(&f, p);
    }
    if (!inside) return false; /* it claims to be larger than the image */
    note_all(at, "4444", false);
    if (batch_parse(bytes, f.length, &batch) == 0) {
        note_records(bytes, &batch);
        s->next = (uint64_t)batch.base_offset + (uint64_t)batch.last_offset_delta + 1;
    }
    if (c->frame_count < FRAMES_MAX)
        c->frames[c->frame_count++] =
            (struct image_frame){at, f.length, (uint32_t)(s - c->segments)};
    s->chain = f.guard;
    s->end += (uint32_t)frame_span(f.length);
    return true;
}

static void repair_index(const struct segment_place *place, uint32_t index_at)
{
    uint64_t at = place_at(place) + index_at;
    if (index_at == 0 || at > IMAGE_BYTES - INDEX_HEADER_BYTES) return;
    uint8_t *p = work.image->bytes + at;
    uint32_t count = get_le32(p + 4);
    if (count > (IMAGE_BYTES - at - INDEX_HEADER_BYTES) / INDEX_ENTRY_BYTES) return;
    if (work.fix) index_header_encode(place, p + INDEX_HEADER_BYTES, count, p);
    note_all((uint32_t)at + 4, "484", false);
    for (uint32_t i = 0; i < count && i < 100; i++)
        note_all((uint32_t)at + INDEX_HEADER_BYTES + i * INDEX_ENTRY_BYTES, "448", false);
}

/* ---- The catalog ---- */

static struct image_segment *segment_of(uint64_t id)
{
    struct contents *c = work.found;
    for (uint32_t i = 0; i < c->segment_count; i++)
        if (c->segments[i].place.id == id) return &c->segments[i];
    return NULL;
}

/* What an entry leads to; a LINK gives the next segment of the catalog. */
static void follow_entry(const struct entry *e, uint32_t at, struct segment_place *link)
{
    struct image_segment *s;
    if (e->type == ENTRY_LINK) *link = e->place;
    if (e->type == ENTRY_ADD && (s = add_segment(&e->place, false)) != NULL) {
        s->entry_at = at;
        while (repair_frame(s)) continue;
    }
    if (e->type == ENTRY_SEAL && (s = segment_of(e->place.id)) != NULL)
        repair_index(&s->place, e->index_at);
}

static void follow_batch(const struct image_frame *frame, struct segment_place *link)
{
    struct batch batch;
    struct batch_walk walk;
    beck_record record;
    const uint8_t *headers, *bytes = work.image->bytes + frame->at + FRAME_BYTES;
    struct entry e;
    if (batch_parse(bytes, frame->length, &batch) < 0) return;
    if (batch_walk_begin(&walk, bytes, &batch, NULL, 0) < 0) return;
    while (batch_walk_next(&walk, &record, &headers) > 0) {
        if (record.value_size < 4) continue;
        note_all(position_of(record.value), "11", false);
        for (uint32_t at = 4; at + 4 <= record.value_size && at < 56; at += 4) {
            note(position_of(record.value) + at, 4, false);
            if (at + 8 <= record.value_size) note(position_of(record.value) + at, 8, false);
        }
        if (entry_decode(record.value, record.value_size, &e) == 0)
            follow_entry(&e, position_of(record.value), link);
    }
}

/* One segment of the catalog; `link` becomes the next. */
static bool follow_catalog(struct segment_place *link)
{
    struct contents *c = work.found;
    struct image_segment *s = add_segment(link, true);
    if (s == NULL) return false;
    uint32_t from = c->frame_count, index = (uint32_t)(s - c->segments);
    while (repair_frame(s)) continue;
    uint32_t to = c->frame_count;
    if (to > from) c->catalog_last = index;
    *link = (struct segment_place){0};
    for (uint32_t i = from; i < to; i++) follow_batch(&c->frames[i], link);
    return link->id != 0;
}

void image_repair(struct image *image, struct contents *contents, bool fix)
{
    struct superblock super = {0};
    work.image = image;
    work.found = contents;
    work.fix = fix;
    contents->spot_count = contents->frame_count = 0;
    contents->segment_count = contents->catalog_last = 0;
    repair_super(SUPER_A_AT);
    repair_super(SUPER_B_AT);
    uint8_t *a = image->bytes + SUPER_A_AT, *b = image->bytes + SUPER_B_AT;
    (void)super_decode(get_le64(b + 40) > get_le64(a + 40) ? b : a, &super);
    struct segment_place link = super.root;
    while (follow_catalog(&link)) continue;
}
