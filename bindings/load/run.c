/* run.c - makes the threads ready one after the other, starts them together, waits for all.
 *
 * Everything that can fail for the user's sake fails before the start: the script in each state, the address, setup and
 * init, the first text. The clients connect; the one whose connections are settled last sets the start of the run and
 * wakes all. Threads end on their own; the main thread only waits, for them or for SIGINT. States and loops stay until
 * the run is destroyed, since done() asks for what is in them. */
#include "run.h"

#include <errno.h>
#include <lauxlib.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

#include "client.h"

static volatile sig_atomic_t interrupted;

static void on_interrupt(int number)
{
    (void)number;
    interrupted = 1;
}

/* ---- Any thread ---- */

void worker_stop(struct worker *worker)
{
    atomic_store_explicit(&worker->stop, true, memory_order_release);
    if (worker->client)
        client_wake(worker->client);
}

void run_stop(struct run *run)
{
    for (unsigned i = 0; i < run->prepared; i++)
        worker_stop(&run->workers[i]);
}

void run_settled(struct run *run)
{
    if (atomic_fetch_sub(&run->unsettled, 1) != 1)
        return;
    atomic_store_explicit(&run->start_ns, monotonic_ns(), memory_order_release);
    for (unsigned i = 0; i < run->prepared; i++)
        if (run->workers[i].client)
            client_wake(run->workers[i].client);
}

uint64_t run_start_ns(struct run *run)
{
    return atomic_load_explicit(&run->start_ns, memory_order_acquire);
}

void run_note_code(struct run *run, const char *code)
{
    pthread_mutex_lock(&run->codes_lock);
    for (int i = 0; i < CODES_MAX; i++) {
        struct code_count *entry = &run->codes[i];
        if (entry->count == 0)
            snprintf(entry->code, sizeof entry->code, "%s", i == CODES_MAX - 1 ? "other" : code);
        if (i == CODES_MAX - 1 || strncmp(entry->code, code, sizeof entry->code - 1) == 0) {
            entry->count++;
            break;
        }
    }
    pthread_mutex_unlock(&run->codes_lock);
}

/* ---- Before ---- */

struct run *run_create(const struct load_options *options)
{
    struct run *run = calloc(1, sizeof *run);
    if (!run)
        return NULL;
    run->options = *options;
    run->ended_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    pthread_mutex_init(&run->codes_lock, NULL);
    run->workers = calloc(options->threads, sizeof *run->workers);
    /* About a hundred points over time; the length of a number of requests isn't known. */
    uint64_t interval = options->requests ? TICK_NS : options->duration_ns / 100 / TICK_NS * TICK_NS;
    run->has_record = true;
    if (record_init(&run->record, options->threads, interval < TICK_NS ? TICK_NS : interval) && run->workers &&
        run->ended_fd >= 0)
        return run;
    run_destroy(run);
    return NULL;
}

enum script_result run_load(struct run *run)
{
    return script_open(&run->main, run->path, &run->target);
}

const char *run_error(const struct run *run)
{
    if (run->error)
        return run->error;
    if (run->main.error)
        return run->main.error;
    for (unsigned i = 0; i < run->prepared; i++)
        if (run->workers[i].script.error)
            return run->workers[i].script.error;
    return NULL;
}

/* In the main state: pushes the first address that takes a connection. */
static int find_address(lua_State *L)
{
    const struct script_target *target = lua_touserdata(L, 1);
    const char *service = target->port ? target->port : target->scheme;
    lua_pushcfunction(L, address_lookup);
    lua_pushstring(L, target->host);
    lua_pushstring(L, service);
    lua_call(L, 2, 1);
    int list = lua_gettop(L);
    const char *reason = "no address";
    for (lua_Integer i = 1; lua_rawgeti(L, list, i) != LUA_TNIL; i++) {
        lua_pushcfunction(L, address_connect);
        lua_pushvalue(L, -2);
        lua_call(L, 1, 2);
        if (lua_toboolean(L, -2)) {
            lua_settop(L, -3);
            return 1;
        }
        reason = lua_tostring(L, -1);
        luaL_checkstack(L, 10, NULL);
    }
    return luaL_error(L, "cannot connect to %s:%s: %s; start the server, or give another --url", target->host, service,
                      reason);
}

static bool resolve(struct run *run, struct address *address)
{
    lua_State *L = run->main.L;
    lua_pushcfunction(L, find_address);
    lua_pushlightuserdata(L, &run->target);
    bool found = lua_pcall(L, 1, 1, 0) == LUA_OK;
    if (found)
        *address = *address_check(L, -1);
    else
        script_fail(&run->main, "%s", lua_tostring(L, -1));
    lua_pop(L, 1);
    return found;
}

static enum script_result prepare_worker(struct run *run, struct worker *worker)
{
    const struct load_options *options = &run->options;
    uint64_t share = options->requests / options->threads + (worker->index < options->requests % options->threads);
    worker->budget = options->requests ? share : UINT64_MAX;
    if (!meter_init(&worker->meter, &run->record)) {
        script_fail(&worker->script, "not enough memory");
        return SCRIPT_FAILED;
    }
    enum script_result result = script_open(&worker->script, run->path, &run->target);
    if (result != SCRIPT_OK)
        return result;
    if (!script_setup(&run->main, worker) || !script_init(&worker->script, worker, run->arguments, run->argument_count))
        return SCRIPT_FAILED;
    if (options->engine)
        return script_open_database(&worker->script, options->engine) ? SCRIPT_OK : SCRIPT_FAILED;
    worker->client = client_create(worker);
    if (worker->client && worker->client->count > 0)
        atomic_fetch_add(&run->unsettled, 1);
    return worker->client ? SCRIPT_OK : SCRIPT_FAILED;
}

