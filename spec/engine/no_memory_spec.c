/* no_memory_spec.c - the system has no memory: each allocation of the engine fails in turn, once and from then on;
 * mappings and threads count, too. A call may fail then, but only so: it says that memory is out, what was acknowledged
 * is there afterwards, and nothing else has changed. What else of the system the engine can do without is refused here
 * as well.
 *
 * The linker puts the functions __wrap_* in place of the C library's (see the Makefile) in all that is linked
 * statically: the engine, the model and this file, which asks for memory only while nothing is planned. The disk is the
 * system's, but that nothing is synced: the machine does not stop here. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <pthread.h>
#include <stdatomic.h>

#include "../../engine/epoch.h"
#include "../../engine/file.h"
#include "../../engine/map.h"
#include "../crash/model.h"

/* ---- What fails ---- */

/* The engine's threads share it; sequentially consistent, since nothing depends on its speed. */
static struct {
    _Atomic long nth; /* the allocation that fails, counted from 1; 0: none */
    _Atomic bool for_good;
    _Atomic long seen, failed, threads_refused;
    _Atomic int randomness; /* calls of getrandom that are refused */
    _Atomic bool randomness_in_pieces, no_membarrier;
} plan;

static bool fails(void)
{
    long nth = atomic_load(&plan.nth);
    if (nth == 0)
        return false;
    long seen = atomic_fetch_add(&plan.seen, 1) + 1;
    if (seen != nth && !(seen > nth && atomic_load(&plan.for_good)))
        return false;
    atomic_fetch_add(&plan.failed, 1);
    errno = ENOMEM;
    return true;
}

static void plan_failure(long nth, bool for_good)
{
    atomic_store(&plan.seen, 0);
    atomic_store(&plan.failed, 0);
    atomic_store(&plan.threads_refused, 0);
    atomic_store(&plan.for_good, for_good);
    atomic_store(&plan.nth, nth);
}

/* Ends it; whether it came. */
static bool plan_end(void)
{
    atomic_store(&plan.nth, 0);
    return atomic_load(&plan.failed) > 0;
}

#define WRAP(type, name, parameters, arguments)                                                                        \
    type __real_##name parameters;                                                                                     \
    type __wrap_##name parameters;                                                                                     \
    type __wrap_##name parameters                                                                                      \
    {                                                                                                                  \
        return fails() ? FAILURE : __real_##name arguments;                                                            \
    }
#define FAILURE NULL
WRAP(void *, malloc, (size_t bytes), (bytes))
WRAP(void *, calloc, (size_t count, size_t bytes), (count, bytes))
WRAP(void *, realloc, (void *block, size_t bytes), (block, bytes))
WRAP(void *, aligned_alloc, (size_t alignment, size_t bytes), (alignment, bytes))
WRAP(char *, strdup, (const char *text), (text))
#undef FAILURE
#define FAILURE MAP_FAILED
WRAP(void *, mmap, (void *address, size_t bytes, int protection, int flags, int fd, off_t offset),
     (address, bytes, protection, flags, fd, offset))

int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *context);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *context);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *context)
{
    if (!fails())
        return __real_pthread_create(thread, attributes, run, context);
    atomic_fetch_add(&plan.threads_refused, 1);
    return EAGAIN;
}

ssize_t __real_getrandom(void *bytes, size_t count, unsigned flags);
ssize_t __wrap_getrandom(void *bytes, size_t count, unsigned flags);
ssize_t __wrap_getrandom(void *bytes, size_t count, unsigned flags)
{
    if (atomic_load(&plan.randomness) > 0) {
        atomic_fetch_sub(&plan.randomness, 1);
        errno = atomic_load(&plan.randomness_in_pieces) ? EINTR : ENOSYS;
        return -1;
    }
    return __real_getrandom(bytes, atomic_load(&plan.randomness_in_pieces) && count > 100 ? 100 : count, flags);
}

