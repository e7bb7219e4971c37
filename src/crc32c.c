/* crc32c.c -- the Castagnoli checksum, by hardware or by table */
#include "crc32c.h"

#include "bytes.h"

/* A CRC is linear: the entry of a byte is the xor of the entries of its bits. So 64 constants, the
 * polynomial 0x82F63B78 and its 63 multiples by x, span all eight tables of 256. */
#define CRC_SPAN1(v, a) (v), (v) ^ (a)
#define CRC_SPAN2(v, a, b) CRC_SPAN1(v, a), CRC_SPAN1((v) ^ (b), a)
#define CRC_SPAN3(v, a, b, c) CRC_SPAN2(v, a, b), CRC_SPAN2((v) ^ (c), a, b)
#define CRC_SPAN4(v, a, b, c, d) CRC_SPAN3(v, a, b, c), CRC_SPAN3((v) ^ (d), a, b, c)
#define CRC_SPAN5(v, a, b, c, d, e) CRC_SPAN4(v, a, b, c, d), CRC_SPAN4((v) ^ (e), a, b, c, d)
#define CRC_SPAN6(v, a, b, c, d, e, f)                                                             \
    CRC_SPAN5(v, a, b, c, d, e), CRC_SPAN5((v) ^ (f), a, b, c, d, e)
#define CRC_SPAN7(v, a, b, c, d, e, f, g)                                                          \
    CRC_SPAN6(v, a, b, c, d, e, f), CRC_SPAN6((v) ^ (g), a, b, c, d, e, f)
#define CRC_SPAN8(v, a, b, c, d, e, f, g, h)                                                       \
    CRC_SPAN7(v, a, b, c, d, e, f, g), CRC_SPAN7((v) ^ (h), a, b, c, d, e, f, g)

/* crc_slices[n][b]: what byte b, followed by n zero bytes, makes of a CRC of 0. */
static const uint32_t crc_slices[8][256] = {
    {CRC_SPAN8(0u, 0xf26b8303, 0xe13b70f7, 0xc79a971f, 0x8ad958cf, 0x105ec76f, 0x20bd8ede,
               0x417b1dbc, 0x82f63b78)},
    {CRC_SPAN8(0u, 0x13a29877, 0x274530ee, 0x4e8a61dc, 0x9d14c3b8, 0x3fc5f181, 0x7f8be302,
               0xff17c604, 0xfbc3faf9)},
    {CRC_SPAN8(0u, 0xa541927e, 0x4f6f520d, 0x9edea41a, 0x38513ec5, 0x70a27d8a, 0xe144fb14,
               0xc76580d9, 0x8b277743)},
    {CRC_SPAN8(0u, 0xdd45aab8, 0xbf672381, 0x7b2231f3, 0xf64463e6, 0xe964b13d, 0xd725148b,
               0xaba65fe7, 0x52a0c93f)},
    {CRC_SPAN8(0u, 0x38116fac, 0x7022df58, 0xe045beb0, 0xc5670b91, 0x8f2261d3, 0x1ba8b557,
               0x37516aae, 0x6ea2d55c)},
    {CRC_SPAN8(0u, 0xef306b19, 0xdb8ca0c3, 0xb2f53777, 0x6006181f, 0xc00c303e, 0x85f4168d,
               0x0e045beb, 0x1c08b7d6)},
    {CRC_SPAN8(0u, 0x68032cc8, 0xd0065990, 0xa5e0c5d1, 0x4e2dfd53, 0x9c5bfaa6, 0x3d5b83bd,
               0x7ab7077a, 0xf56e0ef4)},
    {CRC_SPAN8(0u, 0x493c7d27, 0x9278fa4e, 0x211d826d, 0x423b04da, 0x847609b4, 0x0d006599,
               0x1a00cb32, 0x34019664)},
};

uint32_t crc32c_table(uint32_t crc, const void *data, size_t bytes)
{
    const uint8_t *p = data;
    crc = ~crc;
    for (; bytes >= 8; bytes -= 8, p += 8) {
        uint64_t w = get_le64(p) ^ crc;
        crc = crc_slices[7][w & 0xff] ^ crc_slices[6][w >> 8 & 0xff] ^
              crc_slices[5][w >> 16 & 0xff] ^ crc_slices[4][w >> 24 & 0xff] ^
              crc_slices[3][w >> 32 & 0xff] ^ crc_slices[2][w >> 40 & 0xff] ^
              crc_slices[1][w >> 48 & 0xff] ^ crc_slices[0][w >> 56];
    }
    for (; bytes > 0; bytes--) crc = crc >> 8 ^ crc_slices[0][(crc ^ *p++) & 0xff];
    return ~crc;
}

#if defined(__x86_64__)
#include <immintrin.h>

#define CRC_TARGET __attribute__((target("sse4.2,pclmul")))
#define CRC_STREAM_WORDS 63u   /* of each stream; crc_shifts reaches twice that and one more */
#define CRC_PARALLEL_WORDS 10u /* from here on three streams beat one */

/* crc_shifts[n - 1] = x^(64n - 33) modulo the polynomial: multiplying a CRC by it without carries
 * gives 64 bits which, fed to the instruction as data, move the CRC over n words. */
