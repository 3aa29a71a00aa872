/* What processes write to their stdout and stderr: read from pipes, cut into lines, and sent on by
 * way of a sink for each stream. Knows no worker. */
#ifndef PREFORKD_MECHANISM_CAPTURE_H
#define PREFORKD_MECHANISM_CAPTURE_H

#include "mechanism/handover.h"
#include "mechanism/sink.h"
#include "policy/output_line.h"

/* The outputs that captures of one loop share. */
struct capture_hub {
    struct ev_loop *loop;
    struct sink sinks[OUTPUT_NSTREAMS];
    struct capture *captures; /* a list of those that are open */
};

void capture_hub_open(struct capture_hub *hub, struct ev_loop *loop);

/* Ends every capture that is left, and waits up to a second for the outputs to take what was
 * written. For the very end of the program. */
void capture_hub_close(struct capture_hub *hub);

struct capture_ops {
    /* A line, or a piece of one, as of line_split_fn. It is appended to `out` as it is to be
     * written, whole and with its newline; NULL: there is no room, it is dropped. */
    void (*line)(void *data, enum output_stream stream, const char *text, size_t len, bool more,
                 struct buf *out);
    /* Lines that will never be written. */
    void (*lost)(void *data, uint64_t lines);
    /* The last of all calls; comes some time after capture_release(). */
    void (*closed)(void *data);
};

struct capture_options {
    bool drop; /* a full queue loses lines; else the process has to wait */
    uid_t uid; /* who may open the pipes again, as /dev/stdout; -1: the master's user */
    gid_t gid;
};

struct capture;

/* Makes the pipes. `fds` are the ends for the process, close-on-exec and the caller's. */
int capture_open(struct capture_hub *hub, const struct capture_options *options,
                 const struct capture_ops *ops, void *data, struct capture **out,
                 int fds[OUTPUT_NSTREAMS]);

/* What another program in this process needs to go on: the pipes, and what was read but not
 * written. And going on; -ENOMEM. */
void capture_save(const struct capture *c, struct handover *h, json_t *out);
int capture_resume(struct capture_hub *hub, const struct capture_options *options,
                   const struct capture_ops *ops, void *data, const json_t *saved,
                   struct capture **out);

/* Reads what was written until now, room or not: the process has ended, or is looked at. */
void capture_read_on(struct capture *c);

/* The process has ended: reads on for two seconds at most, for those that it left behind and for
 * slow outputs, and then closes. */
void capture_release(struct capture *c);

#endif
