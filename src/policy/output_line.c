#include "policy/output_line.h"

static const char *const stream_names[OUTPUT_NSTREAMS] = {"stdout", "stderr"};

void output_line_head(const struct output_source *source, enum output_stream stream,
                      const char *time, struct buf *out)
{
    if (source->mode == OUTPUT_TAG) {
        buf_printf(out, "[%s.%d %d] ", source->pool, source->slot, (int)source->pid);
        return;
    }
    buf_printf(out, "{\"time\":\"%s\",\"pool\":", time);
    buf_json_string(out, source->pool, strlen(source->pool));
    buf_printf(out, ",\"slot\":%d,\"pid\":%d,\"generation\":%u,\"stream\":\"%s\",\"message\":",
               source->slot, (int)source->pid, source->generation, stream_names[stream]);
}

/* Tabs are harmless, and stack traces full of them. */
static void escape_but_tabs(const char *text, size_t len, struct buf *out)
{
    const char *end = text + len, *tab;

    for (; (tab = memchr(text, '\t', (size_t)(end - text))); text = tab + 1) {
        buf_escape(out, text, (size_t)(tab - text));
        buf_putc(out, '\t');
    }
    buf_escape(out, text, (size_t)(end - text));
}

void output_line_put(enum output_mode mode, const struct buf *head, const char *text, size_t len,
                     bool more, struct buf *out)
{
    buf_append(out, head->data, head->len);
    if (mode == OUTPUT_TAG) {
        escape_but_tabs(text, len, out);
        buf_puts(out, more ? "\\\n" : "\n");
    } else {
        buf_json_string(out, text, len);
        buf_puts(out, more ? ",\"partial\":true}\n" : "}\n");
    }
}
