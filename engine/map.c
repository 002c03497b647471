/* map.c - the concurrent map: 256 independent shards, each a table of tagged bucket lines.
 *
 * A bucket is one cache line of 8 slots. A slot is 0 (empty), 1 (removed), or a block's address in the lower 48 bits
 * with 16 bits of the hash above it, the tag, so that a lookup touches one bucket line and then, nearly always, only
 * the right block. The low 16 bits of a hash choose the shard, the high bits are the home bucket. A full bucket
 * overflows into the next one. Invariant: a bucket with an empty slot was never passed by an insertion; hence a lookup
 * ends at the first bucket with an empty slot, and a removal leaves "removed" behind, unless its bucket has an empty
 * slot anyway.
 *
 * The tag is the hash without its highest 6 bits: so the two overlap, and a larger table can be filled from a smaller
 * one without a look at any block, each of which is a cache miss (slot_hash). The price are tags that tell fewer ids of
 * one bucket apart: with b bits of home bucket 22 - b bits are left, so that at a million documents one lookup in 700
 * sees a block too many, at a hundred million one in ten.
 *
 * Writers hold the shard's lock. Readers hold nothing: a slot changes by one atomic store from empty or removed to a
 * block, from a block to its successor, or from a block to removed; a block is immutable once it is published and is
 * freed by epochs. When 70 % of the slots are in use the writer makes a new table with the blocks' addresses in it and
 * publishes that; readers of the old one see the shard as it was at that moment, which is a state it had within their
 * section. Shards get unequal shares of the documents, so that they fill, and grow, one after the other (shard_number):
 * a pause is that of copying one shard.
 *
 * A bucket's blocks are a range of hashes, and growth splits ranges in two: so a place in an iteration is just a hash,
 * whatever happens to the tables (map_scan). */
#include "map.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/random.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "lock.h"

enum { BUCKET_SLOTS = 8, TABLE_BITS_MIN = 2, TAG_SHIFT = 48, CHOICE_BITS = 16, SCAN_BUCKETS_MAX = 4096 };
enum { TAG_BITS = 16, BITS_ABOVE_TAG = 6, KNOWN_BITS = BITS_ABOVE_TAG + TAG_BITS }; /* of a hash, from the highest */

#define SLOT_EMPTY UINT64_C(0)
#define SLOT_REMOVED UINT64_C(1)
#define ADDRESS_MASK UINT64_C(0xffffffffffff)

struct bucket {
    _Alignas(64) _Atomic uint64_t slots[BUCKET_SLOTS];
};

struct map_shard {
    _Alignas(32) struct spin_lock lock;
    /* Guarded by the lock. */
    uint32_t number;
    uint32_t reach;         /* the most buckets that lie between a block of the table and its home bucket */
    uint64_t used;          /* slots that are not empty */
    _Atomic uint64_t count; /* documents; read without the lock as a figure: relaxed */
};

struct map {
    /* Of each shard the buckets' address, with log2 of their number in the low 6 bits (tables are aligned to 64); 0: no
     * table yet. Apart from the locks, so that readers keep lines that only growth changes. */
    _Alignas(64) _Atomic uint64_t tables[MAP_SHARDS];
    struct map_shard shards[MAP_SHARDS];
    struct memory *memory;
    struct reclaim *reclaim;
};

/* Which shard a hash belongs to. If all had the same share of the documents they would all be full at the same moment,
 * and for all of them to grow takes 60 ms at a million documents. So with x the low 16 bits as a part of one, this is
 * x (4 - x) / 3 of the shards: the last one's share is twice the first one's, which is what a table grows by, and in
 * between they become full one after the other, whatever the number of documents. */
static inline unsigned shard_number(uint64_t hash)
{
    enum { THIRD = 21845 }; /* of 2^16, rounded down */
    uint64_t x = hash & ((1u << CHOICE_BITS) - 1);
    return (unsigned)((x * ((UINT64_C(4) << CHOICE_BITS) - x) * THIRD) >> (3 * CHOICE_BITS - 8));
}

_Static_assert(MAP_SHARDS == 1 << 8, "shard_number says one of so many");

