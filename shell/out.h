/* out.h -- standard output behind one large buffer, and what is written into it */
#ifndef BECK_SHELL_OUT_H
#define BECK_SHELL_OUT_H

#include "args.h"

#include <beck.h>
#include <string.h>

/* ---- The buffer ---- */
#define OUT_SIZE (1u << 20)

struct out {
    char *buffer;
    size_t used;
    bool closed; /* nobody reads any more: everything is dropped from now on */
    bool failed; /* a write failed; the error was printed */
};

void out_open(struct out *out);
/* Writes what is buffered; false when output is closed or failed. */
bool out_flush(struct out *out);
/* Whether the reader of a pipe has gone away. */
bool out_is_abandoned(struct out *out);
/* Flushes and frees; returns `exit_code`, or EXIT_ERROR when that was 0 and a write failed. */
int out_close(struct out *out, int exit_code);

void out_large(struct out *out, const void *bytes, size_t size);
void out_printf(struct out *out, const char *format, ...) __attribute__((format(printf, 2, 3)));
void out_int(struct out *out, int64_t number);

static inline void out_bytes(struct out *out, const void *bytes, size_t size)
{
    if (size > OUT_SIZE - out->used) {
        out_large(out, bytes, size);
    } else if (size > 0) {
        memcpy(out->buffer + out->used, bytes, size);
        out->used += size;
    }
}

/* ---- Records in kcat's format language ---- */
struct format_item {
    char token; /* 0 = the literal */
    struct text literal;
};

#define FORMAT_ITEMS_MAX 64

struct format {
    struct format_item items[FORMAT_ITEMS_MAX];
    size_t count;
};

/* Reads a format; 0, or the exit code of an error that was printed. Its literals take the place of
 * `text`. */
int format_parse(struct format *format, const struct command *command, char *text);
/* The format of a value, after the key when `key_separator` is not NULL, and `separator`. */
void format_default(struct format *format, const struct text *key_separator,
                    const struct text *separator);
void format_record(struct out *out, const struct format *format, const beck_record *record);

/* ---- JSON ---- */
/* A JSON string; bytes that are no UTF-8 become U+FFFD. False when there were such bytes. */
bool json_bytes(struct out *out, const void *bytes, size_t size);
/* The same for a text that ends with NUL. */
void json_text(struct out *out, const char *text);
/* One record as kcat's JSON object, on a line of its own. */
void json_record(struct out *out, const beck_record *record);

/* ---- Tables ---- */
#define TABLE_COLUMNS_MAX 10

struct table {
    const char *const *titles; /* a title that begins with '>' stands to the right */
    size_t columns;
    char **cells;
    size_t count;
};

void table_add(struct table *table, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Adds bytes as a person reads them, or exactly. */
void table_add_bytes(struct table *table, uint64_t bytes, bool human);
/* Prints aligned columns under their titles and frees the cells. */
void table_print(struct out *out, struct table *table);
/* Prints the cells between tabs, without titles, and frees the cells. */
void table_print_plain(struct out *out, struct table *table);

#define HUMAN_SIZE 24
/* "12.3 MiB"; returns `text`. */
const char *human_bytes(uint64_t bytes, char text[HUMAN_SIZE]);

#endif
