/* wait.c - everything that waits for the writer thread: for room in the channel, or for a watermark.
 *
 * Waiters for a watermark say under the mutex which seq they want (the writer then hurries) and sleep at the
 * watermark's eventcount until it is reached; the writer wakes them once a batch, and they go without taking the mutex
 * again: with many of them that would be a queue. Waiters for room sleep at the channel's own condition. Both are
 * counted in engine->waiters, so that a close can wake them all and wait until the last has gone.
 *
 * Who waits when the engine fails gets the failure itself (io, full); who comes later gets "failed". */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "engine.h"
#include "error.h"

static enum tide_status closed(const struct tide_engine *engine, struct tide_error *error)
{
    return error_set(error, TIDE_CLOSED, "%s: the database was closed", engine->directory);
}

/* The failure as somebody who waited for it sees it. */
static enum tide_status failure_first(struct tide_engine *engine, struct tide_error *error)
{
    /* Acquire; pairs with the release in engine_fail: the message is there. */
    uint32_t failure = atomic_load_explicit(&engine->failure, memory_order_acquire);
    atomic_store(&engine->failure_told, true);
    return error_set(error, (enum tide_status)failure, "%s", engine->failure_message);
}

static bool engine_failed(const struct tide_engine *engine)
{
    return atomic_load_explicit(&engine->failure, memory_order_acquire) != 0;
}

enum tide_status engine_state(struct tide_engine *engine, struct tide_error *error)
{
    if (engine_forked(engine))
        return error_set(error, TIDE_FAILED, "%s was opened before this process was forked; that is not supported",
                         engine->directory);
    if (atomic_load(&engine->closing))
        return closed(engine, error);
    if (engine_failed(engine)) {
        if (!atomic_exchange(&engine->failure_told, true))
            return failure_first(engine, error);
        return error_set(error, TIDE_FAILED, "%s takes no more writes since one failed: %s", engine->directory,
                         engine->failure_message);
    }
    if (engine->options.read_only)
        return error_set(error, TIDE_READ_ONLY, "%s is open for reading alone", engine->directory);
    return TIDE_OK;
}

void engine_fail(struct tide_engine *engine, const struct tide_error *error)
{
    pthread_mutex_lock(&engine->mutex);
    snprintf(engine->failure_message, sizeof engine->failure_message, "%.390s", error->message);
    /* Release; pairs with the acquires in this file. */
    atomic_store_explicit(&engine->failure, error->status, memory_order_release);
    listeners_wake(engine, false, true);
    pthread_mutex_unlock(&engine->mutex);
    waiters_wake(engine);
}

void waiters_wake(struct tide_engine *engine)
{
    eventcount_advance(&engine->rises[TIDE_LEVEL_WRITTEN]);
    eventcount_advance(&engine->rises[TIDE_LEVEL_DURABLE]);
    pthread_mutex_lock(&engine->channel.room_mutex);
    pthread_cond_broadcast(&engine->channel.room);
    pthread_mutex_unlock(&engine->channel.room_mutex);
}

/* Sleeps on `condition` until the deadline; false when it has passed. */
static bool wait_until(pthread_cond_t *condition, pthread_mutex_t *mutex, uint64_t deadline_us)
{
    if (deadline_us == UINT64_MAX) {
        pthread_cond_wait(condition, mutex);
        return true;
    }
    struct timespec until = clock_timespec(deadline_us);
    return pthread_cond_timedwait(condition, mutex, &until) != ETIMEDOUT;
}

/* Counts this call as waiting, and leaves the mutex locked; CLOSED, and not locked, when a close has begun, which then
 * waits for no more of them. */
enum tide_status waiter_enter(struct tide_engine *engine, struct tide_error *error)
{
    pthread_mutex_lock(&engine->mutex);
    if (atomic_load(&engine->closing)) {
        pthread_mutex_unlock(&engine->mutex);
        return closed(engine, error);
    }
    /* Relaxed: a close has to take the mutex before it looks. */
    atomic_fetch_add_explicit(&engine->waiters, 1, memory_order_relaxed);
    return TIDE_OK;
}

