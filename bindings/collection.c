/* collection.c - the handle of a collection: writing documents from tables and texts, and looking them up.
 *
 * A document comes in as a table, which is encoded, or as text, which is checked and freed of white space; either way
 * it ends in the state's buffer and goes to the engine from there. A read parses the block where it lies, within a read
 * section, into the parser's own tape; only then, outside of the section, are Lua values made from the tape. */
#include "module.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "lua_json.h"

struct collection *collection_check(lua_State *L, int index)
{
    struct collection *collection = userdata_check(L, index, COLLECTION_TYPE);
    if (!collection->database->engine)
        luaL_argerror(L, index, "the database is closed");
    return collection;
}

int collection_new(lua_State *L)
{
    struct database *database = database_check(L, 1);
    size_t length;
    const char *name = luaL_checklstring(L, 2, &length);
    struct tide_error error;
    struct tide_collection *found = tide_collection(database->engine, name, length, &error);
    if (!found && error.status == TIDE_MEMORY)
        return fail(L, &error);
    if (!found)
        return luaL_argerror(L, 2, lua_pushfstring(L, "name: %s", error.message));
    struct collection *collection = lua_newuserdatauv(L, sizeof *collection, 1);
    *collection = (struct collection){.database = database, .collection = found};
    luaL_setmetatable(L, COLLECTION_TYPE);
    lua_pushvalue(L, 1);
    lua_setiuservalue(L, -2, 1);
    return 1;
}

/* ---- Documents coming in ---- */

/* Puts the argument's text into `buffer`, behind `room` bytes. Returns NULL or what is invalid about it; raises for
 * what is no document at all. document->id points into the argument or the parser. */
static const char *document_take(lua_State *L, int argument, struct json_buffer *buffer, size_t room,
                                 struct document *document)
{
    struct scratch *scratch = &module_state(L)->scratch;
    if (lua_type(L, argument) == LUA_TSTRING) {
        size_t length;
        const char *text = lua_tolstring(L, argument, &length);
        return document_parse(scratch, text, length, false, buffer, room, document);
    }
    luaL_argexpected(L, lua_istable(L, argument), argument, "table or JSON text");
    json_buffer_reset(buffer);
    *document = (struct document){.start = room};
    if (!json_buffer_reserve(buffer, room + JSON_PADDING))
        return json_out_of_memory;
    buffer->length = room;
    lua_pushliteral(L, "id");
    int type = lua_rawget(L, argument);
    if (type == LUA_TSTRING)
        document->id = lua_tolstring(L, -1, &document->id_length);
    lua_pop(L, 1); /* the table still holds it */
    if (type != LUA_TSTRING && type != LUA_TNIL)
        return json_id_not_a_string;
    const char *fault = lua_json_encode(L, argument, buffer);
    if (!fault && buffer->bytes[room] != '{')
        return json_not_an_object;
    return fault;
}

static int fail_document(lua_State *L, const struct collection *collection, const char *id, const char *fault)
{
    if (fault == json_out_of_memory)
        return luaL_error(L, "not enough memory");
    const char *name = tide_collection_name(collection->collection);
    if (id)
        return fail_with(L, TIDE_INVALID, "%s/%s: %s", name, id, fault);
    return fail_with(L, TIDE_INVALID, "%s: %s", name, fault);
}

/* ---- Writing ----
 *
 * Each write is an attempt: it reads the arguments, tries, and pushes its results. Where the calling coroutine may be
 * parked (park.h) the engine is told not to wait: without room the attempt is made again, from the arguments, when
 * there is some; a write that is to be durable has its results pushed and yields on top of them until it is. */

struct attempt {
    struct tide_write write;
    struct tide_written written;
    struct tide_error error;
    enum tide_status status;
    bool written_to, parks, durable; /* written_to: the engine was asked; durable: it is to be waited for here */
    uint64_t timeout_ms;
};

/* Reads arguments 2.., calls attempt_write, pushes results; returns their number. */
typedef int attempt_function(lua_State *L, struct collection *collection, struct attempt *attempt);

static void write_options(lua_State *L, int argument, struct tide_write *write)
{
    static const char *const durability_names[] = {"accepted", "durable", NULL};
    write->if_version = TIDE_ANY_VERSION;
    if (lua_isnoneornil(L, argument))
        return;
    luaL_checktype(L, argument, LUA_TTABLE);
    for (lua_pushnil(L); lua_next(L, argument); lua_pop(L, 1)) {
        const char *name = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "";
        if (strcmp(name, "if_version") == 0) {
            lua_Integer max = write->operation == TIDE_CREATE ? 0 : LUA_MAXINTEGER;
            write->if_version = integer_check(L, -1, argument, name, 0, max);
        } else if (strcmp(name, "durability") == 0) {
            write->durability =
                (enum tide_durability)(TIDE_ACCEPTED + choice_check(L, -1, argument, name, durability_names));
        } else if (strcmp(name, "timeout_ms") == 0) {
            uint64_t timeout_ms = integer_check(L, -1, argument, name, 0, TIDE_MILLISECONDS_MAX);
            write->timeout_ms = timeout_ms ? timeout_ms : 1; /* in C, 0 means the engine's */
        } else {
            luaL_argerror(L, argument, lua_pushfstring(L, "unknown option '%s'", luaL_tolstring(L, -2, NULL)));
        }
    }
}

