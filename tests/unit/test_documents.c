/* What is written about the program is held to what it is: the table of settings, the options, a
 * worker's environment and the table of a slot's life. */
#include <criterion/criterion.h>
#include <ctype.h>
#include <stdio.h>

#include "base/sys.h"
#include "interface/metrics.h"
#include "policy/settings.h"
#include "policy/slot_fsm.h"
#include "policy/worker_env.h"

#define DOCUMENT_MAX (1 << 20)
#define LINES_MAX    4000

/* A document and its lines, for one test; what it takes of memory is given back at the end. */
struct document {
    struct buf text;
    char *lines[LINES_MAX];
    size_t n;
};

static void split(struct document *d)
{
    char *rest = d->text.data, *line;

    while ((line = strsep(&rest, "\n"))) {
        cr_assert_lt(d->n, LINES_MAX);
        d->lines[d->n++] = line;
    }
}

static void document_free(struct document *d)
{
    buf_free(&d->text);
}
#define DOCUMENT __attribute__((cleanup(document_free))) struct document

static int read_source(const char *name, struct buf *out)
{
    CLEANUP_BUF struct buf path = BUF_INIT;
    const char *srcdir = getenv("srcdir");

    buf_printf(&path, "%s/%s", srcdir ? srcdir : ".", name);
    return sys_read_file(buf_str(&path), DOCUMENT_MAX, out);
}

static struct document read_document(const char *name)
{
    struct document d = {.text = BUF_INIT};

    cr_assert_eq(read_source(name, &d.text), 0, "cannot read %s", name);
    cr_assert_gt(d.text.len, 0);
    split(&d);
    return d;
}

static bool has_line(const struct document *d, size_t from, size_t end, const char *text)
{
    for (size_t i = from; i < end; i++)
        if (streq(d->lines[i], text))
            return true;
    return false;
}

static size_t count_lines(const struct document *d, const char *text)
{
    size_t n = 0;

    for (size_t i = 0; i < d->n; i++)
        n += streq(d->lines[i], text);
    return n;
}

/* The manual of the settings ------------------------------------------------------------------- */

static const char *const reload_words[] = {
    [RELOAD_LIVE] = "at once", [RELOAD_WORKER] = "new workers", [RELOAD_FIXED] = "refused"};

static void describe_range(const struct setting_info *row, struct buf *out)
{
    const struct setting_type *type = row->rule.type;
    long long min = row->rule.min, max = row->rule.max;

    if (min == max)
        return;
    if (type->repeatable) {
        buf_printf(out, "; at most %lld entries", max);
        return;
    }
    buf_puts(out, "; range: ");
    if (!type->show) {
        buf_printf(out, "%lld..%lld, or 1%%..100%%", min, max);
        return;
    }
    type->show(min, out);
    buf_puts(out, "..");
    type->show(max, out);
    if (type->word)
        buf_printf(out, ", or %s", type->word);
}

/* The last line of a setting's entry. */
static void describe_facts(const struct setting_info *row, struct buf *out)
{
    buf_printf(out, "Default: %s", row->default_text ? row->default_text : "none");
    describe_range(row, out);
    buf_printf(out, "; at reload: %s.", reload_words[row->reload]);
}

static size_t next_item(const struct document *d, size_t from)
{
    while (from < d->n && !str_after(d->lines[from], ".It ") && !streq(d->lines[from], ".El"))
        from++;
    return from;
}

static size_t find_entry(const struct document *d, const struct setting_info *row)
{
    CLEANUP_BUF struct buf head = BUF_INIT;
    size_t i = 0;

    buf_printf(&head, ".It Cm %s = Ar %s", row->key, row->argument);
    while (i < d->n && !streq(d->lines[i], buf_str(&head)))
        i++;
    cr_expect_lt(i, d->n, "preforkd.conf.5 lacks: %s", buf_str(&head));
    cr_expect_eq(count_lines(d, buf_str(&head)), 1, "preforkd.conf.5: %s", buf_str(&head));
    return i;
}

