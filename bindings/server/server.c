/* server.c - the whole server, from the main thread: sockets, workers, signals. require "tidemark.server" in the
 * command.
 *
 * The workers listen before the database is opened, so that /health and /ready can tell of a recovery that takes its
 * time. Each worker has a socket of its own on the same port (SO_REUSEPORT), and the kernel spreads connections.
 * Because any process of the same user may join such a port, it is first taken once without that option, to see that it
 * is free. */
#include <errno.h>
#include <lauxlib.h>
#include <netdb.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../module.h"
#include "server.h"

enum { GRACE_EXTRA_MS = 1000 };

#define OF_LOOP(pointer, member) ((struct server *)(void *)((char *)(pointer)-offsetof(struct server, member)))

/* ---- Sockets ---- */

static int socket_bind(const struct addrinfo *address, int port, bool shared)
{
    struct sockaddr_storage bound;
    memcpy(&bound, address->ai_addr, address->ai_addrlen);
    if (bound.ss_family == AF_INET6)
        ((struct sockaddr_in6 *)&bound)->sin6_port = htons((uint16_t)port);
    else
        ((struct sockaddr_in *)&bound)->sin_port = htons((uint16_t)port);
    int fd = socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int one = 1;
    if (fd < 0)
        return -errno;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) < 0 ||
        (shared && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one) < 0) ||
        bind(fd, (struct sockaddr *)&bound, address->ai_addrlen) < 0) {
        int error = -errno;
        close(fd);
        return error;
    }
    return fd;
}

/* Whether nobody listens on the port. */
static int port_probe(const struct addrinfo *address, int port)
{
    int fd = socket_bind(address, port, false);
    if (fd < 0)
        return fd;
    int result = listen(fd, 1) < 0 ? -errno : 0;
    close(fd);
    return result;
}

static int port_of(int fd)
{
    struct sockaddr_storage bound;
    socklen_t length = sizeof bound;
    if (getsockname(fd, (struct sockaddr *)&bound, &length) < 0)
        return 0;
    return ntohs(bound.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&bound)->sin6_port
                                             : ((struct sockaddr_in *)&bound)->sin_port);
}

/* Binds one socket for each worker; sets options.port where it was 0. */
static bool sockets_bind(struct server *server, char *message, size_t message_size)
{
    struct server_options *options = &server->options;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICHOST}, *address;
    int result = getaddrinfo(options->host, NULL, &hints, &address);
    if (result != 0) {
        hints.ai_flags = AI_PASSIVE;
        result = getaddrinfo(options->host, NULL, &hints, &address);
    }
    if (result != 0) {
        snprintf(message, message_size, "%s: %s", options->host, gai_strerror(result));
        return false;
    }
    result = options->port ? port_probe(address, options->port) : 0;
    for (int i = 0; i < options->threads && result >= 0; i++) {
        result = socket_bind(address, options->port, true);
        server->workers[i].listen_fd = result;
        if (result >= 0 && options->port == 0)
            options->port = port_of(result);
    }
    freeaddrinfo(address);
    if (result >= 0)
        return true;
    snprintf(message, message_size, "%s:%d: %s%s", options->host, options->port, strerror(-result),
             result == -EADDRINUSE ? "; choose another one with --listen HOST:PORT" : "");
    return false;
}

/* ---- Commands to the workers ---- */

static void all_wake(struct server *server)
{
    for (int i = 0; i < server->options.threads; i++)
        if (!atomic_load_explicit(&server->workers[i].ended, memory_order_acquire))
            uv_async_send(&server->workers[i].wake);
}

static void all_load(struct server *server)
{
    for (int i = 0; i < server->options.threads; i++) {
        atomic_store_explicit(&server->workers[i].loaded, 0, memory_order_relaxed);
        /* Release; pairs with the worker's exchange: server->engine is there. */
        atomic_store_explicit(&server->workers[i].load, true, memory_order_release);
    }
    all_wake(server);
}

/* The grace is over: connections are cut; what still runs after another second is left behind. */
static void on_grace(uv_timer_t *timer)
{
    struct server *server = OF_LOOP(timer, grace);
    if (!server->ended) {
        server->ended = true;
        fprintf(stderr, "tidemark: the grace period is over, requests under way are cut off\n");
        for (int i = 0; i < server->options.threads; i++)
            atomic_store_explicit(&server->workers[i].kill, true, memory_order_relaxed);
        all_wake(server);
        uv_timer_start(timer, on_grace, GRACE_EXTRA_MS, 0);
        return;
    }
    if (server->engine)
        tide_flush(server->engine, TIDE_NO_TIMEOUT, NULL, NULL);
    _exit(server->result);
}

