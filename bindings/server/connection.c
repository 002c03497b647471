/* connection.c - bytes of one client, in and out.
 *
 * All connections of a worker read into one buffer of the worker's; a connection keeps bytes of its own only while a
 * message is incomplete, or while it may not go on, so that an idle one costs little. Complete requests wait in a queue
 * in their order; an answer goes straight into the worker's output when its request is the first, else into the
 * exchange until it is. A connection that had to stop with requests at hand is stalled, and goes on before the loop
 * sleeps, never within another one's turn. The output belongs to one connection at a time and leaves in one write: when
 * another one's turn comes, and before the loop sleeps.
 *
 * A connection that ends for our reasons lingers: its sending side is shut, and what still comes is read and thrown
 * away for a moment, since closing at once would make the kernel reset it and take the answer from the client. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server.h"

enum {
    INPUT_BYTES = 65536,
    UNSENT_BYTES_MAX = 1 << 20, /* with more than this not taken by the client, nothing more is read from it */
    LINGER_MS = 2000
};

struct write {
    uv_write_t request;
    struct connection *connection;
    size_t length;
    char bytes[];
};

static void phase_set(struct connection *c, enum phase phase)
{
    c->phase = phase;
    c->since_ms = uv_now(&c->worker->loop);
}

/* ---- Closing ---- */

static void queue_drop(struct connection *c)
{
    while (c->first) {
        struct exchange *exchange = c->first;
        c->first = exchange->next;
        exchange->next = NULL;
        exchange->connection = NULL;
        if (exchange->done)
            exchange_free(exchange);
    }
    c->last = NULL;
    c->count = 0;
}

static void on_closed(uv_handle_t *handle)
{
    struct connection *c = (struct connection *)(void *)handle;
    struct worker *worker = c->worker;
    if (c->previous)
        c->previous->next = c->next;
    else
        worker->connections = c->next;
    if (c->next)
        c->next->previous = c->previous;
    atomic_fetch_sub_explicit(&worker->server->connections, 1, memory_order_relaxed);
    json_buffer_free(&c->pending);
    free(c);
}

void connection_close(struct connection *c)
{
    if (c->phase == PHASE_CLOSING)
        return;
    c->phase = PHASE_CLOSING;
    if (c->worker->output_owner == c) {
        c->worker->output_owner = NULL;
        json_buffer_reset(&c->worker->output);
    }
    for (struct connection **link = &c->worker->stalled; *link; link = &(*link)->next_stalled) {
        if (*link == c) {
            *link = c->next_stalled;
            break;
        }
    }
    if (c->receiving)
        exchange_free(c->receiving);
    c->receiving = NULL;
    queue_drop(c);
    uv_close((uv_handle_t *)&c->tcp, on_closed);
}

static void on_shutdown(uv_shutdown_t *request, int status)
{
    struct connection *c = (struct connection *)(void *)((char *)request - offsetof(struct connection, shutdown));
    if (status < 0 || c->ended)
        connection_close(c);
}

static void reading_update(struct connection *c);

/* Ends the connection once everything is answered and sent. */
static void end_if_over(struct connection *c)
{
    if (c->phase != PHASE_OPEN || !c->last_request || c->count > 0 || c->unsent > 0 || c->worker->output_owner == c)
        return;
    if (c->ended) {
        connection_close(c);
        return;
    }
    phase_set(c, PHASE_LINGER);
    json_buffer_free(&c->pending);
    uv_shutdown(&c->shutdown, (uv_stream_t *)&c->tcp, on_shutdown);
    reading_update(c);
}

/* ---- Sending ---- */

static void on_written(uv_write_t *request, int status)
{
    struct write *write = (struct write *)(void *)request;
    struct connection *c = write->connection;
    c->unsent -= write->length;
    free(write);
    if (c->phase == PHASE_CLOSING)
        return;
    if (status < 0) {
        connection_close(c);
        return;
    }
    c->since_ms = uv_now(&c->worker->loop);
    end_if_over(c);
    if (c->phase == PHASE_OPEN)
        reading_update(c);
}

