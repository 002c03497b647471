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
#include "options.h"
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

void *userdata_check(lua_State *L, int index, const char *type)
{
    void *userdata = lua_touserdata(L, index);
    if (userdata && lua_getmetatable(L, index)) {
        bool same = lua_rawequal(L, -1, lua_upvalueindex(2));
        lua_pop(L, 1);
        if (same)
            return userdata;
    }
    return luaL_checkudata(L, index, type);
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
    lua_pushvalue(L, -2);
    luaL_setfuncs(L, functions, 2);
    lua_pushvalue(L, -1);
    lua_setfield(L, -2, "__index");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_pop(L, 1);
}

static int module_open(lua_State *L)
{
    const char *path = luaL_checkstring(L, 1);
    luaL_argcheck(L, *path != 0, 1, "path is empty");
    luaL_argcheck(L, strlen(path) == lua_rawlen(L, 1), 1, "path contains a zero byte");
    struct tide_options options;
    struct tide_error error;
    options_check(L, 2, &options);
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
