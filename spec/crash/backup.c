/* backup.c - crashtest backup: backups and restores with a fault at each of their calls on files.
 *
 * The database is filled and compacted, backed up, filled on, backed up again into the same directory. Wherever in a
 * backup a fault comes, the source is what the model says, and of the backup one of these is true: it was never begun;
 * verify calls it incomplete, and then no run had succeeded, or the source was compacted since; or it is whole, holds
 * at least what the last successful run had told, and a restore of it is the model as of its last seq. A run without a
 * fault then makes it whole, whatever was there.
 *
 * restore: the directory is absent or whole, and another run makes it. */
#include "crashtest.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "disk.h"

static const char target[] = "/backup/blog";

enum { OPERATIONS = 40 };

static struct model copy;
static unsigned restored; /* directories made so far */
static bool compacts;     /* this time compactions come between: then segments of the backup have to be replaced */

/* Opens the database at `path` and compares it with the model as of `seq`. */
static void compare(const char *path, bool read_only, uint64_t seq)
{
    struct tide_options options = {.read_only = read_only};
    struct tide_engine *engine;
    struct tide_error error;
    if (tide_open(path, &options, &engine, &error) != TIDE_OK)
        die("%s does not open: %s", path, error.message);
    copy = model;
    copy.acknowledged = 0;
    struct tide_watermarks watermarks;
    tide_watermarks(engine, &watermarks);
    if (watermarks.accepted != seq)
        die("%s ends with seq %" PRIu64 ", expected %" PRIu64, path, watermarks.accepted, seq);
    const char *wrong = model_compare(&copy, engine, tide_collection(engine, "articles", 8, NULL));
    if (wrong)
        die("%s: %s", path, wrong);
    if (tide_close(engine, &error) != TIDE_OK)
        die("%s does not close: %s", path, error.message);
    struct tide_report report;
    if (tide_verify_chain(path, NULL, &report, chain_finding, NULL, NULL, &error) != TIDE_OK)
        die("the chain of %s cannot be verified: %s", path, error.message);
    if (report.frames > 0 && report.chained != hash_chain)
        die("%s is%s chained", path, report.chained ? "" : " not");
}

/* Restores up to `to_seq` (0: all) into a new directory, and compares. */
static void restore_and_compare(uint64_t to_seq, uint64_t seq)
{
    char path[40];
    struct tide_restore_options options = {.to_seq = to_seq};
    struct tide_restore_result result;
    struct tide_error error;
    snprintf(path, sizeof path, "/restored/%u", ++restored);
    enum tide_status status = tide_restore(target, path, &options, &result, NULL, NULL, &error);
    if (status == TIDE_INVALID && to_seq > 0 && strstr(error.message, "was compacted"))
        return;
    if (status != TIDE_OK)
        die("it cannot be restored: %s", error.message);
    if (result.seq != seq)
        die("seq %" PRIu64 " was restored, expected %" PRIu64, result.seq, seq);
    compare(path, false, seq);
}

static void file_check(void *context, const char *path, uint64_t bytes)
{
    (void)context;
    (void)bytes;
    size_t length = strlen(path);
    if (strstr(path, ".restoring") || (length > 4 && strcmp(path + length - 4, ".tmp") == 0))
        die("%s is left over", path);
}

/* What the fault has left; `told`: the seq that the last successful run has told, 0 without one. Whether it is whole;
 * *last_seq: as of which. */
static bool target_judge(uint64_t told, uint64_t *last_seq)
{
    struct tide_report report;
    struct tide_error error;
    enum tide_status status = tide_verify(target, &report, NULL, NULL, NULL, &error);
    if (status == TIDE_NOT_FOUND && told == 0)
        return false;
    if (status != TIDE_OK)
        die("the backup cannot be verified: %s", error.message);
    if (report.in_use)
        die("the backup is still locked");
    if (report.incomplete && (told == 0 || compacts))
        return false;
    if (report.incomplete || report.damages > 0 || report.torn)
        die("a backup that was whole is not any more");
    if (report.last_seq < told)
        die("the backup ends with seq %" PRIu64 ", %" PRIu64 " was told", report.last_seq, told);
    *last_seq = report.last_seq;
    return true;
}

/* Backs the open database up, as far as a fault lets it. *told gets the seq. */
static void back_up(struct life *life, uint64_t *told)
{
    struct tide_backup_result result;
    struct tide_error error;
    uint64_t accepted = model.accepted;
    enum tide_status status = tide_backup(life->engine, target, &result, NULL, NULL, &error);
    if (status != TIDE_OK) {
        if (!disk_struck() || !fault_explains(status))
            die("the backup failed without a reason: %s", error.message);
        return;
    }
    if (result.seq != accepted)
        die("the backup holds seq %" PRIu64 " of %" PRIu64, result.seq, accepted);
    model.acknowledged = accepted; /* a backup is never ahead of what is durable */
    *told = result.seq;
}

/* The workload, with the fault at call `at` of its backup number `which` (0: none). Whether the fault has come. */
static bool workload(unsigned which, uint64_t at, const struct fault *planned, uint64_t *told)
{
    struct life life = {.random = 11, .operations = OPERATIONS, .large = true, .compact_every = compacts ? 15 : 0};
    *told = 0;
    if (!life_begin(&life))
        die("it does not begin");
    bool whole = life_operate(&life);
    for (unsigned i = 1; i <= 2 && whole; i++) {
        struct fault fault = *planned;
        fault.at = disk_calls() + at;
        if (i == which)
            disk_fault(&fault);
        back_up(&life, told);
        if (i == which && !disk_struck()) /* it has fewer calls, or this one cannot fail so */
            disk_fault(&(struct fault){0});
        whole = i == 2 || life_operate(&life);
    }
    bool struck = disk_struck();
    if (!(life_end(&life) && whole) && !struck)
        die("it failed without a fault");
    return struck;
}

