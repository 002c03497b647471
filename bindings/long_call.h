/* long_call.h - see long_call.c. */
#ifndef TIDE_LONG_CALL_H
#define TIDE_LONG_CALL_H

#include <lua.h>
#include <stddef.h>

#include "park.h"

/* Pushes a new call of `size` bytes, a struct that begins with struct long_call; raises when memory is out. */
struct long_call *long_call_new(lua_State *L, size_t size, struct tide_engine *engine,
                                void (*work)(struct long_call *call),
                                int (*push)(lua_State *L, const struct long_call *call));

/* Runs the call on top of the stack; the binding's function returns what this returns. */
int long_call_run(lua_State *L, struct long_call *call);

#endif
