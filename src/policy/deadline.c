#include "policy/deadline.h"

void deadline_set(struct deadline *d, int64_t length_ms, int64_t now_ms)
{
    *d = (struct deadline){.due_ms = now_ms + length_ms, .length_ms = length_ms};
}

bool deadline_passed(struct deadline *d, int64_t now_ms)
{
    int64_t missed_ms = now_ms - d->due_ms;

    if (missed_ms > 0 && !d->put_off) {
        d->put_off = true;
        d->due_ms = now_ms + (missed_ms < d->length_ms ? missed_ms : d->length_ms);
    }
    return now_ms >= d->due_ms;
}

int64_t deadline_left_ms(const struct deadline *d, int64_t now_ms)
{
    return d->due_ms > now_ms ? d->due_ms - now_ms : 0;
}
