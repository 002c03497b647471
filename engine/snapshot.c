/* snapshot.c - the state as of one seq S, written to a file while writers go on.
 *
 * The maintenance thread asks, and the writer thread begins the capture between two batches: S is then the last written
 * seq. From there on the map's documents change under the snapshot's eyes, so whatever the writer learns to have
 * replaced a block with a seq up to S (a document's state as of S, that an event behind S has taken out of the map) it
 * doesn't give to reclaim, but keeps: a before-image. There is at most one a document. Meanwhile the maintenance thread
 * scans the maps and writes each block whose seq is S or less.
 *
 * When the scan is over, every document of S was either seen in its map, or an event that was accepted before the
 * scan's end has replaced it. So when all of these are written the writer has handed over every before-image that
 * matters; the capture ends, and they are written as well. A document can be in both places, with the same bytes.
 *
 * Before the file gets its name all events up to S must be durable: a snapshot is a proof that they were, and recovery
 * takes it for one. The before-images go back to the writer, who alone owns reclaim.
 *
 * While others write, the maintenance thread works in short pieces and rests in between: where there are fewer
 * processors than busy threads the system would take one from a writer for a whole time slice, several milliseconds,
 * over and over.
 *
 * The two newest snapshots are kept. A snapshot that fails leaves the engine as it was. */
#include "snapshot.h"

#include <inttypes.h>
#include <stdlib.h>
#include <time.h>

#include "engine.h"
#include "epoch.h"
#include "error.h"
#include "file.h"
#include "maintenance.h"
#include "plant.h"

enum { KEPT_BESIDE_NEWEST = 1 };

/* On the stack of the maintenance thread; guarded by the engine's mutex while the engine knows it. */
struct snapshot_capture {
    bool begun, memory_out;
    struct snapshot_header header;
    struct block **images; /* before-images */
    size_t count, capacity;
};

/* ---- The writer thread ---- */

bool snapshot_calls(const struct tide_engine *engine)
{
    const struct snapshot_state *state = &engine->snapshots;
    return state->given_back || (state->capture && !state->capture->begun);
}

void snapshot_attend(struct tide_engine *engine, uint64_t last_time_us)
{
    struct snapshot_state *state = &engine->snapshots;
    pthread_mutex_lock(&engine->mutex);
    struct block **images = state->given_back;
    size_t count = state->given_back_count;
    state->given_back = NULL;
    struct snapshot_capture *capture = state->capture;
    bool begun = false;
    if (capture && !capture->begun) {
        capture->header.seq = engine->channel.head - 1;
        capture->header.last_time_us = last_time_us;
        log_place(engine->log, capture->header.database_id, &capture->header.segment_first_seq,
                  &capture->header.segment_offset, &capture->header.chain);
        capture->begun = true;
        engine->bytes_since_snapshot = 0;
        begun = true;
    }
    pthread_mutex_unlock(&engine->mutex);
    if (begun)
        eventcount_advance(&engine->rises[TIDE_LEVEL_WRITTEN]);
    for (size_t i = 0; i < count && images; i++)
        reclaim_block(engine->reclaim, images[i], block_size(images[i]));
    free(images);
}

static bool image_keep(struct snapshot_capture *capture, struct block *image)
{
    if (capture->count == capture->capacity) {
        size_t capacity = capture->capacity ? capture->capacity * 2 : 1024;
        struct block **images = realloc(capture->images, capacity * sizeof(struct block *));
        if (!images) {
            capture->memory_out = true;
            return false;
        }
        capture->images = images;
        capture->capacity = capacity;
    }
    capture->images[capture->count++] = image;
    return true;
}

size_t snapshot_keep(struct tide_engine *engine, struct block **replaced, size_t count)
{
    size_t left = 0;
    pthread_mutex_lock(&engine->mutex);
    struct snapshot_capture *capture = engine->snapshots.capture;
    if (!capture || !capture->begun)
        left = count;
    for (size_t i = left; i < count; i++) {
        if (replaced[i]->seq > capture->header.seq || !image_keep(capture, replaced[i]))
            replaced[left++] = replaced[i];
    }
    pthread_mutex_unlock(&engine->mutex);
    return left;
}

