/* chain_spec.c - the chain of hashes: computed again from the files by other means, continued over closings, segments
 * and torn tails; and what verify says to who changed the log and mended its checksums. The tampering is done on the
 * bytes of whole segments, frame by frame. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <openssl/crypto.h>
#include <openssl/sha.h>

#include "chain.h"
#include "directory.h"
#include "segment.h"
#include "tidemark.h"

/* ---- Writing ---- */

static struct tide_engine *opened(struct tide_options options)
{
    struct tide_engine *engine;
    struct tide_error error = {0};
    if (tide_open(directory, &options, &engine, &error) != TIDE_OK)
        fail_msg("%s", error.message);
    return engine;
}

static enum tide_status refused(struct tide_options options)
{
    struct tide_engine *engine;
    struct tide_error error = {0};
    enum tide_status status = tide_open(directory, &options, &engine, &error);
    if (status == TIDE_OK)
        assert_int_equal(tide_close(engine, NULL), TIDE_OK);
    else
        assert_true(error.message[0] != 0);
    return status;
}

static void closed(struct tide_engine *engine)
{
    struct tide_error error = {0};
    if (tide_close(engine, &error) != TIDE_OK)
        fail_msg("%s", error.message);
}

/* Documents of `bytes` bytes, a frame each. */
static void written(struct tide_engine *engine, unsigned from, unsigned to, size_t bytes)
{
    char *value = malloc(bytes), id[16];
    for (unsigned i = from; i <= to; i++) {
        memset(value, 'a' + (int)(i % 26), bytes);
        struct tide_write write = {.operation = TIDE_PUT,
                                   .durability = TIDE_DURABLE,
                                   .if_version = TIDE_ANY_VERSION,
                                   .id = id,
                                   .id_length = (size_t)snprintf(id, sizeof id, "%u", i),
                                   .value = value,
                                   .value_length = bytes};
        struct tide_written result;
        struct tide_error error = {0};
        if (tide_write(tide_collection(engine, "c", 1, NULL), &write, &result, &error) != TIDE_OK)
            fail_msg("%s", error.message);
        assert_int_equal(result.version, i);
    }
    free(value);
}

static const struct tide_options chained = {.hash_chain = true};

/* A log of one segment with `frames` frames of one event each, and the mark of a clean close. */
static void log_made(unsigned frames)
{
    struct tide_engine *engine = opened(chained);
    written(engine, 1, frames, 100);
    closed(engine);
}

/* ---- Looking ---- */

struct findings {
    unsigned chain, other;
    uint64_t first_seq, last_seq; /* of the first one about the chain */
    char file[SEGMENT_NAME_BYTES];
};

static void found(void *context, const struct tide_finding *finding)
{
    struct findings *findings = context;
    if (strcmp(finding->kind, "chain") != 0) {
        findings->other++;
        return;
    }
    if (findings->chain++ == 0) {
        findings->first_seq = finding->first_seq;
        findings->last_seq = finding->last_seq;
        snprintf(findings->file, sizeof findings->file, "%s", finding->file);
    }
}

static struct findings verified(const uint8_t *head, struct tide_report *report)
{
    struct findings findings = {0};
    struct tide_error error = {0};
    if (tide_verify_chain(directory, head, report, found, NULL, &findings, &error) != TIDE_OK)
        fail_msg("%s", error.message);
    assert_int_equal(findings.chain, report->chain_breaks);
    return findings;
}

static void assert_whole(uint64_t first_seq, uint64_t seq)
{
    struct tide_report report;
    struct findings findings = verified(NULL, &report);
    assert_int_equal(findings.chain + findings.other, 0);
    assert_true(report.chained);
    assert_int_equal(report.chain.first_seq, first_seq);
    assert_int_equal(report.chain.seq, seq);
}

/* verify finds the log whole, and only --chain sees that the events from `seq` on are others. */
static void assert_betrayed(uint64_t seq, const char *file)
{
    struct tide_report report;
    assert_int_equal(tide_verify(directory, &report, NULL, NULL, NULL, NULL), TIDE_OK);
    assert_int_equal(report.damages, 0);
    assert_false(report.torn);
    struct findings findings = verified(NULL, &report);
    assert_int_equal(findings.other, 0);
    assert_true(findings.chain >= 1);
    assert_int_equal(findings.first_seq, seq);
    assert_string_equal(findings.file, file);
}

