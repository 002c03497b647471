/* compact.c - removes from the sealed segments what the retention doesn't ask for.
 *
 * Of a document that exists its newest event always stays, of one that doesn't its deletion, as long as an event before
 * that stays: so the log alone always amounts to the map. Everything else is the retention's to decide. Seqs keep their
 * places, a removed one is told as a gap.
 *
 * Segments are gone through from the oldest on, one by one, twice each: first every event is looked at, then, if a
 * tenth of the bytes would go, what stays is written into a new file (segment_writer.h) which is renamed over the old
 * one. An event is old when the map has the document with a greater version, or hasn't got it. The map may be ahead of
 * the disk; so before the rename everything that was accepted by then is made durable. (Were the newer event lost in a
 * crash, the older one would have to be there.)
 *
 * A deletion may go only when nothing of the document is left before it, or replaying the log would bring the document
 * back. What stays before it is known from the segments gone through so far: the ids, as hashes, of those events that
 * stay though their document is gone. A crash leaves the segments compacted up to one of them, never a later one alone,
 * since each rename is made durable before the next segment is begun.
 *
 * A snapshot has documents, too, whose deletion the log behind it must tell. So all deletions behind the oldest one
 * stay.
 *
 * `events_per_document` counts over the whole log before, the documents that exist alone (id_table.c says what that
 * costs); what is written meanwhile only lets more stay. Of a deleted document it leaves nothing. `log_bytes` ends with
 * the segment that brings the log down to its size, `days` with the first one that is young.
 *
 * Writers and readers go on: the map is asked with the id's shard locked, as a write does, for the moment of a look-up.
 * An error leaves the segment as it was; the engine doesn't mind. */
#include "compact.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "id_table.h"
#include "log_events.h"
#include "log_reader.h"
#include "plant.h"
#include "segment.h"
#include "segment_writer.h"
#include "snapshot_file.h"

enum { WORTHWHILE_PARTS = 10 }; /* a segment is rewritten when at least a tenth of it goes */

struct run {
    struct tide_engine *engine;
    const struct tide_compact *request;
    enum tide_retain retain;
    uint64_t limit;
    uint64_t young_us;       /* RETAIN_DAYS: events from this time on stay */
    struct id_table *counts; /* RETAIN_EVENTS_PER_DOCUMENT: all events of a document, and those gone through */
    struct id_table *kept;   /* of which an event stays, though the document is gone */
    uint64_t snapshot_seq;   /* of the oldest snapshot; UINT64_MAX: there is none */
    struct tide_collection *collection; /* of the event before */
    struct tide_compaction *result;
    uint64_t log_bytes; /* now */
    bool enough;        /* the segments behind stay as they are */
};

/* One segment: what is known of it after it was looked at. */
struct look {
    uint64_t first_seq, next_seq; /* next_seq: behind the last one that was read */
    uint64_t bytes, removed_bytes, removed;
    uint8_t *stays; /* a bit for each record, in their order */
    size_t count, capacity;
};

static bool stays_get(const struct look *look, size_t i)
{
    return look->stays[i / 8] >> (i % 8) & 1;
}

static bool stays_put(struct look *look, bool stays)
{
    if (look->count == look->capacity * 8) {
        size_t capacity = look->capacity ? look->capacity * 2 : 1024;
        uint8_t *grown = realloc(look->stays, capacity);
        if (!grown)
            return false;
        look->stays = grown;
        look->capacity = capacity;
    }
    uint8_t bit = (uint8_t)(1 << (look->count % 8));
    if (look->count % 8 == 0)
        look->stays[look->count / 8] = 0;
    look->stays[look->count++ / 8] |= stays ? bit : 0;
    return true;
}

static enum tide_status memory_out(const struct run *run, struct tide_error *error)
{
    return error_set(error, TIDE_MEMORY, "%s: out of memory for a compaction", run->engine->directory);
}

/* ---- What stays ---- */

/* The version that the record's document has now, 0: it is absent. *collection is kept for the next call: events of one
 * collection mostly come in rows. The shard is locked: so whatever event made it so has its place in the channel, and a
 * flush that begins later waits for it. */
