/* snapshot_load.c - bringing a snapshot's documents into the maps, by several threads.
 *
 * The footer says how many records each collection has, so the tables are made large enough at once and nothing grows
 * meanwhile. Then each thread takes the next block that nobody has, reads it, checks it, and enters its records, with
 * the misses of their buckets overlapped. Blocks come in the order of the maps they were scanned from, but hashes are
 * seeded anew in each process, so threads seldom meet in a shard. An id that is there already is the same state again
 * (snapshot.c) and is passed over. */
#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

#include "engine.h"
#include "error.h"
#include "snapshot.h"
#include "thread.h"

enum { THREADS_MAX = 4, RECORDS_AT_ONCE = 16 };

struct load {
    struct tide_engine *engine;
    const struct snapshot *snapshot;
    _Atomic uint64_t next;   /* block; relaxed: each number is given out once, that is all */
    _Atomic uint32_t status; /* of the first failure; relaxed: the threads are joined before the error is read */
    struct tide_error error; /* written by who set it */
};

static struct tide_collection *collection_of(struct tide_engine *engine, struct tide_collection *last,
                                             const struct record *record)
{
    if (last && last->name_length == record->collection_length &&
        memcmp(last->name, record_collection(record), last->name_length) == 0)
        return last;
    return tide_collection(engine, record_collection(record), record->collection_length, NULL);
}

static enum tide_status record_enter(struct tide_engine *engine, struct tide_collection *collection, uint64_t hash,
                                     const struct record *record)
{
    size_t bytes = block_bytes_of_record(record);
    struct map_place place;
    struct block *block = memory_allocate(engine->memory, bytes);
    if (!block)
        return TIDE_MEMORY;
    block_from_record(record, collection->number, block);
    map_lock(collection->map, hash, record_id(record), record->id_length, &place);
    bool there = place.block != NULL, room = there || map_reserve(collection->map, &place);
    if (!there && room)
        map_set(collection->map, &place, block);
    map_unlock(&place);
    if (there || !room)
        memory_free(engine->memory, block, bytes);
    return room ? TIDE_OK : TIDE_MEMORY;
}

static enum tide_status block_enter(struct load *load, const uint8_t *block, const struct snapshot_entry *entry,
                                    struct tide_error *error)
{
    struct tide_engine *engine = load->engine;
    struct tide_collection *collection = NULL;
    size_t offset = SNAPSHOT_BLOCK_HEADER_BYTES;
    while (offset < entry->bytes) {
        const struct record *records[RECORDS_AT_ONCE];
        struct tide_collection *collections[RECORDS_AT_ONCE];
        uint64_t hashes[RECORDS_AT_ONCE];
        size_t count = 0;
        for (; count < RECORDS_AT_ONCE && offset < entry->bytes; count++) {
            const struct record *record = (const struct record *)(const void *)(block + offset);
            offset += record_size(record);
            collection = collection_of(engine, collection, record);
            if (!collection)
                return error_set(error, TIDE_MEMORY, "out of memory for the documents");
            records[count] = record;
            collections[count] = collection;
            hashes[count] = map_hash(record_id(record), record->id_length);
            map_prefetch(collection->map, hashes[count]);
        }
        for (size_t i = 0; i < count; i++) {
            if (record_enter(engine, collections[i], hashes[i], records[i]) != TIDE_OK)
                return error_set(error, TIDE_MEMORY, "out of memory for the documents");
        }
    }
    return TIDE_OK;
}

static void *load_run(void *context)
{
    struct load *load = context;
    struct tide_error error = {.status = TIDE_OK};
    uint8_t *buffer = NULL;
    size_t capacity = 0;
    enum tide_status status = TIDE_OK;
    while (status == TIDE_OK && atomic_load_explicit(&load->status, memory_order_relaxed) == TIDE_OK) {
        uint64_t number = atomic_fetch_add_explicit(&load->next, 1, memory_order_relaxed);
        if (number >= load->snapshot->trailer.blocks)
            break;
        status = snapshot_block_read(load->snapshot, number, &buffer, &capacity, &error);
        if (status == TIDE_OK)
            status = block_enter(load, buffer, &load->snapshot->entries[number], &error);
    }
    free(buffer);
    uint32_t none = TIDE_OK;
    if (status != TIDE_OK && atomic_compare_exchange_strong_explicit(&load->status, &none, status, memory_order_relaxed,
                                                                     memory_order_relaxed))
        load->error = error;
    return NULL;
}

static enum tide_status collections_prepare(struct tide_engine *engine, const struct snapshot *snapshot,
                                            struct tide_error *error)
{
    for (uint64_t i = 0; i < snapshot->trailer.collections; i++) {
        const struct snapshot_collection *told = &snapshot->collections[i];
        struct tide_collection *collection = tide_collection(engine, told->name, told->name_length, error);
        if (!collection || !map_reserve_many(collection->map, told->records))
            return error_set(error, TIDE_MEMORY, "out of memory for the documents");
        collection->first_delete_seq = told->first_delete_seq;
    }
    return TIDE_OK;
}

enum tide_status snapshot_load(struct tide_engine *engine, const struct snapshot *snapshot, struct tide_error *error)
{
    struct load load = {.engine = engine, .snapshot = snapshot};
    pthread_t threads[THREADS_MAX];
    enum tide_status status = collections_prepare(engine, snapshot, error);
    if (status != TIDE_OK)
        return status;
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    uint64_t wanted = processors < 1 ? 1 : processors > THREADS_MAX ? THREADS_MAX : (uint64_t)processors;
    if (wanted > snapshot->trailer.blocks)
        wanted = snapshot->trailer.blocks;
    unsigned started = 0;
    while (started + 1 < wanted && thread_start(&threads[started], load_run, &load) == 0)
        started++; /* without any the caller's does it all */
    load_run(&load);
    for (unsigned i = 0; i < started; i++)
        pthread_join(threads[i], NULL);
    status = (enum tide_status)atomic_load_explicit(&load.status, memory_order_relaxed);
    if (status != TIDE_OK && error)
        *error = load.error;
    return status;
}
