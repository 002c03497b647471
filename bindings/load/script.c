/* script.c - calls into a load script.
 *
 * The bottom of each state's stack is a message handler, which every protected call uses, so that errors come with
 * their traceback. Hooks are looked up by name at each call: a script may replace them while it runs, as it may in wrk.
 */
#include "script.h"

#include <lauxlib.h>
#include <lualib.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../module.h"
#include "statistics.h"
#include "wrk.h"

enum { HANDLER = 1 };

static const char database_key = 0, kept_key = 0;

static int message_handler(lua_State *L)
{
    luaL_traceback(L, L, luaL_tolstring(L, 1, NULL), 1);
    return 1;
}

void script_fail(struct script *script, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    if (!script->error && vasprintf(&script->error, format, arguments) < 0)
        script->error = NULL;
    va_end(arguments);
}

/* Calls what is on the stack; on failure nothing is left of it. */
static bool call(struct script *script, int arguments, int results)
{
    if (lua_pcall(script->L, arguments, results, HANDLER) == LUA_OK)
        return true;
    const char *message = lua_tostring(script->L, -1);
    script_fail(script, "%s", message ? message : "not enough memory");
    lua_pop(script->L, 1);
    return false;
}

/* ---- Opening ---- */

struct opening {
    struct script *script;
    const char *path;
    const struct script_target *target;
};

static int open_state(lua_State *L)
{
    const struct opening *opening = lua_touserdata(L, 1);
    luaL_openlibs(L);
    luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
    lua_pushcfunction(L, luaopen_tidemark);
    lua_setfield(L, -2, "tidemark");
    wrk_open(L, opening->script, opening->target);
    return 0;
}

enum script_result script_open(struct script *script, const char *path, const struct script_target *target)
{
    *script = (struct script){.L = luaL_newstate()};
    if (!script->L) {
        script_fail(script, "not enough memory");
        return SCRIPT_FAILED;
    }
    struct opening opening = {script, path, target};
    lua_pushcfunction(script->L, message_handler);
    lua_pushcfunction(script->L, open_state);
    lua_pushlightuserdata(script->L, &opening);
    if (!call(script, 1, 0))
        return SCRIPT_FAILED;
    int status = luaL_loadfile(script->L, path);
    if (status != LUA_OK) {
        script_fail(script, "%s", lua_tostring(script->L, -1));
        return status == LUA_ERRSYNTAX ? SCRIPT_NOT_LUA : SCRIPT_FAILED;
    }
    return call(script, 0, 0) ? SCRIPT_OK : SCRIPT_FAILED;
}

void script_close(struct script *script)
{
    if (script->L)
        lua_close(script->L);
    free(script->error);
    *script = (struct script){0};
}

/* ---- Hooks ---- */

/* Pushes the hook; false (and nothing is pushed) when the script has none. */
static bool push_hook(struct script *script, const char *hook)
{
    lua_rawgeti(script->L, LUA_REGISTRYINDEX, LUA_RIDX_GLOBALS);
    lua_pushstring(script->L, hook);
    lua_rawget(script->L, -2);
    lua_remove(script->L, -2);
    if (lua_isfunction(script->L, -1))
        return true;
    lua_pop(script->L, 1);
    return false;
}

bool script_has(struct script *script, const char *hook)
{
    bool has = push_hook(script, hook);
    if (has)
        lua_pop(script->L, 1);
    return has;
}

static int push_thread(lua_State *L)
{
    wrk_push_thread(L, lua_touserdata(L, 1));
    return 1;
}

/* Pushes the thread as a value of the state. */
static bool push_worker(struct script *script, struct worker *worker)
{
    lua_pushcfunction(script->L, push_thread);
    lua_pushlightuserdata(script->L, worker);
    return call(script, 1, 1);
}

bool script_setup(struct script *main, struct worker *worker)
{
    if (!push_hook(main, "setup"))
        return true;
    if (!push_worker(main, worker)) {
        lua_pop(main->L, 1);
        return false;
    }
    return call(main, 1, 0);
}

struct initialization {
    struct worker *worker;
    char *const *arguments;
    size_t count;
};

static int initialize(lua_State *L)
{
    const struct initialization *initialization = lua_touserdata(L, 1);
    wrk_set_thread(L, initialization->worker);
    wrk_set_host(L);
    if (lua_getglobal(L, "init") != LUA_TFUNCTION)
        return 0;
    lua_newtable(L);
    for (size_t i = 0; i < initialization->count; i++) {
        lua_pushstring(L, initialization->arguments[i]);
        lua_rawseti(L, -2, (lua_Integer)i);
    }
    lua_call(L, 1, 0);
    return 0;
}

bool script_init(struct script *script, struct worker *worker, char *const arguments[], size_t count)
{
    struct initialization initialization = {worker, arguments, count};
    lua_pushcfunction(script->L, initialize);
    lua_pushlightuserdata(script->L, &initialization);
    return call(script, 1, 0);
}

