#include "interface/status_json.h"

#include "base/clock.h"
#include "base/sys.h"
#include "cluster/steering.h"
#include "interface/json_text.h"
#include "mechanism/proc_usage.h"
#include "policy/words.h"

/* Digits that a time in milliseconds keeps without showing how doubles round. */
#define REAL_DIGITS 15

/* Values -------------------------------------------------------------------------------------- */

static json_t *seconds_json(int64_t ms)
{
    return json_real((double)ms / 1000.);
}

/* null for never. */
static json_t *time_json(int64_t wall_ms)
{
    char text[CLOCK_WALL_TEXT];

    return wall_ms == 0 ? json_null() : json_string(clock_wall_text(wall_ms, text));
}

static json_t *number_or_null(int64_t n)
{
    return n < 0 ? json_null() : json_integer(n);
}

/* Workers ------------------------------------------------------------------------------------- */

static json_t *exit_json(const struct worker_exit *e)
{
    bool by_code = e->kind == WORKER_EXIT_CODE, by_signal = e->kind == WORKER_EXIT_SIGNAL;

    if (e->kind == WORKER_EXIT_NONE)
        return json_null();
    return json_pack("{ss so so so}", "reason", restart_reason_name(e->reason), "code",
                     by_code ? json_integer(e->code) : json_null(), "signal",
                     by_signal ? json_string(sys_signal_name(e->code)) : json_null(), "at",
                     time_json(e->at_wall_ms));
}

static void add_worker(json_t *slot, const struct worker *w)
{
    struct proc_usage usage;
    bool known = w && proc_usage(w->main_pid, &usage) == 0;

    json_object_set_new(slot, "worker_state",
                        w ? json_string(worker_state_name(w->state)) : json_null());
    json_object_set_new(slot, "pid", w ? json_integer(w->main_pid) : json_null());
    json_object_set_new(slot, "generation", w ? json_integer(w->gen->number) : json_null());
    json_object_set_new(slot, "uptime_s",
                        w ? seconds_json(clock_ms() - w->started_ms) : json_null());
    json_object_set_new(slot, "rss_bytes",
                        known ? json_integer((json_int_t)usage.resident_bytes) : json_null());
    json_object_set_new(slot, "cpu_s", known ? json_real(usage.cpu_s) : json_null());
    json_object_set_new(slot, "status", json_text(w ? w->status : ""));
}

static json_t *slot_json(const struct pool *p, const struct slot *s)
{
    json_t *slot = json_pack("{si ss}", "slot", s->index, "state", slot_fsm_public_name(s->state));

    add_worker(slot, s->cur);
    json_object_set_new(slot, "restarts", json_integer(s->restarts));
    json_object_set_new(slot, "last_exit", exit_json(&s->last_exit));
    json_object_set_new(slot, "queue", json_integer(steering_queued(&p->discovery, s)));
    json_object_set_new(slot, "next_pid", s->next ? json_integer(s->next->main_pid) : json_null());
    return slot;
}

/* Pools --------------------------------------------------------------------------------------- */

/* -1 when the kernel does not tell. */
static int64_t queue_of(const struct listener *l, int nslots)
{
    int64_t sum = 0;

    for (int i = 0; i < (listener_is_shared(l) ? 1 : nslots); i++) {
        int n = listener_queue(l, i);

        if (n == -EOPNOTSUPP)
            return -1;
        sum += n > 0 ? n : 0;
    }
    return sum;
}

static json_t *listener_json(const struct pool *p, const struct listener *l)
{
    return json_pack("{so so sI}", "address", json_text(listener_address(l)), "queue",
                     number_or_null(queue_of(l, p->nslots)), "backlog",
                     (json_int_t)p->gen->pool->backlog);
}

static json_t *listeners_json(const struct pool *p)
{
    json_t *list = json_array();

    for (size_t i = 0; i < p->gen->nlisteners; i++)
        json_array_append_new(list, listener_json(p, p->gen->listeners[i]));
    for (size_t i = 0; i < p->discovery.n; i++)
        json_array_append_new(list, listener_json(p, p->discovery.items[i]));
    return list;
}

/* Arguments may hold passwords. */
static json_t *command_json(const struct strv *command, enum status_audience audience)
{
    size_t n = audience == STATUS_OWNER ? command->n : 1;
    CLEANUP_BUF struct buf text = BUF_INIT;

    for (size_t i = 0; i < n; i++) {
        if (i > 0)
            buf_putc(&text, ' ');
        words_quote(command->items[i], &text);
    }
    return json_text(buf_str(&text));
}

static json_t *pool_json(const struct pool *p, enum status_audience audience)
{
    json_t *slots = json_array();

    for (int i = 0; i < p->nslots; i++)
        json_array_append_new(slots, slot_json(p, p->slots[i]));
    return json_pack("{so so si si so so}", "name", json_text(pool_name(p)), "command",
                     command_json(&p->gen->pool->command, audience), "workers", p->wanted, "ready",
                     pool_ready(p), "listeners", listeners_json(p), "slots", slots);
}

/* The master ---------------------------------------------------------------------------------- */

static json_t *reload_json(const struct reload *r, enum status_audience audience)
{
    bool running = reload_is_running(r);
    int64_t took_ms = running ? clock_ms() - r->began_ms : r->duration_ms;
    const char *reason = r->reason;

    if (r->refused && audience == STATUS_STRANGERS)
        reason = "the configuration was refused";
    return json_pack("{ss so so so}", "result", reload_result_name(r->result), "reason",
                     json_text(reason), "at", time_json(r->at_wall_ms), "duration_s",
                     seconds_json(took_ms));
}

static json_t *master_json(const struct status *s, enum status_audience audience)
{
    const struct cluster *c = s->cluster;
    json_t *pools = json_array();

    for (size_t i = 0; i < c->npools; i++)
        json_array_append_new(pools, pool_json(c->pools[i], audience));
    return json_pack("{ss si so ss sI so so}", "version", PACKAGE_VERSION, "pid", (int)getpid(),
                     "uptime_s", seconds_json(clock_ms() - s->began_ms), "state",
                     status_state_name(s), "generation", (json_int_t)c->generation, "reload",
                     reload_json(s->reload, audience), "pools", pools);
}

static int append(const char *data, size_t len, void *out)
{
    buf_append(out, data, len);
    return 0;
}

void status_json(const struct status *s, enum status_audience audience, struct buf *out)
{
    json_t *json = master_json(s, audience);

    if (!json ||
        json_dump_callback(json, append, out, JSON_COMPACT | JSON_REAL_PRECISION(REAL_DIGITS)) < 0)
        out->failed = true;
    else
        buf_putc(out, '\n');
    json_decref(json);
}
