#include "interface/status.h"

const char *status_state_name(const struct status *s)
{
    static const char *const phases[] = {NULL, "draining", "stopping"};

    if (s->phase != PHASE_SERVING)
        return phases[s->phase];
    if (reload_is_running(s->reload))
        return "reloading";
    return s->cluster->started ? "running" : "starting";
}

int status_check_idle(const struct status *s, struct why *why)
{
    if (s->phase != PHASE_SERVING)
        return why_fail(why, -EBUSY, "the master is stopping");
    if (reload_is_running(s->reload))
        return why_fail(why, -EBUSY, "a reload is running");
    if (restart_is_running(s->restart))
        return why_fail(why, -EBUSY, "a restart is running");
    return 0;
}

static bool pool_is_short(const struct pool *p)
{
    return pool_ready(p) < pool_min_ready(p);
}

static void describe_pool(const struct pool *p, struct buf *out)
{
    buf_printf(out, "%s %d/%d", pool_name(p), pool_ready(p), p->wanted);
}

bool status_is_ready(const struct status *s, struct buf *reason)
{
    const struct cluster *c = s->cluster;
    size_t nshort = 0;

    if (s->phase != PHASE_SERVING) {
        buf_puts(reason, "draining");
        return false;
    }
    for (size_t i = 0; i < c->npools; i++) {
        if (c->pools[i]->stopping || !pool_is_short(c->pools[i]))
            continue;
        if (nshort++ == 0)
            buf_puts(reason, c->was_ready ? "degraded: " : "starting: ");
        else
            buf_puts(reason, ", ");
        describe_pool(c->pools[i], reason);
    }
    return nshort == 0;
}

/* Why the first of its broken slots is so. */
static const char *failure_of(const struct pool *p)
{
    int i = 0;

    while (!slot_is_broken(p->slots[i]))
        i++;
    return p->slots[i]->reason;
}

bool status_is_alive(const struct status *s, struct buf *reason)
{
    const struct cluster *c = s->cluster;
    size_t nbroken = 0;

    for (size_t i = 0; i < c->npools && s->phase == PHASE_SERVING; i++) {
        if (!pool_is_broken(c->pools[i]))
            continue;
        buf_puts(reason, nbroken++ == 0 ? "broken: " : ", ");
        describe_pool(c->pools[i], reason);
        buf_printf(reason, " (%s)", failure_of(c->pools[i]));
    }
    return nbroken == 0;
}

void status_line(const struct status *s, struct buf *out)
{
    static const char *const phases[] = {"", "draining: ", "stopping: "};
    const struct cluster *c = s->cluster;

    buf_puts(out, phases[s->phase]);
    if (reload_is_running(s->reload))
        buf_puts(out, "reloading: ");
    for (size_t i = 0; i < c->npools; i++) {
        if (i > 0)
            buf_puts(out, ", ");
        describe_pool(c->pools[i], out);
    }
    buf_puts(out, " ready");
    if (s->reload->result == RELOAD_FAILED)
        buf_printf(out, "; reload failed: %s", s->reload->reason);
}
