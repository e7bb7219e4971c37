/* base.h -- integers, assertions, limits with names */
#ifndef BASE_H
#define BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "beck.h"

#if UINTPTR_MAX < UINT64_MAX
#error "beck needs a 64-bit system: offsets and lock words are 64 bits wide"
#endif

/* Internal functions: static in the amalgamation, hidden elsewhere. */
#ifdef BECK_AMALGAMATION
#define BECK_PRIVATE static
#else
#define BECK_PRIVATE __attribute__((visibility("hidden")))
#endif

#define PRINTF_LIKE(at, first) __attribute__((format(printf, at, first)))
/* For what some configuration of the build has no use for. */
#define MAYBE_UNUSED __attribute__((unused))
#define LIKELY(x) __builtin_expect(!!(x), 1)
#define UNLIKELY(x) __builtin_expect(!!(x), 0)

/* ASSERT is for mistakes of the code, in debug and test builds. Nothing read from a file or a
 * shared page is ever asserted: that gives a status. INVARIANT is always compiled and yields
 * BECK_INTERNAL or 0, for paths that make bytes durable or visible: `if ((rc = INVARIANT(x)) < 0)
 * goto out;`. */
#ifdef BECK_DEBUG
_Noreturn BECK_PRIVATE void base_assert_failed(const char *file, int line, const char *what);
#define ASSERT(x) ((x) ? (void)0 : base_assert_failed(__FILE__, __LINE__, #x))
#else
#define ASSERT(x) ((void)0)
#endif
#define INVARIANT(x) (LIKELY(x) ? 0 : err_internal(__FILE__, __LINE__, #x))

BECK_PRIVATE int err_internal(const char *file, int line, const char *what);

#define KIB UINT64_C(1024)
#define MIB (UINT64_C(1024) * KIB)

/* The file. BECK_TINY shrinks what may be shrunk, so that tests meet every edge. */
#define BLOCK_BYTES 16384u
#define OFFSET_MAX (UINT64_C(1) << 62) /* of records, and of ids */
#define SLOTS_MAX 1024u
#define PINS_PER_SLOT 8u
#define SEGMENT_BYTES_MIN BLOCK_BYTES
/* of segment.bytes, and of a segment for one batch */
#define SEGMENT_BYTES_LIMIT (1024u * 1024u * 1024u)
#define MESSAGE_BYTES_DEFAULT (10u * 1024u * 1024u + 65536u)
#define MESSAGE_BYTES_MIN 128u
#define MESSAGE_BYTES_LIMIT (512u * 1024u * 1024u)
#ifdef BECK_TINY
#define SEGMENT_BYTES_DEFAULT (2u * BLOCK_BYTES)
#define AHEAD_BYTES (2u * BLOCK_BYTES)
#ifndef CATALOG_SNAPSHOT_BYTES /* the simulator gives its own */
#define CATALOG_SNAPSHOT_BYTES (2u * BLOCK_BYTES)
#endif
#define READ_CHUNK_BYTES (1u * BLOCK_BYTES)
#else
#define SEGMENT_BYTES_DEFAULT (16u * 1024u * 1024u)
#define AHEAD_BYTES (1024u * 1024u)           /* zeroed and mapped in front of the tail */
#define CATALOG_SNAPSHOT_BYTES (512u * 1024u) /* below this the catalog is never rewritten */
#define READ_CHUNK_BYTES (1024u * 1024u)      /* what a copying reader fetches at once */
#endif
#define LOOK_MS 100 /* a blocked process looks for the dead this often */

static inline uint64_t align_up(uint64_t value, uint64_t to)
{
    return (value + to - 1) / to * to;
}

static inline uint64_t min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static inline uint64_t max_u64(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

#endif
