#include "interface/restart.h"

#include "base/log.h"

static void schedule(struct restart *r)
{
    ev_timer_stop(r->loop, &r->kick);
    ev_timer_set(&r->kick, 0., 0.);
    ev_timer_start(r->loop, &r->kick);
}

static void finish(struct restart *r, bool ok)
{
    const struct log_who who = {.pool = pool_name(r->pool), .slot = -1};

    if (ok)
        log_info(&who, "restart complete");
    else
        log_error(&who, "restart failed: %s", r->why.text);
    rollout_free(&r->rollout);
    r->pool = NULL;
    r->ops->ended(r->data, ok);
}

static void order(struct restart *r, enum rollout_order what, int index)
{
    int slot = r->first + index;

    if (what == ROLLOUT_CANCEL) {
        slot_post(r->pool->slots[slot], EVENT_CANCEL);
    } else if (what == ROLLOUT_RESTORE) {
        rollout_done(&r->rollout, index); /* there is nothing to go back to */
    } else {
        slot_replace(r->pool->slots[slot], RESTART_MANUAL);
        r->ops->step(r->data, r->pool, slot, STEP_STARTING, NULL);
    }
}

static void on_kick(struct ev_loop *loop UNUSED, ev_timer *timer, int events UNUSED)
{
    struct restart *r = timer->data;
    enum rollout_order what;
    int index;

    while ((what = rollout_next(&r->rollout, &index)) != ROLLOUT_NONE)
        order(r, what, index);
    if (r->rollout.phase == ROLLOUT_OK || r->rollout.phase == ROLLOUT_FAILED)
        finish(r, r->rollout.phase == ROLLOUT_OK);
}

int restart_begin(struct restart *r, struct pool *p, int slot)
{
    int nslots = slot < 0 ? p->wanted : 1;
    int err = rollout_init(&r->rollout, nslots, count_of(p->gen->pool->reload_batch, nslots));

    if (err < 0)
        return err;
    r->pool = p;
    r->first = slot < 0 ? 0 : slot;
    r->why.text[0] = '\0';
    log_info(&(struct log_who){.pool = pool_name(p), .slot = slot}, "restart begins");
    schedule(r);
    return 0;
}

/* Whether it replaces the slot right now. */
static bool is_of(const struct restart *r, const struct pool *p, int slot)
{
    return r->pool && r->pool == p && slot >= r->first &&
           rollout_is_busy(&r->rollout, slot - r->first);
}

void restart_outcome(struct restart *r, const struct pool *p, int slot, bool ok)
{
    if (!is_of(r, p, slot))
        return;
    if (ok) {
        rollout_done(&r->rollout, slot - r->first);
        r->ops->step(r->data, p, slot, STEP_DONE, NULL);
    } else {
        if (r->rollout.phase == ROLLOUT_FORWARD)
            why_fail(&r->why, 0, "%s slot %d: %s", pool_name(p), slot, p->slots[slot]->reason);
        rollout_failed(&r->rollout, slot - r->first);
        r->ops->step(r->data, p, slot, STEP_FAILED, p->slots[slot]->reason);
    }
    schedule(r);
}

void restart_worker_ready(struct restart *r, const struct pool *p, int slot)
{
    if (is_of(r, p, slot))
        r->ops->step(r->data, p, slot, STEP_READY, NULL);
}

void restart_abandon(struct restart *r)
{
    if (!r->pool)
        return;
    ev_timer_stop(r->loop, &r->kick);
    why_fail(&r->why, 0, "the master stops");
    finish(r, false);
}

bool restart_is_running(const struct restart *r)
{
    return r->pool;
}

void restart_progress(const struct restart *r, int *done, int *total)
{
    *done = rollout_replaced(&r->rollout);
    *total = r->rollout.nslots;
}

void restart_init(struct restart *r, struct ev_loop *loop, const struct restart_ops *ops,
                  void *data)
{
    *r = (struct restart){.loop = loop, .ops = ops, .data = data};
    ev_init(&r->kick, on_kick);
    r->kick.data = r;
}

void restart_free(struct restart *r)
{
    if (r->loop)
        ev_timer_stop(r->loop, &r->kick);
    rollout_free(&r->rollout);
}
