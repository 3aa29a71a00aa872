/* The file of a Unix listening socket: made with its mode from birth, taken over from a dead
 * predecessor, removed only while it is ours. See unix(7). */
#ifndef PREFORKD_MECHANISM_UNIX_SOCKET_H
#define PREFORKD_MECHANISM_UNIX_SOCKET_H

#include <sys/stat.h>

#include "policy/sockspec.h"

/* The file that was made; `inode` 0: none (an abstract name). */
struct unix_socket_file {
    dev_t device;
    ino_t inode;
};

/* Binds `fd` to the path or abstract name of `spec`, with its mode and owner. A stale socket file
 * is replaced (a note goes to the log). -EADDRINUSE a living one, -EEXIST something that is no
 * socket, -ENOENT no such user or group; nothing is touched then. */
int unix_socket_bind(int fd, const struct sockspec *spec, struct unix_socket_file *out,
                     struct why *why);

/* Whether it is still the socket's own file that has the name. */
bool unix_socket_has_file(const struct sockspec *spec, const struct unix_socket_file *file);

/* Removes the file, unless another one stands in its place by now. To be called while the socket is
 * still open: it keeps the inode number from being given to another file. */
void unix_socket_remove(const struct sockspec *spec, struct unix_socket_file *file);

#endif
