/* Handing a worker over to another program in this process. */
#include "base/clock.h"
#include "base/sys.h"
#include "cluster/worker_parts.h"

#define EXIT_NKINDS (WORKER_EXIT_START + 1)

static int64_t when_ms(struct worker *w, ev_timer *timer)
{
    if (ev_is_pending(timer))
        return clock_ms(); /* it fired, but its turn did not come before the upgrade's */
    if (!ev_is_active(timer))
        return 0;
    return clock_ms() + (int64_t)(ev_timer_remaining(w->loop, timer) * 1000.);
}

static const char *exit_kind_name(enum worker_exit_kind kind)
{
    static const char *const names[EXIT_NKINDS] = {"none", "code", "signal", "start"};

    return names[kind];
}

json_t *worker_exit_save(const struct worker_exit *e)
{
    return json_pack("{s:s, s:i, s:s, s:s, s:i, s:I}", "kind", exit_kind_name(e->kind), "code",
                     e->code, "reason", restart_reason_name(e->reason), "stage",
                     spawn_stage_name(e->error.stage), "error", e->error.err, "at_wall_ms",
                     (json_int_t)e->at_wall_ms);
}

int worker_exit_load(const json_t *saved, struct worker_exit *out, struct why *why)
{
    int kind = handover_named(saved, "kind", exit_kind_name, EXIT_NKINDS, why);
    int reason = handover_named(saved, "reason", restart_reason_name, RESTART_NREASONS, why);
    int stage = handover_named(saved, "stage", spawn_stage_name, SPAWN_NSTAGES, why);

    if (kind < 0 || reason < 0 || stage < 0)
        return why_prefix(why, -EINVAL, "exit");
    *out = (struct worker_exit){
        .kind = (enum worker_exit_kind)kind,
        .code = (int)handover_number(saved, "code"),
        .reason = (enum restart_reason)reason,
        .error = {(enum spawn_stage)stage, (int)handover_number(saved, "error")},
        .at_wall_ms = handover_number(saved, "at_wall_ms"),
    };
    return 0;
}

void worker_save(struct worker *w, struct handover *h, json_t *out)
{
    json_object_update_new(
        out,
        json_pack("{s:i, s:i, s:s, s:b, s:b, s:I, s:I, s:s, s:s, s:I, s:b, s:o, s:I}", "pid",
                  (int)w->pid, "main_pid", (int)w->main_pid, "state", worker_state_name(w->state),
                  "killed", w->killed, "orphaned", w->orphaned, "started_ms",
                  (json_int_t)w->started_ms, "ready_ms", (json_int_t)w->ready_ms, "started_for",
                  restart_reason_name(w->started_for), "told_for", restart_reason_name(w->told_for),
                  "end_at_ms", (json_int_t)when_ms(w, &w->end_timer), "looking",
                  when_ms(w, &w->look_timer) > 0, "exit", worker_exit_save(&w->exit), "claims",
                  (json_int_t)w->claims));
    if (w->output) {
        json_t *output = json_object();

        worker_output_save(w->output, h, output);
        json_object_set_new(out, "output", output);
    }
    handover_put_text(out, "status", w->status);
    handover_put_text(out, "own", w->own);
    handover_put_fd(h, out, "notify_fd", notify_server_fd(w->notify));
    handover_put_fd(h, out, "adopter_fd", adopter_fd(w->adopter));
    handover_put_fd(h, out, "result_fd", w->result_io.fd);
    handover_put_fd(h, out, "main_fd", w->main_io.fd);
}

static int load_names(struct worker *w, const json_t *saved, struct why *why)
{
    int state = handover_named(saved, "state", worker_state_name, WORKER_GONE, why);
    int started_for =
        handover_named(saved, "started_for", restart_reason_name, RESTART_NREASONS, why);
    int told_for = handover_named(saved, "told_for", restart_reason_name, RESTART_NREASONS, why);

    if (state < 0 || started_for < 0 || told_for < 0)
        return -EINVAL;
    w->state = (enum worker_state)state;
    w->started_for = (enum restart_reason)started_for;
    w->told_for = (enum restart_reason)told_for;
    return worker_exit_load(json_object_get(saved, "exit"), &w->exit, why);
}

