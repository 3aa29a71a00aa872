#include "mechanism/http_server.h"

#include <fcntl.h>
#include <microhttpd.h>
#include <poll.h>
#include <sys/queue.h>
#include <sys/socket.h>

#include "base/clock.h"

enum { ACCEPTS_MAX = 64 };

/* How long accept(2) is left alone after a failure that would only repeat itself. */
static const double PAUSE_S = 0.1;

struct conn {
    TAILQ_ENTRY(conn) link; /* of `waiting` or `unused`; of neither once it is put out */
    int fd;                 /* the library's; ours to shut down, never to close */
    int64_t deadline_ms;
    bool put_out;
};
TAILQ_HEAD(conns, conn);

struct http_server {
    struct ev_loop *loop;
    struct MHD_Daemon *daemon;
    struct http_limits limits;
    http_handler handler;
    void *data;
    int listen_fd;
    int reserve_fd; /* given up to accept and close a connection when descriptors have run out */
    ev_io accepting;
    ev_io working;        /* the library's epoll descriptor */
    ev_timer timer;       /* the oldest deadline, or what the library wants to go on with */
    ev_timer pause;       /* until the next accept(2) */
    struct conns waiting; /* oldest first */
    struct conns unused;
    unsigned count; /* connections that the library has open */
    struct conn pool[];
};

/* --- Requests --- */

static void add_headers(struct MHD_Response *response, const struct http_reply *reply)
{
    const char *type = reply->content_type ? reply->content_type : "text/plain; charset=utf-8";

    MHD_add_response_header(response, "Content-Type", type);
    MHD_add_response_header(response, "Connection", "close");
    MHD_add_response_header(response, "Cache-Control", "no-store");
    MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
    if (reply->status == MHD_HTTP_METHOD_NOT_ALLOWED)
        MHD_add_response_header(response, "Allow", "GET, HEAD");
}

/* Takes the body. */
static enum MHD_Result send_reply(struct MHD_Connection *connection, struct http_reply *reply)
{
    size_t len = reply->body.len;
    char *body = buf_take(&reply->body);
    struct MHD_Response *response;
    enum MHD_Result result;

    if (!body)
        return MHD_NO;
    response = MHD_create_response_from_buffer(len, body, MHD_RESPMEM_MUST_FREE);
    if (!response) {
        free(body);
        return MHD_NO;
    }
    add_headers(response, reply);
    result = MHD_queue_response(connection, reply->status, response);
    MHD_destroy_response(response);
    return result;
}

static bool query_has(struct MHD_Connection *connection, const char *key)
{
    return MHD_lookup_connection_value_n(connection, MHD_GET_ARGUMENT_KIND, key, strlen(key), NULL,
                                         NULL) == MHD_YES;
}

/* Called first when the headers are complete. Answering then and there makes the library drop a
 * body, whatever its coding, and say nothing to "Expect: 100-continue". */
static enum MHD_Result on_request(void *data, struct MHD_Connection *connection, const char *url,
                                  const char *method, const char *version UNUSED,
                                  const char *upload UNUSED, size_t *upload_size UNUSED,
                                  void **context UNUSED)
{
    struct http_server *s = data;
    struct http_reply reply = {.status = MHD_HTTP_METHOD_NOT_ALLOWED};

    if (streq(method, "GET") || streq(method, "HEAD")) {
        struct http_request request = {
            .method = method, .path = url, .verbose = query_has(connection, "verbose")};

        reply.status = MHD_HTTP_OK;
        s->handler(s->data, &request, &reply);
    } else {
        buf_puts(&reply.body, "method not allowed\n");
    }
    return send_reply(connection, &reply);
}

/* Paths are compared as they were sent. */
static size_t leave_escaped(void *data UNUSED, struct MHD_Connection *connection UNUSED, char *s)
{
    return strlen(s);
}

/* --- Connections --- */

/* The library opens no more connections than the pool has places. */
static void on_connection(void *data, struct MHD_Connection *connection, void **context,
                          enum MHD_ConnectionNotificationCode event)
{
    struct http_server *s = data;
    struct conn *c = *context;

