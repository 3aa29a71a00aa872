/* Watching the queues of a listener's sockets. */
#include "mechanism/listener_parts.h"

#include <linux/sock_diag.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "base/log.h"

void listener_watch_socket(struct listener *l, struct slot_socket *s)
{
    int r;

    s->shut = false;
    if (!l->watch || l->bound.kind == SOCKSPEC_UNIX)
        return;
    r = socket_watch_add(l->watch, s->fd, l, (int)(s - l->sockets));
    if (r < 0)
        log_warn(LOG_NOBODY, "listen %s: cannot watch a socket: %s", l->address, strerror(-r));
}

void listener_unwatch_socket(struct listener *l, int fd)
{
    if (l->watch)
        socket_watch_remove(l->watch, fd);
}

/* A socket that does not listen yet looks as if it was shut down. */
void listener_watch(struct listener *l, struct socket_watch *watch)
{
    if (l->watch == watch)
        return;
    for (int i = 0; i < l->nsockets; i++)
        listener_unwatch_socket(l, l->sockets[i].fd);
    l->watch = watch;
    for (int i = 0; i < l->nsockets; i++)
        if (l->bound.udp || listener_is_listening(l, i))
            listener_watch_socket(l, &l->sockets[i]);
}

void listener_arm(struct listener *l, int slot)
{
    const struct slot_socket *s = listener_socket(l, slot);

    if (s && l->watch)
        socket_watch_arm(l->watch, s->fd);
}

/* Bytes of the datagrams that wait: how many they are is not told. */
static int datagram_bytes(int fd)
{
    uint32_t memory[SK_MEMINFO_VARS] = {0};
    socklen_t len = sizeof(memory);

    if (getsockopt(fd, SOL_SOCKET, SO_MEMINFO, memory, &len) < 0)
        return -errno;
    return (int)memory[SK_MEMINFO_RMEM_ALLOC];
}

void listener_sample(struct listener *l, int slot, struct listener_sample *sum)
{
    struct slot_socket *s = listener_socket(l, slot);
    int level;

    if (!s)
        return;
    level = l->bound.udp ? datagram_bytes(s->fd) : listener_queue(l, slot);
    if (level < 0)
        return;
    sum->waiting += l->bound.udp ? level > 0 : level;
    sum->taken = sum->taken || level < s->level;
    sum->grown = sum->grown || level > s->level;
    s->level = level;
}

bool listener_is_steered(const struct listener *l)
{
    return l->steer.error == 0;
}

int listener_queued(const struct listener *l)
{
    int sum = 0;

    for (int i = 0; i < l->nsockets; i++) {
        int queued = listener_queue(l, i);

        sum += queued > 0 ? queued : 0;
    }
    return sum;
}
