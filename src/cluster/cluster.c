#include "cluster/cluster.h"

#include "base/log.h"
#include "mechanism/socket_watch.h"

static const struct pool_ops pool_ops;
static const struct socket_watch_ops watch_ops;

void cluster_init(struct cluster *c, struct ev_loop *loop, const struct cluster_ops *ops,
                  void *data, struct inherited_listeners *inherited, struct stored_sockets *stored)
{
    int r;

    *c = (struct cluster){.loop = loop,
                          .ops = ops,
                          .data = data,
                          .means = {.inherited = *inherited, .stored = *stored},
                          .generation = 1};
    *inherited = (struct inherited_listeners){0};
    *stored = (struct stored_sockets){0};
    start_queue_init(&c->starts_due, loop);
    capture_hub_open(&c->means.outputs, loop);
    r = socket_watch_open(loop, &watch_ops, c, &c->means.watch);
    if (r < 0)
        log_warn(LOG_NOBODY, "workers that hang or damage their sockets are not noticed: %s",
                 strerror(-r));
}

int cluster_open_pool(struct cluster *c, struct settings *settings, size_t index, unsigned number,
                      int nslots, struct why *why)
{
    struct generation *gen;
    struct pool *p;
    int r = generation_open(settings, index, number, NULL, &c->means, nslots, &gen, why);

    if (r < 0)
        return r;
    p = cluster_new_pool(c, gen);
    generation_unref(gen);
    if (!p)
        return why_fail_errno(why, -ENOMEM, "pool");
    p->wanted = nslots > 0 ? nslots : gen->workers;
    r = pool_grow(p, gen, p->wanted, why);
    return r < 0 ? r : discovery_reopen(&p->discovery, gen, &c->means, p->nslots, why);
}

int cluster_open(struct cluster *c, struct ev_loop *loop, const struct cluster_ops *ops, void *data,
                 struct settings *settings, struct inherited_listeners *inherited,
                 struct stored_sockets *stored, struct why *why)
{
    int r = 0;

    cluster_init(c, loop, ops, data, inherited, stored);
    stored_prune(&c->means.stored, settings);
    for (size_t i = 0; i < settings->npools && r == 0; i++)
        r = cluster_open_pool(c, settings, i, c->generation, 0, why);
    stored_free(&c->means.stored);
    return r;
}

void cluster_free(struct cluster *c)
{
    start_queue_end(&c->starts_due);
    for (size_t i = 0; i < c->npools; i++)
        pool_free(c->pools[i]);
    free(c->pools);
    capture_hub_close(&c->means.outputs);
    for (size_t i = 0; i < c->means.inherited.n; i++)
        listener_unref(c->means.inherited.items[i]);
    free(c->means.inherited.items);
    adopt_filter_free(c->means.filter);
    socket_watch_close(c->means.watch);
    *c = (struct cluster){0};
}

struct pool *cluster_new_pool(struct cluster *c, struct generation *gen)
{
    struct pool **pools = reallocarray(c->pools, c->npools + 1, sizeof(*pools));

    if (!pools)
        return NULL;
    c->pools = pools;
    pools[c->npools] = pool_new(&c->starts_due, &pool_ops, c, gen);
    return pools[c->npools] ? pools[c->npools++] : NULL;
}

void cluster_remove_pool(struct cluster *c, struct pool *p)
{
    for (size_t i = 0; i < c->npools; i++)
        if (c->pools[i] == p) {
            memmove(c->pools + i, c->pools + i + 1, (--c->npools - i) * sizeof(*c->pools));
            pool_free(p);
            return;
        }
}

struct pool *cluster_pool(const struct cluster *c, const char *name)
{
    for (size_t i = 0; i < c->npools; i++)
        if (streq(pool_name(c->pools[i]), name))
            return c->pools[i];
    return NULL;
}

void cluster_start(struct cluster *c)
{
    for (size_t i = 0; i < c->npools; i++)
        pool_start(c->pools[i]);
}

void cluster_stop(struct cluster *c)
{
    c->stopping = true;
    for (size_t i = 0; i < c->npools; i++)
        pool_stop(c->pools[i]);
}

void cluster_kill(struct cluster *c)
{
    c->stopping = true;
    for (size_t i = 0; i < c->npools; i++)
        pool_kill(c->pools[i]);
}

