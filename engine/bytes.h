/* bytes.h - numbers in files: little-endian, at any offset. The engine runs on little-endian processors alone (format.c
 * asserts it), so they are copied as they are. */
#ifndef TIDE_BYTES_H
#define TIDE_BYTES_H

#include <stdint.h>
#include <string.h>

static inline void put32(uint8_t *bytes, uint32_t value)
{
    memcpy(bytes, &value, sizeof value);
}

static inline void put64(uint8_t *bytes, uint64_t value)
{
    memcpy(bytes, &value, sizeof value);
}

static inline uint32_t get32(const uint8_t *bytes)
{
    uint32_t value;
    memcpy(&value, bytes, sizeof value);
    return value;
}

static inline uint64_t get64(const uint8_t *bytes)
{
    uint64_t value;
    memcpy(&value, bytes, sizeof value);
    return value;
}

#endif
