/* sketch.c - the least that a store of this design can be, as a measure for the real one: one table of tagged bucket lines
 * that never grows, blocks one behind the other, a ring, and a writer thread that naps. No deletion, no replacing, no
 * epochs, nothing is given back, no error is handled but by ending. */
#include <fcntl.h>
#include <isa-l/crc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "table.h"

enum { SLOTS = 8, RING = 1 << 20, FRAME = 1000, FRAME_HEADER = 32, GROUP = 16 };
#define ADDRESS ((UINT64_C(1) << 48) - 1)

struct block {
    uint32_t bytes, value_length;
    uint64_t seq, time, previous;
    char id[ID_BYTES], value[];
};

struct bucket {
    _Atomic uint64_t slots[SLOTS];
};

static struct bucket *table;
static uint64_t mask, blocks_used;
static char *blocks;
static _Atomic(struct block *) *ring;
static _Alignas(64) _Atomic uint64_t tail;    /* release/acquire with the writer */
static _Alignas(64) _Atomic uint64_t written; /* release/acquire with who waits */
static atomic_bool stop;
static bool is_durable;
static int fd;
static pthread_t writer;

static void *huge(size_t bytes)
{
    size_t two = 2 << 20, rounded = (bytes + two - 1) & ~(two - 1);
    char *p = mmap(NULL, rounded + two, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED)
        fail("out of memory");
    p = (char *)(((uintptr_t)p + two - 1) & ~(uintptr_t)(two - 1));
    madvise(p, rounded, MADV_HUGEPAGE);
    return p;
}

static size_t block_size(void)
{
    return (sizeof(struct block) + ID_BYTES + ARTICLE_BYTES + 15) & ~(size_t)15;
}

static size_t frame_fill(char *frame, uint64_t head, uint64_t count)
{
    size_t at = FRAME_HEADER;
    for (uint64_t i = 0; i < count; i++) {
        struct block *block;
        while (!(block = atomic_load_explicit(&ring[(head + i) % RING], memory_order_acquire)))
            ;
        memcpy(frame + at, block, block->bytes);
        at += block->bytes;
        atomic_store_explicit(&ring[(head + i) % RING], NULL, memory_order_relaxed);
    }
    uint32_t crc = crc32_iscsi((unsigned char *)frame + 4, (int)at - 4, 0xffffffff) ^ 0xffffffff;
    memcpy(frame, &crc, sizeof crc);
    return at;
}

/* Waits for a whole frame, or a nap's length. */
static void *writer_main(void *context)
{
    (void)context;
    char *frame = huge(FRAME_HEADER + FRAME * block_size());
    uint64_t head = 0, naps = 0;
    off_t offset = 0;
    for (;;) {
        bool last = atomic_load(&stop);
        uint64_t count = atomic_load_explicit(&tail, memory_order_acquire) - head;
        if (count == 0 && last)
            return NULL;
        if (count < FRAME && !last && !(count > 0 && naps > 4)) {
            usleep(20);
            naps++;
            continue;
        }
        naps = 0;
        count = count < FRAME ? count : FRAME;
        size_t bytes = frame_fill(frame, head, count);
        if (pwrite(fd, frame, bytes, offset) != (ssize_t)bytes || (is_durable && fdatasync(fd) != 0))
            fail("sketch: a write failed");
        offset += (off_t)bytes;
        head += count;
        atomic_store_explicit(&written, head, memory_order_release);
    }
}

static void open_sketch(const char *directory, bool durable, uint64_t documents)
{
    char path[4096];
    uint64_t buckets = 1;
    while (buckets * SLOTS * 6 / 10 < documents)
        buckets *= 2;
    mask = buckets - 1;
    table = huge(buckets * sizeof *table);
    blocks = huge(documents * block_size());
    ring = huge(RING * sizeof *ring);
    is_durable = durable;
    snprintf(path, sizeof path, "%s/sketch", directory);
    fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0644);
    if (fd < 0 || posix_fallocate(fd, 0, (off_t)(documents * (block_size() + 1))) != 0 ||
        pthread_create(&writer, NULL, writer_main, NULL) != 0)
        fail("sketch: cannot be opened");
}

static void close_sketch(void)
{
    atomic_store(&stop, true);
    pthread_join(writer, NULL);
    close(fd);
}