    if (event == MHD_CONNECTION_NOTIFY_STARTED) {
        *context = c = TAILQ_FIRST(&s->unused);
        TAILQ_REMOVE(&s->unused, c, link);
        c->fd = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
        c->deadline_ms = clock_ms() + s->limits.deadline_ms;
        c->put_out = false;
        TAILQ_INSERT_TAIL(&s->waiting, c, link);
        s->count++;
    } else {
        if (!c->put_out)
            TAILQ_REMOVE(&s->waiting, c, link);
        TAILQ_INSERT_HEAD(&s->unused, c, link);
        s->count--;
    }
}

/* The library reads the end of the stream at its next run and closes. */
static void put_out(struct http_server *s, struct conn *c)
{
    TAILQ_REMOVE(&s->waiting, c, link);
    c->put_out = true;
    shutdown(c->fd, SHUT_RDWR);
}

/* Lets a client that is ready be answered, else puts the oldest out. */
static bool end_one(struct http_server *s)
{
    unsigned before = s->count;

    MHD_run(s->daemon);
    if (s->count < before)
        return true;
    if (TAILQ_EMPTY(&s->waiting))
        return false;
    put_out(s, TAILQ_FIRST(&s->waiting));
    MHD_run(s->daemon);
    return true;
}

static void put_out_late(struct http_server *s)
{
    int64_t now_ms = clock_ms();
    struct conn *c;

    while ((c = TAILQ_FIRST(&s->waiting)) && c->deadline_ms <= now_ms)
        put_out(s, c);
}

/* Runs the library and arms the timer for what is to come; no timer when nothing is. */
static void run(struct http_server *s)
{
    MHD_UNSIGNED_LONG_LONG library_ms;
    const struct conn *oldest;
    int64_t wait_ms = INT64_MAX;

    MHD_run(s->daemon);
    oldest = TAILQ_FIRST(&s->waiting);
    if (oldest)
        wait_ms = oldest->deadline_ms - clock_ms();
    if (MHD_get_timeout(s->daemon, &library_ms) == MHD_YES && (int64_t)library_ms < wait_ms)
        wait_ms = (int64_t)library_ms;
    ev_timer_stop(s->loop, &s->timer);
    if (wait_ms == INT64_MAX)
        return;
    ev_timer_set(&s->timer, wait_ms > 0 ? (double)wait_ms / 1000 : 0., 0.);
    ev_timer_start(s->loop, &s->timer);
}

/* --- Accepting --- */

static bool make_room(struct http_server *s)
{
    while (s->count >= s->limits.connections)
        if (!end_one(s))
            return false;
    return true;
}

/* Without free descriptors accept(2) fails before it looks whether anyone waits. */
static bool someone_waits(const struct http_server *s)
{
    struct pollfd pfd = {.fd = s->listen_fd, .events = POLLIN};

    return poll(&pfd, 1, 0) > 0;
}

/* Without a free descriptor a connection can be neither taken nor refused, and the listening socket
 * stays readable: the loop would spin. */
static bool refuse_one(struct http_server *s)
{
    if (s->reserve_fd < 0)
        s->reserve_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (s->reserve_fd < 0)
        return false;
    util_close_p(&s->reserve_fd);
    s->reserve_fd = accept4(s->listen_fd, NULL, NULL, SOCK_CLOEXEC);
    util_close_p(&s->reserve_fd);
    s->reserve_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    return s->reserve_fd >= 0;
}

/* Whether to try the next one now. */
static bool accept_failed(struct http_server *s, int err)
{
    if (err == EAGAIN)
        return false;
    if (err == EINTR || err == ECONNABORTED)
        return true;
    if (err == EMFILE || err == ENFILE) {
        if (!someone_waits(s))
            return false;
        if (end_one(s) || refuse_one(s))
            return true;
    }
    ev_io_stop(s->loop, &s->accepting);
    ev_timer_set(&s->pause, PAUSE_S, 0.);
    ev_timer_start(s->loop, &s->pause);
    return false;
}

