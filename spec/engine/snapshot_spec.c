/* snapshot_spec.c - snapshots are the state as of their seq, whatever goes on meanwhile; opening begins with them, does
 * without them when they are bad, and amounts to what the log alone amounts to. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "directory.h"
#include "file.h"
#include "snapshot_file.h"
#include "tidemark.h"

static void path_of(char path[160], const char *name)
{
    snprintf(path, 160, "%s/%s", directory, name);
}

static bool exists(const char *name)
{
    char path[160];
    path_of(path, name);
    return access(path, F_OK) == 0;
}

/* ---- A database: ids are numbers, in three collections ---- */

enum { COLLECTIONS = 3, IDS = 400 };
static const char *const names[COLLECTIONS] = {"articles", "people", "tags"};

static const struct tide_options small = {
    .segment_bytes = TIDE_SEGMENT_BYTES_MIN, .batch_size = 8, .flush_interval_ms = 5};

/* For writers that don't stop: few events are pending, so nothing waits for many of them to be written. */
static const struct tide_options busy = {.segment_bytes = TIDE_SEGMENT_BYTES_MIN,
                                         .batch_size = 100,
                                         .pending_bytes_max = UINT64_C(256) << 10,
                                         .flush_interval_ms = 5,
                                         .sync = TIDE_SYNC_NONE};

static struct tide_engine *open_with(const struct tide_options *options)
{
    struct tide_engine *engine;
    struct tide_error error;
    if (tide_open(directory, options, &engine, &error) != TIDE_OK)
        fail_msg("open: %s", error.message);
    return engine;
}

static struct tide_collection *collection_of(struct tide_engine *engine, unsigned number)
{
    return tide_collection(engine, names[number], strlen(names[number]), NULL);
}

static enum tide_status write_one(struct tide_engine *engine, unsigned collection, unsigned id,
                                  enum tide_operation operation, size_t length, uint64_t *version)
{
    static char value[100000];
    char text[16];
    if (value[0] == 0)
        memset(value, 'v', sizeof value);
    struct tide_write write = {.operation = operation,
                               .if_version = TIDE_ANY_VERSION,
                               .id = text,
                               .id_length = (size_t)snprintf(text, sizeof text, "%u", id),
                               .value = operation == TIDE_DELETE ? NULL : value,
                               .value_length = operation == TIDE_DELETE ? 0 : length};
    struct tide_written written;
    enum tide_status status = tide_write(collection_of(engine, collection), &write, &written, NULL);
    if (version)
        *version = written.version;
    return status;
}

static void put(struct tide_engine *engine, unsigned collection, unsigned id, size_t length)
{
    assert_int_equal(write_one(engine, collection, id, TIDE_PUT, length, NULL), TIDE_OK);
}

static struct tide_snapshot snapshot_take(struct tide_engine *engine)
{
    struct tide_snapshot made;
    struct tide_error error;
    if (tide_snapshot(engine, &made, &error) != TIDE_OK)
        fail_msg("snapshot: %s", error.message);
    return made;
}

static struct tide_stats stats_of(struct tide_engine *engine)
{
    struct tide_stats stats;
    tide_stats(engine, &stats);
    return stats;
}

/* ---- States: the version of each document ---- */

struct versions {
    uint64_t of[COLLECTIONS][IDS];
};

static void versions_read(struct tide_engine *engine, struct versions *versions)
{
    memset(versions, 0, sizeof *versions);
    for (unsigned c = 0; c < COLLECTIONS; c++) {
        uint64_t count = 0;
        for (unsigned i = 0; i < IDS; i++) {
            char text[16];
            struct tide_view view;
            tide_read_begin(engine);
            tide_get(collection_of(engine, c), text, (size_t)snprintf(text, sizeof text, "%u", i), &view);
            versions->of[c][i] = view.version;
            count += view.value != NULL;
            tide_read_end(engine);
        }
        assert_int_equal(count, tide_count(collection_of(engine, c)));
    }
}

static unsigned collection_number(const char *name, size_t length)
{
    for (unsigned c = 0; c < COLLECTIONS; c++)
        if (strlen(names[c]) == length && memcmp(names[c], name, length) == 0)
            return c;
    fail_msg("a collection that nobody made");
    return 0;
}

static unsigned id_number(const char *id, size_t length)
{
    char text[16] = "";
    assert_true(length < sizeof text);
    memcpy(text, id, length);
    unsigned number = (unsigned)atoi(text);
    assert_true(number < IDS);
    return number;
}

