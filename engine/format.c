/* format.c - the bytes of the log. All numbers are little-endian; offsets and lengths are in bytes.
 *
 * Segment header, 64 bytes:                      Frame header, 48 bytes:
 *    0   8  magic F5 54 49 44 45 4C 4F 47           0   4  magic F5 54 4D 46
 *    8   4  format version, 1                       4   4  CRC32C of bytes 8 to the frame's end
 *   12   4  length of this header, 64               8   4  length of the frame, header included; multiple of 8
 *   16  16  database id, random                    12   4  count of events
 *   32   8  seq of the first event                 16   8  seq of the first event; without events: of the next one
 *   40   8  time of creation, us since 1970        24   8  term, 0 without replication
 *   48  12  zeros                                  32   8  durable watermark when it was written
 *   60   4  CRC32C of bytes 0 to 59                40   4  kind: 0 events, 1 closed, 2 sealed, 4 gap,
 *                                                           8 sparse; + 256: chained
 *                                                  44   4  first 4 bytes of the database id
 * Record, 32 bytes and its texts, padded with zeros to a multiple of 8:
 *    0   4  length of the value                     8   8  seq
 *    4   1  type: 1 created, 2 updated, 3 deleted  16   8  time, us since 1970, never less than the record before
 *    5   1  flags, 0                               24   8  seq of the same document's event before, 0: none known
 *    6   1  length of the collection's name        32      collection, id, value
 *    7   1  length of the id
 *
 * A frame of events is its header and `count` records in seq order. Closed and sealed frames are a header alone; a
 * gap's payload is one 8-byte seq, the last of those that are missing. A sparse frame is what compaction leaves of
 * frames of events: after the same 8 bytes come `count` records, perhaps none, whose seqs rise and are not all there.
 * Behind all that, a chained frame ends with a SHA-256 of 32 bytes (chain.c), which its length and its checksum
 * include. Frames follow one another without space between; behind the last one are zeros, preallocated, up to the end
 * of the file.
 *
 * Names, ids and values are UTF-8 and UTF-8 never contains F5: no document can look like the beginning of a frame. */
#include "format.h"

#include <inttypes.h>
#include <isa-l/crc.h>

#include "bytes.h"
#include "error.h"
#include "plant.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the log is little-endian and copied as it is in memory");
_Static_assert(sizeof(struct record) == RECORD_HEADER_BYTES, "a record in memory is a record in the log");

static const uint8_t segment_magic[8] = {0xF5, 'T', 'I', 'D', 'E', 'L', 'O', 'G'};
static const uint8_t frame_magic[4] = {0xF5, 'T', 'M', 'F'};

uint32_t crc32c(const void *bytes, size_t length)
{
    return crc32c_continue(0, bytes, length);
}

uint32_t crc32c_continue(uint32_t crc, const void *bytes, size_t length)
{
    enum { PIECE = 1 << 30 }; /* the library counts in int */
    unsigned char *p = (unsigned char *)(uintptr_t)bytes;
    crc ^= 0xFFFFFFFF;
    while (length > 0) {
        int piece = length < PIECE ? (int)length : PIECE;
        crc = crc32_iscsi(p, piece, crc);
        p += piece;
        length -= (size_t)piece;
    }
    return crc ^ 0xFFFFFFFF;
}

void segment_header_encode(uint8_t bytes[SEGMENT_HEADER_BYTES], const struct segment_header *header)
{
    memset(bytes, 0, SEGMENT_HEADER_BYTES);
    memcpy(bytes, segment_magic, sizeof segment_magic);
    put32(bytes + 8, FORMAT_VERSION);
    put32(bytes + 12, SEGMENT_HEADER_BYTES);
    memcpy(bytes + 16, header->database_id, DATABASE_ID_BYTES);
    put64(bytes + 32, header->first_seq);
    put64(bytes + 40, header->created_us);
    put32(bytes + 60, crc32c(bytes, 60));
}

enum tide_status segment_header_decode(const uint8_t bytes[SEGMENT_HEADER_BYTES], struct segment_header *header,
                                       const char *name, struct tide_error *error)
{
    if (memcmp(bytes, segment_magic, sizeof segment_magic) != 0)
        return error_set(error, TIDE_CORRUPT, "%s: not a segment of a Tidemark log", name);
    header->format_version = get32(bytes + 8);
    if (header->format_version != FORMAT_VERSION)
        return error_set(error, TIDE_INVALID, "%s: format version %" PRIu32 ", this engine reads version %d", name,
                         header->format_version, FORMAT_VERSION);
    if (get32(bytes + 12) != SEGMENT_HEADER_BYTES || get32(bytes + 60) != crc32c(bytes, 60))
        return error_set(error, TIDE_CORRUPT, "%s: the segment's header (offset 0) is damaged", name);
    memcpy(header->database_id, bytes + 16, DATABASE_ID_BYTES);
    header->first_seq = get64(bytes + 32);
    header->created_us = get64(bytes + 40);
    if (header->first_seq == 0 || header->first_seq > SEQ_MAX + 1)
        return error_set(error, TIDE_CORRUPT, "%s: the segment's header has an impossible seq", name);
    return TIDE_OK;
}

enum { FRAME_CHAINED = 0x100 }; /* beside the kind */

static uint32_t frame_checksum(const uint8_t *frame, size_t bytes)
{
    size_t covered_from = PLANTED(5) ? FRAME_HEADER_BYTES : 8; /* the header left out of its checksum */
    return crc32c(frame + covered_from, bytes - covered_from);
}

