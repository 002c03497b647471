/* ck.c - Concurrency Kit's ck_ht: one writer, many readers. */
#include <ck_ht.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "table.h"

static ck_ht_t table;

static void *ht_malloc(size_t bytes)
{
    return malloc(bytes);
}

static void ht_free(void *block, size_t bytes, bool later)
{
    (void)bytes;
    if (!later) /* else readers may still be there; the process ends soon */
        free(block);
}

static struct ck_malloc allocator = {.malloc = ht_malloc, .free = ht_free};

static void hash(ck_ht_hash_t *result, const void *key, size_t length, uint64_t seed)
{
    result->value = XXH3_64bits_withSeed(key, length, seed);
}

static void open_table(const char *directory, bool durable, uint64_t documents)
{
    (void)directory;
    (void)durable;
    (void)documents;
    if (!ck_ht_init(&table, CK_HT_MODE_BYTESTRING, hash, &allocator, 1 << 16, 777))
        fail("ck_ht: out of memory");
}

static void close_table(void)
{
}

static void *thread_begin(void)
{
    return NULL;
}

static void put(void *thread, const char *id, const char *article, bool exists)
{
    (void)thread;
    (void)exists;
    struct entry *made = malloc(sizeof *made);
    ck_ht_entry_t entry;
    ck_ht_hash_t value;
    if (!made)
        fail("out of memory");
    entry_fill(made, id, article);
    ck_ht_hash(&value, &table, made->id, ID_BYTES);
    ck_ht_entry_set(&entry, value, made->id, ID_BYTES, made);
    if (!ck_ht_put_spmc(&table, value, &entry))
        fail("ck_ht: cannot put");
}

static size_t get(void *thread, const char *id, char out[static ARTICLE_BYTES])
{
    (void)thread;
    ck_ht_entry_t entry;
    ck_ht_hash_t value;
    ck_ht_hash(&value, &table, id, ID_BYTES);
    ck_ht_entry_key_set(&entry, id, ID_BYTES);
    if (!ck_ht_get_spmc(&table, value, &entry))
        return 0;
    const struct entry *found = ck_ht_entry_value(&entry);
    memcpy(out, found->article, ARTICLE_BYTES);
    return ARTICLE_BYTES;
}

static uint64_t count(void)
{
    return ck_ht_count(&table);
}

const struct store store = {.name = "ck_ht",
                            .settings = "byte strings, XXH3, grows by itself; entries from malloc",
                            .open = open_table,
                            .close = close_table,
                            .thread_begin = thread_begin,
                            .thread_end = table_nothing,
                            .begin = table_nothing,
                            .put = put,
                            .commit = table_nothing,
                            .get = get,
                            .count = count};
