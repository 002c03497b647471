/* main.c - the command `tidemark`: a Lua state with the module built in, and the subcommands, which are Lua sources in
 * bindings/commands, compiled into this file's program. commands/main.lua takes the arguments from here. */
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "embedded.h"
#include "load/lua_load.h"
#include "module.h"
#include "server/server.h"
#include "tools.h"

static int load_embedded(lua_State *L)
{
    const char *name = lua_tostring(L, 1) + sizeof "tidemark.commands." - 1;
    for (const struct embedded_chunk *chunk = embedded_chunks; chunk->name; chunk++) {
        if (strcmp(chunk->name, name) != 0)
            continue;
        if (luaL_loadbufferx(L, chunk->source, chunk->length, lua_pushfstring(L, "=tidemark %s", name), "t") != LUA_OK)
            return lua_error(L);
        lua_call(L, 0, 1);
        return 1;
    }
    return luaL_error(L, "no command %s", name);
}

static void preload(lua_State *L)
{
    luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
    lua_pushcfunction(L, luaopen_tidemark);
    lua_setfield(L, -2, "tidemark");
    lua_pushcfunction(L, luaopen_tidemark_tools);
    lua_setfield(L, -2, "tidemark.tools");
    lua_pushcfunction(L, luaopen_tidemark_load);
    lua_setfield(L, -2, "tidemark.load");
    lua_pushcfunction(L, luaopen_tidemark_server);
    lua_setfield(L, -2, "tidemark.server");
    for (const struct embedded_chunk *chunk = embedded_chunks; chunk->name; chunk++) {
        lua_pushfstring(L, "tidemark.commands.%s", chunk->name);
        lua_pushcfunction(L, load_embedded);
        lua_rawset(L, -3);
    }
    lua_pop(L, 1);
}

static int message_handler(lua_State *L)
{
    luaL_traceback(L, L, luaL_tolstring(L, 1, NULL), 1);
    return 1;
}

struct arguments {
    int count;
    char **values;
};

static int run(lua_State *L)
{
    const struct arguments *arguments = lua_touserdata(L, 1);
    luaL_openlibs(L);
    preload(L);
    lua_getglobal(L, "require");
    lua_pushliteral(L, "tidemark.commands.main");
    lua_call(L, 1, 1);
    lua_createtable(L, arguments->count, 0);
    for (int i = 1; i < arguments->count; i++) {
        lua_pushstring(L, arguments->values[i]);
        lua_rawseti(L, -2, i);
    }
    lua_call(L, 1, 1);
    return 1;
}

int main(int count, char *values[])
{
    struct arguments arguments = {count, values};
    lua_State *L = luaL_newstate();
    if (!L) {
        fputs("tidemark: not enough memory\n", stderr);
        return 3;
    }
    lua_pushcfunction(L, message_handler);
    lua_pushcfunction(L, run);
    lua_pushlightuserdata(L, &arguments);
    int status = 3;
    if (lua_pcall(L, 1, 1, 1) == LUA_OK)
        status = (int)lua_tointeger(L, -1);
    else
        fprintf(stderr, "tidemark: %s\n", lua_tostring(L, -1));
    lua_close(L);
    if (fflush(stdout) != 0 && status == 0)
        status = 3;
    return status;
}
