#include "policy/last_lines.h"

#include "base/buf.h"

void last_lines_add(struct last_lines *l, const char *text, size_t len)
{
    static const char mark[] = {'.', '.', '.'};
    size_t place = l->count++ % LAST_LINES_MAX;
    char *line = l->lines[place].text;

    if (len > LAST_LINE_LENGTH) {
        len = utf8_cut(text, LAST_LINE_LENGTH - sizeof(mark));
        memcpy(line + len, mark, sizeof(mark));
        l->lines[place].len = (unsigned char)(len + sizeof(mark));
    } else {
        l->lines[place].len = (unsigned char)len;
    }
    memcpy(line, text, len);
}

unsigned last_lines_count(const struct last_lines *l)
{
    return l->count < LAST_LINES_MAX ? l->count : LAST_LINES_MAX;
}

const char *last_lines_get(const struct last_lines *l, unsigned i, size_t *len)
{
    unsigned place = (l->count - last_lines_count(l) + i) % LAST_LINES_MAX;

    *len = l->lines[place].len;
    return l->lines[place].text;
}
