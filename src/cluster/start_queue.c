#include "cluster/start_queue.h"

#define STARTS_A_ROUND 8 /* each takes up to a millisecond when there are many descriptors */

static void arm(struct start_queue *q)
{
    if (!q->head || ev_is_active(&q->timer))
        return;
    ev_timer_set(&q->timer, 0., 0.);
    ev_timer_start(q->loop, &q->timer);
}

static void on_turn(struct ev_loop *loop UNUSED, ev_timer *timer, int events UNUSED)
{
    struct start_queue *q = timer->data;

    for (int i = 0; i < STARTS_A_ROUND && q->head; i++) {
        struct start_item *item = q->head;

        start_queue_remove(q, item);
        item->run(item);
    }
    arm(q);
}

void start_queue_init(struct start_queue *q, struct ev_loop *loop)
{
    *q = (struct start_queue){.loop = loop, .tail = &q->head};
    ev_init(&q->timer, on_turn);
    q->timer.data = q;
}

void start_queue_end(struct start_queue *q)
{
    if (q->loop)
        ev_timer_stop(q->loop, &q->timer);
}

void start_queue_add(struct start_queue *q, struct start_item *item)
{
    if (item->queued)
        return;
    item->queued = true;
    item->next = NULL;
    item->link = q->tail;
    *q->tail = item;
    q->tail = &item->next;
    arm(q);
}

void start_queue_remove(struct start_queue *q, struct start_item *item)
{
    if (!item->queued)
        return;
    item->queued = false;
    *item->link = item->next;
    if (item->next)
        item->next->link = item->link;
    else
        q->tail = item->link;
}
