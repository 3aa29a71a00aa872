#include "cluster/queues.h"

#include <stdio.h>

#include "base/clock.h"
#include "base/log.h"
#include "cluster/pool.h"
#include "cluster/steering.h"

#define LOOK_MS       100
#define EMPTY_LOOKS   10   /* in a row, then it is left alone until connections wait */
#define CENSUS_MS     1000 /* between looks at single connections */
#define CENSUS_SHARE  100  /* of the time at most one part goes into that */
#define UNDO_MS       1000 /* between looks for what workers put on their sockets */
#define HEALS_MAX     10   /* of one slot in a second at once; a worker may go on for ever */
#define TELL_HEALS_MS 10000
#define LISTENERS_MAX (GENERATION_LISTENERS_MAX + DISCOVERY_MAX)

/* Whose queues ----------------------------------------------------------------------------------
 */

/* The listeners that the slot's worker has: those of its generation, and what it bound. */
static size_t list_own(const struct pool *p, const struct slot *s, struct listener **out)
{
    const struct generation *g = s->cur ? s->cur->gen : s->wanted;
    size_t n = 0;

    for (size_t i = 0; i < g->nlisteners; i++)
        if (!listener_is_shared(g->listeners[i]))
            out[n++] = g->listeners[i];
    for (size_t i = 0; i < p->discovery.n; i++)
        if (!s->cur || (s->cur->claims & (UINT32_C(1) << i)))
            out[n++] = p->discovery.items[i];
    return n;
}

static size_t list_shared(const struct pool *p, struct listener **out)
{
    size_t n = 0;

    for (size_t i = 0; i < p->gen->nlisteners; i++)
        if (listener_is_shared(p->gen->listeners[i]))
            out[n++] = p->gen->listeners[i];
    return n;
}

static bool has_listener(const struct listener *const *list, size_t n, const struct listener *l)
{
    for (size_t i = 0; i < n; i++)
        if (list[i] == l)
            return true;
    return false;
}

static bool generation_has(const struct generation *g, const struct listener *l)
{
    return has_listener((const struct listener *const *)g->listeners, g->nlisteners, l);
}

static bool owns(const struct pool *p, const struct slot *s, const struct listener *l)
{
    return generation_has(p->gen, l) || generation_has(s->wanted, l) ||
           (s->cur && generation_has(s->cur->gen, l)) ||
           has_listener((const struct listener *const *)p->discovery.items, p->discovery.n, l);
}

/* The slot whose socket it is; of a shared one the first slot. NULL: none of this pool. */
static struct slot *owner(const struct pool *p, const struct listener *l, int number)
{
    struct slot *s = number < p->nslots ? p->slots[number] : NULL;

    return s && owns(p, s, l) ? s : NULL;
}

static struct queue *queue_of(struct pool *p, struct slot *s, const struct listener *l)
{
    return listener_is_shared(l) ? &p->queues.shared : &s->queue;
}

static bool may_get_new(const struct slot *s)
{
    return slot_is_serving(s) && s->retiring_ms == 0;
}

static int count_serving(const struct pool *p)
{
    int n = 0;

    for (int i = 0; i < p->nslots; i++)
        n += may_get_new(p->slots[i]);
    return n;
}

static int count_masked(const struct pool *p)
{
    int n = 0;

    for (int i = 0; i < p->nslots; i++)
        n += may_get_new(p->slots[i]) && p->slots[i]->queue.masked;
    return n;
}

/* When to look ----------------------------------------------------------------------------------
 */

static void start_timer(struct pool *p)
{
    struct queues *q = &p->queues;

    if (ev_is_active(&q->timer))
        return;
    q->looked_ms = clock_boot_ms();
    ev_timer_set(&q->timer, LOOK_MS / 1000., LOOK_MS / 1000.);
    ev_now_update(p->starts_due->loop);
    ev_timer_start(p->starts_due->loop, &q->timer);
}

static void begin(struct pool *p, struct queue *q)
{
    q->empty = 0;
    q->sampled = true;
    start_timer(p);
}

/* Nothing is left in the queue: the next connection will tell. */
static void leave_alone(struct queue *q, struct listener **list, size_t n, int slot)
{
    q->sampled = false;
    for (size_t i = 0; i < n; i++)
        listener_arm(list[i], slot);
}

void queues_look(struct pool *p, struct slot *s)
{
    if (s->queue.pid)
        begin(p, &s->queue);
}

/* Nothing more is to be proved. */
static void look_away(struct queue *q)
{
    accept_census_end(&q->census);
    q->census_ms = 0;
    q->stands = false;
}

