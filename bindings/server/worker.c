/* worker.c - one thread of the server: its loop, its clock, its script, its end. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "server.h"

enum { TICK_MS = 250, STOP_TICK_MS = 20, BACKLOG = 4096, INPUT_BYTES = 65536 };

#define CONTAINER(pointer, member) ((struct worker *)(void *)((char *)(pointer)-offsetof(struct worker, member)))

void log_error(struct worker *worker, const char *format, ...)
{
    char text[8192], stamp[40];
    struct tm tm;
    time_t now = time(NULL);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    gmtime_r(&now, &tm);
    strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%SZ", &tm);
    fprintf(stderr, "tidemark: %s thread %d: %s\n", stamp, worker->index + 1, text);
}

static void log_flush(struct worker *worker)
{
    size_t written = 0;
    while (written < worker->log.length) {
        ssize_t result = write(STDOUT_FILENO, worker->log.bytes + written, worker->log.length - written);
        if (result < 0 && errno == EINTR)
            continue;
        if (result <= 0)
            break;
        written += (size_t)result;
    }
    json_buffer_reset(&worker->log);
}

/* ---- The script ---- */

static void application_retire(struct worker *worker, struct application *application)
{
    application->retired = true;
    application->next = worker->retired;
    worker->retired = application;
    application_release(application);
}

static void retired_destroy(struct worker *worker)
{
    struct application **link = &worker->retired;
    while (*link) {
        struct application *application = *link;
        if (application->references == 0 && !application->handles_closed)
            application_close_handles(application); /* not before: its last requests may wait for them */
        if (application->references > 0 || worker->loop.active_reqs.count > 0 || application_has_handles(application)) {
            link = &application->next;
            continue;
        }
        *link = application->next;
        application_destroy(application);
    }
}

static void script_load(struct worker *worker)
{
    bool first = !worker->listening;
    if (first)
        tide_listen(worker->server->engine, &worker->engine_listener);
    worker->listening = true;
    struct application *fresh = application_load(worker, worker->load_message, sizeof worker->load_message);
    if (fresh && worker->application)
        application_retire(worker, worker->application);
    if (fresh)
        worker->application = fresh;
    /* Release; pairs with the acquire in the main thread, which then reads the message. */
    atomic_store_explicit(&worker->loaded, fresh ? 1 : -1, memory_order_release);
    uv_async_send(&worker->server->report);
}

/* ---- The end ---- */

static void worker_finish(struct worker *worker)
{
    if (worker->stop_seen)
        return;
    worker->stop_seen = true;
    if (worker->listening)
        tide_unlisten(worker->server->engine, &worker->engine_listener);
    if (worker->application)
        application_retire(worker, worker->application);
    worker->application = NULL;
    for (struct application *retired = worker->retired; retired; retired = retired->next)
        application_close_handles(retired);
    uv_close((uv_handle_t *)&worker->tick, NULL);
    uv_close((uv_handle_t *)&worker->deadline, NULL);
    uv_close((uv_handle_t *)&worker->prepare, NULL);
    uv_close((uv_handle_t *)&worker->wake, NULL);
}

/* Twenty milliseconds after the signal what had been sent by then was read; now the idle ones may go. */
static void stop_step(struct worker *worker)
{
    if (!uv_is_closing((uv_handle_t *)&worker->listener))
        uv_close((uv_handle_t *)&worker->listener, NULL);
    for (struct connection *c = worker->connections, *next; c; c = next) {
        next = c->next;
        connection_end_idle(c);
    }
    if (!worker->connections)
        worker_finish(worker);
}

static void on_tick(uv_timer_t *timer)
{
    struct worker *worker = CONTAINER(timer, tick);
    uint64_t now = uv_now(&worker->loop);
    for (struct connection *c = worker->connections, *next; c; c = next) {
        next = c->next;
        connection_tick(c, now);
    }
    retired_destroy(worker);
    if (worker->room_first) /* room may have come back without a word, see listen.c in the engine */
        worker->want_room = true;
    if (worker->stopping)
        stop_step(worker);
}

