/* inspect.h -- a process that looks at what a crash left */
#ifndef INSPECT_H
#define INSPECT_H

#include "oracle.h"

struct inspection {
    struct oracle oracle;
    enum level level;
    struct chance chance;
    bool fault_first;
    bool untold;   /* an error of the kernel's own writes is waiting for the first to sync */
    bool poisoned; /* by it */
};

/* Its argument is an inspection: opens the file, compares, appends, and leaves what is true now. */
void inspect(void *argument);

/* The device forgets a write, puts it elsewhere, flips a bit. What it does not touch must be read,
 * and nothing that was never written. */
struct damage {
    struct oracle oracle;
    uint64_t at, bytes;
};
void inspect_damage(void *argument);

#endif
