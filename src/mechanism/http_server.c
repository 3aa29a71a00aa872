#include "mechanism/http_server.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "mechanism/http_parts.h"

enum { ACCEPTS_MAX = 64, FLUSH_RUNS = 4 };

/* How long accept(2) is left alone after a failure that would only repeat itself. */
static const double PAUSE_S = 0.1;

/* Paths are compared as they were sent. */
static size_t leave_escaped(void *data UNUSED, struct MHD_Connection *connection UNUSED, char *s)
{
    return strlen(s);
}

/* --- Connections --- */

void http_conn_wait(struct http_server *s, struct http_conn *c)
{
    c->deadline_ms = clock_ms() + s->config->deadline_ms;
    c->state = HTTP_WAITING;
    TAILQ_INSERT_TAIL(&s->waiting, c, link);
}

void http_conn_put_out(struct http_server *s, struct http_conn *c)
{
    TAILQ_REMOVE(c->state == HTTP_STREAM ? &s->streams : &s->waiting, c, link);
    c->state = HTTP_PUT_OUT;
    shutdown(c->fd, SHUT_RDWR);
}

/* The library opens no more connections than the pool has places. */
static void conn_begins(struct http_server *s, struct MHD_Connection *connection, void **context)
{
    struct http_conn *c = TAILQ_FIRST(&s->unused);

    TAILQ_REMOVE(&s->unused, c, link);
    *context = c;
    c->fd = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
    http_conn_wait(s, c);
    s->count++;
}

static void conn_ends(struct http_server *s, struct http_conn *c)
{
    if (c->state != HTTP_PUT_OUT)
        TAILQ_REMOVE(c->state == HTTP_STREAM ? &s->streams : &s->waiting, c, link);
    c->state = HTTP_UNUSED;
    TAILQ_INSERT_HEAD(&s->unused, c, link);
    if (--s->count == 0)
        http_drop_kept(s);
}

static void on_connection(void *data, struct MHD_Connection *connection, void **context,
                          enum MHD_ConnectionNotificationCode event)
{
    if (event == MHD_CONNECTION_NOTIFY_STARTED)
        conn_begins(data, connection, context);
    else
        conn_ends(data, *context);
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
    http_conn_put_out(s, TAILQ_FIRST(&s->waiting));
    MHD_run(s->daemon);
    return true;
}

static void put_out_late(struct http_server *s)
{
    int64_t now_ms = clock_ms();
    struct http_conn *c;

    while ((c = TAILQ_FIRST(&s->waiting)) && c->deadline_ms <= now_ms)
        http_conn_put_out(s, c);
}

static void arm(struct http_server *s, double seconds)
{
    ev_timer_set(&s->timer, seconds, 0.);
    ev_timer_start(s->loop, &s->timer);
}

/* Runs the library and arms the timer for what is to come; no timer when nothing is. */
static void run(struct http_server *s)
{
    MHD_UNSIGNED_LONG_LONG library_ms;
    const struct http_conn *oldest;
    int64_t wait_ms = INT64_MAX;

    MHD_run(s->daemon);
    oldest = TAILQ_FIRST(&s->waiting);
    if (oldest)
        wait_ms = oldest->deadline_ms - clock_ms();
    if (MHD_get_timeout(s->daemon, &library_ms) == MHD_YES && (int64_t)library_ms < wait_ms)
        wait_ms = (int64_t)library_ms;
    ev_timer_stop(s->loop, &s->timer);
    if (wait_ms < INT64_MAX)
        arm(s, wait_ms > 0 ? (double)wait_ms / 1000 : 0.);
}

void http_wake(struct http_server *s)
{
    ev_timer_stop(s->loop, &s->timer);
    arm(s, 0.);
}

/* --- Accepting --- */

