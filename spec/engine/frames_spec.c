/* frames_spec.c - logs made by hand, frame by frame: with seqs that are out of order or at their end, as only the
 * fuzzer writes them, and with damage at a certain frame. A repair that says that all is well must leave a log that
 * opens. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <unistd.h>

#include "../../engine/file.h"
#include "../../engine/format.h"
#include "../../engine/segment.h"
#include "../../engine/tidemark.h"
#include "directory.h"

static const uint8_t database_id[DATABASE_ID_BYTES] = "an id";
/* A segment of one or more frames. */
static void segment_put(const char *name, uint64_t first_seq, const uint8_t *frames, size_t frames_bytes)
{
    uint8_t bytes[SEGMENT_HEADER_BYTES];
    struct segment_header header = {.first_seq = first_seq};
    memcpy(header.database_id, database_id, DATABASE_ID_BYTES);
    segment_header_encode(bytes, &header);
    char *path = file_path(directory, name);
    FILE *file = fopen(path, "wb");
    free(path);
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, sizeof bytes, file), sizeof bytes);
    assert_int_equal(fwrite(frames, 1, frames_bytes, file), frames_bytes);
    assert_int_equal(fclose(file), 0);
}

/* A segment that says that seqs 1 to `last` were removed. */
static void gap_put(const char *name, uint64_t last)
{
    uint8_t frame[FRAME_GAP_BYTES];
    frame_gap_encode(frame, 1, last, last, database_id);
    segment_put(name, 1, frame, sizeof frame);
}

static enum tide_status opened(bool read_only)
{
    const struct tide_options options = {.read_only = read_only};
    struct tide_engine *engine;
    enum tide_status status = tide_open(directory, &options, &engine, NULL);
    return status == TIDE_OK ? tide_close(engine, NULL) : status;
}

/* Writes one document and closes. */
static uint64_t version_written(void)
{
    struct tide_engine *engine;
    struct tide_written written;
    assert_int_equal(tide_open(directory, NULL, &engine, NULL), TIDE_OK);
    const struct tide_write write = {.operation = TIDE_CREATE,
                                     .if_version = TIDE_ANY_VERSION,
                                     .id = "a",
                                     .id_length = 1,
                                     .value = "{}",
                                     .value_length = 2};
    assert_int_equal(tide_write(tide_collection(engine, "c", 1, NULL), &write, &written, NULL), TIDE_OK);
    assert_int_equal(tide_close(engine, NULL), TIDE_OK);
    return written.version;
}

static struct tide_report repaired(void)
{
    struct tide_report report;
    assert_int_equal(tide_repair(directory, &report, NULL, NULL, NULL, NULL), TIDE_OK);
    return report;
}

static void assert_whole(void)
{
    struct tide_report report;
    assert_int_equal(tide_verify(directory, &report, NULL, NULL, NULL, NULL), TIDE_OK);
    assert_int_equal(report.damages, 0);
    assert_false(report.torn);
}

/* A segment that says to begin with seq 40 holds nothing but an end mark for seq 5. The repair took the seqs between
 * for missing, of which there are less than none, and wrote a gap that nothing could follow. */
static void what_a_repair_made_of_a_mark_of_earlier_seqs_opens(void **state)
{
    (void)state;
    uint8_t frame[FRAME_HEADER_BYTES];
    const struct frame_header mark = {.bytes = sizeof frame, .first_seq = 5, .durable = 253, .kind = FRAME_CLOSED};
    frame_encode(frame, &mark, database_id);
    segment_put(SEGMENT_ACTIVE_NAME, 40, frame, sizeof frame);
    assert_int_equal(repaired().missing_events, 39);
    assert_int_equal(version_written(), 40);
    assert_whole();
}

static void a_log_goes_on_up_to_the_last_seq_that_is_written(void **state)
{
    (void)state;
    gap_put(SEGMENT_ACTIVE_NAME, SEQ_WRITE_MAX - 1);
    assert_int_equal(version_written(), SEQ_WRITE_MAX);
    assert_whole();
}

static void a_log_behind_the_last_seq_that_is_written_is_only_read(void **state)
{
    (void)state;
    gap_put(SEGMENT_ACTIVE_NAME, SEQ_WRITE_MAX);
    assert_int_equal(opened(false), TIDE_INVALID);
    assert_int_equal(opened(true), TIDE_OK);
    assert_whole();
}

/* What was written behind the last of all seqs was a mark that no reader took: the log had a torn tail after each
 * clean close, and the segment after the last sealed one could not be read. */
static void what_a_repair_made_of_a_log_with_all_seqs_is_read(void **state)
{
    (void)state;
    char sealed[SEGMENT_NAME_BYTES];
    segment_sealed_name(sealed, 1);
    gap_put(sealed, SEQ_MAX);
    assert_true(repaired().damages > 0); /* it lacks its end, and the active segment */
    assert_whole();
    assert_int_equal(opened(true), TIDE_OK);
    assert_int_equal(opened(false), TIDE_INVALID);
}

/* With watermarks up to the greatest of all numbers, the seq behind the gap that a repair left was 0. */
static void a_watermark_behind_the_last_seq_is_damage(void **state)
{
    (void)state;
    uint8_t frame[FRAME_GAP_BYTES];
    frame_gap_encode(frame, 1, 8, UINT64_MAX, database_id);
    segment_put(SEGMENT_ACTIVE_NAME, 1, frame, sizeof frame);
    assert_true(repaired().torn);
    assert_int_equal(version_written(), 1);
    assert_whole();
}

/* Two frames of one batch, with the same watermark, and the mark of a clean close. When the first was damaged the mark
 * was passed over, for it follows a frame without anything between; the tail was taken for torn, and cut. */
static void damage_before_two_frames_and_a_mark_is_no_torn_tail(void **state)
{
    (void)state;
    uint8_t frames[2 * FRAME_GAP_BYTES + FRAME_HEADER_BYTES];
    const struct frame_header mark = {.bytes = FRAME_HEADER_BYTES, .first_seq = 3, .durable = 2, .kind = FRAME_CLOSED};
    frame_gap_encode(frames, 1, 1, 0, database_id);
    frame_gap_encode(frames + FRAME_GAP_BYTES, 2, 2, 0, database_id);
    frame_encode(frames + 2 * FRAME_GAP_BYTES, &mark, database_id);
    frames[FRAME_HEADER_BYTES] ^= 4;
    segment_put(SEGMENT_ACTIVE_NAME, 1, frames, sizeof frames);
    struct tide_report report;
    assert_int_equal(opened(false), TIDE_CORRUPT);
    assert_int_equal(tide_verify(directory, &report, NULL, NULL, NULL, NULL), TIDE_OK);
    assert_int_equal(report.damages, 1);
    assert_false(report.torn);
    assert_int_equal(repaired().missing_events, 1);
    assert_int_equal(version_written(), 3);
    assert_whole();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, directory_make, directory_remove)
        TEST(what_a_repair_made_of_a_mark_of_earlier_seqs_opens),
        TEST(a_log_goes_on_up_to_the_last_seq_that_is_written),
        TEST(a_log_behind_the_last_seq_that_is_written_is_only_read),
        TEST(what_a_repair_made_of_a_log_with_all_seqs_is_read),
        TEST(a_watermark_behind_the_last_seq_is_damage),
        TEST(damage_before_two_frames_and_a_mark_is_no_torn_tail),
    };
    return cmocka_run_group_tests_name("frames", tests, NULL, NULL);
}
