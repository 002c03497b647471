/* handler.c - Lua handlers: coroutines, the chain of app:use, and what becomes of their results.
 *
 * Each request runs in a coroutine; those that have finished run the next one. The bottom function of a coroutine is
 * ours and calls the chain in protected mode with continuations, so that the answer is given whoever resumes the
 * coroutine last: the worker, when what it was parked for is there, or a callback of luv, when the script itself
 * yielded.
 *
 * A handler that runs too long is stopped as lua.c does it on an interrupt: a signal, sent by the watchdog thread to
 * the worker, sets a debug hook, which raises an error. A hook belongs to one coroutine, so the worker keeps a list of
 * what runs (struct run); coroutine.resume and coroutine.wrap are ours, to put on it what the script resumes. */
#include <lauxlib.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include <luv/luv.h>

#include "../lua_json.h"
#include "server.h"

enum { IDLE_MAX = 1000, WATCH_PERIOD_MS = 50 };

const char anchors_key = 0;

static _Thread_local struct worker *this_worker;

/* ---- Results to answers ---- */

static bool is_token(const char *text, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c <= 0x20 || c >= 0x7f || strchr("()<>@,;:\\\"/[]?={}", c))
            return false;
    }
    return length > 0;
}

/* Takes one header from name and value (text) into the answer or its lines. */
static void header_take(lua_State *L, struct answer *answer, struct json_buffer *lines, const char *name,
                        size_t name_length, int value_index)
{
    size_t length;
    if (lua_type(L, value_index) != LUA_TSTRING && lua_type(L, value_index) != LUA_TNUMBER)
        luaL_error(L, "header %s: string expected, got %s", name, luaL_typename(L, value_index));
    const char *value = luaL_tolstring(L, value_index, &length);
    if (!is_token(name, name_length))
        luaL_error(L, "a malformed header name");
    for (size_t i = 0; i < length; i++)
        if (value[i] == '\r' || value[i] == '\n' || value[i] == 0)
            luaL_error(L, "header %s has a line break in it", name);
    if (strcasecmp(name, "content-type") == 0) {
        answer->type = value; /* stays in the table */
    } else if (strcasecmp(name, "content-length") == 0 || strcasecmp(name, "connection") == 0 ||
               strcasecmp(name, "transfer-encoding") == 0 || strcasecmp(name, "date") == 0) {
        luaL_error(L, "header %s is the server's", name);
    } else if (!json_buffer_append(lines, name, name_length) || !json_buffer_append(lines, ": ", 2) ||
               !json_buffer_append(lines, value, length) || !json_buffer_append(lines, "\r\n", 2)) {
        luaL_error(L, "not enough memory");
    }
    lua_pop(L, 1);
}

static void headers_take(lua_State *L, int index, struct answer *answer, struct json_buffer *lines)
{
    if (lua_isnoneornil(L, index))
        return;
    if (!lua_istable(L, index))
        luaL_error(L, "a handler's third result is a table of headers, not a %s", luaL_typename(L, index));
    for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1)) {
        if (lua_type(L, -2) != LUA_TSTRING)
            luaL_error(L, "headers have names");
        size_t length;
        const char *name = lua_tolstring(L, -2, &length);
        int value = lua_gettop(L);
        if (!lua_istable(L, value)) {
            header_take(L, answer, lines, name, length, value);
            continue;
        }
        for (lua_Integer i = 1; lua_rawgeti(L, value, i) != LUA_TNIL; i++, lua_pop(L, 1))
            header_take(L, answer, lines, name, length, lua_gettop(L));
        lua_pop(L, 1);
    }
}

