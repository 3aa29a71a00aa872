/* What a pool does for its clients while none of its workers is ready: with `fallback` the master
 * answers them itself. Off, and while a worker is ready, it costs nothing. */
#ifndef PREFORKD_CLUSTER_STANDBY_H
#define PREFORKD_CLUSTER_STANDBY_H

#include <ev.h>

#include "mechanism/fallback.h"

struct pool;

struct standby {
    struct pool *pool;
    ev_timer grace;            /* runs from the loss of the last ready worker on */
    struct fallback *fallback; /* NULL: never needed yet */
    bool active;
};

void standby_init(struct standby *s, struct pool *p);
void standby_end(struct standby *s);

/* After changes, from the loop: begins or ends, and follows sockets that come and go. */
void standby_update(struct standby *s);

/* After each change of a slot: steps back at once when a worker is ready. */
void standby_note(struct standby *s);

/* Before the sockets of a slot are restored: a shared one that is made anew needs its address. */
void standby_let_go(struct standby *s, int slot);

#endif
