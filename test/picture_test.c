/* picture_test.c -- entries applied one by one, those that lie, and snapshots that say the same */
#include "picture.h"

#include <string.h>

#include "test.h"

#define T1 TOPIC_USER_FIRST
#define T2 (TOPIC_USER_FIRST + 1)

static struct picture p;

static int apply(struct entry e)
{
    return picture_apply(&p, &e);
}

static int topic(uint64_t id, const char *name, uint32_t partitions, const char *settings)
{
    return apply((struct entry){.type = ENTRY_TOPIC,
                                .topic = id,
                                .partitions = partitions,
                                .name = name,
                                .name_bytes = (uint32_t)strlen(name),
                                .settings = settings,
                                .settings_bytes = (uint32_t)strlen(settings)});
}

/* `block` counts from the heap. */
static int add(uint64_t id, uint64_t to, uint64_t base, uint32_t block, uint32_t blocks)
{
    return apply((struct entry){
        .type = ENTRY_ADD,
        .topic = to,
        .place = {.id = id, .salt = 5, .block = HEAP_BLOCK + block, .blocks = blocks},
        .base_offset = base});
}

static int seal(uint64_t id, uint64_t next, uint32_t kept)
{
    return apply((struct entry){.type = ENTRY_SEAL,
                                .place = {.id = id, .blocks = kept},
                                .next_offset = next,
                                .stable_offset = next,
                                .max_timestamp = (int64_t)(next % OFFSET_MAX) * 10,
                                .end = 200,
                                .index_at = 200,
                                .index_bytes = 48});
}

static int retire(uint64_t id, uint64_t next)
{
    return apply((struct entry){.type = ENTRY_RETIRE, .place = {.id = id}, .next_offset = next});
}

static int free_segment(uint64_t id)
{
    return apply((struct entry){.type = ENTRY_FREE, .place = {.id = id}});
}

static int tail(uint64_t of, uint64_t segment, uint64_t next, uint32_t end)
{
    return apply((struct entry){.type = ENTRY_TAIL,
                                .topic = of,
                                .place = {.id = segment},
                                .next_offset = next,
                                .max_timestamp = 3,
                                .end = end,
                                .chain = 9});
}

static int delete_topic(uint64_t id)
{
    return apply((struct entry){.type = ENTRY_DELETE, .topic = id});
}

/* ---- What entries say ---- */

START_TEST(topics_are_found_by_name_and_id)
{
    ck_assert_int_eq(topic(T2, "b", 2, ""), BECK_OK);
    ck_assert_int_eq(topic(T1, "c", 1, "sync=os\nflush.ms=7"), BECK_OK);
    ck_assert_int_eq(topic(T2 + 5, "a", 3, ""), BECK_OK);
    ck_assert_uint_eq(picture_topic_by_name(&p, "c")->id, T1);
    ck_assert_str_eq(picture_topic_by_id(&p, T2)->name, "b");
    ck_assert_str_eq(p.by_name[0]->name, "a");
    ck_assert_uint_eq(p.by_id[0]->id, T1);
    ck_assert_ptr_null(picture_topic_by_name(&p, "d"));
    ck_assert_ptr_null(picture_topic_by_id(&p, T2 + 1));
    ck_assert_ptr_nonnull(picture_partition(&p, T2, 1));
    ck_assert_ptr_null(picture_partition(&p, T2, 2));
    ck_assert_uint_eq(p.by_id[0]->config.sync, BECK_SYNC_OS);
    ck_assert_uint_eq(p.by_id[0]->config.flush_ms, 7);
    ck_assert_int_eq(delete_topic(T2), BECK_OK);
    ck_assert_ptr_null(picture_topic_by_name(&p, "b"));
    ck_assert_uint_eq(picture_topic_by_name(&p, "a")->id, T2 + 5);
    picture_free(&p);
}
END_TEST

