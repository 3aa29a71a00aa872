#include "mechanism/adopter.h"

#include <fcntl.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

#include "base/sys.h"
#include "mechanism/adopt_target.h"
#include "mechanism/sockopts.h"

enum { BATCH_MAX = 16 }; /* calls in one turn of the loop, so that others get theirs */

struct adopter {
    ev_io readable;
    struct ev_loop *loop;
    const struct adopter_ops *ops;
    void *data;
    struct seccomp_notif *call; /* the kernel's may be longer than ours, see seccomp_unotify(2) */
    struct seccomp_notif_resp *answer;
    struct seccomp_notif_sizes sizes;
    bool busy;   /* answering, so that adopter_close() must wait for the end of it */
    bool closed; /* was called meanwhile */
    bool told_blind;
};

static void adopter_free(struct adopter *a)
{
    close(a->readable.fd);
    free(a->call);
    free(a->answer);
    free(a);
}

/* ---- one call: 0 it succeeds without being made, -EAGAIN the kernel makes it, -errno it fails
 * ---- */

/* Until then all that was read may be of another process. */
static bool still_waits(const struct adopter *a)
{
    return ioctl(a->readable.fd, SECCOMP_IOCTL_NOTIF_ID_VALID, &a->call->id) == 0;
}

static int be_blind(struct adopter *a, const char *what, int err)
{
    char reason[128];

    if (!a->told_blind && !a->closed && still_waits(a)) {
        a->told_blind = true;
        snprintf(reason, sizeof(reason), "%s process %d: %s", what, (int)a->call->pid,
                 strerror(-err));
        a->ops->blind(a->data, reason);
    }
    return -EAGAIN;
}

static struct adopt_target target_of(const struct adopter *a)
{
    return (struct adopt_target){.tid = (pid_t)a->call->pid, .fd = (int)a->call->data.args[0]};
}

/* What became of looking into the target: 0 it can be decided. */
static int check_look(struct adopter *a, int err)
{
    if (err < 0 && err != -EAGAIN)
        return be_blind(a, "cannot look into", err);
    return err == 0 && !still_waits(a) ? -EAGAIN : err;
}

/* O_NONBLOCK belongs to the socket and is thus set for all who use it, FD_CLOEXEC to the number.
 * All of it can be done once more: a call that a signal interrupted comes again. */
static int give(struct adopter *a, struct adopt_target *t, int fd)
{
    struct seccomp_notif_addfd gift = {
        .id = a->call->id,
        .flags = SECCOMP_ADDFD_FLAG_SETFD,
        .srcfd = (__u32)fd,
        .newfd = (__u32)t->fd,
        .newfd_flags = (__u32)(t->flags & O_CLOEXEC),
    };

    adopt_target_duplicate(t);
    if (t->socket_fd >= 0)
        sockopts_carry(t->socket_fd, fd);
    sys_set_nonblock(fd, t->flags & O_NONBLOCK);
    if (ioctl(a->readable.fd, SECCOMP_IOCTL_NOTIF_ADDFD, &gift) < 0)
        return be_blind(a, "cannot give a socket to", -errno);
    return 0;
}

static int answer_bind(struct adopter *a)
{
    CLEANUP(adopt_target_release) struct adopt_target t = target_of(a);
    struct adopter_bind b;
    int r = adopt_target_read_bind(&t, a->call->data.args[1], (uint32_t)a->call->data.args[2]);

    r = check_look(a, r);
    if (r < 0)
        return r;
    b = (struct adopter_bind){.asked = t.asked, .pid = t.pid, .fd = t.fd};
    r = a->ops->bind(a->data, &b);
    return r < 0 ? r : give(a, &t, r);
}

static int answer_listen(struct adopter *a)
{
    CLEANUP(adopt_target_release) struct adopt_target t = target_of(a);
    int r = check_look(a, adopt_target_read_listen(&t));

    if (r < 0)
        return r;
    return a->ops->listen(a->data, t.pid, t.inode, (int)a->call->data.args[1]);
}

