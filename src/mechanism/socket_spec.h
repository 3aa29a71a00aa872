/* What an open socket is bound to, in the words of a sockspec. */
#ifndef PREFORKD_MECHANISM_SOCKET_SPEC_H
#define PREFORKD_MECHANISM_SOCKET_SPEC_H

#include "policy/sockspec.h"

/* An IPv6 socket that is bound to ::ffff:1.2.3.4 is an IPv4 one here, and one that is bound to no
 * path at all a Unix one with the path "". -EBADF, -ENOTSOCK, -EAFNOSUPPORT. */
int socket_spec(int fd, struct sockspec *out);

/* A socket option that is a number, or -errno. */
int socket_number(int fd, int level, int option);

/* Sets one. 0 or -errno of setsockopt(2). */
int socket_set_number(int fd, int level, int option, int value);

#endif
