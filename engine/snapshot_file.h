/* snapshot_file.h - the files of snapshots: their names, writing one, reading one. See the top of snapshot_file.c. */
#ifndef TIDE_SNAPSHOT_FILE_H
#define TIDE_SNAPSHOT_FILE_H

#include "block.h"
#include "segment.h"
#include "snapshot_format.h"

#define SNAPSHOT_TEMPORARY_NAME "snapshot.tmp"
#define SNAPSHOT_ASIDE_PREFIX "removed-"

/* "snapshot-", 20 digits, ".tidesnap" */
void snapshot_name(char name[SEGMENT_NAME_BYTES], uint64_t seq);

struct snapshot_list {
    uint64_t *seqs; /* by their names, the newest first */
    size_t count;
    bool temporary; /* a snapshot that was not finished lies there */
};

/* Lists the snapshots of `directory`; names that are not quite one's are passed over. The caller frees the list. */
enum tide_status snapshot_list_read(const char *directory, struct snapshot_list *list, struct tide_error *error);
void snapshot_list_free(struct snapshot_list *list);

/* ---- Writing: one thread ---- */

struct snapshot_output;

/* Begins snapshot.tmp, in place of one that may be there. */
enum tide_status snapshot_output_create(const char *directory, const struct snapshot_header *header,
                                        struct snapshot_output **output, struct tide_error *error);

/* Copies a block, of the collection of that name, as its record; never waits for the disk. False: out of memory. */
bool snapshot_output_add(struct snapshot_output *output, const struct block *block, const char *name,
                         size_t name_length);

/* Whether a block's worth of records has gathered, which snapshot_output_pour writes. */
bool snapshot_output_full(const struct snapshot_output *output);
enum tide_status snapshot_output_pour(struct snapshot_output *output, struct tide_error *error);

/* Pours the rest, writes the footer, syncs. *records, *bytes: what is in the file. */
enum tide_status snapshot_output_finish(struct snapshot_output *output, const struct snapshot_collection *collections,
                                        size_t count, uint64_t *records, uint64_t *bytes, struct tide_error *error);

/* Gives the file its name, durably. */
enum tide_status snapshot_output_publish(struct snapshot_output *output, struct tide_error *error);

/* Frees it; what was not published is removed. NULL does nothing. */
void snapshot_output_destroy(struct snapshot_output *output);

/* ---- Reading: any threads ---- */

struct snapshot {
    struct snapshot_header header;
    struct snapshot_trailer trailer;
    struct snapshot_entry *entries;          /* trailer.blocks of them */
    struct snapshot_collection *collections; /* trailer.collections of them */
    uint64_t bytes;
    int fd;
    char name[SEGMENT_NAME_BYTES];
};

/* Opens the snapshot of `seq`, checks header and footer, and that it is of the database (NULL: of any). Errors:
 * NOT_FOUND; CORRUPT (damaged, cut, of another database or format version: the message tells); IO, MEMORY.
 * snapshot_close in any case. */
enum tide_status snapshot_open(struct snapshot *snapshot, const char *directory, uint64_t seq,
                               const uint8_t *database_id, struct tide_error *error);
void snapshot_close(struct snapshot *snapshot);

/* The seq of the newest snapshot of the database whose header and footer are whole; 0: there is none. */
uint64_t snapshot_newest_seq(const char *directory, const uint8_t *database_id);

/* Reads block `number` into *buffer, which grows as needed (from malloc; NULL at first), and checks it. */
enum tide_status snapshot_block_read(const struct snapshot *snapshot, uint64_t number, uint8_t **buffer,
                                     size_t *capacity, struct tide_error *error);

/* tide_snapshots; those that are not of `database_id` (NULL: any) are told as faulty. */
enum tide_status snapshots_tell(const char *directory, const uint8_t *database_id, bool whole,
                                void (*visit)(void *context, const struct tide_snapshot_file *file), void *context,
                                struct tide_error *error);

#endif
