/* connection.c - the life of a connection, and the way of a request.
 *
 * closed → connecting → open → closing → closed …; a connection that is lost is made anew as long as requests are left.
 * What was sent lies in a ring, in order; each answer takes the first. A request goes out with one write, straight from
 * the client's text or buffer; only what the kernel doesn't take is copied and left to libuv. Bytes are read into the
 * thread's one buffer and parsed where they lie. Headers and body are kept only for a script with response().
 *
 * What was under way when a connection is lost has failed: each such request is one error. A close by the server
 * between requests is none. */
#include "connection.h"

#include <stdlib.h>
#include <string.h>

enum { BACK_OFF_MS = 100, BODY_BYTES_MAX = 1 << 30 };

static void forget_answer(struct connection *connection)
{
    connection->headers.length = connection->body.length = 0;
    connection->header_count = 0;
}

/* ---- Losing it ---- */

static void on_closed(uv_handle_t *handle);

static void close_connection(struct connection *connection)
{
    connection->state = CONNECTION_CLOSING;
    uv_timer_stop(&connection->timer);
    uv_close((uv_handle_t *)&connection->tcp, on_closed);
}

static void settle(struct connection *connection)
{
    if (connection->settled)
        return;
    connection->settled = true;
    client_settled(connection->client);
}

static void connect_failed(struct connection *connection, uint64_t now)
{
    struct client *client = connection->client;
    if (client->phase == CLIENT_CONNECTING)
        client->early_failures++;
    meter_error(&client->worker->meter, ERROR_CONNECT, now);
    if (!client->unreachable_since)
        client->unreachable_since = now;
    connection->backs_off = true;
    close_connection(connection);
    settle(connection);
}

/* Everything under way has failed. */
static void lose(struct connection *connection, enum error_kind kind)
{
    struct client *client = connection->client;
    unsigned lost = connection->count;
    for (; connection->count > 0; connection->count--) {
        const struct under_way *request = &connection->ring[connection->first];
        meter_error(&client->worker->meter, kind, request->start);
        connection->first = (connection->first + 1) & (connection->ring_size - 1);
    }
    connection->calls = 0;
    close_connection(connection);
    client_ended(client, lost);
}

/* ---- Sending ---- */

static bool add_under_way(struct connection *connection, bool head, bool last)
{
    if (connection->count == connection->ring_size) {
        unsigned size = connection->ring_size * 2;
        struct under_way *ring = malloc(size * sizeof *ring);
        if (!ring)
            return false;
        for (unsigned i = 0; i < connection->count; i++)
            ring[i] = connection->ring[(connection->first + i) & (connection->ring_size - 1)];
        free(connection->ring);
        connection->ring = ring;
        connection->ring_size = size;
        connection->first = 0;
    }
    unsigned place = (connection->first + connection->count++) & (connection->ring_size - 1);
    connection->ring[place] = (struct under_way){connection->sending_start, connection->sending_now, head, last};
    return true;
}

static bool add_scanned(void *context, bool head)
{
    return add_under_way(context, head, false);
}

static void on_written(uv_write_t *write, int status)
{
    struct connection *connection = write->data;
    connection->writing = false;
    free(connection->rest);
    connection->rest = NULL;
    if (connection->state != CONNECTION_OPEN || connection->client->phase == CLIENT_FINISHED)
        return;
    if (status < 0) {
        lose(connection, ERROR_WRITE);
        return;
    }
    connection_advance(connection, uv_hrtime());
    if (connection->client->due_fd >= 0)
        client_pump(connection->client, uv_hrtime());
}

