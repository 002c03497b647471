/* lua_json.h - Lua values from JSON tapes, and JSON texts from Lua values. */
#ifndef TIDE_LUA_JSON_H
#define TIDE_LUA_JSON_H

#include <lua.h>

#include "json.h"

/* Pushes the tape's value. An integer outside Lua's range becomes a float, null the value of tidemark.null, [] a table
 * marked as an array. Raises when memory is out; the tape must stay valid meanwhile, and no Lua code runs. */
void lua_json_push(lua_State *L, const struct json_tape *tape);

/* Appends the text of the value at `index` to `out`. Tables are read raw. Returns NULL, or what is invalid about it
 * (static text: not UTF-8, too deep, out of memory); raises for what no JSON can say: functions, cycles, NaN, with the
 * path to it. */
const char *lua_json_encode(lua_State *L, int index, struct json_buffer *out);

/* Adds null, empty_array and array() to the module's table on top of the stack. */
void lua_json_register(lua_State *L);

#endif
