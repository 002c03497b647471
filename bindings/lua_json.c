/* lua_json.c - Lua values from JSON tapes, and JSON texts from Lua values.
 *
 * Reading walks simdjson's tape once; tables are made with their final size. Writing follows lua-cjson's rules: a table
 * whose keys are all positive integers is an array, holes are null, and one with far more holes than values is an
 * object; an empty table is an object, unless it is marked. The mark is a metatable: tables that came from [] carry it,
 * and tidemark.array(t) sets it. A marked table that has got other keys is an object all the same.
 *
 * The stack while writing: for each level a key and the table under it, so that the path to a bad value and a cycle can
 * be read off the stack when one is needed, and cost nothing before. */
#include "lua_json.h"

#include <lauxlib.h>
#include <limits.h>
#include <math.h>
#include <string.h>

static const char array_key = 0;       /* its address is the registry's key of the mark */
static const char empty_array_key = 0; /* its address is tidemark.empty_array */

/* ---- Reading ---- */

static uint64_t payload(uint64_t word)
{
    return word & ((UINT64_C(1) << 56) - 1);
}

static void push_string(lua_State *L, const struct json_tape *tape, uint64_t word)
{
    const uint8_t *string = tape->strings + payload(word);
    uint32_t length;
    memcpy(&length, string, sizeof length);
    lua_pushlstring(L, (const char *)string + 4, length);
}

static int member_count(uint64_t word)
{
    return (int)(word >> 32 & 0xffffff);
}

static uint64_t push_value(lua_State *L, const struct json_tape *tape, uint64_t i);

static uint64_t push_object(lua_State *L, const struct json_tape *tape, uint64_t i)
{
    uint64_t end = (tape->words[i] & UINT32_MAX) - 1;
    lua_createtable(L, 0, member_count(tape->words[i]));
    for (i++; i < end;) {
        push_string(L, tape, tape->words[i]);
        i = push_value(L, tape, i + 1);
        lua_rawset(L, -3);
    }
    return end + 1;
}

static uint64_t push_array(lua_State *L, const struct json_tape *tape, uint64_t i)
{
    uint64_t end = (tape->words[i] & UINT32_MAX) - 1;
    lua_createtable(L, member_count(tape->words[i]), 0);
    if (i + 1 == end) {
        lua_rawgetp(L, LUA_REGISTRYINDEX, &array_key);
        lua_setmetatable(L, -2);
    }
    i++;
    for (lua_Integer n = 1; i < end; n++) {
        i = push_value(L, tape, i);
        lua_rawseti(L, -2, n);
    }
    return end + 1;
}

/* Pushes the value at word i; returns the index behind it. At most JSON_DEPTH_MAX deep. */
static uint64_t push_value(lua_State *L, const struct json_tape *tape, uint64_t i)
{
    uint64_t word = tape->words[i];
    switch ((char)(word >> 56)) {
    case '"': push_string(L, tape, word); return i + 1;
    case 'l': lua_pushinteger(L, (lua_Integer)tape->words[i + 1]); return i + 2;
    case 'u':
        if (tape->words[i + 1] <= LUA_MAXINTEGER)
            lua_pushinteger(L, (lua_Integer)tape->words[i + 1]);
        else
            lua_pushnumber(L, (lua_Number)tape->words[i + 1]);
        return i + 2;
    case 'd': {
        double number;
        memcpy(&number, &tape->words[i + 1], sizeof number);
        lua_pushnumber(L, number);
        return i + 2;
    }
    case 't':
    case 'f': lua_pushboolean(L, (char)(word >> 56) == 't'); return i + 1;
    case '{': luaL_checkstack(L, 4, "JSON"); return push_object(L, tape, i);
    case '[': luaL_checkstack(L, 4, "JSON"); return push_array(L, tape, i);
    default: lua_pushlightuserdata(L, NULL); return i + 1;
    }
}

void lua_json_push(lua_State *L, const struct json_tape *tape)
{
    luaL_checkstack(L, 4, "JSON");
    push_value(L, tape, 1);
}

/* ---- Writing ---- */

struct encoder {
    lua_State *L;
    struct json_buffer *out;
    int base;  /* stack index of the outermost value's key */
    int depth; /* open tables */
};

/* The number of keys if all are positive integers, as lua-cjson counts, else -1; *max gets the greatest. */
static lua_Integer array_keys(lua_State *L, int index, lua_Integer *max)
{
    lua_Integer count = 0;
    *max = 0;
    for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1)) {
        lua_Integer key = lua_isinteger(L, -2) ? lua_tointeger(L, -2) : 0;
        if (key <= 0) {
            lua_pop(L, 2);
            return -1;
        }
        count++;
        if (key > *max)
            *max = key;
    }
    return count;
}

