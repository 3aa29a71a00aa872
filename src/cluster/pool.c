#include "cluster/pool.h"

#include "base/clock.h"
#include "base/log.h"
#include "cluster/steering.h"
#include "mechanism/own_sockets.h"

#define RETIREMENT_POLL_S 0.01
#define RETIREMENT_MIN_MS 200 /* handshakes that had begun end up in the queue until then */

static const struct slot_ops slot_ops;
static void on_retirement(struct ev_loop *loop, ev_timer *timer, int events);

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
    ev_init(&p->retirement, on_retirement);
    p->retirement.data = p;
    probing_init(&p->probing, starts_due->loop, &p->discovery);
    standby_init(&p->standby, p);
    pool_log_init(&p->log, p);
    recycling_init(&p->recycling, p);
    queues_init(p);
    scaling_init(p);
    return p;
}

void pool_free(struct pool *p)
{
    if (!p)
        return;
    ev_timer_stop(p->starts_due->loop, &p->retirement);
    probing_free(&p->probing);
    standby_end(&p->standby);
    pool_log_end(&p->log);
    recycling_end(&p->recycling);
    queues_stop(p);
    scaling_stop(p);
    for (int i = 0; i < p->nslots; i++)
        slot_free(p->slots[i]);
    free(p->slots);
    discovery_free(&p->discovery);
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
        slots[i] = slot_new(p->starts_due, &slot_ops, p, &p->log, i, gen);
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
    probing_shrink(&p->probing, n);
    generation_shrink(p->gen, n);
    discovery_shrink(&p->discovery, n);
}

/* Slots that come and go ----------------------------------------------------------------------- */

static void watch_retirement(struct pool *p)
{
    if (ev_is_active(&p->retirement))
        return;
    ev_timer_set(&p->retirement, RETIREMENT_POLL_S, RETIREMENT_POLL_S);
    ev_timer_start(p->starts_due->loop, &p->retirement);
}

/* A slot that serves first loses its new connections, then serves those that wait, then stops. */
static void retire(struct pool *p, struct slot *s)
{
    if (s->retiring_ms > 0 || !slot_fsm_wanted_up(s->state))
        return;
    s->retiring_ms = clock_ms();
    steering_note(&p->discovery, p->gen, s);
    watch_retirement(p);
}

static void hire(struct pool *p, struct slot *s)
{
    if (s->retiring_ms > 0) {
        s->retiring_ms = 0;
        steering_note(&p->discovery, p->gen, s);
    }
    if (!slot_fsm_wanted_up(s->state))
        slot_post(s, EVENT_START);
}

static bool is_retired(const struct pool *p, const struct slot *s)
{
    int64_t waited_ms = clock_ms() - s->retiring_ms;

    if (!slot_is_serving(s) || waited_ms >= s->wanted->pool->stop_timeout_ms)
        return true; /* nobody serves the queue, or nobody can wait for it any longer */
    return waited_ms >= RETIREMENT_MIN_MS && steering_queued(&p->discovery, s) == 0;
}

static void on_retirement(struct ev_loop *loop, ev_timer *timer, int events UNUSED)
{
    struct pool *p = timer->data;
    bool waiting = false;

    for (int i = p->nslots; i-- > p->wanted;) { /* from the end: slots that are down may go */
        struct slot *s = p->slots[i];

        if (s->retiring_ms == 0)
            continue;
        if (is_retired(p, s)) {
            s->retiring_ms = 0;
            queues_rescue(p, s);
            slot_post(s, EVENT_STOP);
        } else {
            waiting = true;
        }
    }
    if (!waiting)
        ev_timer_stop(loop, timer);
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
            retire(p, p->slots[i]);
        else
            hire(p, p->slots[i]);
    pool_steer(p);
    scaling_changed(p);
    return 0;
}

void pool_steer(struct pool *p)
{
    steering_apply(&p->discovery, p->gen, p->slots, p->nslots);
}

void pool_settle(struct pool *p)
{
    pool_steer(p);
    standby_update(&p->standby);
    recycling_update(&p->recycling);
}