static enum tide_status version_now(struct run *run, const struct record *record, uint64_t *version,
                                    struct tide_error *error)
{
    struct tide_collection *collection = run->collection;
    if (!collection || collection->name_length != record->collection_length ||
        memcmp(collection->name, record_collection(record), collection->name_length) != 0)
        collection = tide_collection(run->engine, record_collection(record), record->collection_length, error);
    if (!collection)
        return TIDE_MEMORY;
    run->collection = collection;
    struct map_place place;
    map_lock(collection->map, map_hash(record_id(record), record->id_length), record_id(record), record->id_length,
             &place);
    *version = place.block ? place.block->seq : 0;
    map_unlock(&place);
    return TIDE_OK;
}

/* Whether the retention asks for an event that isn't its document's newest. */
static bool retained(struct run *run, const struct record *record, uint64_t version)
{
    if (run->retain == TIDE_RETAIN_DAYS)
        return record->time_us >= run->young_us;
    if (run->retain != TIDE_RETAIN_EVENTS_PER_DOCUMENT || run->limit == 1 || version == 0)
        return false;
    /* A document that came into being after the counting has none of its earlier events counted. */
    const struct id_entry *entry = id_table_find(run->counts, record);
    return entry && (int64_t)entry->total - (int64_t)entry->seen < (int64_t)run->limit;
}

/* Whether something is left that the document's deletion must outlive. */
static bool deletion_needed(const struct run *run, const struct record *record)
{
    return (record->seq > run->snapshot_seq && !PLANTED(17)) ||
           id_table_find(run->kept, record); /* 17: snapshots forgotten */
}

static enum tide_status record_judge(struct run *run, const struct record *record, bool *stays,
                                     struct tide_error *error)
{
    uint64_t version;
    enum tide_status status = version_now(run, record, &version, error);
    if (status != TIDE_OK)
        return status;
    if (run->counts) {
        struct id_entry *entry = id_table_find(run->counts, record);
        if (entry)
            entry->seen++;
    }
    if (version == record->seq)
        *stays = !PLANTED(16); /* a document's newest event dropped */
    else
        *stays = retained(run, record, version) ||
                 (version == 0 && record->type == TIDE_EVENT_DELETED && deletion_needed(run, record));
    if (*stays && version == 0 && !id_table_enter(run->kept, record))
        return memory_out(run, error);
    return TIDE_OK;
}

/* Counts the events of each document that exists, in the whole log. */
static enum tide_status events_count(struct run *run, struct tide_error *error)
{
    struct tide_watermarks watermarks;
    struct log_events *events;
    struct tide_event event;
    tide_watermarks(run->engine, &watermarks);
    const struct tide_event_filter filter = {.from = 1, .to = watermarks.durable};
    if (!(run->counts = id_table_create()))
        return memory_out(run, error);
    enum tide_status status = log_events_open(run->engine->directory, run->engine->index, &filter, &events, error);
    if (status != TIDE_OK)
        return status;
    while (status == TIDE_OK && (status = log_events_next(events, &event, error)) == TIDE_OK) {
        uint64_t version;
        const struct record *record = log_events_record(events);
        status = engine_lives(run->engine, error);
        if (event.type == TIDE_EVENT_GAP || status != TIDE_OK)
            continue;
        status = version_now(run, record, &version, error);
        struct id_entry *entry = status == TIDE_OK && version != 0 ? id_table_enter(run->counts, record) : NULL;
        if (entry)
            entry->total++;
        else if (status == TIDE_OK && version != 0)
            status = memory_out(run, error);
    }
    log_events_close(events);
    return status == TIDE_NOT_FOUND ? TIDE_OK : status;
}

/* ---- A segment ---- */

static enum tide_status damaged(const struct run *run, const struct look *look, struct tide_error *error)
{
    char name[SEGMENT_NAME_BYTES];
    segment_sealed_name(name, look->first_seq);
    return error_set(error, TIDE_CORRUPT, "%s/%s: damaged at offset %" PRIu64 ", seq %" PRIu64 "; see tidemark verify",
                     run->engine->directory, name, look->bytes, look->next_seq);
}

/* Reads the segment's frames in their order and hands each to `visit`. A seal may also stand in the middle: then a
 * crash came before the renames, and the segment was written on. */
