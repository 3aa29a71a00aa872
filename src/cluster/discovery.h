/* The sockets that workers get when they bind by themselves: those of the generation's listeners,
 * and those of addresses that nobody listed but a worker bound. Of the latter each slot has a
 * socket from the moment its worker asks; it listens from the worker's listen(2) on, and then
 * outlives it. */
#ifndef PREFORKD_CLUSTER_DISCOVERY_H
#define PREFORKD_CLUSTER_DISCOVERY_H

#include "cluster/generation.h"
#include "mechanism/adopter.h"

#define DISCOVERY_MAX           32 /* addresses of a pool; a bit each in the claims of a worker */
#define DISCOVERY_LISTENERS_MAX (GENERATION_LISTENERS_MAX + DISCOVERY_MAX)

struct discovery {
    struct listener *items[DISCOVERY_MAX];
    size_t n;
};

void discovery_free(struct discovery *d);

/* Every listener that a worker may be given, the listed ones first. Returns how many. */
size_t discovery_list(const struct discovery *d, const struct generation *gen,
                      struct listener **listeners, size_t max);

/* Takes the sockets back that an earlier master had for discovered addresses of the pool. */
int discovery_reopen(struct discovery *d, const struct generation *gen,
                     struct generation_means *means, int nslots, struct why *why);

/* A process of a worker of `slot` binds a socket. Returns the descriptor to give, owned by the
 * listener; -EAGAIN: let the kernel do it; or the -errno for the program, with the reason. What was
 * given of the discovered addresses is noted in `claims`. */
int discovery_bind(struct discovery *d, const struct generation *gen, int slot,
                   const struct adopter_bind *b, uint32_t *claims, struct why *why);

/* A worker of `slot` listens on the socket `inode`. 0: it listens, with the backlog of the
 * settings; -EAGAIN: the socket is none of ours. */
int discovery_listen(const struct discovery *d, const struct generation *gen, int slot,
                     uint64_t inode);

/* The inodes of all sockets of a slot, at most `max`; returns how many. */
size_t discovery_inodes(const struct discovery *d, const struct generation *gen, int slot,
                        uint64_t *inodes, size_t max);

/* No worker is left in the slot: what was bound but never listened on leaves nothing. */
void discovery_tidy(struct discovery *d, int slot);

/* The slot's worker has proved itself: addresses that it did not ask for are given up. */
void discovery_keep(struct discovery *d, int slot, uint32_t claims);

/* A new backlog for every socket that listens. */
void discovery_set_backlog(struct discovery *d, int backlog);

/* The slots from `nslots` on are gone. */
void discovery_shrink(struct discovery *d, int nslots);

/* Before a start in a slot without workers. */
void discovery_restore(struct discovery *d, int slot);

#endif
