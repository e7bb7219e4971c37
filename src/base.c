/* base.c -- integers, assertions, limits with names */
#include "base.h"

#ifdef BECK_DEBUG
#include <stdio.h>
#include <stdlib.h>

void base_assert_failed(const char *file, int line, const char *what)
{
    fprintf(stderr, "%s:%d: assertion failed: %s\n", file, line, what);
    abort();
}
#endif
