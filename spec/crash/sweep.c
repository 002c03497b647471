/* sweep.c - crashtest sweep: a fixed workload, again and again, with a fault at its first call on files, its second,
 * and so on to the last: the machine stops; the call fails once; it fails from then on; the disk is full from then on.
 * After the failures, too, the machine stops. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "crashtest.h"

struct sweep {
    const char *name;
    struct fault fault;
    bool opened_again; /* before the machine stops: what opening finds may be in the page cache alone */
    bool hash_chain;
};

/* `round`: the same calls, and other pages and names that the machine's stop takes; of every `every` calls one, in each
 * round another. Returns how many fault points that were. */
static uint64_t sweep_run(const struct sweep *sweep, unsigned operations, unsigned round, unsigned every)
{
    uint64_t points = 0;
    for (uint64_t at = 1 + round % every;; at += every) {
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
            return points;
        points++;
    }
}

enum { ROUNDS = 6 };

void sweep_all(unsigned operations, unsigned every, const char *only)
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
        if (only && strcmp(sweeps[i].name, only) != 0)
            continue;
        uint64_t calls = sweep_run(&sweeps[i], sweeps[i].hash_chain ? operations / 2 : operations, 0, every);
        printf("%-32s at %" PRIu64 " calls, one of %u\n", sweeps[i].name, calls, every);
        fflush(stdout);
        points += calls;
        /* What a failed opening leaves is lost or kept as the machine's stop likes: so that one is tried often. */
        for (unsigned round = 1; sweeps[i].opened_again && !sweeps[i].hash_chain && round <= ROUNDS; round++)
            points += sweep_run(&sweeps[i], 2, round, every);
    }
    if (points == 0) {
        snprintf(what, sizeof what, "sweep, %s", only);
        die("there is no fault of that name");
    }
    printf("crashtest sweep: %" PRIu64 " fault points, all as they must be, in %.1f s (%" PRIu64 " snapshots, %" PRIu64
           " openings began with one)\n",
           points, now() - start, snapshots_taken, snapshots_begun_with);
    if (snapshots_begun_with == 0)
        die("no opening began with a snapshot");
}
