#include "cluster/slot.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "cluster/slot_parts.h"
#include "mechanism/timer.h"
#include "policy/restart.h"

#define TELL_OUTPUT_MS 10000
#define LIMIT_WAIT_MS  5000 /* a limit of the system may be lifted any time */

/* The timer ----------------------------------------------------------------------------------- */

void slot_arm_ms(struct slot *s, int64_t ms)
{
    deadline_set(&s->due, ms, clock_ms());
    timer_arm_ms(s->loop, &s->timer, ms);
}

/* A failure of many workers, or again and again, is told with the words of one now and then. */
static void log_output(const struct worker *w, const struct last_lines *last)
{
    int64_t now_ms = clock_ms();

    if (w->gen->told_output_ms > 0 && now_ms - w->gen->told_output_ms < TELL_OUTPUT_MS)
        return;
    w->gen->told_output_ms = now_ms;
    for (unsigned i = 0; i < last_lines_count(last); i++) {
        size_t len;
        const char *line = last_lines_get(last, i, &len);

        log_warn(&w->who, "its last output: %.*s", (int)len, line);
    }
}

static void forget_output(struct slot *s)
{
    free(s->last_output);
    s->last_output = NULL;
}

/* Keeps what a worker wrote, when the slot's start or replacement fails with it. */
static void note_output(struct slot *s, const struct worker *w)
{
    const struct last_lines *last;

    if (w != s->next && (w != s->cur || (s->state != SLOT_STARTING && s->state != SLOT_PROVING)))
        return;
    forget_output(s);
    last = worker_output_last(w->output);
    if (!last || last->count == 0)
        return;
    log_output(w, last);
    s->last_output = malloc(sizeof(*last));
    if (s->last_output)
        *s->last_output = *last;
}

/* What a worker ends of is what the next one is started for. */
static void tell(struct slot *s, struct worker *w, enum restart_reason reason)
{
    if (w)
        w->told_for = reason;
    s->start_for = reason;
}

static bool is_unasked(enum restart_reason reason)
{
    return reason != RESTART_NONE && reason != RESTART_RELOAD && reason != RESTART_MANUAL;
}

/* Lines about what somebody asked for are not limited. */
static struct pool_log *log_of(const struct slot *s, enum restart_reason reason)
{
    return is_unasked(reason) ? s->log : NULL;
}

/* The end of the current worker, or what makes it necessary. */
static void judge(struct slot *s, enum restart_end end, bool was_ready)
{
    const struct pool_settings *pool = s->wanted->pool;
    struct restart_verdict verdict =
        restart_judge((enum restart_policy)pool->restart, end, was_ready);

    s->last_end = end;
    s->over = verdict.over;
    if (verdict.counts)
        breaker_fail(&s->breaker, pool->breaker_failures, pool->breaker_window_ms, clock_ms());
    if (s->next)
        breaker_try(&s->breaker); /* its successor is there already */
}

static void is_late(struct slot *s, struct worker *w)
{
    tell(s, w, RESTART_START_TIMEOUT);
    if (w && w->own[0])
        snprintf(s->reason, sizeof(s->reason), "not ready in time; it listens on %s by itself",
                 w->own);
    else
        snprintf(s->reason, sizeof(s->reason), "not ready in time");
    pool_log_failure(s->log, LOG_LEVEL_WARN, w ? &w->who : &s->who, "%s", s->reason);
    if (w)
        note_output(s, w);
    if (s->state == SLOT_STARTING)
        judge(s, END_FAILED, false);
}

static void on_timer(struct ev_loop *loop UNUSED, ev_timer *timer, int events UNUSED)
{
    struct slot *s = timer->data;
    int64_t now_ms = clock_ms();

    if (s->state == SLOT_STARTING || s->state == SLOT_REPLACING) {
        if (!deadline_passed(&s->due, now_ms)) {
            timer_arm_ms(s->loop, &s->timer, deadline_left_ms(&s->due, now_ms));
            return;
        }
        is_late(s, s->state == SLOT_STARTING ? s->cur : s->next);
    }
    slot_post(s, EVENT_TIMEOUT);
}

/* Workers ------------------------------------------------------------------------------------- */

bool slot_has_workers(const struct slot *s)
{
    return s->cur || s->next || s->leaving;
}

