#include "policy/settings.h"

#include <ctype.h>
#include <stdio.h>

#include "policy/breaker.h"
#include "policy/settings_edit.h"
#include "policy/words.h"

#define ROW(owner, is_pool, key_, field, TYPE, default_, min_, max_, RELOAD, argument_, help_)     \
    {.key = (key_),                                                                                \
     .default_text = (default_),                                                                   \
     .argument = (argument_),                                                                      \
     .help = (help_),                                                                              \
     .pool = (is_pool),                                                                            \
     .reload = RELOAD_##RELOAD,                                                                    \
     .rule = {&setting_types[SETTING_##TYPE], (min_), (max_)},                                     \
     .value_offset = offsetof(owner, field),                                                       \
     .source_offset = offsetof(owner, source.field)},

static const struct setting_info rows[] = {
#define MASTER(...) ROW(struct master_settings, false, __VA_ARGS__)
#define POOL(...)   ROW(struct pool_settings, true, __VA_ARGS__)
#include "policy/settings.def"
#undef MASTER
#undef POOL
};

const struct setting_info *settings_table(size_t *n)
{
    *n = ARRAY_SIZE(rows);
    return rows;
}

const struct setting_info *settings_find(const char *key)
{
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        if (streq(rows[i].key, key))
            return &rows[i];
    return NULL;
}

/* --- One setting --- */

static const char *row_owner(const struct settings *s, const struct pool_settings *pool,
                             const struct setting_info *row)
{
    return row->pool ? (const char *)pool : (const char *)&s->master;
}

const void *settings_value(const struct settings *s, const struct pool_settings *pool,
                           const struct setting_info *row)
{
    return row_owner(s, pool, row) + row->value_offset;
}

const struct setting_source *settings_source(const struct settings *s,
                                             const struct pool_settings *pool,
                                             const struct setting_info *row)
{
    const void *source = row_owner(s, pool, row) + row->source_offset;

    return source;
}

static void value_unset(void *value, const struct setting_type *type)
{
    if (type->free)
        type->free(value);
    else
        memset(value, 0, type->size);
}

/* "stop-timeout" -> "PREFORKD_STOP_TIMEOUT" */
static void env_name(const char *key, char *name, size_t size)
{
    snprintf(name, size, "PREFORKD_%s", key);
    for (; *name; name++)
        *name = *name == '-' ? '_' : (char)toupper((unsigned char)*name);
}

void settings_print_source(const struct settings *s, const struct setting_info *row,
                           struct setting_source source, struct buf *out)
{
    char name[64];

    switch (source.origin) {
    case ORIGIN_DEFAULT: buf_puts(out, "default"); break;
    case ORIGIN_FILE: buf_printf(out, "%s:%d", s->file, source.line); break;
    case ORIGIN_ENVIRONMENT:
        env_name(row->key, name, sizeof(name));
        buf_printf(out, "environment %s", name);
        break;
    case ORIGIN_COMMAND_LINE: buf_puts(out, "command line"); break;
    }
}

int settings_blame(const struct settings *s, const struct pool_settings *pool,
                   const struct setting_info *row, struct setting_source source, int err,
                   struct why *why)
{
    CLEANUP_BUF struct buf place = BUF_INIT;

    if (source.origin == ORIGIN_COMMAND_LINE)
        return why_prefix(why, err, "--%s", row->key);
    settings_print_source(s, row, source, &place);
    if (source.origin != ORIGIN_ENVIRONMENT)
        why_prefix(why, err, "[%s%s] %s", pool ? "pool:" : "", pool ? pool->name : "preforkd",
                   row->key);
    if (source.origin != ORIGIN_DEFAULT)
        why_prefix(why, err, "%s", buf_str(&place));
    return err;
}

static char *trim(const char *text)
{
    size_t len;

    while (isspace((unsigned char)*text))
        text++;
    len = strlen(text);
    while (len > 0 && isspace((unsigned char)text[len - 1]))
        len--;
    return strndup(text, len);
}

/* The value and its source are looked up as for a reader, and changed: the object is still ours. */
int settings_set(struct settings *s, struct pool_settings *pool, const struct setting_info *row,
                 const char *text, struct setting_source source, struct why *why)
{
    const struct setting_type *type = row->rule.type;
    void *value = (void *)settings_value(s, pool, row);
    struct setting_source *old = (void *)settings_source(s, pool, row);
    CLEANUP_FREE char *trimmed = trim(text);
    int err = 0;

    if (!trimmed)
        return why_fail(why, -ENOMEM, "out of memory");
    if (!type->repeatable || old->origin != source.origin || !*trimmed)
        value_unset(value, type);
    if (!type->repeatable || old->origin != source.origin)
        *old = source; /* of a list the place where it begins */
    if (*trimmed)
        err = type->parse(&row->rule, trimmed, value, why);
    else if (row->default_text)
        err = why_fail(why, -EINVAL, "needs a value");
    return err < 0 ? settings_blame(s, pool, row, source, err, why) : 0;
}

/* --- The object --- */

static int set_defaults(struct settings *s, struct pool_settings *pool, struct why *why)
{
    const struct setting_source source = {.origin = ORIGIN_DEFAULT};

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        int err = 0;

        if (rows[i].pool == (pool != NULL) && rows[i].default_text)
            err = settings_set(s, pool, &rows[i], rows[i].default_text, source, why);
        if (err < 0)
            return err;
    }
    return 0;
}

int settings_add_pool(struct settings *s, const char *name, int line, struct why *why)
{
    struct pool_settings *pools, *pool;

    if (s->npools == SETTINGS_POOLS_MAX)
        return why_fail(why, -EINVAL, "there are more than %d pools", SETTINGS_POOLS_MAX);
    pools = reallocarray(s->pools, s->npools + 1, sizeof(*pools));
    if (!pools)
        return why_fail(why, -ENOMEM, "out of memory");
    s->pools = pools;
    pool = &pools[s->npools++];
    *pool = (struct pool_settings){.name = strdup(name), .line = line};
    if (!pool->name)
        return why_fail(why, -ENOMEM, "out of memory");
    return set_defaults(s, pool, why);
}

static void free_values(struct settings *s, struct pool_settings *pool)
{
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        if (rows[i].pool == (pool != NULL))
            value_unset((void *)settings_value(s, pool, &rows[i]), rows[i].rule.type);
}

struct settings *settings_ref(struct settings *s)
{
    s->refs++;
    return s;
}

void settings_unref(struct settings *s)
{
    if (!s || --s->refs > 0)
        return;
    for (size_t i = 0; i < s->npools; i++) {
        free_values(s, &s->pools[i]);
        free(s->pools[i].name);
    }
    free_values(s, NULL);
    free(s->pools);
    free(s->file);
    free(s->text);
    free(s);
}

const struct pool_settings *settings_pool(const struct settings *s, const char *name)
{
    for (size_t i = 0; i < s->npools; i++)
        if (streq(s->pools[i].name, name))
            return &s->pools[i];
    return NULL;
}

/* --- Environment and command line --- */

static const char *env_get(char *const *envp, const char *name)
{
    struct strv env = {.items = (char **)envp};
    const char *value;

    while (envp && envp[env.n])
        env.n++;
    value = strv_env_get(&env, name);
    return value && *value ? value : NULL;
}

const char *settings_path(const struct cmdline *cmdline, char *const *envp)
{
    return cmdline->file ? cmdline->file : env_get(envp, "PREFORKD_CONFIG");
}

/* A pool setting goes to every pool. */
static int set_everywhere(struct settings *s, const struct setting_info *row, const char *text,
                          enum setting_origin origin, struct why *why)
{
    const struct setting_source source = {.origin = origin};
    int err = 0;

    if (!row->pool)
        return settings_set(s, NULL, row, text, source, why);
    for (size_t i = 0; i < s->npools && err == 0; i++)
        err = settings_set(s, &s->pools[i], row, text, source, why);
    return err;
}

/* One variable holds all items of a list, separated by blanks and quoted as in a shell. */
static int set_list_from_env(struct settings *s, const struct setting_info *row, const char *text,
                             struct why *why)
{
    const struct setting_source source = {.origin = ORIGIN_ENVIRONMENT};
    CLEANUP_STRV struct strv items = {0};
    int err = words_split(text, &items, why);

    if (err < 0)
        return settings_blame(s, NULL, row, source, err, why);
    for (size_t i = 0; i < items.n && err == 0; i++)
        err = set_everywhere(s, row, items.items[i], ORIGIN_ENVIRONMENT, why);
    return err;
}

/* Only names of settings are looked up, so that foreign PREFORKD_* variables do no harm. */
static int apply_environment(struct settings *s, char *const *envp, struct why *why)
{
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        const char *text;
        char name[64];
        int err = 0;

        env_name(rows[i].key, name, sizeof(name));
        text = env_get(envp, name);
        if (text && rows[i].rule.type->repeatable)
            err = set_list_from_env(s, &rows[i], text, why);
        else if (text)
            err = set_everywhere(s, &rows[i], text, ORIGIN_ENVIRONMENT, why);
        if (err < 0)
            return err;
    }
    return 0;
}

