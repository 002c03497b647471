/* document.c - see document.h. */
#include "document.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

uint64_t document_create(struct tide_engine *engine, int number, size_t bytes)
{
    static char value[1 << 20];
    char id[16];
    assert_true(bytes <= sizeof value);
    memset(value, 'x', bytes);
    struct tide_write write = {.operation = TIDE_CREATE,
                               .if_version = TIDE_ANY_VERSION,
                               .id = id,
                               .id_length = (size_t)snprintf(id, sizeof id, "%d", number),
                               .value = value,
                               .value_length = bytes};
    struct tide_written written;
    assert_int_equal(tide_write(tide_collection(engine, "c", 1, NULL), &write, &written, NULL), TIDE_OK);
    return written.version;
}
