/* format_spec.c - what is a segment's header and a frame, and what is not: each field of them in turn says what it may
 * not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "../../engine/format.h"

static const uint8_t database_id[DATABASE_ID_BYTES] = "database id 1234";

static void put(uint8_t *bytes, uint64_t value, size_t length)
{
    memcpy(bytes, &value, length);
}

/* ---- The segment's header ---- */

static enum tide_status header_decoded(size_t offset, uint64_t value, size_t length, bool checked)
{
    uint8_t bytes[SEGMENT_HEADER_BYTES];
    struct segment_header header = {.first_seq = 1, .created_us = 2}, found;
    struct tide_error error = {.message = "segment"};
    memcpy(header.database_id, database_id, DATABASE_ID_BYTES);
    segment_header_encode(bytes, &header);
    put(bytes + offset, value, length);
    if (checked)
        put(bytes + 60, crc32c(bytes, 60), 4);
    enum tide_status status = segment_header_decode(bytes, &found, "segment", &error);
    assert_non_null(strstr(error.message, "segment"));
    if (status == TIDE_OK)
        assert_int_equal(found.first_seq, 1);
    return status;
}

static void each_field_of_a_segments_header_is_looked_at(void **state)
{
    (void)state;
    assert_int_equal(header_decoded(40, 2, 8, true), TIDE_OK);
    assert_int_equal(header_decoded(0, 0, 8, true), TIDE_CORRUPT);
    assert_int_equal(header_decoded(8, FORMAT_VERSION + 1, 4, true), TIDE_INVALID);
    assert_int_equal(header_decoded(12, 72, 4, true), TIDE_CORRUPT);
    assert_int_equal(header_decoded(40, 3, 8, false), TIDE_CORRUPT); /* another time than was summed up */
    assert_int_equal(header_decoded(32, 0, 8, true), TIDE_CORRUPT);
    assert_int_equal(header_decoded(32, SEQ_MAX + UINT64_C(2), 8, true), TIDE_CORRUPT);
}

/* ---- Frames ---- */

enum { ID = 2, COLLECTION = 3, VALUE = 9, RECORD_BYTES = 48, FRAME_BYTES = FRAME_HEADER_BYTES + 2 * RECORD_BYTES };

struct frame {
    _Alignas(8) uint8_t bytes[FRAME_BYTES + RECORD_BYTES];
    struct frame_header header;
};

static struct record *record_at(struct frame *frame, size_t offset)
{
    return (struct record *)(void *)(frame->bytes + offset);
}

/* A frame of two events, seqs 7 and 8. */
static void frame_make(struct frame *frame)
{
    memset(frame, 0, sizeof *frame);
    frame->header = (struct frame_header){.bytes = FRAME_BYTES, .events = 2, .first_seq = 7, .durable = 6};
    for (unsigned i = 0; i < 2; i++) {
        struct record *record = record_at(frame, FRAME_HEADER_BYTES + i * RECORD_BYTES);
        record->value_length = VALUE;
        record->type = TIDE_EVENT_CREATED;
        record->collection_length = COLLECTION;
        record->id_length = ID;
        record->seq = 7 + i;
        memcpy(record->bytes, "abcid{\"n\":12}", COLLECTION + ID + VALUE - 1);
        assert_int_equal(record_size(record), RECORD_BYTES);
    }
}

/* Sums the frame up and reads it. */
static bool frame_is_valid(struct frame *frame)
{
    struct frame_header header;
    frame_encode(frame->bytes, &frame->header, database_id);
    return frame_header_decode(frame->bytes, &header, database_id) && frame_valid(frame->bytes, &header);
}

static void each_field_of_a_frames_header_is_looked_at(void **state)
{
    (void)state;
    struct frame frame;
    struct frame_header header;
    frame_make(&frame);
    assert_true(frame_is_valid(&frame));
    static const struct {
        size_t offset, length;
        uint64_t value;
    } bad[] = {{0, 4, 0},        {8, 4, 40},          {8, 4, FRAME_BYTES + 4},        {16, 8, 0},
               {16, 8, SEQ_MAX}, {16, 8, UINT64_MAX}, {32, 8, SEQ_MAX + UINT64_C(1)}, {40, 4, 0x200},
               {44, 4, 0}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        frame_make(&frame);
        frame_encode(frame.bytes, &frame.header, database_id);
        put(frame.bytes + bad[i].offset, bad[i].value, bad[i].length);
        assert_false(frame_header_decode(frame.bytes, &header, database_id));
    }
    frame_make(&frame);
    frame_encode(frame.bytes, &frame.header, database_id);
    frame.bytes[FRAME_BYTES - 1] ^= 1;
    assert_true(frame_header_decode(frame.bytes, &header, database_id));
    assert_false(frame_valid(frame.bytes, &header));
}

