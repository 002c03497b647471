/* connection.h - one connection to the server: what is under way on it, and its parser. */
#ifndef TIDE_LOAD_CONNECTION_H
#define TIDE_LOAD_CONNECTION_H

#include "client.h"
#include "request_text.h"

enum connection_state { CONNECTION_CLOSED, CONNECTION_CONNECTING, CONNECTION_OPEN, CONNECTION_CLOSING };

/* A request that was sent and isn't answered yet. */
struct under_way {
    uint64_t start, sent; /* latency counts from start, the timeout from sent */
    bool head;            /* its answer has no body */
    bool last;            /* of those that one call of request() returned */
};

struct connection {
    struct client *client;
    enum connection_state state;
    llhttp_t parser;
    struct under_way *ring; /* a power of two */
    unsigned ring_size, first, count;
    unsigned calls;    /* of request() whose answers are awaited */
    bool in_free_ring; /* see client.h */
    bool settled;      /* its first attempt to connect has ended */
    bool writing;      /* libuv has the rest of a write */
    bool delay_over;   /* the delay before the next request has passed */
    bool closes;       /* the answer said that the server closes */
    bool unexpected;   /* an answer came that nothing had asked for */
    bool backs_off;    /* wait before connecting again */
    uint64_t connecting_since, sending_start, sending_now;
    char *rest;                       /* of a write, while `writing` */
    struct json_buffer headers, body; /* collecting: see script_response */
    unsigned header_count;
    uv_tcp_t tcp;
    uv_timer_t timer; /* delay() and backing off */
    uv_connect_t connect;
    uv_write_t write;
};

void connection_settings(llhttp_settings_t *settings, bool collects);

bool connection_init(struct connection *connection, struct client *client);
void connection_destroy(struct connection *connection); /* after its handles are closed */

void connection_open(struct connection *connection);
void connection_check(struct connection *connection, uint64_t now); /* has something timed out? */

/* Sends what may be sent now: in a closed loop up to its depth; in an open one it offers itself to the client. */
void connection_advance(struct connection *connection, uint64_t now);

/* Sends `calls` requests, or what as many calls of request() return; they count from `start`. */
void connection_send(struct connection *connection, unsigned calls, uint64_t start, uint64_t now);

static inline bool connection_has_room(const struct connection *connection)
{
    return connection->state == CONNECTION_OPEN && !connection->writing &&
           connection->calls < connection->client->pipeline;
}

#endif
