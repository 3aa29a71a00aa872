/* Fields of JSON objects that nobody vouches for. */
#ifndef PREFORKD_CTL_FIELD_H
#define PREFORKD_CTL_FIELD_H

#include <jansson.h>

/* The string, or "" when there is none. */
const char *field_text(const json_t *object, const char *key);

/* The number, or -1 when there is none or it is less than 0: nothing that a master counts is. */
double field_number(const json_t *object, const char *key);

/* A time such as "2026-11-21T05:00:00.001Z" in seconds since 1970, or -1 when there is none. */
double field_time(const json_t *object, const char *key);

#endif