/* Looks at what the fault has left; whether there is a whole backup, which then can be read and restored. */
static bool judge(uint64_t told)
{
    uint64_t last_seq;
    if (!target_judge(told, &last_seq))
        return false;
    compare(target, true, last_seq);
    restore_and_compare(0, last_seq);
    return true;
}

/* Without faults: the source is whole, and so is the backup after another run. */
static void recover(uint64_t seed)
{
    uint64_t told = 0, last_seq;
    struct life life = {.random = seed, .operations = 5, .large = true, .compact_every = compacts ? 3 : 0};
    if (!life_begin(&life))
        die("the source does not open");
    if (!life_operate(&life))
        die("the source does not take writes");
    back_up(&life, &told);
    if (!life_end(&life) || told == 0)
        die("the source was not whole");
    if (!target_judge(told, &last_seq) || last_seq != told)
        die("a backup without faults is not whole");
    uint64_t to_seq = seed % 2 ? told / 2 : 0;
    restore_and_compare(to_seq, to_seq ? to_seq : told);
    disk_files(file_check, NULL);
}

struct sweep {
    const char *name;
    struct fault fault;
    bool stops; /* afterwards, before anybody looks */
};

static const struct sweep sweeps[] = {
    {"the machine stops", {.kind = FAULT_CRASH}, true},
    {"the machine stops, once more", {.kind = FAULT_CRASH}, true}, /* and keeps something else */
    {"EIO once", {.kind = FAULT_ERROR, .error = EIO}, false},
    {"EIO once, the machine stops", {.kind = FAULT_ERROR, .error = EIO}, true},
    {"ENOSPC for good", {.kind = FAULT_ERROR, .error = ENOSPC, .for_good = true}, false},
};

static void start(const struct sweep *sweep, const char *part, uint64_t at, uint64_t seed)
{
    snprintf(what, sizeof what, "backup, %s, %s, call %" PRIu64, part, sweep->name, at);
    model_reset(&model);
    restored = 0;
    compacts = at * 2654435761u >> 8 & 1;
    hash_chain = seed % 2;
    disk_create(at * 37 + (uint64_t)(sweep - sweeps) * 1000003);
}

static void stop(const struct sweep *sweep)
{
    disk_fault(&(struct fault){0});
    if (!sweep->stops)
        return;
    disk_crash();
    disk_restart();
}

/* Returns at how many calls of backup number `which` the fault came. */
static uint64_t backup_sweep(const struct sweep *sweep, unsigned which, unsigned every, uint64_t *incomplete)
{
    enum { WITHOUT_MAX = 20 }; /* calls in a row that cannot fail so: behind the last one */
    uint64_t points = 0, without = 0;
    for (uint64_t at = 1; without < WITHOUT_MAX; at += every) {
        start(sweep, which == 1 ? "first" : "second", at, at / every);
        uint64_t told;
        bool struck = workload(which, at, &sweep->fault, &told);
        without = struck ? 0 : without + every;
        if (struck) {
            stop(sweep);
            points++;
            *incomplete += !judge(told);
            recover(at);
        }
        disk_destroy();
    }
    return points;
}

static uint64_t restore_sweep(const struct sweep *sweep, unsigned every)
{
    static const char path[] = "/there/blog";
    uint64_t points = 0;
    for (uint64_t at = 1;; at += every) {
        start(sweep, "restoring", at, at / every);
        uint64_t told;
        workload(0, 0, &sweep->fault, &told);
        struct fault fault = sweep->fault;
        uint64_t before = disk_calls();
        fault.at = before + at;
        disk_fault(&fault);
        struct tide_restore_options options = {.to_seq = at % 2 ? told - 3 : 0};
        uint64_t seq = options.to_seq ? options.to_seq : told;
        struct tide_restore_result result;
        struct tide_error error;
        enum tide_status status = tide_restore(target, path, &options, &result, NULL, NULL, &error);
        bool last = disk_calls() < fault.at;
        if (status != TIDE_OK && !(disk_struck() && fault_explains(status)))
            die("the restore failed without a reason: %s", error.message);
        check_left_over();
        stop(sweep);
        struct file_status found;
        bool there = file_stat(path, &found) == 0;
        if (!there && status == TIDE_OK)
            die("what was restored is gone");
        if (!there && tide_restore(target, path, &options, &result, NULL, NULL, &error) != TIDE_OK)
            die("it cannot be restored again: %s", error.message);
        compare(path, false, seq);
        disk_files(file_check, NULL);
        uint64_t last_seq;
        if (!target_judge(told, &last_seq) || last_seq != told)
            die("the backup was touched");
        disk_destroy();
        if (last)
            return points;
        points++;
    }
}

void backup_all(unsigned every)
{
    uint64_t points = 0, incomplete = 0;
    double begin = now();
    for (size_t i = 0; i < sizeof sweeps / sizeof sweeps[0]; i++) {
        uint64_t first = backup_sweep(&sweeps[i], 1, every, &incomplete);
        uint64_t second = backup_sweep(&sweeps[i], 2, every, &incomplete);
        uint64_t restoring = restore_sweep(&sweeps[i], every);
        printf("%-30s at %" PRIu64 " calls of a backup, %" PRIu64 " of the next, %" PRIu64 " of a restore\n",
               sweeps[i].name, first, second, restoring);
        fflush(stdout);
        points += first + second + restoring;
    }
    hash_chain = false;
    printf("crashtest backup: %" PRIu64 " fault points, %" PRIu64
           " backups absent or incomplete, all others whole, in %.1f s\n",
           points, incomplete, now() - begin);
}
