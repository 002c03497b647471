/* chain.h - the chain of hashes: a chained frame ends with a SHA-256 over its bytes and the hash of the chained frame
 * before it. See the top of chain.c. */
#ifndef TIDE_CHAIN_H
#define TIDE_CHAIN_H

#include "format.h"
#include "tidemark.h"

/* What is known of a log's chain as of some frame. */
struct chain {
    bool begun;
    uint64_t first_seq; /* of the first chained frame */
    uint64_t seq;       /* the last one up to which the head vouches */
    uint8_t head[CHAIN_HASH_BYTES];
};

/* Moves the chain on to a frame, as the frame says it; one without a hash changes nothing. */
void chain_note(struct chain *chain, const uint8_t *frame, const struct frame_header *header);

void chain_tell(const struct chain *chain, struct tide_chain_head *head);

struct chain_hasher;

struct chain_hasher *chain_hasher_create(void); /* NULL: out of memory */
void chain_hasher_destroy(struct chain_hasher *hasher);

/* frame_encode for a chained log: adds the hash behind the header->bytes that are there, for which there is room, and
 * counts it in. `chain` is as of the frame before. False: out of memory. */
bool chain_encode(struct chain_hasher *hasher, const struct chain *chain, uint8_t *frame, struct frame_header *header,
                  const uint8_t database_id[DATABASE_ID_BYTES]);

/* Writes a closed or sealed frame into `bytes`, which has room for MARK_BYTES_MAX: chained, if `chain` has begun; it is
 * as of the frame before. Of the header the kind, the seq and the watermark count. Returns its length; 0: out of
 * memory.
 */
size_t chain_mark_encode(const struct chain *chain, uint8_t *bytes, const struct frame_header *mark,
                         const uint8_t database_id[DATABASE_ID_BYTES]);

/* Looking whether the frames of a log fit, one after the other. */
struct chain_check {
    /* In: */
    struct chain_hasher *hasher;
    const uint8_t *wanted; /* a hash kept elsewhere, or NULL */
    /* Out: */
    uint64_t breaks;
    bool vouched; /* `wanted` was found, and all up to it fits */
    uint64_t vouched_seq;
    /* Own: */
    bool in_break;
};

/* Looks at a frame; `chain` is as of the one before. *told: what to say of it, or NULL. False: out of memory. */
bool chain_check_frame(struct chain_check *check, const uint8_t database_id[DATABASE_ID_BYTES],
                       const struct chain *chain, const uint8_t *frame, const struct frame_header *header,
                       const char **told);

#endif