static void write_bytes(struct connection *connection, char *bytes, size_t length)
{
    uv_buf_t buffer = uv_buf_init(bytes, (unsigned)length);
    int taken = uv_try_write((uv_stream_t *)&connection->tcp, &buffer, 1);
    if (taken == (int)length)
        return;
    if (taken == UV_EAGAIN)
        taken = 0;
    size_t left = length - (size_t)(taken < 0 ? 0 : taken);
    if (taken >= 0 && (connection->rest = malloc(left))) {
        memcpy(connection->rest, bytes + taken, left);
        buffer = uv_buf_init(connection->rest, (unsigned)left);
        connection->writing = true;
        if (uv_write(&connection->write, (uv_stream_t *)&connection->tcp, &buffer, 1, on_written) == 0)
            return;
        connection->writing = false;
        free(connection->rest);
        connection->rest = NULL;
    }
    lose(connection, ERROR_WRITE);
}

/* Appends what request() returns to the client's buffer; false: the script failed, or memory is out. */
static bool append_call(struct connection *connection, uint64_t budget_left)
{
    struct client *client = connection->client;
    struct script *script = &client->worker->script;
    size_t length, count = 1;
    bool keep = false;
    const char *text = script_request(script, &length), *fault = NULL;
    if (!text)
        return false;
    if (client_stopped(client)) { /* request() may have said thread:stop() */
        script_drop(script);
        return false;
    }
    if (text == script->formatted) {
        count = add_under_way(connection, request_text_is_head(text, length), false);
    } else if (text == client->scanned && client->scanned_count <= budget_left) {
        for (size_t i = 0; i < client->scanned_count && count; i++)
            count = add_under_way(connection, false, false);
    } else {
        size_t whole = length;
        unsigned first = connection->count;
        count = request_text_scan(text, &length, budget_left, add_scanned, connection, &fault);
        keep = count > 0 && length == whole;
        for (unsigned i = first; i < connection->count; i++)
            keep = keep && !connection->ring[(connection->first + i) & (connection->ring_size - 1)].head;
        client->scanned = keep ? text : NULL;
        client->scanned_count = count;
    }
    if (count == 0)
        script_fail(script, "request() returned a text that cannot be sent: %s", fault ? fault : "not enough memory");
    else if (!json_buffer_append(&client->outgoing, text, length))
        script_fail(script, "not enough memory");
    else
        connection->ring[(connection->first + connection->count - 1) & (connection->ring_size - 1)].last = true;
    if (keep)
        script_keep(script);
    else
        script_drop(script);
    return script->error == NULL;
}

void connection_send(struct connection *connection, unsigned calls, uint64_t start, uint64_t now)
{
    struct client *client = connection->client;
    uint64_t left = client->worker->budget - client->worker->sent;
    unsigned before = connection->count, made = 0;
    connection->delay_over = false;
    connection->sending_start = start;
    connection->sending_now = now;
    client->outgoing.length = 0;
    for (; made < calls && connection->count - before < left; made++) {
        if (!client->dynamic) {
            if (!add_under_way(connection, client->head, true))
                break;
        } else if (!append_call(connection, left - (connection->count - before))) {
            if (client->phase != CLIENT_FINISHED)
                client_fail(client);
            return;
        }
    }
    unsigned requests = connection->count - before;
    if (requests == 0)
        return;
    connection->calls += made;
    client->in_flight += requests;
    client->worker->sent += requests;
    if (client->dynamic)
        write_bytes(connection, client->outgoing.bytes, client->outgoing.length);
    else
        write_bytes(connection, client->text, client->text_length * requests);
}

static void on_timer(uv_timer_t *timer)
{
    struct connection *connection = timer->data;
    if (connection->client->phase == CLIENT_FINISHED)
        return;
    if (connection->state == CONNECTION_CLOSED) {
        connection_open(connection);
        return;
    }
    connection->delay_over = true;
    connection_advance(connection, uv_hrtime());
}

/* Asks the script how long to wait; true: no time at all. */
static bool delay_is_over(struct connection *connection)
{
    struct client *client = connection->client;
    if (connection->delay_over)
        return true;
    if (uv_is_active((uv_handle_t *)&connection->timer))
        return false;
    double milliseconds;
    if (!script_delay(&client->worker->script, &milliseconds)) {
        client_fail(client);
        return false;
    }
    if (milliseconds < 1)
        return client->phase == CLIENT_RUNNING;
    uv_update_time(&client->loop);
    uv_timer_start(&connection->timer, on_timer, (uint64_t)milliseconds, 0);
    return false;
}

