/* Undoing what a worker did to the socket of its slot, or does not do any more. */
#include "mechanism/listener_parts.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>

/* Whether no worker of another slot uses the socket of a slot that has none itself. */
static bool is_used_by_one_slot(const struct listener *l)
{
    return !l->shared || l->nslots == 1;
}

/* O_ASYNC would send SIGIO to whom the worker chose, the master for one. */
static int restore_flags(const struct listener *l, int fd)
{
    int flags = is_used_by_one_slot(l) ? l->flags : fcntl(fd, F_GETFL);

    if (fcntl(fd, F_SETFL, flags & ~O_ASYNC) < 0 || fcntl(fd, F_SETOWN, 0) < 0 ||
        fcntl(fd, F_SETSIG, 0) < 0)
        return -errno;
    return 0;
}

/* A filter drops what it likes. 1: there was one; 0: none; -EPERM: it was locked in for ever. */
static int detach_filter(int fd)
{
    int unused = 0;

    if (setsockopt(fd, SOL_SOCKET, SO_DETACH_FILTER, &unused, sizeof(unused)) == 0)
        return 1;
    return errno == ENOENT ? 0 : -errno;
}

/* After connect(2) a UDP socket takes datagrams of that one peer only, and has left its group for
 * good. */
static int disconnect_udp(const struct listener *l, int fd)
{
    const struct sockaddr nobody = {.sa_family = AF_UNSPEC};
    struct sockaddr_storage peer;
    socklen_t len = sizeof(peer);

    if (getpeername(fd, (struct sockaddr *)&peer, &len) < 0)
        return 0;
    if (connect(fd, &nobody, sizeof(nobody)) < 0)
        return -errno;
    return l->shared ? 0 : -EISCONN;
}

/* A TCP socket that was shut down has left LISTEN, and listen(2) brings it back. Unix and UDP
 * sockets stay shut down. */
static bool is_shut_down(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLRDHUP};

    return poll(&p, 1, 0) > 0 && (p.revents & (POLLRDHUP | POLLHUP));
}

/* A port that bind(2) chose itself is given up with shutdown(2), and listen(2) would choose
 * another. -EINVAL is the answer of a socket that has its port. */
static int rebind(const struct listener *l, int fd)
{
    struct sockaddr_storage address;
    socklen_t len = sockspec_sockaddr(&l->bound, 0, &address);

    if (l->bound.kind == SOCKSPEC_UNIX || bind(fd, (const struct sockaddr *)&address, len) == 0)
        return 0;
    return errno == EINVAL ? 0 : -errno;
}

/* 0: the socket accepts again. */
static int revive(struct listener *l, struct slot_socket *s)
{
    int r = s->inode ? detach_filter(s->fd) : -ENOTCONN;

    if (r > 0)
        r = 0;
    if (r == 0 && l->bound.udp)
        r = disconnect_udp(l, s->fd);
    if (r == 0)
        r = rebind(l, s->fd);
    if (r == 0)
        r = listener_start(l, s->fd);
    if (r == 0 && is_shut_down(s->fd))
        r = -EPIPE;
    if (r == 0)
        listener_watch_socket(l, s);
    return r;
}

/* The last resort: a new socket under the same descriptor. The old one is closed first, since a
 * name that is not in a group can be bound once only. Inode 0 marks a socket that could not be
 * bound; the next start tries again. */
static int replace(struct listener *l, struct slot_socket *s)
{
    CLEANUP_CLOSE int fd = listener_new_socket(l);
    int r;

    if (fd < 0)
        return fd;
    s->inode = 0;
    listener_changed();
    listener_leave_group(l, s->fd);
    if (dup3(fd, s->fd, O_CLOEXEC) < 0)
        return -errno;
    r = listener_bind_socket(l, s->fd, !l->shared, NULL);
    if (r == 0)
        r = listener_start(l, s->fd);
    if (r < 0)
        return r;
    s->inode = listener_inode_of(s->fd);
    listener_watch_socket(l, s);
    return 0;
}

static int restore(struct listener *l, struct slot_socket *s)
{
    int restored, revived;

    /* Options come first: without SO_REUSEPORT, listen(2) is refused in a group. -EPERM: anyone may
     * bind a socket to a device, but undoing it needs CAP_NET_RAW. */
    restored = restore_flags(l, s->fd);
    if (restored == 0 && is_used_by_one_slot(l))
        restored = sockopts_restore(s->fd, &l->options);
    revived = restored == -EPERM ? restored : revive(l, s);
    if (revived == 0 || l->inherited)
        return revived < 0 ? revived : restored;
    revived = replace(l, s);
    return revived < 0 ? revived : 1;
}

static int make(struct listener *l, int slot)
{
    if (slot < 0 || slot >= l->nslots)
        return -EINVAL;
    steer_before_join(&l->steer);
    return listener_open_slot(l, slot, NULL);
}

int listener_restore(struct listener *l, int slot)
{
    struct slot_socket *s = listener_socket(l, slot);
    int r;

    steer_look(&l->steer);
    r = s ? restore(l, s) : make(l, slot);
    steer_apply(&l->steer);
    return r;
}

/* While it serves ------------------------------------------------------------------------------ */

void listener_note_shut(struct listener *l, int slot)
{
    struct slot_socket *s = listener_socket(l, slot);

    if (s)
        s->shut = true;
}

/* Flags and other options stay: the worker goes on with the socket as it made it. */
int listener_heal(struct listener *l, int slot)
{
    struct slot_socket *s = listener_socket(l, slot);
    const int one = 1;
    int r;

    if (!s || !s->shut)
        return 0;
    s->shut = false;
    if (l->bound.udp)
        return -EOPNOTSUPP;
    steer_look(&l->steer);
    if (!l->shared && setsockopt(s->fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one)) < 0)
        return -errno;
    r = revive(l, s);
    return r < 0 ? r : 1;
}

int listener_undo(struct listener *l)
{
    int n = 0;

    for (int i = 0; i < l->nsockets; i++)
        n += l->sockets[i].fd >= 0 && detach_filter(l->sockets[i].fd) > 0;
    if (!l->shared)
        steer_again(&l->steer);
    return n;
}

/* What shutdown(2) closes in LISTEN is the queue; connections that are not yet complete stay. */
int listener_rescue(struct listener *l, int slot)
{
    const struct slot_socket *s = listener_socket(l, slot);
    int r, waiting = s ? listener_queue(l, slot) : -EINVAL;

    if (waiting < 0 || l->shared || l->bound.udp || !steer_migrates(&l->steer))
        return waiting < 0 ? waiting : -EOPNOTSUPP;
    steer_look(&l->steer);
    steer_set(&l->steer, s->fd, slot, false);
    steer_apply(&l->steer);
    if (waiting == 0 || !steer_is_anyone_live(&l->steer))
        return 0;
    steer_leave(&l->steer, s->fd);
    shutdown(s->fd, SHUT_RD);
    r = listener_start(l, s->fd);
    steer_set(&l->steer, s->fd, slot, false);
    steer_apply(&l->steer);
    return r < 0 ? r : waiting;
}