static bool accept_one(struct http_server *s)
{
    struct sockaddr_storage address;
    socklen_t len = sizeof(address);
    int fd = accept4(s->listen_fd, (struct sockaddr *)&address, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);

    if (fd < 0)
        return accept_failed(s, errno);
    if (make_room(s))
        MHD_add_connection(s->daemon, fd, (struct sockaddr *)&address, len); /* closes on failure */
    else
        close(fd);
    return true;
}

/* No more in one go than there are places, so that none is put out before it could be read. */
static void on_acceptable(struct ev_loop *loop UNUSED, ev_io *w, int events UNUSED)
{
    struct http_server *s = w->data;
    unsigned left = s->limits.connections < ACCEPTS_MAX ? s->limits.connections : ACCEPTS_MAX;

    while (left-- > 0 && accept_one(s))
        ;
    run(s);
}

static void on_pause_over(struct ev_loop *loop, ev_timer *w, int events UNUSED)
{
    struct http_server *s = w->data;

    ev_io_start(loop, &s->accepting);
}

static void on_work(struct ev_loop *loop UNUSED, ev_io *w, int events UNUSED)
{
    run(w->data);
}

static void on_timer(struct ev_loop *loop UNUSED, ev_timer *w, int events UNUSED)
{
    put_out_late(w->data);
    run(w->data);
}

/* --- Open and close --- */

static int start_daemon(struct http_server *s)
{
    const union MHD_DaemonInfo *info;

    s->daemon = MHD_start_daemon(
        MHD_USE_EPOLL | MHD_USE_NO_LISTEN_SOCKET | MHD_USE_SUPPRESS_DATE_NO_CLOCK, 0, NULL, NULL,
        on_request, s, MHD_OPTION_CONNECTION_LIMIT, s->limits.connections,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, s->limits.memory, MHD_OPTION_NOTIFY_CONNECTION,
        on_connection, s, MHD_OPTION_UNESCAPE_CALLBACK, leave_escaped, NULL, MHD_OPTION_END);
    if (!s->daemon)
        return -EIO;
    info = MHD_get_daemon_info(s->daemon, MHD_DAEMON_INFO_EPOLL_FD);
    if (!info || info->epoll_fd < 0)
        return -EIO;
    ev_io_init(&s->working, on_work, info->epoll_fd, EV_READ);
    return 0;
}

static void start_watching(struct http_server *s)
{
    ev_io_init(&s->accepting, on_acceptable, s->listen_fd, EV_READ);
    ev_init(&s->timer, on_timer);
    ev_init(&s->pause, on_pause_over);
    s->accepting.data = s->working.data = s->timer.data = s->pause.data = s;
    ev_io_start(s->loop, &s->accepting);
    ev_io_start(s->loop, &s->working);
}

int http_server_open(struct ev_loop *loop, int listen_fd, const struct http_limits *limits,
                     http_handler handler, void *data, struct http_server **out)
{
    struct http_server *s = calloc(1, sizeof(*s) + limits->connections * sizeof(s->pool[0]));
    int err;

    if (!s) {
        close(listen_fd);
        return -ENOMEM;
    }
    s->loop = loop;
    s->limits = *limits;
    s->handler = handler;
    s->data = data;
    s->listen_fd = listen_fd;
    s->reserve_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    TAILQ_INIT(&s->waiting);
    TAILQ_INIT(&s->unused);
    for (unsigned i = 0; i < limits->connections; i++)
        TAILQ_INSERT_TAIL(&s->unused, &s->pool[i], link);
    err = start_daemon(s);
    if (err < 0) {
        http_server_close(s);
        return err;
    }
    start_watching(s);
    *out = s;
    return 0;
}

void http_server_close(struct http_server *s)
{
    ev_io_stop(s->loop, &s->accepting);
    ev_io_stop(s->loop, &s->working);
    ev_timer_stop(s->loop, &s->timer);
    ev_timer_stop(s->loop, &s->pause);
    if (s->daemon)
        MHD_stop_daemon(s->daemon);
    util_close_p(&s->reserve_fd);
    util_close_p(&s->listen_fd);
    free(s);
}

unsigned http_server_connections(const struct http_server *s)
{
    return s->count;
}