void snapshot_note_bytes(struct tide_engine *engine, uint64_t bytes)
{
    engine->bytes_since_snapshot += bytes;
    if (engine->bytes_since_snapshot < engine->options.snapshot_log_bytes)
        return;
    engine->bytes_since_snapshot = 0; /* one that fails is tried again after as much as this */
    maintenance_request(engine, MAINTENANCE_SNAPSHOT);
}

/* ---- The maintenance thread ---- */

static uint64_t accepted(const struct tide_engine *engine)
{
    return channel_tail(&engine->channel) - 1;
}

static enum tide_status capture_begin(struct tide_engine *engine, struct snapshot_capture *capture,
                                      struct tide_error *error)
{
    enum tide_status status = TIDE_OK;
    pthread_mutex_lock(&engine->mutex);
    engine->snapshots.capture = capture;
    pthread_cond_signal(&engine->work);
    pthread_mutex_unlock(&engine->mutex);
    while (status == TIDE_OK) {
        uint32_t rises = eventcount_read(&engine->rises[TIDE_LEVEL_WRITTEN]);
        pthread_mutex_lock(&engine->mutex);
        bool begun = capture->begun;
        pthread_mutex_unlock(&engine->mutex);
        if (begun)
            break;
        status = engine_lives(engine, error);
        if (status == TIDE_OK)
            eventcount_wait(&engine->rises[TIDE_LEVEL_WRITTEN], rises, UINT64_MAX);
    }
    return status;
}

/* From here on the capture and its before-images are ours alone. */
static void capture_end(struct tide_engine *engine)
{
    pthread_mutex_lock(&engine->mutex);
    engine->snapshots.capture = NULL;
    pthread_mutex_unlock(&engine->mutex);
}

static void images_give_back(struct tide_engine *engine, const struct snapshot_capture *capture)
{
    if (capture->count == 0) {
        free(capture->images);
        return;
    }
    /* What the snapshot before gave back is gone: the writer took it when it began this capture. */
    pthread_mutex_lock(&engine->mutex);
    engine->snapshots.given_back = capture->images;
    engine->snapshots.given_back_count = capture->count;
    pthread_cond_signal(&engine->work);
    pthread_mutex_unlock(&engine->mutex);
}

struct pace {
    uint64_t begun_us, accepted; /* when the last rest was over, and the newest event at its beginning */
};

/* Between two pieces of work: rests when it is time to. An event costs who writes it and the writer about a microsecond
 * of a processor; it rests two for each that was accepted since, but at most five times as long as it worked, or was
 * kept from working. It rests on while memory isn't made ready as fast as they need it, for the thread that does that
 * runs when nobody else does. */
static void pace_keep(struct pace *pace, const struct tide_engine *engine)
{
    enum { WORK_US = 100, REST_US_AN_EVENT = 2, RESTS_A_WORK = 5, REST_US_MAX = 20000 };
    uint64_t worked_us = clock_monotonic_us() - pace->begun_us, seq = accepted(engine);
    uint64_t rest_us = REST_US_AN_EVENT * (seq - pace->accepted), rested_us = 0;
    if (worked_us < WORK_US || rest_us < WORK_US)
        return;
    if (rest_us > RESTS_A_WORK * worked_us)
        rest_us = RESTS_A_WORK * worked_us;
    if (rest_us > REST_US_MAX)
        rest_us = REST_US_MAX;
    do {
        nanosleep(&(struct timespec){.tv_nsec = (long)rest_us * 1000}, NULL);
        rested_us += rest_us;
    } while (rested_us < REST_US_MAX && memory_behind(engine->memory));
    *pace = (struct pace){clock_monotonic_us(), seq};
}

/* Copies documents from the cursor on, until a block is full, within one read section. False: out of memory. */
static bool scan_step(struct tide_collection *collection, struct tide_cursor *cursor, uint64_t seq,
                      struct snapshot_output *output)
{
    const struct block *blocks[MAP_SCAN_MAX];
    bool shard_done, room = true;
    epoch_enter();
    size_t count = map_scan(collection->map, cursor->shard, &cursor->hash, &shard_done, blocks, MAP_SCAN_MAX);
    for (size_t i = 0; i < count && room; i++) {
        if (blocks[i]->seq > seq - PLANTED(15)) /* the last event's document left out */
            continue;
        if (snapshot_output_full(output)) { /* the rest is read again: documents may be large */
            cursor->hash = map_hash(block_id(blocks[i]), blocks[i]->id_length);
            shard_done = false;
            break;
        }
        room = snapshot_output_add(output, blocks[i], collection->name, collection->name_length);
        collection->snapshot_records++;
    }
    epoch_exit();
    if (shard_done) {
        cursor->hash = 0;
        cursor->done = ++cursor->shard == MAP_SHARDS;
    }
    return room;
}

