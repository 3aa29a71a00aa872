/* Handing a slot over to another program in this process. */
#include "base/clock.h"
#include "cluster/slot_parts.h"

static json_t *save_worker(struct worker *w, struct handover *h)
{
    json_t *out = json_object();

    worker_save(w, h, out);
    return out;
}

/* Of a closed one nothing is kept: a crash loop opens it again soon enough. */
static json_t *save_breaker(const struct slot *s)
{
    return json_pack("{s:s, s:s, s:b}", "state", breaker_state_name(s->breaker.state), "last_end",
                     restart_end_name(s->last_end), "over", (int)s->over);
}

/* One that fired is due still: its turn did not come before the upgrade's. */
static int64_t due_ms(const struct slot *s)
{
    return ev_is_active(&s->timer) || ev_is_pending(&s->timer) ? s->due.due_ms : 0;
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
                       "timer_at_ms", (json_int_t)due_ms(s), "last_exit",
                       worker_exit_save(&s->last_exit), "leaving", leaving));
    if (s->cur)
        json_object_set_new(out, "current", save_worker(s->cur, h));
    if (s->next)
        json_object_set_new(out, "next", save_worker(s->next, h));
    json_object_set_new(out, "breaker", save_breaker(s));
    handover_put_text(out, "reason", s->reason);
}

static int resume_worker(struct slot *s, const json_t *saved, struct worker **place,
                         struct why *why)
{
    const struct worker_start start = {
        .loop = s->loop, .ops = &slot_worker_ops, .data = s, .gen = s->wanted, .slot = s->index};

    return saved ? worker_resume(&start, saved, place, why) : 0;
}

/* All of them, also after a failure: they have to be known to be abandoned. */
static int resume_workers(struct slot *s, const json_t *saved, struct why *why)
{
    const json_t *leaving = json_object_get(saved, "leaving");
    int current = resume_worker(s, json_object_get(saved, "current"), &s->cur, why);
    int next = resume_worker(s, json_object_get(saved, "next"), &s->next, why);
    int failed = current < 0 ? current : next;

    for (size_t i = json_array_size(leaving); i-- > 0;) {
        struct worker *w = NULL;
        int r = resume_worker(s, json_array_get(leaving, i), &w, why);

        if (r < 0) {
            failed = r;
            continue;
        }
        w->link = s->leaving;
        s->leaving = w;
    }
    return failed;
}

static void abandon_workers(struct slot *s)
{
    worker_abandon(s->cur);
    worker_abandon(s->next);
    s->cur = s->next = NULL;
    while (s->leaving) {
        struct worker *w = s->leaving;

        s->leaving = w->link;
        worker_abandon(w);
    }
}

static int load_breaker(struct slot *s, const json_t *saved, struct why *why)
{
    int state = handover_named(saved, "state", breaker_state_name, BREAKER_NSTATES, why);
    int last_end = handover_named(saved, "last_end", restart_end_name, END_NENDS, why);

    if (state < 0 || last_end < 0)
        return why_prefix(why, -EINVAL, "breaker");
    s->breaker.state = (enum breaker_state)state;
    s->last_end = (enum restart_end)last_end;
    s->over = handover_flag(saved, "over");
    return 0;
}

/* The state comes last: until then the slot is down. */
static int load_names(struct slot *s, const json_t *saved, struct why *why)
{
    int state = handover_named(saved, "state", slot_fsm_state_name, SLOT_NSTATES, why);
    int start_for = handover_named(saved, "start_for", restart_reason_name, RESTART_NREASONS, why);
    int r = state < 0 ? state : start_for < 0 ? start_for : 0;

    if (r == 0)
        r = worker_exit_load(json_object_get(saved, "last_exit"), &s->last_exit, why);
    if (r == 0)
        r = load_breaker(s, json_object_get(saved, "breaker"), why);
    if (r < 0)
        return r;
    s->start_for = (enum restart_reason)start_for;
    s->state = (enum slot_state)state;
    return 0;
}

int slot_resume(struct slot *s, const json_t *saved, struct why *why)
{
    int64_t timer_ms = handover_number(saved, "timer_at_ms");
    int r = resume_workers(s, saved, why);

    s->starts = (unsigned)handover_number(saved, "starts");
    s->restarts = (unsigned)handover_number(saved, "restarts");
    if (r == 0)
        r = load_names(s, saved, why);
    if (r < 0) {
        abandon_workers(s);
        return r;
    }
    s->failures = (unsigned)handover_number(saved, "failures");
    s->retiring_ms = handover_number(saved, "retiring_ms");
    handover_copy_text(saved, "reason", s->reason, sizeof(s->reason));
    if (timer_ms > 0)
        slot_arm_ms(s, timer_ms > clock_ms() ? timer_ms - clock_ms() : 0);
    if ((s->state == SLOT_STARTING && !s->cur) || (s->state == SLOT_REPLACING && !s->next))
        start_queue_add(s->starts_due, &s->start);
    return 0;
}
