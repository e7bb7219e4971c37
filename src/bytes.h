/* bytes.h -- little-endian, big-endian and varint access with bounds */
#ifndef BYTES_H
#define BYTES_H

#include <string.h>

#include "base.h"

static inline uint16_t get_le16(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

static inline uint32_t get_le32(const uint8_t *p)
{
    uint32_t v;
    memcpy(&v, p, 4);
    return __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? v : __builtin_bswap32(v);
}

static inline uint64_t get_le64(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, 8);
    return __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? v : __builtin_bswap64(v);
}

static inline void put_le16(uint8_t *p, uint16_t v)
{
    p[0] = (uint8_t)v;
    p[1] = (uint8_t)(v >> 8);
}

static inline void put_le32(uint8_t *p, uint32_t v)
{
    v = __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? v : __builtin_bswap32(v);
    memcpy(p, &v, 4);
}

static inline void put_le64(uint8_t *p, uint64_t v)
{
    v = __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? v : __builtin_bswap64(v);
    memcpy(p, &v, 8);
}

static inline uint16_t get_be16(const uint8_t *p)
{
    return (uint16_t)(p[0] << 8 | p[1]);
}

static inline uint32_t get_be32(const uint8_t *p)
{
    uint32_t v;
    memcpy(&v, p, 4);
    return __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? __builtin_bswap32(v) : v;
}

static inline uint64_t get_be64(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, 8);
    return __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? __builtin_bswap64(v) : v;
}

static inline void put_be32(uint8_t *p, uint32_t v)
{
    v = __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? __builtin_bswap32(v) : v;
    memcpy(p, &v, 4);
}

static inline void put_be64(uint8_t *p, uint64_t v)
{
    v = __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? __builtin_bswap64(v) : v;
    memcpy(p, &v, 8);
}

/* Zig-zag varints as in protocol buffers: 10 bytes at most. Nearly all numbers in a batch take one
 * byte or two: those go a short way. */
static inline uint64_t zigzag(int64_t v)
{
    return ((uint64_t)v << 1) ^ (uint64_t)(v >> 63);
}

static inline size_t varint_size(int64_t v)
{
    uint64_t u = zigzag(v);
    if (LIKELY(u < 0x80)) return 1;
    if (LIKELY(u < 0x4000)) return 2;
    return ((size_t)(63 - __builtin_clzll(u)) * 9 + 73) / 64;
}

/* Encode `v` at `p`, which has room for varint_size(v) bytes; returns the end. */
static inline uint8_t *varint_put(uint8_t *p, int64_t v)
{
    uint64_t u = zigzag(v);
    if (LIKELY(u < 0x80)) {
        p[0] = (uint8_t)u;
        return p + 1;
    }
    if (LIKELY(u < 0x4000)) {
        put_le16(p, (uint16_t)((u & 0x7f) | 0x80 | u >> 7 << 8));
        return p + 2;
    }
    for (; u >= 0x80; u >>= 7) *p++ = (uint8_t)(u | 0x80);
    *p++ = (uint8_t)u;
    return p;
}

static inline int64_t varint_unzigzag(uint64_t u)
{
    return (int64_t)(u >> 1) ^ -(int64_t)(u & 1);
}

/* Decode at `p` a number of at most `bytes_max` (5 or 10) bytes, reading no byte at or after `end`;
 * NULL when it is cut off or too long. */
static inline const uint8_t *varint_get_max(const uint8_t *p, const uint8_t *end, int bytes_max,
                                            int64_t *v)
{
    if (LIKELY(p < end && p[0] < 0x80)) {
        *v = varint_unzigzag(p[0]);
        return p + 1;
    }
    if (LIKELY(end - p >= 2 && p[1] < 0x80)) {
        *v = varint_unzigzag((p[0] & 0x7fu) | (unsigned)p[1] << 7);
        return p + 2;
    }
    uint64_t u = 0;
    if (end - p > bytes_max) end = p + bytes_max;
    for (unsigned shift = 0; p < end; shift += 7) {
        uint8_t b = *p++;
        u |= (uint64_t)(b & 0x7f) << shift;
        if (b < 0x80) {
            *v = varint_unzigzag(u);
            return shift == 63 && b > 1 ? NULL : p;
        }
    }
    return NULL;
}

#endif
