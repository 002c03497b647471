/* builtin.c - /health, /ready, /metrics. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server.h"

static const char *const paths[] = {NULL, "/health", "/ready", "/metrics"};
enum { HEALTH = 1, READY, METRICS, BUILTINS };

int builtin_find(const char *path, size_t length)
{
    for (int i = 1; i < BUILTINS; i++)
        if (strlen(paths[i]) == length && memcmp(paths[i], path, length) == 0)
            return i;
    return 0;
}

static void answer_text(struct exchange *exchange, const char *body)
{
    struct answer answer = {.status = 200, .type = "application/json", .body = body, .body_length = strlen(body)};
    exchange_answer(exchange, &answer);
}

static void ready_run(struct exchange *exchange)
{
    struct server *server = exchange->worker->server;
    struct tide_error error;
    if (!exchange->application) {
        exchange_problem(exchange, 503, "recovering", "the database is being opened", "Retry-After: 1\r\n");
        return;
    }
    enum tide_status status = tide_health(server->engine, &error);
    if (status != TIDE_OK) {
        exchange_problem(exchange, 503, tide_status_code(status), error.message, NULL);
        return;
    }
    struct tide_stats stats;
    tide_stats(server->engine, &stats);
    uint64_t limit = tide_options_in_force(server->engine)->pending_bytes_max;
    if (stats.pending_bytes > limit / 10 * 9) {
        exchange_problem(exchange, 503, "busy", "the channel is over 90 % full", "Retry-After: 1\r\n");
        return;
    }
    answer_text(exchange, "{\"status\":\"ready\"}");
}

static const struct {
    const char *name, *type, *help;
    size_t offset;
    double unit;
} engine_metrics[] = {
#define FIGURE(field, name, type, unit, help)                                                                          \
    {                                                                                                                  \
        "tidemark_" name, type, help, offsetof(struct tide_stats, field), unit                                         \
    }
    FIGURE(accepted, "accepted_seq", "gauge", 1, "Seq of the newest accepted event."),
    FIGURE(written, "written_seq", "gauge", 1, "Seq of the newest written event."),
    FIGURE(durable, "durable_seq", "gauge", 1, "Seq of the newest durable event."),
    FIGURE(documents, "documents", "gauge", 1, "Documents in all collections."),
    FIGURE(collections, "collections", "gauge", 1, "Collections used so far."),
    FIGURE(batches, "batches_total", "counter", 1, "Batches written."),
    FIGURE(events_written, "events_written_total", "counter", 1, "Events written."),
    FIGURE(bytes_written, "log_written_bytes_total", "counter", 1, "Bytes of frames written."),
    FIGURE(syncs, "syncs_total", "counter", 1, "fdatasync calls of the log."),
    FIGURE(sync_us, "sync_seconds_total", "counter", 1e-6, "Time spent in fdatasync."),
    FIGURE(pending_bytes, "pending_bytes", "gauge", 1, "Bytes accepted and not yet written."),
    FIGURE(log_bytes, "log_bytes", "gauge", 1, "Bytes of the log."),
    FIGURE(segments, "segments", "gauge", 1, "Segments of the log."),
    FIGURE(snapshot_seq, "snapshot_seq", "gauge", 1, "Seq of the newest snapshot."),
    FIGURE(snapshots, "snapshots_total", "counter", 1, "Snapshots made."),
    FIGURE(snapshots_failed, "snapshots_failed_total", "counter", 1, "Snapshots that failed."),
    FIGURE(memory_bytes, "memory_bytes", "gauge", 1, "Memory taken for documents and the map."),
#undef FIGURE
};

static bool gauge(struct json_buffer *out, const char *name, const char *type, const char *help, double value)
{
    return metrics_printf(out, "# HELP %s %s\n# TYPE %s %s\n%s %.17g\n", name, help, name, type, name, value);
}

static bool metrics_all(struct server *server, struct json_buffer *out)
{
    struct tide_stats stats;
    tide_stats(server->engine, &stats);
    for (size_t i = 0; i < sizeof engine_metrics / sizeof engine_metrics[0]; i++) {
        uint64_t value;
        memcpy(&value, (const char *)&stats + engine_metrics[i].offset, sizeof value);
        if (!gauge(out, engine_metrics[i].name, engine_metrics[i].type, engine_metrics[i].help,
                   (double)value * engine_metrics[i].unit))
            return false;
    }
    struct metrics **all = calloc((size_t)server->options.threads, sizeof *all);
    if (!all)
        return false;
    for (int i = 0; i < server->options.threads; i++)
        all[i] = &server->workers[i].metrics;
    bool written = gauge(out, "tidemark_durable_lag_events", "gauge", "Events accepted and not yet durable.",
                         (double)(stats.accepted - stats.durable)) &&
                   gauge(out, "tidemark_http_connections", "gauge", "Open connections.",
                         (double)atomic_load_explicit(&server->connections, memory_order_relaxed)) &&
                   gauge(out, "tidemark_http_waiting_requests", "gauge", "Requests that wait for the engine.",
                         (double)atomic_load_explicit(&server->waiting, memory_order_relaxed)) &&
                   metrics_write(out, &server->labels, all, server->options.threads);
    free(all);
    return written;
}

void builtin_run(struct exchange *exchange, int builtin)
{
    if (builtin == HEALTH) {
        answer_text(exchange, "{\"status\":\"ok\"}");
        return;
    }
    if (builtin == READY || !exchange->application) {
        ready_run(exchange);
        return;
    }
    struct json_buffer out = {0};
    if (metrics_all(exchange->worker->server, &out)) {
        struct answer answer = {.status = 200,
                                .type = "text/plain; version=0.0.4; charset=utf-8",
                                .body = out.bytes,
                                .body_length = out.length};
        exchange_answer(exchange, &answer);
    } else {
        exchange_problem(exchange, 500, NULL, NULL, NULL);
    }
    json_buffer_free(&out);
}
