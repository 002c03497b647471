/* chain_copies_spec.c - the chain of hashes where the log isn't read from its beginning, or is copied: openings that
 * begin with a snapshot know the newest hash; backups and whole restores keep the chain; a restore up to a seq, which
 * makes another database, begins one of its own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <openssl/crypto.h>

#include "directory.h"
#include "tidemark.h"

static char path[80], other[80], backup[80];

enum { LARGE = 200000 }; /* bytes of a document: five fill a segment */

static int paths_make(void **state)
{
    if (directory_make(state) != 0)
        return -1;
    snprintf(path, sizeof path, "%s/db", directory);
    snprintf(other, sizeof other, "%s/other", directory);
    snprintf(backup, sizeof backup, "%s/backup", directory);
    return 0;
}

static int databases_remove(void **state)
{
    (void)state;
    char command[320];
    snprintf(command, sizeof command, "rm -rf '%s' '%s' '%s'", path, other, backup);
    return system(command);
}

static struct tide_engine *opened(const char *at, bool hash_chain)
{
    struct tide_options options = {
        .segment_bytes = TIDE_SEGMENT_BYTES_MIN, .snapshot_log_bytes = TIDE_NO_SNAPSHOTS, .hash_chain = hash_chain};
    struct tide_engine *engine;
    struct tide_error error = {0};
    if (tide_open(at, &options, &engine, &error) != TIDE_OK)
        fail_msg("%s", error.message);
    return engine;
}

static void closed(struct tide_engine *engine)
{
    struct tide_error error = {0};
    if (tide_close(engine, &error) != TIDE_OK)
        fail_msg("%s", error.message);
}

/* The event `seq`, in a frame of its own. */
static void written(struct tide_engine *engine, uint64_t seq, size_t bytes)
{
    static char value[LARGE];
    char id[16];
    memset(value, 'a' + (int)(seq % 26), bytes);
    struct tide_write write = {.operation = TIDE_PUT,
                               .durability = TIDE_DURABLE,
                               .if_version = TIDE_ANY_VERSION,
                               .id = id,
                               .id_length = (size_t)snprintf(id, sizeof id, "%" PRIu64, seq % 7),
                               .value = value,
                               .value_length = bytes};
    struct tide_written result;
    struct tide_error error = {0};
    if (tide_write(tide_collection(engine, "c", 1, NULL), &write, &result, &error) != TIDE_OK)
        fail_msg("%s", error.message);
    assert_int_equal(result.version, seq);
}

static void snapshot_made(struct tide_engine *engine)
{
    struct tide_error error = {0};
    if (tide_snapshot(engine, NULL, &error) != TIDE_OK)
        fail_msg("%s", error.message);
}

static struct tide_chain_head head_of(struct tide_engine *engine)
{
    struct tide_chain_head head = {0};
    assert_int_equal(tide_chain_head(engine, &head, NULL), TIDE_OK);
    return head;
}

static void fail_finding(void *context, const struct tide_finding *finding)
{
    (void)context;
    fail_msg("%s: %s at offset %" PRIu64 " of %s", finding->kind, finding->message, finding->offset, finding->file);
}

/* Verifies the chain, which must be whole; `head` may be NULL. */
static struct tide_report verified(const char *at, const uint8_t *head)
{
    struct tide_report report;
    struct tide_error error = {0};
    if (tide_verify_chain(at, head, &report, fail_finding, NULL, NULL, &error) != TIDE_OK)
        fail_msg("%s", error.message);
    assert_true(report.chained);
    return report;
}

/* ---- Snapshots ---- */

/* Opens a copy of the files as they are now, as after a crash: it knows the same chain, and goes on with it. */
static void copy_compare(struct tide_engine *engine, uint64_t seq, bool with_snapshot)
{
    char command[320];
    struct tide_chain_head head = {0}, found = {0};
    bool begun = tide_chain_head(engine, &head, NULL) == TIDE_OK;
    snprintf(command, sizeof command, "rm -rf '%s' && cp -r '%s' '%s'", other, path, other);
    assert_int_equal(system(command), 0);
    struct tide_engine *copy = opened(other, false);
    struct tide_stats stats;
    tide_stats(copy, &stats);
    assert_int_equal(stats.recovered_snapshot_seq > 0, with_snapshot);
    assert_int_equal(tide_chain_head(copy, &found, NULL) == TIDE_OK, begun);
    assert_int_equal(found.first_seq, head.first_seq);
    assert_int_equal(found.seq, head.seq);
    assert_memory_equal(found.hash, head.hash, sizeof head.hash);
    written(copy, seq + 1, 100);
    assert_int_equal(tide_chain_head(copy, &found, NULL) == TIDE_OK, begun);
    closed(copy);
    if (begun) {
        struct tide_report report = verified(other, head.hash);
        assert_int_equal(report.chain.first_seq, head.first_seq);
        assert_true(report.chain_vouched);
        assert_int_equal(report.chain_vouched_seq, head.seq);
        assert_int_equal(report.chain.seq, seq + 1);
    }
}

