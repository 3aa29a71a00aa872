/* The master process: the loop, its signals, and the wiring of everything. */
#ifndef PREFORKD_PROGRAM_MASTER_H
#define PREFORKD_PROGRAM_MASTER_H

#include <jansson.h>

#include "policy/settings.h"

/* Supervises until told to stop; returns the exit status of the program. Takes the reference of
 * `settings`; the others must stay until it returns. `argv` are the arguments as they were given;
 * `saved` is the state of the program that this one replaces, or NULL. */
int master_run(struct settings *settings, const struct cmdline *cmdline, char *const *argv,
               const json_t *saved);

#endif
