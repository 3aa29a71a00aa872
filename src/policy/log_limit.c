#include "policy/log_limit.h"

bool log_limit_pass(struct log_limit *l, int64_t now_ms)
{
    if (l->held == 0 && (l->passed == 0 || now_ms - l->began_ms >= LOG_LIMIT_WINDOW_MS))
        *l = (struct log_limit){.began_ms = now_ms};
    if (l->passed < LOG_LIMIT_LINES) {
        l->passed++;
        return true;
    }
    l->held++;
    return false;
}

int64_t log_limit_left_ms(const struct log_limit *l, int64_t now_ms)
{
    int64_t left_ms = l->began_ms + LOG_LIMIT_WINDOW_MS - now_ms;

    return left_ms < 1 ? 1 : left_ms;
}
