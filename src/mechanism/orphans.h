/* Processes that were left to us by a parent that ended: see PR_SET_CHILD_SUBREAPER(2const). */
#ifndef PREFORKD_MECHANISM_ORPHANS_H
#define PREFORKD_MECHANISM_ORPHANS_H

#include <sys/types.h>

/* Finds a child of this process in a session other than `session` that was started with `entry`
 * ("NAME=value") in its environment: a server that went into the background leaves one. Looks at
 * 1024 children at most. 0: there is none, or the kernel does not let us look. -EAGAIN: not yet,
 * but a child is ending, which may leave us its own in a moment. */
pid_t orphan_find(pid_t session, const char *entry);

#endif
