/* args.h -- commands, their options and what a user typed */
#ifndef BECK_SHELL_ARGS_H
#define BECK_SHELL_ARGS_H

#include <getopt.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What the program tells the shell that started it; a signal is 128 plus its number. */
enum exit_code {
    EXIT_FINE = 0,
    EXIT_ERROR = 1,
    EXIT_DAMAGE = 2, /* the file is damaged, or records are missing */
    EXIT_USAGE = 64  /* the command line is wrong: nothing was done */
};

struct command {
    const char *name;    /* in full, for example "topic create" */
    const char *summary; /* one line for the list of commands */
    const char *help;    /* usage, options and examples */
    int (*run)(const struct command *self, int argc, char **argv); /* returns the exit code */
    const struct command *children; /* instead of run; the last has no name */
};

/* Prints to standard error. What names and paths hold is shown as text: control characters, line
 * feeds but the last, and bytes that are no UTF-8 as \xNN. */
void tell(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Bytes of the UTF-8 character at `bytes`; 0 when it is cut, overlong, a surrogate or too large. */
size_t utf8_size(const void *bytes, size_t left);

/* Prints the help of a command. */
void command_help(const struct command *command);
/* The command of this name in a table, or NULL. The name is the last word of command->name. */
const struct command *command_find(const struct command *table, const char *name);
/* Runs argv[0] of the table, or prints its help when --help is among the arguments; `parent` is
 * NULL for the table of the program. */
int command_dispatch(const struct command *parent, const struct command *table, int argc,
                     char **argv);
/* Prints one line with the way to the help and returns EXIT_USAGE. `command` may be NULL. */
int usage_error(const struct command *command, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* The options of one command line. Options may stand anywhere; "--" ends them. */
struct args {
    const struct command *command;
    const char *short_options;         /* as for getopt, without a leading ':' */
    const struct option *long_options; /* with values from ARGS_LONG on; may be NULL */
    int argc;
    char **argv;
};

enum {
    ARGS_LONG = 256, /* the value of the first long option: never a character */
    ARGS_FORCE = 4096,
    ARGS_END = -1,  /* no more options: the rest is argv[optind] to argv[argc - 1] */
    ARGS_WRONG = -2 /* an option is wrong and that was printed: return EXIT_USAGE */
};

/* The next option as getopt_long tells it, ARGS_END or ARGS_WRONG. Every command has --force. */
int args_next(const struct args *args);
/* Was --force among them? */
bool args_forced(void);
/* Checks how many positional arguments follow; 0, or the exit code of an error that was printed. */
int args_positional(const struct args *args, int least, int most, const char *wanted);

/* A whole decimal number from min to max and nothing else. */
bool parse_number(const char *text, int64_t min, int64_t max, int64_t *number);

struct text {
    char *bytes; /* never NULL once parsed; any bytes */
    size_t size;
};

/* One character of a text with escapes (\n \r \t \0 \\ \xNN). Returns the position after it,
 * or NULL when it is wrong. */
const char *unescape(const char *position, char *byte);
/* A whole text with escapes, which must not be empty. The result takes the place of `text`. */
bool parse_text(char *text, struct text *result);

/* The index of the word most like `word`, or `count` when none is. */
size_t nearest_word(const char *word, const char *const *words, size_t count);

/* Memory or the end of the program. */
void *must_alloc(void *memory, size_t size);
char *must_copy(const char *text);

#endif
