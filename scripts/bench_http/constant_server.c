/* constant_server.c - the ceiling of `make bench-http`: libuv and llhttp, and an answer that never changes.
 *
 * usage: constant_server PORT THREADS BODY_BYTES
 *
 * Each thread has a loop and a socket (SO_REUSEPORT), like the server under test; it parses each request and sends the
 * constant, those of one read together, with one write. Nothing is stored, routed or checked. */
#include <llhttp.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <uv.h>

enum { INPUT_BYTES = 65536, OUTPUT_BYTES = 1 << 20 };

struct thread {
    uv_loop_t loop;
    uv_tcp_t listener;
    pthread_t id;
    char *input, *output;
    size_t output_length;
};

struct client {
    uv_tcp_t tcp;
    llhttp_t parser;
    struct thread *thread;
};

struct write {
    uv_write_t request;
    char bytes[];
};

static char answer[65536];
static size_t answer_length;

static int on_complete(llhttp_t *parser)
{
    struct client *client = parser->data;
    struct thread *thread = client->thread;
    if (thread->output_length + answer_length <= OUTPUT_BYTES) {
        memcpy(thread->output + thread->output_length, answer, answer_length);
        thread->output_length += answer_length;
    }
    return 0;
}

static const llhttp_settings_t settings = {.on_message_complete = on_complete};

static void on_close(uv_handle_t *handle)
{
    free(handle);
}

static void on_alloc(uv_handle_t *handle, size_t size, uv_buf_t *buffer)
{
    (void)size;
    *buffer = uv_buf_init(((struct client *)(void *)handle)->thread->input, INPUT_BYTES);
}

static void on_written(uv_write_t *request, int status)
{
    (void)status;
    free(request);
}

static void on_read(uv_stream_t *stream, ssize_t length, const uv_buf_t *buffer)
{
    struct client *client = (struct client *)(void *)stream;
    struct thread *thread = client->thread;
    thread->output_length = 0;
    if (length < 0 || (length > 0 && llhttp_execute(&client->parser, buffer->base, (size_t)length) != HPE_OK)) {
        uv_close((uv_handle_t *)stream, on_close);
        return;
    }
    if (thread->output_length == 0)
        return;
    uv_buf_t out = uv_buf_init(thread->output, (unsigned)thread->output_length);
    int sent = uv_try_write(stream, &out, 1);
    size_t rest = thread->output_length - (size_t)(sent > 0 ? sent : 0);
    if (rest == 0)
        return;
    struct write *write = malloc(sizeof *write + rest);
    memcpy(write->bytes, thread->output + thread->output_length - rest, rest);
    out = uv_buf_init(write->bytes, (unsigned)rest);
    uv_write(&write->request, stream, &out, 1, on_written);
}

static void on_connection(uv_stream_t *listener, int status)
{
    struct thread *thread = (struct thread *)((char *)listener - offsetof(struct thread, listener));
    struct client *client = calloc(1, sizeof *client);
    if (status < 0 || !client)
        return;
    client->thread = thread;
    uv_tcp_init(&thread->loop, &client->tcp);
    llhttp_init(&client->parser, HTTP_REQUEST, &settings);
    client->parser.data = client;
    if (uv_accept(listener, (uv_stream_t *)&client->tcp) == 0) {
        uv_tcp_nodelay(&client->tcp, 1);
        uv_read_start((uv_stream_t *)&client->tcp, on_alloc, on_read);
    }
}

static void *run(void *context)
{
    struct thread *thread = context;
    uv_run(&thread->loop, UV_RUN_DEFAULT);
    return NULL;
}

static void thread_start(struct thread *thread, int port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0) {
        perror("constant_server");
        exit(3);
    }
    thread->input = malloc(INPUT_BYTES);
    thread->output = malloc(OUTPUT_BYTES);
    uv_loop_init(&thread->loop);
    uv_tcp_init(&thread->loop, &thread->listener);
    uv_tcp_open(&thread->listener, fd);
    uv_listen((uv_stream_t *)&thread->listener, 4096, on_connection);
    pthread_create(&thread->id, NULL, run, thread);
}

int main(int count, char *values[])
{
    if (count != 4) {
        fputs("usage: constant_server PORT THREADS BODY_BYTES\n", stderr);
        return 2;
    }
    int threads = atoi(values[2]), body = atoi(values[3]);
    signal(SIGPIPE, SIG_IGN);
    answer_length = (size_t)snprintf(answer, sizeof answer,
                                     "HTTP/1.1 200 OK\r\nDate: Tue, 24 Nov 2026 12:00:00 GMT\r\n"
                                     "Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%0*d",
                                     body, body, 0);
    struct thread *all = calloc((size_t)threads, sizeof *all);
    for (int i = 0; i < threads; i++)
        thread_start(&all[i], atoi(values[1]));
    puts("constant_server: listening");
    fflush(stdout);
    for (int i = 0; i < threads; i++)
        pthread_join(all[i].id, NULL);
    return 0;
}
