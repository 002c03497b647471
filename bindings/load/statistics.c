/* statistics.c - a userdata that owns a copy of the histogram. Calling it with 1, 2, … remembers the place of the last
 * call, so that a loop over all values takes each bucket once. */
#include "statistics.h"

#include <lauxlib.h>
#include <string.h>

#define STATISTICS_TYPE "tidemark.load.statistics"

struct statistics {
    struct histogram *histogram;
    lua_Integer index; /* of the last call; 0: none yet */
    uint32_t bucket;
};

static struct statistics *check(lua_State *L)
{
    return luaL_checkudata(L, 1, STATISTICS_TYPE);
}

static int statistics_percentile(lua_State *L)
{
    const struct statistics *statistics = check(L);
    double percent = luaL_checknumber(L, 2);
    luaL_argcheck(L, percent >= 0 && percent <= 100, 2, "a percentile is 0 to 100");
    lua_pushinteger(L, (lua_Integer)histogram_percentile(statistics->histogram, percent));
    return 1;
}

static int statistics_index(lua_State *L)
{
    const struct histogram *histogram = check(L)->histogram;
    const char *key = luaL_checkstring(L, 2);
    if (strcmp(key, "percentile") == 0)
        lua_pushcfunction(L, statistics_percentile);
    else if (strcmp(key, "min") == 0)
        lua_pushinteger(L, histogram->count ? (lua_Integer)histogram->min : 0);
    else if (strcmp(key, "max") == 0)
        lua_pushinteger(L, (lua_Integer)histogram->max);
    else if (strcmp(key, "mean") == 0)
        lua_pushnumber(L, histogram_mean(histogram));
    else if (strcmp(key, "stdev") == 0)
        lua_pushnumber(L, histogram_stdev(histogram));
    else
        lua_pushnil(L);
    return 1;
}

static int statistics_call(lua_State *L)
{
    struct statistics *statistics = check(L);
    lua_Integer index = luaL_checkinteger(L, 2);
    luaL_argcheck(L, index >= 1, 2, "the first value is 1");
    if (statistics->index == 0 || index < statistics->index) {
        statistics->index = 1;
        statistics->bucket = 0;
    }
    while (histogram_next(statistics->histogram, &statistics->bucket)) {
        if (statistics->index == index) {
            lua_pushinteger(L, (lua_Integer)histogram_bucket_value(statistics->histogram, statistics->bucket));
            lua_pushinteger(L, (lua_Integer)statistics->histogram->counts[statistics->bucket]);
            return 2;
        }
        statistics->index++;
        statistics->bucket++;
    }
    statistics->index = 0;
    lua_pushinteger(L, 0);
    lua_pushinteger(L, 0);
    return 2;
}

static int statistics_length(lua_State *L)
{
    lua_pushinteger(L, histogram_distinct(check(L)->histogram));
    return 1;
}

static int statistics_collect(lua_State *L)
{
    struct statistics *statistics = check(L);
    histogram_destroy(statistics->histogram);
    statistics->histogram = NULL;
    return 0;
}

void statistics_push(lua_State *L, const struct histogram *histogram, uint64_t divisor)
{
    static const luaL_Reg functions[] = {{"__index", statistics_index},
                                         {"__call", statistics_call},
                                         {"__len", statistics_length},
                                         {"__gc", statistics_collect},
                                         {NULL, NULL}};
    struct statistics *statistics = lua_newuserdatauv(L, sizeof *statistics, 0);
    *statistics = (struct statistics){0};
    if (luaL_newmetatable(L, STATISTICS_TYPE))
        luaL_setfuncs(L, functions, 0);
    statistics->histogram = histogram_scaled(histogram, divisor);
    if (!statistics->histogram)
        luaL_error(L, "not enough memory");
    lua_setmetatable(L, -2);
}
