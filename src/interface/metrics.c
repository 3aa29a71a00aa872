#include "interface/metrics.h"

#include <stdio.h>
#include <sys/resource.h>

#include "base/clock.h"
#include "base/log.h"
#include "cluster/steering.h"
#include "mechanism/proc_usage.h"

/* What the functions of the table get. */
struct scrape {
    const struct status *status;
    const struct cluster *cluster;
    struct proc_usage usage; /* the master's */
    struct buf *out;
    const char *name; /* of the metric at hand */
};

/* Samples ------------------------------------------------------------------------------------- */

struct label {
    const char *name, *value; /* name NULL: none */
};

static void put_label(struct buf *out, const struct label *label, char before)
{
    buf_printf(out, "%c%s=\"", before, label->name);
    for (const char *c = label->value; *c; c++) {
        if (strchr("\\\"\n", *c))
            buf_putc(out, '\\');
        buf_putc(out, *c == '\n' ? 'n' : *c);
    }
    buf_putc(out, '"');
}

/* At most three labels; more are not needed. */
static void put(struct scrape *s, const char *suffix, const struct label *labels, double value)
{
    char before = '{';

    buf_printf(s->out, "%s%s", s->name, suffix);
    for (size_t i = 0; i < 3 && labels && labels[i].name; i++, before = ',')
        put_label(s->out, &labels[i], before);
    buf_printf(s->out, "%s %.15g\n", before == ',' ? "}" : "", value);
}

static void put_plain(struct scrape *s, double value)
{
    put(s, "", NULL, value);
}

static void put_of_pool(struct scrape *s, const struct pool *p, const char *label,
                        const char *label_value, double value)
{
    put(s, "", (struct label[3]){{"pool", pool_name(p)}, {label, label_value}}, value);
}

/* The master ---------------------------------------------------------------------------------- */

static void collect_build(struct scrape *s)
{
    put(s, "", (struct label[3]){{"version", PACKAGE_VERSION}}, 1);
}

static void collect_up(struct scrape *s)
{
    put_plain(s, (double)(clock_ms() - s->status->began_ms) / 1000);
}

static void collect_generation(struct scrape *s)
{
    put_plain(s, s->cluster->generation);
}

static void collect_reloads(struct scrape *s)
{
    static const char *const results[] = {"failed", "ok"};

    for (size_t i = 0; i < ARRAY_SIZE(results); i++)
        put(s, "", (struct label[3]){{"result", results[i]}}, (double)s->status->reload->total[i]);
}

static void collect_reload_success(struct scrape *s)
{
    put_plain(s, s->status->reload->last_failed ? 0 : 1);
}

static void collect_log_dropped(struct scrape *s)
{
    put_plain(s, (double)log_dropped());
}

static void collect_loop_lag(struct scrape *s)
{
    put_plain(s, (double)loop_lag_us(&s->status->lag, clock_us()) / 1e6);
}

/* Pools --------------------------------------------------------------------------------------- */

static void each_pool(struct scrape *s, void (*collect)(struct scrape *s, const struct pool *p))
{
    for (size_t i = 0; i < s->cluster->npools; i++)
        collect(s, s->cluster->pools[i]);
}

static void count_workers(const struct worker *w, unsigned *counts)
{
    for (; w; w = w->link)
        counts[w->state]++;
}

static void collect_workers_of(struct scrape *s, const struct pool *p)
{
    unsigned counts[WORKER_GONE + 1] = {0};

    for (int i = 0; i < p->nslots; i++) {
        count_workers(p->slots[i]->cur, counts);
        count_workers(p->slots[i]->next, counts);
        count_workers(p->slots[i]->leaving, counts);
    }
    for (enum worker_state state = 0; state < WORKER_GONE; state++)
        put_of_pool(s, p, "state", worker_state_name(state), counts[state]);
}

static void collect_workers(struct scrape *s)
{
    each_pool(s, collect_workers_of);
}

static void collect_restarts_of(struct scrape *s, const struct pool *p)
{
    for (enum restart_reason reason = RESTART_NONE + 1; reason < RESTART_NREASONS; reason++)
        put_of_pool(s, p, "reason", restart_reason_name(reason), (double)p->restarts[reason]);
}

