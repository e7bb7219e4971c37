/* out_table.c -- rows of text, aligned for people or with tabs for programs */
#include "out.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

const char *human_bytes(uint64_t bytes, char text[HUMAN_SIZE])
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    double size = (double)bytes;
    size_t unit = 0;
    while (size >= 1023.95 && unit + 1 < sizeof units / sizeof *units) {
        size /= 1024;
        unit++;
    }
    snprintf(text, HUMAN_SIZE, unit == 0 ? "%.0f %s" : "%.1f %s", size, units[unit]);
    return text;
}

void table_add(struct table *table, const char *format, ...)
{
    va_list values;
    va_start(values, format);
    int size = vsnprintf(NULL, 0, format, values);
    va_end(values);
    char *text = must_alloc(NULL, (size_t)size + 1);
    va_start(values, format);
    vsnprintf(text, (size_t)size + 1, format, values);
    va_end(values);
    table->cells = must_alloc(table->cells, (table->count + 1) * sizeof *table->cells);
    table->cells[table->count++] = text;
}

void table_add_bytes(struct table *table, uint64_t bytes, bool human)
{
    char text[HUMAN_SIZE];
    if (human)
        table_add(table, "%s", human_bytes(bytes, text));
    else
        table_add(table, "%" PRIu64, bytes);
}

static void table_free(struct table *table)
{
    for (size_t i = 0; i < table->count; i++) free(table->cells[i]);
    free(table->cells);
    table->cells = NULL;
    table->count = 0;
}

static void print_row(struct out *out, const struct table *table, const char *const *cells,
                      const int *widths)
{
    for (size_t column = 0; column < table->columns; column++) {
        bool right = table->titles[column][0] == '>';
        bool last = column + 1 == table->columns;
        int size = (int)strlen(cells[column]), pad = widths[column] - size;
        out_printf(out, "%s%*s", column == 0 ? "" : "  ", right ? pad : 0, "");
        out_bytes(out, cells[column], (size_t)size);
        out_printf(out, "%*s", right || last ? 0 : pad, "");
    }
    out_bytes(out, "\n", 1);
}

void table_print(struct out *out, struct table *table)
{
    const char *titles[TABLE_COLUMNS_MAX];
    int widths[TABLE_COLUMNS_MAX];
    for (size_t column = 0; column < table->columns; column++) {
        titles[column] = table->titles[column] + (table->titles[column][0] == '>');
        widths[column] = (int)strlen(titles[column]);
    }
    for (size_t i = 0; i < table->count; i++) {
        int width = (int)strlen(table->cells[i]);
        int *widest = &widths[i % table->columns];
        if (width > *widest) *widest = width;
    }
    print_row(out, table, titles, widths);
    for (size_t i = 0; i + table->columns <= table->count; i += table->columns)
        print_row(out, table, (const char *const *)&table->cells[i], widths);
    table_free(table);
}

void table_print_plain(struct out *out, struct table *table)
{
    for (size_t i = 0; i < table->count; i++) {
        out_bytes(out, table->cells[i], strlen(table->cells[i]));
        out_bytes(out, (i + 1) % table->columns == 0 ? "\n" : "\t", 1);
    }
    table_free(table);
}