static enum tide_status frames_visit(struct run *run, struct look *look, struct log_reader *reader,
                                     enum tide_status (*visit)(struct run *run, struct look *look, void *context,
                                                               const struct log_frame *frame, struct tide_error *error),
                                     void *context, struct tide_error *error)
{
    look->next_seq = look->first_seq;
    look->bytes = SEGMENT_HEADER_BYTES;
    log_reader_seek(reader, SEGMENT_HEADER_BYTES);
    for (uint8_t kind = FRAME_EVENTS;;) {
        struct log_frame frame;
        enum tide_status status = engine_lives(run->engine, error);
        enum log_found found = status == TIDE_OK ? log_reader_next(reader, &frame, error) : LOG_FOUND_ERROR;
        if (found == LOG_FOUND_ERROR)
            return error->status;
        if (found == LOG_FOUND_END && kind == FRAME_SEALED)
            return TIDE_OK;
        if (found != LOG_FOUND_FRAME || frame.header.first_seq != look->next_seq)
            return damaged(run, look, error);
        status = visit(run, look, context, &frame, error);
        if (status != TIDE_OK)
            return status;
        kind = frame.header.kind;
        look->next_seq = frame_next_seq(frame.bytes, &frame.header);
        look->bytes += frame.header.bytes;
    }
}

/* The first time: judges each record. */
static enum tide_status frame_look(struct run *run, struct look *look, void *context, const struct log_frame *frame,
                                   struct tide_error *error)
{
    (void)context;
    size_t offset = FRAME_HEADER_BYTES;
    const struct record *record;
    while ((record = log_frame_record(frame, &offset))) {
        bool stays = true;
        if (run->retain == TIDE_RETAIN_DAYS && record->time_us >= run->young_us)
            run->enough = true; /* all that comes behind is as young */
        enum tide_status status = record_judge(run, record, &stays, error);
        if (status != TIDE_OK)
            return status;
        if (!stays_put(look, stays))
            return memory_out(run, error);
        look->removed += !stays;
        look->removed_bytes += stays ? 0 : record_size(record);
    }
    return TIDE_OK;
}

/* The second time, in a segment that stays as it is: so everything in it stays before what comes behind. */
static enum tide_status frame_keep(struct run *run, struct look *look, void *context, const struct log_frame *frame,
                                   struct tide_error *error)
{
    (void)look;
    (void)context;
    size_t offset = FRAME_HEADER_BYTES;
    const struct record *record;
    while ((record = log_frame_record(frame, &offset))) {
        uint64_t version;
        enum tide_status status = version_now(run, record, &version, error);
        if (status != TIDE_OK)
            return status;
        if (version == 0 && !id_table_enter(run->kept, record))
            return memory_out(run, error);
    }
    return TIDE_OK;
}

struct rewriting {
    struct segment_writer *writer;
    size_t record; /* the next one's bit */
};

/* The second time, in a segment that is rewritten. Marks of a clean close have no meaning in a sealed segment, the seal
 * is the writer's own. */
static enum tide_status frame_rewrite(struct run *run, struct look *look, void *context, const struct log_frame *frame,
                                      struct tide_error *error)
{
    (void)run;
    struct rewriting *rewriting = context;
    if (frame->header.kind == FRAME_GAP)
        return segment_writer_copy(rewriting->writer, frame, error);
    if (!frame_holds_events(&frame->header))
        return TIDE_OK;
    bool whole = frame->header.kind == FRAME_EVENTS;
    for (uint32_t i = 0; i < frame->header.events && whole; i++)
        whole = stays_get(look, rewriting->record + i);
    if (whole) {
        rewriting->record += frame->header.events;
        return segment_writer_copy(rewriting->writer, frame, error);
    }
    size_t offset = FRAME_HEADER_BYTES;
    const struct record *record;
    while ((record = log_frame_record(frame, &offset))) {
        if (!stays_get(look, rewriting->record++))
            continue;
        enum tide_status status = segment_writer_cover(rewriting->writer, record->seq, error);
        if (status == TIDE_OK)
            status = segment_writer_record(rewriting->writer, record, error);
        if (status != TIDE_OK)
            return status;
    }
    return segment_writer_cover(rewriting->writer, frame_next_seq(frame->bytes, &frame->header), error);
}

