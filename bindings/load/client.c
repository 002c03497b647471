/* client.c - a thread's loop: when it begins, what is due, when it ends.
 *
 * First every connection is made; when those of all threads are settled the run begins, at the same time for all. In a
 * closed loop a connection sends its next request when it has the answer; the client only ends it, at the deadline or
 * when the budget of requests is used up. In an open loop the client sends what is due, in order, on whichever
 * connection has room; when none has, what is due stays due, and is sent as soon as there is one, its latency counting
 * from the schedule. At the deadline nothing more is sent, and what is under way is awaited, at most for the timeout,
 * for leaving the slowest answers out would flatter the server. */
#include "client.h"

#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "connection.h"
#include "run.h"

/* ---- The end ---- */

static void finish(struct client *client, uint64_t now)
{
    if (client->phase == CLIENT_FINISHED)
        return;
    struct worker *worker = client->worker;
    if (client->phase != CLIENT_DRAINING) {
        worker->finished_ns = now;
        worker->unsent = schedule_unsent(worker, now);
    }
    client->phase = CLIENT_FINISHED;
    uv_stop(&client->loop);
    if (client->unsettled > 0) { /* the others don't wait for this one */
        client->unsettled = 0;
        run_settled(worker->run);
    }
}

static void disarm(struct client *client)
{
    if (client->due_at == 0)
        return;
    timerfd_settime(client->due_fd, TFD_TIMER_ABSTIME, &(struct itimerspec){0}, NULL);
    client->due_at = 0;
}

void client_fail(struct client *client)
{
    finish(client, uv_hrtime());
    run_stop(client->worker->run);
}

bool client_stopped(struct client *client)
{
    if (atomic_load_explicit(&client->worker->stop, memory_order_acquire))
        finish(client, uv_hrtime());
    return client->phase == CLIENT_FINISHED;
}

bool client_wants_more(const struct client *client)
{
    return client->phase <= CLIENT_RUNNING && client->worker->sent < client->worker->budget;
}

void client_ended(struct client *client, unsigned requests)
{
    client->in_flight -= requests;
    client->ended += requests;
    if (client->phase == CLIENT_RUNNING && client->ended == client->worker->budget)
        finish(client, uv_hrtime());
    else if (client->phase == CLIENT_DRAINING && client->in_flight == 0)
        finish(client, uv_hrtime());
}

static void on_deadline(uv_timer_t *timer)
{
    struct client *client = timer->data;
    if (client->phase != CLIENT_RUNNING)
        return;
    struct worker *worker = client->worker;
    if (worker->options->rate <= 0) {
        finish(client, uv_hrtime());
        return;
    }
    client_pump(client, worker->schedule.end_ns); /* what came due since the loop last looked */
    if (client->phase != CLIENT_RUNNING)
        return;
    worker->finished_ns = worker->schedule.end_ns;
    worker->unsent = schedule_unsent(worker, worker->finished_ns);
    client->phase = CLIENT_DRAINING;
    disarm(client);
    client_ended(client, 0);
}

/* ---- The open loop ---- */

void client_free(struct client *client, struct connection *connection)
{
    if (connection->in_free_ring)
        return;
    connection->in_free_ring = true;
    if (client->free_count == 0)
        client->free_since = uv_hrtime();
    client->free_ring[(client->free_first + client->free_count++) % client->count] = connection;
}

/* The connection that has been free longest, still in the ring; NULL: none. Those that have been closed are dropped. */
static struct connection *first_free(struct client *client)
{
    while (client->free_count > 0) {
        struct connection *connection = client->free_ring[client->free_first];
        if (connection_has_room(connection))
            return connection;
        connection->in_free_ring = false;
        client->free_first = (client->free_first + 1) % client->count;
        client->free_count--;
    }
    return NULL;
}

