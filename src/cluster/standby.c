#include "cluster/standby.h"

#include "base/log.h"
#include "cluster/pool.h"
#include "mechanism/timer.h"

/* A worker that dies and comes back is sooner there than a client that was sent away. */
#define GRACE_MS 1000

#define RETRY_AFTER_MAX_S 3600

static void log_change(const struct pool *p, enum log_level level, const char *text)
{
    log_write(level, &(struct log_who){.pool = pool_name(p), .slot = -1}, "%s", text);
}

static bool is_needed(const struct pool *p)
{
    if (p->gen->pool->fallback == FALLBACK_OFF || p->stopping)
        return false;
    for (int i = 0; i < p->nslots; i++)
        if (slot_is_serving(p->slots[i]))
            return false;
    return true;
}

/* When the first of the slots tries again. */
static unsigned retry_after_s(void *data)
{
    const struct pool *p = data;
    int64_t wait_ms = INT64_MAX;

    for (int i = 0; i < p->nslots; i++) {
        int64_t ms = slot_start_wait_ms(p->slots[i]);

        wait_ms = ms < wait_ms ? ms : wait_ms;
    }
    if (wait_ms > RETRY_AFTER_MAX_S * 1000)
        return RETRY_AFTER_MAX_S;
    return wait_ms <= 1000 ? 1 : (unsigned)((wait_ms + 999) / 1000);
}

/* Sockets -------------------------------------------------------------------------------------- */

struct sockets {
    struct fallback_socket *items;
    size_t n, size;
    int err;
};

static void add_socket(struct sockets *all, const struct listener *l, int slot)
{
    struct fallback_socket s = {listener_fd(l, slot), listener_inode(l, slot)};
    struct fallback_socket *items;

    if (s.fd < 0)
        return;
    if (all->n == all->size) {
        all->size = all->size ? all->size * 2 : 16;
        items = reallocarray(all->items, all->size, sizeof(*items));
        if (!items) {
            all->err = -ENOMEM;
            all->size = all->n;
            return;
        }
        all->items = items;
    }
    all->items[all->n++] = s;
}

static void add_listener(struct sockets *all, const struct pool *p, const struct listener *l)
{
    int n = listener_is_shared(l) && p->nslots > 0 ? 1 : p->nslots;

    for (int i = 0; i < n && !listener_is_udp(l); i++)
        add_socket(all, l, i);
}

static int listen_on_all(struct standby *s)
{
    const struct pool *p = s->pool;
    struct listener *listeners[DISCOVERY_LISTENERS_MAX];
    size_t n = discovery_list(&p->discovery, p->gen, listeners, ARRAY_SIZE(listeners));
    struct sockets all = {0};
    int r;

    for (size_t i = 0; i < n; i++)
        add_listener(&all, p, listeners[i]);
    r = fallback_listen(s->fallback, all.items, all.n);
    free(all.items);
    return all.err < 0 ? all.err : r;
}

/* Beginning and end ---------------------------------------------------------------------------- */

static void begin(struct standby *s)
{
    const struct pool *p = s->pool;
    int r;

    if (!s->fallback)
        s->fallback = fallback_new(p->starts_due->loop, retry_after_s, s->pool);
    s->active = s->fallback != NULL;
    r = s->active ? listen_on_all(s) : -ENOMEM;
    if (r < 0)
        log_warn(&(struct log_who){.pool = pool_name(p), .slot = -1},
                 "no worker is ready, and not every client can be told so: %s", strerror(-r));
    else
        log_change(p, LOG_LEVEL_WARN, "no worker is ready: answering requests with status 503");
}

static void end(struct standby *s)
{
    s->active = false;
    fallback_listen(s->fallback, NULL, 0);
    log_change(s->pool, LOG_LEVEL_INFO,
               s->pool->stopping ? "stopping: requests are no longer answered with status 503"
                                 : "a worker is ready: requests are served again");
}

static void on_grace_over(struct ev_loop *loop UNUSED, ev_timer *timer, int events UNUSED)
{
    struct standby *s = timer->data;

    if (is_needed(s->pool))
        begin(s);
}

void standby_update(struct standby *s)
{
    struct ev_loop *loop = s->pool->starts_due->loop;

    standby_note(s);
    if (s->active) {
        listen_on_all(s);
    } else if (!is_needed(s->pool)) {
        ev_timer_stop(loop, &s->grace);
    } else if (!ev_is_active(&s->grace)) {
        timer_arm_ms(loop, &s->grace, GRACE_MS);
    }
}

void standby_note(struct standby *s)
{
    if (s->active && !is_needed(s->pool))
        end(s);
}

void standby_let_go(struct standby *s, int slot)
{
    const struct pool *p = s->pool;
    const struct generation *g = p->slots[slot]->wanted;

    for (size_t i = 0; s->active && i < g->nlisteners; i++)
        if (listener_is_shared(g->listeners[i]))
            fallback_forget(s->fallback, listener_inode(g->listeners[i], slot));
}

void standby_init(struct standby *s, struct pool *p)
{
    *s = (struct standby){.pool = p};
    ev_init(&s->grace, on_grace_over);
    s->grace.data = s;
}

void standby_end(struct standby *s)
{
    ev_timer_stop(s->pool->starts_due->loop, &s->grace);
    fallback_free(s->fallback);
}
