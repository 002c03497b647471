/* tidemark.h - the one public header of the Tidemark engine, an embedded, event-sourced document store.
 *
 * A database is a directory. tide_open() brings its documents into a concurrent in-memory map; reads never wait, every
 * change is an event with a place in one global order (its seq), and one writer thread appends events to the log in
 * checksummed batches. The engine stores bytes: that a document is JSON is the caller's business.
 *
 * Threads: every function may be called from any thread at any time unless it says otherwise. After tide_close() has
 * been called no further call may start; calls in progress end with TIDE_CLOSED. fork() without exec() is not
 * supported: in the child every call fails.
 *
 * Errors: functions return a status. Where they take a struct tide_error, which may be NULL, a failure fills it with
 * the status and a message that names the thing (collection and id, file and offset, option).
 *
 * Units are in the names: _ms, _us, _bytes. Lengths are in bytes; ids and names need no terminating zero.
 */
#ifndef TIDEMARK_H
#define TIDEMARK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define TIDE_VERSION "0.1.0"

/* Status, the code that the Lua API shows, and a text for people. */
#define TIDE_STATUS_MAP(X)                                                                                             \
    X(OK, "ok", "fine")                                                                                                \
    X(EXISTS, "exists", "the document exists already")                                                                 \
    X(NOT_FOUND, "not_found", "there is no such thing")                                                                \
    X(CONFLICT, "conflict", "the document has another version")                                                        \
    X(INVALID, "invalid", "the input cannot be stored")                                                                \
    X(BUSY, "busy", "no room in the channel within the time allowed")                                                  \
    X(TIMEOUT, "timeout", "the time allowed has passed")                                                               \
    X(READ_ONLY, "read_only", "the database is open for reading alone")                                                \
    X(LOCKED, "locked", "another process has the database")                                                            \
    X(CORRUPT, "corrupt", "the log is damaged")                                                                        \
    X(IO, "io", "the operating system reported an error")                                                              \
    X(FULL, "full", "no space is left on the device")                                                                  \
    X(FAILED, "failed", "an earlier write failed; the database takes no more")                                         \
    X(CLOSED, "closed", "the database was closed")                                                                     \
    X(MEMORY, "memory", "out of memory")

enum tide_status {
#define X(name, code, text) TIDE_##name,
    TIDE_STATUS_MAP(X)
#undef X
};

/* The stable code ("exists") and the text of a status. Static strings. */
const char *tide_status_code(enum tide_status status);
const char *tide_status_text(enum tide_status status);

struct tide_error {
    enum tide_status status;
    char message[500];
};

/* ---- Opening ---------------------------------------------------------------------------------------------------- */

enum tide_sync { TIDE_SYNC_DEFAULT, TIDE_SYNC_BATCH, TIDE_SYNC_INTERVAL, TIDE_SYNC_NONE };
enum tide_durability { TIDE_DURABILITY_DEFAULT, TIDE_ACCEPTED, TIDE_DURABLE };

/* Which events compaction leaves in the log beside the newest one of each document. Each but ALL has a limit. */
enum tide_retain {
    TIDE_RETAIN_DEFAULT,
    TIDE_RETAIN_ALL,                 /* every event */
    TIDE_RETAIN_EVENTS_PER_DOCUMENT, /* so many of each document that exists, the newest included; of others none */
    TIDE_RETAIN_DAYS,                /* those that are younger than so many days */
    TIDE_RETAIN_LOG_BYTES            /* as many as fit: the oldest segments are compacted until the log is so large */
};

