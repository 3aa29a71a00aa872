#include "mechanism/sink.h"

#include "../lib/outputs.h"

static struct ev_loop *loop;
static struct sink sink;
static struct buf text;
static unsigned rooms;
static uint64_t lost;

static void on_room(struct sink_queue *q)
{
    cr_expect_not(sink_queue_is_full(q));
    rooms++;
}

static void on_lost(struct sink_queue *q UNUSED, uint64_t lines)
{
    lost += lines;
}

static const struct sink_ops ops = {.room = on_room, .lost = on_lost};

/* The sink writes to a pipe in the place of stdout; returns the other end. */
static int open_sink(void)
{
    int fd = use_pipe_as(STDOUT_FILENO);

    loop = ev_loop_new(EVFLAG_AUTO);
    sink_open(&sink, loop, STDOUT_FILENO);
    return fd;
}

static void close_sink(void)
{
    sink_close(&sink);
    ev_loop_destroy(loop);
    buf_free(&text);
}

TestSuite(sink, .timeout = 30);

static void send_text(struct sink_queue *q, const char *lines)
{
    buf_puts(&q->lines, lines);
    sink_send(q);
}

static void send_numbered(struct sink_queue *q, char letter, unsigned from, unsigned n)
{
    for (unsigned i = from; i < from + n; i++)
        put_numbered(&q->lines, letter, i);
    sink_send(q);
}

Test(sink, lines_go_out_at_the_end_of_the_turn)
{
    int fd = open_sink();
    struct sink_queue a, b;

    sink_queue_init(&a, &sink, SINK_QUEUE_MAX, &ops);
    sink_queue_init(&b, &sink, SINK_QUEUE_MAX, &ops);
    send_text(&a, "a1\na2\n");
    send_text(&b, "b1\n");
    send_text(&a, "a3\n");
    expect_received(fd, "");
    ev_run(loop, EVRUN_NOWAIT);
    expect_received(fd, "a1\na2\na3\nb1\n");
    cr_expect(sink_queue_is_empty(&a) && sink_queue_is_empty(&b));
    cr_expect_eq(rooms, 2);
    cr_expect_not(sink_is_waiting(&sink));
    sink_drop(&a);
    sink_drop(&b);
    cr_expect_eq(lost, 0);
    close_sink();
}

Test(sink, nothing_waits_and_nothing_is_lost_when_there_is_no_room)
{
    int fd = open_sink();
    struct sink_queue a, b;

    sink_queue_init(&a, &sink, SINK_QUEUE_MAX, &ops);
    sink_queue_init(&b, &sink, SINK_QUEUE_MAX, &ops);
    send_numbered(&a, 'a', 0, 5000);
    send_numbered(&b, 'b', 0, 5000);
    ev_run(loop, EVRUN_NOWAIT);
    cr_expect(sink_is_waiting(&sink));
    cr_expect(sink_queue_is_full(&a));
    receive(fd, &text);
    cr_expect_gt(count_numbered(&text, 'b'), 100, "both had their turn");
    while (sink_is_waiting(&sink)) {
        ev_run(loop, EVRUN_NOWAIT);
        receive(fd, &text);
    }
    cr_expect_eq(count_numbered(&text, 'a'), 5000);
    cr_expect_eq(count_numbered(&text, 'b'), 5000);
    cr_expect_null(a.lines.data, "memory is given back");
    cr_expect_eq(lost, 0);
    close_sink();
}

Test(sink, a_queue_that_is_never_empty_does_not_grow)
{
    int fd = open_sink();
    struct sink_queue q;
    unsigned sent = 0;

    sink_queue_init(&q, &sink, SINK_QUEUE_MAX, &ops);
    while (sent < 200000) {
        if (!sink_queue_is_full(&q)) {
            send_numbered(&q, 'a', sent, 100);
            sent += 100;
        }
        ev_run(loop, EVRUN_NOWAIT);
        cr_assert_leq(q.lines.cap, 4 * SINK_QUEUE_MAX);
        if (sink_queue_is_full(&q))
            receive(fd, &text);
    }
    ev_run(loop, EVRUN_NOWAIT);
    receive(fd, &text);
    ev_run(loop, EVRUN_NOWAIT);
    receive(fd, &text);
    cr_expect_eq(count_numbered(&text, 'a'), sent);
    sink_drop(&q);
    close_sink();
}

