/* The service manager's view of the master (systemd): readiness, reloads, status text, watchdog and
 * more time for what takes long. Pulls from the status. See sd_notify(3). */
#ifndef PREFORKD_INTERFACE_MANAGER_H
#define PREFORKD_INTERFACE_MANAGER_H

#include <ev.h>

#include "interface/status.h"

struct manager {
    struct ev_loop *loop;
    const struct status *status;
    bool told_ready; /* READY=1 is due once min-ready is reached */
    bool told_stopping;
    bool reloading;  /* RELOADING=1 was told and READY=1 is owed */
    char last[512];  /* the status line told last */
    ev_timer retry;  /* the manager's socket was full */
    ev_timer extend; /* runs while something takes its time */
    ev_timer watchdog;
};

/* Reads NOTIFY_SOCKET and WATCHDOG_USEC of this process; without them every call does nothing. */
void manager_open(struct manager *m, struct ev_loop *loop, const struct status *status);
void manager_close(struct manager *m);

/* Something may have changed: tells what is to be told. */
void manager_update(struct manager *m);

/* A reload began or ended: RELOADING=1 now, READY=1 always afterwards, also when it failed. */
void manager_reload_begun(struct manager *m);
void manager_reload_ended(struct manager *m);

#endif
