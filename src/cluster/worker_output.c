#include "cluster/worker_output.h"

#include "base/clock.h"
#include "base/log.h"

#define TELL_LOSSES_MS 10000

struct worker_output {
    struct generation *gen;
    struct output_source source;
    struct capture *capture;
    struct {
        struct buf text;
        int64_t wall_ms;
    } heads[OUTPUT_NSTREAMS];
    struct last_lines last;
};

/* Made anew for another millisecond only. */
static const struct buf *current_head(struct worker_output *o, enum output_stream stream)
{
    struct buf *head = &o->heads[stream].text;
    int64_t now_ms = clock_wall_ms();
    char time[CLOCK_WALL_TEXT];

    if (head->len > 0 && o->heads[stream].wall_ms == now_ms)
        return head;
    head->len = 0;
    o->heads[stream].wall_ms = now_ms;
    output_line_head(&o->source, stream, clock_wall_text(now_ms, time), head);
    return head;
}

static void on_line(void *data, enum output_stream stream, const char *text, size_t len, bool more,
                    struct buf *out)
{
    struct worker_output *o = data;

    last_lines_add(&o->last, text, len);
    if (out)
        output_line_put(o->source.mode, current_head(o, stream), text, len, more, out);
}

static void on_lost(void *data, uint64_t lines)
{
    const struct worker_output *o = data;
    struct output_losses *losses = o->gen->losses;
    int64_t now_ms = clock_ms();

    losses->lines += lines;
    if (losses->told_ms > 0 && now_ms - losses->told_ms < TELL_LOSSES_MS)
        return;
    losses->told_ms = now_ms;
    log_warn(&(struct log_who){.pool = o->source.pool, .slot = -1},
             "output of workers is lost: the reader is too slow or gone; %llu lines so far",
             (unsigned long long)losses->lines);
}

static void worker_output_free(void *data)
{
    struct worker_output *o = data;

    for (int i = 0; i < OUTPUT_NSTREAMS; i++)
        buf_free(&o->heads[i].text);
    generation_unref(o->gen);
    free(o);
}

static const struct capture_ops capture_ops = {
    .line = on_line, .lost = on_lost, .closed = worker_output_free};

static struct worker_output *worker_output_new(struct generation *gen, int slot)
{
    struct worker_output *o = calloc(1, sizeof(*o));

    if (!o)
        return NULL;
    o->gen = generation_ref(gen);
    o->source = (struct output_source){
        .mode = (enum output_mode)gen->pool->output,
        .pool = gen->pool->name,
        .slot = slot,
        .generation = gen->number,
    };
    return o;
}

static struct capture_options options_of(const struct generation *gen)
{
    return (struct capture_options){
        .drop = gen->pool->output_overflow == OVERFLOW_DROP,
        .uid = gen->user.set ? gen->user.uid : (uid_t)-1,
        .gid = gen->user.set ? gen->user.gid : (gid_t)-1,
    };
}

int worker_output_open(struct generation *gen, int slot, struct worker_output **out,
                       int fds[OUTPUT_NSTREAMS])
{
    const struct capture_options options = options_of(gen);
    struct worker_output *o = worker_output_new(gen, slot);
    int r = o ? capture_open(gen->outputs, &options, &capture_ops, o, &o->capture, fds) : -ENOMEM;

    if (r == 0)
        *out = o;
    else if (o)
        worker_output_free(o);
    return r;
}

void worker_output_save(const struct worker_output *o, struct handover *h, json_t *out)
{
    capture_save(o->capture, h, out);
}

int worker_output_resume(struct generation *gen, int slot, pid_t pid, const json_t *saved,
                         struct worker_output **out)
{
    const struct capture_options options = options_of(gen);
    struct worker_output *o = worker_output_new(gen, slot);
    int r =
        o ? capture_resume(gen->outputs, &options, &capture_ops, o, saved, &o->capture) : -ENOMEM;

    if (r == 0) {
        o->source.pid = pid;
        *out = o;
    } else if (o) {
        worker_output_free(o);
    }
    return r;
}

void worker_output_set_pid(struct worker_output *o, pid_t pid)
{
    o->source.pid = pid;
}

const struct last_lines *worker_output_last(struct worker_output *o)
{
    if (!o)
        return NULL;
    capture_read_on(o->capture);
    return &o->last;
}

void worker_output_release(struct worker_output *o)
{
    if (!o)
        return;
    capture_read_on(o->capture);
    capture_release(o->capture);
}
