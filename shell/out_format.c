/* out_format.c -- records in kcat's format language */
#include "out.h"

#define TOKENS "sSkKThtpo"

static void add_token(struct format *format, char token)
{
    format->items[format->count++] = (struct format_item){.token = token};
}

static void add_literal(struct format *format, const struct text *literal)
{
    format->items[format->count++] = (struct format_item){.literal = *literal};
}

/* Adds the text up to the next token. Returns where that is, or NULL when an escape is wrong. */
static char *parse_literal(struct format *format, char *text)
{
    struct text literal = {.bytes = text};
    const char *position = text;
    while (*position != '\0' && (position[0] != '%' || position[1] == '%')) {
        char byte;
        position = unescape(position + (position[0] == '%'), &byte);
        if (position == NULL) return NULL;
        literal.bytes[literal.size++] = byte; /* never longer than what was read */
    }
    add_literal(format, &literal);
    return text + (position - text);
}

int format_parse(struct format *format, const struct command *command, char *text)
{
    while (*text != '\0') {
        if (format->count == FORMAT_ITEMS_MAX)
            return usage_error(command, "-f: more than %d tokens and texts", FORMAT_ITEMS_MAX);
        if (text[0] != '%' || text[1] == '%') {
            text = parse_literal(format, text);
            if (text == NULL) return usage_error(command, "-f: unknown escape");
            continue;
        }
        if (text[1] == '\0') return usage_error(command, "-f: a single %% at the end, write %%%%");
        if (strchr(TOKENS, text[1]) == NULL)
            return usage_error(command, "-f: unknown token %.2s", text);
        add_token(format, text[1]);
        text += 2;
    }
    return 0;
}

void format_default(struct format *format, const struct text *key_separator,
                    const struct text *separator)
{
    if (key_separator != NULL) {
        add_token(format, 'k');
        add_literal(format, key_separator);
    }
    add_token(format, 's');
    add_literal(format, separator);
}

static void write_headers(struct out *out, const beck_record *record)
{
    for (uint32_t i = 0; i < record->header_count; i++) {
        const beck_header *header = &record->headers[i];
        if (i > 0) out_bytes(out, ",", 1);
        out_bytes(out, header->name, header->name_size);
        out_bytes(out, "=", 1);
        if (header->value == NULL)
            out_bytes(out, "NULL", 4);
        else
            out_bytes(out, header->value, header->value_size);
    }
}

static void write_token(struct out *out, char token, const beck_record *record)
{
    switch (token) {
    case 's': out_bytes(out, record->value, record->value_size); break;
    case 'S': out_int(out, record->value == NULL ? -1 : (int64_t)record->value_size); break;
    case 'k': out_bytes(out, record->key, record->key_size); break;
    case 'K': out_int(out, record->key == NULL ? -1 : (int64_t)record->key_size); break;
    case 'T': out_int(out, record->timestamp); break;
    case 'h': write_headers(out, record); break;
    case 't': out_bytes(out, record->topic, strlen(record->topic)); break;
    case 'p': out_int(out, record->partition); break;
    case 'o': out_int(out, record->offset); break;
    default: break;
    }
}

void format_record(struct out *out, const struct format *format, const beck_record *record)
{
    for (size_t i = 0; i < format->count; i++) {
        const struct format_item *item = &format->items[i];
        if (item->token == 0)
            out_bytes(out, item->literal.bytes, item->literal.size);
        else
            write_token(out, item->token, record);
    }
}
