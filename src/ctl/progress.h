/* The events of a long operation as lines for people, and on a terminal with a bar below them. */
#ifndef PREFORKD_CTL_PROGRESS_H
#define PREFORKD_CTL_PROGRESS_H

#include <jansson.h>

#include "ctl/table.h"

struct progress {
    struct look look;
    bool bar;   /* on a terminal */
    bool shown; /* the bar is the last line on the screen */
    unsigned done, total;
};

/* Appends what an event adds to the screen. Events that are not known show their "text", if any. */
void progress_event(struct progress *p, const json_t *event, struct buf *out);

/* Takes the bar away, for good or for other lines. */
void progress_clear(struct progress *p, struct buf *out);

#endif
