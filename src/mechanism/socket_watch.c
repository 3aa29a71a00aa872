#include "mechanism/socket_watch.h"

#include <sys/epoll.h>

#define EVENTS_MAX 64 /* in one turn of the loop */

/* What is known of a descriptor. The serial tells events of an earlier socket of the same number.
 */
struct watched {
    bool on;
    uint32_t serial;
    void *owner;
    int number;
};

struct socket_watch {
    struct ev_loop *loop;
    const struct socket_watch_ops *ops;
    void *data;
    ev_io io;
    struct watched *sockets; /* by descriptor */
    int n;
    uint32_t serial;
};

static struct watched *find(const struct socket_watch *w, int fd)
{
    return fd >= 0 && fd < w->n && w->sockets[fd].on ? &w->sockets[fd] : NULL;
}

static int control(const struct socket_watch *w, int operation, int fd, uint32_t events)
{
    struct epoll_event event = {
        .events = events,
        .data.u64 = (uint64_t)w->sockets[fd].serial << 32 | (uint32_t)fd,
    };

    return epoll_ctl(w->io.fd, operation, fd, &event) < 0 ? -errno : 0;
}

static void dispatch(struct socket_watch *w, const struct epoll_event *event)
{
    int fd = (int)(uint32_t)event->data.u64;
    const struct watched *s = find(w, fd);
    struct watched told;

    if (!s || s->serial != event->data.u64 >> 32)
        return; /* removed by what came before it */
    told = *s;
    if (event->events & (EPOLLHUP | EPOLLERR)) {
        socket_watch_remove(w, fd);
        w->ops->hangup(w->data, told.owner, told.number);
    } else {
        control(w, EPOLL_CTL_MOD, fd, 0);
        w->ops->waiting(w->data, told.owner, told.number);
    }
}

static void on_ready(struct ev_loop *loop UNUSED, ev_io *io, int revents UNUSED)
{
    struct socket_watch *w = io->data;
    struct epoll_event events[EVENTS_MAX];
    int n = epoll_wait(io->fd, events, EVENTS_MAX, 0);

    for (int i = 0; i < n; i++)
        dispatch(w, &events[i]);
}

int socket_watch_open(struct ev_loop *loop, const struct socket_watch_ops *ops, void *data,
                      struct socket_watch **out)
{
    struct socket_watch *w = calloc(1, sizeof(*w));
    int fd = epoll_create1(EPOLL_CLOEXEC);
    int err = fd < 0 ? -errno : -ENOMEM;

    if (!w || fd < 0) {
        util_close_p(&fd);
        free(w);
        return err;
    }
    w->loop = loop;
    w->ops = ops;
    w->data = data;
    ev_io_init(&w->io, on_ready, fd, EV_READ);
    w->io.data = w;
    ev_io_start(loop, &w->io);
    *out = w;
    return 0;
}

void socket_watch_close(struct socket_watch *w)
{
    if (!w)
        return;
    ev_io_stop(w->loop, &w->io);
    close(w->io.fd);
    free(w->sockets);
    free(w);
}

static int reserve(struct socket_watch *w, int fd)
{
    int n = fd < 32 ? 64 : 2 * fd;
    struct watched *sockets;

    if (fd < w->n)
        return 0;
    sockets = reallocarray(w->sockets, (size_t)n, sizeof(*sockets));
    if (!sockets)
        return -ENOMEM;
    memset(sockets + w->n, 0, (size_t)(n - w->n) * sizeof(*sockets));
    w->sockets = sockets;
    w->n = n;
    return 0;
}

int socket_watch_add(struct socket_watch *w, int fd, void *owner, int number)
{
    int r = reserve(w, fd);

    if (r < 0 || find(w, fd))
        return r;
    w->sockets[fd] = (struct watched){.serial = ++w->serial, .owner = owner, .number = number};
    r = control(w, EPOLL_CTL_ADD, fd, 0);
    w->sockets[fd].on = r == 0;
    return r;
}

void socket_watch_arm(struct socket_watch *w, int fd)
{
    if (find(w, fd))
        control(w, EPOLL_CTL_MOD, fd, EPOLLIN | EPOLLONESHOT);
}

void socket_watch_remove(struct socket_watch *w, int fd)
{
    struct watched *s = find(w, fd);

    if (!s)
        return;
    s->on = false;
    control(w, EPOLL_CTL_DEL, fd, 0);
}
