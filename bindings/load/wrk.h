/* wrk.h - the table `wrk` of a script, and the thread object. All may raise. */
#ifndef TIDE_LOAD_WRK_H
#define TIDE_LOAD_WRK_H

#include <lua.h>

#include "script.h"

/* Makes the global `wrk`. */
void wrk_open(lua_State *L, struct script *script, const struct script_target *target);

void wrk_push_thread(lua_State *L, struct worker *worker);
void wrk_set_thread(lua_State *L, struct worker *worker); /* wrk.thread */
void wrk_set_host(lua_State *L);                          /* wrk.headers.Host, where the script has set none */
int wrk_preformat(lua_State *L); /* () → the text that wrk.request() gives: wrk.format(), once */

#endif