/* Checks a handler's results, from index `first` on, and makes an answer of them. Raises what is wrong with them. */
static void answer_take(lua_State *L, int first, struct exchange *exchange, struct answer *answer)
{
    struct scratch *scratch = &exchange->worker->scratch;
    lua_settop(L, first + 2);
    *answer = (struct answer){.status = 204};
    if (!lua_isnil(L, first)) {
        int is_integer;
        lua_Integer status = lua_tointegerx(L, first, &is_integer);
        if (!is_integer || lua_type(L, first) != LUA_TNUMBER || status < 100 || status > 599)
            luaL_error(L, "a handler's first result is a status from 100 to 599, not %s",
                       luaL_tolstring(L, first, NULL));
        answer->status = (int)status;
    } else if (!lua_isnil(L, first + 1) || !lua_isnil(L, first + 2)) {
        luaL_error(L, "a handler's first result is a status from 100 to 599, not nil");
    }
    if (answer->status < 200)
        luaL_error(L, "status %d is no final answer", answer->status);
    json_buffer_reset(&scratch->patch);
    headers_take(L, first + 2, answer, &scratch->patch);
    answer->headers = scratch->patch.bytes;
    answer->headers_length = scratch->patch.length;
    int type = lua_type(L, first + 1);
    if (type == LUA_TSTRING) {
        answer->body = lua_tolstring(L, first + 1, &answer->body_length);
        if (!answer->type)
            answer->type = "text/plain; charset=utf-8";
    } else if (type == LUA_TTABLE) {
        json_buffer_reset(&scratch->document);
        const char *fault = lua_json_encode(L, first + 1, &scratch->document);
        if (fault)
            luaL_error(L, "the body cannot be sent: %s", fault);
        answer->body = scratch->document.bytes;
        answer->body_length = scratch->document.length;
        if (!answer->type)
            answer->type = "application/json";
    } else if (type != LUA_TNIL) {
        luaL_error(L, "a handler's second result is a table or a string, not a %s", luaL_typename(L, first + 1));
    }
}

/* Pushes status, body and headers of the held answer, for the middleware that called next. */
static int held_push(lua_State *L, struct exchange *exchange)
{
    const struct held_answer *held = &exchange->held;
    lua_pushinteger(L, held->status);
    if (held->body.length > 0)
        lua_pushlstring(L, held->body.bytes, held->body.length);
    else
        lua_pushnil(L);
    lua_newtable(L);
    if (held->type[0]) {
        lua_pushstring(L, held->type);
        lua_setfield(L, -2, "Content-Type");
    }
    const char *p = held->headers.bytes, *end = p + held->headers.length;
    while (p < end) {
        const char *stop = memchr(p, '\r', (size_t)(end - p));
        const char *colon = memchr(p, ':', (size_t)(stop - p));
        lua_pushlstring(L, p, (size_t)(colon - p));
        lua_pushlstring(L, colon + 2, (size_t)(stop - colon - 2));
        lua_rawset(L, -3);
        p = stop + 2;
    }
    return 3;
}

/* ---- The chain ---- */

static struct exchange *exchange_of(lua_State *L, int index)
{
    const struct request_object *object = lua_touserdata(L, index);
    if (!object->exchange)
        luaL_error(L, "the request has been answered");
    return object->exchange;
}

static int results_all(lua_State *L, int status, lua_KContext before)
{
    (void)status;
    if (lua_gettop(L) == before)
        lua_pushinteger(L, 204);
    return lua_gettop(L) - (int)before;
}

static int final_done(lua_State *L, int status, lua_KContext context)
{
    (void)status;
    (void)context;
    struct exchange *exchange = exchange_of(L, lua_upvalueindex(1));
    if (!final_again(exchange))
        return lua_yieldk(L, 0, 0, final_done);
    exchange->in_lua = false;
    return held_push(L, exchange);
}

/* next(request), and the chain's beginning. Upvalue 1: the request object, 2: the place in the chain. */
static int chain_next(lua_State *L)
{
    struct exchange *exchange = exchange_of(L, lua_upvalueindex(1));
    const struct application *application = exchange->application;
    const char *path = http_text(&exchange->request, exchange->path);
    size_t place = (size_t)lua_tointeger(L, lua_upvalueindex(2));
    lua_settop(L, 0);
    for (; place < application->middleware_count; place++) {
        const struct middleware *middleware = &application->middlewares[place];
        size_t length = middleware->prefix_length;
        if (length > exchange->path.length || memcmp(path, middleware->prefix, length) != 0 ||
            (length < exchange->path.length && length > 0 && path[length] != '/' &&
             middleware->prefix[length - 1] != '/'))
            continue;
        lua_rawgeti(L, LUA_REGISTRYINDEX, middleware->function);
        lua_pushvalue(L, lua_upvalueindex(1));
        lua_pushvalue(L, lua_upvalueindex(1));
        lua_pushinteger(L, (lua_Integer)place + 1);
        lua_pushcclosure(L, chain_next, 2);
        lua_callk(L, 2, LUA_MULTRET, 0, results_all);
        return results_all(L, LUA_OK, 0);
    }
    if (exchange->final == FINAL_ROUTE && exchange->route->kind == ROUTE_HANDLER) {
        lua_rawgeti(L, LUA_REGISTRYINDEX, exchange->route->handler);
        lua_pushvalue(L, lua_upvalueindex(1));
        lua_callk(L, 1, LUA_MULTRET, 0, results_all);
        return results_all(L, LUA_OK, 0);
    }
    exchange->in_lua = true;
    if (!final_run(exchange))
        return lua_yieldk(L, 0, 0, final_done);
    exchange->in_lua = false;
    return held_push(L, exchange);
}

