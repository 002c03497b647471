/* lua_load.h - the module "tidemark.load" of the command. */
#ifndef TIDE_LOAD_LUA_LOAD_H
#define TIDE_LOAD_LUA_LOAD_H

#include <lua.h>

/* open(options) → run | nil, message, exit status. options: script, scheme, host, port, path, arguments (array),
 * threads, connections, pipeline, requests, rate, duration_s, warmup_s, timeout_s, engine. run:global(name) → a copy of
 * the main script's global; run:prepare() → true | nil, message, exit status; run:start(); run:wait(seconds) → whether
 * it has ended; run:progress() → figures since the last look; run:report() → all figures, or nil, message; run:done()
 * calls the script's done; run:close(). */
int luaopen_tidemark_load(lua_State *L);

#endif
