/* crashtest.c - the engine on a disk that fails (disk.h), beside a model of what it must be (model.h).
 *
 * sweep: a fixed workload, again and again, with a fault at its first call on files, its second, and so on to the last:
 * the machine stops; the call fails once; it fails from then on; the disk is full from then on. After the failures,
 * too, the machine stops. random: workloads, faults and nuisances from a seed, for as long as asked; each failure names
 * its seed, and `crashtest random --seed N` does it again. */
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <malloc.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "crashtest.h"
#include "random.h"

static const char usage[] =
    "usage: crashtest sweep [--operations 120]\n"
    "       crashtest flips\n"
    "       crashtest steps [--operations 120]\n"
    "       crashtest repairs [--every 1]\n"
    "       crashtest threads [--operations 120]\n"
    "       crashtest backup [--every 1]\n"
    "       crashtest full [--every 1]\n"
    "       crashtest marks [--every 1]\n"
    "       crashtest random [--seconds 120] [--seed N] [--runs N]\n"
    "\n"
    "The engine on a simulated disk. sweep: a fault at each call on files of a fixed workload. "
    "random: workloads and faults\n"
    "from a seed; without --seed another one each time, with it that one, or --runs from it on. "
    "flips: each byte of a log\n"
    "changed where it rests. steps: the writer held at each of its calls, while callers go on. "
    "repairs: a fault at each call\n"
    "of a repair, backup: of backups and restores. threads: writers and readers of the same documents, --operations "
    "thousands; the "
    "log must be the map. full: disks of many sizes, until nothing more fits. marks: the sync of a clean "
    "close fails. Exit status: 0 all was as it must be, "
    "1 not.\n";

struct model model;
char what[200];

void die(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "crashtest: FAILED: %s: ", what);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(1);
}

double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

/* ---- What must be left over: nothing ---- */

static unsigned thread_count(void)
{
    unsigned count = 0;
    DIR *tasks = opendir("/proc/self/task");
    for (struct dirent *entry; tasks && (entry = readdir(tasks));)
        count += entry->d_name[0] != '.';
    if (tasks)
        closedir(tasks);
    return count;
}

static unsigned threads_before;

static void *thread_nothing(void *context)
{
    return context;
}

/* The threads while nothing runs; ThreadSanitizer starts one of its own with the first that is started. */
static unsigned threads_at_rest(void)
{
    pthread_t first;
    struct timespec pause = {0, 20000000};
    if (pthread_create(&first, NULL, thread_nothing, NULL) != 0)
        die("cannot start a thread");
    pthread_join(first, NULL);
    nanosleep(&pause, NULL); /* until the one that was joined is no longer seen */
    return thread_count();
}

void check_left_over(void)
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
    if (strncmp(path, directory, strlen(directory)) != 0)
        return;
    const char *name = strrchr(path, '/') + 1, *end = strrchr(name, '.');
    bool segment = end && strcmp(end, ".raftlog") == 0;
    bool snapshot = end && strcmp(end, ".tidesnap") == 0 && strncmp(name, "snapshot-", 9) == 0;
    if (!segment && !snapshot && strcmp(name, "lock") != 0)
        die("%s is left over", path);
}

/* ---- A life of the database: from its opening to its closing, or to the machine's stop ---- */

const char directory[] = "/data/blog";
bool hash_chain, may_be_full;

static uint64_t snapshots_taken, snapshots_begun_with;

bool fault_explains(enum tide_status status)
{
    return status == TIDE_IO || status == TIDE_FULL || status == TIDE_FAILED || status == TIDE_CLOSED;
}

static bool flipped; /* a bit at rest, in this run: then a snapshot may be bad */

bool life_begin(struct life *life)
{
    struct tide_options options = {.segment_bytes = TIDE_SEGMENT_BYTES_MIN,
                                   .flush_interval_ms = 1,
                                   .batch_size = 8,
                                   .pending_bytes_max = 4 << 20, /* a small channel is made sooner */
                                   .hash_chain = hash_chain};
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
    struct tide_stats stats;
    tide_stats(life->engine, &stats);
    if (stats.snapshots_bad > 0 && !disk_struck() && !flipped)
        die("%" PRIu64 " snapshots are bad", stats.snapshots_bad);
    snapshots_begun_with += stats.recovered_snapshot_seq > 0;
    return true;
}