/* Makes durable what is accepted by now. */
static enum tide_status accepted_settle(struct tide_engine *engine, struct tide_error *error)
{
    return watermark_await(engine, channel_tail(&engine->channel) - 1, TIDE_LEVEL_DURABLE, error);
}

static enum tide_status segment_rewrite(struct run *run, struct look *look, struct log_reader *reader,
                                        struct tide_error *error)
{
    struct tide_engine *engine = run->engine;
    struct rewriting rewriting = {0};
    uint64_t old_bytes = look->bytes, bytes = 0;
    uint64_t accepted = channel_tail(&engine->channel) - 1; /* what makes its events old is among that */
    enum tide_status status =
        segment_writer_open(engine->directory, log_reader_header(reader), accepted, &rewriting.writer, error);
    if (status == TIDE_OK)
        status = frames_visit(run, look, reader, frame_rewrite, &rewriting, error);
    if (status == TIDE_OK)
        status = segment_writer_finish(rewriting.writer, &bytes, error);
    if (status == TIDE_OK)
        status = accepted_settle(engine, error);
    if (status == TIDE_OK)
        status = segment_writer_publish(rewriting.writer, engine->index, error);
    bool published = rewriting.writer && segment_writer_published(rewriting.writer);
    segment_writer_close(rewriting.writer);
    if (!published)
        return status;
    run->result->rewritten++;
    run->result->removed += look->removed;
    run->log_bytes -= old_bytes - bytes;
    /* Relaxed: figures. */
    atomic_fetch_add_explicit(&engine->compaction.removed, look->removed, memory_order_relaxed);
    atomic_fetch_add_explicit(&engine->compaction.bytes, old_bytes - bytes, memory_order_relaxed);
    return status;
}

static enum tide_status segment_compact(struct run *run, uint64_t first_seq, struct tide_error *error)
{
    struct look look = {.first_seq = first_seq};
    struct log_reader *reader;
    char name[SEGMENT_NAME_BYTES];
    segment_sealed_name(name, first_seq);
    enum tide_status status = log_reader_open(run->engine->directory, name, &reader, error);
    if (status != TIDE_OK)
        return status;
    run->result->segments++;
    status = frames_visit(run, &look, reader, frame_look, NULL, error);
    if (status == TIDE_OK && look.removed > 0) {
        if (look.removed_bytes * WORTHWHILE_PARTS >= look.bytes)
            status = segment_rewrite(run, &look, reader, error);
        else
            status = frames_visit(run, &look, reader, frame_keep, NULL, error);
    }
    free(look.stays);
    log_reader_close(reader);
    return status;
}

/* ---- The whole ---- */

static uint64_t log_bytes_now(struct tide_engine *engine)
{
    struct tide_stats stats;
    tide_stats(engine, &stats);
    return stats.log_bytes;
}

/* Has the writer seal the active segment, so that all there is can be compacted. */
static enum tide_status active_seal(struct tide_engine *engine, struct tide_error *error)
{
    enum tide_status status = TIDE_OK;
    pthread_mutex_lock(&engine->mutex);
    engine->compaction.seal = true;
    pthread_cond_signal(&engine->work);
    pthread_mutex_unlock(&engine->mutex);
    for (;;) {
        uint32_t rises = eventcount_read(&engine->rises[TIDE_LEVEL_WRITTEN]);
        if (status == TIDE_OK)
            status = engine_lives(engine, error);
        pthread_mutex_lock(&engine->mutex);
        bool sealed = !engine->compaction.seal;
        if (status != TIDE_OK)
            engine->compaction.seal = false;
        pthread_mutex_unlock(&engine->mutex);
        if (sealed)
            return TIDE_OK;
        if (status != TIDE_OK)
            return status;
        eventcount_wait(&engine->rises[TIDE_LEVEL_WRITTEN], rises, UINT64_MAX);
    }
}

