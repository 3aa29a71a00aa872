#include "base/output.h"

#include <sys/stat.h>

#include "../lib/outputs.h"

static struct buf text;

static void tear_down(void)
{
    buf_free(&text);
}

TestSuite(output, .fini = tear_down, .timeout = 30);

static int write_text(struct output *o, const char *line)
{
    return output_write(o, line, strlen(line));
}

Test(output, everybody_has_the_same)
{
    int fd = use_pipe_as(STDOUT_FILENO);
    struct output *a = output_standard(STDOUT_FILENO), *b = output_standard(STDOUT_FILENO);

    cr_expect_eq(a, b);
    cr_expect_eq(write_text(a, "one\n"), 0);
    output_unref(a);
    cr_expect_eq(write_text(b, "two\n"), 0);
    output_unref(b);
    expect_received(fd, "one\ntwo\n");
}

Test(output, one_for_both_streams_when_they_are_the_same)
{
    static const int orders[2][2] = {{STDOUT_FILENO, STDERR_FILENO},
                                     {STDERR_FILENO, STDOUT_FILENO}};

    use_pipe_as(STDOUT_FILENO);
    dup2(STDOUT_FILENO, STDERR_FILENO);
    for (int i = 0; i < 2; i++) {
        struct output *a = output_standard(orders[i][0]), *b = output_standard(orders[i][1]);

        cr_expect_eq(a, b);
        output_unref(a);
        cr_expect_geq(b->fd, 0, "still open");
        output_unref(b);
    }
}

Test(output, two_when_they_are_not)
{
    int out = use_pipe_as(STDOUT_FILENO), err = use_pipe_as(STDERR_FILENO);
    struct output *a = output_standard(STDOUT_FILENO), *b = output_standard(STDERR_FILENO);

    cr_expect_neq(a, b);
    cr_expect_eq(write_text(a, "a\n"), 0);
    cr_expect_eq(write_text(b, "b\n"), 0);
    output_unref(a);
    output_unref(b);
    expect_received(out, "a\n");
    expect_received(err, "b\n");
}

Test(output, flags_of_the_shared_stream_stay)
{
    struct output *o;

    use_pipe_as(STDOUT_FILENO);
    o = output_standard(STDOUT_FILENO);
    cr_expect_eq(fcntl(STDOUT_FILENO, F_GETFL) & O_NONBLOCK, 0);
    cr_expect(fcntl(o->fd, F_GETFD) & FD_CLOEXEC);
    output_unref(o);
}

Test(output, a_stream_that_is_closed_loses_everything)
{
    struct output *o;

    close(STDOUT_FILENO);
    o = output_standard(STDOUT_FILENO);
    cr_expect_eq(write_text(o, "lost\n"), -EBADF);
    output_unref(o);
}

Test(output, a_reader_that_is_gone_is_an_error)
{
    int fd = use_pipe_as(STDOUT_FILENO);
    struct output *o = output_standard(STDOUT_FILENO);

    close(fd);
    cr_expect_eq(write_text(o, "lost\n"), -EPIPE);
    output_unref(o);
}

Test(output, the_rest_of_a_line_goes_before_anything_else)
{
    int fd = use_pipe_as(STDOUT_FILENO);
    struct output *a = output_standard(STDOUT_FILENO), *b = output_standard(STDOUT_FILENO);
    static char line[3 * 65536];

    memset(line, 'x', sizeof(line));
    line[sizeof(line) - 1] = '\n';
    cr_expect_eq(output_write(a, line, sizeof(line)), 0, "begun, and so it is on its way");
    cr_expect_eq(write_text(b, "next\n"), -EAGAIN);
    cr_expect_eq(output_flush(a), -EAGAIN);
    for (int err = -EAGAIN; err == -EAGAIN; err = write_text(b, "next\n"))
        receive(fd, &text);
    receive(fd, &text);
    cr_expect_eq(text.len, sizeof(line) + strlen("next\n"));
    cr_expect_arr_eq(text.data, line, sizeof(line));
    cr_expect_str_eq(text.data + sizeof(line), "next\n");
    cr_expect_null(a->rest.data);
    output_unref(a);
    output_unref(b);
}

Test(output, a_full_pipe_takes_all_of_a_line_or_nothing)
{
    int fd = use_pipe_as(STDOUT_FILENO);
    struct output *o = output_standard(STDOUT_FILENO);
    CLEANUP_BUF struct buf line = BUF_INIT;
    unsigned n = 0;

    for (int err = 0; err == 0; n++) {
        line.len = 0;
        put_numbered(&line, 'a', n);
        err = output_write(o, line.data, line.len);
        cr_expect(err == 0 || err == -EAGAIN);
    }
    cr_expect_eq(o->rest.len, 0);
    receive(fd, &text);
    cr_expect_eq(count_numbered(&text, 'a'), n - 1);
    output_unref(o);
}

Test(output, file)
{
    char path[] = "/tmp/output.XXXXXX";
    int fd = mkstemp(path);
    struct output *o, *again;

    cr_assert_eq(output_file(path, &o), 0);
    cr_assert_eq(output_file(path, &again), 0);
    cr_expect(output_is_same_file(o, again));
    cr_expect_eq(write_text(o, "one\n"), 0);
    cr_expect_eq(write_text(again, "two\n"), 0);
    expect_received(fd, "one\ntwo\n");
    unlink(path);
    output_unref(again);
    cr_assert_eq(output_file(path, &again), 0);
    cr_expect_not(output_is_same_file(o, again));
    output_unref(o);
    output_unref(again);
    unlink(path);
    close(fd);
    cr_expect_eq(output_file("/nonexistent/file", &o), -ENOENT);
}
