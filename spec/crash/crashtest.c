/* crashtest.c - the engine on a disk that fails (disk.h), beside a model of what it must be (model.h).
 *
 * sweep: a fixed workload, again and again, with a fault at its first call on files, its second, and so on to the last:
 * the machine stops; the call fails once; it fails from then on; the disk is full from then on. After the failures,
 * too, the machine stops. random: workloads, faults and nuisances from a seed, for as long as asked; each failure names
 * its seed, and `crashtest random --seed N` does it again. */
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "disk.h"
#include "model.h"
#include "random.h"

static const char usage[] = "usage: crashtest sweep [--operations 120]\n"
                            "       crashtest flips\n"
                            "       crashtest threads [--operations 120]\n"
                            "       crashtest full\n"
                            "       crashtest random [--seconds 120] [--seed N]\n"
                            "\n"
                            "The engine on a simulated disk. sweep: a fault at each call on files of a fixed workload. "
                            "random: workloads and faults\n"
                            "from a seed; without --seed another one each time, with it that one alone. flips: each "
                            "byte of a log changed where it\n"
                            "rests. threads: writers and readers of the same documents, --operations thousands; the "
                            "log must be the map. full: disks of many sizes, until nothing more fits. Exit status: 0 "
                            "all was as it must be, 1 not.\n";

static struct model model;
static char what[200]; /* is being done, for a failure's message */

static void die(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));
static void die(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "crashtest: FAILED: %s: ", what);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(1);
}

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

/* ---- What must be left over: nothing ---- */

static unsigned thread_count(void)
{
    unsigned count = 0;
    DIR *directory = opendir("/proc/self/task");
    for (struct dirent *entry; directory && (entry = readdir(directory));)
        count += entry->d_name[0] != '.';
    if (directory)
        closedir(directory);
    return count;
}

static unsigned threads_before;

static void *thread_nothing(void *context)
{
    return context;
}

static void check_left_over(void)
{
    if (disk_descriptors() != 0)
        die("%u descriptors are left open", disk_descriptors());
    for (int i = 0; thread_count() > threads_before; i++) { /* a thread that was joined may be seen for a moment */
        struct timespec pause = {0, 1000000};
        if (i == 5000)
            die("%u threads are left over", thread_count() - threads_before);
        nanosleep(&pause, NULL);
    }
}

static void check_file(void *context, const char *path, uint64_t bytes)
{
    (void)context;
    (void)bytes;
    const char *name = strrchr(path, '/') + 1, *end = strrchr(name, '.');
    bool segment = end && strcmp(end, ".raftlog") == 0;
    if (!segment && strcmp(name, "lock") != 0)
        die("%s is left over", path);
}

/* ---- A life of the database: from its opening to its closing, or to the machine's stop ---- */

static const char directory[] = "/data/blog";

static bool hash_chain; /* of all lives */
static bool may_be_full;

struct life {
    uint64_t random;
    unsigned operations;
    bool large;       /* documents that fill segments */
    unsigned refused; /* writes for which the disk was too small */
    struct tide_engine *engine;
    struct tide_collection *collection;
};

static bool fault_explains(enum tide_status status)
{
    return status == TIDE_IO || status == TIDE_FULL || status == TIDE_FAILED || status == TIDE_CLOSED;
}

static bool life_begin(struct life *life)
{
    struct tide_options options = {
        .segment_bytes = TIDE_SEGMENT_BYTES_MIN, .flush_interval_ms = 1, .batch_size = 8, .hash_chain = hash_chain};
    struct tide_error error = {.message = ""};
    enum tide_status status = tide_open(directory, &options, &life->engine, &error);
    if (status != TIDE_OK && disk_struck() && fault_explains(status))
        return false;
    if (status != TIDE_OK)
        die("it does not open: %s", error.message);
    life->collection = tide_collection(life->engine, "articles", 8, NULL);
    const char *wrong = model_compare(&model, life->engine, life->collection);
    if (wrong && !disk_struck()) /* reading the log may be what failed */
        die("%s", wrong);
    return true;
}

