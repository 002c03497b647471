/* engine.c - opening and closing: the registry of open databases, and the parts of one in the order in which they are
 * made and unmade.
 *
 * One process has one engine for a directory, found by device and inode, however many handles and Lua states share it.
 * The registry's mutex is held while a database opens or closes, so nobody meets half of one. Another process is kept
 * out by flock() on the file "lock", which the kernel releases however a process ends.
 *
 * Closing: new waits are refused and present ones woken; when the last has gone, and every write that had begun has
 * left its epoch section, nobody but the writer thread touches the engine. It writes what is pending and ends, the log
 * gets its end mark, and the memory goes back as a whole. */
#include "engine.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "epoch.h"
#include "error.h"
#include "file.h"
#include "maintenance.h"
#include "manifest.h"
#include "recovery.h"
#include "segment.h"
#include "segment_writer.h"
#include "thread.h"

static pthread_mutex_t registry_mutex = PTHREAD_MUTEX_INITIALIZER;
static struct tide_engine *registry; /* guarded by it */

bool engine_forked(const struct tide_engine *engine)
{
    return engine->fork_count != thread_fork_count();
}

/* ---- Opening ---- */

/* Makes the directory if it may, and fills in where and which it is. It stays open: who removes it meanwhile does not
 * free its inode's number, by which the one that is made in its place would be taken for it. */
static enum tide_status directory_find(struct tide_engine *engine, struct tide_error *error)
{
    enum { FLAGS = O_RDONLY | O_DIRECTORY };
    struct file_status status;
    int fd = file_open(engine->path, FLAGS, 0);
    if (fd == -ENOENT && engine->options.read_only)
        return error_set(error, TIDE_NOT_FOUND, "%s: there is no such directory", engine->path);
    if (fd == -ENOENT) {
        int result = file_make_directories(engine->path);
        fd = result < 0 ? result : file_open(engine->path, FLAGS, 0);
    }
    engine->directory_fd = fd;
    int result = fd < 0 ? fd : file_stat_fd(fd, &status);
    if (result < 0)
        return error_system(error, -result, "%s", engine->path);
    engine->device = status.device;
    engine->inode = status.inode;
    engine->directory = file_real_path(engine->path);
    if (!engine->directory)
        return error_system(error, errno, "%s", engine->path);
    return TIDE_OK;
}

/* Takes the lock file and writes our process id into it, for the message that others get. */
static enum tide_status directory_lock(struct tide_engine *engine, struct tide_error *error)
{
    char *path = file_path(engine->directory, LOCK_NAME);
    if (!path)
        return error_set(error, TIDE_MEMORY, "out of memory");
    engine->lock_fd = file_open(path, O_RDWR | O_CREAT, 0644);
    free(path);
    if (engine->lock_fd < 0)
        return error_system(error, -engine->lock_fd, "%s/%s", engine->directory, LOCK_NAME);
    char text[24] = "";
    int result = file_lock(engine->lock_fd);
    if (result == -EWOULDBLOCK) {
        int64_t got = file_read(engine->lock_fd, text, sizeof text - 1, 0);
        long owner = got > 0 ? strtol(text, NULL, 10) : 0;
        return error_set(error, TIDE_LOCKED, "%s is open in another process (%ld); only one at a time can write",
                         engine->directory, owner);
    }
    if (result < 0)
        return error_system(error, -result, "%s/%s", engine->directory, LOCK_NAME);
    int length = snprintf(text, sizeof text, "%ld\n", (long)getpid());
    result = file_truncate(engine->lock_fd, 0);
    if (result == 0)
        result = file_write(engine->lock_fd, text, (size_t)length, 0);
    if (result == -ENOSPC || result == -EDQUOT)
        result = 0; /* nobody learns our number from it, but it is locked */
    return result == 0 ? TIDE_OK : error_system(error, -result, "%s/%s", engine->directory, LOCK_NAME);
}

