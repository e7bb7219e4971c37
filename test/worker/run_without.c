/* run_without.c -- run a command that may not use some system calls
 *
 *     run_without WHAT=ERRNO... -- COMMAND [ARGUMENT]...
 *
 * for example `run_without fallocate=ENOSYS -- beck produce my.beck t`; the names are in
 * test/without.c. Ends with the exit code of the command, or 125. */
#include "../without.c"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static int error_of(const char *name)
{
    static const struct {
        const char *name;
        int value;
    } errors[] = {{"ENOSYS", ENOSYS},
                  {"EPERM", EPERM},
                  {"EINVAL", EINVAL},
                  {"EOPNOTSUPP", EOPNOTSUPP},
                  {"ENOSPC", ENOSPC}};
    for (size_t i = 0; i < sizeof errors / sizeof errors[0]; i++)
        if (strcmp(errors[i].name, name) == 0) return errors[i].value;
    return 0;
}

int main(int count, char **words)
{
    int i = 1;
    for (; i < count && strcmp(words[i], "--") != 0; i++) {
        char *equals = strchr(words[i], '=');
        if (equals == NULL || error_of(equals + 1) == 0) return 125;
        *equals = '\0';
        if (without(words[i], error_of(equals + 1)) < 0) {
            fprintf(stderr, "run_without: %s: the kernel refuses\n", words[i]);
            return 125;
        }
    }
    if (i + 1 >= count) return 125;
    execvp(words[i + 1], words + i + 1);
    perror(words[i + 1]);
    return 125;
}
