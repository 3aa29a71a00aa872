/* A table on a terminal: columns as wide as what is in them, and lines no wider than the terminal.
 * The last column is text, gets what is left and is cut; where that is too little, whole columns
 * are left out. */
#ifndef PREFORKD_CTL_TABLE_H
#define PREFORKD_CTL_TABLE_H

#include "base/buf.h"

struct table_column {
    const char *title;
    bool right;         /* numbers */
    unsigned char drop; /* 0: never left out; of the others the highest goes first */
};

/* How things look where they go to. */
struct look {
    size_t width; /* columns of the terminal; 0: no limit */
    bool colour;
};

struct table_cell {
    char *text;
    const char *style;
};

struct table {
    const struct table_column *columns;
    size_t ncolumns; /* at most TABLE_COLUMNS_MAX */
    struct table_cell *cells;
    size_t ncells;
    bool failed; /* out of memory */
};

enum { TABLE_COLUMNS_MAX = 16 };

/* Styles: numbers for SGR. */
#define STYLE_PLAIN  NULL
#define STYLE_BOLD   "1"
#define STYLE_DIM    "2"
#define STYLE_RED    "31"
#define STYLE_GREEN  "32"
#define STYLE_YELLOW "33"

/* Appends the next cell, row after row. The text may be anybody's: it is cleaned. */
void table_add(struct table *t, const char *style, const char *text);

/* Appends titles and rows to `out`; failed memory marks `out` as failed. */
void table_print(const struct table *t, const struct look *look, struct buf *out);
void table_free(struct table *t);

/* Appends SGR to begin and to end a style, where there is one and colour is wanted. */
void look_begin(const struct look *look, const char *style, struct buf *out);
void look_end(const struct look *look, const char *style, struct buf *out);

#endif