/* A snapshot, which may fail for itself; then the engine goes on. What is in it was durable. */
void snapshot_take(struct life *life)
{
    struct tide_snapshot made;
    struct tide_error error = {.message = ""};
    enum tide_status status = tide_snapshot(life->engine, &made, &error);
    if (status == TIDE_FULL && may_be_full)
        return;
    if (status != TIDE_OK && !(disk_struck() && fault_explains(status)))
        die("a snapshot failed without a reason: %s", error.message);
    if (status != TIDE_OK)
        return;
    if (made.seq != model.accepted)
        die("a snapshot of seq %" PRIu64 ", accepted was %" PRIu64, made.seq, model.accepted);
    model.acknowledged = made.seq;
    snapshots_taken++;
}

bool operate(struct life *life)
{
    static char value[200000];
    unsigned id = (unsigned)random_below(&life->random, MODEL_IDS), dice = (unsigned)random_below(&life->random, 100);
    uint64_t seed = random_next(&life->random);
    bool large = life->large && random_below(&life->random, 4) == 0;
    uint32_t length = (uint32_t)(2 + random_below(&life->random, large ? 190000 : 400));
    bool there = model.versions[id] != 0, durable = random_below(&life->random, 3) == 0 && !life->accept_only;
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
    if (status == TIDE_OK && !life->accept_only && random_below(&life->random, 40) == 0) {
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

/* Between two segments of a compaction: writes, so that events become old which the map alone knows to be so. */
static void write_meanwhile(void *context, uint64_t done, uint64_t total)
{
    struct life *life = context;
    (void)done;
    (void)total;
    for (int i = 0; i < 3 && !life->ended; i++)
        life->ended = !operate(life);
    model_expire(&model, life->compact_limit);
}

/* One compaction, of whatever kind. That it fails is no harm to the engine; what it did is seen when the log is
 * compared. */
static void compact(struct life *life)
{
    struct tide_compact request = {
        .sealed_alone = random_below(&life->random, 2), .progress = write_meanwhile, .context = life};
    uint64_t events = 1 + random_below(&life->random, 2) * random_below(&life->random, 4);
    bool by_bytes = random_below(&life->random, 4) == 0;
    request.retain = by_bytes ? TIDE_RETAIN_LOG_BYTES : TIDE_RETAIN_EVENTS_PER_DOCUMENT;
    request.limit = by_bytes ? TIDE_RETAIN_LOG_BYTES_MIN : events;
    life->compact_limit = by_bytes ? 1 : events;
    if (!hash_chain)
        model_expire(&model, life->compact_limit);
    uint64_t accepted = model.accepted;
    struct tide_compaction result;
    struct tide_error error = {.message = ""};
    enum tide_status status = tide_compact(life->engine, &request, &result, &error);
    if (hash_chain && status == TIDE_INVALID)
        return;
    if (status != TIDE_OK && !(disk_struck() && fault_explains(status)))
        die("a compaction failed without a reason: %s", error.message);
    if (status != TIDE_OK)
        return;
    if (model.acknowledged < accepted)
        model.acknowledged = accepted; /* it makes durable what there is before it removes anything */
    if (!life->healthy || tide_flush(life->engine, TIDE_NO_TIMEOUT, NULL, &error) != TIDE_OK)
        return;
    const char *wrong = model_compare(&model, life->engine, life->collection);
    if (wrong)
        die("after a compaction: %s", wrong);
}

bool life_operate(struct life *life)
{
    bool whole = true;
    for (unsigned i = 1; i <= life->operations && whole; i++) {
        whole = operate(life);
        if (whole && life->snapshot_after > 0 && i % life->snapshot_after == 0)
            snapshot_take(life);
        if (whole && life->compact_every && i % life->compact_every == 0)
            compact(life);
        whole = whole && !life->ended;
    }
    return whole;
}

bool life_end(struct life *life)
{
    struct tide_error error = {.message = ""};
    enum tide_status status = tide_close(life->engine, &error);
    if (status == TIDE_OK && model.accepted > model.acknowledged)
        model.acknowledged = model.accepted;
    if (status != TIDE_OK && !(disk_struck() && fault_explains(status)))
        die("closing failed without a reason: %s", error.message);
    check_left_over();
    return status == TIDE_OK;
}

bool life_run(struct life *life)
{
    if (!life_begin(life)) {
        check_left_over();
        return false;
    }
    bool whole = life_operate(life);
    return life_end(life) && whole;
}

void chain_finding(void *context, const struct tide_finding *finding)
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

void life_healthy(uint64_t seed, bool large, unsigned operations)
{
    struct life life = {.random = seed,
                        .operations = operations,
                        .snapshot_after = 5,
                        .large = large,
                        .compact_every = 10,
                        .healthy = true};
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

/* `round`: the same calls, and other pages and names that the machine's stop takes. */
static uint64_t sweep_run(const struct sweep *sweep, unsigned operations, unsigned round)
{
    for (uint64_t at = 1;; at++) {
        snprintf(what, sizeof what, "sweep, %s, round %u, call %" PRIu64, sweep->name, round, at);
        model_reset(&model);
        disk_create(at * 31 + sweep->fault.kind + round * 1000003);
        struct fault fault = sweep->fault;
        fault.at = at;
        disk_fault(&fault);
        hash_chain = sweep->hash_chain;
        struct life life = {.random = 7,
                            .operations = operations / 2,
                            .snapshot_after = 19,
                            .large = true,
                            .compact_every = operations / 5};
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
            life_healthy(at + 2, false, 4); /* no snapshot: it would sync the directory */
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

enum { ROUNDS = 6 };

static void log_size(void *context, const char *path, uint64_t bytes)
{
    if (strcmp(path, "/data/blog/events.raftlog") == 0)
        *(uint64_t *)context = bytes;
}

enum { END_MARK_BYTES = 48 };

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
    double start = now();
    uint64_t points = 0;
    for (size_t i = 0; i < sizeof sweeps / sizeof sweeps[0]; i++) {
        uint64_t calls = sweep_run(&sweeps[i], sweeps[i].hash_chain ? operations / 2 : operations, 0);
        printf("%-32s at each of %" PRIu64 " calls\n", sweeps[i].name, calls);
        fflush(stdout);
        points += calls;
        /* What a failed opening leaves is lost or kept as the machine's stop likes: so that one is tried often. */
        for (unsigned round = 1; sweeps[i].opened_again && !sweeps[i].hash_chain && round <= ROUNDS; round++)
            points += sweep_run(&sweeps[i], 2, round);
    }
    printf("crashtest sweep: %" PRIu64 " fault points, all as they must be, in %.1f s (%" PRIu64 " snapshots, %" PRIu64
           " openings began with one)\n",
           points, now() - start, snapshots_taken, snapshots_begun_with);
    if (snapshots_begun_with == 0)
        die("no opening began with a snapshot");
}

/* ---- Bits that flip at rest ---- */

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

enum { WRITERS = THREADS_WRITERS, READERS = 2 };

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

unsigned threads_run(unsigned operations, uint64_t capacity)
{
    struct tide_options options = {.batch_size = 16};
    struct tide_error error;
    pthread_t threads[WRITERS + READERS];
    uint64_t before[MODEL_IDS], after[MODEL_IDS];
    snprintf(what, sizeof what, "threads, capacity %" PRIu64, capacity);
    writes_each = operations;
    atomic_store(&writers_done, false);
    atomic_store(&refusals, 0);
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
    return atomic_load(&refusals);
}

static void threads_all(unsigned operations)
{
    threads_run(operations * 1000, 0);
    printf("crashtest threads: %u writes of %d threads, the log is the map\n", writes_each * WRITERS, WRITERS);
}

/* ---- At random ---- */

struct victim {
    char path[100];
    uint64_t bytes;
    unsigned skip; /* files before it */
};

static void victim_visit(void *context, const char *path, uint64_t bytes)
{
    struct victim *victim = context;
    if (victim->path[0] || victim->skip-- > 0)
        return;
    snprintf(victim->path, sizeof victim->path, "%s", path);
    victim->bytes = bytes;
}

enum flip { FLIP_NONE, FLIP_MAY_PASS, FLIP_MUST_BE_REFUSED };

/* Flips a bit of some file, if there is one with bytes. `clean`: the log was closed behind an event, so that all of it
 * is known to be durable, and only the end mark itself may be taken for a torn tail. */
static enum flip flip_somewhere(uint64_t *random, bool clean)
{
    struct victim victim = {.skip = (unsigned)random_below(random, 4)};
    disk_files(victim_visit, &victim);
    if (victim.bytes == 0)
        return FLIP_NONE;
    uint64_t offset = random_below(random, victim.bytes);
    bool active = strcmp(victim.path, "/data/blog/events.raftlog") == 0, sealed = strstr(victim.path, "events-");
    disk_flip(victim.path, offset, (unsigned)random_below(random, 8));
    if (sealed || (clean && active && offset + END_MARK_BYTES < victim.bytes))
        return FLIP_MUST_BE_REFUSED;
    if (!clean)
        model.acknowledged = 0; /* nothing in the log says of its last frames that they were durable: they may be cut */
    return FLIP_MAY_PASS;
}

/* Whether verify tells of the flip. */
static bool flip_is_told(void)
{
    struct tide_report report;
    struct tide_error error;
    enum tide_status status = tide_verify(directory, &report, NULL, NULL, NULL, &error);
    if (status == TIDE_NOT_FOUND)
        return false; /* there is no log yet */
    if (status == TIDE_INVALID)
        return true; /* of another format version, as far as one can see */
    if (status != TIDE_OK)
        die("after a flip it cannot be verified: %s", error.message);
    return report.damages > 0 || report.snapshots_bad > 0 || report.torn;
}

/* After a flip: opening refuses, or cuts what no watermark covers, or begins with a snapshot and doesn't look at what
 * lies before it: then the documents are right, and verify tells. Never are there other events than were accepted. What
 * was refused can be repaired. Returns whether it opened and all of it can be read. */
static bool flipped_open(enum flip flip)
{
    struct tide_engine *engine;
    struct tide_error error = {.message = ""};
    struct tide_report report;
    bool told = flip_is_told(), unreadable = false;
    flipped = true;
    enum tide_status status = tide_open(directory, NULL, &engine, &error);
    if (status == TIDE_OK) {
        struct tide_stats stats;
        tide_stats(engine, &stats);
        bool looked_past = stats.recovered_snapshot_seq > 0;
        if (flip == FLIP_MUST_BE_REFUSED && !(looked_past && told))
            die("a flip was passed over");
        const char *wrong = model_compare(&model, engine, tide_collection(engine, "articles", 8, NULL));
        unreadable = wrong && looked_past && told && strcmp(wrong, model_log_unreadable) == 0;
        if (wrong && !unreadable)
            die("after a flip: %s", wrong);
    } else if (status != TIDE_CORRUPT && status != TIDE_INVALID) {
        die("after a flip it is refused for another reason: %s", error.message);
    } else {
        enum tide_status repaired = tide_repair(directory, &report, NULL, NULL, NULL, &error);
        if (status == TIDE_INVALID && repaired != TIDE_OK)
            return false; /* of another format version, as far as one can see: nothing to repair */
        if (repaired != TIDE_OK || tide_open(directory, NULL, &engine, &error) != TIDE_OK)
            die("after a flip it cannot be repaired: %s", error.message);
    }
    if (tide_close(engine, &error) != TIDE_OK)
        die("closing failed: %s", error.message);
    check_left_over();
    return status == TIDE_OK && !unreadable;
}

static void random_run(uint64_t seed)
{
    uint64_t random = seed;
    snprintf(what, sizeof what, "random --seed %" PRIu64, seed);
    model_reset(&model);
    flipped = false;
    hash_chain = seed % 3 == 0;
    disk_create(random_next(&random));
    if (random_below(&random, 2)) {
        struct nuisance nuisance = {.interrupted = (unsigned)random_below(&random, 30),
                                    .cut_short = (unsigned)random_below(&random, 200),
                                    .slow = (unsigned)random_below(&random, 4)};
        disk_nuisance(&nuisance);
    }
    unsigned lives = 1 + (unsigned)random_below(&random, 6);
    for (unsigned i = 0; i < lives; i++) {
        struct fault fault = {.kind = random_below(&random, 2) ? FAULT_CRASH : FAULT_ERROR,
                              .at = disk_calls() + 1 + random_below(&random, random_below(&random, 2) ? 40 : 600),
                              .chance = random_below(&random, 3) ? 0 : 1 + (unsigned)random_below(&random, 200),
                              .for_good = random_below(&random, 2),
                              .error = random_below(&random, 3) ? EIO : ENOSPC};
        struct life life = {.random = random_next(&random),
                            .operations = (unsigned)random_below(&random, 200),
                            .snapshot_after = (unsigned)random_below(&random, 40),
                            .large = random_below(&random, 3) == 0,
                            .compact_every = random_below(&random, 4) ? 8 + (unsigned)random_below(&random, 60) : 0};
        disk_fault(&fault);
        bool clean = life_run(&life) && life.operations > 0;
        disk_fault(&(struct fault){0});
        if (random_below(&random, 3) > 0) {
            disk_crash();
            clean = false; /* the cut of what was preallocated may be lost, and a flip may fall behind the mark */
        }
        disk_restart();
        enum flip flip = random_below(&random, 8) == 0 ? flip_somewhere(&random, clean) : FLIP_NONE;
        if (flip != FLIP_NONE && !flipped_open(flip)) {
            disk_destroy(); /* what a repair has cut out the model does not know */
            return;
        }
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

static void random_from(uint64_t first, uint64_t runs)
{
    double start = now();
    for (uint64_t i = 0; i < runs; i++)
        random_run(first + i);
    printf("crashtest random: %" PRIu64 " runs, seeds from %" PRIu64 ", all as they must be, in %.1f s\n", runs, first,
           now() - start);
}

int main(int argc, char **argv)
{
    double seconds = 120;
    unsigned operations = 120, every = 1;
    uint64_t seed = 0, runs = 1;
    for (int i = 2; i < argc; i += 2) {
        const char *value = i + 1 < argc ? argv[i + 1] : "";
        if (strcmp(argv[i], "--seconds") == 0)
            seconds = atof(value);
        else if (strcmp(argv[i], "--operations") == 0)
            operations = (unsigned)atoi(value);
        else if (strcmp(argv[i], "--every") == 0)
            every = atoi(value) > 0 ? (unsigned)atoi(value) : 1;
        else if (strcmp(argv[i], "--seed") == 0)
            seed = strtoull(value, NULL, 10);
        else if (strcmp(argv[i], "--runs") == 0)
            runs = strtoull(value, NULL, 10);
        else
            argc = 0;
    }
    threads_before = threads_at_rest();
    mallopt(M_MMAP_THRESHOLD, 32 << 20); /* a disk and its buffers thousands of times: keep their memory */
    mallopt(M_TRIM_THRESHOLD, 1 << 30);
    if (argc >= 2 && strcmp(argv[1], "sweep") == 0) {
        sweep_all(operations);
    } else if (argc >= 2 && strcmp(argv[1], "flips") == 0) {
        flips_all();
    } else if (argc >= 2 && strcmp(argv[1], "steps") == 0) {
        steps_all(operations);
    } else if (argc >= 2 && strcmp(argv[1], "repairs") == 0) {
        repairs_all(every);
    } else if (argc >= 2 && strcmp(argv[1], "threads") == 0) {
        threads_all(operations);
    } else if (argc >= 2 && strcmp(argv[1], "backup") == 0) {
        backup_all(every);
    } else if (argc >= 2 && strcmp(argv[1], "full") == 0) {
        full_all(every);
    } else if (argc >= 2 && strcmp(argv[1], "marks") == 0) {
        marks_all(every);
    } else if (argc >= 2 && strcmp(argv[1], "random") == 0) {
        if (seed)
            random_from(seed, runs);
        else
            random_for(seconds);
    } else {
        fputs(usage, stderr);
        return 2;
    }
    return 0;
}
