#include "policy/restart.h"

#include "base/util.h"

int64_t restart_delay_ms(unsigned failures, int64_t backoff_ms, int64_t backoff_max_ms,
                         uint32_t random)
{
    int64_t max = backoff_max_ms < 1 ? 1 : backoff_max_ms;
    int64_t delay = backoff_ms < 1 ? 1 : backoff_ms > max ? max : backoff_ms;
    int64_t spread;

    for (unsigned n = 1; n < failures && delay < max; n++)
        delay = delay > max / 2 ? max : delay * 2;
    spread = delay / 10;
    return delay - spread + (int64_t)random % (2 * spread + 1);
}

static const char *const names[RESTART_NREASONS] = {
    [RESTART_NONE] = "none",         [RESTART_EXIT] = "exit",
    [RESTART_SIGNAL] = "signal",     [RESTART_HANG] = "hang",
    [RESTART_WATCHDOG] = "watchdog", [RESTART_START_TIMEOUT] = "start_timeout",
    [RESTART_MEMORY] = "memory",     [RESTART_LIFETIME] = "lifetime",
    [RESTART_RELOAD] = "reload",     [RESTART_MANUAL] = "manual",
};

const char *restart_reason_name(enum restart_reason reason)
{
    return names[reason];
}

enum restart_reason restart_reason_named(const char *name)
{
    for (enum restart_reason r = RESTART_NONE; name && r < RESTART_NREASONS; r++)
        if (streq(names[r], name))
            return r;
    return RESTART_NONE;
}
