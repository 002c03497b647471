/* module.c - require "tidemark": opening, and what all files of the module use.
 *
 * Two rules keep Lua's errors harmless. No Lua function that may raise is called while something is held that Lua
 * doesn't know of: not within a read section, not between allocating and handing over. And all scratch memory belongs
 * to the module's state, a userdata, so that an error in the middle of anything leaves it to the next call or to the
 * collector.
 *
 * Arguments are read with raw access, so no metamethod runs in the middle of a call. */
#include "module.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "lua_json.h"
#include "retention.h"
#include "threads.h"

struct module_state *module_state(lua_State *L)
{
    return lua_touserdata(L, lua_upvalueindex(1));
}

bool may_park(lua_State *L, struct tide_engine *engine)
{
    struct parker *parker = module_state(L)->parker;
    return parker && parker->may_park(parker, L, engine);
}

static int state_collect(lua_State *L)
{
    struct module_state *state = lua_touserdata(L, 1);
    scratch_free(&state->scratch);
    return 0;
}

int fail(lua_State *L, const struct tide_error *error)
{
    if (error->status == TIDE_MEMORY)
        return luaL_error(L, "not enough memory");
    lua_pushnil(L);
    lua_pushstring(L, error->message);
    lua_pushstring(L, tide_status_code(error->status));
    return 3;
}

int fail_with(lua_State *L, enum tide_status status, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    lua_pushnil(L);
    lua_pushvfstring(L, format, arguments);
    lua_pushstring(L, tide_status_code(status));
    va_end(arguments);
    return 3;
}

uint64_t integer_check(lua_State *L, int index, int argument, const char *name, lua_Integer min, lua_Integer max)
{
    int is_integer;
    lua_Integer value = lua_tointegerx(L, index, &is_integer);
    if (!is_integer || lua_type(L, index) != LUA_TNUMBER)
        luaL_argerror(
            L, argument,
            lua_pushfstring(L, "%s: integer expected, got %s", name,
                            lua_type(L, index) == LUA_TNUMBER ? "a number with a fraction" : luaL_typename(L, index)));
    if (value < min || value > max)
        luaL_argerror(L, argument, lua_pushfstring(L, "%s: %I is not between %I and %I", name, value, min, max));
    return (uint64_t)value;
}

uint64_t timeout_optional(lua_State *L, int index, uint64_t absent)
{
    if (lua_isnoneornil(L, index))
        return absent;
    return integer_check(L, index, index, "timeout_ms", 0, TIDE_MILLISECONDS_MAX);
}

int choice_check(lua_State *L, int index, int argument, const char *name, const char *const names[])
{
    const char *text = lua_type(L, index) == LUA_TSTRING ? lua_tostring(L, index) : NULL;
    for (int i = 0; text && names[i]; i++)
        if (strcmp(text, names[i]) == 0)
            return i;
    luaL_Buffer all;
    luaL_buffinit(L, &all);
    for (int i = 0; names[i]; i++) {
        luaL_addstring(&all, i > 0 ? ", " : "");
        luaL_addstring(&all, names[i]);
    }
    luaL_pushresult(&all);
    return luaL_argerror(L, argument, lua_pushfstring(L, "%s: one of %s expected", name, lua_tostring(L, -1)));
}

void metatable_register(lua_State *L, const char *type, const luaL_Reg *functions)
{
    luaL_newmetatable(L, type);
    lua_pushvalue(L, -2);
    luaL_setfuncs(L, functions, 1);
    lua_pushvalue(L, -1);
    lua_setfield(L, -2, "__index");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_pop(L, 1);
}

/* ---- tidemark.open ---- */

struct option {
    const char *name;
    size_t offset;
};

#define OPTION(name)                                                                                                   \
    {                                                                                                                  \
#name, offsetof(struct tide_options, name)                                                                     \
    }
static const struct option integer_options[] = {
    OPTION(batch_size),       OPTION(flush_interval_ms), OPTION(batch_bytes_max), OPTION(pending_bytes_max),
    OPTION(sync_interval_ms), OPTION(timeout_ms),        OPTION(segment_bytes),   OPTION(document_bytes_max)};
static const char snapshot_option[] = "snapshot_log_bytes"; /* where 0 says never, which in C is another number */

static const char *const sync_names[] = {"batch", "interval", "none", NULL};
static const char *const durability_names[] = {"accepted", "durable", NULL};