static int apply_command(struct settings *s, const struct strv *command, struct why *why)
{
    struct pool_settings *pool = &s->pools[0];
    struct strv copy = {0};

    if (command->n == 0)
        return 0;
    if (strv_copy(&copy, command) < 0)
        return why_fail(why, -ENOMEM, "out of memory");
    strv_free(&pool->command);
    pool->command = copy;
    pool->source.command = (struct setting_source){.origin = ORIGIN_COMMAND_LINE};
    return 0;
}

static int apply_cmdline(struct settings *s, const struct cmdline *cmdline, struct why *why)
{
    for (size_t i = 0; i < cmdline->settings.n; i++) {
        const char *text = strchr(cmdline->settings.items[i], '=');
        CLEANUP_FREE char *key =
            strndup(cmdline->settings.items[i], (size_t)(text - cmdline->settings.items[i]));
        int err;

        if (!key)
            return why_fail(why, -ENOMEM, "out of memory");
        err = set_everywhere(s, settings_find(key), text + 1, ORIGIN_COMMAND_LINE, why);
        if (err < 0)
            return err;
    }
    return apply_command(s, &cmdline->command, why);
}

/* --- Building --- */

static int check_forms(const struct cmdline *cmdline, const char *path, struct why *why)
{
    if (cmdline->command.n > 0 && path)
        return why_fail(why, -EINVAL, "COMMAND and %s exclude each other; try --help",
                        cmdline->file ? "--config" : "environment PREFORKD_CONFIG");
    return 0;
}