/* ---- A segment in memory ---- */

enum { FRAMES_MAX = 100 };

struct segment {
    char name[SEGMENT_NAME_BYTES];
    uint8_t *bytes;
    size_t length;
    struct segment_header header;
    unsigned count;
    size_t at[FRAMES_MAX + 1]; /* where frames begin, and where the last ends */
};

static void segment_parse(struct segment *segment)
{
    assert_int_equal(segment_header_decode(segment->bytes, &segment->header, segment->name, NULL), TIDE_OK);
    size_t at = SEGMENT_HEADER_BYTES;
    struct frame_header header;
    segment->count = 0;
    while (at < segment->length && frame_header_decode(segment->bytes + at, &header, segment->header.database_id)) {
        assert_true(segment->count < FRAMES_MAX);
        segment->at[segment->count++] = at;
        at += header.bytes;
    }
    segment->at[segment->count] = at;
    assert_int_equal(at, segment->length);
}

static void file_name(char *full, size_t size, const char *name)
{
    snprintf(full, size, "%s/%s", directory, name);
}

static struct segment segment_read(const char *name)
{
    struct segment segment = {0};
    char full[200];
    file_name(full, sizeof full, name);
    snprintf(segment.name, sizeof segment.name, "%s", name);
    FILE *file = fopen(full, "rb");
    assert_non_null(file);
    assert_int_equal(fseek(file, 0, SEEK_END), 0);
    segment.length = (size_t)ftell(file);
    segment.bytes = malloc(segment.length);
    rewind(file);
    assert_int_equal(fread(segment.bytes, 1, segment.length, file), segment.length);
    fclose(file);
    segment_parse(&segment);
    return segment;
}

static void segment_write(struct segment *segment)
{
    char full[200];
    file_name(full, sizeof full, segment->name);
    FILE *file = fopen(full, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(segment->bytes, 1, segment->length, file), segment->length);
    assert_int_equal(fclose(file), 0);
    free(segment->bytes);
}

static struct frame_header frame_header_of(const struct segment *segment, unsigned i)
{
    struct frame_header header;
    assert_true(frame_header_decode(segment->bytes + segment->at[i], &header, segment->header.database_id));
    return header;
}

/* Gives the frames of a segment the seqs that must come from `first_seq` on, and checksums that fit. Hashes stay. */
static void segment_renumber(struct segment *segment, uint64_t first_seq)
{
    segment_parse(segment);
    segment->header.first_seq = first_seq;
    segment_header_encode(segment->bytes, &segment->header);
    for (unsigned i = 0; i < segment->count; i++) {
        uint8_t *frame = segment->bytes + segment->at[i];
        struct frame_header header = frame_header_of(segment, i);
        header.first_seq = first_seq;
        header.durable = first_seq - 1;
        size_t offset = FRAME_HEADER_BYTES;
        for (uint32_t k = 0; k < header.events; k++) {
            struct record *record = (struct record *)(void *)(frame + offset);
            record->seq = first_seq++;
            offset += record_size(record);
        }
        frame_encode(frame, &header, segment->header.database_id);
    }
}

/* Takes `count` frames out. */
static void frames_remove(struct segment *segment, unsigned first, unsigned count)
{
    size_t from = segment->at[first], to = segment->at[first + count];
    memmove(segment->bytes + from, segment->bytes + to, segment->length - to);
    segment->length -= to - from;
    segment_parse(segment);
}

/* ---- The chain as it must be ---- */

