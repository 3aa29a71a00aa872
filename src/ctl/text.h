/* Text of strangers (workers, a master that is none) on its way to a terminal: cleaned, measured,
 * cut. Characters are read as UTF-8 whatever the locale, once text_init() was called; before that
 * everything beyond ASCII is escaped. */
#ifndef PREFORKD_CTL_TEXT_H
#define PREFORKD_CTL_TEXT_H

#include "base/buf.h"

void text_init(void);

/* Appends the text; what a terminal would obey instead of show becomes \xHH: control characters,
 * marks that turn the direction of writing around, and bytes that are no UTF-8. */
void text_clean(struct buf *out, const char *text);

/* Appends a line of JSON. The control characters that JSON allows unescaped become \u00HH, so that
 * it stays the same value. */
void text_clean_json(struct buf *out, const char *json, size_t len);

/* Columns that cleaned text takes on a terminal. */
size_t text_width(const char *text);

/* Appends as much of cleaned text as `width` columns hold, with "..." at the end where it was cut,
 * and returns how many it took. */
size_t text_cut(struct buf *out, const char *text, size_t width);

#endif
