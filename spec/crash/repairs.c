/* repairs.c - crashtest repairs: a damaged log, and a fault at each call on files of its verify and its repair.
 *
 * The machine stops, or a call fails once or from then on, or the disk is full. The damage is the same each time, and
 * so is what a repair without a fault keeps of it; one that was interrupted, and done again, must keep as much, event
 * by event, and have what it cut out in a side file. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "crashtest.h"

enum { DOCUMENTS = 16, VALUE_BYTES = 190000 };

static uint64_t events_good, bytes_damaged; /* as verify sees it before the fault */

struct segments {
    char paths[64][100];
    uint64_t bytes[64], removed_bytes;
    unsigned count;
};

static void segment_visit(void *context, const char *path, uint64_t bytes)
{
    struct segments *segments = context;
    const char *name = strrchr(path, '/') + 1;
    if (strncmp(name, "removed-", 8) == 0)
        segments->removed_bytes += bytes;
    if (strncmp(name, "events", 6) != 0 || segments->count == 64)
        return;
    snprintf(segments->paths[segments->count], sizeof segments->paths[0], "%s", path);
    segments->bytes[segments->count++] = bytes;
}

static void finding_add(void *context, const struct tide_finding *finding)
{
    (void)context;
    bytes_damaged += finding->bytes;
}

static void documents_write(void)
{
    static char value[VALUE_BYTES];
    struct life life = {.random = 13};
    struct tide_error error = {.message = ""};
    if (!life_begin(&life))
        die("it does not open");
    for (unsigned i = 0; i < DOCUMENTS; i++) {
        char text[16];
        struct tide_write write = {.operation = TIDE_PUT,
                                   .durability = TIDE_DURABLE, /* a frame each */
                                   .if_version = TIDE_ANY_VERSION,
                                   .id = text,
                                   .id_length = model_id(i % MODEL_IDS, text),
                                   .value = value,
                                   .value_length = VALUE_BYTES};
        struct tide_written written;
        model_value(i, VALUE_BYTES, value);
        if (tide_write(life.collection, &write, &written, &error) != TIDE_OK)
            die("a write failed: %s", error.message);
        model_accept(&model, written.created ? TIDE_EVENT_CREATED : TIDE_EVENT_UPDATED, i % MODEL_IDS, i, VALUE_BYTES);
    }
    if (tide_close(life.engine, &error) != TIDE_OK)
        die("closing failed: %s", error.message);
}

/* A closed log of several segments with damage in each: in the first one's header, elsewhere in the middle. */
static void damaged_log_make(void)
{
    struct segments segments = {.count = 0};
    model_reset(&model);
    disk_create(5);
    documents_write();
    disk_files(segment_visit, &segments);
    if (segments.count < 3)
        die("there are only %u segments", segments.count);
    for (unsigned i = 0; i < segments.count; i++)
        if (!disk_flip(segments.paths[i], i == 0 ? 20 : segments.bytes[i] / 2, 3))
            die("there is no such byte");
    struct tide_report report;
    bytes_damaged = 0;
    if (tide_verify(directory, &report, finding_add, NULL, NULL, NULL) != TIDE_OK)
        die("it cannot be verified");
    events_good = report.events;
    if (report.damages < segments.count || events_good == 0 || events_good >= model.accepted)
        die("the damage is not what it was to be");
}

/* What is there after a repair: events and gaps in a row from the first seq to the last, each event as it was accepted.
 */
