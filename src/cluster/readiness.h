/* Finding out that a worker accepts connections, when it does not say so itself: alive after a
 * delay, or seen waiting on its socket. */
#ifndef PREFORKD_CLUSTER_READINESS_H
#define PREFORKD_CLUSTER_READINESS_H

#include <ev.h>
#include <sys/types.h>

#include "base/util.h"
#include "cluster/generation.h"

struct readiness_ops {
    void (*found)(void *data); /* it is ready */
    /* asked when ready-delay is over: whether to look on, for a worker that is to be seen */
    bool (*goes_on_waiting)(void *data);
};

struct readiness {
    struct ev_loop *loop;
    const struct readiness_ops *ops;
    void *data;
    const struct generation *gen;
    int slot;
    pid_t pid;
    ev_timer timer;
    int64_t deadline_ms; /* the end of ready-delay */
    double interval_s;   /* until the next look */
};

/* Begins to watch the process as the generation's `ready` asks for; NOTIFY and PROBE watch nothing.
 * `found` is called at most once, never from inside this call. */
void readiness_begin(struct readiness *r, struct ev_loop *loop, const struct generation *gen,
                     int slot, pid_t pid, const struct readiness_ops *ops, void *data);

/* Stops watching. May be called at any time, also twice. */
void readiness_end(struct readiness *r);

#endif
