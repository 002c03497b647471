/* tidemark.c - the engine itself. */
#include <string.h>

#include "../../engine/tidemark.h"
#include "store.h"

static struct tide_engine *engine;
static struct tide_collection *articles, *others;
static bool is_durable, is_chained;

static void check(enum tide_status status, const struct tide_error *error)
{
    if (status != TIDE_OK)
        fail("tidemark: %s", error->message);
}

static void open_engine(const char *directory, bool durable, uint64_t documents)
{
    (void)documents;
    struct tide_options options = {.sync = durable ? TIDE_SYNC_BATCH : TIDE_SYNC_NONE,
                                   .snapshot_log_bytes = TIDE_NO_SNAPSHOTS,
                                   .hash_chain = is_chained};
    struct tide_error error;
    is_durable = durable;
    check(tide_open(directory, &options, &engine, &error), &error);
    articles = tide_collection(engine, "articles", 8, &error);
    others = tide_collection(engine, "others", 6, &error);
    if (!articles || !others)
        fail("tidemark: %s", error.message);
}

static void chain(void)
{
    is_chained = true;
}

static void close_engine(void)
{
    struct tide_error error;
    check(tide_close(engine, &error), &error);
}

static void *thread_begin(void)
{
    static __thread struct tide_written last;
    return &last;
}

static void thread_end(void *thread)
{
    (void)thread;
}

static void begin(void *thread)
{
    (void)thread;
}

static void write_to(struct tide_collection *collection, void *thread, const char *id, const char *article, bool exists)
{
    struct tide_error error;
    struct tide_write write = {.operation = exists ? TIDE_PUT : TIDE_CREATE,
                               .durability = TIDE_ACCEPTED,
                               .if_version = TIDE_ANY_VERSION,
                               .id = id,
                               .id_length = ID_BYTES,
                               .value = article,
                               .value_length = ARTICLE_BYTES};
    check(tide_write(collection, &write, thread, &error), &error);
}

static void put(void *thread, const char *id, const char *article, bool exists)
{
    write_to(articles, thread, id, article, exists);
}

static void put_elsewhere(void *thread, const char *id, const char *article, bool exists)
{
    write_to(others, thread, id, article, exists);
}

static void commit(void *thread)
{
    const struct tide_written *last = thread;
    struct tide_error error;
    if (is_durable)
        check(tide_wait(engine, last->version, TIDE_LEVEL_DURABLE, TIDE_NO_TIMEOUT, &error), &error);
}

static void settle(void)
{
    struct tide_watermarks watermarks;
    struct tide_error error;
    tide_watermarks(engine, &watermarks);
    check(tide_wait(engine, watermarks.accepted, TIDE_LEVEL_WRITTEN, TIDE_NO_TIMEOUT, &error), &error);
}

static size_t get(void *thread, const char *id, char out[static ARTICLE_BYTES])
{
    (void)thread;
    struct tide_view view;
    size_t length = 0;
    tide_read_begin(engine);
    if (tide_get(articles, id, ID_BYTES, &view) == TIDE_OK && view.value_length <= ARTICLE_BYTES) {
        length = view.value_length;
        memcpy(out, view.value, length);
    }
    tide_read_end(engine);
    return length;
}

static uint64_t get_many(void *thread, const char (*ids)[ID_BYTES], unsigned count, bool copied)
{
    (void)thread;
    struct tide_key keys[16];
    struct tide_view views[16];
    uint64_t sum = 0;
    for (unsigned i = 0; i < count; i++)
        keys[i] = (struct tide_key){ids[i], ID_BYTES};
    tide_read_begin(engine);
    size_t ahead = copied ? ARTICLE_BYTES : 4 + ID_BYTES; /* what article_sum reads */
    if (tide_get_many(articles, keys, count, ahead, views) != count)
        fail("tidemark: documents are missing");
    for (unsigned i = 0; i < count; i++) {
        char copy[ARTICLE_BYTES];
        const char *value = views[i].value;
        if (copied && views[i].value_length == ARTICLE_BYTES)
            value = memcpy(copy, value, ARTICLE_BYTES);
        sum += article_sum(value, views[i].value_length);
    }
    tide_read_end(engine);
    return sum;
}

static uint64_t count(void)
{
    return tide_count(articles);
}

static void snapshot(void)
{
    struct tide_error error;
    check(tide_snapshot(engine, NULL, &error), &error);
}

static uint64_t log_bytes(void)
{
    struct tide_stats stats;
    tide_stats(engine, &stats);
    return stats.log_bytes;
}

static void compact(void)
{
    const struct tide_compact newest = {.retain = TIDE_RETAIN_EVENTS_PER_DOCUMENT, .limit = 1};
    struct tide_error error;
    check(tide_compact(engine, &newest, NULL, &error), &error);
}

static uint64_t history(const char *id)
{
    const struct tide_event_filter filter = {
        .from = 1, .collection = "articles", .collection_length = 8, .id = id, .id_length = ID_BYTES};
    struct tide_events *events;
    struct tide_event event;
    struct tide_error error;
    uint64_t found = 0;
    check(tide_events_open(engine, &filter, &events, &error), &error);
    while (tide_events_next(events, &event, &error) == TIDE_OK)
        found += event.value_length == ARTICLE_BYTES;
    tide_events_close(events);
    return found;
}

const struct store store = {.name = "tidemark",
                            .settings = "defaults; sync = none where nothing need be durable; snapshots only where a line says so",
                            .open = open_engine,
                            .chain = chain,
                            .close = close_engine,
                            .thread_begin = thread_begin,
                            .thread_end = thread_end,
                            .begin = begin,
                            .put = put,
                            .put_elsewhere = put_elsewhere,
                            .commit = commit,
                            .settle = settle,
                            .get = get,
                            .get_many = get_many,
                            .count = count,
                            .snapshot = snapshot,
                            .log_bytes = log_bytes,
                            .compact = compact,
                            .history = history};