/* Called in protected mode with the request object; results behind it become the answer. */
static int body_done(lua_State *L, int status, lua_KContext context)
{
    (void)status;
    (void)context;
    struct exchange *exchange = exchange_of(L, 1);
    struct answer answer;
    answer_take(L, 2, exchange, &answer);
    exchange_answer(exchange, &answer);
    return 0;
}

static int body_run(lua_State *L)
{
    struct exchange *exchange = exchange_of(L, 1);
    if (exchange->application->middleware_count == 0) {
        lua_rawgeti(L, LUA_REGISTRYINDEX, exchange->route->handler);
        lua_pushvalue(L, 1);
        lua_callk(L, 1, LUA_MULTRET, 0, body_done);
    } else {
        lua_pushvalue(L, 1);
        lua_pushinteger(L, 0);
        lua_pushcclosure(L, chain_next, 2);
        lua_callk(L, 0, LUA_MULTRET, 0, body_done);
    }
    return body_done(L, LUA_OK, 0);
}

static int message_handler(lua_State *L)
{
    luaL_traceback(L, L, luaL_tolstring(L, 1, NULL), 1);
    return 1;
}

static void answer_error(struct exchange *exchange, const char *message)
{
    char id[24], headers[64];
    struct worker *worker = exchange->worker;
    const struct http_request *request = &exchange->request;
    request_id(exchange, id);
    exchange->in_lua = false;
    log_error(worker, "request %s: %s %.*s: %s", id, llhttp_method_name((llhttp_method_t)request->method),
              (int)exchange->path.length, http_text(request, exchange->path), message ? message : "an error");
    snprintf(headers, sizeof headers, "X-Request-Id: %s\r\n", id);
    if (exchange->timed_out)
        exchange_problem(exchange, 503, "handler_timeout", "the handler ran too long", headers);
    else
        exchange_problem(exchange, 500, NULL, NULL, headers);
}

/* Lets go of a coroutine that nobody of ours resumes any more. */
static void coroutine_forget(lua_State *L)
{
    lua_rawgetp(L, LUA_REGISTRYINDEX, &anchors_key);
    lua_pushthread(L);
    lua_pushnil(L);
    lua_rawset(L, -3);
}

/* The end of the bottom function, which has the request object at 1.  */
static int bottom_done(lua_State *L, int status, lua_KContext context)
{
    (void)context;
    const struct request_object *object = lua_touserdata(L, 1);
    if (status != LUA_OK && status != LUA_YIELD && object->exchange)
        answer_error(object->exchange, lua_tostring(L, -1));
    *(void **)lua_getextraspace(L) = NULL;
    const struct run *run = this_worker->run;
    if (!run || run->L != L) /* resumed by the script's own callback: nobody of ours waits for it to end */
        coroutine_forget(L);
    return 0;
}

static int bottom(lua_State *L)
{
    struct exchange *exchange = lua_touserdata(L, 1);
    lua_settop(L, 0);
    request_object_push(L, exchange);
    lua_pushcfunction(L, message_handler);
    lua_pushcfunction(L, body_run);
    lua_pushvalue(L, 1);
    return bottom_done(L, lua_pcallk(L, 1, 0, 2, 0, bottom_done), 0);
}

/* ---- Coroutines ---- */

static int coroutine_make(lua_State *L)
{
    lua_rawgetp(L, LUA_REGISTRYINDEX, &anchors_key);
    lua_State *coroutine = lua_newthread(L);
    lua_pushboolean(L, 1);
    lua_rawset(L, -3);
    lua_pushlightuserdata(L, coroutine);
    return 1;
}

static lua_State *coroutine_take(struct application *application)
{
    if (application->idle_count > 0)
        return application->idle[--application->idle_count];
    lua_State *L = application->L;
    lua_pushcfunction(L, coroutine_make);
    lua_State *coroutine = lua_pcall(L, 0, 1, 0) == LUA_OK ? lua_touserdata(L, -1) : NULL;
    lua_pop(L, 1);
    return coroutine;
}

