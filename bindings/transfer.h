/* transfer.h - copies nil, booleans, numbers, strings and tables of them from one Lua state to another, as bytes. */
#ifndef TIDE_TRANSFER_H
#define TIDE_TRANSFER_H

#include <lua.h>

#include "json.h"

/* Appends the values at stack indexes first..last. Returns NULL or what can't be copied (static text). Runs no Lua
 * code. */
const char *transfer_write(lua_State *L, int first, int last, struct json_buffer *out);

/* Pushes the values of `bytes`; returns how many. Raises when memory is out. */
int transfer_read(lua_State *L, const char *bytes, size_t length);

#endif
