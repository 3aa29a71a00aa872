#include "interface/status_json.h"

#include <jansson.h>

#include "status_fixture.h"

static struct status_fixture f;

static json_t *parse(enum status_audience audience)
{
    CLEANUP_BUF struct buf text = BUF_INIT;
    json_t *json;

    status_json(&f.status, audience, &text);
    cr_assert_not(text.failed);
    cr_assert_eq(strchr(buf_str(&text), '\n') + 1, buf_str(&text) + text.len, "one line");
    json = json_loadb(text.data, text.len, 0, NULL);
    cr_assert_not_null(json, "%s", text.data);
    return json;
}

static void set_up(void)
{
    status_fixture_make(&f);
}

TestSuite(status_json, .init = set_up);

/* Compares with what json_unpack(3) can tell. */
Test(status_json, has_the_fields_of_the_contract)
{
    json_t *json = parse(STATUS_OWNER);
    const char *state, *result, *reason, *name, *command, *slot_state, *worker_state, *text, *at;
    const char *last_reason, *signal;
    int pid, generation, workers, ready, slot, worker_pid, number, restarts, queue;
    json_int_t rss;
    double up, took, worker_up, cpu;

    cr_assert_eq(json_unpack(json,
                             "{s:i s:F s:s s:i s:{s:s s:s s:n s:F} s:[{s:s s:s s:i s:i s:[]}]}",
                             "pid", &pid, "uptime_s", &up, "state", &state, "generation",
                             &generation, "reload", "result", &result, "reason", &reason, "at",
                             "duration_s", &took, "pools", "name", &name, "command", &command,
                             "workers", &workers, "ready", &ready, "listeners"),
                 0);
    cr_expect_eq(pid, getpid());
    cr_expect(up >= 10 && up < 60);
    cr_expect_str_eq(state, "running");
    cr_expect_eq(generation, 4);
    cr_expect_str_eq(result, "failed");
    cr_expect_str_eq(reason, "web.conf:3: 'secret'");
    cr_expect_eq(took, 0.25);
    cr_expect_str_eq(name, "we\"\nb");
    cr_expect_str_eq(command, "'/bin/run it' --password=secret");
    cr_expect_eq(workers, 2);
    cr_expect_eq(ready, 1);
    cr_assert_eq(
        json_unpack(
            json_array_get(
                json_object_get(json_array_get(json_object_get(json, "pools"), 0), "slots"), 0),
            "{s:i s:s s:s s:i s:i s:F s:i s:{s:s s:n s:s s:s} s:i s:I s:F s:s s:n}", "slot", &slot,
            "state", &slot_state, "worker_state", &worker_state, "pid", &worker_pid, "generation",
            &number, "uptime_s", &worker_up, "restarts", &restarts, "last_exit", "reason",
            &last_reason, "code", "signal", &signal, "at", &at, "queue", &queue, "rss_bytes", &rss,
            "cpu_s", &cpu, "status", &text, "next_pid"),
        0);
    cr_expect_eq(slot, 0);
    cr_expect_str_eq(slot_state, "up");
    cr_expect_str_eq(worker_state, "ready");
    cr_expect_eq(worker_pid, getpid());
    cr_expect_eq(number, 3);
    cr_expect(worker_up >= 1.5 && worker_up < 60);
    cr_expect_eq(restarts, 2);
    cr_expect_str_eq(last_reason, "signal");
    cr_expect_str_eq(signal, "KILL");
    cr_expect_str_eq(at, "2026-11-21T04:16:07.890Z");
    cr_expect_eq(queue, 0);
    cr_expect_gt(rss, 100000);
    cr_expect_geq(cpu, 0);
    cr_expect_str_eq(text, "fine \\xff \"quoted\"");
    json_decref(json);
}

Test(status_json, a_slot_without_a_worker_has_nulls)
{
    json_t *json = parse(STATUS_OWNER);
    json_t *slots = json_object_get(json_array_get(json_object_get(json, "pools"), 0), "slots");
    static const char *const keys[] = {"worker_state", "pid",       "generation", "uptime_s",
                                       "last_exit",    "rss_bytes", "cpu_s",      "next_pid"};

    for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
        cr_expect(json_is_null(json_object_get(json_array_get(slots, 1), keys[i])), "%s", keys[i]);
    cr_expect_str_eq(json_string_value(json_object_get(json_array_get(slots, 1), "state")), "down");
    json_decref(json);
}

Test(status_json, strangers_see_no_arguments_and_no_configuration)
{
    CLEANUP_BUF struct buf text = BUF_INIT;
    json_t *json = parse(STATUS_STRANGERS);

    status_json(&f.status, STATUS_STRANGERS, &text);
    cr_expect_null(strstr(buf_str(&text), "secret"));
    cr_expect_str_eq(json_string_value(json_object_get(json_object_get(json, "reload"), "reason")),
                     "the configuration was refused");
    json_decref(json);
}

Test(status_json, the_state_is_that_of_the_master)
{
    f.status.phase = PHASE_DRAINING;
    cr_expect_str_eq(status_state_name(&f.status), "draining");
    f.status.phase = PHASE_STOPPING;
    cr_expect_str_eq(status_state_name(&f.status), "stopping");
    f.status.phase = PHASE_SERVING;
    f.reload.result = RELOAD_RUNNING;
    cr_expect_str_eq(status_state_name(&f.status), "reloading");
    f.reload.result = RELOAD_OK;
    cr_expect_str_eq(status_state_name(&f.status), "running");
    f.cluster.started = false;
    cr_expect_str_eq(status_state_name(&f.status), "starting");
}
