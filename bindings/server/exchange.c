/* exchange.c - one request and its answer: its memory, the bytes of the answer, problems, the access log. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "server.h"

enum { FREE_MAX = 256, KEPT_OUT_BYTES = 4096 };

struct exchange *exchange_new(struct worker *worker)
{
    struct exchange *exchange = worker->free;
    size_t headers = worker->server->options.limits.fields_max * sizeof(struct http_header);
    struct json_buffer out = {0}, held_headers = {0}, held_body = {0};
    if (exchange) {
        worker->free = exchange->next;
        worker->free_count--;
        out = exchange->out;
        held_headers = exchange->held.headers;
        held_body = exchange->held.body;
    } else {
        exchange = malloc(sizeof *exchange + headers);
        if (!exchange)
            return NULL;
    }
    memset(exchange, 0, sizeof *exchange);
    exchange->worker = worker;
    exchange->out = out;
    exchange->held.headers = held_headers;
    exchange->held.body = held_body;
    exchange->out.length = held_headers.length = held_body.length = 0;
    exchange->started_ns = uv_hrtime();
    return exchange;
}

static void buffer_shrink(struct json_buffer *buffer)
{
    buffer->length = 0;
    if (buffer->capacity > KEPT_OUT_BYTES)
        json_buffer_free(buffer);
}

void exchange_free(struct exchange *exchange)
{
    struct worker *worker = exchange->worker;
    free(exchange->copy);
    exchange->copy = NULL;
    if (worker->free_count < FREE_MAX) {
        buffer_shrink(&exchange->out);
        buffer_shrink(&exchange->held.headers);
        buffer_shrink(&exchange->held.body);
        exchange->next = worker->free;
        worker->free = exchange;
        worker->free_count++;
        return;
    }
    json_buffer_free(&exchange->out);
    json_buffer_free(&exchange->held.headers);
    json_buffer_free(&exchange->held.body);
    free(exchange);
}

bool exchange_detach(struct exchange *exchange)
{
    struct http_request *request = &exchange->request;
    if (exchange->copy)
        return true;
    size_t length = request->target.start + request->target.length;
    for (unsigned i = 0; i < request->count; i++) {
        const struct http_header *header = &request->headers[i];
        size_t end = header->value.length ? header->value.start + header->value.length
                                          : header->name.start + header->name.length;
        length = end > length ? end : length;
    }
    if (request->body_length > 0)
        length = request->body_start + request->body_length;
    exchange->copy = malloc(length + JSON_PADDING);
    if (!exchange->copy)
        return false;
    memcpy(exchange->copy, request->base, length);
    memset(exchange->copy + length, 0, JSON_PADDING);
    ptrdiff_t moved = exchange->copy - request->base;
    for (size_t i = 0; i < exchange->match.count; i++)
        exchange->match.captured[i].text += moved;
    request->base = exchange->copy;
    return true;
}

const char *status_text(int status)
{
    static const char *const texts[] = {
        [200 - 200] = "OK",
        [201 - 200] = "Created",
        [202 - 200] = "Accepted",
        [203 - 200] = "Non-Authoritative Information",
        [204 - 200] = "No Content",
        [205 - 200] = "Reset Content",
        [206 - 200] = "Partial Content",
        [207 - 200] = "Multi-Status",
        [226 - 200] = "IM Used",
        [300 - 200] = "Multiple Choices",
        [301 - 200] = "Moved Permanently",
        [302 - 200] = "Found",
        [303 - 200] = "See Other",
        [304 - 200] = "Not Modified",
        [307 - 200] = "Temporary Redirect",
        [308 - 200] = "Permanent Redirect",
        [400 - 200] = "Bad Request",
        [401 - 200] = "Unauthorized",
        [402 - 200] = "Payment Required",
        [403 - 200] = "Forbidden",
        [404 - 200] = "Not Found",
        [405 - 200] = "Method Not Allowed",
        [406 - 200] = "Not Acceptable",
        [407 - 200] = "Proxy Authentication Required",
        [408 - 200] = "Request Timeout",
        [409 - 200] = "Conflict",
        [410 - 200] = "Gone",
        [411 - 200] = "Length Required",
        [412 - 200] = "Precondition Failed",
        [413 - 200] = "Content Too Large",
        [414 - 200] = "URI Too Long",
        [415 - 200] = "Unsupported Media Type",
        [416 - 200] = "Range Not Satisfiable",
        [417 - 200] = "Expectation Failed",
        [418 - 200] = "I'm a Teapot",
        [421 - 200] = "Misdirected Request",
        [422 - 200] = "Unprocessable Content",
        [423 - 200] = "Locked",
        [424 - 200] = "Failed Dependency",
        [425 - 200] = "Too Early",
        [426 - 200] = "Upgrade Required",
        [428 - 200] = "Precondition Required",
        [429 - 200] = "Too Many Requests",
        [431 - 200] = "Request Header Fields Too Large",
        [451 - 200] = "Unavailable For Legal Reasons",
        [500 - 200] = "Internal Server Error",
        [501 - 200] = "Not Implemented",
        [502 - 200] = "Bad Gateway",
        [503 - 200] = "Service Unavailable",
        [504 - 200] = "Gateway Timeout",
        [505 - 200] = "HTTP Version Not Supported",
        [507 - 200] = "Insufficient Storage",
        [508 - 200] = "Loop Detected",
        [511 - 200] = "Network Authentication Required",
    };
    size_t place = (size_t)(status - 200);
    return status >= 200 && place < sizeof texts / sizeof texts[0] && texts[place] ? texts[place] : "Unknown";
}

const char *worker_date(struct worker *worker)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME_COARSE, &now);
    if (now.tv_sec != worker->date_s) {
        static const char days[] = "SunMonTueWedThuFriSat", months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
        struct tm tm;
        gmtime_r(&now.tv_sec, &tm);
        worker->date_s = now.tv_sec;
        snprintf(worker->date, sizeof worker->date, "%.3s, %02d %.3s %04d %02d:%02d:%02d GMT", days + 3 * tm.tm_wday,
                 tm.tm_mday % 100, months + 3 * tm.tm_mon, (tm.tm_year + 1900) % 10000, tm.tm_hour % 100,
                 tm.tm_min % 100, tm.tm_sec % 100);
    }
    return worker->date;
}

void request_id(struct exchange *exchange, char id[24])
{
    struct worker *worker = exchange->worker;
    if (exchange->id == 0)
        exchange->id = ++worker->request_number;
    snprintf(id, 24, "%08" PRIx32 "-%" PRIx64, (uint32_t)worker->id_prefix, exchange->id & 0xffffffffff);
}

/* ---- The access log ---- */

