/* shell_fuzz.c -- the program beck: command lines, and what it reads from standard input
 *
 * Up to three commands on one small file. For each:
 *
 *     1           which command
 *     N, NUL      an argument; an empty one ends them
 *     1 + N       length of its standard input, times 4, and that
 *
 * The exit code is one of those that are documented, and the file is sound afterwards. FILE is
 * always put in front, so that no other file is touched; what would wait is told not to. */
#include <fcntl.h>
#include <getopt.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../shell/commands.h"
#include "fuzz.h"

enum { ARGS = 10, COMMANDS = 3 };

static const struct way {
    const struct command *command;
    const char *child;
} ways[] = {{&command_produce, NULL},   {&command_produce, NULL},   {&command_consume, NULL},
            {&command_consume, NULL},   {&command_topic, "create"}, {&command_topic, "alter"},
            {&command_topic, "delete"}, {&command_topic, "list"},   {&command_topic, "describe"},
            {&command_stat, NULL},      {&command_ps, NULL},        {&command_check, NULL}};

static void make_file(void)
{
    beck *db = NULL;
    beck_topic *topic = NULL;
    beck_topic_config config = {.size = sizeof config, .partitions = 2, .sync = BECK_SYNC_OS};
    beck_header header = {"h", "1", 1, 1};
    beck_record r = {.key = "k", .value = "v\xc3\xa4\xff\n", .headers = &header};
    r.key_size = 1;
    r.value_size = 5;
    r.header_count = 1;
    r.timestamp = 1700000000000;
    unlink(fuzz_path());
    MUST_DB(db, beck_open(fuzz_path(), NULL, &db) == BECK_OK);
    MUST_DB(db, beck_topic_open(db, "t", &config, &topic) == BECK_OK);
    for (r.partition = 0; r.partition < 2; r.partition++)
        MUST_DB(db, beck_append(topic, &r, NULL) == BECK_OK);
    MUST_DB(db, beck_close(db) == BECK_OK);
}

static void file_is_sound(void)
{
    beck *db = NULL;
    MUST_DB(db, beck_open(fuzz_path(), NULL, &db) == BECK_OK);
    MUST_DB(db, beck_check(db, NULL, NULL, NULL, NULL) == BECK_OK);
    MUST_DB(db, beck_close(db) == BECK_OK);
}

static void feed(const uint8_t *data, size_t size)
{
    static int fd = -1;
    if (fd < 0) fd = memfd_create("stdin", MFD_CLOEXEC);
    if (fd < 0 || ftruncate(fd, 0) < 0 || pwrite(fd, data, size, 0) != (ssize_t)size ||
        lseek(fd, 0, SEEK_SET) != 0 || dup2(fd, STDIN_FILENO) < 0)
        abort();
}

/* The arguments of the input, behind those that are there. SECONDS, behind a FILE, is for ever. */
static int take_arguments(struct fuzz_input *in, bool rounds, int argc, char **argv)
{
    while (argc < ARGS && in->left > 0 && *in->at != 0) {
        size_t size = strnlen((const char *)in->at, in->left);
        char *word = malloc(size + 1);
        if (word == NULL) abort();
        memcpy(word, fuzz_bytes(in, &size), size);
        word[size] = 0;
        (void)fuzz_byte(in);
        if (rounds && word[0] != '-') word[0] = '-';
        argv[argc++] = word;
    }
    (void)fuzz_byte(in);
    argv[argc] = NULL;
    return argc;
}

static void one_command(struct fuzz_input *in)
{
    const struct way *way = &ways[fuzz_byte(in) % (sizeof ways / sizeof *ways)];
    const struct command table[] = {*way->command, {0}};
    char *argv[ARGS + 4] = {0}, *words[ARGS + 4];
    char name[16], child[16], path[600], end[] = "-e";
    int argc = 0;
    snprintf(name, sizeof name, "%s", way->command->name);
    snprintf(path, sizeof path, "%s", fuzz_path());
    argv[argc++] = name;
    if (way->child != NULL) {
        snprintf(child, sizeof child, "%s", way->child);
        argv[argc++] = child;
    }
    argv[argc++] = path;
    if (way->command == &command_consume) argv[argc++] = end;
    int own = argc;
    argc = take_arguments(in, way->command == &command_stat || way->command == &command_ps, argc,
                          argv);
    memcpy(words, argv, sizeof words);
    size_t size = (size_t)fuzz_byte(in) * 4;
    const uint8_t *data = fuzz_bytes(in, &size);
    feed(data, size);
    optind = 0; /* getopt begins anew */
    int code = command_dispatch(NULL, table, argc, argv);
    MUST(code == EXIT_FINE || code == EXIT_ERROR || code == EXIT_DAMAGE || code == EXIT_USAGE);
    fflush(stdout);
    for (int i = own; i < argc; i++) free(words[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input in = {data, size};
    make_file();
    for (int i = 0; i < COMMANDS && in.left > 0; i++) one_command(&in);
    file_is_sound();
    return 0;
}
