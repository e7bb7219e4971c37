/* fuzz.h -- what every fuzz target shares
 *
 * A target is fuzz/NAME_fuzz.c with LLVMFuzzerTestOneInput, as libFuzzer wants it. With clang it
 * becomes a fuzzer (make fuzz), with any compiler a test that runs every file of fuzz/corpus/NAME
 * once (replay.c), which is part of make check. */
#ifndef FUZZ_H
#define FUZZ_H

#include <beck.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
/* Of the mutator for files; the engine gives the second. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t room, unsigned seed);
size_t LLVMFuzzerCustomCrossOver(const uint8_t *a, size_t a_size, const uint8_t *b, size_t b_size,
                                 uint8_t *out, size_t room, unsigned seed);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t room);

/* A property that no input may break. */
#define MUST(x) ((x) ? (void)0 : fuzz_finding(__FILE__, __LINE__, #x, NULL))
#define MUST_DB(db, x) ((x) ? (void)0 : fuzz_finding(__FILE__, __LINE__, #x, (db)))

static inline void fuzz_finding(const char *file, int line, const char *what, beck *db)
{
    fprintf(stderr, "%s:%d: not true: %s; %s\n", file, line, what, beck_errmsg(db));
    abort();
}

/* Numbers out of the input; zeros when it is used up. */
struct fuzz_input {
    const uint8_t *at;
    size_t left;
};

static inline uint8_t fuzz_byte(struct fuzz_input *in)
{
    if (in->left == 0) return 0;
    in->left--;
    return *in->at++;
}

static inline uint64_t fuzz_number(struct fuzz_input *in, int bytes)
{
    uint64_t value = 0;
    for (int i = 0; i < bytes; i++) value |= (uint64_t)fuzz_byte(in) << 8 * i;
    return value;
}

static inline const uint8_t *fuzz_bytes(struct fuzz_input *in, size_t *bytes)
{
    const uint8_t *at = in->at;
    if (*bytes > in->left) *bytes = in->left;
    in->at += *bytes;
    in->left -= *bytes;
    return at;
}

/* Make sure that all bytes can be read. */
static inline uint64_t fuzz_sum(uint64_t sum, const void *data, size_t bytes)
{
    const uint8_t *p = data;
    for (size_t i = 0; i < bytes; i++) sum = (sum ^ p[i]) * UINT64_C(0x100000001B3);
    return sum;
}

/* A path for a file of this process, on tmpfs when there is one; it is removed at the end. */
const char *fuzz_path(void);

#endif
