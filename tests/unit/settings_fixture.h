/* What the tests of the settings share: building from a file's text, an environment and arguments.
 */
#ifndef PREFORKD_TESTS_SETTINGS_FIXTURE_H
#define PREFORKD_TESTS_SETTINGS_FIXTURE_H

#include <criterion/criterion.h>
#include <stdio.h>

#include "policy/settings.h"

/* Of whichever type. */
union setting_value {
    int64_t number;
    char *string;
    struct strv list;
    struct count count;
};

/* The file is called web.conf. `text` and `envp` may be NULL, `args` ends with NULL. */
struct build_input {
    const char *text;
    size_t len; /* 0: strlen(text) */
    char **envp;
    char **args;
};

static inline int build_from(struct build_input in, struct settings **out, struct why *why)
{
    const char *text = in.text;
    struct cmdline cmdline;
    int argc = 0, err;

    while (in.args && in.args[argc])
        argc++;
    err = cmdline_parse(argc, in.args, &cmdline, why);
    if (err == 0 && text && !cmdline.file)
        cmdline.file = strdup("web.conf");
    if (err == 0)
        err = settings_build(&cmdline, in.envp, text, in.len || !text ? in.len : strlen(text), out,
                             why);
    cmdline_free(&cmdline);
    return err;
}

#define WORDS(...)           ((char *[]){__VA_ARGS__, NULL})
#define BUILD(out, why, ...) build_from((struct build_input){__VA_ARGS__}, (out), (why))

/* Settings that must be right. */
static inline struct settings *build_well(struct build_input in)
{
    struct settings *s = NULL;
    struct why why = {""};

    cr_assert_eq(build_from(in, &s, &why), 0, "%s", why.text);
    return s;
}
#define WELL(...) build_well((struct build_input){__VA_ARGS__})

/* Settings that must be refused, in these words. */
static inline void build_badly(struct build_input in, const char *reason)
{
    struct settings *s = NULL;
    struct why why = {""};
    int err = build_from(in, &s, &why);

    cr_expect_eq(err, -EINVAL, "%d instead of: %s", err, reason);
    cr_expect_null(s);
    cr_expect_str_eq(why.text, reason);
    settings_unref(s);
}
#define BADLY(reason, ...) build_badly((struct build_input){__VA_ARGS__}, (reason))

/* One setting as text, to be freed. */
static inline char *setting_text(const struct settings *s, const char *key)
{
    const struct setting_info *row = settings_find(key);
    struct buf text = BUF_INIT;

    cr_assert_not_null(row, "%s", key);
    row->rule.type->print(row->rule.type, settings_value(s, &s->pools[0], row), &text);
    return buf_take(&text);
}

/* Whether two objects hold the same settings, wherever they came from. */
static inline void expect_same_settings(const struct settings *a, const struct settings *b)
{
    const struct setting_info *rows;
    size_t n;

    rows = settings_table(&n);
    cr_assert_eq(a->npools, b->npools);
    for (size_t p = 0; p < a->npools; p++) {
        cr_expect_str_eq(a->pools[p].name, b->pools[p].name);
        for (size_t i = 0; i < n; i++)
            cr_expect(rows[i].rule.type->equal(settings_value(a, &a->pools[p], &rows[i]),
                                               settings_value(b, &b->pools[p], &rows[i])),
                      "%s of pool %zu", rows[i].key, p);
    }
}

/* A file with one setting where it belongs, to be freed. */
static inline char *file_with(const char *key, const char *value)
{
    const struct setting_info *row = settings_find(key);
    struct buf text = BUF_INIT;

    if (!row->pool)
        buf_printf(&text, "[preforkd]\n%s = %s\n", key, value);
    buf_puts(&text, "[pool:web]\n");
    if (row->pool)
        buf_printf(&text, "%s = %s\n", key, value);
    if (!streq(key, "command"))
        buf_puts(&text, "command = server\n");
    return buf_take(&text);
}

#endif
