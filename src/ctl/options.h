/* The command line of preforkctl, and what it asks of the master. */
#ifndef PREFORKD_CTL_OPTIONS_H
#define PREFORKD_CTL_OPTIONS_H

#include "base/buf.h"
#include "base/why.h"

enum ctl_command {
    CTL_NONE,
    CTL_STATUS,
    CTL_RELOAD,
    CTL_SCALE,
    CTL_RESTART,
    CTL_UPGRADE,
    CTL_STOP,
    CTL_TOP,
};

struct options {
    enum ctl_command command;
    const char *socket; /* NULL: the usual one */
    const char *args[2];
    size_t nargs;
    bool json;
    bool watch;
    bool no_wait;
    bool help; /* nothing else counts then */
    bool version;
};

/* Reads the arguments without argv[0]; options may stand anywhere, "-1" is no option. The strings
 * stay the caller's. 0, or -EINVAL with the reason. */
int options_parse(int argc, char *const *argv, struct options *out, struct why *why);

/* The command's name, and the text of --help. */
const char *options_command_name(enum ctl_command command);
void options_help(struct buf *out);

/* What to ask the master for: the path with its query. -EINVAL with the reason for a wrong POOL,
 * SLOT or number. */
int options_path(const struct options *o, struct buf *out, struct why *why);

#endif