/* Of the system calls that have no function, the engine makes membarrier alone; its two flags are 0. */
long __real_syscall(long number, ...);
long __wrap_syscall(long number, ...);
long __wrap_syscall(long number, ...)
{
    va_list arguments;
    va_start(arguments, number);
    int command = va_arg(arguments, int);
    va_end(arguments);
    if (number == SYS_membarrier && atomic_load(&plan.no_membarrier)) {
        errno = ENOSYS;
        return -1;
    }
    return __real_syscall(number, command, 0, 0);
}

static int no_sync(void *context, int fd)
{
    (void)context;
    (void)fd;
    return 0;
}

static void disk_without_syncs(void)
{
    static struct file_calls calls;
    calls = *file_calls_system();
    calls.fdatasync = calls.fsync = no_sync;
    file_calls_use(&calls);
}

/* ---- A database ---- */

static char root[40];
static char path[64], damaged[64];
static struct model model;

static void shell(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void shell(const char *format, ...)
{
    char command[300];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(command, sizeof command, format, arguments);
    va_end(arguments);
    assert_int_equal(system(command), 0);
}

static void file_remove(void *context, const char *name)
{
    (void)context;
    char *file = file_path(path, name);
    unlink(file);
    free(file);
}

static void descriptor_count(void *context, const char *name)
{
    (void)name;
    ++*(unsigned *)context;
}

static unsigned descriptors_open(void)
{
    unsigned count = 0;
    file_list("/proc/self/fd", descriptor_count, &count);
    return count;
}

/* OK, or what memory that is out explains. */
static void assert_explained(enum tide_status status, const struct tide_error *error)
{
    if (status == TIDE_OK)
        return;
    assert_int_equal(error->status, status);
    if (atomic_load(&plan.failed) > 0 && (status == TIDE_MEMORY || status == TIDE_FAILED))
        return;
    if (atomic_load(&plan.threads_refused) > 0 && status == TIDE_IO)
        return;
    fail_msg("allocation %ld: %s: %s", atomic_load(&plan.nth), tide_status_code(status), error->message);
}

static enum tide_status write_one(struct tide_collection *collection, enum tide_operation operation, unsigned id,
                                  uint32_t length, bool durable)
{
    static char value[200000];
    uint64_t seed = model.accepted * 7 + id;
    char text[16];
    model_value(seed, length, value);
    struct tide_write write = {.operation = operation,
                               .durability = durable ? TIDE_DURABLE : TIDE_ACCEPTED,
                               .if_version = TIDE_ANY_VERSION,
                               .id = text,
                               .id_length = model_id(id, text),
                               .value = value,
                               .value_length = length};
    struct tide_written written;
    struct tide_error error = {0};
    uint8_t type = operation == TIDE_DELETE  ? TIDE_EVENT_DELETED
                   : model.versions[id] != 0 ? TIDE_EVENT_UPDATED
                                             : TIDE_EVENT_CREATED;
    if (operation == TIDE_DELETE && model.versions[id] == 0)
        return TIDE_OK;
    enum tide_status status = tide_write(collection, &write, &written, &error);
    assert_explained(status, &error);
    if (written.version != 0) {
        assert_int_equal(written.version, model.accepted + 1);
        model_accept(&model, type, id, seed, length);
        if (status == TIDE_OK && durable)
            model.acknowledged = written.version;
    }
    return status;
}

/* Reads events; of a document, or with NULL all. All of them, when nothing failed and `written` says that they are
 * there. */
static void events_read(struct tide_engine *engine, const char *id, uint64_t expected, bool written)
{
    struct tide_event_filter filter = {
        .collection = "articles", .collection_length = 8, .id = id, .id_length = id ? strlen(id) : 0};
    struct tide_events *events;
    struct tide_event event;
    struct tide_error error = {0};
    enum tide_status status = tide_events_open(engine, &filter, &events, &error);
    assert_explained(status, &error);
    if (status != TIDE_OK)
        return;
    uint64_t count = 0;
    while ((status = tide_events_next(events, &event, &error)) == TIDE_OK)
        count++;
    tide_events_close(events);
    if (status != TIDE_NOT_FOUND)
        assert_explained(status, &error);
    else if (written)
        assert_int_equal(count, expected);
}

static uint64_t events_of_document(unsigned id)
{
    uint64_t count = 0;
    for (uint64_t seq = model.newest[id]; seq != 0; seq = model.events[seq].previous)
        count++;
    return count;
}

static void everything_is_read(struct tide_engine *engine, bool written)
{
    char text[16];
    model_id(0, text);
    events_read(engine, text, events_of_document(0), written);
    model_id(1, text); /* was deleted, and came again */
    events_read(engine, text, events_of_document(1), written);
    events_read(engine, NULL, model.accepted, written);
    struct tide_report report;
    struct tide_error error = {0};
    enum tide_status status = tide_verify(path, &report, NULL, NULL, NULL, &error);
    assert_explained(status, &error);
    if (status == TIDE_OK) {
        assert_true(report.in_use);
        assert_int_equal(report.damages, 0);
        assert_false(report.torn);
    }
}

enum { COLLECTIONS = 70, SMALL_WRITES = 60, LARGE_WRITES = 9, LARGE_BYTES = 190000 };

static void life(bool first)
{
    struct tide_options options = {.segment_bytes = TIDE_SEGMENT_BYTES_MIN,
                                   .flush_interval_ms = 1,
                                   .batch_bytes_max = 3 << 20,
                                   .pending_bytes_max = 4 << 20,
                                   .batch_size = 40};
    struct tide_engine *engine;
    struct tide_error error = {0};
    enum tide_status status = tide_open(path, &options, &engine, &error);
    assert_explained(status, &error);
    if (status != TIDE_OK)
        return;
    struct tide_watermarks watermarks;
    tide_watermarks(engine, &watermarks);
    assert_in_range(watermarks.accepted, model.acknowledged, model.accepted);
    model_cut(&model, watermarks.accepted); /* what the life before could not write */
    struct tide_collection *articles = tide_collection(engine, "articles", 8, &error);
    for (int i = 0; articles && first && i < COLLECTIONS; i++) { /* so many that their table grows */
        char name[16];
        int length = snprintf(name, sizeof name, "c-%d", i);
        struct tide_collection *collection = tide_collection(engine, name, (size_t)length, &error);
        assert_explained(collection ? TIDE_OK : error.status, &error);
    }
    assert_explained(articles ? TIDE_OK : error.status, &error);
    for (int i = 0; articles && i < SMALL_WRITES; i++) {
        write_one(articles, TIDE_PUT, i % 3 == 0 ? 0 : 1 + (unsigned)i % (MODEL_IDS - 1), 100 + (uint32_t)i,
                  i % 20 == 0);
        if (i % 9 == 4)
            write_one(articles, TIDE_DELETE, 1 + (unsigned)i % (MODEL_IDS - 1), 0, false);
    }
    if (articles)
        write_one(articles, TIDE_PUT, 1, 10, true);
    for (int i = 0; articles && first && i < LARGE_WRITES; i++) /* segments, and a frame that must grow */
        write_one(articles, TIDE_PUT, (unsigned)i % MODEL_IDS, LARGE_BYTES, i == LARGE_WRITES - 1);
    uint64_t durable = 0;
    status = tide_flush(engine, TIDE_NO_TIMEOUT, &durable, &error);
    assert_explained(status, &error);
    everything_is_read(engine, status == TIDE_OK && durable == model.accepted);
    status = tide_close(engine, &error);
    assert_explained(status, &error);
    if (status == TIDE_OK)
        model.acknowledged = model.accepted;
}

static void read_only_life(void)
{
    struct tide_options options = {.read_only = true};
    struct tide_engine *engine;
    struct tide_error error = {0};
    enum tide_status status = tide_open(path, &options, &engine, &error);
    if (status == TIDE_NOT_FOUND && model.acknowledged == 0)
        return; /* it was never made */
    assert_explained(status, &error);
    if (status != TIDE_OK)
        return;
    events_read(engine, NULL, 0, false);
    assert_int_equal(tide_close(engine, &error), TIDE_OK);
}

static void database_check(void)
{
    struct tide_engine *engine;
    struct tide_error error;
    if (tide_open(path, NULL, &engine, &error) != TIDE_OK)
        fail_msg("it does not open afterwards: %s", error.message);
    const char *wrong = model_compare(&model, engine, tide_collection(engine, "articles", 8, NULL));
    if (wrong)
        fail_msg("%s", wrong);
    assert_int_equal(tide_close(engine, NULL), TIDE_OK);
}

/* Does the work with the first allocation failing, then with the second, until it is over before the failing one. A
 * sanitizer makes it so slow that it then sees only every few of them. */
static long each_allocation_fails(bool for_good, void (*prepare)(void), void (*work)(void), void (*check)(void))
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    enum { STEP = 7 };
#else
    enum { STEP = 1 };
#endif
    unsigned descriptors = descriptors_open();
    for (long nth = 1;; nth += STEP) {
        prepare();
        plan_failure(nth, for_good);
        work();
        bool struck = plan_end();
        assert_int_equal(descriptors_open(), descriptors);
        check();
        if (!struck)
            return nth - 1;
    }
}

