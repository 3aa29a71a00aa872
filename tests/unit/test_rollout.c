/* The plan of a rolling replacement: stories, and a search over every order of outcomes against a
 * model of what the slots really hold. */
#include <criterion/criterion.h>

#include "policy/rollout.h"

/* --- Stories --- */

#define EXPECT_ORDER(r, order, number)                                                             \
    do {                                                                                           \
        int slot_ = -1;                                                                            \
        cr_expect_eq(rollout_next((r), &slot_), (order));                                          \
        cr_expect_eq(slot_, (number));                                                             \
    } while (0)
#define EXPECT_WAIT(r)                                                                             \
    do {                                                                                           \
        int slot_;                                                                                 \
        cr_expect_eq(rollout_next((r), &slot_), ROLLOUT_NONE);                                     \
    } while (0)

Test(rollout, replaces_one_after_the_other)
{
    struct rollout r;

    cr_assert_eq(rollout_init(&r, 3, 1), 0);
    for (int i = 0; i < 3; i++) {
        cr_expect_eq(r.phase, ROLLOUT_FORWARD);
        cr_expect_eq(rollout_replaced(&r), i);
        EXPECT_ORDER(&r, ROLLOUT_REPLACE, i);
        EXPECT_WAIT(&r);
        rollout_done(&r, i);
    }
    cr_expect_eq(r.phase, ROLLOUT_OK);
    cr_expect_eq(rollout_replaced(&r), 3);
    EXPECT_WAIT(&r);
    rollout_free(&r);
}

Test(rollout, canary_goes_alone_then_a_batch_at_once)
{
    struct rollout r;

    cr_assert_eq(rollout_init(&r, 5, 3), 0);
    EXPECT_ORDER(&r, ROLLOUT_REPLACE, 0);
    EXPECT_WAIT(&r);
    rollout_done(&r, 0);
    EXPECT_ORDER(&r, ROLLOUT_REPLACE, 1);
    EXPECT_ORDER(&r, ROLLOUT_REPLACE, 2);
    EXPECT_ORDER(&r, ROLLOUT_REPLACE, 3);
    EXPECT_WAIT(&r);
    rollout_done(&r, 2);
    EXPECT_ORDER(&r, ROLLOUT_REPLACE, 4);
    EXPECT_WAIT(&r);
    cr_expect_eq(r.busy, 3);
    rollout_free(&r);
}

Test(rollout, failed_canary_ends_it_at_once)
{
    struct rollout r;

    cr_assert_eq(rollout_init(&r, 4, 4), 0);
    EXPECT_ORDER(&r, ROLLOUT_REPLACE, 0);
    rollout_failed(&r, 0);
    cr_expect_eq(r.phase, ROLLOUT_FAILED);
    EXPECT_WAIT(&r);
    cr_expect_eq(rollout_replaced(&r), 0);
    rollout_free(&r);
}

Test(rollout, failure_cancels_what_is_under_way_and_restores_the_rest)
{
    struct rollout r;

    cr_assert_eq(rollout_init(&r, 5, 3), 0);
    EXPECT_ORDER(&r, ROLLOUT_REPLACE, 0);
    rollout_done(&r, 0);
    EXPECT_ORDER(&r, ROLLOUT_REPLACE, 1);
    EXPECT_ORDER(&r, ROLLOUT_REPLACE, 2);
    EXPECT_ORDER(&r, ROLLOUT_REPLACE, 3);
    rollout_failed(&r, 2);
    cr_expect_eq(r.phase, ROLLOUT_BACK);
    EXPECT_ORDER(&r, ROLLOUT_CANCEL, 1);
    EXPECT_ORDER(&r, ROLLOUT_CANCEL, 3);
    EXPECT_ORDER(&r, ROLLOUT_RESTORE, 0);
    EXPECT_WAIT(&r);
    rollout_failed(&r, 1); /* it gave up */
    EXPECT_WAIT(&r);
    rollout_done(&r, 3); /* it had gone too far */
    EXPECT_ORDER(&r, ROLLOUT_RESTORE, 3);
    EXPECT_WAIT(&r);
    cr_expect_eq(rollout_replaced(&r), 2);
    rollout_done(&r, 0);
    cr_expect_eq(r.phase, ROLLOUT_BACK);
    rollout_failed(&r, 3); /* over as well */
    cr_expect_eq(r.phase, ROLLOUT_FAILED);
    cr_expect_eq(rollout_replaced(&r), 0);
    rollout_free(&r);
}

Test(rollout, outcome_before_the_cancel_makes_it_unnecessary)
{
    struct rollout r;

    cr_assert_eq(rollout_init(&r, 3, 2), 0);
    EXPECT_ORDER(&r, ROLLOUT_REPLACE, 0);
    rollout_done(&r, 0);
    EXPECT_ORDER(&r, ROLLOUT_REPLACE, 1);
    EXPECT_ORDER(&r, ROLLOUT_REPLACE, 2);
    rollout_failed(&r, 1);
    rollout_done(&r, 2);
    EXPECT_ORDER(&r, ROLLOUT_RESTORE, 0);
    EXPECT_ORDER(&r, ROLLOUT_RESTORE, 2);
    EXPECT_WAIT(&r);
    rollout_free(&r);
}

