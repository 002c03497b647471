/* channel.c - a ring of slots, one an event, numbered by seq.
 *
 * A write first claims room: bytes and one slot, in one word, by compare-and-swap; it may have to wait for it, and
 * holds no lock meanwhile. Then, with its id's shard locked, it takes a place: one fetch_add on the tail, which is the
 * only order there is: the place's number is the event's seq. Because room was claimed, the place's slot is free. It
 * puts its block there and unlocks. The writer takes slots in order; a slot that is still empty belongs to a producer
 * between its fetch_add and its store, some nanoseconds away unless the processor was taken from it.
 *
 * Waking: while the writer sleeps, wake_seq is the seq whose arrival is worth waking it for (the last of a full batch,
 * or the next one when it sleeps for long). The producer that reaches it exchanges it for "awake"; who gets the number
 * wakes. No other producer makes a system call. */
#include "channel.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>

enum { SLOT_BITS = 24 };
#define SLOT_COUNT_MASK ((UINT64_C(1) << SLOT_BITS) - 1)

enum { SLOTS_MIN = 1024, SLOTS_MAX = 1 << 18, BYTES_A_SLOT = 128 };

bool channel_init(struct channel *channel, uint64_t next_seq, uint64_t bytes_max, uint64_t kick_bytes)
{
    uint64_t slots = SLOTS_MIN;
    while (slots < SLOTS_MAX && slots * BYTES_A_SLOT < bytes_max)
        slots *= 2;
    channel->slots = calloc(slots, sizeof *channel->slots);
    channel->replaced =
        calloc(slots, sizeof(struct block *)); /* zeros that nobody reads: memory comes when it is used */
    if (!channel->slots || !channel->replaced) {
        free(channel->slots);
        free(channel->replaced);
        channel->slots = NULL;
        return false;
    }
    channel->mask = slots - 1;
    channel->slots_max = slots;
    channel->bytes_max = bytes_max;
    channel->kick_bytes = kick_bytes;
    channel->head = next_seq;
    atomic_store(&channel->tail, next_seq);
    atomic_store(&channel->claimed, 0);
    atomic_store(&channel->wake_seq, UINT64_MAX);
    atomic_store(&channel->room_waiters, 0);
    atomic_store(&channel->space, UINT64_MAX);
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&channel->room, &attributes);
    pthread_condattr_destroy(&attributes);
    pthread_mutex_init(&channel->room_mutex, NULL);
    return true;
}

void channel_destroy(struct channel *channel)
{
    if (!channel->slots)
        return;
    free(channel->slots);
    free(channel->replaced);
    pthread_mutex_destroy(&channel->room_mutex);
    pthread_cond_destroy(&channel->room);
}

static uint64_t disk_bytes(uint64_t claimed)
{
    return (claimed >> SLOT_BITS) + (claimed & SLOT_COUNT_MASK) * CHANNEL_FRAME_BYTES;
}

bool channel_claim(struct channel *channel, uint64_t bytes, bool *kick)
{
    /* Relaxed at first: the compare-and-swap decides. */
    uint64_t claimed = atomic_load_explicit(&channel->claimed, memory_order_relaxed);
    uint64_t pending, slots;
    do {
        pending = claimed >> SLOT_BITS;
        slots = claimed & SLOT_COUNT_MASK;
        if (claimed != 0 && (pending + bytes > channel->bytes_max || slots + 1 > channel->slots_max))
            return false;
        /* Acquire; pairs with the store in space.c, which says how what is read here may be an older value. */
        if (disk_bytes(claimed + (bytes << SLOT_BITS) + 1) >
            atomic_load_explicit(&channel->space, memory_order_acquire))
            return false;
        /* Sequentially consistent; pairs with channel_release: who finds no room and waits is seen by who gives some.
         * It also acquires the slots that the writer emptied. */
    } while (!atomic_compare_exchange_weak_explicit(&channel->claimed, &claimed, claimed + (bytes << SLOT_BITS) + 1,
                                                    memory_order_seq_cst, memory_order_seq_cst));
    *kick = pending < channel->kick_bytes && pending + bytes >= channel->kick_bytes;
    return true;
}

void channel_release(struct channel *channel, uint64_t bytes, uint64_t events)
{
    /* Sequentially consistent; pairs with channel_claim, see there. */
    atomic_fetch_sub_explicit(&channel->claimed, (bytes << SLOT_BITS) + events, memory_order_seq_cst);
    channel_wake(channel);
}

void channel_wake(struct channel *channel)
{
    if (atomic_load_explicit(&channel->room_waiters, memory_order_seq_cst) > 0) {
        pthread_mutex_lock(&channel->room_mutex);
        pthread_cond_broadcast(&channel->room);
        pthread_mutex_unlock(&channel->room_mutex);
    }
}

uint64_t channel_pending_bytes(const struct channel *channel)
{
    return atomic_load_explicit(&channel->claimed, memory_order_relaxed) >> SLOT_BITS;
}

uint64_t channel_disk_bytes(const struct channel *channel)
{
    return disk_bytes(atomic_load_explicit(&channel->claimed, memory_order_relaxed));
}

bool channel_must_wake(struct channel *channel, uint64_t seq)
{
    /* Sequentially consistent; pairs with the store in the writer's sleep, see channel_take_place. */
    if (seq < atomic_load_explicit(&channel->wake_seq, memory_order_seq_cst))
        return false;
    return atomic_exchange_explicit(&channel->wake_seq, UINT64_MAX, memory_order_seq_cst) != UINT64_MAX;
}

struct block *channel_receive(struct channel *channel, struct block **replaced)
{
    _Atomic(struct block *) *slot = &channel->slots[channel->head & channel->mask];
    struct block *block;
    /* Acquire; pairs with the release in channel_put. */
    for (unsigned spins = 0; !(block = atomic_load_explicit(slot, memory_order_acquire)); spins++) {
        if (spins < 100)
            __builtin_ia32_pause();
        else
            sched_yield();
    }
    *replaced = block->type == TIDE_EVENT_CREATED ? NULL : channel->replaced[channel->head & channel->mask];
    /* Relaxed: channel_release publishes the empty slot to its next producer. */
    atomic_store_explicit(slot, NULL, memory_order_relaxed);
    channel->head++;
    return block;
}

const struct block *channel_peek(struct channel *channel)
{
    /* Acquire; pairs with the release in channel_put. */
    return atomic_load_explicit(&channel->slots[channel->head & channel->mask], memory_order_acquire);
}
