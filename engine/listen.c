/* listen.c - for event loops, which may not sleep in the engine: they say what they wait for, and are woken.
 *
 * A listener's wants are set and looked at under the engine's mutex, and whatever fulfils them (a watermark that rises,
 * room that is given back, a failure) is followed by a look at the listeners under the same mutex. So either the look
 * sees the want, or tide_want sees that it is fulfilled. Room that a refused write gives back is not followed by such a
 * look; while events are pending their batch will be, and without any tide_want sees the channel empty. */
#include "engine.h"
#include "error.h"

void tide_listen(struct tide_engine *engine, struct tide_listener *listener)
{
    pthread_mutex_lock(&engine->mutex);
    listener->durable = 0;
    listener->room = false;
    listener->next = engine->listeners;
    engine->listeners = listener;
    pthread_mutex_unlock(&engine->mutex);
}

void tide_unlisten(struct tide_engine *engine, struct tide_listener *listener)
{
    pthread_mutex_lock(&engine->mutex);
    struct tide_listener **link = &engine->listeners;
    while (*link && *link != listener)
        link = &(*link)->next;
    if (*link)
        *link = listener->next;
    pthread_mutex_unlock(&engine->mutex);
}

void tide_want(struct tide_engine *engine, struct tide_listener *listener, uint64_t durable, bool room)
{
    pthread_mutex_lock(&engine->mutex);
    /* Relaxed: both are written under this mutex. */
    bool failed = atomic_load_explicit(&engine->failure, memory_order_relaxed) != 0;
    bool reached = durable != 0 && atomic_load_explicit(&engine->durable, memory_order_relaxed) >= durable;
    bool empty = room && channel_pending_bytes(&engine->channel) == 0 && engine->space.wanted == 0;
    if (failed || reached || empty)
        listener->wake(listener->context);
    if (!reached && durable > listener->durable)
        listener->durable = durable;
    if (!reached && durable > engine->wanted_durable) {
        engine->wanted_durable = durable;
        pthread_cond_signal(&engine->work);
    }
    if (room && !empty) {
        listener->room = true;
        engine->hurry = true;
        pthread_cond_signal(&engine->work);
    }
    pthread_mutex_unlock(&engine->mutex);
}

void listeners_wake(struct tide_engine *engine, bool durable_rose, bool failed)
{
    uint64_t durable = atomic_load_explicit(&engine->durable, memory_order_relaxed);
    for (struct tide_listener *listener = engine->listeners; listener; listener = listener->next) {
        if (failed || listener->room || (durable_rose && listener->durable != 0))
            listener->wake(listener->context);
        listener->room = false;
        if (listener->durable <= durable)
            listener->durable = 0;
    }
}

enum tide_status engine_lives(struct tide_engine *engine, struct tide_error *error)
{
    if (atomic_load(&engine->closing))
        return error_set(error, TIDE_CLOSED, "%s: the database was closed", engine->directory);
    /* Acquire; pairs with the release in engine_fail: the message is there. */
    if (atomic_load_explicit(&engine->failure, memory_order_acquire) != 0)
        return error_set(error, TIDE_FAILED, "%s takes no more writes since one failed: %s", engine->directory,
                         engine->failure_message);
    return TIDE_OK;
}

enum tide_status tide_health(struct tide_engine *engine, struct tide_error *error)
{
    enum tide_status status = engine_lives(engine, error);
    return status == TIDE_OK ? space_health(engine, error) : status;
}
