/* runs.c - crashtest random: workloads, faults, nuisances and flips from a seed, for as long as asked. Each failure
 * names its seed, and `crashtest random --seed N` does it again. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "crashtest.h"
#include "random.h"

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

void random_for(double seconds)
{
    uint64_t first = (uint64_t)time(NULL) * 1000003, runs = 0;
    double start = now();
    printf("crashtest random: seeds from %" PRIu64 "\n", first);
    fflush(stdout);
    while (now() - start < seconds)
        random_run(first + runs++);
    printf("%" PRIu64 " passed, 0 failed (runs of crashtest random, %.0f s)\n", runs, now() - start);
}

void random_from(uint64_t first, uint64_t runs)
{
    double start = now();
    for (uint64_t i = 0; i < runs; i++)
        random_run(first + i);
    printf("crashtest random: %" PRIu64 " runs, seeds from %" PRIu64 ", all as they must be, in %.1f s\n", runs, first,
           now() - start);
}
