/* interrupt.h -- Ctrl-C and termination as a question that is asked between two steps */
#ifndef BECK_SHELL_INTERRUPT_H
#define BECK_SHELL_INTERRUPT_H

#include <stdbool.h>
#include <stdint.h>

/* From now on the first SIGINT or SIGTERM is only noted; the second ends the program as usual. */
void interrupt_watch(void);
/* The signal that was noted, or 0. */
int interrupted(void);
/* The exit code for the signal that was noted, or `otherwise`. */
int interrupt_exit_code(int otherwise);
/* The last thing a program does: dies of the signal it noted, so that the shell that started it
 * knows, and ends its own loops too. Returns when there was none. */
void interrupt_pass_on(void);
/* Waits until `fd` can be read; false when a signal came first. */
bool interrupt_wait_readable(int fd);
/* Sleeps; false when a signal came first. */
bool interrupt_sleep(int64_t ms);

#endif
