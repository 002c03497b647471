/* events.c - the public iterator over the events of an open engine: decides between reading the log in order and
 * walking one document's history (log_events.h does either), and keeps the engine open meanwhile. */
#include <stdlib.h>

#include "engine.h"
#include "epoch.h"
#include "error.h"
#include "log_events.h"

struct tide_events {
    struct tide_engine *engine; /* held open by a reference of our own */
    struct log_events *log;
};

/* The seq of the document's newest event if it exists, else 0. */
static uint64_t newest_seq(struct tide_collection *collection, const struct tide_event_filter *filter)
{
    epoch_enter();
    const struct block *block =
        map_get(collection->map, map_hash(filter->id, filter->id_length), filter->id, filter->id_length);
    uint64_t seq = block ? block->seq : 0;
    epoch_exit();
    return seq;
}

static enum tide_status log_open_for(struct tide_engine *engine, struct tide_event_filter *filter,
                                     struct log_events **log, struct tide_error *error)
{
    struct tide_collection *collection = NULL;
    uint64_t newest = 0;
    if (filter->id) {
        struct tide_error local = {0};
        struct tide_error *told = error ? error : &local;
        collection = tide_collection(engine, filter->collection, filter->collection_length, told);
        if (!collection)
            return told->status; /* the name, or memory for a new one */
        newest = newest_seq(collection, filter);
    }
    struct tide_watermarks watermarks;
    tide_watermarks(engine, &watermarks);
    if (filter->to == 0 || filter->to > watermarks.written)
        filter->to = watermarks.written;
    /* A document that was never deleted, whose newest event is in the log already: its events form a chain. */
    if (newest != 0 && newest <= watermarks.written)
        return log_events_open_walk(engine->directory, engine->index, filter, newest,
                                    atomic_load_explicit(&collection->first_delete_seq, memory_order_relaxed), log,
                                    error);
    return log_events_open(engine->directory, engine->index, filter, log, error);
}

enum tide_status tide_events_open(struct tide_engine *engine, const struct tide_event_filter *filter,
                                  struct tide_events **events, struct tide_error *error)
{
    struct tide_event_filter copy = filter ? *filter : (struct tide_event_filter){0};
    *events = NULL;
    if (engine_forked(engine))
        return engine_state(engine, error);
    if (copy.id && !copy.collection)
        return error_set(error, TIDE_INVALID, "events of an id need its collection");
    struct tide_events *opened = calloc(1, sizeof *opened);
    if (!opened)
        return error_set(error, TIDE_MEMORY, "out of memory");
    enum tide_status status = log_open_for(engine, &copy, &opened->log, error);
    if (status != TIDE_OK) {
        free(opened);
        return status;
    }
    engine_hold(engine);
    opened->engine = engine;
    *events = opened;
    return TIDE_OK;
}

enum tide_status tide_events_next(struct tide_events *events, struct tide_event *event, struct tide_error *error)
{
    return log_events_next(events->log, event, error);
}

void tide_events_close(struct tide_events *events)
{
    if (!events)
        return;
    log_events_close(events->log);
    tide_close(events->engine, NULL);
    free(events);
}
