/* The master's end of the filter of one worker: answers every bind(2) and listen(2) of its process
 * tree by what the owner says, and puts sockets in the place of the program's own. Knows no slot.
 */
#ifndef PREFORKD_MECHANISM_ADOPTER_H
#define PREFORKD_MECHANISM_ADOPTER_H

#include <ev.h>

#include "policy/sockspec.h"

struct adopter;

struct adopter_bind {
    struct sockspec asked; /* IP4, IP6, DUAL or UNIX; the port is not 0. ::ffff:1.2.3.4 is IP4 */
    pid_t pid;             /* of the process, in the master's pid namespace */
    int fd;                /* its descriptor */
};

/* Each may call adopter_close(); the call that is being looked at is still answered then. */
struct adopter_ops {
    /* Returns a descriptor to give (borrowed until the loop comes round again), -EAGAIN to
     * let the kernel do what the program asked for, or the -errno with which the call fails.
     * Before it is given, the program's socket options and O_NONBLOCK are carried over to it. */
    int (*bind)(void *data, const struct adopter_bind *b);

    /* The program calls listen(2) on the socket `inode`. 0 the call succeeds without being made,
     * -EAGAIN the kernel does it, or the -errno with which it fails. */
    int (*listen)(void *data, pid_t pid, uint64_t inode, int backlog);

    /* A call could not be looked into, so that the kernel did it. Told once. */
    void (*blind)(void *data, const char *reason);
};

/* Takes the notify descriptor over, also on failure. Watches until the process tree is empty. */
int adopter_open(struct ev_loop *loop, int take_notify_fd, const struct adopter_ops *ops,
                 void *data, struct adopter **out);

int adopter_fd(const struct adopter *a); /* the notify descriptor; -1 for NULL */

/* From then on every bind(2) and listen(2) of the tree fails with ENOSYS. NULL is allowed. */
void adopter_close(struct adopter *a);

#endif
