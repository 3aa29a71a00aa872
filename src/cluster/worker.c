#include "cluster/worker.h"

#include <signal.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/sys.h"
#include "cluster/launch.h"
#include "cluster/worker_parts.h"
#include "mechanism/oom_watch.h"
#include "mechanism/orphans.h"
#include "mechanism/timer.h"

#define ABORT_GRACE_MS  5000 /* for a core dump; never longer than stop-timeout */
#define LOOK_AGAIN_MS   10
#define STUCK_GRACE_MS  5000    /* KILL acts at once, but for uninterruptible sleep or a freezer */
#define EXTEND_LIMIT_MS 3600000 /* what one EXTEND_TIMEOUT_USEC may ask for */

uid_t worker_uid(const struct worker *w)
{
    return w->gen->user.set ? w->gen->user.uid : geteuid();
}

static void arm_deadline(struct worker *w, ev_timer *timer, struct deadline *d, int64_t ms)
{
    deadline_set(d, ms, clock_ms());
    timer_arm_ms(w->loop, timer, ms);
}

/* The timer fired. If it is not over, it was armed again. */
static bool is_over(struct worker *w, ev_timer *timer, struct deadline *d)
{
    int64_t now_ms = clock_ms();

    if (deadline_passed(d, now_ms))
        return true;
    timer_arm_ms(w->loop, timer, deadline_left_ms(d, now_ms));
    return false;
}

static void on_watchdog(struct ev_loop *loop UNUSED, ev_timer *timer, int events UNUSED)
{
    struct worker *w = timer->data;

    if (is_over(w, timer, &w->watchdog_due))
        w->ops->sick(w->data, w, RESTART_WATCHDOG, "missed its watchdog");
}

static bool was_ready(const struct worker *w)
{
    return w->state == WORKER_READY || w->state == WORKER_HUNG;
}

void worker_feed_watchdog(struct worker *w)
{
    if (w->gen->pool->watchdog_ms > 0 && was_ready(w))
        arm_deadline(w, &w->watchdog, &w->watchdog_due, w->gen->pool->watchdog_ms);
}

static void become_ready(void *data)
{
    struct worker *w = data;

    if (w->state != WORKER_STARTING)
        return;
    readiness_end(&w->readiness);
    w->state = WORKER_READY;
    w->ready_ms = clock_ms();
    worker_feed_watchdog(w);
    w->ops->ready(w->data, w);
}

/* The end ------------------------------------------------------------------------------------ */

/* The process group that is its own still: that of the first process until it was reaped and as
 * long as the main process is in it, else the main process' if that leads one. 0: none. */
static pid_t own_group(const struct worker *w)
{
    pid_t group = w->orphaned ? getpgid(w->main_pid) : w->pid;

    return group == w->pid || group == w->main_pid ? group : 0;
}

static void kill_own_group(const struct worker *w)
{
    pid_t group = own_group(w);

    if (group > 0)
        kill(-group, SIGKILL);
}

static void signal_main(const struct worker *w, int signo)
{
    if (w->main_io.fd >= 0)
        sys_pidfd_kill(w->main_io.fd, signo);
    else if (!w->orphaned)
        kill(w->pid, signo);
}

static void kill_group(struct worker *w)
{
    kill_own_group(w);
    signal_main(w, SIGKILL); /* right after the fork it may not lead a group yet */
    w->killed = true;
}

void worker_arm_end(struct worker *w, int64_t ms)
{
    arm_deadline(w, &w->end_timer, &w->end_due, ms);
}

static void on_end_timer(struct ev_loop *loop UNUSED, ev_timer *timer, int events UNUSED)
{
    struct worker *w = timer->data;

    if (!is_over(w, timer, &w->end_due))
        return;
    if (!w->killed) {
        log_warn(&w->who, "did not stop in time: killing its process group");
        kill_group(w);
        worker_arm_end(w, STUCK_GRACE_MS);
        return;
    }
    log_error(&w->who, "cannot be killed (uninterruptible or frozen): going on without it");
    w->ops->stuck(w->data, w);
}

void worker_signal(struct worker *w, int signo)
{
    if (w->state != WORKER_GONE)
        signal_main(w, signo);
}

