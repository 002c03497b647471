/* write.c - the way of a write, up to the channel.
 *
 *   claim room in the channel (here a write may wait, and holds nothing)
 *   build the block: metadata, collection, id, value, byte for byte what the log will hold
 *   lock the id's shard; check the precondition; grow the shard if it must
 *   take a place in the channel: its number is the event's seq and the document's version
 *   put the block there, publish it in the map, unlock
 *   wake the writer if this event is the one it sleeps for; wait for durability if the caller asks
 *
 * From the first step to the unlocking the thread is in an epoch section, not for the memory (the lock does that), but
 * so that a close can wait until every write that had begun is through. */
#include <inttypes.h>
#include <string.h>

#include "engine.h"
#include "epoch.h"
#include "error.h"
#include "plant.h"

#define NAMED_FORMAT "%s/%.*s: "
#define NAMED_VALUES(collection, write) (collection)->name, (int)(write)->id_length, (write)->id

/* What can be refused before anything is claimed. */
static enum tide_status write_check(const struct tide_collection *collection, const struct tide_write *write,
                                    struct tide_error *error)
{
    const struct tide_options *options = &collection->engine->options;
    const char *fault = id_fault(write->id, write->id_length);
    if (fault) {
        if (write->operation == TIDE_DELETE || write->operation == TIDE_REPLACE)
            return error_set(error, TIDE_NOT_FOUND, "%s: there is no such document: %s", collection->name, fault);
        return error_set(error, TIDE_INVALID, "%s: %s", collection->name, fault);
    }
    if (write->operation != TIDE_DELETE && write->value_length > options->document_bytes_max)
        return error_set(error, TIDE_INVALID, NAMED_FORMAT "%zu bytes are more than document_bytes_max, %" PRIu64,
                         NAMED_VALUES(collection, write), write->value_length, options->document_bytes_max);
    return TIDE_OK;
}

static size_t write_value_length(const struct tide_write *write)
{
    return write->operation == TIDE_DELETE ? 0 : write->value_length;
}

static struct block *block_build(const struct tide_collection *collection, const struct tide_write *write)
{
    size_t value_length = write_value_length(write);
    struct block *block = memory_allocate(collection->engine->memory, block_bytes(write->id_length, value_length));
    if (!block)
        return NULL;
    block->value_length = (uint32_t)value_length;
    block->collection = collection->number;
    block->id_length = (uint8_t)write->id_length;
    block->time_us = clock_real_us();
    memcpy(block->bytes, write->id, write->id_length);
    if (value_length > 0)
        memcpy(block->bytes + write->id_length, write->value, value_length);
    return block;
}

/* Whether the write may happen to a document that is `block` (NULL: absent). */
static enum tide_status precondition(const struct tide_collection *collection, const struct tide_write *write,
                                     const struct block *block, struct tide_error *error)
{
    uint64_t version = block ? block->seq : 0;
    if (write->operation == TIDE_CREATE && block)
        return error_set(error, TIDE_EXISTS, NAMED_FORMAT "exists already, version %" PRIu64,
                         NAMED_VALUES(collection, write), version);
    if ((write->operation == TIDE_REPLACE || write->operation == TIDE_DELETE) && !block)
        return error_set(error, TIDE_NOT_FOUND, NAMED_FORMAT "there is no such document",
                         NAMED_VALUES(collection, write));
    if (write->if_version != TIDE_ANY_VERSION && write->if_version != version)
        return error_set(error, TIDE_CONFLICT, NAMED_FORMAT "version is %" PRIu64 ", not %" PRIu64,
                         NAMED_VALUES(collection, write), version, write->if_version);
    return TIDE_OK;
}

/* A collection's first deletion: until then every document's history is one chain of previous_seq. */
static void first_delete_note(struct tide_collection *collection, uint64_t seq)
{
    uint64_t none = 0;
    /* Relaxed: a number of its own; readers compare it with seqs that are in the log. */
    if (atomic_load_explicit(&collection->first_delete_seq, memory_order_relaxed) == 0)
        atomic_compare_exchange_strong_explicit(&collection->first_delete_seq, &none, seq, memory_order_relaxed,
                                                memory_order_relaxed);
}

