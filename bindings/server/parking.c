/* parking.c - requests that wait for the engine without a thread: for room in the channel, or until a write is durable.
 *
 * Before the loop sleeps the worker asks the engine once for all that were parked in this turn, however many; the
 * writer thread wakes the loop at most once a batch; then all whose seq has become durable are resumed. That makes
 * thousands of waiting requests one group commit. */
#include "server.h"

static uint64_t now_us(void)
{
    return park_now_us();
}

static void on_deadline(uv_timer_t *timer)
{
    struct worker *worker = (struct worker *)(void *)((char *)timer - offsetof(struct worker, deadline));
    worker->deadline_us = UINT64_MAX;
    parking_expire(worker);
}

static void deadline_set(struct worker *worker, uint64_t deadline_us)
{
    if (deadline_us >= worker->deadline_us)
        return;
    uint64_t now = now_us();
    uint64_t ms = deadline_us > now ? (deadline_us - now + 999) / 1000 : 0;
    worker->deadline_us = deadline_us;
    uv_update_time(&worker->loop);
    uv_timer_start(&worker->deadline, on_deadline, ms, 0);
}

void park(struct exchange *exchange, uint64_t durable, uint64_t deadline_us)
{
    struct worker *worker = exchange->worker;
    exchange->parked = durable ? PARKED_DURABLE : PARKED_ROOM;
    exchange->durable = durable;
    exchange->deadline_us = deadline_us;
    struct exchange **first = durable ? &worker->durable_first : &worker->room_first;
    struct exchange **last = durable ? &worker->durable_last : &worker->room_last;
    struct exchange *before = *last;
    while (before && durable && before->durable > durable)
        before = before->parked_previous;
    exchange->parked_previous = before;
    exchange->parked_next = before ? before->parked_next : *first;
    *(before ? &before->parked_next : first) = exchange;
    *(exchange->parked_next ? &exchange->parked_next->parked_previous : last) = exchange;
    if (durable > worker->want_durable)
        worker->want_durable = durable;
    worker->want_room = worker->want_room || durable == 0;
    exchange_waits(exchange);
    if (deadline_us != UINT64_MAX)
        deadline_set(worker, deadline_us);
}

void unpark(struct exchange *exchange)
{
    struct worker *worker = exchange->worker;
    bool durable = exchange->parked == PARKED_DURABLE;
    struct exchange **first = durable ? &worker->durable_first : &worker->room_first;
    struct exchange **last = durable ? &worker->durable_last : &worker->room_last;
    struct exchange *previous = exchange->parked_previous, *next = exchange->parked_next;
    *(previous ? &previous->parked_next : first) = next;
    *(next ? &next->parked_previous : last) = previous;
    exchange->parked = NOT_PARKED;
    exchange->parked_next = exchange->parked_previous = NULL;
}

static void resume(struct exchange *exchange)
{
    unpark(exchange);
    if (exchange->coroutine)
        handler_resume(exchange, 0);
    else
        final_again(exchange);
}

void parking_want(struct worker *worker)
{
    if (worker->want_durable == 0 && !worker->want_room)
        return;
    uint64_t durable = worker->want_durable;
    bool room = worker->want_room;
    worker->want_durable = 0;
    worker->want_room = false;
    tide_want(worker->server->engine, &worker->engine_listener, durable, room);
}

void parking_wake(struct worker *worker)
{
    struct tide_engine *engine = worker->server->engine;
    if (!engine)
        return;
    struct tide_watermarks watermarks;
    tide_watermarks(engine, &watermarks);
    enum tide_status health = tide_health(engine, NULL);
    bool failed = health != TIDE_OK && health != TIDE_FULL; /* what was accepted becomes durable on a full disk, too */
    while (worker->durable_first && (failed || worker->durable_first->durable <= watermarks.durable))
        resume(worker->durable_first);
    struct exchange *end = worker->room_last;
    while (worker->room_first) {
        struct exchange *first = worker->room_first;
        resume(first);
        /* Refused again: there is no more room for the others either. The pointer may be of a freed one; it is
         * compared. */
        if (first == end || (worker->room_last == first && !failed))
            break;
    }
    if (worker->room_first)
        worker->want_room = true;
}

static void expire(struct worker *worker, struct exchange *exchange, uint64_t now)
{
    uint64_t earliest = UINT64_MAX;
    while (exchange) {
        struct exchange *next = exchange->parked_next;
        if (exchange->deadline_us <= now)
            resume(exchange); /* may park others, behind or, before `next`, with deadlines of their own */
        else if (exchange->deadline_us < earliest)
            earliest = exchange->deadline_us;
        exchange = next;
    }
    if (earliest != UINT64_MAX)
        deadline_set(worker, earliest);
}

void parking_expire(struct worker *worker)
{
    uint64_t now = now_us();
    expire(worker, worker->durable_first, now);
    expire(worker, worker->room_first, now);
}

enum tide_status exchange_outcome(struct exchange *exchange, struct tide_error *error)
{
    if (exchange->durable == 0)
        return TIDE_OK; /* room, perhaps: it is tried again */
    return tide_reached(exchange->worker->server->engine, exchange->durable, TIDE_LEVEL_DURABLE, error);
}
