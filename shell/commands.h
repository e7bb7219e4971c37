/* commands.h -- every command of the program; main.c lists them */
#ifndef BECK_SHELL_COMMANDS_H
#define BECK_SHELL_COMMANDS_H

#include "args.h"

extern const struct command command_produce;
extern const struct command command_consume;
extern const struct command command_topic;
extern const struct command command_stat;
extern const struct command command_ps;
extern const struct command command_check;

#endif
