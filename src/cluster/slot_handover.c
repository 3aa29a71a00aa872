/* Handing a slot over to another program in this process. */
#include "base/clock.h"
#include "cluster/slot_parts.h"

static json_t *save_worker(struct worker *w, struct handover *h)
{
    json_t *out = json_object();

    worker_save(w, h, out);
    return out;
}

static json_t *save_exit(const struct worker_exit *e)
{
    return json_pack("{s:i, s:i, s:s, s:i, s:i, s:I}", "kind", (int)e->kind, "code", e->code,
                     "reason", restart_reason_name(e->reason), "stage", (int)e->error.stage,
                     "error", e->error.err, "at_wall_ms", (json_int_t)e->at_wall_ms);
}

/* Of a closed one nothing is kept: a crash loop opens it again soon enough. */
static json_t *save_breaker(const struct slot *s)
{
    return json_pack("{s:i, s:i, s:b}", "state", (int)s->breaker.state, "last_end",
                     (int)s->last_end, "over", (int)s->over);
}

static void load_breaker(struct slot *s, const json_t *saved)
{
    s->breaker.state = (unsigned)handover_number(saved, "state");
    s->last_end = (unsigned)handover_number(saved, "last_end");
    s->over = handover_flag(saved, "over");
}

void slot_save(struct slot *s, struct handover *h, json_t *out)
{
    json_t *leaving = json_array();

    for (struct worker *w = s->leaving; w; w = w->link)
        json_array_append_new(leaving, save_worker(w, h));
    json_object_update_new(
        out, json_pack("{s:s, s:i, s:i, s:i, s:s, s:I, s:I, s:o, s:o}", "state",
                       slot_fsm_state_name(s->state), "failures", (int)s->failures, "starts",
                       (int)s->starts, "restarts", (int)s->restarts, "start_for",
                       restart_reason_name(s->start_for), "retiring_ms", (json_int_t)s->retiring_ms,
                       "timer_at_ms", (json_int_t)(ev_is_active(&s->timer) ? s->timer_ms : 0),
                       "last_exit", save_exit(&s->last_exit), "leaving", leaving));
    if (s->cur)
        json_object_set_new(out, "current", save_worker(s->cur, h));
    if (s->next)
        json_object_set_new(out, "next", save_worker(s->next, h));
    json_object_set_new(out, "breaker", save_breaker(s));
    handover_put_text(out, "reason", s->reason);
}

static enum slot_state state_named(const char *name)
{
    for (enum slot_state s = SLOT_DOWN; name && s < SLOT_NSTATES; s++)
        if (streq(slot_fsm_state_name(s), name))
            return s;
    return SLOT_NSTATES;
}

static int resume_worker(struct slot *s, const json_t *saved, struct worker **place)
{
    const struct worker_start start = {
        .loop = s->loop, .ops = &slot_worker_ops, .data = s, .gen = s->wanted, .slot = s->index};

    return saved ? worker_resume(&start, saved, place) : 0;
}

static int resume_workers(struct slot *s, const json_t *saved)
{
    const json_t *leaving = json_object_get(saved, "leaving");
    int r = resume_worker(s, json_object_get(saved, "current"), &s->cur);

    if (r == 0)
        r = resume_worker(s, json_object_get(saved, "next"), &s->next);
    for (size_t i = json_array_size(leaving); i-- > 0 && r == 0;) {
        struct worker *w = NULL;

        r = resume_worker(s, json_array_get(leaving, i), &w);
        if (r < 0)
            break;
        w->link = s->leaving;
        s->leaving = w;
    }
    return r;
}

static void load_exit(const json_t *saved, struct worker_exit *out)
{
    out->kind = (unsigned)handover_number(saved, "kind");
    out->code = (int)handover_number(saved, "code");
    out->reason = restart_reason_named(handover_word(saved, "reason"));
    out->error.stage = (enum spawn_stage)handover_number(saved, "stage");
    out->error.err = (int)handover_number(saved, "error");
    out->at_wall_ms = handover_number(saved, "at_wall_ms");
}

int slot_resume(struct slot *s, const json_t *saved)
{
    enum slot_state state = state_named(handover_word(saved, "state"));
    int64_t timer_ms = handover_number(saved, "timer_at_ms");
    int r = state == SLOT_NSTATES ? -EINVAL : resume_workers(s, saved);

    if (r < 0)
        return r;
    s->state = state;
    s->failures = (unsigned)handover_number(saved, "failures");
    s->starts = (unsigned)handover_number(saved, "starts");
    s->restarts = (unsigned)handover_number(saved, "restarts");
    s->start_for = restart_reason_named(handover_word(saved, "start_for"));
    s->retiring_ms = handover_number(saved, "retiring_ms");
    load_exit(json_object_get(saved, "last_exit"), &s->last_exit);
    load_breaker(s, json_object_get(saved, "breaker"));
    handover_copy_text(saved, "reason", s->reason, sizeof(s->reason));
    if (timer_ms > 0)
        slot_arm_ms(s, timer_ms > clock_ms() ? timer_ms - clock_ms() : 0);
    if ((state == SLOT_STARTING && !s->cur) || (state == SLOT_REPLACING && !s->next))
        start_queue_add(s->starts_due, &s->start);
    return 0;
}
