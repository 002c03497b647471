/* wrk.c - what wrk offers to scripts, under the same names.
 *
 * wrk.format puts a request together from its arguments and, where they are nil, from the table `wrk`. It is in C,
 * since scripts call it for every request. The last text it gave is kept in one of its upvalues, and script->formatted
 * points to it: a request() that returns just that text needs no parsing, for it is one request. A thread object is of
 * use in the main state before and after the run, when the thread isn't running, and in the thread's own state at any
 * time. */
#include "wrk.h"

#include <lauxlib.h>
#include <string.h>
#include <strings.h>

#include "../json.h"
#include "../transfer.h"
#include "address.h"
#include "worker.h"

#define THREAD_TYPE "tidemark.load.thread"

static const char wrk_key = 0, text_key = 0;

/* ---- Requests ---- */

/* Pushes argument `index`, or wrk's field where it is nil. Returns the place. */
static int argument_or_field(lua_State *L, int index, const char *field)
{
    lua_pushvalue(L, index);
    if (lua_isnil(L, -1)) {
        lua_pop(L, 1);
        lua_getfield(L, lua_upvalueindex(1), field);
    }
    return lua_gettop(L);
}

static void add_header(lua_State *L, luaL_Buffer *text, int name, int value)
{
    size_t length;
    const char *bytes = lua_tolstring(L, name, &length); /* a string: lua_next goes on undisturbed */
    luaL_addlstring(text, bytes, length);
    luaL_addlstring(text, ": ", 2);
    bytes = lua_tolstring(L, value, &length);
    luaL_addlstring(text, bytes, length);
    luaL_addlstring(text, "\r\n", 2);
}

/* Upvalues: wrk, the last text, the script. */
static int wrk_format(lua_State *L)
{
    lua_settop(L, 4);
    int method = argument_or_field(L, 1, "method"), path = argument_or_field(L, 2, "path");
    int headers = argument_or_field(L, 3, "headers"), body = argument_or_field(L, 4, "body");
    size_t method_length, path_length, body_length = 0;
    const char *method_text = lua_tolstring(L, method, &method_length);
    const char *path_text = lua_tolstring(L, path, &path_length);
    const char *body_text = lua_isnil(L, body) ? NULL : lua_tolstring(L, body, &body_length);
    if (!method_text || !path_text || (!body_text && !lua_isnil(L, body)) || lua_type(L, headers) != LUA_TTABLE)
        return luaL_error(L, "wrk.format(method, path, headers, body): strings, and a table of headers");
    bool has_host = false, has_coding = false;
    int pair = lua_gettop(L) + 1;
    luaL_checkstack(L, 10, NULL);
    lua_settop(L, pair + 2); /* the key, the value, and the value as text, below the buffer */
    luaL_Buffer text;
    luaL_buffinit(L, &text);
    luaL_addlstring(&text, method_text, method_length);
    luaL_addchar(&text, ' ');
    luaL_addlstring(&text, path_text, path_length);
    luaL_addlstring(&text, " HTTP/1.1\r\n", 11);
    for (lua_pushnil(L), lua_replace(L, pair);;) {
        lua_pushvalue(L, pair);
        if (!lua_next(L, headers))
            break;
        lua_replace(L, pair + 1);
        lua_replace(L, pair);
        const char *name = lua_type(L, pair) == LUA_TSTRING ? lua_tostring(L, pair) : NULL;
        if (!name)
            return luaL_error(L, "wrk.headers: a name is a %s", luaL_typename(L, pair));
        if (strcasecmp(name, "Content-Length") == 0)
            continue;
        has_host |= strcasecmp(name, "Host") == 0;
        has_coding |= strcasecmp(name, "Transfer-Encoding") == 0;
        luaL_tolstring(L, pair + 1, NULL);
        lua_replace(L, pair + 2);
        add_header(L, &text, pair, pair + 2);
    }
    if (!has_host) {
        lua_getfield(L, lua_upvalueindex(1), "headers");
        if (lua_istable(L, -1) && lua_getfield(L, -1, "Host") == LUA_TSTRING) {
            lua_replace(L, pair + 1);
            lua_pushliteral(L, "Host");
            lua_replace(L, pair);
            lua_pop(L, 1);
            add_header(L, &text, pair, pair + 1);
        } else {
            lua_settop(L, pair + 3); /* luaL_Buffer has its own place there */
        }
    }
    if (body_text && !has_coding) {
        lua_pushfstring(L, "Content-Length: %I\r\n", (LUAI_UACINT)body_length);
        luaL_addvalue(&text);
    }
    luaL_addlstring(&text, "\r\n", 2);
    luaL_addlstring(&text, body_text, body_length);
    luaL_pushresult(&text);
    lua_pushvalue(L, -1);
    lua_replace(L, lua_upvalueindex(2));
    struct script *script = lua_touserdata(L, lua_upvalueindex(3));
    script->formatted = lua_tostring(L, -1);
    return 1;
}

