/* tally.c -- what is counted, and what is told with --trace */
#include "tally.h"

#include <stdarg.h>
#include <stdio.h>

#include "sim.h"

const char *const counter_names[COUNTERS] = {"crash images",
                                             "of them crashes in a recovery",
                                             "of them of processes only",
                                             "damaged images",
                                             "runs",
                                             "calls of the library",
                                             "processes killed",
                                             "processes stopped",
                                             "faults injected",
                                             "runs with a failed sync",
                                             "points passed"};

struct shared *shared;
int tracing;

void count(enum counter which)
{
    shared->counts[which]++;
}

void trace(const char *format, ...)
{
    const struct world *w = sim_world();
    va_list args;
    if (!tracing) return;
    if (w != NULL)
        fprintf(stderr, "%*s%d.%llu [%u] ", w->depth * 4, "", w->depth,
                (unsigned long long)w->steps, sim_self() == NULL ? 0 : sim_self()->number);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
}
