/* id_table.c - a hash table of hashes: an id is known by 128 bits of XXH3, seeded by its collection's name and by the
 * process. Two of a thousand million ids have the same with a probability of 1 to 10^20, so nobody looks at the texts.
 *
 * Open addressing, at most 70 % full, doubled: an id costs 24 bytes in a table that is 35 to 70 % full, 34 to 69 bytes,
 * while it grows half as much again. */
#include "id_table.h"

#include <stdlib.h>
#include <xxhash.h>

#include "map.h"

enum { ENTRIES_MIN = 64 };

struct id_table {
    struct id_entry *entries;
    size_t count, capacity; /* a power of two */
};

struct id_table *id_table_create(void)
{
    struct id_table *table = calloc(1, sizeof *table);
    if (!table)
        return NULL;
    table->capacity = ENTRIES_MIN;
    table->entries = calloc(ENTRIES_MIN, sizeof *table->entries);
    if (!table->entries) {
        free(table);
        return NULL;
    }
    return table;
}

void id_table_destroy(struct id_table *table)
{
    if (!table)
        return;
    free(table->entries);
    free(table);
}

static struct id_entry key_of(const struct record *record)
{
    uint64_t seed = map_hash(record_collection(record), record->collection_length);
    XXH128_hash_t hash = XXH3_128bits_withSeed(record_id(record), record->id_length, seed);
    return (struct id_entry){.low = hash.low64 | (hash.high64 == 0), .high = hash.high64};
}

/* The key's place, or the empty one where it would be. There is one: the table is never full. */
static struct id_entry *place_of(struct id_entry *entries, size_t capacity, const struct id_entry *key)
{
    for (size_t i = key->low & (capacity - 1);; i = (i + 1) & (capacity - 1)) {
        struct id_entry *entry = &entries[i];
        if ((entry->low == key->low && entry->high == key->high) || (entry->low == 0 && entry->high == 0))
            return entry;
    }
}

static bool in_use(const struct id_entry *entry)
{
    return entry->low != 0 || entry->high != 0;
}

static bool table_grow(struct id_table *table)
{
    size_t capacity = table->capacity * 2;
    struct id_entry *entries = calloc(capacity, sizeof *entries);
    if (!entries)
        return false;
    for (size_t i = 0; i < table->capacity; i++)
        if (in_use(&table->entries[i]))
            *place_of(entries, capacity, &table->entries[i]) = table->entries[i];
    free(table->entries);
    table->entries = entries;
    table->capacity = capacity;
    return true;
}

struct id_entry *id_table_find(const struct id_table *table, const struct record *record)
{
    struct id_entry key = key_of(record);
    struct id_entry *entry = place_of(table->entries, table->capacity, &key);
    return in_use(entry) ? entry : NULL;
}

struct id_entry *id_table_enter(struct id_table *table, const struct record *record)
{
    if (table->count >= table->capacity / 10 * 7 && !table_grow(table))
        return NULL;
    struct id_entry key = key_of(record);
    struct id_entry *entry = place_of(table->entries, table->capacity, &key);
    if (!in_use(entry)) {
        *entry = key;
        table->count++;
    }
    return entry;
}
