/* Whether a process waits for connections on given sockets, seen from outside by way of /proc: the
 * socket is in one of its epoll sets, or a thread is blocked in accept, poll or select on it. */
#ifndef PREFORKD_MECHANISM_OBSERVE_H
#define PREFORKD_MECHANISM_OBSERVE_H

#include <sys/types.h>

#include "base/util.h"

/* Looks at `pid` and its descendants (a wrapper's child may be the server), 64 processes at most.
 * 1 it waits on one of the sockets, 0 it does not (yet), -EACCES the kernel does not let us look,
 * -ESRCH it is gone. Bounded: in all, at most 4096 descriptors, threads and members of epoll sets
 * are looked at; what lies beyond is as if it were not there.
 * A UDP socket counts when a thread is blocked in one of the recv family on it. */
int observe_accepting(pid_t pid, const uint64_t *inodes, size_t n);

/* Whether one of these processes has the socket open. As above. */
int observe_holding(pid_t pid, uint64_t inode);

#endif