/* The place behind the snapshot is tried within segments, at their beginnings and ends; the chain begins before it, at
 * it and behind it. */
static void an_opening_that_begins_with_a_snapshot_knows_the_chain(void **state)
{
    (void)state;
    for (uint64_t unchained = 0; unchained <= 12; unchained += 4)
        for (uint64_t snapshot_seq = 5; snapshot_seq <= 10; snapshot_seq++) {
            databases_remove(NULL);
            struct tide_engine *engine = opened(path, false);
            uint64_t seq = 0;
            bool snapshot = false;
            while (seq < 16) {
                if (seq == unchained) {
                    closed(engine);
                    engine = opened(path, true);
                }
                written(engine, ++seq, LARGE);
                if (seq == snapshot_seq)
                    snapshot_made(engine);
                snapshot |= seq == snapshot_seq;
                if (seq >= snapshot_seq && seq <= snapshot_seq + 3)
                    copy_compare(engine, seq, snapshot);
            }
            closed(engine);
        }
}

/* The machine stopped when a segment had been sealed and nothing was in the next: the newest hash is that of the mark,
 * in a segment that the snapshot covers. */
static void the_mark_of_a_segment_that_is_passed_over_is_the_newest_hash(void **state)
{
    (void)state;
    struct tide_stats stats = {0};
    uint64_t seq = 0;
    struct tide_engine *engine = opened(path, true);
    for (; stats.segments < 2; tide_stats(engine, &stats)) {
        written(engine, ++seq, LARGE);
        if (seq > 1)
            snapshot_made(engine);
    }
    closed(engine);
    char command[320], cut[128];
    snprintf(command, sizeof command, "rm '%s'/snapshot-%020" PRIu64 ".tidesnap", path, seq);
    assert_int_equal(system(command), 0);
    snprintf(cut, sizeof cut, "%s/events.raftlog", path);
    assert_int_equal(truncate(cut, 64), 0);
    struct tide_report report = verified(path, NULL);
    engine = opened(path, false);
    tide_stats(engine, &stats);
    assert_int_equal(stats.recovered_snapshot_seq, seq - 1);
    assert_memory_equal(head_of(engine).hash, report.chain.hash, sizeof report.chain.hash);
    assert_int_equal(head_of(engine).first_seq, 1);
    written(engine, seq, 100);
    closed(engine);
    assert_int_equal(verified(path, report.chain.hash).chain_vouched_seq, seq - 1);
}

/* The snapshot's place is of no use, since a repair has rewritten the segment: the hashes are read from its beginning.
 * The repair is the only place where the chain breaks. */
static void a_place_that_a_repair_has_moved_is_not_gone_by(void **state)
{
    (void)state;
    char file[128];
    struct tide_engine *engine = opened(path, true);
    for (uint64_t seq = 1; seq <= 10; seq++) {
        written(engine, seq, 100);
        if (seq == 5)
            snapshot_made(engine);
    }
    closed(engine);
    snprintf(file, sizeof file, "%s/events.raftlog", path);
    FILE *log = fopen(file, "r+b");
    assert_non_null(log);
    fseek(log, 64 + 2 * 216 + 100, SEEK_SET); /* within the third frame */
    fputc('!', log);
    fclose(log);
    struct tide_report report;
    assert_int_equal(tide_repair(path, &report, NULL, NULL, NULL, NULL), TIDE_OK);
    assert_int_equal(report.missing_events, 1);
    engine = opened(path, false);
    struct tide_stats stats;
    tide_stats(engine, &stats);
    assert_int_equal(stats.recovered_snapshot_seq, 5);
    assert_int_equal(head_of(engine).seq, 10);
    written(engine, 11, 100);
    closed(engine);
    assert_int_equal(tide_verify_chain(path, NULL, &report, NULL, NULL, NULL, NULL), TIDE_OK);
    assert_int_equal(report.chain_breaks, 1);
    assert_int_equal(report.chain.seq, 11);
}

/* ---- Backups and restores ---- */

static struct tide_backup_result backed_up(struct tide_engine *engine)
{
    struct tide_backup_result result;
    struct tide_error error = {0};
    if (tide_backup(engine, backup, &result, NULL, NULL, &error) != TIDE_OK)
        fail_msg("%s", error.message);
    return result;
}

