/* json_buffer.c - the growing buffer that JSON texts are written into, and how a string is written: the bytes between
 * two that need an escape are copied at once, and looked for eight at a time. */
#include <stdlib.h>
#include <string.h>

#include "json.h"

enum { CAPACITY_MIN = 1024, CAPACITY_KEPT_MAX = 1 << 20 };

bool json_buffer_reserve(struct json_buffer *buffer, size_t more)
{
    if (more <= buffer->capacity - buffer->length)
        return true;
    if (more > SIZE_MAX / 2 - buffer->length)
        return false;
    size_t needed = buffer->length + more;
    size_t capacity = buffer->capacity + buffer->capacity / 2;
    if (capacity < needed)
        capacity = needed;
    if (capacity < CAPACITY_MIN)
        capacity = CAPACITY_MIN;
    char *bytes = realloc(buffer->bytes, capacity);
    if (!bytes)
        return false;
    buffer->bytes = bytes;
    buffer->capacity = capacity;
    return true;
}

bool json_buffer_append(struct json_buffer *buffer, const char *bytes, size_t length)
{
    if (!json_buffer_reserve(buffer, length))
        return false;
    if (length > 0)
        memcpy(buffer->bytes + buffer->length, bytes, length);
    buffer->length += length;
    return true;
}

void json_buffer_reset(struct json_buffer *buffer)
{
    buffer->length = 0;
    if (buffer->capacity > CAPACITY_KEPT_MAX)
        json_buffer_free(buffer);
}

void json_buffer_free(struct json_buffer *buffer)
{
    free(buffer->bytes);
    *buffer = (struct json_buffer){0};
}

static bool is_plain(unsigned char c)
{
    return c >= 0x20 && c != '"' && c != '\\';
}

/* The length of the longest prefix without a byte to escape. Eight bytes at a time: a byte's high bit in `special` is
 * set where it is below 0x20, a quote or a backslash (the classic tests for a zero or small byte in a word; borrows may
 * set bits above a true one, which only ends the fast loop early). */
static size_t plain_length(const char *bytes, size_t length)
{
    const uint64_t ones = UINT64_MAX / 255, highs = ones * 128;
    size_t i = 0;
    for (; i + 8 <= length; i += 8) {
        uint64_t word;
        memcpy(&word, bytes + i, sizeof word);
        uint64_t quote = word ^ (ones * '"'), backslash = word ^ (ones * '\\');
        uint64_t special =
            ((word - ones * 0x20) & ~word) | ((quote - ones) & ~quote) | ((backslash - ones) & ~backslash);
        if (special & highs)
            break;
    }
    while (i < length && is_plain((unsigned char)bytes[i]))
        i++;
    return i;
}

static size_t write_escape(char *out, unsigned char c)
{
    static const char hex[] = "0123456789abcdef";
    static const char letters[32] = {['\b'] = 'b', ['\f'] = 'f', ['\n'] = 'n', ['\r'] = 'r', ['\t'] = 't'};
    out[0] = '\\';
    out[1] = c >= 0x20 ? (char)c : letters[c];
    if (out[1])
        return 2;
    memcpy(out + 1, "u00", 3);
    out[4] = hex[c >> 4];
    out[5] = hex[c & 15];
    return 6;
}

bool json_write_string(struct json_buffer *out, const char *bytes, size_t length)
{
    if (!json_buffer_reserve(out, length + 2))
        return false;
    out->bytes[out->length++] = '"';
    for (;;) {
        size_t plain = plain_length(bytes, length);
        memcpy(out->bytes + out->length, bytes, plain);
        out->length += plain;
        if (plain == length)
            break;
        bytes += plain;
        length -= plain;
        if (!json_buffer_reserve(out, length + 6 + 1))
            return false;
        out->length += write_escape(out->bytes + out->length, (unsigned char)*bytes);
        bytes++;
        length--;
    }
    out->bytes[out->length++] = '"';
    return true;
}
