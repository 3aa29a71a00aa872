#include "policy/slot_fsm.h"

#include "base/util.h"

/* Short names for the table only. */
enum {
    DISARM = ACT_DISARM,
    COUNT = ACT_COUNT_FAILURE,
    RESET = ACT_RESET_FAILURES,
    TRY = ACT_TRY,
    STOP_CUR = ACT_STOP_CUR,
    STOP_NEXT = ACT_STOP_NEXT,
    ABORT_CUR = ACT_ABORT_CUR,
    KILL_ALL = ACT_KILL_ALL,
    PROMOTE = ACT_PROMOTE,
    START_TIMER = ACT_ARM_START,
    PROVE_TIMER = ACT_ARM_PROVE,
    BACKOFF_TIMER = ACT_ARM_BACKOFF,
    COOLDOWN_TIMER = ACT_ARM_COOLDOWN,
    SPAWN = ACT_SPAWN,
    SPAWN_NEXT = ACT_SPAWN_NEXT,
    TELL_FAILED = ACT_TELL_FAILED,
    TELL_DONE = ACT_TELL_DONE,
    TELL_END = ACT_TELL_END,
    TELL_DOWN = ACT_TELL_DOWN,
};

/* One row a state, one line an event. */
// clang-format off
#define TO(state, actions) {SLOT_##state, (actions), true}
#define NEVER              {0, 0, false}