/* Computes the hashes of a segment's frames behind `before`, which moves on; remembers where `wanted` was. */
static void segment_hash(const struct segment *segment, uint8_t before[SHA256_DIGEST_LENGTH], const uint8_t *wanted,
                         bool *met)
{
    uint8_t *message = malloc(segment->length + SHA256_DIGEST_LENGTH);
    for (unsigned i = 0; i < segment->count; i++) {
        size_t length = segment->at[i + 1] - segment->at[i] - 8 - SHA256_DIGEST_LENGTH;
        memcpy(message, before, SHA256_DIGEST_LENGTH);
        memcpy(message + SHA256_DIGEST_LENGTH, segment->bytes + segment->at[i] + 8, length);
        SHA256(message, SHA256_DIGEST_LENGTH + length, before);
        assert_true(frame_header_of(segment, i).chained);
        assert_memory_equal(before, segment->bytes + segment->at[i + 1] - SHA256_DIGEST_LENGTH, SHA256_DIGEST_LENGTH);
        *met |= memcmp(before, wanted, SHA256_DIGEST_LENGTH) == 0;
    }
    free(message);
}

static void every_hash_follows_from_the_bytes_and_the_hash_before(void **state)
{
    (void)state;
    const struct tide_options small = {.hash_chain = true, .segment_bytes = TIDE_SEGMENT_BYTES_MIN};
    struct tide_chain_head head, later;
    struct tide_engine *engine = opened(small);
    assert_int_equal(tide_chain_head(engine, &head, NULL), TIDE_NOT_FOUND);
    written(engine, 1, 8, 300000);
    assert_int_equal(tide_chain_head(engine, &head, NULL), TIDE_OK);
    assert_int_equal(head.seq, 8);
    assert_int_equal(head.first_seq, 1);
    closed(engine);
    engine = opened((struct tide_options){.segment_bytes = TIDE_SEGMENT_BYTES_MIN}); /* goes on without being told */
    assert_true(tide_options_in_force(engine)->hash_chain);
    written(engine, 9, 12, 300000);
    assert_int_equal(tide_chain_head(engine, &later, NULL), TIDE_OK);
    assert_int_equal(later.seq, 12);
    closed(engine);
    assert_whole(1, 12);

    static const char *const names[] = {"events-00000000000000000001.raftlog", "events-00000000000000000004.raftlog",
                                        "events-00000000000000000007.raftlog", "events-00000000000000000010.raftlog",
                                        SEGMENT_ACTIVE_NAME};
    uint8_t before[SHA256_DIGEST_LENGTH];
    bool met = false, met_later = false;
    unsigned segments = 0;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char full[200];
        file_name(full, sizeof full, names[i]);
        FILE *file = fopen(full, "rb");
        if (!file)
            continue;
        fclose(file);
        struct segment segment = segment_read(names[i]);
        if (segments++ == 0)
            SHA256(segment.header.database_id, DATABASE_ID_BYTES, before);
        uint8_t again[SHA256_DIGEST_LENGTH];
        memcpy(again, before, sizeof again);
        segment_hash(&segment, before, head.hash, &met);
        segment_hash(&segment, again, later.hash, &met_later);
        free(segment.bytes);
    }
    assert_true(segments >= 4);
    assert_true(met && met_later);
    struct tide_report report;
    struct findings findings = verified(head.hash, &report);
    assert_int_equal(findings.chain, 0);
    assert_memory_equal(report.chain.hash, before, sizeof before);
    assert_true(report.chain_vouched);
    assert_int_equal(report.chain_vouched_seq, 8);
}

static void events_of_a_chained_log_are_read_as_of_any_other(void **state)
{
    (void)state;
    struct tide_engine *engine = opened(chained);
    written(engine, 1, 5, 100);
    struct tide_event_filter filter = {0};
    struct tide_events *events;
    struct tide_event event;
    assert_int_equal(tide_events_open(engine, &filter, &events, NULL), TIDE_OK);
    for (unsigned i = 1; i <= 5; i++) {
        assert_int_equal(tide_events_next(events, &event, NULL), TIDE_OK);
        assert_int_equal(event.seq, i);
        assert_int_equal(event.value_length, 100);
    }
    assert_int_equal(tide_events_next(events, &event, NULL), TIDE_NOT_FOUND);
    tide_events_close(events);
    closed(engine);
}

