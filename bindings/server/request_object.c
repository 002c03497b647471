/* request_object.c - `request` in a handler. Its fields are made when they are asked for, and kept in a table of the
 * object's own; after the answer was given the object is empty, and says so. */
#include <lauxlib.h>
#include <string.h>
#include <strings.h>

#include "../lua_json.h"
#include "../module.h"
#include "server.h"

#define REQUEST_TYPE "tidemark.request"

static struct exchange *exchange_check(lua_State *L)
{
    struct request_object *object = userdata_check(L, 1, REQUEST_TYPE);
    if (!object->exchange)
        luaL_error(L, "the request has been answered");
    return object->exchange;
}

/* Pushes percent-decoded text. */
static void push_decoded(lua_State *L, const char *text, size_t length, bool plus)
{
    if (!memchr(text, '%', length) && !(plus && memchr(text, '+', length))) {
        lua_pushlstring(L, text, length);
        return;
    }
    luaL_Buffer buffer;
    char *out = luaL_buffinitsize(L, &buffer, length);
    size_t decoded;
    if (http_percent_decode(text, length, plus, out, &decoded))
        luaL_pushresultsize(&buffer, decoded);
    else { /* in a query: as it was sent */
        memcpy(out, text, length);
        luaL_pushresultsize(&buffer, length);
    }
}

static void push_params(lua_State *L, const struct exchange *exchange)
{
    const struct route *route = exchange->route;
    lua_newtable(L);
    for (size_t i = 0; route && i < route->name_count && i < exchange->match.count; i++) {
        push_decoded(L, exchange->match.captured[i].text, exchange->match.captured[i].length, false);
        lua_setfield(L, -2, route->names[i]);
    }
}

/* Calls visit-like code for each pair of the query: pushes key and value, then either sets or collects. */
static void push_query(lua_State *L, const struct exchange *exchange, const char *only)
{
    const char *p = http_text(&exchange->request, exchange->query), *end = p + exchange->query.length;
    lua_newtable(L);
    while (p < end) {
        const char *stop = memchr(p, '&', (size_t)(end - p));
        stop = stop ? stop : end;
        const char *equals = memchr(p, '=', (size_t)(stop - p));
        if (stop > p) {
            push_decoded(L, p, (size_t)((equals ? equals : stop) - p), true);
            push_decoded(L, equals ? equals + 1 : stop, equals ? (size_t)(stop - equals - 1) : 0, true);
            if (!only) {
                lua_rawset(L, -3);
            } else if (strcmp(lua_tostring(L, -2), only) == 0) {
                lua_rawseti(L, -3, (lua_Integer)lua_rawlen(L, -3) + 1);
                lua_pop(L, 1);
            } else {
                lua_pop(L, 2);
            }
        }
        p = stop + 1;
    }
}

static void push_headers(lua_State *L, const struct exchange *exchange)
{
    const struct http_request *request = &exchange->request;
    lua_createtable(L, 0, request->count);
    for (unsigned i = 0; i < request->count; i++) {
        const struct http_header *header = &request->headers[i];
        const char *name = http_text(request, header->name);
        luaL_Buffer buffer;
        char *lower = luaL_buffinitsize(L, &buffer, header->name.length);
        for (uint32_t n = 0; n < header->name.length; n++)
            lower[n] = (char)(name[n] >= 'A' && name[n] <= 'Z' ? name[n] | 0x20 : name[n]);
        luaL_pushresultsize(&buffer, header->name.length);
        lua_pushvalue(L, -1);
        bool again = lua_rawget(L, -3) != LUA_TNIL;
        if (again) {
            lua_pushstring(L, strcmp(lua_tostring(L, -2), "cookie") == 0 ? "; " : ", ");
            lua_pushlstring(L, http_text(request, header->value), header->value.length);
            lua_concat(L, 3);
        } else {
            lua_pop(L, 1);
            lua_pushlstring(L, http_text(request, header->value), header->value.length);
        }
        lua_rawset(L, -3);
    }
}

