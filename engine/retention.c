/* retention.c - compaction in the background: a thread of the engine's own, where its retention isn't "all".
 *
 * The writer wakes it when it has sealed a segment, for only then can there be something to do. A compaction reads the
 * whole log (but for `days` and `log_bytes`, which end where it is young or small enough); so one is due only when the
 * log has grown by a quarter since the last one ended, and what it costs stays in proportion to what was written.
 * A compaction that fails is counted and tried again at the next sealing. */
#include <stdlib.h>

#include "compact.h"
#include "error.h"

enum { GROWN_PARTS = 4 };

/* Whether a compaction is worth its reading. Under the mutex. */
static bool retention_due(const struct tide_engine *engine)
{
    const struct tide_options *options = &engine->options;
    uint64_t left = engine->retention.left_bytes;
    uint64_t bytes = engine->log_figures.bytes - atomic_load_explicit(&engine->compaction.bytes, memory_order_relaxed);
    bool grown = bytes >= left && bytes - left >= left / GROWN_PARTS;
    if (options->retain == TIDE_RETAIN_LOG_BYTES)
        return bytes > options->retain_limit && (grown || left <= options->retain_limit);
    return grown;
}

static void *retention_run(void *context)
{
    static const struct tide_compact background = {.sealed_alone = true};
    struct tide_engine *engine = context;
    pthread_mutex_lock(&engine->mutex);
    while (!engine->retention.stop) {
        if (!engine->retention.wanted) {
            pthread_cond_wait(&engine->retention.work, &engine->mutex);
            continue;
        }
        engine->retention.wanted = false;
        if (!retention_due(engine))
            continue;
        pthread_mutex_unlock(&engine->mutex);
        struct tide_compaction result;
        /* A failed engine's error is for those who write. */
        bool failed = atomic_load_explicit(&engine->failure, memory_order_acquire) != 0;
        enum tide_status status = failed ? TIDE_FAILED : tide_compact(engine, &background, &result, NULL);
        pthread_mutex_lock(&engine->mutex);
        if (status == TIDE_OK)
            engine->retention.left_bytes = result.bytes_after;
    }
    pthread_mutex_unlock(&engine->mutex);
    return NULL;
}

enum tide_status retention_start(struct tide_engine *engine, struct tide_error *error)
{
    if (engine->options.retain == TIDE_RETAIN_ALL)
        return TIDE_OK;
    int failure = pthread_create(&engine->retention.thread, NULL, retention_run, engine);
    engine->retention.running = failure == 0;
    return failure == 0 ? TIDE_OK : error_system(error, failure, "cannot start the retention's thread");
}

void retention_stop(struct tide_engine *engine)
{
    if (!engine->retention.running)
        return;
    pthread_mutex_lock(&engine->mutex);
    engine->retention.stop = true;
    pthread_cond_signal(&engine->retention.work);
    pthread_mutex_unlock(&engine->mutex);
    pthread_join(engine->retention.thread, NULL);
    engine->retention.running = false;
}

void retention_wake(struct tide_engine *engine)
{
    engine->retention.wanted = true;
    pthread_cond_signal(&engine->retention.work);
}
