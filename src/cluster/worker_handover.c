/* Handing a worker over to another program in this process. */
#include "base/clock.h"
#include "base/sys.h"
#include "cluster/worker_parts.h"

static int64_t when_ms(struct worker *w, ev_timer *timer)
{
    if (!ev_is_active(timer))
        return 0;
    return clock_ms() + (int64_t)(ev_timer_remaining(w->loop, timer) * 1000.);
}

void worker_save(struct worker *w, struct handover *h, json_t *out)
{
    const struct spawn_error *error = &w->exit.error;

    json_object_update_new(
        out,
        json_pack("{s:i, s:i, s:s, s:b, s:b, s:I, s:I, s:s, s:s, s:I, s:b, s:i, s:i, s:I}", "pid",
                  (int)w->pid, "main_pid", (int)w->main_pid, "state", worker_state_name(w->state),
                  "killed", w->killed, "orphaned", w->orphaned, "started_ms",
                  (json_int_t)w->started_ms, "ready_ms", (json_int_t)w->ready_ms, "started_for",
                  restart_reason_name(w->started_for), "told_for", restart_reason_name(w->told_for),
                  "end_at_ms", (json_int_t)when_ms(w, &w->end_timer), "looking",
                  ev_is_active(&w->look_timer), "error_stage", (int)error->stage, "error",
                  error->err, "claims", (json_int_t)w->claims));
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

static enum worker_state state_named(const char *name)
{
    for (enum worker_state s = WORKER_STARTING; name && s < WORKER_GONE; s++)
        if (streq(worker_state_name(s), name))
            return s;
    return WORKER_GONE;
}

static void load(struct worker *w, const json_t *saved)
{
    w->pid = (pid_t)handover_number(saved, "pid");
    w->main_pid = (pid_t)handover_number(saved, "main_pid");
    w->state = state_named(handover_word(saved, "state"));
    w->killed = handover_flag(saved, "killed");
    w->orphaned = handover_flag(saved, "orphaned");
    w->started_ms = handover_number(saved, "started_ms");
    w->ready_ms = handover_number(saved, "ready_ms");
    w->started_for = restart_reason_named(handover_word(saved, "started_for"));
    w->told_for = restart_reason_named(handover_word(saved, "told_for"));
    w->claims = (uint32_t)handover_number(saved, "claims");
    w->exit.error.stage = (enum spawn_stage)handover_number(saved, "error_stage");
    w->exit.error.err = (int)handover_number(saved, "error");
    w->exit.kind = w->exit.error.err ? WORKER_EXIT_START : WORKER_EXIT_NONE;
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

    watch(w, &w->result_io, handover_take_fd(saved, "result_fd"));
    watch(w, &w->main_io, handover_take_fd(saved, "main_fd"));
    if (end_ms > 0)
        worker_arm_ms(w, &w->end_timer, end_ms > clock_ms() ? end_ms - clock_ms() : 0);
    if (lost)
        w->orphaned = true; /* the number may be another's by now: nothing is sent to it */
    if (w->main_io.fd < 0 && (lost || handover_flag(saved, "looking")))
        worker_look_again(w);
    worker_feed_watchdog(w);
    if (w->state == WORKER_STARTING && w->result_io.fd < 0 && w->exit.kind == WORKER_EXIT_NONE)
        worker_await_ready(w);
}

int worker_resume(const struct worker_start *start, const json_t *saved, struct worker **out)
{
    const json_t *output = json_object_get(saved, "output");
    int adopter = handover_take_fd(saved, "adopter_fd");
    struct worker *w = worker_new(start);
    int r;

    if (!w)
        return -ENOMEM;
    load(w, saved);
    r = w->pid > 0 && w->main_pid > 0 && w->state != WORKER_GONE ? 0 : -EINVAL;
    if (r == 0)
        r = notify_server_resume(w->loop, handover_take_fd(saved, "notify_fd"), &worker_notify_ops,
                                 w, &w->notify);
    if (r == 0 && output)
        r = worker_output_resume(w->gen, w->slot, w->pid, output, &w->output);
    if (r == 0 && adopter >= 0)
        r = adopter_open(w->loop, adopter, &worker_adopter_ops, w, &w->adopter);
    if (r < 0) {
        worker_free(w);
        return r;
    }
    notify_server_set_owner(w->notify, w->main_pid, worker_uid(w));
    load_waits(w, saved);
    *out = w;
    return 0;
}