static void log_common(struct exchange *exchange)
{
    const struct http_request *request = &exchange->request;
    struct worker *worker = exchange->worker;
    char stamp[40];
    struct tm tm;
    time_t now = time(NULL);
    gmtime_r(&now, &tm);
    strftime(stamp, sizeof stamp, "%d/%b/%Y:%H:%M:%S +0000", &tm);
    const char *remote = exchange->connection ? exchange->connection->remote : "-";
    int host = (int)(strrchr(remote, ':') ? strrchr(remote, ':') - remote : (ptrdiff_t)strlen(remote));
    int target = request->target.length > 500 ? 500 : (int)request->target.length;
    metrics_printf(&worker->log, "%.*s - - [%s] \"%s %.*s HTTP/1.%d\" %d %" PRIu64 "\n", host, remote, stamp,
                   request->head_complete ? llhttp_method_name((llhttp_method_t)request->method) : "-", target,
                   http_text(request, request->target), request->minor, exchange->status, exchange->body_bytes);
}

static void log_json(struct exchange *exchange, uint64_t time_us)
{
    const struct http_request *request = &exchange->request;
    struct worker *worker = exchange->worker;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    metrics_printf(&worker->log,
                   "{\"time\":%lld.%03ld,\"remote\":\"%s\",\"method\":\"%s\",\"target\":", (long long)now.tv_sec,
                   now.tv_nsec / 1000000, exchange->connection ? exchange->connection->remote : "",
                   request->head_complete ? llhttp_method_name((llhttp_method_t)request->method) : "");
    const char *target = http_text(request, request->target);
    bool valid = request->target.length > 0 && json_utf8_valid(target, request->target.length);
    json_write_string(&worker->log, valid ? target : "", valid ? request->target.length : 0);
    metrics_printf(&worker->log, ",\"status\":%d,\"bytes\":%" PRIu64 ",\"time_us\":%" PRIu64, exchange->status,
                   exchange->body_bytes, time_us);
    if (exchange->id != 0) {
        char id[24];
        request_id(exchange, id);
        metrics_printf(&worker->log, ",\"request_id\":\"%s\"", id);
    }
    json_buffer_append(&worker->log, "}\n", 2);
}