static void restored(const char *from, uint64_t to_seq)
{
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", other);
    assert_int_equal(system(command), 0);
    struct tide_restore_options options = {.to_seq = to_seq};
    struct tide_restore_result result;
    struct tide_error error = {0};
    if (tide_restore(from, other, &options, &result, NULL, NULL, &error) != TIDE_OK)
        fail_msg("%s", error.message);
}

/* Whatever the active segment holds, the mark at a backup's end has the hash that belongs there; sealed segments that
 * are there are known again, by their longer marks; and what is restored goes on with the chain. */
static void a_backup_and_what_is_restored_of_it_are_chained_as_the_source(void **state)
{
    (void)state;
    struct tide_engine *engine = opened(path, true);
    for (uint64_t seq = 1; seq <= 12; seq++) {
        struct tide_stats stats;
        written(engine, seq, LARGE);
        struct tide_chain_head head = head_of(engine);
        tide_stats(engine, &stats);
        uint64_t segments = stats.segments;
        struct tide_backup_result result = backed_up(engine);
        assert_int_equal(result.files, segments);
        assert_true(result.files_copied <= 2); /* the active one, and one that was sealed since */
        struct tide_report report = verified(backup, head.hash);
        assert_true(report.backup && report.clean_close);
        assert_int_equal(report.chain_vouched_seq, seq);
        assert_int_equal(report.chain.first_seq, 1);
        restored(backup, 0);
        struct tide_engine *copy = opened(other, false);
        written(copy, seq + 1, 100);
        closed(copy);
        report = verified(other, head.hash);
        assert_int_equal(report.chain_vouched_seq, seq);
        assert_int_equal(report.chain.seq, seq + 1);
    }
    closed(engine);
}

/* The machine stopped between a sealing and the first frame behind it, or before a close. */
static void a_log_that_was_not_closed_is_copied_with_a_chained_mark(void **state)
{
    (void)state;
    struct tide_stats stats = {0};
    char cut[128];
    uint64_t seq = 0;
    struct tide_engine *engine = opened(path, true);
    for (; stats.segments < 2; tide_stats(engine, &stats))
        written(engine, ++seq, LARGE);
    struct tide_chain_head head = head_of(engine);
    closed(engine);
    snprintf(cut, sizeof cut, "%s/events.raftlog", path);
    restored(path, 0);
    assert_int_equal(verified(other, head.hash).chain_vouched_seq, seq);
    assert_int_equal(truncate(cut, 64), 0);
    restored(path, 0);
    assert_int_equal(verified(other, NULL).chain.seq, seq - 1);
    struct tide_backup_result result;
    struct tide_error error = {0};
    if (tide_backup_directory(path, backup, &result, NULL, NULL, &error) != TIDE_OK)
        fail_msg("%s", error.message);
    assert_int_equal(result.seq, seq - 1);
    assert_int_equal(verified(backup, NULL).chain.seq, seq - 1);
}

/* Another database, with a chain of its own from the same seq on; none of the source's hashes is in it. */
static void a_restore_up_to_a_seq_is_chained_anew(void **state)
{
    (void)state;
    struct tide_chain_head heads[13];
    struct tide_engine *engine = opened(path, false);
    for (uint64_t seq = 1; seq <= 12; seq++) {
        if (seq == 4) {
            closed(engine);
            engine = opened(path, true);
        }
        written(engine, seq, LARGE);
        if (seq >= 4)
            heads[seq] = head_of(engine);
    }
    closed(engine);
    for (uint64_t seq = 1; seq <= 12; seq++) {
        struct tide_report report;
        restored(path, seq);
        if (seq < 4) {
            assert_int_equal(tide_verify_chain(other, NULL, &report, NULL, NULL, NULL, NULL), TIDE_OK);
            assert_false(report.chained);
            continue;
        }
        report = verified(other, heads[seq].hash);
        assert_int_equal(report.chain.first_seq, 4);
        assert_int_equal(report.chain.seq, seq);
        assert_false(report.chain_vouched);
        engine = opened(other, false);
        struct tide_chain_head head = head_of(engine);
        written(engine, seq + 1, 100);
        closed(engine);
        report = verified(other, head.hash);
        assert_int_equal(report.chain_vouched_seq, seq);
        assert_int_equal(report.chain.seq, seq + 1);
    }
}

