/* How many lines a log gets about the same thing: a number of them in a window of time, the rest
 * are only counted. Pure: times are given, in monotonic milliseconds. */
#ifndef PREFORKD_POLICY_LOG_LIMIT_H
#define PREFORKD_POLICY_LOG_LIMIT_H

#include "base/util.h"

#define LOG_LIMIT_LINES     50
#define LOG_LIMIT_WINDOW_MS 60000

/* All zero: no window yet. */
struct log_limit {
    int64_t began_ms; /* of the window, which its first line opens */
    unsigned passed, held;
    unsigned failures; /* that the owner counted in it */
};

/* Whether one more line may be written now; if not, it was counted as held back. */
bool log_limit_pass(struct log_limit *l, int64_t now_ms);

/* How long the window lasts from now on, at least 1. */
int64_t log_limit_left_ms(const struct log_limit *l, int64_t now_ms);

#endif
