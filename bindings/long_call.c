/* long_call.c - calls of the engine that take as long as the disk does: in the calling thread, or where the calling
 * coroutine may be parked (park.h) in another one, while this one serves others. */
#include "long_call.h"

#include <lauxlib.h>
#include <string.h>

#include "module.h"

struct long_call *long_call_new(lua_State *L, size_t size, struct tide_engine *engine,
                                void (*work)(struct long_call *call),
                                int (*push)(lua_State *L, const struct long_call *call))
{
    struct long_call *call = lua_newuserdatauv(L, size, 0);
    memset(call, 0, size);
    call->work = work;
    call->push = push;
    call->engine = engine;
    return call;
}

static int results_push(lua_State *L, const struct long_call *call)
{
    return call->status == TIDE_OK ? call->push(L, call) : fail(L, &call->error);
}

static int resumed(lua_State *L, int status, lua_KContext context)
{
    (void)status;
    const struct long_call *call = (const struct long_call *)context;
    if (!call->done) {    /* the script resumed it itself, too early */
        lua_settop(L, 1); /* what it was resumed with goes, the handle stays */
        return lua_yieldk(L, 0, context, resumed);
    }
    return results_push(L, call);
}

int long_call_run(lua_State *L, struct long_call *call)
{
    struct parker *parker = module_state(L)->parker;
    if (may_park(L, call->engine)) {
        parker->offload(parker, L, call);
        return lua_yieldk(L, 0, (lua_KContext)call, resumed);
    }
    call->work(call);
    return results_push(L, call);
}
