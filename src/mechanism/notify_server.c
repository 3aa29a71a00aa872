#include "mechanism/notify_server.h"

#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/clock.h"
#include "base/sys.h"

enum {
    BATCH_MAX = 64,    /* datagrams in one turn of the loop, so that others get theirs */
    WINDOW_MAX = 1000, /* datagrams in one window */
    WINDOW_MS = 1000,
    DESCRIPTORS_MAX = 253, /* of one datagram, SCM_MAX_FD of the kernel */
};

struct notify_server {
    ev_io readable;
    ev_timer pause; /* runs only while the window is used up */
    struct ev_loop *loop;
    const struct notify_server_ops *ops;
    void *data;
    bool *closed; /* set while a callback runs: where to tell that it closed the server */
    int fd;
    char address[sizeof(((struct sockaddr_un *)0)->sun_path) + 1];
    pid_t owner;
    uid_t owner_uid;
    int64_t window_start_ms;
    int window_used;
    uint64_t refused;
};

/* ---- one datagram ---- */

struct datagram {
    char data[NOTIFY_MSG_MAX];
    size_t len;
    struct ucred sender; /* pid 0: unknown */
    bool truncated;
};

/* A socket that lingers would keep the master in close(2). */
static void discard_descriptor(int fd)
{
    const struct linger off = {0};

    setsockopt(fd, SOL_SOCKET, SO_LINGER, &off, sizeof(off));
    close(fd);
}

static void discard_descriptors(const struct cmsghdr *c)
{
    size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

    for (size_t i = 0; i < n; i++) {
        int fd;

        memcpy(&fd, CMSG_DATA(c) + i * sizeof(fd), sizeof(fd));
        discard_descriptor(fd);
    }
}

/* The credentials come first, so that only descriptors can be missing where the kernel had to cut
 * (MSG_CTRUNC), and those it has closed itself. */
static void read_control(struct msghdr *msg, struct datagram *d)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
        if (c->cmsg_level != SOL_SOCKET)
            continue;
        if (c->cmsg_type == SCM_RIGHTS)
            discard_descriptors(c);
        else if (c->cmsg_type == SCM_CREDENTIALS && c->cmsg_len >= CMSG_LEN(sizeof(d->sender)))
            memcpy(&d->sender, CMSG_DATA(c), sizeof(d->sender));
    }
}

