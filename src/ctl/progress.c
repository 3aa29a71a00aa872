#include "ctl/progress.h"

#include "ctl/field.h"
#include "ctl/text.h"

enum { BAR_MAX = 40, BAR_ROOM = 24 /* beside the bar */ };

/* 0 when there is none. */
static unsigned count_of(const json_t *event, const char *key)
{
    double n = field_number(event, key);

    return n < 0 ? 0 : n > INT32_MAX ? INT32_MAX : (unsigned)n;
}

/* "web.0[4300]" */
static void add_who(const json_t *event, struct buf *out)
{
    text_clean(out, field_text(event, "pool"));
    if (json_is_integer(json_object_get(event, "slot")))
        buf_printf(out, ".%u", count_of(event, "slot"));
    if (count_of(event, "pid") > 0)
        buf_printf(out, "[%u]", count_of(event, "pid"));
}

static const struct {
    const char *step, *style;
} styles[] = {{"done", STYLE_GREEN}, {"failed", STYLE_RED}, {"rolled back", STYLE_YELLOW}};

static const char *step_style(const char *step)
{
    for (size_t i = 0; i < ARRAY_SIZE(styles); i++)
        if (streq(styles[i].step, step))
            return styles[i].style;
    return STYLE_PLAIN;
}

static void print_slot(struct progress *p, const json_t *event, struct buf *out)
{
    const char *step = field_text(event, "step"), *reason = field_text(event, "reason");

    if (json_object_get(event, "total")) {
        p->total = count_of(event, "total");
        p->done = count_of(event, "done");
    }
    add_who(event, out);
    buf_puts(out, ": ");
    look_begin(&p->look, step_style(step), out);
    text_clean(out, step);
    look_end(&p->look, step_style(step), out);
    if (streq(step, "done") && p->total > 0)
        buf_printf(out, " (%u of %u)", p->done, p->total);
    if (*reason)
        buf_puts(out, ": ");
    text_clean(out, reason);
    buf_putc(out, '\n');
}

/* A line that a worker wrote. */
static void print_output(UNUSED struct progress *p, const json_t *event, struct buf *out)
{
    add_who(event, out);
    buf_puts(out, "> ");
    text_clean(out, field_text(event, "line"));
    buf_putc(out, '\n');
}

static void print_text(UNUSED struct progress *p, const json_t *event, struct buf *out)
{
    const char *text = field_text(event, "text");

    text_clean(out, text);
    if (*text)
        buf_putc(out, '\n');
}

static const struct {
    const char *event;
    void (*print)(struct progress *p, const json_t *event, struct buf *out);
} printers[] = {{"slot", print_slot}, {"output", print_output}};

static void print_event(struct progress *p, const json_t *event, struct buf *out)
{
    for (size_t i = 0; i < ARRAY_SIZE(printers); i++)
        if (streq(printers[i].event, field_text(event, "event"))) {
            printers[i].print(p, event, out);
            return;
        }
    print_text(p, event, out);
}

/* As wide as the terminal lets it be, or not at all. */
static void draw_bar(struct progress *p, struct buf *out)
{
    size_t width = p->look.width ? p->look.width : BAR_MAX + BAR_ROOM, filled;

    if (p->total == 0 || width <= BAR_ROOM)
        return;
    width = width - BAR_ROOM < BAR_MAX ? width - BAR_ROOM : BAR_MAX;
    filled = p->done < p->total ? width * p->done / p->total : width;
    buf_putc(out, '[');
    for (size_t i = 0; i < width; i++)
        buf_putc(out, i < filled ? '#' : '.');
    buf_printf(out, "] %u of %u", p->done, p->total);
    p->shown = true;
}

void progress_clear(struct progress *p, struct buf *out)
{
    if (p->shown)
        buf_puts(out, "\r\033[K");
    p->shown = false;
}

void progress_event(struct progress *p, const json_t *event, struct buf *out)
{
    progress_clear(p, out);
    print_event(p, event, out);
    if (p->bar)
        draw_bar(p, out);
}
