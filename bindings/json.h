/* json.h - JSON for the binding, without Lua: parsing, checking, and RFC 7396 on texts. json.cc (simdjson, the only C++
 * file) and json_merge.c implement it; lua_json.c turns tapes into Lua values and Lua values into text.
 *
 * The tape is simdjson's (its doc/tape.md): 64-bit words, the upper 8 bits a type character, the lower 56 a payload.
 *   r root     word 0, payload: index of the last word + 1; the root value starts at word 1
 *   { [        payload: lower 32 bits: index of the word behind the matching end; bits 32-55: number of members or
 *              elements, saturated at 0xffffff
 *   } ]        payload: index of the matching start
 *   "          payload: offset in `strings`: 4 bytes of length (native order), then the bytes, then a zero
 *   l u d      the next word is an int64, uint64 or double
 *   t f n      true, false, null
 * In objects key and value alternate. */
#ifndef TIDE_JSON_H
#define TIDE_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum {
    JSON_PADDING = 64, /* bytes behind a text that must be readable when it is said to be padded */
    JSON_DEPTH_MAX = 1000
};

struct json_parser;

struct json_tape {
    const uint64_t *words;
    const uint8_t *strings;
};

/* One per Lua state; keeps its buffers between calls, and gives large ones back. NULL: out of memory. */
struct json_parser *json_parser_create(void);
void json_parser_destroy(struct json_parser *parser);

/* Parses a text of any JSON value. `padded`: JSON_PADDING bytes behind it can be read, so that it isn't copied. An
 * integer outside 64 bits becomes a double; -0 is the double -0.0. NULL when all is well (the tape is valid until the
 * parser's next call), else a static text that says what is wrong. "out of memory" is the only one that isn't about the
 * text (compare the pointer with json_out_of_memory). */
const char *json_parse(struct json_parser *parser, const char *text, size_t length, bool padded,
                       struct json_tape *tape);
extern const char *const json_out_of_memory;

/* Other faults that callers tell apart. */
#define json_not_an_object "the document is not a JSON object"
#define json_id_not_a_string "id is not a string"
#define json_too_deep "JSON is nested deeper than 1000 levels"

/* A growing buffer of bytes; start with {0}, end with json_buffer_free. */
struct json_buffer {
    char *bytes;
    size_t length, capacity;
};

/* Makes room for `more` bytes behind `length`; false when memory is out (nothing has changed). */
bool json_buffer_grow(struct json_buffer *buffer, size_t more); /* where there is none */
static inline bool json_buffer_reserve(struct json_buffer *buffer, size_t more)
{
    return more <= buffer->capacity - buffer->length || json_buffer_grow(buffer, more);
}

bool json_buffer_append(struct json_buffer *buffer, const char *bytes, size_t length);
/* Empties it, and frees it if its capacity is over 1 MiB. */
void json_buffer_reset(struct json_buffer *buffer);
void json_buffer_free(struct json_buffer *buffer);

/* Takes a document's text in: checks that it is one JSON object within all rules (at most JSON_DEPTH_MAX deep), and
 * appends it to `out` without white space and with -0 written as -0.0, otherwise as it is. *id and *id_length are set
 * to the value of its top-level "id" (decoded; of a repeated one the last), valid until the parser's next call, or to
 * NULL where it has none. Returns NULL or what is wrong, as json_parse; "id is not a string" is one of them. */
const char *json_document(struct json_parser *parser, const char *text, size_t length, bool padded,
                          struct json_buffer *out, const char **id, size_t *id_length);

/* Whether the bytes are UTF-8 (no surrogates, no overlong forms). */
bool json_utf8_valid(const char *bytes, size_t length);

/* Writes the shortest text that reads back as exactly this finite double, with ".0" where it would look like an
 * integer; at most 32 bytes. Returns the length. Does not depend on the locale. */
size_t json_write_double(char *out, double number);
/* The same for an integer. */
size_t json_write_integer(char *out, int64_t number);

/* How many bytes from the first on need no escape in a JSON string. */
size_t json_plain_length(const char *bytes, size_t length);

/* Appends `bytes` as a JSON string with quotes and escapes (control characters, quote, backslash); false: out of
 * memory. The bytes are valid UTF-8 or the whole text is checked afterwards. */
bool json_write_string(struct json_buffer *out, const char *bytes, size_t length);

/* RFC 7396: appends to `out` what becomes of the object `target` under the object `patch`, both valid and without white
 * space (as json_document leaves them). Members that the patch doesn't name are copied byte for byte; of a repeated key
 * the last counts, in both. Nulls in the patch remove; new nested objects lose their nulls. Returns NULL or
 * json_out_of_memory. */
const char *json_merge_patch(const char *target, size_t target_length, const char *patch, size_t patch_length,
                             struct json_buffer *out);

#ifdef __cplusplus
}
#endif
#endif
