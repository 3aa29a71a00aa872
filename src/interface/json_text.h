/* JSON out of text that may hold any bytes. */
#ifndef PREFORKD_INTERFACE_JSON_TEXT_H
#define PREFORKD_INTERFACE_JSON_TEXT_H

#include <jansson.h>

/* A string. Text that is no UTF-8, which JSON cannot hold, is escaped as in the log. */
json_t *json_text(const char *text);

#endif
