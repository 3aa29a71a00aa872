/* A process and its descendants, seen from outside by way of /proc. See proc(5). */
#ifndef PREFORKD_MECHANISM_PROC_TREE_H
#define PREFORKD_MECHANISM_PROC_TREE_H

#include <sys/types.h>

#include "base/util.h"

/* All of these call `visit` until it returns something else than 0, which they return. They return
 * -EACCES where the kernel does not let us look (a /proc with hidepid= or none at all, too), -ESRCH
 * for a process that is gone, and 0 for what cannot be read for another reason: it ended
 * meanwhile, or we are out of memory. Each thread and each descriptor costs one of `*looks_left`;
 * what lies beyond is as if it were not there. */

/* `pid` and its descendants, 64 processes at most. Goes on where `visit` or the kernel says
 * -EACCES, which is returned at the end, and where a descendant is gone. */
int proc_tree_each_process(pid_t pid, int *looks_left, int (*visit)(pid_t pid, void *data),
                           void *data);

/* The threads and the descriptors of one process; `target` is what the link in /proc says, cut off
 * after 63 bytes. */
int proc_tree_each_thread(pid_t pid, int *looks_left, int (*visit)(int tid, void *data),
                          void *data);
int proc_tree_each_descriptor(pid_t pid, int *looks_left,
                              int (*visit)(int fd, const char *target, void *data), void *data);

/* The inode in "socket:[123]", 0 for a descriptor of another kind. */
uint64_t proc_tree_socket_inode(const char *target);

/* What reading a file of /proc/PID means by the rules above: -EACCES or 0. */
int proc_tree_error(int err);

#endif
