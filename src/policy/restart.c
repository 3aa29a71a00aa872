#include "policy/restart.h"

/* So far from INT64_MAX that the jitter cannot overflow. */
#define DELAY_LIMIT (INT64_MAX / 2)

static int64_t within(int64_t value, int64_t low, int64_t high)
{
    return value < low ? low : value > high ? high : value;
}

int64_t restart_delay_ms(unsigned failures, int64_t backoff_ms, int64_t backoff_max_ms,
                         uint32_t random)
{
    int64_t max = within(backoff_max_ms, 1, DELAY_LIMIT);
    int64_t delay = within(backoff_ms, 1, max);
    int64_t spread;

    for (unsigned n = 1; n < failures && delay < max; n++)
        delay = delay > max / 2 ? max : delay * 2;
    spread = delay / 10;
    return delay - spread + (int64_t)random % (2 * spread + 1);
}
