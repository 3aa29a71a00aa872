#include "mechanism/fallback.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/queue.h>
#include <sys/socket.h>

#include "base/accept.h"
#include "base/clock.h"
#include "mechanism/timer.h"

enum {
    CONNECTIONS_MAX = 256,
    SOCKETS_MAX = 4096,
    ACCEPTS_MAX = 64,   /* in one go */
    REQUEST_MS = 100,   /* how long to wait for the first bytes of a request */
    LINGER_MS = 1900,   /* how long to read what follows, so that no reset destroys the answer */
    PAUSE_MS = 100,     /* after a failure of accept(2) that would only repeat itself */
    CHUNK_SIZE = 16384, /* read at once */
};

struct conn {
    TAILQ_ENTRY(conn) link; /* of `unused`, `waiting` or `lingering` */
    struct fallback *fallback;
    ev_io io;
    int64_t deadline_ms;
    bool answered;
};
TAILQ_HEAD(conns, conn);

struct source {
    int fd; /* of our own; -1: none */
    uint64_t inode;
};

struct fallback {
    struct ev_loop *loop;
    fallback_retry retry_after_s;
    void *data;
    /* An epoll set of our own: closing a duplicate does not take the socket, which stays open, out
     * of a set, and libev never takes one out itself. */
    ev_io accepting;
    struct source *sources;
    size_t nsources;
    ev_timer timer; /* the earliest deadline */
    ev_timer pause;
    struct conns unused;
    struct conns waiting;   /* for the request; oldest first */
    struct conns lingering; /* answered; oldest first */
    unsigned count;
    uint64_t answered;
    struct conn pool[CONNECTIONS_MAX];
};

/* Connections ---------------------------------------------------------------------------------- */

static struct conns *list_of(struct conn *c)
{
    return c->answered ? &c->fallback->lingering : &c->fallback->waiting;
}

static void drop(struct conn *c)
{
    struct fallback *f = c->fallback;

    ev_io_stop(f->loop, &c->io);
    close(c->io.fd);
    TAILQ_REMOVE(list_of(c), c, link);
    TAILQ_INSERT_HEAD(&f->unused, c, link);
    f->count--;
}

/* Goes into the buffer of a new connection as a whole, whether the client reads or not. */
static void answer(struct conn *c, const char *request, size_t len)
{
    static const char body[] = "Service Unavailable\n";
    struct fallback *f = c->fallback;
    bool head_only = len >= 5 && memcmp(request, "HEAD ", 5) == 0;
    char text[256];
    int n = snprintf(text, sizeof(text),
                     "HTTP/1.1 503 Service Unavailable\r\n"
                     "Retry-After: %u\r\n"
                     "Content-Type: text/plain\r\n"
                     "Content-Length: %zu\r\n"
                     "Cache-Control: no-store\r\n"
                     "Connection: close\r\n"
                     "\r\n%s",
                     f->retry_after_s(f->data), sizeof(body) - 1, head_only ? "" : body);

    send(c->io.fd, text, (size_t)n, MSG_DONTWAIT | MSG_NOSIGNAL);
    shutdown(c->io.fd, SHUT_WR);
    f->answered++;
    TAILQ_REMOVE(&f->waiting, c, link);
    c->answered = true;
    c->deadline_ms = clock_ms() + LINGER_MS;
    TAILQ_INSERT_TAIL(&f->lingering, c, link);
}

/* Reads once: a client that sends without end costs no more than others. */
static void serve(struct conn *c)
{
    static char chunk[CHUNK_SIZE];
    ssize_t n = recv(c->io.fd, chunk, sizeof(chunk), MSG_DONTWAIT);

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n > 0 && !c->answered)
        answer(c, chunk, (size_t)n);
    else if (n <= 0)
        drop(c);
}

static void end_late(struct fallback *f)
{
    int64_t now_ms = clock_ms();
    struct conn *c;

    while ((c = TAILQ_FIRST(&f->waiting)) && c->deadline_ms <= now_ms)
        answer(c, NULL, 0);
    while ((c = TAILQ_FIRST(&f->lingering)) && c->deadline_ms <= now_ms)
        drop(c);
}