/* Brings one event of the log into the map. Nobody else has the engine yet. */
static enum tide_status recovered_apply(void *context, const struct record *record)
{
    struct tide_engine *engine = context;
    struct tide_collection *collection = engine->recovering; /* events of one collection mostly come in rows */
    if (!collection || collection->name_length != record->collection_length ||
        memcmp(collection->name, record_collection(record), collection->name_length) != 0)
        collection = tide_collection(engine, record_collection(record), record->collection_length, NULL);
    if (!collection)
        return TIDE_MEMORY;
    engine->recovering = collection;
    struct map_place place;
    map_lock(collection->map, map_hash(record_id(record), record->id_length), record_id(record), record->id_length,
             &place);
    struct block *old = place.block;
    enum tide_status status = TIDE_OK;
    /* Created while it is there: it was deleted between, and compaction has removed that event. */
    bool deletion_removed = record->type == TIDE_EVENT_CREATED && old;
    if (deletion_removed && (collection->first_delete_seq == 0 || old->seq + 1 < collection->first_delete_seq))
        collection->first_delete_seq = old->seq + 1;
    if (record->type == TIDE_EVENT_DELETED) {
        if (collection->first_delete_seq == 0)
            collection->first_delete_seq = record->seq;
        if (old)
            map_remove(&place);
    } else {
        size_t bytes = block_bytes_of_record(record);
        struct block *block = memory_allocate(engine->memory, bytes);
        if (block && (old || map_reserve(collection->map, &place))) {
            block_from_record(record, collection->number, block);
            map_set(collection->map, &place, block);
        } else {
            memory_free(engine->memory, block, bytes);
            old = NULL;
            status = TIDE_MEMORY;
        }
    }
    map_unlock(&place);
    if (old)
        memory_free(engine->memory, old, block_size(old));
    return status;
}

/* A snapshot takes the place of the events up to its seq. */
static enum tide_status recovered_load(void *context, const struct snapshot *snapshot, struct tide_error *error)
{
    return snapshot_load(context, snapshot, error);
}

static enum tide_status documents_create(struct tide_engine *engine, struct tide_error *error)
{
    engine->memory = memory_create();
    if (engine->memory && !engine->options.read_only)
        engine->reclaim = reclaim_create(engine->memory);
    if (!engine->memory || (!engine->options.read_only && !engine->reclaim))
        return error_set(error, TIDE_MEMORY, "out of memory");
    return TIDE_OK;
}

/* Forgets all documents and begins anew: a snapshot turned out to be bad when some of it was there. */
static enum tide_status recovered_reset(void *context, struct tide_error *error)
{
    struct tide_engine *engine = context;
    engine->recovering = NULL;
    collections_destroy(engine);
    reclaim_destroy(engine->reclaim);
    memory_destroy(engine->memory);
    engine->memory = NULL;
    engine->reclaim = NULL;
    enum tide_status status = collections_init(engine, error);
    return status == TIDE_OK ? documents_create(engine, error) : status;
}

/* Whether frames to come are chained: where the log is, or the option says so. */
static enum tide_status chain_decide(struct tide_engine *engine, struct log_position *position,
                                     struct tide_error *error)
{
    if (engine->options.no_hash_chain && position->chain.begun)
        return error_set(error, TIDE_INVALID, "%s has a hash chain, which option hash_chain contradicts",
                         engine->directory);
    if (engine->options.hash_chain && engine->options.read_only && !position->chain.begun)
        return error_set(error, TIDE_INVALID, "%s has no hash chain, and reading alone begins none", engine->directory);
    if (position->chain.begun)
        engine->options.hash_chain = true;
    position->hash_chain = engine->options.hash_chain;
    if (position->hash_chain && engine->options.retain != TIDE_RETAIN_ALL && !engine->options.read_only)
        return error_set(error, TIDE_INVALID,
                         "option retain: %s has a hash chain, which vouches for every event: none can be removed",
                         engine->directory);
    return TIDE_OK;
}

