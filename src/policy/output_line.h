/* How the lines of workers look when the master writes them. Pure.
 *
 * tag:  [web.3 1234] message
 * json: {"time":"2026-11-21T04:05:06.789Z","pool":"web","slot":3,"pid":1234,"generation":2,
 *        "stream":"stdout","message":"message"}
 *
 * Of a line that is too long every piece but the last is marked: by a backslash at its end, which
 * cannot come from the text since that is escaped, or by "partial":true. */
#ifndef PREFORKD_POLICY_OUTPUT_LINE_H
#define PREFORKD_POLICY_OUTPUT_LINE_H

#include <sys/types.h>

#include "base/buf.h"

enum output_mode { OUTPUT_INHERIT, OUTPUT_TAG, OUTPUT_JSON };
enum output_stream { OUTPUT_STDOUT, OUTPUT_STDERR, OUTPUT_NSTREAMS };

struct output_source {
    enum output_mode mode;
    const char *pool;
    int slot;
    pid_t pid;
    unsigned generation;
};

/* Appends what stands in front of each message of a stream. `time` as of clock_wall_text(). */
void output_line_head(const struct output_source *source, enum output_stream stream,
                      const char *time, struct buf *out);

/* Appends one line with the head in front and a newline at the end. */
void output_line_put(enum output_mode mode, const struct buf *head, const char *text, size_t len,
                     bool more, struct buf *out);

#endif
