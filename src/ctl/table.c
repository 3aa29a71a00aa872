#include "ctl/table.h"

#include "ctl/text.h"

enum {
    GAP = 2,       /* columns between two cells */
    CELL_MAX = 32, /* of the columns before the last */
    LAST_MIN = 12, /* below that columns are left out for the last one */
};

void look_begin(const struct look *look, const char *style, struct buf *out)
{
    if (look->colour && style)
        buf_printf(out, "\033[%sm", style);
}

void look_end(const struct look *look, const char *style, struct buf *out)
{
    if (look->colour && style)
        buf_puts(out, "\033[0m");
}

void table_add(struct table *t, const char *style, const char *text)
{
    CLEANUP_BUF struct buf clean = BUF_INIT;
    struct table_cell *cells = reallocarray(t->cells, t->ncells + 1, sizeof(*cells));

    if (!cells) {
        t->failed = true;
        return;
    }
    t->cells = cells;
    text_clean(&clean, text);
    cells[t->ncells] = (struct table_cell){.text = buf_take(&clean), .style = style};
    if (cells[t->ncells].text)
        t->ncells++;
    else
        t->failed = true;
}

void table_free(struct table *t)
{
    for (size_t i = 0; i < t->ncells; i++)
        free(t->cells[i].text);
    free(t->cells);
    t->cells = NULL;
    t->ncells = 0;
}

/* --- Layout --- */

struct layout {
    size_t width[TABLE_COLUMNS_MAX];
    bool left_out[TABLE_COLUMNS_MAX];
};

static void measure(const struct table *t, struct layout *l)
{
    for (size_t c = 0; c < t->ncolumns; c++)
        l->width[c] = strlen(t->columns[c].title);
    for (size_t i = 0, c = 0; i < t->ncells; i++, c = c + 1 < t->ncolumns ? c + 1 : 0) {
        size_t width = text_width(t->cells[i].text);

        if (width > l->width[c])
            l->width[c] = width;
    }
    for (size_t c = 0; c + 1 < t->ncolumns; c++)
        if (l->width[c] > CELL_MAX)
            l->width[c] = CELL_MAX;
}

/* The columns that stand before the last one, with their gaps. */
static size_t used_before_last(const struct table *t, const struct layout *l)
{
    size_t used = 0;

    for (size_t c = 0; c + 1 < t->ncolumns; c++)
        used += l->left_out[c] ? 0 : l->width[c] + GAP;
    return used;
}

/* Leaves the least important column out; false when all that are left must stay. */
static bool leave_one_out(const struct table *t, struct layout *l)
{
    size_t worst = 0;

    for (size_t c = 1; c + 1 < t->ncolumns; c++)
        if (!l->left_out[c] && (l->left_out[worst] || t->columns[c].drop > t->columns[worst].drop))
            worst = c;
    if (l->left_out[worst] || t->columns[worst].drop == 0)
        return false;
    l->left_out[worst] = true;
    return true;
}

static void fit(const struct table *t, size_t width, struct layout *l)
{
    size_t *last = &l->width[t->ncolumns - 1];
    size_t wanted = *last < LAST_MIN ? *last : LAST_MIN, used;

    while (used_before_last(t, l) + wanted > width && leave_one_out(t, l))
        ;
    used = used_before_last(t, l);
    if (used + *last > width)
        *last = used < width ? width - used : 0;
}

/* --- Printing --- */

static void pad(struct buf *out, size_t columns)
{
    while (columns-- > 0)
        buf_putc(out, ' ');
}

static void print_cell(const struct table *t, const struct layout *l, const struct look *look,
                       size_t column, const struct table_cell *cell, struct buf *out)
{
    CLEANUP_BUF struct buf text = BUF_INIT;
    size_t width = l->width[column], used = text_cut(&text, cell->text, width);
    bool last = column + 1 == t->ncolumns;

    if (t->columns[column].right)
        pad(out, width - used);
    if (text.len > 0) {
        look_begin(look, cell->style, out);
        buf_puts(out, buf_str(&text));
        look_end(look, cell->style, out);
    }
    if (!t->columns[column].right && !last)
        pad(out, width - used);
    if (!last)
        pad(out, GAP);
}

/* A line ends behind its last text. */
static void end_line(struct buf *out)
{
    while (out->len > 0 && out->data[out->len - 1] == ' ')
        out->data[--out->len] = '\0';
    buf_putc(out, '\n');
}

static void print_row(const struct table *t, const struct layout *l, const struct look *look,
                      const struct table_cell *cells, struct buf *out)
{
    for (size_t c = 0; c < t->ncolumns; c++)
        if (!l->left_out[c])
            print_cell(t, l, look, c, &cells[c], out);
    end_line(out);
}

void table_print(const struct table *t, const struct look *look, struct buf *out)
{
    struct table_cell titles[TABLE_COLUMNS_MAX];
    struct layout l = {0};

    out->failed |= t->failed;
    measure(t, &l);
    if (look->width > 0)
        fit(t, look->width, &l);
    for (size_t c = 0; c < t->ncolumns; c++)
        titles[c] = (struct table_cell){.text = (char *)t->columns[c].title, .style = STYLE_BOLD};
    print_row(t, &l, look, titles, out);
    for (size_t i = 0; i + t->ncolumns <= t->ncells; i += t->ncolumns)
        print_row(t, &l, look, &t->cells[i], out);
}