/* Reads the log, and for writing opens its end and starts the writer. */
static enum tide_status log_start(struct tide_engine *engine, struct tide_error *error)
{
    uint64_t start_us = clock_monotonic_us();
    struct recovery recovery = {.directory = engine->directory,
                                .read_only = engine->options.read_only,
                                .index = engine->index,
                                .apply = recovered_apply,
                                .load = recovered_load,
                                .reset = recovered_reset,
                                .context = engine};
    enum tide_status status = engine->options.read_only ? TIDE_OK : segment_writer_clean(engine->directory, error);
    if (status == TIDE_OK)
        status = recovery_run(&recovery, error);
    if (status != TIDE_OK)
        return status;
    engine->recovery_ms = (clock_monotonic_us() - start_us) / 1000;
    engine->recovered_events = recovery.events;
    engine->torn_bytes = recovery.torn_bytes;
    engine->torn_seq = recovery.torn_seq;
    engine->snapshots.newest = recovery.snapshot;
    engine->snapshots.loaded_seq = recovery.snapshot.seq;
    engine->snapshots.loaded_us = recovery.snapshot_us;
    engine->snapshots.bad = recovery.snapshots_bad;
    engine->bytes_since_snapshot = recovery.bytes;
    uint64_t last_seq = recovery.position.next_seq - 1;
    engine->recovered_last_seq = last_seq;
    atomic_store(&engine->written, last_seq);
    atomic_store(&engine->durable, last_seq);
    engine->log_figures.bytes = recovery.position.sealed_bytes + recovery.position.offset;
    engine->log_figures.segments = engine->compaction.segments_seen = recovery.position.sealed_count + 1;
    engine->log_figures.chain = recovery.position.chain;
    status = chain_decide(engine, &recovery.position, error);
    if (status != TIDE_OK)
        return status;
    if (engine->options.read_only)
        return TIDE_OK;
    if (!channel_init(&engine->channel, last_seq + 1, engine->options.pending_bytes_max,
                      engine->options.batch_bytes_max))
        return error_set(error, TIDE_MEMORY, "out of memory");
    status = log_open(engine->directory, &recovery.position, engine->options.segment_bytes, engine->index, &engine->log,
                      error);
    if (status == TIDE_OK) {
        space_begin(engine);
        status = writer_start(engine, recovery.last_time_us, error);
    }
    if (status != TIDE_OK && engine->log)
        log_close(engine->log, false, NULL);
    return status;
}

static void engine_free(struct tide_engine *engine)
{
    channel_destroy(&engine->channel);
    collections_destroy(engine);
    reclaim_destroy(engine->reclaim);
    if (engine->memory)
        memory_destroy(engine->memory);
    frame_index_destroy(engine->index);
    maintenance_destroy(engine->maintenance);
    snapshot_state_destroy(&engine->snapshots);
    if (engine->lock_fd >= 0)
        file_close(engine->lock_fd);
    if (engine->directory_fd >= 0)
        file_close(engine->directory_fd);
    pthread_mutex_destroy(&engine->mutex);
    pthread_cond_destroy(&engine->work);
    pthread_mutex_destroy(&engine->compaction.mutex);
    free(engine->directory);
    free(engine->path);
    free(engine);
}

static struct tide_engine *engine_allocate(const char *path, struct tide_error *error)
{
    struct tide_engine *engine = aligned_alloc(64, (sizeof *engine + 63) & ~(size_t)63);
    if (!engine) {
        error_set(error, TIDE_MEMORY, "out of memory");
        return NULL;
    }
    memset(engine, 0, sizeof *engine);
    engine->lock_fd = engine->directory_fd = -1;
    engine->fork_count = thread_fork_count();
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_mutex_init(&engine->mutex, NULL);
    pthread_cond_init(&engine->work, &attributes);
    pthread_mutex_init(&engine->compaction.mutex, NULL);
    pthread_condattr_destroy(&attributes);
    engine->path = strdup(path);
    if (!engine->path || collections_init(engine, error) != TIDE_OK) {
        engine_free(engine);
        error_set(error, TIDE_MEMORY, "out of memory");
        return NULL;
    }
    return engine;
}

