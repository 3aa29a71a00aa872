/* One process in a slot: from its fork to its end. Tells its owner what happens to it and escalates
 * from the stop signal to KILL by itself; decides nothing about restarts. */
#ifndef PREFORKD_CLUSTER_WORKER_H
#define PREFORKD_CLUSTER_WORKER_H

#include <ev.h>

#include "base/log.h"
#include "cluster/generation.h"
#include "cluster/readiness.h"
#include "cluster/worker_output.h"
#include "mechanism/adopter.h"
#include "mechanism/handover.h"
#include "mechanism/notify_server.h"
#include "policy/deadline.h"
#include "policy/restart.h"

enum worker_state {
    WORKER_STARTING,
    WORKER_READY,
    WORKER_HUNG,     /* ready, but it no longer accepts */
    WORKER_DRAINING, /* told to stop, or says that it stops by itself */
    WORKER_GONE,
};

struct worker;

struct worker_ops {
    void (*ready)(void *data, struct worker *w);
    /* must be ended; `what` is for people */
    void (*sick)(void *data, struct worker *w, enum restart_reason reason, const char *what);
    void (*gone)(void *data, struct worker *w);  /* ended; the owner frees it */
    void (*stuck)(void *data, struct worker *w); /* KILL had no effect for a while */
    /* asks for at least `ms` from now before its start counts as failed */
    void (*extend_start)(void *data, struct worker *w, int64_t ms);
    /* it binds or listens by itself: as of discovery_bind() and discovery_listen() */
    int (*bind)(void *data, struct worker *w, const struct adopter_bind *b);
    int (*listen)(void *data, struct worker *w, uint64_t inode);
    /* whether it is to listen on something before it can be ready */
    bool (*must_listen)(void *data);
    /* appends addresses that it listens on with sockets of its own; how many they are */
    int (*own_sockets)(void *data, struct worker *w, struct buf *out);
};

enum worker_exit_kind {
    WORKER_EXIT_NONE,
    WORKER_EXIT_CODE,
    WORKER_EXIT_SIGNAL,
    WORKER_EXIT_START, /* it never came to run its program */
};

/* How it ended, in the words of status and log. */
struct worker_exit {
    enum worker_exit_kind kind;
    int code; /* exit status, or the signal's number */
    enum restart_reason reason;
    struct spawn_error error; /* kind START */
    int64_t at_wall_ms;
};

struct worker {
    struct worker *link; /* for the owner's lists */
    const struct worker_ops *ops;
    void *data;
    struct ev_loop *loop;
    struct generation *gen;
    int slot;
    pid_t pid;      /* the process that was forked: its session and process group have this id */
    pid_t main_pid; /* what it named as MAINPID, else pid */
    enum worker_state state;
    bool killed;                  /* KILL was sent */
    bool orphaned;                /* `pid` ended and was reaped, main_pid goes on */
    int64_t started_ms, ready_ms; /* monotonic; ready_ms 0: not yet */
    char status[256];             /* its last STATUS= */
    enum restart_reason started_for;
    enum restart_reason told_for; /* what it was told to end for; NONE: it was not */
    struct worker_exit exit;
    struct log_who who;
    uint32_t claims; /* discovered addresses that it bound */
    char own[128];   /* addresses that it listens on past adoption, as far as seen */

    /* private */
    struct notify_server *notify;
    struct adopter *adopter; /* NULL: it binds what it likes */
    struct readiness readiness;
    struct worker_output *output; /* NULL: it writes where the master does */
    ev_io result_io;              /* how the exec went */
    ev_io main_io;                /* the pidfd of main_pid when that is not pid */
    ev_timer watchdog;
    struct deadline watchdog_due;
    ev_timer end_timer;
    struct deadline end_due;
    ev_timer look_timer; /* runs while the main process is looked for */
};

struct worker_start {
    struct ev_loop *loop;
    const struct worker_ops *ops;
    void *data;
    struct generation *gen;
    int slot;
    enum restart_reason reason;
    int workers;     /* PREFORK_WORKERS */
    unsigned starts; /* SERVER_STARTER_GENERATION */
};

/* Forks it. On failure -errno with the reason and, when no process could be made, which limit. */
int worker_start(const struct worker_start *start, struct worker **out, struct why *why);

/* For another program in this process: what it needs to go on with the worker; and going on.
 * `start` holds what is not in the saved state. Nothing of the worker's end is missed: an exec does
 * not reap. -errno with the reason when the state makes no sense; then the worker was abandoned. */
void worker_save(struct worker *w, struct handover *h, json_t *out);
int worker_resume(const struct worker_start *start, const json_t *saved, struct worker **out,
                  struct why *why);

/* Frees one that cannot be resumed. Nobody would watch it while it goes on accepting from the
 * slot's socket, so its process group is killed at once. NULL is allowed. */
void worker_abandon(struct worker *w);

/* How a worker ended, for another program; what is loaded in part only is not changed. */
json_t *worker_exit_save(const struct worker_exit *e);
int worker_exit_load(const json_t *saved, struct worker_exit *out, struct why *why);

/* Frees what is left; the process must be gone or given up. */
void worker_free(struct worker *w);

enum worker_end { WORKER_END_STOP, WORKER_END_ABORT, WORKER_END_KILL };

/* Begins its end, or makes it harsher: the stop signal or ABRT to the main process, KILL to the
 * whole process group when its time is over. */
void worker_end(struct worker *w, enum worker_end how);

void worker_signal(struct worker *w, int signo); /* to the main process */

/* A probe found that it serves: with ready = probe, it is ready. */
void worker_probed(struct worker *w);

/* A child ended, while it still is a zombie. Returns whether it was this worker's; when the worker
 * is over by that, its leftovers are killed and `gone` has been called. */
bool worker_child_gone(struct worker *w, pid_t pid, int code, int status);

/* Whether it accepts connections now, as far as it tells. */
bool worker_is_ready(const struct worker *w);

/* It was seen not to accept connections, or to accept again. Nothing happens to one that is not
 * ready. */
void worker_set_hung(struct worker *w, bool hung);

const char *worker_state_name(enum worker_state state);

/* What its end is for the slot's breaker and `restart`. */
enum restart_end worker_exit_end(const struct worker_exit *e);

/* Appends "exited with status 1", "killed by SEGV", "exec '/x': No such file or directory". */
void worker_exit_describe(const struct worker *w, struct buf *out);

#endif
