#include "cluster/cluster_handover.h"

#include <stdio.h>

#include "base/log.h"

#define SOCKETS_MAX 4096 /* of a listener: as many as there may be slots */

/* Saving --------------------------------------------------------------------------------------- */

static void add_socket(struct handover *h, json_t *sockets, const struct listener *l, int slot,
                       bool discovered)
{
    CLEANUP_BUF struct buf address = BUF_INIT;
    json_t *entry = json_pack("{s:i, s:b}", "slot", slot, "discovered", discovered);

    sockspec_format(listener_spec(l), 0, &address);
    handover_put_text(entry, "address", buf_str(&address));
    handover_put_fd(h, entry, "fd", listener_fd(l, slot < 0 ? 0 : slot));
    json_array_append_new(sockets, entry);
}

static int slot_of_inode(const struct listener *l, uint64_t inode, int nslots)
{
    for (int i = 0; i < nslots; i++)
        if (listener_inode(l, i) == inode)
            return i;
    return -1;
}

static bool is_among(const uint64_t *inodes, size_t n, uint64_t inode)
{
    for (size_t i = 0; i < n; i++)
        if (inodes[i] == inode)
            return true;
    return false;
}

/* In the kernel's order first, then those that are in no group. */
static void save_sockets(struct handover *h, json_t *out, struct listener *l, int nslots,
                         bool discovered)
{
    uint64_t order[SOCKETS_MAX];
    size_t n = listener_order(l, order, SOCKETS_MAX);

    listener_release(l);
    if (listener_is_shared(l)) {
        add_socket(h, out, l, -1, discovered);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        int slot = slot_of_inode(l, order[i], nslots);

        if (slot >= 0)
            add_socket(h, out, l, slot, discovered);
    }
    for (int i = 0; i < nslots; i++)
        if (listener_fd(l, i) >= 0 && !is_among(order, n, listener_inode(l, i)))
            add_socket(h, out, l, i, discovered);
}

static json_t *save_listeners(struct handover *h, const struct pool *p)
{
    json_t *out = json_array();

    for (size_t i = 0; i < p->gen->nlisteners; i++)
        if (!listener_is_inherited(p->gen->listeners[i]))
            save_sockets(h, out, p->gen->listeners[i], p->nslots, false);
    for (size_t i = 0; i < p->discovery.n; i++)
        save_sockets(h, out, p->discovery.items[i], p->nslots, true);
    return out;
}

static json_t *save_counts(const struct pool *p)
{
    json_t *out = json_object();

    for (enum restart_reason r = RESTART_NONE; r < RESTART_NREASONS; r++)
        json_object_set_new(out, restart_reason_name(r), json_integer((json_int_t)p->restarts[r]));
    return out;
}

/* Addresses without sockets are not handed over: the numbers of those behind them change. */
static uint32_t count_claims(const struct discovery *d, uint32_t claims)
{
    uint32_t out = 0;
    int bit = 0;

    for (size_t i = 0; i < d->n; i++) {
        if (!listener_has_sockets(d->items[i]))
            continue;
        if (claims & (UINT32_C(1) << i))
            out |= UINT32_C(1) << bit;
        bit++;
    }
    return out;
}

static void renumber_claims(const struct discovery *d, json_t *worker)
{
    uint32_t claims = (uint32_t)handover_number(worker, "claims");

    if (worker)
        json_object_set_new(worker, "claims", json_integer(count_claims(d, claims)));
}

static json_t *save_slot(const struct pool *p, struct slot *s, struct handover *h)
{
    json_t *out = json_object();

    slot_save(s, h, out);
    renumber_claims(&p->discovery, json_object_get(out, "current"));
    renumber_claims(&p->discovery, json_object_get(out, "next"));
    return out;
}

