/* cmd_check.c -- beck check: whether a file is whole */
#include "commands.h"
#include "out.h"
#include "session.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#define PROGRESS_SECONDS 1 /* a shorter check needs none */

enum { OPTION_JSON = ARGS_LONG };

struct checking {
    struct session session;
    struct out out;
    bool json, progress;
    uint64_t findings;
    int percent; /* shown last; -1 = nothing */
    struct timespec began;
};

static void clear_progress(const struct checking *c)
{
    if (c->percent >= 0) fprintf(stderr, "\r%30s\r", "");
}

static int on_finding(void *context, const char *finding)
{
    struct checking *c = context;
    c->findings++;
    if (c->session.quiet) return 0;
    if (c->json) {
        out_printf(&c->out, "%s", c->findings == 1 ? "" : ",");
        json_text(&c->out, finding);
        return 0;
    }
    clear_progress(c);
    c->percent = -1;
    out_bytes(&c->out, finding, strlen(finding));
    out_printf(&c->out, "\n");
    return out_flush(&c->out) ? 0 : 1;
}

static void on_progress(void *context, uint64_t done, uint64_t total)
{
    struct checking *c = context;
    int percent = total == 0 ? 100 : (int)(100.0 * (double)done / (double)total);
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    if (percent == c->percent || now.tv_sec - c->began.tv_sec < PROGRESS_SECONDS) return;
    c->percent = percent;
    fprintf(stderr, "\rchecking %d %%", percent);
}

/* "1 batch and " or "2 batches and ". */
static void out_count(struct out *out, uint64_t count, const char *what, const char *plural,
                      const char *behind)
{
    out_printf(out, "%" PRIu64 "%s%s%s", count, what, count == 1 ? "" : plural, behind);
}

static void print_summary(struct checking *c, const beck_check_summary *summary, bool finished)
{
    if (c->json) {
        out_printf(&c->out,
                   "],\"records\":%" PRIu64 ",\"batches\":%" PRIu64 ",\"segments\":%" PRIu64,
                   summary->records, summary->batches, summary->segments);
        out_printf(&c->out, ",\"bytes\":%" PRIu64 ",\"unread\":%" PRIu64 ",\"finished\":%s}\n",
                   summary->bytes, summary->unread, finished ? "true" : "false");
        return;
    }
    if (c->session.quiet || !finished) return;
    out_printf(&c->out, "%s: ", c->session.path);
    out_count(&c->out, summary->records, " record", "s", " in ");
    out_count(&c->out, summary->batches, " batch", "es", " and ");
    out_count(&c->out, summary->segments, " segment", "s", ", ");
    out_count(&c->out, summary->bytes, " byte", "s", " verified: ");
    if (c->findings == 0)
        out_printf(&c->out, "no problems\n");
    else
        out_count(&c->out, c->findings, " problem", "s", "\n");
    if (summary->unread > 0)
        out_printf(&c->out,
                   "%" PRIu64 " batch%s could not be decompressed here ('beck version' tells why);"
                   " the checksum%s right\n",
                   summary->unread, summary->unread == 1 ? "" : "es",
                   summary->unread == 1 ? " was" : "s were");
}

static int check(struct checking *c)
{
    c->findings = 0;
    c->percent = -1;
    int rc = session_open(&c->session, BECK_OPEN_READONLY | BECK_OPEN_NO_CREATE);
    if (rc < 0) return rc == BECK_CORRUPT ? EXIT_DAMAGE : EXIT_ERROR;
    beck_check_summary summary = {.size = sizeof summary};
    clock_gettime(CLOCK_MONOTONIC, &c->began);
    c->progress = isatty(STDERR_FILENO) && !c->session.quiet;
    out_open(&c->out);
    if (c->json) {
        out_printf(&c->out, "{\"file\":");
        json_text(&c->out, c->session.path);
        out_printf(&c->out, ",\"findings\":[");
    }
    rc = beck_check(c->session.db, on_finding, c->progress ? on_progress : NULL, c, &summary);
    clear_progress(c);
    bool finished = rc >= 0 || (rc == BECK_CORRUPT && c->findings > 0);
    print_summary(c, &summary, finished);
    int status = finished ? EXIT_FINE : session_error(&c->session);
    if (c->findings > 0 || rc == BECK_CORRUPT) status = EXIT_DAMAGE;
    return session_close(&c->session, out_close(&c->out, status));
}

static int run_check(const struct command *self, int argc, char **argv)
{
    static const struct option list[] = {{"json", no_argument, NULL, OPTION_JSON}, {0}};
    struct args args = {self, "q", list, argc, argv};
    struct checking c = {0};
    int option;
    while ((option = args_next(&args)) != ARGS_END) {
        if (option == ARGS_WRONG) return EXIT_USAGE;
        if (option == 'q') c.session.quiet = true;
        if (option == OPTION_JSON) c.json = true;
    }
    int status = args_positional(&args, 1, argc, "FILE");
    if (status == 0 && c.session.quiet && c.json)
        status = usage_error(self, "-q and --json exclude each other");
    if (status != 0) return status;
    for (char **path = argv + optind; *path != NULL; path++) {
        c.session.path = *path;
        int one = check(&c);
        if (one > status) status = one;
    }
    return status;
}

const struct command command_check = {
    .name = "check",
    .summary = "verify every byte of a file",
    .help =
        "Usage: beck check FILE... [-q] [--json]\n"
        "\n"
        "Prints a line for each problem and a summary; changes nothing. Exit code 0: no problems,\n"
        "2: problems found, 1: the check could not be made. Of several files the worst counts.\n"
        "\n"
        "  -q       print nothing\n"
        "  --json   one object a line for each file, with the findings and the counts\n"
        "  --force  use the file on a file system that beck refuses\n"
        "\n"
        "Examples:\n"
        "  beck check my.beck\n"
        "  beck check my.beck -q && echo whole\n",
    .run = run_check,
};
