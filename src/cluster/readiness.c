#include "cluster/readiness.h"

#include "base/clock.h"
#include "mechanism/observe.h"

/* A look costs some reads of /proc, so the looks become rarer. */
#define FIRST_LOOK_S 0.002
#define LAST_LOOK_S  0.25

static void readiness_found(struct readiness *r)
{
    readiness_end(r);
    r->ops->found(r->data);
}

/* 1: it waits for connections on a socket of its slot. */
static int look(const struct readiness *r)
{
    uint64_t inodes[64];
    size_t n = 0;

    for (size_t i = 0; i < r->gen->nlisteners && n < ARRAY_SIZE(inodes); i++)
        inodes[n++] = listener_inode(r->gen->listeners[i], r->slot);
    return n > 0 ? observe_accepting(r->pid, inodes, n) : -ENOENT;
}

static void arm(struct readiness *r, double wait_s)
{
    ev_timer_set(&r->timer, wait_s, 0.);
    ev_timer_start(r->loop, &r->timer);
}

/* Where looking is refused, waiting for a sight of it would be in vain. */
static bool is_over(const struct readiness *r, int seen)
{
    bool waits;

    if (r->gen->pool->ready == READY_DELAY)
        return true;
    waits = r->ops->goes_on_waiting(r->data);
    return r->gen->pool->ready == READY_AUTO && (seen == -EACCES || !waits);
}

static void on_timer(struct ev_loop *loop UNUSED, ev_timer *timer, int events UNUSED)
{
    struct readiness *r = timer->data;
    double left_s = (double)(r->deadline_ms - clock_ms()) / 1000.;
    bool looks = r->gen->pool->ready != READY_DELAY;
    int seen = looks ? look(r) : 0;

    if (seen == 1 || (left_s <= 0 && is_over(r, seen))) {
        readiness_found(r);
        return;
    }
    r->interval_s = r->interval_s * 2 < LAST_LOOK_S ? r->interval_s * 2 : LAST_LOOK_S;
    if (left_s <= 0)
        arm(r, LAST_LOOK_S);
    else /* what cannot be seen now cannot be seen later: only the delay is left */
        arm(r, seen < 0 || r->interval_s > left_s ? left_s : r->interval_s);
}

void readiness_begin(struct readiness *r, struct ev_loop *loop, const struct generation *gen,
                     int slot, pid_t pid, const struct readiness_ops *ops, void *data)
{
    int64_t delay_ms = gen->pool->ready_delay_ms;
    bool looks = gen->pool->ready != READY_DELAY && gen->nlisteners > 0;

    *r = (struct readiness){.loop = loop,
                            .ops = ops,
                            .data = data,
                            .gen = gen,
                            .slot = slot,
                            .pid = pid,
                            .deadline_ms = clock_ms() + delay_ms,
                            .interval_s = FIRST_LOOK_S};
    ev_init(&r->timer, on_timer);
    r->timer.data = r;
    if (gen->pool->ready == READY_NOTIFY || gen->pool->ready == READY_PROBE)
        return;
    arm(r,
        looks && FIRST_LOOK_S * 1000. < (double)delay_ms ? FIRST_LOOK_S : (double)delay_ms / 1000.);
}

void readiness_end(struct readiness *r)
{
    if (r->loop)
        ev_timer_stop(r->loop, &r->timer);
}