/* Compares with what the log's events up to each of the seqs, which ascend, amount to. */
static void log_compare(struct tide_engine *engine, const uint64_t *seqs, const struct versions *versions, size_t count)
{
    static struct versions log;
    struct tide_event_filter filter = {.from = 1};
    struct tide_events *events;
    struct tide_event event;
    struct tide_error error;
    memset(&log, 0, sizeof log);
    assert_int_equal(tide_events_open(engine, &filter, &events, &error), TIDE_OK);
    enum tide_status status = tide_events_next(events, &event, &error);
    for (size_t i = 0; i < count; i++) {
        for (; status == TIDE_OK && event.seq <= seqs[i]; status = tide_events_next(events, &event, &error))
            log.of[collection_number(event.collection, event.collection_length)][id_number(event.id, event.id_length)] =
                event.type == TIDE_EVENT_DELETED ? 0 : event.seq;
        assert_memory_equal(&log, &versions[i], sizeof log);
    }
    tide_events_close(events);
}

/* What a snapshot's file holds. */
static void versions_of_file(uint64_t seq, struct versions *versions)
{
    struct snapshot snapshot;
    struct tide_error error;
    uint8_t *block = NULL;
    size_t capacity = 0;
    memset(versions, 0, sizeof *versions);
    if (snapshot_open(&snapshot, directory, seq, NULL, &error) != TIDE_OK)
        fail_msg("%s", error.message);
    for (uint64_t i = 0; i < snapshot.trailer.blocks; i++) {
        assert_int_equal(snapshot_block_read(&snapshot, i, &block, &capacity, &error), TIDE_OK);
        for (size_t offset = SNAPSHOT_BLOCK_HEADER_BYTES; offset < snapshot.entries[i].bytes;) {
            const struct record *record = (const struct record *)(const void *)(block + offset);
            uint64_t *version = &versions->of[collection_number(record_collection(record), record->collection_length)]
                                             [id_number(record_id(record), record->id_length)];
            assert_true(*version == 0 || *version == record->seq); /* there twice: the same state */
            *version = record->seq;
            offset += record_size(record);
        }
    }
    snapshot_close(&snapshot);
    free(block);
}

static void snapshots_remove(void)
{
    char command[160];
    snprintf(command, sizeof command, "rm -f '%s'/snapshot-*", directory);
    assert_int_equal(system(command), 0);
}

/* Opens with the snapshots that there are, then without any: the same state. Returns what the former began with. */
static uint64_t both_openings_agree(void)
{
    struct versions with, without;
    struct tide_engine *engine = open_with(&small);
    uint64_t seq = stats_of(engine).recovered_snapshot_seq;
    versions_read(engine, &with);
    assert_int_equal(tide_close(engine, NULL), TIDE_OK);
    snapshots_remove();
    engine = open_with(&small);
    assert_int_equal(stats_of(engine).recovered_snapshot_seq, 0);
    versions_read(engine, &without);
    assert_int_equal(tide_close(engine, NULL), TIDE_OK);
    assert_memory_equal(&with, &without, sizeof with);
    return seq;
}

/* A database of several segments, a snapshot within, and some more behind it. Returns the snapshot's seq. */
static uint64_t database_make(void)
{
    struct tide_engine *engine = open_with(&small);
    for (unsigned i = 0; i < 60; i++)
        put(engine, i % COLLECTIONS, i, 60000);
    assert_int_equal(write_one(engine, 0, 3, TIDE_DELETE, 0, NULL), TIDE_OK);
    uint64_t seq = snapshot_take(engine).seq;
    assert_int_equal(seq, 61);
    for (unsigned i = 0; i < 10; i++)
        put(engine, i % COLLECTIONS, i + 55, 100);
    assert_int_equal(write_one(engine, 1, 4, TIDE_DELETE, 0, NULL), TIDE_OK);
    assert_int_equal(tide_close(engine, NULL), TIDE_OK);
    return seq;
}

/* ---- Making ---- */

static void opening_begins_with_the_snapshot_and_reads_what_is_behind_it(void **state)
{
    (void)state;
    uint64_t seq = database_make();
    struct tide_engine *engine = open_with(&small);
    struct tide_stats stats = stats_of(engine);
    assert_int_equal(stats.recovered_snapshot_seq, seq);
    assert_int_equal(stats.snapshot_seq, seq);
    assert_int_equal(stats.recovered_events, 11);
    assert_int_equal(stats.accepted, 72);
    assert_true(stats.segments > 2);
    assert_int_equal(stats.documents, 68);
    uint64_t version;
    assert_int_equal(write_one(engine, 2, 8, TIDE_PUT, 10, &version), TIDE_OK);
    assert_int_equal(version, 73);
    uint64_t log_bytes = stats.log_bytes;
    assert_int_equal(tide_close(engine, NULL), TIDE_OK);
    assert_int_equal(both_openings_agree(), seq);
    engine = open_with(&small);
    assert_true(stats_of(engine).log_bytes > log_bytes);
    assert_true(stats_of(engine).log_bytes - log_bytes < 1000); /* what was not read was counted all the same */
    assert_int_equal(tide_close(engine, NULL), TIDE_OK);
}

