/* lmdb.c - LMDB: one writer at a time, readers on a snapshot that each thread renews. */
#include <lmdb.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "store.h"

struct thread {
    MDB_txn *reader, *writer;
};

static MDB_env *env;
static MDB_dbi dbi;

static void check(int result)
{
    if (result != MDB_SUCCESS)
        fail("lmdb: %s", mdb_strerror(result));
}

static void open_env(const char *directory, bool durable, uint64_t documents)
{
    check(mdb_env_create(&env));
    check(mdb_env_set_mapsize(env, (size_t)(documents * 2 + 1000000) * 1024));
    check(mdb_env_set_maxreaders(env, 256));
    check(mdb_env_open(env, directory, durable ? 0 : MDB_NOSYNC | MDB_NOMETASYNC, 0644));
    MDB_txn *txn;
    check(mdb_txn_begin(env, NULL, 0, &txn));
    check(mdb_dbi_open(txn, NULL, 0, &dbi));
    check(mdb_txn_commit(txn));
}

static void close_env(void)
{
    mdb_env_close(env);
}

static void *thread_begin(void)
{
    struct thread *thread = calloc(1, sizeof *thread);
    if (!thread)
        fail("out of memory");
    return thread;
}

static void thread_end(void *context)
{
    struct thread *thread = context;
    if (thread->reader)
        mdb_txn_abort(thread->reader);
    free(thread);
}

static void begin(void *context)
{
    struct thread *thread = context;
    check(mdb_txn_begin(env, NULL, 0, &thread->writer));
}

static void put(void *context, const char *id, const char *article, bool exists)
{
    struct thread *thread = context;
    MDB_val key = {ID_BYTES, (void *)id}, value = {ARTICLE_BYTES, (void *)article};
    check(mdb_put(thread->writer, dbi, &key, &value, exists ? 0 : MDB_NOOVERWRITE));
}

static void commit(void *context)
{
    struct thread *thread = context;
    check(mdb_txn_commit(thread->writer));
}

/* A read transaction each time, renewed: that is what a server would do to see the newest. */
static size_t get(void *context, const char *id, char out[static ARTICLE_BYTES])
{
    struct thread *thread = context;
    MDB_val key = {ID_BYTES, (void *)id}, value;
    check(thread->reader ? mdb_txn_renew(thread->reader) : mdb_txn_begin(env, NULL, MDB_RDONLY, &thread->reader));
    int result = mdb_get(thread->reader, dbi, &key, &value);
    size_t length = 0;
    if (result == MDB_SUCCESS && value.mv_size <= ARTICLE_BYTES) {
        length = value.mv_size;
        memcpy(out, value.mv_data, length);
    } else if (result != MDB_NOTFOUND) {
        check(result);
    }
    mdb_txn_reset(thread->reader);
    return length;
}

static uint64_t count(void)
{
    MDB_stat status;
    check(mdb_env_stat(env, &status));
    return status.ms_entries;
}

const struct store store = {.name = "lmdb",
                            .settings = "MDB_NOSYNC where nothing need be durable; a renewed read transaction for each get",
                            .open = open_env,
                            .close = close_env,
                            .thread_begin = thread_begin,
                            .thread_end = thread_end,
                            .begin = begin,
                            .put = put,
                            .commit = commit,
                            .get = get,
                            .count = count};
