/* offload.c - calls of a handler that take as long as the disk does (bindings/long_call.c): they run in libuv's pool of
 * threads, while the loop serves others, and the handler goes on in the loop when they are done. */
#include "server.h"

/* Kept in the registry until its call is done, and with it the call. */
struct offloaded {
    uv_work_t request;
    struct exchange *exchange;
    struct long_call *call;
};

static void on_work(uv_work_t *request)
{
    struct long_call *call = ((struct offloaded *)request->data)->call;
    call->work(call);
}

static void on_done(uv_work_t *request, int status)
{
    (void)status; /* nobody cancels it */
    struct offloaded *offloaded = request->data;
    struct application *application = offloaded->exchange->application;
    application->references++; /* the exchange's own ends with its answer */
    offloaded->call->done = true;
    handler_resume(offloaded->exchange, 0);
    lua_pushnil(application->L);
    lua_rawsetp(application->L, LUA_REGISTRYINDEX, offloaded);
    application_release(application);
}

void offload(struct exchange *exchange, lua_State *L, struct long_call *call)
{
    struct offloaded *offloaded = lua_newuserdatauv(L, sizeof *offloaded, 1);
    *offloaded = (struct offloaded){.exchange = exchange, .call = call};
    offloaded->request.data = offloaded;
    lua_pushvalue(L, -2);
    lua_setiuservalue(L, -2, 1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, offloaded);
    uv_queue_work(&exchange->worker->loop, &offloaded->request, on_work, on_done); /* fails without a function alone */
}