/* One operation; false: the engine has failed, as it should. */
static bool operate(struct life *life)
{
    static char value[200000];
    unsigned id = (unsigned)random_below(&life->random, MODEL_IDS), dice = (unsigned)random_below(&life->random, 100);
    uint64_t seed = random_next(&life->random);
    bool large = life->large && random_below(&life->random, 4) == 0;
    uint32_t length = (uint32_t)(2 + random_below(&life->random, large ? 190000 : 400));
    bool there = model.versions[id] != 0, durable = random_below(&life->random, 3) == 0;
    char text[16];
    struct tide_write write = {.operation = dice < 20 && there    ? TIDE_DELETE
                                            : dice < 40 && !there ? TIDE_CREATE
                                                                  : TIDE_PUT,
                               .durability = durable ? TIDE_DURABLE : TIDE_ACCEPTED,
                               .if_version = dice % 2 ? TIDE_ANY_VERSION : model.versions[id],
                               .id = text,
                               .id_length = model_id(id, text)};
    if (write.operation == TIDE_CREATE)
        write.if_version = TIDE_ANY_VERSION;
    uint8_t type = write.operation == TIDE_DELETE ? TIDE_EVENT_DELETED
                   : there                        ? TIDE_EVENT_UPDATED
                                                  : TIDE_EVENT_CREATED;
    if (type != TIDE_EVENT_DELETED) {
        model_value(seed, length, value);
        write.value = value;
        write.value_length = length;
    }
    struct tide_written written = {0};
    struct tide_error error = {.message = ""};
    enum tide_status status = tide_write(life->collection, &write, &written, &error);
    if (written.version != 0) {
        if (written.version != model.accepted + 1)
            die("version %" PRIu64 " after %" PRIu64, written.version, model.accepted);
        model_accept(&model, type, id, seed, length);
        if (status == TIDE_OK && durable)
            model.acknowledged = written.version;
    }
    if (status == TIDE_OK && random_below(&life->random, 40) == 0) {
        uint64_t reached;
        status = tide_flush(life->engine, TIDE_NO_TIMEOUT, &reached, &error);
        if (status == TIDE_OK && reached > model.acknowledged)
            model.acknowledged = reached;
    }
    if (status == TIDE_FULL && may_be_full && written.version == 0) {
        life->refused++;
        return true;
    }
    if (status != TIDE_OK && !(disk_struck() && fault_explains(status)))
        die("a write failed without a reason: %s", error.message);
    return status == TIDE_OK;
}

/* A whole life. Returns whether it ended as it should without a fault. */
static bool life_run(struct life *life)
{
    struct tide_error error = {.message = ""};
    if (!life_begin(life)) {
        check_left_over();
        return false;
    }
    bool whole = true;
    for (unsigned i = 0; i < life->operations && whole; i++)
        whole = operate(life);
    enum tide_status status = tide_close(life->engine, &error);
    if (status == TIDE_OK && model.accepted > model.acknowledged)
        model.acknowledged = model.accepted;
    if (status != TIDE_OK && !(disk_struck() && fault_explains(status)))
        die("closing failed without a reason: %s", error.message);
    check_left_over();
    return whole && status == TIDE_OK;
}

static void chain_finding(void *context, const struct tide_finding *finding)
{
    (void)context;
    if (strcmp(finding->kind, "torn") != 0)
        die("%s: %s at offset %" PRIu64 " of %s", finding->kind, finding->message, finding->offset, finding->file);
}

/* Whatever happened, the chain of a log is whole from its first frame on. */
static void check_chain(void)
{
    struct tide_report report;
    struct tide_error error;
    if (tide_verify_chain(directory, NULL, &report, chain_finding, NULL, NULL, &error) != TIDE_OK)
        die("the chain could not be verified: %s", error.message);
    if (report.frames > 0 && (!report.chained || report.chain.first_seq != 1))
        die("the chain begins with seq %" PRIu64, report.chain.first_seq);
    if (report.frames > 0 && report.chain.seq != report.last_seq)
        die("the chain ends with seq %" PRIu64 " of %" PRIu64, report.chain.seq, report.last_seq);
}

/* A life without faults: all that must be there is there, writing goes on, and closing leaves nothing lying about. */
static void life_healthy(uint64_t seed, bool large, unsigned operations)
{
    struct life life = {.random = seed, .operations = operations, .large = large};
    if (!life_run(&life))
        die("a life without faults was not whole");
    disk_files(check_file, NULL);
    if (hash_chain)
        check_chain();
}