static const struct slot_cell table[SLOT_NSTATES][SLOT_NEVENTS] = {
    [SLOT_DOWN] = {
        [EVENT_START]      = TO(STARTING, RESET | START_TIMER | SPAWN),
        [EVENT_STOP]       = TO(DOWN, TELL_DOWN),
        [EVENT_KILL]       = TO(DOWN, TELL_DOWN),
        [EVENT_REPLACE]    = TO(STARTING, RESET | START_TIMER | SPAWN),
        [EVENT_CANCEL]     = TO(DOWN, 0),
        [EVENT_READY]      = NEVER,
        [EVENT_GONE]       = NEVER,
        [EVENT_TRIP]       = NEVER,
        [EVENT_FINISH]     = NEVER,
        [EVENT_SICK]       = NEVER,
        [EVENT_NEXT_READY] = NEVER,
        [EVENT_NEXT_GONE]  = NEVER,
        [EVENT_LEFT]       = NEVER,
        [EVENT_TIMEOUT]    = NEVER,
    },
    [SLOT_STARTING] = {
        [EVENT_START]      = TO(STARTING, 0),
        [EVENT_STOP]       = TO(STOPPING, DISARM | STOP_CUR),
        [EVENT_KILL]       = TO(STOPPING, DISARM | KILL_ALL),
        [EVENT_REPLACE]    = TO(STARTING, DISARM | STOP_CUR | START_TIMER | SPAWN),
        [EVENT_CANCEL]     = TO(STARTING, TELL_DONE),
        [EVENT_READY]      = TO(PROVING, DISARM | PROVE_TIMER),
        [EVENT_GONE]       = TO(BACKOFF, DISARM | COUNT | BACKOFF_TIMER | TELL_FAILED),
        [EVENT_TRIP]       = TO(BROKEN, DISARM | COUNT | COOLDOWN_TIMER | TELL_FAILED),
        [EVENT_FINISH]     = TO(FINISHED, DISARM | TELL_END),
        [EVENT_SICK]       = TO(FAILING, DISARM | COUNT | ABORT_CUR | TELL_FAILED),
        [EVENT_NEXT_READY] = NEVER,
        [EVENT_NEXT_GONE]  = NEVER,
        [EVENT_LEFT]       = TO(STARTING, 0),
        [EVENT_TIMEOUT]    = TO(FAILING, COUNT | STOP_CUR | TELL_FAILED),
    },
    [SLOT_PROVING] = {
        [EVENT_START]      = TO(PROVING, 0),
        [EVENT_STOP]       = TO(STOPPING, DISARM | STOP_CUR),
        [EVENT_KILL]       = TO(STOPPING, DISARM | KILL_ALL),
        [EVENT_REPLACE]    = TO(REPLACING, DISARM | START_TIMER | SPAWN_NEXT),
        [EVENT_CANCEL]     = TO(PROVING, TELL_DONE),
        [EVENT_READY]      = NEVER,
        [EVENT_GONE]       = TO(BACKOFF, DISARM | COUNT | BACKOFF_TIMER | TELL_FAILED),
        [EVENT_TRIP]       = TO(BROKEN, DISARM | COUNT | COOLDOWN_TIMER | TELL_FAILED),
        [EVENT_FINISH]     = TO(FINISHED, DISARM | TELL_END),
        [EVENT_SICK]       = TO(FAILING, DISARM | COUNT | ABORT_CUR | TELL_FAILED),
        [EVENT_NEXT_READY] = NEVER,
        [EVENT_NEXT_GONE]  = NEVER,
        [EVENT_LEFT]       = TO(PROVING, 0),
        [EVENT_TIMEOUT]    = TO(UP, RESET | TELL_DONE),
    },
    [SLOT_UP] = {
        [EVENT_START]      = TO(UP, 0),
        [EVENT_STOP]       = TO(STOPPING, STOP_CUR),
        [EVENT_KILL]       = TO(STOPPING, KILL_ALL),
        [EVENT_REPLACE]    = TO(REPLACING, START_TIMER | SPAWN_NEXT),
        [EVENT_CANCEL]     = TO(UP, 0),
        [EVENT_READY]      = NEVER,
        [EVENT_GONE]       = TO(STARTING, START_TIMER | SPAWN),
        [EVENT_TRIP]       = TO(BROKEN, COOLDOWN_TIMER),
        [EVENT_FINISH]     = TO(FINISHED, 0),
        [EVENT_SICK]       = TO(AILING, ABORT_CUR),
        [EVENT_NEXT_READY] = NEVER,
        [EVENT_NEXT_GONE]  = NEVER,
        [EVENT_LEFT]       = TO(UP, 0),
        [EVENT_TIMEOUT]    = NEVER,
    },
    [SLOT_BACKOFF] = {
        [EVENT_START]      = TO(BACKOFF, 0),
        [EVENT_STOP]       = TO(STOPPING, DISARM),
        [EVENT_KILL]       = TO(STOPPING, DISARM | KILL_ALL),
        [EVENT_REPLACE]    = TO(STARTING, DISARM | START_TIMER | SPAWN),
        [EVENT_CANCEL]     = TO(BACKOFF, 0),
        [EVENT_READY]      = NEVER,
        [EVENT_GONE]       = NEVER,
        [EVENT_TRIP]       = NEVER,
        [EVENT_FINISH]     = NEVER,
        [EVENT_SICK]       = NEVER,
        [EVENT_NEXT_READY] = NEVER,
        [EVENT_NEXT_GONE]  = NEVER,
        [EVENT_LEFT]       = TO(BACKOFF, 0),
        [EVENT_TIMEOUT]    = TO(STARTING, START_TIMER | SPAWN),
    },
    [SLOT_BROKEN] = {
        [EVENT_START]      = TO(BROKEN, 0),
        [EVENT_STOP]       = TO(STOPPING, DISARM),
        [EVENT_KILL]       = TO(STOPPING, DISARM | KILL_ALL),
        [EVENT_REPLACE]    = TO(STARTING, DISARM | RESET | START_TIMER | SPAWN),
        [EVENT_CANCEL]     = TO(BROKEN, 0),
        [EVENT_READY]      = NEVER,
        [EVENT_GONE]       = NEVER,
        [EVENT_TRIP]       = NEVER,
        [EVENT_FINISH]     = NEVER,
        [EVENT_SICK]       = NEVER,
        [EVENT_NEXT_READY] = NEVER,
        [EVENT_NEXT_GONE]  = NEVER,
        [EVENT_LEFT]       = TO(BROKEN, 0),
        [EVENT_TIMEOUT]    = TO(STARTING, TRY | START_TIMER | SPAWN),
    },
    [SLOT_FINISHED] = {
        [EVENT_START]      = TO(FINISHED, 0),
        [EVENT_STOP]       = TO(STOPPING, 0),
        [EVENT_KILL]       = TO(STOPPING, KILL_ALL),
        [EVENT_REPLACE]    = TO(STARTING, RESET | START_TIMER | SPAWN),
        [EVENT_CANCEL]     = TO(FINISHED, 0),
        [EVENT_READY]      = NEVER,
        [EVENT_GONE]       = NEVER,
        [EVENT_TRIP]       = NEVER,
        [EVENT_FINISH]     = NEVER,
        [EVENT_SICK]       = NEVER,
        [EVENT_NEXT_READY] = NEVER,
        [EVENT_NEXT_GONE]  = NEVER,
        [EVENT_LEFT]       = TO(FINISHED, 0),
        [EVENT_TIMEOUT]    = NEVER,
    },
    [SLOT_ENDING] = {
        [EVENT_START]      = TO(ENDING, 0),
        [EVENT_STOP]       = TO(STOPPING, 0),
        [EVENT_KILL]       = TO(STOPPING, KILL_ALL),
        [EVENT_REPLACE]    = TO(ENDING, 0),
        [EVENT_CANCEL]     = TO(ENDING, TELL_DONE),
        [EVENT_READY]      = NEVER,
        [EVENT_GONE]       = NEVER,
        [EVENT_TRIP]       = NEVER,
        [EVENT_FINISH]     = NEVER,
        [EVENT_SICK]       = NEVER,
        [EVENT_NEXT_READY] = NEVER,
        [EVENT_NEXT_GONE]  = NEVER,
        [EVENT_LEFT]       = TO(STARTING, START_TIMER | SPAWN),
        [EVENT_TIMEOUT]    = NEVER,
    },
    [SLOT_AILING] = {
        [EVENT_START]      = TO(AILING, 0),
        [EVENT_STOP]       = TO(STOPPING, 0),
        [EVENT_KILL]       = TO(STOPPING, KILL_ALL),
        [EVENT_REPLACE]    = TO(ENDING, 0),
        [EVENT_CANCEL]     = TO(AILING, TELL_DONE),
        [EVENT_READY]      = NEVER,
        [EVENT_GONE]       = NEVER,
        [EVENT_TRIP]       = TO(BROKEN, COOLDOWN_TIMER | TELL_FAILED),
        [EVENT_FINISH]     = TO(FINISHED, TELL_END),
        [EVENT_SICK]       = NEVER,
        [EVENT_NEXT_READY] = NEVER,
        [EVENT_NEXT_GONE]  = NEVER,
        [EVENT_LEFT]       = TO(STARTING, START_TIMER | SPAWN),
        [EVENT_TIMEOUT]    = NEVER,
    },
    [SLOT_FAILING] = {
        [EVENT_START]      = TO(FAILING, 0),
        [EVENT_STOP]       = TO(STOPPING, 0),
        [EVENT_KILL]       = TO(STOPPING, KILL_ALL),
        [EVENT_REPLACE]    = TO(ENDING, 0),
        [EVENT_CANCEL]     = TO(FAILING, 0),
        [EVENT_READY]      = NEVER,
        [EVENT_GONE]       = NEVER,
        [EVENT_TRIP]       = TO(BROKEN, COOLDOWN_TIMER),
        [EVENT_FINISH]     = TO(FINISHED, 0),
        [EVENT_SICK]       = NEVER,
        [EVENT_NEXT_READY] = NEVER,
        [EVENT_NEXT_GONE]  = NEVER,
        [EVENT_LEFT]       = TO(BACKOFF, BACKOFF_TIMER),
        [EVENT_TIMEOUT]    = NEVER,
    },
    [SLOT_REPLACING] = {
        [EVENT_START]      = TO(REPLACING, 0),
        [EVENT_STOP]       = TO(STOPPING, DISARM | STOP_CUR | STOP_NEXT),
        [EVENT_KILL]       = TO(STOPPING, DISARM | KILL_ALL),
        [EVENT_REPLACE]    = TO(REPLACING, DISARM | STOP_NEXT | START_TIMER | SPAWN_NEXT),
        [EVENT_CANCEL]     = TO(UP, DISARM | STOP_NEXT | TELL_FAILED),
        [EVENT_READY]      = NEVER,
        [EVENT_GONE]       = TO(STARTING, PROMOTE),
        [EVENT_TRIP]       = NEVER,
        [EVENT_FINISH]     = NEVER,
        [EVENT_SICK]       = TO(STARTING, ABORT_CUR | PROMOTE),
        [EVENT_NEXT_READY] = TO(SETTLING, DISARM | PROVE_TIMER),
        [EVENT_NEXT_GONE]  = TO(UP, DISARM | TELL_FAILED),
        [EVENT_LEFT]       = TO(REPLACING, 0),
        [EVENT_TIMEOUT]    = TO(UP, STOP_NEXT | TELL_FAILED),
    },
    [SLOT_SETTLING] = {
        [EVENT_START]      = TO(SETTLING, 0),
        [EVENT_STOP]       = TO(STOPPING, DISARM | STOP_CUR | STOP_NEXT),
        [EVENT_KILL]       = TO(STOPPING, DISARM | KILL_ALL),
        [EVENT_REPLACE]    = TO(REPLACING, DISARM | STOP_NEXT | START_TIMER | SPAWN_NEXT),
        [EVENT_CANCEL]     = TO(UP, DISARM | STOP_NEXT | TELL_FAILED),
        [EVENT_READY]      = NEVER,
        [EVENT_GONE]       = TO(PROVING, PROMOTE),
        [EVENT_TRIP]       = NEVER,
        [EVENT_FINISH]     = NEVER,
        [EVENT_SICK]       = TO(PROVING, ABORT_CUR | PROMOTE),
        [EVENT_NEXT_READY] = NEVER,
        [EVENT_NEXT_GONE]  = TO(UP, DISARM | TELL_FAILED),
        [EVENT_LEFT]       = TO(SETTLING, 0),
        [EVENT_TIMEOUT]    = TO(HANDOVER, RESET | STOP_CUR | PROMOTE),
    },
    [SLOT_HANDOVER] = {
        [EVENT_START]      = TO(HANDOVER, 0),
        [EVENT_STOP]       = TO(STOPPING, STOP_CUR),
        [EVENT_KILL]       = TO(STOPPING, KILL_ALL),
        [EVENT_REPLACE]    = TO(REPLACING, START_TIMER | SPAWN_NEXT),
        [EVENT_CANCEL]     = TO(HANDOVER, 0),
        [EVENT_READY]      = NEVER,
        [EVENT_GONE]       = TO(STARTING, START_TIMER | SPAWN),
        [EVENT_TRIP]       = TO(BROKEN, COOLDOWN_TIMER | TELL_FAILED),
        [EVENT_FINISH]     = TO(FINISHED, TELL_END),
        [EVENT_SICK]       = TO(AILING, ABORT_CUR),
        [EVENT_NEXT_READY] = NEVER,
        [EVENT_NEXT_GONE]  = NEVER,
        [EVENT_LEFT]       = TO(UP, TELL_DONE),
        [EVENT_TIMEOUT]    = NEVER,
    },
    [SLOT_STOPPING] = {
        [EVENT_START]      = TO(ENDING, 0),
        [EVENT_STOP]       = TO(STOPPING, 0),
        [EVENT_KILL]       = TO(STOPPING, KILL_ALL),
        [EVENT_REPLACE]    = TO(ENDING, 0),
        [EVENT_CANCEL]     = TO(STOPPING, 0),
        [EVENT_READY]      = NEVER,
        [EVENT_GONE]       = NEVER,
        [EVENT_TRIP]       = NEVER,
        [EVENT_FINISH]     = NEVER,
        [EVENT_SICK]       = NEVER,
        [EVENT_NEXT_READY] = NEVER,
        [EVENT_NEXT_GONE]  = NEVER,
        [EVENT_LEFT]       = TO(DOWN, TELL_DOWN),
        [EVENT_TIMEOUT]    = NEVER,
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
    [SLOT_BROKEN]    = {"broken",    "broken",    true,  false, true,  false},
    [SLOT_FINISHED]  = {"finished",  "down",      true,  false, false, false},
    [SLOT_ENDING]    = {"ending",    "stopping",  true,  false, false, true},
    [SLOT_AILING]    = {"ailing",    "stopping",  true,  false, false, true},
    [SLOT_FAILING]   = {"failing",   "stopping",  true,  false, false, true},
    [SLOT_REPLACING] = {"replacing", "replacing", true,  true,  true,  false},
    [SLOT_SETTLING]  = {"settling",  "replacing", true,  true,  true,  false},
    [SLOT_HANDOVER]  = {"handover",  "replacing", true,  true,  false, true},
    [SLOT_STOPPING]  = {"stopping",  "stopping",  false, false, false, true},
};

static const char *const event_names[SLOT_NEVENTS] = {
    [EVENT_START] = "start",           [EVENT_STOP] = "stop",
    [EVENT_KILL] = "kill",             [EVENT_REPLACE] = "replace",
    [EVENT_CANCEL] = "cancel",         [EVENT_READY] = "ready",
    [EVENT_GONE] = "gone",             [EVENT_TRIP] = "trip",
    [EVENT_FINISH] = "finish",         [EVENT_SICK] = "sick",
    [EVENT_NEXT_READY] = "next-ready", [EVENT_NEXT_GONE] = "next-gone",
    [EVENT_LEFT] = "left",             [EVENT_TIMEOUT] = "timeout",
};

static const char *const action_names[] = {
    "disarm", "count-failure", "reset-failures", "try", "stop-current", "stop-next",
    "abort-current", "kill-all", "promote", "arm-start", "arm-prove", "arm-backoff",
    "arm-cooldown", "spawn", "spawn-next", "tell-failed", "tell-done", "tell-end", "tell-down",
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
