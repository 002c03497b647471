/* id_spec.c - which ids may be stored. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(utf8_is_taken_and_nothing_else),
        cmocka_unit_test(control_characters_and_impossible_lengths_are_refused),
    };
    return cmocka_run_group_tests_name("id", tests, NULL, NULL);
}