static int start_worker(struct slot *s, struct worker **place, struct why *why)
{
    const struct worker_start start = {
        .loop = s->loop,
        .ops = &slot_worker_ops,
        .data = s,
        .gen = s->wanted,
        .slot = s->index,
        .reason = s->start_for,
        .workers = s->wanted->workers,
        .starts = ++s->starts,
    };

    if (s->nstuck == SLOT_STUCK_MAX)
        return why_fail(why, -EBUSY, "%d processes of this slot cannot be killed", s->nstuck);
    return worker_start(&start, place, why);
}

/* Starts a worker into `place`; when that fails the loss of that worker is the next event. */
static void start_into(struct slot *s, struct worker **place, enum slot_event gone)
{
    enum restart_reason reason = s->start_for;
    struct why why;
    int r;

    if (s->start_for != RESTART_NONE)
        s->ops->restarted(s->data, s, s->start_for);
    s->restarts += is_unasked(s->start_for);
    /* A worker may have left flags, options or a short backlog on the socket. Not while another one
     * accepts from it: clearing O_NONBLOCK under an event loop would block it. */
    if (!slot_has_workers(s))
        s->ops->restore(s->data, s);
    r = start_worker(s, place, &why);
    s->start_for = RESTART_NONE;
    if (r == 0) {
        pool_log_line(log_of(s, reason), LOG_LEVEL_INFO, &(*place)->who, "started, generation %u",
                      s->wanted->number);
        return;
    }
    pool_log_failure(s->log, LOG_LEVEL_ERROR, &s->who, "cannot start a worker: %s", why.text);
    snprintf(s->reason, sizeof(s->reason), "%s", why.text);
    *place = NULL;
    forget_output(s);
    if (gone == EVENT_GONE)
        judge(s, restart_is_limit(-r) ? END_LIMIT : END_FAILED, false);
    slot_post(s, gone);
    s->ops->start_failed(s->data, s, &(struct spawn_error){.stage = SPAWN_STAGE_FORK, .err = -r});
}

/* Its turn to start has come, unless something else was decided meanwhile. */
static void run_start(struct start_item *item)
{
    struct slot *s = CONTAINER_OF(item, struct slot, start);

    if (s->state == SLOT_STARTING && !s->cur)
        start_into(s, &s->cur, EVENT_GONE);
    else if (s->state == SLOT_REPLACING && !s->next)
        start_into(s, &s->next, EVENT_NEXT_GONE);
}

static void let_go(struct slot *s, struct worker **place, enum worker_end how)
{
    struct worker *w = *place;

    if (!w)
        return;
    *place = NULL;
    w->link = s->leaving;
    s->leaving = w;
    worker_end(w, how);
}

/* Takes a worker that is gone out of its place; returns the event of its loss. */
static enum slot_event forget(struct slot *s, struct worker *w)
{
    if (w == s->cur) {
        s->cur = NULL;
        return EVENT_GONE;
    }
    if (w == s->next) {
        s->next = NULL;
        return EVENT_NEXT_GONE;
    }
    for (struct worker **p = &s->leaving; *p; p = &(*p)->link)
        if (*p == w) {
            *p = w->link;
            break;
        }
    return EVENT_LEFT;
}

/* Of those that leave, the last one counts. */
static void post_loss(struct slot *s, enum slot_event event)
{
    if (event != EVENT_LEFT || !s->leaving)
        slot_post(s, event);
}

/* The actions of the table -------------------------------------------------------------------- */

static void act_disarm(struct slot *s)
{
    ev_timer_stop(s->loop, &s->timer);
}

static void act_count_failure(struct slot *s)
{
    s->failures++;
}

static void act_reset_failures(struct slot *s)
{
    s->failures = 0;
    if (s->breaker.state != BREAKER_CLOSED)
        pool_log_line(s->log, LOG_LEVEL_INFO, &s->who, "breaker closed");
    breaker_prove(&s->breaker);
}

static void act_try(struct slot *s)
{
    pool_log_line(s->log, LOG_LEVEL_INFO, &s->who, "breaker half-open: one start on trial");
    breaker_try(&s->breaker);
}

