/* bench_result.c -- samples, medians, bars, the table and the JSON file */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"

#define ROWS_MAX 128
#define SAMPLES_MAX 32

/* ---- The bars: what beck must reach, beside the peers of the same run ---- */
enum bound {
    TIMES_AT_LEAST, /* beck / other >= limit */
    TIMES_AT_MOST,  /* beck / other <= limit */
    AT_MOST         /* beck <= limit */
};

static const struct bar {
    const char *workload, *metric, *other;
    enum bound bound;
    double limit;
} bars[] = {
    {"append-recycled", "rate", "lmdb", TIMES_AT_LEAST, 6},
    {"append-recycled", "rate", "sqlite", TIMES_AT_LEAST, 50},
    {"append-growing", "rate", "lmdb", TIMES_AT_LEAST, 4},
    {"append-growing", "rate", "sqlite", TIMES_AT_LEAST, 50},
    {"append-batch", "rate", "sqlite", TIMES_AT_LEAST, 8},
    {"append-batch", "rate", "lmdb", TIMES_AT_LEAST, 5},
    {"read-batch", "rate", "lmdb", TIMES_AT_LEAST, 1},
    {"read-batch-unchecked", "rate", "lmdb", TIMES_AT_LEAST, 2},
    {"read-one", "rate", "lmdb", TIMES_AT_LEAST, 0.7},
    {"durable-1", "rate", "pwritev2", TIMES_AT_LEAST, 0.9},
    {"durable-1", "rate", "sqlite", TIMES_AT_LEAST, 1},
    {"durable-8", "rate", "one process", TIMES_AT_LEAST, 3.5},
    {"durable-32", "rate", "one process", TIMES_AT_LEAST, 8},
    {"wake", "p50", "futex", TIMES_AT_MOST, 1.5},
    {"idle", "wake-ups", NULL, AT_MOST, 10},
    {"idle", "cpu", NULL, AT_MOST, 0.1},
    {"open-clean", "time", NULL, AT_MOST, 2},
    {"open-clean-big", "time", NULL, AT_MOST, 2},
    {"open-killed", "time", NULL, AT_MOST, 1000},
    {"memory", "private", NULL, AT_MOST, 4096},
};
#define BARS (sizeof bars / sizeof *bars)

static struct row {
    const char *workload, *system, *metric, *unit;
    double samples[SAMPLES_MAX];
    size_t count;
    double value; /* the median */
} rows[ROWS_MAX];

static size_t row_count, first_row;
static const char *current;
static int met, missed;

/* ---- Samples ---- */

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double median(double *values, size_t count)
{
    qsort(values, count, sizeof *values, ascending);
    return count % 2 == 1 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

static struct row *find_row(const char *system, const char *metric)
{
    for (size_t i = first_row; i < row_count; i++)
        if (strcmp(rows[i].system, system) == 0 && strcmp(rows[i].metric, metric) == 0)
            return &rows[i];
    return NULL;
}

void sample(const char *system, const char *metric, const char *unit, double value)
{
    struct row *row = find_row(system, metric);
    if (row == NULL) {
        if (row_count == ROWS_MAX) die("more than %d rows", ROWS_MAX);
        row = &rows[row_count++];
        *row = (struct row){current, system, metric, unit, {0}, 0, 0};
    }
    if (row->count == SAMPLES_MAX) die("more than %d samples of %s", SAMPLES_MAX, current);
    row->samples[row->count++] = value;
}

/* ---- The table ---- */

void results_heading(void)
{
    printf("\n%-21s %-12s %-9s %14s %-10s %-22s %7s  %s\n", "workload", "system", "metric",
           "median", "unit", "range", "ratio", "bar");
}

void results_begin(const char *workload)
{
    current = workload;
    first_row = row_count;
}

static void print_bar(const struct bar *bar, double got)
{
    bool good = bar->bound == TIMES_AT_LEAST ? got >= bar->limit : got <= bar->limit;
    const char *sign = bar->bound == TIMES_AT_LEAST ? ">=" : "<=";
    const char *times = bar->bound == AT_MOST ? "" : "x";
    printf("  bar %s %g%s: %.3g%s %s", sign, bar->limit, times, got, times, good ? "ok" : "MISSED");
    met += good;
    missed += !good;
}

/* How beck compares, run by run: what disturbs the machine disturbs neighbours alike. */
static double ratio_to(const struct row *beck, const struct row *other)
{
    double ratios[SAMPLES_MAX];
    size_t count = beck->count < other->count ? beck->count : other->count;
    for (size_t i = 0; i < count; i++) ratios[i] = beck->samples[i] / other->samples[i];
    return median(ratios, count);
}

/* A bar against a peer stands on the peer's row, an absolute one on beck's. */
static void print_bars(const struct row *row, const struct row *beck)
{
    for (size_t i = 0; i < BARS; i++) {
        const struct bar *bar = &bars[i];
        if (strcmp(bar->workload, current) != 0 || strcmp(bar->metric, row->metric) != 0) continue;
        if (strcmp(bar->other == NULL ? "beck" : bar->other, row->system) != 0) continue;
        if (bar->other == NULL) print_bar(bar, row->value);
        if (bar->other != NULL && beck != NULL) print_bar(bar, ratio_to(beck, row));
    }
}

static double lowest(const struct row *row)
{
    double value = row->samples[0];
    for (size_t i = 1; i < row->count; i++)
        if (row->samples[i] < value) value = row->samples[i];
    return value;
}

static double highest(const struct row *row)
{
    double value = row->samples[0];
    for (size_t i = 1; i < row->count; i++)
        if (row->samples[i] > value) value = row->samples[i];
    return value;
}

/* The samples stay in the order of the runs, which ratios need. */
static double median_of(const struct row *row)
{
    double copy[SAMPLES_MAX];
    memcpy(copy, row->samples, sizeof copy);
    return median(copy, row->count);
}

static void print_value(double value, int width)
{
    int decimals = value < 1 ? 3 : value < 100 ? 2 : 0;
    printf("%*.*f", width, decimals, value);
}

void results_end(void)
{
    for (size_t i = first_row; i < row_count; i++) rows[i].value = median_of(&rows[i]);
    for (size_t i = first_row; i < row_count; i++) {
        const struct row *row = &rows[i];
        const struct row *beck = find_row("beck", row->metric);
        printf("%-21s %-12s %-9s ", row->workload, row->system, row->metric);
        print_value(row->value, 14);
        printf(" %-10s ", row->unit);
        print_value(lowest(row), 10);
        printf("..");
        print_value(highest(row), -10);
        if (beck != NULL && beck != row)
            printf(" %6.2fx", ratio_to(beck, row));
        else
            printf(" %7s", "");
        print_bars(row, beck);
        printf("\n");
    }
    fflush(stdout);
}

void results_tally(void)
{
    printf("\nbars: %d met, %d missed\n", met, missed);
}

int results_write_json(const char *path)
{
    FILE *file = fopen(path, "w");
    if (file == NULL) return -1;
    fprintf(file, "[");
    for (size_t i = 0; i < row_count; i++)
        fprintf(file,
                "%s\n  {\"workload\": \"%s\", \"system\": \"%s\", \"metric\": \"%s\", "
                "\"value\": %.6g, \"unit\": \"%s\"}",
                i == 0 ? "" : ",", rows[i].workload, rows[i].system, rows[i].metric, rows[i].value,
                rows[i].unit);
    fprintf(file, "\n]\n");
    return fclose(file) == 0 ? 0 : -1;
}
