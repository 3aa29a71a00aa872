#include "ctl/view.h"

#include "ctl/field.h"
#include "ctl/text.h"
#include "ctl/units.h"

/* A worker's end is worth a note for so many seconds. */
#define RECENT_S 300

static void add_count(const json_t *object, const char *key, struct buf *out)
{
    double number = field_number(object, key);

    if (number >= 0)
        buf_printf(out, "%.0f", number);
    else
        buf_putc(out, '-');
}

static void add_word(const char *word, struct buf *out)
{
    text_clean(out, *word ? word : "-");
}

/* --- The header --- */

struct style_row {
    const char *word, *style;
};

static const char *style_of(const char *word, const struct style_row *rows)
{
    while (rows->word && !streq(rows->word, word))
        rows++;
    return rows->style;
}

static const struct style_row master_styles[] = {
    {"running", STYLE_GREEN}, {"starting", STYLE_YELLOW}, {"reloading", STYLE_YELLOW},
    {"draining", STYLE_RED},  {"stopping", STYLE_RED},    {0},
};
static const struct style_row reload_styles[] = {
    {"ok", STYLE_GREEN}, {"failed", STYLE_RED}, {"running", STYLE_YELLOW}, {0}};

static void add_styled(const struct view *v, const char *word, const struct style_row *rows,
                       struct buf *out)
{
    const char *style = style_of(word, rows);

    look_begin(&v->look, style, out);
    add_word(word, out);
    look_end(&v->look, style, out);
}

static void print_master(const struct view *v, struct buf *out)
{
    buf_puts(out, "preforkd ");
    add_word(field_text(v->status, "version"), out);
    buf_putc(out, '[');
    add_count(v->status, "pid", out);
    buf_puts(out, "]: ");
    add_styled(v, field_text(v->status, "state"), master_styles, out);
    buf_puts(out, ", generation ");
    add_count(v->status, "generation", out);
    buf_puts(out, ", up ");
    if (field_number(v->status, "uptime_s") >= 0)
        units_duration(out, field_number(v->status, "uptime_s"));
    else
        buf_putc(out, '-');
    buf_putc(out, '\n');
}

static void add_ago(double ago, struct buf *out)
{
    units_duration(out, ago);
    buf_puts(out, " ago");
}

/* When it was and how long it took, or how long it has been going on. */
static void add_reload_times(const struct view *v, const json_t *reload, struct buf *out)
{
    double at = field_time(reload, "at"), took = field_number(reload, "duration_s");
    bool running = streq(field_text(reload, "result"), "running");

    if (!running && at < 0)
        return;
    if (!running) {
        buf_puts(out, ", ");
        add_ago(v->now_s - at, out);
    }
    if (took >= 0) {
        buf_puts(out, running ? " for " : ", took ");
        units_cpu_time(out, took);
    }
}

static void print_reload(const struct view *v, struct buf *out)
{
    const json_t *reload = json_object_get(v->status, "reload");
    const char *result = field_text(reload, "result"), *reason = field_text(reload, "reason");

    buf_puts(out, "last reload: ");
    add_styled(v, result, reload_styles, out);
    add_reload_times(v, reload, out);
    if (*reason && streq(result, "failed")) {
        buf_puts(out, ": ");
        text_clean(out, reason);
    }
    buf_putc(out, '\n');
}

static void add_listeners(const json_t *pool, struct buf *out)
{
    const json_t *listener;
    size_t i;

    json_array_foreach(json_object_get(pool, "listeners"), i, listener)
    {
        buf_puts(out, i == 0 ? " on " : ", ");
        text_clean(out, field_text(listener, "address"));
    }
}

/* One line, which the terminal may cut. */
static void print_pool(const struct view *v, const json_t *pool, struct buf *out)
{
    CLEANUP_BUF struct buf line = BUF_INIT;

    text_clean(&line, field_text(pool, "name"));
    buf_puts(&line, ": ");
    add_count(pool, "ready", &line);
    buf_putc(&line, '/');
    add_count(pool, "workers", &line);
    buf_puts(&line, " ready");
    add_listeners(pool, &line);
    if (*field_text(pool, "command"))
        buf_puts(&line, ": ");
    text_clean(&line, field_text(pool, "command"));
    if (v->look.width > 0)
        text_cut(out, buf_str(&line), v->look.width);
    else
        buf_puts(out, buf_str(&line));
    buf_putc(out, '\n');
}

/* --- The table of slots --- */

static const struct style_row slot_styles[] = {
    {"up", STYLE_GREEN},        {"starting", STYLE_YELLOW}, {"replacing", STYLE_YELLOW},
    {"stopping", STYLE_YELLOW}, {"backoff", STYLE_RED},     {"broken", STYLE_RED},
    {"hung", STYLE_RED},        {"down", STYLE_DIM},        {0},
};

struct row {
    const struct view *view;
    const json_t *pool, *slot, *before; /* before: the same process, or NULL */
};

static void cell_pool(const struct row *r, struct buf *out)
{
    buf_puts(out, field_text(r->pool, "name"));
}

static void cell_slot(const struct row *r, struct buf *out)
{
    add_count(r->slot, "slot", out);
}

static void cell_state(const struct row *r, struct buf *out)
{
    buf_puts(out, field_text(r->slot, "state"));
}

static bool has_worker(const struct row *r)
{
    return field_number(r->slot, "pid") > 0;
}

static void cell_pid(const struct row *r, struct buf *out)
{
    if (has_worker(r))
        add_count(r->slot, "pid", out);
}

static void cell_generation(const struct row *r, struct buf *out)
{
    add_count(r->slot, "generation", out);
}

