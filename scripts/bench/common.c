/* common.c - see common.h. */
#include "common.h"

#include <dirent.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

static uint64_t mix(uint64_t x) /* Stafford's variant 13 of MurmurHash3's finalizer */
{
    x ^= x >> 30;
    x *= UINT64_C(0xbf58476d1ce4e5b9);
    x ^= x >> 27;
    x *= UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

static void hex(char *out, uint64_t value, int digits)
{
    for (int i = digits - 1; i >= 0; i--, value >>= 4)
        out[i] = "0123456789abcdef"[value & 15];
}

void article_id(uint64_t i, char id[static ID_BYTES])
{
    uint64_t high = mix(2 * i + 1), low = mix(2 * i + 2);
    memcpy(id, "01900000-0000-7000-8000-000000000000", ID_BYTES);
    hex(id + 4, high, 4);
    hex(id + 9, high >> 16, 4);
    hex(id + 15, high >> 32, 3);
    hex(id + 20, low, 3);
    hex(id + 24, low >> 16, 12);
}

void article_make(uint64_t i, uint64_t revision, char article[static ARTICLE_BYTES])
{
    char head[ARTICLE_BYTES], id[ID_BYTES];
    article_id(i, id);
    int length = snprintf(head, sizeof head, "{\"id\":\"%.*s\",\"number\":%llu,\"revision\":%llu,\"title\":\"Article\",\"body\":\"",
                          ID_BYTES, id, (unsigned long long)i, (unsigned long long)revision);
    memset(article, 'x', ARTICLE_BYTES);
    memcpy(article, head, (size_t)length);
    memcpy(article + ARTICLE_BYTES - 2, "\"}", 2);
}

uint64_t article_sum(const char *article, size_t length)
{
    uint64_t sum;
    if (length != ARTICLE_BYTES)
        fail("a value of %zu bytes was read", length);
    memcpy(&sum, article + 4 + ID_BYTES - 8, sizeof sum); /* the id's last bytes */
    return sum;
}

uint64_t random_next(struct random *random)
{
    return mix(random->state += UINT64_C(0x9e3779b97f4a7c15)); /* splitmix64 */
}

uint64_t random_below(struct random *random, uint64_t bound)
{
    return (uint64_t)((unsigned __int128)random_next(random) * bound >> 64);
}

void zipf_init(struct zipf *zipf, uint64_t items)
{
    const double theta = 0.99;
    double zeta = 0;
    for (uint64_t i = 1; i <= items; i++)
        zeta += 1 / pow((double)i, theta);
    double two = 1 + pow(0.5, theta);
    *zipf = (struct zipf){.items = items, .zeta = zeta, .alpha = 1 / (1 - theta), .half = two};
    zipf->eta = (1 - pow(2.0 / (double)items, 1 - theta)) / (1 - two / zeta);
}

uint64_t zipf_next(const struct zipf *zipf, struct random *random)
{
    double u = (double)(random_next(random) >> 11) * 0x1p-53, uz = u * zipf->zeta;
    uint64_t rank = uz < 1           ? 0
                    : uz < zipf->half ? 1
                                     : (uint64_t)((double)zipf->items * pow(zipf->eta * u - zipf->eta + 1, zipf->alpha));
    return mix(rank) % zipf->items;
}

uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

uint64_t resident_bytes(void)
{
    FILE *file = fopen("/proc/self/status", "r");
    char line[200];
    unsigned long long kib = 0;
    while (file && fgets(line, sizeof line, file))
        if (sscanf(line, "VmRSS: %llu", &kib) == 1)
            break;
    if (file)
        fclose(file);
    return kib * 1024;
}

uint64_t directory_bytes(const char *path)
{
    DIR *directory = opendir(path);
    uint64_t bytes = 0;
    for (struct dirent *entry; directory && (entry = readdir(directory));) {
        char name[4096];
        struct stat status;
        snprintf(name, sizeof name, "%s/%s", path, entry->d_name);
        if (entry->d_name[0] != '.' && stat(name, &status) == 0)
            bytes += S_ISDIR(status.st_mode) ? directory_bytes(name) : (uint64_t)status.st_blocks * 512;
    }
    if (directory)
        closedir(directory);
    return bytes;
}

void fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    exit(1);
}
