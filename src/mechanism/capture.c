#include "mechanism/capture.h"

#include <fcntl.h>
#include <poll.h>

#include "base/clock.h"
#include "base/sys.h"
#include "mechanism/timer.h"
#include "policy/line_split.h"

enum {
    READ_MAX = 16384,      /* bytes of one stream in one turn of the loop */
    READ_ON_MAX = 1 << 20, /* what the largest pipe holds */
    RELEASED_MS = 2000,
    CLOSE_MS = 1000,
};

struct stream {
    struct capture *capture;
    ev_io readable; /* fd -1: closed */
    struct line_split split;
    struct sink_queue queue;
};

struct capture {
    struct capture_hub *hub;
    struct capture *next, **place; /* in the list of the hub */
    const struct capture_ops *ops;
    void *data;
    bool drop, released;
    ev_timer deadline; /* runs once it is released */
    struct stream streams[OUTPUT_NSTREAMS];
};

static bool is_open(const struct stream *s)
{
    return s->readable.fd >= 0;
}

static void on_line(void *data, const char *text, size_t len, bool more)
{
    struct stream *s = data;
    struct capture *c = s->capture;
    struct buf *out = &s->queue.lines;
    size_t before = out->len;
    bool dropped = c->drop && sink_queue_is_full(&s->queue);

    c->ops->line(c->data, (enum output_stream)(s - c->streams), text, len, more,
                 dropped ? NULL : out);
    if (out->failed) { /* without memory */
        out->len = before;
        out->failed = false;
        dropped = true;
    }
    if (dropped)
        c->ops->lost(c->data, 1);
}

static void close_stream(struct stream *s)
{
    ev_io_stop(s->capture->hub->loop, &s->readable);
    util_close_p(&s->readable.fd);
    line_split_end(&s->split, on_line, s);
}

/* Reads once. Returns the bytes; 0 when there is nothing now, or never again. */
static size_t read_stream(struct stream *s)
{
    char chunk[READ_MAX];
    ssize_t n = TEMP_FAILURE_RETRY(read(s->readable.fd, chunk, sizeof(chunk)));

    if (n > 0)
        line_split_feed(&s->split, chunk, (size_t)n, on_line, s);
    else if (n == 0 || errno != EAGAIN)
        close_stream(s);
    sink_send(&s->queue);
    return n > 0 ? (size_t)n : 0;
}

static void read_on(struct stream *s)
{
    for (size_t done = 0, n = 1; is_open(s) && n > 0 && done < READ_ON_MAX; done += n)
        n = read_stream(s);
}

/* The end ------------------------------------------------------------------------------------- */

static void capture_free(struct capture *c)
{
    ev_timer_stop(c->hub->loop, &c->deadline);
    for (int i = 0; i < OUTPUT_NSTREAMS; i++) {
        struct stream *s = &c->streams[i];

        if (is_open(s))
            close_stream(s);
        sink_drop(&s->queue);
    }
    *c->place = c->next;
    if (c->next)
        c->next->place = c->place;
    free(c);
}

static void finish(struct capture *c)
{
    const struct capture_ops *ops = c->ops;
    void *data = c->data;

    capture_free(c);
    ops->closed(data);
}

static void finish_when_done(struct capture *c)
{
    bool done = c->released;

    for (int i = 0; i < OUTPUT_NSTREAMS; i++)
        done = done && !is_open(&c->streams[i]) && sink_queue_is_empty(&c->streams[i].queue);
    if (done)
        finish(c);
}

void capture_read_on(struct capture *c)
{
    for (int i = 0; i < OUTPUT_NSTREAMS; i++)
        read_on(&c->streams[i]);
}

static void end_reading(struct capture *c)
{
    capture_read_on(c);
    for (int i = 0; i < OUTPUT_NSTREAMS; i++)
        if (is_open(&c->streams[i])) {
            close_stream(&c->streams[i]);
            sink_send(&c->streams[i].queue);
        }
}