/* ---- The sweep ---- */

struct sweep {
    const char *name;
    struct fault fault;
    bool opened_again; /* before the machine stops: what opening finds may be in the page cache alone */
    bool hash_chain;
};

static uint64_t sweep_run(const struct sweep *sweep, unsigned operations)
{
    for (uint64_t at = 1;; at++) {
        snprintf(what, sizeof what, "sweep, %s, call %" PRIu64, sweep->name, at);
        model_reset(&model);
        disk_create(at * 31 + sweep->fault.kind);
        struct fault fault = sweep->fault;
        fault.at = at;
        disk_fault(&fault);
        hash_chain = sweep->hash_chain;
        struct life life = {.random = 7, .operations = operations / 2, .large = true};
        bool whole = life_run(&life);
        if (!disk_struck()) { /* a second opening has calls of its own */
            life.operations = operations - operations / 2;
            whole = life_run(&life);
        }
        bool struck = disk_struck(), last = disk_calls() < at; /* a call that cannot fail so isn't struck */
        if (!struck && !whole)
            die("it failed without a fault");
        if (sweep->opened_again) {
            disk_fault(&(struct fault){0});
            life_healthy(at + 2, false, 5);
        }
        disk_crash();
        disk_restart();
        life_healthy(at, false, 12);
        life_healthy(at + 1, false, 3);
        disk_destroy();
        if (last)
            return at - 1;
    }
}

static void sweep_all(unsigned operations)
{
    static const struct sweep sweeps[] = {
        {"the machine stops", {.kind = FAULT_CRASH}, false, false},
        {"EIO once", {.kind = FAULT_ERROR, .error = EIO}, false, false},
        {"EIO once, opened again", {.kind = FAULT_ERROR, .error = EIO}, true, false},
        {"EIO for good", {.kind = FAULT_ERROR, .error = EIO, .for_good = true}, false, false},
        {"EIO for good, opened again", {.kind = FAULT_ERROR, .error = EIO, .for_good = true}, true, false},
        {"ENOSPC for good", {.kind = FAULT_ERROR, .error = ENOSPC, .for_good = true}, false, false},
        {"ENOSPC for good, opened again", {.kind = FAULT_ERROR, .error = ENOSPC, .for_good = true}, true, false},
        {"the machine stops, chained", {.kind = FAULT_CRASH}, false, true},
        {"EIO once, opened again, chained", {.kind = FAULT_ERROR, .error = EIO}, true, true},
    };
    uint64_t points = 0;
    double start = now();
    for (size_t i = 0; i < sizeof sweeps / sizeof sweeps[0]; i++) {
        uint64_t calls = sweep_run(&sweeps[i], sweeps[i].hash_chain ? operations / 2 : operations);
        printf("%-32s at each of %" PRIu64 " calls\n", sweeps[i].name, calls);
        fflush(stdout);
        points += calls;
    }
    printf("crashtest sweep: %" PRIu64 " fault points, all as they must be, in %.1f s\n", points, now() - start);
}

/* ---- Bits that flip at rest ---- */

static void log_size(void *context, const char *path, uint64_t bytes)
{
    if (strcmp(path, "/data/blog/events.raftlog") == 0)
        *(uint64_t *)context = bytes;
}

enum { END_MARK_BYTES = 48 };

/* After a clean close all is durable: a changed log is refused. Only the end mark itself may be taken for a torn tail,
 * and then nothing is missing. */
static void flips_all(void)
{
    uint64_t bytes = 1, refused = 0;
    double start = now();
    for (uint64_t at = 0; at < bytes; at++) {
        snprintf(what, sizeof what, "flips, byte %" PRIu64, at);
        model_reset(&model);
        disk_create(at);
        struct life life = {.random = 3, .operations = 6};
        if (!life_run(&life))
            die("a life without faults was not whole");
        disk_files(log_size, &bytes);
        if (!disk_flip("/data/blog/events.raftlog", at, (unsigned)(at * 5)))
            die("there is no such byte");
        struct tide_error error;
        struct tide_engine *engine;
        enum tide_status status = tide_open(directory, NULL, &engine, &error);
        if (status == TIDE_OK) {
            if (at < bytes - END_MARK_BYTES)
                die("the change was passed over");
            const char *wrong = model_compare(&model, engine, tide_collection(engine, "articles", 8, NULL));
            if (wrong)
                die("%s", wrong);
            if (tide_close(engine, &error) != TIDE_OK)
                die("closing failed: %s", error.message);
        } else if (status != TIDE_CORRUPT &&
                   status != TIDE_INVALID) { /* the latter: it may be of another format version */
            die("refused for another reason: %s", error.message);
        } else {
            refused++;
        }
        check_left_over();
        disk_destroy();
    }
    printf("crashtest flips: each of %" PRIu64 " bytes, %" PRIu64
           " refused, of the end mark nothing is lost, in %.1f s\n",
           bytes, refused, now() - start);
}

