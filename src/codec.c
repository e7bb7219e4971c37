/* codec.c -- the compression codecs of batches, as Kafka frames them */
/*
 *     gzip     one gzip member (RFC 1952)
 *     snappy   written as snappy-java does: 16 bytes "\x82SNAPPY\0" version 1, compatible 1, then
 *              blocks of at most 32 KiB, each behind its big-endian length; read raw as well,
 *              which is what librdkafka writes
 *     lz4      one LZ4 frame, blocks of 64 KiB that stand alone, because Kafka's own reader
 *              knows no others
 *     zstd     one frame (RFC 8878)
 *
 * Who wrote the bytes may be hostile: memory grows with what really comes out, doubling, and never
 * beyond the limit; a length that is only claimed is compared with what the input can yield. */
#include "codec.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#ifdef BECK_WITH_ZLIB
#include <zlib.h>
#endif
#ifdef BECK_WITH_SNAPPY
#include <snappy-c.h>
#endif
#ifdef BECK_WITH_LZ4
#include <lz4frame.h>
#endif
#ifdef BECK_WITH_ZSTD
#include <zstd.h>
#include <zstd_errors.h>
#endif

#include "bytes.h"
#include "err.h"

#define OUT_BYTES_FIRST 4096u

typedef size_t room_function(size_t bytes);
typedef int compress_function(void **tool, const uint8_t *data, size_t bytes, uint8_t *to,
                              size_t room, size_t *used);
typedef int decompress_function(void **tool, const uint8_t *data, size_t bytes, size_t limit,
                                struct buf *out);

/* ---- What most of them need ---- */

MAYBE_UNUSED static int no_memory(void)
{
    return err_set(BECK_NOMEM, "out of memory");
}

MAYBE_UNUSED static int damaged(const char *codec)
{
    return err_set(BECK_CORRUPT, "what %s compressed is damaged", codec);
}

static int too_large(size_t limit)
{
    return err_set(BECK_TOO_LARGE, "it decompresses to more than %zu bytes", limit);
}

/* Room for more output behind out->size, as long as the limit allows it. */
MAYBE_UNUSED static int more_room(struct buf *out, size_t limit)
{
    if (out->size < min_u64(out->capacity, limit)) return 0;
    if (out->size >= limit) return too_large(limit - 1);
    return buf_reserve(out, min_u64(max_u64(2 * out->size, OUT_BYTES_FIRST), limit));
}

MAYBE_UNUSED static size_t out_room(const struct buf *out, size_t limit)
{
    return min_u64(out->capacity, limit) - out->size;
}

/* ---- gzip ---- */
#ifdef BECK_WITH_ZLIB

#define GZIP_WINDOW_BITS (15 + 16) /* 16: with gzip's header and trailer */
#define GZIP_MEMORY_LEVEL 8

static size_t gzip_room(size_t bytes)
{
    return bytes; /* it stops when that is not enough */
}

static int gzip_compress(void **tool, const uint8_t *data, size_t bytes, uint8_t *to, size_t room,
                         size_t *used)
{
    z_stream *z = *tool;
    if (z == NULL) {
        if ((z = calloc(1, sizeof *z)) == NULL) return no_memory();
        if (deflateInit2(z, Z_DEFAULT_COMPRESSION, Z_DEFLATED, GZIP_WINDOW_BITS, GZIP_MEMORY_LEVEL,
                         Z_DEFAULT_STRATEGY) != Z_OK) {
            free(z);
            return no_memory();
        }
        *tool = z;
    }
    (void)deflateReset(z);
    z->next_in = (Bytef *)(uintptr_t)data;
    z->avail_in = (uInt)bytes;
    z->next_out = to;
    z->avail_out = (uInt)room;
    *used = deflate(z, Z_FINISH) == Z_STREAM_END ? room - z->avail_out : 0;
    return 0;
}

static void gzip_free(void *compress, void *decompress)
{
    if (compress != NULL) (void)deflateEnd(compress);
    if (decompress != NULL) (void)inflateEnd(decompress);
    free(compress);
    free(decompress);
}