Test(documents, manual_describes_each_setting)
{
    DOCUMENT d = read_document("man/preforkd.conf.5");
    const struct setting_info *rows;
    size_t n;

    rows = settings_table(&n);
    for (size_t i = 0; i < n; i++) {
        CLEANUP_BUF struct buf facts = BUF_INIT;
        size_t at = find_entry(&d, &rows[i]);

        if (at == d.n)
            continue;
        describe_facts(&rows[i], &facts);
        cr_expect(has_line(&d, at, next_item(&d, at + 1), buf_str(&facts)),
                  "preforkd.conf.5: %s lacks the line: %s", rows[i].key, buf_str(&facts));
    }
}

Test(documents, manual_describes_nothing_else)
{
    DOCUMENT d = read_document("man/preforkd.conf.5");
    size_t n, entries = 0;

    settings_table(&n);
    for (size_t i = 0; i < d.n; i++)
        entries += str_after(d.lines[i], ".It Cm ") && strstr(d.lines[i], " = Ar ");
    cr_expect_eq(entries, n);
}

/* The sample ----------------------------------------------------------------------------------- */

/* The key of a line "key =" or "#key =", which is not prose: that begins with "# ". */
static bool take_key(const char *line, char *key, size_t size)
{
    size_t len;

    line += *line == '#';
    len = strspn(line, "abcdefghijklmnopqrstuvwxyz-");
    if (len == 0 || len >= size || !str_after(line + len, " ="))
        return false;
    memcpy(key, line, len);
    key[len] = '\0';
    return true;
}

static void uncomment(const struct document *d, struct buf *out)
{
    for (size_t i = 0; i < d->n; i++) {
        char key[64];
        bool is_setting = take_key(d->lines[i], key, sizeof(key));

        buf_printf(out, "%s\n", d->lines[i] + (is_setting && *d->lines[i] == '#'));
    }
}

static struct settings *build(const char *text, size_t len)
{
    struct cmdline cmdline = {.file = (char *)"preforkd.conf"};
    struct settings *s = NULL;
    struct why why = {""};

    cr_assert_eq(settings_build(&cmdline, NULL, text, len, &s, &why), 0, "%s", why.text);
    return s;
}

Test(documents, sample_holds_each_setting_once)
{
    DOCUMENT d = read_document("etc/preforkd.conf");
    const struct setting_info *rows;
    size_t n;

    rows = settings_table(&n);
    for (size_t i = 0; i < n; i++) {
        CLEANUP_BUF struct buf line = BUF_INIT;
        const char *value = rows[i].default_text;

        if (streq(rows[i].key, "command"))
            continue;
        buf_printf(&line, "#%s =%s%s", rows[i].key, value ? " " : "", value ? value : "");
        cr_expect_eq(count_lines(&d, buf_str(&line)), 1, "etc/preforkd.conf: not once: %s",
                     buf_str(&line));
    }
}

Test(documents, sample_holds_nothing_else)
{
    DOCUMENT d = read_document("etc/preforkd.conf");
    size_t n, keys = 0;

    settings_table(&n);
    for (size_t i = 0; i < d.n; i++) {
        char key[64];

        if (!take_key(d.lines[i], key, sizeof(key)))
            continue;
        keys++;
        cr_expect(*d.lines[i] == '#' || streq(key, "command"), "%s is not commented out", key);
        cr_expect_not_null(settings_find(key), "%s is no setting", key);
    }
    cr_expect_eq(keys, n);
}

/* Also shows that each setting stands in the section where it belongs. */
static void expect_same(const char *text, size_t len)
{
    static const char bare_text[] = "[pool:web]\ncommand = /usr/local/bin/web-server\n";
    struct settings *bare = build(bare_text, strlen(bare_text));
    struct settings *sample = build(text, len);
    const struct setting_info *rows;
    size_t n;

    rows = settings_table(&n);
    for (size_t i = 0; i < n; i++)
        cr_expect(rows[i].rule.type->equal(settings_value(bare, &bare->pools[0], &rows[i]),
                                           settings_value(sample, &sample->pools[0], &rows[i])),
                  "etc/preforkd.conf: %s is not at its default", rows[i].key);
    cr_expect_eq(sample->npools, 1);
    settings_unref(sample);
    settings_unref(bare);
}

Test(documents, sample_changes_nothing)
{
    CLEANUP_BUF struct buf text = BUF_INIT;

    cr_assert_eq(read_source("etc/preforkd.conf", &text), 0);
    expect_same(buf_str(&text), text.len);
}

