/* read.c - the way of a read: hash, one bucket line, the block. No lock, no write to a line that others use; the only
 * cost beside the memory itself is the epoch section, which the caller opens around as many reads as it likes. */
#include "engine.h"
#include "epoch.h"

void tide_read_begin(struct tide_engine *engine)
{
    (void)engine; /* epochs are the process's; the parameter keeps that out of the interface */
    epoch_enter();
}

void tide_read_end(struct tide_engine *engine)
{
    (void)engine;
    epoch_exit();
}

static void view_of(const struct block *block, struct tide_view *view)
{
    if (!block) {
        *view = (struct tide_view){0};
        return;
    }
    *view = (struct tide_view){.id = block_id(block),
                               .id_length = block->id_length,
                               .value = block_value(block),
                               .value_length = block->value_length,
                               .version = block->seq};
}

enum tide_status tide_get(struct tide_collection *collection, const char *id, size_t id_length, struct tide_view *view)
{
    view_of(map_get(collection->map, map_hash(id, id_length), id, id_length), view);
    return view->value ? TIDE_OK : TIDE_NOT_FOUND;
}

/* Asks for the lines in which the value's first `bytes` lie. */
static void value_prefetch(const struct tide_view *view, size_t bytes)
{
    enum { BYTES_MAX = 1024 }; /* what is longer is a stream that the processor sees for itself */
    if (bytes > BYTES_MAX)
        bytes = BYTES_MAX;
    if (bytes > view->value_length)
        bytes = view->value_length;
    if (bytes == 0)
        return;
    for (size_t i = 0; i < bytes; i += CACHE_LINE_BYTES)
        __builtin_prefetch(view->value + i);
    __builtin_prefetch(view->value + bytes - 1);
}

size_t tide_get_many(struct tide_collection *collection, const struct tide_key *keys, size_t count, size_t ahead,
                     struct tide_view *views)
{
    enum { AT_ONCE = 16 };
    size_t found = 0;
    for (size_t start = 0; start < count; start += AT_ONCE) {
        uint64_t hashes[AT_ONCE];
        size_t end = count - start < AT_ONCE ? count - start : AT_ONCE;
        for (size_t i = 0; i < end; i++) {
            hashes[i] = map_hash(keys[start + i].id, keys[start + i].id_length);
            map_prefetch(collection->map, hashes[i]);
        }
        for (size_t i = 0; i < end; i++)
            map_prefetch_block(collection->map, hashes[i]);
        for (size_t i = 0; i < end; i++) {
            const struct tide_key *key = &keys[start + i];
            struct tide_view *view = &views[start + i];
            view_of(map_get_prefetched(collection->map, hashes[i], key->id, key->id_length), view);
            if (!view->value)
                continue;
            found++;
            value_prefetch(view, ahead);
        }
    }
    return found;
}

uint64_t tide_count(const struct tide_collection *collection)
{
    return map_count(collection->map);
}

size_t tide_scan(struct tide_collection *collection, struct tide_cursor *cursor, struct tide_view *views,
                 size_t capacity)
{
    const struct block *blocks[MAP_SCAN_MAX];
    size_t count = 0;
    cursor->done |= cursor->shard >= MAP_SHARDS; /* it may come from elsewhere */
    while (count < capacity && !cursor->done) {
        size_t wanted = capacity - count < MAP_SCAN_MAX ? capacity - count : MAP_SCAN_MAX;
        bool shard_done;
        size_t got = map_scan(collection->map, cursor->shard, &cursor->hash, &shard_done, blocks, wanted);
        for (size_t i = 0; i < got; i++)
            view_of(blocks[i], &views[count++]);
        if (shard_done) {
            cursor->hash = 0;
            cursor->done = ++cursor->shard == MAP_SHARDS;
        }
    }
    return count;
}