static bool make_room(struct http_server *s)
{
    while (s->count >= s->config->connections)
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

/* A stranger gets no place, only as much as fits into an empty buffer. */
static void refuse(struct http_server *s, int fd)
{
    const char *refusal = s->config->refusal;

    send(fd, refusal, strlen(refusal), MSG_DONTWAIT | MSG_NOSIGNAL);
    close(fd);
}

static bool accept_one(struct http_server *s)
{
    struct sockaddr_storage address;
    socklen_t len = sizeof(address);
    int fd = accept4(s->listen_fd, (struct sockaddr *)&address, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);

    if (fd < 0)
        return accept_failed(s, errno);
    if (s->config->admits && !s->config->admits(s->data, fd))
        refuse(s, fd);
    else if (make_room(s))
        MHD_add_connection(s->daemon, fd, (struct sockaddr *)&address, len); /* closes on failure */
    else
        close(fd);
    return true;
}

/* No more in one go than there are places, so that none is put out before it could be read. */
static void on_acceptable(struct ev_loop *loop UNUSED, ev_io *w, int events UNUSED)
{
    struct http_server *s = w->data;
    unsigned left = s->config->connections < ACCEPTS_MAX ? s->config->connections : ACCEPTS_MAX;

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
    const unsigned suspend = s->config->streams > 0 ? MHD_ALLOW_SUSPEND_RESUME : 0;
    const union MHD_DaemonInfo *info;

    s->daemon = MHD_start_daemon(
        MHD_USE_EPOLL | MHD_USE_NO_LISTEN_SOCKET | MHD_USE_SUPPRESS_DATE_NO_CLOCK | suspend, 0,
        NULL, NULL, http_on_request, s, MHD_OPTION_CONNECTION_LIMIT, s->config->connections,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, s->config->memory, MHD_OPTION_NOTIFY_CONNECTION,
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

static struct http_server *server_new(const struct http_config *config)
{
    struct http_server *s = calloc(1, sizeof(*s) + config->connections * sizeof(s->pool[0]));

    if (!s)
        return NULL;
    s->kept = calloc(config->nroutes, sizeof(*s->kept));
    if (!s->kept) {
        free(s);
        return NULL;
    }
    TAILQ_INIT(&s->waiting);
    TAILQ_INIT(&s->streams);
    TAILQ_INIT(&s->unused);
    for (unsigned i = 0; i < config->connections; i++)
        TAILQ_INSERT_TAIL(&s->unused, &s->pool[i], link);
    s->config = config;
    return s;
}

int http_server_open(struct ev_loop *loop, int listen_fd, const struct http_config *config,
                     void *data, struct http_server **out)
{
    struct http_server *s = server_new(config);
    int err;

    if (!s) {
        close(listen_fd);
        return -ENOMEM;
    }
    s->loop = loop;
    s->data = data;
    s->listen_fd = listen_fd;
    s->reserve_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    err = start_daemon(s);
    if (err < 0) {
        http_server_close(s);
        return err;
    }
    start_watching(s);
    *out = s;
    return 0;
}

/* The library leaves streams that sleep where they are when it stops. */
void http_server_close(struct http_server *s)
{
    ev_io_stop(s->loop, &s->accepting);
    ev_io_stop(s->loop, &s->working);
    ev_timer_stop(s->loop, &s->pause);
    http_drop_streams(s);
    if (s->daemon) {
        MHD_run(s->daemon);
        MHD_stop_daemon(s->daemon);
    }
    ev_timer_stop(s->loop, &s->timer); /* streams that were woken have started it */
    http_drop_kept(s);
    util_close_p(&s->reserve_fd);
    util_close_p(&s->listen_fd);
    free(s->kept);
    free(s);
}

/* One run wakes a stream that sleeps, the next one sends. */
void http_server_flush(struct http_server *s)
{
    for (int i = 0; i < FLUSH_RUNS; i++)
        MHD_run(s->daemon);
}

unsigned http_server_connections(const struct http_server *s)
{
    return s->count;
}
