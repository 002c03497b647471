/* request.c - callbacks of llhttp that note where things are, and a second look at the head.
 *
 * llhttp 8.1, strict as it is built here, still takes requests without a version, bare line feeds, folded lines,
 * several Hosts, and any transfer codings whose last is chunked. So when a head is complete its lines are looked at
 * once more: each ends in CR LF and nowhere else has one of the two, none begins with a space, the request line is
 * exactly method, target, version, and no name is followed by a space. Chunked bodies are left to chunked.c. */
#include "request.h"

#include <string.h>
#include <strings.h>

static struct http_parser *parser_of(llhttp_t *llhttp)
{
    return llhttp->data;
}

static int refuse(struct http_request *request, int status, const char *text)
{
    if (request->refusal == 0) {
        request->refusal = status;
        request->refusal_text = text;
    }
    return -1;
}

/* Begins a span at `at`, or prolongs it: the pieces of one are neighbours. */
static void span_extend(const struct http_request *request, struct http_span *span, const char *at, size_t length)
{
    if (span->length == 0)
        span->start = (uint32_t)(at - request->base);
    span->length = (uint32_t)(at - request->base + (ptrdiff_t)length) - span->start;
}

static int on_url(llhttp_t *llhttp, const char *at, size_t length)
{
    struct http_parser *parser = parser_of(llhttp);
    struct http_request *request = parser->request;
    span_extend(request, &request->target, at, length);
    if (request->target.length > parser->limits->target_bytes_max)
        return refuse(request, 414, "the target is too long");
    return 0;
}

static int on_header_field(llhttp_t *llhttp, const char *at, size_t length)
{
    struct http_parser *parser = parser_of(llhttp);
    struct http_request *request = parser->request;
    if (parser->field_closed) {
        if (request->count == parser->limits->fields_max)
            return refuse(request, 431, "too many header fields");
        request->headers[request->count++] = (struct http_header){{0, 0}, {0, 0}};
        parser->field_closed = false;
    }
    span_extend(request, &request->headers[request->count - 1].name, at, length);
    return 0;
}

static int on_header_value(llhttp_t *llhttp, const char *at, size_t length)
{
    struct http_parser *parser = parser_of(llhttp);
    struct http_request *request = parser->request;
    if (length > 0)
        span_extend(request, &request->headers[request->count - 1].value, at, length);
    return 0;
}

static int on_header_value_complete(llhttp_t *llhttp)
{
    parser_of(llhttp)->field_closed = true;
    return 0;
}

/* ---- The second look ---- */

static const char *line_check(const char *line, const char *end, bool first)
{
    if (memchr(line, '\r', (size_t)(end - line)))
        return "a bare carriage return";
    if (*line == ' ' || *line == '\t')
        return "a folded header line";
    const char *colon = memchr(line, ':', (size_t)(end - line));
    if (!first && (!colon || colon == line || colon[-1] == ' ' || colon[-1] == '\t'))
        return "a malformed header field";
    return NULL;
}

/* Whether the line is method SP target SP HTTP/1.x. */
static bool request_line_is_exact(const struct http_request *request, const char *line, const char *end)
{
    const char *target = http_text(request, request->target);
    size_t method = strlen(llhttp_method_name((llhttp_method_t)request->method));
    return target == line + method + 1 && target[-1] == ' ' &&
           end == target + request->target.length + sizeof " HTTP/1.x" - 1;
}

/* NULL, or what is wrong; *head_end is set where all is well. */
static const char *head_check(const struct http_request *request, const char *end, const char **head_end)
{
    const char *line = request->base;
    bool first = true;
    for (;;) {
        const char *feed = memchr(line, '\n', (size_t)(end - line));
        if (!feed)
            return "a malformed head";
        if (feed == line || feed[-1] != '\r')
            return "a bare line feed";
        const char *line_end = feed - 1;
        *head_end = feed + 1;
        if (line_end == line && !first)
            return NULL;
        if (line_end != line) { /* empty lines before the request are let pass */
            const char *fault = line_check(line, line_end, first);
            if (fault)
                return fault;
            if (first && !request_line_is_exact(request, line, line_end))
                return "a malformed request line";
            first = false;
        }
        line = feed + 1;
    }
}

static const struct {
    const char *name;
    uint8_t length, known;
} known_names[] = {
    {"host", 4, HTTP_HOST},
    {"expect", 6, HTTP_EXPECT},
    {"authorization", 13, HTTP_AUTHORIZATION},
    {"if-match", 8, HTTP_IF_MATCH},
    {"if-none-match", 13, HTTP_IF_NONE_MATCH},
    {"prefer", 6, HTTP_PREFER},
    {"content-type", 12, HTTP_CONTENT_TYPE},
    {"transfer-encoding", 17, HTTP_TRANSFER_ENCODING},
};

