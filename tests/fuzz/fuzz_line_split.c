/* What a worker writes, in pieces: the bytes come out in order, in bounded lines. */
#include "fuzz.h"
#include "policy/line_split.h"

static void put(void *data, const char *line, size_t len, bool more)
{
    struct buf *out = data;

    fuzz_check(len <= LINE_SPLIT_MAX);
    fuzz_check(!memchr(line, '\n', len));
    buf_append(out, line, len);
    if (!more)
        buf_putc(out, '\n');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    CLEANUP_BUF struct buf whole = BUF_INIT, pieces = BUF_INIT;
    struct line_split one = {0}, many = {0};
    size_t step = size > 0 ? (size_t)data[0] % 7 + 1 : 1;

    line_split_feed(&one, (const char *)data, size, put, &whole);
    line_split_end(&one, put, &whole);
    for (size_t at = 0; at < size; at += step)
        line_split_feed(&many, (const char *)data + at, size - at < step ? size - at : step, put,
                        &pieces);
    line_split_end(&many, put, &pieces);
    fuzz_check(whole.len == pieces.len);
    fuzz_check(whole.len == 0 || memcmp(whole.data, pieces.data, whole.len) == 0);
    return 0;
}
