/* lua_load.c - runs as values of Lua, for commands/load.lua: options in, figures out. */
#include "lua_load.h"

#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../transfer.h"
#include "run.h"
#include "statistics.h"

#define RUN_TYPE "tidemark.load.run"

static const char *const error_names[ERROR_KINDS] = {"connect", "read", "write", "timeout", "status"};

/* What the run points into is kept by the userdata's user value, the table of options. */
struct handle {
    struct run *run; /* NULL: closed */
    char **arguments;
};

static struct run *check_run(lua_State *L)
{
    const struct handle *handle = luaL_checkudata(L, 1, RUN_TYPE);
    luaL_argcheck(L, handle->run != NULL, 1, "a run that is closed");
    return handle->run;
}

static void set_integer(lua_State *L, const char *name, uint64_t value)
{
    lua_pushinteger(L, (lua_Integer)value);
    lua_setfield(L, -2, name);
}

static void set_number(lua_State *L, const char *name, double value)
{
    lua_pushnumber(L, value);
    lua_setfield(L, -2, name);
}

/* ---- Opening ---- */

static double number_option(lua_State *L, const char *name)
{
    lua_getfield(L, 1, name);
    double value = lua_tonumber(L, -1);
    lua_pop(L, 1);
    return value;
}

/* The string stays in the table. */
static const char *text_option(lua_State *L, const char *name)
{
    lua_getfield(L, 1, name);
    const char *text = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : NULL;
    lua_pop(L, 1);
    return text;
}

static int failed(lua_State *L, const struct run *run, enum script_result result)
{
    const char *error = run_error(run);
    lua_pushnil(L);
    lua_pushstring(L, error ? error : "not enough memory");
    lua_pushinteger(L, result == SCRIPT_NOT_LUA ? 2 : 3);
    return 3;
}

static int load_open(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    struct load_options options = {
        .threads = (unsigned)number_option(L, "threads"),
        .connections = (unsigned)number_option(L, "connections"),
        .pipeline = (unsigned)number_option(L, "pipeline"),
        .duration_ns = (uint64_t)(number_option(L, "duration_s") * 1e9),
        .warmup_ns = (uint64_t)(number_option(L, "warmup_s") * 1e9),
        .timeout_ns = (uint64_t)(number_option(L, "timeout_s") * 1e9),
        .requests = (uint64_t)number_option(L, "requests"),
        .rate = number_option(L, "rate"),
        .engine = text_option(L, "engine"),
    };
    struct handle *handle = lua_newuserdatauv(L, sizeof *handle, 1);
    *handle = (struct handle){NULL, NULL};
    luaL_setmetatable(L, RUN_TYPE);
    lua_pushvalue(L, 1);
    lua_setiuservalue(L, -2, 1);
    struct run *run = handle->run = run_create(&options);
    lua_getfield(L, 1, "arguments");
    size_t count = lua_rawlen(L, -1);
    handle->arguments = calloc(count + 1, sizeof(char *));
    if (!run || !handle->arguments)
        return luaL_error(L, "not enough memory");
    for (size_t i = 0; i < count; i++) {
        lua_rawgeti(L, -1, (lua_Integer)i + 1);
        handle->arguments[i] = (char *)lua_tostring(L, -1);
        lua_pop(L, 1);
    }
    run->arguments = handle->arguments;
    run->argument_count = count;
    run->path = text_option(L, "script");
    run->target = (struct script_target){text_option(L, "scheme"), text_option(L, "host"), text_option(L, "port"),
                                         text_option(L, "path")};
    enum script_result result = run_load(run);
    if (result != SCRIPT_OK)
        return failed(L, run, result);
    lua_pushvalue(L, 2);
    return 1;
}

static int run_lua_prepare(lua_State *L)
{
    struct run *run = check_run(L);
    enum script_result result = run_prepare(run);
    if (result != SCRIPT_OK)
        return failed(L, run, result);
    lua_pushboolean(L, true);
    return 1;
}

