/* threads.c - tidemark.threads(n, chunk, ...).
 *
 * The calling thread copies the chunk and the arguments into bytes, starts n threads that only read them, and waits for
 * all. Each thread makes a Lua state, runs the chunk in protected mode and leaves its results, or its error, as bytes.
 * Everything is owned by one userdata of the caller's state, so that an error anywhere frees it. */
#include "threads.h"

#include <lualib.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "module.h"
#include "transfer.h"

enum { COUNT_MAX = 1024 };

struct worker {
    const struct job *job;
    int index;
    pthread_t thread;
    bool started, failed;
    struct json_buffer results; /* failed: the message */
};

struct job {
    struct json_buffer chunk, arguments, path, cpath;
    int count;
    struct worker workers[];
};

/* ---- In the new thread ---- */

static int message_handler(lua_State *L)
{
    const char *message = luaL_tolstring(L, 1, NULL);
    luaL_traceback(L, L, message, 1);
    return 1;
}

static void set_package_field(lua_State *L, const char *name, const struct json_buffer *value)
{
    lua_getglobal(L, "package");
    lua_pushlstring(L, value->bytes, value->length);
    lua_setfield(L, -2, name);
    lua_pop(L, 1);
}

/* Runs in protected mode: argument 1 is the worker. */
static int worker_main(lua_State *L)
{
    struct worker *worker = lua_touserdata(L, 1);
    const struct job *job = worker->job;
    luaL_openlibs(L);
    set_package_field(L, "path", &job->path);
    set_package_field(L, "cpath", &job->cpath);
    luaL_requiref(L, "tidemark", luaopen_tidemark, 0);
    lua_settop(L, 0);
    if (luaL_loadbufferx(L, job->chunk.bytes, job->chunk.length, "=threads", NULL) != LUA_OK)
        return lua_error(L);
    lua_pushinteger(L, worker->index);
    lua_call(L, 1 + transfer_read(L, job->arguments.bytes, job->arguments.length), LUA_MULTRET);
    const char *fault = transfer_write(L, 1, lua_gettop(L), &worker->results);
    if (fault)
        return luaL_error(L, "cannot give back %s", fault);
    return 0;
}

static void *thread_main(void *argument)
{
    struct worker *worker = argument;
    lua_State *L = luaL_newstate();
    if (!L) {
        worker->failed = true;
        json_buffer_append(&worker->results, "not enough memory", 17);
        return NULL;
    }
    lua_pushcfunction(L, message_handler);
    lua_pushcfunction(L, worker_main);
    lua_pushlightuserdata(L, worker);
    if (lua_pcall(L, 1, 0, 1) != LUA_OK) {
        size_t length;
        const char *message = lua_tolstring(L, -1, &length);
        worker->failed = true;
        worker->results.length = 0;
        json_buffer_append(&worker->results, message ? message : "an error", message ? length : 8);
    }
    lua_close(L);
    return NULL;
}

/* ---- In the caller's ---- */

static int job_free(lua_State *L)
{
    struct job *job = lua_touserdata(L, 1);
    json_buffer_free(&job->chunk);
    json_buffer_free(&job->arguments);
    json_buffer_free(&job->path);
    json_buffer_free(&job->cpath);
    for (int i = 0; i < job->count; i++)
        json_buffer_free(&job->workers[i].results);
    return 0;
}

static int dump_part(lua_State *L, const void *bytes, size_t length, void *buffer)
{
    (void)L;
    return !json_buffer_append(buffer, bytes, length);
}

static bool take_chunk(lua_State *L, struct job *job)
{
    if (lua_type(L, 2) == LUA_TSTRING) {
        size_t length;
        const char *source = lua_tolstring(L, 2, &length);
        return json_buffer_append(&job->chunk, source, length);
    }
    luaL_argexpected(L, lua_isfunction(L, 2) && !lua_iscfunction(L, 2), 2, "Lua source or a Lua function");
    const char *name;
    for (int i = 1; (name = lua_getupvalue(L, 2, i)); i++) {
        lua_pop(L, 1);
        if (strcmp(name, "_ENV") != 0 || i > 1)
            luaL_argerror(L, 2, lua_pushfstring(L, "the function has an upvalue, '%s': pass it as an argument", name));
    }
    lua_pushvalue(L, 2);
    bool done = lua_dump(L, dump_part, &job->chunk, 0) == 0;
    lua_pop(L, 1);
    return done;
}

static bool take_package_field(lua_State *L, const char *name, struct json_buffer *into)
{
    size_t length = 0;
    const char *text = NULL;
    if (lua_getglobal(L, "package") == LUA_TTABLE) {
        lua_pushstring(L, name);
        lua_rawget(L, -2);
        text = lua_tolstring(L, -1, &length);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    return json_buffer_append(into, text, length);
}

static void start_and_join(struct job *job)
{
    for (int i = 0; i < job->count; i++) {
        struct worker *worker = &job->workers[i];
        worker->started = pthread_create(&worker->thread, NULL, thread_main, worker) == 0;
        if (!worker->started) {
            worker->failed = true;
            json_buffer_append(&worker->results, "cannot start a thread", 21);
        }
    }
    for (int i = 0; i < job->count; i++)
        if (job->workers[i].started)
            pthread_join(job->workers[i].thread, NULL);
}

int threads_run(lua_State *L)
{
    int count = (int)integer_check(L, 1, 1, "n", 1, COUNT_MAX);
    int top = lua_gettop(L);
    luaL_argexpected(L, top >= 2, 2, "Lua source or a Lua function");
    size_t bytes = sizeof(struct job) + (size_t)count * sizeof(struct worker);
    struct job *job = lua_newuserdatauv(L, bytes, 0);
    memset(job, 0, bytes);
    job->count = count;
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, job_free);
    lua_setfield(L, -2, "__gc");
    lua_setmetatable(L, -2);
    for (int i = 0; i < count; i++) {
        job->workers[i].job = job;
        job->workers[i].index = i + 1;
    }
    if (!take_chunk(L, job) || !take_package_field(L, "path", &job->path) ||
        !take_package_field(L, "cpath", &job->cpath))
        return luaL_error(L, "not enough memory");
    for (int i = 3; i <= top; i++) {
        const char *fault = transfer_write(L, i, i, &job->arguments);
        if (fault)
            luaL_argerror(L, i, fault);
    }
    start_and_join(job);
    for (int i = 0; i < count; i++) {
        struct worker *worker = &job->workers[i];
        if (!worker->failed)
            continue;
        lua_pushnil(L);
        lua_pushlstring(L, worker->results.bytes, worker->results.length);
        lua_pushliteral(L, "script");
        return 3;
    }
    lua_createtable(L, count, 0);
    for (int i = 0; i < count; i++) {
        lua_newtable(L);
        int table = lua_gettop(L);
        int results = transfer_read(L, job->workers[i].results.bytes, job->workers[i].results.length);
        lua_pushinteger(L, results);
        lua_setfield(L, table, "n");
        for (int n = results; n > 0; n--)
            lua_rawseti(L, table, n);
        lua_rawseti(L, -2, i + 1);
    }
    return 1;
}
