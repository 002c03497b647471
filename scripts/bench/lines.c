/* lines.c - the lines of the bench, over whichever store it is linked with. Each run measures one line once; what it needs
 * (ids, articles, the order of queries) is made before the clock starts. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "result.h"
#include "store.h"

enum { GROUP = 16, THREADS_MAX = 128, SECONDS_MAX = 600, TICK_NS = 100000000 };

static struct arguments arguments;
static char (*ids)[ID_BYTES];
static char (*articles)[ARTICLE_BYTES];

static void *allocate(size_t bytes)
{
    void *block = malloc(bytes);
    if (!block)
        fail("out of memory");
    return block;
}

static void articles_prepare(uint64_t count)
{
    ids = allocate(count * ID_BYTES);
    articles = allocate(count * ARTICLE_BYTES);
    for (uint64_t i = 0; i < count; i++) {
        article_id(i, ids[i]);
        article_make(i, 1, articles[i]);
    }
}

/* ---- Threads that start together ---- */

struct worker {
    pthread_t thread;
    unsigned index;
    void (*run)(struct worker *worker, void *store_thread);
    uint64_t operations, sum, started;
    struct histogram *latencies;
};

static pthread_barrier_t barrier;
static atomic_bool stop; /* relaxed: nothing is read behind it */

static void *worker_main(void *context)
{
    struct worker *worker = context;
    void *thread = store.thread_begin();
    pthread_barrier_wait(&barrier);
    worker->started = now_ns();
    worker->run(worker, thread);
    store.thread_end(thread);
    return NULL;
}

/* Runs `count` workers, ends them after `seconds` where that is not 0; returns the nanoseconds that they took. */
static uint64_t workers_run(struct worker *workers, unsigned count, void (*run)(struct worker *, void *),
                            uint64_t seconds)
{
    pthread_barrier_init(&barrier, NULL, count + 1);
    atomic_store_explicit(&stop, false, memory_order_relaxed);
    for (unsigned i = 0; i < count; i++) {
        workers[i] = (struct worker){.index = i, .run = run, .latencies = histogram_create()};
        if (!workers[i].latencies || pthread_create(&workers[i].thread, NULL, worker_main, &workers[i]) != 0)
            fail("cannot start a thread");
    }
    pthread_barrier_wait(&barrier);
    if (seconds) {
        struct timespec pause = {(time_t)seconds, 0};
        nanosleep(&pause, NULL);
        atomic_store_explicit(&stop, true, memory_order_relaxed);
    }
    for (unsigned i = 0; i < count; i++)
        pthread_join(workers[i].thread, NULL);
    uint64_t end = now_ns(), start = workers[0].started;
    for (unsigned i = 1; i < count; i++) {
        start = workers[i].started < start ? workers[i].started : start;
        histogram_merge(workers[0].latencies, workers[i].latencies);
        workers[0].operations += workers[i].operations;
        workers[0].sum += workers[i].sum;
    }
    return end - start;
}

static void check_found(uint64_t found, uint64_t wanted)
{
    if (found != wanted)
        fail("%s has %llu documents, not %llu", store.name, (unsigned long long)found, (unsigned long long)wanted);
}

static void check_count(uint64_t wanted)
{
    check_found(store.count(), wanted);
}

/* ---- Writing ---- */

static void create_share(struct worker *worker, void *thread)
{
    uint64_t share = arguments.documents / arguments.threads, first = worker->index * share;
    for (uint64_t i = 0; i < share; i += arguments.batch) {
        uint64_t end = i + arguments.batch < share ? i + arguments.batch : share;
        store.begin(thread);
        for (uint64_t k = i; k < end; k++)
            store.put(thread, ids[first + k], articles[first + k], false);
        store.commit(thread);
    }
    worker->operations = share;
}

static uint64_t create_all(struct worker *workers)
{
    uint64_t taken = workers_run(workers, (unsigned)arguments.threads, create_share, 0), start = now_ns();
    if (store.settle)
        store.settle();
    return taken + now_ns() - start;
}

static void line_create(bool durable)
{
    struct worker workers[THREADS_MAX];
    articles_prepare(arguments.documents);
    uint64_t before = resident_bytes();
    store.open(arguments.directory, durable, arguments.documents);
    uint64_t taken = create_all(workers);
    check_count(workers[0].operations);
    result_rate(workers[0].operations, taken);
    double bytes = (double)(arguments.documents * (ID_BYTES + ARTICLE_BYTES));
    result_number("memory_bytes_per_document", (double)(resident_bytes() - before) / (double)arguments.documents);
    result_number("disk_bytes_per_byte",
                  (double)(store.log_bytes ? store.log_bytes() : directory_bytes(arguments.directory)) / bytes);
}