void worker_end(struct worker *w, enum worker_end how)
{
    int64_t stop_ms = w->gen->pool->stop_timeout_ms;
    int64_t abort_ms = stop_ms < ABORT_GRACE_MS ? stop_ms : ABORT_GRACE_MS;

    if (w->state == WORKER_GONE || w->killed)
        return;
    readiness_end(&w->readiness);
    ev_timer_stop(w->loop, &w->watchdog);
    w->state = WORKER_DRAINING;
    if (how == WORKER_END_KILL) {
        kill_group(w);
        worker_arm_end(w, STUCK_GRACE_MS);
        return;
    }
    worker_signal(w, how == WORKER_END_ABORT ? SIGABRT : (int)w->gen->pool->stop_signal);
    worker_arm_end(w, how == WORKER_END_ABORT ? abort_ms : stop_ms);
}

static void set_exit(struct worker *w, int code, int status)
{
    if (w->exit.kind == WORKER_EXIT_START)
        return;
    w->exit.kind = code == CLD_EXITED ? WORKER_EXIT_CODE : WORKER_EXIT_SIGNAL;
    w->exit.code = status;
}

static void stop_watching(struct worker *w)
{
    readiness_end(&w->readiness);
    ev_timer_stop(w->loop, &w->watchdog);
    ev_timer_stop(w->loop, &w->end_timer);
    ev_timer_stop(w->loop, &w->look_timer);
    if (w->result_io.fd >= 0) {
        ev_io_stop(w->loop, &w->result_io);
        close(w->result_io.fd);
        w->result_io.fd = -1;
    }
    if (w->main_io.fd >= 0) {
        ev_io_stop(w->loop, &w->main_io);
        close(w->main_io.fd);
        w->main_io.fd = -1;
    }
    notify_server_close(w->notify);
    w->notify = NULL;
    adopter_close(w->adopter);
    w->adopter = NULL;
}

static bool is_killed_by_others(const struct worker *w)
{
    return w->exit.kind == WORKER_EXIT_SIGNAL && w->exit.code == SIGKILL && !w->killed;
}

static enum restart_reason ended_of(const struct worker *w)
{
    if (w->told_for != RESTART_NONE)
        return w->told_for;
    if (is_killed_by_others(w) && oom_watch_take() == 1)
        return RESTART_OOM;
    return w->exit.kind == WORKER_EXIT_SIGNAL ? RESTART_SIGNAL : RESTART_EXIT;
}

static void worker_over(struct worker *w)
{
    kill_own_group(w); /* leftovers would go on accepting from the slot's socket */
    w->state = WORKER_GONE;
    w->exit.reason = ended_of(w);
    w->exit.at_wall_ms = clock_wall_ms();
    stop_watching(w);
    w->ops->gone(w->data, w);
}

/* The start ---------------------------------------------------------------------------------- */

static int on_bind(void *data, const struct adopter_bind *b)
{
    struct worker *w = data;

    return w->ops->bind(w->data, w, b);
}

static int on_listen(void *data, pid_t pid UNUSED, uint64_t inode, int backlog UNUSED)
{
    struct worker *w = data;
    int64_t how = w->gen->pool->ready;
    int r = w->ops->listen(w->data, w, inode);

    if (r == 0 && (how == READY_AUTO || how == READY_LISTEN))
        become_ready(w);
    return r;
}

/* Said once for all workers of a generation. */
static void on_blind(void *data, const char *reason)
{
    struct worker *w = data;

    if (!w->gen->told_blind)
        log_warn(&w->who,
                 "adoption does not work for this program (%s): it must take its sockets "
                 "from the environment",
                 reason);
    w->gen->told_blind = true;
}

const struct adopter_ops worker_adopter_ops = {
    .bind = on_bind, .listen = on_listen, .blind = on_blind};

static void begin_adoption(struct worker *w, const struct spawn_outcome *outcome)
{
    int r = outcome->filter_err ? -outcome->filter_err : 0;

    if (outcome->notify_fd >= 0)
        r = adopter_open(w->loop, outcome->notify_fd, &worker_adopter_ops, w, &w->adopter);
    if (r < 0)
        on_blind(w, strerror(-r));
}

