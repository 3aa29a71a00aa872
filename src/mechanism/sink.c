#include "mechanism/sink.h"

/* Bytes in one turn of the loop, so that others get theirs. */
#define TURN_MAX (1 << 20)

/* Memory that an empty queue may keep. */
#define KEPT_MAX 4096

static size_t queued_bytes(const struct sink_queue *q)
{
    return q->lines.len - q->taken;
}

/* Whole lines that a pipe takes at once, or one that is longer. */
static size_t batch_length(const char *lines, size_t len)
{
    const char *newline;

    if (len <= OUTPUT_ATOMIC_MAX)
        return len;
    newline = memrchr(lines, '\n', OUTPUT_ATOMIC_MAX);
    if (!newline)
        newline = memchr(lines, '\n', len);
    return (size_t)(newline - lines) + 1;
}

static uint64_t count_lines(const char *lines, size_t len)
{
    uint64_t n = 0;

    for (const char *end = lines + len; lines < end; n++)
        lines = (const char *)memchr(lines, '\n', (size_t)(end - lines)) + 1;
    return n;
}

static void enqueue(struct sink *s, struct sink_queue *q)
{
    q->queued = true;
    q->next = NULL;
    *s->tail = q;
    s->tail = &q->next;
}

static void dequeue(struct sink *s, struct sink_queue *q)
{
    struct sink_queue **place = &s->head;

    while (*place != q)
        place = &(*place)->next;
    *place = q->next;
    if (!*place)
        s->tail = place;
    q->queued = false;
}

static void count_queue(struct sink_queue *q)
{
    q->sink->total += queued_bytes(q) - q->counted;
    q->counted = queued_bytes(q);
}

static void forget_taken(struct sink_queue *q)
{
    size_t left = queued_bytes(q);

    if (left == 0 && q->lines.cap > KEPT_MAX) {
        buf_free(&q->lines);
    } else if (left <= q->taken) {
        memmove(q->lines.data, q->lines.data + q->taken, left);
        q->lines.len = left;
    } else {
        return;
    }
    q->taken = 0;
}

/* The queue in front has its turn. Returns the bytes that it took, or -EAGAIN. */
static ssize_t write_batch(struct sink *s)
{
    struct sink_queue *q = s->head;
    const char *lines = q->lines.data + q->taken;
    size_t len = batch_length(lines, queued_bytes(q));
    int err = output_write(s->output, lines, len);

    if (err == -EAGAIN)
        return err;
    if (err < 0)
        q->ops->lost(q, count_lines(lines, len));
    q->taken += len;
    count_queue(q);
    dequeue(s, q);
    if (queued_bytes(q) > 0)
        enqueue(s, q);
    forget_taken(q);
    if (!sink_queue_is_full(q))
        q->ops->room(q);
    return err < 0 ? 0 : (ssize_t)len;
}

static void wait_for_room(struct sink *s, bool on)
{
    if (on == sink_is_waiting(s))
        return;
    s->output->watchers += on ? 1u : -1u;
    if (on)
        ev_io_start(s->loop, &s->writable);
    else
        ev_io_stop(s->loop, &s->writable);
}

void sink_flush(struct sink *s)
{
    bool waiting = output_flush(s->output) == -EAGAIN;

    for (ssize_t done = 0; s->head && !waiting && done < TURN_MAX;) {
        ssize_t n = write_batch(s);

        waiting = n == -EAGAIN;
        done += n;
    }
    ev_prepare_stop(s->loop, &s->turn);
    wait_for_room(s, s->head || output_flush(s->output) == -EAGAIN);
}

static void on_turn(struct ev_loop *loop UNUSED, ev_prepare *turn, int events UNUSED)
{
    sink_flush(turn->data);
}

static void on_writable(struct ev_loop *loop UNUSED, ev_io *io, int events UNUSED)
{
    sink_flush(io->data);
}

void sink_open(struct sink *s, struct ev_loop *loop, int fd)
{
    *s = (struct sink){.loop = loop, .output = output_standard(fd), .tail = &s->head};
    ev_prepare_init(&s->turn, on_turn);
    ev_io_init(&s->writable, on_writable, s->output->fd, EV_WRITE);
    s->turn.data = s->writable.data = s;
}

void sink_close(struct sink *s)
{
    ev_prepare_stop(s->loop, &s->turn);
    wait_for_room(s, false);
    output_unref(s->output);
}

void sink_queue_init(struct sink_queue *q, struct sink *s, size_t max, const struct sink_ops *ops)
{
    *q = (struct sink_queue){.sink = s, .max = max, .ops = ops};
}

bool sink_queue_is_empty(const struct sink_queue *q)
{
    return queued_bytes(q) == 0;
}

bool sink_queue_is_full(const struct sink_queue *q)
{
    size_t max = q->sink->total < SINK_TOTAL_MAX ? q->max : SINK_QUEUE_MAX;

    return queued_bytes(q) >= max;
}

void sink_send(struct sink_queue *q)
{
    struct sink *s = q->sink;

    count_queue(q);
    if (q->queued || sink_queue_is_empty(q))
        return;
    enqueue(s, q);
    if (!sink_is_waiting(s))
        ev_prepare_start(s->loop, &s->turn);
}

bool sink_is_waiting(const struct sink *s)
{
    return ev_is_active(&s->writable);
}

void sink_drop(struct sink_queue *q)
{
    if (q->queued)
        dequeue(q->sink, q);
    if (!sink_queue_is_empty(q))
        q->ops->lost(q, count_lines(q->lines.data + q->taken, queued_bytes(q)));
    buf_free(&q->lines);
    q->taken = 0;
    count_queue(q);
}
