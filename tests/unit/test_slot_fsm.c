/* The slot's table, held to its properties over every cell, and played through as stories and as an
 * exhaustive search over a small model of the workers behind it. */
#include <criterion/criterion.h>

#include "base/util.h"
#include "policy/slot_fsm.h"

#define ARMS    (ACT_ARM_START | ACT_ARM_PROVE | ACT_ARM_BACKOFF | ACT_ARM_COOLDOWN)
#define LETS_GO (ACT_STOP_CUR | ACT_STOP_NEXT | ACT_ABORT_CUR | ACT_KILL_ALL)

#define FOR_EACH_CELL(s, e)                                                                        \
    for (enum slot_state s = 0; s < SLOT_NSTATES; s++)                                             \
        for (enum slot_event e = 0; e < SLOT_NEVENTS; e++)

#define CELL "%s on %s", slot_fsm_state_name(s), slot_fsm_event_name(e)

Test(slot_fsm, no_cell_is_forgotten)
{
    /* A forgotten cell is all zero and so reads as NEVER: count those that are meant to be. */
    static const int nevers[SLOT_NSTATES] = {
        [SLOT_DOWN] = 9,     [SLOT_STARTING] = 2, [SLOT_PROVING] = 3,   [SLOT_UP] = 4,
        [SLOT_BACKOFF] = 7,  [SLOT_BROKEN] = 7,   [SLOT_FINISHED] = 8,  [SLOT_ENDING] = 8,
        [SLOT_AILING] = 6,   [SLOT_FAILING] = 6,  [SLOT_REPLACING] = 3, [SLOT_SETTLING] = 4,
        [SLOT_HANDOVER] = 4, [SLOT_STOPPING] = 8,
    };
    int found[SLOT_NSTATES] = {0};

    FOR_EACH_CELL(s, e)
    found[s] += !slot_fsm_step(s, e).valid;
    for (enum slot_state s = 0; s < SLOT_NSTATES; s++)
        cr_expect_eq(found[s], nevers[s], "%s: %d", slot_fsm_state_name(s), found[s]);
}

Test(slot_fsm, orders_from_above_are_understood_in_every_state)
{
    for (enum slot_state s = 0; s < SLOT_NSTATES; s++) {
        cr_expect(slot_fsm_step(s, EVENT_START).valid);
        cr_expect(slot_fsm_step(s, EVENT_STOP).valid);
        cr_expect(slot_fsm_step(s, EVENT_KILL).valid);
        cr_expect(slot_fsm_step(s, EVENT_CANCEL).valid);
        cr_expect(slot_fsm_wanted_up(slot_fsm_step(s, EVENT_START).next));
        cr_expect_not(slot_fsm_wanted_up(slot_fsm_step(s, EVENT_STOP).next));
        cr_expect_not(slot_fsm_wanted_up(slot_fsm_step(s, EVENT_KILL).next));
    }
}

Test(slot_fsm, only_orders_change_what_is_wanted)
{
    FOR_EACH_CELL(s, e)
    {
        struct slot_cell c = slot_fsm_step(s, e);

        if (c.valid && e > EVENT_REPLACE)
            cr_expect_eq(slot_fsm_wanted_up(s), slot_fsm_wanted_up(c.next), CELL);
    }
}

Test(slot_fsm, a_timed_state_is_entered_with_its_timer_and_left_without)
{
    FOR_EACH_CELL(s, e)
    {
        struct slot_cell c = slot_fsm_step(s, e);
        bool runs = slot_fsm_timed(s) && e != EVENT_TIMEOUT;

        if (!c.valid)
            continue;
        if (c.actions & ACT_DISARM)
            runs = false;
        if (c.actions & ARMS)
            runs = true;
        cr_expect_eq(runs, slot_fsm_timed(c.next), CELL);
        cr_expect_leq(__builtin_popcount(c.actions & ARMS), 1, CELL);
    }
}

