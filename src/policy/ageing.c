#include "policy/ageing.h"

enum {
    LOOK_MS = 5000,       /* at memory far from its limit */
    LOOK_NEAR_MS = 1000,  /* at memory near it, and while something is due that has to wait */
    PREMATURE_MS = 10000, /* twice the time between looks */
};

static bool is_over(const struct ageing_limits *limits, const struct ageing_sample *s)
{
    return limits->max_memory > 0 && s->memory > limits->max_memory;
}

static bool is_near(const struct ageing_limits *limits, const struct ageing_sample *s)
{
    return limits->max_memory > 0 && s->memory > limits->max_memory / 5 * 4;
}

int64_t ageing_lifetime_ms(int64_t max_lifetime_ms, uint32_t random)
{
    int64_t spread = max_lifetime_ms / 10;

    return max_lifetime_ms - spread + (int64_t)random % (2 * spread + 1);
}

/* Until its life is over; INT64_MAX: there is no limit. */
static int64_t time_left_ms(const struct ageing_limits *limits, const struct ageing_sample *s)
{
    if (limits->max_lifetime_ms <= 0)
        return INT64_MAX;
    return ageing_lifetime_ms(limits->max_lifetime_ms, s->random) - s->age_ms;
}

int ageing_choose(const struct ageing_limits *limits, const struct ageing_sample *samples, size_t n,
                  enum restart_reason *reason)
{
    int biggest = -1, oldest = -1;

    for (size_t i = 0; i < n; i++) {
        if (is_over(limits, &samples[i]) &&
            (biggest < 0 || samples[i].memory > samples[biggest].memory))
            biggest = (int)i;
        if (time_left_ms(limits, &samples[i]) <= 0 &&
            (oldest < 0 || samples[i].age_ms > samples[oldest].age_ms))
            oldest = (int)i;
    }
    *reason = biggest >= 0 ? RESTART_MEMORY : oldest >= 0 ? RESTART_LIFETIME : RESTART_NONE;
    return biggest >= 0 ? biggest : oldest;
}

bool ageing_is_premature(enum restart_reason reason, const struct ageing_sample *sample)
{
    return reason == RESTART_MEMORY && sample->age_ms < PREMATURE_MS;
}

int64_t ageing_next_look_ms(const struct ageing_limits *limits, const struct ageing_sample *samples,
                            size_t n)
{
    int64_t next_ms = n > 0 && limits->max_memory > 0 ? LOOK_MS : INT64_MAX;

    for (size_t i = 0; i < n; i++) {
        int64_t left_ms = time_left_ms(limits, &samples[i]);

        if (left_ms <= 0 || is_near(limits, &samples[i]))
            left_ms = LOOK_NEAR_MS;
        next_ms = left_ms < next_ms ? left_ms : next_ms;
    }
    return next_ms == INT64_MAX ? -1 : next_ms;
}
