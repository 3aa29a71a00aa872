/* The sockets that a worker opened to listen by itself, past the ones that it was given: seen from
 * outside by way of NETLINK_SOCK_DIAG and /proc. */
#ifndef PREFORKD_MECHANISM_OWN_SOCKETS_H
#define PREFORKD_MECHANISM_OWN_SOCKETS_H

#include <sys/types.h>

#include "base/buf.h"

/* Looks at `pid` and its descendants (64 processes and, in all, 4096 descriptors and threads at
 * most) for TCP sockets that listen and whose inode is not among `given`. Appends their addresses,
 * such as "0.0.0.0:8080, [::1]:9000": at most five and then "and N more". Returns how many there
 * are, each counted once however many processes hold it; or -ESRCH it is gone, -EACCES the kernel
 * does not let us look, -ENOMEM, or what sockdiag_each() says. Sees this network namespace only.
 * Never blocks. */
int own_sockets_describe(pid_t pid, const uint64_t *given, size_t n, struct buf *out);

#endif
