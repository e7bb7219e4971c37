/* without.h -- forbid this process, and what it starts, a system call or a use of one */
#ifndef WITHOUT_H
#define WITHOUT_H

/* By a seccomp filter, as containers do. `what` is one of the names in without.c; `error` is the
 * errno that the call fails with. 0, or -1 when the name is unknown or the kernel refuses. */
int without(const char *what, int error);

#endif
