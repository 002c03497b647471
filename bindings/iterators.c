/* iterators.c - the two iterators of the generic `for`: documents of a collection, and events of the log.
 *
 * Both are userdata that hold what they need and give it back when the loop ends (they are the loop's closing value),
 * when they are collected, or, the events, when their database is closed. Neither keeps a read section open between two
 * steps: documents are copied out a batch at a time. */
#include "module.h"

#include <string.h>

#include "lua_json.h"

/* ---- c:each([prefix]) ---- */

enum { SCAN_AT_ONCE = 64, SCAN_BYTES_MANY = 1 << 20 };

struct scanned {
    size_t id_start, id_length, value_length; /* in the buffer, the value behind the id */
    uint64_t version;
};

/* User value 1 is the collection, 2 the prefix. */
struct scan {
    struct collection *collection;
    struct tide_cursor cursor;
    struct json_buffer buffer; /* the batch that is being handed out */
    size_t count, next;
    bool json, closed;
    struct scanned documents[SCAN_AT_ONCE];
};

static int scan_close(lua_State *L)
{
    struct scan *scan = userdata_check(L, 1, SCAN_TYPE);
    json_buffer_free(&scan->buffer);
    scan->count = scan->next = 0;
    scan->closed = true;
    return 0;
}

/* Copies the next batch out of the map; false when memory is out. */
static bool scan_fill(struct scan *scan, const char *prefix, size_t prefix_length)
{
    struct tide_view views[SCAN_AT_ONCE];
    /* After a batch of large documents, one at a time. */
    size_t capacity = scan->buffer.length > SCAN_BYTES_MANY ? 1 : SCAN_AT_ONCE;
    struct tide_engine *engine = scan->collection->database->engine;
    bool copied = true;
    json_buffer_reset(&scan->buffer);
    scan->count = scan->next = 0;
    tide_read_begin(engine);
    size_t count = tide_scan(scan->collection->collection, &scan->cursor, views, capacity);
    for (size_t i = 0; i < count && copied; i++) {
        const struct tide_view *view = &views[i];
        if (view->id_length < prefix_length || memcmp(view->id, prefix, prefix_length) != 0)
            continue;
        scan->documents[scan->count++] = (struct scanned){.id_start = scan->buffer.length,
                                                          .id_length = view->id_length,
                                                          .value_length = view->value_length,
                                                          .version = view->version};
        copied = json_buffer_append(&scan->buffer, view->id, view->id_length) &&
                 json_buffer_append(&scan->buffer, view->value, view->value_length);
    }
    tide_read_end(engine);
    return copied && json_buffer_reserve(&scan->buffer, JSON_PADDING);
}

static int scan_next(lua_State *L)
{
    struct scan *scan = userdata_check(L, 1, SCAN_TYPE);
    if (scan->closed)
        return 0;
    if (!scan->collection->database->engine)
        return luaL_error(L, "the database was closed during the iteration");
    while (scan->next == scan->count) {
        if (scan->cursor.done)
            return 0;
        size_t prefix_length = 0;
        lua_getiuservalue(L, 1, 2);
        const char *prefix = lua_tolstring(L, -1, &prefix_length);
        if (!scan_fill(scan, prefix, prefix_length))
            return luaL_error(L, "not enough memory");
        lua_pop(L, 1);
    }
    const struct scanned *document = &scan->documents[scan->next++];
    const char *id = scan->buffer.bytes + document->id_start;
    lua_pushlstring(L, id, document->id_length);
    if (scan->json) {
        lua_pushlstring(L, id + document->id_length, document->value_length);
    } else {
        struct json_tape tape;
        const char *fault =
            json_parse(module_state(L)->scratch.parser, id + document->id_length, document->value_length, true, &tape);
        if (fault)
            return luaL_error(L, "a stored document is not JSON: %s", fault);
        lua_json_push(L, &tape);
    }
    lua_pushinteger(L, (lua_Integer)document->version);
    return 3;
}

/* c:each([prefix [, json]]); json: the documents' texts instead of tables, for the command's export. */
int collection_each(lua_State *L)
{
    struct collection *collection = collection_check(L, 1);
    luaL_optstring(L, 2, "");
    bool json = lua_toboolean(L, 3);
    lua_settop(L, 2);
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_pushcclosure(L, scan_next, 1);
    struct scan *scan = lua_newuserdatauv(L, sizeof *scan, 2);
    memset(scan, 0, sizeof *scan);
    scan->collection = collection;
    scan->json = json;
    luaL_setmetatable(L, SCAN_TYPE);
    lua_pushvalue(L, 1);
    lua_setiuservalue(L, -2, 1);
    if (lua_isnil(L, 2))
        lua_pushliteral(L, "");
    else
        lua_pushvalue(L, 2);
    lua_setiuservalue(L, -2, 2);
    lua_pushnil(L);
    lua_pushvalue(L, -2);
    return 4;
}

void scan_register(lua_State *L)
{
    static const luaL_Reg functions[] = {{"__gc", scan_close}, {"__close", scan_close}, {NULL, NULL}};
    metatable_register(L, SCAN_TYPE, functions);
}

/* ---- db:events([filter]) ---- */

/* User value 1 is the database. */
struct events {
    struct tide_events *events; /* NULL: closed */
    struct database *database;
    struct events *next; /* of the database's list */
    bool json, at_end;
};