static void collect_restarts(struct scrape *s)
{
    each_pool(s, collect_restarts_of);
}

static void collect_starts_of(struct scrape *s, const struct pool *p)
{
    struct label labels[3] = {{"pool", pool_name(p)}, {"le", NULL}};
    char bound[24];

    for (size_t i = 0; i <= HISTOGRAM_BUCKETS; i++) {
        if (i < HISTOGRAM_BUCKETS)
            snprintf(bound, sizeof(bound), "%g", (double)histogram_bounds_ms[i] / 1000);
        labels[1].value = i < HISTOGRAM_BUCKETS ? bound : "+Inf";
        put(s, "_bucket", labels, (double)histogram_up_to(&p->start_times, i));
    }
    labels[1].name = NULL;
    put(s, "_sum", labels, (double)p->start_times.sum_ms / 1000);
    put(s, "_count", labels, (double)histogram_up_to(&p->start_times, HISTOGRAM_BUCKETS));
}

static void collect_starts(struct scrape *s)
{
    each_pool(s, collect_starts_of);
}

static void collect_breakers_of(struct scrape *s, const struct pool *p)
{
    put_of_pool(s, p, NULL, NULL, pool_broken(p));
}

static void collect_breakers(struct scrape *s)
{
    each_pool(s, collect_breakers_of);
}

static void collect_heals_of(struct scrape *s, const struct pool *p)
{
    put_of_pool(s, p, NULL, NULL, (double)p->queues.heals);
}

static void collect_heals(struct scrape *s)
{
    each_pool(s, collect_heals_of);
}

static void collect_output_dropped_of(struct scrape *s, const struct pool *p)
{
    put_of_pool(s, p, NULL, NULL, (double)p->gen->losses->lines);
}

static void collect_output_dropped(struct scrape *s)
{
    each_pool(s, collect_output_dropped_of);
}

/* Slots --------------------------------------------------------------------------------------- */

static void put_of_slot(struct scrape *s, const struct pool *p, int slot, const char *label,
                        const char *label_value, double value)
{
    char number[16];

    snprintf(number, sizeof(number), "%d", slot);
    put(s, "", (struct label[3]){{"pool", pool_name(p)}, {"slot", number}, {label, label_value}},
        value);
}

/* A socket that all slots share counts for the first. */
static void collect_queue_of(struct scrape *s, const struct pool *p, const struct listener *l)
{
    for (int i = 0; i < (listener_is_shared(l) ? 1 : p->nslots); i++) {
        int n = listener_queue(l, i);

        if (n >= 0)
            put_of_slot(s, p, i, "listener", listener_address(l), n);
    }
}

static void collect_queues_of(struct scrape *s, const struct pool *p)
{
    for (size_t i = 0; i < p->gen->nlisteners; i++)
        collect_queue_of(s, p, p->gen->listeners[i]);
    for (size_t i = 0; i < p->discovery.n; i++)
        collect_queue_of(s, p, p->discovery.items[i]);
}

static void collect_queues(struct scrape *s)
{
    each_pool(s, collect_queues_of);
}

static void each_worker(struct scrape *s, double (*value)(const struct proc_usage *usage))
{
    for (size_t i = 0; i < s->cluster->npools; i++) {
        const struct pool *p = s->cluster->pools[i];

        for (int k = 0; k < p->nslots; k++) {
            const struct worker *w = p->slots[k]->cur;
            struct proc_usage usage;

            if (w && proc_usage(w->main_pid, &usage) == 0)
                put_of_slot(s, p, k, NULL, NULL, value(&usage));
        }
    }
}

static double memory_of(const struct proc_usage *usage)
{
    return (double)usage->resident_bytes;
}

static double cpu_of(const struct proc_usage *usage)
{
    return usage->cpu_s;
}

static void collect_memory(struct scrape *s)
{
    each_worker(s, memory_of);
}

static void collect_cpu(struct scrape *s)
{
    each_worker(s, cpu_of);
}

