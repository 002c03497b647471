/* random.h - one generator of numbers, for what must be the same again with the same seed. */
#ifndef TIDE_CRASH_RANDOM_H
#define TIDE_CRASH_RANDOM_H

#include <stdint.h>

/* splitmix64 (S. Vigna, public domain, described in "Fast splittable pseudorandom number generators", OOPSLA 2014). */
static inline uint64_t random_next(uint64_t *state)
{
    uint64_t x = *state += UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

static inline uint64_t random_below(uint64_t *state, uint64_t bound)
{
    return random_next(state) % bound;
}

#endif
