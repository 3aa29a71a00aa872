/* Where the master's control socket is. */
#ifndef PREFORKD_CTL_SOCKET_PATH_H
#define PREFORKD_CTL_SOCKET_PATH_H

#include "base/buf.h"

/* The one that was asked for, else the environment's PREFORKD_CONTROL, else the usual one of root
 * or of this user by XDG_RUNTIME_DIR (which must be absolute). -ENOENT when nothing tells it. */
struct socket_hints {
    const char *asked;
    const char *control;
    const char *runtime_dir;
    bool root;
};
int socket_path(const struct socket_hints *hints, struct buf *out);

#endif