static bool is_marked(lua_State *L, int index)
{
    if (!lua_getmetatable(L, index))
        return false;
    lua_rawgetp(L, LUA_REGISTRYINDEX, &array_key);
    bool marked = lua_rawequal(L, -1, -2);
    lua_pop(L, 2);
    return marked;
}

/* Pushes the path to the value that is being written, as "document.tags[2]". */
static const char *path_push(const struct encoder *encoder)
{
    lua_State *L = encoder->L;
    luaL_Buffer path;
    luaL_checkstack(L, LUA_MINSTACK, "JSON");
    luaL_buffinit(L, &path);
    luaL_addstring(&path, "document");
    for (int level = 1; level <= encoder->depth && level <= 20; level++) {
        int key = encoder->base + 2 * level;
        if (lua_type(L, key) == LUA_TSTRING) {
            luaL_addstring(&path, ".");
            lua_pushvalue(L, key);
            luaL_addvalue(&path);
        } else {
            lua_pushfstring(L, "[%I]", lua_tointeger(L, key));
            luaL_addvalue(&path);
        }
    }
    luaL_pushresult(&path);
    return lua_tostring(L, -1);
}

static const char *raise_type(const struct encoder *encoder, const char *what)
{
    luaL_error(encoder->L, "%s: cannot store %s", path_push(encoder), what);
    return NULL;
}

/* Too deep: a cycle raises, anything else is said. */
static const char *too_deep(const struct encoder *encoder)
{
    for (int i = 1; i <= encoder->depth; i++)
        for (int j = 1; j < i; j++)
            if (lua_rawequal(encoder->L, encoder->base + 2 * i - 1, encoder->base + 2 * j - 1))
                return raise_type(encoder, "a table that contains itself");
    return "the document is nested deeper than 1000 levels";
}

static const char *encode(struct encoder *encoder);

static bool append_byte(struct json_buffer *out, char c)
{
    if (!json_buffer_reserve(out, 1))
        return false;
    out->bytes[out->length++] = c;
    return true;
}

static const char *encode_array(struct encoder *encoder, lua_Integer length)
{
    lua_State *L = encoder->L;
    int table = lua_gettop(L);
    if (!append_byte(encoder->out, '['))
        return json_out_of_memory;
    for (lua_Integer i = 1; i <= length; i++) {
        if (i > 1 && !append_byte(encoder->out, ','))
            return json_out_of_memory;
        lua_pushinteger(L, i);
        lua_rawgeti(L, table, i);
        const char *fault = encode(encoder);
        if (fault)
            return fault;
        lua_pop(L, 2);
    }
    return append_byte(encoder->out, ']') ? NULL : json_out_of_memory;
}

/* Writes the key at stack index `key` with its colon. */
static const char *encode_key(struct encoder *encoder, int key)
{
    lua_State *L = encoder->L;
    struct json_buffer *out = encoder->out;
    if (lua_type(L, key) == LUA_TSTRING) {
        size_t length;
        const char *text = lua_tolstring(L, key, &length);
        return json_write_string(out, text, length) && append_byte(out, ':') ? NULL : json_out_of_memory;
    }
    if (lua_type(L, key) != LUA_TNUMBER)
        return raise_type(encoder, "a table with keys that are neither strings nor numbers");
    if (!json_buffer_reserve(out, 40))
        return json_out_of_memory;
    out->bytes[out->length++] = '"';
    if (lua_isinteger(L, key))
        out->length += json_write_integer(out->bytes + out->length, lua_tointeger(L, key));
    else
        out->length += json_write_double(out->bytes + out->length, lua_tonumber(L, key));
    memcpy(out->bytes + out->length, "\":", 2);
    out->length += 2;
    return NULL;
}

/* The table below its first key and value, which are on top. */
static const char *encode_object(struct encoder *encoder)
{
    lua_State *L = encoder->L;
    int key = lua_gettop(L) - 1;
    char before = '{';
    do {
        if (!append_byte(encoder->out, before))
            return json_out_of_memory;
        before = ',';
        const char *fault = encode_key(encoder, key);
        if (!fault)
            fault = encode(encoder);
        if (fault)
            return fault;
        lua_pop(L, 1);
    } while (lua_next(L, key - 1));
    return append_byte(encoder->out, '}') ? NULL : json_out_of_memory;
}

/* As an array, where all keys are positive integers and not too far apart, else as an object. */
static const char *encode_members(struct encoder *encoder)
{
    enum { SPARSE_RATIO = 2, SPARSE_SAFE = 10 }; /* lua-cjson's defaults */
    lua_State *L = encoder->L;
    int table = lua_gettop(L);
    lua_pushnil(L);
    if (!lua_next(L, table))
        return json_buffer_append(encoder->out, is_marked(L, table) ? "[]" : "{}", 2) ? NULL : json_out_of_memory;
    if (lua_isinteger(L, -2)) {
        lua_settop(L, table);
        lua_Integer length, count = array_keys(L, table, &length);
        if (count > 0 && (length <= SPARSE_SAFE || length / SPARSE_RATIO <= count))
            return encode_array(encoder, length);
        lua_pushnil(L);
        lua_next(L, table);
    }
    return encode_object(encoder);
}