static int gzip_decompress(void **tool, const uint8_t *data, size_t bytes, size_t limit,
                           struct buf *out)
{
    z_stream *z = *tool;
    int rc = 0, step = Z_OK;
    if (z == NULL) {
        if ((z = calloc(1, sizeof *z)) == NULL) return no_memory();
        if (inflateInit2(z, GZIP_WINDOW_BITS) != Z_OK) {
            free(z);
            return no_memory();
        }
        *tool = z;
    }
    (void)inflateReset(z);
    z->next_in = (Bytef *)(uintptr_t)data;
    z->avail_in = (uInt)bytes;
    while (rc == 0 && step == Z_OK) {
        if ((rc = more_room(out, limit)) < 0) break;
        size_t room = out_room(out, limit);
        z->next_out = out->data + out->size;
        z->avail_out = (uInt)room;
        step = inflate(z, Z_NO_FLUSH);
        out->size += room - z->avail_out;
    }
    if (rc < 0) return rc;
    if (step == Z_MEM_ERROR) return no_memory();
    return step == Z_STREAM_END && z->avail_in == 0 ? 0 : damaged("gzip");
}
#else
#define gzip_room NULL
#define gzip_compress NULL
#define gzip_decompress NULL
#endif

/* ---- snappy ---- */
#ifdef BECK_WITH_SNAPPY

#define SNAPPY_BLOCK_BYTES 32768u
#define SNAPPY_HEADER_BYTES 16u
#define SNAPPY_YIELD 22u /* a copy of 64 bytes takes 3 */

static const uint8_t snappy_header[SNAPPY_HEADER_BYTES] = {0x82, 'S', 'N', 'A', 'P', 'P', 'Y', 0,
                                                           0,    0,   0,   1,   0,   0,   0,   1};

static size_t snappy_room(size_t bytes)
{
    size_t blocks = bytes / SNAPPY_BLOCK_BYTES + 1;
    return SNAPPY_HEADER_BYTES + blocks * (4 + snappy_max_compressed_length(SNAPPY_BLOCK_BYTES));
}

static int snappy_compress_blocks(void **tool, const uint8_t *data, size_t bytes, uint8_t *to,
                                  size_t room, size_t *used)
{
    size_t at = SNAPPY_HEADER_BYTES;
    (void)tool;
    memcpy(to, snappy_header, SNAPPY_HEADER_BYTES);
    for (size_t from = 0; from < bytes; from += SNAPPY_BLOCK_BYTES) {
        size_t n = room - at - 4;
        if (snappy_compress((const char *)data + from, min_u64(bytes - from, SNAPPY_BLOCK_BYTES),
                            (char *)to + at + 4, &n) != SNAPPY_OK)
            return err_set(BECK_INTERNAL, "snappy found no room to compress");
        put_be32(to + at, (uint32_t)n);
        at += 4 + n;
    }
    *used = at;
    return 0;
}

/* 1.1.9 was built for the wrong byte order where it is big-endian (Debian 12 on s390x): what it
 * compresses is lost, and no return code says so. It is tried once, with a text that repeats. */
static bool snappy_works(void)
{
    static _Atomic int works; /* 0 = not tried, 1, or -1 */
    char text[1000], packed[2000], again[sizeof text];
    uint32_t x = 1;
    size_t bytes = sizeof packed, out = sizeof again;
    if (atomic_load(&works) != 0) return atomic_load(&works) > 0;
    for (size_t i = 0; i < sizeof text; i++) {
        x = x * 1664525 + 1013904223;
        text[i] = i < 40 || x >> 30 == 3 ? (char)('A' + (x >> 16) % 16) : text[i - 37];
    }
    bool right = snappy_max_compressed_length(sizeof text) <= sizeof packed &&
                 snappy_compress(text, sizeof text, packed, &bytes) == SNAPPY_OK &&
                 snappy_uncompress(packed, bytes, again, &out) == SNAPPY_OK && out == sizeof text &&
                 memcmp(text, again, sizeof text) == 0;
    atomic_store(&works, right ? 1 : -1);
    return right;
}

static int snappy_block(const uint8_t *data, size_t bytes, size_t limit, struct buf *out)
{
    size_t n;
    int rc;
    if (snappy_uncompressed_length((const char *)data, bytes, &n) != SNAPPY_OK ||
        n / SNAPPY_YIELD > bytes)
        return damaged("snappy");
    if (n > limit - out->size) return too_large(limit - 1);
    if ((rc = buf_reserve(out, max_u64(out->size + n, 1))) < 0) return rc;
    if (snappy_uncompress((const char *)data, bytes, (char *)out->data + out->size, &n) !=
        SNAPPY_OK)
        return damaged("snappy");
    out->size += n;
    return 0;
}