static int run_lua_global(lua_State *L)
{
    lua_State *main = check_run(L)->main.L;
    lua_rawgeti(main, LUA_REGISTRYINDEX, LUA_RIDX_GLOBALS);
    lua_pushstring(main, luaL_checkstring(L, 2));
    lua_rawget(main, -2);
    struct json_buffer bytes = {0};
    const char *fault = transfer_write(main, lua_gettop(main), lua_gettop(main), &bytes);
    lua_pop(main, 2);
    if (!fault)
        lua_pushlstring(L, bytes.bytes, bytes.length);
    json_buffer_free(&bytes);
    if (fault) {
        lua_pushnil(L);
        lua_pushstring(L, fault);
        return 2;
    }
    size_t length;
    const char *text = lua_tolstring(L, -1, &length);
    transfer_read(L, text, length);
    return 1;
}

/* ---- Running ---- */

static int run_lua_start(lua_State *L)
{
    struct run *run = check_run(L);
    if (!run_start(run))
        return failed(L, run, SCRIPT_FAILED);
    lua_pushboolean(L, true);
    return 1;
}

static int run_lua_wait(lua_State *L)
{
    struct run *run = check_run(L);
    lua_pushboolean(L, run_wait(run, (int)(luaL_checknumber(L, 2) * 1000)));
    return 1;
}

static int run_lua_progress(lua_State *L)
{
    struct run *run = check_run(L);
    struct record *record = &run->record;
    uint64_t start = run_start_ns(run), now = monotonic_ns();
    lua_createtable(L, 0, 5);
    pthread_mutex_lock(&record->lock);
    uint64_t requests = record->recent->count, p99 = histogram_percentile(record->recent, 99);
    uint64_t errors = record->errors, all = record->latency->count;
    histogram_clear(record->recent);
    record->recent_errors = 0;
    pthread_mutex_unlock(&record->lock);
    set_integer(L, "recent", requests);
    set_number(L, "p99_ms", (double)p99 / 1e6);
    set_integer(L, "errors", errors);
    set_integer(L, "requests", all);
    if (start)
        set_number(L, "elapsed_s", (double)(now - start) / 1e9);
    return 1;
}

/* ---- The report ---- */

static uint64_t sum_errors(const struct run *run, int kind)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < run->prepared; i++)
        sum += run->workers[i].meter.errors[kind];
    return sum;
}

static void push_errors(lua_State *L, const struct run *run)
{
    lua_createtable(L, 0, ERROR_KINDS);
    for (int kind = 0; kind < ERROR_KINDS; kind++)
        set_integer(L, error_names[kind], sum_errors(run, kind));
}

static void push_statuses(lua_State *L, const struct run *run)
{
    lua_newtable(L);
    for (int code = 0; code < STATUS_CODES; code++) {
        uint64_t count = 0;
        for (unsigned i = 0; i < run->prepared; i++)
            count += run->workers[i].meter.status[code];
        if (count == 0)
            continue;
        char name[16];
        snprintf(name, sizeof name, "%d", code);
        set_integer(L, name, count);
    }
    if (!run->options.engine)
        return;
    uint64_t failures = 0;
    for (int i = 0; i < CODES_MAX && run->codes[i].count > 0; i++) {
        set_integer(L, run->codes[i].code, run->codes[i].count);
        failures += run->codes[i].count;
    }
    set_integer(L, "ok", run->record.latency->count - failures);
}

