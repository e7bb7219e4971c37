/* verify.h -- verifies every byte of the file that means something */
#ifndef VERIFY_H
#define VERIFY_H

#include "db.h"

BECK_PRIVATE int verify_file(struct beck *db, beck_check_callback finding,
                             beck_progress_callback progress, void *context,
                             beck_check_summary *summary);

#endif
