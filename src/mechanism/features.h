/* What works on this machine, in this sandbox, with these privileges: for `preforkd --features`. */
#ifndef PREFORKD_MECHANISM_FEATURES_H
#define PREFORKD_MECHANISM_FEATURES_H

#include "base/buf.h"

/* Tries everything for real (in children of its own, within a second) and appends a table: name,
 * "yes" or why not, what it is needed for. To be called before any loop runs. */
void features_print(struct buf *out);

#endif