void frame_header_encode(uint8_t *frame, const struct frame_header *header,
                         const uint8_t database_id[DATABASE_ID_BYTES])
{
    memcpy(frame, frame_magic, sizeof frame_magic);
    put32(frame + 8, header->bytes);
    put32(frame + 12, header->events);
    put64(frame + 16, header->first_seq);
    put64(frame + 24, header->term);
    put64(frame + 32, header->durable);
    put32(frame + 40, header->kind | (header->chained ? FRAME_CHAINED : 0u));
    memcpy(frame + 44, database_id, 4);
}

void frame_checksum_encode(uint8_t *frame, const struct frame_header *header)
{
    put32(frame + 4, frame_checksum(frame, header->bytes));
}

void frame_encode(uint8_t *frame, const struct frame_header *header, const uint8_t database_id[DATABASE_ID_BYTES])
{
    frame_header_encode(frame, header, database_id);
    frame_checksum_encode(frame, header);
}

bool frame_header_decode(const uint8_t bytes[FRAME_HEADER_BYTES], struct frame_header *header,
                         const uint8_t database_id[DATABASE_ID_BYTES])
{
    if (memcmp(bytes, frame_magic, sizeof frame_magic) != 0 || memcmp(bytes + 44, database_id, 4) != 0)
        return false;
    *header = (struct frame_header){.bytes = get32(bytes + 8),
                                    .events = get32(bytes + 12),
                                    .first_seq = get64(bytes + 16),
                                    .term = get64(bytes + 24),
                                    .durable = get64(bytes + 32),
                                    .kind = bytes[40],
                                    .chained = bytes[41] == FRAME_CHAINED >> 8};
    return get32(bytes + 40) == (header->kind | (header->chained ? FRAME_CHAINED : 0u)) &&
           header->bytes >= FRAME_HEADER_BYTES + (header->chained ? CHAIN_HASH_BYTES : 0) &&
           header->bytes % FRAME_ALIGNMENT == 0 && header->first_seq > 0 &&
           header->first_seq <= SEQ_MAX + 1 - header->events && header->durable <= SEQ_MAX;
}

/* Whether records that the engine could have written fill the frame exactly from `offset` on: with seqs in a row, or in
 * a sparse frame, where last_seq isn't 0, with seqs that rise up to that at most. */
static bool records_fit(const uint8_t *frame, const struct frame_header *header, size_t offset, uint64_t last_seq)
{
    size_t end = frame_payload_end(header);
    uint64_t next_seq = header->first_seq;
    for (uint32_t i = 0; i < header->events; i++) {
        if (end - offset < RECORD_HEADER_BYTES)
            return false;
        const struct record *record = (const struct record *)(const void *)(frame + offset);
        size_t bytes = record_size(record);
        bool in_place = last_seq ? record->seq >= next_seq && record->seq <= last_seq : record->seq == next_seq;
        if (bytes > end - offset || !in_place || record->id_length == 0)
            return false;
        next_seq = record->seq + 1;
        if (record->type < TIDE_EVENT_CREATED || record->type > TIDE_EVENT_DELETED ||
            !tide_name_valid(record_collection(record), record->collection_length))
            return false;
        offset += bytes;
    }
    return offset == end;
}

bool frame_valid(const uint8_t *frame, const struct frame_header *header)
{
    if (get32(frame + 4) != frame_checksum(frame, header->bytes))
        return false;
    switch (header->kind) {
    case FRAME_EVENTS: return header->events > 0 && records_fit(frame, header, FRAME_HEADER_BYTES, 0);
    case FRAME_CLOSED:
    case FRAME_SEALED: return frame_payload_end(header) == FRAME_HEADER_BYTES && header->events == 0;
    case FRAME_GAP:
        return frame_payload_end(header) == FRAME_GAP_BYTES && header->events == 0 &&
               frame_gap_last_seq(frame) >= header->first_seq && frame_gap_last_seq(frame) <= SEQ_MAX;
    case FRAME_SPARSE:
        return frame_payload_end(header) >= FRAME_SPARSE_RECORDS && frame_gap_last_seq(frame) >= header->first_seq &&
               frame_gap_last_seq(frame) <= SEQ_MAX &&
               records_fit(frame, header, FRAME_SPARSE_RECORDS, frame_gap_last_seq(frame));
    default: return false;
    }
}

bool frame_holds_events(const struct frame_header *header)
{
    return header->kind == FRAME_EVENTS || header->kind == FRAME_SPARSE;
}

uint64_t frame_next_seq(const uint8_t *frame, const struct frame_header *header)
{
    if (header->kind == FRAME_GAP || header->kind == FRAME_SPARSE)
        return frame_gap_last_seq(frame) + 1;
    return header->first_seq + header->events;
}

uint64_t frame_gap_last_seq(const uint8_t *frame)
{
    return get64(frame + FRAME_HEADER_BYTES);
}

void frame_gap_encode(uint8_t *frame, uint64_t first_seq, uint64_t last_seq, uint64_t durable,
                      const uint8_t database_id[DATABASE_ID_BYTES])
{
    put64(frame + FRAME_HEADER_BYTES, last_seq);
    frame_encode(
        frame,
        &(struct frame_header){.bytes = FRAME_GAP_BYTES, .first_seq = first_seq, .durable = durable, .kind = FRAME_GAP},
        database_id);
}

void frame_sparse_encode(uint8_t *frame, struct frame_header *header, uint64_t last_seq,
                         const uint8_t database_id[DATABASE_ID_BYTES])
{
    header->kind = FRAME_SPARSE;
    put64(frame + FRAME_HEADER_BYTES, last_seq);
    frame_encode(frame, header, database_id);
}
