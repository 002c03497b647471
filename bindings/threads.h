/* threads.h - tidemark.threads(n, chunk, ...): a chunk in n OS threads, each with a Lua state of its own. */
#ifndef TIDE_THREADS_H
#define TIDE_THREADS_H

#include <lua.h>

int threads_run(lua_State *L);

#endif