static json_t *save_pool(const struct pool *p, struct handover *h)
{
    json_t *slots = json_array();

    for (int i = 0; i < p->nslots; i++)
        json_array_append_new(slots, save_slot(p, p->slots[i], h));
    return json_pack("{s:s, s:I, s:i, s:b, s:o, s:o, s:o, s:o}", "name", pool_name(p), "generation",
                     (json_int_t)p->gen->number, "workers", p->wanted, "ran", p->gen->ran, "user",
                     spawn_user_save(&p->gen->user), "restarts", save_counts(p), "sockets",
                     save_listeners(h, p), "slots", slots);
}

static json_t *save_inherited(const struct inherited_listeners *inherited, struct handover *h)
{
    json_t *out = json_array();

    for (size_t i = 0; i < inherited->n; i++) {
        json_t *entry = json_object();

        handover_put_text(entry, "name", listener_name(inherited->items[i]));
        handover_put_fd(h, entry, "fd", listener_fd(inherited->items[i], 0));
        json_array_append_new(out, entry);
    }
    return out;
}

void cluster_save(const struct cluster *c, struct handover *h, json_t *out)
{
    json_t *pools = json_array();

    for (size_t i = 0; i < c->npools; i++)
        json_array_append_new(pools, save_pool(c->pools[i], h));
    json_object_update_new(out, json_pack("{s:I, s:b, s:b, s:o, s:o}", "generation",
                                          (json_int_t)c->generation, "was_ready", c->was_ready,
                                          "started", c->started, "pools", pools, "inherited",
                                          save_inherited(&c->means.inherited, h)));
}

/* Resuming ------------------------------------------------------------------------------------- */

static const json_t *find_pool(const json_t *saved, const char *name)
{
    const json_t *pools = json_object_get(saved, "pools");

    for (size_t i = 0; i < json_array_size(pools); i++)
        if (streq(handover_word(json_array_get(pools, i), "name"), name))
            return json_array_get(pools, i);
    return NULL;
}

static int take_sockets(const json_t *pool, struct stored_sockets *out, struct why *why)
{
    const json_t *sockets = json_object_get(pool, "sockets");

    for (size_t i = 0; i < json_array_size(sockets); i++) {
        const json_t *entry = json_array_get(sockets, i);
        struct store_name name = {.slot = (int)handover_number(entry, "slot"),
                                  .discovered = handover_flag(entry, "discovered")};
        CLEANUP_BUF struct buf address = BUF_INIT;
        int r;

        snprintf(name.pool, sizeof(name.pool), "%s", handover_word(pool, "name"));
        handover_text(entry, "address", &address);
        r = sockspec_parse(buf_str(&address), &name.spec, why);
        if (r == 0)
            r = stored_add(out, &name, handover_take_fd(entry, "fd"));
        if (r < 0)
            return why_prefix(why, r, "socket %zu of pool %s", i, name.pool);
    }
    return 0;
}

/* One that is lost keeps its place: what workers get goes by the order. */
static int take_one_inherited(const json_t *saved, const struct listener_options *options,
                              struct listener **out, struct why *why)
{
    struct sockspec lost = {.kind = SOCKSPEC_SYSTEMD};
    CLEANUP_BUF struct buf name = BUF_INIT;

    handover_text(saved, "name", &name);
    if (listener_take(handover_take_fd(saved, "fd"), buf_str(&name), options, out, why) == 0)
        return 0;
    log_error(LOG_NOBODY,
              "inherited socket '%s' was lost in the upgrade (%s): its workers go on, and no "
              "other can be started before the service is",
              buf_str(&name), why->text);
    snprintf(lost.path, sizeof(lost.path), "%s", buf_str(&name));
    snprintf(lost.name, sizeof(lost.name), "%s", buf_str(&name));
    return listener_open_empty(&lost, 0, options, out, why);
}

static int take_inherited(const json_t *saved, const struct settings *settings,
                          struct inherited_listeners *out, struct why *why)
{
    const struct listener_options options = {
        .backlog = (int)settings->pools[0].backlog, .shared = true, .in_use = true};
    const json_t *list = json_object_get(saved, "inherited");
    int r = 0;

