#include "policy/rollout.h"

enum rollout_slot {
    HOLDS_OLD, /* not reached yet, or its replacement failed */
    REPLACING,
    CANCELLED, /* still under way, but told to give up */
    HOLDS_NEW,
    RESTORING,
    RESTORED, /* or left to its own: a RESTORE is over in either case */
    NSTATES
};

int rollout_init(struct rollout *r, int nslots, int batch)
{
    *r = (struct rollout){.batch = batch < 1 ? 1 : batch};
    if (nslots <= 0) {
        r->phase = ROLLOUT_OK;
        return 0;
    }
    r->slots = calloc((size_t)nslots, sizeof(*r->slots));
    if (!r->slots)
        return -ENOMEM;
    r->nslots = nslots;
    return 0;
}

void rollout_free(struct rollout *r)
{
    free(r->slots);
    *r = (struct rollout){0};
}

static int find_slot(const struct rollout *r, enum rollout_slot state)
{
    for (int i = 0; i < r->nslots; i++)
        if (r->slots[i] == state)
            return i;
    return -1;
}

static int count_slots(const struct rollout *r, enum rollout_slot state)
{
    int n = 0;

    for (int i = 0; i < r->nslots; i++)
        n += r->slots[i] == state;
    return n;
}

/* Moves the first slot that is in state `from`. Returns its number, or -1 when there is none. */
static int move_first(struct rollout *r, enum rollout_slot from, enum rollout_slot to)
{
    int slot = find_slot(r, from);

    if (slot >= 0)
        r->slots[slot] = (uint8_t)to;
    return slot;
}

static enum rollout_order next_forward(struct rollout *r, int *slot)
{
    bool canary_passed = r->nslots > 0 && r->slots[0] == HOLDS_NEW;

    if (r->busy >= (canary_passed ? r->batch : 1))
        return ROLLOUT_NONE;
    *slot = move_first(r, HOLDS_OLD, REPLACING);
    if (*slot < 0)
        return ROLLOUT_NONE;
    r->busy++;
    return ROLLOUT_REPLACE;
}

static enum rollout_order next_back(struct rollout *r, int *slot)
{
    *slot = move_first(r, REPLACING, CANCELLED);
    if (*slot >= 0)
        return ROLLOUT_CANCEL;
    if (r->busy >= r->batch)
        return ROLLOUT_NONE;
    *slot = move_first(r, HOLDS_NEW, RESTORING);
    if (*slot < 0)
        return ROLLOUT_NONE;
    r->busy++;
    return ROLLOUT_RESTORE;
}

enum rollout_order rollout_next(struct rollout *r, int *slot)
{
    switch (r->phase) {
    case ROLLOUT_FORWARD: return next_forward(r, slot);
    case ROLLOUT_BACK: return next_back(r, slot);
    case ROLLOUT_OK:
    case ROLLOUT_FAILED: break;
    }
    return ROLLOUT_NONE;
}

static void end_phase(struct rollout *r)
{
    if (r->phase == ROLLOUT_FORWARD && count_slots(r, HOLDS_NEW) == r->nslots)
        r->phase = ROLLOUT_OK;
    else if (r->phase == ROLLOUT_BACK && r->busy == 0 && find_slot(r, HOLDS_NEW) < 0)
        r->phase = ROLLOUT_FAILED;
}

static void take_outcome(struct rollout *r, int slot, bool done)
{
    /* What a slot under way holds afterwards; a state that is its own outcome is not under way. */
    static const struct {
        uint8_t failed, done;
    } after[NSTATES] = {
        [HOLDS_OLD] = {HOLDS_OLD, HOLDS_OLD}, [REPLACING] = {HOLDS_OLD, HOLDS_NEW},
        [CANCELLED] = {HOLDS_OLD, HOLDS_NEW}, [HOLDS_NEW] = {HOLDS_NEW, HOLDS_NEW},
        [RESTORING] = {RESTORED, RESTORED},   [RESTORED] = {RESTORED, RESTORED},
    };
    uint8_t now, next;

    if (slot < 0 || slot >= r->nslots || r->phase == ROLLOUT_OK || r->phase == ROLLOUT_FAILED)
        return;
    now = r->slots[slot];
    next = done ? after[now].done : after[now].failed;
    if (next == now)
        return;
    r->slots[slot] = next;
    r->busy--;
    if (next == HOLDS_OLD)
        r->phase = ROLLOUT_BACK;
    end_phase(r);
}

void rollout_done(struct rollout *r, int slot)
{
    take_outcome(r, slot, true);
}

void rollout_failed(struct rollout *r, int slot)
{
    take_outcome(r, slot, false);
}

void rollout_abandon(struct rollout *r)
{
    r->phase = ROLLOUT_FAILED;
    r->busy = 0;
}

int rollout_replaced(const struct rollout *r)
{
    return count_slots(r, HOLDS_NEW) + count_slots(r, RESTORING);
}

bool rollout_is_busy(const struct rollout *r, int slot)
{
    return slot < r->nslots && (r->slots[slot] == REPLACING || r->slots[slot] == CANCELLED ||
                                r->slots[slot] == RESTORING);
}

const char *rollout_step_name(enum rollout_step step)
{
    static const char *const names[] = {"starting", "ready", "done", "failed", "rolled back"};

    return names[step];
}