/* Pushes the field `key`; false: there is none of that name. */
static bool push_field(lua_State *L, const struct exchange *exchange, const char *key)
{
    const struct http_request *request = &exchange->request;
    if (strcmp(key, "params") == 0)
        push_params(L, exchange);
    else if (strcmp(key, "body") == 0)
        lua_pushlstring(L, request->base + request->body_start, request->body_length);
    else if (strcmp(key, "method") == 0)
        lua_pushstring(L, llhttp_method_name((llhttp_method_t)request->method));
    else if (strcmp(key, "path") == 0)
        push_decoded(L, http_text(request, exchange->path), exchange->path.length, false);
    else if (strcmp(key, "query") == 0)
        push_query(L, exchange, NULL);
    else if (strcmp(key, "headers") == 0)
        push_headers(L, exchange);
    else if (strcmp(key, "target") == 0)
        lua_pushlstring(L, http_text(request, request->target), request->target.length);
    else if (strcmp(key, "remote") == 0)
        lua_pushstring(L, exchange->connection ? exchange->connection->remote : "");
    else
        return false;
    return true;
}

/* Upvalue 1: the methods, 2: the metatable; so in the methods. */
static int request_index(lua_State *L)
{
    struct request_object *object = userdata_check(L, 1, REQUEST_TYPE);
    lua_pushvalue(L, 2);
    if (lua_rawget(L, lua_upvalueindex(1)) != LUA_TNIL)
        return 1;
    lua_settop(L, 2);
    if (lua_getiuservalue(L, 1, 1) == LUA_TTABLE) {
        lua_pushvalue(L, 2);
        if (lua_rawget(L, -2) != LUA_TNIL || !object->exchange)
            return 1;
        lua_settop(L, 3);
    } else {
        lua_settop(L, 2);
        lua_newtable(L);
        lua_pushvalue(L, -1);
        lua_setiuservalue(L, 1, 1);
    }
    if (lua_type(L, 2) != LUA_TSTRING || !push_field(L, exchange_check(L), lua_tostring(L, 2)))
        return 0;
    lua_pushvalue(L, 2);
    lua_pushvalue(L, -2);
    lua_rawset(L, 3);
    return 1;
}

/* Scripts may keep values of their own in it, for what comes after their middleware. */
static int request_newindex(lua_State *L)
{
    userdata_check(L, 1, REQUEST_TYPE);
    lua_settop(L, 3);
    if (lua_getiuservalue(L, 1, 1) != LUA_TTABLE) {
        lua_pop(L, 1);
        lua_newtable(L);
        lua_pushvalue(L, -1);
        lua_setiuservalue(L, 1, 1);
    }
    lua_insert(L, 2);
    lua_rawset(L, 2);
    return 0;
}

static int request_json(lua_State *L)
{
    struct exchange *exchange = exchange_check(L);
    const struct http_request *request = &exchange->request;
    struct json_tape tape;
    const char *fault = json_parse(exchange->worker->scratch.parser, request->base + request->body_start,
                                   request->body_length, true, &tape);
    if (fault == json_out_of_memory)
        return luaL_error(L, "not enough memory");
    if (fault) {
        lua_pushnil(L);
        lua_pushstring(L, fault);
        lua_pushliteral(L, "invalid");
        return 3;
    }
    lua_json_push(L, &tape);
    return 1;
}

static int request_query_all(lua_State *L)
{
    struct exchange *exchange = exchange_check(L);
    push_query(L, exchange, luaL_checkstring(L, 2));
    return 1;
}

static int request_tostring(lua_State *L)
{
    struct request_object *object = userdata_check(L, 1, REQUEST_TYPE);
    if (!object->exchange) {
        lua_pushliteral(L, "request (answered)");
        return 1;
    }
    const struct http_request *request = &object->exchange->request;
    lua_pushfstring(L, "request (%s ", llhttp_method_name((llhttp_method_t)request->method));
    lua_pushlstring(L, http_text(request, request->target), request->target.length);
    lua_pushliteral(L, ")");
    lua_concat(L, 3);
    return 1;
}

void request_object_push(lua_State *L, struct exchange *exchange)
{
    struct request_object *object = lua_newuserdatauv(L, sizeof *object, 1);
    object->exchange = exchange;
    luaL_setmetatable(L, REQUEST_TYPE);
    exchange->object = object; /* its coroutine keeps it alive */
}

void request_object_register(lua_State *L)
{
    static const luaL_Reg methods[] = {{"json", request_json}, {"query_all", request_query_all}, {NULL, NULL}};
    luaL_newmetatable(L, REQUEST_TYPE);
    luaL_newlibtable(L, methods);
    lua_pushvalue(L, -1);
    lua_pushvalue(L, -3);
    luaL_setfuncs(L, methods, 2);
    lua_pushvalue(L, -2);
    lua_pushcclosure(L, request_index, 2);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, request_newindex);
    lua_setfield(L, -2, "__newindex");
    lua_pushcfunction(L, request_tostring);
    lua_setfield(L, -2, "__tostring");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_pop(L, 1);
}