/* Slots that stay down ------------------------------------------------------------------------- */

void queues_rescue(struct pool *p, struct slot *s)
{
    struct listener *list[LISTENERS_MAX];
    size_t n = list_own(p, s, list);
    int moved = 0;

    for (size_t i = 0; i < n; i++) {
        int r = listener_rescue(list[i], s->index);

        moved += r > 0 ? r : 0;
    }
    if (moved > 0)
        log_info(&s->who, "moved %d waiting connections to other workers", moved);
}

static bool stays_down(const struct slot *s)
{
    return s->state == SLOT_BACKOFF || s->state == SLOT_BROKEN || s->state == SLOT_FINISHED;
}

static void rescue_all(struct pool *p)
{
    for (int i = 0; i < p->nslots; i++)
        if (stays_down(p->slots[i]))
            queues_rescue(p, p->slots[i]);
}

/* A worker that comes finds what waited for it; nobody is judged for the time before. */
void queues_changed(struct pool *p, struct slot *s)
{
    pid_t pid = slot_is_serving(s) ? s->cur->pid : 0;
    struct queue *q = &s->queue;

    if (stays_down(s))
        queues_rescue(p, s);
    if (q->pid == pid)
        return;
    q->pid = pid;
    q->masked = q->sampled = false;
    q->waiting = 0;
    q->hang = (struct hang){0};
    q->verdict = HANG_NONE;
    look_away(q);
    if (pid) {
        begin(p, q);
        begin(p, &p->queues.shared);
        steering_note(&p->discovery, p->gen, s);
        rescue_all(p);
    }
}

bool queues_waiting(struct pool *p, struct listener *l, int number)
{
    struct slot *s = owner(p, l, number);

    if (!s)
        return false;
    if (listener_is_shared(l))
        begin(p, &p->queues.shared);
    else
        queues_look(p, s);
    return true;
}

/* Workers that hang -----------------------------------------------------------------------------
 */

static bool is_steered(struct listener *const *list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!listener_is_steered(list[i]))
            return false;
    return true;
}

static void set_hung(struct slot *s, bool hung)
{
    bool was = s->cur->state == WORKER_HUNG;

    worker_set_hung(s->cur, hung);
    if (hung && !was)
        log_warn(&s->cur->who, "hung: accepts none of %d waiting connections%s", s->queue.waiting,
                 s->queue.masked ? ": new ones go to other workers" : "");
    else if (was && !hung)
        log_info(&s->cur->who, "accepts connections again");
    if (was != hung)
        s->ops->changed(s->data, s);
}

static void set_masked(struct pool *p, struct slot *s, bool wanted)
{
    struct queue *q = &s->queue;

    if (q->masked == wanted || (wanted && !hang_may_mask(count_serving(p), count_masked(p))))
        return;
    q->masked = wanted;
    log_debug(&s->cur->who, wanted ? "seems to stand still: new connections go elsewhere"
                                   : "gets new connections again");
    steering_note(&p->discovery, p->gen, s);
    pool_steer(p);
}

static void describe_hang(const struct queue *q, char *what, size_t size)
{
    snprintf(what, size, "hung: accepted none of %d waiting connections for %lld s", q->waiting,
             (long long)(clock_ms() - q->hang.since_ms) / 1000);
}

static void kill_hung(struct pool *p, struct slot *s)
{
    char what[128];

    describe_hang(&s->queue, what, sizeof(what));
    slot_sick(s, RESTART_HANG, what);
    queues_rescue(p, s);
}

static void judge(struct pool *p, struct slot *s, enum hang_verdict verdict)
{
    set_masked(p, s, verdict != HANG_NONE);
    set_hung(s, verdict >= HANG_HUNG);
    if (verdict == HANG_KILL)
        kill_hung(p, s);
}

/* The queue cannot be kept from growing, so its connections are looked at one by one. */
static void look_closely(struct queue *q, struct listener *const *list, size_t n,
                         struct hang_sample *sample)
{
    if (clock_ms() >= q->census_ms) {
        int r = accept_census_take(&q->census, list, n);
        int64_t pause_ms = CENSUS_SHARE * q->census.took_us / 1000;

        q->stands = r == 0;
        q->census_ms = clock_ms() + (pause_ms > CENSUS_MS ? pause_ms : CENSUS_MS);
        sample->taken = sample->taken || r > 0;
    }
    sample->certain = q->stands;
}

/* `alone`: new connections can go nowhere else. Before the end of a worker whose queue may have
 * moved since the last census there is one more. */
