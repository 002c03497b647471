/* collections.c - the collections of an engine: a hash table from name to collection, under a mutex. Callers look a
 * collection up once and keep it, so this is on nobody's way; a collection is never removed while the engine is open,
 * so a pointer to one needs no care. An empty one costs about 10 KiB, the shards of its map. */
#include <stdlib.h>
#include <string.h>

#include "engine.h"
#include "error.h"

enum { CHAINS_MIN = 64 };

enum tide_status collections_init(struct tide_engine *engine, struct tide_error *error)
{
    map_init();
    pthread_mutex_init(&engine->collections_mutex, NULL);
    engine->chain_count = CHAINS_MIN;
    engine->chains = calloc(CHAINS_MIN, sizeof(struct tide_collection *));
    if (!engine->chains)
        return error_set(error, TIDE_MEMORY, "out of memory");
    return TIDE_OK;
}

void collections_destroy(struct tide_engine *engine)
{
    for (size_t i = 0; i < engine->collection_count; i++) {
        map_destroy(engine->collections[i]->map);
        free(engine->collections[i]);
    }
    free(engine->collections);
    free(engine->chains);
    engine->collections = NULL;
    engine->chains = NULL;
    engine->collection_count = engine->collection_capacity = 0;
    pthread_mutex_destroy(&engine->collections_mutex);
}

bool tide_name_valid(const char *name, size_t name_length)
{
    if (name_length < 1 || name_length > TIDE_NAME_BYTES_MAX)
        return false;
    for (size_t i = 0; i < name_length; i++) {
        char c = name[i];
        if (!((c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '-'))
            return false;
    }
    return true;
}

static struct tide_collection **chain_of(struct tide_engine *engine, const char *name, size_t name_length)
{
    return &engine->chains[map_hash(name, name_length) & (engine->chain_count - 1)];
}

/* Makes room for one more; the chains are kept as many as the collections. */
static bool collections_reserve(struct tide_engine *engine)
{
    if (engine->collection_count == engine->collection_capacity) {
        size_t capacity = engine->collection_capacity ? engine->collection_capacity * 2 : 16;
        struct tide_collection **grown = realloc(engine->collections, capacity * sizeof(struct tide_collection *));
        if (!grown)
            return false;
        engine->collections = grown;
        engine->collection_capacity = capacity;
    }
    if (engine->collection_count < engine->chain_count)
        return true;
    struct tide_collection **chains = calloc(engine->chain_count * 2, sizeof(struct tide_collection *));
    if (!chains)
        return true; /* longer chains do as well */
    free(engine->chains);
    engine->chains = chains;
    engine->chain_count *= 2;
    for (size_t i = 0; i < engine->collection_count; i++) {
        struct tide_collection *collection = engine->collections[i];
        struct tide_collection **chain = chain_of(engine, collection->name, collection->name_length);
        collection->next = *chain;
        *chain = collection;
    }
    return true;
}

static struct tide_collection *collection_create(struct tide_engine *engine, const char *name, size_t name_length,
                                                 struct tide_error *error)
{
    if (engine->collection_count == COLLECTIONS_MAX) {
        error_set(error, TIDE_INVALID, "%s: a database has at most %d collections", engine->directory, COLLECTIONS_MAX);
        return NULL;
    }
    struct tide_collection *collection = collections_reserve(engine) ? calloc(1, sizeof *collection) : NULL;
    if (collection)
        collection->map = map_create(engine->memory, engine->reclaim);
    if (!collection || !collection->map) {
        free(collection);
        error_set(error, TIDE_MEMORY, "out of memory");
        return NULL;
    }
    collection->engine = engine;
    collection->number = (uint32_t)engine->collection_count;
    collection->name_length = (uint8_t)name_length;
    memcpy(collection->name, name, name_length);
    struct tide_collection **chain = chain_of(engine, name, name_length);
    collection->next = *chain;
    *chain = collection;
    engine->collections[engine->collection_count++] = collection;
    return collection;
}

struct tide_collection *tide_collection(struct tide_engine *engine, const char *name, size_t name_length,
                                        struct tide_error *error)
{
    if (!tide_name_valid(name, name_length)) {
        error_set(error, TIDE_INVALID, "a collection's name is 1 to %d of A-Z a-z 0-9 _ -", TIDE_NAME_BYTES_MAX);
        return NULL;
    }
    pthread_mutex_lock(&engine->collections_mutex);
    struct tide_collection *collection = *chain_of(engine, name, name_length);
    while (collection && (collection->name_length != name_length || memcmp(collection->name, name, name_length) != 0))
        collection = collection->next;
    if (!collection)
        collection = collection_create(engine, name, name_length, error);
    pthread_mutex_unlock(&engine->collections_mutex);
    return collection;
}

const char *tide_collection_name(const struct tide_collection *collection)
{
    return collection->name;
}

struct tide_engine *tide_collection_engine(const struct tide_collection *collection)
{
    return collection->engine;
}

struct tide_collection *collection_at(struct tide_engine *engine, size_t place)
{
    pthread_mutex_lock(&engine->collections_mutex);
    struct tide_collection *collection = place < engine->collection_count ? engine->collections[place] : NULL;
    pthread_mutex_unlock(&engine->collections_mutex);
    return collection;
}

void tide_collections(struct tide_engine *engine, bool (*visit)(void *context, struct tide_collection *collection),
                      void *context)
{
    for (size_t i = 0;; i++) {
        struct tide_collection *collection = collection_at(engine, i);
        if (!collection || !visit(context, collection))
            return;
    }
}
