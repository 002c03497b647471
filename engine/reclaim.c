/* reclaim.c - the queue of unlinked memory.
 *
 * The writer thread owns it: it is the one that learns when a replaced block has been written (log order is map order,
 * so a block is written before the event that replaces it), and once a batch it tags what came in since the last time
 * with the epoch that it ends, and frees what is old enough. A queue, because tags only rise. Tables of the map are
 * replaced by producers, seldom: they wait behind a mutex until the writer takes them over.
 *
 * When there is no memory to remember a block with, the block is forgotten: it is lost until the engine closes, which
 * gives back all memory at once. */
#include "reclaim.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "epoch.h"
#include "plant.h"

struct retired {
    void *memory;
    size_t bytes;
    uint64_t tag; /* UINT64_MAX: not yet tagged */
    bool table;
};

struct reclaim {
    /* Of the writer thread. A ring of `capacity` (a power of two) entries; first and end only rise. */
    struct memory *memory;
    struct retired *queue;
    size_t first, tagged, end, capacity;
    void **blocks; /* scratch for memory_free_many */
    size_t *block_bytes;
    /* Shared. */
    _Atomic uint64_t waiting_bytes; /* a figure: relaxed */
    pthread_mutex_t mutex;          /* guards what follows */
    struct retired *tables;
    size_t table_count, table_capacity;
};

enum { FREE_AT_ONCE = 256 };

struct reclaim *reclaim_create(struct memory *memory)
{
    struct reclaim *reclaim = calloc(1, sizeof *reclaim);
    if (!reclaim)
        return NULL;
    epoch_init();
    reclaim->memory = memory;
    reclaim->blocks = malloc(FREE_AT_ONCE * sizeof *reclaim->blocks);
    reclaim->block_bytes = malloc(FREE_AT_ONCE * sizeof *reclaim->block_bytes);
    pthread_mutex_init(&reclaim->mutex, NULL);
    if (!reclaim->blocks || !reclaim->block_bytes) {
        reclaim_destroy(reclaim);
        return NULL;
    }
    return reclaim;
}

void reclaim_destroy(struct reclaim *reclaim)
{
    if (!reclaim)
        return;
    pthread_mutex_destroy(&reclaim->mutex);
    free(reclaim->queue);
    free(reclaim->tables);
    free(reclaim->blocks);
    free(reclaim->block_bytes);
    free(reclaim);
}

static bool queue_grow(struct reclaim *reclaim)
{
    size_t capacity = reclaim->capacity ? reclaim->capacity * 2 : 1024;
    struct retired *queue = malloc(capacity * sizeof *queue);
    if (!queue)
        return false;
    for (size_t i = reclaim->first; i != reclaim->end; i++)
        queue[i & (capacity - 1)] = reclaim->queue[i & (reclaim->capacity - 1)];
    free(reclaim->queue);
    reclaim->queue = queue;
    reclaim->capacity = capacity;
    return true;
}

static void queue_push(struct reclaim *reclaim, void *memory, size_t bytes, bool table)
{
    if (reclaim->end - reclaim->first == reclaim->capacity && !queue_grow(reclaim))
        return;
    reclaim->queue[reclaim->end++ & (reclaim->capacity - 1)] = (struct retired){memory, bytes, UINT64_MAX, table};
    atomic_fetch_add_explicit(&reclaim->waiting_bytes, bytes, memory_order_relaxed);
}

void reclaim_block(struct reclaim *reclaim, void *block, size_t bytes)
{
    queue_push(reclaim, block, bytes, false);
}

void reclaim_table(struct reclaim *reclaim, void *table, size_t bytes)
{
    pthread_mutex_lock(&reclaim->mutex);
    if (reclaim->table_count == reclaim->table_capacity) {
        size_t capacity = reclaim->table_capacity ? reclaim->table_capacity * 2 : 64;
        struct retired *tables = realloc(reclaim->tables, capacity * sizeof *tables);
        if (tables) {
            reclaim->tables = tables;
            reclaim->table_capacity = capacity;
        }
    }
    if (reclaim->table_count < reclaim->table_capacity)
        reclaim->tables[reclaim->table_count++] = (struct retired){table, bytes, UINT64_MAX, true};
    pthread_mutex_unlock(&reclaim->mutex);
}

bool reclaim_run(struct reclaim *reclaim)
{
    pthread_mutex_lock(&reclaim->mutex);
    for (size_t i = 0; i < reclaim->table_count; i++)
        queue_push(reclaim, reclaim->tables[i].memory, reclaim->tables[i].bytes, true);
    reclaim->table_count = 0;
    pthread_mutex_unlock(&reclaim->mutex);
    if (reclaim->first == reclaim->end)
        return false;

    if (reclaim->tagged != reclaim->end) {
        uint64_t tag = epoch_advance();
        for (; reclaim->tagged != reclaim->end; reclaim->tagged++)
            reclaim->queue[reclaim->tagged & (reclaim->capacity - 1)].tag = tag;
    }
    uint64_t oldest = epoch_oldest();
    uint64_t freed = 0;
    size_t count = 0;
    for (; reclaim->first != reclaim->end; reclaim->first++) {
        struct retired *retired = &reclaim->queue[reclaim->first & (reclaim->capacity - 1)];
        if (retired->tag >= oldest && !PLANTED(8)) /* freed while a reader may see it */
            break;
        freed += retired->bytes;
        if (retired->table) {
            memory_table_free(reclaim->memory, retired->memory, retired->bytes);
            continue;
        }
        reclaim->blocks[count] = retired->memory;
        reclaim->block_bytes[count++] = retired->bytes;
        if (count == FREE_AT_ONCE) {
            memory_free_many(reclaim->memory, reclaim->blocks, reclaim->block_bytes, count);
            count = 0;
        }
    }
    if (count > 0)
        memory_free_many(reclaim->memory, reclaim->blocks, reclaim->block_bytes, count);
    atomic_fetch_sub_explicit(&reclaim->waiting_bytes, freed, memory_order_relaxed);
    return reclaim->first != reclaim->end;
}

uint64_t reclaim_bytes(const struct reclaim *reclaim)
{
    return atomic_load_explicit(&reclaim->waiting_bytes, memory_order_relaxed);
}
