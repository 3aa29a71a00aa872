/* What the tests of the HTTP server share: a server in the loop of the test, and its clients. */
#ifndef PREFORKD_TESTS_UNIT_HTTP_FIXTURE_H
#define PREFORKD_TESTS_UNIT_HTTP_FIXTURE_H

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/clock.h"
#include "mechanism/http_server.h"

#define HOST "\r\nHost: a\r\n"

enum { PATIENCE_MS = 10000, CONNECTIONS = 16, MEMORY = 8192 };

static struct ev_loop *loop;
static struct http_server *server;
static struct sockaddr_storage address;
static socklen_t address_len;
static unsigned requests;
static char last_verbose[8];
static int verbose_result;
static char last_method[16];
static char last_path[256];
static size_t big_body;

static inline void handle(void *data, const struct http_request *request, struct http_reply *reply)
{
    cr_assert_eq(data, &requests);
    requests++;
    verbose_result = http_argument(request, "verbose", last_verbose, sizeof(last_verbose));
    snprintf(last_method, sizeof(last_method), "%s", request->method);
    snprintf(last_path, sizeof(last_path), "%s", request->route->path);
    buf_puts(&reply->body, verbose_result ? "verbose\n" : "hello\n");
    for (size_t i = 0; i < big_body; i++)
        buf_putc(&reply->body, 'x');
}

static inline void tell(struct http_reply *reply, const char *error)
{
    buf_printf(&reply->body, "%s\n", error);
}

static struct http_stream *stream;
static unsigned gone;

static inline void on_gone(void *data)
{
    cr_assert_eq(data, &requests);
    stream = NULL;
    gone++;
}

static inline void handle_stream(void *data, const struct http_request *request,
                                 struct http_reply *reply)
{
    if (http_stream_open(request, reply, on_gone, data) < 0)
        reply->status = 503;
    else
        stream = reply->stream;
}

static inline void handle_costly(void *data UNUSED, const struct http_request *request UNUSED,
                                 struct http_reply *reply)
{
    int64_t until = clock_ms() + 20;

    requests++;
    while (clock_ms() < until)
        ;
    buf_printf(&reply->body, "%u", requests);
}

static bool is_admitted = true;

static inline bool admits(void *data UNUSED, int fd)
{
    cr_assert_geq(fd, 0);
    return is_admitted;
}

static const struct http_route routes[] = {
    {"/", "GET, HEAD", handle, false},
    {"/stream", "POST", handle_stream, false},
    {"/costly", "GET, HEAD", handle_costly, true},
};

static struct http_config config = {
    .memory = MEMORY,
    .streams = 3,
    .stream_buffer = 100000,
    .routes = routes,
    .nroutes = ARRAY_SIZE(routes),
    .tell = tell,
    .admits = admits,
    .refusal = "HTTP/1.1 403 Forbidden\r\n\r\n",
};

static inline void open_on(int fd, unsigned connections, int64_t deadline_ms)
{
    signal(SIGPIPE, SIG_IGN);
    cr_assert_geq(fd, 0);
    cr_assert_eq(listen(fd, 1024), 0);
    address_len = sizeof(address);
    cr_assert_eq(getsockname(fd, (struct sockaddr *)&address, &address_len), 0);
    loop = ev_loop_new(EVFLAG_AUTO);
    config.connections = connections;
    config.deadline_ms = deadline_ms;
    cr_assert_eq(http_server_open(loop, fd, &config, &requests, &server), 0);
}

static inline void open_with(unsigned connections, int64_t deadline_ms)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    cr_assert_eq(bind(fd, (struct sockaddr *)&in, sizeof(in)), 0);
    open_on(fd, connections, deadline_ms);
}