/* The last one lets a close go on, which frees the engine: nothing of it may be touched behind this. */
void waiter_leave(struct tide_engine *engine)
{
    /* Release; pairs with the acquire in calls_end. */
    atomic_fetch_sub_explicit(&engine->waiters, 1, memory_order_release);
}

enum tide_status wait_for_room(struct tide_engine *engine, uint64_t bytes, uint64_t deadline_us,
                               struct tide_error *error)
{
    struct channel *channel = &engine->channel;
    enum tide_status status = waiter_enter(engine, error);
    if (status != TIDE_OK)
        return status;
    pthread_mutex_unlock(&engine->mutex);

    pthread_mutex_lock(&channel->room_mutex);
    /* Sequentially consistent; pairs with channel_release: it sees us, or our claim below sees its room. */
    atomic_fetch_add_explicit(&channel->room_waiters, 1, memory_order_seq_cst);
    bool kick, in_time = true;
    while (!channel_claim(channel, bytes, &kick)) {
        if (engine_failed(engine))
            status = failure_first(engine, error);
        else if (atomic_load(&engine->closing))
            status = closed(engine, error);
        else if (!in_time)
            status = error_set(error, TIDE_BUSY, "%s: no room for %" PRIu64 " bytes in the channel in time",
                               engine->directory, bytes);
        else
            status = space_ask(engine, bytes, error);
        if (status != TIDE_OK)
            break;
        pthread_mutex_lock(&engine->mutex);
        engine->hurry = true;
        pthread_cond_signal(&engine->work);
        pthread_mutex_unlock(&engine->mutex);
        in_time = wait_until(&channel->room, &channel->room_mutex, deadline_us);
    }
    atomic_fetch_sub_explicit(&channel->room_waiters, 1, memory_order_seq_cst);
    pthread_mutex_unlock(&channel->room_mutex);
    waiter_leave(engine);
    return status;
}

static uint64_t watermark(const struct tide_engine *engine, enum tide_level level)
{
    /* Acquire; pairs with the release in watermarks_raise. */
    return atomic_load_explicit(level == TIDE_LEVEL_DURABLE ? &engine->durable : &engine->written,
                                memory_order_acquire);
}

/* One more that waits for the next sync. The writer is told of the first, and of whom completes the crowd that it may
 * be holding the sync for; between them it sleeps no longer than it holds. Under the mutex. */
static void crowd_join(struct tide_engine *engine)
{
    uint32_t arrived = atomic_fetch_add_explicit(&engine->arrived, 1, memory_order_relaxed) + 1;
    if (arrived == 1 || arrived >= engine->crowd)
        pthread_cond_signal(&engine->work);
}

/* The same for one whose event came too late for the sync that has woken it. */
static void crowd_join_again(struct tide_engine *engine, uint64_t *syncs_seen)
{
    pthread_mutex_lock(&engine->mutex);
    if (*syncs_seen != engine->syncs_seen) {
        *syncs_seen = engine->syncs_seen;
        crowd_join(engine);
    }
    pthread_mutex_unlock(&engine->mutex);
}

enum tide_status wait_for_watermark(struct tide_engine *engine, uint64_t seq, enum tide_level level,
                                    uint64_t deadline_us, struct tide_error *error)
{
    if (watermark(engine, level) >= seq)
        return TIDE_OK;
    enum tide_status status = waiter_enter(engine, error);
    if (status != TIDE_OK)
        return status;
    uint64_t *wanted = level == TIDE_LEVEL_DURABLE ? &engine->wanted_durable : &engine->wanted_written;
    /* Relaxed: under the mutex, as the look in watermarks_raise is. */
    atomic_fetch_add_explicit(&engine->waiters_at[level], 1, memory_order_relaxed);
    if (seq > *wanted) {
        *wanted = seq;
        if (level == TIDE_LEVEL_WRITTEN)
            pthread_cond_signal(&engine->work);
    }
    uint64_t syncs_seen = engine->syncs_seen;
    if (level == TIDE_LEVEL_DURABLE)
        crowd_join(engine);
    pthread_mutex_unlock(&engine->mutex);
    for (bool in_time = true; status == TIDE_OK;) {
        uint32_t rises = eventcount_read(&engine->rises[level]);
        if (watermark(engine, level) >= seq)
            break;
        if (engine_failed(engine))
            status = failure_first(engine, error);
        else if (atomic_load(&engine->closing))
            status = closed(engine, error);
        else if (!in_time)
            status = error_set(error, TIDE_TIMEOUT, "%s: seq %" PRIu64 " was not %s in time", engine->directory, seq,
                               level == TIDE_LEVEL_DURABLE ? "durable" : "written");
        else {
            if (level == TIDE_LEVEL_DURABLE)
                crowd_join_again(engine, &syncs_seen);
            in_time = eventcount_wait(&engine->rises[level], rises, deadline_us);
        }
    }
    atomic_fetch_sub_explicit(&engine->waiters_at[level], 1, memory_order_relaxed);
    waiter_leave(engine);
    return status;
}