Test(rollout, without_slots_it_is_over)
{
    struct rollout r;

    cr_assert_eq(rollout_init(&r, 0, 1), 0);
    cr_expect_eq(r.phase, ROLLOUT_OK);
    EXPECT_WAIT(&r);
    rollout_free(&r);
}

Test(rollout, a_batch_below_one_is_one)
{
    for (int batch = -1; batch <= 1; batch++) {
        struct rollout r;

        cr_assert_eq(rollout_init(&r, 3, batch), 0);
        EXPECT_ORDER(&r, ROLLOUT_REPLACE, 0);
        rollout_done(&r, 0);
        EXPECT_ORDER(&r, ROLLOUT_REPLACE, 1);
        EXPECT_WAIT(&r);
        rollout_free(&r);
    }
}

Test(rollout, outcomes_of_strangers_are_ignored)
{
    static const int strangers[] = {-1, INT32_MIN, 1, 2, 3, INT32_MAX};
    struct rollout r;

    cr_assert_eq(rollout_init(&r, 3, 1), 0);
    EXPECT_ORDER(&r, ROLLOUT_REPLACE, 0);
    for (size_t i = 0; i < ARRAY_SIZE(strangers); i++) {
        rollout_done(&r, strangers[i]);
        rollout_failed(&r, strangers[i]);
    }
    cr_expect_eq(r.phase, ROLLOUT_FORWARD);
    cr_expect_eq(r.busy, 1);
    rollout_free(&r);
}

Test(rollout, a_released_plan_can_be_used_and_released_again)
{
    struct rollout r;

    cr_assert_eq(rollout_init(&r, 2, 1), 0);
    rollout_free(&r);
    rollout_abandon(&r);
    rollout_done(&r, 0);
    EXPECT_WAIT(&r);
    cr_expect_eq(r.phase, ROLLOUT_FAILED);
    rollout_free(&r);
}

/* --- The search ---
 * Every reachable state is visited, and from each every event is tried: asking for the next order,
 * done and failed of every slot, and abandoning. What a slot really holds, and what it was told, is
 * kept by the model; the plan's own notes are only used to tell states apart. */

enum { SLOTS_MAX = 4, STATES_MAX = 1 << 16 };

/* No member leaves a gap: states are compared byte by byte. */
struct model {
    struct rollout plan;
    uint8_t slots[SLOTS_MAX]; /* the plan's */
    struct {
        int holds_new;
        int under_way; /* REPLACE, RESTORE or NONE */
        int ordered[ROLLOUT_RESTORE + 1];
    } real[SLOTS_MAX];
    int failure; /* some REPLACE failed */
};

struct state {
    struct model model;
    bool entered, left; /* of the depth-first walk: left unset marks what stands on its path */
};

static struct state *states;
static size_t nstates;
static unsigned reached; /* bits of the phases at whose end some walk arrived */

/* Copies of a plan share no memory. */
static struct rollout *plan_of(struct model *m)
{
    m->plan.slots = m->slots;
    return &m->plan;
}

static struct model begin(int nslots, int batch)
{
    struct model m = {0};
    struct rollout r;

    cr_assert_eq(rollout_init(&r, nslots, batch), 0);
    m.plan = r;
    memcpy(m.slots, r.slots, (size_t)nslots);
    rollout_free(&r);
    m.plan.slots = NULL;
    return m;
}

static int count_busy(const struct model *m)
{
    int busy = 0;

    for (int i = 0; i < m->plan.nslots; i++)
        busy += m->real[i].under_way != ROLLOUT_NONE;
    return busy;
}

static int count_new(const struct model *m)
{
    int n = 0;

    for (int i = 0; i < m->plan.nslots; i++)
        n += m->real[i].holds_new;
    return n;
}

static void check(struct model *m)
{
    struct rollout *r = plan_of(m);
    int busy = count_busy(m), holding_new = count_new(m);

    cr_assert_eq(r->busy, busy);
    cr_assert_leq(busy, r->batch);
    cr_assert_eq(rollout_replaced(r), holding_new);
    if (!m->real[0].holds_new && !m->failure && r->phase == ROLLOUT_FORWARD)
        cr_assert(busy == 0 || (busy == 1 && m->real[0].under_way == ROLLOUT_REPLACE));
    cr_assert_eq(r->phase == ROLLOUT_OK, !m->failure && holding_new == r->nslots);
    cr_assert_eq(r->phase == ROLLOUT_FAILED, m->failure && holding_new == 0 && busy == 0);
    cr_assert_eq(r->phase == ROLLOUT_FORWARD || r->phase == ROLLOUT_OK, !m->failure);
}