/* Ranges of the options, both ends included. The defaults are in engine/options.c. */
#define TIDE_COUNT_MAX UINT64_C(1000000)         /* batch_size */
#define TIDE_MILLISECONDS_MAX UINT64_C(86400000) /* one day */
#define TIDE_BATCH_BYTES_MIN UINT64_C(4096)
#define TIDE_BATCH_BYTES_MAX (UINT64_C(1) << 30)
#define TIDE_PENDING_BYTES_MIN (UINT64_C(64) << 10)
#define TIDE_PENDING_BYTES_MAX (UINT64_C(64) << 30)
#define TIDE_SEGMENT_BYTES_MIN (UINT64_C(1) << 20)
#define TIDE_SEGMENT_BYTES_MAX (UINT64_C(1) << 40)
#define TIDE_DOCUMENT_BYTES_MIN UINT64_C(2)
#define TIDE_DOCUMENT_BYTES_MAX (UINT64_C(1) << 30)
#define TIDE_SNAPSHOT_LOG_BYTES_MIN (UINT64_C(1) << 20)
#define TIDE_NO_SNAPSHOTS UINT64_MAX /* snapshot_log_bytes: none but those that are asked for */
#define TIDE_ID_BYTES_MAX 255
#define TIDE_NAME_BYTES_MAX 64
#define TIDE_RETAIN_EVENTS_MAX UINT64_C(1000000000)
#define TIDE_RETAIN_DAYS_MAX UINT64_C(36500)
#define TIDE_RETAIN_LOG_BYTES_MIN (UINT64_C(1) << 20)
#define TIDE_RETAIN_LOG_BYTES_MAX (UINT64_C(1) << 60)
#define TIDE_NO_TIMEOUT UINT64_MAX    /* wait as long as it takes */
#define TIDE_NO_WAIT (UINT64_MAX - 1) /* do not wait at all: BUSY or TIMEOUT at once */

/* Zero means the default, or on a second open of the same directory: what is in force. */
struct tide_options {
    uint64_t batch_size;             /* events after which a batch is written; 1000 */
    uint64_t flush_interval_ms;      /* longest time from an event's acceptance to its writing; 100 */
    uint64_t batch_bytes_max;        /* bytes after which a batch is written; 4 MiB */
    uint64_t pending_bytes_max;      /* bytes accepted and not yet written; 256 MiB */
    uint64_t sync_interval_ms;       /* for TIDE_SYNC_INTERVAL; 1000 */
    uint64_t timeout_ms;             /* longest wait of a write, for room or durability; none */
    uint64_t segment_bytes;          /* size at which a segment is sealed; 256 MiB */
    uint64_t document_bytes_max;     /* larger documents are refused; 16 MiB */
    uint64_t snapshot_log_bytes;     /* bytes of log after which a snapshot is made; 1 GiB, TIDE_NO_SNAPSHOTS: never */
    enum tide_sync sync;             /* TIDE_SYNC_BATCH */
    enum tide_durability durability; /* TIDE_ACCEPTED */
    enum tide_retain retain;         /* TIDE_RETAIN_ALL; with another one a thread of the engine compacts the log */
    uint64_t retain_limit;           /* of that retention: events, days or bytes */
    bool read_only;                  /* no writer, no lock, nothing in the directory changes */
    bool read_write;                 /* the caller said read_only = false: a read-only engine contradicts it */
    bool hash_chain;                 /* each frame carries a SHA-256 over itself and all frames before; a log that is
                                        chained goes on so */
    bool no_hash_chain;              /* the caller said hash_chain = false: a chained log contradicts it */
};

struct tide_engine;
struct tide_collection;

/* Whether all options are in their ranges: OK, or INVALID with a message that names the first one that isn't. */
enum tide_status tide_options_check(const struct tide_options *options, struct tide_error *error);

/* Opens the database in the directory `path`, creating it and its parents where they are missing. The same directory
 * (by device and inode) opened again in this process gives the same engine, counted.
 * Errors: INVALID (an option out of range, or one that contradicts those in force), NOT_FOUND (read_only), LOCKED,
 * CORRUPT, IO, FULL, MEMORY, BUSY (read_only, while another process compacts the log over and over). */
enum tide_status tide_open(const char *path, const struct tide_options *options, struct tide_engine **engine,
                           struct tide_error *error);

/* Gives one opening back; the last one flushes, ends the writer and frees everything, whatever the flush said.
 * Calls of other threads that wait end with CLOSED. Errors: those of tide_flush. */
enum tide_status tide_close(struct tide_engine *engine, struct tide_error *error);

/* The options in force, and the path as it was given to the first open. They live as long as the engine. */
const struct tide_options *tide_options_in_force(const struct tide_engine *engine);
const char *tide_path(const struct tide_engine *engine);

/* The collection of this name, made at its first use; it lives as long as the engine. A name is 1 to 64 of
 * A-Z a-z 0-9 _ -; there are at most 524,288 of them. Else NULL with INVALID. */
struct tide_collection *tide_collection(struct tide_engine *engine, const char *name, size_t name_length,
                                        struct tide_error *error);
