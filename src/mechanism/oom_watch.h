/* The kills for want of memory in the control group that the master and its workers are in. There
 * is one for the process, as its control group is. Reading its counter does not wait. */
#ifndef PREFORKD_MECHANISM_OOM_WATCH_H
#define PREFORKD_MECHANISM_OOM_WATCH_H

#include "base/util.h"

/* Looks for the counter; kills until now are nobody's. `root` as of cgroup_find(). */
void oom_watch_open(const char *root);
void oom_watch_close(void);

/* Now and then, so that an old kill of a stranger is not laid to a worker: at each start. */
void oom_watch_note(void);

/* Asked when a worker was found killed by KILL that the master did not send: 1 it was for want of
 * memory, 0 it was not, -ENOENT nothing is counted here. */
int oom_watch_take(void);

#endif
