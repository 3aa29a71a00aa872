/* A restart that somebody asked for: the workers of a slot, or of all slots of a pool, are replaced
 * by others of the same generation, successor first, as the plan of policy/rollout.h says. On a
 * failure it ends there: slots that were replaced already run what they ran before. */
#ifndef PREFORKD_INTERFACE_RESTART_H
#define PREFORKD_INTERFACE_RESTART_H

#include "cluster/cluster.h"
#include "policy/rollout.h"

struct restart_ops {
    /* `reason` is of STEP_FAILED */
    void (*step)(void *data, const struct pool *p, int slot, enum rollout_step step,
                 const char *reason);
    void (*ended)(void *data, bool ok);
};

struct restart {
    const struct restart_ops *ops;
    void *data;
    struct pool *pool; /* NULL: none runs */
    struct why why;    /* of a failure */

    /* private */
    struct rollout rollout;
    int first; /* the slot that is the first of the plan */
    ev_timer kick;
    struct ev_loop *loop;
};

void restart_init(struct restart *r, struct ev_loop *loop, const struct restart_ops *ops,
                  void *data);
void restart_free(struct restart *r);

/* Begins it, for all slots that are wanted when `slot` is -1. -ENOMEM. No restart and no reload may
 * be running. */
int restart_begin(struct restart *r, struct pool *p, int slot);

/* To be called for every outcome, and for every worker that becomes ready. */
void restart_outcome(struct restart *r, const struct pool *p, int slot, bool ok);
void restart_worker_ready(struct restart *r, const struct pool *p, int slot);

/* The master stops: a running restart ends as failed. */
void restart_abandon(struct restart *r);

bool restart_is_running(const struct restart *r);
void restart_progress(const struct restart *r, int *done, int *total);

#endif
