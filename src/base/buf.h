/* A growing byte buffer that is always NUL-terminated. A failed allocation is remembered and every
 * later append is a no-op, so that a chain of appends needs one check at its end. */
#ifndef PREFORKD_BASE_BUF_H
#define PREFORKD_BASE_BUF_H

#include <stdarg.h>

#include "base/util.h"

struct buf {
    char *data; /* NULL while empty */
    size_t len; /* without the terminating NUL */
    size_t cap;
    bool failed;
};

#define BUF_INIT                                                                                   \
    (struct buf)                                                                                   \
    {                                                                                              \
    }
#define CLEANUP_BUF CLEANUP(buf_free)

void buf_free(struct buf *b);
void buf_append(struct buf *b, const void *data, size_t len);
void buf_puts(struct buf *b, const char *s);
void buf_putc(struct buf *b, char c);
void buf_printf(struct buf *b, const char *fmt, ...) PRINTF_LIKE(2, 3);
void buf_vprintf(struct buf *b, const char *fmt, va_list ap) PRINTF_LIKE(2, 0);

/* Where to cut a text of more than `max` bytes: there, or in front of the UTF-8 character that
 * would be cut in two. */
size_t utf8_cut(const char *text, size_t max);

/* Appends untrusted text so that it stays on one line and on the terminal it was meant for:
 * control characters, DEL, backslash and bytes that are no valid UTF-8 become \xHH. */
void buf_escape(struct buf *b, const char *text, size_t len);

/* Appends untrusted text as a JSON string with its quotes. Invalid UTF-8 becomes U+FFFD. */
void buf_json_string(struct buf *b, const char *text, size_t len);

/* The text so far, "" when empty. Valid until the next append. */
const char *buf_str(const struct buf *b);

/* Hands the text over (to be freed by the caller) and empties the buffer. NULL when an allocation
 * had failed. */
char *buf_take(struct buf *b);

#endif