static void options_that_contradict_the_chain_are_refused(void **state)
{
    (void)state;
    const struct tide_options off = {.no_hash_chain = true};
    struct tide_engine *engine = opened(off);
    assert_int_equal(refused(chained), TIDE_INVALID); /* in force: no chain */
    written(engine, 1, 3, 10);
    struct tide_chain_head head;
    assert_int_equal(tide_chain_head(engine, &head, NULL), TIDE_NOT_FOUND);
    closed(engine);
    assert_int_equal(refused((struct tide_options){.hash_chain = true, .read_only = true}), TIDE_INVALID);
    engine = opened(chained); /* begins with the next frame */
    assert_int_equal(refused(off), TIDE_INVALID);
    written(engine, 4, 6, 10);
    closed(engine);
    assert_int_equal(refused(off), TIDE_INVALID);
    assert_int_equal(refused((struct tide_options){.hash_chain = true, .read_only = true}), TIDE_OK);
    assert_whole(4, 6);
    engine = opened((struct tide_options){.read_only = true});
    assert_int_equal(tide_chain_head(engine, &head, NULL), TIDE_OK);
    assert_int_equal(head.first_seq, 4);
    closed(engine);
}

static void a_torn_tail_does_not_break_the_chain(void **state)
{
    (void)state;
    log_made(6);
    struct segment segment = segment_read(SEGMENT_ACTIVE_NAME);
    segment.length = segment.at[5] + 60; /* the last frame in part, the end mark not at all */
    segment_write(&segment);
    struct tide_engine *engine = opened((struct tide_options){0});
    written(engine, 6, 9, 100);
    closed(engine);
    assert_whole(1, 9);
}

static void a_changed_document_with_a_mended_checksum_is_named(void **state)
{
    (void)state;
    log_made(10);
    struct segment segment = segment_read(SEGMENT_ACTIVE_NAME);
    uint8_t *frame = segment.bytes + segment.at[4];
    struct frame_header header = frame_header_of(&segment, 4);
    struct record *record = (struct record *)(void *)(frame + FRAME_HEADER_BYTES);
    ((char *)record)[record_value(record) - (char *)record + 50] = 'X';
    frame_encode(frame, &header, segment.header.database_id);
    segment_write(&segment);
    assert_betrayed(5, SEGMENT_ACTIVE_NAME);
    struct tide_report report;
    struct findings findings = verified(NULL, &report);
    assert_int_equal(findings.last_seq, 5);
    assert_int_equal(findings.chain, 1); /* what follows fits the hash that is there */
}

static void a_time_that_was_set_back_is_named(void **state)
{
    (void)state;
    log_made(4);
    struct segment segment = segment_read(SEGMENT_ACTIVE_NAME);
    struct frame_header header = frame_header_of(&segment, 1);
    ((struct record *)(void *)(segment.bytes + segment.at[1] + FRAME_HEADER_BYTES))->time_us--;
    frame_encode(segment.bytes + segment.at[1], &header, segment.header.database_id);
    segment_write(&segment);
    assert_betrayed(2, SEGMENT_ACTIVE_NAME);
}

static void a_frame_taken_out_is_noticed_though_seqs_were_closed_up(void **state)
{
    (void)state;
    log_made(10);
    struct segment segment = segment_read(SEGMENT_ACTIVE_NAME);
    frames_remove(&segment, 4, 1);
    segment_renumber(&segment, 1);
    segment_write(&segment);
    assert_betrayed(5, SEGMENT_ACTIVE_NAME);
}

static void two_frames_that_changed_places_are_noticed(void **state)
{
    (void)state;
    log_made(8);
    struct segment segment = segment_read(SEGMENT_ACTIVE_NAME);
    size_t length = segment.at[3] - segment.at[2];
    assert_int_equal(length, segment.at[4] - segment.at[3]);
    uint8_t *kept = malloc(length);
    memcpy(kept, segment.bytes + segment.at[2], length);
    memmove(segment.bytes + segment.at[2], segment.bytes + segment.at[3], length);
    memcpy(segment.bytes + segment.at[3], kept, length);
    free(kept);
    segment_renumber(&segment, 1);
    segment_write(&segment);
    assert_betrayed(3, SEGMENT_ACTIVE_NAME);
}

