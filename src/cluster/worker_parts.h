/* What the files of a worker share; nobody else includes this. */
#ifndef PREFORKD_CLUSTER_WORKER_PARTS_H
#define PREFORKD_CLUSTER_WORKER_PARTS_H

#include "cluster/worker.h"

/* What its notification socket and the filter of its system calls tell it. */
extern const struct notify_server_ops worker_notify_ops;
extern const struct adopter_ops worker_adopter_ops;

/* One without a process. NULL: out of memory. */
struct worker *worker_new(const struct worker_start *start);

uid_t worker_uid(const struct worker *w); /* whom it runs as */

/* Until its process group is killed, or is given up. */
void worker_arm_end(struct worker *w, int64_t ms);

void worker_feed_watchdog(struct worker *w); /* when it has one, and is ready */
void worker_await_ready(struct worker *w); /* its program runs: it becomes ready, or is too late */
void worker_look_again(struct worker *w);  /* soon, for the main process in the background */

#endif