/* ---- Many threads on the same documents ---- */

enum { WRITERS = 3, READERS = 2 };

static struct tide_engine *shared;
static _Atomic bool writers_done; /* sequentially consistent: nothing depends on its speed */
static unsigned writes_each;
static _Atomic unsigned refusals; /* the same; because the disk was full */

static void *writer_main(void *context)
{
    uint64_t random = (uint64_t)(uintptr_t)context;
    struct tide_collection *collection = tide_collection(shared, "articles", 8, NULL);
    char text[16], value[512];
    for (unsigned i = 0; i < writes_each; i++) {
        unsigned id = (unsigned)random_below(&random, MODEL_IDS);
        size_t length = 1 + random_below(&random, sizeof value);
        memset(value, 'a' + (int)id, length);
        struct tide_write write = {.operation = TIDE_PUT,
                                   .durability = TIDE_ACCEPTED,
                                   .if_version = TIDE_ANY_VERSION,
                                   .id = text,
                                   .id_length = model_id(id, text),
                                   .value = value,
                                   .value_length = length};
        struct tide_written written;
        struct tide_error error;
        enum tide_status status = tide_write(collection, &write, &written, &error);
        if (status == TIDE_FULL && may_be_full)
            atomic_fetch_add(&refusals, 1);
        else if (status != TIDE_OK)
            die("a write failed: %s", error.message);
    }
    return NULL;
}

static void *reader_main(void *context)
{
    uint64_t random = (uint64_t)(uintptr_t)context;
    struct tide_collection *collection = tide_collection(shared, "articles", 8, NULL);
    while (!atomic_load(&writers_done)) {
        unsigned id = (unsigned)random_below(&random, MODEL_IDS);
        char text[16];
        struct tide_view view;
        tide_read_begin(shared);
        if (tide_get(collection, text, model_id(id, text), &view) == TIDE_OK)
            for (size_t i = 0; i < view.value_length; i++)
                if (view.value[i] != 'a' + (int)id)
                    die("a reader saw a value change, or another document's");
        tide_read_end(shared);
    }
    return NULL;
}

static void versions_read(struct tide_engine *engine, uint64_t versions[MODEL_IDS])
{
    tide_read_begin(engine);
    for (unsigned i = 0; i < MODEL_IDS; i++) {
        char text[16];
        struct tide_view view;
        tide_get(tide_collection(engine, "articles", 8, NULL), text, model_id(i, text), &view);
        versions[i] = view.version;
    }
    tide_read_end(engine);
}

/* On a disk of `capacity` bytes; 0: large enough. */
static void threads_run(unsigned operations, uint64_t capacity)
{
    struct tide_options options = {.batch_size = 16};
    struct tide_error error;
    pthread_t threads[WRITERS + READERS];
    uint64_t before[MODEL_IDS], after[MODEL_IDS];
    snprintf(what, sizeof what, "threads, capacity %" PRIu64, capacity);
    writes_each = operations * 1000;
    atomic_store(&writers_done, false);
    disk_create(1);
    disk_capacity(capacity);
    if (tide_open(directory, &options, &shared, &error) != TIDE_OK)
        die("it does not open: %s", error.message);
    for (uintptr_t i = 0; i < WRITERS + READERS; i++)
        if (pthread_create(&threads[i], NULL, i < WRITERS ? writer_main : reader_main, (void *)(i + 1)) != 0)
            die("cannot start a thread");
    for (int i = 0; i < WRITERS + READERS; i++) {
        pthread_join(threads[i], NULL);
        if (i == WRITERS - 1)
            atomic_store(&writers_done, true);
    }
    versions_read(shared, before);
    if (tide_close(shared, &error) != TIDE_OK || tide_open(directory, &options, &shared, &error) != TIDE_OK)
        die("%s", error.message);
    versions_read(shared, after);
    if (memcmp(before, after, sizeof before) != 0)
        die("the log amounts to another map than there was");
    if (tide_close(shared, &error) != TIDE_OK)
        die("%s", error.message);
    check_left_over();
    disk_destroy();
}