static uint64_t hash_seed;
static uint32_t shares[MAP_SHARDS]; /* of 2^16 */
static pthread_once_t constants_once = PTHREAD_ONCE_INIT;

static void constants_make(void)
{
    if (getrandom(&hash_seed, sizeof hash_seed, 0) != sizeof hash_seed)
        hash_seed = (uint64_t)(uintptr_t)&hash_seed; /* where the loader put us is random too */
    for (uint64_t x = 0; x < 1u << CHOICE_BITS; x++)
        shares[shard_number(x)]++;
}

void map_init(void)
{
    pthread_once(&constants_once, constants_make);
}

struct map *map_create(struct memory *memory, struct reclaim *reclaim)
{
    struct map *map = aligned_alloc(64, (sizeof *map + 63) & ~(size_t)63);
    if (!map)
        return NULL;
    memset(map, 0, sizeof *map);
    map->memory = memory;
    map->reclaim = reclaim;
    for (int i = 0; i < MAP_SHARDS; i++)
        map->shards[i].number = (uint32_t)i;
    return map;
}

void map_destroy(struct map *map)
{
    free(map);
}

uint64_t map_hash(const char *id, size_t id_length)
{
    return XXH3_64bits_withSeed(id, id_length, hash_seed);
}

/* ---- Parts of a hash, a slot, a table word ---- */

static inline uint64_t slot_tag(uint64_t hash)
{
    return (hash >> (64 - KNOWN_BITS)) << TAG_SHIFT;
}

static inline uint64_t slot_make(uint64_t hash, const struct block *block)
{
    return slot_tag(hash) | (uint64_t)(uintptr_t)block;
}

static inline struct block *slot_block(uint64_t slot)
{
    return (struct block *)(uintptr_t)(slot & ADDRESS_MASK);
}

static inline bool slot_in_use(uint64_t slot)
{
    return slot > SLOT_REMOVED;
}

static inline struct bucket *table_buckets(uint64_t table)
{
    return (struct bucket *)(uintptr_t)(table & ~UINT64_C(63));
}

static inline unsigned table_bits(uint64_t table)
{
    return (unsigned)(table & 63);
}

static inline uint64_t home_bucket(uint64_t hash, unsigned bits)
{
    return hash >> (64 - bits);
}

/* Whether two ids of this length (not 0) are the same: eight bytes at a time, the last eight overlapping. In place of
 * memcmp, whose call costs as much as the comparing. */
static inline bool id_equals(const char *a, const char *b, size_t length)
{
    uint64_t x = 0, y = 0, difference = 0;
    if (length < sizeof x) {
        for (size_t i = 0; i < length; i++)
            difference |= (uint64_t)(a[i] ^ b[i]);
        return difference == 0;
    }
    for (size_t i = 0; i + sizeof x < length; i += sizeof x) {
        memcpy(&x, a + i, sizeof x);
        memcpy(&y, b + i, sizeof y);
        difference |= x ^ y;
    }
    memcpy(&x, a + length - sizeof x, sizeof x);
    memcpy(&y, b + length - sizeof y, sizeof y);
    return (difference | (x ^ y)) == 0;
}

static inline bool block_has_id(const struct block *block, const char *id, size_t id_length)
{
    return block->id_length == id_length && id_equals(block_id(block), id, id_length);
}

/* ---- Readers ---- */

/* The slots of a bucket whose tag is `tag`, a bit each; where the tag is 0, empty and removed ones too. All eight are
 * looked at without a branch: which one it is cannot be predicted, and the fewer instructions there are, the more of
 * the next read's cache misses the processor begins while this one's are under way. */