static void arm(struct client *client, uint64_t due)
{
    if (client->due_at == due)
        return;
    client->due_at = due;
    struct itimerspec at = {.it_value = {(time_t)(due / SECOND_NS), (long)(due % SECOND_NS)}};
    timerfd_settime(client->due_fd, TFD_TIMER_ABSTIME, &at, NULL);
}

void client_pump(struct client *client, uint64_t now)
{
    struct worker *worker = client->worker;
    while (client->phase == CLIENT_RUNNING && worker->sent < worker->budget) {
        uint64_t due = schedule_at(&worker->schedule, worker->sent);
        struct connection *connection = due < worker->schedule.end_ns ? first_free(client) : NULL;
        if (!connection)
            break;
        if (due > now) {
            now = uv_hrtime();
            if (due > now) {
                arm(client, due);
                return;
            }
        }
        schedule_note_lateness(worker, due, client->free_since, now);
        connection->in_free_ring = false;
        client->free_first = (client->free_first + 1) % client->count;
        client->free_count--;
        connection_send(connection, 1, due, client->dynamic ? uv_hrtime() : now);
        if (connection_has_room(connection))
            client_free(client, connection);
    }
    disarm(client);
}

static void on_due(uv_poll_t *poll, int status, int events)
{
    (void)status;
    (void)events;
    struct client *client = poll->data;
    if (client->phase == CLIENT_RUNNING)
        client_pump(client, uv_hrtime());
    else
        disarm(client);
}

/* ---- The beginning ---- */

void client_settled(struct client *client)
{
    if (client->unsettled > 0 && --client->unsettled == 0)
        run_settled(client->worker->run);
}

static void begin(struct client *client, uint64_t start)
{
    struct worker *worker = client->worker;
    const struct load_options *options = worker->options;
    uint64_t now = uv_hrtime();
    client->phase = CLIENT_RUNNING;
    schedule_begin(worker, start);
    meter_begin(&worker->meter, start + options->warmup_ns, worker->schedule.end_ns);
    if (options->warmup_ns == 0)
        worker->meter.errors[ERROR_CONNECT] += client->early_failures;
    if (now >= worker->meter.next_tick)
        meter_tick(&worker->meter, now);
    if (worker->schedule.end_ns != UINT64_MAX) {
        uint64_t left = worker->schedule.end_ns > now ? worker->schedule.end_ns - now : 0;
        uv_update_time(&client->loop);
        uv_timer_start(&client->deadline, on_deadline, (left + 999999) / 1000000, 0);
    }
    for (unsigned i = 0; i < client->count && client->phase == CLIENT_RUNNING; i++)
        connection_advance(&client->connections[i], uv_hrtime());
    if (options->rate > 0)
        client_pump(client, uv_hrtime());
    client_ended(client, 0); /* a thread may have nothing to do */
}

static void on_wake(uv_async_t *wake)
{
    struct client *client = wake->data;
    struct worker *worker = client->worker;
    uint64_t start = run_start_ns(worker->run);
    if (client->phase == CLIENT_CONNECTING && start)
        begin(client, start);
    client_stopped(client);
}

/* Every 100 ms: figures are handed over, and connections looked at whose answer doesn't come. */
static void on_tick(uv_timer_t *timer)
{
    struct client *client = timer->data;
    struct worker *worker = client->worker;
    uint64_t now = uv_hrtime();
    if (client->phase != CLIENT_CONNECTING && client->phase != CLIENT_FINISHED && now >= worker->meter.next_tick)
        meter_tick(&worker->meter, now);
    for (unsigned i = 0; i < client->count && client->phase != CLIENT_FINISHED; i++)
        connection_check(&client->connections[i], now);
    if (client->phase == CLIENT_RUNNING && worker->options->requests && client->in_flight == 0 &&
        client->unreachable_since && now - client->unreachable_since > worker->options->timeout_ns)
        finish(client, now); /* the server has gone: nobody will take the rest */
}

