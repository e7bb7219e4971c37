/* err.c -- status codes from one table; where an error is born */
#include "err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define ERR_BYTES 1024

static _Thread_local char err_text[ERR_BYTES];

/* Formatted beside err_text, because an argument may well be the message that is replaced. */
int err_set(int status, const char *format, ...)
{
    char text[ERR_BYTES];
    va_list args;
    va_start(args, format);
    int length = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (length < 0) text[0] = '\0';
    memcpy(err_text, text, strlen(text) + 1);
    return status;
}

/* When it gets too long the end is cut off, which is the oldest part. */
int err_context(int status, const char *format, ...)
{
    char text[2 * ERR_BYTES + 2];
    va_list args;
    va_start(args, format);
    int length = vsnprintf(text, ERR_BYTES, format, args);
    va_end(args);
    if (length < 0) return status;
    size_t used = strlen(text);
    snprintf(text + used, sizeof text - used, ": %s",
             err_text[0] ? err_text : beck_status_text(status));
    text[ERR_BYTES - 1] = '\0';
    memcpy(err_text, text, strlen(text) + 1);
    return status;
}

const char *err_records(char text[ERR_RECORDS_BYTES], uint64_t from, uint64_t to)
{
    if (to - from == 1)
        snprintf(text, ERR_RECORDS_BYTES, "record %llu is", (unsigned long long)from);
    else
        snprintf(text, ERR_RECORDS_BYTES, "records %llu to %llu are", (unsigned long long)from,
                 (unsigned long long)to - 1);
    return text;
}

const char *err_message(void)
{
    return err_text;
}

int err_internal(const char *file, int line, const char *what)
{
    return err_set(BECK_INTERNAL, "internal error: %s at %s:%d", what, file, line);
}

const char *beck_status_text(int status)
{
    switch (status) {
#define ERR_TEXT(name, value, text, class)                                                         \
    case value: return text;
        BECK_STATUS_LIST(ERR_TEXT)
#undef ERR_TEXT
    default: return "unknown status";
    }
}

const char *beck_status_name(int status)
{
    switch (status) {
#define ERR_NAME(name, value, text, class)                                                         \
    case value: return #name;
        BECK_STATUS_LIST(ERR_NAME)
#undef ERR_NAME
    default: return "?";
    }
}

/* An unknown status is an error when it is negative; then only the call can be changed. */
int beck_status_class(int status)
{
    switch (status) {
#define ERR_CLASS(name, value, text, class)                                                        \
    case value: return BECK_CLASS_##class;
        BECK_STATUS_LIST(ERR_CLASS)
#undef ERR_CLASS
    default: return status < 0 ? BECK_CLASS_CALLER : BECK_CLASS_NONE;
    }
}

const char *beck_version(void)
{
    return BECK_VERSION;
}

int32_t beck_version_number(void)
{
    return BECK_VERSION_NUMBER;
}
