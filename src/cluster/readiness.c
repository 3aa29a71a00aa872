#include "cluster/readiness.h"

#include "base/clock.h"
#include "mechanism/observe.h"

/* A look costs some reads of /proc, so the looks become rarer. */
#define FIRST_LOOK_S 0.002
#define LAST_LOOK_S  0.25

static void readiness_found(struct readiness *r)
{
    readiness_end(r);
    r->found(r->data);
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

static void on_timer(struct ev_loop *loop UNUSED, ev_timer *timer, int events UNUSED)
{
    struct readiness *r = timer->data;
    double left_s = (double)(r->deadline_ms - clock_ms()) / 1000.;
    int seen;

    if (left_s <= 0) {
        readiness_found(r);
        return;
    }
    seen = look(r);
    if (seen == 1) {
        readiness_found(r);
        return;
    }
    r->interval_s = r->interval_s * 2 < LAST_LOOK_S ? r->interval_s * 2 : LAST_LOOK_S;
    /* What cannot be seen now cannot be seen later: only the delay is left. */
    arm(r, seen < 0 || r->interval_s > left_s ? left_s : r->interval_s);
}

void readiness_begin(struct readiness *r, struct ev_loop *loop, const struct generation *gen,
                     int slot, pid_t pid, void (*found)(void *data), void *data)
{
    double delay_s = (double)gen->pool->ready_delay_ms / 1000.;
    bool looks = gen->pool->ready == READY_AUTO && gen->nlisteners > 0;

    *r = (struct readiness){.loop = loop,
                            .found = found,
                            .data = data,
                            .gen = gen,
                            .slot = slot,
                            .pid = pid,
                            .deadline_ms = clock_ms() + gen->pool->ready_delay_ms,
                            .interval_s = FIRST_LOOK_S};
    ev_init(&r->timer, on_timer);
    r->timer.data = r;
    if (gen->pool->ready == READY_NOTIFY)
        return;
    arm(r, looks && FIRST_LOOK_S < delay_s ? FIRST_LOOK_S : delay_s);
}

void readiness_end(struct readiness *r)
{
    if (r->loop)
        ev_timer_stop(r->loop, &r->timer);
}