Test(documents, sample_changes_nothing_uncommented)
{
    DOCUMENT d = read_document("etc/preforkd.conf");
    CLEANUP_BUF struct buf text = BUF_INIT;

    uncomment(&d, &text);
    cr_assert_neq(strstr(buf_str(&text), "\nworkers = auto\n"), NULL);
    expect_same(buf_str(&text), text.len);
}

/* --help --------------------------------------------------------------------------------------- */

Test(documents, help_names_each_setting)
{
    CLEANUP_BUF struct buf help = BUF_INIT;
    const struct setting_info *rows;
    size_t n;

    settings_help(&help);
    rows = settings_table(&n);
    for (size_t i = 0; i < n; i++) {
        CLEANUP_BUF struct buf option = BUF_INIT;

        buf_printf(&option, " --%s %s", rows[i].key, rows[i].argument);
        cr_expect_not_null(strstr(buf_str(&help), buf_str(&option)), "--help lacks%s",
                           buf_str(&option));
    }
}

/* The manual of the program -------------------------------------------------------------------- */

static void add_item(char letter, const char *name, const char *argument, struct buf *out)
{
    buf_puts(out, ".It ");
    if (letter)
        buf_printf(out, "Fl %c , ", letter);
    buf_printf(out, "Fl -%s", name);
    if (argument)
        buf_printf(out, " Ar %s", argument);
}

Test(documents, manual_describes_each_option)
{
    DOCUMENT d = read_document("man/preforkd.8");
    const char letters[] = {'l', 'w', 'H'};
    const char *const keys[] = {"listen", "workers", "health"};
    size_t options = 0, entries = 0;

    for (const struct cmdline_option *o = cmdline_options; o->name; o++, options++) {
        CLEANUP_BUF struct buf item = BUF_INIT;

        add_item(o->letter, o->name, o->argument, &item);
        cr_expect_eq(count_lines(&d, buf_str(&item)), 1, "preforkd.8: not once: %s",
                     buf_str(&item));
    }
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++, options++) {
        CLEANUP_BUF struct buf item = BUF_INIT;

        cr_expect_eq(cmdline_letter(keys[i]), letters[i]);
        add_item(letters[i], keys[i], settings_find(keys[i])->argument, &item);
        cr_expect_eq(count_lines(&d, buf_str(&item)), 1, "preforkd.8: not once: %s",
                     buf_str(&item));
    }
    for (size_t i = 0; i < d.n; i++)
        entries += str_after(d.lines[i], ".It Fl ") != NULL;
    cr_expect_eq(entries, options + 1, "the one more is for the settings: --SETTING VALUE");
}

/* The manual for workers ----------------------------------------------------------------------- */

/* Everything that a worker may get is there. */
static void build_env(struct worker_env *env)
{
    char *base[] = {NULL};
    char *words[] = {(char *)"server"};
    const struct strv command = {.items = words, .n = 1}, none = {0};
    const struct worker_env_listener listener = {.name = "web", .address = "8080", .port = 8080};
    struct why why = {""};
    int err = worker_env_build(
        &(struct worker_env_input){
            .base = base,
            .env = &none,
            .command = &command,
            .home = "/",
            .user = "web",
            .shell = "/bin/sh",
            .listeners = &listener,
            .nlisteners = 1,
            .pool = "web",
            .workers = 1,
            .generation = 1,
            .starts = 1,
            .notify_socket = "@notify",
            .watchdog_usec = 1000000,
            .unique = "0",
        },
        env, &why);

    cr_assert_eq(err, 0, "%s", why.text);
}

Test(documents, manual_describes_environment_of_workers)
{
    DOCUMENT d = read_document("man/preforkd-worker.7");
    struct worker_env env;
    size_t entries = 0;

    build_env(&env);
    for (size_t i = 0; i < env.envp.n; i++) {
        CLEANUP_BUF struct buf item = BUF_INIT;
        const char *name = env.envp.items[i];

        buf_printf(&item, ".It Ev %.*s", (int)strcspn(name, "="), name);
        cr_expect_eq(count_lines(&d, buf_str(&item)), 1, "preforkd-worker.7: not once: %s",
                     buf_str(&item));
    }
    for (size_t i = 0; i < d.n; i++)
        entries += str_after(d.lines[i], ".It Ev ") != NULL;
    cr_expect_eq(entries, env.envp.n);
    worker_env_free(&env);
}

