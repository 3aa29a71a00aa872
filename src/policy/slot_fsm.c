#include "policy/slot_fsm.h"

#include "base/util.h"

/* Short names for the table only. */
enum {
    DISARM = ACT_DISARM,
    COUNT = ACT_COUNT_FAILURE,
    RESET = ACT_RESET_FAILURES,
    STOP_CUR = ACT_STOP_CUR,
    STOP_NEXT = ACT_STOP_NEXT,
    ABORT_CUR = ACT_ABORT_CUR,
    KILL_ALL = ACT_KILL_ALL,
    PROMOTE = ACT_PROMOTE,
    START_TIMER = ACT_ARM_START,
    PROVE_TIMER = ACT_ARM_PROVE,
    BACKOFF_TIMER = ACT_ARM_BACKOFF,
    SPAWN = ACT_SPAWN,
    SPAWN_NEXT = ACT_SPAWN_NEXT,
    TELL_FAILED = ACT_TELL_FAILED,
    TELL_DONE = ACT_TELL_DONE,
    TELL_DOWN = ACT_TELL_DOWN,
};

#define TO(state, actions)                                                                         \
    {                                                                                              \
        SLOT_##state, (actions), true                                                              \
    }
#define NEVER                                                                                      \
    {                                                                                              \
        0, 0, false                                                                                \
    }