static void database_new(void)
{
    file_list(path, file_remove, NULL);
    rmdir(path);
    model_reset(&model);
}

static void database_lives(void)
{
    life(true);
    life(false);
    read_only_life();
}

static void a_database_survives_each_allocation_that_fails(void **state)
{
    (void)state;
    disk_without_syncs();
    long once = each_allocation_fails(false, database_new, database_lives, database_check);
    long for_good = each_allocation_fails(true, database_new, database_lives, database_check);
    print_message("%ld allocations failed once, %ld for good\n", once, for_good);
    assert_true(once > 150 && for_good > 150); /* it was tried */
    file_calls_use(NULL);
}

/* ---- What has gone wrong so ---- */

static void a_verify_without_memory_took_an_open_database_for_a_closed_one(void **state)
{
    (void)state;
    struct tide_engine *engine;
    struct tide_report report;
    struct tide_error error = {0};
    database_new();
    assert_int_equal(tide_open(path, NULL, &engine, NULL), TIDE_OK);
    plan_failure(1, false);
    assert_int_equal(tide_verify(path, &report, NULL, NULL, NULL, &error), TIDE_MEMORY);
    assert_true(plan_end());
    assert_int_equal(error.status, TIDE_MEMORY);
    assert_int_equal(tide_close(engine, NULL), TIDE_OK);
}

