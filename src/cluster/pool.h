/* One command and its slots. */
#ifndef PREFORKD_CLUSTER_POOL_H
#define PREFORKD_CLUSTER_POOL_H

#include "cluster/discovery.h"
#include "cluster/pool_log.h"
#include "cluster/probing.h"
#include "cluster/recycling.h"
#include "cluster/scaling.h"
#include "cluster/slot.h"
#include "cluster/standby.h"
#include "policy/histogram.h"

struct pool;

struct pool_ops {
    void (*changed)(void *data, struct pool *p);
    void (*outcome)(void *data, struct pool *p, int slot, bool ok);
    void (*ready)(void *data, struct pool *p, int slot); /* a worker of the slot became ready */
    /* the queues ask for `n` workers; nothing happens to it when that cannot be now */
    void (*scale)(void *data, struct pool *p, int n);
    void (*start_failed)(void *data, struct pool *p, const struct spawn_error *error,
                         const char *reason);
};

struct pool {
    const struct pool_ops *ops;
    void *data;
    struct start_queue *starts_due;
    struct generation *gen; /* what the pool is said to run; a reload under way has the next one */
    struct discovery discovery;
    struct probing probing;
    struct slot **slots;
    int nslots;                          /* slots there are; more than wanted while some go down */
    int wanted;                          /* slots there should be */
    bool stopping;                       /* the whole pool goes down */
    uint64_t restarts[RESTART_NREASONS]; /* starts that were not a slot's first */
    struct standby standby;
    struct pool_log log; /* about restarts */
    struct recycling recycling;
    struct histogram start_times; /* from fork to ready */
    ev_timer retirement;          /* runs while slots wait for their queues to be empty */
    struct queues queues;
    struct scaling scaling;
};

/* A pool without slots; takes a reference of `gen`. NULL: out of memory. */
struct pool *pool_new(struct start_queue *starts_due, const struct pool_ops *ops, void *data,
                      struct generation *gen);
void pool_free(struct pool *p); /* every slot must be down */

const char *pool_name(const struct pool *p);

/* Makes slots up to `n`, down at first; their sockets are the caller's affair. Fewer than there are
 * is a no-op. */
int pool_grow(struct pool *p, struct generation *gen, int n, struct why *why);

/* The number of slots from now on: starts new ones. Those above get no new connections, are stopped
 * once their queues are empty (or after stop-timeout), and lose their sockets once they are down.
 * Fails only when growing. */
int pool_set_workers(struct pool *p, int n, struct why *why);

/* The generation that the pool is said to run. */
void pool_set_generation(struct pool *p, struct generation *gen);

/* New connections go to slots that serve. */
void pool_steer(struct pool *p);

/* After changes, from the loop: steers, and brings the rest up to date. */
void pool_settle(struct pool *p);

void pool_start(struct pool *p);
/* Its slots go on from where another program left them; those that were lost are started. */
void pool_resume(struct pool *p);
void pool_stop(struct pool *p); /* gracefully, for good */
void pool_kill(struct pool *p);
bool pool_is_down(const struct pool *p);

bool pool_child_gone(struct pool *p, pid_t pid, int code, int status);
void pool_signal(struct pool *p, int signo);

/* Whether `pid` is the process, or the session, of one of its workers. */
bool pool_has_process(const struct pool *p, pid_t pid);

int pool_ready(const struct pool *p);         /* slots with a worker that accepts */
int pool_finished(const struct pool *p);      /* slots whose work is done: `restart` */
int pool_min_ready(const struct pool *p);     /* how many must be ready, of those not finished */
int pool_broken(const struct pool *p);        /* slots whose breaker is not closed */
bool pool_is_broken(const struct pool *p);    /* every slot that has not finished is */
bool pool_has_failed(const struct pool *p);   /* a finished slot's last worker did not end well */
bool pool_has_failures(const struct pool *p); /* a slot's last start failed */

#endif
