/* Carrying out what the command line asks for. */
#ifndef PREFORKD_CTL_COMMAND_H
#define PREFORKD_CTL_COMMAND_H

#include "ctl/options.h"

/* Exit statuses, also for main(). A signal that ended `top` is told as 128 and its number, as a
 * shell does. */
enum ctl_exit {
    CTL_DONE = 0,
    CTL_FAILED = 1,
    CTL_USAGE = 2,
    CTL_UNREACHABLE = 3,
    CTL_SIGNAL = 128
};

/* Prints the outcome to stdout, or the reason of a failure to stderr, and returns the exit status.
 */
int command_run(const struct options *o);

#endif
