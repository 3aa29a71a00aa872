#include "mechanism/capture.h"

#include "../lib/outputs.h"
#include "../lib/sockets.h"
#include "base/clock.h"

enum { PATIENCE_MS = 10000 };

static struct ev_loop *loop;
static struct capture_hub hub;
static struct buf text;
static uint64_t lost;
static bool closed;
static int readers[OUTPUT_NSTREAMS]; /* of what the captures write */

static void on_line(void *data, enum output_stream stream UNUSED, const char *line, size_t len,
                    bool more UNUSED, struct buf *out)
{
    cr_expect_str_eq(data, "data");
    if (!out)
        return;
    buf_append(out, line, len);
    buf_putc(out, '\n');
}

static void on_lost(void *data UNUSED, uint64_t lines)
{
    lost += lines;
}

static void on_closed(void *data UNUSED)
{
    closed = true;
}

static const struct capture_ops ops = {.line = on_line, .lost = on_lost, .closed = on_closed};

static void set_up(void)
{
    readers[OUTPUT_STDOUT] = use_pipe_as(STDOUT_FILENO);
    readers[OUTPUT_STDERR] = use_pipe_as(STDERR_FILENO);
    loop = ev_loop_new(EVFLAG_AUTO);
    capture_hub_open(&hub, loop);
}

static void tear_down(void)
{
    buf_free(&text);
    ev_loop_destroy(loop);
}

TestSuite(capture, .init = set_up, .fini = tear_down, .timeout = 60);

/* The ends of the process never block here. */
static struct capture *open_capture(bool drop, int fds[OUTPUT_NSTREAMS])
{
    const struct capture_options options = {.drop = drop, .uid = (uid_t)-1, .gid = (gid_t)-1};
    struct capture *c;

    cr_assert_eq(capture_open(&hub, &options, &ops, "data", &c, fds), 0);
    for (int i = 0; i < OUTPUT_NSTREAMS; i++)
        fcntl(fds[i], F_SETFL, O_NONBLOCK);
    return c;
}

static void say(int fd, const char *what)
{
    cr_assert_eq(write(fd, what, strlen(what)), (ssize_t)strlen(what));
}

static void run(void)
{
    for (int i = 0; i < 10; i++)
        ev_run(loop, EVRUN_NOWAIT);
}

static void close_both(int fds[OUTPUT_NSTREAMS])
{
    close(fds[OUTPUT_STDOUT]);
    close(fds[OUTPUT_STDERR]);
}

Test(capture, each_stream_comes_out_at_its_own)
{
    int fds[OUTPUT_NSTREAMS], before = count_descriptors();
    struct capture *c = open_capture(false, fds);

    say(fds[OUTPUT_STDOUT], "to out\nbeg");
    say(fds[OUTPUT_STDERR], "to err\n");
    run();
    expect_received(readers[OUTPUT_STDOUT], "to out\n");
    expect_received(readers[OUTPUT_STDERR], "to err\n");
    say(fds[OUTPUT_STDOUT], "in\nend");
    close_both(fds);
    run();
    expect_received(readers[OUTPUT_STDOUT], "begin\nend\n");
    cr_expect_not(closed);
    capture_release(c);
    cr_expect(closed);
    cr_expect_eq(count_descriptors(), before);
    cr_expect_eq(lost, 0);
    capture_hub_close(&hub);
}

Test(capture, ends_are_close_on_exec_and_block_for_the_process_only)
{
    const struct capture_options options = {.uid = (uid_t)-1, .gid = (gid_t)-1};
    int fds[OUTPUT_NSTREAMS];
    struct capture *c;
    bool was_open[64];

    for (int fd = 0; fd < 64; fd++)
        was_open[fd] = fcntl(fd, F_GETFD) >= 0;
    cr_assert_eq(capture_open(&hub, &options, &ops, "data", &c, fds), 0);
    for (int fd = 0; fd < 64; fd++) {
        int flags = was_open[fd] ? -1 : fcntl(fd, F_GETFD);

        cr_expect(flags < 0 || flags & FD_CLOEXEC, "%d", fd);
    }
    cr_expect_eq(fcntl(fds[OUTPUT_STDOUT], F_GETFL) & O_NONBLOCK, 0);
    close_both(fds);
    capture_release(c);
    capture_hub_close(&hub);
}

/* Writes numbered lines until the pipe is full; returns the next number. */
static unsigned say_numbered(int fd, unsigned number, unsigned max)
{
    for (; number < max; number++) {
        CLEANUP_BUF struct buf line = BUF_INIT;

        put_numbered(&line, 'a', number);
        if (write(fd, line.data, line.len) < 0)
            break;
    }
    return number;
}