static void the_history_of_a_first_document_was_refused_as_invalid_without_memory(void **state)
{
    (void)state;
    struct tide_engine *engine;
    struct tide_error error = {0};
    struct tide_events *events;
    struct tide_event_filter filter = {.collection = "new", .collection_length = 3, .id = "a", .id_length = 1};
    database_new();
    assert_int_equal(tide_open(path, NULL, &engine, NULL), TIDE_OK);
    plan_failure(2, false); /* behind the iterator's own */
    assert_int_equal(tide_events_open(engine, &filter, &events, NULL), TIDE_MEMORY);
    assert_true(plan_end());
    filter.collection = "no name";
    filter.collection_length = 7;
    assert_int_equal(tide_events_open(engine, &filter, &events, &error), TIDE_INVALID);
    assert_int_equal(error.status, TIDE_INVALID);
    filter.collection = NULL; /* an id of no collection */
    assert_int_equal(tide_events_open(engine, &filter, &events, &error), TIDE_INVALID);
    assert_int_equal(tide_close(engine, NULL), TIDE_OK);
}

/* ---- Repair ---- */

static uint64_t repaired_events;
static uint32_t findings;

static void found(void *context, const struct tide_finding *finding)
{
    (void)context;
    findings += finding->message != NULL;
}

static void damaged_copy(void)
{
    shell("rm -rf '%s' && cp -r '%s' '%s'", path, damaged, path);
    findings = 0;
}