static void threads_all(unsigned operations)
{
    threads_run(operations, 0);
    printf("crashtest threads: %u writes of %d threads, the log is the map\n", writes_each * WRITERS, WRITERS);
}

/* ---- A disk that gets full ---- */

/* Writes until `refusals_wanted` were refused, or for `operations`. Returns whether they were. */
static bool fill(struct life *life, unsigned operations, unsigned refusals_wanted)
{
    life->refused = 0;
    for (unsigned i = 0; i < operations && life->refused < refusals_wanted; i++)
        if (!operate(life))
            die("it failed, where it should have refused");
    return life->refused >= refusals_wanted;
}

/* What was accepted becomes durable, and is what can be read. */
static void check_accepted(struct life *life)
{
    uint64_t reached;
    struct tide_error error = {.message = ""};
    if (tide_flush(life->engine, TIDE_NO_TIMEOUT, &reached, &error) != TIDE_OK)
        die("flush failed: %s", error.message);
    if (reached != model.accepted)
        die("flush reached %" PRIu64 " of %" PRIu64, reached, model.accepted);
    model.acknowledged = reached;
    const char *wrong = model_compare(&model, life->engine, life->collection);
    if (wrong)
        die("%s", wrong);
}

/* Somebody has made room: writes go on without anybody's doing. */
static void room_made(struct life *life, uint64_t capacity)
{
    struct timespec pause = {0, 10000000};
    disk_capacity(capacity);
    for (int i = 0; tide_health(life->engine, NULL) == TIDE_FULL; i++) {
        if (i == 3000)
            die("there is room, and writes are refused still");
        nanosleep(&pause, NULL);
    }
    if (fill(life, 4, 1))
        die("there is room, and a write was refused");
}

static void life_closed(struct life *life)
{
    struct tide_error error = {.message = ""};
    if (tide_close(life->engine, &error) != TIDE_OK)
        die("closing failed: %s", error.message);
    if (model.accepted > model.acknowledged)
        model.acknowledged = model.accepted;
    check_left_over();
}

/* Returns whether the disk was large enough for a database at all. */
static bool full_run(uint64_t capacity, unsigned operations)
{
    enum { ROOM_BYTES = 8 << 20 };
    struct life life = {.random = capacity, .large = capacity > 1 << 20 || capacity / 4096 % 2};
    struct tide_report report;
    snprintf(what, sizeof what, "full, %" PRIu64 " bytes", capacity);
    model_reset(&model);
    disk_create(capacity);
    disk_capacity(capacity);
    hash_chain = capacity / 8192 % 2;
    struct tide_engine *engine;
    enum tide_status status = tide_open(directory, NULL, &engine, NULL);
    if (status == TIDE_FULL) {
        disk_destroy();
        return false;
    }
    if (status != TIDE_OK || tide_close(engine, NULL) != TIDE_OK)
        die("a small disk is no reason not to open");
    if (!life_begin(&life))
        die("it did not open");
    if (!fill(&life, operations, 3))
        die("%u operations did not fill it", operations);
    check_accepted(&life);
    room_made(&life, capacity + ROOM_BYTES);
    disk_capacity(capacity); /* less than there is now */
    fill(&life, operations / 4, 3);
    life_closed(&life);
    if (!life_begin(&life)) /* on a full disk */
        die("it did not open again");
    fill(&life, 20, 3);
    check_accepted(&life);
    room_made(&life, capacity + 2 * ROOM_BYTES);
    disk_crash();
    tide_close(life.engine, NULL);
    disk_restart();
    disk_capacity(capacity);
    if (!life_begin(&life))
        die("it did not open after the crash");
    fill(&life, 20, 20);
    check_accepted(&life);
    life_closed(&life);
    if (tide_verify(directory, &report, chain_finding, NULL, NULL, NULL) != TIDE_OK)
        die("it cannot be verified");
    disk_capacity(0);
    life_healthy(capacity, false, 12);
    disk_destroy();
    return true;
}

