/* map.h - the concurrent map of one collection: id to block. Readers take no lock; writers lock the id's shard. The
 * layout and why readers are right are told at the top of map.c. */
#ifndef TIDE_MAP_H
#define TIDE_MAP_H

#include "block.h"
#include "memory.h"
#include "reclaim.h"

enum { CACHE_LINE_BYTES = 64 };

struct map;
struct map_shard;

/* `reclaim` takes the tables that growth replaces; NULL while no reader exists (then they are freed at once). */
struct map *map_create(struct memory *memory, struct reclaim *reclaim);
void map_destroy(struct map *map); /* the tables and blocks go with the memory */

/* Chooses the process's hash seed at its first call; before any other function here. */
void map_init(void);

/* The hash of an id, seeded once a process. */
uint64_t map_hash(const char *id, size_t id_length);

/* ---- Readers, within an epoch section ---- */

/* Asks the processor for the line in which the lookup of `hash` begins. */
void map_prefetch(const struct map *map, uint64_t hash);

/* Asks for the header and the id of the block that map_get_prefetched will most likely return. */
void map_prefetch_block(const struct map *map, uint64_t hash);

/* The block of the id, or NULL. It stays valid until the section ends. map_get asks for the value's lines while the
 * header's is still under way; map_get_prefetched leaves them alone. */
const struct block *map_get(const struct map *map, uint64_t hash, const char *id, size_t id_length);
const struct block *map_get_prefetched(const struct map *map, uint64_t hash, const char *id, size_t id_length);

/* Up to `capacity` (at most MAP_SCAN_MAX) blocks of a shard whose hashes are at or behind *hash, in the order of their
 * hashes; moves *hash behind the last. *done: the shard has no more. Locks the shard for a moment. */
enum { MAP_SHARDS = 256, MAP_SCAN_MAX = 64 };
size_t map_scan(struct map *map, unsigned shard, uint64_t *hash, bool *done, const struct block **blocks,
                size_t capacity);

uint64_t map_count(const struct map *map);

/* ---- Writers ---- */

/* An id's place, while its shard is locked. */
struct map_place {
    struct map_shard *shard;
    uint64_t hash;
    _Atomic uint64_t *slot; /* where the block is, NULL when the id is absent */
    struct block *block;    /* NULL: absent */
};

/* Locks the id's shard and looks the id up. */
void map_lock(struct map *map, uint64_t hash, const char *id, size_t id_length, struct map_place *place);
void map_unlock(struct map_place *place);

/* With the shard locked: makes sure that map_set can't fail for an absent id. May grow the shard. False: out of memory.
 */
bool map_reserve(struct map *map, struct map_place *place);

/* Makes room for `count` documents in all, so that no shard is likely to grow before they are there. False: out of
 * memory. Any thread. */
bool map_reserve_many(struct map *map, uint64_t count);

/* Publishes `block` for the id, in place of place->block where there is one. */
void map_set(struct map *map, struct map_place *place, struct block *block);

/* Takes the id out; place->block is there. */
void map_remove(struct map_place *place);

#endif
