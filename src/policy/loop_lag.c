#include "policy/loop_lag.h"

#define MINUTE_US 60000000

static struct loop_lag at(const struct loop_lag *lag, int64_t at_us)
{
    int64_t minute = at_us / MINUTE_US;

    if (minute == lag->minute)
        return *lag;
    return (struct loop_lag){.minute = minute,
                             .before_us = minute == lag->minute + 1 ? lag->now_us : 0};
}

void loop_lag_add(struct loop_lag *lag, int64_t at_us, int64_t took_us)
{
    *lag = at(lag, at_us);
    if (took_us > lag->now_us)
        lag->now_us = took_us;
}

int64_t loop_lag_us(const struct loop_lag *lag, int64_t at_us)
{
    struct loop_lag now = at(lag, at_us);

    return now.now_us > now.before_us ? now.now_us : now.before_us;
}
