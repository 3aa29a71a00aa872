/* Whether a pool needs one worker more, or can do with one fewer, told from its queues. Pure: times
 * and samples in, a step out.
 *
 * One more when at least half of the queues are not empty for AUTOSCALE_GROW_MS: fewer may be
 * chance, as one busy worker is. One fewer when for a whole window hardly any queue was seen not
 * empty. A worker that is missed soon after it was given up makes the window longer. */
#ifndef PREFORKD_POLICY_AUTOSCALE_H
#define PREFORKD_POLICY_AUTOSCALE_H

#include <stdbool.h>
#include <stdint.h>

#define AUTOSCALE_GROW_MS       2000
#define AUTOSCALE_WINDOW_MS     60000
#define AUTOSCALE_WINDOW_MAX_MS (16 * AUTOSCALE_WINDOW_MS)
#define AUTOSCALE_BUSY_PERCENT  5   /* of a window; with less a worker is given up */
#define AUTOSCALE_STEP_MAX_MS   500 /* what one sample stands for at most */

struct autoscale {
    bool sampled, shrank;
    int64_t sampled_ms;
    int64_t pressed_ms; /* how long the queues were not empty, of late */
    int64_t busy_ms;    /* for how much of this window any queue was not */
    int64_t window_ms;
    int64_t shrank_ms;
};

void autoscale_init(struct autoscale *a);

/* A look at `queues` that workers serve, of which `standing` are not empty. 1: one worker more;
 * 0. Not to be called while a worker starts, which may help already. */
int autoscale_sample(struct autoscale *a, int queues, int standing, int64_t now_ms);

/* A window of `window_ms` is over. -1: one worker fewer; 0. */
int autoscale_window(struct autoscale *a, int64_t now_ms);

#endif
