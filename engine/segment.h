/* segment.h - the files of the log: their names, and which of them a directory holds.
 *
 *   events.raftlog                        the active segment
 *   events-00000000000000000001.raftlog   a sealed one, named for its first seq, 20 decimal digits
 *   events.raftlog.next                   the next active segment while the present one is being sealed
 *   removed-*.raftlog                     what repair cut out
 *   lock                                  the lock file, with the process id of who has it */
#ifndef TIDE_SEGMENT_H
#define TIDE_SEGMENT_H

#include "file.h"
#include "format.h"
#include "tidemark.h"

#define SEGMENT_ACTIVE_NAME "events.raftlog"
#define SEGMENT_NEXT_NAME "events.raftlog.next"
#define LOCK_NAME "lock"

enum { SEGMENT_NAME_BYTES = 64 }; /* enough for every name above */

void segment_sealed_name(char name[SEGMENT_NAME_BYTES], uint64_t first_seq);

struct segment_list {
    uint64_t *sealed; /* first seqs by their names, ascending */
    size_t sealed_count;
    bool active, next; /* whether those files are there */
};

/* Lists the segments of `directory`. The caller gives the list back with segment_list_free. A name like
 * events-*.raftlog that isn't well formed is CORRUPT and named. */
enum tide_status segment_list_read(const char *directory, struct segment_list *list, struct tide_error *error);
void segment_list_free(struct segment_list *list);

/* The sum of the lengths that the listed sealed segments have now. Each compaction makes one of them shorter. */
uint64_t segment_list_bytes(const char *directory, const struct segment_list *list);

/* Creates the file `name` with a segment header, synced; the directory is not. */
enum tide_status segment_create(const char *directory, const char *name, const struct segment_header *header,
                                struct tide_error *error);

/* Reads and checks the header of an open segment. A file too short for one is CORRUPT. */
enum tide_status segment_read_header(int fd, const char *name, struct segment_header *header, struct tide_error *error);

#endif