static inline unsigned bucket_match(const struct bucket *bucket, uint64_t tag)
{
#if defined(__SSE2__) && !defined(__SANITIZE_THREAD__)
    /* Two slots at a time; the tag is the highest of a slot's four 16-bit lanes. A torn slot does no harm: who follows
     * an address loads the slot again, with acquire. */
    const __m128i *pairs = (const __m128i *)(const void *)bucket, wanted = _mm_set1_epi16((short)tag);
    __m128i low = _mm_packs_epi16(_mm_cmpeq_epi16(_mm_load_si128(pairs), wanted),
                                  _mm_cmpeq_epi16(_mm_load_si128(pairs + 1), wanted));
    __m128i high = _mm_packs_epi16(_mm_cmpeq_epi16(_mm_load_si128(pairs + 2), wanted),
                                   _mm_cmpeq_epi16(_mm_load_si128(pairs + 3), wanted));
    /* A byte for each lane, the tags' are every fourth: as words of two bytes, the upper halves of every other. */
    __m128i tags = _mm_packs_epi32(_mm_srai_epi32(low, 24), _mm_srai_epi32(high, 24));
    return (unsigned)_mm_movemask_epi8(_mm_packs_epi16(tags, _mm_setzero_si128()));
#else
    unsigned match = 0;
    for (int j = 0; j < BUCKET_SLOTS; j++)
        /* Relaxed: who follows an address loads the slot again, with acquire. */
        match |= (unsigned)(atomic_load_explicit(&bucket->slots[j], memory_order_relaxed) >> TAG_SHIFT == tag) << j;
    return match;
#endif
}

static inline bool bucket_has_empty(const struct bucket *bucket)
{
    bool empty = false;
    for (int j = 0; j < BUCKET_SLOTS; j++)
        empty |= atomic_load_explicit(&bucket->slots[j], memory_order_relaxed) == SLOT_EMPTY;
    return empty;
}

/* Where a document's value lies is known only when its header is there; so who wants the value asks for the lines
 * behind the header, too, by the block's address alone. Six are a document of 300 bytes, wherever its block begins in
 * its first one; longer documents are a stream that the processor sees for itself. */
enum { LINES_OF_ID = 2, LINES_OF_DOCUMENT = 6 };

static inline void block_prefetch(const struct block *block, int lines)
{
    for (int line = 0; line < lines; line++)
        __builtin_prefetch((const char *)block + CACHE_LINE_BYTES * line);
}

/* Finds the id's slot in a table; NULL when it is absent. Serves readers, and writers under the lock. `whole`: the
 * document is wanted, and nobody has asked for it yet. */
static inline __attribute__((always_inline)) _Atomic uint64_t *
table_find(uint64_t table, uint64_t hash, const char *id, size_t id_length, struct block **block, bool whole)
{
    unsigned bits = table_bits(table);
    uint64_t mask = (UINT64_C(1) << bits) - 1;
    uint64_t tag = slot_tag(hash) >> TAG_SHIFT;
    struct bucket *buckets = table_buckets(table);
    for (uint64_t i = home_bucket(hash, bits);; i = (i + 1) & mask) {
        struct bucket *bucket = &buckets[i];
        for (unsigned match = bucket_match(bucket, tag); match != 0; match &= match - 1) {
            _Atomic uint64_t *place = &bucket->slots[__builtin_ctz(match)];
            /* Acquire; pairs with the release in map_set: the block's bytes are there. */
            uint64_t slot = atomic_load_explicit(place, memory_order_acquire);
            if (slot >> TAG_SHIFT == tag && slot_in_use(slot)) {
                *block = slot_block(slot);
                if (whole)
                    block_prefetch(*block, LINES_OF_DOCUMENT);
                if (block_has_id(*block, id, id_length))
                    return place;
            }
        }
        if (bucket_has_empty(bucket))
            return NULL;
    }
}

static inline uint64_t table_of(const struct map *map, uint64_t hash)
{
    /* Acquire; pairs with the release in shard_rebuild: the new table is filled. */
    return atomic_load_explicit(&map->tables[shard_number(hash)], memory_order_acquire);
}

void map_prefetch(const struct map *map, uint64_t hash)
{
    uint64_t table = table_of(map, hash);
    if (table)
        __builtin_prefetch(&table_buckets(table)[home_bucket(hash, table_bits(table))]);
}

void map_prefetch_block(const struct map *map, uint64_t hash)
{
    uint64_t table = table_of(map, hash);
    if (!table)
        return;
    struct bucket *bucket = &table_buckets(table)[home_bucket(hash, table_bits(table))];
    unsigned match = bucket_match(bucket, slot_tag(hash) >> TAG_SHIFT);
    if (match == 0)
        return;
    /* Relaxed: the address is only a hint here. */
    uint64_t slot = atomic_load_explicit(&bucket->slots[__builtin_ctz(match)], memory_order_relaxed);
    block_prefetch(slot_block(slot), LINES_OF_ID);
}

