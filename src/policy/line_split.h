/* Cuts a stream of bytes into lines. Pure. */
#ifndef PREFORKD_POLICY_LINE_SPLIT_H
#define PREFORKD_POLICY_LINE_SPLIT_H

#include "base/buf.h"

/* Bytes of a line. A longer one comes in pieces, so that nobody needs memory without end to write
 * on without a newline. Below what the journal takes for one line. */
#define LINE_SPLIT_MAX 32768

/* One line without its end, or a piece of one: `more` says that it goes on in the next. A carriage
 * return in front of the newline belongs to the end. */
typedef void (*line_split_fn)(void *data, const char *line, size_t len, bool more);

struct line_split {
    struct buf begin; /* of a line whose end has not come yet */
};

/* Calls `put` for every line that `text` completes, and keeps the rest. */
void line_split_feed(struct line_split *s, const char *text, size_t len, line_split_fn put,
                     void *data);

/* The stream has ended: what is left is a line too. Frees what is held; `s` can be fed again. */
void line_split_end(struct line_split *s, line_split_fn put, void *data);

#endif