static const char *returned_text(struct script *script, const char *function, size_t *length)
{
    if (lua_type(script->L, -1) == LUA_TSTRING)
        return lua_tolstring(script->L, -1, length);
    script_fail(script, "%s returned %s, not the text of a request", function, luaL_typename(script->L, -1));
    lua_pop(script->L, 1);
    return NULL;
}

const char *script_format(struct script *script, size_t *length)
{
    lua_pushcfunction(script->L, wrk_preformat);
    return call(script, 0, 1) ? returned_text(script, "wrk.format()", length) : NULL;
}

const char *script_request(struct script *script, size_t *length)
{
    if (!push_hook(script, "request"))
        return script_format(script, length);
    return call(script, 0, 1) ? returned_text(script, "request()", length) : NULL;
}

void script_drop(struct script *script)
{
    lua_pop(script->L, 1);
}

void script_keep(struct script *script)
{
    lua_rawsetp(script->L, LUA_REGISTRYINDEX, &kept_key);
}

bool script_delay(struct script *script, double *milliseconds)
{
    *milliseconds = 0;
    if (!push_hook(script, "delay"))
        return true;
    if (!call(script, 0, 1))
        return false;
    int is_number;
    *milliseconds = lua_tonumberx(script->L, -1, &is_number);
    bool valid = is_number && *milliseconds <= 1e9; /* and no NaN */
    if (!valid)
        script_fail(script, "delay() returned %s, not a number of milliseconds", luaL_typename(script->L, -1));
    lua_settop(script->L, HANDLER);
    return valid;
}

struct answer {
    unsigned status;
    unsigned count;
    const char *headers, *body;
    size_t body_length;
};

static int call_response(lua_State *L)
{
    const struct answer *answer = lua_touserdata(L, 2);
    lua_settop(L, 1);
    lua_pushinteger(L, answer->status);
    lua_createtable(L, 0, (int)answer->count);
    const char *p = answer->headers;
    for (unsigned i = 0; i < answer->count; i++) {
        p += strlen(lua_pushstring(L, p)) + 1;
        p += strlen(lua_pushstring(L, p)) + 1;
        lua_rawset(L, -3);
    }
    lua_pushlstring(L, answer->body, answer->body_length);
    lua_call(L, 3, 0);
    return 0;
}

bool script_response(struct script *script, unsigned status, const char *headers, unsigned count, const char *body,
                     size_t body_length)
{
    struct answer answer = {status, count, headers, body, body_length};
    lua_pushcfunction(script->L, call_response);
    if (!push_hook(script, "response")) {
        lua_pop(script->L, 1);
        return true;
    }
    lua_pushlightuserdata(script->L, &answer);
    return call(script, 2, 0);
}

struct results {
    void (*push_summary)(lua_State *, void *);
    void *context;
    const struct histogram *latency, *requests;
};

static int call_done(lua_State *L)
{
    const struct results *results = lua_touserdata(L, 1);
    lua_getglobal(L, "done");
    results->push_summary(L, results->context);
    statistics_push(L, results->latency, 1000); /* ns to microseconds */
    statistics_push(L, results->requests, 1);
    lua_call(L, 3, 0);
    return 0;
}

bool script_done(struct script *main, void (*push_summary)(lua_State *, void *), void *context,
                 const struct histogram *latency, const struct histogram *requests)
{
    if (!script_has(main, "done"))
        return true;
    struct results results = {push_summary, context, latency, requests};
    lua_pushcfunction(main->L, call_done);
    lua_pushlightuserdata(main->L, &results);
    return call(main, 1, 0);
}

/* ---- The engine ---- */

static int open_database(lua_State *L)
{
    const char *directory = lua_touserdata(L, 1);
    luaL_requiref(L, "tidemark", luaopen_tidemark, 0);
    lua_getfield(L, -1, "open");
    lua_pushstring(L, directory);
    lua_call(L, 1, 2);
    if (lua_isnil(L, -2))
        return luaL_error(L, "%s", lua_tostring(L, -1));
    lua_pop(L, 1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &database_key);
    return 0;
}

bool script_open_database(struct script *script, const char *directory)
{
    lua_pushcfunction(script->L, open_database);
    lua_pushlightuserdata(script->L, (void *)directory);
    return call(script, 1, 0);
}

bool script_operation(struct script *script, lua_Integer i, const char **code)
{
    lua_State *L = script->L;
    lua_settop(L, HANDLER);
    lua_getglobal(L, "operation");
    lua_rawgetp(L, LUA_REGISTRYINDEX, &database_key);
    lua_pushinteger(L, i);
    if (!call(script, 2, 3))
        return false;
    *code = lua_isnil(L, -3) && lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : NULL;
    return true; /* the results stay on the stack until the next call */
}
