/* Where new connections of a pool may go: to slots whose worker accepts from the listener. The pool
 * says what is true of a slot; the listeners' programs follow with steering_apply(). */
#ifndef PREFORKD_CLUSTER_STEERING_H
#define PREFORKD_CLUSTER_STEERING_H

#include "cluster/discovery.h"
#include "cluster/slot.h"

/* Whether a slot gets new connections: its current worker accepts, as far as it can be
 * seen, and it is not being retired. */
void steering_note(struct discovery *d, const struct generation *gen, const struct slot *s);

/* Makes it so, for the listeners of the pool and those that a reload brings. Cheap when nothing
 * changed. */
void steering_apply(struct discovery *d, const struct generation *gen, struct slot *const *slots,
                    int nslots);

/* How many connections wait in the slot's own sockets. */
int steering_queued(const struct discovery *d, const struct slot *s);

#endif
