/* Reading the whole configuration: the file, the environment and the command line; and checking
 * what only this machine can tell, such as users. */
#ifndef PREFORKD_INTERFACE_CONFIG_H
#define PREFORKD_INTERFACE_CONFIG_H

#include "policy/settings.h"

/* One reference in `out`; -errno with the reason, ready to be shown. Never blocks on the file. */
int config_load(const struct cmdline *cmdline, struct settings **out, struct why *why);

/* The same with the text that the file had when it was read before, NULL if there was none. Users
 * are not looked up: who they were is handed over. */
int config_load_text(const struct cmdline *cmdline, const char *text, struct settings **out,
                     struct why *why);

#endif
