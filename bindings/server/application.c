/* application.c - the Lua state in which a script ran: making it, the `app` of the script, and its end.
 *
 * luv is bound to the worker's loop, so its handles live there beside ours. They are told apart by their data: ours
 * have none. When a state is retired (a reload) and its last exchange has ended, its handles are closed through luv
 * itself; the state ends once they are gone and no request of the loop is under way. */
#include <lauxlib.h>
#include <lualib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <luv/lhandle.h>
#include <luv/luv.h>

#include "../module.h"
#include "server.h"

#define APPLICATION_TYPE "tidemark.application"

int luaopen_luv(lua_State *L);

/* ---- app ---- */

static struct application *application_check(lua_State *L)
{
    return *(struct application **)luaL_checkudata(L, 1, APPLICATION_TYPE);
}

static int method_number(const char *name)
{
#define XX(number, symbol, text)                                                                                       \
    if (strcmp(name, #text) == 0)                                                                                      \
        return number;
    HTTP_METHOD_MAP(XX)
#undef XX
    return -1;
}

static void route_add(lua_State *L, struct application *application, const char *pattern, const struct route *model)
{
    struct route *route = malloc(sizeof *route);
    if (!route)
        luaL_error(L, "not enough memory");
    *route = *model;
    const char *fault = router_add(application->router, pattern, route);
    if (fault) {
        route_free(route);
        luaL_error(L, "%s %s: %s", model->method < 0 ? "resource" : llhttp_method_name((llhttp_method_t)model->method),
                   pattern, fault);
    }
    route->label = metrics_label(&application->worker->server->labels, pattern);
}

static void handler_add(lua_State *L, int method, int path, int function)
{
    struct application *application = application_check(L);
    const char *pattern = luaL_checkstring(L, path);
    luaL_checktype(L, function, LUA_TFUNCTION);
    lua_pushvalue(L, function);
    struct route route = {.kind = ROUTE_HANDLER, .method = method, .handler = luaL_ref(L, LUA_REGISTRYINDEX)};
    route_add(L, application, pattern, &route);
}

static int app_route(lua_State *L)
{
    char upper[32] = "";
    const char *name = luaL_checkstring(L, 2);
    for (size_t i = 0; i < sizeof upper - 1 && name[i]; i++)
        upper[i] = (char)(name[i] >= 'a' && name[i] <= 'z' ? name[i] & ~0x20 : name[i]);
    int method = method_number(upper);
    luaL_argcheck(L, method >= 0, 2, "not an HTTP method");
    handler_add(L, method, 3, 4);
    return 0;
}

/* app:get and the others; upvalue 1 is the method. */
static int app_method(lua_State *L)
{
    handler_add(L, (int)lua_tointeger(L, lua_upvalueindex(1)), 2, 3);
    return 0;
}

static int app_use(lua_State *L)
{
    struct application *application = application_check(L);
    int function = lua_isfunction(L, 2) ? 2 : 3;
    size_t length = 0;
    const char *prefix = function == 3 ? luaL_checklstring(L, 2, &length) : "";
    luaL_checktype(L, function, LUA_TFUNCTION);
    if (length > 0 && prefix[length - 1] == '/')
        length--;
    size_t count = application->middleware_count;
    struct middleware *all = realloc(application->middlewares, (count + 1) * sizeof *all);
    char *copy = strndup(prefix, length);
    if (all)
        application->middlewares = all;
    if (!all || !copy) {
        free(copy);
        return luaL_error(L, "not enough memory");
    }
    all[count] = (struct middleware){.prefix = copy, .prefix_length = length, .function = LUA_NOREF};
    application->middleware_count++;
    lua_pushvalue(L, function);
    all[count].function = luaL_ref(L, LUA_REGISTRYINDEX);
    return 0;
}

static int app_resource(lua_State *L)
{
    struct application *application = application_check(L);
    size_t length;
    const char *given = luaL_checklstring(L, 2, &length);
    const struct collection *collection = luaL_checkudata(L, 3, COLLECTION_TYPE);
    luaL_argcheck(L, collection->database->engine, 3, "the database is closed");
    luaL_argcheck(L, collection->database->engine == application->worker->server->engine, 3,
                  "a collection of another database; resources are of the one that is served");
    luaL_argcheck(L, given[0] == '/', 2, "a path begins with a slash");
    luaL_argcheck(L, length < 500 && !strpbrk(given, ":*"), 2, "a resource's path has no parameters");
    lua_pushvalue(L, 3);
    luaL_ref(
        L, LUA_REGISTRYINDEX); /* the collection lives as long as its engine, which the worker holds; the handle too */
    while (length > 0 && given[length - 1] == '/')
        length--;
    lua_pushlstring(L, given, length);
    const char *path = lua_tostring(L, -1);
    struct route list = {
        .kind = ROUTE_RESOURCE, .method = -1, .handler = LUA_NOREF, .collection = collection->collection};
    struct route document = list;
    document.kind = ROUTE_DOCUMENT;
    if (length > 0)
        route_add(L, application, path, &list);
    route_add(L, application, lua_pushfstring(L, "%s/", path), &list);
    route_add(L, application, lua_pushfstring(L, "%s/:id", path), &document);
    return 0;
}

static int no_exit(lua_State *L)
{
    return luaL_error(L, "os.exit would end the whole server; return an answer instead");
}

static void app_register(lua_State *L, struct application *application)
{
    static const luaL_Reg functions[] = {
        {"route", app_route}, {"use", app_use}, {"resource", app_resource}, {NULL, NULL}};
    static const struct {
        const char *name;
        int method;
    } methods[] = {
        {"get", HTTP_GET}, {"post", HTTP_POST}, {"put", HTTP_PUT}, {"patch", HTTP_PATCH}, {"delete", HTTP_DELETE}};
    struct application **handle = lua_newuserdatauv(L, sizeof *handle, 0);
    *handle = application;
    luaL_newmetatable(L, APPLICATION_TYPE);
    luaL_newlib(L, functions);
    for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++) {
        lua_pushinteger(L, methods[i].method);
        lua_pushcclosure(L, app_method, 1);
        lua_setfield(L, -2, methods[i].name);
    }
    lua_setfield(L, -2, "__index");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_setmetatable(L, -2);
}

/* ---- Parking the script's coroutines ---- */

static bool parker_may_park(struct parker *parker, lua_State *L, struct tide_engine *engine)
{
    const struct application *application = (struct application *)parker;
    const struct exchange *exchange = *(struct exchange **)lua_getextraspace(L);
    return exchange && exchange->coroutine == L && engine == application->worker->server->engine && lua_isyieldable(L);
}

static void parker_park(struct parker *parker, lua_State *L, uint64_t durable, uint64_t deadline_us)
{
    (void)parker;
    park(*(struct exchange **)lua_getextraspace(L), durable, deadline_us);
}

static enum tide_status parker_outcome(struct parker *parker, lua_State *L, struct tide_error *error)
{
    (void)parker;
    struct exchange *exchange = *(struct exchange **)lua_getextraspace(L);
    if (exchange->parked != NOT_PARKED) /* the script resumed it itself, too early */
        unpark(exchange);
    return exchange_outcome(exchange, error);
}

static void parker_offload(struct parker *parker, lua_State *L, struct long_call *call)
{
    (void)parker;
    offload(*(struct exchange **)lua_getextraspace(L), L, call);
}

/* ---- Loading ---- */

static int message_handler(lua_State *L)
{
    luaL_traceback(L, L, luaL_tolstring(L, 1, NULL), 1);
    return 1;
}

/* In protected mode: everything that may raise. Argument 1: the application. */
static int load(lua_State *L)
{
    struct application *application = lua_touserdata(L, 1);
    const struct server_options *options = &application->worker->server->options;
    luaL_openlibs(L);
    lua_pushlightuserdata(L, &application->parker);
    lua_setfield(L, LUA_REGISTRYINDEX, PARKER_KEY);
    luv_set_loop(L, &application->worker->loop);
    luv_set_callback(L, luv_callback);
    luaL_requiref(L, "luv", luaopen_luv, 0);
    luaL_requiref(L, "tidemark", luaopen_tidemark, 0);
    lua_getglobal(L, "os");
    lua_pushcfunction(L, no_exit);
    lua_setfield(L, -2, "exit");
    lua_newtable(L);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &anchors_key);
    coroutines_watch(L);
    request_object_register(L);
    lua_settop(L, 1);
    if (luaL_loadfile(L, options->script) != LUA_OK)
        return lua_error(L);
    app_register(L, application);
    luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
    lua_getfield(L, -1, "tidemark");
    lua_getfield(L, -1, "open");
    lua_pushstring(L, options->database);
    lua_call(L, 1, 2);
    if (lua_isnil(L, -2))
        return lua_error(L);
    lua_pop(L, 1);
    lua_replace(L, -3);
    lua_pop(L, 1);
    lua_pushcfunction(L, message_handler); /* function, app, db, handler */
    lua_insert(L, -4);
    if (lua_pcall(L, 2, 0, -4) != LUA_OK)
        return lua_error(L);
    return 0;
}