static void line_durable_chained(void)
{
    store.chain();
    line_create(true);
}

static void load(void)
{
    uint64_t threads = arguments.threads;
    struct worker workers[THREADS_MAX];
    articles_prepare(arguments.documents);
    store.open(arguments.directory, false, arguments.documents);
    arguments.threads = 1;
    uint64_t found = store.count(); /* an earlier run's; some stores look at each document for this */
    if (found == 0) {
        create_all(workers);
        found = store.count();
    }
    arguments.threads = threads;
    check_found(found, arguments.documents);
}

static void durable_one(struct worker *worker, void *thread)
{
    char id[ID_BYTES], article[ARTICLE_BYTES];
    while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
        uint64_t i = (worker->operations++ * THREADS_MAX) + worker->index;
        article_id(i, id);
        article_make(i, 1, article);
        uint64_t start = now_ns();
        store.begin(thread);
        store.put(thread, id, article, false);
        store.commit(thread);
        histogram_record(worker->latencies, now_ns() - start);
    }
}

static void line_durable_one(void)
{
    struct worker workers[THREADS_MAX];
    store.open(arguments.directory, true, 100000);
    uint64_t taken = workers_run(workers, (unsigned)arguments.threads, durable_one, arguments.seconds);
    check_count(workers[0].operations);
    result_rate(workers[0].operations, taken);
    result_latencies(workers[0].latencies);
}

static atomic_bool snapshots_run; /* relaxed: nothing is read behind it */
static uint64_t snapshot_count;   /* of the thread below, until it is joined */

static void *snapshots_main(void *context)
{
    while (atomic_load_explicit(&snapshots_run, memory_order_relaxed)) {
        store.snapshot();
        snapshot_count++;
    }
    return context;
}

/* Creates on schedule; latency counts from when each was due. */
static void create_on_schedule(struct worker *worker, void *thread)
{
    double period = 1e9 / (double)arguments.rate;
    uint64_t start = now_ns(), seconds_ns = arguments.seconds * 1000000000;
    for (uint64_t i = 0;; i++) {
        uint64_t due = start + (uint64_t)((double)i * period), now = now_ns();
        if (due - start >= seconds_ns || i >= arguments.documents)
            break;
        while (now < due)
            now = now_ns(); /* naps are too coarse for this */
        store.begin(thread);
        store.put(thread, ids[i], articles[i], false);
        store.commit(thread);
        histogram_record(worker->latencies, now_ns() - due);
        worker->operations++;
    }
}

/* `beside_snapshots`: one after the other is made meanwhile. */
static void line_latency(bool beside_snapshots)
{
    struct worker worker;
    pthread_t thread;
    arguments.documents = arguments.rate * arguments.seconds;
    articles_prepare(arguments.documents);
    store.open(arguments.directory, false, arguments.documents);
    atomic_store_explicit(&snapshots_run, beside_snapshots, memory_order_relaxed);
    if (beside_snapshots && pthread_create(&thread, NULL, snapshots_main, NULL) != 0)
        fail("cannot start a thread");
    uint64_t taken = workers_run(&worker, 1, create_on_schedule, 0);
    atomic_store_explicit(&snapshots_run, false, memory_order_relaxed);
    if (beside_snapshots) {
        pthread_join(thread, NULL);
        result_number("snapshots", (double)snapshot_count);
    }
    check_count(worker.operations);
    result_rate(worker.operations, taken);
    result_latencies(worker.latencies);
}

/* ---- Reading ---- */

static char (*queries)[ID_BYTES];
static uint64_t queries_sum; /* of all of them once */
static struct zipf zipf;

static uint64_t choose(struct random *random)
{
    return strcmp(arguments.distribution, "zipf") == 0 ? zipf_next(&zipf, random) : random_below(random, arguments.documents);
}

/* The queries lie in their order, so that reading them misses no cache. */
static void queries_prepare(void)
{
    struct random random = {1};
    arguments.queries -= arguments.queries % GROUP;
    zipf_init(&zipf, arguments.documents);
    queries = allocate(arguments.queries * ID_BYTES);
    for (uint64_t i = 0; i < arguments.queries; i++) {
        uint64_t place = choose(&random);
        memcpy(queries[i], ids[place], ID_BYTES);
        queries_sum += article_sum(articles[place], ARTICLE_BYTES);
    }
}

