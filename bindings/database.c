/* database.c - the handle of an open database: watermarks, figures, closing. */
#include "long_call.h"
#include "module.h"
#include "retention.h"

#include "backup.h"

struct database *database_check(lua_State *L, int index)
{
    struct database *database = userdata_check(L, index, DATABASE_TYPE);
    if (!database->engine)
        luaL_argerror(L, index, "the database is closed");
    return database;
}

static int database_close(lua_State *L)
{
    struct database *database = luaL_checkudata(L, 1, DATABASE_TYPE);
    struct tide_engine *engine = database->engine;
    struct tide_error error;
    if (engine) {
        events_close_all(database);
        database->engine = NULL;
        if (tide_close(engine, &error) != TIDE_OK)
            return fail(L, &error);
    }
    lua_pushboolean(L, 1);
    return 1;
}

/* For the collector, a to-be-closed variable and lua_close, where nobody looks at results and nothing may be raised. */
static int database_finish(lua_State *L)
{
    struct database *database = luaL_checkudata(L, 1, DATABASE_TYPE);
    if (database->engine) {
        events_close_all(database);
        tide_close(database->engine, NULL);
        database->engine = NULL;
    }
    return 0;
}

static int database_tostring(lua_State *L)
{
    struct database *database = luaL_checkudata(L, 1, DATABASE_TYPE);
    if (database->engine)
        lua_pushfstring(L, "tidemark.database (%s)", tide_path(database->engine));
    else
        lua_pushliteral(L, "tidemark.database (closed)");
    return 1;
}

/* Resumed (park.h) when what flush or wait waits for is durable, or the time is over. is_flush: give the watermark. */
static int durable_reached(lua_State *L, int status, lua_KContext is_flush)
{
    (void)status;
    struct parker *parker = module_state(L)->parker;
    struct database *database = database_check(L, 1);
    struct tide_error error;
    if (parker->outcome(parker, L, &error) != TIDE_OK)
        return fail(L, &error);
    struct tide_watermarks watermarks;
    tide_watermarks(database->engine, &watermarks);
    if (is_flush)
        lua_pushinteger(L, (lua_Integer)watermarks.durable);
    else
        lua_pushboolean(L, 1);
    return 1;
}

static int database_flush(lua_State *L)
{
    struct database *database = database_check(L, 1);
    uint64_t timeout_ms = timeout_optional(L, 2, TIDE_NO_TIMEOUT);
    uint64_t durable;
    struct tide_error error;
    bool parks = may_park(L, database->engine);
    enum tide_status status = tide_flush(database->engine, parks ? TIDE_NO_WAIT : timeout_ms, &durable, &error);
    if (parks && status == TIDE_TIMEOUT) {
        struct parker *parker = module_state(L)->parker;
        struct tide_watermarks watermarks;
        tide_watermarks(database->engine, &watermarks);
        lua_settop(L, 1);
        parker->park(parker, L, watermarks.accepted, park_deadline_us(timeout_ms));
        return lua_yieldk(L, 0, 1, durable_reached);
    }
    if (status != TIDE_OK)
        return fail(L, &error);
    lua_pushinteger(L, (lua_Integer)durable);
    return 1;
}

static int database_wait(lua_State *L)
{
    static const char *const levels[] = {"durable", "written", NULL};
    struct database *database = database_check(L, 1);
    uint64_t seq = integer_check(L, 2, 2, "seq", 0, LUA_MAXINTEGER);
    enum tide_level level =
        lua_isnoneornil(L, 3) ? TIDE_LEVEL_DURABLE : (enum tide_level)choice_check(L, 3, 3, "level", levels);
    uint64_t timeout_ms = timeout_optional(L, 4, TIDE_NO_TIMEOUT);
    struct tide_error error;
    bool parks = level == TIDE_LEVEL_DURABLE && may_park(L, database->engine); /* written is there in a moment */
    enum tide_status status = tide_wait(database->engine, seq, level, parks ? TIDE_NO_WAIT : timeout_ms, &error);
    if (parks && status == TIDE_TIMEOUT) {
        struct parker *parker = module_state(L)->parker;
        lua_settop(L, 1);
        parker->park(parker, L, seq, park_deadline_us(timeout_ms));
        return lua_yieldk(L, 0, 0, durable_reached);
    }
    if (status != TIDE_OK)
        return fail(L, &error);
    lua_pushboolean(L, 1);
    return 1;
}

struct snapshot_call {
    struct long_call call;
    struct tide_snapshot made;
};

static void snapshot_work(struct long_call *call)
{
    struct snapshot_call *snapshot = (struct snapshot_call *)call;
    call->status = tide_snapshot(call->engine, &snapshot->made, &call->error);
}

static int snapshot_push(lua_State *L, const struct long_call *call)
{
    lua_pushinteger(L, (lua_Integer)((const struct snapshot_call *)call)->made.seq);
    return 1;
}

static int database_snapshot(lua_State *L)
{
    const struct database *database = database_check(L, 1);
    return long_call_run(
        L, long_call_new(L, sizeof(struct snapshot_call), database->engine, snapshot_work, snapshot_push));
}

static void field_set(lua_State *L, const char *name, uint64_t value)
{
    lua_pushinteger(L, (lua_Integer)value);
    lua_setfield(L, -2, name);
}

static int database_watermarks(lua_State *L)
{
    struct database *database = database_check(L, 1);
    struct tide_watermarks watermarks;
    tide_watermarks(database->engine, &watermarks);
    lua_createtable(L, 0, 3);
    field_set(L, "accepted", watermarks.accepted);
    field_set(L, "written", watermarks.written);
    field_set(L, "durable", watermarks.durable);
    return 1;
}

static int database_stats(lua_State *L)
{
    struct database *database = database_check(L, 1);
    struct tide_stats stats;
    tide_stats(database->engine, &stats);
    lua_createtable(L, 0, 32);
#define X(name, meaning) field_set(L, #name, stats.name);
    TIDE_STATS_MAP(X)
#undef X
    return 1;
}

/* chain_head(): the newest hash in hex, and the seq up to which it vouches; nil without a chain. */
static int database_chain_head(lua_State *L)
{
    struct database *database = database_check(L, 1);
    struct tide_chain_head head;
    struct tide_error error;
    char hex[2 * TIDE_HASH_BYTES];
    if (tide_chain_head(database->engine, &head, &error) != TIDE_OK) {
        lua_pushnil(L);
        return 1;
    }
    for (size_t i = 0; i < TIDE_HASH_BYTES; i++) {
        hex[2 * i] = "0123456789abcdef"[head.hash[i] >> 4];
        hex[2 * i + 1] = "0123456789abcdef"[head.hash[i] & 15];
    }
    lua_pushlstring(L, hex, sizeof hex);
    lua_pushinteger(L, (lua_Integer)head.seq);
    return 2;
}

void database_register(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"collection", collection_new}, {"close", database_close},           {"flush", database_flush},
        {"wait", database_wait},        {"watermarks", database_watermarks}, {"events", database_events},
        {"stats", database_stats},      {"snapshot", database_snapshot},     {"backup", database_backup},
        {"compact", database_compact},  {"chain_head", database_chain_head}, {"__gc", database_finish},
        {"__close", database_finish},   {"__tostring", database_tostring},   {NULL, NULL}};
    metatable_register(L, DATABASE_TYPE, functions);
}
