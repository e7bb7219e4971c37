/* tally.h -- what is counted, and what is told with --trace */
#ifndef TALLY_H
#define TALLY_H

#include <stdint.h>

enum counter {
    COUNT_IMAGES,
    COUNT_NESTED,
    COUNT_KILLED, /* images in which only the processes are lost */
    COUNT_DAMAGED,
    COUNT_RUNS,
    COUNT_CALLS,
    COUNT_KILLS,
    COUNT_STOPS,
    COUNT_FAULTS,
    COUNT_POISONED,
    COUNT_SWITCHES,
    COUNTERS
};

extern const char *const counter_names[COUNTERS];

struct shared { /* by the jobs */
    _Atomic uint64_t counts[COUNTERS];
    _Atomic uint64_t next_run;
    _Atomic uint32_t failed;
    _Atomic uint32_t stopped; /* by a signal */
};
extern struct shared *shared;

void count(enum counter which);
/* What happened, with --trace: depth of the world, step, process. */
extern int tracing;
void trace(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
