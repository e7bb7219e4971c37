/* murmur.c -- Kafka's key hash */
#include "murmur.h"

#include "bytes.h"

#define MURMUR_SEED 0x9747b28cu
#define MURMUR_MIX 0x5bd1e995u

/* The length enters as Java's 32-bit int. */
uint32_t murmur2(const void *key, size_t bytes)
{
    const uint8_t *p = key;
    uint32_t h = MURMUR_SEED ^ (uint32_t)bytes;
    for (; bytes >= 4; bytes -= 4, p += 4) {
        uint32_t k = get_le32(p) * MURMUR_MIX;
        k = (k ^ k >> 24) * MURMUR_MIX;
        h = h * MURMUR_MIX ^ k;
    }
    if (bytes == 3) h ^= (uint32_t)p[2] << 16;
    if (bytes >= 2) h ^= (uint32_t)p[1] << 8;
    if (bytes >= 1) h = (h ^ p[0]) * MURMUR_MIX;
    h = (h ^ h >> 13) * MURMUR_MIX;
    return h ^ h >> 15;
}

int32_t beck_partition_for_key(const void *key, size_t key_size, int32_t partitions)
{
    if (partitions <= 0) return -1;
    return (int32_t)(murmur2(key, key_size) & INT32_MAX) % partitions;
}