static void push_intervals(lua_State *L, const struct run *run, double duration_s)
{
    const struct record *record = &run->record;
    double seconds = (double)record->interval_ns / 1e9;
    lua_createtable(L, (int)record->count, 0);
    for (size_t i = 0; i < record->count; i++) {
        const struct interval *interval = &record->intervals[i];
        double from = (double)i * seconds, left = duration_s - from;
        lua_createtable(L, 0, 7);
        set_number(L, "from_s", from);
        set_number(L, "seconds", left < seconds ? left : seconds);
        set_integer(L, "requests", interval->requests);
        set_integer(L, "errors", interval->errors);
        set_number(L, "p50_ms", (double)interval->p50 / 1e6);
        set_number(L, "p99_ms", (double)interval->p99 / 1e6);
        set_number(L, "max_ms", (double)interval->max / 1e6);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
}

static int run_lua_report(lua_State *L)
{
    const struct run *run = check_run(L);
    const char *error = run_error(run);
    if (error || run->record.out_of_memory)
        return failed(L, run, SCRIPT_FAILED);
    double duration_s = (double)run_duration_ns(run) / 1e9;
    uint64_t bytes = 0, unsent = 0, late = 0, behind = 0;
    for (unsigned i = 0; i < run->prepared; i++) {
        const struct worker *worker = &run->workers[i];
        bytes += worker->meter.bytes;
        unsent += worker->unsent;
        late += worker->late;
        behind += worker->behind;
    }
    lua_createtable(L, 0, 16);
    set_number(L, "duration_s", duration_s);
    set_integer(L, "requests", run->record.latency->count);
    set_integer(L, "bytes_received", bytes);
    set_integer(L, "unsent", unsent);
    set_integer(L, "late", late);
    set_integer(L, "behind", behind);
    lua_pushboolean(L, run->interrupted);
    lua_setfield(L, -2, "interrupted");
    push_errors(L, run);
    lua_setfield(L, -2, "error_kinds");
    push_statuses(L, run);
    lua_setfield(L, -2, "status");
    push_intervals(L, run, duration_s);
    lua_setfield(L, -2, "intervals");
    lua_createtable(L, (int)run->prepared, 0);
    for (unsigned i = 0; i < run->prepared; i++) {
        lua_pushnumber(L, run->workers[i].meter.cpu);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    lua_setfield(L, -2, "thread_cpu");
    statistics_push(L, run->record.latency, 1);
    lua_setfield(L, -2, "latency");
    return 1;
}

static void push_summary(lua_State *L, void *context)
{
    const struct run *run = context;
    uint64_t bytes = 0;
    for (unsigned i = 0; i < run->prepared; i++)
        bytes += run->workers[i].meter.bytes;
    lua_createtable(L, 0, 4);
    set_integer(L, "duration", run_duration_ns(run) / 1000);
    set_integer(L, "requests", run->record.latency->count);
    set_integer(L, "bytes", bytes);
    push_errors(L, run);
    lua_setfield(L, -2, "errors");
}

static int run_lua_done(lua_State *L)
{
    struct run *run = check_run(L);
    if (!script_done(&run->main, push_summary, run, run->record.latency, run->record.rates))
        return failed(L, run, SCRIPT_FAILED);
    lua_pushboolean(L, true);
    return 1;
}

static int run_lua_close(lua_State *L)
{
    struct handle *handle = luaL_checkudata(L, 1, RUN_TYPE);
    if (handle->run)
        run_destroy(handle->run);
    free(handle->arguments);
    *handle = (struct handle){NULL, NULL};
    return 0;
}

int luaopen_tidemark_load(lua_State *L)
{
    static const luaL_Reg methods[] = {{"prepare", run_lua_prepare},
                                       {"global", run_lua_global},
                                       {"start", run_lua_start},
                                       {"wait", run_lua_wait},
                                       {"progress", run_lua_progress},
                                       {"report", run_lua_report},
                                       {"done", run_lua_done},
                                       {"close", run_lua_close},
                                       {"__gc", run_lua_close},
                                       {"__close", run_lua_close},
                                       {NULL, NULL}};
    static const luaL_Reg functions[] = {{"open", load_open}, {NULL, NULL}};
    luaL_newmetatable(L, RUN_TYPE);
    luaL_setfuncs(L, methods, 0);
    lua_pushvalue(L, -1);
    lua_setfield(L, -2, "__index");
    luaL_newlib(L, functions);
    return 1;
}