static void a_snapshot_of_nothing_and_one_after_the_other(void **state)
{
    (void)state;
    struct tide_engine *engine = open_with(&small);
    assert_int_equal(snapshot_take(engine).seq, 0);
    for (unsigned i = 0; i < 4; i++) {
        put(engine, 0, i, 10);
        assert_int_equal(snapshot_take(engine).seq, i + 1);
    }
    assert_int_equal(snapshot_take(engine).seq, 4);
    assert_int_equal(stats_of(engine).snapshots, 6);
    struct snapshot_list list;
    assert_int_equal(snapshot_list_read(directory, &list, NULL), TIDE_OK);
    assert_int_equal(list.count, 2); /* the newest and the one before */
    assert_int_equal(list.seqs[0], 4);
    assert_int_equal(list.seqs[1], 3);
    assert_false(list.temporary);
    snapshot_list_free(&list);
    assert_int_equal(tide_close(engine, NULL), TIDE_OK);
    assert_int_equal(both_openings_agree(), 4);
}

/* Writers of the same documents, who create, replace and delete. */
static struct tide_engine *shared;
static _Atomic bool writers_stop; /* sequentially consistent: nothing depends on its speed */

static void *writer_main(void *context)
{
    uint64_t random = (uint64_t)(uintptr_t)context * 77;
    while (!atomic_load(&writers_stop)) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        unsigned id = (unsigned)(random >> 33) % IDS, collection = (unsigned)(random >> 50) % COLLECTIONS;
        bool delete = (random >> 60) == 0;
        enum tide_status status =
            write_one(shared, collection, id, delete ? TIDE_DELETE : TIDE_PUT, 1 + (random >> 40) % 2000, NULL);
        if (status != TIDE_OK && status != TIDE_NOT_FOUND)
            abort();
        if (random >> 61 == 1)
            nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
    }
    return NULL;
}

static void *reader_main(void *context)
{
    (void)context;
    while (!atomic_load(&writers_stop)) {
        for (unsigned i = 0; i < IDS; i++) {
            char text[16];
            struct tide_view view;
            tide_read_begin(shared);
            if (tide_get(collection_of(shared, i % COLLECTIONS), text, (size_t)snprintf(text, sizeof text, "%u", i),
                         &view) == TIDE_OK)
                for (size_t j = 0; j < view.value_length; j++)
                    if (view.value[j] != 'v')
                        abort();
            tide_read_end(shared);
        }
    }
    return NULL;
}

static void a_snapshot_beside_writers_is_the_log_up_to_its_seq(void **state)
{
    (void)state;
    enum { THREADS = 3, ROUNDS = 12 };
    static struct versions files[ROUNDS];
    uint64_t seqs[ROUNDS];
    pthread_t threads[THREADS];
    shared = open_with(&busy);
    atomic_store(&writers_stop, false);
    for (uintptr_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, i < 2 ? writer_main : reader_main, (void *)(i + 1)), 0);
    struct tide_watermarks watermarks = {0};
    for (; watermarks.accepted == 0; tide_watermarks(shared, &watermarks)) /* until they write */
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    for (int i = 0; i < ROUNDS; i++) {
        seqs[i] = snapshot_take(shared).seq;
        assert_true(i == 0 || seqs[i] >= seqs[i - 1]);
        versions_of_file(seqs[i], &files[i]);
    }
    atomic_store(&writers_stop, true);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    assert_true(seqs[ROUNDS - 1] > 0);
    log_compare(shared, seqs, files, ROUNDS);
    struct versions before, after;
    versions_read(shared, &before);
    assert_int_equal(tide_close(shared, NULL), TIDE_OK);
    assert_int_equal(both_openings_agree(), seqs[ROUNDS - 1]);
    struct tide_engine *engine = open_with(&small);
    versions_read(engine, &after);
    assert_memory_equal(&before, &after, sizeof before);
    assert_int_equal(tide_close(engine, NULL), TIDE_OK);
}

