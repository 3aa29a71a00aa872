/* Probes of a pool's workers (the setting probe): each is asked from time to time whether it
 * serves. One that fails several times in a row is ended; with ready = probe, one that starts is
 * asked until it serves. Timers run only while something is probed. */
#ifndef PREFORKD_CLUSTER_PROBING_H
#define PREFORKD_CLUSTER_PROBING_H

#include "cluster/discovery.h"
#include "cluster/slot.h"

struct probing {
    struct ev_loop *loop;
    const struct discovery *discovery;
    struct probing_target **targets; /* by slot; NULL: was never probed */
    int n;
    bool told; /* that there is nothing to probe */
};

void probing_init(struct probing *p, struct ev_loop *loop, const struct discovery *discovery);
void probing_free(struct probing *p);

/* The slot or one of its workers changed. Posts no event to the slot. */
void probing_note(struct probing *p, struct slot *s);

/* The slots from `nslots` on are gone. */
void probing_shrink(struct probing *p, int nslots);

#endif
