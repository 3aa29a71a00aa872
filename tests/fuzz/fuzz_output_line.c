/* What a worker writes becomes one line of text without control characters, or one JSON object. */
#include <jansson.h>

#include "fuzz.h"
#include "policy/output_line.h"

static void put(const struct output_source *source, const uint8_t *data, size_t size, bool more,
                struct buf *out)
{
    CLEANUP_BUF struct buf head = BUF_INIT;

    output_line_head(source, OUTPUT_STDERR, "2026-11-21T05:00:00.001Z", &head);
    output_line_put(source->mode, &head, (const char *)data, size, more, out);
    fuzz_check(!out->failed && out->len > 0 && out->data[out->len - 1] == '\n');
}

static void check_tag(const uint8_t *data, size_t size, bool more)
{
    const struct output_source source = {.mode = OUTPUT_TAG, .pool = "web", .slot = 3, .pid = 1234};
    CLEANUP_BUF struct buf line = BUF_INIT;

    put(&source, data, size, more, &line);
    for (size_t i = 0; i + 1 < line.len; i++)
        fuzz_check(line.data[i] == '\t' ||
                   ((unsigned char)line.data[i] >= ' ' && line.data[i] != '\x7f'));
    fuzz_check((line.len > 1 && line.data[line.len - 2] == '\\') == more);
}

/* The JSON library reads it back: text without NUL that is UTF-8 as it was. */
static void check_json(const uint8_t *data, size_t size, bool more)
{
    const struct output_source source = {
        .mode = OUTPUT_JSON, .pool = "web", .slot = 3, .pid = 1234};
    CLEANUP_BUF struct buf line = BUF_INIT;
    json_t *json, *message, *same = json_stringn((const char *)data, size);

    put(&source, data, size, more, &line);
    fuzz_check(!memchr(line.data, '\n', line.len - 1));
    json = json_loadb(line.data, line.len, JSON_ALLOW_NUL, NULL);
    message = json_object_get(json, "message");
    fuzz_check(json_is_string(message));
    fuzz_check(!same || json_equal(message, same));
    fuzz_check(json_is_true(json_object_get(json, "partial")) == more);
    json_decref(same);
    json_decref(json);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    bool more = size > 0 && data[0] & 1;

    check_tag(data, size, more);
    check_json(data, size, more);
    return 0;
}