static void a_snapshot_is_made_when_the_log_has_grown(void **state)
{
    (void)state;
    struct tide_options options = small;
    options.snapshot_log_bytes = TIDE_SNAPSHOT_LOG_BYTES_MIN;
    struct tide_engine *engine = open_with(&options);
    for (unsigned i = 0; i < 50; i++)
        put(engine, 0, i % 10, 50000);
    for (int i = 0; i < 2000 && stats_of(engine).snapshots == 0; i++)
        nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
    assert_true(stats_of(engine).snapshots > 0);
    assert_int_equal(tide_close(engine, NULL), TIDE_OK);
    assert_true(both_openings_agree() > 0);

    options.snapshot_log_bytes = TIDE_NO_SNAPSHOTS;
    engine = open_with(&options);
    for (unsigned i = 0; i < 50; i++)
        put(engine, 0, i % 10, 50000);
    assert_int_equal(tide_flush(engine, TIDE_NO_TIMEOUT, NULL, NULL), TIDE_OK);
    assert_int_equal(stats_of(engine).snapshots, 0);
    assert_int_equal(tide_close(engine, NULL), TIDE_OK);
}

/* ---- Failing ---- */

/* Calls on the snapshot's files that fail: by descriptor once snapshot.tmp is open. */
static struct {
    const char *call;
    int error, fd;
    struct file_calls calls;
} fault;

static bool strikes(const char *call, int fd)
{
    errno = fault.error;
    return fault.call && strcmp(fault.call, call) == 0 && (fd < 0 || fd == fault.fd);
}

static int fault_open(void *context, const char *path, int flags, unsigned mode)
{
    bool temporary = strstr(path, SNAPSHOT_TEMPORARY_NAME) != NULL;
    if (temporary && strikes("open", -1))
        return -1;
    int fd = file_calls_system()->open(context, path, flags, mode);
    if (temporary)
        fault.fd = fd;
    return fd;
}

static ssize_t fault_pwrite(void *context, int fd, const void *buffer, size_t bytes, uint64_t offset)
{
    return strikes("pwrite", fd) ? -1 : file_calls_system()->pwrite(context, fd, buffer, bytes, offset);
}

static int fault_fdatasync(void *context, int fd)
{
    return strikes("fdatasync", fd) ? -1 : file_calls_system()->fdatasync(context, fd);
}

static int fault_rename(void *context, const char *from, const char *to)
{
    return strstr(from, "snapshot") && strikes("rename", -1) ? -1 : file_calls_system()->rename(context, from, to);
}

static int fault_fsync(void *context, int fd)
{
    return strikes("fsync", -1) ? -1 : file_calls_system()->fsync(context, fd);
}

static int fault_unlink(void *context, const char *path)
{
    return strikes("unlink", -1) ? -1 : file_calls_system()->unlink(context, path);
}

static void faults_use(const char *call, int error)
{
    fault.call = call;
    fault.error = error;
    fault.fd = -2;
    fault.calls = *file_calls_system();
    fault.calls.open = fault_open;
    fault.calls.pwrite = fault_pwrite;
    fault.calls.fdatasync = fault_fdatasync;
    fault.calls.rename = fault_rename;
    fault.calls.fsync = fault_fsync;
    fault.calls.unlink = fault_unlink;
    file_calls_use(&fault.calls);
}

/* Writes to snapshot.tmp take their time, so that one is surely under way. */
static _Atomic int slow_writes; /* begun; sequentially consistent: nothing depends on its speed */

static ssize_t slow_pwrite(void *context, int fd, const void *buffer, size_t bytes, uint64_t offset)
{
    if (fd == fault.fd) {
        atomic_fetch_add(&slow_writes, 1);
        nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    }
    return file_calls_system()->pwrite(context, fd, buffer, bytes, offset);
}

static void *snapshot_main(void *context)
{
    (void)context;
    return (void *)(uintptr_t)tide_snapshot(shared, NULL, NULL);
}

static void closing_ends_a_snapshot_in_the_middle(void **state)
{
    (void)state;
    faults_use(NULL, 0);
    fault.calls.pwrite = slow_pwrite;
    unsigned ended = 0;
    for (int round = 1; round <= 5; round++) {
        pthread_t thread;
        void *status;
        shared = open_with(&small);
        for (unsigned i = 0; i < IDS; i++)
            put(shared, i % COLLECTIONS, i, 20000);
        atomic_store(&slow_writes, 0);
        assert_int_equal(pthread_create(&thread, NULL, snapshot_main, NULL), 0);
        while (atomic_load(&slow_writes) < round) /* the header's is the first */
            nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
        assert_int_equal(tide_close(shared, NULL), TIDE_OK);
        pthread_join(thread, &status);
        assert_true((uintptr_t)status == TIDE_CLOSED || (uintptr_t)status == TIDE_OK);
        ended += (uintptr_t)status == TIDE_CLOSED;
        assert_false(exists(SNAPSHOT_TEMPORARY_NAME));
    }
    assert_true(ended > 0);
    file_calls_use(NULL);
    both_openings_agree();
}

