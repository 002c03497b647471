/* backup.c - db:backup, and what the commands backup and restore call. */
#include "backup.h"

#include <stddef.h>
#include <string.h>

#include "long_call.h"
#include "module.h"

/* Who is told how far the copying is: the function at `index` of the stack, 0: nobody. An error in it is kept, its
 * message on the stack, and raised when the C call is over. */
struct listener {
    lua_State *L;
    int index;
    bool failed;
};

static void on_progress(void *context, uint64_t done, uint64_t total)
{
    struct listener *listener = context;
    if (listener->index == 0 || listener->failed)
        return;
    lua_pushvalue(listener->L, listener->index);
    lua_pushinteger(listener->L, (lua_Integer)done);
    lua_pushinteger(listener->L, (lua_Integer)total);
    listener->failed = lua_pcall(listener->L, 2, 0, 0) != LUA_OK;
}

static const char *path_check(lua_State *L, int index)
{
    const char *path = luaL_checkstring(L, index);
    luaL_argcheck(L, *path != 0, index, "path is empty");
    luaL_argcheck(L, strlen(path) == lua_rawlen(L, index), index, "path contains a zero byte");
    return path;
}

static struct listener listener_check(lua_State *L, int index)
{
    if (!lua_isnoneornil(L, index))
        luaL_checktype(L, index, LUA_TFUNCTION);
    lua_settop(L, index);
    luaL_checkstack(L, 20, NULL);
    return (struct listener){.L = L, .index = lua_isnil(L, index) ? 0 : index};
}

static void field(lua_State *L, const char *name, uint64_t value)
{
    lua_pushinteger(L, (lua_Integer)value);
    lua_setfield(L, -2, name);
}

static int backup_push(lua_State *L, const struct tide_backup_result *result)
{
    lua_createtable(L, 0, 6);
    field(L, "seq", result->seq);
    field(L, "time_us", result->time_us);
    field(L, "files", result->files);
    field(L, "bytes", result->bytes);
    field(L, "files_copied", result->files_copied);
    field(L, "bytes_copied", result->bytes_copied);
    return 1;
}

struct backup_call {
    struct long_call call;
    struct tide_backup_result result;
    char target[];
};

static void backup_work(struct long_call *call)
{
    struct backup_call *backup = (struct backup_call *)call;
    call->status = tide_backup(call->engine, backup->target, &backup->result, NULL, NULL, &call->error);
}

static int backup_call_push(lua_State *L, const struct long_call *call)
{
    return backup_push(L, &((const struct backup_call *)call)->result);
}

int database_backup(lua_State *L)
{
    const struct database *database = database_check(L, 1);
    const char *target = path_check(L, 2);
    size_t bytes = strlen(target) + 1;
    struct long_call *call =
        long_call_new(L, offsetof(struct backup_call, target) + bytes, database->engine, backup_work, backup_call_push);
    memcpy(((struct backup_call *)call)->target, target, bytes);
    return long_call_run(L, call);
}

int tools_backup(lua_State *L)
{
    const char *directory = path_check(L, 1), *target = path_check(L, 2);
    struct listener listener = listener_check(L, 3);
    struct tide_backup_result result;
    struct tide_error error;
    enum tide_status status = tide_backup_directory(directory, target, &result, on_progress, &listener, &error);
    if (listener.failed)
        return lua_error(L);
    return status == TIDE_OK ? backup_push(L, &result) : fail(L, &error);
}

int tools_restore(lua_State *L)
{
    const char *backup = path_check(L, 1), *directory = path_check(L, 2);
    struct tide_restore_options options = {0};
    if (!lua_isnoneornil(L, 3))
        options.to_seq = integer_check(L, 3, 3, "to_seq", 1, LUA_MAXINTEGER);
    if (!lua_isnoneornil(L, 4))
        options.to_time_us = integer_check(L, 4, 4, "to_time_us", 1, LUA_MAXINTEGER);
    struct listener listener = listener_check(L, 5);
    struct tide_restore_result result;
    struct tide_error error;
    enum tide_status status = tide_restore(backup, directory, &options, &result, on_progress, &listener, &error);
    if (listener.failed)
        return lua_error(L);
    if (status != TIDE_OK)
        return fail(L, &error);
    lua_createtable(L, 0, 5);
    field(L, "seq", result.seq);
    field(L, "last_time_us", result.last_time_us);
    field(L, "files", result.files);
    field(L, "bytes", result.bytes);
    luaL_Buffer hex;
    luaL_buffinit(L, &hex);
    for (size_t i = 0; i < sizeof result.database_id; i++) {
        luaL_addchar(&hex, "0123456789abcdef"[result.database_id[i] >> 4]);
        luaL_addchar(&hex, "0123456789abcdef"[result.database_id[i] & 15]);
    }
    luaL_pushresult(&hex);
    lua_setfield(L, -2, "database_id");
    return 1;
}
