/* snapshot_format.c - the bytes of a snapshot. All numbers are little-endian; offsets and lengths are in bytes.
 *
 * Header, 128 bytes:                              Block header, 32 bytes:
 *    0   8  magic F5 54 49 44 45 53 4E 50            0   4  magic F5 54 53 42
 *    8   4  format version, 1                        4   4  CRC32C of bytes 8 to the block's end
 *   12   4  length of this header, 128               8   4  length of the block, header included; multiple of 8
 *   16  16  database id                             12   4  count of records
 *   32   8  seq                                     16   8  offset of the block in the file
 *   40   8  time of the newest event up to seq      24   8  seq of the snapshot
 *   48   8  time of creation, us since 1970        Records follow, as in the log (format.c).
 *   56   8  first seq of the segment that was
 *           the active one                         Trailer, the file's last 64 bytes:
 *   64   8  offset in it, behind seq's frame         0   8  offset of the footer
 *   72   8  first seq of the chain (chain.c), 0:     8   8  seq
 *           there is none; as of that place         16   8  count of records
 *   80   8  seq up to which its head vouches        24   8  count of blocks
 *   88  32  its head                                32   8  count of collections
 *  120   4  zeros                                   40  12  zeros
 *  124   4  CRC32C of bytes 0 to 123                52   4  CRC32C from the footer's beginning to this place
 *                                                   56   8  magic F5 54 49 44 45 45 4E 44
 * Footer, behind the last block:
 *   a block, 16 bytes each:
 *    0   8  offset
 *    8   4  length
 *   12   4  count of records
 *   then a collection, padded with zeros to a multiple of 8:
 *    0   8  seq of its first deletion, 0: none      16   1  length of the name
 *    8   8  count of records                        17      name
 *   then the trailer.
 *
 * A document's state may be there twice (snapshot.c says when); both are the same. A record's time is that of its
 * acceptance; the log's may be greater, since there times never decrease. */
#include "snapshot_format.h"

#include "bytes.h"

static const uint8_t header_magic[8] = {0xF5, 'T', 'I', 'D', 'E', 'S', 'N', 'P'};
static const uint8_t trailer_magic[8] = {0xF5, 'T', 'I', 'D', 'E', 'E', 'N', 'D'};
static const uint8_t block_magic[4] = {0xF5, 'T', 'S', 'B'};

enum { HEADER_CHECKSUM = 124, TRAILER_CHECKSUM = 52, NAME_OFFSET = 17 };

void snapshot_header_encode(uint8_t bytes[SNAPSHOT_HEADER_BYTES], const struct snapshot_header *header)
{
    memset(bytes, 0, SNAPSHOT_HEADER_BYTES);
    memcpy(bytes, header_magic, sizeof header_magic);
    put32(bytes + 8, SNAPSHOT_VERSION);
    put32(bytes + 12, SNAPSHOT_HEADER_BYTES);
    memcpy(bytes + 16, header->database_id, DATABASE_ID_BYTES);
    put64(bytes + 32, header->seq);
    put64(bytes + 40, header->last_time_us);
    put64(bytes + 48, header->created_us);
    put64(bytes + 56, header->segment_first_seq);
    put64(bytes + 64, header->segment_offset);
    if (header->chain.begun) {
        put64(bytes + 72, header->chain.first_seq);
        put64(bytes + 80, header->chain.seq);
        memcpy(bytes + 88, header->chain.head, CHAIN_HASH_BYTES);
    }
    put32(bytes + HEADER_CHECKSUM, crc32c(bytes, HEADER_CHECKSUM));
}

const char *snapshot_header_decode(const uint8_t bytes[SNAPSHOT_HEADER_BYTES], struct snapshot_header *header)
{
    *header = (struct snapshot_header){0};
    if (memcmp(bytes, header_magic, sizeof header_magic) != 0)
        return "not a snapshot";
    header->version = get32(bytes + 8);
    if (header->version != SNAPSHOT_VERSION)
        return "of another format version";
    if (get32(bytes + 12) != SNAPSHOT_HEADER_BYTES || get32(bytes + HEADER_CHECKSUM) != crc32c(bytes, HEADER_CHECKSUM))
        return "its header is damaged";
    memcpy(header->database_id, bytes + 16, DATABASE_ID_BYTES);
    header->seq = get64(bytes + 32);
    header->last_time_us = get64(bytes + 40);
    header->created_us = get64(bytes + 48);
    header->segment_first_seq = get64(bytes + 56);
    header->segment_offset = get64(bytes + 64);
    header->chain =
        (struct chain){.begun = get64(bytes + 72) > 0, .first_seq = get64(bytes + 72), .seq = get64(bytes + 80)};
    memcpy(header->chain.head, bytes + 88, CHAIN_HASH_BYTES);
    return header->seq > SEQ_MAX ? "its header has an impossible seq" : NULL;
}