bool cluster_is_down(const struct cluster *c)
{
    for (size_t i = 0; i < c->npools; i++)
        if (!pool_is_down(c->pools[i]))
            return false;
    return true;
}

bool cluster_is_ready(const struct cluster *c)
{
    for (size_t i = 0; i < c->npools; i++)
        if (pool_ready(c->pools[i]) < pool_min_ready(c->pools[i]))
            return false;
    return true;
}

static bool is_full(const struct cluster *c)
{
    for (size_t i = 0; i < c->npools; i++)
        if (pool_ready(c->pools[i]) < c->pools[i]->wanted - pool_finished(c->pools[i]))
            return false;
    return true;
}

bool cluster_is_finished(const struct cluster *c, bool *ok)
{
    *ok = true;
    for (size_t i = 0; i < c->npools; i++) {
        if (pool_finished(c->pools[i]) < c->pools[i]->wanted)
            return false;
        *ok = *ok && !pool_has_failed(c->pools[i]);
    }
    return true;
}

void cluster_settle(struct cluster *c)
{
    if (c->stopping)
        return;
    for (size_t i = c->npools; i-- > 0;)
        if (c->pools[i]->stopping && pool_is_down(c->pools[i]))
            cluster_remove_pool(c, c->pools[i]);
    for (size_t i = 0; i < c->npools; i++)
        pool_settle(c->pools[i]);
    c->was_ready = c->was_ready || cluster_is_ready(c);
    c->started = c->started || is_full(c);
}

void cluster_forward_signal(struct cluster *c, int signo)
{
    for (size_t i = 0; i < c->npools; i++)
        if (c->pools[i]->gen->pool->forward_signals & (UINT64_C(1) << signo))
            pool_signal(c->pools[i], signo);
}

/* Children --------------------------------------------------------------------------------------
 */

static void on_child_gone(void *data, pid_t pid, int code, int status)
{
    struct cluster *c = data;

    for (size_t i = 0; i < c->npools; i++)
        if (pool_child_gone(c->pools[i], pid, code, status))
            return;
    log_debug(&(struct log_who){.slot = -1, .pid = pid}, "reaped a stranger");
    c->ops->stranger_gone(c->data, pid, code, status);
}

void cluster_reap(struct cluster *c)
{
    spawn_reap(on_child_gone, c);
}

/* What happens to sockets -----------------------------------------------------------------------
 */

/* Several pools may share a socket that the service manager passed. */
static void on_waiting(void *data, void *listener, int number)
{
    struct cluster *c = data;

    for (size_t i = 0; i < c->npools; i++)
        queues_waiting(c->pools[i], listener, number);
}

static void on_hangup(void *data, void *listener, int number)
{
    struct cluster *c = data;

    for (size_t i = 0; i < c->npools; i++)
        if (queues_hangup(c->pools[i], listener, number))
            return;
}

static const struct socket_watch_ops watch_ops = {.waiting = on_waiting, .hangup = on_hangup};

/* What pools tell -------------------------------------------------------------------------------
 */

static void on_changed(void *data, struct pool *p UNUSED)
{
    struct cluster *c = data;

    c->ops->changed(c->data);
}

static void on_scale(void *data, struct pool *p, int n)
{
    struct cluster *c = data;

    c->ops->scale(c->data, p, n);
}

static void on_outcome(void *data, struct pool *p, int slot, bool ok)
{
    struct cluster *c = data;

    c->ops->outcome(c->data, p, slot, ok);
}

static void on_ready(void *data, struct pool *p, int slot)
{
    struct cluster *c = data;

    c->ops->ready(c->data, p, slot);
}

static void on_start_failed(void *data, struct pool *p, const struct spawn_error *error,
                            const char *reason)
{
    struct cluster *c = data;
    int status = 1;

    if (c->stopping || p->gen->ran || c->generation > 1 || restart_is_limit(error->err))
        return;
    if (error->stage == SPAWN_STAGE_EXEC)
        status = error->err == ENOENT ? 127 : 126;
    c->ops->cannot_start(c->data, p, status, reason);
}

static const struct pool_ops pool_ops = {
    .changed = on_changed,
    .outcome = on_outcome,
    .scale = on_scale,
    .ready = on_ready,
    .start_failed = on_start_failed,
};