Test(slot_fsm, a_timed_state_reacts_to_its_timer_and_no_other_does)
{
    for (enum slot_state s = 0; s < SLOT_NSTATES; s++) {
        struct slot_cell c = slot_fsm_step(s, EVENT_TIMEOUT);

        cr_expect_eq(c.valid, slot_fsm_timed(s), "%s", slot_fsm_state_name(s));
        cr_expect(!c.valid || c.next != s, "%s", slot_fsm_state_name(s));
    }
}

Test(slot_fsm, a_failed_replacement_keeps_the_worker_that_serves)
{
    static const enum slot_state replacing[] = {SLOT_REPLACING, SLOT_SETTLING};

    for (size_t i = 0; i < ARRAY_SIZE(replacing); i++) {
        struct slot_cell c = slot_fsm_step(replacing[i], EVENT_NEXT_GONE);

        cr_expect_eq(c.next, SLOT_UP);
        cr_expect(c.actions & ACT_TELL_FAILED);
        cr_expect_not(c.actions & (LETS_GO | ACT_PROMOTE));
    }
    cr_expect_eq(slot_fsm_step(SLOT_REPLACING, EVENT_TIMEOUT).next, SLOT_UP);
    cr_expect_not(slot_fsm_step(SLOT_REPLACING, EVENT_TIMEOUT).actions & ACT_STOP_CUR);
}

Test(slot_fsm, the_old_worker_goes_only_once_the_next_has_proved_itself)
{
    FOR_EACH_CELL(s, e)
    {
        struct slot_cell c = slot_fsm_step(s, e);

        if (!c.valid || !(c.actions & ACT_STOP_CUR) || !slot_fsm_serving(s) ||
            !slot_fsm_wanted_up(c.next))
            continue;
        cr_expect_eq(s, SLOT_SETTLING, CELL);
        cr_expect_eq(e, EVENT_TIMEOUT, CELL);
    }
}

Test(slot_fsm, failures_are_counted_where_backoff_follows)
{
    FOR_EACH_CELL(s, e)
    {
        struct slot_cell c = slot_fsm_step(s, e);
        bool starting = s == SLOT_STARTING || s == SLOT_PROVING;
        bool fails = c.valid && starting &&
                     (c.next == SLOT_FAILING || c.next == SLOT_BACKOFF || c.next == SLOT_BROKEN);

        cr_expect_eq(fails, (c.actions & ACT_COUNT_FAILURE) != 0, CELL);
    }
}

Test(slot_fsm, a_broken_slot_starts_on_trial_or_by_order_only)
{
    cr_expect(slot_fsm_step(SLOT_BROKEN, EVENT_TIMEOUT).actions & ACT_TRY);
    cr_expect(slot_fsm_step(SLOT_BROKEN, EVENT_REPLACE).actions & ACT_RESET_FAILURES);
    for (enum slot_event e = 0; e < SLOT_NEVENTS; e++)
        if (e != EVENT_TIMEOUT && e != EVENT_REPLACE)
            cr_expect_not(slot_fsm_step(SLOT_BROKEN, e).actions & ACT_SPAWN, "%s",
                          slot_fsm_event_name(e));
}

Test(slot_fsm, a_finished_slot_starts_by_order_only)
{
    for (enum slot_event e = 0; e < SLOT_NEVENTS; e++)
        cr_expect_eq((slot_fsm_step(SLOT_FINISHED, e).actions & ACT_SPAWN) != 0, e == EVENT_REPLACE,
                     "%s", slot_fsm_event_name(e));
}

Test(slot_fsm, who_may_wait_for_an_outcome_hears_of_it_when_the_slot_gives_up)
{
    /* In the others nobody waits: the worker had proved itself, or TELL_FAILED was told before. */
    static const enum slot_state waiting[] = {SLOT_STARTING, SLOT_PROVING, SLOT_AILING,
                                              SLOT_HANDOVER};

    for (size_t i = 0; i < ARRAY_SIZE(waiting); i++) {
        cr_expect(slot_fsm_step(waiting[i], EVENT_TRIP).actions & ACT_TELL_FAILED);
        cr_expect(slot_fsm_step(waiting[i], EVENT_FINISH).actions & ACT_TELL_END);
    }
}

