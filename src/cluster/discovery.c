#include "cluster/discovery.h"

#include "base/log.h"
#include "base/sys.h"
#include "policy/adoption.h"

void discovery_free(struct discovery *d)
{
    for (size_t i = 0; i < d->n; i++)
        listener_unref(d->items[i]);
    *d = (struct discovery){0};
}

size_t discovery_list(const struct discovery *d, const struct generation *gen,
                      struct listener **listeners, size_t max)
{
    size_t n = 0;

    for (size_t i = 0; i < gen->nlisteners && n < max; i++)
        listeners[n++] = gen->listeners[i];
    for (size_t i = 0; i < d->n && n < max; i++)
        listeners[n++] = d->items[i];
    return n;
}

/* What the process could not bind itself, the master does not bind for it. */
static bool may_bind(const struct adopter_bind *b)
{
    return b->asked.port >= sys_first_unprivileged_port() || sys_may_bind_privileged(b->pid);
}

/* A free place, or one whose address no slot uses any more; NULL: there is none. */
static struct listener **find_place(struct discovery *d)
{
    if (d->n < DISCOVERY_MAX)
        return &d->items[d->n++];
    for (size_t i = 0; i < d->n; i++)
        if (!listener_has_sockets(d->items[i]))
            return &d->items[i];
    return NULL;
}

static int add(struct discovery *d, const struct generation *gen, const struct sockspec *asked,
               struct listener **out, struct why *why)
{
    const struct listener_options options = {.backlog = (int)gen->pool->backlog};
    int r = listener_open_empty(asked, 0, &options, out, why);
    struct listener **place;

    if (r < 0)
        return r;
    listener_watch(*out, gen->watch);
    place = find_place(d);
    if (!place) {
        listener_unref(*out);
        return why_fail(why, -EAGAIN, "it binds more than %d addresses", DISCOVERY_MAX);
    }
    listener_unref(*place);
    *place = *out;
    return 0;
}

int discovery_reopen(struct discovery *d, const struct generation *gen,
                     struct generation_means *means, int nslots, struct why *why)
{
    const struct listener_options options = {.backlog = (int)gen->pool->backlog,
                                             .in_use = means->resumes};
    struct stored_sockets *stored = &means->stored;
    const struct sockspec *found;
    int r = 0;

    while (r >= 0 && d->n < DISCOVERY_MAX && (found = stored_discovered(stored, gen->pool->name))) {
        const struct sockspec spec = *found;

        r = stored_reopen(stored, gen->pool->name, true, &spec, nslots, &options, &d->items[d->n],
                          why);
        if (r > 0)
            d->n++;
    }
    return r < 0 ? r : 0;
}

static void claim(const struct discovery *d, const struct listener *l, uint32_t *claims)
{
    for (size_t i = 0; i < d->n; i++)
        if (d->items[i] == l)
            *claims |= UINT32_C(1) << i;
}

int discovery_bind(struct discovery *d, const struct generation *gen, int slot,
                   const struct adopter_bind *b, uint32_t *claims, struct why *why)
{
    struct listener *listeners[DISCOVERY_LISTENERS_MAX];
    struct adoption_candidate candidates[DISCOVERY_LISTENERS_MAX];
    size_t n = discovery_list(d, gen, listeners, DISCOVERY_LISTENERS_MAX);
    struct adoption decision;
    struct listener *l = NULL;
    int r = 0;

    for (size_t i = 0; i < n; i++)
        candidates[i] = (struct adoption_candidate){.spec = listener_bound(listeners[i]),
                                                    .port = listener_port(listeners[i]),
                                                    .discovered = i >= gen->nlisteners};
    decision = adoption_decide((enum adoption_mode)gen->pool->adopt, &b->asked, candidates, n);
    if (decision.action == ADOPTION_GIVE)
        l = listeners[decision.index];
    else if (decision.action == ADOPTION_PASS || !may_bind(b))
        return -EAGAIN;
    else
        r = add(d, gen, &b->asked, &l, why);
    if (r == 0)
        r = listener_bind_slot(l, slot, why);
    if (r < 0)
        return r;
    claim(d, l, claims);
    return listener_fd(l, slot);
}

int discovery_listen(const struct discovery *d, const struct generation *gen, int slot,
                     uint64_t inode)
{
    struct listener *listeners[DISCOVERY_LISTENERS_MAX];
    size_t n = discovery_list(d, gen, listeners, DISCOVERY_LISTENERS_MAX);

    for (size_t i = 0; i < n; i++)
        if (listener_inode(listeners[i], slot) == inode)
            return listener_listen_slot(listeners[i], slot);
    return -EAGAIN;
}

size_t discovery_inodes(const struct discovery *d, const struct generation *gen, int slot,
                        uint64_t *inodes, size_t max)
{
    struct listener *listeners[DISCOVERY_LISTENERS_MAX];
    size_t n = discovery_list(d, gen, listeners,
                              max < DISCOVERY_LISTENERS_MAX ? max : DISCOVERY_LISTENERS_MAX);

    for (size_t i = 0; i < n; i++)
        inodes[i] = listener_inode(listeners[i], slot);
    return n;
}

void discovery_tidy(struct discovery *d, int slot)
{
    for (size_t i = 0; i < d->n; i++)
        if (!listener_is_listening(d->items[i], slot))
            listener_close_slot(d->items[i], slot);
}

void discovery_keep(struct discovery *d, int slot, uint32_t claims)
{
    for (size_t i = 0; i < d->n; i++)
        if (!(claims & (UINT32_C(1) << i)))
            listener_close_slot(d->items[i], slot);
}

void discovery_set_backlog(struct discovery *d, int backlog)
{
    for (size_t i = 0; i < d->n; i++)
        listener_set_backlog(d->items[i], backlog);
}

void discovery_shrink(struct discovery *d, int nslots)
{
    for (size_t i = 0; i < d->n; i++)
        listener_shrink(d->items[i], nslots);
}

void discovery_restore(struct discovery *d, int slot)
{
    for (size_t i = 0; i < d->n; i++)
        if (listener_fd(d->items[i], slot) >= 0)
            listener_restore(d->items[i], slot);
}
