/* settings.c -- the settings of a topic: names, limits, defaults, and the text that is stored */
#include "settings.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "err.h"

/* One row is all a setting needs here. Its value 0 means that it was not set. */
struct setting {
    const char *name;
    size_t at; /* of a uint32_t in beck_topic_config */
    uint32_t preset;
    uint32_t least; /* of a number */
    uint32_t most;
    const char *const *words; /* or, for one of an enum, the names of its values from 1 on */
    const char *allowed;      /* of words */
};

static const char *const classes[] = {
    [BECK_SYNC_SYNC] = "sync", [BECK_SYNC_OS] = "os", [BECK_SYNC_OS + 1] = NULL};

static const char *const compressions[] = {
    [BECK_COMPRESSION_NONE] = "uncompressed", [BECK_COMPRESSION_GZIP] = "gzip",
    [BECK_COMPRESSION_SNAPPY] = "snappy",     [BECK_COMPRESSION_LZ4] = "lz4",
    [BECK_COMPRESSION_ZSTD] = "zstd",         [BECK_COMPRESSION_PRODUCER] = "producer",
    [BECK_COMPRESSION_PRODUCER + 1] = NULL};

#define SETTING_NUMBER(name, field, preset, least, most)                                           \
    {                                                                                              \
        name, offsetof(beck_topic_config, field), preset, least, most, NULL, NULL                  \
    }
#define SETTING_WORDS(name, field, preset, words, allowed)                                         \
    {                                                                                              \
        name, offsetof(beck_topic_config, field), preset, 0, 0, words, allowed                     \
    }

/* The first is stored in a field of its own, the others as text. */
static const struct setting known_settings[] = {
    SETTING_NUMBER("partitions", partitions, 1, 1, BECK_PARTITIONS_MAX),
    SETTING_WORDS("sync", sync, BECK_SYNC_SYNC, classes, "sync or os"),
    SETTING_NUMBER("max.message.bytes", max_message_bytes, MESSAGE_BYTES_DEFAULT, MESSAGE_BYTES_MIN,
                   MESSAGE_BYTES_LIMIT),
    SETTING_NUMBER("segment.bytes", segment_bytes, SEGMENT_BYTES_DEFAULT, SEGMENT_BYTES_MIN,
                   SEGMENT_BYTES_LIMIT),
    SETTING_NUMBER("flush.ms", flush_ms, 0, 0, BECK_FLUSH_NEVER - 1),
    SETTING_WORDS("compression.type", compression, BECK_COMPRESSION_PRODUCER, compressions,
                  "producer, uncompressed, gzip, snappy, lz4 or zstd"),
};

#define SETTINGS (sizeof known_settings / sizeof known_settings[0])
#define FIRST_STORED 1u

static uint32_t get(const beck_topic_config *config, const struct setting *s)
{
    uint32_t value;
    memcpy(&value, (const char *)config + s->at, sizeof value);
    return value;
}

static void put(beck_topic_config *config, const struct setting *s, uint32_t value)
{
    memcpy((char *)config + s->at, &value, sizeof value);
}

static const struct setting *find(size_t first, const char *name, size_t length)
{
    for (size_t i = first; i < SETTINGS; i++)
        if (strlen(known_settings[i].name) == length &&
            memcmp(known_settings[i].name, name, length) == 0)
            return &known_settings[i];
    return NULL;
}

/* 0 = there is no such word. "none" is what producers call "uncompressed". */
static uint32_t word_value(const struct setting *s, const char *word)
{
    for (uint32_t i = 1; s->words[i] != NULL; i++)
        if (strcmp(s->words[i], word) == 0) return i;
    return s->words == compressions && strcmp(word, "none") == 0 ? BECK_COMPRESSION_NONE : 0;
}

static const char *value_word(const struct setting *s, uint32_t value)
{
    for (uint32_t i = 1; s->words[i] != NULL; i++)
        if (i == value) return s->words[i];
    return NULL;
}

const char *settings_compression_name(uint32_t compression)
{
    bool known = compression >= BECK_COMPRESSION_NONE && compression <= BECK_COMPRESSION_PRODUCER;
    return known ? compressions[compression] : NULL;
}

/* ---- By name ---- */

static int unknown_setting(const char *name)
{
    char known[256] = "";
    size_t n = 0;
    for (size_t i = 0; i < SETTINGS; i++)
        n += (size_t)snprintf(known + n, sizeof known - n, "%s%s", i == 0 ? "" : ", ",
                              known_settings[i].name);
    return err_set(BECK_INVALID, "unknown topic setting %s; known are: %s", name, known);
}

