/* relocate.c - moving documents out of regions that are drained (memory_drain.c).
 *
 * The writer thread does it while it has nothing to write. It goes through the maps, a few documents a step. A document
 * in a drained region is copied elsewhere, the copy published in its place with the shard locked, as an update would
 * be, and the old block retired; readers that have it go on reading it. Version and history stay: it is the same event.
 *
 * Only blocks that are written may be moved: the channel points to the others. One that is in the map and written
 * cannot be what an event in the channel replaces, for then that event's block would be in the map. */
#include "relocate.h"

#include "engine.h"
#include "epoch.h"

void relocation_begin(struct relocation *relocation, struct tide_engine *engine)
{
    *relocation = (struct relocation){.running = memory_drain_begin(engine->memory)};
}

/* Moves a block that was in the map a moment ago. Within a section. False: out of memory. */
static bool block_move(struct tide_engine *engine, struct tide_collection *collection, const struct block *block)
{
    size_t bytes = block_size(block);
    struct block *copy = memory_allocate(engine->memory, bytes);
    if (!copy)
        return false;
    memcpy(copy, block, bytes);
    struct map_place place;
    map_lock(collection->map, map_hash(block_id(block), block->id_length), block_id(block), block->id_length, &place);
    struct block *old = place.block;
    bool there = old == block;
    if (there)
        map_set(collection->map, &place, copy);
    map_unlock(&place);
    if (there)
        reclaim_block(engine->reclaim, old, bytes);
    else
        memory_free(engine->memory, copy, bytes);
    return true;
}

void relocation_step(struct relocation *relocation, struct tide_engine *engine)
{
    struct tide_collection *collection = collection_at(engine, relocation->collection);
    if (!collection) {
        relocation_end(relocation, engine);
        return;
    }
    const struct block *blocks[MAP_SCAN_MAX];
    bool done, moved = true;
    memory_cache_empty(engine->memory); /* copies must not go where blocks were freed */
    uint64_t written = atomic_load_explicit(&engine->written, memory_order_relaxed); /* this thread's own */
    epoch_enter();
    size_t count = map_scan(collection->map, relocation->shard, &relocation->hash, &done, blocks, MAP_SCAN_MAX);
    for (size_t i = 0; i < count && moved; i++) {
        if (blocks[i]->seq <= written && memory_draining(engine->memory, blocks[i], block_size(blocks[i])))
            moved = block_move(engine, collection, blocks[i]);
    }
    epoch_exit();
    if (!moved) {
        relocation_end(relocation, engine);
        return;
    }
    if (!done)
        return;
    relocation->hash = 0;
    if (++relocation->shard == MAP_SHARDS) {
        relocation->shard = 0;
        relocation->collection++;
    }
}

/* The blocks that were freed last lie in this thread's cache, each perhaps the last one of its region. */
void relocation_settle(struct relocation *relocation, struct tide_engine *engine)
{
    if (!relocation->settling || relocation->running)
        return;
    relocation->settling = false;
    memory_cache_empty(engine->memory);
}

void relocation_end(struct relocation *relocation, struct tide_engine *engine)
{
    if (!relocation->running)
        return;
    relocation->running = false;
    relocation->settling = true;
    memory_drain_end(engine->memory);
}