static void on_deadline(struct ev_loop *loop UNUSED, ev_timer *timer, int events UNUSED)
{
    struct capture *c = timer->data;

    end_reading(c);
    c->released = false; /* it ends below, and nowhere else */
    for (int i = 0; i < OUTPUT_NSTREAMS; i++)
        sink_flush(&c->hub->sinks[i]);
    finish(c);
}

void capture_release(struct capture *c)
{
    c->released = true;
    timer_arm_ms(c->hub->loop, &c->deadline, RELEASED_MS);
    finish_when_done(c);
}

/* The loop ------------------------------------------------------------------------------------ */

static void on_readable(struct ev_loop *loop, ev_io *io, int events UNUSED)
{
    struct stream *s = io->data;
    struct capture *c = s->capture;

    read_stream(s);
    if (is_open(s) && !c->drop && sink_queue_is_full(&s->queue))
        ev_io_stop(loop, io);
    finish_when_done(c);
}

static void on_room(struct sink_queue *q)
{
    struct stream *s = CONTAINER_OF(q, struct stream, queue);

    if (is_open(s))
        ev_io_start(s->capture->hub->loop, &s->readable);
    finish_when_done(s->capture);
}

static void on_lost(struct sink_queue *q, uint64_t lines)
{
    struct capture *c = CONTAINER_OF(q, struct stream, queue)->capture;

    c->ops->lost(c->data, lines);
}

static const struct sink_ops sink_ops = {.room = on_room, .lost = on_lost};

/* The begin ----------------------------------------------------------------------------------- */

/* A process of another user may open its own stdout again only when the pipe is that user's. */
static int open_pipe(const struct capture_options *options, int *ours, int *theirs)
{
    CLEANUP_CLOSE int read_end = -1, write_end = -1;
    int fds[2], err;

    if (pipe2(fds, O_CLOEXEC) < 0)
        return -errno;
    read_end = fds[0];
    write_end = fds[1];
    err = sys_set_nonblock(read_end, true);
    if (err == 0 && options->uid != (uid_t)-1 && fchown(write_end, options->uid, options->gid) < 0)
        err = -errno;
    if (err < 0)
        return err;
    *ours = util_take_fd(&read_end);
    *theirs = util_take_fd(&write_end);
    return 0;
}

static int open_stream(struct capture *c, enum output_stream stream,
                       const struct capture_options *options, int *theirs)
{
    struct stream *s = &c->streams[stream];
    int ours, err = open_pipe(options, &ours, theirs);

    if (err < 0)
        return err;
    ev_io_set(&s->readable, ours, EV_READ);
    ev_io_start(c->hub->loop, &s->readable);
    return 0;
}

static struct capture *capture_new(struct capture_hub *hub, bool drop)
{
    struct capture *c = calloc(1, sizeof(*c));

    if (!c)
        return NULL;
    c->hub = hub;
    c->drop = drop;
    ev_init(&c->deadline, on_deadline);
    c->deadline.data = c;
    for (int i = 0; i < OUTPUT_NSTREAMS; i++) {
        struct stream *s = &c->streams[i];

        s->capture = c;
        ev_io_init(&s->readable, on_readable, -1, EV_READ);
        s->readable.data = s;
        sink_queue_init(&s->queue, &hub->sinks[i], drop ? SINK_BURST_MAX : SINK_QUEUE_MAX,
                        &sink_ops);
    }
    c->next = hub->captures;
    c->place = &hub->captures;
    if (c->next)
        c->next->place = &c->next;
    hub->captures = c;
    return c;
}

int capture_open(struct capture_hub *hub, const struct capture_options *options,
                 const struct capture_ops *ops, void *data, struct capture **out,
                 int fds[OUTPUT_NSTREAMS])
{
    struct capture *c = capture_new(hub, options->drop);
    int err = c ? 0 : -ENOMEM;

    for (int i = 0; i < OUTPUT_NSTREAMS; i++) {
        fds[i] = -1;
        if (err == 0)
            err = open_stream(c, (enum output_stream)i, options, &fds[i]);
    }
    if (err == 0) {
        c->ops = ops;
        c->data = data;
        *out = c;
        return 0;
    }
    for (int i = 0; i < OUTPUT_NSTREAMS; i++)
        util_close_p(&fds[i]);
    if (c)
        capture_free(c);
    return err;
}

