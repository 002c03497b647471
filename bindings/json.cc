/* json.cc - parsing and checking of JSON, by simdjson, behind json.h. The only C++ file.
 *
 * simdjson does all but two things that the contract asks for: it reads -0 as the integer 0, and refuses integers of
 * more than 64 bits. Both are rare, so texts go to it as they are, and only where one of them is seen (a "-0" before a
 * delimiter, or an error about a number) a copy is made in which the number has a fraction, and that is parsed. */
#include "json.h"

#include <simdjson.h>

#include <charconv>
#include <cstring>
#include <new>

static_assert(JSON_PADDING >= simdjson::SIMDJSON_PADDING, "blocks end with less padding than simdjson reads");

extern "C" const char *const json_out_of_memory = "out of memory";

namespace
{

constexpr size_t kept_bytes_max = size_t(1) << 20; /* larger buffers are given back at the next small text */

bool is_delimiter(char c)
{
    return c == ',' || c == ']' || c == '}' || c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

/* Whether "-0" stands before a delimiter or the end, perhaps within a string. */
bool may_have_negative_zero(const char *text, size_t length)
{
    const char *end = text + length;
    for (const char *p = text; (p = static_cast<const char *>(memchr(p, '-', size_t(end - p)))); p++)
        if (end - p >= 2 && p[1] == '0' && (p + 2 == end || is_delimiter(p[2])))
            return true;
    return false;
}

bool fits_64_bits(const char *from, const char *to)
{
    int64_t i;
    uint64_t u;
    auto [end, error] = std::from_chars(from, to, i);
    if (error == std::errc() && end == to)
        return true;
    auto [uend, uerror] = std::from_chars(from, to, u);
    return uerror == std::errc() && uend == to;
}

/* Appends `text` with -0 as -0.0, and with `long_integers` also .0 behind integers outside 64 bits. */
bool append_with_fractions(json_buffer *out, const char *text, size_t length, bool long_integers)
{
    const char *p = text, *end = text + length, *copied = text;
    while (p < end) {
        if (*p == '"') {
            for (p++; p < end && *p != '"'; p++)
                if (*p == '\\')
                    p++;
            p++;
            continue;
        }
        if (*p != '-' && !(*p >= '0' && *p <= '9')) {
            p++;
            continue;
        }
        const char *start = p++;
        while (p < end && *p >= '0' && *p <= '9')
            p++;
        bool whole = p == end || is_delimiter(*p);
        bool negative_zero = p - start == 2 && start[0] == '-' && start[1] == '0';
        if (whole && (negative_zero || (long_integers && p - start >= 19 && !fits_64_bits(start, p)))) {
            if (!json_buffer_append(out, copied, size_t(p - copied)) || !json_buffer_append(out, ".0", 2))
                return false;
            copied = p;
        }
        while (p < end && !is_delimiter(*p) && *p != '"') /* fraction and exponent */
            p++;
    }
    return copied >= end || json_buffer_append(out, copied, size_t(end - copied));
}

const char *fault_text(simdjson::error_code code)
{
    switch (code) {
    case simdjson::MEMALLOC: return json_out_of_memory;
    case simdjson::CAPACITY: return "the JSON text is too large";
    case simdjson::DEPTH_ERROR: return json_too_deep;
    case simdjson::UTF8_ERROR: return "the JSON text is not UTF-8";
    case simdjson::NUMBER_ERROR: return "the JSON text has a number that is malformed or too large";
    case simdjson::STRING_ERROR: return "the JSON text has a malformed string";
    case simdjson::UNESCAPED_CHARS: return "the JSON text has a control character within a string";
    case simdjson::UNCLOSED_STRING: return "the JSON text ends within a string";
    case simdjson::EMPTY: return "the JSON text is empty";
    default: return "the text is not JSON";
    }
}

const uint64_t payload_mask = (uint64_t(1) << 56) - 1;

/* simdjson lets a lone low surrogate through as three bytes that are no UTF-8. */
bool strings_are_utf8(const simdjson::dom::document &document)
{
    const uint64_t *words = document.tape.get();
    uint64_t end = words[0] & payload_mask;
    for (uint64_t i = 1; i < end; i++) {
        char type = char(words[i] >> 56);
        if (type == 'l' || type == 'u' || type == 'd')
            i++;
        if (type != '"')
            continue;
        const uint8_t *string = document.string_buf.get() + (words[i] & payload_mask);
        uint32_t length;
        memcpy(&length, string, sizeof length);
        if (!simdjson::validate_utf8(reinterpret_cast<const char *>(string) + 4, length))
            return false;
    }
    return true;
}

bool has_surrogate_escape(const char *text, size_t length)
{
    return memchr(text, '\\', length) && (memmem(text, length, "\\ud", 3) || memmem(text, length, "\\uD", 3));
}

} // namespace

struct json_parser {
    simdjson::dom::parser dom;
    json_buffer copy = {};

    ~json_parser()
    {
        json_buffer_free(&copy);
    }

    const char *prepare(size_t length)
    {
        if (dom.capacity() > kept_bytes_max && length < kept_bytes_max / 16)
            dom = simdjson::dom::parser();
        if (dom.capacity() < length || dom.max_depth() != JSON_DEPTH_MAX + 1) {
            size_t capacity = length < 4096 ? 4096 : length + length / 4;
            if (dom.allocate(capacity, JSON_DEPTH_MAX + 1) != simdjson::SUCCESS)
                return json_out_of_memory;
        }
        return nullptr;
    }

