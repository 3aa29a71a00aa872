#include "interface/reload.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/log.h"
#include "interface/config.h"

struct reload_plan {
    struct pool *pool;
    struct generation *old; /* NULL: the pool is new */
    struct generation *next;
    int old_wanted;
    struct rollout rollout;
};

static void schedule(struct reload *r)
{
    ev_timer_stop(r->cluster->loop, &r->kick);
    ev_timer_set(&r->kick, 0., 0.);
    ev_timer_start(r->cluster->loop, &r->kick);
}

/* The first reason is the one that counts. */
static void PRINTF_LIKE(2, 3) note_failure(struct reload *r, const char *fmt, ...)
{
    va_list ap;

    if (r->reason[0])
        return;
    va_start(ap, fmt);
    vsnprintf(r->reason, sizeof(r->reason), fmt, ap);
    va_end(ap);
    log_warn(LOG_NOBODY, "reload: %s: keeping the old generation", r->reason);
}

static void tell(struct reload *r, const struct pool *p, int slot, enum rollout_step step,
                 const char *reason)
{
    r->ops->step(r->data, p, slot, step, reason);
}

/* The end ---------------------------------------------------------------------------------------
 */

static void free_plans(struct reload *r)
{
    for (size_t i = 0; i < r->nplans; i++) {
        generation_unref(r->plans[i].old);
        generation_unref(r->plans[i].next);
        rollout_free(&r->plans[i].rollout);
    }
    free(r->plans);
    r->plans = NULL;
    r->nplans = r->current = r->end = 0;
    r->back = false;
}

static void finish(struct reload *r, bool ok)
{
    struct settings *next = r->next;

    r->next = NULL;
    free_plans(r);
    r->result = ok ? RELOAD_OK : RELOAD_FAILED;
    r->last_failed = !ok;
    r->duration_ms = clock_ms() - r->began_ms;
    r->at_wall_ms = clock_wall_ms();
    r->total[ok]++;
    if (ok)
        log_info(LOG_NOBODY, "reload complete after %lld ms: generation %u",
                 (long long)r->duration_ms, r->cluster->generation);
    else
        log_error(LOG_NOBODY, "reload failed: %s", r->reason);
    r->ops->ended(r->data, ok ? next : NULL);
    settings_unref(next);
}

/* Every pool's workers are of the new generation: makes that what the pools run. */
static void commit(struct reload *r)
{
    struct cluster *c = r->cluster;

    for (size_t i = 0; i < r->nplans; i++) {
        struct reload_plan *plan = &r->plans[i];

        pool_set_generation(plan->pool, plan->next);
        pool_set_workers(plan->pool, plan->next->workers, NULL);
    }
    for (size_t i = 0; i < c->npools; i++)
        if (!settings_pool(r->next, pool_name(c->pools[i]))) {
            log_info(&(struct log_who){.pool = pool_name(c->pools[i]), .slot = -1},
                     "no longer configured: stopping it");
            pool_stop(c->pools[i]);
        }
    finish(r, true);
}

/* Everything is back: what was made for the reload goes. */
static void revert(struct reload *r)
{
    for (size_t i = 0; i < r->nplans; i++) {
        struct reload_plan *plan = &r->plans[i];

        if (plan->old)
            pool_set_workers(plan->pool, plan->old_wanted, NULL);
        else
            pool_stop(plan->pool);
    }
    finish(r, false);
}

/* The plan --------------------------------------------------------------------------------------
 */

/* A slot that the reload brings gets its sockets only now: connections that reach them wait for its
 * worker. */
static int put(struct reload_plan *plan, int slot, struct generation *gen, struct why *why)
{
    struct slot *s = plan->pool->slots[slot];
    int result = generation_grow(gen, slot + 1, why);

    if (result < 0)
        return result;
    slot_want(s, gen);
    slot_replace(s, RESTART_RELOAD);
    return 0;
}

static void put_next(struct reload *r, struct reload_plan *plan, int slot)
{
    struct why why;

    if (put(plan, slot, plan->next, &why) == 0) {
        tell(r, plan->pool, slot, STEP_STARTING, NULL);
        return;
    }
    note_failure(r, "%s slot %d: %s", pool_name(plan->pool), slot, why.text);
    rollout_failed(&plan->rollout, slot);
    tell(r, plan->pool, slot, STEP_FAILED, why.text);
}

/* Puts the old generation back into a slot. One that came with the reload has none: it is stopped
 * when the reload has ended. */