/* Everything that is only needed when the directory isn't open in this process yet. */
static enum tide_status engine_start(struct tide_engine *engine, struct tide_error *error)
{
    enum tide_status status = options_complete(&engine->options, error);
    if (status == TIDE_OK) /* a backup that went on by itself would be one no more */
        status = manifest_check_open(engine->directory, engine->options.read_only, error);
    if (status == TIDE_OK && !engine->options.read_only)
        status = directory_lock(engine, error);
    if (status != TIDE_OK)
        return status;
    engine->index = frame_index_create();
    if (!engine->options.read_only)
        engine->maintenance = maintenance_create();
    if (!engine->index || (!engine->options.read_only && !engine->maintenance))
        return error_set(error, TIDE_MEMORY, "out of memory");
    status = documents_create(engine, error);
    return status == TIDE_OK ? log_start(engine, error) : status;
}

static struct tide_engine *registry_find(uint64_t device, uint64_t inode)
{
    struct tide_engine *engine = registry;
    while (engine && (engine->device != device || engine->inode != inode || engine_forked(engine)))
        engine = engine->next;
    return engine;
}

enum tide_status tide_open(const char *path, const struct tide_options *options, struct tide_engine **engine,
                           struct tide_error *error)
{
    static const struct tide_options defaults;
    if (!options)
        options = &defaults;
    *engine = NULL;
    enum tide_status status = tide_options_check(options, error); /* before the directory is touched */
    if (status != TIDE_OK)
        return status;
    struct tide_engine *opened = engine_allocate(path, error);
    if (!opened)
        return TIDE_MEMORY;
    opened->options = *options;
    pthread_mutex_lock(&registry_mutex);
    status = directory_find(opened, error);
    struct tide_engine *present = status == TIDE_OK ? registry_find(opened->device, opened->inode) : NULL;
    if (present) {
        status = options_compatible(options, &present->options, path, error);
        if (status == TIDE_OK)
            present->references++;
    } else if (status == TIDE_OK) {
        status = engine_start(opened, error);
        if (status == TIDE_OK) {
            opened->references = 1;
            opened->next = registry;
            registry = opened;
        }
    }
    pthread_mutex_unlock(&registry_mutex);
    if (present || status != TIDE_OK)
        engine_free(opened);
    if (status == TIDE_OK)
        *engine = present ? present : opened;
    return status;
}

void engine_hold(struct tide_engine *engine)
{
    pthread_mutex_lock(&registry_mutex);
    engine->references++;
    pthread_mutex_unlock(&registry_mutex);
}

/* ---- Closing ---- */

static void registry_remove(struct tide_engine *engine)
{
    struct tide_engine **link = &registry;
    while (*link != engine)
        link = &(*link)->next;
    *link = engine->next;
}

/* Sends everybody home who is in a call. */
static void calls_end(struct tide_engine *engine)
{
    pthread_mutex_lock(&engine->mutex);
    atomic_store(&engine->closing, true);
    pthread_mutex_unlock(&engine->mutex);
    waiters_wake(engine);
    /* Acquire; pairs with the release in waiter_leave. A nap, for who leaves must not touch the engine any more. */
    while (atomic_load_explicit(&engine->waiters, memory_order_acquire) > 0)
        nanosleep(&(struct timespec){.tv_nsec = 50000}, NULL);
    epoch_synchronize();
}

static enum tide_status log_finish(struct tide_engine *engine, struct tide_error *error)
{
    calls_end(engine);
    maintenance_stop(engine);
    writer_stop(engine);
    uint32_t failure = atomic_load(&engine->failure);
    enum tide_status status = log_close(engine->log, failure == 0, error);
    if (failure == 0)
        return status;
    if (!atomic_load(&engine->failure_told))
        return error_set(error, (enum tide_status)failure, "%s", engine->failure_message);
    return error_set(error, TIDE_FAILED, "%s: an earlier write failed: %s", engine->directory, engine->failure_message);
}