static void act_stop_cur(struct slot *s)
{
    if (s->cur)
        s->cur->told_for = s->next ? s->next->started_for : s->start_for;
    let_go(s, &s->cur, WORKER_END_STOP);
}

static void act_stop_next(struct slot *s)
{
    let_go(s, &s->next, WORKER_END_STOP);
}

static void act_abort_cur(struct slot *s)
{
    let_go(s, &s->cur, WORKER_END_ABORT);
}

static void act_kill_all(struct slot *s)
{
    let_go(s, &s->cur, WORKER_END_KILL);
    let_go(s, &s->next, WORKER_END_KILL);
    for (struct worker *w = s->leaving; w; w = w->link)
        worker_end(w, WORKER_END_KILL);
}

static void act_promote(struct slot *s)
{
    s->cur = s->next;
    s->next = NULL;
}

static void act_arm_start(struct slot *s)
{
    slot_arm_ms(s, s->wanted->pool->start_timeout_ms);
}

static void act_arm_prove(struct slot *s)
{
    slot_arm_ms(s, s->wanted->pool->min_uptime_ms);
}

static void act_arm_backoff(struct slot *s)
{
    const struct pool_settings *pool = s->wanted->pool;
    bool limit = s->last_end == END_LIMIT && pool->backoff_max_ms > LIMIT_WAIT_MS;
    int64_t ms = restart_delay_ms(s->failures, pool->backoff_ms,
                                  limit ? LIMIT_WAIT_MS : pool->backoff_max_ms, (uint32_t)random());

    pool_log_line(s->log, LOG_LEVEL_WARN, &s->who, "failed start number %u: next start in %lld ms",
                  s->failures, (long long)ms);
    slot_arm_ms(s, ms);
}

static void act_arm_cooldown(struct slot *s)
{
    int64_t ms = s->wanted->pool->breaker_cooldown_ms;

    pool_log_line(s->log, LOG_LEVEL_ERROR, &s->who,
                  "breaker open: too many failures: next start in %lld ms; the last: %s",
                  (long long)ms, s->reason);
    slot_arm_ms(s, ms);
}

/* Both are run by run_start(), which sees by the state what is due. */
static void act_spawn(struct slot *s)
{
    start_queue_add(s->starts_due, &s->start);
}

static void act_tell_failed(struct slot *s)
{
    s->ops->outcome(s->data, s, false);
}

static void act_tell_done(struct slot *s)
{
    s->ops->outcome(s->data, s, true);
}

static void act_tell_end(struct slot *s)
{
    s->ops->outcome(s->data, s, s->last_end == END_CLEAN);
}

static void act_tell_down(struct slot *s)
{
    s->start_for = RESTART_NONE;
    s->ops->down(s->data, s);
}

/* In the order of the bits of enum slot_action. */
static void (*const actions[])(struct slot *s) = {
    act_disarm,      act_count_failure, act_reset_failures, act_try,       act_stop_cur,
    act_stop_next,   act_abort_cur,     act_kill_all,       act_promote,   act_arm_start,
    act_arm_prove,   act_arm_backoff,   act_arm_cooldown,   act_spawn,     act_spawn,
    act_tell_failed, act_tell_done,     act_tell_end,       act_tell_down,
};

/* Events -------------------------------------------------------------------------------------- */

/* What the loss of a worker means for the slot, by the verdict over its end. */
static enum slot_event by_verdict(const struct slot *s, enum slot_event event)
{
    bool failed = s->state == SLOT_AILING || s->state == SLOT_FAILING;
    enum slot_event meant = event;

    if (event != EVENT_GONE && (event != EVENT_LEFT || !failed))
        return event;
    if (s->over)
        meant = EVENT_FINISH;
    else if (s->breaker.state == BREAKER_OPEN)
        meant = EVENT_TRIP;
    return slot_fsm_step(s->state, meant).valid ? meant : event;
}

static void step(struct slot *s, enum slot_event posted)
{
    enum slot_event event = by_verdict(s, posted);
    struct slot_cell cell = slot_fsm_step(s->state, event);

    if (!cell.valid) {
        log_error(&s->who, "event %s cannot happen while %s: ignored", slot_fsm_event_name(event),
                  slot_fsm_state_name(s->state));
        return;
    }
    log_debug(&s->who, "%s: %s -> %s", slot_fsm_event_name(event), slot_fsm_state_name(s->state),
              slot_fsm_state_name(cell.next));
    s->state = cell.next;
    for (size_t i = 0; i < ARRAY_SIZE(actions); i++)
        if (cell.actions & (1u << i))
            actions[i](s);
}