/* Takes the option whose name is at -2 and value at -1. */
static void option_take(lua_State *L, struct tide_options *options)
{
    if (lua_type(L, -2) != LUA_TSTRING)
        luaL_argerror(L, 2, "options have names");
    const char *name = lua_tostring(L, -2);
    for (size_t i = 0; i < sizeof integer_options / sizeof integer_options[0]; i++) {
        if (strcmp(name, integer_options[i].name) == 0) {
            uint64_t value = integer_check(L, -1, 2, name, 1, LUA_MAXINTEGER);
            memcpy((char *)options + integer_options[i].offset, &value, sizeof value);
            return;
        }
    }
    if (strcmp(name, snapshot_option) == 0) {
        options->snapshot_log_bytes = integer_check(L, -1, 2, name, 0, LUA_MAXINTEGER);
        if (options->snapshot_log_bytes == 0)
            options->snapshot_log_bytes = TIDE_NO_SNAPSHOTS;
    } else if (strcmp(name, "sync") == 0) {
        options->sync = (enum tide_sync)(TIDE_SYNC_BATCH + choice_check(L, -1, 2, name, sync_names));
    } else if (strcmp(name, "durability") == 0) {
        options->durability = (enum tide_durability)(TIDE_ACCEPTED + choice_check(L, -1, 2, name, durability_names));
    } else if (strcmp(name, "retain") == 0) {
        retention_check(L, -1, 2, &options->retain, &options->retain_limit);
    } else if (strcmp(name, "read_only") == 0) {
        if (!lua_isboolean(L, -1))
            luaL_argerror(L, 2, "read_only: boolean expected");
        options->read_only = lua_toboolean(L, -1);
        options->read_write = !options->read_only;
    } else if (strcmp(name, "hash_chain") == 0) {
        if (!lua_isboolean(L, -1))
            luaL_argerror(L, 2, "hash_chain: boolean expected");
        options->hash_chain = lua_toboolean(L, -1);
        options->no_hash_chain = !options->hash_chain;
    } else {
        luaL_argerror(L, 2, lua_pushfstring(L, "unknown option '%s'", name));
    }
}

static int module_open(lua_State *L)
{
    const char *path = luaL_checkstring(L, 1);
    luaL_argcheck(L, *path != 0, 1, "path is empty");
    luaL_argcheck(L, strlen(path) == lua_rawlen(L, 1), 1, "path contains a zero byte");
    struct tide_options options = {0};
    struct tide_error error;
    if (!lua_isnoneornil(L, 2)) {
        luaL_checktype(L, 2, LUA_TTABLE);
        for (lua_pushnil(L); lua_next(L, 2); lua_pop(L, 1))
            option_take(L, &options);
        if (tide_options_check(&options, &error) != TIDE_OK)
            return luaL_argerror(L, 2, lua_pushstring(L, error.message));
    }
    struct database *database = lua_newuserdatauv(L, sizeof *database, 0);
    *database = (struct database){0};
    luaL_setmetatable(L, DATABASE_TYPE);
    if (tide_open(path, &options, &database->engine, &error) != TIDE_OK)
        return fail(L, &error);
    return 1;
}

int luaopen_tidemark(lua_State *L)
{
    luaL_checkversion(L);
    luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
    lua_pop(L, 1);
    struct module_state *state = lua_newuserdatauv(L, sizeof *state, 0);
    memset(state, 0, sizeof *state);
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, state_collect);
    lua_setfield(L, -2, "__gc");
    lua_setmetatable(L, -2);
    lua_getfield(L, LUA_REGISTRYINDEX, PARKER_KEY);
    state->parker = lua_touserdata(L, -1);
    lua_pop(L, 1);
    if (!scratch_init(&state->scratch))
        return luaL_error(L, "not enough memory");
    database_register(L);
    collection_register(L);
    scan_register(L);
    events_register(L);

    static const luaL_Reg functions[] = {{"open", module_open}, {"threads", threads_run}, {NULL, NULL}};
    luaL_newlibtable(L, functions);
    lua_pushvalue(L, -2);
    luaL_setfuncs(L, functions, 1);
    lua_pushstring(L, TIDE_VERSION);
    lua_setfield(L, -2, "version");
    lua_json_register(L);
    return 1;
}
