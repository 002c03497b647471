/* space.c - a full disk is noticed before a write is accepted, not after.
 *
 * What is accepted is in the channel for a while, and then has to fit on the disk. So the log is preallocated ahead of
 * its end, and no more may be pending than that has space for: channel->space is the promise, and a claim that would
 * exceed it finds no room. The writer keeps the promise: when less than that is left it reserves again, a good deal at
 * a time; when a lot is pending it promises more, so that in the normal case no write waits for it.
 *
 * When the disk has no space for more, what is reserved is still used up; then writes are refused with FULL. That is no
 * failure: all that was accepted becomes durable, flush and reads go on, and so does closing, whose mark has its space.
 * The writer tries again every RETRY_US, and when somebody has made room writes go on by themselves.
 *
 * The promise only falls when the disk is full. A write may then have read the greater one, and claim by it after the
 * batch has given its room back, for the claimed bytes may be the same as before. So after a lowering, and before that
 * room is given back, the writer waits until no write is between its reading and its claim: those in their epoch
 * sections, and the one that may try again under the channel's room_mutex.
 *
 * This holds as far as the file system keeps what it preallocates. Where it can't preallocate, or a write fails all the
 * same, the engine fails with that write as it always did. */
#include <inttypes.h>

#include "engine.h"
#include "epoch.h"
#include "error.h"

enum { LEVEL_BYTES = 8 << 20, AHEAD_BYTES = 16 << 20, LEAST_BYTES = 64 << 10, RETRY_US = 100000 };

/* Says what may be pending; returns whether that is more than before. */
static bool promise(struct tide_engine *engine, uint64_t bytes)
{
    struct channel *channel = &engine->channel;
    /* Relaxed: only this thread writes it. */
    uint64_t before = atomic_load_explicit(&channel->space, memory_order_relaxed);
    if (bytes == before)
        return false;
    /* Release; pairs with the acquire in channel_claim: the space is there. What a lowering needs follows. */
    atomic_store_explicit(&channel->space, bytes, memory_order_release);
    if (bytes > before)
        return true;
    epoch_synchronize();
    pthread_mutex_lock(&channel->room_mutex);
    pthread_mutex_unlock(&channel->room_mutex);
    return false;
}

/* Reserves what is wished for, or as much of it as there is: at the worst what is least needed. */
static enum tide_status reserve(struct tide_engine *engine, uint64_t goal, uint64_t least)
{
    if (log_reserve(engine->log, goal + engine->space.ahead, NULL) == TIDE_OK)
        return TIDE_OK;
    engine->space.retry_us = clock_monotonic_us() + RETRY_US;
    if (log_reserve(engine->log, goal, NULL) == TIDE_OK)
        return TIDE_OK;
    return log_reserve(engine->log, least, NULL);
}

/* Reserves and promises, with `wanted` more than what is pending; returns whether somebody may wait for the outcome. */
static bool space_renew(struct tide_engine *engine, uint64_t wanted)
{
    struct space *space = &engine->space;
    uint64_t pending = channel_disk_bytes(&engine->channel), most = engine->options.pending_bytes_max;
    if (2 * pending > space->level)
        space->level = 4 * pending < most ? 4 * pending : most > space->level ? most : space->level;
    uint64_t least = pending + wanted + LEAST_BYTES, goal = least > space->level ? least : space->level;
    /* Relaxed: only this thread writes it. A promise that is not much too great stays: to lower one takes its time. */
    uint64_t promised = atomic_load_explicit(&engine->channel.space, memory_order_relaxed);
    if (goal < promised && goal > promised / 2)
        goal = promised;
    bool was_full = atomic_load_explicit(&space->full, memory_order_relaxed), full = was_full;
    bool tried = log_reserved(engine->log) < goal &&
                 (wanted > 0 || space->retry_us == 0 || clock_monotonic_us() >= space->retry_us);
    if (tried) {
        space->retry_us = 0;
        full = reserve(engine, goal, least) != TIDE_OK;
        atomic_store_explicit(&space->full, full, memory_order_relaxed);
    }
    uint64_t reserved = log_reserved(engine->log);
    bool more = promise(engine, reserved < goal ? reserved : goal);
    return more || wanted > 0 || full != was_full;
}

void space_begin(struct tide_engine *engine)
{
    uint64_t segment_bytes = engine->options.segment_bytes;
    engine->space.level = segment_bytes < LEVEL_BYTES ? segment_bytes : LEVEL_BYTES;
    engine->space.ahead = segment_bytes < AHEAD_BYTES ? segment_bytes : AHEAD_BYTES;
    space_renew(engine, 0);
}

void space_keep(struct tide_engine *engine)
{
    pthread_mutex_lock(&engine->mutex);
    uint64_t wanted = engine->space.wanted;
    engine->space.wanted = 0;
    pthread_mutex_unlock(&engine->mutex);
    if (!space_renew(engine, wanted))
        return;
    channel_wake(&engine->channel);
    pthread_mutex_lock(&engine->mutex);
    listeners_wake(engine, false, false);
    pthread_mutex_unlock(&engine->mutex);
}

uint64_t space_due_us(const struct tide_engine *engine)
{
    /* Relaxed: this thread wrote it. */
    return atomic_load_explicit(&engine->space.full, memory_order_relaxed) ? engine->space.retry_us : UINT64_MAX;
}

enum tide_status space_health(struct tide_engine *engine, struct tide_error *error)
{
    if (!atomic_load_explicit(&engine->space.full, memory_order_relaxed))
        return TIDE_OK;
    return error_set(error, TIDE_FULL, "%s: no space is left on the device; writes go on when there is some",
                     engine->directory);
}

enum tide_status space_ask(struct tide_engine *engine, uint64_t bytes, struct tide_error *error)
{
    struct channel *channel = &engine->channel;
    uint64_t wanted = bytes + CHANNEL_FRAME_BYTES;
    if (channel_disk_bytes(channel) + wanted <= atomic_load_explicit(&channel->space, memory_order_acquire))
        return TIDE_OK;
    enum tide_status status = space_health(engine, error);
    if (status != TIDE_OK)
        return status;
    pthread_mutex_lock(&engine->mutex);
    if (wanted > engine->space.wanted)
        engine->space.wanted = wanted;
    pthread_cond_signal(&engine->work);
    pthread_mutex_unlock(&engine->mutex);
    return TIDE_OK;
}