static void a_hash_taken_off_is_noticed(void **state)
{
    (void)state;
    log_made(6);
    struct segment segment = segment_read(SEGMENT_ACTIVE_NAME);
    struct frame_header header = frame_header_of(&segment, 2);
    size_t hash = segment.at[2] + frame_payload_end(&header);
    header.chained = false;
    header.bytes -= CHAIN_HASH_BYTES;
    memmove(segment.bytes + hash, segment.bytes + hash + CHAIN_HASH_BYTES, segment.length - hash - CHAIN_HASH_BYTES);
    segment.length -= CHAIN_HASH_BYTES;
    frame_encode(segment.bytes + segment.at[2], &header, segment.header.database_id);
    segment_write(&segment);
    assert_betrayed(3, SEGMENT_ACTIVE_NAME);
}

static void two_segments_that_changed_places_are_noticed(void **state)
{
    (void)state;
    struct tide_engine *engine =
        opened((struct tide_options){.hash_chain = true, .segment_bytes = TIDE_SEGMENT_BYTES_MIN});
    written(engine, 1, 12, 300000);
    closed(engine);
    struct segment a = segment_read("events-00000000000000000001.raftlog");
    struct segment b = segment_read("events-00000000000000000004.raftlog");
    char kept[SEGMENT_NAME_BYTES];
    memcpy(kept, a.name, sizeof kept);
    memcpy(a.name, b.name, sizeof kept);
    memcpy(b.name, kept, sizeof kept);
    segment_renumber(&b, 1);
    segment_renumber(&a, 4);
    segment_write(&a);
    segment_write(&b);
    assert_betrayed(1, "events-00000000000000000001.raftlog");
}

/* What nobody can see without a hash kept elsewhere: that the end is gone, or that all hashes were computed anew. */
static void a_hash_kept_elsewhere_betrays_a_log_that_was_cut_or_hashed_anew(void **state)
{
    (void)state;
    struct tide_chain_head middle, head;
    struct tide_engine *engine = opened(chained);
    written(engine, 1, 5, 100);
    assert_int_equal(tide_chain_head(engine, &middle, NULL), TIDE_OK);
    written(engine, 6, 10, 100);
    assert_int_equal(tide_chain_head(engine, &head, NULL), TIDE_OK);
    closed(engine);
    struct tide_report report;
    verified(head.hash, &report);
    assert_true(report.chain_vouched);
    assert_int_equal(report.chain_vouched_seq, 10);

    struct segment segment = segment_read(SEGMENT_ACTIVE_NAME);
    frames_remove(&segment, 7, segment.count - 7);
    segment_write(&segment);
    assert_whole(1, 7);
    verified(head.hash, &report);
    assert_false(report.chain_vouched);
    verified(middle.hash, &report);
    assert_true(report.chain_vouched);
    assert_int_equal(report.chain_vouched_seq, 5);

    segment = segment_read(SEGMENT_ACTIVE_NAME); /* seq 2 changed, and everything hashed as the engine would */
    struct chain chain = {0};
    struct chain_hasher *hasher = chain_hasher_create();
    for (unsigned i = 0; i < segment.count; i++) {
        uint8_t *frame = segment.bytes + segment.at[i];
        struct frame_header header = frame_header_of(&segment, i);
        if (i == 1)
            frame[FRAME_HEADER_BYTES + RECORD_HEADER_BYTES + 20] ^= 1;
        header.bytes -= CHAIN_HASH_BYTES;
        assert_true(chain_encode(hasher, &chain, frame, &header, segment.header.database_id));
        chain_note(&chain, frame, &header);
    }
    chain_hasher_destroy(hasher);
    segment_write(&segment);
    assert_whole(1, 7);
    verified(middle.hash, &report);
    assert_false(report.chain_vouched);
}

static void a_repair_shows_as_the_place_where_the_chain_breaks(void **state)
{
    (void)state;
    struct tide_chain_head before;
    struct tide_engine *engine = opened(chained);
    written(engine, 1, 4, 100);
    assert_int_equal(tide_chain_head(engine, &before, NULL), TIDE_OK);
    written(engine, 5, 10, 100);
    closed(engine);
    struct segment segment = segment_read(SEGMENT_ACTIVE_NAME);
    segment.bytes[segment.at[5] + 100] ^= 1; /* seq 6, by accident */
    segment_write(&segment);
    struct tide_report report;
    assert_int_equal(tide_repair(directory, &report, NULL, NULL, NULL, NULL), TIDE_OK);
    assert_int_equal(report.missing_events, 1);
    engine = opened((struct tide_options){0});
    written(engine, 11, 12, 100);
    closed(engine);
    struct findings findings = verified(before.hash, &report);
    assert_int_equal(findings.chain, 1);
    assert_int_equal(findings.other, 1); /* the gap */
    assert_int_equal(findings.first_seq, 6);
    assert_true(report.chain_vouched);
    assert_int_equal(report.chain_vouched_seq, 4);
    assert_int_equal(report.chain.seq, 12);
}

