/* redis.c - Redis over a unix socket, for orientation: a process of its own, a reply for each call. The server is started
 * here and ends with the store. */
#include <hiredis/hiredis.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "store.h"

struct connection {
    redisContext *context;
    unsigned pending;
};

extern char **environ;
static char socket_path[64];
static pid_t server;

static void server_stop(void)
{
    if (server > 0) {
        kill(server, SIGTERM);
        waitpid(server, NULL, 0);
        unlink(socket_path);
        server = 0;
    }
}

static redisContext *context_open(void)
{
    redisContext *context = redisConnectUnix(socket_path);
    if (context && context->err) {
        redisFree(context);
        context = NULL;
    }
    return context;
}

static redisReply *reply_check(redisReply *reply)
{
    if (!reply || reply->type == REDIS_REPLY_ERROR)
        fail("redis: %s", reply ? reply->str : "the connection is gone");
    return reply;
}

/* Ready when it answers a PING; until then it loads. */
static void open_server(const char *directory, bool durable, uint64_t documents)
{
    (void)documents;
    char log[4096];
    snprintf(socket_path, sizeof socket_path, "/tmp/bench-redis-%d", (int)getpid()); /* paths of sockets are short */
    snprintf(log, sizeof log, "%s/redis.log", directory);
    char *arguments[] = {"redis-server", "--port",       "0",   "--unixsocket",  socket_path,
                         "--dir",        (char *)directory, "--save", "",        "--appendonly",
                         "yes",          "--appendfsync", durable ? "always" : "no", "--logfile", log,
                         NULL};
    atexit(server_stop);
    if (posix_spawnp(&server, arguments[0], NULL, NULL, arguments, environ) != 0)
        fail("redis-server cannot be started");
    for (int i = 0; i < 60000; i++) {
        redisContext *context = context_open();
        redisReply *reply = context ? redisCommand(context, "PING") : NULL;
        bool ready = reply && reply->type == REDIS_REPLY_STATUS;
        if (reply)
            freeReplyObject(reply);
        if (context)
            redisFree(context);
        if (ready)
            return;
        usleep(1000);
    }
    fail("redis-server does not answer");
}

static void *thread_begin(void)
{
    struct connection *connection = calloc(1, sizeof *connection);
    if (!connection || !(connection->context = context_open()))
        fail("redis: cannot connect");
    return connection;
}

static void thread_end(void *thread)
{
    struct connection *connection = thread;
    redisFree(connection->context);
    free(connection);
}

static void begin(void *thread)
{
    ((struct connection *)thread)->pending = 0;
}

static void put(void *thread, const char *id, const char *article, bool exists)
{
    struct connection *connection = thread;
    (void)exists;
    redisAppendCommand(connection->context, "SET %b %b", id, (size_t)ID_BYTES, article, (size_t)ARTICLE_BYTES);
    connection->pending++;
}

static void commit(void *thread)
{
    struct connection *connection = thread;
    for (; connection->pending > 0; connection->pending--) {
        redisReply *reply = NULL;
        redisGetReply(connection->context, (void **)&reply);
        freeReplyObject(reply_check(reply));
    }
}

static size_t get(void *thread, const char *id, char out[static ARTICLE_BYTES])
{
    struct connection *connection = thread;
    redisReply *reply = reply_check(redisCommand(connection->context, "GET %b", id, (size_t)ID_BYTES));
    size_t length = reply->type == REDIS_REPLY_STRING && reply->len <= ARTICLE_BYTES ? reply->len : 0;
    memcpy(out, reply->str, length);
    freeReplyObject(reply);
    return length;
}

static uint64_t get_many(void *thread, const char (*ids)[ID_BYTES], unsigned count, bool copied)
{
    struct connection *connection = thread;
    const char *words[17] = {"MGET"};
    size_t lengths[17] = {4};
    uint64_t sum = 0;
    (void)copied;
    for (unsigned i = 0; i < count; i++) {
        words[i + 1] = ids[i];
        lengths[i + 1] = ID_BYTES;
    }
    redisReply *reply = reply_check(redisCommandArgv(connection->context, (int)count + 1, words, lengths));
    for (size_t i = 0; i < reply->elements; i++)
        sum += article_sum(reply->element[i]->str, reply->element[i]->len);
    freeReplyObject(reply);
    return sum;
}

static uint64_t count(void)
{
    redisContext *context = context_open();
    redisReply *reply = context ? reply_check(redisCommand(context, "DBSIZE")) : NULL;
    if (!reply)
        fail("redis: cannot connect");
    uint64_t found = (uint64_t)reply->integer;
    freeReplyObject(reply);
    redisFree(context);
    return found;
}

const struct store store = {.name = "redis",
                            .settings = "another process, unix socket; appendonly yes, appendfsync no (always where durable), no RDB",
                            .open = open_server,
                            .close = server_stop,
                            .thread_begin = thread_begin,
                            .thread_end = thread_end,
                            .begin = begin,
                            .put = put,
                            .commit = commit,
                            .get = get,
                            .get_many = get_many,
                            .count = count};