void client_run(struct client *client)
{
    if (client->count == 0) {
        client->phase = CLIENT_FINISHED;
        client->worker->finished_ns = 0;
        return;
    }
    for (unsigned i = 0; i < client->count; i++)
        connection_open(&client->connections[i]);
    uv_timer_start(&client->tick, on_tick, TICK_NS / 1000000, TICK_NS / 1000000);
    if (!client_stopped(client))
        uv_run(&client->loop, UV_RUN_DEFAULT);
}

/* ---- Creating and destroying ---- */

/* What is written without entering Lua: the text, as often as it can go out at once. */
static bool prepare_text(struct client *client)
{
    struct script *script = &client->worker->script;
    const char *text = script_format(script, &client->text_length);
    if (!text)
        return false;
    client->head = request_text_is_head(text, client->text_length);
    client->text = malloc(client->text_length * client->pipeline);
    for (unsigned i = 0; client->text && i < client->pipeline; i++)
        memcpy(client->text + i * client->text_length, text, client->text_length);
    script_drop(script);
    if (!client->text)
        script_fail(script, "not enough memory");
    return client->text != NULL;
}

static bool prepare_loop(struct client *client)
{
    client->due_fd = -1;
    if (uv_loop_init(&client->loop) != 0)
        return false;
    client->loop.data = client; /* it is there */
    client->wake.data = client->tick.data = client->deadline.data = client->due.data = client;
    if (uv_async_init(&client->loop, &client->wake, on_wake) != 0)
        return false;
    uv_timer_init(&client->loop, &client->tick);
    uv_timer_init(&client->loop, &client->deadline);
    if (client->worker->options->rate <= 0)
        return true;
    client->due_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    return client->due_fd >= 0 && uv_poll_init(&client->loop, &client->due, client->due_fd) == 0 &&
           uv_poll_start(&client->due, UV_READABLE, on_due) == 0;
}

struct client *client_create(struct worker *worker)
{
    const struct load_options *options = worker->options;
    struct client *client = calloc(1, sizeof *client);
    if (!client) {
        script_fail(&worker->script, "not enough memory");
        return NULL;
    }
    client->worker = worker;
    client->pipeline = options->pipeline;
    client->count = options->connections / options->threads + (worker->index < options->connections % options->threads);
    if (client->count > worker->budget)
        client->count = (unsigned)worker->budget;
    client->unsettled = client->count;
    client->dynamic = script_has(&worker->script, "request");
    client->collects = script_has(&worker->script, "response");
    client->delays = options->rate <= 0 && script_has(&worker->script, "delay");
    connection_settings(&client->settings, client->collects);
    client->connections = calloc(client->count + 1, sizeof *client->connections);
    client->free_ring = calloc(client->count + 1, sizeof(struct connection *));
    bool ready = prepare_loop(client) && client->connections && client->free_ring;
    for (unsigned i = 0; ready && i < client->count; i++)
        ready = connection_init(&client->connections[i], client);
    if (!ready)
        script_fail(&worker->script, "not enough memory or file descriptors");
    if (ready && (client->dynamic || prepare_text(client)))
        return client;
    client_destroy(client);
    return NULL;
}

static void close_handle(uv_handle_t *handle, void *context)
{
    (void)context;
    if (!uv_is_closing(handle))
        uv_close(handle, NULL);
}

void client_destroy(struct client *client)
{
    client->phase = CLIENT_FINISHED;
    if (client->loop.data) {
        uv_walk(&client->loop, close_handle, NULL);
        uv_run(&client->loop, UV_RUN_DEFAULT);
        uv_loop_close(&client->loop);
    }
    if (client->due_fd >= 0)
        close(client->due_fd);
    for (unsigned i = 0; client->connections && i < client->count; i++)
        connection_destroy(&client->connections[i]);
    free(client->connections);
    free(client->free_ring);
    free(client->text);
    json_buffer_free(&client->outgoing);
    free(client);
}

void client_wake(struct client *client)
{
    uv_async_send(&client->wake);
}
