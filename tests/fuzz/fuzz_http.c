/* What a client sends to the HTTP server, in pieces: it is answered in HTTP or not at all, never
 * with an argument that does not fit, and its connection ends. */
#include <sys/socket.h>
#include <sys/un.h>

#include "fuzz.h"
#include "mechanism/http_server.h"

enum { ARGUMENT_MAX = 32, TURNS_MAX = 4096 };

static struct ev_loop *loop;
static struct http_server *server;
static struct sockaddr_un address = {.sun_family = AF_UNIX};
static socklen_t address_len = sizeof(sa_family_t);

/* Answers */

static void answer_argument(void *data, const struct http_request *request,
                            struct http_reply *reply)
{
    char value[ARGUMENT_MAX];
    int r = http_argument(request, "pool", value, sizeof(value));

    fuzz_check(data == &server && (r == 0 || r == 1 || r == -EINVAL));
    fuzz_check(r != 1 || memchr(value, '\0', sizeof(value)));
    reply->status = r < 0 ? 400 : 200;
    buf_printf(&reply->body, "%s\n", r == 1 ? value : "");
}

static void on_gone(void *data)
{
    fuzz_check(data == &server);
}

static void answer_stream(void *data, const struct http_request *request, struct http_reply *reply)
{
    fuzz_check(http_stream_open(request, reply, on_gone, data) == 0);
    http_stream_push(reply->stream, "{}\n", 3);
    http_stream_end(reply->stream);
}

static void tell(struct http_reply *reply, const char *error)
{
    buf_puts(&reply->body, error);
}

static const struct http_route routes[] = {
    {"/", "GET, HEAD", answer_argument, false},
    {"/v1/scale", "POST", answer_argument, false},
    {"/v1/reload", "POST", answer_stream, false},
    {"/metrics", "GET, HEAD", answer_argument, true},
};

static const struct http_config config = {
    .connections = 4,
    .streams = 2,
    .stream_buffer = 4096,
    .deadline_ms = 60000,
    .memory = 2048,
    .routes = routes,
    .nroutes = sizeof(routes) / sizeof(routes[0]),
    .tell = tell,
};

static void open_server(void)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    loop = ev_loop_new(EVFLAG_AUTO);
    fuzz_check(fd >= 0 && loop);
    fuzz_check(bind(fd, (struct sockaddr *)&address, address_len) == 0 && listen(fd, 4) == 0);
    address_len = sizeof(address); /* the kernel has chosen a name */
    fuzz_check(getsockname(fd, (struct sockaddr *)&address, &address_len) == 0);
    fuzz_check(http_server_open(loop, fd, &config, &server, &server) == 0);
}

/* The client */

static void send_piece(int fd, const uint8_t *data, size_t len)
{
    send(fd, data, len, MSG_NOSIGNAL | MSG_DONTWAIT);
    ev_run(loop, EVRUN_NOWAIT);
}

/* 1: nothing more will come. */
static int read_some(int fd, struct buf *answer)
{
    char piece[4096];
    ssize_t n = recv(fd, piece, sizeof(piece), MSG_DONTWAIT);

    if (n > 0)
        buf_append(answer, piece, (size_t)n);
    return n == 0 || (n < 0 && errno != EAGAIN);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    CLEANUP_BUF struct buf answer = BUF_INIT;
    CLEANUP_CLOSE int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    size_t cut = size > 0 ? data[size - 1] % size : 0;
    int turns = 0;

    if (!server)
        open_server();
    fuzz_check(fd >= 0 && connect(fd, (struct sockaddr *)&address, address_len) == 0);
    send_piece(fd, data, cut);
    send_piece(fd, data + cut, size - cut);
    shutdown(fd, SHUT_WR);
    while (!read_some(fd, &answer) || http_server_connections(server) > 0) {
        fuzz_check(turns++ < TURNS_MAX);
        ev_run(loop, EVRUN_NOWAIT);
    }
    fuzz_check(answer.len == 0 || str_after(buf_str(&answer), "HTTP/1."));
    return 0;
}
