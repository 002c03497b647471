/* options.c - the options of tidemark.open, as scripts give them. */
#include "options.h"

#include <lauxlib.h>
#include <stddef.h>
#include <string.h>

#include "module.h"
#include "retention.h"

struct option {
    const char *name;
    size_t offset;
};

#define OPTION(name)                                                                                                   \
    {                                                                                                                  \
#name, offsetof(struct tide_options, name)                                                                     \
    }
static const struct option integer_options[] = {
    OPTION(batch_size),       OPTION(flush_interval_ms), OPTION(batch_bytes_max), OPTION(pending_bytes_max),
    OPTION(sync_interval_ms), OPTION(timeout_ms),        OPTION(segment_bytes),   OPTION(document_bytes_max)};
static const char snapshot_option[] = "snapshot_log_bytes"; /* where 0 says never, which in C is another number */

static const char *const sync_names[] = {"batch", "interval", "none", NULL};
static const char *const durability_names[] = {"accepted", "durable", NULL};

/* Takes the option whose name is at -2 and value at -1; raises naming `argument`. */
static void option_take(lua_State *L, int argument, struct tide_options *options)
{
    if (lua_type(L, -2) != LUA_TSTRING)
        luaL_argerror(L, argument, "options have names");
    const char *name = lua_tostring(L, -2);
    for (size_t i = 0; i < sizeof integer_options / sizeof integer_options[0]; i++) {
        if (strcmp(name, integer_options[i].name) == 0) {
            uint64_t value = integer_check(L, -1, argument, name, 1, LUA_MAXINTEGER);
            memcpy((char *)options + integer_options[i].offset, &value, sizeof value);
            return;
        }
    }
    if (strcmp(name, snapshot_option) == 0) {
        options->snapshot_log_bytes = integer_check(L, -1, argument, name, 0, LUA_MAXINTEGER);
        if (options->snapshot_log_bytes == 0)
            options->snapshot_log_bytes = TIDE_NO_SNAPSHOTS;
    } else if (strcmp(name, "sync") == 0) {
        options->sync = (enum tide_sync)(TIDE_SYNC_BATCH + choice_check(L, -1, argument, name, sync_names));
    } else if (strcmp(name, "durability") == 0) {
        options->durability =
            (enum tide_durability)(TIDE_ACCEPTED + choice_check(L, -1, argument, name, durability_names));
    } else if (strcmp(name, "retain") == 0) {
        retention_check(L, -1, argument, &options->retain, &options->retain_limit);
    } else if (strcmp(name, "read_only") == 0) {
        if (!lua_isboolean(L, -1))
            luaL_argerror(L, argument, "read_only: boolean expected");
        options->read_only = lua_toboolean(L, -1);
        options->read_write = !options->read_only;
    } else if (strcmp(name, "hash_chain") == 0) {
        if (!lua_isboolean(L, -1))
            luaL_argerror(L, argument, "hash_chain: boolean expected");
        options->hash_chain = lua_toboolean(L, -1);
        options->no_hash_chain = !options->hash_chain;
    } else {
        luaL_argerror(L, argument, lua_pushfstring(L, "unknown option '%s'", name));
    }
}

void options_check(lua_State *L, int argument, struct tide_options *options)
{
    struct tide_error error;
    *options = (struct tide_options){0};
    if (lua_isnoneornil(L, argument))
        return;
    luaL_checktype(L, argument, LUA_TTABLE);
    for (lua_pushnil(L); lua_next(L, argument); lua_pop(L, 1))
        option_take(L, argument, options);
    if (tide_options_check(options, &error) != TIDE_OK)
        luaL_argerror(L, argument, lua_pushstring(L, error.message));
}