static enum tide_status collection_scan(struct tide_collection *collection, uint64_t seq, struct pace *pace,
                                        struct snapshot_output *output, struct tide_error *error)
{
    struct tide_cursor cursor = {0};
    enum tide_status status = TIDE_OK;
    while (!cursor.done && status == TIDE_OK) {
        pace_keep(pace, collection->engine);
        if (!scan_step(collection, &cursor, seq, output))
            return error_set(error, TIDE_MEMORY, "out of memory for a snapshot");
        if (snapshot_output_full(output)) {
            status = snapshot_output_pour(output, error);
            if (status == TIDE_OK)
                status = engine_lives(collection->engine, error);
        }
    }
    return status;
}

static enum tide_status images_write(struct tide_engine *engine, const struct snapshot_capture *capture,
                                     struct pace *pace, struct snapshot_output *output, struct tide_error *error)
{
    enum tide_status status = TIDE_OK;
    struct tide_collection *collection = NULL;
    for (size_t i = 0; i < capture->count && status == TIDE_OK; i++) {
        pace_keep(pace, engine);
        const struct block *image = capture->images[i];
        if (!collection || collection->number != image->collection)
            collection = collection_at(engine, image->collection);
        if (!snapshot_output_add(output, image, collection->name, collection->name_length))
            return error_set(error, TIDE_MEMORY, "out of memory for a snapshot");
        collection->snapshot_records++;
        if (snapshot_output_full(output)) {
            status = snapshot_output_pour(output, error);
            if (status == TIDE_OK)
                status = engine_lives(engine, error);
        }
    }
    return status;
}

/* The collections that the snapshot tells of: those with documents, or whose first deletion lies before it. */
static struct snapshot_collection *collections_tell(struct tide_engine *engine, uint64_t seq, size_t *count)
{
    *count = 0;
    pthread_mutex_lock(&engine->collections_mutex);
    struct snapshot_collection *told = malloc((engine->collection_count + 1) * sizeof *told);
    for (size_t i = 0; i < engine->collection_count && told; i++) {
        const struct tide_collection *collection = engine->collections[i];
        /* Relaxed: one that is not S or less yet is of no interest, and the others' events were written. */
        uint64_t first_delete = atomic_load_explicit(&collection->first_delete_seq, memory_order_relaxed);
        if (first_delete > seq)
            first_delete = 0;
        if (collection->snapshot_records == 0 && first_delete == 0)
            continue;
        struct snapshot_collection *one = &told[(*count)++];
        *one = (struct snapshot_collection){.first_delete_seq = first_delete,
                                            .records = collection->snapshot_records,
                                            .name_length = collection->name_length};
        memcpy(one->name, collection->name, collection->name_length);
    }
    pthread_mutex_unlock(&engine->collections_mutex);
    return told;
}

static bool counter_reset(void *context, struct tide_collection *collection)
{
    (void)context;
    collection->snapshot_records = 0;
    return true;
}

struct scan {
    struct tide_engine *engine;
    struct snapshot_output *output;
    struct pace pace;
    uint64_t seq;
    enum tide_status status;
    struct tide_error *error;
};

static bool scan_visit(void *context, struct tide_collection *collection)
{
    struct scan *scan = context;
    scan->status = collection_scan(collection, scan->seq, &scan->pace, scan->output, scan->error);
    return scan->status == TIDE_OK;
}

