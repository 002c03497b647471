/* out_of_memory_spec.c - Lua's allocator fails at each allocation in turn, in the middle of whatever the module does:
 * an error is raised, nothing is half written, and the database goes on. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <lauxlib.h>
#include <lualib.h>

#include "../../bindings/module.h" /* before cmocka, which has a macro fail */

#include <cmocka.h>

/* Allocations until the first one that fails; 0: from now on all fail, since Lua collects garbage and tries again;
 * negative: none fails. */
static long countdown = -1;

static void *allocate(void *context, void *block, size_t old_bytes, size_t bytes)
{
    (void)context;
    if (bytes == 0) {
        free(block);
        return NULL;
    }
    if (countdown > 0)
        countdown--;
    if (countdown == 0 && (!block || bytes > old_bytes)) /* shrinking may not fail, Lua says */
        return NULL;
    return realloc(block, bytes);
}

static const char prepare[] = "local tidemark = require 'tidemark'\n"
                              "db = assert(tidemark.open(path, { segment_bytes = 1 << 20 }))\n"
                              "c = db:collection 'c'\n"
                              "c:put { id = 'x', list = { 1, 2.5, 'three', { four = {} } }, text = ('t'):rep(2000) }\n"
                              "for i = 1, 70 do c:put { id = 'i' .. i, n = i } end\n"
                              "db:flush()\n";

static const char check[] = "local x = assert(c:get 'x')\n"
                            "assert(x.list[3] == 'three' and #x.text == 2000)\n"
                            "local n = 0\n"
                            "for id, document in c:each 'i' do n = n + 1; assert('i' .. document.n == id) end\n"
                            "assert(n == 70, n)\n"
                            "for event in db:events() do assert(event.document or event.type == 'deleted') end\n";

static const char *const works[] = {
    "local x = c:get 'x'",
    "c:get_json 'x'",
    "c:get_many { 'x', 'i1', 'no' }",
    "c:put { id = 'new', a = { b = { c = { 1, 2, 3 } } }, s = ('s'):rep(3000) }",
    "c:put '{\"id\":\"new\",\"a\":[1,2,{\"b\":null}]}'",
    "c:create { id = 'i1' }",
    "c:update('x', { more = { 1, 2 } })",
    "c:update('x', { id = 'other' })",
    "c:delete 'new'",
    "for id, document in c:each() do local n = document.n end",
    "for event in db:events { collection = 'c', id = 'x' } do local d = event.document end",
    "local d = db:collection 'd'; d:count()",
    "db:stats(); db:watermarks(); db:flush()",
    "local t = require 'tidemark'; local again <close> = assert(t.open(path)); again:collection 'c':get 'x'",
    "tostring(c); tostring(db)",
    "local t = require 'tidemark'; assert(t.threads(1, 'return ...', { 1, 'two' }))",
};

static void run(lua_State *L, const char *source)
{
    if (luaL_dostring(L, source) != LUA_OK)
        fail_msg("%s: %s", source, lua_tostring(L, -1));
}

static void every_call_survives_each_allocation_that_fails(void **state)
{
    (void)state;
    char directory[] = "/tmp/tidemark-oom-XXXXXX";
    assert_non_null(mkdtemp(directory));
    lua_State *L = lua_newstate(allocate, NULL);
    assert_non_null(L);
    luaL_openlibs(L);
    luaL_requiref(L, "tidemark", luaopen_tidemark, 0);
    lua_pushstring(L, directory);
    lua_setglobal(L, "path");
    run(L, prepare);
    int total = 0;
    for (size_t i = 0; i < sizeof works / sizeof works[0]; i++) {
        int failed = 0; /* 0 for what allocates nothing in Lua: a put of a text that brings its id */
        for (long nth = 1;; nth++) {
            assert_int_equal(luaL_loadstring(L, works[i]), LUA_OK);
            lua_gc(L, LUA_GCCOLLECT);
            countdown = nth;
            int status = lua_pcall(L, 0, 0, 0);
            bool ended = countdown > 0;
            countdown = -1;
            lua_settop(L, 0);
            failed += status != LUA_OK;
            if (nth % 10 == 1 || ended)
                run(L, check);
            if (ended) { /* the call was over before the failing one */
                assert_int_equal(status, LUA_OK);
                break;
            }
        }
        total += failed;
    }
    assert_true(total > 50); /* it was tried */
    run(L, "assert(db:close())");
    lua_close(L);
    char command[100];
    snprintf(command, sizeof command, "rm -rf '%s'", directory);
    assert_int_equal(system(command), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_call_survives_each_allocation_that_fails)};
    return cmocka_run_group_tests_name("out of memory", tests, NULL, NULL);
}
