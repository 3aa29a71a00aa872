/* What a pool's workers are started with: settings, listeners and user of one generation. Shared by
 * reference between the pool, its slots and the workers, so that an old worker and a slot that has
 * to go back find everything as it was. */
#ifndef PREFORKD_CLUSTER_GENERATION_H
#define PREFORKD_CLUSTER_GENERATION_H

#include "cluster/stored.h"
#include "mechanism/capture.h"
#include "mechanism/spawn.h"
#include "policy/settings.h"

#define GENERATION_LISTENERS_MAX 64 /* what `listen` takes */

/* Lines of a pool's workers that were never written. */
struct output_losses {
    unsigned refs;
    uint64_t lines;
    int64_t told_ms; /* monotonic; 0: never */
};

struct generation {
    unsigned refs;
    unsigned number;
    struct settings *settings; /* keeps `pool` alive */
    const struct pool_settings *pool;
    int workers;                  /* what `workers` means here and now */
    int min_workers, max_workers; /* the queues decide between them */
    bool bounded;                 /* one of them was set: nobody goes beyond */
    bool ran;                     /* a worker of it came to run its program: the command is sound */
    struct listener **listeners;
    size_t nlisteners;
    struct spawn_user user;
    const struct adopt_filter *filter; /* NULL: workers bind what they like */
    struct socket_watch *watch;        /* of its sockets */
    struct capture_hub *outputs;       /* where captured output goes */
    struct output_losses *losses;      /* shared with the pool's other generations */
    int64_t told_output_ms;            /* when a failed worker's last lines were logged; 0: never */
    bool told_blind;                   /* that adoption does not work was said once */
};

/* Sockets that the service manager handed to the master, already listeners; kept for the whole run
 * so that a reload finds them again. */
struct inherited_listeners {
    struct listener **items;
    size_t n;
};

/* What every generation is made of besides its settings. */
struct generation_means {
    struct inherited_listeners inherited;
    struct stored_sockets stored; /* until the first generation took what it wants of them */
    struct adopt_filter
        *filter; /* made when the first generation wants it; NULL: it cannot be had */
    bool tried_filter;
    bool resumes; /* after an upgrade: workers serve already, which are worth more than what cannot
                     be had again */
    struct socket_watch *watch; /* of every pool's sockets */
    struct capture_hub outputs;
};

/* Makes the generation of the pool at `index` of `settings`. Listeners whose address `previous`
 * (may be NULL) has are shared with it, others were inherited or are opened with a socket
 * for each of `nslots` slots (0: of all its workers). After an upgrade they are those that were
 * handed over, and the user is left to the caller. On failure nothing is left behind.
 * -errno with the reason, which names the setting. */
int generation_open(struct settings *settings, size_t index, unsigned number,
                    const struct generation *previous, struct generation_means *means, int nslots,
                    struct generation **out, struct why *why);

/* A pool whose queues decide keeps its number of workers at a reload, within the new bounds. */
void generation_keep_workers(struct generation *g, int now);

struct generation *generation_ref(struct generation *g);
void generation_unref(struct generation *g); /* NULL is allowed */

/* Sockets for slots 0..nslots-1 in every listener. */
int generation_grow(struct generation *g, int nslots, struct why *why);
void generation_shrink(struct generation *g, int nslots);

#endif