void snapshot_block_encode(uint8_t *block, const struct snapshot_block_header *header)
{
    memcpy(block, block_magic, sizeof block_magic);
    put32(block + 8, header->bytes);
    put32(block + 12, header->records);
    put64(block + 16, header->offset);
    put64(block + 24, header->seq);
    put32(block + 4, crc32c(block + 8, header->bytes - 8));
}

/* Whether whole records of documents, up to `seq`, fill the block exactly. */
static bool records_fit(const uint8_t *block, const struct snapshot_entry *entry, uint64_t seq)
{
    size_t offset = SNAPSHOT_BLOCK_HEADER_BYTES;
    for (uint32_t i = 0; i < entry->records; i++) {
        if (entry->bytes - offset < RECORD_HEADER_BYTES)
            return false;
        const struct record *record = (const struct record *)(const void *)(block + offset);
        size_t bytes = record_size(record);
        if (bytes > entry->bytes - offset || record->seq == 0 || record->seq > seq || record->id_length == 0 ||
            record->collection_length == 0 ||
            (record->type != TIDE_EVENT_CREATED && record->type != TIDE_EVENT_UPDATED))
            return false;
        offset += bytes;
    }
    return offset == entry->bytes;
}

bool snapshot_block_valid(const uint8_t *block, const struct snapshot_entry *entry, uint64_t seq)
{
    return memcmp(block, block_magic, sizeof block_magic) == 0 && get32(block + 8) == entry->bytes &&
           get32(block + 12) == entry->records && get64(block + 16) == entry->offset && get64(block + 24) == seq &&
           get32(block + 4) == crc32c(block + 8, entry->bytes - 8) && records_fit(block, entry, seq);
}

void snapshot_entry_encode(uint8_t bytes[SNAPSHOT_ENTRY_BYTES], const struct snapshot_entry *entry)
{
    put64(bytes, entry->offset);
    put32(bytes + 8, entry->bytes);
    put32(bytes + 12, entry->records);
}

void snapshot_entry_decode(const uint8_t bytes[SNAPSHOT_ENTRY_BYTES], struct snapshot_entry *entry)
{
    *entry = (struct snapshot_entry){.offset = get64(bytes), .bytes = get32(bytes + 8), .records = get32(bytes + 12)};
}

static size_t collection_bytes(size_t name_length)
{
    return (NAME_OFFSET + name_length + 7) & ~(size_t)7;
}

size_t snapshot_collection_encode(uint8_t *bytes, const struct snapshot_collection *collection)
{
    size_t length = collection_bytes(collection->name_length);
    memset(bytes, 0, length);
    put64(bytes, collection->first_delete_seq);
    put64(bytes + 8, collection->records);
    bytes[16] = collection->name_length;
    memcpy(bytes + NAME_OFFSET, collection->name, collection->name_length);
    return length;
}

size_t snapshot_collection_decode(const uint8_t *bytes, size_t available, struct snapshot_collection *collection)
{
    if (available <= NAME_OFFSET || bytes[16] > TIDE_NAME_BYTES_MAX || collection_bytes(bytes[16]) > available)
        return 0;
    *collection = (struct snapshot_collection){
        .first_delete_seq = get64(bytes), .records = get64(bytes + 8), .name_length = bytes[16]};
    memcpy(collection->name, bytes + NAME_OFFSET, collection->name_length);
    return tide_name_valid(collection->name, collection->name_length) ? collection_bytes(bytes[16]) : 0;
}

void snapshot_trailer_encode(uint8_t *footer, size_t bytes, const struct snapshot_trailer *trailer)
{
    uint8_t *end = footer + bytes - SNAPSHOT_TRAILER_BYTES;
    memset(end, 0, SNAPSHOT_TRAILER_BYTES);
    put64(end, trailer->footer_offset);
    put64(end + 8, trailer->seq);
    put64(end + 16, trailer->records);
    put64(end + 24, trailer->blocks);
    put64(end + 32, trailer->collections);
    memcpy(end + 56, trailer_magic, sizeof trailer_magic);
    put32(end + TRAILER_CHECKSUM, crc32c(footer, bytes - SNAPSHOT_TRAILER_BYTES + TRAILER_CHECKSUM));
}

bool snapshot_trailer_decode(const uint8_t bytes[SNAPSHOT_TRAILER_BYTES], struct snapshot_trailer *trailer)
{
    *trailer = (struct snapshot_trailer){.footer_offset = get64(bytes),
                                         .seq = get64(bytes + 8),
                                         .records = get64(bytes + 16),
                                         .blocks = get64(bytes + 24),
                                         .collections = get64(bytes + 32)};
    return memcmp(bytes + 56, trailer_magic, sizeof trailer_magic) == 0;
}

bool snapshot_footer_valid(const uint8_t *footer, size_t bytes)
{
    size_t covered = bytes - SNAPSHOT_TRAILER_BYTES + TRAILER_CHECKSUM;
    return bytes >= SNAPSHOT_TRAILER_BYTES && get32(footer + covered) == crc32c(footer, covered);
}