/* The units ------------------------------------------------------------------------------------ */

static const char *next_setting(const struct document *d, size_t *i)
{
    while (*i < d->n && (*d->lines[*i] == '#' || *d->lines[*i] == '\0'))
        ++*i;
    return *i < d->n ? d->lines[(*i)++] : NULL;
}

/* Takes the name of the instance out of a line of the template. */
static void generalize(const char *line, struct buf *out)
{
    while (*line) {
        const char *rest = str_after(line, "/%i.conf");

        if (rest) {
            buf_puts(out, ".conf");
        } else if ((rest = str_after(line, "-%i")) == NULL) {
            buf_putc(out, *line);
            rest = line + 1;
        }
        line = rest;
    }
}

Test(documents, template_is_like_the_unit)
{
    DOCUMENT unit = read_document("systemd/preforkd.service.in");
    DOCUMENT template = read_document("systemd/preforkd@.service.in");
    const char *ours, *theirs;
    size_t i = 0, k = 0, settings = 0;

    do {
        CLEANUP_BUF struct buf line = BUF_INIT;

        ours = next_setting(&unit, &i);
        theirs = next_setting(&template, &k);
        generalize(theirs ? theirs : "", &line);
        cr_assert_str_eq(ours ? ours : "", buf_str(&line));
        settings++;
    } while (ours);
    cr_expect_gt(settings, 30);
}

/* The diagram ---------------------------------------------------------------------------------- */

Test(documents, diagram_is_up_to_date)
{
    CLEANUP_BUF struct buf kept = BUF_INIT, made = BUF_INIT, program = BUF_INIT;
    const char *build_dir = getenv("BUILD");
    char part[4096];
    FILE *output;
    size_t n;

    buf_printf(&program, "%s/tools/slot-fsm-dot", build_dir ? build_dir : ".");
    output = popen(buf_str(&program), "re");
    cr_assert_not_null(output);
    while ((n = fread(part, 1, sizeof(part), output)) > 0)
        buf_append(&made, part, n);
    cr_expect_eq(pclose(output), 0);
    cr_assert_eq(read_source("doc/slot-fsm.dot", &kept), 0);
    cr_expect_str_eq(buf_str(&kept), buf_str(&made), "run: make diagram");
}

/* The metrics --------------------------------------------------------------------------------- */

Test(documents, every_metric_is_in_its_manual)
{
    DOCUMENT manual = read_document("man/preforkd-metrics.7");
    CLEANUP_BUF struct buf text = BUF_INIT;
    struct metric_info metric;
    size_t n = 0;

    cr_assert_eq(read_source("man/preforkd-metrics.7", &text), 0);
    for (; metrics_info(n, &metric); n++) {
        CLEANUP_BUF struct buf item = BUF_INIT, labelled = BUF_INIT;

        cr_expect(strlen(metric.help) > 0 && metric.help[strlen(metric.help) - 1] == '.');
        if (str_after(metric.name, "process_")) {
            cr_expect(strstr(text.data, metric.name), "%s", metric.name);
            continue;
        }
        buf_printf(&item, "\n.It Li %s\n", metric.name);
        buf_printf(&labelled, "\n.It Li %s Ns Brq", metric.name);
        cr_expect(strstr(text.data, buf_str(&item)) || strstr(text.data, buf_str(&labelled)), "%s",
                  metric.name);
    }
    cr_expect_gt(n, 15);
    for (size_t i = 0; i < manual.n; i++) {
        const char *name = str_after(manual.lines[i], ".It Li preforkd_");
        bool found = !name;

        for (size_t k = 0; !found && metrics_info(k, &metric); k++)
            found = strncmp(metric.name + strlen("preforkd_"), name, strcspn(name, " ")) == 0;
        cr_expect(found, "%s", manual.lines[i]);
    }
}

Test(documents, every_reason_of_a_restart_is_in_the_manual)
{
    DOCUMENT manual = read_document("man/preforkd-metrics.7");

    for (enum restart_reason reason = RESTART_NONE + 1; reason < RESTART_NREASONS; reason++) {
        CLEANUP_BUF struct buf item = BUF_INIT;

        buf_printf(&item, ".It Li %s", restart_reason_name(reason));
        cr_expect_eq(count_lines(&manual, buf_str(&item)), 1, "%s", buf_str(&item));
    }
}
