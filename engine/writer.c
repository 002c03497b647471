/* writer.c - the one thread that writes the log.
 *
 * It sleeps until a batch is due: batch_size events wait, or batch_bytes_max bytes, or the first one has waited for
 * flush_interval_ms, or somebody waits (for a watermark, for room, for the end). Then it takes events from the channel
 * in seq order, copies their blocks as they are into a frame or several, hands these to the log, raises the written
 * watermark, gives the room back, and syncs as the policy or a waiter asks. What is accepted during a sync is the next
 * batch: that is the group commit.
 *
 * Where each batch is synced, its frames don't wait for its end: while it fills, each frame that is full is handed to
 * the log, and the system told to begin with it, so that the sync finds only the last one still to be written. The
 * batch stays one: watermarks, room and what it replaced wait for its end.
 *
 * While it sleeps no producer makes a system call for it but the one that completes a batch, or such a frame. With
 * nothing to do it looks again after each flush interval, so the deadline of an event that came meanwhile lies still
 * ahead; after a second of that it sleeps until the next event wakes it.
 *
 * A block that an event replaced was written before that event was, since log order is map order; so after a batch the
 * blocks which its events replaced wait for nothing but the readers that may still see them (reclaim.h).
 *
 * The first failure of a write or a sync is final: it latches the engine (engine_fail) and the thread only waits for
 * its end. Nothing is tried again, above all no fdatasync: after a failed one the kernel may have dropped the pages. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "compact.h"
#include "engine.h"
#include "error.h"
#include "plant.h"
#include "relocate.h"
#include "thread.h"

enum {
    IDLE_US_BEFORE_DEEP_SLEEP = 1000000,
    RECLAIM_PAUSE_US = 10000,
    CROWD_HOLD_US_MAX = 1000,
    IDLE_US_BEFORE_RELOCATION = 50000
};

/* A batch is one frame, or several: who looks for one event reads and checks its whole frame. */
enum { FRAME_BYTES = 128 << 10 };

/* What is in the log of a batch, which is begun when there are events, and ended when it is due. */
struct batch {
    uint64_t events;
    uint64_t record_bytes; /* the room to give back */
    uint64_t bytes;        /* of the frames */
    uint64_t due_us;       /* monotonic; when its first event will have waited long enough */
};

struct writer {
    struct tide_engine *engine;
    uint8_t *frame;
    size_t frame_capacity;
    uint64_t frame_events; /* about so many fill a frame; UINT64_MAX: none is to go before its batch is due */
    struct batch batch;
    struct block **replaced; /* of the batch; batch_size entries */
    struct block **deletions;
    size_t replaced_count, deletion_count;
    const struct tide_collection *collection; /* of the event before: events of one collection mostly come in rows */
    uint64_t last_time_us;                    /* of the newest written event: times never decrease along seq */
    uint64_t last_sync_us;
    uint64_t idle_since_us; /* 0: not idle */
    bool reclaim_waits;
    bool relocation_tried; /* since it last had something to write */
    struct relocation relocation;
};

void writer_wake(struct tide_engine *engine)
{
    pthread_mutex_lock(&engine->mutex);
    pthread_cond_signal(&engine->work);
    pthread_mutex_unlock(&engine->mutex);
}

/* ---- When a batch is due ---- */

static bool sync_wanted(const struct tide_engine *engine)
{
    return engine->wanted_durable > atomic_load_explicit(&engine->durable, memory_order_relaxed);
}

/* When the sync that somebody waits for is due; UINT64_MAX: nobody does. Who waited for the last one has just been
 * woken and is likely to come again: if the first of them had its sync at once, the others would have to wait for the
 * next one, and would again be apart. So the sync is held until as many wait as before, or for as long as a sync takes.
 * Under the mutex. (PostgreSQL's commit_delay and commit_siblings are the same thought, with settings.) */
static uint64_t wanted_sync_due_us(const struct tide_engine *engine)
{
    if (!sync_wanted(engine))
        return UINT64_MAX;
    return atomic_load_explicit(&engine->arrived, memory_order_relaxed) >= engine->crowd ? 0 : engine->crowd_until_us;
}

/* When the event at the head will have waited for flush_interval_ms, monotonic; 0: now. */
static uint64_t head_due_us(struct tide_engine *engine)
{
    const struct block *first = channel_peek(&engine->channel);
    if (!first)
        return 0; /* its producer is about to put it there */
    uint64_t now = clock_real_us();
    uint64_t interval = engine->options.flush_interval_ms * 1000;
    if (first->time_us > now)
        return 0; /* the clock was set back, and how old the event is nobody knows */
    uint64_t age = now - first->time_us;
    return age >= interval ? 0 : clock_monotonic_us() + (interval - age);
}

