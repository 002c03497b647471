/* leveldb.c - LevelDB through its C interface. */
#include <leveldb/c.h>
#include <stdlib.h>
#include <string.h>

#include "store.h"

static leveldb_t *db;
static leveldb_writeoptions_t *write_options;
static leveldb_readoptions_t *read_options;

static void check(char *error)
{
    if (error)
        fail("leveldb: %s", error);
}

static void open_db(const char *directory, bool durable, uint64_t documents)
{
    leveldb_options_t *options = leveldb_options_create();
    leveldb_options_set_create_if_missing(options, 1);
    leveldb_options_set_compression(options, leveldb_no_compression);
    leveldb_options_set_write_buffer_size(options, 256 << 20);
    leveldb_options_set_cache(options, leveldb_cache_create_lru((size_t)(documents * 600 + (64 << 20))));
    leveldb_options_set_filter_policy(options, leveldb_filterpolicy_create_bloom(10));
    write_options = leveldb_writeoptions_create();
    leveldb_writeoptions_set_sync(write_options, durable);
    read_options = leveldb_readoptions_create();
    char *error = NULL;
    db = leveldb_open(options, directory, &error);
    check(error);
}

static void close_db(void)
{
    leveldb_close(db);
}

static void *thread_begin(void)
{
    return leveldb_writebatch_create();
}

static void thread_end(void *thread)
{
    leveldb_writebatch_destroy(thread);
}

static void begin(void *thread)
{
    leveldb_writebatch_clear(thread);
}

static void put(void *thread, const char *id, const char *article, bool exists)
{
    (void)exists;
    leveldb_writebatch_put(thread, id, ID_BYTES, article, ARTICLE_BYTES);
}

static void commit(void *thread)
{
    char *error = NULL;
    leveldb_write(db, write_options, thread, &error);
    check(error);
}

static size_t get(void *thread, const char *id, char out[static ARTICLE_BYTES])
{
    (void)thread;
    char *error = NULL;
    size_t length = 0;
    char *value = leveldb_get(db, read_options, id, ID_BYTES, &length, &error);
    check(error);
    if (value && length <= ARTICLE_BYTES)
        memcpy(out, value, length);
    leveldb_free(value);
    return value ? length : 0;
}

static uint64_t count(void)
{
    leveldb_iterator_t *iterator = leveldb_create_iterator(db, read_options);
    uint64_t found = 0;
    for (leveldb_iter_seek_to_first(iterator); leveldb_iter_valid(iterator); leveldb_iter_next(iterator))
        found++;
    leveldb_iter_destroy(iterator);
    return found;
}

const struct store store = {
    .name = "leveldb",
    .settings = "256 MiB write buffer, cache for all data, bloom filters of 10 bits, no compression; sync = true where durable",
    .open = open_db,
    .close = close_db,
    .thread_begin = thread_begin,
    .thread_end = thread_end,
    .begin = begin,
    .put = put,
    .commit = commit,
    .get = get,
    .count = count};
