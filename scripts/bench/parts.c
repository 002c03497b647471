/* parts.c - a Lua module of the bench: what the binding does with a document's text, without the engine behind it. */
#include <lauxlib.h>
#include <lua.h>

#include "../../bindings/document.h"
#include "../../bindings/lua_json.h"

int luaopen_bench_parts(lua_State *L);

static struct scratch scratch;

/* encode(document): its id and its text's length, as create gives id and version. */
static int parts_encode(lua_State *L)
{
    lua_getfield(L, 1, "id");
    json_buffer_reset(&scratch.document);
    const char *fault = lua_json_encode(L, 1, &scratch.document);
    if (fault)
        return luaL_error(L, "%s", fault);
    lua_pushinteger(L, (lua_Integer)scratch.document.length);
    return 2;
}

/* check(text): the same of a text that is a document. */
static int parts_check(lua_State *L)
{
    struct document document;
    size_t length;
    const char *text = luaL_checklstring(L, 1, &length);
    const char *fault = document_parse(&scratch, text, length, false, &scratch.document, 0, &document);
    if (fault)
        return luaL_error(L, "%s", fault);
    lua_pushlstring(L, document.id, document.id_length);
    lua_pushinteger(L, (lua_Integer)scratch.document.length);
    return 2;
}

/* decode(text): a table. */
static int parts_decode(lua_State *L)
{
    struct json_tape tape;
    size_t length;
    const char *text = luaL_checklstring(L, 1, &length);
    const char *fault = json_parse(scratch.parser, text, length, false, &tape);
    if (fault)
        return luaL_error(L, "%s", fault);
    lua_json_push(L, &tape);
    return 1;
}

__attribute__((visibility("default"))) int luaopen_bench_parts(lua_State *L)
{
    static const luaL_Reg functions[] = {{"encode", parts_encode}, {"check", parts_check}, {"decode", parts_decode},
                                         {NULL, NULL}};
    if (!scratch_init(&scratch))
        return luaL_error(L, "out of memory");
    luaL_newlib(L, functions);
    lua_json_register(L);
    return 1;
}
