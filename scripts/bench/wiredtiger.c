/* wiredtiger.c - WiredTiger: a session and a cursor for each thread, a write-ahead log. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wiredtiger.h>

#include "store.h"

struct thread {
    WT_SESSION *session;
    WT_CURSOR *cursor;
};

static WT_CONNECTION *connection;
static bool is_durable;

static void check(int result)
{
    if (result != 0)
        fail("wiredtiger: %s", wiredtiger_strerror(result));
}

static void *thread_begin(void)
{
    struct thread *thread = calloc(1, sizeof *thread);
    if (!thread)
        fail("out of memory");
    check(connection->open_session(connection, NULL, "isolation=snapshot", &thread->session));
    check(thread->session->create(thread->session, "table:articles", "key_format=u,value_format=u"));
    check(thread->session->open_cursor(thread->session, "table:articles", NULL, "overwrite=true", &thread->cursor));
    return thread;
}

static void thread_end(void *context)
{
    struct thread *thread = context;
    check(thread->session->close(thread->session, NULL));
    free(thread);
}

static void open_connection(const char *directory, bool durable, uint64_t documents)
{
    char config[300];
    is_durable = durable;
    snprintf(config, sizeof config, "create,cache_size=%lluMB,log=(enabled=true),session_max=200,transaction_sync=(enabled=%s)",
             (unsigned long long)(documents / 1000 + 512), durable ? "true,method=fsync" : "false");
    check(wiredtiger_open(directory, NULL, config, &connection));
    thread_end(thread_begin());
}

static void close_connection(void)
{
    check(connection->close(connection, "leak_memory=true"));
}

static void begin(void *context)
{
    struct thread *thread = context;
    check(thread->session->begin_transaction(thread->session, NULL));
}

static void put(void *context, const char *id, const char *article, bool exists)
{
    struct thread *thread = context;
    (void)exists;
    WT_ITEM key = {.data = id, .size = ID_BYTES}, value = {.data = article, .size = ARTICLE_BYTES};
    thread->cursor->set_key(thread->cursor, &key);
    thread->cursor->set_value(thread->cursor, &value);
    check(thread->cursor->insert(thread->cursor));
}

static void commit(void *context)
{
    struct thread *thread = context;
    check(thread->session->commit_transaction(thread->session, is_durable ? "sync=on" : NULL));
}

static size_t get(void *context, const char *id, char out[static ARTICLE_BYTES])
{
    struct thread *thread = context;
    WT_ITEM key = {.data = id, .size = ID_BYTES}, value = {.size = 0};
    thread->cursor->set_key(thread->cursor, &key);
    int result = thread->cursor->search(thread->cursor);
    size_t length = 0;
    if (result == 0) {
        check(thread->cursor->get_value(thread->cursor, &value));
        length = value.size;
        if (length <= ARTICLE_BYTES)
            memcpy(out, value.data, length);
        check(thread->cursor->reset(thread->cursor));
    } else if (result != WT_NOTFOUND) {
        check(result);
    }
    return length;
}

static uint64_t count(void)
{
    struct thread *thread = thread_begin();
    uint64_t found = 0;
    while (thread->cursor->next(thread->cursor) == 0)
        found++;
    thread_end(thread);
    return found;
}

const struct store store = {.name = "wiredtiger",
                            .settings = "log enabled, cache for all data; transaction_sync with fsync where durable",
                            .open = open_connection,
                            .close = close_connection,
                            .thread_begin = thread_begin,
                            .thread_end = thread_end,
                            .begin = begin,
                            .put = put,
                            .commit = commit,
                            .get = get,
                            .count = count};
