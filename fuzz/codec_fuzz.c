/* codec_fuzz.c -- the codecs: what strangers compressed, and what we did
 *
 *     0   1   codec
 *     1   3   limit of what may come out
 *     4       what is to be decompressed, and then to be compressed
 *
 * Never more comes out than the limit, nor is much more memory taken than that; a second time gives
 * the same; and what was compressed comes back. */
#include "codec.h"
#include "fuzz.h"

static int decompress(struct codec_tools *tools, unsigned codec, const uint8_t *data, size_t bytes,
                      size_t limit, struct buf *out)
{
    int rc = codec_decompress(tools, codec, data, bytes, limit, out);
    MUST(rc == 0 || rc == BECK_CORRUPT || rc == BECK_TOO_LARGE || rc == BECK_UNSUPPORTED);
    MUST(rc < 0 || out->size <= limit);
    MUST(out->capacity <= 2 * limit + 8192);
    return rc;
}

static void from_strangers(unsigned codec, const uint8_t *data, size_t bytes, size_t limit)
{
    struct codec_tools tools = {.compress = {NULL}};
    struct buf one = {0}, two = {0};
    int rc = decompress(&tools, codec, data, bytes, limit, &one);
    MUST(decompress(&tools, codec, data, bytes, limit, &two) == rc); /* tools are used again */
    MUST(rc < 0 ||
         (one.size == two.size && (one.size == 0 || memcmp(one.data, two.data, one.size) == 0)));
    if (rc == 0 && one.size > 0)
        MUST(decompress(&tools, codec, data, bytes, one.size - 1, &two) == BECK_TOO_LARGE);
    codec_free(&tools);
    buf_free(&one);
    buf_free(&two);
}

static void our_own(unsigned codec, const uint8_t *data, size_t bytes)
{
    struct codec_tools tools = {.compress = {NULL}};
    struct buf out = {0};
    size_t room = codec_room(codec, bytes), used = 0;
    uint8_t *packed = malloc(room + 1);
    if (packed == NULL) abort();
    MUST(codec_compress(&tools, codec, data, bytes, packed, room, &used) == 0);
    MUST(used < bytes || used == 0);
    if (used > 0) {
        MUST(decompress(&tools, codec, packed, used, bytes, &out) == 0);
        MUST(out.size == bytes && memcmp(out.data, data, bytes) == 0);
    }
    free(packed);
    codec_free(&tools);
    buf_free(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input in = {data, size};
    unsigned codec = fuzz_byte(&in) % (BECK_COMPRESSION_ZSTD + 3);
    size_t limit = (size_t)fuzz_number(&in, 3) % (1u << 20);
    if (codec == CODEC_NONE) return 0; /* asserted: nobody asks for that */
    from_strangers(codec, in.at, in.left, limit);
    if (codec_check(codec) == 0) our_own(codec, in.at, in.left);
    return 0;
}