static int parse(const struct setting *s, const char *text, uint32_t *value)
{
    char *end = NULL;
    if (s->words != NULL) {
        *value = word_value(s, text);
        if (*value != 0) return 0;
        return err_set(BECK_INVALID, "%s = %s: must be %s", s->name, text, s->allowed);
    }
    unsigned long long number = strtoull(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != 0 || number < s->least || number > s->most)
        return err_set(BECK_INVALID, "%s = %s: must be a number from %u to %u", s->name, text,
                       s->least, s->most);
    /* flush.ms alone may be 0, which in the struct would mean that it was not set */
    *value = number == 0 ? BECK_FLUSH_NEVER : (uint32_t)number;
    return 0;
}

int settings_set(beck_topic_config *config, const char *name, const char *value)
{
    const struct setting *s = find(0, name, strlen(name));
    uint32_t parsed = 0;
    if (s == NULL) return unknown_setting(name);
    int rc = parse(s, value, &parsed);
    if (rc < 0) return rc;
    if (s->at + sizeof parsed > config->size)
        return err_set(BECK_INVALID, "beck_topic_config: its size has no room for %s", name);
    put(config, s, parsed);
    return 0;
}

/* ---- All of them ---- */

void settings_merge(beck_topic_config *config, const beck_topic_config *from)
{
    for (size_t i = 0; i < SETTINGS; i++) {
        uint32_t value = get(from, &known_settings[i]);
        if (value != 0) put(config, &known_settings[i], value);
    }
    settings_defaults(config);
}

void settings_defaults(beck_topic_config *config)
{
    config->size = sizeof *config;
    for (size_t i = 0; i < SETTINGS; i++) {
        const struct setting *s = &known_settings[i];
        if (get(config, s) == 0) put(config, s, s->preset);
    }
    if (config->flush_ms == BECK_FLUSH_NEVER) config->flush_ms = 0;
}

int settings_check(const beck_topic_config *config)
{
    for (size_t i = 0; i < SETTINGS; i++) {
        const struct setting *s = &known_settings[i];
        uint32_t value = get(config, s);
        if (s->words != NULL && value_word(s, value) == NULL)
            return err_set(BECK_INVALID, "%s = %u: must be %s", s->name, value, s->allowed);
        if (s->words == NULL && (value < s->least || value > s->most))
            return err_set(BECK_INVALID, "%s = %u: must be %u to %u", s->name, value, s->least,
                           s->most);
    }
    return 0;
}

/* ---- As text ---- */

size_t settings_write(const beck_topic_config *config, char *text, size_t bytes)
{
    size_t n = 0;
    text[0] = 0;
    for (size_t i = FIRST_STORED; i < SETTINGS; i++) {
        const struct setting *s = &known_settings[i];
        uint32_t value = get(config, s);
        if (value == s->preset) continue;
        const char *newline = n == 0 ? "" : "\n";
        int more =
            s->words != NULL
                ? snprintf(text + n, bytes - n, "%s%s=%s", newline, s->name, value_word(s, value))
                : snprintf(text + n, bytes - n, "%s%s=%u", newline, s->name, value);
        n += (size_t)more;
        ASSERT(n < bytes);
    }
    return n;
}

int settings_read(const char *text, size_t bytes, beck_topic_config *config)
{
    char line[128], *value;
    memset(config, 0, sizeof *config);
    for (size_t at = 0; at < bytes;) {
        const char *newline = memchr(text + at, '\n', bytes - at);
        size_t n = newline == NULL ? bytes - at : (size_t)(newline - text) - at;
        size_t used = n < sizeof line ? n : sizeof line - 1;
        memcpy(line, text + at, used);
        line[used] = 0;
        at += n + 1;
        if ((value = strchr(line, '=')) == NULL) continue;
        const struct setting *s = find(FIRST_STORED, line, (size_t)(value - line));
        value++;
        if (s == NULL) continue;
        put(config, s,
            s->words != NULL ? word_value(s, value) : (uint32_t)strtoul(value, NULL, 10));
    }
    settings_defaults(config);
    return settings_check(config) < 0 ? err_set(BECK_CORRUPT, "catalog: impossible topic settings")
                                      : 0;
}

size_t settings_keep(const char *old, char *text, size_t used, size_t bytes)
{
    for (const char *line = old; *line != 0;) {
        size_t n = strcspn(line, "\n");
        bool known = find(FIRST_STORED, line, strcspn(line, "=\n")) != NULL;
        if (n > 0 && !known && used + n + 2 <= bytes) {
            if (used > 0) text[used++] = '\n';
            memcpy(text + used, line, n);
            used += n;
        }
        line += n + (line[n] != 0);
    }
    text[used] = 0;
    return used;
}