/* Writes attempt->write, or with `scratch` merges scratch->patch into it. True: push results. */
static bool attempt_write(struct attempt *attempt, struct tide_collection *collection, struct scratch *merge)
{
    if (attempt->parks) {
        const struct tide_options *options = tide_options_in_force(tide_collection_engine(collection));
        struct tide_write *write = &attempt->write;
        attempt->durable = (write->durability ? write->durability : options->durability) == TIDE_DURABLE;
        attempt->timeout_ms = write->timeout_ms ? write->timeout_ms : options->timeout_ms;
        write->durability = TIDE_ACCEPTED;
        write->timeout_ms = TIDE_NO_WAIT;
    }
    attempt->written_to = true;
    if (merge)
        attempt->status = document_update(merge, collection, &attempt->write, &attempt->written, &attempt->error);
    else
        attempt->status = tide_write(collection, &attempt->write, &attempt->written, &attempt->error);
    return attempt->status == TIDE_OK;
}

/* A failed write: nil, message, code, and the version where the write was accepted all the same. */
static int write_failed(lua_State *L, const struct tide_error *error, uint64_t version)
{
    int results = fail(L, error);
    if (version == 0)
        return results;
    lua_pushinteger(L, (lua_Integer)version);
    return results + 1;
}

/* Resumed after the write became durable, or didn't: its results are on top, ctx of them, `created` behind the version.
 */
static int durable_done(lua_State *L, int status, lua_KContext results)
{
    (void)status;
    struct parker *parker = module_state(L)->parker;
    struct tide_error error;
    if (parker->outcome(parker, L, &error) == TIDE_OK)
        return (int)results;
    int version = lua_isboolean(L, -1) ? -2 : -1;
    return write_failed(L, &error, (uint64_t)lua_tointeger(L, version));
}

static int write_run(lua_State *L, attempt_function *function, lua_KFunction again, uint64_t deadline_us)
{
    struct collection *collection = collection_check(L, 1);
    struct attempt attempt = {.parks = may_park(L, collection->database->engine)};
    struct parker *parker = module_state(L)->parker;
    int arguments = lua_gettop(L);
    int results = function(L, collection, &attempt);
    if (!attempt.written_to)
        return results; /* invalid */
    if (attempt.parks && attempt.status == TIDE_BUSY) {
        if (deadline_us == 0)
            deadline_us = park_deadline_us(attempt.timeout_ms);
        if (park_now_us() < deadline_us) {
            lua_settop(L, arguments);
            parker->park(parker, L, 0, deadline_us);
            return lua_yieldk(L, 0, (lua_KContext)deadline_us, again);
        }
    }
    if (attempt.status != TIDE_OK)
        return write_failed(L, &attempt.error, attempt.written.version);
    if (!attempt.durable)
        return results;
    parker->park(parker, L, attempt.written.version, park_deadline_us(attempt.timeout_ms));
    return lua_yieldk(L, 0, results, durable_done);
}

