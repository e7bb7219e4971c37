/* handles.h -- who has the file open: what each handle holds, waits for and pins */
#ifndef HANDLES_H
#define HANDLES_H

#include "catalog.h"
#include "coord.h"

/* What the area says now, with names from the picture. The list belongs to the calling thread until
 * it asks again. Writes nothing and waits for nobody. Takes: catalog mutex. NOMEM, BUSY. */
BECK_PRIVATE int handles_list(struct catalog *cat, const struct coord *c,
                              const beck_handle_info *const **list, size_t *count);

#endif