static int anchor_drop(lua_State *L)
{
    lua_State *coroutine = lua_touserdata(L, 1);
    lua_rawgetp(L, LUA_REGISTRYINDEX, &anchors_key);
    luaL_checkstack(coroutine, 1, NULL);
    lua_pushthread(coroutine);
    lua_xmove(coroutine, L, 1);
    lua_pushnil(L);
    lua_rawset(L, -3);
    return 0;
}

static void coroutine_drop(struct application *application, lua_State *coroutine)
{
    lua_State *L = application->L;
    *(void **)lua_getextraspace(coroutine) = NULL;
    lua_resetthread(coroutine);
    lua_pushcfunction(L, anchor_drop);
    lua_pushlightuserdata(L, coroutine);
    if (lua_pcall(L, 1, 0, 0) != LUA_OK)
        lua_pop(L, 1);
}

static void coroutine_give_back(struct application *application, lua_State *coroutine)
{
    lua_settop(coroutine, 0);
    if (application->idle_count == application->idle_capacity && application->idle_capacity < IDLE_MAX) {
        size_t capacity = application->idle_capacity ? 2 * application->idle_capacity : 16;
        lua_State **idle = realloc(application->idle, capacity * sizeof *idle);
        if (idle) {
            application->idle = idle;
            application->idle_capacity = capacity;
        }
    }
    if (application->idle_count < application->idle_capacity)
        application->idle[application->idle_count++] = coroutine;
    else
        coroutine_drop(application, coroutine);
}

/* ---- Running ---- */

static void run_begin(struct worker *worker, struct run *run)
{
    run->outer = worker->run;
    worker->run = run;
    /* Relaxed: the watchdog only compares it with the clock; the signal's handler runs in this thread. */
    atomic_store_explicit(&worker->run_started_us, run->started_us, memory_order_relaxed);
}

static void run_end(struct worker *worker, struct run *run)
{
    worker->run = run->outer;
    atomic_store_explicit(&worker->run_started_us, run->outer ? run->outer->started_us : 0, memory_order_relaxed);
    if (lua_gethook(run->L))
        lua_sethook(run->L, NULL, 0, 0);
}

void handler_resume(struct exchange *exchange, int arguments)
{
    struct worker *worker = exchange->worker;
    struct application *application = exchange->application;
    lua_State *coroutine = exchange->coroutine;
    struct run run = {.exchange = exchange, .L = coroutine, .started_us = park_now_us() - exchange->ran_us};
    int results = 0;
    application->references++;
    run_begin(worker, &run);
    int status = lua_resume(coroutine, application->L, arguments, &results);
    run_end(worker, &run);
    if (status == LUA_OK) {
        coroutine_give_back(application, coroutine);
    } else if (status == LUA_YIELD) {
        lua_pop(coroutine, results);
        if (run.exchange) {
            exchange->ran_us = park_now_us() - run.started_us;
            exchange_waits(exchange);
            if (!exchange_detach(exchange) && exchange->connection)
                connection_close(exchange->connection);
        }
    } else {
        if (run.exchange)
            answer_error(exchange, lua_tostring(coroutine, -1));
        coroutine_drop(application, coroutine);
    }
    application_release(application);
}

void handler_run(struct exchange *exchange)
{
    struct application *application = exchange->application;
    lua_State *coroutine = coroutine_take(application);
    if (!coroutine) {
        exchange_problem(exchange, 503, NULL, "out of memory", "Retry-After: 1\r\n");
        return;
    }
    exchange->coroutine = coroutine;
    *(struct exchange **)lua_getextraspace(coroutine) = exchange;
    lua_pushcfunction(coroutine, bottom);
    lua_pushlightuserdata(coroutine, exchange);
    handler_resume(exchange, 1);
}

int luv_callback(lua_State *L, int arguments, int results, int flags)
{
    struct run run = {.L = L, .started_us = park_now_us()};
    run_begin(this_worker, &run);
    int given = luv_cfpcall(L, arguments, results, flags | LUVF_CALLBACK_NOEXIT);
    run_end(this_worker, &run);
    return given;
}

/* ---- Coroutines of the script ---- */

static const char resume_key = 0;

/* coroutine.resume. What runs inside another run of a handler has its time and its exchange; a handler that a callback
 * resumes goes on where its time stood. */