static const struct {
    int number;
    int (*answer)(struct adopter *a);
} calls[] = {
    {SYS_bind, answer_bind},
    {SYS_listen, answer_listen},
};

static int decide(struct adopter *a)
{
    for (size_t i = 0; i < ARRAY_SIZE(calls); i++)
        if (calls[i].number == a->call->data.nr)
            return calls[i].answer(a);
    return -EAGAIN;
}

/* ---- the descriptor ---- */

/* Returns false when the caller has gone away in the meantime, which is nothing special. */
static bool receive(struct adopter *a)
{
    memset(a->call, 0, a->sizes.seccomp_notif); /* the kernel insists */
    return ioctl(a->readable.fd, SECCOMP_IOCTL_NOTIF_RECV, a->call) == 0;
}

static void answer(struct adopter *a)
{
    int r = decide(a);

    memset(a->answer, 0, a->sizes.seccomp_notif_resp);
    a->answer->id = a->call->id;
    if (r == -EAGAIN)
        a->answer->flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
    else
        a->answer->error = r;
    ioctl(a->readable.fd, SECCOMP_IOCTL_NOTIF_SEND, a->answer);
}

/* The kernel's RECV waits when there is nothing, whatever the flags of the descriptor say. After
 * POLLIN it does not, even if the caller dies: the count that RECV waits for never goes down by
 * that. */
static short pending(const struct adopter *a)
{
    struct pollfd p = {.fd = a->readable.fd, .events = POLLIN};

    return poll(&p, 1, 0) > 0 ? p.revents : 0;
}

static void on_readable(struct ev_loop *loop, ev_io *io, int events UNUSED)
{
    struct adopter *a = CONTAINER_OF(io, struct adopter, readable);
    short state = 0;

    a->busy = true;
    for (int i = 0; i < BATCH_MAX && !a->closed; i++) {
        state = pending(a);
        if (!(state & POLLIN))
            break;
        if (receive(a))
            answer(a);
    }
    a->busy = false;
    if (a->closed)
        adopter_free(a);
    else if ((state & (POLLIN | POLLHUP)) == POLLHUP)
        ev_io_stop(loop, io); /* the last process of the tree is gone */
}

static int allocate(struct adopter *a)
{
    if (syscall(SYS_seccomp, SECCOMP_GET_NOTIF_SIZES, 0, &a->sizes) < 0)
        return -errno;
    if (a->sizes.seccomp_notif < sizeof(*a->call))
        a->sizes.seccomp_notif = sizeof(*a->call);
    if (a->sizes.seccomp_notif_resp < sizeof(*a->answer))
        a->sizes.seccomp_notif_resp = sizeof(*a->answer);
    a->call = malloc(a->sizes.seccomp_notif);
    a->answer = malloc(a->sizes.seccomp_notif_resp);
    return a->call && a->answer ? 0 : -ENOMEM;
}

int adopter_open(struct ev_loop *loop, int take_notify_fd, const struct adopter_ops *ops,
                 void *data, struct adopter **out)
{
    CLEANUP_CLOSE int fd = take_notify_fd;
    struct adopter *a = calloc(1, sizeof(*a));
    int err;

    if (!a)
        return -ENOMEM;
    a->loop = loop;
    a->ops = ops;
    a->data = data;
    ev_io_init(&a->readable, on_readable, util_take_fd(&fd), EV_READ);
    err = allocate(a);
    if (err < 0) {
        adopter_free(a);
        return err;
    }
    ev_io_start(loop, &a->readable);
    *out = a;
    return 0;
}

int adopter_fd(const struct adopter *a)
{
    return a ? a->readable.fd : -1;
}

void adopter_close(struct adopter *a)
{
    if (!a)
        return;
    ev_io_stop(a->loop, &a->readable);
    a->closed = true;
    if (!a->busy)
        adopter_free(a);
}