/* The locked part: precondition, place, publication. Returns the status; on OK the event is accepted. */
static enum tide_status write_publish(struct tide_collection *collection, const struct tide_write *write, uint64_t hash,
                                      struct block *block, struct tide_written *written, struct tide_error *error)
{
    struct channel *channel = &collection->engine->channel;
    struct map_place place;
    uint64_t early = PLANTED(7) ? channel_take_place(channel) : 0; /* the place taken outside of the lock */
    map_lock(collection->map, hash, write->id, write->id_length, &place);
    struct block *old = place.block;
    enum tide_status status = precondition(collection, write, old, error);
    if (status == TIDE_OK && !old && !map_reserve(collection->map, &place))
        status = error_set(error, TIDE_MEMORY, "out of memory");
    if (status != TIDE_OK) {
        map_unlock(&place);
        return status;
    }
    bool delete = write->operation == TIDE_DELETE;
    block->type = delete ? TIDE_EVENT_DELETED : old ? TIDE_EVENT_UPDATED : TIDE_EVENT_CREATED;
    block->previous_seq = old ? old->seq : 0;
    uint64_t seq = PLANTED(7) ? early : channel_take_place(channel);
    block->seq = seq;
    if (delete) {
        first_delete_note(collection, seq);
        map_remove(&place);
    } else {
        map_set(collection->map, &place, block);
    }
    channel_put(channel, seq, block, old);
    map_unlock(&place);
    *written = (struct tide_written){.version = seq, .created = !old};
    return TIDE_OK;
}

/* Claims room, entering an epoch section; waits outside of it if need be. On failure there is no section. */
static enum tide_status write_claim(struct tide_engine *engine, const struct tide_write *write, uint64_t bytes,
                                    bool *kick, struct tide_error *error)
{
    *kick = false;
    epoch_enter();
    enum tide_status status = engine_state(engine, error);
    if (status == TIDE_OK && channel_claim(&engine->channel, bytes, kick))
        return TIDE_OK;
    epoch_exit();
    if (status != TIDE_OK)
        return status;
    uint64_t timeout_ms = write->timeout_ms ? write->timeout_ms : engine->options.timeout_ms;
    if (timeout_ms == TIDE_NO_WAIT)
        status = space_ask(engine, bytes, error);
    if (status != TIDE_OK)
        return status;
    if (timeout_ms == TIDE_NO_WAIT)
        return error_set(error, TIDE_BUSY, "%s: no room for %" PRIu64 " bytes in the channel", engine->directory,
                         bytes);
    status = wait_for_room(engine, bytes, clock_deadline_us(timeout_ms), error);
    if (status != TIDE_OK)
        return status;
    epoch_enter();
    status = engine_state(engine, error);
    if (status == TIDE_OK)
        return TIDE_OK;
    channel_release(&engine->channel, bytes, 1);
    epoch_exit();
    return status;
}

/* Waits until `version` is durable; a timeout leaves the write accepted and says so. */
static enum tide_status write_wait(struct tide_collection *collection, const struct tide_write *write, uint64_t version,
                                   uint64_t deadline_us, struct tide_error *error)
{
    enum tide_status status = wait_for_watermark(collection->engine, version, TIDE_LEVEL_DURABLE, deadline_us, error);
    if (status == TIDE_TIMEOUT)
        error_set(error, TIDE_TIMEOUT, NAMED_FORMAT "accepted as version %" PRIu64 ", but not durable in time",
                  NAMED_VALUES(collection, write), version);
    return status;
}

enum tide_status tide_write(struct tide_collection *collection, const struct tide_write *write,
                            struct tide_written *written, struct tide_error *error)
{
    struct tide_engine *engine = collection->engine;
    *written = (struct tide_written){0};
    enum tide_status status = write_check(collection, write, error);
    if (status != TIDE_OK)
        return status;
    uint64_t hash = map_hash(write->id, write->id_length);
    map_prefetch(collection->map, hash);
    enum tide_durability durability = write->durability ? write->durability : engine->options.durability;
    uint64_t timeout_ms = write->timeout_ms ? write->timeout_ms : engine->options.timeout_ms;
    uint64_t deadline_us = durability == TIDE_DURABLE ? clock_deadline_us(timeout_ms) : 0;
    uint64_t bytes = record_bytes(collection->name_length, write->id_length, write_value_length(write));

    bool kick;
    status = write_claim(engine, write, bytes, &kick, error);
    if (status != TIDE_OK)
        return status;
    struct block *block = block_build(collection, write);
    status = block ? write_publish(collection, write, hash, block, written, error)
                   : error_set(error, TIDE_MEMORY, "out of memory");
    if (status != TIDE_OK) {
        memory_free(engine->memory, block, block_bytes(write->id_length, write_value_length(write)));
        channel_release(&engine->channel, bytes, 1);
        epoch_exit();
        return status;
    }
    if (channel_must_wake(&engine->channel, written->version) || kick)
        writer_wake(engine);
    epoch_exit();
    if (durability == TIDE_DURABLE)
        return write_wait(collection, write, written->version, deadline_us, error);
    return TIDE_OK;
}
