#include "cluster/probing.h"

#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/socket.h>

#include "base/log.h"
#include "mechanism/observe.h"
#include "mechanism/probe.h"
#include "mechanism/timer.h"

/* A worker that starts: the first probe, and the longest wait before the next. */
#define START_FIRST_MS 50
#define START_LAST_MS  1000

/* Beside another worker, which takes most connections that come one by one: it is awake already. Of
 * many at once the other gets some. */
#define BURST_MAX 16

struct probing_target {
    struct probing *owner;
    struct slot *slot;
    struct worker *subject;          /* NULL: nobody yet */
    bool starting;                   /* it is asked whether it is ready yet */
    struct probe *probes[BURST_MAX]; /* the last ones */
    int waiting;                     /* for the results of so many */
    bool missed;                     /* one of them has met another worker */
    int burst;                       /* how many at once beside another worker */
    ev_timer due;
    int64_t wait_ms; /* of one that starts */
    unsigned failures;
};

/* Whom to ask ---------------------------------------------------------------------------------- */

static bool starts_by_probe(const struct worker *w)
{
    return w && w->state == WORKER_STARTING && w->gen->pool->ready == READY_PROBE;
}

/* While two workers share the socket nobody is blamed, as either may take the connection; but the
 * next one is asked until it was it that answered. */
static struct worker *find_subject(const struct slot *s)
{
    if (starts_by_probe(s->next))
        return s->next;
    if (starts_by_probe(s->cur))
        return s->cur;
    if (!slot_is_serving(s) || s->state == SLOT_REPLACING || s->next || s->leaving)
        return NULL;
    return settings_probes(s->cur->gen->pool) ? s->cur : NULL;
}

/* A start that waits for its turn: the worker is there soon. */
static bool is_about_to_start(const struct slot *s)
{
    bool starts = s->state == SLOT_STARTING ? !s->cur : s->state == SLOT_REPLACING && !s->next;

    return starts && s->wanted->pool->ready == READY_PROBE;
}

/* Where it is asked: its first TCP address with a socket of its own. */
static struct listener *find_listener(const struct probing_target *t, struct sockspec *to)
{
    const struct discovery *d = t->owner->discovery;
    const struct generation *g = t->subject->gen;
    int slot = t->slot->index;

    for (size_t i = 0; i < g->nlisteners; i++)
        if (!listener_is_shared(g->listeners[i]) && listener_fd(g->listeners[i], slot) >= 0 &&
            probe_target(listener_bound(g->listeners[i]), to))
            return g->listeners[i];
    for (size_t i = 0; i < d->n; i++)
        if (listener_is_listening(d->items[i], slot) &&
            probe_target(listener_bound(d->items[i]), to))
            return d->items[i];
    return NULL;
}

/* When ---------------------------------------------------------------------------------------- */

static void arm(struct probing_target *t, int64_t ms)
{
    timer_arm_ms(t->owner->loop, &t->due, ms);
}

/* Between these parts of a whole, in percent. */
static int64_t part(int64_t whole, int least, int most)
{
    return whole * (least * 10 + random() % ((most - least) * 10 + 1)) / 1000;
}

static void arm_next(struct probing_target *t)
{
    int64_t interval = t->subject->gen->pool->probe_interval_ms;

    if (!t->starting) {
        arm(t, part(interval, 90, 110));
        return;
    }
    arm(t, t->wait_ms < interval ? t->wait_ms : interval);
    t->wait_ms = t->wait_ms * 2 < START_LAST_MS ? t->wait_ms * 2 : START_LAST_MS;
}

/* What comes of it ---------------------------------------------------------------------------- */

static void on_failure(struct probing_target *t, const char *what)
{
    const struct pool_settings *pool = t->subject->gen->pool;
    struct slot *s = t->slot;
    char reason[256];

    if (t->starting) {
        log_debug(&t->subject->who, "not ready by its probe: %s", what);
        return;
    }
    t->failures++;
    log_warn(&t->subject->who, "probe failed (%u of %lld): %s", t->failures,
             (long long)pool->probe_failures, what);
    if (t->failures < pool->probe_failures)
        return;
    snprintf(reason, sizeof(reason), "failed %u probes in a row, the last with: %s", t->failures,
             what);
    slot_sick(s, RESTART_PROBE, reason); /* which may end this target */
}

static void on_done(void *data, enum probe_result result, const char *what)
{
    struct probing_target *t = data;

    t->waiting--;
    t->missed = t->missed || result == PROBE_ELSEWHERE;
    if (t->subject != find_subject(t->slot))
        return; /* it says that it is stopping */
    if (t->waiting == 0 && t->missed && t->starting)
        arm(t, START_FIRST_MS); /* bad luck, and no reason to wait longer */
    else if (t->waiting == 0)
        arm_next(t);
    if (result == PROBE_PASSED) {
        t->failures = 0;
        worker_probed(t->subject);
    } else if (result == PROBE_FAILED) {
        on_failure(t, what);
    }
}

/* Where the kernel does not let us look it cannot be told, and then it has to do. */
static bool is_meant(void *data, uint64_t inode)
{
    const struct probing_target *t = data;

    return observe_holding(t->subject->main_pid, inode) != 0;
}