bool tide_name_valid(const char *name, size_t name_length);
const char *tide_collection_name(const struct tide_collection *collection);
struct tide_engine *tide_collection_engine(const struct tide_collection *collection);

/* Calls `visit` for each collection, until it returns false. The order is that of their first use. */
void tide_collections(struct tide_engine *engine, bool (*visit)(void *context, struct tide_collection *collection),
                      void *context);

/* ---- Writing ---------------------------------------------------------------------------------------------------- */

enum tide_operation {
    TIDE_CREATE,  /* EXISTS when the id is taken */
    TIDE_PUT,     /* creates or replaces */
    TIDE_REPLACE, /* NOT_FOUND when it is absent */
    TIDE_DELETE   /* NOT_FOUND when it is absent; takes no value */
};

#define TIDE_ANY_VERSION UINT64_MAX /* if_version: no precondition */

struct tide_write {
    enum tide_operation operation;
    enum tide_durability durability; /* DEFAULT: the engine's */
    uint64_t if_version;             /* the version that must be in force; 0: absent; TIDE_ANY_VERSION: whatever */
    uint64_t timeout_ms;             /* 0: the engine's; TIDE_NO_TIMEOUT, TIDE_NO_WAIT */
    const char *id;
    size_t id_length;
    const char *value;
    size_t value_length;
};

struct tide_written {
    uint64_t version; /* of the document, the seq of the event; 0 when nothing was accepted */
    bool created;     /* the id was absent before */
};

/* Writes one document. FULL says that the disk has no space for it: the write was refused and nothing else happened,
 * unless tide_health says FAILED. On return it is accepted, or with TIDE_DURABLE on stable storage. The caller keeps id
 * and value. A durable wait that times out returns TIMEOUT with the version set: the write stays accepted. Errors:
 * EXISTS, NOT_FOUND, CONFLICT, INVALID (id or value outside their sizes, an id with control characters), BUSY, TIMEOUT,
 * READ_ONLY, IO, FULL, FAILED, CLOSED, MEMORY. */
enum tide_status tide_write(struct tide_collection *collection, const struct tide_write *write,
                            struct tide_written *written, struct tide_error *error);

/* A new UUIDv7 (RFC 9562) as text, 36 characters and a zero. */
void tide_uuid(char text[37]);

/* ---- Reading ---------------------------------------------------------------------------------------------------- */

/* A document where it lies in the map. Valid until the read section ends; 64 bytes behind the value may be read
 * (not used), as simdjson asks. */
struct tide_view {
    const char *id, *value; /* value NULL: absent */
    size_t id_length, value_length;
    uint64_t version;
};

/* A read section: views got within it stay valid until its end. Cheap, takes no lock; does not nest; never wait, write
 * or call Lua within. One per thread at a time, whatever the number of engines. */
void tide_read_begin(struct tide_engine *engine);
void tide_read_end(struct tide_engine *engine);

/* Looks one id up, inside a read section. OK or NOT_FOUND. */
enum tide_status tide_get(struct tide_collection *collection, const char *id, size_t id_length, struct tide_view *view);

struct tide_key {
    const char *id;
    size_t id_length;
};

/* Looks `count` ids up at once, inside a read section, with their cache misses overlapped. `ahead`: how many bytes of
 * each value, from its beginning, the caller is going to read (SIZE_MAX: all of it), so that they are asked for as
 * well; a hint, which changes nothing but the time. views[i].value is NULL where keys[i] is absent. Returns how many
 * were found. */
size_t tide_get_many(struct tide_collection *collection, const struct tide_key *keys, size_t count, size_t ahead,
                     struct tide_view *views);

uint64_t tide_count(const struct tide_collection *collection);

/* A place in the iteration over a collection; start with {0}. What exists throughout is seen once, nothing twice,
 * while others write and the map grows. One that was made up is a place all the same, or the end. */
struct tide_cursor {
    uint32_t shard;
    bool done;
    uint64_t hash;
};

/* Gives up to `capacity` documents behind the cursor, inside a read section, and moves it. 0 with cursor->done: the
 * end. `capacity` is at least 1. */
size_t tide_scan(struct tide_collection *collection, struct tide_cursor *cursor, struct tide_view *views,
                 size_t capacity);

/* ---- Watermarks ------------------------------------------------------------------------------------------------- */

enum tide_level { TIDE_LEVEL_DURABLE, TIDE_LEVEL_WRITTEN };

