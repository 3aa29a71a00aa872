#include "interface/progress.h"

#include <stdio.h>
#include <sys/socket.h>

#include "interface/json_text.h"

enum { NOT_YET = -1 };

/* Slots that are to come to a state, and which step of each was told last. */
struct goal {
    char *pool;
    int from, to;
    bool up;
    int8_t *told;
};

struct progress_client {
    TAILQ_ENTRY(progress_client) link;
    struct progress *progress;
    struct http_stream *stream;
    int fd; /* of its connection */
    enum progress_kind kind;
    uint64_t number;
    struct goal *goals;
    size_t ngoals;
    int done, failed, total;
    char reason[512]; /* of the first slot that failed */
};

/* Clients ------------------------------------------------------------------------------------- */

void progress_init(struct progress *p, const struct cluster *cluster)
{
    p->cluster = cluster;
    TAILQ_INIT(&p->clients);
}

static void client_free(struct progress_client *c)
{
    TAILQ_REMOVE(&c->progress->clients, c, link);
    for (size_t i = 0; i < c->ngoals; i++) {
        free(c->goals[i].pool);
        free(c->goals[i].told);
    }
    free(c->goals);
    free(c);
}

static void on_gone(void *data)
{
    client_free(data);
}

static struct progress_client *fail(struct http_reply *reply, unsigned status, const char *text)
{
    reply->status = status;
    buf_printf(&reply->body, "{\"error\":\"%s\"}\n", text);
    return NULL;
}

struct progress_client *progress_wait(struct progress *p, enum progress_kind kind, uint64_t number,
                                      const struct http_request *request, struct http_reply *reply)
{
    struct progress_client *c = calloc(1, sizeof(*c));
    int r = c ? http_stream_open(request, reply, on_gone, c) : -ENOMEM;

    if (r < 0) {
        free(c);
        return r == -EBUSY ? fail(reply, 503, "too many clients wait already")
                           : fail(reply, 503, "out of memory");
    }
    c->progress = p;
    c->stream = reply->stream;
    c->fd = request->fd;
    c->kind = kind;
    c->number = number;
    TAILQ_INSERT_TAIL(&p->clients, c, link);
    return c;
}

/* Lines --------------------------------------------------------------------------------------- */

/* Takes the object. */
static void push(struct progress_client *c, json_t *json)
{
    CLEANUP_FREE char *line = json_dumps(json, JSON_COMPACT);

    json_decref(json);
    if (!line)
        return;
    http_stream_push(c->stream, line, strlen(line));
    http_stream_push(c->stream, "\n", 1);
}

/* Which worker became ready, or is the slot's now. */
static const struct worker *worker_of(const struct progress_step *s)
{
    const struct slot *slot = s->slot < s->pool->nslots ? s->pool->slots[s->slot] : NULL;

    if (!slot || (s->step != STEP_READY && s->step != STEP_DONE))
        return NULL;
    return slot->next ? slot->next : slot->cur;
}

/* What the worker said last that failed, when its output is captured. */
static void push_output(struct progress_client *c, const struct progress_step *s)
{
    const struct slot *slot = s->slot < s->pool->nslots ? s->pool->slots[s->slot] : NULL;
    const struct last_lines *last = slot ? slot->last_output : NULL;

    for (unsigned i = 0; last && i < last_lines_count(last); i++) {
        char line[LAST_LINE_LENGTH + 1];
        size_t len;
        const char *text = last_lines_get(last, i, &len);

        memcpy(line, text, len);
        line[len] = '\0';
        push(c, json_pack("{ss ss si so}", "event", "output", "pool", pool_name(s->pool), "slot",
                          s->slot, "line", json_text(line)));
    }
}

static void push_step(struct progress_client *c, const char *pool, const struct progress_step *s)
{
    const struct worker *w = s->pool ? worker_of(s) : NULL;
    json_t *json =
        json_pack("{ss ss si ss si si}", "event", "slot", "pool", pool, "slot", s->slot, "step",
                  rollout_step_name(s->step), "done", s->done, "total", s->total);

    if (w)
        json_object_set_new(json, "pid", json_integer(w->main_pid));
    if (s->reason)
        json_object_set_new(json, "reason", json_text(s->reason));
    push(c, json);
    if (s->step == STEP_FAILED && s->pool)
        push_output(c, s);
}

static void end(struct progress_client *c, const char *reason)
{
    struct http_stream *stream = c->stream;

    push(c, reason ? json_pack("{ss so}", "result", "failed", "reason", json_text(reason))
                   : json_pack("{ss}", "result", "ok"));
    client_free(c);
    http_stream_end(stream);
}

void progress_fail(struct progress_client *client, const char *reason)
{
    end(client, reason);
}

bool progress_waits(const struct progress *p, const struct progress_client *client)
{
    const struct progress_client *c = TAILQ_FIRST(&p->clients);

    while (c && c != client)
        c = TAILQ_NEXT(c, link);
    return c;
}

/* Rollouts ------------------------------------------------------------------------------------ */

void progress_step(struct progress *p, enum progress_kind kind, uint64_t number,
                   const struct progress_step *step)
{
    for (struct progress_client *c = TAILQ_FIRST(&p->clients); c; c = TAILQ_NEXT(c, link))
        if (c->kind == kind && c->number == number)
            push_step(c, pool_name(step->pool), step);
}

