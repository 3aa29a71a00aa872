/* Who else listens on an address: NETLINK_SOCK_DIAG for the sockets, /proc for their owners.
 * See sock_diag(7). */
#ifndef PREFORKD_MECHANISM_SOCKDIAG_H
#define PREFORKD_MECHANISM_SOCKDIAG_H

#include "policy/sockspec.h"

struct sockdiag_socket {
    int family;
    int state; /* as TCP_LISTEN and the like of the kernel */
    bool v6only;
    uint16_t port;
    uint32_t interface; /* bound to this one only; 0: to none */
    uint64_t inode;     /* 0: no process has it: a connection that nobody has accepted */
    uint64_t cookie;    /* of the socket for its whole life */
    struct in_addr ip4; /* of AF_INET, otherwise meaningless; ip6 likewise */
    struct in6_addr ip6;
};

enum sockdiag_match {
    SOCKDIAG_OVERLAPS, /* has an address in common with `spec`: can be why bind(2) says EADDRINUSE
                        */
    SOCKDIAG_RIVALS,   /* gets connections that a socket bound to `spec` would get without it */
};

/* Collects the inodes of listening TCP (or bound UDP) sockets in this network namespace that match
 * `spec` on its port, which is not 0. Returns how many were found (the first `max` are stored), or
 * -errno where the kernel or a sandbox refuses the question. Never blocks: the kernel answers at
 * once. */
int sockdiag_listeners(const struct sockspec *spec, enum sockdiag_match match, uint64_t *inodes,
                       int max);

/* Calls `visit` for every listening TCP (or bound UDP) socket in this network namespace that has
 * `port` (0: any). 0 or -errno as above. */
int sockdiag_each(bool udp, uint16_t port,
                  void (*visit)(const struct sockdiag_socket *s, void *data), void *data);

/* Calls `visit` for every TCP connection in this network namespace that came in on `port` and is
 * not being closed from our side: AF_INET, or AF_INET6 with those that came by IPv4 to a dual
 * socket. */
int sockdiag_connections(int family, uint16_t port,
                         void (*visit)(const struct sockdiag_socket *s, void *data), void *data);

/* The inode of the socket at the other end of a TCP connection within this network namespace; 0 as
 * long as nobody has accepted it. -ENOENT: there is none any more; -errno where the question is
 * refused. */
int sockdiag_peer_inode(int fd, uint64_t *inode);

/* Appends its address as the settings write it: "0.0.0.0:8080", "*:8080" (IPv6 and IPv4 by one
 * socket), "[::1]:8080"; without "udp:", which it does not know. */
void sockdiag_format(const struct sockdiag_socket *s, struct buf *out);

/* Appends "pid 123 (node), pid 124 (node)" for the processes that hold one of the sockets, at most
 * five and then "and N more"; "unknown processes" when /proc does not tell. Bounded: it gives up
 * looking after some ten thousands of descriptors. */
void sockdiag_describe_owners(const uint64_t *inodes, int n, struct buf *out);

#endif