static void repair(void)
{
    struct tide_report report;
    struct tide_error error = {0};
    enum tide_status status = tide_verify(path, &report, found, NULL, NULL, &error);
    assert_explained(status, &error);
    if (status == TIDE_OK)
        assert_true(report.damages >= 3 && findings >= 3);
    status = tide_repair(path, &report, NULL, NULL, NULL, &error);
    assert_explained(status, &error);
}

/* A repair that was broken off can be done again, and keeps what it would have kept. */
static void repaired_check(void)
{
    struct tide_report report;
    struct tide_error error;
    if (tide_repair(path, &report, NULL, NULL, NULL, &error) != TIDE_OK)
        fail_msg("it cannot be repaired afterwards: %s", error.message);
    assert_int_equal(tide_verify(path, &report, NULL, NULL, NULL, &error), TIDE_OK);
    assert_int_equal(report.damages, 0);
    if (repaired_events == 0)
        repaired_events = report.events;
    assert_int_equal(report.events, repaired_events);
    struct tide_engine *engine;
    if (tide_open(path, NULL, &engine, &error) != TIDE_OK)
        fail_msg("it does not open after the repair: %s", error.message);
    assert_int_equal(tide_close(engine, NULL), TIDE_OK);
}

/* A log with a missing segment, a damaged header, and a hole in the middle of the active one. */
static void damaged_make(void)
{
    struct tide_options options = {.segment_bytes = TIDE_SEGMENT_BYTES_MIN};
    struct tide_engine *engine;
    database_new();
    assert_int_equal(tide_open(path, &options, &engine, NULL), TIDE_OK);
    for (unsigned i = 0; i < 23; i++)
        write_one(tide_collection(engine, "articles", 8, NULL), TIDE_PUT, i % MODEL_IDS, LARGE_BYTES, true);
    assert_int_equal(tide_close(engine, NULL), TIDE_OK);
    shell("rm -rf '%s' && mv '%s' '%s'", damaged, path, damaged);
    shell("cd '%s' && set -- events-*.raftlog && [ $# -ge 4 ] && rm $2 && printf 12345678 | dd of=$3 bs=1 seek=16 "
          "conv=notrunc status=none",
          damaged);
    shell("cd '%s' && printf 12345678 | dd of=events.raftlog bs=1 seek=300 conv=notrunc status=none", damaged);
}

static void a_repair_survives_each_allocation_that_fails(void **state)
{
    (void)state;
    disk_without_syncs();
    damaged_make();
    damaged_copy();
    repaired_check(); /* without a failure */
    assert_true(repaired_events >= 15 && repaired_events < 23);
    long once = each_allocation_fails(false, damaged_copy, repair, repaired_check);
    long for_good = each_allocation_fails(true, damaged_copy, repair, repaired_check);
    print_message("%ld allocations failed once, %ld for good\n", once, for_good);
    assert_true(once > 40 && for_good > 40);
    file_calls_use(NULL);
}

/* ---- The parts ---- */

/* Blocks and tables of every size: each is whole, nobody else's, or not there. */
static void memory_work(void)
{
    enum { SIZES = 43, EACH = 24, TABLES = 14, EACH_TABLE = 8 };
    static unsigned char *blocks[SIZES][EACH], *tables[TABLES][EACH_TABLE];
    struct memory *memory = memory_create();
    if (!memory)
        return;
    for (unsigned i = 0; i < SIZES * EACH; i++) {
        size_t bytes = 24 + 400 * (i / EACH);
        blocks[i / EACH][i % EACH] = memory_allocate(memory, bytes);
        if (blocks[i / EACH][i % EACH])
            memset(blocks[i / EACH][i % EACH], (int)(i & 255), bytes);
    }
    for (unsigned i = 0; i < TABLES * EACH_TABLE; i++) {
        size_t bytes = (size_t)256 << i / EACH_TABLE; /* up to 2 MiB */
        tables[i / EACH_TABLE][i % EACH_TABLE] = memory_table_allocate(memory, bytes);
        if (tables[i / EACH_TABLE][i % EACH_TABLE])
            assert_int_equal(tables[i / EACH_TABLE][i % EACH_TABLE][bytes - 1], 0);
    }
    for (unsigned i = 0; i < SIZES * EACH; i++) {
        size_t bytes = 24 + 400 * (i / EACH);
        unsigned char *block = blocks[i / EACH][i % EACH];
        assert_true(!block || (block[0] == (i & 255) && block[bytes - 1] == (i & 255)));
        memory_free(memory, block, bytes);
    }
    for (unsigned i = 0; i < TABLES * EACH_TABLE; i++)
        memory_table_free(memory, tables[i / EACH_TABLE][i % EACH_TABLE], (size_t)256 << i / EACH_TABLE);
    struct memory_figures figures;
    memory_figures(memory, &figures);
    assert_int_equal(figures.table_bytes, 0);
    memory_destroy(memory);
}

