/* Starts wait here for their turn: a few in each round of the loop, so that a thousand of them at
 * once do not keep it from its other work. */
#ifndef PREFORKD_CLUSTER_START_QUEUE_H
#define PREFORKD_CLUSTER_START_QUEUE_H

#include <ev.h>

#include "base/util.h"

struct start_item {
    struct start_item *next, **link; /* link: what points to this one */
    bool queued;
    void (*run)(struct start_item *item);
};

struct start_queue {
    struct ev_loop *loop;
    ev_timer timer;
    struct start_item *head, **tail;
};

void start_queue_init(struct start_queue *q, struct ev_loop *loop);
void start_queue_end(struct start_queue *q);

/* Runs the item soon, from the loop; once, however often it is added until then. */
void start_queue_add(struct start_queue *q, struct start_item *item);
void start_queue_remove(struct start_queue *q, struct start_item *item);

#endif
