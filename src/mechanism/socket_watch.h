/* Wakes the loop when something happens to one of many sockets that others accept from, and costs
 * nothing while nothing does. One epoll instance of its own, which the loop watches.
 *
 * A socket is armed, and tells once that connections wait; or quiet, and then only tells when it
 * was shut down. So a busy socket wakes nobody for each connection: its owner samples it by a timer
 * until it is empty, and arms it again.
 *
 * The kernel watches the socket and not the descriptor: a worker that has it too keeps it there
 * after close(2). So it has to be removed before it is closed. See epoll(7), question 6. */
#ifndef PREFORKD_MECHANISM_SOCKET_WATCH_H
#define PREFORKD_MECHANISM_SOCKET_WATCH_H

#include <ev.h>

#include "base/util.h"

struct socket_watch;

/* Both say which socket by what was given to socket_watch_add(). */
struct socket_watch_ops {
    /* connections wait, or data does; the socket is quiet from now on */
    void (*waiting)(void *data, void *owner, int number);
    /* it was shut down or is in error; it is watched no more */
    void (*hangup)(void *data, void *owner, int number);
};

/* -errno of epoll_create1(2), -ENOMEM. */
int socket_watch_open(struct ev_loop *loop, const struct socket_watch_ops *ops, void *data,
                      struct socket_watch **out);
void socket_watch_close(struct socket_watch *w); /* NULL is allowed */

/* Watches the socket, quiet at first. Nothing changes for one that is watched already. */
int socket_watch_add(struct socket_watch *w, int fd, void *owner, int number);

/* Nothing happens for one that is not watched. Neither of them tells at once. */
void socket_watch_arm(struct socket_watch *w, int fd);
void socket_watch_remove(struct socket_watch *w, int fd);

#endif