static void *thread_begin(void)
{
    return NULL;
}

static struct block *find(uint64_t hash, const char *id)
{
    for (uint64_t b = hash & mask;; b = (b + 1) & mask)
        for (int i = 0; i < SLOTS; i++) {
            uint64_t slot = atomic_load_explicit(&table[b].slots[i], memory_order_acquire);
            struct block *block = (struct block *)(uintptr_t)(slot & ADDRESS);
            if (slot == 0)
                return NULL;
            if (slot >> 48 == (hash >> 48 | 1) && memcmp(block->id, id, ID_BYTES) == 0)
                return block;
        }
}

static void put(void *thread, const char *id, const char *article, bool exists)
{
    (void)thread;
    (void)exists;
    struct block *block = (struct block *)(void *)(blocks + blocks_used++ * block_size());
    uint64_t hash = XXH3_64bits(id, ID_BYTES), slot = (hash >> 48 | 1) << 48 | (uint64_t)(uintptr_t)block;
    block->bytes = (uint32_t)block_size();
    block->value_length = ARTICLE_BYTES;
    block->time = now_ns();
    memcpy(block->id, id, ID_BYTES);
    memcpy(block->value, article, ARTICLE_BYTES);
    while (atomic_load_explicit(&tail, memory_order_relaxed) - atomic_load_explicit(&written, memory_order_acquire) >=
           RING - 1)
        usleep(50);
    if (find(hash, id))
        fail("sketch: the id is there");
    for (uint64_t b = hash & mask;; b = (b + 1) & mask)
        for (int i = 0; i < SLOTS; i++)
            if (atomic_load_explicit(&table[b].slots[i], memory_order_relaxed) == 0) {
                block->seq = atomic_fetch_add_explicit(&tail, 1, memory_order_acq_rel);
                atomic_store_explicit(&ring[block->seq % RING], block, memory_order_release);
                atomic_store_explicit(&table[b].slots[i], slot, memory_order_release);
                return;
            }
}

static void settle(void)
{
    while (atomic_load_explicit(&written, memory_order_acquire) != atomic_load(&tail))
        usleep(20);
}

static void commit(void *thread)
{
    (void)thread;
    if (is_durable)
        settle();
}

static size_t get(void *thread, const char *id, char out[static ARTICLE_BYTES])
{
    (void)thread;
    const struct block *block = find(XXH3_64bits(id, ID_BYTES), id);
    if (!block)
        return 0;
    memcpy(out, block->value, block->value_length);
    return block->value_length;
}

static uint64_t get_many(void *thread, const char (*ids)[ID_BYTES], unsigned count, bool copied)
{
    (void)thread;
    uint64_t hashes[GROUP], sum = 0;
    for (unsigned i = 0; i < count; i++) {
        hashes[i] = XXH3_64bits(ids[i], ID_BYTES);
        __builtin_prefetch(&table[hashes[i] & mask]);
    }
    for (unsigned i = 0; i < count; i++) {
        struct bucket *bucket = &table[hashes[i] & mask];
        for (int k = 0; k < SLOTS; k++) {
            uint64_t slot = atomic_load_explicit(&bucket->slots[k], memory_order_relaxed);
            const char *block = (const char *)(uintptr_t)(slot & ADDRESS);
            if (slot >> 48 != (hashes[i] >> 48 | 1))
                continue;
            for (int line = 0; line < (copied ? 5 : 2); line++)
                __builtin_prefetch(block + 64 * line);
            break;
        }
    }
    for (unsigned i = 0; i < count; i++) {
        char copy[ARTICLE_BYTES];
        const struct block *block = find(hashes[i], ids[i]);
        if (!block)
            fail("sketch: a document is missing");
        sum += article_sum(copied ? memcpy(copy, block->value, ARTICLE_BYTES) : block->value, block->value_length);
    }
    return sum;
}

static uint64_t count(void)
{
    return blocks_used;
}

const struct store store = {.name = "sketch",
                            .settings = "see scripts/bench/sketch.c; one thread writes; its table never grows",
                            .open = open_sketch,
                            .close = close_sketch,
                            .thread_begin = thread_begin,
                            .thread_end = table_nothing,
                            .begin = table_nothing,
                            .put = put,
                            .commit = commit,
                            .settle = settle,
                            .get = get,
                            .get_many = get_many,
                            .count = count};
