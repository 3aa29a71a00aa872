/* The life of a slot as a table: states x events -> next state and action bits. Pure: slot.c looks
 * a cell up, runs the action bits in the order of their values, and is the only writer of a slot's
 * state. "Wanted up" and "wanted down" are different states, so there is no flag to forget.
 *
 * A slot has up to two workers that count: the current one, and during a replacement the next.
 * A worker that was told to go is `leaving`: it escalates to KILL by itself, and the slot hears
 * LEFT when its last leaving worker is gone. */
#ifndef PREFORKD_POLICY_SLOT_FSM_H
#define PREFORKD_POLICY_SLOT_FSM_H

#include <stdbool.h>

enum slot_state {
    SLOT_DOWN,     /* no worker, none wanted */
    SLOT_STARTING, /* the current worker is not ready yet */
    SLOT_PROVING,  /* it is ready, but not for min-uptime yet */
    SLOT_UP,       /* it is ready and proved stable */
    SLOT_BACKOFF,  /* no current worker; the next start waits */
    SLOT_BROKEN,   /* no current worker; the breaker is open, the trial start waits */
    SLOT_FINISHED, /* no current worker; the last one ended, and `restart` wants no other */
    SLOT_ENDING,   /* wanted up: a worker leaves, then a new one starts at once */
    SLOT_AILING,  /* wanted up: a sick worker leaves, then a new one starts unless policy says no */
    SLOT_FAILING, /* wanted up: a worker that failed to start leaves, then backoff */
    SLOT_REPLACING, /* current ready, next starting */
    SLOT_SETTLING,  /* current ready, next ready but not for min-uptime yet */
    SLOT_HANDOVER,  /* the next became current, the old one leaves */
    SLOT_STOPPING,  /* wanted down: every worker leaves */
    SLOT_NSTATES
};

enum slot_event {
    EVENT_START,      /* wanted up */
    EVENT_STOP,       /* wanted down, gracefully */
    EVENT_KILL,       /* wanted down, now */
    EVENT_REPLACE,    /* put a worker of the wanted generation in */
    EVENT_CANCEL,     /* give the replacement up, keep the current worker */
    EVENT_READY,      /* the current worker became ready */
    EVENT_GONE,       /* the current worker ended, or could not be started */
    EVENT_TRIP,       /* as GONE, or LEFT of a worker that failed, and the breaker is open */
    EVENT_FINISH,     /* the same, and `restart` wants no further start */
    EVENT_SICK,       /* the current worker must be ended: watchdog */
    EVENT_NEXT_READY, /* the next worker became ready */
    EVENT_NEXT_GONE,  /* the next worker ended, or could not be started */
    EVENT_LEFT,    /* no worker is leaving any more (the last is gone, or given up as unkillable) */
    EVENT_TIMEOUT, /* the slot's timer fired */
    SLOT_NEVENTS
};

/* What to do, lowest bit first. */
enum slot_action {
    ACT_DISARM = 1 << 0,         /* stop the slot's timer */
    ACT_COUNT_FAILURE = 1 << 1,  /* one more failed start */
    ACT_RESET_FAILURES = 1 << 2, /* a stable run or an order: failures back to 0, breaker closed */
    ACT_TRY = 1 << 3,            /* the breaker lets one start through */
    ACT_STOP_CUR = 1 << 4,       /* current -> leaving, with the stop signal */
    ACT_STOP_NEXT = 1 << 5,      /* next -> leaving, with the stop signal */
    ACT_ABORT_CUR = 1 << 6,      /* current -> leaving, with ABRT for a core dump */
    ACT_KILL_ALL = 1 << 7,       /* current and next -> leaving; KILL to all that leave */
    ACT_PROMOTE = 1 << 8,        /* next -> current */
    ACT_ARM_START = 1 << 9,      /* timer: start-timeout */
    ACT_ARM_PROVE = 1 << 10,     /* timer: min-uptime */
    ACT_ARM_BACKOFF = 1 << 11,   /* timer: what the restart policy says */
    ACT_ARM_COOLDOWN = 1 << 12,  /* timer: breaker-cooldown */
    ACT_SPAWN = 1 << 13,         /* start the current worker */
    ACT_SPAWN_NEXT = 1 << 14,    /* start the next worker */
    ACT_TELL_FAILED = 1 << 15,   /* tell the rollout that this slot's replacement failed */
    ACT_TELL_DONE = 1 << 16,     /* tell the rollout that this slot's replacement is complete */
    ACT_TELL_END = 1 << 17,      /* tell it one or the other, by how the last worker ended */
    ACT_TELL_DOWN = 1 << 18,     /* tell the pool that this slot is down */
};

struct slot_cell {
    enum slot_state next;
    unsigned actions; /* enum slot_action bits */
    bool valid;       /* false: the event cannot happen in this state; it is logged and ignored */
};

struct slot_cell slot_fsm_step(enum slot_state state, enum slot_event event);

/* Facts about a state, for the slot and for the properties that the tests hold the table to. */
bool slot_fsm_wanted_up(enum slot_state state);
bool slot_fsm_serving(enum slot_state state); /* the current worker is ready */
bool slot_fsm_timed(enum slot_state state);   /* a timer runs while in it */
bool slot_fsm_leaving(enum slot_state state); /* it waits for LEFT */

/* The word of the contract that users see: down, starting, up, replacing, stopping, backoff,
 * broken. */
const char *slot_fsm_public_name(enum slot_state state);

/* For debug logs, tests and the generated diagram. */
const char *slot_fsm_state_name(enum slot_state state);
const char *slot_fsm_event_name(enum slot_event event);
const char *slot_fsm_action_name(enum slot_action action);

#endif
