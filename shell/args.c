/* args.c -- commands, their options and what a user typed */
#include "args.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define OPTIONS_MAX 62
#define WORDS_MAX 64
#define WORD_SIZE_MAX 64

void *must_alloc(void *memory, size_t size)
{
    void *result = realloc(memory, size);
    if (result == NULL) {
        fprintf(stderr, "beck: out of memory (%zu bytes)\n", size);
        exit(EXIT_ERROR);
    }
    return result;
}

char *must_copy(const char *text)
{
    size_t size = strlen(text) + 1;
    return memcpy(must_alloc(NULL, size), text, size);
}

/* ---- Messages ---- */
/* Whether a byte or character of a message does something to a terminal, or is no UTF-8. */
static bool is_unsafe(const char *position, size_t size)
{
    unsigned char first = (unsigned char)position[0];
    bool c1 = first == 0xc2 && (unsigned char)position[1] < 0xa0;
    return size == 0 || (first < 0x20 && first != '\n') || first == 0x7f || c1;
}

static void tell_list(const char *format, va_list values)
{
    va_list again;
    va_copy(again, values);
    size_t size = (size_t)vsnprintf(NULL, 0, format, values), used = 0;
    char *text = must_alloc(NULL, size + 1), *safe = must_alloc(NULL, 4 * size + 1);
    vsnprintf(text, size + 1, format, again);
    va_end(again);
    for (size_t i = 0; i < size;) {
        size_t character = utf8_size(text + i, size - i);
        bool breaks = text[i] == '\n' && i + 1 < size; /* a message is one line */
        if (breaks || is_unsafe(text + i, character)) {
            used += (size_t)snprintf(safe + used, 5, "\\x%02x", (unsigned char)text[i++]);
            continue;
        }
        memcpy(safe + used, text + i, character);
        used += character;
        i += character;
    }
    fwrite(safe, 1, used, stderr);
    free(safe);
    free(text);
}

void tell(const char *format, ...)
{
    va_list values;
    va_start(values, format);
    tell_list(format, values);
    va_end(values);
}

/* ---- Commands ---- */
static const char *last_word(const char *name)
{
    const char *space = strrchr(name, ' ');
    return space == NULL ? name : space + 1;
}

const struct command *command_find(const struct command *table, const char *name)
{
    for (const struct command *c = table; c->name != NULL; c++)
        if (strcmp(last_word(c->name), name) == 0) return c;
    return NULL;
}

void command_help(const struct command *command)
{
    printf("beck %s -- %s\n\n%s", command->name, command->summary, command->help);
}

int usage_error(const struct command *command, const char *format, ...)
{
    const char *name = command == NULL ? "" : command->name;
    const char *space = command == NULL ? "" : " ";
    va_list values;
    va_start(values, format);
    tell("beck%s%s: ", space, name);
    tell_list(format, values);
    tell("; see 'beck help%s%s'\n", space, name);
    va_end(values);
    return EXIT_USAGE;
}

/* What other programs call our commands, and what stands below `topic`. */
static const char *synonym(const char *word)
{
    static const char *const meanings[][2] = {
        {"cat", "consume"},       {"tail", "consume"},        {"read", "consume"},
        {"get", "consume"},       {"write", "produce"},       {"append", "produce"},
        {"add", "produce"},       {"put", "produce"},         {"send", "produce"},
        {"ls", "topic list"},     {"list", "topic list"},     {"create", "topic create"},
        {"alter", "topic alter"}, {"delete", "topic delete"}, {"describe", "topic describe"},
        {"info", "stat"},         {"status", "stat"},         {"verify", "check"},
        {"fsck", "check"}};
    for (size_t i = 0; i < sizeof meanings / sizeof *meanings; i++)
        if (strcmp(word, meanings[i][0]) == 0) return meanings[i][1];
    return NULL;
}

static int unknown_command(const struct command *parent, const struct command *table,
                           const char *word)
{
    const char *words[WORDS_MAX];
    size_t count = 0;
    if (word[0] == '-')
        return usage_error(parent, "options stand behind the command: beck %s%sCOMMAND FILE %s",
                           parent == NULL ? "" : parent->name, parent == NULL ? "" : " ", word);
    const char *meant = parent == NULL ? synonym(word) : NULL;
    if (meant != NULL)
        return usage_error(parent, "unknown command '%s' (did you mean 'beck %s'?)", word, meant);
    for (const struct command *c = table; c->name != NULL && count < WORDS_MAX; c++)
        words[count++] = last_word(c->name);
    size_t near = nearest_word(word, words, count);
    if (near == count) return usage_error(parent, "unknown command '%s'", word);
    return usage_error(parent, "unknown command '%s' (did you mean '%s'?)", word, words[near]);
}

