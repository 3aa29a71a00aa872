#include "interface/config.h"

#include "base/sys.h"

int config_load(const struct cmdline *cmdline, struct settings **out, struct why *why)
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