static void load(struct worker *w, const json_t *saved)
{
    w->pid = (pid_t)handover_number(saved, "pid");
    w->main_pid = (pid_t)handover_number(saved, "main_pid");
    w->killed = handover_flag(saved, "killed");
    w->orphaned = handover_flag(saved, "orphaned");
    w->started_ms = handover_number(saved, "started_ms");
    w->ready_ms = handover_number(saved, "ready_ms");
    w->claims = (uint32_t)handover_number(saved, "claims");
    handover_copy_text(saved, "status", w->status, sizeof(w->status));
    handover_copy_text(saved, "own", w->own, sizeof(w->own));
    w->who = (struct log_who){.pool = w->gen->pool->name, .slot = w->slot, .pid = w->pid};
}

static void watch(struct worker *w, ev_io *io, int fd)
{
    if (fd < 0)
        return;
    ev_io_set(io, fd, EV_READ);
    io->data = w;
    ev_io_start(w->loop, io);
}

/* A script between the two programs reaps what ends while it runs. */
static bool is_lost(const struct worker *w)
{
    struct sys_proc proc;

    return !w->orphaned && (sys_proc_stat(w->pid, &proc) < 0 || proc.ppid != getpid());
}

/* Everything that was waited for is waited for again. */
static void load_waits(struct worker *w, const json_t *saved)
{
    int64_t end_ms = handover_number(saved, "end_at_ms");
    bool lost = is_lost(w);

    if (end_ms > 0)
        worker_arm_end(w, end_ms > clock_ms() ? end_ms - clock_ms() : 0);
    if (lost)
        w->orphaned = true; /* the number may be another's by now: nothing is sent to it */
    if (w->main_io.fd < 0 && (lost || handover_flag(saved, "looking")))
        worker_look_again(w);
    worker_feed_watchdog(w);
    if (w->state == WORKER_STARTING && w->result_io.fd < 0 && w->exit.kind != WORKER_EXIT_START)
        worker_await_ready(w);
}

/* What reaches it, and by what it is reached. */
static int load_channels(struct worker *w, const json_t *saved, struct why *why)
{
    const json_t *output = json_object_get(saved, "output");
    int adopter = handover_take_fd(saved, "adopter_fd");
    int r = notify_server_resume(w->loop, handover_take_fd(saved, "notify_fd"), &worker_notify_ops,
                                 w, &w->notify);

    watch(w, &w->result_io, handover_take_fd(saved, "result_fd"));
    watch(w, &w->main_io, handover_take_fd(saved, "main_fd"));
    if (adopter >= 0 && r == 0)
        r = adopter_open(w->loop, util_take_fd(&adopter), &worker_adopter_ops, w, &w->adopter);
    util_close_p(&adopter);
    if (r == 0 && output)
        r = worker_output_resume(w->gen, w->slot, w->pid, output, &w->output);
    return r < 0 ? why_fail_errno(why, r, "descriptors") : 0;
}

int worker_resume(const struct worker_start *start, const json_t *saved, struct worker **out,
                  struct why *why)
{
    struct worker *w = worker_new(start);
    int r;

    if (!w)
        return why_fail_errno(why, -ENOMEM, "worker");
    load(w, saved);
    r = w->pid > 1 && w->main_pid > 1 ? load_names(w, saved, why)
                                      : why_fail(why, -EINVAL, "it has no process");
    if (r == 0)
        r = load_channels(w, saved, why);
    if (r < 0) {
        worker_abandon(w);
        return r;
    }
    notify_server_set_owner(w->notify, w->main_pid, worker_uid(w));
    load_waits(w, saved);
    *out = w;
    return 0;
}

/* Not one that was lost, or that a state without sense names. */
static bool is_of_master(const struct worker *w)
{
    return sys_is_descendant(w->orphaned ? w->main_pid : w->pid, getpid());
}

void worker_abandon(struct worker *w)
{
    if (w && w->pid > 1 && is_of_master(w))
        worker_end(w, WORKER_END_KILL);
    worker_free(w);
}
