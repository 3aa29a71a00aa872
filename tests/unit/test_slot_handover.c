/* A slot's state for another program: it comes back as it was, or the slot stays down. */
#include "cluster/slot_parts.h"

#include <criterion/criterion.h>

#include "base/clock.h"

static struct pool_settings settings = {.name = "main"};
static struct generation generation = {.refs = 1, .pool = &settings};
static struct start_queue starts_due;

static struct slot *new_slot(void)
{
    struct slot *s;

    start_queue_init(&starts_due, EV_DEFAULT);
    s = slot_new(&starts_due, NULL, NULL, NULL, 0, &generation);
    cr_assert(s);
    return s;
}

static json_t *save(struct slot *s)
{
    json_t *out = json_object();
    struct handover h;

    cr_assert_eq(handover_init(&h), 0);
    slot_save(s, &h, out);
    handover_free(&h);
    return out;
}

Test(slot_handover, comes_back_with_each_state_of_its_breaker)
{
    for (unsigned state = 0; state < BREAKER_NSTATES; state++)
        for (unsigned end = 0; end < END_NENDS; end++) {
            struct slot *old = new_slot(), *s = new_slot();
            json_t *saved;

            old->state = SLOT_BROKEN;
            old->breaker.state = (enum breaker_state)state;
            old->last_end = (enum restart_end)end;
            old->last_exit.kind = WORKER_EXIT_SIGNAL;
            saved = save(old);
            cr_assert_eq(slot_resume(s, saved, NULL), 0);
            cr_expect_eq(s->state, SLOT_BROKEN);
            cr_expect_eq(s->breaker.state, state);
            cr_expect_eq(s->last_end, end);
            cr_expect_eq(s->last_exit.kind, WORKER_EXIT_SIGNAL);
            json_decref(saved);
            slot_free(old);
            slot_free(s);
        }
}

static void expect_refused(const char *part, const char *key, const char *reason)
{
    struct slot *old = new_slot(), *s = new_slot();
    struct why why = {0};
    json_t *saved;

    old->state = SLOT_BROKEN;
    old->breaker.state = BREAKER_OPEN;
    saved = save(old);
    json_object_set_new(part ? json_object_get(saved, part) : saved, key, json_string("ajar"));
    cr_expect_eq(slot_resume(s, saved, &why), -EINVAL, "%s", key);
    cr_expect_str_eq(why.text, reason);
    cr_expect_eq(s->state, SLOT_DOWN);
    cr_expect_eq(s->breaker.state, BREAKER_CLOSED);
    json_decref(saved);
    slot_free(old);
    slot_free(s);
}

Test(slot_handover, stays_down_with_a_name_that_is_not_known)
{
    expect_refused(NULL, "state", "'ajar' is no state that this program knows");
    expect_refused(NULL, "start_for", "'ajar' is no start_for that this program knows");
    expect_refused("breaker", "state", "breaker: 'ajar' is no state that this program knows");
    expect_refused("breaker", "last_end", "breaker: 'ajar' is no last_end that this program knows");
    expect_refused("last_exit", "kind", "exit: 'ajar' is no kind that this program knows");
}

/* libev stops a timer when it fires, and what fired may have its turn after the upgrade's. */
Test(slot_handover, keeps_a_timer_that_fired_and_had_no_turn)
{
    struct slot *old = new_slot(), *s = new_slot();
    json_t *saved;

    old->state = SLOT_BACKOFF;
    slot_arm_ms(old, 0);
    ev_timer_stop(EV_DEFAULT, &old->timer);
    ev_feed_event(EV_DEFAULT, &old->timer, EV_TIMER);
    saved = save(old);
    cr_assert_eq(slot_resume(s, saved, NULL), 0);
    cr_expect(ev_is_active(&s->timer));
    json_decref(saved);
    slot_free(old);
    slot_free(s);
}
