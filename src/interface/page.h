/* The status page for people, made from the files of page/ by tools/embed-page. */
#ifndef PREFORKD_INTERFACE_PAGE_H
#define PREFORKD_INTERFACE_PAGE_H

#include <stddef.h>

extern const char page_html[];
extern const size_t page_html_len;
extern const char page_policy[]; /* Content-Security-Policy */

#endif
