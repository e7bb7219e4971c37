/* coverage.c -- keeps what `make coverage` counted in a process that ends without exit()
 *
 * The linker sends _exit, kill and raise here (--wrap), in that build only. What another process
 * kills with SIGKILL loses its counts. */
#ifdef BECK_COVER
#include <gcov.h>
#include <signal.h>
#include <unistd.h>

_Noreturn void __real__exit(int code);
_Noreturn void __wrap__exit(int code);
int __real_kill(pid_t pid, int number);
int __wrap_kill(pid_t pid, int number);
int __real_raise(int number);
int __wrap_raise(int number);

void __wrap__exit(int code)
{
    __gcov_dump();
    __real__exit(code);
}

int __wrap_kill(pid_t pid, int number)
{
    if (pid == getpid() && number == SIGKILL) __gcov_dump();
    return __real_kill(pid, number);
}

int __wrap_raise(int number)
{
    if (number == SIGKILL) __gcov_dump();
    return __real_raise(number);
}
#else
typedef int coverage_is_off;
#endif