struct tide_watermarks {
    uint64_t accepted, written, durable;
};

void tide_watermarks(struct tide_engine *engine, struct tide_watermarks *watermarks);

/* Waits until everything accepted before the call is durable; *durable (may be NULL) gets the watermark.
 * Errors: TIMEOUT, IO, FULL, FAILED, CLOSED, READ_ONLY. */
enum tide_status tide_flush(struct tide_engine *engine, uint64_t timeout_ms, uint64_t *durable,
                            struct tide_error *error);

/* Waits until the watermark `level` has reached `seq`, hurrying the writer. Errors: as tide_flush, and INVALID for a
 * seq that was not yet accepted. */
enum tide_status tide_wait(struct tide_engine *engine, uint64_t seq, enum tide_level level, uint64_t timeout_ms,
                           struct tide_error *error);

/* ---- Snapshots -------------------------------------------------------------------------------------------------- */

/* A file with all documents as of one seq, from which opening starts instead of from the log's beginning. */
struct tide_snapshot {
    uint64_t seq;         /* the state is that behind this event */
    uint64_t records;     /* documents; one that changed meanwhile may count twice */
    uint64_t bytes;       /* of the file */
    uint64_t duration_us; /* that making it took; 0: an earlier opening made it */
};

/* Makes a snapshot of at least everything accepted before the call, beside readers and writers, and waits until it is
 * durable under its name; several calls at the same time may share one. `made` may be NULL. A failure leaves the engine
 * as it was. Errors: READ_ONLY, IO, FULL, MEMORY, FAILED, CLOSED. */
enum tide_status tide_snapshot(struct tide_engine *engine, struct tide_snapshot *made, struct tide_error *error);

/* A snapshot of a directory that need not be open. */
struct tide_snapshot_file {
    const char *name; /* within the directory */
    uint64_t seq, records, bytes;
    uint64_t created_us; /* since 1970 */
    const char *fault;   /* NULL: whole; else a message, which begins with the name */
};

/* Calls `visit` for each snapshot of the directory, the newest first. `whole`: every byte is read and checked, not only
 * header and footer. Errors: NOT_FOUND, IO, MEMORY. */
enum tide_status tide_snapshots(const char *path, bool whole,
                                void (*visit)(void *context, const struct tide_snapshot_file *file), void *context,
                                struct tide_error *error);

/* ---- Events ----------------------------------------------------------------------------------------------------- */

enum tide_event_type {
    TIDE_EVENT_GAP = 0,
    TIDE_EVENT_CREATED = 1,
    TIDE_EVENT_UPDATED = 2,
    TIDE_EVENT_DELETED = 3,
    TIDE_EVENT_USER = 16
};

/* "gap", "created", "updated", "deleted"; "user" for the rest. */
const char *tide_event_type_name(uint8_t type);

/* A gap stands for events that repair or compaction removed: seq is the first of them, last_seq the last, within the
 * seqs asked for; the rest is empty. */
struct tide_event {
    uint64_t seq, last_seq; /* last_seq: the same as seq but for a gap */
    uint64_t time_us;
    uint64_t previous_seq; /* of the same document's event before, 0 where none is known */
    uint8_t type;
    const char *collection, *id, *value; /* value NULL: deleted. Valid until the next call on the iterator */
    size_t collection_length, id_length, value_length;
};

struct tide_event_filter {
    uint64_t from, to;      /* seqs, both included; to 0: the written watermark at the call */
    const char *collection; /* NULL: all. Length in collection_length */
    size_t collection_length;
    const char *id; /* NULL: all; only with a collection */
    size_t id_length;
};

struct tide_events;

/* Opens an iterator over the log in seq order, up to the written watermark at the call. It holds files of its own and
 * keeps the engine open (as tide_open does) until it is closed. One thread at a time uses it. */
enum tide_status tide_events_open(struct tide_engine *engine, const struct tide_event_filter *filter,
                                  struct tide_events **events, struct tide_error *error);

/* The next event: OK, or NOT_FOUND at the end. Errors: CORRUPT, IO, MEMORY. */
enum tide_status tide_events_next(struct tide_events *events, struct tide_event *event, struct tide_error *error);

/* Closes the iterator; NULL does nothing. */
void tide_events_close(struct tide_events *events);

/* ---- Compaction ------------------------------------------------------------------------------------------------- */