static void send_bytes(struct connection *c, const char *bytes, size_t length)
{
    if (c->unsent == 0) {
        uv_buf_t buffer = uv_buf_init((char *)bytes, (unsigned)(length < (1U << 30) ? length : 1U << 30));
        int sent = uv_try_write((uv_stream_t *)&c->tcp, &buffer, 1);
        if (sent < 0 && sent != UV_EAGAIN) {
            connection_close(c);
            return;
        }
        if (sent > 0) {
            bytes += sent;
            length -= (size_t)sent;
        }
    }
    if (length == 0)
        return;
    struct write *write = malloc(sizeof *write + length);
    if (!write) {
        connection_close(c);
        return;
    }
    write->connection = c;
    write->length = length;
    memcpy(write->bytes, bytes, length);
    uv_buf_t buffer = uv_buf_init(write->bytes, (unsigned)length);
    c->unsent += length;
    c->since_ms = uv_now(&c->worker->loop);
    if (uv_write(&write->request, (uv_stream_t *)&c->tcp, &buffer, 1, on_written) != 0) {
        c->unsent -= length;
        free(write);
        connection_close(c);
    }
}

void connection_flush(struct worker *worker)
{
    struct connection *c = worker->output_owner;
    if (!c)
        return;
    worker->output_owner = NULL;
    send_bytes(c, worker->output.bytes, worker->output.length);
    json_buffer_reset(&worker->output);
    end_if_over(c);
    if (c->phase == PHASE_OPEN)
        reading_update(c);
}

struct json_buffer *connection_output(struct connection *c)
{
    struct worker *worker = c->worker;
    if (worker->output_owner != c) {
        connection_flush(worker);
        worker->output_owner = c;
    } else if (worker->output.length > 2 * INPUT_BYTES) {
        send_bytes(c, worker->output.bytes, worker->output.length);
        json_buffer_reset(&worker->output);
    }
    return &worker->output;
}

/* ---- Receiving ---- */

static void parse(struct connection *c, char *data, size_t length, size_t fed);

/* Keeps the bytes from `start` on of `data` (perhaps the pending ones themselves) until more come. */
static bool keep(struct connection *c, const char *data, size_t start, size_t length, size_t parsed)
{
    if (length == 0) {
        json_buffer_free(&c->pending);
    } else if (data == c->pending.bytes) {
        memmove(c->pending.bytes, data + start, length);
        c->pending.length = length;
    } else {
        c->pending.length = 0;
        if (!json_buffer_append(&c->pending, data + start, length) || !json_buffer_reserve(&c->pending, JSON_PADDING))
            return false;
    }
    c->pending_parsed = parsed;
    return true;
}

static void refuse(struct connection *c, struct exchange *exchange)
{
    c->receiving = NULL;
    c->last_request = true;
    exchange->keep_alive = false;
    if (c->last)
        c->last->next = exchange;
    else
        c->first = exchange;
    c->last = exchange;
    c->count++;
    exchange_problem(exchange, exchange->request.refusal, NULL, exchange->request.refusal_text, NULL);
}

static void complete(struct connection *c)
{
    struct exchange *exchange = c->receiving;
    c->receiving = NULL;
    c->continued = false;
    exchange->keep_alive = exchange->request.keep_alive && !c->worker->stopping;
    if (!exchange->keep_alive)
        c->last_request = true;
    if (c->last)
        c->last->next = exchange;
    else
        c->first = exchange;
    c->last = exchange;
    c->count++;
    dispatch(exchange);
}

static void say_continue(struct connection *c)
{
    const struct http_request *request = &c->receiving->request;
    if (!request->head_complete || !request->expects_continue || c->continued || request->body_length > 0 ||
        c->count > 0)
        return;
    c->continued = true;
    struct json_buffer *output = connection_output(c);
    if (c->phase == PHASE_OPEN)
        json_buffer_append(output, "HTTP/1.1 100 Continue\r\n\r\n", 25);
}

static bool may_parse(const struct connection *c)
{
    return c->phase == PHASE_OPEN && !c->last_request && c->count < c->worker->server->options.pipeline_max &&
           c->unsent < UNSENT_BYTES_MAX;
}