/* Writes the contents, and ends the capture once it isn't needed any more. */
static enum tide_status contents_write(struct tide_engine *engine, struct snapshot_capture *capture,
                                       struct snapshot_output *output, struct tide_snapshot *made,
                                       struct tide_error *error)
{
    struct scan scan = {.engine = engine,
                        .output = output,
                        .pace = {clock_monotonic_us(), accepted(engine)},
                        .seq = capture->header.seq,
                        .error = error};
    tide_collections(engine, counter_reset, NULL);
    tide_collections(engine, scan_visit, &scan);
    enum tide_status status = scan.status;
    if (status == TIDE_OK)
        status = watermark_await(engine, accepted(engine), TIDE_LEVEL_WRITTEN, error);
    capture_end(engine);
    if (status == TIDE_OK && capture->memory_out)
        status = error_set(error, TIDE_MEMORY, "out of memory for a snapshot");
    if (status == TIDE_OK)
        status = images_write(engine, capture, &scan.pace, output, error);
    if (status != TIDE_OK)
        return status;
    size_t count;
    struct snapshot_collection *collections = collections_tell(engine, capture->header.seq, &count);
    status = collections ? snapshot_output_finish(output, collections, count, &made->records, &made->bytes, error)
                         : error_set(error, TIDE_MEMORY, "out of memory for a snapshot");
    free(collections);
    return status;
}

/* Removes what the new snapshot makes superfluous. One that cannot be removed now will be by the next one. */
static void older_remove(struct tide_engine *engine, const struct snapshot_header *header)
{
    struct snapshot_list list;
    unsigned kept = 0;
    if (snapshot_list_read(engine->directory, &list, NULL) != TIDE_OK)
        return;
    for (size_t i = 0; i < list.count; i++) {
        struct snapshot older;
        if (list.seqs[i] >= header->seq)
            continue;
        enum tide_status status = snapshot_open(&older, engine->directory, list.seqs[i], header->database_id, NULL);
        snapshot_close(&older);
        if (status != TIDE_CORRUPT && kept++ < KEPT_BESIDE_NEWEST)
            continue;
        char *path = file_path(engine->directory, older.name);
        if (path)
            file_unlink(path);
        free(path);
    }
    snapshot_list_free(&list);
}

static enum tide_status file_make(struct tide_engine *engine, struct snapshot_capture *capture,
                                  struct tide_snapshot *made, struct tide_error *error)
{
    struct snapshot_output *output;
    enum tide_status status = snapshot_output_create(engine->directory, &capture->header, &output, error);
    if (status == TIDE_OK)
        status = contents_write(engine, capture, output, made, error);
    capture_end(engine);
    if (status == TIDE_OK)
        status = watermark_await(engine, capture->header.seq, TIDE_LEVEL_DURABLE, error);
    if (status == TIDE_OK)
        status = snapshot_output_publish(output, error);
    snapshot_output_destroy(output);
    if (status == TIDE_OK)
        older_remove(engine, &capture->header);
    return status;
}

enum tide_status snapshot_make(struct tide_engine *engine, struct tide_error *error)
{
    struct snapshot_state *state = &engine->snapshots;
    struct snapshot_capture capture = {.header = {.created_us = clock_real_us()}};
    struct tide_snapshot made = {0};
    uint64_t start_us = clock_monotonic_us();
    /* Not beside a compaction: that looks at the snapshots there are. */
    pthread_mutex_lock(&engine->compaction.mutex);
    /* What was accepted before somebody asked is to be in it. */
    enum tide_status status = watermark_await(engine, accepted(engine), TIDE_LEVEL_WRITTEN, error);
    if (status == TIDE_OK)
        status = capture_begin(engine, &capture, error);
    if (status == TIDE_OK)
        status = file_make(engine, &capture, &made, error);
    else
        capture_end(engine);
    images_give_back(engine, &capture);
    pthread_mutex_unlock(&engine->compaction.mutex);
    made.seq = capture.header.seq;
    made.duration_us = clock_monotonic_us() - start_us;
    pthread_mutex_lock(&engine->mutex);
    if (status == TIDE_OK) {
        state->newest = made;
        state->made++;
    } else {
        state->failed++;
    }
    pthread_mutex_unlock(&engine->mutex);
    return status;
}

void snapshot_state_destroy(struct snapshot_state *state)
{
    free(state->given_back); /* the blocks go with their memory */
}

/* ---- Anybody ---- */

enum tide_status tide_snapshot(struct tide_engine *engine, struct tide_snapshot *made, struct tide_error *error)
{
    enum tide_status status = engine_state(engine, error);
    if (status != TIDE_OK)
        return status;
    status = maintenance_wait(engine, MAINTENANCE_SNAPSHOT, error);
    if (status == TIDE_OK && made) {
        pthread_mutex_lock(&engine->mutex);
        *made = engine->snapshots.newest;
        pthread_mutex_unlock(&engine->mutex);
    }
    return status;
}