static void get_all(struct worker *worker, void *thread)
{
    char article[ARTICLE_BYTES];
    for (uint64_t i = 0; i < arguments.queries; i++) {
        size_t length = store.get(thread, queries[i], article);
        worker->sum += article_sum(article, length);
    }
    worker->operations = arguments.queries;
}

static void get_groups(struct worker *worker, void *thread)
{
    for (uint64_t i = 0; i < arguments.queries; i += GROUP)
        worker->sum += store.get_many(thread, &queries[i], GROUP, arguments.copied);
    worker->operations = arguments.queries;
}

static void line_get(void (*run)(struct worker *, void *))
{
    struct worker workers[THREADS_MAX];
    load();
    queries_prepare();
    uint64_t taken = workers_run(workers, (unsigned)arguments.threads, run, 0);
    if (workers[0].sum != queries_sum * arguments.threads)
        fail("%s read other values than were written", store.name);
    result_rate(workers[0].operations, taken);
}

/* ---- Reading and writing: YCSB's mixes, single operations ---- */

struct mix {
    char name;
    unsigned reads, updates, inserts, modifies; /* of a hundred */
};

static const struct mix mixes[] = {{'A', 50, 50, 0, 0}, {'B', 95, 5, 0, 0}, {'C', 100, 0, 0, 0}, {'D', 95, 0, 5, 0},
                                   {'F', 50, 0, 0, 50}};

static const struct mix *mix_find(void)
{
    for (size_t i = 0; i < sizeof mixes / sizeof mixes[0]; i++)
        if (mixes[i].name == arguments.mix[0])
            return &mixes[i];
    fail("mix is A, B, C, D or F");
}

static void put_one(void *thread, uint64_t i, uint64_t revision, bool exists)
{
    char id[ID_BYTES], article[ARTICLE_BYTES];
    article_id(i, id);
    article_make(i, revision, article);
    store.begin(thread);
    store.put(thread, id, article, exists);
    store.commit(thread);
}

static void mixed(struct worker *worker, void *thread)
{
    const struct mix *mix = mix_find();
    struct random random = {worker->index + 1};
    char article[ARTICLE_BYTES];
    uint64_t inserted = 0;
    for (uint64_t i = 0; i < arguments.queries; i++) {
        unsigned dice = (unsigned)random_below(&random, 100);
        bool latest = mix->inserts > 0; /* D reads what came last */
        uint64_t place = zipf_next(&zipf, &random);
        if (latest)
            place = arguments.documents - 1 - place % arguments.documents;
        if (dice < mix->reads + mix->modifies)
            worker->sum += article_sum(article, store.get(thread, ids[place], article));
        if (dice >= mix->reads && dice < mix->reads + mix->modifies + mix->updates)
            put_one(thread, place, i, true);
        else if (dice >= mix->reads + mix->modifies + mix->updates)
            put_one(thread, arguments.documents + inserted++ * arguments.threads + worker->index, 1, false);
    }
    worker->operations = arguments.queries;
}

static void line_mixed(void)
{
    struct worker workers[THREADS_MAX];
    load();
    zipf_init(&zipf, arguments.documents);
    uint64_t taken = workers_run(workers, (unsigned)arguments.threads, mixed, 0);
    if (store.count() < arguments.documents)
        fail("%s has lost documents", store.name);
    result_rate(workers[0].operations, taken);
}

/* ---- Replacing, for a while ---- */

static double rates[SECONDS_MAX * 10];

static void update_for_a_while(struct worker *worker, void *thread)
{
    struct random random = {worker->index + 1};
    uint64_t last = now_ns(), tick = 0, counted = 0;
    while (tick < arguments.seconds * 10) {
        for (int i = 0; i < 100; i++)
            put_one(thread, zipf_next(&zipf, &random), worker->operations++, true);
        uint64_t now = now_ns();
        if (now < last + TICK_NS)
            continue;
        rates[tick++] = (double)(worker->operations - counted) * 1e9 / (double)(now - last);
        counted = worker->operations;
        last = now;
    }
}

static void line_update(void)
{
    struct worker worker;
    load();
    zipf_init(&zipf, arguments.documents);
    uint64_t before = resident_bytes();
    uint64_t taken = workers_run(&worker, 1, update_for_a_while, 0);
    check_count(arguments.documents);
    result_rate(worker.operations, taken);
    result_number("memory_running", (double)resident_bytes()); /* with what is accepted and not yet written */
    if (store.settle)
        store.settle();
    struct timespec pause = {1, 0}; /* a store may tidy up when the load is over */
    nanosleep(&pause, NULL);
    result_number("memory_start", (double)before);
    result_number("memory_end", (double)resident_bytes());
    result_list("rates", rates, (unsigned)arguments.seconds * 10);
}

