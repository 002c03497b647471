/* rocksdb.c - RocksDB through its C interface, all in the block cache and memtables. */
#include <rocksdb/c.h>
#include <stdlib.h>
#include <string.h>

#include "store.h"

static rocksdb_t *db;
static rocksdb_options_t *options;
static rocksdb_writeoptions_t *write_options;
static rocksdb_readoptions_t *read_options;

static void check(char *error)
{
    if (error)
        fail("rocksdb: %s", error);
}

static void open_db(const char *directory, bool durable, uint64_t documents)
{
    options = rocksdb_options_create();
    rocksdb_options_set_create_if_missing(options, 1);
    rocksdb_options_increase_parallelism(options, 2);
    rocksdb_options_set_compression(options, rocksdb_no_compression);
    rocksdb_options_set_write_buffer_size(options, 256 << 20);
    rocksdb_options_set_max_write_buffer_number(options, 4);
    rocksdb_options_set_allow_concurrent_memtable_write(options, 1);
    rocksdb_block_based_table_options_t *table = rocksdb_block_based_options_create();
    rocksdb_cache_t *cache = rocksdb_cache_create_lru((size_t)(documents * 600 + (256 << 20)));
    rocksdb_block_based_options_set_block_cache(table, cache);
    rocksdb_block_based_options_set_filter_policy(table, rocksdb_filterpolicy_create_bloom(10));
    rocksdb_options_set_block_based_table_factory(options, table);
    write_options = rocksdb_writeoptions_create();
    rocksdb_writeoptions_set_sync(write_options, durable);
    read_options = rocksdb_readoptions_create();
    char *error = NULL;
    db = rocksdb_open(options, directory, &error);
    check(error);
}

static void close_db(void)
{
    rocksdb_close(db);
}

static void *thread_begin(void)
{
    return rocksdb_writebatch_create();
}

static void thread_end(void *thread)
{
    rocksdb_writebatch_destroy(thread);
}

static void begin(void *thread)
{
    rocksdb_writebatch_clear(thread);
}

static void put(void *thread, const char *id, const char *article, bool exists)
{
    (void)exists;
    rocksdb_writebatch_put(thread, id, ID_BYTES, article, ARTICLE_BYTES);
}

static void commit(void *thread)
{
    char *error = NULL;
    rocksdb_write(db, write_options, thread, &error);
    check(error);
}

static size_t get(void *thread, const char *id, char out[static ARTICLE_BYTES])
{
    (void)thread;
    char *error = NULL;
    rocksdb_pinnableslice_t *slice = rocksdb_get_pinned(db, read_options, id, ID_BYTES, &error);
    check(error);
    size_t length = 0;
    const char *value = slice ? rocksdb_pinnableslice_value(slice, &length) : NULL;
    if (value && length <= ARTICLE_BYTES)
        memcpy(out, value, length);
    if (slice)
        rocksdb_pinnableslice_destroy(slice);
    return length;
}

static uint64_t get_many(void *thread, const char (*ids)[ID_BYTES], unsigned count, bool copied)
{
    (void)thread;
    const char *keys[16] = {NULL};
    size_t key_lengths[16] = {0}, lengths[16];
    char *values[16], *errors[16];
    uint64_t sum = 0;
    for (unsigned i = 0; i < count; i++) {
        keys[i] = ids[i];
        key_lengths[i] = ID_BYTES;
    }
    rocksdb_multi_get(db, read_options, count, keys, key_lengths, values, lengths, errors); /* copies by itself */
    (void)copied;
    for (unsigned i = 0; i < count; i++) {
        check(errors[i]);
        sum += article_sum(values[i], values[i] ? lengths[i] : 0);
        rocksdb_free(values[i]);
    }
    return sum;
}

static uint64_t count(void)
{
    rocksdb_iterator_t *iterator = rocksdb_create_iterator(db, read_options);
    uint64_t found = 0;
    for (rocksdb_iter_seek_to_first(iterator); rocksdb_iter_valid(iterator); rocksdb_iter_next(iterator))
        found++;
    rocksdb_iter_destroy(iterator);
    return found;
}

const struct store store = {
    .name = "rocksdb",
    .settings = "256 MiB memtables, cache for all data, bloom filters of 10 bits, no compression, WriteBatch; sync = true where durable",
    .open = open_db,
    .close = close_db,
    .thread_begin = thread_begin,
    .thread_end = thread_end,
    .begin = begin,
    .put = put,
    .commit = commit,
    .get = get,
    .get_many = get_many,
    .count = count};
