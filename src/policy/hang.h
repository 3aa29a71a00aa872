/* Whether a worker has stopped to accept connections, told from the queue of its socket alone.
 * Pure: times and samples in, a verdict out.
 *
 * The length of a queue that gets new connections proves little: one may be taken and one added
 * between two looks. So a queue that seems to stand still is made certain first: new connections go
 * elsewhere ("masked"), and from then on a queue that does not become shorter was not accepted
 * from. Where masking cannot be had, the queue's connections are looked at one by one. */
#ifndef PREFORKD_POLICY_HANG_H
#define PREFORKD_POLICY_HANG_H

#include <stdbool.h>
#include <stdint.h>

#define HANG_SUSPECT_MS 1000 /* without visible progress until it is to be made certain */
#define HANG_PROOF_MS   1000 /* certainly without progress until the worker counts as hung */
#define HANG_GRACE_MS   2000 /* the least time that a kill keeps off after a time not watched */

struct hang {
    bool waiting, proving;
    int64_t since_ms;   /* waiting: no progress was seen since then */
    int64_t certain_ms; /* proving: since then there certainly was none */
};

struct hang_sample {
    bool waiting; /* the queue is not empty */
    bool taken;   /* something was certainly taken out of it since the last sample */
    bool certain; /* without `taken` nothing was: nothing was added either, or each was looked at */
};

enum hang_verdict {
    HANG_NONE,    /* it moves, or there is nothing to move */
    HANG_SUSPECT, /* it seems to stand still: make that certain */
    HANG_HUNG,
    HANG_KILL, /* hung, and hang-timeout is over */
};

/* One look at the queue of a worker that should accept. `timeout_ms` 0: never KILL. */
enum hang_verdict hang_look(struct hang *h, const struct hang_sample *s, int64_t timeout_ms,
                            int64_t now_ms);

/* Nobody looked for the last `gap_ms`: the machine or the master stood still, and the worker may
 * have too. That time does not count, and no kill follows before HANG_GRACE_MS. */
void hang_forgive(struct hang *h, int64_t gap_ms, int64_t timeout_ms, int64_t now_ms);

/* Whether one more may be masked, when `masked` of `serving` workers are already: never more than
 * half of them. */
bool hang_may_mask(int serving, int masked);

#endif
