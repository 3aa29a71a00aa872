/* The plan of a rolling replacement of one pool's slots. Pure: it says which slot is next and what
 * an outcome means; reload.c carries it out.
 *
 * The first slot is the canary and goes alone; then up to `batch` at once. A failure stops the
 * plan: slots under way are cancelled, slots already replaced go back, also `batch` at once. */
#ifndef PREFORKD_POLICY_ROLLOUT_H
#define PREFORKD_POLICY_ROLLOUT_H

#include "base/util.h"

enum rollout_phase {
    ROLLOUT_FORWARD,
    ROLLOUT_BACK,   /* after a failure: replaced slots return to the old generation */
    ROLLOUT_OK,     /* every slot was replaced */
    ROLLOUT_FAILED, /* every replaced slot is back */
};

struct rollout {
    enum rollout_phase phase;
    int nslots, batch;
    int busy;       /* slots under way */
    uint8_t *slots; /* enum rollout_slot, private */
};

/* -ENOMEM. nslots may be 0: the phase is OK at once. */
int rollout_init(struct rollout *r, int nslots, int batch);
void rollout_free(struct rollout *r);

enum rollout_order {
    ROLLOUT_NONE,    /* nothing to do now: wait for an outcome, or the plan is over */
    ROLLOUT_REPLACE, /* put the new generation into the slot */
    ROLLOUT_CANCEL,  /* give up the slot's replacement that is under way */
    ROLLOUT_RESTORE, /* put the old generation into the slot */
};

/* The next order, to be carried out and asked again until NONE. Each order is given once. */
enum rollout_order rollout_next(struct rollout *r, int *slot);

/* The outcome of a slot's REPLACE or RESTORE. Outcomes of slots that are not under way are ignored.
 * A RESTORE that fails counts as over: the slot goes on trying by itself. A slot that was
 * cancelled reports `done` when its replacement had gone too far: it is then restored. */
void rollout_done(struct rollout *r, int slot);
void rollout_failed(struct rollout *r, int slot);

/* Stops for good (the master stops): the phase becomes FAILED, nothing more is ordered. */
void rollout_abandon(struct rollout *r);

/* Whether the slot is under way. */
bool rollout_is_busy(const struct rollout *r, int slot);

int rollout_replaced(const struct rollout *r); /* slots that now hold the new generation */

/* What a slot goes through, in the words of those who are told of the progress. */
enum rollout_step {
    STEP_STARTING,
    STEP_READY,
    STEP_DONE,
    STEP_FAILED,
    STEP_ROLLED_BACK,
};

const char *rollout_step_name(enum rollout_step step);

#endif