Test(sink, a_long_line_stays_whole_among_others)
{
    int fd = open_sink();
    struct sink_queue a, b;
    static char line[100000];

    sink_queue_init(&a, &sink, SINK_QUEUE_MAX, &ops);
    sink_queue_init(&b, &sink, SINK_QUEUE_MAX, &ops);
    memset(line, 'x', sizeof(line));
    line[sizeof(line) - 1] = '\n';
    buf_append(&a.lines, line, sizeof(line));
    send_text(&a, "a\n");
    send_text(&b, "b\n");
    for (int i = 0; i == 0 || sink_is_waiting(&sink); i++) {
        ev_run(loop, EVRUN_NOWAIT);
        receive(fd, &text);
    }
    cr_expect_eq(text.len, sizeof(line) + 4);
    cr_expect_arr_eq(text.data, line, sizeof(line));
    cr_expect_str_eq(text.data + sizeof(line), "b\na\n");
    sink_drop(&a);
    sink_drop(&b);
    close_sink();
}

Test(sink, what_nobody_reads_is_told_as_lost)
{
    int fd = open_sink();
    struct sink_queue q;

    sink_queue_init(&q, &sink, SINK_QUEUE_MAX, &ops);
    close(fd);
    send_numbered(&q, 'a', 0, 1000);
    ev_run(loop, EVRUN_NOWAIT);
    cr_expect_eq(lost, 1000);
    cr_expect(sink_queue_is_empty(&q));
    cr_expect_not(sink_is_waiting(&sink));
    sink_drop(&q);
    close_sink();
}

Test(sink, what_is_given_up_is_told_as_lost)
{
    struct sink_queue a, b;

    open_sink();
    sink_queue_init(&a, &sink, SINK_QUEUE_MAX, &ops);
    sink_queue_init(&b, &sink, SINK_QUEUE_MAX, &ops);
    send_text(&a, "1\n2\n3\n");
    send_text(&b, "1\n");
    sink_drop(&b);
    cr_expect_eq(lost, 1);
    sink_drop(&a);
    cr_expect_eq(lost, 4);
    send_text(&a, "later\n");
    sink_drop(&a);
    close_sink();
}

Test(sink, bursts_have_more_room_while_all_together_are_small)
{
    struct sink_queue queues[64];
    size_t total = 0;

    open_sink();
    for (size_t i = 0; i < ARRAY_SIZE(queues); i++) {
        struct sink_queue *q = &queues[i];

        sink_queue_init(q, &sink, SINK_BURST_MAX, &ops);
        for (unsigned n = 0; !sink_queue_is_full(q); n++)
            send_numbered(q, 'a', n, 1);
        total += q->lines.len;
        cr_expect_geq(q->lines.len, i == 0 ? SINK_BURST_MAX : SINK_QUEUE_MAX);
        cr_expect_lt(q->lines.len,
                     i + 1 == ARRAY_SIZE(queues) ? SINK_QUEUE_MAX + 200 : SINK_BURST_MAX + 200);
    }
    cr_expect_lt(total, SINK_TOTAL_MAX + 64 * (SINK_QUEUE_MAX + 200));
    cr_expect_eq(sink.total, total);
    for (size_t i = 0; i < ARRAY_SIZE(queues); i++)
        sink_drop(&queues[i]);
    cr_expect_eq(sink.total, 0);
    close_sink();
}

/* What the log writes while captured lines use up all the room comes out first. */
Test(sink, a_line_that_may_wait_is_not_lost_among_others)
{
    int fd = open_sink();
    struct output *log = output_standard(STDOUT_FILENO);
    struct sink_queue q;

    sink_queue_init(&q, &sink, SINK_QUEUE_MAX, &ops);
    cr_expect_eq(log->watchers, 0);
    send_numbered(&q, 'a', 0, 5000);
    ev_run(loop, EVRUN_NOWAIT);
    cr_assert(sink_is_waiting(&sink));
    cr_expect_eq(output_write_first(log, "z 0 \n", 5), 0);
    for (unsigned i = 1, left = OUTPUT_WAITING_MAX - 5; i > 0; i++) {
        CLEANUP_BUF struct buf line = BUF_INIT;

        put_numbered(&line, 'z', i);
        cr_assert_eq(output_write_first(log, line.data, line.len), line.len <= left ? 0 : -EAGAIN);
        if (line.len > left)
            break;
        left -= (unsigned)line.len;
    }
    while (sink_is_waiting(&sink)) {
        receive(fd, &text);
        ev_run(loop, EVRUN_NOWAIT);
    }
    receive(fd, &text);
    cr_expect_eq(count_numbered(&text, 'a'), 5000);
    cr_expect_gt(count_numbered(&text, 'z'), 100);
    cr_expect_eq(log->watchers, 0);
    output_unref(log);
    sink_drop(&q);
    close_sink();
}