    out->items = calloc(json_array_size(list) + 1, sizeof(*out->items));
    if (!out->items)
        return why_fail_errno(why, -ENOMEM, "inherited sockets");
    for (size_t i = 0; i < json_array_size(list) && r == 0; i++) {
        r = take_one_inherited(json_array_get(list, i), &options, &out->items[out->n], why);
        out->n += r == 0;
    }
    return r;
}

static int take_all(const json_t *saved, const struct settings *settings,
                    struct inherited_listeners *inherited, struct stored_sockets *stored,
                    struct why *why)
{
    const json_t *pools = json_object_get(saved, "pools");
    int r = take_inherited(saved, settings, inherited, why);

    for (size_t i = 0; i < json_array_size(pools) && r == 0; i++)
        r = take_sockets(json_array_get(pools, i), stored, why);
    return r;
}

static void load_counts(struct pool *p, const json_t *saved)
{
    for (enum restart_reason r = RESTART_NONE; r < RESTART_NREASONS; r++)
        p->restarts[r] = (uint64_t)handover_number(saved, restart_reason_name(r));
}

/* One that cannot be resumed stays down; pool_resume() starts it. */
static void resume_slots(struct pool *p, const json_t *saved)
{
    const json_t *slots = json_object_get(saved, "slots");

    for (int i = 0; i < p->nslots; i++) {
        const json_t *slot = json_array_get(slots, (size_t)i);
        struct log_who who = p->slots[i]->who;
        struct why why;

        if (slot_resume(p->slots[i], slot, &why) == 0)
            continue;
        who.pid = (pid_t)handover_number(json_object_get(slot, "current"), "pid");
        log_error(&who, "cannot be resumed: %s: starting a worker anew", why.text);
    }
}

/* As it was looked up, though nobody of that name may be left: an upgrade changes no user. Programs
 * before 0.1.0 did not hand it over. */
static int resume_user(struct generation *g, const json_t *saved, struct why *why)
{
    if (spawn_user_resume(saved, &g->user) == 0)
        return 0;
    return spawn_user_lookup(g->pool->user, g->pool->group, &g->user, why);
}

static int resume_pool(struct cluster *c, struct settings *settings, size_t index,
                       const json_t *saved, struct why *why)
{
    const json_t *pool = find_pool(saved, settings->pools[index].name);
    struct pool *p;
    int r;

    if (!pool)
        return why_fail(why, -EINVAL, "pool %s is missing in the handover",
                        settings->pools[index].name);
    r = cluster_open_pool(c, settings, index, (unsigned)handover_number(pool, "generation"),
                          (int)json_array_size(json_object_get(pool, "slots")), why);
    if (r < 0)
        return r;
    p = c->pools[c->npools - 1];
    r = resume_user(p->gen, json_object_get(pool, "user"), why);
    if (r < 0)
        return r;
    p->wanted = (int)handover_number(pool, "workers");
    p->gen->ran = handover_flag(pool, "ran");
    load_counts(p, json_object_get(pool, "restarts"));
    resume_slots(p, pool);
    return 0;
}

int cluster_resume(struct cluster *c, struct ev_loop *loop, const struct cluster_ops *ops,
                   void *data, struct settings *settings, const json_t *saved, struct why *why)
{
    struct inherited_listeners inherited = {0};
    struct stored_sockets stored = {0};
    int r = take_all(saved, settings, &inherited, &stored, why);

    cluster_init(c, loop, ops, data, &inherited, &stored);
    c->means.resumes = true;
    for (size_t i = 0; i < settings->npools && r == 0; i++)
        r = resume_pool(c, settings, i, saved, why);
    c->means.resumes = false;
    stored_free(&c->means.stored);
    c->generation = (unsigned)handover_number(saved, "generation");
    c->was_ready = handover_flag(saved, "was_ready");
    c->started = handover_flag(saved, "started");
    for (size_t i = 0; i < c->npools && r == 0; i++)
        pool_resume(c->pools[i]);
    return r;
}