typedef void tide_progress_function(void *context, uint64_t done, uint64_t total);

/* What a compaction is to do; all zeros: as the engine's own retention says. */
struct tide_compact {
    enum tide_retain retain;          /* DEFAULT: the one in force */
    uint64_t limit;                   /* of `retain`, unless that is DEFAULT */
    bool sealed_alone;                /* leave the active segment as it is */
    tide_progress_function *progress; /* segments done and in all; NULL: none */
    void *context;
};

struct tide_compaction {
    uint64_t segments;                  /* that were looked at */
    uint64_t rewritten;                 /* those of which a tenth or more went */
    uint64_t removed;                   /* events */
    uint64_t bytes_before, bytes_after; /* of the log */
};

/* Removes from the log what the retention doesn't ask for. Works on sealed segments, beside readers and writers,
 * and has the active one sealed before. The newest event of each document always stays, seqs
 * keep their places, and tide_events tells what is gone as gaps. Needs room on the disk for the largest segment once
 * more. Runs in the calling thread, one at a time: a second call waits. `compact` and `result` may be NULL; after an
 * error the result tells how far it came. An error leaves every segment whole, and the engine as it was. Where the disk
 * has no space for another segment the active one is left as it is.
 * `progress` may write and read; it may not compact or ask for a snapshot, which would wait for this compaction.
 * Errors: INVALID (the limit; a hash chain), READ_ONLY, CORRUPT, IO, FULL, FAILED, CLOSED, MEMORY. */
enum tide_status tide_compact(struct tide_engine *engine, const struct tide_compact *compact,
                              struct tide_compaction *result, struct tide_error *error);

/* ---- Waiting without blocking ----------------------------------------------------------------------------------- */

/* For an event loop, which may not sleep in the engine: it writes with TIDE_NO_WAIT and TIDE_ACCEPTED, says with
 * tide_want what it waits for, is woken at most once a batch, and looks with tide_reached or tries its write again.
 * The caller owns the listener, from tide_listen until tide_unlisten has returned. */
struct tide_listener {
    void (*wake)(void *context); /* any thread, with locks held: hands the call over (uv_async_send) and returns */
    void *context;
    struct tide_listener *next; /* the engine's, like those below */
    uint64_t durable;
    bool room;
};

void tide_listen(struct tide_engine *engine, struct tide_listener *listener);
void tide_unlisten(struct tide_engine *engine, struct tide_listener *listener);

/* From now on wake is called whenever the durable watermark has risen, until it has reached `durable` (0: not wanted),
 * and once when room was given back (`room`); at once if that is so already, or if the engine has failed or fails. */
void tide_want(struct tide_engine *engine, struct tide_listener *listener, uint64_t durable, bool room);

/* OK when the watermark has reached `seq`, TIMEOUT when it has not, the failure when it never will. */
enum tide_status tide_reached(struct tide_engine *engine, uint64_t seq, enum tide_level level,
                              struct tide_error *error);

/* Whether the engine takes writes: OK, FULL while the disk has no space for more, FAILED with what failed, CLOSED.
 * Takes no lock. */
enum tide_status tide_health(struct tide_engine *engine, struct tide_error *error);

/* ---- Figures ---------------------------------------------------------------------------------------------------- */

