/* The last lines that a worker wrote, for telling why it failed. Pure. */
#ifndef PREFORKD_POLICY_LAST_LINES_H
#define PREFORKD_POLICY_LAST_LINES_H

#include <stddef.h>

#define LAST_LINES_MAX   20
#define LAST_LINE_LENGTH 250 /* bytes kept of one, a longer one ends in "..." */

struct last_lines {
    unsigned count; /* of all that came */
    struct {
        unsigned char len;
        char text[LAST_LINE_LENGTH];
    } lines[LAST_LINES_MAX];
};

void last_lines_add(struct last_lines *l, const char *text, size_t len);

/* How many are kept, and the number `i` of these, the oldest first. */
unsigned last_lines_count(const struct last_lines *l);
const char *last_lines_get(const struct last_lines *l, unsigned i, size_t *len);

#endif
