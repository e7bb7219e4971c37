/* session.h -- one file opened by a command, and its errors as a user wants to read them */
#ifndef BECK_SHELL_SESSION_H
#define BECK_SHELL_SESSION_H

#include <beck.h>
#include <stdbool.h>

struct session {
    const char *path;
    bool quiet;            /* do not print the recovery report */
    bool readonly_will_do; /* open read-only where writing is not allowed */
    bool awaits_producer;  /* a missing file is one that nobody has produced to yet */
    beck *db;
};

/* Opens session->path with BECK_OPEN_* flags and prints the recovery report. 0, or an error code of
 * the library after an error was printed; the session is closed then. */
int session_open(struct session *session, uint32_t flags);
/* Prints what the last failing call had to say and returns EXIT_ERROR. */
int session_error(const struct session *session);
/* The same where `topic` may be what is missing: names the topics there are. */
int session_topic_error(const struct session *session, int rc, const char *topic);
/* Says which partitions the topic has, where one was asked for that it has not; EXIT_ERROR. */
int session_partition_error(const struct session *session, const beck_topic_info *topic);
/* Closes; returns `exit_code`, or EXIT_ERROR when that was 0 and closing failed. */
int session_close(struct session *session, int exit_code);

#endif
