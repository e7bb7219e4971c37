/* look.h -- everything that can be read of an open file, through the public interface */
#ifndef LOOK_H
#define LOOK_H

#include "fuzz.h"

#define LOOK_TOPICS_MAX 24 /* with more topics it is not the whole */

enum look_file {
    LOOK_CHANGING, /* by somebody, meanwhile: any answer is right, but no access may be wrong */
    LOOK_HOSTILE,  /* each answer is possible */
    LOOK_SOUND     /* beck_check found nothing: the answers fit together */
};

/* What one look saw: the same file gives the same numbers. */
struct look {
    uint64_t topics;  /* names, settings, offsets */
    uint64_t records; /* what each partition holds, from its beginning to its end */
    uint64_t count;   /* of records */
    bool whole;       /* everything was read, without an error */
};

/* List, describe, read from the beginning, seek, and start in every way there is. `flags` are
 * BECK_CONSUME_*. */
void look_at_all(beck *db, uint32_t flags, enum look_file file, struct look *look);
/* Verify the file; what it returns must fit to what it says. LOOK_SOUND or LOOK_HOSTILE. */
enum look_file look_check(beck *db);

#endif