void pool_set_generation(struct pool *p, struct generation *gen)
{
    int backlog = (int)gen->pool->backlog;

    generation_ref(gen);
    generation_unref(p->gen);
    p->gen = gen;
    for (size_t i = 0; i < gen->nlisteners; i++)
        listener_set_backlog(gen->listeners[i], backlog);
    discovery_set_backlog(&p->discovery, backlog);
}

/* Posts to each slot; from the end, since a slot that is down may be given up by that. */
static void post_all(struct pool *p, enum slot_event event)
{
    for (int i = p->nslots; i-- > 0;)
        slot_post(p->slots[i], event);
}

/* Everybody who goes by what a slot does. */
static void note(struct pool *p, struct slot *s)
{
    queues_changed(p, s);
    steering_note(&p->discovery, p->gen, s);
    probing_note(&p->probing, s);
    standby_note(&p->standby);
}

void pool_start(struct pool *p)
{
    for (int i = 0; i < p->wanted; i++)
        slot_post(p->slots[i], EVENT_START);
    scaling_changed(p);
}

void pool_resume(struct pool *p)
{
    for (int i = 0; i < p->nslots; i++) {
        if (p->slots[i]->retiring_ms > 0)
            watch_retirement(p);
        if (i < p->wanted && p->slots[i]->state == SLOT_DOWN)
            slot_post(p->slots[i], EVENT_START); /* it could not be resumed */
        else
            note(p, p->slots[i]);
    }
    pool_settle(p);
    scaling_changed(p);
}

/* The pool goes down: what is done for one that serves is over. */
static void settle_down(struct pool *p)
{
    p->stopping = true;
    ev_timer_stop(p->starts_due->loop, &p->retirement);
    scaling_stop(p);
    standby_update(&p->standby);
    recycling_update(&p->recycling);
}

void pool_stop(struct pool *p)
{
    settle_down(p);
    post_all(p, EVENT_STOP);
}

void pool_kill(struct pool *p)
{
    settle_down(p);
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

    recycling_outcome(&p->recycling, s->index, ok);
    p->ops->outcome(p->data, p, s->index, ok);
}

static void on_down(void *data UNUSED, struct slot *s)
{
    log_debug(&s->who, "down");
}

static void on_changed(void *data, struct slot *s)
{
    struct pool *p = data;

    if (!slot_has_workers(s))
        discovery_tidy(&p->discovery, s->index);
    else if (s->state == SLOT_UP && !s->leaving)
        discovery_keep(&p->discovery, s->index, s->cur->claims);
    note(p, s);
    if (!p->stopping)
        trim(p);
    p->ops->changed(p->data, p);
}

static void on_restore(void *data, struct slot *s)
{
    struct pool *p = data;
    const struct generation *g = s->wanted;

    standby_let_go(&p->standby, s->index);
    for (size_t i = 0; i < g->nlisteners; i++) {
        int r = listener_restore(g->listeners[i], s->index);

        if (r < 0)
            log_warn(&s->who, "cannot restore the socket of %s: %s",
                     listener_address(g->listeners[i]), strerror(-r));
    }
    discovery_restore(&p->discovery, s->index);
}

/* A specific address is never given a wildcard's socket, so the listed one stays without server. */
static void warn_of_idle_listeners(const struct generation *g, const struct listener *found,
                                   const struct log_who *who)
{
    for (size_t i = 0; i < g->nlisteners; i++)
        if (!listener_is_udp(g->listeners[i]) &&
            listener_port(g->listeners[i]) == listener_port(found))
            log_warn(who, "binds %s and not the listed %s: clients of the latter may wait in vain",
                     listener_address(found), listener_address(g->listeners[i]));
}

static int on_bind(void *data, struct slot *s, struct worker *w, const struct adopter_bind *b)
{
    struct pool *p = data;
    size_t known = p->discovery.n;
    struct why why = {0};
    int r = discovery_bind(&p->discovery, w->gen, s->index, b, &w->claims, &why);

    if (r < 0 && why.text[0])
        log_error(&w->who, "cannot share the address that it binds: %s", why.text);
    else if (p->discovery.n > known) {
        const struct listener *found = p->discovery.items[known];

        log_info(&w->who, "binds %s: sharing it with all workers", listener_address(found));
        warn_of_idle_listeners(w->gen, found, &w->who);
    }
    return r;
}

