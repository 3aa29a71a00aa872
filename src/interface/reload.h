/* A reload: load the whole configuration afresh, prepare everything that can fail, then replace
 * slot by slot as the plan of policy/rollout.h says; on failure put everything back. */
#ifndef PREFORKD_INTERFACE_RELOAD_H
#define PREFORKD_INTERFACE_RELOAD_H

#include "cluster/cluster.h"
#include "mechanism/handover.h"
#include "policy/rollout.h"

enum reload_result { RELOAD_NONE, RELOAD_RUNNING, RELOAD_OK, RELOAD_FAILED };

struct reload_ops {
    void (*begun)(void *data);
    /* `settings` is the new configuration, NULL when the reload failed */
    void (*ended)(void *data, struct settings *settings);
    /* `reason` is of STEP_FAILED */
    void (*step)(void *data, const struct pool *p, int slot, enum rollout_step step,
                 const char *reason);
};

struct reload_plan; /* of one pool */

struct reload {
    struct cluster *cluster;
    const struct cmdline *cmdline;
    const struct reload_ops *ops;
    void *data;

    enum reload_result result;
    char reason[512]; /* of a failure */
    bool refused;     /* it failed before anything was done, by the configuration */
    int64_t began_ms; /* monotonic */
    int64_t duration_ms;
    int64_t at_wall_ms; /* when the last one ended */
    uint64_t total[2];  /* failed, ok */
    bool last_failed;   /* of those that have ended */

    /* private */
    bool again; /* asked for while one was running */
    struct settings *next;
    struct reload_plan *plans;
    size_t nplans, current, end; /* plans [current, end) are still to be walked */
    bool back;                   /* walking back after a later plan failed */
    ev_timer kick;
};

void reload_init(struct reload *r, struct cluster *cluster, const struct cmdline *cmdline,
                 const struct reload_ops *ops, void *data);
void reload_free(struct reload *r);

/* Begins a reload from `now`'s settings, or remembers that one more is wanted after the one that is
 * running. */
void reload_request(struct reload *r, const struct settings *now);

/* To be called for every outcome that the cluster tells, and for every worker that becomes ready.
 */
void reload_outcome(struct reload *r, struct pool *p, int slot, bool ok);
void reload_worker_ready(struct reload *r, const struct pool *p, int slot);

/* Slots that hold the new generation now, of those that are to. */
void reload_progress(const struct reload *r, int *done, int *total);

/* Remembers that a reload is wanted. */
void reload_remember(struct reload *r);

/* Whether another reload was asked for meanwhile; asking clears it. */
bool reload_take_request(struct reload *r);

/* The master stops: a running reload ends as failed, nothing more is ordered. */
void reload_abandon(struct reload *r);

/* What is known of earlier reloads, for another program in this process. */
void reload_save(const struct reload *r, json_t *out);
void reload_resume(struct reload *r, const json_t *saved);

bool reload_is_running(const struct reload *r);
const char *reload_result_name(enum reload_result result);

#endif
