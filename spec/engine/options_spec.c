/* options_spec.c - the options' ranges, and what a second opening of the same directory may say of them; the texts of
 * statuses and errors. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../engine/error.h"
#include "../../engine/tidemark.h"
#include "directory.h"

#define NUMBERS(X)                                                                                                     \
    X(batch_size, 1, TIDE_COUNT_MAX)                                                                                   \
    X(flush_interval_ms, 1, TIDE_MILLISECONDS_MAX)                                                                     \
    X(batch_bytes_max, TIDE_BATCH_BYTES_MIN, TIDE_BATCH_BYTES_MAX)                                                     \
    X(pending_bytes_max, TIDE_PENDING_BYTES_MIN, TIDE_PENDING_BYTES_MAX)                                               \
    X(sync_interval_ms, 1, TIDE_MILLISECONDS_MAX)                                                                      \
    X(segment_bytes, TIDE_SEGMENT_BYTES_MIN, TIDE_SEGMENT_BYTES_MAX)                                                   \
    X(document_bytes_max, TIDE_DOCUMENT_BYTES_MIN, TIDE_DOCUMENT_BYTES_MAX)

static void each_option_has_its_range(void **state)
{
    (void)state;
    struct tide_error error;
#define X(name, min, max)                                                                                              \
    assert_int_equal(tide_options_check(&(struct tide_options){.name = min}, &error), TIDE_OK);                        \
    assert_int_equal(tide_options_check(&(struct tide_options){.name = max}, &error), TIDE_OK);                        \
    assert_int_equal(tide_options_check(&(struct tide_options){.name = max + 1}, &error), TIDE_INVALID);               \
    assert_non_null(strstr(error.message, #name));                                                                     \
    if (min > 1)                                                                                                       \
        assert_int_equal(tide_options_check(&(struct tide_options){.name = min - 1}, &error), TIDE_INVALID);
    NUMBERS(X)
#undef X
}

static enum tide_status open_again(const struct tide_options *options, struct tide_error *error)
{
    struct tide_engine *engine;
    enum tide_status status = tide_open(directory, options, &engine, error);
    if (status == TIDE_OK)
        assert_int_equal(tide_close(engine, NULL), TIDE_OK);
    return status;
}

static void a_second_opening_may_not_contradict(void **state)
{
    (void)state;
    struct tide_engine *engine;
    struct tide_error error;
    struct tide_options in_force = {.sync = TIDE_SYNC_INTERVAL, .durability = TIDE_DURABLE};
    assert_int_equal(tide_open(directory, &in_force, &engine, NULL), TIDE_OK);
    assert_int_equal(open_again(NULL, &error), TIDE_OK);
    assert_int_equal(open_again(&in_force, &error), TIDE_OK);
    assert_int_equal(open_again(tide_options_in_force(engine), &error), TIDE_OK);
    assert_int_equal(open_again(&(struct tide_options){.read_write = true}, &error), TIDE_OK);
#define BAD(...)                                                                                                       \
    assert_int_equal(open_again(&(struct tide_options){__VA_ARGS__}, &error), TIDE_INVALID);                           \
    assert_non_null(strstr(error.message, directory))
#define X(name, min, max) BAD(.name = max);
    NUMBERS(X)
#undef X
    BAD(.sync = TIDE_SYNC_BATCH);
    assert_non_null(strstr(error.message, "sync"));
    BAD(.durability = TIDE_ACCEPTED);
    assert_non_null(strstr(error.message, "durability"));
    BAD(.read_only = true);
    assert_non_null(strstr(error.message, "read_only"));
    assert_int_equal(tide_close(engine, NULL), TIDE_OK);

    assert_int_equal(tide_open(directory, &(struct tide_options){.read_only = true}, &engine, NULL), TIDE_OK);
    assert_int_equal(open_again(NULL, &error), TIDE_OK);
    assert_int_equal(open_again(&(struct tide_options){.read_only = true}, &error), TIDE_OK);
    BAD(.read_write = true);
#undef BAD
    assert_int_equal(tide_close(engine, NULL), TIDE_OK);
}

static void what_the_system_says_becomes_a_status(void **state)
{
    (void)state;
    struct tide_error error;
    static const struct {
        int system;
        enum tide_status status;
    } all[] = {{ENOSPC, TIDE_FULL}, {EDQUOT, TIDE_FULL}, {ENOMEM, TIDE_MEMORY}, {EIO, TIDE_IO}, {EACCES, TIDE_IO}};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        assert_int_equal(error_system(&error, all[i].system, "file %d", 7), all[i].status);
        assert_int_equal(error.status, all[i].status);
        assert_int_equal(strncmp(error.message, "file 7: ", 8), 0);
        assert_non_null(strstr(error.message, strerror(all[i].system)));
        assert_int_equal(error_system(NULL, all[i].system, "file"), all[i].status);
        assert_int_equal(error_set(NULL, all[i].status, "file"), all[i].status);
        assert_true(strlen(tide_status_code(all[i].status)) > 0 && strlen(tide_status_text(all[i].status)) > 0);
    }
    assert_string_equal(tide_event_type_name(TIDE_EVENT_GAP), "gap");
    assert_string_equal(tide_event_type_name(TIDE_EVENT_DELETED), "deleted");
    assert_string_equal(tide_event_type_name(TIDE_EVENT_USER), "user");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_option_has_its_range),
        cmocka_unit_test_setup_teardown(a_second_opening_may_not_contradict, directory_make, directory_remove),
        cmocka_unit_test(what_the_system_says_becomes_a_status),
    };
    return cmocka_run_group_tests_name("options", tests, NULL, NULL);
}
