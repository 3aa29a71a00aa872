/* What the files of a slot share; nobody else includes this. */
#ifndef PREFORKD_CLUSTER_SLOT_PARTS_H
#define PREFORKD_CLUSTER_SLOT_PARTS_H

#include "cluster/slot.h"

/* What a worker of a slot tells it. */
extern const struct worker_ops slot_worker_ops;

/* EVENT_TIMEOUT comes in so many milliseconds, and no earlier one any more. */
void slot_arm_ms(struct slot *s, int64_t ms);

#endif
