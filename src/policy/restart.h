/* Whether, why and when a slot starts another worker after one that ended. Pure. */
#ifndef PREFORKD_POLICY_RESTART_H
#define PREFORKD_POLICY_RESTART_H

#include <stdbool.h>
#include <stdint.h>

/* The wait before the next start after `failures` failed starts in a row (>= 1):
 * backoff x 2^(failures-1), at most backoff_max, then +-10 % jitter. `random` is any 32 random
 * bits. Milliseconds, at least 1. */
int64_t restart_delay_ms(unsigned failures, int64_t backoff_ms, int64_t backoff_max_ms,
                         uint32_t random);

/* What a worker ended of or is replaced for, in the words of log, status and metrics. */
enum restart_reason {
    RESTART_NONE, /* the first start, or not known yet */
    RESTART_EXIT, /* it ended by itself, with any exit status */
    RESTART_SIGNAL,
    RESTART_OOM,  /* the kernel killed it for want of memory */
    RESTART_HANG, /* it no longer accepted connections */
    RESTART_WATCHDOG,
    RESTART_PROBE,
    RESTART_START_TIMEOUT,
    RESTART_MEMORY,   /* over max-memory */
    RESTART_LIFETIME, /* over max-lifetime */
    RESTART_RELOAD,
    RESTART_MANUAL,
    RESTART_NREASONS
};

const char *restart_reason_name(enum restart_reason reason);

/* `restart` */
enum restart_policy { RESTART_ALWAYS, RESTART_ON_FAILURE, RESTART_NEVER };

/* How a worker's time as the current one came to its end. */
enum restart_end {
    END_CLEAN,  /* by itself: status 0, or a signal that asks programs to stop */
    END_FAILED, /* status other than 0, a crash, or its master had to end it */
    END_KILLED, /* by somebody else, or nobody can tell */
    END_LIMIT,  /* it never ran, since the system had no room for it */
    END_NENDS
};

const char *restart_end_name(enum restart_end end);

/* Which of the first two an exit status or signal is. Signals as systemd.service(5) sees them: HUP,
 * INT, TERM and PIPE are clean. */
enum restart_end restart_end_of(bool exited, int code);

/* Whether trying again later can help where a start failed with this errno: limits of the system, a
 * binary that is just being written. */
bool restart_is_limit(int err);

/* What follows. A limit of the system is no fault of the slot; nor is what others do to a worker
 * that was ready, or its clean end then, since consumers end after so many jobs. */
struct restart_verdict {
    bool counts; /* for the circuit breaker */
    bool over;   /* no further start */
};
struct restart_verdict restart_judge(enum restart_policy policy, enum restart_end end,
                                     bool was_ready);

#endif
