/* Which workers the kernel killed for want of memory. It only counts such kills for a control
 * group: a worker that KILL ended while a counted kill has not been accounted for is taken for its
 * victim. Pure: works on the text of the files; oom_watch.c in the mechanism layer reads them. */
#ifndef PREFORKD_POLICY_OOM_H
#define PREFORKD_POLICY_OOM_H

#include "base/util.h"

#define OOM_MEMORY_MS 10000 /* a kill whose victim was none of ours is forgotten after this */

/* The counter in memory.events (version 2) or memory.oom_control (version 1, since Linux 4.13); -1:
 * there is none. */
int64_t oom_count(const char *text);

struct oom_ledger {
    int64_t seen;    /* the counter */
    int64_t owed;    /* kills whose victim has not been found */
    int64_t owed_ms; /* since when, monotonic */
};

/* The counter's value now. */
void oom_ledger_note(struct oom_ledger *l, int64_t count, int64_t now_ms);

/* Whether a worker that was just found killed is a victim. */
bool oom_ledger_take(struct oom_ledger *l);

#endif