static void a_snapshot_that_fails_leaves_the_engine_as_it_was(void **state)
{
    (void)state;
    static const char *const calls[] = {"open", "pwrite", "fdatasync", "rename", "fsync"};
    faults_use(NULL, 0);
    struct tide_engine *engine = open_with(&small);
    uint64_t failed = 0;
    for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++) {
        struct tide_error error = {0};
        put(engine, 0, (unsigned)i, 100);
        fault.call = calls[i];
        fault.error = i % 2 ? ENOSPC : EIO;
        assert_int_equal(tide_snapshot(engine, NULL, &error), i % 2 ? TIDE_FULL : TIDE_IO);
        assert_non_null(strstr(error.message, "snapshot"));
        assert_false(exists(SNAPSHOT_TEMPORARY_NAME));
        assert_int_equal(stats_of(engine).snapshots_failed, ++failed);
        fault.call = NULL;
        put(engine, 0, (unsigned)i, 200);
        assert_int_equal(tide_flush(engine, TIDE_NO_TIMEOUT, NULL, NULL), TIDE_OK);
    }
    assert_int_equal(snapshot_take(engine).seq, 10);
    assert_int_equal(tide_close(engine, NULL), TIDE_OK);
    file_calls_use(NULL);
    assert_int_equal(both_openings_agree(), 10);
}

static void what_could_not_be_removed_is_removed_at_the_next_opening(void **state)
{
    (void)state;
    faults_use(NULL, 0);
    struct tide_engine *engine = open_with(&small);
    put(engine, 0, 1, 100);
    snapshot_take(engine);
    put(engine, 0, 1, 100);
    snapshot_take(engine);
    fault.call = "unlink";
    fault.error = EIO;
    put(engine, 0, 1, 100);
    assert_int_equal(snapshot_take(engine).seq, 3); /* the oldest stays for the moment */
    assert_true(exists("snapshot-00000000000000000001.tidesnap"));
    fault.call = NULL;
    assert_int_equal(tide_close(engine, NULL), TIDE_OK);
    char path[160];
    path_of(path, SNAPSHOT_TEMPORARY_NAME);
    close(open(path, O_CREAT | O_WRONLY, 0644));
    engine = open_with(&(struct tide_options){.read_only = true});
    assert_int_equal(tide_close(engine, NULL), TIDE_OK);
    assert_true(exists(SNAPSHOT_TEMPORARY_NAME));
    engine = open_with(&small);
    assert_false(exists(SNAPSHOT_TEMPORARY_NAME));
    put(engine, 0, 1, 100);
    snapshot_take(engine);
    assert_false(exists("snapshot-00000000000000000001.tidesnap"));
    assert_int_equal(tide_close(engine, NULL), TIDE_OK);
    file_calls_use(NULL);
}

static void a_read_only_engine_begins_with_snapshots_and_makes_none(void **state)
{
    (void)state;
    uint64_t seq = database_make();
    struct tide_error error;
    struct tide_engine *engine = open_with(&(struct tide_options){.read_only = true});
    assert_int_equal(stats_of(engine).recovered_snapshot_seq, seq);
    assert_int_equal(stats_of(engine).documents, 68);
    assert_int_equal(tide_snapshot(engine, NULL, &error), TIDE_READ_ONLY);
    assert_int_equal(tide_close(engine, NULL), TIDE_OK);
}

/* ---- Bad snapshots ---- */

static uint64_t file_bytes(const char *name)
{
    char path[160];
    struct stat status;
    path_of(path, name);
    assert_int_equal(stat(path, &status), 0);
    return (uint64_t)status.st_size;
}

static void flip(const char *name, uint64_t offset)
{
    char path[160];
    uint8_t byte;
    path_of(path, name);
    int fd = open(path, O_RDWR);
    assert_true(fd >= 0);
    assert_int_equal(pread(fd, &byte, 1, (off_t)offset), 1);
    byte ^= (uint8_t)(1 << offset % 8);
    assert_int_equal(pwrite(fd, &byte, 1, (off_t)offset), 1);
    close(fd);
}

static void cut(const char *name, uint64_t bytes)
{
    char path[160];
    path_of(path, name);
    assert_int_equal(truncate(path, (off_t)bytes), 0);
}

