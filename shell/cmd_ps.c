/* cmd_ps.c -- beck ps: who has a file open, what each holds and what it waits for */
#include "commands.h"
#include "out.h"
#include "rounds.h"
#include "session.h"
#include "stat.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { OPTION_JSON = ARGS_LONG };

struct list {
    const beck_handle_info *const *handles;
    size_t count;
};

/* ---- In words ---- */
struct words {
    char *text;
    size_t size;
};

static void say(struct words *words, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void say(struct words *words, const char *format, ...)
{
    va_list values;
    va_start(values, format);
    size_t size = (size_t)vsnprintf(NULL, 0, format, values);
    va_end(values);
    words->text = must_alloc(words->text, words->size + size + 1);
    va_start(values, format);
    vsnprintf(words->text + words->size, size + 1, format, values);
    va_end(values);
    words->size += size;
}

/* "orders:2"; "#17:2" when the topic has no name any more. */
static void say_partition(struct words *words, const beck_claim *claim)
{
    if (claim->topic != NULL)
        say(words, "%s:%" PRId32, claim->topic, claim->partition);
    else
        say(words, "#%" PRIu64 ":%" PRId32, claim->topic_id, claim->partition);
}

static const beck_handle_info *find_slot(const struct list *list, int32_t slot)
{
    for (size_t i = 0; slot >= 0 && i < list->count; i++)
        if (list->handles[i]->slot == slot) return list->handles[i];
    return NULL;
}

static void say_holder(struct words *words, const struct list *list, const beck_claim *claim)
{
    const beck_handle_info *holder = find_slot(list, claim->holder);
    if (holder == NULL) return;
    say(words, " (slot %" PRId32 "%s%s)", holder->slot,
        holder->state == BECK_HANDLE_ALIVE ? "" : ", ",
        holder->state == BECK_HANDLE_ALIVE ? "" : stat_state_name(holder->state));
}

static void say_held_back(struct words *words, const beck_claim *claim)
{
    char size[HUMAN_SIZE];
    if (claim->bytes > 0)
        say(words, ", which was deleted: holds back %s", human_bytes(claim->bytes, size));
}

static void say_pin(struct words *words, const beck_claim *claim)
{
    if (claim->topic_id == 0) {
        say(words, "reads segment %" PRIu64, claim->segment);
        return;
    }
    say(words, "reads ");
    say_partition(words, claim);
    say(words, " [%" PRId64 ",", claim->from);
    if (claim->to >= 0)
        say(words, "%" PRId64 ")", claim->to);
    else
        say(words, "...)");
    say_held_back(words, claim);
}

static void say_wait(struct words *words, const struct list *list, const beck_claim *claim)
{
    if (claim->type == BECK_CLAIM_WAIT_CATALOG) {
        say(words, "waits for the lock of the catalog");
    } else if (claim->partition < 0) {
        say(words, "waits for records in %" PRIu32 " partitions", claim->partitions);
    } else {
        say(words, claim->type == BECK_CLAIM_WAIT_LOCK   ? "waits for the lock of "
                   : claim->type == BECK_CLAIM_WAIT_SYNC ? "waits for the sync of "
                                                         : "waits for records in ");
        say_partition(words, claim);
    }
    say_holder(words, list, claim);
}

static void say_claim(struct words *words, const struct list *list, const beck_claim *claim,
                      bool dead)
{
    switch (claim->type) {
    case BECK_CLAIM_OPENING: say(words, "opens the file"); break;
    case BECK_CLAIM_CLOSING: say(words, "closes the file"); break;
    case BECK_CLAIM_CATALOG: say(words, "%s the lock of the catalog", dead ? "left" : "has"); break;
    case BECK_CLAIM_LOCK:
        say(words, "%s the lock of ", dead ? "left" : "has");
        say_partition(words, claim);
        say_held_back(words, claim);
        break;
    case BECK_CLAIM_LEADER:
        say(words, dead ? "left the sync of " : "syncs ");
        say_partition(words, claim);
        break;
    case BECK_CLAIM_SYNC: say(words, dead ? "left a sync of the file" : "syncs the file"); break;
    case BECK_CLAIM_PIN: say_pin(words, claim); break;
    default: say_wait(words, list, claim);
    }
}

static void say_claims(struct words *words, const struct list *list, const beck_handle_info *h)
{
    if (h->other_namespace) say(words, "pid %" PRIu32 " of another pid namespace", h->process);
    for (uint32_t i = 0; i < h->claim_count; i++) {
        say(words, "%s", words->size > 0 ? "; " : "");
        say_claim(words, list, &h->claims[i], h->state == BECK_HANDLE_DEAD);
    }
    if (words->size == 0) say(words, "nothing now");
}

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void add_age(struct table *table, const beck_handle_info *handle, bool human)
{
    static const struct {
        int64_t seconds;
        char unit;
    } units[] = {{86400, 'd'}, {3600, 'h'}, {60, 'm'}, {1, 's'}};
    int64_t age = now_ms() / 1000 - handle->opened_at / 1000;
    size_t unit = 0;
    while (unit < 3 && age < 2 * units[unit].seconds) unit++;
    if (handle->opened_at == 0)
        table_add(table, "-");
    else if (human)
        table_add(table, "%" PRId64 "%c", age / units[unit].seconds, units[unit].unit);
    else
        table_add(table, "%" PRId64, age);
}

static void add_number(struct table *table, bool known, int64_t number)
{
    if (known)
        table_add(table, "%" PRId64, number);
    else
        table_add(table, "-");
}

/* With `timed` the time stands in front of each line. */
static void print_text(struct out *out, const struct list *list, bool human, bool timed)
{
    static const char *const titles[] = {">TIME", ">SLOT", ">PID", "PROGRAM",
                                         "STATE", ">OPEN", "DOES"};
    struct table table = {.titles = titles + !timed, .columns = timed ? 7 : 6};
    if (human && list->count == 0) out_printf(out, "nobody has it open for writing\n");
    if (list->count == 0) return;
    int64_t now = now_ms();
    for (size_t i = 0; i < list->count; i++) {
        const beck_handle_info *h = list->handles[i];
        struct words words = {0};
        say_claims(&words, list, h);
        if (timed) table_add(&table, "%" PRId64, now);
        add_number(&table, h->slot >= 0, h->slot);
        /* the number of somebody else here: nobody shall kill it */
        add_number(&table, h->process != 0 && !h->other_namespace, h->process);
        table_add(&table, "%s", *h->program == '\0' ? "-" : h->program);
        table_add(&table, "%s", stat_state_name(h->state));
        add_age(&table, h, human);
        table_add(&table, "%s", words.text);
        free(words.text);
    }
    if (human)
        table_print(out, &table);
    else
        table_print_plain(out, &table);
}

/* ---- As JSON ---- */
static void json_number(struct out *out, const char *name, bool known, int64_t number)
{
    if (known)
        out_printf(out, ",\"%s\":%" PRId64, name, number);
    else
        out_printf(out, ",\"%s\":null", name);
}

static void json_name(struct out *out, const char *name, const char *text)
{
    out_printf(out, ",\"%s\":", name);
    if (text == NULL || *text == '\0')
        out_printf(out, "null");
    else
        json_text(out, text);
}

static void json_claim(struct out *out, const beck_claim *claim)
{
    static const char *const names[] = {
        "none",      "opening", "closing",           "catalog_lock", "lock",      "sync_leader",
        "file_sync", "pin",     "wait_catalog_lock", "wait_lock",    "wait_sync", "wait_records"};
    bool many = claim->type == BECK_CLAIM_WAIT_RECORDS && claim->partition < 0;
    out_printf(out, "{\"type\":\"%s\"", names[claim->type]);
    json_name(out, "topic", claim->topic);
    json_number(out, "topic_id", claim->topic_id != 0, (int64_t)claim->topic_id);
    json_number(out, "partition", claim->partition >= 0, claim->partition);
    json_number(out, "partitions", many, claim->partitions);
    json_number(out, "segment", claim->segment != 0, (int64_t)claim->segment);
    json_number(out, "from", claim->from >= 0, claim->from);
    json_number(out, "to", claim->to >= 0, claim->to);
    json_number(out, "held_back_bytes", true, (int64_t)claim->bytes);
    json_number(out, "holder", claim->holder >= 0, claim->holder);
    out_printf(out, "}");
}

static void print_json(struct out *out, const struct list *list)
{
    out_printf(out, "[");
    for (size_t i = 0; i < list->count; i++) {
        const beck_handle_info *h = list->handles[i];
        out_printf(out, "%s\n{\"slot\":", i == 0 ? "" : ",");
        if (h->slot >= 0)
            out_int(out, h->slot);
        else
            out_printf(out, "null");
        json_number(out, "pid", h->process != 0, h->process);
        out_printf(out, ",\"other_pid_namespace\":%s", h->other_namespace ? "true" : "false");
        json_name(out, "program", h->program);
        json_name(out, "state", stat_state_name(h->state));
        json_number(out, "opened_at", h->opened_at != 0, h->opened_at);
        out_printf(out, ",\"claims\":[");
        for (uint32_t k = 0; k < h->claim_count; k++) {
            out_printf(out, "%s", k == 0 ? "" : ",");
            json_claim(out, &h->claims[k]);
        }
        out_printf(out, "]}");
    }
    out_printf(out, list->count == 0 ? "]\n" : "\n]\n");
}

/* ---- The command ---- */
static int show(struct session *session, struct rounds *rounds, struct out *out, bool json)
{
    bool human = isatty(STDOUT_FILENO);
    do {
        struct list list = {0};
        int rc = beck_handles(session->db, &list.handles, &list.count);
        if (rc < 0) return session_error(session);
        if (human && rounds->interval_ms > 0)
            out_printf(out, "\033[H\033[2J"); /* an empty screen */
        if (json)
            print_json(out, &list);
        else
            print_text(out, &list, human, !human && rounds->interval_ms > 0);
    } while (rounds_next(rounds, out));
    return EXIT_FINE;
}

static int run_ps(const struct command *self, int argc, char **argv)
{
    static const struct option list[] = {{"json", no_argument, NULL, OPTION_JSON}, {0}};
    struct args args = {self, "", list, argc, argv};
    struct rounds rounds;
    bool json = false;
    int option;
    while ((option = args_next(&args)) != ARGS_END) {
        if (option == ARGS_WRONG) return EXIT_USAGE;
        json = true;
    }
    int status = rounds_parse(&rounds, &args);
    if (status != 0) return status;
    struct session session = {.path = argv[optind]};
    if (session_open(&session, BECK_OPEN_OBSERVE | BECK_OPEN_NO_CREATE) < 0) return EXIT_ERROR;
    struct out out;
    out_open(&out);
    status = show(&session, &rounds, &out, json);
    return session_close(&session, out_close(&out, status));
}

const struct command command_ps = {
    .name = "ps",
    .summary = "show who has a file open, and who waits for whom",
    .help =
        "Usage: beck ps FILE [SECONDS [COUNT]] [--json]\n"
        "\n"
        "One line for each handle that may write: its slot in the file, pid, program, state, how\n"
        "long it has been open, and what it does: the locks it has, the segments it reads, what "
        "it\n"
        "waits for and who has that. With SECONDS again and again, COUNT times. It takes no lock\n"
        "and writes nothing: it works while others are stopped, busy or waiting. In a pipe the\n"
        "columns come without titles, with tabs between them and OPEN in seconds: SLOT PID "
        "PROGRAM\n"
        "STATE OPEN DOES; with SECONDS each line begins with the time in ms.\n"
        "\n"
        "STATE alive; stopped: by a signal or a debugger, and what it has, it keeps (end it or "
        "let\n"
        "it go on: kill -KILL or -CONT); dead: what it left is taken over by the next who looks.\n"
        "A pid of another pid namespace (a container) is no pid here and stands in the last\n"
        "column; then 'stopped' cannot be told from 'alive'. Read-only handles hold nothing and\n"
        "nobody up, and are not listed: nobody knows of them.\n"
        "\n"
        "  --json   an array of handles, one a line\n"
        "  --force  use the file on a file system that beck refuses\n"
        "\n"
        "Examples:\n"
        "  beck ps my.beck\n"
        "  beck ps my.beck 1\n"
        "  beck ps my.beck | awk -F'\\t' '$4 == \"stopped\" { print $2 }' | xargs -r kill -CONT\n"
        "  beck ps my.beck --json | jq '.[].claims[] | select(.held_back_bytes > 0)'\n",
    .run = run_ps,
};
