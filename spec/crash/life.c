/* life.c - lives of a database on the simulated disk, beside the model. */
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "crashtest.h"
#include "random.h"

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

void lives_begin(void)
{
    threads_before = threads_at_rest();
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

uint64_t snapshots_taken, snapshots_begun_with;

bool fault_explains(enum tide_status status)
{
    return status == TIDE_IO || status == TIDE_FULL || status == TIDE_FAILED || status == TIDE_CLOSED;
}

bool flipped;

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

/* A write of a version that the document does not have: refused, and nobody waits for a seq that nobody fills. */
static void write_refused(struct life *life, unsigned id)
{
    char text[16];
    struct tide_write write = {.operation = TIDE_PUT,
                               .durability = TIDE_ACCEPTED,
                               .if_version = model.accepted + 1,
                               .id = text,
                               .id_length = model_id(id, text),
                               .value = "{}",
                               .value_length = 2};
    struct tide_written written;
    struct tide_error error = {.message = ""};
    enum tide_status status = tide_write(life->collection, &write, &written, &error);
    if (status != TIDE_CONFLICT && !(status == TIDE_FULL && may_be_full) && !(disk_struck() && fault_explains(status)))
        die("a write of another version is not refused for that: %s", error.message);
    struct tide_watermarks watermarks;
    tide_watermarks(life->engine, &watermarks);
    if (watermarks.accepted != model.accepted)
        die("a write that was refused takes a place: accepted %" PRIu64 " instead of %" PRIu64, watermarks.accepted,
            model.accepted);
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
    if (status == TIDE_OK && dice % 8 == 0)
        write_refused(life, id);
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