static bool wants_help(int argc, char **argv)
{
    for (int i = 0; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (strcmp(argv[i], "--help") == 0) return true;
    return false;
}

int command_dispatch(const struct command *parent, const struct command *table, int argc,
                     char **argv)
{
    if (argc < 1) return usage_error(parent, "a command is missing");
    const struct command *command = command_find(table, argv[0]);
    bool help = wants_help(argc, argv);
    if (command == NULL && help) command = parent;
    if (command == NULL) return unknown_command(parent, table, argv[0]);
    if (command->children != NULL && command != parent)
        return command_dispatch(command, command->children, argc - 1, argv + 1);
    if (!help) return command->run(command, argc, argv);
    command_help(command);
    return EXIT_FINE;
}

/* ---- Options ---- */
static int option_error(const struct args *args, int problem)
{
    bool is_long = optopt == 0 || optopt >= ARGS_LONG;
    const char *word = is_long ? args->argv[optind - 1] : (char[]){'-', (char)optopt, '\0'};
    int size = is_long ? (int)strcspn(word, "=") : 2;
    if (problem == ':')
        usage_error(args->command, "option %s needs a value", word);
    else if (optopt >= ARGS_LONG)
        usage_error(args->command, "option %.*s takes no value", size, word);
    else
        usage_error(args->command, "unknown option %.*s", size, word);
    return ARGS_WRONG;
}

/* getopt takes the beginning of a long option for the whole; scripts would break with a new one. */
static bool is_abbreviated(const struct args *args, const struct option *option)
{
    bool apart = option->has_arg == required_argument && optarg == args->argv[optind - 1];
    const char *word = args->argv[optind - 1 - apart] + 2;
    int size = (int)strcspn(word, "=");
    if ((size_t)size == strlen(option->name)) return false;
    usage_error(args->command, "unknown option --%.*s (did you mean --%s?)", size, word,
                option->name);
    return true;
}

static bool forced;

bool args_forced(void)
{
    return forced;
}

int args_next(const struct args *args)
{
    const struct option *own = args->long_options;
    struct option long_options[OPTIONS_MAX + 2] = {{"force", no_argument, NULL, ARGS_FORCE}};
    char short_options[OPTIONS_MAX + 2];
    for (size_t i = 0; own != NULL && own[i].name != NULL && i < OPTIONS_MAX; i++)
        long_options[i + 1] = own[i];
    snprintf(short_options, sizeof short_options, ":%s", args->short_options);
    opterr = 0;
    int option;
    do {
        int i = -1;
        option = getopt_long(args->argc, args->argv, short_options, long_options, &i);
        if (option == -1) return ARGS_END;
        if (option == '?' || option == ':') return option_error(args, option);
        if (i >= 0 && is_abbreviated(args, &long_options[i])) return ARGS_WRONG;
        forced = forced || option == ARGS_FORCE;
    } while (option == ARGS_FORCE);
    return option;
}

static bool is_file(const char *path)
{
    struct stat found;
    return stat(path, &found) == 0 && S_ISREG(found.st_mode);
}

int args_positional(const struct args *args, int least, int most, const char *wanted)
{
    int count = args->argc - optind;
    if (count < least) return usage_error(args->command, "%s expected", wanted);
    if (count > most)
        return usage_error(args->command, "'%s' is one argument too many, %s expected",
                           args->argv[optind + most], wanted);
    char **names = args->argv + optind;
    if (count > 0 && strcmp(names[0], "-") == 0)
        return usage_error(args->command, "FILE is '-': write ./- for a file of that name");
    if (count > 1 && strstr(wanted, "TOPIC") != NULL && is_file(names[1]) &&
        access(names[0], F_OK) != 0)
        return usage_error(args->command, "'%s' is a file: FILE comes before TOPIC", names[1]);
    return 0;
}

/* ---- Values ---- */
bool parse_number(const char *text, int64_t min, int64_t max, int64_t *number)
{
    const char *digits = text[0] == '-' ? text + 1 : text;
    if (digits[0] < '0' || digits[0] > '9') return false;
    char *end = NULL;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (errno != 0 || *end != '\0' || value < min || value > max) return false;
    *number = value;
    return true;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

const char *unescape(const char *position, char *byte)
{
    static const char letters[] = "nrt0\\";
    static const char meaning[] = "\n\r\t\0\\";
    if (position[0] != '\\') {
        *byte = position[0];
        return position + 1;
    }
    const char *letter = position[1] == '\0' ? NULL : strchr(letters, position[1]);
    if (letter != NULL) {
        *byte = meaning[letter - letters];
        return position + 2;
    }
    if (position[1] != 'x' || hex_digit(position[2]) < 0 || hex_digit(position[3]) < 0) return NULL;
    *byte = (char)(hex_digit(position[2]) * 16 + hex_digit(position[3]));
    return position + 4;
}

bool parse_text(char *text, struct text *result)
{
    char byte;
    const char *position = text;
    while (position != NULL && *position != '\0') position = unescape(position, &byte);
    *result = (struct text){.bytes = text};
    if (position == NULL || *text == '\0') return false;
    for (position = text; *position != '\0';) {
        position = unescape(position, &byte);
        text[result->size++] = byte; /* never longer than what was read */
    }
    return true;
}

/* ---- Suggestions ---- */
static size_t least_of(size_t a, size_t b, size_t c)
{
    size_t least = a < b ? a : b;
    return least < c ? least : c;
}

/* Levenshtein's distance, one row at a time. */
static size_t edit_distance(const char *a, const char *b)
{
    size_t row[WORD_SIZE_MAX + 1];
    size_t a_size = strlen(a), b_size = strlen(b);
    if (a_size > WORD_SIZE_MAX || b_size > WORD_SIZE_MAX) return strcmp(a, b) == 0 ? 0 : SIZE_MAX;
    for (size_t j = 0; j <= b_size; j++) row[j] = j;
    for (size_t i = 1; i <= a_size; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= b_size; j++) {
            size_t above = row[j];
            row[j] = least_of(above + 1, row[j - 1] + 1, diagonal + (a[i - 1] != b[j - 1]));
            diagonal = above;
        }
    }
    return row[b_size];
}

size_t nearest_word(const char *word, const char *const *words, size_t count)
{
    /* More changed than a third of the word, or two letters, is another word. */
    size_t best = strlen(word) / 3 < 2 ? 3 : strlen(word) / 3 + 1;
    size_t near = count;
    for (size_t i = 0; i < count; i++) {
        size_t distance = edit_distance(word, words[i]);
        if (distance >= best || distance >= strlen(word)) continue;
        best = distance;
        near = i;
    }
    return near;
}