static const uint32_t crc_shifts[2 * CRC_STREAM_WORDS + 2] = {
    0x00000001, 0x493c7d27, 0xf20c0dfe, 0xba4fc28e, 0x3da6d0cb, 0xddc0152b, 0x1c291d04, 0x9e4addf8,
    0x740eef02, 0x39d3b296, 0x083a6eec, 0x0715ce53, 0xc49f4f67, 0x47db8317, 0x2ad91c30, 0x0d3b6092,
    0x6992cea2, 0xc96cfdc0, 0x7e908048, 0x878a92a7, 0x1b3d8f29, 0xdaece73e, 0xf1d0f55e, 0xab7aff2a,
    0xa87ab8a8, 0x2162d385, 0x8462d800, 0x83348832, 0x71d111a8, 0x299847d5, 0xffd852c6, 0xb9e02b86,
    0xdcb17aa4, 0x18b33a4e, 0xf37c5aee, 0xb6dd949b, 0x6051d5a2, 0x78d9ccb7, 0x18b0d4ff, 0xbac2fd7b,
    0x21f3d99c, 0xa60ce07b, 0x8f158014, 0xce7f39f4, 0xa00457f7, 0x61d82e56, 0x8d6d2c43, 0xd270f1a2,
    0x00ac29cf, 0xc619809d, 0xe9adf796, 0x2b3cac5d, 0x96638b34, 0x65863b64, 0xe0e9f351, 0x1b03397f,
    0x9af01f2d, 0xebb883bd, 0x2cff42cf, 0xb3e32c28, 0x88f25a3a, 0x064f7f26, 0x4e36f0b0, 0xdd7e3b0c,
    0xbd6f81f8, 0xf285651c, 0x91c9bd4b, 0x10746f3c, 0x885f087b, 0xc7a68855, 0x4c144932, 0x271d9844,
    0x52148f02, 0x8e766a0c, 0xa3c6f37a, 0x93a5f730, 0xd7c0557f, 0x6cb08e5c, 0x63ded06a, 0x6b749fb2,
    0x4d56973c, 0x1393e203, 0x9669c9df, 0xcec3662e, 0xe417f38a, 0x96c515bb, 0x4b9e0f71, 0xe6fc4e6a,
    0xd104b8fc, 0x8227bb8a, 0x5b397730, 0xb0cd4768, 0xe78eb416, 0x39c7ff35, 0x61ff0e01, 0xd7a4825c,
    0x8d96551c, 0x0ab3844b, 0x0bf80dd2, 0x0167d312, 0x8821abed, 0xf6076544, 0x6a45d2b2, 0x26f6a60a,
    0xd8d26619, 0xa741c1bf, 0xde87806c, 0x98d8d9cb, 0x14338754, 0x49c3cc9c, 0x5bd2011f, 0x68bce87a,
    0xdd07448e, 0x57a3d037, 0xdde8f5b9, 0x6956fc3b, 0xa3e3e02c, 0x42d98888, 0xd73c7bea, 0x3771e98f,
    0x80ff0093, 0xb42ae3d9, 0x8fe4c34d, 0x2178513a, 0xdf99fc11, 0xe0ac139e, 0x6c23e841, 0x170076fa,
};

CRC_TARGET static inline uint64_t crc_shift(uint64_t crc, size_t words)
{
    __m128i product = _mm_clmulepi64_si128(_mm_cvtsi64_si128((long long)crc),
                                           _mm_cvtsi64_si128(crc_shifts[words - 1]), 0);
    return (uint64_t)_mm_cvtsi128_si64(product);
}

/* The instruction takes one word in each cycle, but gives its result after three: three streams of
 * equal length keep it busy. Two of them are shifted over what follows them, and their sum joins
 * the third with the next word of the data. */
CRC_TARGET static uint32_t crc_hardware(uint32_t crc, const uint8_t *p, size_t bytes)
{
    uint64_t a = ~crc;
    size_t words = bytes / 8;
    while (words >= CRC_PARALLEL_WORDS) {
        size_t n = min_u64((words - 1) / 3, CRC_STREAM_WORDS);
        uint64_t b = 0, c = 0;
        for (const uint8_t *end = p + 8 * n; p < end; p += 8) {
            a = _mm_crc32_u64(a, get_le64(p));
            b = _mm_crc32_u64(b, get_le64(p + 8 * n));
            c = _mm_crc32_u64(c, get_le64(p + 16 * n));
        }
        p += 16 * n;
        a = _mm_crc32_u64(c, get_le64(p) ^ crc_shift(a, 2 * n + 1) ^ crc_shift(b, n + 1));
        p += 8;
        words -= 3 * n + 1;
    }
    for (; words > 0; words--, p += 8) a = _mm_crc32_u64(a, get_le64(p));
    /* The odd bytes come last, so that words begin where headers are written in words. */
    if (bytes & 4) {
        a = _mm_crc32_u32((uint32_t)a, get_le32(p));
        p += 4;
    }
    if (bytes & 2) {
        a = _mm_crc32_u16((uint32_t)a, get_le16(p));
        p += 2;
    }
    if (bytes & 1) a = _mm_crc32_u8((uint32_t)a, *p);
    return ~(uint32_t)a;
}

uint32_t crc32c(uint32_t crc, const void *data, size_t bytes)
{
    if (LIKELY(__builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("pclmul")))
        return crc_hardware(crc, data, bytes);
    return crc32c_table(crc, data, bytes);
}

#elif defined(__ARM_FEATURE_CRC32)
#include <arm_acle.h>

uint32_t crc32c(uint32_t crc, const void *data, size_t bytes)
{
    const uint8_t *p = data;
    crc = ~crc;
    for (; bytes >= 8; bytes -= 8, p += 8) crc = __crc32cd(crc, get_le64(p));
    for (; bytes > 0; bytes--) crc = __crc32cb(crc, *p++);
    return ~crc;
}

#else

uint32_t crc32c(uint32_t crc, const void *data, size_t bytes)
{
    return crc32c_table(crc, data, bytes);
}

#endif
