/* snapshot_format.h - the bytes of a snapshot: header, blocks of records, footer. The offset tables are at the top of
 * snapshot_format.c. */
#ifndef TIDE_SNAPSHOT_FORMAT_H
#define TIDE_SNAPSHOT_FORMAT_H

#include "chain.h"
#include "format.h"
#include "tidemark.h"

enum {
    SNAPSHOT_VERSION = 1,
    SNAPSHOT_HEADER_BYTES = 128,
    SNAPSHOT_BLOCK_HEADER_BYTES = 32,
    SNAPSHOT_TRAILER_BYTES = 64,
    SNAPSHOT_ENTRY_BYTES = 16, /* of a block in the footer */
    SNAPSHOT_COLLECTION_BYTES_MAX = 24 + TIDE_NAME_BYTES_MAX + 7
};

struct snapshot_header {
    uint32_t version;
    uint8_t database_id[DATABASE_ID_BYTES];
    uint64_t seq;               /* the state is that behind this event */
    uint64_t last_time_us;      /* of the newest event up to seq: times never decrease along seq */
    uint64_t created_us;        /* since 1970 */
    uint64_t segment_first_seq; /* of the segment that was the active one */
    uint64_t segment_offset;    /* in it, behind the frame that ends with seq: a hint, it may have been rewritten */
    struct chain chain;         /* as of that place */
};

struct snapshot_block_header {
    uint32_t bytes; /* of the whole block, header included */
    uint32_t records;
    uint64_t offset; /* of the block in its file */
    uint64_t seq;    /* of the snapshot */
};

/* A block as the footer tells of it. */
struct snapshot_entry {
    uint64_t offset;
    uint32_t bytes, records;
};

/* A collection as the footer tells of it. */
struct snapshot_collection {
    uint64_t first_delete_seq; /* of its first deletion; 0: none up to the snapshot's seq */
    uint64_t records;
    uint8_t name_length;
    char name[TIDE_NAME_BYTES_MAX + 1];
};

/* The last bytes of the file; the footer begins at footer_offset: blocks' entries, then collections. */
struct snapshot_trailer {
    uint64_t footer_offset, seq, records, blocks, collections;
};

void snapshot_header_encode(uint8_t bytes[SNAPSHOT_HEADER_BYTES], const struct snapshot_header *header);

/* NULL, or what is wrong with it (a static text). Of another version only `version` is filled in. */
const char *snapshot_header_decode(const uint8_t bytes[SNAPSHOT_HEADER_BYTES], struct snapshot_header *header);

/* Fills in the header of a block whose records are in place behind it. */
void snapshot_block_encode(uint8_t *block, const struct snapshot_block_header *header);

/* Whether the bytes are the block that `entry` tells of, of the snapshot of `seq`: header, checksum, and whole records
 * with seqs up to it that fill the block exactly. */
bool snapshot_block_valid(const uint8_t *block, const struct snapshot_entry *entry, uint64_t seq);

void snapshot_entry_encode(uint8_t bytes[SNAPSHOT_ENTRY_BYTES], const struct snapshot_entry *entry);
void snapshot_entry_decode(const uint8_t bytes[SNAPSHOT_ENTRY_BYTES], struct snapshot_entry *entry);

/* Writes a collection; returns its length, a multiple of 8, at most SNAPSHOT_COLLECTION_BYTES_MAX. */
size_t snapshot_collection_encode(uint8_t *bytes, const struct snapshot_collection *collection);

/* Reads one from `available` bytes; returns its length, 0 when there is none. */
size_t snapshot_collection_decode(const uint8_t *bytes, size_t available, struct snapshot_collection *collection);

/* Fills in the trailer, the last SNAPSHOT_TRAILER_BYTES of the `bytes` bytes of a footer. */
void snapshot_trailer_encode(uint8_t *footer, size_t bytes, const struct snapshot_trailer *trailer);

/* Reads a trailer; false when there is none. Whether the footer fits the checksum: snapshot_footer_valid. */
bool snapshot_trailer_decode(const uint8_t bytes[SNAPSHOT_TRAILER_BYTES], struct snapshot_trailer *trailer);
bool snapshot_footer_valid(const uint8_t *footer, size_t bytes);

#endif
