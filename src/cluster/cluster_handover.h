/* The cluster's part of a handover: what another program in this process needs to go on with the
 * pools, their sockets and their workers. */
#ifndef PREFORKD_CLUSTER_CLUSTER_HANDOVER_H
#define PREFORKD_CLUSTER_CLUSTER_HANDOVER_H

#include "cluster/cluster.h"
#include "mechanism/handover.h"

void cluster_save(const struct cluster *c, struct handover *h, json_t *out);

/* As cluster_open() and cluster_start(), with the state that was saved under the same settings. */
int cluster_resume(struct cluster *c, struct ev_loop *loop, const struct cluster_ops *ops,
                   void *data, struct settings *settings, const json_t *saved, struct why *why);

#endif
