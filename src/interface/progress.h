/* Clients of the control socket that wait for something that takes its time, and what they are
 * told: one JSON object a line, the last one with the result. */
#ifndef PREFORKD_INTERFACE_PROGRESS_H
#define PREFORKD_INTERFACE_PROGRESS_H

#include <sys/queue.h>

#include "cluster/cluster.h"
#include "mechanism/handover.h"
#include "mechanism/http_server.h"
#include "policy/rollout.h"

enum progress_kind {
    PROGRESS_RELOAD,  /* told of by progress_step() and progress_end() */
    PROGRESS_RESTART, /* likewise */
    PROGRESS_UPGRADE, /* likewise; its success is told by the next program, see progress_resume() */
    PROGRESS_SLOTS,   /* looks at the slots by itself: see progress_look() */
};

struct progress_client;
TAILQ_HEAD(progress_clients, progress_client);

struct progress {
    const struct cluster *cluster;
    struct progress_clients clients;
};

struct progress_step {
    const struct pool *pool;
    int slot;
    enum rollout_step step;
    int done, total;
    const char *reason; /* of STEP_FAILED, else NULL */
};

void progress_init(struct progress *p, const struct cluster *cluster);

/* Every client hears that its operation failed; nothing may be pushed afterwards. */
void progress_free(struct progress *p);

/* The client of the request waits for the operation from now on; its reply is the stream. `number`
 * tells reloads apart. NULL: too many wait already, or no memory, which the reply then tells. */
struct progress_client *progress_wait(struct progress *p, enum progress_kind kind, uint64_t number,
                                      const struct http_request *request, struct http_reply *reply);

/* For PROGRESS_SLOTS: slots [from, to) of a pool are to be up, or gone. May be called for several
 * pools. Without memory the client will hear that it failed. */
void progress_want(struct progress_client *client, const struct pool *pool, int from, int to,
                   bool up);

/* It failed for this client alone, which is no more. */
void progress_fail(struct progress_client *client, const char *reason);

/* Whether the client still waits. */
bool progress_waits(const struct progress *p, const struct progress_client *client);

/* Tells everyone who waits for this kind, of reloads those who wait for this one. */
void progress_step(struct progress *p, enum progress_kind kind, uint64_t number,
                   const struct progress_step *step);

/* The end, for everyone who waits for this kind up to `number`. `reason` NULL: it succeeded. */
void progress_end(struct progress *p, enum progress_kind kind, uint64_t number, const char *reason);

/* For a program that takes this one's place: who waits for that. And there: tells them that it
 * succeeded. */
json_t *progress_save(const struct progress *p, struct handover *h);
void progress_resume(const json_t *saved);

/* After changes, from the loop: looks how far the slots of PROGRESS_SLOTS are. */
void progress_look(struct progress *p);

#endif
