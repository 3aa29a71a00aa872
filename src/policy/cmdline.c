#include "policy/cmdline.h"

#include <stdio.h>

#include "base/log.h"
#include "policy/settings.h"
#include "policy/suggest.h"

/* --- The options that are no settings --- */

static int take_config(struct cmdline *c, const char *value)
{
    free(c->file);
    c->file = strdup(value);
    return c->file ? 0 : -ENOMEM;
}

static int take_test(struct cmdline *c, UNUSED const char *none)
{
    c->action = CMDLINE_TEST;
    return 0;
}

static int take_dump(struct cmdline *c, UNUSED const char *none)
{
    c->action = CMDLINE_DUMP;
    return 0;
}

static int take_check_handover(struct cmdline *c, UNUSED const char *none)
{
    c->action = CMDLINE_CHECK_HANDOVER;
    return 0;
}

static int take_features(struct cmdline *c, UNUSED const char *none)
{
    c->action = CMDLINE_FEATURES;
    return 0;
}

static int take_help(struct cmdline *c, UNUSED const char *none)
{
    c->action = CMDLINE_HELP;
    return 0;
}

static int take_version(struct cmdline *c, UNUSED const char *none)
{
    c->action = CMDLINE_VERSION;
    return 0;
}

/* Each -v and -q counts from the default level and becomes a setting like any other, so that the
 * last of them and of --log-level wins. */
static int push_level(struct cmdline *c)
{
    int level = LOG_LEVEL_INFO + c->verbosity;

    if (level < LOG_LEVEL_ERROR)
        level = LOG_LEVEL_ERROR;
    if (level > LOG_LEVEL_DEBUG)
        level = LOG_LEVEL_DEBUG;
    return strv_pushf(&c->settings, "log-level=%s",
                      setting_types[SETTING_LOG_LEVEL].choices[level]);
}

static int take_verbose(struct cmdline *c, UNUSED const char *none)
{
    c->verbosity++;
    return push_level(c);
}

static int take_quiet(struct cmdline *c, UNUSED const char *none)
{
    c->verbosity--;
    return push_level(c);
}

const struct cmdline_option cmdline_options[] = {
    {"config", 'c', "FILE", "read the settings from FILE", take_config},
    {"test", 't', NULL, "check the settings and exit", take_test},
    {"dump-config", '\0', NULL, "print every setting with where it came from, and exit", take_dump},
    {"check-handover", '\0', NULL,
     "say whether this program could take over from the running one that asks, and exit",
     take_check_handover},
    {"features", '\0', NULL, "print what works on this machine and what it is needed for, and exit",
     take_features},
    {"verbose", 'v', NULL, "log more: --log-level debug", take_verbose},
    {"quiet", 'q', NULL, "log less: --log-level warn; twice: error", take_quiet},
    {"help", 'h', NULL, "print this help and exit", take_help},
    {"version", 'V', NULL, "print the version and exit", take_version},
    {0},
};

/* Short options of settings */
static const struct {
    char letter;
    const char *key;
} letters[] = {{'l', "listen"}, {'w', "workers"}, {'H', "health"}};

char cmdline_letter(const char *key)
{
    for (size_t i = 0; i < ARRAY_SIZE(letters); i++)
        if (streq(letters[i].key, key))
            return letters[i].letter;
    return '\0';
}

/* --- Finding an option: one of the table above, or a setting --- */

struct found {
    const struct cmdline_option *option;
    const struct setting_info *setting;
};

static bool find_long(const char *name, struct found *out)
{
    const struct cmdline_option *o = cmdline_options;

    while (o->name && !streq(o->name, name))
        o++;
    *out = (struct found){.option = o->name ? o : NULL, .setting = settings_find(name)};
    return out->option || out->setting;
}

static bool find_short(char letter, struct found *out)
{
    for (size_t i = 0; i < ARRAY_SIZE(letters); i++)
        if (letters[i].letter == letter)
            return find_long(letters[i].key, out);
    for (const struct cmdline_option *o = cmdline_options; o->name; o++)
        if (o->letter == letter) {
            *out = (struct found){.option = o};
            return true;
        }
    return false;
}

