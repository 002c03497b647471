/* server.h - what the server's files share.
 *
 * A server has one engine and n workers. A worker is a thread with an event loop, a listening socket of its own
 * (SO_REUSEPORT), connections, and an application: the Lua state in which the script ran. Nothing of a worker is
 * touched by another thread but what is marked atomic.
 *
 *   connection.c  bytes in and out, in order         router.c    path -> route
 *   exchange.c    one request and its answer          resource.c  app:resource, in C, without Lua
 *   dispatch.c    which answer a request gets         handler.c   Lua handlers: coroutines, app:use
 *   builtin.c     /health, /ready, /metrics           application.c  the script's state: loading, reloading
 *   parking.c     what waits for the engine           worker.c    the thread; server.c: all of them
 *   offload.c     what takes as long as the disk      request_object.c  `request` in Lua
 *   metrics.c     counters and histograms */
#ifndef TIDE_SERVER_H
#define TIDE_SERVER_H

#include <lua.h>
#include <pthread.h>
#include <stdatomic.h>
#include <uv.h>

#include "../document.h"
#include "../http/request.h"
#include "../park.h"
#include "metrics.h"
#include "router.h"

struct server_options {
    struct http_limits limits;
    uint64_t head_timeout_ms, body_timeout_ms, idle_timeout_ms, handler_timeout_ms, grace_ms;
    uint64_t connections_max, pipeline_max, waiting_max;
    const char *script, *database, *host;
    int port, threads;
    int log;     /* enum access_log */
    char *token; /* NULL: none is asked for */
};

enum access_log { LOG_NONE, LOG_COMMON, LOG_JSON };

struct server {
    struct server_options options;
    struct tide_engine *engine; /* set by the main thread before any worker loads */
    struct worker *workers;
    _Atomic bool stopping;                 /* no more connections; relaxed, workers are woken after it is set */
    _Atomic uint64_t connections, waiting; /* relaxed: counts that limits are compared with */
    _Atomic bool watchdog_stop;
    pthread_t watchdog;
    struct metrics_labels labels;
    uint32_t cursor_tag; /* cursors of another process's lists are refused by it */
    uv_loop_t loop;      /* of the main thread */
    uv_async_t report;   /* a worker has loaded, or has ended */
    uv_timer_t grace;
    int result; /* exit status */
    bool serving, ended;
};

/* ---- The Lua state of a script ---- */

struct middleware {
    char *prefix;
    size_t prefix_length;
    int function; /* reference */
};

struct application {
    struct parker parker; /* first: the module calls it with itself */
    struct worker *worker;
    lua_State *L;
    unsigned references; /* the worker, and each exchange that it answers */
    bool handles_closed;
    struct router *router;
    struct middleware *middlewares;
    size_t middleware_count;
    lua_State **idle; /* coroutines that finished and can run the next handler */
    size_t idle_count, idle_capacity;
    struct application *next; /* of the worker's retired ones */
    bool retired;
};

/* ---- One request and its answer ---- */

enum parked { NOT_PARKED, PARKED_ROOM, PARKED_DURABLE };
enum final { FINAL_NONE, FINAL_ROUTE, FINAL_BUILTIN, FINAL_OPTIONS, FINAL_ERROR };

/* An answer as it is made; the texts are the maker's, and copied. */
struct answer {
    int status;
    const char *type;    /* Content-Type; NULL: none */
    const char *headers; /* further lines, each with CR LF */
    size_t headers_length;
    const char *body;
    size_t body_length;
};

/* An answer that waits: to be seen by a script's middleware, or until its write is durable. */
struct held_answer {
    int status;
    char type[80];
    struct json_buffer headers, body;
};

struct exchange {
    struct exchange *next;         /* of its connection's queue, or of the free ones */
    struct connection *connection; /* NULL: the client has gone */
    struct worker *worker;
    struct application *application;
    uint64_t started_ns;
    struct json_buffer out; /* its answer, while it waits for those before it */
    char *copy;             /* the message, once it is not in the connection's buffer any more */
    int status;             /* of the answer */
    bool done, keep_alive, in_lua, timed_out;
    bool waits;          /* counted among the waiting */
    uint64_t body_bytes; /* of the answer, as sent */
    uint64_t id;         /* its number, once a request id was made of it; 0: none */

    struct http_span path, query; /* of the target */
    struct router_match match;
    const struct route *route;
    enum final final;
    int final_status; /* of FINAL_ERROR, and what builtin it is */
    unsigned label;
    char allow[80];

    lua_State *coroutine;
    struct request_object *object;
    uint64_t ran_us;
    struct held_answer held;

    enum parked parked;
    struct exchange *parked_next, *parked_previous;
    uint64_t durable, deadline_us;
    uint64_t resource_deadline_us, version;
    bool resource_waits; /* its answer is held until it is durable */
    bool wants_durable, wants_minimal;

    struct http_request request; /* last: its headers follow */
};

/* ---- One client ---- */

enum phase { PHASE_OPEN, PHASE_LINGER, PHASE_CLOSING };

struct connection {
    uv_tcp_t tcp; /* data stays NULL: luv takes handles with data for its own */
    struct worker *worker;
    struct connection *next, *previous, *next_stalled;
    struct exchange *first, *last; /* complete requests, in order */
    unsigned count;
    struct exchange *receiving; /* the one whose message is incomplete */
    struct http_parser parser;
    struct json_buffer pending; /* bytes kept between two reads */
    size_t pending_parsed;
    uint64_t since_ms;
    size_t unsent;
    enum phase phase;
    bool reading, parsing, last_request, ended, shut, continued, stalled;
    uv_shutdown_t shutdown;
    char remote[56];
};