static inline __attribute__((always_inline)) const struct block *block_of(const struct map *map, uint64_t hash,
                                                                          const char *id, size_t id_length, bool whole)
{
    uint64_t table = table_of(map, hash);
    struct block *block;
    return table && table_find(table, hash, id, id_length, &block, whole) ? block : NULL;
}

const struct block *map_get(const struct map *map, uint64_t hash, const char *id, size_t id_length)
{
    return block_of(map, hash, id, id_length, true);
}

const struct block *map_get_prefetched(const struct map *map, uint64_t hash, const char *id, size_t id_length)
{
    return block_of(map, hash, id, id_length, false);
}

uint64_t map_count(const struct map *map)
{
    uint64_t count = 0;
    for (int i = 0; i < MAP_SHARDS; i++)
        count += atomic_load_explicit(&map->shards[i].count, memory_order_relaxed);
    return count;
}

/* ---- Writers ---- */

/* With the shard's lock. Relaxed: tables and slots change under it alone. */
static inline uint64_t table_locked(const struct map *map, const struct map_shard *shard)
{
    return atomic_load_explicit(&map->tables[shard->number], memory_order_relaxed);
}

void map_lock(struct map *map, uint64_t hash, const char *id, size_t id_length, struct map_place *place)
{
    struct map_shard *shard = &map->shards[shard_number(hash)];
    spin_lock_take(&shard->lock);
    uint64_t table = table_locked(map, shard);
    *place = (struct map_place){.shard = shard, .hash = hash};
    if (table)
        place->slot = table_find(table, hash, id, id_length, &place->block, false);
    if (!place->slot)
        place->block = NULL;
}

void map_unlock(struct map_place *place)
{
    spin_lock_give(&place->shard->lock);
}

/* The first empty or removed slot on the hash's way; raises *reach. There is one: tables are never more than 70 % in
 * use. */
static _Atomic uint64_t *table_free_slot(uint64_t table, uint64_t hash, uint32_t *reach)
{
    unsigned bits = table_bits(table);
    uint64_t mask = (UINT64_C(1) << bits) - 1, home = home_bucket(hash, bits);
    struct bucket *buckets = table_buckets(table);
    for (uint32_t distance = 0;; distance++) {
        struct bucket *bucket = &buckets[(home + distance) & mask];
        for (int j = 0; j < BUCKET_SLOTS; j++) {
            /* Relaxed: under the lock. */
            if (slot_in_use(atomic_load_explicit(&bucket->slots[j], memory_order_relaxed)))
                continue;
            if (distance > *reach)
                *reach = distance;
            return &bucket->slots[j];
        }
    }
}

static uint64_t slots_usable(unsigned bits)
{
    return (BUCKET_SLOTS * 7 * (UINT64_C(1) << bits)) / 10;
}

/* Whether slots of a table tell the highest KNOWN_BITS of their hashes. */
static bool slots_tell_hashes(unsigned bits, uint32_t reach)
{
    return bits > BITS_ABOVE_TAG && bits <= KNOWN_BITS && reach < 1u << (bits - BITS_ABOVE_TAG);
}

/* The highest KNOWN_BITS of the hash of a slot in that bucket, and zeros; of a table whose slots tell them. The highest
 * bits of the tag are the lowest of the home bucket's number. The home bucket is the nearest one, from this one on
 * backwards, whose number ends so, for none is further away than `reach`. */
static inline uint64_t slot_hash(uint64_t slot, uint64_t bucket, unsigned bits)
{
    uint64_t tag = slot >> TAG_SHIFT, lowest = tag >> (KNOWN_BITS - bits);
    uint64_t distance = (bucket - lowest) & ((UINT64_C(1) << (bits - BITS_ABOVE_TAG)) - 1);
    return (bucket - distance) << (64 - bits) | tag << (64 - KNOWN_BITS);
}

