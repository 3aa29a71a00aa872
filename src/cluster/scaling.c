#include "cluster/scaling.h"

#include "base/clock.h"
#include "base/log.h"
#include "cluster/pool.h"
#include "mechanism/timer.h"

static bool is_on(const struct pool *p)
{
    return p->gen->min_workers < p->gen->max_workers && !p->stopping;
}

static void ask(struct pool *p, int step)
{
    int n = p->wanted + step;

    if (step == 0 || n < p->gen->min_workers || n > p->gen->max_workers)
        return;
    log_info(&(struct log_who){.pool = pool_name(p), .slot = -1}, "%s",
             step > 0 ? "connections wait: one worker more" : "nothing waits: one worker fewer");
    p->ops->scale(p->data, p, n);
}

static void on_window(struct ev_loop *loop UNUSED, ev_timer *timer, int events UNUSED)
{
    struct pool *p = timer->data;

    ask(p, autoscale_window(&p->scaling.policy, clock_ms()));
    scaling_changed(p);
}

void scaling_init(struct pool *p)
{
    autoscale_init(&p->scaling.policy);
    ev_init(&p->scaling.window, on_window);
    p->scaling.window.data = p;
}

void scaling_stop(struct pool *p)
{
    ev_timer_stop(p->starts_due->loop, &p->scaling.window);
}

void scaling_changed(struct pool *p)
{
    struct scaling *s = &p->scaling;

    if (!is_on(p) || p->wanted <= p->gen->min_workers) {
        scaling_stop(p);
    } else if (!ev_is_active(&s->window)) {
        s->policy.busy_ms = 0;
        timer_arm_ms(p->starts_due->loop, &s->window, s->policy.window_ms);
    }
}

/* Queues of workers that hang tell nothing about how many are needed. */
void scaling_sample(struct pool *p)
{
    int queues = 0, standing = 0;

    if (!is_on(p))
        return;
    for (int i = 0; i < p->nslots; i++) {
        const struct slot *s = p->slots[i];

        if (s->state == SLOT_STARTING)
            return;
        if (!slot_is_ready(s) || s->retiring_ms > 0 || s->queue.masked)
            continue;
        queues++;
        standing += s->queue.waiting > 0;
    }
    if (p->queues.shared.waiting > 0)
        standing = queues;
    ask(p, autoscale_sample(&p->scaling.policy, queues, standing, clock_ms()));
}