static void arm(struct fallback *f)
{
    const struct conn *waiting = TAILQ_FIRST(&f->waiting);
    const struct conn *lingering = TAILQ_FIRST(&f->lingering);
    int64_t deadline_ms = INT64_MAX;

    if (waiting)
        deadline_ms = waiting->deadline_ms;
    if (lingering && lingering->deadline_ms < deadline_ms)
        deadline_ms = lingering->deadline_ms;
    if (deadline_ms == INT64_MAX)
        ev_timer_stop(f->loop, &f->timer);
    else
        timer_arm_ms(f->loop, &f->timer, deadline_ms - clock_ms());
}

static void on_readable(struct ev_loop *loop UNUSED, ev_io *io, int events UNUSED)
{
    struct conn *c = io->data;
    struct fallback *f = c->fallback;

    serve(c);
    arm(f);
}

static void on_timer(struct ev_loop *loop UNUSED, ev_timer *timer, int events UNUSED)
{
    struct fallback *f = timer->data;

    end_late(f);
    arm(f);
}

/* Accepting ------------------------------------------------------------------------------------ */

/* The one that has its answer for the longest time goes first, then the slowest one. */
static void make_room(struct fallback *f)
{
    struct conn *c = TAILQ_FIRST(&f->lingering);

    if (!TAILQ_EMPTY(&f->unused))
        return;
    if (!c) {
        c = TAILQ_FIRST(&f->waiting);
        answer(c, NULL, 0);
    }
    drop(c);
}

static void take(struct fallback *f, int fd)
{
    /* Inherited from the listening socket, where a worker may have set it: close(2) would wait. */
    const struct linger no_linger = {0};
    struct conn *c;

    setsockopt(fd, SOL_SOCKET, SO_LINGER, &no_linger, sizeof(no_linger));
    make_room(f);
    c = TAILQ_FIRST(&f->unused);
    TAILQ_REMOVE(&f->unused, c, link);
    c->fallback = f;
    c->answered = false;
    c->deadline_ms = clock_ms() + REQUEST_MS;
    TAILQ_INSERT_TAIL(&f->waiting, c, link);
    f->count++;
    ev_io_init(&c->io, on_readable, fd, EV_READ);
    c->io.data = c;
    ev_io_start(f->loop, &c->io);
    serve(c);
}

static void pause_accepting(struct fallback *f)
{
    ev_io_stop(f->loop, &f->accepting);
    ev_timer_set(&f->pause, PAUSE_MS / 1000., 0.);
    ev_timer_start(f->loop, &f->pause);
}

static void unwatch(struct fallback *f, struct source *s)
{
    epoll_ctl(f->accepting.fd, EPOLL_CTL_DEL, s->fd, NULL);
}

/* Whether to try the next one now. */
static bool accept_one(struct fallback *f, struct source *s)
{
    int fd = accept_shared(s->fd);

    if (fd >= 0)
        take(f, fd);
    else if (fd ==
             -EINVAL) /* it does not listen: looked at again with the next fallback_listen() */
        unwatch(f, s);
    else if (fd != -EAGAIN && fd != -ECONNABORTED)
        pause_accepting(f);
    return fd >= 0 || fd == -ECONNABORTED;
}

static void on_acceptable(struct ev_loop *loop UNUSED, ev_io *io, int events UNUSED)
{
    struct fallback *f = io->data;
    struct epoll_event ready[ACCEPTS_MAX];
    int n = epoll_wait(io->fd, ready, ARRAY_SIZE(ready), 0);

    for (int left = ACCEPTS_MAX; n > 0 && left > 0; left -= n)
        for (int i = 0; i < n; i++)
            if (!accept_one(f, &f->sources[ready[i].data.u32]))
                ready[i--] = ready[--n];
    arm(f);
}

static void on_pause_over(struct ev_loop *loop, ev_timer *timer, int events UNUSED)
{
    struct fallback *f = timer->data;

    ev_io_start(loop, &f->accepting);
}

