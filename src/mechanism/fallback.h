/* Answers waiting HTTP connections with 503 while nobody else would. The listening sockets stay
 * those of others, who may use them at the same time: neither flags nor options are touched. */
#ifndef PREFORKD_MECHANISM_FALLBACK_H
#define PREFORKD_MECHANISM_FALLBACK_H

#include <ev.h>

#include "base/util.h"

struct fallback;

/* A listening stream socket; the inode tells a new socket from an old one under the same number. */
struct fallback_socket {
    int fd;
    uint64_t inode;
};

/* The seconds to tell a client in Retry-After, asked for each answer. */
typedef unsigned (*fallback_retry)(void *data);

/* Listens on nothing yet. NULL: out of memory or descriptors. */
struct fallback *fallback_new(struct ev_loop *loop, fallback_retry retry_after_s, void *data);

/* Closes every connection at once. NULL is allowed. */
void fallback_free(struct fallback *f);

/* From now on takes connections from these sockets and no others; cheap when they are the same in
 * the same order. Descriptors are duplicated, so the sockets may be closed before the next call.
 * n = 0: takes no more; the connections that were taken are answered. Returns 0, or -errno when a
 * socket had to be left out. */
int fallback_listen(struct fallback *f, const struct fallback_socket *sockets, size_t n);

/* Lets go of one socket now, so that its address is free when its owner closes it. */
void fallback_forget(struct fallback *f, uint64_t inode);

uint64_t fallback_answered(const struct fallback *f);    /* ever */
unsigned fallback_connections(const struct fallback *f); /* open now; without any no timer runs */

#endif