static void put_back(struct reload *r, struct reload_plan *plan, int slot)
{
    if (plan->old && slot < plan->old_wanted && put(plan, slot, plan->old, NULL) == 0)
        return;
    rollout_done(&plan->rollout, slot);
    tell(r, plan->pool, slot, STEP_ROLLED_BACK, NULL);
}

static void carry_out(struct reload *r, struct reload_plan *plan)
{
    enum rollout_order order;
    int slot;

    while ((order = rollout_next(&plan->rollout, &slot)) != ROLLOUT_NONE) {
        if (order == ROLLOUT_CANCEL)
            slot_post(plan->pool->slots[slot], EVENT_CANCEL);
        else if (order == ROLLOUT_RESTORE || r->back)
            put_back(r, plan, slot);
        else
            put_next(r, plan, slot);
    }
}

/* The plan at hand failed and is back by itself: the plans before it, which had succeeded, are
 * walked again with the old generation. */
static void turn_back(struct reload *r)
{
    for (size_t i = 0; i < r->current; i++) {
        struct rollout *plan = &r->plans[i].rollout;
        int nslots = plan->nslots, batch = plan->batch;

        rollout_free(plan);
        if (rollout_init(plan, nslots, batch) < 0)
            rollout_abandon(plan);
    }
    r->back = true;
    r->end = r->current;
    r->current = 0;
}

/* Walks the plans in order until one has to wait. */
static void on_kick(struct ev_loop *loop UNUSED, ev_timer *timer, int events UNUSED)
{
    struct reload *r = timer->data;

    while (r->current < r->end) {
        struct reload_plan *plan = &r->plans[r->current];

        carry_out(r, plan);
        if (plan->rollout.phase == ROLLOUT_FORWARD || plan->rollout.phase == ROLLOUT_BACK)
            return;
        if (plan->rollout.phase == ROLLOUT_FAILED && !r->back)
            turn_back(r);
        else
            r->current++;
    }
    if (r->back)
        revert(r);
    else
        commit(r);
}

static struct reload_plan *plan_at_hand(const struct reload *r, const struct pool *p)
{
    if (r->result != RELOAD_RUNNING || r->current >= r->end || r->plans[r->current].pool != p)
        return NULL;
    return &r->plans[r->current];
}

void reload_outcome(struct reload *r, struct pool *p, int slot, bool ok)
{
    struct reload_plan *plan = plan_at_hand(r, p);
    struct slot *s = p->slots[slot];
    bool forward;

    if (!plan || !rollout_is_busy(&plan->rollout, slot))
        return; /* of a worker's own start, and none of ours */
    forward = !r->back && plan->rollout.phase == ROLLOUT_FORWARD;
    if (ok || r->back) {
        rollout_done(&plan->rollout, slot);
    } else {
        if (forward)
            note_failure(r, "%s slot %d: %s", pool_name(p), slot, s->reason);
        if (plan->old && slot < plan->old_wanted)
            slot_want(s, plan->old);
        rollout_failed(&plan->rollout, slot);
    }
    if (forward)
        tell(r, p, slot, ok ? STEP_DONE : STEP_FAILED, ok ? NULL : s->reason);
    else
        tell(r, p, slot, STEP_ROLLED_BACK, NULL);
    schedule(r);
}

void reload_worker_ready(struct reload *r, const struct pool *p, int slot)
{
    const struct reload_plan *plan = plan_at_hand(r, p);

    if (plan && rollout_is_busy(&plan->rollout, slot))
        tell(r, p, slot, STEP_READY, NULL);
}

void reload_progress(const struct reload *r, int *done, int *total)
{
    *done = *total = 0;
    for (size_t i = 0; i < r->nplans; i++) {
        const struct rollout *plan = &r->plans[i].rollout;
        int replaced = rollout_replaced(plan);

        /* on the way back what is replaced holds the old generation again */
        *done += r->back && i < r->end ? plan->nslots - replaced : replaced;
        *total += plan->nslots;
    }
}

/* The beginning ---------------------------------------------------------------------------------
 */