/* Events that are in the channel and in no frame yet. */
static uint64_t events_waiting(const struct writer *writer)
{
    const struct channel *channel = &writer->engine->channel;
    return channel_tail(channel) - channel->head;
}

/* When the batch is due that is begun, or would be with the event at the head; monotonic; 0: at once, UINT64_MAX:
 * never. Under the mutex. */
static uint64_t batch_due_us(const struct writer *writer)
{
    struct tide_engine *engine = writer->engine;
    const struct batch *batch = &writer->batch;
    uint64_t pending = batch->events + events_waiting(writer);
    uint64_t written = atomic_load_explicit(&engine->written, memory_order_relaxed);
    uint64_t sync_due = wanted_sync_due_us(engine);
    if (engine->stop || sync_due == 0 || snapshot_calls(engine) || engine->compaction.seal || engine->space.wanted > 0)
        return 0;
    if (pending == 0)
        return sync_due;
    if (pending >= engine->options.batch_size || engine->hurry || engine->wanted_written > written ||
        channel_pending_bytes(&engine->channel) >= engine->options.batch_bytes_max)
        return 0;
    uint64_t due = batch->events > 0 ? batch->due_us : head_due_us(engine);
    return due < sync_due ? due : sync_due;
}

/* Whether a frame is full of a batch that isn't due yet. */
static bool frame_due(const struct writer *writer)
{
    return events_waiting(writer) >= writer->frame_events;
}

/* The seq whose producer is to wake the writer when it sleeps. */
static uint64_t wake_seq(const struct writer *writer, bool deep)
{
    uint64_t more = writer->engine->options.batch_size - writer->batch.events;
    if (writer->frame_events < more)
        more = writer->frame_events;
    return writer->engine->channel.head + (deep ? 0 : more - 1);
}

/* When the interval policy asks for a sync of what is written; UINT64_MAX: there is nothing to sync. */
static uint64_t interval_sync_due_us(const struct writer *writer)
{
    const struct tide_engine *engine = writer->engine;
    if (engine->options.sync != TIDE_SYNC_INTERVAL || atomic_load_explicit(&engine->durable, memory_order_relaxed) ==
                                                          atomic_load_explicit(&engine->written, memory_order_relaxed))
        return UINT64_MAX;
    return writer->last_sync_us + engine->options.sync_interval_ms * 1000;
}

/* What it does with nothing to write: after a while it moves documents together where that gives memory back, a step a
 * call. *due: when it has to be called again. False: not before then. Under the mutex, which it gives away meanwhile.
 */
static bool idle_step(struct writer *writer, uint64_t now_us, uint64_t *due)
{
    struct tide_engine *engine = writer->engine;
    uint64_t begin_us = writer->idle_since_us + IDLE_US_BEFORE_RELOCATION;
    if (!writer->relocation_tried && now_us < begin_us && begin_us < *due)
        *due = begin_us;
    bool begin = !writer->relocation_tried && now_us >= begin_us;
    if (!begin && !writer->relocation.running)
        return false;
    pthread_mutex_unlock(&engine->mutex);
    if (begin)
        relocation_begin(&writer->relocation, engine);
    else
        relocation_step(&writer->relocation, engine);
    writer->relocation_tried = true;
    writer->reclaim_waits = reclaim_run(engine->reclaim);
    pthread_mutex_lock(&engine->mutex);
    return true;
}

