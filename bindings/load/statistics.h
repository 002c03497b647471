/* statistics.h - a histogram as a value of Lua, as done(summary, latency, requests) gets them. */
#ifndef TIDE_LOAD_STATISTICS_H
#define TIDE_LOAD_STATISTICS_H

#include <lua.h>
#include <stdint.h>

#include "histogram.h"

/* Pushes an object with min, max, mean, stdev, :percentile(p), (i) → value, count, and # (distinct values), of the
 * histogram's values divided by `divisor`. Raises when memory is out. */
void statistics_push(lua_State *L, const struct histogram *histogram, uint64_t divisor);

#endif
