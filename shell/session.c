/* session.c -- one file opened by a command, and its errors as a user wants to read them */
#include "session.h"

#include "args.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FILES_MAX 256
#define TOPICS_SHOWN 20

/* ---- What was meant ---- */
static bool is_beck_file(const char *name)
{
    size_t size = strlen(name);
    return size > 5 && strcmp(name + size - 5, ".beck") == 0;
}

/* Prints the file that was probably meant: one of the same folder with a name like it. */
static bool suggest_file(const char *path)
{
    const char *slash = strrchr(path, '/');
    int folder_size = slash == NULL ? 0 : (int)(slash - path) + 1;
    char folder[4096], *names[FILES_MAX];
    size_t count = 0;
    snprintf(folder, sizeof folder, "%.*s", folder_size, path);
    DIR *dir = opendir(folder_size == 0 ? "." : folder);
    if (dir == NULL) return false;
    for (struct dirent *entry; count < FILES_MAX && (entry = readdir(dir)) != NULL;)
        if (is_beck_file(entry->d_name)) names[count++] = must_copy(entry->d_name);
    closedir(dir);
    size_t near = nearest_word(path + folder_size, (const char *const *)names, count);
    if (near < count) tell(" (did you mean '%s%s'?)", folder, names[near]);
    for (size_t i = 0; i < count; i++) free(names[i]);
    return near < count;
}

static void suggest_topic(const char *topic, const beck_topic_info *const *topics, size_t count)
{
    const char **names = must_alloc(NULL, (count + 1) * sizeof *names);
    for (size_t i = 0; i < count; i++) names[i] = topics[i]->name;
    size_t near = nearest_word(topic, names, count);
    if (near < count) tell(" (did you mean '%s'?)", names[near]);
    tell(count == 0 ? "; the file has no topics" : "; the file has");
    for (size_t i = 0; i < count && i < TOPICS_SHOWN; i++)
        tell("%s %s", i == 0 ? "" : ",", names[i]);
    if (count > TOPICS_SHOWN) tell(" and %zu more", count - TOPICS_SHOWN);
    free(names);
}

/* ---- Errors ---- */
int session_error(const struct session *session)
{
    tell("beck: %s\n", beck_errmsg(session->db)); /* the thread's, so also without a handle */
    return EXIT_ERROR;
}

int session_topic_error(const struct session *session, int rc, const char *topic)
{
    const beck_topic_info *const *topics = NULL;
    size_t count = 0;
    if (rc != BECK_NOT_FOUND) return session_error(session);
    rc = beck_topic_list(session->db, &topics, &count);
    if (rc < 0) return session_error(session);
    tell("beck: %s: no topic '%s'", session->path, topic);
    suggest_topic(topic, topics, count);
    tell("\n");
    return EXIT_ERROR;
}

int session_partition_error(const struct session *session, const beck_topic_info *topic)
{
    uint32_t count = topic->config->partitions;
    if (count == 1)
        tell("beck: %s: topic '%s' has 1 partition: only -p 0\n", session->path, topic->name);
    else
        tell("beck: %s: topic '%s' has %u partitions: -p 0 to %u\n", session->path, topic->name,
             count, count - 1);
    return EXIT_ERROR;
}

/* ---- Open and close ---- */
static void print_report(const struct session *session)
{
    const char *line = beck_recovery_report(session->db);
    while (*line != '\0') {
        int size = (int)strcspn(line, "\n");
        tell("beck: %s: %.*s\n", session->path, size, line);
        line += size;
        line += *line == '\n';
    }
}

int session_open(struct session *session, uint32_t flags)
{
    beck_options options = {.size = sizeof options, .flags = flags};
    if (args_forced()) options.flags |= BECK_OPEN_FORCE;
    int rc = beck_open(session->path, &options, &session->db);
    bool cannot_write = rc == BECK_READONLY || rc == BECK_PERMISSION || rc == BECK_FULL;
    if (cannot_write && session->readonly_will_do) {
        beck_close(session->db);
        options.flags |= BECK_OPEN_READONLY;
        rc = beck_open(session->path, &options, &session->db);
    }
    if (rc >= 0) {
        if (!session->quiet) print_report(session);
        return 0;
    }
    if (rc == BECK_NOT_FOUND && (flags & BECK_OPEN_NO_CREATE) != 0) {
        tell("beck: %s: no such file", session->path);
        bool known = suggest_file(session->path);
        tell(known || !session->awaits_producer ? "\n" : "; 'beck produce' makes one\n");
    } else {
        session_error(session);
    }
    beck_close(session->db);
    session->db = NULL;
    return rc;
}

int session_close(struct session *session, int exit_code)
{
    int rc = beck_close(session->db);
    session->db = NULL;
    if (rc >= 0 || exit_code != EXIT_FINE) return exit_code;
    return session_error(session);
}