/* Name, and what the figure means; all are uint64_t. */
#define TIDE_STATS_MAP(X)                                                                                              \
    X(accepted, "seq of the newest accepted event")                                                                    \
    X(written, "seq of the newest written event")                                                                      \
    X(durable, "seq of the newest durable event")                                                                      \
    X(documents, "documents in all collections")                                                                       \
    X(collections, "collections used so far")                                                                          \
    X(batches, "batches written since opening")                                                                        \
    X(events_written, "events written since opening")                                                                  \
    X(bytes_written, "bytes of frames written since opening")                                                          \
    X(syncs, "fdatasync calls of the log since opening")                                                               \
    X(sync_us, "time spent in them")                                                                                   \
    X(pending_bytes, "bytes accepted and not yet written")                                                             \
    X(log_bytes, "bytes of all segments up to their last frame")                                                       \
    X(segments, "segments of the log")                                                                                 \
    X(memory_bytes, "memory taken from the system for documents and the map")                                          \
    X(block_bytes, "memory of the documents' blocks in use")                                                           \
    X(retired_bytes, "memory that waits until no reader can see it")                                                   \
    X(recovery_ms, "time that opening took")                                                                           \
    X(recovered_events, "events read while opening")                                                                   \
    X(torn_bytes, "bytes that opening cut from a torn tail")                                                           \
    X(torn_seq, "first seq of the torn tail, 0 without one")                                                           \
    X(snapshot_seq, "seq of the newest snapshot, made or begun with; 0 without one")                                   \
    X(snapshot_documents, "documents in it")                                                                           \
    X(snapshot_bytes, "bytes of its file")                                                                             \
    X(snapshot_ms, "time that making it took, 0 when it was made before opening")                                      \
    X(snapshots, "snapshots made since opening")                                                                       \
    X(snapshots_failed, "snapshots that failed since opening")                                                         \
    X(snapshots_bad, "snapshots that opening could not use: damaged, foreign, or newer than the log")                  \
    X(recovered_snapshot_seq, "seq of the snapshot that opening began with, 0 without one")                            \
    X(recovered_snapshot_ms, "time that reading it took")                                                              \
    X(compactions, "compactions since opening, in the background or called for")                                       \
    X(compactions_failed, "those of them that did not come to their end")                                              \
    X(compacted_events, "events that they removed")

struct tide_stats {
#define X(name, meaning) uint64_t name;
    TIDE_STATS_MAP(X)
#undef X
};

void tide_stats(struct tide_engine *engine, struct tide_stats *stats);

/* ---- The chain of hashes ---------------------------------------------------------------------------------------- */

/* With hash_chain each frame of the log carries a SHA-256 over its bytes and the hash of the frame before. Whoever
 * keeps the newest hash elsewhere can tell later that nothing up to it was changed, removed or put in. */
#define TIDE_HASH_BYTES 32

struct tide_chain_head {
    uint8_t hash[TIDE_HASH_BYTES];
    uint64_t first_seq; /* from here on the log is chained */
    uint64_t seq;       /* the newest event that the hash vouches for; first_seq - 1: none yet */
};

/* The hash of the last frame written. OK, or NOT_FOUND when the log has no chained frame. */
enum tide_status tide_chain_head(struct tide_engine *engine, struct tide_chain_head *head, struct tide_error *error);

/* ---- A directory that is not open ------------------------------------------------------------------------------- */

/* What verify or repair found, or info tells. */
struct tide_report {
    uint64_t segments, frames, events, first_seq, last_seq, log_bytes;
    uint64_t first_time_us, last_time_us;
    uint64_t created, updated, deleted;
    uint64_t damages;                           /* pieces that were once durable and are bad */
    uint64_t missing_events;                    /* seqs that damage took, as far as known */
    uint64_t compacted_events;                  /* seqs that compaction removed */
    uint64_t torn_bytes, torn_offset, torn_seq; /* torn tail of the active segment */
    bool torn, clean_close, in_use;             /* in_use: a process has the lock */
    uint8_t database_id[16];
    uint32_t format_version;
    uint64_t snapshots, snapshots_bad;   /* verify: looked at, and of these unfit; the log does not need them */
    bool backup, incomplete;             /* it is a backup; an interrupted run left it so, and it is not whole */
    uint64_t backup_seq, backup_time_us; /* what its manifest says: the newest event, when it was begun */
    bool chained;                        /* there are frames with a hash; chain is as of the last of them */
    struct tide_chain_head chain;        /* as the frames say it; tide_verify_chain looks whether it is so */
    uint64_t chain_breaks;               /* tide_verify_chain: places at which a hash does not fit */
    bool chain_vouched;                  /* tide_verify_chain: `head` is the hash of a frame, up to which all fits */
    uint64_t chain_vouched_seq;          /* and the last event up to it */
    uint64_t removed_bytes;              /* repair: what went to the side file */
    char removed_file[300];              /* repair: its name, "" without one */
};

/* One finding: damage, a gap, a torn tail or a hash that does not fit. `file` is the name within the directory. Seqs
 * are 0 where unknown. */
struct tide_finding {
    const char *kind; /* "damage", "gap" (told by an earlier repair), "torn", "snapshot" (one that is unfit), "chain",
                         or "incomplete" (an interrupted backup) */
    const char *file;
    uint64_t offset, bytes, first_seq, last_seq;
    const char *message;
};

