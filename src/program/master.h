/* The master process: the loop, its signals, and the wiring of everything. */
#ifndef PREFORKD_PROGRAM_MASTER_H
#define PREFORKD_PROGRAM_MASTER_H

#include "policy/settings.h"

/* Supervises until told to stop; returns the exit status of the program. Takes the reference of
 * `settings`; `cmdline` must stay until it returns. */
int master_run(struct settings *settings, const struct cmdline *cmdline);

#endif