int wrk_preformat(lua_State *L)
{
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &text_key) == LUA_TSTRING)
        return 1;
    lua_rawgetp(L, LUA_REGISTRYINDEX, &wrk_key);
    lua_getfield(L, -1, "format");
    lua_call(L, 0, 1);
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &text_key);
    return 1;
}

void wrk_set_host(lua_State *L)
{
    enum { WRK = 1, HEADERS, GIVEN, HOST, PORT };
    lua_settop(L, 0);
    lua_rawgetp(L, LUA_REGISTRYINDEX, &wrk_key);
    lua_getfield(L, WRK, "headers");
    if (lua_istable(L, HEADERS) && lua_getfield(L, HEADERS, "Host") == LUA_TNIL &&
        lua_getfield(L, WRK, "host") == LUA_TSTRING) {
        const char *host = lua_tostring(L, HOST);
        lua_getfield(L, WRK, "port");
        const char *port = lua_tostring(L, PORT);
        lua_pushfstring(L, strchr(host, ':') ? "[%s]" : "%s", host);
        if (port)
            lua_pushfstring(L, "%s:%s", lua_tostring(L, -1), port);
        lua_setfield(L, HEADERS, "Host");
    }
    lua_settop(L, 0);
}

/* ---- The thread object ---- */

static struct worker *check_thread(lua_State *L)
{
    return *(struct worker **)luaL_checkudata(L, 1, THREAD_TYPE);
}

/* The thread's state as it can be used from here: in the thread's own, the running coroutine. */
static lua_State *state_of(lua_State *L, const struct worker *worker)
{
    lua_rawgeti(L, LUA_REGISTRYINDEX, LUA_RIDX_MAINTHREAD);
    bool own = lua_tothread(L, -1) == worker->script.L;
    lua_pop(L, 1);
    return own ? L : worker->script.L;
}

/* Moves `bytes` as a value to the top of L and frees them. */
static void take_value(lua_State *L, struct json_buffer *bytes, const char *fault, const char *name)
{
    if (!fault) {
        lua_pushlstring(L, bytes->bytes, bytes->length); /* collected, whatever happens in reading */
        json_buffer_free(bytes);
        size_t length;
        const char *text = lua_tolstring(L, -1, &length);
        transfer_read(L, text, length);
        lua_remove(L, -2);
        return;
    }
    json_buffer_free(bytes);
    luaL_error(L, "thread, global %s: cannot copy %s", name, fault);
}

static int thread_get(lua_State *L)
{
    struct worker *worker = check_thread(L);
    const char *name = luaL_checkstring(L, 2);
    lua_State *from = state_of(L, worker);
    luaL_checkstack(from, 10, NULL);
    lua_rawgeti(from, LUA_REGISTRYINDEX, LUA_RIDX_GLOBALS);
    lua_pushstring(from, name);
    lua_rawget(from, -2);
    lua_remove(from, -2);
    struct json_buffer bytes = {0};
    const char *fault = transfer_write(from, lua_gettop(from), lua_gettop(from), &bytes);
    lua_pop(from, 1);
    take_value(L, &bytes, fault, name);
    return 1;
}

struct assignment {
    const char *name, *bytes;
    size_t length;
};

