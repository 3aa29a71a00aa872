/* Whether anybody accepts from listeners, told from the single connections that wait: for queues
 * that cannot be kept from growing, so that their length proves nothing. The kernel lists every
 * connection of a port (sock_diag(7)); those that were not accepted have no inode. */
#ifndef PREFORKD_MECHANISM_ACCEPT_CENSUS_H
#define PREFORKD_MECHANISM_ACCEPT_CENSUS_H

#include "mechanism/listener.h"

struct accept_census {
    bool begun;
    int queued; /* before the list was made */
    uint64_t *waiting;
    size_t n;
    int64_t took_us; /* the last one: it takes longer the more connections the machine has */
};

/* Looks at all that waits in the sockets of the listeners, and compares it with the last look.
 *  1: something was accepted since: a connection that waited belongs to a process now, or there are
 *     more new ones than the queues grew by;
 *  0: nothing was;
 *  -EAGAIN: this was the first look; -EOPNOTSUPP: not for UDP and Unix sockets; -errno.
 * Connections of another server on the port of a wildcard address may pass for progress. */
int accept_census_take(struct accept_census *c, struct listener *const *listeners, size_t n);

/* Forgets what was seen. */
void accept_census_end(struct accept_census *c);

#endif
