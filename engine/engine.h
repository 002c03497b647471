/* engine.h - one open database: the parts that the engine's own files share. */
#ifndef TIDE_ENGINE_H
#define TIDE_ENGINE_H

#include <pthread.h>
#include <stdatomic.h>

#include "channel.h"
#include "eventcount.h"
#include "frame_index.h"
#include "log.h"
#include "map.h"
#include "memory.h"
#include "reclaim.h"
#include "snapshot.h"
#include "space.h"
#include "tidemark.h"

struct tide_collection {
    struct tide_engine *engine;
    struct map *map;
    struct tide_collection *next;      /* of the same hash chain */
    _Atomic uint64_t first_delete_seq; /* of the first deletion that the log knows, 0: none (see log_events.h) */
    uint64_t snapshot_records;         /* in the snapshot that is being made; of the maintenance thread */
    uint32_t number;                   /* in the order of their first use; what blocks say of it */
    uint8_t name_length;
    char name[TIDE_NAME_BYTES_MAX + 1];
};

struct tide_engine {
    /* Set while opening. */
    struct tide_options options;
    char *path;      /* as given to the first open */
    char *directory; /* absolute */
    uint64_t device, inode;
    int directory_fd, lock_fd;
    struct tide_collection *recovering; /* of the newest event read while opening */
    unsigned fork_count;                /* of the process that opened it */
    struct memory *memory;
    struct reclaim *reclaim;
    struct frame_index *index;
    uint64_t recovery_ms, recovered_events, recovered_last_seq, torn_bytes, torn_seq;

    /* Of the registry (engine.c), guarded by its mutex. */
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
    struct eventcount rises[2];              /* waiters for a watermark sleep here, by its level */
    _Atomic uint32_t waiters;                /* calls that wait, for a watermark or for room: see waiter_leave */
    _Atomic uint32_t waiters_at[2];          /* those for a watermark, by its level: they come under the mutex */
    pthread_mutex_t mutex;                   /* guards what follows */
    pthread_cond_t work;                     /* the writer waits here */
    uint64_t wanted_written, wanted_durable; /* the greatest seqs that somebody waits for */
    uint32_t crowd;                          /* who waited for durability when the last sync was over */
    /* Who waits for the next one, as far as they have noticed that it is over. Changed under the mutex; the writer also
     * looks at it without, relaxed, and then takes the mutex. */
    _Atomic uint32_t arrived;
    uint64_t syncs_seen;     /* counts the times that the durable watermark rose */
    uint64_t crowd_until_us; /* how long a sync is held until the crowd is there again, monotonic */
    bool hurry;              /* write what there is at once: somebody waits for room */
    bool stop;
    struct tide_listener *listeners;
    struct maintenance *maintenance; /* NULL when read only */
    struct snapshot_state snapshots;

    /* Of the writer thread. */
    pthread_t writer;
    struct log *log;
    struct space space;
    struct log_figures log_figures;          /* a copy under the mutex, renewed after each batch */
    uint64_t bytes_since_snapshot;           /* of log since the last snapshot, or the last try at one */
    _Atomic uint64_t batches, bytes_written; /* figures: relaxed */

    /* Of compaction (compact.c, retention.c). */
    struct {
        pthread_mutex_t mutex; /* who compacts has it, and who makes a snapshot */
        bool seal;             /* the writer is asked to seal the active segment; guarded by the engine's mutex */
        _Atomic uint64_t count, failures, removed, bytes; /* figures: relaxed. bytes: by which the log is smaller */
        uint64_t left_bytes;    /* of the log, when the last one was over; guarded by the engine's mutex */
        uint64_t segments_seen; /* of the writer thread: how many there were when it last looked */
    } compaction;
};

/* collections.c */
enum tide_status collections_init(struct tide_engine *engine, struct tide_error *error);
void collections_destroy(struct tide_engine *engine);

/* The collections in the order of their first use; NULL behind the last. Any thread. */
struct tide_collection *collection_at(struct tide_engine *engine, size_t place);

/* options.c: fills in defaults; checks ranges; checks a second open against those in force. */
enum tide_status options_complete(struct tide_options *options, struct tide_error *error);
enum tide_status options_compatible(const struct tide_options *wanted, const struct tide_options *in_force,
                                    const char *path, struct tide_error *error);

/* Whether a retention's limit is in its range. */
enum tide_status options_retain_check(enum tide_retain retain, uint64_t limit, struct tide_error *error);

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
/* Wakes all who wait, so that they see a failure or a close. */
void waiters_wake(struct tide_engine *engine);
enum tide_status wait_for_watermark(struct tide_engine *engine, uint64_t seq, enum tide_level level,
                                    uint64_t deadline_us, struct tide_error *error);

/* The same for the engine's own jobs: not counted, and a failure stays to be told to those who write. Errors: FAILED,
 * CLOSED. */
enum tide_status watermark_await(struct tide_engine *engine, uint64_t seq, enum tide_level level,
                                 struct tide_error *error);

/* A call that waits is counted: a close wakes it and waits until it has left. Entering locks the engine's mutex,
 * leaving unlocks it; CLOSED, without the mutex, when a close has begun. */
enum tide_status waiter_enter(struct tide_engine *engine, struct tide_error *error);
void waiter_leave(struct tide_engine *engine);

/* listen.c: wakes whose wants are fulfilled, with the mutex locked. */
void listeners_wake(struct tide_engine *engine, bool durable_rose, bool failed);

/* The same file: FAILED or CLOSED, else OK, also while the disk is full. Unlike engine_state it doesn't hear of a
 * failure in the place of those who write. */
enum tide_status engine_lives(struct tide_engine *engine, struct tide_error *error);

/* clock.c: microseconds, since 1970 and since some fixed moment. */
uint64_t clock_real_us(void);
uint64_t clock_monotonic_us(void);
uint64_t clock_deadline_us(uint64_t timeout_ms); /* TIDE_NO_TIMEOUT: UINT64_MAX */
struct timespec clock_timespec(uint64_t monotonic_us);

/* id.c: whether an id may be stored: 1-255 bytes of UTF-8 without control characters. NULL, or what is wrong. */
const char *id_fault(const char *id, size_t id_length);

#endif