enum { IDS = 3000 };

static bool map_put(struct map *map, struct memory *memory, struct reclaim *reclaim, const char *id, uint64_t version)
{
    size_t length = strlen(id), bytes = block_bytes(length, 0);
    struct block *block = memory_allocate(memory, bytes);
    if (!block)
        return false;
    memset(block, 0, bytes);
    block->id_length = (uint8_t)length;
    block->seq = version;
    memcpy(block->bytes, id, length);
    struct map_place place;
    map_lock(map, map_hash(id, length), id, length, &place);
    struct block *old = place.block;
    bool room = old || map_reserve(map, &place);
    if (room)
        map_set(map, &place, block);
    map_unlock(&place);
    if (old)
        reclaim_block(reclaim, old, block_size(old));
    if (!room)
        memory_free(memory, block, bytes);
    return room;
}

/* A map that cannot grow refuses what is new and keeps what it has. */
static void map_work(void)
{
    static uint64_t versions[IDS];
    struct memory *memory = memory_create();
    struct reclaim *reclaim = memory ? reclaim_create(memory) : NULL;
    struct map *map = reclaim ? map_create(memory, reclaim) : NULL;
    memset(versions, 0, sizeof versions);
    for (uint64_t i = 0; map && i < 2 * IDS; i++) { /* all twice, so that there is something to reclaim */
        char id[24];
        snprintf(id, sizeof id, "id-%u", (unsigned)(i % IDS));
        if (map_put(map, memory, reclaim, id, i + 1))
            versions[i % IDS] = i + 1;
    }
    uint64_t count = 0;
    for (unsigned i = 0; map && i < IDS; i++) {
        char id[24];
        int length = snprintf(id, sizeof id, "id-%u", i);
        const struct block *block = map_get(map, map_hash(id, (size_t)length), id, (size_t)length);
        assert_int_equal(block ? block->seq : 0, versions[i]);
        count += block != NULL;
    }
    if (map) {
        assert_int_equal(map_count(map), count);
        reclaim_run(reclaim);
        map_destroy(map);
    }
    reclaim_destroy(reclaim);
    if (memory)
        memory_destroy(memory);
}

static void nothing(void)
{
}

static void blocks_and_tables_are_whole_or_not_there(void **state)
{
    (void)state;
    assert_true(each_allocation_fails(false, nothing, memory_work, nothing) > 20);
    assert_true(each_allocation_fails(true, nothing, memory_work, nothing) > 20);
}

static void a_map_that_cannot_grow_keeps_what_it_has(void **state)
{
    (void)state;
    map_init();
    /* 11, or less: regions that another thread takes ahead may come too late to be among them. */
    assert_true(each_allocation_fails(false, nothing, map_work, nothing) >= 8);
    assert_true(each_allocation_fails(true, nothing, map_work, nothing) >= 8);
}

/* ---- What else the system may refuse ---- */

static void *sections_run(void *context)
{
    for (int i = 0; i < 1000; i++) {
        epoch_enter();
        epoch_exit();
    }
    return context;
}

