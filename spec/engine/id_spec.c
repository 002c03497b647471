/* id_spec.c - which ids may be stored. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../engine/engine.h"

static void utf8_is_taken_and_nothing_else(void **state)
{
    (void)state;
    static const char *const good[] = {
        "a",
        "~",
        "\xC2\x80",
        "\xDF\xBF",
        "\xE0\xA0\x80",
        "\xED\x9F\xBF",
        "\xEE\x80\x80",
        "\xEF\xBF\xBF",
        "\xF0\x90\x80\x80",
        "\xF4\x8F\xBF\xBF",
        "mixed \xE2\x82\xAC text",
    };
    static const char *const bad[] = {
        "\x80",             /* begins in the middle */
        "\xC0\xAF",         /* overlong, of two */
        "\xC1\xBF",         /* the same */
        "\xE0\x9F\xBF",     /* of three */
        "\xF0\x8F\xBF\xBF", /* of four */
        "\xED\xA0\x80",     /* a surrogate */
        "\xF4\x90\x80\x80", /* behind U+10FFFF */
        "\xF5\x80\x80\x80",
        "\xFF",
        "\xC3", /* ends early */
        "\xE2\x82",
        "\xF0\x9F\x98",
        "\xC3(", /* goes on otherwise */
        "\xE2(\xAC",
        "\xE2\x82(",
        "\xF0\x9F\x98(",
        "text \xE2\x82",
    };
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        assert_null(id_fault(good[i], strlen(good[i])));
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_string_equal(id_fault(bad[i], strlen(bad[i])), "id is not valid UTF-8");
}

static void control_characters_and_impossible_lengths_are_refused(void **state)
{
    (void)state;
    char id[TIDE_ID_BYTES_MAX + 1];
    memset(id, 'i', sizeof id);
    assert_non_null(id_fault(id, 0));
    assert_null(id_fault(id, 1));
    assert_null(id_fault(id, TIDE_ID_BYTES_MAX));
    assert_non_null(id_fault(id, sizeof id));
    for (int c = 0; c < 0x80; c++) {
        id[1] = (char)c;
        assert_int_equal(id_fault(id, 3) != NULL, c < 0x20 || c == 0x7F);
    }
}

/* Whatever stands before and behind, as ids are looked at several bytes at a time. */
static void each_byte_counts_wherever_it_stands(void **state)
{
    (void)state;
    char id[40];
    for (size_t length = 1; length <= sizeof id; length++) {
        for (size_t place = 0; place < length; place++) {
            for (int c = 0; c < 0x100; c++) {
                memset(id, place % 2 ? '~' : ' ', length);
                id[place] = (char)c;
                const char *fault = id_fault(id, length);
                if (c < 0x20 || c == 0x7F)
                    assert_string_equal(fault, "id contains a control character");
                else if (c < 0x80)
                    assert_null(fault);
                else
                    assert_string_equal(fault, "id is not valid UTF-8");
            }
        }
    }
}

static void new_ids_are_version_7_in_their_order_of_time_and_differ(void **state)
{
    (void)state;
    enum { IDS = 2000 };
    static const char digits[] = "0123456789abcdef", pattern[] = "tttttttt-tttt-7rrr-vrrr-rrrrrrrrrrrr";
    static char ids[IDS][37];
    unsigned values[36] = {0}; /* a bit for each that was seen at that place */
    uint64_t before_ms = clock_real_us() / 1000;
    for (int i = 0; i < IDS; i++)
        tide_uuid(ids[i]);
    uint64_t ended_ms = clock_real_us() / 1000;
    for (int i = 0; i < IDS; i++) {
        assert_int_equal(strlen(ids[i]), 36);
        for (int place = 0; place < 36; place++) {
            const char *digit = strchr(digits, ids[i][place]);
            if (digit)
                values[place] |= 1U << (digit - digits);
            else
                assert_true(ids[i][place] == '-' && pattern[place] == '-');
        }
        uint64_t ms = strtoull(ids[i], NULL, 16) << 16 | strtoull(ids[i] + 9, NULL, 16);
        assert_true(ms >= before_ms && ms <= ended_ms);
        before_ms = ms;
        for (int j = 0; j < i; j++)
            assert_memory_not_equal(ids[i] + 14, ids[j] + 14, 22);
    }
    for (int place = 0; place < 36; place++) {
        switch (pattern[place]) {
        case '-': assert_int_equal(values[place], 0); break;
        case '7': assert_int_equal(values[place], 1 << 7); break;
        case 'v': assert_int_equal(values[place], 0xF00); break; /* 10 in binary, and two random bits */
        case 'r': assert_int_equal(values[place], 0xFFFF); break;
        default: break;
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(utf8_is_taken_and_nothing_else),
        cmocka_unit_test(control_characters_and_impossible_lengths_are_refused),
        cmocka_unit_test(each_byte_counts_wherever_it_stands),
        cmocka_unit_test(new_ids_are_version_7_in_their_order_of_time_and_differ),
    };
    return cmocka_run_group_tests_name("id", tests, NULL, NULL);
}
