/* out_json.c -- strings and records as JSON, whatever bytes they hold */
#include "out.h"

size_t utf8_size(const void *bytes, size_t left)
{
    const unsigned char *p = bytes;
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    static const uint8_t sizes[16] = {1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 2, 2, 3, 4};
    size_t size = sizes[p[0] >> 4];
    if (size <= 1) return size;
    if (size > left) return 0;
    uint32_t code = p[0] & (0xffu >> size); /* 0xf8 and above come out too large */
    for (size_t i = 1; i < size; i++) {
        if ((p[i] & 0xc0) != 0x80) return 0;
        code = code << 6 | (p[i] & 0x3fu);
    }
    bool surrogate = code >= 0xd800 && code <= 0xdfff;
    return code < least[size] || code > 0x10ffff || surrogate ? 0 : size;
}

static void write_control(struct out *out, unsigned char byte)
{
    static const char short_forms[] = "\b\f\n\r\t\"\\";
    static const char letters[] = "bfnrt\"\\";
    const char *form = byte == 0 ? NULL : strchr(short_forms, byte);
    if (form != NULL)
        out_bytes(out, (char[]){'\\', letters[form - short_forms]}, 2);
    else
        out_printf(out, "\\u%04x", byte);
}

bool json_bytes(struct out *out, const void *bytes, size_t size)
{
    const unsigned char *p = bytes;
    bool valid = true;
    size_t written = 0, i = 0;
    out_bytes(out, "\"", 1);
    while (i < size) {
        if (p[i] >= 0x20 && p[i] < 0x80 && p[i] != '"' && p[i] != '\\') {
            i++;
            continue;
        }
        size_t character = utf8_size(p + i, size - i);
        if (character > 1) {
            i += character;
            continue;
        }
        out_bytes(out, p + written, i - written);
        if (character == 1)
            write_control(out, p[i]);
        else
            out_bytes(out, "\xef\xbf\xbd", 3);
        valid = valid && character == 1;
        written = ++i;
    }
    out_bytes(out, p + written, size - written);
    out_bytes(out, "\"", 1);
    return valid;
}

void json_text(struct out *out, const char *text)
{
    json_bytes(out, text, strlen(text));
}

static void write_base64(struct out *out, const void *bytes, size_t size)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const unsigned char *p = bytes;
    for (size_t i = 0; i < size; i += 3) {
        size_t left = size - i;
        uint32_t bits = (uint32_t)p[i] << 16;
        if (left > 1) bits |= (uint32_t)p[i + 1] << 8;
        if (left > 2) bits |= p[i + 2];
        char text[4] = {digits[bits >> 18], digits[bits >> 12 & 63], '=', '='};
        if (left > 1) text[2] = digits[bits >> 6 & 63];
        if (left > 2) text[3] = digits[bits & 63];
        out_bytes(out, text, 4);
    }
}

/* `"name":value`, and `"name_base64"` behind it where the value is no text. */
static void write_member(struct out *out, const char *name, const void *bytes, size_t size)
{
    out_printf(out, ",\"%s\":", name);
    if (bytes == NULL) {
        out_bytes(out, "null", 4);
    } else if (!json_bytes(out, bytes, size)) {
        out_printf(out, ",\"%s_base64\":\"", name);
        write_base64(out, bytes, size);
        out_bytes(out, "\"", 1);
    }
}

static void write_headers(struct out *out, const beck_record *record)
{
    out_bytes(out, ",\"headers\":[", 12);
    for (uint32_t i = 0; i < record->header_count; i++) {
        const beck_header *header = &record->headers[i];
        if (i > 0) out_bytes(out, ",", 1);
        json_bytes(out, header->name, header->name_size);
        out_bytes(out, ",", 1);
        if (header->value == NULL)
            out_bytes(out, "null", 4);
        else
            json_bytes(out, header->value, header->value_size);
    }
    out_bytes(out, "]", 1);
}

void json_record(struct out *out, const beck_record *record)
{
    out_bytes(out, "{\"topic\":", 9);
    json_text(out, record->topic);
    out_bytes(out, ",\"partition\":", 13);
    out_int(out, record->partition);
    out_bytes(out, ",\"offset\":", 10);
    out_int(out, record->offset);
    out_bytes(out, ",\"tstype\":\"create\",\"ts\":", 24);
    out_int(out, record->timestamp);
    if (record->header_count > 0) write_headers(out, record);
    write_member(out, "key", record->key, record->key_size);
    write_member(out, "payload", record->value, record->value_size);
    out_bytes(out, "}\n", 2);
}
