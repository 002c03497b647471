/* client.h - the HTTP side of a thread: a libuv loop with its connections. All but client_create, client_destroy and
 * client_wake belong to the thread. */
#ifndef TIDE_LOAD_CLIENT_H
#define TIDE_LOAD_CLIENT_H

#include <llhttp.h>
#include <uv.h>

#include "../json.h"
#include "worker.h"

enum client_phase {
    CLIENT_CONNECTING, /* the first connections are being made; nothing is sent */
    CLIENT_RUNNING,
    CLIENT_DRAINING, /* open loop: the time is over, the last answers are awaited */
    CLIENT_FINISHED
};

struct connection;

struct client {
    struct worker *worker;
    uv_loop_t loop;
    uv_async_t wake;
    uv_timer_t tick, deadline;
    uv_poll_t due;       /* open loop: the timer descriptor, for the next start; libuv's timers know only ms */
    int due_fd;          /* -1: closed loop */
    uint64_t due_at;     /* what it is set to; 0: nothing */
    uint64_t free_since; /* open loop: since when some connection is free */
    enum client_phase phase;
    unsigned count, unsettled; /* connections; those of them whose first attempt hasn't ended */
    unsigned pipeline;
    struct connection *connections;
    struct connection **free_ring; /* open loop: those with room, the longest free first */
    unsigned free_first, free_count;
    uint64_t early_failures;    /* connections that failed before the run began */
    uint64_t unreachable_since; /* 0: the last attempt to connect went well */
    uint64_t ended;             /* of the requests sent: answered or failed */
    unsigned in_flight;
    bool dynamic, collects, delays; /* the script has request(), response(), delay() */
    bool head;                      /* of the text: its method is HEAD */
    char *text;                     /* pipeline times what wrk.format() gave; NULL when dynamic */
    size_t text_length;             /* of one */
    struct json_buffer outgoing;
    const char
        *scanned; /* the text that request() returned last, kept from being collected; NULL: none, or with HEAD */
    size_t scanned_count;
    llhttp_settings_t settings;
    char buffer[65536]; /* what is read; libuv reads and hands over one piece at a time */
};

/* In the main thread, before and after the worker's; NULL and the script's error: failed. */
struct client *client_create(struct worker *worker);
void client_destroy(struct client *client);
void client_wake(struct client *client); /* any thread; the loop looks at worker->stop and at the run's start */

void client_run(struct client *client);

/* From the connections. */
void client_fail(struct client *client);                                /* the script has failed: ends the whole run */
void client_settled(struct client *client);                             /* a first attempt to connect has ended */
void client_free(struct client *client, struct connection *connection); /* it has room for a request */
void client_pump(struct client *client, uint64_t now);                  /* sends what is due */
void client_ended(struct client *client, unsigned requests);            /* answered or failed */
bool client_stopped(struct client *client);                             /* after a hook: is it over? */
bool client_wants_more(const struct client *client);                    /* requests are left to be sent */

#endif
