/* request.h - HTTP/1.x requests out of bytes: llhttp, and what it lets pass that RFC 9112 or our limits refuse. No
 * sockets, no Lua; the server and a fuzzer feed it.
 *
 * A message lies in one piece in a buffer of the caller's, from request->base on; everything that the parser finds is
 * an offset from there, so that the caller may move the bytes between two calls and say where they are now. Chunked
 * bodies (chunked.h) are pushed together in place. */
#ifndef TIDE_HTTP_REQUEST_H
#define TIDE_HTTP_REQUEST_H

#include <llhttp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "chunked.h"

struct http_span {
    uint32_t start, length; /* from the message's first byte */
};

/* Fields that the server itself looks at. */
enum http_known {
    HTTP_HOST,
    HTTP_EXPECT,
    HTTP_AUTHORIZATION,
    HTTP_IF_MATCH,
    HTTP_IF_NONE_MATCH,
    HTTP_PREFER,
    HTTP_CONTENT_TYPE,
    HTTP_TRANSFER_ENCODING,
    HTTP_KNOWN
};

struct http_header {
    struct http_span name, value;
};

struct http_limits {
    size_t head_bytes_max, target_bytes_max, body_bytes_max;
    unsigned fields_max;
};

struct http_request {
    char *base;
    struct http_span target;
    size_t body_start, body_length;
    uint16_t known[HTTP_KNOWN]; /* the first one's place in headers + 1; 0: none */
    uint16_t count, repeated;   /* headers; a bit for each known field that comes more than once */
    uint8_t method, minor;      /* llhttp's number; HTTP/1.minor */
    bool head_complete, keep_alive, expects_continue;
    int refusal; /* the status to refuse it with, 0: none */
    const char *refusal_text;
    struct http_header headers[]; /* limits->fields_max */
};

struct http_parser {
    llhttp_t llhttp;
    const struct http_limits *limits;
    struct http_request *request;
    const char *end; /* of the bytes at hand, during http_parse */
    struct chunked chunked;
    bool in_chunks;    /* the head of a message with a chunked body is complete */
    bool field_closed; /* the next name begins a new field */
};

enum http_result { HTTP_MORE, HTTP_COMPLETE, HTTP_REFUSED };

/* `limits` must live as long as the parser. */
void http_parser_init(struct http_parser *parser, const struct http_limits *limits);

/* Prepares `request`, which has room for limits->fields_max headers, for the next message. */
void http_request_init(struct http_request *request);

/* Goes on with `length` new bytes, which follow those of the message given before; *used says how many were taken (all
 * but for COMPLETE). REFUSED: request->refusal is set, and nothing more can come of the connection. */
enum http_result http_parse(struct http_parser *parser, struct http_request *request, char *bytes, size_t length,
                            size_t *used);

/* How many bytes from base on must be kept while the message is incomplete and `seen` of it were given. */
size_t http_kept_bytes(const struct http_request *request, size_t seen);

static inline const char *http_text(const struct http_request *request, struct http_span span)
{
    return request->base + span.start;
}

/* The value of a known field, the first if there are several, of length *length; NULL: absent. */
const char *http_known_value(const struct http_request *request, enum http_known known, size_t *length);

/* The next header of a known field from place *i on, which then is behind it; NULL: no more. */
const struct http_header *http_known_next(const struct http_request *request, enum http_known known, unsigned *i);

/* Decodes %XX (and with `plus` + as space) from `text` into `out`, which has room for `length` bytes. False: malformed.
 */
bool http_percent_decode(const char *text, size_t length, bool plus, char *out, size_t *out_length);

/* Appends `text` with everything but unreserved characters as %XX to `out`, which has room for 3 * length bytes. */
size_t http_percent_encode(const char *text, size_t length, char *out);

#endif
