#include "interface/control_path.h"

#include <stdio.h>
#include <sys/stat.h>

/* Who may write into the folder could put another socket into the place of ours. */
static int check_folder(const char *path, struct why *why)
{
    struct stat st;

    if (lstat(path, &st) < 0)
        return why_fail_errno(why, -errno, "cannot look at the folder");
    if (!S_ISDIR(st.st_mode) || st.st_uid != geteuid() || (st.st_mode & (S_IWGRP | S_IWOTH)))
        return why_fail(why, -EPERM, "the folder is not ours alone");
    return 0;
}

int control_path_auto(struct buf *out, struct why *why)
{
    bool root = geteuid() == 0;
    const char *base = root ? "/run" : getenv("XDG_RUNTIME_DIR");

    if (!base || *base != '/')
        return why_fail(why, -ENOENT, "XDG_RUNTIME_DIR is not set");
    buf_printf(out, "%s/preforkd", base);
    if (mkdir(buf_str(out), root ? 0755 : 0700) < 0 && errno != EEXIST)
        return why_fail_errno(why, -errno, "cannot make the folder");
    if (check_folder(buf_str(out), why) < 0)
        return -EPERM;
    buf_puts(out, "/control.sock");
    return 0;
}

int control_path_spec(const char *path, struct sockspec *out, struct why *why)
{
    *out = (struct sockspec){.kind = SOCKSPEC_UNIX, .mode = 0600};
    if ((size_t)snprintf(out->path, sizeof(out->path), "%s", path) >= sizeof(out->path))
        return why_fail(why, -ENAMETOOLONG, "the path is longer than %zu bytes",
                        sizeof(out->path) - 1);
    return 0;
}