static void each_byte_of_a_snapshot_that_flips_is_noticed(void **state)
{
    (void)state;
    struct versions right, found;
    char name[SEGMENT_NAME_BYTES];
    struct tide_engine *engine = open_with(&small);
    for (unsigned i = 0; i < 12; i++)
        put(engine, i % COLLECTIONS, i, 20);
    assert_int_equal(write_one(engine, 1, 4, TIDE_DELETE, 0, NULL), TIDE_OK);
    uint64_t older = snapshot_take(engine).seq;
    put(engine, 1, 5, 33);
    uint64_t seq = snapshot_take(engine).seq;
    versions_read(engine, &right);
    assert_int_equal(tide_close(engine, NULL), TIDE_OK);
    snapshot_name(name, seq);
    for (uint64_t offset = 0, bytes = file_bytes(name); offset < bytes; offset++) {
        flip(name, offset);
        engine = open_with(&(struct tide_options){.read_only = true});
        struct tide_stats stats = stats_of(engine);
        assert_int_equal(stats.snapshots_bad, 1);
        assert_int_equal(stats.recovered_snapshot_seq, older);
        versions_read(engine, &found);
        assert_memory_equal(&right, &found, sizeof right);
        assert_int_equal(tide_close(engine, NULL), TIDE_OK);
        flip(name, offset);
    }
    for (uint64_t bytes = file_bytes(name); bytes-- > 0;) {
        cut(name, bytes);
        engine = open_with(&(struct tide_options){.read_only = true});
        assert_int_equal(stats_of(engine).snapshots_bad, 1);
        assert_int_equal(stats_of(engine).recovered_snapshot_seq, older);
        assert_int_equal(tide_close(engine, NULL), TIDE_OK);
    }
    snapshot_name(name, older);
    flip(name, 40);
    engine = open_with(&small); /* none is left: the log alone */
    assert_int_equal(stats_of(engine).snapshots_bad, 2);
    assert_int_equal(stats_of(engine).recovered_snapshot_seq, 0);
    versions_read(engine, &found);
    assert_memory_equal(&right, &found, sizeof right);
    put(engine, 0, 0, 10);
    snapshot_take(engine); /* and the bad ones go */
    assert_false(exists(name));
    assert_int_equal(tide_close(engine, NULL), TIDE_OK);
}

static void a_damaged_block_among_many_leaves_nothing_behind(void **state)
{
    (void)state;
    char name[SEGMENT_NAME_BYTES];
    struct versions right, found;
    struct tide_engine *engine = open_with(&small);
    for (unsigned i = 0; i < IDS; i++)
        put(engine, i % COLLECTIONS, i, 30000);
    versions_read(engine, &right);
    snapshot_name(name, snapshot_take(engine).seq);
    assert_int_equal(tide_close(engine, NULL), TIDE_OK);
    flip(name, file_bytes(name) * 3 / 4);
    engine = open_with(&small);
    assert_int_equal(stats_of(engine).snapshots_bad, 1);
    assert_int_equal(stats_of(engine).recovered_snapshot_seq, 0);
    assert_int_equal(stats_of(engine).recovered_events, IDS);
    versions_read(engine, &found);
    assert_memory_equal(&right, &found, sizeof right);
    assert_int_equal(tide_close(engine, NULL), TIDE_OK);
}

static void a_snapshot_of_another_database_is_not_used(void **state)
{
    (void)state;
    char name[SEGMENT_NAME_BYTES], command[512], other[64];
    snapshot_name(name, database_make());
    strcpy(other, directory);
    assert_int_equal(directory_make(state), 0);
    struct tide_engine *engine = open_with(&small);
    for (unsigned i = 0; i < 100; i++)
        put(engine, 0, i, 10);
    assert_int_equal(tide_close(engine, NULL), TIDE_OK);
    snprintf(command, sizeof command, "mv '%s/%s' '%s' && rm -rf '%s'", other, name, directory, other);
    assert_int_equal(system(command), 0);
    engine = open_with(&small);
    assert_int_equal(stats_of(engine).snapshots_bad, 1);
    assert_int_equal(stats_of(engine).documents, 100);
    assert_int_equal(tide_close(engine, NULL), TIDE_OK);
}

/* ---- Snapshot and log ---- */

static void a_snapshot_newer_than_the_log_is_set_aside(void **state)
{
    (void)state;
    struct tide_engine *engine = open_with(&small);
    for (unsigned i = 0; i < 5; i++)
        put(engine, 0, i, 10);
    uint64_t older = snapshot_take(engine).seq;
    uint64_t bytes = stats_of(engine).log_bytes;
    put(engine, 0, 9, 10);
    assert_int_equal(snapshot_take(engine).seq, 6);
    assert_int_equal(tide_close(engine, NULL), TIDE_OK);
    cut("events.raftlog", bytes);
    engine = open_with(&(struct tide_options){.read_only = true});
    assert_int_equal(stats_of(engine).snapshots_bad, 1);
    assert_int_equal(stats_of(engine).recovered_snapshot_seq, older);
    assert_int_equal(stats_of(engine).documents, 5);
    assert_int_equal(tide_close(engine, NULL), TIDE_OK);
    assert_true(exists("snapshot-00000000000000000006.tidesnap"));
    engine = open_with(&small);
    assert_int_equal(stats_of(engine).recovered_snapshot_seq, older);
    assert_true(exists("removed-snapshot-00000000000000000006.tidesnap"));
    for (unsigned i = 20; i < 40; i++) /* other events of the same seqs */
        put(engine, 0, i, 10);
    assert_int_equal(tide_close(engine, NULL), TIDE_OK);
    assert_int_equal(both_openings_agree(), older);
}

