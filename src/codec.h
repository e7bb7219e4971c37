/* codec.h -- the compression codecs of batches, as Kafka frames them
 *
 * The numbers are Kafka's (attributes of a batch, bits 0 to 2). Each codec is a library of the
 * system that a build may leave out: BECK_WITH_ZLIB, _SNAPPY, _LZ4, _ZSTD say which are in. */
#ifndef CODEC_H
#define CODEC_H

#include "base.h"
#include "buf.h"

enum codec { CODEC_NONE, CODEC_GZIP, CODEC_SNAPPY, CODEC_LZ4, CODEC_ZSTD, CODEC_COUNT };

/* 0, or UNSUPPORTED with words about what is missing. */
BECK_PRIVATE int codec_check(unsigned codec);
/* The same for who wants to compress, with a library that is known to do so wrongly somewhere. */
BECK_PRIVATE int codec_check_compress(unsigned codec);

/* What the libraries like to keep from one use to the next; zeros at first. One thread at a time.
 */
struct codec_tools {
    void *compress[CODEC_COUNT];
    void *decompress[CODEC_COUNT];
};
BECK_PRIVATE void codec_free(struct codec_tools *tools);

/* Compress into `to`; *used is how much it became, 0 when it does not get smaller. `room` must be
 * codec_room(bytes). UNSUPPORTED, NOMEM. */
BECK_PRIVATE size_t codec_room(unsigned codec, size_t bytes);
BECK_PRIVATE int codec_compress(struct codec_tools *tools, unsigned codec, const uint8_t *data,
                                size_t bytes, uint8_t *to, size_t room, size_t *used);
/* Decompress into `out`, which is emptied first and never grows beyond `limit`: TOO_LARGE. What
 * cannot be right is CORRUPT. UNSUPPORTED, NOMEM. */
BECK_PRIVATE int codec_decompress(struct codec_tools *tools, unsigned codec, const uint8_t *data,
                                  size_t bytes, size_t limit, struct buf *out);

#endif