static int assign_global(lua_State *L)
{
    const struct assignment *assignment = lua_touserdata(L, 1);
    transfer_read(L, assignment->bytes, assignment->length);
    lua_setglobal(L, assignment->name);
    return 0;
}

static int thread_set(lua_State *L)
{
    struct worker *worker = check_thread(L);
    struct assignment assignment = {.name = luaL_checkstring(L, 2)};
    lua_settop(L, 3);
    struct json_buffer bytes = {0};
    const char *fault = transfer_write(L, 3, 3, &bytes);
    if (!fault) {
        lua_pushlstring(L, bytes.bytes, bytes.length);
        assignment.bytes = lua_tolstring(L, -1, &assignment.length);
    }
    json_buffer_free(&bytes);
    if (fault)
        return luaL_error(L, "thread, global %s: cannot copy %s", assignment.name, fault);
    lua_State *to = state_of(L, worker);
    luaL_checkstack(to, 10, NULL);
    lua_pushcfunction(to, assign_global);
    lua_pushlightuserdata(to, &assignment);
    if (lua_pcall(to, 1, 0, 0) == LUA_OK)
        return 0;
    lua_pop(to, 1);
    return luaL_error(L, "thread, global %s: cannot be set", assignment.name);
}

static int thread_stop(lua_State *L)
{
    worker_stop(check_thread(L));
    return 0;
}

static int thread_index(lua_State *L)
{
    const struct worker *worker = check_thread(L);
    const char *key = luaL_checkstring(L, 2);
    if (strcmp(key, "addr") == 0) {
        address_push(L, &worker->address);
        return 1;
    }
    lua_getmetatable(L, 1);
    lua_pushvalue(L, 2);
    lua_rawget(L, -2);
    return 1;
}

static int thread_newindex(lua_State *L)
{
    struct worker *worker = check_thread(L);
    if (strcmp(luaL_checkstring(L, 2), "addr") != 0)
        return luaL_error(L, "a thread has no field %s to set: thread:set sets a global", lua_tostring(L, 2));
    worker->address = *address_check(L, 3);
    return 0;
}

void wrk_push_thread(lua_State *L, struct worker *worker)
{
    static const luaL_Reg functions[] = {{"get", thread_get},
                                         {"set", thread_set},
                                         {"stop", thread_stop},
                                         {"__index", thread_index},
                                         {"__newindex", thread_newindex},
                                         {NULL, NULL}};
    struct worker **thread = lua_newuserdatauv(L, sizeof(struct worker *), 0);
    *thread = worker;
    if (luaL_newmetatable(L, THREAD_TYPE))
        luaL_setfuncs(L, functions, 0);
    lua_setmetatable(L, -2);
}

void wrk_set_thread(lua_State *L, struct worker *worker)
{
    lua_rawgetp(L, LUA_REGISTRYINDEX, &wrk_key);
    wrk_push_thread(L, worker);
    lua_setfield(L, -2, "thread");
    lua_pop(L, 1);
}

/* ---- The table ---- */

static void set_text(lua_State *L, const char *name, const char *text)
{
    lua_pushstring(L, text);
    lua_setfield(L, -2, name);
}

void wrk_open(lua_State *L, struct script *script, const struct script_target *target)
{
    lua_newtable(L);
    set_text(L, "scheme", target->scheme);
    set_text(L, "host", target->host);
    set_text(L, "port", target->port);
    set_text(L, "path", target->path);
    set_text(L, "method", "GET");
    lua_newtable(L);
    lua_setfield(L, -2, "headers");
    lua_pushvalue(L, -1);
    lua_pushnil(L);
    lua_pushlightuserdata(L, script);
    lua_pushcclosure(L, wrk_format, 3);
    lua_setfield(L, -2, "format");
    lua_pushcfunction(L, wrk_preformat);
    lua_setfield(L, -2, "request");
    lua_pushcfunction(L, address_lookup);
    lua_setfield(L, -2, "lookup");
    lua_pushcfunction(L, address_connect);
    lua_setfield(L, -2, "connect");
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &wrk_key);
    lua_setglobal(L, "wrk");
}
