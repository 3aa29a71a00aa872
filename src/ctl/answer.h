/* The body of an answer as it comes in pieces: one JSON value, or JSON lines of which the last has
 * "result". */
#ifndef PREFORKD_CTL_ANSWER_H
#define PREFORKD_CTL_ANSWER_H

#include <jansson.h>

#include "base/buf.h"

struct answer {
    bool lines;
    /* Called for each line with its text and its value, also for the one with "result"; for a
     * single value once, at the end. Both are the answer's. May be NULL. */
    void (*take)(void *user, const char *text, size_t len, json_t *value);
    void *user;

    struct buf text; /* what has come of the line, or of the value */
    json_t *last;    /* the line with "result", or the value, once there is one */
};

/* Takes the next piece. 0; 1: the line with "result" has come, nothing else counts; -EPROTO: this
 * is no JSON; -EMSGSIZE: more than a master says; -ENOMEM. */
int answer_add(struct answer *a, const char *data, size_t len);

/* The body has ended: 0, or the errors of above, or -ENODATA when the last line has no result or
 * there is no value. */
int answer_end(struct answer *a);

void answer_free(struct answer *a);

#endif
