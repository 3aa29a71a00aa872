/* The seccomp filter that hands bind(2) and listen(2) of a process and of all its descendants to
 * the master: see seccomp_unotify(2). It is no security boundary: other ways to bind, such as
 * io_uring or the system calls of a foreign architecture, pass by it. */
#ifndef PREFORKD_MECHANISM_ADOPT_FILTER_H
#define PREFORKD_MECHANISM_ADOPT_FILTER_H

#include "base/util.h"

struct adopt_filter;

/* Builds the filter, once for all workers. -errno where libseccomp or the kernel does not know user
 * notification. */
int adopt_filter_new(struct adopt_filter **out);
void adopt_filter_free(struct adopt_filter *f);

/* In the child: installs the filter for the rest of its life and for its descendants.
 * Async-signal-safe. With CAP_SYS_ADMIN setuid programs go on working; without it no_new_privs is
 * set. Returns the notify descriptor (close-on-exec), owned by the caller, or -errno with nothing
 * installed: -EBUSY another supervisor has its own, -EACCES, -EPERM, -ENOSYS a sandbox refuses. */
int adopt_filter_install(const struct adopt_filter *f);

#endif