/* collection_X runs attempt X; X_again makes it again, ctx is the deadline. */
#define WRITE_FUNCTION(name)                                                                                           \
    static int name##_again(lua_State *L, int status, lua_KContext deadline_us)                                        \
    {                                                                                                                  \
        (void)status;                                                                                                  \
        return write_run(L, name##_attempt, name##_again, (uint64_t)deadline_us);                                      \
    }                                                                                                                  \
    static int collection_##name(lua_State *L)                                                                         \
    {                                                                                                                  \
        return write_run(L, name##_attempt, name##_again, 0);                                                          \
    }

static int create_attempt(lua_State *L, struct collection *collection, struct attempt *attempt)
{
    struct json_buffer *buffer = &module_state(L)->scratch.document;
    struct tide_write *write = &attempt->write;
    struct document document;
    char uuid[37];
    write->operation = TIDE_CREATE;
    write_options(L, 3, write);
    const char *fault = document_take(L, 2, buffer, DOCUMENT_UUID_ROOM, &document);
    if (fault)
        return fail_document(L, collection, NULL, fault);
    bool in_table = document.id && lua_istable(L, 2);
    if (!document.id) {
        tide_uuid(uuid);
        document_add_id(buffer, &document, uuid, 36);
    }
    write->id = document.id;
    write->id_length = document.id_length;
    write->value = buffer->bytes + document.start;
    write->value_length = buffer->length - document.start;
    if (!attempt_write(attempt, collection->collection, NULL))
        return 0;
    if (in_table) { /* there it is a Lua string already, and isn't looked up among all of them */
        lua_pushliteral(L, "id");
        lua_rawget(L, 2);
    } else {
        lua_pushlstring(L, document.id, document.id_length);
    }
    lua_pushinteger(L, (lua_Integer)attempt->written.version);
    return 2;
}
WRITE_FUNCTION(create)

static int put_attempt(lua_State *L, struct collection *collection, struct attempt *attempt)
{
    struct json_buffer *buffer = &module_state(L)->scratch.document;
    struct tide_write *write = &attempt->write;
    struct document document;
    write->operation = TIDE_PUT;
    write_options(L, 3, write);
    const char *fault = document_take(L, 2, buffer, 0, &document);
    if (!fault && !document.id)
        fault = "the document has no id";
    if (fault)
        return fail_document(L, collection, NULL, fault);
    write->id = document.id;
    write->id_length = document.id_length;
    write->value = buffer->bytes;
    write->value_length = buffer->length;
    if (!attempt_write(attempt, collection->collection, NULL))
        return 0;
    lua_pushinteger(L, (lua_Integer)attempt->written.version);
    lua_pushboolean(L, attempt->written.created);
    return 2;
}
WRITE_FUNCTION(put)

static int delete_attempt(lua_State *L, struct collection *collection, struct attempt *attempt)
{
    struct tide_write *write = &attempt->write;
    write->operation = TIDE_DELETE;
    write->id = luaL_checklstring(L, 2, &write->id_length);
    write_options(L, 3, write);
    if (!attempt_write(attempt, collection->collection, NULL))
        return 0;
    lua_pushinteger(L, (lua_Integer)attempt->written.version);
    return 1;
}
WRITE_FUNCTION(delete)

static int update_attempt(lua_State *L, struct collection *collection, struct attempt *attempt)
{
    struct scratch *scratch = &module_state(L)->scratch;
    struct tide_write *write = &attempt->write;
    struct document patch;
    write->operation = TIDE_REPLACE;
    write->id = luaL_checklstring(L, 2, &write->id_length);
    write_options(L, 4, write);
    const char *fault = document_take(L, 3, &scratch->patch, 0, &patch);
    if (!fault && patch.id &&
        (patch.id_length != write->id_length || memcmp(patch.id, write->id, patch.id_length) != 0))
        fault = "the patch changes the id";
    if (fault)
        return fail_document(L, collection, write->id, fault);
    if (!attempt_write(attempt, collection->collection, scratch))
        return 0;
    lua_pushinteger(L, (lua_Integer)attempt->written.version);
    return 1;
}
WRITE_FUNCTION(update)

/* ---- Reading ---- */

static int fail_stored(lua_State *L, const char *fault)
{
    if (fault == json_out_of_memory)
        return luaL_error(L, "not enough memory");
    return luaL_error(L, "a stored document is not JSON: %s", fault);
}

static int collection_get(lua_State *L)
{
    struct collection *collection = collection_check(L, 1);
    struct module_state *state = module_state(L);
    size_t id_length;
    const char *id = luaL_checklstring(L, 2, &id_length);
    struct tide_view view;
    struct json_tape tape;
    const char *fault = NULL;
    tide_read_begin(collection->database->engine);
    enum tide_status status = tide_get(collection->collection, id, id_length, &view);
    if (status == TIDE_OK)
        fault = json_parse(state->scratch.parser, view.value, view.value_length, true, &tape);
    tide_read_end(collection->database->engine);
    if (status != TIDE_OK) {
        lua_pushnil(L);
        return 1;
    }
    if (fault)
        return fail_stored(L, fault);
    lua_json_push(L, &tape);
    lua_pushinteger(L, (lua_Integer)view.version);
    return 2;
}

static int collection_get_json(lua_State *L)
{
    struct collection *collection = collection_check(L, 1);
    struct module_state *state = module_state(L);
    size_t id_length;
    const char *id = luaL_checklstring(L, 2, &id_length);
    uint64_t version;
    enum tide_status status = document_copy(collection->collection, id, id_length, &state->scratch.current, &version);
    if (status == TIDE_MEMORY)
        return luaL_error(L, "not enough memory");
    if (status != TIDE_OK) {
        lua_pushnil(L);
        return 1;
    }
    lua_pushlstring(L, state->scratch.current.bytes, state->scratch.current.length);
    lua_pushinteger(L, (lua_Integer)version);
    return 2;
}

enum { MANY_AT_ONCE = 16 };

/* Copies up to MANY_AT_ONCE documents, of ids[first..], behind each other into state->scratch.current. */
static size_t many_copy(struct module_state *state, struct collection *collection, const struct tide_key *keys,
                        size_t count, size_t lengths[])
{
    struct tide_view views[MANY_AT_ONCE];
    bool copied = true;
    json_buffer_reset(&state->scratch.current);
    tide_read_begin(collection->database->engine);
    tide_get_many(collection->collection, keys, count, SIZE_MAX, views);
    for (size_t i = 0; i < count && copied; i++) {
        lengths[i] = views[i].value ? views[i].value_length : 0;
        if (views[i].value)
            copied = json_buffer_append(&state->scratch.current, views[i].value, views[i].value_length);
    }
    tide_read_end(collection->database->engine);
    return copied && json_buffer_reserve(&state->scratch.current, JSON_PADDING);
}

static int collection_get_many(lua_State *L)
{
    struct collection *collection = collection_check(L, 1);
    struct module_state *state = module_state(L);
    luaL_checktype(L, 2, LUA_TTABLE);
    lua_Integer total = (lua_Integer)lua_rawlen(L, 2);
    lua_createtable(L, total < INT_MAX ? (int)total : INT_MAX, 0);
    for (lua_Integer first = 1; first <= total; first += MANY_AT_ONCE) {
        struct tide_key keys[MANY_AT_ONCE];
        size_t lengths[MANY_AT_ONCE];
        size_t count = total - first + 1 < MANY_AT_ONCE ? (size_t)(total - first + 1) : MANY_AT_ONCE;
        for (size_t i = 0; i < count; i++) {
            if (lua_rawgeti(L, 2, first + (lua_Integer)i) != LUA_TSTRING)
                return luaL_argerror(L, 2,
                                     lua_pushfstring(L, "ids[%I]: string expected, got %s", first + (lua_Integer)i,
                                                     luaL_typename(L, -1)));
            keys[i].id = lua_tolstring(L, -1, &keys[i].id_length);
            lua_pop(L, 1); /* the array still holds it */
        }
        if (!many_copy(state, collection, keys, count, lengths))
            return luaL_error(L, "not enough memory");
        const char *text = state->scratch.current.bytes;
        for (size_t i = 0; i < count; i++) {
            struct json_tape tape;
            if (lengths[i] == 0) {
                lua_pushboolean(L, 0);
            } else {
                const char *fault = json_parse(state->scratch.parser, text, lengths[i], true, &tape);
                if (fault)
                    return fail_stored(L, fault);
                lua_json_push(L, &tape);
                text += lengths[i];
            }
            lua_rawseti(L, 3, first + (lua_Integer)i);
        }
    }
    return 1;
}

static int collection_has(lua_State *L)
{
    struct collection *collection = collection_check(L, 1);
    size_t id_length;
    const char *id = luaL_checklstring(L, 2, &id_length);
    struct tide_view view;
    tide_read_begin(collection->database->engine);
    enum tide_status status = tide_get(collection->collection, id, id_length, &view);
    tide_read_end(collection->database->engine);
    lua_pushboolean(L, status == TIDE_OK);
    return 1;
}

static int collection_count(lua_State *L)
{
    lua_pushinteger(L, (lua_Integer)tide_count(collection_check(L, 1)->collection));
    return 1;
}

static int collection_tostring(lua_State *L)
{
    struct collection *collection = luaL_checkudata(L, 1, COLLECTION_TYPE);
    if (collection->database->engine)
        lua_pushfstring(L, "tidemark.collection (%s)", tide_collection_name(collection->collection));
    else
        lua_pushliteral(L, "tidemark.collection (closed)");
    return 1;
}

/* c.name, and the methods, which are in the metatable itself. */
static int collection_index(lua_State *L)
{
    const char *key = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "";
    if (strcmp(key, "name") == 0) {
        lua_pushstring(L, tide_collection_name(collection_check(L, 1)->collection));
        return 1;
    }
    lua_settop(L, 2);
    lua_rawget(L, lua_upvalueindex(2));
    return 1;
}

void collection_register(lua_State *L)
{
    static const luaL_Reg functions[] = {{"create", collection_create},
                                         {"put", collection_put},
                                         {"update", collection_update},
                                         {"delete", collection_delete},
                                         {"get", collection_get},
                                         {"get_json", collection_get_json},
                                         {"get_many", collection_get_many},
                                         {"has", collection_has},
                                         {"count", collection_count},
                                         {"each", collection_each},
                                         {"__len", collection_count},
                                         {"__tostring", collection_tostring},
                                         {NULL, NULL}};
    metatable_register(L, COLLECTION_TYPE, functions);
    luaL_getmetatable(L, COLLECTION_TYPE);
    lua_pushvalue(L, -2);
    lua_pushvalue(L, -2);
    lua_pushcclosure(L, collection_index, 2);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
}