/* Asks for what the hash of a block's id is made from: most ids reach into the second line. */
static inline void id_prefetch(const struct bucket *buckets, uint64_t place)
{
    const char *block = (const char *)slot_block(
        atomic_load_explicit(&buckets[place / BUCKET_SLOTS].slots[place % BUCKET_SLOTS], memory_order_relaxed));
    __builtin_prefetch(block);
    __builtin_prefetch(block + 64);
}

/* Copies what is in use from one table to another, and returns the other one's reach. Where slots don't tell the hashes
 * the blocks are needed, which are cold, so that they are asked for some slots ahead. */
static uint32_t table_copy(uint64_t from, uint64_t to, uint32_t reach)
{
    enum { AHEAD = 24 };
    struct bucket *buckets = table_buckets(from);
    unsigned bits = table_bits(from);
    uint64_t total = BUCKET_SLOTS << bits;
    bool told = slots_tell_hashes(bits, reach) && table_bits(to) <= KNOWN_BITS;
    uint32_t new_reach = 0;
    for (uint64_t i = 0; i < total; i++) {
        if (!told && i + AHEAD < total)
            id_prefetch(buckets, i + AHEAD);
        uint64_t slot = atomic_load_explicit(&buckets[i / BUCKET_SLOTS].slots[i % BUCKET_SLOTS], memory_order_relaxed);
        if (!slot_in_use(slot))
            continue;
        const struct block *block = slot_block(slot);
        uint64_t hash = told ? slot_hash(slot, i / BUCKET_SLOTS, bits) : map_hash(block_id(block), block->id_length);
        /* Relaxed: the table is published, with release, when it is full. */
        atomic_store_explicit(table_free_slot(to, hash, &new_reach), slot, memory_order_relaxed);
    }
    return new_reach;
}

/* Gives the shard a table that suits the number of its documents, or `room` when that is more: larger, smaller, or only
 * free of removed slots. */
static bool shard_rebuild(struct map *map, struct map_shard *shard, uint64_t room)
{
    uint64_t old = table_locked(map, shard);
    uint64_t count = atomic_load_explicit(&shard->count, memory_order_relaxed);
    unsigned bits = TABLE_BITS_MIN;
    while (slots_usable(bits) < count + count / 3 + 4 || slots_usable(bits) < room)
        bits++;
    size_t bytes = sizeof(struct bucket) << bits;
    void *buckets = memory_table_allocate(map->memory, bytes);
    if (!buckets)
        return false;
    uint64_t table = (uint64_t)(uintptr_t)buckets | bits;
    shard->reach = old ? table_copy(old, table, shard->reach) : 0;
    shard->used = count;
    /* Release; pairs with the acquire in table_of. */
    atomic_store_explicit(&map->tables[shard->number], table, memory_order_release);
    if (old && map->reclaim)
        reclaim_table(map->reclaim, table_buckets(old), sizeof(struct bucket) << table_bits(old));
    else if (old)
        memory_table_free(map->memory, table_buckets(old), sizeof(struct bucket) << table_bits(old));
    return true;
}

bool map_reserve(struct map *map, struct map_place *place)
{
    struct map_shard *shard = place->shard;
    uint64_t table = table_locked(map, shard);
    if (table && shard->used + 1 <= slots_usable(table_bits(table)))
        return true;
    return shard_rebuild(map, shard, 0);
}

bool map_reserve_many(struct map *map, uint64_t count)
{
    bool done = true;
    for (int i = 0; i < MAP_SHARDS && done && count > 0; i++) {
        /* Hashes spread the documents over the shards; one that gets more than a sixteenth above its share grows. */
        uint64_t share = (count >> CHOICE_BITS) * shares[i] + ((count & 0xffff) * shares[i] >> CHOICE_BITS);
        uint64_t room = share + share / 16 + 16;
        struct map_shard *shard = &map->shards[i];
        spin_lock_take(&shard->lock);
        uint64_t table = table_locked(map, shard);
        if (!table || slots_usable(table_bits(table)) < room)
            done = shard_rebuild(map, shard, room);
        spin_lock_give(&shard->lock);
    }
    return done;
}