void slot_post(struct slot *s, enum slot_event event)
{
    step(s, event);
    if (slot_fsm_leaving(s->state) && !s->leaving)
        step(s, EVENT_LEFT);
    s->ops->changed(s->data, s); /* may free the slot */
}

static void on_worker_ready(void *data, struct worker *w)
{
    struct slot *s = data;

    pool_log_line(log_of(s, w->started_for), LOG_LEVEL_INFO, &w->who, "ready after %lld ms",
                  (long long)(w->ready_ms - w->started_ms));
    for (size_t i = 0; i < w->gen->nlisteners; i++)
        listener_restore_backlog(w->gen->listeners[i], s->index);
    s->ops->ready(s->data, s, w);
    if (w == s->cur)
        slot_post(s, EVENT_READY);
    else if (w == s->next)
        slot_post(s, EVENT_NEXT_READY);
}

static void on_worker_sick(void *data, struct worker *w, enum restart_reason reason,
                           const char *what)
{
    struct slot *s = data;

    if (w != s->cur && w != s->next)
        return; /* it is on its way out already */
    pool_log_failure(s->log, LOG_LEVEL_ERROR, &w->who, "%s: aborting it", what);
    snprintf(s->reason, sizeof(s->reason), "%s", what);
    tell(s, w, reason);
    note_output(s, w);
    if (w != s->cur) {
        worker_end(w, WORKER_END_ABORT);
        return;
    }
    judge(s, END_FAILED, w->ready_ms > 0);
    slot_post(s, EVENT_SICK);
}

/* Tells of an end in the log: an expected one quietly. */
static void log_end(struct slot *s, struct worker *w, const char *what)
{
    bool expected = w != s->cur && w != s->next;
    long long lived_ms = clock_ms() - w->started_ms;

    if (expected)
        pool_log_line(log_of(s, w->told_for), LOG_LEVEL_INFO, &w->who, "%s after %lld ms", what,
                      lived_ms);
    else
        pool_log_failure(s->log, LOG_LEVEL_WARN, &w->who, "%s after %lld ms", what, lived_ms);
}

static void on_worker_gone(void *data, struct worker *w)
{
    struct slot *s = data;
    struct spawn_error error = w->exit.error;
    bool never_ran = w->exit.kind == WORKER_EXIT_START;
    CLEANUP_BUF struct buf what = BUF_INIT;
    enum slot_event event;

    worker_exit_describe(w, &what);
    log_end(s, w, buf_str(&what));
    note_output(s, w);
    s->last_exit = w->exit;
    event = forget(s, w);
    if (event != EVENT_LEFT)
        snprintf(s->reason, sizeof(s->reason), "%s", buf_str(&what));
    if (event == EVENT_GONE) {
        s->start_for = s->last_exit.reason;
        judge(s, worker_exit_end(&s->last_exit), w->ready_ms > 0);
    }
    worker_free(w);
    post_loss(s, event);
    if (never_ran && event != EVENT_LEFT) /* then the slot is still wanted, and there */
        s->ops->start_failed(s->data, s, &error);
}

/* The process stays, but nothing waits for it any longer: one day it is reaped. */
static void on_worker_stuck(void *data, struct worker *w)
{
    struct slot *s = data;
    enum slot_event event = forget(s, w);

    if (s->nstuck < SLOT_STUCK_MAX)
        s->stuck[s->nstuck++] = w->orphaned ? w->main_pid : w->pid;
    worker_free(w);
    post_loss(s, event);
}

static void on_extend_start(void *data, struct worker *w, int64_t ms)
{
    struct slot *s = data;

    if ((w == s->cur || w == s->next) && ev_is_active(&s->timer) &&
        deadline_left_ms(&s->due, clock_ms()) < ms)
        slot_arm_ms(s, ms);
}

static int on_bind(void *data, struct worker *w, const struct adopter_bind *b)
{
    struct slot *s = data;

    return s->ops->bind(s->data, s, w, b);
}

