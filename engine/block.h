/* block.h - a document in memory: what the map leads to and the channel carries. It is its event's record (format.h)
 * but for the collection's name, in whose place the collection's number in this engine stands: so a block is made into
 * a record, and back, by copying its parts. Immutable once it is published. */
#ifndef TIDE_BLOCK_H
#define TIDE_BLOCK_H

#include "format.h"

enum { BLOCK_HEADER_BYTES = 32, BLOCK_ALIGNMENT = 8, COLLECTION_BITS = 19, COLLECTIONS_MAX = 1 << COLLECTION_BITS };

struct block {
    uint32_t value_length;
    uint32_t id_length : 8;
    uint32_t type : 32 - 8 - COLLECTION_BITS; /* enum tide_event_type */
    uint32_t collection : COLLECTION_BITS;    /* collection_at */
    uint64_t seq, time_us;
    uint64_t previous_seq; /* of the same document's event before; 0: none known */
    char bytes[];          /* id, value */
};

_Static_assert(sizeof(struct block) == BLOCK_HEADER_BYTES, "id and value lie directly behind the header");

static inline size_t block_bytes(size_t id_length, size_t value_length)
{
    return (BLOCK_HEADER_BYTES + id_length + value_length + BLOCK_ALIGNMENT - 1) & ~(size_t)(BLOCK_ALIGNMENT - 1);
}

static inline size_t block_size(const struct block *block)
{
    return block_bytes(block->id_length, block->value_length);
}

static inline const char *block_id(const struct block *block)
{
    return block->bytes;
}

static inline const char *block_value(const struct block *block)
{
    return block->bytes + block->id_length;
}

/* The size of a block's record, in a collection whose name has `name_length` bytes. */
static inline size_t block_record_bytes(const struct block *block, size_t name_length)
{
    return record_bytes(name_length, block->id_length, block->value_length);
}

/* Writes the block's record, all of its block_record_bytes. */
static inline void block_to_record(const struct block *block, const char *name, size_t name_length,
                                   struct record *record)
{
    size_t length = block->id_length + (size_t)block->value_length;
    size_t bytes = block_record_bytes(block, name_length);
    memset((char *)record + bytes - FRAME_ALIGNMENT, 0, FRAME_ALIGNMENT); /* what its end is aligned with */
    *record = (struct record){.value_length = block->value_length,
                              .type = (uint8_t)block->type,
                              .collection_length = (uint8_t)name_length,
                              .id_length = (uint8_t)block->id_length,
                              .seq = block->seq,
                              .time_us = block->time_us,
                              .previous_seq = block->previous_seq};
    memcpy(record->bytes, name, name_length);
    memcpy(record->bytes + name_length, block->bytes, length);
}

/* The other way: fills a block of the record's document, whose collection has that number. */
static inline void block_from_record(const struct record *record, uint32_t collection, struct block *block)
{
    *block = (struct block){.value_length = record->value_length,
                            .id_length = record->id_length,
                            .type = record->type,
                            .collection = collection,
                            .seq = record->seq,
                            .time_us = record->time_us,
                            .previous_seq = record->previous_seq};
    memcpy(block->bytes, record_id(record), record->id_length + (size_t)record->value_length);
}

/* Of a record's document, as block_from_record makes it. */
static inline size_t block_bytes_of_record(const struct record *record)
{
    return block_bytes(record->id_length, record->value_length);
}

#endif
