/* Replaces workers of a pool that have become too big or too old: successor first, one at a time,
 * never during a reload. Without the settings it costs nothing. */
#ifndef PREFORKD_CLUSTER_RECYCLING_H
#define PREFORKD_CLUSTER_RECYCLING_H

#include <ev.h>

#include "base/util.h"

struct pool;

struct recycling {
    struct pool *pool;
    ev_timer timer;
    int64_t timer_ms;  /* when it fires, monotonic */
    int slot;          /* whose replacement is under way; -1: none */
    bool premature;    /* that worker was too big from the start */
    unsigned failures; /* replacements in a row that failed or were premature */
    int64_t retry_ms;  /* none before, monotonic */
};

void recycling_init(struct recycling *r, struct pool *p);
void recycling_end(struct recycling *r);

/* After changes, from the loop. */
void recycling_update(struct recycling *r);

/* How the replacement of a slot ended. */
void recycling_outcome(struct recycling *r, int slot, bool ok);

#endif
