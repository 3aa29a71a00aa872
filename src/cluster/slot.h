/* A worker position of a pool. The only writer of a slot's state: every event is looked up in the
 * table of policy/slot_fsm.h, the action bits run in the order of their values, one line is logged.
 */
#ifndef PREFORKD_CLUSTER_SLOT_H
#define PREFORKD_CLUSTER_SLOT_H

#include "cluster/pool_log.h"
#include "cluster/queues.h"
#include "cluster/start_queue.h"
#include "cluster/worker.h"
#include "policy/breaker.h"
#include "policy/deadline.h"
#include "policy/slot_fsm.h"

struct slot;

/* None of them may post an event to a slot: do that from the loop. */
struct slot_ops {
    /* the outcome of a replacement that the rollout may be waiting for */
    void (*outcome)(void *data, struct slot *s, bool ok);
    void (*down)(void *data, struct slot *s);
    void (*changed)(void *data,
                    struct slot *s); /* state or readiness; may free a slot that is down */
    /* before a start in a slot without workers: put its sockets back to what they should be */
    void (*restore)(void *data, struct slot *s);
    /* as of struct worker_ops */
    int (*bind)(void *data, struct slot *s, struct worker *w, const struct adopter_bind *b);
    int (*listen)(void *data, struct slot *s, struct worker *w, uint64_t inode);
    bool (*must_listen)(void *data, struct slot *s);
    int (*own_sockets)(void *data, struct slot *s, struct worker *w, struct buf *out);
    void (*ready)(void *data, struct slot *s, const struct worker *w);
    /* a worker is started that is not the slot's first */
    void (*restarted)(void *data, struct slot *s, enum restart_reason reason);
    /* a worker never came to run its program; `w` is NULL when there was no process */
    void (*start_failed)(void *data, struct slot *s, const struct spawn_error *error);
};

#define SLOT_STUCK_MAX 3 /* more of them are taken for a fault that starts do not heal */

struct slot {
    const struct slot_ops *ops;
    void *data;
    struct pool_log *log;
    struct ev_loop *loop;
    struct start_queue *starts_due;
    int index;
    struct generation *wanted; /* what the next start uses */
    struct log_who who;

    enum slot_state state;
    struct worker *cur, *next, *leaving; /* leaving: a list by `link` */
    enum restart_reason start_for;       /* what the next start is for */
    unsigned failures;                   /* failed starts in a row */
    struct breaker breaker;
    enum restart_end last_end;   /* of the last current worker */
    bool over;                   /* `restart` wants no worker after it */
    pid_t stuck[SLOT_STUCK_MAX]; /* processes that KILL did not end */
    int nstuck;
    unsigned starts;
    int64_t retiring_ms; /* since when it gets no new connections because it is not wanted; 0: no */
    struct queue queue;  /* what waits in its sockets */
    unsigned restarts;   /* starts after the first one that nobody asked for */
    struct worker_exit last_exit;
    char reason[512]; /* why the last replacement or start failed */
    /* what the worker wrote that failed last, when its output is captured; NULL: none did */
    struct last_lines *last_output;

    /* private */
    struct start_item start;
    ev_timer timer;
    struct deadline due; /* when it fires */
};

/* A slot that is down. */
struct slot *slot_new(struct start_queue *starts_due, const struct slot_ops *ops, void *data,
                      struct pool_log *log, int index, struct generation *wanted);
void slot_free(struct slot *s); /* it must be down */

/* EVENT_START, EVENT_STOP, EVENT_KILL or EVENT_CANCEL from above. */
void slot_post(struct slot *s, enum slot_event event);

/* Puts a worker of the wanted generation in, successor first. */
void slot_replace(struct slot *s, enum restart_reason reason);

/* The current worker has to go and is told so with ABRT; `what` tells people why. */
void slot_sick(struct slot *s, enum restart_reason reason, const char *what);

/* What the next start uses. */
void slot_want(struct slot *s, struct generation *wanted);

/* As of worker_save(): the state of a slot, and how another program puts it into a slot that is
 * down. A start that had not come to its turn is due again. On failure, with the reason, the slot
 * is still down, and its workers were abandoned. */
void slot_save(struct slot *s, struct handover *h, json_t *out);
int slot_resume(struct slot *s, const json_t *saved, struct why *why);

/* A child of the master ended; whether it was one of this slot's. */
bool slot_child_gone(struct slot *s, pid_t pid, int code, int status);

/* A signal to the main process of each of its workers. */
void slot_signal(struct slot *s, int signo);

bool slot_has_workers(const struct slot *s);

/* Milliseconds until it tries to start a worker again; 0: nothing like that is arranged. */
int64_t slot_start_wait_ms(const struct slot *s);

/* Its current worker accepts connections. */
bool slot_is_ready(const struct slot *s);

/* Its breaker is not closed: it waits, or tries whether it works again. */
bool slot_is_broken(const struct slot *s);

/* Its work is done: `restart` wants no further worker. */
bool slot_is_finished(const struct slot *s);

/* The same, or it hangs and may do so again. */
bool slot_is_serving(const struct slot *s);

#endif