/* Sockets -------------------------------------------------------------------------------------- */

static void release(struct fallback *f, struct source *s)
{
    if (s->fd >= 0)
        unwatch(f, s);
    util_close_p(&s->fd);
}

static int set_count(struct fallback *f, size_t n)
{
    struct source *sources;

    while (f->nsources > n)
        release(f, &f->sources[--f->nsources]);
    if (f->nsources == n)
        return 0;
    sources = reallocarray(f->sources, n, sizeof(*sources));
    if (!sources)
        return -ENOMEM;
    f->sources = sources;
    while (f->nsources < n)
        sources[f->nsources++] = (struct source){.fd = -1};
    return 0;
}

/* Adding it again is how a socket comes back that did not listen for a while. */
static int point_at(struct fallback *f, size_t index, const struct fallback_socket *socket)
{
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = (uint32_t)index};
    struct source *s = &f->sources[index];

    if (s->inode != socket->inode)
        release(f, s);
    if (s->fd < 0)
        s->fd = fcntl(socket->fd, F_DUPFD_CLOEXEC, 3);
    s->inode = socket->inode;
    if (s->fd < 0 ||
        (epoll_ctl(f->accepting.fd, EPOLL_CTL_ADD, s->fd, &event) < 0 && errno != EEXIST))
        return -errno;
    return 0;
}

int fallback_listen(struct fallback *f, const struct fallback_socket *sockets, size_t n)
{
    int result = n > SOCKETS_MAX ? -E2BIG : 0;
    int r = set_count(f, n > SOCKETS_MAX ? SOCKETS_MAX : n);

    result = r < 0 ? r : result;
    for (size_t i = 0; i < f->nsources; i++) {
        r = point_at(f, i, &sockets[i]);
        result = r < 0 ? r : result;
    }
    if (f->nsources == 0) {
        ev_timer_stop(f->loop, &f->pause);
        ev_io_stop(f->loop, &f->accepting);
    } else if (!ev_is_active(&f->pause)) {
        ev_io_start(f->loop, &f->accepting);
    }
    return result;
}

void fallback_forget(struct fallback *f, uint64_t inode)
{
    for (size_t i = 0; i < f->nsources; i++)
        if (f->sources[i].inode == inode)
            release(f, &f->sources[i]);
}

/* ---------------------------------------------------------------------------------------------- */

struct fallback *fallback_new(struct ev_loop *loop, fallback_retry retry_after_s, void *data)
{
    struct fallback *f = calloc(1, sizeof(*f));
    int epoll_fd = epoll_create1(EPOLL_CLOEXEC);

    if (!f || epoll_fd < 0) {
        util_close_p(&epoll_fd);
        free(f);
        return NULL;
    }
    f->loop = loop;
    f->retry_after_s = retry_after_s;
    f->data = data;
    ev_io_init(&f->accepting, on_acceptable, epoll_fd, EV_READ);
    ev_init(&f->timer, on_timer);
    ev_init(&f->pause, on_pause_over);
    f->accepting.data = f->timer.data = f->pause.data = f;
    TAILQ_INIT(&f->unused);
    TAILQ_INIT(&f->waiting);
    TAILQ_INIT(&f->lingering);
    for (size_t i = 0; i < CONNECTIONS_MAX; i++)
        TAILQ_INSERT_TAIL(&f->unused, &f->pool[i], link);
    return f;
}

static void drop_all(struct conns *conns)
{
    struct conn *c;

    while ((c = TAILQ_FIRST(conns)))
        drop(c);
}

void fallback_free(struct fallback *f)
{
    if (!f)
        return;
    fallback_listen(f, NULL, 0);
    free(f->sources);
    drop_all(&f->waiting);
    drop_all(&f->lingering);
    ev_timer_stop(f->loop, &f->timer);
    close(f->accepting.fd);
    free(f);
}

uint64_t fallback_answered(const struct fallback *f)
{
    return f->answered;
}

unsigned fallback_connections(const struct fallback *f)
{
    return f->count;
}