Test(slot_fsm, a_verdict_is_heard_wherever_a_lost_worker_has_no_successor)
{
    for (enum slot_state s = 0; s < SLOT_NSTATES; s++) {
        bool lost = slot_fsm_step(s, EVENT_GONE).valid || s == SLOT_AILING || s == SLOT_FAILING;
        bool succeeded = s == SLOT_REPLACING || s == SLOT_SETTLING;

        cr_expect_eq(slot_fsm_step(s, EVENT_TRIP).valid, lost && !succeeded, "%s",
                     slot_fsm_state_name(s));
        cr_expect_eq(slot_fsm_step(s, EVENT_FINISH).valid, lost && !succeeded, "%s",
                     slot_fsm_state_name(s));
    }
}

Test(slot_fsm, names_are_there_and_public_ones_are_those_of_the_contract)
{
    static const char *const words[] = {"down",     "starting", "up",    "replacing",
                                        "stopping", "backoff",  "broken"};

    for (enum slot_state s = 0; s < SLOT_NSTATES; s++) {
        bool known = false;

        cr_expect_not_null(slot_fsm_state_name(s));
        for (size_t i = 0; i < ARRAY_SIZE(words); i++)
            known = known || streq(slot_fsm_public_name(s), words[i]);
        cr_expect(known, "%s", slot_fsm_public_name(s));
    }
    for (enum slot_event e = 0; e < SLOT_NEVENTS; e++)
        cr_expect_not_null(slot_fsm_event_name(e));
    cr_expect_str_eq(slot_fsm_action_name(ACT_DISARM), "disarm");
    cr_expect_str_eq(slot_fsm_action_name(ACT_TELL_DOWN), "tell-down");
}

/* A model of what is behind the table: which workers there are and whether they are ready. Every
 * sequence of events that this model can bring about is tried, up to states seen before. */
enum presence { NONE, STARTING, READY };

struct model {
    enum slot_state state;
    enum presence cur, next;
    bool leaving, timer;
};

/* As slot.c asks for the verdict over a worker that was lost: where there is no successor yet. */
static bool is_verdict_due(const struct model *m)
{
    if (m->state == SLOT_AILING || m->state == SLOT_FAILING)
        return m->leaving;
    return m->cur != NONE && m->next == NONE;
}

static bool can_happen(const struct model *m, enum slot_event e)
{
    switch (e) {
    case EVENT_READY: return m->cur == STARTING;
    case EVENT_GONE: return m->cur != NONE;
    case EVENT_TRIP:
    case EVENT_FINISH: return is_verdict_due(m);
    case EVENT_SICK: return m->cur != NONE;
    case EVENT_NEXT_READY: return m->next == STARTING;
    case EVENT_NEXT_GONE: return m->next != NONE;
    case EVENT_LEFT: return m->leaving;
    case EVENT_TIMEOUT: return m->timer;
    default: return true;
    }
}

static void let_go(struct model *m, enum presence *place)
{
    m->leaving = m->leaving || *place != NONE;
    *place = NONE;
}

static void act(struct model *m, enum slot_action bit)
{
    switch (bit) {
    case ACT_DISARM: m->timer = false; break;
    case ACT_STOP_CUR:
    case ACT_ABORT_CUR: let_go(m, &m->cur); break;
    case ACT_STOP_NEXT: let_go(m, &m->next); break;
    case ACT_KILL_ALL:
        let_go(m, &m->cur);
        let_go(m, &m->next);
        break;
    case ACT_PROMOTE:
        cr_assert_eq(m->cur, NONE, "two current workers");
        m->cur = m->next;
        m->next = NONE;
        break;
    case ACT_ARM_START:
    case ACT_ARM_PROVE:
    case ACT_ARM_BACKOFF:
    case ACT_ARM_COOLDOWN:
        cr_assert_not(m->timer, "armed twice");
        m->timer = true;
        break;
    case ACT_SPAWN:
        cr_assert_eq(m->cur, NONE, "a current worker is lost");
        m->cur = STARTING;
        break;
    case ACT_SPAWN_NEXT:
        cr_assert_eq(m->next, NONE, "a next worker is lost");
        m->next = STARTING;
        break;
    default: break;
    }
}