void connection_advance(struct connection *connection, uint64_t now)
{
    struct client *client = connection->client;
    if (client->phase != CLIENT_RUNNING)
        return;
    if (client->due_fd >= 0) {
        if (connection_has_room(connection))
            client_free(client, connection);
        return;
    }
    if (!client->delays) {
        if (connection_has_room(connection))
            connection_send(connection, client->pipeline - connection->calls, now, now);
        return;
    }
    while (connection_has_room(connection) && client_wants_more(client) && delay_is_over(connection)) {
        now = uv_hrtime();
        connection_send(connection, 1, now, now);
    }
}

/* ---- Parsing ---- */

static bool is_interim(const llhttp_t *parser)
{
    return parser->status_code < 200;
}

static int on_header_field(llhttp_t *parser, const char *bytes, size_t length)
{
    struct connection *connection = parser->data;
    return json_buffer_append(&connection->headers, bytes, length) ? 0 : -1;
}

static int on_header_field_complete(llhttp_t *parser)
{
    struct connection *connection = parser->data;
    return json_buffer_append(&connection->headers, "", 1) ? 0 : -1;
}

static int on_header_value_complete(llhttp_t *parser)
{
    struct connection *connection = parser->data;
    connection->header_count++;
    return json_buffer_append(&connection->headers, "", 1) ? 0 : -1;
}

static int on_body(llhttp_t *parser, const char *bytes, size_t length)
{
    struct connection *connection = parser->data;
    if (connection->body.length + length > BODY_BYTES_MAX)
        return -1;
    return json_buffer_append(&connection->body, bytes, length) ? 0 : -1;
}

static int on_headers_complete(llhttp_t *parser)
{
    const struct connection *connection = parser->data;
    if (is_interim(parser) || connection->count == 0)
        return 0;
    return connection->ring[connection->first].head; /* 1: no body follows */
}

static int on_message_complete(llhttp_t *parser)
{
    struct connection *connection = parser->data;
    struct client *client = connection->client;
    if (is_interim(parser)) {
        forget_answer(connection);
        return 0;
    }
    if (connection->count == 0) {
        connection->unexpected = true;
        return HPE_USER;
    }
    struct under_way request = connection->ring[connection->first];
    connection->first = (connection->first + 1) & (connection->ring_size - 1);
    connection->count--;
    connection->calls -= request.last;
    connection->closes = !llhttp_should_keep_alive(parser);
    meter_response(&client->worker->meter, request.start, connection->sending_now, parser->status_code);
    bool answered =
        !client->collects || script_response(&client->worker->script, parser->status_code, connection->headers.bytes,
                                             connection->header_count, connection->body.bytes, connection->body.length);
    forget_answer(connection);
    client_ended(client, 1);
    if (!answered)
        client_fail(client);
    return client->collects && client_stopped(client) ? HPE_USER : 0;
}

void connection_settings(llhttp_settings_t *settings, bool collects)
{
    llhttp_settings_init(settings);
    settings->on_headers_complete = on_headers_complete;
    settings->on_message_complete = on_message_complete;
    if (!collects)
        return;
    settings->on_header_field = on_header_field;
    settings->on_header_field_complete = on_header_field_complete;
    settings->on_header_value = on_header_field;
    settings->on_header_value_complete = on_header_value_complete;
    settings->on_body = on_body;
}

/* ---- Reading ---- */

static void on_allocate(uv_handle_t *handle, size_t suggested, uv_buf_t *buffer)
{
    (void)suggested;
    struct connection *connection = handle->data;
    *buffer = uv_buf_init(connection->client->buffer, sizeof connection->client->buffer);
}