void progress_end(struct progress *p, enum progress_kind kind, uint64_t number, const char *reason)
{
    struct progress_client *c, *next;

    for (c = TAILQ_FIRST(&p->clients); c; c = next) {
        next = TAILQ_NEXT(c, link);
        if (c->kind == kind && c->number <= number)
            end(c, reason);
    }
}

void progress_free(struct progress *p)
{
    while (!TAILQ_EMPTY(&p->clients))
        end(TAILQ_FIRST(&p->clients), "the master stops");
}

/* Upgrades ------------------------------------------------------------------------------------ */

json_t *progress_save(const struct progress *p, struct handover *h)
{
    json_t *list = json_array();

    for (struct progress_client *c = TAILQ_FIRST(&p->clients); c; c = TAILQ_NEXT(c, link)) {
        json_t *client = json_object();

        if (c->kind == PROGRESS_UPGRADE)
            handover_put_fd(h, client, "fd", c->fd);
        json_array_append_new(list, client);
    }
    return list;
}

/* They have got the head of a reply in chunks and nothing else. */
void progress_resume(const json_t *saved)
{
    static const char last[] = "10\r\n{\"result\":\"ok\"}\n\r\n0\r\n\r\n";

    for (size_t i = 0; i < json_array_size(saved); i++) {
        int fd = handover_take_fd(json_array_get(saved, i), "fd");

        if (fd < 0)
            continue;
        send(fd, last, sizeof(last) - 1, MSG_DONTWAIT | MSG_NOSIGNAL);
        close(fd);
    }
}

/* Slots --------------------------------------------------------------------------------------- */

static void note_failure(struct progress_client *c, const char *reason)
{
    if (c->failed++ == 0)
        snprintf(c->reason, sizeof(c->reason), "%s", reason);
}

static int add_goal(struct progress_client *c, const struct pool *pool, int from, int to, bool up)
{
    size_t n = (size_t)(to - from);
    struct goal *goals = reallocarray(c->goals, c->ngoals + 1, sizeof(*goals));
    struct goal *g;

    if (!goals)
        return -ENOMEM;
    c->goals = goals;
    g = &goals[c->ngoals];
    *g = (struct goal){.from = from, .to = to, .up = up};
    g->pool = strdup(pool_name(pool));
    g->told = malloc(n + 1);
    c->ngoals++;
    if (!g->pool || !g->told)
        return -ENOMEM;
    memset(g->told, NOT_YET, n + 1);
    c->total += to - from;
    return 0;
}

void progress_want(struct progress_client *c, const struct pool *pool, int from, int to, bool up)
{
    if (add_goal(c, pool, from, to, up) == 0)
        return;
    note_failure(c, "out of memory");
    c->ngoals = 0;
    c->total = 1;
    c->done = 0;
}

static int step_up(const struct slot *s)
{
    if (!s || !slot_fsm_wanted_up(s->state))
        return STEP_FAILED;
    if (s->state == SLOT_STARTING)
        return STEP_STARTING;
    if (s->state == SLOT_PROVING)
        return STEP_READY;
    if (slot_fsm_serving(s->state) || s->state == SLOT_FINISHED)
        return STEP_DONE;
    return slot_fsm_leaving(s->state) ? NOT_YET : STEP_FAILED; /* backoff, broken */
}

static int step_down(const struct slot *s)
{
    return s && s->state != SLOT_DOWN ? NOT_YET : STEP_DONE;
}

static void look_at(struct progress_client *c, struct goal *g, const struct pool *p, int slot)
{
    const struct slot *s = p && slot < p->nslots ? p->slots[slot] : NULL;
    struct progress_step step = {.pool = p, .slot = slot, .total = c->total};
    int8_t *told = &g->told[slot - g->from];
    int now = g->up ? step_up(s) : step_down(s);

    if (now <= *told || *told >= STEP_DONE)
        return;
    *told = (int8_t)now;
    step.step = (enum rollout_step)now;
    if (now == STEP_FAILED) {
        struct why why;

        step.reason = s && s->reason[0] ? s->reason : "it was stopped";
        why_fail(&why, 0, "%s slot %d: %s", g->pool, slot, step.reason);
        note_failure(c, why.text);
    }
    c->done += now == STEP_DONE;
    step.done = c->done;
    push_step(c, g->pool, &step);
}

static void look(struct progress_client *c)
{
    for (size_t i = 0; i < c->ngoals; i++) {
        struct goal *g = &c->goals[i];
        const struct pool *p = cluster_pool(c->progress->cluster, g->pool);

        for (int slot = g->from; slot < g->to; slot++)
            look_at(c, g, p, slot);
    }
    if (c->done + c->failed == c->total)
        end(c, c->failed > 0 ? c->reason : NULL);
}

void progress_look(struct progress *p)
{
    struct progress_client *c, *next;

    for (c = TAILQ_FIRST(&p->clients); c; c = next) {
        next = TAILQ_NEXT(c, link);
        if (c->kind == PROGRESS_SLOTS)
            look(c);
    }
}