static int watched_resume(lua_State *L)
{
    lua_State *coroutine = lua_tothread(L, 1);
    luaL_argexpected(L, coroutine, 1, "coroutine");
    struct exchange *exchange = *(struct exchange **)lua_getextraspace(coroutine);
    const struct run *outer = this_worker->run;
    struct run run = {.exchange = exchange, .L = coroutine, .started_us = park_now_us()};
    if (exchange)
        run.started_us -= exchange->ran_us;
    else if (outer)
        run = (struct run){.exchange = outer->exchange, .L = coroutine, .started_us = outer->started_us};
    lua_rawgetp(L, LUA_REGISTRYINDEX, &resume_key);
    lua_insert(L, 1);
    run_begin(this_worker, &run);
    int status = lua_pcall(L, lua_gettop(L) - 1, LUA_MULTRET, 0);
    run_end(this_worker, &run);
    if (status != LUA_OK)
        return lua_error(L);
    if (exchange && run.exchange && lua_status(coroutine) == LUA_YIELD)
        exchange->ran_us = park_now_us() - run.started_us;
    return lua_gettop(L);
}

/* What coroutine.wrap returns; upvalue 1: the coroutine. Its errors are raised here, and end it. */
static int wrapped(lua_State *L)
{
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    int results = watched_resume(L);
    if (lua_toboolean(L, -results))
        return results - 1;
    lua_State *coroutine = lua_tothread(L, lua_upvalueindex(1));
    if (lua_status(coroutine) > LUA_YIELD && lua_resetthread(coroutine) != LUA_OK)
        lua_xmove(coroutine, L, 1);
    if (lua_type(L, -1) == LUA_TSTRING) {
        luaL_where(L, 1);
        lua_insert(L, -2);
        lua_concat(L, 2);
    }
    return lua_error(L);
}

static int watched_wrap(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TFUNCTION);
    lua_State *coroutine = lua_newthread(L);
    lua_pushvalue(L, 1);
    lua_xmove(L, coroutine, 1);
    lua_pushcclosure(L, wrapped, 1);
    return 1;
}

void coroutines_watch(lua_State *L)
{
    lua_getglobal(L, "coroutine");
    lua_getfield(L, -1, "resume");
    lua_rawsetp(L, LUA_REGISTRYINDEX, &resume_key);
    lua_pushcfunction(L, watched_resume);
    lua_setfield(L, -2, "resume");
    lua_pushcfunction(L, watched_wrap);
    lua_setfield(L, -2, "wrap");
    lua_pop(L, 1);
}

/* ---- The watchdog ---- */

static void on_time_limit(lua_State *L, lua_Debug *debug)
{
    (void)debug;
    struct run *run = this_worker->run;
    if (run && run->exchange)
        run->exchange->timed_out = true;
    luaL_error(L, "the handler ran longer than its time limit");
}

static void on_signal(int number)
{
    (void)number;
    const struct worker *worker = this_worker;
    const struct run *run = worker ? worker->run : NULL;
    if (run && park_now_us() - run->started_us > worker->server->options.handler_timeout_ms * 1000)
        lua_sethook(run->L, on_time_limit, LUA_MASKCALL | LUA_MASKRET | LUA_MASKLINE | LUA_MASKCOUNT, 1);
}

static int watchdog_signal(void)
{
    return SIGRTMIN + 3;
}

void watchdog_signal_setup(void)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    sigemptyset(&action.sa_mask);
    sigaction(watchdog_signal(), &action, NULL);
}

void watchdog_thread_setup(struct worker *worker)
{
    sigset_t set;
    this_worker = worker;
    sigemptyset(&set);
    sigaddset(&set, watchdog_signal());
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

void *watchdog_run(void *context)
{
    struct server *server = context;
    uint64_t limit_us = server->options.handler_timeout_ms * 1000;
    while (!atomic_load_explicit(&server->watchdog_stop, memory_order_relaxed)) {
        struct timespec pause = {.tv_nsec = WATCH_PERIOD_MS * 1000000L};
        nanosleep(&pause, NULL);
        for (int i = 0; i < server->options.threads; i++) {
            struct worker *worker = &server->workers[i];
            uint64_t started = atomic_load_explicit(&worker->run_started_us, memory_order_relaxed);
            if (started != 0 && park_now_us() - started > limit_us)
                pthread_kill(worker->thread, watchdog_signal());
        }
    }
    return NULL;
}
