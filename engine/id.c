/* id.c - which ids may be stored, and new ones.
 *
 * An id is 1-255 bytes of UTF-8 without control characters (U+0000-001F, U+007F). UTF-8 as in RFC 3629: no overlong
 * forms, no surrogates, nothing above U+10FFFF.
 *
 * A new id is a UUIDv7 (RFC 9562, section 5.7): 48 bits of milliseconds, so that ids sort by their time, and 74 random
 * bits. The randomness comes from the kernel, fetched for 256 ids at a time and kept per thread. */
#include <emmintrin.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "engine.h"
#include "thread.h"

/* How many bytes from the first on are surely ASCII without control characters: eight at a time, by the classic tests
 * for small and zero bytes in a word. A borrow may set a bit above a true one, which only ends this early. */
static size_t ascii_length(const char *id, size_t id_length)
{
    const uint64_t ones = UINT64_MAX / 255;
    size_t i = 0;
    for (; i + 8 <= id_length; i += 8) {
        uint64_t word;
        memcpy(&word, id + i, sizeof word);
        uint64_t delete = word ^ (ones * 0x7F);
        if ((word | (word - ones * 0x20) | (delete - ones)) & ones * 0x80)
            break;
    }
    return i;
}

/* The length of the UTF-8 sequence at p, of which `left` bytes are there; 0 when it is none. */
static size_t utf8_sequence(const unsigned char *p, size_t left)
{
    unsigned char first = p[0];
    size_t length = first < 0x80 ? 1 : first < 0xC2 ? 0 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : first < 0xF5 ? 4 : 0;
    if (length == 0 || length > left)
        return 0;
    for (size_t i = 1; i < length; i++) {
        if ((p[i] & 0xC0) != 0x80)
            return 0;
    }
    bool overlong = (first == 0xE0 && p[1] < 0xA0) || (first == 0xF0 && p[1] < 0x90);
    bool surrogate = first == 0xED && p[1] >= 0xA0;
    bool too_high = first == 0xF4 && p[1] >= 0x90;
    return overlong || surrogate || too_high ? 0 : length;
}

const char *id_fault(const char *id, size_t id_length)
{
    if (id_length == 0)
        return "id is empty";
    if (id_length > TIDE_ID_BYTES_MAX)
        return "id is longer than 255 bytes";
    const unsigned char *p = (const unsigned char *)id;
    for (size_t i = ascii_length(id, id_length); i < id_length;) {
        if (p[i] < 0x20 || p[i] == 0x7F)
            return "id contains a control character";
        size_t length = utf8_sequence(p + i, id_length - i);
        if (length == 0)
            return "id is not valid UTF-8";
        i += length;
    }
    return NULL;
}

static void random_fill(void *bytes, size_t count)
{
    char *p = bytes;
    while (count > 0) {
        ssize_t got = getrandom(p, count, 0);
        if (got < 0 && errno != EINTR)
            abort(); /* the kernel has had it since 3.17 */
        if (got > 0) {
            p += got;
            count -= (size_t)got;
        }
    }
}

static __m128i hex_digits(__m128i nibbles)
{
    __m128i letters = _mm_and_si128(_mm_cmpgt_epi8(nibbles, _mm_set1_epi8(9)), _mm_set1_epi8('a' - '0' - 10));
    return _mm_add_epi8(_mm_add_epi8(nibbles, _mm_set1_epi8('0')), letters);
}

static void hex(const unsigned char bytes[16], char digits[32])
{
    __m128i all = _mm_loadu_si128((const __m128i *)(const void *)bytes), low = _mm_set1_epi8(15);
    __m128i high_nibbles = _mm_and_si128(_mm_srli_epi16(all, 4), low), low_nibbles = _mm_and_si128(all, low);
    __m128i first = hex_digits(_mm_unpacklo_epi8(high_nibbles, low_nibbles));
    __m128i second = hex_digits(_mm_unpackhi_epi8(high_nibbles, low_nibbles));
    _mm_storeu_si128((__m128i *)(void *)digits, first);
    _mm_storeu_si128((__m128i *)(void *)(digits + 16), second);
}

void tide_uuid(char text[37])
{
    enum { RANDOM_BYTES = 10, IDS_AHEAD = 256 };
    static __thread unsigned char pool[RANDOM_BYTES * IDS_AHEAD];
    static __thread size_t pool_left;
    static __thread unsigned pool_fork_count;
    if (pool_left == 0 || pool_fork_count != thread_fork_count()) {
        random_fill(pool, sizeof pool);
        pool_left = IDS_AHEAD;
        pool_fork_count = thread_fork_count();
    }
    unsigned char bytes[16];
    uint64_t milliseconds = clock_real_us() / 1000;
    for (int i = 0; i < 6; i++)
        bytes[i] = (unsigned char)(milliseconds >> (40 - 8 * i));
    memcpy(bytes + 6, pool + --pool_left * RANDOM_BYTES, RANDOM_BYTES);
    bytes[6] = (unsigned char)(0x70 | (bytes[6] & 0x0F));
    bytes[8] = (unsigned char)(0x80 | (bytes[8] & 0x3F));
    char digits[32];
    hex(bytes, digits);
    for (int group = 0, from = 0; group < 5; group++) { /* 8-4-4-4-12 */
        int length = group == 0 ? 8 : group < 4 ? 4 : 12;
        memcpy(text, digits + from, (size_t)length);
        text[length] = group < 4 ? '-' : 0;
        text += length + 1;
        from += length;
    }
}
