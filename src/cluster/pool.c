#include "cluster/pool.h"

#include "base/log.h"

static const struct slot_ops slot_ops;

struct pool *pool_new(struct start_queue *starts_due, const struct pool_ops *ops, void *data,
                      struct generation *gen)
{
    struct pool *p = calloc(1, sizeof(*p));

    if (!p)
        return NULL;
    p->ops = ops;
    p->data = data;
    p->starts_due = starts_due;
    p->gen = generation_ref(gen);
    return p;
}

void pool_free(struct pool *p)
{
    if (!p)
        return;
    for (int i = 0; i < p->nslots; i++)
        slot_free(p->slots[i]);
    free(p->slots);
    generation_unref(p->gen);
    free(p);
}

const char *pool_name(const struct pool *p)
{
    return p->gen->pool->name;
}

/* Slots ---------------------------------------------------------------------------------------- */

int pool_grow(struct pool *p, struct generation *gen, int n, struct why *why)
{
    struct slot **slots;

    if (n <= p->nslots)
        return 0;
    slots = reallocarray(p->slots, (size_t)n, sizeof(*slots));
    if (!slots)
        return why_fail_errno(why, -ENOMEM, "slots");
    p->slots = slots;
    for (int i = p->nslots; i < n; i++) {
        slots[i] = slot_new(p->starts_due, &slot_ops, p, i, gen);
        if (!slots[i])
            return why_fail_errno(why, -ENOMEM, "slots");
        p->nslots = i + 1;
    }
    return 0;
}

/* Gives up the slots at the end that are not wanted and down, and their sockets. */
static void trim(struct pool *p)
{
    int n = p->nslots;

    while (n > p->wanted && p->slots[n - 1]->state == SLOT_DOWN)
        slot_free(p->slots[--n]);
    if (n == p->nslots)
        return;
    p->nslots = n;
    generation_shrink(p->gen, n);
}

int pool_set_workers(struct pool *p, int n, struct why *why)
{
    int r = generation_grow(p->gen, n, why);

    if (r == 0)
        r = pool_grow(p, p->gen, n, why);
    if (r < 0)
        return r;
    p->wanted = n;
    for (int i = 0; i < p->nslots; i++)
        if (i >= n)
            slot_post(p->slots[i], EVENT_STOP);
        else if (!slot_fsm_wanted_up(p->slots[i]->state))
            slot_post(p->slots[i], EVENT_START);
    return 0;
}

void pool_set_generation(struct pool *p, struct generation *gen)
{
    generation_ref(gen);
    generation_unref(p->gen);
    p->gen = gen;
}

/* Posts to each slot; from the end, since a slot that is down may be given up by that. */
static void post_all(struct pool *p, enum slot_event event)
{
    for (int i = p->nslots; i-- > 0;)
        slot_post(p->slots[i], event);
}

void pool_start(struct pool *p)
{
    for (int i = 0; i < p->wanted; i++)
        slot_post(p->slots[i], EVENT_START);
}

void pool_stop(struct pool *p)
{
    p->stopping = true;
    post_all(p, EVENT_STOP);
}

void pool_kill(struct pool *p)
{
    p->stopping = true;
    post_all(p, EVENT_KILL);
}

bool pool_is_down(const struct pool *p)
{
    for (int i = 0; i < p->nslots; i++)
        if (p->slots[i]->state != SLOT_DOWN)
            return false;
    return true;
}

/* What slots tell ------------------------------------------------------------------------------ */

static void on_outcome(void *data, struct slot *s, bool ok)
{
    struct pool *p = data;

    p->ops->outcome(p->data, p, s->index, ok);
}

static void on_down(void *data UNUSED, struct slot *s)
{
    log_debug(&s->who, "down");
}

static void on_changed(void *data, struct slot *s UNUSED)
{
    struct pool *p = data;

    if (!p->stopping)
        trim(p);
    p->ops->changed(p->data, p);
}

static void on_start_failed(void *data, struct slot *s UNUSED, const struct spawn_error *error)
{
    struct pool *p = data;

    p->ops->start_failed(p->data, p, error);
}

static const struct slot_ops slot_ops = {
    .outcome = on_outcome,
    .down = on_down,
    .changed = on_changed,
    .start_failed = on_start_failed,
};

/* ---------------------------------------------------------------------------------------------- */

bool pool_child_gone(struct pool *p, pid_t pid, int code, int status)
{
    for (int i = 0; i < p->nslots; i++)
        if (slot_child_gone(p->slots[i], pid, code, status))
            return true;
    return false;
}

void pool_signal(struct pool *p, int signo)
{
    for (int i = 0; i < p->nslots; i++)
        slot_signal(p->slots[i], signo);
}

int pool_ready(const struct pool *p)
{
    int n = 0;

    for (int i = 0; i < p->nslots; i++)
        n += slot_is_ready(p->slots[i]);
    return n;
}

int pool_min_ready(const struct pool *p)
{
    return count_of(p->gen->pool->min_ready, p->wanted);
}

bool pool_has_failures(const struct pool *p)
{
    for (int i = 0; i < p->nslots; i++)
        if (p->slots[i]->failures > 0)
            return true;
    return false;
}