    simdjson::error_code parse(const char *text, size_t length, bool padded)
    {
        if (!padded) {
            if (text != copy.bytes) {
                json_buffer_reset(&copy);
                if (!json_buffer_append(&copy, text, length))
                    return simdjson::MEMALLOC;
            }
            if (!json_buffer_reserve(&copy, JSON_PADDING))
                return simdjson::MEMALLOC;
            text = copy.bytes;
        }
        return dom.parse(reinterpret_cast<const uint8_t *>(text), length, false).error();
    }

    /* Makes the copy with fractions and parses that. */
    simdjson::error_code parse_with_fractions(const char *text, size_t length)
    {
        json_buffer original = {};
        if (text == copy.bytes) {
            original = copy;
            copy = {};
        }
        json_buffer_reset(&copy);
        bool copied = append_with_fractions(&copy, text, length, true);
        json_buffer_free(&original);
        if (!copied || prepare(copy.length))
            return simdjson::MEMALLOC;
        return parse(copy.bytes, copy.length, false);
    }
};

extern "C" {

struct json_parser *json_parser_create(void)
{
    return new (std::nothrow) json_parser;
}

void json_parser_destroy(struct json_parser *parser)
{
    delete parser;
}

const char *json_parse(struct json_parser *parser, const char *text, size_t length, bool padded, struct json_tape *tape)
{
    if (const char *fault = parser->prepare(length))
        return fault;
    if (length >= 3 && memcmp(text, "\xEF\xBB\xBF", 3) == 0)
        return "the JSON text begins with a byte order mark";
    simdjson::error_code error;
    if (may_have_negative_zero(text, length)) {
        error = parser->parse_with_fractions(text, length);
    } else {
        error = parser->parse(text, length, padded);
        if (error == simdjson::NUMBER_ERROR)
            error = parser->parse_with_fractions(text, length);
    }
    if (error)
        return fault_text(error);
    if (has_surrogate_escape(text, length) && !strings_are_utf8(parser->dom.doc))
        return "the JSON text has a lone surrogate";
    tape->words = parser->dom.doc.tape.get();
    tape->strings = parser->dom.doc.string_buf.get();
    return nullptr;
}

/* simdjson doesn't count an empty object or array as a level; here it is one. */
static bool tape_is_too_deep(const struct json_tape *tape)
{
    uint64_t end = tape->words[0] & payload_mask;
    int depth = 0;
    for (uint64_t i = 1; i < end; i++) {
        char type = char(tape->words[i] >> 56);
        if (type == 'l' || type == 'u' || type == 'd')
            i++;
        else if ((type == '{' || type == '[') && ++depth > JSON_DEPTH_MAX)
            return true;
        else if (type == '}' || type == ']')
            depth--;
    }
    return false;
}

/* Finds the last top-level "id". Returns a fault when it is no string. */
static const char *tape_id(const struct json_tape *tape, const char **id, size_t *id_length)
{
    *id = nullptr;
    *id_length = 0;
    const char *fault = nullptr;
    uint64_t end = (tape->words[1] & 0xffffffff) - 1; /* of the closing brace */
    for (uint64_t i = 2; i < end;) {
        const uint8_t *key = tape->strings + (tape->words[i] & payload_mask);
        uint32_t length;
        memcpy(&length, key, sizeof length);
        uint64_t value = tape->words[++i];
        char type = char(value >> 56);
        if (length == 2 && memcmp(key + 4, "id", 2) == 0) {
            fault = type == '"' ? nullptr : json_id_not_a_string;
            if (type == '"') {
                const uint8_t *string = tape->strings + (value & payload_mask);
                uint32_t string_length;
                memcpy(&string_length, string, sizeof string_length);
                *id = reinterpret_cast<const char *>(string) + 4;
                *id_length = string_length;
            }
        }
        if (type == '{' || type == '[')
            i = value & 0xffffffff;
        else
            i += type == 'l' || type == 'u' || type == 'd' ? 2 : 1;
    }
    return fault;
}

const char *json_document(struct json_parser *parser, const char *text, size_t length, bool padded,
                          struct json_buffer *out, const char **id, size_t *id_length)
{
    struct json_tape tape;
    if (const char *fault = json_parse(parser, text, length, padded, &tape))
        return fault;
    if (char(tape.words[1] >> 56) != '{')
        return json_not_an_object;
    if (length > 2 * JSON_DEPTH_MAX && tape_is_too_deep(&tape))
        return fault_text(simdjson::DEPTH_ERROR);
    if (const char *fault = tape_id(&tape, id, id_length))
        return fault;
    /* simdjson::minify writes whole blocks of 64 bytes. */
    if (!json_buffer_reserve(out, length + 2 * JSON_PADDING))
        return json_out_of_memory;
    size_t written = 0;
    if (simdjson::minify(text, length, out->bytes + out->length, written) != simdjson::SUCCESS)
        return "the text is not JSON"; /* cannot happen: it was parsed */
    if (!may_have_negative_zero(out->bytes + out->length, written)) {
        out->length += written;
        return nullptr;
    }
    json_buffer rewritten = {};
    bool done = append_with_fractions(&rewritten, out->bytes + out->length, written, false) &&
                json_buffer_append(out, rewritten.bytes, rewritten.length);
    json_buffer_free(&rewritten);
    return done ? nullptr : json_out_of_memory;
}

bool json_utf8_valid(const char *bytes, size_t length)
{
    return simdjson::validate_utf8(bytes, length);
}

size_t json_write_double(char *out, double number)
{
    char *end = std::to_chars(out, out + 32, number).ptr;
    if (!memchr(out, '.', size_t(end - out)) && !memchr(out, 'e', size_t(end - out))) {
        *end++ = '.';
        *end++ = '0';
    }
    return size_t(end - out);
}

size_t json_write_integer(char *out, int64_t number)
{
    return size_t(std::to_chars(out, out + 32, number).ptr - out);
}

} // extern "C"
