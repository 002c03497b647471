/* chain.c - evidence against tampering: each frame's hash covers the frame, and through the hash before it all of them.
 *
 *   hash = SHA-256(hash of the chained frame before || the frame's bytes from 8 up to its hash)
 *
 * Bytes 0 to 7, magic and checksum, follow from the others. Before the first chained frame there is no hash; the chain
 * starts from the SHA-256 of the database id. Marks are chained like events, and segments make no difference: the first
 * frame of one follows the mark that sealed the one before.
 *
 * There is no secret in it: who can write the files can compute the hashes anew. What he can't do is to reach the same
 * hash by other events. So the newest one is to be kept where he can't write; verify looks for it among the frames.
 *
 * Opening reads hashes and does not compute them: checksums are enough against accidents. */
#include "chain.h"

#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

enum { HASHED_FROM = 8 };

struct chain_hasher {
    EVP_MD *sha256;
    EVP_MD_CTX *context; /* one for all frames */
};

struct chain_hasher *chain_hasher_create(void)
{
    struct chain_hasher *hasher = calloc(1, sizeof *hasher);
    if (!hasher)
        return NULL;
    hasher->sha256 = EVP_MD_fetch(NULL, "SHA2-256", NULL);
    hasher->context = EVP_MD_CTX_new();
    if (hasher->sha256 && hasher->context)
        return hasher;
    chain_hasher_destroy(hasher);
    return NULL;
}

void chain_hasher_destroy(struct chain_hasher *hasher)
{
    if (!hasher)
        return;
    EVP_MD_CTX_free(hasher->context);
    EVP_MD_free(hasher->sha256);
    free(hasher);
}

static bool sha256(struct chain_hasher *hasher, const uint8_t *first, size_t first_length, const uint8_t *second,
                   size_t second_length, uint8_t hash[CHAIN_HASH_BYTES])
{
    return EVP_DigestInit_ex2(hasher->context, hasher->sha256, NULL) == 1 &&
           EVP_DigestUpdate(hasher->context, first, first_length) == 1 &&
           EVP_DigestUpdate(hasher->context, second, second_length) == 1 &&
           EVP_DigestFinal_ex(hasher->context, hash, NULL) == 1;
}

/* The hash that a frame must have behind `chain`. */
static bool frame_hash(struct chain_hasher *hasher, const struct chain *chain, const uint8_t *frame,
                       const struct frame_header *header, const uint8_t database_id[DATABASE_ID_BYTES],
                       uint8_t hash[CHAIN_HASH_BYTES])
{
    uint8_t before[CHAIN_HASH_BYTES];
    memcpy(before, chain->head, sizeof before);
    if (!chain->begun && !sha256(hasher, database_id, DATABASE_ID_BYTES, NULL, 0, before))
        return false;
    return sha256(hasher, before, sizeof before, frame + HASHED_FROM, frame_payload_end(header) - HASHED_FROM, hash);
}

void chain_note(struct chain *chain, const uint8_t *frame, const struct frame_header *header)
{
    if (!header->chained)
        return;
    if (!chain->begun)
        chain->first_seq = header->first_seq;
    chain->begun = true;
    chain->seq = frame_next_seq(frame, header) - 1;
    memcpy(chain->head, frame + frame_payload_end(header), CHAIN_HASH_BYTES);
}

void chain_tell(const struct chain *chain, struct tide_chain_head *head)
{
    *head = (struct tide_chain_head){.first_seq = chain->first_seq, .seq = chain->seq};
    memcpy(head->hash, chain->head, sizeof head->hash);
}

bool chain_encode(struct chain_hasher *hasher, const struct chain *chain, uint8_t *frame, struct frame_header *header,
                  const uint8_t database_id[DATABASE_ID_BYTES])
{
    header->chained = true;
    header->bytes += CHAIN_HASH_BYTES;
    frame_header_encode(frame, header, database_id);
    if (!frame_hash(hasher, chain, frame, header, database_id, frame + frame_payload_end(header)))
        return false;
    frame_checksum_encode(frame, header);
    return true;
}

size_t chain_mark_encode(const struct chain *chain, uint8_t *bytes, const struct frame_header *mark,
                         const uint8_t database_id[DATABASE_ID_BYTES])
{
    struct frame_header header = *mark;
    header.bytes = FRAME_HEADER_BYTES;
    if (!chain->begun) {
        frame_encode(bytes, &header, database_id);
        return header.bytes;
    }
    struct chain_hasher *hasher = chain_hasher_create();
    bool done = hasher && chain_encode(hasher, chain, bytes, &header, database_id);
    chain_hasher_destroy(hasher);
    return done ? header.bytes : 0;
}

bool chain_check_frame(struct chain_check *check, const uint8_t database_id[DATABASE_ID_BYTES],
                       const struct chain *chain, const uint8_t *frame, const struct frame_header *header,
                       const char **told)
{
    *told = NULL;
    if (!header->chained && !chain->begun)
        return true; /* before the chain begins */
    uint8_t hash[CHAIN_HASH_BYTES] = {0};
    if (header->chained && !frame_hash(check->hasher, chain, frame, header, database_id, hash))
        return false;
    bool fits = header->chained && memcmp(hash, frame + frame_payload_end(header), sizeof hash) == 0;
    if (!fits && !check->in_break) {
        check->breaks++;
        *told = header->chained ? "the hash does not fit: this was changed, or what was before it"
                                : "no hash, though the frames before are chained";
    }
    check->in_break = !fits;
    if (fits && check->breaks == 0 && check->wanted && memcmp(hash, check->wanted, sizeof hash) == 0) {
        check->vouched = true;
        check->vouched_seq = frame_next_seq(frame, header) - 1;
    }
    return true;
}