static void what_the_snapshot_proves_to_have_been_durable_is_not_cut_off(void **state)
{
    (void)state;
    struct tide_error error;
    struct tide_engine *engine = open_with(&small);
    put(engine, 0, 1, 100);
    assert_int_equal(tide_flush(engine, TIDE_NO_TIMEOUT, NULL, NULL), TIDE_OK);
    put(engine, 0, 2, 100);
    assert_int_equal(snapshot_take(engine).seq, 2);
    uint64_t bytes = stats_of(engine).log_bytes;
    assert_int_equal(tide_close(engine, NULL), TIDE_OK);
    cut("events.raftlog", bytes - 8); /* in the frame of seq 2, which no watermark in the log covers */
    assert_int_equal(tide_open(directory, &small, &engine, &error), TIDE_CORRUPT);
    assert_non_null(strstr(error.message, "seqs 2 to 2 were durable"));
    struct tide_report report;
    assert_int_equal(tide_verify(directory, &report, NULL, NULL, NULL, &error), TIDE_OK);
    assert_int_equal(report.damages, 1);
    assert_false(report.torn);
    assert_int_equal(tide_repair(directory, &report, NULL, NULL, NULL, &error), TIDE_OK);
    assert_int_equal(report.missing_events, 1);
    engine = open_with(&small); /* the event is gone, the document isn't */
    assert_int_equal(stats_of(engine).recovered_snapshot_seq, 2);
    assert_int_equal(stats_of(engine).documents, 2);
    uint64_t version;
    assert_int_equal(write_one(engine, 0, 7, TIDE_PUT, 10, &version), TIDE_OK);
    assert_int_equal(version, 3);
    assert_int_equal(tide_close(engine, NULL), TIDE_OK);
}

static void segments_before_the_snapshot_must_be_there_and_are_not_read(void **state)
{
    (void)state;
    struct tide_error error;
    struct tide_engine *engine = NULL;
    char from[160], to[160];
    uint64_t seq = database_make();
    struct segment_list list;
    assert_int_equal(segment_list_read(directory, &list, NULL), TIDE_OK);
    assert_true(list.sealed_count >= 3);
    char first[SEGMENT_NAME_BYTES], second[SEGMENT_NAME_BYTES];
    segment_sealed_name(first, list.sealed[0]);
    segment_sealed_name(second, list.sealed[1]);
    segment_list_free(&list);

    flip(second, 5000); /* its records are not looked at; verify does */
    engine = open_with(&(struct tide_options){.read_only = true});
    assert_int_equal(stats_of(engine).recovered_snapshot_seq, seq);
    assert_int_equal(tide_close(engine, NULL), TIDE_OK);
    flip(second, 5000);
    flip(second, file_bytes(second) - 20); /* its end: then it is read as a whole, and damaged */
    assert_int_equal(tide_open(directory, &small, &engine, &error), TIDE_CORRUPT);
    assert_non_null(strstr(error.message, second));
    flip(second, file_bytes(second) - 20);
    flip(second, 33); /* its header */
    assert_int_equal(tide_open(directory, &small, &engine, &error), TIDE_CORRUPT);
    flip(second, 33);
    const char *const gone[] = {first, second};
    for (int i = 0; i < 2; i++) {
        path_of(from, gone[i]);
        snprintf(to, sizeof to, "%s.away", directory);
        assert_int_equal(rename(from, to), 0);
        assert_int_equal(tide_open(directory, &small, &engine, &error), TIDE_CORRUPT);
        assert_non_null(strstr(error.message, "are missing"));
        assert_int_equal(rename(to, from), 0);
    }
    cut(second, file_bytes(second) + 4096); /* zeros behind its end do no harm */
    assert_int_equal(both_openings_agree(), seq);
}