static enum tide_status segments_compact(struct run *run, struct tide_error *error)
{
    struct tide_engine *engine = run->engine;
    struct segment_list list;
    /* Relaxed: the list is of files that the writer has given their names. */
    uint64_t durable = atomic_load_explicit(&engine->durable, memory_order_relaxed);
    enum tide_status status = segment_list_read(engine->directory, &list, error);
    if (status != TIDE_OK)
        return status;
    for (size_t i = 0; i < list.sealed_count && status == TIDE_OK && !run->enough; i++) {
        if (list.sealed[i] > durable || (run->retain == TIDE_RETAIN_LOG_BYTES && run->log_bytes <= run->limit))
            break;
        status = segment_compact(run, list.sealed[i], error);
        if (status == TIDE_OK && run->request->progress)
            run->request->progress(run->request->context, i + 1, list.sealed_count);
    }
    segment_list_free(&list);
    return status;
}

static enum tide_status run_whole(struct run *run, struct tide_error *error)
{
    enum { DAY_S = 86400 };
    struct tide_engine *engine = run->engine;
    uint64_t now_us = clock_real_us(), days_us = run->limit * DAY_S * 1000000;
    enum tide_status status = accepted_settle(engine, error);
    bool small = run->retain == TIDE_RETAIN_LOG_BYTES && log_bytes_now(engine) <= run->limit;
    if (status == TIDE_OK && !run->request->sealed_alone && !small)
        status = active_seal(engine, error);
    if (status != TIDE_OK)
        return status;
    run->log_bytes = run->result->bytes_before = log_bytes_now(engine);
    struct snapshot_list list;
    status = snapshot_list_read(engine->directory, &list, error);
    if (status != TIDE_OK)
        return status;
    run->snapshot_seq = list.count > 0 ? list.seqs[list.count - 1] : UINT64_MAX;
    snapshot_list_free(&list);
    run->young_us = now_us > days_us ? now_us - days_us : 0;
    if (!(run->kept = id_table_create()))
        return memory_out(run, error);
    if (run->retain == TIDE_RETAIN_EVENTS_PER_DOCUMENT && run->limit > 1)
        status = events_count(run, error);
    if (status == TIDE_OK)
        status = segments_compact(run, error);
    run->result->bytes_after = run->log_bytes;
    return status;
}

enum tide_status compact_run(struct tide_engine *engine, const struct tide_compact *compact,
                             struct tide_compaction *result, struct tide_error *error)
{
    struct tide_error local = {0};
    struct tide_error *told = error ? error : &local;
    struct run run = {.engine = engine, .request = compact, .result = result};
    bool given = compact->retain != TIDE_RETAIN_DEFAULT;
    run.retain = given ? compact->retain : engine->options.retain;
    run.limit = given ? compact->limit : engine->options.retain_limit;
    enum tide_status status = TIDE_OK;
    *result = (struct tide_compaction){0};
    if (run.retain != TIDE_RETAIN_ALL && engine->options.hash_chain)
        return error_set(told, TIDE_INVALID, "%s has a hash chain, which vouches for every event: none can be removed",
                         engine->directory);
    pthread_mutex_lock(&engine->compaction.mutex);
    if (run.retain == TIDE_RETAIN_ALL)
        result->bytes_before = result->bytes_after = log_bytes_now(engine);
    else
        status = run_whole(&run, told);
    atomic_fetch_add_explicit(status == TIDE_OK ? &engine->compaction.count : &engine->compaction.failures, 1,
                              memory_order_relaxed);
    pthread_mutex_unlock(&engine->compaction.mutex);
    id_table_destroy(run.counts);
    id_table_destroy(run.kept);
    return status;
}

enum tide_status tide_compact(struct tide_engine *engine, const struct tide_compact *compact,
                              struct tide_compaction *result, struct tide_error *error)
{
    static const struct tide_compact in_force;
    struct tide_compaction ignored;
    if (!result)
        result = &ignored;
    *result = (struct tide_compaction){0};
    enum tide_status status = compact ? options_retain_check(compact->retain, compact->limit, error) : TIDE_OK;
    if (status == TIDE_OK)
        status = engine_state(engine, error);
    if (status == TIDE_OK)
        status = waiter_enter(engine, error); /* so that a close waits for us */
    if (status != TIDE_OK)
        return status;
    pthread_mutex_unlock(&engine->mutex);
    status = compact_run(engine, compact ? compact : &in_force, result, error);
    waiter_leave(engine);
    return status;
}