static void note_order(struct model *m, enum rollout_order order, int slot)
{
    int *times = &m->real[slot].ordered[order];

    cr_assert(slot >= 0 && slot < m->plan.nslots);
    cr_assert_eq(++*times, 1, "order %d of slot %d is given twice", order, slot);
    switch (order) {
    case ROLLOUT_REPLACE:
        cr_assert(!m->failure);
        cr_assert(!m->real[slot].holds_new);
        cr_assert_eq(m->real[slot].under_way, ROLLOUT_NONE);
        break;
    case ROLLOUT_CANCEL:
        cr_assert(m->failure);
        cr_assert_eq(m->real[slot].under_way, ROLLOUT_REPLACE);
        return;
    case ROLLOUT_RESTORE:
        cr_assert(m->failure);
        cr_assert(m->real[slot].holds_new);
        cr_assert_eq(m->real[slot].under_way, ROLLOUT_NONE);
        break;
    case ROLLOUT_NONE: cr_assert_fail();
    }
    m->real[slot].under_way = order;
}

/* Returns whether there was an order. */
static bool ask(struct model *m)
{
    int slot = -1;
    enum rollout_order order = rollout_next(plan_of(m), &slot);

    if (order != ROLLOUT_NONE)
        note_order(m, order, slot);
    return order != ROLLOUT_NONE;
}

/* Returns whether the outcome meant anything; if not, that it changed nothing. */
static bool outcome(struct model *m, int slot, bool done)
{
    int under_way = m->real[slot].under_way;
    struct model before = *m;

    (done ? rollout_done : rollout_failed)(plan_of(m), slot);
    if (under_way == ROLLOUT_NONE) {
        cr_assert_eq(m->plan.phase, before.plan.phase);
        cr_assert_eq(m->plan.busy, before.plan.busy);
        cr_assert_arr_eq(m->slots, before.slots, sizeof(m->slots));
        return false;
    }
    m->real[slot].under_way = ROLLOUT_NONE;
    m->real[slot].holds_new = under_way == ROLLOUT_REPLACE && done;
    m->failure |= under_way == ROLLOUT_REPLACE && !done;
    return true;
}

static void try_abandon(struct model m)
{
    int slot;

    rollout_abandon(plan_of(&m));
    for (int i = 0; i < m.plan.nslots; i++) {
        cr_assert_eq(m.plan.phase, ROLLOUT_FAILED);
        cr_assert_eq(m.plan.busy, 0);
        cr_assert_eq(rollout_next(plan_of(&m), &slot), ROLLOUT_NONE);
        rollout_done(plan_of(&m), i);
        rollout_failed(plan_of(&m), i);
    }
    cr_assert_eq(m.plan.phase, ROLLOUT_FAILED);
}

/* The place of a state, new or known. */
static struct state *find(struct model m)
{
    m.plan.slots = NULL;
    for (size_t i = 0; i < nstates; i++)
        if (memcmp(&states[i].model, &m, sizeof(m)) == 0)
            return &states[i];
    cr_assert_lt(nstates, STATES_MAX);
    states[nstates].model = m;
    return &states[nstates++];
}

static void walk(struct model m);

static void walk_outcomes(const struct model *m, int slot)
{
    for (int done = 0; done <= 1; done++) {
        struct model next = *m;

        if (outcome(&next, slot, done))
            walk(next);
    }
}

static void walk(struct model m)
{
    struct state *s = find(m);
    struct model next = m;

    if (s->entered) {
        cr_assert(s->left, "the plan can run in a circle");
        return;
    }
    s->entered = true;
    check(&m);
    try_abandon(m);
    if (ask(&next))
        walk(next);
    else if (count_busy(&m) == 0)
        cr_assert(m.plan.phase == ROLLOUT_OK || m.plan.phase == ROLLOUT_FAILED, "it is stuck");
    for (int i = 0; i < m.plan.nslots; i++)
        walk_outcomes(&m, i);
    reached |= 1U << m.plan.phase;
    s->left = true;
}

Test(rollout, every_order_of_outcomes)
{
    states = calloc(STATES_MAX, sizeof(*states));
    cr_assert(states);
    for (int nslots = 1; nslots <= SLOTS_MAX; nslots++)
        for (int batch = 1; batch <= SLOTS_MAX; batch++) {
            memset(states, 0, nstates * sizeof(*states));
            nstates = 0;
            reached = 0;
            walk(begin(nslots, batch));
            cr_expect_gt(nstates, 3);
            cr_expect(reached & 1U << ROLLOUT_OK);
            cr_expect(reached & 1U << ROLLOUT_FAILED);
            cr_expect_eq(!!(reached & 1U << ROLLOUT_BACK), nslots > 1);
        }
    free(states);
}
