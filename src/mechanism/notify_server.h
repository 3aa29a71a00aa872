/* The NOTIFY_SOCKET of one worker: an abstract datagram socket with an address of its own, so that
 * a message is attributed by where it came in. See sd_notify(3), unix(7). */
#ifndef PREFORKD_MECHANISM_NOTIFY_SERVER_H
#define PREFORKD_MECHANISM_NOTIFY_SERVER_H

#include <ev.h>

#include "policy/notify_msg.h"

struct notify_server;

/* `message` is told for every datagram that was accepted; `sender` is the kernel's word. It may
 * close the server. */
struct notify_server_ops {
    void (*message)(void *data, const struct notify_msg *msg, pid_t sender);
};

int notify_server_open(struct ev_loop *loop, const struct notify_server_ops *ops, void *data,
                       struct notify_server **out);
void notify_server_close(struct notify_server *n);

/* The socket, for another program in this process, and how that one goes on with it (it owns the
 * descriptor, also on failure). */
int notify_server_fd(const struct notify_server *n);
int notify_server_resume(struct ev_loop *loop, int take_fd, const struct notify_server_ops *ops,
                         void *data, struct notify_server **out);

/* Value for NOTIFY_SOCKET. */
const char *notify_server_address(const struct notify_server *n);

/* Who may speak: `pid` and its descendants, under `uid`, root or the master's own user. A process
 * that is already gone is judged by its user alone. Others' datagrams are dropped and counted.
 * Before the first call nobody may. Descriptors that come along are closed at once (BARRIER=1 waits
 * for exactly that). At most 64 datagrams are read at a time and 1,000 a second; the rest waits in
 * the socket. */
void notify_server_set_owner(struct notify_server *n, pid_t pid, uid_t uid);

uint64_t notify_server_refused(const struct notify_server *n);

#endif
