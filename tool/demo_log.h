/* demo_log.h -- a web access log that can be made again, line by line, at any time */
#ifndef DEMO_LOG_H
#define DEMO_LOG_H

#include <stddef.h>
#include <stdint.h>

#define DEMO_LINE_MAX 1024

/* To be called once, before the first line. */
void demo_log_prepare(void);
/* Writes line number `line` of web server `server` into `out`, which holds DEMO_LINE_MAX bytes, in
 * Apache's combined format and without a newline. Returns its size; *client_size is that of the
 * client's address, with which the line begins. */
size_t demo_log_line(uint32_t server, uint32_t line, char *out, size_t *client_size);

#endif
