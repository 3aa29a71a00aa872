#include "policy/output_line.h"

#include <criterion/criterion.h>

#define TIME "2026-11-21T04:05:06.789Z"

static const struct output_source web3 = {
    .mode = OUTPUT_TAG, .pool = "web", .slot = 3, .pid = 1234, .generation = 2};

static void expect_line(enum output_mode mode, enum output_stream stream, const char *text,
                        bool more, const char *expected)
{
    CLEANUP_BUF struct buf head = BUF_INIT, line = BUF_INIT;
    struct output_source source = web3;

    source.mode = mode;
    output_line_head(&source, stream, TIME, &head);
    output_line_put(mode, &head, text, strlen(text), more, &line);
    cr_expect_str_eq(buf_str(&line), expected, "%s", buf_str(&line));
}

Test(output_line, tag)
{
    expect_line(OUTPUT_TAG, OUTPUT_STDOUT, "hello", false, "[web.3 1234] hello\n");
    expect_line(OUTPUT_TAG, OUTPUT_STDERR, "", false, "[web.3 1234] \n");
    expect_line(OUTPUT_TAG, OUTPUT_STDOUT, "\tat f\x1b[31m\t\\x\xff", false,
                "[web.3 1234] \tat f\\x1b[31m\t\\x5cx\\xff\n");
    expect_line(OUTPUT_TAG, OUTPUT_STDOUT, "begin", true, "[web.3 1234] begin\\\n");
}

Test(output_line, json)
{
#define HEAD(stream)                                                                               \
    "{\"time\":\"" TIME "\",\"pool\":\"web\",\"slot\":3,\"pid\":1234,\"generation\":2,"            \
    "\"stream\":\"" stream "\",\"message\":"
    expect_line(OUTPUT_JSON, OUTPUT_STDOUT, "hello", false, HEAD("stdout") "\"hello\"}\n");
    expect_line(OUTPUT_JSON, OUTPUT_STDERR, "", false, HEAD("stderr") "\"\"}\n");
    expect_line(OUTPUT_JSON, OUTPUT_STDERR, "{\"a\":\t1}\xff", false,
                HEAD("stderr") "\"{\\\"a\\\":\\u00091}\\ufffd\"}\n");
    expect_line(OUTPUT_JSON, OUTPUT_STDOUT, "begin", true,
                HEAD("stdout") "\"begin\",\"partial\":true}\n");
}

Test(output_line, a_line_stays_one_line)
{
    for (int mode = OUTPUT_TAG; mode <= OUTPUT_JSON; mode++) {
        CLEANUP_BUF struct buf head = BUF_INIT, line = BUF_INIT;
        char bytes[256];

        for (size_t i = 0; i < sizeof(bytes); i++)
            bytes[i] = (char)i;
        output_line_put((enum output_mode)mode, &head, bytes, sizeof(bytes), false, &line);
        cr_expect_eq(strcspn(buf_str(&line), "\n\r\033"), line.len - 1);
        cr_expect_eq(strlen(buf_str(&line)), line.len);
    }
}