static const char *encode_table(struct encoder *encoder)
{
    if (encoder->depth == JSON_DEPTH_MAX)
        return too_deep(encoder);
    luaL_checkstack(encoder->L, 8, "JSON");
    encoder->depth++;
    const char *fault = encode_members(encoder);
    encoder->depth--;
    return fault;
}

static const char *encode_number(struct encoder *encoder)
{
    lua_State *L = encoder->L;
    struct json_buffer *out = encoder->out;
    if (!json_buffer_reserve(out, 40))
        return json_out_of_memory;
    if (lua_isinteger(L, -1)) {
        out->length += json_write_integer(out->bytes + out->length, lua_tointeger(L, -1));
        return NULL;
    }
    double number = lua_tonumber(L, -1);
    if (!isfinite(number))
        return raise_type(encoder, isnan(number) ? "NaN" : "an infinity");
    out->length += json_write_double(out->bytes + out->length, number);
    return NULL;
}

/* cjson.empty_array, where the script's cjson has one. */
static bool is_cjson_empty_array(lua_State *L, const void *value)
{
    luaL_checkstack(L, 4, "JSON");
    int top = lua_gettop(L);
    bool same = luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE) && lua_getfield(L, -1, "cjson") == LUA_TTABLE;
    if (same) {
        lua_pushliteral(L, "empty_array");
        lua_rawget(L, -2);
        same = lua_islightuserdata(L, -1) && lua_touserdata(L, -1) == value;
    }
    lua_settop(L, top);
    return same;
}

static const char *encode_light(struct encoder *encoder)
{
    const void *value = lua_touserdata(encoder->L, -1);
    const char *text = "null";
    if (value == &empty_array_key || (value && is_cjson_empty_array(encoder->L, value)))
        text = "[]";
    else if (value)
        return raise_type(encoder, "a light userdata");
    return json_buffer_append(encoder->out, text, strlen(text)) ? NULL : json_out_of_memory;
}

/* Writes the value on top of the stack; on success the stack is as before. */
static const char *encode(struct encoder *encoder)
{
    lua_State *L = encoder->L;
    switch (lua_type(L, -1)) {
    case LUA_TSTRING: {
        size_t length;
        const char *text = lua_tolstring(L, -1, &length);
        return json_write_string(encoder->out, text, length) ? NULL : json_out_of_memory;
    }
    case LUA_TNUMBER: return encode_number(encoder);
    case LUA_TBOOLEAN: {
        const char *text = lua_toboolean(L, -1) ? "true" : "false";
        return json_buffer_append(encoder->out, text, strlen(text)) ? NULL : json_out_of_memory;
    }
    case LUA_TTABLE: return encode_table(encoder);
    case LUA_TLIGHTUSERDATA: return encode_light(encoder);
    case LUA_TNIL: /* a hole in an array */
        return json_buffer_append(encoder->out, "null", 4) ? NULL : json_out_of_memory;
    default: return raise_type(encoder, lua_pushfstring(L, "a %s", luaL_typename(L, -1)));
    }
}

const char *lua_json_encode(lua_State *L, int index, struct json_buffer *out)
{
    int top = lua_gettop(L);
    size_t start = out->length;
    struct encoder encoder = {.L = L, .out = out, .base = top};
    luaL_checkstack(L, 8, "JSON");
    index = lua_absindex(L, index);
    lua_pushvalue(L, index);
    const char *fault = encode(&encoder);
    lua_settop(L, top);
    if (!fault && !json_utf8_valid(out->bytes + start, out->length - start))
        fault = "a string of the document is not UTF-8";
    return fault;
}

/* ---- The module's values ---- */

static int mark_array(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    if (lua_getmetatable(L, 1)) {
        lua_pop(L, 1);
        luaL_argcheck(L, is_marked(L, 1), 1, "a table without a metatable expected");
    }
    lua_settop(L, 1);
    lua_rawgetp(L, LUA_REGISTRYINDEX, &array_key);
    lua_setmetatable(L, 1);
    return 1;
}

void lua_json_register(lua_State *L)
{
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &array_key) != LUA_TTABLE) {
        lua_createtable(L, 0, 1);
        lua_pushliteral(L, "tidemark.array");
        lua_setfield(L, -2, "__name");
        lua_rawsetp(L, LUA_REGISTRYINDEX, &array_key);
    }
    lua_pop(L, 1);
    lua_pushlightuserdata(L, NULL);
    lua_setfield(L, -2, "null");
    lua_pushlightuserdata(L, (void *)&empty_array_key);
    lua_setfield(L, -2, "empty_array");
    lua_pushcfunction(L, mark_array);
    lua_setfield(L, -2, "array");
}
