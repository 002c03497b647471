/* retention.c - when the maintenance thread compacts, where the engine's retention isn't "all".
 *
 * The writer looks when it has sealed a segment, for only then can there be something to do. A compaction reads the
 * whole log (but for `days` and `log_bytes`, which end where it is young or small enough); so one is due only when the
 * log has grown by a quarter since the last one ended, and what it costs stays in proportion to what was written. A
 * compaction that fails is counted and tried again at the next sealing. */
#include "compact.h"
#include "maintenance.h"

enum { GROWN_PARTS = 4 };

/* Whether a compaction is worth its reading. The writer thread. */
static bool retention_due(struct tide_engine *engine)
{
    const struct tide_options *options = &engine->options;
    pthread_mutex_lock(&engine->mutex);
    uint64_t left = engine->compaction.left_bytes;
    uint64_t bytes = engine->log_figures.bytes - atomic_load_explicit(&engine->compaction.bytes, memory_order_relaxed);
    pthread_mutex_unlock(&engine->mutex);
    bool grown = bytes >= left && bytes - left >= left / GROWN_PARTS;
    if (options->retain == TIDE_RETAIN_LOG_BYTES)
        return bytes > options->retain_limit && (grown || left <= options->retain_limit);
    return grown;
}

void retention_note(struct tide_engine *engine)
{
    if (engine->options.retain == TIDE_RETAIN_ALL || engine->log_figures.segments == engine->compaction.segments_seen)
        return;
    engine->compaction.segments_seen = engine->log_figures.segments;
    if (retention_due(engine))
        maintenance_request(engine, MAINTENANCE_COMPACTION);
}

enum tide_status retention_compact(struct tide_engine *engine, struct tide_error *error)
{
    static const struct tide_compact background = {.sealed_alone = true};
    struct tide_compaction result;
    enum tide_status status = compact_run(engine, &background, &result, error);
    if (status == TIDE_OK) {
        pthread_mutex_lock(&engine->mutex);
        engine->compaction.left_bytes = result.bytes_after;
        pthread_mutex_unlock(&engine->mutex);
    }
    return status;
}