static uint64_t events_check(void)
{
    struct tide_engine *engine;
    struct tide_events *events;
    struct tide_event event;
    struct tide_error error = {.message = ""};
    struct tide_options options = {.pending_bytes_max = 4 << 20};
    if (tide_open(directory, &options, &engine, &error) != TIDE_OK)
        die("it does not open after the repair: %s", error.message);
    if (tide_events_open(engine, NULL, &events, &error) != TIDE_OK)
        die("no events: %s", error.message);
    uint64_t seq = 0, count = 0;
    enum tide_status status;
    static char value[200000];
    while ((status = tide_events_next(events, &event, &error)) == TIDE_OK) {
        if (event.seq != seq + 1 || event.last_seq > model.accepted)
            die("seq %" PRIu64 " comes behind %" PRIu64, event.seq, seq);
        const struct model_event *wanted = &model.events[event.seq];
        seq = event.last_seq;
        if (event.type == TIDE_EVENT_GAP)
            continue;
        model_value(wanted->seed, wanted->length, value);
        if (event.type != wanted->type || event.value_length != (event.value ? wanted->length : 0) ||
            (event.value && memcmp(event.value, value, wanted->length) != 0))
            die("event %" PRIu64 " is another one", event.seq);
        count++;
    }
    if (status != TIDE_NOT_FOUND)
        die("the events cannot be read: %s", error.message);
    tide_events_close(events);
    if (tide_close(engine, &error) != TIDE_OK)
        die("closing failed: %s", error.message);
    check_left_over();
    return count;
}

static void repair_whole(void)
{
    struct tide_report report;
    struct tide_error error = {.message = ""};
    if (tide_repair(directory, &report, NULL, NULL, NULL, &error) != TIDE_OK)
        die("it cannot be repaired: %s", error.message);
    if (tide_verify(directory, &report, NULL, NULL, NULL, &error) != TIDE_OK || report.damages != 0 || report.torn)
        die("it is not whole after the repair: %s", error.message);
    struct segments segments = {.count = 0};
    disk_files(segment_visit, &segments);
    uint64_t count = events_check();
    if (count != events_good)
        die("%" PRIu64 " events are kept, not %" PRIu64, count, events_good);
    if (segments.removed_bytes < bytes_damaged)
        die("the side files hold %" PRIu64 " bytes, not %" PRIu64, segments.removed_bytes, bytes_damaged);
}

static bool explained(enum tide_status status)
{
    return status == TIDE_OK || (disk_struck() && (status == TIDE_IO || status == TIDE_FULL));
}

/* A fault at each call, or each few; returns at how many. */
static uint64_t faults_run(const char *name, const struct fault *kind, unsigned every)
{
    for (uint64_t nth = 1;; nth += every) {
        snprintf(what, sizeof what, "repairs, %s, call %" PRIu64, name, nth);
        struct tide_report report;
        struct tide_error error = {.message = ""};
        damaged_log_make();
        struct fault fault = *kind;
        fault.at = disk_calls() + nth;
        disk_fault(&fault);
        enum tide_status status = tide_verify(directory, &report, NULL, NULL, NULL, &error);
        if (!explained(status) || (status == TIDE_OK && !disk_struck() && report.damages == 0))
            die("verify: %s", status == TIDE_OK ? "nothing found" : error.message);
        status = tide_repair(directory, &report, NULL, NULL, NULL, &error);
        if (!explained(status))
            die("repair: %s", error.message);
        check_left_over();
        bool last = disk_calls() < fault.at;
        disk_fault(&(struct fault){0});
        if (kind->kind == FAULT_CRASH) {
            disk_crash();
            disk_restart();
        }
        repair_whole();
        disk_destroy();
        if (last)
            return (nth - 1) / every;
    }
}

void repairs_all(unsigned every)
{
    static const struct {
        const char *name;
        struct fault fault;
    } faults[] = {
        {"the machine stops", {.kind = FAULT_CRASH}},
        {"EIO once", {.kind = FAULT_ERROR, .error = EIO}},
        {"EIO for good", {.kind = FAULT_ERROR, .error = EIO, .for_good = true}},
        {"ENOSPC for good", {.kind = FAULT_ERROR, .error = ENOSPC, .for_good = true}},
    };
    uint64_t points = 0;
    double start = now();
    snprintf(what, sizeof what, "repairs, without a fault");
    damaged_log_make();
    repair_whole();
    disk_destroy();
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
        uint64_t calls = faults_run(faults[i].name, &faults[i].fault, every);
        printf("%-20s at %" PRIu64 " calls\n", faults[i].name, calls);
        fflush(stdout);
        points += calls;
    }
    printf("crashtest repairs: %" PRIu64 " fault points, all as they must be, in %.1f s\n", points, now() - start);
}
