/* engine.h - one open database: the parts that the engine's own files share. */
#ifndef TIDE_ENGINE_H
#define TIDE_ENGINE_H

#include <pthread.h>
#include <stdatomic.h>

#include "channel.h"
#include "frame_index.h"
#include "log.h"
#include "map.h"
#include "memory.h"
#include "reclaim.h"
#include "space.h"
#include "tidemark.h"

struct tide_collection {
    struct tide_engine *engine;
    struct map *map;
    struct tide_collection *next;      /* of the same hash chain */
    _Atomic uint64_t first_delete_seq; /* of the first deletion that the log knows, 0: none (see log_events.h) */
    uint8_t name_length;
    char name[TIDE_NAME_BYTES_MAX + 1];
};

struct tide_engine {
    /* Set while opening. */
    struct tide_options options;
    char *path;      /* as given to the first open */
    char *directory; /* absolute */
    uint64_t device, inode;
    int lock_fd;
    struct tide_collection *recovering; /* of the newest event read while opening */
    unsigned fork_count;                /* of the process that opened it */
    struct memory *memory;
    struct reclaim *reclaim;
    struct frame_index *index;
    uint64_t recovery_ms, recovered_events, recovered_last_seq, torn_bytes, torn_seq;

    /* Of the registry (registry.c), guarded by its mutex. */
    unsigned references;
    struct tide_engine *next;

    /* Collections: found by name under the mutex, never removed. */
    pthread_mutex_t collections_mutex;
    struct tide_collection **chains; /* hash table, chain_count a power of two */
    size_t chain_count, collection_count;
    struct tide_collection **collections; /* in the order of their first use */
    size_t collection_capacity;

    /* Of the way of a write. */
    struct channel channel;
    _Atomic bool closing;     /* seq_cst; partners: tide_write and waiters on one side, tide_close on the other */
    _Atomic uint32_t failure; /* the status that latched the engine, 0: none. Release/acquire with failure_message */
    _Atomic bool failure_told;
    char failure_message[400];

    /* Watermarks and who waits for them; the watermarks are written by the writer thread alone. */
    _Alignas(64) _Atomic uint64_t written;   /* release; pairs with the acquires in tide_wait and tide_watermarks */
    _Atomic uint64_t durable;                /* the same */
    pthread_mutex_t mutex;                   /* guards what follows */
    pthread_cond_t work;                     /* the writer waits here */
    pthread_cond_t done[2];                  /* waiters for a watermark wait here, by its level */
    pthread_cond_t last_left;                /* a close waits here for the last of them */
    uint64_t wanted_written, wanted_durable; /* the greatest seqs that somebody waits for */
    uint32_t waiters;                        /* calls that wait, for a watermark or for room */
    uint32_t waiters_at[2];                  /* those for a watermark, by its level */
    uint32_t crowd;                          /* who waited for durability when the last sync was over */
    uint32_t arrived;        /* who waits for the next one, as far as they have noticed that it is over */
    uint64_t syncs_seen;     /* counts the times that the durable watermark rose */
    uint64_t crowd_until_us; /* how long a sync is held until the crowd is there again, monotonic */
    bool hurry;              /* write what there is at once: somebody waits for room */
    bool stop;
    struct tide_listener *listeners;

    /* Of the writer thread. */
    pthread_t writer;
    struct log *log;
    struct space space;
    struct log_figures log_figures;          /* a copy under the mutex, renewed after each batch */
    _Atomic uint64_t batches, bytes_written; /* figures: relaxed */
};

/* collections.c */
enum tide_status collections_init(struct tide_engine *engine, struct tide_error *error);
void collections_destroy(struct tide_engine *engine);

/* options.c: fills in defaults; checks ranges; checks a second open against those in force. */
enum tide_status options_complete(struct tide_options *options, struct tide_error *error);
enum tide_status options_compatible(const struct tide_options *wanted, const struct tide_options *in_force,
                                    const char *path, struct tide_error *error);

/* engine.c */
bool engine_forked(const struct tide_engine *engine);

/* One more reference, given back by tide_close. */
void engine_hold(struct tide_engine *engine);

/* The error of an engine that cannot take writes: closed, forked or failed; OK otherwise. */
enum tide_status engine_state(struct tide_engine *engine, struct tide_error *error);

/* Latches the engine as failed and wakes everybody. The writer thread. */
void engine_fail(struct tide_engine *engine, const struct tide_error *error);

/* writer.c; last_time_us: of the newest event in the log */
enum tide_status writer_start(struct tide_engine *engine, uint64_t last_time_us, struct tide_error *error);

/* Writes what is pending and ends the thread; the log is left to the caller. */
void writer_stop(struct tide_engine *engine);

/* Wakes the writer if it sleeps. */
void writer_wake(struct tide_engine *engine);

/* wait.c: waits for room for an event of `bytes` until `deadline_us` (monotonic, UINT64_MAX: for ever), and claims it.
 */
enum tide_status wait_for_room(struct tide_engine *engine, uint64_t bytes, uint64_t deadline_us,
                               struct tide_error *error);
enum tide_status wait_for_watermark(struct tide_engine *engine, uint64_t seq, enum tide_level level,
                                    uint64_t deadline_us, struct tide_error *error);

/* listen.c: wakes whose wants are fulfilled, with the mutex locked. */
void listeners_wake(struct tide_engine *engine, bool durable_rose, bool failed);

/* clock.c: microseconds, since 1970 and since some fixed moment. */
uint64_t clock_real_us(void);
uint64_t clock_monotonic_us(void);
uint64_t clock_deadline_us(uint64_t timeout_ms); /* TIDE_NO_TIMEOUT: UINT64_MAX */
struct timespec clock_timespec(uint64_t monotonic_us);

/* id.c: whether an id may be stored: 1-255 bytes of UTF-8 without control characters. NULL, or what is wrong. */
const char *id_fault(const char *id, size_t id_length);

#endif