/* One row a state, one line an event. */
// clang-format off
static const struct slot_cell table[SLOT_NSTATES][EV_NEVENTS] = {
    [SLOT_DOWN] = {
        [EV_START]      = TO(STARTING, START_TIMER | SPAWN),
        [EV_STOP]       = TO(DOWN, TELL_DOWN),
        [EV_KILL]       = TO(DOWN, TELL_DOWN),
        [EV_REPLACE]    = TO(STARTING, START_TIMER | SPAWN),
        [EV_CANCEL]     = TO(DOWN, 0),
        [EV_READY]      = NEVER,
        [EV_GONE]       = NEVER,
        [EV_SICK]       = NEVER,
        [EV_NEXT_READY] = NEVER,
        [EV_NEXT_GONE]  = NEVER,
        [EV_LEFT]       = NEVER,
        [EV_TIMEOUT]    = NEVER,
    },
    [SLOT_STARTING] = {
        [EV_START]      = TO(STARTING, 0),
        [EV_STOP]       = TO(STOPPING, DISARM | STOP_CUR),
        [EV_KILL]       = TO(STOPPING, DISARM | KILL_ALL),
        [EV_REPLACE]    = TO(STARTING, DISARM | STOP_CUR | START_TIMER | SPAWN),
        [EV_CANCEL]     = TO(STARTING, TELL_DONE),
        [EV_READY]      = TO(PROVING, DISARM | PROVE_TIMER),
        [EV_GONE]       = TO(BACKOFF, DISARM | COUNT | BACKOFF_TIMER | TELL_FAILED),
        [EV_SICK]       = TO(FAILING, DISARM | COUNT | ABORT_CUR | TELL_FAILED),
        [EV_NEXT_READY] = NEVER,
        [EV_NEXT_GONE]  = NEVER,
        [EV_LEFT]       = TO(STARTING, 0),
        [EV_TIMEOUT]    = TO(FAILING, COUNT | STOP_CUR | TELL_FAILED),
    },
    [SLOT_PROVING] = {
        [EV_START]      = TO(PROVING, 0),
        [EV_STOP]       = TO(STOPPING, DISARM | STOP_CUR),
        [EV_KILL]       = TO(STOPPING, DISARM | KILL_ALL),
        [EV_REPLACE]    = TO(REPLACING, DISARM | START_TIMER | SPAWN_NEXT),
        [EV_CANCEL]     = TO(PROVING, TELL_DONE),
        [EV_READY]      = NEVER,
        [EV_GONE]       = TO(BACKOFF, DISARM | COUNT | BACKOFF_TIMER | TELL_FAILED),
        [EV_SICK]       = TO(FAILING, DISARM | COUNT | ABORT_CUR | TELL_FAILED),
        [EV_NEXT_READY] = NEVER,
        [EV_NEXT_GONE]  = NEVER,
        [EV_LEFT]       = TO(PROVING, 0),
        [EV_TIMEOUT]    = TO(UP, RESET | TELL_DONE),
    },
    [SLOT_UP] = {
        [EV_START]      = TO(UP, 0),
        [EV_STOP]       = TO(STOPPING, STOP_CUR),
        [EV_KILL]       = TO(STOPPING, KILL_ALL),
        [EV_REPLACE]    = TO(REPLACING, START_TIMER | SPAWN_NEXT),
        [EV_CANCEL]     = TO(UP, 0),
        [EV_READY]      = NEVER,
        [EV_GONE]       = TO(STARTING, START_TIMER | SPAWN),
        [EV_SICK]       = TO(ENDING, ABORT_CUR),
        [EV_NEXT_READY] = NEVER,
        [EV_NEXT_GONE]  = NEVER,
        [EV_LEFT]       = TO(UP, 0),
        [EV_TIMEOUT]    = NEVER,
    },
    [SLOT_BACKOFF] = {
        [EV_START]      = TO(BACKOFF, 0),
        [EV_STOP]       = TO(STOPPING, DISARM),
        [EV_KILL]       = TO(STOPPING, DISARM | KILL_ALL),
        [EV_REPLACE]    = TO(STARTING, DISARM | START_TIMER | SPAWN),
        [EV_CANCEL]     = TO(BACKOFF, 0),
        [EV_READY]      = NEVER,
        [EV_GONE]       = NEVER,
        [EV_SICK]       = NEVER,
        [EV_NEXT_READY] = NEVER,
        [EV_NEXT_GONE]  = NEVER,
        [EV_LEFT]       = TO(BACKOFF, 0),
        [EV_TIMEOUT]    = TO(STARTING, START_TIMER | SPAWN),
    },
    [SLOT_ENDING] = {
        [EV_START]      = TO(ENDING, 0),
        [EV_STOP]       = TO(STOPPING, 0),
        [EV_KILL]       = TO(STOPPING, KILL_ALL),
        [EV_REPLACE]    = TO(ENDING, 0),
        [EV_CANCEL]     = TO(ENDING, TELL_DONE),
        [EV_READY]      = NEVER,
        [EV_GONE]       = NEVER,
        [EV_SICK]       = NEVER,
        [EV_NEXT_READY] = NEVER,
        [EV_NEXT_GONE]  = NEVER,
        [EV_LEFT]       = TO(STARTING, START_TIMER | SPAWN),
        [EV_TIMEOUT]    = NEVER,
    },
    [SLOT_FAILING] = {
        [EV_START]      = TO(FAILING, 0),
        [EV_STOP]       = TO(STOPPING, 0),
        [EV_KILL]       = TO(STOPPING, KILL_ALL),
        [EV_REPLACE]    = TO(ENDING, 0),
        [EV_CANCEL]     = TO(FAILING, 0),
        [EV_READY]      = NEVER,
        [EV_GONE]       = NEVER,
        [EV_SICK]       = NEVER,
        [EV_NEXT_READY] = NEVER,
        [EV_NEXT_GONE]  = NEVER,
        [EV_LEFT]       = TO(BACKOFF, BACKOFF_TIMER),
        [EV_TIMEOUT]    = NEVER,
    },
    [SLOT_REPLACING] = {
        [EV_START]      = TO(REPLACING, 0),
        [EV_STOP]       = TO(STOPPING, DISARM | STOP_CUR | STOP_NEXT),
        [EV_KILL]       = TO(STOPPING, DISARM | KILL_ALL),
        [EV_REPLACE]    = NEVER,
        [EV_CANCEL]     = TO(UP, DISARM | STOP_NEXT | TELL_FAILED),
        [EV_READY]      = NEVER,
        [EV_GONE]       = TO(STARTING, PROMOTE),
        [EV_SICK]       = TO(STARTING, ABORT_CUR | PROMOTE),
        [EV_NEXT_READY] = TO(SETTLING, DISARM | PROVE_TIMER),
        [EV_NEXT_GONE]  = TO(UP, DISARM | TELL_FAILED),
        [EV_LEFT]       = TO(REPLACING, 0),
        [EV_TIMEOUT]    = TO(UP, STOP_NEXT | TELL_FAILED),
    },
    [SLOT_SETTLING] = {
        [EV_START]      = TO(SETTLING, 0),
        [EV_STOP]       = TO(STOPPING, DISARM | STOP_CUR | STOP_NEXT),
        [EV_KILL]       = TO(STOPPING, DISARM | KILL_ALL),
        [EV_REPLACE]    = NEVER,
        [EV_CANCEL]     = TO(UP, DISARM | STOP_NEXT | TELL_FAILED),
        [EV_READY]      = NEVER,
        [EV_GONE]       = TO(PROVING, PROMOTE),
        [EV_SICK]       = TO(PROVING, ABORT_CUR | PROMOTE),
        [EV_NEXT_READY] = NEVER,
        [EV_NEXT_GONE]  = TO(UP, DISARM | TELL_FAILED),
        [EV_LEFT]       = TO(SETTLING, 0),
        [EV_TIMEOUT]    = TO(HANDOVER, RESET | STOP_CUR | PROMOTE),
    },
    [SLOT_HANDOVER] = {
        [EV_START]      = TO(HANDOVER, 0),
        [EV_STOP]       = TO(STOPPING, STOP_CUR),
        [EV_KILL]       = TO(STOPPING, KILL_ALL),
        [EV_REPLACE]    = NEVER,
        [EV_CANCEL]     = TO(HANDOVER, 0),
        [EV_READY]      = NEVER,
        [EV_GONE]       = TO(STARTING, START_TIMER | SPAWN),
        [EV_SICK]       = TO(ENDING, ABORT_CUR),
        [EV_NEXT_READY] = NEVER,
        [EV_NEXT_GONE]  = NEVER,
        [EV_LEFT]       = TO(UP, TELL_DONE),
        [EV_TIMEOUT]    = NEVER,
    },
    [SLOT_STOPPING] = {
        [EV_START]      = TO(ENDING, 0),
        [EV_STOP]       = TO(STOPPING, 0),
        [EV_KILL]       = TO(STOPPING, KILL_ALL),
        [EV_REPLACE]    = TO(ENDING, 0),
        [EV_CANCEL]     = TO(STOPPING, 0),
        [EV_READY]      = NEVER,
        [EV_GONE]       = NEVER,
        [EV_SICK]       = NEVER,
        [EV_NEXT_READY] = NEVER,
        [EV_NEXT_GONE]  = NEVER,
        [EV_LEFT]       = TO(DOWN, TELL_DOWN),
        [EV_TIMEOUT]    = NEVER,
    },
};