/* Sleeps until there is something to do. False: that is but a frame of a batch which isn't due. */
static bool writer_sleep(struct writer *writer)
{
    struct tide_engine *engine = writer->engine;
    uint64_t interval_us = engine->options.flush_interval_ms * 1000, now, due;
    pthread_mutex_lock(&engine->mutex);
    for (;;) {
        now = clock_monotonic_us();
        bool deep = writer->idle_since_us != 0 && now - writer->idle_since_us > IDLE_US_BEFORE_DEEP_SLEEP;
        /* Sequentially consistent; pairs with channel_must_wake. Before the tail is looked at. */
        atomic_store_explicit(&engine->channel.wake_seq, wake_seq(writer, deep), memory_order_seq_cst);
        due = batch_due_us(writer);
        bool empty = writer->batch.events == 0 && events_waiting(writer) == 0;
        if (!empty) {
            writer->idle_since_us = 0;
            writer->relocation_tried = false;
        } else if (writer->idle_since_us == 0) {
            writer->idle_since_us = now;
        }
        uint64_t sync_due = interval_sync_due_us(writer), space_due = space_due_us(engine);
        if (sync_due < due)
            due = sync_due;
        if (space_due < due)
            due = space_due;
        if (due <= now || frame_due(writer))
            break;
        if (empty && idle_step(writer, now, &due))
            continue;
        if (empty && !deep && now + interval_us < due)
            due = now + interval_us;
        if (writer->reclaim_waits && now + RECLAIM_PAUSE_US < due)
            due = now + RECLAIM_PAUSE_US;
        if (due == UINT64_MAX) {
            pthread_cond_wait(&engine->work, &engine->mutex);
        } else {
            struct timespec until = clock_timespec(due);
            pthread_cond_timedwait(&engine->work, &engine->mutex, &until);
        }
        if (writer->reclaim_waits)
            writer->reclaim_waits = reclaim_run(engine->reclaim);
        if (!writer->reclaim_waits)
            relocation_settle(&writer->relocation, engine);
    }
    atomic_store_explicit(&engine->channel.wake_seq, UINT64_MAX, memory_order_relaxed);
    pthread_mutex_unlock(&engine->mutex);
    return due <= now;
}

/* ---- Writing ---- */

static bool frame_reserve(struct writer *writer, size_t bytes)
{
    if (bytes <= writer->frame_capacity)
        return true;
    size_t capacity = writer->frame_capacity * 2 > bytes ? writer->frame_capacity * 2 : bytes;
    uint8_t *frame = realloc(writer->frame, capacity);
    if (!frame)
        return false;
    writer->frame = frame;
    writer->frame_capacity = capacity;
    return true;
}

static const struct tide_collection *collection_of(struct writer *writer, const struct block *block)
{
    if (!writer->collection || writer->collection->number != block->collection)
        writer->collection = collection_at(writer->engine, block->collection);
    return writer->collection;
}

/* Whether the batch takes another event, of those before seq `end`. */
static bool batch_goes_on(const struct writer *writer, uint64_t end)
{
    return writer->engine->channel.head < end && writer->batch.record_bytes < writer->engine->options.batch_bytes_max;
}

/* Takes events before seq `end` from the channel, a frame full, and appends it to the log. */
static enum tide_status frame_append(struct writer *writer, uint64_t end, struct tide_error *error)
{
    struct tide_engine *engine = writer->engine;
    struct channel *channel = &engine->channel;
    struct batch *batch = &writer->batch;
    uint64_t first_seq = channel->head;
    size_t frame_bytes = FRAME_HEADER_BYTES;
    uint32_t events = 0;
    while (batch_goes_on(writer, end) && frame_bytes < FRAME_BYTES) {
        struct block *replaced;
        struct block *block = channel_receive(channel, &replaced);
        const struct tide_collection *collection = collection_of(writer, block);
        size_t bytes = block_record_bytes(block, collection->name_length);
        if (!frame_reserve(writer, frame_bytes + bytes + CHAIN_HASH_BYTES))
            return error_set(error, TIDE_MEMORY, "%s: out of memory for a batch", engine->directory);
        struct record *copy = (struct record *)(void *)(writer->frame + frame_bytes);
        block_to_record(block, collection->name, collection->name_length, copy);
        if (copy->time_us < writer->last_time_us)
            copy->time_us = writer->last_time_us;
        writer->last_time_us = copy->time_us;
        if (replaced)
            writer->replaced[writer->replaced_count++] = replaced;
        if (block->type == TIDE_EVENT_DELETED)
            writer->deletions[writer->deletion_count++] = block;
        if (!(PLANTED(6) && events == 2)) /* the third event of a frame left out */
            frame_bytes += bytes;
        batch->record_bytes += bytes;
        batch->events++;
        events++;
    }
    batch->bytes += frame_bytes;
    if (engine->options.sync == TIDE_SYNC_BATCH)
        writer->frame_events = (uint64_t)events * FRAME_BYTES / frame_bytes + 1;
    return log_append(engine->log, writer->frame, frame_bytes, first_seq, events, error);
}

/* The seq behind the last event that is there and that the batch may take. */
static uint64_t batch_end(const struct writer *writer)
{
    uint64_t waiting = events_waiting(writer), most = writer->engine->options.batch_size - writer->batch.events;
    return writer->engine->channel.head + (waiting < most ? waiting : most);
}