typedef void tide_finding_function(void *context, const struct tide_finding *finding); /* progress: in bytes */

/* Reads the whole log of the directory, which may be in use, and reports. OK whatever it finds; errors: NOT_FOUND,
 * IO, MEMORY. `finding` and `progress` may be NULL. */
enum tide_status tide_verify(const char *path, struct tide_report *report, tide_finding_function *finding,
                             tide_progress_function *progress, void *context, struct tide_error *error);

/* tide_verify that also computes the hashes of a chained log again. A finding of the kind "chain" is the first frame of
 * a row whose hashes do not fit: changed itself, or behind one that was changed, removed or put in; or a frame without
 * a hash behind one that has it, as repair leaves it where it cut something out. `head` (TIDE_HASH_BYTES, may be NULL)
 * is a hash that was kept elsewhere; the report says up to which event the log is the one that it was taken of. */
enum tide_status tide_verify_chain(const char *path, const uint8_t *head, struct tide_report *report,
                                   tide_finding_function *finding, tide_progress_function *progress, void *context,
                                   struct tide_error *error);

/* Cuts what is damaged out of the log into removed-*.raftlog, keeps every other event with its seq and time, and
 * leaves a directory that opens. Errors: NOT_FOUND, LOCKED, IO, FULL, MEMORY. */
enum tide_status tide_repair(const char *path, struct tide_report *report, tide_finding_function *finding,
                             tide_progress_function *progress, void *context, struct tide_error *error);

/* ---- Backup and restore ----------------------------------------------------------------------------------------- */

struct tide_backup_result {
    uint64_t seq;                        /* of the newest event in the backup */
    uint64_t time_us;                    /* when it was begun, since 1970 */
    uint64_t files, bytes;               /* segments of the backup */
    uint64_t files_copied, bytes_copied; /* those that this run has written; the rest was there, and was compared */
};

/* Makes the directory `target` (created with its parents where it is missing) a backup of the open database, or brings
 * the backup that it is up to date: everything accepted before the call is in it. Writers go on meanwhile; the calling
 * thread copies and blocks. A backup is a database directory that can be opened read-only, and a manifest. Whatever
 * interrupts a run, the target is the backup that it was, or the new one, or is told as incomplete, and another run
 * completes it. Of an engine that is open read-only: what is in the log at the call.
 * Errors: INVALID (the target is the database, lies in or around it, holds other files, is a backup of another database
 * or newer than this one), LOCKED, BUSY (the database is compacted over and over), CORRUPT (the database, or the
 * backup's manifest, is damaged), IO, FULL, FAILED, CLOSED, MEMORY. */
enum tide_status tide_backup(struct tide_engine *engine, const char *target, struct tide_backup_result *result,
                             tide_progress_function *progress, void *context, struct tide_error *error);

/* The same for a directory that need not be open, and may be open in another process: what is in its log then. Takes
 * little memory, however large the database is. Errors also: NOT_FOUND. */
enum tide_status tide_backup_directory(const char *directory, const char *target, struct tide_backup_result *result,
                                       tide_progress_function *progress, void *context, struct tide_error *error);

/* Zero: not wanted. With either, what comes later is left out, and the copy is a database with an id of its own, since
 * it will give out the seqs behind anew. */
struct tide_restore_options {
    uint64_t to_seq;     /* the last event to restore */
    uint64_t to_time_us; /* events with a greater time are left out */
};

struct tide_restore_result {
    uint64_t seq, last_time_us; /* of the newest event restored */
    uint64_t files, bytes;
    uint8_t database_id[16];
};

/* Makes the directory `directory`, which must not exist or be empty, a database from the backup `backup`, or from any
 * database directory that no process has open for writing. It appears whole or not at all. `options` may be NULL. A
 * hash chain stays as it is in a whole copy; where something is left out it is computed anew, from the new id on.
 * Errors: NOT_FOUND, INVALID (the directory isn't empty, or lies in the backup; seq or time is not in the backup,
 * or lies before a compaction, which leaves of older states too little), LOCKED, CORRUPT (the backup is damaged or
 * incomplete), IO, FULL, MEMORY. */
enum tide_status tide_restore(const char *backup, const char *directory, const struct tide_restore_options *options,
                              struct tide_restore_result *result, tide_progress_function *progress, void *context,
                              struct tide_error *error);

#ifdef __cplusplus
}
#endif
#endif
