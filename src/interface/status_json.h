/* The state of the master as JSON: what preforkctl, scripts and the status page read. */
#ifndef PREFORKD_INTERFACE_STATUS_JSON_H
#define PREFORKD_INTERFACE_STATUS_JSON_H

#include "interface/status.h"

enum status_audience {
    STATUS_OWNER,
    STATUS_STRANGERS, /* no arguments of commands, no words out of the configuration */
};

/* Appends one object in one line; nothing when memory is out, which `out` remembers. */
void status_json(const struct status *s, enum status_audience audience, struct buf *out);

#endif
