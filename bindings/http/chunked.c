/* chunked.c - a state for each place in the coding where bytes may be cut. */
#include "chunked.h"

#include <stdbool.h>
#include <string.h>

enum { OVERHEAD_BYTES = 16384, OVERHEAD_FACTOR = 16, DIGITS_MAX = 15 };

enum state {
    SIZE,      /* hexadecimal digits */
    SPACE,     /* behind them */
    EXTENSION, /* from a semicolon on; not in quotes */
    QUOTED,
    ESCAPED,
    SIZE_LF,
    DATA,
    DATA_CR,
    DATA_LF,
    TRAILER_FIRST, /* the first byte of a trailer, or the CR that ends them all */
    TRAILER_NAME,
    TRAILER_VALUE,
    TRAILER_LF,
    END_LF
};

void chunked_init(struct chunked *chunked)
{
    memset(chunked, 0, sizeof *chunked);
}

static int hex_digit(unsigned char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool is_token(unsigned char c)
{
    return c > ' ' && c < 0x7f && !strchr("()<>@,;:\\\"/[]?={}", c);
}

/* What a field's value, or an extension, may consist of. */
static bool is_text(unsigned char c)
{
    return c == '\t' || (c >= ' ' && c != 0x7f);
}

static enum state after_size_byte(struct chunked *chunked, unsigned char c, bool *bad)
{
    int digit = chunked->state == SIZE ? hex_digit(c) : -1;
    if (digit >= 0) {
        chunked->size = chunked->size << 4 | (unsigned)digit;
        chunked->digits += chunked->size > 0 || chunked->digits == 0;
        *bad = chunked->digits > DIGITS_MAX;
        return SIZE;
    }
    *bad = chunked->digits == 0;
    switch (c) {
    case ' ':
    case '\t': return SPACE;
    case ';': return EXTENSION;
    case '\r': *bad = *bad || chunked->state == SPACE; return SIZE_LF;
    default: *bad = true; return SIZE;
    }
}

/* The state behind `c`, which is no data. */
static enum state step(struct chunked *chunked, unsigned char c, bool *bad)
{
    switch ((enum state)chunked->state) {
    case SIZE:
    case SPACE: return after_size_byte(chunked, c, bad);
    case EXTENSION:
        if (c == '\r')
            return SIZE_LF;
        *bad = !is_text(c);
        return c == '"' ? QUOTED : EXTENSION;
    case QUOTED: *bad = !is_text(c); return c == '"' ? EXTENSION : c == '\\' ? ESCAPED : QUOTED;
    case ESCAPED: *bad = !is_text(c); return QUOTED;
    case SIZE_LF: *bad = c != '\n'; return chunked->size > 0 ? DATA : TRAILER_FIRST;
    case DATA_CR: *bad = c != '\r'; return DATA_LF;
    case DATA_LF:
        *bad = c != '\n';
        chunked->digits = 0;
        return SIZE;
    case TRAILER_FIRST:
        if (c == '\r')
            return END_LF;
        chunked->trailers++;
        *bad = !is_token(c);
        return TRAILER_NAME;
    case TRAILER_NAME: *bad = c != ':' && !is_token(c); return c == ':' ? TRAILER_VALUE : TRAILER_NAME;
    case TRAILER_VALUE:
        if (c == '\r')
            return TRAILER_LF;
        *bad = !is_text(c);
        return TRAILER_VALUE;
    case TRAILER_LF: *bad = c != '\n'; return TRAILER_FIRST;
    case DATA:
    case END_LF: break;
    }
    *bad = c != '\n'; /* of END_LF */
    return END_LF;
}

enum chunked_result chunked_decode(struct chunked *chunked, const struct chunked_limits *limits, const char *bytes,
                                   size_t length, size_t *used, char *body, size_t *body_length)
{
    size_t i = 0;
    while (i < length) {
        if (chunked->state == DATA) {
            size_t piece = length - i < chunked->size ? length - i : (size_t)chunked->size;
            memmove(body + *body_length, bytes + i, piece);
            *body_length += piece;
            chunked->size -= piece;
            i += piece;
            if (chunked->size == 0)
                chunked->state = DATA_CR;
            continue;
        }
        bool bad = false, ends = chunked->state == END_LF;
        chunked->state = (uint8_t)step(chunked, (unsigned char)bytes[i++], &bad);
        *used = i;
        if (bad || ++chunked->overhead > OVERHEAD_BYTES + limits->trailer_bytes_max + OVERHEAD_FACTOR * *body_length)
            return CHUNKED_MALFORMED;
        if (ends)
            return CHUNKED_COMPLETE;
        if (chunked->state == DATA && chunked->size > limits->body_bytes_max - *body_length)
            return CHUNKED_BODY_TOO_LARGE;
        if (chunked->state >= TRAILER_FIRST &&
            (++chunked->trailer_bytes > limits->trailer_bytes_max || chunked->trailers > limits->trailers_max))
            return CHUNKED_TRAILERS_TOO_LARGE;
    }
    *used = length;
    return CHUNKED_MORE;
}