static int receive(int fd, struct datagram *d)
{
    union {
        struct cmsghdr align;
        char space[CMSG_SPACE(sizeof(struct ucred)) + CMSG_SPACE(DESCRIPTORS_MAX * sizeof(int))];
    } control;
    struct iovec iov = {d->data, sizeof(d->data)};
    struct msghdr msg = {
        .msg_iov = &iov,
        .msg_iovlen = 1,
        .msg_control = &control,
        .msg_controllen = sizeof(control),
    };
    ssize_t n = recvmsg(fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

    if (n < 0)
        return -errno;
    d->len = (size_t)n;
    d->sender = (struct ucred){0};
    d->truncated = msg.msg_flags & MSG_TRUNC;
    read_control(&msg, d);
    return 0;
}

static bool is_gone(pid_t pid)
{
    return kill(pid, 0) < 0 && errno == ESRCH;
}

static bool may_speak(const struct notify_server *n, const struct ucred *sender)
{
    if (n->owner <= 0 || sender->pid <= 0)
        return false;
    if (sender->uid != n->owner_uid && sender->uid != 0 && sender->uid != geteuid())
        return false;
    return sys_is_descendant(sender->pid, n->owner) || is_gone(sender->pid);
}

static void handle(struct notify_server *n, const struct datagram *d)
{
    struct notify_msg msg;

    if (d->truncated || !may_speak(n, &d->sender) || notify_msg_parse(d->data, d->len, &msg) < 0)
        n->refused++;
    else
        n->ops->message(n->data, &msg, d->sender.pid);
}

/* ---- the loop ---- */

/* How many datagrams may be read now. */
static int open_budget(struct notify_server *n)
{
    int64_t now_ms = clock_ms();
    int left;

    if (now_ms - n->window_start_ms >= WINDOW_MS) {
        n->window_start_ms = now_ms;
        n->window_used = 0;
    }
    left = WINDOW_MAX - n->window_used;
    return left < BATCH_MAX ? left : BATCH_MAX;
}

static void pause_reading(struct notify_server *n)
{
    int64_t left_ms = n->window_start_ms + WINDOW_MS - clock_ms();

    ev_io_stop(n->loop, &n->readable);
    ev_timer_set(&n->pause, left_ms > 0 ? (double)left_ms / 1000 : 0, 0);
    ev_timer_start(n->loop, &n->pause);
}

static void on_pause_over(struct ev_loop *loop, ev_timer *w, int revents)
{
    struct notify_server *n = CONTAINER_OF(w, struct notify_server, pause);

    (void)revents;
    ev_io_start(loop, &n->readable);
}

static void on_readable(struct ev_loop *loop, ev_io *w, int revents)
{
    struct notify_server *n = CONTAINER_OF(w, struct notify_server, readable);
    struct datagram d;
    bool closed = false;

    (void)loop, (void)revents;
    n->closed = &closed;
    for (int budget = open_budget(n); budget > 0 && receive(n->fd, &d) == 0; budget--) {
        n->window_used++;
        handle(n, &d);
        if (closed)
            return;
    }
    n->closed = NULL;
    if (n->window_used >= WINDOW_MAX)
        pause_reading(n);
}

/* ---- life ---- */

/* Binding without a name makes the kernel choose an abstract one ("autobind", unix(7)). A socket
 * that has its name keeps it. */
static int bind_anywhere(struct notify_server *n)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    socklen_t len = sizeof(address.sun_family);
    const int on = 1;

    if (setsockopt(n->fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)) < 0 ||
        bind(n->fd, (struct sockaddr *)&address, len) < 0)
        return -errno;
    len = sizeof(address);
    if (getsockname(n->fd, (struct sockaddr *)&address, &len) < 0)
        return -errno;
    len -= (socklen_t)offsetof(struct sockaddr_un, sun_path);
    snprintf(n->address, sizeof(n->address), "@%.*s", (int)len - 1, address.sun_path + 1);
    return 0;
}

int notify_server_resume(struct ev_loop *loop, int take_fd, const struct notify_server_ops *ops,
                         void *data, struct notify_server **out)
{
    CLEANUP_CLOSE int fd = take_fd;
    struct notify_server *n = calloc(1, sizeof(*n));
    int err;

    if (!n)
        return -ENOMEM;
    n->loop = loop;
    n->ops = ops;
    n->data = data;
    n->fd = fd;
    err = bind_anywhere(n);
    if (err < 0) {
        free(n);
        return err;
    }
    util_take_fd(&fd);
    ev_io_init(&n->readable, on_readable, n->fd, EV_READ);
    ev_timer_init(&n->pause, on_pause_over, 0, 0);
    ev_io_start(loop, &n->readable);
    *out = n;
    return 0;
}

int notify_server_open(struct ev_loop *loop, const struct notify_server_ops *ops, void *data,
                       struct notify_server **out)
{
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    return fd < 0 ? -errno : notify_server_resume(loop, fd, ops, data, out);
}

int notify_server_fd(const struct notify_server *n)
{
    return n->fd;
}

void notify_server_close(struct notify_server *n)
{
    if (!n)
        return;
    if (n->closed)
        *n->closed = true;
    ev_io_stop(n->loop, &n->readable);
    ev_timer_stop(n->loop, &n->pause);
    close(n->fd);
    free(n);
}

const char *notify_server_address(const struct notify_server *n)
{
    return n->address;
}

void notify_server_set_owner(struct notify_server *n, pid_t pid, uid_t uid)
{
    n->owner = pid;
    n->owner_uid = uid;
}

uint64_t notify_server_refused(const struct notify_server *n)
{
    return n->refused;
}
