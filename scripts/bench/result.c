/* result.c - see result.h. */
#include "result.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t number(const char *text)
{
    char *end;
    uint64_t value = strtoull(text, &end, 10);
    if (end == text || *end)
        fail("%s is not a number", text);
    return value;
}

void arguments_read(struct arguments *arguments, int argc, char **argv)
{
    if (argc < 3)
        fail("usage: %s LINE DIRECTORY [documents=N] [threads=N] [seconds=S] [rate=R] [queries=N] [batch=N] "
             "[distribution=uniform|zipf] [mix=A] [copied=1] [elsewhere=0]",
             argv[0]);
    *arguments = (struct arguments){.line = argv[1],
                                    .directory = argv[2],
                                    .documents = 100000,
                                    .threads = 1,
                                    .seconds = 1,
                                    .batch = 1000,
                                    .queries = 2000000,
                                    .distribution = "uniform",
                                    .mix = "A",
                                    .copied = true};
    for (int i = 3; i < argc; i++) {
        char *equals = strchr(argv[i], '=');
        size_t length = equals ? (size_t)(equals - argv[i]) : strlen(argv[i]);
        const char *value = equals ? equals + 1 : "";
#define IS(name) (length == strlen(name) && memcmp(argv[i], name, length) == 0)
        if (IS("documents"))
            arguments->documents = number(value);
        else if (IS("threads"))
            arguments->threads = number(value);
        else if (IS("seconds"))
            arguments->seconds = number(value);
        else if (IS("rate"))
            arguments->rate = number(value);
        else if (IS("queries"))
            arguments->queries = number(value);
        else if (IS("batch"))
            arguments->batch = number(value);
        else if (IS("copied"))
            arguments->copied = number(value) != 0;
        else if (IS("elsewhere"))
            arguments->elsewhere = number(value) != 0;
        else if (IS("distribution"))
            arguments->distribution = value;
        else if (IS("mix"))
            arguments->mix = value;
        else
            fail("%s is no argument", argv[i]);
#undef IS
    }
}

void result_begin(const char *contender, const char *settings)
{
    printf("{\"contender\":\"%s\",\"settings\":\"%s\"", contender, settings);
}

void result_number(const char *name, double value)
{
    printf(",\"%s\":%.9g", name, value);
}

void result_rate(uint64_t operations, uint64_t nanoseconds)
{
    result_number("operations", (double)operations);
    result_number("seconds", (double)nanoseconds / 1e9);
    result_number("rate", (double)operations * 1e9 / (double)nanoseconds);
}

void result_latencies(const struct histogram *histogram)
{
    static const struct {
        const char *name;
        double percent;
    } all[] = {{"p50_us", 50}, {"p90_us", 90}, {"p99_us", 99}, {"p99_9_us", 99.9}, {"p99_99_us", 99.99}};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        result_number(all[i].name, (double)histogram_percentile(histogram, all[i].percent) / 1000);
    result_number("max_us", (double)histogram->max / 1000);
}

void result_list(const char *name, const double *values, unsigned count)
{
    printf(",\"%s\":[", name);
    for (unsigned i = 0; i < count; i++)
        printf("%s%.9g", i ? "," : "", values[i]);
    printf("]");
}

void result_end(void)
{
    printf("}\n");
}