/* ---- The loop ---- */

static void on_prepare(uv_prepare_t *prepare)
{
    struct worker *worker = CONTAINER(prepare, prepare);
    do {
        connections_resume(worker);
        connection_flush(worker);
    } while (worker->stalled);
    parking_want(worker);
    if (worker->log.length > 0)
        log_flush(worker);
}

static void on_wake(uv_async_t *async)
{
    struct worker *worker = CONTAINER(async, wake);
    struct server *server = worker->server;
    if (atomic_exchange_explicit(&worker->load, false, memory_order_acquire))
        script_load(worker);
    if (atomic_load_explicit(&server->stopping, memory_order_relaxed) && !worker->stopping) {
        worker->stopping = true;
        uv_timer_start(&worker->tick, on_tick, STOP_TICK_MS, STOP_TICK_MS);
    }
    if (atomic_load_explicit(&worker->kill, memory_order_relaxed)) {
        for (struct connection *c = worker->connections; c; c = c->next)
            connection_close(c);
    }
    if (worker->listening)
        parking_wake(worker);
}

static void on_connection(uv_stream_t *listener, int status)
{
    if (status == 0)
        connection_accept(CONTAINER(listener, listener));
}

static void engine_wake(void *context)
{
    struct worker *worker = context;
    uv_async_send(&worker->wake);
}

static void *worker_main(void *context)
{
    struct worker *worker = context;
    watchdog_thread_setup(worker);
    uv_run(&worker->loop, UV_RUN_DEFAULT);
    log_flush(worker);
    while (worker->retired) {
        struct application *application = worker->retired;
        worker->retired = application->next;
        application_destroy(application);
    }
    uv_run(&worker->loop, UV_RUN_DEFAULT); /* what the states' collectors have closed */
    uv_loop_close(&worker->loop);
    while (worker->free) {
        struct exchange *exchange = worker->free;
        worker->free = exchange->next;
        json_buffer_free(&exchange->out);
        json_buffer_free(&exchange->held.headers);
        json_buffer_free(&exchange->held.body);
        free(exchange);
    }
    json_buffer_free(&worker->output);
    json_buffer_free(&worker->log);
    scratch_free(&worker->scratch);
    free(worker->input);
    atomic_store_explicit(&worker->ended, true, memory_order_release);
    uv_async_send(&worker->server->report);
    return NULL;
}

bool worker_start(struct worker *worker, char *message, size_t message_size)
{
    worker->engine_listener = (struct tide_listener){.wake = engine_wake, .context = worker};
    worker->deadline_us = UINT64_MAX;
    worker->input = malloc(INPUT_BYTES + JSON_PADDING);
    if (getrandom(&worker->id_prefix, sizeof worker->id_prefix, 0) < 0)
        worker->id_prefix = park_now_us();
    int result = worker->input && scratch_init(&worker->scratch) ? uv_loop_init(&worker->loop) : UV_ENOMEM;
    if (result == 0)
        result = uv_tcp_init(&worker->loop, &worker->listener);
    if (result == 0)
        result = uv_tcp_open(&worker->listener, worker->listen_fd);
    if (result == 0)
        result = uv_listen((uv_stream_t *)&worker->listener, BACKLOG, on_connection);
    if (result == 0)
        result = uv_async_init(&worker->loop, &worker->wake, on_wake);
    if (result == 0) {
        uv_prepare_init(&worker->loop, &worker->prepare);
        uv_prepare_start(&worker->prepare, on_prepare);
        uv_timer_init(&worker->loop, &worker->tick);
        uv_timer_start(&worker->tick, on_tick, TICK_MS, TICK_MS);
        uv_timer_init(&worker->loop, &worker->deadline);
        result = -pthread_create(&worker->thread, NULL, worker_main, worker);
    }
    if (result != 0)
        snprintf(message, message_size, "cannot serve: %s", uv_strerror(result));
    return result == 0;
}
