#include "policy/breaker.h"

static bool is_too_often(const struct breaker *b, int64_t failures, int64_t window_ms,
                         int64_t now_ms)
{
    unsigned first;

    if (failures > BREAKER_FAILURES_MAX || b->count < failures)
        return false;
    first = (b->count - (unsigned)failures) % BREAKER_FAILURES_MAX;
    return now_ms - b->failed_ms[first] < window_ms;
}

void breaker_fail(struct breaker *b, int64_t failures, int64_t window_ms, int64_t now_ms)
{
    if (failures <= 0)
        return;
    b->failed_ms[b->count++ % BREAKER_FAILURES_MAX] = now_ms;
    if (b->count == 2 * BREAKER_FAILURES_MAX) /* so that it never overflows */
        b->count -= BREAKER_FAILURES_MAX;
    if (b->state == BREAKER_HALF_OPEN || is_too_often(b, failures, window_ms, now_ms))
        b->state = BREAKER_OPEN;
}

void breaker_try(struct breaker *b)
{
    if (b->state == BREAKER_OPEN)
        b->state = BREAKER_HALF_OPEN;
}

void breaker_prove(struct breaker *b)
{
    if (b->state == BREAKER_CLOSED)
        return; /* one stable run does not make up for the failures around it */
    b->state = BREAKER_CLOSED;
    b->count = 0;
}

const char *breaker_state_name(enum breaker_state state)
{
    static const char *const names[BREAKER_NSTATES] = {"closed", "open", "half-open"};

    return names[state];
}
