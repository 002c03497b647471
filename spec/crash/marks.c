/* marks.c - crashtest marks: the sync of the mark of a clean close fails, where the mark lies in two pages.
 *
 * The mark is then in the page cache alone, the events before it are on the disk. The next opening reads the mark and
 * goes on behind it; if its beginning lies in another page than its end, only the latter is written with what follows.
 * When the machine stops, all that was durable must be there. The mark is moved over the border in steps of a frame's
 * alignment, by the length of the document before it. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "crashtest.h"

enum { PAGE = 4096 };

static void put_durable(struct life *life, uint32_t length)
{
    static char value[PAGE];
    char id[16];
    struct tide_written written;
    struct tide_error error;
    bool there = model.versions[0] != 0;
    model_value(length, length, value);
    struct tide_write write = {.operation = TIDE_PUT,
                               .durability = TIDE_DURABLE,
                               .if_version = TIDE_ANY_VERSION,
                               .id = id,
                               .id_length = model_id(0, id),
                               .value = value,
                               .value_length = length};
    enum tide_status status = tide_write(life->collection, &write, &written, &error);
    if (status != TIDE_OK)
        die("a write failed: %s", error.message);
    model_accept(&model, there ? TIDE_EVENT_UPDATED : TIDE_EVENT_CREATED, 0, length, length);
    model.acknowledged = written.version;
}

/* Closes the database with the fault at the `nth` call of the closing. Whether it came. */
static bool close_with_fault(struct life *life, uint64_t nth)
{
    struct tide_error error;
    disk_fault(&(struct fault){.kind = FAULT_ERROR, .error = EIO, .at = disk_calls() + nth});
    enum tide_status status = tide_close(life->engine, &error);
    if (status != TIDE_OK && !(disk_struck() && fault_explains(status)))
        die("closing failed without a reason: %s", error.message);
    bool struck = disk_struck();
    disk_fault(&(struct fault){0});
    check_left_over();
    return struck;
}

/* Whether the closing has an `nth` call that can fail. */
static bool point_run(uint32_t length, uint64_t nth)
{
    struct life life = {.random = length};
    snprintf(what, sizeof what, "marks, a document of %" PRIu32 " bytes%s, call %" PRIu64 " of the closing", length,
             hash_chain ? ", chained" : "", nth);
    model_reset(&model);
    disk_create(length * 31 + nth);
    if (!life_begin(&life))
        die("it does not open");
    put_durable(&life, length);
    bool struck = close_with_fault(&life, nth);
    if (!life_begin(&life))
        die("it does not open after the failure");
    put_durable(&life, 10);
    disk_crash();
    tide_close(life.engine, NULL);
    disk_restart();
    life_healthy(length, false, 2);
    disk_destroy();
    return struck;
}

void marks_all(unsigned every)
{
    enum { SHORTEST = PAGE - 384, LONGEST = PAGE - 192 }; /* the mark goes over from the first page to the second */
    uint64_t points = 0;
    double start = now();
    for (unsigned i = 0; i < 2; i++) {
        hash_chain = i == 1;
        for (uint32_t length = SHORTEST; length <= LONGEST; length += 8 * every)
            for (uint64_t nth = 1; point_run(length, nth); nth++)
                points++;
    }
    hash_chain = false;
    printf("crashtest marks: %" PRIu64 " failed closings, nothing durable is lost, in %.1f s\n", points, now() - start);
}
