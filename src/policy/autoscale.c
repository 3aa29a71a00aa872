#include "policy/autoscale.h"

void autoscale_init(struct autoscale *a)
{
    *a = (struct autoscale){.window_ms = AUTOSCALE_WINDOW_MS};
}

/* The time since the last sample, if that is not too long ago to say something of it. */
static int64_t step(struct autoscale *a, int64_t now_ms)
{
    int64_t ms = a->sampled ? now_ms - a->sampled_ms : 0;

    a->sampled = true;
    a->sampled_ms = now_ms;
    return ms > AUTOSCALE_STEP_MAX_MS ? 0 : ms;
}

/* It was missed soon after it had gone: be slower with the next. */
static void note_growth(struct autoscale *a, int64_t now_ms)
{
    a->pressed_ms = 0;
    if (!a->shrank || now_ms - a->shrank_ms >= 2 * a->window_ms)
        return;
    a->shrank = false;
    a->window_ms *= 2;
    if (a->window_ms > AUTOSCALE_WINDOW_MAX_MS)
        a->window_ms = AUTOSCALE_WINDOW_MAX_MS;
}

int autoscale_sample(struct autoscale *a, int queues, int standing, int64_t now_ms)
{
    int64_t ms = step(a, now_ms);

    if (standing > 0)
        a->busy_ms += ms;
    a->pressed_ms += standing > 0 && 2 * standing >= queues ? ms : -ms;
    if (a->pressed_ms < 0)
        a->pressed_ms = 0;
    if (a->pressed_ms < AUTOSCALE_GROW_MS)
        return 0;
    note_growth(a, now_ms);
    return 1;
}

int autoscale_window(struct autoscale *a, int64_t now_ms)
{
    bool busy = a->busy_ms * 100 >= a->window_ms * AUTOSCALE_BUSY_PERCENT;

    a->busy_ms = 0;
    if (busy)
        return 0;
    if (a->shrank) /* the last one was not missed */
        a->window_ms = AUTOSCALE_WINDOW_MS;
    a->shrank = true;
    a->shrank_ms = now_ms;
    return -1;
}
