/* transfer.c - Lua values as bytes, for the way between two states of this process: a tag, then the value as it lies in
 * memory. A table is its tag, its pairs, and an end tag. Metatables stay behind; a table that is reached twice becomes
 * two; one that contains itself is too deep. */
#include "transfer.h"

#include <lauxlib.h>
#include <string.h>

enum { DEPTH_MAX = 100 };
enum tag { TAG_NIL, TAG_FALSE, TAG_TRUE, TAG_INTEGER, TAG_FLOAT, TAG_STRING, TAG_TABLE, TAG_END };

static const char *const out_of_memory = "out of memory";

static bool put(struct json_buffer *out, enum tag tag, const void *bytes, size_t length)
{
    char byte = (char)tag;
    return json_buffer_append(out, &byte, 1) && json_buffer_append(out, bytes, length);
}

static const char *write_value(lua_State *L, int index, struct json_buffer *out, int depth)
{
    bool done;
    switch (lua_type(L, index)) {
    case LUA_TNIL: done = put(out, TAG_NIL, NULL, 0); break;
    case LUA_TBOOLEAN: done = put(out, lua_toboolean(L, index) ? TAG_TRUE : TAG_FALSE, NULL, 0); break;
    case LUA_TNUMBER:
        if (lua_isinteger(L, index)) {
            lua_Integer integer = lua_tointeger(L, index);
            done = put(out, TAG_INTEGER, &integer, sizeof integer);
        } else {
            lua_Number number = lua_tonumber(L, index);
            done = put(out, TAG_FLOAT, &number, sizeof number);
        }
        break;
    case LUA_TSTRING: {
        size_t length;
        const char *text = lua_tolstring(L, index, &length);
        done = put(out, TAG_STRING, &length, sizeof length) && json_buffer_append(out, text, length);
        break;
    }
    case LUA_TTABLE:
        if (depth == DEPTH_MAX || !lua_checkstack(L, 4))
            return "a table that contains itself or is nested too deep";
        if (!put(out, TAG_TABLE, NULL, 0))
            return out_of_memory;
        for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1)) {
            int top = lua_gettop(L);
            const char *fault = write_value(L, top - 1, out, depth + 1);
            if (!fault)
                fault = write_value(L, top, out, depth + 1);
            if (fault) {
                lua_pop(L, 2);
                return fault;
            }
        }
        done = put(out, TAG_END, NULL, 0);
        break;
    default: return "a value that is no nil, boolean, number, string or table of them";
    }
    return done ? NULL : out_of_memory;
}

const char *transfer_write(lua_State *L, int first, int last, struct json_buffer *out)
{
    for (int i = first; i <= last; i++) {
        const char *fault = write_value(L, i, out, 0);
        if (fault)
            return fault;
    }
    return NULL;
}

/* Pushes one value; false at TAG_END. */
static bool read_value(lua_State *L, const char **p)
{
    enum tag tag = (enum tag) * (*p)++;
    lua_Integer integer;
    lua_Number number;
    size_t length;
    switch (tag) {
    case TAG_NIL: lua_pushnil(L); break;
    case TAG_FALSE:
    case TAG_TRUE: lua_pushboolean(L, tag == TAG_TRUE); break;
    case TAG_INTEGER:
        memcpy(&integer, *p, sizeof integer);
        *p += sizeof integer;
        lua_pushinteger(L, integer);
        break;
    case TAG_FLOAT:
        memcpy(&number, *p, sizeof number);
        *p += sizeof number;
        lua_pushnumber(L, number);
        break;
    case TAG_STRING:
        memcpy(&length, *p, sizeof length);
        *p += sizeof length;
        lua_pushlstring(L, *p, length);
        *p += length;
        break;
    case TAG_TABLE:
        luaL_checkstack(L, 4, "too many values");
        lua_newtable(L);
        while (read_value(L, p)) {
            read_value(L, p);
            lua_rawset(L, -3);
        }
        break;
    case TAG_END: return false;
    }
    return true;
}

int transfer_read(lua_State *L, const char *bytes, size_t length)
{
    const char *p = bytes;
    int count = 0;
    for (; p < bytes + length; count++) {
        luaL_checkstack(L, 4, "too many values");
        read_value(L, &p);
    }
    return count;
}