/* The master's process ------------------------------------------------------------------------ */

static void collect_process_cpu(struct scrape *s)
{
    put_plain(s, s->usage.cpu_s);
}

static void collect_process_memory(struct scrape *s)
{
    put_plain(s, (double)s->usage.resident_bytes);
}

static void collect_process_virtual(struct scrape *s)
{
    put_plain(s, (double)s->usage.virtual_bytes);
}

static void collect_process_start(struct scrape *s)
{
    put_plain(s, (double)s->status->began_wall_ms / 1000);
}

static void collect_process_fds(struct scrape *s)
{
    put_plain(s, proc_usage_descriptors());
}

static void collect_process_max_fds(struct scrape *s)
{
    struct rlimit limit = {0};

    getrlimit(RLIMIT_NOFILE, &limit);
    put_plain(s, (double)limit.rlim_cur);
}

/* The table ----------------------------------------------------------------------------------- */

static const struct {
    struct metric_info info;
    void (*collect)(struct scrape *s);
} table[] = {
    {{"preforkd_build_info", "gauge", "The version in its label; always 1."}, collect_build},
    {{"preforkd_up_seconds", "gauge", "How long the master has run."}, collect_up},
    {{"preforkd_generation", "gauge", "The generation that was given last."}, collect_generation},
    {{"preforkd_reloads_total", "counter", "Reloads that have ended, by result."}, collect_reloads},
    {{"preforkd_last_reload_success", "gauge", "0 after a reload that failed, else 1."},
     collect_reload_success},
    {{"preforkd_workers", "gauge", "Worker processes by state."}, collect_workers},
    {{"preforkd_worker_restarts_total", "counter",
      "Starts that were not a slot's first, by what they were for."},
     collect_restarts},
    {{"preforkd_worker_start_seconds", "histogram",
      "From the fork of a worker until it was ready."},
     collect_starts},
    {{"preforkd_breaker_open", "gauge", "Slots whose circuit breaker is not closed."},
     collect_breakers},
    {{"preforkd_listener_heals_total", "counter",
      "Sockets that workers had shut down, and that listen again."},
     collect_heals},
    {{"preforkd_output_dropped_total", "counter", "Lines of workers that were never written."},
     collect_output_dropped},
    {{"preforkd_accept_queue", "gauge", "Connections that wait to be accepted."}, collect_queues},
    {{"preforkd_worker_resident_memory_bytes", "gauge", "Resident memory of a slot's worker."},
     collect_memory},
    {{"preforkd_worker_cpu_seconds_total", "counter",
      "CPU time of a slot's worker; begins anew with each worker."},
     collect_cpu},
    {{"preforkd_log_dropped_total", "counter", "Lines of the log that could not be written."},
     collect_log_dropped},
    {{"preforkd_loop_lag_seconds", "gauge",
      "Longest turn of the master's event loop in the last one to two minutes."},
     collect_loop_lag},
    {{"process_cpu_seconds_total", "counter", "CPU time of the master."}, collect_process_cpu},
    {{"process_resident_memory_bytes", "gauge", "Resident memory of the master."},
     collect_process_memory},
    {{"process_virtual_memory_bytes", "gauge", "Virtual memory of the master."},
     collect_process_virtual},
    {{"process_start_time_seconds", "gauge", "When the master was started, since 1970."},
     collect_process_start},
    {{"process_open_fds", "gauge", "Descriptors that the master has open."}, collect_process_fds},
    {{"process_max_fds", "gauge", "How many descriptors the master may have open."},
     collect_process_max_fds},
};

bool metrics_info(size_t i, struct metric_info *out)
{
    if (i >= ARRAY_SIZE(table))
        return false;
    *out = table[i].info;
    return true;
}

void metrics_print(const struct status *status, struct buf *out)
{
    struct scrape s = {.status = status, .cluster = status->cluster, .out = out};

    proc_usage(getpid(), &s.usage);
    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        const struct metric_info *m = &table[i].info;

        buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", m->name, m->help, m->name, m->type);
        s.name = m->name;
        table[i].collect(&s);
    }
}