/* ---- Answers ---- */

static bool append_text(struct json_buffer *out, const char *text)
{
    return json_buffer_append(out, text, strlen(text));
}

static char *put(char *p, const char *text, size_t length)
{
    memcpy(p, text, length);
    return p + length;
}

/* Writes the whole answer. */
static bool answer_write(struct exchange *exchange, const struct answer *answer, struct json_buffer *out)
{
    enum { FIXED_BYTES = 300 }; /* what is written here beside type, headers and body */
    size_t type_length = answer->type ? strlen(answer->type) : 0;
    const char *reason = status_text(answer->status), *date = worker_date(exchange->worker);
    if (!json_buffer_reserve(out, FIXED_BYTES + type_length + answer->headers_length + answer->body_length))
        return false;
    char *p = out->bytes + out->length;
    p = put(p, "HTTP/1.1 ", 9);
    p += json_write_integer(p, answer->status);
    *p++ = ' ';
    p = put(p, reason, strlen(reason));
    p = put(p, "\r\nDate: ", 8);
    p = put(p, date, strlen(date));
    p = put(p, "\r\n", 2);
    bool bodyless = answer->status == 204 || answer->status == 304;
    if (!bodyless && answer->type) {
        p = put(p, "Content-Type: ", 14);
        p = put(p, answer->type, type_length);
        p = put(p, "\r\n", 2);
    }
    if (!bodyless) {
        p = put(p, "Content-Length: ", 16);
        p += json_write_integer(p, (int64_t)answer->body_length);
        p = put(p, "\r\n", 2);
    }
    if (!exchange->keep_alive)
        p = put(p, "Connection: close\r\n", 19);
    else if (exchange->request.minor == 0)
        p = put(p, "Connection: keep-alive\r\n", 24);
    if (answer->headers_length > 0)
        p = put(p, answer->headers, answer->headers_length);
    p = put(p, "\r\n", 2);
    bool head = exchange->request.head_complete && exchange->request.method == HTTP_HEAD;
    exchange->body_bytes = bodyless || head ? 0 : answer->body_length;
    if (exchange->body_bytes > 0)
        p = put(p, answer->body, answer->body_length);
    out->length = (size_t)(p - out->bytes);
    return true;
}

static void finish(struct exchange *exchange)
{
    struct worker *worker = exchange->worker;
    uint64_t time_us = (uv_hrtime() - exchange->started_ns) / 1000;
    metrics_count(&worker->metrics, exchange->label, exchange->status, time_us);
    if (worker->server->options.log == LOG_COMMON)
        log_common(exchange);
    else if (worker->server->options.log == LOG_JSON)
        log_json(exchange, time_us);
    exchange->done = true;
    if (exchange->waits)
        atomic_fetch_sub_explicit(&worker->server->waiting, 1, memory_order_relaxed);
    exchange->waits = false;
    if (exchange->object)
        exchange->object->exchange = NULL;
    exchange->object = NULL;
    for (struct run *run = worker->run; run; run = run->outer)
        if (run->exchange == exchange)
            run->exchange = NULL;
    struct application *application = exchange->application;
    exchange->application = NULL;
    if (exchange->connection)
        connection_finished(exchange->connection);
    else
        exchange_free(exchange);
    if (application)
        application_release(application);
}