/* Asking -------------------------------------------------------------------------------------- */

/* With it a connection is not accepted before the client has sent something. */
static bool defers_accept(const struct listener *l, int slot)
{
    int seconds = 0;
    socklen_t len = sizeof(seconds);

    getsockopt(listener_fd(l, slot), IPPROTO_TCP, TCP_DEFER_ACCEPT, &seconds, &len);
    return seconds > 0;
}

static void free_probes(struct probing_target *t)
{
    for (int i = 0; i < BURST_MAX; i++) {
        probe_free(t->probes[i]);
        t->probes[i] = NULL;
    }
    t->waiting = 0;
    t->missed = false;
}

static void ask(struct probing_target *t, const struct listener *l, const struct sockspec *to)
{
    static const struct probe_ops alone = {on_done, NULL}, beside = {on_done, is_meant};
    const struct slot *s = t->slot;
    const struct pool_settings *pool = t->subject->gen->pool;
    const struct probe_request request = {
        .to = *to,
        .slot = s->index,
        .path = streq(pool->probe, "tcp") ? NULL : pool->probe,
        .connect_is_enough = defers_accept(l, s->index),
        .timeout_ms = pool->probe_timeout_ms,
    };
    bool shared = t->subject != s->cur || s->leaving;
    int n = shared ? t->burst : 1, r = 0;

    free_probes(t);
    for (int i = 0; i < n && r == 0; i++) {
        r = probe_start(t->owner->loop, &request, shared ? &beside : &alone, t, &t->probes[i]);
        t->waiting++;
    }
    t->burst = n * 2 < BURST_MAX ? n * 2 : BURST_MAX;
    if (r < 0) /* other failures are our own */
        on_done(t, r == -ECONNREFUSED ? PROBE_FAILED : PROBE_ELSEWHERE, strerror(-r));
}

/* One that starts may still bind it. */
static void tell_nothing_to_probe(struct probing_target *t)
{
    if (t->starting || t->owner->told)
        return;
    t->owner->told = true;
    log_warn(&t->subject->who, "it has no TCP address that could be probed");
}

/* Slots --------------------------------------------------------------------------------------- */

/* From now on this one is asked, or nobody. What the last one answered is still read to its end. */
static void begin(struct probing_target *t, struct worker *subject)
{
    if (t->waiting > 0)
        free_probes(t);
    t->subject = subject;
    t->starting = subject && subject->state == WORKER_STARTING;
    t->failures = 0;
    t->wait_ms = START_FIRST_MS;
    t->burst = 2;
    ev_timer_stop(t->owner->loop, &t->due);
    if (subject && !t->starting)
        arm(t, part(subject->gen->pool->probe_interval_ms, 0, 100));
    else if (subject || is_about_to_start(t->slot))
        arm(t, START_FIRST_MS);
}

static void on_due(struct ev_loop *loop UNUSED, ev_timer *timer, int events UNUSED)
{
    struct probing_target *t = timer->data;
    struct worker *subject = find_subject(t->slot);
    struct listener *l;
    struct sockspec to;

    if (!subject || subject != t->subject) { /* a start that had waited for its turn */
        begin(t, subject);
        return;
    }
    l = find_listener(t, &to);
    if (l) {
        ask(t, l, &to);
        return;
    }
    tell_nothing_to_probe(t);
    arm_next(t);
}

static struct probing_target *target_new(struct probing *p, struct slot *s)
{
    int n = s->index < p->n ? p->n : s->index + 1;
    struct probing_target **targets = reallocarray(p->targets, (size_t)n, sizeof(*targets));
    struct probing_target *t = targets ? calloc(1, sizeof(*t)) : NULL;

    if (targets)
        p->targets = targets;
    while (targets && p->n < n)
        targets[p->n++] = NULL;
    if (!t) {
        log_error(&s->who, "cannot be probed: out of memory");
        return NULL;
    }
    t->owner = p;
    t->slot = s;
    ev_init(&t->due, on_due);
    t->due.data = t;
    targets[s->index] = t;
    return t;
}

static void target_free(struct probing_target *t)
{
    if (!t)
        return;
    ev_timer_stop(t->owner->loop, &t->due);
    free_probes(t);
    free(t);
}

void probing_note(struct probing *p, struct slot *s)
{
    struct probing_target *t = s->index < p->n ? p->targets[s->index] : NULL;
    struct worker *subject = find_subject(s);

    if (!t && (subject || is_about_to_start(s)))
        t = target_new(p, s);
    if (!t)
        return;
    if (t->subject != subject || t->starting != (subject && subject->state == WORKER_STARTING) ||
        (!subject && is_about_to_start(s)))
        begin(t, subject);
}

void probing_init(struct probing *p, struct ev_loop *loop, const struct discovery *discovery)
{
    *p = (struct probing){.loop = loop, .discovery = discovery};
}

void probing_shrink(struct probing *p, int nslots)
{
    while (p->n > nslots)
        target_free(p->targets[--p->n]);
}

void probing_free(struct probing *p)
{
    probing_shrink(p, 0);
    free(p->targets);
}