/* Takes requests out of data[fed..length); data[0..fed) is the parsed part of an incomplete one. */
static void parse(struct connection *c, char *data, size_t length, size_t fed)
{
    size_t start = 0;
    c->parsing = true;
    while (may_parse(c) && fed < length) {
        if (!c->receiving) {
            c->receiving = exchange_new(c->worker);
            if (!c->receiving) {
                connection_close(c);
                break;
            }
            c->receiving->connection = c;
            c->since_ms = uv_now(&c->worker->loop);
        }
        struct http_request *request = &c->receiving->request;
        request->base = data + start;
        size_t used;
        enum http_result result = http_parse(&c->parser, request, data + fed, length - fed, &used);
        fed += used;
        if (result == HTTP_MORE) {
            say_continue(c);
            break;
        }
        if (result == HTTP_REFUSED) {
            refuse(c, c->receiving);
            break;
        }
        start = fed;
        complete(c);
    }
    c->parsing = false;
    if (c->phase != PHASE_OPEN)
        return;
    size_t kept = c->receiving ? http_kept_bytes(&c->receiving->request, fed - start) : length - start;
    if (c->last_request)
        kept = 0;
    if (!keep(c, data, start, kept, c->receiving ? kept : 0))
        connection_close(c);
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buffer)
{
    (void)suggested;
    struct connection *c = (struct connection *)(void *)handle;
    *buffer = uv_buf_init(c->worker->input, INPUT_BYTES);
}

static void on_read(uv_stream_t *stream, ssize_t read, const uv_buf_t *buffer)
{
    struct connection *c = (struct connection *)(void *)stream;
    if (read == 0 || c->phase == PHASE_CLOSING)
        return;
    if (read < 0) {
        c->ended = true;
        c->last_request = true;
        if (read == UV_EOF && c->phase == PHASE_OPEN && (c->count > 0 || c->unsent > 0 || c->worker->output_owner == c))
            reading_update(c); /* it shut its side, and still listens */
        else
            connection_close(c);
        return;
    }
    if (c->phase == PHASE_LINGER)
        return;
    char *data = buffer->base;
    size_t length = (size_t)read, fed = 0;
    if (c->receiving && c->receiving->request.head_complete)
        c->since_ms = uv_now(&c->worker->loop);
    if (c->pending.length > 0) {
        if (!json_buffer_append(&c->pending, data, length) || !json_buffer_reserve(&c->pending, JSON_PADDING)) {
            connection_close(c);
            return;
        }
        data = c->pending.bytes;
        length = c->pending.length;
        fed = c->pending_parsed;
    }
    parse(c, data, length, fed);
    if (c->phase == PHASE_CLOSING)
        return;
    if (c->worker->output_owner == c)
        connection_flush(c->worker);
    else
        reading_update(c);
}

/* Reads exactly while more can be used. */
static void reading_update(struct connection *c)
{
    if (c->phase == PHASE_OPEN && c->pending.length > c->pending_parsed && may_parse(c) && !c->stalled) {
        c->stalled = true;
        c->next_stalled = c->worker->stalled;
        c->worker->stalled = c;
    }
    bool wanted = !c->ended && !c->stalled && (c->phase == PHASE_LINGER || may_parse(c));
    if (wanted == c->reading)
        return;
    c->reading = wanted;
    if (!wanted) {
        uv_read_stop((uv_stream_t *)&c->tcp);
        return;
    }
    if (uv_read_start((uv_stream_t *)&c->tcp, on_alloc, on_read) != 0)
        connection_close(c);
}

void connections_resume(struct worker *worker)
{
    while (worker->stalled) {
        struct connection *c = worker->stalled;
        worker->stalled = c->next_stalled;
        c->stalled = false;
        if (c->phase != PHASE_OPEN)
            continue;
        parse(c, c->pending.bytes, c->pending.length, c->pending_parsed);
        if (c->phase == PHASE_OPEN)
            reading_update(c);
    }
}

