/* retire.h -- frees what was deleted once nobody reads it */
#ifndef RETIRE_H
#define RETIRE_H

#include "catalog.h"

/* Free retired segments that nobody pins, after the cells of their topics have been marked deleted.
 * Cheap when there are none. Holds: catalog, no partition lock. */
BECK_PRIVATE int retire_unused(struct catalog *cat);
/* The same for somebody who is waiting anyway: takes the catalog's lock if there is something to
 * do. */
BECK_PRIVATE void retire_look(struct catalog *cat);
/* Mark the cells of a topic whose DELETE is stable, and see whether all are quiet: then no writer
 * is inside any more. Waits for nobody. Holds: catalog. */
BECK_PRIVATE int retire_mark_topic(struct catalog *cat, uint64_t topic, bool *quiet);

#endif