enum script_result run_prepare(struct run *run)
{
    struct address address = {.length = 0};
    if (run->options.engine) {
        if (!script_has(&run->main, "operation")) {
            script_fail(&run->main, "%s: --engine calls the script's function operation(db, i), and it has none",
                        run->path);
            return SCRIPT_FAILED;
        }
    } else if (!resolve(run, &address)) {
        return SCRIPT_FAILED;
    }
    for (unsigned i = 0; i < run->options.threads; i++) {
        struct worker *worker = &run->workers[i];
        *worker = (struct worker){.run = run, .options = &run->options, .index = i, .address = address};
        run->prepared = i + 1;
        enum script_result result = prepare_worker(run, worker);
        if (result != SCRIPT_OK)
            return result;
    }
    return SCRIPT_OK;
}

/* ---- While it runs ---- */

static void *worker_main(void *argument)
{
    struct worker *worker = argument;
    if (worker->client) {
        client_run(worker->client);
    } else {
        uint64_t start = run_start_ns(worker->run);
        schedule_begin(worker, start);
        meter_begin(&worker->meter, start + worker->options->warmup_ns, worker->schedule.end_ns);
        engine_worker_run(worker);
    }
    meter_end(&worker->meter, worker->finished_ns);
    uint64_t one = 1;
    while (write(worker->run->ended_fd, &one, sizeof one) < 0 && errno == EINTR)
        ;
    return NULL;
}

/* Each connection is a file; most systems let a process raise its limit. */
static void raise_file_limit(unsigned connections)
{
    struct rlimit limit;
    rlim_t wanted = connections + 256;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= wanted)
        return;
    limit.rlim_cur = limit.rlim_max < wanted ? limit.rlim_max : wanted;
    setrlimit(RLIMIT_NOFILE, &limit);
}

bool run_start(struct run *run)
{
    sigset_t blocked, before;
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGINT);
    sigaddset(&blocked, SIGPIPE); /* a write to a closed connection is an error like any other */
    pthread_sigmask(SIG_BLOCK, &blocked, &before);
    interrupted = 0;
    struct sigaction action = {.sa_handler = on_interrupt, .sa_flags = (int)SA_RESETHAND};
    sigaction(SIGINT, &action, NULL);
    raise_file_limit(run->options.connections);
    if (run->options.engine || atomic_load(&run->unsettled) == 0)
        atomic_store_explicit(&run->start_ns, monotonic_ns(), memory_order_release);
    bool started = true;
    for (unsigned i = 0; i < run->prepared && started; i++) {
        struct worker *worker = &run->workers[i];
        started = pthread_create(&worker->thread, NULL, worker_main, worker) == 0;
        worker->started = started;
        run->started += started;
    }
    sigdelset(&before, SIGPIPE);
    sigaddset(&before, SIGINT); /* taken only while waiting */
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (!started) {
        run->error = strdup("cannot start a thread");
        run_stop(run);
    }
    return started;
}

static void join_all(struct run *run)
{
    for (unsigned i = 0; i < run->prepared; i++) {
        if (run->workers[i].started)
            pthread_join(run->workers[i].thread, NULL);
        run->workers[i].started = false;
    }
    record_finish(&run->record);
    sigset_t interrupt;
    sigemptyset(&interrupt);
    sigaddset(&interrupt, SIGINT);
    signal(SIGINT, SIG_DFL);
    pthread_sigmask(SIG_UNBLOCK, &interrupt, NULL);
}

bool run_wait(struct run *run, int milliseconds)
{
    struct pollfd wait = {.fd = run->ended_fd, .events = POLLIN};
    struct timespec limit = {milliseconds / 1000, milliseconds % 1000 * 1000000L};
    uint64_t until = monotonic_ns() + (uint64_t)milliseconds * 1000000;
    sigset_t waiting;
    pthread_sigmask(SIG_BLOCK, NULL, &waiting);
    sigdelset(&waiting, SIGINT);
    while (run->ended < run->started) {
        int ready = ppoll(&wait, 1, &limit, &waiting);
        if (interrupted && !run->interrupted) {
            run->interrupted = true;
            run_stop(run);
        }
        uint64_t count;
        if (ready > 0 && read(run->ended_fd, &count, sizeof count) == sizeof count)
            run->ended += (unsigned)count;
        uint64_t now = monotonic_ns();
        if (run->ended < run->started && now >= until)
            return false;
        uint64_t left = now < until ? until - now : 0;
        limit = (struct timespec){(time_t)(left / SECOND_NS), (long)(left % SECOND_NS)};
    }
    join_all(run);
    return true;
}

/* ---- After ---- */

uint64_t run_duration_ns(const struct run *run)
{
    uint64_t duration = 0;
    for (unsigned i = 0; i < run->prepared; i++) {
        const struct meter *meter = &run->workers[i].meter;
        if (meter->end > meter->measure_from && meter->end - meter->measure_from > duration)
            duration = meter->end - meter->measure_from;
    }
    return duration;
}

void run_destroy(struct run *run)
{
    if (run->started > run->ended) {
        run_stop(run);
        while (!run_wait(run, 1000))
            ;
    }
    for (unsigned i = 0; run->workers && i < run->prepared; i++) {
        struct worker *worker = &run->workers[i];
        if (worker->client)
            client_destroy(worker->client);
        script_close(&worker->script);
        meter_destroy(&worker->meter);
    }
    script_close(&run->main);
    if (run->has_record)
        record_destroy(&run->record);
    if (run->ended_fd >= 0)
        close(run->ended_fd);
    pthread_mutex_destroy(&run->codes_lock);
    free(run->workers);
    free(run->error);
    free(run);
}