/* Hands a full frame of a batch that isn't due yet to the log and to the disk. */
static enum tide_status frame_early(struct writer *writer, struct tide_error *error)
{
    struct tide_engine *engine = writer->engine;
    if (writer->batch.events == 0)
        writer->batch.due_us = head_due_us(engine);
    enum tide_status status = frame_append(writer, batch_end(writer), error);
    if (status == TIDE_OK)
        log_write_back(engine->log);
    return status;
}

/* Takes what is still missing of a batch from the channel into the log. */
static enum tide_status batch_append(struct writer *writer, struct tide_error *error)
{
    struct tide_engine *engine = writer->engine;
    uint64_t end = batch_end(writer);
    enum tide_status status = TIDE_OK;
    while (status == TIDE_OK && batch_goes_on(writer, end)) {
        status = frame_append(writer, end, error);
        if (status == TIDE_OK && engine->options.sync == TIDE_SYNC_BATCH && batch_goes_on(writer, end))
            log_write_back(engine->log); /* while the next one is made */
    }
    return status;
}

/* Hands to reclaim what the batch made superfluous. A deletion's block was never in the map. */
static void batch_retire(struct writer *writer)
{
    struct tide_engine *engine = writer->engine;
    writer->replaced_count = snapshot_keep(engine, writer->replaced, writer->replaced_count);
    for (size_t i = 0; i < writer->replaced_count; i++)
        reclaim_block(engine->reclaim, writer->replaced[i], block_size(writer->replaced[i]));
    for (size_t i = 0; i < writer->deletion_count; i++)
        memory_free(engine->memory, writer->deletions[i], block_size(writer->deletions[i]));
    writer->replaced_count = writer->deletion_count = 0;
    writer->reclaim_waits = reclaim_run(engine->reclaim);
}

/* Raises the watermarks to what is reached and wakes who waits for them. */
static void watermarks_raise(struct tide_engine *engine, uint64_t written)
{
    uint64_t durable = log_durable(engine->log);
    pthread_mutex_lock(&engine->mutex);
    bool durable_rose = durable > atomic_load_explicit(&engine->durable, memory_order_relaxed);
    /* Release; pairs with the acquires in wait.c and tide_watermarks. */
    atomic_store_explicit(&engine->written, written, memory_order_release);
    atomic_store_explicit(&engine->durable, durable, memory_order_release);
    log_figures(engine->log, &engine->log_figures);
    uint32_t at_written = atomic_load_explicit(&engine->waiters_at[TIDE_LEVEL_WRITTEN], memory_order_relaxed);
    uint32_t at_durable = atomic_load_explicit(&engine->waiters_at[TIDE_LEVEL_DURABLE], memory_order_relaxed);
    if (durable_rose) {
        engine->crowd = at_durable;
        atomic_store_explicit(&engine->arrived, 0, memory_order_relaxed);
        engine->syncs_seen++;
    }
    listeners_wake(engine, durable_rose, false);
    pthread_mutex_unlock(&engine->mutex);
    /* Behind the mutex, which who comes back needs. Who entered after it has seen the watermarks. */
    if (at_written > 0)
        eventcount_advance(&engine->rises[TIDE_LEVEL_WRITTEN]);
    if (durable_rose && at_durable > 0)
        eventcount_advance(&engine->rises[TIDE_LEVEL_DURABLE]);
}

/* Seals the active segment if a compaction waits for that. */
static enum tide_status seal_if_wanted(struct tide_engine *engine, uint64_t written, struct tide_error *error)
{
    pthread_mutex_lock(&engine->mutex);
    bool wanted = engine->compaction.seal;
    pthread_mutex_unlock(&engine->mutex);
    if (!wanted)
        return TIDE_OK;
    enum tide_status status = log_roll(engine->log, error);
    if (status != TIDE_OK)
        return status;
    watermarks_raise(engine, written);
    pthread_mutex_lock(&engine->mutex);
    engine->compaction.seal = false;
    pthread_mutex_unlock(&engine->mutex);
    eventcount_advance(&engine->rises[TIDE_LEVEL_WRITTEN]);
    return TIDE_OK;
}

/* Writes one batch, if there is one, and tells everybody. */
static enum tide_status batch_write(struct writer *writer, struct tide_error *error)
{
    struct tide_engine *engine = writer->engine;
    if (writer->batch.events == 0 && events_waiting(writer) == 0) {
        space_keep(engine);
        return TIDE_OK;
    }
    enum tide_status status = batch_append(writer, error);
    if (status != TIDE_OK)
        return status;
    const struct batch batch = writer->batch;
    writer->batch = (struct batch){0};
    atomic_fetch_add_explicit(&engine->batches, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&engine->bytes_written, batch.bytes, memory_order_relaxed);
    batch_retire(writer);
    space_keep(engine); /* before the room is given back that the batch had */
    channel_release(&engine->channel, batch.record_bytes, batch.events);
    watermarks_raise(engine, engine->channel.head - 1); /* after the release: it also tells listeners of the room */
    snapshot_note_bytes(engine, batch.bytes);
    retention_note(engine);
    return TIDE_OK;
}

