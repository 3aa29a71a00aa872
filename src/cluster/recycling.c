#include "cluster/recycling.h"

#include "base/clock.h"
#include "base/log.h"
#include "cluster/pool.h"
#include "mechanism/proc_tree.h"
#include "mechanism/proc_usage.h"
#include "mechanism/timer.h"
#include "policy/ageing.h"

#define LOOKS_MAX 256 /* at a worker's threads, to find its processes */

static struct ageing_limits limits_of(const struct pool *p)
{
    return (struct ageing_limits){p->gen->pool->max_memory, p->gen->pool->max_lifetime_ms};
}

/* Samples -------------------------------------------------------------------------------------- */

static int add_process(pid_t pid, void *data)
{
    int64_t *biggest = data;
    struct proc_usage usage;

    if (proc_usage(pid, &usage) == 0 && (int64_t)usage.resident_bytes > *biggest)
        *biggest = (int64_t)usage.resident_bytes;
    return 0;
}

/* Of its biggest process: a wrapper is small, and a sum would count shared pages again. */
static int64_t memory_of(const struct worker *w)
{
    int64_t biggest = 0;
    int looks = LOOKS_MAX;

    proc_tree_each_process(w->main_pid, &looks, add_process, &biggest);
    return biggest;
}

static struct ageing_sample sample_of(const struct worker *w)
{
    return (struct ageing_sample){
        .age_ms = clock_ms() - w->started_ms,
        .random = (uint32_t)w->pid * UINT32_C(2654435761) ^ (uint32_t)w->started_ms,
    };
}

/* Stable, and not on its way to anything else. */
static bool is_eligible(const struct pool *p, const struct slot *s)
{
    return s->state == SLOT_UP && s->cur && s->wanted == p->gen && s->retiring_ms == 0;
}

struct samples {
    struct ageing_sample *items;
    struct slot **slots;
    size_t n;
};

static void free_samples(struct samples *all)
{
    free(all->items);
    free(all->slots);
}

/* Memory is looked at only when asked for. Nothing when out of memory. */
static struct samples collect(const struct pool *p, bool with_memory)
{
    struct samples all = {.items = calloc((size_t)p->nslots + 1, sizeof(*all.items)),
                          .slots = calloc((size_t)p->nslots + 1, sizeof(struct slot *))};

    for (int i = 0; i < p->nslots && all.items && all.slots; i++) {
        struct slot *s = p->slots[i];

        if (!is_eligible(p, s))
            continue;
        all.items[all.n] = sample_of(s->cur);
        if (with_memory)
            all.items[all.n].memory = memory_of(s->cur);
        all.slots[all.n++] = s;
    }
    return all;
}

/* Replacing ------------------------------------------------------------------------------------ */

/* A replacement is under way, by us or by a reload. */
static bool is_busy(const struct pool *p)
{
    for (int i = 0; i < p->nslots; i++) {
        const struct slot *s = p->slots[i];

        if (s->next || s->wanted != p->gen || s->state == SLOT_REPLACING ||
            s->state == SLOT_SETTLING || s->state == SLOT_HANDOVER)
            return true;
    }
    return false;
}

static void replace(struct recycling *r, struct slot *s, const struct ageing_sample *sample,
                    enum restart_reason reason)
{
    if (reason == RESTART_MEMORY)
        log_warn(&s->cur->who, "%lld MiB resident are more than max-memory: replacing it",
                 (long long)(sample->memory >> 20));
    else
        log_info(&s->cur->who, "its max-lifetime is over after %lld s: replacing it",
                 (long long)(sample->age_ms / 1000));
    r->slot = s->index;
    r->premature = ageing_is_premature(reason, sample);
    slot_replace(s, reason);
}

void recycling_outcome(struct recycling *r, int slot, bool ok)
{
    const struct pool *p = r->pool;
    int64_t wait_ms;

    if (slot != r->slot)
        return;
    r->slot = -1;
    if (ok && !r->premature) {
        r->failures = 0;
        return;
    }
    wait_ms = restart_delay_ms(++r->failures, p->gen->pool->backoff_ms,
                               p->gen->pool->backoff_max_ms, (uint32_t)random());
    r->retry_ms = clock_ms() + wait_ms;
    log_warn(&(struct log_who){.pool = pool_name(p), .slot = slot},
             "%s: next replacement not before %lld ms",
             ok ? "its worker was too big soon after its start" : "the replacement failed",
             (long long)wait_ms);
}

/* The timer ------------------------------------------------------------------------------------ */

static void arm_by(struct recycling *r, int64_t wait_ms)
{
    int64_t due_ms = clock_ms() + wait_ms;

    if (ev_is_active(&r->timer) && r->timer_ms <= due_ms)
        return;
    timer_arm_ms(r->pool->starts_due->loop, &r->timer, wait_ms);
    r->timer_ms = due_ms;
}

static void plan(struct recycling *r, const struct samples *all)
{
    const struct ageing_limits limits = limits_of(r->pool);
    int64_t wait_ms = ageing_next_look_ms(&limits, all->items, all->n);

    if (wait_ms >= 0 && !r->pool->stopping)
        arm_by(r, wait_ms);
    else
        ev_timer_stop(r->pool->starts_due->loop, &r->timer);
}

static void on_timer(struct ev_loop *loop UNUSED, ev_timer *timer, int events UNUSED)
{
    struct recycling *r = timer->data;
    const struct ageing_limits limits = limits_of(r->pool);
    struct samples all = collect(r->pool, limits.max_memory > 0);
    enum restart_reason reason;
    int first = ageing_choose(&limits, all.items, all.n, &reason);

    if (first >= 0 && !is_busy(r->pool) && clock_ms() >= r->retry_ms)
        replace(r, all.slots[first], &all.items[first], reason);
    plan(r, &all);
    free_samples(&all);
}

void recycling_update(struct recycling *r)
{
    const struct ageing_limits limits = limits_of(r->pool);
    struct samples all;

    if (limits.max_memory <= 0 && limits.max_lifetime_ms <= 0 && !ev_is_active(&r->timer))
        return;
    all = collect(r->pool, false);
    plan(r, &all);
    free_samples(&all);
}

void recycling_init(struct recycling *r, struct pool *p)
{
    *r = (struct recycling){.pool = p, .slot = -1};
    ev_init(&r->timer, on_timer);
    r->timer.data = r;
}

void recycling_end(struct recycling *r)
{
    ev_timer_stop(r->pool->starts_due->loop, &r->timer);
}
