/* The sockets that an earlier master left with the service manager, with the connections that wait
 * in them: each goes back to the slot that it belonged to. */
#ifndef PREFORKD_CLUSTER_STORED_H
#define PREFORKD_CLUSTER_STORED_H

#include "mechanism/listener.h"
#include "policy/settings.h"
#include "policy/store_name.h"

struct stored_socket {
    struct store_name name;
    int fd; /* -1: taken */
};

/* In the kernel's order within each SO_REUSEPORT group. */
struct stored_sockets {
    struct stored_socket *items;
    size_t n;
};

/* Adds a socket. Owns the descriptor, also on failure; -ENOMEM. */
int stored_add(struct stored_sockets *s, const struct store_name *name, int fd);

/* Puts them in the order of the inodes in `order`; those that it does not have come last. */
void stored_sort(struct stored_sockets *s, const uint64_t *order, size_t n);

/* Ends sockets that no listener of these settings can want, before any address is bound: they would
 * be in the way of others. */
void stored_prune(struct stored_sockets *s, const struct settings *settings);

/* Makes a listener of the sockets that a pool had for the address. Returns 1, 0 when there are none
 * (`out` is not set), or -errno. When workers are using them, it always makes one, if need be
 * without sockets: what is missing goes to the log as an error. Then only -ENOMEM. */
int stored_reopen(struct stored_sockets *s, const char *pool, bool discovered,
                  const struct sockspec *spec, int nslots, const struct listener_options *options,
                  struct listener **out, struct why *why);

/* The first address among the discovered ones of a pool that was not taken; NULL: there is none. */
const struct sockspec *stored_discovered(const struct stored_sockets *s, const char *pool);

/* Ends what was not taken. */
void stored_free(struct stored_sockets *s);

#endif
