/* full.c - `crashtest full`: disks of many sizes, from too small for anything up, are filled until writes are refused.
 * What was accepted becomes durable and can be read, closing works, and so does opening on the full disk. Once there is
 * room, writes go on by themselves. The same with writers at the same time. */
#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#include "crashtest.h"
#include "random.h"

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

static unsigned snapshots_while_full;

/* A snapshot and a backup on the same disk: they may find no space, but all of it that they take and don't need in the
 * end they give back, and the engine goes on. */
static void copies_try(struct life *life, bool room)
{
    static const char target[] = "/backup/blog";
    struct tide_backup_result result;
    struct tide_report report;
    struct tide_error error = {.message = ""};
    struct tide_stats before, after;
    tide_stats(life->engine, &before);
    bool full = tide_health(life->engine, NULL) == TIDE_FULL;
    snapshot_take(life);
    tide_stats(life->engine, &after);
    snapshots_while_full += full && after.snapshots > before.snapshots;
    enum tide_status status = tide_backup(life->engine, target, &result, NULL, NULL, &error);
    if (status != TIDE_OK && (status != TIDE_FULL || room))
        die("a backup failed without a reason: %s", error.message);
    if (status == TIDE_OK)
        model.acknowledged = model.accepted;
    enum tide_status health = tide_health(life->engine, &error);
    if (health != TIDE_OK && health != TIDE_FULL)
        die("the engine has failed with them: %s", error.message);
    if (status == TIDE_OK &&
        (tide_verify_chain(target, NULL, &report, chain_finding, NULL, NULL, NULL) != TIDE_OK || report.incomplete))
        die("the backup is not whole");
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
    copies_try(&life, false);
    check_accepted(&life);
    room_made(&life, capacity + ROOM_BYTES);
    disk_capacity(capacity); /* less than there is now */
    fill(&life, operations / 4, 3);
    life_closed(&life);
    if (!life_begin(&life)) /* on a full disk */
        die("it did not open again");
    fill(&life, 20, 3);
    check_accepted(&life);
    copies_try(&life, false);
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
    if (!life_begin(&life))
        die("it did not open with room");
    copies_try(&life, true);
    life_closed(&life);
    life_healthy(capacity, false, 12);
    disk_destroy();
    return true;
}

void full_all(unsigned every)
{
    unsigned disks = 0, crowds = 0, writes = 0, number = 0;
    double start = now();
    may_be_full = true;
    for (uint64_t pages = 1; pages < 1200; pages += 1 + pages / 5)
        if (number++ % every == 0)
            disks += full_run(pages * 4096, 8000);
    for (uint64_t pages = 300; pages <= 4800; pages *= 2) {
        if (number++ % every != 0)
            continue;
        unsigned each = ((unsigned)pages / 200 + 2) * 1000, refused = threads_run(each, pages * 4096);
        if (refused == 0)
            die("the disk did not get full");
        writes += each * THREADS_WRITERS - refused;
        crowds++;
    }
    may_be_full = hash_chain = false;
    if (snapshots_while_full == 0)
        die("no snapshot was made though it would have fitted");
    printf("crashtest full: %u disks of all sizes filled, and %u by %d threads with %u writes; %u snapshots all the "
           "same, in %.1f s\n",
           disks, crowds, THREADS_WRITERS, writes, snapshots_while_full, now() - start);
}
