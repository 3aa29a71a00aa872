#include "interface/config.h"

#include "base/sys.h"

#define CONFIG_MAX (1024 * 1024)

int config_load(const struct cmdline *cmdline, struct settings **out, struct why *why)
{
    CLEANUP_BUF struct buf text = BUF_INIT;
    int r;

    if (!cmdline->file)
        return settings_build(cmdline, environ, NULL, 0, out, why);
    r = sys_read_file(cmdline->file, CONFIG_MAX, &text);
    if (r < 0)
        return why_fail_errno(why, r, "%s", cmdline->file);
    return settings_build(cmdline, environ, buf_str(&text), text.len, out, why);
}