static const struct {
    const char *name, *public_name;
    bool wanted_up, serving, timed, leaving;
} facts[SLOT_NSTATES] = {
    [SLOT_DOWN]      = {"down",      "down",      false, false, false, false},
    [SLOT_STARTING]  = {"starting",  "starting",  true,  false, true,  false},
    [SLOT_PROVING]   = {"proving",   "up",        true,  true,  true,  false},
    [SLOT_UP]        = {"up",        "up",        true,  true,  false, false},
    [SLOT_BACKOFF]   = {"backoff",   "backoff",   true,  false, true,  false},
    [SLOT_ENDING]    = {"ending",    "stopping",  true,  false, false, true},
    [SLOT_FAILING]   = {"failing",   "stopping",  true,  false, false, true},
    [SLOT_REPLACING] = {"replacing", "replacing", true,  true,  true,  false},
    [SLOT_SETTLING]  = {"settling",  "replacing", true,  true,  true,  false},
    [SLOT_HANDOVER]  = {"handover",  "replacing", true,  true,  false, true},
    [SLOT_STOPPING]  = {"stopping",  "stopping",  false, false, false, true},
};

static const char *const event_names[EV_NEVENTS] = {
    [EV_START] = "start",           [EV_STOP] = "stop",
    [EV_KILL] = "kill",             [EV_REPLACE] = "replace",
    [EV_CANCEL] = "cancel",         [EV_READY] = "ready",
    [EV_GONE] = "gone",             [EV_SICK] = "sick",
    [EV_NEXT_READY] = "next-ready", [EV_NEXT_GONE] = "next-gone",
    [EV_LEFT] = "left",             [EV_TIMEOUT] = "timeout",
};

static const char *const action_names[] = {
    "disarm", "count-failure", "reset-failures", "stop-current", "stop-next", "abort-current",
    "kill-all", "promote", "arm-start", "arm-prove", "arm-backoff", "spawn", "spawn-next",
    "tell-failed", "tell-done", "tell-down",
};
// clang-format on

struct slot_cell slot_fsm_step(enum slot_state state, enum slot_event event)
{
    return table[state][event];
}

bool slot_fsm_wanted_up(enum slot_state state)
{
    return facts[state].wanted_up;
}

bool slot_fsm_serving(enum slot_state state)
{
    return facts[state].serving;
}

bool slot_fsm_timed(enum slot_state state)
{
    return facts[state].timed;
}

bool slot_fsm_leaving(enum slot_state state)
{
    return facts[state].leaving;
}

const char *slot_fsm_public_name(enum slot_state state)
{
    return facts[state].public_name;
}

const char *slot_fsm_state_name(enum slot_state state)
{
    return facts[state].name;
}

const char *slot_fsm_event_name(enum slot_event event)
{
    return event_names[event];
}

const char *slot_fsm_action_name(enum slot_action action)
{
    unsigned bit = (unsigned)__builtin_ctz((unsigned)action);

    return bit < ARRAY_SIZE(action_names) ? action_names[bit] : "?";
}
