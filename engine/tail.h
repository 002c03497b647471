/* tail.h - what lies behind the last valid frame of the active segment, when a log is opened: torn, or damage. And how
 * what lies before it becomes durable. Both are for recovery.c, whose position is that behind the last valid frame;
 * `durable` is the highest seq that the log or a snapshot says to have been durable. See the top of tail.c. */
#ifndef TIDE_TAIL_H
#define TIDE_TAIL_H

#include "log_reader.h"
#include "recovery.h"

/* With no valid frame at the position: OK when the tail is torn, CORRUPT when it was durable. `frame` is what was found
 * there instead, if `found` says so. Errors: CORRUPT, IO, MEMORY. */
enum tide_status tail_judge(const struct recovery *recovery, uint64_t durable, struct log_reader *reader,
                            enum log_found found, struct log_frame *frame, struct tide_error *error);

/* Makes the segment durable up to the position, and cuts what is behind it where it is `torn`; read only, that is
 * counted alone. `name`: the file's; `begin`: the offset at which reading began. Errors: IO, FULL, MEMORY. */
enum tide_status tail_settle(struct recovery *recovery, uint64_t durable, struct log_reader *reader, const char *name,
                             uint64_t begin, bool torn, struct tide_error *error);

#endif