static int on_listen(void *data, struct worker *w, uint64_t inode)
{
    struct slot *s = data;

    return s->ops->listen(s->data, s, w, inode);
}

static bool must_listen(void *data)
{
    struct slot *s = data;

    return s->ops->must_listen(s->data, s);
}

static int own_sockets(void *data, struct worker *w, struct buf *out)
{
    struct slot *s = data;

    return s->ops->own_sockets(s->data, s, w, out);
}

const struct worker_ops slot_worker_ops = {
    .ready = on_worker_ready,
    .sick = on_worker_sick,
    .gone = on_worker_gone,
    .stuck = on_worker_stuck,
    .extend_start = on_extend_start,
    .bind = on_bind,
    .listen = on_listen,
    .must_listen = must_listen,
    .own_sockets = own_sockets,
};

/* From above ---------------------------------------------------------------------------------- */

struct slot *slot_new(struct start_queue *starts_due, const struct slot_ops *ops, void *data,
                      struct pool_log *log, int index, struct generation *wanted)
{
    struct slot *s = calloc(1, sizeof(*s));

    if (!s)
        return NULL;
    s->ops = ops;
    s->data = data;
    s->log = log;
    s->loop = starts_due->loop;
    s->starts_due = starts_due;
    s->start.run = run_start;
    s->index = index;
    ev_init(&s->timer, on_timer);
    s->timer.data = s;
    slot_want(s, wanted);
    return s;
}

void slot_free(struct slot *s)
{
    ev_timer_stop(s->loop, &s->timer);
    start_queue_remove(s->starts_due, &s->start);
    generation_unref(s->wanted);
    accept_census_end(&s->queue.census);
    forget_output(s);
    free(s);
}

void slot_replace(struct slot *s, enum restart_reason reason)
{
    s->start_for = reason;
    slot_post(s, EVENT_REPLACE);
}

void slot_sick(struct slot *s, enum restart_reason reason, const char *what)
{
    if (s->cur)
        on_worker_sick(s, s->cur, reason, what);
}

void slot_want(struct slot *s, struct generation *wanted)
{
    generation_ref(wanted);
    generation_unref(s->wanted);
    s->wanted = wanted;
    s->who = (struct log_who){.pool = wanted->pool->name, .slot = s->index};
}

static bool stuck_is_gone(struct slot *s, pid_t pid)
{
    for (int i = 0; i < s->nstuck; i++)
        if (s->stuck[i] == pid) {
            s->stuck[i] = s->stuck[--s->nstuck];
            log_info(&(struct log_who){s->who.pool, s->index, pid}, "is gone after all");
            return true;
        }
    return false;
}

bool slot_child_gone(struct slot *s, pid_t pid, int code, int status)
{
    if ((s->cur && worker_child_gone(s->cur, pid, code, status)) ||
        (s->next && worker_child_gone(s->next, pid, code, status)))
        return true;
    for (struct worker *w = s->leaving, *link; w; w = link) {
        link = w->link;
        if (worker_child_gone(w, pid, code, status))
            return true;
    }
    return stuck_is_gone(s, pid);
}

int64_t slot_start_wait_ms(const struct slot *s)
{
    bool waits = s->state == SLOT_BACKOFF || s->state == SLOT_BROKEN;

    return waits ? deadline_left_ms(&s->due, clock_ms()) : 0;
}

void slot_signal(struct slot *s, int signo)
{
    if (s->cur)
        worker_signal(s->cur, signo);
    if (s->next)
        worker_signal(s->next, signo);
    for (struct worker *w = s->leaving; w; w = w->link)
        worker_signal(w, signo);
}

bool slot_is_ready(const struct slot *s)
{
    return slot_fsm_serving(s->state) && s->cur && worker_is_ready(s->cur);
}

bool slot_is_broken(const struct slot *s)
{
    return s->breaker.state != BREAKER_CLOSED && slot_fsm_wanted_up(s->state) && !slot_is_ready(s);
}

bool slot_is_finished(const struct slot *s)
{
    return s->state == SLOT_FINISHED;
}

bool slot_is_serving(const struct slot *s)
{
    return slot_is_ready(s) ||
           (slot_fsm_serving(s->state) && s->cur && s->cur->state == WORKER_HUNG);
}
