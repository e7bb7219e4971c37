/* check.h -- verifies every byte of the file that means something */
#ifndef CHECK_H
#define CHECK_H

#include "db.h"

BECK_PRIVATE int check_file(struct beck *db, beck_check_callback finding,
                            beck_progress_callback progress, void *context,
                            beck_check_summary *summary);

#endif
