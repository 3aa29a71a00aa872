/* Lines of many writers on their way to one output. Each writer has a queue of its own; whole lines
 * are taken from the queues in turns, as far as there is room. Nothing waits: the loop tells when
 * there is room again. */
#ifndef PREFORKD_MECHANISM_SINK_H
#define PREFORKD_MECHANISM_SINK_H

#include <ev.h>

#include "base/output.h"

/* Bytes from which on a queue is full: for a writer that can wait, and for one that loses lines
 * then; that one has more as long as all queues together hold less than SINK_TOTAL_MAX. */
#define SINK_QUEUE_MAX 32768
#define SINK_BURST_MAX 262144
#define SINK_TOTAL_MAX 8388608

struct sink_queue {
    struct buf lines; /* the owner appends whole lines and calls sink_send() */

    /* private */
    struct sink *sink;
    const struct sink_ops *ops;
    struct sink_queue *next;
    size_t taken;   /* bytes of `lines` that are gone already */
    size_t counted; /* bytes of `lines` that are in the sink's total */
    size_t max;
    bool queued;
};

struct sink_ops {
    /* Something was taken and the queue is not full; it may be freed from here when it is empty. */
    void (*room)(struct sink_queue *q);
    /* The output refused lines for good: its reader is gone, its disk full. */
    void (*lost)(struct sink_queue *q, uint64_t lines);
};

struct sink {
    struct ev_loop *loop;
    struct output *output;
    ev_prepare turn; /* lines of one turn of the loop go out together, at its end */
    ev_io writable;  /* runs while there is no room */
    struct sink_queue *head, **tail;
    size_t total; /* bytes in all queues */
};

/* Lines go to STDOUT_FILENO or STDERR_FILENO. */
void sink_open(struct sink *s, struct ev_loop *loop, int fd);
void sink_close(struct sink *s); /* every queue must be empty */

/* `max`: SINK_QUEUE_MAX or SINK_BURST_MAX. */
void sink_queue_init(struct sink_queue *q, struct sink *s, size_t max, const struct sink_ops *ops);

bool sink_queue_is_empty(const struct sink_queue *q);
bool sink_queue_is_full(const struct sink_queue *q);

/* There are new lines in the queue. */
void sink_send(struct sink_queue *q);

/* Writes now what there is room for. */
void sink_flush(struct sink *s);

/* There was no room for everything. */
bool sink_is_waiting(const struct sink *s);

/* Gives up what is still in the queue: it is told as lost. Frees its memory. */
void sink_drop(struct sink_queue *q);

#endif
