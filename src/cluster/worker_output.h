/* What a worker writes to stdout and stderr, with `output` tag or json: on its way from pipes to
 * the master's own stdout and stderr, as lines that tell whose they are. */
#ifndef PREFORKD_CLUSTER_WORKER_OUTPUT_H
#define PREFORKD_CLUSTER_WORKER_OUTPUT_H

#include "cluster/generation.h"
#include "policy/last_lines.h"

struct worker_output;

/* Makes it and the pipes' ends for the worker, which are the caller's. -errno of pipe(2). */
int worker_output_open(struct generation *gen, int slot, struct worker_output **out,
                       int fds[OUTPUT_NSTREAMS]);

/* As of capture_save(). */
void worker_output_save(const struct worker_output *o, struct handover *h, json_t *out);
int worker_output_resume(struct generation *gen, int slot, pid_t pid, const json_t *saved,
                         struct worker_output **out);

/* The worker's process, before anything can have been read. */
void worker_output_set_pid(struct worker_output *o, pid_t pid);

/* The last lines of all that it has written until now. NULL is allowed, and returned, when nothing
 * is captured. */
const struct last_lines *worker_output_last(struct worker_output *o);

/* The worker is gone: what is on its way goes on by itself for a while. NULL is allowed. */
void worker_output_release(struct worker_output *o);

#endif
