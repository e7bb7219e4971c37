/* rounds.h -- [SECONDS [COUNT]] behind a FILE: to show something once, or again and again */
#ifndef BECK_SHELL_ROUNDS_H
#define BECK_SHELL_ROUNDS_H

#include "out.h"

struct rounds {
    int64_t interval_ms; /* 0 = once */
    int64_t left;        /* INT64_MAX = until a signal comes */
    int64_t next_ms;
};

/* Reads FILE [SECONDS [COUNT]] from argv[optind] on; 0, or the exit code of an error that was
 * printed. */
int rounds_parse(struct rounds *rounds, const struct args *args);
/* Writes out what one round printed and waits for the next; false when there is none. */
bool rounds_next(struct rounds *rounds, struct out *out);
/* Milliseconds that only rise. */
int64_t rounds_clock_ms(void);

#endif
