/* What works on this machine, in this sandbox, with these privileges: for `preforkd --features`. */
#ifndef PREFORKD_MECHANISM_FEATURES_H
#define PREFORKD_MECHANISM_FEATURES_H

#include "base/buf.h"

/* Tries everything for real, on sockets and in children of its own, and appends a table: what,
 * "yes" or why not, what it is needed for. Waits for its children, a second at most for each: to be
 * called before anything is supervised. */
void features_print(struct buf *out);

#endif
