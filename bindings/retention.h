/* retention.h - see retention.c. */
#ifndef TIDE_LUA_RETENTION_H
#define TIDE_LUA_RETENTION_H

#include <lua.h>

#include "../engine/tidemark.h"

/* The retention at `index`: "all", or a table with the one limit; raises naming `argument`. The range is tide_open's or
 * tide_compact's to check. */
void retention_check(lua_State *L, int index, int argument, enum tide_retain *retain, uint64_t *limit);

/* What a compaction of the database at argument 1 is to do, from argument 2; raises when that is wrong. */
void compact_arguments(lua_State *L, struct tide_compact *compact);

/* Pushes the table of a result. */
void compaction_push(lua_State *L, const struct tide_compaction *result);

int database_compact(lua_State *L); /* db:compact([retain]) */

#endif
