/* crashtest.c - the engine on a disk that fails (disk.h), beside a model of what it must be (model.h): the command. */
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "crashtest.h"

static const char usage[] =
    "usage: crashtest sweep [--operations 120] [--every 1] [--only FAULT]\n"
    "       crashtest flips [--every 1]\n"
    "       crashtest steps [--operations 120]\n"
    "       crashtest repairs [--every 1]\n"
    "       crashtest threads [--operations 120]\n"
    "       crashtest backup [--every 1]\n"
    "       crashtest full [--every 1]\n"
    "       crashtest marks [--every 1]\n"
    "       crashtest random [--seconds 120] [--seed N] [--runs N]\n"
    "\n"
    "The engine on a simulated disk.\n"
    "  sweep    a fault at each call on files of a fixed workload; --only 'EIO once': that one of those it names\n"
    "  flips    each byte of a log changed where it rests\n"
    "  steps    the writer held at each of its calls, while callers go on\n"
    "  repairs  a fault at each call of a repair\n"
    "  threads  writers and readers of the same documents, --operations thousands; the log must be the map\n"
    "  backup   a fault at each call of backups and restores\n"
    "  full     disks of many sizes, until nothing more fits\n"
    "  marks    the sync of a clean close fails\n"
    "  random   workloads and faults from a seed; without --seed another one each time, with it that one, or --runs "
    "from\n"
    "           it on\n"
    "\n"
    "Exit status: 0 all was as it must be, 1 not.\n";

int main(int argc, char **argv)
{
    double seconds = 120;
    unsigned operations = 120, every = 1;
    uint64_t seed = 0, runs = 1;
    const char *only = NULL;
    for (int i = 2; i < argc; i += 2) {
        const char *value = i + 1 < argc ? argv[i + 1] : "";
        if (strcmp(argv[i], "--seconds") == 0)
            seconds = atof(value);
        else if (strcmp(argv[i], "--operations") == 0)
            operations = (unsigned)atoi(value);
        else if (strcmp(argv[i], "--every") == 0)
            every = atoi(value) > 0 ? (unsigned)atoi(value) : 1;
        else if (strcmp(argv[i], "--only") == 0)
            only = value;
        else if (strcmp(argv[i], "--seed") == 0)
            seed = strtoull(value, NULL, 10);
        else if (strcmp(argv[i], "--runs") == 0)
            runs = strtoull(value, NULL, 10);
        else
            argc = 0;
    }
    lives_begin();
    mallopt(M_MMAP_THRESHOLD, 32 << 20); /* a disk and its buffers thousands of times: keep their memory */
    mallopt(M_TRIM_THRESHOLD, 1 << 30);
    if (argc >= 2 && strcmp(argv[1], "sweep") == 0) {
        sweep_all(operations, every, only);
    } else if (argc >= 2 && strcmp(argv[1], "flips") == 0) {
        flips_all(every);
    } else if (argc >= 2 && strcmp(argv[1], "steps") == 0) {
        steps_all(operations);
    } else if (argc >= 2 && strcmp(argv[1], "repairs") == 0) {
        repairs_all(every);
    } else if (argc >= 2 && strcmp(argv[1], "threads") == 0) {
        threads_all(operations);
    } else if (argc >= 2 && strcmp(argv[1], "backup") == 0) {
        backup_all(every);
    } else if (argc >= 2 && strcmp(argv[1], "full") == 0) {
        full_all(every);
    } else if (argc >= 2 && strcmp(argv[1], "marks") == 0) {
        marks_all(every);
    } else if (argc >= 2 && strcmp(argv[1], "random") == 0) {
        if (seed)
            random_from(seed, runs);
        else
            random_for(seconds);
    } else {
        fputs(usage, stderr);
        return 2;
    }
    return 0;
}
