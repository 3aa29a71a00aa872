/* Every pool of the master, and what is true of all of them together. */
#ifndef PREFORKD_CLUSTER_CLUSTER_H
#define PREFORKD_CLUSTER_CLUSTER_H

#include "cluster/pool.h"

struct cluster_ops {
    void (*changed)(void *data); /* readiness or counts may be others than before */
    void (*outcome)(void *data, struct pool *p, int slot, bool ok);
    void (*scale)(void *data, struct pool *p, int n);    /* as of struct pool_ops */
    void (*ready)(void *data, struct pool *p, int slot); /* a worker of the slot became ready */
    /* a child of nobody in the cluster ended, while it still is a zombie */
    void (*stranger_gone)(void *data, pid_t pid, int code, int status);
    /* the first start is impossible: exit status 1, 126 or 127; told for each slot */
    void (*cannot_start)(void *data, const struct pool *p, int status, const char *reason);
};

struct cluster {
    struct ev_loop *loop;
    struct start_queue starts_due;
    const struct cluster_ops *ops;
    void *data;
    struct generation_means means;
    struct pool **pools;
    size_t npools;
    unsigned generation; /* the number given last */
    bool was_ready;      /* every pool had its min-ready workers once */
    bool started;        /* the first full start was complete once */
    bool stopping;
};

/* Without pools yet. Takes `inherited` and `stored`. */
void cluster_init(struct cluster *c, struct ev_loop *loop, const struct cluster_ops *ops,
                  void *data, struct inherited_listeners *inherited, struct stored_sockets *stored);

/* The pool at `index` of the settings, as generation `number`, with `nslots` slots that are down
 * (0: as many as its workers). */
int cluster_open_pool(struct cluster *c, struct settings *settings, size_t index, unsigned number,
                      int nslots, struct why *why);

/* Opens every listener of the first generation and makes the slots; starts nothing yet. Takes
 * `inherited` and `stored`. -errno with the reason; the cluster is to be freed in either case. */
int cluster_open(struct cluster *c, struct ev_loop *loop, const struct cluster_ops *ops, void *data,
                 struct settings *settings, struct inherited_listeners *inherited,
                 struct stored_sockets *stored, struct why *why);
void cluster_free(struct cluster *c); /* every pool must be down */

void cluster_start(struct cluster *c);
void cluster_stop(struct cluster *c);
void cluster_kill(struct cluster *c);
bool cluster_is_down(const struct cluster *c);

/* Reaps every child that ended; strangers (orphans handed to us as their reaper) as well. */
void cluster_reap(struct cluster *c);

/* Sends `signo` to the workers of each pool whose `forward-signals` names it. */
void cluster_forward_signal(struct cluster *c, int signo);

struct pool *cluster_pool(const struct cluster *c, const char *name);

/* A further pool without slots; NULL: out of memory. And the end of one that is down. */
struct pool *cluster_new_pool(struct cluster *c, struct generation *gen);
void cluster_remove_pool(struct cluster *c, struct pool *p);

/* Every pool has its min-ready workers. */
bool cluster_is_ready(const struct cluster *c);

/* Every slot of every pool has finished; `ok`: each of them well. */
bool cluster_is_finished(const struct cluster *c, bool *ok);

/* After changes, from the loop: notes what was reached for the first time, and gives up pools that
 * were stopped for good and are down. */
void cluster_settle(struct cluster *c);

#endif
