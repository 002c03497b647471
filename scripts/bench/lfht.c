/* lfht.c - liburcu's lock-free hash table, with the membarrier flavour of RCU. */
#define RCU_MEMB
#include <urcu/urcu-memb.h>
#include <urcu/rculfhash.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "table.h"

struct node {
    struct cds_lfht_node node;
    struct entry entry;
};

static struct cds_lfht *table;
static uint64_t entries;

static void open_table(const char *directory, bool durable, uint64_t documents)
{
    (void)directory;
    (void)durable;
    (void)documents;
    table = cds_lfht_new_flavor(1 << 16, 1 << 16, 0, CDS_LFHT_AUTO_RESIZE | CDS_LFHT_ACCOUNTING, &urcu_memb_flavor, NULL);
    if (!table)
        fail("lfht: out of memory");
}

static void close_table(void)
{
    /* The process ends: nothing is given back. */
}

static void *thread_begin(void)
{
    urcu_memb_register_thread();
    return NULL;
}

static void thread_end(void *thread)
{
    (void)thread;
    urcu_memb_unregister_thread();
}

static void put(void *thread, const char *id, const char *article, bool exists)
{
    (void)thread;
    (void)exists;
    struct node *node = malloc(sizeof *node);
    if (!node)
        fail("out of memory");
    cds_lfht_node_init(&node->node);
    entry_fill(&node->entry, id, article);
    urcu_memb_read_lock();
    cds_lfht_add(table, XXH3_64bits(id, ID_BYTES), &node->node);
    urcu_memb_read_unlock();
    entries++;
}

static int match(struct cds_lfht_node *found, const void *id)
{
    return memcmp(((struct node *)found)->entry.id, id, ID_BYTES) == 0;
}

static size_t get(void *thread, const char *id, char out[static ARTICLE_BYTES])
{
    (void)thread;
    struct cds_lfht_iter iterator;
    urcu_memb_read_lock();
    cds_lfht_lookup(table, XXH3_64bits(id, ID_BYTES), match, id, &iterator);
    struct node *node = (struct node *)cds_lfht_iter_get_node(&iterator);
    if (node)
        memcpy(out, node->entry.article, ARTICLE_BYTES);
    urcu_memb_read_unlock();
    return node ? ARTICLE_BYTES : 0;
}

static uint64_t count(void)
{
    return entries;
}

const struct store store = {.name = "lfht",
                            .settings = "liburcu, memb flavour, grows by itself, XXH3; values copied within a read section",
                            .open = open_table,
                            .close = close_table,
                            .thread_begin = thread_begin,
                            .thread_end = thread_end,
                            .begin = table_nothing,
                            .put = put,
                            .commit = table_nothing,
                            .get = get,
                            .count = count};