static int prepare_pool(struct reload *r, size_t index, struct why *why)
{
    struct cluster *c = r->cluster;
    struct reload_plan *plan = &r->plans[index];
    struct pool *pool = cluster_pool(c, r->next->pools[index].name);
    struct generation *next;
    int result;

    if (pool && pool->stopping)
        return why_fail(why, -EBUSY, "[pool:%s] is still stopping", pool_name(pool));
    result = generation_open(r->next, index, c->generation, pool ? pool->gen : NULL, &c->means,
                             pool ? pool->nslots : 1, &next, why);
    if (result < 0)
        return result;
    plan->next = next;
    if (pool) {
        plan->old = generation_ref(pool->gen);
        generation_keep_workers(next, pool->wanted);
    } else {
        pool = cluster_new_pool(c, next);
    }
    if (!pool)
        return why_fail_errno(why, -ENOMEM, "pool");
    plan->pool = pool;
    plan->old_wanted = pool->wanted;
    if (pool->wanted < next->workers)
        pool->wanted = next->workers;
    r->nplans = index + 1;
    result = pool_grow(pool, next, next->workers, why);
    if (result < 0)
        return result;
    return rollout_init(&plan->rollout, next->workers,
                        count_of(next->pool->reload_batch, next->workers));
}

static int prepare(struct reload *r, const struct settings *now, struct why *why)
{
    int result = config_load(r->cmdline, &r->next, why);

    if (result == 0)
        result = settings_check_reload(now, r->next, why);
    if (result < 0)
        return result;
    r->plans = calloc(r->next->npools, sizeof(*r->plans));
    if (!r->plans)
        return why_fail_errno(why, -ENOMEM, "reload");
    r->cluster->generation++;
    for (size_t i = 0; i < r->next->npools && result == 0; i++)
        result = prepare_pool(r, i, why);
    return result;
}

void reload_request(struct reload *r, const struct settings *now)
{
    struct why why = {0};

    if (r->result == RELOAD_RUNNING) {
        reload_remember(r);
        return;
    }
    r->again = false;
    r->result = RELOAD_RUNNING;
    r->reason[0] = '\0';
    r->refused = false;
    r->began_ms = clock_ms();
    log_info(LOG_NOBODY, "reload begins");
    r->ops->begun(r->data);
    if (prepare(r, now, &why) < 0) {
        r->refused = true;
        note_failure(r, "%s", why.text);
        revert(r);
        return;
    }
    r->end = r->nplans;
    schedule(r);
}

void reload_init(struct reload *r, struct cluster *cluster, const struct cmdline *cmdline,
                 const struct reload_ops *ops, void *data)
{
    *r = (struct reload){.cluster = cluster, .cmdline = cmdline, .ops = ops, .data = data};
    ev_init(&r->kick, on_kick);
    r->kick.data = r;
}

void reload_free(struct reload *r)
{
    if (r->cluster)
        ev_timer_stop(r->cluster->loop, &r->kick);
    free_plans(r);
    settings_unref(r->next);
    r->next = NULL;
}

void reload_abandon(struct reload *r)
{
    r->again = false;
    if (r->result != RELOAD_RUNNING)
        return;
    ev_timer_stop(r->cluster->loop, &r->kick);
    note_failure(r, "the master stops");
    finish(r, false);
}

void reload_remember(struct reload *r)
{
    r->again = true;
}

bool reload_take_request(struct reload *r)
{
    bool again = r->again;

    r->again = false;
    return again;
}

bool reload_is_running(const struct reload *r)
{
    return r->result == RELOAD_RUNNING;
}

const char *reload_result_name(enum reload_result result)
{
    static const char *const names[] = {"none", "running", "ok", "failed"};

    return names[result];
}

void reload_save(const struct reload *r, json_t *out)
{
    json_object_update_new(out, json_pack("{s:s, s:b, s:I, s:I, s:I, s:I}", "result",
                                          reload_result_name(r->result), "refused", r->refused,
                                          "at_wall_ms", (json_int_t)r->at_wall_ms, "duration_ms",
                                          (json_int_t)r->duration_ms, "failed",
                                          (json_int_t)r->total[0], "ok", (json_int_t)r->total[1]));
    handover_put_text(out, "reason", r->reason);
}

void reload_resume(struct reload *r, const json_t *saved)
{
    int result = handover_named(saved, "result", reload_result_name, RELOAD_FAILED + 1, NULL);

    r->result = result < 0 ? RELOAD_NONE : (enum reload_result)result;
    r->last_failed = r->result == RELOAD_FAILED;
    r->refused = handover_flag(saved, "refused");
    r->at_wall_ms = handover_number(saved, "at_wall_ms");
    r->duration_ms = handover_number(saved, "duration_ms");
    r->total[0] = (uint64_t)handover_number(saved, "failed");
    r->total[1] = (uint64_t)handover_number(saved, "ok");
    handover_copy_text(saved, "reason", r->reason, sizeof(r->reason));
}
