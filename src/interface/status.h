/* What is true of the master as a whole, in the words that health pages, the service manager and
 * the log share. Pulls from the cluster; nobody pushes into it. */
#ifndef PREFORKD_INTERFACE_STATUS_H
#define PREFORKD_INTERFACE_STATUS_H

#include "interface/reload.h"
#include "interface/restart.h"
#include "policy/loop_lag.h"

enum phase {
    PHASE_SERVING,
    PHASE_DRAINING, /* told to stop; still serving for drain-delay */
    PHASE_STOPPING,
};

/* Where to look. `phase` is written by the master alone. */
struct status {
    const struct cluster *cluster;
    const struct reload *reload;
    const struct restart *restart;
    enum phase phase;
    int64_t began_ms, began_wall_ms;
    struct loop_lag lag;
};

/* "starting", "running", "reloading", "draining" or "stopping". */
const char *status_state_name(const struct status *s);

/* Whether slots may be added, removed or replaced now: 0, or -EBUSY and what is under way. */
int status_check_idle(const struct status *s, struct why *why);

/* Whether traffic should be sent here: every pool has its min-ready workers and no stop is under
 * way. Appends the reason when not: "starting", "draining", "degraded: web 0/2". */
bool status_is_ready(const struct status *s, struct buf *reason);

/* Whether it makes sense to go on: a pool whose every slot is broken asks whoever runs the master
 * to act. Appends the reason when not: "broken: web 0/2 (exited with status 1)". True while
 * stopping. */
bool status_is_alive(const struct status *s, struct buf *reason);

/* Appends one line for people: "web 4/4 ready; last reload failed: ...". */
void status_line(const struct status *s, struct buf *out);

#endif