/* Handing over to another program -------------------------------------------------------------- */

static const char *const keys[OUTPUT_NSTREAMS] = {"stdout", "stderr"};

void capture_save(const struct capture *c, struct handover *h, json_t *out)
{
    for (int i = 0; i < OUTPUT_NSTREAMS; i++) {
        const struct stream *s = &c->streams[i];
        const struct buf *begin = &s->split.begin;
        json_t *entry = json_object();

        handover_put_fd(h, entry, "fd", s->readable.fd);
        handover_put_bytes(entry, "begin", buf_str(begin), begin->len);
        handover_put_bytes(entry, "lines", buf_str(&s->queue.lines) + s->queue.taken,
                           s->queue.lines.len - s->queue.taken);
        json_object_set_new(out, keys[i], entry);
    }
}

static void resume_stream(struct stream *s, const json_t *saved)
{
    int fd = handover_take_fd(saved, "fd");

    handover_text(saved, "begin", &s->split.begin);
    handover_text(saved, "lines", &s->queue.lines);
    if (s->queue.lines.len > 0)
        sink_send(&s->queue);
    if (fd < 0)
        return;
    ev_io_set(&s->readable, fd, EV_READ);
    ev_io_start(s->capture->hub->loop, &s->readable);
}

int capture_resume(struct capture_hub *hub, const struct capture_options *options,
                   const struct capture_ops *ops, void *data, const json_t *saved,
                   struct capture **out)
{
    struct capture *c = capture_new(hub, options->drop);

    if (!c)
        return -ENOMEM;
    c->ops = ops;
    c->data = data;
    for (int i = 0; i < OUTPUT_NSTREAMS; i++)
        resume_stream(&c->streams[i], json_object_get(saved, keys[i]));
    *out = c;
    return 0;
}

/* The outputs of all captures -------------------------------------------------------------------
 */

void capture_hub_open(struct capture_hub *hub, struct ev_loop *loop)
{
    static const int fds[OUTPUT_NSTREAMS] = {STDOUT_FILENO, STDERR_FILENO};

    *hub = (struct capture_hub){.loop = loop};
    for (int i = 0; i < OUTPUT_NSTREAMS; i++)
        sink_open(&hub->sinks[i], loop, fds[i]);
}

/* Writes what there is room for; returns whether it is worth waiting for more. */
static bool wait_for_room(struct capture_hub *hub, int64_t end_ms)
{
    struct pollfd outputs[OUTPUT_NSTREAMS];
    int64_t left_ms = end_ms - clock_ms();
    bool waiting = false;

    for (int i = 0; i < OUTPUT_NSTREAMS; i++) {
        struct sink *s = &hub->sinks[i];

        sink_flush(s);
        outputs[i] = (struct pollfd){.fd = -1, .events = POLLOUT};
        if (sink_is_waiting(s))
            outputs[i].fd = s->output->fd;
        waiting = waiting || sink_is_waiting(s);
    }
    return waiting && left_ms > 0 && poll(outputs, OUTPUT_NSTREAMS, (int)left_ms) >= 0;
}

void capture_hub_close(struct capture_hub *hub)
{
    int64_t end_ms = clock_ms() + CLOSE_MS;

    if (!hub->loop)
        return;
    for (struct capture *c = hub->captures; c; c = c->next) {
        end_reading(c);
        c->released = true;
    }
    while (wait_for_room(hub, end_ms))
        ;
    while (hub->captures)
        finish(hub->captures);
    for (int i = 0; i < OUTPUT_NSTREAMS; i++)
        sink_close(&hub->sinks[i]);
}
