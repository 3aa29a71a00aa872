/* The events of an operation as lines, with and without a bar. */
#include <criterion/criterion.h>

#include "ctl/progress.h"
#include "ctl/text.h"

TestSuite(progress, .init = text_init);

static void expect_event(struct progress *p, json_t *event, const char *text)
{
    CLEANUP_BUF struct buf out = BUF_INIT;

    progress_event(p, event, &out);
    json_decref(event);
    cr_expect_str_eq(buf_str(&out), text, "%s", buf_str(&out));
}

static json_t *slot_event(int slot, const char *step, int done, int total)
{
    return json_pack("{s:s, s:s, s:i, s:s, s:i, s:i}", "event", "slot", "pool", "web", "slot", slot,
                     "step", step, "done", done, "total", total);
}

Test(progress, lines)
{
    struct progress p = {0};
    json_t *failed = slot_event(1, "failed", 1, 2);

    expect_event(&p, slot_event(0, "starting", 0, 2), "web.0: starting\n");
    expect_event(&p, slot_event(0, "done", 1, 2), "web.0: done (1 of 2)\n");
    json_object_set_new(failed, "pid", json_integer(77));
    json_object_set_new(failed, "reason", json_string("exit 1\033"));
    expect_event(&p, failed, "web.1[77]: failed: exit 1\\x1b\n");
    expect_event(&p,
                 json_pack("{s:s, s:s, s:i, s:i, s:s}", "event", "output", "pool", "web", "slot", 1,
                           "pid", 77, "line", "Error:\tboom\033[2J"),
                 "web.1[77]> Error:\\x09boom\\x1b[2J\n");
}

Test(progress, unknown_events_show_their_text)
{
    struct progress p = {0};

    expect_event(&p, json_pack("{s:s, s:s}", "event", "new", "text", "handing over"),
                 "handing over\n");
    expect_event(&p, json_pack("{s:s}", "event", "new"), "");
    expect_event(&p, json_pack("{s:i}", "event", 7), "");
    expect_event(&p, json_pack("{s:s, s:[], s:s}", "event", "slot", "pool", "slot", "x"), ": \n");
}

Test(progress, a_bar_stays_below_the_lines)
{
    CLEANUP_BUF struct buf out = BUF_INIT;
    struct progress p = {.bar = true, .look = {.width = 34}};

    expect_event(&p, slot_event(0, "ready", 0, 4), "web.0: ready\n[..........] 0 of 4");
    expect_event(&p, slot_event(0, "done", 2, 4),
                 "\r\033[Kweb.0: done (2 of 4)\n[#####.....] 2 of 4");
    progress_clear(&p, &out);
    progress_clear(&p, &out);
    cr_expect_str_eq(buf_str(&out), "\r\033[K");
}

Test(progress, a_bar_needs_room_and_a_total)
{
    struct progress narrow = {.bar = true, .look = {.width = 20}};
    struct progress p = {.bar = true, .look = {.colour = true}};

    expect_event(&narrow, slot_event(0, "done", 1, 2), "web.0: done (1 of 2)\n");
    expect_event(&p, json_pack("{s:s, s:s}", "event", "new", "text", "x"), "x\n");
    expect_event(&p, slot_event(0, "done", 9, 4),
                 "web.0: \033[32mdone\033[0m (9 of 4)\n"
                 "[########################################] 9 of 4");
    expect_event(&p, slot_event(0, "done", -5, -7), "\r\033[Kweb.0: \033[32mdone\033[0m\n");
}