/* ---- Many events, and what becomes of the rate meanwhile ---- */

static unsigned ticks;

/* Creates all documents, then replaces them, nine times each. */
static void write_events(struct worker *worker, void *thread)
{
    uint64_t last = now_ns(), counted = 0, total = arguments.documents * 10;
    store.begin(thread);
    for (uint64_t i = 0; i < total;) {
        store.put(thread, ids[i % arguments.documents], articles[i % arguments.documents], i >= arguments.documents);
        if (++i % 1000 == 0 || i == total) {
            store.commit(thread);
            uint64_t now = now_ns();
            if ((now >= last + TICK_NS || i == total) && ticks < sizeof rates / sizeof rates[0]) {
                rates[ticks++] = (double)(i - counted) * 1e9 / (double)(now - last);
                counted = i;
                last = now;
            }
            if (i < total)
                store.begin(thread);
        }
    }
    worker->operations = total;
}

static void line_series(void)
{
    struct worker worker;
    articles_prepare(arguments.documents);
    store.open(arguments.directory, false, arguments.documents);
    uint64_t taken = workers_run(&worker, 1, write_events, 0);
    check_count(arguments.documents);
    result_rate(worker.operations, taken);
    result_list("rates", rates, ticks);
}

/* ---- Two readers beside a writer at full rate ---- */

static _Atomic uint64_t replaced; /* relaxed: a figure */

/* Worker 0 replaces documents, those that are read or others; the others read until the time is over. */
static void read_beside(struct worker *worker, void *thread)
{
    struct random random = {worker->index + 1};
    char article[ARTICLE_BYTES];
    uint64_t i = worker->index * (arguments.queries / arguments.threads);
    while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
        if (worker->index > 0) {
            worker->sum += article_sum(article, store.get(thread, queries[i++ % arguments.queries], article));
            worker->operations++;
            continue;
        }
        uint64_t place = random_below(&random, arguments.documents);
        store.begin(thread);
        (arguments.elsewhere ? store.put_elsewhere : store.put)(thread, ids[place], articles[place], true);
        store.commit(thread);
        atomic_fetch_add_explicit(&replaced, 1, memory_order_relaxed);
    }
}

static void line_beside(void)
{
    struct worker workers[THREADS_MAX];
    load();
    queries_prepare();
    arguments.threads = 3;
    uint64_t taken = workers_run(workers, 3, read_beside, arguments.seconds);
    result_rate(workers[0].operations, taken);
    result_number("writes_per_second", (double)atomic_load(&replaced) * 1e9 / (double)taken);
}

/* ---- Single calls: what the Lua lines are set against ---- */

static void replace_all(struct worker *worker, void *thread)
{
    for (uint64_t i = 0; i < arguments.queries; i++) {
        uint64_t place = i % arguments.documents;
        store.begin(thread);
        store.put(thread, ids[place], articles[place], true);
        store.commit(thread);
    }
    worker->operations = arguments.queries;
}

static void line_put(void)
{
    struct worker workers[THREADS_MAX];
    load();
    uint64_t taken = workers_run(workers, 1, replace_all, 0);
    check_count(arguments.documents);
    result_rate(workers[0].operations, taken);
}

/* ---- Opening ---- */

/* Opens what was closed, up to the first get; returns the time. */
static uint64_t open_again(void)
{
    char article[ARTICLE_BYTES];
    uint64_t start = now_ns();
    store.open(arguments.directory, false, arguments.documents);
    void *thread = store.thread_begin();
    uint64_t sum = article_sum(article, store.get(thread, ids[arguments.documents / 2], article));
    uint64_t taken = now_ns() - start;
    store.thread_end(thread);
    if (sum != article_sum(articles[arguments.documents / 2], ARTICLE_BYTES))
        fail("%s gave another value back", store.name);
    check_count(arguments.documents);
    return taken;
}

static void line_recovery(void)
{
    load();
    store.close();
    result_rate(arguments.documents, open_again());
}

