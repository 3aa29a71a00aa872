#include "interface/json_text.h"

#include "base/buf.h"

json_t *json_text(const char *text)
{
    CLEANUP_BUF struct buf escaped = BUF_INIT;
    json_t *json = json_string(text);

    if (json)
        return json;
    buf_escape(&escaped, text, strlen(text));
    return json_string(buf_str(&escaped));
}