void map_set(struct map *map, struct map_place *place, struct block *block)
{
    struct map_shard *shard = place->shard;
    _Atomic uint64_t *slot = place->slot;
    if (!slot) {
        slot = table_free_slot(table_locked(map, shard), place->hash, &shard->reach);
        if (atomic_load_explicit(slot, memory_order_relaxed) == SLOT_EMPTY)
            shard->used++;
        atomic_store_explicit(&shard->count, atomic_load_explicit(&shard->count, memory_order_relaxed) + 1,
                              memory_order_relaxed);
    }
    /* Release; pairs with the acquire in table_find. */
    atomic_store_explicit(slot, slot_make(place->hash, block), memory_order_release);
}

void map_remove(struct map_place *place)
{
    struct map_shard *shard = place->shard;
    struct bucket *bucket = (struct bucket *)((uintptr_t)place->slot & ~(uintptr_t)63);
    bool empty = bucket_has_empty(bucket);
    /* Relaxed: a removal publishes no memory, and either value is right for a reader. */
    atomic_store_explicit(place->slot, empty ? SLOT_EMPTY : SLOT_REMOVED, memory_order_relaxed);
    if (empty)
        shard->used--;
    atomic_store_explicit(&shard->count, atomic_load_explicit(&shard->count, memory_order_relaxed) - 1,
                          memory_order_relaxed);
}

/* ---- Iteration ---- */

struct found {
    uint64_t hash;
    const struct block *block;
};

/* Collects, in order, the `capacity` lowest hashes at or behind `from` of the home bucket `home`. Returns how many;
 * *more: there were others. The shard is locked, so nothing moves meanwhile. */
static size_t home_collect(uint64_t table, uint64_t home, uint64_t from, struct found *found, size_t capacity,
                           bool *more)
{
    unsigned bits = table_bits(table);
    uint64_t mask = (UINT64_C(1) << bits) - 1;
    size_t count = 0;
    *more = false;
    for (uint64_t i = home;; i = (i + 1) & mask) {
        bool empty = false;
        for (int j = 0; j < BUCKET_SLOTS; j++) {
            uint64_t slot = atomic_load_explicit(&table_buckets(table)[i].slots[j], memory_order_relaxed);
            empty |= slot == SLOT_EMPTY;
            if (!slot_in_use(slot))
                continue;
            const struct block *block = slot_block(slot);
            uint64_t hash = map_hash(block_id(block), block->id_length);
            if (home_bucket(hash, bits) != home || hash < from)
                continue;
            if (count == capacity) {
                *more = true;
                if (hash >= found[count - 1].hash)
                    continue;
                count--;
            }
            size_t k = count++;
            for (; k > 0 && found[k - 1].hash > hash; k--)
                found[k] = found[k - 1];
            found[k] = (struct found){hash, block};
        }
        if (empty)
            return count;
    }
}

size_t map_scan(struct map *map, unsigned shard_number, uint64_t *hash, bool *done, const struct block **blocks,
                size_t capacity)
{
    struct map_shard *shard = &map->shards[shard_number];
    struct found found[MAP_SCAN_MAX];
    size_t count = 0;
    *done = false;
    if (capacity > MAP_SCAN_MAX)
        capacity = MAP_SCAN_MAX;
    spin_lock_take(&shard->lock);
    uint64_t table = table_locked(map, shard);
    if (!table)
        *done = true;
    /* Bounded, so that a shard of mostly empty buckets isn't locked for long. */
    for (int visited = 0; !*done && count < capacity && visited < SCAN_BUCKETS_MAX; visited++) {
        unsigned bits = table_bits(table);
        uint64_t home = home_bucket(*hash, bits);
        bool more;
        size_t got = home_collect(table, home, *hash, found, capacity - count, &more);
        for (size_t i = 0; i < got; i++)
            blocks[count++] = found[i].block;
        if (more)
            *hash = found[got - 1].hash + 1; /* two ids with one 64-bit hash would be told apart by luck alone */
        else if (home == (UINT64_C(1) << bits) - 1)
            *done = true;
        else
            *hash = (home + 1) << (64 - bits);
    }
    spin_lock_give(&shard->lock);
    return count;
}
