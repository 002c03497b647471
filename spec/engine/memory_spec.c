/* memory_spec.c - blocks and tables: they don't overlap, and what was freed comes back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "memory.h"

/* Regions that were made ready ahead are zeroed like others, are counted, and go when the memory goes. */
static void memory_grows_through_many_regions(void **state)
{
    (void)state;
    struct memory *memory = memory_create();
    enum { TABLES = 400, BYTES = 256 << 10 };
    assert_false(memory_behind(memory));
    for (int i = 0; i < TABLES; i++) {
        unsigned char *table = memory_table_allocate(memory, BYTES);
        assert_non_null(table);
        for (size_t at = 0; at < BYTES; at += 4096)
            assert_int_equal(table[at], 0);
        memset(table, 0xff, BYTES);
    }
    struct memory_figures figures;
    memory_figures(memory, &figures);
    assert_true(figures.system_bytes >= (uint64_t)TABLES * BYTES);
    assert_true(figures.system_bytes <= (uint64_t)TABLES * BYTES * 5 / 4);
    for (int ms = 0; memory_behind(memory) && ms < 60000; ms++)
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    assert_false(memory_behind(memory));
    memory_destroy(memory);
}

/* A table of exactly one unit got the unit in front of which the region's description lies, and wiped it out. */
static void crash_after_a_table_of_64_kib(void **state)
{
    (void)state;
    struct memory *memory = memory_create();
    void *tables[64];
    for (int i = 0; i < 64; i++) {
        tables[i] = memory_table_allocate(memory, 64 << 10);
        assert_non_null(tables[i]);
        memset(tables[i], 0xff, 64 << 10);
    }
    for (int i = 0; i < 64; i++)
        memory_table_free(memory, tables[i], 64 << 10);
    void *block = memory_allocate(memory, 100);
    assert_non_null(block);
    memory_free(memory, block, 100);
    memory_destroy(memory);
}

static void tables_of_every_size_are_zeroed_and_apart(void **state)
{
    (void)state;
    struct memory *memory = memory_create();
    enum { SIZES = 16, EACH = 3 };
    unsigned char *tables[SIZES][EACH];
    for (int size = 0; size < SIZES; size++) {
        size_t bytes = (size_t)256 << size;
        for (int i = 0; i < EACH; i++) {
            tables[size][i] = memory_table_allocate(memory, bytes);
            assert_non_null(tables[size][i]);
            for (size_t at = 0; at < bytes; at += 64)
                assert_int_equal(tables[size][i][at], 0);
            memset(tables[size][i], size * EACH + i + 1, bytes);
        }
    }
    for (int size = 0; size < SIZES; size++) {
        size_t bytes = (size_t)256 << size;
        for (int i = 0; i < EACH; i++) {
            for (size_t at = 0; at < bytes; at++)
                assert_int_equal(tables[size][i][at], size * EACH + i + 1);
            memory_table_free(memory, tables[size][i], bytes);
        }
    }
    struct memory_figures figures;
    memory_figures(memory, &figures);
    assert_int_equal(figures.table_bytes, 0);
    memory_destroy(memory);
}

/* What was freed is used again: many rounds of random sizes stay as large as what is live. */
static void replacing_blocks_all_day_does_not_grow(void **state)
{
    (void)state;
    struct memory *memory = memory_create();
    enum { LIVE = 4000, ROUNDS = 200000 };
    static unsigned char *blocks[LIVE];
    static size_t sizes[LIVE];
    uint64_t random = 88172645463325252u, after_first = 0;
    struct memory_figures figures;
    for (int round = 0; round < ROUNDS; round++) {
        random ^= random << 13, random ^= random >> 7, random ^= random << 17;
        int i = (int)(random % LIVE);
        if (blocks[i]) {
            assert_int_equal(blocks[i][0], i & 255);
            assert_int_equal(blocks[i][sizes[i] - 1], i & 255);
            memory_free(memory, blocks[i], sizes[i]);
        }
        sizes[i] = 1 + (random >> 32) % (round % 100 == 0 ? 40000 : 1500);
        blocks[i] = memory_allocate(memory, sizes[i]);
        assert_non_null(blocks[i]);
        memset(blocks[i], i & 255, sizes[i]);
        if (round == ROUNDS / 4) {
            memory_figures(memory, &figures);
            after_first = figures.system_bytes;
        }
    }
    memory_figures(memory, &figures);
    assert_true(figures.system_bytes <= after_first + after_first / 4 + (4 << 20));
    for (int i = 0; i < LIVE; i++)
        memory_free(memory, blocks[i], sizes[i]);
    memory_destroy(memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_grows_through_many_regions),
        cmocka_unit_test(crash_after_a_table_of_64_kib),
        cmocka_unit_test(tables_of_every_size_are_zeroed_and_apart),
        cmocka_unit_test(replacing_blocks_all_day_does_not_grow),
    };
    return cmocka_run_group_tests_name("memory", tests, NULL, NULL);
}
