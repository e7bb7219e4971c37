/* out_format.c -- records in kcat's format language */
#include "out.h"

#define TOKENS "sSkKThtpo"

static struct format_item *add_item(struct format *format, char token)
{
    size_t size = (format->count + 1) * sizeof *format->items;
    format->items = must_alloc(format->items, size);
    struct format_item *item = &format->items[format->count++];
    *item = (struct format_item){.token = token};
    return item;
}

static void add_literal(struct format *format, char byte)
{
    struct format_item *item = format->count > 0 ? &format->items[format->count - 1] : NULL;
    if (item == NULL || item->token != 0) item = add_item(format, 0);
    item->literal.bytes = must_alloc(item->literal.bytes, item->literal.size + 1);
    item->literal.bytes[item->literal.size++] = byte;
}

int format_parse(struct format *format, const struct command *command, const char *text)
{
    while (*text != '\0') {
        char byte = '%';
        if (text[0] != '%') {
            const char *next = unescape(text, &byte);
            if (next == NULL) return usage_error(command, "-f: unknown escape in '%s'", text);
            add_literal(format, byte);
            text = next;
            continue;
        }
        if (text[1] == '\0') return usage_error(command, "-f: a single %% at the end, write %%%%");
        if (text[1] == '%')
            add_literal(format, byte);
        else if (strchr(TOKENS, text[1]) != NULL)
            add_item(format, text[1]);
        else
            return usage_error(command, "-f: unknown token %.2s", text);
        text += 2;
    }
    return 0;
}

void format_default(struct format *format, const struct text *key_separator, const struct text *separator)
{
    if (key_separator != NULL) {
        add_item(format, 'k');
        add_item(format, 0)->literal = *key_separator;
    }
    add_item(format, 's');
    add_item(format, 0)->literal = *separator;
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
