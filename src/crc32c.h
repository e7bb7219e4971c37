/* crc32c.h -- the Castagnoli checksum, by hardware or by table */
#ifndef CRC32C_H
#define CRC32C_H

#include "base.h"

/* CRC-32C of `bytes` bytes at `data`, going on from `crc`, the CRC of what comes before (0 =
 * nothing). */
BECK_PRIVATE uint32_t crc32c(uint32_t crc, const void *data, size_t bytes);
/* The same by table, on any processor; the tests hold the two against each other. */
BECK_PRIVATE uint32_t crc32c_table(uint32_t crc, const void *data, size_t bytes);

#endif