/* In a process of its own, since both are asked for once: the hash's seed and the readers' fence. */
static void a_system_without_randomness_and_membarrier_is_served(void **state)
{
    (void)state;
    pid_t child = fork();
    if (child == 0) {
        atomic_store(&plan.no_membarrier, true);
        atomic_store(&plan.randomness, 1);
        map_init();
        epoch_init();
        pthread_t reader;
        if (pthread_create(&reader, NULL, sections_run, NULL) != 0)
            exit(2);
        epoch_synchronize();
        map_work();
        pthread_join(reader, NULL);
        exit(epoch_readers_fence && atomic_load(&plan.randomness) == 0 ? 0 : 1); /* not _exit: coverage is counted */
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

/* A fence that readers don't make any more and that the system refuses later: nothing is freed, nothing is lost. */
static void a_membarrier_that_is_refused_later_frees_nothing(void **state)
{
    (void)state;
    struct memory *memory = memory_create();
    struct reclaim *reclaim = reclaim_create(memory);
    reclaim_block(reclaim, memory_allocate(memory, 100), 100);
    atomic_store(&plan.no_membarrier, true);
    bool fences = epoch_readers_fence;
    assert_int_equal(reclaim_run(reclaim), !fences);
    atomic_store(&plan.no_membarrier, false);
    assert_false(reclaim_run(reclaim));
    assert_int_equal(reclaim_bytes(reclaim), 0);
    reclaim_destroy(reclaim);
    memory_destroy(memory);
}

static void a_new_log_without_randomness_is_refused(void **state)
{
    (void)state;
    struct tide_engine *engine;
    struct tide_error error;
    database_new();
    map_init();
    atomic_store(&plan.randomness, 1);
    assert_int_equal(tide_open(path, NULL, &engine, &error), TIDE_IO);
    assert_non_null(strstr(error.message, "randomness"));
    assert_int_equal(tide_open(path, NULL, &engine, &error), TIDE_OK);
    assert_int_equal(tide_close(engine, NULL), TIDE_OK);
}

static void ids_whose_randomness_comes_in_pieces_are_different(void **state)
{
    (void)state;
    enum { COUNT = 600 };
    static char ids[COUNT][37];
    atomic_store(&plan.randomness_in_pieces, true);
    for (int i = 0; i < COUNT; i++) {
        if (i % 256 == 0)
            atomic_store(&plan.randomness, 2); /* interrupted */
        tide_uuid(ids[i]);
        assert_int_equal(strlen(ids[i]), 36);
        for (int j = 0; j < i; j++)
            assert_true(memcmp(ids[i] + 19, ids[j] + 19, 17) != 0);
    }
    atomic_store(&plan.randomness_in_pieces, false);
    atomic_store(&plan.randomness, 0);
}

static int directory_make(void **state)
{
    (void)state;
    strcpy(root, "/dev/shm/tidemark-memory-XXXXXX"); /* a thousand databases: in memory, if that is possible */
    if (!mkdtemp(root) && (strcpy(root, "/tmp/tidemark-memory-XXXXXX"), !mkdtemp(root)))
        return -1;
    snprintf(path, sizeof path, "%s/db", root);
    snprintf(damaged, sizeof damaged, "%s/damaged", root);
    return 0;
}

static int directory_remove(void **state)
{
    (void)state;
    shell("rm -rf '%s'", root);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_system_without_randomness_and_membarrier_is_served), /* first: it forks */
        cmocka_unit_test(a_membarrier_that_is_refused_later_frees_nothing),
        cmocka_unit_test(a_new_log_without_randomness_is_refused),
        cmocka_unit_test(ids_whose_randomness_comes_in_pieces_are_different),
        cmocka_unit_test(blocks_and_tables_are_whole_or_not_there),
        cmocka_unit_test(a_map_that_cannot_grow_keeps_what_it_has),
        cmocka_unit_test(a_verify_without_memory_took_an_open_database_for_a_closed_one),
        cmocka_unit_test(the_history_of_a_first_document_was_refused_as_invalid_without_memory),
        cmocka_unit_test(a_database_survives_each_allocation_that_fails),
        cmocka_unit_test(a_repair_survives_each_allocation_that_fails),
    };
    return cmocka_run_group_tests_name("no memory", tests, directory_make, directory_remove);
}
