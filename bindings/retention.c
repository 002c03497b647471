/* retention.c - what the log is to keep, as scripts say it, and db:compact. */
#include "retention.h"

#include <string.h>

#include "long_call.h"
#include "module.h"

static const struct {
    const char *name;
    enum tide_retain retain;
} retentions[] = {{"events_per_document", TIDE_RETAIN_EVENTS_PER_DOCUMENT},
                  {"days", TIDE_RETAIN_DAYS},
                  {"log_bytes", TIDE_RETAIN_LOG_BYTES}};

static int retention_refuse(lua_State *L, int argument)
{
    return luaL_argerror(L, argument,
                         "retain: \"all\" or a table with one of events_per_document, days, log_bytes expected");
}

void retention_check(lua_State *L, int index, int argument, enum tide_retain *retain, uint64_t *limit)
{
    index = lua_absindex(L, index);
    *limit = 0;
    *retain = TIDE_RETAIN_ALL;
    if (lua_type(L, index) == LUA_TSTRING && strcmp(lua_tostring(L, index), "all") == 0)
        return;
    if (!lua_istable(L, index))
        retention_refuse(L, argument);
    *retain = TIDE_RETAIN_DEFAULT;
    for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1)) {
        const char *name = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "";
        bool known = false;
        for (size_t i = 0; i < sizeof retentions / sizeof retentions[0] && *retain == TIDE_RETAIN_DEFAULT; i++) {
            if (strcmp(name, retentions[i].name) != 0)
                continue;
            *limit = integer_check(L, -1, argument, name, 1, LUA_MAXINTEGER);
            *retain = retentions[i].retain;
            known = true;
        }
        if (!known)
            retention_refuse(L, argument);
    }
    if (*retain == TIDE_RETAIN_DEFAULT)
        retention_refuse(L, argument);
}

static void field_set(lua_State *L, const char *name, uint64_t value)
{
    lua_pushinteger(L, (lua_Integer)value);
    lua_setfield(L, -2, name);
}

void compaction_push(lua_State *L, const struct tide_compaction *result)
{
    lua_createtable(L, 0, 5);
    field_set(L, "segments", result->segments);
    field_set(L, "rewritten", result->rewritten);
    field_set(L, "removed", result->removed);
    field_set(L, "bytes_before", result->bytes_before);
    field_set(L, "bytes_after", result->bytes_after);
}

void compact_arguments(lua_State *L, struct tide_compact *compact)
{
    struct tide_options options = {0};
    struct tide_error error;
    *compact = (struct tide_compact){0};
    if (lua_isnoneornil(L, 2))
        return;
    retention_check(L, 2, 2, &compact->retain, &compact->limit);
    options.retain = compact->retain;
    options.retain_limit = compact->limit;
    if (tide_options_check(&options, &error) != TIDE_OK)
        luaL_argerror(L, 2, lua_pushstring(L, error.message));
}

struct compact_call {
    struct long_call call;
    struct tide_compact compact;
    struct tide_compaction result;
};

static void compact_work(struct long_call *call)
{
    struct compact_call *compact = (struct compact_call *)call;
    call->status = tide_compact(call->engine, &compact->compact, &compact->result, &call->error);
}

static int compact_push(lua_State *L, const struct long_call *call)
{
    compaction_push(L, &((const struct compact_call *)call)->result);
    return 1;
}

int database_compact(lua_State *L)
{
    const struct database *database = database_check(L, 1);
    struct tide_compact compact;
    compact_arguments(L, &compact);
    struct long_call *call =
        long_call_new(L, sizeof(struct compact_call), database->engine, compact_work, compact_push);
    ((struct compact_call *)call)->compact = compact;
    return long_call_run(L, call);
}
