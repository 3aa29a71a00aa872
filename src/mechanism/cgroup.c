#include "mechanism/cgroup.h"

#include <limits.h>

#include "base/sys.h"
#include "policy/cpus.h"

enum { PROC_FILE_MAX = 4 * 1024 * 1024 }; /* hosts have thousands of mounts */

/* --- Mounts: see /proc/PID/mountinfo in proc(5) --- */

struct mount {
    char *root; /* the directory of the hierarchy that is seen at `point` */
    char *point;
    char *fstype;
    char *options;
};

/* Undoes \040 and the like, in place. */
static void unescape(char *text)
{
    char *to = text;

    while (*text) {
        if (text[0] == '\\' && strspn(text + 1, "01234567") >= 3) {
            *to++ = (char)((text[1] - '0') << 6 | (text[2] - '0') << 3 | (text[3] - '0'));
            text += 4;
        } else {
            *to++ = *text++;
        }
    }
    *to = '\0';
}

static bool parse_mount(char *line, struct mount *m)
{
    char *rest = strstr(line, " - ");

    if (!rest)
        return false;
    *rest = '\0';
    rest += strlen(" - ");
    m->fstype = strsep(&rest, " ");
    strsep(&rest, " ");
    m->options = rest;
    for (int i = 0; i < 3; i++)
        strsep(&line, " ");
    m->root = strsep(&line, " ");
    m->point = strsep(&line, " ");
    if (!m->options || !m->point)
        return false;
    unescape(m->root);
    unescape(m->point);
    return true;
}

static bool has_option(char *options, const char *wanted)
{
    char *option;

    while ((option = strsep(&options, ",")))
        if (streq(option, wanted))
            return true;
    return false;
}

static bool is_mount_of(const struct cgroup_hierarchy *h, const struct mount *m)
{
    return streq(m->fstype, h->fstype) &&
           (h->controller[0] == '\0' || has_option(m->options, h->controller));
}

/* The path of a cgroup below the mount point, "" for the mount point itself. NULL when the mount
 * does not show it: another container's part, or outside our cgroup namespace ("/.."). */
static const char *path_below(const struct mount *m, const char *cgroup)
{
    const char *rest = streq(m->root, "/") ? cgroup : str_after(cgroup, m->root);

    if (!rest || (*rest != '\0' && *rest != '/') || streq(rest, "/..") || str_after(rest, "/../"))
        return NULL;
    return streq(rest, "/") ? "" : rest;
}

/* ---------------------------------------------------------------------------------------------- */

static int read_proc(const char *root, const char *path, struct buf *out)
{
    CLEANUP_BUF struct buf full = BUF_INIT;

    buf_printf(&full, "%s%s", root, path);
    return full.failed ? -ENOMEM : sys_read_pseudo(buf_str(&full), PROC_FILE_MAX, out);
}

void cgroup_find(const char *root, const struct cgroup_hierarchy *h,
                 void (*found)(void *data, const char *directory, size_t top), void *data)
{
    CLEANUP_BUF struct buf cgroups = BUF_INIT;
    CLEANUP_BUF struct buf mounts = BUF_INIT;
    char cgroup[PATH_MAX];
    char *rest, *line;

    if (read_proc(root, "/proc/self/cgroup", &cgroups) < 0 ||
        read_proc(root, "/proc/self/mountinfo", &mounts) < 0 ||
        !cpus_cgroup_path(buf_str(&cgroups), h->controller, cgroup, sizeof(cgroup)))
        return;
    rest = mounts.data;
    while ((line = strsep(&rest, "\n"))) {
        CLEANUP_BUF struct buf directory = BUF_INIT;
        const char *below;
        struct mount m;

        below = parse_mount(line, &m) && is_mount_of(h, &m) ? path_below(&m, cgroup) : NULL;
        if (!below)
            continue;
        buf_printf(&directory, "%s%s%s", root, m.point, below);
        if (!directory.failed)
            found(data, buf_str(&directory), strlen(root) + strlen(m.point));
    }
}