START_TEST(a_topic_is_altered_in_place)
{
    ck_assert_int_eq(topic(T1, "t", 1, ""), BECK_OK);
    ck_assert_int_eq(add(3, T1, 0, 0, 1), BECK_OK);
    ck_assert_int_eq(topic(T1, "t", 4, "segment.bytes=65536"), BECK_OK);
    ck_assert_uint_eq(p.by_id[0]->config.segment_bytes, 65536);
    ck_assert_uint_eq(p.by_id[0]->config.partitions, 4);
    ck_assert_uint_eq(picture_partition(&p, T1, 0)->count, 1);
    ck_assert_uint_eq(picture_partition(&p, T1, 3)->cell, NO_CELL);
    picture_free(&p);
}
END_TEST

START_TEST(impossible_topics_are_refused)
{
    ck_assert_int_eq(topic(T1, "t", 2, ""), BECK_OK);
    ck_assert_int_eq(topic(T1, "u", 2, ""), BECK_CORRUPT);
    ck_assert_int_eq(topic(T1, "tt", 2, ""), BECK_CORRUPT);
    ck_assert_int_eq(topic(T1, "t", 1, ""), BECK_CORRUPT);
    ck_assert_int_eq(topic(T2, "t", 1, ""), BECK_CORRUPT);
    ck_assert_int_eq(topic(T2, "u", 0, ""), BECK_CORRUPT);
    ck_assert_int_eq(topic(T2, "u", BECK_PARTITIONS_MAX + 1, ""), BECK_CORRUPT);
    ck_assert_int_eq(topic(TOPIC_USER_FIRST - 1, "u", 1, ""), BECK_CORRUPT);
    ck_assert_int_eq(topic(T2, "u", 1, "segment.bytes=1"), BECK_CORRUPT);
    static const char *const names[] = {".", "..", "a/b", "a b", "\x1b[2J", "\xc3\xa4", "a\n"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        ck_assert_int_eq(topic(T2, names[i], 1, ""), BECK_CORRUPT);
    ck_assert_int_eq(apply((struct entry){.type = ENTRY_TOPIC,
                                          .topic = T2,
                                          .partitions = 1,
                                          .name = "a\0b",
                                          .name_bytes = 3,
                                          .settings = ""}),
                     BECK_CORRUPT);
    ck_assert_int_eq(delete_topic(T2), BECK_CORRUPT);
    ck_assert_int_eq(apply((struct entry){.type = ENTRY_LINK}), BECK_CORRUPT);
    ck_assert_uint_eq(p.topics, 1);
    picture_free(&p);
}
END_TEST

/* [K1] The next ids lie above every id ever seen, also of what was deleted, freed or only named by
 * IDS; a segment id that is in use is refused. */
START_TEST(ids_are_never_given_twice)
{
    ck_assert_int_eq(topic(T2, "t", 1, ""), BECK_OK);
    ck_assert_uint_eq(p.next_topic, T2 + 1);
    ck_assert_int_eq(add(30, T2, 0, 0, 1), BECK_OK);
    ck_assert_uint_eq(p.next_segment, 31);
    ck_assert_int_eq(seal(30, 5, 1), BECK_OK);
    ck_assert_int_eq(add(30, T2, 5, 1, 1), BECK_CORRUPT);
    ck_assert_int_eq(delete_topic(T2), BECK_OK);
    ck_assert_int_eq(free_segment(30), BECK_OK);
    ck_assert_uint_eq(p.next_topic, T2 + 1);
    ck_assert_uint_eq(p.next_segment, 31);
    /* The last one would leave no next. */
    ck_assert_int_eq(topic(OFFSET_MAX, "last", 1, ""), BECK_CORRUPT);
    ck_assert_int_eq(topic(T2 + 1, "u", 1, ""), BECK_OK);
    ck_assert_int_eq(add(OFFSET_MAX, T2 + 1, 0, 0, 1), BECK_CORRUPT);
    ck_assert_int_eq(delete_topic(T2 + 1), BECK_OK);
    const struct entry ids = {.type = ENTRY_IDS, .topic = 900, .next_id = 800};
    const struct entry lower = {.type = ENTRY_IDS, .topic = 20, .next_id = 20};
    ck_assert_int_eq(apply(ids), BECK_OK);
    ck_assert_int_eq(apply(lower), BECK_OK);
    ck_assert_uint_eq(p.next_topic, 900);
    ck_assert_uint_eq(p.next_segment, 800);
    picture_free(&p);
}
END_TEST

/* [K2] No second unsealed segment, no base offset below the end of the segment before. */
START_TEST(only_the_last_segment_is_open)
{
    ck_assert_int_eq(topic(T1, "t", 1, ""), BECK_OK);
    struct partition_picture *part = picture_partition(&p, T1, 0);
    ck_assert_ptr_null(partition_active(part));
    ck_assert_int_eq(add(3, T1, 10, 0, 1), BECK_OK);
    ck_assert_uint_eq(partition_active(part)->place.id, 3);
    ck_assert_int_eq(add(4, T1, 20, 1, 1), BECK_CORRUPT);
    ck_assert_int_eq(seal(3, 20, 1), BECK_OK);
    ck_assert_ptr_null(partition_active(part));
    ck_assert_int_eq(add(4, T1, 19, 1, 1), BECK_CORRUPT);
    ck_assert_int_eq(add(4, T1, 25, 1, 1), BECK_OK); /* later: records were lost */
    ck_assert_uint_eq(partition_active(part)->place.id, 4);
    ck_assert_uint_eq(part->next, 25);
    picture_free(&p);
}
END_TEST

/* [K3] Segments that are in use, or retired and not freed, share no block. */
START_TEST(segments_do_not_overlap)
{
    ck_assert_int_eq(topic(T1, "t", 1, ""), BECK_OK);
    ck_assert_int_eq(topic(T2, "u", 1, ""), BECK_OK);
    ck_assert_int_eq(add(3, T1, 0, 4, 4), BECK_OK);
    ck_assert_int_eq(add(4, T2, 0, 7, 1), BECK_CORRUPT);
    ck_assert_int_eq(add(4, T2, 0, 0, 5), BECK_CORRUPT);
    ck_assert_int_eq(seal(3, 5, 2), BECK_OK); /* gives the last two back */
    ck_assert_int_eq(add(4, T2, 0, 6, 2), BECK_OK);
    ck_assert_int_eq(delete_topic(T1), BECK_OK);
    ck_assert_int_eq(seal(4, 5, 2), BECK_OK);
    ck_assert_int_eq(add(5, T2, 5, 4, 2), BECK_CORRUPT); /* retired */
    ck_assert_int_eq(free_segment(3), BECK_OK);
    ck_assert_int_eq(add(5, T2, 5, 4, 2), BECK_OK);
    ck_assert_uint_eq(space_used(&p.space), 4);
    picture_free(&p);
}
END_TEST

START_TEST(a_seal_says_what_the_segment_holds)
{
    ck_assert_int_eq(topic(T1, "t", 1, ""), BECK_OK);
    ck_assert_int_eq(add(3, T1, 10, 0, 4), BECK_OK);
    ck_assert_int_eq(seal(3, 20, 2), BECK_OK);
    const struct partition_picture *part = picture_partition(&p, T1, 0);
    const struct segment *s = partition_segment(part, 3);
    ck_assert(s->sealed);
    ck_assert_uint_eq(s->next, 20);
    ck_assert_uint_eq(s->stable, 20);
    ck_assert_uint_eq(s->place.blocks, 2);
    ck_assert_uint_eq(s->place.salt, 5);
    ck_assert_uint_eq(s->end, 200);
    ck_assert_uint_eq(part->next, 20);
    ck_assert_int_eq(part->max_timestamp, 200);
    ck_assert_int_eq(seal(3, 15, 1), BECK_OK); /* a cut */
    ck_assert_uint_eq(part->next, 15);
    ck_assert_int_eq(seal(3, 10, 0), BECK_OK); /* nothing is left */
    ck_assert_uint_eq(part->count, 0);
    ck_assert_uint_eq(p.owner_count, 0);
    ck_assert_uint_eq(space_used(&p.space), 0);
    picture_free(&p);
}
END_TEST

START_TEST(impossible_seals_are_refused)
{
    ck_assert_int_eq(topic(T1, "t", 1, ""), BECK_OK);
    ck_assert_int_eq(add(3, T1, 10, 0, 1), BECK_OK);
    const struct entry good = {.type = ENTRY_SEAL,
                               .place = {.id = 3, .blocks = 1},
                               .next_offset = 20,
                               .stable_offset = 20,
                               .end = 200};
    struct entry bad[9];
    for (int i = 0; i < 9; i++) bad[i] = good;
    bad[0].place.id = 4;
    bad[1].next_offset = 9;
    bad[2].place.blocks = 2;
    bad[3].end = BLOCK_BYTES + 1;
    bad[4].index_at = bad[4].index_bytes = BLOCK_BYTES / 2 + 1;
    bad[5].stable_offset = 21;
    bad[6].end = SEGMENT_HEADER_BYTES - FRAME_ALIGN;
    bad[7].end = 201;
    bad[8].index_bytes = BLOCK_BYTES + 1;
    for (int i = 0; i < 9; i++) ck_assert_int_eq(apply(bad[i]), BECK_CORRUPT);
    ck_assert_ptr_nonnull(partition_active(picture_partition(&p, T1, 0)));
    bad[0] = good; /* the limits themselves are possible */
    bad[0].end = BLOCK_BYTES;
    bad[0].next_offset = bad[0].stable_offset = 10;
    ck_assert_int_eq(apply(bad[0]), BECK_OK);
    bad[0].end = SEGMENT_HEADER_BYTES;
    bad[0].index_at = bad[0].index_bytes = BLOCK_BYTES / 2;
    ck_assert_int_eq(apply(bad[0]), BECK_OK);
    ck_assert_int_eq(apply(good), BECK_OK);
    ck_assert_int_eq(add(5, T1, 20, 4, 1), BECK_OK); /* again, but not into the one behind it */
    ck_assert_int_eq(seal(3, 21, 1), BECK_CORRUPT);
    ck_assert_int_eq(seal(3, 19, 1), BECK_OK);
    picture_free(&p);
}
END_TEST

/* Numbers that no library can have written, each for itself; the largest possible is no error. */
START_TEST(impossible_numbers_are_refused)
{
    ck_assert_int_eq(topic(T1, "t", 1, ""), BECK_OK);
    const struct entry good = {.type = ENTRY_ADD,
                               .topic = T1,
                               .place = {.id = OFFSET_MAX - 1, .block = HEAP_BLOCK, .blocks = 1},
                               .base_offset = OFFSET_MAX};
    struct entry bad[8];
    for (int i = 0; i < 8; i++) bad[i] = good;
    bad[0].place.id = OFFSET_MAX; /* behind it there must be a next one */
    bad[1].topic = OFFSET_MAX;
    bad[2].next_id = OFFSET_MAX + 1;
    bad[3].base_offset = OFFSET_MAX + 1;
    bad[4].next_offset = OFFSET_MAX + 1;
    bad[5].place.blocks = SEGMENT_BYTES_LIMIT / BLOCK_BYTES + 2;
    bad[6].topic = T2;
    bad[7].partition = 1;
    for (int i = 0; i < 8; i++) ck_assert_int_eq(apply(bad[i]), BECK_CORRUPT);
    ck_assert_uint_eq(p.owner_count, 0);
    ck_assert_uint_eq(space_used(&p.space), 0);
    ck_assert_int_eq(apply(good), BECK_OK);
    const struct entry ids = {.type = ENTRY_IDS, .topic = OFFSET_MAX, .next_id = OFFSET_MAX};
    ck_assert_int_eq(apply(ids), BECK_OK);
    ck_assert_int_eq(seal(OFFSET_MAX - 1, OFFSET_MAX, 1), BECK_OK);
    struct entry large = good;
    large.place.id = 7;
    large.place.block += 1;
    large.place.blocks = SEGMENT_BYTES_LIMIT / BLOCK_BYTES + 1;
    ck_assert_int_eq(apply(large), BECK_OK);
    picture_free(&p);
}
END_TEST

/* A segment in the middle: those behind it stay where they are, and the partition's start too. */
START_TEST(a_segment_retired_in_the_middle_moves_no_end)
{
    ck_assert_int_eq(topic(T1, "t", 1, ""), BECK_OK);
    const struct partition_picture *part = picture_partition(&p, T1, 0);
    for (uint32_t i = 0; i < 3; i++) {
        ck_assert_int_eq(add(3 + i, T1, i * 10, i, 1), BECK_OK);
        ck_assert_int_eq(seal(3 + i, i * 10 + 10, 1), BECK_OK);
    }
    ck_assert_int_eq(retire(4, 20), BECK_OK);
    ck_assert_uint_eq(part->start, 0);
    ck_assert_uint_eq(part->next, 30);
    ck_assert_uint_eq(partition_locate(part, 15)->place.id, 5);
    ck_assert_int_eq(retire(5, 35), BECK_OK);
    ck_assert_uint_eq(part->next, 30);
    ck_assert_int_eq(retire(3, 40), BECK_OK); /* the last of all: what it says is where to go on */
    ck_assert_uint_eq(part->start, 40);
    ck_assert_uint_eq(part->next, 40);
    ck_assert_ptr_nonnull(picture_retired(&p, 4));
    ck_assert_ptr_nonnull(picture_retired(&p, 5));
    ck_assert_ptr_null(picture_retired(&p, 6));
    ck_assert_ptr_nonnull(picture_retired_topic(&p, T1));
    ck_assert_ptr_null(picture_retired_topic(&p, T2));
    picture_free(&p);
}
END_TEST

START_TEST(retired_segments_leave_and_are_freed_once)
{
    ck_assert_int_eq(topic(T1, "t", 1, ""), BECK_OK);
    ck_assert_int_eq(add(3, T1, 0, 0, 1), BECK_OK);
    ck_assert_int_eq(seal(3, 10, 1), BECK_OK);
    ck_assert_int_eq(add(4, T1, 10, 1, 1), BECK_OK);
    ck_assert_int_eq(retire(3, 11), BECK_CORRUPT); /* it would begin behind what follows */
    ck_assert_int_eq(retire(3, 10), BECK_OK);
    const struct partition_picture *part = picture_partition(&p, T1, 0);
    ck_assert_uint_eq(part->start, 10);
    ck_assert_uint_eq(part->count, 1);
    ck_assert_ptr_null(picture_owner(&p, 3));
    ck_assert_ptr_nonnull(picture_owner(&p, 4));
    ck_assert_uint_eq(p.retired_count, 1);
    ck_assert_uint_eq(p.retired[0].topic, T1);
    ck_assert_int_eq(retire(3, 10), BECK_CORRUPT);
    ck_assert_int_eq(free_segment(4), BECK_CORRUPT);
    ck_assert_int_eq(free_segment(3), BECK_OK);
    ck_assert_int_eq(free_segment(3), BECK_CORRUPT);
    picture_free(&p);
}
END_TEST

START_TEST(offsets_are_located)
{
    ck_assert_int_eq(topic(T1, "t", 1, ""), BECK_OK);
    const struct partition_picture *part = picture_partition(&p, T1, 0);
    ck_assert_ptr_null(partition_locate(part, 0));
    for (uint32_t i = 0; i < 9; i++) {
        ck_assert_int_eq(add(3 + i, T1, i * 10, i, 1), BECK_OK);
        if (i < 8) ck_assert_int_eq(seal(3 + i, i * 10 + 8, 1), BECK_OK);
    }
    for (uint64_t offset = 0; offset < 100; offset++) {
        uint64_t segment = offset / 10 + (offset % 10 >= 8); /* 8 and 9 of each are lost */
        ck_assert_uint_eq(partition_locate(part, offset)->place.id,
                          3 + (segment < 8 ? segment : 8));
    }
    picture_free(&p);
}
END_TEST

START_TEST(a_tail_holds_until_the_partition_goes_on)
{
    ck_assert_int_eq(topic(T1, "t", 1, ""), BECK_OK);
    const struct partition_picture *part = picture_partition(&p, T1, 0);
    ck_assert_int_eq(add(3, T1, 0, 0, 1), BECK_OK);
    ck_assert_int_eq(tail(T1, 3, 7, 320), BECK_OK);
    ck_assert(part->has_tail);
    ck_assert_uint_eq(part->next, 7);
    ck_assert_uint_eq(part->tail_end, 320);
    ck_assert_uint_eq(part->tail_chain, 9);
    ck_assert_int_eq(tail(T1, 4, 7, 320), BECK_CORRUPT);
    ck_assert_int_eq(tail(T1, 0, 7, 0), BECK_CORRUPT);
    ck_assert_int_eq(tail(T1, 3, 7, 324), BECK_CORRUPT);
    ck_assert_int_eq(tail(T1, 3, 7, 56), BECK_CORRUPT);
    ck_assert_int_eq(tail(T1, 3, 7, BLOCK_BYTES + 8), BECK_CORRUPT);
    ck_assert_int_eq(tail(T1, 3, 7, SEGMENT_HEADER_BYTES), BECK_OK);
    ck_assert_int_eq(tail(T1, 3, 7, BLOCK_BYTES), BECK_OK);
    ck_assert_int_eq(tail(T2, 3, 7, 320), BECK_CORRUPT);
    ck_assert_int_eq(seal(3, 9, 1), BECK_OK);
    ck_assert(!part->has_tail);
    ck_assert_int_eq(tail(T1, 0, 8, 0), BECK_CORRUPT);
    ck_assert_int_eq(tail(T1, 0, 9, 0), BECK_OK);
    ck_assert_int_eq(add(4, T1, 9, 1, 1), BECK_OK);
    ck_assert_int_eq(tail(T1, 4, 8, 320), BECK_CORRUPT);
    ck_assert_int_eq(tail(T1, 4, 9, 320), BECK_OK);
    picture_free(&p);
}
END_TEST

/* ---- Snapshots ---- */

static struct entry *taken;
static size_t taken_count;

static int take(void *context, const struct entry *e)
{
    (void)context;
    taken = realloc(taken, (taken_count + 1) * sizeof *taken);
    taken[taken_count++] = *e;
    return 0;
}

static int refuse(void *context, const struct entry *e)
{
    (void)e;
    return ++*(int *)context == 3 ? BECK_FULL : 0;
}

static void expect_same_partition(const struct partition_picture *a,
                                  const struct partition_picture *b)
{
    ck_assert_uint_eq(a->count, b->count);
    ck_assert_uint_eq(a->next, b->next);
    ck_assert_int_eq(a->max_timestamp, b->max_timestamp);
    ck_assert_uint_eq(a->tail_segment, b->tail_segment);
    ck_assert_uint_eq(a->tail_end, b->tail_end);
    ck_assert_uint_eq(a->tail_chain, b->tail_chain);
    ck_assert(b->has_tail || !a->has_tail);
    for (uint32_t i = 0; i < a->count; i++) {
        const struct segment *s = &a->segments[i], *t = &b->segments[i];
        ck_assert_uint_eq(s->place.id, t->place.id);
        ck_assert_uint_eq(s->place.salt, t->place.salt);
        ck_assert_uint_eq(s->place.block, t->place.block);
        ck_assert_uint_eq(s->place.blocks, t->place.blocks);
        ck_assert_uint_eq(s->base, t->base);
        ck_assert_uint_eq(s->next, t->next);
        ck_assert_uint_eq(s->stable, t->stable);
        ck_assert_uint_eq(s->end, t->end);
        ck_assert_uint_eq(s->index_at, t->index_at);
        ck_assert_uint_eq(s->index_bytes, t->index_bytes);
        ck_assert_int_eq(s->sealed, t->sealed);
    }
}

START_TEST(a_snapshot_names_no_segment_that_is_gone)
{
    ck_assert_int_eq(topic(T1, "t", 1, ""), BECK_OK);
    ck_assert_int_eq(add(5, T1, 0, 0, 1), BECK_OK);
    ck_assert_int_eq(tail(T1, 5, 20, 320), BECK_OK);
    ck_assert_int_eq(retire(5, 20), BECK_OK);
    ck_assert_int_eq(free_segment(5), BECK_OK);
    ck_assert_int_eq(picture_each_entry(&p, take, NULL), BECK_OK);
    struct picture before = p; /* the entries point into it */
    memset(&p, 0, sizeof p);
    for (size_t i = 0; i < taken_count; i++) ck_assert_int_eq(apply(taken[i]), BECK_OK);
    ck_assert_uint_eq(picture_partition(&p, T1, 0)->next, 20);
    picture_free(&p);
    picture_free(&before);
    free(taken);
}
END_TEST

START_TEST(a_snapshot_says_the_same)
{
    ck_assert_int_eq(topic(T1, "t", 2, "sync=os"), BECK_OK);
    ck_assert_int_eq(topic(T2, "u", 1, ""), BECK_OK);
    ck_assert_int_eq(add(3, T1, 0, 0, 3), BECK_OK);
    ck_assert_int_eq(seal(3, 10, 2), BECK_OK);
    ck_assert_int_eq(add(4, T1, 12, 3, 1), BECK_OK);
    ck_assert_int_eq(seal(4, 14, 1), BECK_OK);
    ck_assert_int_eq(retire(3, 10), BECK_OK);
    ck_assert_int_eq(free_segment(3), BECK_OK);
    ck_assert_int_eq(add(5, T1, 14, 4, 1), BECK_OK);
    ck_assert_int_eq(tail(T1, 5, 20, 320), BECK_OK);
    ck_assert_int_eq(add(6, T2, 3, 5, 1), BECK_OK);
    ck_assert_int_eq(seal(6, 9, 1), BECK_OK);
    ck_assert_int_eq(retire(6, 9), BECK_OK); /* without segments it begins at 9 */
    ck_assert_int_eq(free_segment(6), BECK_OK);
    ck_assert_int_eq(picture_each_entry(&p, take, NULL), BECK_OK);

    struct picture first = p;
    memset(&p, 0, sizeof p);
    for (size_t i = 0; i < taken_count; i++) ck_assert_int_eq(apply(taken[i]), BECK_OK);
    ck_assert_uint_eq(p.topics, 2);
    ck_assert_uint_eq(p.next_topic, first.next_topic);
    ck_assert_uint_eq(p.next_segment, first.next_segment);
    ck_assert_uint_eq(space_used(&p.space), space_used(&first.space));
    for (size_t i = 0; i < p.topics; i++) {
        ck_assert_str_eq(p.by_id[i]->name, first.by_id[i]->name);
        ck_assert_str_eq(p.by_id[i]->settings, first.by_id[i]->settings);
        ck_assert_uint_eq(p.by_id[i]->partitions, first.by_id[i]->partitions);
        expect_same_partition(&first.by_id[i]->parts[0], &p.by_id[i]->parts[0]);
    }
    int calls = 0;
    ck_assert_int_eq(picture_each_entry(&p, refuse, &calls), BECK_FULL);
    ck_assert_int_eq(calls, 3);
    picture_free(&first);
    picture_free(&p);
    free(taken);
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("picture");
    TCase *c = tcase_create("entries");
    tcase_add_test(c, topics_are_found_by_name_and_id);
    tcase_add_test(c, a_topic_is_altered_in_place);
    tcase_add_test(c, impossible_topics_are_refused);
    tcase_add_test(c, ids_are_never_given_twice);
    tcase_add_test(c, only_the_last_segment_is_open);
    tcase_add_test(c, segments_do_not_overlap);
    tcase_add_test(c, a_seal_says_what_the_segment_holds);
    tcase_add_test(c, impossible_seals_are_refused);
    tcase_add_test(c, impossible_numbers_are_refused);
    tcase_add_test(c, a_segment_retired_in_the_middle_moves_no_end);
    tcase_add_test(c, retired_segments_leave_and_are_freed_once);
    tcase_add_test(c, offsets_are_located);
    tcase_add_test(c, a_tail_holds_until_the_partition_goes_on);
    suite_add_tcase(s, c);
    c = tcase_create("snapshot");
    tcase_add_test(c, a_snapshot_names_no_segment_that_is_gone);
    tcase_add_test(c, a_snapshot_says_the_same);
    suite_add_tcase(s, c);
    return s;
}
