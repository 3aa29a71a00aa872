/* preforkctl top: the status on the whole screen, anew each second. */
#ifndef PREFORKD_CTL_TOP_H
#define PREFORKD_CTL_TOP_H

#include "base/why.h"

/* Until "q" or a signal that ends programs: 0, the signal's number, or -errno with the reason. A
 * master that goes away is waited for. */
int top_run(const char *socket, struct why *why);

#endif
