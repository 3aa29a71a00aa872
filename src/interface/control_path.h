/* Where the control socket is. */
#ifndef PREFORKD_INTERFACE_CONTROL_PATH_H
#define PREFORKD_INTERFACE_CONTROL_PATH_H

#include "policy/sockspec.h"

/* Appends what `auto` stands for: below /run for root, else below $XDG_RUNTIME_DIR, in a folder
 * that is made when it is not there. -ENOENT: there is no such place; -EPERM: others may write into
 * the folder; or what mkdir(2) says; with the reason. */
int control_path_auto(struct buf *out, struct why *why);

/* The socket that is for its owner only. -ENAMETOOLONG. */
int control_path_spec(const char *path, struct sockspec *out, struct why *why);

#endif
