/* What the files of the master share; nobody else includes this. */
#ifndef PREFORKD_PROGRAM_MASTER_PARTS_H
#define PREFORKD_PROGRAM_MASTER_PARTS_H

#include "interface/control.h"
#include "interface/fdstore.h"
#include "interface/health.h"
#include "interface/manager.h"
#include "interface/upgrade.h"
#include "mechanism/signals.h"
#include "program/master.h"

struct master {
    struct ev_loop *loop;
    char *const *argv;
    const json_t *saved; /* what the program before this one left; NULL: there was none */
    struct settings *settings;
    struct signals *signals;
    struct cluster cluster;
    struct reload reload;
    struct restart restart;
    struct upgrade upgrade;
    struct status status;
    struct manager manager;
    struct fdstore fdstore;
    struct health *health;
    struct control *control;
    ev_timer drain;  /* drain-delay */
    ev_timer settle; /* fires once after a change */
    ev_check turn_begins;
    ev_prepare turn_ends;
    int64_t turn_began_us;
    int exit_status;
    bool had_terminal, ignores_hangup;
    bool wrote_pidfile;
};

/* What those tell it that it is wired to. */
extern const struct cluster_ops master_cluster_ops;
extern const struct reload_ops master_reload_ops;
extern const struct restart_ops master_restart_ops;
extern const struct upgrade_ops master_upgrade_ops;
extern const struct control_ops master_control_ops;
void master_on_signal(void *data, const struct signals_event *e);

/* The timers of `struct master`, before anything can start one; and the watchers of the loop's
 * turns. */
void master_init_timers(struct master *m);
void master_watch_turns(struct master *m);

/* Has what changed looked at in the next turn of the loop. `data` is the master. */
void master_settle_later(void *data);

/* The log as the settings have it; -errno: it goes on as before. */
int master_configure_log(const struct settings *s);

#endif