/* A client whose writes and reads never wait: the server runs in the same thread. */
static inline int client(void)
{
    int fd = socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

    cr_assert_geq(fd, 0);
    cr_assert_eq(connect(fd, (struct sockaddr *)&address, address_len), 0);
    cr_assert_eq(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    return fd;
}

static inline void step(void)
{
    ev_run(loop, EVRUN_NOWAIT);
    poll(NULL, 0, 1);
}

/* Sends what can be sent and collects the answer until the server closes. */
static inline void converse(int fd, const char *data, size_t len, struct buf *answer)
{
    int64_t until = clock_ms() + PATIENCE_MS;
    char chunk[4096];

    while (clock_ms() < until) {
        ssize_t n = len > 0 ? send(fd, data, len, MSG_NOSIGNAL) : 0;

        if (n > 0) {
            data += n;
            len -= (size_t)n;
        }
        ev_run(loop, EVRUN_NOWAIT);
        n = recv(fd, chunk, sizeof(chunk), 0);
        if (n > 0)
            buf_append(answer, chunk, (size_t)n);
        else if (n == 0 || errno != EAGAIN)
            return;
        else
            poll(NULL, 0, 1);
    }
    cr_assert_fail("the server does not close: \"%s\"", buf_str(answer));
}

static inline void ask_bytes(const char *request, size_t len, struct buf *answer)
{
    int fd = client();

    converse(fd, request, len, answer);
    close(fd);
}

static inline void ask(const char *request, struct buf *answer)
{
    ask_bytes(request, strlen(request), answer);
}

static inline int status_of(const struct buf *answer)
{
    int status = 0;

    sscanf(buf_str(answer), "HTTP/1.%*1[01] %d", &status);
    return status;
}

static inline int status_to(const char *request)
{
    CLEANUP_BUF struct buf answer = BUF_INIT;

    ask(request, &answer);
    return status_of(&answer);
}

static inline unsigned descriptors(void)
{
    unsigned n = 0;

    for (int fd = 0; fd < 4096; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

/* Whether only the two watched descriptors keep the loop going: no timer runs. */
static inline bool idle(void)
{
    bool active;

    ev_unref(loop);
    ev_unref(loop);
    active = ev_run(loop, EVRUN_NOWAIT);
    ev_ref(loop);
    ev_ref(loop);
    return !active;
}

static inline void wait_for_connections(unsigned n)
{
    for (int64_t until = clock_ms() + PATIENCE_MS; clock_ms() < until; step())
        if (http_server_connections(server) == n)
            return;
    cr_assert_fail("%u connections instead of %u", http_server_connections(server), n);
}

static inline void wait_for_end(int fd)
{
    char c;

    for (int64_t until = clock_ms() + PATIENCE_MS; clock_ms() < until; step())
        if (recv(fd, &c, 1, 0) == 0)
            return;
    cr_assert_fail("the server keeps the connection");
}

static inline void on_time_up(struct ev_loop *l, ev_timer *w UNUSED, int events UNUSED)
{
    ev_break(l, EVBREAK_ALL);
}

/* How often the loop turns in 100 ms: a handful of times unless it spins. */
static inline unsigned turns(void)
{
    unsigned before = ev_iteration(loop);
    ev_timer timer;

    ev_timer_init(&timer, on_time_up, 0.1, 0.);
    ev_timer_start(loop, &timer);
    ev_run(loop, 0);
    return ev_iteration(loop) - before;
}

/* A client whose request for a stream is being served. */
static inline int open_stream(void)
{
    static const char request[] = "POST /stream HTTP/1.1\r\nHost: a\r\n\r\n";
    int fd = client();

    stream = NULL;
    cr_assert_eq(send(fd, request, sizeof(request) - 1, MSG_NOSIGNAL), sizeof(request) - 1);
    for (int64_t until = clock_ms() + PATIENCE_MS; !stream && clock_ms() < until;)
        step();
    cr_assert(stream);
    return fd;
}

static inline void wait_for_text(int fd, const char *text)
{
    CLEANUP_BUF struct buf seen = BUF_INIT;
    char chunk[4096];

    for (int64_t until = clock_ms() + PATIENCE_MS; clock_ms() < until; step()) {
        ssize_t n = recv(fd, chunk, sizeof(chunk), 0);

        if (n > 0)
            buf_append(&seen, chunk, (size_t)n);
        if (strstr(buf_str(&seen), text))
            return;
    }
    cr_assert_fail("no %s in: %s", text, buf_str(&seen));
}

static inline void tear_down(void)
{
    if (!server)
        return;
    http_server_close(server);
    ev_loop_destroy(loop);
}

static inline void set_up(void)
{
    open_with(CONNECTIONS, 60000);
}

#endif