struct application *application_load(struct worker *worker, char *message, size_t message_size)
{
    struct application *application = calloc(1, sizeof *application);
    snprintf(message, message_size, "not enough memory");
    if (!application)
        return NULL;
    application->parker = (struct parker){parker_may_park, parker_park, parker_outcome, parker_offload};
    application->worker = worker;
    application->references = 1;
    application->router = router_create();
    application->L = application->router ? luaL_newstate() : NULL;
    if (application->L) {
        lua_State *L = application->L;
        *(void **)lua_getextraspace(L) = NULL; /* and so in all coroutines that are made from it */
        lua_pushcfunction(L, load);
        lua_pushlightuserdata(L, application);
        if (lua_pcall(L, 1, 0, 0) == LUA_OK)
            return application;
        snprintf(message, message_size, "%s", lua_tostring(L, -1) ? lua_tostring(L, -1) : "an error");
    }
    application->retired = true;
    application->references = 0;
    application->next = worker->retired;
    worker->retired = application;
    application_close_handles(application);
    return NULL;
}

/* ---- Its end ---- */

void application_release(struct application *application)
{
    application->references--; /* the worker destroys what is retired and not used */
}

struct walk {
    const struct application *application;
    const luv_ctx_t *context;
    size_t count;
    bool close;
};

