/* json_buffer.c - the growing buffer that JSON texts are written into, and how a string is written: the bytes between
 * two that need an escape are copied at once, and looked for sixteen at a time. */
#include <emmintrin.h>
#include <stdlib.h>
#include <string.h>

#include "json.h"

enum { CAPACITY_MIN = 1024, CAPACITY_KEPT_MAX = 1 << 20 };

bool json_buffer_grow(struct json_buffer *buffer, size_t more)
{
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

/* A bit for each of 16 bytes that has to be escaped: a control character, a quote, a backslash. */
static unsigned escapes(__m128i bytes)
{
    __m128i control = _mm_cmpeq_epi8(_mm_max_epu8(bytes, _mm_set1_epi8(0x1F)), _mm_set1_epi8(0x1F));
    __m128i quote = _mm_cmpeq_epi8(bytes, _mm_set1_epi8('"')), backslash = _mm_cmpeq_epi8(bytes, _mm_set1_epi8('\\'));
    return (unsigned)_mm_movemask_epi8(_mm_or_si128(control, _mm_or_si128(quote, backslash)));
}

static __m128i load(const char *bytes)
{
    return _mm_loadu_si128((const __m128i *)(const void *)bytes);
}

/* All of fewer than 16 bytes, and nothing else, in some order. */
static __m128i load_short(const char *bytes, size_t length)
{
    uint64_t first = 0, last = 0;
    if (length >= 8) {
        memcpy(&first, bytes, 8);
        memcpy(&last, bytes + length - 8, 8);
    } else if (length >= 4) {
        memcpy(&first, bytes, 4);
        memcpy(&last, bytes + length - 4, 4);
        first = last |= first << 32;
    } else {
        const unsigned char *p = (const unsigned char *)bytes;
        first = last = UINT64_MAX / 255 * p[0];
        last = (last & ~UINT64_C(0xFFFF)) | p[length / 2] | (uint64_t)p[length - 1] << 8;
    }
    return _mm_set_epi64x((long long)last, (long long)first);
}

size_t json_plain_length(const char *bytes, size_t length)
{
    if (length < 16) {
        if (length == 0 || !escapes(load_short(bytes, length)))
            return length;
        size_t i = 0;
        while (!escapes(_mm_set1_epi8(bytes[i])))
            i++;
        return i;
    }
    unsigned found;
    for (size_t i = 0; i + 16 < length; i += 16) {
        found = escapes(load(bytes + i));
        if (found)
            return i + (size_t)__builtin_ctz(found);
    }
    found = escapes(load(bytes + length - 16));
    return found ? length - 16 + (size_t)__builtin_ctz(found) : length;
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
        size_t plain = json_plain_length(bytes, length);
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
