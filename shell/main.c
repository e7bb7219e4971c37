/* main.c -- the table of commands, and the way into one of them */
#include "commands.h"
#include "interrupt.h"

#include <beck.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int run_help(const struct command *self, int argc, char **argv);
static int run_version(const struct command *self, int argc, char **argv);

static const struct command command_help_itself = {
    .name = "help",
    .summary = "explain a command",
    .help = "Usage: beck help [COMMAND]\n"
            "\n"
            "Examples:\n"
            "  beck help consume\n"
            "  beck help topic create\n",
    .run = run_help,
};

static const struct command command_version = {
    .name = "version",
    .summary = "print the version",
    .help = "Usage: beck version\n",
    .run = run_version,
};

#define COMMANDS_MAX 16

/* The commands in the order of the overview; the last has no name. */
static void fill_table(struct command table[COMMANDS_MAX])
{
    const struct command *all[] = {&command_produce,     &command_consume, &command_topic,
                                   &command_stat,        &command_ps,      &command_check,
                                   &command_help_itself, &command_version};
    _Static_assert(sizeof all / sizeof *all < COMMANDS_MAX, "room for the end of the table");
    memset(table, 0, COMMANDS_MAX * sizeof *table);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) table[i] = *all[i];
}

static void print_overview(const struct command *table)
{
    printf("beck %s -- event streams in one file, without a server\n\n"
           "Usage: beck COMMAND FILE ...\n\nCommands:\n",
           beck_version());
    for (const struct command *c = table; c->name != NULL; c++)
        printf("  %-9s %s\n", c->name, c->summary);
    printf(
        "\nExamples:\n"
        "  echo hello | beck produce my.beck greetings\n"
        "  beck consume my.beck greetings\n"
        "  beck topic list my.beck\n"
        "\n"
        "Options, behind the command:\n"
        "  --help   explain the command, as 'beck help COMMAND' does\n"
        "  --force  use the file on a file system that beck refuses\n"
        "  --       no options follow, but names that may begin with -\n"
        "\n"
        "'beck help COMMAND' explains one, 'beck --version' prints the version. Exit codes: 0 "
        "fine,\n"
        "1 error, 2 damage or missing records found, 64 wrong usage, 128 + N ended by signal N.\n");
}

static int run_help(const struct command *self, int argc, char **argv)
{
    struct command table[COMMANDS_MAX];
    (void)self;
    const struct command *found = NULL, *level = table;
    fill_table(table);
    if (argc == 1) {
        print_overview(table);
        return EXIT_FINE;
    }
    for (int i = 1; i < argc; i++) {
        if (level == NULL) return usage_error(NULL, "one command at a time");
        found = command_find(level, argv[i]);
        if (found == NULL) return usage_error(NULL, "there is no command '%s' to explain", argv[i]);
        level = found->children;
    }
    command_help(found);
    return EXIT_FINE;
}

static int run_version(const struct command *self, int argc, char **argv)
{
    if (argc > 1) return usage_error(self, "'%s' is one argument too many", argv[1]);
    printf("beck %s\ncompression:", beck_version());
    for (uint32_t c = BECK_COMPRESSION_GZIP; c <= BECK_COMPRESSION_ZSTD; c++)
        printf(beck_compression_check(c) < 0 ? " (no %s)" : " %s", beck_compression_name(c));
    printf("\n");
    return 0;
}

/* What was printed may not have arrived, for example on a full disk. */
static int finish(int exit_code)
{
    if (fflush(stdout) == 0 && !ferror(stdout)) return exit_code;
    if (exit_code != EXIT_FINE) return exit_code;
    tell("beck: standard output: %s\n", strerror(errno));
    return EXIT_ERROR;
}

/* A program started without standard input or output must not get the file's descriptor in their
 * place. Opened the wrong way round, they fail when they are used. */
static void fill_standard_descriptors(void)
{
    static const int modes[] = {O_WRONLY, O_RDONLY, O_RDONLY};
    for (int fd = 0; fd < 3; fd++)
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", modes[fd]) < 0) exit(EXIT_ERROR);
}

int main(int argc, char **argv)
{
    fill_standard_descriptors();
    signal(SIGXFSZ, SIG_IGN); /* a limit on the size of files is an error like a full disk */
    struct command table[COMMANDS_MAX];
    fill_table(table);
    if (argc < 2 || strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        print_overview(table);
        return finish(EXIT_FINE);
    }
    if (strcmp(argv[1], "--version") == 0) argv[1] = "version";
    int exit_code = finish(command_dispatch(NULL, table, argc - 1, argv + 1));
    interrupt_pass_on();
    return exit_code;
}