static bool name_is(const struct http_request *request, const struct http_header *header, size_t k)
{
    return known_names[k].length == header->name.length &&
           strncasecmp(known_names[k].name, http_text(request, header->name), header->name.length) == 0;
}

/* Takes the spaces off the values' ends, which llhttp leaves, and fills in request->known. */
static void fields_complete(struct http_request *request)
{
    for (unsigned i = 0; i < request->count; i++) {
        struct http_header *header = &request->headers[i];
        const char *value = http_text(request, header->value);
        while (header->value.length > 0 &&
               (value[header->value.length - 1] == ' ' || value[header->value.length - 1] == '\t'))
            header->value.length--;
        for (size_t k = 0; k < sizeof known_names / sizeof known_names[0]; k++) {
            if (!name_is(request, header, k))
                continue;
            unsigned known = known_names[k].known;
            if (request->known[known])
                request->repeated |= (uint16_t)(1U << known);
            else
                request->known[known] = (uint16_t)(i + 1);
            break;
        }
    }
}

static bool value_is(const struct http_request *request, enum http_known known, const char *wanted)
{
    size_t length;
    const char *value = http_known_value(request, known, &length);
    return value && length == strlen(wanted) && strncasecmp(value, wanted, length) == 0;
}

static int on_headers_complete(llhttp_t *llhttp)
{
    struct http_parser *parser = parser_of(llhttp);
    struct http_request *request = parser->request;
    request->method = llhttp->method;
    request->minor = llhttp->http_minor;
    request->head_complete = true;
    if (llhttp->http_major > 1)
        return refuse(request, 505, "only HTTP/1.0 and HTTP/1.1 are spoken here");
    if (llhttp->http_major < 1)
        return refuse(request, 400, "a request without a version");
    const char *head_end = request->base;
    const char *fault = head_check(request, parser->end, &head_end);
    if (fault)
        return refuse(request, 400, fault);
    if ((size_t)(head_end - request->base) > parser->limits->head_bytes_max)
        return refuse(request, 431, "the head is too large");
    fields_complete(request);
    if (request->repeated & 1U << HTTP_HOST)
        return refuse(request, 400, "two Host fields");
    if (request->repeated & 1U << HTTP_TRANSFER_ENCODING)
        return refuse(request, 400, "two Transfer-Encoding fields");
    if (!request->known[HTTP_HOST] && request->minor > 0)
        return refuse(request, 400, "no Host field");
    if (request->known[HTTP_TRANSFER_ENCODING] &&
        (!value_is(request, HTTP_TRANSFER_ENCODING, "chunked") || request->minor == 0))
        return refuse(request, 400, "a transfer coding other than chunked");
    if (!(llhttp->flags & F_CHUNKED) && llhttp->content_length > parser->limits->body_bytes_max)
        return refuse(request, 413, "the body is too large");
    request->keep_alive = llhttp_should_keep_alive(llhttp);
    request->expects_continue = request->minor > 0 && value_is(request, HTTP_EXPECT, "100-continue");
    if (request->known[HTTP_EXPECT] && !request->expects_continue && request->minor > 0)
        return refuse(request, 417, "an expectation other than 100-continue");
    /* No protocol but this one: an Upgrade is ignored, as RFC 9110 allows. */
    llhttp->upgrade = 0;
    parser->in_chunks = llhttp->flags & F_CHUNKED;
    return parser->in_chunks; /* 1: llhttp takes no body */
}

static int on_body(llhttp_t *llhttp, const char *at, size_t length)
{
    struct http_parser *parser = parser_of(llhttp);
    struct http_request *request = parser->request;
    if (request->body_start == 0)
        request->body_start = (size_t)(at - request->base);
    if (request->body_length + length > parser->limits->body_bytes_max)
        return refuse(request, 413, "the body is too large");
    request->body_length += length;
    return 0;
}

static int on_message_complete(llhttp_t *llhttp)
{
    (void)llhttp;
    return HPE_PAUSED;
}

static const llhttp_settings_t settings = {.on_url = on_url,
                                           .on_header_field = on_header_field,
                                           .on_header_value = on_header_value,
                                           .on_header_value_complete = on_header_value_complete,
                                           .on_headers_complete = on_headers_complete,
                                           .on_body = on_body,
                                           .on_message_complete = on_message_complete};

void http_parser_init(struct http_parser *parser, const struct http_limits *limits)
{
    memset(parser, 0, sizeof *parser);
    llhttp_init(&parser->llhttp, HTTP_REQUEST, &settings);
    parser->llhttp.data = parser;
    parser->limits = limits;
    parser->field_closed = true;
}

