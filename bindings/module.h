/* module.h - what the files of the Lua module share: the handles, the state that each Lua state has, and how C failures
 * become Lua's nil, message, code. */
#ifndef TIDE_MODULE_H
#define TIDE_MODULE_H

#include <lauxlib.h>
#include <lua.h>

#include "../engine/tidemark.h"
#include "document.h"
#include "park.h"

#define DATABASE_TYPE "tidemark.database"
#define COLLECTION_TYPE "tidemark.collection"
#define EVENTS_TYPE "tidemark.events"
#define SCAN_TYPE "tidemark.scan"

__attribute__((visibility("default"))) int luaopen_tidemark(lua_State *L);

/* One for each Lua state, kept in its registry; the first upvalue of every function of the module. */
struct module_state {
    struct scratch scratch; /* of one call */
    struct parker *parker;  /* NULL: calls that wait sleep */
};

struct module_state *module_state(lua_State *L); /* from upvalue 1 */

/* Whether the calling coroutine may be parked for the engine, see park.h. */
bool may_park(lua_State *L, struct tide_engine *engine);

/* An open database, and the event iterators on it, which its closing ends. */
struct database {
    struct tide_engine *engine; /* NULL: closed */
    struct events *events;      /* a list */
};

/* A collection; user value 1 is its database, which it keeps from being collected. */
struct collection {
    struct database *database;
    struct tide_collection *collection;
};

/* The userdata of `type` at `index`; raises when there is none. Quick in that type's own functions, which have its
 * metatable as upvalue 2; not for the functions of another type, where that one's userdata would pass. */
void *userdata_check(lua_State *L, int index, const char *type);

/* The handle at `index`; raises when it is of another type or closed. */
struct database *database_check(lua_State *L, int index);
struct collection *collection_check(lua_State *L, int index);

/* Pushes nil, message, code and returns 3; raises when memory is out. */
int fail(lua_State *L, const struct tide_error *error);
int fail_with(lua_State *L, enum tide_status status, const char *format, ...);

/* The integer at `index`, which must be one of min..max; raises naming `name`. */
uint64_t integer_check(lua_State *L, int index, int argument, const char *name, lua_Integer min, lua_Integer max);

/* A timeout in ms at argument `index`: absent means `absent`. */
uint64_t timeout_optional(lua_State *L, int index, uint64_t absent);

/* The position of the string at `index` in `names` (NULL at its end); raises naming `name`. */
int choice_check(lua_State *L, int index, int argument, const char *name, const char *const names[]);

/* Each registers its metatable. Upvalue 1 of their functions is the module's state, on top of the stack, 2 the
 * metatable.
 */
void database_register(lua_State *L);
void collection_register(lua_State *L);
void scan_register(lua_State *L);
void events_register(lua_State *L);
void metatable_register(lua_State *L, const char *type, const luaL_Reg *functions);

int collection_new(lua_State *L); /* db:collection(name) */
int collection_each(lua_State *L);
int database_events(lua_State *L);
void events_close_all(struct database *database);

#endif
