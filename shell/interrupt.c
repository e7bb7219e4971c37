/* interrupt.c -- Ctrl-C and termination as a question that is asked between two steps */
#include "interrupt.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>

static volatile sig_atomic_t caught;

static void note(int signal_number)
{
    caught = signal_number;
}

static void watch(int signal_number)
{
    struct sigaction action = {.sa_handler = note, .sa_flags = (int)SA_RESETHAND};
    struct sigaction before;
    sigemptyset(&action.sa_mask);
    /* A shell starts background jobs with SIGINT ignored, so that they survive its Ctrl-C. */
    if (sigaction(signal_number, NULL, &before) == 0 && before.sa_handler == SIG_IGN) return;
    sigaction(signal_number, &action, NULL);
}

void interrupt_watch(void)
{
    watch(SIGINT);
    watch(SIGTERM);
}

int interrupted(void)
{
    return caught;
}

int interrupt_exit_code(int otherwise)
{
    return caught != 0 ? 128 + caught : otherwise;
}

void interrupt_pass_on(void)
{
    if (caught == 0) return;
    signal(caught, SIG_DFL);
    raise(caught);
}

static void wait_for(struct pollfd *waiting, nfds_t count, const struct timespec *span)
{
    sigset_t watched, before;
    sigemptyset(&watched);
    sigaddset(&watched, SIGINT);
    sigaddset(&watched, SIGTERM);
    /* Blocked between the question and the wait, or a signal in that moment would be slept over. */
    sigprocmask(SIG_BLOCK, &watched, &before);
    while (caught == 0 && ppoll(waiting, count, span, &before) < 0 && errno == EINTR) continue;
    sigprocmask(SIG_SETMASK, &before, NULL);
}

bool interrupt_wait_readable(int fd)
{
    struct pollfd waiting = {.fd = fd, .events = POLLIN};
    wait_for(&waiting, 1, NULL);
    return caught == 0;
}

bool interrupt_sleep(int64_t ms)
{
    struct timespec span = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    wait_for(NULL, 0, &span);
    return caught == 0;
}
