/* tools.c - the module "tidemark.tools" of the command: checking and mending a directory, and the terminal. */
#include "tools.h"

#include <lauxlib.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "backup.h"
#include "lua_json.h"
#include "module.h"
#include "options.h"
#include "retention.h"

/* Arguments 2 and 3 are functions. An error in one of them is kept and raised when the C call is over. */
struct callbacks {
    lua_State *L;
    bool failed; /* its message is on the stack */
};

static void field(lua_State *L, const char *name, uint64_t value)
{
    lua_pushinteger(L, (lua_Integer)value);
    lua_setfield(L, -2, name);
}

static void call(struct callbacks *callbacks, int arguments)
{
    if (lua_pcall(callbacks->L, arguments, 0, 0) != LUA_OK)
        callbacks->failed = true;
}

static int push_finding(lua_State *L)
{
    const struct tide_finding *finding = lua_touserdata(L, 1);
    lua_createtable(L, 0, 7);
    lua_pushstring(L, finding->kind);
    lua_setfield(L, -2, "kind");
    lua_pushstring(L, finding->file);
    lua_setfield(L, -2, "file");
    lua_pushstring(L, finding->message);
    lua_setfield(L, -2, "message");
    field(L, "offset", finding->offset);
    field(L, "bytes", finding->bytes);
    field(L, "first_seq", finding->first_seq);
    field(L, "last_seq", finding->last_seq);
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, -2);
    lua_call(L, 1, 0);
    return 0;
}

static void on_finding(void *context, const struct tide_finding *finding)
{
    struct callbacks *callbacks = context;
    if (callbacks->failed)
        return;
    lua_pushvalue(callbacks->L, 2);
    lua_pushcclosure(callbacks->L, push_finding, 1);
    lua_pushlightuserdata(callbacks->L, (void *)finding);
    call(callbacks, 1);
}

static void on_progress(void *context, uint64_t done, uint64_t total)
{
    struct callbacks *callbacks = context;
    if (callbacks->failed)
        return;
    lua_pushvalue(callbacks->L, 3);
    lua_pushinteger(callbacks->L, (lua_Integer)done);
    lua_pushinteger(callbacks->L, (lua_Integer)total);
    call(callbacks, 2);
}

/* Sets a field of the table on top to the bytes in hex. */
static void hex_field(lua_State *L, const char *name, const uint8_t *bytes, size_t count)
{
    luaL_Buffer hex;
    luaL_buffinit(L, &hex);
    for (size_t i = 0; i < count; i++) {
        luaL_addchar(&hex, "0123456789abcdef"[bytes[i] >> 4]);
        luaL_addchar(&hex, "0123456789abcdef"[bytes[i] & 15]);
    }
    luaL_pushresult(&hex);
    lua_setfield(L, -2, name);
}

/* The fields of a report that are uint64_t. */
static const struct {
    const char *name;
    size_t offset;
} report_fields[] = {
#define FIELD(name)                                                                                                    \
    {                                                                                                                  \
#name, offsetof(struct tide_report, name)                                                                      \
    }
    FIELD(segments),          FIELD(frames),           FIELD(events),
    FIELD(first_seq),         FIELD(last_seq),         FIELD(log_bytes),
    FIELD(first_time_us),     FIELD(last_time_us),     FIELD(created),
    FIELD(updated),           FIELD(deleted),          FIELD(damages),
    FIELD(missing_events),    FIELD(torn_bytes),       FIELD(torn_offset),
    FIELD(torn_seq),          FIELD(removed_bytes),    FIELD(snapshots),
    FIELD(snapshots_bad),     FIELD(compacted_events), FIELD(chain_breaks),
    FIELD(chain_vouched_seq),
#undef FIELD
};

typedef enum tide_status check_function(const char *, struct tide_report *, tide_finding_function *,
                                        tide_progress_function *, void *, struct tide_error *);

static int check(lua_State *L, check_function *function)
{
    const char *path = luaL_checkstring(L, 1);
    luaL_checktype(L, 2, LUA_TFUNCTION);
    luaL_checktype(L, 3, LUA_TFUNCTION);
    lua_settop(L, 4);
    luaL_checkstack(L, 20, NULL);
    struct callbacks callbacks = {.L = L};
    struct tide_report report;
    struct tide_error error;
    size_t length;
    const char *head = lua_type(L, 4) == LUA_TSTRING ? lua_tolstring(L, 4, &length) : NULL;
    luaL_argcheck(L, !head || length == TIDE_HASH_BYTES, 4, "a hash of 32 bytes expected");
    enum tide_status status =
        function == tide_verify && lua_toboolean(L, 4)
            ? tide_verify_chain(path, (const uint8_t *)head, &report, on_finding, on_progress, &callbacks, &error)
            : function(path, &report, on_finding, on_progress, &callbacks, &error);
    if (callbacks.failed)
        return lua_error(L);
    if (status != TIDE_OK)
        return fail(L, &error);
    lua_createtable(L, 0, 24);
    for (size_t i = 0; i < sizeof report_fields / sizeof report_fields[0]; i++) {
        uint64_t value;
        memcpy(&value, (const char *)&report + report_fields[i].offset, sizeof value);
        field(L, report_fields[i].name, value);
    }
    field(L, "format_version", report.format_version);
    field(L, "backup_seq", report.backup_seq);
    field(L, "backup_time_us", report.backup_time_us);
    lua_pushboolean(L, report.torn);
    lua_setfield(L, -2, "torn");
    lua_pushboolean(L, report.clean_close);
    lua_setfield(L, -2, "clean_close");
    lua_pushboolean(L, report.in_use);
    lua_setfield(L, -2, "in_use");
    lua_pushboolean(L, report.backup);
    lua_setfield(L, -2, "backup");
    lua_pushboolean(L, report.incomplete);
    lua_setfield(L, -2, "incomplete");
    lua_pushstring(L, report.removed_file);
    lua_setfield(L, -2, "removed_file");
    hex_field(L, "database_id", report.database_id, sizeof report.database_id);
    if (report.chained) {
        hex_field(L, "chain_head", report.chain.hash, sizeof report.chain.hash);
        field(L, "chain_first_seq", report.chain.first_seq);
        field(L, "chain_seq", report.chain.seq);
    }
    lua_pushboolean(L, report.chain_vouched);
    lua_setfield(L, -2, "chain_vouched");
    return 1;
}

