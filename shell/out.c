/* out.c -- standard output behind one large buffer */
#include "out.h"

#include "interrupt.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define GRACE_MS 1000    /* how long a signalled program waits for a reader that does not read */
#define PIPE_PIECE 4096u /* a pipe that polls writable takes so much without blocking */

void out_open(struct out *out)
{
    *out = (struct out){.buffer = must_alloc(NULL, OUT_SIZE)};
}

static bool wait_writable(int timeout_ms)
{
    struct pollfd waiting = {.fd = STDOUT_FILENO, .events = POLLOUT};
    return poll(&waiting, 1, timeout_ms) > 0;
}

static void write_failed(struct out *out)
{
    if (errno == EPIPE) {
        out->closed = true;
        return;
    }
    out->failed = true;
    tell("beck: standard output: %s\n", strerror(errno));
}

static bool write_all(struct out *out, const char *bytes, size_t size)
{
    while (size > 0 && !out->closed && !out->failed) {
        bool stopping = interrupted() != 0;
        if (stopping && !wait_writable(GRACE_MS)) {
            out->closed = true;
            break;
        }
        ssize_t n = write(STDOUT_FILENO, bytes, stopping && size > PIPE_PIECE ? PIPE_PIECE : size);
        if (n >= 0) {
            bytes += n;
            size -= (size_t)n;
        } else if (errno == EAGAIN) {
            wait_writable(-1);
        } else if (errno != EINTR) {
            write_failed(out);
        }
    }
    return !out->closed && !out->failed;
}

bool out_flush(struct out *out)
{
    size_t used = out->used;
    out->used = 0;
    return write_all(out, out->buffer, used);
}

bool out_is_abandoned(struct out *out)
{
    struct pollfd waiting = {.fd = STDOUT_FILENO};
    if (poll(&waiting, 1, 0) > 0 && (waiting.revents & POLLERR) != 0) out->closed = true;
    return out->closed;
}

int out_close(struct out *out, int exit_code)
{
    out_flush(out);
    free(out->buffer);
    out->buffer = NULL;
    return out->failed && exit_code == EXIT_FINE ? EXIT_ERROR : exit_code;
}

/* What does not fit behind what is there: larger than the buffer goes past it. */
void out_large(struct out *out, const void *bytes, size_t size)
{
    out_flush(out);
    if (size >= OUT_SIZE) {
        write_all(out, bytes, size);
        return;
    }
    memcpy(out->buffer, bytes, size);
    out->used = size;
}

void out_printf(struct out *out, const char *format, ...)
{
    char text[512];
    va_list values;
    va_start(values, format);
    int size = vsnprintf(text, sizeof text, format, values);
    va_end(values);
    if (size >= (int)sizeof text) size = (int)sizeof text - 1;
    if (size > 0) out_bytes(out, text, (size_t)size);
}

void out_int(struct out *out, int64_t number)
{
    char text[21];
    char *p = text + sizeof text;
    uint64_t rest = number < 0 ? 0 - (uint64_t)number : (uint64_t)number;
    do {
        *--p = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest > 0);
    if (number < 0) *--p = '-';
    out_bytes(out, p, (size_t)(text + sizeof text - p));
}