static void full_all(void)
{
    unsigned disks = 0, writes = 0;
    double start = now();
    may_be_full = true;
    for (uint64_t pages = 1; pages < 1200; pages += 1 + pages / 5)
        disks += full_run(pages * 4096, 8000);
    for (uint64_t pages = 300; pages <= 4800; pages *= 2) {
        atomic_store(&refusals, 0);
        threads_run((unsigned)pages / 200 + 2, pages * 4096);
        if (atomic_load(&refusals) == 0)
            die("the disk did not get full");
        writes += writes_each * WRITERS - atomic_load(&refusals);
    }
    may_be_full = false;
    printf("crashtest full: %u disks of all sizes filled, and 5 by %d threads with %u writes, in %.1f s\n", disks,
           WRITERS, writes, now() - start);
}

/* ---- At random ---- */

static void random_run(uint64_t seed)
{
    uint64_t random = seed;
    snprintf(what, sizeof what, "random --seed %" PRIu64, seed);
    model_reset(&model);
    hash_chain = seed % 3 == 0;
    disk_create(random_next(&random));
    if (random_below(&random, 2)) {
        struct nuisance nuisance = {(unsigned)random_below(&random, 30), (unsigned)random_below(&random, 200)};
        disk_nuisance(&nuisance);
    }
    unsigned lives = 1 + (unsigned)random_below(&random, 6);
    for (unsigned i = 0; i < lives; i++) {
        struct fault fault = {.kind = random_below(&random, 2) ? FAULT_CRASH : FAULT_ERROR,
                              .at = disk_calls() + 1 + random_below(&random, random_below(&random, 2) ? 40 : 600),
                              .for_good = random_below(&random, 2),
                              .error = random_below(&random, 3) ? EIO : ENOSPC};
        struct life life = {.random = random_next(&random),
                            .operations = (unsigned)random_below(&random, 200),
                            .large = random_below(&random, 3) == 0};
        disk_fault(&fault);
        life_run(&life);
        if (random_below(&random, 3) > 0)
            disk_crash();
        disk_restart();
    }
    life_healthy(random_next(&random), false, 20);
    life_healthy(random_next(&random), false, 0);
    disk_destroy();
}

static void random_for(double seconds)
{
    uint64_t first = (uint64_t)time(NULL) * 1000003, runs = 0;
    double start = now();
    printf("crashtest random: seeds from %" PRIu64 "\n", first);
    fflush(stdout);
    while (now() - start < seconds)
        random_run(first + runs++);
    printf("%" PRIu64 " passed, 0 failed (runs of crashtest random, %.0f s)\n", runs, now() - start);
}

int main(int argc, char **argv)
{
    double seconds = 120;
    unsigned operations = 120;
    uint64_t seed = 0;
    for (int i = 2; i < argc; i += 2) {
        const char *value = i + 1 < argc ? argv[i + 1] : "";
        if (strcmp(argv[i], "--seconds") == 0)
            seconds = atof(value);
        else if (strcmp(argv[i], "--operations") == 0)
            operations = (unsigned)atoi(value);
        else if (strcmp(argv[i], "--seed") == 0)
            seed = strtoull(value, NULL, 10);
        else
            argc = 0;
    }
    pthread_t first; /* with the first thread ThreadSanitizer starts one of its own, which stays */
    if (pthread_create(&first, NULL, thread_nothing, NULL) != 0 || pthread_join(first, NULL) != 0)
        return 1;
    threads_before = thread_count();
    if (argc >= 2 && strcmp(argv[1], "sweep") == 0) {
        sweep_all(operations);
    } else if (argc >= 2 && strcmp(argv[1], "flips") == 0) {
        flips_all();
    } else if (argc >= 2 && strcmp(argv[1], "threads") == 0) {
        threads_all(operations);
    } else if (argc >= 2 && strcmp(argv[1], "full") == 0) {
        full_all();
    } else if (argc >= 2 && strcmp(argv[1], "random") == 0) {
        if (seed)
            random_run(seed);
        else
            random_for(seconds);
    } else {
        fputs(usage, stderr);
        return 2;
    }
    return 0;
}
