/* As many workers as a pool's queues ask for, between min-workers and max-workers. */
#ifndef PREFORKD_CLUSTER_SCALING_H
#define PREFORKD_CLUSTER_SCALING_H

#include <ev.h>

#include "policy/autoscale.h"

struct pool;

struct scaling {
    struct autoscale policy;
    ev_timer window; /* runs while there are workers to give up */
};

void scaling_init(struct pool *p);
void scaling_stop(struct pool *p);

/* The number of workers or its bounds may have changed. */
void scaling_changed(struct pool *p);

/* The queues were looked at. */
void scaling_sample(struct pool *p);

#endif