void http_request_init(struct http_request *request)
{
    memset(request, 0, sizeof *request);
}

static enum http_result chunks_parse(struct http_parser *parser, struct http_request *request, const char *bytes,
                                     size_t length, size_t *used)
{
    const struct http_limits *limits = parser->limits;
    struct chunked_limits chunked_limits = {limits->body_bytes_max, limits->head_bytes_max, limits->fields_max};
    *used = length;
    switch (chunked_decode(&parser->chunked, &chunked_limits, bytes, length, used, request->base + request->body_start,
                           &request->body_length)) {
    case CHUNKED_MORE: return HTTP_MORE;
    case CHUNKED_COMPLETE: parser->in_chunks = false; return HTTP_COMPLETE;
    case CHUNKED_BODY_TOO_LARGE: refuse(request, 413, "the body is too large"); break;
    case CHUNKED_TRAILERS_TOO_LARGE: refuse(request, 431, "the trailers are too large"); break;
    case CHUNKED_MALFORMED: refuse(request, 400, "a malformed chunked body"); break;
    }
    return HTTP_REFUSED;
}

enum http_result http_parse(struct http_parser *parser, struct http_request *request, char *bytes, size_t length,
                            size_t *used)
{
    if (parser->in_chunks)
        return chunks_parse(parser, request, bytes, length, used);
    parser->request = request;
    parser->end = bytes + length;
    llhttp_errno_t error = llhttp_execute(&parser->llhttp, bytes, length);
    *used = length;
    if (error == HPE_PAUSED) {
        *used = (size_t)(llhttp_get_error_pos(&parser->llhttp) - bytes);
        llhttp_resume(&parser->llhttp);
        parser->field_closed = true;
        if (!parser->in_chunks)
            return HTTP_COMPLETE;
        size_t body = *used, taken;
        request->body_start = (size_t)(bytes + body - request->base);
        chunked_init(&parser->chunked);
        enum http_result result = chunks_parse(parser, request, bytes + body, length - body, &taken);
        *used += taken;
        return result;
    }
    if (error != HPE_OK) {
        refuse(request, 400,
               error == HPE_INVALID_METHOD ? "an unknown method" : llhttp_get_error_reason(&parser->llhttp));
        return HTTP_REFUSED;
    }
    if (!request->head_complete && (size_t)(parser->end - request->base) > parser->limits->head_bytes_max) {
        refuse(request, 431, "the head is too large");
        return HTTP_REFUSED;
    }
    return HTTP_MORE;
}

size_t http_kept_bytes(const struct http_request *request, size_t seen)
{
    if (request->body_start != 0)
        return request->body_start + request->body_length;
    return seen;
}

const char *http_known_value(const struct http_request *request, enum http_known known, size_t *length)
{
    if (!request->known[known])
        return NULL;
    struct http_span value = request->headers[request->known[known] - 1].value;
    *length = value.length;
    return http_text(request, value);
}

const struct http_header *http_known_next(const struct http_request *request, enum http_known known, unsigned *i)
{
    size_t k = 0;
    while (known_names[k].known != known)
        k++;
    if (*i == 0 && request->known[known])
        *i = request->known[known] - 1U;
    for (; request->known[known] && *i < request->count; ++*i)
        if (name_is(request, &request->headers[*i], k))
            return &request->headers[(*i)++];
    return NULL;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool http_percent_decode(const char *text, size_t length, bool plus, char *out, size_t *out_length)
{
    size_t written = 0;
    for (size_t i = 0; i < length; i++) {
        if (text[i] == '%') {
            if (length - i < 3 || hex_digit(text[i + 1]) < 0 || hex_digit(text[i + 2]) < 0)
                return false;
            out[written++] = (char)(hex_digit(text[i + 1]) << 4 | hex_digit(text[i + 2]));
            i += 2;
        } else {
            out[written++] = plus && text[i] == '+' ? ' ' : text[i];
        }
    }
    *out_length = written;
    return true;
}

/* The unreserved characters (RFC 3986, section 2.3). */
static const bool unreserved[256] = {['A' ... 'Z'] = true, ['a' ... 'z'] = true, ['0' ... '9'] = true, ['-'] = true,
                                     ['.'] = true,         ['_'] = true,         ['~'] = true};

size_t http_percent_encode(const char *text, size_t length, char *out)
{
    static const char digits[] = "0123456789ABCDEF";
    char *p = out;
    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)text[i];
        if (unreserved[c]) {
            *p++ = (char)c;
        } else {
            *p++ = '%';
            *p++ = digits[c >> 4];
            *p++ = digits[c & 15];
        }
    }
    return (size_t)(p - out);
}
