/* frame_index.c - the sparse index of frames: two ascending arrays under a mutex, searched by halving. An entry is kept
 * when a frame begins FRAME_INDEX_STEP bytes or more behind the last one kept in its segment; so a look-up leads to at
 * most that much reading, and a log of a gigabyte costs 256 KiB of memory. */
#include "frame_index.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "format.h"

#include "error.h"

struct indexed {
    uint64_t first_seq, offset;
    size_t segment;
};

struct indexed_segment {
    uint64_t first_seq;
    uint64_t hole_end; /* behind the segment's first entry nothing is entered up to here; 0: no hole */
    bool sealed;
};

struct frame_index {
    pthread_mutex_t mutex; /* guards what follows */
    struct indexed *frames;
    size_t frame_count, frame_capacity;
    struct indexed_segment *segments;
    size_t segment_count, segment_capacity;
};

struct frame_index *frame_index_create(void)
{
    struct frame_index *index = calloc(1, sizeof *index);
    if (index)
        pthread_mutex_init(&index->mutex, NULL);
    return index;
}

void frame_index_destroy(struct frame_index *index)
{
    if (!index)
        return;
    pthread_mutex_destroy(&index->mutex);
    free(index->frames);
    free(index->segments);
    free(index);
}

/* Makes room for one more entry of `bytes` bytes in an array. */
static bool array_reserve(void **array, size_t count, size_t *capacity, size_t bytes)
{
    if (count < *capacity)
        return true;
    size_t grown = *capacity ? *capacity * 2 : 64;
    void *moved = realloc(*array, grown * bytes);
    if (!moved)
        return false;
    *array = moved;
    *capacity = grown;
    return true;
}

/* Adds the entry of a frame in the newest segment; with the mutex. */
static bool frame_enter(struct frame_index *index, uint64_t first_seq, uint64_t offset)
{
    if (!array_reserve((void **)&index->frames, index->frame_count, &index->frame_capacity, sizeof *index->frames))
        return false;
    index->frames[index->frame_count++] = (struct indexed){first_seq, offset, index->segment_count - 1};
    return true;
}

enum tide_status frame_index_add_segment(struct frame_index *index, uint64_t first_seq)
{
    pthread_mutex_lock(&index->mutex);
    bool room = array_reserve((void **)&index->segments, index->segment_count, &index->segment_capacity,
                              sizeof *index->segments);
    if (room) {
        index->segments[index->segment_count++] = (struct indexed_segment){.first_seq = first_seq};
        /* A segment's beginning is always an entry: it may hold a gap and nothing else. */
        room = frame_enter(index, first_seq, SEGMENT_HEADER_BYTES);
    }
    pthread_mutex_unlock(&index->mutex);
    return room ? TIDE_OK : TIDE_MEMORY;
}

void frame_index_seal(struct frame_index *index)
{
    pthread_mutex_lock(&index->mutex);
    if (index->segment_count > 0)
        index->segments[index->segment_count - 1].sealed = true;
    pthread_mutex_unlock(&index->mutex);
}

enum tide_status frame_index_add_frame(struct frame_index *index, uint64_t first_seq, uint64_t offset)
{
    pthread_mutex_lock(&index->mutex);
    const struct indexed *last = &index->frames[index->frame_count - 1];
    bool room = offset - last->offset < FRAME_INDEX_STEP || frame_enter(index, first_seq, offset);
    pthread_mutex_unlock(&index->mutex);
    return room ? TIDE_OK : TIDE_MEMORY;
}

void frame_index_leave_out(struct frame_index *index, uint64_t end)
{
    pthread_mutex_lock(&index->mutex);
    index->segments[index->segment_count - 1].hole_end = end;
    pthread_mutex_unlock(&index->mutex);
}

void frame_index_clear(struct frame_index *index)
{
    pthread_mutex_lock(&index->mutex);
    index->frame_count = index->segment_count = 0;
    pthread_mutex_unlock(&index->mutex);
}

/* Puts the entries behind the first one of the segment; with the mutex. */
static bool hole_fill(struct frame_index *index, size_t segment, const struct frame_entry *entries, size_t count)
{
    size_t at = 0, total = index->frame_count + count;
    while (index->frames[at].segment != segment)
        at++;
    at++;
    if (total > index->frame_capacity) {
        struct indexed *frames = realloc(index->frames, total * sizeof *frames);
        if (!frames)
            return false;
        index->frames = frames;
        index->frame_capacity = total;
    }
    memmove(index->frames + at + count, index->frames + at, (index->frame_count - at) * sizeof *index->frames);
    for (size_t i = 0; i < count; i++)
        index->frames[at + i] = (struct indexed){entries[i].first_seq, entries[i].offset, segment};
    index->frame_count = total;
    return true;
}

enum tide_status frame_index_fill(struct frame_index *index, uint64_t segment_first_seq,
                                  const struct frame_entry *entries, size_t count)
{
    bool room = true;
    pthread_mutex_lock(&index->mutex);
    for (size_t i = 0; i < index->segment_count; i++) {
        struct indexed_segment *segment = &index->segments[i];
        if (segment->first_seq != segment_first_seq || segment->hole_end == 0)
            continue; /* somebody else was here first */
        room = count == 0 || hole_fill(index, i, entries, count);
        if (room)
            segment->hole_end = 0;
    }
    pthread_mutex_unlock(&index->mutex);
    return room ? TIDE_OK : TIDE_MEMORY;
}

/* The first entry whose first seq is at or behind `seq`; with the mutex. */
static size_t entry_at(const struct frame_index *index, uint64_t seq)
{
    size_t low = 0, high = index->frame_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (index->frames[middle].first_seq < seq)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

void frame_index_replace(struct frame_index *index, uint64_t segment_first_seq, const struct frame_place *places,
                         size_t count, uint64_t bytes)
{
    pthread_mutex_lock(&index->mutex);
    size_t first = entry_at(index, segment_first_seq), end = first;
    size_t segment = index->frames[first].segment;
    if (index->segments[segment].hole_end != 0)
        index->segments[segment].hole_end = bytes;
    while (end < index->frame_count && index->frames[end].segment == segment)
        end++;
    size_t kept = count < end - first ? count : end - first;
    for (size_t i = 0; i < kept; i++) {
        const struct frame_place *place = &places[i * count / kept]; /* spread, where they are more than there were */
        index->frames[first + i] = (struct indexed){place->first_seq, place->offset, segment};
    }
    memmove(&index->frames[first + kept], &index->frames[end], (index->frame_count - end) * sizeof *index->frames);
    index->frame_count -= end - first - kept;
    pthread_mutex_unlock(&index->mutex);
}

bool frame_index_find(struct frame_index *index, uint64_t seq, struct frame_place *place)
{
    pthread_mutex_lock(&index->mutex);
    size_t low = 0, high = index->frame_count;
    while (low < high) { /* the first entry behind seq */
        size_t middle = low + (high - low) / 2;
        if (index->frames[middle].first_seq <= seq)
            low = middle + 1;
        else
            high = middle;
    }
    if (low > 0) {
        const struct indexed *frame = &index->frames[low - 1];
        const struct indexed_segment *segment = &index->segments[frame->segment];
        *place = (struct frame_place){segment->first_seq, frame->offset, segment->sealed, frame->first_seq, 0};
        if (frame->offset == SEGMENT_HEADER_BYTES)
            place->hole_end = segment->hole_end;
    }
    pthread_mutex_unlock(&index->mutex);
    return low > 0;
}