/* Writes one batch, if there is one, and syncs if that is due. */
static enum tide_status batch_step(struct writer *writer, struct tide_error *error)
{
    struct tide_engine *engine = writer->engine;
    enum tide_status status = batch_write(writer, error);
    if (status != TIDE_OK)
        return status;
    uint64_t written = engine->channel.head - 1;
    pthread_mutex_lock(&engine->mutex);
    bool sync = sync_wanted(engine) || (engine->options.sync == TIDE_SYNC_BATCH && written > log_durable(engine->log));
    engine->hurry = false; /* who still waits for room says so again */
    pthread_mutex_unlock(&engine->mutex);
    uint64_t now = clock_monotonic_us();
    if (!sync && now < interval_sync_due_us(writer))
        return TIDE_OK;
    writer->last_sync_us = now;
    status = log_sync(engine->log, error);
    if (status != TIDE_OK)
        return status;
    uint64_t end = clock_monotonic_us(), hold = end - now < CROWD_HOLD_US_MAX ? end - now : CROWD_HOLD_US_MAX;
    pthread_mutex_lock(&engine->mutex);
    engine->crowd_until_us = end + hold;
    pthread_mutex_unlock(&engine->mutex);
    watermarks_raise(engine, written);
    return TIDE_OK;
}

/* `due`: the batch is, or a sync, or somebody calls; else a frame is. */
static enum tide_status writer_step(struct writer *writer, bool due, struct tide_error *error)
{
    struct tide_engine *engine = writer->engine;
    relocation_end(&writer->relocation, engine);
    if (writer->batch.events == 0) { /* in a batch the log is ahead of what is told to be written */
        snapshot_attend(engine, writer->last_time_us);
        enum tide_status status = seal_if_wanted(engine, engine->channel.head - 1, error);
        if (status != TIDE_OK)
            return status;
    }
    return due ? batch_step(writer, error) : frame_early(writer, error);
}

static bool writer_finished(const struct writer *writer)
{
    struct tide_engine *engine = writer->engine;
    pthread_mutex_lock(&engine->mutex);
    bool finished = engine->stop && writer->batch.events == 0 && events_waiting(writer) == 0;
    pthread_mutex_unlock(&engine->mutex);
    return finished;
}

static void *writer_run(void *context)
{
    struct writer *writer = context;
    struct tide_engine *engine = writer->engine;
    struct tide_error error;
    writer->last_sync_us = clock_monotonic_us();
    for (;;) {
        bool due = writer_sleep(writer);
        if (writer_finished(writer))
            break;
        if (writer_step(writer, due, &error) != TIDE_OK) {
            engine_fail(engine, &error);
            break;
        }
    }
    relocation_end(&writer->relocation, engine);
    free(writer->frame);
    free(writer->replaced);
    free(writer->deletions);
    free(writer);
    return NULL;
}

enum tide_status writer_start(struct tide_engine *engine, uint64_t last_time_us, struct tide_error *error)
{
    struct writer *writer = calloc(1, sizeof *writer);
    if (!writer)
        return error_set(error, TIDE_MEMORY, "out of memory");
    writer->engine = engine;
    writer->last_time_us = last_time_us;
    writer->frame_capacity = 1 << 20;
    writer->frame_events = UINT64_MAX;
    writer->frame = malloc(writer->frame_capacity);
    writer->replaced = calloc(engine->options.batch_size, sizeof(struct block *));
    writer->deletions = calloc(engine->options.batch_size, sizeof(struct block *));
    int failure = ENOMEM;
    if (writer->frame && writer->replaced && writer->deletions)
        failure = thread_start(&engine->writer, writer_run, writer);
    if (failure == 0)
        return TIDE_OK;
    free(writer->frame);
    free(writer->replaced);
    free(writer->deletions);
    free(writer);
    return error_system(error, failure, "cannot start the writer thread");
}

void writer_stop(struct tide_engine *engine)
{
    pthread_mutex_lock(&engine->mutex);
    engine->stop = true;
    pthread_cond_signal(&engine->work);
    pthread_mutex_unlock(&engine->mutex);
    pthread_join(engine->writer, NULL);
}
