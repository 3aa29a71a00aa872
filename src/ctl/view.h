/* The status of a master, as JSON, laid out for people. Nothing of it is trusted: what is missing
 * or of another type is shown as "-". */
#ifndef PREFORKD_CTL_VIEW_H
#define PREFORKD_CTL_VIEW_H

#include <jansson.h>

#include "ctl/table.h"

struct view {
    const json_t *status;
    const json_t *before; /* the status some time ago; NULL: show processor time, not its share */
    double between_s;     /* seconds from `before` to `status` */
    double now_s;         /* since 1970 */
    struct look look;
};

/* Appends some header lines, an empty one, and the table of slots. */
void view_print(const struct view *v, struct buf *out);

#endif