static void on_read(uv_stream_t *stream, ssize_t length, const uv_buf_t *buffer)
{
    struct connection *connection = stream->data;
    struct client *client = connection->client;
    if (length == 0 || connection->state != CONNECTION_OPEN || client->phase == CLIENT_FINISHED)
        return;
    uint64_t now = connection->sending_now = uv_hrtime();
    if (length < 0) {
        llhttp_finish(&connection->parser); /* an answer without a length ends here */
        if (client->phase != CLIENT_FINISHED)
            lose(connection, ERROR_READ);
    } else {
        if (now >= client->worker->meter.measure_from)
            client->worker->meter.bytes += (uint64_t)length;
        llhttp_errno_t result = llhttp_execute(&connection->parser, buffer->base, (size_t)length);
        if (client->phase == CLIENT_FINISHED)
            return;
        if (connection->closes || result != HPE_OK) {
            if (connection->count == 0 && (connection->unexpected || !connection->closes))
                meter_error(&client->worker->meter, ERROR_READ, now);
            lose(connection, ERROR_READ);
        } else {
            connection_advance(connection, client->collects ? uv_hrtime() : now);
        }
    }
    if (client->due_fd >= 0)
        client_pump(client, now);
}

/* ---- Connecting ---- */

static void on_connected(uv_connect_t *connect, int status)
{
    struct connection *connection = connect->data;
    struct client *client = connection->client;
    if (connection->state != CONNECTION_CONNECTING || client->phase == CLIENT_FINISHED)
        return;
    uint64_t now = uv_hrtime();
    if (status < 0 || uv_read_start((uv_stream_t *)&connection->tcp, on_allocate, on_read) != 0) {
        connect_failed(connection, now);
        return;
    }
    connection->state = CONNECTION_OPEN;
    client->unreachable_since = 0;
    settle(connection);
    connection_advance(connection, now);
    if (client->due_fd >= 0)
        client_pump(client, now);
}

void connection_open(struct connection *connection)
{
    struct client *client = connection->client;
    llhttp_init(&connection->parser, HTTP_RESPONSE, &client->settings);
    connection->parser.data = connection;
    connection->closes = connection->unexpected = connection->delay_over = false;
    forget_answer(connection);
    connection->state = CONNECTION_CONNECTING;
    connection->connecting_since = uv_hrtime();
    uv_tcp_init(&client->loop, &connection->tcp);
    uv_tcp_nodelay(&connection->tcp, 1);
    const struct sockaddr *address = (const struct sockaddr *)&client->worker->address.storage;
    if (uv_tcp_connect(&connection->connect, &connection->tcp, address, on_connected) != 0)
        connect_failed(connection, uv_hrtime());
}

static void on_closed(uv_handle_t *handle)
{
    struct connection *connection = handle->data;
    connection->state = CONNECTION_CLOSED;
    if (!client_wants_more(connection->client))
        return;
    if (connection->backs_off)
        uv_timer_start(&connection->timer, on_timer, BACK_OFF_MS, 0);
    else
        connection_open(connection);
    connection->backs_off = false;
}

void connection_check(struct connection *connection, uint64_t now)
{
    uint64_t timeout = connection->client->worker->options->timeout_ns;
    if (connection->state == CONNECTION_CONNECTING && now - connection->connecting_since > timeout)
        connect_failed(connection, now);
    else if (connection->state == CONNECTION_OPEN && connection->count > 0 &&
             now - connection->ring[connection->first].sent > timeout)
        lose(connection, ERROR_TIMEOUT);
}

bool connection_init(struct connection *connection, struct client *client)
{
    connection->client = client;
    connection->ring_size = 4;
    while (connection->ring_size < client->pipeline)
        connection->ring_size *= 2;
    connection->ring = malloc(connection->ring_size * sizeof *connection->ring);
    connection->tcp.data = connection->timer.data = connection;
    connection->connect.data = connection->write.data = connection;
    uv_timer_init(&client->loop, &connection->timer);
    return connection->ring != NULL;
}

void connection_destroy(struct connection *connection)
{
    free(connection->ring);
    free(connection->rest);
    json_buffer_free(&connection->headers);
    json_buffer_free(&connection->body);
}
