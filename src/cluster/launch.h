/* Turns a generation and a slot into a running process: environment, arguments, descriptors,
 * limits. Reads again at each start what may have changed: env-file and directory. */
#ifndef PREFORKD_CLUSTER_LAUNCH_H
#define PREFORKD_CLUSTER_LAUNCH_H

#include "cluster/worker.h"

/* `outputs`: two descriptors for the process' stdout and stderr, or NULL for those of the master.
 * `result_fd` as of spawn_start(). -errno with the reason when nothing was started. */
int launch(const struct worker_start *start, const char *notify_socket, const int *outputs,
           pid_t *pid, int *result_fd, struct why *why);

#endif