/* ---- One thread ---- */

struct run {
    struct exchange *exchange; /* NULL once it is finished */
    lua_State *L;
    uint64_t started_us;
    struct run *outer;
};

struct worker {
    struct server *server;
    int index, listen_fd;
    pthread_t thread;
    uv_loop_t loop;
    uv_tcp_t listener;
    uv_async_t wake;
    uv_prepare_t prepare;
    uv_timer_t tick, deadline;
    struct tide_listener engine_listener;
    _Atomic bool load, kill; /* commands of the main thread; relaxed, the wake follows */
    _Atomic int loaded;      /* release, acquired by the main thread: 0 not yet, 1 yes, -1 the script has an error */
    _Atomic bool ended;
    char load_message[2000];
    struct application *application, *retired;
    struct connection *connections;
    struct exchange *free;
    size_t free_count;
    char *input;                     /* what a read brings */
    struct json_buffer output;       /* answers of this turn, */
    struct connection *output_owner; /* all to this connection */
    struct scratch scratch;
    struct exchange *durable_first, *durable_last; /* parked, by the seq that they wait for */
    struct exchange *room_first, *room_last;       /* parked until there is room, in their order */
    struct connection *stalled;                    /* may parse what they have pending */
    uint64_t deadline_us;                          /* that the timer is set for */
    uint64_t want_durable;
    bool want_room, listening, stopping, stop_seen;
    uint64_t stop_ms;
    struct run *volatile run;        /* what runs in Lua right now; for the watchdog's signal, too */
    _Atomic uint64_t run_started_us; /* the same for the watchdog: relaxed, 0: nothing */
    time_t date_s;
    char date[80];
    uint64_t request_number, id_prefix;
    struct metrics metrics;
    struct json_buffer log;
};

/* connection.c */
void connection_accept(struct worker *worker);
void connection_finished(struct connection *connection); /* an exchange of it is done: send what can be sent, go on */
struct json_buffer *connection_output(struct connection *connection);
void connection_flush(struct worker *worker);
void connections_resume(struct worker *worker); /* those that stalled */
void connection_tick(struct connection *connection, uint64_t now_ms);
void connection_close(struct connection *connection);
void connection_end_idle(struct connection *connection);

/* exchange.c */
struct exchange *exchange_new(struct worker *worker);
void exchange_free(struct exchange *exchange);
/* Copies the message out of the connection's buffer. False: out of memory. */
bool exchange_detach(struct exchange *exchange);
/* The answer is known: it is sent, or shown to the middleware that asked (in_lua). */
void exchange_answer(struct exchange *exchange, const struct answer *answer);
/* The same in two steps: the first only writes bytes (a read section may be open), the second may free the exchange. */
void exchange_write(struct exchange *exchange, const struct answer *answer);
void exchange_end(struct exchange *exchange);
/* Sends the held answer. */
void exchange_answer_held(struct exchange *exchange);
bool exchange_hold(struct exchange *exchange, const struct answer *answer);
/* An RFC 9457 problem; detail and headers may be NULL, code NULL: by the status. */
void exchange_problem(struct exchange *exchange, int status, const char *code, const char *detail, const char *headers);
const char *status_text(int status);
const char *worker_date(struct worker *worker);
/* Its request id, made at the first call. */
void request_id(struct exchange *exchange, char id[24]);
/* Counts it among those that wait, until its answer is there. */
void exchange_waits(struct exchange *exchange);

/* dispatch.c */
void dispatch(struct exchange *exchange);
/* Answers in C what is no Lua handler. False: parked; final_again goes on. */
bool final_run(struct exchange *exchange);
bool final_again(struct exchange *exchange);
enum tide_status exchange_outcome(struct exchange *exchange, struct tide_error *error);

/* resource.c */
bool resource_run(struct exchange *exchange);
bool resource_again(struct exchange *exchange);

/* builtin.c: 0: no such path, else its number */
int builtin_find(const char *path, size_t length);
void builtin_run(struct exchange *exchange, int builtin);

/* parking.c */
void park(struct exchange *exchange, uint64_t durable, uint64_t deadline_us);
void unpark(struct exchange *exchange);
void parking_wake(struct worker *worker);
void parking_want(struct worker *worker);
void parking_expire(struct worker *worker);

/* offload.c; see park.h */
void offload(struct exchange *exchange, lua_State *L, struct long_call *call);

/* handler.c */
void handler_run(struct exchange *exchange); /* through the middlewares to the handler or the final */
void handler_resume(struct exchange *exchange, int arguments);
extern const char anchors_key; /* its address in the registry: a table that keeps all coroutines alive */
int luv_callback(lua_State *L, int arguments, int results, int flags);
void coroutines_watch(lua_State *L); /* in a new state: coroutine.resume and wrap that the time limit can see into */
void watchdog_signal_setup(void);
void watchdog_thread_setup(struct worker *worker);
void *watchdog_run(void *server);

/* request_object.c */
struct request_object {
    struct exchange *exchange; /* NULL: answered */
};
void request_object_push(lua_State *L, struct exchange *exchange);
void request_object_register(lua_State *L);

/* application.c */
struct application *application_load(struct worker *worker, char *message, size_t message_size);
void application_release(struct application *application);
void application_close_handles(struct application *application);
bool application_has_handles(struct application *application);
void application_destroy(struct application *application);

/* worker.c */
bool worker_start(struct worker *worker, char *message, size_t message_size);
void log_error(struct worker *worker, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* server.c: require "tidemark.server" */
int luaopen_tidemark_server(lua_State *L);

#endif