/* Takes what the child reported on its way to exec; returns false while that is not known. */
static bool take_result(struct worker *w)
{
    struct spawn_outcome outcome;
    int r;

    if (w->result_io.fd < 0)
        return true;
    r = spawn_result(w->result_io.fd, &outcome);
    begin_adoption(w, &outcome);
    if (r == -EAGAIN)
        return false;
    ev_io_stop(w->loop, &w->result_io);
    close(w->result_io.fd);
    w->result_io.fd = -1;
    if (r == 0) {
        w->exit.kind = WORKER_EXIT_START;
        w->exit.error = outcome.error;
    } else {
        w->gen->ran = true;
    }
    return true;
}

/* Calls that pass by the filter: io_uring, a foreign architecture. Said once for each worker. */
static void look_for_own_sockets(struct worker *w)
{
    CLEANUP_BUF struct buf own = BUF_INIT;

    if (w->own[0] || !w->adopter || w->ops->own_sockets(w->data, w, &own) <= 0)
        return;
    snprintf(w->own, sizeof(w->own), "%s", buf_str(&own));
    log_warn(
        &w->who,
        "listens on %s past adoption: no other worker shares that and no queue is kept; let it "
        "take its socket from LISTEN_FDS",
        w->own);
}

static void says_ready(struct worker *w)
{
    if (w->gen->pool->ready == READY_PROBE)
        return;
    if (w->state == WORKER_STARTING) {
        take_result(w); /* it was sent before, but one turn of the loop may bring both */
        look_for_own_sockets(w);
    }
    become_ready(w);
}

void worker_probed(struct worker *w)
{
    if (w->gen->pool->ready == READY_PROBE)
        become_ready(w);
}

/* Alive for ready-delay is enough for those that cannot be seen to listen. */
static bool goes_on_waiting(void *data)
{
    struct worker *w = data;

    look_for_own_sockets(w);
    return w->adopter && w->ops->must_listen(w->data);
}

static const struct readiness_ops readiness_ops = {.found = become_ready,
                                                   .goes_on_waiting = goes_on_waiting};

void worker_await_ready(struct worker *w)
{
    readiness_begin(&w->readiness, w->loop, w->gen, w->slot, w->main_pid, &readiness_ops, w);
}

static void on_result(struct ev_loop *loop UNUSED, ev_io *io, int events UNUSED)
{
    struct worker *w = io->data;

    if (!take_result(w) || w->exit.kind == WORKER_EXIT_START || w->state != WORKER_STARTING)
        return; /* after a failure the child ends at once and worker_child_gone() follows */
    worker_await_ready(w);
}

/* The main process ended that was not the one we forked; its status is the reaper's business. */
static void on_main_gone(struct ev_loop *loop UNUSED, ev_io *io, int events UNUSED)
{
    struct worker *w = io->data;
    struct sys_proc proc;

    if (sys_proc_stat(w->main_pid, &proc) == 0 && proc.ppid == getpid())
        ev_io_stop(w->loop, io); /* it was left to us: the reaper will tell how it ended */
    else
        worker_over(w);
}

static void set_main_pid(struct worker *w, pid_t pid)
{
    int fd = sys_pidfd_open(pid);

    if (fd < 0) {
        log_warn(&w->who, "main process %d cannot be watched: %s", (int)pid, strerror(-fd));
        return;
    }
    if (w->main_io.fd >= 0) {
        ev_io_stop(w->loop, &w->main_io);
        close(w->main_io.fd);
    }
    ev_io_init(&w->main_io, on_main_gone, fd, EV_READ);
    w->main_io.data = w;
    ev_io_start(w->loop, &w->main_io);
    ev_timer_stop(w->loop, &w->look_timer);
    w->main_pid = pid;
    w->readiness.pid = pid;
    notify_server_set_owner(w->notify, pid, worker_uid(w));
    log_info(&w->who, "main process is now %d", (int)pid);
}

void worker_look_again(struct worker *w)
{
    timer_arm_ms(w->loop, &w->look_timer, LOOK_AGAIN_MS);
}

/* A server that goes into the background, in one step or two: its process ends well and leaves one
 * to us. Once it is ready only one in a session of its own counts; others are leftovers. */