static int snappy_decompress(void **tool, const uint8_t *data, size_t bytes, size_t limit,
                             struct buf *out)
{
    int rc = 0;
    (void)tool;
    if (bytes < SNAPPY_HEADER_BYTES || memcmp(data, snappy_header, 8) != 0)
        return snappy_block(data, bytes, limit, out);
    size_t at = SNAPPY_HEADER_BYTES; /* whatever versions it names, the blocks are the same */
    while (rc == 0 && at < bytes) {
        if (bytes - at < 4 || get_be32(data + at) > bytes - at - 4) return damaged("snappy");
        size_t n = get_be32(data + at);
        rc = snappy_block(data + at + 4, n, limit, out);
        at += 4 + n;
    }
    return rc;
}
#else
#define snappy_room NULL
#define snappy_compress_blocks NULL
#define snappy_decompress NULL
#endif

/* ---- lz4 ---- */
#ifdef BECK_WITH_LZ4

static const LZ4F_preferences_t lz4_kafka = {
    .frameInfo = {.blockSizeID = LZ4F_max64KB, .blockMode = LZ4F_blockIndependent}};

static size_t lz4_room(size_t bytes)
{
    return LZ4F_compressFrameBound(bytes, &lz4_kafka);
}

static int lz4_compress(void **tool, const uint8_t *data, size_t bytes, uint8_t *to, size_t room,
                        size_t *used)
{
    (void)tool;
    *used = LZ4F_compressFrame(to, room, data, bytes, &lz4_kafka);
    if (!LZ4F_isError(*used)) return 0;
    return err_set(BECK_NOMEM, "lz4: %s", LZ4F_getErrorName(*used));
}

static int lz4_decompress(void **tool, const uint8_t *data, size_t bytes, size_t limit,
                          struct buf *out)
{
    size_t at = 0, left = 1;
    int rc = 0;
    if (*tool == NULL &&
        LZ4F_isError(LZ4F_createDecompressionContext((LZ4F_dctx **)(void *)tool, LZ4F_VERSION)))
        return no_memory();
    LZ4F_resetDecompressionContext(*tool);
    while (rc == 0 && left != 0) {
        if ((rc = more_room(out, limit)) < 0) break;
        size_t room = out_room(out, limit), taken = bytes - at;
        left = LZ4F_decompress(*tool, out->data + out->size, &room, data + at, &taken, NULL);
        if (LZ4F_isError(left) && strcmp(LZ4F_getErrorName(left), "ERROR_allocation_failed") == 0)
            return no_memory();
        if (LZ4F_isError(left) || (taken == 0 && room == 0)) return damaged("lz4");
        at += taken;
        out->size += room;
    }
    if (rc < 0) return rc;
    return at == bytes ? 0 : damaged("lz4");
}

static void lz4_free(void *decompress)
{
    (void)LZ4F_freeDecompressionContext(decompress);
}
#else
#define lz4_room NULL
#define lz4_compress NULL
#define lz4_decompress NULL
#endif

/* ---- zstd ---- */
#ifdef BECK_WITH_ZSTD

#define ZSTD_LEVEL 3           /* Kafka's default */
#define ZSTD_WINDOW_LOG_MAX 27 /* 128 MiB: what a frame may make its reader keep */

static size_t zstd_room(size_t bytes)
{
    return bytes; /* it stops when that is not enough */
}

static int zstd_compress(void **tool, const uint8_t *data, size_t bytes, uint8_t *to, size_t room,
                         size_t *used)
{
    if (*tool == NULL && (*tool = ZSTD_createCCtx()) == NULL) return no_memory();
    *used = ZSTD_compressCCtx(*tool, to, room, data, bytes, ZSTD_LEVEL);
    if (ZSTD_isError(*used)) *used = 0;
    return 0;
}

static int zstd_decompress(void **tool, const uint8_t *data, size_t bytes, size_t limit,
                           struct buf *out)
{
    ZSTD_inBuffer in = {data, bytes, 0};
    size_t left = 1;
    int rc = 0;
    if (*tool == NULL && (*tool = ZSTD_createDCtx()) == NULL) return no_memory();
    (void)ZSTD_DCtx_reset(*tool, ZSTD_reset_session_only);
    (void)ZSTD_DCtx_setParameter(*tool, ZSTD_d_windowLogMax, ZSTD_WINDOW_LOG_MAX);
    while (rc == 0 && left != 0) {
        if ((rc = more_room(out, limit)) < 0) break;
        ZSTD_outBuffer to = {out->data + out->size, out_room(out, limit), 0};
        size_t before = in.pos;
        left = ZSTD_decompressStream(*tool, &to, &in);
        if (ZSTD_isError(left) && ZSTD_getErrorCode(left) == ZSTD_error_memory_allocation)
            return no_memory();
        if (ZSTD_isError(left) &&
            ZSTD_getErrorCode(left) == ZSTD_error_frameParameter_windowTooLarge)
            return err_set(BECK_TOO_LARGE, "its zstd window is larger than 128 MiB");
        if (ZSTD_isError(left) || (in.pos == before && to.pos == 0)) return damaged("zstd");
        out->size += to.pos;
    }
    if (rc < 0) return rc;
    return in.pos == bytes ? 0 : damaged("zstd");
}

