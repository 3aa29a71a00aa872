#include "policy/restart.h"

#include <errno.h>

#include "base/sys.h"
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

static const char *const reason_names[RESTART_NREASONS] = {
    [RESTART_NONE] = "none",     [RESTART_EXIT] = "exit",
    [RESTART_SIGNAL] = "signal", [RESTART_OOM] = "oom",
    [RESTART_HANG] = "hang",     [RESTART_WATCHDOG] = "watchdog",
    [RESTART_PROBE] = "probe",   [RESTART_START_TIMEOUT] = "start_timeout",
    [RESTART_MEMORY] = "memory", [RESTART_LIFETIME] = "lifetime",
    [RESTART_RELOAD] = "reload", [RESTART_MANUAL] = "manual",
};

const char *restart_reason_name(enum restart_reason reason)
{
    return reason_names[reason];
}

const char *restart_end_name(enum restart_end end)
{
    static const char *const names[END_NENDS] = {"clean", "failed", "killed", "limit"};

    return names[end];
}

enum restart_end restart_end_of(bool exited, int code)
{
    static const char *const clean[] = {"HUP", "INT", "TERM", "PIPE"};

    if (exited)
        return code == 0 ? END_CLEAN : END_FAILED;
    for (size_t i = 0; i < ARRAY_SIZE(clean); i++)
        if (streq(sys_signal_name(code), clean[i]))
            return END_CLEAN;
    return END_FAILED;
}

bool restart_is_limit(int err)
{
    return err == EAGAIN || err == ENOMEM || err == EMFILE || err == ENFILE || err == ETXTBSY ||
           err == EINTR;
}

struct restart_verdict restart_judge(enum restart_policy policy, enum restart_end end,
                                     bool was_ready)
{
    if (end == END_LIMIT)
        return (struct restart_verdict){.counts = false, .over = false};
    return (struct restart_verdict){
        .counts = end == END_FAILED || !was_ready,
        .over = policy == RESTART_NEVER || (policy == RESTART_ON_FAILURE && end == END_CLEAN),
    };
}