static bool is_in_background(struct worker *w)
{
    char entry[128];
    pid_t pid;

    if (w->state == WORKER_DRAINING || clock_ms() - w->started_ms > w->gen->pool->start_timeout_ms)
        return false;
    snprintf(entry, sizeof(entry), "NOTIFY_SOCKET=%s", notify_server_address(w->notify));
    pid = orphan_find(w->state == WORKER_STARTING ? 0 : w->pid, entry);
    if (pid > 0)
        set_main_pid(w, pid);
    if (pid == -EAGAIN)
        worker_look_again(w);
    return pid == -EAGAIN || (pid > 0 && w->main_pid == pid);
}

static void on_look_timer(struct ev_loop *loop UNUSED, ev_timer *timer, int events UNUSED)
{
    struct worker *w = timer->data;

    if (!is_in_background(w))
        worker_over(w);
}

static bool went_into_background(struct worker *w, int code, int status)
{
    set_exit(w, code, status);
    if (w->main_io.fd >= 0)
        ev_io_stop(w->loop, &w->main_io); /* its end is known */
    return code == CLD_EXITED && status == 0 && is_in_background(w);
}

static void extend(struct worker *w, uint64_t usec)
{
    int64_t ms = usec / 1000 < EXTEND_LIMIT_MS ? (int64_t)(usec / 1000) : EXTEND_LIMIT_MS;

    if (w->state == WORKER_STARTING)
        w->ops->extend_start(w->data, w, ms);
    else if (ev_is_active(&w->end_timer) && !w->killed &&
             deadline_left_ms(&w->end_due, clock_ms()) < ms)
        worker_arm_end(w, ms);
}

static void on_notify(void *data, const struct notify_msg *msg, pid_t sender UNUSED)
{
    struct worker *w = data;

    if (msg->bits & NOTIFY_STATUS)
        memcpy(w->status, msg->status, sizeof(w->status));
    if ((msg->bits & NOTIFY_MAINPID) && msg->main_pid != w->main_pid &&
        sys_is_descendant(msg->main_pid, w->main_pid))
        set_main_pid(w, msg->main_pid);
    if (msg->bits & NOTIFY_EXTEND_TIMEOUT)
        extend(w, msg->extend_usec);
    if (msg->bits & NOTIFY_WATCHDOG)
        worker_feed_watchdog(w);
    if ((msg->bits & NOTIFY_STOPPING) && was_ready(w)) {
        w->state = WORKER_DRAINING;
        ev_timer_stop(w->loop, &w->watchdog);
        worker_arm_end(w, w->gen->pool->stop_timeout_ms);
        log_info(&w->who, "says that it is stopping");
    }
    /* The last two may end in the owner's hands, which may free the worker. */
    if (msg->bits & NOTIFY_WATCHDOG_TRIGGER)
        w->ops->sick(w->data, w, RESTART_WATCHDOG, "triggered its watchdog");
    else if (msg->bits & NOTIFY_READY)
        says_ready(w);
}

const struct notify_server_ops worker_notify_ops = {.message = on_notify};

struct worker *worker_new(const struct worker_start *start)
{
    struct worker *w = calloc(1, sizeof(*w));

    if (!w)
        return NULL;
    w->ops = start->ops;
    w->data = start->data;
    w->loop = start->loop;
    w->gen = generation_ref(start->gen);
    w->slot = start->slot;
    w->started_for = start->reason;
    w->started_ms = clock_ms();
    ev_init(&w->watchdog, on_watchdog);
    ev_init(&w->end_timer, on_end_timer);
    ev_init(&w->look_timer, on_look_timer);
    ev_io_init(&w->result_io, on_result, -1, EV_READ);
    ev_io_init(&w->main_io, on_main_gone, -1, EV_READ);
    w->watchdog.data = w->end_timer.data = w->look_timer.data = w->result_io.data = w;
    return w;
}

