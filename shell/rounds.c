/* rounds.c -- [SECONDS [COUNT]] behind a FILE: to show something once, or again and again */
#include "rounds.h"

#include "interrupt.h"

#include <stdlib.h>
#include <time.h>

#define SECONDS_MIN 0.05
#define SECONDS_MAX 86400.0

int64_t rounds_clock_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int rounds_parse(struct rounds *rounds, const struct args *args)
{
    char *end = NULL;
    int status = args_positional(args, 1, 3, "FILE, and perhaps SECONDS and COUNT");
    if (status != 0) return status;
    char **words = args->argv + optind;
    int count = args->argc - optind;
    *rounds = (struct rounds){.left = count == 1 ? 1 : INT64_MAX};
    if (count > 1) {
        double seconds = strtod(words[1], &end);
        if (*words[1] < '0' || *words[1] > '9' || *end != '\0' || seconds < SECONDS_MIN ||
            seconds > SECONDS_MAX)
            return usage_error(args->command, "'%s' is not a number of seconds from %.2f to %.0f",
                               words[1], SECONDS_MIN, SECONDS_MAX);
        rounds->interval_ms = (int64_t)(seconds * 1000);
    }
    if (count > 2 && !parse_number(words[2], 1, INT64_MAX - 1, &rounds->left))
        return usage_error(args->command, "'%s' is not a count", words[2]);
    if (count > 1) interrupt_watch();
    rounds->next_ms = rounds_clock_ms() + rounds->interval_ms;
    return 0;
}

bool rounds_next(struct rounds *rounds, struct out *out)
{
    if (!out_flush(out)) return false;
    if (rounds->left != INT64_MAX && --rounds->left == 0) return false;
    int64_t now = rounds_clock_ms();
    if (rounds->next_ms > now && !interrupt_sleep(rounds->next_ms - now)) return false;
    if (rounds->next_ms < now) rounds->next_ms = now; /* late: do not catch up */
    rounds->next_ms += rounds->interval_ms;
    return interrupted() == 0 && !out_is_abandoned(out);
}
