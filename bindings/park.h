/* park.h - how a call that would wait gives its thread to others. In a plain Lua program there is no parker, and calls
 * sleep in the engine. The server puts one into each of its Lua states: there the handler's coroutine is parked (it
 * yields), and resumed when what it waits for is there. */
#ifndef TIDE_PARK_H
#define TIDE_PARK_H

#include <lua.h>
#include <stdbool.h>
#include <time.h>

#include "../engine/tidemark.h"

/* A call of the engine that takes as long as the disk does, and is no write: a snapshot, a compaction, a backup. */
struct long_call {
    void (*work)(struct long_call *call);                    /* what it does; in any thread, without Lua */
    int (*push)(lua_State *L, const struct long_call *call); /* its results, once it is done without an error */
    struct tide_engine *engine;
    enum tide_status status;
    struct tide_error error;
    bool done; /* of the thread of L */
};

struct parker {
    /* Whether L is a coroutine that may be parked for `engine`. */
    bool (*may_park)(struct parker *parker, lua_State *L, struct tide_engine *engine);
    /* Notes what L waits for: that `durable` is durable, or with 0 room in the channel. L yields next. */
    void (*park)(struct parker *parker, lua_State *L, uint64_t durable, uint64_t deadline_us);
    /* After L was resumed: OK when it is there, TIMEOUT, or the engine's failure. */
    enum tide_status (*outcome)(struct parker *parker, lua_State *L, struct tide_error *error);
    /* Does the call's work in another thread. L yields next, and is resumed when the call is done. The call is the full
     * userdata on top of L's stack, which is kept until then whatever becomes of L. Raises when memory is out. */
    void (*offload)(struct parker *parker, lua_State *L, struct long_call *call);
};

/* Where luaopen_tidemark finds it: a light userdata in the registry. */
#define PARKER_KEY "tidemark.parker"

/* Monotonic microseconds now, and in `timeout_ms`; TIDE_NO_TIMEOUT: never, UINT64_MAX. */
static inline uint64_t park_now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static inline uint64_t park_deadline_us(uint64_t timeout_ms)
{
    return timeout_ms >= UINT64_MAX / 2000 ? UINT64_MAX : park_now_us() + timeout_ms * 1000;
}

#endif
