/* The control socket: HTTP over a Unix socket that only its owner and root may use, for preforkctl
 * and scripts. */
#ifndef PREFORKD_INTERFACE_CONTROL_H
#define PREFORKD_INTERFACE_CONTROL_H

#include "interface/progress.h"
#include "interface/status.h"

struct control;

/* What is asked of the master. */
struct control_ops {
    void (*reload)(void *data);
    int (*restart)(void *data, struct pool *p, int slot); /* slot -1: all; -errno */
    void (*stop)(void *data);
    int (*upgrade)(void *data, struct why *why); /* -errno with the reason */
};

/* Opens the socket that the `control` setting names; "off" gives NULL. "auto" gives NULL as well
 * when there is no place for it or another master has it, which the log tells. `saved` is what the
 * program before this one left with control_save(), NULL: there was none.
 * -errno with the reason. */
int control_open(struct ev_loop *loop, const char *setting, const json_t *saved,
                 const struct status *status, const struct control_ops *ops, void *data,
                 struct control **out, struct why *why);

/* All of these allow NULL. */
void control_close(struct control *c);
const char *control_path(const struct control *c); /* NULL when there is no socket */

/* For those who wait: a step of a slot, and the end of the reload or restart. */
void control_reload_step(struct control *c, const struct pool *p, int slot, enum rollout_step step,
                         const char *reason);
void control_restart_step(struct control *c, const struct pool *p, int slot, enum rollout_step step,
                          const char *reason);
void control_reload_ended(struct control *c);
void control_restart_ended(struct control *c, bool ok);

void control_upgrade_failed(struct control *c, const char *reason);

/* For a program that takes this one's place. */
void control_save(const struct control *c, struct handover *h, json_t *out);

/* The master begins to stop: reloads and restarts that are waited for do not come any more. */
void control_stopping(struct control *c);

/* After changes, from the loop. */
void control_look(struct control *c);

#endif
