/* picture_fuzz.c -- entries of the catalog, one after the other, and the picture they give
 *
 * What each entry is made of comes from the input, mostly small numbers, so that entries mean each
 * other. As long as they apply: no two segments overlap, and a snapshot of the picture gives the
 * same snapshot again. */
#include "bytes.h"
#include "fuzz.h"
#include "picture.h"

/* A byte, or all eight. */
static uint64_t number(struct fuzz_input *in)
{
    uint8_t small = fuzz_byte(in);
    return small == 255 ? fuzz_number(in, 8) : small;
}

static struct entry make_entry(struct fuzz_input *in)
{
    static const char *const names[] = {"a", "bb", "c", "d"};
    static const char *const settings[] = {"", "sync=os", "max.message.bytes=1000", "x=y\nz"};
    struct entry e = {.type = (uint8_t)(fuzz_byte(in) % 12)};
    e.place.id = number(in);
    e.topic = number(in);
    uint8_t more = fuzz_byte(in); /* what is zero mostly */
    if (more & 1) e.partition = (uint32_t)number(in);
    e.partitions = more & 2 ? (uint32_t)number(in) : 1;
    if (more & 4) e.next_offset = number(in);
    if (more & 8) e.base_offset = number(in);
    if (more & 16) e.stable_offset = number(in);
    if (more & 32) e.max_timestamp = (int64_t)number(in);
    if (more & 64) e.index_at = (uint32_t)number(in) * 8, e.index_bytes = (uint32_t)number(in);
    e.end = more & 128 ? (uint32_t)number(in) * 8 : SEGMENT_HEADER_BYTES;
    e.place.block = HEAP_BLOCK + (uint32_t)number(in);
    e.place.blocks = (uint32_t)number(in);
    e.next_id = e.place.id;
    e.name = names[e.place.id % 4];
    e.settings = settings[e.place.id / 4 % 4];
    e.name_bytes = (uint32_t)strlen(e.name);
    e.settings_bytes = (uint32_t)strlen(e.settings);
    return e;
}

/* Through its bytes, which is how entries come; raw ones now and then. */
static int read_entry(struct fuzz_input *in, uint8_t *bytes, struct entry *e)
{
    uint8_t again[ENTRY_BYTES_MAX];
    struct entry made = make_entry(in);
    size_t size = 60;
    if (made.type >= ENTRY_LINK && made.type <= ENTRY_IDS) {
        size = entry_encode(&made, bytes);
    } else {
        const uint8_t *raw = fuzz_bytes(in, &size);
        memcpy(bytes, raw, size);
    }
    int rc = entry_decode(bytes, size, e);
    MUST(rc == 0 || rc == BECK_CORRUPT || rc == BECK_NEWER);
    if (rc == 0) MUST(entry_encode(e, again) == size && memcmp(again, bytes, size) == 0);
    return rc;
}

/* ---- The picture ---- */

static void no_overlap(const struct picture *p)
{
    for (size_t i = 1; i < p->space.count; i++)
        MUST(p->space.runs[i - 1].block + p->space.runs[i - 1].blocks <= p->space.runs[i].block);
    for (size_t i = 1; i < p->owner_count; i++) MUST(p->owners[i - 1].id < p->owners[i].id);
    uint64_t partitions = 0, segments = 0;
    for (size_t i = 0; i < p->topics; i++) {
        const struct topic_picture *t = p->by_id[i];
        partitions += t->partitions;
        MUST(picture_topic_by_name(p, t->name) == t && picture_topic_by_id(p, t->id) == t);
        MUST(i == 0 || p->by_id[i - 1]->id < t->id);
        for (uint32_t k = 0; k < t->partitions; k++) {
            const struct partition_picture *part = &t->parts[k];
            segments += part->count;
            MUST(part->start <= (part->count > 0 ? part->segments[0].base : part->next));
            for (uint32_t s = 0; s < part->count; s++) {
                const struct segment *g = &part->segments[s];
                struct segment_owner *o = picture_owner(p, g->place.id);
                MUST(o != NULL && o->topic == t && o->partition == k);
                MUST(g->sealed || s + 1 == part->count);
                MUST(s == 0 || part->segments[s - 1].next <= g->base);
                MUST(g->next >= g->base);
            }
        }
    }
    MUST(partitions == p->partitions && segments == p->owner_count);
}

struct copying {
    struct picture *to;
    uint64_t sum;
};

static int take(void *context, const struct entry *e)
{
    static uint8_t bytes[ENTRY_BYTES_MAX];
    struct copying *c = context;
    struct entry read;
    size_t size = entry_encode(e, bytes);
    c->sum = fuzz_sum(c->sum, bytes, size);
    MUST(entry_decode(bytes, size, &read) == 0);
    return c->to == NULL ? 0 : picture_apply(c->to, &read);
}

static void snapshot(const struct picture *p)
{
    struct picture copy = {0};
    struct copying one = {&copy, 0}, two = {NULL, 0};
    MUST(picture_each_entry(p, take, &one) == 0);
    no_overlap(&copy);
    MUST(picture_each_entry(&copy, take, &two) == 0);
    MUST(one.sum == two.sum);
    picture_free(&copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t bytes[ENTRY_BYTES_MAX];
    struct fuzz_input in = {data, size};
    struct picture p = {0};
    struct entry e;
    int rc = 0;
    while (rc == 0 && in.left > 0) {
        rc = read_entry(&in, bytes, &e);
        if (rc == 0) rc = picture_apply(&p, &e);
        MUST(rc == 0 || rc == BECK_CORRUPT || rc == BECK_NEWER || rc == BECK_LIMIT);
        if (rc == 0) no_overlap(&p);
    }
    if (rc == 0) snapshot(&p);
    picture_free(&p);
    return 0;
}
