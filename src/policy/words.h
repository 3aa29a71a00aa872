/* Splitting a command as a shell would, without a shell, and filling in placeholders. */
#ifndef PREFORKD_POLICY_WORDS_H
#define PREFORKD_POLICY_WORDS_H

#include "base/buf.h"
#include "base/strv.h"
#include "base/why.h"

/* Splits at blanks. 'single quotes' keep everything, "double quotes" keep all but \" \\ \$ \`,
 * a backslash outside quotes keeps the next character. $'...' is for what one line cannot hold: it
 * knows \n \t \r \\ \' and \xHH. Nothing is expanded. Appends to `out`.
 * 0, -ENOMEM, or -EINVAL with the reason (quote not closed, backslash at the end). */
int words_split(const char *text, struct strv *out, struct why *why);

/* Appends one word so that words_split() gives it back, quoted only where needed, on one line and
 * without control characters. */
void words_quote(const char *word, struct buf *out);

struct words_placeholder {
    const char *name;  /* "port" stands for {port} */
    const char *value; /* NULL: leave the text alone */
};

/* Appends `text` with each {name} of the list replaced; other brace text stays as it is. */
void words_expand(const char *text, const struct words_placeholder *list, size_t n,
                  struct buf *out);

#endif
