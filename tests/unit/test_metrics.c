#include "interface/metrics.h"

#include "status_fixture.h"

static struct status_fixture f;
static struct buf page;

static void set_up(void)
{
    status_fixture_make(&f);
    metrics_print(&f.status, &page);
    cr_assert_not(page.failed);
}

static void tear_down(void)
{
    buf_free(&page);
}

TestSuite(metrics, .init = set_up, .fini = tear_down);

static void expect(const char *line)
{
    CLEANUP_BUF struct buf wanted = BUF_INIT;

    buf_printf(&wanted, "\n%s\n", line);
    cr_expect(strstr(page.data, buf_str(&wanted)), "no '%s' in:\n%s", line, page.data);
}

Test(metrics, figures)
{
    expect("preforkd_build_info{version=\"" PACKAGE_VERSION "\"} 1");
    expect("preforkd_generation 4");
    expect("preforkd_reloads_total{result=\"failed\"} 1");
    expect("preforkd_reloads_total{result=\"ok\"} 2");
    expect("preforkd_last_reload_success 0");
    expect("preforkd_workers{pool=\"we\\\"\\nb\",state=\"ready\"} 1");
    expect("preforkd_workers{pool=\"we\\\"\\nb\",state=\"starting\"} 0");
    expect("preforkd_worker_restarts_total{pool=\"we\\\"\\nb\",reason=\"signal\"} 2");
    expect("preforkd_output_dropped_total{pool=\"we\\\"\\nb\"} 5");
    expect("preforkd_worker_start_seconds_bucket{pool=\"we\\\"\\nb\",le=\"0.01\"} 0");
    expect("preforkd_worker_start_seconds_bucket{pool=\"we\\\"\\nb\",le=\"0.025\"} 1");
    expect("preforkd_worker_start_seconds_bucket{pool=\"we\\\"\\nb\",le=\"+Inf\"} 1");
    expect("preforkd_worker_start_seconds_sum{pool=\"we\\\"\\nb\"} 0.02");
    expect("preforkd_worker_start_seconds_count{pool=\"we\\\"\\nb\"} 1");
}

Test(metrics, each_has_help_and_type_before_its_samples)
{
    struct metric_info m;

    for (size_t i = 0; metrics_info(i, &m); i++) {
        CLEANUP_BUF struct buf head = BUF_INIT;
        const char *at;

        buf_printf(&head, "# HELP %s %s\n# TYPE %s %s\n", m.name, m.help, m.name, m.type);
        at = strstr(page.data, buf_str(&head));
        cr_assert_not_null(at, "%s", m.name);
        cr_expect(at == page.data || at[-1] == '\n');
    }
}

Test(metrics, names_follow_the_conventions)
{
    struct metric_info m, other;

    for (size_t i = 0; metrics_info(i, &m); i++) {
        size_t len = strlen(m.name);
        bool total = len > 6 && streq(m.name + len - 6, "_total");

        cr_expect_eq(total, streq(m.type, "counter"), "%s", m.name);
        cr_expect(str_after(m.name, "preforkd_") || str_after(m.name, "process_"), "%s", m.name);
        for (size_t k = 0; k < i && metrics_info(k, &other); k++)
            cr_expect_str_neq(m.name, other.name);
    }
}

Test(metrics, only_workers_that_there_are_have_figures)
{
    cr_expect_not_null(strstr(page.data, "resident_memory_bytes{pool=\"we\\\"\\nb\",slot=\"0\"}"));
    cr_expect_null(strstr(page.data, "resident_memory_bytes{pool=\"we\\\"\\nb\",slot=\"1\"}"));
}