static int unknown_long(const char *name, struct why *why)
{
    struct suggest near = {.typed = name};
    const struct setting_info *rows;
    size_t n;

    rows = settings_table(&n);
    for (const struct cmdline_option *o = cmdline_options; o->name; o++)
        suggest_offer(&near, o->name);
    for (size_t i = 0; i < n; i++)
        suggest_offer(&near, rows[i].key);
    if (near.best)
        return why_fail(why, -EINVAL, "unknown option '--%s'; did you mean '--%s'?", name,
                        near.best);
    return why_fail(why, -EINVAL, "unknown option '--%s'; try --help", name);
}

static const char *argument_of(const struct found *f)
{
    return f->option ? f->option->argument : f->setting->argument;
}

/* --- Reading --- */

struct parser {
    char *const *at, *const *end;
    struct cmdline *out;
    struct why *why;
};

static int use(struct parser *p, const struct found *f, const char *value)
{
    int err = f->option ? f->option->take(p->out, value)
                        : strv_pushf(&p->out->settings, "%s=%s", f->setting->key, value);

    return err < 0 ? why_fail(p->why, err, "out of memory") : 0;
}

/* `attached` is the value behind "=" or a letter; NULL: the next argument is it. */
static int use_with_value(struct parser *p, const struct found *f, const char *shown,
                          const char *attached)
{
    if (!attached && p->at == p->end)
        return why_fail(p->why, -EINVAL, "%s needs a value: %s", shown, argument_of(f));
    return use(p, f, attached ? attached : *p->at++);
}

static int parse_long(struct parser *p, const char *word)
{
    size_t len = strcspn(word, "=");
    CLEANUP_FREE char *shown = strndup(word, len);
    const char *attached = word[len] ? word + len + 1 : NULL;
    struct found f;

    if (!shown)
        return why_fail(p->why, -ENOMEM, "out of memory");
    if (!find_long(shown + 2, &f))
        return unknown_long(shown + 2, p->why);
    if (argument_of(&f))
        return use_with_value(p, &f, shown, attached);
    if (attached)
        return why_fail(p->why, -EINVAL, "%s takes no value", shown);
    return use(p, &f, NULL);
}

static int parse_short(struct parser *p, const char *word)
{
    int err = 0;

    for (word++; *word && err == 0; word++) {
        const char shown[] = {'-', *word, '\0'};
        struct found f;

        if (!find_short(*word, &f))
            return why_fail(p->why, -EINVAL, "unknown option '%s'; try --help", shown);
        if (argument_of(&f))
            return use_with_value(p, &f, shown, word[1] ? word + 1 : NULL);
        err = use(p, &f, NULL);
    }
    return err;
}

/* --help and --version answer at once, whatever stands behind them. */
static bool wants_answer(const struct cmdline *c)
{
    return c->action >= CMDLINE_FEATURES;
}

static int parse_options(struct parser *p)
{
    int err = 0;

    while (err == 0 && p->at < p->end && p->at[0][0] == '-' && p->at[0][1] &&
           !wants_answer(p->out)) {
        const char *word = *p->at++;

        if (streq(word, "--"))
            break;
        err = word[1] == '-' ? parse_long(p, word) : parse_short(p, word);
    }
    return err;
}

/* What needs no value to be seen wrong. */
static int check(const struct cmdline *c, struct why *why)
{
    if (c->file && !*c->file)
        return why_fail(why, -EINVAL, "--config: needs a value");
    for (size_t i = 0; i < c->settings.n; i++)
        if (c->command.n > 0 && str_after(c->settings.items[i], "command="))
            return why_fail(why, -EINVAL, "--command and COMMAND exclude each other");
    return 0;
}

int cmdline_parse(int argc, char *const *argv, struct cmdline *out, struct why *why)
{
    struct parser p = {.at = argv, .end = argv + argc, .out = out, .why = why};
    int err;

    *out = (struct cmdline){0};
    err = parse_options(&p);
    if (err < 0 || wants_answer(out))
        return err;
    for (; p.at < p.end; p.at++)
        if (strv_push(&out->command, *p.at) < 0)
            return why_fail(why, -ENOMEM, "out of memory");
    return check(out, why);
}

void cmdline_free(struct cmdline *c)
{
    free(c->file);
    strv_free(&c->settings);
    strv_free(&c->command);
    *c = (struct cmdline){0};
}
