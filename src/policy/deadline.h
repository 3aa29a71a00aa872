/* A time by which somebody else must have done something, watched by a timer of ours. When the
 * timer comes late, we did not run; maybe the other did not run either (a paused machine,
 * processors that were taken away), and what he said in time is still to be read. Then the deadline
 * is put off, once, by as much as was missed and at most by its own length. Pure: times are given,
 * in monotonic milliseconds. */
#ifndef PREFORKD_POLICY_DEADLINE_H
#define PREFORKD_POLICY_DEADLINE_H

#include "base/util.h"

struct deadline {
    int64_t due_ms, length_ms;
    bool put_off;
};

void deadline_set(struct deadline *d, int64_t length_ms, int64_t now_ms);

/* Asked when its timer fired. If not: the timer is due again in deadline_left_ms(). */
bool deadline_passed(struct deadline *d, int64_t now_ms);

int64_t deadline_left_ms(const struct deadline *d, int64_t now_ms); /* 0: none */

#endif