static void a_log_without_a_chain_is_told_as_such(void **state)
{
    (void)state;
    struct tide_engine *engine = opened((struct tide_options){0});
    written(engine, 1, 3, 100);
    closed(engine);
    struct tide_report report;
    struct findings findings = verified(NULL, &report);
    assert_int_equal(findings.chain, 0);
    assert_false(report.chained);
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

static void sha256_without_memory_is_an_error_and_nothing_else(void **state)
{
    (void)state;
    struct tide_engine *engine;
    struct tide_error error = {0};
    struct tide_report report;
    struct tide_written result;
    log_made(3);
    atomic_store(&allocations_left, 0);
    assert_int_equal(tide_open(directory, &chained, &engine, &error), TIDE_MEMORY);
    assert_int_equal(tide_verify_chain(directory, NULL, &report, NULL, NULL, NULL, &error), TIDE_MEMORY);
    atomic_store(&allocations_left, INT32_MAX);
    engine = opened(chained);
    atomic_store(&allocations_left, 0); /* the first frame wants some */
    struct tide_write write = {.operation = TIDE_CREATE,
                               .durability = TIDE_DURABLE,
                               .if_version = TIDE_ANY_VERSION,
                               .id = "late",
                               .id_length = 4,
                               .value = "{}",
                               .value_length = 2};
    assert_int_equal(tide_write(tide_collection(engine, "c", 1, NULL), &write, &result, &error), TIDE_MEMORY);
    assert_non_null(strstr(error.message, "SHA-256"));
    assert_int_equal(tide_write(tide_collection(engine, "c", 1, NULL), &write, &result, &error), TIDE_FAILED);
    atomic_store(&allocations_left, INT32_MAX);
    assert_int_equal(tide_close(engine, &error), TIDE_FAILED);
    assert_whole(1, 3);
    int failures = 0; /* as it begins, and in the middle of looking */
    for (enum tide_status status = TIDE_MEMORY; status != TIDE_OK; failures += status != TIDE_OK) {
        atomic_store(&allocations_left, failures);
        status = tide_verify_chain(directory, NULL, &report, NULL, NULL, NULL, &error);
        atomic_store(&allocations_left, INT32_MAX);
        assert_true(status == TIDE_MEMORY || status == TIDE_OK);
        assert_true(failures < 100);
    }
    assert_true(failures >= 2);
    assert_whole(1, 3);
}

int main(void)
{
    if (CRYPTO_set_mem_functions(scarce_malloc, scarce_realloc, scarce_free) != 1)
        return 1;
#define TEST(name) cmocka_unit_test_setup_teardown(name, directory_make, directory_remove)
    const struct CMUnitTest tests[] = {
        TEST(every_hash_follows_from_the_bytes_and_the_hash_before),
        TEST(events_of_a_chained_log_are_read_as_of_any_other),
        TEST(options_that_contradict_the_chain_are_refused),
        TEST(a_torn_tail_does_not_break_the_chain),
        TEST(a_changed_document_with_a_mended_checksum_is_named),
        TEST(a_time_that_was_set_back_is_named),
        TEST(a_frame_taken_out_is_noticed_though_seqs_were_closed_up),
        TEST(two_frames_that_changed_places_are_noticed),
        TEST(a_hash_taken_off_is_noticed),
        TEST(two_segments_that_changed_places_are_noticed),
        TEST(a_hash_kept_elsewhere_betrays_a_log_that_was_cut_or_hashed_anew),
        TEST(a_repair_shows_as_the_place_where_the_chain_breaks),
        TEST(a_log_without_a_chain_is_told_as_such),
        TEST(sha256_without_memory_is_an_error_and_nothing_else),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