void exchange_waits(struct exchange *exchange)
{
    if (!exchange->waits)
        atomic_fetch_add_explicit(&exchange->worker->server->waiting, 1, memory_order_relaxed);
    exchange->waits = true;
}

bool exchange_hold(struct exchange *exchange, const struct answer *answer)
{
    struct held_answer *held = &exchange->held;
    held->status = answer->status;
    held->headers.length = held->body.length = 0;
    snprintf(held->type, sizeof held->type, "%s", answer->type ? answer->type : "");
    return json_buffer_append(&held->headers, answer->headers, answer->headers_length) &&
           json_buffer_append(&held->body, answer->body, answer->body_length);
}

void exchange_write(struct exchange *exchange, const struct answer *answer)
{
    if (exchange->in_lua) {
        if (!exchange_hold(exchange, answer))
            exchange->held.status = 500;
        return;
    }
    struct connection *c = exchange->connection;
    exchange->status = answer->status;
    if (exchange->worker->stopping)
        exchange->keep_alive = false;
    if (!c)
        return;
    struct json_buffer *out = c->first == exchange ? connection_output(c) : &exchange->out;
    if (exchange->connection && !answer_write(exchange, answer, out))
        connection_close(c);
}

void exchange_end(struct exchange *exchange)
{
    if (!exchange->in_lua)
        finish(exchange);
}

void exchange_answer(struct exchange *exchange, const struct answer *answer)
{
    exchange_write(exchange, answer);
    exchange_end(exchange);
}

void exchange_answer_held(struct exchange *exchange)
{
    struct held_answer *held = &exchange->held;
    struct answer answer = {.status = held->status,
                            .type = held->type[0] ? held->type : NULL,
                            .headers = held->headers.bytes,
                            .headers_length = held->headers.length,
                            .body = held->body.bytes,
                            .body_length = held->body.length};
    exchange_answer(exchange, &answer);
}

static const char *problem_code(int status)
{
    switch (status) {
    case 400: return "bad_request";
    case 401: return "unauthorized";
    case 404: return "not_found";
    case 405: return "method_not_allowed";
    case 408: return "request_timeout";
    case 412: return "conflict";
    case 413: return "too_large";
    case 414: return "target_too_long";
    case 415: return "unsupported_media_type";
    case 417: return "expectation_failed";
    case 422: return "invalid";
    case 431: return "head_too_large";
    case 500: return "internal";
    case 501: return "not_implemented";
    case 503: return "unavailable";
    case 505: return "version_not_supported";
    default: return "error";
    }
}

void exchange_problem(struct exchange *exchange, int status, const char *code, const char *detail, const char *headers)
{
    struct json_buffer body = {0};
    char head[200], end[120];
    snprintf(head, sizeof head, "{\"type\":\"about:blank\",\"title\":\"%s\",\"status\":%d", status_text(status),
             status);
    char version[40] = "";
    if (exchange->version != 0) /* accepted all the same */
        snprintf(version, sizeof version, ",\"version\":%" PRIu64, exchange->version);
    snprintf(end, sizeof end, ",\"code\":\"%s\"%s}", code ? code : problem_code(status), version);
    bool written = append_text(&body, head);
    if (detail && json_utf8_valid(detail, strlen(detail)))
        written = written && append_text(&body, ",\"detail\":") && json_write_string(&body, detail, strlen(detail));
    written = written && append_text(&body, end);
    struct answer answer = {.status = status,
                            .type = "application/problem+json",
                            .headers = headers,
                            .headers_length = headers ? strlen(headers) : 0,
                            .body = written ? body.bytes : "",
                            .body_length = written ? body.length : 0};
    exchange_answer(exchange, &answer);
    json_buffer_free(&body);
}
