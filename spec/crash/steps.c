/* steps.c - crashtest steps: the writer is stopped at each of its calls on files, and meanwhile the callers go on.
 *
 * A fixed workload runs until the writer thread makes its n-th call, in which it is held (disk_hold). Nothing can be
 * written any more, but everything else must work: events are accepted, read back, and waited for with timeouts. Then
 * the machine stops there, or at the writer's next call, or the writer goes on and the database is closed; and the log
 * must be what the model says. So every order of the writer's steps against a crash is tried, and those of the callers'
 * steps in between. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "crashtest.h"
#include "random.h"

enum ending { STOPS_THERE, STOPS_AT_THE_NEXT_CALL, GOES_ON, ENDINGS };

static const char *const ending_names[] = {"the machine stops there", "the machine stops at the next call",
                                           "the writer goes on"};

enum { ACCEPTED_MAX = 12, FLUSH_EVERY = 4 };

/* Flushes, unless the writer is held meanwhile. */
static void flush_unless_held(struct life *life)
{
    struct tide_error error;
    enum tide_status status = TIDE_TIMEOUT;
    uint64_t reached;
    while (status == TIDE_TIMEOUT && !disk_held())
        status = tide_flush(life->engine, 1, &reached, &error);
    if (status == TIDE_OK)
        model.acknowledged = reached;
    else if (status != TIDE_TIMEOUT)
        die("a flush failed without a reason: %s", error.message);
}

static void reads_agree(struct life *life)
{
    char id[16];
    struct tide_view view;
    tide_read_begin(life->engine);
    for (unsigned i = 0; i < MODEL_IDS; i++) {
        tide_get(life->collection, id, model_id(i, id), &view);
        if (view.version != model.versions[i])
            die("while the writer stands, version %" PRIu64 " is read instead of %" PRIu64, view.version,
                model.versions[i]);
    }
    tide_read_end(life->engine);
}

/* What callers do while the writer stands: all of it works, and nothing becomes durable. */
static void callers_go_on(struct life *life, uint64_t *random)
{
    struct tide_watermarks before, after;
    struct tide_error error;
    tide_watermarks(life->engine, &before);
    life->large = false; /* for more than the log has space for, writes would wait for the writer */
    for (uint64_t left = random_below(random, ACCEPTED_MAX + 1); left > 0; left--) {
        if (!operate(life))
            die("nothing is accepted while the writer stands");
        reads_agree(life);
    }
    tide_watermarks(life->engine, &after);
    if (after.accepted != model.accepted || after.written != before.written || after.durable != before.durable)
        die("watermarks move while the writer stands");
    if (after.accepted > after.durable) {
        uint64_t wait_ms = random_below(random, 2) ? 1 : TIDE_NO_WAIT;
        if (tide_flush(life->engine, wait_ms, NULL, &error) != TIDE_TIMEOUT ||
            tide_wait(life->engine, after.accepted, TIDE_LEVEL_DURABLE, wait_ms, &error) != TIDE_TIMEOUT)
            die("a wait does not end in time while the writer stands");
    }
}

/* Ends the life; a failure is explained by the machine's stop alone. */
static void life_close(struct life *life)
{
    struct tide_error error;
    enum tide_status status = tide_close(life->engine, &error);
    if (status == TIDE_OK)
        model.acknowledged = model.accepted;
    else if (!(disk_struck() && fault_explains(status)))
        die("closing failed without a reason: %s", error.message);
    check_left_over();
}

/* One point. Returns whether the writer came to its n-th call. */
static bool step_run(uint64_t nth, enum ending ending, unsigned operations)
{
    snprintf(what, sizeof what, "steps, %s, the writer's call %" PRIu64, ending_names[ending], nth);
    uint64_t random = nth * ENDINGS + ending;
    model_reset(&model);
    disk_create(random);
    struct life life = {.random = 11, .large = true, .accept_only = true};
    if (!life_begin(&life))
        die("it does not open");
    disk_hold(nth);
    for (unsigned i = 0; i < operations && !disk_held(); i++) {
        operate(&life);
        if (i % FLUSH_EVERY == 0)
            flush_unless_held(&life);
    }
    flush_unless_held(&life);
    bool held = disk_held();
    disk_hold(0);
    if (held) {
        callers_go_on(&life, &random);
        if (ending == STOPS_THERE)
            disk_crash();
        else if (ending == STOPS_AT_THE_NEXT_CALL) /* the one that is held is the first behind those counted */
            disk_fault(&(struct fault){.kind = FAULT_CRASH, .at = disk_calls() + 2});
        disk_release();
    }
    life_close(&life);
    if (disk_struck() || ending != GOES_ON) {
        disk_crash();
        disk_restart();
    }
    life_healthy(nth, false, 8);
    life_healthy(nth + 1, false, 2);
    disk_destroy();
    return held;
}

void steps_all(unsigned operations)
{
    uint64_t points = 0;
    double start = now();
    for (enum ending ending = 0; ending < ENDINGS; ending++) {
        uint64_t calls = 0;
        while (step_run(calls + 1, ending, operations))
            calls++;
        printf("%-36s at each of %" PRIu64 " calls of the writer\n", ending_names[ending], calls);
        fflush(stdout);
        points += calls;
    }
    printf("crashtest steps: %" PRIu64 " points, all as they must be, in %.1f s\n", points, now() - start);
}