/* verify(path, finding, progress [, chain]); chain: true, or the 32 bytes of a hash that was kept elsewhere. */
static int tools_verify(lua_State *L)
{
    return check(L, tide_verify);
}

static int tools_repair(lua_State *L)
{
    return check(L, tide_repair);
}

static void snapshot_visit(void *context, const struct tide_snapshot_file *file)
{
    lua_State *L = context;
    lua_createtable(L, 0, 6);
    lua_pushstring(L, file->name);
    lua_setfield(L, -2, "file");
    field(L, "seq", file->seq);
    field(L, "documents", file->records);
    field(L, "bytes", file->bytes);
    field(L, "created_us", file->created_us);
    lua_pushstring(L, file->fault); /* nil where there is none */
    lua_setfield(L, -2, "fault");
    lua_rawseti(L, -2, (lua_Integer)lua_rawlen(L, -2) + 1);
}

/* snapshots(path): those of a directory, the newest first, each a table; nil, message, code. */
static int tools_snapshots(lua_State *L)
{
    const char *path = luaL_checkstring(L, 1);
    struct tide_error error;
    lua_newtable(L);
    if (tide_snapshots(path, false, snapshot_visit, L, &error) != TIDE_OK)
        return fail(L, &error);
    return 1;
}

/* compact(db, retain, progress): db:compact(retain), which calls progress(done, total). */
static int tools_compact(lua_State *L)
{
    struct database *database = database_check(L, 1);
    struct callbacks callbacks = {.L = L};
    struct tide_compact compact;
    struct tide_compaction result;
    struct tide_error error;
    luaL_checktype(L, 3, LUA_TFUNCTION);
    lua_settop(L, 3);
    luaL_checkstack(L, 20, NULL);
    compact_arguments(L, &compact);
    compact.progress = on_progress;
    compact.context = &callbacks;
    enum tide_status status = tide_compact(database->engine, &compact, &result, &error);
    if (callbacks.failed)
        return lua_error(L);
    if (status != TIDE_OK)
        return fail(L, &error);
    compaction_push(L, &result);
    return 1;
}

static int tools_isatty(lua_State *L)
{
    lua_pushboolean(L, isatty((int)luaL_checkinteger(L, 1)));
    return 1;
}

static int tools_monotonic(lua_State *L)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    lua_pushnumber(L, (lua_Number)now.tv_sec + (lua_Number)now.tv_nsec / 1e9);
    return 1;
}

static int tools_columns(lua_State *L)
{
    struct winsize size;
    lua_pushinteger(L, ioctl(2, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80);
    return 1;
}

/* decode(text): the JSON text as a Lua value; nil, message. */
static int tools_decode(lua_State *L)
{
    size_t length;
    const char *text = luaL_checklstring(L, 1, &length);
    struct json_parser **parser = lua_touserdata(L, lua_upvalueindex(1));
    struct json_tape tape;
    const char *fault = json_parse(*parser, text, length, false, &tape);
    if (fault) {
        lua_pushnil(L);
        lua_pushstring(L, fault);
        return 2;
    }
    lua_json_push(L, &tape);
    return 1;
}

static int parser_collect(lua_State *L)
{
    struct json_parser **parser = lua_touserdata(L, 1);
    if (*parser)
        json_parser_destroy(*parser);
    *parser = NULL;
    return 0;
}

static bool collection_visit(void *context, struct tide_collection *collection)
{
    lua_State *L = context;
    lua_pushstring(L, tide_collection_name(collection));
    lua_rawseti(L, -2, (lua_Integer)lua_rawlen(L, -2) + 1);
    return true;
}

/* collections(db): the names of the collections used so far. */
static int tools_collections(lua_State *L)
{
    struct database *database = database_check(L, 1);
    lua_newtable(L);
    tide_collections(database->engine, collection_visit, L);
    return 1;
}

/* Raises when tidemark.open would for these options: for who does something before it opens. */
static int tools_check_options(lua_State *L)
{
    struct tide_options options;
    options_check(L, 1, &options);
    return 0;
}

int luaopen_tidemark_tools(lua_State *L)
{
    static const luaL_Reg functions[] = {{"verify", tools_verify},
                                         {"repair", tools_repair},
                                         {"compact", tools_compact},
                                         {"backup", tools_backup},
                                         {"restore", tools_restore},
                                         {"snapshots", tools_snapshots},
                                         {"isatty", tools_isatty},
                                         {"monotonic", tools_monotonic},
                                         {"columns", tools_columns},
                                         {"collections", tools_collections},
                                         {"check_options", tools_check_options},
                                         {NULL, NULL}};
    luaL_newlib(L, functions);
    struct json_parser **parser = lua_newuserdatauv(L, sizeof *parser, 0);
    *parser = NULL;
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, parser_collect);
    lua_setfield(L, -2, "__gc");
    lua_setmetatable(L, -2);
    *parser = json_parser_create();
    if (!*parser)
        return luaL_error(L, "not enough memory");
    lua_pushcclosure(L, tools_decode, 1);
    lua_setfield(L, -2, "decode");
    return 1;
}
