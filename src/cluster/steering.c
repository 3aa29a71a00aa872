#include "cluster/steering.h"

#include "base/log.h"
#include "mechanism/cpus_probe.h"

static bool has_listener(const struct generation *g, const struct listener *l)
{
    for (size_t i = 0; i < g->nlisteners; i++)
        if (g->listeners[i] == l)
            return true;
    return false;
}

/* A listener that only the next generation has is not live in a slot that still runs the old. */
static void note_generation(const struct generation *g, const struct slot *s, bool live)
{
    for (size_t i = 0; i < g->nlisteners; i++)
        listener_set_live(g->listeners[i], s->index,
                          live && has_listener(s->cur->gen, g->listeners[i]));
}

void steering_note(struct discovery *d, const struct generation *gen, const struct slot *s)
{
    bool live = slot_is_serving(s) && s->retiring_ms == 0 && !s->queue.masked;

    note_generation(gen, s, live);
    if (s->wanted != gen)
        note_generation(s->wanted, s, live);
    for (size_t i = 0; i < d->n; i++)
        listener_set_live(d->items[i], s->index, live && (s->cur->claims & (UINT32_C(1) << i)));
}

static void apply(struct listener *l, const struct generation *gen)
{
    const struct pool_settings *pool = gen->pool;
    const struct steer_plan plan = {
        .balance = (enum balance_mode)pool->balance,
        .probes = settings_probes(pool),
        .cpus = pool->cpu_affinity == AFFINITY_AUTO ? cpus_probe_allowed() : NULL,
    };
    int r = listener_steer(l, &plan);

    if (r < 0)
        log_warn(&(struct log_who){.pool = gen->pool->name, .slot = -1},
                 "cannot steer %s: %s: new connections go to every slot, ready or not",
                 listener_address(l), strerror(-r));
}

static void apply_generation(const struct generation *g)
{
    for (size_t i = 0; i < g->nlisteners; i++)
        apply(g->listeners[i], g);
}

void steering_apply(struct discovery *d, const struct generation *gen, struct slot *const *slots,
                    int nslots)
{
    const struct generation *last = gen;

    apply_generation(gen);
    for (int i = 0; i < nslots; i++) {
        if (slots[i]->wanted != last && slots[i]->wanted != gen)
            apply_generation(slots[i]->wanted);
        last = slots[i]->wanted;
    }
    for (size_t i = 0; i < d->n; i++)
        apply(d->items[i], gen);
}

static int queued(const struct listener *l, int slot)
{
    int n = listener_is_shared(l) ? 0 : listener_queue(l, slot);

    return n > 0 ? n : 0;
}

int steering_queued(const struct discovery *d, const struct slot *s)
{
    int n = 0;

    for (size_t i = 0; i < s->wanted->nlisteners; i++)
        n += queued(s->wanted->listeners[i], s->index);
    for (size_t i = 0; i < d->n; i++)
        n += queued(d->items[i], s->index);
    return n;
}