static void a_place_in_the_log_that_is_not_there_any_more_is_looked_for_from_the_beginning(void **state)
{
    (void)state;
    struct versions right, found;
    struct tide_engine *engine = open_with(&small);
    for (unsigned i = 0; i < 20; i++)
        put(engine, 0, i, 10);
    struct tide_snapshot made = snapshot_take(engine);
    put(engine, 0, 3, 10);
    versions_read(engine, &right);
    assert_int_equal(tide_close(engine, NULL), TIDE_OK);
    char name[SEGMENT_NAME_BYTES], path[160];
    uint8_t bytes[SNAPSHOT_HEADER_BYTES];
    struct snapshot_header header;
    snapshot_name(name, made.seq);
    path_of(path, name);
    static const uint64_t offsets[] = {0, 64, 72, 300, 1 << 20};
    for (size_t i = 0; i < sizeof offsets / sizeof offsets[0]; i++) {
        int fd = open(path, O_RDWR);
        assert_int_equal(pread(fd, bytes, sizeof bytes, 0), sizeof bytes);
        assert_null(snapshot_header_decode(bytes, &header));
        header.segment_offset = offsets[i];
        snapshot_header_encode(bytes, &header);
        assert_int_equal(pwrite(fd, bytes, sizeof bytes, 0), sizeof bytes);
        close(fd);
        engine = open_with(&small);
        assert_int_equal(stats_of(engine).recovered_snapshot_seq, made.seq);
        versions_read(engine, &found);
        assert_memory_equal(&right, &found, sizeof right);
        assert_int_equal(tide_close(engine, NULL), TIDE_OK);
    }
}

static uint64_t history_count(struct tide_engine *engine, const char *id)
{
    struct tide_event_filter filter = {
        .collection = "articles", .collection_length = 8, .id = id, .id_length = strlen(id)};
    struct tide_events *events;
    struct tide_event event;
    uint64_t count = 0;
    if (tide_events_open(engine, &filter, &events, NULL) != TIDE_OK)
        return 0;
    while (tide_events_next(events, &event, NULL) == TIDE_OK)
        count++;
    tide_events_close(events);
    return count;
}

static void *history_main(void *context)
{
    return (void *)(uintptr_t)history_count(shared, context);
}

static void histories_in_segments_that_were_not_read_are_found(void **state)
{
    (void)state;
    struct tide_engine *engine = open_with(&small);
    for (unsigned i = 0; i < 3000; i++)
        put(engine, 0, i % 30, 1500 + i % 7);
    snapshot_take(engine);
    for (unsigned i = 0; i < 60; i++)
        put(engine, 0, i % 30, 100);
    assert_int_equal(write_one(engine, 0, 4, TIDE_DELETE, 0, NULL), TIDE_OK);
    put(engine, 0, 4, 100);
    assert_int_equal(tide_close(engine, NULL), TIDE_OK);

    shared = open_with(&small);
    assert_true(stats_of(shared).recovered_snapshot_seq > 0);
    pthread_t threads[2];
    void *counts[2];
    static const char *const ids[] = {"4", "7"};
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, history_main, (void *)(uintptr_t)ids[i]), 0);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], &counts[i]);
    assert_int_equal((uintptr_t)counts[0], 104); /* its earlier life, too */
    assert_int_equal((uintptr_t)counts[1], 102);
    for (int i = 0; i < 3; i++)
        assert_int_equal(history_count(shared, "29"), 102);
    struct tide_event_filter filter = {.from = 1500, .to = 1510};
    struct tide_events *events;
    struct tide_event event;
    assert_int_equal(tide_events_open(shared, &filter, &events, NULL), TIDE_OK);
    for (uint64_t seq = 1500; seq <= 1510; seq++) {
        assert_int_equal(tide_events_next(events, &event, NULL), TIDE_OK);
        assert_int_equal(event.seq, seq);
    }
    tide_events_close(events);
    assert_int_equal(tide_close(shared, NULL), TIDE_OK);
    assert_true(both_openings_agree() > 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, directory_make, directory_remove)
    const struct CMUnitTest tests[] = {
        TEST(opening_begins_with_the_snapshot_and_reads_what_is_behind_it),
        TEST(a_snapshot_of_nothing_and_one_after_the_other),
        TEST(a_snapshot_beside_writers_is_the_log_up_to_its_seq),
        TEST(closing_ends_a_snapshot_in_the_middle),
        TEST(a_snapshot_is_made_when_the_log_has_grown),
        TEST(a_snapshot_that_fails_leaves_the_engine_as_it_was),
        TEST(what_could_not_be_removed_is_removed_at_the_next_opening),
        TEST(a_read_only_engine_begins_with_snapshots_and_makes_none),
        TEST(each_byte_of_a_snapshot_that_flips_is_noticed),
        TEST(a_damaged_block_among_many_leaves_nothing_behind),
        TEST(a_snapshot_of_another_database_is_not_used),
        TEST(a_snapshot_newer_than_the_log_is_set_aside),
        TEST(what_the_snapshot_proves_to_have_been_durable_is_not_cut_off),
        TEST(segments_before_the_snapshot_must_be_there_and_are_not_read),
        TEST(a_place_in_the_log_that_is_not_there_any_more_is_looked_for_from_the_beginning),
        TEST(histories_in_segments_that_were_not_read_are_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