/* With a checksum that fits: only a bug, or somebody's intent, makes such a frame. */
static void each_field_of_a_record_is_looked_at(void **state)
{
    (void)state;
    struct frame frame;
    struct record *second = record_at(&frame, FRAME_HEADER_BYTES + RECORD_BYTES);
#define BAD(change)                                                                                                    \
    frame_make(&frame);                                                                                                \
    change;                                                                                                            \
    assert_false(frame_is_valid(&frame))
    BAD(frame.header.events = 0);
    BAD(frame.header.events = 1);                             /* bytes are left over */
    BAD(frame.header.events = 3);                             /* no room for another */
    BAD(frame.header.bytes = FRAME_BYTES - RECORD_BYTES + 8); /* nor for the second's header */
    BAD(frame.header.bytes = FRAME_BYTES - 8);                /* nor for its texts */
    BAD(second->value_length = 1000);
    BAD(second->value_length = UINT32_MAX);
    BAD(second->seq = 7);
    BAD(second->seq = 9);
    BAD(second->id_length = 0);
    BAD(second->type = 0);
    BAD(second->type = TIDE_EVENT_DELETED + 1);
    BAD(second->collection_length = 0);
    BAD(second->bytes[1] = '/');
    BAD(frame.header.kind = FRAME_GAP + 1);
#undef BAD
    frame_make(&frame);
    second->type = TIDE_EVENT_DELETED;
    assert_true(frame_is_valid(&frame));
}

static void marks_and_gaps_have_their_lengths(void **state)
{
    (void)state;
    struct frame frame = {0};
    const uint8_t kinds[] = {FRAME_CLOSED, FRAME_SEALED};
    for (int i = 0; i < 2; i++) {
        frame.header = (struct frame_header){.bytes = FRAME_HEADER_BYTES, .first_seq = 9, .kind = kinds[i]};
        assert_true(frame_is_valid(&frame));
        assert_int_equal(frame_next_seq(frame.bytes, &frame.header), 9);
        assert_false(frame_holds_events(&frame.header));
        frame.header.events = 1;
        assert_false(frame_is_valid(&frame));
        frame.header.events = 0;
        frame.header.bytes += 8;
        assert_false(frame_is_valid(&frame));
    }
    static const struct {
        uint32_t bytes, events;
        uint64_t last;
        bool valid;
    } gaps[] = {{FRAME_GAP_BYTES, 0, 12, true},  {FRAME_GAP_BYTES, 0, 9, true},
                {FRAME_GAP_BYTES, 0, 8, false},  {FRAME_GAP_BYTES, 0, SEQ_MAX + UINT64_C(1), false},
                {FRAME_GAP_BYTES, 1, 12, false}, {FRAME_GAP_BYTES + 8, 0, 12, false}};
    for (size_t i = 0; i < sizeof gaps / sizeof gaps[0]; i++) {
        frame.header =
            (struct frame_header){.bytes = gaps[i].bytes, .events = gaps[i].events, .first_seq = 9, .kind = FRAME_GAP};
        put(frame.bytes + FRAME_HEADER_BYTES, gaps[i].last, 8);
        assert_int_equal(frame_is_valid(&frame), gaps[i].valid);
    }
}

/* The values of RFC 3720, section B.4. */
static void checksums_are_those_of_the_rfc(void **state)
{
    (void)state;
    uint8_t bytes[32] = {0};
    assert_int_equal(crc32c(bytes, sizeof bytes), 0x8a9136aa);
    memset(bytes, 0xff, sizeof bytes);
    assert_int_equal(crc32c(bytes, sizeof bytes), 0x62a8ab43);
    for (unsigned i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)i;
    assert_int_equal(crc32c(bytes, sizeof bytes), 0x46dd794e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_field_of_a_segments_header_is_looked_at),
        cmocka_unit_test(each_field_of_a_frames_header_is_looked_at),
        cmocka_unit_test(each_field_of_a_record_is_looked_at),
        cmocka_unit_test(marks_and_gaps_have_their_lengths),
        cmocka_unit_test(checksums_are_those_of_the_rfc),
    };
    return cmocka_run_group_tests_name("format", tests, NULL, NULL);
}
