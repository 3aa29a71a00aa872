/* Who a process runs as. The functions without _r will do: the master has one thread, and what they
 * return is copied at once. */
#include "mechanism/spawn.h"

#include <grp.h>
#include <pwd.h>

#include "mechanism/handover.h"

#define NO_GROUP ((gid_t)-1)

static bool parse_id(const char *text, unsigned *id)
{
    unsigned long long value;

    if (!*text || text[strspn(text, "0123456789")])
        return false;
    value = strtoull(text, NULL, 10); /* ULLONG_MAX when it is larger still */
    if (value >= UINT32_MAX)          /* the last one means "no change" to the kernel */
        return false;
    *id = (unsigned)value;
    return true;
}

static int copy_passwd(const struct passwd *pw, struct spawn_user *out)
{
    out->uid = pw->pw_uid;
    out->gid = pw->pw_gid;
    out->name = strdup(pw->pw_name);
    out->home = strdup(pw->pw_dir);
    out->shell = strdup(pw->pw_shell);
    return out->name && out->home && out->shell ? 0 : -ENOMEM;
}

static int find_user(const char *user, struct spawn_user *out, struct why *why)
{
    bool is_number = parse_id(user, &out->uid);
    const struct passwd *pw = is_number ? getpwuid(out->uid) : getpwnam(user);

    if (pw)
        return copy_passwd(pw, out);
    if (!is_number)
        return why_fail(why, -ENOENT, "there is no user '%s'", user);
    out->gid = NO_GROUP;
    return 0;
}

static int find_group(const char *group, struct spawn_user *out, struct why *why)
{
    const struct group *gr;

    if (parse_id(group, &out->gid))
        return 0;
    gr = getgrnam(group);
    if (!gr)
        return why_fail(why, -ENOENT, "there is no group '%s'", group);
    out->gid = gr->gr_gid;
    return 0;
}

/* A user without an entry, or none at all, has just the one group. */
static int find_supplementary_groups(struct spawn_user *out)
{
    int n = 1;

    for (int room = 1;; room = n) {
        gid_t *groups = reallocarray(out->groups, (size_t)room, sizeof(*groups));

        if (!groups)
            return -ENOMEM;
        out->groups = groups;
        groups[0] = out->gid;
        if (!out->name || getgrouplist(out->name, out->gid, groups, &n) >= 0)
            break;
    }
    out->ngroups = (size_t)n;
    return 0;
}

static int lookup(const char *user, const char *group, struct spawn_user *out, struct why *why)
{
    int err = 0;

    out->uid = geteuid();
    if (user)
        err = find_user(user, out, why);
    if (err == 0 && group)
        err = find_group(group, out, why);
    if (err < 0)
        return err;
    if (out->gid == NO_GROUP)
        return why_fail(why, -ENOENT, "user %s has no entry: a group must be given too", user);
    return find_supplementary_groups(out);
}

int spawn_user_lookup(const char *user, const char *group, struct spawn_user *out, struct why *why)
{
    int err;

    *out = (struct spawn_user){0};
    if (!user && !group)
        return 0;
    err = lookup(user, group, out, why);
    if (err < 0) {
        spawn_user_free(out);
        return err == -ENOMEM ? why_fail_errno(why, err, "user '%s'", user ? user : group) : err;
    }
    out->set = true;
    return 0;
}

void spawn_user_free(struct spawn_user *u)
{
    free(u->groups);
    free(u->name);
    free(u->home);
    free(u->shell);
    *u = (struct spawn_user){0};
}

/* Handing it over ------------------------------------------------------------------------------ */

static void put_text(json_t *object, const char *key, const char *text)
{
    if (text)
        handover_put_text(object, key, text);
}

json_t *spawn_user_save(const struct spawn_user *u)
{
    json_t *groups = json_array(), *out;

    for (size_t i = 0; i < u->ngroups; i++)
        json_array_append_new(groups, json_integer(u->groups[i]));
    out = json_pack("{s:b, s:I, s:I, s:o}", "set", (int)u->set, "uid", (json_int_t)u->uid, "gid",
                    (json_int_t)u->gid, "groups", groups);
    put_text(out, "name", u->name);
    put_text(out, "home", u->home);
    put_text(out, "shell", u->shell);
    return out;
}

/* NULL stays NULL: who has no entry has no name. */
static int take_text(const json_t *saved, const char *key, char **out)
{
    CLEANUP_BUF struct buf text = BUF_INIT;

    if (!json_object_get(saved, key))
        return 0;
    handover_text(saved, key, &text);
    *out = strdup(buf_str(&text));
    return *out ? 0 : -ENOMEM;
}

/* The last number means "no change" to the kernel: the workers would run as the master. */
static int take_id(const json_t *value, unsigned *out)
{
    json_int_t id = json_is_integer(value) ? json_integer_value(value) : -1;

    if (id < 0 || id >= UINT32_MAX)
        return -EINVAL;
    *out = (unsigned)id;
    return 0;
}

static int take_groups(const json_t *list, struct spawn_user *out)
{
    size_t n = json_array_size(list);
    int r = 0;

    out->groups = calloc(n + 1, sizeof(*out->groups));
    if (!out->groups)
        return -ENOMEM;
    for (size_t i = 0; i < n && r == 0; i++)
        r = take_id(json_array_get(list, i), &out->groups[i]);
    out->ngroups = n;
    return r;
}

static int take_user(const json_t *saved, struct spawn_user *out)
{
    int r = take_id(json_object_get(saved, "uid"), &out->uid);

    if (r == 0)
        r = take_id(json_object_get(saved, "gid"), &out->gid);
    if (r == 0)
        r = take_groups(json_object_get(saved, "groups"), out);
    if (r == 0)
        r = take_text(saved, "name", &out->name);
    if (r == 0)
        r = take_text(saved, "home", &out->home);
    if (r == 0)
        r = take_text(saved, "shell", &out->shell);
    out->set = true;
    return r;
}

int spawn_user_resume(const json_t *saved, struct spawn_user *out)
{
    int r;

    *out = (struct spawn_user){0};
    if (json_is_false(json_object_get(saved, "set")))
        return 0;
    r = take_user(saved, out);
    if (r < 0)
        spawn_user_free(out);
    return r;
}
