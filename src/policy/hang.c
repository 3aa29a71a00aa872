#include "policy/hang.h"

/* Begins the time without progress, and that of which it is certain. */
static void note(struct hang *h, bool certain, int64_t now_ms)
{
    if (!h->waiting)
        h->since_ms = now_ms;
    if (!h->proving)
        h->certain_ms = now_ms;
    h->waiting = true;
    h->proving = certain;
}

enum hang_verdict hang_look(struct hang *h, const struct hang_sample *s, int64_t timeout_ms,
                            int64_t now_ms)
{
    if (!s->waiting || s->taken) {
        *h = (struct hang){0};
        return HANG_NONE;
    }
    note(h, s->certain, now_ms);
    if (now_ms - h->since_ms < HANG_SUSPECT_MS)
        return HANG_NONE;
    if (!h->proving || now_ms - h->certain_ms < HANG_PROOF_MS)
        return HANG_SUSPECT;
    return timeout_ms > 0 && now_ms - h->since_ms >= timeout_ms ? HANG_KILL : HANG_HUNG;
}

void hang_forgive(struct hang *h, int64_t gap_ms, int64_t timeout_ms, int64_t now_ms)
{
    int64_t most_ms = timeout_ms > HANG_GRACE_MS ? timeout_ms - HANG_GRACE_MS : 0;
    int64_t still_ms = now_ms - h->since_ms - gap_ms;

    h->since_ms = now_ms - (still_ms < 0 ? 0 : still_ms < most_ms ? still_ms : most_ms);
    h->certain_ms = now_ms;
}

bool hang_may_mask(int serving, int masked)
{
    return masked + 1 <= serving / 2;
}
