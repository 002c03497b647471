/* channel.h - the multi-producer, single-consumer hand-over to the writer thread, in seq order and bounded by bytes.
 * How it works is told at the top of channel.c. */
#ifndef TIDE_CHANNEL_H
#define TIDE_CHANNEL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "block.h"

struct channel {
    /* Set once. */
    _Atomic(struct block *) *slots; /* an event each; NULL until its producer has put it there */
    struct block **replaced;        /* of each slot the block that its event took out of the map; of "created": stale */
    uint64_t mask;
    uint64_t bytes_max, slots_max;
    uint64_t kick_bytes; /* pending bytes at which the writer is to be woken */
    /* Of the producers. */
    _Alignas(64) _Atomic uint64_t tail;    /* the seq of the next event */
    _Alignas(64) _Atomic uint64_t claimed; /* pending room: bytes in the upper 40 bits, slots in the lower 24 */
    /* Written by the writer, seldom; read by producers. */
    _Alignas(64) _Atomic uint64_t wake_seq; /* reaching it wakes the writer; UINT64_MAX while it is awake */
    _Atomic uint32_t room_waiters;
    _Atomic uint64_t space; /* on the disk for what is pending, in channel_disk_bytes; see space.c */
    pthread_mutex_t room_mutex;
    pthread_cond_t room;
    /* Of the writer. */
    _Alignas(64) uint64_t head; /* the seq of the next event to take */
};

/* `next_seq` is the seq of the first event to come. Returns false when memory is out. */
bool channel_init(struct channel *channel, uint64_t next_seq, uint64_t bytes_max, uint64_t kick_bytes);
void channel_destroy(struct channel *channel);

/* Claims room for one event of `bytes` bytes. False when there is none. *kick is set when this claim brings the pending
 * bytes to kick_bytes. An event larger than the whole channel gets room when it is empty. Any thread. */
bool channel_claim(struct channel *channel, uint64_t bytes, bool *kick);

/* Gives claimed room back, of an event that did not come about, or (the writer) of `events` that were written. Wakes
 * who waits for room. */
void channel_release(struct channel *channel, uint64_t bytes, uint64_t events);

uint64_t channel_pending_bytes(const struct channel *channel);

/* What is pending may take on the disk: at worst each event has a frame of its own. */
enum { CHANNEL_FRAME_BYTES = FRAME_HEADER_BYTES + CHAIN_HASH_BYTES };
uint64_t channel_disk_bytes(const struct channel *channel);

/* Wakes who waits for room. */
void channel_wake(struct channel *channel);

/* Takes the next place: its number is the event's seq. With the id's shard locked, so that log order is map order; with
 * room claimed. channel_put must follow at once. */
static inline uint64_t channel_take_place(struct channel *channel)
{
    /* Sequentially consistent; pairs with the load of the tail in the writer's sleep: either it sees our event, or we
     * see its wake_seq. */
    return atomic_fetch_add_explicit(&channel->tail, 1, memory_order_seq_cst);
}

/* `replaced`: what the event takes out of the map; NULL just where the block's type is "created". */
static inline void channel_put(struct channel *channel, uint64_t seq, struct block *block, struct block *replaced)
{
    if (replaced) /* apart from the slots, so that where nothing is replaced this takes no memory */
        channel->replaced[seq & channel->mask] = replaced;
    /* Release; pairs with the acquire in channel_receive. */
    atomic_store_explicit(&channel->slots[seq & channel->mask], block, memory_order_release);
}

/* Whether the producer of `seq` is the one to wake the writer; true for one producer a sleep. */
bool channel_must_wake(struct channel *channel, uint64_t seq);

/* The seq behind the newest event that was given a place. */
static inline uint64_t channel_tail(const struct channel *channel)
{
    return atomic_load_explicit(&channel->tail, memory_order_seq_cst);
}

/* The writer: takes the event at the head, which has a place; waits the moment until its producer has put it there. */
struct block *channel_receive(struct channel *channel, struct block **replaced);

/* The writer: the event at the head without taking it; NULL when there is none. */
const struct block *channel_peek(struct channel *channel);

#endif