static void zstd_free(void *compress, void *decompress)
{
    (void)ZSTD_freeCCtx(compress);
    (void)ZSTD_freeDCtx(decompress);
}
#else
#define zstd_room NULL
#define zstd_compress NULL
#define zstd_decompress NULL
#endif

/* ---- The table ---- */

static const struct {
    const char *name;
    const char *package; /* Debian's, to build with it */
    room_function *room;
    compress_function *compress;
    decompress_function *decompress;
} codecs[CODEC_COUNT] = {
    [CODEC_NONE] = {.name = "none"},
    [CODEC_GZIP] = {"gzip", "zlib1g-dev", gzip_room, gzip_compress, gzip_decompress},
    [CODEC_SNAPPY] = {"snappy", "libsnappy-dev", snappy_room, snappy_compress_blocks,
                      snappy_decompress},
    [CODEC_LZ4] = {"lz4", "liblz4-dev", lz4_room, lz4_compress, lz4_decompress},
    [CODEC_ZSTD] = {"zstd", "libzstd-dev", zstd_room, zstd_compress, zstd_decompress},
};

int codec_check(unsigned codec)
{
    if (codec >= CODEC_COUNT)
        return err_set(BECK_UNSUPPORTED,
                       "compression codec %u is unknown: a newer beck may know it", codec);
    if (codec == CODEC_NONE || codecs[codec].compress != NULL) return 0;
    return err_set(BECK_UNSUPPORTED,
                   "this beck was built without %s: build it again where %s is installed",
                   codecs[codec].name, codecs[codec].package);
}

int codec_check_compress(unsigned codec)
{
    int rc = codec_check(codec);
#ifdef BECK_WITH_SNAPPY
    if (rc == 0 && codec == CODEC_SNAPPY && !snappy_works())
        rc = err_set(BECK_UNSUPPORTED, "the snappy of this system compresses wrongly, as 1.1.9 does"
                                       " on big-endian machines: use another codec");
#endif
    return rc;
}

void codec_free(struct codec_tools *tools)
{
#ifdef BECK_WITH_ZLIB
    gzip_free(tools->compress[CODEC_GZIP], tools->decompress[CODEC_GZIP]);
#endif
#ifdef BECK_WITH_LZ4
    lz4_free(tools->decompress[CODEC_LZ4]);
#endif
#ifdef BECK_WITH_ZSTD
    zstd_free(tools->compress[CODEC_ZSTD], tools->decompress[CODEC_ZSTD]);
#endif
    memset(tools, 0, sizeof *tools);
}

size_t codec_room(unsigned codec, size_t bytes)
{
    ASSERT(codec_check(codec) == 0);
    ASSERT(codec != CODEC_NONE);
    return codecs[codec].room(bytes);
}

int codec_compress(struct codec_tools *tools, unsigned codec, const uint8_t *data, size_t bytes,
                   uint8_t *to, size_t room, size_t *used)
{
    ASSERT(bytes <= INT32_MAX);
    *used = 0;
    int rc = codecs[codec].compress(&tools->compress[codec], data, bytes, to, room, used);
    if (rc == 0 && *used >= bytes) *used = 0;
    return rc;
}

int codec_decompress(struct codec_tools *tools, unsigned codec, const uint8_t *data, size_t bytes,
                     size_t limit, struct buf *out)
{
    ASSERT(bytes <= INT32_MAX);
    ASSERT(limit < INT32_MAX);
    out->size = 0;
    int rc = codec_check(codec);
    /* One byte more, so that the end is found when it stands just at the limit. */
    if (rc == 0)
        rc = codecs[codec].decompress(&tools->decompress[codec], data, bytes, limit + 1, out);
    if (rc == 0 && out->size > limit) rc = too_large(limit);
    return rc;
}