/* A restore doesn't hide that something was cut out. */
static void a_gap_breaks_the_chain_of_what_is_restored_too(void **state)
{
    (void)state;
    char file[128];
    struct tide_engine *engine = opened(path, true);
    for (uint64_t seq = 1; seq <= 10; seq++)
        written(engine, seq, 100);
    closed(engine);
    snprintf(file, sizeof file, "%s/events.raftlog", path);
    FILE *log = fopen(file, "r+b");
    assert_non_null(log);
    fseek(log, 64 + 2 * 216 + 100, SEEK_SET); /* within the third frame */
    fputc('!', log);
    fclose(log);
    struct tide_report report;
    assert_int_equal(tide_repair(path, &report, NULL, NULL, NULL, NULL), TIDE_OK);
    assert_int_equal(report.missing_events, 1);
    for (uint64_t to_seq = 0; to_seq <= 8; to_seq += 8) {
        restored(path, to_seq);
        assert_int_equal(tide_verify_chain(other, NULL, &report, NULL, NULL, NULL, NULL), TIDE_OK);
        assert_int_equal(report.chain_breaks, 1);
        assert_int_equal(report.chain.seq, to_seq ? to_seq : 10);
    }
}

/* ---- Out of memory ---- */

static atomic_int allocations_left = INT32_MAX; /* of libcrypto, counted by any thread */

static void *scarce_malloc(size_t bytes, const char *file, int line)
{
    (void)file;
    (void)line;
    return atomic_fetch_sub(&allocations_left, 1) > 0 ? malloc(bytes) : NULL;
}

static void *scarce_realloc(void *block, size_t bytes, const char *file, int line)
{
    (void)file;
    (void)line;
    return atomic_fetch_sub(&allocations_left, 1) > 0 ? realloc(block, bytes) : NULL;
}

static void scarce_free(void *block, const char *file, int line)
{
    (void)file;
    (void)line;
    free(block);
}

static enum tide_status backup_tried(struct tide_error *error)
{
    struct tide_backup_result result;
    return tide_backup_directory(path, backup, &result, NULL, NULL, error);
}

static enum tide_status restore_tried(struct tide_error *error)
{
    struct tide_restore_options options = {.to_seq = 3};
    struct tide_restore_result result;
    return tide_restore(path, other, &options, &result, NULL, NULL, error);
}

static enum tide_status whole_restore_tried(struct tide_error *error)
{
    struct tide_restore_result result;
    return tide_restore(path, other, NULL, &result, NULL, NULL, error);
}

static void copies_without_memory_for_sha256_are_refused(void **state)
{
    (void)state;
    static enum tide_status (*const tried[])(struct tide_error * error) = {backup_tried, restore_tried,
                                                                           whole_restore_tried};
    char cut[128];
    struct tide_engine *engine = opened(path, true);
    for (uint64_t seq = 1; seq <= 5; seq++)
        written(engine, seq, 100);
    closed(engine);
    snprintf(cut, sizeof cut, "%s/events.raftlog", path);
    assert_int_equal(truncate(cut, 64 + 5 * 216), 0); /* without its mark, so that each copy makes one */
    for (size_t i = 0; i < sizeof tried / sizeof tried[0]; i++) {
        int failures = 0;
        for (enum tide_status status = TIDE_MEMORY; status != TIDE_OK; failures += status != TIDE_OK) {
            struct tide_error error = {0};
            atomic_store(&allocations_left, failures);
            status = tried[i](&error);
            atomic_store(&allocations_left, INT32_MAX);
            assert_true(status == TIDE_OK || (status == TIDE_MEMORY && strstr(error.message, "SHA-256")));
            assert_true(failures < 100);
        }
        assert_true(failures >= 1);
        if (i > 0) {
            assert_int_equal(verified(other, NULL).chain.seq, i == 1 ? 3 : 5);
            char command[128];
            snprintf(command, sizeof command, "rm -rf '%s'", other);
            assert_int_equal(system(command), 0);
        }
    }
    assert_int_equal(verified(backup, NULL).chain.seq, 5);
}

int main(void)
{
    if (CRYPTO_set_mem_functions(scarce_malloc, scarce_realloc, scarce_free) != 1)
        return 1;
#define TEST(name) cmocka_unit_test_setup_teardown(name, paths_make, directory_remove)
    const struct CMUnitTest tests[] = {
        TEST(an_opening_that_begins_with_a_snapshot_knows_the_chain),
        TEST(the_mark_of_a_segment_that_is_passed_over_is_the_newest_hash),
        TEST(a_place_that_a_repair_has_moved_is_not_gone_by),
        TEST(a_backup_and_what_is_restored_of_it_are_chained_as_the_source),
        TEST(a_log_that_was_not_closed_is_copied_with_a_chained_mark),
        TEST(a_restore_up_to_a_seq_is_chained_anew),
        TEST(a_gap_breaks_the_chain_of_what_is_restored_too),
        TEST(copies_without_memory_for_sha256_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