/* Documents that were replaced, `queries` times in all: opening from the log alone, then with a snapshot of them. */
static void line_recovery_snapshot(void)
{
    struct worker worker;
    load();
    workers_run(&worker, 1, replace_all, 0);
    store.close();
    uint64_t from_log = open_again();
    uint64_t start = now_ns();
    store.snapshot();
    uint64_t snapshot = now_ns() - start;
    store.close();
    uint64_t from_snapshot = open_again();
    result_rate(arguments.documents, from_snapshot);
    result_number("seconds_from_log", (double)from_log * 1e-9);
    result_number("seconds_of_snapshot", (double)snapshot * 1e-9);
}

/* ---- What the log keeps ---- */

enum { ROUNDS = 5, HISTORY_EVENTS = 100, HISTORY_READS = 20 };

static void put_rounds(struct worker *worker, void *thread)
{
    for (uint64_t i = 0; i < arguments.documents * ROUNDS; i++)
        put_one(thread, i % arguments.documents, i / arguments.documents, i >= arguments.documents);
    worker->operations = arguments.documents * ROUNDS;
}

/* Writes each article five times, then removes all but the newest event of each. */
static void line_compaction(void)
{
    struct worker worker;
    store.open(arguments.directory, false, arguments.documents);
    workers_run(&worker, 1, put_rounds, 0);
    store.settle();
    uint64_t before = store.log_bytes(), start = now_ns();
    store.compact();
    uint64_t taken = now_ns() - start;
    check_count(arguments.documents);
    result_rate(worker.operations, taken);
    result_number("compaction_s", (double)taken * 1e-9);
    result_number("bytes_left", (double)store.log_bytes() / (double)before);
}

static void put_one_often(struct worker *worker, void *thread)
{
    uint64_t apart = arguments.documents / HISTORY_EVENTS, last = apart * HISTORY_EVENTS;
    for (uint64_t i = 0; i < last; i++) {
        bool often = i % apart == apart / 2;
        put_one(thread, often ? 0 : i + 1, i, often && i > apart);
    }
    worker->operations = last;
}

/* A hundred events of one article, as far apart as can be among all the others. */
static void line_history(void)
{
    struct worker worker;
    char id[ID_BYTES];
    store.open(arguments.directory, false, arguments.documents);
    workers_run(&worker, 1, put_one_often, 0);
    store.settle();
    article_id(0, id);
    uint64_t start = now_ns();
    for (int i = 0; i < HISTORY_READS; i++)
        if (store.history(id) != HISTORY_EVENTS)
            fail("%s gave another history", store.name);
    uint64_t taken = now_ns() - start;
    result_rate(HISTORY_READS, taken);
    result_number("history_ms", (double)taken * 1e-6 / HISTORY_READS);
}

int main(int argc, char **argv)
{
    arguments_read(&arguments, argc, argv);
    if (arguments.threads < 1 || arguments.threads > THREADS_MAX || arguments.seconds > SECONDS_MAX)
        fail("threads: 1 to %d, seconds: up to %d", THREADS_MAX, SECONDS_MAX);
    result_begin(store.name, store.settings);
    const char *line = arguments.line;
    if (strcmp(line, "create") == 0)
        line_create(false);
    else if (strcmp(line, "durable-batch") == 0)
        line_create(true);
    else if (strcmp(line, "durable-batch-chained") == 0 && store.chain)
        line_durable_chained();
    else if (strcmp(line, "durable-one") == 0)
        line_durable_one();
    else if (strcmp(line, "latency") == 0)
        line_latency(false);
    else if (strcmp(line, "latency-snapshots") == 0 && store.snapshot)
        line_latency(true);
    else if (strcmp(line, "get") == 0)
        line_get(get_all);
    else if (strcmp(line, "get-many") == 0 && store.get_many)
        line_get(get_groups);
    else if (strcmp(line, "mixed") == 0)
        line_mixed();
    else if (strcmp(line, "update") == 0)
        line_update();
    else if (strcmp(line, "series") == 0)
        line_series();
    else if (strcmp(line, "beside") == 0 && (!arguments.elsewhere || store.put_elsewhere))
        line_beside();
    else if (strcmp(line, "put") == 0)
        line_put();
    else if (strcmp(line, "recovery") == 0)
        line_recovery();
    else if (strcmp(line, "recovery-snapshot") == 0 && store.snapshot)
        line_recovery_snapshot();
    else if (strcmp(line, "compaction") == 0 && store.compact)
        line_compaction();
    else if (strcmp(line, "history") == 0 && store.history)
        line_history();
    else
        fail("%s has no line %s", store.name, line);
    store.close();
    result_end();
    return 0;
}
