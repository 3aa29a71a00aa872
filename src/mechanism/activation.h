/* Socket activation: the descriptors that systemd (or another preforkd) hands to the master.
 * See sd_listen_fds(3). */
#ifndef PREFORKD_MECHANISM_ACTIVATION_H
#define PREFORKD_MECHANISM_ACTIVATION_H

#include "base/util.h"

#define ACTIVATION_NAME_MAX 255 /* sd_listen_fds(3) */

struct activation {
    struct {
        int fd;                             /* -1 once taken */
        char name[ACTIVATION_NAME_MAX + 1]; /* FileDescriptorName=, "" when none was given */
    } * fds;
    size_t n;
};

/* Reads LISTEN_FDS, LISTEN_PID, LISTEN_FDNAMES, which stay in the environment; sets FD_CLOEXEC.
 * Returns how many there are, 0 when they are meant for another process or there are none, -EINVAL
 * when the variables are malformed or name descriptors that are not open, -ENOMEM. */
int activation_collect(char *const *envp, struct activation *out);

/* Closes what was not taken. */
void activation_free(struct activation *a);

#endif
