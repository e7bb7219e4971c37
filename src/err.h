/* err.h -- status codes from one table; where an error is born
 *
 * An error is born in one call of err_set, which records what and where in words; after that only
 * the status is passed on. The text belongs to the thread, so that threads sharing a handle never
 * mix their messages and nothing is allocated. */
#ifndef ERR_H
#define ERR_H

#include "base.h"

/* Record the message of `status` for this thread and return `status`. */
BECK_PRIVATE int err_set(int status, const char *format, ...) PRINTF_LIKE(2, 3);
/* Put "prefix: " before the message of this thread; returns `status` unchanged. */
BECK_PRIVATE int err_context(int status, const char *format, ...) PRINTF_LIKE(2, 3);
/* "record 5 is" or "records 5 to 7 are", for [from, to); returns `text`. */
#define ERR_RECORDS_BYTES 64
BECK_PRIVATE const char *err_records(char text[ERR_RECORDS_BYTES], uint64_t from, uint64_t to);
/* The message of the last error of this thread. */
BECK_PRIVATE const char *err_message(void);
#endif
