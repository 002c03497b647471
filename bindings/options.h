/* options.h - see options.c. */
#ifndef TIDE_LUA_OPTIONS_H
#define TIDE_LUA_OPTIONS_H

#include <lua.h>

#include "../engine/tidemark.h"

/* The options at `argument`, a table or nothing; raises when one is unknown or wrong. Touches no file. */
void options_check(lua_State *L, int argument, struct tide_options *options);

#endif
