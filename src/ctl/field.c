#include "ctl/field.h"

#include <time.h>

const char *field_text(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));

    return text ? text : "";
}

double field_number(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    double number = json_is_number(value) ? json_number_value(value) : -1;

    return number >= 0 ? number : -1;
}

double field_time(const json_t *object, const char *key)
{
    struct tm tm = {0};
    const char *rest = strptime(field_text(object, key), "%Y-%m-%dT%H:%M:%S", &tm);

    return rest ? (double)timegm(&tm) : -1;
}