void connection_finished(struct connection *c)
{
    while (c->first && c->first->done) {
        struct exchange *exchange = c->first;
        if (exchange->out.length > 0) {
            struct json_buffer *output = connection_output(c);
            if (c->phase == PHASE_CLOSING)
                return;
            if (!json_buffer_append(output, exchange->out.bytes, exchange->out.length)) {
                connection_close(c);
                return;
            }
        }
        if (!exchange->keep_alive)
            c->last_request = true;
        c->first = exchange->next;
        if (!c->first)
            c->last = NULL;
        c->count--;
        exchange_free(exchange);
    }
    if (c->phase == PHASE_OPEN && !c->receiving && c->count == 0)
        c->since_ms = uv_now(&c->worker->loop);
    if (c->phase == PHASE_OPEN && !c->parsing && !c->reading)
        reading_update(c);
}

/* ---- Time, and the beginning ---- */

static void time_out(struct connection *c, const char *text)
{
    struct exchange *exchange = c->receiving;
    exchange->request.refusal = 408;
    exchange->request.refusal_text = text;
    refuse(c, exchange);
}

void connection_tick(struct connection *c, uint64_t now_ms)
{
    const struct server_options *options = &c->worker->server->options;
    uint64_t age = now_ms > c->since_ms ? now_ms - c->since_ms : 0;
    if (c->phase == PHASE_LINGER) {
        if (age > LINGER_MS)
            connection_close(c);
    } else if (c->phase == PHASE_OPEN && c->unsent > 0) {
        if (age > options->body_timeout_ms)
            connection_close(c);
    } else if (c->phase == PHASE_OPEN && c->receiving && !c->receiving->request.head_complete) {
        if (age > options->head_timeout_ms)
            time_out(c, "the head did not come in time");
    } else if (c->phase == PHASE_OPEN && c->receiving) {
        if (age > options->body_timeout_ms)
            time_out(c, "the body stands still");
    } else if (c->phase == PHASE_OPEN && c->count == 0 && age > options->idle_timeout_ms) {
        connection_close(c);
    }
}

void connection_end_idle(struct connection *c)
{
    if (c->phase != PHASE_OPEN)
        return;
    if (c->count == 0 && !c->receiving && c->unsent == 0) {
        c->last_request = true;
        end_if_over(c);
    }
}

static void peer_name(struct connection *c)
{
    struct sockaddr_storage address;
    int length = sizeof address;
    char name[46] = "?";
    int port = 0;
    if (uv_tcp_getpeername(&c->tcp, (struct sockaddr *)&address, &length) == 0) {
        if (address.ss_family == AF_INET6) {
            const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&address;
            uv_ip6_name(in6, name, sizeof name);
            port = ntohs(in6->sin6_port);
        } else {
            const struct sockaddr_in *in = (const struct sockaddr_in *)&address;
            uv_ip4_name(in, name, sizeof name);
            port = ntohs(in->sin_port);
        }
    }
    snprintf(c->remote, sizeof c->remote, address.ss_family == AF_INET6 ? "[%s]:%d" : "%s:%d", name, port);
}

void connection_accept(struct worker *worker)
{
    struct connection *c = calloc(1, sizeof *c);
    if (!c)
        return;
    c->worker = worker;
    if (uv_tcp_init(&worker->loop, &c->tcp) != 0) {
        free(c);
        return;
    }
    c->next = worker->connections;
    if (c->next)
        c->next->previous = c;
    worker->connections = c;
    uint64_t before = atomic_fetch_add_explicit(&worker->server->connections, 1, memory_order_relaxed);
    phase_set(c, PHASE_OPEN);
    if (uv_accept((uv_stream_t *)&worker->listener, (uv_stream_t *)&c->tcp) != 0) {
        connection_close(c);
        return;
    }
    uv_tcp_nodelay(&c->tcp, 1);
    peer_name(c);
    http_parser_init(&c->parser, &worker->server->options.limits);
    if (before >= worker->server->options.connections_max) {
        char full[200];
        int length = snprintf(full, sizeof full,
                              "HTTP/1.1 503 Service Unavailable\r\nDate: %s\r\nRetry-After: 1\r\n"
                              "Content-Length: 0\r\nConnection: close\r\n\r\n",
                              worker_date(worker));
        c->last_request = true;
        send_bytes(c, full, (size_t)length);
        end_if_over(c);
        return;
    }
    reading_update(c);
}
