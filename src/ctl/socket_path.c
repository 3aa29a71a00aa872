#include "ctl/socket_path.h"

static bool is_set(const char *text)
{
    return text && *text;
}

int socket_path(const struct socket_hints *h, struct buf *out)
{
    if (is_set(h->asked))
        buf_puts(out, h->asked);
    else if (is_set(h->control))
        buf_puts(out, h->control);
    else if (h->root)
        buf_puts(out, "/run/preforkd/control.sock");
    else if (h->runtime_dir && *h->runtime_dir == '/')
        buf_printf(out, "%s/preforkd/control.sock", h->runtime_dir);
    else
        return -ENOENT;
    return out->failed ? -ENOMEM : 0;
}