static struct model advance(struct model m, enum slot_event e)
{
    struct slot_cell c = slot_fsm_step(m.state, e);

    cr_assert(c.valid, "%s can happen while %s", slot_fsm_event_name(e),
              slot_fsm_state_name(m.state));
    if (e == EVENT_READY)
        m.cur = READY;
    else if (e == EVENT_GONE)
        m.cur = NONE;
    else if ((e == EVENT_TRIP || e == EVENT_FINISH) && m.cur == NONE)
        m.leaving = false;
    else if (e == EVENT_TRIP || e == EVENT_FINISH)
        m.cur = NONE;
    else if (e == EVENT_NEXT_READY)
        m.next = READY;
    else if (e == EVENT_NEXT_GONE)
        m.next = NONE;
    else if (e == EVENT_LEFT)
        m.leaving = false;
    else if (e == EVENT_TIMEOUT)
        m.timer = false;
    for (unsigned bit = 1; bit <= ACT_TELL_DOWN; bit <<= 1)
        if (c.actions & bit)
            act(&m, (enum slot_action)bit);
    m.state = c.next;
    if (slot_fsm_leaving(m.state) && !m.leaving) /* as slot.c does: nobody is leaving */
        return advance(m, EVENT_LEFT);
    return m;
}

static void check(const struct model *m)
{
    const char *name = slot_fsm_state_name(m->state);

    cr_assert_eq(m->timer, slot_fsm_timed(m->state), "%s", name);
    cr_assert_eq(m->cur == READY, slot_fsm_serving(m->state), "%s", name);
    cr_assert_eq(m->next != NONE, m->state == SLOT_REPLACING || m->state == SLOT_SETTLING, "%s",
                 name);
    if (m->state == SLOT_DOWN)
        cr_assert(m->cur == NONE && m->next == NONE && !m->leaving && !m->timer);
    if (!m->timer && !m->leaving)
        cr_assert(m->state == SLOT_DOWN || m->state == SLOT_UP || m->state == SLOT_FINISHED,
                  "%s waits for nothing", name);
}

static unsigned key(const struct model *m)
{
    return (((m->state * 3u + m->cur) * 3 + m->next) * 2 + m->leaving) * 2 + m->timer;
}

static bool seen[SLOT_NSTATES * 3 * 3 * 2 * 2];

static void explore(struct model m)
{
    check(&m);
    if (seen[key(&m)])
        return;
    seen[key(&m)] = true;
    for (enum slot_event e = 0; e < SLOT_NEVENTS; e++)
        if (can_happen(&m, e))
            explore(advance(m, e));
}

Test(slot_fsm, every_reachable_situation_is_sound)
{
    bool reached[SLOT_NSTATES] = {false};

    explore((struct model){.state = SLOT_DOWN});
    for (size_t i = 0; i < ARRAY_SIZE(seen); i++)
        if (seen[i])
            reached[i / (3 * 3 * 2 * 2)] = true;
    for (enum slot_state s = 0; s < SLOT_NSTATES; s++)
        cr_expect(reached[s], "%s is never reached", slot_fsm_state_name(s));
}

/* From every reachable situation: stop, and then only ends and time pass. */
Test(slot_fsm, stop_from_anywhere_ends_down)
{
    explore((struct model){.state = SLOT_DOWN});
    for (unsigned k = 0; k < ARRAY_SIZE(seen); k++) {
        struct model m = {.state = k / 36,
                          .cur = k / 12 % 3,
                          .next = k / 4 % 3,
                          .leaving = k / 2 % 2,
                          .timer = k % 2};

        if (!seen[k])
            continue;
        m = advance(m, EVENT_STOP);
        if (m.leaving)
            m = advance(m, EVENT_LEFT);
        cr_expect_eq(m.state, SLOT_DOWN, "%s", slot_fsm_state_name(k / 36));
    }
}
