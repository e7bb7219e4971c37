/* murmur.h -- Kafka's key hash */
#ifndef MURMUR_H
#define MURMUR_H

#include "base.h"

/* murmur2 as Kafka's Java client computes it (seed 0x9747b28c). */
BECK_PRIVATE uint32_t murmur2(const void *key, size_t bytes);

#endif
