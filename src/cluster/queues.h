/* Looks after the queues of a pool's sockets: notices workers that no longer accept, steers around
 * them and has them ended in the end; heals sockets that workers shut down. It looks by a timer
 * only while some queue is not empty, or was until a moment ago. */
#ifndef PREFORKD_CLUSTER_QUEUES_H
#define PREFORKD_CLUSTER_QUEUES_H

#include <ev.h>
#include <sys/types.h>

#include "mechanism/accept_census.h"
#include "policy/hang.h"

struct pool;
struct slot;

/* Of the sockets of one slot, or of those that all slots share. */
struct queue {
    bool sampled;
    int empty;   /* looks in a row that found nothing */
    int waiting; /* at the last look */
    pid_t pid;   /* the worker that it is judged by; 0: none serves */
    struct hang hang;
    enum hang_verdict verdict; /* the last one */
    struct accept_census census;
    int64_t census_ms; /* when the next is due */
    bool stands;       /* nothing was taken between the last two */
    bool masked;       /* new connections go elsewhere, since it seems to stand still */
    bool shut;         /* a socket waits for being healed */
    int64_t heals_ms;  /* the second of which `heals` is the number */
    unsigned heals;
    int64_t told_ms;
    unsigned untold; /* heals that the log does not know of */
};

struct queues {
    ev_timer timer;
    int64_t looked_ms; /* CLOCK_BOOTTIME */
    int64_t undone_ms;
    struct queue shared;
    uint64_t heals;
};

void queues_init(struct pool *p);
void queues_stop(struct pool *p);

/* Something about the slot or its worker changed. Before it is steered. */
void queues_changed(struct pool *p, struct slot *s);

/* The slot will not be served soon, or never again: what waits in its sockets goes to other slots,
 * where the kernel can do that. */
void queues_rescue(struct pool *p, struct slot *s);

/* A slot that serves has a new socket. */
void queues_look(struct pool *p, struct slot *s);

/* What the watch tells about a socket of a listener; whether it is one of this pool. */
bool queues_waiting(struct pool *p, struct listener *l, int number);
bool queues_hangup(struct pool *p, struct listener *l, int number);

#endif