/* Closes a handle of luv's by its own method, which tells the script's callbacks. */
static int handle_close(lua_State *L)
{
    const luv_handle_t *data = lua_touserdata(L, 1);
    lua_rawgeti(L, LUA_REGISTRYINDEX, data->ref);
    lua_getfield(L, -1, "close");
    lua_insert(L, -2);
    lua_call(L, 1, 0);
    return 0;
}

static void on_walk(uv_handle_t *handle, void *context)
{
    struct walk *walk = context;
    const luv_handle_t *data = handle->data;
    if (!data || data->ctx != walk->context)
        return;
    walk->count++;
    if (!walk->close || uv_is_closing(handle))
        return;
    lua_State *L = walk->application->L;
    lua_pushcfunction(L, handle_close);
    lua_pushlightuserdata(L, (void *)data);
    if (lua_pcall(L, 1, 0, 0) != LUA_OK)
        lua_pop(L, 1);
}

static size_t handles(struct application *application, bool close)
{
    if (!application->L)
        return 0;
    struct walk walk = {.application = application, .context = luv_context(application->L), .close = close};
    uv_walk(&application->worker->loop, on_walk, &walk);
    return walk.count;
}

void application_close_handles(struct application *application)
{
    application->handles_closed = true;
    handles(application, true);
}

bool application_has_handles(struct application *application)
{
    return handles(application, false) > 0;
}

void application_destroy(struct application *application)
{
    if (application->L)
        lua_close(application->L);
    router_destroy(application->router);
    for (size_t i = 0; i < application->middleware_count; i++)
        free(application->middlewares[i].prefix);
    free(application->middlewares);
    free(application->idle);
    free(application);
}