static void stop(struct server *server, int result)
{
    if (atomic_load_explicit(&server->stopping, memory_order_relaxed))
        return;
    server->result = result;
    atomic_store_explicit(&server->stopping, true, memory_order_relaxed);
    uv_timer_start(&server->grace, on_grace, server->options.grace_ms, 0);
    all_wake(server);
}

static void on_stop_signal(uv_signal_t *handle, int number)
{
    (void)number;
    struct server *server = handle->data;
    if (atomic_load_explicit(&server->stopping, memory_order_relaxed))
        _exit(1);
    stop(server, 0);
}

static void on_reload_signal(uv_signal_t *handle, int number)
{
    (void)number;
    struct server *server = handle->data;
    if (server->serving && !atomic_load_explicit(&server->stopping, memory_order_relaxed))
        all_load(server);
}

static void first_loaded(struct server *server, const struct worker *failed)
{
    if (failed) {
        fprintf(stderr, "tidemark: %s\n", failed->load_message);
        stop(server, 2);
        return;
    }
    server->serving = true;
    printf(strchr(server->options.host, ':') ? "tidemark: listening on http://[%s]:%d\n"
                                             : "tidemark: listening on http://%s:%d\n",
           server->options.host, server->options.port);
    fflush(stdout);
}

/* A worker has loaded its script, or ended. */
static void on_report(uv_async_t *async)
{
    struct server *server = OF_LOOP(async, report);
    int loaded = 0, ended = 0;
    const struct worker *failed = NULL;
    for (int i = 0; i < server->options.threads; i++) {
        struct worker *worker = &server->workers[i];
        int state = atomic_load_explicit(&worker->loaded, memory_order_acquire);
        loaded += state != 0;
        if (state < 0)
            failed = worker;
        ended += atomic_load_explicit(&worker->ended, memory_order_acquire);
    }
    if (ended == server->options.threads) {
        uv_stop(&server->loop);
        return;
    }
    if (loaded < server->options.threads || atomic_load_explicit(&server->stopping, memory_order_relaxed))
        return;
    for (int i = 0; i < server->options.threads; i++)
        atomic_store_explicit(&server->workers[i].loaded, 0, memory_order_relaxed);
    if (!server->serving)
        first_loaded(server, failed);
    else if (failed)
        fprintf(stderr, "tidemark: not reloaded, the old script stays in force: %s\n", failed->load_message);
    else
        fprintf(stderr, "tidemark: reloaded %s\n", server->options.script);
}

/* ---- Running ---- */

static bool workers_start(struct server *server, char *message, size_t message_size)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* signals are the main thread's */
    watchdog_signal_setup();
    bool started = true;
    for (int i = 0; i < server->options.threads && started; i++)
        started = worker_start(&server->workers[i], message, message_size);
    if (started && pthread_create(&server->watchdog, NULL, watchdog_run, server) != 0) {
        snprintf(message, message_size, "cannot start a thread");
        started = false;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return started;
}

/* Runs until all workers have ended. */
static void serve(struct server *server)
{
    uv_signal_t signals[3];
    static const int numbers[] = {SIGTERM, SIGINT, SIGHUP};
    for (int i = 0; i < 3; i++) {
        uv_signal_init(&server->loop, &signals[i]);
        signals[i].data = server;
        uv_signal_start(&signals[i], i < 2 ? on_stop_signal : on_reload_signal, numbers[i]);
    }
    all_load(server);
    uv_run(&server->loop, UV_RUN_DEFAULT);
    for (int i = 0; i < server->options.threads; i++)
        pthread_join(server->workers[i].thread, NULL);
    atomic_store_explicit(&server->watchdog_stop, true, memory_order_relaxed);
    pthread_join(server->watchdog, NULL);
    for (int i = 0; i < 3; i++)
        uv_close((uv_handle_t *)&signals[i], NULL);
    uv_close((uv_handle_t *)&server->grace, NULL);
    uv_close((uv_handle_t *)&server->report, NULL);
    uv_run(&server->loop, UV_RUN_DEFAULT);
    uv_loop_close(&server->loop);
}

static void server_free(struct server *server)
{
    for (int i = 0; server->workers && i < server->options.threads; i++)
        metrics_free(&server->workers[i].metrics);
    for (unsigned i = 1; i <= server->labels.count; i++)
        free(server->labels.names[i]);
    free(server->options.token);
    free(server->workers);
}

