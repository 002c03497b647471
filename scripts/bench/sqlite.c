/* sqlite.c - SQLite in WAL mode, a connection for each thread. */
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store.h"

struct thread {
    sqlite3 *db;
    sqlite3_stmt *begin, *commit, *insert, *replace, *select;
};

static char path[4096];
static bool is_durable;

static void check(sqlite3 *db, int result, int wanted)
{
    if (result != wanted)
        fail("sqlite: %s", sqlite3_errmsg(db));
}

static void run(sqlite3 *db, const char *text)
{
    check(db, sqlite3_exec(db, text, NULL, NULL, NULL), SQLITE_OK);
}

static sqlite3_stmt *prepare(sqlite3 *db, const char *text)
{
    sqlite3_stmt *statement;
    check(db, sqlite3_prepare_v3(db, text, -1, SQLITE_PREPARE_PERSISTENT, &statement, NULL), SQLITE_OK);
    return statement;
}

static void *thread_begin(void)
{
    struct thread *thread = calloc(1, sizeof *thread);
    if (!thread || sqlite3_open(path, &thread->db) != SQLITE_OK)
        fail("sqlite: cannot open %s", path);
    sqlite3_busy_timeout(thread->db, 60000);
    run(thread->db, "PRAGMA journal_mode = WAL");
    run(thread->db, is_durable ? "PRAGMA synchronous = FULL" : "PRAGMA synchronous = OFF");
    run(thread->db, "PRAGMA cache_size = -1000000; PRAGMA mmap_size = 8589934592");
    run(thread->db, "CREATE TABLE IF NOT EXISTS articles (id TEXT PRIMARY KEY, document TEXT NOT NULL) WITHOUT ROWID");
    thread->begin = prepare(thread->db, "BEGIN IMMEDIATE");
    thread->commit = prepare(thread->db, "COMMIT");
    thread->insert = prepare(thread->db, "INSERT INTO articles VALUES (?1, ?2)");
    thread->replace = prepare(thread->db, "INSERT OR REPLACE INTO articles VALUES (?1, ?2)");
    thread->select = prepare(thread->db, "SELECT document FROM articles WHERE id = ?1");
    return thread;
}

static void thread_end(void *context)
{
    struct thread *thread = context;
    sqlite3_finalize(thread->begin);
    sqlite3_finalize(thread->commit);
    sqlite3_finalize(thread->insert);
    sqlite3_finalize(thread->replace);
    sqlite3_finalize(thread->select);
    sqlite3_close(thread->db);
    free(thread);
}

static void open_db(const char *directory, bool durable, uint64_t documents)
{
    (void)documents;
    snprintf(path, sizeof path, "%s/articles.db", directory);
    is_durable = durable;
    thread_end(thread_begin());
}

static void close_db(void)
{
}

static void step(struct thread *thread, sqlite3_stmt *statement)
{
    check(thread->db, sqlite3_step(statement), SQLITE_DONE);
    sqlite3_reset(statement);
}

static void begin(void *context)
{
    struct thread *thread = context;
    step(thread, thread->begin);
}

static void put(void *context, const char *id, const char *article, bool exists)
{
    struct thread *thread = context;
    sqlite3_stmt *statement = exists ? thread->replace : thread->insert;
    sqlite3_bind_text(statement, 1, id, ID_BYTES, SQLITE_STATIC);
    sqlite3_bind_text(statement, 2, article, ARTICLE_BYTES, SQLITE_STATIC);
    step(thread, statement);
}

static void commit(void *context)
{
    struct thread *thread = context;
    step(thread, thread->commit);
}

static size_t get(void *context, const char *id, char out[static ARTICLE_BYTES])
{
    struct thread *thread = context;
    size_t length = 0;
    sqlite3_bind_text(thread->select, 1, id, ID_BYTES, SQLITE_STATIC);
    if (sqlite3_step(thread->select) == SQLITE_ROW) {
        length = (size_t)sqlite3_column_bytes(thread->select, 0);
        if (length <= ARTICLE_BYTES)
            memcpy(out, sqlite3_column_text(thread->select, 0), length);
    }
    sqlite3_reset(thread->select);
    return length;
}

static uint64_t count(void)
{
    struct thread *thread = thread_begin();
    sqlite3_stmt *statement = prepare(thread->db, "SELECT count(*) FROM articles");
    check(thread->db, sqlite3_step(statement), SQLITE_ROW);
    uint64_t found = (uint64_t)sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    thread_end(thread);
    return found;
}

const struct store store = {
    .name = "sqlite",
    .settings = "WAL; synchronous = OFF, FULL where durable; 1 GB cache, mmap; WITHOUT ROWID; prepared statements",
    .open = open_db,
    .close = close_db,
    .thread_begin = thread_begin,
    .thread_end = thread_end,
    .begin = begin,
    .put = put,
    .commit = commit,
    .get = get,
    .count = count};
