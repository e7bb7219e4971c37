/* index.h -- sparse map of a sealed segment: offset and time to position */
#ifndef INDEX_H
#define INDEX_H

#include "base.h"
#include "buf.h"
#include "coord.h"
#include "file.h"
#include "log.h"

/* Build the index of the frames of `data` (the segment's bytes up to `end`) into `out`, header
 * included. */
BECK_PRIVATE int index_build(const struct segment_place *place, uint64_t base_offset,
                             const uint8_t *data, uint64_t end, struct buf *out);
/* Build the index of a segment whose frames end at `end`, all of them inside the file, and make it
 * stable. What it needs lies behind `end`, *index_at and *index_bytes tell where; both 0 when there
 * is none, which is no error: the segment is only slower to search. A sync that fails poisons. */
BECK_PRIVATE void index_write(struct coord *c, const struct segment_place *place,
                              uint64_t base_offset, uint32_t end, uint32_t *index_at,
                              uint32_t *index_bytes);

/* Where to begin the walk for `offset`, or, with by_time, for the first batch at or after `offset`
 * taken as a time. Without a usable index that is the segment's first frame. */
BECK_PRIVATE struct log_position index_find(const struct file *f, const struct segment_place *place,
                                            uint64_t base_offset, uint32_t index_at,
                                            uint32_t index_bytes, int64_t wanted, bool by_time);
/* Is the stored index whole? 1, 0, or why it could not be read. For check. */
BECK_PRIVATE int index_valid(const struct file *f, const struct segment_place *place,
                             uint32_t index_at, uint32_t index_bytes);

#endif
