/* settings.h -- the settings of a topic: names, limits, defaults, and the text that is stored */
#ifndef SETTINGS_H
#define SETTINGS_H

#include "base.h"

/* Set one by its name; INVALID says what is allowed. */
BECK_PRIVATE int settings_set(beck_topic_config *config, const char *name, const char *value);
/* Take over those that are not 0 in `from`. */
BECK_PRIVATE void settings_merge(beck_topic_config *config, const beck_topic_config *from);
/* Fill in defaults for what is 0. */
BECK_PRIVATE void settings_defaults(beck_topic_config *config);
/* INVALID says which setting and what is allowed. */
BECK_PRIVATE int settings_check(const beck_topic_config *config);
/* The name of one of enum beck_compression, or NULL. */
BECK_PRIVATE const char *settings_compression_name(uint32_t compression);

/* As stored in a TOPIC entry: lines of what differs from the default, without the last newline; and
 * back. The length. */
BECK_PRIVATE size_t settings_write(const beck_topic_config *config, char *text, size_t bytes);
BECK_PRIVATE int settings_read(const char *text, size_t bytes, beck_topic_config *config);
/* Add the lines of `old` that this version does not know: what a newer beck set stays set. The new
 * length. */
BECK_PRIVATE size_t settings_keep(const char *old, char *text, size_t used, size_t bytes);

#endif
