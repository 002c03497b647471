/* ceiling.c - what each line costs at least: the bytes that must be moved, written, synced, and the cache misses that
 * cannot be avoided, without anything around them. It takes the same arguments as the stores. */
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

#include "result.h"

enum {
    BATCH = 1000,
    HEADER_BYTES = 32,                                                        /* of an event in a log */
    BLOCK_BYTES = (HEADER_BYTES + ID_BYTES + ARTICLE_BYTES + 15) & ~15,
    GROUP = 16,
    SLOTS = 8, /* of a bucket: a cache line */
    PAGE_BYTES = 4096
};

static struct arguments arguments;

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

static int file_create(void)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/ceiling", arguments.directory);
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0644);
    if (fd < 0)
        fail("%s: cannot be created", path);
    return fd;
}

static void write_all(int fd, const void *bytes, size_t length, off_t offset)
{
    if (pwrite(fd, bytes, length, offset) != (ssize_t)length)
        fail("a write failed");
}

/* ---- Writing ---- */

static char *articles_prepare(void)
{
    char *all = malloc(arguments.documents * ARTICLE_BYTES);
    if (!all)
        fail("out of memory");
    for (uint64_t i = 0; i < arguments.documents; i++)
        article_make(i, 1, all + i * ARTICLE_BYTES);
    return all;
}

/* The article into a block in fresh memory, and a thousand blocks into the file. */
static void line_create(void)
{
    char *all = articles_prepare();
    int fd = file_create();
    uint64_t start = now_ns();
    char *memory = huge(arguments.documents * BLOCK_BYTES);
    for (uint64_t i = 0; i < arguments.documents; i += BATCH) {
        uint64_t end = i + BATCH < arguments.documents ? i + BATCH : arguments.documents;
        for (uint64_t k = i; k < end; k++)
            memcpy(memory + k * BLOCK_BYTES + HEADER_BYTES + ID_BYTES, all + k * ARTICLE_BYTES, ARTICLE_BYTES);
        write_all(fd, memory + i * BLOCK_BYTES, (end - i) * BLOCK_BYTES, (off_t)(i * BLOCK_BYTES));
    }
    result_rate(arguments.documents, now_ns() - start);
}

/* ---- Creates on schedule: what a machine with a busy writer lets a thread do at all ---- */

static char *blocks;
static _Atomic uint64_t published; /* blocks that are whole; release, pairs with the acquire in write_main */
static atomic_bool ended;          /* no more will come; the same */

static void *write_main(void *context)
{
    int fd = *(int *)context;
    for (uint64_t at = 0;;) {
        bool last = atomic_load_explicit(&ended, memory_order_acquire);
        uint64_t there = atomic_load_explicit(&published, memory_order_acquire) - at;
        if (last && there == 0)
            return NULL;
        if (there < BATCH && !last) {
            usleep(100);
            continue;
        }
        there = there < BATCH ? there : BATCH;
        write_all(fd, blocks + at * BLOCK_BYTES, there * BLOCK_BYTES, (off_t)(at * BLOCK_BYTES));
        at += there;
    }
}

/* The article into a block in fresh memory when it is due, and another thread that writes a thousand blocks at a time. */
static void line_latency(void)
{
    arguments.documents = arguments.rate * arguments.seconds;
    char *all = articles_prepare();
    int fd = file_create();
    struct histogram *latencies = histogram_create();
    pthread_t thread;
    double period = 1e9 / (double)arguments.rate;
    blocks = huge(arguments.documents * BLOCK_BYTES);
    if (!latencies || pthread_create(&thread, NULL, write_main, &fd) != 0)
        fail("cannot start a thread");
    uint64_t start = now_ns();
    for (uint64_t i = 0; i < arguments.documents; i++) {
        uint64_t due = start + (uint64_t)((double)i * period), now = now_ns();
        while (now < due)
            now = now_ns();
        memcpy(blocks + i * BLOCK_BYTES + HEADER_BYTES + ID_BYTES, all + i * ARTICLE_BYTES, ARTICLE_BYTES);
        atomic_store_explicit(&published, i + 1, memory_order_release);
        histogram_record(latencies, now_ns() - due);
    }
    uint64_t taken = now_ns() - start;
    atomic_store_explicit(&ended, true, memory_order_release);
    pthread_join(thread, NULL);
    result_rate(arguments.documents, taken);
    result_latencies(latencies);
}