static void events_end(struct events *events)
{
    if (!events->events)
        return;
    struct events **link = &events->database->events;
    while (*link != events)
        link = &(*link)->next;
    *link = events->next;
    tide_events_close(events->events);
    events->events = NULL;
}

void events_close_all(struct database *database)
{
    while (database->events)
        events_end(database->events);
}

static int events_close(lua_State *L)
{
    events_end(userdata_check(L, 1, EVENTS_TYPE));
    return 0;
}

static void event_push(lua_State *L, const struct events *events, const struct tide_event *event)
{
    struct json_tape tape;
    lua_createtable(L, 0, 6);
    lua_pushinteger(L, (lua_Integer)event->seq);
    lua_setfield(L, -2, "seq");
    lua_pushinteger(L, (lua_Integer)event->time_us);
    lua_setfield(L, -2, "time_us");
    lua_pushstring(L, tide_event_type_name(event->type));
    lua_setfield(L, -2, "type");
    if (event->type == TIDE_EVENT_GAP) {
        lua_pushinteger(L, (lua_Integer)event->last_seq);
        lua_setfield(L, -2, "last_seq");
        return;
    }
    lua_pushlstring(L, event->collection, event->collection_length);
    lua_setfield(L, -2, "collection");
    lua_pushlstring(L, event->id, event->id_length);
    lua_setfield(L, -2, "id");
    if (!event->value)
        return;
    if (events->json) {
        lua_pushlstring(L, event->value, event->value_length);
        lua_setfield(L, -2, "json");
        return;
    }
    const char *fault = json_parse(module_state(L)->scratch.parser, event->value, event->value_length, false, &tape);
    if (fault)
        luaL_error(L, "a stored document is not JSON: %s", fault);
    lua_json_push(L, &tape);
    lua_setfield(L, -2, "document");
}

static int events_next(lua_State *L)
{
    struct events *events = userdata_check(L, 1, EVENTS_TYPE);
    if (events->at_end)
        return 0;
    if (!events->events)
        return luaL_error(L, "the iterator, or its database, was closed");
    struct tide_event event;
    struct tide_error error;
    enum tide_status status = tide_events_next(events->events, &event, &error);
    if (status == TIDE_NOT_FOUND) {
        events->at_end = true;
        events_end(events);
        return 0;
    }
    if (status != TIDE_OK)
        return luaL_error(L, "%s", error.message); /* a loop has no place for nil, message, code */
    event_push(L, events, &event);
    return 1;
}

/* Reads the filter table at index 2; its strings stay there. Returns whether the range is empty. */
static bool events_filter(lua_State *L, struct tide_event_filter *filter, bool *json)
{
    if (lua_isnoneornil(L, 2))
        return false;
    luaL_checktype(L, 2, LUA_TTABLE);
    for (lua_pushnil(L); lua_next(L, 2); lua_pop(L, 1)) {
        const char *name = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "";
        bool text = strcmp(name, "collection") == 0 || strcmp(name, "id") == 0;
        if (text && lua_type(L, -1) != LUA_TSTRING)
            luaL_argerror(L, 2, lua_pushfstring(L, "%s: string expected, got %s", name, luaL_typename(L, -1)));
        if (strcmp(name, "from") == 0)
            filter->from = integer_check(L, -1, 2, name, 0, LUA_MAXINTEGER);
        else if (strcmp(name, "to") == 0)
            filter->to = integer_check(L, -1, 2, name, 1, LUA_MAXINTEGER);
        else if (strcmp(name, "collection") == 0)
            filter->collection = lua_tolstring(L, -1, &filter->collection_length);
        else if (strcmp(name, "id") == 0)
            filter->id = lua_tolstring(L, -1, &filter->id_length);
        else if (strcmp(name, "json") == 0)
            *json = lua_toboolean(L, -1);
        else
            luaL_argerror(L, 2, lua_pushfstring(L, "unknown option '%s'", luaL_tolstring(L, -2, NULL)));
    }
    if (filter->id && !filter->collection)
        luaL_argerror(L, 2, "id: needs collection too");
    if (filter->collection && !tide_name_valid(filter->collection, filter->collection_length))
        luaL_argerror(L, 2, "collection: not a collection's name");
    return filter->to != 0 && filter->from > filter->to;
}

int database_events(lua_State *L)
{
    struct database *database = database_check(L, 1);
    struct tide_event_filter filter = {0};
    bool json = false;
    bool empty = events_filter(L, &filter, &json);
    lua_settop(L, 2);
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_pushcclosure(L, events_next, 1);
    struct events *events = lua_newuserdatauv(L, sizeof *events, 1);
    *events = (struct events){.database = database, .json = json, .at_end = empty};
    luaL_setmetatable(L, EVENTS_TYPE);
    lua_pushvalue(L, 1);
    lua_setiuservalue(L, -2, 1);
    struct tide_error error;
    if (!empty) {
        if (tide_events_open(database->engine, &filter, &events->events, &error) != TIDE_OK)
            return fail(L, &error);
        events->next = database->events;
        database->events = events;
    }
    lua_pushnil(L);
    lua_pushvalue(L, -2);
    return 4;
}

void events_register(lua_State *L)
{
    static const luaL_Reg functions[] = {{"__gc", events_close}, {"__close", events_close}, {NULL, NULL}};
    metatable_register(L, EVENTS_TYPE, functions);
}
