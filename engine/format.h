/* format.h - the bytes of the log: segment header, frame, record. The offset tables are at the top of format.c. */
#ifndef TIDE_FORMAT_H
#define TIDE_FORMAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "tidemark.h"

enum {
    FORMAT_VERSION = 1,
    SEGMENT_HEADER_BYTES = 64,
    FRAME_HEADER_BYTES = 48,
    RECORD_HEADER_BYTES = 32,
    DATABASE_ID_BYTES = 16,
    FRAME_TAG_OFFSET = 44, /* in the frame header: the first 4 bytes of the database id */
    FRAME_ALIGNMENT = 8,   /* frames begin at multiples of it, record lengths are multiples of it */
    CHAIN_HASH_BYTES = 32, /* SHA-256, at the end of a chained frame; see chain.h */
    MARK_BYTES_MAX = FRAME_HEADER_BYTES + CHAIN_HASH_BYTES /* of a closed or sealed frame */
};

/* The highest seq of an event; a mark behind it, or the segment that comes next, says one more. What is above is
 * damage, so that arithmetic with seqs can't overflow. */
#define SEQ_MAX (UINT64_C(1) << 62)
/* A log that has come further is opened for reading alone. No process lives long enough to come from here to SEQ_MAX,
 * so that nothing has to ask while it gives seqs out. */
#define SEQ_WRITE_MAX (SEQ_MAX / 2)

/* What a frame is. */
enum frame_kind {
    FRAME_EVENTS = 0,
    FRAME_CLOSED = 1, /* end mark of a clean close: all before it is durable */
    FRAME_SEALED = 2, /* last frame of a sealed segment */
    FRAME_GAP = 4,    /* seqs first_seq to (first u64 of the payload) were removed by repair */
    FRAME_SPARSE = 8  /* the same seqs, of which compaction has left those whose records follow */
};

struct segment_header {
    uint32_t format_version;
    uint8_t database_id[DATABASE_ID_BYTES];
    uint64_t first_seq;  /* of the first event that the segment holds or will hold */
    uint64_t created_us; /* since 1970 */
};

struct frame_header {
    uint32_t bytes; /* of the whole frame, header included */
    uint32_t events;
    uint64_t first_seq; /* of an empty frame: the seq that the next event will have */
    uint64_t term;      /* 0 without replication */
    uint64_t durable;   /* the durable watermark when the frame was written */
    uint8_t kind;       /* enum frame_kind */
    bool chained;       /* the last CHAIN_HASH_BYTES are its hash */
};

/* A record as it lies in a frame, and in a snapshot. Little-endian. */
struct record {
    uint32_t value_length;
    uint8_t type;  /* enum tide_event_type */
    uint8_t flags; /* 0; bit 0 is kept for atomic groups: the next record belongs to the same group */
    uint8_t collection_length, id_length;
    uint64_t seq, time_us;
    uint64_t previous_seq; /* of the same document's event before; 0: none known */
    char bytes[];          /* collection, id, value, zeros up to a multiple of FRAME_ALIGNMENT */
};

static inline size_t record_bytes(size_t collection_length, size_t id_length, size_t value_length)
{
    return (RECORD_HEADER_BYTES + collection_length + id_length + value_length + FRAME_ALIGNMENT - 1) &
           ~(size_t)(FRAME_ALIGNMENT - 1);
}

static inline size_t record_size(const struct record *record)
{
    return record_bytes(record->collection_length, record->id_length, record->value_length);
}

static inline const char *record_collection(const struct record *record)
{
    return record->bytes;
}

static inline const char *record_id(const struct record *record)
{
    return record->bytes + record->collection_length;
}

static inline const char *record_value(const struct record *record)
{
    return record->bytes + record->collection_length + record->id_length;
}

void segment_header_encode(uint8_t bytes[SEGMENT_HEADER_BYTES], const struct segment_header *header);

/* OK; CORRUPT when it is no segment header of ours, or a damaged one; INVALID when it is one of another format version
 * (header->format_version tells). `name` goes into the message. */
enum tide_status segment_header_decode(const uint8_t bytes[SEGMENT_HEADER_BYTES], struct segment_header *header,
                                       const char *name, struct tide_error *error);

/* Fills in the first FRAME_HEADER_BYTES of `frame`, checksum included; the rest of header->bytes is in place already.
 */
void frame_encode(uint8_t *frame, const struct frame_header *header, const uint8_t database_id[DATABASE_ID_BYTES]);

/* The same in two steps, for a frame that ends with a hash over its other bytes: all but the checksum, then that. */
void frame_header_encode(uint8_t *frame, const struct frame_header *header,
                         const uint8_t database_id[DATABASE_ID_BYTES]);
void frame_checksum_encode(uint8_t *frame, const struct frame_header *header);

/* Where in the frame its payload ends: at its end, or before its hash. */
static inline size_t frame_payload_end(const struct frame_header *header)
{
    return header->bytes - (header->chained ? CHAIN_HASH_BYTES : 0);
}

/* Reads a frame header: false when the bytes can't begin a frame of this database (magic, tag, lengths). */
bool frame_header_decode(const uint8_t bytes[FRAME_HEADER_BYTES], struct frame_header *header,
                         const uint8_t database_id[DATABASE_ID_BYTES]);

/* Whether the checksum of a whole frame fits and its records fill it exactly, with seqs in a row from first_seq (the
 * latter two for frames with events; a FRAME_GAP frame must have its payload, a FRAME_SPARSE frame its payload and
 * rising seqs that it covers). `header` is the decoded one. */
bool frame_valid(const uint8_t *frame, const struct frame_header *header);

/* Whether the frame may have records; a sparse one may also have none left. */
bool frame_holds_events(const struct frame_header *header);

/* The last seq that a FRAME_GAP or FRAME_SPARSE frame stands for. */
uint64_t frame_gap_last_seq(const uint8_t *frame);

/* The seq that the next frame must begin with. */
uint64_t frame_next_seq(const uint8_t *frame, const struct frame_header *header);

/* The length of a FRAME_GAP frame; writes it to `frame`, which has room for FRAME_GAP_BYTES. */
enum { FRAME_GAP_BYTES = FRAME_HEADER_BYTES + 8 };
void frame_gap_encode(uint8_t *frame, uint64_t first_seq, uint64_t last_seq, uint64_t durable,
                      const uint8_t database_id[DATABASE_ID_BYTES]);

/* Completes a FRAME_SPARSE frame whose records begin at FRAME_SPARSE_RECORDS; header->kind is set here. */
enum { FRAME_SPARSE_RECORDS = FRAME_HEADER_BYTES + 8 };
void frame_sparse_encode(uint8_t *frame, struct frame_header *header, uint64_t last_seq,
                         const uint8_t database_id[DATABASE_ID_BYTES]);

/* CRC32C (Castagnoli) of `bytes`, as RFC 3720 defines it; the second one: of them behind others, whose is `crc`. */
uint32_t crc32c(const void *bytes, size_t length);
uint32_t crc32c_continue(uint32_t crc, const void *bytes, size_t length);

#endif