enum tide_status watermark_await(struct tide_engine *engine, uint64_t seq, enum tide_level level,
                                 struct tide_error *error)
{
    bool durable = level == TIDE_LEVEL_DURABLE;
    const _Atomic uint64_t *watermark = durable ? &engine->durable : &engine->written;
    uint64_t *wanted = durable ? &engine->wanted_durable : &engine->wanted_written;
    enum tide_status status = TIDE_OK;
    pthread_mutex_lock(&engine->mutex);
    /* Relaxed: under the mutex, as the look in watermarks_raise is. */
    atomic_fetch_add_explicit(&engine->waiters_at[level], 1, memory_order_relaxed);
    if (seq > *wanted)
        *wanted = seq;
    pthread_cond_signal(&engine->work);
    pthread_mutex_unlock(&engine->mutex);
    for (;;) {
        uint32_t rises = eventcount_read(&engine->rises[level]);
        /* Acquire; pairs with the release in watermarks_raise. */
        if (atomic_load_explicit(watermark, memory_order_acquire) >= seq ||
            (status = engine_lives(engine, error)) != TIDE_OK)
            break;
        eventcount_wait(&engine->rises[level], rises, UINT64_MAX);
    }
    atomic_fetch_sub_explicit(&engine->waiters_at[level], 1, memory_order_relaxed);
    return status;
}

enum tide_status tide_reached(struct tide_engine *engine, uint64_t seq, enum tide_level level, struct tide_error *error)
{
    if (watermark(engine, level) >= seq)
        return TIDE_OK;
    if (engine_failed(engine))
        return failure_first(engine, error);
    if (atomic_load(&engine->closing))
        return closed(engine, error);
    return error_set(error, TIDE_TIMEOUT, "%s: seq %" PRIu64 " was not %s in time", engine->directory, seq,
                     level == TIDE_LEVEL_DURABLE ? "durable" : "written");
}

void tide_watermarks(struct tide_engine *engine, struct tide_watermarks *watermarks)
{
    /* From the lowest up, so that they are in order whatever happens meanwhile. */
    watermarks->durable = watermark(engine, TIDE_LEVEL_DURABLE);
    watermarks->written = watermark(engine, TIDE_LEVEL_WRITTEN);
    watermarks->accepted = engine->options.read_only ? watermarks->written : channel_tail(&engine->channel) - 1;
}

enum tide_status tide_flush(struct tide_engine *engine, uint64_t timeout_ms, uint64_t *durable,
                            struct tide_error *error)
{
    enum tide_status status = engine_state(engine, error);
    if (status != TIDE_OK)
        return status;
    status = wait_for_watermark(engine, channel_tail(&engine->channel) - 1, TIDE_LEVEL_DURABLE,
                                clock_deadline_us(timeout_ms), error);
    if (status == TIDE_OK && durable)
        *durable = watermark(engine, TIDE_LEVEL_DURABLE);
    return status;
}

enum tide_status tide_wait(struct tide_engine *engine, uint64_t seq, enum tide_level level, uint64_t timeout_ms,
                           struct tide_error *error)
{
    if (watermark(engine, level) >= seq)
        return TIDE_OK;
    enum tide_status status = engine_state(engine, error);
    if (status != TIDE_OK)
        return status;
    if (seq >= channel_tail(&engine->channel))
        return error_set(error, TIDE_INVALID, "%s: seq %" PRIu64 " has not been given out yet", engine->directory, seq);
    return wait_for_watermark(engine, seq, level, clock_deadline_us(timeout_ms), error);
}