Test(capture, a_process_waits_for_a_slow_reader_and_loses_nothing)
{
    enum { LINES = 50000 };
    int fds[OUTPUT_NSTREAMS];
    struct capture *c = open_capture(false, fds);
    unsigned said = 0, before;

    do {
        before = said;
        said = say_numbered(fds[OUTPUT_STDOUT], said, LINES);
        run();
    } while (said > before);
    cr_expect_lt(said, LINES, "the process has to wait");
    while (said < LINES) {
        receive(readers[OUTPUT_STDOUT], &text);
        run();
        said = say_numbered(fds[OUTPUT_STDOUT], said, LINES);
    }
    close_both(fds);
    for (int i = 0; i < 100; i++) {
        run();
        receive(readers[OUTPUT_STDOUT], &text);
    }
    cr_expect_eq(count_numbered(&text, 'a'), LINES);
    cr_expect_eq(lost, 0);
    capture_release(c);
    capture_hub_close(&hub);
}

Test(capture, or_lines_are_dropped_and_counted)
{
    enum { LINES = 50000 };
    int fds[OUTPUT_NSTREAMS];
    struct capture *c = open_capture(true, fds);

    for (unsigned said = 0; said < LINES; run()) {
        unsigned before = said;

        said = say_numbered(fds[OUTPUT_STDOUT], said, LINES);
        cr_assert_gt(said, before, "the process never waits");
    }
    close_both(fds);
    for (int i = 0; i < 100; i++) {
        run();
        receive(readers[OUTPUT_STDOUT], &text);
    }
    cr_expect_gt(lost, 0);
    cr_expect_eq(count_numbered(&text, 'a') + lost, LINES);
    capture_release(c);
    capture_hub_close(&hub);
}

static bool closes_in_time(void)
{
    for (int64_t end_ms = clock_ms() + PATIENCE_MS; !closed && clock_ms() < end_ms; usleep(1000))
        ev_run(loop, EVRUN_NOWAIT);
    return closed;
}

Test(capture, a_pipe_that_somebody_keeps_open_is_closed_after_a_while)
{
    int before = count_descriptors(), fds[OUTPUT_NSTREAMS];
    struct capture *c = open_capture(false, fds);

    capture_release(c);
    say(fds[OUTPUT_STDOUT], "a late word\nand an unfinished one");
    run();
    cr_expect_not(closed);
    expect_received(readers[OUTPUT_STDOUT], "a late word\n");
    cr_expect(closes_in_time());
    expect_received(readers[OUTPUT_STDOUT], "and an unfinished one\n");
    close_both(fds);
    cr_expect_eq(count_descriptors(), before);
    cr_expect_eq(lost, 0);
    capture_hub_close(&hub);
}

Test(capture, what_a_stuck_reader_does_not_take_is_given_up)
{
    int fds[OUTPUT_NSTREAMS];
    struct capture *c = open_capture(false, fds);
    unsigned said = 0, before;

    do {
        before = said;
        said = say_numbered(fds[OUTPUT_STDOUT], said, 50000);
        run();
    } while (said > before);
    close_both(fds);
    capture_release(c);
    cr_expect(closes_in_time());
    receive(readers[OUTPUT_STDOUT], &text);
    cr_expect_gt(lost, 0);
    cr_expect_eq(count_numbered(&text, 'a') + lost, said);
    capture_hub_close(&hub);
}

Test(capture, what_a_process_left_behind_is_read_on_demand)
{
    int fds[OUTPUT_NSTREAMS];
    struct capture *c = open_capture(false, fds);
    unsigned said = say_numbered(fds[OUTPUT_STDOUT], 0, 50000);

    close_both(fds);
    capture_read_on(c);
    run();
    receive(readers[OUTPUT_STDOUT], &text);
    run();
    receive(readers[OUTPUT_STDOUT], &text);
    cr_expect_eq(count_numbered(&text, 'a'), said);
    capture_release(c);
    capture_hub_close(&hub);
}

Test(capture, the_end_waits_a_little_for_its_reader)
{
    int fds[OUTPUT_NSTREAMS];
    pid_t pid;
    unsigned said;

    open_capture(false, fds);
    said = say_numbered(fds[OUTPUT_STDOUT], 0, 50000);
    pid = fork();
    if (pid == 0) {
        usleep(100000);
        for (int i = 0; i < 1000; i++, usleep(1000))
            receive(readers[OUTPUT_STDOUT], &text);
        _exit(count_numbered(&text, 'a') == said ? 0 : 1);
    }
    close_both(fds);
    capture_hub_close(&hub);
    cr_expect(closed);
    cr_expect_eq(lost, 0);
    kill(pid, SIGKILL);
}

Test(capture, garbage_and_long_lines)
{
    int fds[OUTPUT_NSTREAMS];
    struct capture *c = open_capture(false, fds);
    static char bytes[1 << 20];
    size_t done = 0;

    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (char)(i * 2654435761u >> 13);
    while (done < sizeof(bytes)) {
        ssize_t n = write(fds[OUTPUT_STDERR], bytes + done, sizeof(bytes) - done);

        done += n > 0 ? (size_t)n : 0;
        run();
        receive(readers[OUTPUT_STDERR], &text);
    }
    close_both(fds);
    capture_release(c);
    cr_expect(closes_in_time());
    receive(readers[OUTPUT_STDERR], &text);
    cr_expect_geq(text.len, sizeof(bytes));
    cr_expect_eq(lost, 0);
    capture_hub_close(&hub);
}