static enum hang_verdict weigh(struct queue *q, struct listener *const *list, size_t n,
                               struct hang_sample *sample, bool alone, int64_t timeout_ms)
{
    if (!alone)
        look_away(q);
    else if (q->verdict != HANG_NONE)
        look_closely(q, list, n, sample);
    q->verdict = hang_look(&q->hang, sample, timeout_ms, clock_ms());
    if (q->verdict == HANG_KILL && alone && accept_census_take(&q->census, list, n) != 0) {
        q->hang = (struct hang){0};
        q->verdict = HANG_NONE;
    }
    if (q->verdict == HANG_NONE)
        look_away(q);
    return q->verdict;
}

/* `serving`: slots that new connections may go to. */
static void look_at(struct pool *p, struct slot *s, int serving)
{
    struct listener *list[LISTENERS_MAX];
    size_t n = list_own(p, s, list);
    struct listener_sample sum = {0};
    struct hang_sample sample;
    struct queue *q = &s->queue;

    for (size_t i = 0; i < n; i++)
        listener_sample(list[i], s->index, &sum);
    q->waiting = sum.waiting;
    q->empty = sum.waiting ? 0 : q->empty + 1;
    sample = (struct hang_sample){.waiting = sum.waiting > 0,
                                  .taken = sum.taken,
                                  .certain = q->masked && !sum.grown && is_steered(list, n)};
    if (s->retiring_ms > 0)
        q->hang = (struct hang){0}; /* it ends anyway, and later than a worker that hangs */
    else
        judge(p, s,
              weigh(q, list, n, &sample, serving == 1 && !q->masked,
                    s->cur->gen->pool->hang_timeout_ms));
    if (q->empty >= EMPTY_LOOKS)
        leave_alone(q, list, n, s->index);
}

/* Nobody knows which of them it is. The one that has served longest goes; when its successor does
 * not help, the next follows. */
static struct slot *find_oldest(const struct pool *p)
{
    struct slot *oldest = NULL;

    for (int i = 0; i < p->nslots; i++) {
        struct slot *s = p->slots[i];

        if (slot_is_serving(s) && (!oldest || s->cur->ready_ms < oldest->cur->ready_ms))
            oldest = s;
    }
    return oldest;
}

static void judge_shared(struct pool *p, enum hang_verdict before, enum hang_verdict verdict)
{
    const struct log_who who = {.pool = pool_name(p), .slot = -1};
    struct queue *q = &p->queues.shared;
    char what[128];

    if (verdict >= HANG_HUNG && before < HANG_HUNG)
        log_warn(&who, "no worker accepts any of %d connections that wait for all of them",
                 q->waiting);
    if (verdict != HANG_KILL)
        return;
    describe_hang(q, what, sizeof(what));
    q->hang = (struct hang){0};
    slot_sick(find_oldest(p), RESTART_HANG, what);
}

static void look_at_shared(struct pool *p, int serving)
{
    struct listener *list[LISTENERS_MAX];
    size_t n = list_shared(p, list);
    struct listener_sample sum = {0};
    struct queue *q = &p->queues.shared;
    enum hang_verdict before = q->verdict;
    struct hang_sample sample;

    for (size_t i = 0; i < n; i++)
        listener_sample(list[i], 0, &sum);
    q->waiting = sum.waiting;
    q->empty = sum.waiting && serving > 0 ? 0 : q->empty + 1;
    sample = (struct hang_sample){.waiting = sum.waiting > 0 && serving > 0, .taken = sum.taken};
    judge_shared(p, before, weigh(q, list, n, &sample, true, p->gen->pool->hang_timeout_ms));
    if (q->empty < EMPTY_LOOKS)
        return;
    q->sampled = false;
    if (serving > 0)
        leave_alone(q, list, n, 0);
}

/* The machine or the master stood still, and the workers may have too. */
static void forgive(struct pool *p, int64_t gap_ms)
{
    log_debug(&(struct log_who){.pool = pool_name(p), .slot = -1},
              "queues were not looked at for %lld ms: no worker is judged by that",
              (long long)gap_ms);
    for (int i = 0; i < p->nslots; i++)
        hang_forgive(&p->slots[i]->queue.hang, gap_ms, p->slots[i]->wanted->pool->hang_timeout_ms,
                     clock_ms());
    hang_forgive(&p->queues.shared.hang, gap_ms, p->gen->pool->hang_timeout_ms, clock_ms());
}

/* Sockets that workers damage -------------------------------------------------------------------
 */

