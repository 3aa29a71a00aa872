/* Every metric, as a table: name, type, help and the function that collects its samples. */
#ifndef PREFORKD_INTERFACE_METRICS_H
#define PREFORKD_INTERFACE_METRICS_H

#include "interface/status.h"

#define METRICS_CONTENT_TYPE "text/plain; version=0.0.4; charset=utf-8"

/* Appends all of them in the text format of Prometheus, version 0.0.4. */
void metrics_print(const struct status *s, struct buf *out);

struct metric_info {
    const char *name, *type, *help;
};

/* Row i of the table; false beyond its end. For the tests of the manual. */
bool metrics_info(size_t i, struct metric_info *out);

#endif