static int file_written(size_t bytes)
{
    static char zeros[1 << 20];
    int fd = file_create();
    for (size_t at = 0; at < bytes; at += sizeof zeros)
        write_all(fd, zeros, sizeof zeros, (off_t)at);
    if (fsync(fd) != 0)
        fail("fsync failed");
    return fd;
}

static void line_durable_batch(void)
{
    char *all = articles_prepare(), *frame = calloc(BATCH, BLOCK_BYTES);
    int fd = file_written(arguments.documents * BLOCK_BYTES + (1 << 20));
    uint64_t start = now_ns();
    for (uint64_t i = 0; i < arguments.documents; i += BATCH) {
        for (uint64_t k = 0; k < BATCH; k++)
            memcpy(frame + k * BLOCK_BYTES, all + (i + k) % arguments.documents * ARTICLE_BYTES, ARTICLE_BYTES);
        write_all(fd, frame, (size_t)BATCH * BLOCK_BYTES, (off_t)(i * BLOCK_BYTES));
        if (fdatasync(fd) != 0)
            fail("fdatasync failed");
    }
    result_rate(arguments.documents, now_ns() - start);
}

/* `threads` documents, rounded up to pages, and one sync for all of them. */
static void line_durable_one(void)
{
    size_t bytes = (arguments.threads * BLOCK_BYTES + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES;
    size_t size = 64 << 20;
    char *frame = calloc(1, bytes);
    int fd = file_written(size);
    struct histogram *latencies = histogram_create();
    uint64_t start = now_ns(), end = start + arguments.seconds * 1000000000, now = start, operations = 0, at = 0;
    while (now < end) {
        uint64_t before = now;
        write_all(fd, frame, bytes, (off_t)at);
        if (fdatasync(fd) != 0)
            fail("fdatasync failed");
        at = at + 2 * bytes < size ? at + bytes : 0;
        operations += arguments.threads;
        now = now_ns();
        histogram_record(latencies, now - before);
    }
    result_rate(operations, now - start);
    result_latencies(latencies);
}

/* ---- Reading: a table of tagged pointers, eight to a line, the bucket by the hash's high bits ---- */

struct block {
    char id[ID_BYTES], article[ARTICLE_BYTES];
};

static struct {
    uint64_t (*buckets)[SLOTS];
    unsigned shift;
    uint64_t mask;
} table;

static uint64_t hash_of(const char *id)
{
    return XXH3_64bits(id, ID_BYTES);
}

static void table_create(uint64_t documents)
{
    unsigned bits = 4;
    while ((UINT64_C(1) << bits) * SLOTS * 6 / 10 < documents)
        bits++;
    table.shift = 64 - bits;
    table.mask = (UINT64_C(1) << bits) - 1;
    table.buckets = huge(sizeof *table.buckets << bits);
}

static void table_insert(const struct block *block)
{
    uint64_t hash = hash_of(block->id), tag = hash << 48;
    for (uint64_t b = hash >> table.shift;; b = (b + 1) & table.mask) {
        for (int i = 0; i < SLOTS; i++) {
            if (table.buckets[b][i] == 0) {
                table.buckets[b][i] = tag | (uint64_t)(uintptr_t)block;
                return;
            }
        }
    }
}

/* The block with this tag; where `id` is given, the one with this id. NULL: none. */
static const struct block *bucket_find(uint64_t hash, const char *id)
{
    uint64_t tag = hash << 48;
    for (uint64_t b = hash >> table.shift;; b = (b + 1) & table.mask) {
        for (int i = 0; i < SLOTS; i++) {
            uint64_t slot = table.buckets[b][i];
            if (slot == 0)
                return NULL;
            const struct block *block = (const struct block *)(uintptr_t)(slot & ((UINT64_C(1) << 48) - 1));
            if ((slot & UINT64_C(0xffff) << 48) == tag && (!id || memcmp(block->id, id, ID_BYTES) == 0))
                return block;
        }
    }
}

static char (*queries)[ID_BYTES];

static void table_prepare(void)
{
    struct block *blocks = huge(arguments.documents * sizeof *blocks);
    struct random random = {1};
    struct zipf zipf;
    table_create(arguments.documents);
    for (uint64_t i = 0; i < arguments.documents; i++) {
        article_id(i, blocks[i].id);
        article_make(i, 1, blocks[i].article);
        table_insert(&blocks[i]);
    }
    arguments.queries -= arguments.queries % GROUP;
    queries = malloc(arguments.queries * ID_BYTES);
    bool skewed = strcmp(arguments.distribution, "zipf") == 0;
    zipf_init(&zipf, arguments.documents);
    for (uint64_t i = 0; queries && i < arguments.queries; i++)
        memcpy(queries[i],
               blocks[skewed ? zipf_next(&zipf, &random) : random_below(&random, arguments.documents)].id, ID_BYTES);
}

static uint64_t get_all(void)
{
    uint64_t sum = 0;
    char copy[ARTICLE_BYTES];
    for (uint64_t i = 0; i < arguments.queries; i++) {
        const struct block *block = bucket_find(hash_of(queries[i]), queries[i]);
        if (!block)
            fail("a document is missing");
        memcpy(copy, block->article, ARTICLE_BYTES);
        sum += article_sum(copy, ARTICLE_BYTES);
    }
    return sum;
}

static uint64_t get_groups(void)
{
    uint64_t sum = 0, hashes[GROUP];
    const struct block *found[GROUP];
    for (uint64_t i = 0; i < arguments.queries; i += GROUP) {
        for (int k = 0; k < GROUP; k++) {
            hashes[k] = hash_of(queries[i + k]);
            __builtin_prefetch(table.buckets[hashes[k] >> table.shift]);
        }
        for (int k = 0; k < GROUP; k++) {
            found[k] = bucket_find(hashes[k], NULL);
            __builtin_prefetch(found[k]);
            if (arguments.copied)
                for (int line = 1; line < 5; line++)
                    __builtin_prefetch((const char *)found[k] + 64 * line);
        }
        for (int k = 0; k < GROUP; k++) {
            char copy[ARTICLE_BYTES];
            if (memcmp(found[k]->id, queries[i + k], ID_BYTES) != 0) /* another one with the same tag */
                found[k] = bucket_find(hashes[k], queries[i + k]);
            const char *article = found[k]->article;
            if (arguments.copied)
                article = memcpy(copy, article, ARTICLE_BYTES);
            sum += article_sum(article, ARTICLE_BYTES);
        }
    }
    return sum;
}

static uint64_t (*reading)(void);

static void *read_main(void *sum)
{
    *(uint64_t *)sum = reading();
    return NULL;
}

/* ---- Reading: the misses that the layout needs, each address known only when the one before has come ---- */

struct line {
    uint64_t next;
    char rest[56];
};

struct chain {
    struct line *lines;
    struct block *blocks; /* the first bytes of an id: where the next line is */
};

static struct chain chain;

/* All lines in one cycle in random order (Sattolo's), each with a block of its own, somewhere else. */
static void chain_prepare(void)
{
    uint64_t count = arguments.documents, *order = malloc(count * sizeof *order);
    struct random random = {1};
    chain.lines = huge(count * sizeof *chain.lines);
    chain.blocks = huge(count * sizeof *chain.blocks);
    for (uint64_t i = 0; order && i < count; i++)
        order[i] = i;
    for (uint64_t i = count - 1; order && i > 0; i--) {
        uint64_t other = random_below(&random, i), kept = order[i];
        order[i] = order[other];
        order[other] = kept;
    }
    for (uint64_t i = 0; order && i < count; i++) {
        chain.lines[order[i]].next = order[(i + count / 2) % count];
        article_make(i, 1, chain.blocks[order[(i + count / 2) % count]].article);
        memcpy(chain.blocks[order[(i + count / 2) % count]].id, &order[(i + 1) % count], sizeof *order);
    }
    free(order);
}

static uint64_t get_dependent(void)
{
    uint64_t sum = 0, at = 0;
    char copy[ARTICLE_BYTES];
    for (uint64_t i = 0; i < arguments.queries; i++) {
        const struct block *block = &chain.blocks[chain.lines[at].next];
        memcpy(copy, block->article, ARTICLE_BYTES);
        sum += article_sum(copy, ARTICLE_BYTES);
        memcpy(&at, block->id, sizeof at);
    }
    return sum;
}

static void line_get(uint64_t (*run)(void))
{
    pthread_t threads[64];
    uint64_t sums[64];
    if (run == get_dependent)
        chain_prepare();
    else
        table_prepare();
    reading = run;
    uint64_t start = now_ns();
    for (uint64_t i = 0; i < arguments.threads && i < 64; i++)
        if (pthread_create(&threads[i], NULL, read_main, &sums[i]) != 0)
            fail("cannot start a thread");
    for (uint64_t i = 0; i < arguments.threads && i < 64; i++)
        pthread_join(threads[i], NULL);
    uint64_t taken = now_ns() - start;
    for (uint64_t i = 1; i < arguments.threads && i < 64; i++)
        if (sums[i] != sums[0])
            fail("threads read different values");
    result_rate(arguments.queries * arguments.threads, taken);
}

/* ---- Opening: the file read once, its checksum, one insert for each event ---- */

static void line_recovery(void)
{
    size_t bytes = arguments.documents * BLOCK_BYTES;
    char *blocks = calloc(1, bytes);
    int fd = file_create();
    for (uint64_t i = 0; blocks && i < arguments.documents; i++) {
        article_id(i, blocks + i * BLOCK_BYTES);
        article_make(i, 1, blocks + i * BLOCK_BYTES + ID_BYTES);
    }
    write_all(fd, blocks, bytes < (1 << 30) ? bytes : 1 << 30, 0);
    uint64_t start = now_ns();
    char *memory = huge(bytes);
    table_create(arguments.documents);
    uint32_t crc = 0;
    for (size_t at = 0; at < bytes; at += (size_t)BATCH * BLOCK_BYTES) {
        size_t piece = bytes - at < (size_t)BATCH * BLOCK_BYTES ? bytes - at : (size_t)BATCH * BLOCK_BYTES;
        if (pread(fd, memory + at, piece, (off_t)at) != (ssize_t)piece)
            fail("a read failed");
        crc ^= crc32_iscsi((unsigned char *)memory + at, (int)piece, 0);
        for (size_t k = 0; k < piece; k += BLOCK_BYTES)
            table_insert((const struct block *)(const void *)(memory + at + k));
    }
    result_rate(arguments.documents, now_ns() - start);
    result_number("crc", crc);
}

int main(int argc, char **argv)
{
    arguments_read(&arguments, argc, argv);
    result_begin("ceiling", "see scripts/bench/ceiling.c");
    if (strcmp(arguments.line, "create") == 0)
        line_create();
    else if (strcmp(arguments.line, "durable-batch") == 0)
        line_durable_batch();
    else if (strcmp(arguments.line, "durable-one") == 0)
        line_durable_one();
    else if (strcmp(arguments.line, "get") == 0)
        line_get(get_dependent);
    else if (strcmp(arguments.line, "get-loop") == 0)
        line_get(get_all);
    else if (strcmp(arguments.line, "get-many") == 0)
        line_get(get_groups);
    else if (strcmp(arguments.line, "recovery") == 0)
        line_recovery();
    else if (strcmp(arguments.line, "latency") == 0)
        line_latency();
    else
        fail("there is no ceiling for %s", arguments.line);
    result_end();
    return 0;
}