static int on_listen(void *data, struct slot *s, struct worker *w, uint64_t inode)
{
    struct pool *p = data;

    int r = discovery_listen(&p->discovery, w->gen, s->index, inode);

    if (r == 0) { /* it may do so long after it became ready */
        queues_look(p, s);
        steering_note(&p->discovery, p->gen, s);
        p->ops->changed(p->data, p);
    }
    return r;
}

static int on_own_sockets(void *data, struct slot *s, struct worker *w, struct buf *out)
{
    struct pool *p = data;
    uint64_t given[GENERATION_LISTENERS_MAX + DISCOVERY_MAX];
    size_t n = discovery_inodes(&p->discovery, w->gen, s->index, given, ARRAY_SIZE(given));

    return own_sockets_describe(w->pid, given, n, out);
}

static bool must_listen(void *data, struct slot *s)
{
    struct pool *p = data;
    const struct generation *g = s->wanted;

    for (size_t i = 0; i < g->nlisteners; i++)
        if (!listener_is_udp(g->listeners[i]))
            return true;
    return p->discovery.n > 0;
}

static void on_ready(void *data, struct slot *s, const struct worker *w)
{
    struct pool *p = data;

    histogram_add(&p->start_times, w->ready_ms - w->started_ms);
    p->ops->ready(p->data, p, s->index);
}

static void on_restarted(void *data, struct slot *s UNUSED, enum restart_reason reason)
{
    struct pool *p = data;

    p->restarts[reason]++;
}

static void on_start_failed(void *data, struct slot *s, const struct spawn_error *error)
{
    struct pool *p = data;

    p->ops->start_failed(p->data, p, error, s->reason);
}

static const struct slot_ops slot_ops = {
    .outcome = on_outcome,
    .down = on_down,
    .changed = on_changed,
    .restore = on_restore,
    .bind = on_bind,
    .listen = on_listen,
    .must_listen = must_listen,
    .own_sockets = on_own_sockets,
    .ready = on_ready,
    .restarted = on_restarted,
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
        n += slot_is_ready(p->slots[i]) && p->slots[i]->retiring_ms == 0;
    return n;
}

/* Of the slots that are wanted. */
static int count_slots(const struct pool *p, bool (*is)(const struct slot *s))
{
    int n = 0;

    for (int i = 0; i < p->nslots && i < p->wanted; i++)
        n += is(p->slots[i]);
    return n;
}

int pool_finished(const struct pool *p)
{
    return count_slots(p, slot_is_finished);
}

/* A pool that has finished needs nobody, unless clients may come. */
int pool_min_ready(const struct pool *p)
{
    int n = count_of(p->gen->pool->min_ready, p->wanted - pool_finished(p));

    return n == 0 && (p->gen->nlisteners > 0 || p->discovery.n > 0) ? 1 : n;
}

int pool_broken(const struct pool *p)
{
    return count_slots(p, slot_is_broken);
}

bool pool_is_broken(const struct pool *p)
{
    int n = pool_broken(p);

    return n > 0 && n == p->wanted - pool_finished(p) && !p->stopping;
}

static bool has_failed(const struct slot *s)
{
    return slot_is_finished(s) && s->last_end != END_CLEAN;
}

bool pool_has_failed(const struct pool *p)
{
    return count_slots(p, has_failed) > 0;
}

bool pool_has_failures(const struct pool *p)
{
    for (int i = 0; i < p->nslots; i++)
        if (p->slots[i]->failures > 0)
            return true;
    return false;
}

static bool is_process_of(const struct worker *w, pid_t pid)
{
    for (; w; w = w->link)
        if (w->pid == pid || w->main_pid == pid)
            return true;
    return false;
}

bool pool_has_process(const struct pool *p, pid_t pid)
{
    for (int i = 0; i < p->nslots; i++) {
        const struct slot *s = p->slots[i];

        if (is_process_of(s->cur, pid) || is_process_of(s->next, pid) ||
            is_process_of(s->leaving, pid))
            return true;
    }
    return false;
}