static int build(struct settings *s, const struct cmdline *cmdline, char *const *envp,
                 const char *text, size_t len, struct why *why)
{
    int err = set_defaults(s, NULL, why);

    if (err == 0 && text)
        err = settings_read_file(s, text, len, why);
    else if (err == 0)
        err = settings_add_pool(s, "main", 0, why);
    if (err == 0)
        err = apply_environment(s, envp, why);
    if (err == 0)
        err = apply_cmdline(s, cmdline, why);
    return err < 0 ? err : settings_check(s, why);
}

int settings_build(const struct cmdline *cmdline, char *const *envp, const char *file_text,
                   size_t file_len, struct settings **out, struct why *why)
{
    const char *path = settings_path(cmdline, envp);
    int err = check_forms(cmdline, path, why);
    struct settings *s;

    if (err < 0)
        return err;
    s = calloc(1, sizeof(*s));
    if (!s)
        return why_fail(why, -ENOMEM, "out of memory");
    s->refs = 1;
    s->file = path ? strdup(path) : NULL;
    s->text = file_text ? strndup(file_text, file_len) : NULL;
    err = (path && !s->file) || (file_text && !s->text)
              ? why_fail(why, -ENOMEM, "out of memory")
              : build(s, cmdline, envp, file_text, file_len, why);
    if (err < 0)
        settings_unref(s);
    else
        *out = s;
    return err;
}

/* --- Reload --- */

static int refuse_change(const struct settings *next, const struct pool_settings *pool,
                         const struct setting_info *row, const void *was, const void *wanted,
                         struct why *why)
{
    CLEANUP_BUF struct buf from = BUF_INIT, to = BUF_INIT;
    const struct setting_type *type = row->rule.type;
    int err;

    type->print(type, was, &from);
    type->print(type, wanted, &to);
    err = why_fail(why, -EPERM, "cannot change from '%s' to '%s' without a restart", buf_str(&from),
                   buf_str(&to));
    return settings_blame(next, pool, row, *settings_source(next, pool, row), err, why);
}

/* `before` and `after` are the same pool, or both NULL for the settings of the master. */
static int check_fixed(const struct settings *now, const struct pool_settings *before,
                       const struct settings *next, const struct pool_settings *after,
                       struct why *why)
{
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        const struct setting_info *row = &rows[i];
        const void *was, *wanted;

        if (row->pool != (before != NULL) || row->reload != RELOAD_FIXED)
            continue;
        was = settings_value(now, before, row);
        wanted = settings_value(next, after, row);
        if (!row->rule.type->equal(was, wanted))
            return refuse_change(next, after, row, was, wanted, why);
    }
    return 0;
}

int settings_check_reload(const struct settings *now, const struct settings *next, struct why *why)
{
    int err = check_fixed(now, NULL, next, NULL, why);

    for (size_t i = 0; i < next->npools && err == 0; i++) {
        const struct pool_settings *before = settings_pool(now, next->pools[i].name);

        if (before)
            err = check_fixed(now, before, next, &next->pools[i], why);
    }
    return err;
}