/* Forks it, with pipes for its output where that is captured. */
static int run(struct worker *w, const struct worker_start *start, struct why *why)
{
    bool captured = w->gen->pool->output != OUTPUT_INHERIT;
    int outputs[OUTPUT_NSTREAMS] = {-1, -1}, result_fd = -1, r = 0;

    if (captured)
        r = worker_output_open(w->gen, w->slot, &w->output, outputs);
    if (r < 0)
        return why_fail_errno(why, r, "output");
    r = launch(start, notify_server_address(w->notify), captured ? outputs : NULL, &w->pid,
               &result_fd, why);
    for (int i = 0; i < OUTPUT_NSTREAMS; i++)
        util_close_p(&outputs[i]);
    if (r < 0)
        return r;
    if (captured)
        worker_output_set_pid(w->output, w->pid);
    ev_io_set(&w->result_io, result_fd, EV_READ);
    ev_io_start(w->loop, &w->result_io);
    return 0;
}

int worker_start(const struct worker_start *start, struct worker **out, struct why *why)
{
    struct worker *w = worker_new(start);
    int r;

    if (!w)
        return why_fail_errno(why, -ENOMEM, "worker");
    oom_watch_note();
    r = notify_server_open(w->loop, &worker_notify_ops, w, &w->notify);
    if (r < 0)
        why_fail_errno(why, r, "notify socket");
    else
        r = run(w, start, why);
    if (r < 0) {
        worker_free(w);
        return r;
    }
    w->main_pid = w->pid;
    w->who = (struct log_who){.pool = w->gen->pool->name, .slot = w->slot, .pid = w->pid};
    notify_server_set_owner(w->notify, w->pid, worker_uid(w));
    *out = w;
    return 0;
}

/* The end of its life, and questions ------------------------------------------------------------
 */

void worker_free(struct worker *w)
{
    if (!w)
        return;
    stop_watching(w);
    worker_output_release(w->output);
    generation_unref(w->gen);
    free(w);
}

bool worker_child_gone(struct worker *w, pid_t pid, int code, int status)
{
    if (w->state == WORKER_GONE || (pid != w->main_pid && (pid != w->pid || w->orphaned)))
        return false;
    if (pid == w->pid)
        take_result(w);
    if (pid == w->main_pid && !went_into_background(w, code, status))
        worker_over(w);
    else if (pid == w->pid)
        w->orphaned = true; /* and its main process was left to us */
    return true;
}

bool worker_is_ready(const struct worker *w)
{
    return w->state == WORKER_READY;
}

void worker_set_hung(struct worker *w, bool hung)
{
    if (was_ready(w))
        w->state = hung ? WORKER_HUNG : WORKER_READY;
}

const char *worker_state_name(enum worker_state state)
{
    static const char *const names[] = {"starting", "ready", "hung", "draining", "gone"};

    return names[state];
}

enum restart_end worker_exit_end(const struct worker_exit *e)
{
    if (e->kind == WORKER_EXIT_START)
        return restart_is_limit(e->error.err) ? END_LIMIT : END_FAILED;
    if (e->kind == WORKER_EXIT_NONE)
        return END_KILLED; /* another process was its parent, and nobody can tell */
    if (e->kind == WORKER_EXIT_SIGNAL && e->code == SIGKILL && e->reason != RESTART_OOM)
        return END_KILLED; /* no program does that to itself */
    return restart_end_of(e->kind == WORKER_EXIT_CODE, e->code);
}

void worker_exit_describe(const struct worker *w, struct buf *out)
{
    const struct worker_exit *e = &w->exit;

    switch (e->kind) {
    case WORKER_EXIT_NONE: buf_puts(out, "ended"); break;
    case WORKER_EXIT_CODE: buf_printf(out, "exited with status %d", e->code); break;
    case WORKER_EXIT_SIGNAL:
        buf_printf(out, "killed by %s", sys_signal_name(e->code));
        if (e->reason == RESTART_OOM)
            buf_puts(out, ": the kernel was out of memory for it");
        else if (is_killed_by_others(w))
            buf_puts(out, ", not by this master");
        break;
    case WORKER_EXIT_START:
        if (e->error.stage == SPAWN_STAGE_EXEC)
            buf_printf(out, "cannot run '%s': %s", w->gen->pool->command.items[0],
                       strerror(e->error.err));
        else
            buf_printf(out, "cannot start: %s: %s", spawn_stage_name(e->error.stage),
                       strerror(e->error.err));
        break;
    }
}
