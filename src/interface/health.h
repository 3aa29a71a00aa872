/* The health pages: liveness, readiness and startup for orchestrators and load balancers. */
#ifndef PREFORKD_INTERFACE_HEALTH_H
#define PREFORKD_INTERFACE_HEALTH_H

#include <ev.h>

#include "interface/status.h"

struct health;

/* Opens the pages at the `health` setting's address; "off" gives NULL. `take_fd` is the listening
 * socket that another program in this process had for it, or -1. -errno with the reason. */
int health_open(struct ev_loop *loop, const char *setting, int take_fd, const struct status *status,
                struct health **out, struct why *why);
void health_close(struct health *h);   /* NULL is allowed */
int health_fd(const struct health *h); /* the listening socket; -1 for NULL */

/* With the real port. */
const char *health_address(const struct health *h);

#endif