/* ---- From Lua ---- */

static uint64_t option_number(lua_State *L, const char *name)
{
    lua_getfield(L, 1, name);
    lua_Integer value = luaL_checkinteger(L, -1);
    lua_pop(L, 1);
    return (uint64_t)value;
}

static const char *option_text(lua_State *L, const char *name)
{
    lua_getfield(L, 1, name);
    const char *value = luaL_optstring(L, -1, NULL);
    lua_pop(L, 1); /* the table holds it */
    return value;
}

static void options_read(lua_State *L, struct server_options *options)
{
    options->limits.head_bytes_max = option_number(L, "head_bytes_max");
    options->limits.target_bytes_max = option_number(L, "target_bytes_max");
    options->limits.fields_max = (unsigned)option_number(L, "fields_max");
    options->limits.body_bytes_max = option_number(L, "document_bytes_max");
    options->head_timeout_ms = option_number(L, "head_timeout_ms");
    options->body_timeout_ms = option_number(L, "body_timeout_ms");
    options->idle_timeout_ms = option_number(L, "idle_timeout_ms");
    options->handler_timeout_ms = option_number(L, "handler_timeout_ms");
    options->grace_ms = option_number(L, "grace_ms");
    options->connections_max = option_number(L, "connections_max");
    options->pipeline_max = option_number(L, "pipeline_max");
    options->waiting_max = option_number(L, "waiting_max");
    options->port = (int)option_number(L, "port");
    options->threads = (int)option_number(L, "threads");
    options->script = option_text(L, "script");
    options->database = option_text(L, "database");
    options->host = option_text(L, "host");
    const char *log = option_text(L, "log"), *token = option_text(L, "token");
    options->log = !log ? LOG_NONE : strcmp(log, "json") == 0 ? LOG_JSON : LOG_COMMON;
    options->token = token ? strdup(token) : NULL;
}

static int run_failed(lua_State *L, struct server *server, int status, const char *message)
{
    server_free(server);
    lua_pushinteger(L, status);
    lua_pushstring(L, message);
    return 2;
}

/* run(options, open): serves until a signal ends it. open() opens the database, after the sockets listen. Returns the
 * exit status, and a message when it isn't 0 and nothing was said yet. The process is to end afterwards: when opening
 * fails the workers are left behind. */
static int server_run(lua_State *L)
{
    static struct server the_server; /* of the process */
    struct server *server = &the_server;
    char message[500] = "";
    luaL_checktype(L, 1, LUA_TTABLE);
    luaL_checktype(L, 2, LUA_TFUNCTION);
    options_read(L, &server->options);
    signal(SIGPIPE, SIG_IGN);
    pthread_mutex_init(&server->labels.mutex, NULL);
    metrics_label(&server->labels, "/health"); /* as builtin.c numbers them */
    metrics_label(&server->labels, "/ready");
    metrics_label(&server->labels, "/metrics");
    if (getrandom(&server->cursor_tag, sizeof server->cursor_tag, 0) < 0)
        server->cursor_tag = (uint32_t)park_now_us();
    server->workers = calloc((size_t)server->options.threads, sizeof *server->workers);
    if (!server->workers || uv_loop_init(&server->loop) != 0)
        return run_failed(L, server, 3, "not enough memory");
    for (int i = 0; i < server->options.threads; i++) {
        server->workers[i].server = server;
        server->workers[i].index = i;
    }
    if (!sockets_bind(server, message, sizeof message))
        return run_failed(L, server, 3, message);
    uv_async_init(&server->loop, &server->report, on_report);
    uv_timer_init(&server->loop, &server->grace);
    if (!workers_start(server, message, sizeof message)) {
        lua_pushinteger(L, 3);
        lua_pushstring(L, message);
        return 2;
    }
    lua_pushvalue(L, 2);
    lua_call(L, 0, 1);
    struct database *database = luaL_testudata(L, -1, DATABASE_TYPE);
    if (!database || !database->engine) {
        lua_pushinteger(L, 3);
        lua_pushnil(L);
        return 2;
    }
    server->engine = database->engine;
    serve(server);
    lua_pushinteger(L, server->result);
    server_free(server);
    return 1;
}

int luaopen_tidemark_server(lua_State *L)
{
    static const luaL_Reg functions[] = {{"run", server_run}, {NULL, NULL}};
    luaL_newlib(L, functions);
    return 1;
}