enum tide_status tide_close(struct tide_engine *engine, struct tide_error *error)
{
    if (engine_forked(engine))
        return TIDE_OK; /* the parent's: its thread, its files, its lock */
    enum tide_status status = TIDE_OK;
    pthread_mutex_lock(&registry_mutex);
    if (--engine->references == 0) {
        registry_remove(engine);
        if (!engine->options.read_only)
            status = log_finish(engine, error);
        else
            epoch_synchronize();
        engine_free(engine);
    }
    pthread_mutex_unlock(&registry_mutex);
    return status;
}

/* ---- What an open engine tells ---- */

const struct tide_options *tide_options_in_force(const struct tide_engine *engine)
{
    return &engine->options;
}

const char *tide_path(const struct tide_engine *engine)
{
    return engine->path;
}

enum tide_status tide_chain_head(struct tide_engine *engine, struct tide_chain_head *head, struct tide_error *error)
{
    pthread_mutex_lock(&engine->mutex);
    struct chain chain = engine->log_figures.chain;
    pthread_mutex_unlock(&engine->mutex);
    if (!chain.begun)
        return error_set(error, TIDE_NOT_FOUND, "%s has no hash chain", engine->directory);
    chain_tell(&chain, head);
    return TIDE_OK;
}

void tide_stats(struct tide_engine *engine, struct tide_stats *stats)
{
    struct tide_watermarks watermarks;
    struct memory_figures memory;
    tide_watermarks(engine, &watermarks);
    memory_figures(engine->memory, &memory);
    pthread_mutex_lock(&engine->mutex);
    struct log_figures log = engine->log_figures;
    struct snapshot_state snapshots = engine->snapshots;
    pthread_mutex_unlock(&engine->mutex);
    *stats = (struct tide_stats){
        .accepted = watermarks.accepted,
        .written = watermarks.written,
        .durable = watermarks.durable,
        .batches = atomic_load_explicit(&engine->batches, memory_order_relaxed),
        .events_written = watermarks.written - engine->recovered_last_seq,
        .bytes_written = atomic_load_explicit(&engine->bytes_written, memory_order_relaxed),
        .syncs = log.syncs,
        .sync_us = log.sync_us,
        .pending_bytes = channel_pending_bytes(&engine->channel),
        .log_bytes = log.bytes - atomic_load_explicit(&engine->compaction.bytes, memory_order_relaxed),
        .segments = log.segments,
        .memory_bytes = memory.system_bytes,
        .block_bytes = memory.block_bytes,
        .retired_bytes = engine->reclaim ? reclaim_bytes(engine->reclaim) : 0,
        .recovery_ms = engine->recovery_ms,
        .recovered_events = engine->recovered_events,
        .torn_bytes = engine->torn_bytes,
        .torn_seq = engine->torn_seq,
        .snapshot_seq = snapshots.newest.seq,
        .snapshot_documents = snapshots.newest.records,
        .snapshot_bytes = snapshots.newest.bytes,
        .snapshot_ms = snapshots.newest.duration_us / 1000,
        .snapshots = snapshots.made,
        .snapshots_failed = snapshots.failed,
        .snapshots_bad = snapshots.bad,
        .recovered_snapshot_seq = snapshots.loaded_seq,
        .recovered_snapshot_ms = snapshots.loaded_us / 1000,
        .compactions = atomic_load_explicit(&engine->compaction.count, memory_order_relaxed),
        .compactions_failed = atomic_load_explicit(&engine->compaction.failures, memory_order_relaxed),
        .compacted_events = atomic_load_explicit(&engine->compaction.removed, memory_order_relaxed),
    };
    pthread_mutex_lock(&engine->collections_mutex);
    stats->collections = engine->collection_count;
    for (size_t i = 0; i < engine->collection_count; i++)
        stats->documents += map_count(engine->collections[i]->map);
    pthread_mutex_unlock(&engine->collections_mutex);
}
