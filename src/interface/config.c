#include "interface/config.h"

#include "base/sys.h"
#include "mechanism/spawn.h"

/* Users and groups are looked up here, since what the settings are made of is pure. */
static int check_account(const struct settings *s, const struct pool_settings *pool,
                         struct why *why)
{
    const struct setting_info *row = settings_find(pool->user ? "user" : "group");
    struct spawn_user user;
    int r = spawn_user_lookup(pool->user, pool->group, &user, why);

    if (r < 0)
        return settings_blame(s, pool, row, *settings_source(s, pool, row), r, why);
    spawn_user_free(&user);
    return 0;
}

static int check(const struct settings *s, struct why *why)
{
    for (size_t i = 0; i < s->npools; i++) {
        int r = check_account(s, &s->pools[i], why);

        if (r < 0)
            return r;
    }
    return 0;
}

static int build(const struct cmdline *cmdline, struct settings **out, struct why *why)
{
    const char *path = settings_path(cmdline, environ);
    CLEANUP_BUF struct buf text = BUF_INIT;
    int r;

    if (!path)
        return settings_build(cmdline, environ, NULL, 0, out, why);
    r = sys_read_file(path, SETTINGS_FILE_MAX, &text);
    if (r < 0)
        return why_fail_errno(why, r, "%s", path);
    return settings_build(cmdline, environ, buf_str(&text), text.len, out, why);
}

int config_load(const struct cmdline *cmdline, struct settings **out, struct why *why)
{
    struct settings *settings = NULL;
    int r = build(cmdline, &settings, why);

    if (r == 0)
        r = check(settings, why);
    if (r < 0)
        settings_unref(settings);
    else
        *out = settings;
    return r;
}

int config_load_text(const struct cmdline *cmdline, const char *text, struct settings **out,
                     struct why *why)
{
    return settings_build(cmdline, environ, text, text ? strlen(text) : 0, out, why);
}
