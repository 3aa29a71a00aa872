/* Which worker has become too big or too old. Pure. */
#ifndef PREFORKD_POLICY_AGEING_H
#define PREFORKD_POLICY_AGEING_H

#include <stddef.h>

#include "policy/restart.h"

/* 0 or less: no limit */
struct ageing_limits {
    int64_t max_memory; /* bytes */
    int64_t max_lifetime_ms;
};

struct ageing_sample {
    int64_t memory; /* resident bytes */
    int64_t age_ms;
    uint32_t random; /* the same whenever the same worker is looked at */
};

/* How long that worker may live: +-10 %, so that workers which began together do not end together.
 */
int64_t ageing_lifetime_ms(int64_t max_lifetime_ms, uint32_t random);

/* The sample to act on first, the biggest one over the limit before the oldest; -1: none. */
int ageing_choose(const struct ageing_limits *limits, const struct ageing_sample *samples, size_t n,
                  enum restart_reason *reason);

/* Over the limit so early that its successor will be too. */
bool ageing_is_premature(enum restart_reason reason, const struct ageing_sample *sample);

/* When to look again; -1: nothing will come. */
int64_t ageing_next_look_ms(const struct ageing_limits *limits, const struct ageing_sample *samples,
                            size_t n);

#endif