static void cell_uptime(const struct row *r, struct buf *out)
{
    double uptime = field_number(r->slot, "uptime_s");

    if (has_worker(r) && uptime >= 0)
        units_duration(out, uptime);
}

static void cell_restarts(const struct row *r, struct buf *out)
{
    add_count(r->slot, "restarts", out);
}

static void cell_queue(const struct row *r, struct buf *out)
{
    add_count(r->slot, "queue", out);
}

static void cell_cpu(const struct row *r, struct buf *out)
{
    double cpu = field_number(r->slot, "cpu_s"), before = field_number(r->before, "cpu_s");

    if (!has_worker(r) || cpu < 0)
        return;
    if (!r->view->before)
        units_cpu_time(out, cpu);
    else if (before >= 0 && r->view->between_s > 0)
        units_percent(out, 100 * (cpu - before) / r->view->between_s);
}

static void cell_rss(const struct row *r, struct buf *out)
{
    double rss = field_number(r->slot, "rss_bytes");

    if (has_worker(r) && rss >= 0)
        units_bytes(out, rss);
}

static void separate(struct buf *out)
{
    if (out->len > 0)
        buf_puts(out, ", ");
}

/* What the state of the slot does not say of its worker. */
static void note_worker_state(const struct row *r, struct buf *out)
{
    const char *worker = field_text(r->slot, "worker_state");

    if (*worker && !streq(worker, "ready") && !streq(worker, field_text(r->slot, "state")))
        buf_puts(out, worker);
}

/* That a worker was replaced because somebody wanted it so is no news. */
static bool is_news(const char *reason)
{
    return *reason && !streq(reason, "reload") && !streq(reason, "manual");
}

static void note_last_exit(const struct row *r, struct buf *out)
{
    const json_t *last = json_object_get(r->slot, "last_exit");
    const char *reason = field_text(last, "reason");
    double ago = r->view->now_s - field_time(last, "at");

    if (!is_news(reason) || ago > RECENT_S)
        return;
    separate(out);
    buf_puts(out, reason);
    if (streq(reason, "exit") && field_number(last, "code") >= 0)
        buf_printf(out, " %.0f", field_number(last, "code"));
    if (streq(reason, "signal"))
        buf_printf(out, " %s", field_text(last, "signal"));
    buf_putc(out, ' ');
    add_ago(ago, out);
}

static void cell_note(const struct row *r, struct buf *out)
{
    note_worker_state(r, out);
    if (field_number(r->slot, "next_pid") > 0) {
        separate(out);
        buf_puts(out, "next ");
        add_count(r->slot, "next_pid", out);
    }
    note_last_exit(r, out);
    if (*field_text(r->slot, "status")) {
        separate(out);
        buf_puts(out, field_text(r->slot, "status"));
    }
}

static const struct table_column columns[] = {
    {"POOL", false, 0}, {"SLOT", true, 0},   {"STATE", false, 0},   {"PID", true, 2},
    {"GEN", true, 8},   {"UPTIME", true, 3}, {"RESTARTS", true, 7}, {"QUEUE", true, 4},
    {"CPU", true, 5},   {"RSS", true, 6},    {"NOTE", false, 0},
};
static void (*const cells[])(const struct row *r, struct buf *out) = {
    cell_pool,     cell_slot,  cell_state, cell_pid, cell_generation, cell_uptime,
    cell_restarts, cell_queue, cell_cpu,   cell_rss, cell_note,
};

static const char *row_style(const struct row *r)
{
    bool hung = streq(field_text(r->slot, "worker_state"), "hung");

    return style_of(hung ? "hung" : field_text(r->slot, "state"), slot_styles);
}

static void add_row(const struct row *r, struct table *t)
{
    for (size_t c = 0; c < ARRAY_SIZE(cells); c++) {
        CLEANUP_BUF struct buf text = BUF_INIT;
        bool empty;

        cells[c](r, &text);
        empty = text.len == 0 && cells[c] != cell_note;
        table_add(t, cells[c] == cell_state ? row_style(r) : STYLE_PLAIN,
                  empty ? "-" : buf_str(&text));
    }
}

/* The entry of an array of objects whose `key` is equal to that of `like`. */
static const json_t *find_like(const json_t *array, const char *key, const json_t *like,
                               size_t hint)
{
    const json_t *entry = json_array_get(array, hint);
    size_t i;

    if (json_equal(json_object_get(entry, key), json_object_get(like, key)))
        return entry;
    json_array_foreach(array, i, entry)
    {
        if (json_equal(json_object_get(entry, key), json_object_get(like, key)))
            return entry;
    }
    return NULL;
}

static void add_pool(const struct view *v, const json_t *pool, const json_t *before,
                     struct table *t)
{
    const json_t *slots_before = json_object_get(before, "slots"), *slot;
    size_t i;

    json_array_foreach(json_object_get(pool, "slots"), i, slot)
    {
        struct row r = {.view = v, .pool = pool, .slot = slot};

        r.before = find_like(slots_before, "pid", slot, i);
        add_row(&r, t);
    }
}

void view_print(const struct view *v, struct buf *out)
{
    const json_t *pools = json_object_get(v->status, "pools"), *pool;
    const json_t *before = json_object_get(v->before, "pools");
    struct table t = {.columns = columns, .ncolumns = ARRAY_SIZE(columns)};
    size_t i;

    print_master(v, out);
    print_reload(v, out);
    json_array_foreach(pools, i, pool)
    {
        print_pool(v, pool, out);
        add_pool(v, pool, find_like(before, "name", pool, i), &t);
    }
    buf_putc(out, '\n');
    table_print(&t, &v->look, out);
    table_free(&t);
}
