/* tools.h - what the command needs and scripts don't: the module "tidemark.tools". */
#ifndef TIDE_TOOLS_H
#define TIDE_TOOLS_H

#include <lua.h>

/* verify(dir, on_finding, on_progress), repair(the same) → report | nil, message, code; isatty(1 or 2); monotonic() in
 * seconds; columns() of the terminal; check_options(options), as tidemark.open; backup and restore as in backup.h. */
int luaopen_tidemark_tools(lua_State *L);

#endif