static void tell_heals(struct queue *q, const struct slot *s, const struct listener *l)
{
    int64_t now_ms = clock_ms();

    q->untold++;
    if (q->told_ms > 0 && now_ms - q->told_ms < TELL_HEALS_MS)
        return;
    log_warn(s->cur ? &s->cur->who : &s->who,
             "a worker shut the socket of %s down: it listens again (%u time%s)",
             listener_address(l), q->untold, q->untold == 1 ? "" : "s");
    q->told_ms = now_ms;
    q->untold = 0;
}

static void heal(struct pool *p, struct slot *s, struct listener *l)
{
    struct queue *q = queue_of(p, s, l);
    int r = listener_heal(l, s->index);

    if (r < 0)
        log_warn(&s->who,
                 "the socket of %s was shut down and cannot be healed before the next start: %s",
                 listener_address(l), strerror(-r));
    if (r <= 0)
        return;
    p->queues.heals++;
    steering_note(&p->discovery, p->gen, s);
    pool_steer(p);
    tell_heals(q, s, l);
    queues_look(p, s);
}

static void heal_generation(struct pool *p, struct slot *s, const struct generation *g)
{
    for (size_t i = 0; i < g->nlisteners; i++)
        heal(p, s, g->listeners[i]);
}

/* Those of the slot that were put off, wherever they belong. */
static void heal_all(struct pool *p, struct slot *s)
{
    s->queue.shut = false;
    heal_generation(p, s, p->gen);
    heal_generation(p, s, s->wanted);
    if (s->cur)
        heal_generation(p, s, s->cur->gen);
    for (size_t i = 0; i < p->discovery.n; i++)
        heal(p, s, p->discovery.items[i]);
}

/* Further ones wait for the timer. */
static bool may_heal(struct queue *q)
{
    int64_t now_ms = clock_ms();

    if (now_ms - q->heals_ms >= 1000) {
        q->heals_ms = now_ms;
        q->heals = 0;
    }
    return q->heals++ < HEALS_MAX;
}

bool queues_hangup(struct pool *p, struct listener *l, int number)
{
    struct slot *s = owner(p, l, number);
    struct queue *q;

    if (!s)
        return false;
    if (p->stopping)
        return true; /* it goes with the pool */
    listener_note_shut(l, number);
    q = queue_of(p, s, l);
    if (may_heal(q)) {
        heal(p, s, l);
    } else {
        s->queue.shut = true;
        start_timer(p);
    }
    return true;
}

static void undo_one(const struct pool *p, struct listener *l)
{
    if (listener_undo(l) > 0)
        log_warn(&(struct log_who){.pool = pool_name(p), .slot = -1},
                 "a worker had put a filter on a socket of %s: taken off", listener_address(l));
}

static void undo(struct pool *p)
{
    for (size_t i = 0; i < p->gen->nlisteners; i++)
        undo_one(p, p->gen->listeners[i]);
    for (size_t i = 0; i < p->discovery.n; i++)
        undo_one(p, p->discovery.items[i]);
}

/* The timer -------------------------------------------------------------------------------------
 */

/* From the end, since slots that are down may go. Returns whether there is a reason to look again.
 */
static bool look_at_all(struct pool *p)
{
    int serving = count_serving(p);
    bool again = false;

    for (int i = p->nslots; i-- > 0;) {
        struct slot *s = p->slots[i];

        if (s->queue.shut)
            heal_all(p, s);
        if (s->queue.sampled)
            look_at(p, s, serving);
    }
    if (p->queues.shared.sampled)
        look_at_shared(p, serving);
    for (int i = 0; i < p->nslots; i++)
        again = again || p->slots[i]->queue.sampled || p->slots[i]->queue.shut;
    return again || p->queues.shared.sampled;
}

static void on_timer(struct ev_loop *loop, ev_timer *timer, int events UNUSED)
{
    struct pool *p = timer->data;
    struct queues *q = &p->queues;
    int64_t now_ms = clock_boot_ms(), gap_ms = now_ms - q->looked_ms - LOOK_MS;

    q->looked_ms = now_ms;
    if (gap_ms > LOOK_MS)
        forgive(p, gap_ms);
    if (now_ms - q->undone_ms >= UNDO_MS) {
        q->undone_ms = now_ms;
        undo(p);
    }
    if (!look_at_all(p))
        ev_timer_stop(loop, timer);
    scaling_sample(p);
}

void queues_init(struct pool *p)
{
    ev_init(&p->queues.timer, on_timer);
    p->queues.timer.data = p;
}

void queues_stop(struct pool *p)
{
    look_away(&p->queues.shared);
    ev_timer_stop(p->starts_due->loop, &p->queues.timer);
}
